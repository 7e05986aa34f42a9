/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_disk.h"

#include <errno.h>
#include <string.h>

enum { DIRECTORY = 100, LOCK = 101 };

struct memory_file *memory_disk_find(struct memory_disk *disk, const char *name) {
  for (size_t i = 0; i < MEMORY_FILES; i++) {
    if (disk->files[i].name[0] != 0 && strcmp(disk->files[i].name, name) == 0) return &disk->files[i];
  }
  return NULL;
}

static struct memory_file *find_or_make(struct memory_disk *disk, const char *name) {
  struct memory_file *file = memory_disk_find(disk, name);
  for (size_t i = 0; file == NULL && i < MEMORY_FILES; i++) {
    if (disk->files[i].name[0] == 0) file = &disk->files[i];
  }
  if (file == NULL) return NULL;
  memset(file->name, 0, sizeof file->name);
  memcpy(file->name, name, strnlen(name, sizeof file->name - 1));
  file->size = 0;
  return file;
}

void memory_disk_put(struct memory_disk *disk, const char *name, const unsigned char *bytes, size_t length,
                     size_t size) {
  struct memory_file *file = find_or_make(disk, name);
  if (file == NULL) return;
  if (length > MEMORY_FILE_BYTES) length = MEMORY_FILE_BYTES;
  if (size > MEMORY_FILE_BYTES) size = MEMORY_FILE_BYTES;
  if (length > 0) memcpy(file->bytes, bytes, length);
  if (size > length) memset(file->bytes + length, 0, size - length);
  file->size = size > length ? size : length;
}

void memory_disk_clear(struct memory_disk *disk) {
  for (size_t i = 0; i < MEMORY_FILES; i++) disk->files[i].name[0] = 0;
  disk->locked = false;
  disk->owner = 0;
  disk->changes = 0;
}

/* --- what the library calls ---------------------------------------------------------------------- */

static int memory_open_directory(void *context, const char *path, bool create) {
  (void)context, (void)path, (void)create;
  return DIRECTORY;
}

static int memory_lock(void *context, int directory, const char *name) {
  struct memory_disk *disk = context;
  (void)directory, (void)name;
  if (disk->locked || disk->owner != 0) return -EAGAIN;
  disk->locked = true;
  return LOCK;
}

static int memory_is_locked(void *context, int directory, const char *name) {
  const struct memory_disk *disk = context;
  (void)directory, (void)name;
  return disk->locked || disk->owner != 0;
}

static int memory_list(void *context, int directory, cpn_io_list_fn *each, void *each_context) {
  const struct memory_disk *disk = context;
  (void)directory;
  for (size_t i = 0; i < MEMORY_FILES; i++) {
    if (disk->files[i].name[0] != 0) each(each_context, disk->files[i].name);
  }
  return 0;
}

static int memory_open(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  struct memory_disk *disk = context;
  (void)directory;
  struct memory_file *file = memory_disk_find(disk, name);
  if (mode == CPN_IO_CREATE) {
    if (file != NULL) return -EEXIST;
    file = find_or_make(disk, name);
    if (file == NULL) return -ENOSPC;
    disk->changes++;
  }
  return file == NULL ? -ENOENT : (int)(file - disk->files);
}

static int memory_size(void *context, int handle, uint64_t *size) {
  const struct memory_disk *disk = context;
  *size = disk->files[handle].size;
  return 0;
}

static int64_t memory_read(void *context, int handle, uint64_t offset, void *to, size_t size) {
  const struct memory_disk *disk = context;
  const struct memory_file *file = &disk->files[handle];
  if (offset >= file->size) return 0;
  size_t here = (size_t)cpn_min_u64(size, file->size - offset);
  memcpy(to, file->bytes + offset, here);
  return (int64_t)here;
}

static int64_t memory_write(void *context, int handle, uint64_t offset, const void *from, size_t size) {
  struct memory_disk *disk = context;
  struct memory_file *file = &disk->files[handle];
  if (offset > MEMORY_FILE_BYTES || size > MEMORY_FILE_BYTES - offset) return -ENOSPC;
  disk->changes++;
  if (offset > file->size) memset(file->bytes + file->size, 0, (size_t)offset - file->size);
  memcpy(file->bytes + offset, from, size);
  file->size = (size_t)cpn_max_u64(file->size, offset + size);
  return (int64_t)size;
}

static int memory_sync(void *context, int handle) {
  (void)context, (void)handle;
  return 0;
}

static int memory_remove(void *context, int directory, const char *name) {
  struct memory_disk *disk = context;
  (void)directory;
  struct memory_file *file = memory_disk_find(disk, name);
  if (file == NULL) return -ENOENT;
  file->name[0] = 0;
  disk->changes++;
  return 0;
}

static int memory_rename(void *context, int directory, const char *from, const char *to) {
  struct memory_disk *disk = context;
  struct memory_file *file = memory_disk_find(disk, from);
  if (file == NULL) return -ENOENT;
  (void)memory_remove(context, directory, to);
  memset(file->name, 0, sizeof file->name);
  memcpy(file->name, to, strnlen(to, sizeof file->name - 1));
  disk->changes++;
  return 0;
}

static int memory_sync_directory(void *context, int directory) {
  (void)context, (void)directory;
  return 0;
}

static int memory_close(void *context, int handle) {
  (void)context, (void)handle;
  return 0;
}

static int memory_unlock(void *context, int directory, int handle) {
  struct memory_disk *disk = context;
  (void)directory, (void)handle;
  disk->locked = false;
  return 0;
}

void memory_disk_init(struct memory_disk *disk) {
  disk->io = (struct cpn_io){.context = disk,
                             .open_directory = memory_open_directory,
                             .lock = memory_lock,
                             .is_locked = memory_is_locked,
                             .list = memory_list,
                             .open = memory_open,
                             .size = memory_size,
                             .read = memory_read,
                             .write = memory_write,
                             .sync = memory_sync,
                             .rename = memory_rename,
                             .remove = memory_remove,
                             .sync_directory = memory_sync_directory,
                             .close = memory_close,
                             .unlock = memory_unlock};
  memory_disk_clear(disk);
}

static int same_bytes(void *context, void *to, size_t size) {
  (void)context;
  for (size_t i = 0; i < size; i++) ((unsigned char *)to)[i] = (unsigned char)(i * 37 + 11);
  return 0;
}

struct cpn_env memory_disk_env(struct memory_disk *disk) {
  return (struct cpn_env){.io = &disk->io, .context = disk, .random = same_bytes, .start_thread = NULL};
}
