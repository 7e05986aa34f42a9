/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes <-> meaning of checkpoints and tickets files, as log/format.h has it for the log: docs/FORMAT.md,
 * "Checkpoints", says the same in words. Pure functions over memory; they believe nothing that a checksum does not
 * vouch for.
 */
#ifndef CPN_LOG_CHECKPOINT_FORMAT_H
#define CPN_LOG_CHECKPOINT_FORMAT_H

#include "log/format.h"

#define CPN_CHECKPOINT_TEMPORARY_NAME "checkpoint.tmp"
#define CPN_TICKETS_TEMPORARY_NAME "tickets.tmp"
#define CPN_CHECKPOINT_NAME_SIZE 28 /* "0123456789abcdef.checkpoint" and the final zero */

void cpn_checkpoint_name(uint64_t number, char name[CPN_CHECKPOINT_NAME_SIZE]);
/* 0 if `name` is no checkpoint's. */
uint64_t cpn_checkpoint_number(const char *name);
void cpn_tickets_file_name(uint64_t campaign, char name[CPN_CHECKPOINT_NAME_SIZE]);
/* False if `name` is no tickets file's. */
bool cpn_tickets_file_campaign(const char *name, uint64_t *campaign);

/* --- the first block ----------------------------------------------------------------------------- */

struct cpn_checkpoint_header {
  uint64_t number;
  uint64_t lsn; /* C: everything before it was durable, and its effect is in here */
  uint64_t life;
  uint64_t time_ns;         /* decision time: not before that of any record before C */
  uint64_t segment, offset; /* where the log goes on */
  uint64_t campaigns, tickets;
  uint64_t size, chunks, digest; /* of the file */
  uint64_t written_ns;
};

void cpn_checkpoint_header_encode(const struct cpn_checkpoint_header *header, const unsigned char *identity,
                                  unsigned char block[CPN_BLOCK_SIZE]);
/* NOT also if the identity is another's or the number is not `number`. */
enum cpn_decoded cpn_checkpoint_header_decode(struct cpn_checkpoint_header *header, const unsigned char *identity,
                                              uint64_t number, const unsigned char block[CPN_BLOCK_SIZE]);

struct cpn_tickets_header {
  uint64_t campaign; /* index */
  uint64_t id;
  uint64_t tickets;
  int32_t user_kind;
  uint64_t size, chunks, digest;
  uint64_t last_ns; /* of its last ticket: so the same tickets make the same file */
};

void cpn_tickets_header_encode(const struct cpn_tickets_header *header, const unsigned char *identity,
                               unsigned char block[CPN_BLOCK_SIZE]);
enum cpn_decoded cpn_tickets_header_decode(struct cpn_tickets_header *header, const unsigned char *identity,
                                           uint64_t campaign, const unsigned char block[CPN_BLOCK_SIZE]);

/* The checksum at the end of a block: what a checkpoint keeps of a tickets file, to know it again. */
uint64_t cpn_block_checksum(const unsigned char block[CPN_BLOCK_SIZE]);

/* --- chunks -------------------------------------------------------------------------------------- */

#define CPN_CHUNK_HEADER_SIZE 64u
#define CPN_CHUNK_PAYLOAD_MAX (UINT32_C(1) << 20)
#define CPN_CHUNK_TICKETS_MAX 16384u

/* Which kind of file a chunk belongs to. */
enum cpn_chunk_home { CPN_CHUNK_OF_CHECKPOINT, CPN_CHUNK_OF_TICKETS_FILE };

enum cpn_chunk_kind { CPN_CHUNK_CAMPAIGNS = 1, CPN_CHUNK_TICKETS = 2 };

struct cpn_chunk {
  enum cpn_chunk_home home;
  uint16_t version, kind;
  uint64_t file;  /* number of the checkpoint, or the campaign's index */
  uint64_t place; /* offset in the file */
  uint32_t campaign;
  uint32_t count;
  uint64_t first_number;
  uint32_t payload_bytes;
  uint64_t body_checksum, checksum;
};

/* Bytes a chunk takes in its file. */
static inline uint64_t cpn_chunk_size(uint64_t payload_bytes) {
  return cpn_round_up(CPN_CHUNK_HEADER_SIZE + payload_bytes, CPN_BLOCK_SIZE);
}

/* `bytes` has the payload at CPN_CHUNK_HEADER_SIZE and room up to cpn_chunk_size(); fills in the header, the padding
 * and the checksums. */
void cpn_chunk_seal(struct cpn_chunk *chunk, const unsigned char *identity, unsigned char *bytes);

/* The header alone, which has to be of the home, file and place that `chunk` says. */
enum cpn_decoded cpn_chunk_decode(struct cpn_chunk *chunk, const unsigned char *identity,
                                  const unsigned char header[CPN_CHUNK_HEADER_SIZE]);

/* Whether the rest is as the header says; `bytes` holds the whole chunk. */
bool cpn_chunk_body_valid(const struct cpn_chunk *chunk, const unsigned char *bytes);

/* The digest of the chunks so far, and this one. */
uint64_t cpn_chunk_digest(uint64_t digest, const struct cpn_chunk *chunk);

/* --- campaigns ----------------------------------------------------------------------------------- */

enum { CPN_KEPT_RELEASED = 1, CPN_KEPT_DROPPED = 2 };

struct cpn_kept_campaign {
  uint64_t id, stock, user_limit, opens_at_ns, closes_at_ns;
  int32_t user_kind;
  uint32_t name_length;
  const char *name; /* decoded: points into the bytes given */
  uint64_t created_lsn, opened_lsn, closed_lsn;
  uint64_t tickets;
  uint32_t flags;
  uint64_t since;      /* the first checkpoint with these flags */
  uint64_t file_check; /* of its tickets file */
};

#define CPN_KEPT_CAMPAIGN_SIZE 104u                              /* without the name */
#define CPN_KEPT_CAMPAIGN_MAX (CPN_KEPT_CAMPAIGN_SIZE + 32u * 8) /* a name of 255 bytes */

/* Returns the length in bytes. */
size_t cpn_kept_campaign_encode(const struct cpn_kept_campaign *campaign, unsigned char *bytes);
enum cpn_decoded cpn_kept_campaign_decode(struct cpn_kept_campaign *campaign, const unsigned char *bytes, size_t size,
                                          size_t *length);

/* --- tickets ------------------------------------------------------------------------------------- */

/* A ticket in four words: user, user's second half or 0, LSN, time. */
#define CPN_TICKET_WORDS 4u
#define CPN_TICKETS_PAGE 256u

/* No payload of so many tickets is longer. */
static inline size_t cpn_tickets_payload_max(uint32_t count) {
  return (size_t)count * 32 + (size_t)((count + CPN_TICKETS_PAGE - 1) / CPN_TICKETS_PAGE) * 40;
}

/* The payload of `count` tickets whose LSNs and times rise; returns its length. `user_words` is 1 or 2. */
size_t cpn_tickets_encode(const uint64_t *tickets, uint32_t count, uint32_t user_words, unsigned char *payload);
/* What page says of `count` tickets, as docs/FORMAT.md has it: LSN of ticket i = lsn + i step + 8 d, time = time_ns +
 * unit e. */
struct cpn_tickets_page {
  uint64_t lsn, time_ns;
  uint32_t step, unit;
  unsigned p, q;             /* bits of a d, of an e */
  const unsigned char *bits; /* the d's, then the e's; whole words */
};
/* The page that begins at `bytes`; sets its length. False: there is none. Whether all numbers fit is not looked at. */
CPN_MUST_CHECK bool cpn_tickets_page_decode(struct cpn_tickets_page *page, uint32_t count, const unsigned char *bytes,
                                            size_t size, size_t *length);

/* The whole payload, or DAMAGED. */
enum cpn_decoded cpn_tickets_decode(uint64_t *tickets, uint32_t count, uint32_t user_words,
                                    const unsigned char *payload, size_t size);

#endif
