/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/tickets.h"

#include "coupon/coupon.h"

/* Rows of the first chunk, 2^4: half a kilobyte for a campaign that gave out one ticket. */
#define FIRST_ROWS_BITS 4
_Static_assert((UINT64_C(1) << (FIRST_ROWS_BITS + CPN_CHUNKS_MAX)) - (UINT64_C(1) << FIRST_ROWS_BITS) >=
                   COUPON_STOCK_MAX,
               "the chunks reach the largest stock");

void cpn_tickets_init(struct cpn_tickets *tickets, uint64_t stock) {
  atomic_init(&tickets->numbered, 0);
  cpn_chunks_init(&tickets->rows, sizeof(struct cpn_ticket_row), FIRST_ROWS_BITS, stock);
}

void cpn_tickets_fini(struct cpn_tickets *tickets, struct cpn_memory *memory) {
  cpn_chunks_fini(&tickets->rows, memory);
}

uint64_t cpn_tickets_ensure(struct cpn_tickets *tickets, struct cpn_memory *memory, uint64_t number) {
  return cpn_chunks_ensure(&tickets->rows, memory, number - 1);
}

uint64_t cpn_tickets_append(struct cpn_tickets *tickets, uint64_t user, uint64_t lsn, uint64_t time_ns) {
  /* relaxed: only the one writer changes it. */
  uint64_t before = atomic_load_explicit(&tickets->numbered, memory_order_relaxed);
  CPN_INVARIANT(1, before < tickets->rows.max_count);
  struct cpn_ticket_row *row = cpn_chunks_at(&tickets->rows, before);
  row->user = user;
  row->lsn = lsn;
  row->time_ns = time_ns;
  atomic_init(&row->count, 1);
  /* release: the row before the number that lets others look at it; pairs with cpn_tickets_numbered(). */
  atomic_store_explicit(&tickets->numbered, before + 1, memory_order_release);
  return before + 1;
}

uint64_t cpn_tickets_numbered(const struct cpn_tickets *tickets) {
  return atomic_load_explicit(&tickets->numbered, memory_order_acquire); /* pairs with cpn_tickets_append() */
}

struct cpn_ticket_row *cpn_tickets_row(const struct cpn_tickets *tickets, uint64_t number) {
  CPN_DEBUG_ASSERT(number >= 1 && number <= cpn_tickets_numbered(tickets));
  return cpn_chunks_at(&tickets->rows, number - 1);
}

uint64_t cpn_tickets_find(const struct cpn_tickets *tickets, uint64_t lsn) {
  uint64_t low = 1, high = cpn_tickets_numbered(tickets);
  while (low <= high) {
    uint64_t middle = low + (high - low) / 2;
    uint64_t there = cpn_tickets_row(tickets, middle)->lsn;
    if (there == lsn) return middle;
    if (there < lsn)
      low = middle + 1;
    else
      high = middle - 1;
  }
  return 0;
}
