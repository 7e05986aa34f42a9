/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows which arguments, structs and options are accepted, and that all others are refused and change nothing. How: an
 * engine in memory, and every function called with what is just right, just wrong, and out of all proportion.
 */
#include <stddef.h>
#include <string.h>

#include "support/every_call.h"
#include "support/in_memory.h"

IN_MEMORY_SUITE(arguments);
TestSuite(options, .timeout = IN_MEMORY_HANGS_AFTER_S);

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
