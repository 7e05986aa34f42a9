/* SPDX-License-Identifier: Apache-2.0 */
#include "text.h"

#include <h2o.h>

void text_free(struct text *text) {
  free(text->bytes);
  *text = (struct text)TEXT_INIT;
}

static char *room(struct text *text, size_t length) {
  if (text->capacity - text->length < length) {
    size_t capacity = text->capacity < 512 ? 512 : text->capacity * 2;
    while (capacity - text->length < length) capacity *= 2;
    text->bytes = h2o_mem_realloc(text->bytes, capacity);
    text->capacity = capacity;
  }
  char *at = text->bytes + text->length;
  text->length += length;
  return at;
}

void text_bytes(struct text *text, const char *bytes, size_t length) {
  if (length > 0) memcpy(room(text, length), bytes, length);
}

void text_u64(struct text *text, uint64_t number) {
  char digits[20];
  char *at = digits + sizeof digits;
  do *--at = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  text_bytes(text, at, (size_t)(digits + sizeof digits - at));
}

void text_i64(struct text *text, int64_t number) {
  if (number < 0) text_bytes(text, "-", 1);
  text_u64(text, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

void text_json(struct text *text, const char *bytes, size_t length) {
  static const char hex[] = "0123456789abcdef";
  text_bytes(text, "\"", 1);
  size_t plain = 0; /* where what needs no escape begins */
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)bytes[i];
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    text_bytes(text, bytes + plain, i - plain);
    plain = i + 1;
    const char short_escape[2] = {'\\', (char)byte};
    const char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    if (byte >= 0x20)
      text_bytes(text, short_escape, sizeof short_escape);
    else
      text_bytes(text, escape, sizeof escape);
  }
  text_bytes(text, bytes + plain, length - plain);
  text_bytes(text, "\"", 1);
}

/* --- times --------------------------------------------------------------------------------------- */

static void digits(char *to, unsigned count, uint64_t number) {
  while (count-- > 0) {
    to[count] = (char)('0' + number % 10);
    number /= 10;
  }
}

/* The calendar goes by years that begin in March, so that the day that comes and goes is the last: the civil-from-days
 * method of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". */
static void date_of_day(uint64_t day, unsigned *year, unsigned *month, unsigned *date) {
  uint64_t z = day + 719468;
  uint64_t era = z / 146097;
  uint64_t day_of_era = z % 146097;
  uint64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  uint64_t march_month = (5 * day_of_year + 2) / 153;
  *date = (unsigned)(day_of_year - (153 * march_month + 2) / 5 + 1);
  *month = (unsigned)(march_month < 10 ? march_month + 3 : march_month - 9);
  *year = (unsigned)(year_of_era + era * 400 + (*month <= 2 ? 1 : 0));
}

static uint64_t day_of_date(unsigned year, unsigned month, unsigned date) {
  uint64_t y = year - (month <= 2 ? 1 : 0);
  uint64_t era = y / 400;
  uint64_t year_of_era = y % 400;
  uint64_t day_of_year = (153 * (month + (month > 2 ? 0U : 12U) - 3) + 2) / 5 + date - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

void text_time(struct text *text, uint64_t time_ns) {
  uint64_t ms = time_ns / 1000000;
  uint64_t second = ms / 1000;
  unsigned year, month, date;
  date_of_day(second / 86400, &year, &month, &date);
  char out[] = "\"0000-00-00T00:00:00.000\"";
  digits(out + 1, 4, year);
  digits(out + 6, 2, month);
  digits(out + 9, 2, date);
  digits(out + 12, 2, second / 3600 % 24);
  digits(out + 15, 2, second / 60 % 60);
  digits(out + 18, 2, second % 60);
  digits(out + 21, 3, ms % 1000);
  text_bytes(text, out, sizeof out - 1);
}

/* `count` digits at *at, which moves behind them; SIZE_MAX where there is something else. */
static size_t take_digits(const char **at, const char *end, unsigned count) {
  size_t number = 0;
  if ((size_t)(end - *at) < count) return SIZE_MAX;
  for (; count > 0; count--, ++*at) {
    if (**at < '0' || **at > '9') return SIZE_MAX;
    number = number * 10 + (size_t)(**at - '0');
  }
  return number;
}

static bool take_byte(const char **at, const char *end, char byte) {
  if (*at == end || **at != byte) return false;
  ++*at;
  return true;
}

/* A field of two digits from `low` to `high`. */
static bool take_field(const char **at, const char *end, size_t low, size_t high, unsigned *field) {
  size_t number = take_digits(at, end, 2);
  *field = (unsigned)number;
  return number != SIZE_MAX && number >= low && number <= high;
}

static unsigned days_in(unsigned year, unsigned month) {
  static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap ? 1U : 0U);
}

/* The digits behind the point, in nanoseconds. */
static bool take_fraction(const char **at, const char *end, uint64_t *fraction_ns) {
  uint64_t unit = 1000000000;
  *fraction_ns = 0;
  for (; *at < end && **at >= '0' && **at <= '9'; ++*at) {
    if (unit == 1) return false;
    unit /= 10;
    *fraction_ns += (uint64_t)(**at - '0') * unit;
  }
  return unit < 1000000000;
}

bool time_parse(const char *bytes, size_t length, uint64_t *time_ns) {
  const char *at = bytes;
  const char *end = bytes + length;
  unsigned month, date, hour, minute, second;
  uint64_t fraction_ns = 0;
  size_t year = take_digits(&at, end, 4);
  /* A 64-bit number of nanoseconds ends in July 2554. */
  if (year == SIZE_MAX || year < 1970 || year > 2553) return false;
  if (!take_byte(&at, end, '-') || !take_field(&at, end, 1, 12, &month)) return false;
  if (!take_byte(&at, end, '-') || !take_field(&at, end, 1, days_in((unsigned)year, month), &date)) return false;
  if (!take_byte(&at, end, 'T') || !take_field(&at, end, 0, 23, &hour)) return false;
  if (!take_byte(&at, end, ':') || !take_field(&at, end, 0, 59, &minute)) return false;
  if (!take_byte(&at, end, ':') || !take_field(&at, end, 0, 59, &second)) return false;
  if (take_byte(&at, end, '.') && !take_fraction(&at, end, &fraction_ns)) return false;
  (void)take_byte(&at, end, 'Z');
  if (at != end) return false;
  uint64_t seconds = ((day_of_date((unsigned)year, month, date) * 24 + hour) * 60 + minute) * 60 + second;
  *time_ns = seconds * 1000000000 + fraction_ns;
  return true;
}

bool number_parse(const char *bytes, size_t length, uint64_t *number) {
  if (length == 0 || (bytes[0] == '0' && length > 1)) return false;
  uint64_t value = 0;
  for (size_t i = 0; i < length; i++) {
    if (bytes[i] < '0' || bytes[i] > '9') return false;
    uint64_t digit = (uint64_t)(bytes[i] - '0');
    if (value > (UINT64_MAX - digit) / 10) return false;
    value = value * 10 + digit;
  }
  *number = value;
  return true;
}
