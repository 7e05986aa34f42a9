/* SPDX-License-Identifier: Apache-2.0 */
#include "log/ahead.h"

#include <stdlib.h>
#include <string.h>

/* Items in the queue: more than windows hold of frames of ordinary size. */
#define ITEMS 256u

/* The pusher is told that there is room only so often, or when the queue is empty: it would otherwise be woken for each. */
#define TELL_EVERY 32u

bool cpn_ahead_init(struct cpn_ahead *ahead, size_t window_size) {
  memset(ahead, 0, sizeof *ahead);
  ahead->window_size = window_size;
  ahead->windows = malloc(CPN_AHEAD_WINDOWS * window_size);
  ahead->items = malloc(ITEMS * sizeof *ahead->items);
  cpn_event_init(&ahead->more);
  cpn_event_init(&ahead->less);
  if (ahead->windows != NULL && ahead->items != NULL) return true;
  cpn_ahead_fini(ahead);
  return false;
}

void cpn_ahead_fini(struct cpn_ahead *ahead) {
  free(ahead->windows);
  free(ahead->items);
}

/* seq_cst, all: each side makes something true and then tells, or looks at the event and then for what it waits for. */
static uint64_t figure(const _Atomic uint64_t *count) { return atomic_load_explicit(count, memory_order_seq_cst); }
static bool is_stopped(const struct cpn_ahead *ahead) {
  return atomic_load_explicit(&ahead->stopped, memory_order_seq_cst) != 0;
}

/* Until the taker is done with so many items. False: stop. */
static bool wait_for_taken(struct cpn_ahead *ahead, uint64_t count) {
  for (;;) {
    uint32_t seen = cpn_event_look(&ahead->less);
    if (is_stopped(ahead)) return false;
    if (figure(&ahead->taken) >= count) return true;
    (void)cpn_event_wait(&ahead->less, seen, INT64_MAX);
  }
}

unsigned char *cpn_ahead_window(struct cpn_ahead *ahead) {
  const uint64_t pushed = figure(&ahead->pushed);
  if (ahead->window_count > 0) ahead->last_item[(ahead->window_count - 1) % CPN_AHEAD_WINDOWS] = pushed;
  const uint64_t slot = ahead->window_count % CPN_AHEAD_WINDOWS;
  if (!wait_for_taken(ahead, ahead->last_item[slot])) return NULL;
  ahead->window_count++;
  return ahead->windows + slot * ahead->window_size;
}

void cpn_ahead_push(struct cpn_ahead *ahead, const struct cpn_ahead_item *item) {
  const uint64_t pushed = figure(&ahead->pushed);
  if (pushed >= ITEMS && !wait_for_taken(ahead, pushed - ITEMS + 1)) return;
  ahead->items[pushed % ITEMS] = *item;
  /* Also release: the item, and what it points to, before the count. */
  atomic_store_explicit(&ahead->pushed, pushed + 1, memory_order_seq_cst);
  cpn_event_tell(&ahead->more);
}

const struct cpn_ahead_item *cpn_ahead_next(struct cpn_ahead *ahead) {
  const uint64_t taken = figure(&ahead->taken);
  for (;;) {
    uint32_t seen = cpn_event_look(&ahead->more);
    if (figure(&ahead->pushed) > taken) return &ahead->items[taken % ITEMS];
    cpn_event_tell(&ahead->less);
    (void)cpn_event_wait(&ahead->more, seen, INT64_MAX);
  }
}

void cpn_ahead_done(struct cpn_ahead *ahead) {
  const uint64_t taken = figure(&ahead->taken) + 1;
  /* Also release: whatever was read there before somebody writes there again. */
  atomic_store_explicit(&ahead->taken, taken, memory_order_seq_cst);
  if (taken % TELL_EVERY == 0) cpn_event_tell(&ahead->less);
}

void cpn_ahead_stop(struct cpn_ahead *ahead) {
  atomic_store_explicit(&ahead->stopped, 1, memory_order_seq_cst);
  cpn_event_tell(&ahead->less);
}
