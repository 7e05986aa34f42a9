/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the hash of users depends on every bit of user and secret, in both of its forms, and that users of any
 * pattern spread over the claim set's lines as if at random, those included that somebody has chosen to collide under
 * another secret.
 *
 * The expected values were computed with other programs, written from the papers: a SipHash of bytes that also gives
 * the paper's own example for its 2-4 form, and a round of AES from the field's arithmetic that gives that of FIPS 197,
 * appendix B.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/hash.h"
#include "issue/claim_set.h"
#include "support/engine_help.h"

static struct cpn_hash_key key_of(uint64_t *state) {
  unsigned char secret[CPN_HASH_SECRET_SIZE];
  for (size_t i = 0; i < sizeof secret; i += 8) {
    uint64_t word = help_random(state);
    memcpy(secret + i, &word, 8);
  }
  struct cpn_hash_key key;
  cpn_hash_key_init(&key, secret);
  return key;
}

/* Each test runs for both forms; where the processor has no AES, for one. */
static const char *const form_names[] = {"SipHash", "AES"};

static int forms(void) {
  uint64_t state = 0;
  return key_of(&state).has_aes ? 2 : 1;
}

static struct cpn_hash_key key_of_form(uint64_t *state, int form) {
  struct cpn_hash_key key = key_of(state);
  key.has_aes = form == 1;
  return key;
}

/* --- expected values ----------------------------------------------------------------------------- */

Test(siphash, of_one_and_two_words_gives_the_values_of_its_definition) {
  const struct cpn_siphash_key count = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
  const struct cpn_siphash_key zero = {0, 0}, ones = {UINT64_MAX, UINT64_MAX};
  cr_expect_eq(cpn_siphash_u64(&count, count.k0), UINT64_C(0x369095118d299a8e));
  cr_expect_eq(cpn_siphash_u128(&count, count.k0, count.k1), UINT64_C(0xcc4fdd1a7d908b66));
  cr_expect_eq(cpn_siphash_u64(&zero, 0), UINT64_C(0xbd60acb658c79e45));
  cr_expect_eq(cpn_siphash_u128(&zero, 0, 0), UINT64_C(0x76be999e3e25b2a0));
  cr_expect_eq(cpn_siphash_u64(&ones, UINT64_MAX), UINT64_C(0x5b16b7a8181980c2));
  cr_expect_eq(cpn_siphash_u128(&ones, UINT64_MAX, UINT64_MAX), UINT64_C(0xc51ea4f6822a5355));
}

Test(hash, with_aes_gives_the_values_of_its_definition) {
  unsigned char secret[CPN_HASH_SECRET_SIZE];
  for (size_t i = 0; i < sizeof secret; i++) secret[i] = (unsigned char)i;
  struct cpn_hash_key key;
  cpn_hash_key_init(&key, secret);
  if (!key.has_aes) return;
  const uint64_t low = UINT64_C(0x0706050403020100), high = UINT64_C(0x0f0e0d0c0b0a0908);
  cr_expect_eq(cpn_hash_u64(&key, low), UINT64_C(0xc3dbc66141375488));
  cr_expect_eq(cpn_hash_u128(&key, low, high), UINT64_C(0x4ef1d155f226d564));
  cr_expect_eq(cpn_hash_u64(&key, 0), UINT64_C(0x93d5405f57f9c29c));
}

Test(hash, without_aes_is_siphash_under_a_part_of_the_secret_of_its_own) {
  unsigned char secret[CPN_HASH_SECRET_SIZE];
  for (size_t i = 0; i < sizeof secret; i++) secret[i] = (unsigned char)(i - (sizeof secret - 16));
  struct cpn_hash_key key;
  cpn_hash_key_init(&key, secret);
  key.has_aes = false;
  const uint64_t low = UINT64_C(0x0706050403020100), high = UINT64_C(0x0f0e0d0c0b0a0908);
  cr_expect_eq(cpn_hash_u64(&key, low), UINT64_C(0x369095118d299a8e));
  cr_expect_eq(cpn_hash_u128(&key, low, high), UINT64_C(0xcc4fdd1a7d908b66));
}

/* --- every bit ----------------------------------------------------------------------------------- */

/* How often each bit of the hash changes with a bit of what is hashed. Of 1024 tries half, within 6.5 of the 16 that
 * are one standard deviation. */
#define TRIES 1024
#define LEAST_CHANGES (TRIES / 2 - 104)
#define MOST_CHANGES (TRIES / 2 + 104)

struct changes {
  unsigned of_bit[64];
};

static void note_changes(struct changes *changes, uint64_t difference) {
  for (unsigned i = 0; i < 64; i++) changes->of_bit[i] += (unsigned)(difference >> i & 1);
}

static void expect_half_changed(const struct changes *changes, const char *what, unsigned bit) {
  for (unsigned i = 0; i < 64; i++)
    cr_expect(changes->of_bit[i] >= LEAST_CHANGES && changes->of_bit[i] <= MOST_CHANGES,
              "%s, bit %u: bit %u of the hash changes in %u of %u tries", what, bit, i, changes->of_bit[i], TRIES);
}

Test(hash, changes_half_of_its_bits_with_every_bit_of_a_number) {
  uint64_t state = help_seed();
  for (int form = 0; form < forms(); form++) {
    for (unsigned bit = 0; bit < 64; bit++) {
      struct changes changes = {{0}};
      for (int i = 0; i < TRIES; i++) {
        struct cpn_hash_key key = key_of_form(&state, form);
        uint64_t word = (uint64_t)i; /* small numbers, as most users are */
        note_changes(&changes, cpn_hash_u64(&key, word) ^ cpn_hash_u64(&key, word ^ UINT64_C(1) << bit));
      }
      expect_half_changed(&changes, form_names[form], bit);
    }
  }
}

Test(hash, changes_half_of_its_bits_with_every_bit_of_sixteen_bytes) {
  uint64_t state = help_seed();
  for (int form = 0; form < forms(); form++) {
    for (unsigned bit = 0; bit < 128; bit++) {
      struct changes changes = {{0}};
      struct cpn_hash_key key = key_of_form(&state, form);
      for (int i = 0; i < TRIES; i++) {
        uint64_t low = help_random(&state), high = help_random(&state);
        uint64_t other_low = bit < 64 ? low ^ UINT64_C(1) << bit : low;
        uint64_t other_high = bit < 64 ? high : high ^ UINT64_C(1) << (bit - 64);
        note_changes(&changes, cpn_hash_u128(&key, low, high) ^ cpn_hash_u128(&key, other_low, other_high));
      }
      expect_half_changed(&changes, form_names[form], bit);
    }
  }
}

Test(hash, changes_half_of_its_bits_with_every_bit_of_its_part_of_the_secret) {
  uint64_t state = help_seed();
  for (int form = 0; form < forms(); form++) {
    const unsigned first = form == 1 ? 0 : 80, last = form == 1 ? 72 : 96;
    for (unsigned bit = first * 8; bit < last * 8; bit++) {
      struct changes changes = {{0}};
      unsigned char secret[CPN_HASH_SECRET_SIZE];
      for (size_t i = 0; i < sizeof secret; i++) secret[i] = (unsigned char)help_random(&state);
      struct cpn_hash_key key, other;
      cpn_hash_key_init(&key, secret);
      secret[bit / 8] ^= (unsigned char)(1U << bit % 8);
      cpn_hash_key_init(&other, secret);
      key.has_aes = other.has_aes = form == 1;
      /* The last round's key is only added: a bit of it is a bit of the hash, whatever is hashed. */
      if (form == 1 && bit >= 64 * 8) {
        cr_expect_eq(cpn_hash_u64(&key, 5) ^ cpn_hash_u64(&other, 5), UINT64_C(1) << (bit - 64 * 8));
        continue;
      }
      for (int i = 0; i < TRIES; i++) {
        uint64_t low = help_random(&state), high = help_random(&state);
        note_changes(&changes, cpn_hash_u128(&key, low, high) ^ cpn_hash_u128(&other, low, high));
      }
      /* One round before the end a byte of the key reaches but four of the block, of which this half has some. */
      bool reaches_all = form == 0 || bit < 48 * 8;
      if (reaches_all) expect_half_changed(&changes, form_names[form], bit);
    }
  }
}

/* --- lines of the claim set ---------------------------------------------------------------------- */

/* As many users as a set of 5000 lines expects: five to a line. Of 5000 lines filled at random one with more than 25 is
 * met in one of eight million sets, since a line has a Poisson distribution around 5. */
#define LINES 5000
#define USERS 25000
#define MOST_IN_A_LINE 25

static uint64_t reverse_bits(uint64_t x) {
  uint64_t y = 0;
  for (int i = 0; i < 64; i++) y |= (x >> i & 1) << (63 - i);
  return y;
}

enum { SEQUENTIAL, DESCENDING, REVERSED, FIRST_STRIDE };
#define PATTERNS (FIRST_STRIDE + 64)

static uint64_t user_of(int pattern, uint64_t i) {
  if (pattern == SEQUENTIAL) return i;
  if (pattern == DESCENDING) return UINT64_MAX - i;
  if (pattern == REVERSED) return reverse_bits(i);
  unsigned stride = (unsigned)(pattern - FIRST_STRIDE);
  return i << stride | (stride == 0 ? 0 : i >> (64 - stride)); /* a rotation, so that all stay different */
}

struct load {
  unsigned of_line[LINES];
  unsigned most;
};

static void put(struct load *load, uint64_t hash) {
  unsigned *line = &load->of_line[cpn_claim_home(hash, 0, LINES)];
  if (++*line > load->most) load->most = *line;
}

Test(hash, spreads_numbers_of_every_pattern_over_the_lines) {
  uint64_t state = help_seed();
  static struct load load;
  for (int form = 0; form < forms(); form++) {
    struct cpn_hash_key key = key_of_form(&state, form);
    for (int pattern = 0; pattern < PATTERNS; pattern++) {
      memset(&load, 0, sizeof load);
      for (uint64_t i = 0; i < USERS; i++) put(&load, cpn_hash_u64(&key, user_of(pattern, i)));
      cr_expect_leq(load.most, MOST_IN_A_LINE, "%s, pattern %d: %u in a line", form_names[form], pattern, load.most);
    }
  }
}

Test(hash, spreads_sixteen_bytes_of_every_pattern_over_the_lines) {
  uint64_t state = help_seed();
  static struct load load;
  for (int form = 0; form < forms(); form++) {
    struct cpn_hash_key key = key_of_form(&state, form);
    for (int pattern = 0; pattern < PATTERNS; pattern++) {
      for (int where = 0; where < 3; where++) { /* in the low half, the high one, and both, where they might cancel */
        memset(&load, 0, sizeof load);
        for (uint64_t i = 0; i < USERS; i++) {
          uint64_t user = user_of(pattern, i);
          put(&load, cpn_hash_u128(&key, where != 1 ? user : 7, where != 0 ? user : 7));
        }
        cr_expect_leq(load.most, MOST_IN_A_LINE, "%s, pattern %d: %u in a line", form_names[form], pattern, load.most);
      }
    }
  }
}

/* Whoever knows one engine's secret can fill one line of it; under another secret these users are like any others. */
Test(hash, spreads_those_who_collide_under_another_secret) {
  enum { CHOSEN = 2000, TARGETS = 50 };
  uint64_t state = help_seed();
  static struct load load;
  static uint64_t chosen[CHOSEN];
  for (int form = 0; form < forms(); form++) {
    struct cpn_hash_key known = key_of_form(&state, form);
    uint64_t found = 0;
    for (uint64_t user = 0; found < CHOSEN; user++) {
      if (cpn_claim_home(cpn_hash_u64(&known, user), 0, LINES) < TARGETS) chosen[found++] = user;
    }
    for (int i = 0; i < 50; i++) {
      struct cpn_hash_key other = key_of_form(&state, form);
      memset(&load, 0, sizeof load);
      for (uint64_t j = 0; j < CHOSEN; j++) put(&load, cpn_hash_u64(&other, chosen[j]));
      cr_expect_leq(load.most, 14, "%s: %u in a line", form_names[form], load.most);
    }
  }
}

/* Users who share a pair of lines in the first level part in the next, and a tag says as much as its bits. */
Test(hash, gives_users_of_one_line_other_lines_in_the_next_level_and_other_tags) {
  enum { LEVEL = 64, SHARED = 4000 };
  uint64_t state = help_seed();
  for (int form = 0; form < forms(); form++) {
    struct cpn_hash_key key = key_of_form(&state, form);
    for (unsigned k = 1; k < 6; k++) {
      unsigned next[LEVEL] = {0}, tags[256] = {0}, found = 0;
      for (uint64_t user = 0; found < SHARED; user++) {
        uint64_t hash = cpn_hash_u64(&key, user);
        if (cpn_claim_home(hash, k - 1, LINES) >= 50) continue;
        found++;
        next[cpn_claim_home(hash, k, LEVEL)]++;
        tags[cpn_claim_tag(hash) >> 8]++;
      }
      for (int i = 0; i < LEVEL; i++) cr_expect_lt(next[i], 2 * SHARED / LEVEL, "level %u, line %d", k, i);
      for (int i = 0; i < 256; i++) cr_expect_lt(tags[i], 4 * SHARED / 256, "tag %d", i);
    }
  }
}
