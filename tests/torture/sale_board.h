/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sale in a process that will not live long, and what it has told outside of it. The board is memory that the
 * process shares with its parent: each answer that is final is written there, as an application would tell a
 * customer, and nothing that happens to the process takes it back. sale_serve() is the process, sale_check() holds a
 * directory to the board.
 */
#ifndef TESTS_SALE_BOARD_H
#define TESTS_SALE_BOARD_H

#include <stdatomic.h>

#include "coupon/coupon.h"
#include "torture/torture.h"

#define SALE_THREADS 4
#define SALE_JOURNAL 16384
#define SALE_CAMPAIGNS 96
#define SALE_STOCK_MAX 400
#define SALE_USERS_PER_UNIT 3

/* A final answer. Users are numbers from 0; those of 16 bytes are made from them. */
struct sale_entry {
  uint64_t campaign, user;
  uint64_t number, lsn, time_ns;
  int32_t answer; /* COUPON_OK: the campaign was created */
};

/* One thread writes, then raises the count; readers come when the thread is no more. */
struct sale_journal {
  _Atomic uint64_t count;
  struct sale_entry entries[SALE_JOURNAL];
};

struct sale_campaign {
  _Atomic uint32_t is_described; /* the rest is there: set before the campaign is created */
  uint32_t user_limit;
  int32_t user_kind;
  uint64_t stock, opens_at_ns, closes_at_ns;
};

enum sale_phase { SALE_STARTED, SALE_OPENED, SALE_CLOSING };

struct sale_board {
  /* How the next life goes; set by the parent between lives. */
  char directory[TORTURE_PATH_MAX];
  char archive[TORTURE_PATH_MAX]; /* of the directory, from its first life on; "": there is none */
  bool archive_is_far;            /* on another file system, as it were: no links, copies */
  uint64_t seed;
  int32_t durability;
  uint64_t segment_size, log_buffer, commit_delay_ns;
  uint64_t checkpoint_log; /* a checkpoint for so much log; UINT64_MAX: none */
  uint64_t close_after;    /* close after so many answers of this life; 0: never */
  bool may_be_full;        /* checkpoints need not find room on the disk */
  bool tells_too_early;    /* the planted bug: does not wait until an answer is final */

  _Atomic uint64_t now_ns; /* the wall clock; the parent puts it back now and then */
  _Atomic uint32_t phase;
  _Atomic int32_t failure;    /* what stopped the engine, or 0: a life on a disk that is full ends by itself */
  _Atomic uint64_t told;      /* answers of this life */
  _Atomic uint64_t loaded;    /* checks that began with a checkpoint */
  _Atomic uint64_t released;  /* campaigns whose tickets they found in a file */
  _Atomic uint64_t whole;     /* checks that read the archive, too */
  _Atomic uint64_t campaigns; /* ids 1 … this are taken */
  struct sale_campaign specs[SALE_CAMPAIGNS + 1];
  struct sale_journal journals[SALE_THREADS];
};

/* For a directory in which nothing has happened yet. */
void sale_board_reset(struct sale_board *board);
/* Whether there is room on it for another life. */
bool sale_board_has_room(const struct sale_board *board);
uint64_t sale_board_entries(const struct sale_board *board);

/* Opens, issues until it is killed, or closes. Returns 0; 3 if the engine stopped at a fault, which is then in
 * `failure`. In a child. */
int sale_serve(void *board);

/* Opens for reading or for writing and checks. Ends the process at a finding. In a child. */
int sale_check_reading(void *board);
int sale_check_writing(void *board);

/* Checks that the archive and the directory, which nobody has open, are the whole log; with programs that bring
 * sale_whole.c. In a child. */
int sale_check_whole(void *board);
/* Before processes that sell: how segments get into the archive. */
void sale_archive_begin(const struct sale_board *board);

/* Shared by the two. */
struct coupon_options sale_options(struct sale_board *board);
struct coupon_campaign_spec sale_spec(const struct sale_board *board, uint64_t id);
void sale_uuid(uint64_t user, unsigned char uuid[COUPON_UUID_SIZE]);

#endif
