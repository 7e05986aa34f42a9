/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_story.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- one story ---------------------------------------------------------------------------------- */

static void put_u64(unsigned char *to, uint64_t value) {
  for (unsigned i = 0; i < 8; i++) to[i] = (unsigned char)(value >> 8 * i);
}

/* All that describes a campaign but the time of its creation, which no checkpoint keeps. */
static uint64_t describe(const unsigned char *body) {
  unsigned char text[CAMPAIGN_NAME + 256] = {0};
  memcpy(text, body, CAMPAIGN_TIME);
  memcpy(text + CAMPAIGN_NAME_LENGTH, body + CAMPAIGN_NAME_LENGTH, 8);
  memcpy(text + CAMPAIGN_NAME, body + CAMPAIGN_NAME, read_u32(body + CAMPAIGN_NAME_LENGTH));
  return file_checksum(text, sizeof text);
}

static void take_campaign(struct story *story, const struct read_record *record) {
  if (story->count == story->capacity) {
    size_t wanted = story->capacity == 0 ? 16 : story->capacity * 2;
    struct story_campaign *grown = realloc(story->campaigns, wanted * sizeof *grown);
    story->no_memory = grown == NULL;
    if (grown == NULL) return;
    story->campaigns = grown;
    story->capacity = wanted;
  }
  story->campaigns[story->count++] = (struct story_campaign){
      .id = read_u64(record->body + CAMPAIGN_ID), .description = describe(record->body), .created_lsn = record->lsn};
}

static void take_ticket(struct story_campaign *c, const struct read_record *record) {
  const bool uuid = record->type == RECORD_ISSUE_UUID;
  unsigned char text[40] = {0};
  put_u64(text, c->tickets_sum);
  memcpy(text + 8, record->body + ISSUE_USER, uuid ? 16 : 8);
  put_u64(text + 24, record->lsn);
  memcpy(text + 32, record->body + (uuid ? ISSUE_UUID_TIME : ISSUE_TIME), 8);
  c->tickets_sum = file_checksum(text, sizeof text);
  c->tickets++;
}

static void take(struct story *story, const struct read_record *record) {
  if (story->no_memory) return;
  if (record->type == RECORD_CAMPAIGN) {
    take_campaign(story, record);
    return;
  }
  /* Rules that such a record breaks are found elsewhere. */
  if (record->campaign >= story->count) return;
  struct story_campaign *c = &story->campaigns[record->campaign];
  switch (record->type) {
    case RECORD_OPEN:
      c->opened_lsn = record->lsn;
      break;
    case RECORD_CLOSE:
      c->closed_lsn = record->lsn;
      break;
    case RECORD_ISSUE:
    case RECORD_ISSUE_UUID:
      take_ticket(c, record);
      break;
    case RECORD_DROPPED:
      c->tickets = read_u64(record->body);
      c->dropped = true;
      break;
    default:
      break;
  }
}

static void story_fini(struct story *story) {
  free(story->campaigns);
  *story = (struct story){.campaigns = NULL};
}

/* --- comparing ---------------------------------------------------------------------------------- */

/* What of a campaign is not the same; NULL: all is. */
static const char *differs(const struct story_campaign *a, const struct story_campaign *b) {
  if (a->description != b->description) return "another description";
  if (a->created_lsn != b->created_lsn || a->opened_lsn != b->opened_lsn || a->closed_lsn != b->closed_lsn)
    return "other LSNs of creation, opening or closing";
  if (a->tickets != b->tickets) return "another count of tickets";
  return !a->dropped && !b->dropped && a->tickets_sum != b->tickets_sum ? "other tickets" : NULL;
}

/* The log has been read up to the LSN of checkpoint `at`. */
static void compare(struct stories *stories, size_t at) {
  const struct story *checkpoint = &stories->checkpoints[at], *log = &stories->log;
  const char *what = NULL;
  char campaign[48] = "";
  if (log->segment != 0 && (checkpoint->lsn != log->lsn || checkpoint->life != log->life ||
                            checkpoint->segment != log->segment || checkpoint->end != log->end))
    what = "another end of the log before it";
  else if (checkpoint->count != log->count)
    what = "another count of campaigns";
  for (size_t i = 0; what == NULL && i < log->count; i++) {
    what = differs(&checkpoint->campaigns[i], &log->campaigns[i]);
    snprintf(campaign, sizeof campaign, " of campaign %" PRIu64, log->campaigns[i].id);
  }
  if (what == NULL) {
    stories->compared++;
    return;
  }
  stories->wrong = stories->numbers[at];
  snprintf(stories->why, sizeof stories->why, "it says%s %s than the log", campaign, what);
}

/* Compares what the log has passed, or ends at: `lsn` lies behind what has been taken. */
static void compare_passed(struct stories *stories, uint64_t lsn, const struct read_finding *finding) {
  if (stories->log.segment == 0) stories->log.lsn = finding->checkpoint_lsn;
  for (size_t i = 0; i < stories->count; i++) {
    uint64_t checkpoint_lsn = stories->checkpoints[i].lsn;
    bool passed = stories->log.lsn <= checkpoint_lsn && lsn > checkpoint_lsn;
    if (passed && stories->numbers[i] != finding->checkpoint && stories->wrong == 0) compare(stories, i);
  }
}

/* --- records ------------------------------------------------------------------------------------ */

void stories_checkpoint(struct stories *stories, const struct read_record *record) {
  if (stories->count < STORY_CHECKPOINTS) take(&stories->checkpoints[stories->count], record);
}

void stories_checkpoint_end(struct stories *stories, uint64_t number, const struct checkpoint_finding *found) {
  if (stories->count == STORY_CHECKPOINTS) return;
  struct story *story = &stories->checkpoints[stories->count];
  /* Of tickets that cannot be read nothing can be said; that is told as damage. */
  if (found->verdict != READ_OK || found->tickets_fault.verdict != READ_OK) {
    story_fini(story);
    return;
  }
  story->lsn = found->lsn;
  story->life = found->life;
  story->segment = found->segment;
  story->end = found->segment_offset;
  stories->numbers[stories->count++] = number;
}

void stories_log(struct stories *stories, const struct read_record *record, const struct read_finding *finding) {
  struct story *log = &stories->log;
  if (record->segment == 0) { /* a checkpoint stands for it: not in the order of LSNs, and nowhere */
    take(log, record);
    return;
  }
  compare_passed(stories, record->lsn, finding);
  take(log, record);
  log->end = record->end;
  log->lsn = record->lsn;
  log->life = record->life;
  log->segment = record->segment;
}

void stories_log_end(struct stories *stories, const struct read_finding *finding) {
  compare_passed(stories, finding->lsn + 1, finding);
}

bool stories_no_memory(const struct stories *stories) {
  return stories->log.no_memory || stories->checkpoints[0].no_memory || stories->checkpoints[1].no_memory;
}

void stories_fini(struct stories *stories) {
  for (size_t i = 0; i < STORY_CHECKPOINTS; i++) story_fini(&stories->checkpoints[i]);
  story_fini(&stories->log);
  memset(stories, 0, sizeof *stories);
}
