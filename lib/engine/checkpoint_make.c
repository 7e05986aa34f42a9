/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The story of one checkpoint, in the order that docs/FORMAT.md asks for ("The order of writing").
 *
 * What may fail, and what then. Until the manifest names it, a checkpoint is a file that nobody needs: whatever fails
 * removes it, the two of before are as good as ever, and the engine goes on. But a sync of the directory that fails
 * stops the engine, like a failed write of the log: the error may be about the name of a segment just made, whose own
 * sync would then be told that all is well. So does a failed sync of a segment, where those are synced here.
 */
#include <errno.h>
#include <string.h>

#include "base/points.h"
#include "engine/checkpoint.h"
#include "engine/engine.h"
#include "log/chunk_file.h"

/* A fault that stops only this checkpoint; -ECANCELED is none of the disk's. */
static coupon_status failed(struct cpn_fault *fault, int error, const char *file, const char *what) {
  if (error == -ECANCELED) return cpn_fault_set(fault, COUPON_E_CLOSED, file, 0, "the engine closes or has stopped");
  return cpn_fault_from_io(fault, error, file, what);
}

static coupon_status stop(coupon_engine *engine, struct cpn_fault *fault, int error, const char *file,
                          const char *what) {
  (void)cpn_fault_from_io(fault, error, file, what);
  cpn_wait_fail(engine, fault);
  return fault->status;
}

static coupon_status sync_directory(coupon_engine *engine, struct cpn_fault *fault) {
  int error = cpn_segment_sync_directory(&engine->log);
  return error < 0 ? stop(engine, fault, error, "", "cannot sync the directory for a checkpoint") : COUPON_OK;
}

/* --- 0. the LSN ---------------------------------------------------------------------------------- */

/* Everything that is final now lies before it: whoever steps notes the position just after it has raised the durable
 * LSN. */
static struct cpn_position look_at_position(const coupon_engine *engine) {
  const uint64_t durable = cpn_commit_durable(&engine->commit);
  struct cpn_patience patience = {0};
  for (;;) {
    struct cpn_position position = cpn_checkpoint_position(engine);
    if (position.lsn >= durable) return position;
    cpn_engine_wait_a_little(&patience);
  }
}

static struct cpn_checkpoint_header begin(coupon_engine *engine) {
  struct cpn_position position = look_at_position(engine);
  struct cpn_checkpoint_header header = {.number = engine->checkpoints.next_number++,
                                         .lsn = position.lsn,
                                         .life = engine->log.life,
                                         .segment = position.segment,
                                         .offset = position.offset,
                                         .campaigns = cpn_directory_count(&engine->campaigns),
                                         /* Behind the position: whatever lies before it has had its time by now. */
                                         .time_ns = cpn_clock_last(&engine->clock)};
  header.written_ns = header.time_ns;
  /* Created LSNs rise with the indices, and creation precedes its record. */
  while (header.campaigns > 0 && cpn_directory_at(&engine->campaigns, header.campaigns - 1)->created_lsn > header.lsn)
    header.campaigns--;
  return header;
}

/* --- 1. tickets files ---------------------------------------------------------------------------- */

static int write_tickets_file(coupon_engine *engine, struct cpn_chunk_writer *writer, struct cpn_campaign *campaign,
                              unsigned char block[CPN_BLOCK_SIZE]) {
  int error = cpn_chunk_writer_open(writer, engine->env.io, engine->directory, CPN_TICKETS_TEMPORARY_NAME,
                                    engine->log.identity, CPN_CHUNK_OF_TICKETS_FILE, campaign->index);
  /* Closed and durably so: these are all it will ever have. */
  const uint64_t tickets = cpn_tickets_numbered(&campaign->tickets);
  if (error == 0) error = cpn_checkpoint_write_tickets(engine, writer, campaign, tickets);
  if (error < 0) return error;
  uint64_t last_ns = 0;
  cpn_rcu_read_lock();
  if (tickets > 0) (void)cpn_tickets_read(&campaign->tickets, tickets, &last_ns);
  cpn_rcu_read_unlock();
  const struct cpn_tickets_header header = {.campaign = campaign->index,
                                            .id = campaign->spec.id,
                                            .tickets = tickets,
                                            .user_kind = campaign->spec.user_kind,
                                            .size = cpn_chunk_writer_size(writer),
                                            .chunks = writer->chunks,
                                            .digest = writer->digest,
                                            .last_ns = last_ns};
  cpn_tickets_header_encode(&header, engine->log.identity, block);
  campaign->kept.tickets = tickets;
  return cpn_chunk_writer_finish(writer, block);
}

/* A campaign's tickets in a file of their own, under its name; not yet durably. */
static coupon_status make_tickets_file(coupon_engine *engine, struct cpn_campaign *campaign, struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  struct cpn_chunk_writer writer;
  unsigned char block[CPN_BLOCK_SIZE];
  char name[CPN_CHECKPOINT_NAME_SIZE];
  cpn_tickets_file_name(campaign->index, name);
  int error = write_tickets_file(engine, &writer, campaign, block);
  if (error < 0) {
    cpn_chunk_writer_abandon(&writer);
    return failed(fault, error, CPN_TICKETS_TEMPORARY_NAME, "cannot write a campaign's tickets");
  }
  error = io->rename(io->context, engine->directory, CPN_TICKETS_TEMPORARY_NAME, name);
  if (error < 0) {
    (void)io->remove(io->context, engine->directory, CPN_TICKETS_TEMPORARY_NAME); /* or the next opening does */
    return failed(fault, error, name, "cannot name a campaign's tickets");
  }
  campaign->kept.file_check = cpn_block_checksum(block);
  return COUPON_OK;
}

/* relaxed: only whoever makes checkpoints writes it. */
static uint32_t place_of(const struct cpn_campaign *campaign) {
  return atomic_load_explicit(&campaign->place, memory_order_relaxed);
}

/* Whether callers have asked for another place that the campaign can have at this LSN, the next one on its way. */
static bool can_move(const struct cpn_campaign *campaign, uint64_t lsn) {
  /* acquire, both: what was asked for, and the tickets, which are all there when it has closed. */
  uint32_t wanted = atomic_load_explicit(&campaign->wanted_place, memory_order_acquire);
  uint64_t closed = atomic_load_explicit(&campaign->closed_lsn, memory_order_acquire);
  return wanted > place_of(campaign) && closed != 0 && closed <= lsn;
}

/* Decides which campaigns this checkpoint says are released or dropped, and makes their files. */
static coupon_status move_campaigns(coupon_engine *engine, const struct cpn_checkpoint_header *header,
                                    struct cpn_fault *fault) {
  /* acquire: what callers have asked for of a campaign, before this. */
  if (atomic_load_explicit(&engine->checkpoints.moves, memory_order_acquire) == 0) return COUPON_OK;
  bool made = false;
  for (uint64_t i = 0; i < header->campaigns; i++) {
    struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    campaign->kept.next = place_of(campaign);
    if (!can_move(campaign, header->lsn)) continue;
    /* One made by a checkpoint that failed later is as good. */
    if (place_of(campaign) == CPN_CAMPAIGN_LIVE && campaign->kept.file_check == 0) {
      coupon_status status = make_tickets_file(engine, campaign, fault);
      if (status != COUPON_OK) return status;
    }
    made = made || place_of(campaign) == CPN_CAMPAIGN_LIVE;
    campaign->kept.next = place_of(campaign) + 1;
  }
  CPN_POINT(CHECKPOINT_PIECE);
  return made ? sync_directory(engine, fault) : COUPON_OK;
}

/* The checkpoint was not made, so nothing has moved. */
static void stay(coupon_engine *engine) {
  if (atomic_load_explicit(&engine->checkpoints.moves, memory_order_acquire) == 0) return; /* acquire: as above */
  for (uint64_t i = 0; i < cpn_directory_count(&engine->campaigns); i++) {
    struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    campaign->kept.next = place_of(campaign);
  }
}

/* It was made, so what it says is so: whoever begins to look from here on is told, and when those who look have ended,
 * memory goes. */
static void move(coupon_engine *engine, const struct cpn_checkpoint_header *header) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  if (atomic_load_explicit(&checkpoints->moves, memory_order_acquire) == 0) return; /* acquire: as above */
  uint64_t moved = 0;
  for (uint64_t i = 0; i < header->campaigns; i++) {
    struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    if (campaign->kept.next == place_of(campaign)) continue;
    campaign->kept.since = header->number;
    if (campaign->kept.next == CPN_CAMPAIGN_DROPPED) checkpoints->drops = true;
    /* release: what is kept of it, for those who then read its file. */
    atomic_store_explicit(&campaign->place, campaign->kept.next, memory_order_release);
    moved++;
  }
  if (moved == 0) return;
  cpn_rcu_synchronize();
  for (uint64_t i = 0; i < header->campaigns; i++) {
    struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    bool released = campaign->kept.since == header->number && place_of(campaign) == CPN_CAMPAIGN_RELEASED;
    if (released) cpn_campaign_release(&engine->memory, campaign);
  }
  /* relaxed: they took effect above. */
  atomic_fetch_sub_explicit(&checkpoints->moves, moved, memory_order_relaxed);
}

/* --- 2. the file --------------------------------------------------------------------------------- */

/* Where answers are final before they are synced, a checkpoint, which is, must not be ahead of the log. Segments before
 * the last one are synced. */
static coupon_status sync_log(coupon_engine *engine, uint64_t segment, struct cpn_fault *fault) {
  if (engine->log.sync_each) return COUPON_OK;
  const struct cpn_io *io = engine->env.io;
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(segment, name);
  int file = cpn_io_open(io, engine->directory, name, CPN_IO_WRITE);
  if (file < 0) return failed(fault, file, name, "cannot open a log segment to sync it");
  int error = cpn_segment_sync_other(&engine->log, file);
  (void)io->close(io->context, file);
  return error < 0 ? stop(engine, fault, error, name, "cannot sync the log") : COUPON_OK;
}

static int write_file(coupon_engine *engine, struct cpn_chunk_writer *writer, struct cpn_checkpoint_header *header) {
  int error = cpn_chunk_writer_open(writer, engine->env.io, engine->directory, CPN_CHECKPOINT_TEMPORARY_NAME,
                                    engine->log.identity, CPN_CHUNK_OF_CHECKPOINT, header->number);
  if (error == 0) error = cpn_checkpoint_write(engine, writer, header);
  if (error < 0) return error;
  header->size = cpn_chunk_writer_size(writer);
  header->chunks = writer->chunks;
  header->digest = writer->digest;
  unsigned char block[CPN_BLOCK_SIZE];
  cpn_checkpoint_header_encode(header, engine->log.identity, block);
  return cpn_chunk_writer_finish(writer, block);
}

/* Under its name, durably. */
static coupon_status make_file(coupon_engine *engine, struct cpn_checkpoint_header *header, struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  struct cpn_chunk_writer writer;
  char name[CPN_CHECKPOINT_NAME_SIZE];
  cpn_checkpoint_name(header->number, name);
  int error = write_file(engine, &writer, header);
  if (error < 0) {
    cpn_chunk_writer_abandon(&writer);
    return failed(fault, error, CPN_CHECKPOINT_TEMPORARY_NAME, "cannot write a checkpoint");
  }
  CPN_POINT(CHECKPOINT_SYNCED);
  coupon_status status = sync_log(engine, header->segment, fault);
  if (status == COUPON_OK) {
    error = io->rename(io->context, engine->directory, CPN_CHECKPOINT_TEMPORARY_NAME, name);
    if (error < 0) status = failed(fault, error, name, "cannot name a checkpoint");
  }
  if (status != COUPON_OK) {
    (void)io->remove(io->context, engine->directory, CPN_CHECKPOINT_TEMPORARY_NAME); /* or the next opening does */
    return status;
  }
  status = sync_directory(engine, fault);
  CPN_POINT(CHECKPOINT_NAMED);
  return status;
}

/* --- 3. the switch ------------------------------------------------------------------------------- */

static coupon_status switch_in(coupon_engine *engine, const struct cpn_checkpoint_header *header,
                               const struct cpn_manifest *manifest, struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  bool in_doubt = false;
  int error = cpn_manifest_write(engine, manifest, &in_doubt);
  if (error == 0) return COUPON_OK;
  if (in_doubt) return stop(engine, fault, error, CPN_MANIFEST_NAME, "cannot switch to a new checkpoint");
  char name[CPN_CHECKPOINT_NAME_SIZE];
  cpn_checkpoint_name(header->number, name);
  /* Or the next opening does. */
  (void)io->remove(io->context, engine->directory, CPN_MANIFEST_TEMPORARY_NAME);
  (void)io->remove(io->context, engine->directory, name);
  return failed(fault, error, CPN_MANIFEST_NAME, "cannot switch to a new checkpoint");
}

/* --- 4. what is not needed any more -------------------------------------------------------------- */

static void remove_checkpoint(coupon_engine *engine, uint64_t number, const struct cpn_manifest *manifest) {
  if (number == 0 || number == manifest->newest_checkpoint || number == manifest->older_checkpoint) return;
  const struct cpn_io *io = engine->env.io;
  char name[CPN_CHECKPOINT_NAME_SIZE];
  cpn_checkpoint_name(number, name);
  int error = io->remove(io->context, engine->directory, name);
  if (error < 0 && error != -ENOENT)
    cpn_engine_log(engine, COUPON_LOG_WARNING, "%s: cannot remove an old checkpoint: %s", name, strerror(-error));
}

static void remove_tickets_files(coupon_engine *engine, const struct cpn_manifest *manifest) {
  const struct cpn_io *io = engine->env.io;
  engine->checkpoints.drops = false;
  for (uint64_t i = 0; i < cpn_directory_count(&engine->campaigns); i++) {
    struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    if (place_of(campaign) != CPN_CAMPAIGN_DROPPED || campaign->kept.file_check == 0) continue;
    if (campaign->kept.since > manifest->older_checkpoint) {
      engine->checkpoints.drops = true; /* the older one may still be asked for them */
      continue;
    }
    char name[CPN_CHECKPOINT_NAME_SIZE];
    cpn_tickets_file_name(i, name);
    int error = io->remove(io->context, engine->directory, name);
    if (error < 0 && error != -ENOENT)
      cpn_engine_log(engine, COUPON_LOG_WARNING, "%s: cannot remove dropped tickets: %s", name, strerror(-error));
    campaign->kept.file_check = 0;
  }
}

/* Whatever fails here is found again at the next opening; segments already by the next checkpoint. */
static void tidy(coupon_engine *engine, const struct cpn_manifest *before, const struct cpn_manifest *manifest) {
  if (engine->checkpoints.drops) remove_tickets_files(engine, manifest);
  remove_checkpoint(engine, before->newest_checkpoint, manifest);
  remove_checkpoint(engine, before->older_checkpoint, manifest);
  (void)cpn_manifest_remove_segments(engine, manifest->first_segment);
}

/* --- the story ----------------------------------------------------------------------------------- */

/* The manifest that names the new one, and as the older one the best there was. */
static struct cpn_manifest next_manifest(const struct cpn_checkpoints *checkpoints,
                                         const struct cpn_checkpoint_header *header) {
  struct cpn_manifest manifest = checkpoints->manifest;
  manifest.newest_checkpoint = header->number;
  manifest.older_checkpoint = checkpoints->good.number;
  if (checkpoints->good.number != 0)
    manifest.first_segment = cpn_max_u64(manifest.first_segment, checkpoints->good.segment);
  if (CPN_MISTAKE(SEGMENTS_TOO_EARLY) && checkpoints->good.number != 0) manifest.first_segment = header->segment;
  return manifest;
}

static void switched(coupon_engine *engine, const struct cpn_checkpoint_header *header,
                     const struct cpn_manifest *manifest) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  checkpoints->manifest = *manifest;
  checkpoints->good.number = header->number;
  checkpoints->good.segment = header->segment;
  /* relaxed, all three: figures for people. */
  atomic_store_explicit(&checkpoints->last_lsn, header->lsn, memory_order_relaxed);
  atomic_store_explicit(&checkpoints->last_ns, header->written_ns, memory_order_relaxed);
  atomic_store_explicit(&checkpoints->last_bytes, header->size, memory_order_relaxed);
}

coupon_status cpn_checkpoint_make(coupon_engine *engine, struct cpn_fault *fault) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  struct cpn_checkpoint_header header = begin(engine);
  CPN_POINT(CHECKPOINT_BEGUN);
  coupon_status status = move_campaigns(engine, &header, fault);
  if (status == COUPON_OK) status = make_file(engine, &header, fault);
  if (status != COUPON_OK) {
    stay(engine);
    return status;
  }
  const struct cpn_manifest before = checkpoints->manifest, manifest = next_manifest(checkpoints, &header);
  if (CPN_MISTAKE(TIDY_BEFORE_SWITCH)) tidy(engine, &before, &manifest);
  status = switch_in(engine, &header, &manifest, fault);
  if (status != COUPON_OK) {
    stay(engine);
    return status;
  }
  switched(engine, &header, &manifest);
  CPN_POINT(CHECKPOINT_SWITCHED);
  move(engine, &header);
  tidy(engine, &before, &manifest);
  CPN_POINT(CHECKPOINT_TIDIED);
  return COUPON_OK;
}
