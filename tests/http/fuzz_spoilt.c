/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the fuzzer that must not succeed. */
#include <yajl/yajl_tree.h>

#include "http/fuzz_maker.h"

/* --- what must not, and leaves the connection as it is -------------------------------------------- */

void fuzz_make_bad_path(struct maker *maker) {
  static const char *const paths[] = {"/",
                                      "/api/v1",
                                      "/api/v1/user-coupons",
                                      "/api/v1/user_coupon",
                                      "/API/V1/user-coupon",
                                      "/api/v2/user-coupon",
                                      "/user-coupon",
                                      "/api/v1/user-coupon/1",
                                      "/metric",
                                      "/api/v1/user-coupon%00",
                                      "/api/v1/user-coupon;a",
                                      "/..",
                                      "/%2e%2e/etc/passwd",
                                      "/%",
                                      "/%zz",
                                      "/\xff\xfe",
                                      "/a?b"};
  static const char *const methods[] = {"POST", "GET", "PUT"};
  EXPECT(maker, 404);
  put_head(maker, PICK(maker, methods), PICK(maker, paths));
  put_authorization(maker, victims_token(maker));
  put_any_body(maker, "{\"couponId\":1}", 14);
}

void fuzz_make_bad_method(struct maker *maker) {
  static const char *const methods[] = {"PUT",      "DELETE", "PATCH",   "OPTIONS", "post",
                                        "POSTPOST", "P",      "GETPOST", "BREW"};
  EXPECT(maker, 405);
  put_head(maker, PICK(maker, methods), ISSUE);
  put_authorization(maker, victims_token(maker));
  put_any_body(maker, "{\"couponId\":1}", 14);
}

/* A letter inside a part of the token becomes another, or is left out, or doubled. Not the last of a part, of which
 * some bits mean nothing. */
static void spoil_token(struct maker *maker, char *text) {
  static const char letters[] = "ABCabc012_-+/=!~ .\xe4\x7e";
  char good[TOKEN_MAX];
  (void)snprintf(good, sizeof good, "%s", text);
  size_t length = strlen(text), scheme = strlen("Bearer ");
  for (int i = 0; i < 100 && strcmp(text, good) == 0; i++) {
    size_t at = scheme + below(maker, length - scheme - 1);
    if (text[at] == '.' || text[at + 1] == '.') continue;
    switch (below(maker, 4)) {
      case 0:
        memmove(text + at, text + at + 1, length - at);
        break;
      case 1:
        memmove(text + at + 1, text + at, length - at + 1);
        break;
      case 2:
        text[at] = text[at] == 'A' ? 'B' : 'A';
        break;
      default:
        text[at] = letters[below(maker, sizeof letters - 1)];
        break;
    }
    length = strlen(text);
  }
}

void fuzz_make_bad_token(struct maker *maker) {
  static const char *const claims[] = {"{\"sub\":\"1000000\",\"role\":\"USER\",\"exp\":1}",
                                       "{\"sub\":\"1000000\",\"role\":\"USER\"}",
                                       "{\"sub\":\"01000000\",\"role\":\"USER\",\"exp\":9999999999}",
                                       "{\"sub\":\"18446744073709551616\",\"role\":\"USER\",\"exp\":9999999999}",
                                       "{\"sub\":1000000,\"role\":\"USER\",\"exp\":9999999999}",
                                       "{\"sub\":\"1000000\",\"role\":\"ROOT\",\"exp\":9999999999}",
                                       "{\"sub\":\"1000000\",\"role\":\"USER\",\"exp\":\"9999999999\"}",
                                       "[]",
                                       "{",
                                       ""};
  static const char *const values[] = {"Bearer",       "Bearer ", "Bearer ..", "Basic eDp4",
                                       "Bearer a.b.c", "x",       "\xff\xfe",  "Bearer \t."};
  char text[TOKEN_MAX];
  EXPECT(maker, 401);
  put_head(maker, "POST", ISSUE);
  (void)snprintf(text, sizeof text, "%s", victims_token(maker));
  switch (below(maker, 5)) {
    case 0:
      (void)snprintf(text, sizeof text, "%s", token_claiming(maker->service, PICK(maker, claims)));
      break;
    case 1:
      (void)snprintf(text, sizeof text, "%s", PICK(maker, values));
      break;
    case 2:
      (void)snprintf(text, sizeof text, "%s",
                     token_forge("{\"alg\":\"none\"}", "{\"sub\":\"1000000\",\"role\":\"ADMIN\",\"exp\":9999999999}",
                                 maker->service->secret, chance(maker, 50) ? 256 : 0));
      break;
    default:
      spoil_token(maker, text);
      break;
  }
  if (chance(maker, 5))
    EXPECT(maker, 400); /* none at all: token_missing */
  else
    put_authorization(maker, text);
  put_any_body(maker, "{\"couponId\":1}", 14);
}

/* Whether a body asks for a coupon after all, however it got there. */
static bool asks(const char *body, size_t length) {
  char text[600], error[128];
  if (length >= sizeof text || memchr(body, 0, length) != NULL || !json_valid(body, length)) return false;
  memcpy(text, body, length);
  text[length] = 0;
  yajl_val root = yajl_tree_parse(text, error, sizeof error);
  bool found = false;
  for (size_t i = 0; YAJL_IS_OBJECT(root) && i < root->u.object.len; i++)
    found = found || strcmp(root->u.object.keys[i], "couponId") == 0;
  yajl_tree_free(root);
  return found;
}

static size_t spoil_bytes(struct maker *maker, char *bytes, size_t length, size_t capacity) {
  static const char inserted[] = "\r\n\0\"{}[]:,\\ue9-+.0123456789\xff\xc0\x80";
  for (size_t times = 1 + below(maker, 3); times > 0 && length > 1 && length + 8 < capacity; times--) {
    size_t at = below(maker, length), some = 1 + below(maker, 4);
    if (some > length - at) some = length - at;
    switch (below(maker, 4)) {
      case 0:
        bytes[at] = (char)(bytes[at] ^ 1 << below(maker, 8));
        break;
      case 1:
        memmove(bytes + at, bytes + at + some, length - at - some), length -= some;
        break;
      case 2:
        memmove(bytes + at + some, bytes + at, length - at), length += some;
        break;
      default:
        memmove(bytes + at + 1, bytes + at, length - at);
        bytes[at] = inserted[below(maker, sizeof inserted - 1)];
        length++;
        break;
    }
  }
  return length;
}

void fuzz_make_bad_body(struct maker *maker) {
  static const char *const bodies[] = {"{\"couponId\":-1}",
                                       "{\"couponId\":1.0}",
                                       "{\"couponId\":1e0}",
                                       "{\"couponId\":\"1\"}",
                                       "{\"couponId\":18446744073709551616}",
                                       "{\"couponId\":1,\"couponId\":1}",
                                       "[1]",
                                       "1",
                                       "{}",
                                       "null",
                                       "{\"couponId\":null}",
                                       "{\"couponId\":[1]}",
                                       "{\"couponid\":1}",
                                       "{\"couponId\":1}{}",
                                       "\xef\xbb\xbf{\"couponId\"",
                                       "{\"couponId\":99999999999999999999999999999999999}"};
  char body[512];
  EXPECT(maker, 400);
  put_head(maker, "POST", ISSUE);
  put_authorization(maker, victims_token(maker));
  size_t length = (size_t)snprintf(body, sizeof body, "%s", PICK(maker, bodies));
  for (int i = 0; i < 20 && chance(maker, 60); i++) {
    char spoilt[512];
    size_t spoilt_length = spoil_bytes(maker, memcpy(spoilt, "{\"couponId\":1}", 15), 14, sizeof spoilt);
    /* What still asks is another request, and none for a victim. */
    if (asks(spoilt, spoilt_length)) continue;
    length = spoilt_length;
    memcpy(body, spoilt, length);
    break;
  }
  put_any_body(maker, body, length);
}

/* Deep, long, or wide, but within the limit of its bytes. */
void fuzz_make_odd_json(struct maker *maker) {
  static char body[FUZZ_BODY_BYTES + 1];
  size_t depth = 1 + below(maker, FUZZ_BODY_BYTES / 2 - 20), used = 0;
  EXPECT(maker, 400);
  put_head(maker, "POST", ISSUE);
  put_authorization(maker, victims_token(maker));
  switch (below(maker, 4)) {
    case 0:
      memset(body, '[', used = depth);
      break;
    case 1:
      memset(body, '[', depth);
      memset(body + depth, ']', depth);
      used = 2 * depth;
      break;
    case 2:
      while (used + 40 < depth) used += (size_t)snprintf(body + used, 40, "{\"couponId\":");
      used += (size_t)snprintf(body + used, 40, "{");
      break;
    default:
      used = (size_t)snprintf(body, 40, "{\"couponId\":-");
      memset(body + used, '9', depth);
      used += depth;
      body[used++] = '}';
      break;
  }
  put_any_body(maker, body, used);
}

void fuzz_make_admin(struct maker *maker) {
  static const char *const bodies[] = {
      "{}",
      "{\"name\":\"x\"}",
      "{\"name\":\"\",\"description\":\"\",\"discountAmount\":1,\"quantity\":1}",
      "{\"name\":\"x\",\"description\":\"\",\"discountAmount\":1,\"quantity\":-1}",
      "{\"name\":\"x\",\"description\":\"\",\"discountAmount\":1,\"quantity\":1,\"endDate\":\"2026-02-30T00:00:00\"}",
      "{\"name\":\"x\",\"description\":\"\",\"discountAmount\":{},\"quantity\":1}",
      "[",
      "{\"id\":1,\"id\":2}"};
  bool is_admin = chance(maker, 50);
  EXPECT(maker, is_admin ? 400 : 403);
  put_head(maker, "POST", COUPONS);
  put_authorization(maker, token(maker, victim(maker), is_admin ? "ADMIN" : "USER"));
  const char *body = PICK(maker, bodies);
  put_any_body(maker, body, strlen(body));
}

void fuzz_make_signin(struct maker *maker) {
  static const char *const bodies[] = {"{}", "{\"email\":\"a\"}", "{\"email\":1,\"password\":2}",
                                       "{\"email\":\"a\",\"email\":\"b\"}", "]"};
  const char *body = PICK(maker, bodies);
  EXPECT(maker, 400);
  /* Passwords are slow on purpose: few of these. */
  if (chance(maker, 10)) {
    body = "{\"email\":\"nobody@example.org\",\"password\":\"x\"}";
    EXPECT(maker, 401);
  }
  put_head(maker, "POST", SIGNIN);
  put_any_body(maker, body, strlen(body));
}

/* --- what ends the connection -------------------------------------------------------------------- */

void fuzz_make_large_body(struct maker *maker) {
  static const char *const lengths[] = {"4097", "1000000", "4294967296", "9223372036854775807"};
  EXPECT(maker, 413);
  put_head(maker, "POST", ISSUE);
  put_authorization(maker, victims_token(maker));
  put(maker, "Content-Length: %s\r\n\r\n", PICK(maker, lengths));
}

void fuzz_make_expectation(struct maker *maker) {
  EXPECT(maker, 417);
  put_head(maker, "POST", ISSUE);
  put_authorization(maker, victims_token(maker));
  put(maker, "Expect: a-miracle\r\nContent-Length: 14\r\n\r\n");
}

/* Never finished: it has to be told that it took too long. */
void fuzz_make_slow(struct maker *maker) {
  EXPECT(maker, 408);
  put_head(maker, "POST", ISSUE);
  put_authorization(maker, victims_token(maker));
  if (chance(maker, 50)) put(maker, "Content-Length: 14\r\n\r\n{\"couponId\":1");
}

/* --- of which it is not known how many requests, or whether any, it is ---------------------------- */

void fuzz_make_large(struct maker *maker) {
  put_head(maker, "POST", ISSUE);
  if (chance(maker, 50)) {
    put(maker, "X-Long: ");
    put_many(maker, 'x', FUZZ_HEADER_BYTES + below(maker, 8000));
    put(maker, "\r\n\r\n");
    return;
  }
  put_authorization(maker, victims_token(maker));
  put(maker, "Transfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 12; i++) {
    put(maker, "200\r\n");
    put_many(maker, i == 0 ? '{' : ' ', 0x200);
    put(maker, "\r\n");
  }
}

void fuzz_make_bad_framing(struct maker *maker) {
  static const char *const frames[] = {
      "Content-Length: 13\r\n\r\n{\"couponId\":1}",
      "Content-Length: 15\r\n\r\n{\"couponId\":1}",
      "Content-Length: -14\r\n\r\n{\"couponId\":1}",
      "Content-Length: \r\n\r\n{\"couponId\":1}",
      "Content-Length: 1e1\r\n\r\n{\"couponId\":1}",
      "Content-Length: 18446744073709551617\r\n\r\n{\"couponId\":1}",
      "Transfer-Encoding: chunked\r\n\r\n{\"couponId\":1}",
      "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{\"couponId\":1}\r\n0\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\n-e\r\n{\"couponId\":1}\r\n0\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\nd\r\n{\"couponId\":1}\r\n0\r\n\r\n",
      "Transfer-Encoding: chunked\r\n\r\ne\r\n{\"couponId\":1}",
      "Transfer-Encoding: chunked\r\n\r\n\r\n\r\n",
      "Content-Length: 14\r\n\r\n",
      "Connection: close\r\n\r\n{\"couponId\":1}"};
  put_head(maker, "POST", ISSUE);
  put_authorization(maker, victims_token(maker));
  put(maker, "%s", PICK(maker, frames));
}

/* Cut off before its end: it has never been asked. */
void fuzz_make_truncated(struct maker *maker) {
  size_t begin = maker->made->length;
  put_head(maker, "POST", ISSUE);
  put_authorization(maker, victims_token(maker));
  put_body(maker, "{\"couponId\":1}", 14);
  maker->made->length = begin + below(maker, maker->made->length - begin);
}

/* Its signature is that of another secret, so whatever happens to its bytes, it can never be a good one. */
void fuzz_make_noise(struct maker *maker) {
  size_t begin = maker->made->length;
  put_head(maker, "POST", ISSUE);
  put_authorization(maker,
                    token_forge("{\"alg\":\"HS256\"}", "{\"sub\":\"1000000\",\"role\":\"USER\",\"exp\":9999999999}",
                                "some other secret of some other service", 256));
  put_body(maker, "{\"couponId\":1}", 14);
  for (int i = 0; i < 3; i++)
    maker->made->length = begin + spoil_bytes(maker, maker->made->bytes + begin, maker->made->length - begin, 8000);
}

void fuzz_make_nonsense(struct maker *maker) {
  static const char *const texts[] = {
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "GET /x HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAM\r\n\r\n",
      "\x16\x03\x01\x02",
      "GET /\r\n\r\n",
      "\r\n\r\n\r\n",
      "GET / HTTP/1.1\n\n",
      "GET  /  HTTP/1.1\r\n\r\n",
      "POST " ISSUE " HTTP/1.1\r\n Host: x\r\n\r\n",
      "GET / HTTP/1.1\r\n: x\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
      "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET http://127.0.0.1:1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n"};
  if (chance(maker, 70)) {
    put(maker, "%s", PICK(maker, texts));
    return;
  }
  for (size_t left = below(maker, 400); left > 0; left--) {
    unsigned char byte = (unsigned char)next(maker);
    put_bytes(maker, &byte, 1);
  }
}
