/* SPDX-License-Identifier: Apache-2.0 */
#include "log/reader_scout.h"

#include <stdlib.h>
#include <string.h>

#include "log/ahead.h"
#include "log/reader_frame.h"
#include "log/reader_walk.h"

/* The second thread's: it reads and checks, and sends what it finds. */
struct scout {
  struct cpn_ahead ahead;
  struct cpn_reader reader;
  coupon_status status;
  struct cpn_fault fault;
};

static void send_progress(void *context, uint64_t done, uint64_t total) {
  struct scout *scout = context;
  const struct cpn_ahead_item item = {.kind = CPN_AHEAD_PROGRESS, .done = done, .total = total};
  cpn_ahead_push(&scout->ahead, &item);
}

static void *scout_thread(void *argument) {
  struct scout *scout = argument;
  scout->status = cpn_reader_walk(&scout->reader, NULL, &scout->fault);
  const struct cpn_ahead_item end = {.kind = CPN_AHEAD_END};
  cpn_ahead_push(&scout->ahead, &end);
  return NULL;
}

/* Takes what the scout sends, to the end or to the first broken rule. */
static coupon_status follow(struct cpn_reader *reader, struct scout *scout, struct cpn_fault *fault) {
  coupon_status status = COUPON_OK;
  for (bool end = false; !end && status >= 0;) {
    const struct cpn_ahead_item *item = cpn_ahead_next(&scout->ahead);
    end = item->kind == CPN_AHEAD_END;
    if (item->kind == CPN_AHEAD_FRAME) {
      status = cpn_reader_frame_visit(reader, &item->frame, item->payload, fault);
      if (status >= 0) cpn_reader_frame_pass(reader, &item->frame);
    } else if (item->kind == CPN_AHEAD_PROGRESS && reader->progress != NULL) {
      reader->progress(reader->context, item->done, item->total);
    }
    cpn_ahead_done(&scout->ahead);
  }
  return status;
}

/* Everything that was read ahead has its effect before the scout's own fault, if it has one, counts. */
static coupon_status join(struct cpn_reader *reader, struct scout *scout, pthread_t thread, coupon_status status,
                          struct cpn_fault *fault) {
  if (status < 0) cpn_ahead_stop(&scout->ahead);
  (void)pthread_join(thread, NULL);
  if (status < 0) return status;
  const struct cpn_reader own = *reader;
  *reader = scout->reader;
  reader->each = own.each;
  reader->each_run = own.each_run;
  reader->progress = own.progress;
  reader->context = own.context;
  reader->records = own.records;
  reader->ended = own.ended;
  reader->ahead = NULL;
  *fault = scout->fault;
  return scout->status;
}

bool cpn_reader_scout(struct cpn_reader *reader, coupon_status *status, struct cpn_fault *fault) {
  const struct cpn_env *env = reader->env;
  if (env == NULL || env->start_thread == NULL || reader->last_number == reader->first_number ||
      cpn_env_processors() == 1)
    return false;
  struct scout *scout = aligned_alloc(CPN_CACHE_LINE, cpn_round_up(sizeof *scout, CPN_CACHE_LINE));
  if (scout == NULL) return false;
  pthread_t thread;
  bool started = cpn_ahead_init(&scout->ahead, CPN_READER_WINDOW_SIZE);
  if (started) {
    scout->reader = *reader;
    scout->reader.ahead = &scout->ahead;
    scout->reader.context = scout;
    if (reader->progress != NULL) scout->reader.progress = send_progress;
    memset(&scout->fault, 0, sizeof scout->fault);
    started = env->start_thread(env->context, &thread, "coupon-scout", scout_thread, scout) == 0;
    if (started) *status = join(reader, scout, thread, follow(reader, scout, fault), fault);
    cpn_ahead_fini(&scout->ahead);
  }
  free(scout);
  return started;
}
