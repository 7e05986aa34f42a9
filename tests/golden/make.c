/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the golden directories of the current format version: make_golden DIRECTORY, or make_golden --joined DIRECTORY.
 * Run once when a version is released; the result is committed and never made anew. What it holds is what
 * tests/unit/test_golden.c expects.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "coupon/coupon.h"

static uint64_t ticking_clock(void *context) {
  uint64_t *now = context;
  return *now += 1000;
}

static int issue(coupon_engine *engine, uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_issue(engine, campaign, user, COUPON_FOREVER, &ticket) == COUPON_ISSUED ? 0 : 1;
}

/* One life: creates what is not there, and serves some users. */
static int live(const char *directory, uint64_t *now, uint64_t first_user) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.segment_size_bytes = 4096;
  options.callbacks.clock = ticking_clock;
  options.callbacks.context = now;
  coupon_engine *engine;
  if (coupon_open(directory, &options, &engine, NULL) != COUPON_OK) return 1;
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = 1;
  spec.stock = 6;
  spec.name = "one each";
  int wrong = coupon_create(engine, &spec, COUPON_FOREVER) != COUPON_OK;
  spec = (struct coupon_campaign_spec)COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = UINT64_MAX;
  spec.stock = UINT64_C(1) << 40;
  spec.user_limit = 0;
  spec.opens_at_ns = 1;
  spec.closes_at_ns = UINT64_C(4000000000000000000);
  spec.name = "";
  wrong |= coupon_create(engine, &spec, COUPON_FOREVER) != COUPON_OK;
  for (uint64_t user = first_user; user < first_user + 3; user++) wrong |= issue(engine, 1, user);
  for (int i = 0; i < 2; i++) wrong |= issue(engine, UINT64_MAX, UINT64_MAX);
  wrong |= coupon_close(engine) != COUPON_OK;
  wrong |= coupon_destroy(engine) != COUPON_OK;
  return wrong;
}

#define TOGETHER 60

/* Tickets that are decided together have a time in common, and are joined: those of users `first` … to each
 * campaign. */
static int issue_together(coupon_engine *engine, uint64_t campaign, uint64_t first) {
  struct coupon_request requests[TOGETHER];
  struct coupon_ticket tickets[TOGETHER];
  memset(requests, 0, sizeof requests);
  for (unsigned i = 0; i < TOGETHER; i++) {
    tickets[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
    requests[i].campaign = campaign;
    requests[i].user = first + i;
    memset(requests[i].uuid, (int)(first + i), sizeof requests[i].uuid);
  }
  return coupon_try_issue_batch(engine, requests, TOGETHER, tickets, sizeof tickets[0]) != COUPON_OK ||
         tickets[TOGETHER - 1].answer != COUPON_ISSUED || coupon_flush(engine) != COUPON_OK;
}

/* A campaign of numbers and one of UUIDs; in each life some that are joined, and one that is not. */
static int live_joined(const char *directory, uint64_t *now, uint64_t first) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.segment_size_bytes = 8192;
  options.callbacks.clock = ticking_clock;
  options.callbacks.context = now;
  coupon_engine *engine;
  if (coupon_open(directory, &options, &engine, NULL) != COUPON_OK) return 1;
  int wrong = 0;
  for (uint64_t id = 1; id <= 2; id++) {
    struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
    spec.id = id;
    spec.stock = 1000;
    spec.user_kind = id == 2 ? COUPON_USER_UUID : COUPON_USER_U64;
    spec.name = id == 2 ? "uuids" : "numbers";
    wrong |= coupon_create(engine, &spec, COUPON_FOREVER) != COUPON_OK;
    wrong |= issue_together(engine, id, first);
  }
  wrong |= issue(engine, 1, first + TOGETHER);
  wrong |= coupon_close(engine) != COUPON_OK;
  wrong |= coupon_destroy(engine) != COUPON_OK;
  return wrong;
}

int main(int count, char **arguments) {
  const bool joined = count == 3 && strcmp(arguments[1], "--joined") == 0;
  if (count != 2 && !joined) {
    fprintf(stderr, "usage: make_golden [--joined] DIRECTORY\n");
    return 2;
  }
  uint64_t now = UINT64_C(1790000000000000000);
  if (joined) return live_joined(arguments[2], &now, 1) | live_joined(arguments[2], &now, 101);
  return live(arguments[1], &now, 0) | live(arguments[1], &now, 3);
}
