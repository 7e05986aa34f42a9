/* SPDX-License-Identifier: Apache-2.0 */
#include "workers.h"

#include <stdio.h>
#include <stdlib.h>

static struct job *take(struct workers *workers) {
  (void)pthread_mutex_lock(&workers->lock);
  while (workers->first == NULL && !workers->stop) (void)pthread_cond_wait(&workers->wanted, &workers->lock);
  struct job *job = workers->first;
  if (job != NULL) {
    workers->first = job->next;
    if (workers->first == NULL) workers->last = &workers->first;
    workers->queued--;
  }
  (void)pthread_mutex_unlock(&workers->lock);
  return job;
}

static void *run(void *argument) {
  struct workers *workers = argument;
  for (struct job *job; (job = take(workers)) != NULL;) {
    job->work(job);
    h2o_multithread_send_message(job->from, &job->message);
  }
  return NULL;
}

bool workers_start(struct workers *workers, size_t count, size_t limit) {
  *workers = (struct workers){.limit = limit, .last = &workers->first};
  (void)pthread_mutex_init(&workers->lock, NULL);
  (void)pthread_cond_init(&workers->wanted, NULL);
  workers->threads = h2o_mem_alloc(count * sizeof *workers->threads);
  for (; workers->count < count; workers->count++) {
    if (pthread_create(&workers->threads[workers->count], NULL, run, workers) == 0) continue;
    fprintf(stderr, "coupon-http: no thread to be had\n");
    workers_stop(workers);
    return false;
  }
  return true;
}

bool workers_submit(struct workers *workers, struct job *job) {
  (void)pthread_mutex_lock(&workers->lock);
  bool taken = workers->queued < workers->limit;
  if (taken) {
    job->next = NULL;
    *workers->last = job;
    workers->last = &job->next;
    workers->queued++;
    (void)pthread_cond_signal(&workers->wanted);
  }
  (void)pthread_mutex_unlock(&workers->lock);
  return taken;
}

void workers_stop(struct workers *workers) {
  (void)pthread_mutex_lock(&workers->lock);
  workers->stop = true;
  (void)pthread_cond_broadcast(&workers->wanted);
  (void)pthread_mutex_unlock(&workers->lock);
  for (size_t i = 0; i < workers->count; i++) (void)pthread_join(workers->threads[i], NULL);
  free(workers->threads);
  (void)pthread_cond_destroy(&workers->wanted);
  (void)pthread_mutex_destroy(&workers->lock);
}

void workers_receive(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages) {
  (void)receiver;
  while (!h2o_linklist_is_empty(messages)) {
    struct job *job = H2O_STRUCT_FROM_MEMBER(struct job, message.link, messages->next);
    h2o_linklist_unlink(&job->message.link);
    job->done(job);
  }
}
