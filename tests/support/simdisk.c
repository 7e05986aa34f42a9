/* SPDX-License-Identifier: Apache-2.0 */
#include "support/simdisk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY_HANDLE 1000000
#define ARCHIVE_HANDLE 1000001

/* Counts a call; nonzero: what it answers instead of being done. */
static int admit(struct simdisk *disk) {
  disk->calls++;
  if (disk->die_at != 0 && disk->calls >= disk->die_at) disk->dead = true;
  if (disk->dead) return -EIO;
  bool fails =
      disk->fail_at != 0 && (disk->calls == disk->fail_at || (disk->fail_for_good && disk->calls > disk->fail_at));
  return fails ? -disk->fail_errno : 0;
}

static void must(bool condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "simdisk: %s\n", what);
  abort();
}

/* --- files ------------------------------------------------------------------------------------------ */

static void reserve(struct sim_file *file, uint64_t size) {
  if (size <= file->capacity) return;
  uint64_t capacity = cpn_max_u64(4096, cpn_ceil_power_of_two(size));
  file->now = realloc(file->now, capacity);
  file->durable = realloc(file->durable, capacity);
  file->dirty = realloc(file->dirty, capacity / SIM_SECTOR);
  must(file->now != NULL && file->durable != NULL && file->dirty != NULL, "no memory");
  memset(file->now + file->capacity, 0, capacity - file->capacity);
  memset(file->durable + file->capacity, 0, capacity - file->capacity);
  memset(file->dirty + file->capacity / SIM_SECTOR, 0, (capacity - file->capacity) / SIM_SECTOR);
  file->capacity = capacity;
}

static int new_file(struct simdisk *disk) {
  for (int i = 0; i < SIM_FILES; i++) {
    if (disk->files[i].used) continue;
    disk->files[i].used = true;
    return i;
  }
  must(false, "too many files");
  return -1;
}

static void free_file(struct sim_file *file) {
  free(file->now);
  free(file->durable);
  free(file->dirty);
  memset(file, 0, sizeof *file);
}

static void copy_file(struct sim_file *to, const struct sim_file *from) {
  memset(to, 0, sizeof *to);
  to->used = from->used;
  if (!from->used) return;
  reserve(to, from->capacity);
  to->size = from->size;
  to->durable_size = from->durable_size;
  if (from->capacity == 0) return;
  memcpy(to->now, from->now, from->capacity);
  memcpy(to->durable, from->durable, from->capacity);
  memcpy(to->dirty, from->dirty, from->capacity / SIM_SECTOR);
}

/* --- entries ---------------------------------------------------------------------------------------- */

static struct sim_entry *entry_of(struct sim_entry *entries, const char *name) {
  for (int i = 0; i < SIM_FILES; i++) {
    if (entries[i].name[0] != 0 && strcmp(entries[i].name, name) == 0) return &entries[i];
  }
  return NULL;
}

static void entry_put(struct sim_entry *entries, const char *name, int file) {
  struct sim_entry *entry = entry_of(entries, name);
  for (int i = 0; entry == NULL && i < SIM_FILES; i++) {
    if (entries[i].name[0] == 0) entry = &entries[i];
  }
  must(entry != NULL, "too many entries");
  if (file < 0) {
    entry->name[0] = 0;
    return;
  }
  (void)snprintf(entry->name, sizeof entry->name, "%s", name);
  entry->file = file;
}

static void change(struct simdisk *disk, const char *name, int file) {
  must(disk->change_count < 3 * SIM_FILES, "too many directory changes");
  struct sim_change *at = &disk->changes[disk->change_count++];
  (void)snprintf(at->name, sizeof at->name, "%s", name);
  at->file = file;
  at->renamed = false;
  entry_put(disk->now, name, file);
}

/* Whether anything leads to the file, or may after a power loss. */
static bool is_named(const struct simdisk *disk, int file) {
  for (int i = 0; i < SIM_FILES; i++) {
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

static void free_unnamed(struct simdisk *disk) {
  for (int i = 0; i < SIM_FILES; i++) {
    if (disk->files[i].used && !is_named(disk, i)) free_file(&disk->files[i]);
  }
}

/* Names of the second directory have this before them. */
#define ARCHIVE_PREFIX "archive/"

static bool is_archived(const char *name) { return strncmp(name, ARCHIVE_PREFIX, strlen(ARCHIVE_PREFIX)) == 0; }

struct full_name {
  char text[CPN_IO_NAME_MAX];
};

static struct full_name name_in(int directory, const char *name) {
  struct full_name full;
  must(directory == DIRECTORY_HANDLE || directory == ARCHIVE_HANDLE, "no such directory");
  (void)snprintf(full.text, sizeof full.text, "%s%s", directory == ARCHIVE_HANDLE ? ARCHIVE_PREFIX : "", name);
  return full;
}

/* --- struct cpn_io ---------------------------------------------------------------------------------- */

static int sim_open_directory(void *context, const char *path, bool create) {
  (void)create;
  int refused = admit(context);
  if (refused != 0) return refused;
  return strcmp(path, "archive") == 0 ? ARCHIVE_HANDLE : DIRECTORY_HANDLE;
}

static int open_handle(struct simdisk *disk, int file) {
  for (int i = 0; i < SIM_HANDLES; i++) {
    if (disk->handles[i] >= 0) continue;
    disk->handles[i] = file;
    return i;
  }
  return -EMFILE;
}

static int sim_open(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  struct simdisk *disk = context;
  struct full_name full = name_in(directory, name);
  int refused = admit(disk);
  if (refused != 0) return refused;
  struct sim_entry *entry = entry_of(disk->now, full.text);
  if (mode == CPN_IO_CREATE) {
    if (entry != NULL) return -EEXIST;
    int file = new_file(disk);
    change(disk, full.text, file);
    return open_handle(disk, file);
  }
  return entry == NULL ? -ENOENT : open_handle(disk, entry->file);
}

static int sim_lock(void *context, int directory, const char *name) {
  struct simdisk *disk = context;
  if (disk->locked) return -EAGAIN;
  int file = sim_open(context, directory, name, CPN_IO_WRITE);
  if (file == -ENOENT) file = sim_open(context, directory, name, CPN_IO_CREATE);
  disk->locked = file >= 0;
  return file;
}

static int sim_is_locked(void *context, int directory, const char *name) {
  struct simdisk *disk = context;
  (void)directory, (void)name;
  int refused = admit(disk);
  return refused != 0 ? refused : disk->locked;
}

static int sim_list(void *context, int directory, cpn_io_list_fn *each, void *each_context) {
  struct simdisk *disk = context;
  must(directory == DIRECTORY_HANDLE, "only the directory is listed");
  int refused = admit(disk);
  for (int i = 0; refused == 0 && i < SIM_FILES; i++) {
    if (disk->now[i].name[0] != 0 && !is_archived(disk->now[i].name)) each(each_context, disk->now[i].name);
  }
  return refused;
}

static struct sim_file *file_of(struct simdisk *disk, int handle) {
  must(handle >= 0 && handle < SIM_HANDLES && disk->handles[handle] >= 0, "a closed handle is used");
  return &disk->files[disk->handles[handle]];
}

static int sim_size(void *context, int handle, uint64_t *size) {
  int refused = admit(context);
  if (refused == 0) *size = file_of(context, handle)->size;
  return refused;
}

static int64_t sim_read(void *context, int handle, uint64_t offset, void *to, size_t size) {
  int refused = admit(context);
  if (refused != 0) return refused;
  const struct sim_file *file = file_of(context, handle);
  if (offset >= file->size) return 0;
  uint64_t got = cpn_min_u64(size, file->size - offset);
  memcpy(to, file->now + offset, got);
  return (int64_t)got;
}

static int64_t sim_write(void *context, int handle, uint64_t offset, const void *from, size_t size) {
  int refused = admit(context);
  if (refused != 0) return refused;
  struct sim_file *file = file_of(context, handle);
  reserve(file, offset + size);
  memcpy(file->now + offset, from, size);
  file->size = cpn_max_u64(file->size, offset + size);
  for (uint64_t sector = offset / SIM_SECTOR; sector * SIM_SECTOR < offset + size; sector++) file->dirty[sector] = 1;
  return (int64_t)size;
}

static void make_durable(struct sim_file *file) {
  for (uint64_t sector = 0; sector * SIM_SECTOR < file->capacity; sector++) {
    if (file->dirty[sector]) memcpy(file->durable + sector * SIM_SECTOR, file->now + sector * SIM_SECTOR, SIM_SECTOR);
    file->dirty[sector] = 0;
  }
  file->durable_size = file->size;
}

static int sim_sync(void *context, int handle) {
  struct simdisk *disk = context;
  struct sim_file *file = file_of(disk, handle);
  disk->syncs++;
  int refused = admit(disk);
  if (refused != 0) {
    /* The kernel has dropped the error with the pages: they look clean from now on. */
    if (!disk->dead) memset(file->dirty, 0, file->capacity / SIM_SECTOR);
    return refused;
  }
  if (!disk->skip_file_sync || disk->calls < disk->skip_from) make_durable(file);
  return 0;
}

static int sim_rename(void *context, int directory, const char *from, const char *to) {
  struct simdisk *disk = context;
  struct full_name full_from = name_in(directory, from), full_to = name_in(directory, to);
  int refused = admit(disk);
  if (refused != 0) return refused;
  struct sim_entry *entry = entry_of(disk->now, full_from.text);
  if (entry == NULL) return -ENOENT;
  int file = entry->file;
  /* One step: a power loss never leaves both names, or neither. */
  change(disk, full_to.text, file);
  disk->changes[disk->change_count - 1].renamed = true;
  entry_put(disk->now, full_from.text, -1);
  return 0;
}

static int sim_link(void *context, int directory, const char *from, int to_directory, const char *to) {
  struct simdisk *disk = context;
  struct full_name full_from = name_in(directory, from), full_to = name_in(to_directory, to);
  int refused = admit(disk);
  if (refused != 0) return refused;
  if (disk->no_links) return -EXDEV;
  struct sim_entry *entry = entry_of(disk->now, full_from.text);
  if (entry == NULL) return -ENOENT;
  if (entry_of(disk->now, full_to.text) != NULL) return -EEXIST;
  change(disk, full_to.text, entry->file);
  return 0;
}

static int sim_remove(void *context, int directory, const char *name) {
  struct simdisk *disk = context;
  struct full_name full = name_in(directory, name);
  int refused = admit(disk);
  if (refused != 0) return refused;
  if (entry_of(disk->now, full.text) == NULL) return -ENOENT;
  change(disk, full.text, -1);
  return 0;
}

/* A change of the entries that a power loss leaves. */
static void change_kept(struct sim_entry *entries, const struct sim_change *kept) {
  /* A rename is recorded as its new name; the old one goes with it. */
  for (int j = 0; kept->renamed && j < SIM_FILES; j++) {
    if (entries[j].name[0] != 0 && entries[j].file == kept->file) entries[j].name[0] = 0;
  }
  entry_put(entries, kept->name, kept->file);
}

/* Each directory by itself: what is pending in the other one stays so. */
static int sim_sync_directory(void *context, int directory) {
  struct simdisk *disk = context;
  disk->syncs++;
  int refused = admit(disk);
  if (refused != 0 || (disk->skip_directory_sync && disk->calls >= disk->skip_from)) return refused;
  int left = 0;
  for (int i = 0; i < disk->change_count; i++) {
    if (is_archived(disk->changes[i].name) == (directory == ARCHIVE_HANDLE))
      change_kept(disk->durable, &disk->changes[i]);
    else
      disk->changes[left++] = disk->changes[i];
  }
  disk->change_count = left;
  free_unnamed(disk);
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
  (void)directory;
  disk->locked = false;
  return sim_close(context, handle);
}

/* --- making, copying, losing ------------------------------------------------------------------------- */

struct simdisk *simdisk_create(void) {
  struct simdisk *disk = calloc(1, sizeof *disk);
  must(disk != NULL, "no memory");
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
  for (int i = 0; i < SIM_FILES; i++) free_file(&disk->files[i]);
  free(disk);
}

struct simdisk *simdisk_copy(const struct simdisk *disk) {
  struct simdisk *copy = simdisk_create();
  for (int i = 0; i < SIM_FILES; i++) copy_file(&copy->files[i], &disk->files[i]);
  memcpy(copy->now, disk->now, sizeof copy->now);
  memcpy(copy->durable, disk->durable, sizeof copy->durable);
  memcpy(copy->changes, disk->changes, sizeof copy->changes);
  copy->change_count = disk->change_count;
  copy->no_links = disk->no_links;
  return copy;
}

uint64_t simdisk_pending_sectors(const struct simdisk *disk) {
  uint64_t count = 0;
  for (int i = 0; i < SIM_FILES; i++) {
    for (uint64_t s = 0; s * SIM_SECTOR < disk->files[i].capacity; s++) count += disk->files[i].dirty[s];
  }
  return count;
}

static void lose_power(struct sim_file *file, sim_keep_fn *keep, void *context, uint64_t *sector) {
  for (uint64_t s = 0; s * SIM_SECTOR < file->capacity; s++) {
    if (!file->dirty[s] || !keep(context, (*sector)++)) continue;
    memcpy(file->durable + s * SIM_SECTOR, file->now + s * SIM_SECTOR, SIM_SECTOR);
    /* A sector that is there takes the file's size with it. */
    file->durable_size = cpn_max_u64(file->durable_size, cpn_min_u64(file->size, (s + 1) * SIM_SECTOR));
  }
  if (file->capacity == 0) return;
  memcpy(file->now, file->durable, file->capacity);
  memset(file->dirty, 0, file->capacity / SIM_SECTOR);
  file->size = file->durable_size;
}

struct simdisk *simdisk_power_loss(const struct simdisk *disk, sim_keep_fn *keep, void *context, int changes_kept) {
  struct simdisk *after = simdisk_copy(disk);
  uint64_t sector = 0;
  for (int i = 0; i < SIM_FILES; i++) lose_power(&after->files[i], keep, context, &sector);
  memcpy(after->now, after->durable, sizeof after->now);
  for (int i = 0; i < after->change_count && i < changes_kept; i++) {
    change_kept(after->now, &after->changes[i]);
  }
  memcpy(after->durable, after->now, sizeof after->durable);
  after->change_count = 0;
  return after;
}

/* --- looking and damaging --------------------------------------------------------------------------- */

static struct sim_file *find(struct simdisk *disk, const char *name) {
  struct sim_entry *entry = entry_of(disk->now, name);
  return entry == NULL ? NULL : &disk->files[entry->file];
}

unsigned char *simdisk_bytes(struct simdisk *disk, const char *name, uint64_t *size) {
  struct sim_file *file = find(disk, name);
  if (file == NULL) return NULL;
  *size = file->size;
  return file->now;
}

void simdisk_truncate(struct simdisk *disk, const char *name, uint64_t size) {
  struct sim_file *file = find(disk, name);
  must(file != NULL && size <= file->size, "truncate");
  memset(file->now + size, 0, file->capacity - size);
  file->size = size;
}

void simdisk_remove(struct simdisk *disk, const char *name) { entry_put(disk->now, name, -1); }

void simdisk_duplicate(struct simdisk *disk, const char *from, const char *to) {
  struct sim_file *source = find(disk, from);
  must(source != NULL, "duplicate");
  int fresh = new_file(disk);
  copy_file(&disk->files[fresh], source);
  entry_put(disk->now, to, fresh);
}

/* --- the world -------------------------------------------------------------------------------------- */

static int sim_random(void *context, void *to, size_t size) {
  static unsigned char next; /* different bytes for each engine; secrecy is not what is tested here */
  (void)context;
  for (size_t i = 0; i < size; i++) ((unsigned char *)to)[i] = ++next;
  return 0;
}

struct cpn_env simdisk_env(struct simdisk *disk) {
  return (struct cpn_env){.io = &disk->io, .context = disk, .random = sim_random, .start_thread = NULL};
}
