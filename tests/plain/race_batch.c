/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that batches that meet are what their requests would be one by one: nobody waits for ever, exactly the stock is
 * issued while there is demand, everybody has one ticket, a user's answers agree, in one batch and in others, and
 * numbers are 1 … k with nothing between them.
 *
 * How: three threads leave a barrier together, each with a batch of up to eighty requests for the same users in two
 * campaigns, one in ascending order, one in descending order, one at random, many users more than once; on stocks from
 * one unit to more than are asked for, in memory and with a log. What everybody was told is judged against the lists.
 */
#include "support/race_help.h"

#include <string.h>

#define THREADS 3
#define USERS 40
#define REQUESTS_MAX 80
#define ROUNDS_PER_ENGINE 128

struct meeting {
  coupon_engine *engine;
  enum race_world world;
  bool small_buffer; /* so that some are told BUSY, and ask again */
  uint64_t rounds;   /* of this engine */
  int32_t kinds[2];  /* of users, in a round's two campaigns */
  uint64_t stocks[2];
  struct race_barrier barrier;
  struct coupon_request requests[THREADS][REQUESTS_MAX];
  struct coupon_ticket tickets[THREADS][REQUESTS_MAX];
  size_t counts[THREADS];
  uint64_t first_stream;
  uint64_t answers[COUPON_SOLD_OUT + 1], busy;
};

/* --- asking -------------------------------------------------------------------------------------- */

static struct coupon_request request_of(uint64_t campaign, uint64_t user) {
  struct coupon_request request = {.campaign = campaign, .user = user};
  for (int i = 0; i < COUPON_UUID_SIZE; i++) request.uuid[i] = (unsigned char)(user + (i < 8 ? 0 : (unsigned)i));
  return request;
}

static void write_batch(struct meeting *meeting, uint32_t thread, uint64_t round, struct race_random *random) {
  const size_t count = 1 + (size_t)race_below(random, REQUESTS_MAX);
  for (size_t i = 0; i < count; i++) {
    uint64_t user = i * USERS / count;
    if (thread == 1) user = USERS - 1 - user;
    if (thread == 2) user = race_below(random, USERS);
    meeting->requests[thread][i] = request_of(round * 2 + race_below(random, 2), user);
  }
  meeting->counts[thread] = count;
}

static void ask(struct meeting *meeting, uint32_t thread) {
  struct coupon_ticket *tickets = meeting->tickets[thread];
  const struct coupon_request *requests = meeting->requests[thread];
  memset(tickets, 0xee, sizeof meeting->tickets[thread]);
  coupon_status status =
      coupon_try_issue_batch(meeting->engine, requests, meeting->counts[thread], tickets, sizeof tickets[0]);
  RACE_CHECK(status == COUPON_OK, "%s", coupon_status_name(status));
  race_step(meeting->engine);
  for (size_t i = 0; i < meeting->counts[thread]; i++) {
    for (uint32_t turns = 0; tickets[i].answer == COUPON_E_BUSY; race_turn(&turns)) {
      RACE_CHECK(meeting->small_buffer, "no room in a large buffer");
      status = coupon_try_issue_batch(meeting->engine, &requests[i], 1, &tickets[i], sizeof tickets[i]);
      RACE_CHECK(status == COUPON_OK, "%s", coupon_status_name(status));
      race_step(meeting->engine);
    }
  }
}

/* --- judging ------------------------------------------------------------------------------------- */

static bool is_users(const struct meeting *meeting, const struct coupon_ticket *ticket, int which, uint64_t user) {
  const struct coupon_request request = request_of(0, user);
  if (meeting->kinds[which] == COUPON_USER_UUID) return memcmp(ticket->uuid, request.uuid, sizeof request.uuid) == 0;
  return ticket->user == user;
}

static bool has(const struct coupon_ticket *ticket) {
  return ticket->answer == COUPON_ISSUED || ticket->answer == COUPON_ALREADY_ISSUED;
}

/* Within a batch a user's later requests come after the earlier ones. */
static void judge_order(const struct coupon_ticket *earlier, const struct coupon_ticket *later) {
  int32_t expected = earlier->answer == COUPON_SOLD_OUT ? COUPON_SOLD_OUT : COUPON_ALREADY_ISSUED;
  RACE_CHECK(later->answer == expected, "%s, and later in the batch %s", coupon_status_name(earlier->answer),
             coupon_status_name(later->answer));
}

/* All that a user was told, and what the lists say. Returns whether anybody asked for them. */
static bool judge_user(struct meeting *meeting, uint64_t campaign, int which, uint64_t user,
                       const struct coupon_ticket *listed, size_t count) {
  const struct coupon_ticket *mine = NULL;
  uint64_t issued = 0, asked = 0;
  for (size_t n = 0; n < count; n++) {
    if (!is_users(meeting, &listed[n], which, user)) continue;
    RACE_CHECK(mine == NULL, "user %" PRIu64 " has two tickets", user);
    mine = &listed[n];
  }
  for (int t = 0; t < THREADS; t++) {
    const struct coupon_ticket *before = NULL;
    for (size_t i = 0; i < meeting->counts[t]; i++) {
      const struct coupon_ticket *ticket = &meeting->tickets[t][i];
      if (meeting->requests[t][i].campaign != campaign || meeting->requests[t][i].user != user) continue;
      RACE_CHECK(ticket->answer >= COUPON_ISSUED && ticket->answer <= COUPON_SOLD_OUT, "%s",
                 coupon_status_name(ticket->answer));
      RACE_CHECK(is_users(meeting, ticket, which, user) && ticket->campaign == campaign, "another's answer");
      if (before != NULL && !meeting->small_buffer) judge_order(before, ticket);
      before = ticket;
      asked++;
      meeting->answers[ticket->answer]++;
      issued += ticket->answer == COUPON_ISSUED;
      RACE_CHECK(has(ticket) == (mine != NULL), "user %" PRIu64 " was told %s, and the list says otherwise", user,
                 coupon_status_name(ticket->answer));
      if (mine == NULL) continue;
      RACE_CHECK(ticket->lsn == mine->lsn && ticket->time_ns == mine->time_ns, "told of another ticket");
      RACE_CHECK(ticket->number == mine->number || (ticket->number == 0 && meeting->engine->has_log), "another number");
    }
  }
  RACE_CHECK(issued == (mine != NULL), "user %" PRIu64 " was issued %" PRIu64 " times", user, issued);
  struct coupon_ticket found = COUPON_TICKET_INIT;
  const struct coupon_request request = request_of(campaign, user);
  coupon_status status = meeting->kinds[which] == COUPON_USER_UUID
                             ? coupon_lookup_uuid(meeting->engine, campaign, request.uuid, &found, NULL)
                             : coupon_lookup(meeting->engine, campaign, user, &found, NULL);
  RACE_CHECK(status == (mine != NULL ? COUPON_OK : COUPON_NOT_FOUND), "looked up: %s", coupon_status_name(status));
  RACE_CHECK(mine == NULL || (found.number == mine->number && found.time_ns == mine->time_ns), "another looked up");
  return asked > 0;
}

static void judge(struct meeting *meeting, uint64_t campaign, int which) {
  struct coupon_ticket listed[USERS + 1];
  for (size_t i = 0; i < USERS + 1; i++) listed[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
  const size_t count = race_tickets_of(meeting->engine, campaign, listed, USERS + 1);
  const struct coupon_campaign_info info = race_info_of(meeting->engine, campaign);
  RACE_CHECK(count == info.issued, "%zu tickets, %" PRIu64 " issued", count, info.issued);
  uint64_t demand = 0;
  for (uint64_t user = 0; user < USERS; user++) demand += judge_user(meeting, campaign, which, user, listed, count);
  RACE_CHECK(count == cpn_min_u64(demand, info.stock), "%zu issued of %" PRIu64 " to %" PRIu64 " users", count,
             info.stock, demand);
}

/* --- rounds -------------------------------------------------------------------------------------- */

static void create(struct meeting *meeting, uint64_t round, struct race_random *random) {
  for (int which = 0; which < 2; which++) {
    struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
    spec.id = round * 2 + (uint64_t)which;
    spec.stock = race_below(random, 2) == 0 ? 1 + race_below(random, 6) : 1 + race_below(random, 2 * USERS);
    spec.user_kind = race_below(random, 2) == 0 ? COUPON_USER_UUID : COUPON_USER_U64;
    meeting->kinds[which] = spec.user_kind;
    coupon_status status;
    while ((status = coupon_create(meeting->engine, &spec, COUPON_POLL)) == COUPON_E_BUSY) race_step(meeting->engine);
    RACE_CHECK(status >= 0, "%s", coupon_status_name(status));
    race_step(meeting->engine);
  }
}

/* Alone, the numbers rise along the array; in a campaign so roomy that nobody is put off for want of a place for a
 * claim. */
static void ask_alone(struct meeting *meeting, uint64_t campaign) {
  race_campaign(meeting->engine, campaign, USERS * 16, 1, 0, 0);
  struct coupon_ticket *tickets = meeting->tickets[0];
  for (uint64_t i = 0; i < USERS; i++) meeting->requests[0][i] = request_of(campaign, i);
  meeting->counts[0] = USERS;
  ask(meeting, 0);
  race_settle(meeting->engine);
  for (uint64_t i = 0; i < USERS; i++) {
    RACE_CHECK(tickets[i].answer == COUPON_ISSUED, "%s", coupon_status_name(tickets[i].answer));
    RACE_CHECK(coupon_wait(meeting->engine, &tickets[i], COUPON_POLL) == COUPON_OK, "not final");
    RACE_CHECK(tickets[i].number == i + 1, "number %" PRIu64 " to request %" PRIu64, tickets[i].number, i + 1);
  }
}

static void meet(void *context, uint32_t thread) {
  struct meeting *meeting = context;
  struct race_random random = race_stream(meeting->first_stream + thread);
  uint64_t meetings = 0;
  for (uint64_t round = 0; round < meeting->rounds; round++) {
    static const uint32_t chances[4] = {0, 16, 64, 200};
    if (thread == 0) create(meeting, round, &random);
    write_batch(meeting, thread, round, &random);
    race_dawdle((struct race_random){race_next(&random)}, chances[round % 4]);
    race_meet(&meeting->barrier, &meetings);
    ask(meeting, thread);
    race_meet(&meeting->barrier, &meetings);
    race_dawdle(random, 0);
    if (thread == 0) {
      race_settle(meeting->engine);
      judge(meeting, round * 2, 0);
      judge(meeting, round * 2 + 1, 1);
    }
    race_meet(&meeting->barrier, &meetings); /* only now is anything written over */
  }
}

static void run(enum race_world world, bool small_buffer, uint64_t rounds) {
  static struct meeting meeting;
  memset(&meeting, 0, sizeof meeting);
  meeting.world = world;
  meeting.small_buffer = small_buffer;
  for (uint64_t done = 0; done < rounds; done += meeting.rounds) {
    meeting.rounds = cpn_min_u64(ROUNDS_PER_ENGINE, rounds - done);
    meeting.first_stream = (done * 4 + world) * THREADS;
    race_barrier_init(&meeting.barrier, THREADS);
    meeting.engine = race_open_in(world, NULL, COUPON_NONE, small_buffer ? 4096 : 0, NULL);
    race_run(THREADS, meet, &meeting);
    meeting.small_buffer = small_buffer;
    ask_alone(&meeting, RACE_SIDE_CAMPAIGN);
    race_close(meeting.engine);
  }
  printf("%s%s: %" PRIu64 " meetings of %d batches: %" PRIu64 " ISSUED, %" PRIu64 " ALREADY_ISSUED, %" PRIu64
         " SOLD_OUT\n",
         race_world_name(world), small_buffer ? ", small buffer" : "", rounds, THREADS, meeting.answers[COUPON_ISSUED],
         meeting.answers[COUPON_ALREADY_ISSUED], meeting.answers[COUPON_SOLD_OUT]);
  RACE_CHECK(meeting.answers[COUPON_SOLD_OUT] > 0, "nobody was refused: this run shows little");
}

int main(int argc, char **argv) {
  race_begin("race_batch", argc, argv);
  run(RACE_IN_MEMORY, false, race_rounds(20000, 1000));
  run(RACE_LOGGED, false, race_rounds(20000, 1000));
  run(RACE_LOGGED, true, race_rounds(10000, 500));
  return 0;
}
