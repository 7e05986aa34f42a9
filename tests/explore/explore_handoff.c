/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows of lib/log/buffer.c and the commit thread of lib/engine/wait.c: no record is lost, torn or out of order; the
 * ring's places are used again only when they are zeroed; and who publishes, who waits and who goes to sleep never miss
 * each other, whoever of them steps.
 *
 * How: producers reserve, fill and publish as lib/engine does, and call cpn_wait_published(); the last thread is the
 * commit thread itself, or drains by hand. Waiters publish as coupon_issue() does, without telling, and wait for
 * finality. Sleeping is the explorer's, so a lost wake-up is a record that nobody drains, or a waiter who sleeps, when
 * everybody rests.
 */
#include "explore.h"

#include <string.h>

#include "base/bytes.h"
#include "engine/engine.h"

/* Smaller than cpn_buffer_init() would have it: two records fit, so that places are soon used again. */
#define RING_BYTES 64
#define RECORDS_MAX 8

static struct coupon_engine engine;
static unsigned char staging[RING_BYTES + CPN_FRAME_HEADER_SIZE];
static int threads, producers, waiters; /* the first of the producers wait */
static uint32_t drains;                 /* by hand; 0: the commit thread */
static int records;                     /* of each producer */

static struct { uint64_t lsn, time_ns, user; } drained[RECORDS_MAX];
static int drained_count;

enum weak { NOTHING, FILL, HEAD, IDLE, READY, DRAINED, STEPPING };
static enum weak weak;

/* --- what wait.c wants of other rooms ------------------------------------------------------------ */

void cpn_engine_log(const coupon_engine *which, int32_t level, const char *format, ...) {
  (void)which, (void)level;
  explore_fail("the engine complains: %s", format);
}

static uint64_t wall(void *context) {
  (void)context;
  return 1000;
}

static int sink(void *context, const struct cpn_batch *batch) {
  (void)context, (void)batch;
  return 0;
}

/* In the drainer. */
static void each(void *context, uint64_t lsn, const unsigned char *bytes, size_t size) {
  (void)context;
  EXPLORE_CHECK(size % (CPN_WORDS_ISSUE * 8) == 0, "a run of %zu bytes", size);
  for (size_t at = 0; at < size; at += CPN_WORDS_ISSUE * 8) {
    EXPLORE_CHECK(cpn_record_words(cpn_get_u64(bytes + at)) == CPN_WORDS_ISSUE, "a place of another size");
    EXPLORE_CHECK(drained_count < RECORDS_MAX, "more drained than published");
    drained[drained_count].lsn = lsn + at + CPN_WORDS_ISSUE * UINT64_C(8);
    drained[drained_count].user = cpn_get_u64(bytes + at + 8);
    drained[drained_count++].time_ns = cpn_get_u64(bytes + at + 16);
  }
}

/* --- threads ------------------------------------------------------------------------------------- */

static uint64_t published[EXPLORE_THREADS_MAX][RECORDS_MAX]; /* a producer's LSNs; 0: refused */

static void produce(int thread, int record) {
  uint64_t time_ns;
  uint64_t at = cpn_buffer_reserve(&engine.buffer, CPN_WORDS_ISSUE, &time_ns);
  if (at == CPN_LSN_NONE) return;
  published[thread][record] = at + CPN_WORDS_ISSUE * UINT64_C(8);
  cpn_buffer_fill(&engine.buffer, at, 1, 100 + (uint64_t)thread);
  cpn_buffer_fill(&engine.buffer, at, 2, time_ns + (uint64_t)record);
  cpn_buffer_publish(&engine.buffer, at, cpn_record_head(CPN_RECORD_ISSUE, CPN_WORDS_ISSUE, 0));
  if (thread >= waiters) {
    cpn_wait_published(&engine);
    return;
  }
  coupon_status status = cpn_wait_final(&engine, published[thread][record], COUPON_FOREVER);
  EXPLORE_CHECK(status == COUPON_OK, "waiting ends with %d", (int)status);
  EXPLORE_CHECK(cpn_commit_durable(&engine.commit) >= published[thread][record], "waited, and not final");
}

static void run(int thread) {
  if (thread < producers) {
    for (int i = 0; i < records; i++) produce(thread, i);
  } else if (drains == 0) {
    (void)cpn_wait_commit_thread(&engine);
  } else {
    for (uint32_t i = 0; i < drains; i++) (void)cpn_buffer_drain(&engine.buffer, staging, RING_BYTES, each, NULL);
  }
}

/* --- before and after ---------------------------------------------------------------------------- */

static void weaken(const volatile void *from, size_t size, int kinds, memory_order to, enum weak which) {
  if (weak == which) explore_weaken(from, size, kinds, to);
}

static void setup(void) {
  static _Alignas(64) uint64_t ring[RING_BYTES / 8];
  static _Atomic uint32_t gate;
  memset(&engine, 0, sizeof engine);
  atomic_init(&gate, CPN_GATE_OPEN);
  engine.gate = &gate;
  memset(ring, 0, sizeof ring);
  memset(published, 0, sizeof published);
  drained_count = 0;
  cpn_clock_init(&engine.clock, wall, NULL);
  cpn_clock_raise(&engine.clock, 1000);
  engine.buffer.words = (_Atomic uint64_t *)ring; /* as cpn_buffer_init() does, without asking the system each time */
  engine.buffer.mask = RING_BYTES / 8 - 1;
  engine.buffer.capacity = RING_BYTES;
  engine.buffer.clock = &engine.clock;
  engine.commit.buffer = &engine.buffer;
  engine.commit.sink = (struct cpn_sink){NULL, sink};
  engine.commit.each = each;
  engine.commit.payload_max = RING_BYTES;
  engine.commit.staging = staging;
  engine.has_log = engine.has_thread = true;
  engine.log.limit = 1 << 20;
  if (drains != 0) engine.has_thread = false;
  atomic_init(&engine.eventfd, -1);
  explore_name(ring, sizeof ring, "words");
  explore_name(&engine.buffer.tail, 8, "tail");
  explore_name(&engine.buffer.drained, 8, "drained");
  explore_name(&engine.idle, 4, "idle");
  explore_name(&engine.work, sizeof engine.work, "work");
  explore_name(&engine.stepping, 4, "stepping");
  weaken(ring, sizeof ring, EXPLORE_STORE, memory_order_relaxed, FILL);
  weaken(ring, sizeof ring, EXPLORE_STORE, memory_order_release, HEAD);
  weaken(ring, sizeof ring, EXPLORE_LOAD, memory_order_acquire, READY);
  weaken(&engine.idle, sizeof engine.idle, EXPLORE_LOAD, memory_order_acquire, IDLE);
  weaken(&engine.stepping, sizeof engine.stepping, EXPLORE_STORE, memory_order_release, STEPPING);
  weaken(&engine.buffer.drained, 8, EXPLORE_STORE | EXPLORE_LOAD, memory_order_relaxed, DRAINED);
}

static void judge(void) {
  if (drains != 0) (void)cpn_buffer_drain(&engine.buffer, staging, RING_BYTES, each, NULL);
  EXPLORE_CHECK(!cpn_buffer_ready(&engine.buffer), "everybody rests, and a record is published: a wake-up was lost");
  uint64_t last = 0;
  int count = 0;
  for (int i = 0; i < drained_count; i++) {
    EXPLORE_CHECK(drained[i].lsn > last, "not in order");
    last = drained[i].lsn;
    EXPLORE_CHECK(drained[i].user - 100 < (uint64_t)producers, "a record without its user");
    EXPLORE_CHECK(drained[i].time_ns - 1000 < (uint64_t)records, "a record without its time");
    EXPLORE_CHECK(published[drained[i].user - 100][drained[i].time_ns - 1000] == last, "a record in another's place");
  }
  for (int t = 0; t < producers; t++)
    for (int i = 0; i < records; i++) count += published[t][i] != 0;
  EXPLORE_CHECK(drained_count == count, "a record is lost");
  for (uint64_t i = 0; i <= engine.buffer.mask; i++)
    EXPLORE_CHECK(atomic_load_explicit(&engine.buffer.words[i], memory_order_relaxed) == 0, "a place is not zeroed");
  if (drains == 0) EXPLORE_CHECK(cpn_commit_durable(&engine.commit) == cpn_buffer_tail(&engine.buffer), "not durable");
}

static struct explore_scenario scene(const char *name, int producer_count, int record_count, uint32_t by_hand) {
  producers = producer_count;
  records = record_count;
  threads = producers + 1;
  drains = by_hand;
  return (struct explore_scenario){
      .name = name, .threads = threads, .setup = setup, .run = run, .judge = judge, .may_sleep = 1U << producers};
}

static void passes(const char *name, int producer_count, int waiter_count, int record_count, uint32_t by_hand) {
  struct explore_scenario scenario = scene(name, producer_count, record_count, by_hand);
  waiters = waiter_count;
  weak = NOTHING;
  explore_passes(&scenario);
}

static void finds(enum weak which, const char *what, int record_count, uint32_t by_hand) {
  struct explore_scenario scenario =
      scene("hand-off", by_hand == 0 && which != STEPPING ? 1 : 2, record_count, by_hand);
  waiters = which == STEPPING ? 2 : 0;
  weak = which;
  explore_finds(&scenario, what);
}

int main(void) {
  passes("hand-off: a producer, the commit thread", 1, 0, 1, 0);
  passes("hand-off: a producer of two records, the commit thread", 1, 0, 2, 0);
  passes("hand-off: a producer of four records, three drainings", 1, 0, 4, 3);
  passes("hand-off: two producers, two drainings", 2, 0, 1, 2);
  passes("hand-off: two producers of two records, two drainings", 2, 0, 2, 2);
  passes("hand-off: two producers, the commit thread", 2, 0, 1, 0);
  passes("hand-off: a waiter, the commit thread", 1, 1, 1, 0);
  finds(FILL, "words and head without release", 1, 1);
  finds(HEAD, "head published with release only", 1, 0);
  finds(IDLE, "idle looked at with acquire only", 1, 0);
  finds(READY, "head looked for with acquire only", 1, 0);
  finds(STEPPING, "the step given back with release only", 1, 0);
  finds(DRAINED, "room given and taken without release and acquire", 2, 2);
  return 0;
}
