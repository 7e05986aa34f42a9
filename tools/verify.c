/* SPDX-License-Identifier: Apache-2.0 */
#include "verify.h"

#include "args.h"
#include "output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* How often a bad or doubtful result beside a running owner is looked at again, and after which pause: an owner that is
 * just opening, or closing, has moved on by then; damage has not. */
enum { TRIES = 5, PAUSE_MS = 100 };

/* A rule that was found broken stays broken, whatever the rest of the log holds. */
static bool shows_broken_rule(const struct verification *v) {
  return v->finding.verdict != READ_DAMAGED && v->rules.broken > 0;
}

static int code_of(const struct verification *v) {
  if (v->finding.verdict == READ_DAMAGED || v->rules.broken > 0) return CODE_DAMAGED;
  return v->finding.verdict != READ_OK || v->rules.no_memory || stories_no_memory(&v->stories) ? CODE_FAULT : CODE_DONE;
}

/* --- reading -------------------------------------------------------------------------------- */

static void take_record(void *context, const struct read_record *record) {
  struct verification *v = context;
  rules_take(&v->rules, record);
  stories_log(&v->stories, record, &v->finding);
}

static void take_checkpoint(void *context, const struct read_record *record) {
  stories_checkpoint(&((struct verification *)context)->stories, record);
}

static void end_checkpoint(void *context, uint64_t number, const struct checkpoint_finding *found) {
  stories_checkpoint_end(&((struct verification *)context)->stories, number, found);
}

/* What no opening would stumble over is damage, too: tickets that cannot be read any more, a checkpoint that lies. */
static void judge_beside(struct verification *v) {
  struct read_finding *finding = &v->finding;
  const struct tickets_finding *tickets = &finding->tickets_fault;
  if (finding->verdict != READ_OK) return;
  if (tickets->verdict != READ_OK) {
    finding->verdict = tickets->verdict;
    finding->offset = tickets->offset;
    memcpy(finding->file, tickets->file, sizeof finding->file);
    snprintf(finding->why, sizeof finding->why, "%s", tickets->why);
  } else if (v->stories.wrong != 0) {
    finding->verdict = READ_DAMAGED;
    checkpoint_file_name(v->stories.wrong, finding->file);
    memcpy(finding->why, v->stories.why, sizeof finding->why);
  }
}

static void read_once(const char *directory, const char *archive, struct verification *v) {
  const struct read_request request = {directory,      archive, READ_NO_LIMIT, take_record, take_checkpoint,
                                       end_checkpoint, v};
  read_directory(&request, &v->finding);
  rules_finish(&v->rules);
  if (v->finding.verdict == READ_OK) stories_log_end(&v->stories, &v->finding);
  judge_beside(v);
}

int verify_directory(const char *directory, const char *archive, struct verification *v) {
  const struct timespec pause = {0, PAUSE_MS * 1000000L};
  memset(v, 0, sizeof *v);
  for (int try = 1;; try++) {
    read_once(directory, archive, v);
    int code = code_of(v);
    bool certain = code == CODE_DONE && v->finding.cut_bytes == 0;
    bool moving = v->finding.owner.held || read_owner_changed(directory, &v->finding.owner);
    if (certain || !moving || try == TRIES) return code;
    verify_fini(v);
    nanosleep(&pause, NULL);
  }
}

void verify_fini(struct verification *v) {
  rules_fini(&v->rules);
  stories_fini(&v->stories);
}

static void verdict_ok(const struct verification *v, char *verdict) {
  const struct read_finding *finding = &v->finding;
  char tail[160] = "";
  if (finding->cut_bytes > 0)
    snprintf(tail, sizeof tail,
             "; a torn tail of %" PRIu64 " bytes follows (%s at %" PRIu64
             "): it was never final, the next opening cuts it",
             finding->cut_bytes, finding->cut_file, finding->cut_offset);
  char owner[96] = "";
  if (finding->owner.held)
    snprintf(owner, sizeof owner, ", up to what process %" PRIu64 ", which has it open, made final",
             finding->owner.pid);
  snprintf(verdict, VERIFY_VERDICT_MAX, "ok: %" PRIu64 " records, %" PRIu64 " tickets, LSN %" PRIu64 "%s%s",
           finding->records, v->rules.tickets, finding->lsn, owner, tail);
}

void verify_verdict(const struct verification *v, char verdict[VERIFY_VERDICT_MAX]) {
  static const char *const words[] = {
      [READ_DAMAGED] = "damaged", [READ_NEWER] = "newer version", [READ_UNREADABLE] = "cannot be read"};
  static const char *const advices[] = {[READ_DAMAGED] = "keep the directory as it is, and restore it from a backup",
                                        [READ_NEWER] = "use a newer version of coupon",
                                        [READ_UNREADABLE] = "check the path and your permissions, and try again"};
  const struct read_finding *finding = &v->finding;
  char place[READ_FILE_MAX + 32] = "";
  if (finding->file[0] != 0) snprintf(place, sizeof place, "%s at %" PRIu64 ": ", finding->file, finding->offset);
  if (shows_broken_rule(v)) {
    char more[48] = "";
    if (v->rules.broken > 1) snprintf(more, sizeof more, ", and %" PRIu64 " more", v->rules.broken - 1);
    snprintf(verdict, VERIFY_VERDICT_MAX, "broken rule: %s%s; keep the directory as it is, and see 'coupon dump'",
             v->rules.message, more);
  } else if (finding->verdict != READ_OK)
    snprintf(verdict, VERIFY_VERDICT_MAX, "%s: %s%s; %s", words[finding->verdict], place, finding->why,
             advices[finding->verdict]);
  else if (v->rules.no_memory || stories_no_memory(&v->stories))
    snprintf(verdict, VERIFY_VERDICT_MAX,
             "cannot be read: memory is used up; have 16 bytes free for each ticket of the largest campaign, 32 where "
             "its users are UUIDs");
  else
    verdict_ok(v, verdict);
}

/* --- coupon verify ---------------------------------------------------------------------------- */

static uint64_t remaining(const struct rules_campaign *c) { return c->stock > c->issued ? c->stock - c->issued : 0; }

static const char *users_word(const struct rules_campaign *c) { return c->user_kind == KIND_UUID ? "uuid" : "number"; }

static void print_campaigns(const struct rules *rules) {
  if (rules->count == 0) return;
  printf("\n%20s %14s %14s %14s %6s %-6s  %s\n", "campaign", "stock", "issued", "remaining", "limit", "users", "name");
  for (size_t i = 0; i < rules->count; i++) {
    const struct rules_campaign *c = &rules->campaigns[i];
    printf("%20" PRIu64 " %14" PRIu64 " %14" PRIu64 " %14" PRIu64 " ", c->id, c->stock, c->issued, remaining(c));
    if (c->user_limit == 0)
      printf("%6s ", "none");
    else
      printf("%6" PRIu64 " ", c->user_limit);
    printf("%-6s  ", users_word(c));
    output_text(stdout, c->name);
    putchar('\n');
  }
}

static void print_text(const struct verification *v, const char *verdict) {
  const struct read_finding *finding = &v->finding;
  printf("segments   %" PRIu64 "\nframes     %" PRIu64 "\nrecords    %" PRIu64 "\ntickets    %" PRIu64
         "\nlives      %" PRIu64 "\nLSN        %" PRIu64 "\n",
         finding->segments, finding->frames, finding->records, v->rules.tickets, finding->lives, finding->lsn);
  if (finding->owner.held)
    printf("ended      still open, in process %" PRIu64 "\n", finding->owner.pid);
  else
    printf("ended      %s\n", finding->ended ? "closed" : "not closed: by a crash, or killed");
  if (finding->checkpoint != 0)
    printf("begins     behind checkpoint %" PRIu64 "; the log before it is gone\n", finding->checkpoint);
  if (v->stories.compared > 0)
    printf("compared   %" PRIu64 " checkpoint%s: as the log has it\n", v->stories.compared,
           v->stories.compared == 1 ? "" : "s");
  if (finding->damaged_checkpoint != 0)
    printf("damaged    checkpoint %" PRIu64 ": it is passed over, and not needed\n", finding->damaged_checkpoint);
  if (finding->cut_bytes > 0)
    printf("torn tail  %" PRIu64 " bytes, %s at %" PRIu64 "\n", finding->cut_bytes, finding->cut_file,
           finding->cut_offset);
  print_campaigns(&v->rules);
  printf("\n%s\n", verdict);
}

static void json_campaign(struct json *json, const struct rules_campaign *c, uint64_t index) {
  json_open(json, NULL, '{');
  json_u64(json, "campaign", c->id);
  json_u64(json, "index", index);
  json_text(json, "name", c->name);
  json_u64(json, "stock", c->stock);
  json_u64(json, "issued", c->issued);
  json_u64(json, "remaining", remaining(c));
  json_u64(json, "user_limit", c->user_limit);
  json_text(json, "users", users_word(c));
  json_u64(json, "opens_at_ns", c->opens_at_ns);
  json_u64(json, "closes_at_ns", c->closes_at_ns);
  json_bool(json, "opened", c->opened);
  json_bool(json, "closed", c->closed);
  json_close(json, '}');
}

static const char *word_of(const struct verification *v) {
  if (shows_broken_rule(v)) return "broken_rule";
  switch (v->finding.verdict) {
    case READ_DAMAGED:
      return "damaged";
    case READ_NEWER:
      return "newer_version";
    case READ_UNREADABLE:
      return "unreadable";
    case READ_OK:
      break;
  }
  return v->rules.no_memory || stories_no_memory(&v->stories) ? "unreadable" : "ok";
}

static void print_json(const struct verification *v, const char *verdict, bool ok) {
  const struct read_finding *finding = &v->finding;
  struct json json = {stdout, false};
  json_open(&json, NULL, '{');
  json_bool(&json, "ok", ok);
  json_text(&json, "verdict", word_of(v));
  json_text(&json, "message", verdict);
  json_text(&json, "file", finding->file);
  json_u64(&json, "offset", finding->offset);
  json_u64(&json, "segments", finding->segments);
  json_u64(&json, "frames", finding->frames);
  json_u64(&json, "records", finding->records);
  json_u64(&json, "tickets", v->rules.tickets);
  json_u64(&json, "voids", v->rules.voids);
  json_u64(&json, "lives", finding->lives);
  json_u64(&json, "lsn", finding->lsn);
  json_u64(&json, "checkpoint", finding->checkpoint);
  json_u64(&json, "damaged_checkpoint", finding->damaged_checkpoint);
  json_u64(&json, "compared", v->stories.compared);
  json_bool(&json, "open_elsewhere", finding->owner.held);
  json_bool(&json, "ended", finding->ended);
  json_u64(&json, "cut_bytes", finding->cut_bytes);
  json_text(&json, "cut_file", finding->cut_file);
  json_u64(&json, "cut_offset", finding->cut_offset);
  json_u64(&json, "broken_rules", v->rules.broken);
  json_open(&json, "campaigns", '[');
  for (size_t i = 0; i < v->rules.count; i++) json_campaign(&json, &v->rules.campaigns[i], i);
  json_close(&json, ']');
  json_close(&json, '}');
  json_end(&json);
}

int command_verify(int argc, char **argv) {
  bool as_json = false;
  const char *archive = NULL;
  const struct args_option options[] = {
      {"json", ARGS_FLAG, &as_json, NULL}, {"archive", ARGS_TEXT, &archive, NULL}, {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon verify", argc, argv, options, 1, 1)) return CODE_USAGE;
  struct verification v;
  char verdict[VERIFY_VERDICT_MAX];
  int code = verify_directory(args.values[0], archive, &v);
  verify_verdict(&v, verdict);
  if (as_json)
    print_json(&v, verdict, code == CODE_DONE);
  else if (code != CODE_FAULT)
    print_text(&v, verdict);
  if (code == CODE_FAULT) output_error("%s: %s", args.values[0], verdict);
  verify_fini(&v);
  return output_finish(code);
}
