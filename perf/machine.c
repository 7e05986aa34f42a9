/* SPDX-License-Identifier: Apache-2.0 */
#include "machine.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORDS_BYTES_MAX (UINT64_C(2) << 30)
#define WORDS_BYTES_MIN (UINT64_C(64) << 10)
#define BYTES_PER_USER 32
#define PREFETCHED 64

void machine_words_init(struct machine_words *words, uint64_t users) {
  uint64_t bytes = WORDS_BYTES_MIN;
  while (bytes < users * BYTES_PER_USER && bytes < WORDS_BYTES_MAX) bytes *= 2;
  /* Of ten million users the claims are smaller, but the difference is small too, and one number serves both. */
  if (users >= BENCH_STANDARD / 2) bytes = WORDS_BYTES_MAX;
  words->count = bytes / sizeof *words->words;
  words->words = bench_map(bytes);
}

void machine_words_fini(struct machine_words *words) {
  bench_unmap((void *)words->words, words->count * sizeof *words->words);
  words->words = NULL;
}

const char *machine_words_text(const struct machine_words *words, const char *what, char text[64]) {
  uint64_t bytes = words->count * sizeof *words->words;
  if (bytes >= UINT64_C(1) << 30)
    (void)snprintf(text, 64, "%s on %u GiB", what, (unsigned)(bytes >> 30));
  else if (bytes >= UINT64_C(1) << 20)
    (void)snprintf(text, 64, "%s on %u MiB", what, (unsigned)(bytes >> 20));
  else
    (void)snprintf(text, 64, "%s on %u KiB", what, (unsigned)(bytes >> 10));
  return text;
}

struct job {
  struct machine_words *words;
  uint64_t turns;
  const struct timer *timer;
  struct histogram *histograms;
  unsigned apart; /* sixteens of other instructions */
};

static _Atomic uint64_t *word_at(const struct job *job, int thread, uint64_t i) {
  return &job->words->words[bench_user(((uint64_t)thread << 40) + i) & (job->words->count - 1)];
}

/* relaxed: the words order nothing. On x86-64 every exchange is a full barrier, whatever is asked for. */
static void exchange(_Atomic uint64_t *word) {
  uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
  (void)atomic_compare_exchange_strong_explicit(word, &seen, seen + 1, memory_order_relaxed, memory_order_relaxed);
}

static void cas_body(void *context, int thread) {
  const struct job *job = context;
  for (uint64_t i = 0; i < job->turns; i++) exchange(word_at(job, thread, i));
}

/* So many instructions, none of which waits for another for long, and which the compiler takes for nothing less. */
#define ONE(x)   \
  do {           \
    (x) += turn; \
    KEPT(x);     \
  } while (0)
#define KEPT(x) __asm__ volatile("" : "+r"(x))
#define FOUR(a, b, c, d) \
  ONE(a);                \
  ONE(b);                \
  ONE(c);                \
  ONE(d)
#define SIXTEEN(a, b, c, d) \
  FOUR(a, b, c, d);         \
  FOUR(a, b, c, d);         \
  FOUR(a, b, c, d);         \
  FOUR(a, b, c, d)
static void other_work(uint64_t turn) {
  uint64_t a = 1, b = 2, c = 3, d = 4;
  SIXTEEN(a, b, c, d);
  SIXTEEN(a, b, c, d);
  SIXTEEN(a, b, c, d);
  SIXTEEN(a, b, c, d);
  SIXTEEN(a, b, c, d);
  SIXTEEN(a, b, c, d);
  SIXTEEN(a, b, c, d);
  SIXTEEN(a, b, c, d);
}

static void cas_apart_body(void *context, int thread) {
  const struct job *job = context;
  for (uint64_t i = 0; i < job->turns; i++) {
    exchange(word_at(job, thread, i));
    other_work(i);
  }
}

static void loads_apart_body(void *context, int thread) {
  const struct job *job = context;
  uint64_t sum = 0;
  for (uint64_t i = 0; i < job->turns; i++) {
    const uint64_t first = atomic_load_explicit(word_at(job, thread, i), memory_order_relaxed);
    sum += atomic_load_explicit(word_at(job, thread + BENCH_THREADS_MAX, first + i), memory_order_relaxed);
    other_work(i);
  }
  KEPT(sum);
}

static void load_apart_body(void *context, int thread) {
  const struct job *job = context;
  uint64_t sum = 0, a = 1, b = 2, c = 3, d = 4;
  for (uint64_t turn = 0; turn < job->turns; turn++) {
    sum += atomic_load_explicit(word_at(job, thread, turn), memory_order_relaxed);
    for (unsigned i = 0; i < job->apart; i++) {
      SIXTEEN(a, b, c, d);
    }
  }
  KEPT(sum);
}

static void prefetched_body(void *context, int thread) {
  const struct job *job = context;
  _Atomic uint64_t *batch[PREFETCHED];
  for (uint64_t i = 0; i < job->turns; i += PREFETCHED) {
    for (uint64_t j = 0; j < PREFETCHED; j++) {
      batch[j] = word_at(job, thread, i + j);
      __builtin_prefetch((const void *)batch[j], 1);
    }
    for (uint64_t j = 0; j < PREFETCHED; j++) exchange(batch[j]);
  }
}

static void timed_body(void *context, int thread) {
  const struct job *job = context;
  struct histogram *histogram = &job->histograms[thread];
  for (uint64_t i = 0; i < job->turns; i++) {
    uint64_t before = timer_ticks(job->timer);
    exchange(word_at(job, thread, i));
    histogram_add(histogram, timer_ticks(job->timer) - before);
  }
}

double machine_cas(struct machine_words *words, uint64_t turns, int threads) {
  struct job job = {.words = words, .turns = turns};
  return (double)turns * threads / bench_run(threads, cas_body, &job) / 1e6;
}

double machine_cas_apart(struct machine_words *words, uint64_t turns) {
  struct job job = {.words = words, .turns = turns};
  return (double)turns / bench_run(1, cas_apart_body, &job) / 1e6;
}

double machine_loads_apart(struct machine_words *words, uint64_t turns) {
  struct job job = {.words = words, .turns = turns};
  return (double)turns / bench_run(1, loads_apart_body, &job) / 1e6;
}

double machine_load_apart(struct machine_words *words, uint64_t turns, unsigned instructions) {
  struct job job = {.words = words, .turns = turns, .apart = instructions / 16};
  return (double)turns / bench_run(1, load_apart_body, &job) / 1e6;
}

double machine_prefetched_cas(struct machine_words *words, uint64_t turns, int threads) {
  struct job job = {.words = words, .turns = (turns + PREFETCHED - 1) / PREFETCHED * PREFETCHED};
  return (double)job.turns * threads / bench_run(threads, prefetched_body, &job) / 1e6;
}

void machine_timed_cas(struct machine_words *words, uint64_t turns, int threads, const struct timer *timer,
                       struct histogram *histograms) {
  struct job job = {.words = words, .turns = turns, .timer = timer, .histograms = histograms};
  (void)bench_run(threads, timed_body, &job);
}

static _Alignas(128) _Atomic uint64_t shared_counter;

static void counter_body(void *context, int thread) {
  (void)thread;
  const uint64_t turns = *(const uint64_t *)context;
  for (uint64_t i = 0; i < turns; i++) atomic_fetch_add_explicit(&shared_counter, 1, memory_order_relaxed);
}

double machine_shared_counter(uint64_t turns, int threads) {
  return (double)turns * threads / bench_run(threads, counter_body, &turns) / 1e6;
}

enum { BUFFERED, DIRECT, SYNCED_BYTES = 512 * 1024, SYNCED_BLOCK = 512 };

static bool write_durably(const struct machine_disk *disk, int way, const unsigned char *from, size_t size, off_t at) {
  return pwrite(disk->file[way], from, size, at) == (ssize_t)size && (way == DIRECT || fdatasync(disk->file[way]) == 0);
}

bool machine_disk_open(struct machine_disk *disk, const char *path) {
  static unsigned char zeros[SYNCED_BYTES];
  *disk = (struct machine_disk){.path = path, .file = {-1, -1}};
  disk->file[BUFFERED] = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  /* Written before, so that the file does not grow while it is measured: growing costs a second write each time. */
  if (disk->file[BUFFERED] < 0 || !write_durably(disk, BUFFERED, zeros, sizeof zeros, 0)) return false;
  disk->file[DIRECT] = open(path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC); /* not every file system can */
  return true;
}

static bool write_slice(struct machine_disk *disk, int way, uint64_t times) {
  static _Alignas(4096) unsigned char block[SYNCED_BLOCK];
  uint64_t begin = bench_now_ns();
  for (uint64_t i = disk->times; i < disk->times + times; i++) {
    block[0] = (unsigned char)(i + 1);
    off_t at = (off_t)(i % (SYNCED_BYTES / SYNCED_BLOCK) * SYNCED_BLOCK);
    if (!write_durably(disk, way, block, sizeof block, at)) return false;
  }
  disk->spent_ns[way] += bench_now_ns() - begin + 1;
  return true;
}

bool machine_disk_write(struct machine_disk *disk, uint64_t times) {
  if (!write_slice(disk, BUFFERED, times)) return false;
  if (disk->file[DIRECT] >= 0 && !write_slice(disk, DIRECT, times)) {
    (void)close(disk->file[DIRECT]); /* not in blocks as small as these */
    disk->file[DIRECT] = -1;
  }
  disk->times += times;
  return true;
}

double machine_disk_rate(const struct machine_disk *disk) {
  uint64_t best = disk->spent_ns[BUFFERED];
  if (disk->file[DIRECT] >= 0 && disk->spent_ns[DIRECT] < best) best = disk->spent_ns[DIRECT];
  return (double)disk->times / ((double)best / 1e9);
}

void machine_disk_close(struct machine_disk *disk) {
  for (int way = 0; way < 2; way++) {
    if (disk->file[way] >= 0) (void)close(disk->file[way]);
  }
  (void)unlink(disk->path);
}

/* ---- sleeping ---- */

struct crowd {
  int threads; /* who sleep; one more wakes */
  uint64_t until_ns;
  struct {
    _Alignas(64) _Atomic uint32_t turn; /* of half the threads: until it changes they sleep */
    _Atomic uint32_t asleep;            /* or about to be */
  } half[2];
  _Atomic bool over;
  _Atomic uint64_t woken;
};

static void futex(_Atomic uint32_t *word, int op, uint32_t value) {
  (void)syscall(SYS_futex, word, op, value, NULL, NULL, 0);
}

/* seq_cst throughout: nothing here shall be fast but the system. */
static void sleep_again_and_again(struct crowd *crowd, int thread) {
  uint64_t times = 0;
  while (!atomic_load(&crowd->over)) {
    uint32_t turn = atomic_load(&crowd->half[thread % 2].turn);
    atomic_fetch_add(&crowd->half[thread % 2].asleep, 1);
    while (atomic_load(&crowd->half[thread % 2].turn) == turn && !atomic_load(&crowd->over))
      futex(&crowd->half[thread % 2].turn, FUTEX_WAIT_PRIVATE, turn);
    times++;
  }
  atomic_fetch_add(&crowd->woken, times);
}

static void wake_again_and_again(struct crowd *crowd) {
  const uint32_t most = (uint32_t)(crowd->threads + 1) / 4; /* of a half: more than half of it, as a group has */
  for (int half = 0; bench_now_ns() < crowd->until_ns; half = !half) {
    for (int i = 0; i < 100 && atomic_load(&crowd->half[half].asleep) < most; i++) (void)usleep(10);
    atomic_store(&crowd->half[half].asleep, 0);
    atomic_fetch_add(&crowd->half[half].turn, 1);
    futex(&crowd->half[half].turn, FUTEX_WAKE_PRIVATE, INT_MAX);
  }
  atomic_store(&crowd->over, true);
  for (int half = 0; half < 2; half++) {
    atomic_fetch_add(&crowd->half[half].turn, 1);
    futex(&crowd->half[half].turn, FUTEX_WAKE_PRIVATE, INT_MAX);
  }
}

static void crowd_body(void *context, int thread) {
  struct crowd *crowd = context;
  if (thread == crowd->threads)
    wake_again_and_again(crowd);
  else
    sleep_again_and_again(crowd, thread);
}

double machine_sleepers(int threads, double seconds) {
  struct crowd crowd = {.threads = threads, .until_ns = bench_now_ns() + (uint64_t)(seconds * 1e9)};
  double taken = bench_run(threads + 1, crowd_body, &crowd);
  return (double)atomic_load(&crowd.woken) / taken / 1e3;
}
