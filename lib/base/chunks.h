/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vector that only grows and whose elements never move: chunk k holds 2^(first_bits + k) elements, so
 * that a few dozen pointers reach any size, growing copies nothing, and readers need no protection.
 *
 * cpn_chunks_ensure() is lock-free: several threads may install the same chunk at once, one wins and
 * the others free theirs. cpn_chunks_at() is wait-free. Elements begin as zeros.
 */
#ifndef CPN_BASE_CHUNKS_H
#define CPN_BASE_CHUNKS_H

#include <stdatomic.h>

#include "base/defs.h"
#include "base/memory.h"

#define CPN_CHUNKS_MAX 37

struct cpn_chunks {
  uint64_t max_count; /* elements; the last chunk is cut to it */
  uint32_t element_size;
  uint32_t first_bits;
  /* Written once each, by whoever needs it first; read by all. Not on a line of its own: it is all but constant. */
  _Atomic(void *) chunk[CPN_CHUNKS_MAX];
};

/* max_count must fit: at most 2^first_bits * (2^CPN_CHUNKS_MAX - 1). */
void cpn_chunks_init(struct cpn_chunks *chunks, uint32_t element_size, uint32_t first_bits, uint64_t max_count);

void cpn_chunks_fini(struct cpn_chunks *chunks, struct cpn_memory *memory);

/* Makes the element at `index` (< max_count) exist. Returns where its chunk ends, the index behind its last
 * element; 0: no memory, nothing was changed. */
CPN_MUST_CHECK uint64_t cpn_chunks_ensure(struct cpn_chunks *chunks, struct cpn_memory *memory, uint64_t index);

/* The element at `index`, which must exist. */
void *cpn_chunks_at(const struct cpn_chunks *chunks, uint64_t index);

#endif
