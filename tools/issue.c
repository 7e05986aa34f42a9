/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `coupon issue`: one request for each user, in order. Requests are decided in batches, so that one
 * commit makes many of them final; nothing is printed before it is.
 */
#include "args.h"
#include "commands.h"
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* More would not make a commit cheaper, and would keep the answers back. */
enum { BATCH = 1024 };

struct asked {
  struct user user;
  struct coupon_ticket ticket;
};

struct issuing {
  struct session *session;
  uint64_t campaign;
  int32_t kind; /* of the campaign's users, or USER_EITHER */
  struct json json;
  bool as_json;
  struct asked batch[BATCH];
  size_t count; /* in the batch */
  uint64_t issued;
  uint64_t already_issued;
  uint64_t refused;
  int code; /* that of the first fault, or CODE_DONE */
};

static void fault(struct issuing *issuing, const struct user *user, coupon_status status) {
  char text[OUTPUT_UUID_MAX];
  char doing[64];
  snprintf(doing, sizeof doing, "issuing to user %s", user_text(user, text));
  issuing->code = session_fault(issuing->session, doing, status);
}

static void print_answer(struct issuing *issuing, const struct asked *asked) {
  const struct coupon_ticket *ticket = &asked->ticket;
  bool holds = ticket->answer == COUPON_ISSUED || ticket->answer == COUPON_ALREADY_ISSUED;
  issuing->issued += ticket->answer == COUPON_ISSUED;
  issuing->already_issued += ticket->answer == COUPON_ALREADY_ISSUED;
  issuing->refused += !holds;
  if (!issuing->as_json) {
    print_ticket(&asked->user, ticket);
    return;
  }
  json_open(&issuing->json, NULL, '{');
  json_ticket(&issuing->json, &asked->user, ticket);
  json_close(&issuing->json, '}');
}

/* Waits for and prints the answers of the batch. If the engine fails, those that were final before it did. */
static void settle(struct issuing *issuing) {
  for (size_t i = 0; i < issuing->count; i++) {
    struct asked *asked = &issuing->batch[i];
    coupon_status status = coupon_wait(issuing->session->engine, &asked->ticket, COUPON_FOREVER);
    if (status == COUPON_OK)
      print_answer(issuing, asked);
    else if (issuing->code == CODE_DONE)
      fault(issuing, &asked->user, status);
  }
  issuing->count = 0;
  fflush(stdout);
}

static void ask(struct issuing *issuing, const struct user *user) {
  struct asked *asked = &issuing->batch[issuing->count];
  *asked = (struct asked){*user, COUPON_TICKET_INIT};
  coupon_status status = user_try_issue(issuing->session->engine, issuing->campaign, user, &asked->ticket);
  if (status == COUPON_E_BUSY) /* the log buffer is full: wait for room */
    status = user_issue(issuing->session->engine, issuing->campaign, user, COUPON_FOREVER, &asked->ticket);
  if (status < 0) {
    fault(issuing, user, status);
    return;
  }
  if (++issuing->count == BATCH) settle(issuing);
}

/* Takes the end of the line off. False: there is none, so the line goes on behind what was read. */
static bool trim(char *line) {
  size_t length = strlen(line);
  bool ended = length > 0 && line[length - 1] == '\n';
  if (ended) line[--length] = 0;
  if (length > 0 && line[length - 1] == '\r') line[length - 1] = 0;
  return ended || feof(stdin);
}

/* Users from standard input, one a line; empty lines are left out. */
static void ask_lines(struct issuing *issuing, const struct args *args) {
  bool at_terminal = isatty(STDIN_FILENO) == 1;
  char line[64];
  for (uint64_t number = 1; issuing->code == CODE_DONE && fgets(line, sizeof line, stdin) != NULL; number++) {
    struct user user;
    if (!trim(line)) {
      args_wrong(args, "line %" PRIu64 " of standard input is too long for a user", number);
      issuing->code = CODE_USAGE;
      return;
    }
    if (line[0] == 0) continue;
    if (!user_read(line, issuing->kind, &user)) {
      args_wrong(args, "line %" PRIu64 " of standard input must be %s, not '%s'", number, user_looks(issuing->kind),
                 line);
      issuing->code = CODE_USAGE;
      return;
    }
    ask(issuing, &user);
    if (at_terminal) settle(issuing); /* somebody waits for it */
  }
  if (ferror(stdin)) {
    output_error("standard input cannot be read: %s; the users read so far were asked for", strerrordesc_np(errno));
    issuing->code = CODE_FAULT;
  }
}

static void ask_all(struct issuing *issuing, const struct args *args) {
  for (int i = 2; i < args->count && issuing->code == CODE_DONE; i++) {
    struct user user;
    if (strcmp(args->values[i], "-") == 0)
      ask_lines(issuing, args);
    else if (user_read(args->values[i], issuing->kind, &user))
      ask(issuing, &user);
  }
  settle(issuing);
}

/* The first USER that cannot be one of that kind; NULL: there is none. */
static const char *find_wrong(const struct args *args, int32_t kind) {
  struct user user;
  for (int i = 2; i < args->count; i++)
    if (strcmp(args->values[i], "-") != 0 && !user_read(args->values[i], kind, &user)) return args->values[i];
  return NULL;
}

static int issue(struct session *session, uint64_t campaign, const struct args *args, bool as_json) {
  int32_t kind;
  coupon_status status = user_kind_of(session->engine, campaign, &kind);
  if (status < 0) return session_fault(session, "asking about the campaign", status);
  const char *wrong = find_wrong(args, kind);
  if (wrong != NULL) return wrong_user(args, campaign, kind, wrong);
  static struct issuing issuing; /* too large for a stack that somebody may have made small */
  issuing = (struct issuing){
      .session = session, .campaign = campaign, .kind = kind, .json = {stdout, false}, .as_json = as_json};
  if (as_json) {
    json_open(&issuing.json, NULL, '{');
    json_u64(&issuing.json, "campaign", campaign);
    json_open(&issuing.json, "answers", '[');
  } else
    print_ticket_head(kind);
  ask_all(&issuing, args);
  if (as_json) {
    json_close(&issuing.json, ']');
    json_u64(&issuing.json, "issued", issuing.issued);
    json_u64(&issuing.json, "already_issued", issuing.already_issued);
    json_u64(&issuing.json, "refused", issuing.refused);
    json_bool(&issuing.json, "ok", issuing.code == CODE_DONE && issuing.refused == 0);
    json_close(&issuing.json, '}');
    json_end(&issuing.json);
  }
  if (issuing.code != CODE_DONE) return issuing.code;
  return issuing.refused > 0 ? CODE_NO : CODE_DONE;
}

int command_issue(int argc, char **argv) {
  bool as_json = false;
  uint64_t campaign;
  struct coupon_options engine = COUPON_OPTIONS_INIT;
  const struct args_option options[] = {{"json", ARGS_FLAG, &as_json, NULL},
                                        {"archive", ARGS_TEXT, &engine.archive_dir, NULL},
                                        {"checkpoint-log-bytes", ARGS_U64, &engine.checkpoint_log_bytes, NULL},
                                        {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon issue", argc, argv, options, 3, argc) || !args_number(&args, 1, "ID", &campaign))
    return CODE_USAGE;
  /* All of them before the first is issued: a slip of the hand must not issue half of a list. */
  const char *wrong = find_wrong(&args, USER_EITHER);
  if (wrong != NULL) {
    (void)args_wrong(&args, "USER must be %s, not '%s'", user_looks(USER_EITHER), wrong);
    return CODE_USAGE;
  }
  struct session session;
  int code = session_open_existing(&session, args.values[0], &engine);
  if (code != CODE_DONE) return code;
  code = session_close(&session, issue(&session, campaign, &args, as_json));
  return output_finish(code);
}
