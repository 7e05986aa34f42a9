/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keyed hash of 8 or 16 bytes to 64 bits, under a secret that an engine draws when it is opened: whoever lacks it
 * cannot choose users that collide, even with this file at hand. Which of two functions it is depends on the
 * processor; nothing that is stored depends on it.
 *
 *   AES       where the processor has the instructions: four full rounds over one block under five independent keys. No
 *             difference of two inputs leads to any one difference of the outputs with a probability above
 *             2^-113 (L. Keliher and J. Sui, "Exact maximum expected differential and linear probability for two-round
 *             Advanced Encryption Standard", 2007, and the bound for four rounds that follows from it). 4 ns.
 *   SipHash   elsewhere: SipHash-1-3 (base/siphash.h), a pseudorandom function by its authors' analysis. 10 ns.
 *
 * Neither is claimed to be a secure message code with these rounds; both are more than a table needs whose keys
 * never leave the process, and whose probes are bounded anyway.
 */
#ifndef CPN_BASE_HASH_H
#define CPN_BASE_HASH_H

#include "base/defs.h"
#include "base/siphash.h"

struct cpn_hash_key {
  uint64_t rounds[5][2];
  struct cpn_siphash_key sip;
  bool has_aes; /* of the processor; tests clear it */
};

/* Bytes of secret that a key takes. */
#define CPN_HASH_SECRET_SIZE (sizeof(uint64_t) * 12)

void cpn_hash_key_init(struct cpn_hash_key *key, const unsigned char secret[CPN_HASH_SECRET_SIZE]);

/* Only where has_aes. */
uint64_t cpn_hash_aes(const struct cpn_hash_key *key, uint64_t low, uint64_t high);

static inline uint64_t cpn_hash_u64(const struct cpn_hash_key *key, uint64_t word) {
  if (CPN_LIKELY(key->has_aes)) return cpn_hash_aes(key, word, 0);
  return cpn_siphash_u64(&key->sip, word);
}

static inline uint64_t cpn_hash_u128(const struct cpn_hash_key *key, uint64_t low, uint64_t high) {
  if (CPN_LIKELY(key->has_aes)) return cpn_hash_aes(key, low, high);
  return cpn_siphash_u128(&key->sip, low, high);
}

#endif
