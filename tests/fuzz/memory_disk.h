/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory in memory that two readers see: the library through struct cpn_io, and the readers of tools/verify_*.c
 * through the few calls of the system that they make (fuzz_posix.h). No sectors, no power: tests/support/simdisk has
 * those. This one is fast, since a fuzzer makes a new one for each input.
 */
#ifndef TESTS_FUZZ_MEMORY_DISK_H
#define TESTS_FUZZ_MEMORY_DISK_H

#include "base/env.h"

/* More than any input and what an opening adds to it need. */
#define MEMORY_FILES 24
#define MEMORY_FILE_BYTES ((size_t)32 * 1024)

struct memory_file {
  char name[CPN_IO_NAME_MAX]; /* "": none */
  size_t size;
  unsigned char bytes[MEMORY_FILE_BYTES];
};

struct memory_disk {
  struct cpn_io io;
  struct memory_file files[MEMORY_FILES];
  bool locked;      /* by an engine on this disk */
  uint64_t owner;   /* the process that seems to hold the lock; 0: nobody */
  uint64_t changes; /* calls that changed anything */
};

void memory_disk_init(struct memory_disk *disk);

/* Removes all files and forgets the lock. */
void memory_disk_clear(struct memory_disk *disk);

/* A new file with these bytes, and zeros behind them up to `size`; what does not fit is left away. */
void memory_disk_put(struct memory_disk *disk, const char *name, const unsigned char *bytes, size_t length,
                     size_t size);

/* NULL: there is no such file. */
struct memory_file *memory_disk_find(struct memory_disk *disk, const char *name);

/* The world of an engine on this disk: no threads; "random" bytes that are always the same. */
struct cpn_env memory_disk_env(struct memory_disk *disk);

/* The disk that the calls of fuzz_posix.h see. */
extern struct memory_disk *memory_disk_shown;

#endif
