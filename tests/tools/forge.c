/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint that lies: forge FILE changes the user of the first ticket in it and makes all checksums right again,
 * so that only who compares it with the log can know. By docs/FORMAT.md.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Like everywhere else in tests, on a machine that is little-endian. */
static uint64_t get(const unsigned char *from, size_t size) {
  uint64_t value = 0;
  memcpy(&value, from, size);
  return value;
}

static void put(unsigned char *to, uint64_t value) { memcpy(to, &value, sizeof value); }

int main(int argc, char **argv) {
  static unsigned char bytes[1 << 22], sealed[16 + 56];
  FILE *file = argc == 2 ? fopen(argv[1], "r+b") : NULL;
  if (file == NULL) return 2;
  size_t length = fread(bytes, 1, sizeof bytes, file);
  uint64_t digest = 0;
  int forged = 0;
  for (size_t at = 512; at < length;) {
    unsigned char *chunk = bytes + at;
    size_t total = (64 + get(chunk + 40, 4) + 511) / 512 * 512;
    if (get(chunk + 6, 2) == 2 && !forged++) chunk[64 + 6] ^= 1;
    put(chunk + 48, XXH3_64bits(chunk + 64, total - 64));
    memcpy(sealed, bytes + 16, 16);
    memcpy(sealed + 16, chunk, 56);
    put(chunk + 56, XXH3_64bits(sealed, sizeof sealed));
    unsigned char link[16];
    put(link, digest);
    memcpy(link + 8, chunk + 56, 8);
    digest = XXH3_64bits(link, sizeof link);
    at += total;
  }
  put(bytes + 112, digest);
  put(bytes + 504, XXH3_64bits(bytes, 504));
  rewind(file);
  if (!forged || fwrite(bytes, 1, length, file) != length || fclose(file) != 0) return 1;
  return 0;
}
