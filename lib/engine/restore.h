/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tickets that were issued before come back, at recovery, by the hundred: from the log's records or from wherever they
 * are kept. Nobody else is there yet, which is what makes it fast; the rules of docs/FORMAT.md are checked all the
 * same, and the answer is the same as one by one.
 */
#ifndef CPN_ENGINE_RESTORE_H
#define CPN_ENGINE_RESTORE_H

#include "engine/engine.h"
#include "issue/ticket_pages.h"

/* Appends `count` tickets of one campaign, in order, with all rules of docs/FORMAT.md checked but that of the user's
 * kind, which is the caller's to check, and of one ticket to a user, which may be left to cpn_restore_settle().
 * COUPON_OK, COUPON_E_CORRUPT or COUPON_E_NOMEM; the fault names no file. Those before the first that breaks a rule
 * have taken effect, and cpn_tickets_numbered() and engine->tickets have counted them. Raises the clock. */
CPN_MUST_CHECK coupon_status cpn_restore_tickets(coupon_engine *engine, struct cpn_campaign *campaign,
                                                 const struct cpn_restored *rows, size_t count,
                                                 struct cpn_fault *fault);

/* Appends a page of tickets that lies packed as memory would have it, as cpn_restore_tickets() would its rows. False:
 * it cannot be taken so, or breaks a rule; nothing has changed, and its rows are to be given. */
CPN_MUST_CHECK bool cpn_restore_page(coupon_engine *engine, struct cpn_campaign *campaign,
                                     const struct cpn_packed_page *page);

/* Ends the restoring: until then no user can be looked up, and a user's second ticket may have passed. `*twice_lsn` is
 * the LSN of the first such one in the order of the log, 0 if there is none. COUPON_OK or COUPON_E_NOMEM. */
CPN_MUST_CHECK coupon_status cpn_restore_settle(coupon_engine *engine, uint64_t *twice_lsn, struct cpn_fault *fault);

struct cpn_reader; /* log/reader.h */

/* cpn_reader_run(), then cpn_restore_settle(); on a user's second ticket the fault that one by one would have had. */
CPN_MUST_CHECK coupon_status cpn_restore_run(coupon_engine *engine, struct cpn_reader *reader, struct cpn_fault *fault);

#if defined(CPN_TEST_POINTS)
extern uint64_t cpn_restore_defer_from;
extern uint64_t cpn_restore_follow_from; /* 4 or more */
#endif

#endif
