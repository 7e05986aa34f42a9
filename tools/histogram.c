/* SPDX-License-Identifier: Apache-2.0 */
#include "histogram.h"

/* Values below 64 have a bucket each. Above, the highest bit chooses a group and the six bits behind it the bucket. */
static unsigned bucket_of(uint64_t value) {
  if (value < HISTOGRAM_STEPS) return (unsigned)value;
  unsigned shift = 57U - (unsigned)__builtin_clzll(value);
  return HISTOGRAM_STEPS * shift + (unsigned)(value >> shift);
}

static uint64_t middle_of(unsigned bucket) {
  if (bucket < 2 * HISTOGRAM_STEPS) return bucket;
  unsigned shift = bucket / HISTOGRAM_STEPS - 1;
  return ((uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << shift) + (UINT64_C(1) << (shift - 1));
}

void histogram_add(struct histogram *histogram, uint64_t value) {
  histogram->count++;
  histogram->buckets[bucket_of(value)]++;
  if (value > histogram->max) histogram->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from) {
  into->count += from->count;
  if (from->max > into->max) into->max = from->max;
  for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) into->buckets[i] += from->buckets[i];
}

uint64_t histogram_quantile(const struct histogram *histogram, double share) {
  uint64_t rank = (uint64_t)((double)histogram->count * share);
  uint64_t seen = 0;
  for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
    seen += histogram->buckets[i];
    if (seen > rank) return middle_of(i) < histogram->max ? middle_of(i) : histogram->max;
  }
  return histogram->max;
}
