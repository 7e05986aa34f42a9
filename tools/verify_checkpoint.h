/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint as bytes, by "Checkpoints" in docs/FORMAT.md: whether it is valid, and what it says. Shares no code
 * with the library. Campaigns are told first, then the tickets, in their order; before a fault is found some have
 * been told.
 */
#ifndef TOOLS_VERIFY_CHECKPOINT_H
#define TOOLS_VERIFY_CHECKPOINT_H

#include "verify_file.h"

struct checkpoint_campaign {
  uint64_t id, stock, user_limit, opens_at_ns, closes_at_ns;
  uint32_t name_length, user_kind;
  const unsigned char *name; /* valid during the call only */
  uint64_t created_lsn, opened_lsn, closed_lsn;
  uint64_t tickets;
  bool released, dropped;
  uint64_t since, file_check;
};

struct checkpoint_ticket {
  uint64_t number;
  const unsigned char *user; /* 8 bytes, or 16; valid during the call only */
  uint64_t lsn, time_ns;
};

struct checkpoint_visitor {
  void *context;
  void (*campaign)(void *context, uint64_t index, const struct checkpoint_campaign *campaign);
  /* The campaign's name is not known any more. */
  void (*ticket)(void *context, uint64_t index, const struct checkpoint_campaign *campaign,
                 const struct checkpoint_ticket *ticket);
};

struct checkpoint_finding {
  enum read_verdict verdict; /* READ_OK: the checkpoint is valid */
  uint64_t offset;
  const char *why;
  bool known; /* the first block is valid: what follows is what it says */
  uint64_t lsn, life, time_ns, segment, segment_offset;
  uint64_t campaigns, tickets, size, chunks, digest;
  struct tickets_finding tickets_fault; /* of a file that is meant: the checkpoint is valid all the same */
};

void checkpoint_file_name(uint64_t number, char name[READ_FILE_MAX]);

/* Judges checkpoint `number`, whose file is open, and tells of it; the visitor's functions may be NULL. The tickets
 * of released campaigns are told last, from their files in `directory`; without a function for tickets only the
 * files' first blocks are looked at, and with -1 nothing of them is. */
void checkpoint_read(struct file *file, int directory, const unsigned char *identity, uint64_t number,
                     const struct checkpoint_visitor *visitor, struct checkpoint_finding *finding);

/* The same, told as the records that the checkpoint stands for, campaign by campaign: CAMPAIGN, OPEN, tickets or
 * DROPPED, CLOSE; their segment is 0, which there is not. OPEN and CLOSE have the times that the campaign has for
 * them. */
void checkpoint_tell(struct file *file, int directory, const unsigned char *identity, uint64_t number,
                     read_visit *visit, void *context, struct checkpoint_finding *finding);

#endif
