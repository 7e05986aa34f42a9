/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decision time: the wall clock, kept from ever going back. Two properties everything else leans on:
 *   (a) cpn_clock_now() never returns less than any call that returned before it began returned;
 *   (b) after recovery it goes on from the last time in the log (cpn_clock_raise()).
 * Lock-free: a retry means that another thread has moved the clock on.
 */
#ifndef CPN_BASE_CLOCK_H
#define CPN_BASE_CLOCK_H

#include <stdatomic.h>

#include "base/defs.h"

struct cpn_clock {
  uint64_t (*wall)(void *context); /* UTC nanoseconds since 1970 */
  void *context;
  bool is_callback; /* the user's: calls from inside it are refused where they would wait */
  /* Written by whoever first sees a later wall clock, at most once per microsecond with ours; read by every
   * decision. A line of its own, so that these writes disturb only readers of the time. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t last;
};

/* `wall` NULL: CLOCK_REALTIME, in steps of a microsecond. */
void cpn_clock_init(struct cpn_clock *clock, uint64_t (*wall)(void *context), void *context);

uint64_t cpn_clock_now(struct cpn_clock *clock);

/* No later call returns less than `time`. */
void cpn_clock_raise(struct cpn_clock *clock, uint64_t time);

/* The last time handed out, without a look at the wall clock. */
uint64_t cpn_clock_last(const struct cpn_clock *clock);

/* CLOCK_MONOTONIC in nanoseconds, and a deadline from now without overflow. */
int64_t cpn_monotonic_ns(void);
int64_t cpn_deadline_after(int64_t timeout_ns);

#endif
