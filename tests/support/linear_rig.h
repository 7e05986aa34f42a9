/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Histories of small models: deciders of a screen or two, written in a test, that stand for a protocol with or without
 * a mistake. The rig lets four threads ask the model, writes down what they are told, and lets the search of
 * linear.h judge: it has to pass the right ones and to find the mistakes.
 */
#ifndef TESTS_SUPPORT_LINEAR_RIG_H
#define TESTS_SUPPORT_LINEAR_RIG_H

#include "support/linear.h"
#include "support/race_help.h"

#define RIG_THREADS 4
#define RIG_USERS 5
#define RIG_STOCK_MOST 4

/* One campaign with a limit. The functions that fill an operation find its user there, and set status and number, and
 * whether the answer is final. */
struct rig_model {
  void (*reset)(uint64_t stock); /* no other thread runs */
  void (*issue)(uint32_t thread, struct history_op *op);
  void (*lookup)(struct history_op *op);
  uint64_t (*tickets)(uint64_t users[RIG_STOCK_MOST]); /* when all is over: their count, and users by number */
  /* A step of making answers final; the last thread does nothing else, until it crashes. Then `recover` leaves what was
   * durable. Both or neither. */
  void (*commit)(void);
  void (*recover)(void);
};

/* Between two steps of a model: wastes a random time, or yields, or does nothing. */
void rig_stumble(void);

/* Checks that no history of `rounds` is found wrong. */
void rig_pass(const char *name, const struct rig_model *model, uint64_t rounds);
/* Checks that one is, within so many, and prints which. */
void rig_catch(const char *name, const struct rig_model *model, uint64_t rounds);

#endif
