/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the explorer's own files share: runs.c counts and prints, explore.c chooses, states.c remembers, memory.c and
 * order.c are the memory model, plain.c looks for races, hooks.c is what the compiler's calls arrive at, story.c tells
 * of failures.
 */
#ifndef EXPLORE_INSIDE_H
#define EXPLORE_INSIDE_H

#include "explore.h"

#define LOCATIONS_MAX 96
#define WRITES_MAX 40 /* to one location in one run */

/* What a thread, or a message, knows: of each location the newest write it must not read before; of each thread how
 * far everything is known to have happened. */
struct view {
  uint16_t clock[EXPLORE_THREADS_MAX];
  uint8_t seen[LOCATIONS_MAX]; /* [location]: a write's id */
};

struct write {
  uint64_t value;
  uint64_t name;    /* the same in every run that differs only in irrelevant order */
  uint8_t position; /* in the location's modification order */
  bool taken;       /* a read-modify-write has read it: nothing can come between the two */
  bool has_message; /* `message` is what an acquiring reader learns */
  struct view message;
};

struct location {
  uintptr_t address;
  uint8_t id, size, count;
  uint8_t order[WRITES_MAX]; /* [position]: a write's id */
  uint64_t hash;             /* of order */
  struct known *known;
  struct write writes[WRITES_MAX]; /* [id]; 0 is what was there before */
};

/* An atomic operation. */
struct operation {
  uintptr_t address;
  uint8_t size;
  int kind;                    /* enum explore_kind */
  memory_order order, failure; /* failure: of a compare-exchange */
  enum { OP_SET, OP_ADD, OP_SUB, OP_AND, OP_OR, OP_XOR, OP_COMPARE } change;
  bool weak;
  uint64_t operand, expected;
  bool succeeded; /* out */
};

/* What earlier runs have taught about an address. */
struct known {
  uintptr_t address;
  unsigned threads; /* bit t: thread t touches it */
  bool written;     /* while threads run */
};

/* How a run ends: all rest; in a state that is known; not at all; with something learnt that changes what is
 * to be explored; with something wrong. */
enum explore_ending { EXPLORE_COMPLETE = 1, EXPLORE_KNOWN_STATE, EXPLORE_TOO_LONG, EXPLORE_LEARNT, EXPLORE_WRONG };

/* --- states.c ------------------------------------------------------------------------------------ */

struct explore_state {
  uint64_t sum;
  uint8_t asleep; /* bit t: not yet explored from here is what thread t does next */
};
void explore_states_clear(void);
uint64_t explore_states_count(void);
/* What is known of a state, which is entered if it is new; `sum` is not 0. */
struct explore_state *explore_state_of(uint64_t sum, bool *fresh);

void explore_know_nothing(void);
/* What was learnt about an address. */
struct known *explore_know(uintptr_t address);
bool explore_is_shared(const struct known *known);
/* The current thread touches it; ends the run if that makes it shared only now. */
void explore_touch(struct known *known, bool writes);

/* --- explore.c ----------------------------------------------------------------------------------- */

extern int explore_current; /* the running thread, or -1 outside of runs */
extern uint64_t explore_history[EXPLORE_THREADS_MAX];
extern int explore_spurious_left;
/* The seq_cst order is that of exploration. Loses nothing where all are seq_cst, and much time where preemptions are
 * bounded: reading something old is as good as being interrupted. */
extern bool explore_in_order;

/* Makes ready for runs of a scenario. */
void explore_begin(const struct explore_scenario *scenario);
void explore_forget_choices(void);
enum explore_ending explore_run_once(void);
/* Takes the next alternative of the last choice that has one. False: there is none. */
bool explore_next(void);
_Noreturn void explore_end_run(enum explore_ending ending);
const char *explore_wrong(void);
extern uint64_t explore_steps; /* of all runs */

/* One of 0 … count-1. */
int explore_choose(int count);
/* Lets the explorer choose who goes on, before the current thread's next operation, this one. */
void explore_schedule(const struct operation *operation);
void explore_history_add(uint64_t what);
bool explore_on_a_stack(uintptr_t address);
uint64_t explore_mix(uint64_t a, uint64_t b);
memory_order explore_order_of(const struct operation *operation);

/* --- memory.c ------------------------------------------------------------------------------------ */

extern struct view explore_views[EXPLORE_THREADS_MAX];

void explore_memory_reset(int threads);
uint64_t explore_memory_hash(void);
struct location *explore_locate(uintptr_t address, unsigned size);
/* Performs it; returns what was read. */
uint64_t explore_perform(struct operation *operation, struct location *location);
void explore_fence(memory_order order);
/* The id of the write that the current thread read last, and where. */
struct location *explore_last_read(uint8_t *write);
bool explore_is_newest(const struct location *location, uint8_t write);
/* Whether a compare-exchange of the thread there cannot succeed. */
bool explore_must_fail(int thread, uintptr_t address, uint64_t expected);
uint64_t explore_newest(const struct location *location);
void explore_look_on(struct location *location, uint8_t write);
void explore_plainly_written(uintptr_t address, size_t size);

/* --- order.c ------------------------------------------------------------------------------------- */

void explore_order_reset(void);
/* Whether the current thread's seq_cst operation may read the write at `position`, or write there; `learnt` are the
 * clocks that reading brings with it, or NULL. */
bool explore_order_allows(const struct location *location, int position, bool writes, const uint16_t *learnt);
/* It does. `id` of the write that it reads or makes. */
void explore_order_add(const struct location *location, int position, bool writes, const uint16_t *learnt, uint8_t id);

/* --- plain.c ------------------------------------------------------------------------------------- */

enum access { PLAIN_READ, PLAIN_WRITE, ATOMIC_READ, ATOMIC_WRITE, ACCESSES };
void explore_plain_reset(void);
/* Fails if the current thread's access races with an earlier one. */
void explore_access(uintptr_t address, size_t size, enum access access);

/* --- story.c ------------------------------------------------------------------------------------- */

void explore_story_reset(void);
void explore_story_forget_names(void);
void explore_story_add(const struct operation *operation, uint64_t read, unsigned stale);
void explore_story_say(const char *what);
void explore_story_print(void);

#endif
