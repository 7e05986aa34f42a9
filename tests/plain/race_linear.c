/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that what the library answers is linearizable, as linear.h spells it out: requests one by one and in batches,
 * lookups, counts, lists and creations, of campaigns so small that their end is met in nearly every history.
 *
 * How: thousands of histories, each of four threads with up to fifty operations on one to three campaigns with at most
 * six units and eight users, half of them in memory and half with a log. The threads dawdle at marked points and
 * between operations, more in some histories than in others, and write down what they were told with stamps of one
 * counter. Afterwards somebody looks at every campaign once more, and the search decides. A finding prints the history
 * in a form that lin_check reads.
 */
#include <sched.h>

#include "support/linear.h"
#include "support/race_help.h"

#define THREADS 4
#define WATCHER THREADS /* who looks when all is over, in place of a thread */
#define OPS_MOST 50
#define BATCH_MOST 8
#define CAMPAIGNS_MOST 3
#define STOCK_MOST 6
#define PAGE_MOST 8

/* Histories of one engine: as many as make opening cheap. */
#define PART UINT64_C(32)

struct totals {
  uint64_t histories, operations, overlapping, exhausted, configurations, most_configurations;
};

/* One history and what is known of it beforehand. */
struct plan {
  struct history history;
  uint64_t users, ops; /* of each thread */
  uint32_t dawdle;
};

static struct {
  uint64_t total, first, count; /* histories: in all; the part that is on */
  coupon_engine *engine;
  char path[RACE_PATH_MAX];
  struct race_barrier barrier;
  struct plan plans[PART];
  struct totals totals[THREADS];
} run;

/* Parts take turns. */
static bool has_log(void) { return run.first / PART % 2 == 1; }

/* --- operations ---------------------------------------------------------------------------------- */

static void tell(struct history_op *op, coupon_status status, const struct coupon_ticket *ticket) {
  op->status = status;
  if (status != COUPON_ISSUED && status != COUPON_ALREADY_ISSUED && status != COUPON_OK) return;
  RACE_CHECK(ticket->user == op->user && ticket->campaign == op->campaign, "a ticket of somebody else");
  op->number = ticket->number;
  op->lsn = ticket->lsn;
  op->final = (ticket->flags & COUPON_TICKET_FINAL) != 0;
}

static void issue(struct history *history, uint32_t thread, uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  struct history_op *op = history_add(history, thread, HISTORY_ISSUE);
  coupon_status status;
  op->campaign = campaign;
  op->user = user;
  do { /* a full buffer changes nothing */
    op->begin = race_stamp();
    status = coupon_try_issue(run.engine, campaign, user, &ticket);
    op->end = race_stamp();
  } while (status == COUPON_E_BUSY);
  tell(op, status, &ticket);
}

/* Few users and many requests: some stand in it twice, and in other threads' batches as well. */
static void issue_batch(const struct plan *plan, struct history *history, uint32_t thread, struct race_random *random,
                        uint64_t batch) {
  struct coupon_request requests[BATCH_MOST] = {{0}};
  struct coupon_ticket tickets[BATCH_MOST];
  const size_t count = 2 + race_below(random, BATCH_MOST - 1);
  for (size_t i = 0; i < count; i++) {
    requests[i].campaign = history->campaigns[race_below(random, history->campaigns_count)].id;
    requests[i].user = race_below(random, plan->users);
  }
  const uint64_t begin = race_stamp();
  coupon_status status = coupon_try_issue_batch(run.engine, requests, count, tickets, sizeof tickets[0]);
  const uint64_t end = race_stamp();
  RACE_CHECK(status == COUPON_OK, "a batch: %s", coupon_status_name(status));
  for (size_t i = 0; i < count; i++) {
    if (tickets[i].answer == COUPON_E_BUSY) continue; /* nothing was changed for it */
    struct history_op *op = history_add(history, thread, HISTORY_ISSUE);
    op->begin = begin;
    op->end = end;
    op->campaign = requests[i].campaign;
    op->user = requests[i].user;
    op->batch = batch;
    tell(op, tickets[i].answer, &tickets[i]);
  }
}

static void lookup(struct history *history, uint32_t thread, uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  struct history_op *op = history_add(history, thread, HISTORY_LOOKUP);
  op->campaign = campaign;
  op->user = user;
  op->begin = race_stamp();
  coupon_status status = coupon_lookup(run.engine, campaign, user, &ticket, &op->count);
  op->end = race_stamp();
  if (status != COUPON_OK) op->count = 0;
  tell(op, status, &ticket);
}

static void info(struct history *history, uint32_t thread, uint64_t campaign) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct history_op *op = history_add(history, thread, HISTORY_INFO);
  op->campaign = campaign;
  op->begin = race_stamp();
  op->status = coupon_info(run.engine, campaign, &info);
  op->end = race_stamp();
  if (op->status != COUPON_OK) return;
  op->count = info.issued;
  op->remaining = info.remaining;
}

static void page(struct history *history, uint32_t thread, uint64_t campaign, uint64_t from, uint64_t capacity,
                 struct coupon_ticket *tickets) {
  struct history_op *op = history_add(history, thread, HISTORY_TICKETS);
  size_t count = 0;
  op->campaign = campaign;
  op->from = from;
  op->capacity = capacity;
  op->begin = race_stamp();
  op->status = coupon_tickets(run.engine, campaign, from, tickets, sizeof tickets[0], capacity, &count);
  op->end = race_stamp();
  for (size_t i = 0; op->status == COUPON_OK && i < count; i++) {
    RACE_CHECK(tickets[i].number == (from == 0 ? 1 : from) + i, "number %" PRIu64 " in a list", tickets[i].number);
    history_add_listed(history, op, tickets[i].user);
  }
}

static void create(struct history *history, uint32_t thread, const struct history_campaign *campaign) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  struct history_op *op = history_add(history, thread, HISTORY_CREATE);
  spec.id = op->campaign = campaign->id;
  spec.stock = campaign->stock;
  spec.user_limit = campaign->limit;
  do {
    op->begin = race_stamp();
    op->status = coupon_create(run.engine, &spec, COUPON_POLL);
    op->end = race_stamp();
  } while (op->status == COUPON_E_BUSY);
}

/* --- a history ----------------------------------------------------------------------------------- */

static void make_plan(struct plan *plan, uint64_t number) {
  static const uint32_t dawdles[4] = {0, 24, 64, 200};
  struct race_random random = race_stream(number * 16);
  struct history *history = &plan->history;
  plan->users = 3 + race_below(&random, 6);
  plan->ops = 4 + race_below(&random, OPS_MOST - 3);
  plan->dawdle = dawdles[number % 4];
  history_clear(history);
  for (uint64_t i = 0, count = 1 + race_below(&random, CAMPAIGNS_MOST); i < count; i++) {
    uint64_t stock = 1 + race_below(&random, STOCK_MOST), limit = race_below(&random, 5) == 0 ? 0 : 1;
    struct history_campaign *campaign = history_add_campaign(history, number * CAMPAIGNS_MOST + i + 1, stock, limit);
    campaign->created = race_below(&random, 8) == 0;
    /* With a log numbers are its order, where a unit that was taken later may have its place earlier. */
    campaign->counts_apart = run.engine->has_log;
    if (!campaign->created) race_campaign(run.engine, campaign->id, stock, limit, 0, 0);
  }
}

/* From nothing to the rest of a time slice. */
static void rest(struct race_random *random, uint32_t dawdle) {
  const uint64_t chance = race_next(random);
  if ((chance & 255) >= dawdle) return;
  if ((chance >> 8 & 7) == 0)
    (void)sched_yield();
  else
    race_dally(chance >> 16 & 255);
}

static void act(struct plan *plan, uint32_t thread, struct race_random *random) {
  struct history *history = &plan->history;
  struct coupon_ticket tickets[PAGE_MOST];
  for (uint32_t i = 0; thread == 0 && i < history->campaigns_count; i++) {
    if (history->campaigns[i].created) create(history, thread, &history->campaigns[i]);
  }
  for (uint64_t call = 1; history->threads[thread].ops_count < plan->ops; call++) {
    const uint64_t chance = race_below(random, 64), user = race_below(random, plan->users);
    uint64_t campaign = history->campaigns[race_below(random, history->campaigns_count)].id;
    if (race_below(random, 64) == 0) campaign = UINT64_MAX; /* there is none */
    rest(random, plan->dawdle);
    if (chance < 26)
      issue(history, thread, campaign, user);
    else if (chance < 38)
      issue_batch(plan, history, thread, random, call);
    else if (chance < 50)
      lookup(history, thread, campaign, user);
    else if (chance < 58)
      info(history, thread, campaign);
    else
      page(history, thread, campaign, race_below(random, STOCK_MOST), 1 + race_below(random, PAGE_MOST), tickets);
  }
}

/* The number that an answer did not have yet, by the ticket's place in the log: two tickets of a user without a limit
 * are told apart by nothing else. It was not told, so it need not have been listed when the call returned. */
static void complete_number(struct history_op *op, const struct coupon_ticket *tickets, uint64_t count) {
  if (op->status != COUPON_ISSUED || op->number != 0 || op->lsn == 0) return;
  for (uint64_t i = 0; i < count; i++) {
    if (tickets[i].lsn != op->lsn || tickets[i].user != op->user) continue;
    op->number = i + 1;
    op->final = false;
  }
}

static void complete_numbers(struct history *history, uint64_t campaign, const struct coupon_ticket *tickets,
                             uint64_t count) {
  for (uint32_t t = 0; t < THREADS; t++) {
    for (uint32_t i = 0; i < history->threads[t].ops_count; i++) {
      struct history_op *op = &history->threads[t].ops[i];
      if (op->campaign == campaign) complete_number(op, tickets, count);
    }
  }
}

/* Afterwards: the whole list, the counts, and every user, as anybody finds them from now on. */
static void look(struct plan *plan) {
  struct history *history = &plan->history;
  struct coupon_ticket tickets[STOCK_MOST + 1];
  for (uint32_t i = 0; i < history->campaigns_count; i++) {
    const uint64_t campaign = history->campaigns[i].id;
    page(history, WATCHER, campaign, 1, STOCK_MOST + 1, tickets);
    const struct history_thread *watcher = &history->threads[WATCHER];
    complete_numbers(history, campaign, tickets, watcher->ops[watcher->ops_count - 1].count);
    info(history, WATCHER, campaign);
    for (uint64_t user = 0; user < plan->users; user++) lookup(history, WATCHER, campaign, user);
  }
}

/* --- judging ------------------------------------------------------------------------------------- */

static void count(const struct history *history, const struct linear_verdict *verdict, struct totals *totals) {
  const struct history_op *ops[HISTORY_THREADS * HISTORY_OPS];
  const uint32_t ops_count = history_sort(history, ops);
  uint64_t ends[HISTORY_THREADS] = {0};
  bool overlaps = false, refused = false;
  for (uint32_t i = 0; i < ops_count; i++) {
    for (uint32_t t = 0; t < HISTORY_THREADS; t++) overlaps |= t != ops[i]->thread && ends[t] > ops[i]->begin;
    ends[ops[i]->thread] = ops[i]->end;
    refused |= ops[i]->status == COUPON_SOLD_OUT;
  }
  totals->histories++;
  totals->operations += ops_count;
  totals->overlapping += overlaps;
  totals->exhausted += refused;
  totals->configurations += verdict->configurations;
  totals->most_configurations = cpn_max_u64(totals->most_configurations, verdict->configurations);
}

static void judge(struct linear_search *search, struct plan *plan, uint64_t number, struct totals *totals) {
  static pthread_mutex_t one_finding = PTHREAD_MUTEX_INITIALIZER;
  look(plan);
  struct linear_verdict verdict = linear_check(search, &plan->history);
  if (!verdict.linearizable) {
    (void)pthread_mutex_lock(&one_finding); /* never unlocked: the program ends below */
    printf("# history %" PRIu64 ", %s\n", number, has_log() ? "with a log" : "in memory");
    linear_print(&verdict, &plan->history, stdout);
    RACE_CHECK(verdict.linearizable, "history %" PRIu64 ": %s", number, verdict.what);
  }
  count(&plan->history, &verdict, totals);
}

/* --- the run ------------------------------------------------------------------------------------- */

static void begin_part(void) {
  run.count = cpn_min_u64(PART, run.total - run.first);
  if (has_log()) race_directory_create(run.path);
  run.engine = race_open(has_log() ? run.path : NULL, COUPON_WRITTEN, UINT64_C(256) * 1024, NULL);
  for (uint64_t i = 0; i < run.count; i++) make_plan(&run.plans[i], run.first + i);
}

static void end_part(void) {
  race_close(run.engine);
  if (has_log()) race_directory_remove(run.path);
  run.first += run.count;
}

static void act_part(uint32_t thread, uint64_t *meetings) {
  for (uint64_t i = 0; i < run.count; i++) {
    struct race_random random = race_stream((run.first + i) * 16 + 1 + thread);
    race_dawdle((struct race_random){race_next(&random)}, run.plans[i].dawdle);
    race_meet(&run.barrier, meetings);
    race_dally(race_below(&random, 64));
    act(&run.plans[i], thread, &random);
  }
  race_dawdle((struct race_random){0}, 0);
}

/* Each thread acts in every history and judges every fourth. */
static void work(void *context, uint32_t thread) {
  struct linear_search *search = linear_create();
  uint64_t meetings = 0;
  (void)context;
  while (run.first < run.total) {
    race_meet(&run.barrier, &meetings);
    if (thread == 0) begin_part();
    race_meet(&run.barrier, &meetings);
    act_part(thread, &meetings);
    race_meet(&run.barrier, &meetings);
    if (thread == 0 && has_log()) race_settle(run.engine);
    race_meet(&run.barrier, &meetings);
    for (uint64_t i = thread; i < run.count; i += THREADS)
      judge(search, &run.plans[i], run.first + i, &run.totals[thread]);
    race_meet(&run.barrier, &meetings);
    if (thread == 0) end_part();
    race_meet(&run.barrier, &meetings);
  }
  linear_destroy(search);
}

int main(int argc, char **argv) {
  struct totals sum = {0};
  race_begin("race_linear", argc, argv);
  run.total = race_rounds(10000, 2 * PART);
  race_barrier_init(&run.barrier, THREADS);
  for (uint64_t i = 0; i < PART; i++) history_init(&run.plans[i].history);
  race_run(THREADS, work, NULL);
  for (uint64_t i = 0; i < PART; i++) history_fini(&run.plans[i].history);
  for (int t = 0; t < THREADS; t++) {
    sum.histories += run.totals[t].histories;
    sum.operations += run.totals[t].operations;
    sum.overlapping += run.totals[t].overlapping;
    sum.exhausted += run.totals[t].exhausted;
    sum.configurations += run.totals[t].configurations;
    sum.most_configurations = cpn_max_u64(sum.most_configurations, run.totals[t].most_configurations);
  }
  printf("%" PRIu64 " histories, %" PRIu64 " operations, all linearizable; operations overlap in %" PRIu64
         " histories, %" PRIu64 " came to the end of a stock; %" PRIu64 " configurations, at most %" PRIu64
         " in one history\n",
         sum.histories, sum.operations, sum.overlapping, sum.exhausted, sum.configurations, sum.most_configurations);
  RACE_CHECK(sum.histories == run.total, "histories were left out");
  RACE_CHECK(sum.overlapping > sum.histories / 4, "hardly any operations overlap: this run shows little");
  RACE_CHECK(sum.exhausted > sum.histories / 2, "hardly any stock came to its end: this run shows little");
  return 0;
}
