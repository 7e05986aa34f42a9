/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of an issue, top to bottom: decide_once() looks and refuses, take() claims the user, and a unit is taken in
 * the log's order, or without a log in the order of the units themselves. Everything here decides; nothing waits for
 * the disk. The protocol's argument stands in docs/DESIGN.md.
 */
#include "engine/engine.h"

#include <ck_pr.h>
#include <sched.h>

#include "base/points.h"

/* Not an answer: what was read has changed, begin again; or a request of this user is being decided, wait a little. */
#define AGAIN 1000
#define PENDING 1001

#define PATIENT_ROUNDS 6u

void cpn_engine_wait_a_little(struct cpn_patience *patience) {
  if (patience->rounds < PATIENT_ROUNDS) {
    for (uint32_t i = 0; i < UINT32_C(16) << patience->rounds; i++) ck_pr_stall();
    patience->rounds++;
  } else {
    (void)sched_yield();
  }
}

coupon_status cpn_engine_no_room(const coupon_engine *engine) {
  /* A record takes far less than a page; close enough to the end is the end. */
  return cpn_buffer_tail(&engine->buffer) > COUPON_LSN_MAX - 4096 ? COUPON_E_LOG_FULL : COUPON_E_BUSY;
}

void cpn_engine_void(coupon_engine *engine, uint64_t at, uint32_t words) {
  cpn_buffer_void(&engine->buffer, at, words);
  atomic_fetch_add_explicit(&engine->voids, 1, memory_order_relaxed); /* relaxed: a figure for people */
}

/* Final in the meantime: so it has its number by now, and its caller is told, who will not ask again. */
static inline void complete_number(const struct cpn_campaign *campaign, struct coupon_ticket *ticket) {
  if (CPN_LIKELY(ticket->number != 0 || (ticket->flags & COUPON_TICKET_FINAL) == 0)) return;
  ticket->number = cpn_tickets_find(&campaign->tickets, ticket->lsn);
  CPN_INVARIANT(3, ticket->number != 0);
}

void cpn_engine_complete(const coupon_engine *engine, const struct cpn_campaign *campaign,
                         struct coupon_ticket *ticket) {
  cpn_engine_set_final(engine, ticket);
  complete_number(campaign, ticket);
}

bool cpn_engine_room(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number) {
  if (CPN_UNLIKELY(number % CPN_KEEPER_EVERY == 0)) cpn_keeper_want(engine, campaign);
  if (CPN_LIKELY(number <= cpn_tickets_room(&campaign->tickets))) return true;
  return cpn_tickets_make_room(&campaign->tickets, &engine->memory, NULL, number);
}

/* LP(refusal): the read of the claim, between two equal reads of the marked word. Rests on the basis. */
CPN_INLINE coupon_status refuse(uint64_t word, uint64_t lsn, uint64_t now, struct coupon_ticket *ticket) {
  ticket->number = 0;
  ticket->lsn = lsn;
  ticket->time_ns = now;
  switch (cpn_word_state(word)) {
    case CPN_STOCK_SCHEDULED:
      return COUPON_NOT_OPEN;
    case CPN_STOCK_OPEN:
      return COUPON_SOLD_OUT;
    case CPN_STOCK_CLOSING: /* is never marked: whoever meets it helps to close */
    case CPN_STOCK_CLOSED:
      break;
  }
  return COUPON_ENDED;
}

/* What the compiler knows of a request, in the forms in which requests come. */
struct form {
  bool has_log;
  uint32_t user_words;
};

/* What a decision goes by: the stock's word, what the clock said after that was read, and which ticket the next one
 * is. */
struct look {
  uint64_t word, now, number;
};

/* Without a log the unit gives its ticket this number; with one there is to be room for as many. */
static inline uint64_t next_number(const struct cpn_campaign *campaign, uint64_t word) {
  return campaign->spec.stock - cpn_word_remaining(word) + 1;
}

/* For those who are told where it is: the original stays in registers. */
static inline struct cpn_user copy_of(const struct cpn_user *user) {
  return (struct cpn_user){.words = {user->words[0], user->words[1]}, .hash = user->hash};
}

/* --- taking -------------------------------------------------------------------------------------- */

/* A unit for a user who is claimed (or has no limit): reserves, takes by the rule, publishes. Issued, AGAIN or a
 * fault; on the latter two nothing is taken and the reserved place is VOID. `claim` NULL: none leads to the ticket. */
CPN_INLINE coupon_status take_logged(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                     uint32_t user_words, _Atomic uint64_t *claim, struct coupon_ticket *ticket) {
  const uint64_t stock = campaign->spec.stock;
  const uint32_t words = cpn_issue_words(user_words);
  for (;;) {
    uint64_t word = cpn_stock_read(&campaign->stock);
    if (cpn_word_refuses(word) || cpn_word_marked(word)) return AGAIN;
    /* Room for the ticket while that can still fail; others may take before us, up to the room there is. */
    if (!cpn_engine_room(engine, campaign, next_number(campaign, word))) return COUPON_E_NOMEM;
    const uint64_t room = cpn_tickets_room(&campaign->tickets);

    uint64_t time_ns;
    uint64_t at = cpn_buffer_reserve(&engine->buffer, words, &time_ns);
    if (at == CPN_LSN_NONE) return cpn_engine_no_room(engine);
    CPN_POINT(RESERVED);
    bool in_time = cpn_window_contains(campaign, time_ns);
    if (!in_time || !cpn_stock_take(&campaign->stock, word, stock - room)) { /* LP(issue) */
      cpn_engine_void(engine, at, words);
      if (!in_time) return AGAIN;
      continue;
    }
    CPN_POINT(TAKEN);
    /* From here on nothing may fail, and the record must follow. */
    ticket->number = 0;
    ticket->lsn = at + words * UINT64_C(8);
    ticket->time_ns = time_ns;
    cpn_buffer_fill(&engine->buffer, at, 1, user->words[0]);
    if (user_words == 2) cpn_buffer_fill(&engine->buffer, at, 2, user->words[1]);
    cpn_buffer_fill(&engine->buffer, at, words - 1, time_ns);
    /* The claim behind what it leads to, and before the head, so that no ticket is numbered whose claim is PENDING. */
    if (claim != NULL) cpn_claim_write(claim, cpn_claim_held(user->hash, ticket->lsn));
    CPN_POINT(HELD);
    cpn_buffer_publish(&engine->buffer, at, cpn_issue_head(user_words, campaign->index));
    CPN_POINT(PUBLISHED);
    return COUPON_ISSUED;
  }
}

/* Where another thread took since the word was read, or changed it: reads it anew, as often as it takes. */
static coupon_status take_unlogged_again(coupon_engine *engine, struct cpn_campaign *campaign,
                                         struct coupon_ticket *ticket) {
  for (;; ck_pr_stall()) {
    const uint64_t word = cpn_stock_read(&campaign->stock);
    if (cpn_word_refuses(word) || cpn_word_marked(word)) return AGAIN;
    ticket->number = next_number(campaign, word);
    if (!cpn_engine_room(engine, campaign, ticket->number)) return COUPON_E_NOMEM;
    /* Between two equal reads of the word: nobody took in between, so the ticket before has its time from before. */
    ticket->time_ns = cpn_clock_now(&engine->clock);
    if (!cpn_window_contains(campaign, ticket->time_ns)) return AGAIN;
    CPN_POINT(RESERVED);
    if (cpn_stock_take_as_seen(&campaign->stock, word, 1)) return COUPON_ISSUED; /* LP(issue) */
  }
}

/* The clock was read after the word, and before the exchange finds that as it was: as above. For this number there
 * is room, and the time lies in the window: it is open, and not due to close. */
CPN_INLINE coupon_status take_unlogged_as_seen(coupon_engine *engine, struct cpn_campaign *campaign,
                                               const struct look *look, struct coupon_ticket *ticket) {
  CPN_DEBUG_ASSERT(cpn_window_contains(campaign, look->now));
  CPN_POINT(RESERVED);
  if (CPN_UNLIKELY(!cpn_stock_take_as_seen(&campaign->stock, look->word, 1))) /* LP(issue) */
    return take_unlogged_again(engine, campaign, ticket);
  ticket->number = look->number;
  ticket->time_ns = look->now;
  return COUPON_ISSUED;
}

/* Writes down the ticket of a unit that is taken. `before` is the user's claim as it was: without a limit it may lead
 * to a first ticket, which it then goes on to do. */
CPN_INLINE void put_unlogged(struct cpn_campaign *campaign, const struct cpn_user *user, uint32_t user_words,
                             _Atomic uint64_t *claim, uint64_t before, const struct coupon_ticket *ticket) {
  struct cpn_tickets *tickets = &campaign->tickets;
  uint64_t first = ticket->number;
  cpn_tickets_put_at(cpn_tickets_spot_of(tickets, user_words, first), user_words, user->words, 1, ticket->time_ns);
  if (CPN_UNLIKELY(tickets->counts != NULL)) {
    if (cpn_claim_kind_of(before) == CPN_CLAIM_NUMBERED) first = cpn_claim_number(before);
    /* relaxed: whoever has the claim PENDING is alone with it; the claim publishes */
    atomic_fetch_add_explicit(cpn_tickets_count(tickets, first), 1, memory_order_relaxed);
  }
  cpn_claim_write(claim, cpn_claim_numbered(user->hash, first));
  CPN_POINT(HELD);
}

/* Without a limit, and with a log: the entry only gives the commit stage a place to note the user's first ticket. */
static coupon_status take_unlimited(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                    _Atomic uint64_t *claim, uint64_t before, struct coupon_ticket *ticket) {
  if (before == 0 && !cpn_claim_swap(claim, 0, cpn_claim_free(user->hash))) return AGAIN;
  return take_logged(engine, campaign, user, campaign->tickets.user_words, NULL, ticket);
}

/* COUPON_OK: somebody who is claimed would not be turned away at once, and there is memory for the ticket. Else not
 * even an entry is made. */
CPN_INLINE coupon_status may_take(coupon_engine *engine, struct cpn_campaign *campaign, struct form form,
                                  struct look *look) {
  look->number = next_number(campaign, look->word);
  if (form.has_log && cpn_buffer_is_full(&engine->buffer, cpn_issue_words(form.user_words)))
    return cpn_engine_no_room(engine);
  return CPN_LIKELY(cpn_engine_room(engine, campaign, look->number)) ? COUPON_OK : COUPON_E_NOMEM;
}

/* Claims the user, `before` → PENDING, and tries for a unit; without one the claim is as before, or FREE if it was
 * EMPTY. */
CPN_INLINE coupon_status take(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                              struct form form, const struct look *look, _Atomic uint64_t *claim, uint64_t before,
                              struct coupon_ticket *ticket) {
  if (form.has_log && campaign->spec.user_limit == 0)
    return take_unlimited(engine, campaign, user, claim, before, ticket);
  if (CPN_UNLIKELY(!cpn_claim_swap(claim, before, cpn_claim_pending(user->hash)))) return AGAIN;
  CPN_POINT(CLAIMED);
  coupon_status status = form.has_log ? take_logged(engine, campaign, user, form.user_words, claim, ticket)
                                      : take_unlogged_as_seen(engine, campaign, look, ticket);
  if (CPN_UNLIKELY(status != COUPON_ISSUED)) {
    cpn_claim_write(claim, before != 0 ? before : cpn_claim_free(user->hash));
    return status;
  }
  if (form.has_log) return status;
  CPN_POINT(TAKEN);
  put_unlogged(campaign, user, form.user_words, claim, before, ticket);
  return status;
}

/* --- deciding ------------------------------------------------------------------------------------ */

/* Of a user who holds no ticket, or has no limit: an answer, a fault, or AGAIN; or COUPON_OK: there is something to
 * take. The claim was read after what `look` has. */
CPN_INLINE coupon_status refuse_or_not(coupon_engine *engine, struct cpn_campaign *campaign, const struct look *look,
                                       struct coupon_ticket *ticket) {
  const uint64_t word = look->word;
  if (CPN_UNLIKELY(cpn_window_is_due(campaign, word, look->now))) {
    coupon_status status = cpn_window_change(engine, campaign, word);
    return status == COUPON_OK ? AGAIN : status;
  }
  if (CPN_LIKELY(!cpn_word_refuses(word) && !cpn_word_marked(word))) return COUPON_OK;
  if (cpn_word_marked(word)) {
    uint64_t basis_lsn = cpn_stock_basis_lsn(&campaign->stock);
    if (CPN_UNLIKELY(cpn_stock_read(&campaign->stock) != word)) return AGAIN;
    return refuse(word, basis_lsn, look->now, ticket);
  }
  cpn_stock_mark(&campaign->stock, word, &engine->buffer.tail);
  return AGAIN;
}

/* Where somebody has been before, the user or another one, or the first line is full: `found` is what a look into that
 * `line` has found. Apart, so that the way of new users is short. */
static coupon_status decide_claimed(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                    struct look look, const _Atomic uint64_t *line, _Atomic uint64_t *found,
                                    struct coupon_ticket *ticket) {
  const struct form form = {.has_log = engine->has_log, .user_words = campaign->tickets.user_words};
  struct cpn_claim_place place = cpn_claim_look_from(&campaign->claims, user->hash, line, found);
  enum cpn_claim_kind kind = cpn_holder_resolve(engine, campaign, user, &place, ticket);
  CPN_POINT(CLAIM_READ);
  if (CPN_UNLIKELY(kind == CPN_CLAIM_PENDING)) return PENDING;
  if ((kind == CPN_CLAIM_HELD || kind == CPN_CLAIM_NUMBERED) && campaign->spec.user_limit != 0)
    return COUPON_ALREADY_ISSUED; /* LP(duplicate): the read of the claim */
  coupon_status status = refuse_or_not(engine, campaign, &look, ticket);
  if (status == COUPON_OK) status = may_take(engine, campaign, form, &look);
  if (status != COUPON_OK) return status;
  if (CPN_UNLIKELY(place.word == NULL))
    return cpn_claim_add_level(&campaign->claims, &engine->memory, &place) ? AGAIN : COUPON_E_NOMEM;
  return take(engine, campaign, user, form, &look, place.word, place.seen, ticket);
}

/* One look, and an answer or a fault; or AGAIN, or PENDING. */
CPN_INLINE coupon_status decide_once(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                     struct form form, struct coupon_ticket *ticket) {
  if (!cpn_campaign_is_live(campaign)) return COUPON_E_RELEASED;
  struct look look = {.word = cpn_stock_read(&campaign->stock)};
  look.now = cpn_clock_now(&engine->clock);
  _Atomic uint64_t *line = cpn_claim_line(&campaign->claims, user->hash);
  _Atomic uint64_t *found = cpn_claim_first_in(line, user->hash);
  if (CPN_UNLIKELY(found == NULL) || cpn_claim_read(found) != 0) {
    const struct cpn_user copy = copy_of(user);
    return decide_claimed(engine, campaign, &copy, (struct look){.word = look.word, .now = look.now}, line, found,
                          ticket);
  }
  CPN_POINT(CLAIM_READ);
  coupon_status status = refuse_or_not(engine, campaign, &look, ticket);
  if (status == COUPON_OK) status = may_take(engine, campaign, form, &look);
  if (status != COUPON_OK) return status;
  return take(engine, campaign, user, form, &look, found, 0, ticket);
}

/* As often as it takes. */
coupon_status cpn_engine_decide(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                struct coupon_ticket *ticket) {
  const struct form form = {.has_log = engine->has_log, .user_words = campaign->tickets.user_words};
  struct cpn_patience patience = {0};
  for (;;) {
    coupon_status status = decide_once(engine, campaign, user, form, ticket);
    if (status < AGAIN) return status;
    if (status == PENDING) cpn_engine_wait_a_little(&patience);
  }
}

/* In forms of their own for each kind of log and user: `form`, `uuid` and `tells` are constants to the compiler. */
CPN_INLINE coupon_status try_issue(coupon_engine *engine, uint64_t campaign_id, uint64_t user_id,
                                   const unsigned char *uuid, struct form form, bool tells,
                                   struct coupon_ticket *ticket) {
  const struct cpn_user user = cpn_engine_user(engine, user_id, uuid);
  coupon_status status = cpn_engine_enter(engine, true);
  if (CPN_UNLIKELY(status != COUPON_OK)) return status;
  cpn_engine_address(ticket, campaign_id, user_id, uuid);
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  if (CPN_UNLIKELY(campaign == NULL)) {
    ticket->time_ns = cpn_clock_now(&engine->clock);
    ticket->flags = COUPON_TICKET_FINAL;
    return cpn_engine_leave(ticket->answer = COUPON_NO_CAMPAIGN);
  }
  cpn_campaign_prefetch(campaign);
  if (CPN_UNLIKELY(campaign->tickets.user_words != form.user_words)) return cpn_engine_leave(COUPON_E_USER_KIND);
  status = decide_once(engine, campaign, &user, form, ticket);
  if (CPN_UNLIKELY(status >= AGAIN)) {
    const struct cpn_user copy = copy_of(&user);
    status = cpn_engine_decide(engine, campaign, &copy, ticket);
  }
  ticket->answer = status;
  if (!form.has_log) {
    ticket->flags = COUPON_TICKET_FINAL;
    return cpn_engine_leave(status);
  }
  if (tells) cpn_wait_published(engine);
  cpn_engine_set_final(engine, ticket);
  if (status == COUPON_ISSUED || status == COUPON_ALREADY_ISSUED) complete_number(campaign, ticket);
  return cpn_engine_leave(status);
}

CPN_HOT static coupon_status try_logged(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                        struct coupon_ticket *ticket) {
  return try_issue(engine, campaign, user, NULL, (struct form){.has_log = true, .user_words = 1}, true, ticket);
}

CPN_HOT static coupon_status try_logged_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                             struct coupon_ticket *ticket) {
  return try_issue(engine, campaign, 0, uuid, (struct form){.has_log = true, .user_words = 2}, true, ticket);
}

CPN_HOT coupon_status cpn_engine_try_issue(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                           struct coupon_ticket *ticket) {
  if (engine->has_log) return try_logged(engine, campaign, user, ticket);
  return try_issue(engine, campaign, user, NULL, (struct form){.has_log = false, .user_words = 1}, true, ticket);
}

CPN_HOT coupon_status cpn_engine_try_issue_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                                struct coupon_ticket *ticket) {
  if (engine->has_log) return try_logged_uuid(engine, campaign, uuid, ticket);
  return try_issue(engine, campaign, 0, uuid, (struct form){.has_log = false, .user_words = 2}, true, ticket);
}

coupon_status cpn_engine_issue(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                               struct coupon_ticket *ticket) {
  const struct form form = {.has_log = engine->has_log, .user_words = uuid == NULL ? 1 : 2};
  return try_issue(engine, campaign, user, uuid, form, false, ticket);
}
