/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that segments made ahead get into the log whole, each once, whoever makes the step that needs the next one: the
 * commit thread, a caller who waits, or close; and that close meets the maker anywhere.
 *
 * How: lives that end after some segments, or parts of one, while callers in batches and callers who wait fill the log.
 * Each life opens what the last one left, and all tickets of before are there.
 */
#include "support/race_help.h"

#define CAMPAIGN 1
#define SEGMENT_SIZE (UINT64_C(1) << 20) /* the smallest that is made ahead */
#define BATCH 32
#define CALLERS 3

struct life {
  coupon_engine *engine;
  uint64_t first, users; /* of each caller: so many from first + caller * users on */
};

static void ask_and_wait(struct life *life, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = coupon_issue(life->engine, CAMPAIGN, user, COUPON_FOREVER, &ticket);
  RACE_CHECK(status == COUPON_ISSUED, "user %" PRIu64 ": %s", user, coupon_status_name(status));
  RACE_CHECK((ticket.flags & COUPON_TICKET_FINAL) != 0 && ticket.number != 0, "waited, and not final");
}

static void ask_for_batch(struct life *life, uint64_t from) {
  struct coupon_request requests[BATCH];
  struct coupon_ticket tickets[BATCH];
  memset(requests, 0, sizeof requests);
  for (uint64_t i = 0; i < BATCH; i++) {
    requests[i].campaign = CAMPAIGN;
    requests[i].user = from + i;
    tickets[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
  }
  RACE_CHECK(coupon_try_issue_batch(life->engine, requests, BATCH, tickets, sizeof tickets[0]) == COUPON_OK, "batch");
  for (int i = 0; i < BATCH; i++) {
    if (tickets[i].answer == COUPON_E_BUSY) ask_and_wait(life, requests[i].user);
  }
}

/* Mostly batches, to get on; now and then alone. */
static void call_on(void *context, uint32_t thread) {
  struct life *life = context;
  struct race_random random = race_stream(thread);
  const uint64_t from = life->first + thread * life->users;
  for (uint64_t i = 0; i < life->users; i += BATCH) {
    if (race_below(&random, 64) != 0) {
      ask_for_batch(life, from + i);
      continue;
    }
    for (uint64_t j = 0; j < BATCH; j++) ask_and_wait(life, from + i + j);
  }
}

int main(int argc, char **argv) {
  race_begin("race_segments", argc, argv);
  const uint64_t lives = race_rounds(12, 4);
  struct race_random random = race_stream(200);
  struct life life = {.first = 0};
  struct coupon_options options = COUPON_OPTIONS_INIT;
  char path[RACE_PATH_MAX];
  uint64_t segments = 0;
  race_directory_create(path);
  options.segment_size_bytes = SEGMENT_SIZE;
  for (uint64_t i = 0; i < lives; i++) {
    struct coupon_report report = COUPON_REPORT_INIT;
    options.durability = i % 4 == 3 ? COUPON_WRITTEN : COUPON_SYNC;
    life.engine = race_open_with(path, &options, &report);
    RACE_CHECK(report.tickets == life.first, "%" PRIu64 " tickets where %" PRIu64 " were issued", report.tickets,
               life.first);
    if (i == 0) race_campaign(life.engine, CAMPAIGN, UINT64_C(1) << 32, 1, 0, 0);
    life.users = (race_below(&random, 12) + 1) * 32 * BATCH;
    race_run(CALLERS, call_on, &life);
    life.first += life.users * CALLERS;
    struct coupon_stats stats = COUPON_STATS_INIT;
    RACE_CHECK(coupon_read_stats(life.engine, &stats) == COUPON_OK, "no figures");
    segments = stats.segments;
    race_close(life.engine);
  }
  race_directory_remove(path);
  printf("%" PRIu64 " lives, %" PRIu64 " tickets, %" PRIu64 " segments, all there\n", lives, life.first, segments);
  return 0;
}
