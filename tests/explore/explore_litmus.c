/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the explorer's memory model is C11's, as far as it says: small programs from the literature, each with the
 * outcomes that are allowed. All of those have to appear, and no other.
 *
 * How: what a run's loads have read, and what is left in the end, is a number, one decimal digit each; the set of
 * numbers of all runs is compared with the one that is written here.
 */
#include "explore.h"

#include <stdio.h>
#include <stdlib.h>

#define OUTCOMES_MAX 64

static _Atomic uint32_t x, y;
static unsigned r[4];
static memory_order store, load; /* of the program at hand */
static bool finals;              /* x and y belong to the outcome */

static unsigned outcomes[OUTCOMES_MAX];
static int outcome_count;

static void setup(void) {
  atomic_init(&x, 0);
  atomic_init(&y, 0);
  for (int i = 0; i < 4; i++) r[i] = 0;
}

static void judge(void) {
  unsigned outcome = 0;
  if (finals) {
    outcome = atomic_load_explicit(&x, memory_order_relaxed) * 10 + atomic_load_explicit(&y, memory_order_relaxed);
  } else {
    for (int i = 0; i < 4; i++) outcome = outcome * 10 + r[i];
  }
  for (int i = 0; i < outcome_count; i++)
    if (outcomes[i] == outcome) return;
  EXPLORE_CHECK(outcome_count < OUTCOMES_MAX, "more outcomes than expected");
  outcomes[outcome_count++] = outcome;
}

/* gcc wants constant orders. */
static void put(_Atomic uint32_t *to, unsigned value) {
  if (store == memory_order_relaxed) atomic_store_explicit(to, value, memory_order_relaxed);
  if (store == memory_order_release) atomic_store_explicit(to, value, memory_order_release);
  if (store == memory_order_seq_cst) atomic_store_explicit(to, value, memory_order_seq_cst);
}
static unsigned get(_Atomic uint32_t *from) {
  if (load == memory_order_relaxed) return atomic_load_explicit(from, memory_order_relaxed);
  if (load == memory_order_acquire) return atomic_load_explicit(from, memory_order_acquire);
  return atomic_load_explicit(from, memory_order_seq_cst);
}
static void put_relaxed(_Atomic uint32_t *to, unsigned value) {
  atomic_store_explicit(to, value, memory_order_relaxed);
}
static unsigned get_relaxed(_Atomic uint32_t *from) { return atomic_load_explicit(from, memory_order_relaxed); }

/* --- the programs -------------------------------------------------------------------------------- */

static void store_buffering(int thread) {
  put(thread == 0 ? &x : &y, 1);
  r[thread] = get(thread == 0 ? &y : &x);
}

static void message_passing(int thread) {
  if (thread == 0) {
    put_relaxed(&x, 1);
    put(&y, 1);
  } else {
    r[0] = get(&y);
    r[1] = get_relaxed(&x);
  }
}

static void coherence(int thread) {
  if (thread == 0) {
    put(&x, 1);
  } else {
    r[0] = get(&x);
    r[1] = get(&x);
  }
}

static void load_buffering(int thread) {
  r[thread] = get(thread == 0 ? &x : &y);
  put(thread == 0 ? &y : &x, 1);
}

static void two_writers(int thread) {
  put(thread == 0 ? &x : &y, 1);
  put(thread == 0 ? &y : &x, 2);
}

static void two_readers(int thread) {
  if (thread < 2) {
    put(thread == 0 ? &x : &y, 1);
  } else {
    r[thread * 2 - 4] = get(thread == 2 ? &x : &y);
    r[thread * 2 - 3] = get(thread == 2 ? &y : &x);
  }
}

static void release_sequence(int thread) {
  if (thread == 0) {
    put_relaxed(&x, 1);
    put(&y, 1);
  } else if (thread == 1) {
    (void)atomic_fetch_add_explicit(&y, 1, memory_order_relaxed);
  } else {
    r[0] = get(&y);
    r[1] = get_relaxed(&x);
  }
}

/* A relaxed write may be seen before the seq_cst one in front of it, also by a seq_cst load. */
static void overtaking(int thread) {
  if (thread == 0) {
    put(&x, 1);
    put_relaxed(&y, 1);
  } else {
    r[0] = get_relaxed(&y);
    r[1] = get(&x);
  }
}

static void two_increments(int thread) { r[thread] = atomic_fetch_add_explicit(&x, 1, memory_order_relaxed); }

/* --- comparing ----------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
  unsigned left = *(const unsigned *)a, right = *(const unsigned *)b;
  return (left > right) - (left < right);
}

static void expect(const char *name, void (*run)(int), int threads, memory_order stores, memory_order loads,
                   const unsigned *allowed, int count) {
  struct explore_scenario scenario = {.name = name, .threads = threads, .setup = setup, .run = run, .judge = judge};
  store = stores;
  load = loads;
  outcome_count = 0;
  explore_passes(&scenario);
  qsort(outcomes, (size_t)outcome_count, sizeof *outcomes, by_value);
  bool same = outcome_count == count;
  for (int i = 0; same && i < count; i++) same = outcomes[i] == allowed[i];
  if (same) return;
  printf("WRONG: %s: got", name);
  for (int i = 0; i < outcome_count; i++) printf(" %u", outcomes[i]);
  printf("\n");
  exit(1);
}

#define RELAXED memory_order_relaxed, memory_order_relaxed
#define RELEASE memory_order_release, memory_order_acquire
#define SEQ_CST memory_order_seq_cst, memory_order_seq_cst
#define OUTCOMES(...) (const unsigned[]){__VA_ARGS__}, (int)(sizeof((unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

int main(void) {
  expect("store buffering, release", store_buffering, 2, RELEASE, OUTCOMES(0, 100, 1000, 1100));
  expect("store buffering, seq_cst", store_buffering, 2, SEQ_CST, OUTCOMES(100, 1000, 1100));
  expect("store buffering, stores only release", store_buffering, 2, memory_order_release, memory_order_seq_cst,
         OUTCOMES(0, 100, 1000, 1100));
  expect("message passing, relaxed", message_passing, 2, RELAXED, OUTCOMES(0, 100, 1000, 1100));
  expect("message passing, release", message_passing, 2, RELEASE, OUTCOMES(0, 100, 1100));
  expect("message passing, no acquire", message_passing, 2, memory_order_release, memory_order_relaxed,
         OUTCOMES(0, 100, 1000, 1100));
  expect("coherence", coherence, 2, RELAXED, OUTCOMES(0, 100, 1100));
  /* C11 would allow 1100 as well: the reordering that is not explored. */
  expect("load buffering", load_buffering, 2, RELAXED, OUTCOMES(0, 100, 1000));
  expect("release sequence", release_sequence, 3, RELEASE, OUTCOMES(0, 100, 1000, 1100, 2100));
  expect("overtaking", overtaking, 2, SEQ_CST, OUTCOMES(0, 100, 1000, 1100));
  expect("two increments", two_increments, 2, RELAXED, OUTCOMES(100, 1000));
  /* All but the one where the readers disagree: 1 0 1 0. */
  expect("two writers, two readers, seq_cst", two_readers, 4, SEQ_CST,
         OUTCOMES(0, 1, 10, 11, 100, 101, 110, 111, 1000, 1001, 1011, 1100, 1101, 1110, 1111));
  expect("two writers, two readers, release", two_readers, 4, RELEASE,
         OUTCOMES(0, 1, 10, 11, 100, 101, 110, 111, 1000, 1001, 1010, 1011, 1100, 1101, 1110, 1111));
  finals = true;
  expect("two writers each, release", two_writers, 2, RELEASE, OUTCOMES(11, 12, 21, 22));
  expect("two writers each, seq_cst", two_writers, 2, SEQ_CST, OUTCOMES(12, 21, 22));
  return 0;
}
