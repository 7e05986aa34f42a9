/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A campaign: what was asked for at its creation, which never changes, and the three parts that live: its stock,
 * its claims, its tickets. Only ways to make, free and compare; what happens to them is told in engine/.
 */
#ifndef CPN_ISSUE_CAMPAIGN_H
#define CPN_ISSUE_CAMPAIGN_H

#include "issue/claim_set.h"
#include "issue/stock.h"
#include "issue/tickets.h"

struct cpn_campaign_spec {
  uint64_t id;
  uint64_t stock;
  uint64_t user_limit; /* 1, or 0: none */
  uint64_t opens_at_ns;
  uint64_t closes_at_ns; /* 0: never */
  const char *name;
  uint32_t name_length;
};

struct cpn_campaign {
  struct cpn_campaign_spec spec; /* its name points behind this struct */
  uint32_t index;                /* 0, 1, 2 … in order of creation */
  uint64_t created_lsn;          /* set before the campaign can be found */
  struct cpn_stock stock;
  struct cpn_tickets tickets;
  struct cpn_claim_set claims;
};

/* A campaign in its first state, or NULL: no memory. */
CPN_MUST_CHECK struct cpn_campaign *cpn_campaign_create(struct cpn_memory *memory, const struct cpn_siphash_key *key,
                                                        const struct cpn_campaign_spec *spec, uint32_t index);
void cpn_campaign_destroy(struct cpn_memory *memory, struct cpn_campaign *campaign);

/* Whether two descriptions are the same in everything. */
bool cpn_campaign_spec_equal(const struct cpn_campaign_spec *a, const struct cpn_campaign_spec *b);

#endif
