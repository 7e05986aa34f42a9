/* SPDX-License-Identifier: Apache-2.0 */
#include "log/reader_expect.h"

#include "log/format_block.h"

/* Bytes of log to a byte of file where there are no segments before to tell: of tickets that are joined
 * (log/join.h). */
#define USUAL_PACE 2.4

static bool block_at(const struct cpn_io *io, int file, uint64_t at, unsigned char block[CPN_BLOCK_SIZE]) {
  return cpn_io_read_all(io, file, at, block, CPN_BLOCK_SIZE) == (int64_t)CPN_BLOCK_SIZE;
}

/* The first block of zeros, found by halving: what is written lies before what is not. */
static uint64_t used_bytes(const struct cpn_io *io, int file, uint64_t size) {
  uint64_t used = 1, zeros = size / CPN_BLOCK_SIZE;
  while (used < zeros) {
    unsigned char block[CPN_BLOCK_SIZE];
    const uint64_t middle = used + (zeros - used) / 2;
    if (block_at(io, file, middle * CPN_BLOCK_SIZE, block) && !cpn_all_zero(block, sizeof block))
      used = middle + 1;
    else
      zeros = middle;
  }
  return used * CPN_BLOCK_SIZE;
}

static bool look(const struct cpn_reader *reader, uint64_t number, struct cpn_segment_header *header, uint64_t *used) {
  const struct cpn_io *io = reader->io;
  char name[CPN_SEGMENT_NAME_SIZE];
  unsigned char block[CPN_BLOCK_SIZE];
  cpn_segment_name(number, name);
  const int file = cpn_io_open(io, reader->directory, name, CPN_IO_READ);
  if (file < 0) return false;
  uint64_t size = 0;
  const bool seen = io->size(io->context, file, &size) == 0 && block_at(io, file, 0, block) &&
                    cpn_segment_header_decode(header, reader->manifest.identity, number, block) == CPN_DECODED_OK;
  if (seen) *used = used_bytes(io, file, size);
  (void)io->close(io->context, file);
  return seen;
}

uint64_t cpn_reader_expect_end(const struct cpn_reader *reader) {
  const uint64_t first = cpn_max_u64(reader->start.segment, reader->manifest.first_segment);
  const uint64_t last = cpn_reader_last_segment(reader->io, reader->directory);
  struct cpn_segment_header header;
  uint64_t used = 0;
  if (last < first || !look(reader, last, &header, &used)) return 0;
  double pace = USUAL_PACE;
  if (last > first && header.first_lsn > reader->start.lsn) {
    const uint64_t bytes = cpn_reader_log_bytes(reader->io, reader->directory, first, last - 1);
    if (bytes > reader->start.offset)
      pace = (double)(header.first_lsn - reader->start.lsn) / (double)(bytes - reader->start.offset);
  }
  return cpn_min_u64(header.first_lsn + (uint64_t)((double)used * pace), reader->limit_lsn);
}
