/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claims of a large campaign at recovery: left, and then settled part by part (issue/claim_fill.h), by two threads if there
 * are two. Leaving may begin while tickets are still coming: a second thread, the *follower*, leaves what the first one has
 * restored so far, in a set made for as many as the log is expected to hold. If it holds far more or fewer it begins again.
 *
 * Who waits for whom: the follower for tickets; the first thread for the follower only where it ends the following. Users
 * stand where they stand from the moment their number is told on.
 */
#ifndef CPN_ENGINE_RESTORE_FILL_H
#define CPN_ENGINE_RESTORE_FILL_H

#include "engine/engine.h"

/* The campaign has tickets behind `before` now: a new one to follow, or more to leave. To be called after each block, of campaigns
 * whose claims come later. */
void cpn_restore_follow(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t before);

/* No more tickets will come: stops the follower. What it has left is there for cpn_restore_fill(). */
void cpn_restore_follow_stop(coupon_engine *engine);

/* The same, and gives back what nobody has taken over. Before campaigns that may be followed are touched otherwise. */
void cpn_restore_follow_end(coupon_engine *engine);

/* All claims of the campaign, in a set that has begun again for just as many. If memory is not enough for that, or they do not fit
 * because somebody has more tickets than the limit, `*filled` is false, and whatever claims there are make no sense. `*twice`
 * becomes the lowest number of a user's second ticket, if that is lower. */
CPN_MUST_CHECK coupon_status cpn_restore_fill(coupon_engine *engine, struct cpn_campaign *campaign, bool *filled,
                                              uint64_t *twice, struct cpn_fault *fault);

#endif
