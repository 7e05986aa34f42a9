/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Criterion tests of the public functions share: an engine in memory, where every answer is final at once. One
 * program includes it once.
 */
#ifndef TESTS_SUPPORT_IN_MEMORY_H
#define TESTS_SUPPORT_IN_MEMORY_H

#include <criterion/criterion.h>

#include "support/engine_help.h"

static coupon_engine *engine;

static void begin_in_memory(void) { engine = help_open_in_memory(); }

static void end_in_memory(void) {
  cr_assert_eq(coupon_destroy(engine), COUPON_OK);
  cr_assert_not(help_leaks());
}

/* So that a test that hangs is named; none takes a tenth of it. */
#define IN_MEMORY_HANGS_AFTER_S 60

#define IN_MEMORY_SUITE(name) \
  TestSuite(name, .init = begin_in_memory, .fini = end_in_memory, .timeout = IN_MEMORY_HANGS_AFTER_S)

__attribute__((unused)) static coupon_status create_now(const struct coupon_campaign_spec *spec) {
  return coupon_create(engine, spec, COUPON_FOREVER);
}

__attribute__((unused)) static struct coupon_ticket issue_to(uint64_t campaign, uint64_t user, coupon_status expected) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = coupon_try_issue(engine, campaign, user, &ticket);
  cr_assert_eq(status, expected, "user %llu got %s", (unsigned long long)user, coupon_status_name(status));
  return ticket;
}

/* What a struct of a later version has behind the one that is known here, and what its bytes are filled with. */
#define LATER 24
#define MARK 0xa5

#endif
