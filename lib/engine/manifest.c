/* SPDX-License-Identifier: Apache-2.0 */
/* What the directory says of itself: made, switched, and held to, so that what it does not name any more goes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/checkpoint.h"
#include "engine/engine.h"

/* --- writing ------------------------------------------------------------------------------------- */

static int write_temporary(const struct cpn_io *io, int directory, const struct cpn_manifest *manifest) {
  int file = cpn_io_create_anew(io, directory, CPN_MANIFEST_TEMPORARY_NAME);
  if (file < 0) return file;
  unsigned char block[CPN_BLOCK_SIZE];
  cpn_manifest_encode(manifest, block);
  int error = cpn_io_write_all(io, file, 0, block, sizeof block);
  if (error == 0) error = cpn_io_sync(io, file);
  (void)io->close(io->context, file);
  return error;
}

int cpn_manifest_write(coupon_engine *engine, const struct cpn_manifest *manifest, bool *in_doubt) {
  const struct cpn_io *io = engine->env.io;
  int error = write_temporary(io, engine->directory, manifest);
  if (error < 0) return error;
  *in_doubt = true;
  error = io->rename(io->context, engine->directory, CPN_MANIFEST_TEMPORARY_NAME, CPN_MANIFEST_NAME);
  if (error == 0) error = cpn_segment_sync_directory(&engine->log);
  return error;
}

/* The first segment before the manifest, so that a manifest without it can only be damage. */
static coupon_status make_files(coupon_engine *engine, const struct cpn_manifest *manifest, struct cpn_fault *fault) {
  memcpy(engine->log.identity, manifest->identity, sizeof manifest->identity);
  int error = cpn_segment_create(&engine->log, 1, 0);
  if (error < 0) return cpn_fault_from_io(fault, error, "", "cannot make the first log segment");
  cpn_segment_close(&engine->log);
  bool in_doubt = false;
  error = cpn_manifest_write(engine, manifest, &in_doubt);
  if (error < 0) return cpn_fault_from_io(fault, error, CPN_MANIFEST_NAME, "cannot write the manifest");
  return COUPON_OK;
}

coupon_status cpn_manifest_create(coupon_engine *engine, struct cpn_manifest *manifest, struct cpn_fault *fault) {
  memset(manifest, 0, sizeof *manifest);
  manifest->first_segment = 1;
  manifest->created_ns = cpn_clock_now(&engine->clock);
  int error = engine->env.random(engine->env.context, manifest->identity, sizeof manifest->identity);
  if (error < 0) return cpn_fault_from_io(fault, error, "", "cannot make an identity for the directory");
  return make_files(engine, manifest, fault);
}

coupon_status cpn_manifest_name_again(coupon_engine *engine, struct cpn_reader *reader, struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  if (reader->offset != CPN_BLOCK_SIZE) return COUPON_OK;
  if (reader->last_number == 1) {
    /* An unfinished creation; of the same identity, so that a crash leaves one that fits together. */
    reader->file_size = engine->log.segment_size;
    reader->tail_end = reader->offset;
    return make_files(engine, &reader->manifest, fault);
  }
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(reader->last_number, name);
  /* What a crash may take here is a segment that holds nothing. */
  int error = io->rename(io->context, engine->directory, name, CPN_SEGMENT_TEMPORARY_NAME);
  if (error == 0) error = io->rename(io->context, engine->directory, CPN_SEGMENT_TEMPORARY_NAME, name);
  return error < 0 ? cpn_fault_from_io(fault, error, name, "cannot name the last log segment again") : COUPON_OK;
}

/* --- what is not finished ------------------------------------------------------------------------ */

/* By name: whatever else lies here is not ours. */
coupon_status cpn_manifest_remove_unfinished(coupon_engine *engine, struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  static const char *const names[] = {CPN_MANIFEST_TEMPORARY_NAME, CPN_SEGMENT_TEMPORARY_NAME,
                                      CPN_CHECKPOINT_TEMPORARY_NAME, CPN_TICKETS_TEMPORARY_NAME};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    int error = io->remove(io->context, engine->directory, names[i]);
    if (error < 0 && error != -ENOENT) return cpn_fault_from_io(fault, error, names[i], "cannot tidy the directory");
  }
  return COUPON_OK;
}

/* --- what is not named any more ------------------------------------------------------------------ */

int cpn_manifest_remove_segments(coupon_engine *engine, uint64_t first) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  const struct cpn_io *io = engine->env.io;
  for (; checkpoints->lowest_segment < first; checkpoints->lowest_segment++) {
    char name[CPN_SEGMENT_NAME_SIZE];
    cpn_segment_name(checkpoints->lowest_segment, name);
    int error = cpn_archive_put(engine, checkpoints->lowest_segment);
    if (error == 0) error = io->remove(io->context, engine->directory, name);
    if (error == -ENOENT) continue;
    if (error < 0) {
      cpn_engine_log(engine, COUPON_LOG_WARNING, "%s: cannot %s an old log segment, which is kept: %s", name,
                     checkpoints->archive >= 0 ? "archive" : "remove", strerror(-error));
      return error;
    }
    /* relaxed: a figure for people, which the commit stage raises. */
    atomic_fetch_sub_explicit(&engine->log.segments, 1, memory_order_relaxed);
  }
  return 0;
}

/* Names to be removed: first all are collected, then removed, for a listing need not like what changes under it. */
struct unnamed {
  const coupon_engine *engine;
  char (*names)[CPN_CHECKPOINT_NAME_SIZE];
  size_t count, capacity;
  uint64_t lowest_segment;
  uint64_t before_start; /* segments that the manifest names and opening has not looked at */
  bool out_of_memory;
};

static void collect_name(struct unnamed *unnamed, const char *name) {
  if (unnamed->count == unnamed->capacity) {
    size_t capacity = unnamed->capacity == 0 ? 16 : unnamed->capacity * 2;
    void *names = realloc(unnamed->names, capacity * sizeof unnamed->names[0]);
    if (names == NULL) {
      unnamed->out_of_memory = true;
      return;
    }
    unnamed->names = names;
    unnamed->capacity = capacity;
  }
  memcpy(unnamed->names[unnamed->count++], name, strlen(name) + 1);
}

/* Whether a tickets file is nobody's: of a campaign that has none, or whose tickets are dropped, as far as both
 * checkpoints know. Where a checkpoint was passed over nothing is known of it. */
static bool tickets_file_is_unnamed(const coupon_engine *engine, uint64_t index) {
  const struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  if (checkpoints->good.number != checkpoints->manifest.newest_checkpoint) return false;
  if (index >= cpn_directory_count(&engine->campaigns)) return true;
  const struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, index);
  /* relaxed: nobody else is here yet. */
  uint32_t place = atomic_load_explicit(&campaign->place, memory_order_relaxed);
  if (place == CPN_CAMPAIGN_DROPPED) return campaign->kept.since <= checkpoints->manifest.older_checkpoint;
  return place == CPN_CAMPAIGN_LIVE;
}

static void collect_unnamed(void *context, const char *name) {
  struct unnamed *unnamed = context;
  const struct cpn_manifest *manifest = &unnamed->engine->checkpoints.manifest;
  uint64_t checkpoint = cpn_checkpoint_number(name), segment = cpn_segment_number(name), campaign;
  if (segment != 0 && segment < unnamed->lowest_segment) unnamed->lowest_segment = segment;
  unnamed->before_start += segment >= manifest->first_segment && segment < unnamed->engine->checkpoints.good.segment;
  bool goes = checkpoint != 0 && checkpoint != manifest->newest_checkpoint && checkpoint != manifest->older_checkpoint;
  if (cpn_tickets_file_campaign(name, &campaign)) goes = tickets_file_is_unnamed(unnamed->engine, campaign);
  if (goes) collect_name(unnamed, name);
}

static coupon_status remove_collected(coupon_engine *engine, const struct unnamed *unnamed, struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  const struct cpn_manifest *manifest = &engine->checkpoints.manifest;
  engine->checkpoints.lowest_segment = cpn_min_u64(unnamed->lowest_segment, manifest->first_segment);
  bool segments = engine->checkpoints.lowest_segment < manifest->first_segment;
  /* The manifest that says so may be one whose last sync failed; and what is told of this opening rests on it. */
  bool in_doubt;
  int error = manifest->newest_checkpoint != 0 ? cpn_manifest_write(engine, manifest, &in_doubt) : 0;
  if (error < 0) return cpn_fault_from_io(fault, error, CPN_MANIFEST_NAME, "cannot write the manifest again");
  if (unnamed->count == 0 && !segments) return COUPON_OK;
  for (size_t i = 0; i < unnamed->count; i++) {
    error = io->remove(io->context, engine->directory, unnamed->names[i]);
    if (error < 0 && error != -ENOENT)
      return cpn_fault_from_io(fault, error, unnamed->names[i], "cannot tidy the directory");
  }
  (void)cpn_manifest_remove_segments(engine, manifest->first_segment); /* told; the next checkpoint tries again */
  return COUPON_OK;
}

/* Opening began behind a checkpoint. What lies before is for the day on which that one cannot be read; nobody would
 * know until then. From the next checkpoint on it is not needed any more. Returns how many segments there are not. */
static uint64_t warn_of_missing(const coupon_engine *engine, const struct unnamed *unnamed) {
  const struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  const uint64_t first = checkpoints->manifest.first_segment, start = checkpoints->good.segment;
  const uint64_t missing = start > first ? start - first - unnamed->before_start : 0;
  if (missing > 0)
    cpn_engine_log(
        engine, COUPON_LOG_WARNING,
        "%llu log segments before %016llx.log are missing: until the next checkpoint there is no other way to "
        "open the directory than the one it has",
        (unsigned long long)missing, (unsigned long long)start);
  return missing;
}

coupon_status cpn_manifest_remove_unnamed(coupon_engine *engine, uint64_t *missing, struct cpn_fault *fault) {
  const struct cpn_io *io = engine->env.io;
  struct unnamed unnamed = {.engine = engine, .lowest_segment = UINT64_MAX};
  int error = io->list(io->context, engine->directory, collect_unnamed, &unnamed);
  coupon_status status;
  if (error < 0)
    status = cpn_fault_from_io(fault, error, "", "cannot list the directory");
  else if (unnamed.out_of_memory)
    status = cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory to tidy the directory");
  else
    status = remove_collected(engine, &unnamed, fault);
  *missing = status == COUPON_OK ? warn_of_missing(engine, &unnamed) : 0;
  free(unnamed.names);
  return status;
}
