/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the public functions keep what include/coupon/coupon.h says of their arguments, answers and pages.
 * How: an engine in memory, where every answer is final at once, and every function called with what is just right, just
 * wrong, and out of all proportion. What depends on the clock is in test_windows.c, on the disk in
 * test_finality.c and its neighbours, on memory in test_memory.c, and on the process around it in test_guest.c.
 *
 * Which sentence of the header is shown where is told at the end of this file.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/engine.h"
#include "support/engine_help.h"
#include "support/every_call.h"
#include "support/failing.h"

static coupon_engine *engine;

static void begin(void) { engine = help_open_in_memory(); }

static void end(void) {
  cr_assert_eq(coupon_destroy(engine), COUPON_OK);
  cr_assert_not(help_leaks());
}

/* So that a test that hangs is named; none takes a tenth of it. */
#define HANGS_AFTER_S 60

TestSuite(status, .timeout = HANGS_AFTER_S);
TestSuite(arguments, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(options, .timeout = HANGS_AFTER_S);
TestSuite(precedence, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(create, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(list, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(issue, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(no_limit, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(tickets, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(lookup, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(stats, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);

static struct coupon_ticket issue_to(uint64_t campaign, uint64_t user, coupon_status expected) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = coupon_try_issue(engine, campaign, user, &ticket);
  cr_assert_eq(status, expected, "user %llu got %s", (unsigned long long)user, coupon_status_name(status));
  return ticket;
}

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

/* --- arguments ----------------------------------------------------------------------------------- */

Test(arguments, no_engine_is_a_bad_argument_of_every_function) {
  for (int i = 0; i < HELP_CALLS - 1; i++)
    cr_expect_eq(help_calls[i].call(NULL), COUPON_E_INVAL, "%s", help_calls[i].name);
}

Test(arguments, destroying_nothing_is_allowed) { cr_expect_eq(coupon_destroy(NULL), COUPON_OK); }

Test(arguments, good_arguments_are_accepted_by_every_function) {
  /* Or the tests that all these calls are refused would show nothing. */
  help_create(engine, 1, 1000000);
  for (int i = 0; i < HELP_CALLS_BUT_LAST_TWO; i++) {
    coupon_status status = help_calls[i].call(engine);
    if (strcmp(help_calls[i].name, "coupon_checkpoint") == 0)
      cr_expect_eq(status, COUPON_E_INVAL, "in memory there is no directory");
    else
      cr_expect_geq(status, 0, "%s", help_calls[i].name);
  }
}

Test(arguments, null_pointers_and_impossible_sizes_are_refused_by_every_function) {
  help_create(engine, 1, 1000000);
  const char *lenient = help_find_lenient_call(engine);
  cr_expect_null(lenient, "accepted: %s", lenient);
  cr_expect_eq(help_info(engine, 1).issued, 0, "a refused call has issued");
  cr_expect_eq(help_stats(engine).campaigns, 1, "a refused call has created");
}

Test(arguments, a_page_without_room_is_refused) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count;
  cr_expect_eq(coupon_list(engine, 0, &info, sizeof info, 0, &count), COUPON_E_INVAL);
  cr_expect_eq(coupon_tickets(engine, 1, 1, &ticket, sizeof ticket, 0, &count), COUPON_E_INVAL);
}

/* Structs of a later version, as a program compiled against it would pass them. */
#define LATER 24
struct later_options {
  struct coupon_options known;
  unsigned char later[LATER];
};
struct later_spec {
  struct coupon_campaign_spec known;
  unsigned char later[LATER];
};

Test(arguments, a_longer_options_struct_is_accepted_if_what_is_not_known_is_zero) {
  struct later_options options = {.known = help_options(COUPON_NONE)};
  options.known.size = sizeof options;
  coupon_engine *other;
  cr_assert_eq(coupon_open(NULL, &options.known, &other, NULL), COUPON_OK);
  help_close(other);
  for (size_t i = 0; i < LATER; i++) {
    memset(options.later, 0, LATER);
    options.later[i] = 1;
    cr_expect_eq(coupon_open(NULL, &options.known, &other, NULL), COUPON_E_INVAL, "byte %zu", i);
    cr_expect_null(other);
  }
}

Test(arguments, a_longer_spec_struct_is_accepted_if_what_is_not_known_is_zero) {
  struct later_spec spec = {.known = help_spec(7, 1)};
  spec.known.size = sizeof spec;
  for (size_t i = 0; i < LATER; i++) {
    memset(spec.later, 0, LATER);
    spec.later[i] = 0x80;
    cr_expect_eq(coupon_create(engine, &spec.known, COUPON_FOREVER), COUPON_E_INVAL, "byte %zu", i);
  }
  cr_expect_eq(help_stats(engine).campaigns, 0);
  memset(spec.later, 0, LATER);
  cr_expect_eq(coupon_create(engine, &spec.known, COUPON_FOREVER), COUPON_OK);
}

/* An output struct with a later version's tail, in which every byte is a mark. */
#define MARK 0xa5
#define LATER_OUTPUT(type, initial)  \
  struct {                           \
    type known;                      \
    unsigned char later[LATER];      \
  } output = {initial, {0}};         \
  memset(output.later, MARK, LATER); \
  output.known.size = sizeof output

#define EXPECT_ITS_TAIL_UNTOUCHED()                                                   \
  do {                                                                                \
    cr_expect_eq(output.known.size, sizeof output);                                   \
    for (size_t i = 0; i < LATER; i++) cr_expect_eq(output.later[i], MARK, "%zu", i); \
  } while (0)

Test(arguments, a_longer_stats_struct_is_filled_as_far_as_it_is_known) {
  LATER_OUTPUT(struct coupon_stats, COUPON_STATS_INIT);
  output.known.durability = 77;
  cr_assert_eq(coupon_read_stats(engine, &output.known), COUPON_OK);
  cr_expect_eq(output.known.durability, COUPON_NONE);
  EXPECT_ITS_TAIL_UNTOUCHED();
}

Test(arguments, a_longer_info_struct_is_filled_as_far_as_it_is_known) {
  help_create(engine, 1, 5);
  LATER_OUTPUT(struct coupon_campaign_info, COUPON_CAMPAIGN_INFO_INIT);
  cr_assert_eq(coupon_info(engine, 1, &output.known), COUPON_OK);
  cr_expect_eq(output.known.stock, 5);
  EXPECT_ITS_TAIL_UNTOUCHED();
}

Test(arguments, a_longer_ticket_struct_is_filled_as_far_as_it_is_known) {
  help_create(engine, 1, 5);
  LATER_OUTPUT(struct coupon_ticket, COUPON_TICKET_INIT);
  cr_assert_eq(coupon_try_issue(engine, 1, 9, &output.known), COUPON_ISSUED);
  EXPECT_ITS_TAIL_UNTOUCHED();
  cr_assert_eq(coupon_issue(engine, 1, 9, COUPON_FOREVER, &output.known), COUPON_ALREADY_ISSUED);
  EXPECT_ITS_TAIL_UNTOUCHED();
  cr_assert_eq(coupon_wait(engine, &output.known, COUPON_FOREVER), COUPON_OK);
  EXPECT_ITS_TAIL_UNTOUCHED();
  cr_assert_eq(coupon_lookup(engine, 1, 9, &output.known, NULL), COUPON_OK);
  cr_expect_eq(output.known.user, 9);
  EXPECT_ITS_TAIL_UNTOUCHED();
}

Test(arguments, a_longer_report_struct_is_filled_as_far_as_it_is_known) {
  LATER_OUTPUT(struct coupon_report, COUPON_REPORT_INIT);
  struct coupon_options options = help_options(COUPON_NONE);
  coupon_engine *other;
  output.known.records = 77;
  cr_assert_eq(coupon_open(NULL, &options, &other, &output.known), COUPON_OK);
  help_close(other);
  cr_expect_eq(output.known.records, 0);
  EXPECT_ITS_TAIL_UNTOUCHED();
  options.durability = 99;
  cr_assert_eq(coupon_open(NULL, &options, &other, &output.known), COUPON_E_INVAL);
  cr_expect_eq(output.known.status, COUPON_E_INVAL);
  EXPECT_ITS_TAIL_UNTOUCHED();
}

Test(arguments, open_without_a_place_for_the_engine_is_refused) {
  struct coupon_options options = help_options(COUPON_NONE);
  cr_expect_eq(coupon_open(NULL, &options, NULL, NULL), COUPON_E_INVAL);
}

Test(arguments, a_report_of_an_impossible_size_is_refused) {
  const size_t sizes[] = {0, sizeof(size_t), sizeof(struct coupon_report) - 1, (size_t)1 << 32, SIZE_MAX};
  struct coupon_options options = help_options(COUPON_NONE);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    struct coupon_report report = COUPON_REPORT_INIT;
    coupon_engine *other = engine;
    report.size = sizes[i];
    cr_expect_eq(coupon_open(NULL, &options, &other, &report), COUPON_E_INVAL, "size %zu", sizes[i]);
    cr_expect_null(other);
  }
}

/* --- options ------------------------------------------------------------------------------------- */

static void *never_alloc(void *context, size_t size, size_t alignment) {
  (void)context, (void)size, (void)alignment;
  return NULL;
}

static void never_free(void *context, void *pointer, size_t size) { (void)context, (void)pointer, (void)size; }

/* With COUPON_NONE and no directory, where all that can be wrong is the options. */
static coupon_status open_with(const struct coupon_options *options) {
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *other = (coupon_engine *)&report; /* anything but NULL */
  coupon_status status = coupon_open(NULL, options, &other, &report);
  cr_expect_eq(report.status, status);
  cr_expect_eq(other == NULL, status != COUPON_OK);
  if (status == COUPON_OK)
    help_close(other);
  else
    cr_expect_gt(strlen(report.message), 0, "a failure is not explained");
  return status;
}

#define EXPECT_OPTION(field, value, expected)                               \
  do {                                                                      \
    struct coupon_options options = COUPON_OPTIONS_INIT;                    \
    options.durability = COUPON_NONE;                                       \
    options.field = value;                                                  \
    cr_expect_eq(open_with(&options), expected, "%s = %s", #field, #value); \
  } while (0)

Test(options, a_durability_that_is_none_is_refused) {
  EXPECT_OPTION(durability, COUPON_NONE, COUPON_OK);
  EXPECT_OPTION(durability, -1, COUPON_E_INVAL);
  EXPECT_OPTION(durability, 3, COUPON_E_INVAL);
  EXPECT_OPTION(durability, INT32_MAX, COUPON_E_INVAL);
  EXPECT_OPTION(durability, INT32_MIN, COUPON_E_INVAL);
}

Test(options, read_only_is_zero_or_one_and_needs_a_directory) {
  EXPECT_OPTION(read_only, 1, COUPON_E_INVAL); /* in memory there is nothing to read */
  EXPECT_OPTION(read_only, 2, COUPON_E_INVAL);
  EXPECT_OPTION(read_only, -1, COUPON_E_INVAL);
}

Test(options, a_segment_is_4_kib_to_4_gib_and_a_multiple_of_4_kib) {
  EXPECT_OPTION(segment_size_bytes, 0, COUPON_OK);
  EXPECT_OPTION(segment_size_bytes, 4096, COUPON_OK);
  EXPECT_OPTION(segment_size_bytes, 12288, COUPON_OK);
  EXPECT_OPTION(segment_size_bytes, UINT64_C(4) << 30, COUPON_OK);
  EXPECT_OPTION(segment_size_bytes, 1, COUPON_E_INVAL);
  EXPECT_OPTION(segment_size_bytes, 4095, COUPON_E_INVAL);
  EXPECT_OPTION(segment_size_bytes, 4097, COUPON_E_INVAL);
  EXPECT_OPTION(segment_size_bytes, (UINT64_C(4) << 30) + 4096, COUPON_E_INVAL);
  EXPECT_OPTION(segment_size_bytes, UINT64_MAX, COUPON_E_INVAL);
  EXPECT_OPTION(segment_size_bytes, UINT64_MAX - 4095, COUPON_E_INVAL);
}

Test(options, a_log_buffer_is_4_kib_to_1_gib_and_a_power_of_two) {
  EXPECT_OPTION(log_buffer_bytes, 0, COUPON_OK);
  EXPECT_OPTION(log_buffer_bytes, 4096, COUPON_OK);
  EXPECT_OPTION(log_buffer_bytes, UINT64_C(1) << 30, COUPON_OK);
  EXPECT_OPTION(log_buffer_bytes, 1, COUPON_E_INVAL);
  EXPECT_OPTION(log_buffer_bytes, 2048, COUPON_E_INVAL);
  EXPECT_OPTION(log_buffer_bytes, 12288, COUPON_E_INVAL);
  EXPECT_OPTION(log_buffer_bytes, UINT64_C(1) << 31, COUPON_E_INVAL);
  EXPECT_OPTION(log_buffer_bytes, UINT64_C(1) << 63, COUPON_E_INVAL);
}

Test(options, a_commit_delay_is_at_most_a_second) {
  EXPECT_OPTION(commit_delay_ns, 0, COUPON_OK);
  EXPECT_OPTION(commit_delay_ns, UINT64_C(1000000000), COUPON_OK);
  EXPECT_OPTION(commit_delay_ns, UINT64_C(1000000001), COUPON_E_INVAL);
  EXPECT_OPTION(commit_delay_ns, UINT64_MAX, COUPON_E_INVAL);
}

Test(options, too_little_memory_to_begin_is_out_of_memory) {
  EXPECT_OPTION(max_memory_bytes, 1, COUPON_E_NOMEM);
  EXPECT_OPTION(max_memory_bytes, UINT64_MAX, COUPON_OK);
}

Test(options, an_allocator_has_both_functions_or_neither) {
  EXPECT_OPTION(allocator.alloc, never_alloc, COUPON_E_INVAL);
  EXPECT_OPTION(allocator.free, never_free, COUPON_E_INVAL);
  struct coupon_options options = help_options(COUPON_NONE);
  options.allocator = (struct coupon_allocator){sizeof options.allocator, never_alloc, never_free, NULL};
  cr_expect_eq(open_with(&options), COUPON_E_NOMEM); /* asked, and had none */
}

Test(options, an_allocator_or_callbacks_of_another_size_are_refused) {
  EXPECT_OPTION(allocator.size, 0, COUPON_E_INVAL);
  EXPECT_OPTION(allocator.size, sizeof(struct coupon_allocator) - 1, COUPON_E_INVAL);
  EXPECT_OPTION(allocator.size, sizeof(struct coupon_allocator) + 8, COUPON_E_INVAL);
  EXPECT_OPTION(callbacks.size, 0, COUPON_E_INVAL);
  EXPECT_OPTION(callbacks.size, sizeof(struct coupon_callbacks) - 1, COUPON_E_INVAL);
  EXPECT_OPTION(callbacks.size, sizeof(struct coupon_callbacks) + 8, COUPON_E_INVAL);
}

Test(options, a_struct_of_an_impossible_size_is_refused) {
  EXPECT_OPTION(size, 0, COUPON_E_INVAL);
  EXPECT_OPTION(size, sizeof(size_t), COUPON_E_INVAL);
  EXPECT_OPTION(size, sizeof(struct coupon_options) - 1, COUPON_E_INVAL);
  EXPECT_OPTION(size, (size_t)1 << 32, COUPON_E_INVAL);
  EXPECT_OPTION(size, SIZE_MAX, COUPON_E_INVAL);
}

Test(options, statistics_and_reports_of_programs_from_before_checkpoints_are_accepted) {
  char temp[HELP_PATH_MAX], path[HELP_PATH_MAX];
  help_temp_make(temp);
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report;
  struct coupon_stats stats;
  memset(&report, 0x5a, sizeof report);
  memset(&stats, 0x5a, sizeof stats);
  options.size = offsetof(struct coupon_options, checkpoint_log_bytes);
  options.checkpoint_log_bytes = 1; /* what lies behind the struct is the caller's */
  options.archive_dir = "/nowhere/at/all";
  report.size = offsetof(struct coupon_report, checkpoint);
  stats.size = offsetof(struct coupon_stats, checkpoints);
  coupon_engine *old = NULL;
  cr_assert_eq(coupon_open(help_join(path, temp, "data"), &options, &old, &report), COUPON_OK);
  cr_expect_eq(report.status, COUPON_OK);
  cr_expect_eq(report.checkpoint, UINT64_C(0x5a5a5a5a5a5a5a5a), "nothing is written behind it");
  cr_assert_eq(coupon_read_stats(old, &stats), COUPON_OK);
  cr_expect_eq(stats.life, 1);
  cr_expect_eq(stats.checkpoints, UINT64_C(0x5a5a5a5a5a5a5a5a));
  help_close(old);
  help_temp_remove(temp);
}

Test(options, in_memory_there_is_no_directory_and_elsewhere_there_is_one) {
  struct coupon_options options = help_options(COUPON_NONE);
  coupon_engine *other;
  cr_expect_eq(coupon_open("anywhere", &options, &other, NULL), COUPON_E_INVAL);
  cr_expect_null(other);
  for (options.durability = COUPON_SYNC; options.durability <= COUPON_WRITTEN; options.durability++) {
    cr_expect_eq(coupon_open(NULL, &options, &other, NULL), COUPON_E_INVAL);
    cr_expect_eq(coupon_open("", &options, &other, NULL), COUPON_E_INVAL);
  }
  cr_expect_eq(coupon_open(NULL, NULL, &other, NULL), COUPON_E_INVAL); /* the defaults need one */
}

Test(options, the_defaults_are_sync_and_64_mib_segments) {
  char temp[HELP_PATH_MAX], path[HELP_PATH_MAX];
  help_temp_make(temp);
  coupon_engine *other;
  cr_assert_eq(coupon_open(help_join(path, temp, "data"), NULL, &other, NULL), COUPON_OK);
  struct coupon_stats stats = help_stats(other);
  cr_expect_eq(stats.durability, COUPON_SYNC);
  cr_expect_eq(stats.read_only, 0);
  cr_expect_geq(stats.bytes_written, UINT64_C(64) << 20);
  cr_expect_lt(stats.bytes_written, UINT64_C(65) << 20);
  help_close(other);
  help_temp_remove(temp);
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
  disk.error = 5;
  disk.fail_op = HELP_SYNC;
  disk.fail_at = disk.calls[HELP_SYNC] + 1;
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

/* --- creating ------------------------------------------------------------------------------------ */

static coupon_status create_now(const struct coupon_campaign_spec *spec) {
  return coupon_create(engine, spec, COUPON_FOREVER);
}

static struct coupon_campaign_spec full_spec(void) {
  struct coupon_campaign_spec spec = help_spec(1, 100);
  spec.opens_at_ns = 1000;
  spec.closes_at_ns = UINT64_MAX;
  spec.name = "spring";
  return spec;
}

Test(create, the_same_twice_is_the_same_campaign) {
  struct coupon_campaign_spec spec = full_spec();
  char other_place[] = "spring";
  cr_assert_eq(create_now(&spec), COUPON_OK);
  struct coupon_campaign_info before = help_info(engine, 1);
  uint64_t end_before = help_stats(engine).reserved_lsn;
  spec.name = other_place;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  struct coupon_campaign_info after = help_info(engine, 1);
  cr_expect_eq(memcmp(&before, &after, sizeof before), 0);
  cr_expect_eq(help_stats(engine).campaigns, 1);
  cr_expect_eq(help_stats(engine).reserved_lsn, end_before, "nothing is logged for the second");
}

#define EXPECT_EXISTS(field, value)                                               \
  do {                                                                            \
    struct coupon_campaign_spec other = full_spec();                              \
    other.field = value;                                                          \
    cr_expect_eq(create_now(&other), COUPON_E_EXISTS, "%s = %s", #field, #value); \
  } while (0)

Test(create, the_same_id_with_any_other_description_is_taken) {
  struct coupon_campaign_spec spec = full_spec();
  cr_assert_eq(create_now(&spec), COUPON_OK);
  struct coupon_campaign_info before = help_info(engine, 1);
  EXPECT_EXISTS(stock, 99);
  EXPECT_EXISTS(stock, 101);
  EXPECT_EXISTS(stock, 0);
  EXPECT_EXISTS(user_limit, 0);
  EXPECT_EXISTS(opens_at_ns, 0);
  EXPECT_EXISTS(opens_at_ns, 1001);
  EXPECT_EXISTS(closes_at_ns, 0);
  EXPECT_EXISTS(closes_at_ns, UINT64_MAX - 1);
  EXPECT_EXISTS(name, NULL);
  EXPECT_EXISTS(name, "");
  EXPECT_EXISTS(name, "sprinG");
  EXPECT_EXISTS(name, "spring ");
  EXPECT_EXISTS(name, "sprin");
  EXPECT_EXISTS(user_kind, COUPON_USER_UUID);
  struct coupon_campaign_info after = help_info(engine, 1);
  cr_expect_eq(memcmp(&before, &after, sizeof before), 0);
  cr_expect_eq(create_now(&spec), COUPON_OK);
}

Test(create, no_name_is_the_empty_name) {
  struct coupon_campaign_spec spec = help_spec(1, 1);
  cr_assert_eq(create_now(&spec), COUPON_OK);
  spec.name = "";
  cr_expect_eq(create_now(&spec), COUPON_OK);
  cr_expect_str_eq(help_info(engine, 1).name, "");
}

Test(create, a_name_has_at_most_255_bytes) {
  char name[COUPON_NAME_MAX + 2];
  memset(name, 'n', sizeof name);
  name[COUPON_NAME_MAX] = 0;
  struct coupon_campaign_spec spec = help_spec(1, 1);
  spec.name = name;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  cr_expect_str_eq(help_info(engine, 1).name, name);
  name[COUPON_NAME_MAX] = 'n';
  name[COUPON_NAME_MAX + 1] = 0;
  spec.id = 2;
  cr_expect_eq(create_now(&spec), COUPON_E_INVAL);
  cr_expect_eq(help_stats(engine).campaigns, 1);
}

Test(create, a_name_has_any_bytes_but_zero) {
  char name[COUPON_NAME_MAX + 1] = {0};
  for (int i = 0; i < COUPON_NAME_MAX; i++) name[i] = (char)(i + 1);
  struct coupon_campaign_spec spec = help_spec(1, 1);
  spec.name = name;
  cr_assert_eq(create_now(&spec), COUPON_OK);
  memset(name, 'x', COUPON_NAME_MAX); /* the library has its own copy */
  struct coupon_campaign_info info = help_info(engine, 1);
  for (int i = 0; i < COUPON_NAME_MAX; i++) cr_expect_eq((unsigned char)info.name[i], i + 1);
}

Test(create, an_id_is_any_value) {
  const uint64_t ids[] = {0, 1, UINT64_C(1) << 63, UINT64_MAX};
  for (uint64_t i = 0; i < 4; i++) help_create(engine, ids[i], i + 1);
  for (uint64_t i = 0; i < 4; i++) {
    cr_expect_eq(help_info(engine, ids[i]).stock, i + 1);
    cr_expect_eq(issue_to(ids[i], 3, COUPON_ISSUED).campaign, ids[i]);
  }
}

Test(create, without_stock_everybody_finds_it_sold_out) {
  help_create(engine, 1, 0);
  for (uint64_t user = 0; user < 10; user++) (void)issue_to(1, user, COUPON_SOLD_OUT);
  struct coupon_campaign_info info = help_info(engine, 1);
  cr_expect_eq(info.issued, 0);
  cr_expect_eq(info.remaining, 0);
  cr_expect_eq(info.state, COUPON_STATE_SOLD_OUT);
}

Test(create, the_largest_stock_costs_nothing_before_it_is_issued) {
  uint64_t before = help_stats(engine).memory_bytes;
  help_create(engine, 1, COUPON_STOCK_MAX);
  cr_expect_lt(help_stats(engine).memory_bytes - before, 65536);
  cr_expect_eq(help_info(engine, 1).remaining, COUPON_STOCK_MAX);
  (void)issue_to(1, 8, COUPON_ISSUED);
  struct coupon_campaign_info info = help_info(engine, 1);
  cr_expect_eq(info.issued, 1);
  cr_expect_eq(info.remaining, COUPON_STOCK_MAX - 1);
}

Test(create, a_larger_stock_is_out_of_range) {
  const uint64_t stocks[] = {COUPON_STOCK_MAX + 1, UINT64_C(1) << 41, UINT64_MAX};
  for (int i = 0; i < 3; i++) {
    struct coupon_campaign_spec spec = help_spec(1, stocks[i]);
    cr_expect_eq(create_now(&spec), COUPON_E_STOCK_RANGE);
  }
  cr_expect_eq(help_stats(engine).campaigns, 0);
}

Test(create, a_limit_is_one_or_none_yet) {
  struct coupon_campaign_spec spec = help_spec(1, 1);
  spec.user_limit = 2;
  cr_expect_eq(create_now(&spec), COUPON_E_INVAL);
  spec.user_limit = UINT64_MAX;
  cr_expect_eq(create_now(&spec), COUPON_E_INVAL);
  spec.user_limit = 0;
  cr_expect_eq(create_now(&spec), COUPON_OK);
}

Test(create, a_window_ends_after_it_begins) {
  struct coupon_campaign_spec spec = help_spec(1, 1);
  spec.opens_at_ns = 100;
  for (spec.closes_at_ns = 1; spec.closes_at_ns <= 100; spec.closes_at_ns++)
    cr_expect_eq(create_now(&spec), COUPON_E_INVAL, "%llu", (unsigned long long)spec.closes_at_ns);
  spec.closes_at_ns = 101;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  spec = help_spec(2, 1);
  spec.opens_at_ns = UINT64_MAX;
  cr_expect_eq(create_now(&spec), COUPON_OK); /* closes never */
  spec = help_spec(3, 1);
  spec.closes_at_ns = 1;
  cr_expect_eq(create_now(&spec), COUPON_OK); /* opens at once, and has ended in 1970 */
}

/* With a log it rests on a position of its own: see test_finality.c. */
Test(create, in_memory_a_creation_rests_on_nothing) {
  for (uint64_t id = 10; id < 20; id++) {
    help_create(engine, id, 1);
    uint64_t durable = 77;
    cr_expect_eq(help_info(engine, id).created_lsn, 0);
    cr_expect_eq(coupon_durable_lsn(engine, &durable), COUPON_OK);
    cr_expect_eq(durable, 0);
  }
}

Test(create, a_kind_of_users_is_one_of_two_and_what_is_reserved_is_zero) {
  struct coupon_campaign_spec spec = help_spec(1, 1);
  const int32_t others[] = {2, -1, INT32_MIN, INT32_MAX};
  for (int i = 0; i < 4; i++) {
    spec.user_kind = others[i];
    cr_expect_eq(create_now(&spec), COUPON_E_INVAL, "%d", others[i]);
  }
  spec.user_kind = COUPON_USER_UUID;
  spec.reserved = 1;
  cr_expect_eq(create_now(&spec), COUPON_E_INVAL);
  spec.reserved = 0;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  cr_expect_eq(help_info(engine, 1).user_kind, COUPON_USER_UUID);
  cr_expect_eq(help_info(engine, 1).place, COUPON_PLACE_MEMORY);
}

Test(create, what_was_prepared_is_no_part_of_the_description) {
  struct coupon_campaign_spec spec = help_spec(1, 1000);
  for (uint64_t prepare = 0; prepare <= 2000; prepare += 500) { /* more than the stock counts as the stock */
    spec.prepare = prepare;
    cr_expect_eq(create_now(&spec), COUPON_OK);
  }
  spec.prepare = UINT64_MAX;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  spec.id = 2;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  for (uint64_t user = 0; user < 1000; user++) (void)issue_to(2, user, COUPON_ISSUED);
  (void)issue_to(2, 1000, COUPON_SOLD_OUT);
}

#define CREATORS 4
#define CREATED 400

/* Creates the same campaigns as the other threads do, in an order of its own; the number of those that were refused. */
static void *create_all(void *argument) {
  uint64_t first = *(uint64_t *)argument, refused = 0;
  for (uint64_t i = 0; i < CREATED; i++) {
    struct coupon_campaign_spec spec = help_spec((first + i) % CREATED, i % 7);
    spec.stock = spec.id % 7;
    refused += coupon_create(engine, &spec, COUPON_FOREVER) != COUPON_OK;
  }
  *(uint64_t *)argument = refused;
  return NULL;
}

Test(create, concurrent_creators_make_each_campaign_once) {
  pthread_t threads[CREATORS];
  uint64_t arguments[CREATORS];
  for (uint64_t i = 0; i < CREATORS; i++) {
    arguments[i] = i * CREATED / CREATORS;
    cr_assert_eq(pthread_create(&threads[i], NULL, create_all, &arguments[i]), 0);
  }
  for (int i = 0; i < CREATORS; i++) {
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(arguments[i], 0, "refused %llu", (unsigned long long)arguments[i]);
  }
  cr_assert_eq(help_stats(engine).campaigns, CREATED);
  static struct coupon_campaign_info infos[CREATED + 1];
  static bool seen[CREATED];
  size_t count;
  cr_assert_eq(coupon_list(engine, 0, infos, sizeof infos[0], CREATED + 1, &count), COUPON_OK);
  cr_assert_eq(count, CREATED);
  for (size_t i = 0; i < count; i++) {
    cr_expect_eq(infos[i].index, i);
    cr_assert_lt(infos[i].id, CREATED);
    cr_expect_not(seen[infos[i].id]);
    seen[infos[i].id] = true;
    cr_expect_eq(help_info(engine, infos[i].id).index, i);
  }
}

/* --- listing ------------------------------------------------------------------------------------- */

#define LISTED 40

static void create_for_the_list(void) {
  for (uint64_t i = 0; i < LISTED; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "number %llu", (unsigned long long)i);
    struct coupon_campaign_spec spec = help_spec(1000 - i, i);
    spec.name = name;
    cr_assert_eq(create_now(&spec), COUPON_OK);
  }
}

static void expect_listed(const struct coupon_campaign_info *info, uint64_t index) {
  char name[16];
  (void)snprintf(name, sizeof name, "number %llu", (unsigned long long)index);
  cr_expect_eq(info->index, index);
  cr_expect_eq(info->id, 1000 - index);
  cr_expect_eq(info->stock, index);
  cr_expect_eq(info->remaining, index);
  cr_expect_str_eq(info->name, name);
}

Test(list, nothing_is_one_short_page) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  size_t count = 77;
  cr_expect_eq(coupon_list(engine, 0, &info, sizeof info, 1, &count), COUPON_OK);
  cr_expect_eq(count, 0);
}

Test(list, pages_of_every_size_show_every_campaign_once_in_order_of_creation) {
  create_for_the_list();
  for (size_t capacity = 1; capacity <= LISTED + 1; capacity++) {
    struct coupon_campaign_info page[LISTED + 1];
    uint64_t seen = 0;
    size_t count;
    do {
      cr_assert_eq(coupon_list(engine, seen, page, sizeof page[0], capacity, &count), COUPON_OK);
      cr_assert_leq(count, capacity);
      for (size_t i = 0; i < count; i++) expect_listed(&page[i], seen + i);
      seen += count;
    } while (count == capacity);
    cr_expect_eq(seen, LISTED, "pages of %zu", capacity);
  }
}

Test(list, past_the_end_there_is_nothing) {
  create_for_the_list();
  const uint64_t from[] = {LISTED, LISTED + 1, UINT64_C(1) << 32, UINT64_MAX};
  for (int i = 0; i < 4; i++) {
    struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
    size_t count = 77;
    cr_expect_eq(coupon_list(engine, from[i], &info, sizeof info, 1, &count), COUPON_OK);
    cr_expect_eq(count, 0);
  }
}

Test(list, elements_lie_as_far_apart_as_the_caller_says) {
  create_for_the_list();
  struct {
    struct coupon_campaign_info known;
    unsigned char later[LATER];
  } page[3];
  memset(page, MARK, sizeof page);
  size_t count;
  cr_assert_eq(coupon_list(engine, 5, &page[0].known, sizeof page[0], 2, &count), COUPON_OK);
  cr_assert_eq(count, 2);
  for (size_t i = 0; i < 2; i++) {
    cr_expect_eq(page[i].known.size, sizeof page[0]);
    expect_listed(&page[i].known, 5 + i);
    for (size_t j = 0; j < LATER; j++) cr_expect_eq(page[i].later[j], MARK);
  }
  cr_expect_eq(*(unsigned char *)&page[2], MARK, "behind the page nothing is touched");
}

/* --- issuing ------------------------------------------------------------------------------------- */

Test(issue, first_request_of_a_user_gets_the_next_ticket) {
  help_create(engine, 1, 3);
  for (uint64_t i = 1; i <= 3; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_issue(engine, 1, 100 + i, COUPON_FOREVER, &ticket), COUPON_ISSUED);
    cr_expect_eq(ticket.campaign, 1);
    cr_expect_eq(ticket.user, 100 + i);
    cr_expect_eq(ticket.number, i);
    cr_expect_eq(ticket.lsn, 0, "in memory it rests on nothing");
    cr_expect_gt(ticket.time_ns, 0);
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
    cr_expect_eq(ticket.answer, COUPON_ISSUED);
    struct coupon_campaign_info info = help_info(engine, 1);
    cr_expect_eq(info.issued, i);
    cr_expect_eq(info.remaining, 3 - i);
  }
}

Test(issue, second_request_of_a_user_gets_the_original_ticket) {
  help_create(engine, 1, 10);
  struct coupon_ticket first = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_issue(engine, 1, 5, COUPON_FOREVER, &first), COUPON_ISSUED);
  for (uint64_t user = 6; user < 9; user++) (void)issue_to(1, user, COUPON_ISSUED);
  for (int i = 0; i < 5; i++) {
    struct coupon_ticket again = issue_to(1, 5, COUPON_ALREADY_ISSUED);
    cr_expect(help_same_ticket(&first, &again));
    cr_expect_eq(again.answer, COUPON_ALREADY_ISSUED);
    cr_expect_eq(again.flags, COUPON_TICKET_FINAL);
  }
  cr_expect_eq(help_info(engine, 1).issued, 4);
}

Test(issue, users_are_any_values_and_different_ones_are_different_users) {
  const uint64_t users[] = {0, 1, 2, UINT64_C(1) << 32, UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX};
  help_create(engine, 1, 100);
  for (uint64_t i = 0; i < 7; i++) {
    struct coupon_ticket ticket = issue_to(1, users[i], COUPON_ISSUED);
    cr_expect_eq(ticket.user, users[i]);
  }
  for (uint64_t i = 0; i < 7; i++) {
    struct coupon_ticket ticket = issue_to(1, users[i], COUPON_ALREADY_ISSUED);
    cr_expect_eq(ticket.number, i + 1);
    cr_expect_eq(ticket.user, users[i]);
  }
}

Test(issue, campaigns_do_not_know_each_other) {
  help_create(engine, 1, 1);
  help_create(engine, 2, 2);
  (void)issue_to(1, 5, COUPON_ISSUED);
  (void)issue_to(2, 5, COUPON_ISSUED);
  (void)issue_to(1, 6, COUPON_SOLD_OUT);
  (void)issue_to(2, 6, COUPON_ISSUED);
  cr_expect_eq(issue_to(1, 5, COUPON_ALREADY_ISSUED).number, 1);
  cr_expect_eq(issue_to(2, 6, COUPON_ALREADY_ISSUED).number, 2);
}

Test(issue, a_refusal_tells_campaign_user_position_and_time) {
  help_create(engine, 1, 1);
  (void)issue_to(1, 5, COUPON_ISSUED);
  uint64_t issued_lsn = issue_to(1, 5, COUPON_ALREADY_ISSUED).lsn;
  struct coupon_ticket refused = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_issue(engine, 1, 6, COUPON_FOREVER, &refused), COUPON_SOLD_OUT);
  cr_expect_eq(refused.campaign, 1);
  cr_expect_eq(refused.user, 6);
  cr_expect_eq(refused.number, 0);
  cr_expect_geq(refused.lsn, issued_lsn, "sold out rests on the ticket that was the last");
  cr_expect_gt(refused.time_ns, 0);
  cr_expect_eq(refused.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(refused.answer, COUPON_SOLD_OUT);
}

Test(issue, a_request_for_no_campaign_is_refused_and_final) {
  uint64_t before = help_stats(engine).memory_bytes;
  struct coupon_ticket refused = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_issue(engine, 404, 6, COUPON_FOREVER, &refused), COUPON_NO_CAMPAIGN);
  cr_expect_eq(refused.campaign, 404);
  cr_expect_eq(refused.user, 6);
  cr_expect_eq(refused.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(refused.answer, COUPON_NO_CAMPAIGN);
  cr_expect_eq(help_stats(engine).memory_bytes, before);
}

Test(issue, a_refusal_for_no_campaign_bears_the_time_of_the_refusal) {
  struct help_clock clock = {5000};
  struct coupon_options options = help_options_with_clock(COUPON_NONE, &clock);
  coupon_engine *other = help_open(NULL, &options);
  struct coupon_ticket refused = COUPON_TICKET_INIT;
  for (clock.now_ns = 5000; clock.now_ns <= 7000; clock.now_ns += 1000) {
    cr_assert_eq(coupon_try_issue(other, 404, 6, &refused), COUPON_NO_CAMPAIGN);
    cr_expect_eq(refused.time_ns, clock.now_ns);
  }
  help_close(other);
}

Test(issue, a_refused_user_may_ask_again_and_leaves_no_claim) {
  help_create(engine, 1, 1);
  (void)issue_to(1, 5, COUPON_ISSUED);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  for (int i = 0; i < 3; i++) {
    (void)issue_to(1, 6, COUPON_SOLD_OUT);
    cr_expect_eq(coupon_lookup(engine, 1, 6, &ticket, NULL), COUPON_NOT_FOUND);
  }
}

Test(issue, waiting_and_not_waiting_give_the_same_answers) {
  help_create(engine, 1, 2);
  const int64_t deadlines[] = {COUPON_POLL, COUPON_FOREVER, -1, INT64_MIN, 1, coupon_deadline_after(1000000000)};
  for (int i = 0; i < 6; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status expected = i < 2 ? COUPON_ISSUED : COUPON_SOLD_OUT;
    cr_expect_eq(coupon_issue(engine, 1, (uint64_t)i, deadlines[i], &ticket), expected, "deadline %d", i);
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
  }
}

#define SELLERS 8
#define SALE_USERS 3000
#define SALE_STOCK 2000

static _Atomic uint32_t sale_issued[SALE_USERS];
static _Atomic uint64_t sale_oddities;

/* Every thread asks for every user. */
static void *ask_for_all(void *argument) {
  uint64_t first = *(uint64_t *)argument;
  for (uint64_t i = 0; i < SALE_USERS; i++) {
    uint64_t user = (first + i) % SALE_USERS;
    coupon_status status = help_ask(engine, 1, user);
    if (status == COUPON_ISSUED)
      sale_issued[user]++;
    else if (status != COUPON_SOLD_OUT && status != COUPON_ALREADY_ISSUED)
      sale_oddities++;
  }
  return NULL;
}

Test(issue, many_threads_sell_every_unit_once_and_to_no_user_twice) {
  help_create(engine, 1, SALE_STOCK);
  pthread_t threads[SELLERS];
  uint64_t arguments[SELLERS];
  for (uint64_t i = 0; i < SELLERS; i++) {
    arguments[i] = i * SALE_USERS / SELLERS;
    cr_assert_eq(pthread_create(&threads[i], NULL, ask_for_all, &arguments[i]), 0);
  }
  for (int i = 0; i < SELLERS; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  uint64_t issued = 0, count;
  for (int user = 0; user < SALE_USERS; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status found = coupon_lookup(engine, 1, (uint64_t)user, &ticket, NULL);
    cr_expect_eq(found, sale_issued[user] == 1 ? COUPON_OK : COUPON_NOT_FOUND);
    cr_expect_leq(sale_issued[user], 1);
    issued += sale_issued[user];
  }
  cr_expect_eq(issued, SALE_STOCK);
  cr_expect_eq(sale_oddities, 0);
  const char *wrong = help_audit(engine, 1, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, SALE_STOCK);
}

#define TWINS 4
#define TWIN_CAMPAIGNS 500

static pthread_barrier_t twin_barrier;
static struct coupon_ticket twin_tickets[TWINS][TWIN_CAMPAIGNS];

/* The same user in one campaign after the other, at the same moment as the others. */
static void *ask_as_a_twin(void *argument) {
  struct coupon_ticket *tickets = argument;
  for (uint64_t id = 0; id < TWIN_CAMPAIGNS; id++) {
    tickets[id] = (struct coupon_ticket)COUPON_TICKET_INIT;
    (void)pthread_barrier_wait(&twin_barrier);
    (void)!coupon_issue(engine, id, 5, COUPON_FOREVER, &tickets[id]);
  }
  return NULL;
}

Test(issue, requests_of_one_user_at_the_same_moment_get_the_same_ticket) {
  for (uint64_t id = 0; id < TWIN_CAMPAIGNS; id++) help_create(engine, id, TWINS);
  pthread_t threads[TWINS];
  cr_assert_eq(pthread_barrier_init(&twin_barrier, NULL, TWINS), 0);
  for (int i = 0; i < TWINS; i++) cr_assert_eq(pthread_create(&threads[i], NULL, ask_as_a_twin, twin_tickets[i]), 0);
  for (int i = 0; i < TWINS; i++) cr_assert_eq(pthread_join(threads[i], NULL), 0);
  for (uint64_t id = 0; id < TWIN_CAMPAIGNS; id++) {
    int issued = 0;
    for (int i = 0; i < TWINS; i++) {
      issued += twin_tickets[i][id].answer == COUPON_ISSUED;
      cr_expect(help_same_ticket(&twin_tickets[i][id], &twin_tickets[0][id]));
      cr_expect_eq(twin_tickets[i][id].number, 1);
    }
    cr_expect_eq(issued, 1);
    cr_expect_eq(help_info(engine, id).issued, 1, "no unit is held back");
  }
}

/* --- no limit ------------------------------------------------------------------------------------ */

static void create_without_limit(uint64_t id, uint64_t stock) {
  struct coupon_campaign_spec spec = help_spec(id, stock);
  spec.user_limit = 0;
  cr_assert_eq(create_now(&spec), COUPON_OK);
}

Test(no_limit, a_user_gets_ticket_after_ticket_until_all_are_sold) {
  create_without_limit(1, 50);
  for (uint64_t i = 1; i <= 50; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_issue(engine, 1, 5, COUPON_FOREVER, &ticket), COUPON_ISSUED);
    cr_expect_eq(ticket.number, i);
  }
  (void)issue_to(1, 5, COUPON_SOLD_OUT);
  (void)issue_to(1, 6, COUPON_SOLD_OUT);
  cr_expect_eq(help_info(engine, 1).user_limit, 0);
}

Test(no_limit, a_lookup_finds_the_first_ticket_and_tells_how_many_there_are) {
  create_without_limit(1, 100);
  struct coupon_ticket firsts[3];
  for (uint64_t i = 0; i < 60; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_issue(engine, 1, i % 3 == 0 ? 0 : i % 3, COUPON_FOREVER, &ticket), COUPON_ISSUED);
    if (i < 3) firsts[i] = ticket;
  }
  for (uint64_t user = 0; user < 3; user++) {
    struct coupon_ticket found = COUPON_TICKET_INIT;
    uint64_t count = 0;
    cr_assert_eq(coupon_lookup(engine, 1, user, &found, &count), COUPON_OK);
    cr_expect(help_same_ticket(&found, &firsts[user]));
    cr_expect_eq(count, 20);
    cr_expect_eq(coupon_lookup(engine, 1, user, &found, NULL), COUPON_OK);
  }
}

/* --- tickets ------------------------------------------------------------------------------------- */

#define SOLD 70

static void sell_for_the_pages(void) {
  help_create(engine, 1, 100);
  for (uint64_t user = 0; user < SOLD; user++) (void)issue_to(1, user * 3, COUPON_ISSUED);
}

Test(tickets, none_are_one_short_page) {
  help_create(engine, 1, 100);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count = 77;
  cr_expect_eq(coupon_tickets(engine, 1, 1, &ticket, sizeof ticket, 1, &count), COUPON_OK);
  cr_expect_eq(count, 0);
}

Test(tickets, pages_of_every_size_show_every_ticket_once_in_order_of_numbers) {
  sell_for_the_pages();
  for (size_t capacity = 1; capacity <= SOLD + 1; capacity++) {
    struct coupon_ticket page[SOLD + 1];
    uint64_t seen = 0;
    size_t count;
    do {
      cr_assert_eq(coupon_tickets(engine, 1, seen + 1, page, sizeof page[0], capacity, &count), COUPON_OK);
      for (size_t i = 0; i < count; i++) {
        cr_expect_eq(page[i].size, sizeof page[0]);
        cr_expect_eq(page[i].campaign, 1);
        cr_expect_eq(page[i].number, seen + i + 1);
        cr_expect_eq(page[i].user, (seen + i) * 3);
        cr_expect_eq(page[i].flags, COUPON_TICKET_FINAL);
      }
      seen += count;
    } while (count == capacity);
    cr_expect_eq(seen, SOLD, "pages of %zu", capacity);
  }
}

Test(tickets, from_zero_is_from_one) {
  sell_for_the_pages();
  struct coupon_ticket zero[2], one[2];
  size_t count;
  cr_assert_eq(coupon_tickets(engine, 1, 0, zero, sizeof zero[0], 2, &count), COUPON_OK);
  cr_assert_eq(coupon_tickets(engine, 1, 1, one, sizeof one[0], 2, &count), COUPON_OK);
  cr_expect_eq(memcmp(zero, one, sizeof zero), 0);
}

Test(tickets, past_the_end_there_are_none) {
  sell_for_the_pages();
  const uint64_t from[] = {SOLD + 1, 100, 101, UINT64_C(1) << 41, UINT64_MAX};
  for (int i = 0; i < 5; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    size_t count = 77;
    cr_expect_eq(coupon_tickets(engine, 1, from[i], &ticket, sizeof ticket, 1, &count), COUPON_OK);
    cr_expect_eq(count, 0);
  }
}

Test(tickets, elements_lie_as_far_apart_as_the_caller_says) {
  sell_for_the_pages();
  struct {
    struct coupon_ticket known;
    unsigned char later[LATER];
  } page[3];
  memset(page, MARK, sizeof page);
  size_t count;
  cr_assert_eq(coupon_tickets(engine, 1, 9, &page[0].known, sizeof page[0], 2, &count), COUPON_OK);
  cr_assert_eq(count, 2);
  for (size_t i = 0; i < 2; i++) {
    cr_expect_eq(page[i].known.size, sizeof page[0]);
    cr_expect_eq(page[i].known.number, 9 + i);
    for (size_t j = 0; j < LATER; j++) cr_expect_eq(page[i].later[j], MARK);
  }
  cr_expect_eq(*(unsigned char *)&page[2], MARK, "behind the page nothing is touched");
}

/* --- looking up ---------------------------------------------------------------------------------- */

Test(lookup, finds_the_ticket_that_was_issued) {
  help_create(engine, 1, 10);
  for (uint64_t user = 0; user < 5; user++) {
    struct coupon_ticket issued = COUPON_TICKET_INIT, found = COUPON_TICKET_INIT;
    uint64_t count = 0;
    cr_assert_eq(coupon_issue(engine, 1, user, COUPON_FOREVER, &issued), COUPON_ISSUED);
    cr_assert_eq(coupon_lookup(engine, 1, user, &found, &count), COUPON_OK);
    cr_expect(help_same_ticket(&issued, &found));
    cr_expect_eq(found.flags, COUPON_TICKET_FINAL);
    cr_expect_eq(count, 1);
  }
}

Test(lookup, a_user_without_a_ticket_is_not_found_and_holds_none) {
  help_create(engine, 1, 10);
  (void)issue_to(1, 5, COUPON_ISSUED);
  const uint64_t strangers[] = {0, 1, 6, UINT64_MAX};
  for (int i = 0; i < 4; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    uint64_t count = 77;
    cr_expect_eq(coupon_lookup(engine, 1, strangers[i], &ticket, &count), COUPON_NOT_FOUND);
    cr_expect_eq(count, 0, "how many a user holds that holds none");
  }
}

/* --- figures ------------------------------------------------------------------------------------- */

Test(stats, count_what_was_done) {
  struct coupon_stats stats = help_stats(engine);
  cr_expect_eq(stats.campaigns + stats.tickets + stats.reserved_lsn + stats.commits, 0);
  help_create(engine, 1, 5);
  help_create(engine, 2, 5);
  for (uint64_t user = 0; user < 7; user++) (void)help_try(engine, 1, user);
  (void)issue_to(2, 1, COUPON_ISSUED);
  stats = help_stats(engine);
  cr_expect_eq(stats.failure, COUPON_OK);
  cr_expect_eq(stats.failure_os_error, 0);
  cr_expect_eq(stats.durability, COUPON_NONE);
  cr_expect_eq(stats.read_only, 0);
  cr_expect_eq(stats.campaigns, 2);
  cr_expect_eq(stats.tickets, 6);
  cr_expect_eq(stats.durable_lsn + stats.reserved_lsn, 0, "in memory there are no positions");
  cr_expect_eq(stats.commits + stats.syncs + stats.bytes_written + stats.segments, 0, "nor a log to commit to");
  cr_expect_gt(stats.memory_bytes, 0);
  cr_expect_gt(stats.time_ns, 0);
}

/* --- the end of the log -------------------------------------------------------------------------- */

static char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
static struct help_disk disk;
static struct cpn_env env;

/* With a log, and without threads: what is decided stays where it is. */
static void begin_logged(void) {
  struct coupon_options options = help_options(COUPON_SYNC);
  struct coupon_campaign_spec spec = help_spec(1, 1000000);
  help_temp_make(temp);
  help_disk_init(&disk);
  env = help_disk_env(&disk, false);
  engine = help_open_env(&env, help_join(data, temp, "data"), &options);
  cr_assert_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  cr_assert_gt(cpn_wait_step(engine), 0);
}

static void end_logged(void) {
  /* What was decided at the end of all positions must not be written at the beginning of a file. */
  disk.error = EIO;
  disk.fail_op = HELP_WRITE;
  disk.fail_at = atomic_load(&disk.calls[HELP_WRITE]) + 1;
  cr_assert_eq(coupon_close(engine), COUPON_E_FAILED);
  end();
  help_temp_remove(temp);
}

TestSuite(log_full, .init = begin_logged, .fini = end_logged, .timeout = HANGS_AFTER_S);

/* As if the log had got nearly to its last position: 2^48 bytes cannot be written in a test. */
static void wind_on_to(uint64_t lsn) {
  atomic_store(&engine->buffer.tail, lsn);
  atomic_store(&engine->buffer.drained, lsn);
  atomic_store(&engine->commit.durable, lsn);
  engine->log.written_lsn = engine->log.synced_lsn = lsn;
}

Test(log_full, at_the_last_position_nothing_more_is_issued_or_created_and_nothing_is_held_back) {
  wind_on_to(COUPON_LSN_MAX - 1000);
  uint64_t issued = 0;
  while (help_try(engine, 1, issued) == COUPON_ISSUED) issued++;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_expect_eq(issued, 1000 / 24);
  cr_expect_eq(coupon_issue(engine, 1, issued, COUPON_FOREVER, &ticket), COUPON_E_LOG_FULL);
  cr_expect_eq(coupon_try_issue(engine, 1, issued, &ticket), COUPON_E_LOG_FULL);
  cr_expect_eq(coupon_lookup(engine, 1, issued, &ticket, NULL), COUPON_NOT_FOUND);
  const struct coupon_request requests[2] = {{.campaign = 1, .user = issued}, {.campaign = 1, .user = 0}};
  struct coupon_ticket tickets[2];
  cr_expect_eq(coupon_try_issue_batch(engine, requests, 2, tickets, sizeof tickets[0]), COUPON_OK);
  cr_expect_eq(tickets[0].answer, COUPON_E_LOG_FULL);
  cr_expect_eq(tickets[1].answer, COUPON_ALREADY_ISSUED);
  struct coupon_campaign_spec spec = help_spec(2, 1);
  cr_expect_eq(create_now(&spec), COUPON_E_LOG_FULL);
  struct coupon_campaign_info info = help_info(engine, 1);
  cr_expect_eq(info.issued, issued);
  cr_expect_eq(info.issued + info.remaining, info.stock);
  cr_expect_eq(help_stats(engine).campaigns, 1);
  cr_expect_leq(help_stats(engine).reserved_lsn, COUPON_LSN_MAX);
  (void)issue_to(1, 0, COUPON_ALREADY_ISSUED);
}

/* A claim and a refusal bear an LSN in 45 bits, in steps of 8: the last position itself would not fit. */
Test(log_full, a_ticket_that_would_end_just_at_the_last_position_is_not_issued) {
  wind_on_to(COUPON_LSN_MAX - UINT64_C(4) * 24);
  uint64_t issued = 0;
  while (help_try(engine, 1, issued) == COUPON_ISSUED) issued++;
  cr_expect_eq(issued, 3);
  for (uint64_t user = 0; user < issued; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_expect_eq(coupon_lookup(engine, 1, user, &ticket, NULL), COUPON_OK);
    cr_expect_lt(ticket.lsn, COUPON_LSN_MAX);
  }
}
