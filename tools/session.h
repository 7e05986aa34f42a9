/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One engine for the time of one command, and the library's faults in words: what went wrong, and what
 * to do about it.
 */
#ifndef TOOLS_SESSION_H
#define TOOLS_SESSION_H

#include <coupon/coupon.h>
#include <stdbool.h>

struct session {
  coupon_engine *engine;
  struct coupon_report report; /* of the opening */
};

/* Opens `directory` as `options` say. CODE_DONE, or the exit code after a message. */
int session_open(struct session *session, const char *directory, const struct coupon_options *options);

/* The same where the directory has to exist and be one of the library's: opening for writing would make it, or begin a
 * log in an empty one, which nobody wants from a mistyped path. */
int session_open_existing(struct session *session, const char *directory, const struct coupon_options *options);

/* The same, to look at what is final now. */
int session_open_to_read(struct session *session, const char *directory);

/* Closes and frees. Returns `code`, or, after a message, that of a fault which the close reports. */
int session_close(struct session *session, int code);

/* Prints that `doing` ("issuing to user 7") failed with a fault, and returns the exit code that suits it. */
int session_fault(struct session *session, const char *doing, coupon_status fault);

/* A status as one word for tables and JSON: "sold_out" for COUPON_SOLD_OUT, "e_busy" for COUPON_E_BUSY. */
enum { SESSION_WORD_MAX = 32 };
const char *session_word(coupon_status status, char word[SESSION_WORD_MAX]);

/* "scheduled", "open", "sold_out", "closed". */
const char *session_state_word(int32_t state);

/* Where a campaign's tickets are: "memory", "released", "dropped". */
const char *session_place_word(int32_t place);

#endif
