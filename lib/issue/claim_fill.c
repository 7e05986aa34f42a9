/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/claim_fill.h"

#include <stdlib.h>
#include <string.h>

/* A part of 2^12 lines is 256 KiB: that and what is taken out of it fit into a second-level cache. With more parts than
 * PARTS_MAX their ends no longer do, while claims are left there; then parts are larger. */
#define LINE_BITS_MIN 12
#define PARTS_MAX 2048u

#define LINE_MASK ((UINT64_C(1) << CPN_FILL_LINE_BITS_MAX) - 1)

static size_t fill_size(uint32_t parts) {
  return sizeof(struct cpn_claim_fill) + (size_t)parts * CPN_FILL_SHARES * sizeof(struct cpn_fill_end);
}

struct cpn_claim_fill *cpn_claim_fill_begin(struct cpn_claim_set *set, struct cpn_memory *memory, uint64_t users) {
  uint32_t bits = LINE_BITS_MIN;
  while (bits < CPN_FILL_LINE_BITS_MAX && cpn_claim_set_lines_for(users) >> bits > PARTS_MAX) bits++;
  const uint64_t lines = cpn_round_up(cpn_claim_set_lines_for(users), UINT64_C(1) << bits), parts = lines >> bits;
  if (parts > UINT32_MAX) return NULL;
  struct cpn_claim_fill *fill = cpn_memory_alloc(memory, fill_size((uint32_t)parts));
  if (fill == NULL) return NULL;
  if (!cpn_claim_set_begin_again(set, memory, lines)) {
    cpn_memory_free(memory, fill, fill_size((uint32_t)parts));
    return NULL;
  }
  fill->parts = (uint32_t)parts;
  fill->line_bits = bits;
  fill->lines = lines;
  fill->words = cpn_claim_level_at(set, 0)->words;
  return fill;
}

void cpn_claim_fill_free(struct cpn_claim_fill *fill, struct cpn_memory *memory) {
  if (fill != NULL) cpn_memory_free(memory, fill, fill_size(fill->parts));
}

/* --- leaving ------------------------------------------------------------------------------------- */

/* Of a part's words those that a share leaves its claims in: the first is number `share` of as many of these. */
static uint32_t share_bits(const struct cpn_claim_fill *fill) { return fill->line_bits + 2; }
_Static_assert(CPN_FILL_SHARES == 2, "a share has half of a part's 2^(line_bits + 3) words");

static _Atomic uint64_t *share_words(const struct cpn_claim_fill *fill, uint32_t part, uint32_t share) {
  return fill->words + (((uint64_t)part * CPN_FILL_SHARES + share) << share_bits(fill));
}

#if CPN_WIDE_LOADS
static inline __m128i two_at(const uint64_t *words) { return _mm_load_si128((const __m128i *)(const void *)words); }
#endif

/* A whole line to the part: seven entries and one more. It is the share's own: it alone writes there until the part is
 * settled, and then every word is written again. On x86-64 past the caches, which it would only pass through. */
static inline void push_line(_Atomic uint64_t *to, const uint64_t *entries, uint64_t last) {
#if CPN_WIDE_LOADS
  __m128i *line = (__m128i *)(void *)to;
  _mm_stream_si128(line, two_at(entries));
  _mm_stream_si128(line + 1, two_at(entries + 2));
  _mm_stream_si128(line + 2, two_at(entries + 4));
  _mm_stream_si128(line + 3, _mm_set_epi64x((long long)last, (long long)entries[6]));
#else
  /* relaxed: nobody else is there. */
  for (uint32_t i = 0; i < CPN_CLAIM_LINE_WORDS - 1; i++)
    atomic_store_explicit(&to[i], entries[i], memory_order_relaxed);
  atomic_store_explicit(&to[CPN_CLAIM_LINE_WORDS - 1], last, memory_order_relaxed);
#endif
}

/* Those of a share side by side: they shall stay in the nearest cache. */
static inline size_t end_at(const struct cpn_claim_fill *fill, uint32_t part, uint32_t share) {
  return (size_t)share * fill->parts + part;
}

/* What completes a line, as entry number `at` of the share's of this part, which goes there with those before it;
 * beyond what the part has for the share it is lost, and cpn_claim_fill_left() says so. */
static inline void leave_line(const struct cpn_claim_fill *fill, uint32_t share, uint32_t part, uint64_t at,
                              const uint64_t *entries, uint64_t last) {
  if (CPN_UNLIKELY(at >> share_bits(fill) != 0)) return;
  push_line(share_words(fill, part, share) + at - (CPN_CLAIM_LINE_WORDS - 1), entries, last);
}

/* Where they belong is worked out for all of them first: whether one completes a line cannot be foreseen, and with each
 * one's hash still to come the processor would guess wrong for longer. */
void cpn_claim_fill_leave(struct cpn_claim_fill *fill, uint32_t share, const uint64_t *hashes, uint64_t number,
                          size_t count) {
  const uint64_t lines = fill->lines, in_part = (UINT64_C(1) << fill->line_bits) - 1;
  const uint32_t line_bits = fill->line_bits;
  uint64_t entries[CPN_FILL_TOGETHER];
  uint32_t parts[CPN_FILL_TOGETHER];
  CPN_INVARIANT(0, count <= CPN_FILL_TOGETHER);
  for (size_t i = 0; i < count; i++) {
    const uint64_t home = cpn_claim_home(hashes[i], 0, lines);
    parts[i] = (uint32_t)(home >> line_bits);
    entries[i] =
        cpn_claim_tag(hashes[i]) << CPN_CLAIM_TAG_SHIFT | (home & in_part) << CPN_FILL_NUMBER_BITS | (number + i);
  }
  struct cpn_fill_end *ends = &fill->ends[end_at(fill, 0, share)];
  for (size_t i = 0; i < count; i++) {
    struct cpn_fill_end *end = &ends[parts[i]];
    const uint64_t at = end->left++, in_line = at % CPN_CLAIM_LINE_WORDS;
    if (in_line < CPN_CLAIM_LINE_WORDS - 1)
      end->entries[in_line] = entries[i];
    else
      leave_line(fill, share, parts[i], at, end->entries, entries[i]);
  }
}

bool cpn_claim_fill_left(const struct cpn_claim_fill *fill, uint32_t share) {
  bool fits = true;
  for (uint32_t part = 0; part < fill->parts; part++)
    fits = fits && fill->ends[end_at(fill, part, share)].left >> share_bits(fill) == 0;
#if CPN_WIDE_LOADS
  _mm_sfence(); /* what went past the caches is there before anything that is said of it */
#endif
  return fits;
}

/* --- settling ------------------------------------------------------------------------------------ */

static size_t part_size(const struct cpn_claim_fill *fill) { return (size_t)CPN_CACHE_LINE << fill->line_bits; }

bool cpn_claim_settler_init(struct cpn_claim_settler *settler, const struct cpn_claim_fill *fill) {
  settler->words = aligned_alloc(CPN_CACHE_LINE, part_size(fill));
  settler->used = malloc((size_t)1 << fill->line_bits);
  settler->strangers = NULL;
  settler->stranger_count = settler->stranger_room = 0;
  settler->twice = UINT64_MAX;
  settler->no_memory = false;
  if (settler->words == NULL || settler->used == NULL) return false;
  memset(settler->words, 0, part_size(fill));
  return true;
}

void cpn_claim_settler_fini(struct cpn_claim_settler *settler) {
  free(settler->words);
  free(settler->used);
  free(settler->strangers);
}

static void add_stranger(struct cpn_claim_settler *settler, uint64_t number) {
  if (settler->stranger_count == settler->stranger_room) {
    const size_t room = settler->stranger_room == 0 ? 1024 : settler->stranger_room * 2;
    uint64_t *strangers = realloc(settler->strangers, room * sizeof *strangers);
    if (strangers == NULL) {
      settler->no_memory = true;
      return;
    }
    settler->strangers = strangers;
    settler->stranger_room = room;
  }
  settler->strangers[settler->stranger_count++] = number;
}

static uint64_t number_of(uint64_t entry) { return entry & CPN_FILL_NUMBER_MAX; }

/* relaxed, all: nobody else is at this part, and whoever comes later gets the engine from the one who recovered it. */
static uint64_t word_read(const _Atomic uint64_t *word) { return atomic_load_explicit(word, memory_order_relaxed); }

static uint64_t entry_claim(uint64_t entry) {
  return entry >> CPN_CLAIM_TAG_SHIFT << CPN_CLAIM_TAG_SHIFT | number_of(entry) << 3 | CPN_CLAIM_NUMBERED;
}
static uint64_t line_of(uint64_t entry) { return entry >> CPN_FILL_NUMBER_BITS & LINE_MASK; }

/* The next free word of the line becomes the entry's claim. False: there is none. */
static inline bool put_on_line(struct cpn_claim_settler *settler, uint64_t line, uint64_t entry) {
  const uint32_t at = settler->used[line];
  if (CPN_UNLIKELY(at == CPN_CLAIM_LINE_WORDS)) return false;
  settler->used[line] = (unsigned char)(at + 1);
  settler->words[line * CPN_CLAIM_LINE_WORDS + at] = entry_claim(entry);
  return true;
}

/* Two claims with one tag, in lines of one pair: mostly two users'. */
static void compare(struct cpn_claim_settler *settler, uint64_t a, uint64_t b) {
  if (a >> CPN_CLAIM_TAG_SHIFT != b >> CPN_CLAIM_TAG_SHIFT) return;
  a = cpn_claim_number(a);
  b = cpn_claim_number(b);
  if (settler->same_user(settler->context, a, b)) settler->twice = cpn_min_u64(settler->twice, cpn_max_u64(a, b));
}

/* Every two words of the line. */
static void compare_all(struct cpn_claim_settler *settler, const uint64_t *line) {
  for (uint32_t i = 1; i < CPN_CLAIM_LINE_WORDS && line[i] != 0; i++) {
    for (uint32_t j = 0; j < i; j++) compare(settler, line[j], line[i]);
  }
}

/* The entry and every word of the line. */
static void compare_with(struct cpn_claim_settler *settler, const uint64_t *line, uint64_t entry) {
  for (uint32_t i = 0; i < CPN_CLAIM_LINE_WORDS; i++) compare(settler, line[i], entry_claim(entry));
}

#if CPN_WIDE_LOADS
#define TURNED(tags, by) _mm_or_si128(_mm_srli_si128(tags, 2 * (by)), _mm_slli_si128(tags, 16 - 2 * (by)))

/* Whether two words of a line may bear one tag: their high 16 bits. */
static inline bool has_tag_twice(__m128i ab, __m128i cd, __m128i ef, __m128i gh) {
  __m128i low = _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(ab), _mm_castsi128_ps(cd), _MM_SHUFFLE(3, 1, 3, 1)));
  __m128i high = _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(ef), _mm_castsi128_ps(gh), _MM_SHUFFLE(3, 1, 3, 1)));
  __m128i tags = _mm_packs_epi32(_mm_srai_epi32(low, 16), _mm_srai_epi32(high, 16));
  __m128i same = _mm_or_si128(_mm_cmpeq_epi16(tags, TURNED(tags, 1)), _mm_cmpeq_epi16(tags, TURNED(tags, 2)));
  same = _mm_or_si128(same, _mm_cmpeq_epi16(tags, TURNED(tags, 3)));
  same = _mm_or_si128(same, _mm_cmpeq_epi16(tags, TURNED(tags, 4))); /* the other turns are these, from the other end */
  return _mm_movemask_epi8(_mm_andnot_si128(_mm_cmpeq_epi16(tags, _mm_setzero_si128()), same)) != 0;
}

/* The part as it is to be goes where it belongs, line by line, past the caches, which have another use for their
 * room. */
static void write_out(struct cpn_claim_settler *settler, _Atomic uint64_t *to, uint64_t lines) {
  for (uint64_t line = 0; line < lines; line++) {
    uint64_t *words = &settler->words[line * CPN_CLAIM_LINE_WORDS];
    const __m128i ab = two_at(words), cd = two_at(words + 2), ef = two_at(words + 4), gh = two_at(words + 6);
    if (CPN_UNLIKELY(has_tag_twice(ab, cd, ef, gh))) compare_all(settler, words);
    __m128i *out = (__m128i *)(void *)&to[line * CPN_CLAIM_LINE_WORDS];
    _mm_stream_si128(out, ab);
    _mm_stream_si128(out + 1, cd);
    _mm_stream_si128(out + 2, ef);
    _mm_stream_si128(out + 3, gh);
    memset(words, 0, CPN_CACHE_LINE);
  }
  _mm_sfence(); /* they are there before anything that is said of them */
}
#else
static void write_out(struct cpn_claim_settler *settler, _Atomic uint64_t *to, uint64_t lines) {
  for (uint64_t line = 0; line < lines; line++) {
    uint64_t *words = &settler->words[line * CPN_CLAIM_LINE_WORDS];
    compare_all(settler, words);
    for (uint32_t i = 0; i < CPN_CLAIM_LINE_WORDS; i++)
      atomic_store_explicit(&to[line * CPN_CLAIM_LINE_WORDS + i], words[i], memory_order_relaxed);
    memset(words, 0, CPN_CACHE_LINE);
  }
}
#endif

/* Puts what a share has left on its lines. Those whose first line is full are written down at the part's beginning,
 * which was read by then, behind `full` others; returns how many there are. */
static uint32_t put_share(const struct cpn_claim_fill *fill, uint32_t part, uint32_t share, uint32_t full,
                          struct cpn_claim_settler *settler) {
  const _Atomic uint64_t *left = share_words(fill, part, share);
  _Atomic uint64_t *aside = share_words(fill, part, 0);
  const struct cpn_fill_end *end = &fill->ends[end_at(fill, part, share)];
  const uint64_t whole = end->left - end->left % CPN_CLAIM_LINE_WORDS;
  for (uint64_t i = 0; i < end->left; i++) {
    const uint64_t entry = i < whole ? word_read(&left[i]) : end->entries[i - whole];
    if (CPN_UNLIKELY(!put_on_line(settler, line_of(entry), entry)))
      atomic_store_explicit(&aside[full++], entry, memory_order_relaxed);
  }
  return full;
}

void cpn_claim_fill_settle(const struct cpn_claim_fill *fill, uint32_t part, struct cpn_claim_settler *settler) {
  _Atomic uint64_t *words = share_words(fill, part, 0);
  memset(settler->used, 0, (size_t)1 << fill->line_bits);
  uint32_t full = 0; /* whose first line was full: put on the other one when all first ones are known */
  for (uint32_t share = 0; share < CPN_FILL_SHARES; share++) full = put_share(fill, part, share, full, settler);
  for (uint32_t i = 0; i < full; i++) {
    const uint64_t entry = word_read(&words[i]), line = line_of(entry);
    if (put_on_line(settler, line ^ 1, entry))
      compare_with(settler, &settler->words[line * CPN_CLAIM_LINE_WORDS], entry);
    else
      add_stranger(settler, number_of(entry)); /* whoever claims it there looks here first */
  }
  write_out(settler, words, UINT64_C(1) << fill->line_bits);
}
