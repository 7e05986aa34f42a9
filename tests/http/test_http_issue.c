/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that who asks for a coupon is told the truth about it, and who asks wrongly is told what is wrong: what a
 * request means (docs/HTTP.md, "POST /api/v1/user-coupon"). What its bytes may look like is in test_http_wire.c, its
 * token in test_http_token.c.
 */
#include "http/expect.h"

TestSuite(http_issue, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);

#define ONE "{\"couponId\":1}"

Test(http_issue, who_asks_first_is_issued_ticket_one) {
  create_coupon(&service, 1, 10, "");
  const struct answer *answer = issue(&service, user(4711), 1);
  EXPECT_OK(answer);
  EXPECT_HAS(answer, "data.couponId", "1");
  EXPECT_HAS(answer, "data.userId", "4711");
  EXPECT_HAS(answer, "data.ticketNumber", "1");
  char time[64];
  cr_expect(json_get(answer->body, "data.issuedAt", time, sizeof time));
  cr_expect_eq(strlen(time) >= 19 && time[4] == '-' && time[10] == 'T', true, "%s", time);
  cr_expect_null(strchr(time, 'Z'), "%s", time);
}

Test(http_issue, tickets_are_numbered_in_the_order_of_the_answers) {
  create_coupon(&service, 1, 10, "");
  for (uint64_t i = 1; i <= 10; i++) {
    char number[16];
    (void)snprintf(number, sizeof number, "%d", (int)i);
    EXPECT_HAS(issue(&service, user(100 - i), 1), "data.ticketNumber", number);
  }
}

Test(http_issue, who_asks_again_is_shown_the_original_ticket) {
  char first[64], again[64];
  create_coupon(&service, 1, 10, "");
  EXPECT_OK(issue(&service, user(5), 1));
  const struct answer *answer = issue(&service, user(6), 1);
  EXPECT_OK(answer);
  cr_assert(json_get(answer->body, "data.issuedAt", first, sizeof first));
  answer = issue(&service, user(6), 1);
  EXPECT_REFUSED(answer, 409, "already_issued");
  EXPECT_HAS(answer, "data.couponId", "1");
  EXPECT_HAS(answer, "data.userId", "6");
  EXPECT_HAS(answer, "data.ticketNumber", "2");
  cr_assert(json_get(answer->body, "data.issuedAt", again, sizeof again));
  cr_expect_str_eq(first, again);
}

Test(http_issue, when_all_are_gone_it_is_sold_out_but_not_for_who_has_one) {
  create_coupon(&service, 1, 1, "");
  EXPECT_OK(issue(&service, user(5), 1));
  EXPECT_REFUSED(issue(&service, user(6), 1), 400, "sold_out");
  EXPECT_LACKS(issue(&service, user(6), 1), "data");
  EXPECT_REFUSED(issue(&service, user(5), 1), 409, "already_issued");
}

Test(http_issue, a_coupon_of_quantity_zero_is_sold_out_from_the_start) {
  create_coupon(&service, 1, 0, "");
  EXPECT_REFUSED(issue(&service, user(6), 1), 400, "sold_out");
}

Test(http_issue, before_it_opens_one_is_told_in_how_many_seconds) {
  create_coupon(&service, 1, 1, ",\"startDate\":\"2200-01-01T00:00:00\"");
  const struct answer *answer = issue(&service, user(6), 1);
  EXPECT_REFUSED(answer, 409, "not_open");
  /* Some 170 years; or the wrong unit. */
  const char *seconds = header(answer, "Retry-After");
  cr_assert_not_null(seconds);
  double years = strtod(seconds, NULL) / (365.25 * 86400);
  cr_expect(years > 120 && years < 180, "%s", seconds);
}

Test(http_issue, after_its_end_it_is_told_so) {
  create_coupon(&service, 1, 1, ",\"startDate\":\"2001-01-01T00:00:00\",\"endDate\":\"2002-01-01T00:00:00\"");
  EXPECT_REFUSED(issue(&service, user(6), 1), 409, "ended");
}

Test(http_issue, an_id_that_no_coupon_has_is_unknown) {
  create_coupon(&service, 1, 1, "");
  EXPECT_REFUSED(issue(&service, user(6), 2), 404, "coupon_unknown");
  EXPECT_REFUSED(issue(&service, user(6), 0), 404, "coupon_unknown");
  EXPECT_REFUSED(issue(&service, user(6), UINT64_MAX), 404, "coupon_unknown");
}

Test(http_issue, a_request_without_a_body_is_told_that_it_is_missing) {
  create_coupon(&service, 1, 1, "");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), NULL), 400, "body_missing");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), ""), 400, "body_missing");
}

Test(http_issue, a_body_that_is_no_json_object_is_malformed) {
  static const char *const bodies[] = {"{",
                                       "}",
                                       "couponId=1",
                                       "{\"couponId\":1",
                                       "{\"couponId\":1}}",
                                       "{\"couponId\":1}{\"couponId\":1}",
                                       "{\"couponId\":1} x",
                                       "{couponId:1}",
                                       "{'couponId':1}",
                                       "{\"couponId\":1,}",
                                       "{\"couponId\":01}",
                                       "{\"couponId\":+1}",
                                       "{\"couponId\":0x1}",
                                       "{\"couponId\" 1}",
                                       "{\"couponId\":1 \"a\":2}",
                                       "[{\"couponId\":1}]",
                                       "[1]",
                                       "1",
                                       "\"1\"",
                                       "null",
                                       "true",
                                       " ",
                                       "{\"a\":\"\xff\",\"couponId\":1}",
                                       "{\"a\":\"\n\",\"couponId\":1}",
                                       "{\"couponId\":NaN}"};
  create_coupon(&service, 1, 100, "");
  for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
    const struct answer *answer = ask(&service, "POST", ISSUE, user(6), bodies[i]);
    const char *wrong = not_refused(answer, 400, "body_malformed");
    cr_expect(wrong == NULL, "%s: %s: %s", bodies[i], wrong, answer->body);
  }
}

Test(http_issue, a_member_given_twice_is_malformed_even_if_both_agree) {
  create_coupon(&service, 1, 1, "");
  create_coupon(&service, 2, 1, "");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{\"couponId\":1,\"couponId\":2}"), 400, "body_malformed");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{\"couponId\":1,\"couponId\":1}"), 400, "body_malformed");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{\"couponId\":1,\"coupon\\u0049d\":2}"), 400, "body_malformed");
}

Test(http_issue, members_that_mean_nothing_here_are_passed_over) {
  create_coupon(&service, 1, 1, "");
  EXPECT_OK(ask(&service, "POST", ISSUE, user(6), "{\"x\":1,\"x\":{\"couponId\":2},\"couponId\":1,\"y\":[1]}"));
}

Test(http_issue, a_body_without_a_coupon_id_is_told_so) {
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{}"), 400, "coupon_id_missing");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{\"couponid\":1}"), 400, "coupon_id_missing");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{\"a\":{\"couponId\":1}}"), 400, "coupon_id_missing");
}

Test(http_issue, a_coupon_id_that_is_not_an_integer_of_the_range_is_invalid) {
  static const char *const values[] = {"-1",
                                       "-0.5",
                                       "1.5",
                                       "1.0",
                                       "1e0",
                                       "1E2",
                                       "1e-1",
                                       "18446744073709551616",
                                       "18446744073709551617",
                                       "99999999999999999999",
                                       "340282366920938463463374607431768211457",
                                       "\"1\"",
                                       "\"\"",
                                       "true",
                                       "[1]",
                                       "{\"couponId\":1}"};
  create_coupon(&service, 1, 100, "");
  for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
    char body[128];
    (void)snprintf(body, sizeof body, "{\"couponId\":%s}", values[i]);
    const struct answer *answer = ask(&service, "POST", ISSUE, user(6), body);
    const char *wrong = not_refused(answer, 400, "coupon_id_invalid");
    cr_expect(wrong == NULL, "%s: %s: %s", body, wrong, answer->body);
  }
}

Test(http_issue, a_coupon_id_of_null_is_there_and_no_integer) {
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{\"couponId\":null}"), 400, "coupon_id_invalid");
}

Test(http_issue, ids_beyond_what_a_double_holds_are_exact) {
  create_coupon(&service, UINT64_C(9007199254740993), 1, ""); /* 2^53 + 1 */
  create_coupon(&service, UINT64_MAX, 1, "");
  EXPECT_REFUSED(issue(&service, user(6), UINT64_C(9007199254740992)), 404, "coupon_unknown");
  EXPECT_HAS(issue(&service, user(6), UINT64_C(9007199254740993)), "data.couponId", "9007199254740993");
  EXPECT_REFUSED(issue(&service, user(6), UINT64_MAX - 1), 404, "coupon_unknown");
  EXPECT_HAS(issue(&service, user(6), UINT64_MAX), "data.couponId", "18446744073709551615");
}

Test(http_issue, other_members_and_white_space_do_not_matter) {
  create_coupon(&service, 1, 2, "");
  EXPECT_OK(ask(&service, "POST", ISSUE, user(6), " \r\n{ \"note\" : [1,{\"couponId\":2}] , \"couponId\"\t:\n1 } "));
  EXPECT_OK(ask(&service, "POST", ISSUE, user(7), "{\"coupon\\u0049d\":1}"));
}

Test(http_issue, another_method_is_refused_with_those_that_are_allowed) {
  static const char *const methods[] = {"PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post", "POSTS", "NONSENSE"};
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
    const struct answer *answer = ask(&service, methods[i], ISSUE, user(6), NULL);
    const char *wrong = not_refused(answer, 405, "method_not_allowed");
    cr_assert(wrong == NULL, "%s: %s: %s", methods[i], wrong, answer->body);
    const char *allow = header(answer, "Allow");
    cr_expect(allow != NULL && strstr(allow, "POST") != NULL && strstr(allow, "GET") != NULL, "%s", allow);
  }
  const struct answer *answer = ask(&service, "GET", COUPONS, admin(), NULL);
  EXPECT_REFUSED(answer, 405, "method_not_allowed");
  const char *allow = header(answer, "Allow");
  cr_expect(allow != NULL && strstr(allow, "POST") != NULL && strstr(allow, "GET") == NULL, "%s", allow);
}

Test(http_issue, a_path_that_is_none_is_unknown) {
  static const char *const paths[] = {"/",
                                      "/api",
                                      "/api/v1",
                                      "/api/v1/",
                                      "/api/v2/user-coupon",
                                      ISSUE "/",
                                      ISSUE "s",
                                      "/api/v1/user-coupo",
                                      "/user-coupon",
                                      "/API/V1/USER-COUPON",
                                      ISSUE "/1",
                                      "/metrics/",
                                      "/api/v1/metrics",
                                      "/favicon.ico"};
  create_coupon(&service, 1, 100, "");
  for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
    const struct answer *answer = ask(&service, "POST", paths[i], user(6), ONE);
    const char *wrong = not_refused(answer, 404, "path_unknown");
    cr_expect(wrong == NULL, "%s: %s: %s", paths[i], wrong, answer->body);
  }
}

Test(http_issue, a_query_string_is_ignored) {
  create_coupon(&service, 1, 2, "");
  EXPECT_OK(ask(&service, "POST", ISSUE "?couponId=2", user(6), ONE));
  EXPECT_OK(ask(&service, "POST", ISSUE "?", user(7), ONE));
  EXPECT_OK(ask(&service, "GET", HEALTH "?/../?x=%00&y=" ISSUE, NULL, NULL));
}

Test(http_issue, the_order_of_checks_is_path_method_token_role_body_decision) {
  create_coupon(&service, 1, 1, "");
  /* Each of these has several faults, and is told of the first. */
  EXPECT_REFUSED(ask(&service, "PUT", "/nowhere", "Bearer x", "{"), 404, "path_unknown");
  EXPECT_REFUSED(ask(&service, "PUT", ISSUE, "Bearer x", "{"), 405, "method_not_allowed");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, NULL, "{"), 400, "token_missing");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, "Bearer x", "{"), 401, "token_malformed");
  EXPECT_REFUSED(ask(&service, "POST", COUPONS, "Bearer x", "{"), 401, "token_malformed");
  EXPECT_REFUSED(ask(&service, "POST", COUPONS, user(6), "{"), 403, "admin_required");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{\"couponId\":2"), 400, "body_malformed");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{\"couponId\":2}"), 404, "coupon_unknown");
}

Test(http_issue, an_admin_may_have_a_coupon_too) {
  create_coupon(&service, 1, 1, "");
  EXPECT_HAS(issue(&service, admin(), 1), "data.userId", "1");
}

Test(http_issue, a_refused_request_takes_nothing) {
  create_coupon(&service, 1, 1, "");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, user(6), "{\"couponId\":1,\"couponId\":1}"), 400, "body_malformed");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, "Bearer x", ONE), 401, "token_malformed");
  EXPECT_REFUSED(ask(&service, "PUT", ISSUE, user(6), ONE), 405, "method_not_allowed");
  EXPECT_HAS(issue(&service, user(7), 1), "data.ticketNumber", "1");
}

#define CROWD 16
#define ROUNDS 20

Test(http_issue, of_a_crowd_at_once_everybody_gets_a_number_of_his_own) {
  struct client crowd[CROWD];
  static bool given[CROWD * ROUNDS + 1];
  create_coupon(&service, 1, CROWD * ROUNDS, "");
  for (int i = 0; i < CROWD; i++) client_open(&crowd[i], &service);
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < CROWD; i++)
      cr_assert(client_say(&crowd[i], request("POST", ISSUE, authorization(user((uint64_t)(round * CROWD + i))), ONE)));
    for (int i = 0; i < CROWD; i++) {
      char number[32] = "";
      const struct answer *answer = client_receive(&crowd[i]);
      EXPECT_OK(answer);
      cr_assert(json_get(answer->body, "data.ticketNumber", number, sizeof number));
      unsigned long place = strtoul(number, NULL, 10);
      cr_assert(place >= 1 && place <= CROWD * ROUNDS && !given[place], "%s", answer->body);
      given[place] = true;
    }
  }
  for (int i = 0; i < CROWD; i++) client_close(&crowd[i]);
  EXPECT_REFUSED(issue(&service, user(CROWD * ROUNDS), 1), 400, "sold_out");
}
