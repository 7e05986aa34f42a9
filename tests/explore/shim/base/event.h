/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In place of the library's, for what is explored: an event count as base/event.h promises it, without the system's
 * futexes: sleeping is the explorer's. The orders are weaker than the library's: telling is an increment that releases,
 * looking is a load that acquires. It takes the same room as the library's: what is not explored has been compiled with
 * that.
 */
#ifndef CPN_BASE_EVENT_H
#define CPN_BASE_EVENT_H

#include <stdatomic.h>

#include "base/defs.h"
#include "explore.h"

struct cpn_event {
  _Alignas(CPN_CACHE_LINE) _Atomic uint32_t count;
};

static inline void cpn_event_init(struct cpn_event *event) { atomic_init(&event->count, 0); }

static inline uint32_t cpn_event_look(const struct cpn_event *event) {
  return atomic_load_explicit(&event->count, memory_order_acquire);
}

static inline bool cpn_event_wait(struct cpn_event *event, uint32_t seen, int64_t deadline) {
  (void)deadline; /* time does not pass while exploring */
  while (cpn_event_look(event) == seen) explore_sleep(&event->count, seen);
  return true;
}

static inline void cpn_event_tell(struct cpn_event *event) {
  (void)atomic_fetch_add_explicit(&event->count, 1, memory_order_release);
}

#endif
