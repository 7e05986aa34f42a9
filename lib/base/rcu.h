/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read-copy-update, from liburcu in its "bp" flavour: the one in which no thread has to register, which
 * a library in somebody else's process needs. The two functions of readers are inlined from a header of liburcu that
 * says of them that they are short enough to be, under its licence, from any program; the others are called.
 *
 * Guarantee: cpn_rcu_synchronize() returns only after every read-side critical section that had begun
 * before it has ended. A reader must not wait for whoever synchronizes.
 *
 * Race detectors cannot see into the library, so under TSan the same edges are stated once more.
 */
#ifndef CPN_BASE_RCU_H
#define CPN_BASE_RCU_H

#include "base/defs.h"

#define URCU_API_MAP
#include <urcu/static/urcu-bp.h>
#include <urcu/urcu-bp.h>

#ifdef CPN_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
extern char cpn_rcu_edge;
#define CPN_RCU_EDGE_RELEASE() __tsan_release(&cpn_rcu_edge)
#define CPN_RCU_EDGE_ACQUIRE() __tsan_acquire(&cpn_rcu_edge)
#else
#define CPN_RCU_EDGE_RELEASE() ((void)0)
#define CPN_RCU_EDGE_ACQUIRE() ((void)0)
#endif

/* To be called before an engine is opened. In a child of fork() it forgets the threads of the parent: one that was
 * inside a read-side critical section would never leave it, and every grace period would wait for it. */
void cpn_rcu_settle_in_process(void);

/* Under a sanitizer they are called: liburcu's readers lie at addresses that their type's alignment forbids. To the
 * static analyzer too: it does not see that registering sets the reader. */
#if defined(CPN_ASAN) || defined(__clang_analyzer__)
#define CPN_RCU_READ_LOCK urcu_bp_read_lock
#define CPN_RCU_READ_UNLOCK urcu_bp_read_unlock
#else
#define CPN_RCU_READ_LOCK _urcu_bp_read_lock
#define CPN_RCU_READ_UNLOCK _urcu_bp_read_unlock
#endif

/* Whether locking may have to register this thread first, which waits for others that register. */
static inline bool cpn_rcu_may_register(void) {
#if defined(CPN_ASAN) || defined(__clang_analyzer__)
  return true;
#else
  return URCU_TLS(urcu_bp_reader) == NULL;
#endif
}

static inline void cpn_rcu_read_lock(void) { CPN_RCU_READ_LOCK(); }

static inline void cpn_rcu_read_unlock(void) {
  CPN_RCU_EDGE_RELEASE();
  CPN_RCU_READ_UNLOCK();
}

static inline void cpn_rcu_synchronize(void) {
  urcu_bp_synchronize_rcu();
  CPN_RCU_EDGE_ACQUIRE();
}

#endif
