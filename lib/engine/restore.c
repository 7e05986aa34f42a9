/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block of tickets at a time, as many as lie at one spot, 256 at most. First the rules that a ticket and the one before
 * it tell of; then the claims; then the rows. Nobody else is there: a claim is made by a plain store, and leads to the
 * ticket's number at once.
 *
 * A user's line lies anywhere in memory. The lines of a block are asked for before they are needed; and what a campaign has
 * beyond DEFER_FROM tickets gets its claims only when all tickets are there, in a set of just that size, part by part
 * (issue/claim_fill.h), by two threads if there are two. That a user came twice shows only then, and the log is
 * read again up to that record, to say where it is. Nothing is as slow as damage, and nothing need be.
 */
#include "engine/restore.h"

#include "issue/claim_fill.h"
#include "log/reader.h"

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

static coupon_status find_or_grow(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                  struct cpn_claim_place *place, struct cpn_fault *fault) {
  for (;;) {
    find(campaign, user, place);
    if (CPN_LIKELY(place->word != NULL)) return COUPON_OK;
    if (!add_level(engine, campaign, place)) return no_memory(fault);
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

/* Claims for tickets `number` …, whose users are written, up to the first that may not have one; `*claimed` are before it. */
static coupon_status claim_all(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number,
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

/* Users without a limit are counted at their first ticket, which has to be known at once. */
static bool is_deferred(const struct cpn_campaign *campaign, uint64_t number) {
  return number > DEFER_FROM && campaign->spec.user_limit != 0;
}

static struct cpn_user user_of(const coupon_engine *engine, const struct cpn_tickets *tickets, uint64_t number) {
  struct cpn_user user = {.hash = 0};
  cpn_tickets_user(tickets, number, user.words);
  user.hash = hash_of(engine, user.words, tickets->user_words);
  return user;
}

static bool same_user(const void *context, uint64_t a, uint64_t b) {
  const struct cpn_tickets *tickets = context;
  struct cpn_user user = {.hash = 0};
  cpn_tickets_user(tickets, a, user.words);
  return cpn_tickets_is_users(tickets, b, &user);
}

/* One thread's part of one campaign's claims. */
struct claimer {
  const coupon_engine *engine;
  const struct cpn_tickets *tickets;
  struct cpn_claim_fill *fill;
  uint32_t share;
  _Atomic uint32_t *next_part; /* to be settled; both threads take from it */
  struct cpn_claim_settler settler;
};

static size_t hash_users(const struct claimer *claimer, uint64_t number, uint64_t end,
                         uint64_t hashes[CPN_FILL_TOGETHER]) {
  const uint32_t user_words = claimer->tickets->user_words;
  const _Atomic uint64_t *users;
  const size_t count =
      (size_t)cpn_min_u64(cpn_tickets_users_at(claimer->tickets, number, end - 1, &users), CPN_FILL_TOGETHER);
  for (size_t i = 0; i < count; i++) {
    /* relaxed: nobody writes any more. */
    const _Atomic uint64_t *words = users + i * user_words;
    const uint64_t user[2] = {atomic_load_explicit(&words[0], memory_order_relaxed),
                              atomic_load_explicit(&words[user_words - 1], memory_order_relaxed)};
    hashes[i] = hash_of(claimer->engine, user, user_words);
  }
  return count;
}

static void *leave_share(void *argument) {
  struct claimer *claimer = argument;
  const uint64_t numbered = cpn_tickets_numbered(claimer->tickets);
  const uint64_t end = cpn_claim_fill_from(numbered, claimer->share + 1);
  for (uint64_t number = cpn_claim_fill_from(numbered, claimer->share); number < end;) {
    uint64_t hashes[CPN_FILL_TOGETHER];
    const size_t count = hash_users(claimer, number, end, hashes);
    cpn_claim_fill_leave(claimer->fill, claimer->share, hashes, number, count);
    number += count;
  }
  cpn_claim_fill_left(claimer->fill, claimer->share);
  return NULL;
}

static void *settle_parts(void *argument) {
  struct claimer *claimer = argument;
  for (;;) {
    /* relaxed: it only says whose the part is; what was left there was heard of with the thread's start. */
    const uint32_t part = atomic_fetch_add_explicit(claimer->next_part, 1, memory_order_relaxed);
    if (part >= claimer->fill->parts) return NULL;
    cpn_claim_fill_settle(claimer->fill, part, &claimer->settler);
  }
}

/* With fewer parts a thread is not worth its start. */
#define PARTS_FOR_TWO 16u

/* The same for both claimers, at once if there is a second thread to be had. */
static void with_both(struct claimer claimers[CPN_FILL_SHARES], void *(*work)(void *claimer)) {
  pthread_t thread;
  const struct cpn_env *env = &claimers[0].engine->env;
  bool two = claimers[0].fill->parts >= PARTS_FOR_TWO && env->start_thread != NULL && cpn_env_processors() > 1;
  two = two && env->start_thread(env->context, &thread, "coupon-restore", work, &claimers[1]) == 0;
  (void)work(&claimers[0]);
  if (two)
    (void)pthread_join(thread, NULL);
  else
    (void)work(&claimers[1]);
}

/* The claim of this ticket's user; if there is one already, `*twice` becomes the lowest number of a second ticket. */
static coupon_status claim_one(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number, uint64_t *twice,
                               struct cpn_fault *fault) {
  const struct cpn_user user = user_of(engine, &campaign->tickets, number);
  struct cpn_claim_place place;
  coupon_status status = find_or_grow(engine, campaign, &user, &place, fault);
  if (status != COUPON_OK) return status;
  if (place.seen != 0)
    *twice = cpn_min_u64(*twice, number);
  else
    cpn_claim_write(place.word, cpn_claim_numbered(user.hash, number));
  return COUPON_OK;
}

/* Those whose lines were full, and `*twice`: the lowest number of a user's second ticket. */
static coupon_status claim_strangers(coupon_engine *engine, struct cpn_campaign *campaign,
                                     const struct cpn_claim_settler *settler, uint64_t *twice,
                                     struct cpn_fault *fault) {
  *twice = cpn_min_u64(*twice, settler->twice);
  if (settler->no_memory) return no_memory(fault);
  for (size_t i = 0; i < settler->stranger_count; i++) {
    coupon_status status = claim_one(engine, campaign, settler->strangers[i], twice, fault);
    if (status != COUPON_OK) return status;
  }
  return COUPON_OK;
}

/* All claims of the campaign, in a set that has begun again for just as many. */
static coupon_status fill(coupon_engine *engine, struct cpn_campaign *campaign, struct cpn_claim_fill *filling,
                          uint64_t *twice, struct cpn_fault *fault) {
  struct claimer claimers[CPN_FILL_SHARES];
  _Atomic uint32_t next_part = 0;
  bool enough = true;
  for (uint32_t i = 0; i < CPN_FILL_SHARES; i++) {
    claimers[i] = (struct claimer){
        .engine = engine, .tickets = &campaign->tickets, .fill = filling, .share = i, .next_part = &next_part};
    claimers[i].settler = (struct cpn_claim_settler){.same_user = same_user, .context = &campaign->tickets};
    enough = cpn_claim_settler_init(&claimers[i].settler, filling) && enough;
  }
  if (enough) {
    with_both(claimers, leave_share);
    with_both(claimers, settle_parts);
  }
  coupon_status status = enough ? COUPON_OK : no_memory(fault);
  for (uint32_t i = 0; i < CPN_FILL_SHARES; i++) { /* a user's are all with one settler, and in order */
    if (status == COUPON_OK) status = claim_strangers(engine, campaign, &claimers[i].settler, twice, fault);
    cpn_claim_settler_fini(&claimers[i].settler);
  }
  return status;
}

/* Without memory for a set that begins again the one there is grows as ever. */
static coupon_status claim_one_by_one(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t *twice,
                                      struct cpn_fault *fault) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  for (uint64_t number = DEFER_FROM + 1; number <= numbered && *twice == UINT64_MAX; number++) {
    coupon_status status = claim_one(engine, campaign, number, twice, fault);
    if (status != COUPON_OK) return status;
  }
  return COUPON_OK;
}

/* Whether memory is enough for a first level of that size, and for what overflows. */
static bool is_affordable(const coupon_engine *engine, uint64_t users) {
  const uint64_t used = cpn_memory_used(&engine->memory), limit = engine->memory.limit;
  return used < limit && cpn_claim_set_lines_for(users) <= (limit - used) / 4 * 3 / CPN_CACHE_LINE;
}

/* `*twice` becomes the lowest number of a user's second ticket; UINT64_MAX: none. */
static coupon_status claim_deferred(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t *twice,
                                    struct cpn_fault *fault) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  *twice = UINT64_MAX;
  if (!is_deferred(campaign, numbered)) return COUPON_OK;
  struct cpn_claim_fill *filling = NULL;
  if (numbered <= CPN_FILL_NUMBER_MAX && is_affordable(engine, numbered))
    filling = cpn_claim_fill_begin(&campaign->claims, &engine->memory, numbered);
  if (filling == NULL) return claim_one_by_one(engine, campaign, twice, fault);
  coupon_status status = fill(engine, campaign, filling, twice, fault);
  cpn_claim_fill_free(filling, &engine->memory);
  return status;
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
  if (cpn_tickets_numbered(tickets) % CPN_TICKET_PAGE == 0) cpn_tickets_pack(tickets, &engine->memory, &engine->pool);
  /* relaxed, and no read-modify-write: nobody else is there. */
  const uint64_t before = atomic_load_explicit(&engine->tickets, memory_order_relaxed);
  atomic_store_explicit(&engine->tickets, before + count, memory_order_relaxed);
  cpn_clock_raise(&engine->clock, rows[count - 1].time_ns);
}

/* As many as lie at one spot, `*time_before` being the time of the ticket before; `*done` have taken effect. */
static coupon_status restore_block(coupon_engine *engine, struct cpn_campaign *campaign,
                                   const struct cpn_restored *rows, size_t count, uint64_t *time_before, size_t *done,
                                   struct cpn_fault *fault) {
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
  if (!make_room(engine, tickets, number) && !(make_the_most_of_memory(engine) && make_room(engine, tickets, number)))
    return no_memory(fault);
  const struct cpn_ticket_spot spot = cpn_tickets_spot(tickets, number);
  count = (size_t)cpn_min_u64(sound, spot.left);
  cpn_tickets_restore_users(tickets, &spot, rows, count);
  coupon_status status = COUPON_OK;
  if (is_deferred(campaign, number))
    *done = count;
  else
    status = claim_all(engine, campaign, number, rows, count, done, fault);
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

/* --- the end ------------------------------------------------------------------------------------- */

coupon_status cpn_restore_settle(coupon_engine *engine, uint64_t *twice_lsn, struct cpn_fault *fault) {
  coupon_status status = COUPON_OK;
  *twice_lsn = 0;
  for (uint64_t i = 0; i < cpn_directory_count(&engine->campaigns) && status == COUPON_OK; i++) {
    struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    uint64_t twice, unused;
    status = claim_deferred(engine, campaign, &twice, fault);
    if (twice == UINT64_MAX) continue;
    const uint64_t lsn = cpn_tickets_read(&campaign->tickets, twice, &unused);
    if (*twice_lsn == 0 || lsn < *twice_lsn) *twice_lsn = lsn;
  }
  return status;
}

/* The record that ends at this LSN breaks the rule; what is before it counts. */
struct search {
  uint64_t lsn, tickets;
};

static coupon_status search_run(void *context, const struct cpn_run *run, uint64_t *done, struct cpn_fault *fault) {
  struct search *search = context;
  const uint64_t size = run->words * UINT64_C(8);
  const bool here = search->lsn > run->lsn && search->lsn <= run->lsn + run->count * size;
  *done = here ? (search->lsn - run->lsn) / size - 1 : run->count;
  search->tickets += *done;
  return here ? broken(fault, "a user has more tickets than the limit") : COUPON_OK;
}

static coupon_status search_record(void *context, const struct cpn_record *record, struct cpn_fault *fault) {
  (void)context, (void)record, (void)fault;
  return COUPON_OK;
}

/* Reads again, up to the record that ends at this LSN, to say where it is. */
static coupon_status say_where(coupon_engine *engine, struct cpn_reader *reader, const struct cpn_reader *begin,
                               uint64_t lsn, struct cpn_fault *fault) {
  struct search search = {.lsn = lsn};
  *reader = *begin;
  reader->each = search_record;
  reader->each_run = search_run;
  reader->progress = NULL;
  reader->context = &search;
  coupon_status status = cpn_reader_run(reader, fault);
  atomic_store_explicit(&engine->tickets, search.tickets, memory_order_relaxed); /* relaxed: nobody else is there */
  /* Not in the log: in whatever else was restored. */
  return status != COUPON_OK ? status : broken(fault, "a user has more tickets than the limit");
}

coupon_status cpn_restore_run(coupon_engine *engine, struct cpn_reader *reader, struct cpn_fault *fault) {
  const struct cpn_reader begin = *reader;
  struct cpn_fault settling = {0};
  uint64_t twice_lsn;
  coupon_status status = cpn_reader_run(reader, fault);
  coupon_status settled = cpn_restore_settle(engine, &twice_lsn, &settling);
  /* Of two broken rules the one that comes first counts: this one lies before wherever the reader has got to. */
  if (twice_lsn != 0) return say_where(engine, reader, &begin, twice_lsn, fault);
  if (status != COUPON_OK || settled == COUPON_OK) return status;
  *fault = settling;
  return settled;
}
