/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A histogram of times whose steps grow with the time: 64 to each power of two, so that what it tells is
 * off by less than 1 %, over the whole range of uint64_t, in 30 KiB. One thread fills one; then merge.
 */
#ifndef TOOLS_HISTOGRAM_H
#define TOOLS_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = HISTOGRAM_STEPS * 59 };

struct histogram {
  uint64_t count;
  uint64_t max; /* exact */
  uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The value that `share` (0 … 1) of all values do not exceed; 0 if there are none. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
