/* SPDX-License-Identifier: Apache-2.0 */
/* POST /api/v1/auth/signin: an e-mail address and a password for a token. */
#include <openssl/crypto.h>
#include <string.h>

#include "service.h"

struct signin {
  struct job job;          /* first */
  struct request *request; /* NULL once the client has gone */
  struct loop *loop;
  char email[EMAIL_MAX + 1];
  char password[PASSWORD_MAX];
  struct claims claims;
  bool right;
};

static void work(struct job *job) {
  struct signin *signin = (struct signin *)job;
  signin->right = accounts_check(&signin->loop->service->accounts, signin->email, signin->password, &signin->claims);
}

static void answer_token(struct signin *signin) {
  struct loop *loop = signin->loop;
  struct text data = TEXT_INIT;
  text_string(&data, "{\"accessToken\":\"Bearer ");
  token_make(loop->signer, &signin->claims, loop_wall_ns(loop) / 1000000000, loop->service->options.token_seconds,
             &data);
  text_string(&data, "\"}");
  answer(signin->request, REASON_OK, NULL, &data);
}

static void done(struct job *job) {
  struct signin *signin = (struct signin *)job;
  struct request *request = signin->request;
  if (request != NULL) {
    request->job_reference = NULL;
    if (signin->right)
      answer_token(signin);
    else
      answer(request, REASON_CREDENTIALS_WRONG, NULL, NULL);
  }
  OPENSSL_cleanse(signin, sizeof *signin);
  free(signin);
}

/* Seconds to wait, or 0. The peer's address counts, not its port. */
static unsigned too_often(struct request *request, const struct json_member *email) {
  struct service *service = request->loop->service;
  struct sockaddr_storage peer;
  char address[NI_MAXHOST];
  uint64_t now_ns = loop_now_ms(request->loop) * 1000000;
  socklen_t peer_length = request->req->conn->callbacks->get_peername(request->req->conn, (struct sockaddr *)&peer);
  size_t length =
      peer_length > 0 ? h2o_socket_getnumerichost((struct sockaddr *)&peer, peer_length, address) : SIZE_MAX;
  if (length == SIZE_MAX) length = 0;
  unsigned seconds = limiter_try(&service->per_address, address, length, now_ns);
  return seconds > 0 ? seconds : limiter_try(&service->per_account, email->bytes, email->length, now_ns);
}

/* False after an answer. */
static bool check_field(struct request *request, const struct json_member *member, size_t most) {
  if (json_string(member, most) && member->length > 0) return true;
  answer_member(request, member->kind == JSON_ABSENT ? REASON_FIELD_MISSING : REASON_FIELD_INVALID, member);
  return false;
}

void handle_signin(struct request *request) {
  struct json_member member[2] = {{.name = "email"}, {.name = "password"}};
  if (!request_body(request, member, 2)) return;
  if (!check_field(request, &member[0], EMAIL_MAX) || !check_field(request, &member[1], PASSWORD_MAX - 1)) return;
  unsigned seconds = too_often(request, &member[0]);
  if (seconds > 0) {
    answer_retry(request, REASON_SIGNIN_RATE, seconds);
    return;
  }
  struct signin *signin = h2o_mem_alloc(sizeof *signin);
  *signin = (struct signin){.job = {.work = work, .done = done}, .loop = request->loop};
  memcpy(signin->email, member[0].bytes, member[0].length);
  memcpy(signin->password, member[1].bytes, member[1].length);
  if (!request_submit(request, &signin->job, &signin->request, REASON_SIGNIN_BUSY)) free(signin);
}
