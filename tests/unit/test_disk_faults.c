/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what happens if answers cannot become final: the disk fails, is full, or does its work in pieces, or the log
 * has come to its last position. Nothing that was acknowledged is lost, a failed write or sync is never retried, and
 * everybody is told.
 *
 * How: engines on a real directory, with the system's calls behind a disk that fails, holds or stutters
 * (support/engine_help.h); where the moment of a commit matters there is no commit thread, and the test steps.
 * Crashes at every point, and damage, are in test_crash.c and test_damage.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/failing.h"
#include "support/on_disk.h"

ON_DISK_SUITE(failing_disk);
ON_DISK_SUITE(full_disk);
ON_DISK_SUITE(stuttering_disk);
ON_DISK_SUITE(log_full);

/* --- a disk that fails ----------------------------------------------------------------------------- */

#define SCRIPT_USERS 18

struct script {
  coupon_status opened, closed;
  bool created;
  struct coupon_ticket acknowledged[SCRIPT_USERS];
  size_t count;
};

static void expect_stopped(coupon_engine *engine) {
  struct coupon_stats stats = help_stats(engine);
  struct coupon_campaign_spec spec = help_spec(2, 1);
  cr_expect_eq(stats.failure, disk.error == ENOSPC ? COUPON_E_NO_SPACE : COUPON_E_IO);
  cr_expect_eq(stats.failure_os_error, disk.error);
  cr_expect_eq(help_try(engine, 1, 1000), COUPON_E_FAILED);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_E_FAILED);
}

/* Opens, creates, issues one after the other, closes; and remembers what was acknowledged. */
static void run_script(struct script *script) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.segment_size_bytes = 4096; /* seven commits, then the next one */
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine = NULL;
  *script = (struct script){.closed = COUPON_OK};
  script->opened = cpn_engine_open(&env, data, &options, &engine, &report);
  if (script->opened != COUPON_OK) {
    cr_expect_null(engine);
    cr_expect_eq(report.status, script->opened);
    cr_expect_eq(report.os_error, disk.error);
    cr_expect_gt(strlen(report.message), 0);
    return;
  }
  struct coupon_campaign_spec spec = help_spec(1, 100);
  coupon_status status = coupon_create(engine, &spec, COUPON_FOREVER);
  script->created = status == COUPON_OK;
  for (uint64_t user = 0; user < SCRIPT_USERS && status != COUPON_E_FAILED; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    status = coupon_issue(engine, 1, user, COUPON_FOREVER, &ticket);
    if (status == COUPON_ISSUED) script->acknowledged[script->count++] = ticket;
    cr_expect(status == COUPON_ISSUED || status == COUPON_E_FAILED, "%s", coupon_status_name(status));
    cr_expect_eq(ticket.flags == COUPON_TICKET_FINAL, status == COUPON_ISSUED);
  }
  if (status == COUPON_E_FAILED) expect_stopped(engine);
  script->closed = coupon_close(engine);
  cr_expect_eq(script->closed, disk.faulted ? COUPON_E_FAILED : COUPON_OK);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

/* Everything acknowledged is there, and the directory takes more. */
static void expect_recovered(const struct script *script) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  if (script->created) cr_expect_eq(coupon_info(engine, 1, &info), COUPON_OK, "an acknowledged campaign is gone");
  for (size_t i = 0; i < script->count; i++) {
    struct coupon_ticket found = COUPON_TICKET_INIT;
    cr_expect_eq(coupon_lookup(engine, 1, script->acknowledged[i].user, &found, NULL), COUPON_OK);
    cr_expect(help_same_ticket(&found, &script->acknowledged[i]), "an acknowledged ticket is another one now");
  }
  help_create(engine, 1, 100);
  (void)ask(engine, 1, 500, COUPON_FOREVER, COUPON_ISSUED);
  expect_sound(engine, 1);
  help_close(engine);
}

/* Whether frames are written past the page cache, where the file system can do that. */
static bool past_cache;

/* The script with the fault at call 1, at call 2, and so on, until it runs to its end without meeting it. Each time
 * in a new directory. */
static void fail_everywhere(enum help_disk_op op, int error, size_t torn) {
  int faults = 0;
  for (uint64_t at = 1;; at++) {
    char name[32];
    (void)snprintf(name, sizeof name, "run%llu", (unsigned long long)at);
    (void)help_join(data, temp, name);
    help_disk_init(&disk);
    if (past_cache) disk.io.open_durable = cpn_io_posix.open_durable;
    disk.fail_op = op;
    disk.fail_at = at;
    disk.error = error;
    disk.torn = torn;
    struct script script;
    run_script(&script);
    cr_expect_eq(calls_after_fault(), 0, "call %llu: after its failure the disk was used again",
                 (unsigned long long)at);
    expect_recovered(&script);
    if (!disk.faulted) break;
    faults++;
  }
  cr_expect_gt(faults, 12, "the fault was hardly ever met");
}

Test(failing_disk, a_failed_sync_is_never_retried_and_nothing_acknowledged_is_lost) {
  fail_everywhere(HELP_SYNC, EIO, 0);
}

Test(failing_disk, a_failed_write_is_never_retried_and_nothing_acknowledged_is_lost) {
  fail_everywhere(HELP_WRITE, EIO, 0);
}

Test(failing_disk, a_write_that_fails_half_way_loses_nothing_acknowledged) { fail_everywhere(HELP_WRITE, EIO, 200); }

Test(failing_disk, a_failed_write_past_the_cache_is_never_retried_and_nothing_acknowledged_is_lost) {
  past_cache = true;
  fail_everywhere(HELP_WRITE, EIO, 0);
}

Test(failing_disk, a_write_past_the_cache_that_fails_half_way_loses_nothing_acknowledged) {
  past_cache = true;
  fail_everywhere(HELP_WRITE, EIO, CPN_BLOCK_SIZE);
}

Test(failing_disk, a_failed_rename_or_directory_sync_loses_nothing_acknowledged) {
  fail_everywhere(HELP_OTHER, EIO, 0);
}

static bool all_have_decided(void *context) { return help_info(context, 1).issued == WAITERS; }

/* All waiters are in, and the commit that the first of them is in is about to fail. */
static void fail_with_waiters(enum help_disk_op op, int error) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100);
  help_disk_hold(&disk);
  disk.error = error;
  disk.fail_op = op;
  disk.fail_at = disk.calls[op] + (op == HELP_SYNC ? 1 : 2); /* the write after the one before the sync */
  struct waiter waiters[WAITERS];
  pthread_t threads[WAITERS];
  start_waiters(waiters, threads, WAITERS, engine, 0);
  cr_assert(help_until(all_have_decided, engine));
  help_disk_wait_held(&disk);
  help_disk_release(&disk);
  for (int i = 0; i < WAITERS; i++) {
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(waiters[i].status, COUPON_E_FAILED, "%s", coupon_status_name(waiters[i].status));
    cr_expect_eq(waiters[i].ticket.flags, 0);
  }
  expect_stopped(engine);
  cr_expect_eq(coupon_close(engine), COUPON_E_FAILED);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
  cr_expect_eq(calls_after_fault(), 0);
  struct script nothing = {.created = true};
  expect_recovered(&nothing);
}

Test(failing_disk, a_failed_sync_wakes_everybody_who_waits) { fail_with_waiters(HELP_SYNC, EIO); }

Test(failing_disk, a_failed_write_wakes_everybody_who_waits) { fail_with_waiters(HELP_WRITE, EIO); }

Test(failing_disk, the_operator_is_told_in_words) {
  int32_t worst = COUPON_LOG_INFO + 1;
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.log = remember_level;
  options.callbacks.context = &worst;
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100);
  help_disk_fail_next(&disk, HELP_SYNC, EIO);
  (void)ask(engine, 1, 5, COUPON_FOREVER, COUPON_E_FAILED);
  (void)coupon_close(engine);
  cr_expect_eq(worst, COUPON_LOG_ERROR);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

/* --- a disk that is full --------------------------------------------------------------------------- */

Test(full_disk, stops_the_engine_wherever_it_is_met_and_loses_nothing_acknowledged) {
  fail_everywhere(HELP_WRITE, ENOSPC, 100);
}

Test(full_disk, wakes_everybody_who_waits) { fail_with_waiters(HELP_WRITE, ENOSPC); }

Test(full_disk, cannot_be_opened_until_there_is_space_again) {
  struct script script;
  disk.error = ENOSPC;
  disk.fail_op = HELP_WRITE;
  disk.fail_at = 20;
  disk.for_good = true;
  run_script(&script);
  cr_assert(disk.faulted);
  cr_expect_gt(script.count, 0);
  struct coupon_options options = help_options(COUPON_SYNC);
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine;
  for (int i = 0; i < 3; i++) {
    cr_expect_eq(cpn_engine_open(&env, data, &options, &engine, &report), COUPON_E_NO_SPACE);
    cr_expect_eq(report.os_error, ENOSPC);
  }
  expect_recovered(&script); /* where there is space */
}

/* --- a disk that stutters -------------------------------------------------------------------------- */

static void expect_to_get_through(size_t write_at_most, uint64_t interrupt_every) {
  struct script script;
  disk.write_at_most = write_at_most;
  disk.interrupt_every = interrupt_every;
  run_script(&script);
  cr_expect_eq(script.opened, COUPON_OK);
  cr_expect_eq(script.closed, COUPON_OK);
  cr_expect_eq(script.count, SCRIPT_USERS);
  expect_recovered(&script);
}

Test(stuttering_disk, writes_of_one_byte_at_a_time_add_up) { expect_to_get_through(1, 0); }

Test(stuttering_disk, writes_of_odd_lengths_add_up) { expect_to_get_through(513, 0); }

Test(stuttering_disk, interrupted_writes_are_gone_on_with) { expect_to_get_through(0, 2); }

Test(stuttering_disk, short_and_interrupted_writes_together_add_up) { expect_to_get_through(100, 3); }

static _Atomic bool interrupts;
static _Atomic uint64_t opens, interrupted;

/* In front of the C library's: what the library under test calls. */
__attribute__((visibility("default"))) int openat(int directory, const char *name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if (interrupts && opens++ % 2 == 0) {
    interrupted++;
    errno = EINTR;
    return -1;
  }
  return (int)syscall(SYS_openat, directory, name, flags, mode);
}

/* Of directories, and of the file that is locked: others are told of, and tried again by whoever opens. */
Test(stuttering_disk, interrupted_opens_are_tried_again) {
  interrupts = true;
  expect_to_get_through(0, 0);
  interrupts = false;
  cr_expect_gt(interrupted, 10);
}

/* --- the end of the log ---------------------------------------------------------------------------- */

/* As if the log had got nearly to its last position: 2^48 bytes cannot be written in a test. */
static coupon_engine *open_near_the_end(uint64_t lsn) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 1000000);
  atomic_store(&engine->buffer.tail, lsn);
  atomic_store(&engine->buffer.drained, lsn);
  atomic_store(&engine->commit.durable, lsn);
  engine->log.written_lsn = engine->log.synced_lsn = lsn;
  return engine;
}

/* What was decided at the end of all positions must not be written at the beginning of a file. */
static void close_without_a_write(coupon_engine *engine) {
  help_disk_fail_next(&disk, HELP_WRITE, EIO);
  cr_assert_eq(coupon_close(engine), COUPON_E_FAILED);
  cr_assert_eq(coupon_destroy(engine), COUPON_OK);
}

Test(log_full, at_the_last_position_nothing_more_is_issued_or_created_and_nothing_is_held_back) {
  coupon_engine *engine = open_near_the_end(COUPON_LSN_MAX - 1000);
  uint64_t issued = 0;
  while (help_try(engine, 1, issued) == COUPON_ISSUED) issued++;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_expect_eq(issued, 1000 / 24);
  cr_expect_eq(coupon_issue(engine, 1, issued, COUPON_FOREVER, &ticket), COUPON_E_LOG_FULL);
  cr_expect_eq(coupon_try_issue(engine, 1, issued, &ticket), COUPON_E_LOG_FULL);
  cr_expect_eq(coupon_lookup(engine, 1, issued, &ticket, NULL), COUPON_NOT_FOUND);
  const struct coupon_request requests[2] = {{.campaign = 1, .user = issued}, {.campaign = 1, .user = 0}};
  struct coupon_ticket tickets[2];
  cr_expect_eq(coupon_try_issue_batch(engine, requests, 2, tickets, sizeof tickets[0]), COUPON_OK);
  cr_expect_eq(tickets[0].answer, COUPON_E_LOG_FULL);
  cr_expect_eq(tickets[1].answer, COUPON_ALREADY_ISSUED);
  struct coupon_campaign_spec spec = help_spec(2, 1);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_E_LOG_FULL);
  struct coupon_campaign_info info = help_info(engine, 1);
  cr_expect_eq(info.issued, issued);
  cr_expect_eq(info.issued + info.remaining, info.stock);
  cr_expect_eq(help_stats(engine).campaigns, 1);
  cr_expect_leq(help_stats(engine).reserved_lsn, COUPON_LSN_MAX);
  cr_expect_eq(help_try(engine, 1, 0), COUPON_ALREADY_ISSUED);
  close_without_a_write(engine);
}

/* A claim and a refusal bear an LSN in 45 bits, in steps of 8: the last position itself would not fit. */
Test(log_full, a_ticket_that_would_end_just_at_the_last_position_is_not_issued) {
  coupon_engine *engine = open_near_the_end(COUPON_LSN_MAX - UINT64_C(4) * 24);
  uint64_t issued = 0;
  while (help_try(engine, 1, issued) == COUPON_ISSUED) issued++;
  cr_expect_eq(issued, 3);
  for (uint64_t user = 0; user < issued; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_expect_eq(coupon_lookup(engine, 1, user, &ticket, NULL), COUPON_OK);
    cr_expect_lt(ticket.lsn, COUPON_LSN_MAX);
  }
  close_without_a_write(engine);
}
