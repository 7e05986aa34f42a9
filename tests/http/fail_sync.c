/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk that fails, for a process that does not know it: preloaded, this library's fdatasync() and fsync() answer EIO
 * while the file named by COUPON_TEST_FAIL_SYNC exists. So that every commit needs one of them, files cannot be opened
 * past the page cache.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(void) {
  const char *trigger = getenv("COUPON_TEST_FAIL_SYNC");
  return trigger != NULL && access(trigger, F_OK) == 0;
}

static int sync_by(long call, int file) {
  int error = errno;
  if (fails()) {
    errno = EIO;
    return -1;
  }
  errno = error; /* access() has left its own */
  return (int)syscall(call, file);
}

__attribute__((visibility("default"))) int openat(int directory, const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  if ((flags & O_DIRECT) != 0) {
    errno = EINVAL;
    return -1;
  }
  return (int)syscall(SYS_openat, directory, path, flags, mode);
}

__attribute__((visibility("default"))) int fdatasync(int file) { return sync_by(SYS_fdatasync, file); }
__attribute__((visibility("default"))) int fsync(int file) { return sync_by(SYS_fsync, file); }
