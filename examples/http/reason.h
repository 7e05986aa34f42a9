/* SPDX-License-Identifier: Apache-2.0 */
/* Everything the service can say: a status, a word for programs, a sentence for people. docs/HTTP.md lists them. */
#ifndef EXAMPLE_REASON_H
#define EXAMPLE_REASON_H

#include <coupon/coupon.h>

enum reason {
  REASON_OK = 0,
  REASON_ISSUED,
  REASON_TOKEN_MISSING,
  REASON_TOKEN_MALFORMED,
  REASON_TOKEN_ALGORITHM,
  REASON_TOKEN_SIGNATURE,
  REASON_TOKEN_EXPIRED,
  REASON_TOKEN_CLAIMS,
  REASON_CREDENTIALS_WRONG,
  REASON_ADMIN_REQUIRED,
  REASON_BODY_MISSING,
  REASON_BODY_MALFORMED,
  REASON_COUPON_ID_MISSING,
  REASON_COUPON_ID_INVALID,
  REASON_FIELD_MISSING,
  REASON_FIELD_INVALID,
  REASON_REQUEST_MALFORMED,
  REASON_PATH_UNKNOWN,
  REASON_METHOD_NOT_ALLOWED,
  REASON_REQUEST_TIMEOUT,
  REASON_BODY_TOO_LARGE,
  REASON_EXPECTATION_FAILED,
  REASON_HEADERS_TOO_LARGE,
  REASON_ALREADY_ISSUED,
  REASON_SOLD_OUT,
  REASON_NOT_OPEN,
  REASON_ENDED,
  REASON_COUPON_UNKNOWN,
  REASON_COUPON_EXISTS,
  REASON_SIGNIN_RATE,
  REASON_SIGNIN_BUSY,
  REASON_BUSY,
  REASON_TOO_MANY_WAITING,
  REASON_TOO_MANY_CONNECTIONS,
  REASON_TOO_MANY_COUPONS,
  REASON_OUTCOME_UNKNOWN,
  REASON_OUT_OF_MEMORY,
  REASON_ENGINE_FAILED,
  REASON_LOG_FULL,
  REASON_STORE_FAILED,
  REASON_DRAINING,
  REASON_COUNT
};

struct reason_words {
  int status;
  const char *status_word; /* "CONFLICT" */
  const char *phrase;      /* of the status line: "Conflict" */
  const char *word;        /* "already_issued" */
  const char *message;
  unsigned retry_after; /* seconds; 0: no such header */
};

const struct reason_words *reason_words(enum reason reason);

/* Why the engine did not do what it was asked: of its faults, and of what is not final. */
enum reason reason_of_status(coupon_status status);

#endif
