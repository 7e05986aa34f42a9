/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash-1-3 of one or two 64-bit words: a keyed hash, so that nobody who lacks the key can choose users that
 * collide. Source of the algorithm: J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input
 * PRF", 2012. One compression and three finalization rounds, as hash tables of several languages use it.
 */
#ifndef CPN_BASE_SIPHASH_H
#define CPN_BASE_SIPHASH_H

#include <stdint.h>

struct cpn_siphash_key {
  uint64_t k0, k1;
};

static inline uint64_t cpn_siphash_rotate(uint64_t x, unsigned bits) { return x << (bits & 63) | x >> (-bits & 63); }

static inline void cpn_siphash_round(uint64_t v[4]) {
  v[0] += v[1];
  v[1] = cpn_siphash_rotate(v[1], 13) ^ v[0];
  v[0] = cpn_siphash_rotate(v[0], 32);
  v[2] += v[3];
  v[3] = cpn_siphash_rotate(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = cpn_siphash_rotate(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = cpn_siphash_rotate(v[1], 17) ^ v[2];
  v[2] = cpn_siphash_rotate(v[2], 32);
}

static inline void cpn_siphash_begin(const struct cpn_siphash_key *key, uint64_t v[4]) {
  v[0] = key->k0 ^ UINT64_C(0x736f6d6570736575);
  v[1] = key->k1 ^ UINT64_C(0x646f72616e646f6d);
  v[2] = key->k0 ^ UINT64_C(0x6c7967656e657261);
  v[3] = key->k1 ^ UINT64_C(0x7465646279746573);
}

static inline void cpn_siphash_add(uint64_t v[4], uint64_t word) {
  v[3] ^= word;
  cpn_siphash_round(v);
  v[0] ^= word;
}

/* The last block holds the length in its highest byte, and no further bytes. */
static inline uint64_t cpn_siphash_end(uint64_t v[4], uint64_t length) {
  cpn_siphash_add(v, length << 56);
  v[2] ^= 0xff;
  for (int i = 0; i < 3; i++) cpn_siphash_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The hash of the 8 bytes of `word`, little-endian; and of the 16 bytes of two. */
static inline uint64_t cpn_siphash_u64(const struct cpn_siphash_key *key, uint64_t word) {
  uint64_t v[4];
  cpn_siphash_begin(key, v);
  cpn_siphash_add(v, word);
  return cpn_siphash_end(v, 8);
}

static inline uint64_t cpn_siphash_u128(const struct cpn_siphash_key *key, uint64_t low, uint64_t high) {
  uint64_t v[4];
  cpn_siphash_begin(key, v);
  cpn_siphash_add(v, low);
  cpn_siphash_add(v, high);
  return cpn_siphash_end(v, 16);
}

#endif
