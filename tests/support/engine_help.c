/* SPDX-License-Identifier: Apache-2.0 */
#include "support/engine_help.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/checksum.h"
#include "engine/engine.h"

#if defined(__SANITIZE_ADDRESS__)
#define HELP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HELP_ASAN 1
#endif
#endif
#ifdef HELP_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

/* Nobody waits longer for what must come. */
#define PATIENCE_S 30

/* --- the process --------------------------------------------------------------------------------- */

void help_die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)vfprintf(stderr, format, arguments);
  va_end(arguments);
  (void)fputc('\n', stderr);
  (void)fflush(stderr);
  abort();
}

bool help_leaks(void) {
#ifdef HELP_ASAN
  return __lsan_do_recoverable_leak_check() != 0;
#else
  return false;
#endif
}

bool help_sanitized(void) {
#ifdef HELP_ASAN
  return true;
#else
  return false;
#endif
}

void help_forget_frames(void *unused) {
  (void)unused;
#ifdef HELP_ASAN
  pthread_attr_t attributes;
  void *bottom;
  size_t size;
  HELP_CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
  HELP_CHECK(pthread_attr_getstack(&attributes, &bottom, &size) == 0);
  __asan_unpoison_memory_region(bottom, size);
  (void)pthread_attr_destroy(&attributes);
#endif
}

static void doze(void) {
  const struct timespec while_ns = {.tv_sec = 0, .tv_nsec = 200000};
  (void)nanosleep(&while_ns, NULL);
}

static bool ask_until(int64_t end, bool (*is_so)(void *context), void *context) {
  while (!is_so(context)) {
    if (cpn_monotonic_ns() >= end) return false;
    doze();
  }
  return true;
}

bool help_until(bool (*is_so)(void *context), void *context) {
  return ask_until(cpn_deadline_after(PATIENCE_S * INT64_C(1000000000)), is_so, context);
}

bool help_soon(bool (*is_so)(void *context), void *context) {
  return ask_until(cpn_deadline_after(INT64_C(50000000)), is_so, context);
}

uint64_t help_seed(void) {
  const char *given = getenv("COUPON_TEST_SEED");
  uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : UINT64_C(20261203);
  (void)fprintf(stderr, "seed %llu (COUPON_TEST_SEED)\n", (unsigned long long)seed);
  return seed;
}

uint64_t help_random(uint64_t *state) { /* splitmix64 (Steele, Lea and Flood, 2014) */
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* --- directories --------------------------------------------------------------------------------- */

void help_temp_make(char path[HELP_PATH_MAX]) {
  const char *where = getenv("TMPDIR");
  (void)snprintf(path, HELP_PATH_MAX, "%s/coupon-help.XXXXXX", where != NULL ? where : "/tmp");
  HELP_CHECK(mkdtemp(path) != NULL);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place) {
  (void)status, (void)kind, (void)place;
  return remove(path);
}

void help_temp_remove(const char *path) {
  HELP_CHECK(strstr(path, "/coupon-help.") != NULL);
  HELP_CHECK(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

const char *help_join(char path[HELP_PATH_MAX], const char *directory, const char *name) {
  HELP_CHECK(snprintf(path, HELP_PATH_MAX, "%s/%s", directory, name) < HELP_PATH_MAX);
  return path;
}

static void copy_file(const char *from, const char *to) {
  int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  HELP_CHECK(in >= 0 && out >= 0);
  static char piece[65536];
  for (ssize_t got; (got = read(in, piece, sizeof piece)) != 0;) {
    HELP_CHECK(got > 0 && write(out, piece, (size_t)got) == got);
  }
  (void)close(in);
  (void)close(out);
}

/* The names in a directory, sorted. */
static int list_names(const char *directory, struct dirent ***entries) {
  int count = scandir(directory, entries, NULL, alphasort);
  HELP_CHECK(count >= 0);
  return count;
}

void help_copy_directory(const char *from, const char *to) {
  HELP_CHECK(mkdir(to, 0700) == 0);
  struct dirent **entries;
  int count = list_names(from, &entries);
  for (int i = 0; i < count; i++) {
    char source[HELP_PATH_MAX], target[HELP_PATH_MAX];
    if (entries[i]->d_name[0] != '.')
      copy_file(help_join(source, from, entries[i]->d_name), help_join(target, to, entries[i]->d_name));
    free(entries[i]);
  }
  free(entries);
}

static uint64_t fingerprint_file(const char *path) {
  struct stat status;
  HELP_CHECK(stat(path, &status) == 0);
  uint64_t parts[5] = {(uint64_t)status.st_size, (uint64_t)status.st_mode, (uint64_t)status.st_mtim.tv_sec,
                       (uint64_t)status.st_mtim.tv_nsec, 0};
  if (S_ISREG(status.st_mode)) {
    char *bytes = malloc((size_t)status.st_size + 1);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    HELP_CHECK(bytes != NULL && file >= 0 && read(file, bytes, (size_t)status.st_size) == status.st_size);
    parts[4] = cpn_checksum(bytes, (size_t)status.st_size);
    (void)close(file);
    free(bytes);
  }
  return cpn_checksum(parts, sizeof parts);
}

uint64_t help_fingerprint(const char *directory) {
  struct dirent **entries;
  int count = list_names(directory, &entries);
  uint64_t sum = 0;
  for (int i = 0; i < count; i++) {
    char path[HELP_PATH_MAX];
    if (strcmp(entries[i]->d_name, "..") != 0) {
      uint64_t parts[3] = {sum, cpn_checksum(entries[i]->d_name, strlen(entries[i]->d_name)),
                           fingerprint_file(help_join(path, directory, entries[i]->d_name))};
      sum = cpn_checksum(parts, sizeof parts);
    }
    free(entries[i]);
  }
  free(entries);
  return sum;
}

/* --- engines ------------------------------------------------------------------------------------- */

uint64_t help_clock_read(void *context) { return atomic_load(&((struct help_clock *)context)->now_ns); }

struct coupon_options help_options(int32_t durability) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.durability = durability;
  options.segment_size_bytes = 16384;
  options.log_buffer_bytes = 65536;
  return options;
}

struct coupon_options help_options_with_clock(int32_t durability, struct help_clock *clock) {
  struct coupon_options options = help_options(durability);
  options.callbacks.clock = help_clock_read;
  options.callbacks.context = clock;
  return options;
}

static void must_be_open(coupon_status status, const char *path, const struct coupon_report *report) {
  if (status == COUPON_OK) return;
  help_die("cannot open %s: %s, %s at %llu: %s", path != NULL ? path : "(memory)", coupon_status_name(status),
           report->file, (unsigned long long)report->offset, report->message);
}

coupon_engine *help_open(const char *path, const struct coupon_options *options) {
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine;
  must_be_open(coupon_open(path, options, &engine, &report), path, &report);
  return engine;
}

coupon_engine *help_open_in_memory(void) {
  struct coupon_options options = help_options(COUPON_NONE);
  return help_open(NULL, &options);
}

coupon_engine *help_open_env(const struct cpn_env *env, const char *path, const struct coupon_options *options) {
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine = NULL;
  must_be_open(cpn_engine_open(env, path, options, &engine, &report), path, &report);
  return engine;
}

void help_close(coupon_engine *engine) {
  HELP_CHECK(coupon_close(engine) == COUPON_OK);
  HELP_CHECK(coupon_destroy(engine) == COUPON_OK);
}

struct coupon_campaign_spec help_spec(uint64_t id, uint64_t stock) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = id;
  spec.stock = stock;
  return spec;
}

struct coupon_campaign_spec help_spec_uuid(uint64_t id, uint64_t stock) {
  struct coupon_campaign_spec spec = help_spec(id, stock);
  spec.user_kind = COUPON_USER_UUID;
  return spec;
}

struct help_uuid help_uuid(uint64_t number) {
  struct help_uuid uuid;
  uint64_t state = number;
  for (size_t i = 0; i < COUPON_UUID_SIZE; i += 8) {
    uint64_t word = i == 0 ? number : help_random(&state);
    memcpy(uuid.bytes + i, &word, 8);
  }
  return uuid;
}

void help_create(coupon_engine *engine, uint64_t id, uint64_t stock) {
  struct coupon_campaign_spec spec = help_spec(id, stock);
  HELP_CHECK(coupon_create(engine, &spec, COUPON_FOREVER) == COUPON_OK);
}

coupon_status help_try(coupon_engine *engine, uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_try_issue(engine, campaign, user, &ticket);
}

coupon_status help_ask(coupon_engine *engine, uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_issue(engine, campaign, user, COUPON_FOREVER, &ticket);
}

struct coupon_campaign_info help_info(coupon_engine *engine, uint64_t campaign) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  HELP_CHECK(coupon_info(engine, campaign, &info) == COUPON_OK);
  return info;
}

struct coupon_stats help_stats(coupon_engine *engine) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  HELP_CHECK(coupon_read_stats(engine, &stats) == COUPON_OK);
  return stats;
}

bool help_same_ticket(const struct coupon_ticket *a, const struct coupon_ticket *b) {
  return a->campaign == b->campaign && a->user == b->user && a->number == b->number && a->lsn == b->lsn &&
         a->time_ns == b->time_ns;
}

/* --- audit --------------------------------------------------------------------------------------- */

/* Whoever it is, of either kind. */
struct person {
  uint64_t user;
  struct help_uuid uuid;
};

static int compare_persons(const void *a, const void *b) { return memcmp(a, b, sizeof(struct person)); }

static bool has_twins(struct person *persons, uint64_t count) {
  qsort(persons, count, sizeof *persons, compare_persons);
  for (uint64_t i = 1; i < count; i++) {
    if (compare_persons(&persons[i], &persons[i - 1]) == 0) return true;
  }
  return false;
}

static const char *audit_tickets(const struct coupon_ticket *tickets, size_t count, bool logged,
                                 struct person *persons) {
  for (size_t i = 0; i < count; i++) {
    if (tickets[i].number != i + 1) return "numbers are not 1, 2, 3 …";
    if (!logged && tickets[i].lsn != 0) return "there is no log, but a ticket has a position in it";
    if (logged && i > 0 && tickets[i].lsn <= tickets[i - 1].lsn) return "LSNs do not rise along the numbers";
    if (i > 0 && tickets[i].time_ns < tickets[i - 1].time_ns) return "times fall along the numbers";
    persons[i].user = tickets[i].user;
    memcpy(persons[i].uuid.bytes, tickets[i].uuid, COUPON_UUID_SIZE);
  }
  return NULL;
}

const char *help_audit(coupon_engine *engine, uint64_t campaign, uint64_t *count) {
  struct coupon_campaign_info info = help_info(engine, campaign);
  *count = 0;
  if (info.issued + info.remaining != info.stock) return "issued + remaining is not the stock";
  const size_t room = (size_t)info.issued + 1;
  struct coupon_ticket *tickets = calloc(room, sizeof *tickets);
  struct person *persons = calloc(room, sizeof *persons);
  HELP_CHECK(tickets != NULL && persons != NULL);
  size_t got = 0;
  HELP_CHECK(coupon_tickets(engine, campaign, 1, tickets, sizeof *tickets, room, &got) == COUPON_OK);
  *count = got;
  const bool logged = help_stats(engine).durability != COUPON_NONE;
  const char *wrong =
      got > info.issued ? "more tickets than units issued" : audit_tickets(tickets, got, logged, persons);
  if (wrong == NULL && info.user_limit == 1 && has_twins(persons, got)) wrong = "a user has two tickets";
  free(persons);
  free(tickets);
  return wrong;
}

/* --- every public function ----------------------------------------------------------------------- */

static coupon_status call_stats(coupon_engine *engine) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  return coupon_read_stats(engine, &stats);
}

/* The campaign of the calls for users of 16 bytes. */
#define UUID_CAMPAIGN UINT64_C(0x75756964)

static coupon_status call_checkpoint(coupon_engine *engine) { return coupon_checkpoint(engine, COUPON_FOREVER); }

static coupon_status call_create(coupon_engine *engine) {
  struct coupon_campaign_spec spec = help_spec(1, 1000000), second = help_spec_uuid(UUID_CAMPAIGN, 1000000);
  coupon_status status = coupon_create(engine, &spec, COUPON_FOREVER);
  return status == COUPON_OK ? coupon_create(engine, &second, COUPON_FOREVER) : status;
}

static coupon_status call_info(coupon_engine *engine) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  return coupon_info(engine, 1, &info);
}

static coupon_status call_list(coupon_engine *engine) {
  struct coupon_campaign_info infos[2];
  size_t count;
  return coupon_list(engine, 0, infos, sizeof infos[0], 2, &count);
}

static coupon_status call_try_issue(coupon_engine *engine) { return help_try(engine, 1, 1); }

static coupon_status call_try_issue_uuid(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_try_issue_uuid(engine, UUID_CAMPAIGN, help_uuid(1).bytes, &ticket);
}

static coupon_status call_try_issue_batch(coupon_engine *engine) {
  struct coupon_request requests[3] = {{.campaign = 1, .user = 1}, {.campaign = UUID_CAMPAIGN}, {.campaign = 404}};
  struct coupon_ticket tickets[3];
  memcpy(requests[1].uuid, help_uuid(1).bytes, COUPON_UUID_SIZE);
  return coupon_try_issue_batch(engine, requests, 3, tickets, sizeof tickets[0]);
}

static coupon_status call_issue(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_issue(engine, 1, 1, COUPON_FOREVER, &ticket);
}

static coupon_status call_issue_uuid(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_issue_uuid(engine, UUID_CAMPAIGN, help_uuid(1).bytes, COUPON_FOREVER, &ticket);
}

static coupon_status call_wait(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  ticket.answer = COUPON_SOLD_OUT; /* a refusal that rests on nothing */
  return coupon_wait(engine, &ticket, COUPON_FOREVER);
}

static coupon_status call_flush(coupon_engine *engine) { return coupon_flush(engine); }

static coupon_status call_durable_lsn(coupon_engine *engine) {
  uint64_t lsn;
  return coupon_durable_lsn(engine, &lsn);
}

static coupon_status call_eventfd(coupon_engine *engine) {
  int fd;
  return coupon_eventfd(engine, &fd);
}

static coupon_status call_lookup(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t count;
  return coupon_lookup(engine, 1, 1, &ticket, &count);
}

static coupon_status call_lookup_uuid(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t count;
  return coupon_lookup_uuid(engine, UUID_CAMPAIGN, help_uuid(1).bytes, &ticket, &count);
}

static coupon_status call_tickets(coupon_engine *engine) {
  struct coupon_ticket tickets[2];
  size_t count;
  return coupon_tickets(engine, 1, 1, tickets, sizeof tickets[0], 2, &count);
}

static coupon_status call_read_tickets(coupon_engine *engine) {
  struct coupon_ticket tickets[2];
  size_t count;
  return coupon_read_tickets(engine, 1, 1, tickets, sizeof tickets[0], 2, &count);
}

static coupon_status call_read_lookup(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_read_lookup(engine, 1, 1, &ticket, NULL);
}

static coupon_status call_read_lookup_uuid(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_read_lookup_uuid(engine, UUID_CAMPAIGN, help_uuid(1).bytes, &ticket, NULL);
}

const struct help_call help_calls[] = {
    {"coupon_read_stats", call_stats},
    {"coupon_checkpoint", call_checkpoint},
    {"coupon_create", call_create},
    {"coupon_info", call_info},
    {"coupon_list", call_list},
    {"coupon_try_issue", call_try_issue},
    {"coupon_try_issue_uuid", call_try_issue_uuid},
    {"coupon_try_issue_batch", call_try_issue_batch},
    {"coupon_issue", call_issue},
    {"coupon_issue_uuid", call_issue_uuid},
    {"coupon_wait", call_wait},
    {"coupon_durable_lsn", call_durable_lsn},
    {"coupon_flush", call_flush},
    {"coupon_eventfd", call_eventfd},
    {"coupon_lookup", call_lookup},
    {"coupon_lookup_uuid", call_lookup_uuid},
    {"coupon_tickets", call_tickets},
    {"coupon_read_tickets", call_read_tickets},
    {"coupon_read_lookup", call_read_lookup},
    {"coupon_read_lookup_uuid", call_read_lookup_uuid},
    {"coupon_close", coupon_close},
    {"coupon_destroy", coupon_destroy},
};
_Static_assert(sizeof help_calls / sizeof help_calls[0] == HELP_CALLS, "as the header says");

const struct help_call help_waiting_calls[] = {
    {"coupon_checkpoint", call_checkpoint}, {"coupon_create", call_create}, {"coupon_issue", call_issue},
    {"coupon_issue_uuid", call_issue_uuid}, {"coupon_wait", call_wait},     {"coupon_close", coupon_close},
    {"coupon_destroy", coupon_destroy},
};
_Static_assert(sizeof help_waiting_calls / sizeof help_waiting_calls[0] == HELP_WAITING_CALLS, "as the header says");

/* --- bad arguments ------------------------------------------------------------------------------- */

/* The call, and whether it was refused as it should be; remembers the first that was not. */
#define BAD(call)                                                     \
  do {                                                                \
    if ((call) != COUPON_E_INVAL && lenient == NULL) lenient = #call; \
  } while (0)

static const char *find_lenient_null(coupon_engine *engine) {
  const char *lenient = NULL;
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count;
  BAD(coupon_read_stats(engine, NULL));
  BAD(coupon_create(engine, NULL, COUPON_FOREVER));
  BAD(coupon_info(engine, 1, NULL));
  BAD(coupon_list(engine, 0, NULL, sizeof info, 1, &count));
  BAD(coupon_list(engine, 0, &info, sizeof info, 1, NULL));
  const struct coupon_request request = {.campaign = 1, .user = 1};
  const struct help_uuid uuid = help_uuid(1);
  BAD(coupon_try_issue(engine, 1, 1, NULL));
  BAD(coupon_try_issue_uuid(engine, 1, uuid.bytes, NULL));
  BAD(coupon_try_issue_uuid(engine, 1, NULL, &ticket));
  BAD(coupon_try_issue_batch(engine, NULL, 1, &ticket, sizeof ticket));
  BAD(coupon_try_issue_batch(engine, &request, 1, NULL, sizeof ticket));
  BAD(coupon_issue_uuid(engine, 1, uuid.bytes, COUPON_FOREVER, NULL));
  BAD(coupon_issue_uuid(engine, 1, NULL, COUPON_FOREVER, &ticket));
  BAD(coupon_issue(engine, 1, 1, COUPON_FOREVER, NULL));
  BAD(coupon_wait(engine, NULL, COUPON_FOREVER));
  BAD(coupon_durable_lsn(engine, NULL));
  BAD(coupon_flush(NULL));
  BAD(coupon_eventfd(engine, NULL));
  BAD(coupon_lookup(engine, 1, 1, NULL, NULL));
  BAD(coupon_lookup_uuid(engine, 1, uuid.bytes, NULL, NULL));
  BAD(coupon_lookup_uuid(engine, 1, NULL, &ticket, NULL));
  BAD(coupon_tickets(engine, 1, 1, NULL, sizeof ticket, 1, &count));
  BAD(coupon_read_tickets(engine, 1, 1, NULL, sizeof ticket, 1, &count));
  BAD(coupon_read_lookup(engine, 1, 1, NULL, NULL));
  BAD(coupon_read_lookup_uuid(engine, 1, uuid.bytes, NULL, NULL));
  BAD(coupon_read_lookup_uuid(engine, 1, NULL, &ticket, NULL));
  BAD(coupon_release(NULL, 1, COUPON_FOREVER));
  BAD(coupon_drop(NULL, 1, COUPON_FOREVER));
  BAD(coupon_tickets(engine, 1, 1, &ticket, sizeof ticket, 1, NULL));
  return lenient;
}

/* `less` is taken from each struct's size, or `size` is put in its place if `less` is 0. */
static const char *find_lenient_size(coupon_engine *engine, size_t less, size_t size) {
  const char *lenient = NULL;
  struct coupon_stats stats = COUPON_STATS_INIT;
  struct coupon_campaign_spec spec = help_spec(1, 1000000);
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  const struct coupon_request request = {.campaign = 1, .user = 1};
  size_t count;
  stats.size = less != 0 ? sizeof stats - less : size;
  spec.size = less != 0 ? sizeof spec - less : size;
  info.size = less != 0 ? sizeof info - less : size;
  ticket.size = less != 0 ? sizeof ticket - less : size;
  BAD(coupon_read_stats(engine, &stats));
  BAD(coupon_create(engine, &spec, COUPON_FOREVER));
  BAD(coupon_info(engine, 1, &info));
  BAD(coupon_list(engine, 0, &info, info.size, 1, &count));
  BAD(coupon_try_issue(engine, 1, 1, &ticket));
  BAD(coupon_try_issue_uuid(engine, 1, help_uuid(1).bytes, &ticket));
  BAD(coupon_try_issue_batch(engine, &request, 1, &ticket, ticket.size));
  BAD(coupon_try_issue_batch(engine, NULL, 0, NULL, ticket.size));
  BAD(coupon_issue(engine, 1, 1, COUPON_FOREVER, &ticket));
  BAD(coupon_issue_uuid(engine, 1, help_uuid(1).bytes, COUPON_FOREVER, &ticket));
  BAD(coupon_wait(engine, &ticket, COUPON_FOREVER));
  BAD(coupon_lookup(engine, 1, 1, &ticket, NULL));
  BAD(coupon_lookup_uuid(engine, 1, help_uuid(1).bytes, &ticket, NULL));
  BAD(coupon_tickets(engine, 1, 1, &ticket, ticket.size, 1, &count));
  return lenient;
}

const char *help_find_lenient_call(coupon_engine *engine) {
  const size_t huge[] = {0, (size_t)1 << 32, SIZE_MAX};
  const char *lenient = find_lenient_null(engine);
  if (lenient == NULL) lenient = find_lenient_size(engine, 1, 0);
  if (lenient == NULL) lenient = find_lenient_size(engine, sizeof(size_t), 0);
  for (size_t i = 0; i < sizeof huge / sizeof huge[0] && lenient == NULL; i++)
    lenient = find_lenient_size(engine, 0, huge[i]);
  return lenient;
}

/* --- a disk -------------------------------------------------------------------------------------- */

/* Counts the call; 0, or -errno if it is the one that fails. */
static int arrive(struct help_disk *disk, enum help_disk_op op) {
  uint64_t number = atomic_fetch_add(&disk->calls[op], 1) + 1;
  if (atomic_load(&disk->faulted)) {
    atomic_fetch_add(&disk->calls_after_fault[op], 1);
    return op == disk->fail_op && atomic_load(&disk->for_good) ? -disk->error : 0;
  }
  if (op != disk->fail_op || number != disk->fail_at) return 0;
  atomic_store(&disk->faulted, true);
  return -disk->error;
}

static int disk_open_directory(void *context, const char *path, bool create) {
  (void)context;
  return cpn_io_posix.open_directory(NULL, path, create);
}

static int disk_lock(void *context, int directory, const char *name) {
  (void)context;
  return cpn_io_posix.lock(NULL, directory, name);
}

static int disk_is_locked(void *context, int directory, const char *name) {
  (void)context;
  return cpn_io_posix.is_locked(NULL, directory, name);
}

static int disk_list(void *context, int directory, cpn_io_list_fn *each, void *each_context) {
  struct help_disk *disk = context;
  if (disk->before_list != NULL) disk->before_list(disk->list_context);
  return cpn_io_posix.list(NULL, directory, each, each_context);
}

static int disk_open(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  int error = mode == CPN_IO_CREATE ? arrive(context, HELP_OTHER) : 0;
  return error < 0 ? error : cpn_io_posix.open(NULL, directory, name, mode);
}

static int disk_size(void *context, int file, uint64_t *size) {
  (void)context;
  return cpn_io_posix.size(NULL, file, size);
}

static int64_t disk_read(void *context, int file, uint64_t offset, void *to, size_t size) {
  (void)context;
  return cpn_io_posix.read(NULL, file, offset, to, size);
}

static int64_t disk_write(void *context, int file, uint64_t offset, const void *from, size_t size) {
  struct help_disk *disk = context;
  int error = arrive(disk, HELP_WRITE);
  if (error < 0) {
    size_t done = disk->torn < size ? disk->torn : size;
    if (done > 0) HELP_CHECK(cpn_io_posix.write(NULL, file, offset, from, done) == (int64_t)done);
    return error;
  }
  if (disk->interrupt_every != 0 && atomic_load(&disk->calls[HELP_WRITE]) % disk->interrupt_every == 0) return -EINTR;
  if (disk->write_at_most != 0 && size > disk->write_at_most) size = disk->write_at_most;
  return cpn_io_posix.write(NULL, file, offset, from, size);
}

static int disk_sync(void *context, int file) {
  struct help_disk *disk = context;
  (void)pthread_mutex_lock(&disk->lock);
  disk->held++;
  (void)pthread_cond_broadcast(&disk->changed);
  while (disk->hold) (void)pthread_cond_wait(&disk->changed, &disk->lock);
  disk->held--;
  (void)pthread_mutex_unlock(&disk->lock);
  int error = arrive(disk, HELP_SYNC);
  return error < 0 ? error : cpn_io_posix.sync(NULL, file);
}

static int disk_rename(void *context, int directory, const char *from, const char *to) {
  int error = arrive(context, HELP_OTHER);
  return error < 0 ? error : cpn_io_posix.rename(NULL, directory, from, to);
}

static int disk_link(void *context, int directory, const char *from, int to_directory, const char *to) {
  int error = arrive(context, HELP_OTHER);
  return error < 0 ? error : cpn_io_posix.link(NULL, directory, from, to_directory, to);
}

static int disk_remove(void *context, int directory, const char *name) {
  int error = arrive(context, HELP_OTHER);
  return error < 0 ? error : cpn_io_posix.remove(NULL, directory, name);
}

static int disk_sync_directory(void *context, int directory) {
  int error = arrive(context, HELP_OTHER);
  return error < 0 ? error : cpn_io_posix.sync_directory(NULL, directory);
}

static int disk_close(void *context, int handle) {
  (void)context;
  return cpn_io_posix.close(NULL, handle);
}

static int disk_unlock(void *context, int directory, int file) {
  (void)context;
  return cpn_io_posix.unlock(NULL, directory, file);
}

void help_disk_init(struct help_disk *disk) {
  memset(disk, 0, sizeof *disk);
  disk->io = (struct cpn_io){.context = disk,
                             .open_directory = disk_open_directory,
                             .lock = disk_lock,
                             .is_locked = disk_is_locked,
                             .list = disk_list,
                             .open = disk_open,
                             .size = disk_size,
                             .read = disk_read,
                             .write = disk_write,
                             .sync = disk_sync,
                             .rename = disk_rename,
                             .link = disk_link,
                             .remove = disk_remove,
                             .sync_directory = disk_sync_directory,
                             .close = disk_close,
                             .unlock = disk_unlock};
  (void)pthread_mutex_init(&disk->lock, NULL);
  (void)pthread_cond_init(&disk->changed, NULL);
}

struct cpn_env help_disk_env(const struct help_disk *disk, bool threads) {
  struct cpn_env env = cpn_env_system;
  env.io = &disk->io;
  if (!threads) env.start_thread = NULL;
  return env;
}

void help_disk_hold(struct help_disk *disk) {
  (void)pthread_mutex_lock(&disk->lock);
  disk->hold = true;
  (void)pthread_mutex_unlock(&disk->lock);
}

void help_disk_wait_held(struct help_disk *disk) {
  (void)pthread_mutex_lock(&disk->lock);
  while (disk->held == 0) (void)pthread_cond_wait(&disk->changed, &disk->lock);
  (void)pthread_mutex_unlock(&disk->lock);
}

void help_disk_release(struct help_disk *disk) {
  (void)pthread_mutex_lock(&disk->lock);
  disk->hold = false;
  (void)pthread_cond_broadcast(&disk->changed);
  (void)pthread_mutex_unlock(&disk->lock);
}

/* --- memory -------------------------------------------------------------------------------------- */

/* Stands before each block, in a space of its own so that the block stays aligned. */
#define BLOCK_SPACE ((size_t)64)
#define BLOCK_MAGIC UINT64_C(0x68656c706d656d21)
struct block {
  uint64_t magic;
  size_t size;
};

static void *allocate(void *context, size_t size, size_t alignment) {
  struct help_allocator *allocator = context;
  uint64_t number = atomic_fetch_add(&allocator->calls, 1) + 1;
  uint64_t fail_at = atomic_load(&allocator->fail_at);
  bool is_power = alignment != 0 && (alignment & (alignment - 1)) == 0;
  if (!is_power || alignment > BLOCK_SPACE || size == 0) atomic_fetch_add(&allocator->wrong, 1);
  if (fail_at != 0 && (number == fail_at || (number > fail_at && atomic_load(&allocator->for_good)))) return NULL;
  size_t whole = (size + 2 * BLOCK_SPACE - 1) / BLOCK_SPACE * BLOCK_SPACE;
  struct block *block = aligned_alloc(BLOCK_SPACE, whole);
  if (block == NULL) return NULL;
  memset(block, 0, whole);
  *block = (struct block){BLOCK_MAGIC, size};
  atomic_fetch_add(&allocator->live_blocks, 1);
  atomic_fetch_add(&allocator->live_bytes, (int64_t)size);
  return (char *)block + BLOCK_SPACE;
}

static void release(void *context, void *pointer, size_t size) {
  struct help_allocator *allocator = context;
  struct block *block = (struct block *)(void *)((char *)pointer - BLOCK_SPACE);
  if (pointer == NULL || block->magic != BLOCK_MAGIC || block->size != size) {
    atomic_fetch_add(&allocator->wrong, 1);
    return;
  }
  block->magic = 0;
  atomic_fetch_sub(&allocator->live_blocks, 1);
  atomic_fetch_sub(&allocator->live_bytes, (int64_t)size);
  free(block);
}

struct coupon_allocator help_allocator_use(struct help_allocator *allocator) {
  return (struct coupon_allocator){
      .size = sizeof(struct coupon_allocator), .alloc = allocate, .free = release, .context = allocator};
}

/* --- other processes ----------------------------------------------------------------------------- */

void help_child_start(struct help_child *child, int (*run)(struct help_child *self, void *context), void *context) {
  int pair[2];
  HELP_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
  (void)fflush(NULL); /* or it would be printed twice */
  child->pid = fork();
  HELP_CHECK(child->pid >= 0);
  child->socket = pair[child->pid == 0];
  (void)close(pair[child->pid != 0]);
  if (child->pid != 0) return;
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody is left behind if the test ends early */
  int code = run(child, context);
  (void)fflush(NULL);
  _exit(code);
}

void help_child_say(struct help_child *child, int32_t word) {
  HELP_CHECK(send(child->socket, &word, sizeof word, MSG_NOSIGNAL) == (ssize_t)sizeof word);
}

int32_t help_child_hear(struct help_child *child) {
  struct pollfd ready = {.fd = child->socket, .events = POLLIN};
  int32_t word;
  if (poll(&ready, 1, PATIENCE_S * 1000) <= 0) return -1000;
  return recv(child->socket, &word, sizeof word, 0) == (ssize_t)sizeof word ? word : -1000;
}

int help_child_wait(struct help_child *child, int seconds) {
  const int64_t end = cpn_deadline_after(seconds * INT64_C(1000000000));
  int status = 0;
  pid_t ended;
  while ((ended = waitpid(child->pid, &status, WNOHANG)) == 0 && cpn_monotonic_ns() < end) doze();
  (void)close(child->socket);
  if (ended == 0) {
    (void)kill(child->pid, SIGKILL); /* not a milder signal: a child that hangs may have blocked those */
    (void)waitpid(child->pid, &status, 0);
    return -1;
  }
  HELP_CHECK(ended == child->pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

void help_child_kill(struct help_child *child) {
  HELP_CHECK(kill(child->pid, SIGKILL) == 0);
  HELP_CHECK(help_child_wait(child, PATIENCE_S) == 1000 + SIGKILL);
}
