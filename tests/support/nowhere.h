/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world without a disk and without threads: an engine on it has a log, with everything that a log brings with it
 * (reservations, a commit stage, finality that comes later), but what it writes goes nowhere, and it is the test's
 * threads that step. So the protocol runs as fast as memory, and a test decides when what is decided becomes final.
 *
 * Kept are the names of the last few files and the first block of each: enough for an engine to make its directory and
 * to read back what it has just made. Nothing can be opened again.
 *
 * No locks: an engine uses its files one thread at a time, who opens, steps or closes.
 */
#ifndef TESTS_SUPPORT_NOWHERE_H
#define TESTS_SUPPORT_NOWHERE_H

#include <stdatomic.h>

#include "base/env.h"
#include "log/format.h"

#define NOWHERE_FILES 8

struct nowhere_file {
  char name[CPN_IO_NAME_MAX]; /* "": free */
  uint32_t handles;           /* open ones */
  uint64_t made;              /* the higher, the later */
  uint64_t size;              /* as written; the bytes behind the first block read as zeros */
  unsigned char block[CPN_BLOCK_SIZE];
};

struct nowhere {
  struct cpn_io io;
  struct nowhere_file files[NOWHERE_FILES];
  uint64_t made;
  /* Somebody is at the commit stage. For whoever steps: see race_step(). */
  _Alignas(CPN_CACHE_LINE) _Atomic uint32_t stepping;
};

struct nowhere *nowhere_create(void);
void nowhere_destroy(struct nowhere *nowhere);

struct cpn_env nowhere_env(struct nowhere *nowhere);

/* The nowhere that an engine was opened on; NULL: it is on another world. */
struct nowhere *nowhere_of(const struct cpn_env *env);

#endif
