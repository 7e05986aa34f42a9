/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/callback.h"
#include "base/rcu.h"
#include "engine/engine.h"

void cpn_engine_log(const coupon_engine *engine, int32_t level, const char *format, ...) {
  const struct coupon_callbacks *callbacks = &engine->options.callbacks;
  if (callbacks->log == NULL) return;
  char line[512];
  va_list arguments;
  va_start(arguments, format);
  /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is started in the line above; version 14 does not see
   * it. */
  (void)vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  cpn_callback_enter();
  callbacks->log(callbacks->context, level, line);
  cpn_callback_leave();
}

/* --- fork ---------------------------------------------------------------------------------------- */

/* The gate stands in a page that the kernel empties in a child of fork(): so one load, of a line that all but never
 * changes, tells every call whether it may go on. (A handler for fork() would be the host program's to know about.) */
static int make_gate(coupon_engine *engine) {
  _Atomic uint32_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return -errno;
  if (madvise(page, 4096, MADV_WIPEONFORK) != 0) {
    int error = -errno;
    (void)munmap((void *)page, 4096);
    return error;
  }
  atomic_init(page, CPN_GATE_OPEN | (engine->options.read_only != 0 ? CPN_GATE_READ_ONLY : 0));
  engine->gate = page;
  return 0;
}

/* --- opening ------------------------------------------------------------------------------------- */

static coupon_engine *allocate(const struct cpn_env *env, const struct coupon_options *options) {
  coupon_engine *engine = aligned_alloc(CPN_CACHE_LINE, cpn_round_up(sizeof *engine, CPN_CACHE_LINE));
  if (engine == NULL) return NULL;
  memset(engine, 0, sizeof *engine);
  engine->env = *env;
  engine->options = *options;
  engine->has_log = options->durability != COUPON_NONE && options->read_only == 0;
  engine->directory = engine->lock_file = engine->owner_file = -1;
  cpn_segment_init(&engine->log);
  atomic_init(&engine->eventfd, -1);
  (void)pthread_mutex_init(&engine->create_lock, NULL);
  cpn_memory_init(&engine->memory, &options->allocator, options->max_memory_bytes);
  cpn_clock_init(&engine->clock, options->callbacks.clock, options->callbacks.context);
  for (int i = 0; i < 2; i++) cpn_event_init(&engine->changed[i]);
  cpn_event_init(&engine->room);
  cpn_event_init(&engine->work);
  cpn_event_init(&engine->keep);
  cpn_checkpoints_init(engine);
  return engine;
}

/* No log: tail and durable LSN stay 0. */
static coupon_status begin_in_memory(coupon_engine *engine, struct cpn_fault *fault) {
  if (cpn_directory_init(&engine->campaigns, &engine->memory, engine->directory_secret)) return COUPON_OK;
  return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory to begin");
}

static void stop_threads(coupon_engine *engine) {
  atomic_store_explicit(&engine->stop, 1, memory_order_seq_cst);
  if (engine->has_thread) {
    cpn_event_tell(&engine->work);
    (void)pthread_join(engine->thread, NULL);
  }
  if (engine->has_keeper) {
    cpn_event_tell(&engine->keep);
    (void)pthread_join(engine->keeper_thread, NULL);
  }
  cpn_checkpoints_stop(engine);
  /* After the commit thread, which may be waiting for it. */
  if (engine->log.spare.has_maker) {
    cpn_spare_stop(&engine->log.spare);
    (void)pthread_join(engine->segments_thread, NULL);
    engine->log.spare.has_maker = false;
  }
}

/* The maker of segments before the commit thread, which relies on it. */
static int start_log_threads(coupon_engine *engine) {
  const struct cpn_env *env = &engine->env;
  struct cpn_spare *spare = &engine->log.spare;
  int error = env->start_thread(env->context, &engine->segments_thread, "coupon-segments", cpn_spare_thread, spare);
  spare->has_maker = error == 0;
  if (error < 0) return error;
  error = env->start_thread(env->context, &engine->thread, "coupon-commit", cpn_wait_commit_thread, engine);
  engine->has_thread = error == 0;
  return error;
}

static coupon_status start_threads(coupon_engine *engine, struct cpn_fault *fault) {
  const struct cpn_env *env = &engine->env;
  if (engine->options.read_only != 0 || env->start_thread == NULL) return COUPON_OK;
  int error = env->start_thread(env->context, &engine->keeper_thread, "coupon-keeper", cpn_keeper_thread, engine);
  engine->has_keeper = error == 0;
  if (!engine->clock.is_callback) {
    engine->clock.asked_for = cpn_keeper_clock_asked;
    engine->clock.asked_context = engine;
  }
  if (error == 0 && engine->has_log) error = start_log_threads(engine);
  if (error == 0 && engine->has_log) error = cpn_checkpoints_start(engine);
  if (error == 0) return COUPON_OK;
  stop_threads(engine);
  (void)cpn_fault_from_io(fault, error, "", "cannot start a thread of the library");
  return fault->status = COUPON_E_THREAD;
}

static coupon_status begin(coupon_engine *engine, const char *path, struct coupon_report *report,
                           struct cpn_fault *fault) {
  int error = make_gate(engine);
  unsigned char secret[CPN_HASH_SECRET_SIZE] = {0};
  if (error == 0) error = engine->env.random(engine->env.context, secret, sizeof secret);
  cpn_hash_key_init(&engine->key, secret);
  if (error == 0)
    error = engine->env.random(engine->env.context, engine->directory_secret, sizeof engine->directory_secret);
  if (error < 0) {
    (void)cpn_fault_from_io(fault, error, "", "cannot get what an engine needs from the system");
    return fault->status = COUPON_E_THREAD;
  }
  coupon_status status;
  if (engine->options.durability == COUPON_NONE)
    status = begin_in_memory(engine, fault);
  else if (engine->options.read_only != 0)
    status = cpn_recovery_read(engine, path, report, fault);
  else
    status = cpn_recovery_write(engine, path, report, fault);
  return status == COUPON_OK ? start_threads(engine, fault) : status;
}

static bool has_failed(const coupon_engine *engine) {
  return (atomic_load_explicit(engine->gate, memory_order_seq_cst) & CPN_GATE_FAILED) != 0;
}

static void give_up_directory(coupon_engine *engine) {
  const struct cpn_io *io = engine->env.io;
  cpn_spare_fini(&engine->log.spare, engine->gate != NULL && has_failed(engine));
  cpn_segment_close(&engine->log);
  cpn_archive_close(engine);
  if (engine->owner_file >= 0) (void)io->close(io->context, engine->owner_file);
  if (engine->lock_file >= 0) (void)io->unlock(io->context, engine->directory, engine->lock_file);
  if (engine->directory >= 0) (void)io->close(io->context, engine->directory);
  engine->owner_file = engine->lock_file = engine->directory = -1;
}

static void report_fault(struct coupon_report *report, const struct cpn_fault *fault) {
  report->status = fault->status;
  report->os_error = fault->os_error;
  report->offset = fault->offset;
  memcpy(report->file, fault->file, sizeof report->file);
  memcpy(report->message, fault->message, sizeof report->message);
}
_Static_assert(sizeof((struct coupon_report *)0)->file == sizeof((struct cpn_fault *)0)->file, "copied whole");
_Static_assert(sizeof((struct coupon_report *)0)->message == sizeof((struct cpn_fault *)0)->message, "copied whole");

static void report_cut(const coupon_engine *engine, struct coupon_report *report) {
  if (report->cut_bytes == 0) return;
  (void)snprintf(report->message, sizeof report->message,
                 "a crash left %llu unfinished bytes behind the log; they were never final and were cut",
                 (unsigned long long)report->cut_bytes);
  cpn_engine_log(engine, COUPON_LOG_WARNING, "%s at %llu: %s", report->file, (unsigned long long)report->offset,
                 report->message);
}

coupon_status cpn_engine_open(const struct cpn_env *env, const char *path, const struct coupon_options *options,
                              coupon_engine **opened, struct coupon_report *report) {
  struct cpn_fault fault = {0};
  cpn_rcu_settle_in_process();
  coupon_engine *engine = allocate(env, options);
  if (engine == NULL) {
    (void)cpn_fault_set(&fault, COUPON_E_NOMEM, "", 0, "not enough memory to begin");
    report_fault(report, &fault);
    return COUPON_E_NOMEM;
  }
  coupon_status status = begin(engine, path, report, &fault);
  if (status != COUPON_OK) {
    fault.status = status;
    report_fault(report, &fault);
    cpn_engine_log(engine, COUPON_LOG_ERROR, "cannot open: %s at %llu: %s", fault.file,
                   (unsigned long long)fault.offset, fault.message);
    give_up_directory(engine);
    cpn_engine_free(engine);
    return status;
  }
  report_cut(engine, report);
  *opened = engine;
  return COUPON_OK;
}

/* --- closing ------------------------------------------------------------------------------------- */

/* Between two looks at whether the last visitor has left: long against a wake-up, short against anything a human
 * does. */
#define VISITORS_PAUSE_NS INT64_C(100000)

/* Nobody decides any more: everything reserved is published, and the rest of the commits are ours. */
static void drain(coupon_engine *engine) {
  int done;
  while ((done = cpn_wait_step(engine)) > 0) {
  }
  if (done < 0) return;
  CPN_INVARIANT(4, cpn_buffer_drained(&engine->buffer) == cpn_buffer_tail(&engine->buffer));
}

/* The last record of the life says that nothing was cut off. Best effort: everything before it is durable already, or
 * with COUPON_WRITTEN becomes so by the sync behind it, also where a full log has no place for the record. */
static void write_end(coupon_engine *engine) {
  struct cpn_record record = {.type = CPN_RECORD_END};
  uint64_t at = cpn_buffer_reserve(&engine->buffer, CPN_WORDS_END, &record.time_ns);
  if (at != CPN_LSN_NONE) {
    uint64_t words[CPN_WORDS_END];
    uint64_t head = cpn_record_encode(&record, words);
    cpn_buffer_put(&engine->buffer, at, head, words);
    if (cpn_wait_step(engine) < 0) return;
  }
  int error = cpn_segment_sync(&engine->log); /* with COUPON_WRITTEN the whole log */
  if (error == 0) return;
  struct cpn_fault fault;
  (void)cpn_fault_from_io(&fault, error, "", "cannot sync the log");
  cpn_wait_fail(engine, &fault);
}

/* Everything visitors wait for is final, or failed, or will never be: they are on their way out, and tell nobody. */
static void see_visitors_off(coupon_engine *engine) {
  for (;;) {
    uint32_t seen = cpn_event_look(&engine->changed[0]);
    if (atomic_load_explicit(&engine->visitors, memory_order_seq_cst) == 0) return;
    (void)cpn_event_wait(&engine->changed[0], seen, cpn_deadline_after(VISITORS_PAUSE_NS));
  }
}

coupon_status cpn_engine_close(coupon_engine *engine) {
  uint32_t before = atomic_fetch_or_explicit(engine->gate, CPN_GATE_CLOSED, memory_order_seq_cst);
  if ((before & CPN_GATE_CLOSED) != 0) return COUPON_E_CLOSED;
  /* Who saw the gate open is inside a read-side critical section, or holds the create lock: wait for both. */
  cpn_rcu_synchronize();
  (void)pthread_mutex_lock(&engine->create_lock);
  (void)pthread_mutex_unlock(&engine->create_lock);
  cpn_event_tell(&engine->room); /* those who wait for room need not */
  stop_threads(engine);
  if (engine->has_log && !has_failed(engine)) drain(engine);
  if (engine->has_log && !has_failed(engine)) write_end(engine);
  bool failed = has_failed(engine);
  cpn_wait_tell(engine);
  see_visitors_off(engine);
  cpn_rcu_synchronize(); /* the last of them have left */
  give_up_directory(engine);
  return failed ? COUPON_E_FAILED : COUPON_OK;
}

void cpn_engine_free(coupon_engine *engine) {
  cpn_keeper_fini(engine);
  cpn_directory_fini(&engine->campaigns);
  cpn_commit_fini(&engine->commit);
  cpn_buffer_fini(&engine->buffer);
  int fd = atomic_load_explicit(&engine->eventfd, memory_order_acquire);
  if (fd >= 0) (void)close(fd);
  if (engine->gate != NULL) (void)munmap((void *)engine->gate, 4096);
  (void)pthread_mutex_destroy(&engine->create_lock);
  (void)pthread_mutex_destroy(&engine->log.sync_lock);
  free(engine);
}
