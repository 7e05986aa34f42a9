/* SPDX-License-Identifier: Apache-2.0 */
#include "store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE ((size_t)1024 * 1024) /* read at a time */
#define BLOCK 512                   /* what a frame is a multiple of */
#define SAMPLE 1000                 /* tickets looked up behind each opening */
#define MAKING_BUFFER (UINT64_C(64) << 20)

coupon_engine *store_open(const char *path, int32_t durability, struct coupon_report *report) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report own = COUPON_REPORT_INIT;
  coupon_engine *engine;
  options.durability = durability;
  options.log_buffer_bytes = durability == COUPON_WRITTEN ? MAKING_BUFFER : 0;
  options.checkpoint_log_bytes = UINT64_MAX; /* when it is asked for */
  if (coupon_open(path, &options, &engine, &own) != COUPON_OK) {
    fprintf(stderr, "coupon_open: %s\n", own.message);
    exit(1);
  }
  if (report != NULL) *report = own;
  return engine;
}

/* ---- the files ---- */

static bool is_zero(const unsigned char *block) { return block[0] == 0 && memcmp(block, block + 1, BLOCK - 1) == 0; }

/* `end` becomes the end of the last block of the piece that is not zero. */
static void find_end(const unsigned char *piece, size_t size, uint64_t offset, uint64_t *end) {
  for (size_t at = size / BLOCK * BLOCK; at > 0; at -= BLOCK) {
    if (is_zero(piece + at - BLOCK)) continue;
    *end = offset + at;
    return;
  }
}

static void read_file(int file, unsigned char *piece, bool look, struct store_files *files) {
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

/* All files whose names contain `part`. */
static struct store_files with_files(const struct store *store, const char *part, enum what what) {
  struct store_files files = {0};
  unsigned char *piece = malloc(PIECE);
  DIR *directory = opendir(store->path);
  for (struct dirent *entry; directory != NULL && piece != NULL && (entry = readdir(directory)) != NULL;) {
    if (strstr(entry->d_name, part) == NULL) continue;
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

double store_time_reading(const struct store *store, const char *part) {
  uint64_t begin = bench_now_ns();
  (void)with_files(store, part, READ);
  return seconds_since(begin);
}

double store_time_touching(const struct store *store) {
  uint64_t begin = bench_now_ns();
  void *memory = bench_map((size_t)store->memory_bytes);
  double seconds = seconds_since(begin);
  bench_unmap(memory, (size_t)store->memory_bytes);
  return seconds;
}

void store_forget(const struct store *store) {
  (void)with_files(store, ".", FORGET);
  int file =
      open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC); /* for the superuser alone; the files are gone anyway */
  if (file < 0) return;
  (void)!write(file, "1", 1);
  (void)close(file);
}

struct store_files store_look(const struct store *store) {
  return with_files(store, STORE_LOG, LOOK);
}

/* ---- making ---- */

void store_make(struct bench *bench, struct store *store, const char *name, uint64_t tickets, bool uuid) {
  *store = (struct store){.tickets = tickets, .uuid = uuid};
  struct sale_job job = {.users = tickets, .batches = true, .uuid = uuid};
  /* The machine stays up, and closing syncs it all. */
  job.engine = store_open(sale_path(bench, name, store->path), COUPON_WRITTEN, NULL);
  if (uuid)
    sale_create_uuid(job.engine, 1, tickets, tickets);
  else
    sale_create(job.engine, 1, tickets, tickets);
  (void)sale_run(&job, 1);
  (void)bench_check(bench, job.issued == tickets && sale_all_final(job.engine), "every user is told ISSUED");
  sale_close(job.engine, NULL);
  /* What was not synced commit by commit is written again, once. It is not what we ask about. */
  sale_close(store_open(store->path, COUPON_SYNC, NULL), NULL);
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

double store_time_opening(struct bench *bench, struct store *store, struct coupon_report *report) {
  uint64_t begin = bench_now_ns();
  struct coupon_report found = COUPON_REPORT_INIT;
  coupon_engine *engine = store_open(store->path, COUPON_SYNC, &found);
  double seconds = seconds_since(begin);
  (void)bench_check(bench, sale_is_whole(engine, 1, store->tickets), "the tickets are 1 to N");
  (void)bench_check(bench, sample_is_there(engine, store), "users are found, and strangers are not");
  store->memory_bytes = sale_memory_bytes(engine);
  sale_close(engine, NULL);
  if (report != NULL) *report = found;
  return seconds;
}
