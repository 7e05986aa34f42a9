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

/* Where a campaign's tickets are. */
enum cpn_campaign_place {
  CPN_CAMPAIGN_LIVE = 0,     /* in memory */
  CPN_CAMPAIGN_RELEASED = 1, /* in a file of their own; claims and tickets are not to be touched */
  CPN_CAMPAIGN_DROPPED = 2   /* nowhere any more */
};

/* What checkpoints keep of it beside the rest. Whoever makes them writes it, or opens the directory. */
struct cpn_campaign_kept {
  uint64_t tickets;    /* of a released campaign: all it has */
  uint64_t file_check; /* of its tickets file; 0: there is none */
  uint64_t since;      /* the first checkpoint that said what `place` says */
  uint32_t next;       /* the place that the checkpoint now being made gives it */
};

struct cpn_campaign {
  struct cpn_campaign_spec spec; /* its name points behind this struct */
  uint32_t index;                /* 0, 1, 2 … in order of creation */
  /* enum cpn_campaign_place: written by whoever makes checkpoints, read by every request, inside a read-side critical
   * section; what it says holds until that ends. On a line that requests need anyway. */
  _Atomic uint32_t place;
  struct cpn_claim_set claims;
  struct cpn_stock stock; /* a line of its own: each take writes it */
  struct cpn_tickets tickets;
  uint64_t created_lsn; /* set before the campaign can be found */
  /* LSNs of the records that opened and closed it, or 0. Written by whoever steps, when the record takes effect; read
   * by whoever makes checkpoints. */
  _Atomic uint64_t opened_lsn, closed_lsn;
  struct cpn_campaign_kept kept;

  /* For whoever gets memory ready ahead (engine/keeper.c). `wanted`: it is on the list of those that ask for it. */
  _Atomic uint32_t wanted;
  _Atomic uint32_t wanted_place; /* enum cpn_campaign_place: what callers have asked for; the next checkpoint looks */
  struct cpn_campaign *next_wanted;
  uint64_t touched;   /* users' memory is touched up to this number; the keeper */
  uint64_t looked_at; /* tickets issued when the keeper last came by */
};

/* A campaign in its first state, or NULL: no memory. With `prepare` all memory for so many tickets is there, claims and
 * users; 0: it comes as it is needed. */
CPN_MUST_CHECK struct cpn_campaign *cpn_campaign_create(struct cpn_memory *memory, const struct cpn_campaign_spec *spec,
                                                        uint32_t index, uint64_t prepare);
void cpn_campaign_destroy(struct cpn_memory *memory, struct cpn_campaign *campaign);

/* Asks the processor for the lines of it that every request reads; first for those that are read last. */
static inline void cpn_campaign_prefetch(const struct cpn_campaign *campaign) {
  __builtin_prefetch(&campaign->tickets);
  __builtin_prefetch(&campaign->tickets.users);
}
/* The same, and for what is read first: for who does something else before. */
static inline void cpn_campaign_prefetch_all(const struct cpn_campaign *campaign) {
  __builtin_prefetch(&campaign->spec);
  __builtin_prefetch(&campaign->claims);
  __builtin_prefetch((const void *)&campaign->stock, 1);
  cpn_campaign_prefetch(campaign);
}

/* relaxed: the critical section orders it; see `place`. */
static inline bool cpn_campaign_is_live(const struct cpn_campaign *campaign) {
  return CPN_LIKELY(atomic_load_explicit(&campaign->place, memory_order_relaxed) == CPN_CAMPAIGN_LIVE);
}

/* Gives the memory of claims and tickets back; what is left has none of either. After a grace period in which nobody
 * could begin to look at them. */
void cpn_campaign_release(struct cpn_memory *memory, struct cpn_campaign *campaign);

static inline uint32_t cpn_campaign_user_words(const struct cpn_campaign_spec *spec) {
  return spec->user_kind == COUPON_USER_UUID ? 2 : 1;
}

/* Whether two descriptions are the same in everything. */
bool cpn_campaign_spec_equal(const struct cpn_campaign_spec *a, const struct cpn_campaign_spec *b);

#endif
