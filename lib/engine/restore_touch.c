/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/restore_touch.h"

#include "issue/ticket_pages.h"

/* Touched between two looks at how far the other one has got: some huge pages. With fewer tickets than AT_LEAST a thread is
 * not worth its start. */
#define PIECE UINT64_C(262144)
#define AT_LEAST (4 * PIECE)

static void *touch_thread(void *argument) {
  struct cpn_restore_touch *touch = argument;
  for (uint64_t end = touch->last; end > PIECE; end -= PIECE) {
    /* relaxed: it stops some time. */
    if (atomic_load_explicit(&touch->stops, memory_order_relaxed) != 0) break;
    if (cpn_tickets_numbered(touch->tickets) + 2 * PIECE > end) break; /* they meet */
    if (!cpn_tickets_touch_ahead(touch->tickets, &touch->engine->memory, end - PIECE + 1, end)) break;
  }
  return NULL;
}

/* All that is touched will be needed, or else memory is not short. */
static bool is_affordable(const coupon_engine *engine, uint64_t users, uint32_t user_words) {
  const uint64_t used = cpn_memory_used(&engine->memory), limit = engine->memory.limit;
  return used < limit && users <= (limit - used) / 8 / (user_words * sizeof(uint64_t));
}

void cpn_restore_touch_begin(struct cpn_restore_touch *touch, coupon_engine *engine, struct cpn_campaign *campaign,
                             uint64_t last) {
  const struct cpn_env *env = &engine->env;
  cpn_restore_touch_end(touch);
  if (last < AT_LEAST || last > campaign->spec.stock || env->start_thread == NULL || cpn_env_processors() == 1 ||
      !is_affordable(engine, last, campaign->tickets.user_words))
    return;
  touch->engine = engine;
  touch->tickets = &campaign->tickets;
  touch->last = last;
  atomic_store_explicit(&touch->stops, 0, memory_order_relaxed); /* relaxed: before the thread's start */
  touch->runs = env->start_thread(env->context, &touch->thread, "coupon-touch", touch_thread, touch) == 0;
}

void cpn_restore_touch_end(struct cpn_restore_touch *touch) {
  if (!touch->runs) return;
  atomic_store_explicit(&touch->stops, 1, memory_order_relaxed); /* relaxed: it stops some time, and is waited for */
  (void)pthread_join(touch->thread, NULL);
  touch->runs = false;
}
