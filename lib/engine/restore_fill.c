/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/restore_fill.h"

#include <stdlib.h>
#include <string.h>

#include "base/event.h"
#include "engine/restore_claims.h"
#include "issue/claim_fill.h"

/* What a campaign will hold is guessed from its first tickets; so many are enough for that. Tests want it smaller. */
#if defined(CPN_TEST_POINTS)
uint64_t cpn_restore_follow_from = 65536;
#define FOLLOW_FROM cpn_restore_follow_from
#else
#define FOLLOW_FROM UINT64_C(65536)
#endif

static bool same_user(const void *context, uint64_t a, uint64_t b) {
  const struct cpn_tickets *tickets = context;
  struct cpn_user user = {.hash = 0};
  cpn_tickets_user(tickets, a, user.words);
  return cpn_tickets_is_users(tickets, b, &user);
}

/* One thread's part of one campaign's claims. */
struct claimer {
  coupon_engine *engine;
  const struct cpn_tickets *tickets;
  struct cpn_claim_fill *fill;
  uint32_t share;
  uint64_t first, next, end;   /* of the share's tickets: the first one here, those that have not been left */
  bool fits;                   /* what it has left */
  bool tells;                  /* how far it is: of the opening thread's, one */
  bool alone;                  /* there is no other thread meanwhile */
  _Atomic uint32_t *next_part; /* to be settled; both threads take from it */
  struct cpn_claim_settler settler;
};

static size_t hash_users(const struct claimer *claimer, uint64_t number, uint64_t end,
                         uint64_t hashes[CPN_FILL_TOGETHER]) {
  const uint32_t user_words = claimer->tickets->user_words;
  const _Atomic uint64_t *users;
  const size_t count =
      (size_t)cpn_min_u64(cpn_tickets_users_at(claimer->tickets, number, end - 1, &users), CPN_FILL_TOGETHER);
  const struct cpn_hash_key key = claimer->engine->key; /* a copy, that nothing can change: it stays in registers */
  /* relaxed, all: nobody writes any more. */
  for (size_t i = 0; i < count && user_words == 1; i++)
    hashes[i] = cpn_hash_u64(&key, atomic_load_explicit(&users[i], memory_order_relaxed));
  for (size_t i = 0; i < count && user_words == 2; i++)
    hashes[i] = cpn_hash_u128(&key, atomic_load_explicit(&users[2 * i], memory_order_relaxed),
                              atomic_load_explicit(&users[2 * i + 1], memory_order_relaxed));
  return count;
}

/* Leaving is half of the work, and of that each share is half. */
#define LEAVING (CPN_PROGRESS_WHOLE / 2)
#define TELL_EVERY (CPN_FILL_TOGETHER * UINT64_C(4096)) /* tickets */

static void tell_left(const struct claimer *claimer, uint64_t numbered) {
  const uint64_t left = claimer->alone ? claimer->next : (claimer->next - claimer->first) * CPN_FILL_SHARES;
  cpn_progress_claim(claimer->engine, numbered, cpn_min_u64(left * LEAVING / numbered, LEAVING));
}

static void leave_up_to(struct claimer *claimer, uint64_t end) {
  while (claimer->next < end) {
    uint64_t hashes[CPN_FILL_TOGETHER];
    const size_t count = hash_users(claimer, claimer->next, end, hashes);
    cpn_claim_fill_leave(claimer->fill, claimer->share, hashes, claimer->next, count);
    claimer->next += count;
    if (claimer->tells && claimer->next / TELL_EVERY != (claimer->next - count) / TELL_EVERY)
      tell_left(claimer, cpn_tickets_numbered(claimer->tickets));
  }
}

static void *leave_share(void *argument) {
  struct claimer *claimer = argument;
  leave_up_to(claimer, claimer->end);
  claimer->fits = cpn_claim_fill_left(claimer->fill, claimer->share);
  return NULL;
}

static void *settle_parts(void *argument) {
  struct claimer *claimer = argument;
  for (;;) {
    /* relaxed: it only says whose the part is; what was left there was heard of with the thread's start. */
    const uint32_t part = atomic_fetch_add_explicit(claimer->next_part, 1, memory_order_relaxed);
    if (part >= claimer->fill->parts) return NULL;
    cpn_claim_fill_settle(claimer->fill, part, &claimer->settler);
    if (claimer->tells)
      cpn_progress_claim(claimer->engine, cpn_tickets_numbered(claimer->tickets),
                         LEAVING + (uint64_t)part * (CPN_PROGRESS_WHOLE - LEAVING) / claimer->fill->parts);
  }
}

/* With fewer a thread is not worth its start. */
#define TICKETS_FOR_TWO (5 * FOLLOW_FROM)

/* The same for both claimers, at once if there is a second thread to be had. */
static void with_both(struct claimer claimers[CPN_FILL_SHARES], void *(*work)(void *claimer)) {
  pthread_t thread;
  const struct cpn_env *env = &claimers[0].engine->env;
  bool two = cpn_tickets_numbered(claimers[0].tickets) >= TICKETS_FOR_TWO && env->start_thread != NULL &&
             cpn_env_processors() > 1;
  claimers[1].tells = false;
  two = two && env->start_thread(env->context, &thread, "coupon-restore", work, &claimers[1]) == 0;
  claimers[0].tells = true;
  claimers[0].alone = !two;
  (void)work(&claimers[0]);
  if (two) {
    (void)pthread_join(thread, NULL);
    return;
  }
  claimers[1].tells = claimers[1].alone = true;
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

/* --- following ----------------------------------------------------------------------------------- */

/* How often the follower is told of more, and how much it leaves before it looks for what else there is. */
#define FOLLOW_STEP (FOLLOW_FROM / 4)
#define FOLLOWED_MAX 16u /* campaigns; those beyond get their claims at the end */

struct followed {
  struct cpn_campaign *campaign;
  struct cpn_claim_fill *fill;                        /* NULL: somebody has taken it over */
  uint64_t expected;                                  /* tickets */
  struct claimer claimer;                             /* the follower's, until it has stopped */
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

/* How many tickets the first share takes: of the half that it has of each part, what the hashes are sure not to go beyond. */
static uint64_t first_share(uint64_t expected) { return expected / 4 * 3; }

/* Some of what may be left. False: there is nothing. */
static bool leave_some(struct followed *followed) {
  struct claimer *claimer = &followed->claimer;
  /* seq_cst: see cpn_event. Also acquire: the users. */
  const uint64_t numbered = atomic_load_explicit(&followed->numbered, memory_order_seq_cst);
  uint64_t end = cpn_min_u64(numbered, claimer->next - 1 + FOLLOW_STEP) + 1;
  if (claimer->share == 0) end = cpn_min_u64(end, first_share(followed->expected) + 1);
  if (end <= claimer->next) return false;
  leave_up_to(claimer, end);
  if (claimer->share == 0 && end > first_share(followed->expected)) claimer->share = 1;
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
  /* What went past the caches is there before anybody hears that this thread has ended. Whether it fits is asked at the end.
   * relaxed: nothing is added once it is over. */
  for (uint32_t i = 0; i < atomic_load_explicit(&follower->count, memory_order_relaxed); i++)
    (void)!cpn_claim_fill_left(follower->followed[i].fill, follower->followed[i].claimer.share);
  return NULL;
}

/* By the pace of the first ones: the log's end is `end_lsn`, or so. A checkpoint that is being loaded says it. 0: cannot tell. */
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
  if (expected > CPN_FILL_NUMBER_MAX || expected < TICKETS_FOR_TWO || !has_room_for(engine, expected)) return;
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
  followed->claimer =
      (struct claimer){.engine = engine, .tickets = &campaign->tickets, .fill = fill, .first = 1, .next = 1};
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

/* --- filling ------------------------------------------------------------------------------------- */

/* What the follower has left for this campaign, and in `claimers` where to go on. NULL: nothing, or the number of tickets is not the one
 * that it was made for, by more than can be had or should be. */
static struct cpn_claim_fill *take_over(coupon_engine *engine, struct cpn_campaign *campaign,
                                        struct claimer claimers[CPN_FILL_SHARES]) {
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
  const struct claimer *done = &followed->claimer;
  if (done->share == 0) {
    claimers[0].next = done->next;
    claimers[0].end = cpn_min_u64((done->next + numbered) / 2, first_share(followed->expected)) + 1;
    claimers[1].next = claimers[0].end;
  } else {
    claimers[0].next = claimers[0].end = 1; /* nothing is left to do */
    claimers[1].next = done->next;
  }
  return fill;
}

/* Whether memory is enough for a first level of that size, and for what overflows. */
static bool is_affordable(const coupon_engine *engine, uint64_t users) {
  const uint64_t used = cpn_memory_used(&engine->memory), limit = engine->memory.limit;
  return used < limit && cpn_claim_set_lines_for(users) <= (limit - used) / 4 * 3 / CPN_CACHE_LINE;
}

static struct cpn_claim_fill *begin(coupon_engine *engine, struct cpn_campaign *campaign,
                                    struct claimer claimers[CPN_FILL_SHARES]) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  claimers[0].next = 1;
  claimers[0].end = claimers[1].next = cpn_claim_fill_from(numbered, 1);
  if (numbered > CPN_FILL_NUMBER_MAX || !is_affordable(engine, numbered)) return NULL;
  return cpn_claim_fill_begin(&campaign->claims, &engine->memory, numbered);
}

static void claimers_begin(struct claimer claimers[CPN_FILL_SHARES], coupon_engine *engine,
                           const struct cpn_campaign *campaign, _Atomic uint32_t *next_part) {
  for (uint32_t i = 0; i < CPN_FILL_SHARES; i++) {
    claimers[i] = (struct claimer){.engine = engine, .tickets = &campaign->tickets, .share = i, .next_part = next_part};
    claimers[i].settler = (struct cpn_claim_settler){.same_user = same_user, .context = &campaign->tickets};
  }
  claimers[1].end = cpn_tickets_numbered(&campaign->tickets) + 1;
}

coupon_status cpn_restore_fill(coupon_engine *engine, struct cpn_campaign *campaign, bool *filled, uint64_t *twice,
                               struct cpn_fault *fault) {
  struct claimer claimers[CPN_FILL_SHARES];
  _Atomic uint32_t next_part = 0;
  claimers_begin(claimers, engine, campaign, &next_part);
  struct cpn_claim_fill *fill = take_over(engine, campaign, claimers);
  if (fill == NULL) fill = begin(engine, campaign, claimers);
  *filled = false;
  if (fill == NULL) return COUPON_OK;
  bool enough = true;
  for (uint32_t i = 0; i < CPN_FILL_SHARES; i++) {
    claimers[i].fill = fill;
    claimers[i].first = claimers[i].next;
    enough = cpn_claim_settler_init(&claimers[i].settler, fill) && enough;
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
