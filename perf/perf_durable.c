/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does it cost that an answer survives a power loss?
 *
 * Calls that do not wait, until everything is final; then the rate at which the disk takes one write and sync after the
 * other, and beside it callers that wait for each answer: one, who cannot be faster than that, and 64, who share
 * syncs. No targets: disks differ more than libraries.
 */
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "sale.h"

/* At most so many syncs one after the other: each takes a tenth of a millisecond, or several. */
#define SYNCS_MAX UINT64_C(2000)
#define CROWD 64
/* Answers that many callers wait for, for each that one does. */
#define CROWD_FACTOR 16

static const double percents[] = {50, 99, 99.9};

/* A sale with a log; M/s until everything is final. */
static double sell(struct bench *bench, struct sale_job *job, int threads) {
  char path[BENCH_PATH_MAX];
  job->engine = sale_open(sale_path(bench, "log", path), COUPON_SYNC);
  sale_create(job->engine, 1, job->users, job->users);
  uint64_t begin = bench_now_ns();
  (void)sale_run(job, threads);
  (void)bench_check(bench, sale_all_final(job->engine), "all becomes final");
  double seconds = (double)(bench_now_ns() - begin) / 1e9;
  (void)bench_check(bench, job->issued == job->users, "every user is told ISSUED");
  (void)bench_check(bench, sale_is_whole(job->engine, 1, job->users), "the tickets are 1 to N");
  sale_close(job->engine, path);
  return (double)job->users / seconds / 1e6;
}

static void run_not_waiting(struct bench *bench, bool batches, int threads) {
  struct sale_job job = {.users = bench_size(bench, BENCH_STANDARD), .batches = batches};
  if (bench_skips(bench, job.users)) return;
  double rates[BENCH_ROUNDS_MAX];
  for (int i = 0; i < bench->rounds; i++) rates[i] = sell(bench, &job, threads);
  struct bench_row row = {.name = batches ? "batches of 32, until all is final" : "single calls, until all is final"};
  row.users = job.users;
  row.threads = threads;
  row.value = bench_median(rates, bench->rounds);
  row.unit = "M/s";
  row.series = batches ? "batches of 32, until final" : "single calls, until final";
  bench_row(bench, &row);
}

static void run_waiting(struct bench *bench, const struct timer *timer, uint64_t answers, int threads, double syncs) {
  struct sale_job job = {.users = answers, .waits = true, .timer = timer, .histograms = timer_histograms(threads)};
  char name[64];
  (void)snprintf(name, sizeof name, "%d waiting", threads);
  struct bench_row row = {.name = name, .users = answers, .threads = threads};
  row.value = sell(bench, &job, threads) * 1e3;
  row.unit = "k/s";
  row.limit = syncs / 1e3;
  row.beside = "a write and a sync, one at a time";
  bench_row(bench, &row);
  const struct histogram *all = timer_merged(job.histograms, threads);
  row.unit = "us";
  row.limit = 0;
  row.series = threads == 1 ? "one waiting" : "many waiting";
  for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
    (void)snprintf(name, sizeof name, "%d waiting, p%g", threads, percents[i]);
    row.value = timer_quantile(timer, all, percents[i]) / 1e3;
    row.percentile = percents[i];
    bench_row(bench, &row);
  }
  free(job.histograms);
}

static double run_syncs(struct bench *bench, uint64_t times) {
  char path[BENCH_PATH_MAX];
  double syncs = machine_syncs(sale_path(bench, "raw", path), times);
  (void)bench_check(bench, syncs > 0, "the disk takes writes and syncs");
  struct bench_row row = {.name = "a write and a sync, one at a time", .users = times, .threads = 1, .unit = "k/s"};
  row.value = syncs / 1e3;
  bench_row(bench, &row);
  return syncs;
}

int main(int count, char **arguments) {
  struct bench bench;
  struct timer timer;
  bench_begin(&bench, count, arguments, "perf_durable", "what does it cost that an answer survives?");
  timer_init(&timer);
  bench_head("calls that do not wait");
  for (int batches = 0; batches <= 1; batches++) {
    run_not_waiting(&bench, batches != 0, 1);
    if (bench.threads > 1) run_not_waiting(&bench, batches != 0, bench.threads);
  }
  bench_head("calls that wait");
  uint64_t answers = bench.quick ? 20 : SYNCS_MAX;
  double syncs = run_syncs(&bench, answers);
  run_waiting(&bench, &timer, answers, 1, syncs);
  run_waiting(&bench, &timer, answers * CROWD_FACTOR, bench.quick ? 8 : CROWD, syncs);
  return bench_end(&bench);
}
