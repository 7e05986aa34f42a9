/* SPDX-License-Identifier: Apache-2.0 */
#include "sale.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* Tickets read at a time by the checks. */
#define PAGE_TICKETS 1024

static void give_up(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

coupon_engine *sale_open(const char *directory, int32_t durability) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine;
  options.durability = directory == NULL ? COUPON_NONE : durability;
  if (coupon_open(directory, &options, &engine, &report) != COUPON_OK) give_up("coupon_open", report.message);
  return engine;
}

void sale_close(coupon_engine *engine, const char *directory) {
  coupon_status status = coupon_destroy(engine);
  if (status != COUPON_OK) give_up("coupon_destroy", coupon_strerror(status));
  if (directory != NULL) bench_remove_directory(directory);
}

const char *sale_path(const struct bench *bench, const char *name, char path[BENCH_PATH_MAX]) {
  (void)snprintf(path, BENCH_PATH_MAX, "%s/%s.%s", bench->directory, bench->program, name);
  bench_remove_directory(path); /* left behind by a run that was ended */
  return path;
}

static void create(coupon_engine *engine, const struct coupon_campaign_spec *spec) {
  coupon_status status = coupon_create(engine, spec, COUPON_FOREVER);
  if (status != COUPON_OK) give_up("coupon_create", coupon_strerror(status));
}

void sale_create(coupon_engine *engine, uint64_t campaign, uint64_t stock, uint64_t prepare) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = campaign;
  spec.stock = stock;
  spec.prepare = prepare;
  create(engine, &spec);
}

void sale_create_uuid(coupon_engine *engine, uint64_t campaign, uint64_t stock, uint64_t prepare) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = campaign;
  spec.stock = stock;
  spec.prepare = prepare;
  spec.user_kind = COUPON_USER_UUID;
  create(engine, &spec);
}

void sale_uuid(uint64_t i, unsigned char uuid[COUPON_UUID_SIZE]) {
  uint64_t words[2] = {bench_user(i), bench_mix(~i)};
  memcpy(uuid, words, COUPON_UUID_SIZE);
}

/* ---- issuing ---- */

/* A thread's own. Requests and tickets are made once: what a call fills, the next one may fill again. */
struct lane {
  uint64_t issued, busy, numbers;
  struct coupon_ticket ticket;
  struct coupon_request requests[SALE_BATCH];
  struct coupon_ticket tickets[SALE_BATCH];
};

static uint64_t campaign_of(const struct sale_job *job, uint64_t i) {
  if (job->campaigns <= 1) return 1;
  return 1 + (job->random ? bench_below(bench_mix(~i), job->campaigns) : i % job->campaigns);
}

static uint64_t user_at(const struct sale_job *job, uint64_t i) {
  return job->user_of != NULL ? job->user_of(i) : bench_user(i);
}

static coupon_status ask(const struct sale_job *job, uint64_t i, struct coupon_ticket *ticket) {
  unsigned char uuid[COUPON_UUID_SIZE];
  uint64_t campaign = campaign_of(job, i);
  if (job->uuid) {
    sale_uuid(i, uuid);
    return coupon_try_issue_uuid(job->engine, campaign, uuid, ticket);
  }
  if (job->waits) return coupon_issue(job->engine, campaign, user_at(job, i), COUPON_FOREVER, ticket);
  return coupon_try_issue(job->engine, campaign, user_at(job, i), ticket);
}

/* The log buffer is full only while the disk is behind: whoever asks again at once would only take the commit
 * thread's processor. */
static void ask_until_answered(const struct sale_job *job, uint64_t i, struct lane *lane) {
  coupon_status status;
  while ((status = ask(job, i, &lane->ticket)) == COUPON_E_BUSY) {
    lane->busy++;
    (void)sched_yield();
  }
  lane->issued += status == COUPON_ISSUED;
  lane->numbers += lane->ticket.number;
}

static void ask_for_batch(const struct sale_job *job, uint64_t from, uint64_t count, struct lane *lane) {
  struct coupon_request *requests = lane->requests;
  struct coupon_ticket *tickets = lane->tickets;
  for (uint64_t i = 0; i < count; i++) {
    requests[i] = (struct coupon_request){.campaign = campaign_of(job, from + i)};
    if (job->uuid)
      sale_uuid(from + i, requests[i].uuid);
    else
      requests[i].user = user_at(job, from + i);
  }
  if (coupon_try_issue_batch(job->engine, requests, count, tickets, sizeof tickets[0]) != COUPON_OK) return;
  for (uint64_t i = 0; i < count; i++) {
    if (tickets[i].answer == COUPON_E_BUSY) {
      lane->busy++;
      ask_until_answered(job, from + i, lane);
    } else {
      lane->issued += tickets[i].answer == COUPON_ISSUED;
      lane->numbers += tickets[i].number;
    }
  }
}

static void issue_timed(const struct sale_job *job, struct histogram *histogram, uint64_t from, uint64_t to,
                        struct lane *lane) {
  for (uint64_t i = from; i < to; i++) {
    uint64_t before = timer_ticks(job->timer);
    ask_until_answered(job, i, lane);
    histogram_add(histogram, timer_ticks(job->timer) - before);
  }
}

static void issue_body(void *context, int thread) {
  struct sale_job *job = context;
  uint64_t from = job->first_user + bench_part(job->users, job->threads, thread);
  uint64_t to = job->first_user + bench_part(job->users, job->threads, thread + 1);
  struct lane lane = {.ticket = COUPON_TICKET_INIT};
  if (job->timer != NULL)
    issue_timed(job, &job->histograms[thread], from, to, &lane);
  else if (job->batches)
    for (uint64_t i = from; i < to; i += SALE_BATCH)
      ask_for_batch(job, i, to - i < SALE_BATCH ? to - i : SALE_BATCH, &lane);
  else
    for (uint64_t i = from; i < to; i++) ask_until_answered(job, i, &lane);
  /* relaxed: they only count, and joining the threads orders them before whoever reads. */
  atomic_fetch_add_explicit(&job->issued, lane.issued, memory_order_relaxed);
  atomic_fetch_add_explicit(&job->busy, lane.busy, memory_order_relaxed);
  atomic_fetch_add_explicit(&job->numbers, lane.numbers, memory_order_relaxed);
}

double sale_run(struct sale_job *job, int threads) {
  job->threads = threads;
  atomic_init(&job->issued, 0);
  atomic_init(&job->busy, 0);
  atomic_init(&job->numbers, 0);
  return bench_run(threads, issue_body, job);
}

double sale_rate(struct sale_job *job, int threads) { return (double)job->users / sale_run(job, threads) / 1e6; }

/* ---- checks ---- */

bool sale_all_final(coupon_engine *engine) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  if (coupon_read_stats(engine, &stats) != COUPON_OK) return false;
  if (stats.durability == COUPON_NONE) return true; /* every answer was final at once */
  struct coupon_ticket last = COUPON_TICKET_INIT;
  last.lsn = stats.reserved_lsn;
  last.answer = COUPON_SOLD_OUT;
  return coupon_wait(engine, &last, COUPON_FOREVER) == COUPON_OK;
}

bool sale_is_whole(coupon_engine *engine, uint64_t campaign, uint64_t count) {
  static struct coupon_ticket page[PAGE_TICKETS];
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  if (coupon_info(engine, campaign, &info) != COUPON_OK) return false;
  if (info.issued != count || info.issued + info.remaining != info.stock) return false;
  uint64_t expected = 1;
  for (size_t got = 1; got > 0;) {
    if (coupon_tickets(engine, campaign, expected, page, sizeof page[0], PAGE_TICKETS, &got) != COUPON_OK) return false;
    for (size_t i = 0; i < got; i++) {
      if (page[i].number != expected++) return false;
    }
  }
  return expected == count + 1;
}

uint64_t sale_memory_bytes(coupon_engine *engine) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  return coupon_read_stats(engine, &stats) == COUPON_OK ? stats.memory_bytes : 0;
}
