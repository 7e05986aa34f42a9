/* SPDX-License-Identifier: Apache-2.0 */
#include "log/ahead.h"

#include <stdlib.h>
#include <string.h>

/* Items in the queue: more than windows hold of frames of ordinary size. */
#define ITEMS 256u

/* Frames may be small, and a line of memory that goes to and fro for each of them costs more than the second thread gains. So each
 * side looks at the other's count only when it has come to the end of what it knows of, and the taker says only so
 * often how far it is. */
#define TELL_EVERY 16u

/* A pusher who has to wait waits for half of what there is, of items or windows: it would otherwise be woken for each. */
#define ITEMS_AGAIN (ITEMS / 2)
#define WINDOWS_AGAIN (CPN_AHEAD_WINDOWS / 2)

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

/* Until the taker is done with so many items, which were all pushed. False: stop. */
static bool wait_for_taken(struct cpn_ahead *ahead, uint64_t count) {
  atomic_store_explicit(&ahead->wanted, count, memory_order_seq_cst);
  for (;;) {
    uint32_t seen = cpn_event_look(&ahead->less);
    if (is_stopped(ahead)) return false;
    ahead->seen_taken = figure(&ahead->taken);
    if (ahead->seen_taken >= count) return true;
    (void)cpn_event_wait(&ahead->less, seen, INT64_MAX);
  }
}

unsigned char *cpn_ahead_window(struct cpn_ahead *ahead) {
  const uint64_t pushed = figure(&ahead->pushed);
  if (ahead->window_count > 0) ahead->last_item[(ahead->window_count - 1) % CPN_AHEAD_WINDOWS] = pushed;
  const uint64_t slot = ahead->window_count % CPN_AHEAD_WINDOWS;
  if (is_stopped(ahead)) return NULL;
  if (ahead->seen_taken < ahead->last_item[slot]) ahead->seen_taken = figure(&ahead->taken);
  if (ahead->seen_taken < ahead->last_item[slot] &&
      !wait_for_taken(ahead, ahead->last_item[(slot + WINDOWS_AGAIN - 1) % CPN_AHEAD_WINDOWS]))
    return NULL;
  ahead->window_count++;
  return ahead->windows + slot * ahead->window_size;
}

void cpn_ahead_push(struct cpn_ahead *ahead, const struct cpn_ahead_item *item) {
  const uint64_t pushed = figure(&ahead->pushed);
  if (pushed - ahead->seen_taken >= ITEMS) ahead->seen_taken = figure(&ahead->taken);
  if (pushed - ahead->seen_taken >= ITEMS && !wait_for_taken(ahead, pushed - ITEMS + ITEMS_AGAIN)) return;
  ahead->items[pushed % ITEMS] = *item;
  /* Also release: the item, and what it points to, before the count. */
  atomic_store_explicit(&ahead->pushed, pushed + 1, memory_order_seq_cst);
  cpn_event_tell(&ahead->more);
}

/* Says how far the taker is, and tells a pusher who waits for that. */
static void publish(struct cpn_ahead *ahead) {
  const uint64_t before = figure(&ahead->taken);
  /* Also release: whatever was read there before somebody writes there again. */
  atomic_store_explicit(&ahead->taken, ahead->at, memory_order_seq_cst);
  const uint64_t wanted = figure(&ahead->wanted);
  if (wanted > before && wanted <= ahead->at) cpn_event_tell(&ahead->less);
}

const struct cpn_ahead_item *cpn_ahead_next(struct cpn_ahead *ahead) {
  if (ahead->at == ahead->seen_pushed) publish(ahead);
  while (ahead->at == ahead->seen_pushed) {
    uint32_t seen = cpn_event_look(&ahead->more);
    ahead->seen_pushed = figure(&ahead->pushed); /* also acquire: the items */
    if (ahead->at == ahead->seen_pushed) (void)cpn_event_wait(&ahead->more, seen, INT64_MAX);
  }
  return &ahead->items[ahead->at % ITEMS];
}

void cpn_ahead_done(struct cpn_ahead *ahead) {
  ahead->at++;
  if (ahead->at % TELL_EVERY == 0) publish(ahead);
}

void cpn_ahead_stop(struct cpn_ahead *ahead) {
  atomic_store_explicit(&ahead->stopped, 1, memory_order_seq_cst);
  cpn_event_tell(&ahead->less);
}
