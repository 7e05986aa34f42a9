/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A user as people write one: a number, or a UUID. Which of the two a text means is the campaign's to say: 32 digits
 * may be either.
 */
#ifndef TOOLS_USER_H
#define TOOLS_USER_H

#include "output.h"

#include <coupon/coupon.h>

struct user {
  int32_t kind; /* COUPON_USER_U64 or COUPON_USER_UUID: which of the others counts */
  uint64_t number;
  unsigned char uuid[COUPON_UUID_SIZE];
};

/* For a campaign that does not exist: a number, and what is none may be a UUID. */
enum { USER_EITHER = -1 };

/* What identifies the users of a campaign; USER_EITHER where there is no such campaign. COUPON_OK, or a fault. */
coupon_status user_kind_of(coupon_engine *engine, uint64_t campaign, int32_t *kind);

/* The whole text as a user of that kind; a UUID as 8-4-4-4-12 hexadecimal digits, or as 32, in capitals or not. */
bool user_read(const char *text, int32_t kind, struct user *user);

/* What users of a kind look like, for messages: "a number from 0 …"; and the kind as one word: "number", "uuid". */
const char *user_looks(int32_t kind);
const char *user_word(int32_t kind);

/* The user whom a ticket is for, as a call that knows the campaign's kind filled it. */
struct user user_of_ticket(const struct coupon_ticket *ticket, int32_t kind);

const char *user_text(const struct user *user, char buffer[OUTPUT_UUID_MAX]);
void json_user(struct json *json, const char *key, const struct user *user);

/* The library's calls, in the form that suits the user. */
coupon_status user_try_issue(coupon_engine *engine, uint64_t campaign, const struct user *user,
                             struct coupon_ticket *ticket);
coupon_status user_issue(coupon_engine *engine, uint64_t campaign, const struct user *user, int64_t deadline,
                         struct coupon_ticket *ticket);
coupon_status user_lookup(coupon_engine *engine, uint64_t campaign, const struct user *user,
                          struct coupon_ticket *ticket, uint64_t *count);

#endif
