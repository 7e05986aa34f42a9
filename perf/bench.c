/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "coupon/coupon.h"

/* PERF_BUILD: the build type, from CMake. */
#ifndef PERF_BUILD
#define PERF_BUILD "unknown"
#endif

#if defined(__clang__)
#define COMPILER __VERSION__ /* begins with its name */
#else
#define COMPILER "gcc " __VERSION__
#endif

/* Users that stand for ten million with --quick: a test of every program in every build, under emulators too. */
#define QUICK_USERS 2000
/* A measurement of more users takes seconds, so that one round is steady enough. */
#define LONG_USERS (50 * BENCH_MILLION)

static void print_cpu(void) {
  FILE *file = fopen("/proc/cpuinfo", "r");
  char line[256], model[200] = "unknown CPU";
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "model name%*[ \t]: %199[^\n]", model) == 1) break;
  }
  if (file != NULL) (void)fclose(file);
  printf("%s, %ld processors, %.1f GiB\n", model, sysconf(_SC_NPROCESSORS_ONLN),
         (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1024.0 * 1024 * 1024));
}

/* Whether memory that asks for huge pages gets them decides a good part of every figure. */
static void print_huge_pages(void) {
  FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
  char line[128] = "unknown";
  if (file != NULL && fscanf(file, "%127[^\n]", line) != 1) line[0] = 0;
  if (file != NULL) (void)fclose(file);
  printf("transparent huge pages: %s\n", line);
}

static void print_machine(const struct bench *bench, const char *question) {
  struct utsname machine;
  (void)uname(&machine);
  char users[24];
  printf("%s: %s\n", bench->program, question);
  print_cpu();
  printf("%s %s %s; libcoupon %s, %s, %s\n", machine.sysname, machine.release, machine.machine, coupon_version(),
         PERF_BUILD, COMPILER);
  print_huge_pages();
  printf("%s users stand for 10 M, %d threads where not said, %d rounds%s\n", bench_count_text(bench->users, users),
         bench->threads, bench->rounds,
         bench->quick                     ? "; tiny: no verdicts"
         : bench->users == BENCH_STANDARD ? ""
                                          : "; targets are meant for 10 M");
}

static void usage(const char *program) {
  fprintf(stderr,
          "usage: %s [--users N] [--max-users N] [--threads 1-%d] [--rounds 1-%d] [--dir DIRECTORY] [--json FILE]"
          " [--quick]\n"
          "  --users N        N users stand for 10 million, and other counts scale alike (default 10000000)\n"
          "  --max-users N    skip rows of more\n"
          "  --rounds N       of each measurement; the median is shown (default 3)\n"
          "  --dir DIRECTORY  where logs are written, and removed (default: the current one)\n"
          "  --json FILE      append every row, an object per line\n"
          "  --quick          tiny, without verdicts: does the program work?\n",
          program, BENCH_THREADS_MAX, BENCH_ROUNDS_MAX);
  exit(2);
}

static bool take_option(struct bench *bench, const char *name, const char *value) {
  if (strcmp(name, "--users") == 0)
    bench->users = strtoull(value, NULL, 10);
  else if (strcmp(name, "--max-users") == 0)
    bench->max_users = strtoull(value, NULL, 10);
  else if (strcmp(name, "--threads") == 0)
    bench->threads = (int)strtol(value, NULL, 10);
  else if (strcmp(name, "--rounds") == 0)
    bench->rounds = (int)strtol(value, NULL, 10);
  else if (strcmp(name, "--dir") == 0)
    bench->directory = value;
  else if (strcmp(name, "--json") == 0)
    bench->json = fopen(value, "ae");
  else
    return false;
  return strcmp(name, "--json") != 0 || bench->json != NULL;
}

void bench_begin(struct bench *bench, int count, char **arguments, const char *program, const char *question) {
  *bench = (struct bench){.program = program, .max_users = UINT64_MAX, .threads = 2, .directory = "."};
  for (int i = 1; i < count; i++) {
    if (strcmp(arguments[i], "--quick") == 0)
      bench->quick = true;
    else if (i + 1 == count || !take_option(bench, arguments[i], arguments[i + 1]))
      usage(program);
    else
      i++;
  }
  if (bench->users == 0) bench->users = bench->quick ? QUICK_USERS : BENCH_STANDARD;
  if (bench->rounds == 0) bench->rounds = bench->quick ? 1 : 3;
  if (bench->threads < 1 || bench->threads > BENCH_THREADS_MAX || bench->rounds < 1 ||
      bench->rounds > BENCH_ROUNDS_MAX || strlen(bench->directory) > BENCH_PATH_MAX / 2)
    usage(program);
  (void)setvbuf(stdout, NULL, _IOLBF, 0); /* a row is seen when it is known, in a pipe too */
  print_machine(bench, question);
}

int bench_end(struct bench *bench) {
  printf("\n%u ok, %u miss, %u checks failed\n\n", bench->oks, bench->misses, bench->failed_checks);
  if (bench->json != NULL && fclose(bench->json) != 0) return 1;
  return bench->failed_checks > 0 ? 1 : 0;
}

uint64_t bench_size(const struct bench *bench, uint64_t standard) {
  uint64_t users = (uint64_t)((double)standard * ((double)bench->users / (double)BENCH_STANDARD));
  return users < 128 ? 128 : users;
}

bool bench_skips(const struct bench *bench, uint64_t users) {
  if (users <= bench->max_users) return false;
  char text[24];
  printf("(%s users: skipped)\n", bench_count_text(users, text));
  return true;
}

int bench_rounds(const struct bench *bench, uint64_t users) { return users >= LONG_USERS ? 1 : bench->rounds; }

/* ---- rows ---- */

void bench_head(const char *title) {
  printf("\n%-42s %8s %3s %10s %-6s %10s %7s %9s  %-5s\n", title, "users", "thr", "value", "unit", "beside", "ratio",
         "target", "");
}

static const char *number_text(double value, char text[24]) {
  double size = value < 0 ? -value : value;
  (void)snprintf(text, 24, "%.*f", size >= 1000 ? 0 : size >= 100 ? 1 : size >= 0.1 || size == 0 ? 2 : 5, value);
  return text;
}

static bool reaches(const struct bench_row *row, double ratio) {
  switch (row->rule) {
    case BENCH_AT_LEAST:
      return row->value >= row->target;
    case BENCH_AT_MOST:
      return row->value <= row->target;
    case BENCH_RATIO_AT_LEAST:
      return ratio >= row->target;
    case BENCH_RATIO_AT_MOST:
      return ratio <= row->target;
    case BENCH_NO_TARGET:
      break;
  }
  return true;
}

static const char *judge(struct bench *bench, const struct bench_row *row, double ratio) {
  if (bench->quick || row->rule == BENCH_NO_TARGET) return "-";
  bool good = reaches(row, ratio);
  if (good)
    bench->oks++;
  else
    bench->misses++;
  return good ? "ok" : "miss";
}

static const char *const rule_signs[] = {"", ">=", "<=", ">=", "<="};
static const char *const rule_ofs[] = {"", "value", "value", "ratio", "ratio"};

static void write_json(FILE *file, const struct bench *bench, const struct bench_row *row, double ratio,
                       const char *verdict) {
  fprintf(file,
          "{\"program\":\"%s\",\"row\":\"%s\",\"users\":%" PRIu64 ",\"threads\":%d,\"value\":%.6g,\"unit\":\"%s\"",
          bench->program, row->name, row->users, row->threads, row->value, row->unit);
  if (row->limit > 0) fprintf(file, ",\"beside\":\"%s\",\"limit\":%.6g,\"ratio\":%.4g", row->beside, row->limit, ratio);
  if (row->rule != BENCH_NO_TARGET)
    fprintf(file, ",\"target_of\":\"%s\",\"rule\":\"%s\",\"target\":%g", rule_ofs[row->rule], rule_signs[row->rule],
            row->target);
  if (row->series != NULL) fprintf(file, ",\"series\":\"%s\"", row->series);
  if (row->percentile > 0) fprintf(file, ",\"percentile\":%g", row->percentile);
  fprintf(file, ",\"quick\":%s,\"verdict\":\"%s\"}\n", bench->quick ? "true" : "false", verdict);
}

void bench_row(struct bench *bench, const struct bench_row *row) {
  double ratio = row->limit > 0 ? row->value / row->limit : 0;
  const char *verdict = judge(bench, row, ratio);
  char users[24], value[24], limit[24], over[24], target[48];
  bool of_ratio = row->rule == BENCH_RATIO_AT_LEAST || row->rule == BENCH_RATIO_AT_MOST;
  (void)snprintf(target, sizeof target, "%s %g%s", rule_signs[row->rule], row->target, of_ratio ? " x" : "");
  printf("%-42s %8s %3d %10s %-6s %10s %7s %9s  %-5s %s\n", row->name, bench_count_text(row->users, users),
         row->threads, number_text(row->value, value), row->unit, row->limit > 0 ? number_text(row->limit, limit) : "-",
         row->limit > 0 ? number_text(ratio, over) : "-", row->rule == BENCH_NO_TARGET ? "-" : target, verdict,
         row->limit > 0 ? row->beside : "");
  if (bench->json != NULL) write_json(bench->json, bench, row, ratio, verdict);
}

bool bench_check(struct bench *bench, bool good, const char *what) {
  if (good) return true;
  bench->failed_checks++;
  printf("CHECK FAILED: %s\n", what);
  if (bench->json != NULL)
    fprintf(bench->json, "{\"program\":\"%s\",\"row\":\"%s\",\"verdict\":\"CHECK FAILED\"}\n", bench->program, what);
  return false;
}

const char *bench_count_text(uint64_t count, char text[24]) {
  if (count == 0)
    (void)snprintf(text, 24, "-");
  else if (count >= BENCH_MILLION && count % (BENCH_MILLION / 10) == 0)
    (void)snprintf(text, 24, "%g M", (double)count / 1e6);
  else if (count >= 1000 && count % 100 == 0)
    (void)snprintf(text, 24, "%g k", (double)count / 1e3);
  else
    (void)snprintf(text, 24, "%" PRIu64, count);
  return text;
}

/* ---- threads and time ---- */

struct lane {
  pthread_t thread;
  pthread_barrier_t *start;
  bench_body *body;
  void *context;
  int number;
  uint64_t begin_ns, end_ns;
};

static void *run_lane(void *argument) {
  struct lane *lane = argument;
  (void)pthread_barrier_wait(lane->start);
  lane->begin_ns = bench_now_ns();
  lane->body(lane->context, lane->number);
  lane->end_ns = bench_now_ns();
  return NULL;
}

double bench_run(int threads, bench_body *body, void *context) {
  static struct lane lanes[BENCH_THREADS_MAX];
  pthread_barrier_t start;
  if (pthread_barrier_init(&start, NULL, (unsigned)threads) != 0) abort();
  for (int i = 0; i < threads; i++) {
    lanes[i] = (struct lane){.start = &start, .body = body, .context = context, .number = i};
    if (pthread_create(&lanes[i].thread, NULL, run_lane, &lanes[i]) != 0) abort();
  }
  uint64_t begin = UINT64_MAX, end = 0;
  for (int i = 0; i < threads; i++) {
    (void)pthread_join(lanes[i].thread, NULL);
    if (lanes[i].begin_ns < begin) begin = lanes[i].begin_ns;
    if (lanes[i].end_ns > end) end = lanes[i].end_ns;
  }
  (void)pthread_barrier_destroy(&start);
  return (double)(end - begin + 1) / 1e9; /* never 0: it divides */
}

uint64_t bench_part(uint64_t total, int threads, int thread) {
  uint64_t share = total / (uint64_t)threads, rest = total % (uint64_t)threads, t = (uint64_t)thread;
  return share * t + (t < rest ? t : rest);
}

uint64_t bench_now_ns(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

double bench_median(double *values, int count) {
  qsort(values, (size_t)count, sizeof *values, compare);
  return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* ---- memory and files ---- */

void *bench_map(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  (void)madvise(memory, size, MADV_HUGEPAGE); /* a kernel without them measures what it has */
  memset(memory, 0, size);
  return memory;
}

void bench_unmap(void *memory, size_t size) { (void)munmap(memory, size); }

uint64_t bench_resident(void) {
  unsigned long pages = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file == NULL) return 0;
  if (fscanf(file, "%lu %lu", &pages, &resident) != 2) resident = 0;
  (void)fclose(file);
  return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t bench_resident_peak(void) {
  FILE *file = fopen("/proc/self/status", "r");
  char line[256];
  unsigned long kib = 0;
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    if (sscanf(line, "VmHWM: %lu", &kib) == 1) break;
  }
  if (file != NULL) (void)fclose(file);
  return (uint64_t)kib * 1024;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *where) {
  (void)status;
  (void)type;
  (void)where;
  return remove(path);
}

void bench_remove_directory(const char *path) { (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS); }
