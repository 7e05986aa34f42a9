/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/directory.h"

#include "base/rcu.h"

#define FIRST_SLOTS UINT64_C(16)
#define FIRST_INDEX_BITS 4

struct cpn_directory_table {
  uint64_t slots; /* a power of two, at most half of them used */
  _Atomic(struct cpn_campaign *) slot[];
};

static size_t table_size_bytes(uint64_t slots) {
  return sizeof(struct cpn_directory_table) + (size_t)slots * sizeof(_Atomic(struct cpn_campaign *));
}

static struct cpn_directory_table *table_create(struct cpn_memory *memory, uint64_t slots) {
  struct cpn_directory_table *table = cpn_memory_alloc(memory, table_size_bytes(slots));
  if (table != NULL) table->slots = slots;
  return table;
}

/* Linear probing; nothing is ever taken out. */
static void table_put(struct cpn_directory_table *table, uint64_t hash, struct cpn_campaign *campaign) {
  uint64_t at = hash & (table->slots - 1);
  /* relaxed: only the one writer puts. */
  while (atomic_load_explicit(&table->slot[at], memory_order_relaxed) != NULL) at = (at + 1) & (table->slots - 1);
  /* release: the campaign before the pointer to it; pairs with cpn_directory_find(). */
  atomic_store_explicit(&table->slot[at], campaign, memory_order_release);
}

bool cpn_directory_init(struct cpn_directory *directory, struct cpn_memory *memory, const struct cpn_siphash_key *key) {
  directory->memory = memory;
  directory->key = *key;
  cpn_chunks_init(&directory->by_index, sizeof(_Atomic(struct cpn_campaign *)), FIRST_INDEX_BITS, COUPON_CAMPAIGNS_MAX);
  atomic_init(&directory->count, 0);
  struct cpn_directory_table *table = table_create(memory, FIRST_SLOTS);
  atomic_init(&directory->table, table);
  return table != NULL;
}

void cpn_directory_fini(struct cpn_directory *directory) {
  /* relaxed: nobody else uses it any more. */
  struct cpn_directory_table *table = atomic_load_explicit(&directory->table, memory_order_relaxed);
  uint64_t count = cpn_directory_count(directory);
  for (uint64_t i = 0; i < count; i++) cpn_campaign_destroy(directory->memory, cpn_directory_at(directory, i));
  cpn_chunks_fini(&directory->by_index, directory->memory);
  if (table != NULL) cpn_memory_free(directory->memory, table, table_size_bytes(table->slots));
}

struct cpn_campaign *cpn_directory_find(const struct cpn_directory *directory, uint64_t id) {
  uint64_t hash = cpn_siphash_u64(&directory->key, id);
  /* acquire: pairs with the release of cpn_directory_reserve(); the critical section keeps the table alive. */
  const struct cpn_directory_table *table = atomic_load_explicit(&directory->table, memory_order_acquire);
  for (uint64_t at = hash & (table->slots - 1);; at = (at + 1) & (table->slots - 1)) {
    /* acquire: pairs with table_put(). The table is at most half full, so the walk meets an empty slot. */
    struct cpn_campaign *campaign = atomic_load_explicit(&table->slot[at], memory_order_acquire);
    if (campaign == NULL) return NULL;
    /* In the table, but not yet in the count: it does not exist yet, or it could be found and then not be listed. */
    if (campaign->spec.id == id) return campaign->index < cpn_directory_count(directory) ? campaign : NULL;
  }
}

uint64_t cpn_directory_count(const struct cpn_directory *directory) {
  return atomic_load_explicit(&directory->count, memory_order_seq_cst); /* pairs with cpn_directory_add() */
}

struct cpn_campaign *cpn_directory_at(const struct cpn_directory *directory, uint64_t index) {
  _Atomic(struct cpn_campaign *) *place = cpn_chunks_at(&directory->by_index, index);
  return atomic_load_explicit(place, memory_order_acquire); /* pairs with cpn_directory_add() */
}

bool cpn_directory_reserve(struct cpn_directory *directory) {
  uint64_t count = cpn_directory_count(directory);
  if (count >= COUPON_CAMPAIGNS_MAX) return false;
  if (cpn_chunks_ensure(&directory->by_index, directory->memory, count) == 0) return false;
  /* relaxed: only the one writer replaces it. */
  struct cpn_directory_table *old = atomic_load_explicit(&directory->table, memory_order_relaxed);
  if ((count + 1) * 2 <= old->slots) return true;
  struct cpn_directory_table *fresh = table_create(directory->memory, old->slots * 2);
  if (fresh == NULL) return false;
  for (uint64_t i = 0; i < count; i++) {
    struct cpn_campaign *campaign = cpn_directory_at(directory, i);
    table_put(fresh, cpn_siphash_u64(&directory->key, campaign->spec.id), campaign);
  }
  /* release: the slots before the table. */
  atomic_store_explicit(&directory->table, fresh, memory_order_release);
  cpn_rcu_synchronize(); /* readers may still walk the old one */
  cpn_memory_free(directory->memory, old, table_size_bytes(old->slots));
  return true;
}

void cpn_directory_add(struct cpn_directory *directory, struct cpn_campaign *campaign) {
  /* relaxed, twice: only the one writer changes either. */
  uint64_t count = atomic_load_explicit(&directory->count, memory_order_relaxed);
  CPN_INVARIANT(0, campaign->index == count);
  _Atomic(struct cpn_campaign *) *place = cpn_chunks_at(&directory->by_index, count);
  atomic_store_explicit(place, campaign, memory_order_release);
  struct cpn_directory_table *table = atomic_load_explicit(&directory->table, memory_order_relaxed);
  table_put(table, cpn_siphash_u64(&directory->key, campaign->spec.id), campaign);
  /* LP(create). seq_cst, which includes release: place and slot before the count that lets others see them. */
  atomic_store_explicit(&directory->count, count + 1, memory_order_seq_cst);
}
