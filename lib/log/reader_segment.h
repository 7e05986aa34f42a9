/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One segment of a log, opened for reading and looked at through a window that moves forwards. What a window shows is
 * valid until the next one.
 */
#ifndef CPN_LOG_READER_SEGMENT_H
#define CPN_LOG_READER_SEGMENT_H

#include "log/reader.h"

/* How much of a segment is in memory at once, at most: the largest frame. */
#define CPN_READER_WINDOW_SIZE ((size_t)2 * 1024 * 1024)

struct cpn_reader_segment {
  const struct cpn_io *io;
  char name[CPN_SEGMENT_NAME_SIZE];
  int file;
  uint64_t number;
  uint64_t size;
  struct cpn_segment_header header;
  unsigned char *window;
  uint64_t window_from;
  size_t window_length;
  int64_t error; /* of the last read: -errno, or 0 */
};

/* Opens segment `number` and checks its header; the window's memory, CPN_READER_WINDOW_SIZE, is the caller's. Whatever
 * it returns, the caller closes. */
CPN_MUST_CHECK coupon_status cpn_reader_segment_open(struct cpn_reader_segment *segment,
                                                     const struct cpn_reader *reader, uint64_t number,
                                                     unsigned char *window, struct cpn_fault *fault);
void cpn_reader_segment_close(struct cpn_reader_segment *segment);

/* Moves the window to `offset`, to show `size` bytes or more. False: as cpn_reader_segment_at() says. */
bool cpn_reader_segment_move(struct cpn_reader_segment *segment, uint64_t offset, size_t size);

/* `size` bytes at `offset`, valid until the next call; NULL: the file ends before (error 0), or cannot be read. */
static inline const unsigned char *cpn_reader_segment_at(struct cpn_reader_segment *segment, uint64_t offset,
                                                         size_t size) {
  if (offset > segment->size || size > segment->size - offset) return NULL;
  bool inside = offset >= segment->window_from && offset + size <= segment->window_from + segment->window_length;
  if (!inside && !cpn_reader_segment_move(segment, offset, size)) return NULL;
  return segment->window + (offset - segment->window_from);
}

/* The fault of reading through the window, if there was one. */
CPN_MUST_CHECK coupon_status cpn_reader_segment_status(const struct cpn_reader_segment *segment,
                                                       struct cpn_fault *fault);

/* Damage in segment `number`, of which nothing else need be known any more. */
coupon_status cpn_reader_damaged(struct cpn_fault *fault, uint64_t number, uint64_t offset, const char *message);

#endif
