/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what an opening does when the system refuses one of the threads it asks for: without one that would only have
 * helped to recover it goes on alone and finds the same; without one of the engine's own it answers COUPON_E_THREAD,
 * and leaves no thread, memory, descriptor or lock behind, and a directory in which everything is as it was.
 *
 * How: a directory of many segments, with a campaign large enough for two threads to share its claims, is opened again
 * and again, and each time the next start of a thread is refused, until there is none any more; to write, to read, and
 * in memory.
 */
#include "support/engine_help.h"
#include "support/race_help.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checksum.h"

#define CAMPAIGN 1
#define USERS UINT64_C(350000) /* of which two threads share the claims */
#define BATCH 64
#define STARTS_MAX 16

/* --- threads that are refused -------------------------------------------------------------------- */

static struct {
  uint64_t starts, refused_start; /* of this opening; which one is refused, 0: none */
  const char *names[STARTS_MAX];  /* [start - 1] */
  _Atomic uint64_t running;
} threads;

struct start {
  void *(*run)(void *argument);
  void *argument;
};

static void *run_counted(void *context) {
  const struct start start = *(struct start *)context;
  free(context);
  void *result = start.run(start.argument);
  atomic_fetch_sub(&threads.running, 1);
  return result;
}

static int start_unless_refused(void *context, pthread_t *thread, const char *name, void *(*run)(void *),
                                void *argument) {
  RACE_CHECK(threads.starts < STARTS_MAX, "more threads than there is room for");
  threads.names[threads.starts] = name;
  if (++threads.starts == threads.refused_start) return -EAGAIN;
  struct start *start = malloc(sizeof *start);
  RACE_CHECK(start != NULL, "not enough memory");
  *start = (struct start){run, argument};
  atomic_fetch_add(&threads.running, 1);
  return cpn_env_system.start_thread(context, thread, name, run_counted, start);
}

/* Those that help a recovery, which the opening can do without. */
static bool helps(const char *name) {
  return strcmp(name, "coupon-follow") == 0 || strcmp(name, "coupon-restore") == 0;
}

/* --- engines ------------------------------------------------------------------------------------- */

static _Atomic uint64_t allocated;

static void *count_alloc(void *context, size_t size, size_t alignment) {
  (void)context;
  void *memory = aligned_alloc(alignment, cpn_round_up(size, alignment));
  RACE_CHECK(memory != NULL, "not enough memory");
  atomic_fetch_add(&allocated, size);
  return memset(memory, 0, size);
}

static void count_free(void *context, void *pointer, size_t size) {
  (void)context;
  atomic_fetch_sub(&allocated, size);
  free(pointer);
}

enum way { TO_WRITE, TO_READ, IN_MEMORY };
#define WAYS 3
static const char *const way_names[WAYS] = {"to write", "to read", "in memory"};

static coupon_status open_without(const char *path, enum way way, uint64_t refused, coupon_engine **engine,
                                  struct coupon_report *report) {
  struct coupon_options options = help_options(way == IN_MEMORY ? COUPON_NONE : COUPON_WRITTEN);
  struct cpn_env env = cpn_env_system;
  env.start_thread = start_unless_refused;
  options.read_only = way == TO_READ;
  options.segment_size_bytes = UINT64_C(1) << 20;
  options.log_buffer_bytes = UINT64_C(1) << 20;
  options.allocator.alloc = count_alloc;
  options.allocator.free = count_free;
  threads.starts = 0;
  threads.refused_start = refused;
  *engine = NULL;
  *report = (struct coupon_report)COUPON_REPORT_INIT;
  return cpn_engine_open(&env, way == IN_MEMORY ? NULL : path, &options, engine, report);
}

static uint64_t count_descriptors(void) {
  uint64_t count = 0;
  for (int file = 0; file < 256; file++) count += dup2(file, file) == file;
  return count;
}

static void issue_all(coupon_engine *engine) {
  struct coupon_request requests[BATCH];
  struct coupon_ticket tickets[BATCH];
  for (uint64_t user = 0; user < USERS; user += BATCH) {
    const size_t count = (size_t)cpn_min_u64(BATCH, USERS - user);
    for (size_t i = 0; i < count; i++) requests[i] = (struct coupon_request){.campaign = CAMPAIGN, .user = user + i};
    RACE_CHECK(coupon_try_issue_batch(engine, requests, count, tickets, sizeof tickets[0]) == COUPON_OK, "issuing");
    for (size_t i = 0; i < count; i++) {
      coupon_status status = tickets[i].answer;
      if (status == COUPON_E_BUSY) status = coupon_issue(engine, CAMPAIGN, user + i, COUPON_FOREVER, &tickets[i]);
      RACE_CHECK(status == COUPON_ISSUED, "%s", coupon_status_name(status));
    }
  }
}

static void find(coupon_engine *engine, const struct coupon_ticket *listed) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t count = 0;
  coupon_status status = coupon_lookup(engine, CAMPAIGN, listed->user, &ticket, &count);
  RACE_CHECK(status == COUPON_OK && ticket.number == listed->number && count == 1, "user %" PRIu64, listed->user);
}

/* Of all tickets; one user in seven is looked up, too. */
static uint64_t digest_of(coupon_engine *engine) {
  static struct coupon_ticket page[4096];
  uint64_t sum = 0, number = 1;
  for (size_t count = 0;; number += count) {
    coupon_status status = coupon_tickets(engine, CAMPAIGN, number, page, sizeof page[0], 4096, &count);
    RACE_CHECK(status == COUPON_OK, "%s", coupon_status_name(status));
    if (count == 0) break;
    for (size_t i = 0; i < count; i++) {
      const uint64_t words[] = {sum, page[i].number, page[i].user, page[i].lsn, page[i].time_ns};
      sum = cpn_checksum(words, sizeof words);
      if ((number + i) % 7 == 0) find(engine, &page[i]);
    }
  }
  RACE_CHECK(number == USERS + 1, "%" PRIu64 " tickets", number - 1);
  return sum;
}

static void close_all(coupon_engine *engine) {
  RACE_CHECK(coupon_close(engine) == COUPON_OK && coupon_destroy(engine) == COUPON_OK, "closing");
}

/* --- the scene ----------------------------------------------------------------------------------- */

static void nothing_is_left(uint64_t descriptors, const char *name) {
  RACE_CHECK(atomic_load(&threads.running) == 0, "without %s a thread is left", name);
  RACE_CHECK(atomic_load(&allocated) == 0, "without %s %" PRIu64 " bytes are left", name, atomic_load(&allocated));
  RACE_CHECK(count_descriptors() == descriptors, "without %s a descriptor is left", name);
}

/* One start after the other is refused. Returns how many there are. */
static uint64_t refuse_each(const char *path, enum way way, uint64_t digest) {
  const uint64_t descriptors = count_descriptors();
  uint64_t refused = 1;
  for (;; refused++) {
    coupon_engine *engine;
    struct coupon_report report;
    coupon_status status = open_without(path, way, refused, &engine, &report);
    const bool all_started = threads.starts < refused;
    const char *name = all_started ? "nobody" : threads.names[refused - 1];
    RACE_CHECK(report.cut_bytes == 0, "without %s the opening before has left a tail", name);
    if (!all_started && !helps(name)) {
      RACE_CHECK(status == COUPON_E_THREAD && engine == NULL, "without %s: %s", name, coupon_status_name(status));
      RACE_CHECK(report.status == COUPON_E_THREAD && report.os_error == EAGAIN, "what the report says of %s", name);
      RACE_CHECK(threads.starts == refused, "without %s others are started", name);
    } else {
      RACE_CHECK(status == COUPON_OK, "without %s: %s, %s", name, coupon_status_name(status), report.message);
      RACE_CHECK(way == IN_MEMORY || digest_of(engine) == digest, "without %s other tickets come back", name);
      close_all(engine);
    }
    nothing_is_left(descriptors, name);
    printf("%s %s%s\n", way_names[way], all_started ? "all are started" : "without ", all_started ? "" : name);
    if (all_started) return refused - 1;
  }
}

int main(int argc, char **argv) {
  race_begin("refused_threads", argc, argv);
  char temp[HELP_PATH_MAX], path[HELP_PATH_MAX];
  coupon_engine *engine;
  struct coupon_report report;
  help_temp_make(temp);
  (void)help_join(path, temp, "data");
  RACE_CHECK(open_without(path, TO_WRITE, 0, &engine, &report) == COUPON_OK, "%s", report.message);
  RACE_CHECK(threads.starts == 4, "an engine has four threads, and %" PRIu64 " were started", threads.starts);
  help_create(engine, CAMPAIGN, USERS);
  issue_all(engine);
  race_settle(engine);
  const uint64_t digest = digest_of(engine);
  close_all(engine);
  const uint64_t helpers = cpn_env_processors() > 1 ? 3 : 0; /* one follows, one makes claims, twice */
  for (uint64_t round = race_rounds(2, 1); round > 0; round--) {
    RACE_CHECK(refuse_each(path, TO_READ, digest) == helpers, "not the threads that help to recover");
    RACE_CHECK(refuse_each(path, TO_WRITE, digest) == helpers + 4, "not those, and the four of an engine");
  }
  RACE_CHECK(refuse_each(path, IN_MEMORY, 0) == 1, "not the keeper alone");
  help_temp_remove(temp);
  return 0;
}
