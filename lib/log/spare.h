/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next segment's file, made ready before the log gets there, by a thread of its own, so that the commit stage does
 * not stop for as long as it takes to write a whole segment of zeros.
 *
 * The file gets its room on the disk first, and reads as zeros from then on. Then the zeros are written, because a
 * commit into blocks that have never been written takes half as long again; but slowly, in pieces with pauses between
 * them, because at full speed they would take the disk from the commits. If the log gets there first it has the file as
 * far as it has come. Where a file system cannot give room without writing, the zeros are written at once, and waited
 * for.
 *
 * Guarantees
 *   (a) There is at most one file under the temporary name, and either the maker has it or the log, never both.
 *   (b) What goes wrong with making ahead is nobody's failure: the log then makes the segment itself when it gets
 *   there,
 *       and meets the fault itself, if it is still there.
 *   (c) What is handed on is as long as it shall be, reads as zeros, and stays so after a power loss; no write to it
 *   and no
 *       sync of it has failed.
 *
 * Progress: the log waits for the maker to end the piece it is at, or all of the file where it has to be written.
 * Nobody waits for anything else here.
 */
#ifndef CPN_LOG_SPARE_H
#define CPN_LOG_SPARE_H

#include <stdatomic.h>

#include "base/event.h"
#include "base/io.h"

/* Segments below this size are made where they are needed: that takes no longer than some commits. */
#define CPN_SPARE_SIZE_MIN (UINT64_C(1) << 20)

enum cpn_spare_state {
  CPN_SPARE_NONE,   /* nobody has asked; the log's to change */
  CPN_SPARE_WANTED, /* asked for; the maker's */
  CPN_SPARE_READY,  /* made; the log's */
  CPN_SPARE_FAILED, /* could not be made; the log's */
};

struct cpn_spare {
  const struct cpn_io *io; /* constant while the maker runs, as is the next */
  int directory;           /* handle; not owned */
  bool has_maker;          /* a thread runs; without one nothing is made ahead */
  uint64_t size;           /* of the file; written by the log before it asks */
  int file;                /* handle of what is READY; written by whoever has the file */
  _Atomic uint32_t state;  /* enum cpn_spare_state */
  _Atomic uint32_t hurry;  /* the log waits; the log writes */
  _Atomic uint32_t stop;   /* the maker shall end, in the middle of a file too */
  struct cpn_event asked;  /* for the maker: WANTED, hurry, or stop */
  struct cpn_event made;   /* for the log: not WANTED any more */
};

void cpn_spare_init(struct cpn_spare *spare, const struct cpn_io *io, int directory);

/* The log asks for a file of `size` bytes. Does nothing where none can be had, or one is on its way. */
void cpn_spare_want(struct cpn_spare *spare, uint64_t size);

/* The log takes it: a handle of a file of `size` zeros, durable, under the temporary name; or -1, and then there is
 * nothing under that name. Waits for a file that is being made. */
CPN_MUST_CHECK int cpn_spare_take(struct cpn_spare *spare, uint64_t size);

/* The maker; `argument` is the struct cpn_spare. */
void *cpn_spare_thread(void *argument);
/* Lets the maker end; the caller then joins it, and sets has_maker to false. */
void cpn_spare_stop(struct cpn_spare *spare);

/* After the maker's end: closes what nobody took, and unless `leave` removes it. (After a failure it is left, for the
 * next opening to remove.) */
void cpn_spare_fini(struct cpn_spare *spare, bool leave);

#endif
