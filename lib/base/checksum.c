/* SPDX-License-Identifier: Apache-2.0 */
#include "base/checksum.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/defs.h"

uint64_t cpn_checksum(const void *bytes, size_t size) { return XXH3_64bits(bytes, size); }

uint64_t cpn_checksum_two(const void *first, size_t first_size, const void *second, size_t second_size) {
  /* Only short pieces are hashed together (an identity and a header), so a copy beats a streaming state. */
  unsigned char both[128];
  CPN_INVARIANT(0, first_size <= sizeof both && second_size <= sizeof both - first_size);
  memcpy(both, first, first_size);
  memcpy(both + first_size, second, second_size);
  return XXH3_64bits(both, first_size + second_size);
}
