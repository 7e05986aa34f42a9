/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SQLite: a table of users and a row with the number left; a batch is one transaction. The journal is the write-ahead
 * log, synced at every commit (synchronous=FULL). Only one writer is let in at a time.
 * --target DIRECTORY, an existing one. The other arguments are those of load.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <sqlite3.h>

#include "load.h"

/* A writer who finds another one at work tries again for so long; in the check there are several. */
#define BUSY_MS 60000

/* 256 MB of pages are kept in memory, and 64 MB of log before it is copied into the table. With the few megabytes that
 * SQLite takes unless it is told, users who come in no order touch so many pages that each commit would copy. */
static const char tuned[] = "PRAGMA cache_size = -262144; PRAGMA wal_autocheckpoint = 16384";

struct sqlite {
  sqlite3 *database;
  sqlite3_stmt *begin, *insert, *find, *left, *take, *commit; /* prepared when first used */
};

static bool failed(const struct sqlite *sqlite) {
  fprintf(stderr, "rivals: sqlite: %s\n", sqlite3_errmsg(sqlite->database));
  return false;
}

static bool run(struct sqlite *sqlite, const char *text) {
  return sqlite3_exec(sqlite->database, text, NULL, NULL, NULL) == SQLITE_OK || failed(sqlite);
}

static void sqlite_disconnect(void *connection) {
  struct sqlite *sqlite = connection;
  sqlite3_stmt *statements[] = {sqlite->begin, sqlite->insert, sqlite->find,
                                sqlite->left,  sqlite->take,   sqlite->commit};
  for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) (void)sqlite3_finalize(statements[i]);
  (void)sqlite3_close(sqlite->database);
  free(sqlite);
}

static void *sqlite_connect(const char *target) {
  struct sqlite *sqlite = calloc(1, sizeof *sqlite);
  char path[512];
  if (sqlite == NULL) abort();
  (void)snprintf(path, sizeof path, "%s/coupons.db", target);
  if (sqlite3_open(path, &sqlite->database) == SQLITE_OK &&
      sqlite3_busy_timeout(sqlite->database, BUSY_MS) == SQLITE_OK && run(sqlite, "PRAGMA journal_mode = WAL") &&
      run(sqlite, "PRAGMA synchronous = FULL") && run(sqlite, tuned))
    return sqlite;
  sqlite_disconnect(sqlite);
  return NULL;
}

static bool sqlite_prepare(void *connection) {
  return run(connection, "CREATE TABLE IF NOT EXISTS holder (user_id INTEGER PRIMARY KEY)") &&
         run(connection, "CREATE TABLE IF NOT EXISTS campaign (id INTEGER PRIMARY KEY, remaining INTEGER NOT NULL)") &&
         run(connection, "INSERT OR IGNORE INTO campaign VALUES (1, 0)");
}

static bool sqlite_reset(void *connection, uint64_t stock) {
  char text[160];
  (void)snprintf(text, sizeof text,
                 "BEGIN IMMEDIATE; DELETE FROM holder; UPDATE campaign SET remaining = %" PRIu64 "; COMMIT", stock);
  /* What the check has left in the log is not to be counted as the run's. */
  return run(connection, text) && run(connection, "PRAGMA wal_checkpoint(TRUNCATE)");
}

static bool prepare_statements(struct sqlite *sqlite) {
  const struct {
    sqlite3_stmt **statement;
    const char *text;
  } all[] = {{&sqlite->begin, "BEGIN IMMEDIATE"},
             {&sqlite->insert, "INSERT OR IGNORE INTO holder VALUES (?)"},
             {&sqlite->find, "SELECT count(*) FROM holder WHERE user_id = ?"},
             {&sqlite->left, "SELECT remaining FROM campaign WHERE id = 1"},
             {&sqlite->take, "UPDATE campaign SET remaining = remaining - ? WHERE id = 1"},
             {&sqlite->commit, "COMMIT"}};
  if (sqlite->commit != NULL) return true;
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    if (sqlite3_prepare_v3(sqlite->database, all[i].text, -1, SQLITE_PREPARE_PERSISTENT, all[i].statement, NULL) !=
        SQLITE_OK)
      return failed(sqlite);
  }
  return true;
}

/* Runs a statement with its argument, if it has one; what its row says, if it has one, goes to `value`. */
static bool step(struct sqlite *sqlite, sqlite3_stmt *statement, uint64_t argument, uint64_t *value) {
  if (sqlite3_bind_parameter_count(statement) > 0) (void)sqlite3_bind_int64(statement, 1, (sqlite3_int64)argument);
  int result = sqlite3_step(statement);
  if (result == SQLITE_ROW && value != NULL) *value = (uint64_t)sqlite3_column_int64(statement, 0);
  bool good = result == SQLITE_ROW || result == SQLITE_DONE || failed(sqlite);
  (void)sqlite3_reset(statement);
  return good;
}

static bool issue_one(struct sqlite *sqlite, uint64_t user, uint64_t *left, char *answer) {
  if (*left == 0) {
    uint64_t found = 0;
    bool good = step(sqlite, sqlite->find, user, &found);
    *answer = found > 0 ? LOAD_ALREADY : LOAD_SOLD_OUT;
    return good;
  }
  if (!step(sqlite, sqlite->insert, user, NULL)) return false;
  bool added = sqlite3_changes(sqlite->database) > 0;
  if (added) --*left;
  *answer = added ? LOAD_ISSUED : LOAD_ALREADY;
  return true;
}

static bool sqlite_issue(void *connection, const uint64_t *users, size_t count, char *answers) {
  struct sqlite *sqlite = connection;
  uint64_t before, left;
  /* Immediate: who reads first and writes later may find that another one has written in between. */
  if (!prepare_statements(sqlite) || !step(sqlite, sqlite->begin, 0, NULL)) return false;
  if (!step(sqlite, sqlite->left, 0, &before)) return false;
  left = before;
  for (size_t i = 0; i < count; i++) {
    if (!issue_one(sqlite, users[i], &left, &answers[i])) return false;
  }
  if (left != before && !step(sqlite, sqlite->take, before - left, NULL)) return false;
  return step(sqlite, sqlite->commit, 0, NULL);
}

static bool ask_number(struct sqlite *sqlite, const char *text, uint64_t *value) {
  sqlite3_stmt *statement;
  if (sqlite3_prepare_v2(sqlite->database, text, -1, &statement, NULL) != SQLITE_OK) return failed(sqlite);
  bool good = step(sqlite, statement, 0, value);
  (void)sqlite3_finalize(statement);
  return good;
}

static bool sqlite_audit(void *connection, uint64_t *held, uint64_t *left) {
  return ask_number(connection, "SELECT count(*) FROM holder", held) &&
         ask_number(connection, "SELECT remaining FROM campaign WHERE id = 1", left);
}

/* The pages of the database, also those that are still in the log only. */
static bool sqlite_size(void *connection, uint64_t *bytes) {
  uint64_t pages = 0, page_size = 0;
  bool good =
      ask_number(connection, "PRAGMA page_count", &pages) && ask_number(connection, "PRAGMA page_size", &page_size);
  *bytes = pages * page_size;
  return good;
}

int main(int count, char **arguments) {
  static const struct load_rival rival = {.name = "sqlite",
                                          .connect = sqlite_connect,
                                          .disconnect = sqlite_disconnect,
                                          .prepare = sqlite_prepare,
                                          .reset = sqlite_reset,
                                          .issue = sqlite_issue,
                                          .audit = sqlite_audit,
                                          .size = sqlite_size};
  return load_main(count, arguments, &rival);
}
