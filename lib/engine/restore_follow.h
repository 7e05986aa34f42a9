/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While the first thread of an opening restores tickets, a second one, the *follower*, leaves their claims
 * (issue/claim_fill.h), in a set made for as many as the log is expected to hold. What it has left is taken over when
 * all tickets are there, by cpn_restore_fill(); if the log holds far more or fewer it was in vain.
 *
 * Who waits for whom: the follower for tickets; the first thread for the follower only where it ends the following.
 * Users stand where they stand from the moment their number is told on.
 */
#ifndef CPN_ENGINE_RESTORE_FOLLOW_H
#define CPN_ENGINE_RESTORE_FOLLOW_H

#include "engine/engine.h"
#include "issue/claim_fill.h"

/* With fewer tickets in a campaign a thread is not worth its start. */
uint64_t cpn_restore_tickets_for_two(void);

/* The campaign has tickets behind `before` now: a new one to follow, or more to leave. To be called after each block,
 * of campaigns whose claims come later. */
void cpn_restore_follow(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t before);

/* No more tickets will come: stops the follower. What it has left is there to be taken over. */
void cpn_restore_follow_stop(coupon_engine *engine);

/* Where to go on with a fill that has begun: the first ticket of each share that is not left, and the end of the first
 * share. */
struct cpn_fill_place {
  uint64_t next[CPN_FILL_SHARES], end;
};

/* What a follower that has stopped has left for this campaign; the caller's from here on. NULL: nothing, or the number
 * of tickets is not the one that it was made for, by more than can be had or should be. */
CPN_MUST_CHECK struct cpn_claim_fill *cpn_restore_follow_take_over(coupon_engine *engine, struct cpn_campaign *campaign,
                                                                   struct cpn_fill_place *place);

/* Stops it, and gives back what nobody has taken over. Before campaigns that may be followed are touched otherwise. */
void cpn_restore_follow_end(coupon_engine *engine);

#endif
