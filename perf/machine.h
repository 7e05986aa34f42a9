/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's limits: the least that an issue has to ask of it. An issue must find and change one word of a table
 * that is larger than the caches, so no design can beat a random load and exchange on as much memory; and a disk that
 * takes a write and a sync, one after the other.
 */
#ifndef PERF_MACHINE_H
#define PERF_MACHINE_H

#include <stdatomic.h>

#include "bench.h"
#include "timer.h"

/* Words on pages of 2 MiB. Everything that is measured beside one another uses one array. */
struct machine_words {
  _Atomic uint64_t *words;
  uint64_t count; /* a power of two */
};

/* The size of a claim table for so many users: 2 GiB from five million on, where a few bytes more or less per user
 * change nothing any more; below it 32 bytes a user. */
void machine_words_init(struct machine_words *words, uint64_t users);
void machine_words_fini(struct machine_words *words);
/* "random load + CAS on 2 GiB". */
const char *machine_words_text(const struct machine_words *words, const char *what, char text[64]);

/* Millions per second. A random word is loaded and exchanged, one at a time; or 64 are prefetched for writing,
 * then exchanged. `turns` of them on each thread. */
double machine_cas(struct machine_words *words, uint64_t turns, int threads);
double machine_prefetched_cas(struct machine_words *words, uint64_t turns, int threads);

/* One at a time on one thread, with 128 other instructions between two of them, which alone would take some 30 to 60
 * ns: what a processor makes of calls that are longer than it looks ahead, and so wait for memory one after the other.
 * An exchange each; or two loads each, the second of which is where the first one says. */
double machine_cas_apart(struct machine_words *words, uint64_t turns);
double machine_loads_apart(struct machine_words *words, uint64_t turns);

/* A random word is loaded and nothing else, with about so many other instructions between two, a multiple of 16: how
 * far the processor looks ahead. */
double machine_load_apart(struct machine_words *words, uint64_t turns, unsigned instructions);

/* One at a time and each timed, into a histogram per thread. */
void machine_timed_cas(struct machine_words *words, uint64_t turns, int threads, const struct timer *timer,
                       struct histogram *histograms);

/* Millions per second of one word that all threads add to: the ceiling of any order that all share. */
double machine_shared_counter(uint64_t turns, int threads);

/* Writes of 512 bytes, one after the other and each durable before the next, in a file of zeros: by a write and a sync,
 * and by a write past the page cache that is both, where the file system has that. A disk's mood changes within a
 * second: so these are to be had in slices, between those of what they stand beside. */
struct machine_disk {
  const char *path;
  int file[2];
  uint64_t times, spent_ns[2];
};
bool machine_disk_open(struct machine_disk *disk, const char *path);
bool machine_disk_write(struct machine_disk *disk, uint64_t times); /* so many each way */
/* Per second, of all that were written, the better way's. */
double machine_disk_rate(const struct machine_disk *disk);
void machine_disk_close(struct machine_disk *disk); /* and removes the file */

/* Thousands per second of `threads` threads that do nothing but sleep until all are woken, in two halves by turns: what
 * callers who wait cannot beat, be the disk as fast as it may. For about `seconds`. */
double machine_sleepers(int threads, double seconds);

#endif
