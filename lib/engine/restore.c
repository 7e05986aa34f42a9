/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block of tickets at a time, as many as lie at one spot, 256 at most. First the rules that a ticket and the one before
 * it tell of; then the users are hashed, and the lines of their claims asked for well before they are needed: else
 * each would wait for its line in turn, and that wait is most of what a ticket costs. Nobody else is there, so a claim is
 * made by a plain store, and leads to the ticket's number at once.
 *
 * A campaign of which much is to come gets a claim set for all of it as soon as it has outgrown its first level. The
 * few claims that it has by then are made anew.
 */
#include "engine/restore.h"

/* Lines asked for ahead of their use: more than the processor waits for at a time. */
#define AHEAD 24u

static coupon_status broken(struct cpn_fault *fault, const char *rule) {
  /* The caller knows the place. */
  return cpn_fault_set(fault, COUPON_E_CORRUPT, "", 0, rule);
}

static coupon_status no_memory(struct cpn_fault *fault) {
  return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory for the campaigns in the log; allow more");
}

/* --- memory -------------------------------------------------------------------------------------- */

/* What was issued under a limit has to fit again. Live, the keeper has packed whenever it could; here it is done when
 * memory runs out. True: there is more now. */
static bool make_the_most_of_memory(coupon_engine *engine) {
  uint64_t before = cpn_memory_used(&engine->memory);
  for (uint64_t i = 0; i < cpn_directory_count(&engine->campaigns); i++) {
    cpn_tickets_pack(&cpn_directory_at(&engine->campaigns, i)->tickets, &engine->memory, &engine->pool);
    cpn_row_pool_free(&engine->pool, &engine->memory); /* nobody reads yet */
  }
  return cpn_memory_used(&engine->memory) < before;
}

static bool make_room(coupon_engine *engine, struct cpn_tickets *tickets, uint64_t number) {
  return number <= cpn_tickets_room(tickets) || cpn_tickets_make_room(tickets, &engine->memory, &engine->pool, number);
}

static bool add_level(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_claim_place *place) {
  return cpn_claim_add_level(&campaign->claims, &engine->memory, place) ||
         (make_the_most_of_memory(engine) && cpn_claim_add_level(&campaign->claims, &engine->memory, place));
}

/* --- claims -------------------------------------------------------------------------------------- */

static inline uint64_t hash_of(const coupon_engine *engine, const uint64_t *user, uint32_t user_words) {
  return user_words == 2 ? cpn_hash_u128(&engine->key, user[0], user[1]) : cpn_hash_u64(&engine->key, user[0]);
}

/* The user's claim, or the place for it, which is NULL where a level is missing. At recovery claims lead to numbers. */
static inline void find(const struct cpn_campaign *campaign, const struct cpn_user *user,
                        struct cpn_claim_place *place) {
  cpn_claim_look(&campaign->claims, user->hash, place);
  while (CPN_UNLIKELY(place->seen != 0) &&
         !cpn_tickets_is_users(&campaign->tickets, cpn_claim_number(place->seen), user))
    cpn_claim_look_on(&campaign->claims, user->hash, place);
}

/* The ticket `number`, whose user is written, gets a claim, or is counted at its user's first one. */
static inline coupon_status claim(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                  uint64_t number, struct cpn_fault *fault) {
  struct cpn_claim_place place;
  for (;;) {
    find(campaign, user, &place);
    if (CPN_LIKELY(place.word != NULL)) break;
    if (!add_level(engine, campaign, &place)) return no_memory(fault);
  }
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

/* The same for tickets `number` …, up to the first that may not have one; `*claimed` are before it. */
static coupon_status claim_all(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number,
                               const struct cpn_restored *rows, size_t count, size_t *claimed,
                               struct cpn_fault *fault) {
  const uint32_t user_words = campaign->tickets.user_words;
  uint64_t hashes[CPN_TICKET_PAGE + AHEAD];
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

/* --- sizing the claim set ------------------------------------------------------------------------ */

/* How many tickets the campaign may have in the end: of the log that is left the share that it has had so far. */
static uint64_t expected(const coupon_engine *engine, const struct cpn_campaign *campaign, uint64_t numbered) {
  /* relaxed: nobody else is there. */
  const uint64_t all = cpn_max_u64(atomic_load_explicit(&engine->tickets, memory_order_relaxed), numbered);
  const uint64_t left = engine->log_left / (cpn_issue_words(campaign->tickets.user_words) * UINT64_C(8));
  const uint64_t share = (uint64_t)((cpn_u128)left * numbered / cpn_max_u64(all, 1));
  return cpn_min_u64(numbered + share, campaign->spec.stock);
}

/* Only where memory is plentiful: what was issued under a limit has to fit again, however the estimate turns out. */
static bool is_affordable(const coupon_engine *engine, uint64_t users) {
  const uint64_t used = cpn_memory_used(&engine->memory), limit = engine->memory.limit;
  return used < limit && cpn_claim_set_bytes_for(users) <= (limit - used) / 4;
}

/* The claims of tickets 1 … numbered, in a set that has begun again. */
static coupon_status claim_again(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t numbered,
                                 struct cpn_fault *fault) {
  struct cpn_tickets *tickets = &campaign->tickets;
  for (uint64_t number = 1; number <= numbered; number++) {
    struct cpn_user user = {.hash = 0};
    cpn_tickets_user(tickets, number, user.words);
    user.hash = hash_of(engine, user.words, tickets->user_words);
    /* relaxed: nobody else is there. Not the first of its user: the first one counts it already. */
    _Atomic uint64_t *count = tickets->counts == NULL ? NULL : cpn_tickets_count(tickets, number);
    if (count != NULL && atomic_load_explicit(count, memory_order_relaxed) == 0) continue;
    struct cpn_claim_place place;
    for (;;) {
      find(campaign, &user, &place);
      if (place.word != NULL) break;
      if (!add_level(engine, campaign, &place)) return no_memory(fault);
    }
    CPN_INVARIANT(2, place.seen == 0);
    cpn_claim_write(place.word, cpn_claim_numbered(user.hash, number));
  }
  return COUPON_OK;
}

/* A first level for all that may come, if that is much more than there is; else the set grows as ever. */
static coupon_status outgrow(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t numbered,
                             struct cpn_fault *fault) {
  const uint64_t users = expected(engine, campaign, numbered);
  if (users < numbered + numbered / 2 || !is_affordable(engine, users)) return COUPON_OK;
  if (!cpn_claim_set_begin_again(&campaign->claims, &engine->memory, users)) return COUPON_OK;
  return claim_again(engine, campaign, numbered, fault);
}

void cpn_restore_expect(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t tickets) {
  tickets = cpn_min_u64(tickets, campaign->spec.stock);
  if (cpn_tickets_numbered(&campaign->tickets) != 0 || tickets <= cpn_claim_set_first_users(&campaign->claims)) return;
  /* Without memory the set grows as ever. */
  if (is_affordable(engine, tickets)) (void)cpn_claim_set_begin_again(&campaign->claims, &engine->memory, tickets);
}

/* --- a block ------------------------------------------------------------------------------------- */

/* The rules that a ticket and the one before it tell of: the first one broken, or NULL. */
static const char *broken_rule(const struct cpn_campaign *campaign, uint64_t remaining, uint64_t time_before,
                               uint64_t time_ns) {
  if (cpn_word_state(cpn_stock_read(&campaign->stock)) != CPN_STOCK_OPEN)
    return "a ticket of a campaign that is not open";
  if (remaining == 0) return "more tickets than stock";
  if (!cpn_window_contains(campaign, time_ns)) return "a ticket outside its campaign's time";
  return time_ns < time_before ? "times of tickets fall" : NULL;
}

/* How many of the rows keep those rules, up to the first that does not. */
static size_t sound_ones(const struct cpn_campaign *campaign, const struct cpn_restored *rows, size_t count,
                         uint64_t time_before) {
  const uint64_t word = cpn_stock_read(&campaign->stock);
  if (cpn_word_state(word) != CPN_STOCK_OPEN) return 0;
  count = (size_t)cpn_min_u64(count, cpn_word_remaining(word));
  const uint64_t end = campaign->spec.closes_at_ns == 0 ? UINT64_MAX : campaign->spec.closes_at_ns - 1;
  uint64_t before = cpn_max_u64(time_before, campaign->spec.opens_at_ns);
  for (size_t i = 0; i < count; i++) {
    if (CPN_UNLIKELY(rows[i].time_ns < before || rows[i].time_ns > end)) return i;
    before = rows[i].time_ns;
  }
  return count;
}

/* What has got its claims takes its units and its numbers. */
static void append(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_ticket_spot *spot,
                   const struct cpn_restored *rows, size_t count) {
  struct cpn_tickets *tickets = &campaign->tickets;
  if (count == 0) return;
  const uint64_t taken = cpn_stock_take_many(&campaign->stock, cpn_stock_read(&campaign->stock), 0, count);
  CPN_INVARIANT(1, taken == count);
  cpn_tickets_restore_rows(tickets, spot, rows, count);
  if (cpn_tickets_numbered(tickets) % CPN_TICKET_PAGE == 0)
    cpn_tickets_pack(tickets, &engine->memory, &engine->pool);
  /* relaxed, and no read-modify-write: nobody else is there. */
  const uint64_t before = atomic_load_explicit(&engine->tickets, memory_order_relaxed);
  atomic_store_explicit(&engine->tickets, before + count, memory_order_relaxed);
  cpn_clock_raise(&engine->clock, rows[count - 1].time_ns);
}

/* As many as lie at one spot, `*time_before` being the time of the ticket before; `*done` have taken effect. */
static coupon_status restore_block(coupon_engine *engine, struct cpn_campaign *campaign,
                                   const struct cpn_restored *rows, size_t count, uint64_t *time_before,
                                   size_t *done, struct cpn_fault *fault) {
  struct cpn_tickets *tickets = &campaign->tickets;
  const uint64_t number = cpn_tickets_numbered(tickets) + 1;
  count = (size_t)cpn_min_u64(count, CPN_TICKET_PAGE);
  size_t sound = sound_ones(campaign, rows, count, *time_before);
  if (sound == 0) {
    const uint64_t remaining = cpn_word_remaining(cpn_stock_read(&campaign->stock));
    const char *rule = broken_rule(campaign, remaining, *time_before, rows[0].time_ns);
    CPN_INVARIANT(0, rule != NULL);
    return broken(fault, rule);
  }
  if (CPN_UNLIKELY(number > cpn_claim_set_first_users(&campaign->claims))) {
    coupon_status status = outgrow(engine, campaign, number - 1, fault);
    if (status != COUPON_OK) return status;
  }
  if (!make_room(engine, tickets, number) && !(make_the_most_of_memory(engine) && make_room(engine, tickets, number)))
    return no_memory(fault);
  const struct cpn_ticket_spot spot = cpn_tickets_spot(tickets, number);
  count = (size_t)cpn_min_u64(sound, spot.left);
  cpn_tickets_restore_users(tickets, &spot, rows, count);
  coupon_status status = claim_all(engine, campaign, number, rows, count, done, fault);
  append(engine, campaign, &spot, rows, *done);
  if (*done > 0) *time_before = rows[*done - 1].time_ns;
  return status;
}

coupon_status cpn_restore_tickets(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_restored *rows,
                                  size_t count, struct cpn_fault *fault) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  uint64_t time_before = 0;
  if (numbered > 0 && count > 0) (void)cpn_tickets_read(&campaign->tickets, numbered, &time_before);
  for (size_t at = 0; at < count;) {
    size_t done = 0;
    coupon_status status = restore_block(engine, campaign, rows + at, count - at, &time_before, &done, fault);
    if (status != COUPON_OK) return status;
    at += done;
  }
  return COUPON_OK;
}
