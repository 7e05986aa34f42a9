/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections and their limits. libh2o has one time-out for everything, closes without a word, and takes headers of
 * 400 KB; so a sweep looks at every connection 50 times a second, and tells those beyond a limit what is wrong.
 *
 * libh2o keeps its connection to itself; what we have is its socket: the input that was not consumed yet begins with
 * the request that is being read. To end a connection we shut the socket down, upon which libh2o closes it.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service.h"

static const uint64_t linger_ms = 1000;

struct connection *connection_of(h2o_req_t *req) {
  return req->conn->callbacks->get_socket(req->conn)->on_close.data;
}

void connection_enter(struct connection *connection, enum phase phase) {
  connection->phase = phase;
  connection->since_ms = loop_now_ms(connection->loop);
  if (phase != PHASE_READING) return;
  connection->head_ms = 0;
  connection->body_ms = 0;
  connection->looked_at = 0;
}

static void on_read_ahead(h2o_socket_t *socket, const char *error) {
  struct connection *connection = socket->on_close.data;
  const struct options *options = &connection->loop->service->options;
  /* An end is only noted: the client may have closed its sending side and still want the answer. If it is gone, writing
   * to it will tell. */
  if (error != NULL || socket->input->size > options->max_header_bytes + options->max_body_bytes)
    h2o_socket_read_stop(socket);
}

void connection_read_ahead(struct connection *connection) { h2o_socket_read_start(connection->socket, on_read_ahead); }

/* --- lingering ----------------------------------------------------------------------------------- */

static void linger(struct loop *loop, int fd) {
  if (loop->lingering_count == LINGERING_MAX) {
    (void)close(fd);
    return;
  }
  /* Our side is done: the answer, then the end. */
  (void)shutdown(fd, SHUT_WR);
  loop->lingering[loop->lingering_count++] = (struct lingering){.fd = fd, .until_ms = loop_now_ms(loop) + linger_ms};
}

void connection_linger(struct connection *connection) {
  /* A second descriptor, because libh2o is about to close the first. */
  if (connection->linger_fd < 0) connection->linger_fd = dup(h2o_socket_get_fd(connection->socket));
}

/* Throws away what came. True when nothing more will, or the time is up. */
static bool drained(const struct lingering *lingering, uint64_t now_ms) {
  char scrap[16384];
  ssize_t got = recv(lingering->fd, scrap, sizeof scrap, MSG_DONTWAIT);
  if (got == 0 || now_ms >= lingering->until_ms) return true;
  return got < 0 && errno != EAGAIN && errno != EINTR;
}

static void sweep_lingering(struct loop *loop, uint64_t now_ms) {
  for (size_t i = 0; i < loop->lingering_count;) {
    if (drained(&loop->lingering[i], now_ms)) {
      (void)close(loop->lingering[i].fd);
      loop->lingering[i] = loop->lingering[--loop->lingering_count];
    } else {
      i++;
    }
  }
}

/* --- opening and closing ------------------------------------------------------------------------- */

static void on_close(void *data) {
  struct connection *connection = data;
  struct loop *loop = connection->loop;
  h2o_linklist_unlink(&connection->link);
  loop->connection_count--;
  atomic_fetch_sub_explicit(&loop->service->connections, 1, memory_order_relaxed); /* relaxed: it only counts */
  if (connection->linger_fd >= 0) linger(loop, connection->linger_fd);
  free(connection);
}

/* Says `reason` past libh2o; whatever does not fit into the socket's buffer is lost, and an answer always does. */
static void tell(struct loop *loop, int fd, enum reason reason) {
  struct text raw = TEXT_INIT;
  answer_raw(reason, &raw);
  ssize_t ignored = send(fd, raw.bytes, raw.length, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)ignored;
  text_free(&raw);
  answer_count(loop, reason);
}

void connection_accept(struct loop *loop, h2o_socket_t *socket) {
  struct service *service = loop->service;
  /* relaxed, here and below: it only counts, and a fetch-and-add alone keeps the limit exact. */
  uint64_t before = atomic_fetch_add_explicit(&service->connections, 1, memory_order_relaxed);
  if (before >= service->options.max_connections) {
    atomic_fetch_sub_explicit(&service->connections, 1, memory_order_relaxed);
    int fd = dup(h2o_socket_get_fd(socket));
    tell(loop, h2o_socket_get_fd(socket), REASON_TOO_MANY_CONNECTIONS);
    h2o_socket_close(socket);
    if (fd >= 0) linger(loop, fd);
    return;
  }
  struct connection *connection = h2o_mem_alloc(sizeof *connection);
  *connection = (struct connection){.loop = loop, .socket = socket, .linger_fd = -1};
  connection_enter(connection, PHASE_READING);
  h2o_linklist_insert(&loop->connections, &connection->link);
  loop->connection_count++;
  socket->on_close.cb = on_close;
  socket->on_close.data = connection;
  struct timeval now = *h2o_get_timestamp(&loop->context, NULL, NULL);
  h2o_http1_accept(&loop->accept, socket, now);
}

/* --- limits -------------------------------------------------------------------------------------- */

static void cut(struct connection *connection) { (void)shutdown(h2o_socket_get_fd(connection->socket), SHUT_RDWR); }

/* The client may go on sending for a moment: the reading side stays open, or a reset would overtake the answer. */
static void refuse(struct connection *connection, enum reason reason) {
  int fd = h2o_socket_get_fd(connection->socket);
  tell(connection->loop, fd, reason);
  (void)shutdown(fd, SHUT_WR);
  connection_enter(connection, PHASE_REFUSED);
}

/* Whether the input holds the end of the headers; both kinds of line ends that libh2o's parser takes. */
static bool head_is_complete(struct connection *connection) {
  h2o_buffer_t *input = connection->socket->input;
  /* An end may lie across the place up to which we have looked. */
  size_t from = connection->looked_at > 3 ? connection->looked_at - 3 : 0;
  size_t length = input->size - from;
  connection->looked_at = input->size;
  return memmem(input->bytes + from, length, "\n\r\n", 3) != NULL ||
         memmem(input->bytes + from, length, "\n\n", 2) != NULL;
}

static void sweep_request(struct connection *connection, uint64_t now_ms) {
  const struct options *options = &connection->loop->service->options;
  size_t size = connection->socket->input->size;
  if (connection->head_ms == 0) connection->head_ms = now_ms;
  if (connection->body_ms == 0) {
    if (size != connection->looked_at && head_is_complete(connection))
      connection->body_ms = now_ms;
    else if (size > options->max_header_bytes)
      refuse(connection, REASON_HEADERS_TOO_LARGE);
    else if (now_ms - connection->head_ms > options->header_timeout_ms)
      refuse(connection, REASON_REQUEST_TIMEOUT);
  } else if (now_ms - connection->body_ms > options->body_timeout_ms) {
    refuse(connection, REASON_REQUEST_TIMEOUT);
  }
}

static void sweep(struct connection *connection, uint64_t now_ms) {
  struct loop *loop = connection->loop;
  const struct options *options = &loop->service->options;
  uint64_t for_ms = now_ms - connection->since_ms;
  switch (connection->phase) {
    case PHASE_READING:
      if (connection->socket->input->size > 0)
        sweep_request(connection, now_ms);
      else if (for_ms > options->idle_timeout_ms || loop->drain_ms != 0)
        cut(connection);
      break;
    case PHASE_WORKING: /* has limits of its own: see waiting_expire() */
      break;
    case PHASE_SENDING:
      if (for_ms > options->write_timeout_ms) cut(connection);
      break;
    case PHASE_REFUSED:
      if (for_ms > linger_ms) cut(connection);
      break;
  }
}

void connections_sweep(struct loop *loop) {
  uint64_t now_ms = loop_now_ms(loop);
  /* Nothing is closed here, only shut down: the list stays as it is. */
  for (h2o_linklist_t *at = loop->connections.next; at != &loop->connections; at = at->next)
    sweep(H2O_STRUCT_FROM_MEMBER(struct connection, link, at), now_ms);
  sweep_lingering(loop, now_ms);
}

void connections_cut(struct loop *loop) {
  for (h2o_linklist_t *at = loop->connections.next; at != &loop->connections; at = at->next)
    cut(H2O_STRUCT_FROM_MEMBER(struct connection, link, at));
}
