/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record takes effect, in its order in the log. Live, most of the effect has been there since the decision; what
 * the order adds is the ticket's number. At recovery the record is all there is, and the rules of docs/FORMAT.md
 * are checked on the way.
 */
#include "base/bytes.h"
#include "engine/engine.h"

/* Gives the campaign's next number to a ticket whose user has the entry `claim`. */
static void number_ticket(coupon_engine *engine, struct cpn_campaign *campaign, struct cpn_claim *claim, uint64_t user,
                          uint64_t lsn, uint64_t time_ns) {
  uint64_t number = cpn_tickets_append(&campaign->tickets, user, lsn, time_ns);
  uint64_t state = cpn_claim_read(claim);
  if (cpn_claim_kind_of(state) == CPN_CLAIM_NUMBERED) {
    /* One more for a user without a limit. relaxed: the count stands for itself, and only whoever steps writes it. */
    struct cpn_ticket_row *first = cpn_tickets_row(&campaign->tickets, cpn_claim_number(state));
    atomic_fetch_add_explicit(&first->count, 1, memory_order_relaxed);
  } else {
    /* seq_cst, which includes release: the row before the number that leads to it. */
    cpn_claim_write(claim, cpn_claim_numbered(number));
  }
  atomic_fetch_add_explicit(&engine->tickets, 1, memory_order_relaxed); /* relaxed: a figure for people */
}

void cpn_apply_live(void *context, uint64_t lsn, const unsigned char *bytes, uint32_t words) {
  coupon_engine *engine = context;
  uint64_t head = cpn_get_u64(bytes);
  if ((head & 0xff) != CPN_RECORD_ISSUE) return;
  CPN_INVARIANT(3, words == CPN_WORDS_ISSUE);
  struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, head >> 32);
  uint64_t user = cpn_get_u64(bytes + 8);
  struct cpn_claim *claim = cpn_claim_set_find(&campaign->claims, user);
  CPN_INVARIANT(2, claim != NULL);
  CPN_INVARIANT(2, campaign->spec.user_limit == 0 || cpn_claim_read(claim) == cpn_claim_held(lsn));
  number_ticket(engine, campaign, claim, user, lsn, cpn_get_u64(bytes + 16));
}

/* --- recovery ------------------------------------------------------------------------------------ */

static coupon_status broken(struct cpn_fault *fault, const char *rule) {
  /* The reader adds file and offset. */
  return cpn_fault_set(fault, COUPON_E_CORRUPT, "", 0, rule);
}

static coupon_status no_memory(struct cpn_fault *fault) {
  return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory for the campaigns in the log; allow more");
}

static coupon_status replay_campaign(coupon_engine *engine, const struct cpn_record *record, struct cpn_fault *fault) {
  if (record->campaign != cpn_directory_count(&engine->campaigns))
    return broken(fault, "a campaign's index is not the next one");
  if (cpn_directory_find(&engine->campaigns, record->id) != NULL) return broken(fault, "a campaign is created twice");
  if (!cpn_directory_reserve(&engine->campaigns)) return no_memory(fault);
  struct cpn_campaign_spec spec = {.id = record->id,
                                   .stock = record->stock,
                                   .user_limit = record->user_limit,
                                   .opens_at_ns = record->opens_at_ns,
                                   .closes_at_ns = record->closes_at_ns,
                                   .name = record->name,
                                   .name_length = record->name_length};
  struct cpn_campaign *campaign = cpn_campaign_create(&engine->memory, &engine->key, &spec, record->campaign);
  if (campaign == NULL) return no_memory(fault);
  campaign->created_lsn = record->lsn;
  cpn_directory_add(&engine->campaigns, campaign);
  return COUPON_OK;
}

static coupon_status replay_change(struct cpn_campaign *campaign, const struct cpn_record *record,
                                   struct cpn_fault *fault) {
  uint64_t word = cpn_stock_read(&campaign->stock);
  if (record->type == CPN_RECORD_OPEN) {
    if (cpn_word_state(word) != CPN_STOCK_SCHEDULED) return broken(fault, "a campaign opens twice");
    if (record->time_ns < campaign->spec.opens_at_ns) return broken(fault, "a campaign opens before its time");
    return cpn_stock_change(&campaign->stock, word, CPN_STOCK_OPEN) ? COUPON_OK : broken(fault, "cannot open");
  }
  if (cpn_word_state(word) != CPN_STOCK_OPEN) return broken(fault, "a campaign closes that is not open");
  if (campaign->spec.closes_at_ns == 0 || record->time_ns < campaign->spec.closes_at_ns)
    return broken(fault, "a campaign closes before its time");
  return cpn_stock_change(&campaign->stock, word, CPN_STOCK_CLOSED) ? COUPON_OK : broken(fault, "cannot close");
}

static coupon_status replay_issue(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_record *record,
                                  struct cpn_fault *fault) {
  uint64_t word = cpn_stock_read(&campaign->stock);
  uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  if (cpn_word_state(word) != CPN_STOCK_OPEN) return broken(fault, "a ticket of a campaign that is not open");
  if (cpn_word_remaining(word) == 0) return broken(fault, "more tickets than stock");
  if (!cpn_window_contains(campaign, record->time_ns)) return broken(fault, "a ticket outside its campaign's time");
  if (numbered > 0 && record->time_ns < cpn_tickets_row(&campaign->tickets, numbered)->time_ns)
    return broken(fault, "times of tickets fall");
  struct cpn_claim *claim = cpn_claim_set_insert(&campaign->claims, record->user);
  if (claim == NULL) return no_memory(fault);
  if (campaign->spec.user_limit != 0 && cpn_claim_kind_of(cpn_claim_read(claim)) != CPN_CLAIM_FREE)
    return broken(fault, "a user has more tickets than the limit");
  if (cpn_tickets_ensure(&campaign->tickets, &engine->memory, numbered + 1) == 0) return no_memory(fault);
  if (!cpn_stock_take(&campaign->stock, word, 0)) return broken(fault, "cannot take");
  number_ticket(engine, campaign, claim, record->user, record->lsn, record->time_ns);
  return COUPON_OK;
}

coupon_status cpn_apply_replay(void *context, const struct cpn_record *record, struct cpn_fault *fault) {
  coupon_engine *engine = context;
  if (record->type == CPN_RECORD_VOID) return COUPON_OK;
  cpn_clock_raise(&engine->clock, record->time_ns);
  if (record->type == CPN_RECORD_LIFE || record->type == CPN_RECORD_END) return COUPON_OK;
  if (record->type == CPN_RECORD_CAMPAIGN) return replay_campaign(engine, record, fault);
  if (record->campaign >= cpn_directory_count(&engine->campaigns))
    return broken(fault, "a record of a campaign that was not created");
  struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, record->campaign);
  if (record->type == CPN_RECORD_ISSUE) return replay_issue(engine, campaign, record, fault);
  return replay_change(campaign, record, fault);
}
