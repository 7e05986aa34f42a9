/* SPDX-License-Identifier: Apache-2.0 */
#include "base/chunks.h"

/* Where an index lies: with 2^first_bits added, its highest bit names the chunk. */
struct place {
  uint32_t chunk;
  uint64_t offset;
};

static struct place place_of(const struct cpn_chunks *chunks, uint64_t index) {
  uint64_t shifted = index + (UINT64_C(1) << chunks->first_bits);
  uint32_t high = 63 - (uint32_t)__builtin_clzll(shifted);
  return (struct place){high - chunks->first_bits, shifted - (UINT64_C(1) << high)};
}

/* The index of chunk k's first element. */
static uint64_t chunk_first(const struct cpn_chunks *chunks, uint32_t k) {
  return (UINT64_C(1) << (chunks->first_bits + k)) - (UINT64_C(1) << chunks->first_bits);
}

static uint64_t chunk_end(const struct cpn_chunks *chunks, uint32_t k) {
  return cpn_min_u64(chunk_first(chunks, k + 1), chunks->max_count);
}

static size_t chunk_size_bytes(const struct cpn_chunks *chunks, uint32_t k) {
  return (size_t)((chunk_end(chunks, k) - chunk_first(chunks, k)) * chunks->element_size);
}

void cpn_chunks_init(struct cpn_chunks *chunks, uint32_t element_size, uint32_t first_bits, uint64_t max_count) {
  chunks->max_count = max_count;
  chunks->element_size = element_size;
  chunks->first_bits = first_bits;
  for (int k = 0; k < CPN_CHUNKS_MAX; k++) atomic_init(&chunks->chunk[k], NULL);
  CPN_INVARIANT(0, max_count == 0 || place_of(chunks, max_count - 1).chunk < CPN_CHUNKS_MAX);
}

void cpn_chunks_fini(struct cpn_chunks *chunks, struct cpn_memory *memory) {
  for (uint32_t k = 0; k < CPN_CHUNKS_MAX; k++) {
    /* relaxed: nobody else uses the vector any more. */
    void *chunk = atomic_load_explicit(&chunks->chunk[k], memory_order_relaxed);
    if (chunk != NULL) cpn_memory_free(memory, chunk, chunk_size_bytes(chunks, k));
  }
}

uint64_t cpn_chunks_ensure(struct cpn_chunks *chunks, struct cpn_memory *memory, uint64_t index) {
  CPN_INVARIANT(0, index < chunks->max_count);
  uint32_t k = place_of(chunks, index).chunk;
  /* acquire, pairs with the release below: who sees the chunk sees its zeros. */
  if (CPN_LIKELY(atomic_load_explicit(&chunks->chunk[k], memory_order_acquire) != NULL)) return chunk_end(chunks, k);

  size_t size = chunk_size_bytes(chunks, k);
  void *fresh = cpn_memory_alloc(memory, size);
  if (fresh == NULL) {
    /* Another thread may have had the last bytes, for this very chunk. */
    bool there = atomic_load_explicit(&chunks->chunk[k], memory_order_acquire) != NULL;
    return there ? chunk_end(chunks, k) : 0;
  }
  void *none = NULL;
  /* release: the zeros before the pointer. acquire on failure: as above, for the winner's chunk. */
  if (!atomic_compare_exchange_strong_explicit(&chunks->chunk[k], &none, fresh, memory_order_release,
                                               memory_order_acquire))
    cpn_memory_free(memory, fresh, size);
  return chunk_end(chunks, k);
}

void *cpn_chunks_at(const struct cpn_chunks *chunks, uint64_t index) {
  struct place place = place_of(chunks, index);
  /* acquire: pairs with the release of cpn_chunks_ensure(), for readers that came by the index alone. */
  char *chunk = atomic_load_explicit(&chunks->chunk[place.chunk], memory_order_acquire);
  CPN_DEBUG_ASSERT(chunk != NULL);
  return chunk + place.offset * chunks->element_size;
}
