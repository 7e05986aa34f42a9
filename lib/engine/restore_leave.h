/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leaves claims of tickets that have come back (issue/claim_fill.h): one thread, one share of one campaign, ticket
 * after ticket.
 */
#ifndef CPN_ENGINE_RESTORE_LEAVE_H
#define CPN_ENGINE_RESTORE_LEAVE_H

#include "engine/engine.h"
#include "issue/claim_fill.h"

struct cpn_leaver {
  coupon_engine *engine;
  const struct cpn_tickets *tickets;
  struct cpn_claim_fill *fill;
  uint32_t share;
  uint64_t first, next, end; /* of the share's tickets: the first one here, those that have not been left */
  bool tells;                /* how far it is: of the opening thread's, one */
  bool alone;                /* there is no other thread meanwhile */
};

/* Leaves those before `end`. */
void cpn_restore_leave(struct cpn_leaver *leaver, uint64_t end);

/* Of a campaign's claims, in CPN_PROGRESS_WHOLE: leaving is half of the work. */
#define CPN_PROGRESS_LEAVING (CPN_PROGRESS_WHOLE / 2)

#endif
