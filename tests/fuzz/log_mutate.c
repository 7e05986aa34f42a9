/* SPDX-License-Identifier: Apache-2.0 */
/* Mutations of an input that holds a log: fields, records, frames, segments. See log_input.h. */
#include <string.h>

#include "base/bytes.h"
#include "log_input.h"
#include "target.h"

struct input {
  unsigned char *data;
  size_t size, max_size;
  const unsigned char *identity;
  uint64_t *random;
};

static uint64_t below(struct input *in, uint64_t limit) {
  return limit == 0 ? 0 : log_input_random(in->random) % limit;
}

/* --- finding places ----------------------------------------------------------------------------------- */

/* A block at random that begins with these four bytes; `in->size`: there is none. */
static size_t find_block(struct input *in, const char magic[5]) {
  size_t found = in->size, count = 0;
  for (size_t at = 0; at + LOG_BLOCK <= in->size; at += LOG_BLOCK) {
    if (memcmp(in->data + at, magic, 4) == 0 && below(in, ++count) == 0) found = at;
  }
  return found;
}

/* A record of the frame, or its end (where a record can be put, of length 0), as an offset from the frame. */
static size_t find_record(struct input *in, size_t frame, bool or_end, size_t *length) {
  const unsigned char *bytes = in->data + frame;
  size_t end = 64 + (size_t)cpn_min_u64(cpn_get_u32(bytes + 32), in->size - frame - 64);
  size_t found = 0, count = 0;
  for (size_t at = 64; at + 8 <= end;) {
    size_t here = (size_t)cpn_get_u16(bytes + at + 2) * 8;
    if (here == 0 || here > end - at) break;
    if (below(in, ++count) == 0) {
      found = at;
      *length = here;
    }
    at += here;
  }
  if (found != 0 && (!or_end || below(in, 3) != 0)) return found;
  *length = 0;
  return end;
}

/* --- fields ------------------------------------------------------------------------------------------- */

static uint64_t odd_value(struct input *in, uint64_t before) {
  static const uint64_t values[] = {
      0, 1, 2, 7, 8, 64, 255, 256, 512, 1 << 20, 1 << 21, UINT64_C(1) << 40, UINT64_C(1) << 48, UINT64_MAX};
  switch (below(in, 5)) {
    case 0:
      return before + 1 + below(in, 8);
    case 1:
      return before - 1 - below(in, 8);
    case 2:
      return before ^ UINT64_C(1) << below(in, 64);
    case 3:
      return values[below(in, sizeof values / sizeof values[0])];
    default:
      return below(in, 12);
  }
}

struct field {
  unsigned char at, bytes;
};

static void poke(struct input *in, unsigned char *base, const struct field *fields, size_t count) {
  const struct field *field = &fields[below(in, count)];
  unsigned char *at = base + field->at;
  uint64_t before = 0;
  for (unsigned i = 0; i < field->bytes; i++) before |= (uint64_t)at[i] << 8 * i;
  uint64_t after = odd_value(in, before);
  for (unsigned i = 0; i < field->bytes; i++) at[i] = (unsigned char)(after >> 8 * i);
}

static void poke_header(struct input *in) {
  static const struct field of_frame[] = {{4, 2}, {6, 2}, {8, 8}, {16, 8}, {24, 8}, {32, 4}, {36, 4}, {40, 8}};
  static const struct field of_segment[] = {{8, 4}, {12, 4}, {16, 1}, {32, 8}, {40, 8}, {48, 8}, {56, 8}, {72, 1}};
  bool frame = below(in, 4) != 0;
  size_t at = find_block(in, frame ? "CPNF" : "CPNS");
  if (at == in->size) return;
  if (frame)
    poke(in, in->data + at, of_frame, sizeof of_frame / sizeof of_frame[0]);
  else
    poke(in, in->data + at, of_segment, sizeof of_segment / sizeof of_segment[0]);
}

static void poke_record(struct input *in) {
  static const struct field head[] = {{0, 1}, {1, 1}, {2, 2}, {4, 4}};
  size_t frame = find_block(in, "CPNF"), length = 0;
  if (frame == in->size) return;
  size_t at = find_record(in, frame, false, &length);
  if (length == 0) return;
  if (length == 8 || below(in, 3) == 0)
    poke(in, in->data + frame + at, head, sizeof head / sizeof head[0]);
  else {
    struct field word = {(unsigned char)(8 * (1 + below(in, cpn_min_u64(length / 8 - 1, 30)))), 8};
    poke(in, in->data + frame + at, &word, 1);
  }
}

/* --- records ------------------------------------------------------------------------------------------ */

#define RECORD_MAX 96

/* Up to four more users in the ticket's record of this length; returns its new one. */
static size_t join(struct input *in, unsigned char record[RECORD_MAX], size_t length) {
  const size_t user = length - 16, more = user * (size_t)below(in, 5);
  unsigned char time[8];
  memcpy(time, record + length - 8, sizeof time);
  memset(record + length - 8, 0, 8);
  for (size_t at = length - 8; at < length - 8 + more; at += user) cpn_put_u64(record + at, below(in, 6));
  memcpy(record + length - 8 + more, time, sizeof time);
  cpn_put_u16(record + 2, (uint16_t)((length + more) / 8));
  return length + more;
}

/* A record that could be one; small numbers, so that they meet. */
static size_t make_record(struct input *in, unsigned char record[RECORD_MAX]) {
  static const unsigned char words[] = {1, 1, 4, 2, 9, 2, 2, 3, 4};
  static const unsigned char often[] = {1, 2, 3, 4, 4, 5, 6, 7, 7, 7, 7, 8, 8, 8};
  unsigned type = often[below(in, sizeof often)];
  size_t length = (size_t)words[type] * 8;
  memset(record, 0, RECORD_MAX);
  record[0] = (unsigned char)type;
  cpn_put_u16(record + 2, words[type]);
  if (type >= 5) cpn_put_u32(record + 4, (uint32_t)below(in, 3));
  if (type == 7 || type == 8) cpn_put_u64(record + 8, below(in, 6));
  if (type != 4 && length > 8) cpn_put_u64(record + length - 8, 100 + below(in, 300));
  if ((type == 7 || type == 8) && below(in, 3) == 0) return join(in, record, length);
  if (type != 4) return length;
  cpn_put_u64(record + 8, below(in, 4));
  cpn_put_u64(record + 16, below(in, 5));
  cpn_put_u64(record + 24, below(in, 4) != 0);
  cpn_put_u64(record + 32, below(in, 2) * 150);
  cpn_put_u64(record + 40, below(in, 2) * 300);
  cpn_put_u32(record + 56, (uint32_t)below(in, 9));
  cpn_put_u32(record + 60, (uint32_t)below(in, 2));
  memset(record + 64, 'n', cpn_get_u32(record + 56));
  if (cpn_get_u32(record + 56) == 0) cpn_put_u16(record + 2, 8);
  return (size_t)cpn_get_u16(record + 2) * 8;
}

/* Replaces `old` bytes of the frame at `at` by others, as long as its blocks have room. */
static void splice(struct input *in, size_t frame, size_t at, size_t old, const unsigned char *bytes, size_t length) {
  unsigned char *base = in->data + frame;
  size_t payload = cpn_get_u32(base + 32);
  size_t room = (size_t)cpn_min_u64(cpn_round_up(64 + payload, LOG_BLOCK), in->size - frame);
  size_t end = 64 + payload;
  if (end > room || at + old > end || end - old + length > room || end - old + length < 72) return;
  memmove(base + at + length, base + at + old, end - at - old);
  if (length > 0) memcpy(base + at, bytes, length);
  size_t now = end - old + length;
  if (now < end) memset(base + now, 0, end - now);
  cpn_put_u32(base + 32, (uint32_t)(now - 64));
}

static void change_records(struct input *in) {
  unsigned char record[RECORD_MAX];
  size_t frame = find_block(in, "CPNF"), length = 0, ignored;
  if (frame == in->size) return;
  size_t at = find_record(in, frame, true, &length);
  switch (below(in, 4)) {
    case 0: /* one less */
      if (length > 0) splice(in, frame, at, length, NULL, 0);
      break;
    case 1: /* one twice */
      if (length == 0 || length > RECORD_MAX || at + length > in->size - frame) break;
      memcpy(record, in->data + frame + at, length);
      at = find_record(in, frame, true, &ignored);
      splice(in, frame, at, 0, record, length);
      break;
    default: /* a new one */
      length = make_record(in, record);
      splice(in, frame, at, 0, record, length);
  }
}

/* --- blocks ------------------------------------------------------------------------------------------- */

static void insert_block(struct input *in, size_t at, const unsigned char *block) {
  if (in->size + LOG_BLOCK > in->max_size || at > in->size) return;
  memmove(in->data + at + LOG_BLOCK, in->data + at, in->size - at);
  memcpy(in->data + at, block, LOG_BLOCK);
  in->size += LOG_BLOCK;
}

static void make_frame(struct input *in, unsigned char *block) {
  memset(block, 0, LOG_BLOCK);
  memcpy(block, "CPNF", 4);
  cpn_put_u16(block + 4, 1);
  cpn_put_u64(block + 16, UINT64_MAX); /* mending makes it what is possible: all before it was synced */
  size_t length = 64;
  for (uint64_t left = 1 + below(in, 4); left > 0; left--) length += make_record(in, block + length);
  cpn_put_u32(block + 32, (uint32_t)(length - 64));
}

static void make_segment(unsigned char *block) {
  memset(block, 0, LOG_BLOCK);
  memcpy(block, "CPNSEGMT", 8);
}

static size_t a_block(struct input *in, bool or_end) {
  return LOG_BLOCK * (size_t)below(in, in->size / LOG_BLOCK + or_end);
}

static void change_blocks(struct input *in) {
  unsigned char block[LOG_BLOCK];
  if (in->size < LOG_BLOCK) return;
  size_t from = a_block(in, false), to = a_block(in, true);
  switch (below(in, 6)) {
    case 0: /* one less */
      memmove(in->data + from, in->data + from + LOG_BLOCK, in->size - from - LOG_BLOCK);
      in->size -= LOG_BLOCK;
      break;
    case 1: /* one twice */
      memcpy(block, in->data + from, LOG_BLOCK);
      insert_block(in, to, block);
      break;
    case 2: /* two change places */
      to = a_block(in, false);
      memcpy(block, in->data + from, LOG_BLOCK);
      memmove(in->data + from, in->data + to, LOG_BLOCK);
      memcpy(in->data + to, block, LOG_BLOCK);
      break;
    case 3:
      make_segment(block);
      insert_block(in, to, block);
      break;
    default:
      make_frame(in, block);
      insert_block(in, below(in, 2) == 0 ? to : in->size / LOG_BLOCK * LOG_BLOCK, block);
  }
}

/* --- all of it ------------------------------------------------------------------------------------------ */

static void change_something(struct input *in) {
  switch (below(in, 8)) {
    case 0:
      in->size = LLVMFuzzerMutate(in->data, in->size, in->max_size);
      break;
    case 1:
    case 2:
      poke_header(in);
      break;
    case 3:
      poke_record(in);
      break;
    case 4:
    case 5:
      change_records(in);
      break;
    default:
      change_blocks(in);
  }
}

size_t log_input_mutate(unsigned char *data, size_t size, size_t max_size, const unsigned char *identity,
                        uint64_t *random) {
  struct input in = {data, size, max_size, identity, random};
  /* Mended first, what is changed afterwards stays changed; mended afterwards, what is new fits in. */
  if (below(&in, 4) == 0) log_input_mend(in.data, in.size, identity, below(&in, 2) == 0);
  for (uint64_t left = 1 + below(&in, 3); left > 0; left--) change_something(&in);
  if (below(&in, 2) == 0) log_input_mend(in.data, in.size, identity, below(&in, 4) != 0);
  if (below(&in, 16) != 0) log_input_seal(in.data, in.size, identity);
  return in.size;
}
