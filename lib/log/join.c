/* SPDX-License-Identifier: Apache-2.0 */
#include "log/join.h"

#include <string.h>

#include "base/bytes.h"
#include "base/points.h"

/* Of one record; its length has 16 bits. */
#define WORDS_MAX UINT32_C(0xffff)

/* One run that is joined: what has been read, and what has been written. */
struct run {
  const unsigned char *from;
  unsigned char *to;
};

/* The record at `from`, and as many of those behind it as go with it. What is written never overtakes what is read: a
 * record has two words more than its user. */
CPN_INLINE uint32_t join_one(struct run *run, const unsigned char *end, uint64_t head, const uint32_t user_words) {
  const size_t size = cpn_issue_words(user_words) * (size_t)8;
  const uint32_t most = (WORDS_MAX - 2) / user_words;
  const uint64_t time_ns = cpn_get_u64(run->from + size - 8);
  const unsigned char *from = run->from;
  unsigned char *user = run->to + 8;
  uint32_t users = 0;
  do {
    memmove(user, from + 8, user_words * (size_t)8);
    user += user_words * (size_t)8;
    from += size;
    users++;
  } while (from < end && users < most && cpn_get_u64(from) == head &&
           (cpn_get_u64(from + size - 8) == time_ns || CPN_MISTAKE(JOINS_TIMES)));
  cpn_put_u64(run->to, head + ((uint64_t)(users - 1) * user_words << 16));
  cpn_put_u64(user, time_ns);
  *run = (struct run){.from = from, .to = user + 8};
  return users - 1;
}

uint32_t cpn_join(unsigned char *payload, size_t *size) {
  const unsigned char *end = payload + *size;
  struct run run = {.from = payload, .to = payload};
  uint32_t joined = 0;
  while (run.from < end) {
    const uint64_t head = cpn_get_u64(run.from);
    const uint32_t user_words = cpn_joined_user_words(head);
    if (user_words == 1) {
      joined += join_one(&run, end, head, 1);
    } else if (user_words == 2) {
      joined += join_one(&run, end, head, 2);
    } else {
      const size_t length = cpn_record_words(head) * (size_t)8;
      if (run.to != run.from) memmove(run.to, run.from, length);
      run.from += length;
      run.to += length;
    }
  }
  *size = (size_t)(run.to - payload);
  return joined;
}
