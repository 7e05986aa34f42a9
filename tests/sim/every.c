/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One script of some two hundred operations in two lives, and everything that can go wrong in it at one place, at every
 * place: a crash, with any few of the pending sectors kept; a crash in the recovery after it; a call that fails; an
 * allocation that fails; a clock that jumps.
 */
#include "sim/sim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SCRIPT_SEED 20261122
#define SCRIPT_OPERATIONS 200 /* of which the first life has three in five */
#define SECOND UINT64_C(1000000000)
#define YEARS_10 (INT64_C(315360000) * 1000000000)

struct script {
  uint64_t jump_at; /* before which operation the clock jumps; 0: none */
  int64_t jump_by;
  bool stand;           /* and stands still from then on */
  int64_t jump_between; /* the lives */
};

static struct run run, branch;

/* --- the script ------------------------------------------------------------------------------------------- */

static void create_all(void) {
  static const uint64_t stocks[] = {40, 5, 13, 400, 8}, limits[] = {1, 1, 0, 1, 1};
  static const int32_t kinds[] = {COUPON_USER_U64, COUPON_USER_UUID, COUPON_USER_U64, COUPON_USER_UUID,
                                  COUPON_USER_U64};
  for (uint32_t i = 0; i < 5 && !run.failed && !run.disk->dead; i++) {
    struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
    spec.id = i + 1;
    spec.stock = stocks[i];
    spec.user_limit = limits[i];
    spec.user_kind = kinds[i];
    spec.name = "script";
    if (i == 4) spec.opens_at_ns = run.clock_ns + 2 * SECOND;
    if (i == 4) spec.closes_at_ns = run.clock_ns + 40 * SECOND;
    work_create(&run, i, &spec);
    if (i % 2 == 1) (void)run_step(&run);
  }
}

static void jump(int64_t by) {
  run.clock_ns += (uint64_t)by;
  run_note(&run, "the clock", "jumps", run.clock_ns, 0, 0);
}

/* False: it did not come to its end. */
static bool work(const struct script *script, uint64_t from, uint64_t to) {
  for (uint64_t i = from; i < to; i++) {
    if (script->jump_at == i + 1) jump(script->jump_by);
    if (script->jump_at == i + 1 && script->stand) run.clock_stands = true;
    if (!work_once(&run)) return false;
    if (i % 50 == 49) run_checkpoint(&run);
    /* Often, so that there are many places between two commits, and many commits. */
    if (i % 3 == 0) (void)run_step(&run);
    if (run.failed || run.disk->dead || run_is_wrong(&run)) return false;
  }
  return true;
}

/* Up to its end, or to where it dies or fails. */
static void play(const struct script *script) {
  const uint64_t half = SCRIPT_OPERATIONS * 3 / 5;
  if (run_open(&run) != OPENED) return;
  create_all();
  if (run.failed || run.disk->dead || !work(script, 0, half)) return;
  run_close(&run);
  if (run.disk->dead || run_is_wrong(&run)) return;
  jump(script->jump_between);
  if (run_open(&run) == OPENED) (void)work(script, half, SCRIPT_OPERATIONS);
}

static void begin(struct counts *counts) { run_begin(&run, counts, SCRIPT_SEED, PLANT_NOTHING); }

static void stop(void) {
  if (!run_is_wrong(&run)) run_kill(&run);
}

/* True: all is well so far. */
static bool is_well(struct run *judged, const char *what, uint64_t a, uint64_t b) {
  if (judged->model.wrong == NULL) return true;
  trace_print(&run.trace);
  if (judged != &run) trace_print(&judged->trace);
  printf("%s (%llu, %llu): %s (%llu, %llu, %llu)\n", what, (unsigned long long)a, (unsigned long long)b,
         judged->model.wrong, (unsigned long long)judged->model.numbers[0],
         (unsigned long long)judged->model.numbers[1], (unsigned long long)judged->model.numbers[2]);
  return false;
}

/* The script has to turn some pages, or the rest shows little. */
static bool script_is_long_enough(struct counts *counts) {
  static const struct script plain;
  begin(counts);
  play(&plain);
  struct coupon_stats stats = COUPON_STATS_INIT;
  bool ran = run.engine != NULL && coupon_read_stats(run.engine, &stats) == COUPON_OK;
  const uint64_t segments = ran ? run.engine->log.number : 0, checkpoints = counts->checkpoints;
  printf("the script: %d operations, %llu calls, %llu segments, %llu checkpoints, %llu tickets\n", SCRIPT_OPERATIONS,
         (unsigned long long)run.disk->calls, (unsigned long long)segments, (unsigned long long)checkpoints,
         (unsigned long long)stats.tickets);
  ran = ran && segments >= 3 && checkpoints >= 2;
  ran = is_well(&run, "the script", 0, 0) && ran;
  stop();
  run_end(&run);
  return ran;
}

/* --- a crash at every call ---------------------------------------------------------------------------------- */

struct choice {
  uint64_t bits; /* which of the first 64 pending sectors are kept */
};

static bool keep_chosen(void *context, uint64_t sector) {
  return sector < 64 && (((struct choice *)context)->bits >> sector & 1) != 0;
}

/* What is left of the crashed run after this loss (NULL: none, the power stays) opens, and all of it is right. */
static bool try_loss(const struct sim_loss *loss, uint64_t call, uint64_t bits) {
  run_branch(&branch, &run);
  if (loss != NULL) run_lose_power(&branch, loss);
  run_finish(&branch);
  bool well = is_well(&branch, "a crash at this call, with these sectors kept", call, bits);
  run_end(&branch);
  return well;
}

/* The recovery crashes too, at each of its calls, and what then is left is recovered. */
static bool crash_recovery(bool power, uint64_t call) {
  for (uint64_t i = 1, ended = 0; ended == 0; i++) {
    run_branch(&branch, &run);
    if (power) run_lose_power(&branch, NULL);
    const uint64_t before = branch.disk->calls;
    branch.disk->die_at = before + i;
    (void)run_open(&branch);
    ended = branch.disk->calls < before + i;
    if (!run_is_wrong(&branch)) run_kill(&branch);
    if (!run_is_wrong(&branch) && (i & 1) != 0) run_lose_power(&branch, NULL);
    if (!run_is_wrong(&branch)) run_finish(&branch);
    bool well = is_well(&branch, "a crash at this call, and at this one of the recovery", call, i);
    run_end(&branch);
    if (!well) return false;
  }
  return true;
}

/* Every set of up to three of so many sectors, then all of them. */
static bool lose_subsets(uint64_t call) {
  uint64_t pending = cpn_min_u64(simdisk_pending_sectors(run.disk), 63);
  const uint64_t all = (UINT64_C(1) << pending) - 1;
  for (int changes = 0; changes <= run.disk->change_count; changes++) {
    struct choice choice = {0};
    const struct sim_loss loss = {.keep = keep_chosen, .context = &choice, .changes_kept = changes};
    for (uint64_t a = 0; a <= pending; a++) {
      for (uint64_t b = a; b <= pending; b++) {
        for (uint64_t c = b; c <= pending; c++) {
          if ((a == b && a != pending) || (b == c && b != pending)) continue; /* the place `pending` is none */
          choice.bits = (UINT64_C(1) << a | UINT64_C(1) << b | UINT64_C(1) << c) & all;
          if (!try_loss(&loss, call, choice.bits)) return false;
        }
      }
    }
    choice.bits = all;
    if (!try_loss(&loss, call, all)) return false;
  }
  return true;
}

static bool lose_some(uint64_t call) {
  struct choice none = {0}, all = {UINT64_MAX};
  const struct sim_loss nothing_kept = {.keep = keep_chosen, .context = &none};
  const struct sim_loss all_kept = {.keep = keep_chosen, .context = &all, .changes_kept = SIM_CHANGES};
  return try_loss(NULL, call, 0) && try_loss(&nothing_kept, call, 0) && try_loss(&all_kept, call, UINT64_MAX);
}

static bool lose_some_and_crash_again(uint64_t call) {
  return lose_some(call) && crash_recovery(false, call) && crash_recovery(true, call);
}

static int crash_everywhere(struct counts *counts, bool (*after)(uint64_t call), int32_t durability) {
  static const struct script plain;
  bool ended = false;
  uint64_t call = 0;
  while (!ended) {
    begin(counts);
    run.options.durability = durability;
    run.disk->die_at = ++call;
    play(&plain);
    ended = run.disk->calls < call;
    stop();
    bool well = is_well(&run, "a crash at this call", call, 0) && after(call);
    run_end(&run);
    if (!well) return 1;
  }
  printf("%llu crash points\n", (unsigned long long)call - 1);
  return 0;
}

/* --- the N-th call, the N-th allocation -------------------------------------------------------------------------- */

static bool end_and_finish(bool power) {
  stop();
  if (!run_is_wrong(&run) && power) run_lose_power(&run, NULL);
  if (!run_is_wrong(&run)) run_finish(&run);
  return !run_is_wrong(&run);
}

static int fail_every_call(struct counts *counts, int error, bool for_good, bool syncs_only) {
  static const struct script plain;
  uint64_t call = 0;
  for (bool ended = false; !ended;) {
    begin(counts);
    run.faults.at = ++call;
    run.faults.with = error;
    run.faults.for_good = for_good;
    run.faults.syncs_only = syncs_only;
    play(&plain);
    ended = run.faults.reached < call;
    (void)end_and_finish(call % 2 == 0);
    bool well = is_well(&run, "this call fails with this error", call, (uint64_t)error);
    run_end(&run);
    if (!well) return 1;
  }
  printf("%llu %s fail%s: %s\n", (unsigned long long)call - 1, syncs_only ? "syncs" : "calls",
         for_good ? " for good" : "", error == 0 ? "they do one byte only" : strerror(error));
  return 0;
}

static int fail_calls(struct counts *counts) {
  static const int errors[] = {EIO, ENOSPC, EINTR, 0};
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    if (fail_every_call(counts, errors[i], false, false) != 0) return 1;
    if (fail_every_call(counts, errors[i], true, false) != 0) return 1;
  }
  return fail_every_call(counts, EIO, false, true) != 0 || fail_every_call(counts, EIO, true, true) != 0;
}

static int refuse_every_allocation(struct counts *counts, bool for_good) {
  static const struct script plain;
  uint64_t number = 0;
  for (bool ended = false; !ended;) {
    begin(counts);
    run.faults.refuse_at = ++number;
    run.faults.refuse_all = for_good;
    run.model.scarce = true;
    faults_of_malloc = &run.faults;
    play(&plain);
    faults_of_malloc = NULL;
    ended = run.faults.allocations < number;
    (void)end_and_finish(false);
    bool well = is_well(&run, "this allocation fails", number, for_good);
    run_end(&run);
    if (!well) return 1;
  }
  printf("%llu allocations fail%s\n", (unsigned long long)number - 1, for_good ? " for good" : "");
  return 0;
}

/* --- the clock -------------------------------------------------------------------------------------------------- */

static bool play_with_clock(struct counts *counts, const struct script *script) {
  begin(counts);
  play(script);
  if (!run_is_wrong(&run) && run.engine == NULL) model_wrong(&run.model, "the script did not end", 0, 0, 0);
  stop();
  if (!run_is_wrong(&run)) jump(-script->jump_between);
  if (!run_is_wrong(&run)) run_finish(&run);
  bool well =
      is_well(&run, "the clock jumps before this operation by this", script->jump_at, (uint64_t)script->jump_by);
  run_end(&run);
  return well;
}

static int jump_everywhere(struct counts *counts) {
  static const int64_t jumps[] = {YEARS_10, -YEARS_10, -1, -30 * (int64_t)SECOND, 0};
  static const int64_t between[] = {0, 2 * YEARS_10, -2 * YEARS_10};
  for (uint64_t at = 1; at <= SCRIPT_OPERATIONS; at++) {
    for (size_t i = 0; i < sizeof jumps / sizeof jumps[0]; i++) {
      for (size_t j = 0; j < sizeof between / sizeof between[0]; j++) {
        const struct script script = {
            .jump_at = at, .jump_by = jumps[i], .stand = jumps[i] == 0, .jump_between = between[j]};
        if (!play_with_clock(counts, &script)) return 1;
      }
    }
  }
  printf("%d places, each with five jumps and three between the lives\n", SCRIPT_OPERATIONS);
  return 0;
}

/* -------------------------------------------------------------------------------------------------------------- */

int every_run(const char *mode, struct counts *counts) {
  if (!script_is_long_enough(counts)) return 1;
  if (strcmp(mode, "points") == 0)
    return crash_everywhere(counts, lose_some_and_crash_again, COUPON_SYNC) ||
           crash_everywhere(counts, lose_some, COUPON_WRITTEN);
  if (strcmp(mode, "subsets") == 0) return crash_everywhere(counts, lose_subsets, COUPON_SYNC);
  if (strcmp(mode, "calls") == 0) return fail_calls(counts);
  if (strcmp(mode, "memory") == 0)
    return refuse_every_allocation(counts, false) || refuse_every_allocation(counts, true);
  if (strcmp(mode, "clock") == 0) return jump_everywhere(counts);
  return -1;
}
