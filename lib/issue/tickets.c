/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/tickets.h"

#include "base/points.h"
#include "coupon/coupon.h"

/* Users of the first chunk, and pages. (A chunk is cut to the stock, so that small campaigns have small ones.) */
#define FIRST_USERS_BITS CPN_TICKET_PAGE_BITS
#define FIRST_PAGES_BITS 0
_Static_assert((UINT64_C(1) << (FIRST_USERS_BITS + CPN_CHUNKS_MAX)) - (UINT64_C(1) << FIRST_USERS_BITS) >=
                   COUPON_STOCK_MAX,
               "the chunks reach the largest stock");

#define PACKED CPN_TICKETS_PACKED

/* Every page has this many rows, but the last one only what the stock leaves. */
static uint32_t page_rows(const struct cpn_tickets *tickets, uint64_t page) {
  return (uint32_t)cpn_min_u64(CPN_TICKET_PAGE, tickets->stock - page * CPN_TICKET_PAGE);
}

static uint64_t pages_of(uint64_t number) { return (number + CPN_TICKET_PAGE - 1) / CPN_TICKET_PAGE; }

static void count_bytes(struct cpn_tickets *tickets, uint64_t more, uint64_t less) {
  atomic_fetch_add_explicit(&tickets->bytes, more - less, memory_order_relaxed); /* relaxed: a figure for people */
}

bool cpn_tickets_init(struct cpn_tickets *tickets, struct cpn_memory *memory, uint64_t stock, uint32_t user_words,
                      bool counts) {
  atomic_init(&tickets->numbered, 0);
  atomic_init(&tickets->room, 0);
  atomic_init(&tickets->bytes, 0);
  tickets->packed = 0;
  tickets->stock = stock;
  tickets->user_words = user_words;
  cpn_chunks_init(&tickets->users, user_words * 8, FIRST_USERS_BITS, stock);
  cpn_chunks_init(&tickets->pages, sizeof(struct cpn_ticket_page), FIRST_PAGES_BITS, pages_of(stock));
  tickets->counts = NULL;
  if (!counts) return true;
  tickets->counts = cpn_memory_alloc(memory, sizeof *tickets->counts);
  if (tickets->counts == NULL) return false;
  cpn_chunks_init(tickets->counts, sizeof(_Atomic uint64_t), FIRST_USERS_BITS, stock);
  return true;
}

void cpn_tickets_fini(struct cpn_tickets *tickets, struct cpn_memory *memory) {
  uint64_t pages = pages_of(cpn_tickets_room(tickets));
  for (uint64_t p = 0; p < pages; p++) {
    /* relaxed: nobody else uses the tickets any more. */
    uintptr_t rows = atomic_load_explicit(&cpn_tickets_page(tickets, p)->rows, memory_order_relaxed);
    if ((rows & PACKED) != 0) {
      struct cpn_ticket_pack *pack = (struct cpn_ticket_pack *)(rows - PACKED);
      cpn_memory_free(memory, pack, cpn_ticket_pack_size(pack));
    } else {
      cpn_memory_free(memory, (void *)rows, page_rows(tickets, p) * sizeof(struct cpn_ticket_row));
    }
  }
  cpn_chunks_fini(&tickets->users, memory);
  cpn_chunks_fini(&tickets->pages, memory);
  if (tickets->counts == NULL) return;
  cpn_chunks_fini(tickets->counts, memory);
  cpn_memory_free(memory, tickets->counts, sizeof *tickets->counts);
}

void cpn_tickets_empty(struct cpn_tickets *tickets, struct cpn_memory *memory) {
  cpn_tickets_fini(tickets, memory);
  /* relaxed, all three: nobody else looks at them any more. */
  atomic_store_explicit(&tickets->numbered, 0, memory_order_relaxed);
  atomic_store_explicit(&tickets->room, 0, memory_order_relaxed);
  atomic_store_explicit(&tickets->bytes, 0, memory_order_relaxed);
  tickets->packed = 0;
  tickets->counts = NULL;
  cpn_chunks_init(&tickets->users, tickets->user_words * 8, FIRST_USERS_BITS, tickets->stock);
  cpn_chunks_init(&tickets->pages, sizeof(struct cpn_ticket_page), FIRST_PAGES_BITS, pages_of(tickets->stock));
}

/* --- room ---------------------------------------------------------------------------------------- */

/* The index behind the last element there is room for; 0: no memory. Counts a chunk that is new. */
static uint64_t ensure(struct cpn_tickets *tickets, struct cpn_chunks *chunks, struct cpn_memory *memory,
                       uint64_t index) {
  size_t made = 0;
  uint64_t end = cpn_chunks_ensure(chunks, memory, index, &made);
  count_bytes(tickets, made, 0);
  return end;
}

#define FULL_PAGE_SIZE (CPN_TICKET_PAGE * sizeof(struct cpn_ticket_row))

void cpn_row_pool_free(struct cpn_row_pool *pool, struct cpn_memory *memory) {
  while (pool->count > 0) cpn_memory_free(memory, pool->rows[--pool->count], FULL_PAGE_SIZE);
}

/* Rows for a page: of the pool, or new ones, which are empty. Those of the pool are emptied (atomically, since somebody
 * may still be reading, who will then look again), but not for tickets that are numbered by their writer: nobody looks
 * at those before they are counted in. */
static struct cpn_ticket_row *rows_get(const struct cpn_tickets *tickets, struct cpn_memory *memory,
                                       struct cpn_row_pool *pool, size_t size) {
  if (pool == NULL || pool->count == 0 || size != FULL_PAGE_SIZE) return cpn_memory_alloc(memory, size);
  struct cpn_ticket_row *rows = pool->rows[--pool->count];
  if (cpn_tickets_numbered(tickets) > 0) return rows;
  for (uint32_t i = 0; i < CPN_TICKET_PAGE; i++) {
    /* release: behind the pointer to the pack; see was_of_page(). */
    atomic_store_explicit(&rows[i].stamp, 0, memory_order_release);
    atomic_store_explicit(&rows[i].time_ns, 0, memory_order_release);
  }
  return rows;
}

static void rows_put(struct cpn_memory *memory, struct cpn_row_pool *pool, struct cpn_ticket_row *rows, size_t size) {
  if (pool != NULL && pool->count < CPN_ROW_POOL_SIZE && size == FULL_PAGE_SIZE)
    pool->rows[pool->count++] = rows;
  else
    cpn_memory_free(memory, rows, size);
}

/* Page p gets its wide rows, if it has none. */
static bool ensure_page(struct cpn_tickets *tickets, struct cpn_memory *memory, struct cpn_row_pool *pool, uint64_t p) {
  if (ensure(tickets, &tickets->pages, memory, p) == 0) return false;
  struct cpn_ticket_page *page = cpn_tickets_page(tickets, p);
  /* acquire: who relies on the rows sees their zeros. */
  if (atomic_load_explicit(&page->rows, memory_order_acquire) != 0) return true;
  const size_t size = page_rows(tickets, p) * sizeof(struct cpn_ticket_row);
  struct cpn_ticket_row *fresh = rows_get(tickets, memory, pool, size);
  /* Another thread may have had the last bytes, for this very page. */
  if (fresh == NULL) return atomic_load_explicit(&page->rows, memory_order_acquire) != 0;
  uintptr_t none = 0;
  /* release: the zeros before the pointer. acquire on failure: as above. */
  if (atomic_compare_exchange_strong_explicit(&page->rows, &none, (uintptr_t)fresh, memory_order_release,
                                              memory_order_acquire))
    count_bytes(tickets, size, 0);
  else
    rows_put(memory, pool, fresh, size); /* nobody has seen them */
  return true;
}

bool cpn_tickets_make_room(struct cpn_tickets *tickets, struct cpn_memory *memory, struct cpn_row_pool *pool,
                           uint64_t number) {
  CPN_INVARIANT(0, number >= 1 && number <= tickets->stock);
  uint64_t room = cpn_tickets_room(tickets);
  while (room < number) {
    /* A page at a time, and whatever its tickets need; below `room` everything is there. */
    uint64_t p = room / CPN_TICKET_PAGE;
    uint64_t end = p * CPN_TICKET_PAGE + page_rows(tickets, p);
    uint64_t users = ensure(tickets, &tickets->users, memory, room);
    if (users == 0) return false;
    end = cpn_min_u64(end, users);
    if (tickets->counts != NULL) {
      uint64_t counts = ensure(tickets, tickets->counts, memory, room);
      if (counts == 0) return false;
      end = cpn_min_u64(end, counts);
    }
    /* Last, because rows beyond the room are nobody's to free. */
    if (!ensure_page(tickets, memory, pool, p)) return false;
    /* release: chunks and rows before the room they make. Failure: another thread made this room, or more. */
    if (atomic_compare_exchange_strong_explicit(&tickets->room, &room, end, memory_order_acq_rel, memory_order_acquire))
      room = end;
  }
  return true;
}

bool cpn_tickets_prepare(struct cpn_tickets *tickets, struct cpn_memory *memory, uint64_t number) {
  for (uint64_t end = 0; end < number;) {
    uint64_t from = end;
    end = ensure(tickets, &tickets->users, memory, from);
    if (end == 0) return false;
    cpn_tickets_touch(tickets, from + 1, cpn_min_u64(end, number));
    if (ensure(tickets, &tickets->pages, memory, (cpn_min_u64(end, number) - 1) / CPN_TICKET_PAGE) == 0) return false;
  }
  return cpn_tickets_make_room(tickets, memory, NULL, cpn_min_u64(number, CPN_TICKETS_AHEAD));
}

void cpn_tickets_touch(struct cpn_tickets *tickets, uint64_t from, uint64_t number) {
  const uint64_t step = 4096 / (tickets->user_words * 8);
  for (uint64_t n = from; n <= number; n += step) {
    /* An exchange of 0 for 0: writes, and does not spoil what the owner of the ticket may be writing just now. relaxed:
     * it tells nobody anything. */
    uint64_t zero = 0;
    (void)atomic_compare_exchange_strong_explicit((_Atomic uint64_t *)cpn_chunks_at(&tickets->users, n - 1), &zero, 0,
                                                  memory_order_relaxed, memory_order_relaxed);
  }
}

/* --- writing ------------------------------------------------------------------------------------- */

void cpn_tickets_turn(struct cpn_tickets *tickets, struct cpn_ticket_cursor *cursor, uint64_t lsn) {
  CPN_INVARIANT(1, cursor->number <= cpn_tickets_room(tickets));
  cursor->spot = cpn_tickets_spot(tickets, cursor->number);
  /* release: ordered by `numbered` for those who look for it. */
  if (cursor->number % CPN_TICKET_PAGE == 1)
    atomic_store_explicit(&cpn_tickets_page(tickets, cursor->number / CPN_TICKET_PAGE)->first_stamp, lsn,
                          memory_order_release);
}

uint64_t cpn_tickets_append(struct cpn_tickets *tickets, struct cpn_ticket_cursor *cursor, const uint64_t *user,
                            uint64_t lsn, uint64_t time_ns) {
  (void)cpn_tickets_ready(tickets, cursor, lsn);
  cpn_tickets_put_at(cursor->spot, tickets->user_words, user, lsn, time_ns);
  cpn_tickets_went_on(tickets, cursor, 1);
  return cursor->number - 1;
}

/* --- restoring ----------------------------------------------------------------------------------- */

/* relaxed, all of these stores: nobody else is there; whoever comes later gets the engine from the one who recovered
 * it. */

void cpn_tickets_restore_users(const struct cpn_tickets *tickets, const struct cpn_ticket_spot *spot,
                               const struct cpn_restored *rows, size_t count) {
  _Atomic uint64_t *user = spot->user;
  if (tickets->user_words == 1) {
    for (size_t i = 0; i < count; i++) atomic_store_explicit(&user[i], rows[i].user[0], memory_order_relaxed);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    atomic_store_explicit(&user[2 * i], rows[i].user[0], memory_order_relaxed);
    atomic_store_explicit(&user[2 * i + 1], rows[i].user[1], memory_order_relaxed);
  }
}

void cpn_tickets_restore_rows(struct cpn_tickets *tickets, const struct cpn_ticket_spot *spot,
                              const struct cpn_restored *rows, size_t count) {
  const uint64_t before = cpn_tickets_numbered(tickets);
  for (size_t i = 0; i < count; i++) {
    atomic_store_explicit(&spot->row[i].time_ns, rows[i].time_ns, memory_order_relaxed);
    atomic_store_explicit(&spot->row[i].stamp, rows[i].lsn, memory_order_relaxed);
  }
  if (before % CPN_TICKET_PAGE == 0)
    atomic_store_explicit(&cpn_tickets_page(tickets, before / CPN_TICKET_PAGE)->first_stamp, rows[0].lsn,
                          memory_order_relaxed);
  cpn_tickets_count_in(tickets, before + count);
}

uint64_t cpn_tickets_users_at(const struct cpn_tickets *tickets, uint64_t number, uint64_t last,
                              const _Atomic uint64_t **users) {
  struct cpn_chunks_place place = cpn_chunks_place(&tickets->users, number - 1);
  *users = cpn_chunks_at(&tickets->users, number - 1);
  return cpn_min_u64((UINT64_C(1) << (tickets->users.first_bits + place.chunk)) - place.offset, last - number + 1);
}

/* --- reading ------------------------------------------------------------------------------------- */

/* Stamp and time of row i of a page. */
static uint64_t page_read(uintptr_t rows, uint32_t i, uint64_t *time_ns) {
  if ((rows & PACKED) != 0) {
    const struct cpn_ticket_pack *pack = (const struct cpn_ticket_pack *)(rows - PACKED);
    *time_ns = cpn_ticket_pack_time(pack, i);
    return cpn_ticket_pack_stamp(pack, i);
  }
  const struct cpn_ticket_row *row = (const struct cpn_ticket_row *)rows + i;
  /* acquire: pairs with cpn_tickets_put_at(). */
  uint64_t stamp = atomic_load_explicit(&row->stamp, memory_order_acquire);
  CPN_POINT(ROW_HALF_READ);
  *time_ns = atomic_load_explicit(&row->time_ns, memory_order_acquire); /* acquire: see was_of_page() */
  return stamp;
}

static uintptr_t page_rows_of(const struct cpn_tickets *tickets, uint64_t p) {
  /* acquire: pairs with whoever packed it; the critical section keeps wide rows alive. */
  return atomic_load_explicit(&cpn_tickets_page(tickets, p)->rows, memory_order_acquire);
}

/* Whether what was read through `rows` was the page's: packs stay, and wide rows were if they still are. */
static bool was_of_page(const struct cpn_tickets *tickets, uint64_t p, uintptr_t rows) {
  if ((rows & PACKED) != 0) return true;
  /* Whoever gave the rows to another page had published the pack before; who writes to them, with release, has seen the
   * room that this made: so something read from after that, with acquire, is not followed by a pointer from before. */
  return page_rows_of(tickets, p) == rows;
}

uint64_t cpn_tickets_read(const struct cpn_tickets *tickets, uint64_t number, uint64_t *time_ns) {
  const uint64_t p = (number - 1) / CPN_TICKET_PAGE;
  for (;;) {
    uintptr_t rows = page_rows_of(tickets, p);
    CPN_POINT(ROWS_SEEN);
    uint64_t stamp = page_read(rows, (uint32_t)((number - 1) % CPN_TICKET_PAGE), time_ns);
    if (CPN_LIKELY(was_of_page(tickets, p, rows))) return stamp;
  }
}

void cpn_tickets_user(const struct cpn_tickets *tickets, uint64_t number, uint64_t user[2]) {
  _Atomic uint64_t *words = cpn_chunks_at(&tickets->users, number - 1);
  /* relaxed: ordered by what led to the ticket. */
  user[0] = atomic_load_explicit(&words[0], memory_order_relaxed);
  user[1] = tickets->user_words == 2 ? atomic_load_explicit(&words[1], memory_order_relaxed) : 0;
}

_Atomic uint64_t *cpn_tickets_count(const struct cpn_tickets *tickets, uint64_t number) {
  return cpn_chunks_at(tickets->counts, number - 1);
}

/* --- finding by LSN ------------------------------------------------------------------------------ */

static uint64_t first_stamp(const struct cpn_tickets *tickets, uint64_t p) {
  /* acquire: p's first ticket is numbered. */
  return atomic_load_explicit(&cpn_tickets_page(tickets, p)->first_stamp, memory_order_acquire);
}

/* The last of pages 0 … last whose first LSN is not above `lsn`, page 0's not being. */
static uint64_t find_page(const struct cpn_tickets *tickets, uint64_t last, uint64_t lsn) {
  uint64_t low = 0, high = last; /* the page lies in [low, high) */
  uint64_t low_stamp = first_stamp(tickets, 0), high_stamp = first_stamp(tickets, last);
  if (lsn >= high_stamp) return last;
  /* Where a steady pace would have it, three times; a burst elsewhere misleads it, and then halving finds it. */
  for (unsigned turn = 0; high - low > 1; turn++) {
    uint64_t middle = low + (high - low) / 2;
    if (turn < 3) {
      uint64_t guess = low + (uint64_t)((cpn_u128)(lsn - low_stamp) * (high - low) / (high_stamp - low_stamp));
      middle = cpn_min_u64(cpn_max_u64(guess, low + 1), high - 1);
    }
    uint64_t stamp = first_stamp(tickets, middle);
    if (stamp <= lsn) {
      low = middle;
      low_stamp = stamp;
      /* Mostly it is this one: the next begins behind it. */
      if (low + 1 < high && first_stamp(tickets, low + 1) > lsn) return low;
    } else {
      high = middle;
      high_stamp = stamp;
    }
  }
  return low;
}

/* Records of tickets, with the users' words, a head and a time, are so long: no two stamps are nearer, with a log. */
static uint32_t least_step(const struct cpn_tickets *tickets) { return (tickets->user_words + 2) * 8; }

/* The row with this stamp among the first `count`, or `count` if there is none. */
static uint32_t find_row(uintptr_t rows, uint32_t count, uint64_t stamp_bytes, uint64_t lsn) {
  uint32_t low = 0, high = count; /* in [low, high), if anywhere */
  /* Records follow each other at a distance of `stamp_bytes` or more: it lies no further than that, and just there
   * where one campaign has the log for itself. */
  uint64_t unused, first = page_read(rows, 0, &unused);
  if (lsn < first) return count;
  uint64_t guess = (lsn - first) / stamp_bytes;
  if (guess < count) {
    high = (uint32_t)guess + 1;
    if (page_read(rows, (uint32_t)guess, &unused) == lsn) return (uint32_t)guess;
  }
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    uint64_t stamp = page_read(rows, middle, &unused);
    if (stamp == lsn) return middle;
    if (stamp < lsn)
      low = middle + 1;
    else
      high = middle;
  }
  return count;
}

uint64_t cpn_tickets_find(const struct cpn_tickets *tickets, uint64_t lsn) {
  uint64_t numbered = cpn_tickets_numbered(tickets);
  if (numbered == 0 || lsn < first_stamp(tickets, 0)) return 0;
  const uint64_t p = find_page(tickets, (numbered - 1) / CPN_TICKET_PAGE, lsn);
  const uint32_t count = (uint32_t)cpn_min_u64(numbered - p * CPN_TICKET_PAGE, CPN_TICKET_PAGE);
  for (;;) {
    uintptr_t rows = page_rows_of(tickets, p);
    CPN_POINT(ROWS_SEEN);
    uint32_t row = find_row(rows, count, least_step(tickets), lsn);
    if (CPN_LIKELY(was_of_page(tickets, p, rows))) return row < count ? p * CPN_TICKET_PAGE + row + 1 : 0;
  }
}

/* --- packing ------------------------------------------------------------------------------------- */

/* Whether every ticket of the page is written. */
static bool is_complete(const struct cpn_tickets *tickets, const struct cpn_ticket_row *rows, uint64_t p) {
  const uint64_t numbered = cpn_tickets_numbered(tickets);
  if (numbered > 0) return numbered >= p * CPN_TICKET_PAGE + page_rows(tickets, p);
  for (uint32_t i = page_rows(tickets, p); i > 0; i--) {
    /* acquire: pairs with cpn_tickets_put_at(). */
    if (atomic_load_explicit(&rows[i - 1].stamp, memory_order_acquire) == 0) return false;
  }
  return true;
}

void cpn_tickets_pack(struct cpn_tickets *tickets, struct cpn_memory *memory, struct cpn_row_pool *pool) {
  for (; pool->count < CPN_ROW_POOL_SIZE; tickets->packed++) {
    const uint64_t p = tickets->packed;
    if ((p + 1) * CPN_TICKET_PAGE > cpn_tickets_room(tickets)) return;
    struct cpn_ticket_row *rows = (struct cpn_ticket_row *)page_rows_of(tickets, p);
    if (!is_complete(tickets, rows, p)) return;
    struct cpn_ticket_pack head;
    const size_t size = cpn_ticket_pack_measure(&head, rows, CPN_TICKET_PAGE, least_step(tickets));
    if (size >= FULL_PAGE_SIZE) continue; /* it stays as it is */
    struct cpn_ticket_pack *pack = cpn_memory_alloc(memory, size);
    if (pack == NULL) return; /* packing saves memory; without any it waits */
    *pack = head;
    cpn_ticket_pack_fill(pack, rows);
    /* release: the pack before the pointer; pairs with page_rows_of(). */
    atomic_store_explicit(&cpn_tickets_page(tickets, p)->rows, (uintptr_t)pack | PACKED, memory_order_release);
    count_bytes(tickets, size, FULL_PAGE_SIZE);
    pool->rows[pool->count++] = rows;
  }
}

uint64_t cpn_tickets_bytes(const struct cpn_tickets *tickets) {
  return atomic_load_explicit(&tickets->bytes, memory_order_relaxed); /* relaxed: a figure for people */
}
