/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of tickets from a checkpoint into memory as they are, which is most of opening from one. */
#ifndef CPN_ENGINE_CHECKPOINT_PAGES_H
#define CPN_ENGINE_CHECKPOINT_PAGES_H

#include "engine/engine.h"

/* What the next ticket has to keep, beside what cpn_restore_tickets() checks. */
struct cpn_checkpoint_bounds {
  uint64_t lsn_before;       /* the LSN rises from here, by its record's length at least */
  uint64_t lsn_max, last_ns; /* up to here, and no time is later */
};

/* Appends full pages from the beginning of a chunk's payload, of `count` tickets, while they break no rule and can be
 * had so; `*done` tickets have taken effect, and `bounds` have moved on. True: that was all, and the chunk is sound.
 * False: the others are to be taken as rows, which is where a fault shows. */
bool cpn_checkpoint_load_pages(coupon_engine *engine, struct cpn_campaign *campaign,
                               struct cpn_checkpoint_bounds *bounds, uint32_t count, const unsigned char *payload,
                               size_t size, uint32_t *done);

#endif
