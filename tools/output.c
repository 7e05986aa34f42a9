/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#define SECOND UINT64_C(1000000000)

/* The bytes of the UTF-8 sequence at `text`; 0 if there is none (overlong, surrogate, beyond U+10FFFF, cut short). */
static int utf8_length(const unsigned char *text) {
  unsigned char first = text[0];
  int length = first < 0x80 ? 1 : first >= 0xC2 && first <= 0xDF ? 2 : (first & 0xF0) == 0xE0 ? 3 : 4;
  if (first >= 0x80 && (first < 0xC2 || first > 0xF4)) return 0;
  for (int i = 1; i < length; i++)
    if ((text[i] & 0xC0) != 0x80) return 0; /* a final zero ends it here, too */
  if ((first == 0xE0 && text[1] < 0xA0) || (first == 0xED && text[1] > 0x9F)) return 0;
  if ((first == 0xF0 && text[1] < 0x90) || (first == 0xF4 && text[1] > 0x8F)) return 0;
  return length;
}

/* C0 and C1 controls and DEL: a terminal might obey them. */
static bool is_control(const unsigned char *text, int length) {
  return text[0] < 0x20 || text[0] == 0x7F || (length == 2 && text[0] == 0xC2 && text[1] < 0xA0);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void quote(FILE *file, const char *text) {
  fputc('"', file);
  for (const unsigned char *at = (const unsigned char *)text; *at != 0;) {
    int length = utf8_length(at);
    if (length == 0)
      fputs("\\ufffd", file);
    else if (*at == '"' || *at == '\\')
      fprintf(file, "\\%c", *at);
    else if (length == 1 && is_control(at, length))
      fprintf(file, "\\u%04x", (unsigned)*at);
    else
      fwrite(at, 1, (size_t)length, file);
    at += length == 0 ? 1 : length;
  }
  fputc('"', file);
}

static void key(struct json *json, const char *name) {
  if (json->comma) fputc(',', json->file);
  json->comma = true;
  if (name == NULL) return;
  quote(json->file, name);
  fputc(':', json->file);
}

void json_open(struct json *json, const char *name, char bracket) {
  key(json, name);
  fputc(bracket, json->file);
  json->comma = false;
}

void json_close(struct json *json, char bracket) {
  fputc(bracket, json->file);
  json->comma = true;
}

void json_end(struct json *json) {
  fputc('\n', json->file);
  json->comma = false;
}

void json_u64(struct json *json, const char *name, uint64_t value) {
  key(json, name);
  fprintf(json->file, "%" PRIu64, value);
}

void json_decimal(struct json *json, const char *name, double value) {
  key(json, name);
  fprintf(json->file, "%.3f", value);
}

void json_bool(struct json *json, const char *name, bool value) {
  key(json, name);
  fputs(value ? "true" : "false", json->file);
}

void json_null(struct json *json, const char *name) {
  key(json, name);
  fputs("null", json->file);
}

void json_text(struct json *json, const char *name, const char *text) {
  key(json, name);
  quote(json->file, text);
}

/* --- text ------------------------------------------------------------------------------------- */

void output_text(FILE *file, const char *text) {
  for (const unsigned char *at = (const unsigned char *)text; *at != 0;) {
    int length = utf8_length(at);
    if (length == 0 || is_control(at, length)) {
      fprintf(file, "\\x%02x", (unsigned)*at);
      length = 1;
    } else
      fwrite(at, 1, (size_t)length, file);
    at += length;
  }
}

const char *output_time(uint64_t time_ns, char buffer[OUTPUT_TIME_MAX]) {
  time_t seconds = (time_t)(time_ns / SECOND);
  struct tm parts;
  if (time_ns == 0 || gmtime_r(&seconds, &parts) == NULL) return "-";
  size_t length = strftime(buffer, OUTPUT_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &parts);
  snprintf(buffer + length, OUTPUT_TIME_MAX - length, ".%09" PRIu64 "Z", time_ns % SECOND);
  return buffer;
}

const char *output_uuid(const unsigned char bytes[16], char buffer[OUTPUT_UUID_MAX]) {
  static const char digits[] = "0123456789abcdef";
  char *at = buffer;
  for (int i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
    *at++ = digits[bytes[i] >> 4];
    *at++ = digits[bytes[i] & 15];
  }
  *at = 0;
  return buffer;
}

uint64_t output_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

void output_error(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("coupon: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

int output_finish(int code) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return code;
  output_error("the output could not be written (%s): it is not complete; the exit code would have been %d",
               strerrordesc_np(errno), code);
  return CODE_FAULT;
}
