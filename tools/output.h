/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tool prints: JSON that any parser takes, text that no terminal trips over, and messages.
 */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What the process answers. */
enum {
  CODE_DONE = 0,
  CODE_NO = 1,      /* the answer is no */
  CODE_USAGE = 2,   /* the command line is wrong */
  CODE_DAMAGED = 3, /* damage, or a broken rule, was found */
  CODE_FAULT = 4    /* it could not be done, or not be found out */
};

/* A JSON text in the making. Begins as {file, false}. Keys are NULL within arrays and for the outermost value. */
struct json {
  FILE *file;
  bool comma; /* a value precedes on this level */
};

void json_open(struct json *json, const char *key, char bracket);
void json_close(struct json *json, char bracket);
void json_end(struct json *json); /* ends the line after the outermost value */
void json_u64(struct json *json, const char *key, uint64_t value);
void json_decimal(struct json *json, const char *key, double value);
void json_bool(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);
/* Any bytes up to a zero: what is not UTF-8 becomes U+FFFD. */
void json_text(struct json *json, const char *key, const char *text);

/* Bytes as they are, but for control bytes and what is not UTF-8: those as \xNN. */
void output_text(FILE *file, const char *text);

/* RFC 3339 in UTC with nanoseconds; "-" for 0. */
enum { OUTPUT_TIME_MAX = 40 };
const char *output_time(uint64_t time_ns, char buffer[OUTPUT_TIME_MAX]);

/* Sixteen bytes in the usual form of a UUID, 8-4-4-4-12 hexadecimal digits. */
enum { OUTPUT_UUID_MAX = 37 };
const char *output_uuid(const unsigned char bytes[16], char buffer[OUTPUT_UUID_MAX]);

uint64_t output_now_ns(void); /* UTC nanoseconds since 1970 */

/* A line on stderr, after "coupon: ". */
__attribute__((format(printf, 1, 2))) void output_error(const char *format, ...);

/* Ends the output: `code`, or CODE_FAULT, with a message, if standard output did not take all of it. */
int output_finish(int code);

#endif
