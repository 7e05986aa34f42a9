/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claim set: user -> claim, for one campaign. A claim is one 64-bit word:
 *
 *     tag, 16 bits, never 0 | body, 45 bits | kind, 3 bits
 *
 *     EMPTY      0                  nobody's
 *     PENDING    body: print        a request of this user is being decided
 *     FREE       body: print        nobody holds a ticket here: a request of this user was refused after it had claimed
 *     HELD       body: LSN / 8      a unit was taken, for the record with this LSN
 *     NUMBERED   body: number       a unit was taken, for the ticket with this number
 *
 * Tag and print are 61 bits of the user's hash; with the place they say who it is, but for users whose keyed hashes
 * agree in all of them. The user's full identity stands with the ticket (issue/tickets.h), to which HELD and NUMBERED
 * lead. So a claim costs 8 bytes whatever the identity is, and a probe one cache line of eight claims.
 *
 * Guarantees
 *   (a) A user has at most one claim beyond FREE, whatever runs concurrently.
 *   (b) A word that was EMPTY once is never EMPTY again; from HELD or NUMBERED on it is one user's for ever. Before, it
 *       is the property of all users of its print; should there ever be two, one waits while the other's
 *       request is PENDING, and goes on to the next place when it finds the other's ticket. Nobody is mistaken
 *       for anybody.
 *   (c) Looking is wait-free, writes nothing, and leaves nothing behind.
 *
 * How. Levels of lines of eight words. A user hashes to a pair of lines in each level; the pair's sixteen words, and
 * then the next level's, are tried in a fixed order, and the *first empty word* in that order is the only place where a
 * claim may be made. Words never become empty again, so two requests of one user contend for the same word, and whoever
 * meets an empty word knows that the user has no claim. Growing is adding a level: nothing moves, nobody waits.
 *
 * Progress: claiming is lock-free; a retry means that another request has claimed. Callers exclude nothing. Waiting on
 * PENDING is the caller's affair.
 */
#ifndef CPN_ISSUE_CLAIM_SET_H
#define CPN_ISSUE_CLAIM_SET_H

#include <stdatomic.h>

#include "base/defs.h"
#include "base/memory.h"

#if CPN_WIDE_LOADS /* a line at once */
#include <emmintrin.h>
#endif

/* --- the word ------------------------------------------------------------------------------------ */

enum cpn_claim_kind {
  CPN_CLAIM_EMPTY = 0,
  CPN_CLAIM_PENDING = 1,
  CPN_CLAIM_FREE = 2,
  CPN_CLAIM_HELD = 3,
  CPN_CLAIM_NUMBERED = 4
};

#define CPN_CLAIM_TAG_SHIFT 48
#define CPN_CLAIM_BODY_MASK ((UINT64_C(1) << 45) - 1)

static inline enum cpn_claim_kind cpn_claim_kind_of(uint64_t claim) { return (enum cpn_claim_kind)(claim & 7); }
static inline uint64_t cpn_claim_body(uint64_t claim) { return claim >> 3 & CPN_CLAIM_BODY_MASK; }

/* The low 16 bits of the hash, the last of them set, so that a tag is not 0; lines are chosen by its high bits. */
static inline uint64_t cpn_claim_tag(uint64_t hash) { return (hash & 0xffff) | 1; }

static inline uint64_t cpn_claim_make(uint64_t hash, uint64_t body, enum cpn_claim_kind kind) {
  return (hash | 1) << CPN_CLAIM_TAG_SHIFT | body << 3 | (uint64_t)kind;
}
/* The print is the high 45 bits of the hash: turned by the tag's width, tag and print lie where they belong. */
static inline uint64_t cpn_claim_of_print(uint64_t hash, enum cpn_claim_kind kind) {
  return ((hash >> 16 | hash << CPN_CLAIM_TAG_SHIFT) & ~UINT64_C(7)) | UINT64_C(1) << CPN_CLAIM_TAG_SHIFT |
         (uint64_t)kind;
}
static inline uint64_t cpn_claim_pending(uint64_t hash) { return cpn_claim_of_print(hash, CPN_CLAIM_PENDING); }
static inline uint64_t cpn_claim_free(uint64_t hash) { return cpn_claim_of_print(hash, CPN_CLAIM_FREE); }
/* LSNs are multiples of 8 below 2^48. */
static inline uint64_t cpn_claim_held(uint64_t hash, uint64_t lsn) {
  return cpn_claim_make(hash, lsn / 8, CPN_CLAIM_HELD);
}
static inline uint64_t cpn_claim_numbered(uint64_t hash, uint64_t number) {
  return cpn_claim_make(hash, number, CPN_CLAIM_NUMBERED);
}
static inline uint64_t cpn_claim_lsn(uint64_t held) { return cpn_claim_body(held) * 8; }
static inline uint64_t cpn_claim_number(uint64_t numbered) { return cpn_claim_body(numbered); }

/* Whether a PENDING or FREE claim is of this hash's print. */
static inline bool cpn_claim_has_print(uint64_t claim, uint64_t hash) {
  return (claim ^ cpn_claim_pending(hash)) >> 3 == 0;
}

/* --- the set ------------------------------------------------------------------------------------- */

/* They reach any memory: from the twelfth on each doubles the set. */
#define CPN_CLAIM_LEVELS 28

struct cpn_claim_level {
  uint64_t lines; /* even; written before the level is published */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t words[];
};

struct cpn_claim_set {
  uint64_t first_lines; /* of level 0; constant */
  /* Written once each, by whoever needs it first; read by all. */
  _Atomic(struct cpn_claim_level *) level[CPN_CLAIM_LEVELS];
  uint64_t wanted; /* words for the expected users: sizes the levels, limits nothing; changes only at recovery */
  _Atomic uint64_t bytes;
};

/* Levels are made for `expected` users; the first one for `prepare` of them, or if that is 0 it holds no more than a
 * MiB, or a sixteenth of the memory there is. */
void cpn_claim_set_init(struct cpn_claim_set *set, const struct cpn_memory *memory, uint64_t expected,
                        uint64_t prepare);
void cpn_claim_set_fini(struct cpn_claim_set *set, struct cpn_memory *memory);

/* Makes room for `users` ahead of those who claim, who else do it themselves, and touches its memory. False: no
 * memory. */
bool cpn_claim_set_grow_for(struct cpn_claim_set *set, struct cpn_memory *memory, uint64_t users);

/* For whoever is alone with the set, at recovery: it begins again, empty, with a first level of so many lines; what was
 * in it is the caller's to put back. False: no memory, and nothing has changed. */
CPN_MUST_CHECK bool cpn_claim_set_begin_again(struct cpn_claim_set *set, struct cpn_memory *memory, uint64_t lines);

/* For the same: gives its memory back. It has no levels then, until it has begun again. */
void cpn_claim_set_let_go(struct cpn_claim_set *set, struct cpn_memory *memory);

/* For the same: from here on levels are made for so many users. */
void cpn_claim_set_expect(struct cpn_claim_set *set, uint64_t users);

/* The lines of a first level for so many users. */
uint64_t cpn_claim_set_lines_for(uint64_t users);

uint64_t cpn_claim_set_bytes(const struct cpn_claim_set *set);

/* Whether the tables that say where its pages are do not stay in a processor's caches either: lines of such a set had
 * better be asked for together. Measured, see docs/PERF.md; nothing but time depends on it. */
#define CPN_CLAIM_FAR_LINES (UINT64_C(384) << 20 >> 6)
static inline bool cpn_claim_set_is_far(const struct cpn_claim_set *set) {
  return set->first_lines >= CPN_CLAIM_FAR_LINES;
}

/* --- looking ------------------------------------------------------------------------------------- */

/* A place in a user's order of places. */
struct cpn_claim_place {
  _Atomic uint64_t *word; /* NULL: behind the last level */
  uint64_t seen;          /* what it held: EMPTY, or a claim with the user's tag */
  uint32_t at;            /* level * CPN_CLAIM_WINDOW + words passed in it */
};

#define CPN_CLAIM_LINE_WORDS UINT32_C(8)
#define CPN_CLAIM_WINDOW UINT32_C(16) /* a pair of lines */

/* acquire: pairs with level_publish(); the zeros and the number of lines before the pointer. seq_cst rather, for those
 * who look: that a level was not there is part of a refusal's evidence, like an empty word. */
static inline struct cpn_claim_level *cpn_claim_level_at(const struct cpn_claim_set *set, unsigned k) {
  return atomic_load_explicit(&set->level[k], memory_order_seq_cst);
}

/* The first line in level k. Levels behind the first choose by other bits, so that users who share a full pair part
 * in the next level: a multiplication carries all bits of the hash into the high ones. */
static inline uint64_t cpn_claim_home(uint64_t hash, unsigned k, uint64_t lines) {
  if (k != 0) hash *= UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(2) * k;
  return cpn_mul_high(hash, lines);
}

/* seq_cst: that a word was empty is evidence for a refusal, to be ordered with the reads of the stock's word around it.
 * Also acquire: what a HELD or NUMBERED claim leads to is there. */
static inline uint64_t cpn_claim_read(const _Atomic uint64_t *word) {
  return atomic_load_explicit(word, memory_order_seq_cst);
}

/* The first such place from place `at` on. */
void cpn_claim_walk(const struct cpn_claim_set *set, uint64_t hash, uint32_t at, struct cpn_claim_place *place);

#if CPN_WIDE_LOADS
/* The words of a line, a bit each, that are empty or bear the tag: the tag is the high 16 bits, and 0 only in an empty
 * word. The loads are not C's atomics; each of their words is nevertheless loaded whole, on this processor, and
 * whatever they name is read again, as an atomic, before it is believed. That they name nothing before the first named
 * word needs no second look: a word that is taken, by another tag, stays so. */
static inline unsigned cpn_claim_candidates(const _Atomic uint64_t *line, uint64_t tag) {
  const __m128i *pairs = (const __m128i *)(const void *)line;
  atomic_signal_fence(memory_order_seq_cst); /* the compiler moves no plain load over an atomic one */
  __m128 a = _mm_castsi128_ps(_mm_load_si128(&pairs[0])), b = _mm_castsi128_ps(_mm_load_si128(&pairs[1]));
  __m128 c = _mm_castsi128_ps(_mm_load_si128(&pairs[2])), d = _mm_castsi128_ps(_mm_load_si128(&pairs[3]));
  atomic_signal_fence(memory_order_seq_cst);
  __m128i low = _mm_srai_epi32(_mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1))), 16);
  __m128i high = _mm_srai_epi32(_mm_castps_si128(_mm_shuffle_ps(c, d, _MM_SHUFFLE(3, 1, 3, 1))), 16);
  __m128i tags = _mm_packs_epi32(low, high);
  __m128i found =
      _mm_or_si128(_mm_cmpeq_epi16(tags, _mm_set1_epi16((short)tag)), _mm_cmpeq_epi16(tags, _mm_setzero_si128()));
  return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(found, _mm_setzero_si128()));
}
#endif

/* The line where looking begins, for asking the processor for it, and for cpn_claim_first_in(). NULL: there is none
 * yet. `level`: the first. */
CPN_INLINE _Atomic uint64_t *cpn_claim_line_in(const struct cpn_claim_set *set, struct cpn_claim_level *level,
                                               uint64_t hash) {
  if (CPN_UNLIKELY(level == NULL)) return NULL;
  return &level->words[cpn_claim_home(hash, 0, set->first_lines) * CPN_CLAIM_LINE_WORDS];
}

CPN_INLINE _Atomic uint64_t *cpn_claim_line(const struct cpn_claim_set *set, uint64_t hash) {
  return cpn_claim_line_in(set, cpn_claim_level_at(set, 0), hash);
}

/* The other line of the pair, where looking goes on. There is a first level. */
CPN_INLINE _Atomic uint64_t *cpn_claim_next_line(const struct cpn_claim_set *set, uint64_t hash) {
  struct cpn_claim_level *level = cpn_claim_level_at(set, 0);
  return &level->words[(cpn_claim_home(hash, 0, set->first_lines) ^ 1) * CPN_CLAIM_LINE_WORDS];
}

/* A short look, into the first line alone: the first word that is empty or bears the tag. NULL: neither; `line` may
 * be. */
CPN_INLINE _Atomic uint64_t *cpn_claim_first_in(_Atomic uint64_t *line, uint64_t hash) {
  if (CPN_UNLIKELY(line == NULL)) return NULL;
#if CPN_WIDE_LOADS
  unsigned candidates = cpn_claim_candidates(line, cpn_claim_tag(hash));
  return CPN_LIKELY(candidates != 0) ? &line[__builtin_ctz(candidates)] : NULL;
#else
  for (uint32_t i = 0; i < CPN_CLAIM_LINE_WORDS; i++) {
    uint64_t claim = cpn_claim_read(&line[i]);
    if (claim == 0 || claim >> CPN_CLAIM_TAG_SHIFT == cpn_claim_tag(hash)) return &line[i];
  }
  return NULL;
#endif
}

/* Goes on from what a short look into `line` has found, if anything. */
static inline struct cpn_claim_place cpn_claim_look_from(const struct cpn_claim_set *set, uint64_t hash,
                                                         const _Atomic uint64_t *line, _Atomic uint64_t *found) {
  struct cpn_claim_place place = {.word = found, .at = line != NULL ? CPN_CLAIM_LINE_WORDS : 0};
  if (CPN_LIKELY(found != NULL)) {
    place.seen = cpn_claim_read(found);
    place.at = (uint32_t)(found - line);
    if (CPN_LIKELY(place.seen == 0 || place.seen >> CPN_CLAIM_TAG_SHIFT == cpn_claim_tag(hash))) return place;
    place.at++; /* it was empty, and has become another user's */
  }
  cpn_claim_walk(set, hash, place.at, &place);
  return place;
}

/* The first place with the user's tag, or else the first empty one. */
static inline struct cpn_claim_place cpn_claim_look(const struct cpn_claim_set *set, uint64_t hash) {
  _Atomic uint64_t *line = cpn_claim_line(set, hash);
  return cpn_claim_look_from(set, hash, line, cpn_claim_first_in(line, hash));
}

/* The next such place behind `place`, whose claim has turned out to be another user's. */
void cpn_claim_look_on(const struct cpn_claim_set *set, uint64_t hash, struct cpn_claim_place *place);

/* Adds the level that `place` lies in, where it is behind the last one; look again. False: no memory; nothing
 * changed. */
CPN_MUST_CHECK bool cpn_claim_add_level(struct cpn_claim_set *set, struct cpn_memory *memory,
                                        const struct cpn_claim_place *place);

/* Asks the processor for it. */
static inline void cpn_claim_prefetch(const struct cpn_claim_set *set, uint64_t hash) {
  __builtin_prefetch((const void *)cpn_claim_line(set, hash), 1);
}

/* The same for whoever will look further: for both lines of the pair, and for the first one of each further level. */
void cpn_claim_prefetch_all(const struct cpn_claim_set *set, uint64_t hash);

/* All changes of a claim. Making it PENDING is seq_cst, as for the stock's word: the protocol was checked under
 * sequential consistency. */
static inline bool cpn_claim_swap(_Atomic uint64_t *word, uint64_t from, uint64_t to) {
  return atomic_compare_exchange_strong_explicit(word, &from, to, memory_order_seq_cst, memory_order_seq_cst);
}

/* By the one request that has it PENDING. release: who sees the claim sees the ticket, or the record, that it leads to.
 * It need not be more: until others see it they see PENDING, and wait. */
static inline void cpn_claim_write(_Atomic uint64_t *word, uint64_t claim) {
  atomic_store_explicit(word, claim, memory_order_release);
}

#endif
