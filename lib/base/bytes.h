/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian integers in byte arrays, on any host. Compilers turn each into one move.
 */
#ifndef CPN_BASE_BYTES_H
#define CPN_BASE_BYTES_H

#include <stdint.h>

static inline void cpn_put_u16(unsigned char *at, uint16_t value) {
  at[0] = (unsigned char)value;
  at[1] = (unsigned char)(value >> 8);
}

static inline void cpn_put_u32(unsigned char *at, uint32_t value) {
  for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (8 * i));
}

static inline void cpn_put_u64(unsigned char *at, uint64_t value) {
  for (int i = 0; i < 8; i++) at[i] = (unsigned char)(value >> (8 * i));
}

static inline uint16_t cpn_get_u16(const unsigned char *at) { return (uint16_t)(at[0] | (uint16_t)(at[1] << 8)); }

static inline uint32_t cpn_get_u32(const unsigned char *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t cpn_get_u64(const unsigned char *at) {
  return (uint64_t)cpn_get_u32(at) | (uint64_t)cpn_get_u32(at + 4) << 32;
}

#endif
