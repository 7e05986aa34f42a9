/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every public function that is given an engine, in one table: for tests of what all of them have in common.
 */
#ifndef TESTS_SUPPORT_EVERY_CALL_H
#define TESTS_SUPPORT_EVERY_CALL_H

#include "coupon/coupon.h"

struct help_call {
  const char *name;
  coupon_status (*call)(coupon_engine *engine);
};
/* Every function that is given an engine, with arguments that are good, and with coupon_close() and coupon_destroy() at
 * the end. Those that wait, wait for ever. Campaign 1 and user 1 are asked for, and by the functions for users of 16
 * bytes a campaign of theirs, which the call of coupon_create() makes beside campaign 1. */
extern const struct help_call help_calls[];
enum { HELP_CALLS = 22, HELP_CALLS_BUT_LAST_TWO = HELP_CALLS - 2 };
/* Those of them that may wait. */
extern const struct help_call help_waiting_calls[];
enum { HELP_WAITING_CALLS = 7 };

/* Makes every call with every bad argument (NULL, a struct of a size that cannot be). Returns the name of the first
 * that was not answered COUPON_E_INVAL; or NULL. */
const char *help_find_lenient_call(coupon_engine *engine);

#endif
