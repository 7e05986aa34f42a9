/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create, lookup, status, tickets. All but create open the directory to read, so they work beside the
 * process that owns it and tell what is final at that moment.
 */
#include "commands.h"

#include "args.h"
#include "session.h"

#include <inttypes.h>
#include <string.h>

/* --- campaigns -------------------------------------------------------------------------------- */

static void json_campaign(struct json *json, const struct coupon_campaign_info *info) {
  json_u64(json, "campaign", info->id);
  json_u64(json, "index", info->index);
  json_text(json, "name", info->name);
  json_text(json, "state", session_state_word(info->state));
  json_u64(json, "stock", info->stock);
  json_u64(json, "issued", info->issued);
  json_u64(json, "remaining", info->remaining);
  json_u64(json, "user_limit", info->user_limit);
  json_text(json, "users", user_word(info->user_kind));
  json_u64(json, "opens_at_ns", info->opens_at_ns);
  json_u64(json, "closes_at_ns", info->closes_at_ns);
  json_u64(json, "created_lsn", info->created_lsn);
  json_text(json, "place", session_place_word(info->place));
}

static void print_campaign(const struct coupon_campaign_info *info) {
  char opens[OUTPUT_TIME_MAX];
  char closes[OUTPUT_TIME_MAX];
  printf("campaign   %" PRIu64 "\nname       ", info->id);
  output_text(stdout, info->name);
  printf("\nstate      %s\nstock      %" PRIu64 "\nissued     %" PRIu64 "\nremaining  %" PRIu64
         "\nlimit      %s\nusers      %s\n",
         session_state_word(info->state), info->stock, info->issued, info->remaining,
         info->user_limit == 0 ? "none" : "1", user_word(info->user_kind));
  if (info->place != COUPON_PLACE_MEMORY) printf("tickets    %s\n", session_place_word(info->place));
  printf("opens at   %s\ncloses at  %s\n", info->opens_at_ns == 0 ? "once" : output_time(info->opens_at_ns, opens),
         info->closes_at_ns == 0 ? "never" : output_time(info->closes_at_ns, closes));
}

/* Says on stderr that there is no such campaign; the answer is no. */
static int no_campaign(const char *directory, uint64_t campaign) {
  output_error("there is no campaign %" PRIu64 " in %s; 'coupon status %s' lists them", campaign, directory, directory);
  return CODE_NO;
}

/* --- create ----------------------------------------------------------------------------------- */

static int create(struct session *session, const struct coupon_campaign_spec *spec, bool as_json) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  bool existed = coupon_info(session->engine, spec->id, &info) == COUPON_OK;
  coupon_status status = coupon_create(session->engine, spec, COUPON_FOREVER);
  if (status == COUPON_OK) status = coupon_info(session->engine, spec->id, &info);
  if (status != COUPON_OK) return session_fault(session, "creating the campaign", status);
  if (as_json) {
    struct json json = {stdout, false};
    json_open(&json, NULL, '{');
    json_bool(&json, "created", !existed);
    json_campaign(&json, &info);
    json_close(&json, '}');
    json_end(&json);
  } else {
    printf("created    %s\n", existed ? "no, it existed already with this description" : "yes");
    print_campaign(&info);
  }
  return CODE_DONE;
}

int command_create(int argc, char **argv) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  struct coupon_options engine = COUPON_OPTIONS_INIT;
  bool as_json = false;
  bool stock_given = false;
  const struct args_option options[] = {{"json", ARGS_FLAG, &as_json, NULL},
                                        {"stock", ARGS_U64, &spec.stock, &stock_given},
                                        {"name", ARGS_TEXT, &spec.name, NULL},
                                        {"limit", ARGS_LIMIT, &spec.user_limit, NULL},
                                        {"users", ARGS_USERS, &spec.user_kind, NULL},
                                        {"opens-at", ARGS_TIME, &spec.opens_at_ns, NULL},
                                        {"closes-at", ARGS_TIME, &spec.closes_at_ns, NULL},
                                        {"archive", ARGS_TEXT, &engine.archive_dir, NULL},
                                        {"checkpoint-log-bytes", ARGS_U64, &engine.checkpoint_log_bytes, NULL},
                                        {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon create", argc, argv, options, 2, 2) || !args_number(&args, 1, "ID", &spec.id))
    return CODE_USAGE;
  bool right = true;
  if (!stock_given)
    right = args_wrong(&args, "--stock is missing");
  else if (spec.stock > COUPON_STOCK_MAX)
    right = args_wrong(&args, "--stock must be at most %" PRIu64, COUPON_STOCK_MAX);
  else if (spec.name != NULL && strlen(spec.name) > COUPON_NAME_MAX)
    right = args_wrong(&args, "--name must have at most %d bytes", COUPON_NAME_MAX);
  else if (spec.closes_at_ns != 0 && spec.closes_at_ns <= spec.opens_at_ns)
    right = args_wrong(&args, "--closes-at must be later than --opens-at");
  if (!right) return CODE_USAGE;

  struct session session;
  int code = session_open(&session, args.values[0], &engine);
  if (code != CODE_DONE) return code;
  code = session_close(&session, create(&session, &spec, as_json));
  return output_finish(code);
}

/* --- lookup ----------------------------------------------------------------------------------- */

int wrong_user(const struct args *args, uint64_t campaign, int32_t kind, const char *text) {
  (void)args_wrong(args, "'%s' is no user of campaign %" PRIu64 ", each of whose users is %s", text, campaign,
                   user_looks(kind));
  return CODE_USAGE;
}

static int user_width(int32_t kind) { return kind == COUPON_USER_UUID ? 36 : 20; }

void print_ticket_head(int32_t kind) {
  printf("%*s %14s %16s  %-31s %s\n", user_width(kind), "user", "number", "LSN", "time", "answer");
}

void print_ticket(const struct user *user, const struct coupon_ticket *ticket) {
  char text[OUTPUT_UUID_MAX];
  char word[SESSION_WORD_MAX];
  char time[OUTPUT_TIME_MAX];
  char number[24] = "-";
  if (ticket->number != 0) snprintf(number, sizeof number, "%" PRIu64, ticket->number);
  printf("%*s %14s %16" PRIu64 "  %-31s %s\n", user_width(user->kind), user_text(user, text), number, ticket->lsn,
         output_time(ticket->time_ns, time), session_word(ticket->answer, word));
}

void json_ticket(struct json *json, const struct user *user, const struct coupon_ticket *ticket) {
  char word[SESSION_WORD_MAX];
  json_user(json, "user", user);
  json_text(json, "answer", session_word(ticket->answer, word));
  if (ticket->number != 0)
    json_u64(json, "number", ticket->number);
  else
    json_null(json, "number");
  json_u64(json, "lsn", ticket->lsn);
  json_u64(json, "time_ns", ticket->time_ns);
  json_bool(json, "final", (ticket->flags & COUPON_TICKET_FINAL) != 0);
}

static int lookup(struct session *session, const struct args *args, uint64_t campaign, bool as_json) {
  const char *text = args->values[2];
  struct user user;
  int32_t kind;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t held = 0;
  coupon_status status = user_kind_of(session->engine, campaign, &kind);
  if (status < 0) return session_fault(session, "asking about the campaign", status);
  if (!user_read(text, kind, &user)) return wrong_user(args, campaign, kind, text);
  status = user_lookup(session->engine, campaign, &user, &ticket, &held);
  if (status < 0) return session_fault(session, "looking the user up", status);
  bool found = status == COUPON_OK;
  char name[OUTPUT_UUID_MAX];
  char word[SESSION_WORD_MAX];
  if (as_json) {
    struct json json = {stdout, false};
    json_open(&json, NULL, '{');
    json_u64(&json, "campaign", campaign);
    json_bool(&json, "found", found);
    json_u64(&json, "tickets", held);
    ticket.answer = found ? COUPON_ISSUED : status;
    json_ticket(&json, &user, &ticket);
    json_close(&json, '}');
    json_end(&json);
  } else if (found) {
    char time[OUTPUT_TIME_MAX];
    printf("user     %s\nnumber   %" PRIu64 "\nLSN      %" PRIu64 "\ntime     %s\ntickets  %" PRIu64 "\n",
           user_text(&user, name), ticket.number, ticket.lsn, output_time(ticket.time_ns, time), held);
  }
  if (status == COUPON_NO_CAMPAIGN) return no_campaign(args->values[0], campaign);
  if (!found && !as_json)
    printf("user %s has no ticket in campaign %" PRIu64 " (%s)\n", user_text(&user, name), campaign,
           session_word(status, word));
  return found ? CODE_DONE : CODE_NO;
}

int command_lookup(int argc, char **argv) {
  bool as_json = false;
  uint64_t campaign;
  struct user user;
  const struct args_option options[] = {{"json", ARGS_FLAG, &as_json, NULL}, {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon lookup", argc, argv, options, 3, 3) || !args_number(&args, 1, "ID", &campaign))
    return CODE_USAGE;
  if (!user_read(args.values[2], USER_EITHER, &user)) {
    (void)args_wrong(&args, "USER must be %s, not '%s'", user_looks(USER_EITHER), args.values[2]);
    return CODE_USAGE;
  }
  struct session session;
  int code = session_open_to_read(&session, args.values[0]);
  if (code != CODE_DONE) return code;
  code = session_close(&session, lookup(&session, &args, campaign, as_json));
  return output_finish(code);
}

/* --- status ----------------------------------------------------------------------------------- */

enum { CAMPAIGNS_AT_ONCE = 64 };

static void print_row(const struct coupon_campaign_info *info) {
  printf("%20" PRIu64 " %14" PRIu64 " %14" PRIu64 " %14" PRIu64 " %6s %-6s %-9s  ", info->id, info->stock, info->issued,
         info->remaining, info->user_limit == 0 ? "none" : "1", user_word(info->user_kind),
         session_state_word(info->state));
  output_text(stdout, info->name);
  putchar('\n');
}

/* All campaigns, page by page; `json` is NULL for a table. */
static coupon_status list_campaigns(struct session *session, struct json *json) {
  struct coupon_campaign_info infos[CAMPAIGNS_AT_ONCE];
  size_t count = CAMPAIGNS_AT_ONCE;
  for (uint64_t from = 0; count == CAMPAIGNS_AT_ONCE; from += count) {
    coupon_status status = coupon_list(session->engine, from, infos, sizeof infos[0], CAMPAIGNS_AT_ONCE, &count);
    if (status != COUPON_OK) return status;
    if (json == NULL && from == 0 && count > 0)
      printf("\n%20s %14s %14s %14s %6s %-6s %-9s  %s\n", "campaign", "stock", "issued", "remaining", "limit", "users",
             "state", "name");
    for (size_t i = 0; i < count; i++) {
      if (json == NULL) {
        print_row(&infos[i]);
        continue;
      }
      json_open(json, NULL, '{');
      json_campaign(json, &infos[i]);
      json_close(json, '}');
    }
  }
  return COUPON_OK;
}

static void print_checkpoint(const struct session *session, const struct coupon_stats *stats) {
  char time[OUTPUT_TIME_MAX];
  const struct coupon_report *report = &session->report;
  if (report->checkpoint != 0)
    printf("checkpoint   %" PRIu64 ", of LSN %" PRIu64 " and %s, %" PRIu64 " bytes\n", report->checkpoint,
           stats->checkpoint_lsn, output_time(stats->checkpoint_time_ns, time), stats->checkpoint_bytes);
  if (report->checkpoint_status != COUPON_OK)
    printf("passed over  %s, which is damaged, missing or unreadable; nothing is lost\n", report->checkpoint_file);
}

static int status_of_all(struct session *session, bool as_json) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  coupon_status status = coupon_read_stats(session->engine, &stats);
  if (status != COUPON_OK) return session_fault(session, "reading the statistics", status);
  if (as_json) {
    struct json json = {stdout, false};
    json_open(&json, NULL, '{');
    json_u64(&json, "tickets", stats.tickets);
    json_u64(&json, "durable_lsn", stats.durable_lsn);
    json_u64(&json, "records", session->report.records);
    json_u64(&json, "segments", stats.segments);
    json_u64(&json, "lives", stats.life);
    json_u64(&json, "cut_bytes", session->report.cut_bytes);
    json_u64(&json, "checkpoint", session->report.checkpoint);
    json_u64(&json, "checkpoint_lsn", stats.checkpoint_lsn);
    json_u64(&json, "checkpoint_time_ns", stats.checkpoint_time_ns);
    json_u64(&json, "checkpoint_bytes", stats.checkpoint_bytes);
    json_text(&json, "damaged_checkpoint", session->report.checkpoint_file);
    json_open(&json, "campaigns", '[');
    status = list_campaigns(session, &json);
    json_close(&json, ']');
    json_close(&json, '}');
    json_end(&json);
  } else {
    printf("tickets      %" PRIu64 "\ndurable LSN  %" PRIu64 "\nrecords      %" PRIu64 "\nsegments     %" PRIu64
           "\nlives        %" PRIu64 "\n",
           stats.tickets, stats.durable_lsn, session->report.records, stats.segments, stats.life);
    print_checkpoint(session, &stats);
    if (session->report.cut_bytes > 0)
      printf("torn tail    %" PRIu64 " bytes, never final, cut by the next opening\n", session->report.cut_bytes);
    status = list_campaigns(session, NULL);
  }
  return status == COUPON_OK ? CODE_DONE : session_fault(session, "listing the campaigns", status);
}

static int status_of_one(struct session *session, const char *directory, uint64_t campaign, bool as_json) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  coupon_status status = coupon_info(session->engine, campaign, &info);
  if (status == COUPON_NO_CAMPAIGN) return no_campaign(directory, campaign);
  if (status != COUPON_OK) return session_fault(session, "asking about the campaign", status);
  if (as_json) {
    struct json json = {stdout, false};
    json_open(&json, NULL, '{');
    json_campaign(&json, &info);
    json_close(&json, '}');
    json_end(&json);
  } else
    print_campaign(&info);
  return CODE_DONE;
}

int command_status(int argc, char **argv) {
  bool as_json = false;
  uint64_t campaign = 0;
  const struct args_option options[] = {{"json", ARGS_FLAG, &as_json, NULL}, {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon status", argc, argv, options, 1, 2) ||
      (args.count == 2 && !args_number(&args, 1, "ID", &campaign)))
    return CODE_USAGE;
  struct session session;
  int code = session_open_to_read(&session, args.values[0]);
  if (code != CODE_DONE) return code;
  code =
      args.count == 2 ? status_of_one(&session, args.values[0], campaign, as_json) : status_of_all(&session, as_json);
  code = session_close(&session, code);
  return output_finish(code);
}

/* --- tickets ---------------------------------------------------------------------------------- */

enum { TICKETS_AT_ONCE = 256 };

/* Prints the tickets from `number` on; `json` is NULL for a table. */
static coupon_status list_tickets(struct session *session, const struct coupon_campaign_info *info, uint64_t number,
                                  struct json *json) {
  struct coupon_ticket tickets[TICKETS_AT_ONCE];
  size_t count = TICKETS_AT_ONCE;
  while (count == TICKETS_AT_ONCE) {
    coupon_status status =
        coupon_read_tickets(session->engine, info->id, number, tickets, sizeof tickets[0], TICKETS_AT_ONCE, &count);
    if (status != COUPON_OK) return status;
    for (size_t i = 0; i < count; i++) {
      tickets[i].answer = COUPON_ISSUED;
      struct user user = user_of_ticket(&tickets[i], info->user_kind);
      if (json == NULL) {
        print_ticket(&user, &tickets[i]);
        continue;
      }
      json_open(json, NULL, '{');
      json_ticket(json, &user, &tickets[i]);
      json_close(json, '}');
    }
    if (count > 0) number = tickets[count - 1].number + 1;
  }
  return COUPON_OK;
}

static int tickets(struct session *session, const char *directory, uint64_t campaign, uint64_t from, bool as_json) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  coupon_status status = coupon_info(session->engine, campaign, &info);
  if (status == COUPON_NO_CAMPAIGN) return no_campaign(directory, campaign);
  if (status == COUPON_OK && as_json) {
    struct json json = {stdout, false};
    json_open(&json, NULL, '{');
    json_u64(&json, "campaign", campaign);
    json_u64(&json, "issued", info.issued);
    json_u64(&json, "from", from);
    json_open(&json, "tickets", '[');
    status = list_tickets(session, &info, from, &json);
    json_close(&json, ']');
    json_close(&json, '}');
    json_end(&json);
  } else if (status == COUPON_OK) {
    print_ticket_head(info.user_kind);
    status = list_tickets(session, &info, from, NULL);
  }
  return status == COUPON_OK ? CODE_DONE : session_fault(session, "reading the tickets", status);
}

int command_tickets(int argc, char **argv) {
  bool as_json = false;
  uint64_t campaign;
  uint64_t from = 1;
  const struct args_option options[] = {
      {"json", ARGS_FLAG, &as_json, NULL}, {"from", ARGS_U64, &from, NULL}, {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon tickets", argc, argv, options, 2, 2) || !args_number(&args, 1, "ID", &campaign))
    return CODE_USAGE;
  struct session session;
  int code = session_open_to_read(&session, args.values[0]);
  if (code != CODE_DONE) return code;
  code = session_close(&session, tickets(&session, args.values[0], campaign, from, as_json));
  return output_finish(code);
}
