/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the rounds and judges of race_last_unit.c and race_window.c find wrong protocols: their silence
 * about the library means something.
 *
 * How: below stands a second way to decide, built from the library's own parts, with one switch per mistake. With
 * no mistake switched on it must pass every duel; with any one it must be found within a stated number of rounds.
 * Each mistake is one that a change to lib/engine/ could well bring in.
 */
#include "support/race_help.h"

#include "base/rcu.h"

enum mistake {
  NONE,
  INSERT_THEN_TAKE,   /* the claim is HELD before the unit is taken: a duplicate is told of a ticket that never comes */
  TAKE_THEN_INSERT,   /* the unit is taken before the claim says so: the same user hears SOLD_OUT */
  CLAIM_ONLY_BEFORE,  /* the claim is read once, before the word: the holder of the last unit hears SOLD_OUT */
  CLAIM_BEFORE_WORD,  /* the claim is read anew with each look, but before the word: the same, if somebody else marks */
  STOCK_BEFORE_CLAIM, /* a sold-out campaign refuses without a look at the claim */
  BASIS_TOO_EARLY,    /* a refusal rests on the log's end as it was before the word was read */
  DUPLICATE_UNCHECKED, /* a claim that is HELD is believed to be another's by the log buffer without a second look */
  WORD_NOT_READ_AGAIN, /* a refusal takes the basis of whatever epoch the campaign is in by then */
  TIME_NOT_CHECKED,    /* a take trusts the clock of before its place was reserved */
  FREE_BY_TAG,       /* a claim that is FREE is taken by anybody of its tag, while PENDING is told apart by the print */
  HELD_BY_TAG,       /* a claim that is HELD, or NUMBERED, is believed to be the user's by its tag */
  BATCH_COUNTS_ALL,  /* a batch takes a unit for each request, though some have no claim: a user's second one */
  FAILED_ROUND_KEPT, /* without a log: what was to be taken counts as taken, though the exchange failed */
  NUMBER_NOT_AS_SEEN, /* without a log: the number is of the word as it was read, whatever is taken */
  MISTAKES
};

static const char *const mistake_names[MISTAKES] = {
    "no mistake",
    "insert, then take",
    "take, then insert",
    "claim read only before the word",
    "claim read before the word, each time",
    "stock looked at before the claim",
    "basis read before the word",
    "duplicate not read again",
    "refusal without reading the word again",
    "time of the place not checked",
    "a free claim trusted by its tag",
    "a held claim trusted by its tag",
    "a batch takes more units than it has claims",
    "a unit of a failed exchange kept",
    "a number of another unit than the one taken",
};

/* Set while no other thread runs. */
static enum mistake planted;

#define AGAIN 1000

/* --- whose claim is this ------------------------------------------------------------------------- */

/* As the library does it, but that it looks only once. */
static bool is_held_unchecked(const coupon_engine *engine, const struct cpn_campaign *campaign, uint64_t lsn,
                              const struct cpn_user *user, struct coupon_ticket *ticket) {
  ticket->number = cpn_tickets_find(&campaign->tickets, lsn);
  ticket->lsn = lsn;
  if (ticket->number != 0) {
    (void)cpn_tickets_read(&campaign->tickets, ticket->number, &ticket->time_ns);
    return cpn_tickets_is_users(&campaign->tickets, ticket->number, user);
  }
  CPN_POINT(CLAIM_READ);
  const uint64_t at = lsn - CPN_WORDS_ISSUE * UINT64_C(8);
  ticket->time_ns = cpn_buffer_peek(&engine->buffer, at, 2);
  return cpn_buffer_peek(&engine->buffer, at, 1) == user->words[0];
}

static bool is_mine(const coupon_engine *engine, const struct cpn_campaign *campaign, const struct cpn_user *user,
                    uint64_t claim, struct coupon_ticket *ticket) {
  switch (cpn_claim_kind_of(claim)) {
    case CPN_CLAIM_EMPTY:
      return true;
    case CPN_CLAIM_FREE:
      return planted == FREE_BY_TAG || cpn_claim_has_print(claim, user->hash);
    case CPN_CLAIM_PENDING:
      return cpn_claim_has_print(claim, user->hash);
    case CPN_CLAIM_HELD:
    case CPN_CLAIM_NUMBERED:
      break;
  }
  if (planted == DUPLICATE_UNCHECKED) return is_held_unchecked(engine, campaign, cpn_claim_lsn(claim), user, ticket);
  ticket->lsn = cpn_claim_kind_of(claim) == CPN_CLAIM_HELD ? cpn_claim_lsn(claim) : 0;
  return planted == HELD_BY_TAG;
}

static enum cpn_claim_kind find(const coupon_engine *engine, const struct cpn_campaign *campaign,
                                const struct cpn_user *user, struct cpn_claim_place *place,
                                struct coupon_ticket *ticket) {
  if (planted != FREE_BY_TAG && planted != HELD_BY_TAG && planted != DUPLICATE_UNCHECKED)
    return cpn_holder_find(engine, campaign, user, place, ticket);
  for (*place = cpn_claim_look(&campaign->claims, user->hash);;
       cpn_claim_look_on(&campaign->claims, user->hash, place)) {
    enum cpn_claim_kind kind = cpn_claim_kind_of(place->seen);
    if (is_mine(engine, campaign, user, place->seen, ticket)) return kind;
    if (planted == DUPLICATE_UNCHECKED || kind == CPN_CLAIM_FREE || kind == CPN_CLAIM_PENDING) continue;
    return cpn_holder_resolve(engine, campaign, user, place, ticket); /* from here on as the library */
  }
}

/* --- deciding, with mistakes --------------------------------------------------------------------- */

static coupon_status refuse(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t word, uint64_t early_tail,
                            struct coupon_ticket *ticket) {
  CPN_POINT(CLAIM_READ);
  uint64_t lsn = planted == BASIS_TOO_EARLY ? early_tail : cpn_stock_basis_lsn(&campaign->stock);
  if (planted != WORD_NOT_READ_AGAIN && cpn_stock_read(&campaign->stock) != word) return AGAIN;
  ticket->number = 0;
  ticket->lsn = lsn;
  ticket->time_ns = cpn_clock_last(&engine->clock);
  if (cpn_word_state(word) == CPN_STOCK_SCHEDULED) return COUPON_NOT_OPEN;
  return cpn_word_state(word) == CPN_STOCK_OPEN ? COUPON_SOLD_OUT : COUPON_ENDED;
}

/* The two steps of an issue, the claim and the unit, in the order of the mistake. On AGAIN neither is done. */
static coupon_status claim_and_take(struct cpn_campaign *campaign, const struct cpn_user *user,
                                    const struct cpn_claim_place *place, uint64_t word, uint64_t time_ns,
                                    uint64_t lsn) {
  const uint64_t held = cpn_claim_held(user->hash, lsn), pending = cpn_claim_pending(user->hash);
  const uint64_t before = place->seen != 0 ? place->seen : cpn_claim_free(user->hash);
  if (planted != TIME_NOT_CHECKED && !cpn_window_contains(campaign, time_ns)) return AGAIN;
  if (planted == TAKE_THEN_INSERT) {
    if (!cpn_stock_take(&campaign->stock, word, 0)) return AGAIN;
    CPN_POINT(TAKEN);
    return cpn_claim_swap(place->word, place->seen, held) ? COUPON_ISSUED : COUPON_E_FAILED;
  }
  if (!cpn_claim_swap(place->word, place->seen, planted == INSERT_THEN_TAKE ? held : pending)) return AGAIN;
  CPN_POINT(CLAIMED);
  uint64_t requests = planted == BATCH_COUNTS_ALL ? 2 : 1; /* the user's second one is put off */
  if (cpn_stock_take_many(&campaign->stock, word, 0, requests) == 0) {
    cpn_claim_write(place->word, before);
    return AGAIN;
  }
  CPN_POINT(TAKEN);
  cpn_claim_write(place->word, held);
  return COUPON_ISSUED;
}

static coupon_status take_logged(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                 const struct cpn_claim_place *place, uint64_t word, struct coupon_ticket *ticket) {
  uint64_t at = cpn_buffer_reserve(&engine->buffer, CPN_WORDS_ISSUE, &ticket->time_ns);
  if (at == CPN_LSN_NONE) return COUPON_E_BUSY;
  CPN_POINT(RESERVED);
  ticket->number = 0;
  ticket->lsn = at + CPN_WORDS_ISSUE * 8;
  cpn_buffer_fill(&engine->buffer, at, 1, user->words[0]);
  cpn_buffer_fill(&engine->buffer, at, 2, ticket->time_ns);
  coupon_status status = claim_and_take(campaign, user, place, word, ticket->time_ns, ticket->lsn);
  if (status != COUPON_ISSUED) {
    cpn_engine_void(engine, at, CPN_WORDS_ISSUE);
    return status;
  }
  CPN_POINT(HELD);
  cpn_buffer_publish(&engine->buffer, at, cpn_issue_head(1, campaign->index));
  return COUPON_ISSUED;
}

/* With the claim PENDING. */
static coupon_status take_unit(coupon_engine *engine, struct cpn_campaign *campaign, struct coupon_ticket *ticket) {
  uint64_t word;
  bool taken;
  ticket->number = ticket->lsn = 0;
  do {
    word = cpn_stock_read(&campaign->stock);
    if (cpn_word_refuses(word) || cpn_word_marked(word))
      return planted == FAILED_ROUND_KEPT && ticket->number != 0 ? COUPON_ISSUED : AGAIN;
    ticket->number = campaign->spec.stock - cpn_word_remaining(word) + 1;
    ticket->time_ns = cpn_clock_now(&engine->clock);
    if (!cpn_window_contains(campaign, ticket->time_ns)) return AGAIN;
    CPN_POINT(RESERVED);
    taken = planted == NUMBER_NOT_AS_SEEN ? cpn_stock_take(&campaign->stock, word, 0)
                                          : cpn_stock_take_as_seen(&campaign->stock, word, 1);
  } while (!taken);
  return COUPON_ISSUED;
}

static coupon_status take_unlogged(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                   const struct cpn_claim_place *place, struct coupon_ticket *ticket) {
  if (!cpn_claim_swap(place->word, place->seen, cpn_claim_pending(user->hash))) return AGAIN;
  CPN_POINT(CLAIMED);
  coupon_status status = take_unit(engine, campaign, ticket);
  if (status != COUPON_ISSUED) {
    cpn_claim_write(place->word, place->seen != 0 ? place->seen : cpn_claim_free(user->hash));
    return status;
  }
  CPN_POINT(TAKEN);
  cpn_tickets_put_at(cpn_tickets_spot(&campaign->tickets, ticket->number), campaign->tickets.user_words, user->words, 1,
                     ticket->time_ns);
  cpn_claim_write(place->word, cpn_claim_numbered(user->hash, ticket->number));
  return COUPON_ISSUED;
}

static coupon_status take(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                          const struct cpn_claim_place *place, uint64_t word, struct coupon_ticket *ticket) {
  if (place->word == NULL)
    return cpn_claim_add_level(&campaign->claims, &engine->memory, place) ? AGAIN : COUPON_E_NOMEM;
  /* Campaigns here are so small that one page holds all their tickets. */
  if (!cpn_engine_room(engine, campaign, campaign->spec.stock)) return COUPON_E_NOMEM;
  return engine->has_log ? take_logged(engine, campaign, user, place, word, ticket)
                         : take_unlogged(engine, campaign, user, place, ticket);
}

/* What was read when the call began, for those who trust it too long. */
struct early {
  enum cpn_claim_kind kind;
  uint64_t tail;
};

/* One look, and what follows from it. */
static coupon_status decide(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                            const struct early *early, struct coupon_ticket *ticket) {
  struct cpn_claim_place place;
  uint64_t now = cpn_clock_now(&engine->clock);
  enum cpn_claim_kind before = find(engine, campaign, user, &place, ticket);
  CPN_POINT(CLAIM_READ);
  uint64_t word = cpn_stock_read(&campaign->stock);
  const bool due = cpn_window_is_due(campaign, word, now), refuses = cpn_word_refuses(word) && !due;
  enum cpn_claim_kind kind = find(engine, campaign, user, &place, ticket);
  if (planted == CLAIM_ONLY_BEFORE && refuses) kind = early->kind;
  if (planted == CLAIM_BEFORE_WORD && refuses) kind = before;
  if (planted == STOCK_BEFORE_CLAIM && refuses) kind = CPN_CLAIM_EMPTY;
  if (kind == CPN_CLAIM_PENDING) return AGAIN;
  if (kind == CPN_CLAIM_HELD || kind == CPN_CLAIM_NUMBERED) return COUPON_ALREADY_ISSUED;
  if (due) {
    coupon_status status = cpn_window_change(engine, campaign, word);
    return status == COUPON_OK ? AGAIN : status;
  }
  if (cpn_word_marked(word)) return refuse(engine, campaign, word, early->tail, ticket);
  if (refuses) {
    cpn_stock_mark(&campaign->stock, word, &engine->buffer.tail);
    return AGAIN;
  }
  return take(engine, campaign, user, &place, word, ticket);
}

static coupon_status issue(coupon_engine *engine, uint64_t campaign_id, uint64_t user_id,
                           struct coupon_ticket *ticket) {
  cpn_rcu_read_lock();
  const struct cpn_user user = cpn_engine_user(engine, user_id, NULL);
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  coupon_status status = COUPON_NO_CAMPAIGN;
  cpn_engine_address(ticket, campaign_id, user_id, NULL);
  if (campaign != NULL) {
    struct early early = {.kind = CPN_CLAIM_PENDING, .tail = cpn_buffer_tail(&engine->buffer)};
    struct cpn_claim_place place;
    uint32_t turns = 0;
    do {
      if (early.kind == CPN_CLAIM_PENDING) early.kind = find(engine, campaign, &user, &place, ticket);
      status = decide(engine, campaign, &user, &early, ticket);
      race_turn(&turns);
    } while (status == AGAIN);
    cpn_engine_set_final(engine, ticket);
  }
  cpn_rcu_read_unlock();
  return ticket->answer = status;
}

/* --- duels at the last unit ---------------------------------------------------------------------- */

static const char *const duel_names[] = {"the same user twice",
                                         "a holder and a newcomer",
                                         "two newcomers",
                                         "a user and a stranger",
                                         "the same user twice, then a stranger",
                                         "two who look alike"};

/* Rounds within which a mistake has to be found; the same under every sanitizer. */
#define ROUNDS 100000

static void pass(enum race_duel_kind kind, enum race_world world, uint64_t rounds) {
  planted = NONE;
  struct race_verdict verdict = race_duel(kind, world, issue, rounds, true);
  RACE_CHECK(verdict.findings == 0, "%s, without a mistake, round %" PRIu64 ": %s", duel_names[kind],
             verdict.first_finding, verdict.what);
  printf("%s: %s, %s, %" PRIu64 " rounds\n", mistake_names[NONE], duel_names[kind], race_world_name(world),
         verdict.rounds);
}

static void catch_in_duel(enum mistake mistake, enum race_duel_kind kind, enum race_world world) {
  planted = mistake;
  struct race_verdict verdict = race_duel(kind, world, issue, ROUNDS, true);
  RACE_CHECK(verdict.findings > 0, "planted and not found in %" PRIu64 " rounds: %s", verdict.rounds,
             mistake_names[mistake]);
  printf("%s: found in round %" PRIu64 " of %s, %s: %s\n", mistake_names[mistake], verdict.first_finding,
         duel_names[kind], race_world_name(world), verdict.what);
}

/* --- a window opens, or closes, under two threads ------------------------------------------------ */

#define BATCH 512
#define ASKED 4 /* requests in a round */
#define STOCK 2

static _Atomic uint64_t wall;

static uint64_t read_wall(void *context) {
  (void)context;
  return atomic_load(&wall);
}

struct edge_duel {
  coupon_engine *engine;
  bool at_close;
  uint64_t first_round, rounds;
  struct race_barrier barrier;
  struct race_answer answers[BATCH][ASKED]; /* the first is the first thread's */
};

/* One clock for all rounds: each has its window in a stretch of its own. */
static uint64_t opens_at(uint64_t i) { return 1000 + i * 100; }
static uint64_t closes_at(uint64_t i) { return opens_at(i) + 50; }

/* The first thread asks while the second moves the clock over the edge and then asks for others. */
static void edge_act(struct edge_duel *duel, uint32_t thread, uint64_t i) {
  struct race_answer *answers = duel->answers[i];
  if (thread == 0) {
    answers[0] = race_ask_stamped(issue, duel->engine, i, 1);
    return;
  }
  atomic_store(&wall, duel->at_close ? closes_at(i) : opens_at(i));
  for (uint64_t k = 1; k < ASKED; k++) answers[k] = race_ask_stamped(issue, duel->engine, i, k + 1);
}

static void edge_batch(void *context, uint32_t thread) {
  struct edge_duel *duel = context;
  struct race_random random = race_stream(duel->first_round * 2 + thread);
  uint64_t meetings = 0;
  for (uint64_t i = 0; i < duel->rounds; i++) {
    uint64_t delay = race_below(&random, 64);
    race_dawdle((struct race_random){race_next(&random)}, i % 2 == 0 ? 64 : 200);
    if (thread == 1) atomic_store(&wall, (duel->at_close ? closes_at(i) : opens_at(i)) - 1);
    race_meet(&duel->barrier, &meetings);
    race_dally(delay);
    edge_act(duel, thread, i);
    race_meet(&duel->barrier, &meetings);
  }
  race_dawdle(random, 0);
}

static struct race_verdict edge_duel(bool at_close, enum race_world world, uint64_t rounds) {
  static struct edge_duel duel;
  struct race_verdict verdict = {0};
  duel.at_close = at_close;
  while (verdict.rounds < rounds && verdict.findings == 0) {
    duel.first_round = verdict.rounds;
    duel.rounds = cpn_min_u64(BATCH, rounds - verdict.rounds);
    atomic_store(&wall, 1);
    race_barrier_init(&duel.barrier, 2);
    duel.engine = race_open_in(world, NULL, COUPON_NONE, UINT64_C(256) * 1024, read_wall);
    for (uint64_t i = 0; i < duel.rounds; i++) race_campaign(duel.engine, i, STOCK, 1, opens_at(i), closes_at(i));
    race_run(2, edge_batch, &duel);
    for (uint64_t i = 0; i < duel.rounds; i++) {
      struct coupon_campaign_info info = race_info_of(duel.engine, i);
      const char *what = race_judge_window(duel.answers[i], ASKED, &info);
      verdict.rounds++;
      if (what == NULL || verdict.findings++ > 0) continue;
      verdict.first_finding = verdict.rounds;
      verdict.what = what;
    }
    race_close(duel.engine);
  }
  return verdict;
}

static void pass_edge(bool at_close, enum race_world world, uint64_t rounds) {
  planted = NONE;
  struct race_verdict verdict = edge_duel(at_close, world, rounds);
  RACE_CHECK(verdict.findings == 0, "a window's edge, without a mistake, round %" PRIu64 ": %s", verdict.first_finding,
             verdict.what);
  printf("%s: a campaign %s, %s, %" PRIu64 " rounds\n", mistake_names[NONE], at_close ? "closes" : "opens",
         race_world_name(world), verdict.rounds);
}

static void catch_at_edge(enum mistake mistake, bool at_close, enum race_world world) {
  planted = mistake;
  struct race_verdict verdict = edge_duel(at_close, world, ROUNDS);
  RACE_CHECK(verdict.findings > 0, "planted and not found in %" PRIu64 " rounds: %s", verdict.rounds,
             mistake_names[mistake]);
  printf("%s: found in round %" PRIu64 " as a campaign %s: %s\n", mistake_names[mistake], verdict.first_finding,
         at_close ? "closes" : "opens", verdict.what);
}

int main(int argc, char **argv) {
  race_begin("rig_planted", argc, argv);
  const uint64_t clean = race_rounds(20000, 2048);
  for (enum race_world world = RACE_IN_MEMORY; world <= RACE_LOGGED; world++) {
    for (enum race_duel_kind kind = RACE_SAME_USER; kind <= RACE_COLLIDING; kind++) pass(kind, world, clean);
    pass_edge(false, world, clean);
    pass_edge(true, world, clean);
    catch_in_duel(CLAIM_ONLY_BEFORE, RACE_SAME_USER, world);
    catch_in_duel(CLAIM_BEFORE_WORD, RACE_MARKED, world);
    catch_in_duel(STOCK_BEFORE_CLAIM, RACE_SAME_USER, world);
    catch_in_duel(STOCK_BEFORE_CLAIM, RACE_HOLDER, world);
    catch_in_duel(FREE_BY_TAG, RACE_COLLIDING, world);
    catch_in_duel(HELD_BY_TAG, RACE_COLLIDING, world);
  }
  catch_in_duel(FAILED_ROUND_KEPT, RACE_NEWCOMERS, RACE_IN_MEMORY);
  catch_at_edge(NUMBER_NOT_AS_SEEN, false, RACE_IN_MEMORY);

  catch_in_duel(TAKE_THEN_INSERT, RACE_SAME_USER, RACE_LOGGED);
  catch_in_duel(DUPLICATE_UNCHECKED, RACE_SAME_USER, RACE_LOGGED);
  catch_in_duel(BASIS_TOO_EARLY, RACE_NEWCOMERS, RACE_LOGGED);
  catch_in_duel(INSERT_THEN_TAKE, RACE_STRANGER, RACE_LOGGED);
  catch_in_duel(BATCH_COUNTS_ALL, RACE_HOLDER, RACE_LOGGED);
  catch_at_edge(WORD_NOT_READ_AGAIN, false, RACE_LOGGED);
  catch_at_edge(TIME_NOT_CHECKED, true, RACE_LOGGED);
  return 0;
}
