/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Little-endian integers in byte arrays, on any host. Compilers turn each into one move, if it is written without a
 * loop.
 */
#ifndef CPN_BASE_BYTES_H
#define CPN_BASE_BYTES_H

#include <stdint.h>

static inline void cpn_put_u16(unsigned char *at, uint16_t value) {
  at[0] = (unsigned char)value;
  at[1] = (unsigned char)(value >> 8);
}

static inline void cpn_put_u32(unsigned char *at, uint32_t value) {
  at[0] = (unsigned char)value;
  at[1] = (unsigned char)(value >> 8);
  at[2] = (unsigned char)(value >> 16);
  at[3] = (unsigned char)(value >> 24);
}

static inline void cpn_put_u64(unsigned char *at, uint64_t value) {
  at[0] = (unsigned char)value;
  at[1] = (unsigned char)(value >> 8);
  at[2] = (unsigned char)(value >> 16);
  at[3] = (unsigned char)(value >> 24);
  at[4] = (unsigned char)(value >> 32);
  at[5] = (unsigned char)(value >> 40);
  at[6] = (unsigned char)(value >> 48);
  at[7] = (unsigned char)(value >> 56);
}

static inline uint16_t cpn_get_u16(const unsigned char *at) { return (uint16_t)(at[0] | (uint16_t)(at[1] << 8)); }

static inline uint32_t cpn_get_u32(const unsigned char *at) {
  return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t cpn_get_u64(const unsigned char *at) {
  return (uint64_t)cpn_get_u32(at) | (uint64_t)cpn_get_u32(at + 4) << 32;
}

#endif
