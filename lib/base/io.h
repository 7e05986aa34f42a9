/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files, the only way to them. Everything the library does to a file system goes through `struct cpn_io`,
 * so that a test can put a disk behind it that tears, forgets, fails or fills up.
 *
 * The operations are raw: each returns what the system call said (a count or handle >= 0, or -errno). What is tried
 * again is decided once, below: a short or interrupted read or write, an interrupted open. (Those that are more than
 * one system call see to it themselves that an interrupted open of theirs is.) All else that is interrupted counts as
 * failed:
 *
 * - a sync. Linux tells an error of writing back once, and a sync that ends for another reason takes it along unsaid
 *   (file_write_and_wait_range()), so another sync after it might say that all is well. Signals are held off meanwhile:
 *   no signal to a caller's thread stops an engine;
 * - a rename, a link, a removal: whether it has taken effect cannot be known;
 * - a close: the handle is gone.
 */
#ifndef CPN_BASE_IO_H
#define CPN_BASE_IO_H

#include "base/defs.h"

#define CPN_IO_NAME_MAX 64

enum cpn_io_mode {
  CPN_IO_READ,   /* must exist */
  CPN_IO_WRITE,  /* read and write, must exist */
  CPN_IO_CREATE, /* read and write, must not exist; mode 0600 whatever the umask */
};

typedef void cpn_io_list_fn(void *context, const char *name);

struct cpn_io {
  void *context;
  /* A handle for a directory; `create` makes the last component if it is not there, mode 0700 whatever the umask, and
   * syncs the parent, also of one that is there. */
  int (*open_directory)(void *context, const char *path, bool create);
  /* Takes the directory's lock, a lock on the file `name` that dies with the process and is not inherited by
   * its children. Returns a file handle; -EAGAIN if any other engine, in this process or another, has it. */
  int (*lock)(void *context, int directory, const char *name);
  /* 1: somebody holds that lock; 0: nobody. */
  int (*is_locked)(void *context, int directory, const char *name);
  int (*list)(void *context, int directory, cpn_io_list_fn *each, void *each_context);
  int (*open)(void *context, int directory, const char *name, enum cpn_io_mode mode);
  int (*size)(void *context, int file, uint64_t *size);
  int64_t (*read)(void *context, int file, uint64_t offset, void *to, size_t size);
  int64_t (*write)(void *context, int file, uint64_t offset, const void *from, size_t size);
  int (*sync)(void *context, int file);
  /* Makes a new file `size` bytes long, which read as zeros, with room on the disk, without writing them. -EOPNOTSUPP:
   * not on this file system. NULL: there is no such thing here. */
  int (*allocate)(void *context, int file, uint64_t size);
  /* A second handle of an open file, for writing only, through which a write is as durable when it returns as after a
   * sync of it; blocks of 512 bytes, from memory aligned to 4096. -EOPNOTSUPP: not on this file system. NULL: there is
   * no such thing here. What is not durable yet of the file is not made so. */
  int (*open_durable)(void *context, int directory, const char *name);
  int (*rename)(void *context, int directory, const char *from, const char *to);
  /* A second entry, in this or another directory, for a file: -EEXIST if it is taken, -EXDEV or any other fault where
   * that cannot be had. */
  int (*link)(void *context, int directory, const char *from, int to_directory, const char *to);
  int (*remove)(void *context, int directory, const char *name);
  int (*sync_directory)(void *context, int directory);
  int (*close)(void *context, int handle);               /* of a file or a directory */
  int (*unlock)(void *context, int directory, int file); /* gives the lock up and closes its file */
};

/* The real one. */
extern const struct cpn_io cpn_io_posix;

/* Reads until `size` bytes are there or the file ends; returns the number, or -errno. */
CPN_MUST_CHECK int64_t cpn_io_read_all(const struct cpn_io *io, int file, uint64_t offset, void *to, size_t size);

/* Writes all of it, or returns -errno. A disk that takes nothing and reports nothing is EIO. */
CPN_MUST_CHECK int cpn_io_write_all(const struct cpn_io *io, int file, uint64_t offset, const void *from, size_t size);

/* As open(), until it is not interrupted. A new file is one then, too: where others do what is asked of the file
 * system, a call that was interrupted may have made it, and it is made anew. */
CPN_MUST_CHECK int cpn_io_open(const struct cpn_io *io, int directory, const char *name, enum cpn_io_mode mode);

/* Once, with signals held off. */
CPN_MUST_CHECK int cpn_io_sync(const struct cpn_io *io, int file);
CPN_MUST_CHECK int cpn_io_sync_directory(const struct cpn_io *io, int directory);

/* A new file, read and write, for one that may still have its name from an attempt that failed, also to tidy up. */
CPN_MUST_CHECK int cpn_io_create_anew(const struct cpn_io *io, int directory, const char *name);

/* Fills [from, to) with zeros, from memory aligned to 4096. */
CPN_MUST_CHECK int cpn_io_write_zeros(const struct cpn_io *io, int file, uint64_t from, uint64_t to);

#endif
