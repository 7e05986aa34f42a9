/* SPDX-License-Identifier: Apache-2.0 */
#include "log/buffer.h"

#include <ck_pr.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "coupon/coupon.h"
#include "log/format.h"

bool cpn_buffer_init(struct cpn_buffer *buffer, uint64_t capacity, uint64_t lsn, struct cpn_clock *clock) {
  CPN_INVARIANT(0, cpn_is_power_of_two(capacity) && capacity >= 4096);
  void *pages = mmap(NULL, (size_t)capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  buffer->words = pages == MAP_FAILED ? NULL : pages; /* zeroed: (b) holds from the start */
  buffer->mask = capacity / 8 - 1;
  buffer->capacity = capacity;
  buffer->clock = clock;
  atomic_init(&buffer->tail, lsn);
  atomic_init(&buffer->drained, lsn);
  return buffer->words != NULL;
}

void cpn_buffer_fini(struct cpn_buffer *buffer) {
  if (buffer->words != NULL) (void)munmap((void *)buffer->words, (size_t)buffer->capacity);
}

/* Whether `size` more bytes behind `tail` fit. acquire on `drained`: pairs with cpn_buffer_drain(), so that the
 * places we may now reserve are zeroed before we fill them. Signed, because `tail` may be so old that it has been
 * drained meanwhile: then it fits, and the exchange of the tail fails. */
static bool fits(const struct cpn_buffer *buffer, uint64_t tail, uint64_t size) {
  uint64_t drained = atomic_load_explicit(&buffer->drained, memory_order_acquire);
  return (int64_t)(tail + size - drained) <= (int64_t)buffer->capacity;
}

uint64_t cpn_buffer_reserve(struct cpn_buffer *buffer, uint32_t words, uint64_t *time_ns) {
  const uint64_t size = (uint64_t)words * 8;
  uint64_t tail = atomic_load_explicit(&buffer->tail, memory_order_seq_cst);
  for (;;) {
    if (!fits(buffer, tail, size) || tail + size >= COUPON_LSN_MAX) return CPN_LSN_NONE;
    /* The time is read between the two accesses to the tail. If the exchange succeeds nobody reserved in between, so
     * the place before ours had its time before we read ours: (a). */
    *time_ns = cpn_clock_now(buffer->clock);
    /* seq_cst: the protocol compares the tail with the stock's word, see issue/stock.h. Retry: another thread
     * reserved. */
    if (atomic_compare_exchange_strong_explicit(&buffer->tail, &tail, tail + size, memory_order_seq_cst,
                                                memory_order_seq_cst))
      return tail;
    ck_pr_stall();
  }
}

bool cpn_buffer_is_full(const struct cpn_buffer *buffer, uint32_t words) {
  return !fits(buffer, cpn_buffer_tail(buffer), (uint64_t)words * 8);
}

void cpn_buffer_put(struct cpn_buffer *buffer, uint64_t at, uint64_t head, const uint64_t *words) {
  for (uint32_t i = 1; i < cpn_record_words(head); i++) cpn_buffer_fill(buffer, at, i, words[i]);
  cpn_buffer_publish(buffer, at, head);
}

void cpn_buffer_void(struct cpn_buffer *buffer, uint64_t at, uint32_t words) {
  /* The words behind the head are zero since they were drained, or have been filled by us. */
  for (uint32_t i = 1; i < words; i++) cpn_buffer_fill(buffer, at, i, 0);
  cpn_buffer_publish(buffer, at, cpn_record_head(CPN_RECORD_VOID, words, 0));
}

static uint64_t head_at(const struct cpn_buffer *buffer, uint64_t at) {
  return atomic_load_explicit(&buffer->words[(at / 8) & buffer->mask], memory_order_seq_cst);
}

bool cpn_buffer_ready(const struct cpn_buffer *buffer) {
  uint64_t drained = atomic_load_explicit(&buffer->drained, memory_order_seq_cst);
  /* With the ring exactly full of reservations the next head is the drained one itself: still right. */
  return head_at(buffer, drained) != 0;
}

/* What is copied at a time, or a record more: it is applied, and its places are zeroed, while the nearest cache still has
 * it; and producers that wait for room get it before the whole batch is through. */
#define RUN_BYTES 8192u

/* Where the next lines are asked for: producers on other processors have written them. */
#define AHEAD_WORDS 64u

/* Copies whole records from `at` on, as many as are published, fit into `room` bytes, and make a run; returns its end. */
static uint64_t copy_run(const struct cpn_buffer *buffer, uint64_t at, unsigned char *to, uint64_t room) {
  const uint64_t from = at, mask = buffer->mask;
  _Atomic uint64_t *const ring =
      buffer->words; /* here: what is copied could alias the struct, for all a compiler knows */
  while (at - from < RUN_BYTES) {
    const uint64_t first = at / 8;
    /* seq_cst, as in cpn_buffer_ready(); it includes acquire: the words behind the head are filled. */
    uint64_t head = atomic_load_explicit(&ring[first & mask], memory_order_seq_cst);
    uint32_t words = cpn_record_words(head);
    if (head == 0 || at - from + (uint64_t)words * 8 > room) break;
    __builtin_prefetch((const void *)&ring[(first + AHEAD_WORDS) & mask], 1);
    unsigned char *bytes = to + (at - from);
    cpn_put_u64(bytes, head);
    for (uint32_t i = 1; i < words; i++) /* relaxed: behind the head */
      cpn_put_u64(bytes + (size_t)i * 8, atomic_load_explicit(&ring[(first + i) & mask], memory_order_relaxed));
    at += (uint64_t)words * 8;
  }
  return at;
}

/* So that (b) holds for whoever reserves the places next. release: see cpn_buffer_peek(). */
static void zero_run(struct cpn_buffer *buffer, uint64_t from, uint64_t to) {
  const uint64_t mask = buffer->mask;
  _Atomic uint64_t *const ring = buffer->words;
  for (uint64_t word = from / 8; word < to / 8; word++)
    atomic_store_explicit(&ring[word & mask], 0, memory_order_release);
}

size_t cpn_buffer_drain(struct cpn_buffer *buffer, unsigned char *to, size_t capacity, cpn_buffer_each_fn *each,
                        void *context) {
  /* relaxed: only the one drainer changes it. */
  const uint64_t from = atomic_load_explicit(&buffer->drained, memory_order_relaxed);
  uint64_t at = from;
  for (;;) {
    unsigned char *bytes = to + (at - from);
    /* Behind a whole ring the heads are this run's own again. */
    uint64_t end = copy_run(buffer, at, bytes, cpn_min_u64(capacity - (at - from), buffer->capacity));
    if (end == at) return (size_t)(at - from);
    each(context, at, bytes, (size_t)(end - at));
    zero_run(buffer, at, end);
    /* seq_cst, which includes release (the zeros before the room they make), and pairs with who waits for room. */
    atomic_store_explicit(&buffer->drained, end, memory_order_seq_cst);
    at = end;
  }
}

uint64_t cpn_buffer_tail(const struct cpn_buffer *buffer) {
  return atomic_load_explicit(&buffer->tail, memory_order_seq_cst);
}

uint64_t cpn_buffer_drained(const struct cpn_buffer *buffer) {
  return atomic_load_explicit(&buffer->drained, memory_order_seq_cst);
}
