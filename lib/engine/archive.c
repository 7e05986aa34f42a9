/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments that checkpoints have made superfluous go to another directory instead of away. A segment has its name there
 * only when it is whole, and the name is durable before the segment goes here: linked where that can be done, else
 * copied under a temporary name.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/checkpoint.h"
#include "engine/engine.h"

#define PIECE_SIZE ((size_t)256 * 1024)

/* A directory of an engine, perhaps this one's: a segment would seem to be archived where it is. 1, 0 or -errno. */
static int is_an_engines(const struct cpn_io *io, int archive) {
  int file = cpn_io_open(io, archive, CPN_OWNER_NAME, CPN_IO_READ);
  if (file < 0) return file == -ENOENT ? 0 : file;
  (void)io->close(io->context, file);
  return 1;
}

static coupon_status cannot_open(struct cpn_fault *fault, int error) {
  return cpn_fault_from_io(fault, error, "", "cannot open, make or lock the archive's directory");
}

/* Segments of two directories have the same names, and what is being copied has one name: so of two engines with one
 * archive each could remove its own segment on the strength of the other's. */
coupon_status cpn_archive_open(coupon_engine *engine, struct cpn_fault *fault) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  const struct cpn_io *io = engine->env.io;
  if (engine->options.archive_dir == NULL) return COUPON_OK;
  checkpoints->archive = io->open_directory(io->context, engine->options.archive_dir, true);
  if (checkpoints->archive < 0) return cannot_open(fault, checkpoints->archive);
  const int theirs = is_an_engines(io, checkpoints->archive);
  if (theirs > 0)
    return cpn_fault_set(fault, COUPON_E_INVAL, "", 0,
                         "the archive is a directory of an engine; give it one of its own");
  if (theirs < 0) return cannot_open(fault, theirs);
  checkpoints->archive_lock = io->lock(io->context, checkpoints->archive, CPN_LOCK_NAME);
  if (checkpoints->archive_lock == -EAGAIN)
    return cpn_fault_set(fault, COUPON_E_LOCKED, "", 0, "another engine has the archive; give each one of its own");
  return checkpoints->archive_lock < 0 ? cannot_open(fault, checkpoints->archive_lock) : COUPON_OK;
}

void cpn_archive_close(coupon_engine *engine) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  const struct cpn_io *io = engine->env.io;
  if (checkpoints->archive_lock >= 0) (void)io->unlock(io->context, checkpoints->archive, checkpoints->archive_lock);
  if (checkpoints->archive >= 0) (void)io->close(io->context, checkpoints->archive);
  checkpoints->archive = checkpoints->archive_lock = -1;
}

static int copy_bytes(const struct cpn_io *io, int from, int to, uint64_t size) {
  unsigned char *piece = malloc(PIECE_SIZE);
  if (piece == NULL) return -ENOMEM;
  int error = 0;
  for (uint64_t at = 0; at < size && error == 0;) {
    int64_t got = cpn_io_read_all(io, from, at, piece, (size_t)cpn_min_u64(PIECE_SIZE, size - at));
    error = got < 0 ? (int)got : got == 0 ? -EIO : cpn_io_write_all(io, to, at, piece, (size_t)got);
    at += got < 0 ? 0 : (uint64_t)got;
  }
  free(piece);
  return error;
}

/* The copy under its temporary name, synced. */
static int copy_aside(const struct cpn_io *io, int directory, int archive, const char *name) {
  int from = cpn_io_open(io, directory, name, CPN_IO_READ);
  if (from < 0) return from;
  int to = cpn_io_open(io, archive, CPN_ARCHIVE_TEMPORARY_NAME, CPN_IO_CREATE);
  if (to < 0) {
    (void)io->close(io->context, from);
    return to;
  }
  uint64_t size = 0;
  int error = io->size(io->context, from, &size);
  if (error == 0) error = copy_bytes(io, from, to, size);
  if (error == 0) error = cpn_io_sync(io, to);
  (void)io->close(io->context, to);
  (void)io->close(io->context, from);
  return error;
}

static int copy(const struct cpn_io *io, int directory, int archive, const char *name) {
  int error = io->remove(io->context, archive, CPN_ARCHIVE_TEMPORARY_NAME); /* of a copy that was interrupted */
  if (error < 0 && error != -ENOENT) return error;
  error = copy_aside(io, directory, archive, name);
  if (error == 0) error = io->rename(io->context, archive, CPN_ARCHIVE_TEMPORARY_NAME, name);
  /* Where there is no room for all of it, what there is of it takes room. */
  if (error < 0) (void)io->remove(io->context, archive, CPN_ARCHIVE_TEMPORARY_NAME);
  return error;
}

/* 1: the files have the same bytes; 0: they do not; or -errno. */
static int same_bytes(const struct cpn_io *io, int ours, int theirs) {
  uint64_t size = 0, size_there = 0;
  int error = io->size(io->context, ours, &size);
  if (error == 0) error = io->size(io->context, theirs, &size_there);
  if (error < 0 || size != size_there) return error;
  unsigned char *pieces = malloc(2 * PIECE_SIZE);
  if (pieces == NULL) return -ENOMEM;
  int same = 1;
  for (uint64_t at = 0; at < size && same == 1; at += PIECE_SIZE) {
    const size_t length = (size_t)cpn_min_u64(PIECE_SIZE, size - at);
    const int64_t got = cpn_io_read_all(io, ours, at, pieces, length);
    const int64_t got_there = got < 0 ? got : cpn_io_read_all(io, theirs, at, pieces + PIECE_SIZE, length);
    same = got_there < 0 ? (int)got_there : got == got_there && memcmp(pieces, pieces + PIECE_SIZE, (size_t)got) == 0;
  }
  free(pieces);
  return same;
}

/* 1: this segment is there already, from an attempt that was interrupted later. 0: nothing has its name. -EEXIST:
 * something else has: another directory's, or this one's before it was brought back from a copy, which only the bytes
 * tell. */
static int is_there(coupon_engine *engine, const char *name) {
  const struct cpn_io *io = engine->env.io;
  int theirs = cpn_io_open(io, engine->checkpoints.archive, name, CPN_IO_READ);
  if (theirs < 0) return theirs == -ENOENT ? 0 : theirs;
  int ours = cpn_io_open(io, engine->directory, name, CPN_IO_READ);
  int same = ours < 0 ? ours : same_bytes(io, ours, theirs);
  if (ours >= 0) (void)io->close(io->context, ours);
  (void)io->close(io->context, theirs);
  return same == 0 ? -EEXIST : same;
}

int cpn_archive_put(coupon_engine *engine, uint64_t segment) {
  const struct cpn_io *io = engine->env.io;
  const int archive = engine->checkpoints.archive;
  if (archive < 0) return 0;
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(segment, name);
  int error = is_there(engine, name);
  /* Once more: if it was the sync of its entry that failed, another one would say that all is well. We have it
   * still. */
  if (error > 0) error = io->remove(io->context, archive, name);
  if (error < 0) return error; /* also if it is gone from here */
  error = io->link(io->context, engine->directory, name, archive, name);
  if (error == -ENOENT || error == -EEXIST) return error; /* EEXIST: since we looked */
  /* Another file system, or one without links. */
  if (error < 0) error = copy(io, engine->directory, archive, name);
  return error < 0 ? error : cpn_io_sync_directory(io, archive);
}
