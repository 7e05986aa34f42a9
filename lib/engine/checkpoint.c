/* SPDX-License-Identifier: Apache-2.0 */
/* When checkpoints are made: whenever the log has grown by so much, and when somebody asks. docs/DESIGN.md,
 * "Checkpoints". */
#include "engine/checkpoint.h"

#include "engine/engine.h"

/* Of log between two checkpoints: a few seconds of reading. */
#define LOG_BYTES_DEFAULT (UINT64_C(1) << 30)

void cpn_checkpoints_init(coupon_engine *engine) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  cpn_event_init(&checkpoints->ask);
  cpn_event_init(&checkpoints->done);
  checkpoints->archive = checkpoints->archive_lock = -1;
}

/* --- the position -------------------------------------------------------------------------------- */

/* A sequence lock of one writer. release and acquire in all fields: whoever reads one of a later turn then sees that
 * turn. */
static void position_put(struct cpn_checkpoints *checkpoints, const struct cpn_position *position) {
  uint64_t turn = atomic_load_explicit(&checkpoints->turn, memory_order_relaxed); /* relaxed: only we write it */
  atomic_store_explicit(&checkpoints->turn, turn + 1, memory_order_relaxed);      /* relaxed: before what is released */
  atomic_store_explicit(&checkpoints->lsn, position->lsn, memory_order_release);
  atomic_store_explicit(&checkpoints->segment, position->segment, memory_order_release);
  atomic_store_explicit(&checkpoints->offset, position->offset, memory_order_release);
  atomic_store_explicit(&checkpoints->turn, turn + 2, memory_order_release);
}

struct cpn_position cpn_checkpoint_position(const coupon_engine *engine) {
  const struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  for (;;) { /* Retry: a commit has ended meanwhile, which takes a disk far longer than this. */
    uint64_t turn = atomic_load_explicit(&checkpoints->turn, memory_order_acquire);
    struct cpn_position position = {.lsn = atomic_load_explicit(&checkpoints->lsn, memory_order_acquire),
                                    .segment = atomic_load_explicit(&checkpoints->segment, memory_order_acquire),
                                    .offset = atomic_load_explicit(&checkpoints->offset, memory_order_acquire)};
    /* relaxed: behind the acquires above. */
    if (turn % 2 == 0 && atomic_load_explicit(&checkpoints->turn, memory_order_relaxed) == turn) return position;
  }
}

/* What the log has taken of the disk since the position before. */
static uint64_t grown_since(const struct cpn_segment_log *log, uint64_t segment, uint64_t offset) {
  if (log->number == segment) return log->offset - offset;
  return (log->number - segment) * log->segment_size + log->offset - cpn_min_u64(offset, log->segment_size);
}

void cpn_checkpoint_note(coupon_engine *engine) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  const struct cpn_segment_log *log = &engine->log;
  /* relaxed, all four: only whoever steps writes them. */
  uint64_t segment = atomic_load_explicit(&checkpoints->segment, memory_order_relaxed);
  uint64_t offset = atomic_load_explicit(&checkpoints->offset, memory_order_relaxed);
  uint64_t bytes = atomic_load_explicit(&checkpoints->log_bytes, memory_order_relaxed);
  if (segment != 0) bytes += grown_since(log, segment, offset);
  atomic_store_explicit(&checkpoints->log_bytes, bytes, memory_order_relaxed);
  position_put(checkpoints,
               &(struct cpn_position){.lsn = log->written_lsn, .segment = log->number, .offset = log->offset});
  if (bytes < atomic_load_explicit(&checkpoints->due_at, memory_order_relaxed)) return;
  /* seq_cst, before the event: see sleep_until_asked(). */
  if (atomic_exchange_explicit(&checkpoints->told, 1, memory_order_seq_cst) == 0) cpn_event_tell(&checkpoints->ask);
}

/* --- when ---------------------------------------------------------------------------------------- */

static void set_due(coupon_engine *engine, bool at_once) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  uint64_t bytes = atomic_load_explicit(&checkpoints->log_bytes, memory_order_relaxed);
  uint64_t every = engine->options.checkpoint_log_bytes;
  if (every == 0) every = LOG_BYTES_DEFAULT;
  /* relaxed: a hint; whoever steps looks again after each commit. */
  uint64_t due_at = every == UINT64_MAX ? UINT64_MAX : at_once ? 0 : bytes + every;
  atomic_store_explicit(&checkpoints->due_at, due_at, memory_order_relaxed);
}

void cpn_checkpoints_begin(coupon_engine *engine, const struct cpn_reader *reader) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  checkpoints->manifest = reader->manifest;
  checkpoints->next_number = reader->manifest.newest_checkpoint + 1;
  set_due(engine,
          checkpoints->good.number != reader->manifest.newest_checkpoint); /* one that was damaged is replaced */
  /* What lies behind the checkpoint counts; segments are of one size, unless an option was changed. */
  uint64_t bytes = (reader->last_number - reader->first_number) * engine->options.segment_size_bytes + reader->offset;
  uint64_t before = cpn_min_u64(bytes, reader->start.segment != 0 ? reader->start.offset : 0);
  atomic_store_explicit(&checkpoints->log_bytes, bytes - before,
                        memory_order_relaxed); /* relaxed: nobody else is here */
}

bool cpn_checkpoint_gives_up(const coupon_engine *engine) {
  /* seq_cst, both: as elsewhere; nothing here depends on it. */
  return atomic_load_explicit(&engine->stop, memory_order_seq_cst) != 0 ||
         (atomic_load_explicit(engine->gate, memory_order_seq_cst) & CPN_GATE_FAILED) != 0;
}

static bool is_wanted(const coupon_engine *engine) {
  const struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  uint64_t asked = atomic_load_explicit(&checkpoints->asked, memory_order_seq_cst);
  /* relaxed: `begun` and `due_at` are ours; the bytes are a hint, and `told` brings us back. */
  return asked > atomic_load_explicit(&checkpoints->begun, memory_order_relaxed) ||
         atomic_load_explicit(&checkpoints->log_bytes, memory_order_relaxed) >=
             atomic_load_explicit(&checkpoints->due_at, memory_order_relaxed);
}

/* --- resting ------------------------------------------------------------------------------------- */

/* A slice of work; how many times as long as it a rest is; and the longest rest, since a sync may have been in the
 * slice. */
#define WORK_NS INT64_C(1000000)
#define REST_TIMES 2
#define REST_MAX_NS INT64_C(20000000)

static void begin_slice(struct cpn_checkpoints *checkpoints) {
  checkpoints->slice_ns = cpn_monotonic_ns();
  /* relaxed: a hint. */
  checkpoints->slice_lsn = atomic_load_explicit(&checkpoints->lsn, memory_order_relaxed);
}

/* The log must not grow without end because a checkpoint takes its time: at a quarter of the way to the next one it
 * hurries. */
static void begin_slices(struct cpn_checkpoints *checkpoints) {
  /* relaxed, both: `due_at` is ours, the bytes are a hint. */
  const uint64_t bytes = atomic_load_explicit(&checkpoints->log_bytes, memory_order_relaxed);
  const uint64_t due_at = atomic_load_explicit(&checkpoints->due_at, memory_order_relaxed);
  checkpoints->hurry_at = due_at > bytes ? bytes + (due_at - bytes) / 4 : 0;
  begin_slice(checkpoints);
}

void cpn_checkpoint_rest(coupon_engine *engine) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  if (engine->env.start_thread == NULL) return; /* a test steps everything itself */
  const int64_t now = cpn_monotonic_ns(), worked = now - checkpoints->slice_ns;
  if (worked < WORK_NS) return;
  /* relaxed, both: hints. */
  const bool others = atomic_load_explicit(&checkpoints->lsn, memory_order_relaxed) != checkpoints->slice_lsn;
  const bool late = atomic_load_explicit(&checkpoints->log_bytes, memory_order_relaxed) >= checkpoints->hurry_at;
  if (others && !late) {
    const int64_t rest = worked < REST_MAX_NS / REST_TIMES ? worked * REST_TIMES : REST_MAX_NS;
    /* Whoever closes the engine tells, and need not wait for the rest to end. */
    const uint32_t seen = cpn_event_look(&checkpoints->ask);
    if (!cpn_checkpoint_gives_up(engine)) (void)cpn_event_wait(&checkpoints->ask, seen, now + rest);
  }
  begin_slice(checkpoints);
}

/* --- making -------------------------------------------------------------------------------------- */

static void add(_Atomic uint64_t *figure, uint64_t by) {
  atomic_fetch_add_explicit(figure, by, memory_order_relaxed); /* relaxed: a figure for people */
}

static void tell_of_failure(coupon_engine *engine, const struct cpn_fault *fault) {
  add(&engine->checkpoints.failed, 1);
  cpn_engine_log(engine, COUPON_LOG_WARNING, "no checkpoint was made, and the log is kept: %s: %s", fault->file,
                 fault->message);
}

bool cpn_checkpoint_step(coupon_engine *engine) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  if (cpn_checkpoint_gives_up(engine) || !is_wanted(engine)) return false;
  /* seq_cst, before the position is looked at: whoever asks for the next one after this has been too late for this
   * one. */
  uint64_t count = atomic_fetch_add_explicit(&checkpoints->begun, 1, memory_order_seq_cst) + 1;
  atomic_store_explicit(&checkpoints->told, 0, memory_order_seq_cst);
  set_due(engine, false);
  begin_slices(checkpoints);
  struct cpn_fault fault = {0};
  coupon_status status = cpn_checkpoint_make(engine, &fault);
  if (status == COUPON_OK) {
    add(&checkpoints->made, 1);
    atomic_store_explicit(&checkpoints->succeeded, count, memory_order_seq_cst);
  } else if (status != COUPON_E_CLOSED) {
    tell_of_failure(engine, &fault);
  }
  atomic_store_explicit(&checkpoints->status, status, memory_order_seq_cst);
  atomic_store_explicit(&checkpoints->ended, count, memory_order_seq_cst);
  cpn_event_tell(&checkpoints->done);
  return true;
}

static void sleep_until_asked(coupon_engine *engine) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  uint32_t seen = cpn_event_look(&checkpoints->ask);
  /* Whoever asked before this look is seen here; whoever asks after it tells. */
  if (!is_wanted(engine) && !cpn_checkpoint_gives_up(engine)) (void)cpn_event_wait(&checkpoints->ask, seen, INT64_MAX);
}

static void *checkpoint_thread(void *argument) {
  coupon_engine *engine = argument;
  cpn_wait_let_others_go_first();
  while (!cpn_checkpoint_gives_up(engine)) {
    if (!cpn_checkpoint_step(engine)) sleep_until_asked(engine);
  }
  return NULL;
}

int cpn_checkpoints_start(coupon_engine *engine) {
  const struct cpn_env *env = &engine->env;
  int error =
      env->start_thread(env->context, &engine->checkpoints.thread, CPN_CHECKPOINT_THREAD, checkpoint_thread, engine);
  engine->checkpoints.has_thread = error == 0;
  return error;
}

void cpn_checkpoints_stop(coupon_engine *engine) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  cpn_event_tell(&checkpoints->ask);
  if (checkpoints->has_thread) (void)pthread_join(checkpoints->thread, NULL);
  cpn_event_tell(&checkpoints->done);
}

/* --- asking -------------------------------------------------------------------------------------- */

static uint64_t ask(coupon_engine *engine) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  /* One that begins after this. seq_cst: see cpn_checkpoint_step(). Retry: somebody else has asked. */
  uint64_t target = atomic_load_explicit(&checkpoints->begun, memory_order_seq_cst) + 1;
  uint64_t asked = atomic_load_explicit(&checkpoints->asked, memory_order_seq_cst);
  while (asked < target && !atomic_compare_exchange_weak_explicit(&checkpoints->asked, &asked, target,
                                                                  memory_order_seq_cst, memory_order_seq_cst)) {
  }
  cpn_event_tell(&checkpoints->ask);
  return target;
}

coupon_status cpn_checkpoint_ask(coupon_engine *engine, int64_t deadline) {
  struct cpn_checkpoints *checkpoints = &engine->checkpoints;
  if (engine->options.read_only != 0) return COUPON_E_READ_ONLY;
  if (!engine->has_log) return COUPON_E_INVAL;
  const uint64_t target = ask(engine);
  if (!checkpoints->has_thread) (void)cpn_checkpoint_step(engine);
  for (;;) {
    uint32_t seen = cpn_event_look(&checkpoints->done);
    if (atomic_load_explicit(&checkpoints->ended, memory_order_seq_cst) >= target) {
      bool made = atomic_load_explicit(&checkpoints->succeeded, memory_order_seq_cst) >= target;
      return made ? COUPON_OK : (coupon_status)atomic_load_explicit(&checkpoints->status, memory_order_seq_cst);
    }
    coupon_status status = cpn_engine_gate(engine);
    if (status != COUPON_OK) return status;
    if (deadline == COUPON_POLL || !cpn_event_wait(&checkpoints->done, seen, deadline)) return COUPON_NOT_FINAL;
  }
}
