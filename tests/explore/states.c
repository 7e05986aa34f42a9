/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What earlier runs have taught: in which states they have been, and which addresses are shared.
 */
#include <stdlib.h>
#include <string.h>

#include "inside.h"

#define KNOWN_SLOTS 4096

/* --- states -------------------------------------------------------------------------------------- */

static struct explore_state *states;
static uint64_t state_slots, state_count;

uint64_t explore_states_count(void) { return state_count; }

/* Its slot, or the free one where it belongs. */
static struct explore_state *state_find(struct explore_state *table, uint64_t slots, uint64_t sum) {
  uint64_t at = sum & (slots - 1);
  while (table[at].sum != 0 && table[at].sum != sum) at = (at + 1) & (slots - 1);
  return &table[at];
}

static struct explore_state *states_alloc(uint64_t slots) {
  struct explore_state *table = calloc(slots, sizeof *table);
  if (table == NULL) abort();
  return table;
}

void explore_states_clear(void) {
  free(states);
  state_slots = 1 << 12;
  state_count = 0;
  states = states_alloc(state_slots);
}

static struct explore_state *state_at(uint64_t sum) {
  if (state_count * 2 >= state_slots) {
    struct explore_state *larger = states_alloc(state_slots * 2);
    for (uint64_t i = 0; i < state_slots; i++)
      if (states[i].sum != 0) *state_find(larger, state_slots * 2, states[i].sum) = states[i];
    free(states);
    states = larger;
    state_slots *= 2;
  }
  return state_find(states, state_slots, sum);
}

struct explore_state *explore_state_of(uint64_t sum, bool *fresh) {
  struct explore_state *state = state_at(sum);
  *fresh = state->sum == 0;
  state->sum = sum;
  state_count += *fresh;
  return state;
}

/* --- what is shared ------------------------------------------------------------------------------ */

/* Operations on what only one thread touches, or nobody writes, are of no interest to the others: no choice is made
 * before them. Who touches what is learnt on the way; whenever that makes something shared, all begins again. */
static struct known known[KNOWN_SLOTS];

void explore_know_nothing(void) { memset(known, 0, sizeof known); }

struct known *explore_know(uintptr_t address) {
  for (uint64_t slot = explore_mix(address, 2);; slot++) {
    struct known *there = &known[slot & (KNOWN_SLOTS - 1)];
    if (there->address == 0) there->address = address;
    if (there->address == address) return there;
  }
}

bool explore_is_shared(const struct known *there) {
  return there->written && (there->threads & (there->threads - 1)) != 0;
}

void explore_touch(struct known *there, bool writes) {
  bool before = explore_is_shared(there);
  there->threads |= 1U << explore_current;
  there->written |= writes;
  if (!before && explore_is_shared(there)) explore_end_run(EXPLORE_LEARNT);
}
