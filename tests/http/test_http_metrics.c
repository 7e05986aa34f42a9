/* SPDX-License-Identifier: Apache-2.0 */
/* Shows that /health and /metrics say what is so, in the form their readers expect. */
#include "http/expect.h"

TestSuite(http_metrics, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(http_metrics_chosen, .init = prepare, .fini = end, .timeout = HANGS_AFTER_S);

Test(http_metrics, a_service_that_is_ready_says_so_on_both_paths) {
  const struct answer *answer = ask(&service, "GET", HEALTH, NULL, NULL);
  EXPECT_OK(answer);
  EXPECT_HAS(answer, "data.state", "ready");
  answer = ask(&service, "GET", "/health", NULL, NULL);
  EXPECT_OK(answer);
  EXPECT_HAS(answer, "data.state", "ready");
  EXPECT_REFUSED(ask(&service, "POST", "/health", NULL, "{}"), 405, "method_not_allowed");
  EXPECT_REFUSED(ask(&service, "POST", "/metrics", NULL, "{}"), 405, "method_not_allowed");
}

/* --- the text's form ----------------------------------------------------------------------------- */

struct family {
  char name[128], type[32];
};
static struct family families[64];
static size_t family_count;

static const struct family *find_family(const char *name, size_t length) {
  for (size_t i = 0; i < family_count; i++)
    if (strlen(families[i].name) == length && strncmp(families[i].name, name, length) == 0) return &families[i];
  return NULL;
}

/* The family of a sample; one of a histogram has _bucket, _sum or _count behind the name. */
static const struct family *family_of(const char *sample) {
  static const char *const ends[] = {"_bucket", "_sum", "_count"};
  size_t length = strcspn(sample, "{ ");
  const struct family *family = find_family(sample, length);
  for (size_t i = 0; i < 3 && family == NULL; i++) {
    size_t end = strlen(ends[i]);
    if (length > end && strncmp(sample + length - end, ends[i], end) == 0) family = find_family(sample, length - end);
    if (family != NULL && strcmp(family->type, "histogram") != 0) family = NULL;
  }
  return family;
}

/* `name{label="value",…} number`. */
static bool is_sample(const char *line) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789";
  size_t name = strspn(line, letters);
  if (name == 0 || (line[0] >= '0' && line[0] <= '9')) return false;
  line += name;
  if (*line == '{') {
    const char *close = strchr(line, '}');
    if (close == NULL || close[-1] != '"' || strstr(line, "=\"") == NULL) return false;
    line = close + 1;
  }
  char *rest;
  if (*line != ' ') return false;
  (void)strtod(line + 1, &rest);
  return rest != line + 1 && *rest == 0;
}

static char text[ANSWER_BODY_MAX + 1];

Test(http_metrics, every_line_is_a_comment_or_a_sample_of_a_type_that_was_told_before) {
  create_coupon(&service, 1, 5, "");
  EXPECT_OK(issue(&service, user(5), 1));
  const struct answer *answer = ask(&service, "GET", "/metrics", NULL, NULL);
  cr_assert_eq(answer->status, 200);
  const char *type = header(answer, "Content-Type");
  cr_assert(type != NULL && strncmp(type, "text/plain", 10) == 0, "%s", type);
  cr_assert_gt(answer->length, 0);
  cr_expect_eq(answer->body[answer->length - 1], '\n', "the last line has no end");
  (void)snprintf(text, sizeof text, "%s", answer->body);
  char *rest;
  int samples = 0;
  for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
    if (strncmp(line, "# TYPE ", 7) == 0) {
      struct family *family = &families[family_count++];
      cr_assert_leq(family_count, 64);
      cr_assert_eq(sscanf(line, "# TYPE %127s %31s", family->name, family->type), 2, "%s", line);
      cr_expect(strcmp(family->type, "counter") == 0 || strcmp(family->type, "gauge") == 0 ||
                    strcmp(family->type, "histogram") == 0,
                "%s", line);
    } else if (line[0] != '#') {
      cr_expect(is_sample(line), "%s", line);
      cr_expect(family_of(line) != NULL, "no TYPE: %s", line);
      samples++;
    }
  }
  cr_expect_gt(samples, 8);
  static const char *const names[] = {
      "coupon_http_answers_total",  "coupon_http_connections",     "coupon_http_waiting_answers",
      "coupon_engine_reserved_lsn", "coupon_engine_durable_lsn",   "coupon_engine_syncs_total",
      "coupon_engine_sync_seconds", "coupon_engine_tickets_total", "coupon_engine_failed"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    cr_expect(find_family(names[i], strlen(names[i])) != NULL, "%s is missing", names[i]);
}

Test(http_metrics, the_histogram_of_syncs_is_cumulative_up_to_its_count) {
  create_coupon(&service, 1, 50, "");
  for (uint64_t i = 0; i < 20; i++) EXPECT_OK(issue(&service, user(i), 1));
  const struct answer *answer = ask(&service, "GET", "/metrics", NULL, NULL);
  const char *prefix = "coupon_engine_sync_seconds_bucket{le=\"", *line = answer->body;
  double least = -1, last = -1, infinite = -1;
  while ((line = strstr(line, prefix)) != NULL) {
    line += strlen(prefix);
    bool is_infinite = strncmp(line, "+Inf\"} ", 7) == 0;
    char *rest;
    double bound = is_infinite ? 0 : strtod(line, &rest), count = strtod(strstr(line, "} ") + 2, NULL);
    cr_expect(is_infinite || bound > least, "the bounds do not rise: %.40s", line);
    cr_expect(infinite < 0, "something follows +Inf");
    cr_expect(count >= last, "not cumulative: %.40s", line);
    least = bound;
    last = count;
    if (is_infinite) infinite = count;
  }
  cr_expect(infinite >= 20, "%g", infinite);
  /* Of the same answer: with the next one there may be one more. */
  const char *count = strstr(answer->body, "\ncoupon_engine_sync_seconds_count ");
  cr_assert_not_null(count);
  cr_expect_eq(strtod(strchr(count, ' '), NULL), infinite);
  const char *sum = strstr(answer->body, "\ncoupon_engine_sync_seconds_sum ");
  cr_assert_not_null(sum);
  cr_expect_gt(strtod(strchr(sum, ' '), NULL), 0);
}

/* --- numbers ------------------------------------------------------------------------------------- */

static double answers(const char *kind) {
  char sample[128];
  (void)snprintf(sample, sizeof sample, "coupon_http_answers_total{kind=\"%s\"}", kind);
  double value = metric(&service, sample);
  return value < 0 ? 0 : value; /* what has never been answered may be left out */
}

Test(http_metrics, the_answers_of_a_known_sequence_are_counted) {
  create_coupon(&service, 1, 3, "");
  create_coupon(&service, 2, 3, ",\"startDate\":\"2200-01-01T00:00:00\"");
  for (uint64_t i = 0; i < 3; i++) EXPECT_OK(issue(&service, user(i), 1));
  for (uint64_t i = 0; i < 2; i++) EXPECT_REFUSED(issue(&service, user(i), 1), 409, "already_issued");
  for (uint64_t i = 0; i < 4; i++) EXPECT_REFUSED(issue(&service, user(10 + i), 1), 400, "sold_out");
  for (uint64_t i = 0; i < 5; i++) EXPECT_REFUSED(issue(&service, user(i), 2), 409, "not_open");
  for (uint64_t i = 0; i < 6; i++) EXPECT_REFUSED(issue(&service, user(i), 3), 404, "coupon_unknown");
  for (int i = 0; i < 7; i++) EXPECT_REFUSED(issue(&service, "Bearer x", 1), 401, "token_malformed");
  for (int i = 0; i < 8; i++) EXPECT_REFUSED(ask(&service, "GET", "/", NULL, NULL), 404, "path_unknown");
  cr_expect_eq(answers("issued"), 3);
  cr_expect_eq(answers("already_issued"), 2);
  cr_expect_eq(answers("sold_out"), 4);
  cr_expect_eq(answers("not_open"), 5);
  cr_expect_eq(answers("coupon_unknown"), 6);
  cr_expect_eq(answers("token_malformed"), 7);
  cr_expect_eq(answers("path_unknown"), 8);
  cr_expect_eq(answers("ended"), 0);
  cr_expect_eq(metric(&service, "coupon_engine_tickets_total"), 3);
  cr_expect_eq(metric(&service, "coupon_engine_failed"), 0);
  cr_expect_eq(metric(&service, "coupon_http_waiting_answers"), 0);
}

Test(http_metrics, what_is_durable_is_not_beyond_what_is_reserved) {
  create_coupon(&service, 1, 3, "");
  double before = metric(&service, "coupon_engine_durable_lsn");
  EXPECT_OK(issue(&service, user(5), 1));
  double durable = metric(&service, "coupon_engine_durable_lsn");
  cr_expect_gt(durable, before);
  cr_expect_leq(durable, metric(&service, "coupon_engine_reserved_lsn"));
  cr_expect_gt(metric(&service, "coupon_engine_syncs_total"), 0);
}

Test(http_metrics, connections_are_counted) {
  struct client held[5];
  for (int i = 0; i < 5; i++) client_open(&held[i], &service);
  await_metric(&service, "coupon_http_connections", 6);
  for (int i = 0; i < 5; i++) client_close(&held[i]);
  await_metric(&service, "coupon_http_connections", 1);
}

Test(http_metrics_chosen, the_constant_answers_whatever_the_request) {
  service_start(&service, "--constant /constant");
  create_coupon(&service, 1, 3, "");
  const struct answer *issued = issue(&service, user(5), 1), *answer = ask(&service, "POST", "/constant", NULL, "{");
  cr_expect_eq(answer->status, 200, "%s", answer->body);
  cr_expect(answer->length > issued->length / 2 && answer->length < issued->length * 2, "%zu and %zu bytes",
            answer->length, issued->length);
  cr_expect_eq(ask(&service, "GET", "/constant", NULL, NULL)->status, 200);
}

Test(http_metrics, without_the_option_there_is_no_constant) {
  EXPECT_REFUSED(ask(&service, "GET", "/constant", NULL, NULL), 404, "path_unknown");
}
