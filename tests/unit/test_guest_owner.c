/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a directory is one engine's at a time, in this process and among all others, for as long as the engine is
 * open and its process lives. How: openers of all kinds beside an owner, and child processes that open, fork, and are
 * killed.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "support/guest.h"

ON_DISK_SUITE(one_owner);

/* Says how an opening went; closes at a word if it went well. */
static int open_in_child(struct help_child *self, void *context) {
  (void)context;
  coupon_engine *engine = NULL;
  while (help_child_hear(self) == 1) {
    coupon_status status = try_to_open(data, &engine);
    help_child_say(self, status);
    if (status == COUPON_OK) {
      if (help_child_hear(self) != 2) break;
      help_close(engine);
      help_child_say(self, 0);
    }
  }
  return 0;
}

/* What another process hears that opens the directory now; it closes again at once. */
static coupon_status status_elsewhere(struct help_child *child) {
  help_child_say(child, 1);
  coupon_status status = help_child_hear(child);
  if (status == COUPON_OK) {
    help_child_say(child, 2);
    cr_expect_eq(help_child_hear(child), 0);
  }
  return status;
}

static void end_child(struct help_child *child) {
  help_child_say(child, 0);
  cr_expect_eq(help_child_wait(child, 20), 0);
}

Test(one_owner, a_second_opener_in_the_same_process_is_refused_under_whatever_name) {
  char path[HELP_PATH_MAX], link[HELP_PATH_MAX];
  coupon_engine *owner = open_sync(data), *second = owner;
  cr_expect_eq(try_to_open(data, &second), COUPON_E_LOCKED);
  cr_expect_null(second);
  cr_expect_eq(try_to_open(help_join(path, data, ""), &second), COUPON_E_LOCKED);
  cr_expect_eq(try_to_open(help_join(path, data, "../data"), &second), COUPON_E_LOCKED);
  cr_assert_eq(symlink("data", help_join(link, temp, "link")), 0);
  cr_expect_eq(try_to_open(link, &second), COUPON_E_LOCKED);
  help_close(owner);
  cr_expect_eq(try_to_open(link, &second), COUPON_OK);
  help_close(second);
}

Test(one_owner, a_second_opener_in_another_process_is_refused_until_the_first_has_closed) {
  struct help_child child;
  help_child_start(&child, open_in_child, NULL); /* before there is any engine here */
  coupon_engine *owner = open_sync(data);
  cr_expect_eq(status_elsewhere(&child), COUPON_E_LOCKED);
  help_close(owner);
  cr_expect_eq(status_elsewhere(&child), COUPON_OK);
  owner = open_sync(data);
  cr_expect_eq(status_elsewhere(&child), COUPON_E_LOCKED);
  cr_expect_eq(coupon_destroy(owner), COUPON_OK);
  cr_expect_eq(status_elsewhere(&child), COUPON_OK);
  end_child(&child);
}

Test(one_owner, a_child_forked_from_the_owner_is_refused_like_any_other_process) {
  coupon_engine *owner = open_sync(data);
  help_create(owner, 1, 10); /* so that the commit thread is past its start, in which a sanitizer takes locks */
  struct help_child child;
  help_child_start(&child, open_in_child, NULL);
  cr_expect_eq(status_elsewhere(&child), COUPON_E_LOCKED);
  help_close(owner);
  cr_expect_eq(status_elsewhere(&child), COUPON_OK);
  end_child(&child);
}

Test(one_owner, the_lock_outlives_a_second_opening_in_the_same_process) {
  struct help_child child;
  help_child_start(&child, open_in_child, NULL);
  coupon_engine *owner = open_sync(data), *second;
  cr_expect_eq(try_to_open(data, &second), COUPON_E_LOCKED);
  cr_expect_eq(status_elsewhere(&child), COUPON_E_LOCKED, "the refused opening has let the lock go");
  help_close(owner);
  end_child(&child);
}

Test(one_owner, the_lock_outlives_a_snapshot_in_the_same_process) {
  struct help_child child;
  help_child_start(&child, open_in_child, NULL);
  coupon_engine *owner = open_sync(data);
  help_create(owner, 1, 10);
  help_close(open_read_only());
  coupon_status status = status_elsewhere(&child);
  cr_expect_eq(status, COUPON_E_LOCKED, "the snapshot has let the owner's lock go: %s", coupon_status_name(status));
  help_close(owner);
  end_child(&child);
}

Test(one_owner, a_failed_engine_keeps_its_directory_until_it_is_closed) {
  coupon_engine *engine = open_on_disk(data), *second;
  help_create(engine, 1, 10);
  fail_at_a_sync(engine);
  cr_expect_eq(try_to_open(data, &second), COUPON_E_LOCKED);
  cr_expect_eq(coupon_close(engine), COUPON_E_FAILED);
  cr_expect_eq(try_to_open(data, &second), COUPON_OK);
  help_close(second);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

struct opener {
  coupon_engine *engine;
  coupon_status status;
  pthread_barrier_t *barrier;
};

static void *open_at_once(void *argument) {
  struct opener *opener = argument;
  (void)pthread_barrier_wait(opener->barrier);
  opener->status = try_to_open(data, &opener->engine);
  return NULL;
}

Test(one_owner, of_many_who_open_at_once_one_succeeds) {
  enum { OPENERS = 4, ROUNDS = 25 };
  pthread_barrier_t barrier;
  cr_assert_eq(pthread_barrier_init(&barrier, NULL, OPENERS), 0);
  for (int round = 0; round < ROUNDS; round++) {
    struct opener openers[OPENERS];
    pthread_t threads[OPENERS];
    int opened = 0;
    for (int i = 0; i < OPENERS; i++) {
      openers[i].barrier = &barrier;
      cr_assert_eq(pthread_create(&threads[i], NULL, open_at_once, &openers[i]), 0);
    }
    for (int i = 0; i < OPENERS; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < OPENERS; i++) {
      opened += openers[i].status == COUPON_OK;
      cr_expect(openers[i].status == COUPON_OK || openers[i].status == COUPON_E_LOCKED);
      if (openers[i].status == COUPON_OK) help_close(openers[i].engine);
    }
    cr_expect_eq(opened, 1);
  }
}

#define SOLD_BEFORE_THE_KILL 50

/* Opens, issues, and then goes on issuing until it is killed. */
static int issue_until_killed(struct help_child *self, void *context) {
  (void)context;
  coupon_engine *engine = open_sync(data);
  help_create(engine, 1, 1000000000);
  for (uint64_t user = 0;; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    if (coupon_issue(engine, 1, user, COUPON_FOREVER, &ticket) != COUPON_ISSUED) return 1;
    if (user + 1 == SOLD_BEFORE_THE_KILL) help_child_say(self, 1);
  }
}

Test(one_owner, a_killed_owner_leaves_no_stale_lock_and_loses_nothing_final) {
  for (int round = 0; round < 3; round++) {
    char name[32];
    (void)snprintf(name, sizeof name, "killed%d", round);
    (void)help_join(data, temp, name);
    struct help_child child;
    coupon_engine *engine;
    help_child_start(&child, issue_until_killed, NULL);
    cr_assert_eq(help_child_hear(&child), 1);
    cr_expect_eq(try_to_open(data, &engine), COUPON_E_LOCKED);
    help_child_kill(&child);
    engine = open_sync(data);
    uint64_t count;
    const char *wrong = help_audit(engine, 1, &count);
    cr_expect_null(wrong, "%s", wrong);
    cr_expect_geq(count, SOLD_BEFORE_THE_KILL);
    for (uint64_t user = 0; user < SOLD_BEFORE_THE_KILL; user++)
      cr_expect_eq(help_try(engine, 1, user), COUPON_ALREADY_ISSUED);
    help_close(engine);
  }
}

static int wait_for_a_word(struct help_child *self, void *context) {
  (void)context;
  return help_child_hear(self);
}

Test(one_owner, a_living_child_does_not_keep_the_directory_its_parent_has_closed) {
  coupon_engine *owner = open_sync(data);
  struct help_child child;
  help_child_start(&child, wait_for_a_word, NULL); /* has inherited every descriptor */
  help_close(owner);
  coupon_engine *next = NULL;
  cr_expect_eq(try_to_open(data, &next), COUPON_OK);
  if (next != NULL) help_close(next);
  help_child_say(&child, 0);
  cr_expect_eq(help_child_wait(&child, 20), 0);
}

/* Opens, forks a child that lives on, says its id, and waits to be killed. */
static int own_and_fork(struct help_child *self, void *context) {
  (void)context;
  coupon_engine *owner = open_sync(data);
  pid_t grandchild = fork();
  if (grandchild == 0) {
    (void)close(self->socket);
    for (;;) (void)pause();
  }
  help_child_say(self, grandchild);
  (void)help_child_hear(self);
  (void)owner;
  return 0;
}

Test(one_owner, a_living_child_does_not_keep_the_directory_its_parent_has_died_with) {
  struct help_child child;
  coupon_engine *next = NULL;
  help_child_start(&child, own_and_fork, NULL);
  pid_t grandchild = help_child_hear(&child);
  cr_assert_gt(grandchild, 0);
  cr_expect_eq(try_to_open(data, &next), COUPON_E_LOCKED);
  help_child_kill(&child);
  cr_expect_eq(kill(grandchild, 0), 0, "it lives");
  cr_expect_eq(try_to_open(data, &next), COUPON_OK);
  (void)kill(grandchild, SIGKILL);
  if (next != NULL) help_close(next);
}

Test(one_owner, several_engines_in_one_process_do_not_know_each_other) {
  enum { ENGINES = 4 };
  coupon_engine *engines[ENGINES + 1];
  char path[HELP_PATH_MAX], name[16];
  for (uint64_t i = 0; i < ENGINES; i++) {
    (void)snprintf(name, sizeof name, "engine%llu", (unsigned long long)i);
    engines[i] = open_sync(help_join(path, temp, name));
  }
  engines[ENGINES] = help_open_in_memory();
  for (uint64_t i = 0; i <= ENGINES; i++) {
    help_create(engines[i], 1, i + 1);
    for (uint64_t user = 0; user < 10; user++)
      cr_expect_eq(help_try(engines[i], 1, user), user <= i ? COUPON_ISSUED : COUPON_SOLD_OUT);
  }
  help_close(engines[1]); /* the others go on, and keep their locks */
  for (uint64_t i = 0; i < ENGINES; i++) {
    if (i == 1) continue;
    (void)snprintf(name, sizeof name, "engine%llu", (unsigned long long)i);
    coupon_engine *second;
    cr_expect_eq(try_to_open(help_join(path, temp, name), &second), COUPON_E_LOCKED);
    cr_expect_eq(help_try(engines[i], 1, 0), COUPON_ALREADY_ISSUED);
    help_close(engines[i]);
  }
  help_close(engines[ENGINES]);
}
