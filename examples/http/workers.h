/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for what would hold up an event loop: hashing passwords, creating coupons. A job is worked off on one of them
 * and then handed back to the loop it came from.
 */
#ifndef EXAMPLE_WORKERS_H
#define EXAMPLE_WORKERS_H

#include <h2o.h>
#include <pthread.h>
#include <stdbool.h>

struct job {
  h2o_multithread_message_t message; /* first: how it comes back */
  struct job *next;
  h2o_multithread_receiver_t *from;
  void (*work)(struct job *job); /* on a worker */
  void (*done)(struct job *job); /* on the loop; frees the job */
};

struct workers {
  pthread_mutex_t lock;
  pthread_cond_t wanted;
  struct job *first, **last;
  size_t queued, limit;
  bool stop;
  pthread_t *threads;
  size_t count;
};

/* False after a message on standard error. */
bool workers_start(struct workers *workers, size_t count, size_t limit);
/* False: the queue is full, and the job still the caller's. Any thread. */
bool workers_submit(struct workers *workers, struct job *job);
/* Works off what is queued, and joins the threads. */
void workers_stop(struct workers *workers);

/* The receiver of `from`: calls done() for the jobs that come back. */
void workers_receive(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages);

#endif
