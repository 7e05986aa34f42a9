/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that grows at its end, and the few things an answer is made of: numbers, JSON strings, times. Memory comes
 * from malloc(); running out of it ends the program, as everywhere in libh2o.
 */
#ifndef EXAMPLE_TEXT_H
#define EXAMPLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
  char *bytes; /* not ended by a zero */
  size_t length, capacity;
};

#define TEXT_INIT \
  { NULL, 0, 0 }

/* Nanoseconds UTC since 1970 from `YYYY-MM-DDThh:mm:ss`, with or without a fraction of up to nine digits and a `Z`.
 * False if it is none, before 1970 or beyond 64 bits. */
bool time_parse(const char *bytes, size_t length, uint64_t *time_ns);

void text_free(struct text *text);
void text_bytes(struct text *text, const char *bytes, size_t length);
static inline void text_string(struct text *text, const char *string) { text_bytes(text, string, strlen(string)); }
void text_u64(struct text *text, uint64_t number);
void text_i64(struct text *text, int64_t number);
/* With its quotes. `bytes` is UTF-8. */
void text_json(struct text *text, const char *bytes, size_t length);
/* As `2026-03-27T10:31:48.453`, to the millisecond, UTC, with quotes. */
void text_time(struct text *text, uint64_t time_ns);

/* A number of 64 bits as people and JSON write it: digits, no sign, no zero in front. Everything else is false. */
bool number_parse(const char *bytes, size_t length, uint64_t *number);

#endif
