/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Would it pay to lease units to threads?
 *
 * With a log each issue moves two words that all threads share: the tail of the log and the campaign's stock. A lease
 * would leave only the tail: a thread takes some units at a time from the stock into a cell of its own, and gives them
 * out from there. What that could bring at most is measured here without the library: a random exchange (the claim),
 * the tail, and the stock, as one word, leased, or left out. The leases here do only what costs each call something (an
 * exchange of the cell, checked by its epoch); refusals, which would have to look at every cell, are free.
 *
 * Without a log the question does not arise: the unit taken gives the ticket its number, and numbers are in order.
 */
#include <stdatomic.h>
#include <string.h>

#include "bench.h"

#define LEASED UINT64_C(64)                 /* units taken into a cell at a time */
#define REMAINING ((UINT64_C(1) << 41) - 1) /* of a word: units; above them the epoch */
#define RECORD_SIZE UINT64_C(24)
#define LINE 64
#define IN_CACHES (UINT64_C(1) << 12)     /* entries of a thread's table that stays in its first cache */
#define BEYOND_CACHES (UINT64_C(1) << 24) /* lines: a GiB */
#define CALLS (4 * BENCH_MILLION)

enum stock_kind { NO_STOCK, ONE_WORD, LEASES };

struct shared {
  _Alignas(LINE) _Atomic uint64_t tail;
  _Alignas(LINE) _Atomic uint64_t word;
  struct {
    _Alignas(LINE) _Atomic uint64_t cell;
    uint64_t refills; /* of its thread */
  } own[BENCH_THREADS_MAX];
};

struct run {
  struct shared shared;
  enum stock_kind kind;
  uint64_t calls; /* of each thread */
  uint64_t lines; /* of the table of claims */
  _Atomic uint64_t *table;
};

/* One unit from a word, if its epoch is still the one it was read with: seq_cst, as in the library. */
static void take(_Atomic uint64_t *word, uint64_t units) {
  uint64_t seen = atomic_load_explicit(word, memory_order_seq_cst);
  while (
      !atomic_compare_exchange_strong_explicit(word, &seen, seen - units, memory_order_seq_cst, memory_order_seq_cst)) {
  }
}

static void take_leased(struct shared *shared, int thread) {
  _Atomic uint64_t *cell = &shared->own[thread].cell;
  if ((atomic_load_explicit(cell, memory_order_seq_cst) & REMAINING) == 0) {
    take(&shared->word, LEASED);
    atomic_fetch_add_explicit(cell, LEASED, memory_order_seq_cst);
    shared->own[thread].refills++;
  }
  take(cell, 1);
}

static void reserve(struct shared *shared) {
  uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_seq_cst);
  while (!atomic_compare_exchange_strong_explicit(&shared->tail, &tail, tail + RECORD_SIZE, memory_order_seq_cst,
                                                  memory_order_seq_cst)) {
  }
}

static void body(void *context, int thread) {
  struct run *run = context;
  struct shared *shared = &run->shared;
  for (uint64_t i = 0; i < run->calls; i++) {
    uint64_t at = bench_below(bench_mix(i << 8 | (uint64_t)thread), run->lines);
    _Atomic uint64_t *claim = &run->table[at * (LINE / 8)];
    uint64_t seen = atomic_load_explicit(claim, memory_order_seq_cst);
    (void)atomic_compare_exchange_strong_explicit(claim, &seen, seen + 1, memory_order_seq_cst, memory_order_seq_cst);
    reserve(shared);
    if (run->kind == ONE_WORD) take(&shared->word, 1);
    if (run->kind == LEASES) take_leased(shared, thread);
    atomic_store_explicit(claim, i, memory_order_release);
  }
}

/* Million calls a second of all threads. Checks that every call moved the tail, and took what it had to. */
static double measure(struct bench *bench, struct run *run, enum stock_kind kind, int threads) {
  double rates[BENCH_ROUNDS_MAX];
  for (int round = 0; round < bench->rounds; round++) {
    memset(&run->shared, 0, sizeof run->shared);
    run->kind = kind;
    atomic_init(&run->shared.word, REMAINING);
    rates[round] = (double)run->calls * threads / bench_run(threads, body, run) / 1e6;
    const uint64_t calls = run->calls * (uint64_t)threads;
    uint64_t left = atomic_load_explicit(&run->shared.word, memory_order_relaxed); /* relaxed: the threads have ended */
    for (int i = 0; i < threads; i++) left += atomic_load_explicit(&run->shared.own[i].cell, memory_order_relaxed);
    bench_check(bench, left == REMAINING - (kind == NO_STOCK ? 0 : calls), "every call took one unit");
    bench_check(bench, atomic_load_explicit(&run->shared.tail, memory_order_relaxed) == calls * RECORD_SIZE,
                "every call reserved one place");
  }
  return bench_median(rates, bench->rounds);
}

static void compare(struct bench *bench, struct run *run, const char *where, int threads) {
  char name[64];
  double one_word = measure(bench, run, ONE_WORD, threads);
  double leased = measure(bench, run, LEASES, threads);
  double none = measure(bench, run, NO_STOCK, threads);
  (void)snprintf(name, sizeof name, "%s: one word", where);
  bench_row(bench, &(struct bench_row){.name = name, .threads = threads, .value = one_word, .unit = "M/s"});
  (void)snprintf(name, sizeof name, "%s: leased", where);
  bench_row(
      bench,
      &(struct bench_row){
          .name = name, .threads = threads, .value = leased, .unit = "M/s", .limit = one_word, .beside = "one word"});
  (void)snprintf(name, sizeof name, "%s: no stock at all", where);
  bench_row(
      bench,
      &(struct bench_row){
          .name = name, .threads = threads, .value = none, .unit = "M/s", .limit = one_word, .beside = "one word"});
}

int main(int count, char **arguments) {
  struct bench bench;
  static struct run run;
  bench_begin(&bench, count, arguments, "perf_lease", "would it pay to lease units to threads?");
  run.calls = bench.quick ? 20000 : CALLS;
  const uint64_t beyond = bench.quick ? IN_CACHES * 4 : BEYOND_CACHES;
  run.table = bench_map(beyond * LINE);
  for (int threads = 1; threads <= bench.threads; threads *= 2) {
    bench_head(threads == 1 ? "one thread" : "threads that share the tail");
    run.lines = IN_CACHES / (LINE / 8);
    compare(&bench, &run, "claims in the caches", threads);
    run.lines = beyond;
    compare(&bench, &run, "claims beyond them", threads);
  }
  bench_unmap((void *)run.table, beyond * LINE);
  return bench_end(&bench);
}
