/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/progress.h"

#include "base/callback.h"
#include "base/clock.h"
#include "engine/engine.h"

void cpn_progress_begin(coupon_engine *engine) {
  engine->progress = (struct cpn_progress){.began_ns = cpn_monotonic_ns()};
}

/* `work` of the whole, which is in bytes. */
static void tell(coupon_engine *engine, double work, double whole) {
  const struct coupon_callbacks *callbacks = &engine->options.callbacks;
  struct cpn_progress *progress = &engine->progress;
  const double seconds = (double)(cpn_monotonic_ns() - progress->began_ns) / 1e9;
  const double left = work > 0 && work < whole ? seconds * (whole - work) / work : 0;
  progress->done = (uint64_t)work;
  progress->total = (uint64_t)whole;
  cpn_callback_enter();
  callbacks->progress(callbacks->context, progress->done, progress->total, left);
  cpn_callback_leave();
}

static bool has_listener(const coupon_engine *engine) { return engine->options.callbacks.progress != NULL; }

/* What remains of a claim that the follower has left, beside one that begins at the end. */
#define FOLLOWED_PART 0.25

/* What all claims that come later count, in bytes: those of a ticket as much as reading it. */
static double claims(const coupon_engine *engine) {
  /* relaxed: nobody else is there yet. */
  const uint64_t tickets = atomic_load_explicit(&engine->tickets, memory_order_relaxed);
  const struct cpn_progress *progress = &engine->progress;
  const double weight = (double)progress->deferred - (double)progress->followed * (1 - FOLLOWED_PART);
  return tickets == 0 ? 0 : (double)progress->bytes * weight / (double)tickets;
}

void cpn_progress_read(void *context, uint64_t done, uint64_t total) {
  coupon_engine *engine = context;
  if (!has_listener(engine)) return;
  engine->progress.bytes = total;
  tell(engine, (double)done, (double)total + claims(engine));
}

void cpn_progress_read_log(void *context, uint64_t done, uint64_t total) {
  const uint64_t before = ((coupon_engine *)context)->progress.checkpoint_bytes;
  cpn_progress_read(context, before + done, before + total);
}

#define ALMOST 0.999

void cpn_progress_claim(coupon_engine *engine, uint64_t tickets, uint64_t share) {
  struct cpn_progress *progress = &engine->progress;
  if (share == CPN_PROGRESS_WHOLE) progress->claimed += tickets;
  if (!has_listener(engine) || progress->deferred == 0) return;
  double made = (double)progress->claimed;
  if (share < CPN_PROGRESS_WHOLE) made += (double)tickets * (double)share / CPN_PROGRESS_WHOLE;
  /* The first tickets of a campaign were not deferred, but are among these; and the end is not ours to tell. */
  const double part = made / (double)progress->deferred, whole = claims(engine);
  tell(engine, (double)progress->bytes + whole * (part < ALMOST ? part : ALMOST), (double)progress->bytes + whole);
}

void cpn_progress_end(coupon_engine *engine) {
  const struct cpn_progress *progress = &engine->progress;
  if (has_listener(engine) && progress->done != progress->total)
    tell(engine, (double)progress->total, (double)progress->total);
}
