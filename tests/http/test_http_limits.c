/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that every limit holds: what is too large, too slow or too many is told so and cut off; and who keeps to the
 * limits is served beside it. The limits are set low; nothing here asserts how long something takes.
 */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/expect.h"

TestSuite(http_limits, .init = prepare, .fini = end, .timeout = HANGS_AFTER_S);

static struct client client;

static void start(const char *options) {
  service_start(&service, options);
  create_coupon(&service, 1, 1000, "");
}

static void expect_refused_and_closed(int status, const char *reason) {
  EXPECT_REFUSED(client_receive(&client), status, reason);
  cr_expect(client_sees_end(&client));
  client_close(&client);
}

/* `count` times the same character. */
static const char *many(char c, size_t count) {
  static char text[60000];
  cr_assert_lt(count, sizeof text);
  memset(text, c, count);
  text[count] = 0;
  return text;
}

/* --- connections --------------------------------------------------------------------------------- */

Test(http_limits, a_connection_too_many_is_told_so_and_the_others_go_on) {
  struct client held[3], other;
  start("--max-connections 3");
  for (int i = 0; i < 3;) {
    client_open(&held[i], &service);
    (void)client_say(&held[i], request("GET", HEALTH, NULL, NULL));
    const struct answer *answer = client_receive(&held[i]);
    /* Whoever created the coupon has gone, but the service may not know yet. */
    if (answer != NULL && answer->status == 200)
      i++;
    else
      client_close(&held[i]);
  }
  client_open(&other, &service);
  (void)client_say(&other, request("GET", HEALTH, NULL, NULL));
  EXPECT_REFUSED(client_receive(&other), 503, "too_many_connections");
  cr_expect(client_sees_end(&other));
  client_close(&other);
  for (int i = 0; i < 3; i++) {
    cr_assert(client_say(&held[i], request("GET", HEALTH, NULL, NULL)));
    EXPECT_OK(client_receive(&held[i]));
    client_close(&held[i]);
  }
  await_metric(&service, "coupon_http_connections", 1);
}

/* --- sizes --------------------------------------------------------------------------------------- */

Test(http_limits, headers_beyond_the_limit_are_too_large) {
  char line[8192];
  start("--max-header-bytes 2048");
  (void)snprintf(line, sizeof line, "X-Long: %s\r\n", many('x', 1500));
  EXPECT_OK(ask_with(&service, "GET", HEALTH, line, NULL));
  (void)snprintf(line, sizeof line, "X-Long: %s\r\n", many('x', 3000));
  client_open(&client, &service);
  cr_assert(client_say(&client, request("GET", HEALTH, line, NULL)));
  expect_refused_and_closed(431, "headers_too_large");
}

Test(http_limits, a_long_path_counts_as_header) {
  start("--max-header-bytes 2048");
  client_open(&client, &service);
  cr_assert(client_say(&client, request("GET", many('/', 3000), NULL, NULL)));
  expect_refused_and_closed(431, "headers_too_large");
}

Test(http_limits, headers_that_never_end_are_too_large) {
  start("--max-header-bytes 2048");
  client_open(&client, &service);
  cr_assert(client_say(&client, "GET " HEALTH " HTTP/1.1\r\nHost: x\r\n"));
  /* The service may answer, and close, before the last of it is sent. */
  for (int i = 0;
       i < 30 &&
       client_say(&client,
                  "X-More: 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234\r\n");
       i++)
    service_sleep_ms(1);
  expect_refused_and_closed(431, "headers_too_large");
}

Test(http_limits, one_header_line_that_never_ends_is_too_large) {
  start("--max-header-bytes 2048");
  client_open(&client, &service);
  cr_assert(client_say(&client, "GET "));
  (void)client_say(&client, many('/', 3000));
  expect_refused_and_closed(431, "headers_too_large");
}

Test(http_limits, many_small_headers_are_served_or_refused_but_never_lost) {
  char lines[16000];
  start("--max-header-bytes 16384");
  for (size_t count = 50; count <= 1600; count *= 2) {
    size_t used = 0;
    for (size_t i = 0; i < count; i++) used += (size_t)snprintf(lines + used, sizeof lines - used, "a:%zu\r\n", i % 10);
    client_open(&client, &service);
    (void)client_say(&client, request("GET", HEALTH, lines, NULL));
    const struct answer *answer = client_receive(&client);
    /* libh2o takes a hundred, and calls more no HTTP. */
    cr_assert_not_null(answer, "%zu", count);
    cr_expect(answer->status == 200 || (count > 90 && (answer->status == 431 || answer->status == 400)), "%zu: %d",
              count, answer->status);
    client_close(&client);
  }
  EXPECT_OK(issue(&service, user(5), 1));
}

Test(http_limits, a_body_beyond_the_limit_is_too_large) {
  char body[8192];
  start("--max-body-bytes 1000");
  (void)snprintf(body, sizeof body, "{\"couponId\":1%s}", many(' ', 1000 - 14));
  cr_assert_eq(strlen(body), 1000);
  EXPECT_OK(ask(&service, "POST", ISSUE, user(5), body));
  (void)snprintf(body, sizeof body, "{\"couponId\":1%s}", many(' ', 1001 - 14));
  client_open(&client, &service);
  (void)client_say(&client, request("POST", ISSUE, authorization(user(6)), body));
  expect_refused_and_closed(413, "body_too_large");
}

Test(http_limits, a_body_that_is_announced_too_large_is_refused_unseen) {
  char lines[8192];
  static const char *const lengths[] = {"1001", "1000000", "9000000000000000000"};
  start("--max-body-bytes 1000");
  for (size_t i = 0; i < 3; i++) {
    (void)snprintf(lines, sizeof lines, "%sContent-Length: %s\r\n", authorization(user(6)), lengths[i]);
    client_open(&client, &service);
    cr_assert(client_say(&client, request("POST", ISSUE, lines, NULL)));
    expect_refused_and_closed(413, "body_too_large");
  }
}

Test(http_limits, chunks_that_grow_too_large_are_refused) {
  char lines[8192];
  start("--max-body-bytes 1000");
  (void)snprintf(lines, sizeof lines, "%sTransfer-Encoding: chunked\r\n", authorization(user(6)));
  client_open(&client, &service);
  cr_assert(client_say(&client, request("POST", ISSUE, lines, NULL)));
  for (int i = 0;
       i < 20 && client_say(&client, "64\r\n") && client_say(&client, many(' ', 100)) && client_say(&client, "\r\n");
       i++)
    continue;
  expect_refused_and_closed(413, "body_too_large");
  /* And one chunk that is announced so. */
  client_open(&client, &service);
  cr_assert(client_say(&client, request("POST", ISSUE, lines, NULL)));
  (void)client_say(&client, "4000\r\n");
  (void)client_say(&client, many(' ', 0x4000));
  expect_refused_and_closed(413, "body_too_large");
  EXPECT_HAS(issue(&service, user(6), 1), "data.ticketNumber", "1");
}

Test(http_limits, headers_too_large_are_noticed_in_a_later_request_too) {
  char line[8192];
  start("--max-header-bytes 2048");
  (void)snprintf(line, sizeof line, "X-Long: %s\r\n", many('x', 3000));
  client_open(&client, &service);
  cr_assert(client_say(&client, request("GET", HEALTH, NULL, NULL)));
  EXPECT_OK(client_receive(&client));
  cr_assert(client_say(&client, request("GET", HEALTH, line, NULL)));
  expect_refused_and_closed(431, "headers_too_large");
}

Test(http_limits, pipelined_requests_are_not_one_large_header) {
  char all[30000] = "";
  start("--max-header-bytes 512");
  for (int i = 0; i < 100; i++) strcat(all, request("GET", HEALTH, NULL, NULL));
  cr_assert_gt(strlen(all), 8 * 512);
  client_open(&client, &service);
  cr_assert(client_say(&client, all));
  for (int i = 0; i < 100; i++) EXPECT_OK(client_receive(&client));
  client_close(&client);
}

/* --- times --------------------------------------------------------------------------------------- */

Test(http_limits, headers_that_take_too_long_time_out) {
  start("--header-timeout-ms 150");
  client_open(&client, &service);
  cr_assert(client_say(&client, "GET "));
  expect_refused_and_closed(408, "request_timeout");
}

/* Sends `first`, and then bytes until the service has something to say about it: while they still come, that is. */
static void drip(const char *first) {
  int i;
  client_open(&client, &service);
  cr_assert(client_say(&client, first));
  for (i = 0; i < 1000 && !client_has_something(&client); i++) {
    (void)client_send(&client, "x", 1);
    service_sleep_ms(10);
  }
  cr_expect_lt(i, 1000, "every byte buys time");
}

Test(http_limits, headers_that_drip_do_not_buy_time) {
  start("--header-timeout-ms 150");
  drip("GET / HTTP/1.1\r\nX: ");
  expect_refused_and_closed(408, "request_timeout");
}

Test(http_limits, a_body_that_drips_does_not_buy_time) {
  char lines[8192];
  start("--body-timeout-ms 150");
  (void)snprintf(lines, sizeof lines, "%sContent-Length: 10000\r\n", authorization(user(6)));
  drip(request("POST", ISSUE, lines, NULL));
  expect_refused_and_closed(408, "request_timeout");
  (void)snprintf(lines, sizeof lines, "%sTransfer-Encoding: chunked\r\n", authorization(user(6)));
  client_open(&client, &service);
  cr_assert(client_say(&client, request("POST", ISSUE, lines, NULL)));
  expect_refused_and_closed(408, "request_timeout");
}

Test(http_limits, a_second_request_has_its_time_limit_too) {
  start("--header-timeout-ms 150");
  client_open(&client, &service);
  cr_assert(client_say(&client, request("GET", HEALTH, NULL, NULL)));
  EXPECT_OK(client_receive(&client));
  cr_assert(client_say(&client, "G"));
  expect_refused_and_closed(408, "request_timeout");
  /* And one whose beginning came with the first. */
  char text[1024];
  (void)snprintf(text, sizeof text, "%sGET ", request("GET", HEALTH, NULL, NULL));
  client_open(&client, &service);
  cr_assert(client_say(&client, text));
  EXPECT_OK(client_receive(&client));
  expect_refused_and_closed(408, "request_timeout");
}

Test(http_limits, a_connection_without_a_request_is_closed_without_a_word) {
  start("--idle-timeout-ms 250 --header-timeout-ms 60000");
  client_open(&client, &service);
  cr_expect(client_sees_end(&client));
  client_close(&client);
  client_open(&client, &service);
  cr_assert(client_say(&client, request("GET", HEALTH, NULL, NULL)));
  EXPECT_OK(client_receive(&client));
  cr_expect(client_sees_end(&client));
  client_close(&client);
}

/* A request whose first byte comes when the connection has been idle for so long, and its last so long after that. On a
 * busy machine a sleep may take too long; but not each time. */
static bool serves_late(long idle_ms, long gap_ms) {
  bool served = false;
  for (int i = 0; i < 5 && !served; i++) {
    client_open(&client, &service);
    cr_assert(client_say(&client, request("GET", HEALTH, NULL, NULL)));
    EXPECT_OK(client_receive(&client));
    service_sleep_ms(idle_ms);
    bool sent = client_say(&client, "GET " HEALTH " HTTP/1.1\r\n");
    service_sleep_ms(gap_ms);
    sent = sent && client_say(&client, "Host: x\r\n\r\n");
    const struct answer *answer = sent ? client_receive(&client) : NULL;
    served = answer != NULL && answer->status == 200;
    client_close(&client);
  }
  return served;
}

Test(http_limits, the_time_for_headers_begins_with_their_first_byte) {
  start("--header-timeout-ms 500");
  cr_expect(serves_late(600, 150));
}

Test(http_limits, a_request_that_begins_late_in_the_idle_time_has_all_its_time) {
  start("--idle-timeout-ms 450");
  cr_expect(serves_late(250, 300));
}

Test(http_limits, an_answer_that_waits_is_not_idle) {
  start("--idle-timeout-ms 200 --header-timeout-ms 200 --body-timeout-ms 200 --write-timeout-ms 200 "
        "--flush-rounds 0 --commit-delay-us 600000");
  EXPECT_OK(issue(&service, user(5), 1));
}

Test(http_limits, who_does_not_take_his_answers_is_cut_off) {
  start("--write-timeout-ms 200");
  const int small = 2048;
  const char *text = request("GET", "/metrics", NULL, NULL);
  client_open(&client, &service);
  (void)setsockopt(client.socket, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  struct pollfd ready = {client.socket, POLLOUT, 0};
  size_t length = strlen(text), at = 0;
  /* Requests, and no look at the answers: until nothing moves, or the connection is gone. */
  while (poll(&ready, 1, 50) == 1 && (ready.revents & (POLLERR | POLLHUP)) == 0) {
    ssize_t sent = send(client.socket, text + at, length - at, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) break;
    at = (at + (size_t)sent) % length;
  }
  await_metric(&service, "coupon_http_connections", 1);
  client_close(&client);
  EXPECT_OK(issue(&service, user(5), 1));
}

/* --- answers that wait --------------------------------------------------------------------------- */

Test(http_limits, one_too_many_waiting_is_told_so_and_gets_his_ticket_later) {
  struct client first;
  const struct answer *answer = NULL;
  start("--max-waiting 1 --flush-rounds 0 --commit-delay-us 500000");
  /* The first may have its answer before the second asks, if the machine has something better to do. */
  for (uint64_t i = 0; i < 20 && (answer == NULL || answer->status == 200); i++) {
    client_open(&first, &service);
    cr_assert(client_say(&first, request("POST", ISSUE, authorization(user(100 + i)), "{\"couponId\":1}")));
    while (!client_has_something(&first) && metric(&service, "coupon_http_waiting_answers") != 1) continue;
    answer = issue(&service, user(200 + i), 1);
    EXPECT_OK(client_receive(&first));
    client_close(&first);
  }
  EXPECT_REFUSED(answer, 503, "too_many_waiting");
  EXPECT_OK(issue(&service, user(300), 1));
}

Test(http_limits, what_is_not_final_in_time_is_of_unknown_outcome_and_then_known) {
  start("--final-timeout-ms 50 --flush-rounds 0 --commit-delay-us 700000");
  const struct answer *answer = issue(&service, user(5), 1);
  EXPECT_REFUSED(answer, 503, "outcome_unknown");
  EXPECT_LACKS(answer, "data");
  for (int i = 0; i < 500 && answer->status == 503; i++) {
    service_sleep_ms(20);
    answer = issue(&service, user(5), 1);
  }
  EXPECT_REFUSED(answer, 409, "already_issued");
  EXPECT_HAS(answer, "data.ticketNumber", "1");
  EXPECT_HAS(answer, "data.userId", "5");
}
