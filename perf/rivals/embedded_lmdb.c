/* SPDX-License-Identifier: Apache-2.0 */
/*
 * LMDB: one table of users and one of the number left; a batch is one write transaction, synced when it commits. Only
 * one writer is let in at a time. --target DIRECTORY, an existing one. The other arguments are those of load.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lmdb.h>

#include "embedded.h"
#include "load.h"

/* The most it may ever occupy; only addresses are reserved. */
#define MAP_SIZE_BYTES (UINT64_C(4) << 30)

/* A process may open an environment once, so all clients share it. Opened and closed by the main thread. */
static struct {
  MDB_env *env;
  MDB_dbi users, stock;
  const char *directory;
  unsigned clients;
} shared;

static bool ok(int result) {
  if (result != 0) fprintf(stderr, "rivals: lmdb: %s\n", mdb_strerror(result));
  return result == 0;
}

static bool open_tables(void) {
  MDB_txn *txn;
  if (!ok(mdb_txn_begin(shared.env, NULL, 0, &txn))) return false;
  return ok(mdb_dbi_open(txn, "users", MDB_CREATE | MDB_INTEGERKEY, &shared.users)) &&
         ok(mdb_dbi_open(txn, "stock", MDB_CREATE | MDB_INTEGERKEY, &shared.stock)) && ok(mdb_txn_commit(txn));
}

static void *lmdb_connect(const char *target) {
  if (shared.clients++ > 0) return &shared;
  shared.directory = target;
  if (ok(mdb_env_create(&shared.env)) && ok(mdb_env_set_mapsize(shared.env, MAP_SIZE_BYTES)) &&
      ok(mdb_env_set_maxdbs(shared.env, 2)) && ok(mdb_env_open(shared.env, target, 0, 0600)) && open_tables())
    return &shared;
  return NULL;
}

static void lmdb_disconnect(void *connection) {
  (void)connection;
  if (--shared.clients == 0) mdb_env_close(shared.env);
}

static bool lmdb_prepare(void *connection) {
  (void)connection;
  return true;
}

static bool read_stock(MDB_txn *txn, uint64_t *left) {
  unsigned id = 1;
  MDB_val key = {sizeof id, &id}, value;
  *left = 0;
  int result = mdb_get(txn, shared.stock, &key, &value);
  if (result == MDB_NOTFOUND) return true;
  if (!ok(result)) return false;
  memcpy(left, value.mv_data, sizeof *left);
  return true;
}

static bool write_stock(MDB_txn *txn, uint64_t left) {
  unsigned id = 1;
  MDB_val key = {sizeof id, &id}, value = {sizeof left, &left};
  return ok(mdb_put(txn, shared.stock, &key, &value, 0));
}

static bool lmdb_reset(void *connection, uint64_t stock) {
  MDB_txn *txn;
  (void)connection;
  return ok(mdb_txn_begin(shared.env, NULL, 0, &txn)) && ok(mdb_drop(txn, shared.users, 0)) &&
         write_stock(txn, stock) && ok(mdb_txn_commit(txn));
}

static bool issue_one(MDB_txn *txn, uint64_t user, uint64_t *left, char *answer) {
  size_t id = user;
  MDB_val key = {sizeof id, &id}, value = {0, NULL};
  if (*left == 0) {
    int found = mdb_get(txn, shared.users, &key, &value);
    *answer = found == 0 ? LOAD_ALREADY : LOAD_SOLD_OUT;
    return found == MDB_NOTFOUND || ok(found);
  }
  int put = mdb_put(txn, shared.users, &key, &value, MDB_NOOVERWRITE);
  *answer = put == 0 ? LOAD_ISSUED : LOAD_ALREADY;
  if (put == 0) --*left;
  return put == MDB_KEYEXIST || ok(put);
}

/* A failed transaction is left as it is: the program ends. */
static bool lmdb_issue(void *connection, const uint64_t *users, size_t count, char *answers) {
  MDB_txn *txn;
  uint64_t before, left;
  (void)connection;
  if (!ok(mdb_txn_begin(shared.env, NULL, 0, &txn)) || !read_stock(txn, &before)) return false;
  left = before;
  for (size_t i = 0; i < count; i++) {
    if (!issue_one(txn, users[i], &left, &answers[i])) return false;
  }
  if (left != before && !write_stock(txn, left)) return false;
  return ok(mdb_txn_commit(txn));
}

static bool lmdb_audit(void *connection, uint64_t *held, uint64_t *left) {
  MDB_txn *txn;
  MDB_stat status;
  (void)connection;
  if (!ok(mdb_txn_begin(shared.env, NULL, MDB_RDONLY, &txn))) return false;
  bool good = ok(mdb_stat(txn, shared.users, &status)) && read_stock(txn, left);
  *held = status.ms_entries;
  mdb_txn_abort(txn);
  return good;
}

static bool lmdb_size(void *connection, uint64_t *bytes) {
  (void)connection;
  return embedded_size(shared.directory, bytes);
}

int main(int count, char **arguments) {
  static const struct load_rival rival = {.name = "lmdb",
                                          .connect = lmdb_connect,
                                          .disconnect = lmdb_disconnect,
                                          .prepare = lmdb_prepare,
                                          .reset = lmdb_reset,
                                          .issue = lmdb_issue,
                                          .audit = lmdb_audit,
                                          .size = lmdb_size};
  return load_main(count, arguments, &rival);
}
