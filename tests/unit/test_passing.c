/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a caller who waits, and whose own answer is final at once, has nevertheless told the commit thread of what
 * it published on the way: a place that it reserved and gave up is a hole until then, and whoever published behind it
 * has told nobody, because there was nothing to be committed yet.
 *
 * How: one thread plays all parts, one call inside the other. In the caller's clock the last unit goes to another and
 * the refusal becomes final; so the caller's place lies behind what the refusal rests on. While it is reserved,
 * somebody else publishes behind it, finds a hole, and relies on the caller. Nobody calls afterwards.
 */
#include "base/points.h"
#include "engine/engine.h"
#include "support/on_disk.h"

ON_DISK_SUITE(passing);

static struct {
  coupon_engine *engine;
  bool armed, between, behind;  /* at the next claim; at the next look at the clock; at the next place */
  struct coupon_ticket refused; /* the first to be */
  struct coupon_ticket later;   /* behind the hole */
} play;

static bool refusal_is_final(void *context) {
  (void)context;
  return coupon_wait(play.engine, &play.refused, COUPON_POLL) == COUPON_OK;
}

static bool thread_sleeps(void *context) {
  (void)context;
  return atomic_load(&play.engine->idle) != 0;
}

/* It only looks: nothing that is asked here tells the commit thread anything. */
static bool later_is_final(void *context) {
  (void)context;
  uint64_t durable = 0;
  return coupon_durable_lsn(play.engine, &durable) == COUPON_OK && durable >= play.later.lsn;
}

/* The caller has read that there is a unit, and has no place in the log yet. */
static uint64_t clock_between(void *context) {
  if (play.between) {
    play.between = false;
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_try_issue(play.engine, 1, 2, &ticket), COUPON_ISSUED);
    cr_assert_eq(coupon_try_issue(play.engine, 1, 3, &play.refused), COUPON_SOLD_OUT);
    cr_assert(help_until(refusal_is_final, NULL));
    cr_assert(help_until(thread_sleeps, NULL));
    play.behind = true;
  }
  return help_clock_read(context);
}

static void at_point(enum cpn_point point) {
  if (point == CPN_POINT_CLAIMED && play.armed) {
    play.armed = false;
    play.between = true;
  }
  if (point == CPN_POINT_RESERVED && play.behind) {
    play.behind = false;
    cr_assert_eq(coupon_try_issue(play.engine, 2, 4, &play.later), COUPON_ISSUED);
  }
}

static void expect_nobody_forgotten(int64_t deadline) {
  struct help_clock clock = {.now_ns = UINT64_C(1700000000000000000)};
  struct coupon_options options = help_options_with_clock(COUPON_WRITTEN, &clock);
  options.callbacks.clock = clock_between;
  play.refused = play.later = (struct coupon_ticket)COUPON_TICKET_INIT;
  play.engine = help_open(data, &options);
  help_create(play.engine, 1, 1);
  help_create(play.engine, 2, 10);
  cpn_point_hook = at_point;
  play.armed = true;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_expect_eq(coupon_issue(play.engine, 1, 1, deadline, &ticket), COUPON_SOLD_OUT);
  cpn_point_hook = NULL;
  cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
  cr_expect_lt(ticket.lsn, play.later.lsn);
  cr_expect(help_until(later_is_final, NULL), "whoever published behind the hole was forgotten");
  help_close(play.engine);
}

Test(passing, a_place_that_was_given_up_by_one_whose_refusal_is_final_is_committed) {
  expect_nobody_forgotten(COUPON_FOREVER);
}

Test(passing, the_same_with_a_deadline) { expect_nobody_forgotten(COUPON_POLL); }

/* --- how much a caller commits in passing -------------------------------------------------------------- */

/* Producers who go on while the stage drains: each run that is taken is followed by another. */
static struct cpn_buffer ring;

static void publish(uint32_t places) {
  for (uint32_t i = 0; i < places; i++) {
    uint64_t time_ns, at = cpn_buffer_reserve(&ring, 2, &time_ns);
    cr_assert_neq(at, CPN_LSN_NONE);
    cpn_buffer_void(&ring, at, 2);
  }
}

static void publish_on(void *context, uint64_t lsn, const unsigned char *bytes, size_t size) {
  (void)context, (void)lsn, (void)bytes;
  if (cpn_buffer_tail(&ring) < UINT64_C(60000)) publish((uint32_t)(size / 16));
}

static int count_payload(void *context, const struct cpn_batch *batch) {
  *(uint64_t *)context = batch->payload_bytes;
  return 0;
}

static void do_nothing(void *context) { (void)context; }

/* A caller looks whether what is reserved goes into the segment, and does not make another one. */
Test(passing, a_step_takes_no_more_than_it_was_asked_to_though_more_is_published_meanwhile) {
  struct help_clock shown = {.now_ns = 1};
  struct cpn_clock clock;
  struct cpn_commit commit;
  uint64_t payload = 0;
  cpn_clock_init(&clock, help_clock_read, &shown);
  cr_assert(cpn_buffer_init(&ring, 65536, 0, &clock));
  const struct cpn_sink sink = {.context = &payload, .commit = count_payload};
  cr_assert(cpn_commit_init(&commit, &ring, sink, 65536, publish_on, NULL));
  publish(1000);
  const uint64_t reserved = cpn_buffer_tail(&ring);
  cr_expect_eq(cpn_commit_step(&commit, (size_t)reserved, do_nothing, NULL), 1);
  cr_expect_eq(payload, reserved);
  cr_expect_gt(cpn_buffer_tail(&ring), reserved, "nothing was published meanwhile: the test shows nothing");
  cpn_commit_fini(&commit);
  cpn_buffer_fini(&ring);
}

/* --- the end of a log that is full --------------------------------------------------------------------- */

Test(passing, closing_syncs_what_was_written_also_where_the_log_has_no_place_for_its_last_record) {
  struct coupon_options options = help_options(COUPON_WRITTEN);
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 10);
  atomic_store(&engine->buffer.tail, COUPON_LSN_MAX - 8); /* as if: so much cannot be written in a test */
  atomic_store(&engine->buffer.drained, COUPON_LSN_MAX - 8);
  atomic_store(&engine->commit.durable, COUPON_LSN_MAX - 8);
  const uint64_t before = disk.calls[HELP_SYNC];
  cr_expect_eq(coupon_close(engine), COUPON_OK);
  cr_expect_gt(disk.calls[HELP_SYNC], before);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}
