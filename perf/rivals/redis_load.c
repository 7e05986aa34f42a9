/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Redis, on a unix socket: a set of users and a number, moved by one Lua script, which Redis runs alone. A batch is a
 * pipeline: its requests are sent at once, then its replies are awaited. --target SOCKET. The other arguments are
 * those of load.c.
 *
 * One thread asks for many clients, with epoll: a thread for each would take from the server the processor that it
 * needs, and the measurement would be that of the scheduler.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "load.h"

/* A request is about 110 bytes long. */
#define REQUEST_MAX 128

/* Two writes for an issue, none for a repeat. Who came too late is taken out again. */
static const char script[] = "if redis.call('SADD', KEYS[2], ARGV[1]) == 0 then return 2 end "
                             "if redis.call('DECR', KEYS[1]) >= 0 then return 1 end "
                             "redis.call('INCR', KEYS[1]) redis.call('SREM', KEYS[2], ARGV[1]) return 0";

struct redis {
  int socket;
  char digest[41]; /* of the script, by which the server knows it */
  size_t asked, answered;
  size_t to_send, sent; /* bytes of `out` */
  size_t filled;        /* bytes of `in` that are not understood yet */
  uint64_t users[LOAD_BATCH_MAX];
  char answers[LOAD_BATCH_MAX];
  char out[LOAD_BATCH_MAX * REQUEST_MAX];
  char in[8192];
};

/* --- One command, waiting --------------------------------------------------------------------- */

static bool send_all(int socket, const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t sent = send(socket, bytes, count, MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) return false;
    if (sent > 0) bytes += sent, count -= (size_t)sent;
  }
  return true;
}

/* Reads up to and with the end of a line. One byte at a time: it is never used while anything is timed. */
static bool read_line(int socket, char *line, size_t size) {
  for (size_t at = 0; at + 1 < size; at++) {
    if (recv(socket, line + at, 1, 0) != 1) return false;
    line[at + 1] = '\0';
    if (line[at] == '\n') return true;
  }
  return false;
}

/* Sends a line, as a person at a terminal would, and reads the reply's first line. */
static bool command(struct redis *redis, const char *text, char *reply, size_t size) {
  if (!send_all(redis->socket, text, strlen(text)) || !send_all(redis->socket, "\r\n", 2)) return false;
  if (!read_line(redis->socket, reply, size)) return false;
  if (reply[0] == '-' && strncmp(reply, "-LOADING", 8) != 0) fprintf(stderr, "rivals: redis: %s", reply);
  return reply[0] != '-';
}

static bool ask_number(struct redis *redis, const char *text, uint64_t *value) {
  char line[64];
  if (!command(redis, text, line, sizeof line)) return false;
  if (line[0] == '$' && !read_line(redis->socket, line + 1, sizeof line - 1)) return false;
  *value = strtoull(line + 1, NULL, 10);
  return true;
}

/* --- The rival -------------------------------------------------------------------------------- */

static void redis_disconnect(void *connection) {
  struct redis *redis = connection;
  if (redis->socket >= 0) (void)close(redis->socket);
  free(redis);
}

/* While it loads its data it refuses this, and so is not there yet. */
static bool load_script(struct redis *redis) {
  char text[512], line[64];
  (void)snprintf(text, sizeof text, "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$%zu\r\n%s", sizeof script - 1, script);
  if (!command(redis, text, line, sizeof line) || line[0] != '$') return false;
  if (!read_line(redis->socket, line, sizeof line)) return false;
  memcpy(redis->digest, line, 40);
  return true;
}

static void *redis_connect(const char *target) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct redis *redis = calloc(1, sizeof *redis);
  if (redis == NULL || strlen(target) >= sizeof address.sun_path) abort();
  memcpy(address.sun_path, target, strlen(target));
  redis->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (redis->socket >= 0 && connect(redis->socket, (struct sockaddr *)&address, sizeof address) == 0 &&
      load_script(redis))
    return redis;
  redis_disconnect(redis);
  return NULL;
}

static bool redis_prepare(void *connection) {
  (void)connection;
  return true;
}

static bool redis_reset(void *connection, uint64_t stock) {
  char text[64], line[64];
  (void)snprintf(text, sizeof text, "SET stock %" PRIu64, stock);
  return command(connection, "FLUSHALL SYNC", line, sizeof line) && command(connection, text, line, sizeof line);
}

static bool redis_audit(void *connection, uint64_t *held, uint64_t *left) {
  return ask_number(connection, "SCARD users", held) && ask_number(connection, "GET stock", left);
}

/* The memory of the data, without the clients' buffers; INFO is a text of many lines. */
static bool redis_size(void *connection, uint64_t *bytes) {
  struct redis *redis = connection;
  char line[512];
  bool found = false;
  if (!command(redis, "INFO memory", line, sizeof line)) return false;
  long left = strtol(line + 1, NULL, 10) + 2;
  while (left > 0 && read_line(redis->socket, line, sizeof line)) {
    left -= (long)strlen(line);
    if (sscanf(line, "used_memory_dataset:%" SCNu64, bytes) == 1) found = true;
  }
  return found;
}

/* --- Pipelines -------------------------------------------------------------------------------- */

static void write_batch(struct redis *redis, size_t count) {
  char *at = redis->out;
  for (size_t i = 0; i < count; i++) {
    char user[24];
    int length = snprintf(user, sizeof user, "%" PRIu64, redis->users[i]);
    at += snprintf(at, REQUEST_MAX,
                   "*6\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n2\r\n$5\r\nstock\r\n$5\r\nusers\r\n$%d\r\n%s\r\n",
                   redis->digest, length, user);
  }
  redis->asked = count;
  redis->answered = redis->sent = redis->filled = 0;
  redis->to_send = (size_t)(at - redis->out);
}

/* Sends what the socket takes. What it does not, the next event sends: to wait here while the server waits for us to
 * read would be the end of both. */
static bool send_some(struct redis *redis) {
  while (redis->sent < redis->to_send) {
    ssize_t sent =
        send(redis->socket, redis->out + redis->sent, redis->to_send - redis->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    redis->sent += (size_t)sent;
  }
  return true;
}

/* Replies are ":1\r\n", one digit each. Anything else is an error's text, which ends the run. */
static bool read_some(struct redis *redis, int flags) {
  ssize_t got = recv(redis->socket, redis->in + redis->filled, sizeof redis->in - redis->filled, flags);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  redis->filled += (size_t)got;
  size_t at = 0;
  for (; redis->filled - at >= 4; at += 4) {
    if (redis->in[at] != ':' || redis->answered == redis->asked) {
      fprintf(stderr, "rivals: redis: %.*s\n", (int)(redis->filled - at), redis->in + at);
      return false;
    }
    redis->answers[redis->answered++] = redis->in[at + 1];
  }
  redis->filled -= at;
  memmove(redis->in, redis->in + at, redis->filled);
  return true;
}

static bool redis_issue(void *connection, const uint64_t *users, size_t count, char *answers) {
  struct redis *redis = connection;
  memcpy(redis->users, users, count * sizeof *users);
  write_batch(redis, count);
  while (redis->answered < count) {
    /* It waits for replies only when all is sent; until then it looks for them in between. */
    if (!send_some(redis) || !read_some(redis, redis->sent < redis->to_send ? MSG_DONTWAIT : 0)) return false;
  }
  memcpy(answers, redis->answers, count);
  return true;
}

/* --- Many clients on one thread --------------------------------------------------------------- */

/* Begins the client's next batch. *active is lowered if there is none. */
static bool begin_batch(struct load_client *client, size_t *active) {
  struct redis *redis = load_connection(client);
  size_t count = load_take(client, redis->users);
  if (count == 0) {
    --*active;
    return true;
  }
  write_batch(redis, count);
  return send_some(redis);
}

static bool on_event(struct load_client *client, size_t *active) {
  struct redis *redis = load_connection(client);
  if (!send_some(redis) || !read_some(redis, MSG_DONTWAIT)) return false;
  if (redis->answered < redis->asked || redis->asked == 0) return true;
  load_told(client, redis->users, redis->answers, redis->answered);
  redis->asked = 0;
  return begin_batch(client, active);
}

static bool redis_drive(struct load_client *clients, size_t count) {
  struct epoll_event events[64];
  size_t active = count;
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  bool good = epoll >= 0;
  for (size_t i = 0; i < count && good; i++) {
    struct redis *redis = load_connection(load_client_at(clients, i));
    /* Edges: a socket that has room to write, as nearly all have, is not reported again and again. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = load_client_at(clients, i)};
    redis->asked = 0;
    good =
        epoll_ctl(epoll, EPOLL_CTL_ADD, redis->socket, &event) == 0 && begin_batch(load_client_at(clients, i), &active);
  }
  while (good && active > 0) {
    int ready = epoll_wait(epoll, events, 64, -1);
    good = ready >= 0 || errno == EINTR;
    for (int i = 0; i < ready && good; i++) good = on_event(events[i].data.ptr, &active);
  }
  if (epoll >= 0) (void)close(epoll);
  return good;
}

int main(int count, char **arguments) {
  static const struct load_rival rival = {.name = "redis",
                                          .connect = redis_connect,
                                          .disconnect = redis_disconnect,
                                          .prepare = redis_prepare,
                                          .reset = redis_reset,
                                          .issue = redis_issue,
                                          .audit = redis_audit,
                                          .size = redis_size,
                                          .drive = redis_drive};
  return load_main(count, arguments, &rival);
}
