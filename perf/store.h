/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory with one campaign of so many tickets, for programs that ask how soon it is open again; and what no
 * opening can do without: reading its files, touching its memory.
 */
#ifndef PERF_STORE_H
#define PERF_STORE_H

#include "sale.h"

struct store {
  char path[BENCH_PATH_MAX];
  uint64_t tickets;
  bool uuid;
  uint64_t memory_bytes; /* that an engine on it holds; known behind the first opening */
};

struct store_files {
  uint64_t bytes;  /* read */
  uint64_t frames; /* of them, in log segments, up to the last block that is not zero */
};

/* Parts of file names. */
#define STORE_LOG ".log"
#define STORE_CHECKPOINT ".checkpoint"

/* An engine that makes checkpoints only when asked to; ends the program if it cannot be opened. `report` may be
 * NULL. */
coupon_engine *store_open(const char *path, int32_t durability, struct coupon_report *report);

/* One thread issues to bench_user(0 … tickets - 1), or to 16 bytes each, in this order. */
void store_make(struct bench *bench, struct store *store, const char *name, uint64_t tickets, bool uuid);

/* Seconds; checks that all tickets are there. `report` may be NULL. */
double store_time_opening(struct bench *bench, struct store *store, struct coupon_report *report);

/* Seconds to read all files with this in their names; to touch as much memory as the engine will hold. */
double store_time_reading(const struct store *store, const char *part);
double store_time_touching(const struct store *store);

/* Drops its files from the page cache. */
void store_forget(const struct store *store);
struct store_files store_look(const struct store *store);

#endif
