/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/claim_set.h"

#define LINE_ENTRIES (CPN_CACHE_LINE / sizeof(struct cpn_claim))

/* Lines tried in a level before the next one. More fill a level better before it overflows; fewer make a miss
 * cheaper. */
#define WINDOW_LINES 4

/* The first level, and so what a campaign costs at its first ticket: 16 entries, 256 bytes, up to 16 MiB. A larger
 * stock grows level by level: a huge stock must not claim memory that it may never use. */
#define FIRST_ENTRIES_MIN UINT64_C(16)
#define FIRST_ENTRIES_MAX (UINT64_C(1) << 20)
#define GROWTH 4

struct cpn_claim_level {
  uint64_t lines; /* a power of two */
  _Alignas(CPN_CACHE_LINE) struct cpn_claim entries[];
};
_Static_assert(sizeof(struct cpn_claim) == 16, "four entries to a line");

static size_t level_size_bytes(uint64_t lines) {
  return sizeof(struct cpn_claim_level) + (size_t)lines * CPN_CACHE_LINE;
}

void cpn_claim_set_init(struct cpn_claim_set *set, struct cpn_memory *memory, const struct cpn_siphash_key *key,
                        uint64_t expected) {
  set->memory = memory;
  set->key = *key;
  set->expected = expected;
  for (int k = 0; k < CPN_CLAIM_LEVELS; k++) atomic_init(&set->level[k], NULL);
  atomic_init(&set->zero.user, 0);
  atomic_init(&set->zero.state, 0);
}

void cpn_claim_set_fini(struct cpn_claim_set *set) {
  for (unsigned k = 0; k < CPN_CLAIM_LEVELS; k++) {
    /* relaxed: nobody else uses the set any more. */
    struct cpn_claim_level *level = atomic_load_explicit(&set->level[k], memory_order_relaxed);
    if (level != NULL) cpn_memory_free(set->memory, level, level_size_bytes(level->lines));
  }
}

/* Lines of the next level: the last one has `last` entries, all so far have `before`. Three entries for two users keeps
 * windows from overflowing while the set fills. The first level beyond the expected users is small, for what
 * overflowed; if refused users fill that too (a crowd that met at the last unit), levels grow again as before. */
static uint64_t level_lines(const struct cpn_claim_set *set, uint64_t before, uint64_t last) {
  uint64_t wanted = set->expected + set->expected / 2;
  uint64_t entries;
  if (before == 0)
    entries = cpn_min_u64(wanted, FIRST_ENTRIES_MAX);
  else if (before < wanted)
    entries = cpn_min_u64(wanted - before, last * GROWTH);
  else if (before - last < wanted)
    entries = before / 8;
  else
    entries = last * GROWTH;
  return cpn_ceil_power_of_two(cpn_max_u64(entries, FIRST_ENTRIES_MIN)) / LINE_ENTRIES;
}

static uint64_t level_home(uint64_t hash, unsigned k, uint64_t lines) {
  /* Other bits in each level: users that share a full window should part in the next one. */
  return cpn_siphash_rotate(hash, 13 * k) & (lines - 1);
}

/*
 * Looks for `user` in one level. Returns its entry, or the first empty one in the fixed order, or NULL if the
 * window is full. acquire: pairs with the exchange that inserted, so that the entry's zeroed state is there with
 * it. (The state is then read seq_cst. That an entry was seen empty is a fact about the past, ordered before later
 * reads by the seq_cst reads of the stock's word around it.)
 */
static struct cpn_claim *level_probe(struct cpn_claim_level *level, uint64_t home, uint64_t user, uint64_t *found) {
  uint64_t window = cpn_min_u64(WINDOW_LINES, level->lines);
  for (uint64_t i = 0; i < window; i++) {
    struct cpn_claim *line = &level->entries[((home + i) & (level->lines - 1)) * LINE_ENTRIES];
    for (size_t j = 0; j < LINE_ENTRIES; j++) {
      *found = atomic_load_explicit(&line[j].user, memory_order_seq_cst);
      if (*found == user || *found == 0) return &line[j];
    }
  }
  return NULL;
}

struct cpn_claim *cpn_claim_set_find(struct cpn_claim_set *set, uint64_t user) {
  if (CPN_UNLIKELY(user == 0)) return &set->zero;
  uint64_t hash = cpn_siphash_u64(&set->key, user);
  for (unsigned k = 0; k < CPN_CLAIM_LEVELS; k++) {
    /* seq_cst rather than acquire: absence is part of a refusal's evidence, like an empty entry. */
    struct cpn_claim_level *level = atomic_load_explicit(&set->level[k], memory_order_seq_cst);
    if (level == NULL) return NULL;
    uint64_t found;
    struct cpn_claim *claim = level_probe(level, level_home(hash, k, level->lines), user, &found);
    if (claim != NULL) return found == user ? claim : NULL;
  }
  return NULL;
}

static struct cpn_claim_level *level_add(struct cpn_claim_set *set, unsigned k, uint64_t before, uint64_t last) {
  uint64_t lines = level_lines(set, before, last);
  struct cpn_claim_level *fresh = cpn_memory_alloc(set->memory, level_size_bytes(lines));
  if (fresh == NULL) return atomic_load_explicit(&set->level[k], memory_order_acquire); /* another may have had it */
  fresh->lines = lines;
  struct cpn_claim_level *other = NULL;
  /* seq_cst, which includes release (the zeroed entries before the pointer) and, on failure, acquire. */
  if (atomic_compare_exchange_strong_explicit(&set->level[k], &other, fresh, memory_order_seq_cst,
                                              memory_order_seq_cst))
    return fresh;
  cpn_memory_free(set->memory, fresh, level_size_bytes(lines));
  return other;
}

struct cpn_claim *cpn_claim_set_insert(struct cpn_claim_set *set, uint64_t user) {
  if (CPN_UNLIKELY(user == 0)) return &set->zero;
  uint64_t hash = cpn_siphash_u64(&set->key, user);
  uint64_t before = 0, last = 0;
  for (unsigned k = 0; k < CPN_CLAIM_LEVELS; k++) {
    struct cpn_claim_level *level = atomic_load_explicit(&set->level[k], memory_order_acquire);
    if (level == NULL) level = level_add(set, k, before, last);
    if (level == NULL) return NULL;
    last = level->lines * LINE_ENTRIES;
    before += last;
    uint64_t home = level_home(hash, k, level->lines), found;
    struct cpn_claim *claim;
    while ((claim = level_probe(level, home, user, &found)) != NULL) {
      if (found == user) return claim;
      /* Retry: another thread inserted somebody here, perhaps this very user. */
      if (atomic_compare_exchange_strong_explicit(&claim->user, &found, user, memory_order_seq_cst,
                                                  memory_order_seq_cst))
        return claim;
      if (found == user) return claim;
    }
  }
  return NULL; /* every level is full: more than memory could hold */
}
