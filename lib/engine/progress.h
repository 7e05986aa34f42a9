/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far an opening is, for whoever waits for it. First bytes of checkpoint and log are read; then come the claims
 * that are made when all tickets are there (restore_claims.h), which take about as long for each ticket as reading it
 * took: so with them the whole counts as that much more. Of those that a follower leaves meanwhile (restore_follow.h) a
 * quarter of that remains. All of it is the opening thread's.
 */
#ifndef CPN_ENGINE_PROGRESS_H
#define CPN_ENGINE_PROGRESS_H

#include "coupon/coupon.h"

struct cpn_progress {
  int64_t began_ns;          /* CLOCK_MONOTONIC */
  uint64_t checkpoint_bytes; /* read before the log */
  uint64_t bytes;            /* in all, as far as is known */
  uint64_t deferred;         /* tickets whose claims come later, of those that were read */
  uint64_t followed;    /* of these, left by the follower, or soon; the last ones of a campaign may not be counted */
  uint64_t claimed;     /* of the deferred ones, in campaigns that have theirs */
  uint64_t done, total; /* as they were told */
};

/* Reading begins, or begins again. */
void cpn_progress_begin(coupon_engine *engine);

/* So many bytes were read, of the checkpoint and of the log. `context` is the engine. */
void cpn_progress_read(void *context, uint64_t done, uint64_t total);
void cpn_progress_read_log(void *context, uint64_t done, uint64_t total);

/* So much of a campaign's claims is made: `share` of CPN_PROGRESS_WHOLE, of `tickets`. */
#define CPN_PROGRESS_WHOLE 1024u
void cpn_progress_claim(coupon_engine *engine, uint64_t tickets, uint64_t share);

/* Nothing is left. */
void cpn_progress_end(coupon_engine *engine);

#endif
