/* SPDX-License-Identifier: Apache-2.0 */
#include "base/event.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S INT64_C(1000000000)
#define SLEEPS UINT32_C(1)

void cpn_event_init(struct cpn_event *event) { atomic_init(&event->count, 0); }

/* FUTEX_WAIT_BITSET takes its deadline as an absolute time of CLOCK_MONOTONIC. False: it has passed; otherwise why we
 * wake (told, a signal, a value that has changed already) does not matter: the caller looks again. */
static bool sleep_on(struct cpn_event *event, uint32_t expected, const struct timespec *deadline) {
  long woken =
      syscall(SYS_futex, &event->count, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline, NULL, FUTEX_BITSET_MATCH_ANY);
  return woken == 0 || errno != ETIMEDOUT;
}

bool cpn_event_wait(struct cpn_event *event, uint32_t seen, int64_t deadline) {
  if (deadline < 0) deadline = 0; /* has passed, too; the system takes none before its beginning */
  struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_S), .tv_nsec = (long)(deadline % NS_PER_S)};
  const struct timespec *limit = deadline == INT64_MAX ? NULL : &until;
  uint32_t count = atomic_load_explicit(&event->count, memory_order_acquire);
  for (bool in_time = true;; in_time = sleep_on(event, seen | SLEEPS, limit)) {
    /* acquire, also on failure: whoever told had made it true before. Retry: somebody told, or went to sleep. */
    while (count == seen && !atomic_compare_exchange_weak_explicit(&event->count, &count, seen | SLEEPS,
                                                                   memory_order_acquire, memory_order_acquire)) {
    }
    if ((count | SLEEPS) != (seen | SLEEPS)) return true;
    if (!in_time) return false;
    count = seen;
  }
}

void cpn_event_tell(struct cpn_event *event) {
  /* seq_cst: behind what was made true. Who then looks finds it true, or has looked before and does not sleep, since
   * the count is another. Retry: somebody told, or went to sleep. */
  uint32_t count = atomic_load_explicit(&event->count, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&event->count, &count, (count | SLEEPS) + 1, memory_order_seq_cst,
                                                memory_order_relaxed)) {
  }
  if ((count & SLEEPS) == 0) return;
  int saved = errno; /* of a call that promises to keep it */
  (void)syscall(SYS_futex, &event->count, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
  errno = saved;
}
