/* SPDX-License-Identifier: Apache-2.0 */
#include "support/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"

static uint64_t read_clock(void *context) { return ((struct world *)context)->clock_ns; }

void world_init(struct world *world, struct simdisk *disk) {
  memset(world, 0, sizeof *world);
  world->disk = disk;
  world->clock_ns = UINT64_C(1000000000);
  world->options = (struct coupon_options)COUPON_OPTIONS_INIT;
  world->options.segment_size_bytes = 4096;
  world->options.log_buffer_bytes = 4096;
  world->options.callbacks.clock = read_clock;
  world->options.callbacks.context = world;
}

coupon_status world_open(struct world *world) {
  struct cpn_env env = simdisk_env(world->disk);
  world->report = (struct coupon_report)COUPON_REPORT_INIT;
  return cpn_engine_open(&env, "directory", &world->options, &world->engine, &world->report);
}

void world_abandon(struct world *world) {
  if (world->engine == NULL) return;
  world->disk->dead = true; /* whatever closing would write is lost */
  (void)coupon_destroy(world->engine);
  world->engine = NULL;
}

void world_close(struct world *world) {
  if (world->engine == NULL) return;
  (void)world_settle(world);
  (void)coupon_destroy(world->engine);
  world->engine = NULL;
}

coupon_status world_create(struct world *world, uint64_t id, uint64_t stock, uint64_t user_limit) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = id;
  spec.stock = stock;
  spec.user_limit = user_limit;
  spec.name = "crash";
  world->clock_ns += 10;
  return coupon_create(world->engine, &spec, COUPON_POLL);
}

coupon_status world_issue(struct world *world, uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  world->clock_ns += 10;
  coupon_status status = coupon_try_issue(world->engine, campaign, user, &ticket);
  if (status >= 0 && world->answer_count < WORLD_ANSWERS) world->answers[world->answer_count++] = ticket;
  return status;
}

bool world_settle(struct world *world) {
  int done;
  while ((done = cpn_wait_step(world->engine)) > 0) {
  }
  for (size_t i = 0; i < world->answer_count; i++) {
    struct coupon_ticket *answer = &world->answers[i];
    if ((answer->flags & COUPON_TICKET_FINAL) == 0 && done >= 0) (void)!coupon_wait(world->engine, answer, COUPON_POLL);
  }
  return done >= 0;
}

/* --- the oracle --------------------------------------------------------------------------------------- */

static const char *check_campaign(struct world *world, const struct coupon_campaign_info *info) {
  struct coupon_ticket tickets[512];
  size_t count = 0;
  if (info->place == COUPON_PLACE_DROPPED) return NULL;
  if (coupon_read_tickets(world->engine, info->id, 1, tickets, sizeof tickets[0], 512, &count) != COUPON_OK)
    return "tickets cannot be read";
  if (info->issued + info->remaining != info->stock) return "issued + remaining != stock";
  if (count != info->issued) return "tickets != issued";
  for (size_t i = 0; i < count; i++) {
    if (tickets[i].number != i + 1) return "numbers are not 1, 2, 3 ...";
    if (i > 0 && tickets[i].lsn <= tickets[i - 1].lsn) return "LSNs do not rise with the numbers";
    if (i > 0 && tickets[i].time_ns < tickets[i - 1].time_ns) return "times fall along the numbers";
    for (size_t j = 0; info->user_limit == 1 && j < i; j++) {
      if (tickets[j].user == tickets[i].user) return "a user has two tickets";
    }
  }
  return NULL;
}

/* A final answer of the past still holds. */
static const char *check_answer(struct world *world, const struct coupon_ticket *answer) {
  if ((answer->flags & COUPON_TICKET_FINAL) == 0 || answer->answer == COUPON_NO_CAMPAIGN) return NULL;
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  if (coupon_info(world->engine, answer->campaign, &info) != COUPON_OK) return "a campaign with final answers is gone";
  if (answer->answer == COUPON_SOLD_OUT) return info.remaining == 0 ? NULL : "it was sold out, and is not any more";
  if (answer->answer == COUPON_ENDED) return info.state == COUPON_STATE_CLOSED ? NULL : "it had ended, and has not now";
  if (answer->answer == COUPON_NOT_OPEN) return NULL;
  struct coupon_ticket there[1];
  size_t count = 0;
  if (info.place == COUPON_PLACE_DROPPED) return NULL;
  if (coupon_read_tickets(world->engine, answer->campaign, answer->number, there, sizeof there[0], 1, &count) !=
      COUPON_OK)
    return "tickets cannot be read";
  if (answer->number == 0) return "a final ticket has no number";
  if (count == 0) return "a final ticket is gone";
  bool same = there[0].user == answer->user && there[0].lsn == answer->lsn && there[0].time_ns == answer->time_ns;
  return same ? NULL : "a final ticket is another's now";
}

const char *world_check(struct world *world, const struct world *past) {
  struct coupon_campaign_info infos[8];
  size_t count = 0;
  if (coupon_list(world->engine, 0, infos, sizeof infos[0], 8, &count) != COUPON_OK) return "campaigns cannot be read";
  for (size_t i = 0; i < count; i++) {
    const char *wrong = check_campaign(world, &infos[i]);
    if (wrong != NULL) return wrong;
  }
  for (size_t i = 0; i < past->answer_count; i++) {
    const char *wrong = check_answer(world, &past->answers[i]);
    if (wrong != NULL) return wrong;
  }
  return NULL;
}

uint64_t world_digest(struct world *world) {
  struct coupon_campaign_info infos[8];
  size_t count = 0;
  uint64_t digest = 0;
  if (coupon_list(world->engine, 0, infos, sizeof infos[0], 8, &count) != COUPON_OK) abort();
  for (size_t i = 0; i < count; i++) {
    struct coupon_ticket tickets[512];
    size_t listed = 0;
    if (infos[i].place != COUPON_PLACE_DROPPED &&
        coupon_read_tickets(world->engine, infos[i].id, 1, tickets, sizeof tickets[0], 512, &listed) != COUPON_OK)
      abort();
    uint64_t words[5] = {digest, infos[i].id, infos[i].stock, infos[i].issued, infos[i].created_lsn};
    digest = cpn_checksum(words, sizeof words);
    for (size_t j = 0; j < listed; j++) {
      uint64_t row[5] = {digest, tickets[j].number, tickets[j].user, tickets[j].lsn, tickets[j].time_ns};
      digest = cpn_checksum(row, sizeof row);
    }
  }
  return digest;
}

uint64_t world_tickets(struct world *world) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  return coupon_read_stats(world->engine, &stats) == COUPON_OK ? stats.tickets : 0;
}
