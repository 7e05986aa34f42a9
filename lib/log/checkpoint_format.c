/* SPDX-License-Identifier: Apache-2.0 */
#include "log/checkpoint_format.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "coupon/coupon.h"
#include "log/format_block.h"

/* The offsets of docs/FORMAT.md. */
enum {
  CHECKPOINT_NUMBER = 32,
  CHECKPOINT_LSN = 40,
  CHECKPOINT_LIFE = 48,
  CHECKPOINT_TIME = 56,
  CHECKPOINT_SEGMENT = 64,
  CHECKPOINT_OFFSET = 72,
  CHECKPOINT_CAMPAIGNS = 80,
  CHECKPOINT_TICKETS = 88,
  CHECKPOINT_SIZE = 96,
  CHECKPOINT_CHUNKS = 104,
  CHECKPOINT_DIGEST = 112,
  CHECKPOINT_WRITTEN = 120,
  CHECKPOINT_END = 128,

  FILE_CAMPAIGN = 32,
  FILE_ID = 40,
  FILE_TICKETS = 48,
  FILE_KIND = 56,
  FILE_ZERO = 60,
  FILE_SIZE = 64,
  FILE_CHUNKS = 72,
  FILE_DIGEST = 80,
  FILE_LAST = 88,
  FILE_END = 96,

  CHUNK_MAGIC = 0,
  CHUNK_VERSION = 4,
  CHUNK_KIND = 6,
  CHUNK_FILE = 8,
  CHUNK_PLACE = 16,
  CHUNK_CAMPAIGN = 24,
  CHUNK_COUNT = 28,
  CHUNK_FIRST_NUMBER = 32,
  CHUNK_PAYLOAD_BYTES = 40,
  CHUNK_ZERO = 44,
  CHUNK_BODY_CHECKSUM = 48,
  CHUNK_CHECKSUM = 56
};

_Static_assert(CHUNK_CHECKSUM + 8 == CPN_CHUNK_HEADER_SIZE, "the checksum ends the chunk's header");
_Static_assert(CPN_CHUNK_TICKETS_MAX * 32 + CPN_CHUNK_TICKETS_MAX / CPN_TICKETS_PAGE * 40 <= CPN_CHUNK_PAYLOAD_MAX,
               "the largest tickets fit");

static const unsigned char checkpoint_magic[8] = {'C', 'P', 'N', 'C', 'H', 'K', 'P', 'T'};
static const unsigned char tickets_magic[8] = {'C', 'P', 'N', 'T', 'I', 'C', 'K', 'T'};
static const unsigned char chunk_magic[2][4] = {{'C', 'P', 'N', 'C'}, {'C', 'P', 'N', 'T'}};

/* --- names --------------------------------------------------------------------------------------- */

static void name_put(uint64_t number, const char *suffix, char name[CPN_CHECKPOINT_NAME_SIZE]) {
  char segment[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(number, segment); /* all names begin alike */
  memcpy(name, segment, 16);
  memcpy(name + 16, suffix, strlen(suffix) + 1);
}

/* Whether `name` is 16 digits and the suffix. */
static bool name_get(const char *name, const char *suffix, uint64_t *number) {
  size_t length = strnlen(name, CPN_CHECKPOINT_NAME_SIZE);
  if (length != 16 + strlen(suffix) || strcmp(name + 16, suffix) != 0) return false;
  char segment[CPN_SEGMENT_NAME_SIZE];
  memcpy(segment, name, 16);
  memcpy(segment + 16, ".log", 5);
  *number = cpn_segment_number(segment);
  return *number != 0 || strspn(name, "0") >= 16; /* 0 says "none" of segments; campaigns begin with it */
}

void cpn_checkpoint_name(uint64_t number, char name[CPN_CHECKPOINT_NAME_SIZE]) {
  name_put(number, ".checkpoint", name);
}

uint64_t cpn_checkpoint_number(const char *name) {
  uint64_t number = 0;
  return name_get(name, ".checkpoint", &number) ? number : 0;
}

void cpn_tickets_file_name(uint64_t campaign, char name[CPN_CHECKPOINT_NAME_SIZE]) {
  name_put(campaign, ".tickets", name);
}

bool cpn_tickets_file_campaign(const char *name, uint64_t *campaign) { return name_get(name, ".tickets", campaign); }

/* --- the first block ----------------------------------------------------------------------------- */

void cpn_checkpoint_header_encode(const struct cpn_checkpoint_header *header, const unsigned char *identity,
                                  unsigned char block[CPN_BLOCK_SIZE]) {
  cpn_block_begin(block, checkpoint_magic, identity);
  cpn_put_u64(block + CHECKPOINT_NUMBER, header->number);
  cpn_put_u64(block + CHECKPOINT_LSN, header->lsn);
  cpn_put_u64(block + CHECKPOINT_LIFE, header->life);
  cpn_put_u64(block + CHECKPOINT_TIME, header->time_ns);
  cpn_put_u64(block + CHECKPOINT_SEGMENT, header->segment);
  cpn_put_u64(block + CHECKPOINT_OFFSET, header->offset);
  cpn_put_u64(block + CHECKPOINT_CAMPAIGNS, header->campaigns);
  cpn_put_u64(block + CHECKPOINT_TICKETS, header->tickets);
  cpn_put_u64(block + CHECKPOINT_SIZE, header->size);
  cpn_put_u64(block + CHECKPOINT_CHUNKS, header->chunks);
  cpn_put_u64(block + CHECKPOINT_DIGEST, header->digest);
  cpn_put_u64(block + CHECKPOINT_WRITTEN, header->written_ns);
  cpn_block_end(block);
}

enum cpn_decoded cpn_checkpoint_header_decode(struct cpn_checkpoint_header *header, const unsigned char *identity,
                                              uint64_t number, const unsigned char block[CPN_BLOCK_SIZE]) {
  enum cpn_decoded decoded = cpn_block_check_of(block, checkpoint_magic, CHECKPOINT_END, identity, number);
  if (decoded != CPN_DECODED_OK) return decoded;
  header->number = number;
  header->lsn = cpn_get_u64(block + CHECKPOINT_LSN);
  header->life = cpn_get_u64(block + CHECKPOINT_LIFE);
  header->time_ns = cpn_get_u64(block + CHECKPOINT_TIME);
  header->segment = cpn_get_u64(block + CHECKPOINT_SEGMENT);
  header->offset = cpn_get_u64(block + CHECKPOINT_OFFSET);
  header->campaigns = cpn_get_u64(block + CHECKPOINT_CAMPAIGNS);
  header->tickets = cpn_get_u64(block + CHECKPOINT_TICKETS);
  header->size = cpn_get_u64(block + CHECKPOINT_SIZE);
  header->chunks = cpn_get_u64(block + CHECKPOINT_CHUNKS);
  header->digest = cpn_get_u64(block + CHECKPOINT_DIGEST);
  header->written_ns = cpn_get_u64(block + CHECKPOINT_WRITTEN);
  bool possible = header->lsn <= COUPON_LSN_MAX && header->lsn % 8 == 0 && header->lsn != 0 && header->life != 0 &&
                  header->life <= CPN_LIFE_MAX && header->segment != 0 && header->offset > CPN_BLOCK_SIZE &&
                  header->offset % CPN_BLOCK_SIZE == 0 && header->campaigns <= COUPON_CAMPAIGNS_MAX &&
                  header->size % CPN_BLOCK_SIZE == 0;
  return possible ? CPN_DECODED_OK : CPN_DECODED_DAMAGED;
}

void cpn_tickets_header_encode(const struct cpn_tickets_header *header, const unsigned char *identity,
                               unsigned char block[CPN_BLOCK_SIZE]) {
  cpn_block_begin(block, tickets_magic, identity);
  cpn_put_u64(block + FILE_CAMPAIGN, header->campaign);
  cpn_put_u64(block + FILE_ID, header->id);
  cpn_put_u64(block + FILE_TICKETS, header->tickets);
  cpn_put_u32(block + FILE_KIND, (uint32_t)header->user_kind);
  cpn_put_u64(block + FILE_SIZE, header->size);
  cpn_put_u64(block + FILE_CHUNKS, header->chunks);
  cpn_put_u64(block + FILE_DIGEST, header->digest);
  cpn_put_u64(block + FILE_LAST, header->last_ns);
  cpn_block_end(block);
}

enum cpn_decoded cpn_tickets_header_decode(struct cpn_tickets_header *header, const unsigned char *identity,
                                           uint64_t campaign, const unsigned char block[CPN_BLOCK_SIZE]) {
  enum cpn_decoded decoded = cpn_block_check_of(block, tickets_magic, FILE_END, identity, campaign);
  if (decoded != CPN_DECODED_OK) return decoded;
  uint32_t kind = cpn_get_u32(block + FILE_KIND);
  if (kind > COUPON_USER_UUID || cpn_get_u32(block + FILE_ZERO) != 0) return CPN_DECODED_NEWER;
  header->campaign = campaign;
  header->id = cpn_get_u64(block + FILE_ID);
  header->tickets = cpn_get_u64(block + FILE_TICKETS);
  header->user_kind = (int32_t)kind;
  header->size = cpn_get_u64(block + FILE_SIZE);
  header->chunks = cpn_get_u64(block + FILE_CHUNKS);
  header->digest = cpn_get_u64(block + FILE_DIGEST);
  header->last_ns = cpn_get_u64(block + FILE_LAST);
  return header->size % CPN_BLOCK_SIZE == 0 ? CPN_DECODED_OK : CPN_DECODED_DAMAGED;
}

/* --- chunks -------------------------------------------------------------------------------------- */

void cpn_chunk_seal(struct cpn_chunk *chunk, const unsigned char *identity, unsigned char *bytes) {
  const size_t end = CPN_CHUNK_HEADER_SIZE + (size_t)chunk->payload_bytes, size = cpn_chunk_size(chunk->payload_bytes);
  memset(bytes + end, 0, size - end);
  chunk->version = CPN_FORMAT_VERSION;
  chunk->body_checksum = cpn_checksum(bytes + CPN_CHUNK_HEADER_SIZE, size - CPN_CHUNK_HEADER_SIZE);
  memcpy(bytes + CHUNK_MAGIC, chunk_magic[chunk->home], 4);
  cpn_put_u16(bytes + CHUNK_VERSION, chunk->version);
  cpn_put_u16(bytes + CHUNK_KIND, chunk->kind);
  cpn_put_u64(bytes + CHUNK_FILE, chunk->file);
  cpn_put_u64(bytes + CHUNK_PLACE, chunk->place);
  cpn_put_u32(bytes + CHUNK_CAMPAIGN, chunk->campaign);
  cpn_put_u32(bytes + CHUNK_COUNT, chunk->count);
  cpn_put_u64(bytes + CHUNK_FIRST_NUMBER, chunk->first_number);
  cpn_put_u32(bytes + CHUNK_PAYLOAD_BYTES, chunk->payload_bytes);
  cpn_put_u32(bytes + CHUNK_ZERO, 0);
  cpn_put_u64(bytes + CHUNK_BODY_CHECKSUM, chunk->body_checksum);
  chunk->checksum = cpn_checksum_two(identity, CPN_IDENTITY_SIZE, bytes, CHUNK_CHECKSUM);
  cpn_put_u64(bytes + CHUNK_CHECKSUM, chunk->checksum);
}

static bool chunk_is_possible(const struct cpn_chunk *chunk) {
  bool tickets = chunk->kind == CPN_CHUNK_TICKETS;
  return chunk->count != 0 && chunk->payload_bytes != 0 && chunk->payload_bytes % 8 == 0 &&
         chunk->payload_bytes <= CPN_CHUNK_PAYLOAD_MAX && (chunk->first_number != 0) == tickets &&
         (!tickets || chunk->count <= CPN_CHUNK_TICKETS_MAX) && (tickets || chunk->home == CPN_CHUNK_OF_CHECKPOINT);
}

enum cpn_decoded cpn_chunk_decode(struct cpn_chunk *chunk, const unsigned char *identity,
                                  const unsigned char header[CPN_CHUNK_HEADER_SIZE]) {
  if (memcmp(header + CHUNK_MAGIC, chunk_magic[chunk->home], 4) != 0) return CPN_DECODED_NOT;
  chunk->checksum = cpn_get_u64(header + CHUNK_CHECKSUM);
  if (chunk->checksum != cpn_checksum_two(identity, CPN_IDENTITY_SIZE, header, CHUNK_CHECKSUM)) return CPN_DECODED_NOT;
  if (cpn_get_u64(header + CHUNK_FILE) != chunk->file || cpn_get_u64(header + CHUNK_PLACE) != chunk->place)
    return CPN_DECODED_NOT;
  chunk->version = cpn_get_u16(header + CHUNK_VERSION);
  chunk->kind = cpn_get_u16(header + CHUNK_KIND);
  chunk->campaign = cpn_get_u32(header + CHUNK_CAMPAIGN);
  chunk->count = cpn_get_u32(header + CHUNK_COUNT);
  chunk->first_number = cpn_get_u64(header + CHUNK_FIRST_NUMBER);
  chunk->payload_bytes = cpn_get_u32(header + CHUNK_PAYLOAD_BYTES);
  chunk->body_checksum = cpn_get_u64(header + CHUNK_BODY_CHECKSUM);
  if (chunk->version != CPN_FORMAT_VERSION || cpn_get_u32(header + CHUNK_ZERO) != 0) return CPN_DECODED_NEWER;
  if (chunk->kind != CPN_CHUNK_CAMPAIGNS && chunk->kind != CPN_CHUNK_TICKETS) return CPN_DECODED_NEWER;
  return chunk_is_possible(chunk) ? CPN_DECODED_OK : CPN_DECODED_DAMAGED;
}

bool cpn_chunk_body_valid(const struct cpn_chunk *chunk, const unsigned char *bytes) {
  const size_t size = (size_t)cpn_chunk_size(chunk->payload_bytes);
  return chunk->body_checksum == cpn_checksum(bytes + CPN_CHUNK_HEADER_SIZE, size - CPN_CHUNK_HEADER_SIZE);
}

uint64_t cpn_chunk_digest(uint64_t digest, const struct cpn_chunk *chunk) {
  unsigned char both[16];
  cpn_put_u64(both, digest);
  cpn_put_u64(both + 8, chunk->checksum);
  return cpn_checksum(both, sizeof both);
}

/* --- campaigns ----------------------------------------------------------------------------------- */

enum {
  KEPT_ID = 0,
  KEPT_STOCK = 8,
  KEPT_LIMIT = 16,
  KEPT_OPENS = 24,
  KEPT_CLOSES = 32,
  KEPT_NAME_LENGTH = 40,
  KEPT_KIND = 44,
  KEPT_CREATED = 48,
  KEPT_OPENED = 56,
  KEPT_CLOSED = 64,
  KEPT_TICKETS = 72,
  KEPT_FLAGS = 80,
  KEPT_ZERO = 84,
  KEPT_SINCE = 88,
  KEPT_FILE_CHECK = 96,
  KEPT_NAME = 104
};
_Static_assert(KEPT_NAME == CPN_KEPT_CAMPAIGN_SIZE, "the name is last");

size_t cpn_kept_campaign_encode(const struct cpn_kept_campaign *campaign, unsigned char *bytes) {
  const size_t length = KEPT_NAME + (size_t)cpn_round_up(campaign->name_length, 8);
  memset(bytes, 0, length);
  cpn_put_u64(bytes + KEPT_ID, campaign->id);
  cpn_put_u64(bytes + KEPT_STOCK, campaign->stock);
  cpn_put_u64(bytes + KEPT_LIMIT, campaign->user_limit);
  cpn_put_u64(bytes + KEPT_OPENS, campaign->opens_at_ns);
  cpn_put_u64(bytes + KEPT_CLOSES, campaign->closes_at_ns);
  cpn_put_u32(bytes + KEPT_NAME_LENGTH, campaign->name_length);
  cpn_put_u32(bytes + KEPT_KIND, (uint32_t)campaign->user_kind);
  cpn_put_u64(bytes + KEPT_CREATED, campaign->created_lsn);
  cpn_put_u64(bytes + KEPT_OPENED, campaign->opened_lsn);
  cpn_put_u64(bytes + KEPT_CLOSED, campaign->closed_lsn);
  cpn_put_u64(bytes + KEPT_TICKETS, campaign->tickets);
  cpn_put_u32(bytes + KEPT_FLAGS, campaign->flags);
  cpn_put_u64(bytes + KEPT_SINCE, campaign->since);
  cpn_put_u64(bytes + KEPT_FILE_CHECK, campaign->file_check);
  memcpy(bytes + KEPT_NAME, campaign->name, campaign->name_length);
  return length;
}

static bool kept_lsns_are_possible(const struct cpn_kept_campaign *campaign) {
  const uint64_t opened = campaign->opened_lsn, closed = campaign->closed_lsn;
  if (campaign->created_lsn == 0 || (campaign->created_lsn | opened | closed) % 8 != 0) return false;
  if (opened != 0 && (campaign->opens_at_ns == 0 || opened <= campaign->created_lsn)) return false;
  if (closed == 0) return true;
  bool could_close = campaign->closes_at_ns != 0 && (campaign->opens_at_ns == 0 || opened != 0);
  return could_close && closed > campaign->created_lsn && closed > opened;
}

static bool kept_is_possible(const struct cpn_kept_campaign *campaign) {
  bool released = (campaign->flags & CPN_KEPT_RELEASED) != 0, dropped = (campaign->flags & CPN_KEPT_DROPPED) != 0;
  bool window = campaign->closes_at_ns == 0 || campaign->closes_at_ns > campaign->opens_at_ns;
  return window && campaign->stock <= COUPON_STOCK_MAX && campaign->tickets <= campaign->stock &&
         memchr(campaign->name, 0, campaign->name_length) == NULL && kept_lsns_are_possible(campaign) &&
         (!dropped || released) && (!released || campaign->closed_lsn != 0) && (campaign->since != 0) == released &&
         (campaign->file_check == 0 || (released && !dropped));
}

enum cpn_decoded cpn_kept_campaign_decode(struct cpn_kept_campaign *campaign, const unsigned char *bytes, size_t size,
                                          size_t *length) {
  if (size < KEPT_NAME) return CPN_DECODED_DAMAGED;
  const uint32_t kind = cpn_get_u32(bytes + KEPT_KIND);
  *campaign = (struct cpn_kept_campaign){.id = cpn_get_u64(bytes + KEPT_ID),
                                         .stock = cpn_get_u64(bytes + KEPT_STOCK),
                                         .user_limit = cpn_get_u64(bytes + KEPT_LIMIT),
                                         .opens_at_ns = cpn_get_u64(bytes + KEPT_OPENS),
                                         .closes_at_ns = cpn_get_u64(bytes + KEPT_CLOSES),
                                         .name_length = cpn_get_u32(bytes + KEPT_NAME_LENGTH),
                                         .user_kind = (int32_t)(kind & 1),
                                         .name = (const char *)bytes + KEPT_NAME,
                                         .created_lsn = cpn_get_u64(bytes + KEPT_CREATED),
                                         .opened_lsn = cpn_get_u64(bytes + KEPT_OPENED),
                                         .closed_lsn = cpn_get_u64(bytes + KEPT_CLOSED),
                                         .tickets = cpn_get_u64(bytes + KEPT_TICKETS),
                                         .flags = cpn_get_u32(bytes + KEPT_FLAGS),
                                         .since = cpn_get_u64(bytes + KEPT_SINCE),
                                         .file_check = cpn_get_u64(bytes + KEPT_FILE_CHECK)};
  const uint32_t known = CPN_KEPT_RELEASED | CPN_KEPT_DROPPED;
  if (kind > COUPON_USER_UUID || campaign->user_limit > 1) return CPN_DECODED_NEWER;
  if ((campaign->flags & ~known) != 0 || cpn_get_u32(bytes + KEPT_ZERO) != 0) return CPN_DECODED_NEWER;
  if (campaign->name_length > COUPON_NAME_MAX) return CPN_DECODED_DAMAGED;
  *length = KEPT_NAME + (size_t)cpn_round_up(campaign->name_length, 8);
  if (*length > size) return CPN_DECODED_DAMAGED;
  const size_t named = KEPT_NAME + (size_t)campaign->name_length;
  if (!cpn_all_zero(bytes + named, *length - named)) return CPN_DECODED_NEWER;
  return kept_is_possible(campaign) ? CPN_DECODED_OK : CPN_DECODED_DAMAGED;
}
