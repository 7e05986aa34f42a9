/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/run.h"

#include <string.h>

/* --- the world that the engine sees ------------------------------------------------------------------------ */

static uint64_t read_clock(void *context) {
  struct run *run = context;
  if (run->clock_ticks) run->clock_ns += chance_below(&run->chance, 1000);
  return run->clock_ns;
}

static void hear_durable(void *context, uint64_t durable_lsn, coupon_status fault) {
  struct run *run = context;
  run->heard_lsn = durable_lsn;
  run->heard_fault = fault;
}

static void connect(struct run *run) {
  run->disk->random = &run->chance.state;
  run->options.allocator = faults_allocator(&run->faults);
  run->options.callbacks.clock = read_clock;
  run->options.callbacks.durable = hear_durable;
  run->options.callbacks.context = run;
}

#define CLOCK_BEGINS_NS UINT64_C(1700000000000000000)

void run_begin(struct run *run, struct counts *counts, uint64_t seed, enum plant plant) {
  bool loud = run->trace.loud;
  memset(&run->trace, 0, sizeof run->trace);
  run->trace.loud = loud;
  run->chance.state = seed;
  run->counts = counts;
  run->disk = simdisk_create();
  run->disk->entropy = seed;
  run->engine = NULL;
  run->clock_ns = CLOCK_BEGINS_NS;
  run->clock_ticks = run->clock_stands = run->crowded = run->in_checkpoint = run->damaged = run->lying = run->was_cut =
      run->failed = false;
  run->stalled = run->remembered_count = run->heard_lsn = 0;
  run->heard_fault = COUPON_OK;
  faults_init(&run->faults, &run->chance, run->disk, &run->trace);
  planted_init(&run->planted, run->disk, plant);
  model_init(&run->model);
  run->options = (struct coupon_options)COUPON_OPTIONS_INIT;
  run->options.segment_size_bytes = run->options.log_buffer_bytes = 4096;
  run->options.checkpoint_log_bytes = UINT64_MAX;
  connect(run);
}

void run_branch(struct run *run, const struct run *from) {
  memset(&run->trace, 0, sizeof run->trace);
  run->chance = from->chance;
  run->counts = from->counts;
  run->disk = simdisk_copy(from->disk);
  run->engine = NULL;
  run->options = from->options;
  run->clock_ns = from->clock_ns;
  run->clock_ticks = from->clock_ticks;
  run->clock_stands = from->clock_stands;
  run->lying = from->lying;
  run->damaged = from->damaged;
  run->was_cut = run->failed = run->in_checkpoint = false;
  run->stalled = run->remembered_count = run->heard_lsn = 0;
  faults_init(&run->faults, &run->chance, run->disk, &run->trace);
  planted_init(&run->planted, run->disk, from->planted.plant);
  model_copy(&run->model, &from->model);
  connect(run);
}

void run_end(struct run *run) {
  if (run->engine != NULL) run_kill(run);
  run->counts->calls += run->disk->calls;
  run->counts->kept_sectors += run->disk->kept_sectors;
  run->counts->lost_sectors += run->disk->lost_sectors;
  simdisk_destroy(run->disk);
  run->disk = NULL;
}

/* --- opening ---------------------------------------------------------------------------------------------- */

/* Why an opening may fail. `dropped`: what it had read was not there any more when it looked again. */
static enum opened judge_refusal(struct run *run, const struct evidence *evidence, coupon_status status, bool dropped) {
  struct model *model = &run->model;
  run->counts->refused_openings++;
  bool disk_did = faults_explain(&run->faults, status) || (run->disk->dead && status == COUPON_E_IO);
  disk_did = disk_did || (dropped && status == COUPON_E_IO);
  bool memory_did = run->faults.refused && status == COUPON_E_NOMEM;
  if (disk_did || memory_did) return NOT_OPENED;
  if (status != COUPON_E_CORRUPT || evidence->verdict != EVIDENCE_DAMAGED)
    model_wrong(model, "refused without a reason", (uint64_t)-status, evidence->stop_lsn, evidence->proof_lsn);
  else if (!run->lying)
    model_wrong(model, evidence->why, evidence->stop_lsn, evidence->proof_lsn, model->floor_lsn);
  return REFUSED_FOR_GOOD;
}

static void forget_what_is_void(struct run *run, uint64_t kept_lsn) {
  uint64_t left = 0, count = cpn_min_u64(run->remembered_count, RUN_REMEMBERED);
  for (uint64_t i = 0; i < count; i++) {
    bool holds = (run->remembered[i].flags & COUPON_TICKET_FINAL) != 0 && run->remembered[i].lsn <= kept_lsn;
    if (holds) run->remembered[left++] = run->remembered[i];
  }
  run->remembered_count = left;
}

/* What a checkpoint said that was passed over is forgotten; until it comes back, if it only was not `readable`. */
void run_forget_moves(struct run *run, bool passed_over, bool readable) {
  for (int i = 0; i < MODEL_CAMPAIGNS; i++) {
    struct model_campaign *campaign = &run->model.campaigns[i];
    if (campaign->unread_place > campaign->wanted) campaign->wanted = campaign->unread_place;
    campaign->unread_place = passed_over && !readable ? campaign->wanted : COUPON_PLACE_MEMORY;
    if (passed_over) campaign->place = COUPON_PLACE_MEMORY;
  }
}

/* Comparing reads files, and allocates. */
static void compare_in_peace(struct run *run) {
  const bool paused = run->faults.paused;
  const uint64_t die_at = run->disk->die_at, refuse_at = run->faults.refuse_at;
  const uint64_t allocations = run->faults.allocations;
  struct faults *counted = faults_of_malloc;
  struct model *model = &run->model;
  run->faults.paused = true;
  run->disk->die_at = run->faults.refuse_at = 0;
  faults_of_malloc = NULL;
  model->lying = run->lying;
  model_compare(model, run->engine);
  run->faults.paused = paused;
  run->disk->die_at = die_at;
  run->faults.refuse_at = refuse_at;
  run->faults.allocations = allocations;
  faults_of_malloc = counted;
  for (int i = 0; i < MODEL_CAMPAIGNS; i++) model->campaigns[i].wanted = model->campaigns[i].place;
}

/* Which checkpoint was taken. One that was said to be made is there, unless somebody has damaged it, or it was not
 * `readable`. */
static void judge_checkpoint(struct run *run, const struct evidence *evidence, bool readable) {
  struct model *model = &run->model;
  const bool whole = !run->lying && !run->damaged;
  if (run->report.checkpoint != evidence->checkpoint ||
      (run->report.checkpoint_status != COUPON_OK) != evidence->passed_over)
    model_wrong(model, "another checkpoint was taken", run->report.checkpoint, evidence->checkpoint,
                evidence->passed_over);
  if (readable && run->report.checkpoint_status == COUPON_E_IO)
    model_wrong(model, "a checkpoint could not be read, and can be", evidence->checkpoint, 0, 0);
  if (whole && run->report.checkpoint_status == COUPON_E_CORRUPT)
    model_wrong(model, "a checkpoint is damaged", evidence->checkpoint, 0, 0);
  if (whole && readable && run->report.checkpoint_lsn < model->checkpoint_lsn)
    model_wrong(model, "a checkpoint is gone", run->report.checkpoint_lsn, model->checkpoint_lsn, 0);
  model->checkpoint_lsn = run->report.checkpoint_lsn;
}

uint64_t run_kept_lsn(const struct run *run, const struct evidence *evidence) {
  const struct model *model = &run->model;
  const uint64_t kept_lsn = evidence_kept(evidence, model->life);
  const uint64_t began_lsn = evidence->began_lsn[model->life % EVIDENCE_LIVES]; /* 0: not seen */
  const bool is_another = run->lying && model->life > 0 && began_lsn != 0 && began_lsn != model->began_lsn;
  return is_another ? cpn_min_u64(kept_lsn, began_lsn) : kept_lsn;
}

/* What was recovered, against the evidence and the model. */
static void judge_opened(struct run *run, const struct evidence *evidence, bool readable) {
  struct model *model = &run->model;
  struct coupon_stats stats = COUPON_STATS_INIT;
  (void)!coupon_read_stats(run->engine, &stats);
  run->counts->recoveries++;
  run->counts->cuts += run->report.cut_bytes > 0;
  if (evidence->verdict == EVIDENCE_DAMAGED)
    model_wrong(model, "opened what is damaged", evidence->stop_lsn, evidence->proof_lsn, 0);
  if (run->report.recovered_lsn != evidence->stop_lsn)
    model_wrong(model, "recovered to another end than the log has", run->report.recovered_lsn, evidence->stop_lsn, 0);
  if (run->report.cut_bytes != evidence->cut_bytes && run->planted.plant == PLANT_NOTHING)
    model_wrong(model, "reported another cut", run->report.cut_bytes, evidence->cut_bytes, 0);
  judge_checkpoint(run, evidence, readable);
  if (stats.life != evidence->life + 1) model_wrong(model, "not the next life", stats.life, evidence->life, 0);
  if (stats.durable_lsn != stats.reserved_lsn || stats.durable_lsn != evidence->stop_lsn + CPN_SIZE_LIFE)
    model_wrong(model, "opened, and not durable", stats.durable_lsn, stats.reserved_lsn, evidence->stop_lsn);
  const uint64_t kept_lsn = run_kept_lsn(run, evidence);
  if (kept_lsn < model->floor_lsn && model->life > 0) {
    if (!run->lying) model_wrong(model, "what was final is gone", kept_lsn, model->floor_lsn, evidence->stop_lsn);
    run->was_cut = true;
  }
  model_keep(model, kept_lsn);
  forget_what_is_void(run, kept_lsn);
  model->life = stats.life;
  model->began_lsn = evidence->stop_lsn;
  model->durable_lsn = model->synced_lsn = model->last_lsn = stats.durable_lsn;
  model->floor_lsn = UINT64_MAX;
  model->capacity = run->options.log_buffer_bytes;
  run_forget_moves(run, evidence->passed_over, readable);
  compare_in_peace(run);
  model->told_ns = stats.time_ns;
}

/* What was there changed while it was read. What was found is what the log goes on from. */
static void look_afterwards(struct run *run, struct evidence *evidence, bool readable) {
  const uint64_t cut_bytes = run->report.cut_bytes;
  if (readable)
    evidence_read(evidence, run->disk);
  else
    evidence_read_without(evidence, run->disk, run->report.checkpoint == 0);
  if (evidence->verdict != EVIDENCE_SOUND || evidence->life == 0)
    model_wrong(&run->model, "opened, and the log is not sound", evidence->stop_lsn, evidence->proof_lsn, 0);
  evidence->stop_lsn = evidence->began_lsn[evidence->life % EVIDENCE_LIVES];
  evidence->life--;
  evidence->cut_bytes = cut_bytes;
}

enum opened run_open(struct run *run) {
  struct evidence evidence, without[2]; /* the newest checkpoint, both */
  const uint64_t dropped_before = run->disk->dropped_sectors;
  /* What a lost write has left in memory would show only once it is gone from there: before, then, or never. */
  if (run->lying) simdisk_stop_dropping(run->disk);
  evidence_read(&evidence, run->disk);
  for (int i = 0; i < 2 && !run->faults.paused; i++) evidence_read_without(&without[i], run->disk, i == 1);
  faults_forget(&run->faults);
  run->failed = false;
  run->report = (struct coupon_report)COUPON_REPORT_INIT;
  struct cpn_env env = simdisk_env(run->disk);
  env.io = &run->planted.io;
  planted_before_opening(&run->planted);
  coupon_status status = cpn_engine_open(&env, "directory", &run->options, &run->engine, &run->report);
  planted_after_opening(&run->planted, run->engine);
  run_note(run, "open", coupon_status_name(status), run->report.recovered_lsn, run->report.cut_bytes,
           run->model.floor_lsn);
  const bool passed_over = status == COUPON_OK && run->report.checkpoint_status != COUPON_OK;
  const bool readable = !(passed_over && run->faults.had_io);
  /* What nothing names may stay; the next checkpoint removes it. What could not be read may be done without. */
  bool tolerable = run->faults.failed_op == SIM_REMOVE || run->options.archive_dir != NULL || !readable;
  if (status == COUPON_OK && run->faults.error != 0 && !tolerable && run->planted.plant == PLANT_NOTHING)
    model_wrong(&run->model, "opened over an error", (uint64_t)run->faults.error, 0, 0);
  if (status != COUPON_OK) {
    run->engine = NULL;
    if (run->faults.live_bytes != 0) model_wrong(&run->model, "memory is lost", (uint64_t)run->faults.live_bytes, 0, 0);
    return judge_refusal(run, &evidence, status, run->disk->dropped_sectors != dropped_before);
  }
  run->counts->lives++;
  faults_forget(&run->faults);
  run->counts->unreadable += !readable;
  if (!readable) evidence = without[run->report.checkpoint == 0];
  if (run->disk->dropped_sectors != dropped_before) look_afterwards(run, &evidence, readable);
  judge_opened(run, &evidence, readable);
  return OPENED;
}

/* --- living ------------------------------------------------------------------------------------------------ */

void run_judge_failure(struct run *run, const struct coupon_stats *stats) {
  run->failed = true;
  coupon_status status = faults_status(&run->faults);
  bool has_reason = run->disk->dead ? stats->failure == COUPON_E_IO || stats->failure == status
                                    : status != COUPON_OK && stats->failure == status;
  if (!has_reason) model_wrong(&run->model, "the engine stopped without a reason", (uint64_t)-stats->failure, 0, 0);
  if (run->heard_fault != stats->failure) model_wrong(&run->model, "nobody was told that it stopped", 0, 0, 0);
}

bool run_step(struct run *run) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  int done = cpn_wait_step(run->engine);
  (void)!coupon_read_stats(run->engine, &stats);
  run_note(run, "commit",
           done > 0    ? "done"
           : done == 0 ? "nothing"
                       : "failed",
           stats.durable_lsn, stats.reserved_lsn, 0);
  model_durable(&run->model, stats.durable_lsn, run->options.durability == COUPON_SYNC);
  if (run->heard_lsn != stats.durable_lsn)
    model_wrong(&run->model, "the callback was told otherwise", run->heard_lsn, stats.durable_lsn, 0);
  if (done < 0) run_judge_failure(run, &stats);
  if (run->failed && done >= 0) model_wrong(&run->model, "it goes on after it stopped", (uint64_t)done, 0, 0);
  if (done >= 0 && run->faults.error != 0 && !run->in_checkpoint && run->planted.plant == PLANT_NOTHING)
    model_wrong(&run->model, "it goes on over an error", (uint64_t)run->faults.error, 0, 0);
  return done > 0;
}

/* --- ending ------------------------------------------------------------------------------------------------ */

void run_free_engine(struct run *run) {
  (void)coupon_destroy(run->engine);
  run->engine = NULL;
  if (run->faults.live_bytes != 0) model_wrong(&run->model, "memory is lost", (uint64_t)run->faults.live_bytes, 0, 0);
}

static void forget_life(struct run *run) {
  struct model *model = &run->model;
  /* What a failed sync had of a log that is only written is as good as lost: its pages may be dropped. */
  if (run->faults.sync_failed) model->durable_lsn = model->synced_lsn;
  model_crash(model, false);
  simdisk_restart(run->disk);
}

void run_close(struct run *run) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  (void)!coupon_read_stats(run->engine, &stats);
  coupon_status status = coupon_close(run->engine);
  run_note(run, "close", coupon_status_name(status), stats.reserved_lsn, 0, 0);
  bool has_reason = run->failed || run->disk->dead || run->faults.error != 0;
  if ((status != COUPON_OK) != has_reason && run->planted.plant == PLANT_NOTHING)
    model_wrong(&run->model, "closing says otherwise than it went", (uint64_t)-status, has_reason, 0);
  if (status == COUPON_OK) model_durable(&run->model, stats.reserved_lsn, true);
  run_free_engine(run);
  forget_life(run);
}

void run_kill(struct run *run) {
  run_note(run, "the process dies", "", run->model.durable_lsn, run->model.last_lsn, 0);
  run->counts->crashes++;
  run->disk->dead = true; /* whatever freeing would write is lost */
  if (run->engine != NULL) run_free_engine(run);
  forget_life(run);
}

static bool keep_by_chance(void *context, uint64_t sector) {
  struct run *run = context;
  (void)sector;
  return chance_below(&run->chance, 4) < run->keep_of_four;
}

void run_lose_power(struct run *run, const struct sim_loss *loss) {
  struct sim_loss by_chance = {.keep = keep_by_chance, .context = run};
  uint64_t kept = run->disk->kept_sectors, lost = run->disk->lost_sectors;
  if (loss == NULL) {
    loss = &by_chance;
    run->keep_of_four = chance_below(&run->chance, 5);
    by_chance.changes_kept = (int)chance_below(&run->chance, (uint64_t)run->disk->change_count + 1);
    if (chance_once_in(&run->chance, 2)) by_chance.keep_change = keep_by_chance;
  }
  int changes = run->disk->change_count;
  simdisk_lose_power(run->disk, loss);
  run_note(run, "the power fails", "kept, lost, changes", run->disk->kept_sectors - kept,
           run->disk->lost_sectors - lost, (uint64_t)changes);
  model_crash(&run->model, true);
}
