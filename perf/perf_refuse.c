/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How cheap is a refusal, and does a crowd of them slow the winners?
 *
 * Most who come to a sale leave without a coupon. A refusal cannot be cheaper than looking the user up, so beside each
 * stands a bare table of the same users that is only looked up, in the same random order; and, beside
 * duplicates, two random words for each, since the claim leads to the ticket. Then the opening: two
 * threads, 5 % of whose calls win, beside the same winners alone.
 */
#include <stdlib.h>

#include "machine.h"
#include "rival.h"
#include "sale.h"

#define LOOKUPS_MAX (10 * BENCH_MILLION)   /* calls to a measurement: about half a second */
#define STRANGER_FIRST (UINT64_C(1) << 48) /* users from here on hold nothing */

static uint64_t holder_at(uint64_t i, uint64_t holders) { return bench_below(bench_mix(i), holders); }

/* ---- refusals by themselves ---- */

struct crowd {
  coupon_engine *engine;
  const struct rival_bare *bare;
  uint64_t holders, calls;
  bool strangers;
  uint64_t numbers, right; /* sum of the numbers told, and answers as they had to be */
};

static uint64_t crowd_user(const struct crowd *crowd, uint64_t i) {
  return bench_user(crowd->strangers ? STRANGER_FIRST + i : holder_at(i, crowd->holders));
}

static void ask_body(void *context, int thread) {
  struct crowd *crowd = context;
  (void)thread;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status due = crowd->strangers ? COUPON_SOLD_OUT : COUPON_ALREADY_ISSUED;
  uint64_t numbers = 0, right = 0;
  for (uint64_t i = 0; i < crowd->calls; i++) {
    right += coupon_try_issue(crowd->engine, 1, crowd_user(crowd, i), &ticket) == due;
    numbers += ticket.number;
  }
  crowd->numbers = numbers;
  crowd->right = right;
}

static void look_body(void *context, int thread) {
  struct crowd *crowd = context;
  (void)thread;
  uint64_t right = 0;
  for (uint64_t i = 0; i < crowd->calls; i++)
    right += rival_bare_has(crowd->bare, crowd_user(crowd, i)) != crowd->strangers;
  crowd->right = right;
}

/* The numbers that holders got, by holder, or NULL if one of them got none. */
static uint64_t *sell(coupon_engine *engine, uint64_t holders) {
  uint64_t *numbers = calloc(holders, sizeof *numbers);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  bool good = numbers != NULL;
  for (uint64_t i = 0; i < holders && good; i++) {
    good = coupon_try_issue(engine, 1, bench_user(i), &ticket) == COUPON_ISSUED && ticket.number > 0;
    numbers[i] = ticket.number;
  }
  if (good) return numbers;
  free(numbers);
  return NULL;
}

/* Not timed: whoever the timed loop asks for is told the number that this holder got. That loop only sums them, because
 * reading the numbers from here would be a second random access to each call. */
static bool numbers_are_theirs(const struct crowd *crowd, const uint64_t *numbers, uint64_t *sum) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  bool good = true;
  *sum = 0;
  for (uint64_t i = 0; i < crowd->calls; i++) {
    uint64_t holder = holder_at(i, crowd->holders);
    coupon_status status = coupon_try_issue(crowd->engine, 1, bench_user(holder), &ticket);
    good = good && status == COUPON_ALREADY_ISSUED && ticket.number == numbers[holder];
    *sum += numbers[holder];
  }
  return good;
}

static void run_refusals(struct bench *bench, uint64_t standard, bool strangers, double target) {
  uint64_t holders = bench_size(bench, standard), expected = 0;
  if (bench_skips(bench, holders)) return;
  uint64_t calls = bench_size(bench, LOOKUPS_MAX);
  struct crowd crowd = {.holders = holders, .calls = calls < LOOKUPS_MAX ? calls : LOOKUPS_MAX, .strangers = strangers};
  crowd.engine = sale_open(NULL, COUPON_NONE);
  /* Duplicates are asked for while units are left, strangers when none is. */
  sale_create(crowd.engine, 1, strangers ? holders : holders + 1, holders);
  uint64_t *numbers = sell(crowd.engine, holders);
  if (numbers == NULL) {
    (void)bench_check(bench, false, "every user is told ISSUED");
    exit(bench_end(bench)); /* nothing below would mean anything */
  }
  if (!strangers)
    (void)bench_check(bench, numbers_are_theirs(&crowd, numbers, &expected), "a holder is told the original number");
  struct rival_bare *bare = rival_bare_create(holders);
  crowd.bare = bare;
  struct machine_words words;
  machine_words_init(&words, holders);
  double ours[BENCH_ROUNDS_MAX], floor[BENCH_ROUNDS_MAX], apart[BENCH_ROUNDS_MAX];
  for (int i = 0; i < bench->rounds; i++) {
    ours[i] = (double)crowd.calls / bench_run(1, ask_body, &crowd) / 1e6;
    (void)bench_check(bench, crowd.right == crowd.calls, "every answer is the one that was due");
    (void)bench_check(bench, strangers || crowd.numbers == expected, "the numbers told are the original ones");
    floor[i] = (double)crowd.calls / bench_run(1, look_body, &crowd) / 1e6;
    (void)bench_check(bench, crowd.right == crowd.calls, "the bare table finds holders, and only them");
    apart[i] = strangers ? 0 : machine_loads_apart(&words, crowd.calls);
  }
  struct bench_row row = {.name = strangers ? "strangers, sold out" : "duplicates", .users = holders, .threads = 1};
  row.value = bench_median(ours, bench->rounds);
  row.unit = "M/s";
  row.rule = BENCH_AT_LEAST;
  row.target = target;
  bench_row(bench, &row);
  row.limit = bench_median(floor, bench->rounds);
  row.beside = strangers ? "a bare lookup, miss, load 0.8" : "a bare lookup, hit, load 0.8";
  row.rule = BENCH_RATIO_AT_LEAST;
  row.target = 0.8;
  bench_row(bench, &row);
  row.limit = bench_median(apart, bench->rounds);
  row.beside = "a load where another says, 128 instructions apart";
  row.rule = BENCH_NO_TARGET;
  if (!strangers) bench_row(bench, &row);
  machine_words_fini(&words);
  rival_bare_destroy(bare);
  free(numbers);
  sale_close(crowd.engine, NULL);
}

/* ---- the opening ---- */

/* Campaign 1 is being sold; campaign 2 has sold out, to the same number of other users. */
struct opening {
  coupon_engine *engine;
  uint64_t winners;
  uint64_t share; /* a call wins out of so many; 1: each does */
  int threads;
  const struct timer *timer;
  struct histogram *histograms;
  uint64_t wrong[BENCH_THREADS_MAX];
};

/* Refusals as they come: half of them holders who ask again, half strangers. */
static bool refuse_one(const struct opening *opening, uint64_t random, struct coupon_ticket *ticket) {
  bool stranger = (random & 1) != 0;
  uint64_t user =
      bench_user(STRANGER_FIRST + (stranger ? opening->winners : 0) + bench_below(bench_mix(random), opening->winners));
  return coupon_try_issue(opening->engine, 2, user, ticket) == (stranger ? COUPON_SOLD_OUT : COUPON_ALREADY_ISSUED);
}

static void opening_body(void *context, int thread) {
  struct opening *opening = context;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t wrong = 0, calls = (uint64_t)thread << 40;
  uint64_t next = bench_part(opening->winners, opening->threads, thread);
  uint64_t end = bench_part(opening->winners, opening->threads, thread + 1);
  while (next < end) {
    uint64_t random = bench_user(++calls);
    if (bench_below(random, opening->share) != 0) {
      wrong += !refuse_one(opening, random, &ticket);
      continue;
    }
    uint64_t before = timer_ticks(opening->timer);
    coupon_status status = coupon_try_issue(opening->engine, 1, bench_user(next++), &ticket);
    histogram_add(&opening->histograms[thread], timer_ticks(opening->timer) - before);
    wrong += status != COUPON_ISSUED;
  }
  opening->wrong[thread] = wrong;
}

static const double percents[] = {50, 99, 99.9};
enum { PERCENTS = sizeof percents / sizeof percents[0] };

static void run_sale(struct bench *bench, const struct timer *timer, uint64_t winners, uint64_t share,
                     double ns[PERCENTS][BENCH_ROUNDS_MAX], int round) {
  struct opening opening = {.winners = winners, .share = share, .threads = bench->threads, .timer = timer};
  opening.engine = sale_open(NULL, COUPON_NONE);
  opening.histograms = timer_histograms(bench->threads);
  sale_create(opening.engine, 1, winners, winners);
  sale_create(opening.engine, 2, winners, winners);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  bool good = true;
  for (uint64_t i = 0; i < winners; i++)
    good &= coupon_try_issue(opening.engine, 2, bench_user(STRANGER_FIRST + i), &ticket) == COUPON_ISSUED;
  (void)bench_run(bench->threads, opening_body, &opening);
  for (int i = 0; i < bench->threads; i++) good = good && opening.wrong[i] == 0;
  (void)bench_check(bench, good && sale_is_whole(opening.engine, 1, winners), "winners win, all others are refused");
  sale_close(opening.engine, NULL);
  const struct histogram *all = timer_merged(opening.histograms, bench->threads);
  for (int i = 0; i < PERCENTS; i++) ns[i][round] = timer_quantile(timer, all, percents[i]);
  free(opening.histograms);
}

static void run_opening(struct bench *bench) {
  struct timer timer;
  timer_init(&timer);
  timer_row(&timer, bench);
  uint64_t winners = bench_size(bench, BENCH_MILLION);
  if (bench_skips(bench, winners)) return;
  double alone[PERCENTS][BENCH_ROUNDS_MAX], herd[PERCENTS][BENCH_ROUNDS_MAX];
  for (int i = 0; i < bench->rounds; i++) {
    run_sale(bench, &timer, winners, 1, alone, i);
    run_sale(bench, &timer, winners, 20, herd, i);
  }
  for (int i = 0; i < PERCENTS; i++) {
    char name[64];
    (void)snprintf(name, sizeof name, "a winner among 95 %% refusals, p%g", percents[i]);
    struct bench_row row = {.name = name, .users = winners, .threads = bench->threads, .unit = "ns"};
    row.value = bench_median(herd[i], bench->rounds);
    row.limit = bench_median(alone[i], bench->rounds);
    row.beside = "winners alone";
    bench_row(bench, &row);
  }
}

int main(int count, char **arguments) {
  struct bench bench;
  bench_begin(&bench, count, arguments, "perf_refuse", "how cheap is a refusal?");
  bench_head("refusals");
  run_refusals(&bench, BENCH_MILLION, false, 25);
  run_refusals(&bench, BENCH_STANDARD, false, 16);
  run_refusals(&bench, 10000, true, 60);
  run_refusals(&bench, BENCH_STANDARD, true, 14);
  bench_head("the opening");
  run_opening(&bench);
  return bench_end(&bench);
}
