/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether checkpoints say what the log says: both are records, and what these amount to is kept as a few numbers for
 * each campaign. Compared where a checkpoint's LSN lies behind the place where the log that is there begins.
 */
#ifndef TOOLS_VERIFY_STORY_H
#define TOOLS_VERIFY_STORY_H

#include "verify_checkpoint.h"

#include <stddef.h>

/* What a campaign's records amount to, up to an LSN. */
struct story_campaign {
  uint64_t id;
  uint64_t description; /* a checksum, as is the next */
  uint64_t tickets_sum; /* of users, LSNs and times, in the order of their numbers */
  uint64_t tickets;
  uint64_t created_lsn, opened_lsn, closed_lsn;
  bool dropped; /* tickets_sum is not known */
};

struct story {
  struct story_campaign *campaigns;
  size_t count, capacity;
  bool no_memory;
  /* Of the last record; of a checkpoint's story as its first block says. */
  uint64_t lsn, life, segment, end; /* `end`: offset there of the block behind it */
};

enum { STORY_CHECKPOINTS = 2, STORY_MESSAGE_MAX = READ_WHY_MAX };

/* Checkpoints and the log of one directory. All zero before the first record. */
struct stories {
  struct story checkpoints[STORY_CHECKPOINTS], log;
  uint64_t numbers[STORY_CHECKPOINTS];
  size_t count;      /* of checkpoints that are whole */
  uint64_t compared; /* those that agree with the log */
  uint64_t wrong;    /* the number of one that does not; 0: there is none */
  char why[STORY_MESSAGE_MAX];
};

/* A checkpoint's records one by one, and its end. */
void stories_checkpoint(struct stories *stories, const struct read_record *record);
void stories_checkpoint_end(struct stories *stories, uint64_t number, const struct checkpoint_finding *found);

/* The log's records, those with which a checkpoint stands for its beginning included, and its end. That checkpoint,
 * which the finding names by then, is compared to nothing. */
void stories_log(struct stories *stories, const struct read_record *record, const struct read_finding *finding);
void stories_log_end(struct stories *stories, const struct read_finding *finding);

bool stories_no_memory(const struct stories *stories);
void stories_fini(struct stories *stories);

#endif
