/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a backup copies: a directory's files as they belong together at one moment, held open, so that none can go
 * while it is read. Needs nothing of the process that owns the directory, and does not disturb it.
 */
#ifndef TOOLS_BACKUP_LOOK_H
#define TOOLS_BACKUP_LOOK_H

#include "verify_file.h"

struct backup_source {
  const char *path;
  int directory;
  struct read_owner owner;
  unsigned char manifest[FILE_BLOCK];
  uint64_t limit_lsn; /* up to which the log is to be copied; READ_NO_LIMIT: nobody writes to it, all of it */
  struct file *files; /* checkpoints, tickets files and segments, by their names */
  size_t count, capacity;
  char why[READ_WHY_MAX]; /* after anything but LOOK_DONE */
};

enum look {
  LOOK_DONE,
  LOOK_AGAIN,   /* somebody opened it, or made a checkpoint, just now */
  LOOK_DAMAGED, /* the manifest is no good */
  LOOK_FAULT
};

/* Looks once. Whatever the answer, backup_look_fini() follows; `path` and `directory` are set. `patient`: somebody
 * who is perhaps just opening the directory is waited for. */
enum look backup_look(struct backup_source *source, bool patient);
void backup_look_fini(struct backup_source *source);

static inline const unsigned char *backup_identity(const struct backup_source *source) { return source->manifest + 16; }

/* The number in the name of a segment; 0: it is none. */
uint64_t backup_segment_of(const struct file *file);

#endif
