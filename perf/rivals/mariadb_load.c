/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MariaDB: a table of users, a row with the number left, and a stored procedure, which is one transaction.
 * --target SOCKET. The other arguments are those of load.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mysql.h>

#include "load.h"

/* A user's number has at most 20 digits; and a comma. */
#define NUMBER_MAX 21

/*
 * Both procedures lock the row with the stock first: taken in that order, the locks of two requests can never wait for
 * each other. InnoDB gives them back when the transaction is in the log's buffer, before the sync, so that the syncs
 * of many are one all the same.
 *
 * Many users are first tried as one insert, as if each of them were new and there were enough for all, as is nearly
 * always so. If not, that is undone, and each is given the answer that is due to him.
 */
static const char *const schema[] = {
    "CREATE DATABASE IF NOT EXISTS coupon",
    "USE coupon",
    "CREATE TABLE IF NOT EXISTS holder (user_id BIGINT UNSIGNED PRIMARY KEY) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS campaign (id INT PRIMARY KEY, remaining BIGINT NOT NULL) ENGINE=InnoDB",
    "INSERT IGNORE INTO campaign VALUES (1, 0)",
    "CREATE OR REPLACE PROCEDURE issue(who BIGINT UNSIGNED) BEGIN"
    "  DECLARE answer CHAR(1) DEFAULT '1';"
    "  START TRANSACTION;"
    "  UPDATE campaign SET remaining = remaining - 1 WHERE id = 1 AND remaining > 0;"
    "  IF ROW_COUNT() = 0 THEN"
    "    SET answer = IF(EXISTS (SELECT 1 FROM holder WHERE user_id = who), '2', '0');"
    "    ROLLBACK;"
    "  ELSE"
    "    INSERT IGNORE INTO holder VALUES (who);"
    "    IF ROW_COUNT() = 0 THEN SET answer = '2'; ROLLBACK; ELSE COMMIT; END IF;"
    "  END IF;"
    "  SELECT answer;"
    "END",
    "CREATE OR REPLACE PROCEDURE issue_many(who LONGTEXT, many INT) all_of_them: BEGIN"
    "  DECLARE free, taken BIGINT;"
    "  DECLARE answers TEXT CHARACTER SET latin1;"
    "  START TRANSACTION;"
    "  UPDATE campaign SET remaining = remaining - many WHERE id = 1 AND remaining >= many;"
    "  IF ROW_COUNT() = 1 THEN"
    "    EXECUTE IMMEDIATE CONCAT('INSERT IGNORE INTO holder VALUES (',"
    "      REPLACE(SUBSTR(who, 2, LENGTH(who) - 2), ',', '),('), ')');"
    "    IF ROW_COUNT() = many THEN"
    "      COMMIT;"
    "      SELECT REPEAT('1', many);"
    "      LEAVE all_of_them;"
    "    END IF;"
    "  END IF;"
    "  ROLLBACK;"
    "  START TRANSACTION;"
    "  SELECT remaining INTO free FROM campaign WHERE id = 1 FOR UPDATE;"
    "  SELECT GROUP_CONCAT(IF(held, '2', IF(nth <= free, '1', '0')) ORDER BY place SEPARATOR '') INTO answers"
    "    FROM (SELECT w.place, h.user_id IS NOT NULL AS held,"
    "            SUM(h.user_id IS NULL) OVER (ORDER BY w.place) AS nth"
    "          FROM JSON_TABLE(who, '$[*]' COLUMNS (place FOR ORDINALITY, id BIGINT UNSIGNED PATH '$')) AS w"
    "          LEFT JOIN holder h ON h.user_id = w.id) AS asked;"
    "  INSERT INTO holder SELECT w.id"
    "    FROM JSON_TABLE(who, '$[*]' COLUMNS (place FOR ORDINALITY, id BIGINT UNSIGNED PATH '$')) AS w"
    "    WHERE SUBSTR(answers, w.place, 1) = '1';"
    "  SET taken = ROW_COUNT();"
    "  UPDATE campaign SET remaining = free - taken WHERE id = 1;"
    "  COMMIT;"
    "  SELECT answers;"
    "END",
};

static bool failed(MYSQL *server) {
  fprintf(stderr, "rivals: mariadb: %s\n", mysql_error(server));
  return false;
}

/* Runs a text, a call with its several results too. The first row's first column goes to `value`, if there is one. */
static bool run(MYSQL *server, const char *text, char *value, size_t size) {
  if (mysql_query(server, text) != 0) return failed(server);
  int more = 0;
  while (more == 0) {
    MYSQL_RES *result = mysql_store_result(server);
    MYSQL_ROW row = result != NULL ? mysql_fetch_row(result) : NULL;
    if (row != NULL && row[0] != NULL && value != NULL) (void)snprintf(value, size, "%s", row[0]);
    if (result != NULL) mysql_free_result(result);
    more = mysql_next_result(server);
  }
  return more < 0 || failed(server);
}

static bool ask_number(MYSQL *server, const char *text, uint64_t *number) {
  char value[32] = "";
  if (!run(server, text, value, sizeof value)) return false;
  *number = strtoull(value, NULL, 10);
  return value[0] != '\0';
}

static void maria_disconnect(void *connection) { mysql_close(connection); }

static void *maria_connect(const char *target) {
  MYSQL *server = mysql_init(NULL);
  if (server == NULL) abort();
  /* The database is not there before prepare(), and after it is, each connection has to be told. */
  if (mysql_real_connect(server, NULL, "root", NULL, NULL, 0, target, CLIENT_MULTI_RESULTS) != NULL &&
      run(server, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", NULL, 0) &&
      run(server, "SET SESSION group_concat_max_len = 65536", NULL, 0))
    return server;
  mysql_close(server);
  return NULL;
}

static bool maria_prepare(void *connection) {
  for (size_t i = 0; i < sizeof schema / sizeof schema[0]; i++) {
    if (!run(connection, schema[i], NULL, 0)) return false;
  }
  return true;
}

static bool maria_reset(void *connection, uint64_t stock) {
  char text[96];
  (void)snprintf(text, sizeof text, "UPDATE coupon.campaign SET remaining = %" PRIu64 " WHERE id = 1", stock);
  return run(connection, "TRUNCATE coupon.holder", NULL, 0) && run(connection, text, NULL, 0);
}

static bool maria_issue(void *connection, const uint64_t *users, size_t count, char *answers) {
  static _Thread_local char text[LOAD_BATCH_MAX * NUMBER_MAX + 64], value[LOAD_BATCH_MAX + 1];
  char *at = text;
  if (count == 1) {
    (void)sprintf(at, "CALL coupon.issue(%" PRIu64 ")", users[0]);
  } else {
    at += sprintf(at, "CALL coupon.issue_many('");
    for (size_t i = 0; i < count; i++) at += sprintf(at, "%c%" PRIu64, i == 0 ? '[' : ',', users[i]);
    (void)sprintf(at, "]', %zu)", count);
  }
  value[0] = '\0';
  if (!run(connection, text, value, sizeof value) || strlen(value) != count) return false;
  memcpy(answers, value, count);
  return true;
}

static bool maria_audit(void *connection, uint64_t *held, uint64_t *left) {
  return ask_number(connection, "SELECT COUNT(*) FROM coupon.holder", held) &&
         ask_number(connection, "SELECT remaining FROM coupon.campaign WHERE id = 1", left);
}

/* The table's file, of which InnoDB takes some MB at a time. */
static bool maria_size(void *connection, uint64_t *bytes) {
  return ask_number(connection,
                    "SELECT FILE_SIZE FROM information_schema.INNODB_SYS_TABLESPACES WHERE NAME = 'coupon/holder'",
                    bytes);
}

int main(int count, char **arguments) {
  static const struct load_rival rival = {.name = "mariadb",
                                          .connect = maria_connect,
                                          .disconnect = maria_disconnect,
                                          .prepare = maria_prepare,
                                          .reset = maria_reset,
                                          .issue = maria_issue,
                                          .audit = maria_audit,
                                          .size = maria_size};
  return load_main(count, arguments, &rival);
}
