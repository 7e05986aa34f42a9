/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commit stage: takes published records out of the buffer in order, hands each to the engine (which numbers the
 * ticket), and makes the batch durable in a sink: one write and one sync for all that wait, group commit.
 *
 * It is a step function. A thread calls it in a loop; a test calls it by hand; without a log, callers do. One at a
 * time.
 *
 * Guarantees: durable <= drained <= reserved; durable rises only after the sink has said that everything up to
 * there is durable (DP). The first failure of the sink is sticky: nothing is handed to it again.
 */
#ifndef CPN_LOG_COMMIT_H
#define CPN_LOG_COMMIT_H

#include <stdatomic.h>

#include "log/buffer.h"
#include "log/format.h"

/* Records [first_lsn, first_lsn + payload_bytes). `bytes` has CPN_FRAME_HEADER_SIZE bytes of room before the
 * payload, which begins there, and a block of room behind it; the sink may write to all of it. */
struct cpn_batch {
  uint64_t first_lsn;
  uint32_t payload_bytes;
  unsigned char *bytes;
};

/* Where batches go. Returns 0 when the batch is as durable as the engine promises, or -errno. Local segments are
 * one sink (log/segment.h). */
struct cpn_sink {
  void *context;
  int (*commit)(void *context, const struct cpn_batch *batch);
};

struct cpn_commit {
  struct cpn_buffer *buffer;
  struct cpn_sink sink;
  cpn_buffer_each_fn *each; /* of the engine: applies a record */
  void *each_context;
  unsigned char *staging; /* a frame, see struct cpn_batch */
  size_t staging_size_bytes;
  size_t payload_max;
  /* End of what is durable, an LSN. Written by the commit stage, read by waiters and pollers. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t durable;
  _Atomic uint64_t commits; /* written by the commit stage, for statistics */
  /* Number of the batch that was drained last. Written by the commit stage, read by waiters, to whom it is a hint: it
   * may be one behind what is drained. */
  _Atomic uint64_t batch;
};

/* Bytes of payload that one batch may have at most: `payload_max`, a multiple of 8. False: no memory. */
CPN_MUST_CHECK bool cpn_commit_init(struct cpn_commit *commit, struct cpn_buffer *buffer, struct cpn_sink sink,
                                    size_t payload_max, cpn_buffer_each_fn *each, void *each_context);
void cpn_commit_fini(struct cpn_commit *commit);

/* Commits one batch, if there is one, of `payload_max` bytes at most, whatever is published meanwhile. 1: did; 0: there
 * was nothing; -errno: the sink failed, and must not be stepped again. After the drain, before the sink, `drained_now`
 * is called (room in the buffer; the records are applied). */
CPN_MUST_CHECK int cpn_commit_step(struct cpn_commit *commit, size_t payload_max, void (*drained_now)(void *context),
                                   void *context);

static inline uint64_t cpn_commit_durable(const struct cpn_commit *commit) {
  return atomic_load_explicit(&commit->durable, memory_order_seq_cst); /* pairs with cpn_commit_step() */
}

#endif
