/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segments that checkpoints have made superfluous go to another directory instead of away. A segment has its name there
 * only when it is whole, and the name is durable before the segment goes here: linked where that can be done, else copied
 * under a temporary name.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/checkpoint.h"
#include "engine/engine.h"

#define PIECE_SIZE ((size_t)256 * 1024)

int cpn_archive_open(coupon_engine *engine) {
  const struct cpn_io *io = engine->env.io;
  if (engine->options.archive_dir == NULL) return 0;
  const int archive = io->open_directory(io->context, engine->options.archive_dir, true);
  if (archive < 0) return archive;
  engine->checkpoints.archive = archive;
  /* A directory of an engine, perhaps this one's: a segment would seem to be archived where it is. */
  int file = io->open(io->context, archive, CPN_OWNER_NAME, CPN_IO_READ);
  if (file < 0) return file == -ENOENT ? 0 : file;
  (void)io->close(io->context, file);
  return -EINVAL;
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
  int from = io->open(io->context, directory, name, CPN_IO_READ);
  if (from < 0) return from;
  int to = io->open(io->context, archive, CPN_ARCHIVE_TEMPORARY_NAME, CPN_IO_CREATE);
  if (to < 0) {
    (void)io->close(io->context, from);
    return to;
  }
  uint64_t size = 0;
  int error = io->size(io->context, from, &size);
  if (error == 0) error = copy_bytes(io, from, to, size);
  if (error == 0) error = io->sync(io->context, to);
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

/* 1: this segment is there already, from an attempt that was interrupted later. 0: nothing has its name. -EEXIST: something
 * else has, perhaps another directory's. */
static int is_there(coupon_engine *engine, const char *name, uint64_t segment) {
  const struct cpn_io *io = engine->env.io;
  int file = io->open(io->context, engine->checkpoints.archive, name, CPN_IO_READ);
  if (file < 0) return file == -ENOENT ? 0 : file;
  unsigned char block[CPN_BLOCK_SIZE];
  int64_t got = cpn_io_read_all(io, file, 0, block, sizeof block);
  (void)io->close(io->context, file);
  if (got < 0) return (int)got;
  struct cpn_segment_header header;
  bool same = got == (int64_t)sizeof block &&
              cpn_segment_header_decode(&header, engine->log.identity, segment, block) == CPN_DECODED_OK;
  return same ? 1 : -EEXIST;
}

int cpn_archive_put(coupon_engine *engine, uint64_t segment) {
  const struct cpn_io *io = engine->env.io;
  const int archive = engine->checkpoints.archive;
  if (archive < 0) return 0;
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(segment, name);
  int there = is_there(engine, name, segment);
  if (there < 0) return there;
  if (there == 0) {
    int error = io->link(io->context, engine->directory, name, archive, name);
    if (error == -ENOENT) return error; /* it is gone from here */
    /* Another file system, or one without links. */
    if (error < 0) error = copy(io, engine->directory, archive, name);
    if (error < 0) return error;
  }
  return io->sync_directory(io->context, archive);
}
