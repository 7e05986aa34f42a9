/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

#include <string.h>

#include "base/bytes.h"

#define RING_BYTES 256
#define RECORDS_MAX 10
#define CLOSES_AT_NS 2000

struct scene scene;
struct coupon_engine scene_engine;
struct coupon_ticket scene_tickets[SCENE_REQUESTS_MAX];

static unsigned char staging[RING_BYTES + CPN_FRAME_HEADER_SIZE];

/* What the log says. */
static struct { uint64_t type, lsn, user, time_ns; } records[RECORDS_MAX];
static int record_count;

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
  return scene.closing && explore_thread() == scene.askers - 1 ? CLOSES_AT_NS : 1000;
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
  scene_engine.buffer.words = (_Atomic uint64_t *)ring; /* as cpn_buffer_init() does, but smaller */
  scene_engine.buffer.mask = RING_BYTES / 8 - 1;
  scene_engine.buffer.capacity = RING_BYTES;
  scene_engine.buffer.clock = &scene_engine.clock;
  atomic_init(&scene_engine.buffer.tail, 8);
  atomic_init(&scene_engine.buffer.drained, 8);
  scene_engine.commit.buffer = &scene_engine.buffer;
  scene_engine.commit.sink = (struct cpn_sink){NULL, sink};
  scene_engine.commit.each = apply;
  scene_engine.commit.each_context = &scene_engine;
  scene_engine.commit.payload_max = RING_BYTES;
  scene_engine.commit.staging = staging;
  atomic_init(&scene_engine.commit.durable, 8);
  explore_name(ring, sizeof ring, "words");
  explore_name(&scene_engine.buffer.tail, 8, "tail");
  explore_name(&scene_engine.buffer.drained, 8, "drained");
}

/* As if requests of others had been refused. */
static void crowd(struct cpn_claim_set *claims) {
  struct cpn_claim_level *level = cpn_claim_level_at(claims, 0);
  for (uint64_t line = 0; line < claims->first_lines; line++)
    for (uint32_t i = 0; i < scene.crowded; i++)
      atomic_init(&level->words[line * CPN_CLAIM_LINE_WORDS + i], cpn_claim_free(i));
}

static void setup(void) {
  memset(&scene_engine, 0, sizeof scene_engine);
  memset(scene_tickets, 0, sizeof scene_tickets);
  record_count = 0;
  struct coupon_allocator allocator = COUPON_ALLOCATOR_INIT;
  allocator.alloc = alloc;
  allocator.free = free_it;
  cpn_memory_init(&scene_engine.memory, &allocator, 0);
  cpn_clock_init(&scene_engine.clock, wall, NULL);
  cpn_clock_raise(&scene_engine.clock, 1000);
  static _Atomic uint32_t gate;
  atomic_init(&gate, CPN_GATE_OPEN);
  scene_engine.gate = &gate;
  scene_engine.has_log = scene.world != SCENE_UNLOGGED;
  scene_engine.has_thread = scene.world == SCENE_COMMITTING;
  atomic_init(&scene_engine.eventfd, -1);
  buffer_setup();
  struct cpn_campaign_spec spec = {.id = SCENE_CAMPAIGN, .stock = scene.units, .user_limit = 1, .name = ""};
  if (scene.closing) spec.closes_at_ns = CLOSES_AT_NS;
  bool room = cpn_directory_init(&scene_engine.campaigns, &scene_engine.memory, (const uint64_t[]){1, 3});
  EXPLORE_CHECK(room && cpn_directory_reserve(&scene_engine.campaigns), "no memory");
  struct cpn_campaign *campaign = cpn_campaign_create(&scene_engine.memory, &spec, 0, scene.growing ? 0 : scene.units);
  cpn_directory_add(&scene_engine.campaigns, campaign);
  if (scene.crowded != 0) crowd(&campaign->claims);
  explore_name(&campaign->stock.word, 8, "word");
  explore_name(&campaign->stock.basis, 8, "basis");
  explore_name(&campaign->claims, sizeof campaign->claims, "claims");
  explore_name(&campaign->tickets, sizeof campaign->tickets, "tickets");
  explore_name(&scene_engine.idle, 4, "idle");
  explore_name(&scene_engine.commit.durable, 8, "durable");
  if (scene.weak == SCENE_CLAIMS)
    explore_weaken_allocated(EXPLORE_LOAD | EXPLORE_STORE | EXPLORE_RMW, memory_order_relaxed);
  if (scene.weak == SCENE_WORD_AND_TAIL) {
    explore_weaken(&campaign->stock.word, 8, EXPLORE_LOAD | EXPLORE_RMW, memory_order_relaxed);
    explore_weaken(&scene_engine.buffer.tail, 8, EXPLORE_LOAD | EXPLORE_RMW, memory_order_relaxed);
  }
  if (scene.weak == SCENE_IDLE) explore_weaken(&scene_engine.idle, 4, EXPLORE_LOAD, memory_order_acquire);
}

/* --- after --------------------------------------------------------------------------------------- */

static int requests(void) { return scene.first[scene.askers]; }

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

static void judge_unlogged_ticket(const struct coupon_ticket *ticket) {
  for (int i = 0; i < requests(); i++) {
    const struct coupon_ticket *issue = &scene_tickets[i];
    if (issue->answer != COUPON_ISSUED || issue->user != ticket->user) continue;
    EXPLORE_CHECK(issue->number == ticket->number && issue->time_ns == ticket->time_ns, "another's ticket");
    EXPLORE_CHECK(ticket->number >= 1 && ticket->number <= scene.units, "a number beyond the stock");
    return;
  }
  explore_fail("a ticket that was never issued");
}

static void judge_ticket(const struct coupon_ticket *ticket) {
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

static int issues_to(uint64_t user) {
  int count = 0;
  for (int i = 0; i < requests(); i++) count += scene.users[i] == user && scene_tickets[i].answer == COUPON_ISSUED;
  return count;
}

static void judge_answer(uint64_t user, const struct coupon_ticket *ticket) {
  switch (ticket->answer) {
    case COUPON_ISSUED:
    case COUPON_ALREADY_ISSUED:
      EXPLORE_CHECK(ticket->user == user, "somebody else's answer");
      EXPLORE_CHECK(issues_to(user) == 1, "a user who is not told of one issue");
      if (scene.world == SCENE_UNLOGGED)
        judge_unlogged_ticket(ticket);
      else
        judge_ticket(ticket);
      return;
    case COUPON_SOLD_OUT:
      EXPLORE_CHECK(issued(ticket->lsn, 0) == scene.units, "sold out, but a unit is free at the basis");
      EXPLORE_CHECK(issued(ticket->lsn, user) == 0, "sold out to a user who holds a unit");
      EXPLORE_CHECK(!closed(ticket->lsn), "sold out, but it is over");
      return;
    case COUPON_ENDED:
      EXPLORE_CHECK(scene.closing && closed(ticket->lsn), "ended, but not closed at the basis");
      EXPLORE_CHECK(issued(ticket->lsn, user) == 0, "ended to a user who holds a unit");
      return;
    default:
      explore_fail("an answer of %d", (int)ticket->answer);
  }
}

/* A thread's requests for one user are decided in their order: no unit comes back, so the first that could be issued
 * is. */
static void judge_order(int thread) {
  for (int i = scene.first[thread]; i < scene.first[thread + 1]; i++)
    for (int j = scene.first[thread]; j < i; j++)
      EXPLORE_CHECK(scene.users[i] != scene.users[j] || scene_tickets[i].answer != COUPON_ISSUED,
                    "a user's second request overtakes the first");
}

static void judge_log(void) {
  if (scene.world == SCENE_COMMITTING) {
    EXPLORE_CHECK(!cpn_buffer_ready(&scene_engine.buffer), "a record is published, and everybody rests");
    EXPLORE_CHECK(cpn_commit_durable(&scene_engine.commit) == cpn_buffer_tail(&scene_engine.buffer),
                  "not all is final");
  } else {
    (void)cpn_buffer_drain(&scene_engine.buffer, staging, RING_BYTES, note, NULL);
  }
  EXPLORE_CHECK(cpn_buffer_drained(&scene_engine.buffer) == cpn_buffer_tail(&scene_engine.buffer),
                "a hole is left in the log");
  bool over = false;
  for (int i = 0; i < record_count; i++) {
    over = over || records[i].type == CPN_RECORD_CLOSE;
    EXPLORE_CHECK(!over || records[i].type != CPN_RECORD_ISSUE, "a ticket behind CLOSE");
  }
}

/* Without a log the answers themselves are the record: numbers, and whose they are. */
static void make_up_log(void) {
  for (int i = 0; i < requests(); i++) {
    if (scene_tickets[i].answer != COUPON_ISSUED) continue;
    note(NULL, 0, (const unsigned char[24]){CPN_RECORD_ISSUE, 0, 3}, 24);
    records[record_count - 1].lsn = 0;
    records[record_count - 1].user = scene.users[i];
    records[record_count - 1].time_ns = scene_tickets[i].time_ns;
    for (int j = 0; j < i; j++)
      EXPLORE_CHECK(scene_tickets[j].answer != COUPON_ISSUED || scene_tickets[j].number != scene_tickets[i].number,
                    "one number twice");
  }
}

static void judge(void) {
  if (scene.world == SCENE_UNLOGGED)
    make_up_log();
  else
    judge_log();
  EXPLORE_CHECK(issued(UINT64_MAX, 0) <= scene.units, "more tickets than stock");
  for (int i = 0; i < requests(); i++) {
    EXPLORE_CHECK(issued(UINT64_MAX, scene.users[i]) <= 1, "two records for one user");
    judge_answer(scene.users[i], &scene_tickets[i]);
  }
  for (int t = 0; t < scene.askers; t++) judge_order(t);
}

/* --- scenes -------------------------------------------------------------------------------------- */

static void (*ask_in)(int thread);

static void run(int thread) {
  if (thread < scene.askers)
    ask_in(thread);
  else
    (void)cpn_wait_commit_thread(&scene_engine);
}

struct explore_scenario scene_of(const char *name, enum scene_world world, uint64_t units, void (*ask)(int thread),
                                 const char *first, const char *second, const char *third) {
  const char *const lists[] = {first, second, third};
  scene = (struct scene){.world = world, .units = units};
  for (int count = 0; scene.askers < 3 && lists[scene.askers] != NULL; scene.askers++) {
    for (const char *user = lists[scene.askers]; *user != 0; user++) scene.users[count++] = (uint64_t)(*user - '0');
    scene.first[scene.askers + 1] = count;
  }
  ask_in = ask;
  const bool committing = world == SCENE_COMMITTING;
  return (struct explore_scenario){.name = name,
                                   .threads = scene.askers + (committing ? 1 : 0),
                                   .setup = setup,
                                   .run = run,
                                   .judge = judge,
                                   .may_sleep = committing ? 1U << scene.askers : 0};
}
