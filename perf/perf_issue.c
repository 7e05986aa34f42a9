/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast are tickets issued, and what is the ceiling? perf_issue [--users N] [--threads N] [--dir DIRECTORY]
 *
 * One row each, in one run: a shared counter that every call must move (the ceiling of any shared order),
 * coupon_try_issue() in memory, and with --dir, coupon_try_issue() with a log until everything is final; then the
 * rate at which the disk takes one write and sync after the other, and coupon_issue() beside it. Each ticket is
 * checked: as many as users, numbered 1 … N. The status is 1 if a check fails; no time is judged.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "coupon/coupon.h"

#define THREADS_MAX 64
/* One call in so many is timed: the clock costs about as much as the call. */
#define SAMPLE_EVERY 64

/* At most so many syncs one after the other: each takes a tenth of a millisecond, or several. */
#define SYNCS_MAX 2000

/* Turns of the counter's row for each user. */
#define COUNTER_TURNS 20

struct worker {
  pthread_t thread;
  coupon_engine *engine; /* NULL: only move the counter */
  bool waits;            /* for each answer to be final */
  uint64_t first_user, users;
  uint64_t issued, other;
  uint32_t *samples_ns;
  uint64_t sample_count;
};

static _Atomic uint64_t counter;
static _Atomic int waiting;

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Users in an order that no cache likes: a multiplication by an odd constant permutes the 64-bit numbers. */
static uint64_t user_at(uint64_t i) { return i * UINT64_C(0x9e3779b97f4a7c15); }

static void ask(struct worker *worker, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = worker->waits ? COUPON_E_BUSY : coupon_try_issue(worker->engine, 1, user, &ticket);
  while (status == COUPON_E_BUSY) status = coupon_issue(worker->engine, 1, user, COUPON_FOREVER, &ticket);
  if (status == COUPON_ISSUED)
    worker->issued++;
  else
    worker->other++;
}

static void *work(void *argument) {
  struct worker *worker = argument;
  atomic_fetch_sub_explicit(&waiting, 1, memory_order_acq_rel);
  while (atomic_load_explicit(&waiting, memory_order_acquire) > 0) sched_yield(); /* begin together */
  for (uint64_t i = 0; i < worker->users; i++) {
    bool timed = i % SAMPLE_EVERY == 0;
    uint64_t before = timed ? now_ns() : 0;
    if (worker->engine == NULL)
      atomic_fetch_add_explicit(&counter, 1, memory_order_seq_cst);
    else
      ask(worker, user_at(worker->first_user + i));
    if (timed) worker->samples_ns[worker->sample_count++] = (uint32_t)(now_ns() - before);
  }
  return NULL;
}

static int compare(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

/* Numbers 1 … users, as many as users. */
static bool tickets_are_whole(coupon_engine *engine, uint64_t users) {
  static struct coupon_ticket page[1024];
  uint64_t expected = 1;
  size_t count = 1;
  while (count > 0) {
    if (coupon_tickets(engine, 1, expected, page, sizeof page[0], 1024, &count) != COUPON_OK) return false;
    for (size_t i = 0; i < count; i++) {
      if (page[i].number != expected++) return false;
    }
  }
  return expected == users + 1;
}

static bool all_final(coupon_engine *engine) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  if (coupon_read_stats(engine, &stats) != COUPON_OK) return false;
  struct coupon_ticket last = COUPON_TICKET_INIT;
  last.lsn = stats.reserved_lsn;
  last.answer = COUPON_SOLD_OUT;
  return coupon_wait(engine, &last, COUPON_FOREVER) == COUPON_OK;
}

/* Runs the threads and prints a row; `ceiling` is the counter's rate, or 0 for the counter's own row. */
static bool run_row(const char *name, coupon_engine *engine, bool waits, uint64_t users, int threads, double *rate,
                    double ceiling) {
  static struct worker workers[THREADS_MAX];
  uint32_t *samples = calloc(users / SAMPLE_EVERY + THREADS_MAX * 2, sizeof *samples);
  if (samples == NULL) return false;
  uint64_t next = 0, issued = 0, other = 0, sample_count = 0;
  uint32_t *at = samples;
  atomic_store(&waiting, threads);
  uint64_t begin = now_ns();
  for (int i = 0; i < threads; i++) {
    uint64_t share = users / (uint64_t)threads + ((uint64_t)i < users % (uint64_t)threads);
    workers[i] =
        (struct worker){.engine = engine, .waits = waits, .first_user = next, .users = share, .samples_ns = at};
    next += share;
    at += share / SAMPLE_EVERY + 1;
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) abort();
  }
  for (int i = 0; i < threads; i++) {
    pthread_join(workers[i].thread, NULL);
    issued += workers[i].issued;
    other += workers[i].other;
    memmove(samples + sample_count, workers[i].samples_ns, workers[i].sample_count * sizeof *samples);
    sample_count += workers[i].sample_count;
  }
  bool good = engine == NULL || (all_final(engine) && issued == users && other == 0);
  double seconds = (double)(now_ns() - begin) / 1e9;
  good = good && (engine == NULL || tickets_are_whole(engine, users));
  *rate = (double)users / seconds;
  qsort(samples, sample_count, sizeof *samples, compare);
  printf("%-36s %9.3f %9.1f%% %9" PRIu32 " %9" PRIu32 " %9" PRIu32 "  %s\n", name, *rate / 1e6,
         ceiling > 0 ? 100 * *rate / ceiling : 100.0, samples[sample_count / 2], samples[sample_count * 99 / 100],
         samples[sample_count * 999 / 1000], good ? "ok" : "CHECK FAILED");
  free(samples);
  return good;
}

static coupon_engine *open_engine(const char *directory, uint64_t users) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.durability = directory == NULL ? COUPON_NONE : COUPON_SYNC;
  coupon_engine *engine;
  struct coupon_report report = COUPON_REPORT_INIT;
  if (coupon_open(directory, &options, &engine, &report) != COUPON_OK) {
    fprintf(stderr, "%s\n", report.message);
    return NULL;
  }
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = 1;
  spec.stock = users;
  if (coupon_create(engine, &spec, COUPON_FOREVER) == COUPON_OK) return engine;
  (void)coupon_destroy(engine);
  return NULL;
}

static bool run_engine_row(const char *name, const char *directory, bool waits, uint64_t users, int threads,
                           double ceiling) {
  coupon_engine *engine = open_engine(directory, users);
  if (engine == NULL) return false;
  double rate;
  bool good = run_row(name, engine, waits, users, threads, &rate, ceiling);
  return coupon_destroy(engine) == COUPON_OK && good;
}

/* How often a disk takes a block and says that it is durable, one at a time, in a file of zeros beside the log. */
static bool run_sync_row(const char *path, uint64_t times, double *rate) {
  static unsigned char zeros[512 * 1024], block[512];
  int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return false;
  bool good = write(file, zeros, sizeof zeros) == (ssize_t)sizeof zeros && fdatasync(file) == 0;
  uint64_t begin = now_ns();
  for (uint64_t i = 0; i < times && good; i++) {
    block[0] = (unsigned char)(i + 1);
    off_t at = (off_t)(i % (sizeof zeros / sizeof block) * sizeof block);
    good = pwrite(file, block, sizeof block, at) == (ssize_t)sizeof block && fdatasync(file) == 0;
  }
  *rate = (double)times / ((double)(now_ns() - begin) / 1e9);
  (void)close(file);
  (void)unlink(path);
  printf("%-36s %9.4f %9.1f%%\n", "a write and a sync, one at a time", *rate / 1e6, 100.0);
  return good;
}

static bool run_disk_rows(const char *directory, uint64_t users, int threads, double ceiling) {
  char one[512], many[512], raw[512];
  (void)snprintf(one, sizeof one, "%s.one", directory);
  (void)snprintf(many, sizeof many, "%s.many", directory);
  (void)snprintf(raw, sizeof raw, "%s.raw", directory);
  bool good = run_engine_row("coupon_try_issue, until all is final", directory, false, users, threads, ceiling);
  uint64_t waited = users < SYNCS_MAX ? users : SYNCS_MAX;
  double syncs = 0;
  good &= run_sync_row(raw, waited, &syncs);
  good &= run_engine_row("coupon_issue, waiting, 1 thread", one, true, waited, 1, syncs);
  good &= run_engine_row("coupon_issue, waiting, 64 threads", many, true, waited * 16, THREADS_MAX, syncs);
  return good;
}

int main(int count, char **arguments) {
  uint64_t users = 1000000;
  int threads = 2;
  const char *directory = NULL;
  for (int i = 1; i + 1 < count; i += 2) {
    if (strcmp(arguments[i], "--users") == 0) users = strtoull(arguments[i + 1], NULL, 10);
    if (strcmp(arguments[i], "--threads") == 0) threads = atoi(arguments[i + 1]);
    if (strcmp(arguments[i], "--dir") == 0) directory = arguments[i + 1];
  }
  if (count % 2 == 0 || users < 1 || threads < 1 || threads > THREADS_MAX) {
    fprintf(stderr, "usage: perf_issue [--users N] [--threads 1…%d] [--dir NEW_DIRECTORY]\n", THREADS_MAX);
    return 2;
  }
  struct utsname machine;
  uname(&machine);
  printf("%s %s, %ld processors, libcoupon %s, %" PRIu64 " users, %d threads\n", machine.sysname, machine.machine,
         sysconf(_SC_NPROCESSORS_ONLN), coupon_version(), users, threads);
  printf("%-36s %9s %10s %9s %9s %9s\n", "", "M/s", "of limit", "p50 ns", "p99 ns", "p99.9 ns");
  double ceiling;
  /* More turns: the counter is so much faster that starting the threads would count. */
  bool good = run_row("a shared counter", NULL, false, users * COUNTER_TURNS, threads, &ceiling, 0);
  good &= run_engine_row("coupon_try_issue, in memory", NULL, false, users, threads, ceiling);
  if (directory != NULL) good &= run_disk_rows(directory, users, threads, ceiling);
  return good ? 0 : 1;
}
