/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does it cost that an answer survives a power loss?
 *
 * Calls that do not wait, until everything is final, beside the same calls without a log; and while they run, how long
 * a request waits for finality and how long finality stands still. Then callers that wait for each answer: one, who
 * cannot be faster than the disk takes one write and sync after the other, and crowds that share syncs.
 *
 * A gap in finality holds everything that can hold it up: the commit itself; the commit thread waiting for a processor;
 * and a producer that lost its processor between reserving a place and publishing it, behind which nothing is drained
 * until it runs again. So the gap bounds what such a producer can cost.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "sale.h"
#include "watch.h"

/* At most so many syncs one after the other: each takes a tenth of a millisecond, or several. */
#define SYNCS_MAX UINT64_C(4000)
/* One request in so many is watched; a batch counts as one. */
#define SAMPLED_SINGLE 64
#define SAMPLED_BATCH 4
/* By turns with writes that are nothing else. */
#define WAITING_SLICES 16
/* Answers of a crowd: so that each caller waits for many. */
#define CROWD_ANSWERS UINT64_C(200000)
/* Callers who do not wait fill any log buffer, and finality lags by what it holds: so a small one, of an eighth of what
 * is usual, which makes up for a disk that stands still. Beside it the log holds a frame that is being written, a
 * header and a block. */
#define RING_BYTES (UINT64_C(512) << 10)
#define FRAME_BYTES (RING_BYTES + 1024)

static coupon_engine *open_watched(const char *directory, struct watch *watch) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine;
  options.durability = directory == NULL ? COUPON_NONE : COUPON_SYNC;
  options.log_buffer_bytes = RING_BYTES;
  if (watch != NULL) options.callbacks.durable = watch_durable;
  options.callbacks.context = watch;
  if (coupon_open(directory, &options, &engine, &report) == COUPON_OK) return engine;
  fprintf(stderr, "coupon_open: %s\n", report.message);
  exit(1);
}

/* ---- whether it was a sale, and survives ---- */

/* Of all tickets; the order of numbers is in it. */
static uint64_t digest(coupon_engine *engine) {
  static struct coupon_ticket page[1024];
  uint64_t sum = 0, from = 1;
  for (size_t got = 1; got > 0; from += got) {
    if (coupon_tickets(engine, 1, from, page, sizeof page[0], 1024, &got) != COUPON_OK) return 0;
    for (size_t i = 0; i < got; i++)
      sum = bench_mix(sum ^
                      bench_mix(page[i].number ^ bench_mix(page[i].user ^ bench_mix(page[i].lsn ^ page[i].time_ns))));
  }
  return sum;
}

static void check_and_close(struct bench *bench, coupon_engine *engine, const char *path, uint64_t issued,
                            uint64_t users) {
  (void)bench_check(bench, issued == users, "every user is told ISSUED");
  (void)bench_check(bench, sale_is_whole(engine, 1, users), "the tickets are 1 to N");
  uint64_t before = digest(engine);
  sale_close(engine, NULL);
  if (path == NULL) return;
  engine = sale_open(path, COUPON_SYNC);
  (void)bench_check(bench, digest(engine) == before, "a directory that is opened again holds the same tickets");
  sale_close(engine, path);
}

/* ---- calls that do not wait ---- */

struct lane_job {
  coupon_engine *engine;
  struct watch *watch;
  uint64_t users;
  int threads, batch;
  _Atomic uint64_t issued;
};

/* The log buffer is full while the disk is behind: those who are told so come again, together, after the commit thread
 * could have the processor. */
static size_t keep_busy(struct coupon_request *requests, struct coupon_ticket *tickets, size_t count, bool *good) {
  size_t busy = 0;
  for (size_t i = 0; i < count; i++) {
    if (tickets[i].answer == COUPON_E_BUSY)
      requests[busy++] = requests[i];
    else if (tickets[i].answer != COUPON_ISSUED)
      *good = false;
  }
  return busy;
}

/* The last one's LSN in `*lsn`. */
static bool issue_some(struct lane_job *job, struct coupon_request *requests, struct coupon_ticket *tickets,
                       size_t count, uint64_t *lsn) {
  bool good = true;
  for (;;) {
    if (job->batch == 1)
      tickets[0].answer = coupon_try_issue(job->engine, 1, requests[0].user, &tickets[0]);
    else if (coupon_try_issue_batch(job->engine, requests, count, tickets, sizeof tickets[0]) != COUPON_OK)
      return false;
    *lsn = tickets[count - 1].lsn;
    count = keep_busy(requests, tickets, count, &good);
    if (count == 0 || !good) return good;
    (void)sched_yield();
  }
}

static void issue_lane(void *context, int thread) {
  struct lane_job *job = context;
  static _Thread_local struct coupon_request requests[SALE_BATCH];
  static _Thread_local struct coupon_ticket tickets[SALE_BATCH];
  for (int i = 0; i < SALE_BATCH; i++) tickets[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
  const uint64_t to = bench_part(job->users, job->threads, thread + 1), step = (uint64_t)job->batch;
  const uint64_t every = job->batch == 1 ? SAMPLED_SINGLE : SAMPLED_BATCH;
  uint64_t issued = 0, round = 0;
  for (uint64_t i = bench_part(job->users, job->threads, thread); i < to; i += step, round++) {
    size_t count = (size_t)(to - i < step ? to - i : step);
    for (size_t j = 0; j < count; j++) requests[j] = (struct coupon_request){.campaign = 1, .user = bench_user(i + j)};
    bool sampled = job->watch != NULL && round % every == 0;
    uint64_t begin = sampled ? bench_now_ns() : 0;
    uint64_t lsn;
    if (!issue_some(job, requests, tickets, count, &lsn)) break;
    if (sampled) watch_sample(job->watch, thread, begin, lsn);
    issued += count;
  }
  atomic_fetch_add_explicit(&job->issued, issued, memory_order_relaxed); /* relaxed: read when all have ended */
}

/* M/s until everything is final. */
static double sell(struct bench *bench, const char *directory, struct watch *watch, uint64_t users, int batch,
                   int threads) {
  struct lane_job job = {.watch = watch, .users = users, .threads = threads, .batch = batch};
  job.engine = open_watched(directory, watch);
  sale_create(job.engine, 1, users, users);
  if (watch != NULL) atomic_store_explicit(&watch->running, true, memory_order_relaxed);
  uint64_t begin = bench_now_ns();
  (void)bench_run(threads, issue_lane, &job);
  if (watch != NULL) atomic_store_explicit(&watch->running, false, memory_order_relaxed);
  (void)bench_check(bench, sale_all_final(job.engine), "all becomes final");
  double seconds = (double)(bench_now_ns() - begin) / 1e9;
  check_and_close(bench, job.engine, directory, job.issued, users);
  return (double)users / seconds / 1e6;
}

static void show_times(struct bench *bench, struct bench_row row, const struct histogram *histogram,
                       const double targets[3]) {
  static const double percents[] = {50, 99, 99.9};
  char name[96];
  for (int i = 0; i < 4; i++) {
    struct bench_row one = row;
    (void)snprintf(name, sizeof name, i < 3 ? "%s, p%g" : "%s, longest", row.name, i < 3 ? percents[i] : 0);
    one.name = name;
    one.value = (double)(i < 3 ? histogram_quantile(histogram, percents[i] / 100) : histogram->max) / 1e3;
    one.unit = "us";
    one.percentile = i < 3 ? percents[i] : 0;
    if (i < 3 && targets[i] > 0) one.rule = BENCH_AT_MOST, one.target = targets[i];
    bench_row(bench, &one);
  }
}

struct not_waiting {
  const char *name;
  int batch, threads;
  double target;           /* M/s; 0: none */
  double final_targets[3]; /* us */
};

static void run_not_waiting(struct bench *bench, const struct not_waiting *kind) {
  uint64_t users = bench_size(bench, BENCH_STANDARD);
  if (bench_skips(bench, users)) return;
  char path[BENCH_PATH_MAX], name[96];
  double rates[BENCH_ROUNDS_MAX], none[BENCH_ROUNDS_MAX];
  struct watch *watch = NULL;
  for (int i = 0; i < bench->rounds; i++) {
    if (watch != NULL) watch_destroy(watch);
    watch = watch_create(kind->threads, users / (kind->batch == 1 ? SAMPLED_SINGLE : SALE_BATCH * SAMPLED_BATCH) + 2);
    none[i] = sell(bench, NULL, NULL, users, kind->batch, kind->threads);
    rates[i] = sell(bench, sale_path(bench, "log", path), watch, users, kind->batch, kind->threads);
  }
  struct bench_row row = {.name = kind->name, .users = users, .threads = kind->threads};
  struct bench_row times = row;
  row.value = bench_median(rates, bench->rounds);
  row.limit = bench_median(none, bench->rounds);
  row.beside = "durability none";
  row.unit = "M/s";
  row.series = kind->batch == 1 ? "single calls, until final" : "batches of 32, until final";
  if (kind->target > 0) row.rule = BENCH_AT_LEAST, row.target = kind->target;
  bench_row(bench, &row);
  (void)snprintf(name, sizeof name, "%s: share of none", kind->name);
  row.name = name;
  row.series = NULL;
  row.rule = BENCH_RATIO_AT_LEAST, row.target = 0.75;
  bench_row(bench, &row);
  (void)snprintf(name, sizeof name, "%s: call to final", kind->name);
  times.name = name;
  show_times(bench, times, &watch->final, kind->final_targets); /* of the last round */
  (void)snprintf(name, sizeof name, "%s: finality stands", kind->name);
  show_times(bench, times, &watch->gap, (const double[3]){0});
  watch_destroy(watch);
}

/* ---- calls that wait ---- */

struct waiting {
  int threads, quick_threads;
  double target, p99_target; /* of one: of the raw sync rate; k/s; us */
};

/* What was measured of them, in k/s: they, and what they cannot beat. */
struct waited {
  double rate, limit;
};

/* One caller waits for the disk each time: by turns with the disk alone. */
static struct waited wait_alone(struct bench *bench, struct sale_job *job, uint64_t answers) {
  char path[BENCH_PATH_MAX];
  struct machine_disk disk;
  double seconds = 0;
  uint64_t issued = 0;
  bool works = machine_disk_open(&disk, sale_path(bench, "raw", path));
  for (int slice = 0; slice < WAITING_SLICES; slice++) {
    works = works && machine_disk_write(&disk, answers / WAITING_SLICES / 2);
    job->first_user = bench_part(answers, WAITING_SLICES, slice);
    job->users = bench_part(answers, WAITING_SLICES, slice + 1) - job->first_user;
    seconds += sale_run(job, 1);
    issued += job->issued;
  }
  (void)bench_check(bench, works, "the disk takes durable writes");
  atomic_store_explicit(&job->issued, issued, memory_order_relaxed); /* relaxed: nobody else is there */
  double limit = works ? machine_disk_rate(&disk) / 1e3 : -1;
  machine_disk_close(&disk);
  return (struct waited){(double)answers / seconds / 1e3, limit};
}

/* A crowd shares its syncs, and is bound by being put to sleep and woken: which is measured before and after. */
static struct waited wait_together(const struct bench *bench, struct sale_job *job, int threads, uint64_t answers) {
  const double seconds = bench->quick ? 0.01 : 0.4;
  double before = machine_sleepers(threads, seconds);
  job->first_user = 0;
  job->users = answers;
  double rate = (double)answers / sale_run(job, threads) / 1e3;
  return (struct waited){rate, (before + machine_sleepers(threads, seconds)) / 2};
}

static void run_waiting(struct bench *bench, const struct timer *timer, const struct waiting *kind) {
  const int threads = bench->quick ? kind->quick_threads : kind->threads;
  const uint64_t answers = bench->quick ? 200 : threads == 1 ? SYNCS_MAX : CROWD_ANSWERS;
  double rates[BENCH_ROUNDS_MAX], limits[BENCH_ROUNDS_MAX];
  struct sale_job job = {.waits = true, .timer = timer, .histograms = timer_histograms(threads)};
  for (int i = 0; i < bench->rounds; i++) {
    char path[BENCH_PATH_MAX];
    job.engine = open_watched(sale_path(bench, "log", path), NULL);
    sale_create(job.engine, 1, answers, answers);
    struct waited waited =
        threads == 1 ? wait_alone(bench, &job, answers) : wait_together(bench, &job, threads, answers);
    rates[i] = waited.rate;
    limits[i] = waited.limit;
    check_and_close(bench, job.engine, path, job.issued, answers);
  }
  char name[64];
  (void)snprintf(name, sizeof name, "%d waiting", threads);
  struct bench_row row = {.name = name, .users = answers, .threads = threads, .unit = "k/s"};
  row.value = bench_median(rates, bench->rounds);
  row.limit = bench_median(limits, bench->rounds);
  row.beside = threads == 1 ? "durable writes, one after the other" : "threads that only sleep and are woken";
  row.rule = kind->threads == 1 ? BENCH_RATIO_AT_LEAST : BENCH_AT_LEAST;
  row.target = kind->target;
  bench_row(bench, &row);
  const struct histogram *all = timer_merged(job.histograms, threads);
  for (int i = 0; i < 3; i++) {
    static const double percents[] = {50, 99, 99.9};
    struct bench_row one = {
        .name = name, .users = answers, .threads = threads, .unit = "us", .percentile = percents[i]};
    (void)snprintf(name, sizeof name, "%d waiting, p%g", threads, percents[i]);
    one.value = timer_quantile(timer, all, percents[i]) / 1e3;
    one.series = threads == 1 ? "one waiting" : "many waiting";
    if (i == 1 && kind->p99_target > 0) one.rule = BENCH_AT_MOST, one.target = kind->p99_target;
    bench_row(bench, &one);
  }
  free(job.histograms);
}

/* ---- memory ---- */

/* What became resident while the ring was filled several times, less what the campaign asked for meanwhile. */
static void run_memory(struct bench *bench) {
  const uint64_t users = bench_size(bench, BENCH_MILLION);
  char path[BENCH_PATH_MAX];
  struct lane_job job = {.users = users, .threads = 1, .batch = SALE_BATCH};
  job.engine = open_watched(sale_path(bench, "log", path), NULL);
  sale_create(job.engine, 1, users, users);
  uint64_t memory = sale_memory_bytes(job.engine), resident = bench_resident();
  (void)bench_run(1, issue_lane, &job);
  (void)bench_check(bench, sale_all_final(job.engine), "all becomes final");
  int64_t held = (int64_t)(bench_resident() - resident) - (int64_t)(sale_memory_bytes(job.engine) - memory);
  check_and_close(bench, job.engine, path, job.issued, users);
  struct bench_row row = {.name = "memory that the log holds", .users = users, .threads = 1, .unit = "MiB"};
  row.value = held < 0 ? 0 : (double)held / (1 << 20);
  row.limit = (double)(RING_BYTES + FRAME_BYTES) / (1 << 20);
  row.beside = "log_buffer_bytes and a frame";
  row.rule = BENCH_RATIO_AT_MOST, row.target = 1.1;
  bench_row(bench, &row);
}

int main(int count, char **arguments) {
  static const struct not_waiting not_waiting[] = {
      {.name = "single calls", .batch = 1, .threads = 1, .target = 15},
      {.name = "single calls", .batch = 1, .threads = 2, .target = 20},
      {.name = "batches of 32", .batch = SALE_BATCH, .threads = 1},
      {.name = "batches of 32", .batch = SALE_BATCH, .threads = 2, .target = 50, .final_targets = {300, 2000, 0}},
  };
  static const struct waiting waiting[] = {{1, 1, 0.9, 0}, {64, 8, 250, 0}, {256, 12, 300, 2000}, {1024, 16, 200, 0}};
  struct bench bench;
  struct timer timer;
  bench_begin(&bench, count, arguments, "perf_durable", "what does it cost that an answer survives?");
  timer_init(&timer);
  bench_head("calls that do not wait, until all is final");
  for (size_t i = 0; i < sizeof not_waiting / sizeof not_waiting[0]; i++) run_not_waiting(&bench, &not_waiting[i]);
  bench_head("calls that wait");
  for (size_t i = 0; i < sizeof waiting / sizeof waiting[0]; i++) run_waiting(&bench, &timer, &waiting[i]);
  bench_head("memory");
  run_memory(&bench);
  return bench_end(&bench);
}
