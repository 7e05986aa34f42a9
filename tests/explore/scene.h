/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the explorations of whole issues share: an engine with one campaign, as small as can be; who is asked for by
 * which thread; and the judge, who holds what everybody was told to what the log says, or without a log to what
 * everybody else was told.
 */
#ifndef EXPLORE_SCENE_H
#define EXPLORE_SCENE_H

#include "engine/engine.h"
#include "explore.h"

#define SCENE_CAMPAIGN UINT64_C(77)
#define SCENE_REQUESTS_MAX 8

enum scene_world {
  SCENE_LOGGED,    /* with a log, which is read when all is over */
  SCENE_UNLOGGED,  /* without one */
  SCENE_COMMITTING /* with a log and the commit thread, which is the last of the threads */
};

enum scene_weak { SCENE_AS_IT_IS, SCENE_CLAIMS, SCENE_WORD_AND_TAIL, SCENE_IDLE };

struct scene {
  enum scene_world world;
  uint64_t units;
  int askers;                         /* threads, but the commit thread */
  int first[EXPLORE_THREADS_MAX + 1]; /* thread t asks for the users first[t] … first[t + 1] - 1 */
  uint64_t users[SCENE_REQUESTS_MAX]; /* none is 0 */
  bool growing;                       /* there is not yet memory for claims and tickets */
  bool closing;                       /* the last asker comes when the campaign is over */
  uint32_t crowded;                   /* words of each line of claims that others have taken before */
  enum scene_weak weak;               /* a planted weak order */
};
extern struct scene scene;

extern struct coupon_engine scene_engine;
extern struct coupon_ticket scene_tickets[SCENE_REQUESTS_MAX]; /* the answers; `answer` is set by whoever runs */

/* One thread for each list, of users named by a digit each, "56"; NULL: no such thread. `ask` is what askers do. */
struct explore_scenario scene_of(const char *name, enum scene_world world, uint64_t units, void (*ask)(int thread),
                                 const char *first, const char *second, const char *third);

#endif
