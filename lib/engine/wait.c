/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From decided to final: who runs the commit stage, who waits for it, and how they learn of each other.
 *
 * A thread steps. It sleeps on `work` when there is nothing; publishers wake it if it does. A caller who waits anyway,
 * for as long as it takes, does not wake it but makes the step itself, which saves two changes of threads; one step,
 * and whoever has published meanwhile is the thread's again. Without a log everything is final as it is decided, and
 * there is nothing to step for; a test may step by hand.
 *
 * Who waits for finality sleeps on one of two events, by whether its batch is an even or an odd one, so that a commit
 * wakes those it is for and not those who are in the next one.
 */
#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/callback.h"
#include "engine/engine.h"

/* --- telling ------------------------------------------------------------------------------------- */

static void write_eventfd(coupon_engine *engine) {
  int fd = atomic_load_explicit(&engine->eventfd, memory_order_acquire); /* pairs with cpn_wait_eventfd() */
  if (fd < 0) return;
  const uint64_t one = 1;
  /* EAGAIN: the counter is full, and so readable: all that is wanted. */
  ssize_t ignored = write(fd, &one, sizeof one);
  (void)ignored;
}

void cpn_wait_tell(coupon_engine *engine) {
  for (int i = 0; i < 2; i++) cpn_event_tell(&engine->changed[i]);
  write_eventfd(engine);
}

/* Which event is for who waits for `lsn`: that of the batch which is being written, or of the next one. It may be the
 * wrong one; then it is told one commit later, see tell_batch(). */
static struct cpn_event *event_of(coupon_engine *engine, uint64_t lsn) {
  uint64_t batch = atomic_load_explicit(&engine->commit.batch, memory_order_relaxed); /* relaxed: a hint */
  if (lsn > cpn_buffer_drained(&engine->buffer)) batch++;
  return &engine->changed[batch % 2];
}

/* A batch is durable. Both events are told before nothing may follow: whoever sleeps on the wrong one is told by the
 * next commit, or now, if that is not certain to come soon. */
static void tell_batch(coupon_engine *engine) {
  /* relaxed: written by whoever steps, us. */
  uint64_t batch = atomic_load_explicit(&engine->commit.batch, memory_order_relaxed);
  cpn_event_tell(&engine->changed[batch % 2]);
  if (engine->options.commit_delay_ns != 0 || !cpn_buffer_ready(&engine->buffer))
    cpn_event_tell(&engine->changed[(batch + 1) % 2]);
  write_eventfd(engine);
}

static void call_durable(coupon_engine *engine, coupon_status fault) {
  const struct coupon_callbacks *callbacks = &engine->options.callbacks;
  if (callbacks->durable == NULL) return;
  cpn_callback_enter();
  callbacks->durable(callbacks->context, cpn_commit_durable(&engine->commit), fault);
  cpn_callback_leave();
}

coupon_status cpn_wait_eventfd(coupon_engine *engine, int *fd) {
  *fd = atomic_load_explicit(&engine->eventfd, memory_order_acquire);
  if (*fd >= 0) return COUPON_OK;
  int fresh = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fresh < 0) return COUPON_E_THREAD;
  int none = -1;
  /* acq_rel: an eventfd is a number, but whoever reads it has to have it open. */
  if (atomic_compare_exchange_strong_explicit(&engine->eventfd, &none, fresh, memory_order_acq_rel,
                                              memory_order_acquire)) {
    *fd = fresh;
  } else {
    (void)close(fresh);
    *fd = none;
  }
  return COUPON_OK;
}

/* --- stepping ------------------------------------------------------------------------------------ */

void cpn_wait_fail(coupon_engine *engine, const struct cpn_fault *fault) {
  /* relaxed: whoever comes second has nothing to say. */
  if (atomic_exchange_explicit(&engine->failing, 1, memory_order_relaxed) != 0) return;
  engine->failure = *fault;
  /* seq_cst, which includes release: the failure before the bit. */
  atomic_fetch_or_explicit(engine->gate, CPN_GATE_FAILED, memory_order_seq_cst);
  cpn_engine_log(engine, COUPON_LOG_ERROR, "the engine stops: %s", fault->message);
  cpn_event_tell(&engine->room);
  cpn_event_tell(&engine->checkpoints.ask);
  cpn_event_tell(&engine->checkpoints.done);
  cpn_wait_tell(engine);
  call_durable(engine, fault->status);
}

/* Room in the buffer: those who wait for it are told before the slow part. */
static void drained_now(void *context) {
  coupon_engine *engine = context;
  cpn_event_tell(&engine->room);
}

static bool stopping(const coupon_engine *engine) {
  return atomic_load_explicit(&engine->stop, memory_order_seq_cst) != 0;
}

/* seq_cst: whoever does not get it has published before, and relies on its holder to look again afterwards. */
static bool try_begin(coupon_engine *engine) {
  uint32_t nobody = 0;
  return atomic_compare_exchange_strong_explicit(&engine->stepping, &nobody, 1, memory_order_seq_cst,
                                                 memory_order_seq_cst);
}

static bool is_stepping(const coupon_engine *engine) {
  return atomic_load_explicit(&engine->stepping, memory_order_seq_cst) != 0;
}

static void end(coupon_engine *engine) { atomic_store_explicit(&engine->stepping, 0, memory_order_seq_cst); }

/* Alone; up to so many bytes of records. */
static int step(coupon_engine *engine, size_t most) {
  /* A failed engine hands nothing to its sink again. */
  if ((atomic_load_explicit(engine->gate, memory_order_seq_cst) & CPN_GATE_FAILED) != 0) return -EIO;
  int done = cpn_commit_step(&engine->commit, most, drained_now, engine);
  if (done < 0) {
    struct cpn_fault fault;
    char name[CPN_SEGMENT_NAME_SIZE];
    cpn_segment_name(engine->log.number, name);
    (void)cpn_fault_from_io(&fault, done, name, "cannot write or sync the log");
    cpn_wait_fail(engine, &fault);
  } else if (done > 0) {
    cpn_checkpoint_note(engine);
    tell_batch(engine);
    call_durable(engine, COUPON_OK);
  }
  return done;
}

int cpn_wait_step(coupon_engine *engine) {
  for (;;) {
    uint32_t seen = cpn_event_look(&engine->work);
    if (try_begin(engine)) break;
    (void)cpn_event_wait(&engine->work, seen,
                         INT64_MAX); /* a caller steps, and tells when it is done: we are stopping */
  }
  int done = step(engine, SIZE_MAX);
  end(engine);
  return done;
}

void cpn_wait_published(coupon_engine *engine) {
  /* seq_cst: see cpn_buffer_publish(). Whoever published nothing, as those who are refused, wakes nobody; and where
   * the next record is still missing, its writer will come by here, too. (Without a commit thread it is never idle.) */
  if (CPN_UNLIKELY(atomic_load_explicit(&engine->idle, memory_order_seq_cst) != 0) && cpn_buffer_ready(&engine->buffer))
    cpn_event_tell(&engine->work);
}

void cpn_wait_flush(coupon_engine *engine) {
  if (!engine->has_thread || engine->options.commit_delay_ns == 0) return;
  uint64_t tail = cpn_buffer_tail(&engine->buffer);
  if (tail <= cpn_buffer_drained(&engine->buffer)) return;
  /* seq_cst, and before the event: whoever looks at the event afterwards sees it. Retry: somebody has raised it. */
  uint64_t flushed = atomic_load_explicit(&engine->flushed, memory_order_seq_cst);
  while (flushed < tail && !atomic_compare_exchange_weak_explicit(&engine->flushed, &flushed, tail,
                                                                  memory_order_seq_cst, memory_order_seq_cst)) {
  }
  cpn_event_tell(&engine->work);
}

/* --- the commit thread --------------------------------------------------------------------------- */

static void sleep_until_work(coupon_engine *engine) {
  atomic_store_explicit(&engine->idle, 1, memory_order_seq_cst);
  uint32_t seen = cpn_event_look(&engine->work);
  /* Whoever published before this look is seen here; whoever publishes after it sees `idle`. A caller who steps looks
   * for what was published meanwhile, and for close, when it is done. */
  if (is_stepping(engine) || (!cpn_buffer_ready(&engine->buffer) && !stopping(engine)))
    (void)cpn_event_wait(&engine->work, seen, INT64_MAX);
  atomic_store_explicit(&engine->idle, 0, memory_order_seq_cst);
}

/* Lets a group gather, unless a caller has ended that, or it has half filled the buffer, or close is waiting. */
static void gather(coupon_engine *engine) {
  if (engine->options.commit_delay_ns == 0) return;
  int64_t deadline = cpn_deadline_after((int64_t)engine->options.commit_delay_ns);
  for (;;) {
    uint32_t seen = cpn_event_look(&engine->work);
    uint64_t drained = cpn_buffer_drained(&engine->buffer);
    uint64_t gathered = cpn_buffer_tail(&engine->buffer) - drained;
    if (atomic_load_explicit(&engine->flushed, memory_order_seq_cst) > drained) return;
    if (stopping(engine) || gathered >= engine->buffer.capacity / 2) return;
    /* In slices: publishers do not wake us while we gather. */
    int64_t slice = cpn_deadline_after(INT64_C(200000));
    bool last = slice >= deadline;
    if (!cpn_event_wait(&engine->work, seen, last ? deadline : slice) && last) return;
  }
}

/* Answers wait for this thread twice in each commit, once for it to begin and once when the disk is done, and beside
 * busy threads a kernel lets a thread that wakes wait for the end of their time slices, milliseconds. One that asks for
 * short slices for itself goes before them, and gets no more of the processor for that (Linux 6.12, the EEVDF
 * scheduler; older ones do not look at the field). */
static void ask_scheduler(bool last) {
  struct cpn_sched_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes = {.size = sizeof attributes};
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.policy != SCHED_OTHER) return; /* somebody has decided otherwise */
  if (last)
    attributes.nice = 19; /* in slices of the usual length: more of them would make more calls wait */
  else
    attributes.runtime = UINT64_C(100000); /* nanoseconds; the least that is accepted */
  (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void cpn_wait_ask_for_short_slices(void) { ask_scheduler(false); }

void cpn_wait_let_others_go_first(void) { ask_scheduler(true); }

void *cpn_wait_commit_thread(void *argument) {
  coupon_engine *engine = argument;
  cpn_wait_ask_for_short_slices();
  for (;;) {
    if (cpn_buffer_ready(&engine->buffer)) {
      gather(engine);
      if (!try_begin(engine)) {
        sleep_until_work(engine);
        continue;
      }
      int done = step(engine, SIZE_MAX);
      end(engine);
      if (done < 0) return NULL;
    } else if (stopping(engine)) {
      return NULL;
    } else {
      sleep_until_work(engine);
    }
  }
}

/* --- waiting ------------------------------------------------------------------------------------- */

/* Whether a caller may step in the commit thread's place. Not if it cannot wait for the disk as long as that takes, nor
 * where something is promised of the thread: to gather, or to call back. */
static bool may_step(const coupon_engine *engine, int64_t deadline) {
  return deadline == COUPON_FOREVER && engine->has_thread && engine->options.commit_delay_ns == 0 &&
         engine->options.callbacks.durable == NULL;
}

/* A caller's step. Not into another segment: that takes longer, and a file that grows beyond what the process may have
 * is a signal for the thread that writes, which ours block. */
static void step_for_thread(coupon_engine *engine) {
  const uint64_t reserved = cpn_buffer_tail(&engine->buffer) - cpn_buffer_drained(&engine->buffer);
  const uint64_t most = cpn_min_u64(reserved, engine->commit.payload_max);
  if (stopping(engine) || !cpn_segment_has_room(&engine->log, most)) return;
  (void)step(engine, (size_t)most); /* and no more, though others publish behind it while we drain */
}

/* Sees to it that what is published, and nobody has been told of, is committed: here and now, by the commit thread, or
 * by the caller who steps just now. */
static void commit_or_tell(coupon_engine *engine, int64_t deadline) {
  if (!may_step(engine, deadline)) {
    cpn_wait_published(engine);
    return;
  }
  /* seq_cst, all: see cpn_buffer_publish(). A thread that does not sleep looks again before it does. */
  if (atomic_load_explicit(&engine->idle, memory_order_seq_cst) == 0 || !cpn_buffer_ready(&engine->buffer)) return;
  if (!try_begin(engine)) return;
  step_for_thread(engine);
  end(engine);
  if (stopping(engine) || cpn_buffer_ready(&engine->buffer)) cpn_event_tell(&engine->work);
}

coupon_status cpn_wait_final(coupon_engine *engine, uint64_t lsn, int64_t deadline) {
  if (lsn <= cpn_commit_durable(&engine->commit)) {
    cpn_wait_published(engine); /* a place given up on the way: others may have found a hole there, and rely on us */
    return COUPON_OK;
  }
  commit_or_tell(engine, deadline);
  for (;;) {
    struct cpn_event *changed = event_of(engine, lsn);
    uint32_t seen = cpn_event_look(changed);
    if (lsn <= cpn_commit_durable(&engine->commit)) return COUPON_OK;
    /* A closed engine still makes final what was decided: close waits for that, and then for us. */
    if ((atomic_load_explicit(engine->gate, memory_order_seq_cst) & CPN_GATE_FAILED) != 0) return COUPON_E_FAILED;
    if (deadline == COUPON_POLL || !cpn_event_wait(changed, seen, deadline))
      return lsn <= cpn_commit_durable(&engine->commit) ? COUPON_OK : COUPON_NOT_FINAL;
  }
}

coupon_status cpn_wait_room(coupon_engine *engine, uint32_t words, int64_t deadline) {
  cpn_wait_published(engine); /* places may have been given up */
  for (;;) {
    uint32_t seen = cpn_event_look(&engine->room);
    coupon_status status = cpn_engine_gate(engine);
    if (status != COUPON_OK) return status;
    if (!cpn_buffer_is_full(&engine->buffer, words)) return COUPON_OK;
    if (deadline == COUPON_POLL || !cpn_event_wait(&engine->room, seen, deadline)) return COUPON_E_BUSY;
  }
}
