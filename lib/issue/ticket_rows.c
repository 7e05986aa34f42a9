/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/ticket_rows.h"

/* Our clock steps by microseconds; a caller's own may not. */
#define MICROSECOND 1000u

static uint64_t row_stamp(const struct cpn_ticket_row *row) {
  return atomic_load_explicit(&row->stamp, memory_order_acquire); /* pairs with the writer of the row */
}
static uint64_t row_time(const struct cpn_ticket_row *row) {
  return atomic_load_explicit(&row->time_ns, memory_order_relaxed); /* relaxed: ordered by the stamp */
}

static unsigned bits_for(uint64_t value) { return value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value); }

static size_t words_for(const struct cpn_ticket_pack *head) {
  return ((size_t)head->count * (head->stamp_bits + head->time_bits) + 63) / 64;
}

size_t cpn_ticket_pack_size(const struct cpn_ticket_pack *pack) {
  return sizeof *pack + words_for(pack) * sizeof pack->words[0];
}

static uint64_t stamp_delta(const struct cpn_ticket_pack *head, const struct cpn_ticket_row *rows, uint32_t i) {
  return (row_stamp(&rows[i]) - head->first_stamp - (uint64_t)i * head->stamp_step) / 8;
}
static uint64_t time_delta(const struct cpn_ticket_pack *head, const struct cpn_ticket_row *rows, uint32_t i) {
  uint64_t delta = row_time(&rows[i]) - head->first_time_ns;
  return head->time_unit == 1 ? delta : delta / MICROSECOND; /* a division by a constant is a multiplication */
}

/* The smallest distance of two neighbours' stamps, so that no delta is negative; a step, because it is the size of a
 * record where one campaign has the log for itself. */
static uint64_t smallest_step(const struct cpn_ticket_row *rows, uint32_t count) {
  uint64_t step = UINT32_MAX & ~UINT32_C(7), before = row_stamp(&rows[0]);
  for (uint32_t i = 1; i < count; i++) {
    const uint64_t stamp = row_stamp(&rows[i]);
    step = cpn_min_u64(step, stamp - before);
    before = stamp;
  }
  return step;
}

static void measure_stamps(struct cpn_ticket_pack *head, const struct cpn_ticket_row *rows, uint32_t count,
                           uint32_t least_step) {
  const uint64_t distance = row_stamp(&rows[count - 1]) - head->first_stamp;
  /* No step is smaller: if the last is only so far, none is larger either. As nearly always, and seen without a look at
   * the others, which another processor has written. */
  head->stamp_step = distance == 0 ? 0 : least_step;
  if (distance == (uint64_t)(count - 1) * head->stamp_step) return;
  head->stamp_step = (uint32_t)smallest_step(rows, count);
  uint64_t stamps = 0; /* the bits of the widest delta are those of all together */
  for (uint32_t i = 0; i < count; i++) stamps |= stamp_delta(head, rows, i);
  head->stamp_bits = (uint8_t)bits_for(stamps);
}

/* How many rows are skipped together, if they have one time: two lines of them. */
#define STRIDE 8u

/* The unit of the times, and the bits of the widest delta. Many follow each other within one tick. */
static void measure_times(struct cpn_ticket_pack *head, const struct cpn_ticket_row *rows, uint32_t count) {
  const uint64_t widest = row_time(&rows[count - 1]) - head->first_time_ns;
  if (widest == 0) return;
  uint64_t before = 0;
  for (uint32_t i = 0; i < count; i++) {
    while (i + STRIDE < count && row_time(&rows[i + STRIDE]) - head->first_time_ns == before) i += STRIDE;
    before = row_time(&rows[i]) - head->first_time_ns;
    if (before % MICROSECOND == 0) continue;
    head->time_unit = 1;
    break;
  }
  head->time_bits = (uint8_t)bits_for(widest / head->time_unit);
}

size_t cpn_ticket_pack_measure(struct cpn_ticket_pack *head, const struct cpn_ticket_row *rows, uint32_t count,
                               uint32_t least_step) {
  *head = (struct cpn_ticket_pack){.first_stamp = row_stamp(&rows[0]),
                                   .first_time_ns = row_time(&rows[0]),
                                   .time_unit = MICROSECOND,
                                   .count = count};
  measure_stamps(head, rows, count, least_step);
  measure_times(head, rows, count);
  return cpn_ticket_pack_size(head);
}

static void put_bits(uint64_t *words, size_t at, unsigned bits, uint64_t value) {
  if (bits == 0) return;
  unsigned shift = at % 64;
  words[at / 64] |= value << shift;
  if (shift + bits > 64) words[at / 64 + 1] |= value >> (64 - shift);
}

static uint64_t get_bits(const uint64_t *words, size_t at, unsigned bits) {
  if (bits == 0) return 0;
  unsigned shift = at % 64;
  uint64_t value = words[at / 64] >> shift;
  if (shift + bits > 64) value |= words[at / 64 + 1] << (64 - shift);
  return bits == 64 ? value : value & ((UINT64_C(1) << bits) - 1);
}

void cpn_ticket_pack_fill(struct cpn_ticket_pack *pack, const struct cpn_ticket_row *rows) {
  const unsigned stamps = pack->stamp_bits, times = pack->time_bits;
  const size_t times_at = (size_t)pack->count * stamps;
  for (uint32_t i = 0; stamps != 0 && i < pack->count; i++)
    put_bits(pack->words, (size_t)i * stamps, stamps, stamp_delta(pack, rows, i));
  for (uint32_t i = 0; times != 0 && i < pack->count; i++)
    put_bits(pack->words, times_at + (size_t)i * times, times, time_delta(pack, rows, i));
}

uint64_t cpn_ticket_pack_stamp(const struct cpn_ticket_pack *pack, uint32_t i) {
  uint64_t delta = get_bits(pack->words, (size_t)i * pack->stamp_bits, pack->stamp_bits);
  return pack->first_stamp + (uint64_t)i * pack->stamp_step + delta * 8;
}

uint64_t cpn_ticket_pack_time(const struct cpn_ticket_pack *pack, uint32_t i) {
  size_t at = (size_t)pack->count * pack->stamp_bits + (size_t)i * pack->time_bits;
  return pack->first_time_ns + get_bits(pack->words, at, pack->time_bits) * pack->time_unit;
}
