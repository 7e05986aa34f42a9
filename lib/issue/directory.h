/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The campaigns of an engine: by id, for every request, and by index, in order of creation.
 *
 * Finding by id is wait-free inside a read-side critical section (base/rcu.h) and writes nothing. One writer at a
 * time adds. When the table is full the writer publishes one of twice the size and, after a grace period, frees the
 * old one: the writer may wait for readers, never the other way round. Campaigns are freed only with the directory.
 */
#ifndef CPN_ISSUE_DIRECTORY_H
#define CPN_ISSUE_DIRECTORY_H

#include "issue/campaign.h"

struct cpn_directory_table;

struct cpn_directory {
  struct cpn_memory *memory;
  struct cpn_siphash_key key;
  _Atomic(struct cpn_directory_table *) table; /* written by the writer, read by every request */
  struct cpn_chunks by_index;                  /* of _Atomic(struct cpn_campaign *) */
  _Atomic uint64_t count; /* campaigns that exist: found by id and by index; written by the writer */
};

/* False: no memory. */
CPN_MUST_CHECK bool cpn_directory_init(struct cpn_directory *directory, struct cpn_memory *memory,
                                       const struct cpn_siphash_key *key);
/* Frees the campaigns too. Nobody else uses the directory any more. */
void cpn_directory_fini(struct cpn_directory *directory);

/* Inside a read-side critical section. NULL: no campaign has this id. */
struct cpn_campaign *cpn_directory_find(const struct cpn_directory *directory, uint64_t id);

uint64_t cpn_directory_count(const struct cpn_directory *directory);

/* `index` below the count. */
struct cpn_campaign *cpn_directory_at(const struct cpn_directory *directory, uint64_t index);

/* Makes room for one more, so that cpn_directory_add() cannot fail. Outside read-side critical sections: may wait
 * for a grace period. False: no memory, or COUPON_CAMPAIGNS_MAX is reached. The writer only. */
CPN_MUST_CHECK bool cpn_directory_reserve(struct cpn_directory *directory);

/* Adds a campaign whose id is new and whose index is the count. The writer only. */
void cpn_directory_add(struct cpn_directory *directory, struct cpn_campaign *campaign);

#endif
