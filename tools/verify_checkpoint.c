/* SPDX-License-Identifier: Apache-2.0 */
/* The story is told by checkpoint_read() at the end; above it, a chunk, its campaigns, its tickets. */
#include "verify_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LSN_MAX (UINT64_C(1) << 48)
#define STOCK_MAX (UINT64_C(1) << 40)
#define CAMPAIGNS_MAX (UINT64_C(1) << 24)

enum { HEADER = 64, PAYLOAD_MAX = 1 << 20, TICKETS_MAX = 16384, PAGE = 256, PAGE_HEADER = 32, NAME_MAX_BYTES = 255 };
enum { CAMPAIGN_BYTES = 104, RELEASED = 1, DROPPED = 2 };
enum { KIND_CAMPAIGNS = 1, KIND_TICKETS = 2 };

/* What is kept of a campaign, to hold its tickets to. */
struct kept {
  struct checkpoint_campaign says;
  uint64_t found, last_lsn, last_ns;
};

struct checkpoint {
  struct file *file;
  const unsigned char *identity;
  uint64_t number;
  const struct checkpoint_visitor *visitor;
  struct checkpoint_finding *finding;
  struct kept *kept;
  uint64_t count;   /* of them, so far */
  uint64_t last;    /* the campaign whose tickets came last */
  uint64_t tickets; /* so far */
  uint64_t digest, chunks;
};

static bool judge(struct checkpoint *c, enum read_verdict verdict, uint64_t offset, const char *why) {
  c->finding->verdict = verdict;
  c->finding->offset = offset;
  c->finding->why = why;
  return false;
}

static bool damaged(struct checkpoint *c, uint64_t offset, const char *why) {
  return judge(c, READ_DAMAGED, offset, why);
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
  if (k->released && (k->since == 0 || k->since > c->number)) return "a campaign was released by a later checkpoint";
  return (!k->released || k->dropped) && k->file_check != 0 ? "a campaign names a tickets file that it cannot have"
                                                            : NULL;
}

/* One campaign. Returns its length, or 0. */
static uint64_t take_campaign(struct checkpoint *c, const unsigned char *b, uint64_t room, uint64_t offset) {
  if (room < CAMPAIGN_BYTES) return damaged(c, offset, "campaigns do not fill their chunk");
  struct checkpoint_campaign k = campaign_at(b);
  if (k.user_limit > 1 || k.user_kind > KIND_UUID || read_u32(b + 80) > (RELEASED | DROPPED) || read_u32(b + 84) != 0)
    return judge(c, READ_NEWER, offset, "a campaign has a value that version 1 never writes");
  uint64_t length = CAMPAIGN_BYTES + (k.name_length + UINT64_C(7)) / 8 * 8;
  if (k.name_length > NAME_MAX_BYTES || length > room) return damaged(c, offset, "a campaign's name is too long");
  if (!file_all_zero(b + CAMPAIGN_BYTES + k.name_length, length - CAMPAIGN_BYTES - k.name_length))
    return judge(c, READ_NEWER, offset, "a campaign's padding is not zero");
  const char *why = why_not(c, &k);
  if (why != NULL) return damaged(c, offset, why);
  if (c->count == c->finding->campaigns)
    return damaged(c, offset, "there are more campaigns than the first block says");
  uint64_t open = k.opened_lsn > k.created_lsn ? k.opened_lsn : k.created_lsn;
  if (c->visitor->campaign != NULL) c->visitor->campaign(c->visitor->context, c->count, &k);
  k.name = NULL;
  c->kept[c->count++] = (struct kept){.says = k, .last_lsn = open};
  return length;
}

static bool take_campaigns(struct checkpoint *c, const unsigned char *chunk, uint64_t offset) {
  uint64_t payload = read_u32(chunk + 40), at = 0;
  if (c->tickets > 0 || read_u32(chunk + 24) != c->count) return damaged(c, offset, "campaigns are not in order");
  for (uint32_t left = read_u32(chunk + 28); left > 0; left--) {
    uint64_t length = take_campaign(c, chunk + HEADER + at, payload - at, offset);
    if (length == 0) return false;
    at += length;
  }
  return at == payload || damaged(c, offset, "campaigns do not fill their chunk");
}

/* --- tickets ---------------------------------------------------------------------------------- */

/* `width` bits from bit `at` on, lowest first. */
static uint64_t bits_at(const unsigned char *bits, uint64_t at, unsigned width) {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; i++) value |= (uint64_t)(bits[(at + i) / 8] >> (at + i) % 8 & 1) << i;
  return value;
}

static bool ticket_can_be(const struct checkpoint *c, struct kept *k, const struct checkpoint_ticket *t) {
  const struct checkpoint_campaign *says = &k->says;
  uint64_t record = says->user_kind == KIND_UUID ? 32 : 24;
  bool can = t->lsn > k->last_lsn && t->lsn - k->last_lsn >= record && t->lsn <= c->finding->lsn &&
             (says->closed_lsn == 0 || t->lsn < says->closed_lsn) && t->time_ns >= k->last_ns &&
             t->time_ns <= c->finding->time_ns && t->time_ns >= says->opens_at_ns &&
             (says->closes_at_ns == 0 || t->time_ns < says->closes_at_ns);
  k->last_lsn = t->lsn;
  k->last_ns = t->time_ns;
  return can;
}

/* a + b * c without overflow. */
static bool add_product(uint64_t *a, uint64_t b, uint64_t c) {
  uint64_t product;
  return !__builtin_mul_overflow(b, c, &product) && !__builtin_add_overflow(*a, product, a);
}

/* One page of `count` tickets. Returns its length, or 0. */
static uint64_t take_page(struct checkpoint *c, uint64_t index, const unsigned char *users, const unsigned char *page,
                          uint64_t room, uint32_t count) {
  struct kept *k = &c->kept[index];
  uint64_t width = k->says.user_kind == KIND_UUID ? 16 : 8;
  if (room < PAGE_HEADER) return 0;
  uint64_t step = read_u32(page + 16), unit = read_u32(page + 20);
  unsigned p = page[24], q = page[25];
  uint64_t used = (uint64_t)count * (p + q), length = PAGE_HEADER + (used + 63) / 64 * 8;
  const unsigned char *bits = page + PAGE_HEADER;
  if (p > 64 || q > 64 || unit == 0 || step % 8 != 0 || read_u64(page) % 8 != 0 || !file_all_zero(page + 26, 6) ||
      length > room || bits_at(bits, used, (unsigned)((64 - used % 64) % 64)) != 0)
    return 0;
  for (uint32_t i = 0; i < count; i++) {
    struct checkpoint_ticket t = {k->found + 1, users + i * width, read_u64(page), read_u64(page + 8)};
    bool fits = add_product(&t.lsn, i, step) && add_product(&t.lsn, bits_at(bits, (uint64_t)i * p, p), 8) &&
                add_product(&t.time_ns, bits_at(bits, (uint64_t)count * p + (uint64_t)i * q, q), unit);
    if (!fits || !ticket_can_be(c, k, &t)) return 0;
    k->found++;
    c->tickets++;
    if (c->visitor->ticket != NULL) c->visitor->ticket(c->visitor->context, index, &k->says, &t);
  }
  return length;
}

static bool take_tickets(struct checkpoint *c, const unsigned char *chunk, uint64_t offset) {
  uint64_t payload = read_u32(chunk + 40), index = read_u32(chunk + 24);
  uint32_t count = read_u32(chunk + 28);
  if (c->count != c->finding->campaigns || index >= c->count || index < c->last)
    return damaged(c, offset, "tickets are not in the order of their campaigns");
  c->last = index;
  struct kept *k = &c->kept[index];
  uint64_t at = (uint64_t)count * (k->says.user_kind == KIND_UUID ? 16 : 8), width = count == 0 ? 0 : at / count;
  if (k->says.released || read_u64(chunk + 32) != k->found + 1 || count > k->says.tickets - k->found)
    return damaged(c, offset, "tickets' numbers are not in order, or there are too many");
  if (at > payload) return damaged(c, offset, "tickets do not fill their chunk");
  const unsigned char *users = chunk + HEADER;
  for (uint32_t done = 0; done < count; done += PAGE) {
    uint32_t here = count - done < PAGE ? count - done : PAGE;
    uint64_t length = take_page(c, index, users + done * width, chunk + HEADER + at, payload - at, here);
    if (length == 0) return damaged(c, offset, "a page of tickets says what cannot be");
    at += length;
  }
  return at == payload || damaged(c, offset, "tickets do not fill their chunk");
}

/* --- the file --------------------------------------------------------------------------------- */

/* The chunk at `*offset`, which moves behind it. */
static bool take_chunk(struct checkpoint *c, uint64_t *offset) {
  const uint64_t here = *offset, left = c->finding->size - here;
  const unsigned char *h = file_view(c->file, here, FILE_BLOCK);
  if (h == NULL) return judge(c, READ_UNREADABLE, here, "it cannot be read");
  if (memcmp(h, "CPNC", 4) != 0 || file_checksum_with(c->identity, h, 56) != read_u64(h + 56) ||
      read_u64(h + 8) != c->number || read_u64(h + 16) != here)
    return damaged(c, here, "a chunk's header is damaged, or another's");
  uint32_t kind = (uint32_t)h[6] | (uint32_t)h[7] << 8, count = read_u32(h + 28), payload = read_u32(h + 40);
  if (h[4] != 1 || h[5] != 0 || read_u32(h + 44) != 0 || (kind != KIND_CAMPAIGNS && kind != KIND_TICKETS))
    return judge(c, READ_NEWER, here, "a chunk has a version or a kind unknown to version 1");
  uint64_t total = (HEADER + (uint64_t)payload + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK;
  if (count == 0 || payload == 0 || payload % 8 != 0 || payload > PAYLOAD_MAX || total > left ||
      (kind == KIND_TICKETS ? count > TICKETS_MAX : read_u64(h + 32) != 0))
    return damaged(c, here, "a chunk's header says what cannot be");
  h = file_view(c->file, here, total);
  if (h == NULL) return judge(c, READ_UNREADABLE, here, "it cannot be read");
  if (file_checksum(h + HEADER, total - HEADER) != read_u64(h + 48))
    return damaged(c, here, "the checksum of a chunk's contents is wrong");
  if (!file_all_zero(h + HEADER + payload, total - HEADER - payload))
    return judge(c, READ_NEWER, here, "a chunk's padding is not zero");
  unsigned char link[16];
  for (unsigned i = 0; i < 8; i++) link[i] = (unsigned char)(c->digest >> 8 * i);
  memcpy(link + 8, h + 56, 8);
  c->digest = file_checksum(link, sizeof link);
  c->chunks++;
  *offset = here + total;
  return kind == KIND_CAMPAIGNS ? take_campaigns(c, h, here) : take_tickets(c, h, here);
}

/* The first block. */
static bool take_head(struct checkpoint *c) {
  struct checkpoint_finding *f = c->finding;
  const unsigned char *h = c->file->size < FILE_BLOCK ? NULL : file_view(c->file, 0, FILE_BLOCK);
  if (h == NULL) return damaged(c, 0, "the file has no first block");
  if (memcmp(h, "CPNCHKPT", 8) != 0 || file_checksum(h, 504) != read_u64(h + 504) ||
      memcmp(h + 16, c->identity, FILE_IDENTITY) != 0 || read_u64(h + 32) != c->number)
    return damaged(c, 0, "the first block is damaged, or another's");
  if (read_u32(h + 8) != 1 || read_u32(h + 12) != FILE_BLOCK || !file_all_zero(h + 128, 376))
    return judge(c, READ_NEWER, 0, "the checkpoint's version, or bytes of its first block, are unknown to version 1");
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
  if (f->lsn == 0 || f->lsn % 8 != 0 || f->lsn > LSN_MAX || f->life == 0 || f->segment == 0 ||
      f->segment_offset <= FILE_BLOCK || f->segment_offset % FILE_BLOCK != 0 || f->campaigns > CAMPAIGNS_MAX ||
      f->size % FILE_BLOCK != 0)
    return damaged(c, 0, "the first block says what cannot be");
  f->known = true;
  return (f->size >= FILE_BLOCK && f->size <= c->file->size) || damaged(c, c->file->size, "the file is too short");
}

static bool complete(struct checkpoint *c) {
  const struct checkpoint_finding *f = c->finding;
  if (c->chunks != f->chunks || c->digest != f->digest)
    return damaged(c, f->size, "the chunks are not those that the first block speaks of");
  if (c->count != f->campaigns || c->tickets != f->tickets)
    return damaged(c, f->size, "there are fewer campaigns or tickets than the first block says");
  for (uint64_t i = 0; i < c->count; i++)
    if (!c->kept[i].says.released && c->kept[i].found != c->kept[i].says.tickets)
      return damaged(c, f->size, "a campaign has fewer tickets than it says");
  return true;
}

void checkpoint_read(struct file *file, const unsigned char *identity, uint64_t number,
                     const struct checkpoint_visitor *visitor, struct checkpoint_finding *finding) {
  *finding = (struct checkpoint_finding){.verdict = READ_OK};
  struct checkpoint c = {.file = file, .identity = identity, .number = number, .visitor = visitor, .finding = finding};
  if (!take_head(&c)) return;
  /* No more campaigns than there is room for, whatever the first block says. */
  uint64_t most = finding->size / CAMPAIGN_BYTES + 1;
  c.kept = calloc((size_t)(finding->campaigns < most ? finding->campaigns : most) + 1, sizeof *c.kept);
  if (c.kept == NULL) {
    judge(&c, READ_UNREADABLE, 0, "memory is used up");
    return;
  }
  uint64_t offset = FILE_BLOCK;
  bool good = true;
  while (good && offset < finding->size) good = take_chunk(&c, &offset);
  if (good) complete(&c);
  free(c.kept);
}
