/* SPDX-License-Identifier: Apache-2.0 */
#include "torture/torture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A sanitizer makes everything dearer by the dozen: there a part of the rounds, unless they are asked for. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHARE 4
#else
#define SHARE 1
#endif

static struct {
  const struct torture_plan *plan;
  const char *planted;
  uint64_t first_seed, rounds, seconds;
  uint64_t begun, count; /* rounds begun; units of the count done */
  struct timespec start;
} run;

/* --- the run ---------------------------------------------------------------------------------------- */

static _Noreturn void usage(void) {
  fprintf(stderr, "usage: %s [--rounds N] [--seconds N] [--seed N] [--planted NAME]\n", run.plan->name);
  for (size_t i = 0; run.plan->planted != NULL && run.plan->planted[i] != NULL; i++)
    fprintf(stderr, "  --planted %s\n", run.plan->planted[i]);
  exit(2);
}

static uint64_t number_of(const char *text) {
  char *end;
  errno = 0;
  uint64_t number = strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != 0) usage();
  return number;
}

static const char *known_planted(const char *name) {
  for (size_t i = 0; run.plan->planted != NULL && run.plan->planted[i] != NULL; i++) {
    if (strcmp(run.plan->planted[i], name) == 0) return name;
  }
  usage();
}

void torture_begin(const struct torture_plan *plan, int argc, char **argv) {
  run.plan = plan;
  (void)clock_gettime(CLOCK_MONOTONIC, &run.start);
  run.first_seed = 1;
  const char *seed = getenv("COUPON_TEST_SEED");
  if (seed != NULL) run.first_seed = number_of(seed);
  bool bounded = false;
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 == argc) usage();
    const char *value = argv[i + 1];
    if (strcmp(argv[i], "--planted") == 0) {
      run.planted = known_planted(value);
      continue;
    }
    if (strcmp(argv[i], "--seed") == 0) {
      run.first_seed = number_of(value);
      continue;
    }
    bounded = true;
    if (strcmp(argv[i], "--rounds") == 0)
      run.rounds = number_of(value);
    else if (strcmp(argv[i], "--seconds") == 0)
      run.seconds = number_of(value);
    else
      usage();
  }
  if (!bounded) run.rounds = (plan->rounds + SHARE - 1) / SHARE;
  (void)setvbuf(stdout, NULL, _IOLBF, 0);
  printf("torture %s: seed %" PRIu64 "%s%s\n", plan->name, run.first_seed, run.planted != NULL ? ", planted: " : "",
         run.planted != NULL ? run.planted : "");
}

bool torture_is_planted(const char *name) { return run.planted != NULL && strcmp(run.planted, name) == 0; }

double torture_seconds(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)(now.tv_sec - run.start.tv_sec) + (double)(now.tv_nsec - run.start.tv_nsec) / 1e9;
}

uint64_t torture_seconds_given(void) { return run.seconds; }

/* Whether there is time for a round as long as those before it. */
static bool time_is_up(void) {
  double so_far = torture_seconds(), a_round = run.begun == 0 ? 0 : so_far / (double)run.begun;
  return so_far + a_round > (double)run.seconds;
}

bool torture_next_round(void) {
  if (run.rounds != 0 && run.begun >= run.rounds) return false;
  if (run.seconds != 0 && run.begun > 0 && time_is_up()) return false;
  run.begun++;
  return true;
}

uint64_t torture_seed(void) { return run.first_seed + run.begun - 1; }

void torture_count(uint64_t done) { run.count += done; }

int torture_end(const char *details) {
  if (details[0] != 0) printf("%s\n", details);
  if (run.planted != NULL) printf("planted %s was NOT found\n", run.planted);
  printf("counted %" PRIu64 " %s, seeds %" PRIu64 "..%" PRIu64 ", %.0f s\n", run.count, run.plan->counted,
         run.first_seed, run.first_seed + (run.begun == 0 ? 0 : run.begun - 1), torture_seconds());
  return 0;
}

/* --- findings --------------------------------------------------------------------------------------- */

void torture_found(const char *file, int line, const char *condition, const char *format, ...) {
  va_list arguments;
  fprintf(stderr, "FOUND by %s, seed %" PRIu64 "%s%s: ", run.plan->name, torture_seed(),
          run.planted != NULL ? ", planted " : "", run.planted != NULL ? run.planted : "");
  va_start(arguments, format);
  (void)vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, "\n  (%s:%d: %s)\n", file, line, condition);
  _exit(1);
}

void torture_cannot(const char *what) {
  fprintf(stderr, "torture %s cannot go on: %s: %s\n", run.plan->name, what, strerror(errno));
  _exit(2);
}

/* --- chance ----------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
  return x ^ x >> 31;
}

/* Seeds follow each other, so they are mixed first: else the next one's draws would be this one's but for the first. */
struct torture_random torture_stream(uint64_t seed, uint64_t stream) {
  return (struct torture_random){mix(mix(seed + UINT64_C(0x632be59bd9b4e019)) + stream)};
}

/* splitmix64 */
uint64_t torture_draw(struct torture_random *random) { return mix(random->state += UINT64_C(0x9e3779b97f4a7c15)); }

uint64_t torture_below(struct torture_random *random, uint64_t limit) { return torture_draw(random) % limit; }

/* --- files ------------------------------------------------------------------------------------------ */

void torture_join(char path[TORTURE_PATH_MAX], const char *directory, const char *name) {
  int length = snprintf(path, TORTURE_PATH_MAX, "%s/%s", directory, name);
  if (length < 0 || length >= TORTURE_PATH_MAX) torture_cannot("a path is too long");
}

void torture_directory_make(char path[TORTURE_PATH_MAX]) {
  const char *temporary = getenv("TMPDIR");
  torture_join(path, temporary != NULL && temporary[0] != 0 ? temporary : "/tmp", "coupon-torture.XXXXXX");
  if (mkdtemp(path) == NULL) torture_cannot("making a directory");
}

/* Two levels, by loops. */
static void empty_directory(const char *path, bool deeper) {
  DIR *stream = opendir(path);
  if (stream == NULL) return;
  for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char name[TORTURE_PATH_MAX];
    torture_join(name, path, entry->d_name);
    if (unlink(name) == 0 || !deeper) continue;
    (void)chmod(name, 0700);
    empty_directory(name, false);
    (void)rmdir(name);
  }
  (void)closedir(stream);
}

void torture_directory_remove(const char *path) {
  empty_directory(path, true);
  (void)rmdir(path);
}

/* --- processes -------------------------------------------------------------------------------------- */

void *torture_shared(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) torture_cannot("memory to share");
  return memory;
}

pid_t torture_fork(int (*body)(void *context), void *context) {
  (void)fflush(NULL);
  pid_t parent = getpid(), child = fork();
  if (child < 0) torture_cannot("fork");
  if (child != 0) return child;
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(2); /* it was gone before we asked */
  int status = body(context);
  torture_leave(status);
}

/* Past ThreadSanitizer, which would wait a second in each child for what its threads may still report. */
void torture_leave(int status) {
  (void)fflush(NULL);
  (void)syscall(SYS_exit_group, status);
  _exit(status);
}

int torture_wait(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) torture_cannot("waiting for a child");
  }
  return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

int torture_hear(pid_t child) {
  int status = torture_wait(child);
  if (status == 1 || status == 2) _exit(status); /* it has said why */
  return status;
}

void torture_must(pid_t child) {
  int status = torture_hear(child);
  TORTURE_CHECK(status == 0, "a process ended with %d (1000 + signal)", status);
}

void torture_sleep_us(uint64_t microseconds) {
  struct timespec pause = {.tv_sec = (time_t)(microseconds / 1000000),
                           .tv_nsec = (long)(microseconds % 1000000) * 1000};
  while (nanosleep(&pause, &pause) < 0 && errno == EINTR) {
  }
}
