/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of an issue, top to bottom: decide() looks and refuses, take() claims the user, take_unit() takes a unit in the
 * log's order. Everything here decides; nothing waits for the disk. The protocol's argument stands in docs/DESIGN.md.
 */
#include "engine/engine.h"

#include <ck_backoff.h>
#include <sched.h>

#include "base/points.h"

/* Not an answer: what was read has changed, begin again. */
#define AGAIN 1000

/* A request of the same user is being decided: a few hundred nanoseconds, unless its thread lost the processor. */
struct patience {
  ck_backoff_t backoff;
  int rounds;
};

#define PATIENCE_INIT \
  { CK_BACKOFF_INITIALIZER, 0 }
#define PATIENT_ROUNDS 6

static void wait_a_little(struct patience *patience) {
  if (++patience->rounds <= PATIENT_ROUNDS)
    ck_backoff_eb(&patience->backoff);
  else
    (void)sched_yield();
}

coupon_status cpn_engine_gate(const coupon_engine *engine) {
  /* seq_cst: close and visitors look for each other, see lifecycle.c. Also acquire: the failure before the bit. */
  uint32_t gate = atomic_load_explicit(&engine->gate, memory_order_seq_cst);
  if (CPN_LIKELY(gate == 0)) return COUPON_OK;
  return (gate & CPN_GATE_CLOSED) != 0 ? COUPON_E_CLOSED : COUPON_E_FAILED;
}

coupon_status cpn_engine_no_room(const coupon_engine *engine) {
  /* A record takes far less than a page; close enough to the end is the end. */
  return cpn_buffer_tail(&engine->buffer) > COUPON_LSN_MAX - 4096 ? COUPON_E_LOG_FULL : COUPON_E_BUSY;
}

void cpn_engine_void(coupon_engine *engine, uint64_t at, uint32_t words) {
  cpn_buffer_void(&engine->buffer, at, words);
  atomic_fetch_add_explicit(&engine->voids, 1, memory_order_relaxed); /* relaxed: a figure for people */
}

void cpn_engine_set_final(const coupon_engine *engine, struct coupon_ticket *ticket) {
  ticket->flags = ticket->lsn <= cpn_commit_durable(&engine->commit) ? COUPON_TICKET_FINAL : 0;
}

void cpn_engine_complete(const coupon_engine *engine, const struct cpn_campaign *campaign,
                         const struct cpn_claim *claim, struct coupon_ticket *ticket) {
  cpn_engine_set_final(engine, ticket);
  if ((ticket->flags & COUPON_TICKET_FINAL) == 0 || ticket->number != 0) return;
  /* Final in the meantime: so it has its number by now, and its caller is told, who will not ask again. */
  if (claim != NULL)
    ticket->number = cpn_claim_number(cpn_claim_read(claim));
  else
    ticket->number = cpn_tickets_find(&campaign->tickets, ticket->lsn);
  CPN_INVARIANT(3, ticket->number != 0);
}

uint64_t cpn_engine_settled_claim(struct cpn_claim *claim) {
  struct patience patience = PATIENCE_INIT;
  uint64_t state;
  while (cpn_claim_kind_of(state = cpn_claim_read(claim)) == CPN_CLAIM_PENDING) wait_a_little(&patience);
  return state;
}

/* --- answers ------------------------------------------------------------------------------------- */

void cpn_engine_describe(const coupon_engine *engine, const struct cpn_campaign *campaign,
                         const struct cpn_claim *claim, uint64_t state, struct coupon_ticket *ticket) {
  if (cpn_claim_kind_of(state) == CPN_CLAIM_HELD) {
    /* The record is still in the log buffer, time and all, as long as the claim does not bear its number: the
     * commit stage numbers it before it gives the place back. So: read, and look at the claim again. */
    uint64_t lsn = cpn_claim_held_lsn(state);
    uint64_t time_ns = cpn_buffer_peek(&engine->buffer, lsn - CPN_SIZE_ISSUE, 2);
    uint64_t again = cpn_claim_read(claim);
    if (again == state) {
      ticket->number = 0;
      ticket->lsn = lsn;
      ticket->time_ns = time_ns;
      return;
    }
    state = again;
  }
  CPN_INVARIANT(2, cpn_claim_kind_of(state) == CPN_CLAIM_NUMBERED);
  ticket->number = cpn_claim_number(state);
  const struct cpn_ticket_row *row = cpn_tickets_row(&campaign->tickets, ticket->number);
  ticket->lsn = row->lsn;
  ticket->time_ns = row->time_ns;
}

/* LP(refusal): the read of the claim, between two equal reads of the marked word. Rests on the basis. */
static coupon_status refuse(uint64_t word, uint64_t basis_lsn, uint64_t now, struct coupon_ticket *ticket) {
  ticket->number = 0;
  ticket->lsn = basis_lsn;
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

/* --- taking -------------------------------------------------------------------------------------- */

/* A unit for a user who is claimed (or has no limit): reserves, takes by the rule, publishes. Issued, AGAIN or a
 * fault; on the latter two nothing is taken and the reserved place is VOID. */
static coupon_status take_unit(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t user,
                               struct cpn_claim *claim, struct coupon_ticket *ticket) {
  const uint64_t stock = campaign->spec.stock;
  for (;;) {
    uint64_t word = cpn_stock_read(&campaign->stock);
    if (cpn_word_refuses(word) || cpn_word_marked(word)) return AGAIN;
    /* Room for the ticket while that can still fail; others may take before us, up to the room there is. */
    uint64_t room = cpn_tickets_ensure(&campaign->tickets, &engine->memory, stock - cpn_word_remaining(word) + 1);
    if (room == 0) return COUPON_E_NOMEM;

    uint64_t time_ns;
    uint64_t at = cpn_buffer_reserve(&engine->buffer, CPN_WORDS_ISSUE, &time_ns);
    if (at == CPN_LSN_NONE) return cpn_engine_no_room(engine);
    CPN_POINT(RESERVED);
    bool in_time = cpn_window_contains(campaign, time_ns);
    if (!in_time || !cpn_stock_take(&campaign->stock, word, stock - room)) { /* LP(issue) */
      cpn_engine_void(engine, at, CPN_WORDS_ISSUE);
      if (!in_time) return AGAIN;
      continue;
    }
    CPN_POINT(TAKEN);
    /* From here on nothing may fail, and the record must follow. */
    ticket->number = 0;
    ticket->lsn = at + CPN_SIZE_ISSUE;
    ticket->time_ns = time_ns;
    cpn_buffer_fill(&engine->buffer, at, 1, user);
    cpn_buffer_fill(&engine->buffer, at, 2, time_ns);
    /* The claim before the record: the commit stage, which sees the record, finds the claim held. */
    if (campaign->spec.user_limit != 0) cpn_claim_write(claim, cpn_claim_held(ticket->lsn));
    CPN_POINT(HELD);
    cpn_buffer_publish(&engine->buffer, at, cpn_record_head(CPN_RECORD_ISSUE, CPN_WORDS_ISSUE, campaign->index));
    CPN_POINT(PUBLISHED);
    return COUPON_ISSUED;
  }
}

/* Claims the user, PENDING, and tries for a unit; without one the claim is as before. `*held` is the user's claim or
 * NULL, its state `state`, FREE; it becomes the claim that leads to the ticket, or NULL if none does. */
static coupon_status take(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t user, struct cpn_claim **held,
                          uint64_t state, struct coupon_ticket *ticket) {
  struct cpn_claim *claim = *held;
  /* Not even an entry for somebody who would be turned away at once. */
  if (cpn_buffer_is_full(&engine->buffer, CPN_WORDS_ISSUE)) return cpn_engine_no_room(engine);
  if (claim == NULL) claim = cpn_claim_set_insert(&campaign->claims, user);
  if (claim == NULL) return COUPON_E_NOMEM;
  /* Without a limit the entry only gives the commit stage a place to note the user's first ticket. */
  if (campaign->spec.user_limit == 0) return take_unit(engine, campaign, user, claim, ticket);
  *held = claim;
  if (!cpn_claim_swap(claim, state, CPN_CLAIM_PENDING)) return AGAIN;
  CPN_POINT(CLAIMED);
  coupon_status status = take_unit(engine, campaign, user, claim, ticket);
  if (status != COUPON_ISSUED) cpn_claim_write(claim, state);
  return status;
}

/* --- deciding ------------------------------------------------------------------------------------ */

/* `*held` becomes the claim that leads to the ticket, or NULL if none does: the user has no limit. */
static coupon_status decide(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t user,
                            struct cpn_claim **held, struct coupon_ticket *ticket) {
  const bool limited = campaign->spec.user_limit != 0;
  struct patience patience = PATIENCE_INIT;
  for (;;) {
    uint64_t now = cpn_clock_now(&engine->clock);
    uint64_t word = cpn_stock_read(&campaign->stock);
    struct cpn_claim *claim = limited ? cpn_claim_set_find(&campaign->claims, user) : NULL;
    uint64_t state = cpn_claim_read(claim);
    CPN_POINT(CLAIM_READ);

    if (cpn_claim_kind_of(state) == CPN_CLAIM_PENDING) {
      wait_a_little(&patience);
      continue;
    }
    if (cpn_claim_kind_of(state) != CPN_CLAIM_FREE) { /* LP(duplicate): the read of the claim */
      cpn_engine_describe(engine, campaign, claim, state, ticket);
      *held = claim;
      return COUPON_ALREADY_ISSUED;
    }
    if (cpn_window_is_due(campaign, word, now)) {
      coupon_status status = cpn_window_change(engine, campaign, word);
      if (status != COUPON_OK) return status;
      continue;
    }
    if (cpn_word_marked(word)) {
      uint64_t basis_lsn = cpn_stock_basis_lsn(&campaign->stock);
      if (cpn_stock_read(&campaign->stock) == word) return refuse(word, basis_lsn, now, ticket);
      continue;
    }
    if (cpn_word_refuses(word)) {
      cpn_stock_mark(&campaign->stock, word, &engine->buffer.tail);
      continue;
    }
    *held = claim;
    coupon_status status = take(engine, campaign, user, held, state, ticket);
    if (status != AGAIN) return status;
  }
}

coupon_status cpn_engine_try_issue(coupon_engine *engine, uint64_t campaign_id, uint64_t user,
                                   struct coupon_ticket *ticket) {
  ticket->campaign = campaign_id;
  ticket->user = user;
  ticket->number = 0;
  ticket->lsn = 0; /* "no such campaign" rests on nothing */
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  struct cpn_claim *held = NULL;
  coupon_status status = COUPON_NO_CAMPAIGN;
  if (campaign != NULL)
    status = decide(engine, campaign, user, &held, ticket);
  else
    ticket->time_ns = cpn_clock_now(&engine->clock);
  cpn_wait_published(engine);
  ticket->answer = status;
  if (status == COUPON_ISSUED || status == COUPON_ALREADY_ISSUED)
    cpn_engine_complete(engine, campaign, held, ticket);
  else
    cpn_engine_set_final(engine, ticket);
  return status;
}
