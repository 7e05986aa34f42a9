/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that calls survive what happens to the threads that make them: that they are short-lived, cancelled, and
 * signalled. How: ten thousand threads, one after the other; cancellation before, inside and at any moment of a call;
 * signals while it waits.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "support/every_call.h"
#include "support/guest.h"

ON_DISK_SUITE(threads);
ON_DISK_SUITE(cancellation);
ON_DISK_SUITE(signals);

/* --- threads that come and go -------------------------------------------------------------------- */

#define SHORT_LIVED 10000
#define ALIVE 100

static coupon_engine *engine_of_many;
static _Atomic uint64_t many_issued;

static void *issue_one(void *argument) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t user = (uint64_t)(uintptr_t)argument;
  many_issued += coupon_issue(engine_of_many, 1, user, COUPON_FOREVER, &ticket) == COUPON_ISSUED;
  return NULL;
}

static void run_short_lived(uint64_t from, uint64_t to) {
  for (uint64_t user = from; user < to; user += ALIVE) {
    pthread_t threads[ALIVE];
    for (uint64_t i = 0; i < ALIVE; i++)
      cr_assert_eq(pthread_create(&threads[i], NULL, issue_one, (void *)(uintptr_t)(user + i)), 0);
    for (int i = 0; i < ALIVE; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  }
}

static uint64_t resident_bytes(void) {
  char text[64];
  read_task(getpid(), "status", "VmRSS:", text, sizeof text);
  return strtoull(text, NULL, 10) * 1024;
}

/* The same tickets from one thread: what they cost. */
static uint64_t memory_of_tickets(void) {
  coupon_engine *engine = help_open_in_memory();
  help_create(engine, 1, SHORT_LIVED);
  for (uint64_t user = 0; user < SHORT_LIVED; user++) cr_assert_eq(help_try(engine, 1, user), COUPON_ISSUED);
  uint64_t memory = help_stats(engine).memory_bytes;
  help_close(engine);
  return memory;
}

Test(threads, ten_thousand_that_issue_one_each_strand_neither_units_nor_memory) {
  /* A few hundred bytes kept of each thread would show; the tickets themselves are some 0.3 MiB. A sanitizer keeps
   * things of its own. */
  const uint64_t slack = help_sanitized() ? UINT64_C(64) << 20 : UINT64_C(2) << 20;
  engine_of_many = help_open_in_memory();
  help_create(engine_of_many, 1, SHORT_LIVED);
  run_short_lived(0, SHORT_LIVED / 2);
  uint64_t half = resident_bytes();
  run_short_lived(SHORT_LIVED / 2, SHORT_LIVED);
  uint64_t whole = resident_bytes();
  cr_expect_eq(many_issued, SHORT_LIVED);
  cr_expect_eq(help_info(engine_of_many, 1).remaining, 0);
  uint64_t count;
  const char *wrong = help_audit(engine_of_many, 1, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, SHORT_LIVED);
  cr_expect_lt(whole, half + slack, "%llu bytes more", (unsigned long long)(whole - half));
  /* Not to the byte: how far ahead of the tickets the keeper has made memory ready is a matter of moments. */
  cr_expect_leq(help_stats(engine_of_many).memory_bytes, 2 * memory_of_tickets());
  help_close(engine_of_many);
}

Test(threads, a_thousand_that_come_and_go_are_served_from_the_log_too) {
  engine_of_many = open_sync(data);
  help_create(engine_of_many, 1, 500);
  run_short_lived(0, 1000);
  cr_expect_eq(many_issued, 500);
  help_close(engine_of_many);
  engine_of_many = open_sync(data);
  uint64_t count;
  const char *wrong = help_audit(engine_of_many, 1, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, 500);
  help_close(engine_of_many);
}

/* --- cancellation -------------------------------------------------------------------------------- */

struct victim {
  coupon_engine *engine;
  int type;
  int64_t deadline; /* COUPON_FOREVER: it syncs itself, as the commit thread sleeps */
  struct coupon_ticket ticket;
  coupon_status status;
  _Atomic bool returned;
};

static void *issue_as_victim(void *argument) {
  struct victim *victim = argument;
  int before;
  (void)pthread_setcanceltype(victim->type, &before);
  pthread_cleanup_push(help_forget_frames, NULL);
  victim->status = coupon_issue(victim->engine, 1, 5, victim->deadline, &victim->ticket);
  victim->returned = true;
  pthread_testcancel();
  pthread_cleanup_pop(0);
  return NULL;
}

static void cancel_inside_issue(int type) {
  coupon_engine *engine = open_on_disk(data);
  help_create(engine, 1, 10);
  struct victim victim = {.engine = engine,
                          .type = type,
                          .deadline = COUPON_FOREVER,
                          .ticket = COUPON_TICKET_INIT,
                          .status = COUPON_E_INVAL};
  pthread_t thread;
  void *ended;
  help_disk_hold(&disk);
  cr_assert_eq(pthread_create(&thread, NULL, issue_as_victim, &victim), 0);
  help_disk_wait_held(&disk); /* its ticket is being made durable: the thread is inside */
  cr_assert_eq(pthread_cancel(thread), 0);
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(thread, &ended), 0);
  if (type == PTHREAD_CANCEL_DEFERRED) {
    cr_expect(victim.returned);
    cr_expect_eq(victim.status, COUPON_ISSUED);
    cr_expect_eq(ended, PTHREAD_CANCELED); /* otherwise glibc 2.36 forgets to say so */
  }
  /* The call's effects are complete even where the thread ended on its last step. */
  cr_expect_eq(victim.ticket.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(victim.ticket.number, 1);
  cr_expect_eq(atomic_load(&engine->visitors), 0);
  struct coupon_ticket again = COUPON_TICKET_INIT;
  cr_expect_eq(coupon_issue(engine, 1, 5, COUPON_FOREVER, &again), COUPON_ALREADY_ISSUED);
  cr_expect(help_same_ticket(&again, &victim.ticket));
  help_create(engine, 2, 10);
  help_close(engine);
}

Test(cancellation, deferred_does_not_take_effect_inside_a_call_that_waits) {
  cancel_inside_issue(PTHREAD_CANCEL_DEFERRED);
}

Test(cancellation, asynchronous_does_not_take_effect_inside_a_call_that_waits) {
  cancel_inside_issue(PTHREAD_CANCEL_ASYNCHRONOUS);
}

#define CANCELLED 300
#define CANCELLED_USERS 50

struct loop {
  coupon_engine *engine;
  uint64_t first_user;
  _Atomic uint64_t turns;
};

static void *issue_without_end(void *argument) {
  struct loop *loop = argument;
  int before;
  (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
  pthread_cleanup_push(help_forget_frames, NULL);
  for (uint64_t i = 0; loop->turns < UINT64_MAX; i++) {
    /* A call that may wait, though not here: the others do not hold this type off. */
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    (void)!coupon_issue(loop->engine, 1, loop->first_user + i % CANCELLED_USERS, COUPON_POLL, &ticket);
    loop->turns++;
  }
  pthread_cleanup_pop(0);
  return NULL;
}

static void cancel_at_any_moment(int32_t durability) {
  struct coupon_options options = help_options(durability);
  options.log_buffer_bytes = UINT64_C(1) << 20; /* room for all tickets: nobody is told to ask again */
  coupon_engine *engine = help_open(durability == COUPON_NONE ? NULL : data, &options);
  help_create(engine, 1, (uint64_t)CANCELLED * CANCELLED_USERS);
  uint64_t state = help_seed();
  for (uint64_t i = 0; i < CANCELLED; i++) {
    struct loop loop = {.engine = engine, .first_user = i * CANCELLED_USERS};
    uint64_t turns = help_random(&state) % (2 * CANCELLED_USERS);
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, issue_without_end, &loop), 0);
    while (loop.turns < turns) (void)sched_yield();
    cr_assert_eq(pthread_cancel(thread), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
  }
  /* A claim left pending would hang these, a read-side critical section left open would hang close. */
  for (uint64_t user = 0; user < (uint64_t)CANCELLED * CANCELLED_USERS; user++) {
    coupon_status status = help_try(engine, 1, user);
    cr_expect(status == COUPON_ISSUED || status == COUPON_ALREADY_ISSUED, "%s", coupon_status_name(status));
  }
  cr_expect_eq(help_ask(engine, 1, UINT64_MAX), COUPON_SOLD_OUT); /* rests on all of them: a hole would hang it */
  uint64_t count;
  const char *wrong = help_audit(engine, 1, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, CANCELLED * CANCELLED_USERS);
  help_close(engine);
}

Test(cancellation, asynchronous_at_any_moment_leaves_no_claim_pending_and_no_lock_held) {
  cancel_at_any_moment(COUPON_NONE);
}

Test(cancellation, asynchronous_at_any_moment_leaves_no_hole_in_the_log_either) {
  cancel_at_any_moment(COUPON_WRITTEN);
}

static _Atomic int calls_survived;

static void *call_all_while_cancelled(void *unused) {
  char path[HELP_PATH_MAX];
  coupon_engine *engine;
  pthread_cleanup_push(help_forget_frames, unused);
  (void)pthread_cancel(pthread_self()); /* pending from here on: the next cancellation point is the last */
  calls_survived = try_to_open(help_join(path, temp, "while cancelled"), &engine) == COUPON_OK;
  for (int i = 0; i < HELP_CALLS; i++) {
    (void)!help_calls[i].call(engine);
    calls_survived++;
  }
  pthread_testcancel();
  pthread_cleanup_pop(0);
  return NULL;
}

Test(cancellation, that_is_pending_is_acted_upon_by_no_call) {
  pthread_t thread;
  void *ended;
  cr_assert_eq(pthread_create(&thread, NULL, call_all_while_cancelled, NULL), 0);
  cr_assert_eq(pthread_join(thread, &ended), 0);
  cr_expect_eq(calls_survived, 1 + HELP_CALLS);
  cr_expect_eq(ended, PTHREAD_CANCELED);
}

Test(cancellation, that_the_caller_has_disabled_stays_disabled) {
  int before, state;
  (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  coupon_engine *engine = open_sync(data);
  for (int i = 0; i < HELP_CALLS; i++) {
    (void)!help_calls[i].call(engine);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    cr_expect_eq(state, PTHREAD_CANCEL_DISABLE, "%s", help_calls[i].name);
  }
  (void)pthread_setcancelstate(before, NULL);
}

/* --- signals ------------------------------------------------------------------------------------- */

static _Atomic int handled;

static void handle(int number) {
  (void)number;
  handled++;
}

static bool has_handled_another(void *context) { return handled > *(int *)context; }

static bool is_idle(void *context) { return atomic_load(&((coupon_engine *)context)->idle) != 0; }

/* Signals to a thread whose answer is being made durable: by the commit thread, or by itself. */
static void signal_inside_issue(int64_t deadline) {
  const bool syncs_itself = deadline == COUPON_FOREVER;
  coupon_engine *engine = open_on_disk(data);
  help_create(engine, 1, 10);
  struct sigaction action = {.sa_handler = handle}; /* without SA_RESTART: system calls say EINTR */
  cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
  struct victim victim = {
      .engine = engine, .type = PTHREAD_CANCEL_DEFERRED, .deadline = deadline, .ticket = COUPON_TICKET_INIT};
  pthread_t thread;
  cr_assert(help_until(is_idle, engine));
  help_disk_hold(&disk);
  cr_assert_eq(pthread_create(&thread, NULL, issue_as_victim, &victim), 0);
  help_disk_wait_held(&disk);
  for (int i = 0; i < 20; i++) {
    int seen = handled;
    cr_assert_eq(pthread_kill(thread, SIGUSR1), 0);
    cr_assert(syncs_itself || help_until(has_handled_another, &seen));
    cr_expect_not(victim.returned);
  }
  cr_expect(!syncs_itself || handled == 0, "a sync could have been interrupted");
  help_disk_release(&disk);
  cr_assert_eq(pthread_join(thread, NULL), 0);
  cr_expect_gt(handled, 0);
  cr_expect_eq(victim.status, COUPON_ISSUED);
  cr_expect_eq(victim.ticket.flags, COUPON_TICKET_FINAL);
  help_close(engine);
}

Test(signals, that_interrupt_a_waiting_call_do_not_end_it) {
  signal_inside_issue(coupon_deadline_after(INT64_C(3600000000000)));
}
Test(signals, that_come_while_a_caller_syncs_wait_until_it_has) { signal_inside_issue(COUPON_FOREVER); }
