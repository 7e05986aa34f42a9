/* SPDX-License-Identifier: Apache-2.0 */
#include "support/failing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "support/engine_help.h"

/* --- a disk -------------------------------------------------------------------------------------- */

/* Counts the call; 0, or -errno if it is the one that fails. */
static int arrive(struct help_disk *disk, enum help_disk_op op) {
  uint64_t number = atomic_fetch_add(&disk->calls[op], 1) + 1;
  if (atomic_load(&disk->faulted)) {
    atomic_fetch_add(&disk->calls_after_fault[op], 1);
    return op == disk->fail_op && atomic_load(&disk->for_good) ? -disk->error : 0;
  }
  if (op != disk->fail_op || number != disk->fail_at) return 0;
  atomic_store(&disk->faulted, true);
  return -disk->error;
}

static int disk_open_directory(void *context, const char *path, bool create) {
  (void)context;
  return cpn_io_posix.open_directory(NULL, path, create);
}

static int disk_lock(void *context, int directory, const char *name) {
  (void)context;
  return cpn_io_posix.lock(NULL, directory, name);
}

static int disk_is_locked(void *context, int directory, const char *name) {
  (void)context;
  return cpn_io_posix.is_locked(NULL, directory, name);
}

static int disk_list(void *context, int directory, cpn_io_list_fn *each, void *each_context) {
  struct help_disk *disk = context;
  if (disk->before_list != NULL) disk->before_list(disk->list_context);
  return cpn_io_posix.list(NULL, directory, each, each_context);
}

static int disk_open(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  int error = mode == CPN_IO_CREATE ? arrive(context, HELP_OTHER) : 0;
  return error < 0 ? error : cpn_io_posix.open(NULL, directory, name, mode);
}

static int disk_size(void *context, int file, uint64_t *size) {
  (void)context;
  return cpn_io_posix.size(NULL, file, size);
}

static int64_t disk_read(void *context, int file, uint64_t offset, void *to, size_t size) {
  (void)context;
  return cpn_io_posix.read(NULL, file, offset, to, size);
}

static int64_t disk_write(void *context, int file, uint64_t offset, const void *from, size_t size) {
  struct help_disk *disk = context;
  int error = arrive(disk, HELP_WRITE);
  if (error < 0) {
    size_t done = disk->torn < size ? disk->torn : size;
    if (done > 0) HELP_CHECK(cpn_io_posix.write(NULL, file, offset, from, done) == (int64_t)done);
    return error;
  }
  if (disk->interrupt_every != 0 && atomic_load(&disk->calls[HELP_WRITE]) % disk->interrupt_every == 0) return -EINTR;
  if (disk->write_at_most != 0 && size > disk->write_at_most) size = disk->write_at_most;
  return cpn_io_posix.write(NULL, file, offset, from, size);
}

static int disk_sync(void *context, int file) {
  struct help_disk *disk = context;
  (void)pthread_mutex_lock(&disk->lock);
  disk->held++;
  (void)pthread_cond_broadcast(&disk->changed);
  while (disk->hold) (void)pthread_cond_wait(&disk->changed, &disk->lock);
  disk->held--;
  (void)pthread_mutex_unlock(&disk->lock);
  int error = arrive(disk, HELP_SYNC);
  return error < 0 ? error : cpn_io_posix.sync(NULL, file);
}

static int disk_rename(void *context, int directory, const char *from, const char *to) {
  int error = arrive(context, HELP_OTHER);
  return error < 0 ? error : cpn_io_posix.rename(NULL, directory, from, to);
}

static int disk_link(void *context, int directory, const char *from, int to_directory, const char *to) {
  int error = arrive(context, HELP_OTHER);
  return error < 0 ? error : cpn_io_posix.link(NULL, directory, from, to_directory, to);
}

static int disk_remove(void *context, int directory, const char *name) {
  int error = arrive(context, HELP_OTHER);
  return error < 0 ? error : cpn_io_posix.remove(NULL, directory, name);
}

static int disk_sync_directory(void *context, int directory) {
  int error = arrive(context, HELP_OTHER);
  return error < 0 ? error : cpn_io_posix.sync_directory(NULL, directory);
}

static int disk_close(void *context, int handle) {
  (void)context;
  return cpn_io_posix.close(NULL, handle);
}

static int disk_unlock(void *context, int directory, int file) {
  (void)context;
  return cpn_io_posix.unlock(NULL, directory, file);
}

void help_disk_init(struct help_disk *disk) {
  memset(disk, 0, sizeof *disk);
  disk->io = (struct cpn_io){.context = disk,
                             .open_directory = disk_open_directory,
                             .lock = disk_lock,
                             .is_locked = disk_is_locked,
                             .list = disk_list,
                             .open = disk_open,
                             .size = disk_size,
                             .read = disk_read,
                             .write = disk_write,
                             .sync = disk_sync,
                             .rename = disk_rename,
                             .link = disk_link,
                             .remove = disk_remove,
                             .sync_directory = disk_sync_directory,
                             .close = disk_close,
                             .unlock = disk_unlock};
  (void)pthread_mutex_init(&disk->lock, NULL);
  (void)pthread_cond_init(&disk->changed, NULL);
}

struct cpn_env help_disk_env(const struct help_disk *disk, bool threads) {
  struct cpn_env env = cpn_env_system;
  env.io = &disk->io;
  if (!threads) env.start_thread = NULL;
  return env;
}

void help_disk_fail_next(struct help_disk *disk, enum help_disk_op op, int error) {
  disk->error = error;
  disk->fail_op = op;
  disk->fail_at = atomic_load(&disk->calls[op]) + 1;
}

void help_disk_hold(struct help_disk *disk) {
  (void)pthread_mutex_lock(&disk->lock);
  disk->hold = true;
  (void)pthread_mutex_unlock(&disk->lock);
}

void help_disk_wait_held(struct help_disk *disk) {
  (void)pthread_mutex_lock(&disk->lock);
  while (disk->held == 0) (void)pthread_cond_wait(&disk->changed, &disk->lock);
  (void)pthread_mutex_unlock(&disk->lock);
}

void help_disk_release(struct help_disk *disk) {
  (void)pthread_mutex_lock(&disk->lock);
  disk->hold = false;
  (void)pthread_cond_broadcast(&disk->changed);
  (void)pthread_mutex_unlock(&disk->lock);
}

/* --- memory -------------------------------------------------------------------------------------- */

/* Stands before each block, in a space of its own so that the block stays aligned. */
#define BLOCK_SPACE ((size_t)64)
#define BLOCK_MAGIC UINT64_C(0x68656c706d656d21)
struct block {
  uint64_t magic;
  size_t size;
};

static void *allocate(void *context, size_t size, size_t alignment) {
  struct help_allocator *allocator = context;
  uint64_t number = atomic_fetch_add(&allocator->calls, 1) + 1;
  uint64_t fail_at = atomic_load(&allocator->fail_at);
  bool is_power = alignment != 0 && (alignment & (alignment - 1)) == 0;
  if (!is_power || alignment > BLOCK_SPACE || size == 0) atomic_fetch_add(&allocator->wrong, 1);
  if (fail_at != 0 && (number == fail_at || (number > fail_at && atomic_load(&allocator->for_good)))) return NULL;
  size_t whole = (size + 2 * BLOCK_SPACE - 1) / BLOCK_SPACE * BLOCK_SPACE;
  struct block *block = aligned_alloc(BLOCK_SPACE, whole);
  if (block == NULL) return NULL;
  memset(block, 0, whole);
  *block = (struct block){BLOCK_MAGIC, size};
  atomic_fetch_add(&allocator->live_blocks, 1);
  atomic_fetch_add(&allocator->live_bytes, (int64_t)size);
  return (char *)block + BLOCK_SPACE;
}

static void release(void *context, void *pointer, size_t size) {
  struct help_allocator *allocator = context;
  struct block *block = (struct block *)(void *)((char *)pointer - BLOCK_SPACE);
  if (pointer == NULL || block->magic != BLOCK_MAGIC || block->size != size) {
    atomic_fetch_add(&allocator->wrong, 1);
    return;
  }
  block->magic = 0;
  atomic_fetch_sub(&allocator->live_blocks, 1);
  atomic_fetch_sub(&allocator->live_bytes, (int64_t)size);
  free(block);
}

struct coupon_allocator help_allocator_use(struct help_allocator *allocator) {
  return (struct coupon_allocator){
      .size = sizeof(struct coupon_allocator), .alloc = allocate, .free = release, .context = allocator};
}
