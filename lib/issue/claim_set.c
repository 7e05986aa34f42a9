/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/claim_set.h"

/* Words for each expected user. With 1.6 few users find both lines of their pair full, even the last ones, and
 * strangers seldom look further than their first line; in small campaigns, which lie in the caches, memory counts for
 * more. */
static uint64_t words_for(uint64_t users) { return users < 4096 ? users + users / 4 : users + users / 5 * 3; }

/* The first level: at least a pair of lines, at most a MiB before it is known that it will be used. */
#define FIRST_WORDS_MAX (UINT64_C(1) << 17)

/* Up to here levels quadruple the set, from here on they double it. */
#define QUADRUPLE_TO_WORDS (UINT64_C(1) << 19)

_Static_assert(sizeof(_Atomic uint64_t) * CPN_CLAIM_LINE_WORDS == CPN_CACHE_LINE, "eight claims to a line");

static size_t level_size_bytes(uint64_t lines) {
  return sizeof(struct cpn_claim_level) + (size_t)lines * CPN_CACHE_LINE;
}

static uint64_t lines_for(uint64_t words) { return cpn_round_up(words, CPN_CLAIM_WINDOW) / CPN_CLAIM_LINE_WORDS; }

void cpn_claim_set_init(struct cpn_claim_set *set, const struct cpn_memory *memory, uint64_t expected,
                        uint64_t prepare) {
  set->wanted = words_for(expected);
  uint64_t first = prepare != 0 ? words_for(prepare) : set->wanted;
  if (prepare == 0) first = cpn_min_u64(cpn_min_u64(first, FIRST_WORDS_MAX), memory->limit / 16 / sizeof(uint64_t));
  set->first_lines = lines_for(cpn_max_u64(first, 1));
  for (int k = 0; k < CPN_CLAIM_LEVELS; k++) atomic_init(&set->level[k], NULL);
  atomic_init(&set->bytes, 0);
}

void cpn_claim_set_fini(struct cpn_claim_set *set, struct cpn_memory *memory) {
  for (unsigned k = 0; k < CPN_CLAIM_LEVELS; k++) {
    /* relaxed: nobody else uses the set any more. */
    struct cpn_claim_level *level = atomic_load_explicit(&set->level[k], memory_order_relaxed);
    if (level != NULL) cpn_memory_free(memory, level, level_size_bytes(level->lines));
  }
}

/* --- growing ------------------------------------------------------------------------------------- */

/* From this level on the set doubles whatever was wanted, so that the levels reach any memory. */
#define DOUBLING_FROM 12u

/* Lines of level k, `words` being there in all so far. The first level beyond what was wanted is small, for what
 * overflowed; if that fills too (a crowd that met at the last unit left entries), a quarter more each time. */
static uint64_t next_lines(const struct cpn_claim_set *set, unsigned k, uint64_t words, uint64_t last) {
  if (words == 0) return set->first_lines;
  uint64_t growth = words < QUADRUPLE_TO_WORDS ? words * 3 : words;
  if (k >= DOUBLING_FROM) return lines_for(words);
  if (words < set->wanted) return lines_for(cpn_min_u64(set->wanted - words, growth));
  return lines_for(cpn_max_u64(words - last < set->wanted ? words / 32 : words / 4, 1));
}

/* Writes to every page of the system behind a level that nobody else sees yet. */
static void level_touch(struct cpn_claim_level *level) {
  for (uint64_t i = 0; i < level->lines * CPN_CLAIM_LINE_WORDS; i += 4096 / sizeof(uint64_t))
    atomic_store_explicit(&level->words[i], 0, memory_order_relaxed); /* relaxed: published with the level */
}

static bool level_publish(struct cpn_claim_set *set, struct cpn_memory *memory, unsigned k, uint64_t lines,
                          bool touch) {
  struct cpn_claim_level *fresh = cpn_memory_alloc(memory, level_size_bytes(lines)), *other = NULL;
  if (fresh == NULL)
    return cpn_claim_level_at(set, k) != NULL; /* another thread may have had the last bytes, for this very level */
  fresh->lines = lines;
  if (touch) level_touch(fresh);
  /* seq_cst, which includes release: zeros and lines before the pointer. */
  if (atomic_compare_exchange_strong_explicit(&set->level[k], &other, fresh, memory_order_seq_cst,
                                              memory_order_seq_cst)) {
    /* relaxed: a figure for people. */
    atomic_fetch_add_explicit(&set->bytes, level_size_bytes(lines), memory_order_relaxed);
    return true;
  }
  cpn_memory_free(memory, fresh, level_size_bytes(lines));
  return true;
}

static bool level_add(struct cpn_claim_set *set, struct cpn_memory *memory, unsigned k, uint64_t lines, bool touch) {
  /* The first level's size is fixed: whoever looks in it does not ask. */
  if (k == 0) return level_publish(set, memory, k, lines, touch);
  for (;; lines = lines_for(lines * CPN_CLAIM_LINE_WORDS / 2)) {
    if (level_publish(set, memory, k, lines, touch)) return true;
    if (lines <= lines_for(1)) return false;
  }
}

/* How many levels there are, their words, and the last one's. */
static unsigned levels(const struct cpn_claim_set *set, uint64_t *words, uint64_t *last) {
  *words = *last = 0;
  for (unsigned k = 0; k < CPN_CLAIM_LEVELS; k++) {
    const struct cpn_claim_level *level = cpn_claim_level_at(set, k);
    if (level == NULL) return k;
    *last = level->lines * CPN_CLAIM_LINE_WORDS;
    *words += *last;
  }
  return CPN_CLAIM_LEVELS;
}

bool cpn_claim_add_level(struct cpn_claim_set *set, struct cpn_memory *memory, const struct cpn_claim_place *place) {
  uint64_t words, last;
  unsigned k = levels(set, &words, &last);
  if (k > place->at / CPN_CLAIM_WINDOW) return true; /* another thread has */
  if (k == CPN_CLAIM_LEVELS) return false;           /* more than memory could hold */
  return level_add(set, memory, k, next_lines(set, k, words, last), false);
}

bool cpn_claim_set_grow_for(struct cpn_claim_set *set, struct cpn_memory *memory, uint64_t users) {
  for (;;) {
    uint64_t words, last;
    unsigned k = levels(set, &words, &last);
    /* Pairs begin to overflow when the last level is half full; the ones before are full by then. The level behind all
     * that was wanted is for what overflows, and enough for that. */
    bool enough = words != 0 && (users <= words - last + last / 2 || words - last >= set->wanted);
    if (enough || k == CPN_CLAIM_LEVELS) return true;
    if (!level_add(set, memory, k, next_lines(set, k, words, last), true)) return false;
  }
}

bool cpn_claim_set_begin_again(struct cpn_claim_set *set, struct cpn_memory *memory, uint64_t lines) {
  struct cpn_claim_level *fresh = cpn_memory_alloc(memory, level_size_bytes(lines));
  if (fresh == NULL) return false;
  fresh->lines = lines;
  cpn_claim_set_fini(set, memory);
  set->first_lines = lines;
  for (unsigned k = 0; k < CPN_CLAIM_LEVELS; k++)
    /* relaxed, all: nobody else is there; whoever comes later gets the whole engine from the one who recovered it. */
    atomic_store_explicit(&set->level[k], k == 0 ? fresh : NULL, memory_order_relaxed);
  atomic_store_explicit(&set->bytes, level_size_bytes(lines), memory_order_relaxed);
  return true;
}

void cpn_claim_set_let_go(struct cpn_claim_set *set, struct cpn_memory *memory) {
  cpn_claim_set_fini(set, memory);
  /* relaxed, both: as above. */
  for (unsigned k = 0; k < CPN_CLAIM_LEVELS; k++) atomic_store_explicit(&set->level[k], NULL, memory_order_relaxed);
  atomic_store_explicit(&set->bytes, 0, memory_order_relaxed);
}

void cpn_claim_set_expect(struct cpn_claim_set *set, uint64_t users) { set->wanted = words_for(users); }

uint64_t cpn_claim_set_lines_for(uint64_t users) { return lines_for(words_for(users)); }

uint64_t cpn_claim_set_bytes(const struct cpn_claim_set *set) {
  return atomic_load_explicit(&set->bytes, memory_order_relaxed); /* relaxed: a figure for people */
}

/* --- looking ------------------------------------------------------------------------------------- */

/* The lines where looking begins in each level from k on: whoever comes here mostly has to pass all of them. */
static void prefetch_levels(const struct cpn_claim_set *set, uint64_t hash, unsigned k) {
  for (; k < CPN_CLAIM_LEVELS; k++) {
    const struct cpn_claim_level *level = cpn_claim_level_at(set, k);
    if (level == NULL) return;
    __builtin_prefetch((const void *)&level->words[cpn_claim_home(hash, k, level->lines) * CPN_CLAIM_LINE_WORDS], 1);
  }
}

/* The first word of the line, from `from` on, that is empty or bears the tag; CPN_CLAIM_LINE_WORDS: none. */
static uint32_t line_look(const _Atomic uint64_t *line, uint64_t tag, uint32_t from, uint64_t *seen) {
  for (; from < CPN_CLAIM_LINE_WORDS; from++) {
#if CPN_WIDE_LOADS
    unsigned candidates = cpn_claim_candidates(line, tag) >> from;
    if (candidates == 0) break;
    from += (uint32_t)__builtin_ctz(candidates);
#endif
    *seen = cpn_claim_read(&line[from]);
    if (*seen == 0 || *seen >> CPN_CLAIM_TAG_SHIFT == tag) return from;
  }
  return CPN_CLAIM_LINE_WORDS;
}

void cpn_claim_prefetch_all(const struct cpn_claim_set *set, uint64_t hash) {
  const struct cpn_claim_level *level = cpn_claim_level_at(set, 0);
  if (level == NULL) return;
  const uint64_t home = cpn_claim_home(hash, 0, set->first_lines);
  __builtin_prefetch((const void *)&level->words[home * CPN_CLAIM_LINE_WORDS], 1);
  __builtin_prefetch((const void *)&level->words[(home ^ 1) * CPN_CLAIM_LINE_WORDS], 1);
  prefetch_levels(set, hash, 1);
}

void cpn_claim_walk(const struct cpn_claim_set *set, uint64_t hash, uint32_t at, struct cpn_claim_place *place) {
  const uint64_t tag = cpn_claim_tag(hash);
  if (at == CPN_CLAIM_WINDOW) prefetch_levels(set, hash, 1);
  for (;; at -= at % CPN_CLAIM_LINE_WORDS, at += CPN_CLAIM_LINE_WORDS) { /* a line at a time */
    const unsigned k = at / CPN_CLAIM_WINDOW;
    struct cpn_claim_level *level = k < CPN_CLAIM_LEVELS ? cpn_claim_level_at(set, k) : NULL;
    place->at = at;
    if (level == NULL) break;
    uint64_t home = cpn_claim_home(hash, k, k == 0 ? set->first_lines : level->lines);
    uint64_t line = home ^ (at % CPN_CLAIM_WINDOW / CPN_CLAIM_LINE_WORDS);
    _Atomic uint64_t *words = &level->words[line * CPN_CLAIM_LINE_WORDS];
    uint32_t in_line = line_look(words, tag, at % CPN_CLAIM_LINE_WORDS, &place->seen);
    if (in_line == CPN_CLAIM_LINE_WORDS) continue;
    place->word = &words[in_line];
    place->at = at - at % CPN_CLAIM_LINE_WORDS + in_line;
    return;
  }
  place->word = NULL;
  place->seen = 0;
}

void cpn_claim_look_on(const struct cpn_claim_set *set, uint64_t hash, struct cpn_claim_place *place) {
  cpn_claim_walk(set, hash, place->at + 1, place);
}
