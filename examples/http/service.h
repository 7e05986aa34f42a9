/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service: what its threads share, what each event loop has, and what a connection and a request are. Everything
 * of a loop is touched by that loop's thread alone, except where an atomic says otherwise.
 *
 * The way of a request: libh2o reads it and calls request_begin() (request.c), which finds the path's handler; the
 * handler answers at once (answer.c), or lets the answer wait until it is final (waiting.c), or gives the work to
 * another thread (workers.c). Whichever comes first, the answer or the client's end, the request is disposed of exactly
 * once.
 */
#ifndef EXAMPLE_SERVICE_H
#define EXAMPLE_SERVICE_H

#include <coupon/coupon.h>
#include <h2o.h>
#include <h2o/http1.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "accounts.h"
#include "catalogue.h"
#include "json.h"
#include "limiter.h"
#include "options.h"
#include "reason.h"
#include "token.h"
#include "workers.h"

struct loop;

struct service {
  struct options options;
  struct secret secret;
  coupon_engine *engine;
  struct accounts accounts;
  struct catalogue catalogue;
  struct limiter per_account, per_address;
  struct workers workers;
  h2o_globalconf_t http;
  int listener; /* a socket, of which each loop has a descriptor of its own */
  struct loop *loops;
  size_t loop_count;
  sem_t loops_changed; /* posted by each loop when it has begun, and when it has ended */

  _Atomic int draining;         /* set once, by main; read by the loops */
  _Atomic uint64_t durable_lsn; /* written by the engine's commit thread; read by the loops */
  _Atomic int failed;           /* likewise: the engine stopped */
  _Atomic uint64_t connections; /* open, on all loops */
  _Atomic uint64_t waiting;     /* answers that wait for finality, on all loops */
};

/* --- connections (connection.c) ------------------------------------------------------------------- */

enum phase {
  PHASE_READING, /* nothing yet, or part of a request */
  PHASE_WORKING, /* a whole request, not answered yet */
  PHASE_SENDING, /* an answer, not taken yet */
  PHASE_REFUSED  /* was told so from outside of libh2o, and is about to be closed */
};

struct connection {
  h2o_linklist_t link; /* in the loop's list */
  struct loop *loop;
  h2o_socket_t *socket;
  enum phase phase;
  uint64_t since_ms; /* when the phase began */
  uint64_t head_ms;  /* when the first byte of a request was seen; 0: there is none */
  uint64_t body_ms;  /* when its headers were seen complete; 0: they are not */
  size_t looked_at;  /* bytes of input that were looked at */
  int linger_fd;     /* see connection_linger(); -1: none */
};

/* Takes a connection that was accepted, or refuses it. */
void connection_accept(struct loop *loop, h2o_socket_t *socket);
/* Holds every connection of the loop to its limits; called 50 times a second. */
void connections_sweep(struct loop *loop);
/* Breaks off all of them. */
void connections_cut(struct loop *loop);
struct connection *connection_of(h2o_req_t *req);
void connection_enter(struct connection *connection, enum phase phase);
/* Lets the last answer reach a client that is still sending: the socket outlives libh2o's closing of it for a second,
 * and what still comes is thrown away. Without it a reset would overtake the answer. */
void connection_linger(struct connection *connection);
/* Goes on reading while the answer waits, up to the limits: libh2o would take the socket out of its epoll set and put
 * it back, two system calls for each request. Only where the request's bytes are not needed any more: they may move. */
void connection_read_ahead(struct connection *connection);

/* --- requests (request.c) ------------------------------------------------------------------------- */

/* Lives in the request's memory pool and ends with it: with the answer, or with the connection. */
struct request {
  h2o_req_t *req;
  struct loop *loop;
  struct connection *connection;
  struct claims claims; /* of its token */
  h2o_iovec_t request_id;
  /* Of an answer that waits to be final. */
  struct coupon_ticket ticket;
  void (*final)(struct request *request); /* answers, when it is */
  size_t waiting_index;                   /* its place in the heap; SIZE_MAX: it does not wait */
  /* Of a job on another thread, which has to forget the request when the client goes. */
  struct request **job_reference;
};

/* Whether only the headers of the answer are wanted, which libh2o does not look at. */
bool request_is_head(const h2o_req_t *req);
int request_begin(h2o_handler_t *handler, h2o_req_t *req);
/* The body as an object; false after an answer. `members` are read into the request's pool. */
bool request_body(struct request *request, struct json_member *members, size_t count);
/* Hands the job to the workers; false after an answer. `*reference` is the job's pointer to the request. */
bool request_submit(struct request *request, struct job *job, struct request **reference, enum reason busy);

/* --- handlers ------------------------------------------------------------------------------------- */

void handle_signin(struct request *request);        /* signin.c */
void handle_create_coupon(struct request *request); /* coupons.c */
void handle_issue(struct request *request);         /* issue.c */
void handle_constant(struct request *request);      /* issue.c */
void handle_mine(struct request *request);          /* mine.c */
void handle_health(struct request *request);        /* health.c */
void handle_metrics(struct request *request);       /* health.c */

/* --- answers (answer.c) --------------------------------------------------------------------------- */

/* Once, before any loop runs. */
void answers_prepare(void);
/* Sends `reason`, with the JSON in `data` unless it is NULL, which is freed. `message` may be NULL: the reason's
 * own. */
void answer(struct request *request, enum reason reason, const char *message, struct text *data);
/* Names the member of the body that is meant. */
void answer_member(struct request *request, enum reason reason, const struct json_member *member);
void answer_retry(struct request *request, enum reason reason, unsigned seconds);
void answer_bytes(struct request *request, enum reason reason, const char *content_type, struct text *body);
/* The whole answer for one who is refused outside of libh2o. To be freed. */
void answer_raw(enum reason reason, struct text *to);
/* Counts an answer for /metrics. */
void answer_count(struct loop *loop, enum reason reason);
/* A filter that puts libh2o's own errors into our words. */
void answer_rewrite_errors(h2o_pathconf_t *pathconf);

/* --- waiting (waiting.c) -------------------------------------------------------------------------- */

struct waiting_entry {
  uint64_t lsn;
  uint64_t since_ms;
  struct request *request;
};

/* The answers of a loop that are not final, a binary heap with the lowest LSN on top. */
struct waiting {
  struct waiting_entry *entries;
  size_t count, capacity;
};

/* False: there are as many as may be. Asked before anything is decided. */
bool waiting_has_room(const struct loop *loop);
/* Calls request->final() when request->ticket is final. */
void waiting_add(struct request *request);
void waiting_remove(struct request *request);
/* The loop's callbacks, which answer what has become final, and what never will: it was woken; its round ends. */
void waiting_on_woken(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages);
void waiting_on_round_end(h2o_timeout_entry_t *entry);
/* Gives up on those that have waited for too long. */
void waiting_expire(struct loop *loop);
/* The engine's `durable` callback. */
void waiting_durable(void *service, uint64_t durable_lsn, coupon_status fault);

/* --- loops (loop.c) ------------------------------------------------------------------------------- */

struct lingering {
  int fd;
  uint64_t until_ms;
};
enum { LINGERING_MAX = 256 };

struct loop {
  struct service *service;
  pthread_t thread;
  bool started, listens;
  h2o_context_t context;
  h2o_multithread_receiver_t woken, jobs;
  h2o_accept_ctx_t accept;
  h2o_socket_t *listener;
  struct signer *signer;
  h2o_linklist_t connections;
  size_t connection_count;
  size_t jobs_out; /* with the workers */
  struct waiting waiting;
  struct lingering lingering[LINGERING_MAX];
  size_t lingering_count;
  h2o_timeout_t ticks;
  h2o_timeout_entry_t tick;               /* 50 times a second */
  uint64_t drain_ms;                      /* when draining began, or 0 */
  bool done;                              /* there is nothing left to drain */
  h2o_multithread_message_t wake_up;      /* sent while `awake` */
  h2o_timeout_entry_t round_end;          /* linked while there are answers that this round has added */
  _Atomic int awake;                      /* set by the commit thread when it wakes the loop, cleared by the loop */
  _Atomic uint64_t waiting_count;         /* written by the loop, read by the commit thread: whom to wake */
  _Atomic uint64_t answers[REASON_COUNT]; /* written by the loop, read by /metrics */
};

/* Starts the loops, and returns when they listen. False after a message on standard error. */
bool loops_start(struct service *service);
/* Has them drain, and returns when they have. */
void loops_stop(struct service *service);
uint64_t loop_now_ms(const struct loop *loop);
struct loop *loop_of(h2o_req_t *req);
/* UTC, of the last look at the clock. */
uint64_t loop_wall_ns(const struct loop *loop);

#endif
