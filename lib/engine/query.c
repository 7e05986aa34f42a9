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
  info->user_kind = spec->user_kind;
  info->place = (int32_t)atomic_load_explicit(&campaign->place, memory_order_relaxed); /* relaxed: as for any request */
  bool live = cpn_campaign_is_live(campaign);
  info->claim_bytes = live ? cpn_claim_set_bytes(&campaign->claims) : 0;
  info->ticket_bytes = live ? cpn_tickets_bytes(&campaign->tickets) : 0;
}

coupon_status cpn_query_info(coupon_engine *engine, uint64_t campaign_id, struct coupon_campaign_info *info) {
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  if (campaign == NULL) return COUPON_NO_CAMPAIGN;
  cpn_query_info_of(engine, campaign, info);
  return COUPON_OK;
}

static void address_to(struct coupon_ticket *ticket, const struct cpn_campaign *campaign, uint64_t number) {
  uint64_t user[2];
  cpn_tickets_user(&campaign->tickets, number, user);
  ticket->campaign = campaign->spec.id;
  ticket->user = 0;
  if (campaign->tickets.user_words == 1) {
    ticket->user = user[0];
  } else {
    cpn_put_u64(ticket->uuid, user[0]);
    cpn_put_u64(ticket->uuid + 8, user[1]);
  }
}

/* Tickets that have their number: with a log, or read from one, what the commit stage says; without, units taken. */
uint64_t cpn_query_numbered(const coupon_engine *engine, const struct cpn_campaign *campaign) {
  if (engine->options.durability != COUPON_NONE) return cpn_tickets_numbered(&campaign->tickets);
  return campaign->spec.stock - cpn_word_remaining(cpn_stock_read(&campaign->stock));
}

void cpn_query_ticket(coupon_engine *engine, const struct cpn_campaign *campaign, uint64_t number,
                      struct coupon_ticket *ticket) {
  const struct cpn_tickets *tickets = &campaign->tickets;
  struct cpn_patience patience = {0};
  uint64_t stamp;
  /* Without a log its unit may be taken and its taker be about to write it. */
  while ((stamp = cpn_tickets_read(tickets, number, &ticket->time_ns)) == 0) cpn_engine_wait_a_little(&patience);
  address_to(ticket, campaign, number);
  ticket->number = number;
  ticket->lsn = stamp & ~UINT64_C(7); /* without a log stamps are 1, and LSNs 0 */
  ticket->answer = COUPON_OK;
  cpn_engine_set_final(engine, ticket);
}

/* LP(lookup): the read of the claim that is not PENDING. A pending one must be waited for: its unit may be taken
 * already, for everybody who reads the stock to see. */
coupon_status cpn_query_lookup(coupon_engine *engine, uint64_t campaign_id, uint64_t user_id, const unsigned char *uuid,
                               struct coupon_ticket *ticket, uint64_t *count) {
  *count = 0;
  const struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  if (campaign == NULL) return COUPON_NO_CAMPAIGN;
  if ((campaign->tickets.user_words == 2) != (uuid != NULL)) return COUPON_E_USER_KIND;
  if (!cpn_campaign_is_live(campaign)) return COUPON_E_RELEASED;
  const struct cpn_user user = cpn_engine_user(engine, user_id, uuid);
  struct cpn_claim_place place;
  struct coupon_ticket found;
  enum cpn_claim_kind kind = cpn_holder_find_settled(engine, campaign, &user, &place, &found);
  if (kind != CPN_CLAIM_HELD && kind != CPN_CLAIM_NUMBERED) return COUPON_NOT_FOUND;
  /* Without a limit the claim is noted just before the ticket can be listed. */
  if (found.number > cpn_query_numbered(engine, campaign)) return COUPON_NOT_FOUND;
  cpn_engine_address(ticket, campaign_id, user_id, uuid);
  ticket->number = found.number;
  ticket->lsn = found.lsn;
  ticket->time_ns = found.time_ns;
  ticket->answer = COUPON_OK;
  cpn_engine_complete(engine, campaign, ticket);
  *count = 1;
  if (campaign->tickets.counts != NULL) *count = load_figure(cpn_tickets_count(&campaign->tickets, ticket->number));
  return COUPON_OK;
}

uint64_t cpn_query_number(coupon_engine *engine, const struct coupon_ticket *answer) {
  const struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, answer->campaign);
  if (campaign == NULL || !cpn_campaign_is_live(campaign)) return 0;
  const struct cpn_tickets *tickets = &campaign->tickets;
  uint64_t number = answer->number;
  if (engine->options.durability != COUPON_NONE) number = cpn_tickets_find(tickets, answer->lsn);
  struct coupon_ticket ticket;
  if (number == 0 || number > cpn_query_numbered(engine, campaign)) return 0;
  cpn_query_ticket(engine, campaign, number, &ticket);
  if (ticket.lsn != answer->lsn) return 0;
  bool same = tickets->user_words == 1 ? ticket.user == answer->user
                                       : memcmp(ticket.uuid, answer->uuid, sizeof ticket.uuid) == 0;
  return same ? number : 0;
}

/* Without a log no counter of the engine's own is worth what it would cost each decision. */
static uint64_t count_tickets(const coupon_engine *engine) {
  if (engine->options.durability != COUPON_NONE) return load_figure(&engine->tickets);
  uint64_t tickets = 0, campaigns = cpn_directory_count(&engine->campaigns);
  for (uint64_t i = 0; i < campaigns; i++) {
    const struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    tickets += campaign->spec.stock - cpn_word_remaining(cpn_stock_read(&campaign->stock));
  }
  return tickets;
}

void cpn_query_stats(coupon_engine *engine, struct coupon_stats *stats) {
  /* The failure is set before its bit, which seq_cst, and so acquire, reads. */
  bool failed = (atomic_load_explicit(engine->gate, memory_order_seq_cst) & CPN_GATE_FAILED) != 0;
  stats->failure = failed ? engine->failure.status : COUPON_OK;
  stats->failure_os_error = failed ? engine->failure.os_error : 0;
  stats->durability = engine->options.durability;
  stats->read_only = engine->options.read_only;
  stats->campaigns = cpn_directory_count(&engine->campaigns);
  stats->tickets = count_tickets(engine);
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
  const struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  stats->checkpoints = load_figure(&checkpoints->made);
  stats->checkpoints_failed = load_figure(&checkpoints->failed);
  stats->checkpoint_lsn = load_figure(&checkpoints->last_lsn);
  stats->checkpoint_time_ns = load_figure(&checkpoints->last_ns);
  stats->checkpoint_bytes = load_figure(&checkpoints->last_bytes);
  stats->checkpoint_status = atomic_load_explicit(&checkpoints->status, memory_order_relaxed); /* a figure, too */
}
