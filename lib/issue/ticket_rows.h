/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of a page of tickets, LSN and time of each, in two forms. Wide rows are what writers fill, 16 bytes each.
 * When a page is complete it is packed: neighbours have nearly everything in common, so a row becomes a few
 * bits beyond what the page says of all, and none at all where tickets follow each other at a steady pace within one
 * tick of the clock.
 */
#ifndef CPN_ISSUE_TICKET_ROWS_H
#define CPN_ISSUE_TICKET_ROWS_H

#include <stdatomic.h>

#include "base/defs.h"

struct cpn_ticket_row {
  /* 0: not written yet; the LSN, or without a log 1. Written behind the time and the user, once. */
  _Atomic uint64_t stamp;
  _Atomic uint64_t time_ns;
};

/* Row i: stamp = first stamp + i * stamp_step + delta i * 8; time = first time + delta i * time_unit. Deltas of one
 * kind have one width, in bits, and follow each other without gaps: all of the stamps', then all of the times'. */
struct cpn_ticket_pack {
  uint64_t first_stamp, first_time_ns;
  uint32_t stamp_step, time_unit;
  uint32_t count;
  uint8_t stamp_bits, time_bits;
  uint64_t words[];
};

/* What the pack of these rows, all written, will be: fills the head and returns the size in bytes of the whole. Their
 * times never fall; their stamps rise by `least_step` or more, a multiple of 8, or are all the same. */
size_t cpn_ticket_pack_measure(struct cpn_ticket_pack *head, const struct cpn_ticket_row *rows, uint32_t count,
                               uint32_t least_step);

/* Fills `pack`, zeroed memory of that size whose head has been copied. */
void cpn_ticket_pack_fill(struct cpn_ticket_pack *pack, const struct cpn_ticket_row *rows);

uint64_t cpn_ticket_pack_stamp(const struct cpn_ticket_pack *pack, uint32_t i);
uint64_t cpn_ticket_pack_time(const struct cpn_ticket_pack *pack, uint32_t i);
size_t cpn_ticket_pack_size(const struct cpn_ticket_pack *pack);

#endif
