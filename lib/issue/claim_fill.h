/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filling a claim set at recovery, by whoever is alone with it. Users come in no order that memory likes: putting each
 * claim on its line at once would wait for a line of main memory per ticket, and nothing else would matter. So a
 * claim is first only *left* in its part of the first level, behind what was left there before; a part is as much as a
 * processor's own cache holds. When all have come each part is *settled*: what was left there is put on its lines, in
 * the order in which it came, all of it in a cache, and then written over the part. No memory beside the level is
 * needed: a part has more words than users.
 *
 * Until it is settled nobody can look anything up in the set; that a user came twice shows only then.
 *
 * Two threads may do it: the first shares leave the claims of the first half of the tickets, each in a half of every
 * part that is its own; then, when both have left theirs, parts are settled in any order, each by one thread.
 */
#ifndef CPN_ISSUE_CLAIM_FILL_H
#define CPN_ISSUE_CLAIM_FILL_H

#include "issue/claim_set.h"

/* What is left: tag, 16 bits | line in its part, 15 bits | number, 33 bits. */
#define CPN_FILL_NUMBER_BITS 33
#define CPN_FILL_NUMBER_MAX ((UINT64_C(1) << CPN_FILL_NUMBER_BITS) - 1)
#define CPN_FILL_LINE_BITS_MAX 15

/* The end of what a share has left in a part, while it is not a whole line: lines go to memory whole, without being
 * read from there before. The word that completes a line never has to stand here. */
struct cpn_fill_end {
  _Alignas(CPN_CACHE_LINE) uint64_t entries[CPN_CLAIM_LINE_WORDS - 1];
  uint64_t left; /* in the part, by this share */
};

#define CPN_FILL_SHARES 2u

struct cpn_claim_fill {
  uint32_t parts;
  uint32_t line_bits;      /* a part has 2^line_bits lines */
  _Atomic uint64_t *words; /* of the first level */
  uint64_t lines;
  struct cpn_fill_end ends[]; /* of each part, by share, then by part */
};

/* Begins the set again, empty, for so many users. NULL: no memory, and nothing has changed. */
struct cpn_claim_fill *cpn_claim_fill_begin(struct cpn_claim_set *set, struct cpn_memory *memory, uint64_t users);
void cpn_claim_fill_free(struct cpn_claim_fill *fill, struct cpn_memory *memory);

/* At most so many at a time. */
#define CPN_FILL_TOGETHER 64u

/* Of the tickets 1 … count, which of them are a share's: from here on, up to where the next share's begin. */
static inline uint64_t cpn_claim_fill_from(uint64_t count, uint32_t share) {
  return 1 + cpn_min_u64((count + 1) / CPN_FILL_SHARES * share, count);
}

/* Leaves the claims of the tickets `number` …, with these hashes, for a share. Its numbers rise, and are those of the
 * share; a share is one thread's. The parts hold what the set was begun for, and half of it more. */
void cpn_claim_fill_leave(struct cpn_claim_fill *fill, uint32_t share, const uint64_t *hashes, uint64_t number,
                          size_t count);

/* The share has left all of its claims. Then whoever settles has to hear of it, as by pthread_join(). False: more came
 * to one part than it has room for, and nothing can be settled. Hashes are keyed: half as many again as expected are
 * some users' who are there very often, before the end of time. */
CPN_MUST_CHECK bool cpn_claim_fill_left(const struct cpn_claim_fill *fill, uint32_t share);

/* Who settles: memory of its own, and what it found. */
struct cpn_claim_settler {
  /* Whether two tickets are the same user's. */
  bool (*same_user)(const void *context, uint64_t a, uint64_t b);
  const void *context;
  uint64_t *words;     /* a part as it will be; zeros between two */
  unsigned char *used; /* of each of its lines, how many words */
  uint64_t
      *strangers; /* numbers that found their lines full, in order for each user: they belong into the next level */
  size_t stranger_count, stranger_room;
  uint64_t twice; /* the lowest number of a user's second ticket; UINT64_MAX: none */
  bool no_memory;
};

/* False: no memory. */
CPN_MUST_CHECK bool cpn_claim_settler_init(struct cpn_claim_settler *settler, const struct cpn_claim_fill *fill);
void cpn_claim_settler_fini(struct cpn_claim_settler *settler);

void cpn_claim_fill_settle(const struct cpn_claim_fill *fill, uint32_t part, struct cpn_claim_settler *settler);

#endif
