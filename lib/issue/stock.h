/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stock of one campaign: how many units remain, whether it is open, and whether it may be refused
 * without a second thought. One 64-bit word decides; the log position of the deciding record is reserved
 * *before* the word changes, so that the log's order is the order of decisions.
 *
 * The rule. Read the word, reserve a place in the log, then change the word only if its epoch, mark and state
 * are still as read (the remaining units may differ). Otherwise the reserved place becomes VOID and the caller
 * begins again. Every change but a plain take raises the epoch and clears the mark.
 *
 * Why that orders the log: a take that succeeds in epoch e read e before it reserved, so its place lies
 * behind that of the change that began e. Any prefix of the log thus holds a take only together with the change it
 * depends on; and at a mark in epoch e every take of e had reserved before the basis was read.
 *
 * The mark says "nothing can be taken in this epoch" (none left, not open, or closed). The basis
 * is the log position on which refusals of that epoch rest: the reserved end of the log, read after
 * the word was seen with nothing to take. When the log is durable up to there, so is every reason for the refusal.
 *
 * Progress: lock-free. A retry means that another thread has taken a unit, set the mark or changed the state.
 * All operations on word and basis are seq_cst: the protocol was checked under sequential consistency, and on
 * the machines we know it costs a store nothing more than the atomic exchange it is anyway. Weaker orders
 * would have to be argued one by one.
 */
#ifndef CPN_ISSUE_STOCK_H
#define CPN_ISSUE_STOCK_H

#include <stdatomic.h>

#include "base/defs.h"

/* Bits of the word. 41 bits hold COUPON_STOCK_MAX = 2^40 itself. Bit 60 is free (for a pause). */
#define CPN_WORD_REMAINING_BITS 41
#define CPN_WORD_EPOCH_BITS 19
#define CPN_WORD_REMAINING_MASK ((UINT64_C(1) << CPN_WORD_REMAINING_BITS) - 1)
#define CPN_WORD_EPOCH_MASK ((UINT64_C(1) << CPN_WORD_EPOCH_BITS) - 1)
#define CPN_WORD_MARK_SHIFT 61
#define CPN_WORD_STATE_SHIFT 62

enum cpn_stock_state { CPN_STOCK_SCHEDULED = 0, CPN_STOCK_OPEN = 1, CPN_STOCK_CLOSING = 2, CPN_STOCK_CLOSED = 3 };

struct cpn_stock {
  /* {remaining, epoch, mark, state}: written by every take and change, read by every decision. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t word;
  /* {epoch, LSN / 8}: written once per epoch at most, read with the word, hence on its line. */
  _Atomic uint64_t basis;
};

static inline uint64_t cpn_word_remaining(uint64_t word) { return word & CPN_WORD_REMAINING_MASK; }
static inline uint64_t cpn_word_epoch(uint64_t word) { return word >> CPN_WORD_REMAINING_BITS & CPN_WORD_EPOCH_MASK; }
static inline bool cpn_word_marked(uint64_t word) { return (word >> CPN_WORD_MARK_SHIFT & 1) != 0; }
static inline enum cpn_stock_state cpn_word_state(uint64_t word) {
  return (enum cpn_stock_state)(word >> CPN_WORD_STATE_SHIFT);
}

/* Nothing can be taken while the word is this, until an epoch begins. */
static inline bool cpn_word_refuses(uint64_t word) {
  return cpn_word_state(word) != CPN_STOCK_OPEN || cpn_word_remaining(word) == 0;
}

/* `state` is not CLOSING. */
void cpn_stock_init(struct cpn_stock *stock, uint64_t remaining, enum cpn_stock_state state);

static inline uint64_t cpn_stock_read(const struct cpn_stock *stock) {
  return atomic_load_explicit(&stock->word, memory_order_seq_cst);
}

/* Takes one unit by the rule, `seen` being the word as read before the caller reserved, but leaves at least
 * `floor`. False: the rule forbids it, or no more than `floor` are left. LP(issue): the successful exchange. */
CPN_MUST_CHECK bool cpn_stock_take(struct cpn_stock *stock, uint64_t seen, uint64_t floor);

/* Takes `units`, of which there are as many, if the word is just as `seen`, remaining units included, so that the taker
 * knows which they are. False: it has changed. LP(issue): the successful exchange. */
CPN_MUST_CHECK static inline bool cpn_stock_take_as_seen(struct cpn_stock *stock, uint64_t seen, uint64_t units) {
  CPN_INVARIANT(1, units <= cpn_word_remaining(seen));
  return atomic_compare_exchange_strong_explicit(&stock->word, &seen, seen - units, memory_order_seq_cst,
                                                 memory_order_seq_cst);
}

/* Takes up to `wanted` units by the rule, at once, leaving at least `floor`; returns how many. */
CPN_MUST_CHECK uint64_t cpn_stock_take_many(struct cpn_stock *stock, uint64_t seen, uint64_t floor, uint64_t wanted);

/* Changes the state by the rule; begins an epoch. False: the rule forbids it: somebody else has changed it. */
bool cpn_stock_change(struct cpn_stock *stock, uint64_t seen, enum cpn_stock_state state);

/* Marks the word, `seen` being unmarked and refusing; `tail` is the reserved end of the log, an LSN. May do nothing
 * because the word has moved on: look again in any case. */
void cpn_stock_mark(struct cpn_stock *stock, uint64_t seen, const _Atomic uint64_t *tail);

/* The basis: LSNs are multiples of 8 below 2^48, so 45 bits hold one and 19 are left for the epoch. */
#define CPN_BASIS_LSN_BITS 45
#define CPN_BASIS_LSN_MASK ((UINT64_C(1) << CPN_BASIS_LSN_BITS) - 1)
_Static_assert(CPN_BASIS_LSN_BITS + CPN_WORD_EPOCH_BITS == 64, "the basis fills a word");

/* The LSN on which refusals rest. Read it between two equal reads of a marked word. */
static inline uint64_t cpn_stock_basis_lsn(const struct cpn_stock *stock) {
  return (atomic_load_explicit(&stock->basis, memory_order_seq_cst) & CPN_BASIS_LSN_MASK) * 8;
}

#endif
