/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

void cpn_hash_key_init(struct cpn_hash_key *key, const unsigned char secret[CPN_HASH_SECRET_SIZE]) {
  memcpy(key->rounds, secret, sizeof key->rounds);
  memcpy(&key->sip, secret + sizeof key->rounds, sizeof key->sip);
#if defined(__x86_64__)
  key->has_aes = __builtin_cpu_supports("aes");
#else
  key->has_aes = false;
#endif
}
_Static_assert(CPN_HASH_SECRET_SIZE == sizeof((struct cpn_hash_key *)0)->rounds + sizeof(struct cpn_siphash_key),
               "each part of the key has a secret of its own");

#if defined(__x86_64__)
/* One function may use what the rest of the library, built for every x86-64, must not. */
__attribute__((target("aes"))) uint64_t cpn_hash_aes(const struct cpn_hash_key *key, uint64_t low, uint64_t high) {
  const __m128i *round = (const __m128i *)key->rounds;
  __m128i block = _mm_xor_si128(_mm_set_epi64x((long long)high, (long long)low), _mm_loadu_si128(&round[0]));
  for (int i = 1; i <= 4; i++) block = _mm_aesenc_si128(block, _mm_loadu_si128(&round[i]));
  return (uint64_t)_mm_cvtsi128_si64(block);
}
#else
uint64_t cpn_hash_aes(const struct cpn_hash_key *key, uint64_t low, uint64_t high) {
  (void)key, (void)low, (void)high;
  CPN_INVARIANT(0, false);
  return 0;
}
#endif
