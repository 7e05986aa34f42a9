/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one order of all seq_cst operations. It need not be the order in which they are explored: what is kept is, of
 * each operation, which others have to be before it, because they happened before it, or because of what was read and
 * written where both were. An operation may be placed, and read something old, unless that closes a circle.
 */
#include <string.h>

#include "inside.h"

#define EVENTS_MAX 128
#define SET_WORDS (EVENTS_MAX / 64)

struct set {
  uint64_t bits[SET_WORDS];
};

static struct event {
  const struct location *location;
  int reads,
      writes; /* ids; -1: none. Of a read-modify-write only what it writes: what it reads lies directly before. */
  int thread;
  uint16_t clock;
  struct set before; /* all that are before this one, directly or not */
} events[EVENTS_MAX];
static int event_count;

void explore_order_reset(void) { event_count = 0; }

static void set_add(struct set *set, int i) { set->bits[i / 64] |= UINT64_C(1) << (i % 64); }
static void set_join(struct set *to, const struct set *from) {
  for (int i = 0; i < SET_WORDS; i++) to->bits[i] |= from->bits[i];
}
static bool set_meets(const struct set *a, const struct set *b) {
  for (int i = 0; i < SET_WORDS; i++)
    if ((a->bits[i] & b->bits[i]) != 0) return true;
  return false;
}
static bool set_has(const struct set *set, int i) { return (set->bits[i / 64] >> (i % 64) & 1) != 0; }

/* Where an earlier event at the same location stands to a new one: -1 before it, 1 behind it, 0 neither. The new one
 * reads the write at `position`, or writes there (what stands there by now moves on). */
static int side(const struct event *event, int position, bool writes) {
  const struct write *all = event->location->writes;
  if (event->writes >= 0) {
    int there = all[event->writes].position;
    return there < position + !writes ? -1 : 1;
  }
  int there = all[event->reads].position;
  if (there == position && !writes) return 0;
  return there < position ? -1 : 1;
}

/* What would be before the new event, and what directly behind it. */
static void surroundings(const struct location *location, int position, bool writes, const uint16_t *learnt,
                         struct set *before, struct set *behind) {
  const struct view *view = &explore_views[explore_current];
  memset(before, 0, sizeof *before);
  memset(behind, 0, sizeof *behind);
  for (int e = 0; e < event_count; e++) {
    const struct event *event = &events[e];
    uint16_t known = view->clock[event->thread];
    if (learnt != NULL && learnt[event->thread] > known) known = learnt[event->thread];
    int where = event->clock <= known ? -1 : 0; /* happened before */
    if (event->location == location) {
      int there = side(event, position, writes);
      if (there > 0) set_add(behind, e);
      if (there < 0) where = there;
    }
    if (where < 0) {
      set_add(before, e);
      set_join(before, &event->before);
    }
  }
}

bool explore_order_allows(const struct location *location, int position, bool writes, const uint16_t *learnt) {
  struct set before, behind;
  surroundings(location, position, writes, learnt, &before, &behind);
  if (explore_in_order) memset(&before, 0xff, sizeof before);
  return !set_meets(&before, &behind);
}

void explore_order_add(const struct location *location, int position, bool writes, const uint16_t *learnt, uint8_t id) {
  EXPLORE_CHECK(event_count < EVENTS_MAX, "too many seq_cst operations for the explorer");
  struct set before, behind, after;
  surroundings(location, position, writes, learnt, &before, &behind);
  after = before;
  set_add(&after, event_count);
  for (int e = 0; e < event_count; e++)
    if (set_has(&behind, e) || set_meets(&events[e].before, &behind)) set_join(&events[e].before, &after);
  struct event *event = &events[event_count++];
  event->location = location;
  event->reads = writes ? -1 : id;
  event->writes = writes ? id : -1;
  event->thread = explore_current;
  event->clock = explore_views[explore_current].clock[explore_current];
  event->before = before;
}
