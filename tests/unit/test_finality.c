/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows how an answer becomes final, and how one waits for that.
 *
 * How: engines on a real directory, with the system's calls behind a disk that fails, holds or stutters
 * (support/engine_help.h); where the moment of a commit matters there is no commit thread, and the test steps.
 */
#include "base/points.h"
#include "support/failing.h"
#include "support/on_disk.h"

ON_DISK_SUITE(finality);
ON_DISK_SUITE(waiting);

/* --- decided and final ----------------------------------------------------------------------------- */

static void expect_final_at_once(int32_t durability) {
  struct coupon_options options = help_options(durability);
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, 100);
  for (uint64_t i = 1; i <= 20; i++) {
    struct coupon_ticket ticket = ask(engine, 1, i, COUPON_FOREVER, COUPON_ISSUED);
    uint64_t durable = 0;
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
    cr_expect_eq(ticket.number, i);
    cr_expect_eq(coupon_durable_lsn(engine, &durable), COUPON_OK);
    cr_expect_geq(durable, ticket.lsn);
  }
  help_close(engine);
}

Test(finality, a_waiting_request_returns_a_final_answer_with_its_number_under_sync) {
  expect_final_at_once(COUPON_SYNC);
}

Test(finality, a_waiting_request_returns_a_final_answer_with_its_number_under_written) {
  expect_final_at_once(COUPON_WRITTEN);
}

Test(finality, under_sync_no_answer_is_final_before_its_own_sync) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100);
  for (uint64_t i = 1; i <= 10; i++) {
    uint64_t before = disk.calls[HELP_SYNC];
    (void)ask(engine, 1, i, COUPON_FOREVER, COUPON_ISSUED);
    cr_expect_gt(disk.calls[HELP_SYNC], before);
  }
  help_close(engine);
}

Test(finality, under_written_answers_do_not_wait_for_a_sync) {
  struct coupon_options options = help_options(COUPON_WRITTEN);
  options.segment_size_bytes = UINT64_C(1) << 20; /* none is filled */
  coupon_engine *engine = help_open_env(&env, data, &options);
  uint64_t before = disk.calls[HELP_SYNC];
  help_create(engine, 1, 100);
  for (uint64_t i = 1; i <= 10; i++) (void)ask(engine, 1, i, COUPON_FOREVER, COUPON_ISSUED);
  cr_expect_eq(disk.calls[HELP_SYNC], before);
  cr_expect_eq(coupon_close(engine), COUPON_OK);
  cr_expect_gt(disk.calls[HELP_SYNC], before, "closing syncs what is left");
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

Test(finality, an_answer_is_decided_before_it_is_final_and_has_no_number_until_then) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 10);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_try_issue(engine, 1, 5, &ticket), COUPON_ISSUED);
  cr_expect_eq(ticket.number, 0);
  cr_expect_eq(ticket.flags, 0);
  struct coupon_ticket again = ask(engine, 1, 5, COUPON_POLL, COUPON_ALREADY_ISSUED);
  cr_expect(help_same_ticket(&ticket, &again));
  cr_expect_eq(again.flags, 0);
  struct coupon_ticket found = COUPON_TICKET_INIT;
  uint64_t count = 0;
  cr_expect_eq(coupon_lookup(engine, 1, 5, &found, &count), COUPON_OK);
  cr_expect(help_same_ticket(&ticket, &found));
  cr_expect_eq(found.flags, 0);
  cr_expect_eq(count, 1);
  size_t listed = 77;
  cr_expect_eq(coupon_tickets(engine, 1, 1, &found, sizeof found, 1, &listed), COUPON_OK);
  cr_expect_eq(listed, 0, "the page ends at the newest that has its number");
  cr_expect_eq(help_info(engine, 1).issued, 1);
  uint64_t durable = 0;
  cr_expect_eq(coupon_durable_lsn(engine, &durable), COUPON_OK);
  cr_expect_lt(durable, ticket.lsn);
  step(engine);
  cr_expect_eq(coupon_durable_lsn(engine, &durable), COUPON_OK);
  cr_expect_geq(durable, ticket.lsn);
  again = ask(engine, 1, 5, COUPON_POLL, COUPON_ALREADY_ISSUED);
  cr_expect_eq(again.number, 1);
  cr_expect_eq(again.lsn, ticket.lsn);
  cr_expect_eq(again.time_ns, ticket.time_ns);
  cr_expect_eq(again.flags, COUPON_TICKET_FINAL);
  help_close(engine);
}

static coupon_engine *overtaking;

/* As a commit thread that is quicker than the caller. */
static void commit_when_published(enum cpn_point point) {
  if (point == CPN_POINT_PUBLISHED) step(overtaking);
}

Test(finality, an_answer_that_the_commit_has_overtaken_is_final_and_has_its_number) {
  overtaking = open_stepped(UINT64_C(1) << 16);
  create_stepped(overtaking, 1, 100);
  struct coupon_campaign_spec spec = help_spec(2, 100);
  spec.user_limit = 0;
  cr_assert_eq(coupon_create(overtaking, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  step(overtaking);
  cpn_point_hook = commit_when_published;
  for (uint64_t i = 1; i <= 5; i++) {
    for (uint64_t campaign = 1; campaign <= 2; campaign++) {
      struct coupon_ticket ticket = COUPON_TICKET_INIT;
      cr_assert_eq(coupon_try_issue(overtaking, campaign, i, &ticket), COUPON_ISSUED);
      cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
      cr_expect_eq(ticket.number, i);
    }
  }
  cpn_point_hook = NULL;
  help_close(overtaking);
}

Test(finality, a_refusal_is_final_when_what_it_rests_on_is) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 1);
  struct coupon_ticket last = ask(engine, 1, 5, COUPON_POLL, COUPON_ISSUED);
  struct coupon_ticket refused = ask(engine, 1, 6, COUPON_POLL, COUPON_SOLD_OUT);
  cr_expect_eq(refused.flags, 0, "if the last ticket is lost, it is not sold out");
  cr_expect_geq(refused.lsn, last.lsn);
  cr_expect_eq(coupon_wait(engine, &refused, COUPON_POLL), COUPON_NOT_FINAL);
  step(engine);
  cr_expect_eq(coupon_wait(engine, &refused, COUPON_POLL), COUPON_OK);
  cr_expect_eq(refused.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(refused.number, 0);
  help_close(engine);
}

Test(finality, a_creation_rests_on_a_position_of_its_own) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  uint64_t last = 0;
  for (uint64_t id = 10; id < 20; id++) {
    help_create(engine, id, 1);
    uint64_t lsn = help_info(engine, id).created_lsn, durable = 0;
    cr_expect_gt(lsn, last);
    cr_expect_eq(coupon_durable_lsn(engine, &durable), COUPON_OK);
    cr_expect_leq(lsn, durable);
    last = lsn;
  }
  help_close(engine);
}

Test(finality, a_campaign_exists_before_its_creation_is_final) {
  coupon_engine *engine = open_stepped(65536);
  struct coupon_campaign_spec spec = help_spec(1, 10);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  cr_expect_eq(coupon_create(engine, &spec, coupon_deadline_after(1000)), COUPON_NOT_FINAL);
  cr_expect_eq(help_info(engine, 1).remaining, 10);
  spec.stock = 11;
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_E_EXISTS);
  spec.stock = 10;
  step(engine);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_OK);
  help_close(engine);
}

Test(finality, a_group_gathers_and_is_final_in_the_end) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.commit_delay_ns = 5000000;
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, 100);
  struct coupon_ticket tickets[20];
  for (uint64_t i = 0; i < 20; i++) {
    tickets[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
    cr_assert_eq(coupon_try_issue(engine, 1, i, &tickets[i]), COUPON_ISSUED);
  }
  for (uint64_t i = 0; i < 20; i++) {
    cr_expect_eq(coupon_wait(engine, &tickets[i], COUPON_FOREVER), COUPON_OK);
    cr_expect_eq(tickets[i].number, i + 1);
  }
  cr_expect_eq(ask(engine, 1, 99, COUPON_FOREVER, COUPON_ISSUED).flags, COUPON_TICKET_FINAL);
  help_close(engine);
}

/* Without the flush the rounds would take so many times the delay, and the test be ended as one that hangs. */
Test(finality, a_flush_ends_the_gathering_of_what_was_decided_before_it) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.commit_delay_ns = 1000000000;
  coupon_engine *engine = help_open_env(&env, data, &options);
  struct coupon_campaign_spec spec = help_spec(1, 1000);
  cr_assert_eq(coupon_flush(engine), COUPON_OK, "there is nothing to flush");
  cr_assert_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  enum { ROUNDS = HANGS_AFTER_S + 10 };
  for (uint64_t round = 0; round < ROUNDS; round++) {
    struct coupon_ticket tickets[5];
    for (uint64_t i = 0; i < 5; i++) {
      tickets[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
      cr_assert_eq(coupon_try_issue(engine, 1, round * 5 + i, &tickets[i]), COUPON_ISSUED);
    }
    cr_assert_eq(coupon_flush(engine), COUPON_OK);
    for (uint64_t i = 0; i < 5; i++) cr_expect_eq(coupon_wait(engine, &tickets[i], COUPON_FOREVER), COUPON_OK);
  }
  /* Each round is one commit; so may be the life's beginning, and the creation. */
  cr_expect_leq(help_stats(engine).commits, ROUNDS + 2);
  help_close(engine);
}

Test(finality, closing_makes_final_what_was_still_gathering) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.commit_delay_ns = 1000000000;
  coupon_engine *engine = help_open(data, &options);
  struct coupon_campaign_spec spec = help_spec(1, 10);
  cr_expect_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  cr_expect_eq(help_try(engine, 1, 5), COUPON_ISSUED);
  help_close(engine);
  options.commit_delay_ns = 0;
  engine = help_open(data, &options);
  cr_expect_eq(help_try(engine, 1, 5), COUPON_ALREADY_ISSUED);
  help_close(engine);
}

/* Until the commit thread has nothing more to do and has said that it sleeps. */
static void until_idle(coupon_engine *engine) {
  while (atomic_load(&engine->idle) == 0) (void)usleep(1000);
}

Test(finality, who_is_refused_or_holds_a_ticket_wakes_nobody) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 1);
  (void)ask(engine, 1, 1, COUPON_FOREVER, COUPON_ISSUED);
  (void)ask(engine, 1, 2, COUPON_FOREVER, COUPON_SOLD_OUT);
  until_idle(engine);
  uint32_t told = cpn_event_look(&engine->work);
  for (uint64_t user = 1; user <= 100; user++)
    (void)ask(engine, 1, user, COUPON_FOREVER, user == 1 ? COUPON_ALREADY_ISSUED : COUPON_SOLD_OUT);
  cr_expect_eq(cpn_event_look(&engine->work), told, "the commit thread was told of something");
  /* The test can fail: whoever publishes does tell. */
  help_create(engine, 2, 1);
  cr_expect_neq(cpn_event_look(&engine->work), told);
  help_close(engine);
}

Test(finality, every_sync_is_counted_with_the_time_it_took) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100);
  help_disk_hold(&disk);
  (void)ask(engine, 1, 1, COUPON_POLL, COUPON_ISSUED);
  help_disk_wait_held(&disk);
  (void)usleep(3000);
  help_disk_release(&disk);
  for (uint64_t user = 1; user < 5; user++)
    (void)ask(engine, 1, user, COUPON_FOREVER, user == 1 ? COUPON_ALREADY_ISSUED : COUPON_ISSUED);
  struct coupon_stats stats = help_stats(engine);
  uint64_t counted = 0, long_ones = 0;
  for (unsigned i = 0; i < COUPON_SYNC_BUCKETS; i++) {
    counted += stats.sync_counts[i];
    if (i >= 12) long_ones += stats.sync_counts[i]; /* of 2,048 microseconds and more */
  }
  cr_expect_eq(counted, stats.syncs);
  cr_expect_geq(long_ones, 1);
  cr_expect_geq(stats.sync_time_ns, UINT64_C(3000) * 1000);
  help_close(engine);
}

/* --- waiting --------------------------------------------------------------------------------------- */

Test(waiting, a_deadline_that_has_passed_only_looks) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  const int64_t deadlines[] = {COUPON_POLL, 1, -1, INT64_MIN, -999999999, coupon_deadline_after(0)};
  for (uint64_t i = 0; i < 6; i++) {
    struct coupon_ticket ticket = ask(engine, 1, i, deadlines[i], COUPON_ISSUED);
    cr_expect_eq(ticket.flags, 0);
    cr_expect_eq(ticket.number, 0);
    cr_expect_eq(coupon_wait(engine, &ticket, deadlines[i]), COUPON_NOT_FINAL);
    step(engine);
    cr_expect_eq(coupon_wait(engine, &ticket, deadlines[i]), COUPON_OK);
    cr_expect_eq(ticket.number, i + 1);
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
  }
  help_close(engine);
}

Test(waiting, until_a_deadline_that_passes_meanwhile_ends_without_finality) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  struct coupon_ticket ticket = ask(engine, 1, 5, coupon_deadline_after(2000000), COUPON_ISSUED);
  cr_expect_eq(ticket.flags, 0);
  int64_t deadline = coupon_deadline_after(2000000);
  cr_expect_eq(coupon_wait(engine, &ticket, deadline), COUPON_NOT_FINAL);
  cr_expect_geq(cpn_monotonic_ns(), deadline, "it gave up early");
  help_close(engine);
}

struct wait {
  coupon_engine *engine;
  struct coupon_ticket ticket;
  coupon_status status;
};

static void *wait_for_ticket(void *argument) {
  struct wait *wait = argument;
  wait->status = coupon_wait(wait->engine, &wait->ticket, COUPON_FOREVER);
  return NULL;
}

Test(waiting, for_ever_ends_with_the_commit) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  struct wait waits[4];
  pthread_t threads[4];
  for (uint64_t i = 0; i < 4; i++) {
    waits[i].engine = engine;
    waits[i].ticket = ask(engine, 1, i, COUPON_POLL, COUPON_ISSUED);
    cr_assert_eq(pthread_create(&threads[i], NULL, wait_for_ticket, &waits[i]), 0);
  }
  step(engine);
  for (uint64_t i = 0; i < 4; i++) {
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(waits[i].status, COUPON_OK);
    cr_expect_eq(waits[i].ticket.number, i + 1);
    cr_expect_eq(waits[i].ticket.flags, COUPON_TICKET_FINAL);
  }
  help_close(engine);
}

Test(waiting, for_an_answer_that_the_log_does_not_have_is_a_bad_argument) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  const struct coupon_ticket real = ask(engine, 1, 5, COUPON_POLL, COUPON_ISSUED);
  step(engine);
  struct coupon_ticket wrong = real;
  wrong.lsn = help_stats(engine).reserved_lsn + 8; /* beyond its end */
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong.lsn = UINT64_MAX;
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong = real;
  wrong.user = 6; /* another's */
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong = real;
  wrong.campaign = 404;
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong = real;
  wrong.lsn -= 8; /* nobody's */
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_E_INVAL);
  wrong = real;
  cr_expect_eq(coupon_wait(engine, &wrong, COUPON_FOREVER), COUPON_OK);
  help_close(engine);
}

Test(waiting, for_an_answer_of_an_earlier_life_that_was_cut_is_a_bad_argument) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  struct coupon_ticket kept = ask(engine, 1, 5, COUPON_POLL, COUPON_ISSUED);
  step(engine);
  struct coupon_ticket lost = ask(engine, 1, 6, COUPON_POLL, COUPON_ISSUED);
  char copy[HELP_PATH_MAX];
  help_copy_directory(data, help_join(copy, temp, "copy")); /* as if killed here */
  help_close(engine);
  struct coupon_options options = help_options(COUPON_SYNC);
  engine = help_open(copy, &options);
  for (uint64_t user = 10; user < 20; user++) (void)ask(engine, 1, user, COUPON_FOREVER, COUPON_ISSUED);
  cr_expect_eq(coupon_wait(engine, &lost, COUPON_FOREVER), COUPON_E_INVAL);
  cr_expect_eq(coupon_wait(engine, &kept, COUPON_FOREVER), COUPON_OK);
  cr_expect_eq(kept.number, 1);
  (void)ask(engine, 1, 6, COUPON_FOREVER, COUPON_ISSUED);
  help_close(engine);
}
