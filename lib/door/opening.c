/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines: opened, closed, freed, asked for their figures and for a checkpoint; and words for a status. coupon.h,
 * "Statuses" to "Engine".
 */
#include <errno.h>
#include <string.h>

#include "base/callback.h"
#include "base/rcu.h"
#include "base/status.h"
#include "coupon/coupon.h"
#include "door/guest.h"
#include "door/sized.h"
#include "engine/engine.h"

#define SEGMENT_SIZE_MIN UINT64_C(4096)
#define SEGMENT_SIZE_MAX (UINT64_C(4) << 30)
#define SEGMENT_SIZE_DEFAULT (UINT64_C(64) << 20)
#define LOG_BUFFER_MIN UINT64_C(4096)
#define LOG_BUFFER_MAX (UINT64_C(1) << 30)
#define LOG_BUFFER_DEFAULT (UINT64_C(4) << 20)
#define COMMIT_DELAY_MAX_NS UINT64_C(1000000000)

/* Sizes of the first version, 0.1. */
#define OPTIONS_FIRST offsetof(struct coupon_options, checkpoint_log_bytes)
#define REPORT_FIRST offsetof(struct coupon_report, checkpoint)
#define STATS_FIRST offsetof(struct coupon_stats, checkpoints)

const char *coupon_status_name(coupon_status status) { return cpn_status_name(status); }
const char *coupon_strerror(coupon_status status) { return cpn_status_sentence(status); }
const char *coupon_version(void) { return COUPON_VERSION_STRING; }
int64_t coupon_deadline_after(int64_t timeout_ns) {
  int saved = errno;
  int64_t deadline = cpn_deadline_after(timeout_ns);
  errno = saved;
  return deadline;
}

static bool fill_options(const struct coupon_options *given, struct coupon_options *options) {
  *options = (struct coupon_options)COUPON_OPTIONS_INIT;
  if (given != NULL) {
    if (!cpn_sized_is_input_since(given, OPTIONS_FIRST, sizeof *given)) return false;
    memcpy(options, given, given->size < sizeof *options ? given->size : sizeof *options);
    options->size = sizeof *options;
  }
  if (options->segment_size_bytes == 0) options->segment_size_bytes = SEGMENT_SIZE_DEFAULT;
  if (options->log_buffer_bytes == 0) options->log_buffer_bytes = LOG_BUFFER_DEFAULT;
  return options->durability >= COUPON_SYNC && options->durability <= COUPON_NONE &&
         (options->read_only == 0 || (options->read_only == 1 && options->durability != COUPON_NONE)) &&
         options->segment_size_bytes >= SEGMENT_SIZE_MIN && options->segment_size_bytes <= SEGMENT_SIZE_MAX &&
         options->segment_size_bytes % SEGMENT_SIZE_MIN == 0 && options->log_buffer_bytes >= LOG_BUFFER_MIN &&
         options->log_buffer_bytes <= LOG_BUFFER_MAX && cpn_is_power_of_two(options->log_buffer_bytes) &&
         options->commit_delay_ns <= COMMIT_DELAY_MAX_NS && options->allocator.size == sizeof options->allocator &&
         options->callbacks.size == sizeof options->callbacks &&
         (options->allocator.alloc == NULL) == (options->allocator.free == NULL);
}

coupon_status coupon_open(const char *directory, const struct coupon_options *given, coupon_engine **engine,
                          struct coupon_report *report) {
  struct coupon_report filled = COUPON_REPORT_INIT;
  struct coupon_options options;
  if (engine == NULL) return COUPON_E_INVAL;
  *engine = NULL;
  if (report != NULL && !cpn_sized_is_output_since(report, REPORT_FIRST, sizeof *report)) return COUPON_E_INVAL;
  bool valid = fill_options(given, &options) && (directory == NULL) == (options.durability == COUPON_NONE) &&
               (directory == NULL || directory[0] != 0);
  if (!valid) {
    struct cpn_fault fault;
    filled.status = cpn_fault_set(&fault, COUPON_E_INVAL, "", 0, "an option, or the directory, is out of range");
    memcpy(filled.message, fault.message, sizeof filled.message);
    if (report != NULL) cpn_sized_hand_out(report, &filled, sizeof filled);
    return COUPON_E_INVAL;
  }
  struct cpn_guest guest;
  cpn_guest_arrive(&guest);
  coupon_status status = cpn_engine_open(&cpn_env_system, directory, &options, engine, &filled);
  if (report != NULL) cpn_sized_hand_out(report, &filled, sizeof filled);
  return cpn_guest_depart(&guest, status);
}

coupon_status coupon_close(coupon_engine *engine) {
  if (engine == NULL) return COUPON_E_INVAL;
  if (cpn_engine_gate_bits(engine) == 0) return COUPON_E_FORKED;
  if (cpn_callback_inside()) return COUPON_E_IN_CALLBACK;
  struct cpn_guest guest;
  cpn_guest_arrive(&guest);
  return cpn_guest_depart(&guest, cpn_engine_close(engine));
}

coupon_status coupon_destroy(coupon_engine *engine) {
  if (engine == NULL) return COUPON_OK;
  if (cpn_engine_gate_bits(engine) == 0) return COUPON_E_FORKED;
  if (cpn_callback_inside()) return COUPON_E_IN_CALLBACK;
  struct cpn_guest guest;
  cpn_guest_arrive(&guest);
  (void)cpn_engine_close(engine); /* its answer was there to be asked for with coupon_close() */
  cpn_engine_free(engine);
  return cpn_guest_depart(&guest, COUPON_OK);
}

coupon_status coupon_read_stats(coupon_engine *engine, struct coupon_stats *stats) {
  if (engine == NULL || !cpn_sized_is_output_since(stats, STATS_FIRST, sizeof *stats)) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_enter(engine, &guest);
  if (status == COUPON_E_FAILED) {
    cpn_rcu_read_lock(); /* somebody has to say what happened */
    status = COUPON_OK;
  }
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  struct coupon_stats filled = COUPON_STATS_INIT;
  cpn_query_stats(engine, &filled);
  cpn_sized_hand_out(stats, &filled, sizeof filled);
  return cpn_guest_leave(&guest, COUPON_OK);
}

coupon_status coupon_checkpoint(coupon_engine *engine, int64_t deadline) {
  if (engine == NULL) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_visit(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  if (cpn_guest_would_wait_in_callback(deadline)) return cpn_guest_end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  return cpn_guest_end_visit(engine, &guest, cpn_checkpoint_ask(engine, deadline));
}
