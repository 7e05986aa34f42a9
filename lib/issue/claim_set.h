/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claim set: user -> claim, one entry per user, for one campaign.
 *
 * Guarantees
 *   (a) A user has at most one entry, whatever runs concurrently. An entry is never removed, moved, or given to
 *       another user; only its state changes. A pointer to it stays valid as long as the set.
 *   (b) A claim state is FREE, PENDING (one request of this user is being decided), HELD (a unit was taken for the
 *       record with this LSN) or NUMBERED (that ticket has its number).
 *   (c) Finding is wait-free and writes nothing; users that are only looked up leave nothing behind.
 *
 * How. Tables ("levels") of lines of four entries, a cache line each. A user hashes to a window of a few lines in
 * each level; the window's entries, and then the next level's, are tried in a fixed order, and the *first empty
 * entry* in that order is the only place where this user may be inserted. Entries never empty again, so two threads
 * that insert the same user contend for the same entry, and whoever meets an empty entry knows that the user is
 * absent. Growing is adding a level: nothing moves, nobody waits.
 *
 * Progress: inserting is lock-free; a retry means that another thread has inserted somebody. Callers exclude
 * nothing. Waiting on PENDING is the caller's affair: only requests of the same user ever do.
 */
#ifndef CPN_ISSUE_CLAIM_SET_H
#define CPN_ISSUE_CLAIM_SET_H

#include <stdatomic.h>

#include "base/defs.h"
#include "base/memory.h"
#include "base/siphash.h"

struct cpn_claim {
  /* 0: empty, else the user; written once, by the exchange that inserts. (User 0 has an entry of its own.) */
  _Atomic uint64_t user;
  /* cpn_claim_state…: written by the one request that has it PENDING, and by the commit stage from HELD to NUMBERED. */
  _Atomic uint64_t state;
};

/* States: the kind in the low 3 bits, above it an LSN (a multiple of 8) or a ticket number. 0, FREE at LSN 0, is
 * how entries begin. */
enum cpn_claim_kind { CPN_CLAIM_FREE = 0, CPN_CLAIM_PENDING = 1, CPN_CLAIM_HELD = 2, CPN_CLAIM_NUMBERED = 3 };

static inline enum cpn_claim_kind cpn_claim_kind_of(uint64_t state) { return (enum cpn_claim_kind)(state & 7); }
static inline uint64_t cpn_claim_held(uint64_t lsn) { return lsn | CPN_CLAIM_HELD; }
static inline uint64_t cpn_claim_held_lsn(uint64_t state) { return state & ~UINT64_C(7); }
static inline uint64_t cpn_claim_numbered(uint64_t number) { return number << 3 | CPN_CLAIM_NUMBERED; }
static inline uint64_t cpn_claim_number(uint64_t state) { return state >> 3; }

/* Levels grow at least fourfold until they hold the expected users; 24 reach any memory. */
#define CPN_CLAIM_LEVELS 24

struct cpn_claim_level;

struct cpn_claim_set {
  struct cpn_memory *memory;
  struct cpn_siphash_key key;
  uint64_t expected; /* users, from the stock: sizes the levels, limits nothing */
  /* Written once each, by whoever needs it first; read by all. */
  _Atomic(struct cpn_claim_level *) level[CPN_CLAIM_LEVELS];
  struct cpn_claim zero; /* the entry of user 0; its `user` is not used */
};

void cpn_claim_set_init(struct cpn_claim_set *set, struct cpn_memory *memory, const struct cpn_siphash_key *key,
                        uint64_t expected);
void cpn_claim_set_fini(struct cpn_claim_set *set);

/* The user's entry, or NULL if there is none (yet). */
struct cpn_claim *cpn_claim_set_find(struct cpn_claim_set *set, uint64_t user);

/* The user's entry, inserted FREE if there was none. NULL: no memory; nothing was changed. */
CPN_MUST_CHECK struct cpn_claim *cpn_claim_set_insert(struct cpn_claim_set *set, uint64_t user);

/* All accesses to a claim's state. seq_cst, as for the stock's word: the protocol was checked under sequential
 * consistency. */
static inline uint64_t cpn_claim_read(const struct cpn_claim *claim) {
  return claim == NULL ? 0 : atomic_load_explicit(&claim->state, memory_order_seq_cst);
}
static inline void cpn_claim_write(struct cpn_claim *claim, uint64_t state) {
  atomic_store_explicit(&claim->state, state, memory_order_seq_cst);
}
static inline bool cpn_claim_swap(struct cpn_claim *claim, uint64_t from, uint64_t to) {
  return atomic_compare_exchange_strong_explicit(&claim->state, &from, to, memory_order_seq_cst, memory_order_seq_cst);
}

#endif
