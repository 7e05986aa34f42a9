/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/restore_leave.h"

static size_t hash_users(const struct cpn_leaver *leaver, uint64_t number, uint64_t end,
                         uint64_t hashes[CPN_FILL_TOGETHER]) {
  const uint32_t user_words = leaver->tickets->user_words;
  const _Atomic uint64_t *users;
  const size_t count =
      (size_t)cpn_min_u64(cpn_tickets_users_at(leaver->tickets, number, end - 1, &users), CPN_FILL_TOGETHER);
  const struct cpn_hash_key key = leaver->engine->key; /* a copy, that nothing can change: it stays in registers */
  /* relaxed, all: nobody writes any more. */
  for (size_t i = 0; i < count && user_words == 1; i++)
    hashes[i] = cpn_hash_u64(&key, atomic_load_explicit(&users[i], memory_order_relaxed));
  for (size_t i = 0; i < count && user_words == 2; i++)
    hashes[i] = cpn_hash_u128(&key, atomic_load_explicit(&users[2 * i], memory_order_relaxed),
                              atomic_load_explicit(&users[2 * i + 1], memory_order_relaxed));
  return count;
}

#define TELL_EVERY (CPN_FILL_TOGETHER * UINT64_C(4096)) /* tickets */

static void tell_left(const struct cpn_leaver *leaver, uint64_t numbered) {
  const uint64_t left = leaver->alone ? leaver->next : (leaver->next - leaver->first) * CPN_FILL_SHARES;
  cpn_progress_claim(leaver->engine, numbered,
                     cpn_min_u64(left * CPN_PROGRESS_LEAVING / numbered, CPN_PROGRESS_LEAVING));
}

void cpn_restore_leave(struct cpn_leaver *leaver, uint64_t end) {
  while (leaver->next < end) {
    uint64_t hashes[CPN_FILL_TOGETHER];
    const size_t count = hash_users(leaver, leaver->next, end, hashes);
    cpn_claim_fill_leave(leaver->fill, leaver->share, hashes, leaver->next, count);
    leaver->next += count;
    if (leaver->tells && leaver->next / TELL_EVERY != (leaver->next - count) / TELL_EVERY)
      tell_left(leaver, cpn_tickets_numbered(leaver->tickets));
  }
}
