/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a crash at any call of a life with checkpoints, and a fault of any call, loses nothing final; and that no
 * honest disk makes a checkpoint look damaged. How: support/crash_rig.h, with issuing between all steps of a checkpoint
 * (from its marked points), and the mistakes of base/points.h planted to show that the rig would find them.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/points.h"
#include "support/crash_rig.h"
#include "support/engine_help.h"

/* --- the script ------------------------------------------------------------------------------------------ */

static struct world *current;
static uint64_t next_user;

/* Between two steps of a checkpoint the sale goes on. */
static void issue_between(enum cpn_point point) {
  if (point < CPN_POINT_CHECKPOINT_BEGUN || point > CPN_POINT_CHECKPOINT_TIDIED) return;
  (void)world_issue(current, 1, next_user++);
  (void)world_issue(current, 2, 77);
  (void)world_settle(current);
  (void)world_issue(current, 3, next_user++); /* decided, not committed */
}

static bool create_with_window(struct world *world, uint64_t id, uint64_t opens_in, uint64_t closes_in) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = id;
  spec.stock = 100;
  spec.opens_at_ns = world->clock_ns + opens_in;
  spec.closes_at_ns = world->clock_ns + closes_in;
  return coupon_create(world->engine, &spec, COUPON_POLL) >= 0;
}

static bool sell(struct world *world, int rounds) {
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < 3; i++) {
      (void)world_issue(world, 1, next_user++);
      (void)world_issue(world, 3, next_user++);
      if (!world_settle(world)) return false;
    }
    (void)world_issue(world, 2, 77);
    if (round % 2 == 1) (void)!coupon_checkpoint(world->engine, COUPON_POLL);
    /* As soon as it has closed it is released; and dropped with the checkpoint behind that. */
    if (coupon_drop(world->engine, 3, COUPON_POLL) == COUPON_E_NOT_CLOSED)
      (void)!coupon_release(world->engine, 3, COUPON_POLL);
    if (world->disk->dead) return false;
  }
  return world_settle(world);
}

static bool first_life(struct world *world) {
  if (world_open(world) != COUPON_OK) return false;
  (void)world_create(world, 1, 500, 1);
  (void)world_create(world, 2, 9, 0);
  (void)create_with_window(world, 3, 60, 260);
  return world_settle(world) && sell(world, 6);
}

static bool second_life(struct world *world) {
  if (world_open(world) != COUPON_OK) return false;
  (void)world_create(world, 4, 3, 1);
  return world_settle(world) && sell(world, 6);
}

static void run_script(struct world *world) {
  current = world;
  next_user = 1;
  cpn_point_hook = issue_between;
  bool alive = first_life(world);
  if (alive)
    world_close(world);
  else
    world_abandon(world);
  alive = alive && second_life(world);
  if (alive)
    world_close(world);
  else
    world_abandon(world);
  cpn_point_hook = NULL;
}

static const char *run(struct crash_rig *rig) {
  rig->script = run_script;
  /* A sanitizer makes each recovery some ten times dearer; and every call is for CI, as long.checkpoint_crash. Mistakes
   * are found early. */
  const char *all = getenv("COUPON_TEST_LONG");
  if (cpn_mistakes == 0) rig->every = help_sanitized() ? 11 : all == NULL ? 5 : 1;
  const char *wrong = crash_rig_run(rig, help_seed());
  fprintf(stderr, "%llu points, %llu recoveries\n", (unsigned long long)rig->points,
          (unsigned long long)rig->recoveries);
  return wrong;
}

/* Or crashing it would show little. */
Test(checkpoint_crash, script_has_everything_in_it) {
  static struct world world;
  struct simdisk *disk = simdisk_create();
  world_init(&world, disk);
  run_script(&world);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_geq(world.report.checkpoint, 8);
  cr_assert_eq(help_info(world.engine, 3).place, COUPON_PLACE_DROPPED);
  cr_assert_gt(help_info(world.engine, 3).issued, 5);
  cr_assert_geq(world.engine->log.number, 8, "segments");
  cr_assert_gt(world.engine->checkpoints.manifest.first_segment, 3);
  world_close(&world);
  simdisk_destroy(disk);
}

/* --- crashes --------------------------------------------------------------------------------------------- */

Test(checkpoint_crash, at_every_call_keeps_what_was_final, .timeout = 400) {
  struct crash_rig rig = {.tosses = 1};
  const char *wrong = run(&rig);
  cr_assert_null(wrong, "%s", wrong);
  cr_assert_gt(rig.points, 400 / rig.every);
}

/* Of two checkpoints one is enough, at any moment. */
Test(checkpoint_crash, at_every_call_with_a_damaged_newest_checkpoint_keeps_what_was_final, .timeout = 400) {
  struct crash_rig rig = {.tosses = 1, .damage_newest = true};
  const char *wrong = run(&rig);
  cr_assert_null(wrong, "%s", wrong);
}

static void with_archive(struct world *world) { world->options.archive_dir = "archive"; }
static void without_links(struct simdisk *disk) { disk->no_links = true; }

Test(checkpoint_crash, at_every_call_with_an_archive_keeps_what_was_final, .timeout = 400) {
  struct crash_rig rig = {.options = with_archive};
  const char *wrong = run(&rig);
  cr_assert_null(wrong, "%s", wrong);
}

Test(checkpoint_crash, at_every_call_with_an_archive_elsewhere_keeps_what_was_final, .timeout = 400) {
  struct crash_rig rig = {.options = with_archive, .disk = without_links};
  const char *wrong = run(&rig);
  cr_assert_null(wrong, "%s", wrong);
}

/* --- faults ---------------------------------------------------------------------------------------------- */

static void fail_every_call(int error, bool for_good) {
  struct crash_rig rig = {.fail_errno = error, .fail_for_good = for_good, .options = with_archive};
  const char *wrong = run(&rig);
  cr_assert_null(wrong, "%s", wrong);
}

/* While a checkpoint is made the log needs another segment, and the sync of the full one fails. To the next sync what
 * was not written looks clean; the checkpoint must not take that for its proof. */
static bool log_sync_fails;

static int64_t fail_a_sync_of_the_log(void *context, const struct sim_call *call) {
  (void)context;
  if (!log_sync_fails || call->op != SIM_SYNC || strstr(call->name, ".log") == NULL) return 0;
  log_sync_fails = false;
  return -EIO;
}

static void fill_the_segment(enum cpn_point point) {
  if (point != CPN_POINT_CHECKPOINT_SYNCED) return;
  log_sync_fails = true;
  for (int i = 0; i < 64 && log_sync_fails; i++) {
    for (int j = 0; j < 8; j++) (void)world_issue(current, 1, next_user++);
    (void)world_settle(current);
  }
}

Test(checkpoint_faults, no_checkpoint_follows_a_failed_sync_of_the_log) {
  static struct world world;
  struct simdisk *disk = simdisk_create();
  world_init(&world, disk);
  world.options.durability = COUPON_WRITTEN;
  disk->meddle = fail_a_sync_of_the_log;
  current = &world;
  next_user = 1;
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_geq(world_create(&world, 1, 10000, 1), 0);
  (void)world_issue(&world, 1, next_user++);
  cr_assert(world_settle(&world));
  cpn_point_hook = fill_the_segment;
  cr_expect_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_E_IO);
  cpn_point_hook = NULL;
  cr_expect_not(log_sync_fails, "the segment never was full: this shows nothing");
  struct coupon_stats stats = help_stats(world.engine);
  cr_expect_eq(stats.failure, COUPON_E_IO);
  cr_expect_eq(stats.checkpoints, 0);
  world_abandon(&world);
  simdisk_destroy(disk);
}

Test(checkpoint_faults, eio_once_loses_nothing_final, .timeout = 400) { fail_every_call(EIO, false); }
Test(checkpoint_faults, eio_for_good_loses_nothing_final, .timeout = 400) { fail_every_call(EIO, true); }
Test(checkpoint_faults, a_full_disk_once_loses_nothing_final, .timeout = 400) { fail_every_call(ENOSPC, false); }
Test(checkpoint_faults, a_full_disk_for_good_loses_nothing_final, .timeout = 400) { fail_every_call(ENOSPC, true); }

/* --- planted mistakes ------------------------------------------------------------------------------------ */

static const char *run_with(unsigned mistake) {
  const unsigned too_early = CPN_MISTAKE_TIDY_BEFORE_SWITCH | CPN_MISTAKE_SEGMENTS_TOO_EARLY;
  struct crash_rig rig = {.tosses = 1, .damage_newest = (mistake & too_early) != 0};
  cpn_mistakes = mistake;
  const char *wrong = run(&rig);
  cpn_mistakes = 0;
  return wrong;
}

Test(checkpoint_mistakes, a_checkpoint_that_was_not_synced_is_found, .timeout = 400) {
  cr_assert_not_null(run_with(CPN_MISTAKE_CHECKPOINT_UNSYNCED));
}
Test(checkpoint_mistakes, tidying_before_the_switch_is_found, .timeout = 400) {
  cr_assert_not_null(run_with(CPN_MISTAKE_TIDY_BEFORE_SWITCH));
}
Test(checkpoint_mistakes, segments_that_go_too_early_are_found, .timeout = 400) {
  cr_assert_not_null(run_with(CPN_MISTAKE_SEGMENTS_TOO_EARLY));
}
Test(checkpoint_mistakes, tickets_from_behind_its_lsn_are_found, .timeout = 400) {
  cr_assert_not_null(run_with(CPN_MISTAKE_CHECKPOINT_TOO_MUCH));
}
Test(checkpoint_mistakes, a_ticket_that_it_lacks_is_found, .timeout = 400) {
  cr_assert_not_null(run_with(CPN_MISTAKE_CHECKPOINT_TOO_LITTLE));
}
