/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all programs of perf/ share: arguments, the head that says on what was measured, rows with their target and
 * verdict, checks, threads that begin together, memory for the machine's limits, and users.
 *
 * A program asks one question. It measures the machine's limit in the same run, because a figure without one says
 * more about the machine than about the library. Missing a target is an answer, and leaves the status 0; a failed
 * check makes it 1, because what was measured then was not the sale.
 */
#ifndef PERF_BENCH_H
#define PERF_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { BENCH_THREADS_MAX = 1100, BENCH_ROUNDS_MAX = 9, BENCH_PATH_MAX = 512 };

/* Numbers of users that targets are said for. --users N scales them all: N stands for ten million. */
#define BENCH_MILLION UINT64_C(1000000)
#define BENCH_STANDARD (10 * BENCH_MILLION)

struct bench {
  const char *program;
  bool quick;            /* tiny, to see that the program works: no verdicts */
  uint64_t users;        /* what stands for ten million */
  uint64_t max_users;    /* rows of more are skipped */
  int threads;           /* where a row does not say how many */
  int rounds;            /* of each measurement; a row shows the median */
  const char *directory; /* an existing one, for logs */
  FILE *json;
  unsigned oks, misses, failed_checks;
};

/* Reads the arguments and prints the head; exits with status 2 on bad ones. */
void bench_begin(struct bench *bench, int count, char **arguments, const char *program, const char *question);
/* The program's exit status. */
int bench_end(struct bench *bench);

/* How many users stand for `standard` in this run. */
uint64_t bench_size(const struct bench *bench, uint64_t standard);
/* Whether that is too many for this run; then says so. */
bool bench_skips(const struct bench *bench, uint64_t users);
/* One round where a measurement takes long enough by itself. */
int bench_rounds(const struct bench *bench, uint64_t users);

enum bench_rule { BENCH_NO_TARGET, BENCH_AT_LEAST, BENCH_AT_MOST, BENCH_RATIO_AT_LEAST, BENCH_RATIO_AT_MOST };

struct bench_row {
  const char *name;
  uint64_t users;
  int threads;
  double value;
  const char *unit;
  double limit;       /* measured in the same run, in the same unit; 0: none */
  const char *beside; /* what that is */
  enum bench_rule rule;
  double target; /* of the value, or of value / limit */
  /* For pictures: the line this is a point of, and where on it. */
  const char *series;
  double percentile; /* in per cent; 0: not one */
};

void bench_head(const char *title);
void bench_row(struct bench *bench, const struct bench_row *row);
/* Returns `good`; says what failed otherwise. */
bool bench_check(struct bench *bench, bool good, const char *what);

/* Runs `body` on so many threads, which begin together; seconds from the first one's begin to the last one's end.
 * The calling thread only waits. */
typedef void bench_body(void *context, int thread);
double bench_run(int threads, bench_body *body, void *context);
/* Of a range 0 … total, the part that is a thread's: where it begins. The next thread's begin is its end. */
uint64_t bench_part(uint64_t total, int threads, int thread);

uint64_t bench_now_ns(void);
double bench_median(double *values, int count); /* sorts them */

/* Zeroed and touched memory, in huge pages if there are any: small ones would measure the TLB. Ends the program if
 * there is none. */
void *bench_map(size_t size);
void bench_unmap(void *memory, size_t size);

/* Resident memory of this process in bytes, now and at its highest. */
uint64_t bench_resident(void);
uint64_t bench_resident_peak(void);

/* "10 M", "5 k", "123"; "-" for 0. */
const char *bench_count_text(uint64_t count, char text[24]);

/* Removes a directory with all that is in it. */
void bench_remove_directory(const char *path);

/* Numbers in an order that no cache likes, distinct for distinct i: the finalizer of splitmix64 is a bijection. Only
 * i = 2^64 - 1 gives 0. */
static inline uint64_t bench_mix(uint64_t i) {
  uint64_t z = i + 1;
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static inline uint64_t bench_user(uint64_t i) { return bench_mix(i * UINT64_C(0x9e3779b97f4a7c15)); }

/* A number below `range` from a number that looks random: its high bits, without a division. */
static inline uint64_t bench_below(uint64_t random, uint64_t range) {
  uint64_t high = random >> 32, low = range & UINT32_MAX;
  return high * (range >> 32) + (high * low >> 32);
}

#endif
