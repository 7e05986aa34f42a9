/* SPDX-License-Identifier: Apache-2.0 */
#include "support/race_help.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#if defined(CPN_TSAN)
#define DEFAULT_SCALE 0.05
#elif defined(__SANITIZE_ADDRESS__)
#define DEFAULT_SCALE 0.2
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define DEFAULT_SCALE 0.2
#endif
#endif
#ifndef DEFAULT_SCALE
#define DEFAULT_SCALE 1.0
#endif

static struct {
  const char *name;
  uint64_t seed;
  double scale;
} program = {"race", 1, DEFAULT_SCALE};

/* --- the program --------------------------------------------------------------------------------- */

static void at_point(enum cpn_point point);

void race_begin(const char *name, int argc, char **argv) {
  const char *scale = argc > 1 ? argv[1] : getenv("COUPON_TEST_SCALE");
  const char *seed = argc > 2 ? argv[2] : getenv("COUPON_TEST_SEED");
  program.name = name;
  if (scale != NULL && scale[0] != 0) program.scale = strtod(scale, NULL);
  if (seed != NULL && seed[0] != 0)
    program.seed = strtoull(seed, NULL, 0);
  else
    RACE_CHECK(getrandom(&program.seed, sizeof program.seed, 0) == sizeof program.seed, "no seed to be had");
  RACE_CHECK(program.scale > 0, "a scale is a number above 0, such as 0.1");
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  printf("%s: seed %" PRIu64 ", scale %g\n", name, program.seed, program.scale);
  cpn_point_hook = at_point;
}

uint64_t race_rounds(uint64_t full, uint64_t least) {
  return cpn_max_u64((uint64_t)((double)full * program.scale), least);
}

void race_failed(const char *file, int line, const char *condition, const char *format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  const char *base = strrchr(file, '/');
  printf("%s: FAILED at %s:%d: %s (%s); seed %" PRIu64 ", scale %g\n", program.name, base == NULL ? file : base + 1,
         line, text, condition, program.seed, program.scale);
  (void)fflush(stdout);
  _Exit(1);
}

/* --- chance -------------------------------------------------------------------------------------- */

/* splitmix64: any state will do, and neighbouring ones have nothing in common. */
uint64_t race_next(struct race_random *random) {
  uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

struct race_random race_stream(uint64_t stream) {
  struct race_random random = {program.seed + stream};
  random.state = race_next(&random);
  return random;
}

uint64_t race_below(struct race_random *random, uint64_t limit) { return race_next(random) % limit; }

/* --- threads ------------------------------------------------------------------------------------- */

static void *run_body(void *argument) {
  struct race_thread *thread = argument;
  thread->body(thread->context, thread->index);
  return NULL;
}

void race_start(struct race_thread *thread, race_body *body, void *context, uint32_t index) {
  *thread = (struct race_thread){.body = body, .context = context, .index = index};
  RACE_CHECK(pthread_create(&thread->thread, NULL, run_body, thread) == 0, "no thread to be had");
}

void race_join(struct race_thread *thread) {
  RACE_CHECK(pthread_join(thread->thread, NULL) == 0, "a thread cannot be joined");
}

void race_run(uint32_t count, race_body *body, void *context) {
  struct race_thread threads[8];
  RACE_CHECK(count <= 8, "more threads than there is room for");
  for (uint32_t i = 0; i < count; i++) race_start(&threads[i], body, context, i);
  for (uint32_t i = 0; i < count; i++) race_join(&threads[i]);
}

void race_dally(uint64_t pauses) {
  static _Atomic uint64_t nothing;
  for (uint64_t i = 0; i < pauses; i++) (void)atomic_load_explicit(&nothing, memory_order_relaxed);
}

void race_turn(uint32_t *turns) {
  if (++*turns < 300)
    race_dally(4);
  else
    (void)sched_yield();
}

void race_barrier_init(struct race_barrier *barrier, uint32_t threads) {
  barrier->threads = threads;
  atomic_init(&barrier->arrived, 0);
}

void race_meet(struct race_barrier *barrier, uint64_t *meetings) {
  const uint64_t all = ++*meetings * barrier->threads;
  uint32_t turns = 0;
  atomic_fetch_add(&barrier->arrived, 1);
  while (atomic_load(&barrier->arrived) < all) race_turn(&turns);
}

/* --- marked points ------------------------------------------------------------------------------- */

static _Thread_local struct {
  struct race_random random;
  uint32_t chance;
  struct race_hold *hold;
  enum cpn_point counted;
  _Atomic uint64_t *passes;
} mine;

static _Atomic(struct race_hold *) hold_of_anyone;

static void stop_at(struct race_hold *hold) {
  RACE_CHECK(sem_post(&hold->reached) == 0, "sem_post");
  while (sem_wait(&hold->released) != 0) RACE_CHECK(errno == EINTR, "sem_wait");
}

/* From a few nanoseconds to some microseconds, and sometimes the rest of the time slice. */
static void dawdle_once(void) {
  uint64_t chance = race_next(&mine.random);
  if ((chance & 255) >= mine.chance) return;
  if ((chance >> 8 & 15) == 0)
    (void)sched_yield();
  else
    race_dally(race_next(&mine.random) & ((UINT64_C(1) << (4 + (chance >> 12 & 7))) - 1));
}

static void at_point(enum cpn_point point) {
  if (mine.passes != NULL && mine.counted == point) atomic_fetch_add(mine.passes, 1);
  if (mine.chance != 0) dawdle_once();
  if (mine.hold != NULL && mine.hold->point == point) {
    struct race_hold *hold = mine.hold;
    mine.hold = NULL;
    stop_at(hold);
  }
  struct race_hold *hold = atomic_load(&hold_of_anyone);
  if (hold != NULL && hold->point == point && atomic_compare_exchange_strong(&hold_of_anyone, &hold, NULL))
    stop_at(hold);
}

void race_dawdle(struct race_random random, uint32_t chance) {
  mine.random = random;
  mine.chance = chance;
}

void race_hold_init(struct race_hold *hold, enum cpn_point point) {
  hold->point = point;
  RACE_CHECK(sem_init(&hold->reached, 0, 0) == 0 && sem_init(&hold->released, 0, 0) == 0, "sem_init");
}

void race_hold_fini(struct race_hold *hold) {
  (void)sem_destroy(&hold->reached);
  (void)sem_destroy(&hold->released);
}

void race_hold_me(struct race_hold *hold) { mine.hold = hold; }
void race_hold_anyone(struct race_hold *hold) { atomic_store(&hold_of_anyone, hold); }

void race_hold_reached(struct race_hold *hold) {
  while (sem_wait(&hold->reached) != 0) RACE_CHECK(errno == EINTR, "sem_wait");
}

void race_hold_release(struct race_hold *hold) { RACE_CHECK(sem_post(&hold->released) == 0, "sem_post"); }

void race_count_passes(enum cpn_point point, _Atomic uint64_t *passes) {
  mine.counted = point;
  mine.passes = passes;
}
