/* SPDX-License-Identifier: Apache-2.0 */
#include "verify_chunk.h"

#include <string.h>

enum { PAYLOAD_MAX = 1 << 20, TICKETS_MAX = 16384, PAGE = 256, PAGE_HEADER = 32 };

bool chunk_judge(struct chunks *c, enum read_verdict verdict, uint64_t offset, const char *why) {
  c->verdict = verdict;
  c->offset = offset;
  c->why = why;
  return false;
}

bool chunk_damaged(struct chunks *c, uint64_t offset, const char *why) {
  return chunk_judge(c, READ_DAMAGED, offset, why);
}

/* --- a chunk ------------------------------------------------------------------------------------ */

/* Judges the header at `h`. */
static bool header_can_be(struct chunks *c, uint64_t here, const unsigned char *h, unsigned kind) {
  uint32_t count = read_u32(h + 28), payload = read_u32(h + 40);
  if (memcmp(h, c->magic, 4) != 0 || file_checksum_with(c->identity, h, 56) != read_u64(h + 56) ||
      read_u64(h + 8) != c->number || read_u64(h + 16) != here)
    return chunk_damaged(c, here, "a chunk's header is damaged, or another's");
  if (h[4] != 1 || h[5] != 0 || read_u32(h + 44) != 0 || (kind != CHUNK_CAMPAIGNS && kind != CHUNK_TICKETS))
    return chunk_judge(c, READ_NEWER, here, "a chunk has a version or a kind unknown to version 1");
  uint64_t total = (CHUNK_HEADER + (uint64_t)payload + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK;
  if (count == 0 || payload == 0 || payload % 8 != 0 || payload > PAYLOAD_MAX || total > c->size - here ||
      (kind == CHUNK_TICKETS ? count > TICKETS_MAX : read_u64(h + 32) != 0))
    return chunk_damaged(c, here, "a chunk's header says what cannot be");
  return true;
}

const unsigned char *chunk_next(struct chunks *c, uint64_t *offset, unsigned *kind) {
  const uint64_t here = *offset;
  const unsigned char *h = file_view(c->file, here, FILE_BLOCK);
  if (h != NULL) {
    *kind = (unsigned)h[6] | (unsigned)h[7] << 8;
    if (!header_can_be(c, here, h, *kind)) return NULL;
    uint64_t payload = read_u32(h + 40);
    uint64_t total = (CHUNK_HEADER + payload + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK;
    h = file_view(c->file, here, total);
    *offset = here + total;
  }
  if (h == NULL) {
    chunk_judge(c, READ_UNREADABLE, here, "it cannot be read");
    return NULL;
  }
  uint64_t end = CHUNK_HEADER + (uint64_t)read_u32(h + 40), total = *offset - here;
  bool whole = file_checksum(h + CHUNK_HEADER, total - CHUNK_HEADER) == read_u64(h + 48);
  if (!whole) chunk_damaged(c, here, "the checksum of a chunk's contents is wrong");
  bool known = whole && file_all_zero(h + end, total - end);
  if (whole && !known) chunk_judge(c, READ_NEWER, here, "a chunk's padding is not zero");
  if (!known) return NULL;
  unsigned char link[16];
  for (unsigned i = 0; i < 8; i++) link[i] = (unsigned char)(c->digest >> 8 * i);
  memcpy(link + 8, h + 56, 8);
  c->digest = file_checksum(link, sizeof link);
  c->count++;
  return h;
}

/* --- tickets ---------------------------------------------------------------------------------- */

/* `width` bits from bit `at` on, lowest first. */
static uint64_t bits_at(const unsigned char *bits, uint64_t at, unsigned width) {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; i++) value |= (uint64_t)(bits[(at + i) / 8] >> (at + i) % 8 & 1) << i;
  return value;
}

static bool ticket_can_be(const struct chunks *c, struct chunk_campaign *k, const struct checkpoint_ticket *t) {
  const struct checkpoint_campaign *says = &k->says;
  uint64_t record = says->user_kind == KIND_UUID ? 32 : 24;
  bool can = t->lsn > k->last_lsn && t->lsn - k->last_lsn >= record && t->lsn <= c->lsn &&
             (says->closed_lsn == 0 || t->lsn < says->closed_lsn) && t->time_ns >= k->last_ns &&
             t->time_ns <= c->time_ns && t->time_ns >= says->opens_at_ns &&
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
static uint64_t take_page(struct chunks *c, uint64_t index, struct chunk_campaign *k, const unsigned char *users,
                          const unsigned char *page, uint64_t room, uint32_t count) {
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

bool chunk_take_tickets(struct chunks *c, const unsigned char *chunk, uint64_t offset, uint64_t index,
                        struct chunk_campaign *k) {
  uint64_t payload = read_u32(chunk + 40);
  uint32_t count = read_u32(chunk + 28);
  uint64_t at = (uint64_t)count * (k->says.user_kind == KIND_UUID ? 16 : 8), width = count == 0 ? 0 : at / count;
  if (read_u64(chunk + 32) != k->found + 1 || count > k->says.tickets - k->found)
    return chunk_damaged(c, offset, "tickets' numbers are not in order, or there are too many");
  if (at > payload) return chunk_damaged(c, offset, "tickets do not fill their chunk");
  const unsigned char *users = chunk + CHUNK_HEADER;
  for (uint32_t done = 0; done < count; done += PAGE) {
    uint32_t here = count - done < PAGE ? count - done : PAGE;
    uint64_t length = take_page(c, index, k, users + done * width, chunk + CHUNK_HEADER + at, payload - at, here);
    if (length == 0) return chunk_damaged(c, offset, "a page of tickets says what cannot be");
    at += length;
  }
  return at == payload || chunk_damaged(c, offset, "tickets do not fill their chunk");
}
