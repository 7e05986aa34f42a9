/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fails on demand: a disk that fails, holds or stutters, and an allocator that counts and runs out.
 */
#ifndef TESTS_SUPPORT_FAILING_H
#define TESTS_SUPPORT_FAILING_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/env.h"
#include "coupon/coupon.h"

/* --- a disk -------------------------------------------------------------------------------------- */

enum help_disk_op { HELP_WRITE, HELP_SYNC, HELP_OTHER, HELP_OPS };

/* The real file system, with faults. Set what shall happen before it can; count what did. */
struct help_disk {
  struct cpn_io io;
  /* The fault: the call number `fail_at` (from 1; 0: none) of kind `fail_op` answers -`error`, and with `for_good` all
   * later ones of that kind. A write first does `torn` bytes of its work. */
  enum help_disk_op fail_op;
  uint64_t fail_at;
  int error;
  size_t torn;
  _Atomic bool for_good;
  /* The stutter: a write does at most so many bytes (0: any number); every so manieth is interrupted (0: none). */
  size_t write_at_most;
  uint64_t interrupt_every;
  /* Called before each listing of the directory, with list_context. */
  void (*before_list)(void *context);
  void *list_context;

  _Atomic uint64_t calls[HELP_OPS];
  _Atomic uint64_t calls_after_fault[HELP_OPS];
  _Atomic bool faulted;

  pthread_mutex_t lock; /* of the four below */
  pthread_cond_t changed;
  bool hold;
  int held;
};

void help_disk_init(struct help_disk *disk);
/* `threads`: with a commit thread. */
struct cpn_env help_disk_env(const struct help_disk *disk, bool threads);
/* The next call of kind `op` answers -`error`. */
void help_disk_fail_next(struct help_disk *disk, enum help_disk_op op, int error);
/* From now on syncs stop before they begin; waits until one has; lets them go on, for good. */
void help_disk_hold(struct help_disk *disk);
void help_disk_wait_held(struct help_disk *disk);
void help_disk_release(struct help_disk *disk);

/* --- memory -------------------------------------------------------------------------------------- */

/* An allocator that checks what it is given back, and fails at call number `fail_at` (from 1; 0: never), for good with
 * `for_good`. */
struct help_allocator {
  _Atomic uint64_t calls, fail_at;
  _Atomic bool for_good;
  _Atomic int64_t live_blocks, live_bytes;
  _Atomic uint64_t wrong; /* freed with another size or pointer, misaligned demands */
};
struct coupon_allocator help_allocator_use(struct help_allocator *allocator);

#endif
