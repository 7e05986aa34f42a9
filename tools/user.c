/* SPDX-License-Identifier: Apache-2.0 */
#include "user.h"

#include "args.h"

#include <inttypes.h>
#include <string.h>

coupon_status user_kind_of(coupon_engine *engine, uint64_t campaign, int32_t *kind) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  coupon_status status = coupon_info(engine, campaign, &info);
  *kind = status == COUPON_OK ? info.user_kind : USER_EITHER;
  return status == COUPON_NO_CAMPAIGN ? COUPON_OK : status;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The value of a hexadecimal digit; 16 for what is none. */
static unsigned hex_digit(char c) {
  if (c >= '0' && c <= '9') return (unsigned)(c - '0');
  if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a') + 10;
  if (c >= 'A' && c <= 'F') return (unsigned)(c - 'A') + 10;
  return 16;
}

static bool read_uuid(const char *text, unsigned char uuid[COUPON_UUID_SIZE]) {
  bool dashes = strchr(text, '-') != NULL; /* then all four of them */
  for (int i = 0; i < COUPON_UUID_SIZE; i++) {
    if (dashes && (i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-') return false;
    unsigned high = hex_digit(text[0]);
    unsigned low = high == 16 ? 16 : hex_digit(text[1]); /* nothing is read behind the final zero */
    if (low == 16) return false;
    uuid[i] = (unsigned char)(high << 4 | low);
    text += 2;
  }
  return *text == 0;
}

bool user_read(const char *text, int32_t kind, struct user *user) {
  *user = (struct user){.kind = COUPON_USER_U64};
  if (kind != COUPON_USER_UUID && args_u64(text, &user->number)) return true;
  user->kind = COUPON_USER_UUID;
  return kind != COUPON_USER_U64 && read_uuid(text, user->uuid);
}

struct user user_of_ticket(const struct coupon_ticket *ticket, int32_t kind) {
  struct user user = {.kind = kind, .number = ticket->user};
  memcpy(user.uuid, ticket->uuid, sizeof user.uuid);
  return user;
}

/* --- telling ---------------------------------------------------------------------------------- */

#define NUMBER_LOOKS "a number from 0 to 18446744073709551615, in decimal digits"
#define UUID_LOOKS "a UUID, like 123e4567-e89b-12d3-a456-426614174000"

const char *user_looks(int32_t kind) {
  if (kind == COUPON_USER_U64) return NUMBER_LOOKS;
  return kind == COUPON_USER_UUID ? UUID_LOOKS : NUMBER_LOOKS ", or " UUID_LOOKS;
}

const char *user_word(int32_t kind) { return kind == COUPON_USER_UUID ? "uuid" : "number"; }

const char *user_text(const struct user *user, char buffer[OUTPUT_UUID_MAX]) {
  if (user->kind == COUPON_USER_UUID) return output_uuid(user->uuid, buffer);
  snprintf(buffer, OUTPUT_UUID_MAX, "%" PRIu64, user->number);
  return buffer;
}

void json_user(struct json *json, const char *key, const struct user *user) {
  char text[OUTPUT_UUID_MAX];
  if (user->kind == COUPON_USER_UUID)
    json_text(json, key, output_uuid(user->uuid, text));
  else
    json_u64(json, key, user->number);
}

/* --- the library's calls ---------------------------------------------------------------------- */

coupon_status user_try_issue(coupon_engine *engine, uint64_t campaign, const struct user *user,
                             struct coupon_ticket *ticket) {
  return user->kind == COUPON_USER_UUID ? coupon_try_issue_uuid(engine, campaign, user->uuid, ticket)
                                        : coupon_try_issue(engine, campaign, user->number, ticket);
}

coupon_status user_issue(coupon_engine *engine, uint64_t campaign, const struct user *user, int64_t deadline,
                         struct coupon_ticket *ticket) {
  return user->kind == COUPON_USER_UUID ? coupon_issue_uuid(engine, campaign, user->uuid, deadline, ticket)
                                        : coupon_issue(engine, campaign, user->number, deadline, ticket);
}

coupon_status user_lookup(coupon_engine *engine, uint64_t campaign, const struct user *user,
                          struct coupon_ticket *ticket, uint64_t *count) {
  return user->kind == COUPON_USER_UUID ? coupon_read_lookup_uuid(engine, campaign, user->uuid, ticket, count)
                                        : coupon_read_lookup(engine, campaign, user->number, ticket, count);
}
