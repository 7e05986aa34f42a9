/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the library is a good guest in somebody else's process: it leaves errno, signals, descriptors, umask,
 * locale and the standard streams alone, survives fork(), cancellation, signals and short-lived threads, and keeps a
 * directory for one engine at a time, in this process and among all others. How: by looking at the process (/proc,
 * sigaction(), fcntl()) before and after, and with child processes that open, fork, and are killed.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <locale.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/points.h"
#include "engine/engine.h"
#include "support/engine_help.h"
#include "support/every_call.h"
#include "support/failing.h"
#include "support/on_disk.h"

ON_DISK_SUITE(error_number);
ON_DISK_SUITE(descriptors);
ON_DISK_SUITE(own_threads);
ON_DISK_SUITE(process);
ON_DISK_SUITE(fork);
ON_DISK_SUITE(one_owner);
ON_DISK_SUITE(modes);
ON_DISK_SUITE(threads);
ON_DISK_SUITE(cancellation);
ON_DISK_SUITE(signals);

static coupon_engine *open_sync(const char *path) {
  struct coupon_options options = help_options(COUPON_SYNC);
  return help_open(path, &options);
}

/* --- errno --------------------------------------------------------------------------------------- */

/* A number that no system call sets. */
#define UNTOUCHED 12345

#define EXPECT_ERRNO_KEPT(call)                                            \
  do {                                                                     \
    errno = UNTOUCHED;                                                     \
    (void)!(call);                                                         \
    int after = errno;                                                     \
    cr_expect_eq(after, UNTOUCHED, "errno is %d behind %s", after, #call); \
  } while (0)

static void expect_errno_kept_by_all(coupon_engine *engine, int count) {
  for (int i = 0; i < count; i++) {
    errno = UNTOUCHED;
    (void)!help_calls[i].call(engine);
    int after = errno;
    cr_expect_eq(after, UNTOUCHED, "errno is %d behind %s", after, help_calls[i].name);
  }
}

Test(error_number, is_kept_by_every_call_in_every_state) {
  coupon_engine *engine = NULL;
  EXPECT_ERRNO_KEPT(coupon_open(data, NULL, &engine, NULL));
  cr_assert_not_null(engine);
  for (int round = 0; round < 2; round++) expect_errno_kept_by_all(engine, HELP_CALLS_BUT_LAST_TWO);
  EXPECT_ERRNO_KEPT(coupon_status_name(COUPON_OK)[0] == 0);
  EXPECT_ERRNO_KEPT(coupon_strerror(COUPON_E_IO)[0] == 0);
  EXPECT_ERRNO_KEPT(coupon_version()[0] == 0);
  EXPECT_ERRNO_KEPT(coupon_deadline_after(5));
  expect_errno_kept_by_all(NULL, HELP_CALLS);
  EXPECT_ERRNO_KEPT(coupon_close(engine));
  expect_errno_kept_by_all(engine, HELP_CALLS); /* closed, until the last one frees it */
}

Test(error_number, is_kept_by_calls_that_fail) {
  coupon_engine *engine, *other;
  char path[HELP_PATH_MAX];
  struct coupon_options options = help_options(COUPON_SYNC);
  EXPECT_ERRNO_KEPT(coupon_open(NULL, &options, &other, NULL));
  EXPECT_ERRNO_KEPT(coupon_open("/nowhere/at/all", &options, &other, NULL));
  options.read_only = 1;
  EXPECT_ERRNO_KEPT(coupon_open(help_join(path, temp, "absent"), &options, &other, NULL));
  options.read_only = 0;
  engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 10);
  EXPECT_ERRNO_KEPT(coupon_open(data, &options, &other, NULL)); /* locked */
  disk.error = EIO;
  disk.fail_op = HELP_SYNC;
  disk.fail_at = disk.calls[HELP_SYNC] + 1;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  EXPECT_ERRNO_KEPT(coupon_issue(engine, 1, 5, COUPON_FOREVER, &ticket));
  expect_errno_kept_by_all(engine, HELP_CALLS); /* failed, closed, freed */
}

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

/* A line of /proc/self/task/ID/status behind its name, or of .../comm. */
static void read_task(pid_t task, const char *file, const char *name, char *value, size_t size) {
  char path[64], line[256];
  (void)snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)task, file);
  FILE *stream = fopen(path, "re");
  cr_assert_not_null(stream);
  value[0] = 0;
  while (fgets(line, sizeof line, stream) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0) (void)snprintf(value, size, "%s", line + strlen(name));
  }
  (void)fclose(stream);
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
  struct coupon_options options = help_options(COUPON_SYNC);
  options.read_only = 1;
  coupon_engine *engine = help_open(data, &options);
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

/* --- the process --------------------------------------------------------------------------------- */

/* A life with everything in it: issuing, failing, being refused, recovering. */
static void live(void) {
  char path[HELP_PATH_MAX];
  coupon_engine *engine = open_sync(data), *other;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  for (int i = 0; i < HELP_CALLS_BUT_LAST_TWO; i++) (void)!help_calls[i].call(engine);
  (void)!coupon_open(data, NULL, &other, NULL); /* locked */
  (void)help_find_lenient_call(engine);
  help_close(engine);
  struct coupon_options options = help_options(COUPON_SYNC);
  options.read_only = 1;
  help_close(help_open(data, &options));
  options.read_only = 0;
  engine = help_open_env(&env, help_join(path, temp, "failing"), &options);
  help_create(engine, 1, 10);
  disk.error = EIO;
  disk.fail_op = HELP_WRITE;
  disk.fail_at = disk.calls[HELP_WRITE] + 1;
  (void)!coupon_issue(engine, 1, 5, COUPON_FOREVER, &ticket);
  (void)coupon_destroy(engine);
  int file = open(help_join(path, data, "manifest"), O_WRONLY | O_CLOEXEC);
  cr_assert_eq(pwrite(file, "damage", 6, 60), 6);
  (void)close(file);
  cr_assert_eq(coupon_open(data, &options, &other, NULL), COUPON_E_CORRUPT);
  help_close(help_open_in_memory());
}

Test(process, nothing_is_printed) {
  char path[HELP_PATH_MAX];
  (void)fflush(NULL);
  int out = dup(1), err = dup(2);
  int file = open(help_join(path, temp, "printed"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  cr_assert(out >= 0 && err >= 0 && file >= 0);
  cr_assert(dup2(file, 1) == 1 && dup2(file, 2) == 2);
  live();
  (void)fflush(NULL);
  cr_assert(dup2(out, 1) == 1 && dup2(err, 2) == 2);
  char text[512] = "";
  cr_expect_eq(pread(file, text, sizeof text - 1, 0), 0, "printed: %s", text);
  (void)close(out);
  (void)close(err);
  (void)close(file);
}

#define SIGNALS 64

struct surroundings {
  struct sigaction actions[SIGNALS + 1];
  sigset_t mask;
  mode_t umask;
  char directory[HELP_PATH_MAX];
  char locale[256];
  int cancel_state, cancel_type;
  struct rlimit limits[RLIM_NLIMITS];
  int nice;
};

static void look_around(struct surroundings *seen) {
  memset(seen, 0, sizeof *seen);
  for (int i = 1; i <= SIGNALS; i++) (void)sigaction(i, NULL, &seen->actions[i]);
  (void)pthread_sigmask(SIG_BLOCK, NULL, &seen->mask);
  seen->umask = umask(0);
  (void)umask(seen->umask);
  cr_assert_not_null(getcwd(seen->directory, sizeof seen->directory));
  (void)snprintf(seen->locale, sizeof seen->locale, "%s", setlocale(LC_ALL, NULL));
  (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &seen->cancel_state);
  (void)pthread_setcancelstate(seen->cancel_state, NULL);
  (void)pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &seen->cancel_type);
  (void)pthread_setcanceltype(seen->cancel_type, NULL);
  for (int i = 0; i < RLIM_NLIMITS; i++) (void)getrlimit((__rlimit_resource_t)i, &seen->limits[i]);
  seen->nice = getpriority(PRIO_PROCESS, 0);
}

Test(process, signals_umask_directory_locale_and_limits_are_left_alone) {
  struct surroundings before, after;
  (void)umask(0135);
  look_around(&before);
  live();
  look_around(&after);
  for (int i = 1; i <= SIGNALS; i++) {
    cr_expect_eq(before.actions[i].sa_handler, after.actions[i].sa_handler, "signal %d", i);
    cr_expect_eq(before.actions[i].sa_flags, after.actions[i].sa_flags, "signal %d", i);
    cr_expect_eq(sigismember(&before.mask, i), sigismember(&after.mask, i), "signal %d", i);
  }
  cr_expect_eq(before.umask, after.umask);
  cr_expect_str_eq(before.directory, after.directory);
  cr_expect_str_eq(before.locale, after.locale);
  cr_expect_eq(before.cancel_state, after.cancel_state);
  cr_expect_eq(before.cancel_type, after.cancel_type);
  cr_expect_eq(memcmp(before.limits, after.limits, sizeof before.limits), 0);
  cr_expect_eq(before.nice, after.nice);
}

/* --- fork ---------------------------------------------------------------------------------------- */

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
  struct coupon_options options = help_options(COUPON_SYNC);
  options.read_only = 1;
  engine = help_open(data, &options);
  expect_forked_in_child(engine);
  help_close(engine);
}

Test(fork, forked_comes_before_closed_and_before_failed) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 10);
  disk.error = EIO;
  disk.fail_op = HELP_SYNC;
  disk.fail_at = disk.calls[HELP_SYNC] + 1;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_issue(engine, 1, 5, COUPON_FOREVER, &ticket), COUPON_E_FAILED);
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

/* --- one owner ----------------------------------------------------------------------------------- */

static coupon_status try_to_open(const char *path, coupon_engine **engine) {
  struct coupon_options options = help_options(COUPON_SYNC);
  return coupon_open(path, &options, engine, NULL);
}

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
  struct coupon_options options = help_options(COUPON_SYNC);
  options.read_only = 1;
  help_close(help_open(data, &options));
  coupon_status status = status_elsewhere(&child);
  cr_expect_eq(status, COUPON_E_LOCKED, "the snapshot has let the owner's lock go: %s", coupon_status_name(status));
  help_close(owner);
  end_child(&child);
}

Test(one_owner, a_failed_engine_keeps_its_directory_until_it_is_closed) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options), *second;
  help_create(engine, 1, 10);
  disk.error = EIO;
  disk.fail_op = HELP_SYNC;
  disk.fail_at = disk.calls[HELP_SYNC] + 1;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_issue(engine, 1, 5, COUPON_FOREVER, &ticket), COUPON_E_FAILED);
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

/* --- modes and paths ----------------------------------------------------------------------------- */

/* The superuser is asked for no permission; from here on this thread is, as everybody else. */
static void drop_privileges(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
  HELP_CHECK(syscall(SYS_capget, &header, sets) == 0);
  sets[0].effective &= ~(1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH);
  HELP_CHECK(syscall(SYS_capset, &header, sets) == 0);
}

static mode_t mode_of(const char *path) {
  struct stat status;
  cr_assert_eq(stat(path, &status), 0, "%s", path);
  return status.st_mode & 07777;
}

/* Under this umask; the exit status is that of opening, negated. */
static int create_under_umask(struct help_child *self, void *context) {
  (void)self;
  (void)umask(*(mode_t *)context);
  drop_privileges();
  coupon_engine *engine;
  coupon_status status = try_to_open(data, &engine);
  if (status != COUPON_OK) return -status;
  help_create(engine, 1, 1000);
  for (uint64_t user = 0; user < 40; user++) { /* more than a segment */
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    if (coupon_issue(engine, 1, user, COUPON_FOREVER, &ticket) != COUPON_ISSUED) return 100;
  }
  help_close(engine);
  return try_to_open(data, &engine) == COUPON_OK ? -coupon_destroy(engine) : 101; /* what it made it can use */
}

static void expect_modes_under(mode_t mask) {
  const char *names[] = {"manifest", "lock", "owner", "0000000000000001.log", "0000000000000002.log"};
  char path[HELP_PATH_MAX];
  struct help_child child;
  help_child_start(&child, create_under_umask, &mask);
  int code = help_child_wait(&child, 20);
  cr_assert_eq(code, 0, "%s", coupon_status_name(-code));
  cr_expect_eq(mode_of(data), 0700);
  for (int i = 0; i < 5; i++) cr_expect_eq(mode_of(help_join(path, data, names[i])), 0600, "%s", names[i]);
}

Test(modes, are_0700_and_0600_under_a_umask_that_takes_nothing_away) { expect_modes_under(0); }

Test(modes, are_0700_and_0600_under_a_umask_that_takes_everything_away) { expect_modes_under(0777); }

Test(modes, of_a_directory_that_was_there_stay) {
  cr_assert_eq(mkdir(data, 0755), 0);
  cr_assert_eq(chmod(data, 0755), 0);
  help_close(open_sync(data));
  cr_expect_eq(mode_of(data), 0755);
}

Test(modes, what_is_no_directory_is_refused) {
  char path[HELP_PATH_MAX], missing[HELP_PATH_MAX];
  coupon_engine *engine;
  struct coupon_options options = help_options(COUPON_SYNC);
  int file = open(help_join(path, temp, "file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  cr_assert_eq(write(file, "mine", 4), 4);
  (void)close(file);
  for (options.read_only = 0; options.read_only <= 1; options.read_only++) {
    cr_expect_eq(coupon_open(path, &options, &engine, NULL), COUPON_E_ACCESS);
    cr_expect_null(engine);
    cr_expect_eq(coupon_open(help_join(missing, temp, "missing/data"), &options, &engine, NULL), COUPON_E_ACCESS);
    cr_expect_null(engine);
  }
  struct stat status;
  cr_expect_eq(stat(path, &status), 0);
  cr_expect_eq(status.st_size, 4);
  char longest[400];
  memset(longest, 'x', sizeof longest);
  longest[sizeof longest - 1] = 0;
  cr_expect_eq(coupon_open(longest, NULL, &engine, NULL), COUPON_E_ACCESS);
}

static int open_without_permission(struct help_child *self, void *context) {
  (void)self, (void)context;
  drop_privileges();
  coupon_engine *engine;
  return -try_to_open(data, &engine);
}

Test(modes, what_may_not_be_used_is_refused) {
  struct help_child child;
  help_close(open_sync(data));
  cr_assert_eq(chmod(data, 0), 0);
  help_child_start(&child, open_without_permission, NULL);
  cr_expect_eq(help_child_wait(&child, 20), -COUPON_E_ACCESS);
  cr_assert_eq(chmod(data, 0700), 0);
  help_close(open_sync(data));
}

/* --- threads that come and go -------------------------------------------------------------------- */

#define SHORT_LIVED 10000
#define ALIVE 100

static coupon_engine *engine_of_many;
static _Atomic uint64_t many_issued;

static void *issue_one(void *argument) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t user = (uint64_t)(uintptr_t)argument;
  many_issued += coupon_issue(engine_of_many, 1, user, COUPON_FOREVER, &ticket) == COUPON_ISSUED;
  return NULL;
}

static void run_short_lived(uint64_t from, uint64_t to) {
  for (uint64_t user = from; user < to; user += ALIVE) {
    pthread_t threads[ALIVE];
    for (uint64_t i = 0; i < ALIVE; i++)
      cr_assert_eq(pthread_create(&threads[i], NULL, issue_one, (void *)(uintptr_t)(user + i)), 0);
    for (int i = 0; i < ALIVE; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  }
}

static uint64_t resident_bytes(void) {
  char text[64];
  read_task(getpid(), "status", "VmRSS:", text, sizeof text);
  return strtoull(text, NULL, 10) * 1024;
}

/* The same tickets from one thread: what they cost. */
static uint64_t memory_of_tickets(void) {
  coupon_engine *engine = help_open_in_memory();
  help_create(engine, 1, SHORT_LIVED);
  for (uint64_t user = 0; user < SHORT_LIVED; user++) cr_assert_eq(help_try(engine, 1, user), COUPON_ISSUED);
  uint64_t memory = help_stats(engine).memory_bytes;
  help_close(engine);
  return memory;
}

Test(threads, ten_thousand_that_issue_one_each_strand_neither_units_nor_memory) {
  /* A few hundred bytes kept of each thread would show; the tickets themselves are some 0.3 MiB. A sanitizer keeps
   * things of its own. */
  const uint64_t slack = help_sanitized() ? UINT64_C(64) << 20 : UINT64_C(2) << 20;
  engine_of_many = help_open_in_memory();
  help_create(engine_of_many, 1, SHORT_LIVED);
  run_short_lived(0, SHORT_LIVED / 2);
  uint64_t half = resident_bytes();
  run_short_lived(SHORT_LIVED / 2, SHORT_LIVED);
  uint64_t whole = resident_bytes();
  cr_expect_eq(many_issued, SHORT_LIVED);
  cr_expect_eq(help_info(engine_of_many, 1).remaining, 0);
  uint64_t count;
  const char *wrong = help_audit(engine_of_many, 1, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, SHORT_LIVED);
  cr_expect_lt(whole, half + slack, "%llu bytes more", (unsigned long long)(whole - half));
  /* Not to the byte: how far ahead of the tickets the keeper has made memory ready is a matter of moments. */
  cr_expect_leq(help_stats(engine_of_many).memory_bytes, 2 * memory_of_tickets());
  help_close(engine_of_many);
}

Test(threads, a_thousand_that_come_and_go_are_served_from_the_log_too) {
  engine_of_many = open_sync(data);
  help_create(engine_of_many, 1, 500);
  run_short_lived(0, 1000);
  cr_expect_eq(many_issued, 500);
  help_close(engine_of_many);
  engine_of_many = open_sync(data);
  uint64_t count;
  const char *wrong = help_audit(engine_of_many, 1, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, 500);
  help_close(engine_of_many);
}

/* --- cancellation -------------------------------------------------------------------------------- */

struct victim {
  coupon_engine *engine;
  int type;
  struct coupon_ticket ticket;
  coupon_status status;
  _Atomic bool returned;
};

static void *issue_as_victim(void *argument) {
  struct victim *victim = argument;
  int before;
  (void)pthread_setcanceltype(victim->type, &before);
  pthread_cleanup_push(help_forget_frames, NULL);
  victim->status = coupon_issue(victim->engine, 1, 5, COUPON_FOREVER, &victim->ticket);
  victim->returned = true;
  pthread_testcancel();
  pthread_cleanup_pop(0);
  return NULL;
}

static void cancel_inside_issue(int type) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 10);
  struct victim victim = {.engine = engine, .type = type, .ticket = COUPON_TICKET_INIT, .status = COUPON_E_INVAL};
  pthread_t thread;
  void *ended;
  help_disk_hold(&disk);
  cr_assert_eq(pthread_create(&thread, NULL, issue_as_victim, &victim), 0);
  help_disk_wait_held(&disk); /* its ticket is being made durable: the thread is inside */
  cr_assert_eq(pthread_cancel(thread), 0);
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(thread, &ended), 0);
  if (type == PTHREAD_CANCEL_DEFERRED) {
    cr_expect(victim.returned);
    cr_expect_eq(victim.status, COUPON_ISSUED);
    cr_expect_eq(ended, PTHREAD_CANCELED); /* otherwise glibc 2.36 forgets to say so */
  }
  /* The call's effects are complete even where the thread ended on its last step. */
  cr_expect_eq(victim.ticket.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(victim.ticket.number, 1);
  cr_expect_eq(atomic_load(&engine->visitors), 0);
  struct coupon_ticket again = COUPON_TICKET_INIT;
  cr_expect_eq(coupon_issue(engine, 1, 5, COUPON_FOREVER, &again), COUPON_ALREADY_ISSUED);
  cr_expect(help_same_ticket(&again, &victim.ticket));
  help_create(engine, 2, 10);
  help_close(engine);
}

Test(cancellation, deferred_does_not_take_effect_inside_a_call_that_waits) {
  cancel_inside_issue(PTHREAD_CANCEL_DEFERRED);
}

Test(cancellation, asynchronous_does_not_take_effect_inside_a_call_that_waits) {
  cancel_inside_issue(PTHREAD_CANCEL_ASYNCHRONOUS);
}

#define CANCELLED 300
#define CANCELLED_USERS 50

struct loop {
  coupon_engine *engine;
  uint64_t first_user;
  _Atomic uint64_t turns;
};

static void *issue_without_end(void *argument) {
  struct loop *loop = argument;
  int before;
  (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
  pthread_cleanup_push(help_forget_frames, NULL);
  for (uint64_t i = 0; loop->turns < UINT64_MAX; i++) {
    /* A call that may wait, though not here: the others do not hold this type off. */
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    (void)!coupon_issue(loop->engine, 1, loop->first_user + i % CANCELLED_USERS, COUPON_POLL, &ticket);
    loop->turns++;
  }
  pthread_cleanup_pop(0);
  return NULL;
}

static void cancel_at_any_moment(int32_t durability) {
  struct coupon_options options = help_options(durability);
  options.log_buffer_bytes = UINT64_C(1) << 20; /* room for all tickets: nobody is told to ask again */
  coupon_engine *engine = help_open(durability == COUPON_NONE ? NULL : data, &options);
  help_create(engine, 1, (uint64_t)CANCELLED * CANCELLED_USERS);
  uint64_t state = help_seed();
  for (uint64_t i = 0; i < CANCELLED; i++) {
    struct loop loop = {.engine = engine, .first_user = i * CANCELLED_USERS};
    uint64_t turns = help_random(&state) % (2 * CANCELLED_USERS);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, issue_without_end, &loop), 0);
    while (loop.turns < turns) (void)sched_yield();
    cr_assert_eq(pthread_cancel(thread), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
  }
  /* A claim left pending would hang these, a read-side critical section left open would hang close. */
  for (uint64_t user = 0; user < (uint64_t)CANCELLED * CANCELLED_USERS; user++) {
    coupon_status status = help_try(engine, 1, user);
    cr_expect(status == COUPON_ISSUED || status == COUPON_ALREADY_ISSUED, "%s", coupon_status_name(status));
  }
  cr_expect_eq(help_ask(engine, 1, UINT64_MAX), COUPON_SOLD_OUT); /* rests on all of them: a hole would hang it */
  uint64_t count;
  const char *wrong = help_audit(engine, 1, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, CANCELLED * CANCELLED_USERS);
  help_close(engine);
}

Test(cancellation, asynchronous_at_any_moment_leaves_no_claim_pending_and_no_lock_held) {
  cancel_at_any_moment(COUPON_NONE);
}

Test(cancellation, asynchronous_at_any_moment_leaves_no_hole_in_the_log_either) {
  cancel_at_any_moment(COUPON_WRITTEN);
}

static _Atomic int calls_survived;

static void *call_all_while_cancelled(void *unused) {
  char path[HELP_PATH_MAX];
  coupon_engine *engine;
  pthread_cleanup_push(help_forget_frames, unused);
  (void)pthread_cancel(pthread_self()); /* pending from here on: the next cancellation point is the last */
  calls_survived = try_to_open(help_join(path, temp, "while cancelled"), &engine) == COUPON_OK;
  for (int i = 0; i < HELP_CALLS; i++) {
    (void)!help_calls[i].call(engine);
    calls_survived++;
  }
  pthread_testcancel();
  pthread_cleanup_pop(0);
  return NULL;
}

Test(cancellation, that_is_pending_is_acted_upon_by_no_call) {
  pthread_t thread;
  void *ended;
  cr_assert_eq(pthread_create(&thread, NULL, call_all_while_cancelled, NULL), 0);
  cr_assert_eq(pthread_join(thread, &ended), 0);
  cr_expect_eq(calls_survived, 1 + HELP_CALLS);
  cr_expect_eq(ended, PTHREAD_CANCELED);
}

Test(cancellation, that_the_caller_has_disabled_stays_disabled) {
  int before, state;
  (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  coupon_engine *engine = open_sync(data);
  for (int i = 0; i < HELP_CALLS; i++) {
    (void)!help_calls[i].call(engine);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    cr_expect_eq(state, PTHREAD_CANCEL_DISABLE, "%s", help_calls[i].name);
  }
  (void)pthread_setcancelstate(before, NULL);
}

/* --- signals ------------------------------------------------------------------------------------- */

static _Atomic int handled;

static void handle(int number) {
  (void)number;
  handled++;
}

static bool has_handled_another(void *context) { return handled > *(int *)context; }

Test(signals, that_interrupt_a_waiting_call_do_not_end_it) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 10);
  struct sigaction action = {.sa_handler = handle}; /* without SA_RESTART: system calls say EINTR */
  cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
  struct victim victim = {.engine = engine, .type = PTHREAD_CANCEL_DEFERRED, .ticket = COUPON_TICKET_INIT};
  pthread_t thread;
  help_disk_hold(&disk);
  cr_assert_eq(pthread_create(&thread, NULL, issue_as_victim, &victim), 0);
  help_disk_wait_held(&disk);
  for (int i = 0; i < 20; i++) {
    int seen = handled;
    cr_assert_eq(pthread_kill(thread, SIGUSR1), 0);
    cr_assert(help_until(has_handled_another, &seen));
    cr_expect_not(victim.returned);
  }
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(thread, NULL), 0);
  cr_expect_eq(victim.status, COUPON_ISSUED);
  cr_expect_eq(victim.ticket.flags, COUPON_TICKET_FINAL);
  help_close(engine);
}
