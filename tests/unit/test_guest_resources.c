/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what the library holds of the process: descriptors and threads of its own, how many, of what kind, and that it
 * gives them back, also where opening fails half way. How: by looking with fcntl() and in /proc/self/task, with a disk
 * that fails, with a limit for descriptors, and with a system that refuses each thread in turn.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support/guest.h"

ON_DISK_SUITE(descriptors);
ON_DISK_SUITE(own_threads);

/* --- descriptors --------------------------------------------------------------------------------- */

#define DESCRIPTORS 1024

static void list_descriptors(bool open[DESCRIPTORS]) {
  for (int fd = 0; fd < DESCRIPTORS; fd++) open[fd] = fcntl(fd, F_GETFD) >= 0;
}

static int count_new_descriptors(const bool before[DESCRIPTORS]) {
  int count = 0;
  for (int fd = 0; fd < DESCRIPTORS; fd++) count += !before[fd] && fcntl(fd, F_GETFD) >= 0;
  return count;
}

Test(descriptors, are_all_close_on_exec_and_all_closed_in_the_end) {
  bool before[DESCRIPTORS];
  list_descriptors(before);
  for (int32_t read_only = 0; read_only <= 1; read_only++) {
    struct coupon_options options = help_options(COUPON_SYNC);
    options.read_only = read_only;
    options.segment_size_bytes = 4096;
    coupon_engine *engine = help_open(data, &options);
    int fd = -1, fresh = 0;
    cr_assert_eq(coupon_eventfd(engine, &fd), COUPON_OK);
    cr_expect_neq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    if (read_only == 0) help_create(engine, 1, 100);
    for (uint64_t user = 0; read_only == 0 && user < 20; user++) { /* some segments further */
      struct coupon_ticket ticket = COUPON_TICKET_INIT;
      cr_assert_eq(coupon_issue(engine, 1, user, COUPON_FOREVER, &ticket), COUPON_ISSUED);
    }
    for (int i = 0; i < DESCRIPTORS; i++) {
      int flags = fcntl(i, F_GETFD);
      if (before[i] || flags < 0) continue;
      fresh++;
      cr_expect_neq(flags & FD_CLOEXEC, 0, "descriptor %d would be inherited", i);
    }
    cr_expect_gt(fresh, 1);
    cr_expect_lt(fresh, 7, "descriptors pile up");
    help_close(engine);
    cr_expect_eq(count_new_descriptors(before), 0);
  }
}

Test(descriptors, an_engine_in_memory_needs_none) {
  bool before[DESCRIPTORS];
  list_descriptors(before);
  coupon_engine *engine = help_open_in_memory();
  help_create(engine, 1, 10);
  cr_expect_eq(count_new_descriptors(before), 0);
  help_close(engine);
}

/* Opens with the fault at the first call of the disk, the second … */
static void fail_opening_at_each(enum help_disk_op op) {
  bool before[DESCRIPTORS];
  coupon_engine *engine = NULL;
  int failures = 0;
  list_descriptors(before);
  for (uint64_t at = 1; engine == NULL; at++) {
    char name[32];
    (void)snprintf(name, sizeof name, "%d-%llu", (int)op, (unsigned long long)at);
    (void)help_join(data, temp, name);
    help_disk_init(&disk);
    disk.error = EIO;
    disk.fail_op = op;
    disk.fail_at = at;
    struct coupon_options options = help_options(COUPON_SYNC);
    struct coupon_report report = COUPON_REPORT_INIT;
    coupon_status status = cpn_engine_open(&env, data, &options, &engine, &report);
    if (status == COUPON_OK) break;
    failures++;
    cr_expect_eq(status, COUPON_E_IO, "%s", coupon_status_name(status));
    cr_expect_eq(count_new_descriptors(before), 0);
    help_close(open_sync(data)); /* neither lock nor half a file is in the way */
  }
  cr_expect_gt(failures, 1);
  disk.fail_at = 0;
  help_close(engine);
}

Test(descriptors, an_opening_that_fails_at_a_write_leaves_none) { fail_opening_at_each(HELP_WRITE); }

Test(descriptors, an_opening_that_fails_at_a_sync_leaves_none) { fail_opening_at_each(HELP_SYNC); }

Test(descriptors, an_opening_that_fails_at_a_rename_leaves_none) { fail_opening_at_each(HELP_OTHER); }

/* The lowest descriptor that is free. */
static int next_descriptor(void) {
  int fd = dup(0);
  cr_assert_geq(fd, 0);
  (void)close(fd);
  return fd;
}

static void allow_descriptors(rlim_t count) {
  struct rlimit limit;
  cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = count;
  cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

Test(descriptors, none_to_be_had_is_a_fault_of_its_own_and_leaves_nothing_behind) {
  bool before[DESCRIPTORS];
  struct rlimit limit;
  list_descriptors(before);
  cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
  help_close(open_sync(data));
  coupon_engine *engine = NULL;
  rlim_t allowed = (rlim_t)next_descriptor();
  int refused = 0;
  for (; engine == NULL; allowed++) {
    struct coupon_report report = COUPON_REPORT_INIT;
    allow_descriptors(allowed);
    coupon_status status = coupon_open(data, NULL, &engine, &report);
    if (status == COUPON_OK) break;
    refused++;
    cr_expect_eq(status, COUPON_E_THREAD, "%s", coupon_status_name(status));
    cr_expect_eq(report.os_error, EMFILE);
    cr_expect_eq(count_new_descriptors(before), 0);
  }
  cr_expect_gt(refused, 1);
  int fd = -1;
  allow_descriptors(limit.rlim_cur);
  allow_descriptors((rlim_t)next_descriptor());
  cr_expect_eq(coupon_eventfd(engine, &fd), COUPON_E_THREAD);
  allow_descriptors(limit.rlim_cur);
  cr_expect_eq(coupon_eventfd(engine, &fd), COUPON_OK);
  help_close(engine);
}

/* --- the library's own threads ------------------------------------------------------------------- */

#define TASKS_MAX 64
#define COMMIT "coupon-commit"
#define KEEPER "coupon-keeper"
#define SEGMENTS "coupon-segments"
#define CHECKPOINT "coupon-checkpt"

static int list_tasks(pid_t tasks[TASKS_MAX]) {
  int count = 0;
  DIR *directory = opendir("/proc/self/task");
  cr_assert_not_null(directory);
  for (struct dirent *entry; (entry = readdir(directory)) != NULL && count < TASKS_MAX;) {
    if (entry->d_name[0] != '.') tasks[count++] = (pid_t)strtol(entry->d_name, NULL, 10);
  }
  (void)closedir(directory);
  return count;
}

static pid_t find_thread(const char *wanted) {
  pid_t tasks[TASKS_MAX], found = 0;
  int count = list_tasks(tasks);
  for (int i = 0; i < count; i++) {
    char name[64];
    read_task(tasks[i], "comm", "", name, sizeof name);
    name[strcspn(name, "\n")] = 0;
    if (strcmp(name, wanted) == 0) found = tasks[i];
  }
  return found;
}

static bool threads_are_gone(void *context) {
  (void)context;
  return find_thread(COMMIT) == 0 && find_thread(KEEPER) == 0 && find_thread(SEGMENTS) == 0 &&
         find_thread(CHECKPOINT) == 0;
}

static void expect_every_signal_blocked(pid_t thread) {
  char text[64];
  cr_assert_neq(thread, 0);
  read_task(thread, "status", "SigBlk:", text, sizeof text);
  uint64_t blocked = strtoull(text, NULL, 16);
  for (int number = 1; number <= 64; number++) {
    bool cannot_be = number == SIGKILL || number == SIGSTOP || number == 32 || number == 33; /* the last: glibc's own */
    if (!cannot_be) cr_expect_neq(blocked >> (number - 1) & 1, 0, "signal %d", number);
  }
}

static bool keeper_sleeps(void *context) { return atomic_load(&((coupon_engine *)context)->keeper_sleeps) != 0; }

Test(own_threads, are_four_with_a_log_and_bear_their_names_and_block_every_signal) {
  pid_t before[TASKS_MAX], after[TASKS_MAX];
  int count_before = list_tasks(before);
  coupon_engine *engine = open_sync(data);
  cr_expect_eq(list_tasks(after), count_before + 4);
  /* All are past their start, in which glibc blocks everything by itself. */
  help_create(engine, 1, 10);
  cr_assert(help_until(keeper_sleeps, engine));
  cr_assert_eq(coupon_checkpoint(engine, COUPON_FOREVER), COUPON_OK);
  expect_every_signal_blocked(find_thread(COMMIT));
  expect_every_signal_blocked(find_thread(KEEPER));
  expect_every_signal_blocked(find_thread(SEGMENTS));
  expect_every_signal_blocked(find_thread(CHECKPOINT));
  help_close(engine);
  cr_expect(help_until(threads_are_gone, NULL));
}

Test(own_threads, there_is_only_the_keeper_in_memory) {
  pid_t before[TASKS_MAX], after[TASKS_MAX];
  int count_before = list_tasks(before);
  coupon_engine *engine = help_open_in_memory();
  cr_expect_eq(list_tasks(after), count_before + 1);
  cr_expect_eq(find_thread(COMMIT), 0);
  cr_assert(help_until(keeper_sleeps, engine));
  expect_every_signal_blocked(find_thread(KEEPER));
  help_close(engine);
  cr_expect(help_until(threads_are_gone, NULL));
}

Test(own_threads, there_is_none_for_reading) {
  help_close(open_sync(data));
  cr_assert(help_until(threads_are_gone, NULL));
  pid_t before[TASKS_MAX], after[TASKS_MAX];
  int count_before = list_tasks(before);
  coupon_engine *engine = open_read_only();
  cr_expect_eq(list_tasks(after), count_before);
  help_close(engine);
}

static const char *refused_thread;

static int start_all_but_one(void *context, pthread_t *thread, const char *name, void *(*run)(void *), void *argument) {
  if (strcmp(name, refused_thread) == 0) return -EAGAIN;
  return cpn_env_system.start_thread(context, thread, name, run, argument);
}

static void expect_refusal_to_leave_nothing(const char *name, int32_t durability) {
  bool before[DESCRIPTORS];
  list_descriptors(before);
  struct coupon_options options = help_options(durability);
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine = NULL;
  refused_thread = name;
  env.start_thread = start_all_but_one;
  const char *path = durability == COUPON_NONE ? NULL : data;
  cr_expect_eq(cpn_engine_open(&env, path, &options, &engine, &report), COUPON_E_THREAD);
  cr_expect_null(engine);
  cr_expect_eq(report.status, COUPON_E_THREAD);
  cr_expect_eq(report.os_error, EAGAIN);
  cr_expect_eq(count_new_descriptors(before), 0);
  cr_expect(help_until(threads_are_gone, NULL), "the other one is left behind");
  help_close(path != NULL ? open_sync(path) : help_open_in_memory());
}

Test(own_threads, a_commit_thread_that_the_system_refuses_is_a_fault_and_leaves_nothing_behind) {
  expect_refusal_to_leave_nothing(COMMIT, COUPON_SYNC);
}

Test(own_threads, a_maker_of_segments_that_the_system_refuses_is_a_fault_and_leaves_nothing_behind) {
  expect_refusal_to_leave_nothing(SEGMENTS, COUPON_SYNC);
}

Test(own_threads, a_keeper_that_the_system_refuses_is_a_fault_and_leaves_nothing_behind) {
  expect_refusal_to_leave_nothing(KEEPER, COUPON_SYNC);
}

Test(own_threads, one_for_checkpoints_that_is_refused_is_a_fault_that_leaves_nothing) {
  expect_refusal_to_leave_nothing(CHECKPOINT, COUPON_SYNC);
}

Test(own_threads, a_keeper_that_is_refused_in_memory_is_a_fault_too) {
  expect_refusal_to_leave_nothing(KEEPER, COUPON_NONE);
}
