/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goes through all choices, depth first. A run is repeated from its beginning up to the last choice that has an
 * alternative left, takes that, and goes on with first choices from there.
 *
 * A state is what each thread has read so far (a thread's future depends on nothing else), and of each location
 * the order of its writes. It is remembered as a 64-bit sum; with ten million states the odds that two of them
 * ever share one, and something is missed, are below one in 100,000.
 */
#include "inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "base/defs.h"

#define STACK_SIZE_BYTES 65536
#define CHOICES_MAX 4096
#define STEPS_MAX 3000 /* of one run: more is a loop that nobody ends */

enum status { READY, PAUSED, ASLEEP, DONE };

struct pending {
  int kind; /* enum explore_kind; 0: anything */
  memory_order order;
  uintptr_t address;
  bool compares; /* a strong compare-exchange, with: */
  uint64_t expected;
};

static struct thread {
  enum status status;
  bool started;
  struct location *watched; /* PAUSED, ASLEEP */
  uint8_t watched_write;    /* PAUSED: read last */
  uint32_t watched_value;   /* ASLEEP: while it is this */
  uint64_t stalled_at;      /* the history when it last stalled */
  bool stalled;             /* it has waited since then */
  struct pending pending;   /* what it does next */
  ucontext_t context;       /* only to get onto its stack, once */
  jmp_buf top, here;
} threads[EXPLORE_THREADS_MAX];
static _Alignas(64) char stacks[EXPLORE_THREADS_MAX][STACK_SIZE_BYTES];

static jmp_buf outside;

int explore_current = -1;
uint64_t explore_history[EXPLORE_THREADS_MAX];
int explore_spurious_left;
bool explore_in_order;
static int preemptions_left;
static const struct explore_scenario *scenario;
static char wrong[512];

const char *explore_wrong(void) { return wrong; }

static struct {
  uint8_t taken, count;
  uint8_t options, asleep; /* of a choice among threads: bit t: thread t */
} choices[CHOICES_MAX];
static int choices_made, choices_known;

void explore_forget_choices(void) { choices_known = 0; }

static int steps;
static unsigned asleep_now; /* bit t: what thread t does next need not be explored */

uint64_t explore_steps;

void explore_end_run(enum explore_ending ending) { longjmp(outside, (int)ending); }

void explore_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vsnprintf(wrong, sizeof wrong, format, arguments);
  va_end(arguments);
  explore_end_run(EXPLORE_WRONG);
}

/* Of the library: a broken invariant is a finding like any other. */
void cpn_invariant_broken(int number, const char *condition, const char *file, int line) {
  explore_fail("invariant %d broken: %s (%s:%d)", number, condition, file, line);
}

int explore_thread(void) { return explore_current; }

uint64_t explore_mix(uint64_t a, uint64_t b) {
  uint64_t x = (a + UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9) ^ b;
  x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
  return x ^ x >> 31;
}

void explore_history_add(uint64_t what) {
  explore_history[explore_current] = explore_mix(explore_history[explore_current], what);
}

bool explore_on_a_stack(uintptr_t address) { return address - (uintptr_t)stacks < sizeof stacks; }

/* --- states -------------------------------------------------------------------------------------- */

static uint64_t state_now(void) {
  uint64_t state = explore_memory_hash();
  for (int t = 0; t < scenario->threads; t++) state += explore_mix((uint64_t)t + 100, explore_history[t]);
  if (scenario->preemptions != 0) {
    /* What may follow depends on who would be interrupted, too. */
    bool interruptible = threads[explore_current].status == READY;
    state += explore_mix((uint64_t)preemptions_left, interruptible ? (uint64_t)explore_current : 99);
  }
  return explore_mix(state, 3) | 1; /* 0 is no state */
}

/* --- choosing ------------------------------------------------------------------------------------ */

int explore_choose(int count) {
  EXPLORE_CHECK(count > 0, "nothing to choose from: a mistake in the explorer");
  if (count == 1) return 0;
  if (choices_made == choices_known) {
    if (choices_known == CHOICES_MAX) explore_end_run(EXPLORE_TOO_LONG);
    choices[choices_known].taken = 0;
    choices[choices_known++].count = (uint8_t)count;
  }
  EXPLORE_CHECK(choices[choices_made].count == count, "a run did not repeat itself: the scenario depends on chance");
  return choices[choices_made++].taken;
}

/* Takes the next alternative of the last choice that has one. */
bool explore_next(void) {
  while (choices_known > 0 && choices[choices_known - 1].taken + 1 == choices[choices_known - 1].count) choices_known--;
  if (choices_known == 0) return false;
  choices[choices_known - 1].taken++;
  return true;
}

static bool may_run(const struct thread *thread) {
  switch (thread->status) {
    case READY:
      return true;
    case PAUSED:
      return !explore_is_newest(thread->watched, thread->watched_write);
    case ASLEEP:
      return (uint32_t)explore_newest(thread->watched) != thread->watched_value;
    case DONE:
      break;
  }
  return false;
}

static void come_to_rest(void) {
  for (int t = 0; t < scenario->threads; t++) {
    bool sleeps = threads[t].status == ASLEEP && (scenario->may_sleep >> t & 1) != 0;
    if (threads[t].status != DONE && !sleeps) explore_fail("thread %d waits for ever", t);
  }
  explore_end_run(EXPLORE_COMPLETE);
}

static _Noreturn void go_on(struct thread *thread) {
  if (thread->started) longjmp(thread->here, 1);
  thread->started = true;
  longjmp(thread->top, 1);
}

static void switch_over(int self, int next) {
  explore_current = next;
  if (_setjmp(threads[self].here) == 0) go_on(&threads[next]);
}

/* An exchange that must fail is a load. */
static bool only_loads(const struct thread *thread) {
  const struct pending *next = &thread->pending;
  if (next->compares) return explore_must_fail((int)(thread - threads), next->address, next->expected);
  return next->kind == EXPLORE_LOAD;
}

/* Whether the next steps of two threads lead to the same whichever is first. */
static bool independent(const struct thread *a, const struct thread *b) {
  if (a->pending.kind == 0 || b->pending.kind == 0) return false;
  return a->pending.address != b->pending.address || (only_loads(a) && only_loads(b));
}

/* In a state that is new to this run and perhaps to all: who may go on, less those whose next step need not be explored
 * from here, because an earlier branch has taken it, and what was done since then makes no difference to it: the
 * "sleep sets" of Godefroid, with states that are remembered. `asleep` are those as the run arrives here. */
static void consider(unsigned able, unsigned asleep) {
  unsigned options = able & ~asleep;
  bool fresh;
  struct explore_state *state = explore_state_of(state_now(), &fresh);
  if (fresh) {
    state->asleep = (uint8_t)asleep;
  } else {
    options = able & state->asleep & ~asleep;
    asleep &= state->asleep;
    state->asleep = (uint8_t)asleep;
  }
  if (options == 0) explore_end_run(EXPLORE_KNOWN_STATE);
  if (choices_known == CHOICES_MAX) explore_end_run(EXPLORE_TOO_LONG);
  choices[choices_known].taken = 0;
  choices[choices_known].count = (uint8_t)__builtin_popcount(options);
  choices[choices_known].options = (uint8_t)options;
  choices[choices_known++].asleep = (uint8_t)asleep;
}

/* The thread that the next choice takes; the interrupted one is the first alternative, then they go by number. */
static int choose_thread(void) {
  const int made = choices_made++;
  int left = choices[made].taken, first = explore_current;
  unsigned options = choices[made].options, before = 0;
  for (int i = -1; i < scenario->threads; i++) {
    int t = i < 0 ? first : i;
    if ((options >> t & 1) == 0 || (before >> t & 1) != 0) continue;
    if (left-- == 0) {
      asleep_now = choices[made].asleep | before;
      for (int u = 0; u < scenario->threads; u++)
        if (u == t || !independent(&threads[t], &threads[u])) asleep_now &= ~(1U << u);
      return t;
    }
    before |= 1U << t;
  }
  explore_fail("a run did not repeat itself: the scenario depends on chance");
}

static void schedule(void) {
  const int self = explore_current;
  /* First all of them come to their first operation; what they do before that is nobody else's affair. */
  if (self + 1 < scenario->threads && !threads[self + 1].started) {
    switch_over(self, self + 1);
    return;
  }
  if (++steps > STEPS_MAX) explore_end_run(EXPLORE_TOO_LONG);
  explore_steps++;
  const bool self_able = may_run(&threads[self]);
  const bool bounded = scenario->preemptions != 0 && self_able;
  if (choices_made == choices_known) {
    unsigned able = 0;
    for (int t = 0; t < scenario->threads; t++) able |= (unsigned)may_run(&threads[t]) << t;
    if (able == 0) come_to_rest();
    if (bounded && preemptions_left == 0) able = 1U << self;
    /* With a bound the branch that comes first may not be able to go as far. */
    consider(able, scenario->preemptions == 0 ? asleep_now : 0);
  }
  int next = choose_thread();
  if (bounded && next != self) preemptions_left--;
  if (next != self) switch_over(self, next);
}

void explore_schedule(const struct operation *operation) {
  struct pending *pending = &threads[explore_current].pending;
  pending->kind = operation->kind;
  pending->order = operation->order;
  pending->address = operation->address;
  pending->compares = operation->kind == EXPLORE_RMW && operation->change == OP_COMPARE && !operation->weak;
  pending->expected = operation->expected;
  schedule();
}

/* Its wait depends on what is written there, and is nothing that another could notice. */
static void wait_for(struct location *location, enum status status) {
  struct thread *thread = &threads[explore_current];
  thread->watched = location;
  thread->status = status;
  struct operation look = {.kind = EXPLORE_LOAD, .order = memory_order_relaxed, .address = location->address};
  explore_schedule(&look);
  thread->status = READY;
}

/* --- waiting ------------------------------------------------------------------------------------- */

void explore_pause(void) {
  struct thread *thread = &threads[explore_current];
  struct location *location = explore_last_read(&thread->watched_write);
  EXPLORE_CHECK(location != NULL, "a pause without anything read before it");
  explore_history_add(4);
  wait_for(location, PAUSED);
  explore_look_on(location, thread->watched_write);
}

void explore_stall(void) {
  struct thread *thread = &threads[explore_current];
  const uint64_t now = explore_history[explore_current];
  if (thread->stalled_at != now) {
    thread->stalled_at = now;
    thread->stalled = false;
  } else if (!thread->stalled) {
    explore_pause();
    thread->stalled = true;
    thread->stalled_at = explore_history[explore_current];
  }
}

/* In place of the system's, see CMakeLists.txt. */
int explore_yield(void);
int explore_yield(void) {
  explore_pause();
  return 0;
}
long explore_syscall(long number, ...);
long explore_syscall(long number, ...) {
  (void)number;
  return -1;
}

void explore_sleep(const volatile void *word, uint32_t seen) {
  struct thread *thread = &threads[explore_current];
  struct location *location = explore_locate((uintptr_t)word, 4);
  thread->watched_value = seen;
  explore_touch(location->known, false);
  explore_history_add(5);
  explore_story_say("goes to sleep");
  wait_for(location, ASLEEP);
  /* The kernel has looked at the newest value; nobody reads older ones afterwards. */
  if (location->count > 1) explore_look_on(location, location->order[location->count - 2]);
}

/* --- one run ------------------------------------------------------------------------------------- */

static ucontext_t maker;

/* Where every run of a thread begins: back at `top`, with an empty stack. Jumping there, rather than making a context
 * anew, spares each run a few system calls. */
static void coroutine(void) {
  if (_setjmp(threads[explore_current].top) == 0) (void)setcontext(&maker);
  scenario->run(explore_current);
  threads[explore_current].status = DONE;
  explore_history_add(7);
  schedule();
  abort(); /* who is done is never chosen */
}

void explore_begin(const struct explore_scenario *which) {
  scenario = which;
  for (int t = 0; t < scenario->threads; t++) {
    explore_current = t;
    if (getcontext(&threads[t].context) != 0) abort();
    threads[t].context.uc_stack.ss_sp = stacks[t];
    threads[t].context.uc_stack.ss_size = STACK_SIZE_BYTES;
    threads[t].context.uc_link = NULL;
    makecontext(&threads[t].context, coroutine, 0);
    if (swapcontext(&maker, &threads[t].context) != 0) abort();
  }
  explore_current = -1;
}

static void begin_run(void) {
  choices_made = 0;
  steps = 0;
  asleep_now = 0;
  preemptions_left = scenario->preemptions;
  explore_spurious_left = scenario->spurious;
  explore_in_order = scenario->preemptions != 0;
  memset(explore_history, 0, sizeof explore_history);
  explore_memory_reset(scenario->threads);
  explore_order_reset();
  explore_plain_reset();
  explore_story_reset();
  for (int t = 0; t < scenario->threads; t++) {
    threads[t].status = READY;
    threads[t].started = threads[t].stalled = false;
    threads[t].stalled_at = 1;
  }
  scenario->setup();
}

enum explore_ending explore_run_once(void) {
  volatile enum explore_ending ending = (enum explore_ending)setjmp(outside);
  if (ending == 0) {
    begin_run();
    explore_current = 0;
    go_on(&threads[0]);
  }
  explore_current = -1;
  if (ending == EXPLORE_COMPLETE) {
    /* The judge may find something wrong, too. */
    enum explore_ending judged = (enum explore_ending)setjmp(outside);
    if (judged == 0) scenario->judge();
    if (judged != 0) return judged;
  }
  return ending;
}
