/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that are decided and not final yet. Each loop keeps its own in a binary heap by LSN, and looks at it when the
 * engine's commit thread has told it how far the log is durable, and at the end of each round that has added some.
 *
 * No wake-up is lost: a loop counts an answer (waiting_count) before it reads the durable LSN, and the commit thread
 * raises the durable LSN before it reads the count. All of these are seq_cst, so one of the two sees the other.
 */
#include "service.h"

static void place(struct waiting *waiting, size_t index, struct waiting_entry entry) {
  waiting->entries[index] = entry;
  entry.request->waiting_index = index;
}

static void sift_up(struct waiting *waiting, size_t index, struct waiting_entry entry) {
  for (; index > 0; index = (index - 1) / 2) {
    struct waiting_entry parent = waiting->entries[(index - 1) / 2];
    if (parent.lsn <= entry.lsn) break;
    place(waiting, index, parent);
  }
  place(waiting, index, entry);
}

static void sift_down(struct waiting *waiting, size_t index, struct waiting_entry entry) {
  for (size_t child; (child = 2 * index + 1) < waiting->count; index = child) {
    if (child + 1 < waiting->count && waiting->entries[child + 1].lsn < waiting->entries[child].lsn) child++;
    if (waiting->entries[child].lsn >= entry.lsn) break;
    place(waiting, index, waiting->entries[child]);
  }
  place(waiting, index, entry);
}

static void count(struct loop *loop) {
  atomic_store_explicit(&loop->waiting_count, loop->waiting.count, memory_order_seq_cst); /* see above */
}

bool waiting_has_room(const struct loop *loop) {
  /* relaxed: a limit, which several loops may exceed by one each. */
  return atomic_load_explicit(&loop->service->waiting, memory_order_relaxed) < loop->service->options.max_waiting;
}

static void wake(struct loop *loop) {
  /* seq_cst, as above: cleared before the LSN is read. Once a round is enough: the loop looks at everything. */
  if (atomic_exchange_explicit(&loop->awake, 1, memory_order_seq_cst) == 0)
    h2o_multithread_send_message(&loop->woken, &loop->wake_up);
}

void waiting_add(struct request *request) {
  struct loop *loop = request->loop;
  struct waiting *waiting = &loop->waiting;
  if (waiting->count == waiting->capacity) {
    waiting->capacity = waiting->capacity == 0 ? 256 : waiting->capacity * 2;
    waiting->entries = h2o_mem_realloc(waiting->entries, waiting->capacity * sizeof *waiting->entries);
  }
  struct waiting_entry entry = {.lsn = request->ticket.lsn, .since_ms = loop_now_ms(loop), .request = request};
  sift_up(waiting, waiting->count++, entry);
  atomic_fetch_add_explicit(&loop->service->waiting, 1, memory_order_relaxed); /* it only counts */
  count(loop);
  if (!h2o_timeout_is_linked(&loop->round_end))
    h2o_timeout_link(loop->context.loop, &loop->context.zero_timeout, &loop->round_end);
}

void waiting_remove(struct request *request) {
  struct loop *loop = request->loop;
  struct waiting *waiting = &loop->waiting;
  size_t index = request->waiting_index;
  request->waiting_index = SIZE_MAX;
  atomic_fetch_sub_explicit(&loop->service->waiting, 1, memory_order_relaxed); /* it only counts */
  struct waiting_entry last = waiting->entries[--waiting->count];
  if (index < waiting->count) {
    if (index > 0 && last.lsn < waiting->entries[(index - 1) / 2].lsn)
      sift_up(waiting, index, last);
    else
      sift_down(waiting, index, last);
  }
  count(loop);
}

void waiting_durable(void *context, uint64_t durable_lsn, coupon_status fault) {
  struct service *service = context;
  atomic_store_explicit(&service->durable_lsn, durable_lsn, memory_order_seq_cst);
  if (fault != COUPON_OK) atomic_store_explicit(&service->failed, 1, memory_order_seq_cst);
  for (size_t i = 0; i < service->loop_count; i++) {
    struct loop *loop = &service->loops[i];
    if (atomic_load_explicit(&loop->waiting_count, memory_order_seq_cst) != 0) wake(loop);
  }
}

static void deliver(struct loop *loop) {
  struct service *service = loop->service;
  struct waiting *waiting = &loop->waiting;
  /* After a fault nothing can be asked of the engine: nobody is told a number that could not be looked up. */
  bool failed = atomic_load_explicit(&service->failed, memory_order_seq_cst) != 0;
  uint64_t durable_lsn = atomic_load_explicit(&service->durable_lsn, memory_order_seq_cst);
  while (waiting->count > 0 && (failed || waiting->entries[0].lsn <= durable_lsn)) {
    struct request *request = waiting->entries[0].request;
    waiting_remove(request);
    /* Fills in the number. */
    if (coupon_wait(service->engine, &request->ticket, COUPON_POLL) == COUPON_OK)
      request->final(request);
    else
      answer(request, REASON_OUTCOME_UNKNOWN, NULL, NULL);
  }
}

void waiting_on_woken(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages) {
  struct loop *loop = H2O_STRUCT_FROM_MEMBER(struct loop, woken, receiver);
  h2o_linklist_unlink(messages->next); /* the only one, wake_up: it may be sent again from here on */
  atomic_store_explicit(&loop->awake, 0, memory_order_seq_cst);
  deliver(loop);
}

void waiting_on_round_end(h2o_timeout_entry_t *entry) {
  struct loop *loop = H2O_STRUCT_FROM_MEMBER(struct loop, round_end, entry);
  /* The round's answers as one group. A fault is told by the callback, and to whoever asks next. */
  if (loop->service->options.flush_rounds != 0) (void)!coupon_flush(loop->service->engine);
  /* What became final before it was counted, for nobody will wake us for that. */
  deliver(loop);
}

void waiting_expire(struct loop *loop) {
  struct waiting *waiting = &loop->waiting;
  uint64_t now_ms = loop_now_ms(loop);
  uint64_t limit_ms = loop->service->options.final_timeout_ms;
  for (size_t i = 0; i < waiting->count;) {
    struct request *request = waiting->entries[i].request;
    if (now_ms - waiting->entries[i].since_ms <= limit_ms) {
      i++;
      continue;
    }
    /* Another entry takes this place; one that moved ahead of it is found the next time. */
    waiting_remove(request);
    answer(request, REASON_OUTCOME_UNKNOWN, NULL, NULL);
  }
}
