/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the search of linear.h decides as the plain model does that tries every order: on histories that are
 * right by construction, on the same with something spoilt, and on ones whose answers are drawn at random. And that
 * the text form brings back every history as it was.
 *
 * How: hundreds of thousands of histories of up to eight operations. A right one is made by giving every operation its
 * moment first, the answer that a campaign would give then, and a stretch of time around the moment.
 */
#include <string.h>

#include "support/linear.h"
#include "support/race_help.h"

#define CAMPAIGN 7
#define OPS_MOST 7
#define USERS 3
#define STOCK_MOST 3

/* What the campaign is at the moment of an operation. */
struct state {
  uint64_t stock, limit, holders[STOCK_MOST], issued, listed;
  uint64_t cut; /* what will be recovered; without a crash, everything */
  bool exists;
};

static struct race_random chance;

static bool one_in(uint64_t n) { return race_below(&chance, n) == 0; }

static uint64_t held(const struct state *state, uint64_t user, uint64_t among, uint64_t *number) {
  uint64_t count = 0;
  for (uint64_t i = among; i-- > 0;) {
    if (state->holders[i] != user) continue;
    *number = i + 1;
    count++;
  }
  return count;
}

/* --- right answers ------------------------------------------------------------------------------- */

/* Each returns how many tickets the answer rests on. */

static uint64_t issue(struct state *state, struct history_op *op) {
  const bool duplicate = state->limit != 0 && held(state, op->user, state->issued, &op->number) > 0;
  if (!duplicate && state->issued == state->stock) {
    op->status = COUPON_SOLD_OUT;
    return state->stock;
  }
  if (!duplicate) {
    state->holders[state->issued++] = op->user;
    op->number = state->issued;
  }
  op->status = duplicate ? COUPON_ALREADY_ISSUED : COUPON_ISSUED;
  return op->number;
}

static uint64_t lookup(const struct state *state, struct history_op *op) {
  const uint64_t among = state->limit != 0 ? state->issued : state->listed;
  op->count = held(state, op->user, among, &op->number);
  op->status = op->count > 0 ? COUPON_OK : COUPON_NOT_FOUND;
  return state->limit != 0 ? op->number : among;
}

static uint64_t info(const struct state *state, struct history_op *op) {
  op->count = state->issued;
  op->remaining = state->stock - state->issued;
  return state->issued;
}

static uint64_t page(struct history *history, const struct state *state, struct history_op *op) {
  op->from = race_below(&chance, state->stock + 2);
  op->capacity = race_below(&chance, state->stock + 2);
  for (uint64_t i = op->from == 0 ? 0 : op->from - 1; i < state->listed && op->count < op->capacity; i++)
    history_add_listed(history, op, state->holders[i]);
  return state->listed;
}

static void answer(struct history *history, struct state *state, struct history_op *op, bool crash_comes) {
  uint64_t rests_on = 0;
  op->user = race_below(&chance, USERS);
  if (op->kind != HISTORY_CREATE && !state->exists) {
    op->status = COUPON_NO_CAMPAIGN;
    if (op->kind == HISTORY_TICKETS) op->capacity = 1;
  } else if (op->kind == HISTORY_CREATE) {
    state->exists = true;
  } else if (op->kind == HISTORY_ISSUE) {
    rests_on = issue(state, op);
  } else if (op->kind == HISTORY_LOOKUP) {
    rests_on = lookup(state, op);
  } else {
    rests_on = op->kind == HISTORY_INFO ? info(state, op) : page(history, state, op);
  }
  /* Final: its ticket is listed with it. In doubt otherwise, if there is a crash to come. */
  op->final = crash_comes ? rests_on <= state->cut && one_in(2) : one_in(4);
  if (op->final && op->number > state->listed) state->listed = op->number;
  if (one_in(3) && !op->final) op->number = 0;
  while (state->listed < state->issued && one_in(2)) state->listed++;
}

/* Two requests that are next to each other become a batch. */
static void join(struct history_op *a, struct history_op *b, uint64_t batch) {
  if (a->kind != HISTORY_ISSUE || b->kind != HISTORY_ISSUE || a->final != b->final) return;
  a->batch = b->batch = batch;
  a->begin = b->begin = cpn_min_u64(a->begin, b->begin);
  a->end = b->end = cpn_max_u64(a->end, b->end);
}

static struct state draw_campaign(struct history *history) {
  struct state state = {.stock = race_below(&chance, STOCK_MOST + 1), .limit = !one_in(4), .exists = !one_in(5)};
  history_clear(history);
  struct history_campaign *campaign = history_add_campaign(history, CAMPAIGN, state.stock, state.limit);
  campaign->created = !state.exists;
  campaign->counts_apart = one_in(2);
  campaign->lists_apart = one_in(2);
  return state;
}

static enum history_kind draw_kind(const struct state *state) {
  static const enum history_kind kinds[] = {HISTORY_ISSUE,  HISTORY_ISSUE,   HISTORY_ISSUE, HISTORY_LOOKUP,
                                            HISTORY_LOOKUP, HISTORY_TICKETS, HISTORY_INFO};
  if (!state->exists && one_in(2)) return HISTORY_CREATE;
  return kinds[race_below(&chance, sizeof kinds / sizeof kinds[0])];
}

/* The i-th operation has its moment at 100 + 10 i; the crash comes before one of these moments, or after the last. */
static void make_right(struct history *history) {
  struct state state = draw_campaign(history);
  const uint64_t count = 2 + race_below(&chance, OPS_MOST - 1), reach = 1 + race_below(&chance, 40);
  const bool crashes = state.exists && one_in(3);
  const uint64_t crash_at = crashes ? 1 + race_below(&chance, count) : UINT64_MAX, crash_stamp = crash_at * 10 + 95;
  state.cut = crashes ? race_below(&chance, state.stock + 1) : UINT64_MAX;
  for (uint64_t i = 0; i < count; i++) {
    if (i == crash_at) { /* what is not recovered is gone */
      state.issued = cpn_min_u64(state.issued, state.cut);
      state.listed = cpn_min_u64(state.listed, state.cut);
    }
    struct history_op *op = history_add(history, 0, draw_kind(&state));
    op->campaign = CAMPAIGN;
    op->begin = 100 + i * 10 - race_below(&chance, reach);
    op->end = 100 + i * 10 + race_below(&chance, reach);
    answer(history, &state, op, crashes && i < crash_at);
    if (crashes && i >= crash_at) op->begin = cpn_max_u64(op->begin, crash_stamp + 1);
    if (crashes && i < crash_at && op->final) op->end = cpn_min_u64(op->end, crash_stamp - 1);
    if (i > 0 && i != crash_at && one_in(4) && op[-1].batch == 0) join(op - 1, op, i);
  }
  if (!crashes) return;
  struct history_op *crash = history_add(history, 1, HISTORY_CRASH);
  crash->begin = crash->end = crash_stamp;
}

/* --- spoilt answers ------------------------------------------------------------------------------ */

static struct history_op *any_op(struct history *history) {
  struct history_thread *thread = &history->threads[0];
  return &thread->ops[race_below(&chance, thread->ops_count)];
}

static coupon_status any_status(enum history_kind kind) {
  static const coupon_status issued[] = {COUPON_ISSUED, COUPON_ISSUED, COUPON_ALREADY_ISSUED, COUPON_SOLD_OUT},
                             found[] = {COUPON_OK, COUPON_NOT_FOUND};
  if (one_in(12)) return HISTORY_UNANSWERED;
  if (one_in(12)) return COUPON_NO_CAMPAIGN;
  if (kind == HISTORY_ISSUE) return issued[race_below(&chance, 4)];
  return kind == HISTORY_LOOKUP ? found[race_below(&chance, 2)] : COUPON_OK;
}

static void spoil(struct history *history) {
  struct history_op *op = any_op(history);
  const uint64_t begin = op->begin, end = op->end;
  switch (race_below(&chance, 8)) {
    case 0:
      op->status = any_status(op->kind);
      break;
    case 1:
      op->number = race_below(&chance, STOCK_MOST + 1);
      break;
    case 2:
      op->user = race_below(&chance, USERS);
      break;
    case 3:
      op->count = op->kind == HISTORY_TICKETS ? op->count : race_below(&chance, STOCK_MOST);
      break;
    case 4:
      op->remaining = race_below(&chance, STOCK_MOST);
      break;
    case 5:
      op->final = !op->final;
      break;
    case 6:
      if (op->kind == HISTORY_TICKETS && op->count > 0)
        history->threads[0].listed[op->listed + race_below(&chance, op->count)] = race_below(&chance, USERS);
      break;
    default: { /* two change their places in time */
      struct history_op *other = any_op(history);
      if (op->batch != 0 || other->batch != 0) break;
      op->begin = other->begin;
      op->end = other->end;
      other->begin = begin;
      other->end = end;
    }
  }
}

static void make_random(struct history *history) {
  make_right(history);
  for (uint32_t i = 0; i < history->threads[0].ops_count; i++) {
    struct history_op *op = &history->threads[0].ops[i];
    if (op->kind == HISTORY_CREATE) continue;
    op->status = any_status(op->kind);
    op->number = one_in(2) ? 0 : race_below(&chance, STOCK_MOST + 1);
  }
}

/* --- the comparison ------------------------------------------------------------------------------ */

/* Prints a history, reads it back, prints that: the same. */
static void check_text(const struct history *history, struct history *copy) {
  static char first[16384], second[16384];
  uint32_t line;
  FILE *file = fmemopen(first, sizeof first, "w");
  RACE_CHECK(file != NULL, "no stream to be had");
  history_print(history, file);
  (void)fclose(file);
  file = fmemopen(first, strlen(first), "r");
  RACE_CHECK(file != NULL, "no stream to be had");
  const char *what = history_read(copy, file, &line);
  RACE_CHECK(what == NULL, "line %" PRIu32 ": %s\n%s", line, what, first);
  (void)fclose(file);
  file = fmemopen(second, sizeof second, "w");
  RACE_CHECK(file != NULL, "no stream to be had");
  history_print(copy, file);
  (void)fclose(file);
  RACE_CHECK(strcmp(first, second) == 0, "read back as another:\n%s\n%s", first, second);
}

static void compare(const char *name, int how, uint64_t rounds, uint64_t stream) {
  struct history history, copy;
  struct linear_search *search = linear_create();
  uint64_t yes = 0;
  history_init(&history);
  history_init(&copy);
  chance = race_stream(stream);
  for (uint64_t i = 0; i < rounds; i++) {
    if (how == 2)
      make_random(&history);
    else
      make_right(&history);
    for (uint64_t spoilt = 0; how == 1 && spoilt <= i % 2; spoilt++) spoil(&history);
    struct linear_verdict verdict = linear_check(search, &history);
    const bool brute = linear_brute(&history);
    if (verdict.linearizable != brute || (how == 0 && !brute)) linear_print(&verdict, &history, stdout);
    RACE_CHECK(verdict.linearizable == brute, "%s, history %" PRIu64 ": every order tried says %s", name, i,
               brute ? "yes" : "no");
    RACE_CHECK(how != 0 || brute, "%s, history %" PRIu64 " is right, and was not found so", name, i);
    if (i % 16 == 0) check_text(&history, &copy);
    yes += brute;
  }
  printf("%s: %" PRIu64 " histories, %" PRIu64 " of them linearizable, both agree\n", name, rounds, yes);
  RACE_CHECK(yes > rounds / 100, "hardly any is linearizable: this run shows little");
  RACE_CHECK(how == 0 || yes < rounds - rounds / 20, "hardly any is spoilt: this run shows little");
  history_fini(&copy);
  history_fini(&history);
  linear_destroy(search);
}

int main(int argc, char **argv) {
  race_begin("linear_agrees", argc, argv);
  compare("right ones", 0, race_rounds(100000, 4000), 1);
  compare("spoilt ones", 1, race_rounds(200000, 8000), 2);
  compare("random answers", 2, race_rounds(100000, 4000), 3);
  return 0;
}
