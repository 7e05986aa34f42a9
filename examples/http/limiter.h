/* SPDX-License-Identifier: Apache-2.0 */
/*
 * So many attempts a minute for each key. A table of fixed size: keys that share a cell share its attempts, so that
 * no crowd of keys takes memory; where a key goes depends on random bytes of the process. Each cell is the "theoretical
 * arrival time" of the generic cell rate algorithm (ITU-T I.371): one number, changed by compare-and-swap.
 */
#ifndef EXAMPLE_LIMITER_H
#define EXAMPLE_LIMITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LIMITER_CELLS = 1 << 16 };

struct limiter {
  unsigned char seed[16];
  uint64_t interval_ns; /* 0: no limit */
  uint64_t burst_ns;
  _Atomic uint64_t *cells; /* any thread */
};

void limiter_init(struct limiter *limiter, uint64_t per_minute);
void limiter_fini(struct limiter *limiter);

/* Counts an attempt at `now_ns`, of any clock that does not run backwards. 0: go on; else the seconds until the
 * next is allowed. Any thread. */
unsigned limiter_try(struct limiter *limiter, const char *key, size_t length, uint64_t now_ns);

#endif
