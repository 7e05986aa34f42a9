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
  return sizeof(struct cpn_claim_fill) + parts * (sizeof(struct cpn_fill_end) + sizeof(uint32_t));
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
  fill->left = (uint32_t *)(void *)&fill->ends[parts];
  return fill;
}

void cpn_claim_fill_free(struct cpn_claim_fill *fill, struct cpn_memory *memory) {
  if (fill != NULL) cpn_memory_free(memory, fill, fill_size(fill->parts));
}

/* --- leaving ------------------------------------------------------------------------------------- */

/* A whole line to the part, which is this thread's: it alone reads and writes there until the part is settled, and then every
 * word has been written again. On x86-64 past the caches, which it would only pass through. */
static inline void push_line(_Atomic uint64_t *to, const struct cpn_fill_end *end) {
#if CPN_WIDE_LOADS
  for (int i = 0; i < 4; i++)
    _mm_stream_si128((__m128i *)(void *)to + i, _mm_load_si128((const __m128i *)(const void *)end->entries + i));
#else
  /* relaxed: nobody else is there. */
  for (uint32_t i = 0; i < CPN_CLAIM_LINE_WORDS; i++)
    atomic_store_explicit(&to[i], end->entries[i], memory_order_relaxed);
#endif
}

static inline void leave_one(struct cpn_claim_fill *fill, uint32_t part, uint64_t entry) {
  const uint32_t words_bits = fill->line_bits + 3, at = fill->left[part];
  /* Hashes are keyed: that half as many again as expected come to some part does not happen before the end of time. */
  CPN_INVARIANT(0, at >> words_bits == 0);
  struct cpn_fill_end *end = &fill->ends[part];
  fill->left[part] = at + 1;
  end->entries[at % CPN_CLAIM_LINE_WORDS] = entry;
  if (at % CPN_CLAIM_LINE_WORDS == CPN_CLAIM_LINE_WORDS - 1)
    push_line(&fill->words[((uint64_t)part << words_bits) + at + 1 - CPN_CLAIM_LINE_WORDS], end);
}

/* Where they belong is worked out for all of them first: whether one completes a line cannot be foreseen, and with each
 * one's hash still to come the processor would guess wrong for longer. */
void cpn_claim_fill_leave(struct cpn_claim_fill *fill, const uint64_t *hashes, uint64_t number, size_t count,
                          uint32_t from, uint32_t to) {
  const uint64_t lines = fill->lines, in_part = (UINT64_C(1) << fill->line_bits) - 1;
  uint64_t entries[CPN_FILL_TOGETHER];
  uint32_t parts[CPN_FILL_TOGETHER];
  size_t ours = 0;
  CPN_INVARIANT(0, count <= CPN_FILL_TOGETHER);
  for (size_t i = 0; i < count; i++) {
    const uint64_t home = cpn_claim_home(hashes[i], 0, lines);
    const uint32_t part = (uint32_t)(home >> fill->line_bits);
    parts[ours] = part;
    entries[ours] =
        cpn_claim_tag(hashes[i]) << CPN_CLAIM_TAG_SHIFT | (home & in_part) << CPN_FILL_NUMBER_BITS | (number + i);
    ours += part - from < to - from; /* no jump: it could not be foreseen either */
  }
  for (size_t i = 0; i < ours; i++) leave_one(fill, parts[i], entries[i]);
}

/* --- settling ------------------------------------------------------------------------------------ */

static size_t part_size(const struct cpn_claim_fill *fill) { return (size_t)CPN_CACHE_LINE << fill->line_bits; }

bool cpn_claim_settler_init(struct cpn_claim_settler *settler, const struct cpn_claim_fill *fill) {
  settler->entries = malloc(part_size(fill));
  settler->used = malloc((size_t)1 << fill->line_bits);
  settler->strangers = NULL;
  settler->stranger_count = settler->stranger_room = 0;
  settler->twice = UINT64_MAX;
  settler->no_memory = false;
  return settler->entries != NULL && settler->used != NULL;
}

void cpn_claim_settler_fini(struct cpn_claim_settler *settler) {
  free(settler->entries);
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
static inline bool put_on_line(_Atomic uint64_t *words, unsigned char *used, uint64_t line, uint64_t entry) {
  const uint32_t at = used[line];
  if (CPN_UNLIKELY(at == CPN_CLAIM_LINE_WORDS)) return false;
  used[line] = (unsigned char)(at + 1);
  atomic_store_explicit(&words[line * CPN_CLAIM_LINE_WORDS + at], entry_claim(entry), memory_order_relaxed);
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
static void compare_all(struct cpn_claim_settler *settler, const _Atomic uint64_t *line) {
  for (uint32_t i = 1; i < CPN_CLAIM_LINE_WORDS && word_read(&line[i]) != 0; i++) {
    for (uint32_t j = 0; j < i; j++) compare(settler, word_read(&line[j]), word_read(&line[i]));
  }
}

/* The entry and every word of the line. */
static void compare_with(struct cpn_claim_settler *settler, const _Atomic uint64_t *line, uint64_t entry) {
  for (uint32_t i = 0; i < CPN_CLAIM_LINE_WORDS; i++) compare(settler, word_read(&line[i]), entry_claim(entry));
}

#if CPN_WIDE_LOADS
/* The words' high 16 bits. */
static inline __m128i line_tags(const _Atomic uint64_t *line) {
  const __m128i *pairs = (const __m128i *)(const void *)line; /* nobody writes to it now */
  __m128 a = _mm_castsi128_ps(_mm_load_si128(&pairs[0])), b = _mm_castsi128_ps(_mm_load_si128(&pairs[1]));
  __m128 c = _mm_castsi128_ps(_mm_load_si128(&pairs[2])), d = _mm_castsi128_ps(_mm_load_si128(&pairs[3]));
  __m128i low = _mm_srai_epi32(_mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1))), 16);
  __m128i high = _mm_srai_epi32(_mm_castps_si128(_mm_shuffle_ps(c, d, _MM_SHUFFLE(3, 1, 3, 1))), 16);
  return _mm_packs_epi32(low, high);
}

#define TURNED(tags, by) _mm_or_si128(_mm_srli_si128(tags, 2 * (by)), _mm_slli_si128(tags, 16 - 2 * (by)))

/* Whether two words of the line may bear one tag. */
static inline bool has_tag_twice(const _Atomic uint64_t *line) {
  const __m128i tags = line_tags(line);
  __m128i same = _mm_or_si128(_mm_cmpeq_epi16(tags, TURNED(tags, 1)), _mm_cmpeq_epi16(tags, TURNED(tags, 2)));
  same = _mm_or_si128(same, _mm_cmpeq_epi16(tags, TURNED(tags, 3)));
  same = _mm_or_si128(same, _mm_cmpeq_epi16(tags, TURNED(tags, 4))); /* the other turns are these, from the other end */
  return _mm_movemask_epi8(_mm_andnot_si128(_mm_cmpeq_epi16(tags, _mm_setzero_si128()), same)) != 0;
}
#else
static inline bool has_tag_twice(const _Atomic uint64_t *line) { return word_read(&line[1]) != 0; }
#endif

/* Takes out what was left in the part, which is then empty. How many there are. */
static uint32_t take_out(const struct cpn_claim_fill *fill, uint32_t part, _Atomic uint64_t *words, uint64_t *entries) {
  const uint32_t count = fill->left[part], whole = count - count % CPN_CLAIM_LINE_WORDS;
  for (uint32_t i = 0; i < whole; i++) {
    entries[i] = word_read(&words[i]);
    atomic_store_explicit(&words[i], 0, memory_order_relaxed);
  }
  memcpy(&entries[whole], fill->ends[part].entries, (count - whole) * sizeof *entries);
  return count;
}

void cpn_claim_fill_settle(const struct cpn_claim_fill *fill, uint32_t part, struct cpn_claim_settler *settler) {
  _Atomic uint64_t *words = fill->words + ((uint64_t)part << (fill->line_bits + 3));
  uint64_t *entries = settler->entries;
  unsigned char *used = settler->used;
  const uint32_t count = take_out(fill, part, words, entries);
  memset(used, 0, (size_t)1 << fill->line_bits);
  uint32_t full = 0; /* whose first line was full: put on the other one when all first ones are known */
  for (uint32_t i = 0; i < count; i++) {
    if (CPN_UNLIKELY(!put_on_line(words, used, line_of(entries[i]), entries[i]))) entries[full++] = entries[i];
  }
  for (uint32_t i = 0; i < full; i++) {
    const uint64_t line = line_of(entries[i]);
    if (put_on_line(words, used, line ^ 1, entries[i]))
      compare_with(settler, &words[line * CPN_CLAIM_LINE_WORDS], entries[i]);
    else
      add_stranger(settler, number_of(entries[i])); /* whoever claims it there looks here first */
  }
  for (uint64_t line = 0; line < UINT64_C(1) << fill->line_bits; line++) {
    if (CPN_UNLIKELY(has_tag_twice(&words[line * CPN_CLAIM_LINE_WORDS])))
      compare_all(settler, &words[line * CPN_CLAIM_LINE_WORDS]);
  }
}
