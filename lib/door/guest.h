/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manners of a call in somebody else's thread: errno and cancellation are afterwards as they were, the engine is
 * asked whether it takes calls, and close can wait for those that have begun. There are two kinds of calls:
 *
 *   enter … leave        does not wait: runs inside a read-side critical section, for which close waits
 *   visit … end_visit    may wait, so not inside such a section: counts itself in, and close waits for the count
 *
 * What ends a call takes and returns the status that it answers: `return cpn_guest_leave(&guest, status)`. A call that
 * was not let in ends with cpn_guest_depart(). The most frequent ones (coupon_try_issue() and its like, looking up)
 * make do with cpn_engine_enter(), for the reason given there.
 */
#ifndef CPN_DOOR_GUEST_H
#define CPN_DOOR_GUEST_H

#include <errno.h>
#include <pthread.h>

#include "base/callback.h"
#include "engine/engine.h"

/* What a call has changed of its thread, to be put back. */
struct cpn_guest {
  int saved_errno;
  int cancel_state, cancel_type;
};

static inline void cpn_guest_arrive(struct cpn_guest *guest) {
  guest->saved_errno = errno;
  /* The type too, and first: a cancellation of the asynchronous type that is on its way when the state is changed takes
   * effect in spite of it (glibc 2.36 looks only at the type when the signal arrives). */
  (void)pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &guest->cancel_type);
  (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &guest->cancel_state);
}

static inline coupon_status cpn_guest_depart(const struct cpn_guest *guest, coupon_status status) {
  int ignored;
  (void)pthread_setcancelstate(guest->cancel_state, &ignored);
  (void)pthread_setcanceltype(guest->cancel_type, &ignored);
  errno = guest->saved_errno;
  return status;
}

/* A call that does not wait, but may do what the fast ones do not. COUPON_OK: it has begun. */
static inline coupon_status cpn_guest_enter(const coupon_engine *engine, struct cpn_guest *guest) {
  cpn_guest_arrive(guest);
  return cpn_engine_enter(engine, false);
}

static inline coupon_status cpn_guest_leave(const struct cpn_guest *guest, coupon_status status) {
  return cpn_guest_depart(guest, cpn_engine_leave(status));
}

/* A call that may wait. COUPON_OK: it has begun. seq_cst both here and in close: either we see the gate closed, or
 * close sees us. */
static inline coupon_status cpn_guest_visit(coupon_engine *engine, struct cpn_guest *guest) {
  cpn_guest_arrive(guest);
  if (cpn_engine_gate_bits(engine) == 0) return COUPON_E_FORKED; /* the count is of the parent's */
  atomic_fetch_add_explicit(&engine->visitors, 1, memory_order_seq_cst);
  coupon_status status = cpn_engine_gate(engine);
  if (status != COUPON_OK) atomic_fetch_sub_explicit(&engine->visitors, 1, memory_order_seq_cst);
  return status;
}

static inline coupon_status cpn_guest_end_visit(coupon_engine *engine, const struct cpn_guest *guest,
                                                coupon_status status) {
  atomic_fetch_sub_explicit(&engine->visitors, 1, memory_order_seq_cst);
  return cpn_guest_depart(guest, status);
}

/* Whether a call with this deadline must not be made here. */
static inline bool cpn_guest_would_wait_in_callback(int64_t deadline) {
  return deadline != COUPON_POLL && cpn_callback_inside();
}

#endif
