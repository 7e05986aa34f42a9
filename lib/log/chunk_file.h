/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of chunks, checkpoints and tickets files: written beside everything else and in pieces, so that the log's syncs
 * do not wait behind a large one of ours; read front to back, with every rule of docs/FORMAT.md about chunks checked.
 */
#ifndef CPN_LOG_CHUNK_FILE_H
#define CPN_LOG_CHUNK_FILE_H

#include "base/fault.h"
#include "base/io.h"
#include "log/checkpoint_format.h"

/* --- writing ------------------------------------------------------------------------------------- */

/* A piece: what is handed to the disk at once. Holds the largest chunk of tickets. */
#define CPN_CHUNK_PIECE_SIZE ((size_t)1024 * 1024)
/* What is written between two syncs, a flush that the log's next sync may have to wait for. */
#define CPN_CHUNK_SYNC_EVERY (UINT64_C(4) << 20)

struct cpn_chunk_writer {
  const struct cpn_io *io;
  int directory, file;
  const char *temporary; /* the name while it is written */
  unsigned char identity[CPN_IDENTITY_SIZE];
  enum cpn_chunk_home home;
  uint64_t number; /* of the checkpoint, or the campaign's index */
  unsigned char *piece;
  size_t used;
  uint64_t written; /* bytes of the file that are handed to the disk, from its beginning */
  uint64_t synced;
  uint64_t chunks, digest; /* so far */
};

/* Begins a file under its temporary name, which must be free. 0 or -errno; then cpn_chunk_writer_abandon(). */
CPN_MUST_CHECK int cpn_chunk_writer_open(struct cpn_chunk_writer *writer, const struct cpn_io *io, int directory,
                                         const char *temporary, const unsigned char *identity, enum cpn_chunk_home home,
                                         uint64_t number);

/* Where to put the next chunk's payload, of at most `payload_max` bytes, for which there is room. NULL: the disk did
 * not take what was there before, `*error` is -errno. */
unsigned char *cpn_chunk_writer_room(struct cpn_chunk_writer *writer, size_t payload_max, int *error);

/* Adds the chunk whose payload is there; kind, campaign, count, first number and payload bytes are set. */
void cpn_chunk_writer_add(struct cpn_chunk_writer *writer, struct cpn_chunk *chunk);

/* What the file's size will be. */
static inline uint64_t cpn_chunk_writer_size(const struct cpn_chunk_writer *writer) {
  return writer->written + writer->used;
}

/* The first block, last; synced and closed. The file still has its temporary name. 0 or -errno. */
CPN_MUST_CHECK int cpn_chunk_writer_finish(struct cpn_chunk_writer *writer, const unsigned char *block);

/* Closes and removes what there is; also after a failed open. After finishing it does nothing. */
void cpn_chunk_writer_abandon(struct cpn_chunk_writer *writer);

/* --- reading ------------------------------------------------------------------------------------- */

struct cpn_chunk_reader {
  const struct cpn_io *io;
  int file;
  char name[CPN_CHECKPOINT_NAME_SIZE];
  unsigned char identity[CPN_IDENTITY_SIZE];
  enum cpn_chunk_home home;
  uint64_t number;
  uint64_t offset, size; /* of the next chunk; of the file, as its first block says */
  uint64_t chunks, digest;
  bool sparse; /* most chunks will be passed over: read no more than is asked for */
  unsigned char *window;
  uint64_t window_from;
  size_t window_size, window_length;
};

/* Opens a file by its name and reads its first block. COUPON_E_CORRUPT also if it is not there. `window_size`: how much
 * to read at once, at least CPN_CHUNK_SIZE_MAX; 0: nothing but this will be wanted. */
#define CPN_CHUNK_SIZE_MAX ((size_t)CPN_CHUNK_PAYLOAD_MAX + (size_t)2 * CPN_BLOCK_SIZE)
CPN_MUST_CHECK coupon_status cpn_chunk_reader_open(struct cpn_chunk_reader *reader, const struct cpn_io *io,
                                                   int directory, const unsigned char *identity,
                                                   enum cpn_chunk_home home, uint64_t number, size_t window_size,
                                                   unsigned char block[CPN_BLOCK_SIZE], struct cpn_fault *fault);

/* After the first block was understood: what it says of the file's size. COUPON_E_CORRUPT: it is shorter. */
CPN_MUST_CHECK coupon_status cpn_chunk_reader_begin(struct cpn_chunk_reader *reader, uint64_t size,
                                                    struct cpn_fault *fault);

static inline bool cpn_chunk_reader_at_end(const struct cpn_chunk_reader *reader) {
  return reader->offset == reader->size;
}

/* The next chunk's header. It is passed over with cpn_chunk_reader_skip(), or read. */
CPN_MUST_CHECK coupon_status cpn_chunk_reader_next(struct cpn_chunk_reader *reader, struct cpn_chunk *chunk,
                                                   struct cpn_fault *fault);
void cpn_chunk_reader_skip(struct cpn_chunk_reader *reader, const struct cpn_chunk *chunk);
/* Its payload, valid until the next call. */
CPN_MUST_CHECK coupon_status cpn_chunk_reader_read(struct cpn_chunk_reader *reader, const struct cpn_chunk *chunk,
                                                   const unsigned char **payload, struct cpn_fault *fault);

/* Damage at the reader's place. */
coupon_status cpn_chunk_reader_damaged(const struct cpn_chunk_reader *reader, struct cpn_fault *fault,
                                       const char *message);

void cpn_chunk_reader_close(struct cpn_chunk_reader *reader);

#endif
