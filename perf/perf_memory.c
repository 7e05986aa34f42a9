/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much memory does a holder take, and how much a campaign that nobody has come to?
 *
 * Counted by the library (what its campaigns, claims and tickets hold, room for more included) and by the kernel (how
 * much more of the process is resident). Each measurement is a process of its own, so that none is told memory that
 * an earlier one has freed. cds_lfht beside it is measured in the same way; its nodes come from one array, without
 * what malloc() would add to each.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rival.h"
#include "sale.h"

struct setup {
  const char *kind; /* "u64" or "UUID" */
  bool uuid, presized, logged;
  double target; /* bytes per holder */
};

/* Bytes. What a child measures, in memory that it shares with its parent. */
struct measured {
  uint64_t counted, resident, peak, claims, tickets;
  double before, sold; /* of a small campaign */
  bool good, timed_out;
};

struct task {
  struct bench *bench;
  const struct setup *setup;
  uint64_t users;
  int threads;
  unsigned seconds; /* after which it is given up; 0: never */
};

/* In a process of its own; false: it failed. */
static bool measure_apart(void (*measure)(const struct task *task, struct measured *result), const struct task *task,
                          struct measured *result) {
  struct measured *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  *result = (struct measured){0};
  if (shared == MAP_FAILED) return false;
  (void)fflush(NULL); /* or the child would print it once more */
  pid_t child = fork();
  if (child == 0) {
    (void)alarm(task->seconds);
    measure(task, shared);
    _exit(0);
  }
  int status = 1;
  bool good = child > 0 && waitpid(child, &status, 0) == child && status == 0 && shared->good;
  *result = *shared;
  result->timed_out = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
  (void)munmap(shared, sizeof *shared);
  return good;
}

/* ---- holders ---- */

static void measure_holders(const struct task *task, struct measured *result) {
  const struct setup *setup = task->setup;
  char path[BENCH_PATH_MAX];
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct sale_job job = {.users = task->users, .uuid = setup->uuid};
  job.engine = sale_open(setup->logged ? sale_path(task->bench, "log", path) : NULL, COUPON_WRITTEN);
  uint64_t counted = sale_memory_bytes(job.engine), resident = bench_resident();
  uint64_t stock = setup->presized ? task->users : COUPON_STOCK_MAX, prepare = setup->presized ? task->users : 0;
  if (setup->uuid)
    sale_create_uuid(job.engine, 1, stock, prepare);
  else
    sale_create(job.engine, 1, stock, prepare);
  (void)sale_run(&job, task->threads);
  result->good = sale_all_final(job.engine) && job.issued == job.users;
  result->counted = sale_memory_bytes(job.engine) - counted;
  result->resident = bench_resident() - resident;
  result->peak = bench_resident_peak() - resident;
  result->good = result->good && coupon_info(job.engine, 1, &info) == COUPON_OK;
  result->good = result->good && sale_is_whole(job.engine, 1, job.users);
  result->claims = info.claim_bytes;
  result->tickets = info.ticket_bytes;
  sale_close(job.engine, setup->logged ? path : NULL);
}

#ifdef PERF_HAS_RCU
static void measure_rcu(const struct task *task, struct measured *result) {
  uint64_t resident = bench_resident(), numbers = 0;
  struct rival_rcu *sale = rival_rcu_create(task->users, task->setup->presized);
  rival_rcu_enter();
  for (uint64_t i = 0; i < task->users; i++) numbers += rival_rcu_issue(sale, bench_user(i), i);
  rival_rcu_leave();
  result->resident = bench_resident() - resident;
  result->good = numbers == task->users * (task->users + 1) / 2;
  rival_rcu_destroy(sale);
}
#endif

/* It takes seconds. But it has happened that the thread which is to resize a table that grows slept on (liburcu 0.13),
 * and ten million users in a table of a few slots take for ever. */
#define RCU_SECONDS 120
#define RCU_ATTEMPTS 3

/* Resident bytes per user of cds_lfht; 0: not to be had. */
static double rcu_bytes(struct bench *bench, uint64_t users, bool presized) {
#ifdef PERF_HAS_RCU
  static const struct setup setups[] = {{.presized = false}, {.presized = true}};
  struct task task = {.bench = bench, .setup = &setups[presized], .users = users, .seconds = RCU_SECONDS};
  struct measured measured = {.timed_out = true};
  bool good = false;
  for (int i = 0; i < RCU_ATTEMPTS && measured.timed_out; i++) good = measure_apart(measure_rcu, &task, &measured);
  if (measured.timed_out) return 0;
  (void)bench_check(bench, good, "cds_lfht's numbers are 1 to N");
  return (double)measured.resident / (double)users;
#else
  (void)bench, (void)users, (void)presized;
  return 0;
#endif
}

static void row_bytes(struct bench *bench, const struct task *task, const char *what, uint64_t bytes, double rcu,
                      enum bench_rule rule) {
  const struct setup *setup = task->setup;
  char name[96];
  (void)snprintf(name, sizeof name, "%s %s %s: %s", setup->kind, setup->presized ? "prepared" : "growing",
                 setup->logged ? "written" : "none", what);
  struct bench_row row = {.name = name, .users = task->users, .threads = task->threads, .unit = "B/user"};
  row.value = (double)bytes / (double)task->users;
  row.limit = rcu;
  row.beside = "cds_lfht, resident";
  row.rule = rule;
  row.target = setup->target;
  bench_row(bench, &row);
}

static void run_holders(struct bench *bench, const struct setup *setup, uint64_t users, double rcu) {
  struct task task = {.bench = bench, .setup = setup, .users = users, .threads = 1};
  struct measured measured;
  if (!bench_check(bench, measure_apart(measure_holders, &task, &measured), "the tickets are 1 to N")) return;
  row_bytes(bench, &task, "counted", measured.counted, rcu, BENCH_AT_MOST);
  row_bytes(bench, &task, "resident", measured.resident, rcu, BENCH_AT_MOST);
  row_bytes(bench, &task, "of which claims", measured.claims, 0, BENCH_NO_TARGET);
  row_bytes(bench, &task, "of which tickets", measured.tickets, 0, BENCH_NO_TARGET);
  uint64_t named = measured.claims + measured.tickets;
  row_bytes(bench, &task, "resident beyond both", measured.resident > named ? measured.resident - named : 0, 0,
            BENCH_NO_TARGET);
  row_bytes(bench, &task, "highest resident", measured.peak, 0, BENCH_NO_TARGET);
}

/* ---- small campaigns ---- */

#define SMALL_CAMPAIGNS UINT64_C(1000)
#define SMALL_STOCK UINT64_C(100)

static void measure_small(const struct task *task, struct measured *result) {
  uint64_t campaigns = task->users;
  struct sale_job job = {.users = campaigns * SMALL_STOCK, .campaigns = campaigns};
  job.engine = sale_open(NULL, COUPON_NONE);
  uint64_t empty = sale_memory_bytes(job.engine);
  for (uint64_t i = 1; i <= campaigns; i++) sale_create(job.engine, i, SMALL_STOCK, 0);
  uint64_t created = sale_memory_bytes(job.engine);
  /* In turn, and each thread its part of the users: so every thread issues in every campaign. */
  (void)sale_run(&job, task->threads);
  result->before = (double)(created - empty) / (double)campaigns;
  result->sold = (double)(sale_memory_bytes(job.engine) - empty) / (double)campaigns;
  result->good = job.issued == job.users;
  for (uint64_t i = 1; i <= campaigns && result->good; i++) result->good = sale_is_whole(job.engine, i, SMALL_STOCK);
  sale_close(job.engine, NULL);
}

static void run_small(struct bench *bench, int threads) {
  struct task task = {.bench = bench, .users = bench->quick ? SMALL_CAMPAIGNS / 20 : SMALL_CAMPAIGNS};
  struct measured measured;
  task.threads = threads;
  if (!bench_check(bench, measure_apart(measure_small, &task, &measured), "each campaign sells its stock")) return;
  struct bench_row row = {.name = "a campaign of 100, before the first", .users = task.users, .threads = threads};
  row.unit = "B";
  row.value = measured.before;
  row.rule = BENCH_AT_MOST;
  row.target = 2048;
  bench_row(bench, &row);
  row.name = "a campaign of 100, sold out";
  row.value = measured.sold;
  row.target = 5120;
  bench_row(bench, &row);
}

/* The stretch for prepared users of 8 bytes is 24: a wish, so it is not judged. */
static const struct setup setups[] = {
    {"u64", false, true, false, 28},  {"u64", false, false, false, 36}, {"UUID", true, true, false, 40},
    {"UUID", true, false, false, 52}, {"u64", false, true, true, 28},   {"u64", false, false, true, 36},
    {"UUID", true, true, true, 40},   {"UUID", true, false, true, 52},
};

int main(int count, char **arguments) {
  struct bench bench;
  bench_begin(&bench, count, arguments, "perf_memory", "how much memory does a holder take?");
  uint64_t users = bench_size(&bench, BENCH_STANDARD);
  bench_head("a holder (stretch: 24 for u64, prepared)");
  if (!bench_skips(&bench, users)) {
    double presized = rcu_bytes(&bench, users, true), growing = rcu_bytes(&bench, users, false);
    for (size_t i = 0; i < sizeof setups / sizeof setups[0]; i++)
      run_holders(&bench, &setups[i], users, setups[i].presized ? presized : growing);
  }
  bench_head("a small campaign (mean of 1,000)");
  run_small(&bench, 1);
  run_small(&bench, bench.threads);
  return bench_end(&bench);
}
