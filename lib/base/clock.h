/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decision time: the wall clock, kept from ever going back. Two properties everything else leans on:
 *   (a) cpn_clock_now() never returns less than any call that returned before it began returned;
 *   (b) after recovery it goes on from the last time in the log (cpn_clock_raise()).
 * Lock-free: a retry means that another thread has moved the clock on.
 *
 * A look at the system's clock costs more than a decision. So while there are many calls a thread of the library (the
 * keeper, engine/keeper.c) looks every millisecond, the clock is *kept*, and decisions read what it left. Where
 * nobody keeps it, and with a clock of the caller's own, each decision looks for itself.
 */
#ifndef CPN_BASE_CLOCK_H
#define CPN_BASE_CLOCK_H

#include <stdatomic.h>

#include "base/defs.h"

enum { CPN_CLOCK_KEPT = 1, CPN_CLOCK_USED = 2 };

struct cpn_clock {
  uint64_t (*wall)(void *context); /* UTC nanoseconds since 1970 */
  void *context;
  bool is_callback; /* the user's: calls from inside it are refused where they would wait */
  /* Written by the keeper, or whoever first sees a later wall clock, at most once per microsecond with ours; read by
   * every decision. A line of its own, so that these writes disturb only readers of the time. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t last;
  /* CPN_CLOCK_KEPT, and whether it was used since the keeper last looked: decisions add that, at most once in
   * between. */
  _Atomic uint32_t state;
  /* Looks that decisions had to take themselves. A line of its own: it is written while the clock is not kept. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint32_t looks;
  void (*asked_for)(void *context); /* called when so many looks say that the clock had better be kept; or NULL */
  void *asked_context;
};

/* `wall` NULL: CLOCK_REALTIME, in steps of a microsecond. */
void cpn_clock_init(struct cpn_clock *clock, uint64_t (*wall)(void *context), void *context);

uint64_t cpn_clock_look(struct cpn_clock *clock);

static inline uint64_t cpn_clock_now(struct cpn_clock *clock) {
  /* relaxed, all but the time itself: whether a decision takes the time from here or there, it is as good. acquire: who
   * is told time t has everything that t's first teller had done. */
  if (CPN_UNLIKELY(atomic_load_explicit(&clock->state, memory_order_relaxed) != (CPN_CLOCK_KEPT | CPN_CLOCK_USED)))
    return cpn_clock_look(clock);
  return atomic_load_explicit(&clock->last, memory_order_acquire);
}

/* The keeper's: one look, from which on the clock is kept, and whether anybody has used it since the last; and the end
 * of keeping. */
bool cpn_clock_keep(struct cpn_clock *clock);
void cpn_clock_let_go(struct cpn_clock *clock);

/* No later call returns less than `time`. */
void cpn_clock_raise(struct cpn_clock *clock, uint64_t time);

/* The last time handed out, without a look at the wall clock. */
uint64_t cpn_clock_last(const struct cpn_clock *clock);

/* CLOCK_MONOTONIC in nanoseconds, and a deadline from now without overflow. */
int64_t cpn_monotonic_ns(void);
int64_t cpn_deadline_after(int64_t timeout_ns);

#endif
