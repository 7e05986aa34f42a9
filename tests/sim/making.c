/* SPDX-License-Identifier: Apache-2.0 */
#include "base/points.h"
#include "engine/checkpoint.h"
#include "sim/run.h"

/* The run whose checkpoint is being made; NULL: none, or what follows is done beside one already. */
static struct run *making;

/* Issuing and committing go on while a checkpoint is made, at the points that its thread would leave them time for. */
static void go_on_beside(enum cpn_point point) {
  struct run *run = making;
  if (run == NULL || point < CPN_POINT_CHECKPOINT_BEGUN || run->failed || run->disk->dead || run_is_wrong(run)) return;
  struct coupon_stats stats = COUPON_STATS_INIT;
  (void)!coupon_read_stats(run->engine, &stats);
  if (stats.failure != COUPON_OK) return; /* it has stopped the engine, which is judged when it is done */
  making = NULL;
  /* What has failed by now is the checkpoint's. */
  if (run->faults.error != 0) run->checkpoint_fault = faults_status(&run->faults);
  faults_forget(&run->faults);
  if (chance_once_in(&run->chance, 3)) work_beside_checkpoint(run);
  making = run;
}

static void begin_making(struct run *run) {
  cpn_point_hook = go_on_beside;
  making = run;
  run->in_checkpoint = true;
  run->checkpoint_fault = COUPON_OK;
}

static void after_checkpoint(struct run *run, coupon_status status) {
  making = NULL;
  run->in_checkpoint = false;
  struct model *model = &run->model;
  struct coupon_stats stats = COUPON_STATS_INIT;
  (void)!coupon_read_stats(run->engine, &stats);
  run_note(run, "checkpoint", coupon_status_name(status), stats.checkpoint_lsn, stats.checkpoints, stats.segments);
  if (stats.failure != COUPON_OK) {
    run_judge_failure(run, &stats);
    return;
  }
  bool has_reason =
      run->disk->dead || run->faults.refused || status == run->checkpoint_fault || faults_explain(&run->faults, status);
  if (status < 0 && !has_reason) model_wrong(model, "a checkpoint failed without a reason", (uint64_t)-status, 0, 0);
  /* What failed was the checkpoint's, or the tidying's, and the engine goes on. */
  faults_forget(&run->faults);
  if (status != COUPON_OK) return;
  run->counts->checkpoints++;
  if (stats.checkpoint_lsn < model->checkpoint_lsn || stats.checkpoint_lsn > model->durable_lsn)
    model_wrong(model, "a checkpoint of another LSN", stats.checkpoint_lsn, model->checkpoint_lsn, model->durable_lsn);
  model->checkpoint_lsn = stats.checkpoint_lsn;
  model->synced_lsn = cpn_max_u64(model->synced_lsn, stats.checkpoint_lsn);
}

/* A checkpoint has its engine's life in it, so one without lives has to do without checkpoints, too. */
static bool has_checkpoints(const struct run *run) { return run->planted.plant != PLANT_TAIL_RESURRECTED; }

void run_checkpoint(struct run *run) {
  if (!has_checkpoints(run)) return;
  begin_making(run);
  after_checkpoint(run, coupon_checkpoint(run->engine, COUPON_POLL));
}

void run_checkpoint_if_due(struct run *run) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  if (!has_checkpoints(run)) return;
  begin_making(run);
  bool made = cpn_checkpoint_step(run->engine);
  making = NULL;
  run->in_checkpoint = false;
  (void)!coupon_read_stats(run->engine, &stats);
  if (made) after_checkpoint(run, stats.checkpoint_status);
}

/* Of an answer that is none of the checkpoint's. */
static bool judge_not_moved(struct run *run, const struct model_campaign *campaign, coupon_status status, bool drop) {
  struct model *model = &run->model;
  struct coupon_stats stats = COUPON_STATS_INIT;
  (void)!coupon_read_stats(run->engine, &stats);
  if (status == COUPON_E_BUSY) return model_fault(model, status, 16, &stats);
  if (status == COUPON_NO_CAMPAIGN && campaign->exists)
    model_wrong(model, "a campaign is gone", campaign->spec.id, 0, 0);
  bool could = drop ? campaign->place != COUPON_PLACE_MEMORY : campaign->told_ended;
  if (status == COUPON_E_NOT_CLOSED && could) model_wrong(model, "it had closed", campaign->spec.id, drop, 0);
  return status == COUPON_NO_CAMPAIGN || status == COUPON_E_NOT_CLOSED;
}

void run_release(struct run *run, uint32_t number, bool drop) {
  struct model_campaign *campaign = &run->model.campaigns[number];
  const int32_t place = drop ? COUPON_PLACE_DROPPED : COUPON_PLACE_RELEASED;
  if (!has_checkpoints(run)) return;
  const int32_t wanted = campaign->wanted;
  if (campaign->exists && place > wanted) campaign->wanted = place; /* already while it is made */
  begin_making(run);
  coupon_status status =
      drop ? coupon_drop(run->engine, number + 1, COUPON_POLL) : coupon_release(run->engine, number + 1, COUPON_POLL);
  making = NULL;
  run->in_checkpoint = false;
  run_note(run, drop ? "drop" : "release", coupon_status_name(status), number + 1, 0, 0);
  if (judge_not_moved(run, campaign, status, drop)) {
    campaign->wanted = wanted;
    return;
  }
  after_checkpoint(run, status);
  if (status != COUPON_OK) return;
  if (!campaign->exists || campaign->spec.closes_at_ns == 0)
    model_wrong(&run->model, "released, and cannot have closed", number + 1, 0, 0);
  if (place > campaign->place) campaign->place = place;
  run->counts->releases++;
}
