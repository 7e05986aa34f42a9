/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The crowd: threads that take requests from a common list, each waiting until its answer is final.
 *
 * What threads share: `next` (which request is the next), `stop`, the first fault, and a gate. Each
 * answer is written by the thread that took its request, and read when all threads have been joined.
 */
#include "sale.h"

#include "output.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* A thread's counters have cache lines of their own: they are written at every call. */
struct worker {
  _Alignas(64) _Atomic uint64_t calls; /* written by the worker, read by the progress line */
  _Atomic uint64_t issued;
  _Atomic uint64_t refused;
  pthread_t thread;
  struct crowd *crowd;
  uint64_t already_issued;
  uint64_t sold_out;
  uint64_t errors;
  uint64_t began_ns;
  uint64_t ended_ns;
  struct histogram latency_ns;
};

struct crowd {
  _Alignas(64) _Atomic uint64_t next; /* every worker; the line is contended, so nothing else lies in it */
  _Alignas(64) _Atomic int stop;      /* set once, by whoever meets a fault */
  _Atomic coupon_status fault;
  _Atomic int ack_errno;
  struct sale *sale;
  uint64_t chunk; /* requests that a worker takes at once */
  pthread_mutex_t mutex;
  pthread_cond_t gate;
  bool open; /* under the mutex */
};

/* Set by SIGINT and SIGTERM: the sale ends early, and says so, and removes what it made. */
static atomic_int interrupted;

static void interrupt(int signal) {
  (void)signal;
  atomic_store_explicit(&interrupted, 1, memory_order_relaxed);
}

static uint64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* --- the order of requests -------------------------------------------------------------------- */

/* splitmix64: a good mixer of a counter, enough for shuffling. */
static uint64_t draw(uint64_t *state) {
  uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
  z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
  z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
  return z ^ z >> 31;
}

static void shuffle(struct sale_answer *answers, uint64_t count, uint64_t *state) {
  for (uint64_t i = count; i > 1; i--) {
    uint64_t other = draw(state) % i;
    uint32_t user = answers[i - 1].user;
    answers[i - 1].user = answers[other].user;
    answers[other].user = user;
  }
}

bool sale_prepare(struct sale *sale) {
  const struct sale_options *options = sale->options;
  bool one_account = options->user_limit == 0;
  uint64_t repeats = one_account ? 0 : options->users * options->repeat_percent / 100;
  sale->total = one_account ? options->calls : options->users + repeats;
  sale->answers = calloc(sale->total + 1, sizeof *sale->answers);
  if (sale->answers == NULL) return false;
  for (uint64_t i = 0; i < sale->total; i++)
    sale->answers[i] = (struct sale_answer){0, 0, one_account ? 1 : (uint32_t)(i + 1), SALE_NOT_ASKED};
  if (one_account) return true;
  /* First who asks twice (the first of a shuffled list), then in which order everybody does. */
  uint64_t state = options->seed;
  shuffle(sale->answers, options->users, &state);
  for (uint64_t i = 0; i < repeats; i++) sale->answers[options->users + i].user = sale->answers[i].user;
  shuffle(sale->answers, sale->total, &state);
  return true;
}

/* --- one thread ------------------------------------------------------------------------------- */

/* relaxed, in all of these: numbers for a human to look at; the results are read after pthread_join(). */
static void count(_Atomic uint64_t *counter) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

static void stop(struct crowd *crowd) { atomic_store_explicit(&crowd->stop, 1, memory_order_relaxed); }

static void take_fault(struct worker *worker, coupon_status status) {
  struct crowd *crowd = worker->crowd;
  coupon_status none = COUPON_OK;
  worker->errors++;
  atomic_compare_exchange_strong_explicit(&crowd->fault, &none, status, memory_order_relaxed, memory_order_relaxed);
  /* These two say "nothing was changed, ask again"; after anything else every further call would fail as well. */
  if (status != COUPON_E_NOMEM && status != COUPON_E_BUSY) stop(crowd);
}

static void acknowledge(struct crowd *crowd, const struct coupon_ticket *ticket) {
  int descriptor = crowd->sale->options->ack_descriptor;
  if (descriptor < 0 || crowd->sale->options->check || acks_write(descriptor, ticket)) return;
  atomic_store_explicit(&crowd->ack_errno, errno, memory_order_relaxed);
  stop(crowd);
}

static void ask(struct worker *worker, struct sale_answer *answer) {
  struct sale *sale = worker->crowd->sale;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  count(&worker->calls);
  uint64_t began_ns = monotonic_ns();
  coupon_status status =
      coupon_issue(sale->session.engine, sale->options->campaign, answer->user, COUPON_FOREVER, &ticket);
  histogram_add(&worker->latency_ns, monotonic_ns() - began_ns);
  bool final = (ticket.flags & COUPON_TICKET_FINAL) != 0;
  answer->status = status < 0 || final ? status : COUPON_NOT_FINAL;
  answer->number = ticket.number;
  answer->lsn = ticket.lsn;
  if (status < 0) {
    take_fault(worker, status);
    return;
  }
  if (status == COUPON_ISSUED) count(&worker->issued);
  if (status != COUPON_ISSUED && status != COUPON_ALREADY_ISSUED) count(&worker->refused);
  worker->already_issued += status == COUPON_ALREADY_ISSUED;
  worker->sold_out += status == COUPON_SOLD_OUT;
  if (final) acknowledge(worker->crowd, &ticket);
}

static bool stopped(struct crowd *crowd) {
  return atomic_load_explicit(&crowd->stop, memory_order_relaxed) != 0 ||
         atomic_load_explicit(&interrupted, memory_order_relaxed) != 0;
}

static void *work(void *context) {
  struct worker *worker = context;
  struct crowd *crowd = worker->crowd;
  pthread_mutex_lock(&crowd->mutex);
  while (!crowd->open) pthread_cond_wait(&crowd->gate, &crowd->mutex);
  pthread_mutex_unlock(&crowd->mutex);
  worker->began_ns = monotonic_ns();
  uint64_t total = crowd->sale->total;
  while (!stopped(crowd)) {
    /* relaxed: it only deals out indices, and each is dealt once; the list was laid out before the thread began. */
    uint64_t from = atomic_fetch_add_explicit(&crowd->next, crowd->chunk, memory_order_relaxed);
    if (from >= total) break;
    for (uint64_t i = from; i < total && i < from + crowd->chunk && !stopped(crowd); i++)
      ask(worker, &crowd->sale->answers[i]);
  }
  worker->ended_ns = monotonic_ns();
  return NULL;
}

/* --- all of them ------------------------------------------------------------------------------ */

static void open_gate(struct crowd *crowd) {
  pthread_mutex_lock(&crowd->mutex);
  crowd->open = true;
  pthread_cond_broadcast(&crowd->gate);
  pthread_mutex_unlock(&crowd->mutex);
}

static void show_progress(const struct worker *workers, uint64_t threads, uint64_t total, uint64_t *before) {
  uint64_t calls = 0;
  uint64_t issued = 0;
  uint64_t refused = 0;
  for (uint64_t i = 0; i < threads; i++) {
    calls += atomic_load_explicit(&workers[i].calls, memory_order_relaxed);
    issued += atomic_load_explicit(&workers[i].issued, memory_order_relaxed);
    refused += atomic_load_explicit(&workers[i].refused, memory_order_relaxed);
  }
  fprintf(stderr,
          "\r%" PRIu64 " of %" PRIu64 " calls, %" PRIu64 " issued, %" PRIu64 " refused, %" PRIu64 " per second ", calls,
          total, issued, refused, (calls - *before) * 2);
  *before = calls;
}

/* Waits for a thread, and twice a second tells a terminal how far all of them are. */
static void join(struct worker *workers, uint64_t threads, uint64_t index, uint64_t *before) {
  if (isatty(STDERR_FILENO) != 1) {
    pthread_join(workers[index].thread, NULL);
    return;
  }
  for (;;) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 500000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (pthread_timedjoin_np(workers[index].thread, NULL, &until) == 0) return;
    show_progress(workers, threads, workers[index].crowd->sale->total, before);
  }
}

static void gather(struct sale *sale, const struct worker *workers, uint64_t threads) {
  uint64_t began_ns = UINT64_MAX;
  uint64_t ended_ns = 0;
  for (uint64_t i = 0; i < threads; i++) {
    const struct worker *worker = &workers[i];
    sale->offered += atomic_load_explicit(&worker->calls, memory_order_relaxed);
    sale->issued += atomic_load_explicit(&worker->issued, memory_order_relaxed);
    sale->already_issued += worker->already_issued;
    sale->sold_out += worker->sold_out;
    sale->errors += worker->errors;
    histogram_merge(&sale->latency_ns, &worker->latency_ns);
    if (worker->began_ns < began_ns) began_ns = worker->began_ns;
    if (worker->ended_ns > ended_ns) ended_ns = worker->ended_ns;
  }
  sale->seconds = threads == 0 ? 0 : (double)(ended_ns - began_ns) / 1e9;
}

/* Starts the threads; those that were started before one could not be are sent home through the gate. */
static uint64_t start(struct crowd *crowd, struct worker *workers, uint64_t threads) {
  for (uint64_t i = 0; i < threads; i++) {
    workers[i].crowd = crowd;
    int fault = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    if (fault == 0) continue;
    output_error("only %" PRIu64 " of %" PRIu64 " threads could be started: %s; give fewer --threads", i, threads,
                 strerrordesc_np(fault));
    stop(crowd);
    open_gate(crowd);
    return i;
  }
  open_gate(crowd);
  return threads;
}

static void catch_signals(void) {
  /* Once only: a second SIGINT ends the process at once. */
  struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
  /* A reader of acknowledgements that goes away is an error to report, not the end. */
  action = (struct sigaction){.sa_handler = SIG_IGN};
  sigaction(SIGPIPE, &action, NULL);
}

/* Few enough that no thread sits on requests while others have none, many enough that `next` is no bottleneck. */
static uint64_t chunk_of(uint64_t total, uint64_t threads) {
  uint64_t chunk = total / (threads * 64);
  return chunk < 1 ? 1 : chunk > 64 ? 64 : chunk;
}

bool sale_run(struct sale *sale) {
  uint64_t threads = sale->options->threads;
  size_t size = threads * sizeof(struct worker);
  struct worker *workers = aligned_alloc(_Alignof(struct worker), size);
  if (workers == NULL) {
    output_error("there is no memory for %" PRIu64 " threads; give fewer --threads", threads);
    return false;
  }
  memset(workers, 0, size);
  struct crowd crowd = {.sale = sale,
                        .chunk = chunk_of(sale->total, threads),
                        .mutex = PTHREAD_MUTEX_INITIALIZER,
                        .gate = PTHREAD_COND_INITIALIZER};
  catch_signals();
  uint64_t started = start(&crowd, workers, threads);
  uint64_t before = 0;
  for (uint64_t i = 0; i < started; i++) join(workers, started, i, &before);
  if (before > 0) fputs("\r\033[K", stderr);
  gather(sale, workers, started);
  sale->fault = atomic_load_explicit(&crowd.fault, memory_order_relaxed);
  sale->ack_errno = atomic_load_explicit(&crowd.ack_errno, memory_order_relaxed);
  sale->interrupted = atomic_load_explicit(&interrupted, memory_order_relaxed) != 0;
  free(workers);
  return started == threads;
}
