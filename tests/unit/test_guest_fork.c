/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that an engine survives fork(): in the child every call on it answers so, in the parent it goes on, and the
 * child may have an engine of its own. How: children that make every call, while the parent stands still, is busy, or
 * is held inside a call.
 */
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "base/points.h"
#include "support/every_call.h"
#include "support/guest.h"

ON_DISK_SUITE(fork);

/* 0: every call on the engine answers COUPON_E_FORKED; else which one, from 1, does not. */
static int call_all_forked(coupon_engine *engine) {
  for (int i = 0; i < HELP_CALLS; i++) {
    if (help_calls[i].call(engine) != COUPON_E_FORKED) return 1 + i;
  }
  for (int i = HELP_CALLS - 1; i >= 0; i--) { /* nothing was closed or freed by the first turn */
    if (help_calls[i].call(engine) != COUPON_E_FORKED) return 1 + i;
  }
  if (help_find_lenient_call(engine) != NULL) return 50; /* a bad argument comes before forked */
  if (strcmp(coupon_status_name(COUPON_E_FORKED), "COUPON_E_FORKED") != 0) return 51;
  return 0;
}

static int child_calls(struct help_child *self, void *context) {
  (void)self;
  return call_all_forked(context);
}

static void expect_forked_in_child(coupon_engine *engine) {
  struct help_child child;
  help_child_start(&child, child_calls, engine);
  int code = help_child_wait(&child, 20);
  cr_expect_eq(code, 0, "%d: %s", code, code > 0 && code <= HELP_CALLS ? help_calls[code - 1].name : "");
}

Test(fork, in_the_child_every_call_answers_forked_and_the_parent_goes_on) {
  coupon_engine *engine = open_sync(data);
  help_create(engine, 1, 1000000);
  for (uint64_t user = 10; user < 15; user++) {
    expect_forked_in_child(engine);
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_expect_eq(coupon_issue(engine, 1, user, COUPON_FOREVER, &ticket), COUPON_ISSUED);
  }
  help_close(engine);
}

Test(fork, the_same_for_an_engine_in_memory_and_a_snapshot) {
  coupon_engine *engine = help_open_in_memory();
  help_create(engine, 1, 1000000);
  expect_forked_in_child(engine);
  cr_expect_eq(help_try(engine, 1, 5), COUPON_ISSUED);
  help_close(engine);
  help_close(open_sync(data));
  engine = open_read_only();
  expect_forked_in_child(engine);
  help_close(engine);
}

Test(fork, forked_comes_before_closed_and_before_failed) {
  coupon_engine *engine = open_on_disk(data);
  help_create(engine, 1, 10);
  fail_at_a_sync(engine);
  expect_forked_in_child(engine);
  cr_expect_eq(coupon_close(engine), COUPON_E_FAILED);
  expect_forked_in_child(engine);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

static int child_of_child_calls(struct help_child *self, void *context) {
  (void)self;
  struct help_child child;
  help_child_start(&child, child_calls, context);
  return help_child_wait(&child, 20);
}

Test(fork, in_the_childs_child_too) {
  coupon_engine *engine = open_sync(data);
  struct help_child child;
  help_child_start(&child, child_of_child_calls, engine);
  cr_expect_eq(help_child_wait(&child, 25), 0);
  help_close(engine);
}

static _Atomic bool stop;

static void *issue_busily(void *argument) {
  static _Atomic uint64_t next_user;
  while (!stop) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    (void)!coupon_issue(argument, 1, next_user++, COUPON_FOREVER, &ticket);
  }
  return NULL;
}

Test(fork, while_other_threads_are_in_calls_the_child_hears_forked_and_does_not_hang) {
  coupon_engine *engine = open_sync(data);
  help_create(engine, 1, 1000000000);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) cr_assert_eq(pthread_create(&threads[i], NULL, issue_busily, engine), 0);
  for (int i = 0; i < 20; i++) expect_forked_in_child(engine);
  stop = true;
  for (int i = 0; i < 4; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  help_close(engine);
}

/* An engine of the child's own: opens, creates enough for tables to grow, issues, closes. */
static int live_on_its_own(struct help_child *self, void *context) {
  (void)self, (void)context;
  char path[HELP_PATH_MAX];
  cpn_point_hook = NULL;
  coupon_engine *engine = open_sync(help_join(path, temp, "of the child"));
  for (uint64_t id = 1; id <= 20; id++) help_create(engine, id, 10);
  if (help_try(engine, 1, 5) != COUPON_ISSUED) return 1;
  help_close(engine);
  return 0;
}

Test(fork, a_child_may_open_an_engine_of_its_own) {
  coupon_engine *engine = open_sync(data);
  help_create(engine, 1, 10);
  struct help_child child;
  help_child_start(&child, live_on_its_own, NULL);
  cr_expect_eq(help_child_wait(&child, 20), 0);
  help_close(engine);
}

static sem_t held_in_call, let_go;
static _Atomic bool hold_next;

static void hold_in_call(enum cpn_point point) {
  if (point != CPN_POINT_CLAIM_READ || !atomic_exchange(&hold_next, false)) return;
  (void)sem_post(&held_in_call);
  while (sem_wait(&let_go) != 0) {
  }
}

static void *issue_once(void *argument) {
  (void)help_try(argument, 1, 77);
  return NULL;
}

Test(fork, a_child_may_open_an_engine_of_its_own_though_a_thread_of_the_parent_was_inside_a_call) {
  coupon_engine *engine = open_sync(data);
  help_create(engine, 1, 10);
  cr_assert(sem_init(&held_in_call, 0, 0) == 0 && sem_init(&let_go, 0, 0) == 0);
  cpn_point_hook = hold_in_call;
  hold_next = true;
  pthread_t thread;
  cr_assert_eq(pthread_create(&thread, NULL, issue_once, engine), 0);
  while (sem_wait(&held_in_call) != 0) {
  }
  struct help_child child;
  help_child_start(&child, live_on_its_own, NULL);
  int code = help_child_wait(&child, 10);
  cr_expect_neq(code, -1, "the child hangs");
  cr_expect_eq(code, 0);
  (void)sem_post(&let_go);
  cr_assert_eq(pthread_join(thread, NULL), 0);
  cpn_point_hook = NULL;
  help_close(engine);
}
