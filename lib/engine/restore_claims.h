/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims of tickets that come back at recovery. Nobody else is there: a claim is made by a plain store, and leads to
 * the ticket's number at once.
 */
#ifndef CPN_ENGINE_RESTORE_CLAIMS_H
#define CPN_ENGINE_RESTORE_CLAIMS_H

#include "engine/engine.h"

/* Whether the next ticket, `number`, gets its claim only by cpn_restore_deferred_claims(). Users without a limit are
 * counted at their first ticket, and it is known at once, unless memory was short. */
bool cpn_restore_is_deferred(const struct cpn_campaign *campaign, uint64_t number);

/* Claims for tickets `number` …, whose users are written, up to the first that may not have one; `*claimed` are before
 * it. COUPON_OK, COUPON_E_CORRUPT or COUPON_E_NOMEM. */
CPN_MUST_CHECK coupon_status cpn_restore_claims(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number,
                                                const struct cpn_restored *rows, size_t count, size_t *claimed,
                                                struct cpn_fault *fault);

/* Claims of these tickets, at most CPN_FILL_TOGETHER, into the set there is; `*twice` becomes the lowest number of a
 * user's second ticket, if that is lower. COUPON_OK or COUPON_E_NOMEM. */
CPN_MUST_CHECK coupon_status cpn_restore_claim_some(coupon_engine *engine, struct cpn_campaign *campaign,
                                                    const uint64_t *numbers, size_t count, uint64_t *twice,
                                                    struct cpn_fault *fault);

/* Lines of claims that were deferred, of all campaigns. */
uint64_t cpn_restore_lines_to_come(const coupon_engine *engine);

/* Claims for all tickets of the campaign if some were deferred. `*lines_to_come` are those of it and the campaigns
 * behind it, and become theirs alone. `*twice` becomes the lowest number of a user's second ticket; UINT64_MAX: none.
 * COUPON_OK or COUPON_E_NOMEM. */
CPN_MUST_CHECK coupon_status cpn_restore_deferred_claims(coupon_engine *engine, struct cpn_campaign *campaign,
                                                         uint64_t *lines_to_come, uint64_t *twice,
                                                         struct cpn_fault *fault);

/* What was issued under a limit has to fit again. Live, the keeper has packed whenever it could; here it is done when
 * memory runs out. True: there is more now. */
bool cpn_restore_make_the_most_of_memory(coupon_engine *engine);

/* If that is not enough: under this life's key a set may have grown further than it had when the last ticket was
 * issued. So all claims go, for rows to come in, and are deferred. True: there is more now. */
bool cpn_restore_let_claims_go(coupon_engine *engine);
coupon_status cpn_restore_no_memory(struct cpn_fault *fault);

#endif
