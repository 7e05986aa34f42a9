/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zeroed, cache-line-aligned memory from the user's allocator or ours, counted against a limit.
 * Lock-free apart from what the allocator does; all functions from any thread.
 */
#ifndef CPN_BASE_MEMORY_H
#define CPN_BASE_MEMORY_H

#include <stdatomic.h>

#include "base/defs.h"
#include "coupon/coupon.h"

struct cpn_memory {
  struct coupon_allocator allocator; /* both NULL: ours */
  uint64_t limit;                    /* bytes; UINT64_MAX: none */
  _Atomic uint64_t used;             /* bytes; written at each allocation, which is rare */
};

/* A limit of 0 means none. */
void cpn_memory_init(struct cpn_memory *memory, const struct coupon_allocator *allocator, uint64_t limit);

/* NULL when the limit is reached or the allocator has none; nothing is then counted. */
CPN_MUST_CHECK void *cpn_memory_alloc(struct cpn_memory *memory, size_t size);

/* `size` as it was allocated; NULL is allowed. */
void cpn_memory_free(struct cpn_memory *memory, void *pointer, size_t size);

uint64_t cpn_memory_used(const struct cpn_memory *memory);

#endif
