/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Criterion tests of memory that runs out share: an allocator that counts and fails (failing.h), and what has
 * to hold afterwards. One program includes it once.
 */
#ifndef TESTS_SUPPORT_MEMORY_HELP_H
#define TESTS_SUPPORT_MEMORY_HELP_H

#include <criterion/criterion.h>

#include "support/engine_help.h"
#include "support/failing.h"

static struct help_allocator allocator;

static void end_without_leaks(void) { cr_assert_not(help_leaks()); }

/* So that a test that hangs is named; none takes a tenth of it. */
#define HANGS_AFTER_S 60

#define MEMORY_SUITE(name) TestSuite(name, .fini = end_without_leaks, .timeout = HANGS_AFTER_S)

__attribute__((unused)) static struct coupon_options options_with_allocator(int32_t durability) {
  struct coupon_options options = help_options(durability);
  options.allocator = help_allocator_use(&allocator);
  return options;
}

static void expect_sound(coupon_engine *engine, uint64_t campaign, uint64_t issued) {
  uint64_t count;
  struct coupon_ticket everything = COUPON_TICKET_INIT;
  everything.answer = COUPON_SOLD_OUT; /* a refusal that rests on everything: what it rests on has its numbers */
  everything.lsn = help_stats(engine).reserved_lsn;
  cr_assert_eq(coupon_wait(engine, &everything, COUPON_FOREVER), COUPON_OK);
  const char *wrong = help_audit(engine, campaign, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, issued);
  cr_expect_eq(help_info(engine, campaign).issued, issued);
}

static void expect_nothing_held(void) {
  cr_expect_eq(allocator.live_blocks, 0);
  cr_expect_eq(allocator.live_bytes, 0);
  cr_expect_eq(allocator.wrong, 0, "freed what it was not given, or asked for the impossible");
}

#endif
