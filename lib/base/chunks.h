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
 * element; 0: no memory, nothing was changed. `*made` becomes the bytes of the chunk that was made for it, or 0. */
CPN_MUST_CHECK uint64_t cpn_chunks_ensure(struct cpn_chunks *chunks, struct cpn_memory *memory, uint64_t index,
                                          size_t *made);

/* Where an index lies: with 2^first_bits added, its highest bit names the chunk. */
struct cpn_chunks_place {
  uint32_t chunk;
  uint64_t offset;
};

static inline struct cpn_chunks_place cpn_chunks_place(const struct cpn_chunks *chunks, uint64_t index) {
  uint64_t shifted = index + (UINT64_C(1) << chunks->first_bits);
  uint32_t high = 63 ^ (uint32_t)__builtin_clzll(shifted);
  return (struct cpn_chunks_place){high - chunks->first_bits, shifted - (UINT64_C(1) << high)};
}

/* The element at `index`, which must exist, of `size` bytes: the vector's element size, which the compiler knows
 * here. */
static inline void *cpn_chunks_at_of(const struct cpn_chunks *chunks, uint64_t index, size_t size) {
  struct cpn_chunks_place place = cpn_chunks_place(chunks, index);
  /* acquire: pairs with the release of cpn_chunks_ensure(), for readers that came by the index alone. */
  char *chunk = atomic_load_explicit(&chunks->chunk[place.chunk], memory_order_acquire);
  CPN_DEBUG_ASSERT(chunk != NULL);
  return chunk + place.offset * size;
}

static inline void *cpn_chunks_at(const struct cpn_chunks *chunks, uint64_t index) {
  return cpn_chunks_at_of(chunks, index, chunks->element_size);
}

#endif
