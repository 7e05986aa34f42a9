/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The story of a seed: several lives, each opened (perhaps crashing in that, perhaps several times), worked with, and
 * closed or crashed; then all that is left is sold, on a disk that has no fault any more.
 */
#include <stdio.h>

#include "sim/run.h"

#define ATTEMPTS 5

static void choose_options(struct run *run) {
  static const uint64_t segments[] = {4096, 4096, 4096, 8192, 65536}, buffers[] = {4096, 4096, 8192};
  struct chance *chance = &run->chance;
  run->options.segment_size_bytes = CHANCE_PICK(chance, segments);
  run->options.log_buffer_bytes = CHANCE_PICK(chance, buffers);
  static const uint64_t checkpoints[] = {UINT64_MAX, 1, 2048, 8192};
  run->options.checkpoint_log_bytes = CHANCE_PICK(chance, checkpoints);
  run->options.archive_dir = chance_once_in(chance, 4) ? "archive" : NULL;
  run->disk->no_links = chance_once_in(chance, 2);
  run->options.durability = chance_once_in(chance, 3) ? COUPON_WRITTEN : COUPON_SYNC;
}

static void die_within(struct run *run, uint64_t calls) {
  run->disk->die_at = run->disk->calls + 1 + chance_below(&run->chance, calls);
}

static void lose_by_chance(struct run *run) {
  if (chance_once_in(&run->chance, 2)) run_lose_power(run, NULL);
  if (run->lying) faults_rot(&run->faults);
}

static void choose_memory(struct run *run) {
  run->faults.allocations = run->faults.refuse_at = 0;
  run->model.scarce = chance_once_in(&run->chance, 12);
  if (!run->model.scarce) return;
  run->faults.refuse_at = 1 + chance_below(&run->chance, 30);
  run->faults.refuse_all = chance_once_in(&run->chance, 2);
}

/* Opens, after as many attempts as it takes. False: there is no more to tell. */
static bool begin_life(struct run *run) {
  for (int attempt = 1;; attempt++) {
    bool patient = attempt > ATTEMPTS;
    run->faults.paused = patient;
    choose_memory(run);
    if (patient) run_without_faults(run);
    if (!patient && chance_once_in(&run->chance, 4)) die_within(run, 30);
    enum opened opened = run_open(run);
    if (opened == OPENED) break;
    if (opened == REFUSED_FOR_GOOD || run_is_wrong(run)) return false;
    if (patient) {
      model_wrong(&run->model, "it does not open on a disk without a fault", 0, 0, 0);
      return false;
    }
    run_kill(run);
    lose_by_chance(run);
  }
  run->faults.paused = false;
  return !run_is_wrong(run);
}

static void live(struct run *run) {
  if (chance_below(&run->chance, 3) != 0) die_within(run, 80);
  run->crowded = chance_once_in(&run->chance, 8);
  run->stalled = run->crowded ? chance_below(&run->chance, 40) : 0;
  uint64_t operations = chance_below(&run->chance, run->crowded ? 40 : 120);
  while (operations > 0 && work_once(run)) operations--;
  /* One that has stopped says so to everybody. */
  for (int i = 0; i < 4 && run->failed && !run_is_wrong(run); i++) (void)work_once(run);
}

static void end_life(struct run *run) {
  if (chance_once_in(&run->chance, 3))
    run_close(run);
  else
    run_kill(run);
  lose_by_chance(run);
}

static void tell(struct run *run, bool *refused) {
  const uint64_t lives = 1 + chance_below(&run->chance, 5);
  *refused = true;
  for (uint64_t life = 1; life <= lives; life++) {
    choose_options(run);
    if (!begin_life(run)) return;
    live(run);
    if (run_is_wrong(run)) return;
    end_life(run);
    if (!run_is_wrong(run) && !run->lying && chance_once_in(&run->chance, 6)) run_probe(run);
    if (run_is_wrong(run)) return;
  }
  run->faults.paused = true;
  *refused = false;
  run_finish(run);
}

static void count_lying(const struct run *run, bool refused) {
  struct counts *counts = run->counts;
  counts->lying++;
  if (run->was_cut)
    counts->lying_cut++;
  else if (refused)
    counts->lying_refused++;
  else if (run->faults.lies > 0)
    counts->lying_harmless++;
  else
    counts->lying_honest++;
}

const char *story_run(const struct plan *plan, struct counts *counts) {
  static struct run run;
  bool refused;
  run.trace.loud = plan->loud;
  run_begin(&run, counts, plan->seed, plan->plant);
  run.lying = plan->lying;
  run.clock_ticks = chance_once_in(&run.chance, 2);
  faults_mix(&run.faults, plan->lying);
  tell(&run, &refused);
  if (plan->lying) count_lying(&run, refused);
  counts->seeds++;
  const char *wrong = run.model.wrong;
  if (wrong != NULL && (plan->plant == PLANT_NOTHING || plan->loud)) {
    trace_print(&run.trace);
    printf("seed %llu: %s (%llu, %llu, %llu)\n", (unsigned long long)plan->seed, wrong,
           (unsigned long long)run.model.numbers[0], (unsigned long long)run.model.numbers[1],
           (unsigned long long)run.model.numbers[2]);
  }
  run_end(&run);
  return wrong;
}
