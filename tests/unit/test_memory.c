/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that memory that runs out changes nothing but the answer: no unit is taken, no claim is left, everybody else is
 * served, and nothing leaks; and that users who are refused leave nothing behind, however many there are. How:
 * `max_memory_bytes`, and an allocator that counts. Each of its calls in turn fails in test_allocator.c.
 */
#include <pthread.h>

#include "support/memory_help.h"

MEMORY_SUITE(memory_limit);
MEMORY_SUITE(refused_users);

/* --- the limit ----------------------------------------------------------------------------------- */

/* Far more tickets than the memory holds: what the first of them asks for must not depend on what the last would
 * need. */
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

/* --- opening under less than it was written with ------------------------------------------------- */

/* One campaign of one ticket to a user, one of any number, and a small one behind. */
#define ONCE UINT64_C(9000)
#define OFTEN UINT64_C(3000)
#define TIMES 3
#define FEW UINT64_C(50)

static void sell_three(coupon_engine *engine) {
  help_create(engine, 1, STOCK);
  struct coupon_campaign_spec spec = help_spec(2, STOCK);
  spec.user_limit = 0;
  cr_assert_geq(coupon_create(engine, &spec, COUPON_FOREVER), 0);
  help_create(engine, 3, FEW);
  for (uint64_t i = 0; i < ONCE; i++) {
    cr_assert_eq(help_ask(engine, 1, i), COUPON_ISSUED);
    cr_assert_eq(help_ask(engine, 2, i % OFTEN), COUPON_ISSUED);
    if (i < FEW) cr_assert_eq(help_ask(engine, 3, i), COUPON_ISSUED);
  }
}

static void expect_three(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t count = 0, odd = 0;
  expect_sound(engine, 1, ONCE);
  expect_sound(engine, 3, FEW);
  cr_expect_eq(help_info(engine, 2).issued, ONCE);
  for (uint64_t user = 0; user < OFTEN; user++)
    odd += coupon_lookup(engine, 2, user, &ticket, &count) < 0 || ticket.number != user + 1 || count != TIMES;
  odd += coupon_lookup(engine, 2, OFTEN, &ticket, &count) != COUPON_NOT_FOUND;
  cr_expect_eq(odd, 0, "of many to a user");
  for (uint64_t user = 0; user < ONCE; user++) odd += help_try(engine, 1, user) != COUPON_ALREADY_ISSUED;
  cr_expect_eq(odd, 0, "of one to a user");
}

/* Limits fall by a hundredth until what there is does not fit. */
Test(memory_limit, claims_that_take_too_much_are_made_again_where_there_is_less) {
  char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
  help_temp_make(temp);
  struct coupon_options options = help_options(COUPON_WRITTEN);
  coupon_engine *engine = help_open(help_join(data, temp, "data"), &options);
  sell_three(engine);
  help_close(engine);
  engine = help_open(data, &options);
  const uint64_t enough = help_stats(engine).memory_bytes;
  help_close(engine);
  coupon_status status = COUPON_OK;
  uint64_t limit = enough;
  for (; status == COUPON_OK; limit -= enough / 100) {
    struct coupon_report report = COUPON_REPORT_INIT;
    options.max_memory_bytes = limit;
    status = coupon_open(data, &options, &engine, &report);
    if (status != COUPON_OK) continue;
    cr_expect_leq(help_stats(engine).memory_bytes, limit);
    expect_three(engine);
    help_close(engine);
  }
  cr_expect_eq(status, COUPON_E_NOMEM, "%s", coupon_status_name(status));
  cr_expect_lt(limit, enough / 4, "it ends at a third where claims only ever grow");
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
