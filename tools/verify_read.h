/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second reader of the format on disk, for auditing: written from docs/FORMAT.md alone. It shares no
 * code with the library, so that a mistake there cannot hide itself here. It only reads.
 *
 * It vouches for frames and for the form of records; what the records may say is verify_rules.h.
 * While another process owns the directory, it reads up to the durable LSN of that owner's hint.
 */
#ifndef TOOLS_VERIFY_READ_H
#define TOOLS_VERIFY_READ_H

#include "verify_record.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum read_verdict {
  READ_OK,
  READ_DAMAGED,   /* what was durable is gone, or bytes under a right checksum break the format */
  READ_NEWER,     /* a right checksum vouches for something that version 1 does not know */
  READ_UNREADABLE /* the operating system said no, or it is no coupon directory */
};

enum { READ_FILE_MAX = 32, READ_WHY_MAX = 224 };

/* A record of a valid frame, whose length suits its type. `body` is what follows the first 8 bytes. */
struct read_record {
  uint64_t lsn;     /* of the byte past it */
  uint64_t segment; /* the file's number; 0: a checkpoint stands for the record */
  uint64_t offset;  /* of the record in that file; of joined tickets, that of the first */
  uint64_t end;     /* offset there of the byte past its frame */
  uint64_t life;
  unsigned type;
  uint32_t campaign;
  const unsigned char *body; /* valid during the visit only; of a ticket that is joined, as if it were not */
};

typedef void read_visit(void *context, const struct read_record *record);

/* Who has the directory open for writing, and how far that owner says the log is durable. */
struct read_owner {
  bool held;    /* by another process; a lock of our own cannot be seen */
  pid_t locker; /* as the kernel tells it; 0 or -1 where it cannot */
  bool hint;    /* the hint's checksum is right; only then the rest means something */
  uint64_t life;
  uint64_t durable_lsn;
  uint64_t pid;
  unsigned char raw[40]; /* the hint as it stood */
};

/* What is wrong with a tickets file. */
struct tickets_finding {
  enum read_verdict verdict; /* READ_OK: nothing */
  bool meant;                /* the first block is right: whatever is wrong lies behind it */
  char file[READ_FILE_MAX];
  uint64_t offset;
  const char *why;
};

struct read_finding {
  enum read_verdict verdict;
  char file[READ_FILE_MAX]; /* what the verdict is about; "" where it is no file */
  uint64_t offset;
  char why[READ_WHY_MAX];

  struct read_owner owner; /* as it was before the log was read */
  uint64_t segments;
  uint64_t frames;
  uint64_t records;
  uint64_t lives;
  uint64_t checkpoint;         /* behind which the log was read, because what lies before is gone; 0: read whole */
  uint64_t checkpoint_lsn;     /* of that */
  uint64_t damaged_checkpoint; /* one that the manifest names and that is no good; 0: none */
  struct tickets_finding tickets_fault; /* of a file that is needed for no opening */
  uint64_t lsn;                         /* the end of what was read */
  bool ended;                           /* the last record is END: the directory was closed, not killed */
  uint64_t cut_bytes;                   /* of a torn tail; recovery will cut it, and none of it was final */
  char cut_file[READ_FILE_MAX];
  uint64_t cut_offset;
};

/*
 * Reads `directory` from the first record on, up to `limit_lsn` or, with READ_NO_LIMIT, to the end (of
 * what is durable, if it is owned), and calls `visit` (may be NULL) for each record in order. Records
 * before the place of a damage have been visited.
 */
#define READ_NO_LIMIT UINT64_MAX
void read_log(const char *directory, uint64_t limit_lsn, read_visit *visit, void *context,
              struct read_finding *finding);

/* The same with more to ask for. */
struct checkpoint_finding;
struct read_request {
  const char *directory;
  const char *archive; /* where segments are that are not in the directory any more, from the first one on; or NULL */
  uint64_t limit_lsn;
  read_visit *visit; /* or NULL */
  /* For each checkpoint that the manifest names, before anything else: the records that it stands for, until
   * something is found wrong; then the verdict. Or NULL. */
  read_visit *visit_checkpoint;
  void (*end_checkpoint)(void *context, uint64_t number, const struct checkpoint_finding *found);
  void *context;
};
void read_directory(const struct read_request *request, struct read_finding *finding);

/* Looks at the owner again: true if somebody opened, closed or went on writing since `before`. */
bool read_owner_changed(const char *directory, const struct read_owner *before);

/* The name of segment `number`. */
void read_segment_name(uint64_t number, char name[READ_FILE_MAX]);

#endif
