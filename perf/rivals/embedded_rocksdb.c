/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RocksDB: a key for each user; a batch is one synced write. Who decides about a user holds one of many locks of ours,
 * which cost less than RocksDB's own transactions. The number left is not a key: whoever has changed it would have to
 * keep all others out until the sync is over. It is counted in memory, from the users, when the database is opened; so
 * the syncs of many threads are one.
 * --target DIRECTORY, an existing one. The other arguments are those of load.c.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rocksdb/c.h>

#include "embedded.h"
#include "load.h"

/* A user's lock is that of his number's last bits. A thread takes those it needs in their order: no deadlock. */
#define LOCKS 1024

/* Where the size of the stock is; no user's key is as long. */
static const char stock_key[] = "stock";

/* A process may open a database once, so all clients share it. Opened and closed by the main thread. */
static struct {
  rocksdb_t *database;
  rocksdb_options_t *options;
  rocksdb_writeoptions_t *synced;
  rocksdb_readoptions_t *reading;
  const char *directory;
  unsigned clients;
  /* relaxed: the word only counts; the user's lock orders what is known of the user. */
  _Atomic uint64_t left;
  pthread_mutex_t locks[LOCKS];
} shared;

static bool ok(char *error) {
  if (error != NULL) fprintf(stderr, "rivals: rocksdb: %s\n", error);
  rocksdb_free(error);
  return error == NULL;
}

/* Calls `visit`, if there is one, for each user's key; *users is how many there are. */
static bool for_each_user(uint64_t *users, void (*visit)(rocksdb_writebatch_t *, const char *, size_t),
                          rocksdb_writebatch_t *batch) {
  char *error = NULL;
  rocksdb_iterator_t *at = rocksdb_create_iterator(shared.database, shared.reading);
  *users = 0;
  for (rocksdb_iter_seek_to_first(at); rocksdb_iter_valid(at); rocksdb_iter_next(at)) {
    size_t length;
    const char *key = rocksdb_iter_key(at, &length);
    if (length != sizeof(uint64_t)) continue;
    ++*users;
    if (visit != NULL) visit(batch, key, length);
  }
  rocksdb_iter_get_error(at, &error);
  rocksdb_iter_destroy(at);
  return ok(error);
}

static bool read_stock(uint64_t *stock) {
  char *error = NULL;
  size_t length;
  char *value = rocksdb_get(shared.database, shared.reading, stock_key, sizeof stock_key, &length, &error);
  *stock = 0;
  if (value != NULL) memcpy(stock, value, sizeof *stock);
  rocksdb_free(value);
  return ok(error);
}

static bool open_database(const char *target) {
  char *error = NULL;
  uint64_t stock, held;
  shared.directory = target;
  shared.options = rocksdb_options_create();
  shared.synced = rocksdb_writeoptions_create();
  shared.reading = rocksdb_readoptions_create();
  rocksdb_options_set_create_if_missing(shared.options, 1);
  for (size_t i = 0; i < LOCKS; i++) (void)pthread_mutex_init(&shared.locks[i], NULL);
  rocksdb_writeoptions_set_sync(shared.synced, 1);
  shared.database = rocksdb_open(shared.options, target, &error);
  if (!ok(error) || !read_stock(&stock) || !for_each_user(&held, NULL, NULL)) return false;
  atomic_store_explicit(&shared.left, stock - held, memory_order_relaxed);
  return true;
}

static void *rocks_connect(const char *target) {
  if (shared.clients++ > 0) return &shared;
  return open_database(target) ? &shared : NULL;
}

static void rocks_disconnect(void *connection) {
  (void)connection;
  if (--shared.clients > 0) return;
  rocksdb_close(shared.database);
  rocksdb_readoptions_destroy(shared.reading);
  rocksdb_writeoptions_destroy(shared.synced);
  rocksdb_options_destroy(shared.options);
}

static bool rocks_prepare(void *connection) {
  (void)connection;
  return true;
}

static void remove_user(rocksdb_writebatch_t *batch, const char *key, size_t length) {
  rocksdb_writebatch_delete(batch, key, length);
}

static bool rocks_reset(void *connection, uint64_t stock) {
  char *error = NULL;
  uint64_t users;
  (void)connection;
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  bool good = for_each_user(&users, remove_user, batch);
  rocksdb_writebatch_put(batch, stock_key, sizeof stock_key, (const char *)&stock, sizeof stock);
  rocksdb_write(shared.database, shared.synced, batch, &error);
  rocksdb_writebatch_destroy(batch);
  atomic_store_explicit(&shared.left, stock, memory_order_relaxed);
  return ok(error) && good;
}

/* Never below zero. Retry: another thread took one. */
static bool take_one(void) {
  uint64_t left = atomic_load_explicit(&shared.left, memory_order_relaxed);
  while (left > 0) {
    if (atomic_compare_exchange_weak_explicit(&shared.left, &left, left - 1, memory_order_relaxed,
                                              memory_order_relaxed))
      return true;
  }
  return false;
}

/* Sets the bit of each lock that these users need. */
static void find_locks(const uint64_t *users, size_t count, bool needed[LOCKS]) {
  memset(needed, 0, LOCKS * sizeof needed[0]);
  for (size_t i = 0; i < count; i++) needed[users[i] % LOCKS] = true;
}

static bool issue_one(rocksdb_writebatch_t *batch, uint64_t user, char *answer) {
  char *error = NULL;
  size_t length;
  const char *key = (const char *)&user;
  char *value = rocksdb_get(shared.database, shared.reading, key, sizeof user, &length, &error);
  *answer = value != NULL ? LOAD_ALREADY : take_one() ? LOAD_ISSUED : LOAD_SOLD_OUT;
  rocksdb_free(value);
  /* A value of one byte: the copy of an empty one need not be different from none. */
  if (*answer == LOAD_ISSUED) rocksdb_writebatch_put(batch, key, sizeof user, "", 1);
  return ok(error);
}

static bool rocks_issue(void *connection, const uint64_t *users, size_t count, char *answers) {
  char *error = NULL;
  bool needed[LOCKS], good = true;
  (void)connection;
  find_locks(users, count, needed);
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  /* Until the write is synced: nobody is told "already" of a coupon that could still be lost. */
  for (size_t i = 0; i < LOCKS; i++) {
    if (needed[i]) (void)pthread_mutex_lock(&shared.locks[i]);
  }
  for (size_t i = 0; i < count && good; i++) good = issue_one(batch, users[i], &answers[i]);
  if (good && rocksdb_writebatch_count(batch) > 0) rocksdb_write(shared.database, shared.synced, batch, &error);
  for (size_t i = 0; i < LOCKS; i++) {
    if (needed[i]) (void)pthread_mutex_unlock(&shared.locks[i]);
  }
  rocksdb_writebatch_destroy(batch);
  return ok(error) && good;
}

static bool rocks_audit(void *connection, uint64_t *held, uint64_t *left) {
  uint64_t stock;
  (void)connection;
  *left = atomic_load_explicit(&shared.left, memory_order_relaxed);
  if (!read_stock(&stock) || !for_each_user(held, NULL, NULL)) return false;
  if (*held + *left == stock) return true;
  fprintf(stderr, "rivals: rocksdb: the count in memory is not that of the users\n");
  return false;
}

static bool rocks_size(void *connection, uint64_t *bytes) {
  (void)connection;
  return embedded_size(shared.directory, bytes);
}

int main(int count, char **arguments) {
  static const struct load_rival rival = {.name = "rocksdb",
                                          .connect = rocks_connect,
                                          .disconnect = rocks_disconnect,
                                          .prepare = rocks_prepare,
                                          .reset = rocks_reset,
                                          .issue = rocks_issue,
                                          .audit = rocks_audit,
                                          .size = rocks_size};
  return load_main(count, arguments, &rival);
}
