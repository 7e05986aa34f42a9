/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that who knows the password of an account gets a token, nobody else does, and nobody may guess for long.
 * Passwords are hashed as cheaply as can be (--cost 1), or these tests would measure yescrypt.
 */
#include "http/expect.h"

TestSuite(http_signin, .init = prepare, .fini = end, .timeout = HANGS_AFTER_S);

static char printed[65536];

static int add_accounts(const char *lines) {
  return service_command(&service, "accounts @ --cost 1", lines, printed, sizeof printed);
}

static const struct answer *sign_in(const char *email, const char *password) {
  char body[512];
  (void)snprintf(body, sizeof body, "{\"email\":\"%s\",\"password\":\"%s\"}", email, password);
  return ask(&service, "POST", SIGNIN, NULL, body);
}

/* The id that was printed for an address. */
static const char *id_of(const char *email) {
  static char id[32];
  char pattern[128];
  (void)snprintf(pattern, sizeof pattern, "\t%s\n", email);
  const char *end = strstr(printed, pattern), *begin = end;
  cr_assert_not_null(end, "%s", printed);
  while (begin > printed && begin[-1] != '\n') begin--;
  (void)snprintf(id, sizeof id, "%.*s", (int)(end - begin), begin);
  return id;
}

static const char *token_in(const struct answer *answer) {
  static char token[4096];
  cr_assert(json_get(answer->body, "data.accessToken", token, sizeof token), "%s", answer->body);
  return token;
}

Test(http_signin, the_right_password_gives_a_token_of_this_user) {
  cr_assert_eq(add_accounts("anna@example.org\tsecret one\nbert@example.org\tsecret two\tUSER\n"), 0);
  service_start(&service, "");
  create_coupon(&service, 1, 10, "");
  const struct answer *answer = sign_in("bert@example.org", "secret two");
  EXPECT_OK(answer);
  const char *token = token_in(answer);
  cr_expect_eq(strncmp(token, "Bearer ", 7), 0, "%s", token);
  EXPECT_HAS(issue(&service, token, 1), "data.userId", id_of("bert@example.org"));
  EXPECT_REFUSED(ask(&service, "POST", COUPONS, token, "{}"), 403, "admin_required");
  token = token_in(sign_in("anna@example.org", "secret one"));
  EXPECT_HAS(issue(&service, token, 1), "data.userId", id_of("anna@example.org"));
}

Test(http_signin, lines_of_accounts_may_end_as_elsewhere_and_no_password_is_told) {
  cr_assert_eq(add_accounts("anna@example.org\tsecret\r\nroot@example.org\tsecret\tADMIN\r\n"), 0);
  service_start(&service, "");
  EXPECT_OK(sign_in("anna@example.org", "secret"));
  EXPECT_OK(sign_in("root@example.org", "secret"));
  cr_assert_eq(add_accounts("bert@example.org password without a tab\n"), 1);
  cr_expect_null(strstr(printed, "password without"), "%s", printed);
}

Test(http_signin, an_admin_is_one) {
  cr_assert_eq(add_accounts("root@example.org\tsecret\tADMIN\n"), 0);
  service_start(&service, "");
  const char *token = token_in(sign_in("root@example.org", "secret"));
  EXPECT_OK(ask(&service, "POST", COUPONS, token,
                "{\"name\":\"n\",\"description\":\"\",\"discountAmount\":1,\"quantity\":1}"));
}

Test(http_signin, a_wrong_password_and_an_unknown_address_are_told_the_same) {
  cr_assert_eq(add_accounts("anna@example.org\tsecret\n"), 0);
  service_start(&service, "");
  char first[1024], second[1024];
  const struct answer *wrong = sign_in("anna@example.org", "Secret"),
                      *unknown = sign_in("nobody@example.org", "secret");
  EXPECT_REFUSED(wrong, 401, "credentials_wrong");
  EXPECT_REFUSED(unknown, 401, "credentials_wrong");
  cr_assert(json_get(wrong->body, "message", first, sizeof first));
  cr_assert(json_get(unknown->body, "message", second, sizeof second));
  cr_expect_str_eq(first, second);
  EXPECT_REFUSED(sign_in("anna@example.org", "secret2"), 401, "credentials_wrong");
  EXPECT_OK(sign_in("anna@example.org", "secret"));
}

Test(http_signin, a_token_expires_after_token_seconds) {
  cr_assert_eq(add_accounts("anna@example.org\tsecret\n"), 0);
  service_start(&service, "--token-seconds 1");
  const char *token = token_in(sign_in("anna@example.org", "secret"));
  const struct answer *answer = ask(&service, "GET", ISSUE, token, NULL);
  for (int i = 0; i < 600 && answer->status == 200; i++) {
    service_sleep_ms(20);
    answer = ask(&service, "GET", ISSUE, token, NULL);
  }
  EXPECT_REFUSED(answer, 401, "token_expired");
}

Test(http_signin, a_body_that_is_not_asked_for_is_told_why) {
  service_start(&service, "");
  EXPECT_REFUSED(ask(&service, "POST", SIGNIN, NULL, NULL), 400, "body_missing");
  EXPECT_REFUSED(ask(&service, "POST", SIGNIN, NULL, "x"), 400, "body_malformed");
  EXPECT_REFUSED(ask(&service, "POST", SIGNIN, NULL, "{\"email\":\"a\",\"email\":\"a\",\"password\":\"b\"}"), 400,
                 "body_malformed");
  EXPECT_REFUSED(ask(&service, "POST", SIGNIN, NULL, "{}"), 400, "field_missing");
  const struct answer *answer = ask(&service, "POST", SIGNIN, NULL, "{\"email\":\"a@example.org\"}");
  EXPECT_REFUSED(answer, 400, "field_missing");
  cr_expect_not_null(strstr(answer->body, "password"), "%s", answer->body);
  answer = ask(&service, "POST", SIGNIN, NULL, "{\"email\":1,\"password\":\"b\"}");
  EXPECT_REFUSED(answer, 400, "field_invalid");
  cr_expect_not_null(strstr(answer->body, "email"), "%s", answer->body);
  EXPECT_REFUSED(ask(&service, "GET", SIGNIN, NULL, NULL), 405, "method_not_allowed");
}

Test(http_signin, one_address_may_not_be_guessed_at_for_long) {
  cr_assert_eq(add_accounts("anna@example.org\tsecret\nbert@example.org\tsecret\n"), 0);
  service_start(&service, "--signin-per-account 3 --signin-per-address 0");
  for (int i = 0; i < 3; i++) EXPECT_REFUSED(sign_in("anna@example.org", "guess"), 401, "credentials_wrong");
  /* Not even with the right one: or the limit would tell which it is. */
  EXPECT_REFUSED(sign_in("anna@example.org", "secret"), 429, "signin_rate");
  EXPECT_OK(sign_in("bert@example.org", "secret"));
}

Test(http_signin, an_address_that_no_account_has_is_limited_alike) {
  service_start(&service, "--signin-per-account 3 --signin-per-address 0");
  for (int i = 0; i < 3; i++) EXPECT_REFUSED(sign_in("nobody@example.org", "guess"), 401, "credentials_wrong");
  EXPECT_REFUSED(sign_in("nobody@example.org", "guess"), 429, "signin_rate");
}

Test(http_signin, one_network_address_may_not_try_many_accounts) {
  service_start(&service, "--signin-per-account 0 --signin-per-address 4");
  char email[64];
  for (int i = 0; i < 4; i++) {
    (void)snprintf(email, sizeof email, "user%d@example.org", i);
    EXPECT_REFUSED(sign_in(email, "guess"), 401, "credentials_wrong");
  }
  EXPECT_REFUSED(sign_in("another@example.org", "guess"), 429, "signin_rate");
}

Test(http_signin, zero_is_no_limit) {
  service_start(&service, "--signin-per-account 0 --signin-per-address 0");
  for (int i = 0; i < 70; i++) EXPECT_REFUSED(sign_in("anna@example.org", "guess"), 401, "credentials_wrong");
}

Test(http_signin, with_a_full_queue_it_is_busy) {
  /* An account with an expensive hash, so that the only worker has something to do; and the unknown take as long. */
  cr_assert_eq(service_command(&service, "accounts @ --cost 8", "anna@example.org\tsecret\n", printed, sizeof printed),
               0);
  service_start(&service, "--signin-workers 1 --signin-queue 1 --signin-per-account 0 --signin-per-address 0");
  struct client clients[16];
  int busy = 0, served = 0;
  for (int i = 0; i < 16; i++) client_open(&clients[i], &service);
  for (int i = 0; i < 16; i++) {
    cr_assert(client_say(&clients[i],
                         request("POST", SIGNIN, NULL, "{\"email\":\"anna@example.org\",\"password\":\"secret\"}")));
  }
  for (int i = 0; i < 16; i++) {
    const struct answer *answer = client_receive(&clients[i]);
    cr_assert_not_null(answer);
    if (answer->status == 200)
      served++;
    else {
      EXPECT_REFUSED(answer, 503, "signin_busy");
      busy++;
    }
    client_close(&clients[i]);
  }
  cr_expect_gt(busy, 0);
  cr_expect_gt(served, 0);
}

Test(http_signin, who_leaves_while_the_password_is_compared_harms_nobody) {
  cr_assert_eq(add_accounts("anna@example.org\tsecret\n"), 0);
  service_start(&service, "--signin-per-account 0 --signin-per-address 0");
  for (int i = 0; i < 50; i++) {
    struct client client;
    client_open(&client, &service);
    cr_assert(
        client_say(&client, request("POST", SIGNIN, NULL, "{\"email\":\"anna@example.org\",\"password\":\"secret\"}")));
    if (i % 2 == 0)
      client_close(&client);
    else
      client_reset(&client);
  }
  EXPECT_OK(sign_in("anna@example.org", "secret"));
}

Test(http_signin, an_account_that_is_added_while_it_runs_can_sign_in) {
  service_start(&service, "");
  EXPECT_REFUSED(sign_in("late@example.org", "secret"), 401, "credentials_wrong");
  cr_assert_eq(add_accounts("late@example.org\tsecret\n"), 0);
  EXPECT_OK(sign_in("late@example.org", "secret"));
}

Test(http_signin, ids_of_accounts_go_on_counting) {
  cr_assert_eq(add_accounts("a@example.org\tx1\nb@example.org\tx2\n"), 0);
  char first[32], second[32];
  (void)snprintf(first, sizeof first, "%s", id_of("a@example.org"));
  (void)snprintf(second, sizeof second, "%s", id_of("b@example.org"));
  cr_assert_eq(add_accounts("c@example.org\tx3\n"), 0);
  cr_expect_str_neq(first, second);
  cr_expect_str_neq(id_of("c@example.org"), first);
  cr_expect_str_neq(id_of("c@example.org"), second);
}

Test(http_signin, no_password_is_stored_in_clear_text) {
  char text[65536];
  cr_assert_eq(add_accounts("anna@example.org\tcorrect horse battery\n"), 0);
  cr_assert_gt(service_read(&service, "accounts", text, sizeof text), 0);
  cr_expect_not_null(strstr(text, "anna@example.org"));
  cr_expect_not_null(strstr(text, "$y$"), "not yescrypt: %s", text);
  cr_expect_null(strstr(text, "correct"), "%s", text);
  cr_expect_null(strstr(text, "battery"), "%s", text);
  cr_expect_null(strstr(printed, "battery"), "%s", printed);
}

Test(http_signin, the_same_password_is_stored_differently_for_each) {
  char text[65536];
  cr_assert_eq(add_accounts("a@example.org\tsame\nb@example.org\tsame\n"), 0);
  (void)service_read(&service, "accounts", text, sizeof text);
  const char *first = strstr(text, "$y$"), *second = first == NULL ? NULL : strstr(first + 1, "$y$");
  cr_assert_not_null(second, "%s", text);
  cr_expect_neq(strncmp(first, second, 40), 0, "%s", text);
}

Test(http_signin, an_address_that_has_an_account_is_refused_by_the_tool) {
  cr_assert_eq(add_accounts("anna@example.org\tone\n"), 0);
  cr_expect_neq(add_accounts("anna@example.org\ttwo\n"), 0);
  cr_expect_neq(add_accounts("bert@example.org\tone\nbert@example.org\ttwo\n"), 0);
  service_start(&service, "");
  EXPECT_OK(sign_in("anna@example.org", "one"));
  EXPECT_REFUSED(sign_in("anna@example.org", "two"), 401, "credentials_wrong");
}

Test(http_signin, lines_that_are_no_account_are_refused_by_the_tool) {
  static const char *const lines[] = {"anna@example.org\n", "anna@example.org\t\n", "\tsecret\n",
                                      "anna@example.org\tsecret\tROOT\n", "anna@example.org\tsecret\tUSER\tmore\n"};
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) cr_expect_neq(add_accounts(lines[i]), 0, "%s", lines[i]);
  service_start(&service, "");
}

/* --- the accounts' file -------------------------------------------------------------------------- */

Test(http_signin, an_account_whose_line_a_crash_cut_off_is_dropped_and_the_others_stay) {
  static char text[65536];
  cr_assert_eq(add_accounts("anna@example.org\tone\nbert@example.org\ttwo\n"), 0);
  size_t length = service_read(&service, "accounts", text, sizeof text);
  service_write(&service, "accounts", text, length - 5, 0600);
  service_start(&service, "");
  EXPECT_OK(sign_in("anna@example.org", "one"));
  EXPECT_REFUSED(sign_in("bert@example.org", "two"), 401, "credentials_wrong");
  /* And what is added then does not grow together with the rest of it. */
  cr_assert_eq(add_accounts("carl@example.org\tthree\n"), 0, "%s", service_errors(&service));
  EXPECT_OK(sign_in("carl@example.org", "three"));
  cr_assert_eq(service_stop(&service), 0);
  service_start(&service, "");
  EXPECT_OK(sign_in("anna@example.org", "one"));
  EXPECT_OK(sign_in("carl@example.org", "three"));
}

Test(http_signin, a_flipped_bit_in_the_accounts_is_told_and_not_served) {
  static char text[65536];
  cr_assert_eq(add_accounts("anna@example.org\tone\nbert@example.org\ttwo\n"), 0);
  size_t length = service_read(&service, "accounts", text, sizeof text), first = strcspn(text, "\n");
  for (size_t at = 1; at < first; at += 11) {
    text[at] = (char)(text[at] ^ 1);
    service_write(&service, "accounts", text, length, 0600);
    int status = service_refuse(&service, "");
    cr_expect(status > 0 && status < 128, "byte %zu: status %d", at, status);
    cr_expect_not_null(strstr(service_errors(&service), "accounts"), "%s", service_errors(&service));
    text[at] = (char)(text[at] ^ 1);
  }
  service_write(&service, "accounts", text, length, 0600);
  service_start(&service, "");
  EXPECT_OK(sign_in("anna@example.org", "one"));
}
