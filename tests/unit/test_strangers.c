/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that what has the name of a file of ours, and is none, neither holds an opening up nor is believed: a FIFO that
 * nobody writes to, a socket, a directory, a link to nowhere, a link to the very file. How: a directory of which every
 * file is there, on the machine's own disk; each name in turn stands for each of them, and a child opens it, for
 * writing and for reading, which must end, and has to name the file; with the file back everything is as it was.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/engine_help.h"

#define TICKETS 100
#define SECONDS 60 /* that no opening of this directory needs */

static char temp[HELP_PATH_MAX], data[HELP_PATH_MAX], archive[HELP_PATH_MAX], aside[HELP_PATH_MAX];

static void begin(void) {
  help_temp_make(temp);
  (void)help_join(data, temp, "data");
  (void)help_join(archive, temp, "archive");
  (void)help_join(aside, temp, "aside");
}

static void end(void) { help_temp_remove(temp); }

TestSuite(strangers, .init = begin, .fini = end, .timeout = 300);

/* --- what there may be in place of a file --------------------------------------------------------- */

enum kind { FIFO, SOCKET, DIRECTORY, NOWHERE, LINK, KINDS };
static const char *const kind_names[KINDS] = {"a FIFO", "a socket", "a directory", "a link to nowhere",
                                              "a link to the file"};

/* By a short path: a socket's has little room. */
static int make_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  char *name = strrchr(path, '/');
  int made = -1, back = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), file = socket(AF_UNIX, SOCK_STREAM, 0);
  (void)snprintf(address.sun_path, sizeof address.sun_path, "%.60s", name + 1);
  *name = 0;
  if (file >= 0 && chdir(path) == 0) made = bind(file, (struct sockaddr *)&address, sizeof address);
  *name = '/';
  HELP_CHECK(fchdir(back) == 0);
  (void)close(back);
  (void)close(file);
  return made;
}

static void put(const char *path, enum kind kind) {
  int made = -1;
  if (kind == FIFO) made = mkfifo(path, 0600);
  if (kind == SOCKET) made = make_socket(path);
  if (kind == DIRECTORY) made = mkdir(path, 0700);
  if (kind == NOWHERE) made = symlink("nothing", path);
  if (kind == LINK) made = symlink(aside, path);
  cr_assert_eq(made, 0, "%s: %s", path, strerror(errno));
}

static void take_away(const char *path) { HELP_CHECK(unlink(path) == 0 || rmdir(path) == 0); }

/* --- openings -------------------------------------------------------------------------------------- */

struct attempt {
  bool reading, archiving;
};

/* Of a child, which cannot hang the test. In a file, for the child has nothing else to say more than a number with. */
struct outcome {
  int code; /* as help_child_wait() says it */
  struct coupon_report report;
};

static struct coupon_options options_of(const struct attempt *attempt) {
  struct coupon_options options = help_options(COUPON_WRITTEN);
  options.read_only = attempt->reading;
  options.checkpoint_log_bytes = UINT64_MAX;
  if (attempt->archiving) options.archive_dir = archive;
  return options;
}

static int open_once(struct help_child *self, void *context) {
  (void)self;
  struct coupon_options options = options_of(context);
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine;
  coupon_status status = coupon_open(data, &options, &engine, &report);
  char path[HELP_PATH_MAX];
  FILE *file = fopen(help_join(path, temp, "report"), "we");
  HELP_CHECK(file != NULL && fwrite(&report, sizeof report, 1, file) == 1 && fclose(file) == 0);
  if (engine != NULL) (void)coupon_destroy(engine);
  return -status;
}

static struct outcome try_to_open(struct attempt attempt) {
  struct help_child child;
  struct outcome outcome;
  char path[HELP_PATH_MAX];
  help_child_start(&child, open_once, &attempt);
  outcome.code = help_child_wait(&child, SECONDS);
  FILE *file = fopen(help_join(path, temp, "report"), "re");
  cr_assert(file != NULL && fread(&outcome.report, sizeof outcome.report, 1, file) == 1, "it ended with %d",
            outcome.code);
  (void)fclose(file);
  cr_assert_eq(unlink(path), 0);
  return outcome;
}

/* Two checkpoints with segments before, between and behind them, and a tickets file. */
static void make_directory(void) {
  const struct attempt plain = {.archiving = true};
  struct coupon_options options = options_of(&plain);
  options.segment_size_bytes = 4096;
  coupon_engine *engine = help_open(data, &options);
  struct coupon_campaign_spec over = help_spec(1, 1);
  over.closes_at_ns = 1;
  cr_assert_geq(coupon_create(engine, &over, COUPON_FOREVER), COUPON_OK);
  cr_assert_eq(coupon_release(engine, 1, COUPON_FOREVER), COUPON_OK);
  help_create(engine, 2, TICKETS);
  for (uint64_t user = 0; user < TICKETS; user++) {
    cr_assert_eq(help_ask(engine, 2, user), COUPON_ISSUED);
    if (user % 30 == 29) cr_assert_eq(coupon_checkpoint(engine, COUPON_FOREVER), COUPON_OK);
  }
  help_close(engine);
}

static void expect_all_there(void) {
  const struct attempt plain = {.archiving = true};
  struct coupon_options options = options_of(&plain);
  uint64_t count = 0;
  coupon_engine *engine = help_open(data, &options);
  cr_assert_null(help_audit(engine, 2, &count));
  cr_assert_eq(count, TICKETS);
  help_close(engine);
}

/* --- one name after the other ---------------------------------------------------------------------- */

struct role {
  const char *suffix; /* of its name, which the directory's first (or last) has */
  bool last;
  bool writing, reading; /* refused; else passed over, or not looked at */
};

static int find(const char *directory, const char *suffix, bool last, char name[64]) {
  char command[2 * HELP_PATH_MAX];
  (void)snprintf(command, sizeof command, "cd '%.900s' && ls | grep -E '%.60s$' | %s -n 1", directory, suffix,
                 last ? "tail" : "head");
  FILE *names = popen(command, "r");
  name[0] = 0;
  if (names == NULL || fscanf(names, "%63s", name) != 1) name[0] = 0;
  return names == NULL ? -1 : pclose(names);
}

static void expect(const struct role *role, const char *name, enum kind kind, bool reading) {
  struct outcome outcome = try_to_open((struct attempt){.reading = reading, .archiving = !reading});
  const char *mode = reading ? "reading" : "writing";
  bool refused = reading ? role->reading : role->writing;
  cr_expect_eq(outcome.code, refused ? -COUPON_E_ACCESS : 0, "%s is %s, %s: %d (%s: %s)", name, kind_names[kind], mode,
               outcome.code, outcome.report.file, outcome.report.message);
  if (!refused) return;
  cr_expect_str_eq(outcome.report.file, name, "%s is %s, %s: %s", name, kind_names[kind], mode, outcome.report.message);
  cr_expect_neq(outcome.report.os_error, 0);
}

/* A reader asks nobody for the hint where nobody holds the lock; a writer looks at what it begins with and goes on
 * in. */
static const struct role roles[] = {
    {"^manifest", false, true, true},    {"^lock", false, true, true}, {"^owner", false, true, false},
    {"[.]checkpoint", true, true, true}, {"[.]log", true, true, true}, {"[.]checkpoint", false, false, false},
    {"[.]tickets", false, true, true},
};

Test(strangers, in_place_of_a_file_are_refused_by_its_name) {
  char name[64], path[HELP_PATH_MAX];
  make_directory();
  for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
    cr_assert_eq(find(data, roles[i].suffix, roles[i].last, name), 0);
    cr_assert_neq(name[0], 0, "there is no %s", roles[i].suffix);
    (void)help_join(path, data, name);
    for (enum kind kind = 0; kind < KINDS; kind++) {
      cr_assert_eq(rename(path, aside), 0);
      put(path, kind);
      expect(&roles[i], name, kind, true);
      expect(&roles[i], name, kind, false);
      take_away(path);
      cr_assert_eq(rename(aside, path), 0);
    }
  }
  expect_all_there();
}

/* --- names that are made anew ---------------------------------------------------------------------- */

/* What can be removed is; a directory is somebody's. */
Test(strangers, in_place_of_what_is_unfinished_are_removed_or_refused) {
  static const char *const names[] = {"manifest.tmp", "segment.tmp", "checkpoint.tmp", "tickets.tmp"};
  char path[HELP_PATH_MAX];
  make_directory();
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    (void)help_join(path, data, names[i]);
    for (enum kind kind = 0; kind < KINDS; kind++) {
      const bool stays = kind == DIRECTORY;
      const struct role role = {.writing = stays};
      put(path, kind);
      expect(&role, names[i], kind, true);
      expect(&role, names[i], kind, false);
      cr_expect_eq(access(path, F_OK) == 0, stays);
      if (stays) take_away(path);
    }
  }
  expect_all_there();
}

/* --- the archive ----------------------------------------------------------------------------------- */

/* Two checkpoints, with something in the log before each, make every earlier segment superfluous. */
static void move_on(coupon_engine *engine, uint64_t campaign) {
  for (uint64_t i = 0; i < 2; i++) {
    help_create(engine, campaign + i, 1);
    cr_expect_eq(coupon_checkpoint(engine, COUPON_FOREVER), COUPON_OK);
  }
}

/* What something else has the name of in the archive stays where it is, until the name is free. */
Test(strangers, in_the_archive_keep_segments_where_they_are) {
  char name[64], path[HELP_PATH_MAX];
  const struct attempt plain = {.archiving = true};
  make_directory();
  cr_assert_eq(find(data, "[.]log", false, name), 0);
  (void)help_join(path, archive, name);
  for (enum kind kind = 0; kind < KINDS; kind++) {
    struct coupon_options options = options_of(&plain);
    put(path, kind);
    coupon_engine *engine = help_open(data, &options);
    move_on(engine, 10 + 10 * (uint64_t)kind);
    help_close(engine);
    char kept[HELP_PATH_MAX];
    cr_expect_eq(access(help_join(kept, data, name), F_OK), 0, "%s", kind_names[kind]);
    take_away(path);
  }
  struct coupon_options options = options_of(&plain);
  coupon_engine *engine = help_open(data, &options);
  move_on(engine, 1000);
  help_close(engine);
  cr_expect_eq(access(path, F_OK), 0, "it is not archived though its name is free");
  expect_all_there();
}

Test(strangers, as_the_archives_owner_are_refused) {
  char path[HELP_PATH_MAX];
  make_directory();
  for (enum kind kind = 0; kind < KINDS; kind++) {
    put(help_join(path, archive, "owner"), kind);
    struct outcome outcome = try_to_open((struct attempt){.archiving = true});
    cr_expect_eq(outcome.code, -COUPON_E_ACCESS, "%s: %d, %s", kind_names[kind], outcome.code, outcome.report.message);
    take_away(path);
  }
  expect_all_there();
}

Test(strangers, as_the_archives_lock_are_refused) {
  char path[HELP_PATH_MAX], lock[HELP_PATH_MAX];
  make_directory();
  (void)help_join(path, archive, "lock");
  cr_assert_eq(rename(path, help_join(lock, temp, "lock")), 0);
  for (enum kind kind = 0; kind < KINDS; kind++) {
    put(path, kind);
    struct outcome outcome = try_to_open((struct attempt){.archiving = true});
    cr_expect_eq(outcome.code, -COUPON_E_ACCESS, "%s: %d, %s", kind_names[kind], outcome.code, outcome.report.message);
    take_away(path);
  }
  expect_all_there();
}

/* --- two engines, one archive ---------------------------------------------------------------------- */

/* Segments of both have the same names there. */
Test(strangers, with_an_archive_wait_until_its_engine_is_closed) {
  char other[HELP_PATH_MAX];
  const struct attempt plain = {.archiving = true};
  struct coupon_options options = options_of(&plain);
  make_directory();
  coupon_engine *engine = help_open(help_join(other, temp, "other"), &options);
  struct outcome outcome = try_to_open(plain);
  cr_expect_eq(outcome.code, -COUPON_E_LOCKED, "in another process: %d", outcome.code);
  cr_expect_str_eq(outcome.report.message, "another engine has the archive; give each one of its own");
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *second;
  cr_expect_eq(coupon_open(data, &options, &second, &report), COUPON_E_LOCKED, "in this one");
  options.archive_dir = NULL;
  cr_expect_eq(coupon_open(archive, &options, &second, &report), COUPON_E_LOCKED, "as a directory of its own");
  help_close(engine);
  expect_all_there();
}
