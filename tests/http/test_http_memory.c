/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that clients who are slow, or send too much, do not fill the service's memory, and that others are served
 * meanwhile. The bounds are generous: some times what the limits allow in all.
 */
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "http/expect.h"

TestSuite(http_memory, .init = prepare, .fini = end, .timeout = HANGS_AFTER_S);

#define CLIENTS 500

/* AddressSanitizer keeps what is freed for a while, and pads what is not. */
static size_t bound_kib(void) { return service_sanitized() ? 512 * 1024 : 64 * 1024; }

static void start(const char *options) {
  service.variables[0] = "MALLOC_ARENA_MAX=2";
  service_start(&service, options);
  create_coupon(&service, 1, 1000, "");
  EXPECT_OK(issue(&service, user(1), 1)); /* what the first answer costs is no growth */
}

static void send_all(int socket, const char *bytes, size_t length) {
  struct client client = {socket, 0, NULL};
  (void)client_send(&client, bytes, length);
}

#define EXPECT_BOUNDED(before)                                                              \
  do {                                                                                      \
    size_t now_ = service_memory_kib(&service);                                             \
    cr_expect_lt(now_, before + bound_kib(), "grew from %zu KiB to %zu KiB", before, now_); \
  } while (0)

Test(http_memory, slow_clients_by_the_hundred_are_held_in_bounds) {
  static int sockets[CLIENTS];
  char part[8000];
  start("--max-connections 1000");
  size_t before = service_memory_kib(&service);
  /* Half of them stop in the headers, half in the body, each just before the limit. */
  int headers = snprintf(part, sizeof part, "GET " HEALTH " HTTP/1.1\r\nX: %07000d", 0);
  for (int i = 0; i < CLIENTS; i++) {
    sockets[i] = client_socket(&service);
    cr_assert_geq(sockets[i], 0);
    if (i % 2 == 0)
      send_all(sockets[i], part, (size_t)headers);
    else {
      char lines[4096];
      (void)snprintf(lines, sizeof lines, "%sContent-Length: 16000\r\n", authorization(user(6)));
      const char *text = request("POST", ISSUE, lines, NULL);
      send_all(sockets[i], text, strlen(text));
      for (int j = 0; j < 3; j++) send_all(sockets[i], part, 5000);
    }
  }
  await_metric(&service, "coupon_http_connections", CLIENTS + 1);
  EXPECT_BOUNDED(before);
  EXPECT_OK(issue(&service, user(5), 1));
  for (int i = 0; i < CLIENTS; i++) (void)close(sockets[i]);
  await_metric(&service, "coupon_http_connections", 1);
  EXPECT_OK(issue(&service, user(7), 1));
}

Test(http_memory, a_flood_of_oversize_headers_is_not_kept) {
  static char flood[32 * 1024];
  start("");
  memset(flood, 'x', sizeof flood);
  memcpy(flood, "GET /", 5);
  size_t before = service_memory_kib(&service);
  for (int i = 0; i < CLIENTS; i++) {
    int socket = client_socket(&service);
    cr_assert_geq(socket, 0);
    for (int j = 0; j < 8; j++) send_all(socket, flood, sizeof flood);
    (void)close(socket);
  }
  EXPECT_BOUNDED(before);
  EXPECT_OK(issue(&service, user(5), 1));
}

Test(http_memory, a_client_that_only_asks_and_never_reads_is_held_in_bounds) {
  struct client client;
  start("--write-timeout-ms 300");
  size_t before = service_memory_kib(&service);
  const char *text = request("GET", "/metrics", NULL, NULL);
  client_open(&client, &service);
  const struct timeval soon = {0, 50000};
  (void)setsockopt(client.socket, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
  while (send(client.socket, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text)) continue;
  EXPECT_BOUNDED(before);
  client_close(&client);
}
