/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the race tests share: a seed that is printed, threads that start a round together, threads that dawdle or
 * are held at marked points, requests written down with their place in real time, and the duel: rounds in which
 * two threads meet at a campaign's last unit, with the judges of what they were told.
 *
 * A failed check ends the program with status 1. Nothing here sleeps to wait for somebody, or looks at a time.
 *
 * Every program may be called with a scale (0.1: a tenth of the rounds) and a seed, or be given them in
 * COUPON_TEST_SCALE and COUPON_TEST_SEED. Under a sanitizer the rounds are fewer by themselves.
 */
#ifndef TESTS_SUPPORT_RACE_HELP_H
#define TESTS_SUPPORT_RACE_HELP_H

#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/points.h"
#include "engine/engine.h"

/* --- the program --------------------------------------------------------------------------------- */

/* Reads the arguments, prints name, seed and scale, and sets the hook at marked points. First of all. */
void race_begin(const char *name, int argc, char **argv);

/* `full` rounds, scaled; at least `least`. */
uint64_t race_rounds(uint64_t full, uint64_t least);

#define RACE_CHECK(condition, ...)                                              \
  do {                                                                          \
    if (!(condition)) race_failed(__FILE__, __LINE__, #condition, __VA_ARGS__); \
  } while (0)
_Noreturn void race_failed(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* --- chance -------------------------------------------------------------------------------------- */

struct race_random {
  uint64_t state;
};

/* The same for the same seed and stream. */
struct race_random race_stream(uint64_t stream);
uint64_t race_next(struct race_random *random);
uint64_t race_below(struct race_random *random, uint64_t limit);

/* --- threads ------------------------------------------------------------------------------------- */

typedef void race_body(void *context, uint32_t index);

struct race_thread {
  pthread_t thread;
  race_body *body;
  void *context;
  uint32_t index;
};

void race_start(struct race_thread *thread, race_body *body, void *context, uint32_t index);
void race_join(struct race_thread *thread);
/* Runs `count` (at most 8) threads with the indices 0, 1 … to their ends. */
void race_run(uint32_t count, race_body *body, void *context);

/* Where threads wait for each other, again and again. `meetings` is the thread's own count of them, 0 at first. */
struct race_barrier {
  uint32_t threads;
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t arrived;
};

void race_barrier_init(struct race_barrier *barrier, uint32_t threads);
void race_meet(struct race_barrier *barrier, uint64_t *meetings);

/* One turn of a loop that waits for another thread: spins a little, then lets others run. */
void race_turn(uint32_t *turns);
/* Wastes about that many loads' time. */
void race_dally(uint64_t pauses);

/* --- marked points ------------------------------------------------------------------------------- */

/* The calling thread, at marked points, wastes a random time or yields: `chance` times of 256. 0: no more. */
void race_dawdle(struct race_random random, uint32_t chance);

/* A place where one thread is stopped once. */
struct race_hold {
  enum cpn_point point;
  sem_t reached, released;
};

void race_hold_init(struct race_hold *hold, enum cpn_point point);
void race_hold_fini(struct race_hold *hold);
/* The calling thread, or whichever thread comes first, stops when it next passes the point. */
void race_hold_me(struct race_hold *hold);
void race_hold_anyone(struct race_hold *hold);
/* Waits until it has stopped; lets it go on. */
void race_hold_reached(struct race_hold *hold);
void race_hold_release(struct race_hold *hold);

/* Counts how often the calling thread passes `point`; NULL: no more. */
void race_count_passes(enum cpn_point point, _Atomic uint64_t *passes);

/* --- engines ------------------------------------------------------------------------------------- */

#define RACE_PATH_MAX 512

/* A new directory below TMPDIR; and it is gone again, with the files in it. */
void race_directory_create(char path[RACE_PATH_MAX]);
void race_directory_remove(const char *path);

/* Small segments: a segment is filled with zeros when it is made, which is most of what opening costs. */
#define RACE_SEGMENT_SIZE (UINT64_C(128) * 1024)

/* Where an engine lives: nowhere but in memory, so that every answer is final at once (COUPON_NONE); with a log but
 * neither a disk nor a commit thread (support/nowhere.h), where the test's threads step; or on a disk, with the real
 * threads. The first two are the library's two ways of taking a unit. */
enum race_world { RACE_IN_MEMORY, RACE_LOGGED, RACE_ON_DISK };
#define RACE_WORLDS 3

const char *race_world_name(enum race_world world);

/* `durability` counts on a disk, `log_buffer_bytes` where there is a log; on a disk `path` becomes a new directory's.
 * Checks that it works; `clock` may be NULL. */
coupon_engine *race_open_in(enum race_world world, char path[RACE_PATH_MAX], int32_t durability,
                            uint64_t log_buffer_bytes, uint64_t (*clock)(void *context));

/* The second world. */
coupon_engine *race_open_logged(uint64_t log_buffer_bytes, uint64_t (*clock)(void *context));

/* There: commits all that is ready, unless somebody is at it, who will. Elsewhere nothing. Behind every call that may
 * have published; those below do it themselves. */
void race_step(coupon_engine *engine);

/* `path` NULL: in memory only. Checks that it works; `clock` may be NULL. */
coupon_engine *race_open(const char *path, int32_t durability, uint64_t log_buffer_bytes,
                         uint64_t (*clock)(void *context));
coupon_engine *race_open_with(const char *path, const struct coupon_options *options, struct coupon_report *report);
/* Closes and destroys; checks that both work. */
void race_close(coupon_engine *engine);

/* Checks that it is created, without waiting for finality. Windows as in the spec; limit 0 or 1. */
void race_campaign(coupon_engine *engine, uint64_t id, uint64_t stock, uint64_t limit, uint64_t opens_at_ns,
                   uint64_t closes_at_ns);

/* What the campaign, or the engine, says. */
struct coupon_campaign_info race_info_of(coupon_engine *engine, uint64_t campaign);
struct coupon_stats race_stats_of(coupon_engine *engine);
/* Reads up to `capacity` tickets, from number 1; checks that numbers, places and times are in order. */
size_t race_tickets_of(coupon_engine *engine, uint64_t campaign, struct coupon_ticket *tickets, size_t capacity);

/* Waits until everything that is reserved now is final; nobody else is in a call. */
void race_settle(coupon_engine *engine);

/* In an engine that the test's threads step: as if one were stopped inside the commit stage, so that tickets stay
 * without their numbers; and as if it went on. */
void race_commits_stop(coupon_engine *engine);
void race_commits_resume(coupon_engine *engine);

/* --- requests, written down ---------------------------------------------------------------------- */

/* A position in real time: what has a lower stamp came before. */
uint64_t race_stamp(void);

struct race_answer {
  uint64_t begin, end; /* stamps around the call, if they were asked for */
  uint64_t campaign, user, number, lsn, time_ns;
  uint32_t flags;
  coupon_status status;
  bool logged; /* of an engine with a log: else the number stands for the place in it, and all is final at once */
};

typedef coupon_status race_issue_fn(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                    struct coupon_ticket *ticket);

/* One request; the second form takes stamps. */
struct race_answer race_ask(race_issue_fn *issue, coupon_engine *engine, uint64_t campaign, uint64_t user);
struct race_answer race_ask_stamped(race_issue_fn *issue, coupon_engine *engine, uint64_t campaign, uint64_t user);

/* Ways to ask: through the batch call, alone or in company. The second form also asks for a few fixed users in the side
 * campaign, if there is one, and for the user a second time, whose answers it checks. */
race_issue_fn race_issue_batch_of_one, race_issue_batch_of_many;
#define RACE_SIDE_CAMPAIGN UINT64_MAX
#define RACE_NO_CAMPAIGN (UINT64_MAX - 1)

/* Whether the answer is final now; its number, once it is. */
bool race_is_final(coupon_engine *engine, const struct race_answer *answer);
uint64_t race_wait_final(coupon_engine *engine, const struct race_answer *answer);

bool race_same_ticket(const struct race_answer *a, const struct race_answer *b);

/* One request in a thread of its own: coupon_try_issue(), stamped. */
struct race_actor {
  coupon_engine *engine;
  struct race_hold *hold; /* where it stops, or NULL */
  uint64_t campaign, user;
  _Atomic uint64_t looks; /* how often it has read its user's claim */
  _Atomic bool returned;
  struct race_answer answer;
  struct race_thread thread;
};

void race_actor_start(struct race_actor *actor, coupon_engine *engine, uint64_t campaign, uint64_t user,
                      struct race_hold *hold);

/* --- judges: NULL, or what is wrong -------------------------------------------------------------- */

/* Two requests of one user, one unit. */
const char *race_judge_same_user(const struct race_answer *a, const struct race_answer *b);
/* A user who holds a ticket, and a newcomer for the last unit. */
const char *race_judge_holder(const struct race_answer *original, const struct race_answer *holder,
                              const struct race_answer *newcomer);
/* Two newcomers, one unit. */
const char *race_judge_newcomers(const struct race_answer *a, const struct race_answer *b);
/* One unit; `first` and `second` are of one user, and the second came behind the answer to `stranger`. */
const char *race_judge_stranger(const struct race_answer *first, const struct race_answer *stranger,
                                const struct race_answer *second);
/* One unit; `first` and `second` are of one user, and the stranger came behind the answer to `second`. */
const char *race_judge_marked(const struct race_answer *first, const struct race_answer *second,
                              const struct race_answer *stranger);
/* Stamped requests of one campaign with a window, sorted in no way. */
const char *race_judge_window(const struct race_answer *answers, size_t count, const struct coupon_campaign_info *info);

/* --- the duel ------------------------------------------------------------------------------------ */

/* RACE_COLLIDING: as RACE_STRANGER, but of two users whose claims look alike until one looks closely, in a campaign
 * where the first of them was refused before. */
enum race_duel_kind { RACE_SAME_USER, RACE_HOLDER, RACE_NEWCOMERS, RACE_STRANGER, RACE_MARKED, RACE_COLLIDING };

struct race_verdict {
  uint64_t rounds;
  uint64_t findings;      /* rounds in which a judge, or the campaign itself afterwards, said that something is wrong */
  uint64_t first_finding; /* the first such round, counted from 1 */
  const char *what;       /* what was wrong in it */
  uint64_t first_thread;  /* rounds whose last unit went to a request of the first thread */
};

/* Two threads, `rounds` rounds, a campaign each; ends early at a finding if `until_finding`. In part of the
 * rounds the threads dawdle at marked points; with a log, in part the commit stage stands still. `world`:
 * RACE_IN_MEMORY or RACE_LOGGED. */
struct race_verdict race_duel(enum race_duel_kind kind, enum race_world world, race_issue_fn *issue, uint64_t rounds,
                              bool until_finding);

#endif
