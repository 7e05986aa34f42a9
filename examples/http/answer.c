/* SPDX-License-Identifier: Apache-2.0 */
/* What goes out: the envelope of docs/HTTP.md around every answer, libh2o's own errors included. */
#include <string.h>
#include <sys/time.h>

#include "service.h"

static uint64_t now_ns(void) {
  struct timeval now;
  (void)gettimeofday(&now, NULL);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_usec * 1000;
}

/* An answer up to its message, which is the same each time. */
static void begin_envelope(struct text *to, const struct reason_words *words) {
  text_string(to, "{\"code\":");
  text_u64(to, (uint64_t)words->status);
  text_string(to, ",\"status\":\"");
  text_string(to, words->status_word);
  if (words->status != 200) {
    text_string(to, "\",\"reason\":\"");
    text_string(to, words->word);
  }
  text_string(to, "\",\"message\":");
}

static struct text beginnings[REASON_COUNT]; /* with the reasons' own messages; written before any loop runs */

void answers_prepare(void) {
  for (enum reason reason = 0; reason < REASON_COUNT; reason++) {
    const struct reason_words *words = reason_words(reason);
    begin_envelope(&beginnings[reason], words);
    text_json(&beginnings[reason], words->message, strlen(words->message));
  }
}

static void envelope(struct text *to, enum reason reason, const char *message, const struct text *data,
                     uint64_t time_ns) {
  if (message == NULL) {
    text_bytes(to, beginnings[reason].bytes, beginnings[reason].length);
  } else {
    begin_envelope(to, reason_words(reason));
    text_json(to, message, strlen(message));
  }
  if (reason_words(reason)->status != 200) {
    text_string(to, ",\"timestamp\":");
    text_time(to, time_ns);
  }
  if (data != NULL) {
    text_string(to, ",\"data\":");
    text_bytes(to, data->bytes, data->length);
  }
  text_string(to, "}");
}

void answer_count(struct loop *loop, enum reason reason) {
  /* relaxed: a figure, with one writer. */
  _Atomic uint64_t *counter = &loop->answers[reason];
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

static void add_header(h2o_req_t *req, const char *name, const char *value, size_t length) {
  h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 0, NULL, value, length);
}

static void send_all(struct request *request, enum reason reason, const char *content_type, unsigned retry_after,
                     h2o_iovec_t body) {
  static h2o_generator_t generator = {NULL, NULL};
  h2o_req_t *req = request->req;
  const struct reason_words *words = reason_words(reason);
  req->res.status = words->status;
  req->res.reason = words->phrase;
  req->res.content_length = body.len; /* without it libh2o would close the connection to mark the end */
  h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, content_type, strlen(content_type));
  if (retry_after > 0) {
    char *seconds = h2o_mem_alloc_pool(&req->pool, 16);
    add_header(req, "retry-after", seconds, (size_t)snprintf(seconds, 16, "%u", retry_after));
  }
  if (words->status == 401)
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_WWW_AUTHENTICATE, NULL, H2O_STRLIT("Bearer"));
  if (request->request_id.len > 0) add_header(req, "x-request-id", request->request_id.base, request->request_id.len);
  answer_count(request->loop, reason);
  connection_enter(request->connection, PHASE_SENDING);
  h2o_start_response(req, &generator);
  h2o_send(req, &body, request_is_head(req) ? 0 : 1, H2O_SEND_STATE_FINAL);
}

/* Into the request's pool: libh2o may go on sending when this has returned. */
static h2o_iovec_t keep(h2o_req_t *req, struct text *body) {
  h2o_iovec_t kept = {h2o_mem_alloc_pool(&req->pool, body->length), body->length};
  memcpy(kept.base, body->bytes, body->length);
  text_free(body);
  return kept;
}

static const char json_type[] = "application/json; charset=utf-8";

static void answer_all(struct request *request, enum reason reason, const char *message, unsigned retry_after,
                       struct text *data) {
  struct text body = TEXT_INIT;
  envelope(&body, reason, message, data, loop_wall_ns(request->loop));
  if (data != NULL) text_free(data);
  send_all(request, reason, json_type, retry_after, keep(request->req, &body));
}

void answer(struct request *request, enum reason reason, const char *message, struct text *data) {
  answer_all(request, reason, message, reason_words(reason)->retry_after, data);
}

void answer_member(struct request *request, enum reason reason, const struct json_member *member) {
  char message[128];
  (void)snprintf(message, sizeof message, "%s: %s.", reason_words(reason)->message, member->name);
  answer(request, reason, message, NULL);
}

void answer_retry(struct request *request, enum reason reason, unsigned seconds) {
  answer_all(request, reason, NULL, seconds, NULL);
}

void answer_bytes(struct request *request, enum reason reason, const char *content_type, struct text *body) {
  send_all(request, reason, content_type, 0, keep(request->req, body));
}

void answer_raw(enum reason reason, struct text *to) {
  const struct reason_words *words = reason_words(reason);
  struct text body = TEXT_INIT;
  envelope(&body, reason, NULL, NULL, now_ns());
  text_string(to, "HTTP/1.1 ");
  text_u64(to, (uint64_t)words->status);
  text_string(to, " ");
  text_string(to, words->phrase);
  text_string(to, "\r\nConnection: close\r\nContent-Type: ");
  text_string(to, json_type);
  if (words->retry_after > 0) {
    text_string(to, "\r\nRetry-After: ");
    text_u64(to, words->retry_after);
  }
  text_string(to, "\r\nContent-Length: ");
  text_u64(to, body.length);
  text_string(to, "\r\n\r\n");
  text_bytes(to, body.bytes, body.length);
  text_free(&body);
}

/* --- libh2o's own errors -------------------------------------------------------------------------- */

struct rewriting {
  h2o_ostream_t super;
  h2o_iovec_t body;
};

static void send_rewritten(h2o_ostream_t *stream, h2o_req_t *req, h2o_iovec_t *theirs, size_t count_of_theirs,
                           h2o_send_state_t state) {
  (void)theirs, (void)count_of_theirs, (void)state; /* all of it in one piece */
  struct rewriting *rewriting = (struct rewriting *)stream;
  h2o_ostream_send_next(&rewriting->super, req, &rewriting->body, request_is_head(req) ? 0 : 1, H2O_SEND_STATE_FINAL);
}

static enum reason reason_of_their_status(int status) {
  switch (status) {
    case 413:
      return REASON_BODY_TOO_LARGE;
    case 417:
      return REASON_EXPECTATION_FAILED;
    case 404:
      return REASON_PATH_UNKNOWN;
    default:
      return REASON_REQUEST_MALFORMED;
  }
}

static void set_up_rewriting(h2o_filter_t *filter, h2o_req_t *req, h2o_ostream_t **slot) {
  struct connection *connection = connection_of(req);
  if (connection->phase == PHASE_READING) { /* ours are being sent by now: this request never reached us */
    enum reason reason = reason_of_their_status(req->res.status);
    struct text body = TEXT_INIT;
    envelope(&body, reason, NULL, NULL, loop_wall_ns(connection->loop));
    struct rewriting *rewriting = (struct rewriting *)h2o_add_ostream(req, sizeof *rewriting, slot);
    rewriting->super.do_send = send_rewritten;
    rewriting->body = keep(req, &body);
    req->res.status = reason_words(reason)->status;
    req->res.reason = reason_words(reason)->phrase;
    req->res.content_length = rewriting->body.len;
    req->res.headers = (h2o_headers_t){0};
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, json_type, sizeof json_type - 1);
    answer_count(connection->loop, reason);
    connection_enter(connection, PHASE_SENDING);
    connection_linger(connection);
    slot = &rewriting->super.next;
  }
  h2o_setup_next_ostream(req, slot);
  (void)filter;
}

void answer_rewrite_errors(h2o_pathconf_t *pathconf) {
  h2o_filter_t *filter = h2o_create_filter(pathconf, sizeof *filter);
  filter->on_setup_ostream = set_up_rewriting;
}
