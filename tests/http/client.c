/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "http/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/token.h"

#define BUFFER_SIZE (ANSWER_HEADERS_MAX + ANSWER_BODY_MAX)

/* --- connections --------------------------------------------------------------------------------- */

int client_socket(const struct service *service) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(service->port)};
  struct timeval patience = {SERVICE_PATIENCE_MS / 1000, 0};
  const int yes = 1;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int socket_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  SERVICE_CHECK(socket_ >= 0);
  (void)setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  (void)setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  (void)setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(socket_, (const struct sockaddr *)&address, sizeof address) == 0) return socket_;
  (void)close(socket_);
  return -1;
}

void client_open(struct client *client, const struct service *service) {
  *client = (struct client){client_socket(service), 0, malloc(BUFFER_SIZE)};
  SERVICE_CHECK(client->socket >= 0 && client->buffer != NULL);
}

void client_close(struct client *client) {
  (void)close(client->socket);
  free(client->buffer);
  *client = (struct client){-1, 0, NULL};
}

void client_reset(struct client *client) {
  struct linger none = {1, 0};
  SERVICE_CHECK(setsockopt(client->socket, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0);
  client_close(client);
}

bool client_send(const struct client *client, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t sent = send(client->socket, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) service_die("the service does not take a request");
    if (sent < 0) return false;
    bytes += sent;
    length -= (size_t)sent;
  }
  return true;
}

bool client_say(const struct client *client, const char *text) { return client_send(client, text, strlen(text)); }

/* Reads what there is, and waits for it. False: the end. */
static bool read_more(struct client *client) {
  SERVICE_CHECK(client->used < BUFFER_SIZE);
  ssize_t got;
  do got = recv(client->socket, client->buffer + client->used, BUFFER_SIZE - client->used, 0);
  while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) service_die("the service does not answer");
  if (got <= 0) return false; /* closed or reset: the same to who waits for an answer */
  client->used += (size_t)got;
  return true;
}

bool client_sees_end(struct client *client) { return client->used == 0 && !read_more(client); }

bool client_has_something(const struct client *client) {
  struct pollfd ready = {client->socket, POLLIN, 0};
  return client->used > 0 || poll(&ready, 1, 0) == 1;
}

/* The number of bytes in front of the body (0: not all there), and of the body's (SIZE_MAX: up to the end). */
static size_t head_of(const struct client *client, struct answer *answer, size_t *length) {
  const char *end = memmem(client->buffer, client->used, "\r\n\r\n", 4);
  if (end == NULL) return 0;
  size_t head = (size_t)(end - client->buffer) + 4;
  SERVICE_CHECK(head < sizeof answer->headers);
  memcpy(answer->headers, client->buffer, head);
  answer->headers[head] = 0;
  if (sscanf(answer->headers, "HTTP/1.%*1[01] %3d ", &answer->status) != 1)
    service_die("not an answer: %s", answer->headers);
  const char *said = header(answer, "Content-Length");
  bool bodiless = answer->status < 200 || answer->status == 204 || answer->status == 304;
  *length = bodiless ? 0 : said == NULL ? SIZE_MAX : strtoul(said, NULL, 10);
  if (header(answer, "Transfer-Encoding") != NULL) service_die("a chunked answer: %s", answer->headers);
  return head;
}

const struct answer *client_receive(struct client *client) {
  static struct answer answers[ANSWERS];
  static unsigned next;
  struct answer *answer = &answers[next++ % ANSWERS];
  size_t head, length;
  while ((head = head_of(client, answer, &length)) == 0)
    if (!read_more(client)) return NULL;
  while (length == SIZE_MAX || client->used < head + length) {
    if (read_more(client)) continue;
    if (length != SIZE_MAX) service_die("an answer that is cut off: %s", answer->headers);
    length = client->used - head;
  }
  SERVICE_CHECK(length <= ANSWER_BODY_MAX);
  memcpy(answer->body, client->buffer + head, length);
  answer->body[length] = 0;
  answer->length = length;
  client->used -= head + length;
  memmove(client->buffer, client->buffer + head + length, client->used);
  const char *type = header(answer, "Content-Type");
  if (type != NULL && strstr(type, "json") != NULL && !json_valid(answer->body, length))
    service_die("not JSON: %s", answer->body);
  return answer;
}

/* --- requests ------------------------------------------------------------------------------------ */

const char *request(const char *method, const char *path, const char *headers, const char *body) {
  static char texts[REQUESTS][65536];
  static unsigned next;
  char *text = texts[next++ % REQUESTS], length[64] = "";
  if (body != NULL) (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n", strlen(body));
  size_t size = (size_t)snprintf(text, sizeof texts[0], "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s%s\r\n%s", method, path,
                                 headers == NULL ? "" : headers, length, body == NULL ? "" : body);
  SERVICE_CHECK(size < sizeof texts[0]);
  return text;
}

const char *authorization(const char *token) {
  static char text[8192];
  SERVICE_CHECK((size_t)snprintf(text, sizeof text, "Authorization: %s\r\n", token) < sizeof text);
  return text;
}

const struct answer *ask_with(const struct service *service, const char *method, const char *path, const char *headers,
                              const char *body) {
  struct client client;
  client_open(&client, service);
  (void)client_say(&client, request(method, path, headers, body));
  const struct answer *answer = client_receive(&client);
  if (answer == NULL) service_die("%s %s: closed without an answer", method, path);
  client_close(&client);
  return answer;
}

const struct answer *ask(const struct service *service, const char *method, const char *path, const char *token,
                         const char *body) {
  return ask_with(service, method, path, token == NULL ? NULL : authorization(token), body);
}

const struct answer *issue(const struct service *service, const char *token, uint64_t coupon) {
  char body[64];
  (void)snprintf(body, sizeof body, "{\"couponId\":%" PRIu64 "}", coupon);
  return ask(service, "POST", ISSUE, token, body);
}

void create_coupon(const struct service *service, uint64_t id, uint64_t quantity, const char *more) {
  char body[4096];
  (void)snprintf(body, sizeof body,
                 "{\"id\":%" PRIu64 ",\"name\":\"coupon %" PRIu64 "\",\"description\":\"one of many\","
                 "\"discountAmount\":1000,\"quantity\":%" PRIu64 "%s}",
                 id, id, quantity, more);
  const struct answer *answer = ask(service, "POST", COUPONS, token_for(service, 1, "ADMIN"), body);
  if (not_ok(answer) != NULL) service_die("no coupon: %s", answer->body);
}
