/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inputs that hold a log: segment files one behind the other, each beginning at a block whose magic says so, without
 * the zeros at their ends. How they come onto the disk, and how they are mutated: by what the bytes mean, and sealed
 * again with right checksums most of the time, or the fuzzers would never get past the first of them. The offsets are
 * those of docs/FORMAT.md.
 */
#ifndef TESTS_FUZZ_LOG_INPUT_H
#define TESTS_FUZZ_LOG_INPUT_H

#include "memory_disk.h"

#define LOG_BLOCK ((size_t)512)
#define LOG_IDENTITY_SIZE ((size_t)16)

/* Files are zeros up to a multiple of this, the size of segments in all that the fuzzers write. */
#define LOG_SEGMENT_BYTES ((size_t)4096)

/* A manifest with this identity, 512 bytes. */
void log_input_manifest(const unsigned char *identity, unsigned char *block);

/* Puts the segments onto the disk: 0000000000000001.log and so on. */
void log_input_put(struct memory_disk *disk, const unsigned char *data, size_t size);

/* Numbers that repeat for a seed. */
uint64_t log_input_random(uint64_t *state);

/* Mutates; returns the new size. */
size_t log_input_mutate(unsigned char *data, size_t size, size_t max_size, const unsigned char *identity,
                        uint64_t *random);

/* Makes numbers, places, LSNs and lives follow from each other, as a writer would have them; and, if `polite`,
 * campaigns, users and times. */
void log_input_mend(unsigned char *data, size_t size, const unsigned char *identity, bool polite);

/* Right checksums for whatever says that it is a header. */
void log_input_seal(unsigned char *data, size_t size, const unsigned char *identity);

#endif
