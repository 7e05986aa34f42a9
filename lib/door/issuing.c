/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One of these, for me: asking, and waiting until the answer is final. coupon.h, "Issuing".
 */
#include "coupon/coupon.h"
#include "door/guest.h"
#include "door/sized.h"
#include "engine/engine.h"

coupon_status coupon_try_issue(coupon_engine *engine, uint64_t campaign, uint64_t user, struct coupon_ticket *ticket) {
  if (CPN_UNLIKELY(engine == NULL || !cpn_sized_is_output(ticket, sizeof *ticket))) return COUPON_E_INVAL;
  return cpn_engine_try_issue(engine, campaign, user, ticket);
}

coupon_status coupon_try_issue_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                    struct coupon_ticket *ticket) {
  if (CPN_UNLIKELY(engine == NULL || uuid == NULL || !cpn_sized_is_output(ticket, sizeof *ticket)))
    return COUPON_E_INVAL;
  return cpn_engine_try_issue_uuid(engine, campaign, uuid, ticket);
}

coupon_status coupon_try_issue_batch(coupon_engine *engine, const struct coupon_request *requests, size_t count,
                                     struct coupon_ticket *tickets, size_t element_size) {
  if (engine == NULL || !cpn_sized_is_element(element_size, sizeof *tickets)) return COUPON_E_INVAL;
  if (count != 0 && (requests == NULL || tickets == NULL)) return COUPON_E_INVAL;
  if (element_size % _Alignof(struct coupon_ticket) != 0) return COUPON_E_INVAL;
  return cpn_batch_issue(engine, requests, count, (char *)tickets, element_size);
}

/* The flag, and the number of an answer that is a ticket, which the commit stage has given it by the time it is
 * final. COUPON_E_INVAL: the log has no such ticket at this position, so the answer is one of another engine, or of an
 * earlier life whose end was cut. Of a campaign that was released while somebody waited the number is in a file:
 * COUPON_NOT_FOUND, or why it cannot be read. */
static coupon_status complete(coupon_engine *engine, struct coupon_ticket *ticket) {
  bool is_ticket =
      ticket->answer == COUPON_ISSUED || ticket->answer == COUPON_ALREADY_ISSUED || ticket->answer == COUPON_OK;
  cpn_rcu_read_lock();
  cpn_engine_set_final(engine, ticket);
  bool final = (ticket->flags & COUPON_TICKET_FINAL) != 0;
  uint64_t number = is_ticket ? cpn_query_number(engine, ticket) : 0;
  const struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, ticket->campaign);
  bool live = campaign == NULL || cpn_campaign_is_live(campaign);
  cpn_rcu_read_unlock();
  coupon_status status = live && is_ticket && final && number == 0 ? COUPON_E_INVAL : COUPON_OK;
  if (!live && is_ticket && final && ticket->number == 0)
    status = cpn_released_number(engine, campaign, ticket->lsn, &number);
  if (number != 0) ticket->number = number;
  return status;
}

static coupon_status issue(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                           int64_t deadline, struct coupon_ticket *ticket) {
  if (engine == NULL || !cpn_sized_is_output(ticket, sizeof *ticket)) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_visit(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  if (engine->options.read_only != 0) return cpn_guest_end_visit(engine, &guest, COUPON_E_READ_ONLY);
  if (cpn_guest_would_wait_in_callback(deadline)) return cpn_guest_end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  for (;;) {
    status = cpn_engine_issue(engine, campaign, user, uuid, ticket);
    if (status != COUPON_E_BUSY) break;
    status = cpn_wait_room(engine, cpn_issue_words(uuid == NULL ? 1 : 2), deadline);
    if (status != COUPON_OK) break;
  }
  if (status < 0) cpn_wait_published(engine); /* places may have been given up */
  if (status >= 0) {
    coupon_status final = cpn_wait_final(engine, ticket->lsn, deadline);
    coupon_status known = complete(engine, ticket);
    CPN_INVARIANT(3, known != COUPON_E_INVAL); /* else it stands, also where its number cannot be read */
    if (final == COUPON_E_FAILED) status = COUPON_E_FAILED;
  }
  return cpn_guest_end_visit(engine, &guest, status);
}

coupon_status coupon_issue(coupon_engine *engine, uint64_t campaign, uint64_t user, int64_t deadline,
                           struct coupon_ticket *ticket) {
  return issue(engine, campaign, user, NULL, deadline, ticket);
}

coupon_status coupon_issue_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid, int64_t deadline,
                                struct coupon_ticket *ticket) {
  return uuid == NULL ? COUPON_E_INVAL : issue(engine, campaign, 0, uuid, deadline, ticket);
}

coupon_status coupon_wait(coupon_engine *engine, struct coupon_ticket *ticket, int64_t deadline) {
  if (engine == NULL || !cpn_sized_is_output(ticket, sizeof *ticket)) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_visit(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  if (cpn_guest_would_wait_in_callback(deadline)) return cpn_guest_end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  if (ticket->lsn > cpn_buffer_tail(&engine->buffer)) return cpn_guest_end_visit(engine, &guest, COUPON_E_INVAL);
  status = cpn_wait_final(engine, ticket->lsn, deadline);
  coupon_status known = complete(engine, ticket);
  if (known == COUPON_NOT_FOUND) known = COUPON_E_INVAL;
  if (known == COUPON_E_INVAL) ticket->flags = 0;
  if (known != COUPON_OK) status = known;
  /* It may have become final between the two looks: status and flag say the same. */
  if (status == COUPON_NOT_FINAL && (ticket->flags & COUPON_TICKET_FINAL) != 0) status = COUPON_OK;
  return cpn_guest_end_visit(engine, &guest, status);
}

coupon_status coupon_flush(coupon_engine *engine) {
  if (engine == NULL) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_enter(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  cpn_wait_flush(engine);
  return cpn_guest_leave(&guest, COUPON_OK);
}

coupon_status coupon_durable_lsn(coupon_engine *engine, uint64_t *lsn) {
  if (engine == NULL || lsn == NULL) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_enter(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  *lsn = cpn_commit_durable(&engine->commit);
  return cpn_guest_leave(&guest, COUPON_OK);
}

coupon_status coupon_eventfd(coupon_engine *engine, int *fd) {
  if (engine == NULL || fd == NULL) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_enter(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  return cpn_guest_leave(&guest, cpn_wait_eventfd(engine, fd));
}
