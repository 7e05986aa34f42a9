/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine on a simulated disk, stepped by hand, with a memory of what it has answered: so that after a crash an
 * oracle can ask whether everything final is still there, and nothing is there twice.
 */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include "engine/engine.h"
#include "support/simdisk.h"

#define WORLD_ANSWERS 4096

struct world {
  struct simdisk *disk; /* not owned */
  struct coupon_options options;
  uint64_t clock_ns; /* what the wall clock shows */
  coupon_engine *engine;
  struct coupon_report report; /* of the last opening */
  /* Answers of all lives. Those with COUPON_TICKET_FINAL have to hold for ever. */
  struct coupon_ticket answers[WORLD_ANSWERS];
  size_t answer_count;
};

/* Small segments and a small buffer, so that little is enough to turn every page. */
void world_init(struct world *world, struct simdisk *disk);

/* Opens; the status is also in the report. */
coupon_status world_open(struct world *world);
/* Steps, notes what has become final, closes, frees. Works on a dead disk too. */
void world_close(struct world *world);
/* Frees without a step: the process is gone. */
void world_abandon(struct world *world);

coupon_status world_create(struct world *world, uint64_t id, uint64_t stock, uint64_t user_limit);
coupon_status world_issue(struct world *world, uint64_t campaign, uint64_t user);
/* Steps until there is nothing to commit, and notes which answers are final now. False: the engine has failed. */
bool world_settle(struct world *world);

/* Checks what must be true at any time, and that every final answer of `past` holds here. Returns NULL, or what is
 * wrong. */
const char *world_check(struct world *world, const struct world *past);

/* All tickets of all campaigns as one number, to compare two states by; equal states have equal numbers. */
uint64_t world_digest(struct world *world);
uint64_t world_tickets(struct world *world);

#endif
