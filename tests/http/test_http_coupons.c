/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that an admin gets the coupon that was described, or is told which member is wrong; and that asking twice makes
 * it once.
 */
#include "http/expect.h"

TestSuite(http_coupons, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(http_coupons_few, .init = prepare, .fini = end, .timeout = HANGS_AFTER_S);

/* A good body, with the members of a test instead of the usual ones. `value` NULL: without this member. */
struct member {
  const char *name, *value;
};

static const struct member usual[] = {{"name", "\"spring\""},     {"description", "\"ten off\""},
                                      {"discountAmount", "1000"}, {"quantity", "5"},
                                      {"startDate", NULL},        {"endDate", NULL},
                                      {"perUserLimit", NULL},     {"id", NULL}};

static const char *body_with2(struct member first, struct member second) {
  static char body[8192];
  size_t used = 0;
  for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++) {
    const char *value = usual[i].value;
    if (strcmp(usual[i].name, first.name) == 0) value = first.value;
    if (strcmp(usual[i].name, second.name) == 0) value = second.value;
    if (value == NULL) continue;
    used +=
        (size_t)snprintf(body + used, sizeof body - used, "%c\"%s\":%s", used == 0 ? '{' : ',', usual[i].name, value);
  }
  (void)snprintf(body + used, sizeof body - used, "}");
  return body;
}

static const char *body_with(const char *name, const char *value) {
  return body_with2((struct member){name, value}, (struct member){"", NULL});
}

static const struct answer *create(const char *body) { return ask(&service, "POST", COUPONS, admin(), body); }

/* Refused, with a message that names the member. */
#define EXPECT_FIELD(name, value, reason)                                                                \
  do {                                                                                                   \
    const struct answer *given_ = create(body_with(name, value));                                        \
    const char *fault_ = not_refused(given_, 400, reason);                                               \
    cr_expect(fault_ == NULL, "%s %s: %s: %s", name, value == NULL ? "-" : value, fault_, given_->body); \
    cr_expect(strstr(given_->body, name) != NULL, "does not name %s: %s", name, given_->body);           \
  } while (0)

#define EXPECT_TAKEN(name, value)                                                  \
  do {                                                                             \
    const struct answer *given_ = create(body_with(name, value));                  \
    const char *fault_ = not_ok(given_);                                           \
    cr_expect(fault_ == NULL, "%s %s: %s: %s", name, value, fault_, given_->body); \
  } while (0)

Test(http_coupons, a_coupon_without_an_id_gets_the_next_one) {
  const struct answer *answer = create(body_with("", NULL));
  EXPECT_OK(answer);
  EXPECT_HAS(answer, "data.couponId", "1");
  EXPECT_HAS(create(body_with("", NULL)), "data.couponId", "2");
  EXPECT_HAS(create(body_with("id", "40")), "data.couponId", "40");
  EXPECT_HAS(create(body_with("", NULL)), "data.couponId", "41");
  EXPECT_HAS(issue(&service, user(5), 41), "data.ticketNumber", "1");
}

Test(http_coupons, every_member_that_has_to_be_there_is_missed) {
  static const char *const names[] = {"name", "description", "discountAmount", "quantity"};
  for (size_t i = 0; i < 4; i++) EXPECT_FIELD(names[i], (const char *)NULL, "field_missing");
}

Test(http_coupons, a_name_has_1_to_255_bytes) {
  char text[300];
  static const char *const wrong[] = {"\"\"", "1", "[]", "true"};
  for (size_t i = 0; i < 4; i++) EXPECT_FIELD("name", wrong[i], "field_invalid");
  (void)snprintf(text, sizeof text, "\"%0256d\"", 0);
  EXPECT_FIELD("name", (const char *)text, "field_invalid");
  (void)snprintf(text, sizeof text, "\"%0255d\"", 0);
  EXPECT_TAKEN("name", text);
  /* Bytes, not characters: 128 of two each. */
  text[0] = '"';
  for (size_t i = 0; i < 128; i++) memcpy(text + 1 + 2 * i, "\xc3\xa4", 2);
  strcpy(text + 257, "\"");
  EXPECT_FIELD("name", (const char *)text, "field_invalid");
}

Test(http_coupons, a_description_has_up_to_1024_bytes) {
  char text[1100];
  static const char *const wrong[] = {"1", "{}"};
  for (size_t i = 0; i < 2; i++) EXPECT_FIELD("description", wrong[i], "field_invalid");
  (void)snprintf(text, sizeof text, "\"%01025d\"", 0);
  EXPECT_FIELD("description", (const char *)text, "field_invalid");
  (void)snprintf(text, sizeof text, "\"%01024d\"", 0);
  EXPECT_TAKEN("description", text);
  EXPECT_TAKEN("description", "\"\"");
}

Test(http_coupons, an_amount_is_an_integer) {
  static const char *const wrong[] = {"1.5", "1e3", "\"1000\"", "99999999999999999999999"};
  for (size_t i = 0; i < 4; i++) EXPECT_FIELD("discountAmount", wrong[i], "field_invalid");
  EXPECT_TAKEN("discountAmount", "0");
  EXPECT_TAKEN("discountAmount", "9007199254740993");
}

Test(http_coupons, a_quantity_is_0_to_2_to_the_40) {
  static const char *const wrong[] = {
      "-1", "1.5", "1e3", "\"5\"", "1099511627777", "18446744073709551615", "18446744073709551616"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) EXPECT_FIELD("quantity", wrong[i], "field_invalid");
  EXPECT_TAKEN("quantity", "0");
  EXPECT_TAKEN("quantity", "1099511627776");
}

Test(http_coupons, a_member_of_null_is_there_and_not_of_its_kind) {
  static const char *const names[] = {"name", "description", "discountAmount", "quantity"};
  for (size_t i = 0; i < 4; i++) EXPECT_FIELD(names[i], "null", "field_invalid");
}

Test(http_coupons, a_limit_is_1_or_0) {
  static const char *const wrong[] = {"2", "-1", "\"1\"", "1.0", "true", "18446744073709551617"};
  for (size_t i = 0; i < 6; i++) EXPECT_FIELD("perUserLimit", wrong[i], "field_invalid");
  EXPECT_TAKEN("perUserLimit", "0");
  EXPECT_TAKEN("perUserLimit", "1");
}

Test(http_coupons, an_id_is_of_64_bits) {
  /* "id" is in every word with it, so the message is not looked at for it. */
  static const char *const wrong[] = {"-1", "1.5", "\"7\"", "18446744073709551616", "1e3"};
  for (size_t i = 0; i < 5; i++) EXPECT_REFUSED(create(body_with("id", wrong[i])), 400, "field_invalid");
  EXPECT_HAS(create(body_with("id", "0")), "data.couponId", "0");
  EXPECT_HAS(create(body_with("id", "18446744073709551615")), "data.couponId", "18446744073709551615");
}

Test(http_coupons, after_the_greatest_id_there_is_no_next_one) {
  EXPECT_OK(create(body_with("id", "18446744073709551615")));
  const struct answer *answer = create(body_with("", NULL));
  /* Which refusal is not said. But 2^64 is no id, and 0 has not been asked for. */
  cr_expect(answer->status != 200, "%s", answer->body);
}

Test(http_coupons, dates_that_are_none_are_invalid) {
  static const char *const wrong[] = {"\"\"",
                                      "\"tomorrow\"",
                                      "\"2026-02-30T00:00:00\"",
                                      "\"2026-13-01T00:00:00\"",
                                      "\"2026-00-01T00:00:00\"",
                                      "\"2026-01-00T00:00:00\"",
                                      "\"2025-02-29T00:00:00\"",
                                      "\"2100-02-29T00:00:00\"",
                                      "\"2026-04-31T00:00:00\"",
                                      "\"2026-01-01T24:00:00\"",
                                      "\"2026-01-01T00:60:00\"",
                                      "\"2026-01-01T00:00:60\"",
                                      "\"2026-01-01\"",
                                      "\"2026-01-01 00:00:00\"",
                                      "\"2026-01-01T00:00\"",
                                      "\"2026-01-01T00:00:00.\"",
                                      "\"2026-01-01T00:00:00.1234567890\"",
                                      "\"2026-01-01T00:00:00+01:00\"",
                                      "\"2026-01-01T00:00:00ZZ\"",
                                      "\"2026-01-01T00:00:00Z \"",
                                      "\" 2026-01-01T00:00:00\"",
                                      "\"2026-1-1T00:00:00\"",
                                      "\"20260101T000000\"",
                                      "\"-026-01-01T00:00:00\"",
                                      "\"9999-12-31T23:59:59\"",
                                      "1774607508",
                                      "true"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    EXPECT_FIELD("startDate", wrong[i], "field_invalid");
    EXPECT_FIELD("endDate", wrong[i], "field_invalid");
  }
}

Test(http_coupons, dates_may_have_a_fraction_and_a_z) {
  static const char *const right[] = {"\"2096-02-29T00:00:00\"",           "\"2099-12-31T23:59:59\"",
                                      "\"2099-01-01T00:00:00Z\"",          "\"2099-01-01T00:00:00.1\"",
                                      "\"2099-01-01T00:00:00.123456789\"", "\"2099-01-01T00:00:00.5Z\""};
  for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
    EXPECT_TAKEN("startDate", right[i]);
    EXPECT_TAKEN("endDate", right[i]);
  }
}

Test(http_coupons, an_end_that_is_not_after_the_start_is_invalid) {
  const struct member start = {"startDate", "\"2099-01-02T00:00:00.5\""};
  EXPECT_REFUSED(create(body_with2(start, (struct member){"endDate", "\"2099-01-01T00:00:00\""})), 400,
                 "field_invalid");
  EXPECT_REFUSED(create(body_with2(start, (struct member){"endDate", "\"2099-01-02T00:00:00.5\""})), 400,
                 "field_invalid");
  EXPECT_OK(create(body_with2(start, (struct member){"endDate", "\"2099-01-02T00:00:00.500000001\""})));
}

Test(http_coupons, the_dates_are_kept) {
  const struct member end_date = {"endDate", "\"2099-01-01T00:00:00\""};
  EXPECT_OK(create(body_with2(end_date, (struct member){"startDate", "\"2020-02-29T12:30:00.25Z\""})));
  EXPECT_OK(issue(&service, user(5), 1));
  const struct answer *answer = ask(&service, "GET", ISSUE, user(5), NULL);
  char start[64];
  cr_assert(json_get(answer->body, "data.0.startDate", start, sizeof start));
  cr_expect_eq(strncmp(start, "2020-02-29T12:30:00.25", 22), 0, "%s", start);
  cr_expect_null(strchr(start, 'Z'), "%s", start);
  char finish[64];
  cr_assert(json_get(answer->body, "data.0.endDate", finish, sizeof finish));
  cr_expect_eq(strncmp(finish, "2099-01-01T00:00:00", 19), 0, "%s", finish);
}

Test(http_coupons, without_a_limit_one_user_gets_several) {
  EXPECT_OK(create(body_with("perUserLimit", "0")));
  for (int i = 1; i <= 5; i++) {
    char number[16];
    (void)snprintf(number, sizeof number, "%d", i);
    EXPECT_HAS(issue(&service, user(5), 1), "data.ticketNumber", number);
  }
  EXPECT_REFUSED(issue(&service, user(5), 1), 400, "sold_out");
  EXPECT_HAS(ask(&service, "GET", ISSUE, user(5), NULL), "data.0.count", "5");
}

Test(http_coupons, the_same_id_with_the_same_description_is_the_same_coupon) {
  EXPECT_HAS(create(body_with("id", "9")), "data.couponId", "9");
  EXPECT_OK(issue(&service, user(5), 9));
  const struct answer *answer = create(body_with("id", "9"));
  EXPECT_OK(answer);
  EXPECT_HAS(answer, "data.couponId", "9");
  EXPECT_REFUSED(issue(&service, user(5), 9), 409, "already_issued");
  /* Who repeats a default has said nothing new. */
  EXPECT_OK(create(body_with2((struct member){"id", "9"}, (struct member){"perUserLimit", "1"})));
}

Test(http_coupons, the_same_id_with_another_description_exists) {
  static const struct member others[] = {{"name", "\"summer\""},
                                         {"description", "\"\""},
                                         {"discountAmount", "999"},
                                         {"quantity", "6"},
                                         {"startDate", "\"2099-01-01T00:00:00\""},
                                         {"endDate", "\"2099-01-01T00:00:00\""},
                                         {"perUserLimit", "0"}};
  EXPECT_OK(create(body_with("id", "9")));
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    EXPECT_REFUSED(create(body_with2((struct member){"id", "9"}, others[i])), 409, "coupon_exists");
  EXPECT_OK(create(body_with("id", "9")));
}

Test(http_coupons, names_of_any_characters_survive) {
  static const struct {
    const char *written, *read;
  } names[] = {{"\"a \\\"quoted\\\" name\"", "a \"quoted\" name"},
               {"\"back\\\\slash\"", "back\\slash"},
               {"\"two\\nlines\\r\\tand a tab\"", "two\nlines\r\tand a tab"},
               {"\"caf\xc3\xa9 \xed\x95\x9c\xea\xb8\x80 \xf0\x9f\x8e\x81\"",
                "caf\xc3\xa9 \xed\x95\x9c\xea\xb8\x80 \xf0\x9f\x8e\x81"},
               {"\"\\u00e9 \\ud83c\\udf81\"", "\xc3\xa9 \xf0\x9f\x8e\x81"},
               {"\"\\u0001\\u001f\\u007f\"", "\x01\x1f\x7f"},
               {"\"</script>\\u2028\"", "</script>\xe2\x80\xa8"}};
  const size_t count = sizeof names / sizeof names[0];
  for (size_t i = 0; i < count; i++) {
    EXPECT_OK(create(
        body_with2((struct member){"name", names[i].written}, (struct member){"description", names[i].written})));
    EXPECT_OK(issue(&service, user(5), i + 1));
  }
  for (int life = 0; life < 2; life++) {
    const struct answer *answer = ask(&service, "GET", ISSUE, user(5), NULL);
    for (size_t i = 0; i < count; i++) {
      char path[64];
      (void)snprintf(path, sizeof path, "data.%zu.name", i);
      EXPECT_HAS(answer, path, names[i].read);
      (void)snprintf(path, sizeof path, "data.%zu.description", i);
      EXPECT_HAS(answer, path, names[i].read);
    }
    /* And out of the catalogue. */
    cr_assert_eq(service_stop(&service), 0);
    service_start(&service, "");
  }
}

Test(http_coupons, a_zero_in_a_name_does_not_cut_it_off) {
  const struct answer *answer = create(body_with("name", "\"a\\u0000b\""));
  /* libcoupon's names hold no zero: it is refused, not shortened. */
  EXPECT_REFUSED(answer, 400, "field_invalid");
}

Test(http_coupons, a_member_given_twice_is_malformed) {
  EXPECT_REFUSED(create("{\"name\":\"n\",\"description\":\"\",\"discountAmount\":1,\"quantity\":1,\"quantity\":100}"),
                 400, "body_malformed");
  EXPECT_REFUSED(create("[]"), 400, "body_malformed");
  EXPECT_REFUSED(create(NULL), 400, "body_missing");
}

Test(http_coupons, coupons_survive_a_restart_with_their_tickets) {
  EXPECT_OK(create(body_with("id", "9")));
  EXPECT_OK(issue(&service, user(5), 9));
  service_kill(&service);
  service_start(&service, "");
  EXPECT_REFUSED(issue(&service, user(5), 9), 409, "already_issued");
  EXPECT_OK(create(body_with("id", "9")));
  EXPECT_REFUSED(create(body_with2((struct member){"id", "9"}, (struct member){"description", "\"x\""})), 409,
                 "coupon_exists");
  EXPECT_HAS(create(body_with("", NULL)), "data.couponId", "10");
}

Test(http_coupons_few, beyond_max_coupons_no_more_are_made) {
  service_start(&service, "--max-coupons 2");
  EXPECT_OK(create(body_with("id", "1")));
  EXPECT_OK(create(body_with("id", "2")));
  EXPECT_REFUSED(create(body_with("id", "3")), 503, "too_many_coupons");
  EXPECT_REFUSED(issue(&service, user(5), 3), 404, "coupon_unknown");
  /* Those that there are, are not touched by it. */
  EXPECT_OK(create(body_with("id", "2")));
  EXPECT_OK(issue(&service, user(5), 2));
}
