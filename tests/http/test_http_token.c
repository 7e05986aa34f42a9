/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that only a whole, untouched, unexpired token of this service opens its doors, and that everything else is told
 * which of the rules it breaks. How: tokens made here with the service's secret, each bad in one way.
 */
#include "http/expect.h"

static void begin_with_coupon(void) {
  begin();
  create_coupon(&service, 1, 100, "");
}

TestSuite(http_token, .init = begin_with_coupon, .fini = end, .timeout = HANGS_AFTER_S);

#define HEAD "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define CLAIMS "{\"sub\":\"4711\",\"role\":\"USER\",\"iat\":1700000000,\"exp\":99999999999}"

#define EXPECT_TOKEN(token, status, reason)                                                        \
  do {                                                                                             \
    const char *token_ = (token);                                                                  \
    const struct answer *given_ = issue(&service, token_, 1);                                      \
    const char *fault_ = not_refused(given_, status, reason);                                      \
    cr_expect(fault_ == NULL, "expected %s for %s: %s: %s", reason, token_, fault_, given_->body); \
  } while (0)

/* A copy to spoil. */
static char *spoilt(const char *token) {
  static char copy[TOKEN_MAX];
  (void)snprintf(copy, sizeof copy, "%s", token);
  return copy;
}

static char *part(char *token, int number) {
  char *at = token + strlen("Bearer ");
  for (; number > 0; number--) at = strchr(at, '.') + 1;
  return at;
}

Test(http_token, the_tokens_made_here_are_good_unless_spoilt) {
  /* Or the refusals below would show nothing. */
  EXPECT_OK(issue(&service, token_forge(HEAD, CLAIMS, service.secret, 256), 1));
  EXPECT_OK(issue(&service, user(2), 1));
  EXPECT_OK(issue(&service, admin(), 1));
}

Test(http_token, none_or_an_empty_one_is_missing) {
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, NULL, "{\"couponId\":1}"), 400, "token_missing");
  EXPECT_REFUSED(ask(&service, "POST", ISSUE, "", "{\"couponId\":1}"), 400, "token_missing");
  EXPECT_REFUSED(ask(&service, "GET", ISSUE, NULL, NULL), 400, "token_missing");
  EXPECT_REFUSED(ask(&service, "POST", COUPONS, NULL, "{}"), 400, "token_missing");
}

Test(http_token, what_is_not_bearer_and_three_parts_is_malformed) {
  const char *good = user(4711), *jwt = good + strlen("Bearer ");
  char text[TOKEN_MAX + 64];
  EXPECT_TOKEN(jwt, 401, "token_malformed");
  static const struct {
    const char *before, *behind;
  } forms[] = {{"Basic ", ""},   {"Bearer", ""},      {"Token ", ""},    {"Bearer Bearer ", ""},  {"Bearer .", ""},
               {"Bearer ", "."}, {"Bearer ", ".x"},   {"Bearer ", " x"}, {"Bearer ", ",Basic x"}, {"Bearer \"", "\""},
               {"Bearer %", ""}, {"Bearer a.b.", ""}, {"Bearer ", "=="}};
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    (void)snprintf(text, sizeof text, "%s%s%s", forms[i].before, jwt, forms[i].behind);
    EXPECT_TOKEN(text, 401, "token_malformed");
  }
  EXPECT_TOKEN("Bearer", 401, "token_malformed");
  EXPECT_TOKEN("Bearer x", 401, "token_malformed");
  EXPECT_TOKEN("Bearer ..", 401, "token_malformed");
  EXPECT_TOKEN("Bearer a.b", 401, "token_malformed");
}

Test(http_token, two_parts_of_a_good_token_are_malformed) {
  char *token = spoilt(user(4711));
  part(token, 2)[-1] = 0;
  EXPECT_TOKEN(token, 401, "token_malformed");
}

Test(http_token, other_alphabets_than_that_of_base64url_are_malformed) {
  static const char wrong[] = "+/=*!~%&:\x80";
  for (int number = 0; number < 3; number++) {
    for (const char *c = wrong; *c != 0; c++) {
      char *token = spoilt(user(4711));
      part(token, number)[5] = *c;
      EXPECT_TOKEN(token, 401, "token_malformed");
    }
  }
}

Test(http_token, a_header_that_is_not_json_is_malformed) {
  EXPECT_TOKEN(token_forge("", CLAIMS, service.secret, 256), 401, "token_malformed");
  EXPECT_TOKEN(token_forge("alg", CLAIMS, service.secret, 256), 401, "token_malformed");
  EXPECT_TOKEN(token_forge("{\"alg\":\"HS256\"", CLAIMS, service.secret, 256), 401, "token_malformed");
}

Test(http_token, claims_that_are_not_json_are_malformed_though_signed) {
  EXPECT_TOKEN(token_forge(HEAD, "hello", service.secret, 256), 401, "token_malformed");
  EXPECT_TOKEN(token_forge(HEAD, "{\"sub\":\"1\"", service.secret, 256), 401, "token_malformed");
}

Test(http_token, another_algorithm_is_refused_whatever_the_signature) {
  static const char *const heads[] = {"{\"alg\":\"none\"}",
                                      "{\"alg\":\"None\",\"typ\":\"JWT\"}",
                                      "{\"alg\":\"HS512\"}",
                                      "{\"alg\":\"RS256\"}",
                                      "{\"alg\":\"hs256\"}",
                                      "{\"alg\":\"\"}",
                                      "{\"typ\":\"JWT\"}",
                                      "{\"alg\":256}",
                                      "{\"alg\":null}",
                                      "{\"alg\":[\"HS256\"]}",
                                      "{}"};
  for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
    EXPECT_TOKEN(token_forge(heads[i], CLAIMS, service.secret, 256), 401, "token_algorithm");
  EXPECT_TOKEN(token_forge("{\"alg\":\"HS512\",\"typ\":\"JWT\"}", CLAIMS, service.secret, 512), 401, "token_algorithm");
}

Test(http_token, a_token_without_any_signature_opens_nothing) {
  /* Of the rules it breaks, any may be named; but it is refused. */
  static const char *const heads[] = {"{\"alg\":\"none\"}", HEAD};
  for (size_t i = 0; i < 2; i++) {
    const struct answer *answer = issue(&service, token_forge(heads[i], CLAIMS, service.secret, 0), 1);
    cr_expect_eq(answer->status, 401, "%s", answer->body);
  }
}

Test(http_token, hs256_in_name_but_signed_otherwise_is_a_bad_signature) {
  EXPECT_TOKEN(token_forge(HEAD, CLAIMS, service.secret, 512), 401, "token_signature");
}

Test(http_token, a_signature_with_another_secret_is_bad) {
  EXPECT_TOKEN(token_forge(HEAD, CLAIMS, "another secret, as long as the one used by it", 256), 401, "token_signature");
  EXPECT_TOKEN(token_forge(HEAD, CLAIMS, "", 256), 401, "token_signature");
}

Test(http_token, touched_claims_do_not_match_the_signature) {
  char token[2 * TOKEN_MAX], claims[512], *good = spoilt(user(4711));
  token_base64((const unsigned char *)CLAIMS, strlen(CLAIMS), claims);
  (void)snprintf(token, sizeof token, "%.*s%s.%s", (int)(part(good, 1) - good), good, claims, part(good, 2));
  EXPECT_TOKEN(token, 401, "token_signature");
}

Test(http_token, a_touched_header_does_not_match_the_signature) {
  char token[TOKEN_MAX], other[TOKEN_MAX];
  (void)snprintf(token, sizeof token, "%s", token_forge(HEAD, CLAIMS, service.secret, 256));
  const char *head = token_forge("{\"typ\":\"JWT\",\"alg\":\"HS256\"}", CLAIMS, service.secret, 256);
  (void)snprintf(other, sizeof other, "%.*s%s", (int)(strrchr(head, '.') + 1 - head), head, part(token, 2));
  EXPECT_TOKEN(other, 401, "token_signature");
}

Test(http_token, every_letter_of_the_signature_counts) {
  const char *good = token_forge(HEAD, CLAIMS, service.secret, 256);
  size_t letters = strlen(strrchr(good, '.') + 1);
  cr_assert_eq(letters, 43);
  for (size_t i = 0; i < letters; i++) {
    char *token = spoilt(good);
    /* The last letter has two bits that are no part of it, so another letter may be no base64url at all. */
    part(token, 2)[i] = part(token, 2)[i] == 'A' ? 'Q' : 'A';
    const struct answer *answer = issue(&service, token, 1);
    cr_expect_eq(answer->status, 401, "letter %zu: %s", i, answer->body);
  }
  EXPECT_OK(issue(&service, good, 1));
}

Test(http_token, a_short_or_long_signature_is_bad) {
  for (size_t letters = 4; letters < 43; letters += 4) {
    char *token = spoilt(token_forge(HEAD, CLAIMS, service.secret, 256));
    part(token, 2)[letters] = 0;
    EXPECT_TOKEN(token, 401, "token_signature");
  }
  for (size_t more = 1; more <= 8; more++) {
    char token[TOKEN_MAX];
    (void)snprintf(token, sizeof token, "%s%.*s", token_forge(HEAD, CLAIMS, service.secret, 256), (int)more,
                   "AAAAAAAA");
    /* Of some lengths no base64url is. */
    const struct answer *answer = issue(&service, token, 1);
    cr_expect_eq(answer->status, 401, "%zu more: %s", more, answer->body);
  }
}

#define EXPECT_CLAIMS(claims, reason) EXPECT_TOKEN(token_claiming(&service, claims), 401, reason)

Test(http_token, an_expired_token_says_so) {
  EXPECT_CLAIMS("{\"sub\":\"1\",\"role\":\"USER\",\"iat\":1600000000,\"exp\":1600001800}", "token_expired");
  EXPECT_CLAIMS("{\"sub\":\"1\",\"role\":\"USER\",\"exp\":0}", "token_expired");
}

Test(http_token, a_token_without_a_time_of_expiry_is_not_for_ever) {
  EXPECT_CLAIMS("{\"sub\":\"1\",\"role\":\"USER\",\"iat\":1700000000}", "token_claims");
  EXPECT_CLAIMS("{\"sub\":\"1\",\"role\":\"USER\",\"exp\":null}", "token_claims");
}

Test(http_token, an_expiry_that_is_no_number_is_none) {
  EXPECT_CLAIMS("{\"sub\":\"1\",\"role\":\"USER\",\"exp\":\"LATER\"}", "token_claims");
  EXPECT_CLAIMS("{\"sub\":\"1\",\"role\":\"USER\",\"exp\":[LATER]}", "token_claims");
  EXPECT_CLAIMS("{\"sub\":\"1\",\"role\":\"USER\",\"exp\":true}", "token_claims");
}

Test(http_token, an_expiry_beyond_all_numbers_opens_nothing_by_overflow) {
  /* It may count as far away or as no number; what it must not do is break the service. */
  static const char *const times[] = {"99999999999999999999999", "1e400", "-1", "-99999999999999999999999"};
  for (size_t i = 0; i < 4; i++) {
    char claims[256];
    (void)snprintf(claims, sizeof claims, "{\"sub\":\"1\",\"role\":\"USER\",\"exp\":%s}", times[i]);
    const struct answer *answer = ask(&service, "GET", ISSUE, token_claiming(&service, claims), NULL);
    cr_expect(answer->status == 401 || (answer->status == 200 && times[i][0] != '-'), "%s: %s", times[i], answer->body);
  }
}

Test(http_token, a_subject_that_is_no_id_is_refused) {
  static const char *const subjects[] = {"\"\"",
                                         "\"x\"",
                                         "\"-1\"",
                                         "\"+1\"",
                                         "\"1.0\"",
                                         "\"1e3\"",
                                         "\" 1\"",
                                         "\"1 \"",
                                         "\"01\"",
                                         "\"00\"",
                                         "\"0x1\"",
                                         "\"18446744073709551616\"",
                                         "\"99999999999999999999999\"",
                                         "\"1\\u0000\"",
                                         "1",
                                         "null",
                                         "[\"1\"]",
                                         "true"};
  for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
    char claims[256];
    (void)snprintf(claims, sizeof claims, "{\"sub\":%s,\"role\":\"USER\",\"exp\":LATER}", subjects[i]);
    EXPECT_CLAIMS(claims, "token_claims");
  }
  EXPECT_CLAIMS("{\"role\":\"USER\",\"exp\":LATER}", "token_claims");
}

Test(http_token, a_role_that_is_none_is_refused) {
  static const char *const roles[] = {"\"\"",           "\"user\"", "\"ROOT\"", "\"ADMIN \"",
                                      "\"USER,ADMIN\"", "1",        "null",     "[\"ADMIN\"]"};
  for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
    char claims[256];
    (void)snprintf(claims, sizeof claims, "{\"sub\":\"1\",\"role\":%s,\"exp\":LATER}", roles[i]);
    EXPECT_CLAIMS(claims, "token_claims");
  }
  EXPECT_CLAIMS("{\"sub\":\"1\",\"exp\":LATER}", "token_claims");
}

Test(http_token, the_least_and_the_greatest_user_are_written_exactly) {
  EXPECT_HAS(issue(&service, user(0), 1), "data.userId", "0");
  EXPECT_HAS(issue(&service, user(UINT64_MAX), 1), "data.userId", "18446744073709551615");
  EXPECT_HAS(issue(&service, user(UINT64_MAX), 1), "data.userId", "18446744073709551615");
  EXPECT_HAS(issue(&service, user(UINT64_MAX - 1), 1), "data.userId", "18446744073709551614");
}

Test(http_token, only_an_admin_makes_coupons) {
  const char *body = "{\"name\":\"n\",\"description\":\"\",\"discountAmount\":1,\"quantity\":1}";
  EXPECT_REFUSED(ask(&service, "POST", COUPONS, user(1), body), 403, "admin_required");
  EXPECT_OK(ask(&service, "POST", COUPONS, admin(), body));
}

Test(http_token, two_authorization_headers_are_not_half_believed) {
  /* Which of them counts is not said; a stranger's must not make the first one's user pass for another. */
  char lines[8192];
  (void)snprintf(lines, sizeof lines, "%s", authorization("Bearer x.y.z"));
  strcat(lines, authorization("Basic x"));
  const struct answer *answer = ask_with(&service, "POST", ISSUE, lines, "{\"couponId\":1}");
  cr_expect_eq(answer->status, 401, "%s", answer->body);
}

Test(http_token, a_long_token_within_the_header_limit_is_just_bad) {
  char token[7000] = "Bearer ";
  memset(token + 7, 'A', sizeof token - 8);
  token[100] = token[200] = '.';
  const struct answer *answer = issue(&service, token, 1);
  cr_expect_eq(answer->status, 401, "%s", answer->body);
}
