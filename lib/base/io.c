/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>

int64_t cpn_io_read_all(const struct cpn_io *io, int file, uint64_t offset, void *to, size_t size) {
  size_t done = 0;
  while (done < size) {
    int64_t got = io->read(io->context, file, offset + done, (char *)to + done, size - done);
    if (got == -EINTR) continue;
    if (got < 0) return got;
    if (got == 0) break;
    done += (size_t)got;
  }
  return (int64_t)done;
}

int cpn_io_write_all(const struct cpn_io *io, int file, uint64_t offset, const void *from, size_t size) {
  size_t done = 0;
  while (done < size) {
    int64_t put = io->write(io->context, file, offset + done, (const char *)from + done, size - done);
    if (put == -EINTR) continue;
    if (put < 0) return (int)put;
    if (put == 0) return -EIO;
    done += (size_t)put;
  }
  return 0;
}

int cpn_io_open(const struct cpn_io *io, int directory, const char *name, enum cpn_io_mode mode) {
  for (bool interrupted = false;;) {
    int file = io->open(io->context, directory, name, mode);
    if (file == -EEXIST && interrupted) {
      interrupted = false;
      file = io->remove(io->context, directory, name);
      if (file < 0) return file;
    } else if (file == -EINTR) {
      interrupted = true;
    } else {
      return file;
    }
  }
}

int cpn_io_create_anew(const struct cpn_io *io, int directory, const char *name) {
  int file = cpn_io_open(io, directory, name, CPN_IO_CREATE);
  if (file != -EEXIST) return file;
  int error = io->remove(io->context, directory, name);
  return error < 0 ? error : cpn_io_open(io, directory, name, CPN_IO_CREATE);
}

static int undisturbed(const struct cpn_io *io, int (*sync)(void *context, int handle), int handle) {
  sigset_t all, before;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = sync(io->context, handle);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

int cpn_io_sync(const struct cpn_io *io, int file) { return undisturbed(io, io->sync, file); }

int cpn_io_sync_directory(const struct cpn_io *io, int directory) {
  return undisturbed(io, io->sync_directory, directory);
}

int cpn_io_write_zeros(const struct cpn_io *io, int file, uint64_t from, uint64_t to) {
  /* A piece that fits the processor's cache: larger ones only evict. */
  static _Alignas(4096) const unsigned char zeros[256 * 1024];
  while (from < to) {
    size_t size = (size_t)cpn_min_u64(to - from, sizeof zeros);
    int error = cpn_io_write_all(io, file, from, zeros, size);
    if (error < 0) return error;
    from += size;
  }
  return 0;
}
