/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what happens to answers that wait when their client leaves, when the service is told to end, when it is killed,
 * and when the disk fails: nobody is told what is not so, and whoever asks again finds out.
 *
 * How answers wait long enough: --flush-rounds 0 --commit-delay-us. How a disk fails: fail_sync.c, preloaded, makes
 * fdatasync() fail once the file named by COUPON_TEST_FAIL_SYNC exists.
 */
#include <signal.h>
#include <unistd.h>

#include "http/expect.h"

TestSuite(http_life, .init = prepare, .fini = end, .timeout = HANGS_AFTER_S);

#define ONE "{\"couponId\":1}"

static struct client client;
static char printed[65536];

static void start(const char *options) {
  service_start(&service, options);
  create_coupon(&service, 1, 1000, "");
}

static const char *buy(uint64_t id) { return request("POST", ISSUE, authorization(user(id)), ONE); }

/* A request of this user that waits for its answer. */
static void wait_as(struct client *who, uint64_t id) {
  client_open(who, &service);
  cr_assert(client_say(who, buy(id)));
  await_metric(&service, "coupon_http_waiting_answers", 1);
}

static void expect_sound_log(const char *tickets) {
  char line[64];
  cr_expect_eq(service_tool(&service, "verify @", printed, sizeof printed), 0, "%s", printed);
  (void)snprintf(line, sizeof line, ", %s tickets,", tickets);
  cr_expect(strstr(printed, "\nok: ") != NULL && strstr(printed, line) != NULL, "%s", printed);
}

/* --- answers that need not wait ------------------------------------------------------------------ */

Test(http_life, what_is_final_already_is_answered_while_others_wait_for_the_next_sync) {
  /* Nothing becomes final for so long that only what needs no sync can be answered before. */
  start("--flush-rounds 0 --commit-delay-us 1000000");
  create_coupon(&service, 2, 1, "");
  EXPECT_OK(issue(&service, user(1), 2));
  EXPECT_REFUSED(issue(&service, user(2), 2), 400, "sold_out"); /* final from here on */
  wait_as(&client, 5);
  EXPECT_REFUSED(issue(&service, user(3), 2), 400, "sold_out");
  EXPECT_REFUSED(issue(&service, user(1), 2), 409, "already_issued");
  EXPECT_REFUSED(issue(&service, user(1), 9), 404, "coupon_unknown");
  cr_expect_eq(metric(&service, "coupon_http_waiting_answers"), 1, "they had waited for the same sync");
  cr_expect_not(client_has_something(&client));
  EXPECT_OK(client_receive(&client));
  client_close(&client);
}

/* --- clients who leave --------------------------------------------------------------------------- */

Test(http_life, a_client_who_leaves_while_his_answer_waits_finds_his_ticket_later) {
  struct client leaves, resets, stays;
  start("--flush-rounds 0 --commit-delay-us 200000");
  client_open(&leaves, &service);
  client_open(&resets, &service);
  client_open(&stays, &service);
  cr_assert(client_say(&leaves, buy(1)) && client_say(&resets, buy(2)) && client_say(&stays, buy(3)));
  /* All three wait; or are answered by now, which is no less of a test. */
  while (metric(&service, "coupon_http_waiting_answers") < 3 && !client_has_something(&stays)) continue;
  client_close(&leaves);
  client_reset(&resets);
  EXPECT_OK(client_receive(&stays));
  client_close(&stays);
  for (uint64_t i = 1; i <= 3; i++) EXPECT_REFUSED(issue(&service, user(i), 1), 409, "already_issued");
  cr_assert_eq(service_stop(&service), 0);
  expect_sound_log("3");
}

Test(http_life, many_clients_who_leave_at_any_time_harm_nobody) {
  start("--flush-rounds 0 --commit-delay-us 2000");
  for (uint64_t i = 1; i <= 300; i++) {
    const char *text = buy(i);
    size_t length = strlen(text);
    client_open(&client, &service);
    /* Every third asks in full, the others stop at some byte; the ways to leave take turns, too. */
    cr_assert(client_send(&client, text, i % 3 == 0 ? length : length * (i % 97) / 97));
    if (i % 2 == 0)
      client_close(&client);
    else
      client_reset(&client);
  }
  for (uint64_t i = 1; i <= 300; i++) {
    const struct answer *answer = issue(&service, user(i), 1);
    cr_expect(answer->status == 200 || (answer->status == 409 && i % 3 == 0), "user %d: %s", (int)i, answer->body);
  }
  cr_assert_eq(service_stop(&service), 0);
  expect_sound_log("300");
}

/* --- the end ------------------------------------------------------------------------------------- */

Test(http_life, after_sigterm_the_answers_it_took_are_given) {
  start("--flush-rounds 0 --commit-delay-us 600000");
  wait_as(&client, 5);
  service_signal(&service);
  EXPECT_OK(client_receive(&client));
  cr_expect(client_sees_end(&client));
  client_close(&client);
  cr_expect_eq(service_wait(&service), 0);
  expect_sound_log("1");
  service_start(&service, "");
  EXPECT_REFUSED(issue(&service, user(5), 1), 409, "already_issued");
}

Test(http_life, sigint_ends_it_too) {
  start("");
  cr_assert_eq(kill(service.pid, SIGINT), 0);
  cr_expect_eq(service_wait(&service), 0);
}

/* A connection with an unfinished request, which the drain waits for. */
static void hold_open(void) {
  client_open(&client, &service);
  cr_assert(client_say(&client, "GET " HEALTH " HTTP/1.1\r\n"));
  await_metric(&service, "coupon_http_connections", 2);
  /* The bytes are there, too, when a later request has been answered; and those before it in time have been seen. */
  (void)metric(&service, "coupon_http_connections");
}

Test(http_life, after_sigterm_new_connections_are_refused_and_begun_requests_told) {
  start("--drain-timeout-ms 60000");
  hold_open();
  service_signal(&service);
  int socket = client_socket(&service);
  for (int i = 0; i < 1000 && socket >= 0; i++) {
    (void)close(socket);
    service_sleep_ms(5);
    socket = client_socket(&service);
  }
  cr_expect_eq(socket, -1, "connections are still taken");
  cr_assert(service_lives(&service));
  cr_assert(client_say(&client, "Host: x\r\n\r\n"));
  EXPECT_REFUSED(client_receive(&client), 503, "draining");
  cr_expect(client_sees_end(&client));
  client_close(&client);
  cr_expect_eq(service_wait(&service), 0);
}

Test(http_life, an_idle_connection_does_not_hold_up_the_end) {
  start("--drain-timeout-ms 60000");
  client_open(&client, &service);
  cr_assert(client_say(&client, request("GET", HEALTH, NULL, NULL)));
  EXPECT_OK(client_receive(&client));
  cr_expect_eq(service_stop(&service), 0);
  cr_expect(client_sees_end(&client));
  client_close(&client);
}

Test(http_life, an_unfinished_request_holds_it_up_only_for_the_drain_timeout) {
  start("--drain-timeout-ms 100");
  hold_open();
  cr_expect_eq(service_stop(&service), 0);
  client_close(&client);
}

Test(http_life, an_answer_that_waits_longer_than_the_drain_timeout_is_cut_off_unharmed) {
  start("--drain-timeout-ms 50 --flush-rounds 0 --commit-delay-us 900000");
  wait_as(&client, 5);
  cr_expect_eq(service_stop(&service), 0);
  /* Cut off, or answered after all; but nothing else. */
  const struct answer *answer = client_receive(&client);
  if (answer != NULL) EXPECT_OK(answer);
  client_close(&client);
  service_start(&service, "");
  EXPECT_HAS(issue(&service, user(5), 1), "data.ticketNumber", "1");
}

Test(http_life, a_second_signal_ends_it_at_once) {
  start("--drain-timeout-ms 60000");
  hold_open();
  service_signal(&service);
  /* Two at the same moment would be one. */
  for (int socket = client_socket(&service); socket >= 0; socket = client_socket(&service)) {
    (void)close(socket);
    service_sleep_ms(1);
  }
  cr_assert(service_lives(&service));
  service_signal(&service);
  (void)service_wait(&service);
  client_close(&client);
  expect_sound_log("0");
}

Test(http_life, after_kill_9_whoever_was_told_still_has_it) {
  start("");
  for (uint64_t i = 1; i <= 20; i++) EXPECT_OK(issue(&service, user(i), 1));
  service_kill(&service);
  expect_sound_log("20");
  service_start(&service, "");
  for (uint64_t i = 1; i <= 20; i++) {
    char number[16];
    (void)snprintf(number, sizeof number, "%d", (int)i);
    const struct answer *answer = issue(&service, user(i), 1);
    EXPECT_REFUSED(answer, 409, "already_issued");
    EXPECT_HAS(answer, "data.ticketNumber", number);
  }
}

Test(http_life, killed_while_an_answer_waits_it_is_decided_anew_or_found) {
  start("--flush-rounds 0 --commit-delay-us 900000");
  wait_as(&client, 5);
  service_kill(&service);
  cr_expect(client_sees_end(&client), "an answer that was not final has been sent");
  client_close(&client);
  service_start(&service, "");
  const struct answer *answer = issue(&service, user(5), 1);
  cr_expect(answer->status == 200 || answer->status == 409, "%s", answer->body);
  EXPECT_HAS(answer, "data.ticketNumber", "1");
}

Test(http_life, two_services_do_not_share_a_directory) {
  struct service other;
  start("");
  other = service;
  other.pid = 0;
  int status = service_refuse(&other, "");
  cr_expect(status > 0 && status < 128, "status %d", status);
  EXPECT_OK(issue(&service, user(5), 1));
}

Test(http_life, several_loops_serve_as_one) {
  start("--threads 4");
  for (uint64_t i = 1; i <= 40; i++) EXPECT_OK(issue(&service, user(i), 1));
  for (uint64_t i = 1; i <= 40; i++) EXPECT_REFUSED(issue(&service, user(i), 1), 409, "already_issued");
  cr_assert_eq(service_stop(&service), 0);
  expect_sound_log("40");
}

Test(http_life, durability_written_serves_alike) {
  start("--durability written");
  EXPECT_OK(issue(&service, user(1), 1));
  cr_assert_eq(service_stop(&service), 0);
  expect_sound_log("1");
}

/* --- a disk that fails --------------------------------------------------------------------------- */

/* The sanitizers' libraries have to be the first that are loaded. */
#ifndef COUPON_TEST_SANITIZED

static char trigger[SERVICE_PATH_MAX + 64];

static void start_on_failing_disk(const char *options) {
  static char preload[SERVICE_PATH_MAX], fail[SERVICE_PATH_MAX + 128];
  cr_assert_not_null(getenv("COUPON_FAIL_SYNC"));
  (void)snprintf(preload, sizeof preload, "LD_PRELOAD=%s", getenv("COUPON_FAIL_SYNC"));
  (void)snprintf(trigger, sizeof trigger, "%s", service_path(&service, "trigger"));
  (void)snprintf(fail, sizeof fail, "COUPON_TEST_FAIL_SYNC=%s", trigger);
  service.variables[0] = preload;
  service.variables[1] = fail;
  start(options);
  service.variables[0] = NULL;
}

static void fail_from_now_on(void) { service_write(&service, "trigger", "", 0, 0600); }

/* Ends a service whose disk has failed (another status than 0 is no surprise then), and starts it on one that works. */
static void restart_on_good_disk(void) {
  service_signal(&service);
  int status = service_wait(&service);
  cr_expect_lt(status, 128, "it crashed: %d", status);
  cr_assert_eq(unlink(trigger), 0);
  service_start(&service, "");
}

Test(http_life, when_the_disk_fails_a_waiting_answer_is_of_unknown_outcome) {
  start_on_failing_disk("--flush-rounds 0 --commit-delay-us 900000");
  EXPECT_OK(issue(&service, user(4), 1));
  wait_as(&client, 5);
  fail_from_now_on();
  EXPECT_REFUSED(client_receive(&client), 503, "outcome_unknown");
  client_close(&client);
  restart_on_good_disk();
  const struct answer *answer = issue(&service, user(5), 1);
  cr_expect(answer->status == 200 || answer->status == 409, "%s", answer->body);
  EXPECT_HAS(answer, "data.ticketNumber", "2");
  EXPECT_REFUSED(issue(&service, user(4), 1), 409, "already_issued");
}

Test(http_life, after_the_disk_has_failed_everybody_is_told) {
  start_on_failing_disk("");
  cr_expect_eq(metric(&service, "coupon_engine_failed"), 0);
  fail_from_now_on();
  EXPECT_REFUSED(issue(&service, user(5), 1), 503, "outcome_unknown");
  EXPECT_REFUSED(issue(&service, user(6), 1), 503, "engine_failed");
  EXPECT_REFUSED(issue(&service, user(5), 1), 503, "engine_failed");
  EXPECT_REFUSED(ask(&service, "GET", HEALTH, NULL, NULL), 503, "engine_failed");
  EXPECT_REFUSED(ask(&service, "GET", "/health", NULL, NULL), 503, "engine_failed");
  cr_expect_eq(metric(&service, "coupon_engine_failed"), 1);
  /* The disk is well again; but what it has lost is not known, so the engine stays as it is. */
  cr_assert_eq(rename(trigger, service_path(&service, "moved")), 0);
  EXPECT_REFUSED(issue(&service, user(5), 1), 503, "engine_failed");
  fail_from_now_on();
  restart_on_good_disk();
  EXPECT_OK(ask(&service, "GET", HEALTH, NULL, NULL));
  const struct answer *answer = issue(&service, user(5), 1);
  cr_expect(answer->status == 200 || answer->status == 409, "%s", answer->body);
}

Test(http_life, a_coupon_that_the_disk_did_not_take_is_not_told_as_made) {
  start_on_failing_disk("");
  fail_from_now_on();
  const struct answer *answer =
      ask(&service, "POST", COUPONS, admin(),
          "{\"id\":2,\"name\":\"n\",\"description\":\"\",\"discountAmount\":1,\"quantity\":1}");
  cr_expect_eq(answer->status, 503, "%s", answer->body);
  restart_on_good_disk();
  EXPECT_OK(ask(&service, "POST", COUPONS, admin(),
                "{\"id\":2,\"name\":\"n\",\"description\":\"\",\"discountAmount\":1,\"quantity\":1}"));
}

#endif
