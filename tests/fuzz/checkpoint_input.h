/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs that are a checkpoint, number 1: built by hand, mutated by what the bytes mean, sealed again. The offsets are
 * those of docs/FORMAT.md, "Checkpoints".
 */
#ifndef TESTS_FUZZ_CHECKPOINT_INPUT_H
#define TESTS_FUZZ_CHECKPOINT_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHECKPOINT_BUILD_MAX 4096

struct checkpoint_build {
  unsigned char bytes[CHECKPOINT_BUILD_MAX];
  size_t size, chunk; /* where the last chunk begins */
};

/* A first block that names segment 1, offset 1024, and this C and decision time. */
struct checkpoint_build checkpoint_build_begin(uint64_t lsn, uint64_t time_ns);
void checkpoint_build_chunk(struct checkpoint_build *made, unsigned kind, uint32_t campaign, uint64_t first_number);
/* A campaign of the last chunk. Returns its bytes, of which the rest are zero. */
unsigned char *checkpoint_build_campaign(struct checkpoint_build *made, uint64_t id, uint64_t created_lsn,
                                         uint64_t tickets, const char *name);
/* All tickets of the last chunk at once: users count up from `user`, LSNs and times by `step` and `unit`. */
void checkpoint_build_tickets(struct checkpoint_build *made, uint32_t count, bool uuid, uint64_t user, uint64_t lsn,
                              uint32_t step, uint64_t time_ns);

/* Makes places, counts, sizes and the digest follow from what is there (`whole`), and checksums right. */
void checkpoint_input_seal(unsigned char *data, size_t size, const unsigned char *identity, bool whole);

size_t checkpoint_input_mutate(unsigned char *data, size_t size, size_t max_size, const unsigned char *identity,
                               uint64_t *random);

#endif
