/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/nowhere.h"
#include "support/race_help.h"

/* --- engines ------------------------------------------------------------------------------------- */

void race_directory_create(char path[RACE_PATH_MAX]) {
  const char *parent = getenv("TMPDIR");
  int length = snprintf(path, RACE_PATH_MAX, "%s/race.XXXXXX", parent == NULL || parent[0] == 0 ? "/tmp" : parent);
  RACE_CHECK(length < RACE_PATH_MAX && mkdtemp(path) != NULL, "cannot make a directory: %s", strerror(errno));
}

void race_directory_remove(const char *path) {
  DIR *directory = opendir(path);
  RACE_CHECK(directory != NULL, "cannot read %s", path);
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (entry->d_name[0] != '.') (void)unlinkat(dirfd(directory), entry->d_name, 0);
  }
  (void)closedir(directory);
  RACE_CHECK(rmdir(path) == 0, "cannot remove %s: %s", path, strerror(errno));
}

coupon_engine *race_open_with(const char *path, const struct coupon_options *options, struct coupon_report *report) {
  coupon_engine *engine;
  coupon_status status = coupon_open(path, options, &engine, report);
  RACE_CHECK(status == COUPON_OK, "opening: %s: %s, %s at %" PRIu64, coupon_status_name(status), report->message,
             report->file, report->offset);
  return engine;
}

coupon_engine *race_open(const char *path, int32_t durability, uint64_t log_buffer_bytes,
                         uint64_t (*clock)(void *context)) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  options.durability = path == NULL ? COUPON_NONE : durability;
  options.segment_size_bytes = RACE_SEGMENT_SIZE;
  options.log_buffer_bytes = log_buffer_bytes;
  options.callbacks.clock = clock;
  return race_open_with(path, &options, &report);
}

coupon_engine *race_open_logged(uint64_t log_buffer_bytes, uint64_t (*clock)(void *context)) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  struct nowhere *nowhere = nowhere_create();
  struct cpn_env env = nowhere_env(nowhere);
  coupon_engine *engine = NULL;
  options.durability = COUPON_WRITTEN;
  options.segment_size_bytes = RACE_SEGMENT_SIZE * 8;
  options.log_buffer_bytes = log_buffer_bytes != 0 ? log_buffer_bytes : UINT64_C(1) << 20;
  options.callbacks.clock = clock;
  coupon_status status = cpn_engine_open(&env, "nowhere", &options, &engine, &report);
  RACE_CHECK(status == COUPON_OK, "opening nowhere: %s: %s", coupon_status_name(status), report.message);
  return engine;
}

const char *race_world_name(enum race_world world) {
  static const char *const names[] = {"in memory", "logged", "on disk"};
  return names[world];
}

coupon_engine *race_open_in(enum race_world world, char path[RACE_PATH_MAX], int32_t durability,
                            uint64_t log_buffer_bytes, uint64_t (*clock)(void *context)) {
  if (world == RACE_LOGGED) return race_open_logged(log_buffer_bytes, clock);
  if (world == RACE_IN_MEMORY) return race_open(NULL, COUPON_NONE, log_buffer_bytes, clock);
  race_directory_create(path);
  return race_open(path, durability, log_buffer_bytes, clock);
}

void race_close(coupon_engine *engine) {
  struct nowhere *nowhere = nowhere_of(&engine->env);
  coupon_status status = coupon_close(engine);
  RACE_CHECK(status == COUPON_OK, "closing: %s", coupon_status_name(status));
  status = coupon_destroy(engine);
  RACE_CHECK(status == COUPON_OK, "destroying: %s", coupon_status_name(status));
  nowhere_destroy(nowhere);
}

void race_step(coupon_engine *engine) {
  struct nowhere *nowhere = nowhere_of(&engine->env);
  while (nowhere != NULL && cpn_buffer_ready(&engine->buffer)) {
    if (atomic_exchange(&nowhere->stepping, 1) != 0) return; /* who is at it looks again when it is done */
    RACE_CHECK(cpn_wait_step(engine) >= 0, "the commit stage failed");
    atomic_store(&nowhere->stepping, 0);
  }
}

void race_campaign(coupon_engine *engine, uint64_t id, uint64_t stock, uint64_t limit, uint64_t opens_at_ns,
                   uint64_t closes_at_ns) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = id;
  spec.stock = stock;
  spec.user_limit = limit;
  spec.opens_at_ns = opens_at_ns;
  spec.closes_at_ns = closes_at_ns;
  coupon_status status;
  while ((status = coupon_create(engine, &spec, COUPON_POLL)) == COUPON_E_BUSY) {
    race_step(engine);
    (void)sched_yield();
  }
  race_step(engine);
  RACE_CHECK(status == COUPON_OK || status == COUPON_NOT_FINAL, "creating: %s", coupon_status_name(status));
}

struct coupon_campaign_info race_info_of(coupon_engine *engine, uint64_t campaign) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  coupon_status status = coupon_info(engine, campaign, &info);
  RACE_CHECK(status == COUPON_OK, "campaign %" PRIu64 ": %s", campaign, coupon_status_name(status));
  return info;
}

struct coupon_stats race_stats_of(coupon_engine *engine) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  coupon_status status = coupon_read_stats(engine, &stats);
  RACE_CHECK(status == COUPON_OK, "%s", coupon_status_name(status));
  return stats;
}

size_t race_tickets_of(coupon_engine *engine, uint64_t campaign, struct coupon_ticket *tickets, size_t capacity) {
  size_t count = 0;
  coupon_status status = coupon_tickets(engine, campaign, 1, tickets, sizeof tickets[0], capacity, &count);
  RACE_CHECK(status == COUPON_OK, "%s", coupon_status_name(status));
  for (size_t i = 0; i < count; i++) {
    RACE_CHECK(tickets[i].number == i + 1, "number %" PRIu64 " at place %zu", tickets[i].number, i + 1);
    if (engine->options.durability == COUPON_NONE)
      RACE_CHECK(tickets[i].lsn == 0 && tickets[i].flags == COUPON_TICKET_FINAL, "not final without a log");
    else
      RACE_CHECK(i == 0 || tickets[i].lsn > tickets[i - 1].lsn, "numbers are not in the order of the log");
    RACE_CHECK(i == 0 || tickets[i].time_ns >= tickets[i - 1].time_ns, "times fall along the numbers");
  }
  return count;
}

void race_settle(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  race_step(engine);
  ticket.lsn = race_stats_of(engine).reserved_lsn;
  ticket.answer = COUPON_SOLD_OUT; /* a refusal that rests on everything */
  coupon_status status = coupon_wait(engine, &ticket, COUPON_FOREVER);
  RACE_CHECK(status == COUPON_OK, "what was decided does not become final: %s", coupon_status_name(status));
}

void race_commits_stop(coupon_engine *engine) {
  struct nowhere *nowhere = nowhere_of(&engine->env);
  uint32_t turns = 0;
  RACE_CHECK(nowhere != NULL, "nobody steps in this engine");
  while (atomic_exchange(&nowhere->stepping, 1) != 0) race_turn(&turns);
}

void race_commits_resume(coupon_engine *engine) {
  atomic_store(&nowhere_of(&engine->env)->stepping, 0);
  race_step(engine);
}

/* --- requests, written down ---------------------------------------------------------------------- */

uint64_t race_stamp(void) {
  static _Alignas(CPN_CACHE_LINE) _Atomic uint64_t now;
  return atomic_fetch_add(&now, 1) + 1;
}

/* Steps only behind the second stamp: what is asked is over by then. */
static struct race_answer ask(race_issue_fn *issue, coupon_engine *engine, uint64_t campaign, uint64_t user,
                              bool stamped) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  struct race_answer answer = {.campaign = campaign, .user = user, .logged = engine->has_log};
  if (stamped) answer.begin = race_stamp();
  answer.status = issue(engine, campaign, user, &ticket);
  if (stamped) answer.end = race_stamp();
  answer.number = ticket.number;
  answer.lsn = ticket.lsn;
  answer.time_ns = ticket.time_ns;
  answer.flags = ticket.flags;
  RACE_CHECK(answer.status < 0 || ticket.answer == answer.status, "the ticket says %s, and the call %s",
             coupon_status_name(ticket.answer), coupon_status_name(answer.status));
  race_step(engine);
  return answer;
}

struct race_answer race_ask(race_issue_fn *issue, coupon_engine *engine, uint64_t campaign, uint64_t user) {
  return ask(issue, engine, campaign, user, false);
}

struct race_answer race_ask_stamped(race_issue_fn *issue, coupon_engine *engine, uint64_t campaign, uint64_t user) {
  return ask(issue, engine, campaign, user, true);
}

coupon_status race_issue_batch_of_one(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                      struct coupon_ticket *ticket) {
  struct coupon_request request = {.campaign = campaign, .user = user};
  coupon_status status = coupon_try_issue_batch(engine, &request, 1, ticket, sizeof *ticket);
  return status == COUPON_OK ? ticket->answer : status;
}

/* The user's requests in the campaign stand second and last; between them and around them others, so that the batch has
 * several parties and claims, in an order that depends on the user. */
coupon_status race_issue_batch_of_many(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                       struct coupon_ticket *ticket) {
  enum { COUNT = 6, FIRST = 1, LAST = 5 };
  const uint64_t near = user % 3, far = 2 - near;
  const struct coupon_request requests[COUNT] = {
      {.campaign = RACE_SIDE_CAMPAIGN, .user = near}, {.campaign = campaign, .user = user},
      {.campaign = RACE_SIDE_CAMPAIGN, .user = 1},    {.campaign = RACE_NO_CAMPAIGN, .user = user},
      {.campaign = RACE_SIDE_CAMPAIGN, .user = far},  {.campaign = campaign, .user = user}};
  struct coupon_ticket tickets[COUNT];
  coupon_status status = coupon_try_issue_batch(engine, requests, COUNT, tickets, sizeof tickets[0]);
  if (status != COUPON_OK) return status;
  for (int i = 0; i < COUNT; i++) {
    RACE_CHECK(tickets[i].campaign == requests[i].campaign && tickets[i].user == requests[i].user, "another's answer");
    RACE_CHECK(tickets[i].size == sizeof tickets[0], "an element without its size");
  }
  RACE_CHECK(tickets[3].answer == COUPON_NO_CAMPAIGN, "%s", coupon_status_name(tickets[3].answer));
  for (int i = 0; i < COUNT; i += 2)
    RACE_CHECK(tickets[i].answer == COUPON_ISSUED || tickets[i].answer == COUPON_ALREADY_ISSUED ||
                   tickets[i].answer == COUPON_NO_CAMPAIGN,
               "beside: %s", coupon_status_name(tickets[i].answer));
  const struct coupon_ticket *first = &tickets[FIRST], *last = &tickets[LAST];
  const bool has = first->answer == COUPON_ISSUED || first->answer == COUPON_ALREADY_ISSUED;
  if (has) {
    RACE_CHECK(last->answer == COUPON_ALREADY_ISSUED, "a user's second request in a batch: %s",
               coupon_status_name(last->answer));
    RACE_CHECK(first->lsn == last->lsn && first->time_ns == last->time_ns, "two tickets in one batch");
    RACE_CHECK(first->number == last->number || first->number == 0 || last->number == 0, "two numbers in one batch");
  } else if (last->answer == COUPON_ISSUED) {
    RACE_CHECK(first->answer != COUPON_SOLD_OUT, "issued after SOLD_OUT, in one batch");
    first = last; /* behind a full log buffer, or a change of the clock; it is the user's answer */
  } else if (first->answer == COUPON_SOLD_OUT) {
    RACE_CHECK(last->answer == COUPON_SOLD_OUT, "after SOLD_OUT: %s", coupon_status_name(last->answer));
  }
  size_t size = ticket->size;
  *ticket = *first;
  ticket->size = size;
  return first->answer;
}

static struct coupon_ticket ticket_of(const struct race_answer *answer) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  ticket.campaign = answer->campaign;
  ticket.user = answer->user;
  ticket.number = answer->logged ? 0 : answer->number; /* with a log the LSN has to lead to it */
  ticket.lsn = answer->lsn;
  ticket.answer = answer->status;
  return ticket;
}

bool race_is_final(coupon_engine *engine, const struct race_answer *answer) {
  struct coupon_ticket ticket = ticket_of(answer);
  coupon_status status = coupon_wait(engine, &ticket, COUPON_POLL);
  RACE_CHECK(status == COUPON_OK || status == COUPON_NOT_FINAL, "%s", coupon_status_name(status));
  RACE_CHECK((status == COUPON_OK) == ((ticket.flags & COUPON_TICKET_FINAL) != 0), "flag and status differ");
  return status == COUPON_OK;
}

uint64_t race_wait_final(coupon_engine *engine, const struct race_answer *answer) {
  struct coupon_ticket ticket = ticket_of(answer);
  race_step(engine);
  coupon_status status = coupon_wait(engine, &ticket, COUPON_FOREVER);
  RACE_CHECK(status == COUPON_OK, "waiting for finality: %s", coupon_status_name(status));
  RACE_CHECK((ticket.flags & COUPON_TICKET_FINAL) != 0, "final without the flag");
  return ticket.number;
}

static void act(void *context, uint32_t index) {
  struct race_actor *actor = context;
  (void)index;
  if (actor->hold != NULL) race_hold_me(actor->hold);
  race_count_passes(CPN_POINT_CLAIM_READ, &actor->looks);
  actor->answer = race_ask_stamped(coupon_try_issue, actor->engine, actor->campaign, actor->user);
  atomic_store(&actor->returned, true);
}

void race_actor_start(struct race_actor *actor, coupon_engine *engine, uint64_t campaign, uint64_t user,
                      struct race_hold *hold) {
  actor->engine = engine;
  actor->hold = hold;
  actor->campaign = campaign;
  actor->user = user;
  atomic_init(&actor->looks, 0);
  atomic_init(&actor->returned, false);
  race_start(&actor->thread, act, actor, 0);
}

bool race_same_ticket(const struct race_answer *a, const struct race_answer *b) {
  /* The number may be known in one answer and not yet in the other. */
  bool numbers_agree = a->number == b->number || (a->logged && (a->number == 0 || b->number == 0));
  return a->user == b->user && a->lsn == b->lsn && a->time_ns == b->time_ns && numbers_agree;
}
