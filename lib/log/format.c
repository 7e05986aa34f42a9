/* SPDX-License-Identifier: Apache-2.0 */
#include "log/format.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "coupon/coupon.h"
#include "log/checkpoint_format.h"
#include "log/format_block.h"

/* The offsets of docs/FORMAT.md. Every structure ends with its checksum. */
enum {
  BLOCK_MAGIC = 0,
  BLOCK_VERSION = 8,
  BLOCK_BLOCK_SIZE = 12,
  BLOCK_IDENTITY = 16,
  BLOCK_NUMBER = 32, /* in those that have one */
  BLOCK_CHECKSUM = 504,

  MANIFEST_CREATED = 32,
  MANIFEST_FIRST_SEGMENT = 40,
  MANIFEST_NEWEST = 48,
  MANIFEST_OLDER = 56,
  MANIFEST_END = 64,

  OWNER_LIFE = 8,
  OWNER_DURABLE = 16,
  OWNER_PROCESS = 24,
  OWNER_CHECKSUM = 32,

  SEGMENT_NUMBER = 32,
  SEGMENT_FIRST_LSN = 40,
  SEGMENT_LIFE = 48,
  SEGMENT_SIZE = 56,
  SEGMENT_TIME = 64,
  SEGMENT_END = 72,

  FRAME_MAGIC = 0,
  FRAME_VERSION = 4,
  FRAME_JOINED = 6,
  FRAME_FIRST_LSN = 8,
  FRAME_SYNCED_LSN = 16,
  FRAME_LIFE = 24,
  FRAME_PAYLOAD_BYTES = 32,
  FRAME_PLACE = 36,
  FRAME_SEGMENT = 40,
  FRAME_BODY_CHECKSUM = 48,
  FRAME_CHECKSUM = 56
};

_Static_assert((int)BLOCK_NUMBER == (int)SEGMENT_NUMBER, "one place for the number");
_Static_assert(BLOCK_CHECKSUM + 8 == CPN_BLOCK_SIZE, "the checksum ends the block");
_Static_assert(BLOCK_IDENTITY + CPN_IDENTITY_SIZE == MANIFEST_CREATED, "the identity ends where the rest begins");
_Static_assert(FRAME_CHECKSUM + 8 == CPN_FRAME_HEADER_SIZE, "the checksum ends the frame header");
_Static_assert(CPN_WORDS_CAMPAIGN_MAX == CPN_WORDS_CAMPAIGN + (COUPON_NAME_MAX + 7) / 8, "the longest name fits");
_Static_assert(CPN_SIZE_LIFE / 8 == CPN_WORDS_LIFE, "sizes are words times 8");
_Static_assert(CPN_FRAME_PAYLOAD_MAX % 8 == 0, "records are whole words");
_Static_assert(CPN_FRAME_PAYLOAD_MAX / (CPN_WORDS_ISSUE * 8) <= UINT16_MAX, "no frame has more to join");

static const unsigned char manifest_magic[8] = {'C', 'P', 'N', 'M', 'A', 'N', 'I', 'F'};
static const unsigned char owner_magic[8] = {'C', 'P', 'N', 'O', 'W', 'N', 'E', 'R'};
static const unsigned char segment_magic[8] = {'C', 'P', 'N', 'S', 'E', 'G', 'M', 'T'};
static const unsigned char frame_magic[4] = {'C', 'P', 'N', 'F'};

bool cpn_all_zero(const unsigned char *bytes, size_t size) {
  static const unsigned char zeros[CPN_BLOCK_SIZE];
  for (; size > sizeof zeros; bytes += sizeof zeros, size -= sizeof zeros) {
    if (memcmp(bytes, zeros, sizeof zeros) != 0) return false;
  }
  return memcmp(bytes, zeros, size) == 0;
}

/* --- blocks -------------------------------------------------------------------------------------- */

void cpn_block_begin(unsigned char *block, const unsigned char magic[8], const unsigned char *identity) {
  memset(block, 0, CPN_BLOCK_SIZE);
  memcpy(block + BLOCK_MAGIC, magic, 8);
  cpn_put_u32(block + BLOCK_VERSION, CPN_FORMAT_VERSION);
  cpn_put_u32(block + BLOCK_BLOCK_SIZE, CPN_BLOCK_SIZE);
  memcpy(block + BLOCK_IDENTITY, identity, CPN_IDENTITY_SIZE);
}

void cpn_block_end(unsigned char *block) { cpn_put_u64(block + BLOCK_CHECKSUM, cpn_checksum(block, BLOCK_CHECKSUM)); }

enum cpn_decoded cpn_block_check(const unsigned char *block, const unsigned char magic[8], size_t end) {
  if (memcmp(block + BLOCK_MAGIC, magic, 8) != 0) return CPN_DECODED_NOT;
  if (cpn_get_u64(block + BLOCK_CHECKSUM) != cpn_checksum(block, BLOCK_CHECKSUM)) return CPN_DECODED_NOT;
  if (cpn_get_u32(block + BLOCK_VERSION) != CPN_FORMAT_VERSION) return CPN_DECODED_NEWER;
  if (cpn_get_u32(block + BLOCK_BLOCK_SIZE) != CPN_BLOCK_SIZE) return CPN_DECODED_NEWER;
  return cpn_all_zero(block + end, BLOCK_CHECKSUM - end) ? CPN_DECODED_OK : CPN_DECODED_NEWER;
}

enum cpn_decoded cpn_block_check_of(const unsigned char *block, const unsigned char magic[8], size_t end,
                                    const unsigned char *identity, uint64_t number) {
  enum cpn_decoded decoded = cpn_block_check(block, magic, end);
  if (decoded == CPN_DECODED_NOT) return decoded;
  if (memcmp(block + BLOCK_IDENTITY, identity, CPN_IDENTITY_SIZE) != 0) return CPN_DECODED_NOT;
  return cpn_get_u64(block + BLOCK_NUMBER) == number ? decoded : CPN_DECODED_NOT;
}

uint64_t cpn_block_checksum(const unsigned char block[CPN_BLOCK_SIZE]) { return cpn_get_u64(block + BLOCK_CHECKSUM); }

void cpn_manifest_encode(const struct cpn_manifest *manifest, unsigned char block[CPN_BLOCK_SIZE]) {
  cpn_block_begin(block, manifest_magic, manifest->identity);
  cpn_put_u64(block + MANIFEST_CREATED, manifest->created_ns);
  cpn_put_u64(block + MANIFEST_FIRST_SEGMENT, manifest->first_segment);
  cpn_put_u64(block + MANIFEST_NEWEST, manifest->newest_checkpoint);
  cpn_put_u64(block + MANIFEST_OLDER, manifest->older_checkpoint);
  cpn_block_end(block);
}

enum cpn_decoded cpn_manifest_decode(struct cpn_manifest *manifest, const unsigned char block[CPN_BLOCK_SIZE]) {
  enum cpn_decoded decoded = cpn_block_check(block, manifest_magic, MANIFEST_END);
  if (decoded != CPN_DECODED_OK) return decoded;
  memcpy(manifest->identity, block + BLOCK_IDENTITY, CPN_IDENTITY_SIZE);
  manifest->created_ns = cpn_get_u64(block + MANIFEST_CREATED);
  manifest->first_segment = cpn_get_u64(block + MANIFEST_FIRST_SEGMENT);
  manifest->newest_checkpoint = cpn_get_u64(block + MANIFEST_NEWEST);
  manifest->older_checkpoint = cpn_get_u64(block + MANIFEST_OLDER);
  /* Segments go only when two checkpoints make up for them. */
  bool possible = manifest->first_segment != 0 && (manifest->first_segment == 1 || manifest->older_checkpoint != 0) &&
                  (manifest->older_checkpoint == 0 || manifest->older_checkpoint < manifest->newest_checkpoint);
  return possible ? CPN_DECODED_OK : CPN_DECODED_DAMAGED;
}

void cpn_owner_encode(const struct cpn_owner *owner, const unsigned char *identity,
                      unsigned char block[CPN_BLOCK_SIZE]) {
  memset(block, 0, CPN_BLOCK_SIZE);
  memcpy(block, owner_magic, sizeof owner_magic);
  cpn_put_u64(block + OWNER_LIFE, owner->life);
  cpn_put_u64(block + OWNER_DURABLE, owner->durable_lsn);
  cpn_put_u64(block + OWNER_PROCESS, owner->process);
  cpn_put_u64(block + OWNER_CHECKSUM, cpn_checksum_two(identity, CPN_IDENTITY_SIZE, block, OWNER_CHECKSUM));
}

enum cpn_decoded cpn_owner_decode(struct cpn_owner *owner, const unsigned char *identity,
                                  const unsigned char block[CPN_BLOCK_SIZE]) {
  if (memcmp(block, owner_magic, sizeof owner_magic) != 0) return CPN_DECODED_NOT;
  if (cpn_get_u64(block + OWNER_CHECKSUM) != cpn_checksum_two(identity, CPN_IDENTITY_SIZE, block, OWNER_CHECKSUM))
    return CPN_DECODED_NOT;
  owner->life = cpn_get_u64(block + OWNER_LIFE);
  owner->durable_lsn = cpn_get_u64(block + OWNER_DURABLE);
  owner->process = cpn_get_u64(block + OWNER_PROCESS);
  return CPN_DECODED_OK;
}

void cpn_segment_header_encode(const struct cpn_segment_header *header, const unsigned char *identity,
                               unsigned char block[CPN_BLOCK_SIZE]) {
  cpn_block_begin(block, segment_magic, identity);
  cpn_put_u64(block + SEGMENT_NUMBER, header->number);
  cpn_put_u64(block + SEGMENT_FIRST_LSN, header->first_lsn);
  cpn_put_u64(block + SEGMENT_LIFE, header->life);
  cpn_put_u64(block + SEGMENT_SIZE, header->segment_size);
  cpn_put_u64(block + SEGMENT_TIME, header->time_ns);
  cpn_block_end(block);
}

enum cpn_decoded cpn_segment_header_decode(struct cpn_segment_header *header, const unsigned char *identity,
                                           uint64_t number, const unsigned char block[CPN_BLOCK_SIZE]) {
  enum cpn_decoded decoded = cpn_block_check_of(block, segment_magic, SEGMENT_END, identity, number);
  if (decoded != CPN_DECODED_OK) return decoded;
  header->number = number;
  header->first_lsn = cpn_get_u64(block + SEGMENT_FIRST_LSN);
  header->life = cpn_get_u64(block + SEGMENT_LIFE);
  header->segment_size = cpn_get_u64(block + SEGMENT_SIZE);
  header->time_ns = cpn_get_u64(block + SEGMENT_TIME);
  bool possible = header->first_lsn <= COUPON_LSN_MAX && header->segment_size >= CPN_BLOCK_SIZE &&
                  header->segment_size % CPN_BLOCK_SIZE == 0;
  return possible ? CPN_DECODED_OK : CPN_DECODED_DAMAGED;
}

void cpn_segment_name(uint64_t number, char name[CPN_SEGMENT_NAME_SIZE]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 15; i >= 0; i--, number >>= 4) name[i] = digits[number & 15];
  memcpy(name + 16, ".log", 5);
}

uint64_t cpn_segment_number(const char *name) {
  uint64_t number = 0;
  for (int i = 0; i < 16; i++) {
    char c = name[i];
    unsigned digit;
    if (c >= '0' && c <= '9')
      digit = (unsigned)(c - '0');
    else if (c >= 'a' && c <= 'f')
      digit = (unsigned)(c - 'a') + 10;
    else
      return 0;
    number = number << 4 | digit;
  }
  return strcmp(name + 16, ".log") == 0 ? number : 0;
}

/* --- frames -------------------------------------------------------------------------------------- */

void cpn_frame_seal(struct cpn_frame *frame, const unsigned char *identity, unsigned char *bytes) {
  uint64_t end = CPN_FRAME_HEADER_SIZE + frame->payload_bytes, size = cpn_frame_size(frame->payload_bytes);
  memset(bytes + end, 0, (size_t)(size - end));
  frame->version = CPN_FORMAT_VERSION;
  frame->body_checksum = cpn_checksum(bytes + CPN_FRAME_HEADER_SIZE, (size_t)(size - CPN_FRAME_HEADER_SIZE));
  memcpy(bytes + FRAME_MAGIC, frame_magic, sizeof frame_magic);
  cpn_put_u16(bytes + FRAME_VERSION, frame->version);
  cpn_put_u16(bytes + FRAME_JOINED, frame->joined);
  cpn_put_u64(bytes + FRAME_FIRST_LSN, frame->first_lsn);
  cpn_put_u64(bytes + FRAME_SYNCED_LSN, frame->synced_lsn);
  cpn_put_u64(bytes + FRAME_LIFE, frame->life);
  cpn_put_u32(bytes + FRAME_PAYLOAD_BYTES, frame->payload_bytes);
  cpn_put_u32(bytes + FRAME_PLACE, (uint32_t)(frame->offset / CPN_BLOCK_SIZE));
  cpn_put_u64(bytes + FRAME_SEGMENT, frame->segment);
  cpn_put_u64(bytes + FRAME_BODY_CHECKSUM, frame->body_checksum);
  cpn_put_u64(bytes + FRAME_CHECKSUM, cpn_checksum_two(identity, CPN_IDENTITY_SIZE, bytes, FRAME_CHECKSUM));
}

enum cpn_decoded cpn_frame_decode(struct cpn_frame *frame, const unsigned char *identity, uint64_t segment,
                                  uint64_t offset, const unsigned char header[CPN_FRAME_HEADER_SIZE]) {
  if (memcmp(header + FRAME_MAGIC, frame_magic, sizeof frame_magic) != 0) return CPN_DECODED_NOT;
  if (cpn_get_u64(header + FRAME_CHECKSUM) != cpn_checksum_two(identity, CPN_IDENTITY_SIZE, header, FRAME_CHECKSUM))
    return CPN_DECODED_NOT;
  if (cpn_get_u64(header + FRAME_SEGMENT) != segment) return CPN_DECODED_NOT;
  if ((uint64_t)cpn_get_u32(header + FRAME_PLACE) * CPN_BLOCK_SIZE != offset) return CPN_DECODED_NOT;
  frame->version = cpn_get_u16(header + FRAME_VERSION);
  frame->joined = cpn_get_u16(header + FRAME_JOINED);
  frame->first_lsn = cpn_get_u64(header + FRAME_FIRST_LSN);
  frame->synced_lsn = cpn_get_u64(header + FRAME_SYNCED_LSN);
  frame->life = cpn_get_u64(header + FRAME_LIFE);
  frame->payload_bytes = cpn_get_u32(header + FRAME_PAYLOAD_BYTES);
  frame->segment = segment;
  frame->offset = offset;
  frame->body_checksum = cpn_get_u64(header + FRAME_BODY_CHECKSUM);
  bool possible = frame->payload_bytes >= 8 && frame->payload_bytes % 8 == 0 && frame->first_lsn % 8 == 0 &&
                  frame->first_lsn <= COUPON_LSN_MAX && frame->synced_lsn <= frame->first_lsn &&
                  frame->life <= CPN_LIFE_MAX;
  return possible ? CPN_DECODED_OK : CPN_DECODED_DAMAGED;
}

bool cpn_frame_body_valid(const struct cpn_frame *frame, const unsigned char *bytes) {
  uint64_t size = cpn_frame_size(frame->payload_bytes);
  return frame->body_checksum == cpn_checksum(bytes + CPN_FRAME_HEADER_SIZE, (size_t)(size - CPN_FRAME_HEADER_SIZE));
}

bool cpn_frame_is_known(const struct cpn_frame *frame, const unsigned char *bytes) {
  uint64_t end = CPN_FRAME_HEADER_SIZE + frame->payload_bytes;
  return frame->version == CPN_FORMAT_VERSION &&
         cpn_all_zero(bytes + end, (size_t)(cpn_frame_size(frame->payload_bytes) - end));
}

bool cpn_frame_begins_life(const struct cpn_frame *frame, const unsigned char *bytes) {
  const unsigned char *record = bytes + CPN_FRAME_HEADER_SIZE;
  return frame->payload_bytes >= CPN_SIZE_LIFE && record[0] == CPN_RECORD_LIFE &&
         cpn_get_u64(record + 8) == frame->life;
}

/* --- records ------------------------------------------------------------------------------------- */

uint64_t cpn_record_encode(const struct cpn_record *record, uint64_t *words) {
  switch (record->type) {
    case CPN_RECORD_VOID:
      break; /* the caller knows how many words it gives up; see cpn_buffer_void() */
    case CPN_RECORD_LIFE:
      words[1] = record->life;
      words[2] = record->time_ns;
      words[3] = record->began_lsn;
      return cpn_record_head(record->type, CPN_WORDS_LIFE, 0);
    case CPN_RECORD_END:
      words[1] = record->time_ns;
      return cpn_record_head(record->type, CPN_WORDS_END, 0);
    case CPN_RECORD_OPEN:
    case CPN_RECORD_CLOSE:
      words[1] = record->time_ns;
      return cpn_record_head(record->type, CPN_WORDS_CHANGE, record->campaign);
    case CPN_RECORD_ISSUE:
      words[1] = record->user[0];
      words[2] = record->time_ns;
      return cpn_issue_head(1, record->campaign);
    case CPN_RECORD_ISSUE_UUID:
      words[1] = record->user[0];
      words[2] = record->user[1];
      words[3] = record->time_ns;
      return cpn_issue_head(2, record->campaign);
    case CPN_RECORD_CAMPAIGN:
      words[1] = record->id;
      words[2] = record->stock;
      words[3] = record->user_limit;
      words[4] = record->opens_at_ns;
      words[5] = record->closes_at_ns;
      words[6] = record->time_ns;
      words[7] = record->name_length | (uint64_t)(uint32_t)record->user_kind << 32;
      for (uint32_t i = 0; i < record->name_length; i += 8) {
        unsigned char piece[8] = {0};
        memcpy(piece, record->name + i, cpn_min_u64(8, record->name_length - i));
        words[CPN_WORDS_CAMPAIGN + i / 8] = cpn_get_u64(piece);
      }
      return cpn_record_head(record->type, cpn_campaign_words(record->name_length), record->campaign);
  }
  CPN_INVARIANT(0, false);
  return 0;
}

static enum cpn_decoded decode_campaign(struct cpn_record *record, const unsigned char *bytes, uint32_t words) {
  if (words < CPN_WORDS_CAMPAIGN) return CPN_DECODED_DAMAGED;
  record->id = cpn_get_u64(bytes + 8);
  record->stock = cpn_get_u64(bytes + 16);
  record->user_limit = cpn_get_u64(bytes + 24);
  record->opens_at_ns = cpn_get_u64(bytes + 32);
  record->closes_at_ns = cpn_get_u64(bytes + 40);
  record->time_ns = cpn_get_u64(bytes + 48);
  record->name_length = cpn_get_u32(bytes + 56);
  record->name = (const char *)bytes + 64;
  uint32_t kind = cpn_get_u32(bytes + 60);
  if (kind > COUPON_USER_UUID || record->user_limit > 1) return CPN_DECODED_NEWER;
  record->user_kind = (int32_t)kind;
  if (record->name_length > COUPON_NAME_MAX || words != cpn_campaign_words(record->name_length))
    return CPN_DECODED_DAMAGED;
  size_t padding = (size_t)words * 8 - 64 - record->name_length;
  if (!cpn_all_zero(bytes + 64 + record->name_length, padding)) return CPN_DECODED_NEWER;
  bool possible = record->stock <= COUPON_STOCK_MAX &&
                  (record->closes_at_ns == 0 || record->closes_at_ns > record->opens_at_ns) &&
                  memchr(record->name, 0, record->name_length) == NULL;
  return possible ? CPN_DECODED_OK : CPN_DECODED_DAMAGED;
}

/* Those that concern no campaign name none. */
static bool campaign_is_possible(const struct cpn_record *record) {
  bool general = record->type == CPN_RECORD_VOID || record->type == CPN_RECORD_LIFE || record->type == CPN_RECORD_END;
  return !general || record->campaign == 0;
}

static enum cpn_decoded decode_by_type(struct cpn_record *record, const unsigned char *bytes, uint32_t words) {
  switch (record->type) {
    case CPN_RECORD_VOID:
      return cpn_all_zero(bytes + 8, (size_t)words * 8 - 8) ? CPN_DECODED_OK : CPN_DECODED_NEWER;
    case CPN_RECORD_LIFE:
      if (words != CPN_WORDS_LIFE) return CPN_DECODED_DAMAGED;
      record->life = cpn_get_u64(bytes + 8);
      record->time_ns = cpn_get_u64(bytes + 16);
      record->began_lsn = cpn_get_u64(bytes + 24);
      return CPN_DECODED_OK;
    case CPN_RECORD_END:
    case CPN_RECORD_OPEN:
    case CPN_RECORD_CLOSE:
      if (words != CPN_WORDS_CHANGE) return CPN_DECODED_DAMAGED;
      record->time_ns = cpn_get_u64(bytes + 8);
      return CPN_DECODED_OK;
    case CPN_RECORD_ISSUE:
      if (words != CPN_WORDS_ISSUE) return CPN_DECODED_DAMAGED;
      record->user[0] = cpn_get_u64(bytes + 8);
      record->time_ns = cpn_get_u64(bytes + 16);
      return CPN_DECODED_OK;
    case CPN_RECORD_ISSUE_UUID:
      if (words != CPN_WORDS_ISSUE_UUID) return CPN_DECODED_DAMAGED;
      record->user[0] = cpn_get_u64(bytes + 8);
      record->user[1] = cpn_get_u64(bytes + 16);
      record->time_ns = cpn_get_u64(bytes + 24);
      return CPN_DECODED_OK;
    case CPN_RECORD_CAMPAIGN:
      return decode_campaign(record, bytes, words);
  }
  return CPN_DECODED_NEWER;
}

_Static_assert(CPN_WORDS_END == CPN_WORDS_CHANGE, "END, OPEN and CLOSE are decoded alike");

enum cpn_decoded cpn_record_decode(struct cpn_record *record, const unsigned char *bytes, size_t size, size_t *length) {
  if (size < 8) return CPN_DECODED_DAMAGED;
  uint64_t head = cpn_get_u64(bytes);
  uint32_t words = cpn_record_words(head);
  if (words == 0 || (size_t)words * 8 > size) return CPN_DECODED_DAMAGED;
  unsigned type = (unsigned)(head & 0xff), flags = (unsigned)(head >> 8 & 0xff);
  if (type == 0) return CPN_DECODED_DAMAGED;
  if (type > CPN_RECORD_ISSUE_UUID || flags != 0) return CPN_DECODED_NEWER;
  memset(record, 0, sizeof *record);
  record->type = (enum cpn_record_type)type;
  record->campaign = (uint32_t)(head >> 32);
  *length = (size_t)words * 8;
  if (!campaign_is_possible(record)) return CPN_DECODED_DAMAGED;
  return decode_by_type(record, bytes, words);
}
