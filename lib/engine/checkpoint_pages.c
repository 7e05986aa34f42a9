/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/checkpoint_pages.h"

#include "engine/restore.h"
#include "log/checkpoint_format.h"

_Static_assert(CPN_TICKETS_PAGE == CPN_TICKET_PAGE, "a page of the file is one of memory");

static struct cpn_packed_page packed(const struct cpn_tickets_page *page, const unsigned char *users) {
  return (struct cpn_packed_page){.first_stamp = page->lsn,
                                  .first_time_ns = page->time_ns,
                                  .stamp_step = page->step,
                                  .time_unit = page->unit,
                                  .stamp_bits = page->p,
                                  .time_bits = page->q,
                                  .bits = page->bits,
                                  .users = users};
}

/* Whether the page's LSNs and times are within the bounds, which then move on. */
static bool is_within(struct cpn_packed_page *page, uint64_t record_bytes, struct cpn_checkpoint_bounds *bounds) {
  const uint64_t first = page->first_stamp;
  if (first > bounds->lsn_max || first < bounds->lsn_before || first - bounds->lsn_before < record_bytes) return false;
  if (!cpn_packed_page_rises(page, record_bytes)) return false;
  return page->last_stamp <= bounds->lsn_max && page->last_time_ns <= bounds->last_ns;
}

bool cpn_checkpoint_load_pages(coupon_engine *engine, struct cpn_campaign *campaign,
                               struct cpn_checkpoint_bounds *bounds, uint32_t count, const unsigned char *payload,
                               size_t size, uint32_t *done) {
  const uint32_t user_words = campaign->tickets.user_words;
  const uint64_t record_bytes = (uint64_t)cpn_issue_words(user_words) * 8;
  size_t at = (size_t)count * user_words * 8, length = 0; /* the first page lies behind the users */
  for (*done = 0; at <= size && *done + CPN_TICKET_PAGE <= count; *done += CPN_TICKET_PAGE, at += length) {
    struct cpn_tickets_page page;
    if (!cpn_tickets_page_decode(&page, CPN_TICKET_PAGE, payload + at, size - at, &length)) return false;
    struct cpn_packed_page as_packed = packed(&page, payload + (size_t)*done * user_words * 8);
    if (!is_within(&as_packed, record_bytes, bounds) || !cpn_restore_page(engine, campaign, &as_packed)) return false;
    bounds->lsn_before = as_packed.last_stamp;
  }
  return *done == count && at == size;
}
