/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "sim/run.h"

#define USERS 24
#define STRANGERS 2000
#define SECOND UINT64_C(1000000000)

static struct coupon_stats stats_of(const struct run *run) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  (void)!coupon_read_stats(run->engine, &stats);
  return stats;
}

/* A failed engine says so to everything but its statistics; nothing is learnt from that. */
static bool has_failed(struct run *run, coupon_status status) {
  if (status != COUPON_E_FAILED) return false;
  if (!run->failed) model_wrong(&run->model, "it says that it failed, and did not", 0, 0, 0);
  return true;
}

static void remember(struct run *run, const struct coupon_ticket *ticket) {
  run->remembered[run->remembered_count++ % RUN_REMEMBERED] = *ticket;
}

/* Mostly one that exists. */
static uint32_t some_campaign(struct run *run) {
  uint32_t number = (uint32_t)chance_below(&run->chance, MODEL_CAMPAIGNS);
  if (run->model.campaigns[number].exists || chance_once_in(&run->chance, 8)) return number;
  for (uint32_t i = 0; i < MODEL_CAMPAIGNS; i++) {
    if (run->model.campaigns[(number + i) % MODEL_CAMPAIGNS].exists) return (number + i) % MODEL_CAMPAIGNS;
  }
  return number;
}

static uint64_t some_user(struct run *run) { return chance_below(&run->chance, run->crowded ? STRANGERS : USERS); }

/* --- campaigns ------------------------------------------------------------------------------------------- */

void work_create(struct run *run, uint32_t number, const struct coupon_campaign_spec *spec) {
  struct model_campaign *campaign = &run->model.campaigns[number];
  coupon_status status = coupon_create(run->engine, spec, COUPON_POLL);
  run_note(run, "create", coupon_status_name(status), spec->id, spec->stock, spec->user_limit);
  if (has_failed(run, status)) return;
  if (status < 0) {
    struct coupon_stats stats = stats_of(run);
    (void)model_fault(&run->model, status, UINT64_C(8) * (CPN_WORDS_CAMPAIGN + 2), &stats);
    return;
  }
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  if (coupon_info(run->engine, spec->id, &info) != COUPON_OK)
    model_wrong(&run->model, "what was created is not there", spec->id, 0, 0);
  if (campaign->exists && info.created_lsn != campaign->created_lsn)
    model_wrong(&run->model, "a campaign was created twice", spec->id, info.created_lsn, campaign->created_lsn);
  if (!campaign->exists && info.created_lsn <= run->model.last_lsn)
    model_wrong(&run->model, "a later campaign has no later LSN", spec->id, info.created_lsn, run->model.last_lsn);
  if ((status == COUPON_OK) != (info.created_lsn <= run->model.durable_lsn))
    model_wrong(&run->model, "created is called final otherwise than it is", spec->id, info.created_lsn, 0);
  if (campaign->exists) return;
  campaign->exists = true;
  campaign->spec = *spec;
  campaign->created_lsn = info.created_lsn;
  campaign->count = 0;
  campaign->told_sold_out = campaign->told_ended = false;
  model_forget_places(campaign);
  run->model.last_lsn = cpn_max_u64(run->model.last_lsn, info.created_lsn);
}

static void create_by_chance(struct run *run) {
  static const uint64_t stocks[] = {0, 1, 2, 3, 5, 8, 13, 40, 400};
  static const char *const names[] = {"", "sim", "a long name"};
  struct chance *chance = &run->chance;
  uint32_t number = (uint32_t)chance_below(chance, MODEL_CAMPAIGNS);
  if (run->model.campaigns[number].exists) { /* again: that changes nothing */
    work_create(run, number, &run->model.campaigns[number].spec);
    return;
  }
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = number + 1;
  spec.stock = run->crowded ? 400 : CHANCE_PICK(chance, stocks);
  spec.user_limit = chance_below(chance, 4) != 0;
  spec.user_kind = chance_once_in(chance, 2) ? COUPON_USER_UUID : COUPON_USER_U64;
  spec.name = CHANCE_PICK(chance, names);
  if (chance_once_in(chance, 3)) spec.opens_at_ns = run->clock_ns + chance_below(chance, 20) * SECOND;
  if (chance_once_in(chance, 3))
    spec.closes_at_ns = cpn_max_u64(run->clock_ns, spec.opens_at_ns) + (1 + chance_below(chance, 60)) * SECOND;
  work_create(run, number, &spec);
}

/* --- requests -------------------------------------------------------------------------------------------- */

void work_issue(struct run *run, uint32_t number, uint64_t user, bool waits) {
  coupon_engine *engine = run->engine;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  unsigned char uuid[COUPON_UUID_SIZE];
  coupon_status status;
  model_uuid(user, uuid);
  if (run->model.campaigns[number].exists && run->model.campaigns[number].spec.user_kind == COUPON_USER_UUID)
    status = waits ? coupon_issue_uuid(engine, number + 1, uuid, COUPON_POLL, &ticket)
                   : coupon_try_issue_uuid(engine, number + 1, uuid, &ticket);
  else
    status = waits ? coupon_issue(engine, number + 1, user, COUPON_POLL, &ticket)
                   : coupon_try_issue(engine, number + 1, user, &ticket);
  run_note(run, waits ? "issue" : "try to issue", coupon_status_name(status), number + 1, user, ticket.lsn);
  run_count(run, status);
  if (has_failed(run, status)) return;
  struct coupon_stats stats = stats_of(run);
  model_answer(&run->model, number, user, status, &ticket, &stats);
  if (status >= 0) remember(run, &ticket);
}

static void issue_batch(struct run *run) {
  enum { LARGEST = 80 };
  static struct coupon_request requests[LARGEST];
  static struct coupon_ticket tickets[LARGEST];
  uint32_t campaigns[LARGEST];
  uint64_t users[LARGEST];
  struct chance *chance = &run->chance;
  size_t count = 1 + chance_below(chance, run->crowded || chance_once_in(chance, 5) ? LARGEST : 6);
  uint32_t one = some_campaign(run);
  bool mixed = chance_once_in(chance, 2);
  for (size_t i = 0; i < count; i++) {
    campaigns[i] = mixed ? some_campaign(run) : one;
    users[i] = some_user(run);
    requests[i].campaign = campaigns[i] + 1;
    requests[i].user = users[i];
    model_uuid(users[i], requests[i].uuid);
  }
  coupon_status status = coupon_try_issue_batch(run->engine, requests, count, tickets, sizeof tickets[0]);
  run_note(run, "batch", coupon_status_name(status), count, one, mixed);
  if (has_failed(run, status)) return;
  for (size_t i = 0; i < count; i++) run_count(run, tickets[i].answer);
  if (status != COUPON_OK) model_wrong(&run->model, "a batch failed", (uint64_t)-status, count, 0);
  struct coupon_stats stats = stats_of(run);
  model_answers(&run->model, campaigns, users, count, tickets, &stats);
  if (tickets[0].answer >= 0) remember(run, &tickets[0]);
}

static void issue_by_chance(struct run *run) {
  uint32_t number = some_campaign(run);
  work_issue(run, number, some_user(run), chance_once_in(&run->chance, 3));
}

/* A user of the other kind: refused, and nothing happens. */
static void issue_to_other_kind(struct run *run) {
  uint32_t number = some_campaign(run);
  const struct model_campaign *campaign = &run->model.campaigns[number];
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  unsigned char uuid[COUPON_UUID_SIZE];
  model_uuid(1, uuid);
  if (!campaign->exists) return;
  coupon_status status = campaign->spec.user_kind == COUPON_USER_U64
                             ? coupon_try_issue_uuid(run->engine, number + 1, uuid, &ticket)
                             : coupon_try_issue(run->engine, number + 1, 1, &ticket);
  run_count(run, status);
  if (!has_failed(run, status) && status != COUPON_E_USER_KIND)
    model_wrong(&run->model, "a user of the other kind is answered", number + 1, (uint64_t)status, 0);
}

/* --- looking --------------------------------------------------------------------------------------------- */

/* With a limit the look-up is linearizable; without one it tells of what the commit stage has numbered. */
static void look_up(struct run *run) {
  uint32_t number = some_campaign(run);
  uint64_t user = some_user(run), has = 0;
  const struct model_campaign *campaign = &run->model.campaigns[number];
  if (campaign->wanted != COUPON_PLACE_MEMORY) return; /* what is in files is compared whole at each opening */
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  unsigned char uuid[COUPON_UUID_SIZE];
  model_uuid(user, uuid);
  coupon_status status = campaign->exists && campaign->spec.user_kind == COUPON_USER_UUID
                             ? coupon_lookup_uuid(run->engine, number + 1, uuid, &ticket, &has)
                             : coupon_lookup(run->engine, number + 1, user, &ticket, &has);
  run_note(run, "look up", coupon_status_name(status), number + 1, user, ticket.lsn);
  if (has_failed(run, status)) return;
  const struct model_ticket *expected = campaign->exists ? model_holder(campaign, user) : NULL;
  bool numbered_only = campaign->exists && campaign->spec.user_limit == 0;
  if (expected != NULL && numbered_only && expected->lsn > run->model.durable_lsn) expected = NULL;
  coupon_status right = !campaign->exists ? COUPON_NO_CAMPAIGN : expected == NULL ? COUPON_NOT_FOUND : COUPON_OK;
  if (status != right) model_wrong(&run->model, "a look-up says otherwise", number + 1, user, (uint64_t)status);
  if (status == COUPON_OK && expected != NULL && (ticket.lsn != expected->lsn || ticket.time_ns != expected->time_ns))
    model_wrong(&run->model, "a look-up finds another ticket", user, ticket.lsn, expected->lsn);
}

static void look_again(struct run *run) {
  if (run->remembered_count == 0) return;
  struct coupon_ticket *ticket =
      &run->remembered[chance_below(&run->chance, cpn_min_u64(run->remembered_count, RUN_REMEMBERED))];
  bool was = (ticket->flags & COUPON_TICKET_FINAL) != 0;
  if (run->model.campaigns[(ticket->campaign - 1) % MODEL_CAMPAIGNS].wanted != COUPON_PLACE_MEMORY) return;
  coupon_status status = coupon_wait(run->engine, ticket, COUPON_POLL);
  run_note(run, "poll", coupon_status_name(status), ticket->campaign, ticket->user, ticket->lsn);
  if (has_failed(run, status)) return;
  bool final = ticket->lsn <= run->model.durable_lsn;
  if (status != (final ? COUPON_OK : COUPON_NOT_FINAL) || (was && !final))
    model_wrong(&run->model, "a poll says otherwise than the durable LSN", ticket->lsn, run->model.durable_lsn, was);
  bool has_ticket = ticket->answer == COUPON_ISSUED || ticket->answer == COUPON_ALREADY_ISSUED;
  if (final && has_ticket && ticket->number == 0)
    model_wrong(&run->model, "a final ticket has no number", ticket->lsn, 0, 0);
}

static void list(struct run *run) {
  struct coupon_campaign_info infos[MODEL_CAMPAIGNS + 1];
  size_t count = 0;
  coupon_status status = coupon_list(run->engine, 0, infos, sizeof infos[0], MODEL_CAMPAIGNS + 1, &count);
  if (has_failed(run, status)) return;
  for (size_t i = 0; i < count; i++) {
    const struct model_campaign *campaign = &run->model.campaigns[(infos[i].id - 1) % MODEL_CAMPAIGNS];
    if (infos[i].issued != campaign->count || infos[i].index != i)
      model_wrong(&run->model, "a list says otherwise", infos[i].id, infos[i].issued, campaign->count);
    if (i > 0 && infos[i].created_lsn <= infos[i - 1].created_lsn)
      model_wrong(&run->model, "a list is not in order", infos[i].id, infos[i].created_lsn, 0);
  }
}

/* --- campaigns that are over -------------------------------------------------------------------------------- */

static void release_by_chance(struct run *run) {
  uint32_t number = some_campaign(run);
  /* One that has ended, rather. */
  for (uint32_t i = 0; i < MODEL_CAMPAIGNS; i++) {
    if (run->model.campaigns[(number + i) % MODEL_CAMPAIGNS].told_ended) number = (number + i) % MODEL_CAMPAIGNS;
  }
  run_release(run, number, run->model.campaigns[number].place == COUPON_PLACE_RELEASED);
}

/* --- the clock, and one operation -------------------------------------------------------------------------- */

static void set_clock(struct run *run) {
  static const int64_t jumps[] = {1,  1000,        1000000,      1000000000,         5000000000,         40000000000,
                                  -1, -1000000000, -40000000000, 315360000000000000, -315360000000000000};
  uint64_t kinds = chance_once_in(&run->chance, 20) ? sizeof jumps / sizeof jumps[0] : 6;
  int64_t by = jumps[chance_below(&run->chance, kinds)];
  if (run->clock_stands) return;
  run->clock_ns += (uint64_t)by;
  if (run->clock_ns > UINT64_C(1) << 62 || run->clock_ns < SECOND) run->clock_ns = UINT64_C(1) << 60;
  run_note(run, "the clock", by < 0 ? "steps back" : "goes on", run->clock_ns, 0, 0);
}

static void beside(struct run *run) {
  if (!run->failed && !run->disk->dead && !run->lying && run->planted.plant == PLANT_NOTHING) run_look_beside(run);
}

bool work_once(struct run *run) {
  uint64_t dice = chance_below(&run->chance, 100);
  if (run->stalled > 0) run->stalled--;
  if (run->crowded && dice < 30) dice = 40; /* a batch */
  if (dice < 38)
    issue_by_chance(run);
  else if (dice < 48)
    issue_batch(run);
  else if (dice < 56)
    create_by_chance(run);
  else if (dice < 62)
    look_up(run);
  else if (dice < 67)
    look_again(run);
  else if (dice < 68)
    list(run);
  else if (dice < 69)
    issue_to_other_kind(run);
  else if (dice < 78)
    set_clock(run);
  else if (dice < 79)
    run->stalled = chance_below(&run->chance, 60);
  else if (dice < 80)
    beside(run);
  else if (dice < 81 && !run->failed)
    release_by_chance(run);
  else if (dice < 82 && !run->failed)
    run_checkpoint(run);
  else if (run->stalled == 0)
    for (bool all = dice < 86; run_step(run) && all;) {
    }
  if (run->stalled == 0 && !run->failed && !run_is_wrong(run)) run_checkpoint_if_due(run);
  return !run->failed && !run->disk->dead && !run_is_wrong(run);
}

void work_beside_checkpoint(struct run *run) {
  run_note(run, "beside a checkpoint", "", 0, 0, 0);
  for (uint64_t left = chance_below(&run->chance, 5); left > 0 && !run->failed && !run_is_wrong(run); left--) {
    uint64_t dice = chance_below(&run->chance, 10);
    if (dice < 5)
      issue_by_chance(run);
    else if (dice < 6)
      issue_batch(run);
    else if (dice < 7)
      create_by_chance(run);
    else
      (void)run_step(run);
  }
}
