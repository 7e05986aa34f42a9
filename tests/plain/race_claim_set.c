/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the claim set has one entry per user, whatever runs concurrently: every thread that inserts a user
 * gets the same entry, nobody else's, finding agrees with inserting, and a user who was never inserted is not
 * found.
 *
 * How: four threads insert the same users, each in an order of its own (sequential, strided, bit-reversed, at
 * random), into sets that expect far fewer and so grow level by level under them. One thread per user wins the
 * entry's state and writes its mark there. Small sets, thousands of them, for the races over the first entries
 * and levels; large ones for the growth.
 */
#include "support/race_help.h"

#include <stdlib.h>

#define THREADS 4

struct sets {
  struct cpn_memory memory;
  struct cpn_claim_set set;
  uint64_t users;        /* a power of two */
  uint64_t spread, base; /* user number k has the id base + k * spread */
  struct cpn_claim **claims[THREADS];
  _Atomic uint64_t winners;
  struct race_barrier barrier;
  uint64_t rounds, round;
};

static uint64_t id_of(const struct sets *sets, uint64_t k) { return sets->base + k * sets->spread; }

static uint64_t reversed(uint64_t k, uint64_t users) {
  uint64_t result = 0;
  for (uint64_t bit = 1; bit < users; bit <<= 1, k >>= 1) result = result << 1 | (k & 1);
  return result;
}

/* The i-th user of a thread: every order visits each user once. */
static uint64_t in_order(const struct sets *sets, uint32_t order, uint64_t i, uint64_t key) {
  const uint64_t mask = sets->users - 1;
  switch (order) {
    case 0:
      return i;
    case 1:
      return i * 1025 & mask; /* odd, so it meets all */
    case 2:
      return reversed(i, sets->users);
    default:
      return ((i ^ key) * (key | 1) + key) & mask;
  }
}

static void insert_all(struct sets *sets, uint32_t thread, struct race_random *random) {
  struct cpn_claim_set *set = &sets->set;
  const uint64_t key = race_next(random);
  const uint32_t order = (thread + (uint32_t)sets->round) % THREADS;
  for (uint64_t i = 0; i < sets->users; i++) {
    uint64_t k = in_order(sets, order, i, key), user = id_of(sets, k);
    struct cpn_claim *before = cpn_claim_set_find(set, user);
    struct cpn_claim *claim = cpn_claim_set_insert(set, user);
    RACE_CHECK(claim != NULL, "no entry for a user");
    RACE_CHECK(before == NULL || before == claim, "found an entry, and inserted into another");
    RACE_CHECK(cpn_claim_set_find(set, user) == claim, "finding and inserting disagree");
    RACE_CHECK(sets->claims[thread][k] == NULL, "the test visits a user twice");
    sets->claims[thread][k] = claim;
    if (cpn_claim_swap(claim, 0, CPN_CLAIM_PENDING)) {
      atomic_fetch_add(&sets->winners, 1);
      cpn_claim_write(claim, cpn_claim_numbered(k + 1));
    }
    if (i % 64 == 0) {
      uint64_t absent = id_of(sets, sets->users + race_below(random, sets->users) + 1);
      RACE_CHECK(cpn_claim_set_find(set, absent) == NULL, "found a user who was never inserted");
    }
  }
}

static void begin_round(struct sets *sets, uint64_t expected, struct race_random *random) {
  struct cpn_siphash_key key = {race_next(random), race_next(random)};
  struct coupon_allocator ours = COUPON_ALLOCATOR_INIT;
  sets->round++;
  sets->base = race_below(random, 2) == 0 ? 0 : race_next(random) >> 8 << 8;
  sets->spread = race_below(random, 2) == 0 ? 1 : UINT64_C(1) << (1 + race_below(random, 31));
  atomic_store(&sets->winners, 0);
  cpn_memory_init(&sets->memory, &ours, 0);
  cpn_claim_set_init(&sets->set, &sets->memory, &key, expected);
  for (int t = 0; t < THREADS; t++) {
    for (uint64_t k = 0; k < sets->users; k++) sets->claims[t][k] = NULL;
  }
}

static void end_round(struct sets *sets) {
  RACE_CHECK(atomic_load(&sets->winners) == sets->users, "%" PRIu64 " entries were won", atomic_load(&sets->winners));
  for (uint64_t k = 0; k < sets->users; k++) {
    struct cpn_claim *claim = sets->claims[0][k];
    uint64_t user = id_of(sets, k);
    for (int t = 1; t < THREADS; t++) RACE_CHECK(sets->claims[t][k] == claim, "two entries for user %" PRIu64, user);
    /* Every entry bears its own user's mark: no two users share one. */
    RACE_CHECK(cpn_claim_read(claim) == cpn_claim_numbered(k + 1), "an entry bears another user's mark");
    RACE_CHECK(user == 0 || atomic_load(&claim->user) == user, "an entry of another user");
    RACE_CHECK(cpn_claim_set_find(&sets->set, user) == claim, "an entry was lost");
  }
  cpn_claim_set_fini(&sets->set);
  RACE_CHECK(cpn_memory_used(&sets->memory) == 0, "memory is left");
}

struct plan {
  struct sets *sets;
  uint64_t expected;
};

static void play(void *context, uint32_t thread) {
  struct plan *plan = context;
  struct sets *sets = plan->sets;
  struct race_random random = race_stream(sets->users * 8 + thread);
  uint64_t meetings = 0;
  for (uint64_t i = 0; i < sets->rounds; i++) {
    if (thread == 0) begin_round(sets, plan->expected, &random);
    race_meet(&sets->barrier, &meetings);
    insert_all(sets, thread, &random);
    race_meet(&sets->barrier, &meetings);
    if (thread == 0) end_round(sets);
  }
}

static uint64_t levels_of(uint64_t users, uint64_t expected) {
  /* How many levels so many users need, found out by one thread. */
  struct sets sets = {.users = users, .spread = 1};
  struct coupon_allocator ours = COUPON_ALLOCATOR_INIT;
  struct cpn_siphash_key key = {1, 2};
  uint64_t levels = 0;
  cpn_memory_init(&sets.memory, &ours, 0);
  cpn_claim_set_init(&sets.set, &sets.memory, &key, expected);
  for (uint64_t k = 0; k < users; k++) RACE_CHECK(cpn_claim_set_insert(&sets.set, k) != NULL, "no entry");
  while (levels < CPN_CLAIM_LEVELS && atomic_load(&sets.set.level[levels]) != NULL) levels++;
  cpn_claim_set_fini(&sets.set);
  return levels;
}

static void run(uint64_t users, uint64_t expected, uint64_t rounds) {
  static struct sets sets;
  struct plan plan = {&sets, expected};
  sets.users = users;
  sets.rounds = rounds;
  race_barrier_init(&sets.barrier, THREADS);
  for (int t = 0; t < THREADS; t++) {
    sets.claims[t] = malloc(users * sizeof(struct cpn_claim *));
    RACE_CHECK(sets.claims[t] != NULL, "not enough memory");
  }
  race_run(THREADS, play, &plan);
  for (int t = 0; t < THREADS; t++) free(sets.claims[t]);
  printf("%" PRIu64 " users, %" PRIu64 " expected, about %" PRIu64 " levels: %" PRIu64 " sets, one entry each\n", users,
         expected, levels_of(users, expected), rounds);
}

int main(int argc, char **argv) {
  race_begin("race_claim_set", argc, argv);
  run(4, 1, race_rounds(5000, 500));
  run(64, 2, race_rounds(5000, 200));
  run(4096, 0, race_rounds(30, 3));
  const uint64_t many = cpn_ceil_power_of_two(race_rounds(262144, 16384));
  run(many, 16, 2);
  run(many, many, 2);
  return 0;
}
