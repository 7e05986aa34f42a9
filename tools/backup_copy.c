/* SPDX-License-Identifier: Apache-2.0 */
#include "backup_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20, FRAME_HEADER = 64 };

__attribute__((format(printf, 2, 3))) static bool fail(struct copy_target *target, const char *why, ...) {
  va_list arguments;
  va_start(arguments, why);
  vsnprintf(target->why, sizeof target->why, why, arguments);
  va_end(arguments);
  return false;
}

static bool cannot_read(struct copy_target *target, const struct file *from) {
  return fail(target, "%s cannot be read: %s", from->name,
              errno == 0 ? "it became shorter meanwhile" : strerrordesc_np(errno));
}

static bool cannot_write(struct copy_target *target, const char *name) {
  return fail(target, "the copy of %s cannot be written: %s", name, strerrordesc_np(errno));
}

/* --- one file of the copy ----------------------------------------------------------------------- */

struct output {
  struct copy_target *target;
  const char *name;
  int descriptor;
  uint64_t offset;
};

static bool begin(struct output *output, struct copy_target *target, const char *name) {
  *output = (struct output){.target = target, .name = name};
  output->descriptor = openat(target->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (output->descriptor < 0) return cannot_write(target, name);
  /* Whatever the umask took away. */
  target->files++;
  if (fchmod(output->descriptor, 0600) == 0) return true;
  close(output->descriptor);
  return cannot_write(target, name);
}

static bool put(struct output *output, const unsigned char *bytes, uint64_t length) {
  while (length > 0) {
    if (*output->target->interrupted != 0) return fail(output->target, "interrupted");
    ssize_t written = pwrite(output->descriptor, bytes, (size_t)length, (off_t)output->offset);
    if (written < 0 && errno == EINTR) continue;
    if (written == 0) errno = EIO;
    if (written <= 0) return cannot_write(output->target, output->name);
    bytes += written;
    length -= (uint64_t)written;
    output->offset += (uint64_t)written;
    output->target->bytes += (uint64_t)written;
  }
  return true;
}

/* Real zeros: in a hole the log's next write could still find the disk full. */
static bool put_zeros(struct output *output, uint64_t end) {
  static const unsigned char zeros[1 << 16];
  while (output->offset < end) {
    uint64_t left = end - output->offset;
    if (!put(output, zeros, left < sizeof zeros ? left : sizeof zeros)) return false;
  }
  return true;
}

static bool finish(struct output *output, bool good) {
  if (good && fsync(output->descriptor) != 0) good = cannot_write(output->target, output->name);
  if (close(output->descriptor) != 0 && good) good = cannot_write(output->target, output->name);
  return good;
}

/* --- whole files -------------------------------------------------------------------------------- */

bool copy_bytes(struct copy_target *target, const char *name, const unsigned char *bytes, size_t length) {
  struct output output;
  return begin(&output, target, name) && finish(&output, put(&output, bytes, length));
}

bool copy_whole(struct copy_target *target, struct file *from) {
  struct output output;
  if (!begin(&output, target, from->name)) return false;
  bool good = true;
  while (good && output.offset < from->size) {
    uint64_t left = from->size - output.offset;
    uint64_t length = left < PIECE ? left : PIECE;
    const unsigned char *bytes = file_view(from, output.offset, length);
    good = bytes == NULL ? cannot_read(target, from) : put(&output, bytes, length);
  }
  return finish(&output, good);
}

/* --- segments ----------------------------------------------------------------------------------- */

/* The bytes of the frame at `offset`, if it is the one that begins at `lsn`; 0: it is not. `*length`: how far its LSNs
 * reach. Whether it is whole is looked at when the copy is verified. */
static uint64_t frame_at(const struct copy_target *target, const struct file *from, uint64_t offset, uint64_t lsn,
                         const unsigned char *h, uint64_t *length) {
  const uint64_t payload = read_u32(h + 32), joined = h[6] | (uint64_t)h[7] << 8;
  *length = payload + 16 * joined;
  uint64_t total = (FRAME_HEADER + payload + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK;
  bool next = memcmp(h, "CPNF", 4) == 0 && file_checksum_with(target->identity, h, 56) == read_u64(h + 56) &&
              read_u64(h + 40) == from->number && (uint64_t)read_u32(h + 36) * FILE_BLOCK == offset &&
              read_u64(h + 8) == lsn;
  return next && total <= from->size - offset ? total : 0;
}

static bool put_frames(struct output *output, struct file *from, uint64_t limit_lsn, uint64_t *lsn) {
  struct copy_target *target = output->target;
  while (*lsn < limit_lsn && from->size - output->offset >= FILE_BLOCK) {
    uint64_t length;
    const unsigned char *bytes = file_view(from, output->offset, FILE_BLOCK);
    if (bytes == NULL) return cannot_read(target, from);
    uint64_t total = frame_at(target, from, output->offset, *lsn, bytes, &length);
    if (total == 0 || length > limit_lsn - *lsn) break;
    bytes = file_view(from, output->offset, total);
    if (bytes == NULL) return cannot_read(target, from);
    if (!put(output, bytes, total)) return false;
    *lsn += length;
  }
  return put_zeros(output, from->size);
}

bool copy_segment(struct copy_target *target, struct file *from, uint64_t limit_lsn, uint64_t *lsn) {
  if (limit_lsn == READ_NO_LIMIT) return copy_whole(target, from);
  const unsigned char *header = from->size < FILE_BLOCK ? NULL : file_view(from, 0, FILE_BLOCK);
  if (header == NULL && from->size >= FILE_BLOCK) return cannot_read(target, from);
  if (header == NULL || memcmp(header, "CPNSEGMT", 8) != 0 || file_checksum(header, 504) != read_u64(header + 504)) {
    target->damaged = true;
    return fail(target, "the header of %s is damaged", from->name);
  }
  uint64_t first_lsn = read_u64(header + 40);
  if (first_lsn > limit_lsn) return true;
  struct output output;
  *lsn = first_lsn;
  if (!begin(&output, target, from->name)) return false;
  return finish(&output, put(&output, header, FILE_BLOCK) && put_frames(&output, from, limit_lsn, lsn));
}
