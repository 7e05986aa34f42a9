/* SPDX-License-Identifier: Apache-2.0 */
#include "log/segment.h"

#include <errno.h>

#include "log/join.h"

static void count(_Atomic uint64_t *counter, uint64_t by) {
  atomic_fetch_add_explicit(counter, by, memory_order_relaxed); /* relaxed: a figure for people */
}

/* The first bucket whose bound, 2^i microseconds, lies above. */
static unsigned sync_bucket(uint64_t time_ns) {
  unsigned bucket = 0;
  while (bucket + 1 < COUPON_SYNC_BUCKETS && time_ns >= UINT64_C(1000) << bucket) bucket++;
  return bucket;
}

static void count_sync(struct cpn_segment_log *log, int64_t begin) {
  uint64_t time_ns = (uint64_t)(cpn_monotonic_ns() - begin);
  count(&log->syncs, 1);
  count(&log->sync_time_ns, time_ns);
  count(&log->sync_counts[sync_bucket(time_ns)], 1);
}

/* The first failure is written down before the lock is given back: whoever comes second must not hear that all is
 * well. */
static int sync_once(struct cpn_segment_log *log, int (*sync)(const struct cpn_io *io, int handle), int handle) {
  (void)pthread_mutex_lock(&log->sync_lock);
  int error = log->sync_failed ? -EIO : sync(log->io, handle);
  if (error < 0) log->sync_failed = true;
  (void)pthread_mutex_unlock(&log->sync_lock);
  return error;
}

int cpn_segment_sync_other(struct cpn_segment_log *log, int file) { return sync_once(log, cpn_io_sync, file); }

int cpn_segment_sync_directory(struct cpn_segment_log *log) {
  return sync_once(log, cpn_io_sync_directory, log->directory);
}

static int sync_file(struct cpn_segment_log *log, int file) {
  int64_t begin = cpn_monotonic_ns();
  int error = cpn_segment_sync_other(log, file);
  count_sync(log, begin);
  return error;
}

size_t cpn_segment_payload_max(uint64_t segment_size) {
  uint64_t room = (segment_size - CPN_BLOCK_SIZE) / CPN_BLOCK_SIZE * CPN_BLOCK_SIZE - CPN_FRAME_HEADER_SIZE;
  return (size_t)cpn_min_u64(room, CPN_FRAME_PAYLOAD_MAX);
}

void cpn_segment_init(struct cpn_segment_log *log) {
  log->file = log->durable = -1;
  log->sync_failed = false;
  (void)pthread_mutex_init(&log->sync_lock, NULL);
  cpn_spare_init(&log->spare, log->io, log->directory);
}

static int write_header(struct cpn_segment_log *log, int file, uint64_t number, uint64_t first_lsn) {
  struct cpn_segment_header header = {.number = number,
                                      .first_lsn = first_lsn,
                                      .life = log->life,
                                      .segment_size = log->segment_size,
                                      .time_ns = cpn_clock_now(log->clock)};
  unsigned char block[CPN_BLOCK_SIZE];
  cpn_segment_header_encode(&header, log->identity, block);
  return cpn_io_write_all(log->io, file, 0, block, sizeof block);
}

/* Under the temporary name: what was made ahead and gets its header now, or all of it. One sync covers header and
 * zeros, where those are not synced yet. */
static int make_file(struct cpn_segment_log *log, int file, uint64_t number, uint64_t first_lsn, bool is_empty) {
  int error = write_header(log, file, number, first_lsn);
  if (error == 0 && is_empty) error = cpn_io_write_zeros(log->io, file, CPN_BLOCK_SIZE, log->segment_size);
  if (error == 0) error = sync_file(log, file);
  count(&log->bytes_written, log->segment_size);
  return error;
}

/* With COUPON_SYNC a second handle saves a call and a copy for each commit. Where it cannot be had for any reason the
 * first one does. */
static void go_on_in(struct cpn_segment_log *log, int file, const char *name) {
  log->file = file;
  if (log->sync_each && log->io->open_durable != NULL)
    log->durable = log->io->open_durable(log->io->context, log->directory, name);
}

int cpn_segment_create(struct cpn_segment_log *log, uint64_t number, uint64_t first_lsn) {
  const struct cpn_io *io = log->io;
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(number, name);
  int file = cpn_spare_take(&log->spare, log->segment_size);
  const bool is_empty = file < 0;
  if (is_empty) file = cpn_io_open(io, log->directory, CPN_SEGMENT_TEMPORARY_NAME, CPN_IO_CREATE);
  if (file < 0) return file;
  int error = make_file(log, file, number, first_lsn, is_empty);
  if (error == 0) error = io->rename(io->context, log->directory, CPN_SEGMENT_TEMPORARY_NAME, name);
  /* The entry is durable before anything is written into the file: a segment that can be lost is not used. */
  if (error == 0) error = cpn_segment_sync_directory(log);
  if (error < 0) {
    (void)io->close(io->context, file);
    return error;
  }
  cpn_segment_close(log);
  go_on_in(log, file, name);
  log->number = number;
  log->offset = CPN_BLOCK_SIZE;
  log->limit = log->segment_size;
  log->written_lsn = first_lsn;
  log->synced_lsn = first_lsn;
  count(&log->segments, 1);
  return 0;
}

int cpn_segment_resume(struct cpn_segment_log *log, uint64_t number, uint64_t size, uint64_t offset, uint64_t lsn) {
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(number, name);
  int file = cpn_io_open(log->io, log->directory, name, CPN_IO_WRITE);
  if (file < 0) return file;
  go_on_in(log, file, name);
  log->number = number;
  log->offset = offset;
  log->limit = size;
  log->written_lsn = lsn;
  log->synced_lsn = lsn;
  return 0;
}

int cpn_segment_sync(struct cpn_segment_log *log) {
  if (log->synced_lsn == log->written_lsn) return 0;
  /* Once: after a failed sync the pages may look clean, and a second one would say that all is well. */
  int error = sync_file(log, log->file);
  if (error < 0) return error;
  log->synced_lsn = log->written_lsn;
  return 0;
}

/* Tells reading processes how far they may believe the log. Before the engine tells anybody: readers are never
 * behind. */
static int write_hint(struct cpn_segment_log *log) {
  struct cpn_owner owner = {.life = log->life, .durable_lsn = log->written_lsn, .process = log->process};
  unsigned char block[CPN_BLOCK_SIZE];
  cpn_owner_encode(&owner, log->identity, block);
  return cpn_io_write_all(log->io, log->owner_file, 0, block, sizeof block);
}

/* The next segment says that everything before it is synced; make it so first. */
static int rotate(struct cpn_segment_log *log) {
  int error = cpn_segment_sync(log);
  if (error < 0) return error;
  return cpn_segment_create(log, log->number + 1, log->written_lsn);
}

static int write_frame(struct cpn_segment_log *log, const unsigned char *bytes, uint64_t size) {
  if (log->durable < 0) return cpn_io_write_all(log->io, log->file, log->offset, bytes, (size_t)size);
  int64_t begin = cpn_monotonic_ns();
  int error = cpn_io_write_all(log->io, log->durable, log->offset, bytes, (size_t)size);
  count_sync(log, begin);
  return error;
}

/* Until a quarter is full the log may never need another segment; what is left lasts longer than making one takes. */
static void look_ahead(struct cpn_segment_log *log) {
  if (log->offset >= log->limit / 4) cpn_spare_want(&log->spare, log->segment_size);
}

int cpn_segment_commit(void *context, const struct cpn_batch *batch) {
  struct cpn_segment_log *log = context;
  CPN_INVARIANT(4, batch->first_lsn == log->written_lsn);
  size_t payload_bytes = batch->payload_bytes;
  const uint32_t joined = cpn_join(batch->bytes + CPN_FRAME_HEADER_SIZE, &payload_bytes);
  const uint64_t size = cpn_frame_size(payload_bytes);
  int error = cpn_segment_has_room(log, payload_bytes) ? 0 : rotate(log);
  if (error < 0) return error;

  struct cpn_frame frame = {.first_lsn = batch->first_lsn,
                            .synced_lsn = log->synced_lsn,
                            .life = log->life,
                            .segment = log->number,
                            .offset = log->offset,
                            .payload_bytes = (uint32_t)payload_bytes,
                            .joined = (uint16_t)joined};
  CPN_INVARIANT(4, cpn_frame_length(&frame) == batch->payload_bytes);
  cpn_frame_seal(&frame, log->identity, batch->bytes);
  error = write_frame(log, batch->bytes, size);
  if (error < 0) return error;
  count(&log->bytes_written, size);
  log->offset += size;
  log->written_lsn = batch->first_lsn + batch->payload_bytes;
  if (log->durable >= 0) log->synced_lsn = log->written_lsn;

  look_ahead(log);
  if (log->sync_each) error = cpn_segment_sync(log);
  return error < 0 ? error : write_hint(log);
}

void cpn_segment_close(struct cpn_segment_log *log) {
  if (log->file >= 0) (void)log->io->close(log->io->context, log->file);
  if (log->durable >= 0) (void)log->io->close(log->io->context, log->durable);
  log->file = log->durable = -1;
}
