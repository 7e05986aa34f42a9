/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory becomes an engine. For writing: lock, read, repair, begin a life; before the first answer everything
 * kept is durable and nothing that was cut can come back (docs/FORMAT.md, "What a crash leaves"). For reading:
 * read, and believe a living owner's hint.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/checkpoint.h"
#include "engine/engine.h"
#include "engine/restore.h"
#include "engine/restore_follow.h"
#include "log/reader.h"

/* What is rewritten at a time. Holds the largest frame. */
#define PIECE_SIZE ((size_t)CPN_FRAME_PAYLOAD_MAX + CPN_BLOCK_SIZE)

/* An owner that comes or goes while we read can make a sound log look damaged, and one that makes checkpoints can
 * remove what we were about to read. So damage is believed when it is seen again. */
#define READ_ATTEMPTS 4
/* Whereas each time that it was told to read again something has come of it elsewhere. */
#define AGAIN_ATTEMPTS 32

static coupon_status begin_campaigns(coupon_engine *engine, struct cpn_fault *fault) {
  cpn_progress_begin(engine);
  engine->appended_to = NULL; /* reading may begin again, and the next campaign lie where one was */
  if (cpn_directory_init(&engine->campaigns, &engine->memory, engine->directory_secret)) return COUPON_OK;
  return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory to begin");
}

coupon_status cpn_recovery_begin_again(coupon_engine *engine, struct cpn_fault *fault) {
  cpn_restore_follow_end(engine);
  cpn_directory_fini(&engine->campaigns);
  atomic_store_explicit(&engine->tickets, 0, memory_order_relaxed); /* relaxed: nobody else is here yet */
  return begin_campaigns(engine, fault);
}

static void reader_init(struct cpn_reader *reader, coupon_engine *engine, uint64_t limit_lsn) {
  *reader = (struct cpn_reader){.io = engine->env.io,
                                .directory = engine->directory,
                                .limit_lsn = limit_lsn,
                                .each = cpn_apply_replay,
                                .each_run = cpn_apply_replay_run,
                                .progress = engine->options.callbacks.progress == NULL ? NULL : cpn_progress_read_log,
                                .context = engine};
}

static void fill_report(const coupon_engine *engine, const struct cpn_reader *reader, struct coupon_report *report) {
  report->records = reader->records;
  report->tickets = atomic_load_explicit(&engine->tickets, memory_order_relaxed); /* relaxed: nobody else is here yet */
  report->recovered_lsn = reader->lsn;
  report->cut_bytes = reader->tail_end > reader->offset ? reader->tail_end - reader->offset : 0;
  if (report->cut_bytes == 0) return;
  report->offset = reader->offset;
  cpn_segment_name(reader->last_number, report->file);
}

/* Where a checkpoint was passed over that could not be read, and without it the directory is damaged, that is why. */
static coupon_status say_unreadable(const coupon_engine *engine, coupon_status status, struct cpn_fault *fault) {
  const struct cpn_fault *unreadable = &engine->checkpoints.unreadable;
  if (status != COUPON_E_CORRUPT || unreadable->status == COUPON_OK) return status;
  cpn_engine_log(engine, COUPON_LOG_ERROR, "and without it: %s at %llu: %s", fault->file,
                 (unsigned long long)fault->offset, fault->message);
  *fault = *unreadable;
  return fault->status;
}

/* The newest checkpoint that holds, and the log behind it. That a user has too many tickets in a large checkpoint shows
 * only when all are there (engine/restore.h); it is then passed over like one that is damaged. */
static coupon_status restore_from_any(coupon_engine *engine, struct cpn_reader *reader, struct coupon_report *report,
                                      struct cpn_fault *fault) {
  const struct cpn_reader begin = *reader;
  for (uint64_t below = UINT64_MAX;;) {
    coupon_status status = cpn_checkpoint_open(engine, reader, below, report, fault);
    /* What a checkpoint knows was durable, whatever an old hint says. */
    if (begin.limit_lsn != UINT64_MAX) reader->limit_lsn = cpn_max_u64(begin.limit_lsn, reader->proof_lsn);
    if (status == COUPON_OK) status = cpn_restore_run(engine, reader, fault);
    if (status != COUPON_E_CORRUPT || fault->file[0] != 0 || report->checkpoint == 0)
      return say_unreadable(engine, status, fault);
    below = report->checkpoint;
    cpn_checkpoint_distrust(engine, below, report, fault);
    const uint64_t proof_lsn = reader->proof_lsn;
    *reader = begin;
    reader->proof_lsn = proof_lsn;
    status = cpn_recovery_begin_again(engine, fault);
    if (status != COUPON_OK) return status;
  }
}

static coupon_status restore_all(coupon_engine *engine, struct cpn_reader *reader, struct coupon_report *report,
                                 struct cpn_fault *fault) {
  coupon_status status = restore_from_any(engine, reader, report, fault);
  cpn_restore_follow_end(engine);
  return status;
}

/* --- repairing ----------------------------------------------------------------------------------- */

/* Bytes of the valid frames at the beginning of `piece`, which was read at `offset` of the last segment; `*end_lsn`
 * becomes the end of the last of them. */
static size_t frames_in(const struct cpn_reader *reader, uint64_t offset, const unsigned char *piece, size_t size,
                        uint64_t *end_lsn) {
  size_t good = 0;
  while (size - good >= CPN_FRAME_HEADER_SIZE) {
    struct cpn_frame frame;
    const unsigned char *bytes = piece + good;
    if (cpn_frame_decode(&frame, reader->manifest.identity, reader->last_number, offset + good, bytes) !=
        CPN_DECODED_OK)
      break;
    if (cpn_frame_size(frame.payload_bytes) > size - good || !cpn_frame_body_valid(&frame, bytes)) break;
    good += (size_t)cpn_frame_size(frame.payload_bytes);
    *end_lsn = cpn_frame_end_lsn(&frame);
  }
  return good;
}

static int read_exactly(const struct cpn_io *io, int file, uint64_t from, unsigned char *piece, size_t size) {
  int64_t got = cpn_io_read_all(io, file, from, piece, size);
  if (got < 0) return (int)got;
  return (size_t)got == size ? 0 : -EIO; /* it was there a moment ago */
}

/* Writes what may never have been synced again, with the same bytes: after a failed sync pages look clean, and a
 * sync alone would say that all is well. Nor do such pages have to stay in memory: what the reader has seen may be gone
 * by now, and what is read instead must not be written in its place. So each frame is checked once more. */
static int rewrite(const struct cpn_io *io, int file, const struct cpn_reader *reader, unsigned char *piece) {
  struct cpn_segment_header header;
  uint64_t at = reader->proof_offset, end_lsn = reader->lsn;
  while (at < reader->offset) {
    size_t size = at == 0 ? CPN_BLOCK_SIZE : (size_t)cpn_min_u64(PIECE_SIZE, reader->offset - at);
    int error = read_exactly(io, file, at, piece, size);
    if (error < 0) return error;
    bool is_header = at == 0 && cpn_segment_header_decode(&header, reader->manifest.identity, reader->last_number,
                                                          piece) == CPN_DECODED_OK;
    size_t good = is_header ? CPN_BLOCK_SIZE : at == 0 ? 0 : frames_in(reader, at, piece, size, &end_lsn);
    if (good == 0) return -EIO;
    error = cpn_io_write_all(io, file, at, piece, good);
    if (error < 0) return error;
    at += good;
  }
  return end_lsn == reader->lsn ? 0 : -EIO;
}

static coupon_status repair(coupon_engine *engine, const struct cpn_reader *reader, struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  struct cpn_segment_log *log = &engine->log;
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(reader->last_number, name);
  unsigned char *piece = malloc(PIECE_SIZE);
  if (piece == NULL) return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory to repair the log");

  int error = cpn_segment_resume(log, reader->last_number, reader->file_size, reader->offset, reader->lsn);
  if (error == 0) error = rewrite(io, log->file, reader, piece);
  if (error == 0) error = cpn_io_write_zeros(io, log->file, reader->offset, reader->tail_end);
  if (error == 0) error = cpn_io_sync(io, log->file);
  if (error == 0) error = cpn_io_sync_directory(io, engine->directory);
  free(piece);
  return error < 0 ? cpn_fault_from_io(fault, error, name, "cannot make the recovered log durable") : COUPON_OK;
}

/* What the manifest does not name any more goes, before the repair syncs the directory. */
static coupon_status tidy(coupon_engine *engine, const struct cpn_reader *reader, struct cpn_fault *fault) {
  cpn_checkpoints_begin(engine, reader);
  uint64_t missing;
  coupon_status status = cpn_manifest_remove_unnamed(engine, &missing, fault);
  /* Those before the first that could not be removed are not counted. */
  atomic_init(&engine->log.segments, reader->last_number - reader->manifest.first_segment + 1 - missing);
  return status;
}

/* The log goes on: a record that begins the life, durable before anybody is answered, whatever the durability asked
 * for. */
static coupon_status begin_life(coupon_engine *engine, struct cpn_fault *fault) {
  struct cpn_record record = {
      .type = CPN_RECORD_LIFE, .life = engine->log.life, .began_lsn = cpn_buffer_tail(&engine->buffer)};
  uint64_t at = cpn_buffer_reserve(&engine->buffer, CPN_WORDS_LIFE, &record.time_ns);
  if (at == CPN_LSN_NONE)
    return cpn_fault_set(fault, COUPON_E_LOG_FULL, "", 0, "the log has reached its last position");
  uint64_t words[CPN_WORDS_LIFE];
  uint64_t head = cpn_record_encode(&record, words);
  cpn_buffer_put(&engine->buffer, at, head, words);
  int done = cpn_wait_step(engine);
  if (done > 0) done = cpn_segment_sync(&engine->log);
  return done < 0 ? cpn_fault_from_io(fault, done, "", "cannot begin a life in the log") : COUPON_OK;
}

/* Nobody opens a directory so often: somebody has made the log say so. */
static coupon_status check_life(const struct cpn_reader *reader, struct cpn_fault *fault) {
  if (reader->life < CPN_LIFE_MAX) return COUPON_OK;
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(reader->last_number, name);
  return cpn_fault_set(fault, COUPON_E_CORRUPT, name, reader->offset,
                       "by its log the directory was opened as often as can be; restore it from a copy");
}

/* --- for writing --------------------------------------------------------------------------------- */

static coupon_status open_and_lock(coupon_engine *engine, const char *path, struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  engine->directory = io->open_directory(io->context, path, true);
  if (engine->directory < 0)
    return cpn_fault_from_io(fault, engine->directory, "", "cannot open or make the directory");
  engine->lock_file = io->lock(io->context, engine->directory, CPN_LOCK_NAME);
  if (engine->lock_file == -EAGAIN)
    return cpn_fault_set(fault, COUPON_E_LOCKED, CPN_LOCK_NAME, 0,
                         "another engine has the directory open; close it, or open with read_only");
  if (engine->lock_file < 0)
    return cpn_fault_from_io(fault, engine->lock_file, CPN_LOCK_NAME, "cannot lock the directory");
  engine->owner_file = cpn_io_open(io, engine->directory, CPN_OWNER_NAME, CPN_IO_WRITE);
  if (engine->owner_file == -ENOENT)
    engine->owner_file = cpn_io_open(io, engine->directory, CPN_OWNER_NAME, CPN_IO_CREATE);
  if (engine->owner_file < 0)
    return cpn_fault_from_io(fault, engine->owner_file, CPN_OWNER_NAME, "cannot open the file for the hint");
  return cpn_archive_open(engine, fault);
}

/* The hint of the life before goes: where answers were final before they were synced, a power loss may have left it and
 * taken what it calls durable, and who reads beside us would then take a sound log for a damaged one. */
static coupon_status forget_hint(coupon_engine *engine, struct cpn_fault *fault) {
  static const unsigned char none[CPN_BLOCK_SIZE];
  unsigned char hint[CPN_BLOCK_SIZE];
  const struct cpn_io *io = engine->env.io;
  int64_t got = cpn_io_read_all(io, engine->owner_file, 0, hint, sizeof hint);
  if (got < 0) return cpn_fault_from_io(fault, (int)got, CPN_OWNER_NAME, "cannot read the hint");
  if (got == 0 || (got == (int64_t)sizeof hint && memcmp(hint, none, sizeof hint) == 0)) return COUPON_OK;
  int error = cpn_io_write_all(io, engine->owner_file, 0, none, sizeof none);
  return error < 0 ? cpn_fault_from_io(fault, error, CPN_OWNER_NAME, "cannot write the hint") : COUPON_OK;
}

coupon_status cpn_recovery_write(coupon_engine *engine, const char *path, struct coupon_report *report,
                                 struct cpn_fault *fault) {
  struct cpn_segment_log *log = &engine->log;
  struct cpn_reader reader;
  coupon_status status = begin_campaigns(engine, fault);
  if (status == COUPON_OK) status = open_and_lock(engine, path, fault);
  if (status != COUPON_OK) return status;
  *log = (struct cpn_segment_log){.io = engine->env.io,
                                  .directory = engine->directory,
                                  .owner_file = engine->owner_file,
                                  .segment_size = engine->options.segment_size_bytes,
                                  .sync_each = engine->options.durability == COUPON_SYNC,
                                  .process = (uint64_t)getpid(),
                                  .clock = &engine->clock};
  cpn_segment_init(log);

  reader_init(&reader, engine, UINT64_MAX);
  status = cpn_reader_manifest(engine->env.io, engine->directory, &reader.manifest, fault);
  bool fresh = status == COUPON_E_ACCESS && fault->os_error == 0;
  if (status == COUPON_OK || fresh) status = cpn_manifest_remove_unfinished(engine, fault);
  if (status == COUPON_OK && !fresh) status = forget_hint(engine, fault);
  if (status == COUPON_OK && fresh) status = cpn_manifest_create(engine, &reader.manifest, fault);
  if (status == COUPON_OK) status = restore_all(engine, &reader, report, fault);
  if (status == COUPON_OK) status = check_life(&reader, fault);
  fill_report(engine, &reader, report);
  if (status == COUPON_OK && !fresh) status = cpn_manifest_name_again(engine, &reader, fault);
  if (status != COUPON_OK) return status;

  memcpy(log->identity, reader.manifest.identity, sizeof log->identity);
  log->life = reader.life + 1;
  status = tidy(engine, &reader, fault);
  if (status == COUPON_OK) status = repair(engine, &reader, fault);
  if (status != COUPON_OK) return status;
  struct cpn_sink sink = {.context = log, .commit = cpn_segment_commit};
  bool enough = cpn_buffer_init(&engine->buffer, engine->options.log_buffer_bytes, reader.lsn, &engine->clock) &&
                cpn_commit_init(&engine->commit, &engine->buffer, sink, cpn_segment_payload_max(log->segment_size),
                                cpn_apply_live, engine);
  if (!enough) return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory for the log buffer");
  return begin_life(engine, fault);
}

/* --- for reading --------------------------------------------------------------------------------- */

/* The owner's hint. It is rewritten all the time: a read that met a write is tried again. Without one the owner is
 * still recovering (a power loss may take the hint, it is never synced), and we read what it will keep. */
static coupon_status read_hint(coupon_engine *engine, const struct cpn_manifest *manifest, uint64_t *limit_lsn,
                               struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  int file = cpn_io_open(io, engine->directory, CPN_OWNER_NAME, CPN_IO_READ);
  *limit_lsn = UINT64_MAX;
  if (file == -ENOENT) return COUPON_OK;
  if (file < 0) return cpn_fault_from_io(fault, file, CPN_OWNER_NAME, "cannot read the owner's hint");
  unsigned char block[CPN_BLOCK_SIZE];
  struct cpn_owner owner = {0};
  enum cpn_decoded decoded = CPN_DECODED_NOT;
  int64_t got = 0;
  for (int attempt = 0; attempt < READ_ATTEMPTS && got >= 0 && decoded != CPN_DECODED_OK; attempt++) {
    got = cpn_io_read_all(io, file, 0, block, sizeof block);
    if (got == (int64_t)sizeof block) decoded = cpn_owner_decode(&owner, manifest->identity, block);
  }
  (void)io->close(io->context, file);
  if (got < 0) return cpn_fault_from_io(fault, got, CPN_OWNER_NAME, "cannot read the owner's hint");
  if (decoded == CPN_DECODED_OK) *limit_lsn = owner.durable_lsn;
  return COUPON_OK;
}

/* How far to believe the log: a living owner's hint, or all of it. */
static coupon_status read_limit(coupon_engine *engine, const struct cpn_manifest *manifest, uint64_t *limit_lsn,
                                struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  *limit_lsn = UINT64_MAX;
  int locked = io->is_locked(io->context, engine->directory, CPN_LOCK_NAME);
  if (locked < 0) return cpn_fault_from_io(fault, locked, CPN_LOCK_NAME, "cannot ask for the directory's owner");
  if (locked == 0) return COUPON_OK;
  return read_hint(engine, manifest, limit_lsn, fault);
}

/* AGAIN: what was read cannot be believed, because an owner came or went meanwhile. */
#define AGAIN 1000

/* Something seemed to be missing: perhaps a living owner's next checkpoint has removed it. Then the manifest is
 * another. */
static coupon_status after_damage(coupon_engine *engine, const struct cpn_manifest *before, coupon_status status) {
  struct cpn_manifest now;
  struct cpn_fault ignored;
  if (cpn_reader_manifest(engine->env.io, engine->directory, &now, &ignored) != COUPON_OK) return status;
  return now.newest_checkpoint != before->newest_checkpoint ? AGAIN : status;
}

static coupon_status read_once(coupon_engine *engine, struct cpn_reader *reader, struct coupon_report *report,
                               struct cpn_fault *fault) {
  coupon_status status = cpn_reader_manifest(engine->env.io, engine->directory, &reader->manifest, fault);
  if (status != COUPON_OK) return status;
  struct cpn_manifest manifest = reader->manifest;
  uint64_t limit_lsn, limit_afterwards;
  status = read_limit(engine, &manifest, &limit_lsn, fault);
  if (status != COUPON_OK) return status;
  reader_init(reader, engine, limit_lsn);
  reader->manifest = manifest;
  status = restore_all(engine, reader, report, fault);
  if (status == COUPON_E_CORRUPT || (status == COUPON_OK && report->checkpoint_status != COUPON_OK))
    status = after_damage(engine, &manifest, status);
  if (status != COUPON_OK || limit_lsn != UINT64_MAX) return status;
  /* Without a limit we believed all there was. If there is one now, some of that may not have been durable. */
  status = read_limit(engine, &manifest, &limit_afterwards, fault);
  return status == COUPON_OK && limit_afterwards != UINT64_MAX ? AGAIN : status;
}

coupon_status cpn_recovery_read(coupon_engine *engine, const char *path, struct coupon_report *report,
                                struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  struct cpn_reader reader = {0};
  engine->directory = io->open_directory(io->context, path, false);
  if (engine->directory < 0) return cpn_fault_from_io(fault, engine->directory, "", "cannot open the directory");
  coupon_status status = begin_campaigns(engine, fault);
  if (status != COUPON_OK) return status;
  for (int attempt = 1;; attempt++) {
    status = read_once(engine, &reader, report, fault);
    if ((status != COUPON_E_CORRUPT && status != AGAIN) || attempt >= AGAIN_ATTEMPTS) break;
    if (status == COUPON_E_CORRUPT && attempt >= READ_ATTEMPTS) break;
    status = cpn_recovery_begin_again(engine, fault);
    if (status != COUPON_OK) return status;
  }
  fill_report(engine, &reader, report);
  if (status == AGAIN)
    return cpn_fault_set(
        fault, COUPON_E_LOCKED, CPN_LOCK_NAME, 0,
        "owners of the directory, or its checkpoints, come and go faster than it can be read; ask again");
  if (status != COUPON_OK) return status;
  engine->log.life = reader.life;
  memcpy(engine->log.identity, reader.manifest.identity, sizeof engine->log.identity); /* for tickets files */
  atomic_init(&engine->log.segments, reader.last_number - reader.manifest.first_segment + 1);
  /* No record will ever pass through; the buffer only says where the log ends. */
  struct cpn_sink nowhere = {.context = NULL, .commit = NULL};
  bool enough = cpn_buffer_init(&engine->buffer, 4096, reader.lsn, &engine->clock) &&
                cpn_commit_init(&engine->commit, &engine->buffer, nowhere, 8, cpn_apply_live, engine);
  return enough ? COUPON_OK : cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory");
}
