/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keyed hash of 8 or 16 bytes to 64 bits, under a secret that an engine draws when it is opened: whoever lacks it
 * cannot choose users that collide, even with this file at hand. Which of two functions it is depends on the
 * processor; nothing that is stored depends on it.
 *
 *   AES       where the processor has the instructions: four full rounds over one block under five independent keys. No
 *             difference of two inputs leads to any one difference of the outputs with a probability above
 *             2^-113 (L. Keliher and J. Sui, "Exact maximum expected differential and linear probability for two-round
 *             Advanced Encryption Standard", 2007, and the bound for four rounds that follows from it).
 *   SipHash   elsewhere: SipHash-1-3 (base/siphash.h), a pseudorandom function by its authors' analysis.
 *
 * Neither is claimed to be a secure message code with these rounds; both are more than a table needs whose keys
 * never leave the process, and whose probes are bounded anyway.
 */
#ifndef CPN_BASE_HASH_H
#define CPN_BASE_HASH_H

#include "base/defs.h"
#include "base/siphash.h"

#if defined(__x86_64__)
#include <emmintrin.h>
typedef __m128i cpn_hash_block;
#else
typedef uint64_t cpn_hash_block[2];
#endif

struct cpn_hash_key {
  cpn_hash_block rounds[5];
  struct cpn_siphash_key sip;
  bool has_aes; /* of the processor; tests clear it */
};

/* Bytes of secret that a key takes. */
#define CPN_HASH_SECRET_SIZE (sizeof(uint64_t) * 12)

void cpn_hash_key_init(struct cpn_hash_key *key, const unsigned char secret[CPN_HASH_SECRET_SIZE]);

/* Only where has_aes. Instructions by name, because the rest of the library, built for every x86-64, must not use them,
 * and a function that may is not inlined where others may not. */
static inline uint64_t cpn_hash_aes(const struct cpn_hash_key *key, uint64_t low, uint64_t high) {
#if defined(__x86_64__)
  __m128i block = _mm_xor_si128(_mm_set_epi64x((long long)high, (long long)low), key->rounds[0]);
  for (int i = 1; i <= 4; i++) __asm__("aesenc %1, %0" : "+x"(block) : "x"(key->rounds[i]));
  return (uint64_t)_mm_cvtsi128_si64(block);
#else
  (void)key, (void)low, (void)high;
  return 0;
#endif
}

static inline uint64_t cpn_hash_u64(const struct cpn_hash_key *key, uint64_t word) {
  if (CPN_LIKELY(key->has_aes)) return cpn_hash_aes(key, word, 0);
  return cpn_siphash_u64(&key->sip, word);
}

static inline uint64_t cpn_hash_u128(const struct cpn_hash_key *key, uint64_t low, uint64_t high) {
  if (CPN_LIKELY(key->has_aes)) return cpn_hash_aes(key, low, high);
  return cpn_siphash_u128(&key->sip, low, high);
}

#endif
