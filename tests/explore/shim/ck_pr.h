/* SPDX-License-Identifier: Apache-2.0 */
/* In place of Concurrency Kit's, for what is explored: the one thing that the library uses of it. */
#ifndef EXPLORE_SHIM_CK_PR_H
#define EXPLORE_SHIM_CK_PR_H

#include "explore.h"

static inline void ck_pr_stall(void) { explore_stall(); }

#endif
