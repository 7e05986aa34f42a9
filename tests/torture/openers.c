/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a directory has one owner: two processes that open it at the same moment, while a third reads. Exactly
 * one of the two succeeds, and the other is told COUPON_E_LOCKED; the reader is never told of damage. Once the first
 * has closed, or has died without, the other gets it and finds what the first was told is final. In every other race
 * the directory does not exist yet, so that both make it; in the others it is one that has been opened often. On a
 * tmpfs where one can be mounted: it is the lock that is tried here, and not the disk, for which most of the time
 * would be spent.
 *
 * Planted: a lock that does nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "coupon/coupon.h"
#include "torture/small_disk.h"

#define OPENERS 2
#define FRESH_EVERY 2
#define RACES_MAX 100 /* in one directory: each leaves a block or more to read */

struct race {
  char directory[TORTURE_PATH_MAX];
  uint64_t number;
  bool die[OPENERS]; /* leave without closing */
  bool reads;
  _Atomic uint32_t ready, answered;
  _Atomic int32_t first[OPENERS];
};

struct opener {
  struct race *race;
  uint32_t index;
};

/* In front of the C library's: what the library under test calls. */
__attribute__((visibility("default"))) int fcntl(int file, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  if (command == F_SETLK && torture_is_planted("lock-does-nothing")) return 0;
  return (int)syscall(SYS_fcntl, file, command, argument);
}

static void meet(_Atomic uint32_t *count, uint32_t goal) {
  atomic_fetch_add(count, 1);
  while (atomic_load(count) < goal) (void)sched_yield();
}

static coupon_status open_it(const struct race *race, bool reading, coupon_engine **engine,
                             struct coupon_report *report) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.segment_size_bytes = 8192;
  options.log_buffer_bytes = 4096;
  options.read_only = reading;
  *report = (struct coupon_report)COUPON_REPORT_INIT;
  return coupon_open(race->directory, &options, engine, report);
}

/* One for each owner there ever was. */
static uint64_t user_of(const struct race *race, uint32_t index) { return race->number * OPENERS + index; }

/* The owner creates the campaign if he is the first, and takes a ticket. The second owner finds the first one's. */
static void own(coupon_engine *engine, const struct race *race, uint32_t index, bool second) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  spec.id = 1;
  spec.stock = 1000000;
  coupon_status status = coupon_create(engine, &spec, COUPON_FOREVER);
  TORTURE_CHECK(status == COUPON_OK, "creating: %s", coupon_status_name(status));
  status = coupon_lookup(engine, 1, user_of(race, 1 - index), &ticket, NULL);
  TORTURE_CHECK(status == (second ? COUPON_OK : COUPON_NOT_FOUND), "looking up the other owner: %s",
                coupon_status_name(status));
  status = coupon_issue(engine, 1, user_of(race, index), COUPON_FOREVER, &ticket);
  TORTURE_CHECK(status == COUPON_ISSUED && (ticket.flags & COUPON_TICKET_FINAL) != 0, "issuing: %s",
                coupon_status_name(status));
}

static int open_as_owner(void *context) {
  const struct opener *opener = context;
  struct race *race = opener->race;
  coupon_engine *engine = NULL;
  struct coupon_report report;
  meet(&race->ready, OPENERS + race->reads);
  coupon_status status = open_it(race, false, &engine, &report);
  atomic_store(&race->first[opener->index], status);
  meet(&race->answered, OPENERS);
  const bool second = status != COUPON_OK;
  /* The other one goes; not later than its ticket is final. */
  while (status == COUPON_E_LOCKED) {
    torture_sleep_us(100);
    status = open_it(race, false, &engine, &report);
  }
  TORTURE_CHECK(status == COUPON_OK, "opening: %s, %s: %s", coupon_status_name(status), report.file, report.message);
  own(engine, race, opener->index, second);
  if (race->die[opener->index]) torture_leave(0);
  status = coupon_close(engine);
  TORTURE_CHECK(status == COUPON_OK, "closing: %s", coupon_status_name(status));
  return coupon_destroy(engine) == COUPON_OK ? 0 : 3;
}

/* Reads as long as the race lasts. The directory may not be there yet; and owners may come and go. */
static int read_along(void *context) {
  struct race *race = context;
  meet(&race->ready, OPENERS + 1);
  do {
    coupon_engine *engine = NULL;
    struct coupon_report report;
    coupon_status status = open_it(race, true, &engine, &report);
    TORTURE_CHECK(status == COUPON_OK || status == COUPON_E_ACCESS || status == COUPON_E_LOCKED,
                  "reading: %s, %s at %" PRIu64 ": %s", coupon_status_name(status), report.file, report.offset,
                  report.message);
    if (status == COUPON_OK) (void)coupon_destroy(engine);
    torture_sleep_us(20);
  } while (atomic_load(&race->answered) < OPENERS);
  return 0;
}

static void run_race(struct race *race) {
  struct opener openers[OPENERS];
  pid_t children[OPENERS], reader = -1;
  atomic_store(&race->ready, 0);
  atomic_store(&race->answered, 0);
  for (uint32_t i = 0; i < OPENERS; i++) {
    openers[i] = (struct opener){race, i};
    children[i] = torture_fork(open_as_owner, &openers[i]);
  }
  if (race->reads) reader = torture_fork(read_along, race);
  for (uint32_t i = 0; i < OPENERS; i++) torture_must(children[i]);
  if (race->reads) torture_must(reader);
  int32_t a = atomic_load(&race->first[0]), b = atomic_load(&race->first[1]);
  TORTURE_CHECK((a == COUPON_OK && b == COUPON_E_LOCKED) || (b == COUPON_OK && a == COUPON_E_LOCKED),
                "two opened at once: %s and %s", coupon_status_name(a), coupon_status_name(b));
}

/* The next directory, in `path`: a new one, or one that has seen many races. */
static bool next_directory(struct race *race, const char *path) {
  static uint64_t races_in_old;
  bool is_fresh = torture_seed() % FRESH_EVERY == 0;
  torture_join(race->directory, path, is_fresh ? "new" : "old");
  if (is_fresh || races_in_old++ % RACES_MAX == 0) torture_directory_remove(race->directory);
  return is_fresh;
}

int main(int argc, char **argv) {
  static const char *const planted[] = {"lock-does-nothing", NULL};
  static const struct torture_plan plan = {.name = "openers", .counted = "races", .rounds = 1000, .planted = planted};
  torture_begin(&plan, argc, argv);
  struct race *race = torture_shared(sizeof *race);
  char path[TORTURE_PATH_MAX];
  uint64_t won[OPENERS] = {0}, fresh = 0;
  struct small_disk disk;
  torture_directory_make(path);
  small_disk_make(&disk, path, false);
  while (torture_next_round()) {
    struct torture_random random = torture_stream(torture_seed(), 1);
    fresh += next_directory(race, path);
    race->number = torture_seed();
    for (uint32_t i = 0; i < OPENERS; i++) race->die[i] = torture_below(&random, 3) == 0;
    race->reads = torture_below(&random, 2) == 0;
    run_race(race);
    won[atomic_load(&race->first[0]) == COUPON_OK ? 0 : 1]++;
    torture_count(1);
  }
  small_disk_unmount(&disk);
  torture_directory_remove(path);
  char details[320];
  (void)snprintf(details, sizeof details,
                 "%" PRIu64 " : %" PRIu64 " won, %" PRIu64 " of them for a new directory, on %s%s", won[0], won[1],
                 fresh, disk.kind == SMALL_TMPFS ? "a tmpfs" : "the disk: ", disk.why);
  return torture_end(details);
}
