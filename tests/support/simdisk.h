/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk in memory, behind struct cpn_io, that forgets what a disk may forget. Single-threaded, deterministic.
 *
 * The model. A sector (512 bytes) is durable once its file is synced; until then a power loss keeps any subset of
 * the sectors written since, and with `random` of a sector written several times any of the last versions. A directory
 * entry (made, renamed, removed) is durable once the directory is synced; until then a power loss keeps the first few
 * changes, in order, as a journalling file system does, or any of them, as the standard allows. A failed sync leaves
 * the sectors looking clean: a later sync does not write them, unless they have been written again; with `random` some
 * of them got to the disk, and of the others each may be dropped from memory at any read.
 * A failed sync of a directory likewise: entries stay as they are seen, and a later sync does not write those that were
 * changed before, unless they are changed again.
 *
 * With `past_cache` there are handles through which a write is durable when it returns (open_durable() of base/io.h):
 * sector by sector, so that one that fails, or that the process dies in, may have done any of them, with `random`.
 *
 * There is a second directory, "archive", whose names are looked at from outside as "archive/...". Its entries become
 * durable when it is synced itself.
 *
 * Every call is counted. At the call number `die_at` the process dies: that call and all later ones do nothing and
 * answer -EIO (with `random` a write may have done its first sectors). At `fail_at` one call fails with `fail_errno`
 * (for good, with `fail_for_good`). Whatever else shall go wrong is for `meddle` to say, and for `lie` what a sync that
 * says it is done has not done.
 *
 *   simdisk.c       the calls
 *   simdisk_loss.c  what a crash leaves; looking, damaging
 */
#ifndef TESTS_SIMDISK_H
#define TESTS_SIMDISK_H

#include "base/env.h"

#define SIM_FILES 256
#define SIM_CHANGES 512
#define SIM_SECTOR 512
#define SIM_HANDLES 64
#define SIM_VERSIONS 64

enum sim_op {
  SIM_OPEN_DIRECTORY,
  SIM_LOCK,
  SIM_IS_LOCKED,
  SIM_LIST,
  SIM_OPEN,
  SIM_SIZE,
  SIM_READ,
  SIM_WRITE,
  SIM_SYNC,
  SIM_RENAME,
  SIM_LINK,
  SIM_REMOVE,
  SIM_SYNC_DIRECTORY
};
extern const char *const sim_op_names[];

struct sim_call {
  uint64_t number; /* from 1 */
  enum sim_op op;
  const char *name; /* of the file, or "" */
  uint64_t offset;  /* READ, WRITE */
  size_t size;
};

/* Asked at each call of a living process. 0: it is done; negative: the -errno that it answers instead; for a read or a
 * write also how many bytes it does, if these are fewer. */
typedef int64_t sim_meddle_fn(void *context, const struct sim_call *call);

/* Asked for each sector that a sync makes durable. A misdirected one goes to sector `*to` of the same file. */
enum sim_lie { SIM_HONEST, SIM_LOSES, SIM_MISDIRECTS };
typedef enum sim_lie sim_lie_fn(void *context, const char *name, uint64_t sector, uint64_t sectors, uint64_t *to);

struct sim_file {
  bool used;
  unsigned char *now;     /* what a read sees */
  unsigned char *durable; /* what a power loss leaves of it, at least */
  unsigned char *dirty;   /* per sector: written since the last sync */
  uint64_t size, durable_size, capacity;
  bool suspect;               /* a sync failed: sectors that look clean may not be durable */
  char name[CPN_IO_NAME_MAX]; /* the last that it had */
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

struct sim_version { /* of a sector, since written again and not synced */
  int file;
  uint64_t sector;
  unsigned char bytes[SIM_SECTOR];
};

struct simdisk {
  struct cpn_io io;
  struct sim_file files[SIM_FILES];
  struct sim_entry now[SIM_FILES], durable[SIM_FILES];
  struct sim_change changes[SIM_CHANGES];
  struct sim_version versions[SIM_VERSIONS];
  int file_count, entry_count; /* none is in use from there on */
  int change_count, version_count;
  int handles[SIM_HANDLES]; /* file of each open handle, -1: free */
  bool is_past_cache[SIM_HANDLES];
  bool locked, archive_locked;

  uint64_t calls, syncs;
  uint64_t die_at, fail_at; /* 0: never */
  int fail_errno;
  bool fail_for_good;
  bool dead;
  /* Planted faults of the rig itself: from the call number `skip_from` on, a sync that does nothing and says it did. */
  bool skip_file_sync, skip_directory_sync;
  uint64_t skip_from;
  bool no_links; /* between directories */
  bool past_cache;

  uint64_t *random; /* state of chance; NULL: nothing is left to chance */
  sim_meddle_fn *meddle;
  sim_lie_fn *lie;
  void *chooser;                       /* context of both */
  uint64_t entropy;                    /* what is called random to the engine */
  uint64_t kept_sectors, lost_sectors; /* by power losses */
  uint64_t dropped_sectors;            /* from memory, after a sync that failed */
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

/* The same in place. `keep_change` not NULL: it is asked for each pending change of the directory. */
struct sim_loss {
  sim_keep_fn *keep, *keep_change;
  void *context;
  int changes_kept;
};
void simdisk_lose_power(struct simdisk *disk, const struct sim_loss *loss);

/* The next process begins: no open handle, no lock, nothing planned to die or fail. */
void simdisk_restart(struct simdisk *disk);

/* The name of the next file after number `*at`, which begins at 0; NULL: there is none. */
const char *simdisk_next_name(const struct simdisk *disk, int *at);
/* The bytes of a file as a read sees them, to look at or to damage; NULL: no such file. */
unsigned char *simdisk_bytes(struct simdisk *disk, const char *name, uint64_t *size);
void simdisk_truncate(struct simdisk *disk, const char *name, uint64_t size);
void simdisk_remove(struct simdisk *disk, const char *name);
/* A second entry `to` with a copy of `from`'s bytes. */
void simdisk_duplicate(struct simdisk *disk, const char *from, const char *to);

/* Changes a file where it lies, in memory and on the medium: rot. */
void simdisk_flip(struct simdisk *disk, const char *name, uint64_t offset, unsigned char bits);

/* For simdisk_loss.c. */
void simdisk_keep_change(struct simdisk *disk, struct sim_entry *entries, const struct sim_change *kept);
void simdisk_collect(struct simdisk *disk);
uint64_t simdisk_chance(uint64_t *state); /* splitmix64 (Steele, Lea and Flood, 2014) */
struct sim_entry *simdisk_entry(const struct simdisk *disk, const struct sim_entry *entries, const char *name);
void simdisk_put(struct simdisk *disk, struct sim_entry *entries, const char *name, int file);
void simdisk_reserve(struct sim_file *file, uint64_t size);
int simdisk_new_file(struct simdisk *disk);
/* Pages whose sync failed look clean, so some may be dropped, whenever memory is short. */
void simdisk_drop_pages(struct simdisk *disk, struct sim_file *file);
void simdisk_stop_dropping(struct simdisk *disk);
void simdisk_must(bool condition, const char *what);

/* The world of an engine on this disk: no threads; "random" bytes from a counter. */
struct cpn_env simdisk_env(struct simdisk *disk);

#endif
