/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the log buffer loses, repeats, reorders and tears nothing: what comes out is what was put in, whole,
 * without a gap between records, each producer's in its order, with times that never fall.
 *
 * How: three producers reserve places of different lengths in the smallest ring, fill and publish them at their
 * own pace or give them up, and one thread drains, a random amount at a time. Every word says where, by whom and
 * as what it was written.
 */
#include "support/race_help.h"

#include <string.h>

#include "base/bytes.h"
#include "log/format.h"

#define PRODUCERS 3
#define RING_BYTES 4096
#define WORDS_MIN 4
#define WORDS_MAX 40

struct ring {
  struct cpn_clock clock;
  struct cpn_buffer buffer;
  uint64_t records; /* of each producer, places given up not counted */
  _Atomic uint64_t voids, producing;
  struct race_random random; /* the drainer's */
  uint64_t next_record[PRODUCERS];
  uint64_t lsn, time_ns, drained_voids, drained, batches;
};

/* --- producers ----------------------------------------------------------------------------------- */

static uint64_t word_of(uint64_t at, uint64_t producer, uint64_t record, uint32_t i) {
  return (at ^ record << 20) * UINT64_C(0x9e3779b97f4a7c15) + producer * 41 + i + 1;
}

static void produce(void *context, uint32_t producer) {
  struct ring *ring = context;
  struct race_random random = race_stream(producer);
  for (uint64_t record = 0; record < ring->records;) {
    uint32_t words = WORDS_MIN + (uint32_t)race_below(&random, WORDS_MAX - WORDS_MIN + 1), turns = 0;
    uint64_t time_ns, at;
    while ((at = cpn_buffer_reserve(&ring->buffer, words, &time_ns)) == CPN_LSN_NONE) race_turn(&turns);
    if (race_below(&random, 8) == 0) race_dally(race_below(&random, 500));
    if (race_below(&random, 5) == 0) {
      /* Words may have been written when a place is given up. */
      bool written = race_below(&random, 2) == 0;
      for (uint32_t i = 1; written && i < words; i++) cpn_buffer_fill(&ring->buffer, at, i, 99);
      cpn_buffer_void(&ring->buffer, at, words);
      atomic_fetch_add(&ring->voids, 1);
      continue;
    }
    cpn_buffer_fill(&ring->buffer, at, 1, record);
    cpn_buffer_fill(&ring->buffer, at, 2, time_ns);
    for (uint32_t i = 3; i < words; i++) cpn_buffer_fill(&ring->buffer, at, i, word_of(at, producer, record, i));
    if (race_below(&random, 8) == 0) race_dally(race_below(&random, 500));
    cpn_buffer_publish(&ring->buffer, at, cpn_record_head(CPN_RECORD_CAMPAIGN, words, producer));
    record++;
  }
  atomic_fetch_sub(&ring->producing, 1);
}

/* --- the drainer --------------------------------------------------------------------------------- */

static void check_record(struct ring *ring, uint64_t at, const unsigned char *bytes, uint32_t words) {
  const uint64_t producer = cpn_get_u64(bytes) >> 32, record = cpn_get_u64(bytes + 8);
  const uint64_t time_ns = cpn_get_u64(bytes + 16);
  RACE_CHECK(producer < PRODUCERS, "a head that nobody wrote");
  RACE_CHECK(record == ring->next_record[producer],
             "record %" PRIu64 " of producer %" PRIu64 " where %" PRIu64 " is due", record, producer,
             ring->next_record[producer]);
  ring->next_record[producer]++;
  RACE_CHECK(time_ns >= ring->time_ns && time_ns != 0, "times fall in the log");
  ring->time_ns = time_ns;
  for (uint32_t i = 3; i < words; i++)
    RACE_CHECK(cpn_get_u64(bytes + (size_t)i * 8) == word_of(at, producer, record, i), "word %u of %u is torn", i,
               words);
}

static void check_place(struct ring *ring, const unsigned char *bytes, uint32_t words) {
  const uint64_t head = cpn_get_u64(bytes);
  RACE_CHECK(words >= WORDS_MIN && words <= WORDS_MAX, "a place of %u words", words);
  if ((head & 0xff) == CPN_RECORD_VOID) {
    ring->drained_voids++;
    for (uint32_t i = 1; i < words; i++) RACE_CHECK(cpn_get_u64(bytes + (size_t)i * 8) == 0, "a VOID with contents");
  } else {
    check_record(ring, ring->lsn, bytes, words);
    ring->drained++;
  }
  ring->lsn += (uint64_t)words * 8;
}

static void check_run(void *context, uint64_t lsn, const unsigned char *bytes, size_t size) {
  struct ring *ring = context;
  RACE_CHECK(lsn == ring->lsn && size != 0, "a gap, or an overlap, at %" PRIu64, ring->lsn);
  for (uint64_t at; (at = ring->lsn - lsn) < size;)
    check_place(ring, bytes + at, cpn_record_words(cpn_get_u64(bytes + at)));
  RACE_CHECK(ring->lsn - lsn == size, "a run that ends within a place");
}

static bool drain_once(struct ring *ring) {
  static unsigned char bytes[RING_BYTES];
  const uint64_t before = ring->lsn;
  /* At least a whole record, at most the whole ring. */
  size_t capacity = WORDS_MAX * 8 + (size_t)race_below(&ring->random, (RING_BYTES - WORDS_MAX * 8) / 8 + 1) * 8;
  memset(bytes, 0xee, sizeof bytes);
  size_t got = cpn_buffer_drain(&ring->buffer, bytes, capacity, check_run, ring);
  RACE_CHECK(got <= capacity && ring->lsn - before == got, "%zu bytes of %zu", got, capacity);
  RACE_CHECK(cpn_buffer_drained(&ring->buffer) == ring->lsn, "drained is elsewhere");
  RACE_CHECK(ring->lsn <= cpn_buffer_tail(&ring->buffer), "drained what was not reserved");
  ring->batches += got != 0;
  return got != 0;
}

static void run(uint64_t first_lsn, uint64_t records) {
  static struct ring ring;
  struct race_thread producers[PRODUCERS];
  memset(&ring, 0, sizeof ring);
  ring.records = records;
  ring.random = race_stream(PRODUCERS);
  ring.lsn = first_lsn;
  atomic_store(&ring.producing, PRODUCERS);
  cpn_clock_init(&ring.clock, NULL, NULL);
  RACE_CHECK(cpn_buffer_init(&ring.buffer, RING_BYTES, first_lsn, &ring.clock), "no memory");
  for (uint32_t p = 0; p < PRODUCERS; p++) race_start(&producers[p], produce, &ring, p);
  for (uint32_t turns = 0;;) {
    bool done = atomic_load(&ring.producing) == 0;
    if (drain_once(&ring)) continue;
    if (done) break;
    if (race_below(&ring.random, 4) != 0) race_turn(&turns); /* so that the ring is full now and then */
  }
  for (uint32_t p = 0; p < PRODUCERS; p++) race_join(&producers[p]);
  for (int p = 0; p < PRODUCERS; p++)
    RACE_CHECK(ring.next_record[p] == records, "producer %d lost %" PRIu64 " records", p,
               records - ring.next_record[p]);
  RACE_CHECK(ring.drained_voids == atomic_load(&ring.voids), "places given up: %" PRIu64 " drained of %" PRIu64,
             ring.drained_voids, atomic_load(&ring.voids));
  RACE_CHECK(ring.lsn == cpn_buffer_tail(&ring.buffer), "something is left");
  RACE_CHECK(!cpn_buffer_ready(&ring.buffer), "an empty ring is ready");
  cpn_buffer_fini(&ring.buffer);
  printf("from %" PRIu64 ": %" PRIu64 " records and %" PRIu64 " places given up in %" PRIu64
         " batches, none lost or torn\n",
         first_lsn, ring.drained, ring.drained_voids, ring.batches);
}

int main(int argc, char **argv) {
  race_begin("race_buffer", argc, argv);
  run(0, race_rounds(200000, 2000));
  run(1000 * 8, race_rounds(200000, 2000)); /* the ring's seam is not where the log's beginning is */
  return 0;
}
