/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for races between plain accesses, and between those and atomic ones: two accesses of different threads, one
 * of them a write and one of them plain, neither of which happened before the other. No choice is made at plain
 * accesses: a race is a property of what is ordered and what is not, so some run shows it anyway.
 *
 * Cells are four bytes: scenarios do not let two threads write smaller things side by side.
 *
 * Also hands out memory. That it is zeroed counts as a write by its allocator.
 */
#include <string.h>

#include "inside.h"

#define CELL_BYTES 4
#define CELL_SLOTS 16384
#define BLOCKS_MAX 48
#define ARENA_BYTES ((size_t)1 << 18) /* for each thread, so that addresses do not depend on who came first */
#define BLOCK_ALIGNMENT 64

static struct cell {
  uintptr_t address;
  uint32_t run;
  unsigned threads;                             /* bit t: thread t was here */
  uint16_t last[ACCESSES][EXPLORE_THREADS_MAX]; /* clocks; 0: never */
} cells[CELL_SLOTS];
static uint32_t run;

static _Alignas(4096) char arenas[EXPLORE_THREADS_MAX + 1][ARENA_BYTES]; /* the last one: of setup */
static size_t arena_used[EXPLORE_THREADS_MAX + 1];

static struct block {
  uintptr_t begin;
  size_t size;
  int thread; /* -1: setup */
  uint16_t clock;
  bool freed;
} blocks[BLOCKS_MAX];
static int block_count;

static const char *const names[ACCESSES] = {"a plain read", "a plain write", "an atomic read", "an atomic write"};

void explore_plain_reset(void) {
  run++;
  for (int a = 0; a <= EXPLORE_THREADS_MAX; a++) {
    memset(arenas[a], 0, arena_used[a]);
    arena_used[a] = 0;
  }
  block_count = 0;
}

/* --- memory -------------------------------------------------------------------------------------- */

void *explore_alloc(size_t size) {
  const int thread = explore_current;
  const int a = thread < 0 ? EXPLORE_THREADS_MAX : thread;
  size = (size + BLOCK_ALIGNMENT - 1) & ~(size_t)(BLOCK_ALIGNMENT - 1);
  EXPLORE_CHECK(block_count < BLOCKS_MAX && ARENA_BYTES - arena_used[a] >= size, "the explorer's memory is used up");
  struct block *block = &blocks[block_count++];
  block->begin = (uintptr_t)&arenas[a][arena_used[a]];
  block->size = size;
  block->thread = thread;
  block->clock = thread < 0 ? 0 : explore_views[thread].clock[thread];
  block->freed = false;
  arena_used[a] += size;
  return (void *)block->begin;
}

void explore_weaken_allocated(int kinds, memory_order to) { explore_weaken(arenas, sizeof arenas, kinds, to); }

static struct block *block_of(uintptr_t address) {
  if (address - (uintptr_t)arenas >= sizeof arenas) return NULL;
  for (int b = 0; b < block_count; b++)
    if (address - blocks[b].begin < blocks[b].size) return &blocks[b];
  explore_fail("an access to memory that was not handed out");
}

void explore_free(void *pointer) {
  struct block *block = block_of((uintptr_t)pointer);
  EXPLORE_CHECK(block != NULL && !block->freed, "memory freed that cannot be");
  block->freed = true;
}

static void check_block(uintptr_t address, enum access access) {
  const struct block *block = block_of(address);
  if (block == NULL) return;
  EXPLORE_CHECK(!block->freed, "%s of freed memory", names[access]);
  if (block->thread < 0 || block->thread == explore_current) return;
  if (explore_views[explore_current].clock[block->thread] < block->clock)
    explore_fail("%s by thread %d of memory that thread %d has just allocated: nothing says it is zeroed by now",
                 names[access], explore_current, block->thread);
}

/* --- races --------------------------------------------------------------------------------------- */

static struct cell *cell_of(uintptr_t address) {
  uint64_t slot = explore_mix(address, 3);
  for (int probes = 0; probes < CELL_SLOTS; probes++, slot++) {
    struct cell *cell = &cells[slot & (CELL_SLOTS - 1)];
    if (cell->run == run && cell->address != address) continue;
    if (cell->run != run) {
      cell->run = run;
      cell->address = address;
      cell->threads = 0;
      memset(cell->last, 0, sizeof cell->last);
    }
    return cell;
  }
  explore_fail("the scenario touches too much memory for the explorer");
}

static bool conflict(enum access a, enum access b) {
  bool writes = a == PLAIN_WRITE || a == ATOMIC_WRITE || b == PLAIN_WRITE || b == ATOMIC_WRITE;
  bool plain = a == PLAIN_READ || a == PLAIN_WRITE || b == PLAIN_READ || b == PLAIN_WRITE;
  return writes && plain;
}

static void check_cell(struct cell *cell, enum access access) {
  const struct view *view = &explore_views[explore_current];
  const bool alone = (cell->threads & ~(1U << explore_current)) == 0; /* most are */
  for (enum access earlier = 0; !alone && earlier < ACCESSES; earlier++) {
    if (!conflict(access, earlier)) continue;
    for (int t = 0; t < EXPLORE_THREADS_MAX; t++) {
      if (t == explore_current || cell->last[earlier][t] <= view->clock[t]) continue;
      explore_fail("a data race: %s by thread %d and %s by thread %d", names[earlier], t, names[access],
                   explore_current);
    }
  }
  cell->threads |= 1U << explore_current;
  cell->last[access][explore_current] = view->clock[explore_current];
}

void explore_access(uintptr_t address, size_t size, enum access access) {
  if (explore_on_a_stack(address)) return;
  check_block(address, access);
  for (uintptr_t at = address & ~(uintptr_t)(CELL_BYTES - 1); at < address + size; at += CELL_BYTES)
    check_cell(cell_of(at), access);
}
