/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Histories: what threads asked of a few campaigns and what they were told, each operation with the stretch of real
 * time in which it ran. They are written down by the threads, judged by linear.h, and have a text form, one line
 * for an operation, so that a finding can be printed, kept, and studied with lin_check:
 *
 *   campaign 7 stock=3 limit=1 counts=apart
 *   t0 12..15 issue 7 user=4 -> ISSUED number=2 lsn=96 final
 *   t1 13..20 issue 7 user=5 batch=1 -> SOLD_OUT
 *   t2 14..16 lookup 7 user=4 -> OK number=2 count=1
 *   t2 17..18 info 7 -> OK count=2 remaining=1
 *   t3 19..22 tickets 7 from=1 capacity=8 -> OK users=9,4
 *   t3 23..- issue 7 user=6 -> ?
 *   t0 30..30 crash
 *
 * Each thread writes into arrays of its own, so that recording is no meeting of threads; the stamps are the
 * caller's (race_stamp()).
 */
#ifndef TESTS_SUPPORT_HISTORY_H
#define TESTS_SUPPORT_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "coupon/coupon.h"

#define HISTORY_THREADS 6   /* four that run, one that looks afterwards, one to spare */
#define HISTORY_OPS 256     /* operations of one thread, requests of batches counted one by one */
#define HISTORY_LISTED 2048 /* tickets that one thread was listed */
#define HISTORY_CAMPAIGNS 4

enum history_kind {
  HISTORY_CREATE,
  HISTORY_ISSUE, /* also each request of a batch */
  HISTORY_LOOKUP,
  HISTORY_INFO,
  HISTORY_TICKETS,
  HISTORY_CRASH, /* of everything: no campaign, no answer, one stamp */
  HISTORY_KINDS
};

/* In place of a status: the call never returned. Its `end` is HISTORY_NEVER. */
#define HISTORY_UNANSWERED INT32_MIN
#define HISTORY_NEVER UINT64_MAX

struct history_op {
  uint64_t begin, end; /* stamps before the call and after it */
  uint64_t campaign, user;
  uint64_t number;         /* of the ticket told of; 0: none, or not told */
  uint64_t count;          /* lookup: the user's tickets; info: issued; tickets: how many were listed */
  uint64_t remaining;      /* info */
  uint64_t from, capacity; /* tickets: as asked */
  uint64_t batch;          /* 0: none; a thread's operations of the same batch are its requests, in their order */
  uint64_t lsn;            /* never judged: to find a number by, and for who studies a finding */
  uint32_t thread;
  uint32_t listed; /* tickets: where the users begin in the thread's `listed` */
  enum history_kind kind;
  coupon_status status;
  bool final; /* flagged so when it was told */
};

/* A campaign of the history. One that no line declares does not exist and never will. */
struct history_campaign {
  uint64_t id, stock, limit; /* limit: 1, or 0 for none */
  bool created;              /* by an operation of the history; else it is there from the start */
  bool counts_apart;         /* see linear.h */
  bool lists_apart;          /* the same */
};

struct history_thread {
  struct history_op *ops;
  uint64_t *listed;
  uint32_t ops_count, listed_count;
};

struct history {
  struct history_campaign campaigns[HISTORY_CAMPAIGNS];
  uint32_t campaigns_count;
  struct history_thread threads[HISTORY_THREADS];
};

/* Allocates for all threads; ends the program where there is no memory. Empty at first. */
void history_init(struct history *history);
void history_fini(struct history *history);
void history_clear(struct history *history);

/* Before threads run. */
struct history_campaign *history_add_campaign(struct history *history, uint64_t id, uint64_t stock, uint64_t limit);
const struct history_campaign *history_campaign_of(const struct history *history, uint64_t id);

/* A new operation of the thread, zero but for thread and kind. A thread that overruns its array ends the program. */
struct history_op *history_add(struct history *history, uint32_t thread, enum history_kind kind);
/* Appends a user to the page that is the thread's newest operation. */
void history_add_listed(struct history *history, struct history_op *page, uint64_t user);
/* The user at place `i` of a page. */
uint64_t history_listed(const struct history *history, const struct history_op *page, uint64_t i);

/* The operations of all threads by the time they began. `ops` has room for HISTORY_THREADS * HISTORY_OPS. */
uint32_t history_sort(const struct history *history, const struct history_op **ops);

void history_print_op(const struct history *history, const struct history_op *op, FILE *file);
void history_print(const struct history *history, FILE *file);

/* Reads the text form into a history, which is cleared first. Passed over are empty lines, those that begin with #, and
 * those whose first word ends with a colon: so what a test prints can be read as it is. NULL, or what is wrong;
 * `*line` is its line's number. */
const char *history_read(struct history *history, FILE *file, uint32_t *line);

#endif
