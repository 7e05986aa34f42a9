/* SPDX-License-Identifier: Apache-2.0 */
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/callback.h"

/* From here on pages come from the system, zeroed and only when touched: a table sized for a large stock
 * costs nothing before it is used. Below, a page of its own would waste most of it. */
#define CPN_MAP_FROM_BYTES ((size_t)128 * 1024)

/* From here on huge pages are asked for: some of 2 MiB fit inside, and little is wasted at the ends. */
#define CPN_HUGE_FROM_BYTES ((size_t)8 * 1024 * 1024)

static void *map_pages(size_t size) {
  void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return NULL;
  /* Claims are read in random order: with small pages the look-up of the page costs as much as that of the entry. A
   * wish; nothing depends on it. */
  if (size >= CPN_HUGE_FROM_BYTES) (void)madvise(pages, size, MADV_HUGEPAGE);
  return pages;
}

static void *system_alloc(size_t size) {
  if (size >= CPN_MAP_FROM_BYTES) return map_pages(size);
  void *pointer = aligned_alloc(CPN_CACHE_LINE, cpn_round_up(size, CPN_CACHE_LINE));
  if (pointer != NULL) memset(pointer, 0, size);
  return pointer;
}

static void system_free(void *pointer, size_t size) {
  if (size >= CPN_MAP_FROM_BYTES)
    (void)munmap(pointer, size);
  else
    free(pointer);
}

void cpn_memory_init(struct cpn_memory *memory, const struct coupon_allocator *allocator, uint64_t limit) {
  memory->allocator = *allocator;
  memory->limit = limit == 0 ? UINT64_MAX : limit;
  atomic_init(&memory->used, 0);
}

/* A loop, not fetch_add and a second look: an overshoot, even for a moment, would refuse somebody else.
 * relaxed: the number only counts. Retry: another thread's allocation was counted. */
static bool count_in(struct cpn_memory *memory, size_t size) {
  uint64_t used = atomic_load_explicit(&memory->used, memory_order_relaxed);
  do {
    if (size > memory->limit || used > memory->limit - size) return false;
  } while (!atomic_compare_exchange_weak_explicit(&memory->used, &used, used + size, memory_order_relaxed,
                                                  memory_order_relaxed));
  return true;
}

static void count_out(struct cpn_memory *memory, size_t size) {
  /* relaxed: as above. */
  atomic_fetch_sub_explicit(&memory->used, size, memory_order_relaxed);
}

void *cpn_memory_alloc(struct cpn_memory *memory, size_t size) {
  if (!count_in(memory, size)) return NULL;
  void *pointer;
  if (memory->allocator.alloc != NULL) {
    cpn_callback_enter();
    pointer = memory->allocator.alloc(memory->allocator.context, size, CPN_CACHE_LINE);
    cpn_callback_leave();
  } else {
    int saved = errno;
    pointer = system_alloc(size);
    errno = saved;
  }
  if (pointer == NULL) count_out(memory, size);
  return pointer;
}

void cpn_memory_free(struct cpn_memory *memory, void *pointer, size_t size) {
  if (pointer == NULL) return;
  if (memory->allocator.free != NULL) {
    cpn_callback_enter();
    memory->allocator.free(memory->allocator.context, pointer, size);
    cpn_callback_leave();
  } else {
    int saved = errno;
    system_free(pointer, size);
    errno = saved;
  }
  count_out(memory, size);
}

uint64_t cpn_memory_used(const struct cpn_memory *memory) {
  return atomic_load_explicit(&memory->used, memory_order_relaxed); /* relaxed: a figure for people */
}
