/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checksum of the format: XXH3, 64 bits, seed 0 (Yann Collet's xxHash). The header's own code is
 * compiled in, so that a program that links us needs no further library; it picks nothing beyond the
 * baseline instructions, which hash faster than any disk writes.
 */
#ifndef CPN_BASE_CHECKSUM_H
#define CPN_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

uint64_t cpn_checksum(const void *bytes, size_t size);

/* Of two pieces, as if they stood side by side. */
uint64_t cpn_checksum_two(const void *first, size_t first_size, const void *second, size_t second_size);

#endif
