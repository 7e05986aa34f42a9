/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what checkpoints keep and what goes because of them: round trips of every kind of campaign, which segments go
 * when, the archive, when one is made and what the statistics say. Damage is test_checkpoint_damage.c's, crashes are
 * test_checkpoint_crash.c's.
 */
#include <errno.h>
#include <stdio.h>

#include "support/checkpoint_help.h"

TestSuite(checkpoint, .init = begin, .fini = end);

/* --- round trips ----------------------------------------------------------------------------------------- */

/* Campaigns of every kind, in every state. */
static void every_kind(void) {
  create(10, COUPON_USER_U64, 1, 0, 0, "numbers");
  create(UINT64_MAX, COUPON_USER_UUID, 1, 0, 0, "uuids");
  create(12, COUPON_USER_U64, 0, 0, 0, "");
  create(13, COUPON_USER_UUID, 0, 0, 0, "both");
  create(14, COUPON_USER_U64, 1, 500, 0, "opens");
  create(15, COUPON_USER_U64, 1, 0, 900, "closes");
  create(16, COUPON_USER_U64, 1, UINT64_C(1) << 50, 0, "still to come");
  create(17, COUPON_USER_U64, 1, 0, 0, "nobody came");
  for (uint64_t i = 0; i < 40; i++) {
    sell(10, i, 1);
    issue_uuid(UINT64_MAX, i);
    (void)world_issue(&world, 12, i % 3);
    issue_uuid(13, i % 5);
    (void)world_issue(&world, 14, i);
    (void)world_issue(&world, 15, i);
    cr_assert(world_settle(&world));
  }
}

Test(checkpoint, brings_back_everything_of_every_kind) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  every_kind();
  checkpoint();
  uint64_t digest = digest_of_all(world.engine), tickets = world_tickets(&world);
  world_close(&world);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_eq(world.report.checkpoint, 1);
  cr_assert_eq(world.report.checkpoint_tickets, tickets);
  cr_assert_leq(world.report.records, 4, "the log was read, not the checkpoint");
  cr_assert_eq(digest_of_all(world.engine), digest);
  /* And it goes on: who holds a ticket is known, numbers continue. */
  cr_assert_eq(world_issue(&world, 10, 7), COUPON_ALREADY_ISSUED);
  cr_assert_eq(world_issue(&world, 15, 1), COUPON_ALREADY_ISSUED);
  cr_assert_eq(world_issue(&world, 15, 99), COUPON_ENDED);
  cr_assert_eq(world_issue(&world, 16, 1), COUPON_NOT_OPEN);
  sell(10, 1000, 1);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_lookup(world.engine, 10, 1000, &ticket, NULL), COUPON_OK);
  cr_assert_eq(ticket.number, 41);
}

Test(checkpoint, and_the_log_behind_it_are_what_the_whole_log_is) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  every_kind();
  checkpoint();
  sell(10, 2000, 30);
  world_close(&world);
  /* The same directory, told that there are no checkpoints. */
  struct simdisk *whole = simdisk_copy(disk);
  struct cpn_manifest without = manifest();
  cr_assert_eq(without.first_segment, 1);
  without.newest_checkpoint = 0;
  uint64_t size;
  cpn_manifest_encode(&without, simdisk_bytes(whole, CPN_MANIFEST_NAME, &size));
  struct world other;
  world_init(&other, whole);
  other.clock_ns = world.clock_ns;
  cr_assert_eq(world_open(&other), COUPON_OK);
  cr_assert_eq(other.report.checkpoint, 0);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_eq(world.report.checkpoint, 1);
  cr_assert_eq(digest_of_all(other.engine), digest_of_all(world.engine));
  world_abandon(&other);
  simdisk_destroy(whole);
}

Test(checkpoint, of_nothing_is_one_too) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  checkpoint();
  world_close(&world);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_eq(world.report.checkpoint, 1);
}

Test(checkpoint, takes_decision_time_with_it) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10, 1);
  sell(1, 1, 1);
  struct coupon_stats before = help_stats(world.engine);
  checkpoint();
  world_close(&world);
  world.clock_ns = 5; /* the wall clock has gone back */
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_geq(help_stats(world.engine).time_ns, before.time_ns);
}

/* --- what goes ------------------------------------------------------------------------------------------- */

/* A hundred single commits are some 14 segments of 4 KiB. */
static void sell_segments(uint64_t from) { sell(1, from, 100); }

Test(checkpoint, lets_segments_go_only_when_the_older_one_covers_them) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  sell_segments(0);
  const uint64_t first = world.engine->log.number;
  cr_assert_gt(first, 10);
  checkpoint();
  cr_assert(segment_exists(1), "one checkpoint lets nothing go");
  cr_assert_eq(manifest().first_segment, 1);
  sell_segments(100);
  const uint64_t second = world.engine->log.number;
  checkpoint();
  cr_assert_eq(manifest().first_segment, first);
  for (uint64_t number = 1; number <= second; number++) cr_assert_eq(segment_exists(number), number >= first);
  sell_segments(200);
  checkpoint();
  cr_assert_eq(manifest().first_segment, second);
  cr_assert(!checkpoint_exists(1) && checkpoint_exists(2) && checkpoint_exists(3), "the two newest are kept");
  cr_assert_eq(help_stats(world.engine).segments, world.engine->log.number - second + 1);
  uint64_t digest = world_digest(&world);
  world_close(&world);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_eq(world_digest(&world), digest);
}

Test(checkpoint, of_many_leaves_a_directory_that_does_not_grow) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  uint64_t most = 0;
  for (uint64_t round = 0; round < 20; round++) {
    sell_segments(round * 100);
    checkpoint();
    uint64_t segments = help_stats(world.engine).segments;
    if (round > 1 && segments > most) most = segments;
  }
  cr_assert_lt(most, 40, "%llu segments", (unsigned long long)most);
}

static void archive_of(bool links) {
  disk->no_links = !links;
  world.options.archive_dir = "archive";
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  for (uint64_t round = 0; round < 4; round++) {
    sell(1, round * 40, 40);
    checkpoint();
  }
  uint64_t digest = world_digest(&world);
  const uint64_t first = manifest().first_segment;
  cr_assert_gt(first, 10);
  world_close(&world);
  /* Brought back, the archived segments and the directory's are the whole log. */
  struct simdisk *whole = simdisk_copy(disk);
  for (uint64_t number = 1; number < first; number++) {
    char name[CPN_SEGMENT_NAME_SIZE], archived[CPN_IO_NAME_MAX];
    cpn_segment_name(number, name);
    (void)snprintf(archived, sizeof archived, "archive/%s", name);
    cr_assert(!segment_exists(number));
    cr_assert(exists(archived));
    simdisk_duplicate(whole, archived, name);
  }
  cr_assert(!exists("archive/" CPN_ARCHIVE_TEMPORARY_NAME));
  struct cpn_manifest without = manifest();
  without.newest_checkpoint = without.older_checkpoint = 0;
  without.first_segment = 1;
  uint64_t size;
  cpn_manifest_encode(&without, simdisk_bytes(whole, CPN_MANIFEST_NAME, &size));
  struct world other;
  world_init(&other, whole);
  other.clock_ns = world.clock_ns;
  cr_assert_eq(world_open(&other), COUPON_OK, "%s", other.report.message);
  cr_assert_eq(other.report.checkpoint, 0);
  cr_assert_eq(world_digest(&other), digest);
  world_abandon(&other);
  simdisk_destroy(whole);
}

Test(checkpoint, with_an_archive_keeps_the_whole_log) { archive_of(true); }
Test(checkpoint, with_an_archive_on_another_file_system_keeps_the_whole_log) { archive_of(false); }

Test(checkpoint, is_not_archived_into_a_directory_of_an_engine) {
  world.options.archive_dir = "directory"; /* the one it is in */
  cr_assert_eq(world_open(&world), COUPON_E_INVAL);
  world.options.archive_dir = NULL;
  cr_assert_eq(world_open(&world), COUPON_OK);
}

Test(checkpoint, does_not_overwrite_what_another_directory_has_archived) {
  world.options.archive_dir = "archive";
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  sell_segments(0);
  simdisk_duplicate(disk, CPN_MANIFEST_NAME, "archive/0000000000000001.log"); /* something else of that name */
  checkpoint();
  sell_segments(100);
  checkpoint();
  cr_assert(segment_exists(1) && segment_exists(2), "what cannot be archived is kept");
  simdisk_remove(disk, "archive/0000000000000001.log");
  sell_segments(200);
  checkpoint();
  cr_assert(!segment_exists(1) && exists("archive/0000000000000001.log"));
}

/* Whatever comes there between a look at a name and the link: a copy under it would take its place. */
static int64_t come_before_the_link(void *chooser, const struct sim_call *call) {
  (void)chooser;
  if (call->op == SIM_LINK && !exists("archive/0000000000000001.log"))
    simdisk_duplicate(disk, CPN_MANIFEST_NAME, "archive/0000000000000001.log");
  return 0;
}

Test(checkpoint, does_not_overwrite_what_comes_into_the_archive_meanwhile) {
  world.options.archive_dir = "archive";
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  disk->meddle = come_before_the_link;
  sell_segments(0);
  checkpoint();
  sell_segments(100);
  checkpoint();
  disk->meddle = NULL;
  cr_assert(segment_exists(1), "what has its name in the archive is something else");
  uint64_t size;
  (void)simdisk_bytes(disk, "archive/0000000000000001.log", &size);
  cr_assert_eq(size, CPN_BLOCK_SIZE, "it was overwritten");
}

/* --- when, and what it says ------------------------------------------------------------------------------ */

Test(checkpoint, is_due_when_the_log_has_grown_by_so_much) {
  world.options.checkpoint_log_bytes = 16384;
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  uint64_t made = 0;
  for (uint64_t user = 0; user < 100; user++) {
    sell(1, user, 1);
    made += cpn_checkpoint_step(world.engine);
  }
  cr_assert_geq(made, 3);
  cr_assert_leq(made, 4);
  struct coupon_stats stats = help_stats(world.engine);
  cr_assert_eq(stats.checkpoints, made);
  cr_assert_eq(stats.checkpoints_failed, 0);
  cr_assert_gt(stats.checkpoint_lsn, 0);
  cr_assert_gt(stats.checkpoint_bytes, 512);
  /* What lay behind the last one counts in the next life, too. */
  world_close(&world);
  world.options.checkpoint_log_bytes = 4096;
  cr_assert_eq(world_open(&world), COUPON_OK);
  sell(1, 1000, 1);
  (void)cpn_checkpoint_step(world.engine);
  world_close(&world);
  world.options.checkpoint_log_bytes = UINT64_MAX;
  cr_assert_eq(world_open(&world), COUPON_OK);
  sell(1, 1001, 100);
  cr_assert(!cpn_checkpoint_step(world.engine));
  checkpoint();
}

Test(checkpoint, that_fails_leaves_everything_as_it_was_and_the_engine_goes_on) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  sell_segments(0);
  checkpoint();
  sell_segments(100);
  disk->fail_errno = ENOSPC;
  disk->fail_at = disk->calls + 2; /* open, write */
  cr_assert_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_E_NO_SPACE);
  cr_assert(!exists(CPN_CHECKPOINT_TEMPORARY_NAME));
  cr_assert_eq(manifest().newest_checkpoint, 1);
  struct coupon_stats stats = help_stats(world.engine);
  cr_assert_eq(stats.failure, COUPON_OK);
  cr_assert_eq(stats.checkpoints_failed, 1);
  cr_assert_eq(stats.checkpoint_status, COUPON_E_NO_SPACE);
  sell(1, 500, 1);
  checkpoint();
  cr_assert_eq(help_stats(world.engine).checkpoint_status, COUPON_OK);
  cr_assert_eq(manifest().older_checkpoint, 1);
}

Test(checkpoint, is_nothing_for_engines_that_write_no_log) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  checkpoint();
  world_close(&world);
  world.options.read_only = 1;
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_E_READ_ONLY);
  coupon_engine *memory = help_open_in_memory();
  cr_assert_eq(coupon_checkpoint(memory, COUPON_POLL), COUPON_E_INVAL);
  help_close(memory);
}

static uint64_t last_done, last_total, calls;
static void note_progress(void *context, uint64_t done, uint64_t total, double seconds_left) {
  (void)context;
  cr_assert_geq(seconds_left, 0);
  cr_assert_leq(done, total);
  cr_assert_geq(done, last_done);
  last_done = done;
  last_total = total;
  calls++;
}

Test(checkpoint, loading_tells_how_far_it_is) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  sell_segments(0);
  checkpoint();
  sell_segments(100);
  world_close(&world);
  world.options.callbacks.progress = note_progress;
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_gt(calls, 10);
  cr_assert_eq(last_done, last_total);
}

static bool keep_none(void *context, uint64_t sector) {
  (void)context, (void)sector;
  return false;
}

Test(checkpoint, with_answers_final_when_written_is_not_ahead_of_the_log) {
  world.options.durability = COUPON_WRITTEN;
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  sell(1, 0, 5);
  checkpoint();
  uint64_t digest = world_digest(&world);
  sell(1, 10, 1); /* written, and not synced */
  struct simdisk *after = simdisk_power_loss(disk, keep_none, NULL, 0);
  struct world other;
  world_init(&other, after);
  cr_assert_eq(world_open(&other), COUPON_OK, "%s", other.report.message);
  cr_assert_eq(other.report.checkpoint_status, COUPON_OK);
  cr_assert_eq(world_digest(&other), digest);
  world_abandon(&other);
  simdisk_destroy(after);
}
