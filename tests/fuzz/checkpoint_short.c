/* SPDX-License-Identifier: Apache-2.0 */
#include "checkpoint_short.h"

#include <string.h>

#include "base/bytes.h"
#include "log_input.h"

enum { HEADER = 64, PAGE = 256, PAGE_HEADER = 32, USERS_WORD = 8 };

static unsigned kind_of(const unsigned char *chunk) { return cpn_get_u16(chunk + 6); }

bool checkpoint_short_is(const unsigned char *chunk) {
  const unsigned kind = kind_of(chunk);
  return kind == (2U | SHORT_NUMBERS) || kind == (2U | SHORT_UUIDS);
}

/* --- building ------------------------------------------------------------------------------------------- */

static unsigned char *extend(struct checkpoint_build *made, size_t bytes, uint32_t count) {
  unsigned char *chunk = made->bytes + made->chunk, *at = chunk + HEADER + cpn_get_u32(chunk + 40);
  cpn_put_u32(chunk + 28, cpn_get_u32(chunk + 28) + count);
  cpn_put_u32(chunk + 40, cpn_get_u32(chunk + 40) + (uint32_t)bytes);
  made->size = made->chunk + (size_t)cpn_round_up(HEADER + cpn_get_u32(chunk + 40), LOG_BLOCK);
  return at;
}

void checkpoint_short_users(struct checkpoint_build *made, uint32_t first, uint32_t period) {
  cpn_put_u64(extend(made, USERS_WORD, 0), (uint64_t)period << 32 | first);
}

static void put_deltas(unsigned char *bits, size_t at, unsigned width, unsigned rise) {
  for (uint64_t i = 0; i < PAGE; i++, at += width) {
    const uint64_t delta = i / 16 * rise;
    for (unsigned bit = 0; bit < width; bit++)
      bits[(at + bit) / 8] |= (unsigned char)((delta >> bit & 1) << (at + bit) % 8);
  }
}

void checkpoint_short_page(struct checkpoint_build *made, const struct checkpoint_short_page *page) {
  const size_t bits = (size_t)PAGE / 8 * (page->p + page->q);
  unsigned char *at = extend(made, PAGE_HEADER + bits, PAGE);
  cpn_put_u64(at, page->lsn);
  cpn_put_u64(at + 8, page->time_ns);
  cpn_put_u32(at + 16, page->step);
  cpn_put_u32(at + 20, page->unit);
  at[24] = (unsigned char)page->p;
  at[25] = (unsigned char)page->q;
  put_deltas(at + PAGE_HEADER, 0, page->p, page->lsn_rise);
  put_deltas(at + PAGE_HEADER, (size_t)PAGE * page->p, page->q, page->time_rise);
}

static uint64_t below(uint64_t *random, uint64_t limit) { return log_input_random(random) % limit; }

/* The greatest rise that fits, or less. */
static unsigned choose_rise(uint64_t *random, unsigned width) {
  return (unsigned)below(random, ((1U << width) - 1) / 15 + 1);
}

/* A page behind `lsn` and at `time_ns` or later, which become its last ticket's. */
static struct checkpoint_short_page choose_page(uint64_t *random, uint32_t record_bytes, uint64_t *lsn,
                                                uint64_t *time_ns) {
  struct checkpoint_short_page page = {.p = (unsigned)below(random, 7), .q = (unsigned)below(random, 7)};
  page.lsn = *lsn + record_bytes + 8 * below(random, 3);
  page.time_ns = *time_ns + below(random, 3);
  page.step = record_bytes + 8 * (uint32_t)below(random, 2);
  page.unit = 1 + (uint32_t)below(random, 3);
  page.lsn_rise = choose_rise(random, page.p);
  page.time_rise = choose_rise(random, page.q);
  *lsn = page.lsn + (PAGE - 1) * (uint64_t)page.step + UINT64_C(15) * page.lsn_rise * 8;
  *time_ns = page.time_ns + UINT64_C(15) * page.time_rise * page.unit;
  return page;
}

void checkpoint_short_make(struct checkpoint_build *made, uint64_t *random) {
  const bool uuids = below(random, 2) == 0, limit = below(random, 4) != 0, split = below(random, 2) == 0;
  const uint32_t pages = 1 + (uint32_t)below(random, 3);
  uint64_t lsn = 80, time_ns = 100;
  *made = checkpoint_build_begin(65536, 900);
  checkpoint_build_chunk(made, 1, 0, 0);
  unsigned char *campaign = checkpoint_build_campaign(made, 10, lsn, pages * PAGE, "");
  cpn_put_u64(campaign + 16, limit);
  cpn_put_u32(campaign + 44, uuids);
  for (uint32_t i = 0; i < pages; i++) {
    if (i == 0 || split) {
      checkpoint_build_chunk(made, 2U | (uuids ? SHORT_UUIDS : SHORT_NUMBERS), 0, i * UINT64_C(256) + 1);
      checkpoint_short_users(made, 1000 * i, limit || below(random, 2) == 0 ? 0 : 90);
    }
    const struct checkpoint_short_page page = choose_page(random, uuids ? 32 : 24, &lsn, &time_ns);
    checkpoint_short_page(made, &page);
  }
}

/* --- expanding ------------------------------------------------------------------------------------------ */

struct part {
  const unsigned char *chunk;
  size_t payload, length; /* of the payload what is there; of the chunk, with what fills its last block */
};

static bool next_part(const unsigned char *data, size_t size, size_t at, struct part *part) {
  if (at + LOG_BLOCK > size || memcmp(data + at, "CPNC", 4) != 0) return false;
  const uint64_t said = cpn_get_u32(data + at + 40);
  part->chunk = data + at;
  part->length = (size_t)cpn_min_u64(cpn_round_up(HEADER + said, LOG_BLOCK), size - at);
  part->payload = (size_t)cpn_min_u64(said, part->length - HEADER);
  return true;
}

static bool is_short(const struct part *part) {
  return checkpoint_short_is(part->chunk) && part->payload >= USERS_WORD;
}

/* Whether there is something to expand, and there are not too many tickets in it. */
static bool can_expand(const unsigned char *data, size_t size) {
  uint64_t tickets = 0;
  bool any = false;
  struct part part;
  for (size_t at = LOG_BLOCK; next_part(data, size, at, &part); at += part.length) {
    if (!is_short(&part)) continue;
    any = true;
    tickets += cpn_get_u32(part.chunk + 28);
  }
  return any && tickets <= CHECKPOINT_SHORT_TICKETS;
}

static size_t put_users(const struct part *part, unsigned char *to) {
  const uint64_t word = cpn_get_u64(part->chunk + HEADER), period = word >> 32;
  const size_t width = (kind_of(part->chunk) & SHORT_UUIDS) != 0 ? 16 : 8;
  const uint32_t count = cpn_get_u32(part->chunk + 28);
  for (uint64_t i = 0; i < count; i++) {
    cpn_put_u64(to + i * width, (uint32_t)word + (period == 0 ? i : i % period));
    if (width == 16) cpn_put_u64(to + i * width + 8, ~i >> 63); /* the same for all of them */
  }
  return count * width;
}

/* Returns the chunk's length; what it is made of is zero so far. */
static size_t expand_chunk(const struct part *part, unsigned char *to) {
  memcpy(to, part->chunk, HEADER);
  if (!is_short(part)) {
    memcpy(to, part->chunk, part->length);
    return part->length;
  }
  const size_t users = put_users(part, to + HEADER), rest = part->payload - USERS_WORD;
  memcpy(to + HEADER + users, part->chunk + HEADER + USERS_WORD, rest);
  cpn_put_u16(to + 6, 2);
  cpn_put_u32(to + 40, (uint32_t)(users + rest));
  return (size_t)cpn_round_up(HEADER + users + rest, LOG_BLOCK);
}

size_t checkpoint_short_expand(const unsigned char *data, size_t size, const unsigned char *identity,
                               unsigned char *whole) {
  if (size < LOG_BLOCK || !can_expand(data, size)) return 0;
  memset(whole, 0, CHECKPOINT_LONG_MAX);
  memcpy(whole, data, LOG_BLOCK);
  size_t at = LOG_BLOCK, to = LOG_BLOCK;
  struct part part;
  for (; next_part(data, size, at, &part); at += part.length) to += expand_chunk(&part, whole + to);
  memcpy(whole + to, data + at, size - at); /* what is no chunk */
  to += size - at;
  checkpoint_input_seal(whole, to, identity, true);
  return to;
}
