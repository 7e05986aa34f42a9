/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line: options (`--name value` or `--name=value`, anywhere before `--`), then what is left.
 * Numbers are exact: decimal digits only, no sign, nothing behind them, over the full range of uint64_t.
 */
#ifndef TOOLS_ARGS_H
#define TOOLS_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum args_kind {
  ARGS_FLAG,       /* bool: no value */
  ARGS_U64,        /* uint64_t */
  ARGS_TIME,       /* uint64_t, UTC nanoseconds since 1970, see args_time() */
  ARGS_TEXT,       /* const char * */
  ARGS_LIMIT,      /* uint64_t: 1, or 0 for "none" */
  ARGS_USERS,      /* int32_t: COUPON_USER_U64 or COUPON_USER_UUID */
  ARGS_DURABILITY, /* int: COUPON_SYNC, COUPON_WRITTEN or COUPON_NONE */
  ARGS_DESCRIPTOR  /* int: an open file descriptor's number */
};

/* One option: its name without dashes, and where its value goes. `given` may be NULL. */
struct args_option {
  const char *name;
  enum args_kind kind;
  void *value;
  bool *given;
};

struct args {
  const char *command; /* for messages: "coupon create" */
  int count;           /* of arguments that are no options */
  char **values;
};

/*
 * Parses `argv` (its first element is the command's name), sorting the arguments that are no options
 * to its front. `options` ends with an element whose name is NULL. There must be from `least` to `most`
 * arguments. False: a message says what is wrong, and the caller answers with EXIT_USAGE.
 */
bool args_parse(struct args *args, const char *command, int argc, char **argv, const struct args_option *options,
                int least, int most);

/* Argument `index` as a number; `what` it is is for the message. */
bool args_number(const struct args *args, int index, const char *what, uint64_t *value);

/* Complains about the command line; false, for the caller to return. */
__attribute__((format(printf, 2, 3))) bool args_wrong(const struct args *args, const char *why, ...);

/* The whole text as a decimal number. */
bool args_u64(const char *text, uint64_t *value);

/* UTC nanoseconds since 1970 as digits; or RFC 3339 (2026-01-02T03:04:05.25+01:00); or from `now_ns` on, +90s, +5m,
 * +2h or +1d. */
bool args_time(const char *text, uint64_t now_ns, uint64_t *value);

#endif
