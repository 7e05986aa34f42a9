/* SPDX-License-Identifier: Apache-2.0 */
#include "log/chunk_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/points.h"

/* --- writing ------------------------------------------------------------------------------------- */

int cpn_chunk_writer_open(struct cpn_chunk_writer *writer, const struct cpn_io *io, int directory,
                          const char *temporary, const unsigned char *identity, enum cpn_chunk_home home,
                          uint64_t number) {
  *writer = (struct cpn_chunk_writer){.io = io,
                                      .directory = directory,
                                      .file = -1,
                                      .temporary = temporary,
                                      .home = home,
                                      .number = number,
                                      .written = CPN_BLOCK_SIZE}; /* the first block comes last */
  memcpy(writer->identity, identity, CPN_IDENTITY_SIZE);
  writer->piece = aligned_alloc(4096, CPN_CHUNK_PIECE_SIZE);
  if (writer->piece == NULL) return -ENOMEM;
  writer->file = cpn_io_create_anew(io, directory, temporary);
  return writer->file < 0 ? writer->file : 0;
}

static int flush(struct cpn_chunk_writer *writer) {
  if (writer->used == 0) return 0;
  int error = cpn_io_write_all(writer->io, writer->file, writer->written, writer->piece, writer->used);
  if (error < 0) return error;
  writer->written += writer->used;
  writer->used = 0;
  if (writer->written - writer->synced < CPN_CHUNK_SYNC_EVERY) return 0;
  writer->synced = writer->written;
  return cpn_io_sync(writer->io, writer->file);
}

unsigned char *cpn_chunk_writer_room(struct cpn_chunk_writer *writer, size_t payload_max, int *error) {
  const size_t size = (size_t)cpn_chunk_size(payload_max);
  CPN_INVARIANT(0, size <= CPN_CHUNK_PIECE_SIZE);
  *error = writer->used + size > CPN_CHUNK_PIECE_SIZE ? flush(writer) : 0;
  return *error < 0 ? NULL : writer->piece + writer->used + CPN_CHUNK_HEADER_SIZE;
}

void cpn_chunk_writer_add(struct cpn_chunk_writer *writer, struct cpn_chunk *chunk) {
  chunk->home = writer->home;
  chunk->file = writer->number;
  chunk->place = cpn_chunk_writer_size(writer);
  cpn_chunk_seal(chunk, writer->identity, writer->piece + writer->used);
  writer->used += (size_t)cpn_chunk_size(chunk->payload_bytes);
  writer->digest = cpn_chunk_digest(writer->digest, chunk);
  writer->chunks++;
}

int cpn_chunk_writer_finish(struct cpn_chunk_writer *writer, const unsigned char *block) {
  int error = flush(writer);
  if (error == 0) error = cpn_io_write_all(writer->io, writer->file, 0, block, CPN_BLOCK_SIZE);
  if (error == 0 && !CPN_MISTAKE(CHECKPOINT_UNSYNCED)) error = cpn_io_sync(writer->io, writer->file);
  if (error < 0) return error;
  (void)writer->io->close(writer->io->context, writer->file);
  free(writer->piece);
  writer->file = -1;
  writer->piece = NULL;
  return 0;
}

void cpn_chunk_writer_abandon(struct cpn_chunk_writer *writer) {
  if (writer->file >= 0) {
    (void)writer->io->close(writer->io->context, writer->file);
    (void)writer->io->remove(writer->io->context, writer->directory, writer->temporary); /* or the next opening does */
  }
  free(writer->piece);
  writer->file = -1;
  writer->piece = NULL;
}

/* --- reading ------------------------------------------------------------------------------------- */

coupon_status cpn_chunk_reader_damaged(const struct cpn_chunk_reader *reader, struct cpn_fault *fault,
                                       const char *message) {
  return cpn_fault_set(fault, COUPON_E_CORRUPT, reader->name, reader->offset, message);
}

static coupon_status failed(const struct cpn_chunk_reader *reader, int64_t error, struct cpn_fault *fault) {
  coupon_status status = cpn_fault_from_io(fault, error, reader->name, "cannot read a checkpoint or tickets file");
  fault->offset = reader->offset;
  return status;
}

coupon_status cpn_chunk_reader_open(struct cpn_chunk_reader *reader, const struct cpn_io *io, int directory,
                                    const unsigned char *identity, enum cpn_chunk_home home, uint64_t number,
                                    size_t window_size, unsigned char block[CPN_BLOCK_SIZE], struct cpn_fault *fault) {
  *reader = (struct cpn_chunk_reader){.io = io, .file = -1, .home = home, .number = number, .window_size = window_size};
  memcpy(reader->identity, identity, CPN_IDENTITY_SIZE);
  if (home == CPN_CHUNK_OF_CHECKPOINT)
    cpn_checkpoint_name(number, reader->name);
  else
    cpn_tickets_file_name(number, reader->name);
  reader->file = cpn_io_open(io, directory, reader->name, CPN_IO_READ);
  if (reader->file == -ENOENT)
    return cpn_chunk_reader_damaged(reader, fault, "a file that the directory needs is missing");
  if (reader->file < 0) return failed(reader, reader->file, fault);
  int64_t got = cpn_io_read_all(io, reader->file, 0, block, CPN_BLOCK_SIZE);
  if (got < 0) return failed(reader, got, fault);
  if (got < (int64_t)CPN_BLOCK_SIZE) return cpn_chunk_reader_damaged(reader, fault, "the file has no first block");
  if (window_size == 0) return COUPON_OK;
  reader->window = malloc(window_size);
  if (reader->window != NULL) return COUPON_OK;
  return cpn_fault_set(fault, COUPON_E_NOMEM, reader->name, 0, "not enough memory to read a file of the directory");
}

coupon_status cpn_chunk_reader_begin(struct cpn_chunk_reader *reader, uint64_t size, struct cpn_fault *fault) {
  uint64_t there = 0;
  int error = reader->io->size(reader->io->context, reader->file, &there);
  if (error < 0) return failed(reader, error, fault);
  reader->offset = CPN_BLOCK_SIZE;
  reader->size = size;
  if (size < CPN_BLOCK_SIZE || there < size) return cpn_chunk_reader_damaged(reader, fault, "the file is too short");
  return COUPON_OK;
}

/* `size` bytes at the reader's place, which the file has. */
static coupon_status at_place(struct cpn_chunk_reader *reader, size_t size, const unsigned char **bytes,
                              struct cpn_fault *fault) {
  const uint64_t offset = reader->offset;
  CPN_INVARIANT(0, reader->window != NULL);
  bool inside = offset >= reader->window_from && offset + size <= reader->window_from + reader->window_length;
  if (!inside) {
    const size_t want = reader->sparse ? size : (size_t)cpn_min_u64(reader->window_size, reader->size - offset);
    int64_t got = cpn_io_read_all(reader->io, reader->file, offset, reader->window, want);
    reader->window_from = offset;
    reader->window_length = got < 0 ? 0 : (size_t)got;
    if (got < 0) return failed(reader, got, fault);
    if (reader->window_length < size) return cpn_chunk_reader_damaged(reader, fault, "the file ends early");
  }
  *bytes = reader->window + (offset - reader->window_from);
  return COUPON_OK;
}

coupon_status cpn_chunk_reader_next(struct cpn_chunk_reader *reader, struct cpn_chunk *chunk, struct cpn_fault *fault) {
  const unsigned char *header = NULL;
  CPN_INVARIANT(0, !cpn_chunk_reader_at_end(reader));
  coupon_status status = at_place(reader, CPN_CHUNK_HEADER_SIZE, &header, fault);
  if (status != COUPON_OK) return status;
  *chunk = (struct cpn_chunk){.home = reader->home, .file = reader->number, .place = reader->offset};
  enum cpn_decoded decoded = cpn_chunk_decode(chunk, reader->identity, header);
  if (decoded == CPN_DECODED_NEWER)
    return cpn_fault_set(fault, COUPON_E_VERSION, reader->name, reader->offset,
                         "a chunk has a newer version; use a newer libcoupon");
  if (decoded != CPN_DECODED_OK) return cpn_chunk_reader_damaged(reader, fault, "a chunk's header is damaged");
  if (cpn_chunk_size(chunk->payload_bytes) > reader->size - reader->offset)
    return cpn_chunk_reader_damaged(reader, fault, "a chunk does not end with the file");
  return COUPON_OK;
}

void cpn_chunk_reader_skip(struct cpn_chunk_reader *reader, const struct cpn_chunk *chunk) {
  reader->offset += cpn_chunk_size(chunk->payload_bytes);
  reader->digest = cpn_chunk_digest(reader->digest, chunk);
  reader->chunks++;
}

coupon_status cpn_chunk_reader_read(struct cpn_chunk_reader *reader, const struct cpn_chunk *chunk,
                                    const unsigned char **payload, struct cpn_fault *fault) {
  const size_t size = (size_t)cpn_chunk_size(chunk->payload_bytes);
  const unsigned char *bytes = NULL;
  coupon_status status = at_place(reader, size, &bytes, fault);
  if (status != COUPON_OK) return status;
  CPN_INVARIANT(0, bytes != NULL);
  if (!cpn_chunk_body_valid(chunk, bytes)) return cpn_chunk_reader_damaged(reader, fault, "a chunk is damaged");
  const size_t end = CPN_CHUNK_HEADER_SIZE + (size_t)chunk->payload_bytes;
  for (size_t i = end; i < size; i++) {
    if (bytes[i] != 0)
      return cpn_fault_set(fault, COUPON_E_VERSION, reader->name, reader->offset,
                           "a chunk has a newer version; use a newer libcoupon");
  }
  *payload = bytes + CPN_CHUNK_HEADER_SIZE;
  cpn_chunk_reader_skip(reader, chunk);
  return COUPON_OK;
}

void cpn_chunk_reader_close(struct cpn_chunk_reader *reader) {
  if (reader->file >= 0) (void)reader->io->close(reader->io->context, reader->file);
  free(reader->window);
  reader->file = -1;
  reader->window = NULL;
}
