/* SPDX-License-Identifier: Apache-2.0 */
#include "support/race_help.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rcu.h"

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

void race_close(coupon_engine *engine) {
  coupon_status status = coupon_close(engine);
  RACE_CHECK(status == COUPON_OK, "closing: %s", coupon_status_name(status));
  status = coupon_destroy(engine);
  RACE_CHECK(status == COUPON_OK, "destroying: %s", coupon_status_name(status));
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
  while ((status = coupon_create(engine, &spec, COUPON_POLL)) == COUPON_E_BUSY) (void)sched_yield();
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
    RACE_CHECK(i == 0 || tickets[i].lsn > tickets[i - 1].lsn, "numbers are not in the order of the log");
    RACE_CHECK(i == 0 || tickets[i].time_ns >= tickets[i - 1].time_ns, "times fall along the numbers");
  }
  return count;
}

void race_settle(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  ticket.lsn = race_stats_of(engine).reserved_lsn;
  ticket.answer = COUPON_SOLD_OUT; /* a refusal that rests on everything */
  coupon_status status = coupon_wait(engine, &ticket, COUPON_FOREVER);
  RACE_CHECK(status == COUPON_OK, "what was decided does not become final: %s", coupon_status_name(status));
}

void race_commits_stop(coupon_engine *engine) {
  uint32_t turns = 0;
  while (atomic_exchange(&engine->stepping, 1) != 0) race_turn(&turns);
}

void race_commits_resume(coupon_engine *engine) {
  atomic_store(&engine->stepping, 0);
  cpn_wait_published(engine);
}

/* --- requests, written down ---------------------------------------------------------------------- */

uint64_t race_stamp(void) {
  static _Alignas(CPN_CACHE_LINE) _Atomic uint64_t now;
  return atomic_fetch_add(&now, 1) + 1;
}

struct race_answer race_ask(race_issue_fn *issue, coupon_engine *engine, uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = issue(engine, campaign, user, &ticket);
  return (struct race_answer){.campaign = campaign,
                              .user = user,
                              .number = ticket.number,
                              .lsn = ticket.lsn,
                              .time_ns = ticket.time_ns,
                              .flags = ticket.flags,
                              .status = status};
}

struct race_answer race_ask_stamped(race_issue_fn *issue, coupon_engine *engine, uint64_t campaign, uint64_t user) {
  uint64_t begin = race_stamp();
  struct race_answer answer = race_ask(issue, engine, campaign, user);
  answer.begin = begin;
  answer.end = race_stamp();
  return answer;
}

static struct coupon_ticket ticket_of(const struct race_answer *answer) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  ticket.campaign = answer->campaign;
  ticket.user = answer->user;
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
  bool numbers_agree = a->number == b->number || a->number == 0 || b->number == 0;
  return a->user == b->user && a->lsn == b->lsn && a->time_ns == b->time_ns && numbers_agree;
}

/* --- judges -------------------------------------------------------------------------------------- */

const char *race_judge_same_user(const struct race_answer *a, const struct race_answer *b) {
  if (a->status != COUPON_ISSUED) { /* so that a is the one that was issued */
    const struct race_answer *other = a;
    a = b;
    b = other;
  }
  if (a->status == COUPON_SOLD_OUT || b->status == COUPON_SOLD_OUT)
    return "a user who gets the last unit hears SOLD_OUT";
  if (a->status != COUPON_ISSUED) return "nobody was issued";
  if (b->status == COUPON_ISSUED) return "a user was issued twice";
  if (b->status != COUPON_ALREADY_ISSUED) return "the other request has no answer";
  if (a->lsn == 0 || a->time_ns == 0) return "a ticket without a place or a time";
  return race_same_ticket(a, b) ? NULL : "the two requests were told of different tickets";
}

const char *race_judge_holder(const struct race_answer *original, const struct race_answer *holder,
                              const struct race_answer *newcomer) {
  if (original->status != COUPON_ISSUED) return "the holder was not issued";
  if (holder->status == COUPON_SOLD_OUT) return "a user who holds a ticket hears SOLD_OUT";
  if (holder->status != COUPON_ALREADY_ISSUED) return "a user who holds a ticket is not told so";
  if (!race_same_ticket(original, holder)) return "the holder was told of another ticket than the original";
  if (newcomer->status != COUPON_ISSUED) return "a newcomer was refused while a unit was left";
  return newcomer->lsn > original->lsn ? NULL : "a later ticket lies before an earlier one";
}

const char *race_judge_newcomers(const struct race_answer *a, const struct race_answer *b) {
  if (a->status != COUPON_ISSUED) {
    const struct race_answer *other = a;
    a = b;
    b = other;
  }
  if (a->status != COUPON_ISSUED) return "two were refused while a unit was left";
  if (b->status == COUPON_ISSUED) return "two were issued and there was one unit";
  if (b->status != COUPON_SOLD_OUT) return "the loser was not told SOLD_OUT";
  return b->lsn >= a->lsn ? NULL : "a refusal is final before the ticket that is its reason";
}

const char *race_judge_stranger(const struct race_answer *first, const struct race_answer *stranger,
                                const struct race_answer *second) {
  if (stranger->status != COUPON_ISSUED) {
    if (stranger->status != COUPON_SOLD_OUT) return "the stranger was told neither";
    const char *wrong = race_judge_same_user(first, second);
    if (wrong != NULL) return wrong;
    return stranger->lsn >= first->lsn ? NULL : "a refusal is final before the ticket that is its reason";
  }
  if (first->status == COUPON_ISSUED || second->status == COUPON_ISSUED)
    return "two were issued and there was one unit";
  if (first->status == COUPON_ALREADY_ISSUED || second->status == COUPON_ALREADY_ISSUED)
    return "a user hears ALREADY_ISSUED who has nothing";
  if (first->status != COUPON_SOLD_OUT || second->status != COUPON_SOLD_OUT) return "a loser was not told SOLD_OUT";
  bool in_order = first->lsn >= stranger->lsn && second->lsn >= stranger->lsn;
  return in_order ? NULL : "a refusal is final before the ticket that is its reason";
}

const char *race_judge_marked(const struct race_answer *first, const struct race_answer *second,
                              const struct race_answer *stranger) {
  const char *wrong = race_judge_same_user(first, second);
  if (wrong != NULL) return wrong;
  if (stranger->status != COUPON_SOLD_OUT) return "a stranger was not told SOLD_OUT when the last unit was gone";
  return stranger->lsn >= first->lsn ? NULL : "a refusal is final before the ticket that is its reason";
}

/* Stamps and places of the answers of one kind. */
struct span {
  uint64_t first_end, last_begin, lowest_lsn, highest_lsn, count;
};

static struct span span_of(const struct race_answer *answers, size_t count, coupon_status status) {
  struct span span = {.first_end = UINT64_MAX, .lowest_lsn = UINT64_MAX};
  for (size_t i = 0; i < count; i++) {
    if (answers[i].status != status) continue;
    span.first_end = cpn_min_u64(span.first_end, answers[i].end);
    span.last_begin = cpn_max_u64(span.last_begin, answers[i].begin);
    span.lowest_lsn = cpn_min_u64(span.lowest_lsn, answers[i].lsn);
    span.highest_lsn = cpn_max_u64(span.highest_lsn, answers[i].lsn);
    span.count++;
  }
  return span;
}

static bool differ(const struct span *span) { return span->count > 0 && span->lowest_lsn != span->highest_lsn; }

const char *race_judge_window(const struct race_answer *answers, size_t count,
                              const struct coupon_campaign_info *info) {
  struct span not_open = span_of(answers, count, COUPON_NOT_OPEN), issued = span_of(answers, count, COUPON_ISSUED);
  struct span sold_out = span_of(answers, count, COUPON_SOLD_OUT), ended = span_of(answers, count, COUPON_ENDED);
  for (size_t i = 0; i < count; i++) {
    if (answers[i].status != COUPON_ISSUED) continue;
    bool in_window =
        answers[i].time_ns >= info->opens_at_ns && (info->closes_at_ns == 0 || answers[i].time_ns < info->closes_at_ns);
    if (!in_window) return "a ticket bears a time outside the campaign's window";
  }
  if (issued.count != info->issued) return "not as many were issued as the campaign says";
  if (not_open.last_begin > issued.first_end) return "NOT_OPEN after somebody had been issued";
  if (not_open.last_begin > sold_out.first_end) return "NOT_OPEN after SOLD_OUT";
  if (not_open.last_begin > ended.first_end) return "NOT_OPEN after ENDED";
  if (issued.last_begin > sold_out.first_end) return "a ticket after SOLD_OUT";
  if (issued.last_begin > ended.first_end) return "a ticket after ENDED";
  if (sold_out.last_begin > ended.first_end) return "SOLD_OUT after ENDED";
  if (sold_out.count > 0 && issued.count < info->stock) return "SOLD_OUT while units were left";
  if (differ(&not_open) || differ(&sold_out) || differ(&ended))
    return "two refusals of one kind rest on different places";
  if (not_open.count > 0 && issued.count > 0 && not_open.highest_lsn >= issued.lowest_lsn)
    return "a NOT_OPEN rests on more than what was before the opening";
  if (sold_out.count > 0 && sold_out.lowest_lsn < issued.highest_lsn)
    return "a SOLD_OUT is final before the last ticket";
  if (ended.count > 0 && ended.lowest_lsn <= issued.highest_lsn) return "an ENDED is final before the last ticket";
  return NULL;
}

/* --- the duel ------------------------------------------------------------------------------------ */

/* Campaigns of one engine: enough to make opening cheap, few enough to stay in the cache. */
#define BATCH UINT64_C(1024)

struct duel {
  enum race_duel_kind kind;
  race_issue_fn *issue;
  coupon_engine *engine;
  uint64_t first_round, rounds; /* of this batch; 0 rounds: the end */
  struct race_barrier barrier;
  struct race_answer prepared[BATCH];   /* the holder's ticket */
  struct race_answer answers[BATCH][3]; /* [0]: the first thread's; [1], [2]: the second thread's */
};

/* Users of a round: different in each, and now and then the user 0, who has a place of their own. */
static uint64_t duel_user(uint64_t round) { return round % 8 == 3 ? 0 : round * 2 + 1; }
static uint64_t duel_stranger(uint64_t round) { return round % 8 == 5 ? 0 : round * 2 + 2; }

static void duel_act(struct duel *duel, uint32_t thread, uint64_t i) {
  const uint64_t round = duel->first_round + i, user = duel_user(round), stranger = duel_stranger(round);
  struct race_answer *answers = duel->answers[i];
  if (thread == 0) {
    answers[0] = race_ask(duel->issue, duel->engine, i, user);
    return;
  }
  const bool user_first = duel->kind == RACE_SAME_USER || duel->kind == RACE_MARKED;
  answers[1] = race_ask(duel->issue, duel->engine, i, user_first ? user : stranger);
  if (duel->kind == RACE_STRANGER) answers[2] = race_ask(duel->issue, duel->engine, i, user);
  if (duel->kind == RACE_MARKED) answers[2] = race_ask(duel->issue, duel->engine, i, stranger);
}

/* A quarter of the rounds go undisturbed; in the others one thread begins a little later, and the more they
 * dawdle. */
static void duel_batch(struct duel *duel, uint32_t thread, uint64_t *meetings) {
  struct race_random random = race_stream(duel->first_round * 2 + thread);
  for (uint64_t i = 0; i < duel->rounds; i++) {
    static const uint32_t chances[4] = {0, 0, 64, 200};
    uint64_t delay = i % 4 == 0 ? 0 : race_below(&random, 64);
    race_dawdle((struct race_random){race_next(&random)}, chances[i % 4]);
    race_meet(&duel->barrier, meetings);
    race_dally(delay);
    duel_act(duel, thread, i);
  }
  race_dawdle(random, 0);
}

static void duel_second(void *context, uint32_t index) {
  struct duel *duel = context;
  uint64_t meetings = 0;
  for (;;) {
    race_meet(&duel->barrier, &meetings);
    if (duel->rounds == 0) return;
    duel_batch(duel, index, &meetings);
    race_meet(&duel->barrier, &meetings);
  }
}

static uint64_t duel_stock(const struct duel *duel) { return duel->kind == RACE_HOLDER ? 2 : 1; }

static void duel_prepare(struct duel *duel, bool commits_stop) {
  duel->engine = race_open(NULL, COUPON_NONE, UINT64_C(256) * 1024, NULL);
  if (commits_stop) race_commits_stop(duel->engine);
  for (uint64_t i = 0; i < duel->rounds; i++) {
    race_campaign(duel->engine, i, duel_stock(duel), 1, 0, 0);
    if (duel->kind == RACE_HOLDER)
      duel->prepared[i] = race_ask(duel->issue, duel->engine, i, duel_user(duel->first_round + i));
  }
}

/* What the campaign itself says afterwards: as many tickets as units, the last of them the winner's. */
static const char *duel_aftermath(const struct duel *duel, uint64_t i) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct coupon_ticket tickets[3];
  size_t count = 0;
  if (coupon_info(duel->engine, i, &info) != COUPON_OK) return "a campaign is missing";
  if (info.issued != info.stock || info.remaining != 0) return "issued and remaining do not make the stock";
  if (coupon_tickets(duel->engine, i, 1, tickets, sizeof tickets[0], 3, &count) != COUPON_OK || count != info.stock)
    return "there are not as many tickets as units";
  const struct race_answer *winner = NULL;
  for (int k = 0; k < 3; k++) {
    if (duel->answers[i][k].status == COUPON_ISSUED) winner = &duel->answers[i][k];
  }
  if (winner == NULL) return "nobody was issued the last unit";
  const struct coupon_ticket *last = &tickets[count - 1];
  if (last->user != winner->user || last->lsn != winner->lsn || last->number != info.stock)
    return "the last ticket is not the winner's";
  return (last->flags & COUPON_TICKET_FINAL) != 0 ? NULL : "a ticket did not become final";
}

static const char *duel_judge(const struct duel *duel, uint64_t i) {
  const struct race_answer *answers = duel->answers[i];
  const char *wrong = NULL;
  switch (duel->kind) {
    case RACE_SAME_USER:
      wrong = race_judge_same_user(&answers[0], &answers[1]);
      break;
    case RACE_HOLDER:
      wrong = race_judge_holder(&duel->prepared[i], &answers[0], &answers[1]);
      break;
    case RACE_NEWCOMERS:
      wrong = race_judge_newcomers(&answers[0], &answers[1]);
      break;
    case RACE_STRANGER:
      wrong = race_judge_stranger(&answers[0], &answers[1], &answers[2]);
      break;
    case RACE_MARKED:
      wrong = race_judge_marked(&answers[0], &answers[1], &answers[2]);
      break;
  }
  return wrong != NULL ? wrong : duel_aftermath(duel, i);
}

static void duel_count(const struct duel *duel, struct race_verdict *verdict) {
  for (uint64_t i = 0; i < duel->rounds; i++) {
    const char *what = duel_judge(duel, i);
    verdict->rounds++;
    verdict->first_thread += duel->answers[i][0].status == COUPON_ISSUED;
    if (what == NULL) continue;
    if (verdict->findings++ > 0) continue;
    verdict->first_finding = verdict->rounds;
    verdict->what = what;
  }
}

struct race_verdict race_duel(enum race_duel_kind kind, race_issue_fn *issue, uint64_t rounds, bool until_finding) {
  static struct duel duel; /* too large for a stack */
  struct race_verdict verdict = {0};
  struct race_thread second;
  uint64_t meetings = 0;
  memset(&duel, 0, sizeof duel);
  duel.kind = kind;
  duel.issue = issue;
  race_barrier_init(&duel.barrier, 2);
  race_start(&second, duel_second, &duel, 1);
  while (verdict.rounds < rounds && !(until_finding && verdict.findings > 0)) {
    duel.first_round = verdict.rounds;
    duel.rounds = cpn_min_u64(BATCH, rounds - verdict.rounds);
    memset(duel.answers, 0, sizeof duel.answers);
    /* In every other batch tickets stay without their numbers, as claims that are held. */
    bool commits_stop = duel.first_round / BATCH % 2 == 1;
    duel_prepare(&duel, commits_stop);
    race_meet(&duel.barrier, &meetings);
    duel_batch(&duel, 0, &meetings);
    race_meet(&duel.barrier, &meetings);
    if (commits_stop) race_commits_resume(duel.engine);
    duel_count(&duel, &verdict);
    race_close(duel.engine);
  }
  duel.rounds = 0;
  race_meet(&duel.barrier, &meetings);
  race_join(&second);
  return verdict;
}
