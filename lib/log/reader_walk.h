/* SPDX-License-Identifier: Apache-2.0 */
/* The walk through all segments of a log, in order, and what its end means: a torn tail, or damage. */
#ifndef CPN_LOG_READER_WALK_H
#define CPN_LOG_READER_WALK_H

#include "log/reader.h"

/* From the reader's first segment to its last, the reader standing at the beginning. `window` is CPN_READER_WINDOW_SIZE
 * bytes. COUPON_OK, or the fault. */
CPN_MUST_CHECK coupon_status cpn_reader_walk(struct cpn_reader *reader, unsigned char *window, struct cpn_fault *fault);

#endif
