/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_file.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Large enough that a log is read at the disk's speed, small enough to stay in the cache. */
enum { WINDOW = 1 << 20 };

void read_segment_name(uint64_t number, char name[READ_FILE_MAX]) {
  snprintf(name, READ_FILE_MAX, "%016llx.log", (unsigned long long)number);
}

bool file_segment_number(const char *name, uint64_t *number) {
  uint64_t value = 0;
  for (int i = 0; i < 16; i++) {
    static const char digits[] = "0123456789abcdef";
    const char *digit = name[i] == 0 ? NULL : strchr(digits, name[i]);
    if (digit == NULL) return false;
    value = value << 4 | (uint64_t)(digit - digits);
  }
  *number = value;
  return value != 0 && strcmp(name + 16, ".log") == 0;
}

bool file_all_zero(const unsigned char *bytes, uint64_t length) {
  /* A run of bytes is zero if the first one is, and each equals its neighbour. */
  return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, (size_t)length - 1) == 0);
}

uint64_t file_checksum(const unsigned char *bytes, uint64_t length) { return XXH3_64bits(bytes, (size_t)length); }

uint64_t file_checksum_with(const unsigned char *identity, const unsigned char *bytes, size_t length) {
  unsigned char both[FILE_IDENTITY + 64];
  memcpy(both, identity, FILE_IDENTITY);
  memcpy(both + FILE_IDENTITY, bytes, length);
  return file_checksum(both, FILE_IDENTITY + length);
}

/* One directory is read at a time. */
static struct held {
  int directory, descriptor;
  char name[READ_FILE_MAX];
} held[FILE_HELD_MAX];
static size_t held_count;

static const struct held *find_held(int directory, const char *name) {
  for (size_t i = 0; i < held_count; i++)
    if (held[i].directory == directory && strcmp(held[i].name, name) == 0) return &held[i];
  return NULL;
}

/* Non-blocking: opening a FIFO of that name would wait for ever. */
static int open_named(int directory, const char *name) {
  return openat(directory, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

void file_hold(int directory, const char *name) {
  if (held_count == FILE_HELD_MAX || find_held(directory, name) != NULL) return;
  struct held *here = &held[held_count];
  here->directory = directory;
  here->descriptor = open_named(directory, name);
  snprintf(here->name, sizeof here->name, "%s", name);
  held_count += here->descriptor >= 0;
}

void file_let_go(void) {
  while (held_count > 0) close(held[--held_count].descriptor);
}

static void close_descriptor(const struct file *file) {
  if (file->open && !file->held) close(file->descriptor);
}

bool file_open(struct file *file, int directory) {
  close_descriptor(file);
  file->open = false;
  file->filled = 0;
  const struct held *there = find_held(directory, file->name);
  file->held = there != NULL;
  file->descriptor = file->held ? there->descriptor : open_named(directory, file->name);
  if (file->descriptor < 0) return false;
  file->open = true;
  struct stat status;
  if (fstat(file->descriptor, &status) != 0) return false;
  if (!S_ISREG(status.st_mode)) {
    errno = EINVAL;
    return false;
  }
  file->size = (uint64_t)status.st_size;
  return true;
}

void file_close(struct file *file) {
  close_descriptor(file);
  free(file->bytes);
  *file = (struct file){.open = false};
}

/* Makes room for `length` bytes; what the window held is given up. */
static bool widen(struct file *file, size_t length) {
  if (length <= file->capacity) return true;
  free(file->bytes);
  file->capacity = 0;
  file->bytes = malloc(length);
  if (file->bytes == NULL) return false;
  file->capacity = length;
  return true;
}

const unsigned char *file_view(struct file *file, uint64_t offset, uint64_t length) {
  if (offset >= file->start && offset - file->start <= file->filled && length <= file->filled - (offset - file->start))
    return file->bytes + (offset - file->start);
  uint64_t wanted = file->size - offset;
  if (wanted > WINDOW) wanted = WINDOW;
  if (wanted < length) wanted = length;
  file->filled = 0;
  file->start = offset;
  if (!widen(file, (size_t)wanted)) return NULL;
  while (file->filled < wanted) {
    ssize_t got = pread(file->descriptor, file->bytes + file->filled, (size_t)wanted - file->filled,
                        (off_t)(offset + file->filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return NULL;
    if (got == 0) break;
    file->filled += (size_t)got;
  }
  errno = 0;
  return file->filled < length ? NULL : file->bytes;
}

/* --- owner ------------------------------------------------------------------------------------ */

/* The hint's bytes; zeros if there is no such file. */
static bool read_hint(int directory, struct read_owner *owner) {
  memset(owner->raw, 0, sizeof owner->raw);
  int descriptor = openat(directory, "owner", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return errno == ENOENT;
  bool known = pread(descriptor, owner->raw, sizeof owner->raw, 0) >= 0;
  int fault = errno;
  close(descriptor);
  errno = fault;
  return known;
}

bool file_owner_lock(int directory, struct read_owner *owner) {
  *owner = (struct read_owner){.held = false};
  int descriptor = openat(directory, "lock", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return errno == ENOENT;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
  bool known = fcntl(descriptor, F_GETLK, &lock) == 0;
  owner->held = known && lock.l_type != F_UNLCK;
  owner->locker = owner->held ? lock.l_pid : 0;
  int fault = errno;
  close(descriptor);
  errno = fault;
  return known && read_hint(directory, owner);
}

static bool take_hint(const unsigned char *identity, struct read_owner *owner) {
  const unsigned char *h = owner->raw;
  owner->hint = memcmp(h, "CPNOWNER", 8) == 0 && file_checksum_with(identity, h, 32) == read_u64(h + 32);
  owner->life = read_u64(h + 8);
  owner->durable_lsn = read_u64(h + 16);
  owner->pid = read_u64(h + 24);
  return owner->hint;
}

void file_owner_hint(int directory, const unsigned char *identity, struct read_owner *owner) {
  const struct timespec pause = {0, 1000000};
  for (int i = 0; i < 1000 && read_hint(directory, owner) && !take_hint(identity, owner); i++) nanosleep(&pause, NULL);
}

bool read_owner_changed(const char *directory, const struct read_owner *before) {
  struct read_owner now;
  int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return false;
  bool known = file_owner_lock(descriptor, &now);
  close(descriptor);
  return known && (now.held != before->held || memcmp(now.raw, before->raw, sizeof now.raw) != 0);
}
