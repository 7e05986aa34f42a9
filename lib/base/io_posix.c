/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file system of the operating system, behind `struct cpn_io`. All descriptors are close-on-exec.
 *
 * The lock. It must die with its process, refuse a second engine in the same process too, and not live on in
 * a child of fork(). flock() and open-file-description locks fail the third, POSIX record locks the second; so it is a
 * record lock plus a list of the directories that this process has open. A record lock also goes when *any*
 * descriptor of its file is closed in the process: hence nobody opens that file without asking the list first.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"

static int result(int returned) { return returned < 0 ? -errno : returned; }

/* -errno, or the descriptor; not interrupted. */
static int open_at(int directory, const char *name, int flags) {
  int file;
  do file = openat(directory, name, flags | O_CLOEXEC, 0600);
  while (file < 0 && errno == EINTR);
  return result(file);
}

/* --- directories ------------------------------------------------------------------------------ */

/* The entry of a directory is durable only when its parent is synced. One that was there may be one whose maker was
 * killed before it could do that; but whether that can be done is then no condition for using it: a parent that may not
 * be read, a mount point, a file system without such a thing. */
static int sync_parent(int directory, bool made) {
  struct stat here, there;
  int parent = open_at(directory, "..", O_RDONLY | O_DIRECTORY);
  if (parent < 0) return made ? parent : 0;
  bool entry = made || (fstat(directory, &here) == 0 && fstat(parent, &there) == 0 && here.st_dev == there.st_dev);
  int error = entry ? result(fsync(parent)) : 0;
  (void)close(parent);
  return !made && error == -EINVAL ? 0 : error;
}

static int posix_open_directory(void *context, const char *path, bool create) {
  (void)context;
  bool made = false;
  if (create) {
    made = mkdir(path, 0700) == 0;
    if (!made && errno != EEXIST) return -errno;
    /* The umask may have taken bits away, even those that let us open it. */
    if (made && chmod(path, 0700) < 0) return -errno;
  }
  int directory = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
  if (directory < 0) return directory;
  int error = create ? sync_parent(directory, made) : 0;
  if (error < 0) {
    (void)close(directory);
    return error;
  }
  return directory;
}

static int posix_list(void *context, int directory, cpn_io_list_fn *each, void *each_context) {
  (void)context;
  int copy = open_at(directory, ".", O_RDONLY | O_DIRECTORY); /* closedir() closes it */
  if (copy < 0) return copy;
  DIR *stream = fdopendir(copy);
  if (stream == NULL) {
    int error = -errno;
    (void)close(copy);
    return error;
  }
  errno = 0;
  for (struct dirent *entry; (entry = readdir(stream)) != NULL; errno = 0) {
    if (entry->d_name[0] != '.') each(each_context, entry->d_name);
  }
  int error = -errno;
  (void)closedir(stream);
  return error;
}

static int posix_sync_directory(void *context, int directory) {
  (void)context;
  return result(fsync(directory));
}

static int posix_rename(void *context, int directory, const char *from, const char *to) {
  (void)context;
  return result(renameat(directory, from, directory, to));
}

static int posix_link(void *context, int directory, const char *from, int to_directory, const char *to) {
  (void)context;
  return result(linkat(directory, from, to_directory, to, 0));
}

static int posix_remove(void *context, int directory, const char *name) {
  (void)context;
  return result(unlinkat(directory, name, 0));
}

/* --- files ------------------------------------------------------------------------------------ */

/* What has a name of ours and is no file is nobody's mistake that waiting would cure: O_NONBLOCK, without which opening
 * a FIFO that nobody writes to never returns; it changes nothing for files. */
#define FLAGS (O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

/* The descriptor if it is of a regular file; else it is closed: -EISDIR, or -ENXIO, as the kernel says it of
 * sockets. */
static int only_a_file(int file) {
  struct stat status;
  int error = fstat(file, &status) < 0  ? -errno
              : S_ISREG(status.st_mode) ? 0
              : S_ISDIR(status.st_mode) ? -EISDIR
                                        : -ENXIO;
  if (error == 0) return file;
  (void)close(file);
  return error;
}

static int posix_open(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  (void)context;
  if (mode != CPN_IO_CREATE) {
    int there = openat(directory, name, FLAGS | (mode == CPN_IO_READ ? O_RDONLY : O_RDWR));
    return there < 0 ? -errno : only_a_file(there);
  }
  int file = openat(directory, name, FLAGS | O_RDWR | O_CREAT | O_EXCL, 0600);
  if (file < 0) return -errno;
  if (fchmod(file, 0600) < 0) {
    int error = -errno;
    (void)close(file);
    return error;
  }
  return file;
}

static int posix_size(void *context, int file, uint64_t *size) {
  (void)context;
  struct stat status;
  if (fstat(file, &status) < 0) return -errno;
  *size = (uint64_t)status.st_size;
  return 0;
}

static int64_t posix_read(void *context, int file, uint64_t offset, void *to, size_t size) {
  (void)context;
  ssize_t got = pread(file, to, size, (off_t)offset);
  return got < 0 ? -errno : got;
}

static int64_t posix_write(void *context, int file, uint64_t offset, const void *from, size_t size) {
  (void)context;
  ssize_t put = pwrite(file, from, size, (off_t)offset);
  return put < 0 ? -errno : put;
}

static int posix_sync(void *context, int file) {
  (void)context;
  return result(fdatasync(file));
}

static int posix_allocate(void *context, int file, uint64_t size) {
  (void)context;
  return result(fallocate(file, 0, 0, (off_t)size));
}

/* Past the page cache: neither a copy into it nor, afterwards, a search of it for what has to be written. Whether the
 * device takes blocks as small as ours is asked by reading one. */
static int posix_open_durable(void *context, int directory, const char *name) {
  (void)context;
  int file = open_at(directory, name, FLAGS | O_RDWR | O_DIRECT | O_DSYNC);
  if (file < 0) return file == -EINVAL ? -EOPNOTSUPP : file;
  _Alignas(4096) unsigned char block[512];
  if (pread(file, block, sizeof block, sizeof block) == (ssize_t)sizeof block) return file;
  (void)close(file);
  return -EOPNOTSUPP;
}

static int posix_close(void *context, int handle) {
  (void)context;
  return result(close(handle));
}

/* --- the lock --------------------------------------------------------------------------------- */

struct held {
  struct held *next;
  dev_t device;
  ino_t inode;
};

/* Who is changing the list: a process id and, in the lowest bit, "now". A child of fork() finds its parent's id
 * there and takes over, even if a thread of the parent was inside: that thread does not exist in the child. */
static _Atomic uint64_t list_guard;
static struct held *list_head;

static void list_lock(void) {
  const uint64_t mine = (uint64_t)(uint32_t)getpid() << 1;
  uint64_t seen = atomic_load_explicit(&list_guard, memory_order_relaxed);
  for (;;) {
    bool inherited = (seen & ~UINT64_C(1)) != mine;
    if (!inherited && (seen & 1) != 0) {
      (void)sched_yield(); /* another thread changes the list, for the time of one system call */
      seen = atomic_load_explicit(&list_guard, memory_order_relaxed);
      continue;
    }
    /* acquire: pairs with list_unlock(). Retry: another thread got it. */
    if (atomic_compare_exchange_weak_explicit(&list_guard, &seen, mine | 1, memory_order_acquire,
                                              memory_order_relaxed)) {
      if (inherited) list_head = NULL; /* the parent's engines are not ours; its memory is lost, a few bytes */
      return;
    }
  }
}

static void list_unlock(void) {
  /* release: the list before the guard. */
  atomic_fetch_and_explicit(&list_guard, ~UINT64_C(1), memory_order_release);
}

static struct held **list_find(const struct stat *directory) {
  struct held **at = &list_head;
  while (*at != NULL && ((*at)->device != directory->st_dev || (*at)->inode != directory->st_ino)) at = &(*at)->next;
  return at;
}

/* Of a remote file this can be interrupted; nothing is locked then. */
static int lock_byte(int file, int command, struct flock *byte) {
  int error;
  do error = result(fcntl(file, command, byte));
  while (error == -EINTR);
  return error;
}

/* With the list locked. */
static int lock_file(int directory, const char *name) {
  int file = open_at(directory, name, FLAGS | O_RDWR | O_CREAT);
  if (file >= 0) file = only_a_file(file);
  if (file < 0) return file;
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
  int error = fchmod(file, 0600) < 0 ? -errno : lock_byte(file, F_SETLK, &whole);
  if (error < 0) {
    (void)close(file);
    return error == -EACCES ? -EAGAIN : error; /* POSIX allows either for "held by another" */
  }
  return file;
}

static int posix_lock(void *context, int directory, const char *name) {
  (void)context;
  struct stat status;
  if (fstat(directory, &status) < 0) return -errno;
  struct held *entry = malloc(sizeof *entry);
  if (entry == NULL) return -ENOMEM;
  *entry = (struct held){.device = status.st_dev, .inode = status.st_ino};

  list_lock();
  int file = *list_find(&status) != NULL ? -EAGAIN : lock_file(directory, name);
  if (file >= 0) {
    entry->next = list_head;
    list_head = entry;
  }
  list_unlock();
  if (file < 0) free(entry);
  return file;
}

static int posix_unlock(void *context, int directory, int file) {
  (void)context;
  struct stat status;
  struct held *entry = NULL;
  int error = result(fstat(directory, &status));
  list_lock();
  if (error == 0) {
    struct held **at = list_find(&status);
    entry = *at;
    if (entry != NULL) *at = entry->next;
  }
  (void)close(file); /* with it the record lock goes */
  list_unlock();
  free(entry);
  return error;
}

static int posix_is_locked(void *context, int directory, const char *name) {
  (void)context;
  struct stat status;
  if (fstat(directory, &status) < 0) return -errno;
  list_lock();
  int answer = *list_find(&status) != NULL;
  if (!answer) {
    int file = open_at(directory, name, FLAGS | O_RDONLY);
    if (file >= 0) file = only_a_file(file);
    if (file >= 0) {
      struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
      answer = lock_byte(file, F_GETLK, &whole);
      if (answer == 0) answer = whole.l_type != F_UNLCK;
      (void)close(file);
    } else if (file != -ENOENT) {
      answer = file;
    }
  }
  list_unlock();
  return answer;
}

const struct cpn_io cpn_io_posix = {
    .context = NULL,
    .open_directory = posix_open_directory,
    .lock = posix_lock,
    .is_locked = posix_is_locked,
    .list = posix_list,
    .open = posix_open,
    .size = posix_size,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .allocate = posix_allocate,
    .open_durable = posix_open_durable,
    .rename = posix_rename,
    .link = posix_link,
    .remove = posix_remove,
    .sync_directory = posix_sync_directory,
    .close = posix_close,
    .unlock = posix_unlock,
};
