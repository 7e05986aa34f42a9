/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sends good and spoilt requests by the ten thousand over many connections at once, and holds the service to this:
 *   - nobody gets a 200 who must not (each case says who may: fuzz_case.h), and every answer is well-formed and fits;
 *   - it does not crash, no sanitizer reports, it ends with status 0, and it goes on answering;
 *   - in the end the log holds the tickets that were told, with the same users and numbers, and no other.
 *
 * fuzz_http [REQUESTS [SEED]] [--planted]. The seed is printed first; the same seed sends the same requests. With
 * --planted one good answer is taken for a bad one: the program has to report it and return 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http/client.h"
#include "http/fuzz_case.h"
#include "http/token.h"

#define LANES 24
#define LANE_BYTES 65536
#define SOLD_OUT_STOCK 3

/* A connection, and the case it is busy with. */
struct lane {
  int socket;       /* -1: none */
  bool busy, ended; /* ended: all is sent, and the client's side is shut */
  uint64_t index;
  int64_t began_ms;
  size_t sent, used;
  int answered, cut;
  struct fuzz_case made;
  char buffer[LANE_BYTES];
};

static struct service service;
static struct lane lanes[LANES];
static uint64_t seed, next_index, requests_wanted = 20000, requests_made;
static bool planted;
static uint64_t statuses[600], unanswered;

/* What was told: of OPEN, each pool user's ticket; of UNLIMITED, each ticket's user. 0: none. */
static struct {
  uint64_t number;
  bool issued, ask_again;
} told_open[POOL_USERS];
static uint64_t *told_unlimited, unlimited_count;

/* --- findings ------------------------------------------------------------------------------------ */

static void print_bytes(const char *bytes, size_t length) {
  for (size_t i = 0; i < length && i < 3000; i++) {
    unsigned char c = (unsigned char)bytes[i];
    if (c == '\n')
      fputs("\\n\n", stdout);
    else if (isprint(c))
      putchar(c);
    else
      printf("\\x%02x", c);
  }
  putchar('\n');
}

/* Ends the program: what was wrong, with which case, so that `fuzz_http REQUESTS SEED` shows it again. */
static _Noreturn void found(const struct lane *lane, const char *what, const char *answer) {
  printf("FOUND: %s\n", what);
  if (lane != NULL) {
    const struct fuzz_case *made = &lane->made;
    printf("seed %" PRIu64 ", case %" PRIu64 ", %d request(s), end %d, answered %d:", seed, lane->index, made->count,
           (int)made->end, lane->answered);
    for (int i = 0; i < made->count; i++) printf(" [%s]", made->requests[i].kind);
    printf("\nsent:\n");
    print_bytes(made->bytes, made->length);
    printf("in the buffer:\n");
    print_bytes(lane->buffer, lane->used);
  }
  if (answer != NULL) printf("answer:\n%s\n", answer);
  printf("the service's standard error output:\n%s\n", service_errors(&service));
  (void)fflush(stdout);
  if (service.pid > 0 && service_lives(&service)) service_kill(&service);
  (void)service_fini(&service);
  exit(1);
}

static int64_t now_ms(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- tickets ------------------------------------------------------------------------------------- */

static bool find_number(const char *body, const char *name, uint64_t *number) {
  const char *at = strstr(body, name);
  return at != NULL && sscanf(at + strlen(name), "%" SCNu64, number) == 1;
}

static void note_ticket(const struct lane *lane, const struct fuzz_request *request, int status, const char *body) {
  uint64_t coupon, user, number;
  if (!find_number(body, "\"couponId\":", &coupon) || !find_number(body, "\"userId\":", &user) ||
      !find_number(body, "\"ticketNumber\":", &number))
    found(lane, "a ticket without its numbers", body);
  if (coupon != request->coupon || user != request->user || number == 0) found(lane, "another's ticket", body);
  if (coupon == UNLIMITED) {
    if (number > requests_made || told_unlimited[number] != 0)
      found(lane, "a ticket twice, or a number too high", body);
    told_unlimited[number] = user;
    unlimited_count++;
    return;
  }
  size_t i = user - POOL_FIRST;
  if (told_open[i].number != 0 && told_open[i].number != number) found(lane, "two tickets for one user", body);
  if (status == 200 && told_open[i].issued) found(lane, "issued twice to one user", body);
  told_open[i].number = number;
  told_open[i].issued = told_open[i].issued || status == 200;
}

/* --- answers ------------------------------------------------------------------------------------- */

static bool fits(const struct fuzz_request *request, int status) {
  if (request->statuses[0] == 0) return status < 500 && (status != 200 || request->may_succeed);
  for (int i = 0; i < FUZZ_STATUSES; i++)
    if (request->statuses[i] == status) return true;
  return false;
}

static void judge(struct lane *lane, int status, const char *head, const char *body, size_t length) {
  static const struct fuzz_request rest = {.kind = "rest"};
  /* What is spoilt may fall into several requests, of which none is a good one. */
  bool is_rest = lane->answered == lane->made.count;
  if (is_rest && lane->made.end == FUZZ_ANSWERS) found(lane, "an answer too many", body);
  const struct fuzz_request *request = is_rest ? &rest : &lane->made.requests[lane->answered++];
  statuses[status < 600 ? status : 0]++;
  bool plant = planted && status == 200 && request->user != 0 && lane->index > 100;
  if (status / 100 == 2 && (plant || !request->may_succeed)) found(lane, "a 200 that should not be", body);
  if (!fits(request, status)) found(lane, "an answer that does not fit", body);
  if (strcasestr(head, "application/json") != NULL) {
    if (!json_valid(body, length)) found(lane, "an answer that is not JSON", body);
    char reason[128];
    if (request->reason != NULL) {
      (void)snprintf(reason, sizeof reason, "\"reason\":\"%s\"", request->reason);
      if (strstr(body, reason) == NULL) found(lane, "another reason", body);
    }
    if (request->user != 0 && (status == 200 || strstr(body, "\"reason\":\"already_issued\"") != NULL))
      note_ticket(lane, request, status, body);
  } else if (request->reason != NULL || (request->user != 0 && status == 200)) {
    found(lane, "an answer that is not called JSON", head);
  }
}

/* Takes one answer off the buffer. False: there is no whole one. */
static bool take_answer(struct lane *lane) {
  static char head[LANE_BYTES + 1], body[LANE_BYTES + 1];
  int status;
  const char *end = memmem(lane->buffer, lane->used, "\r\n\r\n", 4);
  if (end == NULL) return false;
  size_t head_length = (size_t)(end - lane->buffer) + 4, length = 0;
  memcpy(head, lane->buffer, head_length);
  head[head_length] = 0;
  if (sscanf(head, "HTTP/1.1 %3d ", &status) != 1) found(lane, "not an answer", head);
  const char *said = strcasestr(head, "\r\ncontent-length:");
  if (said != NULL)
    length = strtoul(said + strlen("\r\ncontent-length:"), NULL, 10);
  else if (status != 100)
    found(lane, "an answer without a length", head);
  if (head_length + length > LANE_BYTES) found(lane, "a very long answer", head);
  if (lane->used < head_length + length) return false;
  memcpy(body, lane->buffer + head_length, length);
  body[length] = 0;
  if (status != 100) judge(lane, status, head, body, length);
  lane->used -= head_length + length;
  memmove(lane->buffer, lane->buffer + head_length + length, lane->used);
  return true;
}

/* --- lanes --------------------------------------------------------------------------------------- */

static int connect_lane(void) {
  for (int i = 0; i < 100; i++) {
    int socket = client_socket(&service);
    if (socket >= 0) {
      (void)fcntl(socket, F_SETFL, O_NONBLOCK);
      return socket;
    }
    if (!service_lives(&service)) found(NULL, "the service has gone", NULL);
    service_sleep_ms(20); /* out of ports for a moment */
  }
  found(NULL, "the service takes no connection", NULL);
}

static void disconnect(struct lane *lane, bool reset) {
  struct linger none = {1, 0};
  if (reset) (void)setsockopt(lane->socket, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  (void)close(lane->socket);
  lane->socket = -1;
}

static void begin_case(struct lane *lane) {
  if (lane->socket < 0) lane->socket = connect_lane();
  lane->index = next_index++;
  fuzz_case_make(&lane->made, &service, seed, lane->index);
  requests_made += (uint64_t)lane->made.count;
  lane->began_ms = now_ms();
  lane->busy = true;
  lane->ended = false;
  lane->sent = lane->used = 0;
  lane->answered = lane->cut = 0;
}

/* What was not answered may have been done: its user asks again in the end. */
static void finish_case(struct lane *lane) {
  for (int i = lane->answered; i < lane->made.count; i++) {
    const struct fuzz_request *request = &lane->made.requests[i];
    unanswered++;
    if (request->user != 0 && request->coupon == OPEN) told_open[request->user - POOL_FIRST].ask_again = true;
  }
  if (lane->made.end != FUZZ_ANSWERS && lane->socket >= 0) disconnect(lane, false);
  lane->busy = false;
}

static void send_some(struct lane *lane) {
  const struct fuzz_case *made = &lane->made;
  size_t end = lane->cut < made->cut_count ? made->cuts[lane->cut] : made->length;
  if (lane->sent < end) {
    ssize_t sent = send(lane->socket, made->bytes + lane->sent, end - lane->sent, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (sent < 0) { /* it has closed: what it said before can still be read */
      lane->sent = made->length;
      lane->cut = made->cut_count;
    } else {
      lane->sent += (size_t)sent;
    }
  }
  if (lane->sent >= end && lane->cut < made->cut_count) lane->cut++;
  if (lane->sent < made->length || lane->ended) return;
  lane->ended = true;
  if (made->end == FUZZ_SHUTDOWN) (void)shutdown(lane->socket, SHUT_WR);
  if (made->end == FUZZ_CLOSE || made->end == FUZZ_RESET) {
    disconnect(lane, made->end == FUZZ_RESET);
    finish_case(lane);
  }
}

static void receive_some(struct lane *lane) {
  if (lane->used == LANE_BYTES) found(lane, "answers without end", NULL);
  ssize_t got = recv(lane->socket, lane->buffer + lane->used, LANE_BYTES - lane->used, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0) lane->used += (size_t)got;
  while (take_answer(lane)) continue;
  bool strict = lane->made.end == FUZZ_ANSWERS, complete = lane->answered == lane->made.count;
  if (got <= 0) {
    disconnect(lane, false);
    if (strict && !complete) found(lane, "closed without an answer", NULL);
    finish_case(lane);
  } else if (strict && complete) {
    if (lane->used > 0) found(lane, "more than the answers", NULL);
    /* Who was told that it closes does not wait for it. */
    int status = lane->made.requests[lane->made.count - 1].statuses[0];
    if (status == 408 || status == 413 || status == 417) disconnect(lane, false);
    finish_case(lane);
  }
}

static void check_patience(const struct lane *lane) {
  if (lane->busy && now_ms() - lane->began_ms > SERVICE_PATIENCE_MS)
    found(lane, service_lives(&service) ? "it hangs" : "the service has gone", NULL);
}

/* One turn of all lanes. False: all cases are done. */
static bool turn(void) {
  struct pollfd ready[LANES];
  bool busy = false, sending = false;
  for (int i = 0; i < LANES; i++) {
    struct lane *lane = &lanes[i];
    if (!lane->busy && requests_made < requests_wanted) begin_case(lane);
    if (lane->busy && !lane->ended) send_some(lane);
    bool unsent = lane->busy && !lane->ended;
    ready[i] = (struct pollfd){lane->busy ? lane->socket : -1, (short)(POLLIN | (unsent ? POLLOUT : 0)), 0};
    sending = sending || (!lane->busy && requests_made < requests_wanted);
    busy = busy || lane->busy || sending;
  }
  (void)poll(ready, LANES, sending ? 0 : 100);
  for (int i = 0; i < LANES; i++) {
    if (lanes[i].busy && (ready[i].revents & (POLLIN | POLLERR | POLLHUP)) != 0) receive_some(&lanes[i]);
    check_patience(&lanes[i]);
  }
  return busy;
}

/* --- the end ------------------------------------------------------------------------------------- */

static void ask_again(void) {
  for (uint64_t i = 0; i < POOL_USERS; i++) {
    if (!told_open[i].ask_again) continue;
    const struct answer *answer = issue(&service, token_for(&service, POOL_FIRST + i, "USER"), OPEN);
    if (answer->status != 200 && not_refused(answer, 409, "already_issued") != NULL)
      found(NULL, "who asks again is not told", answer->body);
    struct fuzz_request request = {.coupon = OPEN, .user = POOL_FIRST + i};
    note_ticket(NULL, &request, answer->status, answer->body);
  }
}

/* The coupon's tickets by the tool, each held to what was told; how many. */
static uint64_t check_tickets(uint64_t coupon) {
  static char printed[64 << 20];
  char arguments[64];
  uint64_t count = 0, user, number;
  (void)snprintf(arguments, sizeof arguments, "tickets @ %" PRIu64 " --json", coupon);
  if (service_tool(&service, arguments, printed, sizeof printed) != 0)
    found(NULL, "the tool cannot read the log", printed);
  for (const char *at = printed; (at = strstr(at, "{\"user\":")) != NULL; at++, count++) {
    if (!find_number(at, "\"user\":", &user) || !find_number(at, "\"number\":", &number))
      found(NULL, "the tool's output is another", NULL);
    bool is_pool = user >= POOL_FIRST && user < POOL_FIRST + POOL_USERS;
    bool told = coupon == OPEN        ? is_pool && told_open[user - POOL_FIRST].number == number
                : coupon == UNLIMITED ? number <= requests_made && told_unlimited[number] == user
                                      : coupon == SOLD_OUT && user <= SOLD_OUT_STOCK;
    if (!told) {
      printf("coupon %" PRIu64 ", user %" PRIu64 ", ticket %" PRIu64 "\n", coupon, user, number);
      found(NULL, "a ticket in the log that nobody was told of", NULL);
    }
  }
  return count;
}

static void check_log(void) {
  char printed[4096];
  uint64_t open = 0;
  for (int i = 0; i < POOL_USERS; i++) open += told_open[i].number != 0;
  if (service_tool(&service, "verify @", printed, sizeof printed) != 0 || strstr(printed, "\nok: ") == NULL)
    found(NULL, "the log is not sound", printed);
  if (check_tickets(OPEN) != open || check_tickets(UNLIMITED) != unlimited_count ||
      check_tickets(SOLD_OUT) != SOLD_OUT_STOCK || check_tickets(NOT_OPEN) != 0 || check_tickets(ENDED) != 0)
    found(NULL, "a ticket that was told is not in the log", NULL);
  printf("%" PRIu64 " tickets told, and in the log\n", open + unlimited_count);
}

/* A stream that never came to some answer has shown nothing about it. */
static void check_statuses(void) {
  static const int needed[] = {200, 400, 401, 404, 405, 409, 413};
  printf("answers:");
  for (int status = 0; status < 600; status++)
    if (statuses[status] > 0) printf(" %d: %" PRIu64, status, statuses[status]);
  printf(", none: %" PRIu64 "\n", unanswered);
  for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
    if (statuses[needed[i]] < 1 + requests_made / 1000) found(NULL, "too few answers of a kind to mean anything", NULL);
}

static void open_sale(void) {
  service_init(&service);
  service_start(&service, FUZZ_OPTIONS);
  create_coupon(&service, OPEN, POOL_USERS + VICTIM_USERS, "");
  create_coupon(&service, UNLIMITED, 1 << 30, ",\"perUserLimit\":0");
  create_coupon(&service, SOLD_OUT, SOLD_OUT_STOCK, "");
  create_coupon(&service, NOT_OPEN, 100, ",\"startDate\":\"2200-01-01T00:00:00\"");
  create_coupon(&service, ENDED, 100, ",\"endDate\":\"2001-01-01T00:00:00\"");
  for (uint64_t user = 1; user <= SOLD_OUT_STOCK; user++)
    SERVICE_CHECK(not_ok(issue(&service, token_for(&service, user, "USER"), SOLD_OUT)) == NULL);
}

int main(int argc, char **argv) {
  struct timespec now;
  (void)clock_gettime(CLOCK_REALTIME, &now);
  seed = (uint64_t)now.tv_nsec;
  for (int i = 1, position = 0; i < argc; i++) {
    if (strcmp(argv[i], "--planted") == 0)
      planted = true;
    else
      *(position++ == 0 ? &requests_wanted : &seed) = strtoull(argv[i], NULL, 10);
  }
  printf("fuzz_http: seed %" PRIu64 ", %" PRIu64 " requests%s\n", seed, requests_wanted,
         planted ? ", one planted" : "");
  (void)fflush(stdout);
  told_unlimited = calloc(requests_wanted + 64, sizeof *told_unlimited);
  SERVICE_CHECK(told_unlimited != NULL);
  for (int i = 0; i < LANES; i++) lanes[i].socket = -1;
  open_sale();
  while (turn()) continue;
  for (int i = 0; i < LANES; i++)
    if (lanes[i].socket >= 0) (void)close(lanes[i].socket);
  if (not_ok(ask(&service, "GET", HEALTH, NULL, NULL)) != NULL) found(NULL, "it is not healthy in the end", NULL);
  ask_again();
  if (service_stop(&service) != 0 || service_has_findings(&service)) found(NULL, "it did not end well", NULL);
  check_log();
  check_statuses();
  const char *wrong = service_fini(&service);
  if (wrong != NULL) {
    printf("FOUND: %s\n", wrong);
    return 1;
  }
  free(told_unlimited);
  printf("%" PRIu64 " requests checked\n", requests_made);
  return 0;
}
