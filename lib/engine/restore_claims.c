/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A user's line lies anywhere in memory. Where claims are made at once, their lines are asked for before they are
 * needed; what a campaign has beyond DEFER_FROM tickets gets its claims only when all tickets are there, or from a
 * second thread behind them (engine/restore_fill.h).
 */
#include "engine/restore_claims.h"

#include "engine/restore_fill.h"
#include "engine/restore_follow.h"
#include "issue/claim_fill.h"

/* Lines asked for ahead of their use: more than the processor waits for at a time. */
#define AHEAD 24u

/* Up to here claims are made at once: so many fit into a first level that lies in the caches. Tests want it smaller. */
#if defined(CPN_TEST_POINTS)
uint64_t cpn_restore_defer_from = 65536;
#define DEFER_FROM cpn_restore_defer_from
#else
#define DEFER_FROM UINT64_C(65536)
#endif

static coupon_status broken(struct cpn_fault *fault, const char *rule) {
  /* The caller knows the place. */
  return cpn_fault_set(fault, COUPON_E_CORRUPT, "", 0, rule);
}

coupon_status cpn_restore_no_memory(struct cpn_fault *fault) {
  return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory for the campaigns in the log; allow more");
}

/* --- memory -------------------------------------------------------------------------------------- */

bool cpn_restore_make_the_most_of_memory(coupon_engine *engine) {
  uint64_t before = cpn_memory_used(&engine->memory);
  for (uint64_t i = 0; i < cpn_directory_count(&engine->campaigns); i++) {
    cpn_tickets_pack(&cpn_directory_at(&engine->campaigns, i)->tickets, &engine->memory, &engine->pool);
    cpn_row_pool_free(&engine->pool, &engine->memory); /* nobody reads yet */
  }
  return cpn_memory_used(&engine->memory) < before;
}

static bool add_level(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_claim_place *place) {
  return cpn_claim_add_level(&campaign->claims, &engine->memory, place) ||
         (cpn_restore_make_the_most_of_memory(engine) &&
          cpn_claim_add_level(&campaign->claims, &engine->memory, place));
}

/* --- claims -------------------------------------------------------------------------------------- */

static inline uint64_t hash_of(const coupon_engine *engine, const uint64_t *user, uint32_t user_words) {
  return user_words == 2 ? cpn_hash_u128(&engine->key, user[0], user[1]) : cpn_hash_u64(&engine->key, user[0]);
}

/* The user's claim, or the place for it, which is NULL where a level is missing. At recovery claims lead to numbers. */
static inline void find(const struct cpn_campaign *campaign, const struct cpn_user *user,
                        struct cpn_claim_place *place) {
  *place = cpn_claim_look(&campaign->claims, user->hash);
  while (CPN_UNLIKELY(place->seen != 0) &&
         !cpn_tickets_is_users(&campaign->tickets, cpn_claim_number(place->seen), user))
    cpn_claim_look_on(&campaign->claims, user->hash, place);
}

static coupon_status find_or_grow(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                  struct cpn_claim_place *place, struct cpn_fault *fault) {
  for (;;) {
    find(campaign, user, place);
    if (CPN_LIKELY(place->word != NULL)) return COUPON_OK;
    if (!add_level(engine, campaign, place)) return cpn_restore_no_memory(fault);
  }
}

/* The ticket `number`, whose user is written, gets a claim, or is counted at its user's first one. */
static inline coupon_status claim(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                  uint64_t number, struct cpn_fault *fault) {
  struct cpn_claim_place place;
  coupon_status status = find_or_grow(engine, campaign, user, &place, fault);
  if (CPN_UNLIKELY(status != COUPON_OK)) return status;
  const bool first = place.seen == 0;
  if (CPN_UNLIKELY(!first && campaign->spec.user_limit != 0))
    return broken(fault, "a user has more tickets than the limit");
  if (first) cpn_claim_write(place.word, cpn_claim_numbered(user->hash, number));
  if (campaign->spec.user_limit != 0) return COUPON_OK;
  /* relaxed: nobody else is there. */
  _Atomic uint64_t *count = cpn_tickets_count(&campaign->tickets, first ? number : cpn_claim_number(place.seen));
  atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
  return COUPON_OK;
}

coupon_status cpn_restore_claims(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number,
                                 const struct cpn_restored *rows, size_t count, size_t *claimed,
                                 struct cpn_fault *fault) {
  const uint32_t user_words = campaign->tickets.user_words;
  uint64_t hashes[CPN_TICKET_PAGE];
  for (size_t i = 0; i < count; i++) hashes[i] = hash_of(engine, rows[i].user, user_words);
  for (size_t i = 0; i < cpn_min_u64(AHEAD, count); i++) cpn_claim_prefetch(&campaign->claims, hashes[i]);
  for (size_t i = 0; i < count; i++) {
    if (i + AHEAD < count) cpn_claim_prefetch(&campaign->claims, hashes[i + AHEAD]);
    const struct cpn_user user = {.words = {rows[i].user[0], rows[i].user[1]}, .hash = hashes[i]};
    coupon_status status = claim(engine, campaign, &user, number + i, fault);
    if (CPN_UNLIKELY(status != COUPON_OK)) return status;
    *claimed = i + 1;
  }
  return COUPON_OK;
}

/* --- claims that come later ---------------------------------------------------------------------- */

/* Whoever has tickets has claims, unless they were let go. */
static bool are_gone(const struct cpn_campaign *campaign) {
  return cpn_claim_level_at(&campaign->claims, 0) == NULL && cpn_tickets_numbered(&campaign->tickets) > 0;
}

bool cpn_restore_is_deferred(const struct cpn_campaign *campaign, uint64_t number) {
  return (number > DEFER_FROM && campaign->spec.user_limit != 0) || are_gone(campaign);
}

/* The campaign's claims, if it has any, and what was counted with them. */
static void let_go(coupon_engine *engine, struct cpn_campaign *campaign) {
  struct cpn_tickets *tickets = &campaign->tickets;
  const uint64_t numbered = cpn_tickets_numbered(tickets);
  if (cpn_claim_level_at(&campaign->claims, 0) == NULL) return;
  const bool counted = campaign->spec.user_limit == 0;
  engine->progress.deferred += counted ? numbered : cpn_min_u64(numbered, DEFER_FROM);
  cpn_claim_set_let_go(&campaign->claims, &engine->memory);
  /* relaxed: nobody else is there. */
  for (uint64_t number = 1; counted && number <= cpn_tickets_room(tickets); number++)
    atomic_store_explicit(cpn_tickets_count(tickets, number), 0, memory_order_relaxed);
}

bool cpn_restore_let_claims_go(coupon_engine *engine) {
  const uint64_t before = cpn_memory_used(&engine->memory);
  cpn_restore_follow_end(engine);
  engine->following.refused = true;
  for (uint64_t i = 0; i < cpn_directory_count(&engine->campaigns); i++)
    let_go(engine, cpn_directory_at(&engine->campaigns, i));
  return cpn_memory_used(&engine->memory) < before;
}

static struct cpn_user user_of(const coupon_engine *engine, const struct cpn_tickets *tickets, uint64_t number) {
  struct cpn_user user = {.hash = 0};
  cpn_tickets_user(tickets, number, user.words);
  user.hash = hash_of(engine, user.words, tickets->user_words);
  return user;
}

/* The claim of this ticket's user; if there is one already, `*twice` becomes the lowest number of a second ticket. */
static coupon_status claim_one(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                               uint64_t number, uint64_t *twice, struct cpn_fault *fault) {
  struct cpn_claim_place place;
  coupon_status status = find_or_grow(engine, campaign, user, &place, fault);
  if (status != COUPON_OK) return status;
  if (place.seen != 0)
    *twice = cpn_min_u64(*twice, number);
  else
    cpn_claim_write(place.word, cpn_claim_numbered(user->hash, number));
  return COUPON_OK;
}

/* Their users and lines lie anywhere in memory, and are asked for together. */
coupon_status cpn_restore_claim_some(coupon_engine *engine, struct cpn_campaign *campaign, const uint64_t *numbers,
                                     size_t count, uint64_t *twice, struct cpn_fault *fault) {
  struct cpn_user users[CPN_FILL_TOGETHER];
  for (size_t i = 0; i < count; i++) __builtin_prefetch(cpn_chunks_at(&campaign->tickets.users, numbers[i] - 1));
  for (size_t i = 0; i < count; i++) users[i] = user_of(engine, &campaign->tickets, numbers[i]);
  for (size_t i = 0; i < count; i++) cpn_claim_prefetch_all(&campaign->claims, users[i].hash);
  for (size_t i = 0; i < count; i++) {
    coupon_status status = claim_one(engine, campaign, &users[i], numbers[i], twice, fault);
    if (status != COUPON_OK) return status;
  }
  return COUPON_OK;
}

/* Up to a user's second one too many; the set there is grows as ever. */
static coupon_status claim_one_by_one(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t *twice,
                                      struct cpn_fault *fault) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  for (uint64_t number = 1; number <= numbered && *twice == UINT64_MAX; number++) {
    const struct cpn_user user = user_of(engine, &campaign->tickets, number);
    coupon_status status = campaign->spec.user_limit == 0 ? claim(engine, campaign, &user, number, fault)
                                                          : claim_one(engine, campaign, &user, number, twice, fault);
    if (status != COUPON_OK) return status;
  }
  return COUPON_OK;
}

/* In a set that begins again, small if there is little memory: of that an eighth is for what overflows, in small steps.
 * Where memory has room for fewer than there are to come, each campaign gets as much less. */
static coupon_status claim_again(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t lines_to_come,
                                 uint64_t *twice, struct cpn_fault *fault) {
  let_go(engine, campaign);
  const uint64_t limit = engine->memory.limit, used = cpn_memory_used(&engine->memory);
  const uint64_t room = (limit - cpn_min_u64(limit, used)) / 8 * 7 / CPN_CACHE_LINE;
  uint64_t lines = cpn_claim_set_lines_for(cpn_tickets_numbered(&campaign->tickets));
  if (room < lines_to_come) lines = (uint64_t)((double)lines * (double)room / (double)lines_to_come);
  lines = cpn_max_u64(lines / 2 * 2, 2); /* pairs */
  if (!cpn_claim_set_begin_again(&campaign->claims, &engine->memory, lines)) return cpn_restore_no_memory(fault);
  cpn_claim_set_expect(&campaign->claims, 1);
  coupon_status status = claim_one_by_one(engine, campaign, twice, fault);
  cpn_claim_set_expect(&campaign->claims, campaign->spec.stock);
  return status;
}

uint64_t cpn_restore_lines_to_come(const coupon_engine *engine) {
  uint64_t lines = 0;
  for (uint64_t i = 0; i < cpn_directory_count(&engine->campaigns); i++) {
    const struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
    if (cpn_restore_is_deferred(campaign, numbered)) lines += cpn_claim_set_lines_for(numbered);
  }
  return lines;
}

coupon_status cpn_restore_deferred_claims(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t *lines_to_come,
                                          uint64_t *twice, struct cpn_fault *fault) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  *twice = UINT64_MAX;
  if (!cpn_restore_is_deferred(campaign, numbered)) return COUPON_OK;
  const uint64_t lines = *lines_to_come, own = cpn_claim_set_lines_for(numbered);
  *lines_to_come -= own;
  bool filled = false;
  coupon_status status = COUPON_OK;
  if (campaign->spec.user_limit != 0 && numbered > DEFER_FROM)
    status = cpn_restore_fill(engine, campaign, &filled, twice, fault);
  return filled || status != COUPON_OK ? status : claim_again(engine, campaign, lines, twice, fault);
}
