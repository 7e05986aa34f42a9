/* SPDX-License-Identifier: Apache-2.0 */
#include "reason.h"

#define OK_200 200, "OK", "OK"
#define BAD_400 400, "BAD_REQUEST", "Bad Request"
#define UNAUTHORIZED_401 401, "UNAUTHORIZED", "Unauthorized"
#define NOT_FOUND_404 404, "NOT_FOUND", "Not Found"
#define CONFLICT_409 409, "CONFLICT", "Conflict"
#define UNAVAILABLE_503 503, "SERVICE_UNAVAILABLE", "Service Unavailable"

/* One line for each, as a table to be read. */
/* clang-format off */
static const struct reason_words table[REASON_COUNT] = {
    [REASON_OK] = {OK_200, "ok", "Done.", 0},
    [REASON_ISSUED] = {OK_200, "issued", "The coupon is yours.", 0},
    [REASON_TOKEN_MISSING] = {BAD_400, "token_missing", "Sign in first: the Authorization header is missing.", 0},
    [REASON_TOKEN_MALFORMED] = {UNAUTHORIZED_401, "token_malformed", "This is not a token. Sign in again.", 0},
    [REASON_TOKEN_ALGORITHM] = {UNAUTHORIZED_401, "token_algorithm", "Tokens are signed with HS256 here. Sign in again.", 0},
    [REASON_TOKEN_SIGNATURE] = {UNAUTHORIZED_401, "token_signature", "The token was not signed here. Sign in again.", 0},
    [REASON_TOKEN_EXPIRED] = {UNAUTHORIZED_401, "token_expired", "The token has expired. Sign in again.", 0},
    [REASON_TOKEN_CLAIMS] = {UNAUTHORIZED_401, "token_claims", "The token lacks what it has to say. Sign in again.", 0},
    [REASON_CREDENTIALS_WRONG] = {UNAUTHORIZED_401, "credentials_wrong", "The e-mail address or the password is wrong.", 0},
    [REASON_ADMIN_REQUIRED] = {403, "FORBIDDEN", "Forbidden", "admin_required", "Only an administrator may do this.", 0},
    [REASON_BODY_MISSING] = {BAD_400, "body_missing", "The request has no body.", 0},
    [REASON_BODY_MALFORMED] = {BAD_400, "body_malformed", "The body is not a JSON object, or gives a member twice.", 0},
    [REASON_COUPON_ID_MISSING] = {BAD_400, "coupon_id_missing", "couponId is missing.", 0},
    [REASON_COUPON_ID_INVALID] = {BAD_400, "coupon_id_invalid", "couponId has to be an integer from 0 to 2^64 - 1.", 0},
    [REASON_FIELD_MISSING] = {BAD_400, "field_missing", "A member is missing", 0},
    [REASON_FIELD_INVALID] = {BAD_400, "field_invalid", "A member is not valid", 0},
    [REASON_REQUEST_MALFORMED] = {BAD_400, "request_malformed", "The request is not valid HTTP.", 0},
    [REASON_PATH_UNKNOWN] = {NOT_FOUND_404, "path_unknown", "There is nothing here.", 0},
    [REASON_METHOD_NOT_ALLOWED] = {405, "METHOD_NOT_ALLOWED", "Method Not Allowed", "method_not_allowed", "This path does not have that method.", 0},
    [REASON_REQUEST_TIMEOUT] = {408, "REQUEST_TIMEOUT", "Request Timeout", "request_timeout", "The request took too long to arrive.", 0},
    [REASON_BODY_TOO_LARGE] = {413, "CONTENT_TOO_LARGE", "Content Too Large", "body_too_large", "The body is too large.", 0},
    [REASON_EXPECTATION_FAILED] = {417, "EXPECTATION_FAILED", "Expectation Failed", "expectation_failed", "Only 100-continue can be expected.", 0},
    [REASON_HEADERS_TOO_LARGE] = {431, "REQUEST_HEADER_FIELDS_TOO_LARGE", "Request Header Fields Too Large", "headers_too_large", "The headers are too large.", 0},
    [REASON_ALREADY_ISSUED] = {CONFLICT_409, "already_issued", "You have this coupon already.", 0},
    [REASON_SOLD_OUT] = {BAD_400, "sold_out", "All of these coupons have been given away.", 0},
    [REASON_NOT_OPEN] = {CONFLICT_409, "not_open", "This coupon is not given away yet.", 0},
    [REASON_ENDED] = {CONFLICT_409, "ended", "This coupon is not given away any more.", 0},
    [REASON_COUPON_UNKNOWN] = {NOT_FOUND_404, "coupon_unknown", "There is no such coupon.", 0},
    [REASON_COUPON_EXISTS] = {CONFLICT_409, "coupon_exists", "Another coupon has this id.", 0},
    [REASON_SIGNIN_RATE] = {429, "TOO_MANY_REQUESTS", "Too Many Requests", "signin_rate", "Too many attempts to sign in. Wait a little.", 0},
    [REASON_SIGNIN_BUSY] = {UNAVAILABLE_503, "signin_busy", "Too many are signing in. Ask again.", 1},
    [REASON_BUSY] = {UNAVAILABLE_503, "busy", "Too many at once. Ask again.", 1},
    [REASON_TOO_MANY_WAITING] = {UNAVAILABLE_503, "too_many_waiting", "Too many are waiting. Ask again.", 1},
    [REASON_TOO_MANY_CONNECTIONS] = {UNAVAILABLE_503, "too_many_connections", "Too many connections. Try again.", 1},
    [REASON_TOO_MANY_COUPONS] = {UNAVAILABLE_503, "too_many_coupons", "The catalogue is full.", 0},
    [REASON_OUTCOME_UNKNOWN] = {UNAVAILABLE_503, "outcome_unknown", "It could not be made certain in time. Ask again to find out.", 1},
    [REASON_OUT_OF_MEMORY] = {UNAVAILABLE_503, "out_of_memory", "Memory is used up. Try again.", 1},
    [REASON_ENGINE_FAILED] = {UNAVAILABLE_503, "engine_failed", "The service has stopped at a fault of its storage.", 0},
    [REASON_LOG_FULL] = {UNAVAILABLE_503, "log_full", "The log is full.", 0},
    [REASON_STORE_FAILED] = {UNAVAILABLE_503, "store_failed", "The catalogue could not be written.", 0},
    [REASON_DRAINING] = {UNAVAILABLE_503, "draining", "The service is about to stop.", 0},
};
/* clang-format on */

const struct reason_words *reason_words(enum reason reason) { return &table[reason]; }

enum reason reason_of_status(coupon_status status) {
  switch (status) {
    case COUPON_NOT_FINAL:
      return REASON_OUTCOME_UNKNOWN;
    case COUPON_E_EXISTS:
      return REASON_COUPON_EXISTS;
    case COUPON_E_USER_KIND: /* a campaign that is not offered here, see struct coupon */
      return REASON_COUPON_UNKNOWN;
    case COUPON_E_RELEASED: /* by another program, and only what has ended can be */
      return REASON_ENDED;
    case COUPON_E_BUSY:
      return REASON_BUSY;
    case COUPON_E_NOMEM:
      return REASON_OUT_OF_MEMORY;
    case COUPON_E_LOG_FULL:
      return REASON_LOG_FULL;
    case COUPON_E_CLOSED:
      return REASON_DRAINING;
    default:
      return REASON_ENGINE_FAILED;
  }
}
