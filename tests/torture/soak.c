/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that an engine can go on for ever: campaigns of a million units, one after the other, each sold out by four
 * threads in batches under ten requests a unit, so that nine of ten are refused; then closed by its time, released
 * and dropped. Now and then the directory is closed and opened again, from its checkpoint. Memory and disk stay below
 * their limits at every look, and from the first tenth of the campaigns on memory, descriptors and disk rise no more.
 *
 * Planted: campaigns that are not given up; a descriptor left open by each.
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coupon/coupon.h"
#include "torture/torture.h"

#define THREADS 4
#define BATCH 256
#define REQUESTS_PER_UNIT 10
#define MEMORY_LIMIT (UINT64_C(2) << 30)
#define DISK_LIMIT (UINT64_C(8) << 30)
#define REOPEN_EVERY 16
#define CAMPAIGNS_AT_LEAST 3 /* however slow the machine: fewer have no first tenth */
#define CAMPAIGNS_AT_MOST 1000000
#define SPAN_NS UINT64_C(1000000000000) /* of the clock, for each campaign */
#define LOOK_EVERY_US 20000

#define STOCK_LARGE UINT64_C(1000000)
#define STOCK_SMALL UINT64_C(20000) /* where every request is dear; and a planted bug shows with little */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STOCK STOCK_SMALL
#else
#define STOCK STOCK_LARGE
#endif

/* What allocators keep, and what openings take. Much less than a campaign that is not given up, or a few small ones. */
#define MEMORY_NOISE (UINT64_C(16) << 20)
/* And of each ticket where the keeper had no processor to pack any: its wide row. */
#define ROW_BYTES UINT64_C(16)
/* What the library has of a campaign that is given up, and of rows for the next ones. */
#define CAMPAIGN_LEFT UINT64_C(2048)
#define ROWS_LEFT (UINT64_C(5) << 20)
#define DISK_NOISE (UINT64_C(64) << 20)

/* What a campaign took at most. */
struct level {
  uint64_t memory, disk, descriptors;
};

static struct {
  char directory[TORTURE_PATH_MAX];
  uint64_t stock;
  coupon_engine *engine;
  uint64_t campaign;
  _Atomic uint64_t now_ns, requests, issued, refused;
  _Atomic bool watching;
  pthread_mutex_t lock; /* of the level, which the watcher raises */
  struct level level, worst, base;
  struct level *levels;
  uint64_t campaigns, reopened;
} soak;

/* --- looking ---------------------------------------------------------------------------------------- */

static uint64_t memory_now(void) {
  unsigned long long total = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  if (file == NULL || fscanf(file, "%llu %llu", &total, &resident) != 2) torture_cannot("reading /proc/self/statm");
  (void)fclose(file);
  return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Files may come and go meanwhile. */
static uint64_t disk_now(void) {
  uint64_t sum = 0;
  DIR *stream = opendir(soak.directory);
  if (stream == NULL) return 0;
  for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
    struct stat status;
    if (fstatat(dirfd(stream), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode))
      sum += (uint64_t)status.st_blocks * 512;
  }
  (void)closedir(stream);
  return sum;
}

static uint64_t descriptors_now(void) {
  uint64_t count = 0;
  DIR *stream = opendir("/proc/self/fd");
  if (stream == NULL) torture_cannot("listing /proc/self/fd");
  while (readdir(stream) != NULL) count++;
  (void)closedir(stream);
  return count;
}

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

static void raise_to(struct level *level, const struct level *other) {
  level->memory = larger(level->memory, other->memory);
  level->disk = larger(level->disk, other->disk);
  level->descriptors = larger(level->descriptors, other->descriptors);
}

static void look(void) {
  struct level now = {memory_now(), disk_now(), 0};
  (void)pthread_mutex_lock(&soak.lock);
  raise_to(&soak.level, &now);
  (void)pthread_mutex_unlock(&soak.lock);
  TORTURE_CHECK(now.memory <= MEMORY_LIMIT, "%" PRIu64 " bytes of memory in campaign %" PRIu64, now.memory,
                soak.campaign);
  TORTURE_CHECK(now.disk <= DISK_LIMIT, "%" PRIu64 " bytes of disk in campaign %" PRIu64, now.disk, soak.campaign);
}

/* Takes the level of what was since the last call. */
static struct level take_level(void) {
  (void)pthread_mutex_lock(&soak.lock);
  struct level level = soak.level;
  soak.level = (struct level){0, 0, 0};
  (void)pthread_mutex_unlock(&soak.lock);
  level.descriptors = descriptors_now();
  return level;
}

static void *watch(void *unused) {
  while (atomic_load(&soak.watching)) {
    look();
    torture_sleep_us(LOOK_EVERY_US);
  }
  return unused;
}

/* --- one campaign ----------------------------------------------------------------------------------- */

static uint64_t read_clock(void *unused) {
  (void)unused;
  return atomic_fetch_add_explicit(&soak.now_ns, 1, memory_order_relaxed); /* relaxed: it only counts */
}

static void open_engine(void) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  options.durability = COUPON_SYNC;
  options.segment_size_bytes = soak.stock < STOCK_LARGE ? UINT64_C(256) << 10 : UINT64_C(4) << 20;
  options.max_memory_bytes = MEMORY_LIMIT;
  options.checkpoint_log_bytes = soak.stock * 32; /* a campaign's log, and a little more */
  options.callbacks.clock = read_clock;
  coupon_status status = coupon_open(soak.directory, &options, &soak.engine, &report);
  TORTURE_CHECK(status == COUPON_OK, "opening before campaign %" PRIu64 ": %s: %s", soak.campaign,
                coupon_status_name(status), report.message);
  TORTURE_CHECK(soak.campaign < REOPEN_EVERY || report.checkpoint != 0, "it was opened without a checkpoint");
}

static void close_engine(void) {
  coupon_status status = coupon_close(soak.engine);
  TORTURE_CHECK(status == COUPON_OK, "closing after campaign %" PRIu64 ": %s", soak.campaign,
                coupon_status_name(status));
  (void)coupon_destroy(soak.engine);
}

struct buyer {
  pthread_t thread;
  struct torture_random random;
};

/* Counts; a full log buffer is asked again, by somebody else. */
static void count_answers(const struct coupon_ticket *tickets) {
  uint64_t issued = 0, refused = 0;
  for (size_t i = 0; i < BATCH; i++) {
    int32_t answer = tickets[i].answer;
    TORTURE_CHECK(answer == COUPON_ISSUED || answer == COUPON_ALREADY_ISSUED || answer == COUPON_SOLD_OUT ||
                      answer == COUPON_E_BUSY,
                  "campaign %" PRIu64 " answers %s", soak.campaign, coupon_status_name(answer));
    issued += answer == COUPON_ISSUED;
    refused += answer == COUPON_ALREADY_ISSUED || answer == COUPON_SOLD_OUT;
  }
  atomic_fetch_add(&soak.issued, issued);
  atomic_fetch_add(&soak.refused, refused);
  if (issued + refused < BATCH) torture_sleep_us(100);
}

static void *buy(void *argument) {
  struct buyer *buyer = argument;
  struct coupon_request requests[BATCH];
  struct coupon_ticket tickets[BATCH];
  memset(requests, 0, sizeof requests);
  while (atomic_load(&soak.issued) + atomic_load(&soak.refused) < soak.stock * REQUESTS_PER_UNIT) {
    for (size_t i = 0; i < BATCH; i++) {
      requests[i].campaign = soak.campaign;
      requests[i].user = torture_below(&buyer->random, soak.stock * 4);
    }
    memset(tickets, 0, sizeof tickets);
    coupon_status status = coupon_try_issue_batch(soak.engine, requests, BATCH, tickets, sizeof tickets[0]);
    TORTURE_CHECK(status == COUPON_OK, "campaign %" PRIu64 ": %s", soak.campaign, coupon_status_name(status));
    count_answers(tickets);
  }
  return NULL;
}

static void create(void) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = soak.campaign;
  spec.stock = soak.stock;
  spec.closes_at_ns = (soak.campaign + 1) * SPAN_NS;
  atomic_store(&soak.now_ns, soak.campaign * SPAN_NS);
  coupon_status status = coupon_create(soak.engine, &spec, COUPON_FOREVER);
  TORTURE_CHECK(status == COUPON_OK, "creating campaign %" PRIu64 ": %s", soak.campaign, coupon_status_name(status));
}

static void sell_out(void) {
  struct buyer buyers[THREADS];
  atomic_store(&soak.issued, 0);
  atomic_store(&soak.refused, 0);
  for (size_t i = 0; i < THREADS; i++) {
    buyers[i].random = torture_stream(torture_seed(), i);
    if (pthread_create(&buyers[i].thread, NULL, buy, &buyers[i]) != 0) torture_cannot("a thread");
  }
  for (size_t i = 0; i < THREADS; i++) (void)pthread_join(buyers[i].thread, NULL);
  TORTURE_CHECK(atomic_load(&soak.issued) == soak.stock, "campaign %" PRIu64 ": %" PRIu64 " were issued of %" PRIu64,
                soak.campaign, atomic_load(&soak.issued), soak.stock);
  atomic_fetch_add(&soak.requests, atomic_load(&soak.issued) + atomic_load(&soak.refused));
}

/* Its time is over, which somebody has to hear; then it is released, and dropped. */
static void give_up(void) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  const uint64_t nobody = soak.stock * 5;
  coupon_status status = coupon_issue(soak.engine, soak.campaign, nobody, COUPON_FOREVER, &ticket);
  TORTURE_CHECK(status == COUPON_SOLD_OUT, "campaign %" PRIu64 ", sold out, answers %s", soak.campaign,
                coupon_status_name(status));
  atomic_store(&soak.now_ns, (soak.campaign + 1) * SPAN_NS);
  status = coupon_issue(soak.engine, soak.campaign, nobody, COUPON_FOREVER, &ticket);
  TORTURE_CHECK(status == COUPON_ENDED, "campaign %" PRIu64 ", closed, answers %s", soak.campaign,
                coupon_status_name(status));
  if (torture_is_planted("leaks-descriptors")) (void)open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (torture_is_planted("keeps-campaigns")) return;
  status = coupon_release(soak.engine, soak.campaign, COUPON_FOREVER);
  TORTURE_CHECK(status == COUPON_OK, "releasing campaign %" PRIu64 ": %s", soak.campaign, coupon_status_name(status));
  status = coupon_drop(soak.engine, soak.campaign, COUPON_FOREVER);
  TORTURE_CHECK(status == COUPON_OK, "dropping campaign %" PRIu64 ": %s", soak.campaign, coupon_status_name(status));
  struct coupon_stats stats = COUPON_STATS_INIT;
  status = coupon_read_stats(soak.engine, &stats);
  TORTURE_CHECK(status == COUPON_OK && stats.memory_bytes <= ROWS_LEFT + (soak.campaign + 1) * CAMPAIGN_LEFT,
                "%" PRIu64 " bytes are left when campaign %" PRIu64 " is given up", stats.memory_bytes, soak.campaign);
}

static void run_campaign(void) {
  create();
  sell_out();
  give_up();
  if (soak.campaign % REOPEN_EVERY == 0) {
    close_engine();
    open_engine();
    soak.reopened++;
  }
  look();
  soak.levels[soak.campaigns++] = take_level();
}

/* --- all of them ------------------------------------------------------------------------------------ */

/* Whether it rises, or once was high. */
static void tell_tenths(void) {
  for (uint64_t tenth = 0; tenth < 10; tenth++) {
    struct level most = {0};
    const uint64_t from = soak.campaigns * tenth / 10, to = soak.campaigns * (tenth + 1) / 10;
    for (uint64_t i = from; i < to; i++) raise_to(&most, &soak.levels[i]);
    printf("campaigns %" PRIu64 " to %" PRIu64 ": %" PRIu64 " bytes of memory, %" PRIu64 " of disk, %" PRIu64
           " descriptors at most\n",
           from + 1, to, most.memory, most.disk, most.descriptors);
  }
}

/* The first tenth, or the first two where there are few. A tenth more is the noise of the moment at which a checkpoint
 * begins; and a campaign leaves its description behind in any case. */
static void check_level(void) {
  uint64_t first = soak.campaigns / 10 < 2 ? 2 : soak.campaigns / 10;
  for (uint64_t i = 0; i < soak.campaigns; i++) raise_to(i < first ? &soak.base : &soak.worst, &soak.levels[i]);
  if (soak.campaigns >= 10) tell_tenths();
  const uint64_t memory =
      soak.base.memory + soak.base.memory / 10 + MEMORY_NOISE + soak.stock * ROW_BYTES + soak.campaigns * 1024;
  const uint64_t disk = soak.base.disk + soak.base.disk / 10 + DISK_NOISE + soak.campaigns * 1024;
  TORTURE_CHECK(soak.worst.memory <= memory, "memory goes on rising: %" PRIu64 " bytes, %" PRIu64 " in the first tenth",
                soak.worst.memory, soak.base.memory);
  TORTURE_CHECK(soak.worst.disk <= disk, "the disk fills up: %" PRIu64 " bytes, %" PRIu64 " in the first tenth",
                soak.worst.disk, soak.base.disk);
  TORTURE_CHECK(soak.worst.descriptors <= soak.base.descriptors + 2,
                "descriptors: %" PRIu64 ", %" PRIu64 " in the first tenth", soak.worst.descriptors,
                soak.base.descriptors);
}

int main(int argc, char **argv) {
  static const char *const planted[] = {"keeps-campaigns", "leaks-descriptors", NULL};
  static const struct torture_plan plan = {.name = "soak", .counted = "campaigns", .rounds = 40, .planted = planted};
  torture_begin(&plan, argc, argv);
  bool small = torture_is_planted("keeps-campaigns") || torture_is_planted("leaks-descriptors");
  soak.stock = small ? STOCK_SMALL : STOCK;
  soak.levels = calloc(CAMPAIGNS_AT_MOST, sizeof *soak.levels);
  if (soak.levels == NULL) torture_cannot("memory");
  char path[TORTURE_PATH_MAX];
  pthread_t watcher;
  torture_directory_make(path);
  torture_join(soak.directory, path, "soak");
  (void)pthread_mutex_init(&soak.lock, NULL);
  open_engine();
  atomic_store(&soak.watching, true);
  if (pthread_create(&watcher, NULL, watch, NULL) != 0) torture_cannot("a thread");
  while (soak.campaigns < CAMPAIGNS_AT_MOST && (torture_next_round() || soak.campaigns < CAMPAIGNS_AT_LEAST)) {
    soak.campaign++;
    run_campaign();
    torture_count(1);
  }
  atomic_store(&soak.watching, false);
  (void)pthread_join(watcher, NULL);
  close_engine();
  check_level();
  torture_directory_remove(path);
  char details[400];
  (void)snprintf(details, sizeof details,
                 "of %" PRIu64 " units each, %" PRIu64 " requests in all; opened again %" PRIu64
                 " times; at most %" PRIu64 " MiB of memory (%" PRIu64 " in the first tenth), %" PRIu64 " (%" PRIu64
                 ") MiB of disk, %" PRIu64 " (%" PRIu64 ") descriptors",
                 soak.stock, atomic_load(&soak.requests), soak.reopened, soak.worst.memory >> 20,
                 soak.base.memory >> 20, soak.worst.disk >> 20, soak.base.disk >> 20, soak.worst.descriptors,
                 soak.base.descriptors);
  return torture_end(details);
}
