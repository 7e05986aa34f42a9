/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/stock.h"

#include "base/points.h"

/* What must be as read for a take or a change: all but the remaining units. */
#define RULE_MASK (~CPN_WORD_REMAINING_MASK)

#define MARK_BIT (UINT64_C(1) << CPN_WORD_MARK_SHIFT)

static uint64_t word_make(uint64_t remaining, uint64_t epoch, enum cpn_stock_state state) {
  return remaining | (epoch & CPN_WORD_EPOCH_MASK) << CPN_WORD_REMAINING_BITS | (uint64_t)state << CPN_WORD_STATE_SHIFT;
}

static uint64_t basis_make(uint64_t epoch, uint64_t lsn) { return epoch << CPN_BASIS_LSN_BITS | lsn / 8; }
static uint64_t basis_epoch(uint64_t basis) { return basis >> CPN_BASIS_LSN_BITS; }

void cpn_stock_init(struct cpn_stock *stock, uint64_t remaining, enum cpn_stock_state state) {
  CPN_INVARIANT(1, remaining <= CPN_WORD_REMAINING_MASK);
  atomic_init(&stock->word, word_make(remaining, 1, state));
  atomic_init(&stock->basis, basis_make(0, 0)); /* of an epoch that is not the word's: not set */
}

uint64_t cpn_stock_take_many(struct cpn_stock *stock, uint64_t seen, uint64_t floor, uint64_t wanted) {
  uint64_t now = seen, taken;
  do {
    if (((now ^ seen) & RULE_MASK) != 0 || cpn_word_refuses(now) || cpn_word_remaining(now) <= floor) return 0;
    taken = cpn_min_u64(wanted, cpn_word_remaining(now) - floor);
    /* LP(issue): the successful exchange. Retry: another thread took a unit or changed the campaign. */
  } while (!atomic_compare_exchange_weak_explicit(&stock->word, &now, now - taken, memory_order_seq_cst,
                                                  memory_order_seq_cst));
  return taken;
}

bool cpn_stock_take(struct cpn_stock *stock, uint64_t seen, uint64_t floor) {
  return cpn_stock_take_many(stock, seen, floor, 1) == 1;
}

bool cpn_stock_change(struct cpn_stock *stock, uint64_t seen, enum cpn_stock_state state) {
  uint64_t now = seen, then;
  do {
    if (((now ^ seen) & RULE_MASK) != 0) return false;
    then = word_make(cpn_word_remaining(now), cpn_word_epoch(now) + 1, state);
    /* LP(open, close): the successful exchange. Retry: another thread took a unit or changed the campaign. */
  } while (
      !atomic_compare_exchange_weak_explicit(&stock->word, &now, then, memory_order_seq_cst, memory_order_seq_cst));
  return true;
}

void cpn_stock_mark(struct cpn_stock *stock, uint64_t seen, const _Atomic uint64_t *tail) {
  const uint64_t epoch = cpn_word_epoch(seen);
  for (;;) {
    /* The order of these three reads matters. The basis before the word: a basis read while the word is still
     * in our epoch is not of a later one, so the exchange below can never replace a later one. The tail
     * last: every take of this epoch has reserved by now, so the tail lies behind all of them. */
    uint64_t basis = atomic_load_explicit(&stock->basis, memory_order_seq_cst);
    if (atomic_load_explicit(&stock->word, memory_order_seq_cst) != seen) return;
    if (basis_epoch(basis) == epoch) break;
    uint64_t lsn = atomic_load_explicit(tail, memory_order_seq_cst);
    /* Failure: somebody else set it; the next turn sees for which epoch. */
    (void)atomic_compare_exchange_strong_explicit(&stock->basis, &basis, basis_make(epoch, lsn), memory_order_seq_cst,
                                                  memory_order_seq_cst);
  }
  CPN_POINT(BASIS_SET);
  /* Failure: somebody else marked it or began an epoch. */
  (void)atomic_compare_exchange_strong_explicit(&stock->word, &seen, seen | MARK_BIT, memory_order_seq_cst,
                                                memory_order_seq_cst);
}
