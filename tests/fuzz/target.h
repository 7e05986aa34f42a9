/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fuzzer is, to libFuzzer and to the plain driver alike: libFuzzer's own entry points, and two of ours. Each
 * target (fuzz_NAME.c) defines them.
 */
#ifndef TESTS_FUZZ_TARGET_H
#define TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* The longest input; the short ones find as much, and sooner. */
#define TARGET_BYTES_MAX 4096

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

/* libFuzzer's mutation of plain bytes; the plain driver has one of its own. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* Of the last input: what happened, as judge_directory() says. */
extern uint64_t target_summary;

#endif
