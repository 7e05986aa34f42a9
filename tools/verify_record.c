/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_record.h"

#include "verify_file.h"

#include <stddef.h>
#include <string.h>

enum { NAME_MAX_BYTES = 255 };

uint32_t read_u32(const unsigned char *b) {
  return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

uint64_t read_u64(const unsigned char *b) { return (uint64_t)read_u32(b) | (uint64_t)read_u32(b + 4) << 32; }

const char *record_type_name(unsigned type) {
  static const char *const names[] = {"", "VOID", "LIFE", "END", "CAMPAIGN", "OPEN", "CLOSE", "ISSUE", "ISSUE_UUID"};
  return type == RECORD_DROPPED ? "DROPPED" : names[type];
}

static uint64_t words_of(const unsigned char *bytes) { return (uint64_t)bytes[2] | (uint64_t)bytes[3] << 8; }

static bool is_issue(unsigned type) { return type == RECORD_ISSUE || type == RECORD_ISSUE_UUID; }

/* Words of a user in a ticket of this type. */
static uint64_t user_words(unsigned type) { return type == RECORD_ISSUE ? 1 : 2; }

/* The same for tickets, of which several may lie in one record. */
static const char *wrong_tickets(unsigned type, uint64_t words, uint64_t joined) {
  uint64_t each = user_words(type);
  if (words < 2 + each || (words - 2) % each != 0) return "a record has the wrong length for its type";
  return (words - 2) / each - 1 <= joined ? NULL : "more tickets are joined than the frame says";
}

/* Why a record's length is wrong for its type, or NULL. `words` is known to lie within the payload. */
static const char *wrong_length(unsigned type, const unsigned char *record, uint64_t words, uint64_t joined) {
  static const uint64_t right[] = {0, 0, 4, 2, 0, 2, 2};
  if (type == RECORD_VOID) return NULL;
  if (is_issue(type)) return wrong_tickets(type, words, joined);
  if (type != RECORD_CAMPAIGN) return words == right[type] ? NULL : "a record has the wrong length for its type";
  if (words < 8) return "a CAMPAIGN record is too short";
  uint32_t length = read_u32(record + RECORD_HEAD + CAMPAIGN_NAME_LENGTH);
  if (length > NAME_MAX_BYTES) return "a campaign's name is longer than 255 bytes";
  return words == 8 + (length + UINT64_C(7)) / 8 ? NULL : "a CAMPAIGN record does not have the length of its name";
}

/* Whether a record, whose length is right, has a value that version 1 never writes. */
static bool is_newer(unsigned type, const unsigned char *record, uint64_t words) {
  if (type == RECORD_VOID) return !file_all_zero(record + RECORD_HEAD, words * 8 - RECORD_HEAD);
  if (type != RECORD_CAMPAIGN) return false;
  const unsigned char *body = record + RECORD_HEAD;
  uint64_t end = CAMPAIGN_NAME + (uint64_t)read_u32(body + CAMPAIGN_NAME_LENGTH);
  if (read_u64(body + CAMPAIGN_LIMIT) > 1) return true; /* of several per user version 1 knows nothing */
  return read_u32(body + CAMPAIGN_USER_KIND) > KIND_UUID || !file_all_zero(body + end, words * 8 - RECORD_HEAD - end);
}

enum record_form record_check(const unsigned char *bytes, uint64_t room, uint64_t joined, uint64_t *words,
                              const char **why) {
  unsigned type = bytes[0];
  *words = words_of(bytes);
  *why = "the records do not fill their frame exactly";
  if (type < RECORD_VOID || *words == 0 || *words * 8 > room) return RECORD_WRONG;
  *why = "a record has a type, or flags, unknown to version 1";
  if (type > RECORD_ISSUE_UUID || bytes[1] != 0) return RECORD_NEWER;
  *why = wrong_length(type, bytes, *words, joined);
  if (*why != NULL) return RECORD_WRONG;
  *why = "a record has a value that version 1 never writes";
  return is_newer(type, bytes, *words) ? RECORD_NEWER : RECORD_RIGHT;
}

uint64_t record_count(const unsigned char *bytes) {
  return is_issue(bytes[0]) ? (words_of(bytes) - 2) / user_words(bytes[0]) : 1;
}

uint64_t record_alone(const unsigned char *bytes, uint64_t i, unsigned char *alone) {
  uint64_t user = user_words(bytes[0]) * 8, time = words_of(bytes) * 8 - 8;
  memcpy(alone, bytes, RECORD_HEAD);
  alone[2] = (unsigned char)(2 + user / 8);
  alone[3] = 0;
  memcpy(alone + RECORD_HEAD, bytes + RECORD_HEAD + i * user, user);
  memcpy(alone + RECORD_HEAD + user, bytes + time, 8);
  return RECORD_HEAD + user + 8;
}
