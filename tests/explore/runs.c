/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All runs of a scenario, one after the other, and what is printed of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "inside.h"

#define RUNS_MAX UINT64_C(200000000)

static struct { uint64_t runs, complete, pruned, too_long; } counts;

static double seconds(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void begin_anew(void) {
  memset(&counts, 0, sizeof counts);
  explore_steps = 0;
  explore_forget_choices();
  explore_states_clear();
}

/* Whether something is wrong; otherwise all was seen. */
static bool explore(const struct explore_scenario *scenario) {
  explore_know_nothing();
  explore_story_forget_names();
  explore_begin(scenario);
  begin_anew();
  for (;;) {
    counts.runs++;
    switch (explore_run_once()) {
      case EXPLORE_COMPLETE:
        counts.complete++;
        break;
      case EXPLORE_KNOWN_STATE:
        counts.pruned++;
        break;
      case EXPLORE_TOO_LONG:
        counts.too_long++;
        break;
      case EXPLORE_LEARNT:
        begin_anew();
        continue;
      case EXPLORE_WRONG:
        return true;
    }
    if (!explore_next()) return false;
    if (counts.runs == RUNS_MAX) return false;
  }
}

static void print_counts(double since) {
  printf("%llu runs (%llu to the end), %llu states, %llu steps, %.2f s", (unsigned long long)counts.runs,
         (unsigned long long)counts.complete, (unsigned long long)explore_states_count(),
         (unsigned long long)explore_steps, seconds() - since);
}

void explore_passes(const struct explore_scenario *given) {
  double since = seconds();
  struct explore_scenario without_bound = *given;
  const struct explore_scenario *which = given;
  if (getenv("COUPON_EXPLORE_ALL") != NULL) { /* for whoever has the time */
    without_bound.preemptions = 0;
    which = &without_bound;
  }
  bool found = explore(which);
  printf("%s: ", which->name);
  print_counts(since);
  if (which->preemptions == 0)
    printf(", every interleaving\n");
  else
    printf(", every interleaving with at most %d preemptions, seq_cst in its order\n", which->preemptions);
  (void)fflush(stdout);
  if (!found && counts.too_long == 0 && counts.runs < RUNS_MAX && counts.complete > 0) return;
  if (found) {
    explore_story_print();
    printf("WRONG: %s\n", explore_wrong());
  } else {
    printf("WRONG: not everything was seen; %llu runs did not end\n", (unsigned long long)counts.too_long);
  }
  exit(1);
}

void explore_finds(const struct explore_scenario *which, const char *planted) {
  double since = seconds();
  bool found = explore(which);
  printf("%s, planted: %s: %s", which->name, planted, found ? "found after " : "NOT FOUND in ");
  print_counts(since);
  printf("%s%s\n", found ? ": " : "", found ? explore_wrong() : "");
  if (getenv("COUPON_EXPLORE_STORIES") != NULL && found) explore_story_print();
  (void)fflush(stdout);
  if (!found) exit(1);
}
