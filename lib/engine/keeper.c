/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper: a thread of ours that does beforehand what would cost a request dearly. It keeps the clock
 * (base/clock.h), and it has memory ready, allocated and touched, for the next tickets of campaigns that issue much;
 * and it packs the tickets behind them. Everything it does a request can do without: when the keeper comes late, or
 * never, requests look at the clock themselves, and make room themselves.
 *
 * It sleeps while there is little to do: a call now and then does not wake it.
 */
#include "base/rcu.h"
#include "engine/engine.h"

/* Between two looks at the clock: with what a kernel adds to a short sleep, the millisecond that the time of issue may
 * lag. Not less, because where all processors compute each tick takes one from a request, which then waits some 20
 * µs. */
#define TICK_NS INT64_C(900000)

/* So many ticks without a use of the clock, and it is let go. */
#define IDLE_TICKS 20u

/* Campaigns of less need nobody to look after them: their memory is a few pages. */
#define LEAST_STOCK UINT64_C(8192)

/* --- what requests call -------------------------------------------------------------------------- */

static void wake(coupon_engine *engine) {
  /* seq_cst: the keeper says that it sleeps, and looks once more; we have put something there, and look whether it
   * sleeps. */
  if (atomic_load_explicit(&engine->keeper_sleeps, memory_order_seq_cst) != 0) cpn_event_tell(&engine->keep);
}

void cpn_keeper_clock_asked(void *context) {
  coupon_engine *engine = context;
  wake(engine);
}

static void push(coupon_engine *engine, struct cpn_campaign *campaign) {
  /* relaxed: the exchange below fails if it has changed. */
  struct cpn_campaign *first = atomic_load_explicit(&engine->wanted, memory_order_relaxed);
  do {
    campaign->next_wanted = first;
    /* seq_cst, which includes release: the link before the head that leads to it. Retry: another campaign was
     * pushed. */
  } while (!atomic_compare_exchange_weak_explicit(&engine->wanted, &first, campaign, memory_order_seq_cst,
                                                  memory_order_relaxed));
}

void cpn_keeper_want(coupon_engine *engine, struct cpn_campaign *campaign) {
  if (!engine->has_keeper || campaign->spec.stock < LEAST_STOCK) return;
  /* acq_rel: whoever sets it owns the link, and gets it from whoever cleared it. */
  if (atomic_exchange_explicit(&campaign->wanted, 1, memory_order_acq_rel) != 0) return;
  push(engine, campaign);
  wake(engine);
}

/* --- looking after a campaign -------------------------------------------------------------------- */

static uint64_t issued_of(const struct cpn_campaign *campaign) {
  return campaign->spec.stock - cpn_word_remaining(cpn_stock_read(&campaign->stock));
}

/* Without memory nothing happens here; the request that needs it answers. */
static void look_after(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t issued) {
  if (!cpn_campaign_is_live(campaign)) return;
  struct cpn_tickets *tickets = &campaign->tickets;
  cpn_tickets_pack(tickets, &engine->memory, &engine->pool);
  const uint64_t ahead = cpn_min_u64(issued + CPN_TICKETS_AHEAD, campaign->spec.stock);
  if (!cpn_tickets_make_room(tickets, &engine->memory, &engine->pool, ahead)) return;
  if (campaign->touched < ahead) {
    cpn_tickets_touch(tickets, cpn_max_u64(campaign->touched, issued) + 1, ahead);
    campaign->touched = ahead;
  }
  (void)cpn_claim_set_grow_for(&campaign->claims, &engine->memory, ahead);
}

/* One round through the list. A campaign leaves it when nothing has been issued since the last round. */
static struct cpn_campaign *look_after_all(coupon_engine *engine, struct cpn_campaign *list) {
  struct cpn_campaign *kept = NULL;
  while (list != NULL) {
    struct cpn_campaign *campaign = list;
    list = campaign->next_wanted;
    uint64_t issued = issued_of(campaign);
    cpn_rcu_read_lock(); /* it may be released, which waits for us */
    look_after(engine, campaign, issued);
    cpn_rcu_read_unlock();
    if (issued != campaign->looked_at) {
      campaign->looked_at = issued;
      campaign->next_wanted = kept;
      kept = campaign;
      continue;
    }
    atomic_store_explicit(&campaign->wanted, 0, memory_order_release); /* release: see cpn_keeper_want() */
  }
  return kept;
}

/* Those on the list from now on, in front of `list`. */
static struct cpn_campaign *take_wanted(coupon_engine *engine, struct cpn_campaign *list) {
  /* seq_cst, which includes acquire: the links; also see wake(). */
  struct cpn_campaign *fresh = atomic_exchange_explicit(&engine->wanted, NULL, memory_order_seq_cst);
  while (fresh != NULL) {
    struct cpn_campaign *next = fresh->next_wanted;
    fresh->next_wanted = list;
    list = fresh;
    fresh = next;
  }
  return list;
}

/* --- the thread ---------------------------------------------------------------------------------- */

static bool stopping(const coupon_engine *engine) {
  return atomic_load_explicit(&engine->stop, memory_order_seq_cst) != 0;
}

/* Nobody has asked for the time for a while: gives back what it can, and sleeps until it is wanted. */
static void sleep_until_wanted(coupon_engine *engine) {
  cpn_clock_let_go(&engine->clock);
  if (engine->pool.count > 0) {
    cpn_rcu_synchronize(); /* who reads rows that were packed has left */
    cpn_row_pool_free(&engine->pool, &engine->memory);
  }
  uint32_t seen = cpn_event_look(&engine->keep);
  atomic_store_explicit(&engine->keeper_sleeps, 1, memory_order_seq_cst); /* see wake() */
  if (atomic_load_explicit(&engine->wanted, memory_order_seq_cst) == NULL && !stopping(engine))
    (void)cpn_event_wait(&engine->keep, seen, INT64_MAX);
  atomic_store_explicit(&engine->keeper_sleeps, 0, memory_order_seq_cst);
}

void *cpn_keeper_thread(void *argument) {
  coupon_engine *engine = argument;
  struct cpn_campaign *list = NULL;
  unsigned idle = IDLE_TICKS; /* nothing has happened yet */
  cpn_wait_ask_for_short_slices();
  while (!stopping(engine)) {
    if (idle >= IDLE_TICKS) {
      sleep_until_wanted(engine);
      idle = 0;
    }
    bool used = !engine->clock.is_callback && cpn_clock_keep(&engine->clock);
    list = look_after_all(engine, take_wanted(engine, list));
    idle = used || list != NULL ? 0 : idle + 1;
    uint32_t seen = cpn_event_look(&engine->keep);
    if (!stopping(engine)) (void)cpn_event_wait(&engine->keep, seen, cpn_deadline_after(TICK_NS));
  }
  cpn_clock_let_go(&engine->clock);
  return NULL;
}

void cpn_keeper_fini(coupon_engine *engine) { cpn_row_pool_free(&engine->pool, &engine->memory); }
