/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include <string.h>
#include <yajl/yajl_parse.h>

#include "text.h"

struct reading {
  char *arena;
  struct json_member *members;
  size_t count;
  size_t depth;               /* of objects and arrays around what comes next */
  struct json_member *member; /* whose value comes next, or NULL */
};

/* Notes a value of the object itself. */
static int note(struct reading *reading, enum json_kind kind, const char *bytes, size_t length) {
  if (reading->depth == 0) return 0; /* not an object, but a number, say */
  if (reading->depth > 1 || reading->member == NULL) return 1;
  struct json_member *member = reading->member;
  reading->member = NULL;
  if (member->kind != JSON_ABSENT) return 0;
  member->kind = kind;
  member->bytes = reading->arena;
  member->length = length;
  if (length > 0) memcpy(reading->arena, bytes, length);
  reading->arena += length;
  return 1;
}

static int on_null(void *context) { return note(context, JSON_NULL, NULL, 0); }

static int on_boolean(void *context, int value) {
  (void)value;
  return note(context, JSON_OTHER, NULL, 0);
}

static int on_number(void *context, const char *bytes, size_t length) {
  return note(context, JSON_NUMBER, bytes, length);
}

static int on_string(void *context, const unsigned char *bytes, size_t length) {
  return note(context, JSON_STRING, (const char *)bytes, length);
}

static int on_start_map(void *context) {
  struct reading *reading = context;
  if (reading->depth > 0 && !note(reading, JSON_OTHER, NULL, 0)) return 0;
  reading->depth++;
  return 1;
}

static int on_start_array(void *context) {
  struct reading *reading = context;
  if (!note(reading, JSON_OTHER, NULL, 0)) return 0;
  reading->depth++;
  return 1;
}

static int on_end(void *context) {
  struct reading *reading = context;
  reading->depth--;
  return 1;
}

static int on_key(void *context, const unsigned char *bytes, size_t length) {
  struct reading *reading = context;
  if (reading->depth > 1) return 1;
  reading->member = NULL;
  for (size_t i = 0; i < reading->count; i++) {
    const char *name = reading->members[i].name;
    if (strlen(name) == length && memcmp(name, bytes, length) == 0) reading->member = &reading->members[i];
  }
  return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

bool json_read(const char *bytes, size_t length, char *arena, struct json_member *members, size_t count) {
  struct reading reading = {.arena = arena, .members = members, .count = count};
  for (size_t i = 0; i < count; i++) {
    members[i].kind = JSON_ABSENT;
    members[i].bytes = NULL;
    members[i].length = 0;
  }
  yajl_handle parser = yajl_alloc(&callbacks, NULL, &reading);
  if (parser == NULL) return false;
  bool good = yajl_parse(parser, (const unsigned char *)bytes, length) == yajl_status_ok &&
              yajl_complete_parse(parser) == yajl_status_ok;
  yajl_free(parser);
  return good;
}

bool json_u64(const struct json_member *member, uint64_t *number) {
  return member->kind == JSON_NUMBER && number_parse(member->bytes, member->length, number);
}

bool json_i64(const struct json_member *member, int64_t *number) {
  if (member->kind != JSON_NUMBER || member->length == 0) return false;
  bool negative = member->bytes[0] == '-';
  uint64_t value;
  if (!number_parse(member->bytes + negative, member->length - negative, &value)) return false;
  if (value > (uint64_t)INT64_MAX + negative) return false;
  *number = negative ? (int64_t)(0 - value) : (int64_t)value;
  return true;
}

bool json_string(const struct json_member *member, size_t most) {
  return member->kind == JSON_STRING && member->length <= most &&
         (member->length == 0 || memchr(member->bytes, 0, member->length) == NULL);
}

bool json_is(const struct json_member *member, const char *string) {
  return member->kind == JSON_STRING && member->length == strlen(string) &&
         memcmp(member->bytes, string, member->length) == 0;
}
