/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows who learns that answers have become final, by callback and by eventfd, and that no callback can make a call
 * that waits.
 *
 * How: engines on a real directory, with the system's calls behind a disk that fails, holds or stutters
 * (support/engine_help.h); where the moment of a commit matters there is no commit thread, and the test steps.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/every_call.h"
#include "support/failing.h"
#include "support/on_disk.h"

ON_DISK_SUITE(telling);
ON_DISK_SUITE(callbacks);

/* --- telling --------------------------------------------------------------------------------------- */

struct told {
  coupon_engine *engine;
  _Atomic uint64_t calls, lsn, faults, next_user;
  _Atomic int32_t fault;
  _Atomic bool fell;
};

static void be_told(void *context, uint64_t durable_lsn, coupon_status fault) {
  struct told *told = context;
  if (fault != COUPON_OK) {
    told->fault = fault;
    told->faults++;
    return;
  }
  if (durable_lsn <= told->lsn) told->fell = true;
  told->lsn = durable_lsn;
  told->calls++;
}

static bool is_told_all(void *context) {
  struct told *told = context;
  struct coupon_stats stats = help_stats(told->engine);
  return told->calls == stats.commits && told->lsn == stats.reserved_lsn;
}

static void *issue_fifty(void *argument) {
  struct told *told = argument;
  uint64_t first = atomic_fetch_add(&told->next_user, 50);
  for (uint64_t user = first; user < first + 50; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    (void)!coupon_issue(told->engine, 1, user, COUPON_FOREVER, &ticket);
  }
  return NULL;
}

static void expect_told_once_per_commit(int32_t durability) {
  struct told told = {.lsn = 0};
  struct coupon_options options = help_options(durability);
  options.callbacks.durable = be_told;
  options.callbacks.context = &told;
  told.engine = help_open(durability == COUPON_NONE ? NULL : data, &options);
  help_create(told.engine, 1, 1000);
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) cr_assert_eq(pthread_create(&threads[i], NULL, issue_fifty, &told), 0);
  for (int i = 0; i < 4; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  cr_expect_eq(help_stats(told.engine).tickets, 200);
  cr_expect(help_until(is_told_all, &told), "commits nobody was told of");
  cr_expect_not(told.fell);
  help_close(told.engine);
  cr_expect_not(told.fell);
  cr_expect_eq(told.faults, 0);
}

Test(telling, the_durable_callback_comes_once_per_commit_and_its_position_always_rises) {
  expect_told_once_per_commit(COUPON_SYNC);
}

/* Whether the eventfd becomes readable; resets it. */
static bool is_signalled(int fd, int timeout_ms) {
  struct pollfd ready = {.fd = fd, .events = POLLIN};
  uint64_t value;
  return poll(&ready, 1, timeout_ms) == 1 && read(fd, &value, sizeof value) == (ssize_t)sizeof value && value > 0;
}

Test(telling, the_eventfd_becomes_readable_each_time_the_durable_position_rises) {
  coupon_engine *engine = open_stepped(65536);
  int fd = -1, again = -2;
  cr_assert_eq(coupon_eventfd(engine, &fd), COUPON_OK);
  cr_expect_eq(coupon_eventfd(engine, &again), COUPON_OK);
  cr_expect_eq(fd, again, "made at the first call");
  cr_expect_not(is_signalled(fd, 0));
  create_stepped(engine, 1, 100);
  cr_expect(is_signalled(fd, 0));
  for (uint64_t user = 0; user < 5; user++) {
    cr_expect_not(is_signalled(fd, 0));
    (void)ask(engine, 1, user, COUPON_POLL, COUPON_ISSUED);
    cr_expect_not(is_signalled(fd, 0), "decided is not durable");
    step(engine);
    cr_expect(is_signalled(fd, 0));
  }
  cr_expect_eq(coupon_close(engine), COUPON_OK);
  cr_expect(is_signalled(fd, 0), "closing tells");
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
  cr_expect_eq(fcntl(fd, F_GETFD), -1, "it belonged to the engine");
}

Test(telling, the_eventfd_becomes_readable_at_closing_though_nothing_is_written) {
  make_directory_with_tickets();
  struct coupon_options in_memory = help_options(COUPON_NONE), reading = help_options(COUPON_SYNC);
  reading.read_only = 1;
  coupon_engine *engines[2] = {help_open(NULL, &in_memory), help_open(data, &reading)};
  for (int i = 0; i < 2; i++) {
    int fd = -1;
    cr_assert_eq(coupon_eventfd(engines[i], &fd), COUPON_OK);
    cr_expect_not(is_signalled(fd, 0));
    cr_expect_eq(coupon_close(engines[i]), COUPON_OK);
    cr_expect(is_signalled(fd, 0));
    cr_expect_eq(coupon_destroy(engines[i]), COUPON_OK);
  }
}

Test(telling, an_event_loop_learns_of_every_answer_by_the_eventfd) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  int fd = -1;
  cr_assert_eq(coupon_eventfd(engine, &fd), COUPON_OK);
  help_create(engine, 1, 100);
  for (uint64_t user = 0; user < 30; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_try_issue(engine, 1, user, &ticket), COUPON_ISSUED);
    while (coupon_wait(engine, &ticket, COUPON_POLL) == COUPON_NOT_FINAL) cr_assert(is_signalled(fd, 30000));
    cr_expect_eq(ticket.number, user + 1);
  }
  help_close(engine);
}

/* Nothing is ever not final there, so there is nothing to tell: no callback, no eventfd, and the position stays 0. */
Test(telling, in_memory_nobody_is_told_since_every_answer_is_final_at_once) {
  struct told told = {.lsn = 0};
  struct coupon_options options = help_options(COUPON_NONE);
  options.callbacks.durable = be_told;
  options.callbacks.context = &told;
  coupon_engine *engine = help_open(NULL, &options);
  int fd;
  uint64_t lsn = 77;
  cr_assert_eq(coupon_eventfd(engine, &fd), COUPON_OK);
  help_create(engine, 1, 10);
  for (uint64_t user = 0; user < 12; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_expect_eq(coupon_try_issue(engine, 1, user, &ticket), user < 10 ? COUPON_ISSUED : COUPON_SOLD_OUT);
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
    cr_expect_eq(ticket.lsn, 0);
    cr_expect_eq(ticket.number, user < 10 ? user + 1 : 0);
    cr_expect_eq(coupon_wait(engine, &ticket, COUPON_POLL), COUPON_OK);
  }
  cr_expect_eq(coupon_durable_lsn(engine, &lsn), COUPON_OK);
  cr_expect_eq(lsn, 0);
  cr_expect_not(is_signalled(fd, 0));
  help_close(engine);
  cr_expect_eq(told.calls + told.faults, 0);
}

Test(telling, the_eventfd_becomes_readable_when_the_engine_fails) {
  coupon_engine *engine = open_stepped(65536);
  create_stepped(engine, 1, 100);
  int fd = -1;
  cr_assert_eq(coupon_eventfd(engine, &fd), COUPON_OK);
  help_disk_fail_next(&disk, HELP_WRITE, EIO);
  (void)ask(engine, 1, 5, COUPON_POLL, COUPON_ISSUED);
  cr_expect_lt(cpn_wait_step(engine), 0);
  cr_expect(is_signalled(fd, 0));
  cr_expect_eq(coupon_close(engine), COUPON_E_FAILED);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

Test(telling, the_durable_callback_is_told_of_the_fault_once) {
  struct told told = {.lsn = 0};
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.durable = be_told;
  options.callbacks.context = &told;
  coupon_engine *engine = help_open_env(&env, data, &options);
  help_create(engine, 1, 100);
  help_disk_fail_next(&disk, HELP_SYNC, EIO);
  (void)ask(engine, 1, 5, COUPON_FOREVER, COUPON_E_FAILED);
  cr_expect_eq(coupon_close(engine), COUPON_E_FAILED);
  cr_expect_eq(told.faults, 1);
  cr_expect_eq(told.fault, COUPON_E_IO);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
}

/* --- calls inside callbacks ------------------------------------------------------------------------ */

/* What a callback of one engine hears when it calls another, which is well. */
struct inside {
  coupon_engine *engine;
  _Atomic bool armed;
  _Atomic int calls;
  coupon_status waiting[HELP_WAITING_CALLS];
  coupon_status polling[3];
};

static void call_from_inside(struct inside *inside) {
  if (!atomic_exchange(&inside->armed, false)) return;
  inside->calls++;
  for (int i = 0; i < HELP_WAITING_CALLS; i++) inside->waiting[i] = help_waiting_calls[i].call(inside->engine);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  inside->polling[0] = coupon_issue(inside->engine, 1, 77, COUPON_POLL, &ticket);
  inside->polling[1] = coupon_wait(inside->engine, &ticket, COUPON_POLL);
  inside->polling[2] = coupon_try_issue(inside->engine, 1, 78, &ticket);
}

static void expect_refused_inside(const struct inside *inside) {
  cr_assert_eq(inside->calls, 1, "the callback was not called");
  for (int i = 0; i < HELP_WAITING_CALLS; i++)
    cr_expect_eq(inside->waiting[i], COUPON_E_IN_CALLBACK, "%s: %s", help_waiting_calls[i].name,
                 coupon_status_name(inside->waiting[i]));
  cr_expect_eq(inside->polling[0], COUPON_ISSUED, "what does not wait is allowed");
  cr_expect(inside->polling[1] == COUPON_OK || inside->polling[1] == COUPON_NOT_FINAL);
  cr_expect_eq(inside->polling[2], COUPON_ISSUED);
  cr_expect_eq(help_try(inside->engine, 1, 77), COUPON_ALREADY_ISSUED, "nothing was closed or freed");
}

static void inside_durable(void *context, uint64_t durable_lsn, coupon_status fault) {
  (void)durable_lsn, (void)fault;
  call_from_inside(context);
}

static void inside_log(void *context, int32_t level, const char *message) {
  (void)level, (void)message;
  call_from_inside(context);
}

static uint64_t inside_clock(void *context) {
  call_from_inside(context);
  return 1000;
}

static void inside_progress(void *context, uint64_t done, uint64_t total, double seconds_left) {
  (void)done, (void)total, (void)seconds_left;
  call_from_inside(context);
}

static void *inside_alloc(void *context, size_t size, size_t alignment) {
  call_from_inside(context);
  void *pointer = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (pointer != NULL) memset(pointer, 0, size);
  return pointer;
}

static void inside_free(void *context, void *pointer, size_t size) {
  (void)size;
  call_from_inside(context);
  free(pointer);
}

static void begin_inside(struct inside *inside, int32_t durability, const struct coupon_options *more) {
  struct coupon_options options = *more;
  options.durability = durability;
  options.callbacks.context = inside;
  options.allocator.context = inside;
  inside->engine = help_open(durability == COUPON_NONE ? NULL : data, &options);
  help_create(inside->engine, 1, 1000000);
}

Test(callbacks, a_call_that_waits_is_refused_inside_the_durable_callback) {
  struct inside inside = {.armed = false};
  struct coupon_options options = help_options(COUPON_SYNC);
  options.callbacks.durable = inside_durable;
  begin_inside(&inside, COUPON_SYNC, &options);
  inside.armed = true;
  for (uint64_t user = 0; user < 3; user++) (void)ask(inside.engine, 1, 10 + user, COUPON_FOREVER, COUPON_ISSUED);
  expect_refused_inside(&inside);
  help_close(inside.engine);
}

static void expect_refused_inside_the_clock(int32_t durability) {
  struct inside inside = {.armed = false};
  struct coupon_options options = help_options(durability);
  options.callbacks.clock = inside_clock;
  begin_inside(&inside, durability, &options);
  inside.armed = true;
  (void)ask(inside.engine, 1, 10, COUPON_FOREVER, COUPON_ISSUED);
  expect_refused_inside(&inside);
  help_close(inside.engine);
}

Test(callbacks, a_call_that_waits_is_refused_inside_the_clock) { expect_refused_inside_the_clock(COUPON_SYNC); }

/* Where there is no durable callback it could be refused in. */
Test(callbacks, a_call_that_waits_is_refused_inside_the_clock_in_memory) {
  expect_refused_inside_the_clock(COUPON_NONE);
}

Test(callbacks, a_call_that_waits_is_refused_inside_the_allocator) {
  struct inside inside = {.armed = false};
  struct coupon_options options = help_options(COUPON_SYNC);
  options.allocator.alloc = inside_alloc;
  options.allocator.free = inside_free;
  begin_inside(&inside, COUPON_SYNC, &options);
  struct coupon_campaign_spec spec = help_spec(2, 1);
  inside.armed = true;
  /* Of another engine: an allocator must not call into its own, which may hold a lock. */
  struct coupon_options in_memory = help_options(COUPON_NONE);
  in_memory.allocator = options.allocator;
  in_memory.allocator.context = &inside;
  coupon_engine *second = help_open(NULL, &in_memory);
  expect_refused_inside(&inside);
  cr_expect_eq(coupon_create(second, &spec, COUPON_FOREVER), COUPON_OK);
  inside.calls = 0;
  memset(inside.waiting, 0, sizeof inside.waiting);
  inside.armed = true;
  cr_expect_eq(coupon_destroy(second), COUPON_OK); /* and inside `free` */
  cr_expect_eq(inside.calls, 1);
  for (int i = 0; i < HELP_WAITING_CALLS; i++) cr_expect_eq(inside.waiting[i], COUPON_E_IN_CALLBACK);
  help_close(inside.engine);
}

Test(callbacks, a_call_that_waits_is_refused_inside_the_log_and_the_progress_callback) {
  struct inside inside = {.armed = false};
  struct coupon_options options = help_options(COUPON_SYNC);
  begin_inside(&inside, COUPON_SYNC, &options);
  options.callbacks.log = inside_log;
  options.callbacks.context = &inside;
  coupon_engine *second;
  inside.armed = true;
  cr_expect_eq(coupon_open(data, &options, &second, NULL), COUPON_E_LOCKED); /* which is worth a line */
  expect_refused_inside(&inside);
  help_close(inside.engine);

  options = help_options(COUPON_SYNC);
  inside = (struct inside){.armed = false};
  char path[HELP_PATH_MAX];
  begin_inside(&inside, COUPON_NONE, &options);
  options.callbacks.progress = inside_progress;
  options.callbacks.context = &inside;
  inside.armed = true;
  help_close(help_open(help_join(path, temp, "second"), &options));
  expect_refused_inside(&inside);
  help_close(inside.engine);
}
