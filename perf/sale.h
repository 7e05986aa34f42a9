/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sales on the library, as the programs of perf/ run them: an engine with campaigns 1 … n, users that are asked for
 * one by one or in batches, and the checks that what was measured was a sale.
 */
#ifndef PERF_SALE_H
#define PERF_SALE_H

#include <stdatomic.h>

#include "bench.h"
#include "coupon/coupon.h"
#include "timer.h"

enum { SALE_BATCH = 32 }; /* requests to a batch: from there on it costs least */

/* An engine. Without `directory`: COUPON_NONE. Ends the program, with the report, if it cannot be opened. */
coupon_engine *sale_open(const char *directory, int32_t durability);
/* Also removes the directory, unless it is NULL. */
void sale_close(coupon_engine *engine, const char *directory);
/* A path in the run's directory, where nothing is. */
const char *sale_path(const struct bench *bench, const char *name, char path[BENCH_PATH_MAX]);

/* Waits until it is final; ends the program if it cannot be created. */
void sale_create(coupon_engine *engine, uint64_t campaign, uint64_t stock, uint64_t prepare);
void sale_create_uuid(coupon_engine *engine, uint64_t campaign, uint64_t stock, uint64_t prepare);

/* What issuing is asked for, and what it tells. */
struct sale_job {
  coupon_engine *engine;
  uint64_t users;                  /* bench_user(first_user … first_user + users - 1), each asked for once */
  uint64_t first_user;             /* where the users of this job begin */
  uint64_t campaigns;              /* 0 counts as 1: all in campaign 1 */
  bool random;                     /* a random campaign for each user; else each in turn */
  bool batches;                    /* SALE_BATCH at a time */
  bool uuid;                       /* the users are 16 bytes */
  bool waits;                      /* for each answer to be final */
  uint64_t (*user_of)(uint64_t i); /* NULL: bench_user */
  const struct timer *timer;       /* NULL: calls are not timed */
  struct histogram *histograms;    /* one per thread, if there is a timer */
  int threads;
  /* Sums over all threads, added to by each once, at its end. */
  _Atomic uint64_t issued, busy, numbers;
};

/* Asks for all users on so many threads; seconds. An answer of COUPON_E_BUSY is asked for again. */
double sale_run(struct sale_job *job, int threads);
/* The same in millions of users per second. */
double sale_rate(struct sale_job *job, int threads);

/* Waits until everything decided is final; false: it never will be. */
bool sale_all_final(coupon_engine *engine);
/* Tickets 1 … count, in this order and no more, and as many issued. */
bool sale_is_whole(coupon_engine *engine, uint64_t campaign, uint64_t count);
uint64_t sale_memory_bytes(coupon_engine *engine);

/* 16 bytes that look random, distinct for distinct i. */
void sale_uuid(uint64_t i, unsigned char uuid[COUPON_UUID_SIZE]);

#endif
