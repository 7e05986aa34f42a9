/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rcu.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#ifdef CPN_TSAN
char cpn_rcu_edge;
#endif

/* The process that liburcu's registry of threads belongs to; 0: nobody has opened an engine yet. */
static _Atomic int settled_process;

void cpn_rcu_settle_in_process(void) {
  int here = (int)getpid();
  int before = atomic_load_explicit(&settled_process, memory_order_acquire);
  if (before == here) return;
  /* One thread does it. Failure: another thread of this process is at it; it has only just been forked. */
  if (!atomic_compare_exchange_strong_explicit(&settled_process, &before, here, memory_order_acq_rel,
                                               memory_order_acquire))
    return;
  if (before == 0) return;
  /* What liburcu asks a program to call after fork(), which nobody has: it prunes the registry, frees locks that a
   * thread of the parent may have held, and sets a signal mask that it did not save; ours is put back. */
  sigset_t mask;
  (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
  urcu_bp_after_fork_child();
  (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
}
