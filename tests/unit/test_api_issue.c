/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows who is issued what, alone and among many who ask at once, with and without a limit, until the stock ends.
 * How: an engine in memory, where every answer is final at once. What depends on the clock is in test_windows.c, on the
 * disk in test_finality.c and its neighbours (the end of the log in test_disk_faults.c), on memory in test_memory.c.
 */
#include <pthread.h>

#include "support/in_memory.h"

IN_MEMORY_SUITE(issue);
IN_MEMORY_SUITE(no_limit);

/* --- issuing ------------------------------------------------------------------------------------- */

Test(issue, first_request_of_a_user_gets_the_next_ticket) {
  help_create(engine, 1, 3);
  for (uint64_t i = 1; i <= 3; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_issue(engine, 1, 100 + i, COUPON_FOREVER, &ticket), COUPON_ISSUED);
    cr_expect_eq(ticket.campaign, 1);
    cr_expect_eq(ticket.user, 100 + i);
    cr_expect_eq(ticket.number, i);
    cr_expect_eq(ticket.lsn, 0, "in memory it rests on nothing");
    cr_expect_gt(ticket.time_ns, 0);
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
    cr_expect_eq(ticket.answer, COUPON_ISSUED);
    struct coupon_campaign_info info = help_info(engine, 1);
    cr_expect_eq(info.issued, i);
    cr_expect_eq(info.remaining, 3 - i);
  }
}

Test(issue, second_request_of_a_user_gets_the_original_ticket) {
  help_create(engine, 1, 10);
  struct coupon_ticket first = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_issue(engine, 1, 5, COUPON_FOREVER, &first), COUPON_ISSUED);
  for (uint64_t user = 6; user < 9; user++) (void)issue_to(1, user, COUPON_ISSUED);
  for (int i = 0; i < 5; i++) {
    struct coupon_ticket again = issue_to(1, 5, COUPON_ALREADY_ISSUED);
    cr_expect(help_same_ticket(&first, &again));
    cr_expect_eq(again.answer, COUPON_ALREADY_ISSUED);
    cr_expect_eq(again.flags, COUPON_TICKET_FINAL);
  }
  cr_expect_eq(help_info(engine, 1).issued, 4);
}

Test(issue, users_are_any_values_and_different_ones_are_different_users) {
  const uint64_t users[] = {0, 1, 2, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX};
  help_create(engine, 1, 100);
  for (uint64_t i = 0; i < 7; i++) {
    struct coupon_ticket ticket = issue_to(1, users[i], COUPON_ISSUED);
    cr_expect_eq(ticket.user, users[i]);
  }
  for (uint64_t i = 0; i < 7; i++) {
    struct coupon_ticket ticket = issue_to(1, users[i], COUPON_ALREADY_ISSUED);
    cr_expect_eq(ticket.number, i + 1);
    cr_expect_eq(ticket.user, users[i]);
  }
}

Test(issue, campaigns_do_not_know_each_other) {
  help_create(engine, 1, 1);
  help_create(engine, 2, 2);
  (void)issue_to(1, 5, COUPON_ISSUED);
  (void)issue_to(2, 5, COUPON_ISSUED);
  (void)issue_to(1, 6, COUPON_SOLD_OUT);
  (void)issue_to(2, 6, COUPON_ISSUED);
  cr_expect_eq(issue_to(1, 5, COUPON_ALREADY_ISSUED).number, 1);
  cr_expect_eq(issue_to(2, 6, COUPON_ALREADY_ISSUED).number, 2);
}

Test(issue, a_refusal_tells_campaign_user_position_and_time) {
  help_create(engine, 1, 1);
  (void)issue_to(1, 5, COUPON_ISSUED);
  uint64_t issued_lsn = issue_to(1, 5, COUPON_ALREADY_ISSUED).lsn;
  struct coupon_ticket refused = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_issue(engine, 1, 6, COUPON_FOREVER, &refused), COUPON_SOLD_OUT);
  cr_expect_eq(refused.campaign, 1);
  cr_expect_eq(refused.user, 6);
  cr_expect_eq(refused.number, 0);
  cr_expect_geq(refused.lsn, issued_lsn, "sold out rests on the ticket that was the last");
  cr_expect_gt(refused.time_ns, 0);
  cr_expect_eq(refused.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(refused.answer, COUPON_SOLD_OUT);
}

Test(issue, a_request_for_no_campaign_is_refused_and_final) {
  uint64_t before = help_stats(engine).memory_bytes;
  struct coupon_ticket refused = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_issue(engine, 404, 6, COUPON_FOREVER, &refused), COUPON_NO_CAMPAIGN);
  cr_expect_eq(refused.campaign, 404);
  cr_expect_eq(refused.user, 6);
  cr_expect_eq(refused.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(refused.answer, COUPON_NO_CAMPAIGN);
  cr_expect_eq(help_stats(engine).memory_bytes, before);
}

Test(issue, a_refusal_for_no_campaign_bears_the_time_of_the_refusal) {
  struct help_clock clock = {5000};
  struct coupon_options options = help_options_with_clock(COUPON_NONE, &clock);
  coupon_engine *other = help_open(NULL, &options);
  struct coupon_ticket refused = COUPON_TICKET_INIT;
  for (clock.now_ns = 5000; clock.now_ns <= 7000; clock.now_ns += 1000) {
    cr_assert_eq(coupon_try_issue(other, 404, 6, &refused), COUPON_NO_CAMPAIGN);
    cr_expect_eq(refused.time_ns, clock.now_ns);
  }
  help_close(other);
}

Test(issue, a_refused_user_may_ask_again_and_leaves_no_claim) {
  help_create(engine, 1, 1);
  (void)issue_to(1, 5, COUPON_ISSUED);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  for (int i = 0; i < 3; i++) {
    (void)issue_to(1, 6, COUPON_SOLD_OUT);
    cr_expect_eq(coupon_lookup(engine, 1, 6, &ticket, NULL), COUPON_NOT_FOUND);
  }
}

Test(issue, waiting_and_not_waiting_give_the_same_answers) {
  help_create(engine, 1, 2);
  const int64_t deadlines[] = {COUPON_POLL, COUPON_FOREVER, -1, INT64_MIN, 1, coupon_deadline_after(1000000000)};
  for (int i = 0; i < 6; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status expected = i < 2 ? COUPON_ISSUED : COUPON_SOLD_OUT;
    cr_expect_eq(coupon_issue(engine, 1, (uint64_t)i, deadlines[i], &ticket), expected, "deadline %d", i);
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
  }
}

#define SELLERS 8
#define SALE_USERS 3000
#define SALE_STOCK 2000

static _Atomic uint32_t sale_issued[SALE_USERS];
static _Atomic uint64_t sale_oddities;

/* Every thread asks for every user. */
static void *ask_for_all(void *argument) {
  uint64_t first = *(uint64_t *)argument;
  for (uint64_t i = 0; i < SALE_USERS; i++) {
    uint64_t user = (first + i) % SALE_USERS;
    coupon_status status = help_ask(engine, 1, user);
    if (status == COUPON_ISSUED)
      sale_issued[user]++;
    else if (status != COUPON_SOLD_OUT && status != COUPON_ALREADY_ISSUED)
      sale_oddities++;
  }
  return NULL;
}

Test(issue, many_threads_sell_every_unit_once_and_to_no_user_twice) {
  help_create(engine, 1, SALE_STOCK);
  pthread_t threads[SELLERS];
  uint64_t arguments[SELLERS];
  for (uint64_t i = 0; i < SELLERS; i++) {
    arguments[i] = i * SALE_USERS / SELLERS;
    cr_assert_eq(pthread_create(&threads[i], NULL, ask_for_all, &arguments[i]), 0);
  }
  for (int i = 0; i < SELLERS; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  uint64_t issued = 0, count;
  for (int user = 0; user < SALE_USERS; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status found = coupon_lookup(engine, 1, (uint64_t)user, &ticket, NULL);
    cr_expect_eq(found, sale_issued[user] == 1 ? COUPON_OK : COUPON_NOT_FOUND);
    cr_expect_leq(sale_issued[user], 1);
    issued += sale_issued[user];
  }
  cr_expect_eq(issued, SALE_STOCK);
  cr_expect_eq(sale_oddities, 0);
  const char *wrong = help_audit(engine, 1, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, SALE_STOCK);
}

#define TWINS 4
#define TWIN_CAMPAIGNS 500

static pthread_barrier_t twin_barrier;
static struct coupon_ticket twin_tickets[TWINS][TWIN_CAMPAIGNS];

/* The same user in one campaign after the other, at the same moment as the others. */
static void *ask_as_a_twin(void *argument) {
  struct coupon_ticket *tickets = argument;
  for (uint64_t id = 0; id < TWIN_CAMPAIGNS; id++) {
    tickets[id] = (struct coupon_ticket)COUPON_TICKET_INIT;
    (void)pthread_barrier_wait(&twin_barrier);
    (void)!coupon_issue(engine, id, 5, COUPON_FOREVER, &tickets[id]);
  }
  return NULL;
}

Test(issue, requests_of_one_user_at_the_same_moment_get_the_same_ticket) {
  for (uint64_t id = 0; id < TWIN_CAMPAIGNS; id++) help_create(engine, id, TWINS);
  pthread_t threads[TWINS];
  cr_assert_eq(pthread_barrier_init(&twin_barrier, NULL, TWINS), 0);
  for (int i = 0; i < TWINS; i++) cr_assert_eq(pthread_create(&threads[i], NULL, ask_as_a_twin, twin_tickets[i]), 0);
  for (int i = 0; i < TWINS; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  for (uint64_t id = 0; id < TWIN_CAMPAIGNS; id++) {
    int issued = 0;
    for (int i = 0; i < TWINS; i++) {
      issued += twin_tickets[i][id].answer == COUPON_ISSUED;
      cr_expect(help_same_ticket(&twin_tickets[i][id], &twin_tickets[0][id]));
      cr_expect_eq(twin_tickets[i][id].number, 1);
    }
    cr_expect_eq(issued, 1);
    cr_expect_eq(help_info(engine, id).issued, 1, "no unit is held back");
  }
}

/* --- no limit ------------------------------------------------------------------------------------ */

static void create_without_limit(uint64_t id, uint64_t stock) {
  struct coupon_campaign_spec spec = help_spec(id, stock);
  spec.user_limit = 0;
  cr_assert_eq(create_now(&spec), COUPON_OK);
}

Test(no_limit, a_user_gets_ticket_after_ticket_until_all_are_sold) {
  create_without_limit(1, 50);
  for (uint64_t i = 1; i <= 50; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_issue(engine, 1, 5, COUPON_FOREVER, &ticket), COUPON_ISSUED);
    cr_expect_eq(ticket.number, i);
  }
  (void)issue_to(1, 5, COUPON_SOLD_OUT);
  (void)issue_to(1, 6, COUPON_SOLD_OUT);
  cr_expect_eq(help_info(engine, 1).user_limit, 0);
}

Test(no_limit, a_lookup_finds_the_first_ticket_and_tells_how_many_there_are) {
  create_without_limit(1, 100);
  struct coupon_ticket firsts[3];
  for (uint64_t i = 0; i < 60; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_issue(engine, 1, i % 3 == 0 ? 0 : i % 3, COUPON_FOREVER, &ticket), COUPON_ISSUED);
    if (i < 3) firsts[i] = ticket;
  }
  for (uint64_t user = 0; user < 3; user++) {
    struct coupon_ticket found = COUPON_TICKET_INIT;
    uint64_t count = 0;
    cr_assert_eq(coupon_lookup(engine, 1, user, &found, &count), COUPON_OK);
    cr_expect(help_same_ticket(&found, &firsts[user]));
    cr_expect_eq(count, 20);
    cr_expect_eq(coupon_lookup(engine, 1, user, &found, NULL), COUPON_OK);
  }
}
