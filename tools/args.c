/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"

#include "output.h"

#include <coupon/coupon.h>
#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SECOND UINT64_C(1000000000)

bool args_wrong(const struct args *args, const char *why, ...) {
  va_list arguments;
  va_start(arguments, why);
  fprintf(stderr, "%s: ", args->command);
  vfprintf(stderr, why, arguments);
  fprintf(stderr, "; see %s --help\n", args->command);
  va_end(arguments);
  return false;
}

/* --- values ----------------------------------------------------------------------------------- */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Reads all digits at `*text`, at least one, and moves behind them. */
static bool take_digits(const char **text, uint64_t *value) {
  uint64_t sum = 0;
  if (!is_digit(**text)) return false;
  for (; is_digit(**text); (*text)++) {
    uint64_t digit = (uint64_t)(**text - '0');
    if (sum > (UINT64_MAX - digit) / 10) return false;
    sum = sum * 10 + digit;
  }
  *value = sum;
  return true;
}

bool args_u64(const char *text, uint64_t *value) {
  uint64_t parsed;
  if (!take_digits(&text, &parsed) || *text != 0) return false;
  *value = parsed;
  return true;
}

/* Exactly `digits` digits, from `least` to `most`, and then `*text` is behind them. */
static bool take_field(const char **text, int digits, unsigned least, unsigned most, unsigned *value) {
  unsigned sum = 0;
  for (; digits > 0; digits--, (*text)++) {
    if (!is_digit(**text)) return false;
    sum = sum * 10 + (unsigned)(**text - '0');
  }
  *value = sum;
  return sum >= least && sum <= most;
}

static bool take_char(const char **text, const char *any) {
  if (**text == 0 || strchr(any, **text) == NULL) return false;
  (*text)++;
  return true;
}

static unsigned days_in_month(unsigned year, unsigned month) {
  static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap ? 1U : 0U);
}

static uint64_t days_since_1970(unsigned year, unsigned month, unsigned day) {
  uint64_t days = day - 1;
  for (unsigned m = 1; m < month; m++) days += days_in_month(year, m);
  uint64_t before = year - 1; /* leap days up to the end of the year before, less those up to 1969 */
  return days + (year - 1970) * UINT64_C(365) + (before / 4 - before / 100 + before / 400) - 477;
}

/* ".25" as nanoseconds; nothing at all is 0. Digits beyond the ninth are refused: they could not be kept. */
static bool take_fraction(const char **text, uint64_t *ns) {
  *ns = 0;
  if (**text != '.') return true;
  (*text)++;
  uint64_t unit = SECOND;
  for (; is_digit(**text); (*text)++) {
    unit /= 10;
    if (unit == 0) return false;
    *ns += (uint64_t)(**text - '0') * unit;
  }
  return unit < SECOND;
}

/* "Z", "+01:00" or "-01:00", as seconds to take away and to add. */
static bool take_zone(const char **text, uint64_t *away, uint64_t *add) {
  unsigned hours;
  unsigned minutes;
  *away = *add = 0;
  if (take_char(text, "Zz")) return true;
  bool east = **text == '+';
  if (!take_char(text, "+-") || !take_field(text, 2, 0, 23, &hours) || !take_char(text, ":") ||
      !take_field(text, 2, 0, 59, &minutes))
    return false;
  *(east ? away : add) = hours * UINT64_C(3600) + minutes * UINT64_C(60);
  return true;
}

static bool rfc3339(const char *text, uint64_t *value) {
  unsigned year, month, day, hour, minute, second;
  uint64_t ns, away, add;
  if (!take_field(&text, 4, 1970, 2554, &year) || !take_char(&text, "-") || !take_field(&text, 2, 1, 12, &month) ||
      !take_char(&text, "-") || !take_field(&text, 2, 1, days_in_month(year, month), &day) ||
      !take_char(&text, "Tt ") || !take_field(&text, 2, 0, 23, &hour) || !take_char(&text, ":") ||
      !take_field(&text, 2, 0, 59, &minute) || !take_char(&text, ":") || !take_field(&text, 2, 0, 59, &second) ||
      !take_fraction(&text, &ns) || !take_zone(&text, &away, &add) || *text != 0)
    return false;
  uint64_t seconds =
      days_since_1970(year, month, day) * 86400 + hour * UINT64_C(3600) + minute * UINT64_C(60) + second + add;
  if (seconds < away || seconds - away > (UINT64_MAX - ns) / SECOND) return false;
  *value = (seconds - away) * SECOND + ns;
  return true;
}

static bool relative(const char *text, uint64_t now_ns, uint64_t *value) {
  static const char letters[] = "smhd";
  static const uint64_t seconds[] = {1, 60, 3600, 86400};
  uint64_t amount;
  if (!take_digits(&text, &amount) || *text == 0 || strchr(letters, *text) == NULL || text[1] != 0) return false;
  uint64_t unit = seconds[strchr(letters, *text) - letters] * SECOND;
  if (amount > (UINT64_MAX - now_ns) / unit) return false;
  *value = now_ns + amount * unit;
  return true;
}

bool args_time(const char *text, uint64_t now_ns, uint64_t *value) {
  return text[0] == '+' ? relative(text + 1, now_ns, value) : args_u64(text, value) || rfc3339(text, value);
}

static bool durability(const char *text, int *value) {
  static const struct {
    const char *name;
    int value;
  } names[] = {{"sync", COUPON_SYNC}, {"written", COUPON_WRITTEN}, {"none", COUPON_NONE}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (strcmp(text, names[i].name) == 0) {
      *value = names[i].value;
      return true;
    }
  return false;
}

static bool limit(const char *text, uint64_t *value) {
  *value = strcmp(text, "none") == 0 ? 0 : 1;
  return *value == 0 || strcmp(text, "1") == 0;
}

static bool users(const char *text, int32_t *value) {
  *value = strcmp(text, "uuid") == 0 ? COUPON_USER_UUID : COUPON_USER_U64;
  return *value == COUPON_USER_UUID || strcmp(text, "number") == 0;
}

static bool descriptor(const char *text, int *value) {
  uint64_t number;
  if (!args_u64(text, &number) || number > INT_MAX) return false;
  *value = (int)number;
  return true;
}

/* --- options ---------------------------------------------------------------------------------- */

/* What a value must look like, for the message; indexed by kind. */
static const char *const looks[] = {
    [ARGS_U64] = "a number from 0 to 18446744073709551615, in decimal digits",
    [ARGS_TIME] = "nanoseconds since 1970, or like 2026-01-02T03:04:05Z, or like +30s, +5m, +1h",
    [ARGS_TEXT] = "a text",
    [ARGS_LIMIT] = "1 or none",
    [ARGS_USERS] = "number or uuid",
    [ARGS_DURABILITY] = "sync, written or none",
    [ARGS_DESCRIPTOR] = "the number of an open file descriptor",
};

static bool store(const struct args_option *option, const char *text) {
  switch (option->kind) {
    case ARGS_FLAG:
      *(bool *)option->value = true;
      return true;
    case ARGS_U64:
      return args_u64(text, option->value);
    case ARGS_TIME:
      return args_time(text, output_now_ns(), option->value);
    case ARGS_TEXT:
      *(const char **)option->value = text;
      return true;
    case ARGS_LIMIT:
      return limit(text, option->value);
    case ARGS_USERS:
      return users(text, option->value);
    case ARGS_DURABILITY:
      return durability(text, option->value);
    case ARGS_DESCRIPTOR:
      return descriptor(text, option->value);
  }
  return false;
}

static const struct args_option *find(const struct args_option *options, const char *name, size_t length) {
  for (; options->name != NULL; options++)
    if (strlen(options->name) == length && memcmp(options->name, name, length) == 0) return options;
  return NULL;
}

/* The option at argv[*at], with its value, which may be the next element. */
static bool take_option(struct args *args, const struct args_option *options, int argc, char **argv, int *at) {
  const char *name = argv[*at] + 2;
  size_t length = strcspn(name, "=");
  const struct args_option *option = find(options, name, length);
  if (option == NULL) return args_wrong(args, "there is no option --%.*s", (int)length, name);
  const char *text = name[length] == '=' ? name + length + 1 : NULL;
  if (option->kind == ARGS_FLAG && text != NULL) return args_wrong(args, "--%s takes no value", option->name);
  if (option->kind != ARGS_FLAG && text == NULL && *at + 1 < argc) text = argv[++*at];
  if (option->kind != ARGS_FLAG && text == NULL)
    return args_wrong(args, "--%s needs a value: %s", option->name, looks[option->kind]);
  if (!store(option, text))
    return args_wrong(args, "--%s must be %s, not '%s'", option->name, looks[option->kind], text);
  if (option->given != NULL) *option->given = true;
  return true;
}

bool args_parse(struct args *args, const char *command, int argc, char **argv, const struct args_option *options,
                int least, int most) {
  bool ended = false;
  *args = (struct args){command, 0, argv + 1};
  for (int at = 1; at < argc; at++) {
    char *here = argv[at];
    if (!ended && strcmp(here, "--") == 0)
      ended = true;
    else if (ended || here[0] != '-' || here[1] == 0)
      args->values[args->count++] = here; /* never ahead of `at`: what is overwritten has been read */
    else if (here[1] != '-')
      return args_wrong(args, "there is no option %s", here);
    else if (!take_option(args, options, argc, argv, &at))
      return false;
  }
  if (args->count < least)
    return args_wrong(args, "%d more argument%s needed", least - args->count,
                      least - args->count == 1 ? " is" : "s are");
  if (args->count > most) return args_wrong(args, "'%s' is one argument too many", args->values[most]);
  return true;
}

bool args_number(const struct args *args, int index, const char *what, uint64_t *value) {
  if (args_u64(args->values[index], value)) return true;
  return args_wrong(args, "%s must be %s, not '%s'", what, looks[ARGS_U64], args->values[index]);
}
