/* SPDX-License-Identifier: Apache-2.0 */
/* The event loops: a thread each, which accepts, reads, decides, and sends what has become final. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "service.h"

/* How often limits are looked at: often enough that nobody gets far beyond one, seldom enough to cost nothing. */
enum { TICK_MS = 20, ACCEPTS_AT_ONCE = 64 };

uint64_t loop_now_ms(const struct loop *loop) {
  (void)loop;
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t loop_wall_ns(const struct loop *loop) {
  (void)loop;
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct loop *loop_of(h2o_req_t *req) {
  return H2O_STRUCT_FROM_MEMBER(struct loop, context, req->conn->ctx);
}

static void on_accept(h2o_socket_t *listener, const char *error) {
  struct loop *loop = listener->data;
  if (error != NULL) return;
  h2o_socket_t *socket;
  for (int i = 0; i < ACCEPTS_AT_ONCE && (socket = h2o_evloop_socket_accept(listener)) != NULL; i++)
    connection_accept(loop, socket);
}

static void on_jobs(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages) {
  struct loop *loop = H2O_STRUCT_FROM_MEMBER(struct loop, jobs, receiver);
  for (h2o_linklist_t *at = messages->next; at != messages; at = at->next) loop->jobs_out--;
  workers_receive(receiver, messages);
}

/* Whoever has connected by now is served; nobody else gets in. */
static void stop_accepting(struct loop *loop) {
  h2o_socket_t *socket;
  while ((socket = h2o_evloop_socket_accept(loop->listener)) != NULL) connection_accept(loop, socket);
  h2o_socket_read_stop(loop->listener);
  h2o_socket_close(loop->listener);
  loop->listener = NULL;
}

static void begin_to_drain(struct loop *loop) {
  stop_accepting(loop);
  h2o_context_request_shutdown(&loop->context); /* answers say "Connection: close" from now on */
  loop->drain_ms = loop_now_ms(loop);
}

/* True when there is nothing left to do. */
static bool drained(struct loop *loop) {
  uint64_t for_ms = loop_now_ms(loop) - loop->drain_ms;
  const struct options *options = &loop->service->options;
  if (loop->connection_count == 0 && loop->jobs_out == 0) return true;
  /* Answers that wait get their time also when a client with half a request does not. */
  if (for_ms > options->drain_timeout_ms && loop->waiting.count == 0 && loop->jobs_out == 0) connections_cut(loop);
  return for_ms > options->drain_timeout_ms + options->final_timeout_ms + 1000 && loop->jobs_out == 0;
}

/* Within libh2o's round, like everything that may answer: what is written outside of it is finished only when the next
 * round has slept. */
static void on_tick(h2o_timeout_entry_t *entry) {
  struct loop *loop = H2O_STRUCT_FROM_MEMBER(struct loop, tick, entry);
  connections_sweep(loop);
  waiting_expire(loop);
  /* relaxed: a flag that is looked at again. */
  bool draining = atomic_load_explicit(&loop->service->draining, memory_order_relaxed) != 0;
  if (draining && loop->drain_ms == 0) begin_to_drain(loop);
  loop->done = loop->drain_ms != 0 && drained(loop);
  h2o_timeout_link(loop->context.loop, &loop->ticks, &loop->tick);
}

/* On the loop's own thread: libh2o takes the buffers of a socket from a pool of the thread that made it. */
static bool init(struct loop *loop) {
  struct service *service = loop->service;
  h2o_linklist_init_anchor(&loop->connections);
  h2o_context_init(&loop->context, h2o_evloop_create(), &service->http);
  h2o_multithread_register_receiver(loop->context.queue, &loop->woken, waiting_on_woken);
  h2o_multithread_register_receiver(loop->context.queue, &loop->jobs, on_jobs);
  loop->accept = (h2o_accept_ctx_t){.ctx = &loop->context, .hosts = service->http.hosts};
  loop->round_end.cb = waiting_on_round_end;
  loop->tick.cb = on_tick;
  h2o_timeout_init(loop->context.loop, &loop->ticks, TICK_MS);
  h2o_timeout_link(loop->context.loop, &loop->ticks, &loop->tick);
  loop->signer = signer_create(&service->secret);
  int fd = fcntl(service->listener, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return false;
  loop->listener = h2o_evloop_socket_create(loop->context.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
  loop->listener->data = loop;
  h2o_socket_read_start(loop->listener, on_accept);
  return true;
}

static void fini(struct loop *loop) {
  for (size_t i = 0; i < loop->lingering_count; i++) (void)close(loop->lingering[i].fd);
  signer_destroy(loop->signer);
  free(loop->waiting.entries);
}

static void *run(void *argument) {
  struct loop *loop = argument;
  loop->listens = init(loop);
  bool listens = loop->listens;
  (void)sem_post(&loop->service->loops_changed);
  while (listens && !loop->done) (void)h2o_evloop_run(loop->context.loop, INT32_MAX);
  fini(loop);
  (void)sem_post(&loop->service->loops_changed);
  /* Stays until the process ends: libh2o keeps memory for this thread that it never gives back. */
  while (pause() != 0) {
  }
  return NULL;
}

static void await_change(struct service *service) {
  while (sem_wait(&service->loops_changed) != 0) {
  }
}

bool loops_start(struct service *service) {
  bool all = true;
  for (size_t i = 0; i < service->loop_count; i++) {
    struct loop *loop = &service->loops[i];
    loop->service = service;
    loop->started = pthread_create(&loop->thread, NULL, run, loop) == 0;
    /* One after the other: a loop that is waited for either listens or has given up. */
    if (loop->started) await_change(service);
    all = all && loop->started && loop->listens;
  }
  if (!all) fprintf(stderr, "coupon-http: no thread or descriptor to be had\n");
  return all;
}

void loops_stop(struct service *service) {
  atomic_store_explicit(&service->draining, 1, memory_order_relaxed);
  for (size_t i = 0; i < service->loop_count; i++)
    if (service->loops[i].started) await_change(service);
}
