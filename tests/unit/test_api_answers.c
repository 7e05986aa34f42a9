/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that every answer has its number, its name and its sentence, and which is given where several would be true.
 * How: the table of all statuses, as published; engines that are closed, failed, sold out, and without the campaign.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "support/every_call.h"
#include "support/failing.h"
#include "support/in_memory.h"

TestSuite(status, .timeout = IN_MEMORY_HANGS_AFTER_S);
IN_MEMORY_SUITE(precedence);

/* --- statuses ------------------------------------------------------------------------------------ */

struct constant {
  coupon_status status;
  const char *name;
  int32_t number; /* as published, for ever */
};
#define CONSTANT(constant, number) \
  { constant, #constant, number }

static const struct constant constants[] = {
    CONSTANT(COUPON_OK, 0),
    CONSTANT(COUPON_ISSUED, 1),
    CONSTANT(COUPON_ALREADY_ISSUED, 2),
    CONSTANT(COUPON_SOLD_OUT, 3),
    CONSTANT(COUPON_NOT_OPEN, 4),
    CONSTANT(COUPON_ENDED, 5),
    CONSTANT(COUPON_NO_CAMPAIGN, 6),
    CONSTANT(COUPON_NOT_FOUND, 7),
    CONSTANT(COUPON_NOT_FINAL, 8),
    CONSTANT(COUPON_E_INVAL, -1),
    CONSTANT(COUPON_E_NOMEM, -2),
    CONSTANT(COUPON_E_BUSY, -3),
    CONSTANT(COUPON_E_CLOSED, -4),
    CONSTANT(COUPON_E_FORKED, -5),
    CONSTANT(COUPON_E_FAILED, -6),
    CONSTANT(COUPON_E_IO, -7),
    CONSTANT(COUPON_E_NO_SPACE, -8),
    CONSTANT(COUPON_E_CORRUPT, -9),
    CONSTANT(COUPON_E_VERSION, -10),
    CONSTANT(COUPON_E_LOCKED, -11),
    CONSTANT(COUPON_E_EXISTS, -12),
    CONSTANT(COUPON_E_STOCK_RANGE, -13),
    CONSTANT(COUPON_E_IN_CALLBACK, -14),
    CONSTANT(COUPON_E_READ_ONLY, -15),
    CONSTANT(COUPON_E_ACCESS, -16),
    CONSTANT(COUPON_E_THREAD, -17),
    CONSTANT(COUPON_E_LOG_FULL, -18),
    CONSTANT(COUPON_E_USER_KIND, -19),
    CONSTANT(COUPON_E_RELEASED, -20),
    CONSTANT(COUPON_E_NOT_CLOSED, -21),
};
#define CONSTANTS (sizeof constants / sizeof constants[0])

static const struct constant *find_constant(coupon_status status) {
  for (size_t i = 0; i < CONSTANTS; i++) {
    if (constants[i].status == status) return &constants[i];
  }
  return NULL;
}

Test(status, every_constant_bears_its_own_name_and_its_published_number) {
  for (size_t i = 0; i < CONSTANTS; i++) {
    cr_expect_str_eq(coupon_status_name(constants[i].status), constants[i].name);
    cr_expect_eq(constants[i].status, constants[i].number, "%s", constants[i].name);
  }
}

Test(status, every_constant_has_a_sentence_of_its_own_without_a_full_stop) {
  for (size_t i = 0; i < CONSTANTS; i++) {
    const char *sentence = coupon_strerror(constants[i].status);
    cr_assert_gt(strlen(sentence), 3, "%s", constants[i].name);
    cr_expect_neq(sentence[strlen(sentence) - 1], '.', "%s", constants[i].name);
    for (size_t j = 0; j < i; j++) cr_expect_str_neq(sentence, coupon_strerror(constants[j].status));
  }
}

Test(status, a_number_that_is_none_is_named_with_a_question_mark) {
  for (coupon_status status = -200; status <= 200; status++) {
    if (find_constant(status) == NULL) {
      cr_expect_str_eq(coupon_status_name(status), "COUPON_?", "%d", status);
      cr_expect_gt(strlen(coupon_strerror(status)), 0);
    }
  }
  cr_expect_str_eq(coupon_status_name(INT32_MIN), "COUPON_?");
  cr_expect_str_eq(coupon_status_name(INT32_MAX), "COUPON_?");
}

Test(status, faults_are_negative_and_answers_are_not) {
  for (size_t i = 0; i < CONSTANTS; i++) {
    bool is_fault = strncmp(constants[i].name, "COUPON_E_", 9) == 0;
    cr_expect_eq(constants[i].status < 0, is_fault, "%s", constants[i].name);
  }
}

Test(status, the_version_is_that_of_the_header) {
  char version[32];
  (void)snprintf(version, sizeof version, "%d.%d.%d", COUPON_VERSION_MAJOR, COUPON_VERSION_MINOR, COUPON_VERSION_PATCH);
  cr_expect_str_eq(coupon_version(), version);
  cr_expect_str_eq(COUPON_VERSION_STRING, version);
}

Test(status, a_deadline_lies_so_far_behind_now_and_negative_timeouts_count_as_zero) {
  const int64_t hour = INT64_C(3600000000000), timeouts[] = {INT64_MIN, -1, 0};
  int64_t before = cpn_monotonic_ns(), deadline = coupon_deadline_after(hour), after = cpn_monotonic_ns();
  cr_expect_geq(deadline, before + hour);
  cr_expect_leq(deadline, after + hour);
  for (int i = 0; i < 3; i++) {
    before = cpn_monotonic_ns();
    deadline = coupon_deadline_after(timeouts[i]);
    cr_expect_geq(deadline, before);
    cr_expect_leq(deadline, cpn_monotonic_ns());
  }
}

Test(status, a_deadline_beyond_all_time_is_forever) {
  cr_expect_eq(coupon_deadline_after(INT64_MAX), COUPON_FOREVER);
  cr_expect_eq(coupon_deadline_after(INT64_MAX - 1), COUPON_FOREVER);
}

/* --- precedence ---------------------------------------------------------------------------------- */

Test(precedence, between_close_and_destroy_every_function_answers_closed) {
  help_create(engine, 1, 10);
  cr_assert_eq(coupon_close(engine), COUPON_OK);
  for (int i = 0; i < HELP_CALLS - 1; i++)
    cr_expect_eq(help_calls[i].call(engine), COUPON_E_CLOSED, "%s", help_calls[i].name);
}

Test(precedence, a_bad_argument_comes_before_closed) {
  cr_assert_eq(coupon_close(engine), COUPON_OK);
  const char *lenient = help_find_lenient_call(engine);
  cr_expect_null(lenient, "closed comes first: %s", lenient);
}

static coupon_status answer_of(coupon_engine *other, uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_issue(other, campaign, user, COUPON_FOREVER, &ticket);
}

Test(precedence, closed_comes_before_failed_and_failed_before_no_campaign) {
  char temp[HELP_PATH_MAX], path[HELP_PATH_MAX];
  struct help_disk disk;
  help_temp_make(temp);
  help_disk_init(&disk);
  struct cpn_env env = help_disk_env(&disk, true);
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *other = help_open_env(&env, help_join(path, temp, "data"), &options);
  help_create(other, 1, 10);
  help_disk_fail_next(&disk, HELP_SYNC, EIO);
  cr_assert_eq(answer_of(other, 1, 1), COUPON_E_FAILED);
  const char *lenient = help_find_lenient_call(other);
  cr_expect_null(lenient, "failed comes first: %s", lenient);
  cr_expect_eq(answer_of(other, 404, 1), COUPON_E_FAILED);
  for (int i = 1; i < HELP_CALLS_BUT_LAST_TWO; i++) /* all but coupon_read_stats(), which says what happened */
    cr_expect_eq(help_calls[i].call(other), COUPON_E_FAILED, "%s", help_calls[i].name);
  cr_expect_eq(coupon_close(other), COUPON_E_FAILED);
  for (int i = 0; i < HELP_CALLS - 1; i++)
    cr_expect_eq(help_calls[i].call(other), COUPON_E_CLOSED, "%s", help_calls[i].name);
  cr_expect_eq(coupon_destroy(other), COUPON_OK);
  help_temp_remove(temp);
}

Test(precedence, already_issued_comes_before_sold_out) {
  help_create(engine, 1, 1);
  (void)issue_to(1, 5, COUPON_ISSUED);
  (void)issue_to(1, 5, COUPON_ALREADY_ISSUED);
  (void)issue_to(1, 6, COUPON_SOLD_OUT);
  (void)issue_to(1, 5, COUPON_ALREADY_ISSUED);
}

Test(precedence, no_campaign_comes_before_all_answers_of_a_campaign) {
  help_create(engine, 1, 0);
  (void)issue_to(2, 5, COUPON_NO_CAMPAIGN);
  (void)issue_to(1, 5, COUPON_SOLD_OUT);
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count = 77;
  cr_expect_eq(coupon_info(engine, 2, &info), COUPON_NO_CAMPAIGN);
  cr_expect_eq(coupon_lookup(engine, 2, 5, &ticket, NULL), COUPON_NO_CAMPAIGN);
  cr_expect_eq(coupon_tickets(engine, 2, 1, &ticket, sizeof ticket, 1, &count), COUPON_NO_CAMPAIGN);
}
