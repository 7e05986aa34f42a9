/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log buffer: a ring of words between the requests, who write records, and the commit stage, which takes them
 * away in order. Reserving a place is what gives a record its LSN and its time.
 *
 * Life of a slot: reserve (the tail moves over it) -> fill (all words but the head) -> publish (the head) -> drain
 * (read, zeroed).
 *
 * Guarantees
 *   (a) Places do not overlap; their order is the order of reservations; their times never fall along that order.
 *   (b) The head of a place reads 0 from its reservation to its publication: the commit stage stops there, at a
 *       hole.
 *   (c) A place that lies `capacity` behind the drained end is refused, not waited for.
 *
 * Progress: reserving is lock-free; a retry means that another thread has reserved. Filling and publishing are
 * wait-free. A thread stopped between reserve and publish holds up the draining of everything behind it, and so its
 * finality, and when the ring is full the reservations of others; never a decision before that. One drainer at a
 * time.
 */
#ifndef CPN_LOG_BUFFER_H
#define CPN_LOG_BUFFER_H

#include <stdatomic.h>

#include "base/clock.h"
#include "base/defs.h"

#define CPN_LSN_NONE UINT64_MAX

struct cpn_buffer {
  _Atomic uint64_t *words; /* set at init; the words: each written by the place's owner, zeroed by the drainer */
  uint64_t mask;           /* number of words - 1 */
  uint64_t capacity;       /* bytes */
  struct cpn_clock *clock;
  /* End of what is reserved, an LSN. Every request exchanges it: a line of its own. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t tail;
  /* End of what is drained, an LSN. Written once per drained batch, read by every reservation: apart from the tail. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t drained;
};

/* `capacity` is a power of two, at least 4 KiB; the log goes on from `lsn`. False: no memory. */
CPN_MUST_CHECK bool cpn_buffer_init(struct cpn_buffer *buffer, uint64_t capacity, uint64_t lsn,
                                    struct cpn_clock *clock);
void cpn_buffer_fini(struct cpn_buffer *buffer);

/* Reserves `words` words: returns where they begin, or CPN_LSN_NONE if the ring is full; `*time_ns` is the place's
 * time. */
CPN_MUST_CHECK uint64_t cpn_buffer_reserve(struct cpn_buffer *buffer, uint32_t words, uint64_t *time_ns);

/* Whether a reservation of `words` would be refused now: for not even trying. */
bool cpn_buffer_is_full(const struct cpn_buffer *buffer, uint32_t words);

/* Word `i` (>= 1) of the place at `at`. release: who reads the word sees what its writer had seen; see
 * cpn_buffer_peek(). */
static inline void cpn_buffer_fill(struct cpn_buffer *buffer, uint64_t at, uint32_t i, uint64_t value) {
  atomic_store_explicit(&buffer->words[(at / 8 + i) & buffer->mask], value, memory_order_release);
}

/* Publishes the place by its head. seq_cst: the publisher then asks whether the commit stage sleeps, and the commit
 * stage, before it sleeps, looks for a published head; one of the two must see the other. */
static inline void cpn_buffer_publish(struct cpn_buffer *buffer, uint64_t at, uint64_t head) {
  atomic_store_explicit(&buffer->words[(at / 8) & buffer->mask], head, memory_order_seq_cst);
}

/* Publishes a place behind another of the same reservation, which is published later: the commit stage does not get
 * here before that. release: the words before the head. */
static inline void cpn_buffer_publish_behind(struct cpn_buffer *buffer, uint64_t at, uint64_t head) {
  atomic_store_explicit(&buffer->words[(at / 8) & buffer->mask], head, memory_order_release);
}

/* Fills and publishes `words` words that a record was encoded into, head apart. */
void cpn_buffer_put(struct cpn_buffer *buffer, uint64_t at, uint64_t head, const uint64_t *words);

/* Gives a place up: VOID. */
void cpn_buffer_void(struct cpn_buffer *buffer, uint64_t at, uint32_t words);

/* Word `i` of a place that may be drained and used again at any moment. The caller must then read again whatever told
 * it that the place was not drained: acquire, pairs with the release of filling and draining, so a word from
 * after the draining cannot be followed by news from before it. */
static inline uint64_t cpn_buffer_peek(const struct cpn_buffer *buffer, uint64_t at, uint32_t i) {
  return atomic_load_explicit(&buffer->words[(at / 8 + i) & buffer->mask], memory_order_acquire);
}

/* Whether the next place to be drained is published. */
bool cpn_buffer_ready(const struct cpn_buffer *buffer);

/* Copies published records, whole, in order, up to the first hole or `capacity` bytes, to `to` (as bytes of the
 * format). They go in runs: `each` is called with the records [lsn, lsn + size) once they are copied and before their
 * places are given back. Returns the bytes copied. */
typedef void cpn_buffer_each_fn(void *context, uint64_t lsn, const unsigned char *bytes, size_t size);
size_t cpn_buffer_drain(struct cpn_buffer *buffer, unsigned char *to, size_t capacity, cpn_buffer_each_fn *each,
                        void *context);

uint64_t cpn_buffer_tail(const struct cpn_buffer *buffer);
uint64_t cpn_buffer_drained(const struct cpn_buffer *buffer);

#endif
