/* SPDX-License-Identifier: Apache-2.0 */
#include "base/event.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)

static int gettime(const struct ck_ec_ops *ops, struct timespec *out) {
  (void)ops;
  return clock_gettime(CLOCK_MONOTONIC, out);
}

/* FUTEX_WAIT_BITSET takes its deadline as an absolute time of CLOCK_MONOTONIC, as ck_ec has it. Why we wake
 * (told, deadline, a signal, a value that has changed already) does not matter: ck_ec looks again. */
static void wait32(const struct ck_ec_wait_state *state, const uint32_t *address, uint32_t expected,
                   const struct timespec *deadline) {
  (void)state;
  (void)syscall(SYS_futex, address, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline, NULL, FUTEX_BITSET_MATCH_ANY);
}

static void wake32(const struct ck_ec_ops *ops, const uint32_t *address) {
  (void)ops;
  int saved = errno; /* of a call that promises to keep it */
  (void)syscall(SYS_futex, address, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
  errno = saved;
}

#ifdef CK_F_EC64
/* The 64-bit form is not used; the fields want something that would show a mistake at once. */
static void wait64(const struct ck_ec_wait_state *state, const uint64_t *address, uint64_t expected,
                   const struct timespec *deadline) {
  (void)state, (void)address, (void)expected, (void)deadline;
  CPN_INVARIANT(0, false);
}

static void wake64(const struct ck_ec_ops *ops, const uint64_t *address) {
  (void)ops, (void)address;
  CPN_INVARIANT(0, false);
}
#endif

static const struct ck_ec_ops futex_ops = {
    .gettime = gettime,
    .wait32 = wait32,
    .wake32 = wake32,
#ifdef CK_F_EC64
    .wait64 = wait64,
    .wake64 = wake64,
#endif
};

/* Several threads tell: callers, the commit thread, close. */
static const struct ck_ec_mode mode = {.ops = &futex_ops, .single_producer = false};

void cpn_event_init(struct cpn_event *event) { ck_ec32_init(&event->count, 0); }

bool cpn_event_wait(struct cpn_event *event, uint32_t seen, int64_t deadline) {
  if (deadline == INT64_MAX) return ck_ec32_wait(&event->count, &mode, seen, NULL) == 0;
  struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_S), .tv_nsec = (long)(deadline % NS_PER_S)};
  return ck_ec32_wait(&event->count, &mode, seen, &until) == 0;
}

void cpn_event_tell(struct cpn_event *event) { ck_ec32_inc(&event->count, &mode); }
