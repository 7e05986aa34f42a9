/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes <-> meaning: the only room that knows an offset. docs/FORMAT.md says the same in words; the static
 * assertions hold this page to it. Pure functions over memory; they believe nothing that a checksum does not vouch for.
 */
#ifndef CPN_LOG_FORMAT_H
#define CPN_LOG_FORMAT_H

#include "base/defs.h"

#define CPN_BLOCK_SIZE 512u /* what a disk writes whole or not at all */
#define CPN_IDENTITY_SIZE 16u
#define CPN_FORMAT_VERSION 1u

#define CPN_MANIFEST_NAME "manifest"
#define CPN_MANIFEST_TEMPORARY_NAME "manifest.tmp"
#define CPN_LOCK_NAME "lock"
#define CPN_OWNER_NAME "owner"
#define CPN_SEGMENT_TEMPORARY_NAME "segment.tmp"
#define CPN_SEGMENT_NAME_SIZE 21 /* "0123456789abcdef.log" and the final zero */

/* --- what the decoders say ---------------------------------------------------------------------- */

enum cpn_decoded {
  CPN_DECODED_OK,
  CPN_DECODED_NOT,    /* no such thing here: magic or checksum are wrong */
  CPN_DECODED_NEWER,  /* the checksum is right, the version is not known here */
  CPN_DECODED_DAMAGED /* the checksum is right, the contents cannot be */
};

/* --- manifest, owner, segment header: one block each --------------------------------------------- */

struct cpn_manifest {
  unsigned char identity[CPN_IDENTITY_SIZE];
  uint64_t created_ns;
  uint64_t first_segment;                       /* the first that still has to exist */
  uint64_t newest_checkpoint, older_checkpoint; /* numbers, or 0 */
};

void cpn_manifest_encode(const struct cpn_manifest *manifest, unsigned char block[CPN_BLOCK_SIZE]);
enum cpn_decoded cpn_manifest_decode(struct cpn_manifest *manifest, const unsigned char block[CPN_BLOCK_SIZE]);

struct cpn_owner {
  uint64_t life;
  uint64_t durable_lsn;
  uint64_t process;
};

void cpn_owner_encode(const struct cpn_owner *owner, const unsigned char *identity,
                      unsigned char block[CPN_BLOCK_SIZE]);
enum cpn_decoded cpn_owner_decode(struct cpn_owner *owner, const unsigned char *identity,
                                  const unsigned char block[CPN_BLOCK_SIZE]);

struct cpn_segment_header {
  uint64_t number;
  uint64_t first_lsn;
  uint64_t life;
  uint64_t segment_size;
  uint64_t time_ns;
};

void cpn_segment_header_encode(const struct cpn_segment_header *header, const unsigned char *identity,
                               unsigned char block[CPN_BLOCK_SIZE]);
/* NOT also if the identity is another's or the number is not `number`: a foreign or misplaced file. */
enum cpn_decoded cpn_segment_header_decode(struct cpn_segment_header *header, const unsigned char *identity,
                                           uint64_t number, const unsigned char block[CPN_BLOCK_SIZE]);

void cpn_segment_name(uint64_t number, char name[CPN_SEGMENT_NAME_SIZE]);
/* 0 if `name` is no segment's. */
uint64_t cpn_segment_number(const char *name);

/* --- frames ------------------------------------------------------------------------------------- */

#define CPN_FRAME_HEADER_SIZE 64u
#define CPN_LIFE_MAX (UINT64_MAX - 1) /* the number of any life is one that another can follow */
/* Records of one frame, in bytes as LSNs count: what one commit writes at once. Larger groups gain nothing in
 * bandwidth. */
#define CPN_FRAME_PAYLOAD_MAX (UINT32_C(1) << 20)
/* Bytes that a joined ticket's record has and the file has not: a head and a time (log/join.h). */
#define CPN_JOINED_BYTES 16u

struct cpn_frame {
  uint64_t first_lsn;
  uint64_t synced_lsn;
  uint64_t life;
  uint64_t segment;
  uint64_t offset;        /* in the segment: a multiple of the block */
  uint32_t payload_bytes; /* in the file */
  uint16_t version;
  uint16_t joined; /* tickets without a head and a time of their own */
  uint64_t body_checksum;
};

/* Bytes of the frame's records, as LSNs count; and the LSN at which it ends. */
static inline uint64_t cpn_frame_length(const struct cpn_frame *frame) {
  return frame->payload_bytes + (uint64_t)frame->joined * CPN_JOINED_BYTES;
}
static inline uint64_t cpn_frame_end_lsn(const struct cpn_frame *frame) {
  return frame->first_lsn + cpn_frame_length(frame);
}

/* Bytes a frame takes in its segment. */
static inline uint64_t cpn_frame_size(uint64_t payload_bytes) {
  return cpn_round_up(CPN_FRAME_HEADER_SIZE + payload_bytes, CPN_BLOCK_SIZE);
}

/* `bytes` has the payload at CPN_FRAME_HEADER_SIZE and room up to cpn_frame_size(); fills in the header and the
 * padding. */
void cpn_frame_seal(struct cpn_frame *frame, const unsigned char *identity, unsigned char *bytes);

/* The header alone: checksum, segment and offset as given. OK for any version: the caller looks. */
enum cpn_decoded cpn_frame_decode(struct cpn_frame *frame, const unsigned char *identity, uint64_t segment,
                                  uint64_t offset, const unsigned char header[CPN_FRAME_HEADER_SIZE]);

/* Whether the rest of the frame is as the header says; `bytes` holds the whole frame. */
bool cpn_frame_body_valid(const struct cpn_frame *frame, const unsigned char *bytes);

/* Of a frame whose rest is valid: whether this version wrote it, and whether it begins the life it bears. */
bool cpn_frame_is_known(const struct cpn_frame *frame, const unsigned char *bytes);
bool cpn_frame_begins_life(const struct cpn_frame *frame, const unsigned char *bytes);

/* --- records ------------------------------------------------------------------------------------ */

enum cpn_record_type {
  CPN_RECORD_VOID = 1,
  CPN_RECORD_LIFE = 2,
  CPN_RECORD_END = 3,
  CPN_RECORD_CAMPAIGN = 4,
  CPN_RECORD_OPEN = 5,
  CPN_RECORD_CLOSE = 6,
  CPN_RECORD_ISSUE = 7,
  CPN_RECORD_ISSUE_UUID = 8
};

/* Lengths in words of 8 bytes. */
#define CPN_WORDS_LIFE 4u
#define CPN_WORDS_END 2u
#define CPN_WORDS_CAMPAIGN 8u /* without the name */
#define CPN_WORDS_CHANGE 2u   /* OPEN, CLOSE */
#define CPN_WORDS_ISSUE 3u
#define CPN_WORDS_ISSUE_UUID 4u
#define CPN_WORDS_CAMPAIGN_MAX (CPN_WORDS_CAMPAIGN + 32u) /* a name of 255 bytes */

/* And in bytes, as LSNs count. */
#define CPN_SIZE_LIFE UINT64_C(32)

/* A record in words, as the log buffer has it: the same words, little-endian, are the bytes on disk. */
static inline uint64_t cpn_record_head(enum cpn_record_type type, uint64_t words, uint32_t campaign) {
  return (uint64_t)type | words << 16 | (uint64_t)campaign << 32;
}
static inline uint32_t cpn_record_words(uint64_t head) { return (uint32_t)(head >> 16 & 0xffff); }

/* A record decoded. Which fields mean something depends on the type. */
struct cpn_record {
  enum cpn_record_type type;
  uint32_t campaign; /* index */
  uint64_t lsn;      /* of the byte past it */
  uint64_t time_ns;
  uint64_t user[2];                                          /* ISSUE: the first; ISSUE_UUID */
  uint64_t life;                                             /* LIFE */
  uint64_t began_lsn;                                        /* LIFE */
  uint64_t id, stock, user_limit, opens_at_ns, closes_at_ns; /* CAMPAIGN … */
  int32_t user_kind;
  const char *name; /* points into the bytes given */
  uint32_t name_length;
};

/* Of the record of a ticket whose user has so many words, 1 or 2: its length, its head. The user's words follow the
 * head, the time is last. */
static inline uint32_t cpn_issue_words(uint32_t user_words) { return CPN_WORDS_ISSUE - 1 + user_words; }
static inline uint64_t cpn_issue_head(uint32_t user_words, uint32_t campaign) {
  enum cpn_record_type type = user_words == 2 ? CPN_RECORD_ISSUE_UUID : CPN_RECORD_ISSUE;
  return cpn_record_head(type, cpn_issue_words(user_words), campaign);
}

/* Words of a CAMPAIGN record with a name of this length. */
static inline uint32_t cpn_campaign_words(uint32_t name_length) {
  return CPN_WORDS_CAMPAIGN + (uint32_t)(cpn_round_up(name_length, 8) / 8);
}

/* Writes `record` into `words`, all but the head, which is returned: whoever publishes stores it last. */
uint64_t cpn_record_encode(const struct cpn_record *record, uint64_t *words);

/* The record at the beginning of `bytes`, of which `size` belong to the payload. On OK `*length` is its length in
 * bytes. */
enum cpn_decoded cpn_record_decode(struct cpn_record *record, const unsigned char *bytes, size_t size, size_t *length);

#endif
