/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block of tickets at a time, as many as lie at one spot, 256 at most. First the rules that a ticket and the one before
 * it tell of; then the claims; then the rows. Nobody else is there: a claim is made by a plain store, and leads to the
 * ticket's number at once.
 *
 * A user's line lies anywhere in memory. So the lines of a block are asked for before they are needed; and a campaign of
 * which much is to come gets, as soon as it has outgrown its first level, one for all of it, which is filled part by
 * part (issue/claim_fill.h). That a user came twice then shows only at the end, and the log is read again up to that
 * record, to say where it is. Nothing is as slow as damage, and nothing need be.
 */
#include "engine/restore.h"

#include "log/reader.h"

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
static coupon_status claim_now(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number,
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

/* --- claims that are left for later -------------------------------------------------------------- */

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

/* One campaign's, by one thread or two. */
struct settling {
  const struct cpn_claim_fill *fill;
  _Atomic uint32_t next; /* part that nobody has taken */
  struct cpn_claim_settler settlers[2];
};

static void settle_parts(struct settling *settling, struct cpn_claim_settler *settler) {
  for (;;) {
    /* relaxed: who takes it owns it; the thread's start and end order the rest. */
    uint32_t part = atomic_fetch_add_explicit(&settling->next, 1, memory_order_relaxed);
    if (part >= settling->fill->parts) return;
    cpn_claim_fill_settle(settling->fill, part, settler);
  }
}

static void *settle_thread(void *argument) {
  struct settling *settling = argument;
  settle_parts(settling, &settling->settlers[1]);
  return NULL;
}

/* With fewer parts a thread is not worth its start. */
#define PARTS_FOR_TWO 64u

static void settle_all_parts(coupon_engine *engine, struct settling *settling) {
  pthread_t thread;
  const struct cpn_env *env = &engine->env;
  bool two = settling->fill->parts >= PARTS_FOR_TWO && env->start_thread != NULL && cpn_env_processors() > 1 &&
             env->start_thread(env->context, &thread, "coupon-restore", settle_thread, settling) == 0;
  settle_parts(settling, &settling->settlers[0]);
  if (two) (void)pthread_join(thread, NULL);
}

/* Those whose lines were full; the lowest number of a second ticket into `*twice`. */
static coupon_status claim_strangers(coupon_engine *engine, struct cpn_campaign *campaign,
                                     const struct cpn_claim_settler *settler, uint64_t *twice,
                                     struct cpn_fault *fault) {
  *twice = cpn_min_u64(*twice, settler->twice);
  if (settler->no_memory) return no_memory(fault);
  for (size_t i = 0; i < settler->stranger_count; i++) {
    const uint64_t number = settler->strangers[i];
    const struct cpn_user user = user_of(engine, &campaign->tickets, number);
    struct cpn_claim_place place;
    coupon_status status = find_or_grow(engine, campaign, &user, &place, fault);
    if (status != COUPON_OK) return status;
    if (place.seen != 0)
      *twice = cpn_min_u64(*twice, number);
    else
      cpn_claim_write(place.word, cpn_claim_numbered(user.hash, number));
  }
  return COUPON_OK;
}

static void note_twice(coupon_engine *engine, uint64_t lsn) {
  if (engine->twice_lsn == 0 || lsn < engine->twice_lsn) engine->twice_lsn = lsn;
}

/* From here on the set is as any other. The earliest record of a user's second ticket is noted in the engine. */
static coupon_status settle(coupon_engine *engine, struct cpn_campaign *campaign, struct cpn_fault *fault) {
  struct cpn_claim_fill *fill = campaign->fill;
  struct settling settling = {.fill = fill};
  atomic_init(&settling.next, 0);
  uint64_t twice = UINT64_MAX, unused;
  bool enough = true;
  for (int i = 0; i < 2; i++) {
    settling.settlers[i].same_user = same_user;
    settling.settlers[i].context = &campaign->tickets;
    enough = cpn_claim_settler_init(&settling.settlers[i], fill) && enough;
  }
  if (enough) settle_all_parts(engine, &settling);
  coupon_status status = enough ? COUPON_OK : no_memory(fault);
  campaign->fill = NULL;
  for (int i = 0; i < 2; i++) {
    if (status == COUPON_OK) status = claim_strangers(engine, campaign, &settling.settlers[i], &twice, fault);
    cpn_claim_settler_fini(&settling.settlers[i]);
  }
  cpn_claim_fill_free(fill, &engine->memory);
  if (twice != UINT64_MAX)
    note_twice(engine, cpn_tickets_read(&campaign->tickets, twice, &unused));
  return status;
}

/* Leaves the claims, as long as there is room for them. */
static size_t leave_all(const coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number,
                        const struct cpn_restored *rows, size_t count) {
  const uint32_t user_words = campaign->tickets.user_words;
  uint64_t hashes[CPN_TICKET_PAGE];
  for (size_t i = 0; i < count; i++) hashes[i] = hash_of(engine, rows[i].user, user_words);
  return cpn_claim_fill_leave(campaign->fill, hashes, number, count);
}

static coupon_status claim_all(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number,
                               const struct cpn_restored *rows, size_t count, size_t *claimed,
                               struct cpn_fault *fault) {
  if (campaign->fill != NULL) *claimed = leave_all(engine, campaign, number, rows, count);
  if (CPN_LIKELY(*claimed == count)) return COUPON_OK;
  if (CPN_LIKELY(campaign->fill == NULL))
    return claim_now(engine, campaign, number, rows, count, claimed, fault);
  return *claimed > 0 ? COUPON_OK : settle(engine, campaign, fault); /* the rest comes in the next turn */
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
  return used < limit && cpn_claim_set_lines_for(users) <= (limit - used) / 4 / CPN_CACHE_LINE;
}

/* The set begins again, for so many users, and the claims of tickets 1 … numbered are left in it. False: no memory, and
 * nothing has changed, so that the set grows as ever. Users without a limit are counted at their first ticket, which
 * has to be known at once. */
static bool fill_for(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t users, uint64_t numbered) {
  if (campaign->spec.user_limit == 0 || users > CPN_FILL_NUMBER_MAX || !is_affordable(engine, users)) return false;
  struct cpn_claim_fill *fill = cpn_claim_fill_begin(&campaign->claims, &engine->memory, users);
  if (fill == NULL) return false;
  cpn_claim_fill_free(campaign->fill, &engine->memory);
  campaign->fill = fill;
  for (uint64_t number = 1; number <= numbered; number++) {
    const uint64_t hash = user_of(engine, &campaign->tickets, number).hash;
    const size_t left = cpn_claim_fill_leave(fill, &hash, number, 1);
    CPN_INVARIANT(0, left == 1); /* there is room for half as many again */
  }
  return true;
}

/* There are as many tickets as the first level is made for. If much more is to come it begins again; else what was left is
 * settled, and the set grows as ever. */
static coupon_status outgrow(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t numbered,
                             struct cpn_fault *fault) {
  const uint64_t users = expected(engine, campaign, numbered);
  if (users >= numbered + numbered / 2 && fill_for(engine, campaign, users, numbered)) return COUPON_OK;
  return campaign->fill != NULL ? settle(engine, campaign, fault) : COUPON_OK;
}

void cpn_restore_expect(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t tickets) {
  tickets = cpn_min_u64(tickets, campaign->spec.stock);
  if (cpn_tickets_numbered(&campaign->tickets) != 0 || tickets <= cpn_claim_set_first_users(&campaign->claims)) return;
  (void)fill_for(engine, campaign, tickets, 0);
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

/* --- the end ------------------------------------------------------------------------------------- */

coupon_status cpn_restore_settle(coupon_engine *engine, uint64_t *twice_lsn, struct cpn_fault *fault) {
  coupon_status status = COUPON_OK;
  for (uint64_t i = 0; i < cpn_directory_count(&engine->campaigns) && status == COUPON_OK; i++) {
    struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    if (campaign->fill != NULL) status = settle(engine, campaign, fault);
  }
  *twice_lsn = engine->twice_lsn;
  engine->twice_lsn = 0;
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
