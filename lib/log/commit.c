/* SPDX-License-Identifier: Apache-2.0 */
#include "log/commit.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/points.h"

/* Pages of this size, where a system has others. */
#define HUGE_SIZE ((size_t)2 << 20)

/* What is written past the page cache is given to the disk page by page: in one huge page it is one piece, which takes
 * disk and processor less time. A wish; nothing depends on it. */
static unsigned char *map_huge(size_t size) {
  const size_t whole = (size_t)cpn_round_up(size, HUGE_SIZE);
  char *pages = mmap(NULL, whole + HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return NULL;
  const size_t before = (size_t)(cpn_round_up((uintptr_t)pages, HUGE_SIZE) - (uintptr_t)pages);
  if (before > 0) (void)munmap(pages, before);
  if (before < HUGE_SIZE) (void)munmap(pages + before + whole, HUGE_SIZE - before);
  (void)madvise(pages + before, whole, MADV_HUGEPAGE);
  return (unsigned char *)pages + before;
}

/* As the frames of segments of the usual size do: they are half of one. */
static bool wants_huge(size_t size) { return size >= HUGE_SIZE / 2; }

/* Page-aligned: what is written to a disk had better be. */
static unsigned char *staging_create(size_t size) {
  return wants_huge(size) ? map_huge(size) : aligned_alloc(4096, (size_t)cpn_round_up(size, 4096));
}

bool cpn_commit_init(struct cpn_commit *commit, struct cpn_buffer *buffer, struct cpn_sink sink, size_t payload_max,
                     cpn_buffer_each_fn *each, void *each_context) {
  commit->buffer = buffer;
  commit->sink = sink;
  commit->each = each;
  commit->each_context = each_context;
  commit->payload_max = (size_t)cpn_min_u64(payload_max, buffer->capacity);
  commit->staging_size_bytes = (size_t)cpn_frame_size(commit->payload_max);
  commit->staging = staging_create(commit->staging_size_bytes);
  atomic_init(&commit->durable, cpn_buffer_tail(buffer));
  atomic_init(&commit->commits, 0);
  atomic_init(&commit->batch, 0);
  return commit->staging != NULL;
}

void cpn_commit_fini(struct cpn_commit *commit) {
  if (commit->staging != NULL && wants_huge(commit->staging_size_bytes))
    (void)munmap(commit->staging, (size_t)cpn_round_up(commit->staging_size_bytes, HUGE_SIZE));
  else
    free(commit->staging);
}

int cpn_commit_step(struct cpn_commit *commit, size_t payload_max, void (*drained_now)(void *context), void *context) {
  struct cpn_batch batch = {.first_lsn = cpn_buffer_drained(commit->buffer), .bytes = commit->staging};
  batch.payload_bytes = (uint32_t)cpn_buffer_drain(commit->buffer, commit->staging + CPN_FRAME_HEADER_SIZE,
                                                   (size_t)cpn_min_u64(payload_max, commit->payload_max), commit->each,
                                                   commit->each_context);
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
