/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the rounds and judges of race_last_unit.c and race_window.c find wrong protocols: their silence
 * about the library means something.
 *
 * How: below stands a second way to decide, built from the library's own parts, with one switch per mistake. With
 * no mistake switched on it must pass every duel; with any one it must be found within a stated number of rounds.
 * Each mistake is one that a change to lib/engine/engine.c could well bring in.
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
  DUPLICATE_UNCHECKED, /* a claim that is HELD is described from the log buffer without a second look at it */
  WORD_NOT_READ_AGAIN, /* a refusal takes the basis of whatever epoch the campaign is in by then */
  TIME_NOT_CHECKED,    /* a take trusts the clock of before its place was reserved */
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
};

/* Set while no other thread runs. */
static enum mistake planted;

#define AGAIN 1000

/* --- deciding, with mistakes --------------------------------------------------------------------- */

static coupon_status refuse(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t word, uint64_t early_tail,
                            struct coupon_ticket *ticket) {
  CPN_POINT(CLAIM_READ);
  ticket->lsn = planted == BASIS_TOO_EARLY ? early_tail : cpn_stock_basis_lsn(&campaign->stock);
  ticket->time_ns = cpn_clock_last(&engine->clock);
  if (planted != WORD_NOT_READ_AGAIN && cpn_stock_read(&campaign->stock) != word) return AGAIN;
  if (cpn_word_state(word) == CPN_STOCK_SCHEDULED) return COUPON_NOT_OPEN;
  return cpn_word_state(word) == CPN_STOCK_OPEN ? COUPON_SOLD_OUT : COUPON_ENDED;
}

static coupon_status duplicate(coupon_engine *engine, struct cpn_campaign *campaign, struct cpn_claim *claim,
                               uint64_t state, struct coupon_ticket *ticket) {
  bool described_here = planted == DUPLICATE_UNCHECKED || planted == INSERT_THEN_TAKE;
  if (described_here && cpn_claim_kind_of(state) == CPN_CLAIM_HELD) {
    ticket->lsn = cpn_claim_held_lsn(state);
    CPN_POINT(CLAIM_READ);
    ticket->time_ns = cpn_buffer_peek(&engine->buffer, ticket->lsn - CPN_WORDS_ISSUE * 8, 2);
    if (planted == DUPLICATE_UNCHECKED) return COUPON_ALREADY_ISSUED;
    /* As the library does it, but that the claim may have been taken back, which the library's way would not bear. */
    state = cpn_claim_read(claim);
    if (cpn_claim_kind_of(state) != CPN_CLAIM_NUMBERED) return COUPON_ALREADY_ISSUED;
  }
  cpn_engine_describe(engine, campaign, claim, state, ticket);
  return COUPON_ALREADY_ISSUED;
}

/* The two steps of an issue, the claim and the unit, in the order of the mistake. On AGAIN neither is done. */
static coupon_status claim_and_take(struct cpn_campaign *campaign, struct cpn_claim *claim, uint64_t word,
                                    uint64_t time_ns, uint64_t lsn) {
  bool in_time = planted == TIME_NOT_CHECKED || cpn_window_contains(campaign, time_ns);
  if (!in_time) return AGAIN;
  if (planted == TAKE_THEN_INSERT) {
    if (!cpn_stock_take(&campaign->stock, word, 0)) return AGAIN;
    CPN_POINT(TAKEN);
    return cpn_claim_swap(claim, 0, cpn_claim_held(lsn)) ? COUPON_ISSUED : COUPON_E_FAILED;
  }
  uint64_t first = planted == INSERT_THEN_TAKE ? cpn_claim_held(lsn) : CPN_CLAIM_PENDING;
  if (!cpn_claim_swap(claim, 0, first)) return AGAIN;
  CPN_POINT(CLAIMED);
  if (!cpn_stock_take(&campaign->stock, word, 0)) {
    cpn_claim_write(claim, 0);
    return AGAIN;
  }
  CPN_POINT(TAKEN);
  cpn_claim_write(claim, cpn_claim_held(lsn));
  return COUPON_ISSUED;
}

static coupon_status take(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t user, uint64_t word,
                          struct coupon_ticket *ticket) {
  struct cpn_claim *claim = cpn_claim_set_insert(&campaign->claims, user);
  if (claim == NULL) return COUPON_E_NOMEM;
  uint64_t number = campaign->spec.stock - cpn_word_remaining(word) + 1;
  /* Campaigns here are so small that one chunk of rows holds all their tickets. */
  if (cpn_tickets_ensure(&campaign->tickets, &engine->memory, number) != campaign->spec.stock) return COUPON_E_NOMEM;
  uint64_t at = cpn_buffer_reserve(&engine->buffer, CPN_WORDS_ISSUE, &ticket->time_ns);
  if (at == CPN_LSN_NONE) return COUPON_E_BUSY;
  CPN_POINT(RESERVED);
  ticket->lsn = at + CPN_WORDS_ISSUE * 8;
  cpn_buffer_fill(&engine->buffer, at, 1, user);
  cpn_buffer_fill(&engine->buffer, at, 2, ticket->time_ns);
  coupon_status status = claim_and_take(campaign, claim, word, ticket->time_ns, ticket->lsn);
  if (status != COUPON_ISSUED) {
    cpn_engine_void(engine, at, CPN_WORDS_ISSUE);
    return status;
  }
  CPN_POINT(HELD);
  cpn_buffer_publish(&engine->buffer, at, cpn_record_head(CPN_RECORD_ISSUE, CPN_WORDS_ISSUE, campaign->index));
  return COUPON_ISSUED;
}

/* What was read when the call began, for those who trust it too long. */
struct early {
  uint64_t claim, tail;
};

/* One look, and what follows from it. */
static coupon_status decide(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t user,
                            const struct early *early, struct coupon_ticket *ticket) {
  uint64_t now = cpn_clock_now(&engine->clock);
  uint64_t before = cpn_claim_read(cpn_claim_set_find(&campaign->claims, user));
  CPN_POINT(CLAIM_READ);
  uint64_t word = cpn_stock_read(&campaign->stock);
  const bool due = cpn_window_is_due(campaign, word, now), refuses = cpn_word_refuses(word) && !due;
  struct cpn_claim *claim = cpn_claim_set_find(&campaign->claims, user);
  uint64_t state = cpn_claim_read(claim);
  if (planted == CLAIM_ONLY_BEFORE && refuses) state = early->claim;
  if (planted == CLAIM_BEFORE_WORD && refuses) state = before;
  if (planted == STOCK_BEFORE_CLAIM && refuses) state = 0;
  if (cpn_claim_kind_of(state) == CPN_CLAIM_PENDING) return AGAIN;
  if (cpn_claim_kind_of(state) != CPN_CLAIM_FREE) return duplicate(engine, campaign, claim, state, ticket);
  if (due) {
    coupon_status status = cpn_window_change(engine, campaign, word);
    return status == COUPON_OK ? AGAIN : status;
  }
  if (cpn_word_marked(word)) return refuse(engine, campaign, word, early->tail, ticket);
  if (refuses) {
    cpn_stock_mark(&campaign->stock, word, &engine->buffer.tail);
    return AGAIN;
  }
  return take(engine, campaign, user, word, ticket);
}

static coupon_status issue(coupon_engine *engine, uint64_t campaign_id, uint64_t user, struct coupon_ticket *ticket) {
  cpn_rcu_read_lock();
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  coupon_status status = COUPON_NO_CAMPAIGN;
  if (campaign != NULL) {
    struct early early = {.tail = cpn_buffer_tail(&engine->buffer)};
    uint32_t turns = 0;
    do {
      if (turns == 0 || cpn_claim_kind_of(early.claim) == CPN_CLAIM_PENDING)
        early.claim = cpn_claim_read(cpn_claim_set_find(&campaign->claims, user));
      status = decide(engine, campaign, user, &early, ticket);
      race_turn(&turns);
    } while (status == AGAIN);
    cpn_wait_published(engine);
  }
  cpn_rcu_read_unlock();
  return status;
}

/* --- duels at the last unit ---------------------------------------------------------------------- */

static const char *const duel_names[] = {"the same user twice", "a holder and a newcomer", "two newcomers",
                                         "a user and a stranger", "the same user twice, then a stranger"};

static void pass(enum race_duel_kind kind, uint64_t rounds) {
  planted = NONE;
  struct race_verdict verdict = race_duel(kind, issue, rounds, true);
  RACE_CHECK(verdict.findings == 0, "%s, without a mistake, round %" PRIu64 ": %s", duel_names[kind],
             verdict.first_finding, verdict.what);
  printf("%s: %s, %" PRIu64 " rounds\n", mistake_names[NONE], duel_names[kind], verdict.rounds);
}

static void catch_in_duel(enum mistake mistake, enum race_duel_kind kind, uint64_t rounds) {
  planted = mistake;
  struct race_verdict verdict = race_duel(kind, issue, rounds, true);
  RACE_CHECK(verdict.findings > 0, "planted and not found in %" PRIu64 " rounds: %s", verdict.rounds,
             mistake_names[mistake]);
  printf("%s: found in round %" PRIu64 " of %s: %s\n", mistake_names[mistake], verdict.first_finding, duel_names[kind],
         verdict.what);
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

static struct race_verdict edge_duel(bool at_close, uint64_t rounds) {
  static struct edge_duel duel;
  struct race_verdict verdict = {0};
  duel.at_close = at_close;
  while (verdict.rounds < rounds && verdict.findings == 0) {
    duel.first_round = verdict.rounds;
    duel.rounds = cpn_min_u64(BATCH, rounds - verdict.rounds);
    atomic_store(&wall, 1);
    race_barrier_init(&duel.barrier, 2);
    duel.engine = race_open(NULL, COUPON_NONE, UINT64_C(256) * 1024, read_wall);
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

static void pass_edge(bool at_close, uint64_t rounds) {
  planted = NONE;
  struct race_verdict verdict = edge_duel(at_close, rounds);
  RACE_CHECK(verdict.findings == 0, "a window's edge, without a mistake, round %" PRIu64 ": %s", verdict.first_finding,
             verdict.what);
  printf("%s: a campaign %s, %" PRIu64 " rounds\n", mistake_names[NONE], at_close ? "closes" : "opens", verdict.rounds);
}

static void catch_at_edge(enum mistake mistake, bool at_close, uint64_t rounds) {
  planted = mistake;
  struct race_verdict verdict = edge_duel(at_close, rounds);
  RACE_CHECK(verdict.findings > 0, "planted and not found in %" PRIu64 " rounds: %s", verdict.rounds,
             mistake_names[mistake]);
  printf("%s: found in round %" PRIu64 " as a campaign %s: %s\n", mistake_names[mistake], verdict.first_finding,
         at_close ? "closes" : "opens", verdict.what);
}

/* Rounds within which a mistake has to be found; the same under every sanitizer. */
#define ROUNDS 100000

int main(int argc, char **argv) {
  race_begin("rig_planted", argc, argv);
  const uint64_t clean = race_rounds(30000, 2048);
  pass(RACE_SAME_USER, clean);
  pass(RACE_HOLDER, clean);
  pass(RACE_NEWCOMERS, clean);
  pass(RACE_STRANGER, clean);
  pass(RACE_MARKED, clean);
  pass_edge(false, clean);
  pass_edge(true, clean);

  catch_in_duel(TAKE_THEN_INSERT, RACE_SAME_USER, ROUNDS);
  catch_in_duel(CLAIM_ONLY_BEFORE, RACE_SAME_USER, ROUNDS);
  catch_in_duel(CLAIM_BEFORE_WORD, RACE_MARKED, ROUNDS);
  catch_in_duel(STOCK_BEFORE_CLAIM, RACE_SAME_USER, ROUNDS);
  catch_in_duel(STOCK_BEFORE_CLAIM, RACE_HOLDER, ROUNDS);
  catch_in_duel(DUPLICATE_UNCHECKED, RACE_SAME_USER, ROUNDS);
  catch_in_duel(BASIS_TOO_EARLY, RACE_NEWCOMERS, ROUNDS);
  catch_in_duel(INSERT_THEN_TAKE, RACE_STRANGER, ROUNDS);
  catch_at_edge(WORD_NOT_READ_AGAIN, false, ROUNDS);
  catch_at_edge(TIME_NOT_CHECKED, true, ROUNDS);
  return 0;
}
