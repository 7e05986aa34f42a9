/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a directory's own evidence shows, by docs/FORMAT.md and by a reader that shares nothing with the library's but
 * the checksum: whether an opening has to refuse it, and if not where the log ends.
 */
#ifndef TESTS_SIM_EVIDENCE_H
#define TESTS_SIM_EVIDENCE_H

#include "support/simdisk.h"

#define EVIDENCE_LIVES 64

enum evidence_verdict {
  EVIDENCE_NOTHING, /* no directory, or an unfinished creation */
  EVIDENCE_SOUND,   /* it has to open, and to end at `stop_lsn` */
  EVIDENCE_DAMAGED  /* it has to be refused */
};

struct evidence {
  enum evidence_verdict verdict;
  const char *why; /* DAMAGED: what */
  uint64_t stop_lsn, proof_lsn;
  uint64_t life;                      /* of the last frame */
  uint64_t began_lsn[EVIDENCE_LIVES]; /* of each life up to that */
  uint64_t checkpoint;                /* the number of the one that the log goes on behind; 0: none */
  bool passed_over;                   /* a newer one is named, and damaged, or was not to be read */
  uint64_t cut_bytes;                 /* behind the stop, up to the last that is not zero */
};

void evidence_read(struct evidence *evidence, struct simdisk *disk);

/* For an opening to which the disk does not give back the newest checkpoint, of which then nothing counts, nor, with
 * `neither`, the older one. */
void evidence_read_without(struct evidence *evidence, struct simdisk *disk, bool neither);

/* How far the log holds what lives up to this one have written. */
uint64_t evidence_kept(const struct evidence *evidence, uint64_t life);

#endif
