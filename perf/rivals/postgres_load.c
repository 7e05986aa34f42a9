/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PostgreSQL: a table of users, a row with the number left, and a function, called by one prepared statement, which is
 * one transaction. --target is a connection string of libpq. The other arguments are those of load.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "load.h"

/* A user's number has at most 20 digits; and a comma. */
#define NUMBER_MAX 21

struct postgres {
  PGconn *server;
  bool prepared;
};

/*
 * One user: the insert comes first. It makes a second request of the same user wait for the first one's end, and only
 * then is the row with the stock locked, so that it is locked for as short a time as it can be.
 *
 * Many users: the row with the stock is locked first, so that none of them can meet those of another call half way,
 * which would be a deadlock. While there is enough for all, one insert serves them; then they are taken one by one.
 */
static const char *const schema[] = {
    "SET client_min_messages = warning",
    "CREATE TABLE IF NOT EXISTS holder (user_id bigint PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS campaign (id int PRIMARY KEY, remaining bigint NOT NULL CHECK (remaining >= 0))",
    "INSERT INTO campaign VALUES (1, 0) ON CONFLICT DO NOTHING",
    "CREATE OR REPLACE FUNCTION issue(who bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
    "  INSERT INTO holder VALUES (who) ON CONFLICT DO NOTHING;"
    "  IF NOT FOUND THEN RETURN '2'; END IF;"
    "  UPDATE campaign SET remaining = remaining - 1 WHERE id = 1 AND remaining > 0;"
    "  IF FOUND THEN RETURN '1'; END IF;"
    "  DELETE FROM holder WHERE user_id = who;"
    "  RETURN '0';"
    "END $$",
    "CREATE OR REPLACE FUNCTION issue_many(who bigint[]) RETURNS text LANGUAGE plpgsql AS $$"
    " DECLARE free bigint; answers text := ''; one bigint; BEGIN"
    "  SELECT remaining INTO free FROM campaign WHERE id = 1 FOR UPDATE;"
    "  IF free < cardinality(who) THEN"
    "    FOREACH one IN ARRAY who LOOP answers := answers || issue(one); END LOOP;"
    "    RETURN answers;"
    "  END IF;"
    "  WITH mine AS (INSERT INTO holder SELECT unnest(who) ON CONFLICT DO NOTHING RETURNING user_id)"
    "    SELECT string_agg(CASE WHEN user_id IS NULL THEN '2' ELSE '1' END, '' ORDER BY place) INTO answers"
    "    FROM unnest(who) WITH ORDINALITY AS asked (id, place) LEFT JOIN mine ON user_id = id;"
    "  UPDATE campaign SET remaining = free - length(replace(answers, '2', '')) WHERE id = 1;"
    "  RETURN answers;"
    "END $$",
};

/* Returns the result, or NULL after a failure, of which it has told. */
static PGresult *checked(struct postgres *postgres, PGresult *result) {
  ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return result;
  fprintf(stderr, "rivals: postgres: %s", PQerrorMessage(postgres->server));
  PQclear(result);
  return NULL;
}

static bool run(struct postgres *postgres, const char *text) {
  PGresult *result = checked(postgres, PQexec(postgres->server, text));
  PQclear(result);
  return result != NULL;
}

static bool ask_number(struct postgres *postgres, const char *text, uint64_t *value) {
  PGresult *result = checked(postgres, PQexec(postgres->server, text));
  if (result == NULL) return false;
  *value = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
  PQclear(result);
  return true;
}

static void postgres_disconnect(void *connection) {
  struct postgres *postgres = connection;
  PQfinish(postgres->server);
  free(postgres);
}

static void *postgres_connect(const char *target) {
  struct postgres *postgres = calloc(1, sizeof *postgres);
  if (postgres == NULL) abort();
  postgres->server = PQconnectdb(target);
  if (PQstatus(postgres->server) == CONNECTION_OK) return postgres;
  postgres_disconnect(postgres);
  return NULL;
}

static bool postgres_prepare(void *connection) {
  for (size_t i = 0; i < sizeof schema / sizeof schema[0]; i++) {
    if (!run(connection, schema[i])) return false;
  }
  return true;
}

static bool postgres_reset(void *connection, uint64_t stock) {
  char text[96];
  (void)snprintf(text, sizeof text, "UPDATE campaign SET remaining = %" PRIu64 " WHERE id = 1", stock);
  return run(connection, "TRUNCATE holder") && run(connection, text);
}

/* The schema has to be there, so this is not done in connect(). */
static bool prepare_statements(struct postgres *postgres) {
  if (postgres->prepared) return true;
  PGresult *one = checked(postgres, PQprepare(postgres->server, "one", "SELECT issue($1)", 1, NULL));
  PQclear(one);
  if (one == NULL) return false;
  PGresult *many = checked(postgres, PQprepare(postgres->server, "many", "SELECT issue_many($1)", 1, NULL));
  PQclear(many);
  postgres->prepared = many != NULL;
  return postgres->prepared;
}

static bool postgres_issue(void *connection, const uint64_t *users, size_t count, char *answers) {
  struct postgres *postgres = connection;
  static _Thread_local char text[LOAD_BATCH_MAX * NUMBER_MAX + 3];
  if (!prepare_statements(postgres)) return false;
  char *at = text;
  for (size_t i = 0; i < count; i++) at += sprintf(at, "%c%" PRIu64, i == 0 ? '{' : ',', users[i]);
  (void)strcpy(at, "}");
  const char *arguments[] = {text};
  if (count == 1) {
    *at = '\0';
    arguments[0] = text + 1;
  }
  const char *statement = count == 1 ? "one" : "many";
  PGresult *result = checked(postgres, PQexecPrepared(postgres->server, statement, 1, arguments, NULL, NULL, 0));
  if (result == NULL) return false;
  bool good = PQgetlength(result, 0, 0) == (int)count;
  if (good) memcpy(answers, PQgetvalue(result, 0, 0), count);
  PQclear(result);
  return good;
}

static bool postgres_audit(void *connection, uint64_t *held, uint64_t *left) {
  return ask_number(connection, "SELECT count(*) FROM holder", held) &&
         ask_number(connection, "SELECT remaining FROM campaign WHERE id = 1", left);
}

/* The table and its index, on disk and in its buffers alike. */
static bool postgres_size(void *connection, uint64_t *bytes) {
  return ask_number(connection, "SELECT pg_total_relation_size('holder')", bytes);
}

int main(int count, char **arguments) {
  static const struct load_rival rival = {.name = "postgres",
                                          .connect = postgres_connect,
                                          .disconnect = postgres_disconnect,
                                          .prepare = postgres_prepare,
                                          .reset = postgres_reset,
                                          .issue = postgres_issue,
                                          .audit = postgres_audit,
                                          .size = postgres_size};
  return load_main(count, arguments, &rival);
}
