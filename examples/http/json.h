/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads one JSON object into the members that are asked for; others are passed over. Numbers stay as they are written,
 * because those of 64 bits do not survive a double. The parser is yajl.
 */
#ifndef EXAMPLE_JSON_H
#define EXAMPLE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_kind { JSON_ABSENT = 0, JSON_NULL, JSON_NUMBER, JSON_STRING, JSON_OTHER };

struct json_member {
  const char *name;
  enum json_kind kind; /* set by json_read(), as are the next two */
  const char *bytes;   /* of a number or string, unescaped, in the arena */
  size_t length;
};

/* `arena` takes the text of the members asked for, and has to have room for `length` bytes. False if this is not one
 * valid object in UTF-8 and nothing else, or if it gives a member that is asked for twice. */
bool json_read(const char *bytes, size_t length, char *arena, struct json_member *members, size_t count);

/* The member as an integer of the range; false if it is anything else. */
bool json_u64(const struct json_member *member, uint64_t *number);
bool json_i64(const struct json_member *member, int64_t *number);
/* A string of at most `most` bytes, none of them zero. */
bool json_string(const struct json_member *member, size_t most);
bool json_is(const struct json_member *member, const char *string);

#endif
