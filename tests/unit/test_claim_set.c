/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the claim set keeps what it is given: claims are words that come back as they were made, a claim is made
 * in the first empty place of its user's order and nowhere else, looking with wide instructions and word by word is the
 * same, users whose hashes agree, in the tag, the print, or altogether, are told apart by what their claims lead to,
 * and running out of memory leaves the set as it was. One thread; many threads are in tests/plain/race_claim_set.c.
 *
 * Hashes are handed in: any number is one.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "issue/claim_set.h"
#include "support/engine_help.h"

static struct cpn_memory memory;
static struct cpn_claim_set set;

static void begin(uint64_t limit, uint64_t expected) {
  static const struct coupon_allocator ours;
  cpn_memory_init(&memory, &ours, limit);
  cpn_claim_set_init(&set, &memory, expected, 0);
}

static void end(void) {
  cr_expect_eq(cpn_claim_set_bytes(&set), cpn_memory_used(&memory));
  cpn_claim_set_fini(&set, &memory);
  cr_expect_eq(cpn_memory_used(&memory), 0);
}

/* --- an engine in little ------------------------------------------------------------------------- */

/* Who has the ticket of each number: what tells users apart whose hashes agree. */
#define OWNERS_MAX 100001
static uint64_t owners[OWNERS_MAX];

/* The user's claim, or the place where it would be made. */
static struct cpn_claim_place find(uint64_t user, uint64_t hash) {
  struct cpn_claim_place place;
  place = cpn_claim_look(&set, hash);
  while (place.seen != 0 && owners[cpn_claim_number(place.seen)] != user) cpn_claim_look_on(&set, hash, &place);
  return place;
}

/* Claims for the user who gets ticket `number`, in two steps, as the engine does. False: no memory. */
static bool claim(uint64_t user, uint64_t hash, uint64_t number) {
  for (;;) {
    struct cpn_claim_place place = find(user, hash);
    cr_assert_eq(place.seen, 0, "the user has a claim already");
    if (place.word == NULL) {
      if (!cpn_claim_add_level(&set, &memory, &place)) return false;
      continue;
    }
    cr_assert(cpn_claim_swap(place.word, 0, cpn_claim_pending(hash)));
    owners[number] = user;
    cpn_claim_write(place.word, cpn_claim_numbered(hash, number));
    return true;
  }
}

/* Users who have `number` as their ticket are in the set. */
static void expect_held(uint64_t user, uint64_t hash, uint64_t number) {
  struct cpn_claim_place place = find(user, hash);
  cr_assert_eq(cpn_claim_kind_of(place.seen), CPN_CLAIM_NUMBERED);
  cr_assert_eq(cpn_claim_number(place.seen), number);
}

/* --- the word ------------------------------------------------------------------------------------ */

Test(claim, words_come_back_as_they_were_made) {
  uint64_t state = help_seed();
  const uint64_t lsns[] = {0, 8, COUPON_LSN_MAX - 8, UINT64_C(0x555555555550)};
  const uint64_t numbers[] = {1, 2, COUPON_STOCK_MAX, (UINT64_C(1) << 45) - 1};
  for (int i = 0; i < 10000; i++) {
    const uint64_t hash = i < 4 ? (uint64_t[]){0, 1, 0xffff, UINT64_MAX}[i] : help_random(&state);
    for (int j = 0; j < 4; j++) {
      uint64_t held = cpn_claim_held(hash, lsns[j]), numbered = cpn_claim_numbered(hash, numbers[j]);
      cr_assert(cpn_claim_kind_of(held) == CPN_CLAIM_HELD && cpn_claim_lsn(held) == lsns[j]);
      cr_assert(cpn_claim_kind_of(numbered) == CPN_CLAIM_NUMBERED && cpn_claim_number(numbered) == numbers[j]);
      cr_assert(held >> CPN_CLAIM_TAG_SHIFT == cpn_claim_tag(hash));
      cr_assert(numbered >> CPN_CLAIM_TAG_SHIFT == cpn_claim_tag(hash));
    }
    cr_assert_eq(cpn_claim_kind_of(cpn_claim_pending(hash)), CPN_CLAIM_PENDING);
    cr_assert_eq(cpn_claim_kind_of(cpn_claim_free(hash)), CPN_CLAIM_FREE);
    cr_assert_neq(cpn_claim_tag(hash), 0, "which only empty words have");
  }
}

/* 61 bits: three in the middle say nothing. */
Test(claim, a_print_tells_apart_what_differs_in_any_of_its_bits) {
  uint64_t state = help_seed();
  for (int i = 0; i < 1000; i++) {
    const uint64_t hash = help_random(&state) | 4; /* so that no change of a bit of the tag makes 0 of it */
    cr_assert(cpn_claim_has_print(cpn_claim_pending(hash), hash));
    cr_assert(cpn_claim_has_print(cpn_claim_free(hash), hash));
    for (int bit = 0; bit < 64; bit++) {
      const uint64_t other = hash ^ UINT64_C(1) << bit;
      if (cpn_claim_tag(other) == cpn_claim_tag(hash) && bit < 16) continue;
      cr_assert_eq(cpn_claim_has_print(cpn_claim_pending(hash), other), bit >= 16 && bit < 19, "bit %d", bit);
      cr_assert_eq(cpn_claim_has_print(cpn_claim_free(hash), other), bit >= 16 && bit < 19, "bit %d", bit);
    }
  }
}

/* --- many users ---------------------------------------------------------------------------------- */

static uint64_t hashes[OWNERS_MAX];

static void draw_hashes(uint64_t count) {
  uint64_t state = help_seed();
  for (uint64_t i = 1; i <= count; i++) hashes[i] = help_random(&state);
}

Test(claim_set, keeps_every_user_through_growth) {
  draw_hashes(100000);
  const uint64_t limits[] = {0, UINT64_C(2)
                                    << 20}; /* one level at the beginning that is nearly enough, or a small one */
  for (int i = 0; i < 2; i++) {
    begin(limits[i], 100000);
    for (uint64_t user = 1; user <= 100000; user++) {
      cr_assert(claim(user, hashes[user], user));
      if (user % 1000 == 0) expect_held(user / 2, hashes[user / 2], user / 2);
    }
    for (uint64_t user = 1; user <= 100000; user++) expect_held(user, hashes[user], user);
    end();
  }
}

/* A crowd that met at the last unit has left entries: many times as many as were expected. */
Test(claim_set, keeps_many_more_than_were_expected) {
  draw_hashes(20000);
  begin(0, 200);
  for (uint64_t user = 1; user <= 20000; user++) cr_assert(claim(user, hashes[user], user));
  for (uint64_t user = 1; user <= 20000; user++) expect_held(user, hashes[user], user);
  end();
}

Test(claim_set, keeps_them_at_any_expectation) {
  draw_hashes(3000);
  for (uint64_t expected = 0; expected < 3000; expected += 1 + expected / 4) {
    begin(0, expected);
    uint64_t count = expected + expected / 8 + 1;
    for (uint64_t user = 1; user <= count; user++) cr_assert(claim(user, hashes[user], user));
    for (uint64_t user = 1; user <= count; user++) expect_held(user, hashes[user], user);
    end();
  }
}

Test(claim_set, looking_leaves_nothing) {
  draw_hashes(10);
  begin(0, 1000);
  struct cpn_claim_place place;
  place = cpn_claim_look(&set, hashes[1]);
  cr_expect_null(place.word, "there is no level yet");
  cr_expect_eq(place.seen, 0);
  cr_assert(claim(1, hashes[1], 1));
  uint64_t used = cpn_memory_used(&memory), state = help_seed();
  for (int i = 0; i < 100000; i++) {
    const uint64_t hash = help_random(&state);
    place = cpn_claim_look(&set, hash);
    while (place.seen != 0) cpn_claim_look_on(&set, hash, &place);
  }
  cr_expect_eq(cpn_memory_used(&memory), used);
  expect_held(1, hashes[1], 1);
  end();
}

Test(claim_set, of_its_users_costs_at_most_14_bytes_each) {
  draw_hashes(100000);
  begin(0, 100000);
  for (uint64_t user = 1; user <= 100000; user++) cr_assert(claim(user, hashes[user], user));
  cr_expect_leq(cpn_memory_used(&memory) / 100000, 14, "%llu bytes each",
                (unsigned long long)(cpn_memory_used(&memory) / 100000));
  end();
}

Test(claim_set, the_first_level_is_at_most_a_mebibyte_or_a_sixteenth_of_the_memory) {
  draw_hashes(1);
  for (uint64_t limit = 4096; limit <= UINT64_C(1) << 30; limit *= 2) {
    begin(limit, COUPON_STOCK_MAX);
    cr_assert(claim(1, hashes[1], 1));
    uint64_t most = cpn_min_u64(limit / 16, UINT64_C(1) << 20);
    cr_expect_leq(cpn_memory_used(&memory), cpn_max_u64(most, 128) + sizeof(struct cpn_claim_level));
    end();
  }
}

Test(claim_set, that_was_grown_beforehand_needs_hardly_another_level) {
  draw_hashes(100000);
  for (uint64_t grown = 1; grown <= 100000; grown *= 10) {
    begin(0, 100000);
    cr_assert(cpn_claim_set_grow_for(&set, &memory, grown));
    uint64_t before = cpn_memory_used(&memory);
    cr_assert(cpn_claim_set_grow_for(&set, &memory, grown), "again changes nothing");
    cr_expect_eq(cpn_memory_used(&memory), before);
    for (uint64_t user = 1; user <= grown; user++) cr_assert(claim(user, hashes[user], user));
    cr_expect_leq(cpn_memory_used(&memory) - before, before / 16);
    end();
  }
}

Test(claim_set, out_of_memory_leaves_it_as_it_was) {
  draw_hashes(100000);
  for (uint64_t limit = 512; limit < 100000; limit += limit / 3) {
    begin(limit, 100000);
    uint64_t count = 0;
    while (claim(count + 1, hashes[count + 1], count + 1)) count++;
    cr_expect_gt(count, limit / 40, "%llu users in %llu bytes", (unsigned long long)count, (unsigned long long)limit);
    for (uint64_t user = 1; user <= count; user++) expect_held(user, hashes[user], user);
    cr_expect_eq(find(count + 1, hashes[count + 1]).seen, 0);
    cr_expect_not(claim(count + 1, hashes[count + 1], count + 1), "asking again changes nothing");
    cr_expect_leq(cpn_memory_used(&memory), limit);
    end();
  }
}

/* --- the order of places ------------------------------------------------------------------------- */

/* The same order, from its description: all words of the pair of lines in each level. */
static void look_by_the_book(uint64_t hash, struct cpn_claim_place *place) {
  for (unsigned k = 0; k < CPN_CLAIM_LEVELS && cpn_claim_level_at(&set, k) != NULL; k++) {
    struct cpn_claim_level *level = cpn_claim_level_at(&set, k);
    uint64_t home = cpn_claim_home(hash, k, level->lines);
    for (uint32_t i = 0; i < 16; i++) {
      uint64_t line = i < 8 ? home : (home % 2 == 0 ? home + 1 : home - 1);
      cr_assert_lt(line, level->lines);
      place->word = &level->words[line * 8 + i % 8];
      place->seen = cpn_claim_read(place->word);
      place->at = k * 16 + i;
      if (place->seen == 0 || place->seen >> 48 == cpn_claim_tag(hash)) return;
    }
  }
  place->word = NULL;
  place->seen = 0;
}

static void expect_same_place(const struct cpn_claim_place *a, const struct cpn_claim_place *b) {
  cr_assert_eq(a->word, b->word);
  cr_assert_eq(a->seen, b->seen);
  if (a->word != NULL) cr_assert_eq(a->at, b->at);
}

/* Wide instructions look at tags with their sign, so those around it are among the hashes. */
static uint64_t tricky_hash(uint64_t *state) {
  const uint64_t tags[] = {0, 1, 2, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff};
  uint64_t hash = help_random(state);
  return hash % 2 == 0 ? hash : (hash & ~UINT64_C(0xffff)) | tags[hash >> 1 & 7];
}

Test(claim_set, wide_and_narrow_looks_and_the_book_agree_at_every_filling) {
  uint64_t state = help_seed(), user = 0;
  begin(UINT64_C(1) << 19, 20000);
  for (int filling = 0; filling < 40; filling++) {
    for (int i = 0; i < 500; i++) {
      user++;
      cr_assert(claim(user, tricky_hash(&state), user));
    }
    for (int i = 0; i < 2000; i++) {
      uint64_t hash = tricky_hash(&state);
      struct cpn_claim_place wide, narrow, book;
      wide = cpn_claim_look(&set, hash);
      cpn_claim_walk(&set, hash, 0, &narrow);
      look_by_the_book(hash, &book);
      expect_same_place(&wide, &narrow);
      expect_same_place(&wide, &book);
    }
  }
  end();
}

Test(claim_set, a_claim_is_made_in_the_first_empty_word_of_its_order) {
  uint64_t state = help_seed();
  begin(UINT64_C(1) << 18, 10000);
  for (uint64_t user = 1; user <= 10000; user++) {
    uint64_t hash = help_random(&state);
    cr_assert(claim(user, hash, user));
    struct cpn_claim_place place;
    cpn_claim_walk(&set, hash, 0, &place);
    while (cpn_claim_number(place.seen) != user) {
      cr_assert_neq(place.seen, 0, "there is an empty word before the claim");
      cpn_claim_look_on(&set, hash, &place);
    }
  }
  end();
}

/* --- hashes that agree --------------------------------------------------------------------------- */

/* As a forger would have it who knows the secret: everybody has one hash. Found are all, through their tickets. */
Test(claim_set, users_with_one_hash_are_told_apart_by_their_tickets) {
  const uint64_t forged[] = {0, 1, UINT64_MAX, UINT64_C(0x0123456789abcdef)};
  for (int i = 0; i < 4; i++) {
    begin(0, 1000);
    for (uint64_t user = 1; user <= 100; user++) cr_assert(claim(user, forged[i], user)); /* some levels deep */
    for (uint64_t user = 1; user <= 100; user++) expect_held(user, forged[i], user);
    cr_expect_eq(find(101, forged[i]).seen, 0);
    end();
  }
}

Test(claim_set, users_with_one_print_share_a_claim_until_it_is_one_of_theirs) {
  const uint64_t hash = UINT64_C(0x123456789abcdef0);
  begin(0, 1000);
  struct cpn_claim_place first, second;
  first = cpn_claim_look(&set, hash);
  cr_assert(cpn_claim_add_level(&set, &memory, &first));
  first = cpn_claim_look(&set, hash);
  cr_assert(cpn_claim_swap(first.word, 0, cpn_claim_pending(hash)));
  /* The other one finds it PENDING, of its own print: it waits. It cannot make one of its own beside it. */
  second = cpn_claim_look(&set, hash);
  cr_expect_eq(second.word, first.word);
  cr_expect(cpn_claim_has_print(second.seen, hash));
  /* Given up, it is free for both. */
  cpn_claim_write(first.word, cpn_claim_free(hash));
  second = cpn_claim_look(&set, hash);
  cr_expect_eq(second.word, first.word);
  cr_expect(cpn_claim_swap(second.word, cpn_claim_free(hash), cpn_claim_pending(hash)));
  cr_expect_not(cpn_claim_swap(first.word, cpn_claim_free(hash), cpn_claim_pending(hash)), "one of them has it");
  /* It has become the second one's, and the first one's place is the next. */
  owners[1] = 2;
  cpn_claim_write(second.word, cpn_claim_numbered(hash, 1));
  first = find(1, hash);
  cr_expect_neq(first.word, second.word);
  cr_expect_eq(first.seen, 0);
  cr_assert(claim(1, hash, 2));
  expect_held(2, hash, 1);
  expect_held(1, hash, 2);
  end();
}

Test(claim_set, a_level_that_another_has_added_is_not_added_twice) {
  begin(0, 1000);
  struct cpn_claim_place place;
  place = cpn_claim_look(&set, 5);
  cr_assert(cpn_claim_add_level(&set, &memory, &place));
  uint64_t used = cpn_memory_used(&memory);
  cr_assert(cpn_claim_add_level(&set, &memory, &place)); /* asked for the level that is there by now */
  cr_expect_eq(cpn_memory_used(&memory), used);
  end();
}
