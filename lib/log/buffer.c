/* SPDX-License-Identifier: Apache-2.0 */
#include "log/buffer.h"

#include <ck_pr.h>
#include <string.h>
#include <sys/mman.h>
#if CPN_WIDE_LOADS
#include <emmintrin.h>
#endif

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

/* What is copied at a time, or a record more: it is applied, and its places are zeroed, while the nearest cache still
 * has it; and producers that wait for room get it before the whole batch is through. */
#define RUN_WORDS 1024u

/* Where the next lines are asked for: producers on other processors have written them. */
#define AHEAD_WORDS 64u

/* Counts the words from word `first` on that are whole published records: up to `most`, and no more than a run. */
static uint64_t published(const struct cpn_buffer *buffer, uint64_t first, uint64_t most) {
  const uint64_t mask = buffer->mask;
  const _Atomic uint64_t *const ring = buffer->words;
  uint64_t count = 0;
  while (count < RUN_WORDS) {
    /* seq_cst, both, as in cpn_buffer_ready(); it includes acquire: the words behind the head are filled. */
    const uint64_t head = atomic_load_explicit(&ring[(first + count) & mask], memory_order_seq_cst);
    const uint64_t words = cpn_record_words(head);
    if (head == 0 || count + words > most) break;
    const uint64_t last = cpn_min_u64(most - words, RUN_WORDS - 1); /* where another one may begin */
    do {                                                            /* mostly one like it follows */
      __builtin_prefetch((const void *)&ring[(first + count + AHEAD_WORDS) & mask], 1);
      count += words;
    } while (count <= last && atomic_load_explicit(&ring[(first + count) & mask], memory_order_seq_cst) == head);
  }
  return count;
}

#if CPN_WIDE_LOADS
/* Of published records: nobody writes them, so that this needs no atomics to be whole. */
static void copy_words(unsigned char *to, const _Atomic uint64_t *words, uint64_t count) {
  memcpy(to, (const void *)words, (size_t)count * 8);
}

/* Not C's atomics, but each word is stored whole, and after whatever was stored before: others who read here see the
 * number of the ticket behind a zero. Not memset(), whose instructions for many bytes promise less. */
static void zero_words(_Atomic uint64_t *words, uint64_t count) {
  uint64_t i = 0;
  atomic_signal_fence(memory_order_seq_cst); /* the compiler moves no plain store over an atomic one */
  if ((uintptr_t)words % 16 != 0 && count > 0) atomic_store_explicit(&words[i++], 0, memory_order_release);
  for (; i + 8 <= count; i += 8) {
    __m128i *pairs = (__m128i *)(void *)&words[i];
    for (int pair = 0; pair < 4; pair++) _mm_store_si128(&pairs[pair], _mm_setzero_si128());
    atomic_signal_fence(memory_order_seq_cst); /* which also keeps it from making a memset() of this */
  }
  for (; i < count; i++) atomic_store_explicit(&words[i], 0, memory_order_release);
}
#else
static void copy_words(unsigned char *to, const _Atomic uint64_t *words, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) /* relaxed: behind the heads */
    cpn_put_u64(to + i * 8, atomic_load_explicit(&words[i], memory_order_relaxed));
}

/* release: see cpn_buffer_peek(). */
static void zero_words(_Atomic uint64_t *words, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) atomic_store_explicit(&words[i], 0, memory_order_release);
}
#endif

/* How many of `count` words from word `first` on come before the ring begins again. */
static uint64_t before_end(const struct cpn_buffer *buffer, uint64_t first, uint64_t count) {
  return cpn_min_u64(count, buffer->mask + 1 - (first & buffer->mask));
}

static void copy_run(const struct cpn_buffer *buffer, uint64_t first, unsigned char *to, uint64_t count) {
  const uint64_t before = before_end(buffer, first, count);
  copy_words(to, &buffer->words[first & buffer->mask], before);
  copy_words(to + before * 8, buffer->words, count - before);
}

/* So that (b) holds for whoever reserves the places next. */
static void zero_run(struct cpn_buffer *buffer, uint64_t first, uint64_t count) {
  const uint64_t before = before_end(buffer, first, count);
  zero_words(&buffer->words[first & buffer->mask], before);
  zero_words(buffer->words, count - before);
}

size_t cpn_buffer_drain(struct cpn_buffer *buffer, unsigned char *to, size_t capacity, cpn_buffer_each_fn *each,
                        void *context) {
  /* relaxed: only the one drainer changes it. */
  const uint64_t from = atomic_load_explicit(&buffer->drained, memory_order_relaxed);
  uint64_t at = from;
  for (;;) {
    unsigned char *bytes = to + (at - from);
    /* Behind a whole ring the heads are this run's own again. */
    uint64_t count = published(buffer, at / 8, cpn_min_u64(capacity - (at - from), buffer->capacity) / 8);
    if (count == 0) return (size_t)(at - from);
    copy_run(buffer, at / 8, bytes, count);
    each(context, at, bytes, (size_t)count * 8);
    zero_run(buffer, at / 8, count);
    at += count * 8;
    /* seq_cst, which includes release (the zeros before the room they make), and pairs with who waits for room. */
    atomic_store_explicit(&buffer->drained, at, memory_order_seq_cst);
  }
}

uint64_t cpn_buffer_tail(const struct cpn_buffer *buffer) {
  return atomic_load_explicit(&buffer->tail, memory_order_seq_cst);
}

uint64_t cpn_buffer_drained(const struct cpn_buffer *buffer) {
  return atomic_load_explicit(&buffer->drained, memory_order_seq_cst);
}
