/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a campaign's word keeps the rule: a take or a change succeeds only while epoch, mark and state are as
 * they were read. How: each way in which another thread may get in between is played by the test itself, step by
 * step.
 */
#include <criterion/criterion.h>

#include "issue/stock.h"

static _Atomic uint64_t tail = 800;

Test(stock, takes_one_at_a_time_down_to_zero) {
  struct cpn_stock stock;
  cpn_stock_init(&stock, 2, CPN_STOCK_OPEN);
  uint64_t seen = cpn_stock_read(&stock);
  cr_assert_eq(cpn_word_remaining(seen), 2);
  cr_assert(cpn_stock_take(&stock, seen, 0));
  cr_assert(cpn_stock_take(&stock, seen, 0), "what remains may differ from what was read");
  cr_assert_not(cpn_stock_take(&stock, seen, 0), "none is left");
  cr_assert_eq(cpn_word_remaining(cpn_stock_read(&stock)), 0);
}

Test(stock, holds_the_largest_stock) {
  struct cpn_stock stock;
  cpn_stock_init(&stock, UINT64_C(1) << 40, CPN_STOCK_OPEN);
  uint64_t seen = cpn_stock_read(&stock);
  cr_assert_eq(cpn_word_remaining(seen), UINT64_C(1) << 40);
  cr_assert(cpn_stock_take(&stock, seen, 0));
  cr_assert_eq(cpn_word_remaining(cpn_stock_read(&stock)), (UINT64_C(1) << 40) - 1);
}

Test(stock, leaves_the_floor) {
  struct cpn_stock stock;
  cpn_stock_init(&stock, 3, CPN_STOCK_OPEN);
  uint64_t seen = cpn_stock_read(&stock);
  cr_assert(cpn_stock_take(&stock, seen, 2));
  cr_assert_not(cpn_stock_take(&stock, seen, 2), "there is room for one ticket only");
}

Test(stock, is_not_taken_from_unless_open) {
  for (int state = CPN_STOCK_SCHEDULED; state <= CPN_STOCK_CLOSED; state++) {
    struct cpn_stock stock;
    cpn_stock_init(&stock, 1, (enum cpn_stock_state)state);
    cr_assert_eq(cpn_stock_take(&stock, cpn_stock_read(&stock), 0), state == CPN_STOCK_OPEN);
  }
}

Test(stock, change_raises_the_epoch_and_clears_the_mark) {
  struct cpn_stock stock;
  cpn_stock_init(&stock, 5, CPN_STOCK_SCHEDULED);
  uint64_t before = cpn_stock_read(&stock);
  cpn_stock_mark(&stock, before, &tail);
  uint64_t marked = cpn_stock_read(&stock);
  cr_assert(cpn_word_marked(marked));
  cr_assert(cpn_stock_change(&stock, marked, CPN_STOCK_OPEN));
  uint64_t after = cpn_stock_read(&stock);
  cr_assert_not(cpn_word_marked(after));
  cr_assert_eq(cpn_word_epoch(after), cpn_word_epoch(before) + 1);
  cr_assert_eq(cpn_word_remaining(after), 5);
  cr_assert_eq(cpn_word_state(after), CPN_STOCK_OPEN);
}

Test(stock, take_of_an_earlier_epoch_fails) {
  struct cpn_stock stock;
  cpn_stock_init(&stock, 5, CPN_STOCK_OPEN);
  uint64_t seen = cpn_stock_read(&stock); /* a taker reads, reserves, and stalls */
  cr_assert(cpn_stock_change(&stock, seen, CPN_STOCK_OPEN));
  cr_assert_not(cpn_stock_take(&stock, seen, 0), "its place in the log is before that of the change");
}

Test(stock, change_fails_after_a_mark_it_did_not_read) {
  struct cpn_stock stock;
  cpn_stock_init(&stock, 5, CPN_STOCK_SCHEDULED);
  uint64_t seen = cpn_stock_read(&stock); /* who opens reads, reserves, and stalls */
  cpn_stock_mark(&stock, seen, &tail);
  cr_assert_not(cpn_stock_change(&stock, seen, CPN_STOCK_OPEN), "a refusal rests on a basis behind its place");
}

Test(stock, two_step_close_stops_a_taker_who_reserved_before) {
  struct cpn_stock stock;
  cpn_stock_init(&stock, 5, CPN_STOCK_OPEN);
  uint64_t taker = cpn_stock_read(&stock), closer = taker;
  cr_assert(cpn_stock_change(&stock, closer, CPN_STOCK_CLOSING));
  closer = cpn_stock_read(&stock);
  cr_assert_not(cpn_stock_take(&stock, taker, 0));
  cr_assert(cpn_stock_change(&stock, closer, CPN_STOCK_CLOSED));
  cr_assert_not(cpn_stock_change(&stock, closer, CPN_STOCK_CLOSED), "two helpers, one CLOSE");
}

Test(mark, rests_on_the_tail_as_it_was) {
  struct cpn_stock stock;
  _Atomic uint64_t end = 4096;
  cpn_stock_init(&stock, 0, CPN_STOCK_OPEN);
  cpn_stock_mark(&stock, cpn_stock_read(&stock), &end);
  end = 8192;
  cpn_stock_mark(&stock, cpn_stock_read(&stock), &end);
  cr_assert(cpn_word_marked(cpn_stock_read(&stock)));
  cr_assert_eq(cpn_stock_basis_lsn(&stock), 4096, "once per epoch");
}

Test(mark, of_an_earlier_epoch_changes_nothing) {
  struct cpn_stock stock;
  _Atomic uint64_t end = 4096;
  cpn_stock_init(&stock, 0, CPN_STOCK_SCHEDULED);
  uint64_t late = cpn_stock_read(&stock); /* a marker reads, and stalls */
  cr_assert(cpn_stock_change(&stock, late, CPN_STOCK_OPEN));
  cpn_stock_mark(&stock, cpn_stock_read(&stock), &end);
  uint64_t word = cpn_stock_read(&stock);
  end = 800;
  cpn_stock_mark(&stock, late, &end);
  cr_assert_eq(cpn_stock_read(&stock), word);
  cr_assert_eq(cpn_stock_basis_lsn(&stock), 4096, "a late marker must not overwrite a newer basis");
}

Test(mark, holds_the_largest_lsn_and_survives_the_wrap_of_the_epoch) {
  struct cpn_stock stock;
  _Atomic uint64_t end = (UINT64_C(1) << 48) - 8;
  cpn_stock_init(&stock, 7, CPN_STOCK_OPEN);
  for (uint32_t i = 0; i < (UINT32_C(1) << CPN_WORD_EPOCH_BITS) + 3; i++)
    cr_assert(cpn_stock_change(&stock, cpn_stock_read(&stock), CPN_STOCK_CLOSED));
  cr_assert_eq(cpn_word_remaining(cpn_stock_read(&stock)), 7);
  cr_assert_eq(cpn_word_epoch(cpn_stock_read(&stock)), 4);
  cpn_stock_mark(&stock, cpn_stock_read(&stock), &end);
  cr_assert_eq(cpn_stock_basis_lsn(&stock), end);
}
