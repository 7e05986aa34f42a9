/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows two things that go on beside everything else.
 *
 * Creating: while the directory grows from nothing to thousands, whoever creates the same campaign at the same
 * time finds it created, once; a campaign that was created, listed or found can be found, listed and issued from;
 * the log has one record of each.
 *
 * Closing: every call answers properly or COUPON_E_CLOSED, and after its first COUPON_E_CLOSED a thread hears
 * nothing else; who waited for finality without end got it; and after reopening every ticket that anybody was
 * told of is there, final or not, and no other. One closer is told OK, the others COUPON_E_CLOSED; destroying
 * afterwards is clean.
 */
#include "support/race_help.h"

#include <errno.h>
#include <stdlib.h>

/* --- creating ------------------------------------------------------------------------------------ */

#define CREATORS 2
#define ISSUERS 1
#define LOOKERS 1

struct growth {
  coupon_engine *engine;
  uint64_t campaigns;
  _Atomic uint64_t created; /* so many have been created, by an answer of coupon_create() */
  _Atomic uint64_t *issued; /* [index]: tickets, by an answer of coupon_try_issue() */
  _Atomic uint64_t looked;
  struct race_barrier barrier;
};

static uint64_t id_of(uint64_t index) { return index * UINT64_C(0x9e3779b97f4a7c15); } /* the first is 0 */
static uint64_t stock_of(uint64_t index) { return 3 + index % 5; }

static struct coupon_campaign_spec spec_of(uint64_t index, char name[32]) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  (void)snprintf(name, 32, "campaign %" PRIu64, index);
  spec.id = id_of(index);
  spec.stock = stock_of(index);
  spec.user_limit = index % 2;
  spec.name = name;
  return spec;
}

static void raise_created(struct growth *growth, uint64_t count) {
  uint64_t now = atomic_load(&growth->created);
  while (now < count && !atomic_compare_exchange_weak(&growth->created, &now, count)) {
  }
}

/* All creators create all campaigns in the same order, so they keep meeting at the same id. */
static void create_all(struct growth *growth, struct race_random *random) {
  char name[32];
  for (uint64_t index = 0; index < growth->campaigns; index++) {
    struct coupon_campaign_spec spec = spec_of(index, name);
    coupon_status status =
        coupon_create(growth->engine, &spec, race_below(random, 64) == 0 ? COUPON_FOREVER : COUPON_POLL);
    if (status == COUPON_E_BUSY) status = coupon_create(growth->engine, &spec, COUPON_FOREVER);
    RACE_CHECK(status == COUPON_OK || status == COUPON_NOT_FINAL, "%s", coupon_status_name(status));
    raise_created(growth, index + 1);
    if (race_below(random, 16) != 0) continue;
    spec.stock++;
    status = coupon_create(growth->engine, &spec, COUPON_POLL);
    RACE_CHECK(status == COUPON_E_EXISTS, "another description: %s", coupon_status_name(status));
  }
}

static void issue_some(struct growth *growth, struct race_random *random) {
  uint64_t known, user = 0;
  do {
    known = atomic_load(&growth->created);
    /* Mostly the newest: those the directory has just moved for. The next one may or may not be there. */
    uint64_t ahead = race_below(random, 4) == 0 ? known + 1 : known;
    if (ahead > growth->campaigns || ahead == 0) continue;
    uint64_t index = ahead - 1 - race_below(random, cpn_min_u64(ahead, race_below(random, 2) == 0 ? 4 : ahead));
    struct race_answer answer = race_ask(coupon_try_issue, growth->engine, id_of(index), user++);
    if (answer.status == COUPON_E_BUSY) continue;
    if (answer.status == COUPON_ISSUED) atomic_fetch_add(&growth->issued[index], 1);
    bool right = answer.status == COUPON_ISSUED || answer.status == COUPON_SOLD_OUT ||
                 (answer.status == COUPON_NO_CAMPAIGN && index >= known);
    RACE_CHECK(right, "campaign %" PRIu64 " of %" PRIu64 ": %s", index, known, coupon_status_name(answer.status));
  } while (known < growth->campaigns);
}

static void check_info(const struct coupon_campaign_info *info, uint64_t index, bool logged) {
  RACE_CHECK(info->index == index && info->id == id_of(index), "index %u, looked for %" PRIu64, info->index, index);
  bool right = info->stock == stock_of(index) && info->user_limit == index % 2 && (info->created_lsn != 0) == logged &&
               info->issued + info->remaining == info->stock;
  RACE_CHECK(right, "campaign %" PRIu64 " is told wrongly", index);
}

static void look_around(struct growth *growth, struct race_random *random) {
  struct coupon_campaign_info infos[8], info = COUPON_CAMPAIGN_INFO_INIT;
  uint64_t known, looked = 0;
  do {
    known = atomic_load(&growth->created);
    uint64_t from = known < 4 || race_below(random, 2) == 0 ? (known < 4 ? 0 : known - 4) : race_below(random, known);
    size_t count = 0;
    RACE_CHECK(coupon_list(growth->engine, from, infos, sizeof infos[0], 8, &count) == COUPON_OK, "no list");
    RACE_CHECK(from + count >= cpn_min_u64(known, from + 8), "%zu listed from %" PRIu64 " of %" PRIu64, count, from,
               known);
    /* The last one first: it may have come this very moment. What is listed can be found. */
    for (size_t k = count; k-- > 0;) {
      coupon_status status = coupon_info(growth->engine, infos[k].id, &info);
      RACE_CHECK(status == COUPON_OK, "listed as number %" PRIu64 " of %" PRIu64 " known, and not found: %s",
                 from + k + 1, known, coupon_status_name(status));
      check_info(&infos[k], from + k, growth->engine->has_log);
      check_info(&info, from + k, growth->engine->has_log);
      looked++;
    }
    /* And what can be found is listed. */
    if (known < growth->campaigns && coupon_info(growth->engine, id_of(known), &info) == COUPON_OK) {
      RACE_CHECK(coupon_list(growth->engine, known, infos, sizeof infos[0], 1, &count) == COUPON_OK && count == 1,
                 "found as number %" PRIu64 ", and not listed", known + 1);
    }
    RACE_CHECK(race_stats_of(growth->engine).campaigns >= known, "counted too few");
  } while (known < growth->campaigns);
  atomic_fetch_add(&growth->looked, looked);
}

static void grow(void *context, uint32_t thread) {
  struct growth *growth = context;
  struct race_random random = race_stream(thread);
  uint64_t meetings = 0;
  race_meet(&growth->barrier, &meetings);
  race_dawdle(race_stream(10 + thread), 10);
  if (thread < CREATORS)
    create_all(growth, &random);
  else if (thread < CREATORS + ISSUERS)
    issue_some(growth, &random);
  else
    look_around(growth, &random);
  race_dawdle(random, 0);
}

static void check_grown(const struct growth *growth, coupon_engine *engine) {
  uint64_t campaigns = race_stats_of(engine).campaigns;
  RACE_CHECK(campaigns == growth->campaigns, "%" PRIu64 " campaigns", campaigns);
  for (uint64_t index = 0; index < growth->campaigns; index++) {
    struct coupon_campaign_info info = race_info_of(engine, id_of(index));
    check_info(&info, index, engine->has_log);
    RACE_CHECK(info.issued == atomic_load(&growth->issued[index]), "%" PRIu64 " issued", info.issued);
  }
}

/* One record per campaign and ticket; the rest is what was given up, the life's beginning and its end. */
static void check_records(const struct growth *growth, const struct coupon_report *report, uint64_t voids) {
  uint64_t tickets = 0;
  for (uint64_t index = 0; index < growth->campaigns; index++) tickets += atomic_load(&growth->issued[index]);
  RACE_CHECK(report->tickets == tickets, "%" PRIu64 " tickets in the log", report->tickets);
  RACE_CHECK(report->records == growth->campaigns + tickets + voids + 2, "%" PRIu64 " records in the log",
             report->records);
}

static void creating(int32_t durability, uint64_t campaigns) {
  struct growth growth = {.campaigns = campaigns};
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  char path[RACE_PATH_MAX];
  const bool on_disk = durability != COUPON_NONE;
  if (on_disk) race_directory_create(path);
  options.durability = durability;
  options.segment_size_bytes = RACE_SEGMENT_SIZE;
  growth.issued = calloc(campaigns, sizeof growth.issued[0]);
  RACE_CHECK(growth.issued != NULL, "not enough memory");
  growth.engine = race_open_with(on_disk ? path : NULL, &options, &report);
  race_barrier_init(&growth.barrier, CREATORS + ISSUERS + LOOKERS);
  race_run(CREATORS + ISSUERS + LOOKERS, grow, &growth);
  check_grown(&growth, growth.engine);
  uint64_t voids = race_stats_of(growth.engine).voids;
  race_close(growth.engine);
  if (on_disk) {
    growth.engine = race_open_with(path, &options, &report);
    check_grown(&growth, growth.engine);
    check_records(&growth, &report, voids);
    race_close(growth.engine);
    race_directory_remove(path);
  }
  free(growth.issued);
  printf("creating, %s: %" PRIu64 " campaigns by %d creators at once, looked at %" PRIu64 " times\n",
         on_disk ? "written" : "none", campaigns, CREATORS, atomic_load(&growth.looked));
}

/* --- the moment of creation ---------------------------------------------------------------------- */

/* One creates, one looks for the newest in one way and then, having seen it, in the other. */
struct moment {
  coupon_engine *engine;
  uint64_t campaigns;
  bool list_first;
};

static void create_plainly(void *context, uint32_t thread) {
  struct moment *moment = context;
  (void)thread;
  for (uint64_t index = 0; index < moment->campaigns; index++) race_campaign(moment->engine, id_of(index), 1, 1, 0, 0);
}

static bool is_listed(const struct moment *moment, uint64_t index) {
  struct coupon_campaign_info info;
  size_t count = 0;
  RACE_CHECK(coupon_list(moment->engine, index, &info, sizeof info, 1, &count) == COUPON_OK, "no list");
  return count == 1;
}

static bool is_found(const struct moment *moment, uint64_t index) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  coupon_status status = coupon_info(moment->engine, id_of(index), &info);
  RACE_CHECK(status == COUPON_OK || status == COUPON_NO_CAMPAIGN, "%s", coupon_status_name(status));
  return status == COUPON_OK;
}

static void watch(void *context, uint32_t thread) {
  struct moment *moment = context;
  (void)thread;
  for (uint64_t index = 0; index < moment->campaigns; index++) {
    uint32_t turns = 0;
    while (!(moment->list_first ? is_listed(moment, index) : is_found(moment, index))) race_turn(&turns);
    if (moment->list_first)
      RACE_CHECK(is_found(moment, index), "campaign number %" PRIu64 " was listed, and then was not found", index + 1);
    else
      RACE_CHECK(is_listed(moment, index), "campaign number %" PRIu64 " was found, and then was not listed", index + 1);
  }
}

static void watch_creation(bool list_first, uint64_t campaigns) {
  struct moment moment = {.campaigns = campaigns, .list_first = list_first};
  struct race_thread creator, watcher;
  moment.engine = race_open(NULL, COUPON_NONE, 0, NULL);
  race_start(&watcher, watch, &moment, 0);
  race_start(&creator, create_plainly, &moment, 1);
  race_join(&creator);
  race_join(&watcher);
  race_close(moment.engine);
  printf("creating: %" PRIu64 " campaigns were %s the moment they were %s\n", campaigns,
         list_first ? "found" : "listed", list_first ? "listed" : "found");
}

/* --- closing ------------------------------------------------------------------------------------- */

#define THREADS 3
#define TOLD_MAX 6000
#define CAMPAIGN 1
#define BATCH_USERS (UINT64_C(1) << 32) /* who are asked for in batches only */

struct closing {
  coupon_engine *engine;
  uint64_t round;
  _Atomic uint64_t answers; /* so far, by all */
  uint64_t enough;          /* answers after which the engine is closed */
  sem_t begin_closing;
  _Atomic bool closed; /* coupon_close() has returned */
  _Atomic uint64_t closers_told_ok;
  struct race_answer told[THREADS][TOLD_MAX]; /* tickets */
  size_t told_count[THREADS];
  uint64_t tickets; /* that were there after reopening */
  _Atomic uint64_t final_ones;
};

static void note_ticket(struct closing *closing, uint32_t thread, const struct coupon_ticket *ticket) {
  RACE_CHECK(closing->told_count[thread] < TOLD_MAX, "the test has too little room");
  closing->told[thread][closing->told_count[thread]++] = (struct race_answer){
      .user = ticket->user, .lsn = ticket->lsn, .time_ns = ticket->time_ns, .number = ticket->number};
}

/* One call of a random kind; whatever it answers is checked. */
static coupon_status call(struct closing *closing, uint32_t thread, uint64_t user, struct race_random *random) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT, page[4];
  const struct coupon_request requests[3] = {{.campaign = CAMPAIGN, .user = user},
                                             {.campaign = CAMPAIGN, .user = user + BATCH_USERS},
                                             {.campaign = CAMPAIGN, .user = user}};
  coupon_engine *engine = closing->engine;
  coupon_status status;
  char name[32];
  size_t count;
  switch (race_below(random, 10)) {
    case 0: { /* waits without end: for room, and for finality */
      status = coupon_issue(engine, CAMPAIGN, user, COUPON_FOREVER, &ticket);
      if (status < 0) return status;
      RACE_CHECK(status == COUPON_ISSUED, "%s", coupon_status_name(status));
      RACE_CHECK((ticket.flags & COUPON_TICKET_FINAL) != 0 && ticket.number != 0,
                 "waited forever, and it is not final");
      note_ticket(closing, thread, &ticket);
      atomic_fetch_add(&closing->final_ones, 1);
      return status;
    }
    case 1: {
      struct coupon_campaign_spec spec = spec_of(1000 + user, name);
      status = coupon_create(engine, &spec, race_below(random, 2) == 0 ? COUPON_FOREVER : COUPON_POLL);
      return status;
    }
    case 2:
      return coupon_lookup(engine, CAMPAIGN, user - 1, &ticket, NULL);
    case 3:
      return coupon_tickets(engine, CAMPAIGN, race_below(random, 100), page, sizeof page[0], 4, &count);
    case 4: {
      struct coupon_stats stats = COUPON_STATS_INIT;
      return coupon_read_stats(engine, &stats);
    }
    case 5: { /* decides, and then waits */
      status = coupon_try_issue(engine, CAMPAIGN, user, &ticket);
      if (status != COUPON_ISSUED) return status;
      note_ticket(closing, thread, &ticket);
      status = coupon_wait(engine, &ticket, COUPON_FOREVER);
      RACE_CHECK(status == COUPON_OK || status == COUPON_E_CLOSED, "waiting: %s", coupon_status_name(status));
      RACE_CHECK(status != COUPON_OK || (ticket.number != 0 && ticket.flags != 0), "final, and not completed");
      return status;
    }
    case 6: /* all of a batch, or nothing */
      status = coupon_try_issue_batch(engine, requests, 3, page, sizeof page[0]);
      if (status != COUPON_OK) return status;
      for (int i = 0; i < 3; i++) {
        if (page[i].answer == COUPON_ISSUED) note_ticket(closing, thread, &page[i]);
        bool proper = page[i].answer == COUPON_ISSUED || page[i].answer == COUPON_E_BUSY ||
                      (i == 2 && page[i].answer == COUPON_ALREADY_ISSUED);
        RACE_CHECK(proper, "in a batch: %s", coupon_status_name(page[i].answer));
      }
      return status;
    default:
      status = coupon_try_issue(engine, CAMPAIGN, user, &ticket);
      if (status == COUPON_ISSUED) note_ticket(closing, thread, &ticket);
      return status;
  }
}

static bool is_proper(coupon_status status) {
  return status == COUPON_OK || status == COUPON_ISSUED || status == COUPON_NOT_FOUND || status == COUPON_NOT_FINAL ||
         status == COUPON_E_BUSY;
}

static void use(void *context, uint32_t thread) {
  struct closing *closing = context;
  struct race_random random = race_stream(closing->round * THREADS + thread);
  uint64_t user = 1 + thread;
  race_dawdle(race_stream(closing->round + 7), 16);
  for (uint32_t after_close = 0; after_close < 20;) {
    bool closed_before = atomic_load(&closing->closed) || after_close > 0;
    bool full = closing->told_count[thread] + 2 >= TOLD_MAX;
    uint64_t durable;
    coupon_status status = full ? coupon_durable_lsn(closing->engine, &durable) : call(closing, thread, user, &random);
    user += THREADS;
    if (status == COUPON_E_CLOSED) {
      after_close++;
      continue;
    }
    RACE_CHECK(is_proper(status), "%s", coupon_status_name(status));
    RACE_CHECK(!closed_before, "%s after the engine was closed", coupon_status_name(status));
    if (atomic_fetch_add(&closing->answers, 1) + 1 == closing->enough) (void)sem_post(&closing->begin_closing);
  }
  race_dawdle(random, 0);
}

static void close_now(void *context, uint32_t index) {
  struct closing *closing = context;
  (void)index;
  coupon_status status = coupon_close(closing->engine);
  RACE_CHECK(status == COUPON_OK || status == COUPON_E_CLOSED, "closing: %s", coupon_status_name(status));
  if (status != COUPON_OK) return; /* another closes; it may not be done */
  atomic_fetch_add(&closing->closers_told_ok, 1);
  atomic_store(&closing->closed, true);
}

static void check_reopened(struct closing *closing, const char *path) {
  coupon_engine *engine = race_open(path, COUPON_WRITTEN, 0, NULL);
  uint64_t told = 0;
  for (int t = 0; t < THREADS; t++) {
    for (size_t i = 0; i < closing->told_count[t]; i++, told++) {
      const struct race_answer *answer = &closing->told[t][i];
      struct coupon_ticket ticket = COUPON_TICKET_INIT;
      uint64_t count = 0;
      coupon_status status = coupon_lookup(engine, CAMPAIGN, answer->user, &ticket, &count);
      RACE_CHECK(status == COUPON_OK && count == 1, "a ticket from before the close: %s", coupon_status_name(status));
      bool same = ticket.lsn == answer->lsn && ticket.time_ns == answer->time_ns &&
                  (answer->number == 0 || answer->number == ticket.number);
      RACE_CHECK(same, "a ticket from before the close is another");
    }
  }
  uint64_t issued = race_info_of(engine, CAMPAIGN).issued;
  RACE_CHECK(issued == told, "%" PRIu64 " tickets, and %" PRIu64 " were told of", issued, told);
  closing->tickets += told;
  race_close(engine);
}

static void closing_round(struct closing *closing, struct race_random *random, bool on_disk) {
  struct race_thread users[THREADS], closers[2];
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  char path[RACE_PATH_MAX];
  if (on_disk) race_directory_create(path);
  options.durability = !on_disk ? COUPON_NONE : race_below(random, 2) == 0 ? COUPON_SYNC : COUPON_WRITTEN;
  options.segment_size_bytes = RACE_SEGMENT_SIZE;
  options.log_buffer_bytes = race_below(random, 3) == 0 ? 4096 : 65536;
  options.commit_delay_ns = race_below(random, 4) == 0 ? 500000 : 0;
  closing->round++;
  closing->engine = race_open_with(on_disk ? path : NULL, &options, &report);
  atomic_store(&closing->answers, 0);
  atomic_store(&closing->closed, false);
  atomic_store(&closing->closers_told_ok, 0);
  for (int t = 0; t < THREADS; t++) closing->told_count[t] = 0;
  race_campaign(closing->engine, CAMPAIGN, 1000000, 1, 0, 0);
  closing->enough = race_below(random, 150);
  RACE_CHECK(sem_init(&closing->begin_closing, 0, 0) == 0, "sem_init");
  for (uint32_t t = 0; t < THREADS; t++) race_start(&users[t], use, closing, t);
  while (closing->enough != 0 && sem_wait(&closing->begin_closing) != 0) RACE_CHECK(errno == EINTR, "sem_wait");
  const uint32_t closer_count = 1 + (uint32_t)race_below(random, 2);
  for (uint32_t t = 0; t < closer_count; t++) race_start(&closers[t], close_now, closing, t);
  for (uint32_t t = 0; t < closer_count; t++) race_join(&closers[t]);
  for (uint32_t t = 0; t < THREADS; t++) race_join(&users[t]);
  RACE_CHECK(atomic_load(&closing->closers_told_ok) == 1, "not one closer was told OK");
  (void)sem_destroy(&closing->begin_closing);
  RACE_CHECK(coupon_destroy(closing->engine) == COUPON_OK, "destroying");
  if (!on_disk) return;
  check_reopened(closing, path);
  race_directory_remove(path);
}

int main(int argc, char **argv) {
  static struct closing closing;
  race_begin("race_create_close", argc, argv);
  creating(COUPON_NONE, race_rounds(5000, 1000));
  creating(COUPON_WRITTEN, race_rounds(5000, 1000));
  struct race_random random = race_stream(100);
  const uint64_t in_memory = race_rounds(150, 20), on_disk = race_rounds(80, 10);
  for (uint64_t i = 0; i < in_memory; i++) closing_round(&closing, &random, false);
  for (uint64_t i = 0; i < on_disk; i++) closing_round(&closing, &random, true);
  printf("closing: %" PRIu64 " engines in memory, %" PRIu64 " on disk; %" PRIu64
         " tickets there after reopening, %" PRIu64 " waited for in all\n",
         in_memory, on_disk, closing.tickets, atomic_load(&closing.final_ones));
  RACE_CHECK(closing.tickets > on_disk, "too few tickets: this run shows little");
  for (int i = 0; i < 3; i++) {
    watch_creation(true, race_rounds(20000, 2000));
    watch_creation(false, race_rounds(20000, 2000));
  }
  return 0;
}
