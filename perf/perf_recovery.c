/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How soon is a sale back? A directory of ten million tickets of one campaign, and one of a hundred million, is opened again:
 * on one processor and on two, from the page cache and from the disk.
 *
 * No opening can do less than read the log's files and write to the memory that the tickets then lie in; both are measured
 * in each round, right before the opening, the memory by touching as much as the engine will hold. What the system
 * has to do for memory that nobody had before differs a lot, on virtual machines above all. A third row says what a random
 * exchange for each ticket costs, in threads that do nothing else: what two processors are worth where memory is
 * what they wait for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"
#include "sale.h"

#define PIECE ((size_t)1024 * 1024) /* read at a time */
#define BLOCK 512                   /* what a frame is a multiple of */
#define SAMPLE 1000                 /* tickets looked up behind each opening */
#define COLD_RATIO 2.0
#define WARM_RATE_ONE 45.0
#define WARM_RATE_TWO 60.0
#define BYTES_U64 24.0
#define BYTES_UUID 32.0
#define MAKING_BUFFER (UINT64_C(64) << 20)

struct store {
  char path[BENCH_PATH_MAX];
  uint64_t tickets;
  bool uuid;
  uint64_t memory_bytes; /* that an engine on it holds */
};

/* ---- the files ---- */

struct files {
  uint64_t bytes;  /* read */
  uint64_t frames; /* of them, in log segments, up to the last block that is not zero */
};

static bool is_zero(const unsigned char *block) { return block[0] == 0 && memcmp(block, block + 1, BLOCK - 1) == 0; }

/* `end` becomes the end of the last block of the piece that is not zero. */
static void find_end(const unsigned char *piece, size_t size, uint64_t offset, uint64_t *end) {
  for (size_t at = size / BLOCK * BLOCK; at > 0; at -= BLOCK) {
    if (is_zero(piece + at - BLOCK)) continue;
    *end = offset + at;
    return;
  }
}

static void read_file(int file, unsigned char *piece, bool look, struct files *files) {
  uint64_t offset = 0, end = 0;
  for (ssize_t got; (got = pread(file, piece, PIECE, (off_t)offset)) > 0; offset += (uint64_t)got)
    if (look) find_end(piece, (size_t)got, offset, &end);
  files->bytes += offset;
  files->frames += end > BLOCK ? end - BLOCK : 0;
}

/* Drops it from the page cache; synced before, since only clean pages go. */
static void forget_file(int file) {
  (void)fsync(file);
  (void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
}

enum what { READ, LOOK, FORGET };

/* All log segments of the directory. */
static struct files with_files(const struct store *store, enum what what) {
  struct files files = {0};
  unsigned char *piece = malloc(PIECE);
  DIR *directory = opendir(store->path);
  for (struct dirent *entry; directory != NULL && piece != NULL && (entry = readdir(directory)) != NULL;) {
    if (strstr(entry->d_name, ".log") == NULL) continue;
    int file = openat(dirfd(directory), entry->d_name, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    if (what == FORGET)
      forget_file(file);
    else
      read_file(file, piece, what == LOOK, &files);
    (void)close(file);
  }
  if (directory != NULL) (void)closedir(directory);
  free(piece);
  return files;
}

static double seconds_since(uint64_t begin) { return (double)(bench_now_ns() - begin) / 1e9; }

static double time_reading(const struct store *store) {
  uint64_t begin = bench_now_ns();
  (void)with_files(store, READ);
  return seconds_since(begin);
}

static double time_touching(const struct store *store) {
  uint64_t begin = bench_now_ns();
  void *memory = bench_map((size_t)store->memory_bytes);
  double seconds = seconds_since(begin);
  bench_unmap(memory, (size_t)store->memory_bytes);
  return seconds;
}

/* ---- making ---- */

static void make(struct bench *bench, struct store *store, const char *name, uint64_t tickets, bool uuid) {
  *store = (struct store){.tickets = tickets, .uuid = uuid};
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  struct sale_job job = {.users = tickets, .batches = true, .uuid = uuid};
  options.durability = COUPON_WRITTEN; /* the machine stays up, and closing syncs it all */
  options.log_buffer_bytes = MAKING_BUFFER;
  if (coupon_open(sale_path(bench, name, store->path), &options, &job.engine, &report) != COUPON_OK) {
    fprintf(stderr, "coupon_open: %s\n", report.message);
    exit(1);
  }
  if (uuid)
    sale_create_uuid(job.engine, 1, tickets, tickets);
  else
    sale_create(job.engine, 1, tickets, tickets);
  (void)sale_run(&job, 1);
  (void)bench_check(bench, job.issued == tickets && sale_all_final(job.engine), "every user is told ISSUED");
  sale_close(job.engine, NULL);
  /* What was not synced commit by commit is written again, once. It is not what we ask about. */
  sale_close(sale_open(store->path, COUPON_SYNC), NULL);
}

/* ---- opening ---- */

static coupon_status look_up(coupon_engine *engine, const struct store *store, uint64_t i,
                             struct coupon_ticket *ticket) {
  unsigned char uuid[COUPON_UUID_SIZE];
  uint64_t count;
  if (!store->uuid) return coupon_lookup(engine, 1, bench_user(i), ticket, &count);
  sale_uuid(i, uuid);
  return coupon_lookup_uuid(engine, 1, uuid, ticket, &count);
}

/* Of users that hold a ticket and of users that do not. One thread made the directory: numbers follow the users. */
static bool sample_is_there(coupon_engine *engine, const struct store *store) {
  for (uint64_t k = 0; k < SAMPLE; k++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    const uint64_t i = bench_below(bench_mix(k), store->tickets);
    if (look_up(engine, store, i, &ticket) != COUPON_OK || ticket.number != i + 1) return false;
    if (look_up(engine, store, store->tickets + i, &ticket) != COUPON_NOT_FOUND) return false;
  }
  return true;
}

/* Seconds. */
static double time_opening(struct bench *bench, struct store *store) {
  uint64_t begin = bench_now_ns();
  coupon_engine *engine = sale_open(store->path, COUPON_SYNC);
  double seconds = seconds_since(begin);
  (void)bench_check(bench, sale_is_whole(engine, 1, store->tickets), "the tickets are 1 to N");
  (void)bench_check(bench, sample_is_there(engine, store), "users are found, and strangers are not");
  store->memory_bytes = sale_memory_bytes(engine);
  sale_close(engine, NULL);
  return seconds;
}

/* ---- on one processor, on two ---- */

static cpu_set_t all_processors;

/* This thread and those that it starts. */
static void use_processors(int count) {
  cpu_set_t set = all_processors;
  int taken = 0;
  for (size_t i = 0; i < CPU_SETSIZE; i++) {
    if (CPU_ISSET(i, &set) && taken++ >= count) CPU_CLR(i, &set);
  }
  (void)sched_setaffinity(0, sizeof set, &set);
}

struct times {
  double reading[BENCH_ROUNDS_MAX], touching[BENCH_ROUNDS_MAX], both[BENCH_ROUNDS_MAX], opening[BENCH_ROUNDS_MAX];
};

static void forget_files(const struct store *store) {
  (void)with_files(store, FORGET);
  int file =
      open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC); /* for the superuser alone; the files are gone anyway */
  if (file < 0) return;
  (void)!write(file, "1", 1);
  (void)close(file);
}

static void take_round(struct bench *bench, struct store *store, struct times *times, int round, bool cold) {
  if (cold) forget_files(store);
  times->reading[round] = time_reading(store);
  times->touching[round] = time_touching(store);
  times->both[round] = times->reading[round] + times->touching[round];
  if (cold) forget_files(store);
  times->opening[round] = time_opening(bench, store);
}

static void take_rounds(struct bench *bench, struct store *store, struct times *times, int rounds, bool cold,
                        int processors) {
  use_processors(processors);
  (void)time_reading(store);
  for (int i = 0; i < rounds; i++) take_round(bench, store, times, i, cold);
  (void)sched_setaffinity(0, sizeof all_processors, &all_processors);
}

static void row_of_rate(struct bench *bench, const struct store *store, const char *name, int processors,
                        double seconds) {
  struct bench_row row = {.name = name, .users = store->tickets, .threads = processors, .unit = "M/s"};
  row.value = (double)store->tickets / seconds / 1e6;
  bench_row(bench, &row);
}

/* What a table costs that is filled in the order in which users came. No limit of ours: claims are sorted before. */
static void row_of_exchanges(struct bench *bench, const struct store *store, int processors) {
  struct machine_words words;
  machine_words_init(&words, store->tickets);
  const double rate = machine_prefetched_cas(&words, store->tickets / (uint64_t)processors, processors);
  machine_words_fini(&words);
  struct bench_row row = {.name = "a prefetched random exchange each", .users = store->tickets, .unit = "M/s"};
  row.threads = processors;
  row.value = rate;
  bench_row(bench, &row);
}

static void run_warm(struct bench *bench, struct store *store, int processors) {
  struct times times;
  const int rounds = bench_rounds(bench, store->tickets);
  take_rounds(bench, store, &times, rounds, false, processors);
  const double millions = (double)store->tickets / 1e6;
  row_of_rate(bench, store, "warm, reading the files", processors, bench_median(times.reading, rounds));
  row_of_rate(bench, store, "warm, first touch of the memory", processors, bench_median(times.touching, rounds));
  row_of_exchanges(bench, store, processors);
  struct bench_row row = {.name = "warm, opening", .users = store->tickets, .threads = processors, .unit = "M/s"};
  row.value = millions / bench_median(times.opening, rounds);
  row.limit = millions / bench_median(times.both, rounds);
  row.beside = "reading, then touching, one thread";
  row.rule = BENCH_AT_LEAST;
  row.target = processors == 1 ? WARM_RATE_ONE : WARM_RATE_TWO;
  bench_row(bench, &row);
}

static void run_cold(struct bench *bench, struct store *store, int processors) {
  struct times times;
  const int rounds = bench_rounds(bench, store->tickets);
  take_rounds(bench, store, &times, rounds, true, processors);
  struct bench_row row = {.name = "cold, opening", .users = store->tickets, .threads = processors, .unit = "s"};
  row.value = bench_median(times.opening, rounds);
  row.limit = bench_median(times.reading, rounds);
  row.beside = "cold, reading the files";
  row.rule = BENCH_RATIO_AT_MOST;
  row.target = COLD_RATIO;
  bench_row(bench, &row);
}

static void row_of_bytes(struct bench *bench, const struct store *store, const char *name, double target) {
  struct files files = with_files(store, LOOK);
  struct bench_row row = {.name = name, .users = store->tickets, .unit = "B", .rule = BENCH_AT_MOST, .target = target};
  row.value = (double)files.frames / (double)store->tickets;
  bench_row(bench, &row);
  printf("  %llu tickets in %llu bytes of frames: records, headers, padding\n", (unsigned long long)store->tickets,
         (unsigned long long)files.frames);
}

static void run_size(struct bench *bench, uint64_t standard) {
  struct store store;
  const uint64_t tickets = bench_size(bench, standard);
  if (bench_skips(bench, tickets)) return;
  make(bench, &store, "log", tickets, false);
  row_of_bytes(bench, &store, "log on disk per issue, 8 bytes", BYTES_U64);
  store.memory_bytes = 0;
  (void)time_opening(bench, &store); /* how much memory it holds */
  for (int processors = 1; processors <= 2; processors++) run_warm(bench, &store, processors);
  for (int processors = 1; processors <= 2; processors++) run_cold(bench, &store, processors);
  bench_remove_directory(store.path);
}

static void run_uuid(struct bench *bench) {
  struct store store;
  const uint64_t tickets = bench_size(bench, BENCH_STANDARD);
  if (bench_skips(bench, tickets)) return;
  make(bench, &store, "log", tickets, true);
  row_of_bytes(bench, &store, "log on disk per issue, 16 bytes", BYTES_UUID);
  bench_remove_directory(store.path);
}

int main(int count, char **arguments) {
  struct bench bench;
  bench_begin(&bench, count, arguments, "perf_recovery", "how soon is a sale back?");
  if (sched_getaffinity(0, sizeof all_processors, &all_processors) != 0) return 1;
  bench_head("users of 8 bytes");
  run_size(&bench, BENCH_STANDARD);
  run_size(&bench, 10 * BENCH_STANDARD);
  bench_head("users of 16 bytes");
  run_uuid(&bench);
  return bench_end(&bench);
}
