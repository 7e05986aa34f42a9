/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows of log/spare.c: the log finds its next segment made, on every kind of file system; a segment that could not be
 * made ahead stops nobody before the log gets there, and then as it would have anyway; nothing is left behind.
 *
 * How: engines on a real directory, with the system's calls behind a file system that has no room to give beforehand,
 * no way past its cache, or no space. Segments of less than 1 MiB, as in the other tests, are never made ahead. Crashes
 * before, while and after a segment gets its name are in test_crash.c.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "support/on_disk.h"

ON_DISK_SUITE(segments);

#define MIB UINT64_C(1048576)
#define BATCH 32

/* --- a file system --------------------------------------------------------------------------------- */

static struct {
  bool no_allocate, no_durable;
  _Atomic bool no_space; /* for the next segment */
  _Atomic int temporary; /* handle of what was opened last under the temporary name */
  _Atomic int opened;    /* how often that was */
} files;
static struct cpn_io io;

static int open_file(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  int file = cpn_io_posix.open(context, directory, name, mode);
  if (strcmp(name, CPN_SEGMENT_TEMPORARY_NAME) != 0 || file < 0) return file;
  files.temporary = file;
  files.opened++;
  return file;
}

static int allocate(void *context, int file, uint64_t size) {
  if (files.no_space) return -ENOSPC;
  return files.no_allocate ? -EOPNOTSUPP : cpn_io_posix.allocate(context, file, size);
}

static int open_durable(void *context, int directory, const char *name) {
  return files.no_durable ? -EOPNOTSUPP : cpn_io_posix.open_durable(context, directory, name);
}

static int64_t write_file(void *context, int file, uint64_t offset, const void *from, size_t size) {
  if (files.no_space && file == files.temporary && size > CPN_BLOCK_SIZE) return -ENOSPC;
  return cpn_io_posix.write(context, file, offset, from, size);
}

static coupon_engine *open_on(bool no_allocate, bool no_durable, uint64_t segment_size) {
  files.no_allocate = no_allocate;
  files.no_durable = no_durable;
  files.no_space = false;
  files.temporary = -1;
  io = cpn_io_posix;
  io.open = open_file;
  io.allocate = allocate;
  io.open_durable = open_durable;
  io.write = write_file;
  env = cpn_env_system;
  env.io = &io;
  struct coupon_options options = help_options(COUPON_SYNC);
  options.segment_size_bytes = segment_size;
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 1000000);
  help_create(engine, 2, 1000000);
  files.opened = 0;
  return engine;
}

/* --- a log that grows ------------------------------------------------------------------------------ */

/* Neighbours are of two campaigns, so that none are joined (log/join.h) and each takes its 24 bytes. */
static uint64_t campaign_of(uint64_t user) { return 1 + user % 2; }

static uint64_t issued(coupon_engine *engine) { return help_info(engine, 1).issued + help_info(engine, 2).issued; }

/* Issues to users from `*next` on until the log is `bytes` longer, or the engine has stopped; waits for the last. */
static coupon_status grow(coupon_engine *engine, uint64_t *next, uint64_t bytes) {
  struct coupon_request requests[BATCH];
  struct coupon_ticket tickets[BATCH];
  const uint64_t to = *next + bytes / 24;
  memset(requests, 0, sizeof requests);
  for (int i = 0; i < BATCH; i++) tickets[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
  while (*next < to) {
    for (uint64_t i = 0; i < BATCH; i++)
      requests[i] = (struct coupon_request){.campaign = campaign_of(*next + i), .user = *next + i};
    coupon_status status = coupon_try_issue_batch(engine, requests, BATCH, tickets, sizeof tickets[0]);
    if (status != COUPON_OK) return status;
    *next += BATCH;
    for (int i = 0; i < BATCH; i++) {
      if (tickets[i].answer != COUPON_E_BUSY) continue;
      (void)ask(engine, requests[i].campaign, requests[i].user, COUPON_FOREVER, COUPON_ISSUED);
    }
  }
  return coupon_wait(engine, &tickets[BATCH - 1], COUPON_FOREVER);
}

static uint64_t temporary_size(void) {
  char path[HELP_PATH_MAX];
  struct stat status;
  return stat(help_join(path, data, CPN_SEGMENT_TEMPORARY_NAME), &status) == 0 ? (uint64_t)status.st_size : 0;
}

static bool is_made(void *segment_size) { return temporary_size() == *(uint64_t *)segment_size; }
static bool was_tried(void *unused) {
  (void)unused;
  return files.opened > 0;
}

/* Beyond a quarter of a segment of 1 MiB, and no further: on a busy machine the log would be at its end before the
 * maker. */
static void grow_until_tried(coupon_engine *engine, uint64_t *next) {
  cr_assert_eq(grow(engine, next, MIB / 4 + MIB / 16), COUPON_OK);
  cr_assert(help_until(was_tried, NULL));
}

static void expect_all_there(uint64_t count) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  cr_expect_eq(issued(engine), count);
  expect_sound(engine, 1);
  expect_sound(engine, 2);
  help_close(engine);
}

/* --- tests ----------------------------------------------------------------------------------------- */

static void expect_made_ahead(bool no_allocate, bool no_durable) {
  uint64_t size = MIB, next = 0;
  coupon_engine *engine = open_on(no_allocate, no_durable, size);
  cr_expect_eq(grow(engine, &next, size / 8), COUPON_OK);
  cr_expect_eq(temporary_size(), 0, "nothing is made before a quarter is full");
  for (uint64_t segment = 2; segment < 5; segment++) {
    /* Beyond a quarter, and no further before it is made: on a busy machine the log would be there first. */
    cr_assert_eq(grow(engine, &next, size / 4 + size / 16), COUPON_OK);
    cr_expect(help_until(is_made, &size));
    cr_expect_eq(help_stats(engine).segments, segment - 1, "the log was there first");
    cr_expect_eq(files.opened, segment - 1);
    while (help_stats(engine).segments < segment) cr_assert_eq(grow(engine, &next, size / 32), COUPON_OK);
    cr_expect_eq(files.opened, segment - 1, "another file was made than the one made ahead");
  }
  help_close(engine);
  cr_expect_eq(temporary_size(), 0, "left behind");
  expect_all_there(next);
}

Test(segments, are_made_ahead) { expect_made_ahead(false, false); }

Test(segments, are_made_ahead_where_nothing_can_be_allocated) { expect_made_ahead(true, false); }

Test(segments, are_made_ahead_where_there_is_no_way_past_the_cache) { expect_made_ahead(false, true); }

Test(segments, are_made_ahead_where_there_is_neither) { expect_made_ahead(true, true); }

Test(segments, are_waited_for_by_a_log_that_is_faster) {
  for (int no_allocate = 0; no_allocate <= 1; no_allocate++) {
    uint64_t next = 0;
    (void)help_join(data, temp, no_allocate ? "written" : "allocated");
    coupon_engine *engine = open_on(no_allocate != 0, false, 2 * MIB);
    cr_expect_eq(grow(engine, &next, 16 * MIB), COUPON_OK);
    cr_expect_gt(help_stats(engine).segments, 7);
    help_close(engine);
    cr_expect_eq(temporary_size(), 0, "left behind");
    expect_all_there(next);
  }
}

Test(segments, that_are_being_made_do_not_hold_up_closing_and_are_not_left_behind) {
  for (int no_allocate = 0; no_allocate <= 1; no_allocate++) {
    uint64_t next = 0;
    (void)help_join(data, temp, no_allocate ? "written" : "allocated");
    coupon_engine *engine = open_on(no_allocate != 0, false, 16 * MIB);
    while (files.opened == 0) cr_assert_eq(grow(engine, &next, MIB), COUPON_OK);
    help_close(engine);
    cr_expect_eq(temporary_size(), 0, "left behind");
    expect_all_there(next);
  }
}

Test(segments, that_cannot_be_made_stop_the_engine_only_when_the_log_gets_there) {
  uint64_t next = 0, tried_at;
  coupon_engine *engine = open_on(false, false, MIB);
  files.no_space = true;
  grow_until_tried(engine, &next);
  tried_at = next;
  cr_expect_eq(grow(engine, &next, MIB / 4), COUPON_OK, "not earlier");
  cr_expect_eq(help_stats(engine).failure, COUPON_OK);
  uint64_t final = next;
  coupon_status status;
  while ((status = grow(engine, &next, MIB / 32)) == COUPON_OK) final = next;
  cr_expect_eq(status, COUPON_E_FAILED);
  cr_expect_eq(help_stats(engine).failure, COUPON_E_NO_SPACE);
  cr_expect_eq(help_stats(engine).failure_os_error, ENOSPC);
  cr_expect_gt(final, tried_at);
  cr_expect_eq(coupon_close(engine), COUPON_E_FAILED);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
  struct coupon_options options = help_options(COUPON_SYNC);
  engine = help_open(data, &options);
  cr_expect_geq(issued(engine), final, "what was final is there");
  expect_sound(engine, 1);
  expect_sound(engine, 2);
  help_close(engine);
  cr_expect_eq(temporary_size(), 0, "removed by the next opening");
}

Test(segments, that_could_not_be_made_ahead_are_made_when_the_log_gets_there) {
  uint64_t next = 0;
  coupon_engine *engine = open_on(false, false, MIB);
  files.no_space = true;
  grow_until_tried(engine, &next);
  cr_expect_eq(grow(engine, &next, MIB / 4), COUPON_OK);
  files.no_space = false; /* somebody has made some */
  while (help_stats(engine).segments < 3) cr_assert_eq(grow(engine, &next, MIB / 32), COUPON_OK);
  help_close(engine);
  expect_all_there(next);
}
