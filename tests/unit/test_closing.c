/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what is told to whom when the log buffer has no room, and when the engine is closed under those who call.
 *
 * How: engines on a real directory, with the system's calls behind a disk that fails, holds or stutters
 * (support/engine_help.h); where the moment of a commit matters there is no commit thread, and the test steps.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "support/failing.h"
#include "support/on_disk.h"

ON_DISK_SUITE(full_buffer);
ON_DISK_SUITE(closing);

/* --- a log buffer that is full --------------------------------------------------------------------- */

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
  help_disk_fail_next(&disk, HELP_SYNC, EIO);
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

/* --- closing --------------------------------------------------------------------------------------- */

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

static bool both_are_decided(void *context) { return help_info(context, 1).remaining == 8; }

Test(closing, waits_for_a_call_that_is_slow_to_leave) {
  struct sigaction action = {.sa_handler = stay_a_while};
  cr_assert(sigaction(SIGUSR1, &action, NULL) == 0 && pipe2(handler_says, O_CLOEXEC) == 0 &&
            pipe2(handler_hears, O_CLOEXEC) == 0);
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 10);
  struct waiter stepper, waiter;
  struct closer closer = {.engine = engine, .status = COUPON_E_INVAL};
  pthread_t stepping, waiting, closing;
  char byte;
  help_disk_hold(&disk);
  start_waiters(&stepper, &stepping, 1, engine, 4); /* who syncs is not to be interrupted */
  help_disk_wait_held(&disk);
  start_waiters(&waiter, &waiting, 1, engine, 5);
  cr_assert(help_until(both_are_decided, engine));
  cr_assert_eq(pthread_kill(waiting, SIGUSR1), 0);
  cr_assert_eq(read(handler_says[0], &byte, 1), 1);
  help_disk_release(&disk); /* its ticket becomes final, but the thread cannot see that yet */
  cr_assert_eq(pthread_join(stepping, NULL), 0);
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
