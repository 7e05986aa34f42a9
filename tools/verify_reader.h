/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the parts of verify_read.h: what the reader of a directory knows, and where it begins (verify_start.c).
 */
#ifndef TOOLS_VERIFY_READER_H
#define TOOLS_VERIFY_READER_H

#include "verify_checkpoint.h"

/* What the walk through the log knows so far. `proof` is the highest LSN known to have been durable. */
struct reader {
  int directory;
  int archive; /* or -1 */
  unsigned char identity[FILE_IDENTITY];
  uint64_t first_segment;               /* the first that has to exist, as the manifest says */
  uint64_t checkpoints[2];              /* the newest one's number there, and the older one's; or 0 */
  uint64_t start_segment, start_offset; /* where reading begins */
  uint64_t limit_lsn; /* nothing beyond is read; and, if there is a limit, everything up to it must be there */
  uint64_t highest;   /* number of the last segment in the directory */
  uint64_t life;      /* of the frame before */
  uint64_t proof;
  char proof_file[READ_FILE_MAX];
  uint64_t proof_offset;
  const struct read_request *request;
  struct read_finding *finding;
};

enum step { STEP_ON, STEP_NO_FRAME, STEP_OVER /* the finding has the verdict */ };

/* Takes a verdict down. */
__attribute__((format(printf, 5, 6))) enum step reader_judge(struct reader *r, enum read_verdict verdict,
                                                             const char *file, uint64_t offset, const char *why, ...);
enum step reader_cannot_read(struct reader *r, const struct file *file);
void reader_take_proof(struct reader *r, uint64_t lsn, const char *file, uint64_t offset);
/* Looks for proofs in what follows the last frame of a file; tells where its last block that is not zero ends. */
enum step reader_scan_rest(struct reader *r, struct file *file, uint64_t from, uint64_t *filled);

/* Finds the highest segment number: what lies between the first and it must be there. False: errno tells why. */
bool reader_list_segments(struct reader *r);
/* The manifest's bytes are judged and the identity is taken. False: the finding has the verdict. */
bool reader_read_manifest(struct reader *r);
/* Beside an owner: keeps open what the manifest names, as checkpoints may be made faster than the log is read. The
 * finding has a verdict if the manifest cannot be read any more. */
void reader_hold_files(struct reader *r);
/* Judges the checkpoints, and decides where reading begins. */
void reader_find_start(struct reader *r);

#endif
