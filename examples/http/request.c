/* SPDX-License-Identifier: Apache-2.0 */
/* From libh2o to the handler of a path: what is looked at before, in the order docs/HTTP.md gives. */
#include <string.h>

#include "service.h"

enum need { NEED_NOTHING, NEED_TOKEN, NEED_ADMIN };

struct route {
  const char *path;
  const char *method;
  enum need need;
  void (*handle)(struct request *request);
};

static const struct route routes[] = {
    {"/api/v1/user-coupon", "POST", NEED_TOKEN, handle_issue},
    {"/api/v1/user-coupon", "GET", NEED_TOKEN, handle_mine},
    {"/api/v1/auth/signin", "POST", NEED_NOTHING, handle_signin},
    {"/api/v1/coupons", "POST", NEED_ADMIN, handle_create_coupon},
    {"/api/v1/health", "GET", NEED_NOTHING, handle_health},
    {"/health", "GET", NEED_NOTHING, handle_health},
    {"/metrics", "GET", NEED_NOTHING, handle_metrics},
};
enum { ROUTES = sizeof routes / sizeof routes[0] };

static bool is(h2o_iovec_t bytes, const char *string) {
  return bytes.len == strlen(string) && memcmp(bytes.base, string, bytes.len) == 0;
}

bool request_is_head(const h2o_req_t *req) { return is(req->input.method, "HEAD"); }

/* HEAD is GET whose body is not sent. */
static bool has_method(const struct request *request, const char *method) {
  return is(request->req->method, method) || (strcmp(method, "GET") == 0 && request_is_head(request->req));
}

/* The request is over: its answer has gone out, or its client has. Both on the loop's thread. */
static void dispose(void *memory) {
  struct request *request = memory;
  if (request->waiting_index != SIZE_MAX) waiting_remove(request);
  if (request->job_reference != NULL) *request->job_reference = NULL;
  connection_enter(request->connection, PHASE_READING);
}

static struct request *create(h2o_req_t *req) {
  struct request *request = h2o_mem_alloc_shared(&req->pool, sizeof *request, dispose);
  *request = (struct request){.req = req,
                              .loop = loop_of(req),
                              .connection = connection_of(req),
                              .ticket = COUPON_TICKET_INIT,
                              .waiting_index = SIZE_MAX};
  connection_enter(request->connection, PHASE_WORKING);
  return request;
}

/* An id to send back, if it is one that can do no harm in a header or a log. */
static void take_request_id(struct request *request) {
  static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  h2o_req_t *req = request->req;
  ssize_t at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("x-request-id"), -1);
  if (at == -1) return;
  h2o_iovec_t id = req->headers.entries[at].value;
  if (id.len > 64) return;
  for (size_t i = 0; i < id.len; i++)
    if (id.base[i] == '\0' || strchr(good, id.base[i]) == NULL) return;
  request->request_id = h2o_strdup(&req->pool, id.base, id.len);
}

/* The length of request line and headers, as far as they were kept. */
static bool head_is_too_large(const struct request *request) {
  const h2o_req_t *req = request->req;
  size_t limit = request->loop->service->options.max_header_bytes;
  if (request->connection->socket->input->size <= limit) return false;
  size_t size = req->method.len + req->path.len + req->authority.len;
  for (size_t i = 0; i < req->headers.size; i++)
    size += req->headers.entries[i].name->len + req->headers.entries[i].value.len + 4; /* ": " and the line's end */
  return size > limit;
}

/* Whether a header line of the request, as it was received, is of this name, which libh2o has put into lower case. */
static bool line_is(const char *line, const char *end, const char *name) {
  size_t length = strlen(name);
  return (size_t)(end - line) > length && memcmp(line, name, length) == 0;
}

/* How many headers say how long the body is, and which host is meant. libh2o takes one of them and hides the others;
 * but a proxy before us may have taken another, and then the two disagree on where the next request begins (RFC 9112,
 * 6.3). */
struct counted {
  unsigned lengths, hosts;
};

static struct counted count_headers(const h2o_buffer_t *input) {
  const char *end = input->bytes + input->size;
  struct counted counted = {0, 0};
  for (const char *line = input->bytes;;) {
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    if (newline == NULL) return counted;
    line = newline + 1;
    if (line == end || *line == '\n' || *line == '\r') return counted;
    counted.lengths += line_is(line, end, "content-length") || line_is(line, end, "transfer-encoding");
    counted.hosts += line_is(line, end, "host:");
  }
}

enum { HTTP_1_1 = 0x101 };

/* What a server has to refuse (RFC 9112, 3.2 and 6.3): a proxy before us may have read it otherwise. */
static bool headers_are_ambiguous(const struct request *request) {
  const h2o_req_t *req = request->req;
  const struct counted counted = count_headers(request->connection->socket->input);
  return (req->entity.base != NULL && counted.lengths > 1) || counted.hosts > 1 ||
         (req->version >= HTTP_1_1 && counted.hosts == 0);
}

/* A target is a path, or a whole URL, which a server has to accept as well (RFC 9112, 3.2.2): then what counts is the
 * URL's path. "*" is neither, and no route. */
static bool read_target(h2o_req_t *req) {
  h2o_url_t url;
  size_t *indexes = NULL;
  if (req->path.len > 0 && req->path.base[0] == '/') return true;
  if (is(req->path, "*")) return true;
  /* A scheme is of any case, and libh2o knows it in one. */
  h2o_iovec_t text = h2o_strdup(&req->pool, req->path.base, req->path.len);
  for (size_t i = 0; i < text.len && text.base[i] != ':'; i++) text.base[i] = (char)h2o_tolower(text.base[i]);
  if (h2o_url_parse(text.base, text.len, &url) != 0) return false;
  req->path_normalized = h2o_url_normalize_path(&req->pool, url.path.base, url.path.len, &req->query_at, &indexes);
  return true;
}

static void answer_and_close(struct request *request, enum reason reason) {
  request->req->http1_is_persistent = 0;
  connection_linger(request->connection);
  answer(request, reason, NULL, NULL);
}

static void answer_method(struct request *request, h2o_iovec_t path) {
  h2o_req_t *req = request->req;
  char *allow = h2o_mem_alloc_pool(&req->pool, 32);
  allow[0] = '\0';
  for (size_t i = 0; i < ROUTES; i++) {
    if (!is(path, routes[i].path)) continue;
    if (allow[0] != '\0') (void)strcat(allow, ", ");
    (void)strcat(allow, strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : routes[i].method);
  }
  h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("allow"), 0, NULL, allow, strlen(allow));
  answer(request, REASON_METHOD_NOT_ALLOWED, NULL, NULL);
}

static const struct route *find_route(struct request *request) {
  h2o_req_t *req = request->req;
  bool path_exists = false;
  for (size_t i = 0; i < ROUTES; i++) {
    if (!is(req->path_normalized, routes[i].path)) continue;
    if (has_method(request, routes[i].method)) return &routes[i];
    path_exists = true;
  }
  if (path_exists)
    answer_method(request, req->path_normalized);
  else
    answer(request, REASON_PATH_UNKNOWN, NULL, NULL);
  return NULL;
}

static bool admit(struct request *request, enum need need) {
  if (need == NEED_NOTHING) return true;
  h2o_req_t *req = request->req;
  ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_AUTHORIZATION, -1);
  h2o_iovec_t header = {NULL, 0};
  if (at != -1) header = req->headers.entries[at].value;
  uint64_t now = loop_wall_ns(request->loop) / 1000000000;
  enum reason reason = token_check(request->loop->signer, header.base, header.len, now, &req->pool, &request->claims);
  if (reason == REASON_OK && need == NEED_ADMIN && request->claims.role != ROLE_ADMIN) reason = REASON_ADMIN_REQUIRED;
  if (reason == REASON_OK) return true;
  answer(request, reason, NULL, NULL);
  return false;
}

int request_begin(h2o_handler_t *handler, h2o_req_t *req) {
  (void)handler;
  struct request *request = create(req);
  take_request_id(request);
  const bool is_target = read_target(req);
  const char *constant = request->loop->service->options.constant;
  if (constant != NULL && is(req->path_normalized, constant)) {
    handle_constant(request);
    return 0;
  }
  if (head_is_too_large(request)) {
    answer_and_close(request, REASON_HEADERS_TOO_LARGE);
    return 0;
  }
  if (!is_target || headers_are_ambiguous(request)) {
    answer_and_close(request, REASON_REQUEST_MALFORMED);
    return 0;
  }
  const struct route *route = find_route(request);
  if (route != NULL && admit(request, route->need)) route->handle(request);
  return 0;
}

bool request_body(struct request *request, struct json_member *members, size_t count) {
  h2o_req_t *req = request->req;
  enum reason reason = REASON_BODY_MISSING;
  if (req->entity.len > 0) {
    char *arena = h2o_mem_alloc_pool(&req->pool, req->entity.len);
    if (json_read(req->entity.base, req->entity.len, arena, members, count)) return true;
    reason = REASON_BODY_MALFORMED;
  }
  answer(request, reason, NULL, NULL);
  return false;
}

bool request_submit(struct request *request, struct job *job, struct request **reference, enum reason busy) {
  job->message = (h2o_multithread_message_t){0};
  job->from = &request->loop->jobs;
  *reference = request;
  request->job_reference = reference;
  request->loop->jobs_out++;
  if (workers_submit(&request->loop->service->workers, job)) return true;
  request->loop->jobs_out--;
  request->job_reference = NULL;
  answer(request, busy, NULL, NULL);
  return false;
}
