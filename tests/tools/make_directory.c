/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes a directory with all that the tools have to read: make_directory DIR ARCHIVE. Small segments, of which
 * checkpoints have made some superfluous; tickets behind the last checkpoint; and campaigns
 *
 *   1 of numbers          3000 tickets
 *   2 of UUIDs             500, released
 *   3 of numbers           700, released and dropped
 *   4 opens in a year        0
 *   5 without a limit      100, of one user
 */
#include <coupon/coupon.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void must(coupon_status status, coupon_status wanted, const char *what) {
  if (status == wanted) return;
  fprintf(stderr, "%s: %s\n", what, coupon_strerror(status));
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void create(coupon_engine *engine, uint64_t id, int32_t kind, uint64_t limit, uint64_t opens, uint64_t closes) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = id;
  spec.stock = 10000;
  spec.name = "a sale";
  spec.user_kind = kind;
  spec.user_limit = limit;
  spec.opens_at_ns = opens;
  spec.closes_at_ns = closes;
  must(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK, "create");
}

/* `count` tickets to users from `first` on, not waiting for each. */
static void issue(coupon_engine *engine, uint64_t campaign, uint64_t first, uint64_t count, bool one_user) {
  for (uint64_t user = first; user < first + count; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    unsigned char uuid[COUPON_UUID_SIZE] = {0};
    memcpy(uuid + 3, &user, sizeof user);
    coupon_status status = campaign == 2 ? coupon_try_issue_uuid(engine, campaign, uuid, &ticket)
                                         : coupon_try_issue(engine, campaign, one_user ? first : user, &ticket);
    if (status == COUPON_E_BUSY)
      user--;
    else
      must(status, COUPON_ISSUED, "issue");
  }
  must(coupon_flush(engine), COUPON_OK, "flush");
}

static void checkpoint(coupon_engine *engine) {
  must(coupon_checkpoint(engine, COUPON_FOREVER), COUPON_OK, "checkpoint");
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  coupon_engine *engine = NULL;
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.segment_size_bytes = 8192; /* of which the first two are archived, however many tickets are joined */
  options.checkpoint_log_bytes = UINT64_MAX;
  options.archive_dir = argv[2];
  must(coupon_open(argv[1], &options, &engine, NULL), COUPON_OK, "open");
  const uint64_t closes = now_ns() + UINT64_C(700000000);
  create(engine, 1, COUPON_USER_U64, 1, 0, 0);
  create(engine, 2, COUPON_USER_UUID, 1, closes - UINT64_C(690000000), closes);
  create(engine, 3, COUPON_USER_U64, 1, 0, closes);
  create(engine, 4, COUPON_USER_U64, 1, closes + UINT64_C(365) * 86400 * 1000000000, 0);
  create(engine, 5, COUPON_USER_U64, 0, 0, 0);
  const struct timespec opening = {0, 20000000}, closing = {0, 700000000};
  nanosleep(&opening, NULL);
  issue(engine, 2, 1, 500, false);
  issue(engine, 1, 1, 1000, false);
  issue(engine, 3, 1, 700, false);
  checkpoint(engine);
  nanosleep(&closing, NULL);
  must(coupon_release(engine, 2, COUPON_FOREVER), COUPON_OK, "release");
  must(coupon_release(engine, 3, COUPON_FOREVER), COUPON_OK, "release");
  must(coupon_drop(engine, 3, COUPON_FOREVER), COUPON_OK, "drop");
  issue(engine, 1, 1001, 1000, false);
  checkpoint(engine);
  issue(engine, 1, 2001, 500, false);
  issue(engine, 5, 7, 100, true);
  checkpoint(engine);
  issue(engine, 1, 2501, 500, false);
  must(coupon_close(engine), COUPON_OK, "close");
  must(coupon_destroy(engine), COUPON_OK, "destroy");
  return 0;
}
