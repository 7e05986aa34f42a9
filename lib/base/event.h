/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event count on a futex: threads sleep until something has happened since they last looked. To wait without missing
 * anything:
 *
 *     for (;;) {
 *       uint32_t seen = cpn_event_look(&event);
 *       if (what I wait for is true) break;
 *       if (!cpn_event_wait(&event, seen, deadline)) ... the deadline has passed ...
 *     }
 *
 * and to tell: make it true with a seq_cst store, then cpn_event_tell(). Telling costs one atomic operation, and a
 * system call only if somebody sleeps. Nobody spins: what is waited for here takes a disk, or another thread's time
 * slice.
 */
#ifndef CPN_BASE_EVENT_H
#define CPN_BASE_EVENT_H

#include <stdatomic.h>

#include "base/defs.h"

struct cpn_event {
  /* Twice the number of times somebody told, and 1 while somebody may sleep. Whoever tells or goes to sleep writes
   * it. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint32_t count;
};

void cpn_event_init(struct cpn_event *event);

/* acquire: what is looked at afterwards is not read before. */
static inline uint32_t cpn_event_look(const struct cpn_event *event) {
  return atomic_load_explicit(&event->count, memory_order_acquire) & ~UINT32_C(1);
}

/* Sleeps until somebody has told since `seen`; deadline in CLOCK_MONOTONIC nanoseconds, INT64_MAX: none.
 * False: the deadline passed first. */
bool cpn_event_wait(struct cpn_event *event, uint32_t seen, int64_t deadline);

void cpn_event_tell(struct cpn_event *event);

#endif
