/* SPDX-License-Identifier: Apache-2.0 */
#include "log/commit.h"

#include <stdlib.h>

#include "base/points.h"

bool cpn_commit_init(struct cpn_commit *commit, struct cpn_buffer *buffer, struct cpn_sink sink, size_t payload_max,
                     cpn_buffer_each_fn *each, void *each_context) {
  commit->buffer = buffer;
  commit->sink = sink;
  commit->each = each;
  commit->each_context = each_context;
  commit->payload_max = (size_t)cpn_min_u64(payload_max, buffer->capacity);
  commit->staging_size_bytes = (size_t)cpn_frame_size(commit->payload_max);
  /* Page-aligned: what is written to a disk had better be. */
  commit->staging = aligned_alloc(4096, (size_t)cpn_round_up(commit->staging_size_bytes, 4096));
  atomic_init(&commit->durable, cpn_buffer_tail(buffer));
  atomic_init(&commit->commits, 0);
  atomic_init(&commit->batch, 0);
  return commit->staging != NULL;
}

void cpn_commit_fini(struct cpn_commit *commit) { free(commit->staging); }

int cpn_commit_step(struct cpn_commit *commit, void (*drained_now)(void *context), void *context) {
  struct cpn_batch batch = {.first_lsn = cpn_buffer_drained(commit->buffer), .bytes = commit->staging};
  batch.payload_bytes = (uint32_t)cpn_buffer_drain(commit->buffer, commit->staging + CPN_FRAME_HEADER_SIZE,
                                                   commit->payload_max, commit->each, commit->each_context);
  if (batch.payload_bytes == 0) return 0;
  /* relaxed, both: only whoever steps changes it, and to others it is a hint. */
  const uint64_t number = atomic_load_explicit(&commit->batch, memory_order_relaxed) + 1;
  atomic_store_explicit(&commit->batch, number, memory_order_relaxed);
  drained_now(context);
  CPN_POINT(DRAINED);
  int error = commit->sink.commit(commit->sink.context, &batch);
  if (error < 0) return error;
  uint64_t end = batch.first_lsn + batch.payload_bytes;
  CPN_INVARIANT(4, end <= cpn_buffer_tail(commit->buffer) && end > cpn_commit_durable(commit));
  /* DP: the sink is done with everything up to `end`. seq_cst, which includes release (numbers and rows before it);
   * pairs with waiters that look before they sleep. */
  atomic_store_explicit(&commit->durable, end, memory_order_seq_cst);
  atomic_fetch_add_explicit(&commit->commits, 1, memory_order_relaxed); /* relaxed: a figure for people */
  return 1;
}
