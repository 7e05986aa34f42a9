/* SPDX-License-Identifier: Apache-2.0 */
/* A released campaign's file, by "Tickets files" in docs/FORMAT.md. */
#include "verify_chunk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool take_head(struct chunks *c, const struct checkpoint_campaign *says, uint64_t *chunks, uint64_t *digest) {
  const unsigned char *h = c->file->size < FILE_BLOCK ? NULL : file_view(c->file, 0, FILE_BLOCK);
  if (h == NULL) return chunk_damaged(c, 0, "the tickets file of a released campaign has no first block");
  if (memcmp(h, "CPNTICKT", 8) != 0 || file_checksum(h, 504) != read_u64(h + 504) ||
      memcmp(h + 16, c->identity, FILE_IDENTITY) != 0 || read_u64(h + 32) != c->number)
    return chunk_damaged(c, 0, "the first block of a tickets file is damaged, or another's");
  if (read_u32(h + 8) != 1 || read_u32(h + 12) != FILE_BLOCK || read_u32(h + 56) > KIND_UUID ||
      !file_all_zero(h + 60, 4) || !file_all_zero(h + 96, 408))
    return chunk_judge(c, READ_NEWER, 0, "a tickets file has a version, or bytes, unknown to version 1");
  c->size = read_u64(h + 64);
  *chunks = read_u64(h + 72);
  *digest = read_u64(h + 80);
  if (read_u64(h + 40) != says->id || read_u64(h + 48) != says->tickets || read_u32(h + 56) != says->user_kind ||
      c->size % FILE_BLOCK != 0)
    return chunk_damaged(c, 0, "a tickets file is not of the campaign that it should be of");
  if (c->size < FILE_BLOCK || c->size > c->file->size) return chunk_damaged(c, 0, "a tickets file is too short");
  return read_u64(h + 504) == says->file_check ||
         chunk_damaged(c, 0, "a tickets file is not the one that the checkpoint means");
}

static void take_chunks(struct chunks *c, uint64_t index, struct chunk_campaign *campaign, uint64_t chunks,
                        uint64_t digest) {
  uint64_t offset = FILE_BLOCK;
  bool good = true;
  while (good && offset < c->size) {
    const uint64_t here = offset;
    unsigned kind;
    const unsigned char *chunk = chunk_next(c, &offset, &kind);
    good = chunk != NULL;
    if (good && (kind != CHUNK_TICKETS || read_u32(chunk + 24) != index))
      good = chunk_damaged(c, here, "a tickets file has a chunk that is not its campaign's");
    if (good) good = chunk_take_tickets(c, chunk, here, index, campaign);
  }
  if (good && (c->count != chunks || c->digest != digest || campaign->found != campaign->says.tickets))
    chunk_damaged(c, c->size, "the chunks are not those that the first block speaks of");
}

void tickets_read(int directory, const struct chunks *checkpoint, uint64_t index, struct chunk_campaign *campaign,
                  struct tickets_finding *finding) {
  struct file file = {.open = false};
  struct chunks c = {.file = &file,
                     .identity = checkpoint->identity,
                     .magic = "CPNT",
                     .number = index,
                     .lsn = checkpoint->lsn,
                     .time_ns = checkpoint->time_ns,
                     .visitor = checkpoint->visitor};
  uint64_t chunks = 0, digest = 0;
  snprintf(file.name, sizeof file.name, "%016llx.tickets", (unsigned long long)index);
  *finding = (struct tickets_finding){.verdict = READ_OK};
  snprintf(finding->file, sizeof finding->file, "%s", file.name);
  if (!file_open(&file, directory))
    chunk_judge(&c, errno == ENOENT ? READ_DAMAGED : READ_UNREADABLE, 0,
                "the tickets file of a released campaign is missing");
  else if (take_head(&c, &campaign->says, &chunks, &digest)) {
    finding->meant = true;
    if (c.visitor->ticket != NULL) take_chunks(&c, index, campaign, chunks, digest);
  }
  finding->verdict = c.verdict;
  finding->offset = c.offset;
  finding->why = c.why;
  file_close(&file);
}
