/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small explorer of interleavings: runs a scenario of two to four threads in every way the C11 memory model
 * below allows, and asks the scenario's judge after each.
 *
 * What runs is the library's own C. Its files, and the scenario, are compiled with -fsanitize=thread, so that the
 * compiler turns every atomic operation, with its memory order, and every plain access into a call; those calls are
 * answered here (hooks.c) instead of in a race detector's library.
 *
 * Threads are coroutines of one thread. Before each atomic operation on something shared the explorer chooses who goes
 * on; at each load it chooses which of the writes that the reader may still see is read (memory.c). All choices are
 * gone through, depth first, by running the scenario again and again (explore.c). A run that comes to a state which an
 * earlier run has been in ends there: what follows is known. So the whole tree is seen, once.
 *
 * The model: release and acquire as views, relaxed with stale reads, one total order of the seq_cst operations. Store
 * buffering, message passing without release or acquire, stale reads by different readers in different orders, writes
 * that land before others: all happen here. What does not: a load that reads a write from the reader's own future (load
 * buffering), and seq_cst orders that contradict happens-before (which only POWER shows). Plain accesses that race
 * are failures.
 */
#ifndef EXPLORE_EXPLORE_H
#define EXPLORE_EXPLORE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_THREADS_MAX 4

struct explore_scenario {
  const char *name;
  int threads;
  void (*setup)(void);     /* before each run: everything as new. Not explored. */
  void (*run)(int thread); /* what thread 0, 1, … does */
  void (*judge)(void);     /* after each complete run; sees the last values. Not explored. */
  unsigned may_sleep;      /* bit t: thread t may sleep for ever at the end, as a commit thread does */
  int preemptions;         /* how often a thread may be interrupted that could have gone on; 0: without bound */
  int spurious;            /* how many weak exchanges of a run may fail for no reason */
};

/* Explores everything. Ends the program if anything is wrong, or if it cannot be finished. */
void explore_passes(const struct explore_scenario *scenario);

/* Explores until something is wrong, which must happen: `planted` says what. Ends the program if it does not. */
void explore_finds(const struct explore_scenario *scenario, const char *planted);

/* --- in setup ------------------------------------------------------------------------------------ */

enum explore_kind { EXPLORE_LOAD = 1, EXPLORE_STORE = 2, EXPLORE_RMW = 4 };

/* A planted weak order: operations of these kinds on the bytes get at most the order `to`. */
void explore_weaken(const volatile void *from, size_t size, int kinds, memory_order to);

/* The same, of all memory that explore_alloc() gives out. */
void explore_weaken_allocated(int kinds, memory_order to);

/* A name for the story that is printed of a failure. */
void explore_name(const volatile void *from, size_t size, const char *name);

/* --- in threads ---------------------------------------------------------------------------------- */

/* Which thread calls; -1: none, in setup and judge. */
int explore_thread(void);

/* Zeroed memory, gone after the run; never handed out twice, so that use after free is found. Whoever touches it has to
 * happen after its allocation. */
void *explore_alloc(size_t size);
void explore_free(void *pointer);

/* "Nothing to do until what I read last has changed": instead of spinning. */
void explore_pause(void);

/* For loops that only stall the processor: the second time that nothing was done in between is a pause. */
void explore_stall(void);

/* Sleeps until the 32-bit word is not `seen`, as a futex does, and reads it. */
void explore_sleep(const volatile void *word, uint32_t seen);

/* Something is wrong. */
_Noreturn void explore_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define EXPLORE_CHECK(condition, ...)               \
  do {                                              \
    if (!(condition)) explore_fail("" __VA_ARGS__); \
  } while (0)

#endif
