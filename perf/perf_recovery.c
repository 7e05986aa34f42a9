/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How soon is a sale back? A directory of ten million tickets of one campaign, and one of a hundred million, is opened
 * again: on one processor and on two, from the page cache and from the disk.
 *
 * No opening can do less than read the log's files and write to the memory that the tickets then lie in; both are
 * measured in each round, right before the opening, the memory by touching as much as the engine will hold. What the
 * system has to do for memory that nobody had before differs a lot, on virtual machines above all. A third row says
 * what a random exchange for each ticket costs, in threads that do nothing else: what two processors are worth where
 * memory is what they wait for.
 */
#include <sched.h>

#include "machine.h"
#include "store.h"

#define COLD_RATIO 2.0
#define WARM_RATE_ONE 45.0
#define WARM_RATE_TWO 60.0
#define BYTES_U64 24.0
#define BYTES_UUID 32.0

/* ---- on one processor, on two ---- */

static cpu_set_t all_processors;

/* This thread and those that it starts. */
static void use_processors(int count) {
  cpu_set_t set = all_processors;
  int taken = 0;
  for (size_t i = 0; i < CPU_SETSIZE; i++) {
    if (CPU_ISSET(i, &set) && taken++ >= count) CPU_CLR(i, &set);
  }
  (void)sched_setaffinity(0, sizeof set, &set);
}

struct times {
  double reading[BENCH_ROUNDS_MAX], touching[BENCH_ROUNDS_MAX], both[BENCH_ROUNDS_MAX], opening[BENCH_ROUNDS_MAX];
};

static void take_round(struct bench *bench, struct store *store, struct times *times, int round, bool cold) {
  if (cold) store_forget(store);
  times->reading[round] = store_time_reading(store, STORE_LOG);
  times->touching[round] = store_time_touching(store);
  times->both[round] = times->reading[round] + times->touching[round];
  if (cold) store_forget(store);
  times->opening[round] = store_time_opening(bench, store, NULL);
}

static void take_rounds(struct bench *bench, struct store *store, struct times *times, int rounds, bool cold,
                        int processors) {
  use_processors(processors);
  (void)store_time_reading(store, STORE_LOG);
  for (int i = 0; i < rounds; i++) take_round(bench, store, times, i, cold);
  (void)sched_setaffinity(0, sizeof all_processors, &all_processors);
}

static void row_of_rate(struct bench *bench, const struct store *store, const char *name, int processors,
                        double seconds) {
  struct bench_row row = {.name = name, .users = store->tickets, .threads = processors, .unit = "M/s"};
  row.value = (double)store->tickets / seconds / 1e6;
  bench_row(bench, &row);
}

/* What a table costs that is filled in the order in which users came. No limit of ours: claims are sorted before. */
static void row_of_exchanges(struct bench *bench, const struct store *store, int processors) {
  struct machine_words words;
  machine_words_init(&words, store->tickets);
  const double rate = machine_prefetched_cas(&words, store->tickets / (uint64_t)processors, processors);
  machine_words_fini(&words);
  struct bench_row row = {.name = "a prefetched random exchange each", .users = store->tickets, .unit = "M/s"};
  row.threads = processors;
  row.value = rate;
  bench_row(bench, &row);
}

static void run_warm(struct bench *bench, struct store *store, int processors) {
  struct times times;
  const int rounds = bench_rounds(bench, store->tickets);
  take_rounds(bench, store, &times, rounds, false, processors);
  const double millions = (double)store->tickets / 1e6;
  row_of_rate(bench, store, "warm, reading the files", processors, bench_median(times.reading, rounds));
  row_of_rate(bench, store, "warm, first touch of the memory", processors, bench_median(times.touching, rounds));
  row_of_exchanges(bench, store, processors);
  struct bench_row row = {.name = "warm, opening", .users = store->tickets, .threads = processors, .unit = "M/s"};
  row.value = millions / bench_median(times.opening, rounds);
  row.limit = millions / bench_median(times.both, rounds);
  row.beside = "reading, then touching, one thread";
  row.rule = BENCH_AT_LEAST;
  row.target = processors == 1 ? WARM_RATE_ONE : WARM_RATE_TWO;
  bench_row(bench, &row);
}

static void run_cold(struct bench *bench, struct store *store, int processors) {
  struct times times;
  const int rounds = bench_rounds(bench, store->tickets);
  take_rounds(bench, store, &times, rounds, true, processors);
  struct bench_row row = {.name = "cold, opening", .users = store->tickets, .threads = processors, .unit = "s"};
  row.value = bench_median(times.opening, rounds);
  row.limit = bench_median(times.reading, rounds);
  row.beside = "cold, reading the files";
  row.rule = BENCH_RATIO_AT_MOST;
  row.target = COLD_RATIO;
  bench_row(bench, &row);
}

static void row_of_bytes(struct bench *bench, const struct store *store, const char *name, double target) {
  struct store_files files = store_look(store);
  struct bench_row row = {.name = name, .users = store->tickets, .unit = "B", .rule = BENCH_AT_MOST, .target = target};
  row.value = (double)files.frames / (double)store->tickets;
  bench_row(bench, &row);
  printf("  %llu tickets in %llu bytes of frames: records, headers, padding\n", (unsigned long long)store->tickets,
         (unsigned long long)files.frames);
}

static void run_size(struct bench *bench, uint64_t standard) {
  struct store store;
  const uint64_t tickets = bench_size(bench, standard);
  if (bench_skips(bench, tickets)) return;
  store_make(bench, &store, "log", tickets, false);
  row_of_bytes(bench, &store, "log on disk per issue, 8 bytes", BYTES_U64);
  store.memory_bytes = 0;
  (void)store_time_opening(bench, &store, NULL); /* how much memory it holds */
  for (int processors = 1; processors <= 2; processors++) run_warm(bench, &store, processors);
  for (int processors = 1; processors <= 2; processors++) run_cold(bench, &store, processors);
  bench_remove_directory(store.path);
}

static void run_uuid(struct bench *bench) {
  struct store store;
  const uint64_t tickets = bench_size(bench, BENCH_STANDARD);
  if (bench_skips(bench, tickets)) return;
  store_make(bench, &store, "log", tickets, true);
  row_of_bytes(bench, &store, "log on disk per issue, 16 bytes", BYTES_UUID);
  bench_remove_directory(store.path);
}

int main(int count, char **arguments) {
  struct bench bench;
  bench_begin(&bench, count, arguments, "perf_recovery", "how soon is a sale back?");
  if (sched_getaffinity(0, sizeof all_processors, &all_processors) != 0) return 1;
  bench_head("users of 8 bytes");
  run_size(&bench, BENCH_STANDARD);
  run_size(&bench, 10 * BENCH_STANDARD);
  bench_head("users of 16 bytes");
  run_uuid(&bench);
  return bench_end(&bench);
}
