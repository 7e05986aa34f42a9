/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in memory, behind struct cpn_io, that forgets what a disk may forget. Single-threaded, deterministic.
 *
 * The model. A sector (512 bytes) is durable once its file is synced; until then a power loss keeps any subset of
 * the sectors written since. A directory entry (made, renamed, removed) is durable once the directory is synced;
 * until then a power loss keeps the first few changes, in order, as a journalling file system does. A failed sync
 * leaves the sectors looking clean: a later sync does not write them, unless they have been written again.
 *
 * There is a second directory, "archive", whose names are looked at from outside as "archive/...". Its entries become durable
 * when it is synced itself.
 *
 * Every call is counted. At the call number `die_at` the process dies: that call and all later ones do nothing and
 * answer -EIO. At `fail_at` one call fails with `fail_errno` (for good, with `fail_for_good`).
 */
#ifndef TESTS_SIMDISK_H
#define TESTS_SIMDISK_H

#include "base/env.h"

#define SIM_FILES 96
#define SIM_SECTOR 512
#define SIM_HANDLES 64

struct sim_file {
  bool used;
  unsigned char *now;     /* what a read sees */
  unsigned char *durable; /* what a power loss leaves of it, at least */
  unsigned char *dirty;   /* per sector: written since the last sync */
  uint64_t size, durable_size, capacity;
};

struct sim_entry {
  char name[CPN_IO_NAME_MAX]; /* "": none */
  int file;
};

struct sim_change { /* of the directory, not yet durable */
  char name[CPN_IO_NAME_MAX];
  int file; /* -1: removed */
  bool renamed;
};

struct simdisk {
  struct cpn_io io;
  struct sim_file files[SIM_FILES];
  struct sim_entry now[SIM_FILES], durable[SIM_FILES];
  struct sim_change changes[3 * SIM_FILES];
  int change_count;
  int handles[SIM_HANDLES]; /* file of each open handle, -1: free */
  bool locked;

  uint64_t calls, syncs;
  uint64_t die_at, fail_at; /* 0: never */
  int fail_errno;
  bool fail_for_good;
  bool dead;
  /* Planted faults of the rig itself: from the call number `skip_from` on, a sync that does nothing and says it did. */
  bool skip_file_sync, skip_directory_sync;
  uint64_t skip_from;
  bool no_links; /* between directories */
};

struct simdisk *simdisk_create(void);
void simdisk_destroy(struct simdisk *disk);

/* A copy as it stands, with no open handle and no lock: what the next process finds if this one dies (power stays). */
struct simdisk *simdisk_copy(const struct simdisk *disk);

/* Sectors and directory changes that a power loss may take or leave now. */
uint64_t simdisk_pending_sectors(const struct simdisk *disk);

/* What the next process finds after a power loss: `keep` is asked for each pending sector, in a fixed order; of the
 * pending directory changes the first `changes_kept` survive. */
typedef bool sim_keep_fn(void *context, uint64_t sector);
struct simdisk *simdisk_power_loss(const struct simdisk *disk, sim_keep_fn *keep, void *context, int changes_kept);

/* The bytes of a file as a read sees them, to look at or to damage; NULL: no such file. */
unsigned char *simdisk_bytes(struct simdisk *disk, const char *name, uint64_t *size);
void simdisk_truncate(struct simdisk *disk, const char *name, uint64_t size);
void simdisk_remove(struct simdisk *disk, const char *name);
/* A second entry `to` with a copy of `from`'s bytes. */
void simdisk_duplicate(struct simdisk *disk, const char *from, const char *to);

/* The world of an engine on this disk: no threads; "random" bytes from a counter. */
struct cpn_env simdisk_env(struct simdisk *disk);

#endif
