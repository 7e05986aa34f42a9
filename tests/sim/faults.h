/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the disk and the memory of a run do wrong, by chance. Each seed has its own mixture: most kinds are off, so that
 * those that are on meet each other alone.
 */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include "coupon/coupon.h"
#include "sim/chance.h"
#include "sim/trace.h"

struct faults {
  struct chance *chance;
  struct simdisk *disk;
  struct trace *trace;
  /* Each once in so many calls; 0: never. */
  uint64_t interrupt, fall_short, fail, fail_sync, lose, misdirect;
  uint64_t rot; /* once in so many crashes */
  bool paused;
  /* Or not by chance: from 1, the call number `at` (0: none) of those that `syncs_only` leaves fails `with` this errno,
   * for good with `for_good`; with 0 a read or write does one byte only. */
  uint64_t at, reached;
  int with;
  bool syncs_only, for_good;

  int error;                 /* the first that a call failed with since faults_forget(), positive; 0: none */
  enum sim_op failed_op;     /* and the call */
  bool had_no_space, had_io; /* which kinds there have been since then: not every one ends what it happens to */
  bool sync_failed;          /* since then */
  uint64_t interrupted;      /* in a row: a disk that only ever interrupts is not one */
  uint64_t lies;             /* told in this run */

  /* The allocator: the allocation number `refuse_at` (from 1; 0: none) fails, for good with `refuse_all`. */
  uint64_t allocations, refuse_at;
  bool refuse_all, refused;
  int64_t live_bytes;
};

void faults_init(struct faults *faults, struct chance *chance, struct simdisk *disk, struct trace *trace);
/* Chooses what is on. */
void faults_mix(struct faults *faults, bool lying);
void faults_forget(struct faults *faults);

/* What an engine has to say to that error; COUPON_OK: there was none. */
coupon_status faults_status(const struct faults *faults);
/* Whether one of the errors since then is a reason to say this: what an opening could do without (a copy into the
 * archive, a checkpoint beside another) may have failed before what it could not. */
bool faults_explain(const struct faults *faults, coupon_status status);

struct coupon_allocator faults_allocator(struct faults *faults);
/* Calls of malloc() and aligned_alloc() in this program count, and fail, with the allocator's, until it is NULL
 * again. */
extern struct faults *faults_of_malloc;

/* Rot, if the mixture has any: between two lives. */
void faults_rot(struct faults *faults);

#endif
