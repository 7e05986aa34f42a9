/* SPDX-License-Identifier: Apache-2.0 */
#include "rival.h"

#include <pthread.h>
#include <stdlib.h>

/* ---- a mutex and a table ---- */

struct entry {
  uint64_t user; /* 0: empty; no user of these programs is 0 */
  uint64_t number;
};

struct rival_locked {
  pthread_mutex_t lock;
  uint64_t stock, issued;
  uint64_t entries; /* a power of two, at least 3/2 of the stock */
  struct entry *table;
};

struct rival_locked *rival_locked_create(uint64_t stock) {
  struct rival_locked *sale = calloc(1, sizeof *sale);
  if (sale == NULL) abort();
  (void)pthread_mutex_init(&sale->lock, NULL);
  sale->stock = stock;
  for (sale->entries = 64; sale->entries < stock + stock / 2;) sale->entries *= 2;
  sale->table = bench_map(sale->entries * sizeof *sale->table);
  return sale;
}

void rival_locked_destroy(struct rival_locked *sale) {
  bench_unmap(sale->table, sale->entries * sizeof *sale->table);
  (void)pthread_mutex_destroy(&sale->lock);
  free(sale);
}

uint64_t rival_locked_issue(struct rival_locked *sale, uint64_t user) {
  (void)pthread_mutex_lock(&sale->lock);
  uint64_t i = bench_mix(user) & (sale->entries - 1);
  while (sale->table[i].user != 0 && sale->table[i].user != user) i = (i + 1) & (sale->entries - 1);
  if (sale->table[i].user == 0 && sale->issued < sale->stock)
    sale->table[i] = (struct entry){.user = user, .number = ++sale->issued};
  uint64_t number = sale->table[i].number;
  (void)pthread_mutex_unlock(&sale->lock);
  return number;
}

/* ---- a bare table ---- */

/* Lines of eight words, each a user or 0. A user is in the line it hashes to, or in the next one that had room. */
#define LINE_WORDS 8
#define LOAD 0.8

struct line {
  _Alignas(64) uint64_t words[LINE_WORDS];
};

struct rival_bare {
  uint64_t lines;
  struct line *table;
};

static uint64_t home_of(const struct rival_bare *table, uint64_t user) {
  return bench_below(bench_mix(user), table->lines);
}

static void put(struct rival_bare *table, uint64_t user) {
  for (uint64_t i = home_of(table, user);; i = i + 1 == table->lines ? 0 : i + 1) {
    for (int j = 0; j < LINE_WORDS; j++) {
      if (table->table[i].words[j] != 0) continue;
      table->table[i].words[j] = user;
      return;
    }
  }
}

struct rival_bare *rival_bare_create(uint64_t count) {
  struct rival_bare *table = calloc(1, sizeof *table);
  if (table == NULL) abort();
  table->lines = (uint64_t)((double)count / (LINE_WORDS * LOAD)) + 1;
  table->table = bench_map(table->lines * sizeof *table->table);
  for (uint64_t i = 0; i < count; i++) put(table, bench_user(i));
  return table;
}

void rival_bare_destroy(struct rival_bare *table) {
  bench_unmap(table->table, table->lines * sizeof *table->table);
  free(table);
}

bool rival_bare_has(const struct rival_bare *table, uint64_t user) {
  for (uint64_t i = home_of(table, user);; i = i + 1 == table->lines ? 0 : i + 1) {
    const struct line *line = &table->table[i];
    /* The whole line without a branch: where in it a user stands is random, and a branch would be mispredicted. */
    unsigned found = 0;
    for (int j = 0; j < LINE_WORDS; j++) found |= line->words[j] == user;
    if (found != 0) return true;
    if (line->words[LINE_WORDS - 1] == 0) return false; /* lines fill from the left, and nobody leaves */
  }
}
