/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the golden directory of the current format version: make_golden DIRECTORY. Run once when a version is
 * released; the result is committed and never made anew. What it holds is what tests/unit/test_golden.c expects.
 */
#include <stdio.h>

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

int main(int count, char **arguments) {
  if (count != 2) {
    fprintf(stderr, "usage: make_golden DIRECTORY\n");
    return 2;
  }
  uint64_t now = UINT64_C(1790000000000000000);
  return live(arguments[1], &now, 0) | live(arguments[1], &now, 3);
}
