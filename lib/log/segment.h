/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sink on local files: appends batches as frames to preallocated, zero-filled segments, syncs, and keeps the
 * hint for readers. One thread at a time. After the first failure nothing may be called but cpn_segment_close().
 */
#ifndef CPN_LOG_SEGMENT_H
#define CPN_LOG_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/io.h"
#include "coupon/coupon.h"
#include "log/commit.h"
#include "log/format.h"
#include "log/spare.h"

struct cpn_segment_log {
  const struct cpn_io *io;
  int directory;  /* handle; not owned */
  int owner_file; /* handle of the file for the hint; not owned */
  unsigned char identity[CPN_IDENTITY_SIZE];
  uint64_t segment_size; /* of segments made from now on */
  bool sync_each;        /* COUPON_SYNC */
  uint64_t process;      /* for the hint */
  struct cpn_clock *clock;

  struct cpn_spare spare; /* the next segment's file, made ahead */

  int file;    /* the last segment, or -1 */
  int durable; /* with sync_each, where there is such a thing: of the same file, what is written is synced; or -1 */
  uint64_t number;
  uint64_t offset; /* where the next frame goes */
  uint64_t limit;  /* size of the last segment, which may have been made with another option */
  uint64_t life;
  /* Syncs of segments and of the directory are made one at a time, and none after one that failed: what could not be
   * written looks clean to the next sync, through whatever handle and from whatever thread. */
  pthread_mutex_t sync_lock;
  bool sync_failed; /* with the lock */

  uint64_t written_lsn; /* end of what is written */
  uint64_t synced_lsn;  /* end of what is synced: the proof that frames carry */

  /* Written by the one thread, for statistics. */
  _Atomic uint64_t syncs, bytes_written, segments, sync_time_ns;
  _Atomic uint64_t sync_counts[COUPON_SYNC_BUCKETS];
};

/* Bytes of payload that fit in a frame of such a segment, whether or not anything can be joined. */
size_t cpn_segment_payload_max(uint64_t segment_size);

/* No segment yet. The caller has filled in everything up to `clock`, the rest being zero. Again: as if for the first
 * time. */
void cpn_segment_init(struct cpn_segment_log *log);

/* Makes segment `number`, which begins at `first_lsn` with everything before it synced, and goes on there. 0 or
 * -errno. */
CPN_MUST_CHECK int cpn_segment_create(struct cpn_segment_log *log, uint64_t number, uint64_t first_lsn);

/* Goes on in an existing segment of `size` bytes at `offset`, which is the log's position `lsn`, synced. 0 or
 * -errno. */
CPN_MUST_CHECK int cpn_segment_resume(struct cpn_segment_log *log, uint64_t number, uint64_t size, uint64_t offset,
                                      uint64_t lsn);

/* The sink's function; `context` is a struct cpn_segment_log. */
CPN_MUST_CHECK int cpn_segment_commit(void *context, const struct cpn_batch *batch);

/* Whether a frame of so much payload goes into the last segment. Of the thread that commits. */
static inline bool cpn_segment_has_room(const struct cpn_segment_log *log, uint64_t payload_bytes) {
  return log->offset + cpn_frame_size(payload_bytes) <= log->limit;
}

/* Syncs what is written. 0 or -errno, after which the log must not be used. */
CPN_MUST_CHECK int cpn_segment_sync(struct cpn_segment_log *log);

/* The same through another handle of a segment, whose LSN is the caller's to know; from any thread, waits for the log's
 * own sync. */
CPN_MUST_CHECK int cpn_segment_sync_other(struct cpn_segment_log *log, int file);

/* The same for the directory. */
CPN_MUST_CHECK int cpn_segment_sync_directory(struct cpn_segment_log *log);

/* Closes the file; an error of close() says nothing that a sync has not said. */
void cpn_segment_close(struct cpn_segment_log *log);

#endif
