/* SPDX-License-Identifier: Apache-2.0 */
/* In place of Concurrency Kit's, for what is explored: who would spin waits until what it spins on has changed. */
#ifndef EXPLORE_SHIM_CK_BACKOFF_H
#define EXPLORE_SHIM_CK_BACKOFF_H

#include "explore.h"

typedef unsigned ck_backoff_t;
#define CK_BACKOFF_INITIALIZER 1

static inline void ck_backoff_eb(ck_backoff_t *backoff) {
  (void)backoff;
  explore_pause();
}

#endif
