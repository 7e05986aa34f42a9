/* SPDX-License-Identifier: Apache-2.0 */
/* The story is told by checkpoint_read() at the end; above it, the first block, campaigns, their tickets. */
#include "verify_checkpoint.h"

#include "verify_chunk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LSN_MAX (UINT64_C(1) << 48)
#define STOCK_MAX (UINT64_C(1) << 40)
#define CAMPAIGNS_MAX (UINT64_C(1) << 24)

enum { CAMPAIGN_BYTES = 104, NAME_MAX_BYTES = 255, RELEASED = 1, DROPPED = 2 };

struct checkpoint {
  struct chunks chunks;
  int directory;
  struct checkpoint_finding *finding;
  struct chunk_campaign *kept;
  uint64_t count; /* of them, so far */
  uint64_t last;  /* the campaign whose tickets came last */
};

static bool damaged(struct checkpoint *c, uint64_t offset, const char *why) {
  return chunk_damaged(&c->chunks, offset, why);
}

void checkpoint_file_name(uint64_t number, char name[READ_FILE_MAX]) {
  snprintf(name, READ_FILE_MAX, "%016llx.checkpoint", (unsigned long long)number);
}

/* --- campaigns -------------------------------------------------------------------------------- */

static struct checkpoint_campaign campaign_at(const unsigned char *b) {
  uint32_t flags = read_u32(b + 80);
  return (struct checkpoint_campaign){.id = read_u64(b),
                                      .stock = read_u64(b + 8),
                                      .user_limit = read_u64(b + 16),
                                      .opens_at_ns = read_u64(b + 24),
                                      .closes_at_ns = read_u64(b + 32),
                                      .name_length = read_u32(b + 40),
                                      .user_kind = read_u32(b + 44),
                                      .name = b + CAMPAIGN_BYTES,
                                      .created_lsn = read_u64(b + 48),
                                      .opened_lsn = read_u64(b + 56),
                                      .closed_lsn = read_u64(b + 64),
                                      .tickets = read_u64(b + 72),
                                      .released = (flags & RELEASED) != 0,
                                      .dropped = (flags & DROPPED) != 0,
                                      .since = read_u64(b + 88),
                                      .file_check = read_u64(b + 96)};
}

/* CREATED < OPEN < CLOSE, none behind C; whether there is an OPEN or a CLOSE has to suit the times. */
static bool lsns_can_be(const struct checkpoint *c, const struct checkpoint_campaign *k) {
  uint64_t before = c->count == 0 ? 0 : c->kept[c->count - 1].says.created_lsn;
  if ((k->created_lsn | k->opened_lsn | k->closed_lsn) % 8 != 0) return false;
  if (k->created_lsn <= before || k->created_lsn > c->finding->lsn) return false;
  if (k->opened_lsn != 0 && (k->opens_at_ns == 0 || k->opened_lsn <= k->created_lsn)) return false;
  if (k->opened_lsn > c->finding->lsn || k->closed_lsn > c->finding->lsn) return false;
  if (k->closed_lsn == 0) return true;
  return k->closes_at_ns != 0 && k->closed_lsn > k->created_lsn && k->closed_lsn > k->opened_lsn &&
         (k->opens_at_ns == 0 || k->opened_lsn != 0);
}

static const char *why_not(const struct checkpoint *c, const struct checkpoint_campaign *k) {
  for (uint64_t i = 0; i < c->count; i++)
    if (c->kept[i].says.id == k->id) return "two campaigns have one id";
  if (k->stock > STOCK_MAX || k->tickets > k->stock)
    return "a campaign has too large a stock, or more tickets than stock";
  if (k->closes_at_ns != 0 && k->closes_at_ns <= k->opens_at_ns) return "a campaign closes before it opens";
  if (memchr(k->name, 0, k->name_length) != NULL) return "a campaign's name has a zero in it";
  if (!lsns_can_be(c, k)) return "a campaign's LSNs cannot be";
  if (k->tickets > 0 && k->opens_at_ns != 0 && k->opened_lsn == 0) return "a campaign that has not opened has tickets";
  if (k->dropped && !k->released) return "a campaign's tickets are dropped that were not released";
  if (k->released ? k->closed_lsn == 0 : k->since != 0)
    return "a campaign is released that has not closed, or was never";
  if (k->released && (k->since == 0 || k->since > c->chunks.number))
    return "a campaign was released by a later checkpoint";
  return (!k->released || k->dropped) && k->file_check != 0 ? "a campaign names a tickets file that it cannot have"
                                                            : NULL;
}

/* One campaign. Returns its length, or 0. */
static uint64_t take_campaign(struct checkpoint *c, const unsigned char *b, uint64_t room, uint64_t offset) {
  if (room < CAMPAIGN_BYTES) return damaged(c, offset, "campaigns do not fill their chunk");
  struct checkpoint_campaign k = campaign_at(b);
  if (k.user_limit > 1 || k.user_kind > KIND_UUID || read_u32(b + 80) > (RELEASED | DROPPED) || read_u32(b + 84) != 0)
    return chunk_judge(&c->chunks, READ_NEWER, offset, "a campaign has a value that version 1 never writes");
  uint64_t length = CAMPAIGN_BYTES + (k.name_length + UINT64_C(7)) / 8 * 8;
  if (k.name_length > NAME_MAX_BYTES || length > room) return damaged(c, offset, "a campaign's name is too long");
  if (!file_all_zero(b + CAMPAIGN_BYTES + k.name_length, length - CAMPAIGN_BYTES - k.name_length))
    return chunk_judge(&c->chunks, READ_NEWER, offset, "a campaign's padding is not zero");
  const char *why = why_not(c, &k);
  if (why != NULL) return damaged(c, offset, why);
  if (c->count == c->finding->campaigns)
    return damaged(c, offset, "there are more campaigns than the first block says");
  uint64_t open = k.opened_lsn > k.created_lsn ? k.opened_lsn : k.created_lsn;
  if (c->chunks.visitor->campaign != NULL) c->chunks.visitor->campaign(c->chunks.visitor->context, c->count, &k);
  k.name = NULL;
  c->kept[c->count++] = (struct chunk_campaign){.says = k, .last_lsn = open};
  return length;
}

static bool take_campaigns(struct checkpoint *c, const unsigned char *chunk, uint64_t offset) {
  uint64_t payload = read_u32(chunk + 40), at = 0;
  if (c->chunks.tickets > 0 || read_u32(chunk + 24) != c->count)
    return damaged(c, offset, "campaigns are not in order");
  for (uint32_t left = read_u32(chunk + 28); left > 0; left--) {
    uint64_t length = take_campaign(c, chunk + CHUNK_HEADER + at, payload - at, offset);
    if (length == 0) return false;
    at += length;
  }
  return at == payload || damaged(c, offset, "campaigns do not fill their chunk");
}

/* --- tickets ---------------------------------------------------------------------------------- */

static bool take_tickets(struct checkpoint *c, const unsigned char *chunk, uint64_t offset) {
  uint64_t index = read_u32(chunk + 24);
  if (c->count != c->finding->campaigns || index >= c->count || index < c->last)
    return damaged(c, offset, "tickets are not in the order of their campaigns");
  c->last = index;
  if (c->kept[index].says.released) return damaged(c, offset, "a released campaign has tickets here");
  return chunk_take_tickets(&c->chunks, chunk, offset, index, &c->kept[index]);
}

/* The files of released campaigns. One that is not the one meant is the checkpoint's fault, what is wrong within is
 * told beside: opening does not look at it. */
static bool take_tickets_files(struct checkpoint *c) {
  for (uint64_t i = 0; i < c->count && c->directory >= 0; i++) {
    struct tickets_finding found;
    if (!c->kept[i].says.released || c->kept[i].says.dropped) continue;
    tickets_read(c->directory, &c->chunks, i, &c->kept[i], &found);
    if (found.verdict == READ_OK) continue;
    c->finding->tickets_fault = found;
    if (!found.meant) return chunk_judge(&c->chunks, found.verdict, 0, found.why);
  }
  return true;
}

/* --- the file --------------------------------------------------------------------------------- */

static bool take_chunk(struct checkpoint *c, uint64_t *offset) {
  const uint64_t here = *offset;
  unsigned kind;
  const unsigned char *chunk = chunk_next(&c->chunks, offset, &kind);
  if (chunk == NULL) return false;
  return kind == CHUNK_CAMPAIGNS ? take_campaigns(c, chunk, here) : take_tickets(c, chunk, here);
}

/* The first block. */
static bool take_head(struct checkpoint *c) {
  struct checkpoint_finding *f = c->finding;
  const unsigned char *h = c->chunks.file->size < FILE_BLOCK ? NULL : file_view(c->chunks.file, 0, FILE_BLOCK);
  if (h == NULL) return damaged(c, 0, "the file has no first block");
  if (memcmp(h, "CPNCHKPT", 8) != 0 || file_checksum(h, 504) != read_u64(h + 504) ||
      memcmp(h + 16, c->chunks.identity, FILE_IDENTITY) != 0 || read_u64(h + 32) != c->chunks.number)
    return damaged(c, 0, "the first block is damaged, or another's");
  if (read_u32(h + 8) != 1 || read_u32(h + 12) != FILE_BLOCK || !file_all_zero(h + 128, 376))
    return chunk_judge(&c->chunks, READ_NEWER, 0,
                       "the checkpoint's version, or bytes of its first block, are unknown to version 1");
  f->lsn = read_u64(h + 40);
  f->life = read_u64(h + 48);
  f->time_ns = read_u64(h + 56);
  f->segment = read_u64(h + 64);
  f->segment_offset = read_u64(h + 72);
  f->campaigns = read_u64(h + 80);
  f->tickets = read_u64(h + 88);
  f->size = read_u64(h + 96);
  f->chunks = read_u64(h + 104);
  f->digest = read_u64(h + 112);
  if (f->lsn == 0 || f->lsn % 8 != 0 || f->lsn > LSN_MAX || f->life == 0 || f->life == UINT64_MAX || f->segment == 0 ||
      f->segment_offset <= FILE_BLOCK || f->segment_offset % FILE_BLOCK != 0 || f->campaigns > CAMPAIGNS_MAX ||
      f->size % FILE_BLOCK != 0)
    return damaged(c, 0, "the first block says what cannot be");
  f->known = true;
  c->chunks.size = f->size;
  c->chunks.lsn = f->lsn;
  c->chunks.time_ns = f->time_ns;
  return (f->size >= FILE_BLOCK && f->size <= c->chunks.file->size) ||
         damaged(c, c->chunks.file->size, "the file is too short");
}

static bool complete(struct checkpoint *c) {
  const struct checkpoint_finding *f = c->finding;
  if (c->chunks.count != f->chunks || c->chunks.digest != f->digest)
    return damaged(c, f->size, "the chunks are not those that the first block speaks of");
  if (c->count != f->campaigns || c->chunks.tickets != f->tickets)
    return damaged(c, f->size, "there are fewer campaigns or tickets than the first block says");
  for (uint64_t i = 0; i < c->count; i++)
    if (!c->kept[i].says.released && c->kept[i].found != c->kept[i].says.tickets)
      return damaged(c, f->size, "a campaign has fewer tickets than it says");
  return true;
}

static void read_chunks(struct checkpoint *c) {
  /* No more campaigns than there is room for, whatever the first block says. */
  uint64_t most = c->finding->size / CAMPAIGN_BYTES + 1, says = c->finding->campaigns;
  c->kept = calloc((size_t)(says < most ? says : most) + 1, sizeof *c->kept);
  if (c->kept == NULL) {
    chunk_judge(&c->chunks, READ_UNREADABLE, 0, "memory is used up");
    return;
  }
  uint64_t offset = FILE_BLOCK;
  bool good = true;
  while (good && offset < c->finding->size) good = take_chunk(c, &offset);
  if (good && complete(c)) take_tickets_files(c);
  free(c->kept);
}

void checkpoint_read(struct file *file, int directory, const unsigned char *identity, uint64_t number,
                     const struct checkpoint_visitor *visitor, struct checkpoint_finding *finding) {
  *finding = (struct checkpoint_finding){.verdict = READ_OK};
  struct checkpoint c = {
      .chunks = {.file = file, .identity = identity, .magic = "CPNC", .number = number, .visitor = visitor},
      .directory = directory,
      .finding = finding};
  if (take_head(&c)) read_chunks(&c);
  finding->verdict = c.chunks.verdict;
  finding->offset = c.chunks.offset;
  finding->why = c.chunks.why;
}
