/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the readers of segments: an input is a directory's segments, one behind the other, beside a manifest that is
 * right. */
#include "base/checksum.h"
#include "judge.h"
#include "log/format.h"
#include "log_input.h"
#include "target.h"

uint64_t target_summary;

static const unsigned char identity[LOG_IDENTITY_SIZE] = "fuzz.segment 016";
static unsigned char manifest[LOG_BLOCK];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  judge_begin();
  log_input_manifest(identity, manifest);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  memory_disk_clear(&judge_disk);
  memory_disk_put(&judge_disk, CPN_MANIFEST_NAME, manifest, sizeof manifest, 0);
  log_input_put(&judge_disk, data, size);
  target_summary = judge_directory(judge_choose(cpn_checksum(data, size)));
  return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
  uint64_t random = seed;
  return log_input_mutate(data, size, max_size, identity, &random);
}
