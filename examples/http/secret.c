/* SPDX-License-Identifier: Apache-2.0 */
/* The secret that signs tokens: where it comes from, and how one is made. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "token.h"

static bool complain(const char *file, const char *what) {
  fprintf(stderr, "coupon-http: %s: %s\n", file, what);
  return false;
}

static bool take(struct secret *secret, const char *from, const char *bytes, size_t length) {
  if (length < SECRET_MIN) return complain(from, "a secret has at least 32 bytes");
  if (length > SECRET_MAX) return complain(from, "a secret has at most 1024 bytes");
  memcpy(secret->bytes, bytes, length);
  secret->length = length;
  return true;
}

bool secret_read(struct secret *secret, const char *file) {
  const char *variable = getenv("COUPON_HTTP_SECRET");
  if (variable != NULL) return take(secret, "COUPON_HTTP_SECRET", variable, strlen(variable));

  int fd = open(file, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return complain(file, strerror(errno));
  struct stat status;
  char bytes[SECRET_MAX + 2];
  ssize_t length = -1;
  bool stat_done = fstat(fd, &status) == 0;
  if (stat_done && S_ISREG(status.st_mode) && (status.st_mode & 0177) == 0) length = read(fd, bytes, sizeof bytes);
  int error = errno;
  (void)close(fd);
  if (!stat_done) return complain(file, strerror(error));
  if (!S_ISREG(status.st_mode)) return complain(file, "a secret is kept in a regular file");
  if ((status.st_mode & 0177) != 0) return complain(file, "others may read it; chmod 600");
  if (length < 0) return complain(file, strerror(error));
  if (length > 0 && bytes[length - 1] == '\n') length--;
  return take(secret, file, bytes, (size_t)length);
}

bool secret_make(const char *file) {
  unsigned char random[SECRET_MIN];
  char line[2 * SECRET_MIN + 2];
  if (RAND_bytes(random, sizeof random) != 1) return complain(file, "no random bytes to be had");
  for (size_t i = 0; i < SECRET_MIN; i++) (void)snprintf(line + 2 * i, 3, "%02x", random[i]);
  line[sizeof line - 2] = '\n';

  int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return complain(file, strerror(errno));
  bool written = write_all(fd, line, sizeof line - 1) && fsync(fd) == 0;
  int error = errno;
  (void)close(fd);
  if (written && sync_parent(file)) return true;
  if (written) error = errno;
  /* Half a secret is none. */
  (void)unlink(file);
  return complain(file, strerror(error));
}
