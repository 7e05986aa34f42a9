/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a campaign opens and closes once each, at the moments its description says, whatever the wall clock does
 * afterwards: stepping back, stopping, or being another one after a restart. How: the `clock` callback shows what the
 * test tells it to; a restart is an engine on the same directory, or on a copy of it taken while the first one was
 * open, which is what a killed process leaves.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "support/engine_help.h"

/* The window of nearly all campaigns here. */
#define OPENS UINT64_C(1000)
#define CLOSES UINT64_C(2000)

static char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
static struct help_clock clock_of_test;
static coupon_engine *engine;

static void show(uint64_t now_ns) { atomic_store(&clock_of_test.now_ns, now_ns); }

static void begin_in_memory(void) {
  show(1);
  struct coupon_options options = help_options_with_clock(COUPON_NONE, &clock_of_test);
  engine = help_open(NULL, &options);
}

static void end_in_memory(void) {
  cr_assert_eq(coupon_destroy(engine), COUPON_OK);
  cr_assert_not(help_leaks());
}

static void open_on(const char *path) {
  struct coupon_options options = help_options_with_clock(COUPON_SYNC, &clock_of_test);
  engine = help_open(path, &options);
}

static void begin_on_disk(void) {
  help_temp_make(temp);
  (void)help_join(data, temp, "data");
  show(1);
  open_on(data);
}

static void end_on_disk(void) {
  end_in_memory();
  help_temp_remove(temp);
}

static void restart(void) {
  help_close(engine);
  open_on(data);
}

/* Goes on with what a killed process would have left. */
static void restart_as_if_killed(void) {
  char copy[HELP_PATH_MAX];
  help_copy_directory(data, help_join(copy, temp, "copy"));
  help_close(engine);
  open_on(copy);
}

/* So that a test that hangs is named; none takes a tenth of it. */
#define HANGS_AFTER_S 60

TestSuite(window, .init = begin_in_memory, .fini = end_in_memory, .timeout = HANGS_AFTER_S);
TestSuite(decision_time, .init = begin_in_memory, .fini = end_in_memory, .timeout = HANGS_AFTER_S);
TestSuite(state, .init = begin_in_memory, .fini = end_in_memory, .timeout = HANGS_AFTER_S);
TestSuite(restart, .init = begin_on_disk, .fini = end_on_disk, .timeout = HANGS_AFTER_S);
TestSuite(system_clock, .timeout = HANGS_AFTER_S);

static void create_window(uint64_t id, uint64_t stock, uint64_t opens_at_ns, uint64_t closes_at_ns) {
  struct coupon_campaign_spec spec = help_spec(id, stock);
  spec.opens_at_ns = opens_at_ns;
  spec.closes_at_ns = closes_at_ns;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
}

/* One request, final, while the clock shows `now_ns`. */
static struct coupon_ticket ask(uint64_t campaign, uint64_t user, coupon_status expected) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = coupon_issue(engine, campaign, user, COUPON_FOREVER, &ticket);
  cr_assert_eq(status, expected, "user %llu got %s", (unsigned long long)user, coupon_status_name(status));
  cr_assert_eq(ticket.flags, COUPON_TICKET_FINAL);
  cr_assert_eq(ticket.answer, expected);
  return ticket;
}

static struct coupon_ticket ask_at(uint64_t now_ns, uint64_t campaign, uint64_t user, coupon_status expected) {
  show(now_ns);
  return ask(campaign, user, expected);
}

/* --- the window ---------------------------------------------------------------------------------- */

Test(window, tickets_are_issued_from_its_first_moment_to_its_last_and_not_beside_it) {
  create_window(1, 100, OPENS, CLOSES);
  (void)ask_at(1, 1, 10, COUPON_NOT_OPEN);
  (void)ask_at(OPENS - 1, 1, 11, COUPON_NOT_OPEN);
  cr_expect_eq(ask_at(OPENS, 1, 12, COUPON_ISSUED).time_ns, OPENS);
  cr_expect_eq(ask_at(OPENS + 1, 1, 13, COUPON_ISSUED).time_ns, OPENS + 1);
  cr_expect_eq(ask_at(CLOSES - 1, 1, 14, COUPON_ISSUED).time_ns, CLOSES - 1);
  (void)ask_at(CLOSES, 1, 15, COUPON_ENDED);
  (void)ask_at(CLOSES + 1, 1, 16, COUPON_ENDED);
  (void)ask_at(UINT64_MAX, 1, 17, COUPON_ENDED);
  cr_expect_eq(help_info(engine, 1).issued, 3);
}

Test(window, of_one_nanosecond_issues_in_it) {
  create_window(1, 100, OPENS, OPENS + 1);
  (void)ask_at(OPENS - 1, 1, 10, COUPON_NOT_OPEN);
  (void)ask_at(OPENS, 1, 11, COUPON_ISSUED);
  (void)ask_at(OPENS + 1, 1, 12, COUPON_ENDED);
}

Test(window, zeros_mean_at_once_and_never) {
  create_window(1, 100, 0, 0);
  (void)ask_at(1, 1, 10, COUPON_ISSUED);
  (void)ask_at(UINT64_MAX, 1, 11, COUPON_ISSUED);
  create_window(2, 100, 0, CLOSES); /* created after its end */
  (void)ask(2, 10, COUPON_ENDED);
}

Test(window, a_refusal_bears_its_time_and_has_no_number) {
  create_window(1, 100, OPENS, CLOSES);
  const struct {
    uint64_t now_ns;
    coupon_status answer;
  } refusals[] = {{500, COUPON_NOT_OPEN}, {OPENS - 1, COUPON_NOT_OPEN}, {CLOSES + 5, COUPON_ENDED}};
  for (int i = 0; i < 3; i++) {
    struct coupon_ticket refused = ask_at(refusals[i].now_ns, 1, 5, refusals[i].answer);
    cr_expect_eq(refused.time_ns, refusals[i].now_ns);
    cr_expect_eq(refused.number, 0);
    cr_expect_eq(refused.campaign, 1);
    cr_expect_eq(refused.user, 5);
  }
}

Test(window, a_user_refused_before_it_opens_gets_a_ticket_later) {
  create_window(1, 1, OPENS, CLOSES);
  (void)ask_at(OPENS - 1, 1, 5, COUPON_NOT_OPEN);
  (void)ask_at(OPENS - 1, 1, 5, COUPON_NOT_OPEN);
  cr_expect_eq(ask_at(OPENS, 1, 5, COUPON_ISSUED).number, 1);
}

Test(window, a_clock_that_steps_back_does_not_shut_a_campaign_that_has_opened) {
  create_window(1, 100, OPENS, CLOSES);
  (void)ask_at(OPENS, 1, 10, COUPON_ISSUED);
  for (uint64_t now_ns = OPENS - 1; now_ns > 0; now_ns /= 2) {
    struct coupon_ticket ticket = ask_at(now_ns, 1, 10 + now_ns, COUPON_ISSUED);
    cr_expect_geq(ticket.time_ns, OPENS);
  }
}

Test(window, a_clock_that_steps_back_does_not_reopen_a_campaign_that_has_closed) {
  create_window(1, 100, OPENS, CLOSES);
  (void)ask_at(OPENS, 1, 10, COUPON_ISSUED);
  (void)ask_at(CLOSES, 1, 11, COUPON_ENDED);
  (void)ask_at(OPENS, 1, 11, COUPON_ENDED);
  (void)ask_at(1, 1, 12, COUPON_ENDED);
  cr_expect_eq(help_info(engine, 1).issued, 1);
}

Test(window, who_holds_a_ticket_is_told_so_in_every_state) {
  create_window(1, 2, OPENS, CLOSES);
  struct coupon_ticket original = ask_at(OPENS, 1, 5, COUPON_ISSUED);
  struct coupon_ticket again = ask(1, 5, COUPON_ALREADY_ISSUED); /* open */
  cr_expect(help_same_ticket(&again, &original));
  (void)ask(1, 6, COUPON_ISSUED);
  (void)ask(1, 7, COUPON_SOLD_OUT);
  again = ask_at(CLOSES - 1, 1, 5, COUPON_ALREADY_ISSUED); /* sold out */
  cr_expect(help_same_ticket(&again, &original));
  again = ask_at(CLOSES, 1, 5, COUPON_ALREADY_ISSUED); /* past its end, and nobody has seen that yet */
  cr_expect(help_same_ticket(&again, &original));
  (void)ask(1, 7, COUPON_ENDED);
  again = ask(1, 5, COUPON_ALREADY_ISSUED); /* closed */
  cr_expect(help_same_ticket(&again, &original));
  again = ask_at(1, 1, 5, COUPON_ALREADY_ISSUED); /* before it opens, if one believed the clock */
  cr_expect(help_same_ticket(&again, &original));
}

Test(window, ended_comes_before_sold_out) {
  create_window(1, 1, OPENS, CLOSES);
  (void)ask_at(OPENS, 1, 5, COUPON_ISSUED);
  (void)ask(1, 6, COUPON_SOLD_OUT);
  (void)ask_at(CLOSES, 1, 6, COUPON_ENDED);
}

Test(window, not_open_comes_before_sold_out_and_so_does_ended_without_stock) {
  create_window(1, 0, OPENS, CLOSES);
  (void)ask_at(OPENS - 1, 1, 6, COUPON_NOT_OPEN);
  (void)ask_at(OPENS, 1, 6, COUPON_SOLD_OUT);
  (void)ask_at(CLOSES, 1, 6, COUPON_ENDED);
}

Test(window, a_campaign_that_nobody_asked_for_while_it_was_open_has_ended) {
  create_window(1, 100, OPENS, CLOSES);
  (void)ask_at(CLOSES + 100, 1, 6, COUPON_ENDED);
  (void)ask_at(OPENS, 1, 6, COUPON_ENDED);
}

Test(window, a_user_without_a_limit_meets_the_same_window) {
  struct coupon_campaign_spec spec = help_spec(1, 10);
  spec.user_limit = 0;
  spec.opens_at_ns = OPENS;
  spec.closes_at_ns = CLOSES;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
  (void)ask_at(OPENS - 1, 1, 5, COUPON_NOT_OPEN);
  (void)ask_at(OPENS, 1, 5, COUPON_ISSUED);
  (void)ask_at(CLOSES - 1, 1, 5, COUPON_ISSUED);
  (void)ask_at(CLOSES, 1, 5, COUPON_ENDED);
  cr_expect_eq(help_info(engine, 1).issued, 2);
}

/* --- decision time ------------------------------------------------------------------------------- */

Test(decision_time, never_falls_when_the_clock_steps_back) {
  help_create(engine, 1, 1000);
  const uint64_t shown[] = {5000, 4000, 1, 5001, 4999, 9000, 1, 8999, 9000};
  uint64_t highest = 0, user = 0;
  for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
    if (shown[i] > highest) highest = shown[i];
    struct coupon_ticket ticket = ask_at(shown[i], 1, user++, COUPON_ISSUED);
    cr_expect_eq(ticket.time_ns, highest);
    cr_expect_eq(help_stats(engine).time_ns, highest);
  }
}

#define TELLERS 4
#define TOLD 5000

/* A clock that shows any time within a hundred nanoseconds, to any thread; the middle rises slowly. */
static _Atomic uint64_t wild_state, wild_middle;

static uint64_t read_wild_clock(void *context) {
  (void)context;
  uint64_t state = atomic_fetch_add(&wild_state, UINT64_C(0x9e3779b97f4a7c15));
  return atomic_fetch_add(&wild_middle, 1) / 16 + help_random(&state) % 100;
}

static void *buy_wildly(void *argument) {
  coupon_engine *of_test = argument;
  for (int i = 0; i < TOLD; i++) (void)help_ask(of_test, 1, 5);
  return NULL;
}

static void expect_times_to_rise_under_a_wild_clock(int32_t durability) {
  char path[HELP_PATH_MAX];
  wild_state = help_seed();
  wild_middle = 16 * 10000;
  help_temp_make(temp);
  struct coupon_options options = help_options(durability);
  options.callbacks.clock = read_wild_clock;
  coupon_engine *wild = help_open(durability == COUPON_NONE ? NULL : help_join(path, temp, "wild"), &options);
  struct coupon_campaign_spec spec = help_spec(1, (uint64_t)TELLERS * TOLD);
  spec.user_limit = 0;
  spec.opens_at_ns = 10100; /* soon */
  cr_assert_eq(coupon_create(wild, &spec, COUPON_FOREVER), COUPON_OK);
  pthread_t threads[TELLERS];
  for (int i = 0; i < TELLERS; i++) cr_assert_eq(pthread_create(&threads[i], NULL, buy_wildly, wild), 0);
  for (int i = 0; i < TELLERS; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  uint64_t count;
  const char *wrong = help_audit(wild, 1, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_gt(count, TELLERS * TOLD / 2);
  struct coupon_ticket first = COUPON_TICKET_INIT;
  size_t got;
  cr_assert_eq(coupon_tickets(wild, 1, 1, &first, sizeof first, 1, &got), COUPON_OK);
  cr_expect_geq(first.time_ns, spec.opens_at_ns);
  help_close(wild);
  help_temp_remove(temp);
}

/* Without a log the order of the numbers is that of the units, with one that of the places in it: two stories. */
Test(decision_time, times_of_tickets_never_fall_along_the_numbers_whatever_the_clock_shows) {
  expect_times_to_rise_under_a_wild_clock(COUPON_NONE);
}

Test(decision_time, times_of_tickets_never_fall_along_the_numbers_of_a_log_either) {
  expect_times_to_rise_under_a_wild_clock(COUPON_WRITTEN);
}

/* Requests while the clock passes the end of a window, which is where a ticket could slip out of it. */
#define CROSSINGS 300

struct crossing {
  uint64_t campaign;
  uint64_t issued, last_time_ns;
  bool issued_after_end;
};

static void *cross(void *argument) {
  struct crossing *crossing = argument;
  bool ended = false;
  for (uint64_t i = 0; i < 60; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    atomic_fetch_add(&clock_of_test.now_ns, 1);
    coupon_status status = coupon_issue(engine, crossing->campaign, 5, COUPON_FOREVER, &ticket);
    if (status == COUPON_ISSUED) {
      crossing->issued++;
      crossing->last_time_ns = ticket.time_ns;
      crossing->issued_after_end |= ended;
    }
    ended |= status == COUPON_ENDED;
  }
  return NULL;
}

Test(decision_time, no_ticket_bears_a_time_beside_its_window_when_requests_race_with_the_end) {
  for (uint64_t id = 1; id <= CROSSINGS; id++) {
    const uint64_t now_ns = atomic_load(&clock_of_test.now_ns), closes = now_ns + 60;
    struct coupon_campaign_spec spec = help_spec(id, 1000);
    spec.user_limit = 0;
    spec.opens_at_ns = now_ns + 10;
    spec.closes_at_ns = closes;
    cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
    struct crossing crossings[2] = {{.campaign = id}, {.campaign = id}};
    pthread_t other;
    cr_assert_eq(pthread_create(&other, NULL, cross, &crossings[0]), 0);
    (void)cross(&crossings[1]);
    cr_assert_eq(pthread_join(other, NULL), 0);
    cr_expect_eq(help_info(engine, id).issued, crossings[0].issued + crossings[1].issued);
    struct coupon_ticket tickets[120];
    size_t count;
    cr_assert_eq(coupon_tickets(engine, id, 1, tickets, sizeof tickets[0], 120, &count), COUPON_OK);
    for (size_t i = 0; i < count; i++) {
      cr_expect_geq(tickets[i].time_ns, spec.opens_at_ns);
      cr_expect_lt(tickets[i].time_ns, closes);
    }
    cr_expect_not(crossings[0].issued_after_end || crossings[1].issued_after_end);
    (void)ask(id, 6, COUPON_ENDED);
  }
}

/* --- the state that coupon_info() tells ---------------------------------------------------------- */

static int32_t state_at(uint64_t now_ns, uint64_t campaign) {
  show(now_ns);
  return help_info(engine, campaign).state;
}

Test(state, follows_the_clock_without_any_request) {
  create_window(1, 5, OPENS, CLOSES);
  cr_expect_eq(state_at(1, 1), COUPON_STATE_SCHEDULED);
  cr_expect_eq(state_at(OPENS - 1, 1), COUPON_STATE_SCHEDULED);
  cr_expect_eq(state_at(OPENS, 1), COUPON_STATE_OPEN);
  cr_expect_eq(state_at(CLOSES - 1, 1), COUPON_STATE_OPEN);
  cr_expect_eq(state_at(CLOSES, 1), COUPON_STATE_CLOSED);
  cr_expect_eq(state_at(UINT64_MAX, 1), COUPON_STATE_CLOSED);
}

Test(state, follows_the_requests) {
  create_window(1, 1, OPENS, CLOSES);
  (void)ask_at(1, 1, 5, COUPON_NOT_OPEN);
  cr_expect_eq(state_at(1, 1), COUPON_STATE_SCHEDULED);
  (void)ask_at(OPENS, 1, 5, COUPON_ISSUED);
  cr_expect_eq(state_at(OPENS, 1), COUPON_STATE_SOLD_OUT);
  (void)ask(1, 6, COUPON_SOLD_OUT);
  cr_expect_eq(state_at(OPENS, 1), COUPON_STATE_SOLD_OUT);
  (void)ask_at(CLOSES, 1, 6, COUPON_ENDED);
  cr_expect_eq(state_at(CLOSES, 1), COUPON_STATE_CLOSED);
}

Test(state, does_not_go_back_with_the_clock) {
  create_window(1, 5, OPENS, CLOSES);
  cr_expect_eq(state_at(OPENS, 1), COUPON_STATE_OPEN);
  cr_expect_eq(state_at(1, 1), COUPON_STATE_OPEN);
  cr_expect_eq(state_at(CLOSES, 1), COUPON_STATE_CLOSED);
  cr_expect_eq(state_at(OPENS, 1), COUPON_STATE_CLOSED);
}

Test(state, without_stock_it_is_scheduled_then_sold_out_then_closed) {
  create_window(1, 0, OPENS, CLOSES);
  cr_expect_eq(state_at(1, 1), COUPON_STATE_SCHEDULED);
  cr_expect_eq(state_at(OPENS, 1), COUPON_STATE_SOLD_OUT);
  cr_expect_eq(state_at(CLOSES, 1), COUPON_STATE_CLOSED);
}

Test(state, the_list_tells_the_same) {
  create_window(1, 5, OPENS, CLOSES);
  const uint64_t moments[] = {1, OPENS, CLOSES};
  for (int i = 0; i < 3; i++) {
    struct coupon_campaign_info info;
    size_t count;
    show(moments[i]);
    cr_assert_eq(coupon_list(engine, 0, &info, sizeof info, 1, &count), COUPON_OK);
    cr_expect_eq(info.state, help_info(engine, 1).state);
  }
}

/* --- after a restart ----------------------------------------------------------------------------- */

static void open_and_close_some(void) {
  create_window(1, 100, OPENS, CLOSES);     /* will have closed */
  create_window(2, 100, OPENS, CLOSES * 9); /* will be open */
  create_window(3, 100, CLOSES * 9, 0);     /* will not have opened */
  create_window(4, 100, OPENS, CLOSES);     /* will have closed, asked for only afterwards */
  (void)ask_at(OPENS, 1, 5, COUPON_ISSUED);
  (void)ask_at(OPENS, 2, 5, COUPON_ISSUED);
  (void)ask_at(CLOSES, 1, 6, COUPON_ENDED);
  (void)ask_at(CLOSES, 3, 6, COUPON_NOT_OPEN);
  (void)ask_at(CLOSES, 4, 6, COUPON_ENDED);
}

static void expect_them_as_they_were(void) {
  (void)ask(1, 5, COUPON_ALREADY_ISSUED);
  (void)ask(1, 7, COUPON_ENDED);
  (void)ask(2, 5, COUPON_ALREADY_ISSUED);
  cr_expect_geq(ask(2, 7, COUPON_ISSUED).time_ns, OPENS);
  (void)ask(3, 7, COUPON_NOT_OPEN);
  (void)ask(4, 7, COUPON_ENDED);
}

Test(restart, what_has_opened_is_open_and_what_has_closed_is_closed_though_the_clock_is_back) {
  open_and_close_some();
  show(1);
  restart();
  expect_them_as_they_were();
}

Test(restart, the_same_after_the_process_was_killed) {
  open_and_close_some();
  show(1);
  restart_as_if_killed();
  expect_them_as_they_were();
}

Test(restart, decision_time_goes_on_from_the_last_ticket) {
  help_create(engine, 1, 100);
  (void)ask_at(5000, 1, 5, COUPON_ISSUED);
  show(1);
  restart_as_if_killed();
  cr_expect_geq(help_stats(engine).time_ns, 5000);
  cr_expect_geq(ask_at(1, 1, 6, COUPON_ISSUED).time_ns, 5000);
}

Test(restart, after_a_clean_close_decision_time_goes_on_from_the_last_look_at_the_clock) {
  help_create(engine, 1, 100);
  (void)ask_at(5000, 1, 5, COUPON_ISSUED);
  show(7000);
  restart();
  cr_expect_geq(ask_at(1, 1, 6, COUPON_ISSUED).time_ns, 7000);
}

Test(restart, a_campaign_opens_and_closes_at_its_times_across_restarts) {
  create_window(1, 100, OPENS, CLOSES);
  show(OPENS - 1);
  restart();
  (void)ask(1, 5, COUPON_NOT_OPEN);
  show(OPENS);
  restart();
  (void)ask(1, 5, COUPON_ISSUED);
  show(CLOSES - 1);
  restart();
  (void)ask(1, 6, COUPON_ISSUED);
  show(CLOSES);
  restart();
  (void)ask(1, 7, COUPON_ENDED);
  cr_expect_eq(help_info(engine, 1).issued, 2);
}

Test(restart, a_campaign_that_nobody_asked_for_while_it_was_open_has_ended) {
  create_window(1, 100, OPENS, CLOSES);
  (void)ask_at(CLOSES * 2, 1, 6, COUPON_ENDED);
  show(1);
  restart_as_if_killed();
  (void)ask_at(OPENS, 1, 6, COUPON_ENDED);
}

/* --- the system's clock -------------------------------------------------------------------------- */

static uint64_t utc_now(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

Test(system_clock, without_a_callback_times_are_utc) {
  coupon_engine *other = help_open_in_memory();
  help_create(other, 1, 1);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  const uint64_t before = utc_now();
  cr_assert_eq(coupon_try_issue(other, 1, 5, &ticket), COUPON_ISSUED);
  const uint64_t after = utc_now();
  cr_expect_geq(ticket.time_ns, before - 1000, "the clock moves in microseconds");
  cr_expect_leq(ticket.time_ns, after);
  help_close(other);
}
