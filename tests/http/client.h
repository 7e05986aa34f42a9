/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the service that trusts nothing: sends the bytes it is told to, waits with a limit, and holds every
 * answer to what it says of itself: its length, and that it is JSON. Judges answers by the contract, docs/HTTP.md.
 */
#ifndef TESTS_HTTP_CLIENT_H
#define TESTS_HTTP_CLIENT_H

#include "http/service.h"

#define ISSUE "/api/v1/user-coupon"
#define COUPONS "/api/v1/coupons"
#define SIGNIN "/api/v1/auth/signin"
#define HEALTH "/api/v1/health"

#define ANSWER_HEADERS_MAX 4096
#define ANSWER_BODY_MAX 300000

struct answer {
  int status;
  size_t length;
  char headers[ANSWER_HEADERS_MAX]; /* with the status line */
  char body[ANSWER_BODY_MAX + 1];
};

/* A connection. */
struct client {
  int socket;
  size_t used;
  char *buffer; /* of what has come and has not been taken */
};

/* --- connections --------------------------------------------------------------------------------- */

/* A connected socket, with limits on waiting; -1: refused. */
int client_socket(const struct service *service);
void client_open(struct client *client, const struct service *service);
void client_close(struct client *client);
/* Closes it so that the other side sees a reset. */
void client_reset(struct client *client);

/* False: the other side has closed. */
bool client_send(const struct client *client, const char *bytes, size_t length);
bool client_say(const struct client *client, const char *text);
/* The next answer, or NULL: the other side has closed without one. An answer lives until ANSWERS more have come. */
#define ANSWERS 8
const struct answer *client_receive(struct client *client);
/* Whether the other side closes now, without another byte. */
bool client_sees_end(struct client *client);
/* Whether something can be read, or the end be seen, right now. */
bool client_has_something(const struct client *client);

/* --- requests ------------------------------------------------------------------------------------ */

/* One request as a text that lives until REQUESTS more are made. `headers`: further lines, each with CR LF, or NULL;
 * `body` NULL: none. */
#define REQUESTS 8
const char *request(const char *method, const char *path, const char *headers, const char *body);
/* "Authorization: TOKEN", as such a line. Lives until the next call. */
const char *authorization(const char *token);

/* Over a connection of its own. `token` NULL: none. */
const struct answer *ask(const struct service *service, const char *method, const char *path, const char *token,
                         const char *body);
const struct answer *ask_with(const struct service *service, const char *method, const char *path, const char *headers,
                              const char *body);
/* POST ISSUE of this coupon. */
const struct answer *issue(const struct service *service, const char *token, uint64_t coupon);

/* Makes a coupon, and ends the test if that does not work. `more`: further members, each with a comma before it. */
void create_coupon(const struct service *service, uint64_t id, uint64_t quantity, const char *more);

/* --- answers ------------------------------------------------------------------------------------- */

/* The value of a header, or NULL. Lives until the next call. */
const char *header(const struct answer *answer, const char *name);
/* NULL, or what is wrong with it as a success, or as a refusal with this status and this reason. */
const char *not_ok(const struct answer *answer);
const char *not_refused(const struct answer *answer, int status, const char *reason);
/* Whether the value at `path`, as in json_get(), is there and reads so. */
bool has(const struct answer *answer, const char *path, const char *value);
/* A number of GET /metrics: of the sample whose name and labels are exactly so; -1: there is none. */
double metric(const struct service *service, const char *sample);
/* Waits until that is `value`. */
void await_metric(const struct service *service, const char *sample, double value);

/* --- JSON ---------------------------------------------------------------------------------------- */

bool json_valid(const char *text, size_t length);
/* The value at "member.member.2": a number or a string as it is written, true, false, null; of an object "{}"; of an
 * array its length. False: there is none. */
bool json_get(const char *text, const char *path, char *value, size_t capacity);

#endif
