/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the claim set has one claim per user, whatever runs concurrently: every thread that asks for a user comes
 * to the same word, nobody else's, also where users share tags, where requests give up and leave FREE behind, and while
 * somebody makes room ahead; and a user who never asked is not found.
 *
 * How: four threads claim the same users, each in an order of its own (sequential, strided, bit-reversed, at
 * random), in sets that expect far fewer and so grow level by level under them. One thread per user wins the
 * claim and numbers it; some give up once before. Small sets, thousands of them, for the races over the first words
 * and levels; large ones for the growth. In part of them the hashes have so few tags that nearly every look meets
 * claims of others that look like one's own.
 */
#include "support/race_help.h"

#include <stdlib.h>

#define THREADS 4

struct sets {
  struct cpn_memory memory;
  struct cpn_claim_set set;
  uint64_t users;        /* a power of two */
  uint64_t spread, base; /* user number k has the id base + k * spread */
  struct cpn_hash_key key;
  uint64_t tag_mask; /* bits of the tag that are not the same for all */
  _Atomic uint64_t **claims[THREADS];
  _Atomic uint64_t winners, met_others;
  struct race_barrier barrier;
  uint64_t rounds, round, levels; /* levels of the last one */
};

static uint64_t id_of(const struct sets *sets, uint64_t k) { return sets->base + k * sets->spread; }

static uint64_t hash_of(const struct sets *sets, uint64_t k) {
  uint64_t hash = cpn_hash_u64(&sets->key, id_of(sets, k));
  return (hash & ~UINT64_C(0xffff)) | (hash & sets->tag_mask);
}

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

/* User number k's place: numbered, pending or free, or where its claim would be made. A number says who it is, as a
 * ticket does in the engine. */
static enum cpn_claim_kind find(struct sets *sets, uint64_t k, uint64_t hash, struct cpn_claim_place *place) {
  for (*place = cpn_claim_look(&sets->set, hash);; cpn_claim_look_on(&sets->set, hash, place)) {
    enum cpn_claim_kind kind = cpn_claim_kind_of(place->seen);
    if (kind == CPN_CLAIM_EMPTY) return kind;
    RACE_CHECK(place->seen >> CPN_CLAIM_TAG_SHIFT == cpn_claim_tag(hash), "a look stops at another's tag");
    if (kind == CPN_CLAIM_NUMBERED ? cpn_claim_number(place->seen) == k + 1 : cpn_claim_has_print(place->seen, hash))
      return kind;
    atomic_fetch_add_explicit(&sets->met_others, 1, memory_order_relaxed);
  }
}

/* As a request does, but that a number is all there is to win. One in eight gives up when it has the claim, once. */
static _Atomic uint64_t *claim(struct sets *sets, uint64_t k, struct race_random *random) {
  const uint64_t hash = hash_of(sets, k);
  bool gives_up = race_below(random, 8) == 0;
  for (uint32_t turns = 0;;) {
    struct cpn_claim_place place;
    enum cpn_claim_kind kind = find(sets, k, hash, &place);
    if (kind == CPN_CLAIM_NUMBERED) return place.word;
    if (kind == CPN_CLAIM_PENDING) {
      race_turn(&turns);
      continue;
    }
    if (place.word == NULL) {
      RACE_CHECK(cpn_claim_add_level(&sets->set, &sets->memory, &place), "not enough memory");
      continue;
    }
    if (!cpn_claim_swap(place.word, place.seen, cpn_claim_pending(hash))) continue;
    if (gives_up) {
      cpn_claim_write(place.word, cpn_claim_free(hash));
      gives_up = false;
      continue;
    }
    atomic_fetch_add(&sets->winners, 1);
    cpn_claim_write(place.word, cpn_claim_numbered(hash, k + 1));
    return place.word;
  }
}

static void claim_all(struct sets *sets, uint32_t thread, struct race_random *random) {
  const uint64_t key = race_next(random);
  const uint32_t order = (thread + (uint32_t)sets->round) % THREADS;
  struct cpn_claim_place place;
  for (uint64_t i = 0; i < sets->users; i++) {
    uint64_t k = in_order(sets, order, i, key);
    _Atomic uint64_t *word = claim(sets, k, random);
    RACE_CHECK(find(sets, k, hash_of(sets, k), &place) == CPN_CLAIM_NUMBERED && place.word == word,
               "looking and claiming disagree");
    RACE_CHECK(sets->claims[thread][k] == NULL, "the test visits a user twice");
    sets->claims[thread][k] = word;
    if (i % 64 == 0) {
      uint64_t absent = sets->users + race_below(random, sets->users) + 1;
      RACE_CHECK(find(sets, absent, hash_of(sets, absent), &place) == CPN_CLAIM_EMPTY, "found a user who never asked");
    }
    /* As the keeper: ahead of the others, or beside them. */
    if (thread == 0 && i % 128 == 127 && sets->round % 2 == 0)
      RACE_CHECK(cpn_claim_set_grow_for(&sets->set, &sets->memory, cpn_min_u64(2 * i, sets->users)), "no memory");
  }
}

static void begin_round(struct sets *sets, uint64_t expected, struct race_random *random) {
  unsigned char secret[CPN_HASH_SECRET_SIZE];
  struct coupon_allocator ours = COUPON_ALLOCATOR_INIT;
  for (size_t i = 0; i < sizeof secret; i++) secret[i] = (unsigned char)race_next(random);
  cpn_hash_key_init(&sets->key, secret);
  if (race_below(random, 2) == 0) sets->key.has_aes = false;
  sets->round++;
  sets->base = race_below(random, 2) == 0 ? 0 : race_next(random) >> 8 << 8;
  sets->spread = race_below(random, 2) == 0 ? 1 : UINT64_C(1) << (1 + race_below(random, 31));
  atomic_store(&sets->winners, 0);
  cpn_memory_init(&sets->memory, &ours, 0);
  cpn_claim_set_init(&sets->set, &sets->memory, expected, race_below(random, 4) == 0 ? expected : 0);
  for (int t = 0; t < THREADS; t++) {
    for (uint64_t k = 0; k < sets->users; k++) sets->claims[t][k] = NULL;
  }
}

static uint64_t levels_of(const struct cpn_claim_set *set) {
  uint64_t levels = 0;
  while (levels < CPN_CLAIM_LEVELS && atomic_load(&set->level[levels]) != NULL) levels++;
  return levels;
}

static void end_round(struct sets *sets) {
  RACE_CHECK(atomic_load(&sets->winners) == sets->users, "%" PRIu64 " entries were won", atomic_load(&sets->winners));
  for (uint64_t k = 0; k < sets->users; k++) {
    _Atomic uint64_t *word = sets->claims[0][k];
    const uint64_t hash = hash_of(sets, k);
    struct cpn_claim_place place;
    for (int t = 1; t < THREADS; t++)
      RACE_CHECK(sets->claims[t][k] == word, "two claims for user %" PRIu64, id_of(sets, k));
    /* Every word bears its own user's number: no two users share one. */
    RACE_CHECK(cpn_claim_read(word) == cpn_claim_numbered(hash, k + 1), "a claim bears another user's number");
    RACE_CHECK(find(sets, k, hash, &place) == CPN_CLAIM_NUMBERED && place.word == word, "a claim was lost");
  }
  RACE_CHECK(cpn_claim_set_bytes(&sets->set) == cpn_memory_used(&sets->memory), "bytes are counted wrongly");
  sets->levels = levels_of(&sets->set);
  cpn_claim_set_fini(&sets->set, &sets->memory);
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
    claim_all(sets, thread, &random);
    race_meet(&sets->barrier, &meetings);
    if (thread == 0) end_round(sets);
  }
}

static void run(uint64_t users, uint64_t expected, uint64_t tag_mask, uint64_t rounds) {
  static struct sets sets;
  struct plan plan = {&sets, expected};
  sets.users = users;
  sets.tag_mask = tag_mask;
  atomic_store(&sets.met_others, 0);
  sets.rounds = rounds;
  race_barrier_init(&sets.barrier, THREADS);
  for (int t = 0; t < THREADS; t++) {
    sets.claims[t] = malloc(users * sizeof(_Atomic uint64_t *));
    RACE_CHECK(sets.claims[t] != NULL, "not enough memory");
  }
  race_run(THREADS, play, &plan);
  for (int t = 0; t < THREADS; t++) free(sets.claims[t]);
  printf("%" PRIu64 " users, %" PRIu64 " expected, %" PRIu64 " tags: %" PRIu64 " sets, at last of %" PRIu64
         " levels, one claim each; %" PRIu64 " looks met another's\n",
         users, expected, tag_mask + 1, rounds, sets.levels, atomic_load(&sets.met_others));
}

int main(int argc, char **argv) {
  race_begin("race_claim_set", argc, argv);
  const uint64_t all = 0xffff, few = 1; /* tag 0 counts as 1: there is but one */
  const uint64_t many = cpn_ceil_power_of_two(race_rounds(131072, 16384));
  run(4, 1, few, race_rounds(5000, 500));
  run(4, 1, all, race_rounds(2000, 500));
  run(64, 2, 3, race_rounds(3000, 200));
  run(64, 64, 7, race_rounds(3000, 200));
  run(4096, 0, all, race_rounds(30, 3));
  run(4096, 4096, 31, race_rounds(30, 3));
  run(many, 16, all, 2);
  run(many, many, all, 2);
  run(many, many, 255, 2);
  return 0;
}
