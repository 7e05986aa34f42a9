/* SPDX-License-Identifier: Apache-2.0 */
#include "base/chunks.h"

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
  CPN_INVARIANT(0, max_count == 0 || cpn_chunks_place(chunks, max_count - 1).chunk < CPN_CHUNKS_MAX);
}

void cpn_chunks_fini(struct cpn_chunks *chunks, struct cpn_memory *memory) {
  for (uint32_t k = 0; k < CPN_CHUNKS_MAX; k++) {
    /* relaxed: nobody else uses the vector any more. */
    void *chunk = atomic_load_explicit(&chunks->chunk[k], memory_order_relaxed);
    if (chunk != NULL) cpn_memory_free(memory, chunk, chunk_size_bytes(chunks, k));
  }
}

uint64_t cpn_chunks_ensure(struct cpn_chunks *chunks, struct cpn_memory *memory, uint64_t index, size_t *made) {
  *made = 0;
  CPN_INVARIANT(0, index < chunks->max_count);
  uint32_t k = cpn_chunks_place(chunks, index).chunk;
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
  if (atomic_compare_exchange_strong_explicit(&chunks->chunk[k], &none, fresh, memory_order_release,
                                              memory_order_acquire))
    *made = size;
  else
    cpn_memory_free(memory, fresh, size);
  return chunk_end(chunks, k);
}
