/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that what was final is there after reopening, with the same numbers and times, and what else a directory may
 * hold.
 *
 * How: engines on a real directory, with the system's calls behind a disk that fails, holds or stutters
 * (support/engine_help.h); where the moment of a commit matters there is no commit thread, and the test steps.
 * Crashes at every point, and damage, are in test_crash.c and test_damage.c.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/restore.h"
#include "support/on_disk.h"

ON_DISK_SUITE(reopening);

#define KEPT_CAMPAIGNS 6
#define KEPT_TICKETS 200

struct picture {
  struct coupon_campaign_info infos[KEPT_CAMPAIGNS + 1];
  struct coupon_ticket tickets[KEPT_CAMPAIGNS][KEPT_TICKETS];
  size_t campaigns, counts[KEPT_CAMPAIGNS];
};

static void take_picture(coupon_engine *engine, struct picture *picture) {
  memset(picture, 0, sizeof *picture);
  cr_assert_eq(
      coupon_list(engine, 0, picture->infos, sizeof picture->infos[0], KEPT_CAMPAIGNS + 1, &picture->campaigns),
      COUPON_OK);
  /* What memory they hold is no part of what is kept: recovery has less room to spare. */
  for (size_t i = 0; i < picture->campaigns; i++) picture->infos[i].claim_bytes = picture->infos[i].ticket_bytes = 0;
  for (size_t i = 0; i < picture->campaigns; i++)
    cr_assert_eq(coupon_tickets(engine, picture->infos[i].id, 1, picture->tickets[i], sizeof picture->tickets[i][0],
                                KEPT_TICKETS, &picture->counts[i]),
                 COUPON_OK);
}

/* A little of everything, by the same calls at the same times each time. `answers` gets what each call answered. */
static void fill(coupon_engine *engine, struct help_clock *clock, uint64_t state, struct coupon_ticket *answers,
                 size_t count) {
  const char *names[KEPT_CAMPAIGNS] = {NULL, "a", "abcdefg", "abcdefgh", "abcdefghi", "\xff\x01 any bytes"};
  for (uint64_t i = 0; i < KEPT_CAMPAIGNS; i++) {
    struct coupon_campaign_spec spec = help_spec(i * i * i, i * 17);
    spec.name = names[i];
    spec.user_limit = i % 2;
    spec.opens_at_ns = i % 3 == 1 ? 5000 : 0;
    spec.closes_at_ns = i % 3 == 2 ? 9000 : 0;
    cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
  }
  for (size_t i = 0; i < count; i++) {
    uint64_t pick = help_random(&state) % (KEPT_CAMPAIGNS + 1);
    clock->now_ns += help_random(&state) % 40;
    answers[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
    coupon_status status =
        coupon_issue(engine, pick * pick * pick, help_random(&state) % 60, COUPON_FOREVER, &answers[i]);
    cr_assert_geq(status, 0);
    cr_assert_eq(status, answers[i].answer);
  }
}

static void expect_same_picture(const struct picture *a, const struct picture *b) {
  cr_assert_eq(a->campaigns, b->campaigns);
  cr_expect_eq(memcmp(a->infos, b->infos, sizeof a->infos), 0);
  cr_expect_eq(memcmp(a->counts, b->counts, sizeof a->counts), 0);
  cr_expect_eq(memcmp(a->tickets, b->tickets, sizeof a->tickets), 0);
}

static void expect_all_kept(int32_t durability) {
  struct help_clock clock = {1000};
  struct coupon_options options = help_options_with_clock(durability, &clock);
  static struct coupon_ticket answers[400];
  static struct picture before, after;
  coupon_engine *engine = help_open(data, &options);
  fill(engine, &clock, help_seed(), answers, 400);
  take_picture(engine, &before);
  cr_assert_eq(before.campaigns, KEPT_CAMPAIGNS);
  for (uint64_t life = 2; life <= 4; life++) {
    uint64_t lsn = help_stats(engine).reserved_lsn, tickets = help_stats(engine).tickets;
    help_close(engine);
    struct coupon_report report = COUPON_REPORT_INIT;
    cr_assert_eq(coupon_open(data, &options, &engine, &report), COUPON_OK);
    cr_expect_eq(report.status, COUPON_OK);
    cr_expect_eq(report.os_error, 0);
    cr_expect_eq(report.tickets, tickets);
    cr_expect_geq(report.records, tickets + KEPT_CAMPAIGNS);
    cr_expect_geq(report.recovered_lsn, lsn);
    cr_expect_eq(report.cut_bytes, 0);
    cr_expect_str_eq(report.file, "");
    cr_expect_eq(help_stats(engine).life, life);
    take_picture(engine, &after);
    expect_same_picture(&before, &after);
  }
  for (size_t i = 0; i < 400; i++) {
    if (answers[i].answer != COUPON_ISSUED && answers[i].answer != COUPON_ALREADY_ISSUED) continue;
    struct coupon_ticket waited = answers[i];
    cr_expect_eq(coupon_wait(engine, &waited, COUPON_FOREVER), COUPON_OK);
    cr_expect(help_same_ticket(&waited, &answers[i]));
  }
  help_close(engine);
}

Test(reopening, everything_issued_under_sync_is_there_as_it_was) { expect_all_kept(COUPON_SYNC); }

Test(reopening, everything_issued_under_written_is_there_as_it_was) { expect_all_kept(COUPON_WRITTEN); }

Test(reopening, a_holder_gets_the_original_ticket_from_every_later_life) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, 10);
  struct coupon_ticket original = ask(engine, 1, 5, COUPON_FOREVER, COUPON_ISSUED);
  for (uint64_t life = 2; life < 5; life++) {
    help_close(engine);
    options.durability = life % 2 == 0 ? COUPON_WRITTEN : COUPON_SYNC;
    options.segment_size_bytes = life * 4096; /* another option, the same directory */
    engine = help_open(data, &options);
    struct coupon_ticket again = ask(engine, 1, 5, COUPON_FOREVER, COUPON_ALREADY_ISSUED);
    cr_expect(help_same_ticket(&original, &again));
    cr_expect_eq(ask(engine, 1, 5 + life, COUPON_FOREVER, COUPON_ISSUED).number, life);
  }
  help_close(engine);
}

Test(reopening, in_memory_the_same_calls_get_the_same_answers_numbers_and_times) {
  uint64_t seed = help_seed();
  static struct coupon_ticket sync_answers[600], none_answers[600];
  static struct picture sync_picture, none_picture;
  struct help_clock clock = {1000};
  struct coupon_options options = help_options_with_clock(COUPON_SYNC, &clock);
  coupon_engine *engine = help_open(data, &options);
  fill(engine, &clock, seed, sync_answers, 600);
  take_picture(engine, &sync_picture);
  help_close(engine);
  clock.now_ns = 1000;
  options = help_options_with_clock(COUPON_NONE, &clock);
  engine = help_open(NULL, &options);
  fill(engine, &clock, seed, none_answers, 600);
  take_picture(engine, &none_picture);
  help_close(engine);
  for (size_t i = 0; i < 600; i++) {
    cr_expect_eq(sync_answers[i].answer, none_answers[i].answer);
    cr_expect_eq(sync_answers[i].number, none_answers[i].number);
    cr_expect_eq(sync_answers[i].time_ns, none_answers[i].time_ns);
  }
  for (size_t i = 0; i < KEPT_CAMPAIGNS; i++) {
    cr_expect_eq(sync_picture.counts[i], none_picture.counts[i]);
    cr_expect_eq(sync_picture.infos[i].remaining, none_picture.infos[i].remaining);
    cr_expect_eq(sync_picture.infos[i].state, none_picture.infos[i].state);
  }
}

struct progress {
  uint64_t calls, done, total;
  uint64_t totals;     /* how many different ones in a row */
  double seconds_left; /* as told last */
  bool fell;
};

static void see_progress(void *context, uint64_t done, uint64_t total, double seconds_left) {
  struct progress *progress = context;
  progress->fell |= done < progress->done || done > total || seconds_left < 0 || (done < total && seconds_left == 0);
  progress->seconds_left = seconds_left;
  progress->totals += total != progress->total;
  progress->done = done;
  progress->total = total;
  progress->calls++;
}

Test(reopening, progress_is_told_once_per_segment_and_ends_at_the_total) {
  struct progress progress = {0};
  struct coupon_options options = help_options(COUPON_SYNC);
  options.segment_size_bytes = 4096;
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, 1000);
  for (uint64_t user = 0; user < 60; user++) (void)ask(engine, 1, user, COUPON_FOREVER, COUPON_ISSUED);
  uint64_t segments = help_stats(engine).segments;
  cr_assert_gt(segments, 3);
  help_close(engine);
  options.callbacks.progress = see_progress;
  options.callbacks.context = &progress;
  engine = help_open(data, &options);
  cr_expect_geq(progress.calls, segments);
  cr_expect_leq(progress.calls, segments + 1, "closing may have begun one more");
  cr_expect_eq(progress.done, progress.total);
  cr_expect_eq(progress.seconds_left, 0);
  cr_expect_not(progress.fell);
  help_close(engine);
}

/* Of which the first files are sixteen times as large as the last ones. */
Test(reopening, the_total_of_the_progress_is_what_there_is_whatever_the_sizes_of_segments) {
  struct progress progress = {0};
  struct coupon_options options = help_options(COUPON_WRITTEN);
  for (uint64_t life = 0; life < 2; life++) {
    options.segment_size_bytes = life == 0 ? 65536 : 4096;
    coupon_engine *engine = help_open(data, &options);
    help_create(engine, 1, 1000);
    for (uint64_t user = life * 300; user < life * 300 + 300; user++)
      (void)ask(engine, 1, user, COUPON_FOREVER, COUPON_ISSUED);
    help_close(engine);
  }
  options.segment_size_bytes = UINT64_C(64) << 20; /* says nothing of what is there */
  options.callbacks.progress = see_progress;
  options.callbacks.context = &progress;
  coupon_engine *engine = help_open(data, &options);
  cr_expect_gt(progress.calls, 5);
  cr_expect_eq(progress.totals, 1, "it was known from the beginning");
  cr_expect_eq(progress.done, progress.total);
  cr_expect_eq(progress.seconds_left, 0);
  help_close(engine);
}

/* Claims that come when all tickets are there are half of the work. */
Test(reopening, progress_goes_on_until_all_claims_are_made) {
  struct progress progress = {0};
  struct coupon_options options = help_options(COUPON_WRITTEN);
  coupon_engine *engine = help_open(data, &options);
  for (uint64_t campaign = 1; campaign <= 3; campaign++) {
    help_create(engine, campaign, 3000);
    for (uint64_t user = 0; user < (campaign == 1 ? 2000 : 300); user++)
      (void)ask(engine, campaign, user, COUPON_FOREVER, COUPON_ISSUED);
  }
  cr_assert_eq(coupon_checkpoint(engine, COUPON_FOREVER), COUPON_OK);
  (void)ask(engine, 1, 2000, COUPON_FOREVER, COUPON_ISSUED);
  help_close(engine);
  options.callbacks.progress = see_progress;
  options.callbacks.context = &progress;
  engine = help_open(data, &options);
  const uint64_t bytes = progress.total, calls = progress.calls;
  help_close(engine);
  const uint64_t usual = cpn_restore_defer_from, usually_follow = cpn_restore_follow_from;
  uint64_t totals[2]; /* without a follower, and with one */
  for (int32_t with = 0; with <= 1; with++) {
    cpn_restore_defer_from = 100;
    if (with) cpn_restore_follow_from = 300;
    progress = (struct progress){0};
    engine = help_open(data, &options);
    cpn_restore_defer_from = usual;
    cpn_restore_follow_from = usually_follow;
    cr_expect_eq(progress.done, progress.total);
    cr_expect_eq(progress.seconds_left, 0);
    cr_expect_not(progress.fell);
    cr_expect_gt(progress.total, bytes);
    cr_expect_gt(progress.calls, calls + 3, "each campaign's claims");
    totals[with] = progress.total;
    help_close(engine);
  }
  if (cpn_env_processors() > 1) cr_expect_lt(totals[1], totals[0], "a follower has left less to do");
}

#define FIRST_SEGMENT "0000000000000001.log"

Test(reopening, what_a_crash_left_unfinished_is_cut_and_reported_once) {
  make_directory_with_tickets();
  scribble(data, FIRST_SEGMENT, 16384 - 512, 0x5a, 512);
  int32_t worst = COUPON_LOG_INFO + 1;
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.log = remember_level;
  options.callbacks.context = &worst;
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine;
  cr_assert_eq(coupon_open(data, &options, &engine, &report), COUPON_OK);
  cr_expect_gt(report.cut_bytes, 0);
  cr_expect_str_eq(report.file, FIRST_SEGMENT);
  cr_expect_eq(report.offset + report.cut_bytes, 16384);
  cr_expect_gt(strlen(report.message), 0);
  cr_expect_eq(worst, COUPON_LOG_WARNING);
  cr_expect_eq(help_info(engine, 1).issued, 5);
  help_close(engine);
  cr_assert_eq(coupon_open(data, &options, &engine, &report), COUPON_OK);
  cr_expect_eq(report.cut_bytes, 0);
  help_close(engine);
}

Test(reopening, damage_is_refused_with_its_place_and_nothing_but_the_hint_is_touched) {
  make_directory_with_tickets();
  scribble(data, FIRST_SEGMENT, 512 + 70, 0xff, 8); /* in the first frame, which later ones prove */
  help_clear_hint(data);
  uint64_t before = help_fingerprint(data);
  for (int32_t read_only = 0; read_only <= 1; read_only++) {
    struct coupon_options options = help_options(COUPON_SYNC);
    options.read_only = read_only;
    struct coupon_report report = COUPON_REPORT_INIT;
    coupon_engine *engine = (coupon_engine *)&report;
    cr_expect_eq(coupon_open(data, &options, &engine, &report), COUPON_E_CORRUPT);
    cr_expect_null(engine);
    cr_expect_eq(report.status, COUPON_E_CORRUPT);
    cr_expect_str_eq(report.file, FIRST_SEGMENT);
    cr_expect_eq(report.offset, 512);
    cr_expect_gt(strlen(report.message), 0);
    cr_expect_eq(help_fingerprint(data), before);
  }
}

Test(reopening, other_files_in_the_directory_are_left_alone) {
  make_directory_with_tickets();
  char path[HELP_PATH_MAX];
  const char *names[] = {"README", "notes.tmp", "x.log", "000000000000000g.log"};
  for (int i = 0; i < 4; i++) {
    int file = open(help_join(path, data, names[i]), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(write(file, "mine", 4), 4);
    (void)close(file);
  }
  struct coupon_options options = help_options(COUPON_SYNC);
  help_close(help_open(data, &options));
  for (int i = 0; i < 4; i++) {
    struct stat status;
    cr_expect_eq(stat(help_join(path, data, names[i]), &status), 0, "%s is gone", names[i]);
    cr_expect_eq(status.st_size, 4);
  }
}

Test(reopening, more_than_the_memory_limit_allows_is_refused) {
  make_directory_with_tickets();
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  uint64_t before = help_stats(engine).memory_bytes;
  help_close(engine);
  /* Below what it holds where nothing limits it, an engine makes do with less room, until there is too little. */
  int opened = 0, refused = 0;
  for (options.max_memory_bytes = before; options.max_memory_bytes > 100;
       options.max_memory_bytes -= options.max_memory_bytes / 16) {
    coupon_status status = coupon_open(data, &options, &engine, NULL);
    if (status == COUPON_OK) {
      cr_expect_eq(refused, 0, "with less memory it was refused");
      cr_expect_leq(help_stats(engine).memory_bytes, options.max_memory_bytes);
      cr_expect_eq(help_info(engine, 1).issued, 5);
      expect_sound(engine, 1);
      help_close(engine);
      opened++;
    } else {
      cr_expect_eq(status, COUPON_E_NOMEM);
      cr_expect_null(engine);
      refused++;
    }
  }
  cr_expect_gt(opened, 0);
  cr_expect_gt(refused, 0);
}
