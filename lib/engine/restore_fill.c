/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/restore_fill.h"

#include "engine/restore_claims.h"
#include "engine/restore_follow.h"
#include "engine/restore_leave.h"

static bool same_user(const void *context, uint64_t a, uint64_t b) {
  const struct cpn_tickets *tickets = context;
  struct cpn_user user = {.hash = 0};
  cpn_tickets_user(tickets, a, user.words);
  return cpn_tickets_is_users(tickets, b, &user);
}

/* One thread's part of one campaign's claims. */
struct claimer {
  struct cpn_leaver leaver;
  bool fits;                   /* what it has left */
  _Atomic uint32_t *next_part; /* to be settled; both threads take from it */
  struct cpn_claim_settler settler;
};

static void *leave_share(void *argument) {
  struct claimer *claimer = argument;
  struct cpn_leaver *leaver = &claimer->leaver;
  cpn_restore_leave(leaver, leaver->end);
  claimer->fits = cpn_claim_fill_left(leaver->fill, leaver->share);
  return NULL;
}

static void *settle_parts(void *argument) {
  struct claimer *claimer = argument;
  const struct cpn_leaver *leaver = &claimer->leaver;
  struct cpn_claim_fill *fill = leaver->fill;
  for (;;) {
    /* relaxed: it only says whose the part is; what was left there was heard of with the thread's start. */
    const uint32_t part = atomic_fetch_add_explicit(claimer->next_part, 1, memory_order_relaxed);
    if (part >= fill->parts) return NULL;
    cpn_claim_fill_settle(fill, part, &claimer->settler);
    if (leaver->tells)
      cpn_progress_claim(leaver->engine, cpn_tickets_numbered(leaver->tickets),
                         CPN_PROGRESS_LEAVING +
                             (uint64_t)part * (CPN_PROGRESS_WHOLE - CPN_PROGRESS_LEAVING) / fill->parts);
  }
}

/* The same for both claimers, at once if there is a second thread to be had. */
static void with_both(struct claimer claimers[CPN_FILL_SHARES], void *(*work)(void *claimer)) {
  pthread_t thread;
  struct cpn_leaver *mine = &claimers[0].leaver, *others = &claimers[1].leaver;
  const struct cpn_env *env = &mine->engine->env;
  bool two = cpn_tickets_numbered(mine->tickets) >= cpn_restore_tickets_for_two() && env->start_thread != NULL &&
             cpn_env_processors() > 1;
  others->tells = false;
  two = two && env->start_thread(env->context, &thread, "coupon-restore", work, &claimers[1]) == 0;
  mine->tells = true;
  mine->alone = !two;
  (void)work(&claimers[0]);
  if (two) {
    (void)pthread_join(thread, NULL);
    return;
  }
  others->tells = others->alone = true;
  (void)work(&claimers[1]);
}

/* --- lines that were full ------------------------------------------------------------------------ */

/* Those whose lines were full, and `*twice`: the lowest number of a user's second ticket. */
static coupon_status claim_strangers(coupon_engine *engine, struct cpn_campaign *campaign,
                                     const struct cpn_claim_settler *settler, uint64_t *twice,
                                     struct cpn_fault *fault) {
  *twice = cpn_min_u64(*twice, settler->twice);
  if (settler->no_memory) return cpn_restore_no_memory(fault);
  for (size_t at = 0; at < settler->stranger_count; at += CPN_FILL_TOGETHER) {
    const size_t count = (size_t)cpn_min_u64(settler->stranger_count - at, CPN_FILL_TOGETHER);
    coupon_status status = cpn_restore_claim_some(engine, campaign, &settler->strangers[at], count, twice, fault);
    if (status != COUPON_OK) return status;
  }
  return COUPON_OK;
}

/* --- filling ------------------------------------------------------------------------------------- */

/* Whether memory is enough for a first level of that size, and for what overflows. */
static bool is_affordable(const coupon_engine *engine, uint64_t users) {
  const uint64_t used = cpn_memory_used(&engine->memory), limit = engine->memory.limit;
  return used < limit && cpn_claim_set_lines_for(users) <= (limit - used) / 4 * 3 / CPN_CACHE_LINE;
}

static struct cpn_claim_fill *begin(coupon_engine *engine, struct cpn_campaign *campaign,
                                    struct cpn_fill_place *place) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  place->next[0] = 1;
  place->next[1] = place->end = cpn_claim_fill_from(numbered, 1);
  if (numbered > CPN_FILL_NUMBER_MAX || !is_affordable(engine, numbered)) return NULL;
  return cpn_claim_fill_begin(&campaign->claims, &engine->memory, numbered);
}

static bool claimer_init(struct claimer *claimer, coupon_engine *engine, const struct cpn_campaign *campaign,
                         struct cpn_claim_fill *fill, uint32_t share, _Atomic uint32_t *next_part) {
  *claimer = (struct claimer){.next_part = next_part};
  claimer->leaver = (struct cpn_leaver){.engine = engine, .tickets = &campaign->tickets, .fill = fill, .share = share};
  claimer->settler = (struct cpn_claim_settler){.same_user = same_user, .context = &campaign->tickets};
  return cpn_claim_settler_init(&claimer->settler, fill);
}

coupon_status cpn_restore_fill(coupon_engine *engine, struct cpn_campaign *campaign, bool *filled, uint64_t *twice,
                               struct cpn_fault *fault) {
  struct claimer claimers[CPN_FILL_SHARES];
  struct cpn_fill_place place;
  _Atomic uint32_t next_part = 0;
  struct cpn_claim_fill *fill = cpn_restore_follow_take_over(engine, campaign, &place);
  if (fill == NULL) fill = begin(engine, campaign, &place);
  *filled = false;
  if (fill == NULL) return COUPON_OK;
  bool enough = true;
  for (uint32_t i = 0; i < CPN_FILL_SHARES; i++) {
    enough = claimer_init(&claimers[i], engine, campaign, fill, i, &next_part) && enough;
    claimers[i].leaver.first = claimers[i].leaver.next = place.next[i];
    claimers[i].leaver.end = i == 0 ? place.end : cpn_tickets_numbered(&campaign->tickets) + 1;
  }
  if (enough) {
    with_both(claimers, leave_share);
    *filled = claimers[0].fits && claimers[1].fits;
    if (*filled) with_both(claimers, settle_parts);
  }
  coupon_status status = enough ? COUPON_OK : cpn_restore_no_memory(fault);
  for (uint32_t i = 0; i < CPN_FILL_SHARES; i++) { /* a user's are all with one settler, and in order */
    if (status == COUPON_OK) status = claim_strangers(engine, campaign, &claimers[i].settler, twice, fault);
    cpn_claim_settler_fini(&claimers[i].settler);
  }
  cpn_claim_fill_free(fill, &engine->memory);
  return status;
}
