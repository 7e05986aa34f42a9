/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/directory.h"

#include "coupon/coupon.h"

#define FIRST_SHIFT (64 - 4) /* 16 slots */
#define FIRST_INDEX_BITS 4

static uint64_t table_slots(uint32_t shift) { return UINT64_C(1) << (64 - shift); }

static size_t table_size_bytes(uint32_t shift) {
  return sizeof(struct cpn_directory_table) + (size_t)table_slots(shift) * sizeof(struct cpn_directory_slot);
}

static struct cpn_directory_table *table_create(struct cpn_memory *memory, uint32_t shift,
                                                struct cpn_directory_table *previous) {
  struct cpn_directory_table *table = cpn_memory_alloc(memory, table_size_bytes(shift));
  if (table == NULL) return NULL;
  table->previous = previous;
  table->shift = shift;
  table->mask = table_slots(shift) - 1;
  return table;
}

/* Linear probing; nothing is ever taken out. */
static void table_put(const struct cpn_directory *directory, struct cpn_directory_table *table,
                      struct cpn_campaign *campaign) {
  const uint64_t mask = table_slots(table->shift) - 1;
  uint64_t at = cpn_directory_hash(directory, campaign->spec.id) >> table->shift;
  /* relaxed: only the one writer puts. */
  while (atomic_load_explicit(&table->slot[at].campaign, memory_order_relaxed) != NULL) at = (at + 1) & mask;
  atomic_store_explicit(&table->slot[at].id, campaign->spec.id, memory_order_relaxed);
  atomic_store_explicit(&table->slot[at].index, campaign->index, memory_order_relaxed);
  /* release: the campaign and what is said of it before the pointer; pairs with cpn_directory_find(). */
  atomic_store_explicit(&table->slot[at].campaign, campaign, memory_order_release);
}

bool cpn_directory_init(struct cpn_directory *directory, struct cpn_memory *memory, const uint64_t secret[2]) {
  directory->memory = memory;
  directory->secret[0] = secret[0] | 1;
  directory->secret[1] = secret[1] | 1;
  cpn_chunks_init(&directory->by_index, sizeof(_Atomic(struct cpn_campaign *)), FIRST_INDEX_BITS, COUPON_CAMPAIGNS_MAX);
  atomic_init(&directory->count, 0);
  struct cpn_directory_table *table = table_create(memory, FIRST_SHIFT, NULL);
  atomic_init(&directory->table, table);
  return table != NULL;
}

void cpn_directory_fini(struct cpn_directory *directory) {
  /* relaxed: nobody else uses it any more. */
  struct cpn_directory_table *table = atomic_load_explicit(&directory->table, memory_order_relaxed);
  uint64_t count = cpn_directory_count(directory);
  for (uint64_t i = 0; i < count; i++) cpn_campaign_destroy(directory->memory, cpn_directory_at(directory, i));
  cpn_chunks_fini(&directory->by_index, directory->memory);
  while (table != NULL) {
    struct cpn_directory_table *previous = table->previous;
    cpn_memory_free(directory->memory, table, table_size_bytes(table->shift));
    table = previous;
  }
}

struct cpn_campaign *cpn_directory_at(const struct cpn_directory *directory, uint64_t index) {
  _Atomic(struct cpn_campaign *) *place = cpn_chunks_at(&directory->by_index, index);
  return atomic_load_explicit(place, memory_order_acquire); /* pairs with cpn_directory_add() */
}

bool cpn_directory_reserve(struct cpn_directory *directory) {
  uint64_t count = cpn_directory_count(directory);
  size_t made;
  if (count >= COUPON_CAMPAIGNS_MAX) return false;
  if (cpn_chunks_ensure(&directory->by_index, directory->memory, count, &made) == 0) return false;
  /* relaxed: only the one writer replaces it. */
  struct cpn_directory_table *old = atomic_load_explicit(&directory->table, memory_order_relaxed);
  if ((count + 1) * 2 <= table_slots(old->shift)) return true;
  struct cpn_directory_table *fresh = table_create(directory->memory, old->shift - 1, old);
  if (fresh == NULL) return false;
  for (uint64_t i = 0; i < count; i++) table_put(directory, fresh, cpn_directory_at(directory, i));
  /* release: the slots before the table. */
  atomic_store_explicit(&directory->table, fresh, memory_order_release);
  return true;
}

void cpn_directory_add(struct cpn_directory *directory, struct cpn_campaign *campaign) {
  /* relaxed, twice: only the one writer changes either. */
  uint64_t count = atomic_load_explicit(&directory->count, memory_order_relaxed);
  CPN_INVARIANT(0, campaign->index == count);
  _Atomic(struct cpn_campaign *) *place = cpn_chunks_at(&directory->by_index, count);
  atomic_store_explicit(place, campaign, memory_order_release);
  table_put(directory, atomic_load_explicit(&directory->table, memory_order_relaxed), campaign);
  /* LP(create). seq_cst, which includes release: place and slot before the count that lets others see them. */
  atomic_store_explicit(&directory->count, count + 1, memory_order_seq_cst);
}
