/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/planted.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/points.h"

const struct plant_fact plant_facts[PLANT_COUNT] = {
    [PLANT_NOTHING] = {"nothing", 0, false},
    [PLANT_SYNC_SKIPPED] = {"sync-skipped", 20, false},
    [PLANT_WRITE_NOT_DURABLE] = {"write-not-durable", 50, false},
    [PLANT_DIRECTORY_SYNC_SKIPPED] = {"directory-sync-skipped", 50, false},
    [PLANT_ANSWER_BEFORE_SYNC] = {"answer-before-sync", 50, false},
    [PLANT_SYNC_RETRIED] = {"sync-retried", 500, false},
    [PLANT_TAIL_RESURRECTED] = {"tail-resurrected", 500, false},
    [PLANT_TAIL_NOT_WRITTEN_AGAIN] = {"tail-not-written-again", 4000, false},
    [PLANT_DAMAGE_OVERLOOKED] = {"damage-overlooked", 200, true},
    [PLANT_CHECKPOINT_NOT_SYNCED] = {"checkpoint-not-synced", 100, false},
    [PLANT_SEGMENTS_TOO_EARLY] = {"segments-too-early", 1500, false},
    [PLANT_TIDIED_BEFORE_SWITCH] = {"tidied-before-switch", 2500, false},
    [PLANT_CHECKPOINT_TOO_MUCH] = {"checkpoint-too-much", 500, false},
    [PLANT_CHECKPOINT_TOO_LITTLE] = {"checkpoint-too-little", 50, false},
    [PLANT_RECOVERY_NOT_SYNCED] = {"recovery-not-synced", 200, false},
    [PLANT_JOINS_TIMES] = {"joins-times", 50, false},
};

static struct simdisk *disk_of(void *context) { return ((struct planted *)context)->disk; }

static const char *name_of(const struct simdisk *disk, int handle) { return disk->files[disk->handles[handle]].name; }

static bool is_segment(const struct simdisk *disk, int handle) {
  return cpn_segment_number(name_of(disk, handle)) != 0;
}

/* --- what is handed through ------------------------------------------------------------------------------ */

static int hand_open_directory(void *context, const char *path, bool create) {
  return disk_of(context)->io.open_directory(disk_of(context), path, create);
}
static int hand_lock(void *context, int directory, const char *name) {
  return disk_of(context)->io.lock(disk_of(context), directory, name);
}
static int hand_is_locked(void *context, int directory, const char *name) {
  return disk_of(context)->io.is_locked(disk_of(context), directory, name);
}
static int hand_list(void *context, int directory, cpn_io_list_fn *each, void *each_context) {
  return disk_of(context)->io.list(disk_of(context), directory, each, each_context);
}
static int hand_open(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  return disk_of(context)->io.open(disk_of(context), directory, name, mode);
}
/* The other plants are in writes and syncs of the other kind. */
static int hand_open_durable(void *context, int directory, const char *name) {
  const struct planted *planted = context;
  const struct cpn_io *io = &planted->disk->io;
  if (planted->plant == PLANT_NOTHING) return io->open_durable(planted->disk, directory, name);
  if (planted->plant != PLANT_WRITE_NOT_DURABLE) return -EOPNOTSUPP;
  return io->open(planted->disk, directory, name, CPN_IO_WRITE);
}
static int hand_size(void *context, int file, uint64_t *size) {
  return disk_of(context)->io.size(disk_of(context), file, size);
}
static int hand_rename(void *context, int directory, const char *from, const char *to) {
  return disk_of(context)->io.rename(disk_of(context), directory, from, to);
}
static int hand_link(void *context, int directory, const char *from, int to_directory, const char *to) {
  return disk_of(context)->io.link(disk_of(context), directory, from, to_directory, to);
}
static int hand_remove(void *context, int directory, const char *name) {
  return disk_of(context)->io.remove(disk_of(context), directory, name);
}
static int hand_close(void *context, int handle) { return disk_of(context)->io.close(disk_of(context), handle); }
static int hand_unlock(void *context, int directory, int file) {
  return disk_of(context)->io.unlock(disk_of(context), directory, file);
}

/* --- what goes wrong --------------------------------------------------------------------------------------- */

/* The frame as it would be if there were no lives: all of it is of the first, and what begins a later one is VOID. */
static void forget_life(struct planted *planted, int handle, size_t size) {
  unsigned char *bytes = planted->scratch, *payload = bytes + CPN_FRAME_HEADER_SIZE;
  const unsigned char *identity = planted->disk->files[planted->disk->handles[handle]].now + 16;
  struct cpn_frame frame = {.first_lsn = cpn_get_u64(bytes + 8),
                            .synced_lsn = cpn_get_u64(bytes + 16),
                            .life = 1,
                            .segment = cpn_get_u64(bytes + 40),
                            .offset = (cpn_get_u64(bytes + 32) >> 32) * CPN_BLOCK_SIZE,
                            .payload_bytes = (uint32_t)cpn_get_u64(bytes + 32),
                            .joined = cpn_get_u16(bytes + 6)};
  if (size != cpn_frame_size(frame.payload_bytes)) return; /* the rest of a write that fell short */
  if (payload[0] == CPN_RECORD_LIFE && cpn_get_u64(payload + 8) > 1) {
    memset(payload + 8, 0, CPN_SIZE_LIFE - 8);
    payload[0] = CPN_RECORD_VOID;
  }
  cpn_frame_seal(&frame, identity, bytes);
}

/* Where the frames of a segment end: the first place at which no valid one is. */
static size_t end_of_frames(const unsigned char *bytes, size_t size) {
  size_t at = CPN_BLOCK_SIZE;
  struct cpn_frame frame;
  while (at + CPN_FRAME_HEADER_SIZE <= size) {
    uint64_t segment = cpn_get_u64(bytes + 32);
    if (cpn_frame_decode(&frame, bytes + 16, segment, at, bytes + at) != CPN_DECODED_OK) break;
    if (at + cpn_frame_size(frame.payload_bytes) > size || !cpn_frame_body_valid(&frame, bytes + at)) break;
    at += (size_t)cpn_frame_size(frame.payload_bytes);
  }
  return at;
}

static int64_t plant_read(void *context, int file, uint64_t offset, void *to, size_t size) {
  struct planted *planted = context;
  struct simdisk *disk = planted->disk;
  int64_t got = disk->io.read(disk, file, offset, to, size);
  bool overlooks =
      planted->plant == PLANT_DAMAGE_OVERLOOKED && planted->opening && offset == 0 && is_segment(disk, file);
  if (!overlooks || got <= (int64_t)CPN_BLOCK_SIZE) return got;
  size_t end = cpn_min_u64(end_of_frames(to, (size_t)got), (uint64_t)got);
  memset((unsigned char *)to + end, 0, (size_t)got - end);
  return got;
}

static bool all_zero(const unsigned char *bytes, size_t size) {
  return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

static int64_t plant_write(void *context, int file, uint64_t offset, const void *from, size_t size) {
  struct planted *planted = context;
  struct simdisk *disk = planted->disk;
  bool frames = is_segment(disk, file) && offset >= CPN_BLOCK_SIZE && size > 0 && size <= sizeof planted->scratch;
  if (frames && planted->plant == PLANT_TAIL_RESURRECTED) {
    if (all_zero(from, size)) return (int64_t)size;
    memcpy(planted->scratch, from, size);
    if (memcmp(from, "CPNF", 4) == 0 && !disk->dead) forget_life(planted, file, size);
    from = planted->scratch;
  }
  const struct sim_file *there = &disk->files[disk->handles[file]];
  bool again =
      frames && planted->opening && offset + size <= there->size && memcmp(there->now + offset, from, size) == 0;
  if (again && planted->plant == PLANT_TAIL_NOT_WRITTEN_AGAIN) return (int64_t)size;
  if (planted->plant == PLANT_NOTHING) return disk->io.write(disk, file, offset, from, size);
  /* All of it, since what the caller would go on with is not what was written here. */
  int error = cpn_io_write_all(&disk->io, file, offset, from, size);
  return error < 0 ? error : (int64_t)size;
}

static int plant_sync(void *context, int file) {
  struct planted *planted = context;
  struct simdisk *disk = planted->disk;
  bool skip = is_segment(disk, file) && (planted->plant == PLANT_SYNC_SKIPPED ||
                                         (planted->opening && planted->plant == PLANT_RECOVERY_NOT_SYNCED));
  if (skip && !disk->dead) return 0;
  int error = disk->io.sync(disk, file);
  if (error < 0 && planted->plant == PLANT_SYNC_RETRIED && !disk->dead) error = disk->io.sync(disk, file);
  return error;
}

static int plant_sync_directory(void *context, int directory) {
  struct planted *planted = context;
  if (planted->plant == PLANT_DIRECTORY_SYNC_SKIPPED && !planted->opening && !planted->disk->dead) return 0;
  return planted->disk->io.sync_directory(planted->disk, directory);
}

static int answer_before_sync(void *context, const struct cpn_batch *batch) {
  struct planted *planted = context;
  int error = cpn_segment_sync(planted->log);
  planted->log->sync_each = false;
  return error < 0 ? error : planted->commit(planted->log, batch);
}

/* ----------------------------------------------------------------------------------------------------------- */

/* Those of checkpoints, and of joining, are made by the library's build for tests (base/points.h). */
static unsigned mistakes_of(enum plant plant) {
  static const unsigned mistakes[PLANT_COUNT] = {
      [PLANT_CHECKPOINT_NOT_SYNCED] = CPN_MISTAKE_CHECKPOINT_UNSYNCED,
      [PLANT_SEGMENTS_TOO_EARLY] = CPN_MISTAKE_SEGMENTS_TOO_EARLY,
      [PLANT_TIDIED_BEFORE_SWITCH] = CPN_MISTAKE_TIDY_BEFORE_SWITCH,
      [PLANT_CHECKPOINT_TOO_MUCH] = CPN_MISTAKE_CHECKPOINT_TOO_MUCH,
      [PLANT_CHECKPOINT_TOO_LITTLE] = CPN_MISTAKE_CHECKPOINT_TOO_LITTLE,
      [PLANT_JOINS_TIMES] = CPN_MISTAKE_JOINS_TIMES,
  };
  return mistakes[plant];
}

void planted_init(struct planted *planted, struct simdisk *disk, enum plant plant) {
  cpn_mistakes = mistakes_of(plant);
  planted->disk = disk;
  planted->plant = plant;
  planted->opening = false;
  planted->io = (struct cpn_io){.context = planted,
                                .open_directory = hand_open_directory,
                                .lock = hand_lock,
                                .is_locked = hand_is_locked,
                                .list = hand_list,
                                .open = hand_open,
                                .size = hand_size,
                                .read = plant_read,
                                .write = plant_write,
                                .sync = plant_sync,
                                .open_durable = hand_open_durable,
                                .rename = hand_rename,
                                .link = hand_link,
                                .remove = hand_remove,
                                .sync_directory = plant_sync_directory,
                                .close = hand_close,
                                .unlock = hand_unlock};
}

void planted_before_opening(struct planted *planted) { planted->opening = true; }

void planted_after_opening(struct planted *planted, coupon_engine *engine) {
  planted->opening = false;
  if (engine == NULL || planted->plant != PLANT_ANSWER_BEFORE_SYNC) return;
  planted->log = &engine->log;
  planted->commit = engine->commit.sink.commit;
  engine->commit.sink = (struct cpn_sink){.context = planted, .commit = answer_before_sync};
}
