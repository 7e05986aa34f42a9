/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine tells of a sale while it runs, through the `durable` callback: how long requests wait from their call
 * to finality, and how long the durable LSN stands still.
 */
#ifndef PERF_WATCH_H
#define PERF_WATCH_H

#include <stdatomic.h>

#include "bench.h"
#include "coupon/coupon.h"
#include "histogram.h"

/* A thread's own samples, in its order: of LSNs that rise. Enough of them that none is left out. */
struct watch_lane {
  struct {
    uint64_t lsn, begin_ns;
  } * samples;
  uint64_t capacity;
  _Alignas(64) _Atomic uint64_t count; /* written by the thread */
  _Alignas(64) uint64_t taken;         /* by the callback */
};

struct watch {
  struct watch_lane *lanes;
  int threads;
  _Atomic bool running;        /* gaps count between begin and end of the sale, not at its edges */
  uint64_t told_ns;            /* when the durable LSN rose last */
  struct histogram final, gap; /* nanoseconds */
};

/* For `threads` threads with at most `samples` samples each. */
struct watch *watch_create(int threads, uint64_t samples);
void watch_destroy(struct watch *watch);
/* The callback; `context` is the watch. */
void watch_durable(void *context, uint64_t durable_lsn, coupon_status fault);
/* A request of this thread began at `begin_ns` and rests on `lsn`. */
void watch_sample(struct watch *watch, int thread, uint64_t begin_ns, uint64_t lsn);

#endif
