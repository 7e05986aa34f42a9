/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the service does not start without a secret worth the name, that it uses the one it is told to, and what
 * the subcommands `secret` and `tokens` make.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "http/expect.h"

TestSuite(http_secret, .init = prepare, .fini = end, .timeout = HANGS_AFTER_S);

static char printed[65536];

/* Not started, a reason on standard error, and none of it is a secret. */
#define EXPECT_REFUSAL(options)                                                               \
  do {                                                                                        \
    int status_ = service_refuse(&service, options);                                          \
    cr_expect(status_ > 0 && status_ < 128, "status %d", status_);                            \
    cr_expect_gt(strlen(service_errors(&service)), 10);                                       \
    cr_expect_null(strstr(service_errors(&service), service.secret), "it prints the secret"); \
  } while (0)

Test(http_secret, a_file_that_others_may_read_is_refused) {
  cr_assert_eq(chmod(service_path(&service, "secret"), 0644), 0);
  EXPECT_REFUSAL("");
  cr_assert_eq(chmod(service_path(&service, "secret"), 0640), 0);
  EXPECT_REFUSAL("");
  cr_assert_eq(chmod(service_path(&service, "secret"), 0400), 0);
  service_start(&service, "");
}

Test(http_secret, fewer_than_32_bytes_are_refused) {
  service_write(&service, "secret", service.secret, 31, 0600);
  EXPECT_REFUSAL("");
  char text[40];
  (void)snprintf(text, sizeof text, "%.31s\n", service.secret);
  service_write(&service, "secret", text, 32, 0600);
  EXPECT_REFUSAL("");
  service_write(&service, "secret", "", 0, 0600);
  EXPECT_REFUSAL("");
  service_write(&service, "secret", service.secret, 32, 0600);
  service_start(&service, "");
}

Test(http_secret, there_is_no_default) {
  cr_assert_eq(unlink(service_path(&service, "secret")), 0);
  EXPECT_REFUSAL("");
}

Test(http_secret, what_is_no_regular_file_is_refused) {
  cr_assert_eq(unlink(service_path(&service, "secret")), 0);
  cr_assert_eq(mkdir(service_path(&service, "secret"), 0700), 0);
  EXPECT_REFUSAL("");
}

Test(http_secret, a_newline_at_its_end_does_not_count) {
  char text[80];
  (void)snprintf(text, sizeof text, "%s\n", service.secret);
  service_write(&service, "secret", text, strlen(text), 0600);
  service_start(&service, "");
  EXPECT_OK(ask(&service, "GET", ISSUE, user(1), NULL));
}

Test(http_secret, another_file_may_be_named) {
  char options[SERVICE_PATH_MAX + 64];
  service_write(&service, "other", "another secret of another file, long enough", 43, 0600);
  (void)snprintf(options, sizeof options, "--secret-file %s", service_path(&service, "other"));
  service_start(&service, options);
  EXPECT_REFUSED(ask(&service, "GET", ISSUE, user(1), NULL), 401, "token_signature");
  (void)snprintf(service.secret, sizeof service.secret, "another secret of another file, long enough");
  EXPECT_OK(ask(&service, "GET", ISSUE, user(1), NULL));
}

Test(http_secret, the_variable_wins_over_the_file) {
  service.variables[0] = "COUPON_HTTP_SECRET=a secret out of the environment, long enough";
  service_start(&service, "");
  EXPECT_REFUSED(ask(&service, "GET", ISSUE, user(1), NULL), 401, "token_signature");
  (void)snprintf(service.secret, sizeof service.secret, "a secret out of the environment, long enough");
  EXPECT_OK(ask(&service, "GET", ISSUE, user(1), NULL));
}

Test(http_secret, the_variable_is_enough_without_a_file) {
  cr_assert_eq(unlink(service_path(&service, "secret")), 0);
  service.variables[0] = "COUPON_HTTP_SECRET=a secret out of the environment, long enough";
  service_start(&service, "");
}

Test(http_secret, a_short_variable_is_refused_though_the_file_is_good) {
  service.variables[0] = "COUPON_HTTP_SECRET=short";
  EXPECT_REFUSAL("");
  service.variables[0] = "COUPON_HTTP_SECRET=";
  EXPECT_REFUSAL("");
}

Test(http_secret, the_command_makes_64_hexadecimal_digits_for_the_owner_alone) {
  char first[256], second[256];
  struct stat status;
  cr_assert_eq(unlink(service_path(&service, "secret")), 0);
  cr_assert_eq(service_command(&service, "secret @", NULL, printed, sizeof printed), 0);
  cr_assert_eq(stat(service_path(&service, "secret"), &status), 0);
  cr_expect_eq(status.st_mode & 07777, 0600);
  size_t length = service_read(&service, "secret", first, sizeof first);
  cr_expect_eq(strspn(first, "0123456789abcdefABCDEF"), 64, "%zu bytes", length);
  cr_expect_leq(length, 65);
  cr_expect_null(strstr(printed, first), "it prints the secret");
  cr_assert_eq(unlink(service_path(&service, "secret")), 0);
  cr_assert_eq(service_command(&service, "secret @", NULL, printed, sizeof printed), 0);
  (void)service_read(&service, "secret", second, sizeof second);
  cr_expect_str_neq(first, second);
  service_start(&service, "");
}

Test(http_secret, the_command_makes_the_directory_and_the_service_what_it_needs_in_it) {
  struct stat status;
  strcat(service.directory, "/new");
  cr_assert_eq(service_command(&service, "secret @", NULL, printed, sizeof printed), 0);
  cr_expect_eq(stat(service_path(&service, "secret"), &status), 0);
  size_t length = service_read(&service, "secret", service.secret, sizeof service.secret);
  cr_assert_geq(length, 64);
  service_start(&service, "");
  create_coupon(&service, 1, 1, "");
  EXPECT_OK(issue(&service, user(5), 1));
  service_kill(&service);
  service_start(&service, "");
  EXPECT_REFUSED(issue(&service, user(5), 1), 409, "already_issued");
}

Test(http_secret, the_command_never_overwrites_one) {
  char text[256];
  cr_expect_neq(service_command(&service, "secret @", NULL, printed, sizeof printed), 0);
  (void)service_read(&service, "secret", text, sizeof text);
  cr_expect_str_eq(text, service.secret);
}

Test(http_secret, the_command_tokens_makes_tokens_for_the_users_in_a_row) {
  char token[TOKEN_MAX] = "Bearer ", line[TOKEN_MAX + 64], *rest;
  service_start(&service, "");
  create_coupon(&service, 1, 100, "");
  cr_assert_eq(service_command(&service, "tokens @ --first 500 --count 3", NULL, printed, sizeof printed), 0);
  int count = 0;
  for (char *at = strtok_r(printed, "\n", &rest); at != NULL; at = strtok_r(NULL, "\n", &rest), count++) {
    unsigned id;
    cr_assert_eq(sscanf(at, "%u\t%4000[^\n]", &id, token + 7), 2, "%s", at);
    cr_expect_eq(id, 500U + (unsigned)count);
    (void)snprintf(line, sizeof line, "%u", id);
    EXPECT_HAS(issue(&service, token, 1), "data.userId", line);
  }
  cr_expect_eq(count, 3);
}

Test(http_secret, the_command_tokens_knows_roles_and_seconds) {
  char token[TOKEN_MAX] = "Bearer ";
  unsigned id;
  service_start(&service, "");
  cr_assert_eq(service_command(&service, "tokens @ --count 1 --role ADMIN", NULL, printed, sizeof printed), 0);
  cr_assert_eq(sscanf(printed, "%u\t%4000[^\n]", &id, token + 7), 2, "%s", printed);
  EXPECT_REFUSED(ask(&service, "POST", COUPONS, token, "{}"), 400, "field_missing");
  cr_assert_eq(service_command(&service, "tokens @ --count 1 --seconds 1", NULL, printed, sizeof printed), 0);
  cr_assert_eq(sscanf(printed, "%u\t%4000[^\n]", &id, token + 7), 2, "%s", printed);
  const struct answer *answer = ask(&service, "GET", ISSUE, token, NULL);
  for (int i = 0; i < 600 && answer->status == 200; i++) {
    service_sleep_ms(20);
    answer = ask(&service, "GET", ISSUE, token, NULL);
  }
  EXPECT_REFUSED(answer, 401, "token_expired");
}

Test(http_secret, options_that_are_none_are_refused) {
  static const char *const options[] = {"--nonsense 1",         "--port x",           "--port 65536",
                                        "--threads 0",          "--listen localhost", "--durability none",
                                        "--max-connections -1", "--max-body-bytes"};
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    int status = service_refuse(&service, options[i]);
    cr_expect(status > 0 && status < 128, "%s: status %d", options[i], status);
  }
}

Test(http_secret, who_asks_any_command_for_help_gets_it_and_nothing_is_made) {
  static const char *const commands[] = {"--help",        "secret --help", "accounts --help",
                                         "tokens --help", "serve --help",  "accounts @ --help"};
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
    cr_expect_eq(service_command(&service, commands[i], NULL, printed, sizeof printed), 0, "%s", commands[i]);
    cr_expect_eq(strncmp(printed, "Usage: coupon-http ", 19), 0, "%s: %s", commands[i], printed);
  }
  cr_expect_eq(service_command(&service, "secret --cost", NULL, printed, sizeof printed), 2);
  cr_expect_eq(service_command(&service, "serve @/none --listen localhost", NULL, printed, sizeof printed), 2);
  cr_expect(access(service_path(&service, "none"), F_OK) != 0, "a directory was made for a wrong command line");
  cr_expect_eq(service_command(&service, "accounts --cost 5", NULL, printed, sizeof printed), 2);
  cr_expect(access("--help", F_OK) != 0 && access("--cost", F_OK) != 0, "a directory of an option's name was made");
}
