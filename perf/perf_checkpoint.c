/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does a checkpoint cost those who issue meanwhile, and how soon is a sale back from one?
 *
 * One producer is paced at half of what it can do, because one at its limit would only tell who has the processors;
 * every call is timed, with and without a checkpoint being made beside it. Then a directory whose tickets all lie in a
 * checkpoint is opened, beside reading that file and touching as much memory.
 *
 * The producer is bound to one processor after the other. The disk interrupts one of them, thousands of times a second
 * while a log is committed, and a scheduler that moves the producer there only with a checkpoint, or only without,
 * would decide what one in a thousand calls takes.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

#define LATENCY_RATIO 2.0
#define OPENING_RATIO 1.5

/* ---- one producer beside it ---- */

struct pace {
  coupon_engine *engine;
  const struct timer *timer;
  uint64_t next_user;
  uint64_t length_ns;
  _Atomic int *until; /* ends it before that, if it is not NULL */
  uint64_t gap_ns;    /* between the beginnings of calls; 0: none */
  int processor;      /* to run on, of those of the process; -1: any */
  uint64_t calls, refused;
  struct histogram *histogram;
};

static cpu_set_t all_processors;

/* The calling thread, on the `which`-th of them. */
static void stay_on_processor(int which) {
  cpu_set_t one;
  CPU_ZERO(&one);
  for (size_t i = 0; i < CPU_SETSIZE; i++) {
    if (CPU_ISSET(i, &all_processors) && which-- == 0) CPU_SET(i, &one);
  }
  (void)sched_setaffinity(0, sizeof one, &one);
}

static void pace_body(void *context, int thread) {
  struct pace *pace = context;
  (void)thread;
  if (pace->processor >= 0) stay_on_processor(pace->processor);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  const uint64_t begin = bench_now_ns();
  uint64_t due = begin;
  for (;;) {
    uint64_t now = bench_now_ns();
    if (now - begin >= pace->length_ns) return;
    /* relaxed: only that it ends some time. */
    if (pace->until != NULL && atomic_load_explicit(pace->until, memory_order_relaxed) != 0) return;
    if (now < due) continue;
    due += pace->gap_ns;
    uint64_t before = timer_ticks(pace->timer);
    coupon_status status = coupon_try_issue(pace->engine, 1, bench_user(pace->next_user), &ticket);
    histogram_add(pace->histogram, timer_ticks(pace->timer) - before);
    pace->next_user += status == COUPON_ISSUED;
    pace->refused += status != COUPON_ISSUED && status != COUPON_E_BUSY;
    pace->calls++;
  }
}

/* Seconds. */
static double pace_run(struct pace *pace, uint64_t length_ns, _Atomic int *until, struct histogram *histogram) {
  pace->length_ns = length_ns;
  pace->until = until;
  pace->histogram = histogram;
  return bench_run(1, pace_body, pace);
}

struct maker {
  coupon_engine *engine;
  _Atomic int done;
  bool made;
  double seconds;
};

static void *make_one(void *argument) {
  struct maker *maker = argument;
  const uint64_t begin = bench_now_ns();
  maker->made = coupon_checkpoint(maker->engine, COUPON_FOREVER) == COUPON_OK;
  maker->seconds = (double)(bench_now_ns() - begin) / 1e9;
  atomic_store_explicit(&maker->done, 1, memory_order_relaxed); /* relaxed: the thread is joined */
  return NULL;
}

/* What a machine does to a call's tail changes by the second. So a round is some checkpoints on each processor, each
 * with calls beside it for so long at most, and followed by calls for just as long without one. */
#define PROCESSORS_MAX 4
#define CHECKPOINTS_EACH 3
#define BESIDE_AT_MOST_NS UINT64_C(4000000000)

/* Nanoseconds, of each round. */
struct tail {
  double p99[BENCH_ROUNDS_MAX], p999[BENCH_ROUNDS_MAX];
};

/* [0]: with a checkpoint, [1]: without. */
struct beside {
  int processors;
  struct histogram of_round[2], of_processor[PROCESSORS_MAX][2];
  struct tail tail[2], tail_of[PROCESSORS_MAX][2];
  double seconds; /* with, all together */
  double making;  /* one checkpoint, the sum of the rounds' means */
};

static void take_pair(struct bench *bench, struct pace *pace, struct beside *beside) {
  struct histogram *histograms = beside->of_processor[pace->processor];
  struct maker maker = {.engine = pace->engine};
  pthread_t thread;
  if (pthread_create(&thread, NULL, make_one, &maker) != 0) exit(1);
  const double seconds = pace_run(pace, BESIDE_AT_MOST_NS, &maker.done, &histograms[0]);
  (void)pthread_join(thread, NULL);
  (void)bench_check(bench, maker.made, "checkpoints are made");
  (void)pace_run(pace, (uint64_t)(seconds * 1e9), NULL, &histograms[1]);
  beside->seconds += seconds;
  beside->making += maker.seconds / (CHECKPOINTS_EACH * beside->processors);
}

static void note_tail(const struct timer *timer, const struct histogram *histogram, struct tail *tail, int round) {
  tail->p99[round] = timer_quantile(timer, histogram, 99);
  tail->p999[round] = timer_quantile(timer, histogram, 99.9);
}

static void take_round(struct bench *bench, struct pace *pace, struct beside *beside, int round) {
  memset(beside->of_round, 0, sizeof beside->of_round);
  memset(beside->of_processor, 0, sizeof beside->of_processor);
  for (int i = 0; i < CHECKPOINTS_EACH * beside->processors; i++) {
    pace->processor = i % beside->processors;
    take_pair(bench, pace, beside);
  }
  for (int without = 0; without < 2; without++) {
    for (int i = 0; i < beside->processors; i++) {
      histogram_merge(&beside->of_round[without], &beside->of_processor[i][without]);
      note_tail(pace->timer, &beside->of_processor[i][without], &beside->tail_of[i][without], round);
    }
    note_tail(pace->timer, &beside->of_round[without], &beside->tail[without], round);
  }
}

static void row_of_tail(struct bench *bench, uint64_t holders, const char *name, double with[BENCH_ROUNDS_MAX],
                        double without[BENCH_ROUNDS_MAX], bool judged) {
  struct bench_row row = {.name = name, .users = holders, .threads = 1, .unit = "ns"};
  row.value = bench_median(with, bench->rounds);
  row.limit = bench_median(without, bench->rounds);
  row.beside = "no checkpoint meanwhile";
  row.rule = judged ? BENCH_RATIO_AT_MOST : BENCH_NO_TARGET;
  row.target = LATENCY_RATIO;
  bench_row(bench, &row);
}

static void rows_of_tails(struct bench *bench, uint64_t holders, struct beside *beside) {
  for (int i = 0; i < beside->processors; i++) {
    char name[64];
    (void)snprintf(name, sizeof name, "one call, on processor %d, p99.9", i);
    row_of_tail(bench, holders, name, beside->tail_of[i][0].p999, beside->tail_of[i][1].p999, false);
  }
  row_of_tail(bench, holders, "one call at half that pace, p99", beside->tail[0].p99, beside->tail[1].p99, false);
  row_of_tail(bench, holders, "one call at half that pace, p99.9", beside->tail[0].p999, beside->tail[1].p999, true);
}

static void run_beside(struct bench *bench, const struct timer *timer) {
  const uint64_t holders = bench_size(bench, BENCH_STANDARD);
  if (bench_skips(bench, holders)) return;
  char path[BENCH_PATH_MAX];
  struct pace pace = {.timer = timer, .next_user = holders, .processor = -1};
  static struct beside beside; /* too large for a stack */
  beside.processors = CPU_COUNT(&all_processors) < PROCESSORS_MAX ? CPU_COUNT(&all_processors) : PROCESSORS_MAX;
  const uint64_t limit_ns = bench->quick ? 50000000 : 1000000000;
  pace.engine = store_open(sale_path(bench, "beside", path), COUPON_SYNC, NULL);
  sale_create(pace.engine, 1, COUPON_STOCK_MAX, 0);
  struct sale_job job = {.engine = pace.engine, .users = holders, .batches = true};
  (void)sale_run(&job, 1);
  (void)pace_run(&pace, limit_ns, NULL, &beside.of_round[0]); /* at its limit */
  const double calls_per_s = (double)pace.calls * 1e9 / (double)limit_ns;
  pace.gap_ns = (uint64_t)(2e9 / calls_per_s);
  for (int i = 0; i < bench->rounds; i++) take_round(bench, &pace, &beside, i);
  (void)bench_check(bench, pace.refused == 0, "every user is told ISSUED");
  (void)bench_check(bench, sale_all_final(pace.engine) && sale_is_whole(pace.engine, 1, pace.next_user),
                    "the tickets are 1 to N");
  sale_close(pace.engine, path);
  struct bench_row row = {.name = "one producer at its limit", .users = holders, .threads = 1, .unit = "M/s"};
  row.value = calls_per_s / 1e6;
  bench_row(bench, &row);
  row = (struct bench_row){.name = "calls beside checkpoints", .users = holders, .threads = 1, .unit = "s"};
  row.value = beside.seconds;
  bench_row(bench, &row);
  row = (struct bench_row){.name = "making one meanwhile", .users = holders, .threads = 1, .unit = "s"};
  row.value = beside.making / bench->rounds;
  bench_row(bench, &row);
  rows_of_tails(bench, holders, &beside);
}

/* ---- opening ---- */

static double make_checkpoint(struct bench *bench, const struct store *store) {
  coupon_engine *engine = store_open(store->path, COUPON_SYNC, NULL);
  uint64_t begin = bench_now_ns();
  (void)bench_check(bench, coupon_checkpoint(engine, COUPON_FOREVER) == COUPON_OK, "a checkpoint is made");
  double seconds = (double)(bench_now_ns() - begin) / 1e9;
  sale_close(engine, NULL);
  return seconds;
}

static void row_of_seconds(struct bench *bench, const struct store *store, const char *name, double seconds) {
  struct bench_row row = {.name = name, .users = store->tickets, .value = seconds, .unit = "s"};
  bench_row(bench, &row);
}

static void run_opening(struct bench *bench, uint64_t standard) {
  struct store store;
  double reading[BENCH_ROUNDS_MAX], touching[BENCH_ROUNDS_MAX], both[BENCH_ROUNDS_MAX], opening[BENCH_ROUNDS_MAX];
  const uint64_t tickets = bench_size(bench, standard);
  if (bench_skips(bench, tickets)) return;
  const int rounds = bench_rounds(bench, tickets);
  store_make(bench, &store, "kept", tickets, false);
  row_of_seconds(bench, &store, "making the checkpoint", make_checkpoint(bench, &store));
  (void)store_time_opening(bench, &store, NULL); /* how much memory it holds */
  for (int i = 0; i < rounds; i++) {
    struct coupon_report report = COUPON_REPORT_INIT;
    reading[i] = store_time_reading(&store, STORE_CHECKPOINT);
    touching[i] = store_time_touching(&store);
    both[i] = reading[i] + touching[i];
    opening[i] = store_time_opening(bench, &store, &report);
    (void)bench_check(bench, report.checkpoint_tickets == tickets, "all tickets come from the checkpoint");
  }
  row_of_seconds(bench, &store, "warm, reading the file", bench_median(reading, rounds));
  row_of_seconds(bench, &store, "first touch of the memory", bench_median(touching, rounds));
  struct bench_row row = {.name = "warm, opening from a checkpoint", .users = tickets, .unit = "s"};
  row.value = bench_median(opening, rounds);
  row.limit = bench_median(both, rounds);
  row.beside = "reading, then touching";
  row.rule = BENCH_RATIO_AT_MOST;
  row.target = OPENING_RATIO;
  bench_row(bench, &row);
  bench_remove_directory(store.path);
}

int main(int count, char **arguments) {
  struct bench bench;
  struct timer timer;
  bench_begin(&bench, count, arguments, "perf_checkpoint", "what does a checkpoint cost, and what does it save?");
  if (sched_getaffinity(0, sizeof all_processors, &all_processors) != 0) return 1;
  timer_init(&timer);
  bench_head("issuing beside checkpoints");
  run_beside(&bench, &timer);
  bench_head("opening");
  run_opening(&bench, BENCH_STANDARD);
  run_opening(&bench, 10 * BENCH_STANDARD);
  return bench_end(&bench);
}
