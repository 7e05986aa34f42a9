/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model held against an engine: everything that is remembered is there, and nothing else.
 */
#include <string.h>

#include "sim/model.h"

static void compare_ticket(struct model *model, const struct model_campaign *campaign, size_t at,
                           const struct coupon_ticket *there) {
  const struct model_ticket *ticket = &campaign->tickets[at];
  unsigned char uuid[COUPON_UUID_SIZE];
  model_uuid(ticket->user, uuid);
  bool same = campaign->spec.user_kind == COUPON_USER_U64 ? there->user == ticket->user
                                                          : memcmp(there->uuid, uuid, sizeof uuid) == 0;
  if (!same) model_wrong(model, "a ticket is another user's", campaign->spec.id, at + 1, ticket->user);
  if (there->number != at + 1)
    model_wrong(model, "numbers are not 1, 2, 3 ...", campaign->spec.id, at + 1, there->number);
  if (there->lsn != ticket->lsn) model_wrong(model, "a ticket has another LSN", at + 1, there->lsn, ticket->lsn);
  if (there->time_ns != ticket->time_ns)
    model_wrong(model, "a ticket has another time", at + 1, there->time_ns, ticket->time_ns);
}

static void compare_tickets(struct model *model, const struct model_campaign *campaign, coupon_engine *engine) {
  static struct coupon_ticket there[MODEL_TICKETS + 1];
  size_t count = 0;
  coupon_status status =
      coupon_read_tickets(engine, campaign->spec.id, 1, there, sizeof there[0], sizeof there / sizeof there[0], &count);
  if (status == COUPON_E_RELEASED && campaign->wanted == COUPON_PLACE_DROPPED) return;
  if (status == COUPON_E_CORRUPT && campaign->place == COUPON_PLACE_RELEASED && model->lying) return;
  if (status != COUPON_OK) model_wrong(model, "tickets cannot be read", (uint64_t)-status, 0, 0);
  if (count < campaign->count) model_wrong(model, "tickets are gone", campaign->spec.id, count, campaign->count);
  if (count > campaign->count)
    model_wrong(model, "tickets are there that should not be", campaign->spec.id, count, campaign->count);
  for (size_t i = 0; i < count && model->wrong == NULL; i++) compare_ticket(model, campaign, i, &there[i]);
}

static void compare_spec(struct model *model, struct model_campaign *campaign,
                         const struct coupon_campaign_info *info) {
  if (info->place < campaign->place || info->place > campaign->wanted)
    model_wrong(model, "a campaign's tickets are elsewhere", campaign->spec.id, (uint64_t)info->place,
                (uint64_t)campaign->place);
  campaign->place = info->place;
  const struct coupon_campaign_spec *spec = &campaign->spec;
  bool same = info->stock == spec->stock && info->user_limit == spec->user_limit &&
              info->opens_at_ns == spec->opens_at_ns && info->closes_at_ns == spec->closes_at_ns &&
              info->user_kind == spec->user_kind && info->created_lsn == campaign->created_lsn &&
              strcmp(info->name, spec->name) == 0;
  if (!same) model_wrong(model, "a campaign has another description", spec->id, info->created_lsn, info->stock);
  if (info->issued + info->remaining != info->stock)
    model_wrong(model, "issued + remaining is not the stock", info->issued, info->remaining, info->stock);
  if (info->issued != campaign->count)
    model_wrong(model, "another number is issued", spec->id, info->issued, campaign->count);
  if (campaign->told_sold_out && info->remaining != 0)
    model_wrong(model, "it was sold out, and is not any more", spec->id, info->remaining, 0);
  if (campaign->told_ended && info->state != COUPON_STATE_CLOSED)
    model_wrong(model, "it had ended, and has not any more", spec->id, (uint64_t)info->state, 0);
}

/* The time has to be beyond everything that the log still tells of. */
static void compare_time(struct model *model, const struct model_campaign *campaign, uint64_t now) {
  uint64_t least = campaign->count > 0 ? campaign->tickets[campaign->count - 1].time_ns : 0;
  if (campaign->told_ended) least = cpn_max_u64(least, campaign->spec.closes_at_ns);
  if (now < least) model_wrong(model, "decision time fell across a crash", now, least, campaign->spec.id);
}

void model_compare(struct model *model, coupon_engine *engine) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  if (coupon_read_stats(engine, &stats) != COUPON_OK) model_wrong(model, "statistics cannot be read", 0, 0, 0);
  uint64_t campaigns = 0;
  for (int i = 0; i < MODEL_CAMPAIGNS && model->wrong == NULL; i++) {
    struct model_campaign *campaign = &model->campaigns[i];
    struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
    if (!campaign->exists) continue;
    campaigns++;
    if (coupon_info(engine, campaign->spec.id, &info) != COUPON_OK) {
      model_wrong(model, "a campaign is gone", campaign->spec.id, campaign->created_lsn, 0);
      continue;
    }
    compare_spec(model, campaign, &info);
    compare_tickets(model, campaign, engine);
    compare_time(model, campaign, stats.time_ns);
  }
  if (stats.campaigns != campaigns)
    model_wrong(model, "another number of campaigns is there", stats.campaigns, campaigns, 0);
}

/* One request of somebody new, with the commits that it may have to wait for. */
static coupon_status ask(struct model *model, coupon_engine *engine, uint32_t number, uint64_t user) {
  const struct model_campaign *campaign = &model->campaigns[number];
  unsigned char uuid[COUPON_UUID_SIZE];
  model_uuid(user, uuid);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  struct coupon_stats stats = COUPON_STATS_INIT;
  coupon_status status = campaign->spec.user_kind == COUPON_USER_U64
                             ? coupon_try_issue(engine, campaign->spec.id, user, &ticket)
                             : coupon_try_issue_uuid(engine, campaign->spec.id, uuid, &ticket);
  (void)!coupon_read_stats(engine, &stats);
  model_answer(model, number, user, status, &ticket, &stats);
  return status;
}

extern int cpn_wait_step(coupon_engine *engine);

static void step(struct model *model, coupon_engine *engine) {
  int done;
  while ((done = cpn_wait_step(engine)) > 0) {
  }
  uint64_t lsn = 0;
  if (done < 0 || coupon_durable_lsn(engine, &lsn) != COUPON_OK)
    model_wrong(model, "the engine failed on a disk without a fault", (uint64_t)-done, 0, 0);
  else
    model_durable(model, lsn, true);
}

#define NEW_USERS UINT64_C(1000000)

void model_sell_out(struct model *model, coupon_engine *engine) {
  for (uint32_t i = 0; i < MODEL_CAMPAIGNS && model->wrong == NULL; i++) {
    const struct model_campaign *campaign = &model->campaigns[i];
    if (!campaign->exists) continue;
    /* The model says of each answer whether it is right: while a unit is free that is "issued". */
    coupon_status status = COUPON_ISSUED;
    for (uint64_t user = NEW_USERS; status == COUPON_ISSUED || status == COUPON_E_BUSY; user++) {
      if (user % 64 == 0 || status == COUPON_E_BUSY) step(model, engine);
      if (model->wrong != NULL) return;
      status = ask(model, engine, i, user);
    }
    step(model, engine);
  }
  if (model->wrong == NULL) model_compare(model, engine);
}
