/* SPDX-License-Identifier: Apache-2.0 */
#include "log/reader_segment.h"

#include <errno.h>

/* Read at a time, where a frame is no longer: what is read is then still in the cache when it is looked at. */
#define READ_SIZE ((size_t)256 * 1024)
_Static_assert(CPN_READER_WINDOW_SIZE >= CPN_FRAME_PAYLOAD_MAX + 2 * CPN_BLOCK_SIZE, "a frame fits");

bool cpn_reader_segment_move(struct cpn_reader_segment *segment, uint64_t offset, size_t size) {
  size_t want = (size_t)cpn_min_u64(cpn_max_u64(READ_SIZE, size), segment->size - offset);
  segment->window_length = 0;
  int64_t got = cpn_io_read_all(segment->io, segment->file, offset, segment->window, want);
  segment->window_from = offset;
  segment->window_length = got < 0 ? 0 : (size_t)got;
  if (got < 0) segment->error = got;
  return segment->window_length >= size;
}

coupon_status cpn_reader_segment_status(const struct cpn_reader_segment *segment, struct cpn_fault *fault) {
  if (segment->error == 0) return COUPON_OK;
  return cpn_fault_from_io(fault, segment->error, segment->name, "cannot read a log segment");
}

void cpn_reader_segment_close(struct cpn_reader_segment *segment) {
  if (segment->file >= 0) (void)segment->io->close(segment->io->context, segment->file);
  segment->file = -1;
}

coupon_status cpn_reader_segment_open(struct cpn_reader_segment *segment, const struct cpn_reader *reader,
                                      uint64_t number, unsigned char *window, struct cpn_fault *fault) {
  const struct cpn_io *io = reader->io;
  *segment = (struct cpn_reader_segment){.io = io, .number = number, .window = window};
  cpn_segment_name(number, segment->name);
  segment->file = cpn_io_open(io, reader->directory, segment->name, CPN_IO_READ);
  if (segment->file == -ENOENT)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, segment->name, 0,
                         "a log segment is missing; restore the directory from a copy");
  if (segment->file < 0) return cpn_fault_from_io(fault, segment->file, segment->name, "cannot open a log segment");
  int error = io->size(io->context, segment->file, &segment->size);
  if (error < 0) return cpn_fault_from_io(fault, error, segment->name, "cannot read a log segment");

  const unsigned char *block = cpn_reader_segment_at(segment, 0, CPN_BLOCK_SIZE);
  if (segment->error < 0) return cpn_reader_segment_status(segment, fault);
  enum cpn_decoded decoded =
      block == NULL ? CPN_DECODED_NOT
                    : cpn_segment_header_decode(&segment->header, reader->manifest.identity, number, block);
  if (decoded == CPN_DECODED_NEWER)
    return cpn_fault_set(fault, COUPON_E_VERSION, segment->name, 0,
                         "the log segment has a newer version; use a newer libcoupon");
  if (decoded != CPN_DECODED_OK)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, segment->name, 0,
                         "the segment's header is damaged, or the file is another's; restore it from a copy");
  /* The whole file was synced before it got its name: no crash shortens it. */
  if (segment->size < segment->header.segment_size)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, segment->name, segment->size,
                         "the segment is shorter than it was made; restore it from a copy");
  segment->size = segment->header.segment_size;
  return COUPON_OK;
}

coupon_status cpn_reader_damaged(struct cpn_fault *fault, uint64_t number, uint64_t offset, const char *message) {
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(number, name);
  return cpn_fault_set(fault, COUPON_E_CORRUPT, name, offset, message);
}
