/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timing one call: the processor's cycle counter where it is steady and cheaper than CLOCK_MONOTONIC, and that
 * clock elsewhere. What the timer itself costs is measured, printed, and not subtracted: percentiles of a
 * difference are not differences of percentiles.
 */
#ifndef PERF_TIMER_H
#define PERF_TIMER_H

#include "bench.h"
#include "histogram.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

struct timer {
  bool cycles;        /* the cycle counter; else CLOCK_MONOTONIC */
  double ns_per_tick; /* 1 for CLOCK_MONOTONIC */
  double cost_ns;     /* median of two readings one right after the other */
};

/* Calibrates for some tens of milliseconds. */
void timer_init(struct timer *timer);
/* A row with the timer's kind and cost. */
void timer_row(const struct timer *timer, struct bench *bench);

static inline uint64_t timer_ticks(const struct timer *timer) {
#if defined(__x86_64__)
  unsigned processor;
  /* Waits for the instructions before it, so a call's end is not read too early. */
  if (timer->cycles) return __rdtscp(&processor);
#endif
  (void)timer;
  return bench_now_ns();
}

/* A histogram holds ticks; this tells nanoseconds. */
static inline double timer_quantile(const struct timer *timer, const struct histogram *histogram, double percent) {
  return (double)histogram_quantile(histogram, percent / 100) * timer->ns_per_tick;
}

/* Histograms for so many threads, zeroed; timer_merged() adds all to the first, and returns it. */
struct histogram *timer_histograms(int threads);
struct histogram *timer_merged(struct histogram *histograms, int threads);

#endif
