/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Criterion tests of an engine on a real directory share: the directory, a disk that fails, holds or stutters,
 * an engine that commits when the test says so, and threads that wait for finality. One program includes it once.
 */
#ifndef TESTS_SUPPORT_ON_DISK_H
#define TESTS_SUPPORT_ON_DISK_H

#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine.h"
#include "support/engine_help.h"
#include "support/failing.h"

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

#define ON_DISK_SUITE(name) TestSuite(name, .init = begin, .fini = end, .timeout = HANGS_AFTER_S)

/* An engine that commits when the test says so. */
__attribute__((unused)) static coupon_engine *open_stepped(uint64_t log_buffer_bytes) {
  env = help_disk_env(&disk, false);
  struct coupon_options options = help_options(COUPON_SYNC);
  options.log_buffer_bytes = log_buffer_bytes;
  return help_open_env(&env, data, &options);
}

__attribute__((unused)) static void step(coupon_engine *engine) {
  while (cpn_wait_step(engine) > 0) {
  }
}

__attribute__((unused)) static void create_stepped(coupon_engine *engine, uint64_t id, uint64_t stock) {
  struct coupon_campaign_spec spec = help_spec(id, stock);
  cr_assert_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  step(engine);
}

__attribute__((unused)) static struct coupon_ticket ask(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                                        int64_t deadline, coupon_status expected) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = coupon_issue(engine, campaign, user, deadline, &ticket);
  cr_assert_eq(status, expected, "user %llu got %s", (unsigned long long)user, coupon_status_name(status));
  return ticket;
}

__attribute__((unused)) static void expect_sound(coupon_engine *engine, uint64_t campaign) {
  uint64_t count;
  const char *wrong = help_audit(engine, campaign, &count);
  cr_expect_null(wrong, "%s", wrong);
}

/* In `data`: campaign 1 and the tickets of users 0 to 4. */
__attribute__((unused)) static void make_directory_with_tickets(void) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, 100);
  for (uint64_t user = 0; user < 5; user++) (void)ask(engine, 1, user, COUPON_FOREVER, COUPON_ISSUED);
  help_close(engine);
}

__attribute__((unused)) static uint64_t calls_after_fault(void) {
  return disk.calls_after_fault[HELP_WRITE] + disk.calls_after_fault[HELP_SYNC] + disk.calls_after_fault[HELP_OTHER];
}

#define WAITERS 8

struct waiter {
  coupon_engine *engine;
  uint64_t user;
  coupon_status status;
  struct coupon_ticket ticket;
};

__attribute__((unused)) static void *issue_and_wait(void *argument) {
  struct waiter *waiter = argument;
  waiter->ticket = (struct coupon_ticket)COUPON_TICKET_INIT;
  waiter->status = coupon_issue(waiter->engine, 1, waiter->user, COUPON_FOREVER, &waiter->ticket);
  return NULL;
}

__attribute__((unused)) static void start_waiters(struct waiter *waiters, pthread_t *threads, int count,
                                                  coupon_engine *engine, uint64_t first_user) {
  for (int i = 0; i < count; i++) {
    waiters[i] = (struct waiter){.engine = engine, .user = first_user + (uint64_t)i, .status = COUPON_E_INVAL};
    cr_assert_eq(pthread_create(&threads[i], NULL, issue_and_wait, &waiters[i]), 0);
  }
}

__attribute__((unused)) static void remember_level(void *context, int32_t level, const char *message) {
  int32_t *worst = context;
  if (strlen(message) > 0 && level < *worst) *worst = level;
}

/* Overwrites bytes of a file. */
__attribute__((unused)) static void scribble(const char *directory, const char *name, off_t offset, int value,
                                             size_t size) {
  char path[HELP_PATH_MAX], bytes[512];
  cr_assert_leq(size, sizeof bytes);
  memset(bytes, value, sizeof bytes);
  int file = open(help_join(path, directory, name), O_WRONLY | O_CLOEXEC);
  cr_assert_geq(file, 0);
  cr_assert_eq(pwrite(file, bytes, size, offset), (ssize_t)size);
  (void)close(file);
}

#endif
