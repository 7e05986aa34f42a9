/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a crash at any call, and a power loss that keeps any selection of what was not synced, loses nothing
 * final, doubles nothing, and brings nothing back that was cut. How: the real engine, its commit stage and its
 * recovery run stepwise in one thread on a simulated disk (support/simdisk.h); after each crash an oracle
 * (support/world.h) holds the recovered state against every answer that was final. Two planted faults of the disk
 * show that the oracle can find something.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/world.h"

static uint64_t next_random(uint64_t *state) { /* splitmix64 (Steele, Lea and Flood, 2014) */
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static uint64_t seed(void) {
  const char *given = getenv("COUPON_TEST_SEED");
  uint64_t value = given != NULL ? strtoull(given, NULL, 10) : 20261122;
  fprintf(stderr, "seed %llu (COUPON_TEST_SEED)\n", (unsigned long long)value);
  return value;
}

/* --- the script: two lives, two campaigns, every kind of answer, several segments ------------------------ */

static bool first_life(struct world *world) {
  if (world_open(world) != COUPON_OK) return false;
  (void)world_create(world, 1, 12, 1);
  if (!world_settle(world)) return false;
  for (uint64_t user = 0; user < 6; user++) {
    (void)world_issue(world, 1, user);
    (void)world_issue(world, 1, user / 2); /* repeats */
    if (user % 2 == 1 && !world_settle(world)) return false;
  }
  (void)world_create(world, 2, 5, 0);
  for (uint64_t i = 0; i < 7; i++) { /* one account, then sold out */
    (void)world_issue(world, 2, 77);
    if (!world_settle(world)) return false;
  }
  (void)world_issue(world, 1, 20); /* decided, perhaps never committed */
  return true;
}

static bool second_life(struct world *world) {
  if (world_open(world) != COUPON_OK) return false;
  for (uint64_t user = 4; user < 16; user++) {
    (void)world_issue(world, 1, user);
    if (user % 3 == 0 && !world_settle(world)) return false;
  }
  return world_settle(world);
}

/* Runs until the end or until the process dies. */
static void run_script(struct world *world, bool clean_close) {
  bool alive = first_life(world);
  if (alive && clean_close)
    world_close(world);
  else
    world_abandon(world);
  if (!alive) return;
  if (!clean_close) return;
  alive = second_life(world);
  if (alive)
    world_close(world);
  else
    world_abandon(world);
}

/* --- after the crash -------------------------------------------------------------------------------------- */

struct choice {
  uint64_t bits;    /* which of the first 64 pending sectors survive */
  uint64_t *random; /* or, if not NULL: toss */
};

static bool keep_chosen(void *context, uint64_t sector) {
  struct choice *choice = context;
  if (choice->random != NULL) return (next_random(choice->random) & 1) != 0;
  return sector < 64 && (choice->bits >> sector & 1) != 0;
}

static void ask_again(struct world *world) {
  (void)world_create(world, 1, 12, 1);
  (void)world_create(world, 2, 5, 0);
  (void)world_settle(world);
  for (uint64_t user = 0; user < 16; user++) {
    (void)world_issue(world, 1, user);
    (void)world_settle(world);
  }
}

/* Recovers, checks, loses power again at once, checks that nothing changed, goes on, loses power once more. NULL or
 * what is wrong. */
static const char *recover_and_check(struct simdisk *disk, const struct world *past, uint64_t *random) {
  static struct world world;
  struct choice toss = {0, random}, none = {0, NULL};
  world_init(&world, disk);
  world.clock_ns = past->clock_ns;
  if (world_open(&world) != COUPON_OK) {
    fprintf(stderr, "%s at %llu: %s\n", world.report.file, (unsigned long long)world.report.offset,
            world.report.message);
    return "recovery refused what an honest disk left";
  }
  const char *wrong = world_check(&world, past);
  uint64_t digest = world_digest(&world);
  world_abandon(&world);
  if (wrong != NULL) return wrong;

  /* What the first recovery showed is durable: all of it, and nothing else. */
  struct simdisk *second = simdisk_power_loss(disk, keep_chosen, &none, 0);
  struct world again;
  world_init(&again, second);
  again.clock_ns = world.clock_ns;
  if (world_open(&again) != COUPON_OK) wrong = "the second recovery refused";
  if (wrong == NULL && world_digest(&again) != digest) wrong = "the second recovery shows another state than the first";
  if (wrong == NULL) {
    ask_again(&again);
    wrong = world_check(&again, past);
  }
  uint64_t settled = again.engine != NULL ? world_digest(&again) : 0;
  world_abandon(&again);

  struct simdisk *third = simdisk_power_loss(second, keep_chosen, &toss, 0);
  struct world last;
  world_init(&last, third);
  if (wrong == NULL && world_open(&last) != COUPON_OK) wrong = "the third recovery refused";
  if (wrong == NULL) wrong = world_check(&last, &again);
  if (wrong == NULL && world_digest(&last) != settled) wrong = "what was cut came back, or what was final is gone";
  world_abandon(&last);
  simdisk_destroy(second);
  simdisk_destroy(third);
  return wrong;
}

/* Every subset if there are few pending sectors, else the extremes and some tosses. */
static const char *try_power_losses(const struct simdisk *disk, const struct world *past, uint64_t *random,
                                    uint64_t *recoveries) {
  uint64_t pending = simdisk_pending_sectors(disk);
  uint64_t trials = pending <= 4 ? UINT64_C(1) << pending : 8;
  for (int changes = 0; changes <= disk->change_count; changes++) {
    for (uint64_t trial = 0; trial < trials; trial++) {
      struct choice choice = {.bits = trial, .random = NULL};
      if (pending > 4 && trial == 1) choice.bits = UINT64_MAX;
      if (pending > 4 && trial > 1) choice.random = random;
      struct simdisk *after = simdisk_power_loss(disk, keep_chosen, &choice, changes);
      const char *wrong = recover_and_check(after, past, random);
      simdisk_destroy(after);
      ++*recoveries;
      if (wrong != NULL) return wrong;
    }
  }
  /* And the process alone dies: everything written is there. */
  struct simdisk *after = simdisk_copy(disk);
  const char *wrong = recover_and_check(after, past, random);
  simdisk_destroy(after);
  ++*recoveries;
  return wrong;
}

struct fault_plan {
  bool skip_file_sync, skip_directory_sync; /* planted, from the call `skip_from` on */
  uint64_t skip_from;
  int32_t durability;
};

/* Crashes at every call of the script. NULL, or the first thing that was wrong. */
static const char *crash_everywhere(struct fault_plan plan, uint64_t *points, uint64_t *recoveries) {
  static struct world world;
  uint64_t random = seed();
  *points = *recoveries = 0;
  for (uint64_t call = 1;; call++) {
    struct simdisk *disk = simdisk_create();
    disk->die_at = call;
    disk->skip_file_sync = plan.skip_file_sync;
    disk->skip_directory_sync = plan.skip_directory_sync;
    disk->skip_from = plan.skip_from;
    world_init(&world, disk);
    world.options.durability = plan.durability;
    run_script(&world, true);
    bool ended = disk->calls < call;
    const char *wrong = try_power_losses(disk, &world, &random, recoveries);
    simdisk_destroy(disk);
    ++*points;
    if (wrong != NULL) {
      fprintf(stderr, "crash at call %llu: %s\n", (unsigned long long)call, wrong);
      return wrong;
    }
    if (ended) return NULL;
  }
}

Test(crash, at_every_call_and_any_loss_of_unsynced_sectors_keeps_what_was_final, .timeout = 110) {
  uint64_t points, recoveries;
  const char *wrong = crash_everywhere((struct fault_plan){.durability = COUPON_SYNC}, &points, &recoveries);
  cr_assert_null(wrong, "%s", wrong);
  fprintf(stderr, "%llu crash points, %llu recoveries\n", (unsigned long long)points, (unsigned long long)recoveries);
  cr_assert_gt(points, 100);
}

Test(crash, a_sync_that_does_nothing_is_found) {
  uint64_t points, recoveries;
  struct fault_plan plan = {.skip_file_sync = true, .skip_from = 40, .durability = COUPON_SYNC};
  cr_assert_not_null(crash_everywhere(plan, &points, &recoveries));
}

Test(crash, a_directory_sync_that_does_nothing_is_found) {
  uint64_t points, recoveries;
  struct fault_plan plan = {.skip_directory_sync = true, .skip_from = 40, .durability = COUPON_SYNC};
  cr_assert_not_null(crash_everywhere(plan, &points, &recoveries));
}

/* With COUPON_WRITTEN the process may die and nothing final is lost; a power loss may lose the end, but leaves a
 * prefix. */
Test(crash, of_the_process_alone_keeps_what_was_written) {
  static struct world world;
  uint64_t random = seed();
  for (uint64_t call = 1, ended = 0; !ended; call++) {
    struct simdisk *disk = simdisk_create();
    disk->die_at = call;
    world_init(&world, disk);
    world.options.durability = COUPON_WRITTEN;
    run_script(&world, true);
    ended = disk->calls < call;
    struct simdisk *after = simdisk_copy(disk);
    const char *wrong = recover_and_check(after, &world, &random);
    cr_assert_null(wrong, "call %llu: %s", (unsigned long long)call, wrong);
    simdisk_destroy(after);
    simdisk_destroy(disk);
  }
}

/* --- any subset of ten unsynced sectors -------------------------------------------------------------------- */

/* Recovers from each of the 2^10 subsets: always a prefix of what was decided, in order. */
static void check_all_subsets(struct world *world, uint64_t final_tickets) {
  static const struct world nothing; /* with no answers to hold it against */
  uint64_t pending = simdisk_pending_sectors(world->disk);
  cr_assert_eq(pending, 10, "%llu sectors pending", (unsigned long long)pending);
  for (uint64_t bits = 0; bits < 1024; bits++) {
    struct choice choice = {.bits = bits, .random = NULL};
    struct simdisk *after = simdisk_power_loss(world->disk, keep_chosen, &choice, 0);
    struct world recovered;
    world_init(&recovered, after);
    recovered.options = world->options;
    recovered.options.callbacks.context = &recovered;
    cr_assert_eq(world_open(&recovered), COUPON_OK, "subset %llx: %s", (unsigned long long)bits,
                 recovered.report.message);
    const char *wrong = world_check(&recovered, &nothing);
    cr_assert_null(wrong, "subset %llx: %s", (unsigned long long)bits, wrong);
    uint64_t tickets = world_tickets(&recovered);
    cr_assert_geq(tickets, final_tickets);
    for (uint64_t i = 0; i < tickets; i++) { /* users were served in the order 0, 1, 2 ... */
      struct coupon_ticket ticket = COUPON_TICKET_INIT;
      cr_assert_eq(coupon_lookup(recovered.engine, 1, i, &ticket, NULL), COUPON_OK);
      cr_assert_eq(ticket.number, i + 1);
    }
    world_abandon(&recovered);
    simdisk_destroy(after);
  }
}

static void begin_subset_world(struct world *world, struct simdisk *disk, int32_t durability) {
  world_init(world, disk);
  world->options.segment_size_bytes = 65536;
  world->options.log_buffer_bytes = 65536;
  world->options.durability = durability;
  cr_assert_eq(world_open(world), COUPON_OK);
  cr_assert_eq(world_create(world, 1, 400, 1), COUPON_NOT_FINAL);
  cr_assert(world_settle(world));
}

Test(power_loss, keeps_or_cuts_a_commit_of_many_sectors_as_a_whole) {
  static struct world world;
  struct simdisk *disk = simdisk_create();
  begin_subset_world(&world, disk, COUPON_SYNC);
  for (uint64_t user = 0; user < 3; user++) cr_assert_eq(world_issue(&world, 1, user), COUPON_ISSUED);
  cr_assert(world_settle(&world));
  for (uint64_t user = 3; user < 3 + 189; user++) cr_assert_eq(world_issue(&world, 1, user), COUPON_ISSUED);
  /* The commit's write is done (its first call), its sync is not: 64 + 189 * 24 bytes are 9 sectors, and the hint
   * is one. */
  disk->die_at = disk->calls + 2;
  cr_assert(!world_settle(&world));
  check_all_subsets(&world, 3);
  world_abandon(&world);
  simdisk_destroy(disk);
}

Test(power_loss, of_several_unsynced_commits_leaves_a_prefix) {
  static struct world world;
  struct simdisk *disk = simdisk_create();
  begin_subset_world(&world, disk, COUPON_WRITTEN);
  world_close(&world); /* syncs */
  cr_assert_eq(world_open(&world), COUPON_OK);
  uint64_t before = simdisk_pending_sectors(disk); /* the hint's sector */
  uint64_t user = 0;
  for (uint64_t sectors = before; sectors < 10; sectors++) { /* a commit of one sector each */
    for (int i = 0; i < 18; i++) cr_assert_eq(world_issue(&world, 1, user++), COUPON_ISSUED);
    cr_assert(world_settle(&world));
  }
  check_all_subsets(&world, 0);
  world_abandon(&world);
  simdisk_destroy(disk);
}

/* --- a failed sync ------------------------------------------------------------------------------------------ */

/* The sync fails once, the pages look clean, the process dies, the power stays: the next process finds the records
 * in the cache. It must write them again before it answers from them, for the disk has never had them. */
Test(failed_sync, is_not_believed_by_the_next_life) {
  static struct world world, next, last;
  struct simdisk *disk = simdisk_create();
  world_init(&world, disk);
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10, 1);
  cr_assert(world_settle(&world));
  cr_assert_eq(world_issue(&world, 1, 5), COUPON_ISSUED);
  uint64_t syncs = disk->syncs;
  disk->fail_at = disk->calls + 2; /* write, then sync */
  disk->fail_errno = EIO;
  cr_assert(!world_settle(&world));
  cr_assert_eq(disk->syncs, syncs + 1);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_try_issue(world.engine, 1, 6, &ticket), COUPON_E_FAILED);
  cr_assert_eq(cpn_wait_step(world.engine) < 0, 1);
  cr_assert_eq(coupon_close(world.engine), COUPON_E_FAILED);
  cr_assert_eq(disk->syncs, syncs + 1, "a failed sync was tried again");
  cr_assert_eq(coupon_destroy(world.engine), COUPON_OK);
  cr_assert_eq(world.answers[0].flags & COUPON_TICKET_FINAL, 0);

  struct simdisk *cached = simdisk_copy(disk);
  world_init(&next, cached);
  cr_assert_eq(world_open(&next), COUPON_OK);
  cr_assert_eq(world_issue(&next, 1, 5), COUPON_ALREADY_ISSUED);
  cr_assert(next.answers[0].flags & COUPON_TICKET_FINAL, "what was recovered is final");
  world_abandon(&next);

  struct choice none = {0, NULL};
  struct simdisk *after = simdisk_power_loss(cached, keep_chosen, &none, 0);
  world_init(&last, after);
  cr_assert_eq(world_open(&last), COUPON_OK);
  const char *wrong = world_check(&last, &next);
  cr_assert_null(wrong, "%s", wrong);
  world_abandon(&last);
  simdisk_destroy(after);
  simdisk_destroy(cached);
  simdisk_destroy(disk);
}

struct forgetful {
  struct simdisk *disk;
  uint64_t reads, forget_at;
};

/* Drops from memory, before read number `forget_at` of a log file, every page that is not on the disk. */
static int64_t forget_before_read(void *context, const struct sim_call *call) {
  struct forgetful *forgetful = context;
  if (call->op != SIM_READ || strstr(call->name, ".log") == NULL || ++forgetful->reads != forgetful->forget_at)
    return 0;
  for (int i = 0; i < forgetful->disk->file_count; i++) {
    struct sim_file *file = &forgetful->disk->files[i];
    for (uint64_t at = 0; at < file->capacity; at += SIM_SECTOR) {
      if (!file->dirty[at / SIM_SECTOR]) memcpy(file->now + at, file->durable + at, SIM_SECTOR);
    }
  }
  return 0;
}

/* Pages whose sync failed look clean, so they need not stay: what the reader of the log has seen may be gone when it is
 * written again. Then the opening fails, or what it shows is there. */
Test(failed_sync, is_not_covered_up_by_what_memory_has_dropped_since) {
  static struct world world, next, last;
  struct simdisk *disk = simdisk_create();
  world_init(&world, disk);
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10, 1);
  cr_assert(world_settle(&world));
  cr_assert_eq(world_issue(&world, 1, 5), COUPON_ISSUED);
  disk->fail_at = disk->calls + 2; /* write, then sync */
  disk->fail_errno = EIO;
  cr_assert(!world_settle(&world));
  world_abandon(&world);
  uint64_t failed = 0;
  for (uint64_t read = 1, ended = 0; !ended; read++) {
    struct simdisk *cached = simdisk_copy(disk);
    struct forgetful forgetful = {.disk = cached, .forget_at = read};
    cached->meddle = forget_before_read;
    cached->chooser = &forgetful;
    world_init(&next, cached);
    coupon_status status = world_open(&next);
    ended = forgetful.reads < read;
    cr_assert(status == COUPON_OK || status == COUPON_E_IO, "%s", coupon_status_name(status));
    failed += status != COUPON_OK;
    uint64_t digest = status == COUPON_OK ? world_digest(&next) : 0;
    world_abandon(&next);
    struct choice none = {0, NULL};
    struct simdisk *after = simdisk_power_loss(cached, keep_chosen, &none, 0);
    world_init(&last, after);
    cr_assert_eq(world_open(&last), COUPON_OK, "before read %llu: %s", (unsigned long long)read, last.report.message);
    cr_assert(status != COUPON_OK || world_digest(&last) == digest, "before read %llu", (unsigned long long)read);
    world_abandon(&last);
    simdisk_destroy(after);
    simdisk_destroy(cached);
  }
  cr_assert_gt(failed, 0, "it never fell between the two");
  simdisk_destroy(disk);
}

/* --- the N-th call fails -------------------------------------------------------------------------------------- */

/* Once, and for good; then the disk is well again, and the directory opens with everything final. */
static void fail_every_call(int error, bool for_good) {
  static struct world world;
  uint64_t random = seed();
  for (uint64_t call = 1, ended = 0; !ended; call++) {
    struct simdisk *disk = simdisk_create();
    disk->fail_at = call;
    disk->fail_errno = error;
    disk->fail_for_good = for_good;
    world_init(&world, disk);
    run_script(&world, true);
    ended = disk->calls < call;
    const char *wrong = NULL;
    for (int power = 0; power < 2 && wrong == NULL; power++) {
      struct choice none = {0, NULL};
      struct simdisk *after = power ? simdisk_power_loss(disk, keep_chosen, &none, 0) : simdisk_copy(disk);
      wrong = recover_and_check(after, &world, &random);
      simdisk_destroy(after);
    }
    cr_assert_null(wrong, "call %llu fails with %s: %s", (unsigned long long)call, strerror(error), wrong);
    simdisk_destroy(disk);
  }
}

Test(failing_call, with_eio_once_loses_nothing_final) { fail_every_call(EIO, false); }
Test(failing_call, with_eio_for_good_loses_nothing_final) { fail_every_call(EIO, true); }
Test(failing_call, with_a_full_disk_once_loses_nothing_final) { fail_every_call(ENOSPC, false); }
Test(failing_call, with_a_full_disk_for_good_loses_nothing_final) { fail_every_call(ENOSPC, true); }
Test(failing_call, interrupted_loses_nothing_final) { fail_every_call(EINTR, false); }

/* --- signals that interrupt ------------------------------------------------------------------------------------ */

struct interrupting {
  struct simdisk *disk;
  uint64_t opens, syncs, disturbed;
  bool takes_effect; /* a call that was interrupted has made its file all the same */
};

/* Every third open is interrupted. Syncs are looked at: whether a signal to this thread could reach it in one. */
static int64_t interrupt_opens(void *chooser, const struct sim_call *call) {
  struct interrupting *interrupting = chooser;
  sigset_t held;
  (void)pthread_sigmask(SIG_SETMASK, NULL, &held);
  const bool syncs = call->op == SIM_SYNC || call->op == SIM_SYNC_DIRECTORY;
  interrupting->syncs += syncs;
  interrupting->disturbed += syncs != (sigismember(&held, SIGUSR1) == 1);
  if (call->op != SIM_OPEN || interrupting->opens++ % 3 != 0) return 0;
  uint64_t size;
  const bool makes = strstr(call->name, ".tmp") != NULL;
  if (interrupting->takes_effect && makes && simdisk_bytes(interrupting->disk, call->name, &size) == NULL)
    simdisk_duplicate(interrupting->disk, CPN_LOCK_NAME, call->name);
  return -EINTR;
}

static void go_through(bool takes_effect) {
  static struct world world;
  struct simdisk *disk = simdisk_create();
  struct interrupting interrupting = {.disk = disk, .takes_effect = takes_effect};
  disk->meddle = interrupt_opens;
  disk->chooser = &interrupting;
  world_init(&world, disk);
  cr_assert(first_life(&world), "%s", world.report.message);
  cr_expect_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_OK);
  world_close(&world);
  cr_assert(second_life(&world), "%s", world.report.message);
  cr_expect_null(world_check(&world, &world));
  world_close(&world);
  cr_expect_gt(interrupting.opens, 20);
  cr_expect_gt(interrupting.syncs, 20);
  cr_expect_eq(interrupting.disturbed, 0);
  simdisk_destroy(disk);
}

Test(interrupted, opens_are_tried_again_and_syncs_are_not_interrupted) { go_through(false); }
Test(interrupted, opens_that_have_made_their_file_make_it_anew) { go_through(true); }
