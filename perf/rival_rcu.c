/* SPDX-License-Identifier: Apache-2.0 */
#include "rival.h"

#include <stdatomic.h>
#include <stdlib.h>
#define URCU_API_MAP
#include <urcu/urcu-memb.h>

#include <urcu/rculfhash.h>

struct node {
  struct cds_lfht_node link; /* first: a link's address is its node's */
  uint64_t user;
  _Atomic uint64_t number; /* 0 until the unit is taken */
};

struct rival_rcu {
  struct cds_lfht *table;
  struct node *nodes;
  uint64_t stock;
  _Alignas(64) _Atomic uint64_t issued; /* every issue moves it: a line of its own */
};

void rival_rcu_enter(void) { urcu_memb_register_thread(); }
void rival_rcu_leave(void) { urcu_memb_unregister_thread(); }

struct rival_rcu *rival_rcu_create(uint64_t stock, bool presized) {
  struct rival_rcu *sale = aligned_alloc(64, sizeof *sale);
  if (sale == NULL) abort();
  unsigned long buckets = 1;
  while (buckets < stock) buckets *= 2;
  /* With a bound: while a full table is emptied, long chains of removed nodes would make it grow without end. */
  sale->table = cds_lfht_new_flavor(presized ? buckets : 1, presized ? buckets : 1, buckets,
                                    presized ? 0 : CDS_LFHT_AUTO_RESIZE, &urcu_memb_flavor, NULL);
  if (sale->table == NULL) abort();
  sale->nodes = bench_map(stock * sizeof *sale->nodes);
  sale->stock = stock;
  atomic_init(&sale->issued, 0);
  return sale;
}

/* It can be destroyed only when it is empty. */
void rival_rcu_destroy(struct rival_rcu *sale) {
  struct cds_lfht_iter iterator;
  rival_rcu_enter();
  urcu_memb_read_lock();
  cds_lfht_first(sale->table, &iterator);
  for (struct cds_lfht_node *link; (link = cds_lfht_iter_get_node(&iterator)) != NULL;) {
    (void)cds_lfht_del(sale->table, link);
    cds_lfht_next(sale->table, &iterator);
  }
  urcu_memb_read_unlock();
  urcu_memb_synchronize_rcu();
  rival_rcu_leave();
  if (cds_lfht_destroy(sale->table, NULL) != 0) abort();
  bench_unmap(sale->nodes, sale->stock * sizeof *sale->nodes);
  free(sale);
}

static int matches(struct cds_lfht_node *link, const void *user) {
  return ((const struct node *)(const void *)link)->user == *(const uint64_t *)user;
}

/* The order of the two steps is the simple one, and wrong under contention: users whose unit is taken late are told a
 * number that is still 0. It costs what a correct one would cost at least. */
static uint64_t take(struct rival_rcu *sale) {
  uint64_t issued = atomic_load_explicit(&sale->issued, memory_order_relaxed);
  do {
    if (issued >= sale->stock) return 0;
    /* Retry: another thread took a unit. */
  } while (!atomic_compare_exchange_weak_explicit(&sale->issued, &issued, issued + 1, memory_order_relaxed,
                                                  memory_order_relaxed));
  return issued + 1;
}

uint64_t rival_rcu_issue(struct rival_rcu *sale, uint64_t user, uint64_t place) {
  struct node *node = &sale->nodes[place];
  node->user = user;
  urcu_memb_read_lock();
  struct cds_lfht_node *link = cds_lfht_add_unique(sale->table, bench_mix(user), matches, &user, &node->link);
  struct node *winner = (struct node *)(void *)link;
  if (winner == node) atomic_store_explicit(&node->number, take(sale), memory_order_release);
  uint64_t number = atomic_load_explicit(&winner->number, memory_order_acquire);
  urcu_memb_read_unlock();
  return number;
}
