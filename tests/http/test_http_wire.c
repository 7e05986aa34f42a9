/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the bytes of a request may come in all the ways HTTP/1.1 allows, and mean the same: kept connections,
 * pipelines, pieces, chunks, expectations; and that what is not HTTP ends the connection and nothing else.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "http/expect.h"

static struct client client;

static void begin_connected(void) {
  begin();
  create_coupon(&service, 1, 100, "");
  client_open(&client, &service);
}

static void end_connected(void) {
  client_close(&client);
  end();
}

TestSuite(http_wire, .init = begin_connected, .fini = end_connected, .timeout = HANGS_AFTER_S);

#define ONE "{\"couponId\":1}"
#define POST "POST " ISSUE " HTTP/1.1\r\nHost: 127.0.0.1\r\n"

static const char *buy(uint64_t id) { return request("POST", ISSUE, authorization(user(id)), ONE); }

/* POST, the user's token, and `rest`. */
static void say_as(uint64_t id, const char *rest) {
  cr_assert(client_say(&client, POST) && client_say(&client, authorization(user(id))) && client_say(&client, rest));
}

Test(http_wire, a_connection_is_kept_for_the_next_request) {
  for (uint64_t i = 1; i <= 20; i++) {
    cr_assert(client_say(&client, buy(i)));
    EXPECT_OK(client_receive(&client));
  }
}

Test(http_wire, a_connection_is_kept_after_a_refusal) {
  cr_assert(client_say(&client, request("PUT", ISSUE, NULL, "{")));
  EXPECT_REFUSED(client_receive(&client), 405, "method_not_allowed");
  cr_assert(client_say(&client, request("POST", ISSUE, NULL, "{")));
  EXPECT_REFUSED(client_receive(&client), 400, "token_missing");
  cr_assert(client_say(&client, request("POST", "/x", NULL, "0123456789")));
  EXPECT_REFUSED(client_receive(&client), 404, "path_unknown");
  cr_assert(client_say(&client, buy(1)));
  EXPECT_OK(client_receive(&client));
}

Test(http_wire, connection_close_is_obeyed) {
  cr_assert(client_say(&client, request("GET", HEALTH, "Connection: close\r\n", NULL)));
  EXPECT_OK(client_receive(&client));
  cr_expect(client_sees_end(&client));
}

Test(http_wire, http_1_0_is_answered_and_closed) {
  cr_assert(client_say(&client, "GET " HEALTH " HTTP/1.0\r\n\r\n"));
  EXPECT_OK(client_receive(&client));
  cr_expect(client_sees_end(&client));
}

Test(http_wire, pipelined_requests_are_answered_in_their_order) {
  char all[60000] = "";
  for (uint64_t i = 1; i <= 20; i++) {
    strcat(all, buy(i));
    strcat(all, request("GET", "/nowhere", NULL, NULL));
  }
  cr_assert(client_say(&client, all));
  for (int i = 1; i <= 20; i++) {
    char id[16];
    (void)snprintf(id, sizeof id, "%d", i);
    const struct answer *answer = client_receive(&client);
    EXPECT_OK(answer);
    EXPECT_HAS(answer, "data.userId", id);
    EXPECT_HAS(answer, "data.ticketNumber", id);
    EXPECT_REFUSED(client_receive(&client), 404, "path_unknown");
  }
  cr_expect_not(client_has_something(&client));
}

Test(http_wire, a_request_may_come_byte_by_byte) {
  for (const char *text = buy(1); *text != 0; text++) cr_assert(client_send(&client, text, 1));
  EXPECT_OK(client_receive(&client));
}

Test(http_wire, two_requests_may_be_cut_anywhere) {
  char both[8192];
  (void)snprintf(both, sizeof both, "%s%s", buy(1), buy(2));
  cr_assert(client_say(&client, both));
  EXPECT_OK(client_receive(&client));
  EXPECT_OK(client_receive(&client));
  size_t length = strlen(both);
  for (size_t cut = 1; cut < length; cut += 7) {
    cr_assert(client_send(&client, both, cut));
    /* So that both parts do not come at once; only the chance of it, nothing depends on it. */
    if (cut % 8 == 0) service_sleep_ms(1);
    cr_assert(client_send(&client, both + cut, length - cut));
    EXPECT_REFUSED(client_receive(&client), 409, "already_issued");
    EXPECT_REFUSED(client_receive(&client), 409, "already_issued");
  }
}

Test(http_wire, a_body_may_come_in_chunks) {
  say_as(1, "Transfer-Encoding: chunked\r\n\r\nd;note=x\r\n{\"couponId\":1\r\n1\r\n}\r\n0\r\n\r\n");
  EXPECT_OK(client_receive(&client));
  say_as(2, "Transfer-Encoding: chunked\r\n\r\n"
            "1\r\n{\r\n1\r\n\"\r\n8\r\ncouponId\r\n1\r\n\"\r\n1\r\n:\r\n1\r\n1\r\n1\r\n}\r\n0\r\n\r\n");
  EXPECT_OK(client_receive(&client));
  say_as(3, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
  EXPECT_REFUSED(client_receive(&client), 400, "body_missing");
  cr_assert(client_say(&client, buy(4)));
  EXPECT_OK(client_receive(&client));
}

Test(http_wire, a_chunk_without_a_length_is_no_request) {
  say_as(1, "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" ONE "\r\n0\r\n\r\n");
  const struct answer *answer = client_receive(&client);
  cr_expect(answer == NULL || answer->status == 400);
  client_close(&client);
  client_open(&client, &service);
  cr_assert(client_say(&client, buy(1)));
  EXPECT_OK(client_receive(&client));
}

Test(http_wire, who_expects_it_is_told_to_continue_before_the_body) {
  say_as(1, "Content-Length: 14\r\nExpect: 100-continue\r\n\r\n");
  const struct answer *answer = client_receive(&client);
  cr_assert_not_null(answer);
  cr_expect_eq(answer->status, 100, "%s", answer->headers);
  cr_assert(client_say(&client, ONE));
  EXPECT_OK(client_receive(&client));
  cr_assert(client_say(&client, buy(2)));
  EXPECT_OK(client_receive(&client));
}

Test(http_wire, any_other_expectation_fails) {
  say_as(1, "Content-Length: 14\r\nExpect: a-miracle\r\n\r\n");
  EXPECT_REFUSED(client_receive(&client), 417, "expectation_failed");
  cr_expect(client_sees_end(&client));
  EXPECT_HAS(issue(&service, user(2), 1), "data.ticketNumber", "1");
}

Test(http_wire, the_request_id_is_echoed_with_successes_and_refusals) {
  const char *id = "A-z_0.9-0123456789012345678901234567890123456789012345678901234x";
  char line[128];
  (void)snprintf(line, sizeof line, "X-Request-Id: %s\r\n", id);
  cr_assert_eq(strlen(id), 64);
  const struct answer *answer = ask_with(&service, "GET", HEALTH, line, NULL);
  EXPECT_OK(answer);
  cr_assert_not_null(header(answer, "X-Request-Id"));
  cr_expect_str_eq(header(answer, "X-Request-Id"), id);
  answer = ask_with(&service, "POST", ISSUE, "x-request-id: 7\r\n", NULL);
  EXPECT_REFUSED(answer, 400, "token_missing");
  cr_assert_not_null(header(answer, "X-Request-Id"));
  cr_expect_str_eq(header(answer, "X-Request-Id"), "7");
  /* An answer that waits for finality, too. */
  char lines[4096];
  (void)snprintf(lines, sizeof lines, "X-Request-Id: late\r\n%s", authorization(user(1)));
  answer = ask_with(&service, "POST", ISSUE, lines, ONE);
  EXPECT_OK(answer);
  cr_assert_not_null(header(answer, "X-Request-Id"));
  cr_expect_str_eq(header(answer, "X-Request-Id"), "late");
}

Test(http_wire, a_request_id_that_is_none_is_not_echoed) {
  static const char *const lines[] = {
      "",
      "X-Request-Id: \r\n",
      "X-Request-Id: a b\r\n",
      "X-Request-Id: <x>\r\n",
      "X-Request-Id: \xc3\xa4\r\n",
      "X-Request-Id: 01234567890123456789012345678901234567890123456789012345678901234\r\n"};
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    const struct answer *answer = ask_with(&service, "GET", HEALTH, lines[i], NULL);
    EXPECT_OK(answer);
    cr_expect_null(header(answer, "X-Request-Id"), "%s", answer->headers);
  }
}

Test(http_wire, header_names_are_of_any_case) {
  const char *text = authorization(user(1));
  char line[4096];
  (void)snprintf(line, sizeof line, "aUTHORIZATION%s", text + strlen("Authorization"));
  EXPECT_OK(ask_with(&service, "POST", ISSUE, line, ONE));
}

Test(http_wire, what_is_no_http_ends_the_connection_and_nothing_else) {
  static const char *const texts[] = {"\x16\x03\x01\x02\x03\x01\xfc\x03\x03 hello, TLS\r\n\r\n",
                                      "hello\r\n\r\n",
                                      "GET\r\n\r\n",
                                      "GET / HTTP/9.9\r\n\r\n",
                                      "GET " HEALTH " HTTP/1.1\r\nNo colon\r\n\r\n",
                                      "GET " HEALTH " HTTP/1.1\r\nBad\x01Name: x\r\n\r\n"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    struct client other;
    client_open(&other, &service);
    (void)client_say(&other, texts[i]);
    const struct answer *answer = client_receive(&other);
    cr_expect(answer == NULL || answer->status == 400, "%s: %d", texts[i], answer->status);
    cr_expect(client_sees_end(&other), "%s", texts[i]);
    client_close(&other);
  }
  cr_assert(client_say(&client, buy(1)));
  EXPECT_OK(client_receive(&client));
}

Test(http_wire, a_target_may_be_a_whole_url) {
  static const char *const targets[] = {"http://example.org" HEALTH, "HTTP://example.org:80" HEALTH "?a=1",
                                        "https://[::1]:8443/x/.." HEALTH};
  char text[256];
  for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
    (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", targets[i]);
    cr_assert(client_say(&client, text));
    EXPECT_OK(client_receive(&client));
  }
  cr_assert(client_say(&client, "GET http://example.org HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_REFUSED(client_receive(&client), 404, "path_unknown");
  cr_assert(client_say(&client, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"));
  EXPECT_REFUSED(client_receive(&client), 404, "path_unknown");
}

Test(http_wire, a_target_or_a_host_that_may_be_read_in_two_ways_is_refused) {
  static const char *const texts[] = {
      "GET health HTTP/1.1\r\nHost: x\r\n\r\n", "CONNECT example.org:80 HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET " HEALTH " HTTP/1.1\r\n\r\n", "GET " HEALTH " HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
      "GET " HEALTH " HTTP/1.0\r\nHost: x\r\nhOST: y\r\n\r\n"};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    struct client other;
    client_open(&other, &service);
    cr_assert(client_say(&other, texts[i]));
    EXPECT_REFUSED(client_receive(&other), 400, "request_malformed");
    cr_expect(client_sees_end(&other), "%s", texts[i]);
    client_close(&other);
  }
  cr_assert(client_say(&client, "GET " HEALTH " HTTP/1.1\r\nHost:\r\nHostess: x\r\n\r\n"));
  EXPECT_OK(client_receive(&client));
}

Test(http_wire, an_upgrade_to_another_protocol_is_not_taken) {
  /* What comes behind it would be under none of the limits. */
  cr_assert(client_say(&client, request("GET", HEALTH,
                                        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                                        "HTTP2-Settings: AAMAAABkAAQAAP__\r\n",
                                        NULL)));
  EXPECT_OK(client_receive(&client));
}

Test(http_wire, a_length_that_is_no_number_is_refused) {
  static const char *const lengths[] = {"x", "-1", "1x", "0x0e", "18446744073709551630", "99999999999999999999999"};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    struct client other;
    char lines[4096];
    (void)snprintf(lines, sizeof lines, POST "%sContent-Length: %s\r\n\r\n" ONE, authorization(user(1)), lengths[i]);
    client_open(&other, &service);
    (void)client_say(&other, lines);
    const struct answer *answer = client_receive(&other);
    cr_expect(answer == NULL || answer->status == 400 || answer->status == 413, "%s: %d", lengths[i], answer->status);
    client_close(&other);
  }
  EXPECT_OK(issue(&service, user(1), 1));
}

/* --- where a request ends ------------------------------------------------------------------------ */

/* Whoever stands in front of the service may see another end of the first request than the service does; then its rest
 * would pass for a request of somebody else (RFC 9112, 6.3 and 11.2). So such a request is refused, or at least the
 * connection ends with it: user 9, whose request is that rest, has not asked. */
static void expect_no_second_request(const char *headers, const char *body) {
  client_close(&client);
  client_open(&client, &service);
  say_as(1, headers);
  (void)client_say(&client, body);
  const struct answer *answer = client_receive(&client);
  cr_expect(answer == NULL || answer->status == 400 || answer->status == 501, "%s: %s", headers, answer->body);
  (void)client_say(&client, request("GET", HEALTH, NULL, NULL));
  cr_expect(client_receive(&client) == NULL, "the connection goes on after %s", headers);
  EXPECT_HAS(ask(&service, "GET", ISSUE, user(9), NULL), "data", "0");
}

Test(http_wire, a_length_and_chunks_together_smuggle_nothing) {
  char body[4096], headers[128];
  (void)snprintf(body, sizeof body, "0\r\n\r\n%s", buy(9));
  (void)snprintf(headers, sizeof headers, "Content-Length: %zu\r\nTransfer-Encoding: chunked\r\n\r\n", strlen(body));
  expect_no_second_request(headers, body);
  (void)snprintf(headers, sizeof headers, "Transfer-Encoding: chunked\r\nContent-Length: %zu\r\n\r\n", strlen(body));
  expect_no_second_request(headers, body);
}

Test(http_wire, two_lengths_that_differ_smuggle_nothing) {
  char body[4096], headers[128];
  (void)snprintf(body, sizeof body, ONE "%s", buy(9));
  (void)snprintf(headers, sizeof headers, "Content-Length: 14\r\nContent-Length: %zu\r\n\r\n", strlen(body));
  expect_no_second_request(headers, body);
  (void)snprintf(headers, sizeof headers, "Content-Length: %zu\r\nContent-Length: 14\r\n\r\n", strlen(body));
  expect_no_second_request(headers, body);
}

Test(http_wire, an_encoding_that_is_not_known_smuggles_nothing) {
  static const char *const encodings[] = {"xchunked", "chunked, identity", "gzip", "identity"};
  char headers[128];
  for (size_t i = 0; i < sizeof encodings / sizeof encodings[0]; i++) {
    (void)snprintf(headers, sizeof headers, "Transfer-Encoding: %s\r\n\r\n", encodings[i]);
    expect_no_second_request(headers, buy(9));
  }
}

/* --- HEAD ---------------------------------------------------------------------------------------- */

/* All that comes until the other side closes. */
static size_t receive_all(const struct client *from, char *to, size_t capacity) {
  size_t length = 0;
  for (ssize_t got; (got = recv(from->socket, to + length, capacity - 1 - length, 0)) > 0;) length += (size_t)got;
  to[length] = '\0';
  return length;
}

Test(http_wire, head_is_answered_as_get_without_the_body) {
  static const char *const paths[] = {HEALTH, "/metrics", "/nowhere", COUPONS};
  static const int statuses[] = {200, 200, 404, 405};
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    char text[4096], status[32];
    struct client other;
    client_open(&other, &service);
    cr_assert(client_say(&other, request("HEAD", paths[i], "Connection: close\r\n", NULL)));
    size_t length = receive_all(&other, text, sizeof text);
    client_close(&other);
    (void)snprintf(status, sizeof status, "HTTP/1.1 %d ", statuses[i]);
    cr_expect_eq(strncmp(text, status, strlen(status)), 0, "%s: %s", paths[i], text);
    cr_expect_not_null(strstr(text, "\r\nContent-Length: "), "%s: %s", paths[i], text);
    cr_assert_gt(length, 4);
    cr_expect_str_eq(strstr(text, "\r\n\r\n"), "\r\n\r\n", "%s: something follows: %s", paths[i], text);
  }
}
