/* SPDX-License-Identifier: Apache-2.0 */
#include "checkpoint_input.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "checkpoint_short.h"
#include "log_input.h"
#include "target.h"

enum { HEADER = 64, CAMPAIGN = 104, PAGE_HEADER = 32 };

/* --- building ------------------------------------------------------------------------------------------- */

struct checkpoint_build checkpoint_build_begin(uint64_t lsn, uint64_t time_ns) {
  struct checkpoint_build made = {.size = LOG_BLOCK};
  unsigned char *block = made.bytes;
  memcpy(block, "CPNCHKPT", 8);
  cpn_put_u32(block + 8, 1);
  cpn_put_u32(block + 12, 512);
  cpn_put_u64(block + 32, 1);
  cpn_put_u64(block + 40, lsn);
  cpn_put_u64(block + 48, 1);
  cpn_put_u64(block + 56, time_ns);
  cpn_put_u64(block + 64, 1);
  cpn_put_u64(block + 72, 1024);
  return made;
}

void checkpoint_build_chunk(struct checkpoint_build *made, unsigned kind, uint32_t campaign, uint64_t first_number) {
  made->chunk = made->size;
  made->size += LOG_BLOCK;
  unsigned char *chunk = made->bytes + made->chunk;
  memcpy(chunk, "CPNC", 4);
  cpn_put_u16(chunk + 4, 1);
  cpn_put_u16(chunk + 6, (uint16_t)kind);
  cpn_put_u64(chunk + 8, 1);
  cpn_put_u32(chunk + 24, campaign);
  cpn_put_u64(chunk + 32, first_number);
}

/* Room for so many bytes of payload more. */
static unsigned char *extend(struct checkpoint_build *made, size_t bytes, uint32_t count) {
  unsigned char *chunk = made->bytes + made->chunk, *at = chunk + HEADER + cpn_get_u32(chunk + 40);
  cpn_put_u32(chunk + 28, cpn_get_u32(chunk + 28) + count);
  cpn_put_u32(chunk + 40, cpn_get_u32(chunk + 40) + (uint32_t)bytes);
  made->size = made->chunk + (size_t)cpn_round_up(HEADER + cpn_get_u32(chunk + 40), LOG_BLOCK);
  return at;
}

unsigned char *checkpoint_build_campaign(struct checkpoint_build *made, uint64_t id, uint64_t created_lsn,
                                         uint64_t tickets, const char *name) {
  size_t length = strlen(name);
  unsigned char *campaign = extend(made, CAMPAIGN + (size_t)cpn_round_up(length, 8), 1);
  cpn_put_u64(campaign, id);
  cpn_put_u64(campaign + 8, tickets + 1);
  cpn_put_u64(campaign + 16, 1);
  cpn_put_u32(campaign + 40, (uint32_t)length);
  cpn_put_u64(campaign + 48, created_lsn);
  cpn_put_u64(campaign + 72, tickets);
  memcpy(campaign + CAMPAIGN, name, length);
  return campaign;
}

void checkpoint_build_tickets(struct checkpoint_build *made, uint32_t count, bool uuid, uint64_t user, uint64_t lsn,
                              uint32_t step, uint64_t time_ns) {
  const size_t width = uuid ? 16 : 8;
  unsigned char *users = extend(made, count * width + PAGE_HEADER, count), *page = users + count * width;
  for (uint32_t i = 0; i < count; i++) cpn_put_u64(users + i * width, user + i);
  cpn_put_u64(page, lsn);
  cpn_put_u64(page + 8, time_ns);
  cpn_put_u32(page + 16, step);
  cpn_put_u32(page + 20, 1);
}

/* --- sealing -------------------------------------------------------------------------------------------- */

static bool is_chunk(const unsigned char *data, size_t size, size_t at) {
  return at + HEADER <= size && memcmp(data + at, "CPNC", 4) == 0 && memcmp(data + at + 4, "HKPT", 4) != 0;
}

static size_t chunk_bytes(const unsigned char *data, size_t size, size_t at) {
  return (size_t)cpn_min_u64(cpn_round_up(HEADER + (uint64_t)cpn_get_u32(data + at + 40), LOG_BLOCK), size - at);
}

void checkpoint_input_seal(unsigned char *data, size_t size, const unsigned char *identity, bool whole) {
  uint64_t chunks = 0, campaigns = 0, tickets = 0, digest = 0;
  for (size_t at = LOG_BLOCK; is_chunk(data, size, at);) {
    const size_t length = chunk_bytes(data, size, at);
    unsigned char *chunk = data + at, link[16];
    if (whole) cpn_put_u64(chunk + 16, at);
    cpn_put_u64(chunk + 48, cpn_checksum(chunk + HEADER, length - HEADER));
    cpn_put_u64(chunk + 56, cpn_checksum_two(identity, LOG_IDENTITY_SIZE, chunk, 56));
    cpn_put_u64(link, digest);
    memcpy(link + 8, chunk + 56, 8);
    digest = cpn_checksum(link, sizeof link);
    *(cpn_get_u16(chunk + 6) == 1 ? &campaigns : &tickets) += cpn_get_u32(chunk + 28);
    chunks++;
    at += length;
  }
  if (size < LOG_BLOCK) return;
  memcpy(data + 16, identity, LOG_IDENTITY_SIZE);
  if (whole) {
    cpn_put_u64(data + 80, campaigns);
    cpn_put_u64(data + 88, tickets);
    cpn_put_u64(data + 96, size);
    cpn_put_u64(data + 104, chunks);
    cpn_put_u64(data + 112, digest);
  }
  cpn_put_u64(data + 504, cpn_checksum(data, 504));
}

/* --- mutating ------------------------------------------------------------------------------------------- */

struct input {
  unsigned char *data;
  size_t size, max_size;
  uint64_t *random;
};

static uint64_t below(const struct input *in, uint64_t limit) {
  return limit == 0 ? 0 : log_input_random(in->random) % limit;
}

static size_t find_chunk(const struct input *in) {
  size_t found = 0;
  uint64_t count = 0;
  for (size_t at = LOG_BLOCK; is_chunk(in->data, in->size, at); at += chunk_bytes(in->data, in->size, at))
    if (below(in, ++count) == 0) found = at;
  return found;
}

static void poke(const struct input *in, size_t at, unsigned bytes) {
  static const uint64_t values[] = {0, 1, 2, 7, 8, 64, 255, 512, 1024, 1 << 20, UINT64_C(1) << 40, UINT64_MAX};
  if (at + bytes > in->size) return;
  uint64_t value = 0, how = below(in, 4);
  for (unsigned i = 0; i < bytes; i++) value |= (uint64_t)in->data[at + i] << 8 * i;
  if (how == 0) value += 1 + below(in, 8);
  if (how == 1) value -= 1 + below(in, 8);
  if (how == 2) value ^= UINT64_C(1) << below(in, 8 * (uint64_t)bytes);
  if (how == 3) value = values[below(in, sizeof values / sizeof values[0])];
  for (unsigned i = 0; i < bytes; i++) in->data[at + i] = (unsigned char)(value >> 8 * i);
}

/* A page begins a little earlier than it could: at an LSN, or a time, of the page before it, or of none. */
static void begin_earlier(const struct input *in, size_t page) {
  unsigned char *lsn = in->data + page, *time = lsn + 8;
  if (below(in, 2) == 0)
    cpn_put_u64(lsn, cpn_get_u64(lsn) - 8 * below(in, 64));
  else
    cpn_put_u64(time, cpn_get_u64(time) - below(in, 64));
}

/* Of one of the pages of a chunk in short a field or some of the bits; or the word that its users follow from. */
static void poke_short(const struct input *in, size_t chunk) {
  const size_t end = chunk + chunk_bytes(in->data, in->size, chunk);
  size_t at = chunk + HEADER;
  if (below(in, 4) == 0) {
    poke(in, at + 4 * (size_t)below(in, 2), 4);
    return;
  }
  at += 8;
  for (uint64_t skip = below(in, 3); skip > 0 && at + PAGE_HEADER < end; skip--) {
    const size_t next = at + PAGE_HEADER + 32 * ((size_t)in->data[at + 24] + in->data[at + 25]);
    if (next + PAGE_HEADER < end) at = next;
  }
  if (at + PAGE_HEADER > end) return;
  static const unsigned char fields[] = {0, 8, 16, 20, 24, 25, 26};
  const unsigned char field = fields[below(in, sizeof fields)];
  if (below(in, 4) == 0)
    begin_earlier(in, at);
  else if (below(in, 2) == 0)
    poke(in, at + PAGE_HEADER + (size_t)below(in, end - at - PAGE_HEADER), 1);
  else
    poke(in, at + field, field < 16 ? 8 : field < 24 ? 4 : 1);
}

/* A word of a campaign, which begin where their lengths say; or of a page, which stands behind the users. */
static void poke_payload(const struct input *in, size_t chunk) {
  static const unsigned char words[] = {0, 8, 16, 24, 32, 48, 56, 64, 72, 88, 96};
  unsigned char *bytes = in->data + chunk;
  size_t end = chunk_bytes(in->data, in->size, chunk), at = HEADER;
  if (checkpoint_short_is(bytes)) {
    poke_short(in, chunk);
    return;
  }
  if (cpn_get_u16(bytes + 6) == 2) {
    uint64_t users = (uint64_t)cpn_get_u32(bytes + 28) * (8 + 8 * below(in, 2));
    if (HEADER + users + PAGE_HEADER > end || below(in, 4) == 0) users = 0;
    static const unsigned char of_page[] = {0, 8, 16, 20, 24, 25, 26, 32};
    unsigned char field = of_page[below(in, sizeof of_page)];
    poke(in, chunk + HEADER + (size_t)users + field, field < 16 || field == 32 ? 8 : field < 24 ? 4 : 1);
    return;
  }
  for (uint64_t skip = below(in, cpn_get_u32(bytes + 28)); skip > 0 && at + CAMPAIGN < end; skip--)
    at += CAMPAIGN + (size_t)cpn_round_up(cpn_get_u32(bytes + at + 40) & 255, 8);
  if (below(in, 4) == 0)
    poke(in, chunk + at + 40 + 4 * (size_t)below(in, 2) + (below(in, 2) == 0 ? 40 : 0), 4);
  else
    poke(in, chunk + at + words[below(in, sizeof words)], 8);
}

static void change_blocks(struct input *in) {
  size_t blocks = in->size / LOG_BLOCK;
  if (blocks < 2) return;
  size_t from = LOG_BLOCK * (1 + (size_t)below(in, blocks - 1)), to = LOG_BLOCK * (1 + (size_t)below(in, blocks));
  unsigned char block[LOG_BLOCK];
  memcpy(block, in->data + from, LOG_BLOCK);
  if (below(in, 2) == 0) {
    memmove(in->data + from, in->data + from + LOG_BLOCK, in->size - from - LOG_BLOCK);
    in->size -= LOG_BLOCK;
  } else if (in->size + LOG_BLOCK <= in->max_size) {
    memmove(in->data + to + LOG_BLOCK, in->data + to, in->size - to);
    memcpy(in->data + to, block, LOG_BLOCK);
    in->size += LOG_BLOCK;
  }
}

static void change_something(struct input *in) {
  static const unsigned char of_head[] = {8, 12, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 128};
  static const struct {
    unsigned char at, bytes;
  } of_chunk[] = {{4, 2}, {6, 2}, {8, 8}, {16, 8}, {24, 4}, {28, 4}, {32, 8}, {40, 4}, {44, 4}};
  size_t chunk = find_chunk(in);
  uint64_t how = below(in, 12), field = below(in, sizeof of_chunk / sizeof of_chunk[0]);
  if (how == 0)
    in->size = LLVMFuzzerMutate(in->data, in->size, in->max_size);
  else if (how == 1)
    change_blocks(in);
  else if (how == 2)
    poke(in, of_head[below(in, sizeof of_head)], 8);
  else if (chunk != 0 && how < 5)
    poke(in, chunk + of_chunk[field].at, of_chunk[field].bytes);
  else if (chunk != 0)
    poke_payload(in, chunk);
}

/* Pages by which an input went wrong go wrong for ever after: so now and then new ones, which are the slowest, too. */
static void begin_anew(struct input *in) {
  struct checkpoint_build made;
  checkpoint_short_make(&made, in->random);
  if (made.size > in->max_size) return;
  memcpy(in->data, made.bytes, made.size);
  in->size = made.size;
}

size_t checkpoint_input_mutate(unsigned char *data, size_t size, size_t max_size, const unsigned char *identity,
                               uint64_t *random) {
  struct input in = {data, size, max_size, random};
  if (below(&in, 32) == 0)
    begin_anew(&in);
  else if (below(&in, 8) == 0)
    checkpoint_input_seal(data, size, identity, true);
  for (uint64_t left = 1 + below(&in, 2); left > 0; left--) change_something(&in);
  uint64_t seal = below(&in, 16);
  if (seal != 0) checkpoint_input_seal(in.data, in.size, identity, seal > 2);
  return in.size;
}
