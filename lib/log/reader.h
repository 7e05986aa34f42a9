/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a directory's log from the first record on, in order, and says where and why it ended: at a torn tail,
 * which is no fault, or at damage, which is. docs/FORMAT.md has the rules; this is them. Writes nothing.
 */
#ifndef CPN_LOG_READER_H
#define CPN_LOG_READER_H

#include "base/env.h"
#include "base/fault.h"
#include "base/io.h"
#include "log/format.h"

/* Records of tickets that follow each other and have all of their heads in common: type, length, campaign. In the file
 * some of them may be joined (log/join.h). */
struct cpn_run {
  enum cpn_record_type type;  /* ISSUE, ISSUE_UUID */
  uint32_t campaign;          /* index */
  uint32_t words;             /* of each record, as LSNs count */
  size_t count;               /* of records, 1 or more */
  const unsigned char *bytes; /* as they lie in the file: whole, and in number what `count` says */
  uint64_t lsn;               /* where the first begins */
};

struct cpn_reader {
  /* Set by the caller. */
  const struct cpn_io *io;
  int directory;
  struct cpn_manifest manifest;
  /* Believe nothing beyond this LSN, and miss nothing before it: a living owner's hint. UINT64_MAX: read what is
   * there. */
  uint64_t limit_lsn;
  /* Each record in order; a negative status ends the reading, as damage at that record's frame. */
  coupon_status (*each)(void *context, const struct cpn_record *record, struct cpn_fault *fault);
  /* Takes the place of each() for tickets. `*done` of them are before the one that broke a rule. */
  coupon_status (*each_run)(void *context, const struct cpn_run *run, uint64_t *done, struct cpn_fault *fault);
  void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes of segment files; may be NULL */
  void *context;
  /* Where to begin, what lies before being known: behind a checkpoint. All zeros: at the beginning of the log. */
  struct cpn_reader_start {
    uint64_t segment, offset, lsn, life;
  } start;

  /* Set by reading; proof_lsn may be more than 0 before. */
  uint64_t first_number, last_number; /* segments that are read */
  uint64_t lsn;                       /* stop: end of the last valid frame */
  uint64_t life;
  bool ended;         /* its last record is END */
  uint64_t offset;    /* stop, in the last segment */
  uint64_t file_size; /* of the last segment */
  uint64_t tail_end;  /* behind the last byte that is not zero, >= offset */
  uint64_t proof_lsn; /* everything up to here was synced */
  /* In the last segment: where the first frame that is not proved begins; 0: the header is not either. */
  uint64_t proof_offset;
  uint64_t records;
};

/* Reads and checks the manifest. COUPON_E_ACCESS: there is none and no segment either, so no directory of ours
 * (yet). */
CPN_MUST_CHECK coupon_status cpn_reader_manifest(const struct cpn_io *io, int directory, struct cpn_manifest *manifest,
                                                 struct cpn_fault *fault);

/* The number of the last segment there is, for an estimate of what there is to read; 0: cannot tell. */
uint64_t cpn_reader_last_segment(const struct cpn_io *io, int directory);

/* The bytes of these segments' files, for the same, up to one that cannot be had. */
uint64_t cpn_reader_log_bytes(const struct cpn_io *io, int directory, uint64_t first, uint64_t last);

/* Reads everything from the start on. COUPON_OK, or the fault. */
CPN_MUST_CHECK coupon_status cpn_reader_run(struct cpn_reader *reader, struct cpn_fault *fault);

#endif
