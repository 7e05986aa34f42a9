/* SPDX-License-Identifier: Apache-2.0 */
/* Judges answers: headers, the envelope of docs/HTTP.md, values in JSON, samples of metrics. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yajl/yajl_parse.h>
#include <yajl/yajl_tree.h>

#include "http/client.h"

/* --- JSON ---------------------------------------------------------------------------------------- */

bool json_valid(const char *text, size_t length) {
  yajl_handle parser = yajl_alloc(NULL, NULL, NULL);
  SERVICE_CHECK(parser != NULL);
  /* It checks UTF-8, and refuses anything behind the value, by itself. */
  bool valid = yajl_parse(parser, (const unsigned char *)text, length) == yajl_status_ok &&
               yajl_complete_parse(parser) == yajl_status_ok;
  yajl_free(parser);
  return valid;
}

static yajl_val member_of(yajl_val value, const char *name, size_t length) {
  if (YAJL_IS_ARRAY(value)) {
    size_t index = strtoul(name, NULL, 10);
    return index < value->u.array.len ? value->u.array.values[index] : NULL;
  }
  for (size_t i = 0; YAJL_IS_OBJECT(value) && i < value->u.object.len; i++)
    if (strlen(value->u.object.keys[i]) == length && memcmp(value->u.object.keys[i], name, length) == 0)
      return value->u.object.values[i];
  return NULL;
}

static void write_value(yajl_val value, char *text, size_t capacity) {
  if (YAJL_IS_STRING(value))
    (void)snprintf(text, capacity, "%s", value->u.string);
  else if (YAJL_IS_NUMBER(value))
    (void)snprintf(text, capacity, "%s", value->u.number.r);
  else if (YAJL_IS_ARRAY(value))
    (void)snprintf(text, capacity, "%zu", value->u.array.len);
  else
    (void)snprintf(text, capacity, "%s",
                   YAJL_IS_TRUE(value)    ? "true"
                   : YAJL_IS_FALSE(value) ? "false"
                   : YAJL_IS_NULL(value)  ? "null"
                                          : "{}");
}

bool json_get(const char *text, const char *path, char *value, size_t capacity) {
  char error[256];
  yajl_val root = yajl_tree_parse(text, error, sizeof error), at = root;
  while (at != NULL && *path != 0) {
    size_t length = strcspn(path, ".");
    at = member_of(at, path, length);
    path += length + (path[length] == '.');
  }
  bool found = at != NULL;
  if (found) write_value(at, value, capacity);
  yajl_tree_free(root);
  return found;
}

bool has(const struct answer *answer, const char *path, const char *value) {
  static char found[65536];
  return json_get(answer->body, path, found, sizeof found) && strcmp(found, value) == 0;
}

/* --- the envelope -------------------------------------------------------------------------------- */

const char *header(const struct answer *answer, const char *name) {
  static char value[1024];
  size_t length = strlen(name);
  for (const char *line = strstr(answer->headers, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
    line += 2;
    if (strncasecmp(line, name, length) != 0 || line[length] != ':') continue;
    line += length + 1 + strspn(line + length + 1, " \t");
    (void)snprintf(value, sizeof value, "%.*s", (int)strcspn(line, "\r"), line);
    return value;
  }
  return NULL;
}

static const char *word_of(int status) {
  static const struct {
    int status;
    const char *word;
  } words[] = {{200, "OK"},
               {400, "BAD_REQUEST"},
               {401, "UNAUTHORIZED"},
               {403, "FORBIDDEN"},
               {404, "NOT_FOUND"},
               {405, "METHOD_NOT_ALLOWED"},
               {408, "REQUEST_TIMEOUT"},
               {409, "CONFLICT"},
               {413, "CONTENT_TOO_LARGE"},
               {417, "EXPECTATION_FAILED"},
               {429, "TOO_MANY_REQUESTS"},
               {431, "REQUEST_HEADER_FIELDS_TOO_LARGE"},
               {503, "SERVICE_UNAVAILABLE"}};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (words[i].status == status) return words[i].word;
  return "?";
}

/* 2026-03-27T10:31:48, and perhaps a fraction of one to nine digits. */
static bool is_time(const char *text) {
  const char *form = "dddd-dd-ddTdd:dd:dd";
  for (; *form != 0; form++, text++)
    if (*form == 'd' ? !isdigit((unsigned char)*text) : *text != *form) return false;
  if (*text == 0) return true;
  size_t digits = strspn(text + 1, "0123456789");
  return *text == '.' && digits >= 1 && digits <= 9 && text[1 + digits] == 0;
}

/* Whether members and status line agree. */
static const char *envelope(const struct answer *answer, int status) {
  char number[16], message[1024];
  (void)snprintf(number, sizeof number, "%d", status);
  if (answer == NULL) return "there is no answer";
  if (answer->status != status) return "another status";
  if (header(answer, "Content-Type") == NULL ||
      strncmp(header(answer, "Content-Type"), "application/json", strlen("application/json")) != 0)
    return "not called JSON";
  if (!has(answer, "code", number)) return "`code` is not the status";
  if (!has(answer, "status", word_of(status))) return "`status` is not the status's word";
  if (!json_get(answer->body, "message", message, sizeof message) || message[0] == 0) return "no message";
  return NULL;
}

const char *not_ok(const struct answer *answer) {
  char value[64];
  const char *wrong = envelope(answer, 200);
  if (wrong == NULL && json_get(answer->body, "reason", value, sizeof value)) wrong = "a success with a reason";
  return wrong;
}

/* What waits or asks again later is told when; what will never work is not. */
static bool needs_retry_after(const char *reason) {
  static const char *const later[] = {"not_open",         "signin_rate",          "busy",
                                      "too_many_waiting", "too_many_connections", "signin_busy",
                                      "outcome_unknown",  "out_of_memory"};
  for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
    if (strcmp(later[i], reason) == 0) return true;
  return false;
}

const char *not_refused(const struct answer *answer, int status, const char *reason) {
  char value[64];
  const char *wrong = envelope(answer, status);
  if (wrong != NULL) return wrong;
  if (!has(answer, "reason", reason)) return "another reason";
  if (!json_get(answer->body, "timestamp", value, sizeof value) || !is_time(value)) return "no timestamp";
  const char *later = header(answer, "Retry-After");
  if ((later != NULL) != needs_retry_after(reason)) return later == NULL ? "no Retry-After" : "a Retry-After";
  if (later != NULL && (*later == 0 || later[strspn(later, "0123456789")] != 0)) return "Retry-After is no number";
  return NULL;
}

/* --- metrics ------------------------------------------------------------------------------------- */

double metric(const struct service *service, const char *sample) {
  const struct answer *answer = ask(service, "GET", "/metrics", NULL, NULL);
  size_t length = strlen(sample);
  for (const char *line = answer->body; line != NULL; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, sample, length) == 0 && line[length] == ' ') return strtod(line + length, NULL);
  }
  return -1;
}

void await_metric(const struct service *service, const char *sample, double value) {
  for (long waited = 0; metric(service, sample) != value; waited += 5) {
    if (waited > SERVICE_PATIENCE_MS) service_die("%s does not become %g", sample, value);
    service_sleep_ms(5);
  }
}
