/* SPDX-License-Identifier: Apache-2.0 */
/* What the Criterion suites of the service say about answers, and the service that each of their tests has. */
#ifndef TESTS_HTTP_EXPECT_H
#define TESTS_HTTP_EXPECT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/client.h"
#include "http/token.h"

/* So that a test that hangs is named; none takes a tenth of it. */
#define HANGS_AFTER_S 100

static struct service service;

/* Cheap and quick, for tests that set no limit of their own. */
static inline void begin(void) {
  service_init(&service);
  service_start(&service, "");
}

/* For tests that choose their options. */
static inline void prepare(void) { service_init(&service); }

static inline void end(void) {
  const char *wrong = service_fini(&service);
  cr_expect(wrong == NULL, "%s", wrong);
}

static inline const char *user(uint64_t id) { return token_for(&service, id, "USER"); }
static inline const char *admin(void) { return token_for(&service, 1, "ADMIN"); }

#define EXPECT_OK(given)                                                             \
  do {                                                                               \
    const struct answer *given_ = (given);                                           \
    const char *wrong_ = not_ok(given_);                                             \
    cr_expect(wrong_ == NULL, "%s: %s", wrong_, given_ == NULL ? "" : given_->body); \
  } while (0)

#define EXPECT_REFUSED(given, status, reason)                                             \
  do {                                                                                    \
    const struct answer *given_ = (given);                                                \
    const char *wrong_ = not_refused(given_, status, reason);                             \
    cr_expect(wrong_ == NULL, "expected %d %s, %s: %s%s", status, reason, wrong_,         \
              given_ == NULL ? "" : given_->headers, given_ == NULL ? "" : given_->body); \
  } while (0)

#define EXPECT_HAS(given, path, value)                                                  \
  do {                                                                                  \
    const struct answer *given_ = (given);                                              \
    cr_expect(has(given_, path, value), "%s is not %s: %s", path, value, given_->body); \
  } while (0)

#define EXPECT_LACKS(given, path)                                                                           \
  do {                                                                                                      \
    const struct answer *given_ = (given);                                                                  \
    char value_[256];                                                                                       \
    cr_expect(!json_get(given_->body, path, value_, sizeof value_), "%s is there: %s", path, given_->body); \
  } while (0)

#endif
