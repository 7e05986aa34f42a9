/* SPDX-License-Identifier: Apache-2.0 */
#include "support/nowhere.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIRECTORY_HANDLE 1000000

static void must(bool condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "nowhere: %s\n", what);
  abort();
}

static struct nowhere_file *find(struct nowhere *nowhere, const char *name) {
  for (int i = 0; i < NOWHERE_FILES; i++) {
    if (strcmp(nowhere->files[i].name, name) == 0) return &nowhere->files[i];
  }
  return NULL;
}

static struct nowhere_file *file_of(struct nowhere *nowhere, int handle) {
  must(handle >= 0 && handle < NOWHERE_FILES && nowhere->files[handle].handles > 0, "a closed handle is used");
  return &nowhere->files[handle];
}

/* A free place, or that of the oldest file which nobody has open: old segments are forgotten. */
static struct nowhere_file *make(struct nowhere *nowhere, const char *name) {
  struct nowhere_file *place = NULL;
  for (int i = 0; i < NOWHERE_FILES; i++) {
    struct nowhere_file *file = &nowhere->files[i];
    if (file->handles == 0 && (place == NULL || file->made < place->made)) place = file;
  }
  must(place != NULL, "too many open files");
  memset(place, 0, sizeof *place);
  (void)snprintf(place->name, sizeof place->name, "%s", name);
  place->made = ++nowhere->made;
  return place;
}

/* --- struct cpn_io ---------------------------------------------------------------------------------- */

static int nowhere_open_directory(void *context, const char *path, bool create) {
  (void)context, (void)path, (void)create;
  return DIRECTORY_HANDLE;
}

static int nowhere_open(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  struct nowhere *nowhere = context;
  must(directory == DIRECTORY_HANDLE && name[0] != 0, "no such directory");
  struct nowhere_file *file = find(nowhere, name);
  if (mode == CPN_IO_CREATE) {
    if (file != NULL) return -EEXIST;
    file = make(nowhere, name);
  }
  if (file == NULL) return -ENOENT;
  file->handles++;
  return (int)(file - nowhere->files);
}

static int nowhere_lock(void *context, int directory, const char *name) {
  return nowhere_open(context, directory, name, CPN_IO_CREATE);
}

static int nowhere_is_locked(void *context, int directory, const char *name) {
  (void)directory;
  return find(context, name) != NULL;
}

static int nowhere_list(void *context, int directory, cpn_io_list_fn *each, void *each_context) {
  struct nowhere *nowhere = context;
  (void)directory;
  for (int i = 0; i < NOWHERE_FILES; i++) {
    if (nowhere->files[i].name[0] != 0) each(each_context, nowhere->files[i].name);
  }
  return 0;
}

static int nowhere_size(void *context, int handle, uint64_t *size) {
  *size = file_of(context, handle)->size;
  return 0;
}

static int64_t nowhere_read(void *context, int handle, uint64_t offset, void *to, size_t size) {
  const struct nowhere_file *file = file_of(context, handle);
  if (offset >= file->size) return 0;
  size_t got = (size_t)cpn_min_u64(size, file->size - offset), kept = 0;
  if (offset < sizeof file->block) kept = (size_t)cpn_min_u64(got, sizeof file->block - offset);
  if (kept > 0) memcpy(to, file->block + offset, kept);
  memset((char *)to + kept, 0, got - kept);
  return (int64_t)got;
}

static int64_t nowhere_write(void *context, int handle, uint64_t offset, const void *from, size_t size) {
  struct nowhere_file *file = file_of(context, handle);
  if (offset < sizeof file->block)
    memcpy(file->block + offset, from, (size_t)cpn_min_u64(size, sizeof file->block - offset));
  file->size = cpn_max_u64(file->size, offset + size);
  return (int64_t)size;
}

static int nowhere_sync(void *context, int handle) {
  (void)file_of(context, handle);
  return 0;
}

static int nowhere_rename(void *context, int directory, const char *from, const char *to) {
  struct nowhere *nowhere = context;
  (void)directory;
  struct nowhere_file *file = find(nowhere, from);
  if (file == NULL) return -ENOENT;
  must(find(nowhere, to) == NULL, "a rename over another file");
  (void)snprintf(file->name, sizeof file->name, "%s", to);
  return 0;
}

static int nowhere_link(void *context, int directory, const char *from, int to_directory, const char *to) {
  (void)context, (void)directory, (void)from, (void)to_directory, (void)to;
  return -EXDEV;
}

static int nowhere_remove(void *context, int directory, const char *name) {
  struct nowhere_file *file = find(context, name);
  (void)directory;
  if (file == NULL) return -ENOENT;
  must(file->handles == 0, "an open file is removed");
  memset(file, 0, sizeof *file);
  return 0;
}

static int nowhere_sync_directory(void *context, int directory) {
  (void)context, (void)directory;
  return 0;
}

static int nowhere_close(void *context, int handle) {
  if (handle != DIRECTORY_HANDLE) file_of(context, handle)->handles--;
  return 0;
}

static int nowhere_unlock(void *context, int directory, int handle) {
  (void)directory;
  return nowhere_close(context, handle);
}

/* --- the world -------------------------------------------------------------------------------------- */

struct nowhere *nowhere_create(void) {
  struct nowhere *nowhere = aligned_alloc(CPN_CACHE_LINE, cpn_round_up(sizeof *nowhere, CPN_CACHE_LINE));
  must(nowhere != NULL, "no memory");
  memset(nowhere, 0, sizeof *nowhere);
  nowhere->io = (struct cpn_io){.context = nowhere,
                                .open_directory = nowhere_open_directory,
                                .lock = nowhere_lock,
                                .is_locked = nowhere_is_locked,
                                .list = nowhere_list,
                                .open = nowhere_open,
                                .size = nowhere_size,
                                .read = nowhere_read,
                                .write = nowhere_write,
                                .sync = nowhere_sync,
                                .rename = nowhere_rename,
                                .link = nowhere_link,
                                .remove = nowhere_remove,
                                .sync_directory = nowhere_sync_directory,
                                .close = nowhere_close,
                                .unlock = nowhere_unlock};
  return nowhere;
}

void nowhere_destroy(struct nowhere *nowhere) {
  for (int i = 0; nowhere != NULL && i < NOWHERE_FILES; i++)
    must(nowhere->files[i].handles == 0, "a file was left open");
  free(nowhere);
}

struct cpn_env nowhere_env(struct nowhere *nowhere) {
  return (struct cpn_env){
      .io = &nowhere->io, .context = nowhere, .random = cpn_env_system.random, .start_thread = NULL};
}

struct nowhere *nowhere_of(const struct cpn_env *env) {
  return env->io->open == nowhere_open ? env->io->context : NULL;
}
