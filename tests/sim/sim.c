/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that whatever a disk, a clock and the memory do, nothing that was final is lost, nothing is there twice, and
 * what is refused is refused rightly; and that it would have been found if it were otherwise. How: the real engine on a
 * simulated world, one thread, everything decided by a seed; see run.h, and docs/TESTING.md.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sim/sim.h"

struct arguments {
  uint64_t seed, seeds, seconds;
  bool lying, loud;
  const char *planted, *mode;
};

static void print_counts(const struct counts *counts, double seconds) {
  printf("%llu seeds (%.0f a second), %llu lives, %llu crashes, %llu recoveries, %llu openings refused, %llu calls, "
         "%llu answers, sectors kept %llu, lost %llu\n",
         (unsigned long long)counts->seeds, (double)counts->seeds / seconds, (unsigned long long)counts->lives,
         (unsigned long long)counts->crashes, (unsigned long long)counts->recoveries,
         (unsigned long long)counts->refused_openings, (unsigned long long)counts->calls,
         (unsigned long long)counts->answers, (unsigned long long)counts->kept_sectors,
         (unsigned long long)counts->lost_sectors);
  if (counts->lying > 0)
    printf("lying disks: %llu, of which refused %llu, cut where nothing proved more %llu, harmless %llu, honest by "
           "chance %llu\n",
           (unsigned long long)counts->lying, (unsigned long long)counts->lying_refused,
           (unsigned long long)counts->lying_cut, (unsigned long long)counts->lying_harmless,
           (unsigned long long)counts->lying_honest);
}

/* What a run of many seeds has to have met, or it shows less than it says. */
static bool has_met_everything(const struct counts *counts) {
  static const coupon_status expected[] = {COUPON_ISSUED,   COUPON_ALREADY_ISSUED, COUPON_SOLD_OUT, COUPON_NOT_OPEN,
                                           COUPON_ENDED,    COUPON_NO_CAMPAIGN,    COUPON_E_BUSY,   COUPON_E_NOMEM,
                                           COUPON_E_FAILED, COUPON_E_USER_KIND};
  bool met = counts->cuts > 0 && counts->checkpoints > 0 && counts->releases > 0 && counts->looks > 0 &&
             counts->unreadable > 0 && counts->refused_openings > 0;
  printf("answers:");
  for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
    uint64_t count = counts->answered[expected[i] - COUNTED_LOWEST];
    printf(" %s %llu", coupon_status_name(expected[i]) + strlen("COUPON_"), (unsigned long long)count);
    met = met && count > 0;
  }
  printf("; recoveries that cut %llu, without a checkpoint that could not be read %llu, looks %llu, checkpoints %llu, "
         "releases %llu\n",
         (unsigned long long)counts->cuts, (unsigned long long)counts->unreadable, (unsigned long long)counts->looks,
         (unsigned long long)counts->checkpoints, (unsigned long long)counts->releases);
  if (!met) printf("something of this was never met\n");
  return met;
}

#define ENOUGH_SEEDS 1000

/* --- seeds ------------------------------------------------------------------------------------------------ */

static int run_seeds(const struct arguments *arguments, struct counts *counts) {
  const int64_t end =
      arguments->seconds == 0 ? INT64_MAX : cpn_deadline_after((int64_t)arguments->seconds * 1000000000);
  for (uint64_t i = 0; i < arguments->seeds && (i % 16 != 0 || cpn_monotonic_ns() < end); i++) {
    const struct plan plan = {.seed = arguments->seed + i, .lying = arguments->lying, .loud = arguments->loud};
    if (story_run(&plan, counts) == NULL) continue;
    printf("to see all of it: --seed %llu --seeds 1 --trace%s\n", (unsigned long long)plan.seed,
           plan.lying ? " --lying" : "");
    return 1;
  }
  return counts->seeds >= ENOUGH_SEEDS && !arguments->lying && !has_met_everything(counts);
}

/* --- planted bugs ----------------------------------------------------------------------------------------- */

static int find_planted(const struct arguments *arguments, enum plant plant, struct counts *counts) {
  for (uint64_t i = 0; i < plant_facts[plant].within_seeds; i++) {
    const struct plan plan = {
        .seed = arguments->seed + i, .plant = plant, .lying = plant_facts[plant].lying, .loud = arguments->loud};
    const char *wrong = story_run(&plan, counts);
    if (wrong == NULL) continue;
    printf("%s: found at seed %llu of %llu: %s\n", plant_facts[plant].name, (unsigned long long)(i + 1),
           (unsigned long long)plant_facts[plant].within_seeds, wrong);
    return 0;
  }
  printf("%s: not found within %llu seeds\n", plant_facts[plant].name,
         (unsigned long long)plant_facts[plant].within_seeds);
  return 1;
}

static int run_planted(const struct arguments *arguments, struct counts *counts) {
  int missed = 0, tried = 0;
  for (int plant = PLANT_NOTHING + 1; plant < PLANT_COUNT; plant++) {
    if (strcmp(arguments->planted, "all") != 0 && strcmp(arguments->planted, plant_facts[plant].name) != 0) continue;
    tried++;
    missed += find_planted(arguments, (enum plant)plant, counts);
  }
  if (tried == 0) printf("no bug of that name\n");
  return tried == 0 || missed > 0;
}

/* --- the command line --------------------------------------------------------------------------------------- */

static int usage(void) {
  printf("sim [--seed N] [--seeds N] [--seconds N] [--lying] [--planted NAME|all] [--trace]\n"
         "    [points|subsets|calls|memory|clock]\n");
  return 2;
}

static bool number_follows(char **argv, int *at, uint64_t *number) {
  if (argv[*at + 1] == NULL) return false;
  char *end;
  *number = strtoull(argv[++*at], &end, 10);
  return *end == 0;
}

static bool parse(char **argv, struct arguments *arguments) {
  for (int i = 1; argv[i] != NULL; i++) {
    bool good = true;
    if (strcmp(argv[i], "--seed") == 0)
      good = number_follows(argv, &i, &arguments->seed);
    else if (strcmp(argv[i], "--seeds") == 0)
      good = number_follows(argv, &i, &arguments->seeds);
    else if (strcmp(argv[i], "--seconds") == 0)
      good = number_follows(argv, &i, &arguments->seconds), arguments->seeds = UINT64_MAX;
    else if (strcmp(argv[i], "--lying") == 0)
      arguments->lying = true;
    else if (strcmp(argv[i], "--trace") == 0)
      arguments->loud = true;
    else if (strcmp(argv[i], "--planted") == 0)
      good = (arguments->planted = argv[++i]) != NULL;
    else if (argv[i][0] != '-' && arguments->mode == NULL)
      arguments->mode = argv[i];
    else
      good = false;
    if (!good) return false;
  }
  return true;
}

int main(int argc, char **argv) {
  (void)argc;
  static struct counts counts;
  struct arguments arguments = {.seed = 1, .seeds = 3000};
  const char *seed = getenv("COUPON_TEST_SEED");
  if (seed != NULL) arguments.seed = strtoull(seed, NULL, 10);
  if (!parse(argv, &arguments)) return usage();
  printf("seed %llu (COUPON_TEST_SEED, or --seed)\n", (unsigned long long)arguments.seed);
  /* Each opening allocates some MiB for a moment: not from the system each time. */
  (void)mallopt(M_MMAP_THRESHOLD, 1 << 28);
  (void)mallopt(M_TRIM_THRESHOLD, 1 << 28);
  int64_t begin = cpn_monotonic_ns();
  int result;
  if (arguments.planted != NULL)
    result = run_planted(&arguments, &counts);
  else if (arguments.mode != NULL)
    result = every_run(arguments.mode, &counts);
  else
    result = run_seeds(&arguments, &counts);
  if (result < 0) return usage();
  print_counts(&counts, (double)(cpn_monotonic_ns() - begin) / 1e9);
  printf(result == 0 ? "all is well\n" : "FAILED\n");
  return result;
}
