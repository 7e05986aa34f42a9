/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run: the real engine on a simulated disk, clock and memory, life after life, in one thread, and the model that
 * judges it. What happens is decided by the seed, or by whoever calls the steps below.
 *
 *   run.c    opening, ending, crashing, and what each is judged by
 *   making.c checkpoints, releasing
 *   probe.c  finishing, trying on copies, looking
 *   work.c   what is asked of a living engine
 *   story.c  the story of a seed
 */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include "engine/engine.h"
#include "sim/evidence.h"
#include "sim/faults.h"
#include "sim/model.h"
#include "sim/planted.h"

#define RUN_REMEMBERED 64

#define COUNTED_LOWEST (-24)
#define COUNTED 40

struct counts {
  uint64_t answered[COUNTED];                  /* by status, from COUNTED_LOWEST on */
  uint64_t looks, cuts, checkpoints, releases; /* read-only openings; recoveries that cut something */
  uint64_t unreadable;                         /* openings without a checkpoint that the disk did not give back */
  uint64_t seeds, calls, answers, lives, crashes, recoveries, refused_openings, kept_sectors, lost_sectors;
  uint64_t lying, lying_refused, lying_cut, lying_harmless, lying_honest; /* seeds of a lying disk, by how they ended */
};

struct run {
  struct chance chance;
  struct simdisk *disk;
  struct faults faults;
  struct planted planted;
  struct trace trace;
  struct model model;
  struct counts *counts;

  coupon_engine *engine;
  struct coupon_options options;
  struct coupon_report report; /* of the last opening */
  uint64_t clock_ns;
  bool clock_ticks, clock_stands; /* at each look, too; or at all */
  bool crowded;                   /* many strangers come at once */
  uint64_t stalled;               /* the commit does not go on for so many turns */
  bool in_checkpoint;             /* one is being made */
  coupon_status checkpoint_fault; /* that it met, so far */
  bool damaged;                   /* a checkpoint is, by hand */
  bool lying, was_cut;            /* the disk lies; something final was lost to that */
  bool failed;                    /* the engine has stopped */
  uint64_t heard_lsn;             /* by the callback */
  coupon_status heard_fault;
  uint64_t keep_of_four; /* of pending sectors, in a power loss by chance */

  /* Answers to ask about again. */
  struct coupon_ticket remembered[RUN_REMEMBERED];
  uint64_t remembered_count;
};

enum opened { OPENED, NOT_OPENED, REFUSED_FOR_GOOD };

/* --- run.c ------------------------------------------------------------------------------------------------ */

void run_begin(struct run *run, struct counts *counts, uint64_t seed, enum plant plant);
void run_end(struct run *run);
/* The same disk and memory of answers again, without an engine: for trying one more thing. */
void run_branch(struct run *run, const struct run *from);

/* Opens, and judges what was found. NOT_OPENED: the disk failed or died meanwhile; REFUSED_FOR_GOOD: rightly. */
enum opened run_open(struct run *run);
/* One commit. False: there was nothing, or the engine stopped. */
bool run_step(struct run *run);
/* A checkpoint, as somebody asks for one; and one that is due, if it is. */
void run_checkpoint(struct run *run);
void run_checkpoint_if_due(struct run *run);
/* Releases or drops the campaign of that number, which takes a checkpoint. */
void run_release(struct run *run, uint32_t number, bool drop);
/* The engine is closed; what it had decided is durable, unless it failed. */
void run_close(struct run *run);
/* The process is killed. */
void run_kill(struct run *run);
/* And then, or instead, the power fails; `loss` NULL: by chance. */
void run_lose_power(struct run *run, const struct sim_loss *loss);

/* From now on disk and memory have no fault. */
void run_without_faults(struct run *run);
/* On a disk without faults: opens, compares, sells what is left, closes, opens again. */
void run_finish(struct run *run);
/* The same on a copy, which is then forgotten; a read-only look first. */
void run_probe(struct run *run);
/* A copy beside the living engine is opened read-only: it shows what is final. */
void run_look_beside(struct run *run);

static inline void run_count(struct run *run, coupon_status status) {
  run->counts->answers++;
  run->counts->answered[(status - COUNTED_LOWEST) % COUNTED]++;
}

static inline bool run_is_wrong(const struct run *run) { return run->model.wrong != NULL; }
static inline void run_note(struct run *run, const char *event, const char *outcome, uint64_t a, uint64_t b,
                            uint64_t c) {
  trace_note(&run->trace, run->disk->calls, event, outcome, a, b, c);
}

/* How far the log holds what the model knows of. A lying disk may have taken a life with all that tells of it, even
 * from an opening that then failed; the next one has its number, but did not begin where it did. */
uint64_t run_kept_lsn(const struct run *run, const struct evidence *evidence);

/* For making.c and probe.c: the engine has stopped, and had better have a reason; it is freed; what a checkpoint has
 * said that was passed over is forgotten. */
void run_judge_failure(struct run *run, const struct coupon_stats *stats);
void run_free_engine(struct run *run);
void run_forget_moves(struct run *run, bool passed_over, bool readable);

/* --- work.c ----------------------------------------------------------------------------------------------- */

/* One operation by chance. False: the engine has stopped, or the process died. */
bool work_once(struct run *run);
/* Some of what may be done while a checkpoint is made. */
void work_beside_checkpoint(struct run *run);
/* A campaign of that number, with a description by chance; and one request of that user. */
void work_create(struct run *run, uint32_t number, const struct coupon_campaign_spec *spec);
void work_issue(struct run *run, uint32_t number, uint64_t user, bool waits);

/* --- story.c ---------------------------------------------------------------------------------------------- */

struct plan {
  uint64_t seed;
  enum plant plant;
  bool lying, loud;
};

/* NULL, or what was wrong; then the trace is printed. */
const char *story_run(const struct plan *plan, struct counts *counts);

#endif
