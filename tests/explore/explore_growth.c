/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows of lib/base/chunks.c and the growth of lib/issue/claim_set.c: threads that need the same chunk or level at once
 * end up with the same one; it is zeroed for whoever sees it; what loses is freed and touched by nobody; and a user has
 * one claim, whoever claims, also where a level is full.
 *
 * How: memory comes from the explorer, which knows who allocated what. An access that nothing orders behind the
 * zeroing, or one after free, is a failure.
 */
#include "explore.h"

#include "base/chunks.h"
#include "issue/claim_set.h"

static struct cpn_memory memory;
static int threads;

static void *alloc(void *context, size_t size, size_t alignment) {
  (void)context, (void)alignment;
  return explore_alloc(size);
}
static void free_it(void *context, void *pointer, size_t size) {
  (void)context, (void)size;
  explore_free(pointer);
}

static void memory_setup(void) {
  struct coupon_allocator allocator = COUPON_ALLOCATOR_INIT;
  allocator.alloc = alloc;
  allocator.free = free_it;
  cpn_memory_init(&memory, &allocator, 0);
}

/* --- chunks -------------------------------------------------------------------------------------- */

static struct cpn_chunks chunks;
static _Atomic uint64_t *elements[EXPLORE_THREADS_MAX];
static bool with_reader, release_missing, acquire_missing;

static void chunks_setup(void) {
  memory_setup();
  cpn_chunks_init(&chunks, sizeof(uint64_t), 1, 6);
  for (int t = 0; t < EXPLORE_THREADS_MAX; t++) elements[t] = NULL;
  explore_name(chunks.chunk, sizeof chunks.chunk, "chunk");
  if (release_missing) explore_weaken(chunks.chunk, sizeof chunks.chunk, EXPLORE_RMW, memory_order_relaxed);
  if (acquire_missing) explore_weaken(chunks.chunk, sizeof chunks.chunk, EXPLORE_LOAD, memory_order_relaxed);
}

static void chunks_run(int thread) {
  /* Index 2 is the first one of the second chunk. */
  if (!with_reader || thread != 0) {
    size_t made;
    EXPLORE_CHECK(cpn_chunks_ensure(&chunks, &memory, 2, &made) == 6, "where the chunk ends");
  } else if (atomic_load_explicit(&chunks.chunk[1], memory_order_relaxed) == NULL) {
    return; /* a reader who came by the index alone, and too early */
  }
  elements[thread] = cpn_chunks_at(&chunks, 2);
  (void)atomic_fetch_add_explicit(elements[thread], 1, memory_order_relaxed);
}

static void chunks_judge(void) {
  _Atomic uint64_t *element = cpn_chunks_at(&chunks, 2);
  uint64_t count = 0;
  for (int t = 0; t < threads; t++) {
    EXPLORE_CHECK(elements[t] == NULL || elements[t] == element, "two chunks for the same elements");
    count += elements[t] != NULL;
  }
  EXPLORE_CHECK(atomic_load_explicit(element, memory_order_relaxed) == count, "an addition is lost");
  EXPLORE_CHECK(cpn_memory_used(&memory) == 4 * sizeof(uint64_t), "memory is lost, or counted twice");
}

static struct explore_scenario chunks_scene(const char *name, int count, bool reader) {
  threads = count;
  with_reader = reader;
  return (struct explore_scenario){
      .name = name, .threads = count, .setup = chunks_setup, .run = chunks_run, .judge = chunks_judge};
}

/* --- claims -------------------------------------------------------------------------------------- */

/* Sixteen words are all of the first level. */
#define PAIR 16
#define LEADS_MAX (PAIR + EXPLORE_THREADS_MAX)

static struct cpn_claim_set set;
static uint64_t hashes[EXPLORE_THREADS_MAX]; /* of the user whom each thread claims */
static int won[EXPLORE_THREADS_MAX];
static uint64_t filled;              /* words that strangers have already */
static uint64_t leads_to[LEADS_MAX]; /* what a claim that is HELD leads to: its user's hash; plain, as tickets are */
static bool levels_relaxed, claims_relaxed;

/* The engine's way, cut down: claims the user, or finds that somebody has. */
static bool claim(uint64_t hash, uint64_t mine) {
  struct cpn_claim_place place = cpn_claim_look(&set, hash);
  for (;;) {
    if (place.word == NULL) {
      EXPLORE_CHECK(cpn_claim_add_level(&set, &memory, &place), "no memory");
      place = cpn_claim_look(&set, hash);
    } else if (place.seen == 0) {
      if (cpn_claim_swap(place.word, 0, cpn_claim_pending(hash))) break;
      place = cpn_claim_look(&set, hash);
    } else if (cpn_claim_kind_of(place.seen) == CPN_CLAIM_HELD ? leads_to[cpn_claim_lsn(place.seen) / 8] == hash
                                                               : cpn_claim_has_print(place.seen, hash)) {
      return false;
    } else {
      cpn_claim_look_on(&set, hash, &place);
    }
  }
  leads_to[mine] = hash;
  cpn_claim_write(place.word, cpn_claim_held(hash, mine * 8));
  return true;
}

static void claims_setup(void) {
  memory_setup();
  cpn_claim_set_init(&set, &memory, 1, 0);
  for (uint64_t i = 0; i < LEADS_MAX; i++) leads_to[i] = 0;
  /* Strangers, each with a tag of its own, that are no thread's. */
  for (uint64_t i = 0; i < filled; i++) EXPLORE_CHECK(claim(0x100 + i, EXPLORE_THREADS_MAX + i), "a stranger twice");
  for (int t = 0; t < EXPLORE_THREADS_MAX; t++) won[t] = 0;
  explore_name(set.level, sizeof set.level, "level");
  if (levels_relaxed) explore_weaken(set.level, sizeof set.level, EXPLORE_RMW, memory_order_relaxed);
  if (claims_relaxed) explore_weaken_allocated(EXPLORE_STORE, memory_order_relaxed);
}

static void claims_run(int thread) { won[thread] = claim(hashes[thread], (uint64_t)thread); }

static void claims_judge(void) {
  for (int t = 0; t < threads; t++) {
    int winners = 0;
    for (int u = 0; u < threads; u++) winners += hashes[u] == hashes[t] && won[u];
    EXPLORE_CHECK(winners == 1, "%d have claimed one user", winners);
    EXPLORE_CHECK(!claim(hashes[t], (uint64_t)t), "a claim is lost");
  }
  for (uint64_t i = 0; i < filled; i++) EXPLORE_CHECK(!claim(0x100 + i, 0), "a stranger's claim is lost");
}

static struct explore_scenario claims_scene(const char *name, uint64_t strangers, uint64_t first, uint64_t second,
                                            uint64_t third) {
  filled = strangers;
  hashes[0] = first, hashes[1] = second, hashes[2] = third;
  threads = third == 0 ? 2 : 3;
  return (struct explore_scenario){
      .name = name, .threads = threads, .setup = claims_setup, .run = claims_run, .judge = claims_judge};
}

/* One user; another; and one who shares tag and lines with the first, but not the print. */
#define USER UINT64_C(0x7)
#define OTHER UINT64_C(0x9)
#define TWIN (USER | UINT64_C(1) << 20)

int main(void) {
  struct explore_scenario scene = chunks_scene("growth: two threads, one chunk", 2, false);
  explore_passes(&scene);
  scene = chunks_scene("growth: three threads, one chunk", 3, false);
  explore_passes(&scene);
  scene = chunks_scene("growth: two threads, one chunk, a reader", 3, true);
  explore_passes(&scene);
  scene = claims_scene("growth: one user claimed twice, in no level yet", 0, USER, USER, 0);
  explore_passes(&scene);
  scene = claims_scene("growth: two users, in no level yet", 0, USER, OTHER, 0);
  explore_passes(&scene);
  scene = claims_scene("growth: two users who share tag and lines", 0, USER, TWIN, 0);
  explore_passes(&scene);
  scene = claims_scene("growth: two users, one word left", PAIR - 1, USER, OTHER, 0);
  explore_passes(&scene);
  scene = claims_scene("growth: one user twice, no word left", PAIR, USER, USER, 0);
  explore_passes(&scene);
  scene = claims_scene("growth: one user twice and another, one word left", PAIR - 1, USER, USER, OTHER);
  scene.preemptions = 3;
  explore_passes(&scene);

  release_missing = true;
  scene = chunks_scene("growth", 2, false);
  explore_finds(&scene, "chunk installed without release");
  release_missing = false;
  acquire_missing = true;
  scene = chunks_scene("growth", 2, false);
  explore_finds(&scene, "chunk found without acquire");
  acquire_missing = false;
  levels_relaxed = true;
  scene = claims_scene("growth", 0, USER, USER, 0);
  explore_finds(&scene, "level installed without release");
  levels_relaxed = false;
  claims_relaxed = true;
  scene = claims_scene("growth", 1, USER, USER, 0);
  explore_finds(&scene, "claim held without release");
  return 0;
}
