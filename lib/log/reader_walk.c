/* SPDX-License-Identifier: Apache-2.0 */
#include "log/reader_walk.h"

#include "log/format_block.h"
#include "log/reader_frame.h"

/* All frames of one segment that follow the reader's position. */
static coupon_status read_frames(struct cpn_reader *reader, struct cpn_reader_segment *segment,
                                 struct cpn_fault *fault) {
  const bool in_middle = segment->number == reader->start.segment; /* what lies before is proved */
  reader->offset = in_middle ? reader->start.offset : CPN_BLOCK_SIZE;
  reader->proof_offset = in_middle ? reader->start.offset : 0;
  reader->proof_lsn = cpn_max_u64(reader->proof_lsn, segment->header.first_lsn);
  for (;;) {
    struct cpn_frame frame;
    const unsigned char *payload;
    enum cpn_reader_next next = cpn_reader_frame_next(reader, segment, &frame, &payload, fault);
    if (next == CPN_READER_FAULT) return fault->status;
    if (next == CPN_READER_NOTHING) break;
    if (cpn_frame_end_lsn(&frame) > reader->limit_lsn) break;
    coupon_status status = cpn_reader_frame_visit(reader, &frame, payload, fault);
    if (status < 0) return status;
    /* With a sync for each commit a frame proves all before it. Where it proves less, we keep to the earlier point. */
    if (frame.synced_lsn == frame.first_lsn) reader->proof_offset = frame.offset;
    reader->proof_lsn = cpn_max_u64(reader->proof_lsn, frame.synced_lsn);
    cpn_reader_frame_pass(reader, &frame);
    reader->offset += cpn_frame_size(frame.payload_bytes);
  }
  return cpn_reader_segment_status(segment, fault);
}

/* What lies behind a segment's last frame: evidence that more had been synced, and the end of what is not zero. Frames
 * of any life count: their claims were true when they were written, and what was synced then was kept ever since. */
static coupon_status search_tail(struct cpn_reader *reader, struct cpn_reader_segment *segment,
                                 struct cpn_fault *fault) {
  reader->tail_end = reader->offset;
  for (uint64_t at = reader->offset; at < segment->size; at += CPN_BLOCK_SIZE) {
    const unsigned char *block = cpn_reader_segment_at(segment, at, CPN_BLOCK_SIZE);
    if (block == NULL) break;
    if (cpn_all_zero(block, CPN_BLOCK_SIZE)) continue;
    reader->tail_end = at + CPN_BLOCK_SIZE;
    struct cpn_frame frame;
    if (cpn_frame_decode(&frame, reader->manifest.identity, segment->number, at, block) == CPN_DECODED_OK)
      reader->proof_lsn = cpn_max_u64(reader->proof_lsn, frame.synced_lsn);
  }
  return cpn_reader_segment_status(segment, fault);
}

/* A segment whose first LSN is not where the log has got to. */
static coupon_status wrong_beginning(const struct cpn_reader *reader, uint64_t before,
                                     const struct cpn_reader_segment *segment, struct cpn_fault *fault) {
  if (segment->header.first_lsn > reader->lsn && before != 0)
    return cpn_reader_damaged(
        fault, before, reader->offset,
        "the log is damaged here: a later segment shows that more was durable; restore it from a copy");
  return cpn_reader_damaged(fault, segment->number, 0,
                            "the segment does not continue the one before; restore the directory from a copy");
}

/* Whether the segment begins where the log has got to; the one in which reading starts, before that. */
static bool continues(const struct cpn_reader *reader, const struct cpn_reader_segment *segment) {
  if (segment->number != reader->start.segment) return segment->header.first_lsn == reader->lsn;
  return segment->header.first_lsn < reader->lsn && reader->start.offset <= segment->size;
}

/* Bytes of the files from the start on, for somebody who wants to know how far reading is. */
static uint64_t bytes_to_read(const struct cpn_reader *reader) {
  if (reader->progress == NULL) return 0;
  const uint64_t all = cpn_reader_log_bytes(reader->io, reader->directory, reader->first_number, reader->last_number);
  return all - cpn_min_u64(all, reader->start.segment == 0 ? 0 : reader->start.offset);
}

coupon_status cpn_reader_walk(struct cpn_reader *reader, unsigned char *window, struct cpn_fault *fault) {
  struct cpn_reader_segment segment = {.file = -1};
  coupon_status status = COUPON_OK;
  const uint64_t total = bytes_to_read(reader);
  uint64_t before = 0, done = 0;
  for (uint64_t number = reader->first_number; status == COUPON_OK && number <= reader->last_number; number++) {
    status = cpn_reader_segment_open(&segment, reader, number, window, fault);
    if (status == COUPON_OK && !continues(reader, &segment)) status = wrong_beginning(reader, before, &segment, fault);
    if (status == COUPON_OK) status = read_frames(reader, &segment, fault);
    if (status == COUPON_OK && reader->limit_lsn == UINT64_MAX) status = search_tail(reader, &segment, fault);
    reader->file_size = segment.size;
    cpn_reader_segment_close(&segment);
    before = number;
    done += segment.size - (number == reader->start.segment ? cpn_min_u64(reader->start.offset, segment.size) : 0);
    /* Segments beyond the limit have come since the limit was read. */
    bool enough = reader->lsn >= reader->limit_lsn;
    /* Files may be longer than what is read of them: the total is an estimate until the end. */
    if (reader->progress != NULL && status == COUPON_OK)
      reader->progress(reader->context, done,
                       enough || number == reader->last_number ? done : cpn_max_u64(done, total));
    if (enough) break;
  }
  if (status != COUPON_OK) return status;
  if (reader->limit_lsn != UINT64_MAX && reader->lsn < reader->limit_lsn)
    return cpn_reader_damaged(fault, before, reader->offset,
                              "the log ends before what its owner has made durable; restore it from a copy");
  if (reader->proof_lsn > reader->lsn)
    return cpn_reader_damaged(
        fault, before, reader->offset,
        "the log is damaged here: later frames show that more was durable; restore it from a copy");
  return COUPON_OK;
}
