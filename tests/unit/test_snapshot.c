/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a snapshot, also one taken beside the owner, has what is final and nothing else, and raises no false
 * alarm.
 *
 * How: engines on a real directory, with the system's calls behind a disk that fails, holds or stutters
 * (support/engine_help.h); where the moment of a commit matters there is no commit thread, and the test steps.
 */
#include <sys/stat.h>

#include "support/every_call.h"
#include "support/failing.h"
#include "support/on_disk.h"

ON_DISK_SUITE(snapshot);

static coupon_status open_snapshot(const char *path, coupon_engine **engine) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.read_only = 1;
  return coupon_open(path, &options, engine, NULL);
}

static coupon_engine *snapshot_of(const char *path) {
  coupon_engine *engine;
  coupon_status status = open_snapshot(path, &engine);
  cr_assert_eq(status, COUPON_OK, "%s", coupon_status_name(status));
  return engine;
}

static uint64_t tickets_in_snapshot(void) {
  coupon_engine *reader = snapshot_of(data);
  uint64_t tickets = help_stats(reader).tickets;
  if (tickets > 0) expect_sound(reader, 1);
  help_close(reader);
  return tickets;
}

Test(snapshot, sees_everything_and_refuses_to_change_it) {
  make_directory_with_tickets();
  coupon_engine *reader = snapshot_of(data);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  struct coupon_campaign_spec spec = help_spec(1, 100);
  cr_expect_eq(help_stats(reader).read_only, 1);
  cr_expect_eq(help_stats(reader).tickets, 5);
  cr_expect_eq(help_info(reader, 1).issued, 5);
  cr_expect_eq(coupon_lookup(reader, 1, 3, &ticket, NULL), COUPON_OK);
  cr_expect_eq(ticket.number, 4);
  cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(coupon_wait(reader, &ticket, COUPON_FOREVER), COUPON_OK);
  expect_sound(reader, 1);
  cr_expect_eq(coupon_try_issue(reader, 1, 77, &ticket), COUPON_E_READ_ONLY);
  cr_expect_eq(coupon_issue(reader, 1, 77, COUPON_FOREVER, &ticket), COUPON_E_READ_ONLY);
  cr_expect_eq(coupon_issue(reader, 1, 3, COUPON_FOREVER, &ticket), COUPON_E_READ_ONLY);
  cr_expect_eq(coupon_try_issue(reader, 404, 3, &ticket), COUPON_E_READ_ONLY);
  cr_expect_eq(coupon_create(reader, &spec, COUPON_FOREVER), COUPON_E_READ_ONLY);
  const char *lenient = help_find_lenient_call(reader);
  cr_expect_null(lenient, "read only comes before a bad argument: %s", lenient);
  help_close(reader);
}

Test(snapshot, writes_nothing_and_takes_no_lock) {
  make_directory_with_tickets();
  uint64_t before = help_fingerprint(data);
  coupon_engine *one = snapshot_of(data), *other = snapshot_of(data);
  cr_expect_eq(help_fingerprint(data), before);
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *owner = help_open(data, &options);
  (void)ask(owner, 1, 77, COUPON_FOREVER, COUPON_ISSUED);
  cr_expect_eq(help_stats(one).tickets, 5, "it is a snapshot");
  help_close(one);
  help_close(other);
  help_close(owner);
}

Test(snapshot, beside_the_owner_sees_what_is_final_and_nothing_else) {
  coupon_engine *owner = open_stepped(65536);
  cr_expect_eq(tickets_in_snapshot(), 0);
  create_stepped(owner, 1, 100);
  for (uint64_t user = 0; user < 5; user++) (void)ask(owner, 1, user, COUPON_POLL, COUPON_ISSUED);
  cr_expect_eq(tickets_in_snapshot(), 0);
  step(owner);
  cr_expect_eq(tickets_in_snapshot(), 5);
  for (uint64_t user = 10; user < 13; user++) (void)ask(owner, 1, user, COUPON_POLL, COUPON_ISSUED);
  cr_expect_eq(tickets_in_snapshot(), 5);
  step(owner);
  cr_expect_eq(tickets_in_snapshot(), 8);
  help_close(owner);
  cr_expect_eq(tickets_in_snapshot(), 8);
}

Test(snapshot, does_not_see_what_is_written_but_not_yet_synced) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *owner = help_open_env(&env, data, &options);
  help_create(owner, 1, 100);
  help_disk_hold(&disk);
  struct waiter waiter;
  pthread_t thread;
  start_waiters(&waiter, &thread, 1, owner, 5);
  help_disk_wait_held(&disk); /* its frame is in the file */
  cr_expect_eq(tickets_in_snapshot(), 0);
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(thread, NULL), 0);
  cr_expect_eq(tickets_in_snapshot(), 1);
  help_close(owner);
}

struct sale {
  coupon_engine *owner;
  _Atomic uint64_t acknowledged;
  uint64_t awaited;
  _Atomic bool stop;
};

static void *sell(void *argument) {
  struct sale *sale = argument;
  for (uint64_t user = 0; !sale->stop; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    if (coupon_issue(sale->owner, 1, user, COUPON_FOREVER, &ticket) != COUPON_ISSUED) break;
    sale->acknowledged = ticket.number;
  }
  return NULL;
}

static bool sells_on(void *context) {
  struct sale *sale = context;
  return sale->acknowledged >= sale->awaited;
}

#define SNAPSHOTS 60

/* Snapshots while the owner sells: none may raise a false alarm or miss what was acknowledged before it. */
static void snap_while_selling(int32_t durability) {
  struct coupon_options options = help_options(durability);
  options.segment_size_bytes = 4096; /* so that segments come while we read */
  struct sale sale = {.owner = help_open(data, &options)};
  help_create(sale.owner, 1, 1000000000);
  pthread_t seller;
  cr_assert_eq(pthread_create(&seller, NULL, sell, &sale), 0);
  int alarms = 0, misses = 0;
  uint64_t seen = 0;
  for (int i = 0; i < SNAPSHOTS; i++) {
    uint64_t before = sale.acknowledged;
    coupon_engine *reader;
    sale.awaited = before + 3;
    if (open_snapshot(data, &reader) != COUPON_OK) {
      alarms++;
      continue;
    }
    seen = help_stats(reader).tickets;
    misses += seen < before;
    expect_sound(reader, 1);
    help_close(reader);
    cr_assert(help_until(sells_on, &sale));
  }
  sale.stop = true;
  cr_assert_eq(pthread_join(seller, NULL), 0);
  cr_expect_eq(alarms, 0, "%d of %d snapshots refused", alarms, SNAPSHOTS);
  cr_expect_eq(misses, 0, "%d of %d snapshots missed something final", misses, SNAPSHOTS);
  cr_expect_gt(seen, 0);
  help_close(sale.owner);
}

Test(snapshot, while_the_owner_sells_raises_no_false_alarm_and_misses_nothing_under_sync) {
  snap_while_selling(COUPON_SYNC);
}

Test(snapshot, while_the_owner_sells_raises_no_false_alarm_and_misses_nothing_under_written) {
  snap_while_selling(COUPON_WRITTEN);
}

static int snap_in_child(struct help_child *self, void *context) {
  (void)context;
  int alarms = 0;
  while (help_child_hear(self) == 1) {
    for (int i = 0; i < SNAPSHOTS; i++) {
      coupon_engine *reader;
      if (open_snapshot(data, &reader) != COUPON_OK)
        alarms++;
      else
        help_close(reader);
    }
    help_child_say(self, alarms);
  }
  return 0;
}

Test(snapshot, from_another_process_raises_no_false_alarm_either) {
  struct help_child child;
  help_child_start(&child, snap_in_child, NULL);
  struct coupon_options options = help_options(COUPON_WRITTEN);
  options.segment_size_bytes = 4096;
  struct sale sale = {.owner = help_open(data, &options)};
  help_create(sale.owner, 1, 1000000000);
  pthread_t seller;
  cr_assert_eq(pthread_create(&seller, NULL, sell, &sale), 0);
  help_child_say(&child, 1);
  cr_expect_eq(help_child_hear(&child), 0);
  sale.stop = true;
  cr_assert_eq(pthread_join(seller, NULL), 0);
  help_child_say(&child, 0);
  cr_expect_eq(help_child_wait(&child, 30), 0);
  help_close(sale.owner);
}

/* The owner fills a segment and begins the next between our look at its hint and our look at the directory. */
static void sell_a_segment(void *context) {
  struct sale *sale = context;
  for (int i = 0; i < 10; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    uint64_t user = sale->acknowledged++;
    HELP_CHECK(coupon_issue(sale->owner, 1, user, COUPON_FOREVER, &ticket) == COUPON_ISSUED);
  }
}

Test(snapshot, a_segment_that_comes_while_it_is_taken_is_no_damage) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.segment_size_bytes = 4096;
  struct sale sale = {.owner = help_open(data, &options)};
  help_create(sale.owner, 1, 1000);
  disk.before_list = sell_a_segment;
  disk.list_context = &sale;
  options.read_only = 1;
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *reader = NULL;
  coupon_status status = cpn_engine_open(&env, data, &options, &reader, &report);
  cr_expect_eq(status, COUPON_OK, "%s, %s: %s", coupon_status_name(status), report.file, report.message);
  if (reader != NULL) help_close(reader);
  help_close(sale.owner);
}

struct peek {
  uint64_t tickets;
  coupon_status status;
};

static void peek_at_recovery(void *context, uint64_t done, uint64_t total, double seconds_left) {
  struct peek *peek = context;
  (void)done, (void)total, (void)seconds_left;
  coupon_engine *reader;
  peek->status = open_snapshot(data, &reader);
  if (peek->status != COUPON_OK) return;
  peek->tickets = help_stats(reader).tickets;
  /* Closing is not allowed in here; a child has nothing to free. */
}

/* Takes a snapshot while an owner recovers, in which the hint may not be worth anything. */
static int peek_in_child(struct help_child *self, void *context) {
  (void)self;
  struct peek *peek = context;
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.progress = peek_at_recovery;
  options.callbacks.context = peek;
  coupon_engine *owner = help_open(data, &options);
  help_close(owner);
  return peek->status == COUPON_OK ? (int)peek->tickets : 100;
}

Test(snapshot, while_an_owner_recovers_sees_what_was_final_before) {
  make_directory_with_tickets();
  struct peek peek = {0};
  struct help_child child;
  help_child_start(&child, peek_in_child, &peek);
  cr_expect_eq(help_child_wait(&child, 30), 5);
}

Test(snapshot, while_an_owner_recovers_after_the_hint_was_lost_sees_what_was_final_before) {
  make_directory_with_tickets();
  scribble(data, "owner", 0, 0, 512); /* a power loss may leave it so: the hint is never synced */
  struct peek peek = {0};
  struct help_child child;
  help_child_start(&child, peek_in_child, &peek);
  cr_expect_eq(help_child_wait(&child, 30), 5);
}

struct arrival {
  coupon_engine *owner;
  struct waiter waiter;
  pthread_t thread;
  bool over;
};

/* The owner, which had no hint yet, makes one ticket final, and writes another that is not. */
static void go_on_after_the_look_at_the_hint(void *context) {
  struct arrival *arrival = context;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  if (arrival->over) return;
  arrival->over = true;
  HELP_CHECK(coupon_issue(arrival->owner, 1, 50, COUPON_FOREVER, &ticket) == COUPON_ISSUED);
  help_disk_hold(&disk);
  start_waiters(&arrival->waiter, &arrival->thread, 1, arrival->owner, 51);
  help_disk_wait_held(&disk);
}

Test(snapshot, a_hint_that_comes_while_it_is_taken_is_heeded) {
  struct coupon_options options = help_options(COUPON_SYNC);
  struct arrival arrival = {.owner = help_open_env(&env, data, &options)};
  help_create(arrival.owner, 1, 100);
  scribble(data, "owner", 0, 0, 512); /* as while the owner recovers after a power loss */
  static struct help_disk readers_disk;
  help_disk_init(&readers_disk);
  readers_disk.before_list = go_on_after_the_look_at_the_hint;
  readers_disk.list_context = &arrival;
  struct cpn_env readers_env = help_disk_env(&readers_disk, true);
  options.read_only = 1;
  coupon_engine *reader = help_open_env(&readers_env, data, &options);
  cr_expect_leq(help_stats(reader).tickets, 1, "it shows a ticket that is not final");
  help_close(reader);
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(arrival.thread, NULL), 0);
  help_close(arrival.owner);
}

Test(snapshot, of_what_a_killed_owner_left_is_what_recovery_keeps) {
  coupon_engine *owner = open_stepped(65536);
  create_stepped(owner, 1, 100);
  for (uint64_t user = 0; user < 5; user++) (void)ask(owner, 1, user, COUPON_POLL, COUPON_ISSUED);
  step(owner);
  (void)ask(owner, 1, 9, COUPON_POLL, COUPON_ISSUED); /* lost with the process */
  char copy[HELP_PATH_MAX];
  help_copy_directory(data, help_join(copy, temp, "copy"));
  help_close(owner);
  coupon_engine *reader = snapshot_of(copy);
  cr_expect_eq(help_stats(reader).tickets, 5);
  help_close(reader);
  struct coupon_options options = help_options(COUPON_SYNC);
  owner = help_open(copy, &options);
  cr_expect_eq(help_stats(owner).tickets, 5);
  help_close(owner);
}

Test(snapshot, of_what_is_no_directory_of_ours_is_refused) {
  char path[HELP_PATH_MAX];
  coupon_engine *reader;
  cr_expect_eq(open_snapshot(help_join(path, temp, "nothing"), &reader), COUPON_E_ACCESS);
  cr_expect_null(reader);
  struct stat status;
  cr_expect_eq(stat(path, &status), -1, "it was made");
  cr_assert_eq(mkdir(help_join(path, temp, "empty"), 0700), 0);
  cr_expect_eq(open_snapshot(path, &reader), COUPON_E_ACCESS);
  cr_expect_null(reader);
}
