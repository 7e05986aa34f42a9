/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bugs, planted between the library and its disk, so that a run can show that it would find them. Each is what the
 * library would be if it left out one step of its protocol; the library itself has none of them.
 */
#ifndef TESTS_SIM_PLANTED_H
#define TESTS_SIM_PLANTED_H

#include "engine/engine.h"
#include "support/simdisk.h"

enum plant {
  PLANT_NOTHING,
  PLANT_SYNC_SKIPPED,           /* a commit is not synced */
  PLANT_WRITE_NOT_DURABLE,      /* … nor written past the cache, where it is meant to be */
  PLANT_DIRECTORY_SYNC_SKIPPED, /* a new segment is used before its entry is synced */
  PLANT_ANSWER_BEFORE_SYNC,     /* final is said when the frame is written; the sync comes with the next one */
  PLANT_SYNC_RETRIED,           /* a sync that failed is tried again, and believed */
  PLANT_TAIL_RESURRECTED,       /* what recovery cut stays there, and lives are not told apart */
  PLANT_TAIL_NOT_WRITTEN_AGAIN, /* recovery only syncs what nothing proves to have been synced */
  PLANT_RECOVERY_NOT_SYNCED,    /* recovery writes, and does not sync */
  PLANT_DAMAGE_OVERLOOKED,      /* recovery does not look behind the first frame that is not valid (a lying disk) */
  PLANT_CHECKPOINT_NOT_SYNCED,  /* a checkpoint is switched to before it is synced */
  PLANT_SEGMENTS_TOO_EARLY,     /* segments go that the older checkpoint still needs */
  PLANT_TIDIED_BEFORE_SWITCH,   /* what the next manifest will not name goes before that is durable */
  PLANT_CHECKPOINT_TOO_MUCH,    /* a checkpoint has tickets from behind its LSN */
  PLANT_CHECKPOINT_TOO_LITTLE,  /* … lacks the last one before it */
  PLANT_JOINS_TIMES,            /* tickets are joined whose times differ */
  PLANT_COUNT
};

/* A name, the number of seeds within which it has to be found, and whether it takes a disk that lies. */
struct plant_fact {
  const char *name;
  uint64_t within_seeds;
  bool lying;
};
extern const struct plant_fact plant_facts[PLANT_COUNT];

struct planted {
  struct cpn_io io; /* in place of the disk's */
  struct simdisk *disk;
  enum plant plant;
  bool opening;
  int (*commit)(void *context, const struct cpn_batch *batch);
  struct cpn_segment_log *log;
  unsigned char scratch[65536];
};

void planted_init(struct planted *planted, struct simdisk *disk, enum plant plant);
/* Around the opening of an engine. */
void planted_before_opening(struct planted *planted);
void planted_after_opening(struct planted *planted, coupon_engine *engine);

#endif
