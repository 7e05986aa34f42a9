/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the library leaves the process around it alone: errno, the standard streams, signals, umask, working
 * directory, locale and limits; and that its files get the modes they should whatever the umask is. How: by looking
 * before and after.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/every_call.h"
#include "support/guest.h"

ON_DISK_SUITE(error_number);
ON_DISK_SUITE(process);
ON_DISK_SUITE(modes);

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
  help_disk_fail_next(&disk, HELP_SYNC, EIO);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  EXPECT_ERRNO_KEPT(coupon_issue(engine, 1, 5, COUPON_FOREVER, &ticket));
  expect_errno_kept_by_all(engine, HELP_CALLS); /* failed, closed, freed */
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
  help_disk_fail_next(&disk, HELP_WRITE, EIO);
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
