/* SPDX-License-Identifier: Apache-2.0 */
#include "support/engine_help.h"

#include <dirent.h>
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

void help_clear_hint(const char *directory) {
  static const char none[CPN_BLOCK_SIZE];
  char path[HELP_PATH_MAX];
  int file = open(help_join(path, directory, CPN_OWNER_NAME), O_WRONLY | O_CLOEXEC);
  if (file < 0 || pwrite(file, none, sizeof none, 0) != (ssize_t)sizeof none || close(file) != 0)
    help_die("cannot clear %s", path);
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

/* --- other processes ----------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__)
static bool is_asleep(const char *task) {
  char path[HELP_PATH_MAX], stat[512] = {0};
  (void)snprintf(path, sizeof path, "/proc/self/task/%s/stat", task);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return true; /* it has ended */
  const ssize_t got = read(file, stat, sizeof stat - 1);
  (void)close(file);
  const char *name_end = got <= 0 ? NULL : strrchr(stat, ')');
  return name_end != NULL && strlen(name_end) > 2 && name_end[2] == 'S';
}

static bool others_sleep(void) {
  DIR *tasks = opendir("/proc/self/task");
  bool all = tasks != NULL;
  for (const struct dirent *task;
       all && (task = readdir(tasks)) != NULL;) /* NOLINT(concurrency-mt-unsafe): its own stream */
    all = task->d_name[0] == '.' || strtol(task->d_name, NULL, 10) == gettid() || is_asleep(task->d_name);
  if (tasks != NULL) (void)closedir(tasks);
  return all;
}
#endif

/* The address sanitizer keeps its allocator's locks as they are over a fork. An engine's thread that is still beginning
 * allocates, and the child would wait for its lock for ever; without the sanitizer children may come at any time. Some
 * callers have threads that never sleep, and begin nothing: not for long, then. */
static void let_threads_begin(void) {
#if defined(__SANITIZE_ADDRESS__)
  for (int quiet = 0, tries = 0; quiet < 2 && tries < 40; tries++) {
    (void)usleep(5000);
    quiet = others_sleep() ? quiet + 1 : 0;
  }
#endif
}

void help_child_start(struct help_child *child, int (*run)(struct help_child *self, void *context), void *context) {
  int pair[2];
  HELP_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
  (void)fflush(NULL); /* or it would be printed twice */
  let_threads_begin();
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
