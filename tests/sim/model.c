/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/model.h"

#include <string.h>

void model_forget_places(struct model_campaign *campaign) {
  campaign->place = campaign->wanted = campaign->unread_place = COUPON_PLACE_MEMORY;
}

void model_init(struct model *model) {
  for (int i = 0; i < MODEL_CAMPAIGNS; i++) {
    model->campaigns[i].exists = false;
    model->campaigns[i].count = 0;
    model_forget_places(&model->campaigns[i]);
    model->campaigns[i].told_sold_out = model->campaigns[i].told_ended = false;
  }
  memset((char *)model + sizeof model->campaigns, 0, sizeof *model - sizeof model->campaigns);
}

void model_copy(struct model *to, const struct model *from) {
  for (int i = 0; i < MODEL_CAMPAIGNS; i++) {
    const struct model_campaign *campaign = &from->campaigns[i];
    memcpy(to->campaigns[i].tickets, campaign->tickets, campaign->count * sizeof campaign->tickets[0]);
    to->campaigns[i].spec = campaign->spec;
    to->campaigns[i].exists = campaign->exists;
    to->campaigns[i].created_lsn = campaign->created_lsn;
    to->campaigns[i].count = campaign->count;
    to->campaigns[i].told_sold_out = campaign->told_sold_out;
    to->campaigns[i].told_ended = campaign->told_ended;
    to->campaigns[i].sold_out_lsn = campaign->sold_out_lsn;
    to->campaigns[i].ended_lsn = campaign->ended_lsn;
    to->campaigns[i].place = campaign->place;
    to->campaigns[i].wanted = campaign->wanted;
    to->campaigns[i].unread_place = campaign->unread_place;
  }
  memcpy((char *)to + sizeof to->campaigns, (const char *)from + sizeof from->campaigns,
         sizeof *to - sizeof to->campaigns);
}

void model_wrong(struct model *model, const char *what, uint64_t a, uint64_t b, uint64_t c) {
  if (model->wrong != NULL) return;
  model->wrong = what;
  model->numbers[0] = a;
  model->numbers[1] = b;
  model->numbers[2] = c;
}

void model_uuid(uint64_t user, unsigned char uuid[COUPON_UUID_SIZE]) {
  const uint64_t halves[2] = {user * UINT64_C(0x9e3779b97f4a7c15), ~user};
  memcpy(uuid, halves, COUPON_UUID_SIZE);
}

const struct model_ticket *model_holder(const struct model_campaign *campaign, uint64_t user) {
  for (size_t i = 0; i < campaign->count; i++) {
    if (campaign->tickets[i].user == user) return &campaign->tickets[i];
  }
  return NULL;
}

/* --- answers ------------------------------------------------------------------------------------------- */

static bool contains(const struct model_campaign *campaign, uint64_t time_ns) {
  const struct coupon_campaign_spec *spec = &campaign->spec;
  return time_ns >= spec->opens_at_ns && (spec->closes_at_ns == 0 || time_ns < spec->closes_at_ns);
}

static void judge_issued(struct model *model, struct model_campaign *campaign, uint64_t user,
                         const struct coupon_ticket *ticket) {
  const uint64_t id = campaign->spec.id;
  if (!campaign->exists) model_wrong(model, "issued in a campaign that was not created", id, user, ticket->lsn);
  if (campaign->spec.user_limit == 1 && model_holder(campaign, user) != NULL)
    model_wrong(model, "a user was issued two", id, user, ticket->lsn);
  if (campaign->count >= campaign->spec.stock) model_wrong(model, "more issued than stock", id, user, ticket->lsn);
  if (!contains(campaign, ticket->time_ns)) model_wrong(model, "issued outside the window", id, user, ticket->time_ns);
  if (ticket->lsn <= model->last_lsn)
    model_wrong(model, "a later ticket has no later LSN", ticket->lsn, model->last_lsn, user);
  if (model->wrong != NULL) return;
  campaign->tickets[campaign->count++] =
      (struct model_ticket){.user = user, .lsn = ticket->lsn, .time_ns = ticket->time_ns};
  model->last_lsn = ticket->lsn;
  if (ticket->number != 0 && ticket->number != campaign->count)
    model_wrong(model, "a number that is not the next", id, ticket->number, campaign->count);
}

static void judge_again(struct model *model, const struct model_campaign *campaign, uint64_t user,
                        const struct coupon_ticket *ticket) {
  const struct model_ticket *original = model_holder(campaign, user);
  if (original == NULL || campaign->spec.user_limit != 1) {
    model_wrong(model, "already issued, it says, and was not", campaign->spec.id, user, ticket->lsn);
    return;
  }
  uint64_t number = (uint64_t)(original - campaign->tickets) + 1;
  if (ticket->lsn != original->lsn || ticket->time_ns != original->time_ns)
    model_wrong(model, "a repeat got another ticket than the original", user, ticket->lsn, original->lsn);
  if (ticket->number != 0 && ticket->number != number)
    model_wrong(model, "a repeat got another number", user, ticket->number, number);
}

static void judge_refusal(struct model *model, struct model_campaign *campaign, uint64_t user, coupon_status status,
                          const struct coupon_ticket *ticket) {
  const struct coupon_campaign_spec *spec = &campaign->spec;
  const uint64_t at = ticket->time_ns;
  if (spec->user_limit == 1 && model_holder(campaign, user) != NULL)
    model_wrong(model, "refused although the user holds a ticket", spec->id, user, (uint64_t)status);
  bool right = false;
  if (status == COUPON_NOT_OPEN) right = at < spec->opens_at_ns && campaign->count == 0;
  if (status == COUPON_SOLD_OUT) right = contains(campaign, at) && campaign->count == spec->stock;
  if (status == COUPON_ENDED) right = spec->closes_at_ns != 0 && at >= spec->closes_at_ns;
  if (!right) model_wrong(model, "a refusal that is not so", spec->id, (uint64_t)status, at);
  if (status == COUPON_SOLD_OUT && campaign->count > 0 && ticket->lsn < campaign->tickets[campaign->count - 1].lsn)
    model_wrong(model, "sold out rests on less than the last ticket", spec->id, ticket->lsn, user);
  if (status == COUPON_SOLD_OUT) {
    campaign->told_sold_out = true;
    campaign->sold_out_lsn = ticket->lsn;
  }
  if (status == COUPON_ENDED) {
    campaign->told_ended = true;
    campaign->ended_lsn = ticket->lsn;
  }
}

static void judge_flags(struct model *model, const struct coupon_ticket *ticket) {
  bool final = (ticket->flags & COUPON_TICKET_FINAL) != 0;
  if (final != (ticket->lsn <= model->durable_lsn))
    model_wrong(model, "called final otherwise than the durable LSN has it", ticket->lsn, model->durable_lsn, final);
  bool has_ticket = ticket->answer == COUPON_ISSUED || ticket->answer == COUPON_ALREADY_ISSUED;
  if (final && has_ticket && ticket->number == 0)
    model_wrong(model, "a final ticket has no number", ticket->lsn, ticket->user, 0);
}

bool model_fault(struct model *model, coupon_status status, uint64_t need, const struct coupon_stats *stats) {
  if (status == COUPON_E_BUSY) {
    if (stats->reserved_lsn - model->durable_lsn + need > model->capacity) return true;
    model_wrong(model, "busy although there is room in the log buffer", stats->reserved_lsn, model->durable_lsn, need);
  } else if (status == COUPON_E_NOMEM) {
    if (model->scarce) return true;
    model_wrong(model, "no memory, it says", need, 0, 0);
  } else {
    model_wrong(model, "a fault that cannot be", (uint64_t)-status, need, 0);
  }
  return false;
}

/* A record of an issue or of a change of state. */
#define NEED_OF_ISSUE 32

void model_answer(struct model *model, uint32_t number, uint64_t user, coupon_status status,
                  const struct coupon_ticket *ticket, const struct coupon_stats *stats) {
  struct model_campaign *campaign = &model->campaigns[number];
  if (status == COUPON_E_RELEASED && campaign->wanted != COUPON_PLACE_MEMORY) return;
  if (status >= 0 && campaign->place != COUPON_PLACE_MEMORY)
    model_wrong(model, "a campaign answers that was released", number, user, (uint64_t)status);
  if (status < 0) {
    (void)model_fault(model, status, NEED_OF_ISSUE, stats);
    return;
  }
  if (ticket->answer != status) model_wrong(model, "the ticket says otherwise", (uint64_t)status, user, number);
  if (status == COUPON_NO_CAMPAIGN && campaign->exists) model_wrong(model, "a campaign is gone", number, user, 0);
  if (status != COUPON_NO_CAMPAIGN && !campaign->exists) model_wrong(model, "a campaign is there", number, user, 0);
  if (status == COUPON_NO_CAMPAIGN) return;
  /* An original's time is of then. */
  if (status != COUPON_ALREADY_ISSUED) {
    if (ticket->time_ns < model->told_ns)
      model_wrong(model, "decision time fell", ticket->time_ns, model->told_ns, user);
    model->told_ns = cpn_max_u64(model->told_ns, ticket->time_ns);
  }
  if (status == COUPON_ISSUED)
    judge_issued(model, campaign, user, ticket);
  else if (status == COUPON_ALREADY_ISSUED)
    judge_again(model, campaign, user, ticket);
  else
    judge_refusal(model, campaign, user, status, ticket);
  judge_flags(model, ticket);
}

void model_answers(struct model *model, const uint32_t *campaigns, const uint64_t *users, size_t count,
                   const struct coupon_ticket *tickets, const struct coupon_stats *stats) {
  /* The requests count as concurrent: an order is told by the LSNs of those that were issued, and of the others each is
   * true at the end. */
  const uint64_t begun_ns = model->told_ns;
  uint64_t ended_ns;
  for (size_t done = 0;;) {
    size_t next = count;
    for (size_t i = 0; i < count; i++) {
      if (tickets[i].answer != COUPON_ISSUED || tickets[i].lsn <= model->last_lsn) continue;
      if (next == count || tickets[i].lsn < tickets[next].lsn) next = i;
    }
    if (next == count) {
      for (size_t i = 0; i < count; i++) done += tickets[i].answer != COUPON_ISSUED;
      if (done != count) model_wrong(model, "a ticket of a batch has no LSN of its own", done, count, 0);
      break;
    }
    model_answer(model, campaigns[next], users[next], COUPON_ISSUED, &tickets[next], stats);
    done++;
    if (model->wrong != NULL) return;
  }
  ended_ns = model->told_ns;
  for (size_t i = 0; i < count; i++) {
    if (tickets[i].answer == COUPON_ISSUED) continue;
    model->told_ns = begun_ns;
    model_answer(model, campaigns[i], users[i], tickets[i].answer, &tickets[i], stats);
    ended_ns = cpn_max_u64(ended_ns, model->told_ns);
  }
  model->told_ns = ended_ns;
}

/* --- finality, crashes --------------------------------------------------------------------------------- */

void model_durable(struct model *model, uint64_t lsn, bool synced) {
  if (lsn < model->durable_lsn) model_wrong(model, "the durable LSN fell", lsn, model->durable_lsn, 0);
  model->durable_lsn = lsn;
  if (synced) model->synced_lsn = lsn;
}

void model_crash(struct model *model, bool lost) {
  model->floor_lsn = cpn_min_u64(model->floor_lsn, lost ? model->synced_lsn : model->durable_lsn);
}

void model_keep(struct model *model, uint64_t kept_lsn) {
  for (int i = 0; i < MODEL_CAMPAIGNS; i++) {
    struct model_campaign *campaign = &model->campaigns[i];
    if (campaign->created_lsn > kept_lsn) campaign->exists = false;
    if (!campaign->exists) campaign->count = 0;
    if (!campaign->exists) model_forget_places(campaign);
    while (campaign->count > 0 && campaign->tickets[campaign->count - 1].lsn > kept_lsn) campaign->count--;
    campaign->told_sold_out = campaign->exists && campaign->told_sold_out && campaign->sold_out_lsn <= kept_lsn;
    campaign->told_ended = campaign->exists && campaign->told_ended && campaign->ended_lsn <= kept_lsn;
  }
  model->last_lsn = cpn_min_u64(model->last_lsn, kept_lsn);
}
