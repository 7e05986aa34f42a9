/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_rules.h"

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

static void take_issue(struct rules *rules, const struct read_record *record, struct rules_campaign *campaign) {
  uint64_t user = read_u64(record->body + ISSUE_USER);
  uint64_t time_ns = read_u64(record->body + ISSUE_TIME);
  uint64_t id = campaign->id;
  rules->tickets++;
  if (campaign->issued >= campaign->stock)
    broken(rules, record, "campaign %" PRIu64 " issues beyond its stock of %" PRIu64, id, campaign->stock);
  if (campaign->opens_at_ns != 0 && !campaign->opened)
    broken(rules, record, "campaign %" PRIu64 " issues to user %" PRIu64 " before its OPEN record", id, user);
  if (campaign->closed)
    broken(rules, record, "campaign %" PRIu64 " issues to user %" PRIu64 " after its CLOSE record", id, user);
  if (time_ns < campaign->last_time_ns)
    broken(rules, record, "the time of campaign %" PRIu64 " falls from %" PRIu64 " to %" PRIu64, id,
           campaign->last_time_ns, time_ns);
  if (time_ns < campaign->opens_at_ns || (campaign->closes_at_ns != 0 && time_ns >= campaign->closes_at_ns))
    broken(rules, record, "campaign %" PRIu64 " issues at %" PRIu64 ", outside of its window", id, time_ns);
  campaign->last_time_ns = time_ns;
  if (campaign->user_limit != 0) {
    void *users = campaign->users;
    if (grow(&users, &campaign->users_capacity, (size_t)campaign->issued, sizeof *campaign->users))
      ((uint64_t *)users)[campaign->issued] = user;
    else
      rules->no_memory = true;
    campaign->users = users;
  }
  campaign->issued++;
}

static void take_open(struct rules *rules, const struct read_record *record, struct rules_campaign *campaign) {
  if (campaign->opened) broken(rules, record, "campaign %" PRIu64 " opens twice", campaign->id);
  if (campaign->closed) broken(rules, record, "campaign %" PRIu64 " opens after it has closed", campaign->id);
  if (campaign->opens_at_ns == 0)
    broken(rules, record, "campaign %" PRIu64 " has an OPEN record, but no opening time", campaign->id);
  campaign->opened = true;
}

static void take_close(struct rules *rules, const struct read_record *record, struct rules_campaign *campaign) {
  if (campaign->closed) broken(rules, record, "campaign %" PRIu64 " closes twice", campaign->id);
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
  if (type != RECORD_ISSUE && type != RECORD_OPEN && type != RECORD_CLOSE) {
    if (record->campaign != 0) broken(rules, record, "a record of type %s names a campaign", record_type_name(type));
    return;
  }
  if (record->campaign >= rules->count) {
    broken(rules, record, "a record of type %s names campaign index %" PRIu32 ", which does not exist yet",
           record_type_name(type), record->campaign);
    return;
  }
  struct rules_campaign *campaign = &rules->campaigns[record->campaign];
  if (type == RECORD_ISSUE)
    take_issue(rules, record, campaign);
  else if (type == RECORD_OPEN)
    take_open(rules, record, campaign);
  else
    take_close(rules, record, campaign);
}

/* --- all records together --------------------------------------------------------------------- */

/* Sorts by bytes, lowest first: linear, and no order of users makes it slow. `spare` has room for `count`. Returns
 * whichever of the two arrays has the result. */
static uint64_t *sort(uint64_t *values, uint64_t *spare, size_t count) {
  for (unsigned shift = 0; shift < 64; shift += 8) {
    size_t at[256] = {0};
    for (size_t i = 0; i < count; i++) at[values[i] >> shift & 255]++;
    if (at[values[0] >> shift & 255] == count) continue;
    size_t sum = 0;
    for (size_t digit = 0; digit < 256; digit++) {
      size_t here = at[digit];
      at[digit] = sum;
      sum += here;
    }
    for (size_t i = 0; i < count; i++) spare[at[values[i] >> shift & 255]++] = values[i];
    uint64_t *sorted = spare;
    spare = values;
    values = sorted;
  }
  return values;
}

/* How many values stand behind `limit` equal ones; `*example` is one of them. False: no memory. */
static bool count_beyond(const uint64_t *values, size_t count, uint64_t limit, uint64_t *beyond, uint64_t *example) {
  *beyond = 0;
  if (count == 0) return true;
  uint64_t *copies = count > SIZE_MAX / 16 ? NULL : malloc(count * 16);
  if (copies == NULL) return false;
  memcpy(copies, values, count * 8);
  const uint64_t *sorted = sort(copies, copies + count, count);
  uint64_t run = 0;
  for (size_t i = 0; i < count; i++) {
    run = i > 0 && sorted[i] == sorted[i - 1] ? run + 1 : 1;
    if (run > limit && (*beyond)++ == 0) *example = sorted[i];
  }
  free(copies);
  return true;
}

/* The first two tickets of `user`, who is known to hold them. */
static void find_tickets(const struct rules_campaign *campaign, uint64_t user, uint64_t numbers[2]) {
  int found = 0;
  for (uint64_t i = 0; i < campaign->issued && found < 2; i++)
    if (campaign->users[i] == user) numbers[found++] = i + 1;
}

static void check_users(struct rules *rules, const struct rules_campaign *campaign) {
  uint64_t beyond;
  uint64_t user = 0;
  uint64_t numbers[2] = {0, 0};
  if (!count_beyond(campaign->users, (size_t)campaign->issued, campaign->user_limit, &beyond, &user))
    rules->no_memory = true;
  else if (beyond > 0) {
    find_tickets(campaign, user, numbers);
    broken(rules, NULL,
           "campaign %" PRIu64 " gave user %" PRIu64 " more than %" PRIu64 " ticket: numbers %" PRIu64 " and %" PRIu64
           ", and %" PRIu64 " in all beyond the limit",
           campaign->id, user, campaign->user_limit, numbers[0], numbers[1], beyond);
  }
}

static void check_ids(struct rules *rules) {
  uint64_t beyond = 0;
  uint64_t id = 0;
  uint64_t *ids = rules->count == 0 ? NULL : malloc(rules->count * sizeof *ids);
  for (size_t i = 0; i < rules->count && ids != NULL; i++) ids[i] = rules->campaigns[i].id;
  if ((ids == NULL && rules->count > 0) || !count_beyond(ids, rules->count, 1, &beyond, &id))
    rules->no_memory = true;
  else if (beyond > 0)
    broken(rules, NULL, "two campaigns have the id %" PRIu64, id);
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
