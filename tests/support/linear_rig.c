/* SPDX-License-Identifier: Apache-2.0 */
#include "support/linear_rig.h"

#include <sched.h>

#define CAMPAIGN 1
#define WATCHER RIG_THREADS
#define OPS_MOST 6 /* of each thread */

struct rig {
  const struct rig_model *model;
  uint64_t rounds, round, found; /* histories are counted from 1; found: the first that is wrong, or 0 */
  bool over;
  struct race_barrier barrier;
  struct history history;
  struct linear_search *search;
  struct linear_verdict verdict;
};

static _Thread_local struct race_random chance;

void rig_stumble(void) {
  const uint64_t drawn = race_next(&chance);
  if ((drawn & 15) == 0)
    (void)sched_yield();
  else if ((drawn & 3) == 1)
    race_dally(drawn >> 8 & ((UINT64_C(16) << (drawn >> 32 & 7)) - 1)); /* now and then as long as a call takes */
}

/* --- a history ----------------------------------------------------------------------------------- */

static void ask(struct rig *rig, uint32_t thread, enum history_kind kind, uint64_t user) {
  struct history_op *op = history_add(&rig->history, thread, kind);
  op->campaign = CAMPAIGN;
  op->user = user;
  op->begin = race_stamp();
  if (kind == HISTORY_ISSUE)
    rig->model->issue(thread, op);
  else
    rig->model->lookup(op);
  op->end = race_stamp();
  if (op->status == COUPON_OK) op->count = 1;
}

static void act(struct rig *rig, uint32_t thread) {
  const uint64_t users = 2 + rig->round % (RIG_USERS - 1);
  for (uint64_t i = 0, count = 1 + race_below(&chance, OPS_MOST); i < count; i++) {
    enum history_kind kind = race_below(&chance, 4) == 0 ? HISTORY_LOOKUP : HISTORY_ISSUE;
    ask(rig, thread, kind, race_below(&chance, users));
    rig_stumble();
  }
}

/* Commits for a while. From the crash on nothing becomes final any more. */
static void commit_and_crash(struct rig *rig, uint32_t thread) {
  for (uint64_t i = 0, count = race_below(&chance, 40); i < count; i++) {
    rig->model->commit();
    rig_stumble();
    race_dally(64);
  }
  struct history_op *crash = history_add(&rig->history, thread, HISTORY_CRASH);
  crash->begin = crash->end = race_stamp();
}

/* Threads cannot be killed: they run on after the crash. What they began before it is told too late to count, and
 * what they began later never was. */
static void forget_ghosts(struct rig *rig) {
  const uint64_t crash = rig->history.threads[RIG_THREADS - 1].ops[0].begin;
  for (uint32_t t = 0; t < RIG_THREADS - 1; t++) {
    struct history_thread *thread = &rig->history.threads[t];
    while (thread->ops_count > 0 && thread->ops[thread->ops_count - 1].begin > crash) thread->ops_count--;
  }
}

/* What anybody finds from now on. After a crash somebody new asks too. */
static void look(struct rig *rig) {
  uint64_t users[RIG_STOCK_MOST];
  if (rig->model->recover != NULL) {
    forget_ghosts(rig);
    rig->model->recover();
  }
  const uint64_t count = rig->model->tickets(users), stock = rig->history.campaigns[0].stock;
  struct history_op *page = history_add(&rig->history, WATCHER, HISTORY_TICKETS);
  page->campaign = CAMPAIGN;
  page->from = 1;
  page->capacity = RIG_STOCK_MOST + 1;
  page->begin = race_stamp();
  for (uint64_t i = 0; i < count; i++) history_add_listed(&rig->history, page, users[i]);
  page->end = race_stamp();
  struct history_op *info = history_add(&rig->history, WATCHER, HISTORY_INFO);
  info->campaign = CAMPAIGN;
  info->begin = race_stamp();
  info->count = count;
  info->remaining = stock - count;
  info->end = race_stamp();
  for (uint64_t user = 0; user < RIG_USERS; user++) ask(rig, WATCHER, HISTORY_LOOKUP, user);
  if (rig->model->recover != NULL) ask(rig, WATCHER, HISTORY_ISSUE, RIG_USERS);
}

/* --- many ---------------------------------------------------------------------------------------- */

static void prepare(struct rig *rig) {
  struct race_random random = race_stream(++rig->round * 16);
  const uint64_t stock = 1 + race_below(&random, RIG_STOCK_MOST);
  history_clear(&rig->history);
  (void)history_add_campaign(&rig->history, CAMPAIGN, stock, 1);
  rig->model->reset(stock);
}

static void judge(struct rig *rig) {
  look(rig);
  rig->verdict = linear_check(rig->search, &rig->history);
  if (!rig->verdict.linearizable) rig->found = rig->round;
  rig->over = rig->found != 0 || rig->round == rig->rounds;
}

static void work(void *context, uint32_t thread) {
  struct rig *rig = context;
  uint64_t meetings = 0;
  do {
    race_meet(&rig->barrier, &meetings);
    if (thread == 0) prepare(rig);
    race_meet(&rig->barrier, &meetings);
    chance = race_stream(rig->round * 16 + 1 + thread);
    if (thread == RIG_THREADS - 1 && rig->model->commit != NULL)
      commit_and_crash(rig, thread);
    else
      act(rig, thread);
    race_meet(&rig->barrier, &meetings);
    if (thread == 0) judge(rig);
    race_meet(&rig->barrier, &meetings);
  } while (!rig->over);
}

/* Until the first finding, which stays in the rig. */
static void run(struct rig *rig, const struct rig_model *model, uint64_t rounds) {
  *rig = (struct rig){.model = model, .rounds = rounds, .search = linear_create()};
  history_init(&rig->history);
  race_barrier_init(&rig->barrier, RIG_THREADS);
  race_run(RIG_THREADS, work, rig);
}

static void end(struct rig *rig) {
  history_fini(&rig->history);
  linear_destroy(rig->search);
}

void rig_pass(const char *name, const struct rig_model *model, uint64_t rounds) {
  struct rig rig;
  run(&rig, model, rounds);
  if (rig.found != 0) linear_print(&rig.verdict, &rig.history, stdout);
  RACE_CHECK(rig.found == 0, "%s: history %" PRIu64 ": %s", name, rig.found, rig.verdict.what);
  printf("%s: %" PRIu64 " histories, all linearizable\n", name, rounds);
  end(&rig);
}

void rig_catch(const char *name, const struct rig_model *model, uint64_t rounds) {
  struct rig rig;
  run(&rig, model, rounds);
  RACE_CHECK(rig.found != 0, "planted and not found in %" PRIu64 " histories: %s", rounds, name);
  printf("%s: found in history %" PRIu64 ": %s", name, rig.found, rig.verdict.what);
  if (rig.verdict.stuck == NULL) {
    printf("\n");
  } else {
    printf(", before ");
    history_print_op(&rig.history, rig.verdict.stuck, stdout);
  }
  end(&rig);
}
