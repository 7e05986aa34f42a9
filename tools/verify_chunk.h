/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What checkpoints and tickets files have in common, by "Chunks" in docs/FORMAT.md: chunks one after the other, and
 * tickets in them. For verify_checkpoint.c and verify_tickets.c.
 */
#ifndef TOOLS_VERIFY_CHUNK_H
#define TOOLS_VERIFY_CHUNK_H

#include "verify_checkpoint.h"

enum { CHUNK_HEADER = 64, CHUNK_CAMPAIGNS = 1, CHUNK_TICKETS = 2 };

/* A file of chunks, as far as it has been read, and what it is held to. */
struct chunks {
  struct file *file;
  const unsigned char *identity;
  const char *magic;     /* of each chunk */
  uint64_t number;       /* of the checkpoint, or the campaign's index */
  uint64_t size;         /* as the first block says */
  uint64_t lsn, time_ns; /* of the checkpoint: no ticket is later */
  const struct checkpoint_visitor *visitor;
  uint64_t count, digest; /* so far */
  uint64_t tickets;       /* so far */
  enum read_verdict verdict;
  uint64_t offset;
  const char *why;
};

/* What is kept of a campaign, to hold its tickets to. */
struct chunk_campaign {
  struct checkpoint_campaign says;
  uint64_t found, last_lsn, last_ns;
};

/* Takes the verdict down; false. */
bool chunk_judge(struct chunks *chunks, enum read_verdict verdict, uint64_t offset, const char *why);
bool chunk_damaged(struct chunks *chunks, uint64_t offset, const char *why);

/* The chunk at `*offset`, which moves behind it; NULL after a verdict. */
const unsigned char *chunk_next(struct chunks *chunks, uint64_t *offset, unsigned *kind);

/* The tickets in the chunk that was read at `offset`, all of campaign `index`. */
bool chunk_take_tickets(struct chunks *chunks, const unsigned char *chunk, uint64_t offset, uint64_t index,
                        struct chunk_campaign *campaign);

/* tools/verify_tickets.c: the file of a released campaign. Whether it is the one that is meant, and all there; with
 * a visitor for tickets what it holds is judged, too, and told. */
void tickets_read(int directory, const struct chunks *checkpoint, uint64_t index, struct chunk_campaign *campaign,
                  struct tickets_finding *finding);

#endif
