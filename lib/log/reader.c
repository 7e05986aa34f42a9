/* SPDX-License-Identifier: Apache-2.0 */
#include "log/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log/format_block.h"
#include "log/reader_segment.h"
#include "log/reader_walk.h"

/* --- which segments there are -------------------------------------------------------------------- */

struct numbers {
  uint64_t last, count;
};

static void collect_number(void *context, const char *name) {
  struct numbers *numbers = context;
  uint64_t number = cpn_segment_number(name);
  if (number == 0) return;
  if (number > numbers->last) numbers->last = number;
  numbers->count++;
}

uint64_t cpn_reader_last_segment(const struct cpn_io *io, int directory) {
  struct numbers numbers = {0};
  return io->list(io->context, directory, collect_number, &numbers) < 0 ? 0 : numbers.last;
}

/* 0 or -errno. */
static int add_bytes(const struct cpn_io *io, int directory, uint64_t number, uint64_t *bytes) {
  char name[CPN_SEGMENT_NAME_SIZE];
  uint64_t size = 0;
  cpn_segment_name(number, name);
  int file = cpn_io_open(io, directory, name, CPN_IO_READ);
  if (file < 0) return file;
  int error = io->size(io->context, file, &size);
  (void)io->close(io->context, file);
  *bytes += size;
  return error;
}

uint64_t cpn_reader_log_bytes(const struct cpn_io *io, int directory, uint64_t first, uint64_t last) {
  uint64_t bytes = 0;
  for (uint64_t number = first; number <= last; number++) {
    if (add_bytes(io, directory, number, &bytes) < 0) break; /* nor will reading get any further */
  }
  return bytes;
}

/* --- the manifest -------------------------------------------------------------------------------- */

/* Whether segment 1 is there and holds anything but its header. 1, 0 or -errno. */
static int64_t first_segment_is_used(const struct cpn_io *io, int directory) {
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(1, name);
  int file = cpn_io_open(io, directory, name, CPN_IO_READ);
  if (file < 0) return file;
  int64_t answer = 0;
  for (uint64_t at = CPN_BLOCK_SIZE; answer == 0; at += CPN_BLOCK_SIZE) {
    unsigned char block[CPN_BLOCK_SIZE] = {0};
    int64_t got = cpn_io_read_all(io, file, at, block, sizeof block);
    if (got == 0) break;
    answer = got < 0 ? got : !cpn_all_zero(block, (size_t)got);
  }
  (void)io->close(io->context, file);
  return answer;
}

/* No manifest: nothing of ours, or an unfinished creation, or damage. */
static coupon_status without_manifest(const struct cpn_io *io, int directory, struct cpn_fault *fault) {
  struct numbers numbers = {0};
  int error = io->list(io->context, directory, collect_number, &numbers);
  if (error < 0) return cpn_fault_from_io(fault, error, "", "cannot list the directory");
  /* An empty first segment is what a crash during creation leaves. */
  int64_t used = numbers.count == 0 ? 0 : numbers.last > 1 ? 1 : first_segment_is_used(io, directory);
  if (used < 0) return cpn_fault_from_io(fault, used, "", "cannot read a log segment");
  if (used > 0)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, CPN_MANIFEST_NAME, 0,
                         "the manifest is missing beside log segments; restore it from a copy");
  return cpn_fault_set(fault, COUPON_E_ACCESS, "", 0, "not a libcoupon directory");
}

coupon_status cpn_reader_manifest(const struct cpn_io *io, int directory, struct cpn_manifest *manifest,
                                  struct cpn_fault *fault) {
  int file = cpn_io_open(io, directory, CPN_MANIFEST_NAME, CPN_IO_READ);
  if (file == -ENOENT) return without_manifest(io, directory, fault);
  if (file < 0) return cpn_fault_from_io(fault, file, CPN_MANIFEST_NAME, "cannot open the manifest");
  unsigned char block[CPN_BLOCK_SIZE];
  int64_t got = cpn_io_read_all(io, file, 0, block, sizeof block);
  (void)io->close(io->context, file);
  if (got < 0) return cpn_fault_from_io(fault, got, CPN_MANIFEST_NAME, "cannot read the manifest");
  enum cpn_decoded decoded = got == (int64_t)sizeof block ? cpn_manifest_decode(manifest, block) : CPN_DECODED_NOT;
  if (decoded == CPN_DECODED_NEWER)
    return cpn_fault_set(fault, COUPON_E_VERSION, CPN_MANIFEST_NAME, 0,
                         "the directory has a newer version; use a newer libcoupon");
  if (decoded != CPN_DECODED_OK)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, CPN_MANIFEST_NAME, 0,
                         "the manifest is damaged; restore it from a copy");
  return COUPON_OK;
}

/* --- the log ------------------------------------------------------------------------------------- */

coupon_status cpn_reader_run(struct cpn_reader *reader, struct cpn_fault *fault) {
  struct numbers numbers = {0};
  int error = reader->io->list(reader->io->context, reader->directory, collect_number, &numbers);
  if (error < 0) return cpn_fault_from_io(fault, error, "", "cannot list the directory");
  /* A gap shows when its segment is opened. */
  reader->first_number = reader->manifest.first_segment;
  if (reader->start.segment != 0) {
    reader->first_number = reader->start.segment;
    reader->lsn = reader->start.lsn;
    reader->life = reader->start.life;
    reader->proof_lsn = cpn_max_u64(reader->proof_lsn, reader->start.lsn);
  }
  reader->last_number = cpn_max_u64(numbers.last, reader->first_number);
  memset(fault, 0, sizeof *fault);
  unsigned char *window = malloc(CPN_READER_WINDOW_SIZE);
  if (window == NULL) return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "no memory to read the log");
  coupon_status status = cpn_reader_walk(reader, window, fault);
  free(window);
  return status;
}
