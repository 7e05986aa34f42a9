/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/engine.h"

static uint64_t load_figure(const _Atomic uint64_t *figure) {
  return atomic_load_explicit(figure, memory_order_relaxed); /* relaxed: a figure for people */
}

/* As the next request would find it: what the clock is due to change counts as changed. */
static int32_t state_of(const struct cpn_campaign *campaign, uint64_t word, uint64_t now) {
  const struct cpn_campaign_spec *spec = &campaign->spec;
  enum cpn_stock_state state = cpn_word_state(word);
  if (state == CPN_STOCK_CLOSING || state == CPN_STOCK_CLOSED) return COUPON_STATE_CLOSED;
  if (spec->closes_at_ns != 0 && now >= spec->closes_at_ns) return COUPON_STATE_CLOSED;
  if (state == CPN_STOCK_SCHEDULED && now < spec->opens_at_ns) return COUPON_STATE_SCHEDULED;
  return cpn_word_remaining(word) == 0 ? COUPON_STATE_SOLD_OUT : COUPON_STATE_OPEN;
}

void cpn_query_info_of(coupon_engine *engine, const struct cpn_campaign *campaign, struct coupon_campaign_info *info) {
  const struct cpn_campaign_spec *spec = &campaign->spec;
  uint64_t now = cpn_clock_now(&engine->clock);
  uint64_t word = cpn_stock_read(&campaign->stock); /* LP(info) */
  info->id = spec->id;
  info->stock = spec->stock;
  info->remaining = cpn_word_remaining(word);
  info->issued = spec->stock - info->remaining;
  info->user_limit = spec->user_limit;
  info->opens_at_ns = spec->opens_at_ns;
  info->closes_at_ns = spec->closes_at_ns;
  info->created_lsn = campaign->created_lsn;
  info->state = state_of(campaign, word, now);
  info->index = campaign->index;
  memset(info->name, 0, sizeof info->name);
  memcpy(info->name, spec->name, spec->name_length);
}

coupon_status cpn_query_info(coupon_engine *engine, uint64_t campaign_id, struct coupon_campaign_info *info) {
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  if (campaign == NULL) return COUPON_NO_CAMPAIGN;
  cpn_query_info_of(engine, campaign, info);
  return COUPON_OK;
}

void cpn_query_ticket(coupon_engine *engine, const struct cpn_campaign *campaign, uint64_t number,
                      struct coupon_ticket *ticket) {
  const struct cpn_ticket_row *row = cpn_tickets_row(&campaign->tickets, number);
  ticket->campaign = campaign->spec.id;
  ticket->user = row->user;
  ticket->number = number;
  ticket->lsn = row->lsn;
  ticket->time_ns = row->time_ns;
  ticket->answer = COUPON_OK;
  cpn_engine_set_final(engine, ticket);
}

/* LP(lookup): the read of the claim that is not PENDING. A pending one must be waited for: its unit may be taken
 * already, for everybody who reads the stock to see. */
coupon_status cpn_query_lookup(coupon_engine *engine, uint64_t campaign_id, uint64_t user, struct coupon_ticket *ticket,
                               uint64_t *count) {
  *count = 0;
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  if (campaign == NULL) return COUPON_NO_CAMPAIGN;
  struct cpn_claim *claim = cpn_claim_set_find(&campaign->claims, user);
  uint64_t state = claim == NULL ? 0 : cpn_engine_settled_claim(claim);
  if (cpn_claim_kind_of(state) == CPN_CLAIM_FREE) return COUPON_NOT_FOUND;
  ticket->campaign = campaign_id;
  ticket->user = user;
  ticket->answer = COUPON_OK;
  cpn_engine_describe(engine, campaign, claim, state, ticket);
  cpn_engine_complete(engine, campaign, claim, ticket);
  *count = ticket->number == 0 ? 1 : load_figure(&cpn_tickets_row(&campaign->tickets, ticket->number)->count);
  return COUPON_OK;
}

uint64_t cpn_query_number(coupon_engine *engine, uint64_t campaign_id, uint64_t user, uint64_t lsn) {
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  if (campaign == NULL) return 0;
  uint64_t number;
  if (campaign->spec.user_limit != 0) {
    /* The user's only ticket, if any; it may be another one than that of this LSN. */
    uint64_t state = cpn_claim_read(cpn_claim_set_find(&campaign->claims, user));
    number = cpn_claim_kind_of(state) == CPN_CLAIM_NUMBERED ? cpn_claim_number(state) : 0;
    return number != 0 && cpn_tickets_row(&campaign->tickets, number)->lsn == lsn ? number : 0;
  }
  number = cpn_tickets_find(&campaign->tickets, lsn);
  return number != 0 && cpn_tickets_row(&campaign->tickets, number)->user == user ? number : 0;
}

void cpn_query_stats(coupon_engine *engine, struct coupon_stats *stats) {
  /* The failure is set before its bit, which seq_cst, and so acquire, reads. */
  bool failed = (atomic_load_explicit(&engine->gate, memory_order_seq_cst) & CPN_GATE_FAILED) != 0;
  stats->failure = failed ? engine->failure.status : COUPON_OK;
  stats->failure_os_error = failed ? engine->failure.os_error : 0;
  stats->durability = engine->options.durability;
  stats->read_only = engine->options.read_only;
  stats->campaigns = cpn_directory_count(&engine->campaigns);
  stats->tickets = load_figure(&engine->tickets);
  /* Durable first, so that it is never more than reserved. */
  stats->durable_lsn = cpn_commit_durable(&engine->commit);
  stats->reserved_lsn = cpn_buffer_tail(&engine->buffer);
  stats->commits = load_figure(&engine->commit.commits);
  stats->syncs = load_figure(&engine->log.syncs);
  stats->sync_time_ns = load_figure(&engine->log.sync_time_ns);
  for (unsigned i = 0; i < COUPON_SYNC_BUCKETS; i++) stats->sync_counts[i] = load_figure(&engine->log.sync_counts[i]);
  stats->bytes_written = load_figure(&engine->log.bytes_written);
  stats->voids = load_figure(&engine->voids);
  stats->segments = load_figure(&engine->log.segments);
  stats->life = engine->log.life;
  stats->memory_bytes = cpn_memory_used(&engine->memory);
  stats->time_ns = cpn_clock_last(&engine->clock);
}
