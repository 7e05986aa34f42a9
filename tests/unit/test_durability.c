/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows how an answer becomes final, who learns of it, and what happens if it cannot: the disk fails or is full, the
 * log buffer has no room. And that what was final is there after reopening, and in a snapshot taken beside the owner.
 *
 * How: engines on a real directory, with the system's calls behind a disk that fails, holds or stutters
 * (support/engine_help.h); where the moment of a commit matters there is no commit thread, and the test steps.
 * Crashes at every point, and damage, are in test_crash.c and test_damage.c.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/points.h"
#include "engine/engine.h"
#include "support/engine_help.h"

static char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
static struct help_disk disk;
static struct cpn_env env;

static void begin(void) {
  help_temp_make(temp);
  (void)help_join(data, temp, "data");
  help_disk_init(&disk);
  env = help_disk_env(&disk, true);
}

static void end(void) {
  help_temp_remove(temp);
  cr_assert_not(help_leaks());
}

/* So that a test that hangs is named; none takes a tenth of it. */
#define HANGS_AFTER_S 60

TestSuite(finality, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(waiting, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(telling, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(callbacks, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(failing_disk, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(full_disk, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(stuttering_disk, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(full_buffer, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(closing, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(reopening, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(snapshot, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);

/* An engine that commits when the test says so. */
static coupon_engine *open_stepped(uint64_t log_buffer_bytes) {
  env = help_disk_env(&disk, false);
  struct coupon_options options = help_options(COUPON_SYNC);
  options.log_buffer_bytes = log_buffer_bytes;
  return help_open_env(&env, data, &options);
}

static void step(coupon_engine *engine) {
  while (cpn_wait_step(engine) > 0) {
  }
}

static void create_stepped(coupon_engine *engine, uint64_t id, uint64_t stock) {
  struct coupon_campaign_spec spec = help_spec(id, stock);
  cr_assert_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  step(engine);
}

static struct coupon_ticket ask(coupon_engine *engine, uint64_t campaign, uint64_t user, int64_t deadline,
                                coupon_status expected) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = coupon_issue(engine, campaign, user, deadline, &ticket);
  cr_assert_eq(status, expected, "user %llu got %s", (unsigned long long)user, coupon_status_name(status));
  return ticket;
}

static void expect_sound(coupon_engine *engine, uint64_t campaign) {
  uint64_t count;
  const char *wrong = help_audit(engine, campaign, &count);
  cr_expect_null(wrong, "%s", wrong);
}

/* In `data`: campaign 1 and the tickets of users 0 to 4. */
static void make_directory_with_tickets(void) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, 100);
  for (uint64_t user = 0; user < 5; user++) (void)ask(engine, 1, user, COUPON_FOREVER, COUPON_ISSUED);
  help_close(engine);
}

/* --- decided and final --------------------------------------------------------------------------- */

static void expect_final_at_once(int32_t durability) {
  struct coupon_options options = help_options(durability);
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, 100);
  for (uint64_t i = 1; i <= 20; i++) {
    struct coupon_ticket ticket = ask(engine, 1, i, COUPON_FOREVER, COUPON_ISSUED);
    uint64_t durable = 0;
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
    cr_expect_eq(ticket.number, i);
    cr_expect_eq(coupon_durable_lsn(engine, &durable), COUPON_OK);
    cr_expect_geq(durable, ticket.lsn);
  }
  help_close(engine);
}

Test(finality, a_waiting_request_returns_a_final_answer_with_its_number_under_sync) {
  expect_final_at_once(COUPON_SYNC);
}

Test(finality, a_waiting_request_returns_a_final_answer_with_its_number_under_written) {
  expect_final_at_once(COUPON_WRITTEN);
}

Test(finality, under_sync_no_answer_is_final_before_its_own_sync) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100);
  for (uint64_t i = 1; i <= 10; i++) {
    uint64_t before = disk.calls[HELP_SYNC];
    (void)ask(engine, 1, i, COUPON_FOREVER, COUPON_ISSUED);
    cr_expect_gt(disk.calls[HELP_SYNC], before);
  }
  help_close(engine);
}

Test(finality, under_written_answers_do_not_wait_for_a_sync) {
  struct coupon_options options = help_options(COUPON_WRITTEN);
  options.segment_size_bytes = UINT64_C(1) << 20; /* none is filled */
  coupon_engine *engine = help_open_env(&env, data, &options);
  uint64_t before = disk.calls[HELP_SYNC];
  help_create(engine, 1, 100);
  for (uint64_t i = 1; i <= 10; i++) (void)ask(engine, 1, i, COUPON_FOREVER, COUPON_ISSUED);
  cr_expect_eq(disk.calls[HELP_SYNC], before);
  cr_expect_eq(coupon_close(engine), COUPON_OK);
  cr_expect_gt(disk.calls[HELP_SYNC], before, "closing syncs what is left");
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

Test(finality, an_answer_is_decided_before_it_is_final_and_has_no_number_until_then) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 10);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_try_issue(engine, 1, 5, &ticket), COUPON_ISSUED);
  cr_expect_eq(ticket.number, 0);
  cr_expect_eq(ticket.flags, 0);
  struct coupon_ticket again = ask(engine, 1, 5, COUPON_POLL, COUPON_ALREADY_ISSUED);
  cr_expect(help_same_ticket(&ticket, &again));
  cr_expect_eq(again.flags, 0);
  struct coupon_ticket found = COUPON_TICKET_INIT;
  uint64_t count = 0;
  cr_expect_eq(coupon_lookup(engine, 1, 5, &found, &count), COUPON_OK);
  cr_expect(help_same_ticket(&ticket, &found));
  cr_expect_eq(found.flags, 0);
  cr_expect_eq(count, 1);
  size_t listed = 77;
  cr_expect_eq(coupon_tickets(engine, 1, 1, &found, sizeof found, 1, &listed), COUPON_OK);
  cr_expect_eq(listed, 0, "the page ends at the newest that has its number");
  cr_expect_eq(help_info(engine, 1).issued, 1);
  uint64_t durable = 0;
  cr_expect_eq(coupon_durable_lsn(engine, &durable), COUPON_OK);
  cr_expect_lt(durable, ticket.lsn);
  step(engine);
  cr_expect_eq(coupon_durable_lsn(engine, &durable), COUPON_OK);
  cr_expect_geq(durable, ticket.lsn);
  again = ask(engine, 1, 5, COUPON_POLL, COUPON_ALREADY_ISSUED);
  cr_expect_eq(again.number, 1);
  cr_expect_eq(again.lsn, ticket.lsn);
  cr_expect_eq(again.time_ns, ticket.time_ns);
  cr_expect_eq(again.flags, COUPON_TICKET_FINAL);
  help_close(engine);
}

static coupon_engine *overtaking;

/* As a commit thread that is quicker than the caller. */
static void commit_when_published(enum cpn_point point) {
  if (point == CPN_POINT_PUBLISHED) step(overtaking);
}

Test(finality, an_answer_that_the_commit_has_overtaken_is_final_and_has_its_number) {
  overtaking = open_stepped(UINT64_C(1) << 16);
  create_stepped(overtaking, 1, 100);
  struct coupon_campaign_spec spec = help_spec(2, 100);
  spec.user_limit = 0;
  cr_assert_eq(coupon_create(overtaking, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  step(overtaking);
  cpn_point_hook = commit_when_published;
  for (uint64_t i = 1; i <= 5; i++) {
    for (uint64_t campaign = 1; campaign <= 2; campaign++) {
      struct coupon_ticket ticket = COUPON_TICKET_INIT;
      cr_assert_eq(coupon_try_issue(overtaking, campaign, i, &ticket), COUPON_ISSUED);
      cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
      cr_expect_eq(ticket.number, i);
    }
  }
  cpn_point_hook = NULL;
  help_close(overtaking);
}

Test(finality, a_refusal_is_final_when_what_it_rests_on_is) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 1);
  struct coupon_ticket last = ask(engine, 1, 5, COUPON_POLL, COUPON_ISSUED);
  struct coupon_ticket refused = ask(engine, 1, 6, COUPON_POLL, COUPON_SOLD_OUT);
  cr_expect_eq(refused.flags, 0, "if the last ticket is lost, it is not sold out");
  cr_expect_geq(refused.lsn, last.lsn);
  cr_expect_eq(coupon_wait(engine, &refused, COUPON_POLL), COUPON_NOT_FINAL);
  step(engine);
  cr_expect_eq(coupon_wait(engine, &refused, COUPON_POLL), COUPON_OK);
  cr_expect_eq(refused.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(refused.number, 0);
  help_close(engine);
}

Test(finality, a_campaign_exists_before_its_creation_is_final) {
  coupon_engine *engine = open_stepped(65536);
  struct coupon_campaign_spec spec = help_spec(1, 10);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  cr_expect_eq(coupon_create(engine, &spec, coupon_deadline_after(1000)), COUPON_NOT_FINAL);
  cr_expect_eq(help_info(engine, 1).remaining, 10);
  spec.stock = 11;
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_E_EXISTS);
  spec.stock = 10;
  step(engine);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_OK);
  help_close(engine);
}

Test(finality, a_group_gathers_and_is_final_in_the_end) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.commit_delay_ns = 5000000;
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, 100);
  struct coupon_ticket tickets[20];
  for (uint64_t i = 0; i < 20; i++) {
    tickets[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
    cr_assert_eq(coupon_try_issue(engine, 1, i, &tickets[i]), COUPON_ISSUED);
  }
  for (uint64_t i = 0; i < 20; i++) {
    cr_expect_eq(coupon_wait(engine, &tickets[i], COUPON_FOREVER), COUPON_OK);
    cr_expect_eq(tickets[i].number, i + 1);
  }
  cr_expect_eq(ask(engine, 1, 99, COUPON_FOREVER, COUPON_ISSUED).flags, COUPON_TICKET_FINAL);
  help_close(engine);
}

/* Without the flush the rounds would take so many times the delay, and the test be ended as one that hangs. */
Test(finality, a_flush_ends_the_gathering_of_what_was_decided_before_it) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.commit_delay_ns = 1000000000;
  coupon_engine *engine = help_open_env(&env, data, &options);
  struct coupon_campaign_spec spec = help_spec(1, 1000);
  cr_assert_eq(coupon_flush(engine), COUPON_OK, "there is nothing to flush");
  cr_assert_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  enum { ROUNDS = HANGS_AFTER_S + 10 };
  for (uint64_t round = 0; round < ROUNDS; round++) {
    struct coupon_ticket tickets[5];
    for (uint64_t i = 0; i < 5; i++) {
      tickets[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
      cr_assert_eq(coupon_try_issue(engine, 1, round * 5 + i, &tickets[i]), COUPON_ISSUED);
    }
    cr_assert_eq(coupon_flush(engine), COUPON_OK);
    for (uint64_t i = 0; i < 5; i++) cr_expect_eq(coupon_wait(engine, &tickets[i], COUPON_FOREVER), COUPON_OK);
  }
  /* Each round is one commit; so may be the life's beginning, and the creation. */
  cr_expect_leq(help_stats(engine).commits, ROUNDS + 2);
  help_close(engine);
}

Test(finality, closing_makes_final_what_was_still_gathering) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.commit_delay_ns = 1000000000;
  coupon_engine *engine = help_open(data, &options);
  struct coupon_campaign_spec spec = help_spec(1, 10);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  cr_expect_eq(help_try(engine, 1, 5), COUPON_ISSUED);
  help_close(engine);
  options.commit_delay_ns = 0;
  engine = help_open(data, &options);
  cr_expect_eq(help_try(engine, 1, 5), COUPON_ALREADY_ISSUED);
  help_close(engine);
}

/* Until the commit thread has nothing more to do and has said that it sleeps. */
static void until_idle(coupon_engine *engine) {
  while (atomic_load(&engine->idle) == 0) (void)usleep(1000);
}

Test(finality, who_is_refused_or_holds_a_ticket_wakes_nobody) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 1);
  (void)ask(engine, 1, 1, COUPON_FOREVER, COUPON_ISSUED);
  (void)ask(engine, 1, 2, COUPON_FOREVER, COUPON_SOLD_OUT);
  until_idle(engine);
  uint32_t told = cpn_event_look(&engine->work);
  for (uint64_t user = 1; user <= 100; user++)
    (void)ask(engine, 1, user, COUPON_FOREVER, user == 1 ? COUPON_ALREADY_ISSUED : COUPON_SOLD_OUT);
  cr_expect_eq(cpn_event_look(&engine->work), told, "the commit thread was told of something");
  /* The test can fail: whoever publishes does tell. */
  help_create(engine, 2, 1);
  cr_expect_neq(cpn_event_look(&engine->work), told);
  help_close(engine);
}

Test(finality, every_sync_is_counted_with_the_time_it_took) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100);
  help_disk_hold(&disk);
  (void)ask(engine, 1, 1, COUPON_POLL, COUPON_ISSUED);
  help_disk_wait_held(&disk);
  (void)usleep(3000);
  help_disk_release(&disk);
  for (uint64_t user = 1; user < 5; user++)
    (void)ask(engine, 1, user, COUPON_FOREVER, user == 1 ? COUPON_ALREADY_ISSUED : COUPON_ISSUED);
  struct coupon_stats stats = help_stats(engine);
  uint64_t counted = 0, long_ones = 0;
  for (unsigned i = 0; i < COUPON_SYNC_BUCKETS; i++) {
    counted += stats.sync_counts[i];
    if (i >= 12) long_ones += stats.sync_counts[i]; /* of 2,048 microseconds and more */
  }
  cr_expect_eq(counted, stats.syncs);
  cr_expect_geq(long_ones, 1);
  cr_expect_geq(stats.sync_time_ns, UINT64_C(3000) * 1000);
  help_close(engine);
}

/* --- waiting ------------------------------------------------------------------------------------- */

Test(waiting, a_deadline_that_has_passed_only_looks) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  const int64_t deadlines[] = {COUPON_POLL, 1, -1, INT64_MIN, -999999999, coupon_deadline_after(0)};
  for (uint64_t i = 0; i < 6; i++) {
    struct coupon_ticket ticket = ask(engine, 1, i, deadlines[i], COUPON_ISSUED);
    cr_expect_eq(ticket.flags, 0);
    cr_expect_eq(ticket.number, 0);
    cr_expect_eq(coupon_wait(engine, &ticket, deadlines[i]), COUPON_NOT_FINAL);
    step(engine);
    cr_expect_eq(coupon_wait(engine, &ticket, deadlines[i]), COUPON_OK);
    cr_expect_eq(ticket.number, i + 1);
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
  }
  help_close(engine);
}

Test(waiting, until_a_deadline_that_passes_meanwhile_ends_without_finality) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  struct coupon_ticket ticket = ask(engine, 1, 5, coupon_deadline_after(2000000), COUPON_ISSUED);
  cr_expect_eq(ticket.flags, 0);
  int64_t deadline = coupon_deadline_after(2000000);
  cr_expect_eq(coupon_wait(engine, &ticket, deadline), COUPON_NOT_FINAL);
  cr_expect_geq(cpn_monotonic_ns(), deadline, "it gave up early");
  help_close(engine);
}

struct wait {
  coupon_engine *engine;
  struct coupon_ticket ticket;
  coupon_status status;
};

static void *wait_for_ticket(void *argument) {
  struct wait *wait = argument;
  wait->status = coupon_wait(wait->engine, &wait->ticket, COUPON_FOREVER);
  return NULL;
}

Test(waiting, for_ever_ends_with_the_commit) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  struct wait waits[4];
  pthread_t threads[4];
  for (uint64_t i = 0; i < 4; i++) {
    waits[i].engine = engine;
    waits[i].ticket = ask(engine, 1, i, COUPON_POLL, COUPON_ISSUED);
    cr_assert_eq(pthread_create(&threads[i], NULL, wait_for_ticket, &waits[i]), 0);
  }
  step(engine);
  for (uint64_t i = 0; i < 4; i++) {
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(waits[i].status, COUPON_OK);
    cr_expect_eq(waits[i].ticket.number, i + 1);
    cr_expect_eq(waits[i].ticket.flags, COUPON_TICKET_FINAL);
  }
  help_close(engine);
}

Test(waiting, for_an_answer_that_the_log_does_not_have_is_a_bad_argument) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  const struct coupon_ticket real = ask(engine, 1, 5, COUPON_POLL, COUPON_ISSUED);
  step(engine);
  struct coupon_ticket wrong = real;
  wrong.lsn = help_stats(engine).reserved_lsn + 8; /* beyond its end */
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong.lsn = UINT64_MAX;
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong = real;
  wrong.user = 6; /* another's */
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong = real;
  wrong.campaign = 404;
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong = real;
  wrong.lsn -= 8; /* nobody's */
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong = real;
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_OK);
  help_close(engine);
}

Test(waiting, for_an_answer_of_an_earlier_life_that_was_cut_is_a_bad_argument) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  struct coupon_ticket kept = ask(engine, 1, 5, COUPON_POLL, COUPON_ISSUED);
  step(engine);
  struct coupon_ticket lost = ask(engine, 1, 6, COUPON_POLL, COUPON_ISSUED);
  char copy[HELP_PATH_MAX];
  help_copy_directory(data, help_join(copy, temp, "copy")); /* as if killed here */
  help_close(engine);
  struct coupon_options options = help_options(COUPON_SYNC);
  engine = help_open(copy, &options);
  for (uint64_t user = 10; user < 20; user++) (void)ask(engine, 1, user, COUPON_FOREVER, COUPON_ISSUED);
  cr_expect_eq(coupon_wait(engine, &lost, COUPON_FOREVER), COUPON_E_INVAL);
  cr_expect_eq(coupon_wait(engine, &kept, COUPON_FOREVER), COUPON_OK);
  cr_expect_eq(kept.number, 1);
  (void)ask(engine, 1, 6, COUPON_FOREVER, COUPON_ISSUED);
  help_close(engine);
}

/* --- telling ------------------------------------------------------------------------------------- */

struct told {
  coupon_engine *engine;
  _Atomic uint64_t calls, lsn, faults, next_user;
  _Atomic int32_t fault;
  _Atomic bool fell;
};

static void be_told(void *context, uint64_t durable_lsn, coupon_status fault) {
  struct told *told = context;
  if (fault != COUPON_OK) {
    told->fault = fault;
    told->faults++;
    return;
  }
  if (durable_lsn <= told->lsn) told->fell = true;
  told->lsn = durable_lsn;
  told->calls++;
}

static bool is_told_all(void *context) {
  struct told *told = context;
  struct coupon_stats stats = help_stats(told->engine);
  return told->calls == stats.commits && told->lsn == stats.reserved_lsn;
}

static void *issue_fifty(void *argument) {
  struct told *told = argument;
  uint64_t first = atomic_fetch_add(&told->next_user, 50);
  for (uint64_t user = first; user < first + 50; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    (void)!coupon_issue(told->engine, 1, user, COUPON_FOREVER, &ticket);
  }
  return NULL;
}

static void expect_told_once_per_commit(int32_t durability) {
  struct told told = {.lsn = 0};
  struct coupon_options options = help_options(durability);
  options.callbacks.durable = be_told;
  options.callbacks.context = &told;
  told.engine = help_open(durability == COUPON_NONE ? NULL : data, &options);
  help_create(told.engine, 1, 1000);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) cr_assert_eq(pthread_create(&threads[i], NULL, issue_fifty, &told), 0);
  for (int i = 0; i < 4; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  cr_expect_eq(help_stats(told.engine).tickets, 200);
  cr_expect(help_until(is_told_all, &told), "commits nobody was told of");
  cr_expect_not(told.fell);
  help_close(told.engine);
  cr_expect_not(told.fell);
  cr_expect_eq(told.faults, 0);
}

Test(telling, the_durable_callback_comes_once_per_commit_and_its_position_always_rises) {
  expect_told_once_per_commit(COUPON_SYNC);
}

Test(telling, the_durable_callback_comes_in_memory_too) { expect_told_once_per_commit(COUPON_NONE); }

/* Whether the eventfd becomes readable; resets it. */
static bool is_signalled(int fd, int timeout_ms) {
  struct pollfd ready = {.fd = fd, .events = POLLIN};
  uint64_t value;
  return poll(&ready, 1, timeout_ms) == 1 && read(fd, &value, sizeof value) == (ssize_t)sizeof value && value > 0;
}

Test(telling, the_eventfd_becomes_readable_each_time_the_durable_position_rises) {
  coupon_engine *engine = open_stepped(65536);
  int fd = -1, again = -2;
  cr_assert_eq(coupon_eventfd(engine, &fd), COUPON_OK);
  cr_expect_eq(coupon_eventfd(engine, &again), COUPON_OK);
  cr_expect_eq(fd, again, "made at the first call");
  cr_expect_not(is_signalled(fd, 0));
  create_stepped(engine, 1, 100);
  cr_expect(is_signalled(fd, 0));
  for (uint64_t user = 0; user < 5; user++) {
    cr_expect_not(is_signalled(fd, 0));
    (void)ask(engine, 1, user, COUPON_POLL, COUPON_ISSUED);
    cr_expect_not(is_signalled(fd, 0), "decided is not durable");
    step(engine);
    cr_expect(is_signalled(fd, 0));
  }
  cr_expect_eq(coupon_close(engine), COUPON_OK);
  cr_expect(is_signalled(fd, 0), "closing tells");
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
  cr_expect_eq(fcntl(fd, F_GETFD), -1, "it belonged to the engine");
}

Test(telling, the_eventfd_becomes_readable_at_closing_though_nothing_is_written) {
  make_directory_with_tickets();
  struct coupon_options in_memory = help_options(COUPON_NONE), reading = help_options(COUPON_SYNC);
  reading.read_only = 1;
  coupon_engine *engines[2] = {help_open(NULL, &in_memory), help_open(data, &reading)};
  for (int i = 0; i < 2; i++) {
    int fd = -1;
    cr_assert_eq(coupon_eventfd(engines[i], &fd), COUPON_OK);
    cr_expect_not(is_signalled(fd, 0));
    cr_expect_eq(coupon_close(engines[i]), COUPON_OK);
    cr_expect(is_signalled(fd, 0));
    cr_expect_eq(coupon_destroy(engines[i]), COUPON_OK);
  }
}

Test(telling, an_event_loop_learns_of_every_answer_by_the_eventfd) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  int fd = -1;
  cr_assert_eq(coupon_eventfd(engine, &fd), COUPON_OK);
  help_create(engine, 1, 100);
  for (uint64_t user = 0; user < 30; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_try_issue(engine, 1, user, &ticket), COUPON_ISSUED);
    while (coupon_wait(engine, &ticket, COUPON_POLL) == COUPON_NOT_FINAL) cr_assert(is_signalled(fd, 30000));
    cr_expect_eq(ticket.number, user + 1);
  }
  help_close(engine);
}

Test(telling, the_eventfd_becomes_readable_when_the_engine_fails) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  int fd = -1;
  cr_assert_eq(coupon_eventfd(engine, &fd), COUPON_OK);
  disk.error = EIO;
  disk.fail_op = HELP_WRITE;
  disk.fail_at = disk.calls[HELP_WRITE] + 1;
  (void)ask(engine, 1, 5, COUPON_POLL, COUPON_ISSUED);
  cr_expect_lt(cpn_wait_step(engine), 0);
  cr_expect(is_signalled(fd, 0));
  cr_expect_eq(coupon_close(engine), COUPON_E_FAILED);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

/* --- calls inside callbacks ---------------------------------------------------------------------- */

/* What a callback of one engine hears when it calls another, which is well. */
struct inside {
  coupon_engine *engine;
  _Atomic bool armed;
  _Atomic int calls;
  coupon_status waiting[HELP_WAITING_CALLS];
  coupon_status polling[3];
};

static void call_from_inside(struct inside *inside) {
  if (!atomic_exchange(&inside->armed, false)) return;
  inside->calls++;
  for (int i = 0; i < HELP_WAITING_CALLS; i++) inside->waiting[i] = help_waiting_calls[i].call(inside->engine);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  inside->polling[0] = coupon_issue(inside->engine, 1, 77, COUPON_POLL, &ticket);
  inside->polling[1] = coupon_wait(inside->engine, &ticket, COUPON_POLL);
  inside->polling[2] = coupon_try_issue(inside->engine, 1, 78, &ticket);
}

static void expect_refused_inside(const struct inside *inside) {
  cr_assert_eq(inside->calls, 1, "the callback was not called");
  for (int i = 0; i < HELP_WAITING_CALLS; i++)
    cr_expect_eq(inside->waiting[i], COUPON_E_IN_CALLBACK, "%s: %s", help_waiting_calls[i].name,
                 coupon_status_name(inside->waiting[i]));
  cr_expect_eq(inside->polling[0], COUPON_ISSUED, "what does not wait is allowed");
  cr_expect(inside->polling[1] == COUPON_OK || inside->polling[1] == COUPON_NOT_FINAL);
  cr_expect_eq(inside->polling[2], COUPON_ISSUED);
  cr_expect_eq(help_try(inside->engine, 1, 77), COUPON_ALREADY_ISSUED, "nothing was closed or freed");
}

static void inside_durable(void *context, uint64_t durable_lsn, coupon_status fault) {
  (void)durable_lsn, (void)fault;
  call_from_inside(context);
}

static void inside_log(void *context, int32_t level, const char *message) {
  (void)level, (void)message;
  call_from_inside(context);
}

static uint64_t inside_clock(void *context) {
  call_from_inside(context);
  return 1000;
}

static void inside_progress(void *context, uint64_t done, uint64_t total) {
  (void)done, (void)total;
  call_from_inside(context);
}

static void *inside_alloc(void *context, size_t size, size_t alignment) {
  call_from_inside(context);
  void *pointer = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (pointer != NULL) memset(pointer, 0, size);
  return pointer;
}

static void inside_free(void *context, void *pointer, size_t size) {
  (void)size;
  call_from_inside(context);
  free(pointer);
}

static void begin_inside(struct inside *inside, int32_t durability, const struct coupon_options *more) {
  struct coupon_options options = *more;
  options.durability = durability;
  options.callbacks.context = inside;
  options.allocator.context = inside;
  inside->engine = help_open(durability == COUPON_NONE ? NULL : data, &options);
  help_create(inside->engine, 1, 1000000);
}

Test(callbacks, a_call_that_waits_is_refused_inside_the_durable_callback) {
  struct inside inside = {.armed = false};
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.durable = inside_durable;
  begin_inside(&inside, COUPON_SYNC, &options);
  inside.armed = true;
  for (uint64_t user = 0; user < 3; user++) (void)ask(inside.engine, 1, 10 + user, COUPON_FOREVER, COUPON_ISSUED);
  expect_refused_inside(&inside);
  help_close(inside.engine);
}

Test(callbacks, a_call_that_waits_is_refused_inside_the_durable_callback_in_memory) {
  struct inside inside = {.armed = false};
  struct coupon_options options = help_options(COUPON_NONE);
  options.callbacks.durable = inside_durable;
  begin_inside(&inside, COUPON_NONE, &options);
  inside.armed = true;
  (void)ask(inside.engine, 1, 10, COUPON_FOREVER, COUPON_ISSUED);
  expect_refused_inside(&inside);
  help_close(inside.engine);
}

Test(callbacks, a_call_that_waits_is_refused_inside_the_clock) {
  struct inside inside = {.armed = false};
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.clock = inside_clock;
  begin_inside(&inside, COUPON_SYNC, &options);
  inside.armed = true;
  (void)ask(inside.engine, 1, 10, COUPON_FOREVER, COUPON_ISSUED);
  expect_refused_inside(&inside);
  help_close(inside.engine);
}

Test(callbacks, a_call_that_waits_is_refused_inside_the_allocator) {
  struct inside inside = {.armed = false};
  struct coupon_options options = help_options(COUPON_SYNC);
  options.allocator.alloc = inside_alloc;
  options.allocator.free = inside_free;
  begin_inside(&inside, COUPON_SYNC, &options);
  struct coupon_campaign_spec spec = help_spec(2, 1);
  inside.armed = true;
  /* Of another engine: an allocator must not call into its own, which may hold a lock. */
  struct coupon_options in_memory = help_options(COUPON_NONE);
  in_memory.allocator = options.allocator;
  in_memory.allocator.context = &inside;
  coupon_engine *second = help_open(NULL, &in_memory);
  expect_refused_inside(&inside);
  cr_expect_eq(coupon_create(second, &spec, COUPON_FOREVER), COUPON_OK);
  inside.calls = 0;
  memset(inside.waiting, 0, sizeof inside.waiting);
  inside.armed = true;
  cr_expect_eq(coupon_destroy(second), COUPON_OK); /* and inside `free` */
  cr_expect_eq(inside.calls, 1);
  for (int i = 0; i < HELP_WAITING_CALLS; i++) cr_expect_eq(inside.waiting[i], COUPON_E_IN_CALLBACK);
  help_close(inside.engine);
}

Test(callbacks, a_call_that_waits_is_refused_inside_the_log_and_the_progress_callback) {
  struct inside inside = {.armed = false};
  struct coupon_options options = help_options(COUPON_SYNC);
  begin_inside(&inside, COUPON_SYNC, &options);
  options.callbacks.log = inside_log;
  options.callbacks.context = &inside;
  coupon_engine *second;
  inside.armed = true;
  cr_expect_eq(coupon_open(data, &options, &second, NULL), COUPON_E_LOCKED); /* which is worth a line */
  expect_refused_inside(&inside);
  help_close(inside.engine);

  options = help_options(COUPON_SYNC);
  inside = (struct inside){.armed = false};
  char path[HELP_PATH_MAX];
  begin_inside(&inside, COUPON_NONE, &options);
  options.callbacks.progress = inside_progress;
  options.callbacks.context = &inside;
  inside.armed = true;
  help_close(help_open(help_join(path, temp, "second"), &options));
  expect_refused_inside(&inside);
  help_close(inside.engine);
}

/* --- a disk that fails --------------------------------------------------------------------------- */

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

static uint64_t calls_after_fault(void) {
  return disk.calls_after_fault[HELP_WRITE] + disk.calls_after_fault[HELP_SYNC] + disk.calls_after_fault[HELP_OTHER];
}

/* The script with the fault at call 1, at call 2, and so on, until it runs to its end without meeting it. Each time
 * in a new directory. */
static void fail_everywhere(enum help_disk_op op, int error, size_t torn) {
  int faults = 0;
  for (uint64_t at = 1;; at++) {
    char name[32];
    (void)snprintf(name, sizeof name, "run%llu", (unsigned long long)at);
    (void)help_join(data, temp, name);
    help_disk_init(&disk);
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

Test(failing_disk, a_failed_rename_or_directory_sync_loses_nothing_acknowledged) {
  fail_everywhere(HELP_OTHER, EIO, 0);
}

#define WAITERS 8

struct waiter {
  coupon_engine *engine;
  uint64_t user;
  coupon_status status;
  struct coupon_ticket ticket;
};

static void *issue_and_wait(void *argument) {
  struct waiter *waiter = argument;
  waiter->ticket = (struct coupon_ticket)COUPON_TICKET_INIT;
  waiter->status = coupon_issue(waiter->engine, 1, waiter->user, COUPON_FOREVER, &waiter->ticket);
  return NULL;
}

static void start_waiters(struct waiter *waiters, pthread_t *threads, int count, coupon_engine *engine,
                          uint64_t first_user) {
  for (int i = 0; i < count; i++) {
    waiters[i] = (struct waiter){.engine = engine, .user = first_user + (uint64_t)i, .status = COUPON_E_INVAL};
    cr_assert_eq(pthread_create(&threads[i], NULL, issue_and_wait, &waiters[i]), 0);
  }
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

Test(failing_disk, the_durable_callback_is_told_of_the_fault_once) {
  struct told told = {.lsn = 0};
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.durable = be_told;
  options.callbacks.context = &told;
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100);
  disk.error = EIO;
  disk.fail_op = HELP_SYNC;
  disk.fail_at = disk.calls[HELP_SYNC] + 1;
  (void)ask(engine, 1, 5, COUPON_FOREVER, COUPON_E_FAILED);
  cr_expect_eq(coupon_close(engine), COUPON_E_FAILED);
  cr_expect_eq(told.faults, 1);
  cr_expect_eq(told.fault, COUPON_E_IO);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

static void remember_level(void *context, int32_t level, const char *message) {
  int32_t *worst = context;
  if (strlen(message) > 0 && level < *worst) *worst = level;
}

Test(failing_disk, the_operator_is_told_in_words) {
  int32_t worst = COUPON_LOG_INFO + 1;
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.log = remember_level;
  options.callbacks.context = &worst;
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100);
  disk.error = EIO;
  disk.fail_op = HELP_SYNC;
  disk.fail_at = disk.calls[HELP_SYNC] + 1;
  (void)ask(engine, 1, 5, COUPON_FOREVER, COUPON_E_FAILED);
  (void)coupon_close(engine);
  cr_expect_eq(worst, COUPON_LOG_ERROR);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

/* --- a disk that is full ------------------------------------------------------------------------- */

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

/* --- a disk that stutters ------------------------------------------------------------------------ */

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

/* --- a log buffer that is full ------------------------------------------------------------------- */

/* Fills the buffer with tickets of campaign 1, for users from 1000 on. Returns how many. */
static uint64_t fill_buffer(coupon_engine *engine) {
  static uint64_t next_user = 1000;
  uint64_t first = next_user;
  while (help_try(engine, 1, next_user) == COUPON_ISSUED) next_user++;
  uint64_t count = next_user - first;
  cr_assert_gt(count, 100);
  cr_assert_lt(count, 4096 / 24 + 1);
  return count;
}

/* The same to the last byte, so that not even the smallest record fits. */
static void fill_buffer_whole(coupon_engine *engine) {
  static uint64_t next_id = 100000;
  struct coupon_campaign_spec spec = help_spec(next_id++, 0);
  cr_assert_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  (void)fill_buffer(engine);
  cr_assert_eq(cpn_buffer_tail(&engine->buffer) - cpn_buffer_drained(&engine->buffer), 4096);
}

Test(full_buffer, a_request_that_does_not_wait_is_told_so_and_nothing_has_changed) {
  coupon_engine *engine = open_stepped(4096);
  create_stepped(engine, 1, 100000);
  create_stepped(engine, 2, 10); /* which holds no memory for anybody yet */
  uint64_t count = fill_buffer(engine);
  struct coupon_stats before = help_stats(engine);
  for (uint64_t user = 0; user < 100; user++) {
    cr_expect_eq(help_try(engine, 1, user), COUPON_E_BUSY);
    cr_expect_eq(help_try(engine, 2, user), COUPON_E_BUSY);
  }
  cr_expect_eq(help_info(engine, 1).issued, count);
  cr_expect_eq(help_info(engine, 1).remaining, 100000 - count);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_expect_eq(coupon_lookup(engine, 1, 5, &ticket, NULL), COUPON_NOT_FOUND);
  struct coupon_stats after = help_stats(engine);
  cr_expect_eq(memcmp(&before, &after, offsetof(struct coupon_stats, time_ns)), 0, "some figure has changed");
  cr_expect_eq(help_info(engine, 2).remaining, 10);
  step(engine);
  for (uint64_t user = 0; user < 100; user++) cr_expect_eq(help_try(engine, 1, user), COUPON_ISSUED);
  step(engine);
  expect_sound(engine, 1);
  cr_expect_eq(help_stats(engine).tickets, count + 100);
  help_close(engine);
}

Test(full_buffer, a_request_that_waits_is_told_so_at_its_deadline) {
  coupon_engine *engine = open_stepped(4096);
  create_stepped(engine, 1, 100000);
  (void)fill_buffer(engine);
  (void)ask(engine, 1, 5, COUPON_POLL, COUPON_E_BUSY);
  (void)ask(engine, 1, 5, -1, COUPON_E_BUSY);
  int64_t deadline = coupon_deadline_after(3000000);
  (void)ask(engine, 1, 5, deadline, COUPON_E_BUSY);
  cr_expect_geq(cpn_monotonic_ns(), deadline, "it gave up early");
  struct coupon_campaign_spec spec = help_spec(2, 1);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_E_BUSY);
  cr_expect_eq(coupon_create(engine, &spec, coupon_deadline_after(1000000)), COUPON_E_BUSY);
  cr_expect_eq(help_stats(engine).campaigns, 1);
  step(engine);
  (void)ask(engine, 1, 5, COUPON_POLL, COUPON_ISSUED);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  help_close(engine);
}

Test(full_buffer, answers_that_need_no_room_are_given) {
  coupon_engine *engine = open_stepped(4096);
  create_stepped(engine, 1, 100000);
  create_stepped(engine, 2, 0);
  (void)fill_buffer(engine);
  cr_expect_eq(help_try(engine, 1, 1000), COUPON_ALREADY_ISSUED);
  cr_expect_eq(help_try(engine, 2, 5), COUPON_SOLD_OUT);
  cr_expect_eq(help_try(engine, 404, 5), COUPON_NO_CAMPAIGN);
  struct coupon_campaign_spec same = help_spec(1, 100000), other = help_spec(1, 5);
  cr_expect_eq(coupon_create(engine, &same, COUPON_POLL), COUPON_OK);
  cr_expect_eq(coupon_create(engine, &other, COUPON_POLL), COUPON_E_EXISTS);
  help_close(engine);
}

Test(full_buffer, a_campaign_can_neither_open_nor_close_but_holders_are_answered) {
  struct help_clock clock = {1};
  env = help_disk_env(&disk, false);
  struct coupon_options options = help_options_with_clock(COUPON_SYNC, &clock);
  options.log_buffer_bytes = 4096;
  coupon_engine *engine = help_open_env(&env, data, &options);
  create_stepped(engine, 1, 100000);
  struct coupon_campaign_spec spec = help_spec(2, 10);
  spec.opens_at_ns = 100;
  spec.closes_at_ns = 200;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  step(engine);
  fill_buffer_whole(engine);
  clock.now_ns = 100;
  cr_expect_eq(help_try(engine, 2, 5), COUPON_E_BUSY);
  step(engine);
  cr_expect_eq(help_try(engine, 2, 5), COUPON_ISSUED);
  step(engine);
  fill_buffer_whole(engine);
  clock.now_ns = 200;
  cr_expect_eq(help_try(engine, 2, 6), COUPON_E_BUSY);
  cr_expect_eq(help_try(engine, 2, 5), COUPON_ALREADY_ISSUED);
  cr_expect_eq(help_info(engine, 2).state, COUPON_STATE_CLOSED);
  step(engine);
  cr_expect_eq(help_try(engine, 2, 6), COUPON_ENDED);
  cr_expect_eq(help_try(engine, 2, 5), COUPON_ALREADY_ISSUED);
  help_close(engine);
}

/* With a commit thread that is held in a sync: what is reserved meanwhile stays. Returns how many tickets. */
static uint64_t hold_and_fill(coupon_engine *engine, struct waiter *first, pthread_t *thread) {
  help_disk_hold(&disk);
  start_waiters(first, thread, 1, engine, 1);
  help_disk_wait_held(&disk);
  return fill_buffer(engine);
}

/* As many visitors as `context` says are in calls that may wait. */
struct crowd {
  coupon_engine *engine;
  uint32_t visitors;
};

static bool are_in(void *context) {
  struct crowd *crowd = context;
  return atomic_load(&crowd->engine->visitors) == crowd->visitors;
}

static coupon_engine *open_small(void) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.log_buffer_bytes = 4096;
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100000);
  return engine;
}

Test(full_buffer, requests_that_wait_get_through_when_there_is_room) {
  coupon_engine *engine = open_small();
  struct waiter first, waiters[WAITERS];
  pthread_t first_thread, threads[WAITERS];
  (void)hold_and_fill(engine, &first, &first_thread);
  start_waiters(waiters, threads, WAITERS, engine, 10);
  cr_assert(help_until(are_in, &(struct crowd){engine, WAITERS + 1}));
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(first_thread, NULL), 0);
  cr_expect_eq(first.status, COUPON_ISSUED);
  for (int i = 0; i < WAITERS; i++) {
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(waiters[i].status, COUPON_ISSUED, "%s", coupon_status_name(waiters[i].status));
    cr_expect_eq(waiters[i].ticket.flags, COUPON_TICKET_FINAL);
  }
  expect_sound(engine, 1);
  help_close(engine);
}

Test(full_buffer, requests_that_wait_for_room_are_woken_by_a_failure) {
  coupon_engine *engine = open_small();
  struct waiter first, waiters[WAITERS];
  pthread_t first_thread, threads[WAITERS];
  disk.error = EIO;
  disk.fail_op = HELP_SYNC;
  disk.fail_at = disk.calls[HELP_SYNC] + 1;
  uint64_t count = hold_and_fill(engine, &first, &first_thread);
  start_waiters(waiters, threads, WAITERS, engine, 10);
  cr_assert(help_until(are_in, &(struct crowd){engine, WAITERS + 1}));
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(first_thread, NULL), 0);
  cr_expect_eq(first.status, COUPON_E_FAILED);
  for (int i = 0; i < WAITERS; i++) {
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(waiters[i].status, COUPON_E_FAILED, "%s", coupon_status_name(waiters[i].status));
  }
  cr_expect_gt(count, 0);
  cr_expect_eq(coupon_close(engine), COUPON_E_FAILED);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
  cr_expect_eq(calls_after_fault(), 0);
}

/* --- closing ------------------------------------------------------------------------------------- */

struct closer {
  coupon_engine *engine;
  coupon_status status;
  _Atomic bool returned;
};

static void *close_engine(void *argument) {
  struct closer *closer = argument;
  closer->status = coupon_close(closer->engine);
  closer->returned = true;
  return NULL;
}

static bool has_closed(void *context) { return ((struct closer *)context)->returned; }

static bool is_closing(void *context) {
  uint64_t lsn;
  return coupon_durable_lsn(context, &lsn) == COUPON_E_CLOSED;
}

Test(closing, those_who_wait_for_finality_get_it_and_those_who_wait_for_room_are_told_closed) {
  coupon_engine *engine = open_small();
  struct waiter first, waiters[WAITERS];
  pthread_t first_thread, threads[WAITERS], closer_thread;
  uint64_t count = hold_and_fill(engine, &first, &first_thread);
  start_waiters(waiters, threads, WAITERS, engine, 10);
  cr_assert(help_until(are_in, &(struct crowd){engine, WAITERS + 1}));
  struct closer closer = {.engine = engine, .status = COUPON_E_INVAL};
  cr_assert_eq(pthread_create(&closer_thread, NULL, close_engine, &closer), 0);
  for (int i = 0; i < WAITERS; i++) { /* while the disk is still held */
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(waiters[i].status, COUPON_E_CLOSED, "%s", coupon_status_name(waiters[i].status));
  }
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(first_thread, NULL), 0);
  cr_expect_eq(first.status, COUPON_ISSUED);
  cr_expect_eq(first.ticket.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(first.ticket.number, 1);
  cr_assert_eq(pthread_join(closer_thread, NULL), 0);
  cr_expect_eq(closer.status, COUPON_OK);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
  engine = open_small();
  cr_expect_eq(help_info(engine, 1).issued, count + 1, "closing writes what is left");
  expect_sound(engine, 1);
  help_close(engine);
}

static int handler_says[2], handler_hears[2]; /* pipes */

/* Keeps the thread it interrupts inside the call that it is in. */
static void stay_a_while(int number) {
  (void)number;
  char byte = 1;
  if (write(handler_says[1], &byte, 1) == 1 && read(handler_hears[0], &byte, 1) == 1) return;
  abort();
}

Test(closing, waits_for_a_call_that_is_slow_to_leave) {
  struct sigaction action = {.sa_handler = stay_a_while};
  cr_assert(sigaction(SIGUSR1, &action, NULL) == 0 && pipe2(handler_says, O_CLOEXEC) == 0 &&
            pipe2(handler_hears, O_CLOEXEC) == 0);
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 10);
  struct waiter waiter;
  struct closer closer = {.engine = engine, .status = COUPON_E_INVAL};
  pthread_t waiting, closing;
  char byte;
  help_disk_hold(&disk);
  start_waiters(&waiter, &waiting, 1, engine, 5);
  help_disk_wait_held(&disk);
  cr_assert_eq(pthread_kill(waiting, SIGUSR1), 0);
  cr_assert_eq(read(handler_says[0], &byte, 1), 1);
  help_disk_release(&disk); /* its ticket becomes final, but the thread cannot see that yet */
  cr_assert_eq(pthread_create(&closing, NULL, close_engine, &closer), 0);
  cr_assert(help_until(is_closing, engine));
  cr_expect_not(help_soon(has_closed, &closer), "a call is still in progress");
  cr_assert_eq(write(handler_hears[1], &byte, 1), 1);
  cr_assert_eq(pthread_join(waiting, NULL), 0);
  cr_assert_eq(pthread_join(closing, NULL), 0);
  cr_expect_eq(waiter.status, COUPON_ISSUED);
  cr_expect_eq(waiter.ticket.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(closer.status, COUPON_OK);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

Test(closing, what_nobody_waited_for_is_written_and_synced) {
  for (int32_t durability = COUPON_SYNC; durability <= COUPON_WRITTEN; durability++) {
    (void)help_join(data, temp, durability == COUPON_SYNC ? "sync" : "written");
    struct coupon_options options = help_options(durability);
    coupon_engine *engine = help_open(data, &options);
    help_create(engine, 1, 1000);
    for (uint64_t user = 0; user < 500; user++) cr_expect_eq(help_try(engine, 1, user), COUPON_ISSUED);
    help_close(engine);
    engine = help_open(data, &options);
    cr_expect_eq(help_info(engine, 1).issued, 500);
    help_close(engine);
  }
}

static _Atomic bool go_on;

static void *issue_until_closed(void *argument) {
  struct waiter *waiter = argument;
  coupon_status status = COUPON_OK;
  for (uint64_t i = 0; status >= 0; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    status = coupon_issue(waiter->engine, 1, waiter->user + i, COUPON_FOREVER, &ticket);
    if (status == COUPON_ISSUED) waiter->ticket = ticket;
    go_on = true;
  }
  waiter->status = status;
  return NULL;
}

Test(closing, calls_in_progress_end_and_what_they_acknowledged_is_there) {
  for (int round = 0; round < 10; round++) {
    struct coupon_options options = help_options(COUPON_SYNC);
    coupon_engine *engine = help_open(data, &options);
    help_create(engine, 1, 100000000);
    struct waiter waiters[4];
    pthread_t threads[4];
    go_on = false;
    for (uint64_t i = 0; i < 4; i++) {
      waiters[i] = (struct waiter){.engine = engine, .user = ((uint64_t)round * 4 + i) * 1000000};
      cr_assert_eq(pthread_create(&threads[i], NULL, issue_until_closed, &waiters[i]), 0);
    }
    while (!go_on) (void)sched_yield();
    cr_expect_eq(coupon_close(engine), COUPON_OK);
    cr_expect_eq(atomic_load(&engine->visitors), 0, "closing has not waited for a call in progress");
    for (int i = 0; i < 4; i++) {
      cr_assert_eq(pthread_join(threads[i], NULL), 0);
      cr_expect_eq(waiters[i].status, COUPON_E_CLOSED, "%s", coupon_status_name(waiters[i].status));
    }
    cr_expect_eq(coupon_destroy(engine), COUPON_OK);
    engine = help_open(data, &options);
    for (int i = 0; i < 4; i++) {
      struct coupon_ticket found = COUPON_TICKET_INIT;
      if (waiters[i].ticket.number == 0) continue;
      cr_expect_eq(coupon_lookup(engine, 1, waiters[i].ticket.user, &found, NULL), COUPON_OK);
      cr_expect(help_same_ticket(&found, &waiters[i].ticket));
    }
    help_close(engine);
  }
}

Test(closing, destroying_closes_first) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, 1000);
  cr_expect_eq(help_try(engine, 1, 5), COUPON_ISSUED);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
  engine = help_open(data, &options);
  cr_expect_eq(help_try(engine, 1, 5), COUPON_ALREADY_ISSUED);
  help_close(engine);
}

/* --- reopening ----------------------------------------------------------------------------------- */

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
  bool fell;
};

static void see_progress(void *context, uint64_t done, uint64_t total) {
  struct progress *progress = context;
  progress->fell |= done < progress->done || done > total;
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
  cr_expect_not(progress.fell);
  help_close(engine);
}

/* Overwrites bytes of a file. */
static void scribble(const char *directory, const char *name, off_t offset, int value, size_t size) {
  char path[HELP_PATH_MAX], bytes[512];
  cr_assert_leq(size, sizeof bytes);
  memset(bytes, value, sizeof bytes);
  int file = open(help_join(path, directory, name), O_WRONLY | O_CLOEXEC);
  cr_assert_geq(file, 0);
  cr_assert_eq(pwrite(file, bytes, size, offset), (ssize_t)size);
  (void)close(file);
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

Test(reopening, damage_is_refused_with_its_place_and_nothing_is_touched) {
  make_directory_with_tickets();
  scribble(data, FIRST_SEGMENT, 512 + 70, 0xff, 8); /* in the first frame, which later ones prove */
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
  uint64_t needed = help_stats(engine).memory_bytes;
  help_close(engine);
  options.max_memory_bytes = needed - 1;
  cr_expect_eq(coupon_open(data, &options, &engine, NULL), COUPON_E_NOMEM);
  cr_expect_null(engine);
  options.max_memory_bytes = needed;
  engine = help_open(data, &options);
  cr_expect_eq(help_info(engine, 1).issued, 5);
  help_close(engine);
}

/* --- snapshots ----------------------------------------------------------------------------------- */

static coupon_status open_snapshot(const char *path, coupon_engine **engine) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.read_only = 1;
  return coupon_open(path, &options, engine, NULL);
}

static coupon_engine *snapshot_of(const char *path) {
  coupon_engine *engine;
  coupon_status status = open_snapshot(path, &engine);
  cr_assert_eq(status, COUPON_OK, "%s", coupon_status_name(status));
  return engine;
}

static uint64_t tickets_in_snapshot(void) {
  coupon_engine *reader = snapshot_of(data);
  uint64_t tickets = help_stats(reader).tickets;
  if (tickets > 0) expect_sound(reader, 1);
  help_close(reader);
  return tickets;
}

Test(snapshot, sees_everything_and_refuses_to_change_it) {
  make_directory_with_tickets();
  coupon_engine *reader = snapshot_of(data);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  struct coupon_campaign_spec spec = help_spec(1, 100);
  cr_expect_eq(help_stats(reader).read_only, 1);
  cr_expect_eq(help_stats(reader).tickets, 5);
  cr_expect_eq(help_info(reader, 1).issued, 5);
  cr_expect_eq(coupon_lookup(reader, 1, 3, &ticket, NULL), COUPON_OK);
  cr_expect_eq(ticket.number, 4);
  cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(coupon_wait(reader, &ticket, COUPON_FOREVER), COUPON_OK);
  expect_sound(reader, 1);
  cr_expect_eq(coupon_try_issue(reader, 1, 77, &ticket), COUPON_E_READ_ONLY);
  cr_expect_eq(coupon_issue(reader, 1, 77, COUPON_FOREVER, &ticket), COUPON_E_READ_ONLY);
  cr_expect_eq(coupon_issue(reader, 1, 3, COUPON_FOREVER, &ticket), COUPON_E_READ_ONLY);
  cr_expect_eq(coupon_try_issue(reader, 404, 3, &ticket), COUPON_E_READ_ONLY);
  cr_expect_eq(coupon_create(reader, &spec, COUPON_FOREVER), COUPON_E_READ_ONLY);
  const char *lenient = help_find_lenient_call(reader);
  cr_expect_null(lenient, "read only comes before a bad argument: %s", lenient);
  help_close(reader);
}

Test(snapshot, writes_nothing_and_takes_no_lock) {
  make_directory_with_tickets();
  uint64_t before = help_fingerprint(data);
  coupon_engine *one = snapshot_of(data), *other = snapshot_of(data);
  cr_expect_eq(help_fingerprint(data), before);
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *owner = help_open(data, &options);
  (void)ask(owner, 1, 77, COUPON_FOREVER, COUPON_ISSUED);
  cr_expect_eq(help_stats(one).tickets, 5, "it is a snapshot");
  help_close(one);
  help_close(other);
  help_close(owner);
}

Test(snapshot, beside_the_owner_sees_what_is_final_and_nothing_else) {
  coupon_engine *owner = open_stepped(65536);
  cr_expect_eq(tickets_in_snapshot(), 0);
  create_stepped(owner, 1, 100);
  for (uint64_t user = 0; user < 5; user++) (void)ask(owner, 1, user, COUPON_POLL, COUPON_ISSUED);
  cr_expect_eq(tickets_in_snapshot(), 0);
  step(owner);
  cr_expect_eq(tickets_in_snapshot(), 5);
  for (uint64_t user = 10; user < 13; user++) (void)ask(owner, 1, user, COUPON_POLL, COUPON_ISSUED);
  cr_expect_eq(tickets_in_snapshot(), 5);
  step(owner);
  cr_expect_eq(tickets_in_snapshot(), 8);
  help_close(owner);
  cr_expect_eq(tickets_in_snapshot(), 8);
}

Test(snapshot, does_not_see_what_is_written_but_not_yet_synced) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *owner = help_open_env(&env, data, &options);
  help_create(owner, 1, 100);
  help_disk_hold(&disk);
  struct waiter waiter;
  pthread_t thread;
  start_waiters(&waiter, &thread, 1, owner, 5);
  help_disk_wait_held(&disk); /* its frame is in the file */
  cr_expect_eq(tickets_in_snapshot(), 0);
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(thread, NULL), 0);
  cr_expect_eq(tickets_in_snapshot(), 1);
  help_close(owner);
}

struct sale {
  coupon_engine *owner;
  _Atomic uint64_t acknowledged;
  uint64_t awaited;
  _Atomic bool stop;
};

static void *sell(void *argument) {
  struct sale *sale = argument;
  for (uint64_t user = 0; !sale->stop; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    if (coupon_issue(sale->owner, 1, user, COUPON_FOREVER, &ticket) != COUPON_ISSUED) break;
    sale->acknowledged = ticket.number;
  }
  return NULL;
}

static bool sells_on(void *context) {
  struct sale *sale = context;
  return sale->acknowledged >= sale->awaited;
}

#define SNAPSHOTS 60

/* Snapshots while the owner sells: none may raise a false alarm or miss what was acknowledged before it. */
static void snap_while_selling(int32_t durability) {
  struct coupon_options options = help_options(durability);
  options.segment_size_bytes = 4096; /* so that segments come while we read */
  struct sale sale = {.owner = help_open(data, &options)};
  help_create(sale.owner, 1, 1000000000);
  pthread_t seller;
  cr_assert_eq(pthread_create(&seller, NULL, sell, &sale), 0);
  int alarms = 0, misses = 0;
  uint64_t seen = 0;
  for (int i = 0; i < SNAPSHOTS; i++) {
    uint64_t before = sale.acknowledged;
    coupon_engine *reader;
    sale.awaited = before + 3;
    if (open_snapshot(data, &reader) != COUPON_OK) {
      alarms++;
      continue;
    }
    seen = help_stats(reader).tickets;
    misses += seen < before;
    expect_sound(reader, 1);
    help_close(reader);
    cr_assert(help_until(sells_on, &sale));
  }
  sale.stop = true;
  cr_assert_eq(pthread_join(seller, NULL), 0);
  cr_expect_eq(alarms, 0, "%d of %d snapshots refused", alarms, SNAPSHOTS);
  cr_expect_eq(misses, 0, "%d of %d snapshots missed something final", misses, SNAPSHOTS);
  cr_expect_gt(seen, 0);
  help_close(sale.owner);
}

Test(snapshot, while_the_owner_sells_raises_no_false_alarm_and_misses_nothing_under_sync) {
  snap_while_selling(COUPON_SYNC);
}

Test(snapshot, while_the_owner_sells_raises_no_false_alarm_and_misses_nothing_under_written) {
  snap_while_selling(COUPON_WRITTEN);
}

static int snap_in_child(struct help_child *self, void *context) {
  (void)context;
  int alarms = 0;
  while (help_child_hear(self) == 1) {
    for (int i = 0; i < SNAPSHOTS; i++) {
      coupon_engine *reader;
      if (open_snapshot(data, &reader) != COUPON_OK)
        alarms++;
      else
        help_close(reader);
    }
    help_child_say(self, alarms);
  }
  return 0;
}

Test(snapshot, from_another_process_raises_no_false_alarm_either) {
  struct help_child child;
  help_child_start(&child, snap_in_child, NULL);
  struct coupon_options options = help_options(COUPON_WRITTEN);
  options.segment_size_bytes = 4096;
  struct sale sale = {.owner = help_open(data, &options)};
  help_create(sale.owner, 1, 1000000000);
  pthread_t seller;
  cr_assert_eq(pthread_create(&seller, NULL, sell, &sale), 0);
  help_child_say(&child, 1);
  cr_expect_eq(help_child_hear(&child), 0);
  sale.stop = true;
  cr_assert_eq(pthread_join(seller, NULL), 0);
  help_child_say(&child, 0);
  cr_expect_eq(help_child_wait(&child, 30), 0);
  help_close(sale.owner);
}

/* The owner fills a segment and begins the next between our look at its hint and our look at the directory. */
static void sell_a_segment(void *context) {
  struct sale *sale = context;
  for (int i = 0; i < 10; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    uint64_t user = sale->acknowledged++;
    HELP_CHECK(coupon_issue(sale->owner, 1, user, COUPON_FOREVER, &ticket) == COUPON_ISSUED);
  }
}

Test(snapshot, a_segment_that_comes_while_it_is_taken_is_no_damage) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.segment_size_bytes = 4096;
  struct sale sale = {.owner = help_open(data, &options)};
  help_create(sale.owner, 1, 1000);
  disk.before_list = sell_a_segment;
  disk.list_context = &sale;
  options.read_only = 1;
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *reader = NULL;
  coupon_status status = cpn_engine_open(&env, data, &options, &reader, &report);
  cr_expect_eq(status, COUPON_OK, "%s, %s: %s", coupon_status_name(status), report.file, report.message);
  if (reader != NULL) help_close(reader);
  help_close(sale.owner);
}

struct peek {
  uint64_t tickets;
  coupon_status status;
};

static void peek_at_recovery(void *context, uint64_t done, uint64_t total) {
  struct peek *peek = context;
  (void)done, (void)total;
  coupon_engine *reader;
  peek->status = open_snapshot(data, &reader);
  if (peek->status != COUPON_OK) return;
  peek->tickets = help_stats(reader).tickets;
  /* Closing is not allowed in here; a child has nothing to free. */
}

/* Takes a snapshot while an owner recovers, in which the hint may not be worth anything. */
static int peek_in_child(struct help_child *self, void *context) {
  (void)self;
  struct peek *peek = context;
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.progress = peek_at_recovery;
  options.callbacks.context = peek;
  coupon_engine *owner = help_open(data, &options);
  help_close(owner);
  return peek->status == COUPON_OK ? (int)peek->tickets : 100;
}

Test(snapshot, while_an_owner_recovers_sees_what_was_final_before) {
  make_directory_with_tickets();
  struct peek peek = {0};
  struct help_child child;
  help_child_start(&child, peek_in_child, &peek);
  cr_expect_eq(help_child_wait(&child, 30), 5);
}

Test(snapshot, while_an_owner_recovers_after_the_hint_was_lost_sees_what_was_final_before) {
  make_directory_with_tickets();
  scribble(data, "owner", 0, 0, 512); /* a power loss may leave it so: the hint is never synced */
  struct peek peek = {0};
  struct help_child child;
  help_child_start(&child, peek_in_child, &peek);
  cr_expect_eq(help_child_wait(&child, 30), 5);
}

struct arrival {
  coupon_engine *owner;
  struct waiter waiter;
  pthread_t thread;
  bool over;
};

/* The owner, which had no hint yet, makes one ticket final, and writes another that is not. */
static void go_on_after_the_look_at_the_hint(void *context) {
  struct arrival *arrival = context;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  if (arrival->over) return;
  arrival->over = true;
  HELP_CHECK(coupon_issue(arrival->owner, 1, 50, COUPON_FOREVER, &ticket) == COUPON_ISSUED);
  help_disk_hold(&disk);
  start_waiters(&arrival->waiter, &arrival->thread, 1, arrival->owner, 51);
  help_disk_wait_held(&disk);
}

Test(snapshot, a_hint_that_comes_while_it_is_taken_is_heeded) {
  struct coupon_options options = help_options(COUPON_SYNC);
  struct arrival arrival = {.owner = help_open_env(&env, data, &options)};
  help_create(arrival.owner, 1, 100);
  scribble(data, "owner", 0, 0, 512); /* as while the owner recovers after a power loss */
  static struct help_disk readers_disk;
  help_disk_init(&readers_disk);
  readers_disk.before_list = go_on_after_the_look_at_the_hint;
  readers_disk.list_context = &arrival;
  struct cpn_env readers_env = help_disk_env(&readers_disk, true);
  options.read_only = 1;
  coupon_engine *reader = help_open_env(&readers_env, data, &options);
  cr_expect_leq(help_stats(reader).tickets, 1, "it shows a ticket that is not final");
  help_close(reader);
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(arrival.thread, NULL), 0);
  help_close(arrival.owner);
}

Test(snapshot, of_what_a_killed_owner_left_is_what_recovery_keeps) {
  coupon_engine *owner = open_stepped(65536);
  create_stepped(owner, 1, 100);
  for (uint64_t user = 0; user < 5; user++) (void)ask(owner, 1, user, COUPON_POLL, COUPON_ISSUED);
  step(owner);
  (void)ask(owner, 1, 9, COUPON_POLL, COUPON_ISSUED); /* lost with the process */
  char copy[HELP_PATH_MAX];
  help_copy_directory(data, help_join(copy, temp, "copy"));
  help_close(owner);
  coupon_engine *reader = snapshot_of(copy);
  cr_expect_eq(help_stats(reader).tickets, 5);
  help_close(reader);
  struct coupon_options options = help_options(COUPON_SYNC);
  owner = help_open(copy, &options);
  cr_expect_eq(help_stats(owner).tickets, 5);
  help_close(owner);
}

Test(snapshot, of_what_is_no_directory_of_ours_is_refused) {
  char path[HELP_PATH_MAX];
  coupon_engine *reader;
  cr_expect_eq(open_snapshot(help_join(path, temp, "nothing"), &reader), COUPON_E_ACCESS);
  cr_expect_null(reader);
  struct stat status;
  cr_expect_eq(stat(path, &status), -1, "it was made");
  cr_assert_eq(mkdir(help_join(path, temp, "empty"), 0700), 0);
  cr_expect_eq(open_snapshot(path, &reader), COUPON_E_ACCESS);
  cr_expect_null(reader);
}
