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
  uint64_t opens_at_ns;
  uint64_t closes_at_ns; /* 0: never */
  uint32_t user_limit;   /* 1, or 0: none */
  int32_t user_kind;     /* COUPON_USER_U64, COUPON_USER_UUID */
  uint32_t name_length;
  const char *name;
};

struct cpn_campaign {
  struct cpn_campaign_spec spec; /* its name points behind this struct */
  uint32_t index;                /* 0, 1, 2 … in order of creation */
  struct cpn_claim_set claims;
  struct cpn_stock stock; /* a line of its own: each take writes it */
  struct cpn_tickets tickets;
  uint64_t created_lsn; /* set before the campaign can be found */

  /* For whoever gets memory ready ahead (engine/keeper.c). `wanted`: it is on the list of those that ask for it. */
  _Atomic uint32_t wanted;
  struct cpn_campaign *next_wanted;
  uint64_t touched;   /* users' memory is touched up to this number; the keeper */
  uint64_t looked_at; /* tickets issued when the keeper last came by */
};

/* A campaign in its first state, or NULL: no memory. With `prepare` all memory for so many tickets is there, claims and
 * users; 0: it comes as it is needed. */
CPN_MUST_CHECK struct cpn_campaign *cpn_campaign_create(struct cpn_memory *memory, const struct cpn_campaign_spec *spec,
                                                        uint32_t index, uint64_t prepare);
void cpn_campaign_destroy(struct cpn_memory *memory, struct cpn_campaign *campaign);

static inline uint32_t cpn_campaign_user_words(const struct cpn_campaign_spec *spec) {
  return spec->user_kind == COUPON_USER_UUID ? 2 : 1;
}

/* Whether two descriptions are the same in everything. */
bool cpn_campaign_spec_equal(const struct cpn_campaign_spec *a, const struct cpn_campaign_spec *b);

#endif
