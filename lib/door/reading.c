/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking tickets up, in memory and in the files of released campaigns. coupon.h, "Reading" and "Campaigns that are
 * over".
 */
#include <string.h>

#include "base/callback.h"
#include "coupon/coupon.h"
#include "door/guest.h"
#include "door/sized.h"
#include "engine/engine.h"

static coupon_status lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                            struct coupon_ticket *ticket, uint64_t *count) {
  if (CPN_UNLIKELY(engine == NULL || !cpn_sized_is_output(ticket, sizeof *ticket))) return COUPON_E_INVAL;
  coupon_status status = cpn_engine_enter(engine, false);
  if (CPN_UNLIKELY(status != COUPON_OK)) return status;
  uint64_t unwanted;
  return cpn_engine_leave(cpn_query_lookup(engine, campaign, user, uuid, ticket, count != NULL ? count : &unwanted));
}

coupon_status coupon_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, struct coupon_ticket *ticket,
                            uint64_t *count) {
  return lookup(engine, campaign, user, NULL, ticket, count);
}

coupon_status coupon_lookup_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                 struct coupon_ticket *ticket, uint64_t *count) {
  return uuid == NULL ? COUPON_E_INVAL : lookup(engine, campaign, 0, uuid, ticket, count);
}

coupon_status coupon_tickets(coupon_engine *engine, uint64_t campaign_id, uint64_t from, struct coupon_ticket *tickets,
                             size_t element_size, size_t capacity, size_t *count) {
  if (engine == NULL || tickets == NULL || count == NULL) return COUPON_E_INVAL;
  if (!cpn_sized_is_element(element_size, sizeof *tickets) || capacity == 0) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_enter(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  *count = 0;
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  if (campaign == NULL) return cpn_guest_leave(&guest, COUPON_NO_CAMPAIGN);
  if (!cpn_campaign_is_live(campaign)) return cpn_guest_leave(&guest, COUPON_E_RELEASED);
  uint64_t numbered = cpn_query_numbered(engine, campaign);
  if (from == 0) from = 1;
  for (; *count < capacity && from <= numbered; from++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cpn_query_ticket(engine, campaign, from, &ticket);
    ticket.size = element_size;
    memcpy((char *)tickets + *count * element_size, &ticket, sizeof ticket);
    ++*count;
  }
  return cpn_guest_leave(&guest, COUPON_OK);
}

/* --- from files, too ----------------------------------------------------------------------------- */

/* A visit that reads files. */
static coupon_status visit_to_read(coupon_engine *engine, struct cpn_guest *guest) {
  coupon_status status = cpn_guest_visit(engine, guest);
  if (status != COUPON_OK) return cpn_guest_depart(guest, status);
  return cpn_callback_inside() ? cpn_guest_end_visit(engine, guest, COUPON_E_IN_CALLBACK) : COUPON_OK;
}

coupon_status coupon_read_tickets(coupon_engine *engine, uint64_t campaign_id, uint64_t from,
                                  struct coupon_ticket *tickets, size_t element_size, size_t capacity, size_t *count) {
  coupon_status status = coupon_tickets(engine, campaign_id, from, tickets, element_size, capacity, count);
  if (status != COUPON_E_RELEASED) return status;
  struct cpn_guest guest;
  status = visit_to_read(engine, &guest);
  if (status != COUPON_OK) return status;
  status = cpn_released_tickets(engine, campaign_id, from, (char *)tickets, element_size, capacity, count);
  return cpn_guest_end_visit(engine, &guest, status);
}

static coupon_status read_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                                 struct coupon_ticket *ticket, uint64_t *count) {
  coupon_status status = lookup(engine, campaign, user, uuid, ticket, count);
  if (status != COUPON_E_RELEASED) return status;
  struct cpn_guest guest;
  status = visit_to_read(engine, &guest);
  if (status != COUPON_OK) return status;
  uint64_t unwanted;
  status = cpn_released_lookup(engine, campaign, user, uuid, ticket, count != NULL ? count : &unwanted);
  return cpn_guest_end_visit(engine, &guest, status);
}

coupon_status coupon_read_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, struct coupon_ticket *ticket,
                                 uint64_t *count) {
  return read_lookup(engine, campaign, user, NULL, ticket, count);
}

coupon_status coupon_read_lookup_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                      struct coupon_ticket *ticket, uint64_t *count) {
  return uuid == NULL ? COUPON_E_INVAL : read_lookup(engine, campaign, 0, uuid, ticket, count);
}
