/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the caller's allocator gets back what it gave, is asked by the threads that may ask it, and can fail at
 * any call without a change but to that answer. How: an allocator that counts, checks what it is given back, and fails
 * at each of its calls in turn, in memory, with a log, and in a recovery.
 */
#include <pthread.h>
#include <string.h>

#include "engine/restore.h"
#include "support/memory_help.h"

MEMORY_SUITE(allocator);

Test(allocator, gets_back_everything_it_gave_with_the_sizes_it_gave) {
  struct coupon_options options = options_with_allocator(COUPON_NONE);
  coupon_engine *engine = help_open(NULL, &options);
  for (uint64_t id = 0; id < 1000; id++) help_create(engine, id, id);
  for (uint64_t user = 0; user < 20000; user++) (void)help_try(engine, user % 1000, user);
  cr_expect_gt(allocator.live_blocks, 1000);
  help_close(engine);
  expect_nothing_held();
}

#define PREPARED UINT64_C(6000)

Test(allocator, is_hardly_asked_for_tickets_that_were_prepared) {
  struct coupon_options options = options_with_allocator(COUPON_NONE);
  coupon_engine *engine = help_open(NULL, &options);
  struct coupon_campaign_spec spec = help_spec(1, PREPARED); /* so small that the keeper does not look after it */
  spec.prepare = PREPARED;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
  uint64_t calls = allocator.calls;
  struct coupon_campaign_info before = help_info(engine, 1);
  cr_expect_gt(before.claim_bytes, PREPARED * 8);
  cr_expect_gt(before.ticket_bytes, PREPARED * 24);
  for (uint64_t user = 0; user < PREPARED; user++) cr_expect_eq(help_try(engine, 1, user), COUPON_ISSUED);
  /* The few claims for which their lines had no place. */
  cr_expect_leq(allocator.calls - calls, 2);
  struct coupon_campaign_info after = help_info(engine, 1);
  cr_expect_eq(after.ticket_bytes, before.ticket_bytes);
  cr_expect_lt(after.claim_bytes - before.claim_bytes, before.claim_bytes / 8);
  help_close(engine);
  expect_nothing_held();
}

static bool figures_agree(void *context) { return help_stats(context).memory_bytes == (uint64_t)allocator.live_bytes; }

Test(allocator, holds_what_the_figures_say) {
  struct coupon_options options = options_with_allocator(COUPON_NONE);
  coupon_engine *engine = help_open(NULL, &options);
  help_create(engine, 1, 6000); /* so few that the keeper does not allocate between two looks */
  for (uint64_t user = 0; user < 5000; user++) {
    (void)help_try(engine, 1, user);
    cr_assert_eq(help_stats(engine).memory_bytes, (uint64_t)allocator.live_bytes);
  }
  help_create(engine, 2, 100000); /* and so many that it does */
  for (uint64_t user = 0; user < 100000; user++) (void)help_try(engine, 2, user);
  cr_expect(help_until(figures_agree, engine));
  help_close(engine);
  expect_nothing_held();
}

#define GROWERS 4
#define GROWN 300

static pthread_barrier_t grow_barrier;

struct grower {
  coupon_engine *engine;
  uint64_t user, issued;
};

static void *grow(void *argument) {
  struct grower *grower = argument;
  for (uint64_t id = 0; id < GROWN; id++) {
    (void)pthread_barrier_wait(&grow_barrier);
    grower->issued += help_ask(grower->engine, id, grower->user) == COUPON_ISSUED;
  }
  return NULL;
}

Test(allocator, gets_back_what_threads_that_needed_the_same_at_once_did_not_use) {
  struct coupon_options options = options_with_allocator(COUPON_NONE);
  struct grower growers[GROWERS];
  pthread_t threads[GROWERS];
  coupon_engine *engine = help_open(NULL, &options);
  for (uint64_t id = 0; id < GROWN; id++) help_create(engine, id, GROWERS);
  cr_assert_eq(pthread_barrier_init(&grow_barrier, NULL, GROWERS), 0);
  for (uint64_t i = 0; i < GROWERS; i++) { /* the first users of each campaign, at the same moment */
    growers[i] = (struct grower){.engine = engine, .user = i};
    cr_assert_eq(pthread_create(&threads[i], NULL, grow, &growers[i]), 0);
  }
  for (int i = 0; i < GROWERS; i++) {
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(growers[i].issued, GROWN);
  }
  cr_expect_eq(help_stats(engine).memory_bytes, (uint64_t)allocator.live_bytes);
  help_close(engine);
  expect_nothing_held();
}

static _Atomic uint64_t calls_by_commit_thread, calls_by_keeper;

static void note_thread(void) {
  char name[16] = "";
  (void)pthread_getname_np(pthread_self(), name, sizeof name);
  if (strcmp(name, "coupon-commit") == 0) calls_by_commit_thread++;
  if (strcmp(name, "coupon-keeper") == 0) calls_by_keeper++;
}

static void *alloc_noting(void *context, size_t size, size_t alignment) {
  const struct coupon_allocator *inner = context;
  note_thread();
  return inner->alloc(inner->context, size, alignment);
}

static void free_noting(void *context, void *pointer, size_t size) {
  const struct coupon_allocator *inner = context;
  note_thread();
  inner->free(inner->context, pointer, size);
}

static bool has_kept(void *unused) {
  (void)unused;
  return calls_by_keeper > 0;
}

/* The commit thread never runs out of memory, because it needs none: an answer that was decided cannot fail for it. */
Test(allocator, is_called_from_calling_threads_and_the_keeper_only) {
  char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
  help_temp_make(temp);
  struct coupon_allocator inner = help_allocator_use(&allocator);
  struct coupon_options options = help_options(COUPON_SYNC);
  options.allocator = (struct coupon_allocator){sizeof inner, alloc_noting, free_noting, &inner};
  coupon_engine *engine = help_open(help_join(data, temp, "data"), &options);
  help_create(engine, 1, 100000);
  for (uint64_t user = 0; user < 10000; user++) cr_expect_eq(help_ask(engine, 1, user), COUPON_ISSUED);
  cr_expect(help_until(has_kept, NULL), "nobody has made memory ready");
  help_close(engine);
  cr_expect_gt(allocator.calls, 10);
  cr_expect_eq(calls_by_commit_thread, 0);
  expect_nothing_held();
  help_temp_remove(temp);
}

Test(allocator, that_has_none_for_a_while_delays_a_user_but_does_not_lose_the_unit) {
  struct coupon_options options = options_with_allocator(COUPON_NONE);
  coupon_engine *engine = help_open(NULL, &options);
  help_create(engine, 1, 100);
  allocator.fail_at = allocator.calls + 1;
  allocator.for_good = true;
  for (int i = 0; i < 5; i++) cr_expect_eq(help_try(engine, 1, 7), COUPON_E_NOMEM);
  expect_sound(engine, 1, 0);
  allocator.fail_at = 0;
  cr_expect_eq(help_try(engine, 1, 7), COUPON_ISSUED);
  cr_expect_eq(help_try(engine, 1, 7), COUPON_ALREADY_ISSUED);
  expect_sound(engine, 1, 1);
  help_close(engine);
  expect_nothing_held();
}

#define SCRIPT_CAMPAIGNS 3
#define SCRIPT_USERS 200

/* Everybody asks in every campaign; how many got a ticket is added to `issued`. Whether nobody met the end of
 * memory. */
static bool ask_in_all(coupon_engine *engine, uint64_t issued[SCRIPT_CAMPAIGNS]) {
  bool enough = true;
  for (uint64_t user = 0; user < SCRIPT_USERS; user++) {
    for (uint64_t id = 0; id < SCRIPT_CAMPAIGNS; id++) {
      coupon_status status = help_try(engine, id, user);
      issued[id] += status == COUPON_ISSUED;
      enough &= status != COUPON_E_NOMEM;
      cr_expect(status == COUPON_ISSUED || status == COUPON_ALREADY_ISSUED || status == COUPON_SOLD_OUT ||
                    status == COUPON_NO_CAMPAIGN || status == COUPON_E_NOMEM,
                "%s", coupon_status_name(status));
    }
  }
  return enough;
}

/* Stocks below, at and above the number of users; the last without a limit. False: a creation met the end of memory. */
static bool create_all(coupon_engine *engine) {
  const uint64_t stocks[SCRIPT_CAMPAIGNS] = {SCRIPT_USERS / 2, SCRIPT_USERS, 10000};
  bool enough = true;
  for (uint64_t id = 0; id < SCRIPT_CAMPAIGNS; id++) {
    struct coupon_campaign_spec spec = help_spec(id, stocks[id]);
    spec.user_limit = id < 2;
    coupon_status status = coupon_create(engine, &spec, COUPON_FOREVER);
    cr_expect(status == COUPON_OK || status == COUPON_E_NOMEM, "%s", coupon_status_name(status));
    enough &= status == COUPON_OK;
  }
  return enough;
}

/* The script with a failure; then, with memory again, to its end. True: the failure was met. */
static bool run_out(coupon_engine *engine) {
  uint64_t issued[SCRIPT_CAMPAIGNS] = {0};
  bool enough = create_all(engine);
  enough &= ask_in_all(engine, issued);
  uint64_t found = help_stats(engine).campaigns;
  for (uint64_t id = 0; id < SCRIPT_CAMPAIGNS; id++) {
    struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
    if (coupon_info(engine, id, &info) == COUPON_OK)
      expect_sound(engine, id, issued[id]);
    else
      cr_expect_eq(issued[id], 0);
  }
  cr_expect(found == SCRIPT_CAMPAIGNS || !enough);
  cr_expect_eq(help_stats(engine).memory_bytes, (uint64_t)allocator.live_bytes, "what was refused is counted as held");
  allocator.fail_at = 0;
  cr_expect(create_all(engine));
  cr_expect(ask_in_all(engine, issued));
  cr_expect_eq(issued[0], SCRIPT_USERS / 2);
  cr_expect_eq(issued[1], SCRIPT_USERS);
  for (uint64_t id = 0; id < SCRIPT_CAMPAIGNS; id++) expect_sound(engine, id, issued[id]);
  return !enough;
}

static void fail_each_allocation(int32_t durability, bool for_good) {
  char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
  int failures = 0;
  bool met = true;
  for (uint64_t at = 1; met; at++) {
    struct coupon_options options = options_with_allocator(durability);
    struct coupon_report report = COUPON_REPORT_INIT;
    coupon_engine *engine;
    help_temp_make(temp);
    (void)help_join(data, temp, "data");
    allocator = (struct help_allocator){.fail_at = at, .for_good = for_good};
    coupon_status status = coupon_open(durability == COUPON_NONE ? NULL : data, &options, &engine, &report);
    if (status == COUPON_OK) {
      met = run_out(engine);
      help_close(engine);
    } else {
      cr_expect_eq(status, COUPON_E_NOMEM);
      cr_expect_eq(report.status, COUPON_E_NOMEM);
      cr_expect_null(engine);
    }
    expect_nothing_held();
    help_temp_remove(temp);
    failures += met;
  }
  cr_expect_gt(failures, 10, "hardly an allocation has failed");
}

Test(allocator, that_fails_at_any_one_call_changes_nothing_but_that_answer) {
  fail_each_allocation(COUPON_NONE, false);
}

Test(allocator, that_fails_from_any_call_on_changes_nothing_but_the_answers) {
  fail_each_allocation(COUPON_NONE, true);
}

Test(allocator, that_fails_at_any_one_call_with_a_log_changes_nothing_but_that_answer) {
  fail_each_allocation(COUPON_WRITTEN, false);
}

Test(allocator, that_fails_from_any_call_on_with_a_log_changes_nothing_but_the_answers) {
  fail_each_allocation(COUPON_WRITTEN, true);
}

/* An opening that has been told of the failure has changed nothing; one that found a way without that memory has lost
 * nothing. False: no call of this number was made. */
static bool fail_recovery(const char *data, const struct help_allocator *failing, const uint64_t *issued,
                          int *failures) {
  struct coupon_report report = COUPON_REPORT_INIT;
  struct coupon_options options = options_with_allocator(COUPON_SYNC);
  coupon_engine *engine;
  help_clear_hint(data);
  const uint64_t before = help_fingerprint(data);
  allocator = *failing;
  coupon_status status = coupon_open(data, &options, &engine, &report);
  const bool met = allocator.calls >= failing->fail_at;
  allocator.fail_at = 0;
  if (status == COUPON_OK) {
    for (uint64_t id = 0; id < SCRIPT_CAMPAIGNS; id++) expect_sound(engine, id, issued[id]);
    help_close(engine);
  } else {
    cr_expect_eq(status, COUPON_E_NOMEM, "%s", coupon_status_name(status));
    cr_expect_eq(report.status, COUPON_E_NOMEM);
    cr_expect_eq(help_fingerprint(data), before);
    ++*failures;
  }
  expect_nothing_held();
  return met;
}

#define FOLLOWED_USERS 3000

/* `follow`: with a second thread at the claims. */
static void fail_each_of_a_recovery(bool for_good, bool follow) {
  const uint64_t usual = cpn_restore_defer_from, usually_follow = cpn_restore_follow_from;
  char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
  help_temp_make(temp);
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(help_join(data, temp, "data"), &options);
  uint64_t issued[SCRIPT_CAMPAIGNS] = {0};
  cr_assert(create_all(engine));
  cr_assert(ask_in_all(engine, issued));
  for (uint64_t user = SCRIPT_USERS; follow && user < FOLLOWED_USERS;
       user++) /* so many that they take more memory then */
    issued[2] += help_ask(engine, 2, user) == COUPON_ISSUED;
  help_close(engine);
  if (follow) cpn_restore_defer_from = cpn_restore_follow_from = 4;
  int failures = 0;
  bool met = true;
  for (uint64_t at = 1; met; at++) {
    const struct help_allocator failing = {.fail_at = at, .for_good = for_good};
    met = fail_recovery(data, &failing, issued, &failures);
  }
  cr_expect_gt(failures, for_good ? 10 : 5); /* one failure can be made up for, where claims go */
  cpn_restore_defer_from = usual;
  cpn_restore_follow_from = usually_follow;
  help_temp_remove(temp);
}

Test(allocator, that_fails_at_any_call_of_a_recovery_leaves_all_but_the_hint_as_it_was) {
  fail_each_of_a_recovery(false, false);
  fail_each_of_a_recovery(false, true);
}

Test(allocator, that_fails_from_any_call_of_a_recovery_on_leaves_all_but_the_hint_as_it_was) {
  fail_each_of_a_recovery(true, false);
  fail_each_of_a_recovery(true, true);
}
