/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joined tickets: records of tickets that follow each other in a frame, and are the same but for the user, lie in the
 * file as one, with one head and one time (docs/FORMAT.md). While there is load the clock ticks every millisecond, so
 * that is nearly all of them; a ticket then costs its user's bytes and hardly more, to write, to sync and to read
 * again.
 *
 * Only the file knows of it: what is drained, applied and counted in LSNs are whole records. They are joined in one
 * place, where a batch becomes a frame (log/segment.c), and read in one, as runs (log/reader.h).
 */
#ifndef CPN_LOG_JOIN_H
#define CPN_LOG_JOIN_H

#include "log/format.h"

/* Joins what can be joined of the records at `payload`, in place. `*size` becomes what is left of their bytes; returns
 * how many tickets have no head and time of their own any more. */
uint32_t cpn_join(unsigned char *payload, size_t *size);

/* Words of one of its users in a ticket's record, joined or not; 0: it is none. */
static inline uint32_t cpn_joined_user_words(uint64_t head) {
  const unsigned type_and_flags = (unsigned)(head & 0xffff);
  return type_and_flags == CPN_RECORD_ISSUE ? 1 : type_and_flags == CPN_RECORD_ISSUE_UUID ? 2 : 0;
}

/* Users of a record with this head, of so many words each; 0: a length that no such record has. */
static inline uint32_t cpn_joined_users(uint64_t head, uint32_t user_words) {
  const uint32_t words = cpn_record_words(head);
  return words < 2 || (words - 2) % user_words != 0 ? 0 : (words - 2) / user_words;
}

#endif
