/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the fuzzer that may succeed, and how all kinds are put together to cases. */
#include "http/fuzz_maker.h"

/* --- what may succeed ---------------------------------------------------------------------------- */

static void expect_of_coupon(struct maker *maker, uint64_t coupon) {
  struct fuzz_request *request = maker->request;
  request->coupon = coupon;
  switch (coupon) {
    case OPEN:
      EXPECT(maker, 200, 409);
      break;
    case UNLIMITED:
      EXPECT(maker, 200);
      break;
    case SOLD_OUT:
      EXPECT(maker, 400);
      request->reason = "sold_out";
      break;
    case NOT_OPEN:
      EXPECT(maker, 409);
      request->reason = "not_open";
      break;
    case ENDED:
      EXPECT(maker, 409);
      request->reason = "ended";
      break;
    default:
      EXPECT(maker, 404);
      request->reason = "coupon_unknown";
      break;
  }
  request->may_succeed = coupon == OPEN || coupon == UNLIMITED;
}

/* A good request for a coupon, in one of many ways to write it. */
static void make_issue(struct maker *maker) {
  static const char *const bodies[] = {"{\"couponId\":#}", " { \"couponId\" : # } ", "{\"x\":[{}],\"couponId\":#}",
                                       "{\"couponId\":#,\"n\":null,\"f\":1e99}\n", "{\"c\\u006fuponId\":#}"};
  static const char *const paths[] = {ISSUE, ISSUE, ISSUE, ISSUE "?", ISSUE "?a=1&b=/../%00"};
  char body[256];
  const char *form = PICK(maker, bodies);
  unsigned coupon = 1 + (unsigned)below(maker, UNKNOWN);
  size_t before = strcspn(form, "#");
  /* No limit, no asking again: so each of these tickets has to be told at once, over a connection that stays. */
  if (coupon == UNLIMITED && maker->made->end != FUZZ_ANSWERS) coupon = OPEN;
  (void)snprintf(body, sizeof body, "%.*s%u%s", (int)before, form, coupon, form + before + 1);
  maker->request->user = POOL_FIRST + below(maker, POOL_USERS);
  expect_of_coupon(maker, coupon);
  put_head(maker, "POST", PICK(maker, paths));
  put(maker, "%s: %s\r\n", chance(maker, 20) ? "aUTHORIZATION" : "Authorization",
      token(maker, maker->request->user, "USER"));
  put_any_body(maker, body, strlen(body));
}

/* Good requests for other things than a coupon. */
static void make_look(struct maker *maker) {
  static const char *const paths[] = {HEALTH, "/health", "/metrics", HEALTH "?x"};
  maker->request->may_succeed = true;
  EXPECT(maker, 200);
  if (chance(maker, 30)) {
    put_head(maker, "GET", ISSUE);
    put_authorization(maker, token(maker, POOL_FIRST + below(maker, POOL_USERS), "USER"));
    put(maker, "\r\n");
    return;
  }
  put_head(maker, "GET", PICK(maker, paths));
  put(maker, "\r\n");
}

/* A good request with something odd in its headers: it may succeed, but need not. */
static void make_odd_headers(struct maker *maker) {
  static const char *const lines[] = {"X: a\tb\r\n",
                                      "X:  \r\n",
                                      "X : y\r\n",
                                      " folded\r\n",
                                      "X: \x01\r\n",
                                      "X: \x80\xff\r\n",
                                      "X: y\n",
                                      "X\r\n",
                                      "Content-Length: 14\r\n",
                                      "Upgrade: h2c\r\nConnection: upgrade\r\n",
                                      "TE: trailers\r\n",
                                      "Connection: close, keep-alive\r\n",
                                      "Expect: 100-continue\r\n",
                                      "Host: other\r\n",
                                      "Cookie: \r\n"};
  maker->request->user = POOL_FIRST + below(maker, POOL_USERS);
  expect_of_coupon(maker, OPEN);
  EXPECT(maker, 200, 409, 400, 417);
  put_head(maker, "POST", ISSUE);
  put_authorization(maker, token(maker, maker->request->user, "USER"));
  size_t begin = maker->made->length;
  for (size_t times = 1 + below(maker, 3); times > 0; times--) put(maker, "%s", PICK(maker, lines));
  if (chance(maker, 10)) maker->made->bytes[begin + below(maker, maker->made->length - begin)] = 0;
  if (chance(maker, 10)) put(maker, "Transfer-Encoding: gzip, chunked\r\n");
  put_body(maker, "{\"couponId\":1}", 14);
}

/* --- cases --------------------------------------------------------------------------------------- */

struct kind {
  const char *name;
  void (*make)(struct maker *maker);
  size_t weight;
};

/* After these the connection goes on. */
static const struct kind kept[] = {{"issue", make_issue, 30},
                                   {"look", make_look, 8},
                                   {"bad path", fuzz_make_bad_path, 9},
                                   {"bad method", fuzz_make_bad_method, 6},
                                   {"bad token", fuzz_make_bad_token, 18},
                                   {"bad body", fuzz_make_bad_body, 18},
                                   {"odd json", fuzz_make_odd_json, 3},
                                   {"admin", fuzz_make_admin, 6},
                                   {"signin", fuzz_make_signin, 2}};
/* These end it, and are answered. */
static const struct kind closing[] = {
    {"large body", fuzz_make_large_body, 900}, {"expectation", fuzz_make_expectation, 99}, {"slow", fuzz_make_slow, 4}};
/* After these the client ends it. */
static const struct kind loose[] = {{"large", fuzz_make_large, 10},         {"bad framing", fuzz_make_bad_framing, 25},
                                    {"truncated", fuzz_make_truncated, 15}, {"noise", fuzz_make_noise, 25},
                                    {"nonsense", fuzz_make_nonsense, 10},   {"odd headers", make_odd_headers, 15}};

#define MAKE_ONE(maker, kinds) make_one(maker, kinds, sizeof(kinds) / sizeof(kinds)[0])
static void make_one(struct maker *maker, const struct kind *kinds, size_t count) {
  size_t sum = 0, at = 0;
  for (size_t i = 0; i < count; i++) sum += kinds[i].weight;
  size_t drawn = below(maker, sum);
  while (drawn >= kinds[at].weight) drawn -= kinds[at++].weight;
  maker->request = &maker->made->requests[maker->made->count++];
  *maker->request = (struct fuzz_request){.kind = kinds[at].name};
  kinds[at].make(maker);
}

void fuzz_case_make(struct fuzz_case *made, const struct service *service, uint64_t seed, uint64_t index) {
  struct maker maker = {made, NULL, service, seed * UINT64_C(0x9e3779b97f4a7c15) + index};
  (void)next(&maker);
  maker.state ^= next(&maker); /* so that neighbouring indices are not one stream, shifted */
  size_t way = below(&maker, 100);
  made->length = 0;
  made->count = made->cut_count = 0;
  made->end = way < 82 ? FUZZ_ANSWERS : way < 94 ? FUZZ_SHUTDOWN : way < 97 ? FUZZ_CLOSE : FUZZ_RESET;
  size_t before = chance(&maker, 75) ? 0 : below(&maker, FUZZ_PIPELINE);
  for (size_t i = 0; i < before; i++) MAKE_ONE(&maker, kept);
  if (made->end != FUZZ_ANSWERS)
    MAKE_ONE(&maker, loose);
  else if (chance(&maker, 3))
    MAKE_ONE(&maker, closing);
  else
    MAKE_ONE(&maker, kept);
  for (size_t cuts = chance(&maker, 20) ? below(&maker, FUZZ_CUTS + 1) : 0; cuts > 0 && made->length > 1; cuts--) {
    size_t last = made->cut_count == 0 ? 0 : made->cuts[made->cut_count - 1];
    if (last + 1 >= made->length) break;
    made->cuts[made->cut_count++] = last + 1 + below(&maker, made->length - last - 1);
  }
}
