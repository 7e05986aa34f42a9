/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that nobody is forgotten: whoever waits for finality, for room in the log buffer, on the eventfd or for
 * the durable callback is told, also if nothing else happens afterwards that could tell them.
 *
 * How: callers who always wait before they ask again, alone and in twos and fours, so that each publishes just as
 * the commit stage is about to sleep, or to let go; some of them make the step themselves. Somebody forgotten would
 * wait for ever, and the test run into its time limit.
 */
#include "support/race_help.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define CAMPAIGN 1

/* What the durable callback was told last. */
static _Atomic uint64_t told_lsn;

/* Of the callback, of which there is one at a time. */
static struct race_random commit_random;

static void durable(void *context, uint64_t durable_lsn, coupon_status fault) {
  (void)context;
  RACE_CHECK(durable_lsn != 0, "nothing is durable without a log");
  RACE_CHECK(fault == COUPON_OK, "%s", coupon_status_name(fault));
  RACE_CHECK(durable_lsn > atomic_load(&told_lsn), "told %" PRIu64 " after %" PRIu64, durable_lsn,
             atomic_load(&told_lsn));
  atomic_store(&told_lsn, durable_lsn);
  /* Who was told asks again meanwhile, and publishes just as the commit stage goes to sleep. */
  race_dally(race_next(&commit_random) & ((UINT64_C(1) << (4 + race_below(&commit_random, 11))) - 1));
}

/* How a caller learns that its ticket is final. */
enum way { BY_ISSUE, BY_WAIT, BY_EVENTFD, BY_CALLBACK };

struct wake {
  coupon_engine *engine;
  enum way way;
  uint64_t calls; /* of each caller */
  struct race_barrier barrier;
};

static void wait_by_eventfd(struct wake *wake, const struct coupon_ticket *ticket) {
  uint64_t lsn = 0, times;
  struct pollfd readable = {.events = POLLIN};
  RACE_CHECK(coupon_eventfd(wake->engine, &readable.fd) == COUPON_OK, "no eventfd");
  for (;;) {
    RACE_CHECK(coupon_durable_lsn(wake->engine, &lsn) == COUPON_OK, "no durable LSN");
    if (lsn >= ticket->lsn) return;
    RACE_CHECK(poll(&readable, 1, -1) == 1 || errno == EINTR, "poll");
    (void)!read(readable.fd, &times, sizeof times); /* then look again */
  }
}

static void wait_by_callback(const struct coupon_ticket *ticket) {
  for (uint32_t turns = 0; atomic_load(&told_lsn) < ticket->lsn;) race_turn(&turns);
}

static void call(struct wake *wake, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = COUPON_E_BUSY;
  if (wake->way != BY_ISSUE) status = coupon_try_issue(wake->engine, CAMPAIGN, user, &ticket);
  if (status == COUPON_E_BUSY) status = coupon_issue(wake->engine, CAMPAIGN, user, COUPON_FOREVER, &ticket);
  RACE_CHECK(status == COUPON_ISSUED, "%s", coupon_status_name(status));
  if (wake->way == BY_EVENTFD) wait_by_eventfd(wake, &ticket);
  if (wake->way == BY_CALLBACK) wait_by_callback(&ticket);
  if (wake->way == BY_WAIT) RACE_CHECK(coupon_wait(wake->engine, &ticket, COUPON_FOREVER) == COUPON_OK, "waiting");
  if (wake->way != BY_ISSUE) RACE_CHECK(coupon_wait(wake->engine, &ticket, COUPON_POLL) == COUPON_OK, "not final");
  RACE_CHECK((ticket.flags & COUPON_TICKET_FINAL) != 0 && ticket.number != 0, "final, and not completed");
}

static void call_on(void *context, uint32_t thread) {
  struct wake *wake = context;
  struct race_random random = race_stream(thread);
  uint64_t meetings = 0;
  race_meet(&wake->barrier, &meetings);
  race_dawdle(race_stream(thread + 10), 16);
  for (uint64_t i = 0; i < wake->calls; i++) {
    if (race_below(&random, 2) == 0) race_dally(race_below(&random, 500));
    call(wake, i * 8 + thread);
  }
  race_dawdle(random, 0);
}

static void run(const char *name, int32_t durability, enum way way, uint32_t callers, uint64_t log_buffer_bytes,
                uint64_t calls) {
  struct wake wake = {.way = way, .calls = calls};
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  char path[RACE_PATH_MAX];
  const bool on_disk = durability != COUPON_NONE;
  if (on_disk) race_directory_create(path);
  options.durability = durability;
  options.segment_size_bytes = RACE_SEGMENT_SIZE * 8;
  options.log_buffer_bytes = log_buffer_bytes;
  if (way == BY_CALLBACK) options.callbacks.durable = durable; /* elsewhere callers may commit themselves */
  atomic_store(&told_lsn, 0);
  commit_random = race_stream(100);
  wake.engine = race_open_with(on_disk ? path : NULL, &options, &report);
  race_campaign(wake.engine, CAMPAIGN, calls * callers, 1, 0, 0);
  race_barrier_init(&wake.barrier, callers);
  race_run(callers, call_on, &wake);
  RACE_CHECK(race_info_of(wake.engine, CAMPAIGN).remaining == 0, "not all was issued");
  race_close(wake.engine);
  RACE_CHECK(on_disk || atomic_load(&told_lsn) == 0, "told of finality where everything is final at once");
  if (on_disk) race_directory_remove(path);
  printf("%s: %u at once, %" PRIu64 " calls each, nobody forgotten\n", name, callers, calls);
}

int main(int argc, char **argv) {
  race_begin("race_wake", argc, argv);
  const uint64_t many = race_rounds(10000, 1000);
  run("issue and wait, written", COUPON_WRITTEN, BY_ISSUE, 1, 0, many);
  run("issue and wait, written", COUPON_WRITTEN, BY_ISSUE, 2, 0, many / 2);
  run("issue and wait, written", COUPON_WRITTEN, BY_ISSUE, 4, 0, many / 2);
  run("issue and wait, small buffer, written", COUPON_WRITTEN, BY_ISSUE, 4, 4096, many / 2);
  run("issue and wait, sync", COUPON_SYNC, BY_ISSUE, 1, 0, race_rounds(300, 50));
  run("issue and wait, sync", COUPON_SYNC, BY_ISSUE, 4, 0, race_rounds(300, 50));
  run("issue and wait, none", COUPON_NONE, BY_ISSUE, 2, 0, many * 4);
  run("issue, then wait, written", COUPON_WRITTEN, BY_WAIT, 1, 0, many);
  run("issue, then wait, none", COUPON_NONE, BY_WAIT, 4, 4096, many * 2);
  run("small buffer, written", COUPON_WRITTEN, BY_WAIT, 4, 4096, many / 2);
  run("eventfd, written", COUPON_WRITTEN, BY_EVENTFD, 1, 0, many);
  run("callback, written", COUPON_WRITTEN, BY_CALLBACK, 1, 0, many);
  run("final at once, none", COUPON_NONE, BY_CALLBACK, 2, 0, many);
  return 0;
}
