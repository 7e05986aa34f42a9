/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/restore_follow.h"

#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "engine/restore_leave.h"

/* What a campaign will hold is guessed from its first tickets; so many are enough for that. Tests want it smaller. */
#if defined(CPN_TEST_POINTS)
uint64_t cpn_restore_follow_from = 65536;
#define FOLLOW_FROM cpn_restore_follow_from
#else
#define FOLLOW_FROM UINT64_C(65536)
#endif

uint64_t cpn_restore_tickets_for_two(void) { return 5 * FOLLOW_FROM; }

/* How often the follower is told of more, and how much it leaves before it looks for what else there is. */
#define FOLLOW_STEP (FOLLOW_FROM / 4)
#define FOLLOWED_MAX 16u /* campaigns; those beyond get their claims at the end */

struct followed {
  struct cpn_campaign *campaign;
  struct cpn_claim_fill *fill;                        /* NULL: somebody has taken it over */
  uint64_t expected;                                  /* tickets */
  struct cpn_leaver leaver;                           /* the follower's, until it has stopped */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t numbered; /* tickets that may be left; written by the first thread */
};

struct cpn_follower {
  struct cpn_event more; /* for the follower */
  _Atomic uint32_t over; /* written by the first thread, once */
  _Atomic uint32_t count;
  bool stopped; /* the first thread's, as the next */
  pthread_t thread;
  struct followed followed[FOLLOWED_MAX]; /* those below `count` */
};

/* How many tickets the first share takes: of the half that it has of each part, what the hashes are sure not to go
 * beyond. */
static uint64_t first_share(uint64_t expected) { return expected / 4 * 3; }

/* Some of what may be left. False: there is nothing. */
static bool leave_some(struct followed *followed) {
  struct cpn_leaver *leaver = &followed->leaver;
  /* seq_cst: see cpn_event. Also acquire: the users. */
  const uint64_t numbered = atomic_load_explicit(&followed->numbered, memory_order_seq_cst);
  uint64_t end = cpn_min_u64(numbered, leaver->next - 1 + FOLLOW_STEP) + 1;
  if (leaver->share == 0) end = cpn_min_u64(end, first_share(followed->expected) + 1);
  if (end <= leaver->next) return false;
  cpn_restore_leave(leaver, end);
  if (leaver->share == 0 && end > first_share(followed->expected)) leaver->share = 1;
  return true;
}

static void *follow(void *argument) {
  struct cpn_follower *follower = argument;
  for (;;) {
    const uint32_t seen = cpn_event_look(&follower->more);
    /* seq_cst, both: see cpn_event. Also acquire: the campaigns. */
    if (atomic_load_explicit(&follower->over, memory_order_seq_cst) != 0) break;
    const uint32_t count = atomic_load_explicit(&follower->count, memory_order_seq_cst);
    bool any = false;
    for (uint32_t i = 0; i < count; i++) any = leave_some(&follower->followed[i]) || any;
    if (!any) (void)cpn_event_wait(&follower->more, seen, INT64_MAX);
  }
  /* What went past the caches is there before anybody hears that this thread has ended. Whether it fits is asked at the
   * end. relaxed: nothing is added once it is over. */
  for (uint32_t i = 0; i < atomic_load_explicit(&follower->count, memory_order_relaxed); i++)
    (void)!cpn_claim_fill_left(follower->followed[i].fill, follower->followed[i].leaver.share);
  return NULL;
}

/* By the pace of the first ones: the log's end is `end_lsn`, or so. A checkpoint that is being loaded says it. 0:
 * cannot tell. */
static uint64_t expect(const coupon_engine *engine, const struct cpn_campaign *campaign) {
  const struct cpn_tickets *tickets = &campaign->tickets;
  const uint64_t numbered = cpn_tickets_numbered(tickets), end_lsn = engine->following.end_lsn;
  if (campaign->kept.tickets > numbered) return campaign->kept.tickets;
  uint64_t unused;
  const uint64_t first_lsn = cpn_tickets_read(tickets, 1, &unused), lsn = cpn_tickets_read(tickets, numbered, &unused);
  if (end_lsn <= lsn) return 0;
  const double to_come = (double)numbered * (double)(end_lsn - lsn) / (double)(lsn - first_lsn);
  const uint64_t to_be_had = campaign->spec.stock - numbered;
  return numbered + (to_come < (double)to_be_had ? (uint64_t)to_come : to_be_had);
}

/* The follower, who may just have begun. NULL: there is none to be had. */
static struct cpn_follower *follower_of(coupon_engine *engine) {
  struct cpn_following *following = &engine->following;
  const struct cpn_env *env = &engine->env;
  if (following->follower != NULL || following->refused) return following->follower;
  following->refused = true;
  if (env->start_thread == NULL || cpn_env_processors() == 1) return NULL;
  struct cpn_follower *follower = aligned_alloc(CPN_CACHE_LINE, cpn_round_up(sizeof *follower, CPN_CACHE_LINE));
  if (follower == NULL) return NULL;
  memset(follower, 0, sizeof *follower);
  cpn_event_init(&follower->more);
  if (env->start_thread(env->context, &follower->thread, "coupon-follow", follow, follower) == 0)
    following->follower = follower;
  else
    free(follower);
  return following->follower;
}

/* A set for so many, and room for their tickets, and for some more than are expected. */
static bool has_room_for(const coupon_engine *engine, uint64_t expected) {
  const uint64_t used = cpn_memory_used(&engine->memory), limit = engine->memory.limit;
  return used < limit && (limit - used) / 128 > expected;
}

static void tell_of(coupon_engine *engine, struct followed *followed, uint64_t numbered) {
  /* relaxed: only this thread writes it. */
  engine->progress.followed += numbered - atomic_load_explicit(&followed->numbered, memory_order_relaxed);
  atomic_store_explicit(&followed->numbered, numbered, memory_order_seq_cst);
}

/* What was left in vain begins again. */
static void forget(coupon_engine *engine, struct followed *followed) {
  /* relaxed: only this thread writes it. */
  engine->progress.followed -= atomic_load_explicit(&followed->numbered, memory_order_relaxed);
  cpn_claim_fill_free(followed->fill, &engine->memory);
  followed->fill = NULL;
}

static void begin_to_follow(coupon_engine *engine, struct cpn_campaign *campaign) {
  const uint64_t expected = expect(engine, campaign);
  if (expected > CPN_FILL_NUMBER_MAX || expected < cpn_restore_tickets_for_two() || !has_room_for(engine, expected))
    return;
  struct cpn_follower *follower = follower_of(engine);
  if (follower == NULL) return;
  /* relaxed: only this thread writes it. */
  const uint32_t count = atomic_load_explicit(&follower->count, memory_order_relaxed);
  if (count == FOLLOWED_MAX) return;
  struct cpn_claim_fill *fill = cpn_claim_fill_begin(&campaign->claims, &engine->memory, expected);
  if (fill == NULL) return;
  struct followed *followed = &follower->followed[count];
  followed->campaign = campaign;
  followed->fill = fill;
  followed->expected = expected;
  followed->leaver =
      (struct cpn_leaver){.engine = engine, .tickets = &campaign->tickets, .fill = fill, .first = 1, .next = 1};
  tell_of(engine, followed, cpn_tickets_numbered(&campaign->tickets));
  atomic_store_explicit(&follower->count, count + 1, memory_order_seq_cst);
  cpn_event_tell(&follower->more);
}

static struct followed *followed_of(const coupon_engine *engine, const struct cpn_campaign *campaign) {
  struct cpn_follower *follower = engine->following.follower;
  /* relaxed: only this thread writes it. */
  const uint32_t count = follower == NULL ? 0 : atomic_load_explicit(&follower->count, memory_order_relaxed);
  for (uint32_t i = 0; i < count; i++) {
    if (follower->followed[i].campaign == campaign) return &follower->followed[i];
  }
  return NULL;
}

void cpn_restore_follow(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t before) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  if (before <= FOLLOW_FROM && numbered > FOLLOW_FROM) begin_to_follow(engine, campaign);
  if (before / FOLLOW_STEP == numbered / FOLLOW_STEP) return;
  struct followed *followed = followed_of(engine, campaign);
  if (followed == NULL) return;
  tell_of(engine, followed, numbered);
  cpn_event_tell(&engine->following.follower->more);
}

void cpn_restore_follow_stop(coupon_engine *engine) {
  struct cpn_follower *follower = engine->following.follower;
  if (follower == NULL || follower->stopped) return;
  atomic_store_explicit(&follower->over, 1, memory_order_seq_cst);
  cpn_event_tell(&follower->more);
  (void)pthread_join(follower->thread, NULL);
  follower->stopped = true;
}

struct cpn_claim_fill *cpn_restore_follow_take_over(coupon_engine *engine, struct cpn_campaign *campaign,
                                                    struct cpn_fill_place *place) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  struct followed *followed = followed_of(engine, campaign);
  if (followed == NULL || followed->fill == NULL) return NULL;
  if (numbered < followed->expected / 8 * 7 || numbered > followed->expected / 8 * 9) {
    forget(engine, followed);
    cpn_claim_set_let_go(&campaign->claims, &engine->memory); /* the next one needs its memory */
    return NULL;
  }
  struct cpn_claim_fill *fill = followed->fill;
  followed->fill = NULL;
  const struct cpn_leaver *done = &followed->leaver;
  if (done->share == 0) {
    place->next[0] = done->next;
    place->next[1] = place->end = cpn_min_u64((done->next + numbered) / 2, first_share(followed->expected)) + 1;
  } else {
    place->next[0] = place->end = 1; /* nothing is left to do */
    place->next[1] = done->next;
  }
  return fill;
}

void cpn_restore_follow_end(coupon_engine *engine) {
  struct cpn_follower *follower = engine->following.follower;
  engine->following.refused = false;
  if (follower == NULL) return;
  cpn_restore_follow_stop(engine);
  for (uint32_t i = 0; i < FOLLOWED_MAX; i++) {
    if (follower->followed[i].fill != NULL) forget(engine, &follower->followed[i]);
  }
  free(follower);
  engine->following.follower = NULL;
}
