/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <h2o.h>
#include <libgen.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "text.h"

enum { SUM_CHARACTERS = 16 };

static bool complain(const char *file, const char *what) {
  fprintf(stderr, "coupon-http: %s: %s\n", file, what);
  return false;
}

bool write_all(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t done = write(fd, bytes, length);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return false;
    bytes += done;
    length -= (size_t)done;
  }
  return true;
}

bool sync_parent(const char *file) {
  char *copy = strdup(file);
  if (copy == NULL) return false;
  int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free(copy);
  if (fd < 0) return false;
  bool done = fsync(fd) == 0;
  int error = errno;
  (void)close(fd);
  errno = error;
  return done;
}

bool make_directory(const char *directory) {
  if (mkdir(directory, 0700) == 0) return sync_parent(directory) || complain(directory, strerror(errno));
  struct stat status;
  if (errno != EEXIST) return complain(directory, strerror(errno));
  if (stat(directory, &status) != 0) return complain(directory, strerror(errno));
  return S_ISDIR(status.st_mode) || complain(directory, strerror(ENOTDIR));
}

static void checksum(const char *bytes, size_t length, char sum[SUM_CHARACTERS + 1]) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  if (EVP_Digest(bytes, length, digest, NULL, EVP_sha256(), NULL) != 1) abort();
  for (size_t i = 0; i < SUM_CHARACTERS / 2; i++) (void)snprintf(sum + 2 * i, 3, "%02x", digest[i]);
}

/* The object of a line without its newline, or NULL. */
static const char *object_of(const char *line, size_t length) {
  char sum[SUM_CHARACTERS + 1];
  if (length <= SUM_CHARACTERS + 1 || line[SUM_CHARACTERS] != ' ') return NULL;
  const char *object = line + SUM_CHARACTERS + 1;
  checksum(object, length - SUM_CHARACTERS - 1, sum);
  return memcmp(line, sum, SUM_CHARACTERS) == 0 ? object : NULL;
}

static bool complain_of_line(const struct journal *journal, uint64_t number) {
  fprintf(stderr, "coupon-http: %s: line %llu is damaged\n", journal->file, (unsigned long long)number);
  return false;
}

/* Takes the whole lines of `bytes`; `*used` becomes where the first that is unfinished begins. */
static bool take_lines(struct journal *journal, const char *bytes, size_t length, journal_line *line, void *context,
                       size_t *used) {
  const char *at = bytes;
  const char *end = bytes + length;
  for (const char *newline; (newline = memchr(at, '\n', (size_t)(end - at))) != NULL; at = newline + 1) {
    size_t line_length = (size_t)(newline - at);
    const char *object = object_of(at, line_length);
    if (object == NULL) {
      /* Zeros: a block that was never written. Nothing can follow what nobody was told of. */
      if (newline + 1 == end && memchr(at, 0, line_length) != NULL) break;
      return complain_of_line(journal, journal->lines + 1);
    }
    if (!line(context, object, (size_t)(newline - object), journal->lines + 1)) return false;
    journal->lines++;
  }
  *used = (size_t)(at - bytes);
  return true;
}

/* The file's bytes from `offset` on; NULL with errno. */
static char *read_rest(int fd, uint64_t offset, size_t *length) {
  struct stat status;
  if (fstat(fd, &status) != 0) return NULL;
  size_t size = (uint64_t)status.st_size > offset ? (size_t)((uint64_t)status.st_size - offset) : 0;
  char *bytes = h2o_mem_alloc(size + 1);
  *length = 0;
  while (*length < size) {
    ssize_t done = pread(fd, bytes + *length, size - *length, (off_t)(offset + *length));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) {
      free(bytes);
      return NULL;
    }
    if (done == 0) break;
    *length += (size_t)done;
  }
  return bytes;
}

bool journal_refresh(struct journal *journal, journal_line *line, void *context) {
  size_t length, used = 0;
  char *bytes = read_rest(journal->fd, journal->read_offset, &length);
  if (bytes == NULL) return complain(journal->file, strerror(errno));
  bool good = take_lines(journal, bytes, length, line, context, &used);
  free(bytes);
  journal->read_offset += used;
  return good;
}

/* Drops what a crash left behind the last whole line. */
static bool cut(struct journal *journal) {
  struct stat status;
  if (fstat(journal->fd, &status) != 0) return false;
  if ((uint64_t)status.st_size == journal->read_offset) return true;
  fprintf(stderr, "coupon-http: %s: an unfinished last line was cut off\n", journal->file);
  return ftruncate(journal->fd, (off_t)journal->read_offset) == 0 && fsync(journal->fd) == 0;
}

bool journal_open(struct journal *journal, const char *file, enum journal_access access, journal_line *line,
                  void *context) {
  *journal = (struct journal){.file = strdup(file), .fd = -1};
  if (journal->file == NULL) return complain(file, strerror(errno));
  journal->fd = open(file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (journal->fd < 0 || !sync_parent(file)) return complain(file, strerror(errno));
  if (access == JOURNAL_WRITE && flock(journal->fd, LOCK_EX | LOCK_NB) != 0)
    return complain(file, errno == EWOULDBLOCK ? "another process is writing to it" : strerror(errno));
  if (!journal_refresh(journal, line, context)) return false;
  return access == JOURNAL_READ || cut(journal) || complain(file, strerror(errno));
}

bool journal_append(struct journal *journal, const char *json, size_t length) {
  if (journal->failed) return false;
  char sum[SUM_CHARACTERS + 1];
  checksum(json, length, sum);
  struct text line = TEXT_INIT;
  text_bytes(&line, sum, SUM_CHARACTERS);
  text_string(&line, " ");
  text_bytes(&line, json, length);
  text_string(&line, "\n");
  journal->failed = !write_all(journal->fd, line.bytes, line.length) || fsync(journal->fd) != 0;
  if (journal->failed)
    (void)complain(journal->file, strerror(errno));
  else
    journal->lines++, journal->read_offset += line.length;
  text_free(&line);
  return !journal->failed;
}

void journal_close(struct journal *journal) {
  if (journal->fd >= 0) (void)close(journal->fd);
  free(journal->file);
  *journal = (struct journal){.fd = -1};
}
