/* SPDX-License-Identifier: Apache-2.0 */
#include "support/simdisk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY_HANDLE 1000000
#define ARCHIVE_HANDLE 1000001

const char *const sim_op_names[] = {"open the directory",
                                    "lock",
                                    "ask for the lock",
                                    "list",
                                    "open",
                                    "size",
                                    "read",
                                    "write",
                                    "sync",
                                    "rename",
                                    "link",
                                    "remove",
                                    "sync the directory"};

uint64_t simdisk_chance(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static bool toss(struct simdisk *disk) { return disk->random != NULL && (simdisk_chance(disk->random) & 1) != 0; }

void simdisk_must(bool condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "simdisk: %s\n", what);
  abort();
}

/* Counts a call. Negative: what it answers instead of being done; positive: how many bytes it does. */
static int64_t admit(struct simdisk *disk, enum sim_op op, const char *name, uint64_t offset, size_t size) {
  disk->calls++;
  if (disk->die_at != 0 && disk->calls >= disk->die_at) disk->dead = true;
  if (disk->dead) return -EIO;
  if (disk->fail_at != 0 && (disk->calls == disk->fail_at || (disk->fail_for_good && disk->calls > disk->fail_at)))
    return -disk->fail_errno;
  if (disk->meddle == NULL) return (int64_t)size;
  const struct sim_call call = {.number = disk->calls, .op = op, .name = name, .offset = offset, .size = size};
  int64_t says = disk->meddle(disk->chooser, &call);
  return says == 0 || says > (int64_t)size ? (int64_t)size : says;
}

/* --- files ------------------------------------------------------------------------------------------ */

void simdisk_reserve(struct sim_file *file, uint64_t size) {
  if (size <= file->capacity) return;
  uint64_t capacity = cpn_max_u64(4096, cpn_ceil_power_of_two(size));
  file->now = realloc(file->now, capacity);
  file->durable = realloc(file->durable, capacity);
  file->dirty = realloc(file->dirty, capacity / SIM_SECTOR);
  simdisk_must(file->now != NULL && file->durable != NULL && file->dirty != NULL, "no memory");
  memset(file->now + file->capacity, 0, capacity - file->capacity);
  memset(file->durable + file->capacity, 0, capacity - file->capacity);
  memset(file->dirty + file->capacity / SIM_SECTOR, 0, (capacity - file->capacity) / SIM_SECTOR);
  file->capacity = capacity;
}

static bool is_reachable(const struct simdisk *disk, int file) {
  for (int i = 0; i < disk->entry_count; i++) {
    if (disk->now[i].name[0] != 0 && disk->now[i].file == file) return true;
    if (disk->durable[i].name[0] != 0 && disk->durable[i].file == file) return true;
  }
  for (int i = 0; i < disk->change_count; i++) {
    if (disk->changes[i].file == file) return true;
  }
  for (int i = 0; i < SIM_HANDLES; i++) {
    if (disk->handles[i] == file) return true;
  }
  return false;
}

/* Frees what no name leads to any more, nor can after a power loss. */
void simdisk_collect(struct simdisk *disk) {
  for (int i = 0; i < disk->file_count; i++) {
    struct sim_file *file = &disk->files[i];
    if (!file->used || is_reachable(disk, i)) continue;
    free(file->now);
    free(file->durable);
    free(file->dirty);
    memset(file, 0, sizeof *file);
  }
}

int simdisk_new_file(struct simdisk *disk) {
  if (disk->file_count == SIM_FILES) simdisk_collect(disk);
  for (int i = 0; i < SIM_FILES; i++) {
    if (disk->files[i].used) continue;
    disk->files[i].used = true;
    if (i >= disk->file_count) disk->file_count = i + 1;
    return i;
  }
  simdisk_must(false, "too many files");
  return -1;
}

/* --- entries ---------------------------------------------------------------------------------------- */

struct sim_entry *simdisk_entry(const struct simdisk *disk, const struct sim_entry *entries, const char *name) {
  for (int i = 0; i < disk->entry_count; i++) {
    if (entries[i].name[0] != 0 && strcmp(entries[i].name, name) == 0) return (struct sim_entry *)&entries[i];
  }
  return NULL;
}

void simdisk_put(struct simdisk *disk, struct sim_entry *entries, const char *name, int file) {
  struct sim_entry *entry = simdisk_entry(disk, entries, name);
  if (file < 0) {
    if (entry != NULL) entry->name[0] = 0;
    return;
  }
  for (int i = 0; entry == NULL && i < SIM_FILES; i++) {
    if (entries[i].name[0] != 0) continue;
    entry = &entries[i];
    if (i >= disk->entry_count) disk->entry_count = i + 1;
  }
  simdisk_must(entry != NULL, "too many entries");
  memcpy(entry->name, name, strlen(name) + 1);
  entry->file = file;
}

/* Names of the second directory have this before them. */
#define ARCHIVE_PREFIX "archive/"

static bool is_archived(const char *name) { return strncmp(name, ARCHIVE_PREFIX, strlen(ARCHIVE_PREFIX)) == 0; }

static void change(struct simdisk *disk, const char *name, int file) {
  simdisk_must(disk->change_count < SIM_CHANGES && strlen(name) < CPN_IO_NAME_MAX, "too many directory changes");
  struct sim_change *at = &disk->changes[disk->change_count++];
  memcpy(at->name, name, strlen(name) + 1);
  at->file = file;
  at->renamed = false;
  if (file >= 0 && !is_archived(name)) memcpy(disk->files[file].name, name, strlen(name) + 1);
  simdisk_put(disk, disk->now, name, file);
}

/* A change that a sync makes durable, or a power loss leaves. */
void simdisk_keep_change(struct simdisk *disk, struct sim_entry *entries, const struct sim_change *kept) {
  /* A rename is recorded as its new name; the old one goes with it. */
  for (int i = 0; kept->renamed && i < disk->entry_count; i++) {
    if (entries[i].name[0] != 0 && entries[i].file == kept->file) entries[i].name[0] = 0;
  }
  simdisk_put(disk, entries, kept->name, kept->file);
  if (kept->file >= 0 && !is_archived(kept->name)) memcpy(disk->files[kept->file].name, kept->name, sizeof kept->name);
}

struct full_name {
  char text[CPN_IO_NAME_MAX];
};

static struct full_name name_in(int directory, const char *name) {
  struct full_name full;
  simdisk_must(directory == DIRECTORY_HANDLE || directory == ARCHIVE_HANDLE, "no such directory");
  simdisk_must(strlen(name) + sizeof ARCHIVE_PREFIX <= sizeof full.text, "too long a name");
  const char *prefix = directory == ARCHIVE_HANDLE ? ARCHIVE_PREFIX : "";
  memcpy(full.text, prefix, strlen(prefix));
  memcpy(full.text + strlen(prefix), name, strlen(name) + 1);
  return full;
}

/* --- struct cpn_io: the directory --------------------------------------------------------------------- */

static int sim_open_directory(void *context, const char *path, bool create) {
  (void)create;
  int refused = (int)admit(context, SIM_OPEN_DIRECTORY, "", 0, 0);
  if (refused < 0) return refused;
  return strcmp(path, "archive") == 0 ? ARCHIVE_HANDLE : DIRECTORY_HANDLE;
}

static int open_handle(struct simdisk *disk, int file) {
  for (int i = 0; i < SIM_HANDLES; i++) {
    if (disk->handles[i] >= 0) continue;
    disk->handles[i] = file;
    disk->is_past_cache[i] = false;
    return i;
  }
  return -EMFILE;
}

static int open_file(struct simdisk *disk, enum sim_op op, const char *name, enum cpn_io_mode mode) {
  int refused = (int)admit(disk, op, name, 0, 0);
  if (refused < 0) return refused;
  struct sim_entry *entry = simdisk_entry(disk, disk->now, name);
  if (mode == CPN_IO_CREATE) {
    if (entry != NULL) return -EEXIST;
    int file = simdisk_new_file(disk);
    change(disk, name, file);
    return open_handle(disk, file);
  }
  return entry == NULL ? -ENOENT : open_handle(disk, entry->file);
}

static int sim_open(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  struct full_name full = name_in(directory, name);
  return open_file(context, SIM_OPEN, full.text, mode);
}

/* Changes nothing, and whoever cannot have it does without: not a call that a fault or a crash can tell from its
 * neighbours. */
static int sim_open_durable(void *context, int directory, const char *name) {
  struct simdisk *disk = context;
  const struct full_name full = name_in(directory, name);
  const struct sim_entry *entry = simdisk_entry(disk, disk->now, full.text);
  if (!disk->past_cache || disk->dead || entry == NULL) return -EOPNOTSUPP;
  int handle = open_handle(disk, entry->file);
  if (handle >= 0) disk->is_past_cache[handle] = true;
  return handle;
}

static bool *lock_of(struct simdisk *disk, int directory) {
  return directory == ARCHIVE_HANDLE ? &disk->archive_locked : &disk->locked;
}

static int sim_lock(void *context, int directory, const char *name) {
  struct simdisk *disk = context;
  bool *locked = lock_of(disk, directory);
  const struct full_name full = name_in(directory, name);
  if (*locked) return -EAGAIN;
  int file = open_file(disk, SIM_LOCK, full.text, CPN_IO_WRITE);
  if (file == -ENOENT) file = open_file(disk, SIM_LOCK, full.text, CPN_IO_CREATE);
  *locked = file >= 0;
  return file;
}

static int sim_is_locked(void *context, int directory, const char *name) {
  struct simdisk *disk = context;
  int refused = (int)admit(disk, SIM_IS_LOCKED, name, 0, 0);
  return refused < 0 ? refused : *lock_of(disk, directory);
}

static int sim_list(void *context, int directory, cpn_io_list_fn *each, void *each_context) {
  struct simdisk *disk = context;
  simdisk_must(directory == DIRECTORY_HANDLE, "only the directory is listed");
  int refused = (int)admit(disk, SIM_LIST, "", 0, 0);
  for (int i = 0; refused >= 0 && i < disk->entry_count; i++) {
    if (disk->now[i].name[0] != 0 && !is_archived(disk->now[i].name)) each(each_context, disk->now[i].name);
  }
  return refused;
}

static int sim_rename(void *context, int directory, const char *from, const char *to) {
  struct simdisk *disk = context;
  struct full_name full_from = name_in(directory, from), full_to = name_in(directory, to);
  int refused = (int)admit(disk, SIM_RENAME, full_to.text, 0, 0);
  if (refused < 0) return refused;
  struct sim_entry *entry = simdisk_entry(disk, disk->now, full_from.text);
  if (entry == NULL) return -ENOENT;
  int file = entry->file;
  /* One step: a power loss never leaves both names, or neither. */
  change(disk, full_to.text, file);
  disk->changes[disk->change_count - 1].renamed = true;
  simdisk_put(disk, disk->now, full_from.text, -1);
  return 0;
}

static int sim_link(void *context, int directory, const char *from, int to_directory, const char *to) {
  struct simdisk *disk = context;
  struct full_name full_from = name_in(directory, from), full_to = name_in(to_directory, to);
  int refused = (int)admit(disk, SIM_LINK, full_to.text, 0, 0);
  if (refused < 0) return refused;
  if (disk->no_links) return -EXDEV;
  struct sim_entry *entry = simdisk_entry(disk, disk->now, full_from.text);
  if (entry == NULL) return -ENOENT;
  if (simdisk_entry(disk, disk->now, full_to.text) != NULL) return -EEXIST;
  change(disk, full_to.text, entry->file);
  return 0;
}

static int sim_remove(void *context, int directory, const char *name) {
  struct simdisk *disk = context;
  struct full_name full = name_in(directory, name);
  int refused = (int)admit(disk, SIM_REMOVE, full.text, 0, 0);
  if (refused < 0) return refused;
  if (simdisk_entry(disk, disk->now, full.text) == NULL) return -ENOENT;
  change(disk, full.text, -1);
  return 0;
}

/* Each directory by itself: what is pending in the other one stays so. */
static int sim_sync_directory(void *context, int directory) {
  struct simdisk *disk = context;
  disk->syncs++;
  int refused = (int)admit(disk, SIM_SYNC_DIRECTORY, "", 0, 0);
  if (refused < 0 && disk->dead) return refused;
  if (refused >= 0 && disk->skip_directory_sync && disk->calls >= disk->skip_from) return 0;
  int left = 0;
  for (int i = 0; i < disk->change_count; i++) {
    if (is_archived(disk->changes[i].name) != (directory == ARCHIVE_HANDLE))
      disk->changes[left++] = disk->changes[i];
    else if (refused >= 0 || toss(disk)) /* of one that fails some */
      simdisk_keep_change(disk, disk->durable, &disk->changes[i]);
  }
  disk->change_count = left;
  return refused < 0 ? refused : 0;
}

/* --- struct cpn_io: files ----------------------------------------------------------------------------- */

static struct sim_file *file_of(struct simdisk *disk, int handle) {
  simdisk_must(handle >= 0 && handle < SIM_HANDLES && disk->handles[handle] >= 0, "a closed handle is used");
  return &disk->files[disk->handles[handle]];
}

static int sim_size(void *context, int handle, uint64_t *size) {
  const struct sim_file *file = file_of(context, handle);
  int refused = (int)admit(context, SIM_SIZE, file->name, 0, 0);
  if (refused < 0) return refused;
  *size = file->size;
  return 0;
}

static int64_t sim_read(void *context, int handle, uint64_t offset, void *to, size_t size) {
  struct sim_file *file = file_of(context, handle);
  simdisk_drop_pages(context, file);
  int64_t admitted = admit(context, SIM_READ, file->name, offset, size);
  if (admitted < 0) return admitted;
  if (offset >= file->size) return 0;
  uint64_t got = cpn_min_u64((uint64_t)admitted, file->size - offset);
  memcpy(to, file->now + offset, got);
  return (int64_t)got;
}

/* A sector that is written again before it is synced: what it was may be what a power loss leaves. */
static void remember_version(struct simdisk *disk, int file, uint64_t sector) {
  struct sim_version *version = &disk->versions[disk->version_count % SIM_VERSIONS];
  disk->version_count++;
  version->file = file;
  version->sector = sector;
  memcpy(version->bytes, disk->files[file].now + sector * SIM_SECTOR, SIM_SECTOR);
}

static void write_bytes(struct simdisk *disk, int handle, uint64_t offset, const void *from, size_t size) {
  struct sim_file *file = file_of(disk, handle);
  if (size == 0) return;
  simdisk_reserve(file, offset + size);
  for (uint64_t sector = offset / SIM_SECTOR; sector * SIM_SECTOR < offset + size; sector++) {
    if (file->dirty[sector] && disk->random != NULL) remember_version(disk, disk->handles[handle], sector);
    file->dirty[sector] = 1;
  }
  memcpy(file->now + offset, from, size);
  file->size = cpn_max_u64(file->size, offset + size);
}

static void make_sector_durable(struct simdisk *disk, struct sim_file *file, uint64_t sector) {
  uint64_t to = sector;
  enum sim_lie lie = SIM_HONEST;
  if (disk->lie != NULL) lie = disk->lie(disk->chooser, file->name, sector, file->capacity / SIM_SECTOR, &to);
  if (lie == SIM_LOSES) return;
  memcpy(file->durable + to * SIM_SECTOR, file->now + sector * SIM_SECTOR, SIM_SECTOR);
}

static void write_sector_past_cache(struct simdisk *disk, int handle, uint64_t sector, const unsigned char *from) {
  struct sim_file *file = file_of(disk, handle);
  for (int i = 0; i < SIM_VERSIONS && i < disk->version_count; i++) {
    if (disk->versions[i].file == disk->handles[handle] && disk->versions[i].sector == sector)
      disk->versions[i].file = -1;
  }
  memcpy(file->now + sector * SIM_SECTOR, from, SIM_SECTOR);
  make_sector_durable(disk, file, sector);
  file->dirty[sector] = 0;
}

/* In whole sectors, of a file that is as long already. */
static int64_t write_past_cache(struct simdisk *disk, int handle, uint64_t offset, const unsigned char *from,
                                size_t size) {
  const bool lived = !disk->dead;
  const uint64_t first = offset / SIM_SECTOR, sectors = size / SIM_SECTOR;
  simdisk_must(offset % SIM_SECTOR == 0 && size % SIM_SECTOR == 0 && size != 0 &&
                   offset + size <= file_of(disk, handle)->size,
               "a write past the cache that a disk does not take");
  int64_t admitted = admit(disk, SIM_WRITE, file_of(disk, handle)->name, offset, size);
  if (admitted == -EINTR) return admitted;
  const bool failed = admitted < 0;
  const uint64_t whole = failed ? sectors : cpn_max_u64(1, (uint64_t)admitted / SIM_SECTOR);
  for (uint64_t i = 0; i < whole; i++) {
    if (!failed || (lived && toss(disk))) write_sector_past_cache(disk, handle, first + i, from + i * SIM_SECTOR);
  }
  return failed ? admitted : (int64_t)(whole * SIM_SECTOR);
}

static int64_t sim_write(void *context, int handle, uint64_t offset, const void *from, size_t size) {
  struct simdisk *disk = context;
  bool lived = !disk->dead;
  if (disk->is_past_cache[handle]) return write_past_cache(disk, handle, offset, from, size);
  int64_t admitted = admit(disk, SIM_WRITE, file_of(disk, handle)->name, offset, size);
  if (admitted < 0) {
    /* The process died in it: the first sectors may be written. */
    if (lived && disk->dead && toss(disk))
      write_bytes(disk, handle, offset, from, simdisk_chance(disk->random) % (size / SIM_SECTOR + 1) * SIM_SECTOR);
    return admitted;
  }
  write_bytes(disk, handle, offset, from, (size_t)admitted);
  return admitted;
}

static void forget_versions(struct simdisk *disk, int file) {
  for (int i = 0; i < SIM_VERSIONS && i < disk->version_count; i++) {
    if (disk->versions[i].file == file) disk->versions[i].file = -1;
  }
}

/* `all`: of a sync that works; otherwise some, of one that fails. */
static void make_durable(struct simdisk *disk, int number, bool all) {
  struct sim_file *file = &disk->files[number];
  for (uint64_t sector = 0; sector * SIM_SECTOR < file->capacity; sector++) {
    if (file->dirty[sector] && (all || toss(disk))) make_sector_durable(disk, file, sector);
    file->dirty[sector] = 0;
  }
  if (all) file->durable_size = file->size;
  forget_versions(disk, number);
}

static int sim_sync(void *context, int handle) {
  struct simdisk *disk = context;
  struct sim_file *file = file_of(disk, handle);
  disk->syncs++;
  int refused = (int)admit(disk, SIM_SYNC, file->name, 0, 0);
  if (refused < 0) {
    if (disk->dead) return refused;
    /* The kernel has dropped the error with the pages: they look clean from now on. */
    make_durable(disk, disk->handles[handle], false);
    file->suspect = true;
    return refused;
  }
  if (!disk->skip_file_sync || disk->calls < disk->skip_from) make_durable(disk, disk->handles[handle], true);
  return 0;
}

/* Closing is not a call that a crash can tell from its neighbours; it always works, for a dead process too. */
static int sim_close(void *context, int handle) {
  struct simdisk *disk = context;
  if (handle != DIRECTORY_HANDLE && handle != ARCHIVE_HANDLE) {
    (void)file_of(disk, handle);
    disk->handles[handle] = -1;
  }
  return 0;
}

static int sim_unlock(void *context, int directory, int handle) {
  struct simdisk *disk = context;
  *lock_of(disk, directory) = false;
  return sim_close(context, handle);
}

/* --- making ------------------------------------------------------------------------------------------- */

struct simdisk *simdisk_create(void) {
  static uint64_t disks; /* each has an identity of its own, unless its maker gives it one */
  struct simdisk *disk = calloc(1, sizeof *disk);
  simdisk_must(disk != NULL, "no memory");
  disk->entropy = ++disks << 32;
  disk->io = (struct cpn_io){.context = disk,
                             .open_directory = sim_open_directory,
                             .lock = sim_lock,
                             .is_locked = sim_is_locked,
                             .list = sim_list,
                             .open = sim_open,
                             .size = sim_size,
                             .read = sim_read,
                             .write = sim_write,
                             .sync = sim_sync,
                             .open_durable = sim_open_durable,
                             .rename = sim_rename,
                             .link = sim_link,
                             .remove = sim_remove,
                             .sync_directory = sim_sync_directory,
                             .close = sim_close,
                             .unlock = sim_unlock};
  for (int i = 0; i < SIM_HANDLES; i++) disk->handles[i] = -1;
  return disk;
}

void simdisk_destroy(struct simdisk *disk) {
  for (int i = 0; i < disk->file_count; i++) {
    free(disk->files[i].now);
    free(disk->files[i].durable);
    free(disk->files[i].dirty);
  }
  free(disk);
}
