/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event count: threads sleep until something has happened since they last looked. A thin cover over
 * ck_ec of Concurrency Kit, with futexes behind it. To wait without missing anything:
 *
 *     for (;;) {
 *       uint32_t seen = cpn_event_look(&event);
 *       if (what I wait for is true) break;
 *       if (!cpn_event_wait(&event, seen, deadline)) ... the deadline has passed ...
 *     }
 *
 * and to tell: make it true with a seq_cst store, then cpn_event_tell(). Telling costs one atomic
 * operation, and a system call only if somebody sleeps.
 */
#ifndef CPN_BASE_EVENT_H
#define CPN_BASE_EVENT_H

#include <ck_ec.h>

#include "base/defs.h"

struct cpn_event {
  _Alignas(CPN_CACHE_LINE) struct ck_ec32 count;
};

void cpn_event_init(struct cpn_event *event);

static inline uint32_t cpn_event_look(const struct cpn_event *event) { return ck_ec32_value(&event->count); }

/* Sleeps until somebody has told since `seen`; deadline in CLOCK_MONOTONIC nanoseconds, INT64_MAX: none.
 * False: the deadline passed first. */
bool cpn_event_wait(struct cpn_event *event, uint32_t seen, int64_t deadline);

void cpn_event_tell(struct cpn_event *event);

#endif
