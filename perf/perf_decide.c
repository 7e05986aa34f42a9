/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many issues a second are decided, and how close is that to what the machine can do?
 *
 * Beside one thread's single calls: random loads and exchanges on as much memory, one at a time, because each issue
 * has to find and change its user's claim; and the same with some instructions in between, because an issue is more
 * than that: it shows how far the processor looks ahead. Beside batches: the same with prefetching. Beside two threads:
 * the one thread of the same durability, and a counter that both move, which any order shared by all would need. And
 * what somebody would write without the library: a mutex and a table, liburcu's table and a counter.
 */
#include "machine.h"
#include "rival.h"
#include "sale.h"

#define TURNS_MAX (20 * BENCH_MILLION) /* of the machine's limits: most of a second */

static uint64_t turns_for(uint64_t users) { return users < TURNS_MAX ? users : TURNS_MAX; }

/* Each user got a ticket; its number was told, or will be: as many as users, 1 … N, each once. */
static void check_sold(struct bench *bench, struct sale_job *job, bool numbers_told) {
  uint64_t n = job->users;
  (void)bench_check(bench, job->issued == n, "every user is told ISSUED");
  (void)bench_check(bench, !numbers_told || job->numbers == n * (n + 1) / 2, "the numbers told are 1 to N");
  (void)bench_check(bench, sale_is_whole(job->engine, 1, n), "the tickets are 1 to N");
}

/* One sale of all users in memory, M/s. */
static double sell(struct bench *bench, uint64_t users, int threads, bool batches) {
  struct sale_job job = {.engine = sale_open(NULL, COUPON_NONE), .users = users, .batches = batches};
  sale_create(job.engine, 1, users, users);
  double rate = sale_rate(&job, threads);
  check_sold(bench, &job, true);
  sale_close(job.engine, NULL);
  return rate;
}

/* ---- rivals ---- */

struct rivals {
  struct rival_locked *locked;
#ifdef PERF_HAS_RCU
  struct rival_rcu *rcu;
#endif
  uint64_t users, numbers;
};

static void locked_body(void *context, int thread) {
  struct rivals *rivals = context;
  (void)thread;
  for (uint64_t i = 0; i < rivals->users; i++) rivals->numbers += rival_locked_issue(rivals->locked, bench_user(i));
}

static double sell_locked(struct bench *bench, uint64_t users) {
  struct rivals rivals = {.users = users, .locked = rival_locked_create(users)};
  double rate = (double)users / bench_run(1, locked_body, &rivals) / 1e6;
  (void)bench_check(bench, rivals.numbers == users * (users + 1) / 2, "the mutex's numbers are 1 to N");
  rival_locked_destroy(rivals.locked);
  return rate;
}

#ifdef PERF_HAS_RCU
static void rcu_body(void *context, int thread) {
  struct rivals *rivals = context;
  (void)thread;
  rival_rcu_enter();
  for (uint64_t i = 0; i < rivals->users; i++) rivals->numbers += rival_rcu_issue(rivals->rcu, bench_user(i), i);
  rival_rcu_leave();
}

static double sell_rcu(struct bench *bench, uint64_t users) {
  struct rivals rivals = {.users = users, .rcu = rival_rcu_create(users, true)};
  double rate = (double)users / bench_run(1, rcu_body, &rivals) / 1e6;
  (void)bench_check(bench, rivals.numbers == users * (users + 1) / 2, "cds_lfht's numbers are 1 to N");
  rival_rcu_destroy(rivals.rcu);
  return rate;
}
#else
static double sell_rcu(struct bench *bench, uint64_t users) {
  (void)bench;
  (void)users;
  return 0;
}
#endif

/* ---- one thread ---- */

struct size {
  uint64_t standard;
  double single_target, batch_target; /* M/s; 0: none */
  bool with_rcu;                      /* more would take minutes, most of them to free it */
};

static const struct size sizes[] = {
    {BENCH_MILLION, 25, 0, true},
    {BENCH_STANDARD, 18, 45, true},
    {10 * BENCH_STANDARD, 14, 42, false},
};

/* Medians, M/s. */
struct rates {
  double single, batch, locked, rcu, cas, apart, prefetched;
};

/* Rounds of everything in turn, so that what disturbs the machine for a while disturbs all of it. */
static struct rates measure(struct bench *bench, const struct size *size, uint64_t users, struct machine_words *words) {
  double v[7][BENCH_ROUNDS_MAX] = {{0}};
  int rounds = bench_rounds(bench, users);
  for (int i = 0; i < rounds; i++) {
    v[0][i] = sell(bench, users, 1, false);
    v[1][i] = machine_cas(words, turns_for(users), 1);
    v[2][i] = sell(bench, users, 1, true);
    v[3][i] = machine_prefetched_cas(words, turns_for(users), 1);
    v[4][i] = sell_locked(bench, users);
    v[6][i] = machine_cas_apart(words, turns_for(users));
    v[5][i] = size->with_rcu ? sell_rcu(bench, users) : 0;
  }
  return (struct rates){.single = bench_median(v[0], rounds),
                        .cas = bench_median(v[1], rounds),
                        .apart = bench_median(v[6], rounds),
                        .batch = bench_median(v[2], rounds),
                        .prefetched = bench_median(v[3], rounds),
                        .locked = bench_median(v[4], rounds),
                        .rcu = bench_median(v[5], rounds)};
}

static void run_single_rows(struct bench *bench, const struct size *size, uint64_t users, const struct rates *rates,
                            const struct machine_words *words) {
  char text[64];
  struct bench_row row = {.name = "single calls, in memory", .users = users, .threads = 1, .value = rates->single};
  row.unit = "M/s";
  row.series = "single calls";
  row.rule = BENCH_AT_LEAST;
  row.target = size->single_target;
  bench_row(bench, &row);
  row.series = NULL;
  row.limit = rates->cas;
  row.beside = machine_words_text(words, "random load + CAS", text);
  row.rule = BENCH_RATIO_AT_LEAST;
  row.target = 0.45;
  bench_row(bench, &row);
  row.rule = BENCH_NO_TARGET;
  row.limit = rates->apart;
  row.beside = "the same, 128 instructions apart";
  bench_row(bench, &row);
  row.limit = rates->locked;
  row.beside = "a mutex and an open-addressing table";
  bench_row(bench, &row);
  if (rates->rcu <= 0) return;
  row.limit = rates->rcu;
  row.beside = "cds_lfht, pre-sized, and a CAS counter";
  row.rule = users == bench_size(bench, BENCH_STANDARD) ? BENCH_RATIO_AT_LEAST : BENCH_NO_TARGET;
  row.target = 5;
  bench_row(bench, &row);
}

static void run_batch_rows(struct bench *bench, const struct size *size, uint64_t users, const struct rates *rates,
                           const struct machine_words *words) {
  char text[64];
  struct bench_row row = {.name = "batches of 32, in memory", .users = users, .threads = 1, .value = rates->batch};
  row.unit = "M/s";
  row.series = "batches of 32";
  row.rule = size->batch_target > 0 ? BENCH_AT_LEAST : BENCH_NO_TARGET;
  row.target = size->batch_target;
  bench_row(bench, &row);
  row.series = NULL;
  row.limit = rates->prefetched;
  row.beside = machine_words_text(words, "prefetched CAS", text);
  row.rule = size->batch_target > 0 ? BENCH_RATIO_AT_LEAST : BENCH_NO_TARGET;
  row.target = 0.5;
  bench_row(bench, &row);
}

/* The same figures as lines of a picture. */
static void run_rival_points(struct bench *bench, uint64_t users, const struct rates *rates) {
  struct bench_row row = {.name = "a mutex and an open-addressing table", .users = users, .threads = 1};
  row.unit = "M/s";
  row.value = rates->locked;
  row.series = "mutex and table";
  bench_row(bench, &row);
  row.name = "a random load + CAS";
  row.value = rates->cas;
  row.series = "random load + CAS";
  bench_row(bench, &row);
  if (rates->rcu <= 0) return;
  row.name = "cds_lfht, pre-sized, and a CAS counter";
  row.value = rates->rcu;
  row.series = "cds_lfht and CAS";
  bench_row(bench, &row);
}

/* Loads alone: what a call can hope for, by its length, that has to wait for one line. */
static void run_ahead_rows(struct bench *bench, uint64_t users, struct machine_words *words) {
  static const unsigned instructions[] = {0, 32, 64, 128, 256};
  for (size_t i = 0; i < sizeof instructions / sizeof instructions[0]; i++) {
    double rates[BENCH_ROUNDS_MAX];
    const int rounds = bench_rounds(bench, users);
    for (int round = 0; round < rounds; round++)
      rates[round] = machine_load_apart(words, turns_for(users), instructions[i]);
    char name[64];
    (void)snprintf(name, sizeof name, "a random load, %u instructions apart", instructions[i]);
    const struct bench_row row = {
        .name = name, .users = users, .threads = 1, .value = bench_median(rates, rounds), .unit = "M/s"};
    bench_row(bench, &row);
  }
}

static void run_one_thread(struct bench *bench) {
  bench_head("one thread");
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    uint64_t users = bench_size(bench, sizes[i].standard);
    if (bench_skips(bench, users)) continue;
    struct machine_words words;
    machine_words_init(&words, users);
    struct rates rates = measure(bench, &sizes[i], users, &words);
    run_single_rows(bench, &sizes[i], users, &rates, &words);
    run_batch_rows(bench, &sizes[i], users, &rates, &words);
    run_rival_points(bench, users, &rates);
    run_ahead_rows(bench, users, &words);
    machine_words_fini(&words);
  }
}

/* ---- several threads ---- */

/* One sale with a log, M/s, of calls that do not wait; `until_final`: of the same until the last one is durable. */
static double sell_logged(struct bench *bench, uint64_t users, int threads, double *until_final, double *busy) {
  char path[BENCH_PATH_MAX];
  struct sale_job job = {.users = users};
  job.engine = sale_open(sale_path(bench, "log", path), COUPON_SYNC);
  sale_create(job.engine, 1, users, users);
  double seconds = sale_run(&job, threads);
  uint64_t begin = bench_now_ns();
  (void)bench_check(bench, sale_all_final(job.engine), "all becomes final");
  *until_final = (double)users / (seconds + (double)(bench_now_ns() - begin) / 1e9) / 1e6;
  *busy = (double)job.busy / (double)users;
  check_sold(bench, &job, false);
  sale_close(job.engine, path);
  return (double)users / seconds / 1e6;
}

static void run_threads_in_memory(struct bench *bench, uint64_t users) {
  double one[BENCH_ROUNDS_MAX], many[BENCH_ROUNDS_MAX], counter[BENCH_ROUNDS_MAX], batch[BENCH_ROUNDS_MAX];
  for (int i = 0; i < bench->rounds; i++) {
    one[i] = sell(bench, users, 1, false);
    many[i] = sell(bench, users, bench->threads, false);
    counter[i] = machine_shared_counter(turns_for(users), bench->threads);
    batch[i] = sell(bench, users, bench->threads, true);
  }
  struct bench_row row = {.name = "single calls, in memory", .users = users, .threads = bench->threads};
  row.unit = "M/s";
  row.value = bench_median(many, bench->rounds);
  row.series = "single calls, threads";
  row.limit = bench_median(one, bench->rounds);
  row.beside = "one thread";
  row.rule = BENCH_RATIO_AT_LEAST;
  row.target = 1.6;
  bench_row(bench, &row);
  row.rule = BENCH_NO_TARGET;
  row.series = NULL;
  row.limit = bench_median(counter, bench->rounds);
  row.beside = "a shared fetch-add for each issue";
  bench_row(bench, &row);
  row.name = "batches of 32, in memory";
  row.value = bench_median(batch, bench->rounds);
  row.series = "batches of 32, threads";
  bench_row(bench, &row);
}

static void run_threads_logged(struct bench *bench, uint64_t users) {
  double one[BENCH_ROUNDS_MAX], many[BENCH_ROUNDS_MAX], one_final[BENCH_ROUNDS_MAX], many_final[BENCH_ROUNDS_MAX];
  double one_busy[BENCH_ROUNDS_MAX], many_busy[BENCH_ROUNDS_MAX];
  for (int i = 0; i < bench->rounds; i++) {
    one[i] = sell_logged(bench, users, 1, &one_final[i], &one_busy[i]);
    many[i] = sell_logged(bench, users, bench->threads, &many_final[i], &many_busy[i]);
  }
  struct bench_row row = {.name = "single calls, sync, not waiting", .users = users, .threads = 1, .unit = "M/s"};
  row.value = bench_median(one, bench->rounds);
  row.series = "single calls, sync";
  bench_row(bench, &row);
  row.series = "single calls, sync, threads";
  row.threads = bench->threads;
  row.limit = row.value;
  row.value = bench_median(many, bench->rounds);
  row.beside = "one thread, sync";
  row.rule = BENCH_RATIO_AT_LEAST;
  row.target = 1.4;
  bench_row(bench, &row);
  row.name = "the same until all is final";
  row.series = NULL;
  row.rule = BENCH_NO_TARGET;
  row.limit = bench_median(one_final, bench->rounds);
  row.value = bench_median(many_final, bench->rounds);
  bench_row(bench, &row);
  row.name = "answers of E_BUSY for each issue";
  row.unit = "";
  row.limit = bench_median(one_busy, bench->rounds);
  row.value = bench_median(many_busy, bench->rounds);
  bench_row(bench, &row);
}

int main(int count, char **arguments) {
  struct bench bench;
  bench_begin(&bench, count, arguments, "perf_decide", "how many issues a second are decided?");
  run_one_thread(&bench);
  uint64_t users = bench_size(&bench, BENCH_STANDARD);
  if (!bench_skips(&bench, users)) {
    bench_head("several threads");
    run_threads_in_memory(&bench, users);
    run_threads_logged(&bench, users);
  }
  return bench_end(&bench);
}
