/* SPDX-License-Identifier: Apache-2.0 */
#include "base/callback.h"

#include <errno.h>
#include <pthread.h>

/* A depth, not a flag: a callback may make a call that makes a callback. */
static _Thread_local int depth;

/* Calls that do not wait hold off cancellation only where somebody else's code runs, which may have points of it. */
static _Thread_local int saved_errno, saved_cancel_state;

void cpn_callback_enter(void) {
  if (depth++ > 0) return;
  saved_errno = errno;
  (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &saved_cancel_state);
}

void cpn_callback_leave(void) {
  if (--depth > 0) return;
  int ignored;
  (void)pthread_setcancelstate(saved_cancel_state, &ignored);
  errno = saved_errno;
}

bool cpn_callback_inside(void) { return depth > 0; }
