/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of tickets that come back, at recovery, as they lie packed in a file: their bits are those of
 * issue/ticket_rows.h, so they need not be unpacked to be packed again, but only be looked through.
 */
#ifndef CPN_ISSUE_TICKET_PAGES_H
#define CPN_ISSUE_TICKET_PAGES_H

#include "issue/tickets.h"

/* As struct cpn_ticket_pack, of CPN_TICKET_PAGE tickets. */
struct cpn_packed_page {
  uint64_t first_stamp, first_time_ns;
  uint32_t stamp_step, time_unit;
  unsigned stamp_bits, time_bits;
  const unsigned char *bits;  /* of the deltas, in whole words; little-endian, as all bytes here */
  const unsigned char *users; /* words */
  uint64_t last_stamp, last_time_ns;
};

/* Whether stamps rise by `stamp_bytes` at least from one ticket to the next, and times do not fall; `first_stamp` is
 * below 2^48. Sets the last ones. False also of pages that nobody writes, of which it would be long to tell. */
CPN_MUST_CHECK bool cpn_packed_page_rises(struct cpn_packed_page *page, uint64_t stamp_bytes);

/* Appends the page behind the tickets that have their numbers, for whoever is alone with them. False: nothing has
 * changed, and it has to be given as rows; because the tickets before do not fill their pages or were not packed,
 * because the page is better not packed, or for want of memory. */
CPN_MUST_CHECK bool cpn_tickets_restore_page(struct cpn_tickets *tickets, struct cpn_memory *memory,
                                             const struct cpn_packed_page *page);

#endif
