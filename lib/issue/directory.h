/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The campaigns of an engine: by id, for every request, and by index, in order of creation.
 *
 * Finding by id is wait-free and writes nothing. One writer at a time adds. When the table is half full the writer
 * publishes one of twice the size and keeps the old one until the end, since somebody may be walking it: together the
 * old ones are no larger than the table. Campaigns are freed only with the directory.
 *
 * The table is hashed by multiplication under a secret. That is no defence against those who choose ids; ids are chosen
 * by whoever may create campaigns, and those who only ask can meet no longer a chain than there is.
 */
#ifndef CPN_ISSUE_DIRECTORY_H
#define CPN_ISSUE_DIRECTORY_H

#include "issue/campaign.h"

struct cpn_directory_slot {
  _Atomic uint64_t id, index; /* of the campaign, written before it */
  _Atomic(struct cpn_campaign *) campaign;
};

struct cpn_directory_table {
  struct cpn_directory_table *previous; /* half the size, no longer used */
  uint32_t shift;                       /* 64 - log2 of the number of slots, of which at most half are used */
  uint64_t mask;                        /* slots - 1 */
  struct cpn_directory_slot slot[];
};

struct cpn_directory {
  struct cpn_memory *memory;
  uint64_t secret[2];                          /* odd */
  _Atomic(struct cpn_directory_table *) table; /* written by the writer, read by every request */
  struct cpn_chunks by_index;                  /* of _Atomic(struct cpn_campaign *) */
  _Atomic uint64_t count; /* campaigns that exist: found by id and by index; written by the writer */
};

/* False: no memory. */
CPN_MUST_CHECK bool cpn_directory_init(struct cpn_directory *directory, struct cpn_memory *memory,
                                       const uint64_t secret[2]);
/* Frees the campaigns too. Nobody else uses the directory any more. */
void cpn_directory_fini(struct cpn_directory *directory);

static inline uint64_t cpn_directory_count(const struct cpn_directory *directory) {
  return atomic_load_explicit(&directory->count, memory_order_seq_cst); /* pairs with cpn_directory_add() */
}

/* The product's high bits depend on all bits of what it is made of; the shift brings the high ones down again for the
 * second product, so that ids in steps of a power of two spread, too. */
static inline uint64_t cpn_directory_hash(const struct cpn_directory *directory, uint64_t id) {
  uint64_t x = id * directory->secret[0];
  return (x ^ x >> 32) * directory->secret[1];
}

/* NULL: no campaign has this id. */
static inline struct cpn_campaign *cpn_directory_find(const struct cpn_directory *directory, uint64_t id) {
  /* acquire: pairs with the release of cpn_directory_reserve(). */
  const struct cpn_directory_table *table = atomic_load_explicit(&directory->table, memory_order_acquire);
  for (uint64_t at = cpn_directory_hash(directory, id) >> table->shift;; at = (at + 1) & table->mask) {
    /* acquire: pairs with table_put(). The table is at most half full, so the walk meets an empty slot. */
    struct cpn_campaign *campaign = atomic_load_explicit(&table->slot[at].campaign, memory_order_acquire);
    if (campaign == NULL) return NULL;
    if (atomic_load_explicit(&table->slot[at].id, memory_order_relaxed) != id) continue; /* relaxed: written before */
    /* In the table, but not yet in the count: it does not exist yet, or it could be found and then not be listed. */
    uint64_t index = atomic_load_explicit(&table->slot[at].index, memory_order_relaxed);
    return index < cpn_directory_count(directory) ? campaign : NULL;
  }
}

/* Asks the processor for the slot where finding begins. */
static inline void cpn_directory_prefetch(const struct cpn_directory *directory, uint64_t id) {
  /* acquire: as for finding; the shift before the pointer. */
  const struct cpn_directory_table *table = atomic_load_explicit(&directory->table, memory_order_acquire);
  __builtin_prefetch((const void *)&table->slot[cpn_directory_hash(directory, id) >> table->shift]);
}

/* `index` below the count. */
struct cpn_campaign *cpn_directory_at(const struct cpn_directory *directory, uint64_t index);

/* Makes room for one more, so that cpn_directory_add() cannot fail. False: no memory, or COUPON_CAMPAIGNS_MAX is
 * reached. The writer only. */
CPN_MUST_CHECK bool cpn_directory_reserve(struct cpn_directory *directory);

/* Adds a campaign whose id is new and whose index is the count. The writer only. */
void cpn_directory_add(struct cpn_directory *directory, struct cpn_campaign *campaign);

#endif
