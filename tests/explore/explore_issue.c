/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows of an issue as a whole, cpn_engine_try_issue() and all it calls: nobody is told "sold out" while a unit is free or
 * while the user holds one, nobody "already issued" who holds nothing, nobody gets two; every answer is what the log up to
 * the answer's LSN says; and numbers, where answers bear them, are the log's order.
 *
 * How: each thread asks for one user. With a log the records are read at the end, or taken away meanwhile by the commit
 * thread itself; without a log numbers and answers have to agree with each other.
 */
#include "explore.h"

#include <string.h>

#include "base/bytes.h"
#include "engine/engine.h"

#define RING_BYTES 256
#define CAMPAIGN UINT64_C(77)
#define RECORDS_MAX 10
#define CLOSES_AT_NS 2000

static struct coupon_engine engine;
static unsigned char staging[RING_BYTES + CPN_FRAME_HEADER_SIZE];

/* What is asked. */
static int threads;
static uint64_t users[EXPLORE_THREADS_MAX];
static uint64_t units;
static enum { DECIDING, UNLOGGED, COMMITTING } kind; /* with a log; without; with a log and the commit thread */
static int askers;                                   /* threads, but the commit thread */
static bool growing;                                 /* there is not yet memory for claims and tickets */
static bool closing;                                 /* the last thread comes when the campaign is over */

/* What is answered, and what the log says. */
static struct coupon_ticket tickets[EXPLORE_THREADS_MAX];
static struct { uint64_t type, lsn, user, time_ns; } records[RECORDS_MAX];
static int record_count;

static enum weak { NOTHING, CLAIMS, WORD_AND_TAIL, IDLE } weak;

/* --- around the engine --------------------------------------------------------------------------- */

void cpn_engine_log(const coupon_engine *which, int32_t level, const char *format, ...) {
  (void)which, (void)level;
  explore_fail("the engine complains: %s", format);
}

static void *alloc(void *context, size_t size, size_t alignment) {
  (void)context, (void)alignment;
  return explore_alloc(size);
}
static void free_it(void *context, void *pointer, size_t size) {
  (void)context, (void)size;
  explore_free(pointer);
}

static uint64_t wall(void *context) {
  (void)context;
  return closing && explore_thread() == askers - 1 ? CLOSES_AT_NS : 1000;
}

static void note(void *context, uint64_t lsn, const unsigned char *bytes, size_t size) {
  (void)context;
  for (size_t at = 0; at < size;) {
    const uint64_t head = cpn_get_u64(bytes + at);
    const uint32_t words = cpn_record_words(head);
    EXPLORE_CHECK(record_count < RECORDS_MAX, "more records than anybody could write");
    records[record_count].type = head & 0xff;
    records[record_count].user = cpn_get_u64(bytes + at + 8);
    records[record_count].time_ns = words > 2 ? cpn_get_u64(bytes + at + 16) : 0;
    at += (size_t)words * 8;
    records[record_count++].lsn = lsn + at;
  }
}

/* The engine's own, and noted. */
static void apply(void *context, uint64_t lsn, const unsigned char *bytes, size_t size) {
  note(NULL, lsn, bytes, size);
  cpn_apply_live(context, lsn, bytes, size);
}

static int sink(void *context, const struct cpn_batch *batch) {
  (void)context, (void)batch;
  return 0;
}

/* --- before -------------------------------------------------------------------------------------- */

static void buffer_setup(void) {
  static _Alignas(64) uint64_t ring[RING_BYTES / 8];
  memset(ring, 0, sizeof ring);
  engine.buffer.words = (_Atomic uint64_t *)ring; /* as cpn_buffer_init() does, but smaller */
  engine.buffer.mask = RING_BYTES / 8 - 1;
  engine.buffer.capacity = RING_BYTES;
  engine.buffer.clock = &engine.clock;
  atomic_init(&engine.buffer.tail, 8);
  atomic_init(&engine.buffer.drained, 8);
  engine.commit.buffer = &engine.buffer;
  engine.commit.sink = (struct cpn_sink){NULL, sink};
  engine.commit.each = apply;
  engine.commit.each_context = &engine;
  engine.commit.payload_max = RING_BYTES;
  engine.commit.staging = staging;
  atomic_init(&engine.commit.durable, 8);
  explore_name(ring, sizeof ring, "words");
  explore_name(&engine.buffer.tail, 8, "tail");
  explore_name(&engine.buffer.drained, 8, "drained");
}

static void setup(void) {
  memset(&engine, 0, sizeof engine);
  memset(tickets, 0, sizeof tickets);
  record_count = 0;
  struct coupon_allocator allocator = COUPON_ALLOCATOR_INIT;
  allocator.alloc = alloc;
  allocator.free = free_it;
  cpn_memory_init(&engine.memory, &allocator, 0);
  cpn_clock_init(&engine.clock, wall, NULL);
  cpn_clock_raise(&engine.clock, 1000);
  static _Atomic uint32_t gate;
  atomic_init(&gate, CPN_GATE_OPEN);
  engine.gate = &gate;
  engine.has_log = kind != UNLOGGED;
  engine.has_thread = kind == COMMITTING;
  atomic_init(&engine.eventfd, -1);
  buffer_setup();
  struct cpn_campaign_spec spec = {.id = CAMPAIGN, .stock = units, .user_limit = 1, .name = ""};
  if (closing) spec.closes_at_ns = CLOSES_AT_NS;
  bool room = cpn_directory_init(&engine.campaigns, &engine.memory, (const uint64_t[]){1, 3});
  EXPLORE_CHECK(room && cpn_directory_reserve(&engine.campaigns), "no memory");
  struct cpn_campaign *campaign = cpn_campaign_create(&engine.memory, &spec, 0, growing ? 0 : units);
  cpn_directory_add(&engine.campaigns, campaign);
  explore_name(&campaign->stock.word, 8, "word");
  explore_name(&campaign->stock.basis, 8, "basis");
  explore_name(&campaign->claims, sizeof campaign->claims, "claims");
  explore_name(&campaign->tickets, sizeof campaign->tickets, "tickets");
  explore_name(&engine.idle, 4, "idle");
  explore_name(&engine.commit.durable, 8, "durable");
  if (weak == CLAIMS) explore_weaken_allocated(EXPLORE_LOAD | EXPLORE_STORE | EXPLORE_RMW, memory_order_relaxed);
  if (weak == WORD_AND_TAIL) {
    explore_weaken(&campaign->stock.word, 8, EXPLORE_LOAD | EXPLORE_RMW, memory_order_relaxed);
    explore_weaken(&engine.buffer.tail, 8, EXPLORE_LOAD | EXPLORE_RMW, memory_order_relaxed);
  }
  if (weak == IDLE) explore_weaken(&engine.idle, 4, EXPLORE_LOAD, memory_order_acquire);
}

static void run(int thread) {
  if (thread < askers)
    (void)cpn_engine_try_issue(&engine, CAMPAIGN, users[thread], &tickets[thread]);
  else
    (void)cpn_wait_commit_thread(&engine);
}

/* --- after --------------------------------------------------------------------------------------- */

/* ISSUE records up to `lsn`: all, or those of one user. */
static uint64_t issued(uint64_t lsn, uint64_t user) {
  uint64_t count = 0;
  for (int i = 0; i < record_count; i++)
    count += records[i].type == CPN_RECORD_ISSUE && records[i].lsn <= lsn && (user == 0 || records[i].user == user);
  return count;
}

static bool closed(uint64_t lsn) {
  for (int i = 0; i < record_count; i++)
    if (records[i].type == CPN_RECORD_CLOSE && records[i].lsn <= lsn) return true;
  return false;
}

static void judge_ticket(const struct coupon_ticket *ticket) {
  if (kind == UNLOGGED) {
    for (int t = 0; t < askers; t++) {
      if (tickets[t].answer != COUPON_ISSUED || tickets[t].user != ticket->user) continue;
      EXPLORE_CHECK(tickets[t].number == ticket->number && tickets[t].time_ns == ticket->time_ns, "another's ticket");
      EXPLORE_CHECK(ticket->number >= 1 && ticket->number <= units, "a number beyond the stock");
      return;
    }
    explore_fail("a ticket that was never issued");
  }
  int there = -1;
  uint64_t number = 0;
  for (int i = 0; i < record_count && there < 0; i++) {
    number += records[i].type == CPN_RECORD_ISSUE;
    if (records[i].type == CPN_RECORD_ISSUE && records[i].lsn == ticket->lsn) there = i;
  }
  EXPLORE_CHECK(there >= 0, "a ticket that is not in the log");
  EXPLORE_CHECK(records[there].user == ticket->user, "a ticket of somebody else");
  EXPLORE_CHECK(records[there].time_ns == ticket->time_ns, "a ticket with another time than in the log");
  EXPLORE_CHECK(ticket->number == 0 || ticket->number == number, "a ticket with another number than in the log");
}

static void judge_answer(int thread) {
  const struct coupon_ticket *ticket = &tickets[thread];
  int winners = 0;
  switch (ticket->answer) {
    case COUPON_ISSUED:
      judge_ticket(ticket);
      for (int t = 0; t < askers; t++) winners += users[t] == users[thread] && tickets[t].answer == COUPON_ISSUED;
      EXPLORE_CHECK(winners == 1, "two tickets to one user");
      return;
    case COUPON_ALREADY_ISSUED:
      judge_ticket(ticket);
      return;
    case COUPON_SOLD_OUT:
      EXPLORE_CHECK(issued(ticket->lsn, 0) == units, "sold out, but a unit is free at the basis");
      EXPLORE_CHECK(issued(ticket->lsn, users[thread]) == 0, "sold out to a user who holds a unit");
      EXPLORE_CHECK(!closed(ticket->lsn), "sold out, but it is over");
      return;
    case COUPON_ENDED:
      EXPLORE_CHECK(closing && closed(ticket->lsn), "ended, but not closed at the basis");
      EXPLORE_CHECK(issued(ticket->lsn, users[thread]) == 0, "ended to a user who holds a unit");
      return;
    default:
      explore_fail("an answer of %d", (int)ticket->answer);
  }
}

static void judge_log(void) {
  if (kind == COMMITTING) {
    EXPLORE_CHECK(!cpn_buffer_ready(&engine.buffer), "a record is published, and everybody rests");
    EXPLORE_CHECK(cpn_commit_durable(&engine.commit) == cpn_buffer_tail(&engine.buffer), "not all is final");
  } else {
    (void)cpn_buffer_drain(&engine.buffer, staging, RING_BYTES, note, NULL);
  }
  EXPLORE_CHECK(cpn_buffer_drained(&engine.buffer) == cpn_buffer_tail(&engine.buffer), "a hole is left in the log");
  bool over = false;
  for (int i = 0; i < record_count; i++) {
    over = over || records[i].type == CPN_RECORD_CLOSE;
    EXPLORE_CHECK(!over || records[i].type != CPN_RECORD_ISSUE, "a ticket behind CLOSE");
  }
}

/* Without a log the answers themselves are the record: numbers, and whose they are. */
static void make_up_log(void) {
  for (int t = 0; t < askers; t++) {
    if (tickets[t].answer != COUPON_ISSUED) continue;
    note(NULL, 0, (const unsigned char[24]){CPN_RECORD_ISSUE, 0, 3}, 24);
    records[record_count - 1].lsn = 0;
    records[record_count - 1].user = users[t];
    records[record_count - 1].time_ns = tickets[t].time_ns;
    for (int u = 0; u < t; u++)
      EXPLORE_CHECK(tickets[u].answer != COUPON_ISSUED || tickets[u].number != tickets[t].number, "one number twice");
  }
}

static void judge(void) {
  if (kind == UNLOGGED)
    make_up_log();
  else
    judge_log();
  EXPLORE_CHECK(issued(UINT64_MAX, 0) <= units, "more tickets than stock");
  for (int t = 0; t < askers; t++) {
    EXPLORE_CHECK(issued(UINT64_MAX, users[t]) <= 1, "two records for one user");
    judge_answer(t);
  }
}

/* --- scenarios ----------------------------------------------------------------------------------- */

static struct explore_scenario scene(const char *name, uint64_t stock, uint64_t first, uint64_t second,
                                     uint64_t third) {
  units = stock;
  users[0] = first, users[1] = second, users[2] = third;
  askers = 1 + (second != 0) + (third != 0);
  threads = askers + (kind == COMMITTING);
  closing = growing = false;
  weak = NOTHING;
  return (struct explore_scenario){.name = name,
                                   .threads = threads,
                                   .setup = setup,
                                   .run = run,
                                   .judge = judge,
                                   .may_sleep = kind == COMMITTING ? 1U << askers : 0};
}

static void with_log(void) {
  kind = DECIDING;
  struct explore_scenario it = scene("issue: two users, one unit", 1, 5, 6, 0);
  explore_passes(&it);
  it = scene("issue: two users, two units", 2, 5, 6, 0);
  explore_passes(&it);
  it = scene("issue: one user twice, one unit", 1, 5, 5, 0);
  explore_passes(&it);
  it = scene("issue: one user twice, the first of their campaign", 1, 5, 5, 0);
  growing = true;
  it.preemptions = 1; /* two threads making memory each have many steps in which nothing is decided */
  explore_passes(&it);
  it = scene("issue: a user, and one who comes too late", 1, 5, 6, 0);
  closing = true;
  it.preemptions = 3;
  explore_passes(&it);
  it = scene("issue: two users, one unit, three threads", 1, 5, 5, 6);
  it.preemptions = 3;
  explore_passes(&it);
}

static void without_log(void) {
  kind = UNLOGGED;
  struct explore_scenario it = scene("issue without a log: two users, one unit", 1, 5, 6, 0);
  explore_passes(&it);
  it = scene("issue without a log: two users, two units", 2, 5, 6, 0);
  explore_passes(&it);
  it = scene("issue without a log: one user twice, two units", 2, 5, 5, 0);
  explore_passes(&it);
  it = scene("issue without a log: two users, one unit, three threads", 1, 5, 5, 6);
  it.preemptions = 3;
  explore_passes(&it);
}

static void with_commit_thread(void) {
  kind = COMMITTING;
  struct explore_scenario it = scene("issue and commit: a user", 1, 5, 0, 0);
  explore_passes(&it);
  it = scene("issue and commit: one user twice", 1, 5, 5, 0);
  it.preemptions = 2;
  explore_passes(&it);
}

int main(void) {
  with_log();
  without_log();
  with_commit_thread();

  kind = DECIDING;
  struct explore_scenario it = scene("issue", 1, 5, 5, 0);
  weak = CLAIMS;
  explore_finds(&it, "claims relaxed");
  it = scene("issue", 1, 5, 6, 0);
  weak = WORD_AND_TAIL;
  explore_finds(&it, "word and tail relaxed");
  kind = UNLOGGED;
  it = scene("issue without a log", 2, 5, 5, 0);
  weak = CLAIMS;
  explore_finds(&it, "claims relaxed");
  kind = COMMITTING;
  it = scene("issue and commit", 1, 5, 0, 0);
  weak = IDLE;
  explore_finds(&it, "idle looked at with acquire only");
  return 0;
}
