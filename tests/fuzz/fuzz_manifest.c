/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the readers of the manifest, and what an opening does about one that is missing, short or another's: an input
 * is the manifest's 512 bytes, all zero for none, with segments behind. Files that a crash leaves half made are there,
 * too.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "judge.h"
#include "log/format.h"
#include "log_input.h"
#include "target.h"

uint64_t target_summary;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  judge_begin();
  return 0;
}

static bool is_zero(const uint8_t *data, size_t size) {
  return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  size_t length = size < LOG_BLOCK ? size : LOG_BLOCK;
  memory_disk_clear(&judge_disk);
  if (!is_zero(data, length)) memory_disk_put(&judge_disk, CPN_MANIFEST_NAME, data, length, 0);
  memory_disk_put(&judge_disk, CPN_MANIFEST_TEMPORARY_NAME, data, length, 0);
  memory_disk_put(&judge_disk, CPN_SEGMENT_TEMPORARY_NAME, data, length, 0);
  log_input_put(&judge_disk, data + length, size - length);
  target_summary = judge_directory(judge_choose(cpn_checksum(data, size)));
  return 0;
}

static void mutate_manifest(uint8_t *data, uint64_t *random) {
  static const uint16_t fields[] = {0, 8, 9, 12, 13, 16, 31, 32, 40, 41, 47, 48, 100, 503, 504};
  uint8_t *at = data + fields[log_input_random(random) % (sizeof fields / sizeof fields[0])];
  uint64_t how = log_input_random(random);
  if (how % 8 == 0) {
    memset(data, 0, LOG_BLOCK);
    return;
  }
  if (how % 4 == 1) log_input_manifest(data + 16, data);
  *at = (uint8_t)(how % 2 == 0 ? *at + 1u : how >> 8);
  if (how >> 16 & 7) cpn_put_u64(data + 504, cpn_checksum(data, 504));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
  uint64_t random = seed;
  if (log_input_random(&random) % 8 == 0) size = LLVMFuzzerMutate(data, size, max_size);
  if (size < LOG_BLOCK) return size;
  if (log_input_random(&random) % 2 == 0) mutate_manifest(data, &random);
  if (size == LOG_BLOCK && log_input_random(&random) % 4 != 0) return size;
  return LOG_BLOCK + log_input_mutate(data + LOG_BLOCK, size - LOG_BLOCK, max_size - LOG_BLOCK, data + 16, &random);
}
