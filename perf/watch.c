/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include <stdlib.h>

struct watch *watch_create(int threads, uint64_t samples) {
  struct watch *watch = calloc(1, sizeof *watch);
  if (watch == NULL) abort();
  watch->threads = threads;
  watch->lanes = calloc((size_t)threads, sizeof *watch->lanes);
  if (watch->lanes == NULL) abort();
  for (int i = 0; i < threads; i++) {
    watch->lanes[i].capacity = samples;
    watch->lanes[i].samples = calloc(samples, sizeof watch->lanes[i].samples[0]);
    if (watch->lanes[i].samples == NULL) abort();
  }
  return watch;
}

void watch_destroy(struct watch *watch) {
  for (int i = 0; i < watch->threads; i++) free(watch->lanes[i].samples);
  free(watch->lanes);
  free(watch);
}

void watch_sample(struct watch *watch, int thread, uint64_t begin_ns, uint64_t lsn) {
  struct watch_lane *lane = &watch->lanes[thread];
  /* relaxed: only this thread changes it. */
  uint64_t count = atomic_load_explicit(&lane->count, memory_order_relaxed);
  if (count == lane->capacity) return;
  lane->samples[count].lsn = lsn;
  lane->samples[count].begin_ns = begin_ns;
  /* release: the sample before the count. */
  atomic_store_explicit(&lane->count, count + 1, memory_order_release);
}

void watch_durable(void *context, uint64_t durable_lsn, coupon_status fault) {
  struct watch *watch = context;
  if (fault != COUPON_OK) return;
  uint64_t now = bench_now_ns();
  /* relaxed: a gap more or less at the edges. */
  bool running = atomic_load_explicit(&watch->running, memory_order_relaxed);
  if (running && watch->told_ns != 0) histogram_add(&watch->gap, now - watch->told_ns);
  watch->told_ns = running ? now : 0;
  for (int i = 0; i < watch->threads; i++) {
    struct watch_lane *lane = &watch->lanes[i];
    uint64_t count = atomic_load_explicit(&lane->count, memory_order_acquire); /* acquire: the samples */
    for (; lane->taken < count && lane->samples[lane->taken].lsn <= durable_lsn; lane->taken++)
      histogram_add(&watch->final, now - lane->samples[lane->taken].begin_ns);
  }
}
