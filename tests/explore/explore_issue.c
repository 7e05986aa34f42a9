/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows of an issue as a whole, cpn_engine_try_issue() and all it calls: nobody is told "sold out" while a unit is free
 * or while the user holds one, nobody "already issued" who holds nothing, nobody gets two; every answer is what the log
 * up to the answer's LSN says; and numbers, where answers bear them, are the log's order.
 *
 * How: each thread asks for one user. With a log the records are read at the end, or taken away meanwhile by the commit
 * thread itself; without a log numbers and answers have to agree with each other.
 */
#include "scene.h"

static void ask(int thread) {
  (void)cpn_engine_try_issue(&scene_engine, SCENE_CAMPAIGN, scene.users[thread], &scene_tickets[thread]);
}

static struct explore_scenario issue(const char *name, enum scene_world world, uint64_t units, const char *first,
                                     const char *second, const char *third) {
  return scene_of(name, world, units, ask, first, second, third);
}

static void with_log(void) {
  struct explore_scenario it = issue("issue: two users, one unit", SCENE_LOGGED, 1, "5", "6", NULL);
  explore_passes(&it);
  it = issue("issue: two users, two units", SCENE_LOGGED, 2, "5", "6", NULL);
  explore_passes(&it);
  it = issue("issue: one user twice, one unit", SCENE_LOGGED, 1, "5", "5", NULL);
  explore_passes(&it);
  it = issue("issue: one user twice, the first of their campaign", SCENE_LOGGED, 1, "5", "5", NULL);
  scene.growing = true;
  it.preemptions = 1; /* two threads making memory each have many steps in which nothing is decided */
  explore_passes(&it);
  it = issue("issue: a user, and one who comes too late", SCENE_LOGGED, 1, "5", "6", NULL);
  scene.closing = true;
  it.preemptions = 3;
  explore_passes(&it);
  it = issue("issue: two users, one unit, three threads", SCENE_LOGGED, 1, "5", "5", "6");
  it.preemptions = 3;
  explore_passes(&it);
}

static void without_log(void) {
  struct explore_scenario it = issue("issue without a log: two users, one unit", SCENE_UNLOGGED, 1, "5", "6", NULL);
  explore_passes(&it);
  it = issue("issue without a log: two users, two units", SCENE_UNLOGGED, 2, "5", "6", NULL);
  explore_passes(&it);
  it = issue("issue without a log: one user twice, two units", SCENE_UNLOGGED, 2, "5", "5", NULL);
  explore_passes(&it);
  it = issue("issue without a log: two users, one unit, three threads", SCENE_UNLOGGED, 1, "5", "5", "6");
  it.preemptions = 3;
  explore_passes(&it);
}

static void with_commit_thread(void) {
  struct explore_scenario it = issue("issue and commit: a user", SCENE_COMMITTING, 1, "5", NULL, NULL);
  explore_passes(&it);
  it = issue("issue and commit: one user twice", SCENE_COMMITTING, 1, "5", "5", NULL);
  it.preemptions = 2;
  explore_passes(&it);
}

int main(void) {
  with_log();
  without_log();
  with_commit_thread();

  struct explore_scenario it = issue("issue", SCENE_LOGGED, 1, "5", "5", NULL);
  scene.weak = SCENE_CLAIMS;
  explore_finds(&it, "claims relaxed");
  it = issue("issue", SCENE_LOGGED, 1, "5", "6", NULL);
  scene.weak = SCENE_WORD_AND_TAIL;
  explore_finds(&it, "word and tail relaxed");
  it = issue("issue without a log", SCENE_UNLOGGED, 2, "5", "5", NULL);
  scene.weak = SCENE_CLAIMS;
  explore_finds(&it, "claims relaxed");
  it = issue("issue and commit", SCENE_COMMITTING, 1, "5", NULL, NULL);
  scene.weak = SCENE_IDLE;
  explore_finds(&it, "idle looked at with acquire only");
  return 0;
}
