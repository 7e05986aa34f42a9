/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long does one call take, and how long does an unlucky one?
 *
 * Every call is timed. Beside it, timed alike in the same run: a random load and exchange on 2 GiB, which shows the
 * machine's and the scheduler's own tail, and liburcu's table. Once with memory prepared, once growing, where stock is
 * without end and nothing was announced. Before that: how often, and for how long, a loop that only reads the clock
 * stands still, which no call can be spared.
 */
#include <stdlib.h>

#include "machine.h"
#include "rival.h"
#include "sale.h"

static const double percents[] = {50, 90, 99, 99.9, 99.99, 99.999};
enum { PERCENTS = sizeof percents / sizeof percents[0] };

/* Nanoseconds for each of the percents, and the longest; a column per round. */
struct tails {
  double ns[PERCENTS + 1][BENCH_ROUNDS_MAX];
};

struct medians {
  double ns[PERCENTS + 1];
};

struct targets {
  double ns[PERCENTS]; /* 0: none */
};

static void tails_take(struct tails *tails, int round, const struct timer *timer, struct histogram *histograms,
                       int threads) {
  const struct histogram *all = timer_merged(histograms, threads);
  for (int i = 0; i < PERCENTS; i++) tails->ns[i][round] = timer_quantile(timer, all, percents[i]);
  tails->ns[PERCENTS][round] = (double)all->max * timer->ns_per_tick;
  free(histograms);
}

static struct medians tails_medians(struct tails *tails, int rounds) {
  struct medians medians;
  for (int i = 0; i <= PERCENTS; i++) medians.ns[i] = bench_median(tails->ns[i], rounds);
  return medians;
}

/* ---- what is timed ---- */

static void time_sale(struct bench *bench, const struct timer *timer, uint64_t users, bool presized,
                      struct tails *tails, int round) {
  struct sale_job job = {.engine = sale_open(NULL, COUPON_NONE), .users = users, .timer = timer};
  job.histograms = timer_histograms(bench->threads);
  sale_create(job.engine, 1, presized ? users : COUPON_STOCK_MAX, presized ? users : 0);
  (void)sale_run(&job, bench->threads);
  (void)bench_check(bench, job.issued == users, "every user is told ISSUED");
  (void)bench_check(bench, sale_is_whole(job.engine, 1, users), "the tickets are 1 to N");
  sale_close(job.engine, NULL);
  tails_take(tails, round, timer, job.histograms, bench->threads);
}

#ifdef PERF_HAS_RCU
struct rcu_job {
  struct rival_rcu *rcu;
  uint64_t users;
  int threads;
  const struct timer *timer;
  struct histogram *histograms;
};

static void rcu_body(void *context, int thread) {
  const struct rcu_job *job = context;
  uint64_t to = bench_part(job->users, job->threads, thread + 1);
  rival_rcu_enter();
  for (uint64_t i = bench_part(job->users, job->threads, thread); i < to; i++) {
    uint64_t before = timer_ticks(job->timer);
    (void)rival_rcu_issue(job->rcu, bench_user(i), i);
    histogram_add(&job->histograms[thread], timer_ticks(job->timer) - before);
  }
  rival_rcu_leave();
}

static bool time_rcu(struct bench *bench, const struct timer *timer, uint64_t users, bool presized, struct tails *tails,
                     int round) {
  struct rcu_job job = {.rcu = rival_rcu_create(users, presized), .users = users, .threads = bench->threads};
  job.timer = timer;
  job.histograms = timer_histograms(bench->threads);
  (void)bench_run(bench->threads, rcu_body, &job);
  rival_rcu_destroy(job.rcu);
  tails_take(tails, round, timer, job.histograms, bench->threads);
  return true;
}
#else
static bool time_rcu(struct bench *bench, const struct timer *timer, uint64_t users, bool presized, struct tails *tails,
                     int round) {
  (void)bench, (void)timer, (void)users, (void)presized, (void)tails, (void)round;
  return false;
}
#endif

static void time_machine(struct bench *bench, const struct timer *timer, struct machine_words *words, uint64_t users,
                         struct tails *tails, int round) {
  struct histogram *histograms = timer_histograms(bench->threads);
  machine_timed_cas(words, users / (uint64_t)bench->threads, bench->threads, timer, histograms);
  tails_take(tails, round, timer, histograms, bench->threads);
}

/* ---- what nobody is spared ---- */

#define PAUSE_NS 10000.0 /* from here on it is one: nothing a processor does by itself takes as long */

struct pauses {
  const struct timer *timer;
  uint64_t end_ns;
  struct histogram *histograms;
};

static void watch_body(void *context, int thread) {
  const struct pauses *pauses = context;
  const uint64_t least = (uint64_t)(PAUSE_NS / pauses->timer->ns_per_tick);
  uint64_t last = timer_ticks(pauses->timer);
  while (bench_now_ns() < pauses->end_ns) {
    for (int i = 0; i < 1000; i++) {
      uint64_t now = timer_ticks(pauses->timer);
      if (now - last >= least) histogram_add(&pauses->histograms[thread], now - last);
      last = now;
    }
  }
}

static void run_pauses(struct bench *bench, const struct timer *timer) {
  const uint64_t length_ns = bench->quick ? 20000000 : 1000000000;
  struct pauses pauses = {.timer = timer, .histograms = timer_histograms(bench->threads)};
  pauses.end_ns = bench_now_ns() + length_ns;
  (void)bench_run(bench->threads, watch_body, &pauses);
  const struct histogram *all = timer_merged(pauses.histograms, bench->threads);
  bench_head("pauses of 10 us and more in a loop that only reads the clock");
  struct bench_row row = {.name = "pauses, a second and processor", .threads = bench->threads, .unit = "1/s"};
  row.value = (double)all->count * 1e9 / (double)length_ns / bench->threads;
  bench_row(bench, &row);
  row.name = "half of them are shorter than";
  row.unit = "ns";
  row.value = all->count == 0 ? 0 : timer_quantile(timer, all, 50);
  bench_row(bench, &row);
  free(pauses.histograms);
}

/* ---- rows ---- */

static void run_rows(struct bench *bench, uint64_t users, const char *series, const struct medians *medians,
                     const struct medians *limit, const char *beside, const struct targets *targets) {
  for (int i = 0; i <= PERCENTS; i++) {
    char name[64];
    if (i == PERCENTS)
      (void)snprintf(name, sizeof name, "%s, longest", series);
    else
      (void)snprintf(name, sizeof name, "%s, p%g", series, percents[i]);
    struct bench_row row = {.name = name, .users = users, .threads = bench->threads, .value = medians->ns[i]};
    row.unit = "ns";
    row.series = series;
    row.percentile = i < PERCENTS ? percents[i] : 100;
    if (limit != NULL) row.limit = limit->ns[i];
    row.beside = beside;
    if (targets != NULL && i < PERCENTS && targets->ns[i] > 0) {
      row.rule = BENCH_AT_MOST;
      row.target = targets->ns[i];
    }
    bench_row(bench, &row);
  }
}

static void run_size(struct bench *bench, const struct timer *timer, uint64_t users, bool presized) {
  static const struct targets prepared = {{200, 0, 0, 500, 3000, 0}}, growing = {{0, 0, 0, 0, 12000, 0}};
  static struct tails sale, machine, rcu; /* too large for a stack in an emulator's eyes, and used in turn */
  struct machine_words words;
  bool with_rcu = true;
  machine_words_init(&words, users);
  for (int i = 0; i < bench->rounds; i++) {
    time_sale(bench, timer, users, presized, &sale, i);
    time_machine(bench, timer, &words, users, &machine, i);
    with_rcu = time_rcu(bench, timer, users, presized, &rcu, i);
  }
  char text[64];
  struct medians of_sale = tails_medians(&sale, bench->rounds), of_machine = tails_medians(&machine, bench->rounds);
  bench_head(presized ? "memory prepared" : "growing");
  run_rows(bench, users, presized ? "issue, prepared" : "issue, growing", &of_sale, &of_machine,
           machine_words_text(&words, "random load + CAS", text), presized ? &prepared : &growing);
  if (presized) run_rows(bench, users, "random load + CAS", &of_machine, NULL, NULL, NULL);
  machine_words_fini(&words);
  if (!with_rcu) return;
  struct medians of_rcu = tails_medians(&rcu, bench->rounds);
  run_rows(bench, users, presized ? "cds_lfht, prepared" : "cds_lfht, growing", &of_rcu, &of_machine,
           "random load + CAS", NULL);
}

int main(int count, char **arguments) {
  struct bench bench;
  struct timer timer;
  bench_begin(&bench, count, arguments, "perf_latency", "how long does one call take, and an unlucky one?");
  timer_init(&timer);
  bench_head("timer");
  timer_row(&timer, &bench);
  run_pauses(&bench, &timer);
  uint64_t users = bench_size(&bench, BENCH_STANDARD);
  if (!bench_skips(&bench, users)) {
    run_size(&bench, &timer, users, true);
    run_size(&bench, &timer, users, false);
  }
  return bench_end(&bench);
}
