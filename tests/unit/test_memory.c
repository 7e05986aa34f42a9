/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that memory that runs out changes nothing but the answer: no unit is taken, no claim is left, everybody else is
 * served, and nothing leaks. How: `max_memory_bytes`, and an allocator that counts, checks what it is given back, and fails
 * at each of its calls in turn. And that users who are refused leave nothing behind, however many there are.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/engine_help.h"
#include "support/failing.h"

static struct help_allocator allocator;

static void end(void) { cr_assert_not(help_leaks()); }

/* So that a test that hangs is named; none takes a tenth of it. */
#define HANGS_AFTER_S 60

TestSuite(memory_limit, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(allocator, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(refused_users, .fini = end, .timeout = HANGS_AFTER_S);

static struct coupon_options options_with_allocator(int32_t durability) {
  struct coupon_options options = help_options(durability);
  options.allocator = help_allocator_use(&allocator);
  return options;
}

static void expect_sound(coupon_engine *engine, uint64_t campaign, uint64_t issued) {
  uint64_t count;
  struct coupon_ticket everything = COUPON_TICKET_INIT;
  everything.answer = COUPON_SOLD_OUT; /* a refusal that rests on everything: what it rests on has its numbers */
  everything.lsn = help_stats(engine).reserved_lsn;
  cr_assert_eq(coupon_wait(engine, &everything, COUPON_FOREVER), COUPON_OK);
  const char *wrong = help_audit(engine, campaign, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, issued);
  cr_expect_eq(help_info(engine, campaign).issued, issued);
}

static void expect_nothing_held(void) {
  cr_expect_eq(allocator.live_blocks, 0);
  cr_expect_eq(allocator.live_bytes, 0);
  cr_expect_eq(allocator.wrong, 0, "freed what it was not given, or asked for the impossible");
}

/* --- the limit ----------------------------------------------------------------------------------- */

/* Far more tickets than the memory holds: what the first of them asks for must not depend on what the last would need. */
#define LIMIT UINT64_C(200000)
#define STOCK 1000000000

static coupon_engine *open_limited(uint64_t limit) {
  struct coupon_options options = help_options(COUPON_NONE);
  options.max_memory_bytes = limit;
  return help_open(NULL, &options);
}

/* Issues in campaign 1, to user *next and those behind, until there is no memory left: for *next, then. */
static void use_it_up_from(coupon_engine *engine, uint64_t *next) {
  coupon_status status;
  while ((status = help_try(engine, 1, *next)) == COUPON_ISSUED) ++*next;
  cr_assert_eq(status, COUPON_E_NOMEM, "%s", coupon_status_name(status));
}

/* The same from user 0 on. Returns how many got a ticket; the next user is the first that did not. */
static uint64_t use_it_up(coupon_engine *engine) {
  uint64_t user = 0;
  use_it_up_from(engine, &user);
  cr_assert_gt(user, 100);
  return user;
}

Test(memory_limit, beyond_it_a_request_is_refused_and_nothing_has_changed) {
  coupon_engine *engine = open_limited(LIMIT);
  help_create(engine, 1, STOCK);
  uint64_t user = use_it_up(engine);
  struct coupon_stats before = help_stats(engine);
  cr_expect_leq(before.memory_bytes, LIMIT);
  for (int i = 0; i < 3; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_expect_eq(coupon_issue(engine, 1, user, COUPON_FOREVER, &ticket), COUPON_E_NOMEM);
    cr_expect_eq(coupon_lookup(engine, 1, user, &ticket, NULL), COUPON_NOT_FOUND);
  }
  struct coupon_stats after = help_stats(engine);
  cr_expect_eq(after.reserved_lsn, before.reserved_lsn, "nothing is logged");
  cr_expect_eq(after.tickets, user);
  cr_expect_eq(after.failure, COUPON_OK);
  expect_sound(engine, 1, user);
  help_close(engine);
}

Test(memory_limit, beyond_it_those_who_ask_in_vain_leave_nothing_however_many_they_are) {
  coupon_engine *engine = open_limited(LIMIT / 2);
  help_create(engine, 1, 8000); /* so few that no keeper packs, and then has room for a few more */
  uint64_t user = use_it_up(engine), odd = 0;
  struct coupon_stats before = help_stats(engine);
  for (uint64_t i = 1; i <= 100000; i++) odd += help_try(engine, 1, user + i) != COUPON_E_NOMEM;
  cr_expect_eq(odd, 0);
  cr_expect_eq(help_stats(engine).memory_bytes, before.memory_bytes);
  help_close(engine);
}

Test(memory_limit, beyond_it_those_who_have_a_ticket_and_those_who_are_refused_are_answered) {
  coupon_engine *engine = open_limited(LIMIT);
  help_create(engine, 1, STOCK);
  help_create(engine, 2, 1);
  cr_assert_eq(help_try(engine, 2, 5), COUPON_ISSUED);
  uint64_t user = use_it_up(engine);
  for (uint64_t i = 0; i < user; i++) cr_expect_eq(help_try(engine, 1, i), COUPON_ALREADY_ISSUED);
  cr_expect_eq(help_try(engine, 2, 6), COUPON_SOLD_OUT);
  cr_expect_eq(help_try(engine, 404, 6), COUPON_NO_CAMPAIGN);
  help_close(engine);
}

Test(memory_limit, one_campaign_that_has_used_it_up_does_not_stop_another_that_has_room) {
  coupon_engine *engine = open_limited(LIMIT);
  help_create(engine, 1, STOCK);
  help_create(engine, 2, 10);
  cr_assert_eq(help_try(engine, 2, 0), COUPON_ISSUED);
  (void)use_it_up(engine);
  for (uint64_t i = 1; i < 10; i++) cr_expect_eq(help_try(engine, 2, i), COUPON_ISSUED);
  cr_expect_eq(help_try(engine, 2, 10), COUPON_SOLD_OUT);
  expect_sound(engine, 2, 10);
  help_close(engine);
}

Test(memory_limit, beyond_it_no_campaign_is_created_and_its_id_stays_free) {
  coupon_engine *engine = open_limited(LIMIT);
  uint64_t id = 0;
  coupon_status status = COUPON_OK;
  for (; status == COUPON_OK; id++) {
    struct coupon_campaign_spec spec = help_spec(id, 5);
    status = coupon_create(engine, &spec, COUPON_FOREVER);
  }
  cr_assert_eq(status, COUPON_E_NOMEM);
  cr_expect_gt(id, 10);
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  cr_expect_eq(coupon_info(engine, id - 1, &info), COUPON_NO_CAMPAIGN);
  cr_expect_eq(help_stats(engine).campaigns, id - 1);
  for (uint64_t i = 0; i < id - 1; i++) cr_expect_eq(help_info(engine, i).index, i);
  struct coupon_campaign_spec same = help_spec(0, 5);
  cr_expect_eq(coupon_create(engine, &same, COUPON_FOREVER), COUPON_OK);
  cr_expect_leq(help_stats(engine).memory_bytes, LIMIT);
  help_close(engine);
}

#define CROWD 8

struct member {
  coupon_engine *engine;
  uint64_t first_user, issued, refused, odd;
  uint64_t most_memory;
};

static void *press_on(void *argument) {
  struct member *member = argument;
  for (uint64_t user = member->first_user; member->refused < 100; user++) {
    coupon_status status = help_ask(member->engine, 1, user);
    member->issued += status == COUPON_ISSUED;
    member->refused += status == COUPON_E_NOMEM;
    member->odd += status != COUPON_ISSUED && status != COUPON_E_NOMEM;
    uint64_t memory = help_stats(member->engine).memory_bytes;
    if (memory > member->most_memory) member->most_memory = memory;
  }
  return NULL;
}

Test(memory_limit, a_crowd_that_meets_it_together_takes_no_more_than_it_is_told) {
  coupon_engine *engine = open_limited(LIMIT);
  help_create(engine, 1, STOCK);
  struct member members[CROWD];
  pthread_t threads[CROWD];
  uint64_t issued = 0;
  for (uint64_t i = 0; i < CROWD; i++) {
    members[i] = (struct member){.engine = engine, .first_user = i << 32};
    cr_assert_eq(pthread_create(&threads[i], NULL, press_on, &members[i]), 0);
  }
  for (int i = 0; i < CROWD; i++) {
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(members[i].odd, 0);
    cr_expect_leq(members[i].most_memory, LIMIT);
    issued += members[i].issued;
  }
  expect_sound(engine, 1, issued);
  help_close(engine);
}

Test(memory_limit, what_was_issued_under_it_is_durable) {
  char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
  help_temp_make(temp);
  struct coupon_options options = help_options(COUPON_SYNC);
  options.max_memory_bytes = LIMIT;
  options.log_buffer_bytes = UINT64_C(1) << 20; /* so that memory ends before it */
  coupon_engine *engine = help_open(help_join(data, temp, "data"), &options);
  help_create(engine, 1, STOCK);
  uint64_t user = use_it_up(engine);
  help_close(engine);
  engine = help_open(data, &options); /* the same directory needs the same memory */
  expect_sound(engine, 1, user);
  /* Tickets packed otherwise than they were may leave room for a few more. */
  use_it_up_from(engine, &user);
  expect_sound(engine, 1, user);
  help_close(engine);
  options.max_memory_bytes = 0;
  engine = help_open(data, &options);
  expect_sound(engine, 1, user);
  cr_expect_eq(help_try(engine, 1, user), COUPON_ISSUED, "the user who did not fit");
  help_close(engine);
  help_temp_remove(temp);
}

Test(memory_limit, however_small_it_is_a_campaign_of_any_stock_sells_what_it_holds) {
  for (uint64_t limit = 20000; limit <= UINT64_C(20000000); limit *= 10) {
    coupon_engine *engine = open_limited(limit);
    help_create(engine, 1, COUPON_STOCK_MAX);
    uint64_t user = use_it_up(engine);
    cr_expect_leq(help_stats(engine).memory_bytes, limit);
    cr_expect_gt(user, limit / 200, "%llu tickets in %llu bytes", (unsigned long long)user, (unsigned long long)limit);
    expect_sound(engine, 1, user);
    help_close(engine);
  }
}

/* --- memory that was prepared -------------------------------------------------------------------- */

Test(memory_limit, what_cannot_be_prepared_is_not_created) {
  coupon_engine *engine = open_limited(LIMIT);
  struct coupon_campaign_spec spec = help_spec(1, STOCK);
  spec.prepare = STOCK;
  cr_expect_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_E_NOMEM);
  cr_expect_eq(help_stats(engine).campaigns, 0);
  spec.prepare = 100;
  cr_expect_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
  cr_expect_gt(use_it_up(engine), 100);
  help_close(engine);
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

/* --- the allocator ------------------------------------------------------------------------------- */

Test(allocator, gets_back_everything_it_gave_with_the_sizes_it_gave) {
  struct coupon_options options = options_with_allocator(COUPON_NONE);
  coupon_engine *engine = help_open(NULL, &options);
  for (uint64_t id = 0; id < 1000; id++) help_create(engine, id, id);
  for (uint64_t user = 0; user < 20000; user++) (void)help_try(engine, user % 1000, user);
  cr_expect_gt(allocator.live_blocks, 1000);
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

/* Everybody asks in every campaign; how many got a ticket is added to `issued`. Whether nobody met the end of memory. */
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

Test(allocator, that_fails_at_any_call_of_a_recovery_leaves_all_but_the_hint_as_it_was) {
  char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
  help_temp_make(temp);
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(help_join(data, temp, "data"), &options);
  uint64_t issued[SCRIPT_CAMPAIGNS] = {0};
  cr_assert(create_all(engine));
  cr_assert(ask_in_all(engine, issued));
  help_close(engine);
  help_clear_hint(data);
  uint64_t before = help_fingerprint(data);
  coupon_status status = COUPON_E_NOMEM;
  int failures = 0;
  for (uint64_t at = 1; status != COUPON_OK; at++) {
    struct coupon_report report = COUPON_REPORT_INIT;
    options = options_with_allocator(COUPON_SYNC);
    allocator = (struct help_allocator){.fail_at = at};
    status = coupon_open(data, &options, &engine, &report);
    if (status == COUPON_OK) break;
    cr_assert_eq(status, COUPON_E_NOMEM, "%s", coupon_status_name(status));
    cr_expect_eq(report.status, COUPON_E_NOMEM);
    cr_expect_eq(help_fingerprint(data), before);
    expect_nothing_held();
    failures++;
  }
  cr_expect_gt(failures, 10);
  for (uint64_t id = 0; id < SCRIPT_CAMPAIGNS; id++) expect_sound(engine, id, issued[id]);
  help_close(engine);
  expect_nothing_held();
  help_temp_remove(temp);
}

/* --- users who are refused ----------------------------------------------------------------------- */

#define REFUSED 10000000

/* So many different users, of whom each is answered `expected` and leaves nothing. */
static void refuse(coupon_engine *engine, uint64_t campaign, uint64_t users, coupon_status expected) {
  cr_expect_eq(help_try(engine, campaign, UINT64_MAX),
               expected); /* the first of all may leave a mark on the campaign */
  struct coupon_stats before = help_stats(engine);
  uint64_t calls = allocator.calls, odd = 0;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  for (uint64_t user = 1; user <= users; user++) odd += coupon_try_issue(engine, campaign, user, &ticket) != expected;
  struct coupon_stats after = help_stats(engine);
  cr_expect_eq(odd, 0);
  cr_expect_eq(after.memory_bytes, before.memory_bytes);
  cr_expect_eq(allocator.calls, calls);
  cr_expect_eq(after.reserved_lsn, before.reserved_lsn, "nothing is logged");
}

static coupon_engine *open_at(struct help_clock *clock) {
  struct coupon_options options = help_options_with_clock(COUPON_NONE, clock);
  options.allocator = help_allocator_use(&allocator);
  return help_open(NULL, &options);
}

Test(refused_users, ten_million_of_a_sold_out_campaign_leave_no_byte) {
  struct help_clock clock = {1000};
  coupon_engine *engine = open_at(&clock);
  help_create(engine, 1, 3);
  for (uint64_t user = UINT64_MAX - 3; user < UINT64_MAX; user++)
    cr_expect_eq(help_try(engine, 1, user), COUPON_ISSUED);
  refuse(engine, 1, REFUSED, COUPON_SOLD_OUT);
  help_close(engine);
  expect_nothing_held();
}

Test(refused_users, ten_million_of_a_campaign_that_is_not_open_leave_no_byte) {
  struct help_clock clock = {1000};
  coupon_engine *engine = open_at(&clock);
  struct coupon_campaign_spec spec = help_spec(1, 1000000);
  spec.opens_at_ns = 2000;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
  refuse(engine, 1, REFUSED, COUPON_NOT_OPEN);
  help_close(engine);
  expect_nothing_held();
}

Test(refused_users, a_million_of_an_ended_campaign_and_of_none_leave_no_byte) {
  struct help_clock clock = {1000};
  coupon_engine *engine = open_at(&clock);
  struct coupon_campaign_spec spec = help_spec(1, 1000000);
  spec.closes_at_ns = 500;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
  refuse(engine, 1, 1000000, COUPON_ENDED);
  refuse(engine, 2, 1000000, COUPON_NO_CAMPAIGN);
  help_close(engine);
  expect_nothing_held();
}

Test(refused_users, who_are_only_looked_up_leave_no_byte) {
  struct help_clock clock = {1000};
  coupon_engine *engine = open_at(&clock);
  help_create(engine, 1, 1000);
  cr_assert_eq(help_try(engine, 1, 0), COUPON_ISSUED);
  uint64_t before = help_stats(engine).memory_bytes, found = 0;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  for (uint64_t user = 1; user < 1000000; user++)
    found += coupon_lookup(engine, 1, user, &ticket, NULL) != COUPON_NOT_FOUND;
  cr_expect_eq(found, 0);
  cr_expect_eq(help_stats(engine).memory_bytes, before);
  help_close(engine);
}
