/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chance, from a seed: the only source of it in a simulated run, so that a seed is the whole run.
 */
#ifndef TESTS_SIM_CHANCE_H
#define TESTS_SIM_CHANCE_H

#include "support/simdisk.h"

struct chance {
  uint64_t state;
};

static inline uint64_t chance_next(struct chance *chance) { return simdisk_chance(&chance->state); }

/* 0 … n - 1; n > 0. */
static inline uint64_t chance_below(struct chance *chance, uint64_t n) { return chance_next(chance) % n; }

/* Once in `of` times; never if `of` is 0. */
static inline bool chance_once_in(struct chance *chance, uint64_t of) {
  return of != 0 && chance_below(chance, of) == 0;
}

#define CHANCE_PICK(chance, array) ((array)[chance_below(chance, sizeof(array) / sizeof(array)[0])])

#endif
