/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a directory, copied one by one: whole, or, of a log that somebody writes to, up to an LSN. A copy is
 * synced and has mode 0600 when the call returns.
 */
#ifndef TOOLS_BACKUP_COPY_H
#define TOOLS_BACKUP_COPY_H

#include "verify_file.h"

#include <signal.h>

/* Where copies go, and what became of them. */
struct copy_target {
  int directory;
  const unsigned char *identity;
  volatile sig_atomic_t *interrupted; /* set: stop */
  uint64_t files, bytes;              /* made, and written, so far */
  char why[READ_WHY_MAX];             /* after false */
  bool damaged;                       /* after false: it is the source that is wrong */
};

/* The bytes that the file had when it was opened. */
bool copy_whole(struct copy_target *target, struct file *from);

/* The same of `length` bytes that are at hand. */
bool copy_bytes(struct copy_target *target, const char *name, const unsigned char *bytes, size_t length);

/*
 * A segment: its header, frames up to `limit_lsn`, which is the end of a frame, and zeros to the size that it has. With
 * READ_NO_LIMIT the file as it is, whatever it holds. `*lsn` becomes the end of its last frame; a segment that begins
 * behind the limit is not copied, and `*lsn` stays.
 */
bool copy_segment(struct copy_target *target, struct file *from, uint64_t limit_lsn, uint64_t *lsn);

#endif
