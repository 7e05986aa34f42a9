/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <time.h>

#include "base/callback.h"

#define NS_PER_S INT64_C(1000000000)

/* The steps of the time of issue. Finer ones would make the shared `last` change at every call. */
#define WALL_STEP_NS 1000U

/* So many looks by decisions are worth the keeper's waking. */
#define LOOKS_TO_ASK 64

static uint64_t system_wall(void *context) {
  (void)context;
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail with this clock and this pointer */
  uint64_t ns = (uint64_t)now.tv_sec * (uint64_t)NS_PER_S + (uint64_t)now.tv_nsec;
  return ns - ns % WALL_STEP_NS;
}

void cpn_clock_init(struct cpn_clock *clock, uint64_t (*wall)(void *context), void *context) {
  clock->wall = wall != NULL ? wall : system_wall;
  clock->context = context;
  clock->is_callback = wall != NULL;
  clock->asked_for = NULL;
  atomic_init(&clock->last, 0);
  atomic_init(&clock->state, 0);
  atomic_init(&clock->looks, 0);
}

static uint64_t read_wall(struct cpn_clock *clock) {
  if (!clock->is_callback) return clock->wall(clock->context);
  cpn_callback_enter();
  uint64_t wall = clock->wall(clock->context);
  cpn_callback_leave();
  return wall;
}

uint64_t cpn_clock_look(struct cpn_clock *clock) {
  /* relaxed, all of the state: a hint. The keeper clears it in the same moment at worst, and a use goes unnoticed. */
  uint32_t kept = CPN_CLOCK_KEPT;
  if (atomic_compare_exchange_strong_explicit(&clock->state, &kept, CPN_CLOCK_KEPT | CPN_CLOCK_USED,
                                              memory_order_relaxed, memory_order_relaxed) ||
      kept != 0)
    return cpn_clock_last(clock);
  uint64_t wall = read_wall(clock);
  cpn_clock_raise(clock, wall);
  /* relaxed: it only counts. */
  uint32_t looks = atomic_fetch_add_explicit(&clock->looks, 1, memory_order_relaxed) + 1;
  if (clock->asked_for != NULL && looks % LOOKS_TO_ASK == 0) clock->asked_for(clock->asked_context);
  return cpn_max_u64(wall, cpn_clock_last(clock));
}

bool cpn_clock_keep(struct cpn_clock *clock) {
  cpn_clock_raise(clock, read_wall(clock));
  /* release: the time before the word that it is kept. */
  return (atomic_exchange_explicit(&clock->state, CPN_CLOCK_KEPT, memory_order_release) & CPN_CLOCK_USED) != 0;
}

void cpn_clock_let_go(struct cpn_clock *clock) {
  atomic_store_explicit(&clock->state, 0,
                        memory_order_relaxed); /* relaxed: decisions look for themselves, or just miss it */
}

void cpn_clock_raise(struct cpn_clock *clock, uint64_t time) {
  /* acq_rel and acquire: who is told time t has everything that t's first teller had done before, so (a)
   * holds along any chain of calls. Retry: another thread raised it. */
  uint64_t last = atomic_load_explicit(&clock->last, memory_order_acquire);
  while (time > last) {
    if (atomic_compare_exchange_weak_explicit(&clock->last, &last, time, memory_order_acq_rel, memory_order_acquire))
      break;
  }
}

uint64_t cpn_clock_last(const struct cpn_clock *clock) {
  return atomic_load_explicit(&clock->last, memory_order_acquire); /* pairs with cpn_clock_raise() */
}

int64_t cpn_monotonic_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t cpn_deadline_after(int64_t timeout_ns) {
  int64_t now = cpn_monotonic_ns();
  if (timeout_ns <= 0) return now;
  return timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}
