/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `coupon dump`: every record in order. The directory is verified first, silently; what is printed then
 * ends where that ended, so that a log which grows meanwhile cannot tear a line.
 */
#include "args.h"
#include "output.h"
#include "verify.h"

#include <inttypes.h>
#include <stdlib.h>

struct dump {
  struct json json;
  bool as_json;
  const struct rules *rules; /* the campaigns of the whole log, by index */
  uint64_t *issued;          /* so far, by index */
};

/* A record's fields, one after the other, in either shape. */
static void field(struct dump *dump, const char *name, uint64_t value) {
  if (dump->as_json)
    json_u64(&dump->json, name, value);
  else
    printf(" %s=%" PRIu64, name, value);
}

/* The same for a text without spaces. */
static void field_text(struct dump *dump, const char *name, const char *value) {
  if (dump->as_json)
    json_text(&dump->json, name, value);
  else
    printf(" %s=%s", name, value);
}

static void place(struct dump *dump, const struct read_record *record) {
  char file[READ_FILE_MAX] = "checkpoint"; /* what stands before the first segment */
  if (record->segment != 0) read_segment_name(record->segment, file);
  if (!dump->as_json) {
    printf("%" PRIu64 " %s %" PRIu64 " %" PRIu64 " %s", record->lsn, file, record->offset, record->life,
           record_type_name(record->type));
    return;
  }
  json_open(&dump->json, NULL, '{');
  json_u64(&dump->json, "lsn", record->lsn);
  json_text(&dump->json, "file", file);
  json_u64(&dump->json, "offset", record->offset);
  json_u64(&dump->json, "life", record->life);
  json_text(&dump->json, "type", record_type_name(record->type));
}

static void describe(struct dump *dump, const struct read_record *record) {
  const unsigned char *body = record->body;
  field(dump, "stock", read_u64(body + CAMPAIGN_STOCK));
  field(dump, "user_limit", read_u64(body + CAMPAIGN_LIMIT));
  field_text(dump, "users", read_u32(body + CAMPAIGN_USER_KIND) == KIND_UUID ? "uuid" : "number");
  field(dump, "opens_at_ns", read_u64(body + CAMPAIGN_OPENS));
  field(dump, "closes_at_ns", read_u64(body + CAMPAIGN_CLOSES));
  field(dump, "time_ns", read_u64(body + CAMPAIGN_TIME));
  char name[256] = "";
  for (uint32_t i = 0; i < read_u32(body + CAMPAIGN_NAME_LENGTH); i++) name[i] = (char)body[CAMPAIGN_NAME + i];
  name[read_u32(body + CAMPAIGN_NAME_LENGTH)] = 0;
  if (dump->as_json) {
    json_text(&dump->json, "name", name);
    return;
  }
  printf(" name=");
  output_text(stdout, name);
}

/* The campaign's index and id, where the record is about one. */
static void name_campaign(struct dump *dump, const struct read_record *record) {
  field(dump, "index", record->campaign);
  if (record->type == RECORD_CAMPAIGN)
    field(dump, "campaign", read_u64(record->body + CAMPAIGN_ID));
  else if (record->campaign < dump->rules->count)
    field(dump, "campaign", dump->rules->campaigns[record->campaign].id);
}

static void ticket(struct dump *dump, const struct read_record *record) {
  char uuid[OUTPUT_UUID_MAX];
  if (record->campaign < dump->rules->count) field(dump, "number", ++dump->issued[record->campaign]);
  if (record->type == RECORD_ISSUE) {
    field(dump, "user", read_u64(record->body + ISSUE_USER));
    field(dump, "time_ns", read_u64(record->body + ISSUE_TIME));
  } else {
    field_text(dump, "user", output_uuid(record->body + ISSUE_USER, uuid));
    field(dump, "time_ns", read_u64(record->body + ISSUE_UUID_TIME));
  }
}

static void print_record(void *context, const struct read_record *record) {
  struct dump *dump = context;
  place(dump, record);
  if (record->type >= RECORD_CAMPAIGN) name_campaign(dump, record);
  switch (record->type) {
    case RECORD_LIFE:
      field(dump, "began", read_u64(record->body + LIFE_NUMBER));
      field(dump, "time_ns", read_u64(record->body + LIFE_TIME));
      field(dump, "began_lsn", read_u64(record->body + LIFE_LSN));
      break;
    case RECORD_CAMPAIGN:
      describe(dump, record);
      break;
    case RECORD_END:
    case RECORD_OPEN:
    case RECORD_CLOSE:
      field(dump, "time_ns", read_u64(record->body));
      break;
    case RECORD_ISSUE:
    case RECORD_ISSUE_UUID:
      ticket(dump, record);
      break;
    case RECORD_DROPPED:
      field(dump, "tickets", read_u64(record->body));
      break;
    default:
      break;
  }
  if (dump->as_json) {
    json_close(&dump->json, '}');
    json_end(&dump->json);
  } else
    putchar('\n');
}

int command_dump(int argc, char **argv) {
  struct dump dump = {.json = {stdout, false}};
  const char *archive = NULL;
  const struct args_option options[] = {
      {"json", ARGS_FLAG, &dump.as_json, NULL}, {"archive", ARGS_TEXT, &archive, NULL}, {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon dump", argc, argv, options, 1, 1)) return CODE_USAGE;
  struct verification v;
  char verdict[VERIFY_VERDICT_MAX];
  int code = verify_directory(args.values[0], archive, &v);
  verify_verdict(&v, verdict);
  dump.rules = &v.rules;
  dump.issued = calloc(v.rules.count + 1, sizeof *dump.issued);
  struct read_finding printed;
  const struct read_request request = {.directory = args.values[0],
                                       .archive = archive,
                                       .limit_lsn = v.finding.lsn,
                                       .visit = print_record,
                                       .context = &dump};
  if (dump.issued != NULL && v.finding.lsn > 0) read_directory(&request, &printed);
  if (code != CODE_DONE) {
    fflush(stdout);
    output_error("%s: %s", args.values[0], verdict);
  }
  free(dump.issued);
  verify_fini(&v);
  return output_finish(code);
}
