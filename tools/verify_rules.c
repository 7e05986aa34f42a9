/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_rules.h"

#include "output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STOCK_MAX (UINT64_C(1) << 40)

/* --- broken rules ----------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static void broken(struct rules *rules, const struct read_record *record,
                                                         const char *what, ...) {
  if (rules->broken++ > 0) return;
  char place[96] = "";
  if (record != NULL) {
    char name[READ_FILE_MAX];
    read_segment_name(record->segment, name);
    snprintf(place, sizeof place, "%s at %" PRIu64 ", LSN %" PRIu64 ": ", name, record->offset, record->lsn);
  }
  char text[RULES_MESSAGE_MAX - sizeof place];
  va_list arguments;
  va_start(arguments, what);
  vsnprintf(text, sizeof text, what, arguments);
  va_end(arguments);
  snprintf(rules->message, sizeof rules->message, "%s%s", place, text);
}

/* A user as the record has it, for a message. */
static const char *name_user(const unsigned char *bytes, uint32_t kind, char buffer[OUTPUT_UUID_MAX]) {
  if (kind == KIND_UUID) return output_uuid(bytes, buffer);
  snprintf(buffer, OUTPUT_UUID_MAX, "%" PRIu64, read_u64(bytes));
  return buffer;
}

/* Makes room for one more element of `size` bytes. `*array` stays as it was if there is no memory. */
static bool grow(void **array, size_t *capacity, size_t count, size_t size) {
  if (count < *capacity) return true;
  size_t wanted = *capacity == 0 ? 16 : *capacity * 2;
  void *grown = realloc(*array, wanted * size);
  if (grown == NULL) return false;
  *array = grown;
  *capacity = wanted;
  return true;
}

/* --- one record after the other --------------------------------------------------------------- */

static void take_campaign(struct rules *rules, const struct read_record *record) {
  const unsigned char *body = record->body;
  uint32_t length = read_u32(body + CAMPAIGN_NAME_LENGTH);
  void *campaigns = rules->campaigns;
  bool room = grow(&campaigns, &rules->capacity, rules->count, sizeof *rules->campaigns);
  rules->campaigns = campaigns;
  char *name = room ? malloc((size_t)length + 1) : NULL;
  if (name == NULL) {
    rules->no_memory = true;
    return;
  }
  memcpy(name, body + CAMPAIGN_NAME, length);
  name[length] = 0;
  struct rules_campaign campaign = {.id = read_u64(body + CAMPAIGN_ID),
                                    .stock = read_u64(body + CAMPAIGN_STOCK),
                                    .user_limit = read_u64(body + CAMPAIGN_LIMIT),
                                    .user_kind = read_u32(body + CAMPAIGN_USER_KIND),
                                    .opens_at_ns = read_u64(body + CAMPAIGN_OPENS),
                                    .closes_at_ns = read_u64(body + CAMPAIGN_CLOSES),
                                    .name = name};
  if (record->campaign != rules->count)
    broken(rules, record, "campaign %" PRIu64 " is created with index %" PRIu32 ", the next one is %zu", campaign.id,
           record->campaign, rules->count);
  if (campaign.stock > STOCK_MAX) broken(rules, record, "campaign %" PRIu64 " has a stock above 2^40", campaign.id);
  if (campaign.closes_at_ns != 0 && campaign.closes_at_ns <= campaign.opens_at_ns)
    broken(rules, record, "campaign %" PRIu64 " closes before it opens", campaign.id);
  if (strlen(name) != length) broken(rules, record, "the name of campaign %" PRIu64 " has a zero in it", campaign.id);
  rules->campaigns[rules->count++] = campaign;
}

static size_t words_of(uint32_t kind) { return kind == KIND_UUID ? 2 : 1; }

/* Keeps the user of a ticket, to look for duplicates at the end. */
static void keep_user(struct rules *rules, struct rules_campaign *campaign, const unsigned char *bytes) {
  size_t words = words_of(campaign->user_kind);
  void *array = campaign->users;
  bool room = grow(&array, &campaign->users_capacity, campaign->users_count, words * sizeof *campaign->users);
  campaign->users = array;
  if (!room) {
    rules->no_memory = true;
    return;
  }
  uint64_t *user = campaign->users + campaign->users_count++ * words;
  for (size_t i = 0; i < words; i++) user[i] = read_u64(bytes + i * 8);
}

static void take_issue(struct rules *rules, const struct read_record *record, struct rules_campaign *campaign) {
  uint32_t kind = record->type == RECORD_ISSUE_UUID ? KIND_UUID : KIND_NUMBER;
  char user[OUTPUT_UUID_MAX];
  (void)name_user(record->body + ISSUE_USER, kind, user);
  uint64_t time_ns = read_u64(record->body + (kind == KIND_UUID ? ISSUE_UUID_TIME : ISSUE_TIME));
  uint64_t id = campaign->id;
  rules->tickets++;
  if (kind != campaign->user_kind)
    broken(rules, record, "campaign %" PRIu64 " issues to user %s, but its users are %s", id, user,
           campaign->user_kind == KIND_UUID ? "UUIDs" : "numbers");
  if (campaign->issued >= campaign->stock)
    broken(rules, record, "campaign %" PRIu64 " issues beyond its stock of %" PRIu64, id, campaign->stock);
  if (campaign->opens_at_ns != 0 && !campaign->opened)
    broken(rules, record, "campaign %" PRIu64 " issues to user %s before its OPEN record", id, user);
  if (campaign->closed)
    broken(rules, record, "campaign %" PRIu64 " issues to user %s after its CLOSE record", id, user);
  if (time_ns < campaign->last_time_ns)
    broken(rules, record, "the time of campaign %" PRIu64 " falls from %" PRIu64 " to %" PRIu64, id,
           campaign->last_time_ns, time_ns);
  if (time_ns < campaign->opens_at_ns || (campaign->closes_at_ns != 0 && time_ns >= campaign->closes_at_ns))
    broken(rules, record, "campaign %" PRIu64 " issues at %" PRIu64 ", outside of its window", id, time_ns);
  campaign->last_time_ns = time_ns;
  if (campaign->user_limit != 0 && kind == campaign->user_kind) keep_user(rules, campaign, record->body + ISSUE_USER);
  campaign->issued++;
}

/* The tickets are nowhere any more: a campaign that has closed is spoken of, whose users nobody asks for. */
static void take_dropped(struct rules *rules, const struct read_record *record, struct rules_campaign *campaign) {
  campaign->issued += read_u64(record->body);
  rules->tickets += read_u64(record->body);
  if (campaign->issued > campaign->stock)
    broken(rules, record, "campaign %" PRIu64 " issues beyond its stock of %" PRIu64, campaign->id, campaign->stock);
}

static void take_open(struct rules *rules, const struct read_record *record, struct rules_campaign *campaign) {
  if (campaign->opened) broken(rules, record, "campaign %" PRIu64 " opens twice", campaign->id);
  if (campaign->closed) broken(rules, record, "campaign %" PRIu64 " opens after it has closed", campaign->id);
  if (campaign->opens_at_ns == 0)
    broken(rules, record, "campaign %" PRIu64 " has an OPEN record, but no opening time", campaign->id);
  if (read_u64(record->body) < campaign->opens_at_ns)
    broken(rules, record, "campaign %" PRIu64 " opens before its opening time", campaign->id);
  campaign->opened = true;
}

static void take_close(struct rules *rules, const struct read_record *record, struct rules_campaign *campaign) {
  if (campaign->closed) broken(rules, record, "campaign %" PRIu64 " closes twice", campaign->id);
  if (campaign->opens_at_ns != 0 && !campaign->opened)
    broken(rules, record, "campaign %" PRIu64 " closes before its OPEN record", campaign->id);
  if (campaign->closes_at_ns == 0)
    broken(rules, record, "campaign %" PRIu64 " has a CLOSE record, but no closing time", campaign->id);
  if (read_u64(record->body) < campaign->closes_at_ns)
    broken(rules, record, "campaign %" PRIu64 " closes before its closing time", campaign->id);
  campaign->closed = true;
}

void rules_take(void *context, const struct read_record *record) {
  struct rules *rules = context;
  unsigned type = record->type;
  rules->voids += type == RECORD_VOID;
  if (rules->no_memory) return;
  if (type == RECORD_CAMPAIGN) {
    take_campaign(rules, record);
    return;
  }
  bool issues = type == RECORD_ISSUE || type == RECORD_ISSUE_UUID;
  if (!issues && type != RECORD_OPEN && type != RECORD_CLOSE && type != RECORD_DROPPED) {
    if (record->campaign != 0) broken(rules, record, "a record of type %s names a campaign", record_type_name(type));
    return;
  }
  if (record->campaign >= rules->count) {
    broken(rules, record, "a record of type %s names campaign index %" PRIu32 ", which does not exist yet",
           record_type_name(type), record->campaign);
    return;
  }
  struct rules_campaign *campaign = &rules->campaigns[record->campaign];
  if (issues)
    take_issue(rules, record, campaign);
  else if (type == RECORD_DROPPED)
    take_dropped(rules, record, campaign);
  else if (type == RECORD_OPEN)
    take_open(rules, record, campaign);
  else
    take_close(rules, record, campaign);
}

/* --- all records together --------------------------------------------------------------------- */

/* Sorts values of `words` words each by their bytes, lowest first: linear, and no order of users makes it slow. `spare`
 * has room for all of them. Returns whichever of the two arrays has the result. */
static uint64_t *sort(uint64_t *values, uint64_t *spare, size_t count, size_t words) {
  for (size_t shift = 0; shift < words * 64; shift += 8) {
    const size_t word = shift / 64, bits = shift % 64;
    size_t at[256] = {0};
    for (size_t i = 0; i < count; i++) at[values[i * words + word] >> bits & 255]++;
    if (at[values[word] >> bits & 255] == count) continue;
    size_t sum = 0;
    for (size_t digit = 0; digit < 256; digit++) {
      size_t here = at[digit];
      at[digit] = sum;
      sum += here;
    }
    for (size_t i = 0; i < count; i++) {
      const uint64_t *value = values + i * words;
      uint64_t *to = spare + at[value[word] >> bits & 255]++ * words;
      for (size_t j = 0; j < words; j++) to[j] = value[j];
    }
    uint64_t *sorted = spare;
    spare = values;
    values = sorted;
  }
  return values;
}

static bool equal(const uint64_t *a, const uint64_t *b, size_t words) {
  return a[0] == b[0] && (words == 1 || a[1] == b[1]);
}

/* How many values of `words` words, 1 or 2, stand behind `limit` equal ones; `example` becomes one of them. False: no
 * memory. */
static bool count_beyond(const uint64_t *values, size_t count, size_t words, uint64_t limit, uint64_t *beyond,
                         uint64_t example[2]) {
  *beyond = 0;
  if (count == 0) return true;
  uint64_t *copies = count > SIZE_MAX / (words * 16) ? NULL : malloc(count * words * 16);
  if (copies == NULL) return false;
  memcpy(copies, values, count * words * 8);
  const uint64_t *sorted = sort(copies, copies + count * words, count, words);
  uint64_t run = 0;
  for (size_t i = 0; i < count; i++) {
    const uint64_t *here = sorted + i * words;
    run = i > 0 && equal(here, here - words, words) ? run + 1 : 1;
    if (run > limit && (*beyond)++ == 0) memcpy(example, here, words * 8);
  }
  free(copies);
  return true;
}

/* The first two tickets of `user`, who is known to hold them. */
static void find_tickets(const struct rules_campaign *campaign, const uint64_t *user, uint64_t numbers[2]) {
  size_t words = words_of(campaign->user_kind);
  int found = 0;
  for (size_t i = 0; i < campaign->users_count && found < 2; i++)
    if (equal(campaign->users + i * words, user, words)) numbers[found++] = i + 1;
}

static void check_users(struct rules *rules, const struct rules_campaign *campaign) {
  uint64_t beyond;
  uint64_t user[2] = {0, 0};
  uint64_t numbers[2] = {0, 0};
  if (!count_beyond(campaign->users, campaign->users_count, words_of(campaign->user_kind), campaign->user_limit,
                    &beyond, user))
    rules->no_memory = true;
  else if (beyond > 0) {
    find_tickets(campaign, user, numbers);
    unsigned char bytes[16];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(user[i / 8] >> i % 8 * 8);
    char text[OUTPUT_UUID_MAX];
    broken(rules, NULL,
           "campaign %" PRIu64 " gave user %s more than %" PRIu64 " ticket: numbers %" PRIu64 " and %" PRIu64
           ", and %" PRIu64 " in all beyond the limit",
           campaign->id, name_user(bytes, campaign->user_kind, text), campaign->user_limit, numbers[0], numbers[1],
           beyond);
  }
}

static void check_ids(struct rules *rules) {
  uint64_t beyond = 0;
  uint64_t id[2] = {0, 0};
  uint64_t *ids = rules->count == 0 ? NULL : malloc(rules->count * sizeof *ids);
  for (size_t i = 0; i < rules->count && ids != NULL; i++) ids[i] = rules->campaigns[i].id;
  if ((ids == NULL && rules->count > 0) || !count_beyond(ids, rules->count, 1, 1, &beyond, id))
    rules->no_memory = true;
  else if (beyond > 0)
    broken(rules, NULL, "two campaigns have the id %" PRIu64, id[0]);
  free(ids);
}

void rules_finish(struct rules *rules) {
  check_ids(rules);
  for (size_t i = 0; i < rules->count && !rules->no_memory; i++)
    if (rules->campaigns[i].user_limit != 0) check_users(rules, &rules->campaigns[i]);
}

void rules_fini(struct rules *rules) {
  for (size_t i = 0; i < rules->count; i++) {
    free(rules->campaigns[i].name);
    free(rules->campaigns[i].users);
  }
  free(rules->campaigns);
  *rules = (struct rules){.campaigns = NULL};
}
