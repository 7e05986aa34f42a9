/* SPDX-License-Identifier: Apache-2.0 */
#include "timer.h"

#include <stdlib.h>
#include <string.h>

#define CALIBRATION_NS UINT64_C(50000000)
#define COST_SAMPLES 20000

/* A counter that changes its pace or stops with the processor's sleep cannot tell time. */
static bool cycles_are_steady(void) {
#if defined(__x86_64__)
  static char line[8192];
  FILE *file = fopen("/proc/cpuinfo", "r");
  bool steady = false;
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (strncmp(line, "flags", 5) != 0) continue;
    steady = strstr(line, " constant_tsc") != NULL && strstr(line, " rdtscp") != NULL;
    break;
  }
  if (file != NULL) (void)fclose(file);
  return steady;
#else
  return false;
#endif
}

static double measure_cost_ns(const struct timer *timer) {
  struct histogram *histogram = timer_histograms(1);
  for (int i = 0; i < COST_SAMPLES; i++) {
    uint64_t before = timer_ticks(timer);
    histogram_add(histogram, timer_ticks(timer) - before);
  }
  double cost = timer_quantile(timer, histogram, 50);
  free(histogram);
  return cost;
}

void timer_init(struct timer *timer) {
  *timer = (struct timer){.ns_per_tick = 1};
  timer->cost_ns = measure_cost_ns(timer);
  if (!cycles_are_steady()) return;
  struct timer fast = {.cycles = true};
  uint64_t begin_ns = bench_now_ns(), begin = timer_ticks(&fast), now_ns;
  do now_ns = bench_now_ns();
  while (now_ns - begin_ns < CALIBRATION_NS);
  fast.ns_per_tick = (double)(now_ns - begin_ns) / (double)(timer_ticks(&fast) - begin);
  fast.cost_ns = measure_cost_ns(&fast);
  if (fast.cost_ns <= timer->cost_ns) *timer = fast;
}

void timer_row(const struct timer *timer, struct bench *bench) {
  bench_row(bench, &(struct bench_row){.name = timer->cycles ? "the timer itself (rdtscp), not subtracted"
                                                             : "the timer itself (CLOCK_MONOTONIC)",
                                       .threads = 1,
                                       .value = timer->cost_ns,
                                       .unit = "ns"});
}

struct histogram *timer_histograms(int threads) {
  struct histogram *histograms = calloc((size_t)threads, sizeof *histograms);
  if (histograms == NULL) abort();
  return histograms;
}

struct histogram *timer_merged(struct histogram *histograms, int threads) {
  for (int i = 1; i < threads; i++) histogram_merge(histograms, &histograms[i]);
  return histograms;
}
