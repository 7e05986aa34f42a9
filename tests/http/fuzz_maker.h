/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the makers of requests share (fuzz_case.c, fuzz_spoilt.c): chance, and the parts that requests are put together
 * from. Each maker adds one request to the case, and says in maker->request what may be answered.
 */
#ifndef TESTS_HTTP_FUZZ_MAKER_H
#define TESTS_HTTP_FUZZ_MAKER_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "http/client.h"
#include "http/fuzz_case.h"
#include "http/token.h"

/* --- chance -------------------------------------------------------------------------------------- */

struct maker {
  struct fuzz_case *made;
  struct fuzz_request *request; /* the one being made */
  const struct service *service;
  uint64_t state;
};

/* SplitMix64: every seed and index give a stream of their own. */
static inline uint64_t next(struct maker *maker) {
  uint64_t z = maker->state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static inline size_t below(struct maker *maker, size_t limit) { return (size_t)(next(maker) % limit); }
static inline bool chance(struct maker *maker, size_t percent) { return below(maker, 100) < percent; }
#define PICK(maker, array) (array)[below(maker, sizeof(array) / sizeof(array)[0])]

/* --- parts --------------------------------------------------------------------------------------- */

static inline void put_bytes(struct maker *maker, const void *bytes, size_t length) {
  struct fuzz_case *made = maker->made;
  SERVICE_CHECK(made->length + length <= FUZZ_BYTES);
  memcpy(made->bytes + made->length, bytes, length);
  made->length += length;
}

static inline void __attribute__((format(printf, 2, 3))) put(struct maker *maker, const char *format, ...) {
  static char text[FUZZ_BYTES];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  SERVICE_CHECK(length >= 0 && (size_t)length < sizeof text);
  put_bytes(maker, text, (size_t)length);
}

static inline void put_many(struct maker *maker, char c, size_t count) {
  while (count-- > 0) put_bytes(maker, &c, 1);
}

/* Valid for centuries: the stream must not depend on the time. */
static inline const char *token(struct maker *maker, uint64_t user, const char *role) {
  char claims[128];
  (void)snprintf(claims, sizeof claims, "{\"sub\":\"%" PRIu64 "\",\"role\":\"%s\",\"iat\":1,\"exp\":9999999999}", user,
                 role);
  return token_claiming(maker->service, claims);
}

static inline uint64_t victim(struct maker *maker) { return VICTIM_FIRST + below(maker, VICTIM_USERS); }
static inline const char *victims_token(struct maker *maker) { return token(maker, victim(maker), "USER"); }

/* What the request is told, up to a zero. */
#define EXPECT(maker, ...)                                           \
  do {                                                               \
    const int statuses_[FUZZ_STATUSES] = {__VA_ARGS__};              \
    memcpy((maker)->request->statuses, statuses_, sizeof statuses_); \
  } while (0)

/* The request line, and headers that matter to nobody. */
static inline void put_head(struct maker *maker, const char *method, const char *path) {
  static const char *const lines[] = {
      "User-Agent: fuzz\r\n", "X-Request-Id: abc.1\r\n", "Accept: */*\r\n",           "X-Empty:\r\n",
      "Cookie: a=b; c=d\r\n", "X-Request-Id: \xff\r\n",  "Connection: keep-alive\r\n"};
  put(maker, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n", method, path);
  while (chance(maker, 30)) put(maker, "%s", PICK(maker, lines));
}

static inline void put_body(struct maker *maker, const char *body, size_t length) {
  put(maker, "Content-Length: %zu\r\n\r\n", length);
  put_bytes(maker, body, length);
}

/* In chunks of any size, which are so written in several ways. */
static inline void put_chunks(struct maker *maker, const char *body, size_t length) {
  put(maker, "Transfer-Encoding: chunked\r\n\r\n");
  while (length > 0) {
    size_t part = 1 + below(maker, length);
    put(maker, chance(maker, 50) ? "%zx" : "0%zX", part);
    put(maker, chance(maker, 80) ? "\r\n" : ";a=b\r\n");
    put_bytes(maker, body, part);
    put(maker, "\r\n");
    body += part;
    length -= part;
  }
  put(maker, "0\r\n\r\n");
}

static inline void put_any_body(struct maker *maker, const char *body, size_t length) {
  if (chance(maker, 25))
    put_chunks(maker, body, length);
  else
    put_body(maker, body, length);
}

static inline void put_authorization(struct maker *maker, const char *value) {
  put(maker, "Authorization: %s\r\n", value);
}

/* --- fuzz_spoilt.c ------------------------------------------------------------------------------- */

/* None of these may succeed. After the first the connection goes on; the next end it, and are answered; of the last it
 * is not known how many requests, or whether any, they are. */
void fuzz_make_bad_path(struct maker *maker);
void fuzz_make_bad_method(struct maker *maker);
void fuzz_make_bad_token(struct maker *maker);
void fuzz_make_bad_body(struct maker *maker);
void fuzz_make_odd_json(struct maker *maker);
void fuzz_make_admin(struct maker *maker);
void fuzz_make_signin(struct maker *maker);
void fuzz_make_large_body(struct maker *maker);
void fuzz_make_expectation(struct maker *maker);
void fuzz_make_slow(struct maker *maker);
void fuzz_make_large(struct maker *maker);
void fuzz_make_bad_framing(struct maker *maker);
void fuzz_make_truncated(struct maker *maker);
void fuzz_make_noise(struct maker *maker);
void fuzz_make_nonsense(struct maker *maker);

#endif
