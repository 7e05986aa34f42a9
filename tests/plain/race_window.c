/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a campaign opens once and closes once, for everybody at the same moment, whoever makes it happen: no
 * ticket bears a time outside the window, nobody is issued after somebody heard ENDED, nobody hears NOT_OPEN
 * after somebody was issued or heard SOLD_OUT, every answer fits the clock as it stood around the call, and the
 * log can be replayed.
 *
 * How: the clock is ours. In each round two threads ask without a pause while a third moves the clock, tick by
 * tick, over a window of a few ticks, in some rounds also back, and asks now and then. Every campaign's answers
 * are judged; after some hundred rounds the engine is closed, and the next one is in memory, with a log that goes
 * nowhere, or on disk: that one is reopened, which refuses a log that breaks a rule, and must find the same tickets.
 */
#include "support/race_help.h"

#include <sched.h>
#include <stdlib.h>

#define ASKERS 2
#define ANSWERS_MAX 600 /* of one asker in one round */
#define ROUNDS_PER_ENGINE 250
#define STOCK_MAX 2000

/* --- the clock ----------------------------------------------------------------------------------- */

static _Alignas(CPN_CACHE_LINE) _Atomic uint64_t wall = 1000;

static uint64_t read_wall(void *context) {
  (void)context;
  return atomic_load(&wall);
}

/* --- a round ------------------------------------------------------------------------------------- */

/* An answer and the clock around it. */
struct timed_answer {
  struct race_answer answer;
  uint64_t clock_begin, clock_end;
  uint64_t issued; /* by the campaign, looked up behind a SOLD_OUT or ENDED */
};

struct window {
  coupon_engine *engine;
  uint64_t first_round, rounds;
  struct coupon_campaign_spec specs[ROUNDS_PER_ENGINE];
  bool steps_back; /* the clock, in this round */
  _Atomic bool over;
  struct race_barrier barrier;
  struct timed_answer answers[ASKERS + 1][ANSWERS_MAX]; /* the last one: of the thread with the clock */
  size_t counts[ASKERS + 1];
  uint64_t answered, issued, closed_by_clock, voids, refused[COUPON_ENDED + 1];
};

static uint64_t campaign_of(const struct window *window, uint64_t i) { return window->first_round + i; }

/* A full log buffer is no answer. */
static coupon_status issue(coupon_engine *engine, uint64_t campaign, uint64_t user, struct coupon_ticket *ticket) {
  coupon_status status;
  while ((status = coupon_try_issue(engine, campaign, user, ticket)) == COUPON_E_BUSY) {
    race_step(engine);
    race_dally(100);
  }
  return status;
}

static const struct race_answer *ask(struct window *window, uint32_t thread, uint64_t campaign, uint64_t user) {
  struct timed_answer *timed = &window->answers[thread][window->counts[thread]++];
  timed->clock_begin = atomic_load(&wall);
  timed->answer = race_ask_stamped(issue, window->engine, campaign, user);
  timed->clock_end = atomic_load(&wall);
  if (timed->answer.status == COUPON_SOLD_OUT || timed->answer.status == COUPON_ENDED) {
    timed->issued = race_info_of(window->engine, campaign).issued;
  }
  return &timed->answer;
}

/* Asks for new users, now and then again for the first one who was issued, until the round is over or it hears
 * ENDED. */
static void ask_on(struct window *window, uint32_t thread, uint64_t campaign, struct race_random *random) {
  const struct race_answer *holder = NULL, *answer = NULL;
  uint64_t seen = 0, asked = 0; /* so often since the clock was seen to move */
  for (uint64_t k = 0; k < ANSWERS_MAX && !atomic_load(&window->over); k++) {
    uint64_t now = atomic_load(&wall);
    asked = now == seen ? asked + 1 : 0;
    seen = now;
    if (asked > 10) (void)sched_yield(); /* whoever moves it may want this processor */
    if (holder != NULL && race_below(random, 4) == 0) {
      const struct race_answer *again = ask(window, thread, campaign, holder->user);
      RACE_CHECK(again->status == COUPON_ALREADY_ISSUED, "a holder hears %s", coupon_status_name(again->status));
      RACE_CHECK(race_same_ticket(again, holder), "a duplicate was told of another ticket");
      continue;
    }
    answer = ask(window, thread, campaign, k * ASKERS + thread);
    if (answer->status == COUPON_ISSUED && holder == NULL) holder = answer;
    if (answer->status == COUPON_ENDED && k % 4 == 0) break; /* a few more to hear it too */
  }
}

static void ask_rounds(struct window *window, uint32_t thread, uint64_t *meetings) {
  struct race_random random = race_stream(window->first_round * 4 + thread);
  const uint64_t rounds = window->rounds; /* changes when the last of them is over */
  for (uint64_t i = 0; i < rounds; i++) {
    race_dawdle((struct race_random){race_next(&random)}, i % 4 == 0 ? 0 : 64);
    race_meet(&window->barrier, meetings);
    ask_on(window, thread, campaign_of(window, i), &random);
    race_meet(&window->barrier, meetings);
  }
  race_dawdle(random, 0);
}

static void asker(void *context, uint32_t index) {
  struct window *window = context;
  uint64_t meetings = 0;
  for (;;) {
    race_meet(&window->barrier, &meetings);
    if (window->rounds == 0) return;
    ask_rounds(window, index, &meetings);
  }
}

/* --- the clock goes over the window -------------------------------------------------------------- */

/* Windows of a few ticks; some never close, some have less stock than is asked for, some have none. */
static void make_campaign(struct window *window, uint64_t i, struct race_random *random) {
  struct coupon_campaign_spec *spec = &window->specs[i];
  *spec = (struct coupon_campaign_spec)COUPON_CAMPAIGN_SPEC_INIT;
  spec->id = campaign_of(window, i);
  spec->stock = race_below(random, 2) == 0 ? STOCK_MAX : race_below(random, 40);
  spec->opens_at_ns = race_below(random, 8) == 0 ? 0 : atomic_load(&wall) + 1 + race_below(random, 6);
  bool never = race_below(random, 8) == 0;
  spec->closes_at_ns = never ? 0 : cpn_max_u64(spec->opens_at_ns, atomic_load(&wall)) + 1 + race_below(random, 8);
  race_campaign(window->engine, spec->id, spec->stock, 1, spec->opens_at_ns, spec->closes_at_ns);
}

static void move_clock(struct window *window, uint64_t i, struct race_random *random) {
  const struct coupon_campaign_spec *spec = &window->specs[i];
  uint64_t end = (spec->closes_at_ns != 0 ? spec->closes_at_ns : spec->opens_at_ns + 8) + 2;
  uint64_t highest = atomic_load(&wall), now = highest;
  for (int steps = 0; highest < end; steps++) {
    race_dally(race_below(random, 1000));
    now = window->steps_back && steps < 100 && race_below(random, 3) == 0 ? now - race_below(random, 3) : now + 1;
    atomic_store(&wall, now);
    highest = cpn_max_u64(highest, now);
    if (race_below(random, 3) == 0)
      (void)ask(window, ASKERS, spec->id, UINT64_MAX - 2 - race_below(random, UINT64_C(1) << 32));
  }
  atomic_store(&wall, highest);
}

/* --- judging ------------------------------------------------------------------------------------- */

/* With a clock that only goes up: the answer's time lies between the clock before and the clock after the call, and
 * the answer is one that could be given at such a time. */
static void judge_clock(const struct timed_answer *timed, const struct coupon_campaign_spec *spec) {
  const struct race_answer *answer = &timed->answer;
  const uint64_t begin = timed->clock_begin, end = timed->clock_end;
  if (answer->status == COUPON_ALREADY_ISSUED) return; /* bears the time of issue */
  RACE_CHECK(answer->time_ns >= begin && answer->time_ns <= end,
             "%s at %" PRIu64 ", asked between %" PRIu64 " and %" PRIu64, coupon_status_name(answer->status),
             answer->time_ns, begin, end);
  if (answer->status == COUPON_NOT_OPEN) {
    RACE_CHECK(begin < spec->opens_at_ns, "NOT_OPEN though it was time");
  } else {
    RACE_CHECK(end >= spec->opens_at_ns, "%s before it was time", coupon_status_name(answer->status));
  }
  if (answer->status == COUPON_ENDED) {
    RACE_CHECK(spec->closes_at_ns != 0 && end >= spec->closes_at_ns, "ENDED though it was not time");
  } else {
    RACE_CHECK(spec->closes_at_ns == 0 || begin < spec->closes_at_ns, "%s after the end",
               coupon_status_name(answer->status));
  }
}

static void judge_round(struct window *window, uint64_t i) {
  static struct race_answer all[(ASKERS + 1) * ANSWERS_MAX];
  struct coupon_campaign_info info = race_info_of(window->engine, campaign_of(window, i));
  size_t count = 0;
  for (int t = 0; t <= ASKERS; t++) {
    for (size_t k = 0; k < window->counts[t]; k++) {
      if (!window->steps_back) judge_clock(&window->answers[t][k], &window->specs[i]);
      all[count++] = window->answers[t][k].answer;
    }
  }
  /* Whoever has heard that it is over has seen the last ticket. */
  for (int t = 0; t <= ASKERS; t++) {
    for (size_t k = 0; k < window->counts[t]; k++) {
      const struct timed_answer *timed = &window->answers[t][k];
      bool is_over = timed->answer.status == COUPON_SOLD_OUT || timed->answer.status == COUPON_ENDED;
      RACE_CHECK(!is_over || timed->issued == info.issued, "%" PRIu64 " issued, and then %" PRIu64 ", after %s",
                 timed->issued, info.issued, coupon_status_name(timed->answer.status));
    }
  }
  const char *wrong = race_judge_window(all, count, &info);
  RACE_CHECK(wrong == NULL, "campaign %" PRIu64 ": %s", campaign_of(window, i), wrong);
  for (size_t k = 0; k < count; k++) {
    if (all[k].status >= COUPON_SOLD_OUT && all[k].status <= COUPON_ENDED) window->refused[all[k].status]++;
  }
  window->answered += count;
  window->issued += info.issued;
}

static void play_round(struct window *window, uint64_t i, struct race_random *random, uint64_t *meetings) {
  for (int t = 0; t <= ASKERS; t++) window->counts[t] = 0;
  window->steps_back = race_below(random, 4) == 0;
  atomic_store(&window->over, false);
  race_meet(&window->barrier, meetings);
  move_clock(window, i, random);
  atomic_store(&window->over, true);
  race_meet(&window->barrier, meetings);
  /* The clock has passed the end, so whoever asks now hears it. */
  const struct race_answer *last = ask(window, ASKERS, campaign_of(window, i), UINT64_MAX);
  bool closes = window->specs[i].closes_at_ns != 0;
  RACE_CHECK(!closes || last->status == COUPON_ENDED, "after the end: %s", coupon_status_name(last->status));
  RACE_CHECK(closes || last->status == COUPON_ISSUED || last->status == COUPON_SOLD_OUT, "without an end: %s",
             coupon_status_name(last->status));
  window->closed_by_clock += closes;
  judge_round(window, i);
}

/* --- reopening ----------------------------------------------------------------------------------- */

/* What an engine says of one campaign. */
struct state {
  struct coupon_campaign_info info;
  struct coupon_ticket *tickets;
  size_t count;
};

static struct state read_state(coupon_engine *engine, uint64_t campaign) {
  struct state state = {.info = race_info_of(engine, campaign)};
  state.tickets = malloc((size_t)(state.info.issued + 1) * sizeof state.tickets[0]);
  RACE_CHECK(state.tickets != NULL, "not enough memory");
  state.count = race_tickets_of(engine, campaign, state.tickets, (size_t)state.info.issued + 1);
  RACE_CHECK(state.count == state.info.issued, "%zu tickets of %" PRIu64, state.count, state.info.issued);
  return state;
}

static void compare(const struct state *before, const struct state *after) {
  RACE_CHECK(before->info.state == after->info.state, "campaign %" PRIu64 " is in state %d, was %d", before->info.id,
             (int)after->info.state, (int)before->info.state);
  RACE_CHECK(before->count == after->count, "%zu tickets after reopening, %zu before", after->count, before->count);
  for (size_t i = 0; i < before->count; i++) {
    const struct coupon_ticket *a = &before->tickets[i], *b = &after->tickets[i];
    bool same = a->user == b->user && a->lsn == b->lsn && a->time_ns == b->time_ns && a->number == b->number;
    RACE_CHECK(same, "ticket %zu of campaign %" PRIu64 " is another after reopening", i + 1, before->info.id);
  }
}

/* What was answered is on the lists: all tickets, with nothing between them. */
static void close_window(struct window *window) {
  race_settle(window->engine);
  window->voids += race_stats_of(window->engine).voids;
  for (uint64_t i = 0; i < window->rounds; i++) {
    struct state state = read_state(window->engine, campaign_of(window, i));
    free(state.tickets);
  }
  race_close(window->engine);
}

static void reopen(struct window *window, const char *path) {
  static struct state before[ROUNDS_PER_ENGINE];
  race_settle(window->engine); /* every ticket has its number */
  window->voids += race_stats_of(window->engine).voids;
  for (uint64_t i = 0; i < window->rounds; i++) before[i] = read_state(window->engine, campaign_of(window, i));
  race_close(window->engine);
  window->engine = race_open(path, COUPON_WRITTEN, 0, read_wall);
  for (uint64_t i = 0; i < window->rounds; i++) {
    struct state after = read_state(window->engine, campaign_of(window, i));
    compare(&before[i], &after);
    /* And the stored state, not only the clock, says that it is over. */
    struct race_answer answer = race_ask(issue, window->engine, campaign_of(window, i), UINT64_MAX - 1);
    bool ended = window->specs[i].closes_at_ns != 0;
    RACE_CHECK((answer.status == COUPON_ENDED) == ended, "after reopening: %s", coupon_status_name(answer.status));
    free(after.tickets);
    free(before[i].tickets);
  }
  race_close(window->engine);
}

int main(int argc, char **argv) {
  static struct window window;
  struct race_thread askers[ASKERS];
  char path[RACE_PATH_MAX];
  uint64_t meetings = 0;
  race_begin("race_window", argc, argv);
  const uint64_t rounds = race_rounds(10000, 2000);
  struct race_random random = race_stream(1000);
  race_barrier_init(&window.barrier, ASKERS + 1);
  for (uint32_t t = 0; t < ASKERS; t++) race_start(&askers[t], asker, &window, t);
  for (uint64_t done = 0; done < rounds; done += window.rounds) {
    window.first_round = done;
    window.rounds = cpn_min_u64(ROUNDS_PER_ENGINE, rounds - done);
    const enum race_world world = (enum race_world)(done / ROUNDS_PER_ENGINE % RACE_WORLDS);
    window.engine = race_open_in(world, path, COUPON_WRITTEN, UINT64_C(64) * 1024, read_wall);
    race_meet(&window.barrier, &meetings);
    for (uint64_t i = 0; i < window.rounds; i++) {
      make_campaign(&window, i, &random);
      play_round(&window, i, &random, &meetings);
    }
    if (world != RACE_ON_DISK) {
      close_window(&window);
      continue;
    }
    reopen(&window, path);
    race_directory_remove(path);
  }
  window.rounds = 0;
  race_meet(&window.barrier, &meetings);
  for (uint32_t t = 0; t < ASKERS; t++) race_join(&askers[t]);
  printf("%" PRIu64 " windows, %" PRIu64 " closed by the clock; %" PRIu64 " answers: %" PRIu64 " tickets, %" PRIu64
         " NOT_OPEN, %" PRIu64 " SOLD_OUT, %" PRIu64 " ENDED; %" PRIu64 " places given up\n",
         rounds, window.closed_by_clock, window.answered, window.issued, window.refused[COUPON_NOT_OPEN],
         window.refused[COUPON_SOLD_OUT], window.refused[COUPON_ENDED], window.voids);
  RACE_CHECK(window.issued > rounds / 4, "too few tickets: this run shows little");
  return 0;
}
