/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tickets of one campaign by their numbers: who has it, the LSN, the time; 8 or 16 bytes for the user and a few
 * bits for the rest (issue/ticket_rows.h).
 *
 * Who writes: with a log the commit stage (or recovery) appends, one writer at a time; without a log a ticket has its
 * number when its unit is taken, and each is put by the request that took it, in any order. Room is made beforehand
 * by the requests, where running out of memory can still be answered.
 *
 * Any thread reads, inside a read-side critical section. Packing a page retires its wide rows, for other pages to use:
 * so who has read from wide rows looks again whether they are still the page's, like a sequence lock, and if not reads
 * the pack, which stays. Reading is wait-free: that happens once to a page. Rows go back to the allocator only after a
 * grace period.
 */
#ifndef CPN_ISSUE_TICKETS_H
#define CPN_ISSUE_TICKETS_H

#include "base/chunks.h"
#include "issue/ticket_rows.h"

/* A user, 8 bytes in words[0] or 16; `hash` is of the engine's key. */
struct cpn_user {
  uint64_t words[2];
  uint64_t hash;
};

/* Tickets to a page: 4 KiB of wide rows. Chunk k of the users is of the tickets of chunk k of the pages, so that one
 * place tells both. */
#define CPN_TICKET_PAGE_BITS 8
#define CPN_TICKET_PAGE (1u << CPN_TICKET_PAGE_BITS)

#define CPN_TICKETS_PACKED ((uintptr_t)1)

struct cpn_ticket_page {
  _Atomic uint64_t first_stamp; /* of its first ticket, for finding by LSN; written with that ticket */
  _Atomic uintptr_t rows;       /* struct cpn_ticket_row *, or struct cpn_ticket_pack * + 1; 0: none yet */
};

struct cpn_tickets {
  /* Numbers up to here have room. Written by whoever makes room; read by every request. */
  _Atomic uint64_t room;
  uint64_t stock;      /* constant: no number is higher */
  uint32_t user_words; /* constant: 1 or 2 */
  struct cpn_chunks
      *counts; /* where users have no limit: how many tickets the user of ticket n has, if it is the first */
  /* Their heads and first chunks, all that small campaigns have, are on the line above and the one on which `users`
   * begins. The chunks of the pages begin with one, those of the users with that one's users. */
  struct cpn_chunks pages; /* struct cpn_ticket_page */
  struct cpn_chunks users; /* 1 or 2 words each */
  _Atomic uint64_t bytes;
  uint64_t packed; /* pages before this one are packed; whoever packs */
  /* With a log: tickets that have their number. Written by the commit stage; read by whoever looks at rows. A line of
   * its own, apart from what every request reads. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t numbered;
};

/* False: no memory. */
CPN_MUST_CHECK bool cpn_tickets_init(struct cpn_tickets *tickets, struct cpn_memory *memory, uint64_t stock,
                                     uint32_t user_words, bool counts);
void cpn_tickets_fini(struct cpn_tickets *tickets, struct cpn_memory *memory);
/* The same, but what is left is as after cpn_tickets_init() without counts; what is constant is not written, so that it
 * can be read meanwhile. */
void cpn_tickets_empty(struct cpn_tickets *tickets, struct cpn_memory *memory);

/* Wide rows of full pages that are no page's any more. One thread's, the keeper's. */
#define CPN_ROW_POOL_SIZE 1024u
struct cpn_row_pool {
  struct cpn_ticket_row *rows[CPN_ROW_POOL_SIZE];
  size_t count;
};

/* After a grace period. */
void cpn_row_pool_free(struct cpn_row_pool *pool, struct cpn_memory *memory);

/* Makes room for every ticket up to `number`, 1 … stock; `pool` may be NULL. False: no memory. Lock-free. */
CPN_MUST_CHECK bool cpn_tickets_make_room(struct cpn_tickets *tickets, struct cpn_memory *memory,
                                          struct cpn_row_pool *pool, uint64_t number);

/* The highest number there is room for. acquire: pairs with cpn_tickets_make_room(). */
static inline uint64_t cpn_tickets_room(const struct cpn_tickets *tickets) {
  return atomic_load_explicit(&tickets->room, memory_order_acquire);
}

/* Memory for the users of tickets up to `number`, touched, so that their writers need not wait for it; and room for the
 * first of them. False: no memory. */
CPN_MUST_CHECK bool cpn_tickets_prepare(struct cpn_tickets *tickets, struct cpn_memory *memory, uint64_t number);

/* Touches the memory of users `from` … `number`, for which there is room. */
void cpn_tickets_touch(struct cpn_tickets *tickets, uint64_t from, uint64_t number);

/* Room, packing and touching go this many tickets ahead of the requests: some milliseconds of the fastest of them. */
#define CPN_TICKETS_AHEAD UINT64_C(131072)

/* Where a ticket's user and row stand; `left` tickets follow each other there. */
struct cpn_ticket_spot {
  _Atomic uint64_t *user;
  struct cpn_ticket_row *row;
  uint64_t left;
};

static inline struct cpn_ticket_page *cpn_tickets_page(const struct cpn_tickets *tickets, uint64_t page) {
  return cpn_chunks_at_of(&tickets->pages, page, sizeof(struct cpn_ticket_page));
}

/* The spot of ticket `number`, for which there is room and which is not written; `user_words` are the tickets'. The
 * steps of cpn_chunks_place(), once for both vectors. */
static inline struct cpn_ticket_spot cpn_tickets_spot_of(const struct cpn_tickets *tickets, uint32_t user_words,
                                                         uint64_t number) {
  const uint64_t shifted = number - 1 + CPN_TICKET_PAGE;
  const uint32_t high = 63 ^ (uint32_t)__builtin_clzll(shifted);
  const uint64_t offset = shifted ^ UINT64_C(1) << high;
  const uint32_t chunk = high - CPN_TICKET_PAGE_BITS;
  /* relaxed, all three: they have been this ticket's since before its room was there; the page is packed only when it
   * is complete. */
  _Atomic uint64_t *users = atomic_load_explicit(&tickets->users.chunk[chunk], memory_order_relaxed);
  struct cpn_ticket_page *pages = atomic_load_explicit(&tickets->pages.chunk[chunk], memory_order_relaxed);
  struct cpn_ticket_row *rows =
      (struct cpn_ticket_row *)atomic_load_explicit(&pages[offset / CPN_TICKET_PAGE].rows, memory_order_relaxed);
  const uint64_t in_page = offset % CPN_TICKET_PAGE;
  return (struct cpn_ticket_spot){
      .user = users + offset * user_words, .row = rows + in_page, .left = CPN_TICKET_PAGE - in_page};
}

static inline struct cpn_ticket_spot cpn_tickets_spot(const struct cpn_tickets *tickets, uint64_t number) {
  return cpn_tickets_spot_of(tickets, tickets->user_words, number);
}

/* Writes the ticket at a spot, once. `stamp`: the LSN, or without a log 1. */
static inline void cpn_tickets_put_at(struct cpn_ticket_spot spot, uint32_t user_words, const uint64_t *user,
                                      uint64_t stamp, uint64_t time_ns) {
  /* relaxed, and atomic only for those who touch the memory beforehand: ordered by the stamp, and by whatever leads to
   * the ticket. */
  atomic_store_explicit(&spot.user[0], user[0], memory_order_relaxed);
  if (user_words == 2) atomic_store_explicit(&spot.user[1], user[1], memory_order_relaxed);
  /* release, both: user and time before the stamp that says they are there; and see was_of_page(). */
  atomic_store_explicit(&spot.row->time_ns, time_ns, memory_order_release);
  atomic_store_explicit(&spot.row->stamp, stamp, memory_order_release);
}

/* Where a writer who appends goes on. For the first ticket, or behind another campaign's: from nothing. */
struct cpn_ticket_cursor {
  struct cpn_ticket_spot spot; /* of the next ticket; with none left it is looked for anew */
  uint64_t number;             /* of the next ticket */
};
static inline struct cpn_ticket_cursor cpn_tickets_cursor(const struct cpn_tickets *tickets) {
  /* relaxed: only the one writer changes it. */
  return (struct cpn_ticket_cursor){.number = atomic_load_explicit(&tickets->numbered, memory_order_relaxed) + 1};
}

/* A writer at the end of a spot looks for the next one; `lsn` is the next ticket's. */
void cpn_tickets_turn(struct cpn_tickets *tickets, struct cpn_ticket_cursor *cursor, uint64_t lsn);

/* How many tickets the writer may put at the cursor's spot; one at least. */
static inline uint64_t cpn_tickets_ready(struct cpn_tickets *tickets, struct cpn_ticket_cursor *cursor, uint64_t lsn) {
  if (CPN_UNLIKELY(cursor->spot.left == 0)) cpn_tickets_turn(tickets, cursor, lsn);
  return cursor->spot.left;
}

/* So many of them are put. */
static inline void cpn_tickets_went_on(const struct cpn_tickets *tickets, struct cpn_ticket_cursor *cursor,
                                       uint64_t count) {
  cursor->spot.user += count * tickets->user_words;
  cursor->spot.row += count;
  cursor->spot.left -= count;
  cursor->number += count;
}

/* Puts the next one behind `numbered`; returns its number. One writer at a time, who then counts it in. */
uint64_t cpn_tickets_append(struct cpn_tickets *tickets, struct cpn_ticket_cursor *cursor, const uint64_t *user,
                            uint64_t lsn, uint64_t time_ns);

/* Lets others see the ticket appended last. release: pairs with cpn_tickets_numbered(). */
static inline void cpn_tickets_count_in(struct cpn_tickets *tickets, uint64_t number) {
  atomic_store_explicit(&tickets->numbered, number, memory_order_release);
}

static inline uint64_t cpn_tickets_numbered(const struct cpn_tickets *tickets) {
  return atomic_load_explicit(&tickets->numbered, memory_order_acquire); /* pairs with cpn_tickets_count_in() */
}

/* Stamp and time of a ticket that is numbered; or without a log, of one that has room. 0: it is not written yet. */
uint64_t cpn_tickets_read(const struct cpn_tickets *tickets, uint64_t number, uint64_t *time_ns);

/* The user's words, of a ticket that is written; the second is 0 where there is one. */
void cpn_tickets_user(const struct cpn_tickets *tickets, uint64_t number, uint64_t user[2]);

static inline bool cpn_tickets_is_users(const struct cpn_tickets *tickets, uint64_t number,
                                        const struct cpn_user *user) {
  uint64_t words[2];
  cpn_tickets_user(tickets, number, words);
  return words[0] == user->words[0] && (tickets->user_words == 1 || words[1] == user->words[1]);
}

/* The count of the user whose first ticket this is. */
_Atomic uint64_t *cpn_tickets_count(const struct cpn_tickets *tickets, uint64_t number);

/* The number of the ticket whose record has this LSN, or 0 if none has (yet). LSNs rise with numbers: looked for where
 * a steady pace would have it, then by halving. */
uint64_t cpn_tickets_find(const struct cpn_tickets *tickets, uint64_t lsn);

/* A ticket that was issued before. */
struct cpn_restored {
  uint64_t user[2]; /* the second is 0 where users are one word */
  uint64_t lsn;
  uint64_t time_ns;
};

/* For a recovery, which is alone with the tickets: writes `count` of them, behind those that have their numbers, at the
 * spot of the next one, where they have to lie. First the users, who tell whose claim is whose; then the rows, and with
 * them they have their numbers. */
void cpn_tickets_restore_users(const struct cpn_tickets *tickets, const struct cpn_ticket_spot *spot,
                               const struct cpn_restored *rows, size_t count);
void cpn_tickets_restore_rows(struct cpn_tickets *tickets, const struct cpn_ticket_spot *spot,
                              const struct cpn_restored *rows, size_t count);

/* Where the words of users `number` … stand side by side, up to `last` at most; how many. */
uint64_t cpn_tickets_users_at(const struct cpn_tickets *tickets, uint64_t number, uint64_t last,
                              const _Atomic uint64_t **users);

/* Packs full pages that are complete, as long as the pool takes their wide rows. One thread at a time. */
void cpn_tickets_pack(struct cpn_tickets *tickets, struct cpn_memory *memory, struct cpn_row_pool *pool);

uint64_t cpn_tickets_bytes(const struct cpn_tickets *tickets);

#endif
