/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that every user finds his own coupons again, whatever happened in between: the same after a crash; and that a
 * damaged catalogue is not served from.
 */
#include <coupon/coupon.h>
#include <sys/stat.h>

#include "http/expect.h"

TestSuite(http_mine, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);

static const struct answer *mine(uint64_t id) { return ask(&service, "GET", ISSUE, user(id), NULL); }

Test(http_mine, who_has_none_is_shown_an_empty_list) {
  EXPECT_OK(mine(5));
  EXPECT_HAS(mine(5), "data", "0");
  create_coupon(&service, 1, 5, "");
  EXPECT_OK(issue(&service, user(6), 1));
  EXPECT_HAS(mine(5), "data", "0");
}

Test(http_mine, a_coupon_is_told_in_full) {
  char issued_at[64];
  create_coupon(&service, 7, 5, ",\"startDate\":\"2001-02-03T04:05:06\"");
  EXPECT_OK(issue(&service, user(4), 7));
  const struct answer *issued = issue(&service, user(5), 7), *answer = mine(5);
  EXPECT_OK(answer);
  EXPECT_HAS(answer, "data", "1");
  EXPECT_HAS(answer, "data.0.id", "7");
  EXPECT_HAS(answer, "data.0.name", "coupon 7");
  EXPECT_HAS(answer, "data.0.description", "one of many");
  EXPECT_HAS(answer, "data.0.status", "ISSUED");
  EXPECT_HAS(answer, "data.0.discountAmount", "1000");
  EXPECT_HAS(answer, "data.0.endDate", "null");
  EXPECT_HAS(answer, "data.0.ticketNumber", "2");
  EXPECT_HAS(answer, "data.0.count", "1");
  cr_assert(json_get(issued->body, "data.issuedAt", issued_at, sizeof issued_at));
  EXPECT_HAS(answer, "data.0.createdAt", issued_at);
  char start[64];
  cr_assert(json_get(answer->body, "data.0.startDate", start, sizeof start), "%s", answer->body);
  cr_expect_eq(strncmp(start, "2001-02-03T04:05:06", 19), 0, "%s", start);
}

Test(http_mine, only_ones_own_are_told_in_the_order_of_their_creation) {
  static const uint64_t ids[] = {30, 10, 20, 5};
  for (size_t i = 0; i < 4; i++) create_coupon(&service, ids[i], 5, "");
  EXPECT_OK(issue(&service, user(5), 20));
  EXPECT_OK(issue(&service, user(6), 10));
  EXPECT_OK(issue(&service, user(5), 5));
  EXPECT_OK(issue(&service, user(5), 30));
  const struct answer *answer = mine(5);
  EXPECT_HAS(answer, "data", "3");
  EXPECT_HAS(answer, "data.0.id", "30");
  EXPECT_HAS(answer, "data.1.id", "20");
  EXPECT_HAS(answer, "data.2.id", "5");
  answer = mine(6);
  EXPECT_HAS(answer, "data", "1");
  EXPECT_HAS(answer, "data.0.id", "10");
}

Test(http_mine, many_coupons_fit_into_an_answer) {
  for (uint64_t i = 1; i <= 60; i++) {
    create_coupon(&service, i, 5, "");
    EXPECT_OK(issue(&service, user(5), i));
  }
  const struct answer *answer = mine(5);
  EXPECT_OK(answer);
  EXPECT_HAS(answer, "data", "60");
  EXPECT_HAS(answer, "data.59.id", "60");
}

Test(http_mine, after_a_crash_it_is_the_same_and_the_old_token_still_good) {
  const char *token = user(5);
  create_coupon(&service, 1, 5, ",\"endDate\":\"2150-01-01T00:00:00.125\"");
  create_coupon(&service, 2, 5, ",\"perUserLimit\":0");
  EXPECT_OK(issue(&service, token, 1));
  for (int i = 0; i < 3; i++) EXPECT_OK(issue(&service, token, 2));
  const struct answer *before = ask(&service, "GET", ISSUE, token, NULL);
  EXPECT_HAS(before, "data", "2");
  for (int i = 0; i < 2; i++) {
    service_kill(&service);
    service_start(&service, "");
    cr_expect_str_eq(ask(&service, "GET", ISSUE, token, NULL)->body, before->body);
  }
}

/* In 2160, when all that has an end is over. */
static uint64_t in_2160(void *context) {
  (void)context;
  return UINT64_C(5996000000) * 1000000000;
}

static void release_elsewhere(uint64_t coupon) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.callbacks.clock = in_2160;
  coupon_engine *engine;
  cr_assert_eq(coupon_open(service_path(&service, "log"), &options, &engine, NULL), COUPON_OK);
  cr_assert_eq(coupon_release(engine, coupon, COUPON_FOREVER), COUPON_OK);
  cr_assert_eq(coupon_destroy(engine), COUPON_OK);
}

Test(http_mine, what_another_program_has_released_is_over_and_does_not_hide_the_rest) {
  create_coupon(&service, 1, 5, ",\"endDate\":\"2150-01-01T00:00:00\"");
  create_coupon(&service, 2, 5, "");
  for (uint64_t i = 1; i <= 2; i++) EXPECT_OK(issue(&service, user(5), i));
  cr_assert_eq(service_stop(&service), 0);
  release_elsewhere(1);
  service_start(&service, "");
  EXPECT_OK(mine(5));
  EXPECT_HAS(mine(5), "data", "1");
  EXPECT_HAS(mine(5), "data.0.id", "2");
  for (uint64_t i = 5; i <= 6; i++) EXPECT_REFUSED(issue(&service, user(i), 1), 409, "ended");
  EXPECT_REFUSED(issue(&service, user(5), 2), 409, "already_issued");
}

/* --- the catalogue's file ------------------------------------------------------------------------ */

static char catalogue[65536];

/* Three coupons, each a line of the catalogue; its length. */
static size_t make_catalogue(void) {
  for (uint64_t i = 1; i <= 3; i++) {
    create_coupon(&service, i, 5, "");
    EXPECT_OK(issue(&service, user(5), i));
  }
  cr_assert_eq(service_stop(&service), 0);
  size_t length = service_read(&service, "catalogue", catalogue, sizeof catalogue);
  cr_assert_gt(length, 100);
  cr_assert_eq(catalogue[length - 1], '\n');
  return length;
}

Test(http_mine, a_catalogue_whose_last_line_a_crash_cut_off_is_served_without_it) {
  size_t length = make_catalogue(), last = length - 1;
  while (catalogue[last - 1] != '\n') last--;
  /* As it was: a fourth coupon's line, cut off. Its creator got no answer. */
  char grown[65536];
  memcpy(grown, catalogue, length);
  for (size_t kept = 1; kept < length - last; kept += 9) {
    memcpy(grown + length, catalogue + last, kept);
    service_write(&service, "catalogue", grown, length + kept, 0600);
    service_start(&service, "");
    EXPECT_HAS(mine(5), "data", "3");
    cr_assert_eq(service_stop(&service), 0);
    cr_expect_eq(service_read(&service, "catalogue", grown, sizeof grown), length, "the rest is not dropped");
  }
}

Test(http_mine, after_a_cut_off_line_the_catalogue_goes_on) {
  size_t length = make_catalogue();
  catalogue[length] = '{';
  service_write(&service, "catalogue", catalogue, length + 1, 0600);
  service_start(&service, "");
  create_coupon(&service, 4, 5, "");
  EXPECT_OK(issue(&service, user(5), 4));
  service_kill(&service);
  service_start(&service, "");
  EXPECT_HAS(mine(5), "data", "4");
}

Test(http_mine, a_flipped_bit_in_the_catalogue_is_told_and_not_served) {
  size_t length = make_catalogue();
  for (size_t at = 3; at < length * 2 / 3; at += length / 7) {
    catalogue[at] = (char)(catalogue[at] ^ 4);
    service_write(&service, "catalogue", catalogue, length, 0600);
    int status = service_refuse(&service, "");
    cr_expect(status > 0 && status < 128, "byte %zu: status %d", at, status);
    cr_expect_not_null(strstr(service_errors(&service), "catalogue"), "%s", service_errors(&service));
    catalogue[at] = (char)(catalogue[at] ^ 4);
  }
  service_write(&service, "catalogue", catalogue, length, 0600);
  service_start(&service, "");
  EXPECT_HAS(mine(5), "data", "3");
}

Test(http_mine, a_line_that_is_missing_in_the_middle_is_told_or_harmless) {
  /* The checksums of the others still hold; but a coupon of the log that the catalogue does not know must not break
   * the service for its holders. */
  size_t length = make_catalogue();
  char *second = strchr(catalogue, '\n') + 1, *third = strchr(second, '\n') + 1;
  size_t rest = length - (size_t)(third - catalogue);
  memmove(second, third, rest);
  service_write(&service, "catalogue", catalogue, (size_t)(second - catalogue) + rest, 0600);
  int status = service_refuse(&service, "");
  cr_expect(status >= 0 && status < 128, "status %d", status);
}
