/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody would write without the library, in the same process and measured in the same run:
 *   - a mutex around an open-addressing table and a counter;
 *   - liburcu's cds_lfht, a lock-free hash table, and a counter moved by compare-and-swap;
 *   - and no sale at all: a bare table of users that is only looked up, the floor under every refusal.
 * They decide only: no tickets, times, windows or log. Where there is a choice it is made in their favour: memory
 * comes from one touched array in huge pages, and hashes are not keyed, so chosen users could make them collide.
 */
#ifndef PERF_RIVAL_H
#define PERF_RIVAL_H

#include "bench.h"

/* ---- a mutex and a table ---- */

struct rival_locked;
struct rival_locked *rival_locked_create(uint64_t stock);
void rival_locked_destroy(struct rival_locked *sale);
/* The ticket's number, the original one for a user who has one; 0: sold out. */
uint64_t rival_locked_issue(struct rival_locked *sale, uint64_t user);

/* ---- a bare table ---- */

struct rival_bare;
/* With the users bench_user(0 … count - 1), at a load of 0.8. */
struct rival_bare *rival_bare_create(uint64_t count);
void rival_bare_destroy(struct rival_bare *table);
bool rival_bare_has(const struct rival_bare *table, uint64_t user);

/* ---- cds_lfht ---- */

#ifdef PERF_HAS_RCU
struct rival_rcu;
/* `presized`: buckets for all users from the beginning; else it grows by itself, with its own thread. */
struct rival_rcu *rival_rcu_create(uint64_t stock, bool presized);
void rival_rcu_destroy(struct rival_rcu *sale);
/* Around what a thread does with it. */
void rival_rcu_enter(void);
void rival_rcu_leave(void);
/* As above. `place`: 0 … stock - 1, not used by any other call; where this user's node goes, if it is wanted. */
uint64_t rival_rcu_issue(struct rival_rcu *sale, uint64_t user, uint64_t place);
#endif

#endif
