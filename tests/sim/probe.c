/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/checkpoint.h"
#include "sim/run.h"

void run_without_faults(struct run *run) {
  run->faults.paused = true;
  run->faults.refuse_at = 0;
  run->model.scarce = false;
  simdisk_stop_dropping(run->disk);
}

void run_finish(struct run *run) {
  run_without_faults(run);
  if (run->engine == NULL) {
    enum opened opened = run_open(run);
    if (opened == NOT_OPENED) model_wrong(&run->model, "it does not open on a disk without a fault", 0, 0, 0);
    if (opened != OPENED) return;
  }
  if (!run_is_wrong(run)) model_sell_out(&run->model, run->engine);
  if (run_is_wrong(run)) return;
  run_close(run);
  if (!run_is_wrong(run) && run_open(run) == OPENED) run_close(run);
}

/* Opens for reading only, which changes nothing, and finds what is there up to `kept_lsn`. */
static void look(struct run *run, uint64_t kept_lsn) {
  run->disk->random = NULL; /* it stays as the evidence was */
  struct cpn_env env = simdisk_env(run->disk);
  const int32_t before = run->options.read_only;
  run->options.read_only = 1;
  run->report = (struct coupon_report)COUPON_REPORT_INIT;
  coupon_status status = cpn_engine_open(&env, "directory", &run->options, &run->engine, &run->report);
  run->options.read_only = before;
  run_note(run, "look", coupon_status_name(status), run->report.recovered_lsn, kept_lsn, 0);
  run->counts->looks++;
  if (status != COUPON_OK) {
    run->engine = NULL;
    model_wrong(&run->model, "a look is refused", (uint64_t)-status, kept_lsn, 0);
    return;
  }
  if (run->report.recovered_lsn < kept_lsn)
    model_wrong(&run->model, "a look sees less than there is", run->report.recovered_lsn, kept_lsn, 0);
  model_keep(&run->model, kept_lsn);
  run_forget_moves(run, run->report.checkpoint_status == COUPON_E_CORRUPT, true);
  model_compare(&run->model, run->engine);
  run_free_engine(run);
}

/* What a copy has found counts as the original's. */
static void take_over(struct run *run, struct run *copy) {
  if (copy->model.wrong != NULL) {
    for (uint64_t i = 0; i < cpn_min_u64(copy->trace.count, TRACE_EVENTS); i++)
      run_note(run, "on a copy:", copy->trace.ring[i].event, copy->trace.ring[i].numbers[0],
               copy->trace.ring[i].numbers[1], copy->trace.ring[i].numbers[2]);
    model_wrong(&run->model, copy->model.wrong, copy->model.numbers[0], copy->model.numbers[1], copy->model.numbers[2]);
  }
  run_end(copy);
}

static struct run copy;

/* Rot in the newest checkpoint: nothing may depend on it, even on an honest disk. */
static void damage_newest(struct run *run, uint64_t number) {
  char name[CPN_IO_NAME_MAX];
  uint64_t size = 0;
  cpn_checkpoint_name(number, name);
  if (simdisk_bytes(run->disk, name, &size) == NULL || size == 0) return;
  simdisk_flip(run->disk, name, chance_below(&run->chance, size), 1);
  run->damaged = true;
}

void run_probe(struct run *run) {
  struct evidence evidence;
  evidence_read(&evidence, run->disk);
  run_branch(&copy, run);
  if (evidence.checkpoint != 0 && chance_once_in(&run->chance, 2)) damage_newest(&copy, evidence.checkpoint);
  if (evidence.verdict == EVIDENCE_SOUND) look(&copy, run_kept_lsn(run, &evidence));
  if (!run_is_wrong(&copy)) run_finish(&copy);
  take_over(run, &copy);
}

void run_look_beside(struct run *run) {
  struct faults *counted = faults_of_malloc;
  faults_of_malloc = NULL; /* the copy is nobody's */
  run_branch(&copy, run);
  copy.disk->locked = true;
  look(&copy, run->model.durable_lsn);
  if (copy.model.wrong == NULL && copy.report.recovered_lsn != run->model.durable_lsn)
    model_wrong(&copy.model, "a look sees more than is final", copy.report.recovered_lsn, run->model.durable_lsn, 0);
  take_over(run, &copy);
  faults_of_malloc = counted;
}
