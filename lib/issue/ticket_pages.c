/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/ticket_pages.h"

#include "base/bytes.h"

static struct cpn_ticket_pack head_of(const struct cpn_packed_page *page) {
  return (struct cpn_ticket_pack){.first_stamp = page->first_stamp,
                                  .first_time_ns = page->first_time_ns,
                                  .stamp_step = page->stamp_step,
                                  .time_unit = page->time_unit,
                                  .count = CPN_TICKET_PAGE,
                                  .stamp_bits = (uint8_t)page->stamp_bits,
                                  .time_bits = (uint8_t)page->time_bits};
}

static size_t size_of(const struct cpn_packed_page *page) {
  const struct cpn_ticket_pack head = head_of(page);
  return cpn_ticket_pack_size(&head);
}

/* --- looking through ----------------------------------------------------------------------------- */

/* A delta of so many bits, or fewer, lies within eight bytes wherever it begins. */
#define WIDTH_MAX 57u

/* `width` bits of a page of `size` bytes, from bit `at` on; not 0 bits. */
static inline uint64_t delta_at(const unsigned char *bits, size_t size, size_t at, unsigned width) {
  const size_t from = cpn_min_u64(at / 8, size - 8); /* the last ones do not have eight bytes */
  return cpn_get_u64(bits + from) >> (at - from * 8) & ((UINT64_C(1) << width) - 1);
}

/* Whether deltas, the first of them 0, rise by `least` at least from one to the next; that may be negative. */
static bool deltas_rise(const struct cpn_packed_page *page, size_t size, size_t from, unsigned width, int64_t least,
                        uint64_t *last) {
  *last = 0;
  if (width == 0) return least <= 0;
  if (width > WIDTH_MAX || delta_at(page->bits, size, from, width) != 0) return false;
  bool rise = true;
  for (uint32_t i = 1; i < CPN_TICKET_PAGE; i++) {
    const uint64_t delta = delta_at(page->bits, size, from + (size_t)i * width, width);
    rise &= (int64_t)(delta - *last) >= least;
    *last = delta;
  }
  return rise;
}

bool cpn_packed_page_rises(struct cpn_packed_page *page, uint64_t stamp_bytes) {
  const size_t size = size_of(page) - sizeof(struct cpn_ticket_pack);
  const size_t times_at = (size_t)CPN_TICKET_PAGE * page->stamp_bits;
  const int64_t least = ((int64_t)stamp_bytes - (int64_t)page->stamp_step) / 8;
  uint64_t stamp, time;
  if (!deltas_rise(page, size, 0, page->stamp_bits, least, &stamp) ||
      !deltas_rise(page, size, times_at, page->time_bits, 0, &time))
    return false;
  /* Stamps are below 2^48, and have risen: what their deltas say cannot be more than so many bits. */
  if (stamp >> 48 != 0) return false;
  page->last_stamp = page->first_stamp + (uint64_t)(CPN_TICKET_PAGE - 1) * page->stamp_step + stamp * 8;
  return !__builtin_mul_overflow(time, (uint64_t)page->time_unit, &time) &&
         !__builtin_add_overflow(time, page->first_time_ns, &page->last_time_ns);
}

/* --- writing ------------------------------------------------------------------------------------- */

/* relaxed, all stores and loads: nobody else is there; whoever comes later gets the engine from the one who recovered
 * it. */

static void add_bytes(struct cpn_tickets *tickets, size_t bytes) {
  atomic_fetch_add_explicit(&tickets->bytes, bytes, memory_order_relaxed);
}

/* The index behind the last element that lies in one piece of memory with this one; 0: no memory. */
static uint64_t ensure(struct cpn_tickets *tickets, struct cpn_chunks *chunks, struct cpn_memory *memory,
                       uint64_t index) {
  size_t made = 0;
  const uint64_t end = cpn_chunks_ensure(chunks, memory, index, &made);
  add_bytes(tickets, made);
  return end;
}

static bool follows(const struct cpn_tickets *tickets, uint64_t before) {
  return before % CPN_TICKET_PAGE == 0 && tickets->packed == before / CPN_TICKET_PAGE &&
         cpn_tickets_room(tickets) == before && tickets->counts == NULL && before + CPN_TICKET_PAGE <= tickets->stock;
}

static struct cpn_ticket_pack *pack_create(struct cpn_memory *memory, const struct cpn_packed_page *page, size_t size) {
  struct cpn_ticket_pack *pack = cpn_memory_alloc(memory, size);
  if (pack == NULL) return NULL;
  *pack = head_of(page);
  for (size_t i = 0; i < (size - sizeof *pack) / 8; i++) pack->words[i] = cpn_get_u64(page->bits + i * 8);
  return pack;
}

/* Memory for the users behind the first `before`, in as many pieces as they lie in. False: there is none. */
static bool make_room(struct cpn_tickets *tickets, struct cpn_memory *memory, uint64_t before) {
  for (uint64_t at = before; at < before + CPN_TICKET_PAGE;) {
    at = ensure(tickets, &tickets->users, memory, at);
    if (at == 0) return false;
  }
  return ensure(tickets, &tickets->pages, memory, before / CPN_TICKET_PAGE) != 0;
}

static void put_users(const struct cpn_tickets *tickets, uint64_t before, const unsigned char *users) {
  const uint64_t last = before + CPN_TICKET_PAGE;
  for (uint64_t number = before + 1; number <= last;) {
    const _Atomic uint64_t *there;
    const uint64_t count = cpn_tickets_users_at(tickets, number, last, &there);
    _Atomic uint64_t *words = cpn_chunks_at(&tickets->users, number - 1);
    for (size_t i = 0; i < count * tickets->user_words; i++, users += 8)
      atomic_store_explicit(&words[i], cpn_get_u64(users), memory_order_relaxed);
    number += count;
  }
}

bool cpn_tickets_restore_page(struct cpn_tickets *tickets, struct cpn_memory *memory,
                              const struct cpn_packed_page *page) {
  const uint64_t before = cpn_tickets_numbered(tickets), p = before / CPN_TICKET_PAGE;
  const size_t size = size_of(page);
  if (!follows(tickets, before) || size >= CPN_TICKET_PAGE * sizeof(struct cpn_ticket_row) ||
      !make_room(tickets, memory, before))
    return false;
  struct cpn_ticket_pack *pack = pack_create(memory, page, size);
  if (pack == NULL) return false;
  put_users(tickets, before, page->users);
  atomic_store_explicit(&cpn_tickets_page(tickets, p)->first_stamp, page->first_stamp, memory_order_relaxed);
  atomic_store_explicit(&cpn_tickets_page(tickets, p)->rows, (uintptr_t)pack | CPN_TICKETS_PACKED,
                        memory_order_relaxed);
  atomic_store_explicit(&tickets->room, before + CPN_TICKET_PAGE, memory_order_relaxed);
  add_bytes(tickets, size);
  tickets->packed++;
  cpn_tickets_count_in(tickets, before + CPN_TICKET_PAGE);
  return true;
}
