/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzzer for compilers without libFuzzer, and for runs that are always the same:
 *
 *   NAME [-runs=N] [-seed=S] [FILE | DIRECTORY …]
 *
 * runs every file as it is, then N mutations of them. It keeps what ends in a way not seen before, as libFuzzer keeps
 * what covers something new, and goes on from there. The input of a finding is left in ./finding.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log_input.h"
#include "target.h"

/* What is kept at most; then one of those that were kept on the way makes room. */
#define KEPT_MAX 4096
#define SEEN_SLOTS 65536

struct input {
  size_t size;
  uint8_t bytes[TARGET_BYTES_MAX];
};

static struct input *kept[KEPT_MAX];
static size_t kept_count, given_count;
static uint64_t seen[SEEN_SLOTS], new_count;
static struct input now;
static uint64_t mutation_random;
static unsigned long long seed = 1, execution;

_Noreturn static void die(const char *what, const char *which) {
  (void)fprintf(stderr, "%s: %s\n", what, which);
  exit(2);
}

/* Whether this summary is new; 0 stands for an empty slot. */
static int is_new(uint64_t summary) {
  uint64_t *slot = &seen[summary % SEEN_SLOTS];
  if (*slot == summary) return 0;
  *slot = summary;
  new_count++;
  return 1;
}

static void keep(void) {
  struct input *copy = malloc(sizeof *copy);
  if (copy == NULL) die("no memory", "to keep an input");
  *copy = now;
  if (kept_count < KEPT_MAX) {
    kept[kept_count++] = copy;
    return;
  }
  size_t place = given_count + (size_t)(log_input_random(&mutation_random) % (KEPT_MAX - given_count));
  free(kept[place]);
  kept[place] = copy;
}

/* A finding aborts: say how it is made again, and leave the input behind. Not from anywhere, but from judge_finding(),
 * an invariant or an assertion, so what is called here is in no state of its own. */
static void save_finding(int signal_number) {
  (void)fprintf(stderr, "seed %llu, mutation %llu; the input is in ./finding\n", seed, execution);
  FILE *file = fopen("finding", "wb");
  if (file != NULL) {
    (void)fwrite(now.bytes, 1, now.size, file);
    (void)fclose(file);
  }
  (void)signal(signal_number, SIG_DFL);
  _exit(1);
}

/* In a memory block of its own and of its size, so that a sanitizer sees a read beyond. */
static void run_now(void) {
  uint8_t *exact = malloc(now.size == 0 ? 1 : now.size);
  if (exact == NULL) die("no memory", "for an input");
  memcpy(exact, now.bytes, now.size);
  (void)LLVMFuzzerTestOneInput(exact, now.size);
  free(exact);
}

static void take_file(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) die("cannot open", path);
  now.size = fread(now.bytes, 1, sizeof now.bytes, file);
  (void)fclose(file);
  run_now();
  (void)is_new(target_summary);
  keep();
  given_count = kept_count;
}

/* In the order of their names, which is the same everywhere. */
static void take_directory(const char *path) {
  struct dirent **names = NULL;
  int count = scandir(path, &names, NULL, alphasort);
  if (count < 0) die("cannot read", path);
  for (int i = 0; i < count; i++) {
    char whole[4096];
    (void)snprintf(whole, sizeof whole, "%s/%s", path, names[i]->d_name);
    if (names[i]->d_name[0] != '.') take_file(whole);
    free(names[i]);
  }
  free(names);
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) {
  uint64_t how = log_input_random(&mutation_random);
  size_t at = size == 0 ? 0 : (size_t)((how >> 8) % size);
  switch (how % 4) {
    case 0:
      return size == 0 ? 0 : at;
    case 1: {
      size_t more = (how >> 32) % 64;
      if (more > max_size - size) more = max_size - size;
      for (size_t i = 0; i < more; i++) data[size + i] = (uint8_t)log_input_random(&mutation_random);
      return size + more;
    }
    case 2:
      if (size > 0) data[at] ^= (uint8_t)(1u << (how >> 40) % 8);
      return size;
    default:
      if (size > 0) data[at] = (uint8_t)(how >> 40);
      return size;
  }
}

static void mutate_and_run(void) {
  now = *kept[log_input_random(&mutation_random) % kept_count];
  unsigned which = (unsigned)log_input_random(&mutation_random);
  now.size = LLVMFuzzerCustomMutator(now.bytes, now.size, sizeof now.bytes, which);
  run_now();
  if (is_new(target_summary)) keep();
}

static double seconds_now(void) {
  struct timespec time;
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  unsigned long long runs = 200000;
  const char *given = getenv("COUPON_TEST_SEED"); /* NOLINT(concurrency-mt-unsafe): there is one thread */
  if (given != NULL) seed = strtoull(given, NULL, 10);
  (void)signal(SIGABRT, save_finding);
  (void)LLVMFuzzerInitialize(&argc, &argv);
  double begin = seconds_now();
  for (int i = 1; i < argc; i++) {
    struct stat status;
    if (strncmp(argv[i], "-runs=", 6) == 0)
      runs = strtoull(argv[i] + 6, NULL, 10);
    else if (strncmp(argv[i], "-seed=", 6) == 0)
      seed = strtoull(argv[i] + 6, NULL, 10);
    else if (stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode))
      take_directory(argv[i]);
    else
      take_file(argv[i]);
  }
  mutation_random = seed;
  if (kept_count == 0) keep(); /* the empty input */
  printf("seed %llu, %zu inputs given\n", seed, given_count);
  (void)fflush(stdout);
  for (execution = 1; execution <= runs; execution++) mutate_and_run();
  printf("%llu executions, %.1f seconds, %llu different ends\n", runs + given_count, seconds_now() - begin,
         (unsigned long long)new_count);
  for (size_t i = 0; i < kept_count; i++) free(kept[i]);
  return 0;
}
