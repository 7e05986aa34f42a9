/* SPDX-License-Identifier: Apache-2.0 */
/* The payload of a chunk of tickets: users as they are, LSNs and times in pages that store what neighbours do not have
 * in common; the layout is that of issue/ticket_rows.h, in bytes. */
#include <string.h>

#include "base/bytes.h"
#include "log/checkpoint_format.h"
#include "log/format_block.h"

enum {
  PAGE_LSN = 0,
  PAGE_TIME = 8,
  PAGE_STEP = 16,
  PAGE_UNIT = 20,
  PAGE_P = 24,
  PAGE_Q = 25,
  PAGE_ZERO = 26,
  PAGE_BITS = 32
};

#define LSN_OF 2 /* words of a ticket */
#define TIME_OF 3

/* Our clock steps by microseconds; a caller's own may not. */
#define MICROSECOND 1000u

static unsigned bits_for(uint64_t value) { return value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value); }

static size_t bits_size(const struct cpn_tickets_page *page, uint32_t count) {
  return ((size_t)count * (page->p + page->q) + 63) / 64 * 8;
}

static uint64_t word_of(const uint64_t *tickets, uint32_t i, unsigned word) {
  return tickets[(size_t)i * CPN_TICKET_WORDS + word];
}

static uint64_t lsn_delta(const struct cpn_tickets_page *page, const uint64_t *tickets, uint32_t i) {
  return (word_of(tickets, i, LSN_OF) - page->lsn - (uint64_t)i * page->step) / 8;
}

static uint64_t time_delta(const struct cpn_tickets_page *page, const uint64_t *tickets, uint32_t i) {
  return (word_of(tickets, i, TIME_OF) - page->time_ns) / page->unit;
}

static void measure(struct cpn_tickets_page *page, const uint64_t *tickets, uint32_t count) {
  uint64_t step = UINT32_MAX & ~UINT32_C(7), times = 0, lsns = 0;
  *page = (struct cpn_tickets_page){
      .lsn = word_of(tickets, 0, LSN_OF), .time_ns = word_of(tickets, 0, TIME_OF), .unit = MICROSECOND};
  for (uint32_t i = 1; i < count; i++) {
    step = cpn_min_u64(step, word_of(tickets, i, LSN_OF) - word_of(tickets, i - 1, LSN_OF));
    if ((word_of(tickets, i, TIME_OF) - page->time_ns) % MICROSECOND != 0) page->unit = 1;
  }
  page->step = count > 1 ? (uint32_t)step : 0;
  for (uint32_t i = 0; i < count; i++) {
    lsns |= lsn_delta(page, tickets, i);
    times |= time_delta(page, tickets, i);
  }
  page->p = bits_for(lsns);
  page->q = bits_for(times);
}

/* Into zeroed bytes. */
static void put_bits(unsigned char *bytes, size_t at, unsigned bits, uint64_t value) {
  if (bits == 0) return;
  unsigned char *word = bytes + at / 64 * 8;
  const unsigned shift = at % 64;
  cpn_put_u64(word, cpn_get_u64(word) | value << shift);
  if (shift != 0 && shift + bits > 64) cpn_put_u64(word + 8, cpn_get_u64(word + 8) | value >> (64 - shift));
}

static uint64_t get_bits(const unsigned char *bytes, size_t at, unsigned bits) {
  if (bits == 0) return 0;
  const unsigned char *word = bytes + at / 64 * 8;
  const unsigned shift = at % 64;
  uint64_t value = cpn_get_u64(word) >> shift;
  if (shift != 0 && shift + bits > 64) value |= cpn_get_u64(word + 8) << (64 - shift);
  return bits == 64 ? value : value & ((UINT64_C(1) << bits) - 1);
}

static size_t page_encode(const uint64_t *tickets, uint32_t count, unsigned char *bytes) {
  struct cpn_tickets_page page;
  measure(&page, tickets, count);
  const size_t size = bits_size(&page, count), times_at = (size_t)count * page.p;
  memset(bytes, 0, PAGE_BITS + size);
  cpn_put_u64(bytes + PAGE_LSN, page.lsn);
  cpn_put_u64(bytes + PAGE_TIME, page.time_ns);
  cpn_put_u32(bytes + PAGE_STEP, page.step);
  cpn_put_u32(bytes + PAGE_UNIT, page.unit);
  bytes[PAGE_P] = (unsigned char)page.p;
  bytes[PAGE_Q] = (unsigned char)page.q;
  for (uint32_t i = 0; i < count; i++) {
    put_bits(bytes + PAGE_BITS, (size_t)i * page.p, page.p, lsn_delta(&page, tickets, i));
    put_bits(bytes + PAGE_BITS, times_at + (size_t)i * page.q, page.q, time_delta(&page, tickets, i));
  }
  return PAGE_BITS + size;
}

size_t cpn_tickets_encode(const uint64_t *tickets, uint32_t count, uint32_t user_words, unsigned char *payload) {
  unsigned char *at = payload;
  for (uint32_t i = 0; i < count; i++) {
    cpn_put_u64(at, word_of(tickets, i, 0));
    if (user_words == 2) cpn_put_u64(at + 8, word_of(tickets, i, 1));
    at += (size_t)user_words * 8;
  }
  for (uint32_t i = 0; i < count; i += CPN_TICKETS_PAGE) {
    const uint32_t of_page = (uint32_t)cpn_min_u64(CPN_TICKETS_PAGE, count - i);
    at += page_encode(tickets + (size_t)i * CPN_TICKET_WORDS, of_page, at);
  }
  return (size_t)(at - payload);
}

/* --- decoding ------------------------------------------------------------------------------------ */

/* The head, if a page of `count` can have it and fits into `size`. */
static bool page_head(struct cpn_tickets_page *page, const unsigned char *bytes, size_t size, uint32_t count) {
  if (size < PAGE_BITS) return false;
  *page = (struct cpn_tickets_page){.lsn = cpn_get_u64(bytes + PAGE_LSN),
                                    .time_ns = cpn_get_u64(bytes + PAGE_TIME),
                                    .step = cpn_get_u32(bytes + PAGE_STEP),
                                    .unit = cpn_get_u32(bytes + PAGE_UNIT),
                                    .p = bytes[PAGE_P],
                                    .q = bytes[PAGE_Q]};
  return page->p <= 64 && page->q <= 64 && page->unit != 0 && page->step % 8 == 0 && page->lsn % 8 == 0 &&
         cpn_all_zero(bytes + PAGE_ZERO, PAGE_BITS - PAGE_ZERO) && bits_size(page, count) <= size - PAGE_BITS;
}

/* The bits behind the last delta are zero, so that one meaning has one form. */
static bool rest_is_zero(const struct cpn_tickets_page *page, uint32_t count) {
  const size_t used = (size_t)count * (page->p + page->q);
  return used % 64 == 0 || get_bits(page->bits, used, 64 - used % 64) == 0;
}

bool cpn_tickets_page_decode(struct cpn_tickets_page *page, uint32_t count, const unsigned char *bytes, size_t size,
                             size_t *length) {
  if (!page_head(page, bytes, size, count)) return false;
  page->bits = bytes + PAGE_BITS;
  *length = PAGE_BITS + bits_size(page, count);
  return rest_is_zero(page, count);
}

static bool rows_decode(uint64_t *tickets, uint32_t count, const unsigned char *bytes, size_t size, size_t *length) {
  struct cpn_tickets_page page;
  if (!cpn_tickets_page_decode(&page, count, bytes, size, length)) return false;
  const size_t times_at = (size_t)count * page.p;
  bool fits = true;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t lsn = get_bits(page.bits, (size_t)i * page.p, page.p),
             time = get_bits(page.bits, times_at + (size_t)i * page.q, page.q);
    fits &= !__builtin_mul_overflow(lsn, UINT64_C(8), &lsn) && !__builtin_add_overflow(lsn, page.lsn, &lsn) &&
            !__builtin_add_overflow(lsn, (uint64_t)i * page.step, &lsn);
    fits &=
        !__builtin_mul_overflow(time, (uint64_t)page.unit, &time) && !__builtin_add_overflow(time, page.time_ns, &time);
    tickets[(size_t)i * CPN_TICKET_WORDS + LSN_OF] = lsn;
    tickets[(size_t)i * CPN_TICKET_WORDS + TIME_OF] = time;
  }
  return fits;
}

enum cpn_decoded cpn_tickets_decode(uint64_t *tickets, uint32_t count, uint32_t user_words,
                                    const unsigned char *payload, size_t size) {
  const size_t users = (size_t)count * user_words * 8;
  if (users > size) return CPN_DECODED_DAMAGED;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t *ticket = tickets + (size_t)i * CPN_TICKET_WORDS;
    const unsigned char *user = payload + (size_t)i * user_words * 8;
    ticket[0] = cpn_get_u64(user);
    ticket[1] = user_words == 2 ? cpn_get_u64(user + 8) : 0;
  }
  size_t at = users;
  for (uint32_t i = 0; i < count; i += CPN_TICKETS_PAGE) {
    const uint32_t of_page = (uint32_t)cpn_min_u64(CPN_TICKETS_PAGE, count - i);
    size_t length = 0;
    if (!rows_decode(tickets + (size_t)i * CPN_TICKET_WORDS, of_page, payload + at, size - at, &length))
      return CPN_DECODED_DAMAGED;
    at += length;
  }
  return at == size ? CPN_DECODED_OK : CPN_DECODED_DAMAGED;
}
