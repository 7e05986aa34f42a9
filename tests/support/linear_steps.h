/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A campaign's part of a history as steps: for each operation what has to be true at its moment, and what it
 * changes. The first half of linear.h, apart from the search, which knows nothing of operations.
 */
#ifndef TESTS_SUPPORT_LINEAR_STEPS_H
#define TESTS_SUPPORT_LINEAR_STEPS_H

#include "support/linear.h"

#define LINEAR_STEPS_MAX 640
#define LINEAR_NONE UINT32_MAX

enum linear_kind { LINEAR_LOOK, LINEAR_TAKE, LINEAR_CREATE, LINEAR_CRASH };
enum linear_holds { LINEAR_EITHER, LINEAR_HOLDS, LINEAR_HOLDS_NOT };

struct linear_step {
  uint64_t begin, end;
  const struct history_op *op;
  enum linear_kind kind;
  uint32_t after;                  /* a step that has to come before, or LINEAR_NONE */
  int32_t issued_low, issued_high; /* look: so many are issued; -1: there is no campaign */
  int32_t listed_low, listed_high; /* look: so many are listed */
  enum linear_holds holds;         /* look: whether the user has a ticket */
  bool counts_listed; /* look: `listed_count` of the listed tickets are the user's, the first is `number` */
  uint32_t listed_count;
  uint32_t user;   /* an index */
  uint32_t number; /* take: or 0; see also linear_steps */
  bool optional;   /* take: may be left out; not after the crash */
};

struct linear_steps {
  uint32_t stock;
  bool limited, created;    /* created: by a step */
  bool lists;               /* some step asks how many are listed */
  uint32_t count, required; /* steps, and those that are not optional */
  struct linear_step steps[LINEAR_STEPS_MAX];
  uint32_t owner[LINEAR_STOCK_MAX + 1]; /* [number]: the user's index, as told by anybody; or LINEAR_NONE */
  uint32_t number_of[LINEAR_USERS_MAX]; /* with a limit: [user], or 0 */
  uint64_t users[LINEAR_USERS_MAX];
  uint32_t users_count;
};

/* What is looked at, besides who is issued, refused or found when: any of these together. The last two only with
 * numbers. */
enum {
  LINEAR_COUNTS = 1,
  LINEAR_NUMBERS = 2, /* who has which, and that final tickets are listed */
  LINEAR_PAGES = 4,   /* how many tickets a page knows of */
  LINEAR_SUMS = 8,    /* how many tickets a lookup without a limit knows of */
  LINEAR_ALL = 15
};

/* `ops` are all of the history, sorted. NULL, or what is wrong before any search; then `*stuck` is where. */
const char *linear_steps_make(struct linear_steps *steps, const struct history *history,
                              const struct history_campaign *campaign, const struct history_op *const *ops,
                              uint32_t count, unsigned view, const struct history_op **stuck);

#endif
