/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One frame: whether a valid one follows where the reader has got to, and its records, one by one or as runs. A frame
 * bears its segment's number and its offset, so whoever has it, and its payload, can say where a rule is broken.
 */
#ifndef CPN_LOG_READER_FRAME_H
#define CPN_LOG_READER_FRAME_H

#include "log/reader_segment.h"

enum cpn_reader_next { CPN_READER_FRAME, CPN_READER_NOTHING, CPN_READER_FAULT };

/* The frame at the reader's position, if a valid one follows there; `*payload` is then valid as long as the window.
 * NOTHING also where it cannot be read: the segment knows. */
CPN_MUST_CHECK enum cpn_reader_next cpn_reader_frame_next(const struct cpn_reader *reader,
                                                          struct cpn_reader_segment *segment, struct cpn_frame *frame,
                                                          const unsigned char **payload, struct cpn_fault *fault);

/* Hands the frame's records to the reader's each() and each_run(). The reader still stands before the frame. */
CPN_MUST_CHECK coupon_status cpn_reader_frame_visit(struct cpn_reader *reader, const struct cpn_frame *frame,
                                                    const unsigned char *payload, struct cpn_fault *fault);

/* The log has got to the frame's end. */
static inline void cpn_reader_frame_pass(struct cpn_reader *reader, const struct cpn_frame *frame) {
  reader->lsn = cpn_frame_end_lsn(frame);
  reader->life = frame->life;
}

#endif
