/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that what a directory does not allow is a named fault, that nothing is written then, and that everything is
 * there when it is allowed again: modes of the directory and of each file in it that forbid reading, writing, or
 * both; files that are something else; a file system that is read-only; a directory that is moved, unlinked or robbed
 * of its manifest while a sale goes on in it; and children that are forked in the middle of a sale and use what they
 * have inherited. The sale is that of sale_board.h, and what it told is held to the directory after each.
 *
 * Permissions do not bind root: as root the program drops to a user without rights. All paths are relative to a
 * directory of that user's.
 *
 * Planted: modes that are not set.
 */
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "torture/sale_board.h"

#define NOBODY 65534
#define SALE "sale"
#define SEGMENT_SIZE 4096
#define PATIENCE_US 30000000
#define FIRST "0000000000000001.log"

static struct sale_board *board;
static struct torture_random chance;
static struct {
  uint64_t scenes, refused;
  char read_only_disk[160];
} tally;

/* --- lives ------------------------------------------------------------------------------------------ */

static void plan_life(uint64_t close_after) {
  board->seed = torture_draw(&chance) | 1;
  board->durability = torture_below(&chance, 2) != 0 ? COUPON_SYNC : COUPON_WRITTEN;
  board->segment_size = SEGMENT_SIZE;
  board->log_buffer = 16384;
  board->commit_delay_ns = 0;
  board->checkpoint_log = UINT64_MAX;
  board->close_after = close_after;
  atomic_store(&board->phase, SALE_STARTED);
  atomic_store(&board->failure, 0);
  atomic_store(&board->told, 0);
}

static void check(int (*how)(void *board)) { torture_must(torture_fork(how, board)); }

static void await_told(uint64_t goal) {
  for (uint64_t waited = 0; atomic_load(&board->told) < goal && waited < PATIENCE_US; waited += 100)
    torture_sleep_us(100);
}

/* A directory with a few segments. */
static void begin_sale(void) {
  torture_directory_remove(SALE);
  sale_board_reset(board);
  (void)snprintf(board->directory, sizeof board->directory, "%s", SALE);
  plan_life(600);
  torture_must(torture_fork(sale_serve, board));
  TORTURE_CHECK(access(SALE "/" FIRST, F_OK) == 0, "there is no first segment");
}

/* --- opening something that is not allowed ---------------------------------------------------------- */

struct opened {
  coupon_status status;
  struct coupon_report report;
};

struct attempt {
  bool reading;
  struct opened opened; /* out; shared */
};

static int open_once(void *context) {
  struct attempt *attempt = context;
  struct coupon_options options = sale_options(board);
  coupon_engine *engine = NULL;
  options.read_only = attempt->reading;
  attempt->opened.report = (struct coupon_report)COUPON_REPORT_INIT;
  attempt->opened.status = coupon_open(board->directory, &options, &engine, &attempt->opened.report);
  if (attempt->opened.status == COUPON_OK) (void)coupon_destroy(engine);
  return 0;
}

static struct opened try_to_open(bool reading) {
  static struct attempt *attempt;
  if (attempt == NULL) attempt = torture_shared(sizeof *attempt);
  attempt->reading = reading;
  torture_must(torture_fork(open_once, attempt));
  return attempt->opened;
}

/* Of names, sizes, bytes and times of change of the files; not of the hint, which an opening for writing clears before
 * it reads. */
static uint64_t fingerprint(const char *directory, bool reading) {
  uint64_t sum = 0;
  DIR *stream = opendir(directory);
  if (stream == NULL) torture_cannot("listing a directory");
  for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
    struct stat status;
    char path[TORTURE_PATH_MAX];
    uint64_t one = 14695981039346656037u;
    if (entry->d_name[0] == '.' || (!reading && strcmp(entry->d_name, "owner") == 0)) continue;
    torture_join(path, directory, entry->d_name);
    if (stat(path, &status) != 0) continue;
    for (const char *at = entry->d_name; *at != 0; at++) one = (one ^ (unsigned char)*at) * 1099511628211u;
    sum += one * ((uint64_t)status.st_size * 31 + (uint64_t)status.st_mtim.tv_nsec + (uint64_t)status.st_mtim.tv_sec);
  }
  (void)closedir(stream);
  return sum;
}

struct denial {
  const char *file; /* in the directory; "": itself */
  mode_t mode;
  coupon_status writing, reading;
};

/* EITHER: as there is room in the newest segment for the first record of a life, or not. */
enum { YES = COUPON_OK, NO = COUPON_E_ACCESS, EITHER = 1000 };

static const struct denial denials[] = {
    {"", 0000, NO, NO},       {"", 0300, NO, NO},         {"", 0400, NO, NO},         {"", 0600, NO, NO},
    {"", 0500, EITHER, YES},  {"manifest", 0000, NO, NO}, {"manifest", 0200, NO, NO}, {"manifest", 0400, YES, YES},
    {"lock", 0000, NO, NO},   {"lock", 0400, NO, YES},    {"owner", 0000, NO, YES}, /* nobody owns it: not asked */
    {"owner", 0400, NO, YES}, {FIRST, 0000, NO, NO},      {FIRST, 0200, NO, NO},      {FIRST, 0400, YES, YES},
    {"newest", 0000, NO, NO}, {"newest", 0400, NO, YES},
};

static void newest_segment(char name[64]) {
  name[0] = 0;
  DIR *stream = opendir(SALE);
  if (stream == NULL) torture_cannot("listing the directory");
  for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
    size_t length = strlen(entry->d_name);
    if (length == 20 && strcmp(entry->d_name + 16, ".log") == 0 && strcmp(entry->d_name, name) > 0)
      (void)snprintf(name, 64, "%.20s", entry->d_name);
  }
  (void)closedir(stream);
}

static void expect(const struct denial *denial, const char *name, bool reading) {
  coupon_status expected = reading ? denial->reading : denial->writing;
  char path[TORTURE_PATH_MAX];
  torture_join(path, SALE, name);
  uint64_t before = fingerprint(SALE, reading);
  struct stat was;
  if (stat(path, &was) != 0) torture_cannot("looking at a mode");
  if (!torture_is_planted("modes-not-set") && chmod(path, denial->mode) != 0) torture_cannot("setting a mode");
  struct opened opened = try_to_open(reading);
  if (chmod(path, was.st_mode & 07777) != 0) torture_cannot("setting a mode back");
  bool either = expected == EITHER; /* then it finds out when it has begun to repair */
  if (either) expected = opened.status == COUPON_OK ? COUPON_OK : COUPON_E_ACCESS;
  TORTURE_CHECK(opened.status == expected, "\"%s\" has mode %04o, %s: %s (%s: %s), expected %s", name,
                (unsigned)denial->mode, reading ? "reading" : "writing", coupon_status_name(opened.status),
                opened.report.file, opened.report.message, coupon_status_name(expected));
  if (expected == COUPON_OK) return;
  /* Of the directory itself, whatever is asked for first. */
  bool named = name[0] == 0 || strcmp(opened.report.file, name) == 0;
  TORTURE_CHECK(named && opened.report.message[0] != 0 && opened.report.os_error != 0,
                "\"%s\" may not be used, and the report names \"%s\": %s", name, opened.report.file,
                opened.report.message);
  TORTURE_CHECK(either || fingerprint(SALE, reading) == before, "something was written, though \"%s\" may not be used",
                name);
  tally.refused++;
}

static void denied(void) {
  begin_sale();
  for (size_t i = 0; i < sizeof denials / sizeof denials[0]; i++) {
    for (int reading = 0; reading < 2; reading++) {
      char newest[64];
      newest_segment(newest); /* an opening for writing may have made one */
      expect(&denials[i], strcmp(denials[i].file, "newest") == 0 ? newest : denials[i].file, reading != 0);
      check(sale_check_reading);
    }
  }
  check(sale_check_writing);
}

/* A name that stands for something else is never read as what it should be. */
static void something_else(void) {
  static const char *const names[] = {"manifest", FIRST, "lock", "owner"};
  begin_sale();
  for (size_t i = 0; i < 4; i++) {
    for (int kind = 0; kind < 2; kind++) {
      char path[TORTURE_PATH_MAX], aside[] = "aside";
      torture_join(path, SALE, names[i]);
      if (rename(path, aside) != 0) torture_cannot("moving a file away");
      if ((kind == 0 ? mkdir(path, 0700) : symlink("../aside", path)) != 0) torture_cannot("putting something else");
      struct opened opened = try_to_open(false);
      TORTURE_CHECK(opened.status < 0 && opened.report.message[0] != 0, "\"%s\" is a %s, and it opens: %s", names[i],
                    kind == 0 ? "directory" : "link", coupon_status_name(opened.status));
      if ((kind == 0 ? rmdir(path) : unlink(path)) != 0 || rename(aside, path) != 0) torture_cannot("moving it back");
      tally.refused++;
    }
  }
  check(sale_check_reading);
  check(sale_check_writing);
}

/* --- where there is no directory -------------------------------------------------------------------- */

static void nowhere(void) {
  static const char *const paths[] = {"closed/sale", "file/sale", "file", "none/sale", "dangling"};
  begin_sale();
  FILE *file = fopen("file", "we");
  if (file == NULL || fclose(file) != 0 || mkdir("closed", 0500) != 0 || symlink("nothing", "dangling") != 0)
    torture_cannot("paths that lead nowhere");
  if (torture_is_planted("modes-not-set")) (void)chmod("closed", 0700);
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    (void)snprintf(board->directory, sizeof board->directory, "%s", paths[i]);
    for (int reading = 0; reading < 2; reading++) {
      struct opened opened = try_to_open(reading != 0);
      TORTURE_CHECK(opened.status == COUPON_E_ACCESS && opened.report.message[0] != 0, "%s opens: %s (%s)", paths[i],
                    coupon_status_name(opened.status), opened.report.message);
      tally.refused++;
    }
  }
  (void)snprintf(board->directory, sizeof board->directory, "%s", SALE);
  (void)unlink("file");
  (void)unlink("dangling");
  (void)rmdir("closed");
}

/* --- while a sale goes on --------------------------------------------------------------------------- */

/* The directory loses its write permission: the sale goes on until it needs a segment. */
static void closed_under_a_sale(void) {
  begin_sale();
  plan_life(0);
  pid_t seller = torture_fork(sale_serve, board);
  await_told(50);
  if (!torture_is_planted("modes-not-set") && chmod(SALE, 0500) != 0) torture_cannot("setting a mode");
  int status = torture_hear(seller);
  int32_t failure = atomic_load(&board->failure);
  TORTURE_CHECK(status == 3 && failure == COUPON_E_ACCESS, "in a directory that takes no file it ended with %d, %s",
                status, coupon_status_name(failure));
  check(sale_check_reading);
  if (chmod(SALE, 0700) != 0) torture_cannot("setting a mode back");
  check(sale_check_writing);
}

/* Its owner holds the directory, not its name. */
static void moved_under_a_sale(void) {
  begin_sale();
  plan_life(3000);
  pid_t seller = torture_fork(sale_serve, board);
  await_told(100);
  torture_directory_remove("moved");
  if (rename(SALE, "moved") != 0) torture_cannot("moving the directory");
  torture_must(seller);
  TORTURE_CHECK(access(SALE, F_OK) != 0, "the old name is back");
  (void)snprintf(board->directory, sizeof board->directory, "moved");
  check(sale_check_reading);
  check(sale_check_writing);
  torture_directory_remove("moved");
}

/* What is unlinked is gone; the process finds out, and ends well. */
static void removed_under_a_sale(void) {
  begin_sale();
  plan_life(0);
  pid_t seller = torture_fork(sale_serve, board);
  await_told(100);
  while (access(SALE, F_OK) == 0) torture_directory_remove(SALE); /* it makes files as we remove them */
  int status = torture_hear(seller);
  int32_t failure = atomic_load(&board->failure);
  TORTURE_CHECK(status == 3 && failure == COUPON_E_ACCESS, "in a directory that is gone it ended with %d, %s", status,
                coupon_status_name(failure));
  TORTURE_CHECK(access(SALE, F_OK) != 0, "it is back");
}

/* Robbed of the manifest the directory is refused, however the sale ended. */
static void robbed_under_a_sale(void) {
  begin_sale();
  plan_life(2000);
  pid_t seller = torture_fork(sale_serve, board);
  await_told(100);
  if (rename(SALE "/manifest", "aside") != 0) torture_cannot("moving the manifest");
  torture_must(seller);
  for (int reading = 0; reading < 2; reading++) {
    struct opened opened = try_to_open(reading != 0);
    TORTURE_CHECK(opened.status == COUPON_E_CORRUPT && strcmp(opened.report.file, "manifest") == 0,
                  "without a manifest it opens: %s (%s)", coupon_status_name(opened.status), opened.report.file);
    tally.refused++;
  }
  if (rename("aside", SALE "/manifest") != 0) torture_cannot("moving the manifest back");
  check(sale_check_writing);
}

/* --- a disk that is read-only ----------------------------------------------------------------------- */

static void cannot_mount(const char *what) {
  (void)snprintf(tally.read_only_disk, sizeof tally.read_only_disk, "not on a read-only disk, %s: %s", what,
                 strerror(errno));
}

/* A namespace of our own, in which the directory is mounted on itself. Also as a user without rights, where users may
 * have namespaces; it ends with the process. */
static bool make_read_only(void) {
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return cannot_mount("no namespace to mount in"), false;
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return cannot_mount("no mount unseen by others"), false;
  if (mount(SALE, SALE, NULL, MS_BIND, NULL) != 0) return cannot_mount("cannot mount it on itself"), false;
  /* What the disk beneath forbids has to stay forbidden. */
  const unsigned long kept[] = {0, MS_NOSUID | MS_NODEV, MS_NOSUID | MS_NODEV | MS_NOEXEC, MS_RELATIME};
  for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
    if (mount(NULL, SALE, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | kept[i], NULL) == 0) return true;
  }
  return cannot_mount("cannot make the mount read-only"), false;
}

static int on_a_read_only_disk(void *told) {
  if (!make_read_only()) {
    (void)snprintf(told, sizeof tally.read_only_disk, "%s", tally.read_only_disk);
    return 0;
  }
  struct opened opened = try_to_open(false);
  TORTURE_CHECK(opened.status == COUPON_E_ACCESS && opened.report.os_error == EROFS, "on a read-only disk: %s (%s)",
                coupon_status_name(opened.status), opened.report.message);
  check(sale_check_reading);
  return 0;
}

static void read_only_disk(void) {
  static char *told;
  if (told == NULL) told = torture_shared(sizeof tally.read_only_disk);
  begin_sale();
  torture_must(torture_fork(on_a_read_only_disk, told));
  (void)snprintf(tally.read_only_disk, sizeof tally.read_only_disk, "%s", told);
  check(sale_check_writing);
}

/* --- children --------------------------------------------------------------------------------------- */

#define FORKS 10

static coupon_engine *inherited;

/* Every call on what it has inherited says so, the directory is not its own, and another one can be. */
static int use_in_child(void *unused) {
  (void)unused;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  struct coupon_request request = {.campaign = 1};
  struct coupon_stats stats = COUPON_STATS_INIT;
  struct coupon_options options = COUPON_OPTIONS_INIT;
  coupon_engine *own = NULL;
  options.segment_size_bytes = SEGMENT_SIZE;
  TORTURE_CHECK(coupon_try_issue(inherited, 1, 1, &ticket) == COUPON_E_FORKED &&
                    coupon_issue(inherited, 1, 1, COUPON_FOREVER, &ticket) == COUPON_E_FORKED &&
                    coupon_try_issue_batch(inherited, &request, 1, &ticket, sizeof ticket) == COUPON_E_FORKED &&
                    coupon_lookup(inherited, 1, 1, &ticket, NULL) == COUPON_E_FORKED &&
                    coupon_read_stats(inherited, &stats) == COUPON_E_FORKED &&
                    coupon_close(inherited) == COUPON_E_FORKED && coupon_destroy(inherited) == COUPON_E_FORKED,
                "a child uses what it has inherited");
  coupon_status status = coupon_open(SALE, &options, &own, NULL);
  TORTURE_CHECK(status == COUPON_E_LOCKED, "a child opens its parent's directory: %s", coupon_status_name(status));
  status = coupon_open("own", &options, &own, NULL);
  TORTURE_CHECK(status == COUPON_OK, "a child opens a directory of its own: %s", coupon_status_name(status));
  return coupon_destroy(own) == COUPON_OK ? 0 : 3;
}

static void *issue_busily(void *argument) {
  const _Atomic bool *stop = argument;
  for (uint64_t user = 0; !atomic_load(stop); user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status status = coupon_issue(inherited, 1, user, COUPON_FOREVER, &ticket);
    TORTURE_CHECK(status == COUPON_ISSUED || status == COUPON_ALREADY_ISSUED || status == COUPON_SOLD_OUT,
                  "the parent goes on: %s", coupon_status_name(status));
  }
  return NULL;
}

static int fork_in_a_sale(void *unused) {
  (void)unused;
  _Atomic bool stop = false;
  pthread_t thread;
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  options.segment_size_bytes = UINT64_C(4) * SEGMENT_SIZE;
  spec.id = 1;
  spec.stock = 100000;
  coupon_status status = coupon_open(SALE, &options, &inherited, NULL);
  if (status == COUPON_OK) status = coupon_create(inherited, &spec, COUPON_FOREVER);
  TORTURE_CHECK(status == COUPON_OK, "a sale to fork in: %s", coupon_status_name(status));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* a child would inherit their locks as they are */
  bool busy = true;
#else
  bool busy = false;
#endif
  if (busy && pthread_create(&thread, NULL, issue_busily, &stop) != 0) torture_cannot("a thread");
  for (int i = 0; i < FORKS; i++) torture_must(torture_fork(use_in_child, NULL));
  atomic_store(&stop, true);
  if (busy) (void)pthread_join(thread, NULL);
  status = coupon_close(inherited);
  TORTURE_CHECK(status == COUPON_OK, "closing after forks: %s", coupon_status_name(status));
  return coupon_destroy(inherited) == COUPON_OK ? 0 : 3;
}

static void forked(void) {
  torture_directory_remove(SALE);
  torture_must(torture_fork(fork_in_a_sale, NULL));
  torture_directory_remove("own");
}

/* ---------------------------------------------------------------------------------------------------- */

static void (*const scenes[])(void) = {denied,
                                       something_else,
                                       nowhere,
                                       closed_under_a_sale,
                                       moved_under_a_sale,
                                       removed_under_a_sale,
                                       robbed_under_a_sale,
                                       read_only_disk,
                                       forked};

static void drop_rights(const char *path) {
  if (chdir(path) != 0) torture_cannot("going into the directory");
  if (geteuid() != 0) return;
  if (chown(".", NOBODY, NOBODY) != 0 || setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
      setresuid(NOBODY, NOBODY, NOBODY) != 0)
    torture_cannot("becoming a user whom permissions bind");
}

static int run_scenes(void *unused) {
  (void)unused;
  board = torture_shared(sizeof *board);
  while (torture_next_round()) {
    chance = torture_stream(torture_seed(), 1);
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++) {
      scenes[i]();
      tally.scenes++;
    }
    torture_count(sizeof scenes / sizeof scenes[0]);
  }
  torture_directory_remove(SALE);
  char details[320];
  (void)snprintf(details, sizeof details, "%" PRIu64 " openings refused by name%s%s", tally.refused,
                 tally.read_only_disk[0] != 0 ? "; " : "", tally.read_only_disk);
  return torture_end(details);
}

int main(int argc, char **argv) {
  static const char *const planted[] = {"modes-not-set", NULL};
  static const struct torture_plan plan = {.name = "access", .counted = "scenes", .rounds = 3, .planted = planted};
  char path[TORTURE_PATH_MAX];
  torture_begin(&plan, argc, argv);
  torture_directory_make(path);
  int here = chmod(path, 0700);
  if (here != 0) torture_cannot("the directory's mode");
  pid_t child = fork();
  if (child < 0) torture_cannot("fork");
  if (child == 0) {
    drop_rights(path);
    torture_leave(run_scenes(NULL));
  }
  int status = torture_hear(child);
  torture_directory_remove(path);
  return status == 0 ? 0 : 1;
}
