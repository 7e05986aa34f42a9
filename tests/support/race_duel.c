/* SPDX-License-Identifier: Apache-2.0 */
#include "support/race_help.h"

#include <string.h>

/* --- judges -------------------------------------------------------------------------------------- */

/* Whether the ticket is one: with a log it has a place in it; without one it has its number, and is final at once. */
static bool is_ticket(const struct race_answer *answer) {
  if (answer->time_ns == 0) return false;
  if (answer->logged) return answer->lsn != 0;
  return answer->lsn == 0 && answer->number != 0 && answer->flags == COUPON_TICKET_FINAL;
}

/* Whether the refusal rests on the ticket that is its reason: without a log on nothing, since it is final. */
static bool rests_on(const struct race_answer *refusal, const struct race_answer *ticket) {
  if (refusal->logged) return refusal->lsn >= ticket->lsn;
  return refusal->lsn == 0 && refusal->number == 0 && refusal->flags == COUPON_TICKET_FINAL;
}

static bool is_later(const struct race_answer *later, const struct race_answer *earlier) {
  return later->logged ? later->lsn > earlier->lsn : later->number > earlier->number;
}

const char *race_judge_same_user(const struct race_answer *a, const struct race_answer *b) {
  if (a->status != COUPON_ISSUED) { /* so that a is the one that was issued */
    const struct race_answer *other = a;
    a = b;
    b = other;
  }
  if (a->status == COUPON_SOLD_OUT || b->status == COUPON_SOLD_OUT)
    return "a user who gets the last unit hears SOLD_OUT";
  if (a->status != COUPON_ISSUED) return "nobody was issued";
  if (b->status == COUPON_ISSUED) return "a user was issued twice";
  if (b->status != COUPON_ALREADY_ISSUED) return "the other request has no answer";
  if (!is_ticket(a)) return "a ticket without a place or a time";
  return race_same_ticket(a, b) ? NULL : "the two requests were told of different tickets";
}

const char *race_judge_holder(const struct race_answer *original, const struct race_answer *holder,
                              const struct race_answer *newcomer) {
  if (original->status != COUPON_ISSUED) return "the holder was not issued";
  if (holder->status == COUPON_SOLD_OUT) return "a user who holds a ticket hears SOLD_OUT";
  if (holder->status != COUPON_ALREADY_ISSUED) return "a user who holds a ticket is not told so";
  if (!race_same_ticket(original, holder)) return "the holder was told of another ticket than the original";
  if (newcomer->status != COUPON_ISSUED) return "a newcomer was refused while a unit was left";
  return is_later(newcomer, original) ? NULL : "a later ticket lies before an earlier one";
}

const char *race_judge_newcomers(const struct race_answer *a, const struct race_answer *b) {
  if (a->status != COUPON_ISSUED) {
    const struct race_answer *other = a;
    a = b;
    b = other;
  }
  if (a->status != COUPON_ISSUED) return "two were refused while a unit was left";
  if (b->status == COUPON_ISSUED) return "two were issued and there was one unit";
  if (b->status != COUPON_SOLD_OUT) return "the loser was not told SOLD_OUT";
  return rests_on(b, a) ? NULL : "a refusal is final before the ticket that is its reason";
}

const char *race_judge_stranger(const struct race_answer *first, const struct race_answer *stranger,
                                const struct race_answer *second) {
  if (stranger->status != COUPON_ISSUED) {
    if (stranger->status != COUPON_SOLD_OUT) return "the stranger was told neither";
    const char *wrong = race_judge_same_user(first, second);
    if (wrong != NULL) return wrong;
    return rests_on(stranger, first) ? NULL : "a refusal is final before the ticket that is its reason";
  }
  if (first->status == COUPON_ISSUED || second->status == COUPON_ISSUED)
    return "two were issued and there was one unit";
  if (first->status == COUPON_ALREADY_ISSUED || second->status == COUPON_ALREADY_ISSUED)
    return "a user hears ALREADY_ISSUED who has nothing";
  if (first->status != COUPON_SOLD_OUT || second->status != COUPON_SOLD_OUT) return "a loser was not told SOLD_OUT";
  bool in_order = rests_on(first, stranger) && rests_on(second, stranger);
  return in_order ? NULL : "a refusal is final before the ticket that is its reason";
}

const char *race_judge_marked(const struct race_answer *first, const struct race_answer *second,
                              const struct race_answer *stranger) {
  const char *wrong = race_judge_same_user(first, second);
  if (wrong != NULL) return wrong;
  if (stranger->status != COUPON_SOLD_OUT) return "a stranger was not told SOLD_OUT when the last unit was gone";
  return rests_on(stranger, first) ? NULL : "a refusal is final before the ticket that is its reason";
}

/* Stamps and places of the answers of one kind. */
struct span {
  uint64_t first_end, last_begin, lowest_lsn, highest_lsn, count;
};

static struct span span_of(const struct race_answer *answers, size_t count, coupon_status status) {
  struct span span = {.first_end = UINT64_MAX, .lowest_lsn = UINT64_MAX};
  for (size_t i = 0; i < count; i++) {
    if (answers[i].status != status) continue;
    span.first_end = cpn_min_u64(span.first_end, answers[i].end);
    span.last_begin = cpn_max_u64(span.last_begin, answers[i].begin);
    span.lowest_lsn = cpn_min_u64(span.lowest_lsn, answers[i].lsn);
    span.highest_lsn = cpn_max_u64(span.highest_lsn, answers[i].lsn);
    span.count++;
  }
  return span;
}

static bool differ(const struct span *span) { return span->count > 0 && span->lowest_lsn != span->highest_lsn; }

/* Without a log nothing rests on anything: all of it has to be final. */
static const char *judge_unlogged(const struct race_answer *answers, size_t count, uint64_t issued) {
  unsigned char seen[4096] = {0};
  for (size_t i = 0; i < count; i++) {
    if (answers[i].lsn != 0 || answers[i].flags != COUPON_TICKET_FINAL) return "an answer is not final without a log";
    if (answers[i].status == COUPON_ISSUED && !is_ticket(&answers[i])) return "a ticket without a number or a time";
    if (answers[i].status != COUPON_ISSUED || issued > sizeof seen) continue;
    if (answers[i].number > issued || seen[answers[i].number - 1]++ != 0) return "a number that is another's, or none";
  }
  return NULL;
}

const char *race_judge_window(const struct race_answer *answers, size_t count,
                              const struct coupon_campaign_info *info) {
  struct span not_open = span_of(answers, count, COUPON_NOT_OPEN), issued = span_of(answers, count, COUPON_ISSUED);
  struct span sold_out = span_of(answers, count, COUPON_SOLD_OUT), ended = span_of(answers, count, COUPON_ENDED);
  for (size_t i = 0; i < count; i++) {
    if (answers[i].status != COUPON_ISSUED) continue;
    bool in_window =
        answers[i].time_ns >= info->opens_at_ns && (info->closes_at_ns == 0 || answers[i].time_ns < info->closes_at_ns);
    if (!in_window) return "a ticket bears a time outside the campaign's window";
  }
  if (issued.count != info->issued) return "not as many were issued as the campaign says";
  if (not_open.last_begin > issued.first_end) return "NOT_OPEN after somebody had been issued";
  if (not_open.last_begin > sold_out.first_end) return "NOT_OPEN after SOLD_OUT";
  if (not_open.last_begin > ended.first_end) return "NOT_OPEN after ENDED";
  if (issued.last_begin > sold_out.first_end) return "a ticket after SOLD_OUT";
  if (issued.last_begin > ended.first_end) return "a ticket after ENDED";
  if (sold_out.last_begin > ended.first_end) return "SOLD_OUT after ENDED";
  if (sold_out.count > 0 && issued.count < info->stock) return "SOLD_OUT while units were left";
  if (differ(&not_open) || differ(&sold_out) || differ(&ended))
    return "two refusals of one kind rest on different places";
  if (count > 0 && !answers[0].logged) return judge_unlogged(answers, count, info->issued);
  if (not_open.count > 0 && issued.count > 0 && not_open.highest_lsn >= issued.lowest_lsn)
    return "a NOT_OPEN rests on more than what was before the opening";
  if (sold_out.count > 0 && sold_out.lowest_lsn < issued.highest_lsn)
    return "a SOLD_OUT is final before the last ticket";
  if (ended.count > 0 && ended.lowest_lsn <= issued.highest_lsn) return "an ENDED is final before the last ticket";
  return NULL;
}

/* --- the duel ------------------------------------------------------------------------------------ */

/* Campaigns of one engine: enough to make opening cheap, few enough to stay in the cache. */
#define BATCH UINT64_C(1024)

struct duel {
  enum race_duel_kind kind;
  enum race_world world;
  race_issue_fn *issue;
  coupon_engine *engine;
  uint64_t first_round, rounds; /* of this batch; 0 rounds: the end */
  struct race_barrier barrier;
  uint64_t users[BATCH], strangers[BATCH];
  struct race_answer prepared[BATCH];   /* the holder's ticket */
  struct race_answer answers[BATCH][3]; /* [0]: the first thread's; [1], [2]: the second thread's */
};

/* Users of a round: different in each, and now and then the user 0, whose words are no different from none. */
static void choose_users(struct duel *duel) {
  for (uint64_t i = 0; i < duel->rounds; i++) {
    uint64_t round = duel->first_round + i;
    duel->users[i] = round % 8 == 3 ? 0 : round * 2 + 1;
    duel->strangers[i] = round % 8 == 5 ? 0 : round * 2 + 2;
  }
}

/* In a campaign of one unit all users have the same two lines. These have the same one first, and the same tag. */
static uint32_t likeness(const coupon_engine *engine, uint64_t user) {
  uint64_t hash = cpn_hash_u64(&engine->key, user);
  return (uint32_t)(cpn_claim_tag(hash) << 1 | cpn_claim_home(hash, 0, 2));
}

/* The engine's secret is known to us, as it is to nobody else: pairs who look alike are soon found, some hundred of
 * them for all the rounds. */
static void choose_colliding_users(struct duel *duel) {
  enum { PAIRS = 128 };
  static uint32_t seen[1 << 17]; /* by likeness: the last such user, or 0 */
  memset(seen, 0, sizeof seen);
  uint64_t pairs = 0;
  for (uint32_t user = 1; pairs < cpn_min_u64(PAIRS, duel->rounds); user++) {
    uint32_t *alike = &seen[likeness(duel->engine, user)];
    if (*alike != 0) {
      duel->users[pairs] = *alike;
      duel->strangers[pairs++] = user;
    }
    *alike = user;
  }
  for (uint64_t i = pairs; i < duel->rounds; i++) {
    duel->users[i] = duel->users[i - pairs];
    duel->strangers[i] = duel->strangers[i - pairs];
  }
}

/* Leaves the claim of a user who has been refused behind claiming, as for want of room in the log buffer. */
static void leave_free(coupon_engine *engine, uint64_t campaign_id, uint64_t user) {
  const uint64_t hash = cpn_hash_u64(&engine->key, user);
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  struct cpn_claim_place place = cpn_claim_look(&campaign->claims, hash);
  if (place.word == NULL) {
    RACE_CHECK(cpn_claim_add_level(&campaign->claims, &engine->memory, &place), "not enough memory");
    place = cpn_claim_look(&campaign->claims, hash);
  }
  RACE_CHECK(place.seen == 0 && cpn_claim_swap(place.word, 0, cpn_claim_free(hash)), "a new campaign has claims");
}

static void duel_act(struct duel *duel, uint32_t thread, uint64_t i) {
  const uint64_t user = duel->users[i], stranger = duel->strangers[i];
  struct race_answer *answers = duel->answers[i];
  if (thread == 0) {
    answers[0] = race_ask(duel->issue, duel->engine, i, user);
    return;
  }
  const bool user_first = duel->kind == RACE_SAME_USER || duel->kind == RACE_MARKED;
  answers[1] = race_ask(duel->issue, duel->engine, i, user_first ? user : stranger);
  if (duel->kind == RACE_STRANGER || duel->kind == RACE_COLLIDING)
    answers[2] = race_ask(duel->issue, duel->engine, i, user);
  if (duel->kind == RACE_MARKED) answers[2] = race_ask(duel->issue, duel->engine, i, stranger);
}

/* A quarter of the rounds go undisturbed; in the others one thread begins a little later, and the more they
 * dawdle. */
static void duel_batch(struct duel *duel, uint32_t thread, uint64_t *meetings) {
  struct race_random random = race_stream(duel->first_round * 2 + thread);
  for (uint64_t i = 0; i < duel->rounds; i++) {
    static const uint32_t chances[4] = {0, 0, 64, 200};
    uint64_t delay = i % 4 == 0 ? 0 : race_below(&random, 64);
    race_dawdle((struct race_random){race_next(&random)}, chances[i % 4]);
    race_meet(&duel->barrier, meetings);
    race_dally(delay);
    duel_act(duel, thread, i);
  }
  race_dawdle(random, 0);
}

static void duel_second(void *context, uint32_t index) {
  struct duel *duel = context;
  uint64_t meetings = 0;
  for (;;) {
    race_meet(&duel->barrier, &meetings);
    if (duel->rounds == 0) return;
    duel_batch(duel, index, &meetings);
    race_meet(&duel->barrier, &meetings);
  }
}

static uint64_t duel_stock(const struct duel *duel) { return duel->kind == RACE_HOLDER ? 2 : 1; }

static void duel_prepare(struct duel *duel, bool commits_stop) {
  duel->engine = race_open_in(duel->world, NULL, COUPON_NONE, UINT64_C(1) << 20, NULL);
  if (commits_stop) race_commits_stop(duel->engine);
  race_campaign(duel->engine, RACE_SIDE_CAMPAIGN, 8, 1, 0, 0);
  if (duel->kind == RACE_COLLIDING)
    choose_colliding_users(duel);
  else
    choose_users(duel);
  for (uint64_t i = 0; i < duel->rounds; i++) {
    race_campaign(duel->engine, i, duel_stock(duel), 1, 0, 0);
    if (duel->kind == RACE_HOLDER) duel->prepared[i] = race_ask(duel->issue, duel->engine, i, duel->users[i]);
    if (duel->kind == RACE_COLLIDING) leave_free(duel->engine, i, duel->users[i]);
  }
}

/* What the campaign itself says afterwards: as many tickets as units, the last of them the winner's. */
static const char *duel_aftermath(const struct duel *duel, uint64_t i) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct coupon_ticket tickets[3];
  size_t count = 0;
  if (coupon_info(duel->engine, i, &info) != COUPON_OK) return "a campaign is missing";
  if (info.issued != info.stock || info.remaining != 0) return "issued and remaining do not make the stock";
  if (coupon_tickets(duel->engine, i, 1, tickets, sizeof tickets[0], 3, &count) != COUPON_OK || count != info.stock)
    return "there are not as many tickets as units";
  const struct race_answer *winner = NULL;
  for (int k = 0; k < 3; k++) {
    if (duel->answers[i][k].status == COUPON_ISSUED) winner = &duel->answers[i][k];
  }
  if (winner == NULL) return "nobody was issued the last unit";
  const struct coupon_ticket *last = &tickets[count - 1];
  if (last->user != winner->user || last->lsn != winner->lsn || last->number != info.stock)
    return "the last ticket is not the winner's";
  if (!winner->logged && winner->number != info.stock) return "the winner was told another number";
  return (last->flags & COUPON_TICKET_FINAL) != 0 ? NULL : "a ticket did not become final";
}

static const char *duel_judge(const struct duel *duel, uint64_t i) {
  const struct race_answer *answers = duel->answers[i];
  const char *wrong = NULL;
  switch (duel->kind) {
    case RACE_SAME_USER:
      wrong = race_judge_same_user(&answers[0], &answers[1]);
      break;
    case RACE_HOLDER:
      wrong = race_judge_holder(&duel->prepared[i], &answers[0], &answers[1]);
      break;
    case RACE_NEWCOMERS:
      wrong = race_judge_newcomers(&answers[0], &answers[1]);
      break;
    case RACE_STRANGER:
    case RACE_COLLIDING:
      wrong = race_judge_stranger(&answers[0], &answers[1], &answers[2]);
      break;
    case RACE_MARKED:
      wrong = race_judge_marked(&answers[0], &answers[1], &answers[2]);
      break;
  }
  return wrong != NULL ? wrong : duel_aftermath(duel, i);
}

static void duel_count(const struct duel *duel, struct race_verdict *verdict) {
  for (uint64_t i = 0; i < duel->rounds; i++) {
    const char *what = duel_judge(duel, i);
    verdict->rounds++;
    verdict->first_thread += duel->answers[i][0].status == COUPON_ISSUED;
    if (what == NULL) continue;
    if (verdict->findings++ > 0) continue;
    verdict->first_finding = verdict->rounds;
    verdict->what = what;
  }
}

struct race_verdict race_duel(enum race_duel_kind kind, enum race_world world, race_issue_fn *issue, uint64_t rounds,
                              bool until_finding) {
  static struct duel duel; /* too large for a stack */
  struct race_verdict verdict = {0};
  struct race_thread second;
  uint64_t meetings = 0;
  memset(&duel, 0, sizeof duel);
  duel.kind = kind;
  duel.world = world;
  duel.issue = issue;
  race_barrier_init(&duel.barrier, 2);
  race_start(&second, duel_second, &duel, 1);
  while (verdict.rounds < rounds && !(until_finding && verdict.findings > 0)) {
    duel.first_round = verdict.rounds;
    duel.rounds = cpn_min_u64(BATCH, rounds - verdict.rounds);
    memset(duel.answers, 0, sizeof duel.answers);
    /* In every other batch tickets stay without their numbers, as claims that are held. */
    bool commits_stop = world == RACE_LOGGED && duel.first_round / BATCH % 2 == 1;
    duel_prepare(&duel, commits_stop);
    race_meet(&duel.barrier, &meetings);
    duel_batch(&duel, 0, &meetings);
    race_meet(&duel.barrier, &meetings);
    if (commits_stop) race_commits_resume(duel.engine);
    duel_count(&duel, &verdict);
    race_close(duel.engine);
  }
  duel.rounds = 0;
  race_meet(&duel.barrier, &meetings);
  race_join(&second);
  return verdict;
}
