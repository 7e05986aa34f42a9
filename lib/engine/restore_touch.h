/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first touch of memory costs as much as what is then written there. Where it is known how many tickets will come back a
 * second thread touches the memory of their users, from the last one down, while they come from the first one up; where the
 * two meet it is done. It decides nothing: what it has not touched is touched by whoever writes.
 */
#ifndef CPN_ENGINE_RESTORE_TOUCH_H
#define CPN_ENGINE_RESTORE_TOUCH_H

#include "engine/engine.h"

struct cpn_restore_touch {
  coupon_engine *engine;
  struct cpn_tickets *tickets;
  uint64_t last;          /* ticket */
  _Atomic uint32_t stops; /* written by whoever ends it */
  pthread_t thread;
  bool runs;
};

/* Begins for a campaign of which `last` tickets will come back; if there is no processor, thread or memory for it, it does not,
 * which changes nothing. */
void cpn_restore_touch_begin(struct cpn_restore_touch *touch, coupon_engine *engine, struct cpn_campaign *campaign,
                             uint64_t last);

/* Also of one that never began, being zeros, or has ended. Nobody touches the tickets' memory behind this. */
void cpn_restore_touch_end(struct cpn_restore_touch *touch);

#endif
