/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose claim is this? A claim bears some bits of its user's hash, and leads to the ticket, where the whole identity
 * stands: among the numbered tickets, or, before the commit stage has come by, in the log buffer.
 */
#include "engine/engine.h"

/* The ticket `number`, if it is this user's. */
static bool is_numbered(const struct cpn_tickets *tickets, uint64_t number, const struct cpn_user *user,
                        struct coupon_ticket *ticket) {
  if (!cpn_tickets_is_users(tickets, number, user)) return false;
  uint64_t stamp = cpn_tickets_read(tickets, number, &ticket->time_ns);
  ticket->number = number;
  ticket->lsn = stamp & ~UINT64_C(7); /* without a log stamps are 1, and LSNs 0 */
  return true;
}

/* The ticket whose record has this LSN, if it is this user's. Until the commit stage has given it its number the record
 * is in the log buffer, user, time and all: the number is there before the place is given back. So: look for the
 * number, read the record, and look for the number again. */
static bool is_held(const coupon_engine *engine, const struct cpn_tickets *tickets, uint64_t lsn,
                    const struct cpn_user *user, struct coupon_ticket *ticket) {
  uint64_t number = cpn_tickets_find(tickets, lsn);
  if (number != 0) return is_numbered(tickets, number, user, ticket);
  const uint32_t words = cpn_issue_words(tickets->user_words);
  const uint64_t at = lsn - words * UINT64_C(8);
  const struct cpn_buffer *buffer = &engine->buffer;
  uint64_t first = cpn_buffer_peek(buffer, at, 1), second = cpn_buffer_peek(buffer, at, 2);
  uint64_t time_ns = cpn_buffer_peek(buffer, at, words - 1);
  number = cpn_tickets_find(tickets, lsn);
  if (number != 0) return is_numbered(tickets, number, user, ticket);
  if (first != user->words[0] || (tickets->user_words == 2 && second != user->words[1])) return false;
  ticket->number = 0;
  ticket->lsn = lsn;
  ticket->time_ns = time_ns;
  return true;
}

CPN_HOT enum cpn_claim_kind cpn_holder_resolve(const coupon_engine *engine, const struct cpn_campaign *campaign,
                                               const struct cpn_user *user, struct cpn_claim_place *place,
                                               struct coupon_ticket *ticket) {
  const struct cpn_tickets *tickets = &campaign->tickets;
  for (;; cpn_claim_look_on(&campaign->claims, user->hash, place)) {
    enum cpn_claim_kind kind = cpn_claim_kind_of(place->seen);
    switch (kind) {
      case CPN_CLAIM_EMPTY:
        return kind;
      case CPN_CLAIM_PENDING:
      case CPN_CLAIM_FREE:
        if (cpn_claim_has_print(place->seen, user->hash)) return kind;
        break;
      case CPN_CLAIM_HELD:
        if (is_held(engine, tickets, cpn_claim_lsn(place->seen), user, ticket)) return kind;
        break;
      case CPN_CLAIM_NUMBERED:
        if (is_numbered(tickets, cpn_claim_number(place->seen), user, ticket)) return kind;
        break;
    }
    /* Another user's, who shares the tag: one look in some ten thousand comes here. */
  }
}

enum cpn_claim_kind cpn_holder_find_settled(const coupon_engine *engine, const struct cpn_campaign *campaign,
                                            const struct cpn_user *user, struct cpn_claim_place *place,
                                            struct coupon_ticket *ticket) {
  struct cpn_patience patience = {0};
  for (;;) {
    enum cpn_claim_kind kind = cpn_holder_find(engine, campaign, user, place, ticket);
    if (kind != CPN_CLAIM_PENDING) return kind;
    cpn_engine_wait_a_little(&patience);
  }
}
