/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claims of a large campaign at recovery: left, and then settled part by part (issue/claim_fill.h), by two threads
 * if there are two. Leaving may have begun while tickets were still coming (engine/restore_follow.h).
 */
#ifndef CPN_ENGINE_RESTORE_FILL_H
#define CPN_ENGINE_RESTORE_FILL_H

#include "engine/engine.h"

/* All claims of the campaign, in a set that has begun again for just as many. If memory is not enough for that, or they
 * do not fit because somebody has more tickets than the limit, `*filled` is false, and whatever claims there are make
 * no sense. `*twice` becomes the lowest number of a user's second ticket, if that is lower. */
CPN_MUST_CHECK coupon_status cpn_restore_fill(coupon_engine *engine, struct cpn_campaign *campaign, bool *filled,
                                              uint64_t *twice, struct cpn_fault *fault);

#endif
