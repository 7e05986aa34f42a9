/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the records of a log may say: the rules at the end of "Records" in docs/FORMAT.md, one check each.
 * A broken rule is counted and reading goes on, so that one look tells how bad it is.
 *
 * Memory: 8 bytes per ticket of a campaign with a user limit, 16 where users are UUIDs; twice that more while
 * duplicates are looked for.
 */
#ifndef TOOLS_VERIFY_RULES_H
#define TOOLS_VERIFY_RULES_H

#include "verify_read.h"

#include <stddef.h>

enum { RULES_MESSAGE_MAX = 320 };

/* One campaign as the records tell of it. */
struct rules_campaign {
  uint64_t id;
  uint64_t stock;
  uint64_t user_limit;
  uint32_t user_kind;
  uint64_t opens_at_ns;
  uint64_t closes_at_ns;
  uint64_t issued;
  uint64_t last_time_ns; /* of an ISSUE */
  bool opened;
  bool closed;
  char *name;
  uint64_t *users;    /* in order of their tickets, of one word each, or of two; only with a limit */
  size_t users_count; /* fewer than were issued only where a rule is broken */
  size_t users_capacity;
};

struct rules {
  struct rules_campaign *campaigns;
  size_t count;
  size_t capacity;
  uint64_t tickets;
  uint64_t voids;
  uint64_t broken;                 /* how many rules were found broken */
  char message[RULES_MESSAGE_MAX]; /* about the first */
  bool no_memory;                  /* something could not be kept: the result is worth nothing */
};

/* Begins with `*rules` all zero. A visitor for read_log(), whose context is the struct rules. */
void rules_take(void *rules, const struct read_record *record);

/* The rules that need all records: ids and users that occur too often. */
void rules_finish(struct rules *rules);

/* Frees what was gathered; `*rules` is all zero again. */
void rules_fini(struct rules *rules);

#endif
