/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs that are a checkpoint in short: some chunks of tickets leave the users away, so that some pages of tickets, of
 * which the users take more than all the rest, lie in a few blocks, and a mutation hits what is said of the pages. What
 * is left away follows from what is there: such an input becomes a checkpoint, with right checksums.
 *
 * A chunk in short has the kind 2 and SHORT_NUMBERS or SHORT_UUIDS, and in place of the users one word: the first user
 * in its low half, from which the others count up; in its high half how many they are until they begin again, 0 for
 * never.
 */
#ifndef TESTS_FUZZ_CHECKPOINT_SHORT_H
#define TESTS_FUZZ_CHECKPOINT_SHORT_H

#include "checkpoint_input.h"

enum { SHORT_NUMBERS = 0x100, SHORT_UUIDS = 0x200 };

/* Tickets that an input can have in short, three pages; one with more is left as it is. */
#define CHECKPOINT_SHORT_TICKETS 768u

/* An input and what it leaves away. */
#define CHECKPOINT_LONG_MAX (CHECKPOINT_BUILD_MAX + CHECKPOINT_SHORT_TICKETS * 16 + 8 * 512)

/* Whether the chunk at these bytes is in short. */
bool checkpoint_short_is(const unsigned char *chunk);

/* Writes the whole checkpoint to `whole`, of CHECKPOINT_LONG_MAX bytes, and returns its size; 0: nothing is in
 * short. */
size_t checkpoint_short_expand(const unsigned char *data, size_t size, const unsigned char *identity,
                               unsigned char *whole);

/* A page of 256 tickets for the last chunk, which is in short: deltas rise by `lsn_rise` and `time_rise` in `p` and `q`
 * bits. The first page of a chunk needs its users before it. */
void checkpoint_short_users(struct checkpoint_build *made, uint32_t first, uint32_t period);
struct checkpoint_short_page {
  uint64_t lsn, time_ns;
  uint32_t step, unit;
  unsigned p, q, lsn_rise, time_rise; /* a rise for every 16th ticket */
};
void checkpoint_short_page(struct checkpoint_build *made, const struct checkpoint_short_page *page);

/* A campaign of up to three pages, in one chunk or several, with nothing wrong: something new to begin with. */
void checkpoint_short_make(struct checkpoint_build *made, uint64_t *random);

#endif
