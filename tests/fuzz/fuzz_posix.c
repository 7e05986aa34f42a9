/* SPDX-License-Identifier: Apache-2.0 */
#define FUZZ_POSIX_ITSELF
#include "fuzz_posix.h"

#include <errno.h>
#include <string.h>

#include "memory_disk.h"

enum { DIRECTORY = 1000 };

struct memory_disk *memory_disk_shown;

int fuzz_open(const char *path, int flags, ...) {
  (void)path, (void)flags;
  return DIRECTORY;
}

int fuzz_openat(int directory, const char *path, int flags, ...) {
  (void)directory, (void)flags;
  if (strcmp(path, ".") == 0) return DIRECTORY;
  const struct memory_file *file = memory_disk_find(memory_disk_shown, path);
  if (file != NULL) return (int)(file - memory_disk_shown->files);
  errno = ENOENT;
  return -1;
}

int fuzz_fstat(int descriptor, struct stat *status) {
  memset(status, 0, sizeof *status);
  status->st_mode = S_IFREG | 0600;
  status->st_size = (off_t)memory_disk_shown->files[descriptor].size;
  return 0;
}

/* The only command is F_GETLK. */
int fuzz_fcntl(int descriptor, int command, struct flock *lock) {
  (void)descriptor, (void)command;
  lock->l_type = memory_disk_shown->owner != 0 ? F_WRLCK : F_UNLCK;
  lock->l_pid = (pid_t)memory_disk_shown->owner;
  return 0;
}

ssize_t fuzz_pread(int descriptor, void *to, size_t size, off_t offset) {
  const struct cpn_io *io = &memory_disk_shown->io;
  return (ssize_t)io->read(io->context, descriptor, (uint64_t)offset, to, size);
}

int fuzz_close(int descriptor) {
  (void)descriptor;
  return 0;
}

/* One listing at a time. */
static size_t next_file;

DIR *fuzz_fdopendir(int descriptor) {
  (void)descriptor;
  next_file = 0;
  return (DIR *)(void *)&next_file;
}

struct dirent *fuzz_readdir(DIR *listing) {
  static struct dirent entry;
  (void)listing;
  while (next_file < MEMORY_FILES) {
    const char *name = memory_disk_shown->files[next_file++].name;
    if (name[0] == 0) continue;
    memset(entry.d_name, 0, CPN_IO_NAME_MAX);
    memcpy(entry.d_name, name, strlen(name));
    return &entry;
  }
  return NULL;
}

int fuzz_closedir(DIR *listing) {
  (void)listing;
  return 0;
}

/* Nothing changes while anybody waits. */
int fuzz_nanosleep(const struct timespec *wanted, struct timespec *left) {
  (void)wanted, (void)left;
  return 0;
}
