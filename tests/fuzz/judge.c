/* SPDX-License-Identifier: Apache-2.0 */
#include "judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/verify_rules.h"
#include "base/checksum.h"
#include "engine/engine.h"

struct memory_disk judge_disk;

static struct cpn_env env;
static bool threads;

_Noreturn void judge_finding(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  (void)fputs("FINDING: ", stderr);
  (void)vfprintf(stderr, format, arguments);
  (void)fputc('\n', stderr);
  va_end(arguments);
  abort();
}

void judge_begin(void) {
  memory_disk_init(&judge_disk);
  env = memory_disk_env(&judge_disk);
  memory_disk_shown = &judge_disk;
}

void judge_let_threads(bool may) { threads = may; }

/* --- the verifier ---------------------------------------------------------------------------------- */

#define FRAME_ENDS_MAX 64

struct verified {
  struct read_finding finding;
  struct rules rules;
  uint64_t segment, frame_end, lsn;    /* where the frame ends that the last record is of */
  uint64_t frame_ends[FRAME_ENDS_MAX]; /* LSNs that an owner's hint can name */
  size_t frame_count;
};

static void visit(void *context, const struct read_record *record) {
  struct verified *v = context;
  if (record->segment == 0) { /* a checkpoint's, which has no frames */
    v->lsn = record->lsn > v->lsn ? record->lsn : v->lsn;
    rules_take(&v->rules, record);
    return;
  }
  bool new_frame = record->end != v->frame_end || record->segment != v->segment;
  if (new_frame && v->frame_count < FRAME_ENDS_MAX) v->frame_ends[v->frame_count++] = v->lsn;
  v->frame_end = record->end;
  v->segment = record->segment;
  v->lsn = record->lsn;
  rules_take(&v->rules, record);
}

static bool verify(struct verified *v) {
  memset(v, 0, sizeof *v);
  read_log("", READ_NO_LIMIT, visit, v, &v->finding);
  rules_finish(&v->rules);
  if (v->rules.no_memory) judge_finding("the verifier had no memory");
  return v->finding.verdict == READ_OK && v->rules.broken == 0;
}

static const char *reason(const struct verified *v) {
  if (v->finding.verdict != READ_OK) return v->finding.why;
  return v->rules.broken > 0 ? v->rules.message : "nothing";
}

/* --- the library ------------------------------------------------------------------------------------ */

#define NOW_NS UINT64_C(1000)

static uint64_t read_clock(void *context) {
  (void)context;
  return NOW_NS;
}

coupon_status judge_open(bool read_only, coupon_engine **engine, struct coupon_report *report) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.read_only = read_only;
  options.segment_size_bytes = 4096;
  options.log_buffer_bytes = 4096;
  options.callbacks.clock = read_clock;
  *report = (struct coupon_report)COUPON_REPORT_INIT;
  *engine = NULL;
  env.start_thread = threads && read_only ? cpn_env_system.start_thread : NULL;
  coupon_status status = cpn_engine_open(&env, "d", &options, engine, report);
  if (status == COUPON_OK || status == COUPON_E_CORRUPT || status == COUPON_E_VERSION || status == COUPON_E_ACCESS)
    return status;
  judge_finding("opening answered %s: %s", coupon_status_name(status), report->message);
}

void judge_end(coupon_engine *engine) {
  if (coupon_close(engine) != COUPON_OK) judge_finding("closing failed");
  if (coupon_destroy(engine) != COUPON_OK) judge_finding("freeing failed");
}

struct coupon_campaign_info judge_info_at(coupon_engine *engine, uint64_t index) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  size_t count = 0;
  if (coupon_list(engine, index, &info, sizeof info, 1, &count) != COUPON_OK || count != 1)
    judge_finding("campaign %llu cannot be listed", (unsigned long long)index);
  return info;
}

struct coupon_ticket judge_ticket_at(coupon_engine *engine, uint64_t campaign, uint64_t number) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count = 0;
  if (coupon_tickets(engine, campaign, number, &ticket, sizeof ticket, 1, &count) != COUPON_OK || count != 1)
    judge_finding("ticket %llu cannot be read", (unsigned long long)number);
  return ticket;
}

/* The ticket is found by its user, too: it, or with no limit the first of that user. */
static void check_lookup(coupon_engine *engine, const struct coupon_campaign_info *info,
                         const struct coupon_ticket *ticket) {
  struct coupon_ticket found = COUPON_TICKET_INIT;
  uint64_t count = 0;
  coupon_status status = info->user_kind == COUPON_USER_UUID
                             ? coupon_lookup_uuid(engine, info->id, ticket->uuid, &found, &count)
                             : coupon_lookup(engine, info->id, ticket->user, &found, &count);
  if (status != COUPON_OK) judge_finding("a ticket's user is not found");
  if (info->user_limit == 1 ? found.number != ticket->number || count != 1 : found.number > ticket->number)
    judge_finding("a user's ticket is number %llu, and number %llu is found", (unsigned long long)ticket->number,
                  (unsigned long long)found.number);
}

static uint64_t mix(uint64_t sum, const void *bytes, size_t size) {
  return (sum ^ cpn_checksum(bytes, size)) * UINT64_C(0x9e3779b97f4a7c15);
}

/* Those of a campaign that was released are elsewhere. */
static bool has_tickets(coupon_engine *engine, uint64_t campaign) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count = 0;
  return coupon_tickets(engine, campaign, 1, &ticket, sizeof ticket, 1, &count) == COUPON_OK && count == 1;
}

/* A checksum of the whole state, every part of which is looked at. */
uint64_t judge_digest(coupon_engine *engine) {
  uint64_t sum = 0;
  struct coupon_stats stats = COUPON_STATS_INIT;
  if (coupon_read_stats(engine, &stats) != COUPON_OK) judge_finding("there are no figures");
  for (uint64_t i = 0; i < stats.campaigns; i++) {
    struct coupon_campaign_info info = judge_info_at(engine, i);
    if (info.issued > info.stock || info.issued + info.remaining != info.stock || info.index != i)
      judge_finding("campaign %llu has issued more than its stock, or stands elsewhere", (unsigned long long)info.id);
    info.claim_bytes = info.ticket_bytes = 0; /* memory is no state */
    sum = mix(sum, &info, sizeof info);
    struct coupon_ticket before = {.time_ns = 0};
    for (uint64_t number = 1; number <= info.issued && has_tickets(engine, info.id); number++) {
      struct coupon_ticket ticket = judge_ticket_at(engine, info.id, number);
      if (ticket.number != number || ticket.lsn <= before.lsn || ticket.time_ns < before.time_ns)
        judge_finding("ticket %llu is out of order", (unsigned long long)number);
      check_lookup(engine, &info, &ticket);
      ticket.flags = 0; /* whether it is final belongs to the moment */
      sum = mix(sum, &ticket, sizeof ticket);
      before = ticket;
    }
  }
  return sum;
}

/* --- the one held to the other ------------------------------------------------------------------------ */

static void compare_campaign(coupon_engine *engine, uint64_t index, const struct rules_campaign *c) {
  struct coupon_campaign_info info = judge_info_at(engine, index);
  if (info.id != c->id || info.stock != c->stock || info.issued != c->issued || info.user_limit != c->user_limit ||
      (uint32_t)info.user_kind != c->user_kind || info.opens_at_ns != c->opens_at_ns ||
      info.closes_at_ns != c->closes_at_ns || strcmp(info.name, c->name) != 0)
    judge_finding("the library and the verifier differ about campaign %llu", (unsigned long long)c->id);
  if (c->closed && info.state != COUPON_STATE_CLOSED) judge_finding("a campaign that was closed is open");
  /* The verifier may have read them in the log. */
  for (size_t i = 0; i < c->users_count && info.place == COUPON_PLACE_MEMORY; i++) {
    struct coupon_ticket ticket = judge_ticket_at(engine, info.id, i + 1);
    bool same = c->user_kind == KIND_NUMBER ? ticket.user == c->users[i]
                                            : cpn_get_u64(ticket.uuid) == c->users[2 * i] &&
                                                  cpn_get_u64(ticket.uuid + 8) == c->users[2 * i + 1];
    if (!same) judge_finding("the library and the verifier differ about ticket %zu", i + 1);
  }
}

static void compare(coupon_engine *engine, const struct coupon_report *report, const struct verified *v) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  if (coupon_read_stats(engine, &stats) != COUPON_OK) judge_finding("there are no figures");
  const struct read_finding *f = &v->finding;
  /* Behind a checkpoint the library reads what the verifier reads from the beginning, as long as it is there. */
  bool all = report->checkpoint == 0 && f->checkpoint == 0;
  if (report->recovered_lsn != f->lsn || (all && report->records != f->records) ||
      report->tickets != v->rules.tickets || stats.life != f->lives || stats.campaigns != v->rules.count)
    judge_finding("the library read %llu records to LSN %llu, the verifier %llu to %llu",
                  (unsigned long long)report->records, (unsigned long long)report->recovered_lsn,
                  (unsigned long long)f->records, (unsigned long long)f->lsn);
  if (report->cut_bytes != f->cut_bytes || (f->cut_bytes > 0 && report->offset != f->cut_offset))
    judge_finding("the library cuts %llu bytes at %llu, the verifier %llu at %llu",
                  (unsigned long long)report->cut_bytes, (unsigned long long)report->offset,
                  (unsigned long long)f->cut_bytes, (unsigned long long)f->cut_offset);
  for (size_t i = 0; i < v->rules.count; i++) compare_campaign(engine, i, &v->rules.campaigns[i]);
}

/* Both look. The library's engine if both accept, else NULL. */
static coupon_engine *look(struct verified *v, struct coupon_report *report) {
  coupon_engine *engine;
  const uint64_t changes = judge_disk.changes;
  bool accepted = verify(v);
  coupon_status status = judge_open(true, &engine, report);
  if (accepted != (status == COUPON_OK))
    judge_finding("the library and the verifier disagree: %s, %s at %llu: %s; the verifier: %s at %llu: %s",
                  coupon_status_name(status), report->file, (unsigned long long)report->offset, report->message,
                  v->finding.file, (unsigned long long)v->finding.offset, reason(v));
  if (judge_disk.changes != changes) judge_finding("looking has changed something");
  if (status != COUPON_OK && report->message[0] == 0) judge_finding("refused without a reason");
  if (engine != NULL) compare(engine, report, v);
  return engine;
}

/* --- what must be true of an opening -------------------------------------------------------------------- */

/* One more ticket in each campaign, and one more campaign. */
void judge_go_on(coupon_engine *engine) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  struct coupon_stats stats = COUPON_STATS_INIT;
  spec.id = UINT64_C(0x676f206f6e);
  spec.stock = 1;
  if (coupon_create(engine, &spec, COUPON_POLL) < 0) judge_finding("no campaign can be added");
  if (coupon_read_stats(engine, &stats) != COUPON_OK) judge_finding("there are no figures");
  for (uint64_t i = 0; i < stats.campaigns; i++) {
    struct coupon_campaign_info before = judge_info_at(engine, i);
    static const unsigned char uuid[COUPON_UUID_SIZE] = "one who is new.";
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status status = before.user_kind == COUPON_USER_UUID
                               ? coupon_try_issue_uuid(engine, before.id, uuid, &ticket)
                               : coupon_try_issue(engine, before.id, UINT64_C(0x6e6577), &ticket);
    const bool gone = before.place != COUPON_PLACE_MEMORY;
    if (gone ? status != COUPON_E_RELEASED : status < 0)
      judge_finding("a request was answered %s", coupon_status_name(status));
    if (status == COUPON_ISSUED && before.remaining == 0) judge_finding("a ticket was issued from nothing");
  }
  while (cpn_wait_step(engine) > 0) {
  }
}

/* A log that is longer than its segments by far, with checkpoints now and then: the first of the segments goes. */
static void go_on_with_checkpoints(coupon_engine *engine) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = UINT64_C(0x636865636b);
  spec.stock = 60;
  if (coupon_create(engine, &spec, COUPON_POLL) < 0) judge_finding("no campaign can be added");
  for (uint64_t user = 0; user < 36; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status status = coupon_try_issue(engine, spec.id, user, &ticket);
    if (status != COUPON_ISSUED) judge_finding("a request was answered %s", coupon_status_name(status));
    while (cpn_wait_step(engine) > 0) {
    }
    if (user % 12 != 8) continue;
    status = coupon_checkpoint(engine, COUPON_POLL);
    if (status != COUPON_OK) judge_finding("a checkpoint was answered %s", coupon_status_name(status));
  }
}

/* Opening for writing keeps what was seen, or refuses as looking did; and what is closed opens again as it was. */
static void write_and_read(coupon_status expected, uint64_t seen, unsigned what) {
  coupon_engine *engine;
  struct coupon_report report;
  coupon_status status = judge_open(false, &engine, &report);
  /* Where there is nothing yet, something is made. */
  if (expected == COUPON_E_ACCESS) expected = COUPON_OK;
  if (status != expected)
    judge_finding("opening for writing answered %s: %s", coupon_status_name(status), report.message);
  if (status != COUPON_OK) return;
  if (judge_digest(engine) != seen) judge_finding("opening for writing keeps something else than was seen");
  if ((what & JUDGE_GOES_ON) != 0) judge_go_on(engine);
  if ((what & JUDGE_CHECKPOINTS) != 0) go_on_with_checkpoints(engine);
  uint64_t left = judge_digest(engine);
  judge_end(engine);
  struct verified v;
  engine = look(&v, &report);
  if (engine == NULL) judge_finding("what was closed is refused: %s", report.message);
  if (!v.finding.ended || report.cut_bytes != 0) judge_finding("what was closed has no end, or a tail");
  rules_fini(&v.rules);
  if (judge_digest(engine) != left) judge_finding("what was closed opens as something else");
  judge_end(engine);
}

static void put_hint(uint64_t life, uint64_t lsn, const unsigned char *identity) {
  struct cpn_owner owner = {.life = life, .durable_lsn = lsn, .process = 42};
  unsigned char block[CPN_BLOCK_SIZE];
  cpn_owner_encode(&owner, identity, block);
  memory_disk_put(&judge_disk, CPN_OWNER_NAME, block, sizeof block, 0);
  memory_disk_put(&judge_disk, CPN_LOCK_NAME, block, 0, 0);
  judge_disk.owner = owner.process;
}

/* Reads as if somebody had the directory open whose hint names each frame's end in turn; and an LSN that is not
 * there. */
static void read_beside_owner(const struct verified *all) {
  const struct memory_file *manifest = memory_disk_find(&judge_disk, CPN_MANIFEST_NAME);
  for (size_t i = 0; i <= all->frame_count; i++) {
    uint64_t lsn = i < all->frame_count ? all->frame_ends[i] : all->finding.lsn + 8;
    put_hint(all->finding.lives, lsn, manifest->bytes + 16);
    struct verified v;
    struct coupon_report report;
    coupon_engine *engine = look(&v, &report);
    if (i < all->frame_count && (engine == NULL || report.recovered_lsn != lsn))
      judge_finding("a reader beside the owner does not stop at LSN %llu: %s", (unsigned long long)lsn, report.message);
    if (i == all->frame_count && engine != NULL) judge_finding("a reader beside the owner accepts a log that is short");
    if (engine != NULL) judge_end(engine);
    rules_fini(&v.rules);
  }
  judge_disk.owner = 0;
}

static uint64_t summary(const struct coupon_report *report, const struct verified *v) {
  const uint64_t words[] = {(uint64_t)report->status,
                            cpn_checksum(report->message, strcspn(report->message, "0123456789")),
                            cpn_checksum(v->finding.why, strcspn(v->finding.why, "0123456789")),
                            cpn_min_u64(report->records, 12),
                            cpn_min_u64(report->tickets, 6),
                            v->rules.count,
                            v->finding.segments,
                            report->cut_bytes > 0};
  return cpn_checksum(words, sizeof words);
}

unsigned judge_choose(uint64_t sum) {
  return (sum % 8 == 0 ? JUDGE_GOES_ON : 0U) | (sum % 16 == 1 ? JUDGE_BESIDE_OWNER : 0U) |
         (sum % 4 == 2 ? JUDGE_REFUSED_TWICE : 0U) | (sum % 64 == 3 ? JUDGE_CHECKPOINTS : 0U);
}

uint64_t judge_directory(unsigned what) {
  static struct verified v; /* large, and one at a time */
  struct coupon_report report;
  coupon_engine *engine = look(&v, &report);
  coupon_status status = report.status;
  uint64_t seen = 0 /* of nothing */, kind = summary(&report, &v);
  if (engine != NULL) {
    status = COUPON_OK;
    seen = judge_digest(engine);
    judge_end(engine);
    if ((what & JUDGE_BESIDE_OWNER) != 0) read_beside_owner(&v);
  }
  rules_fini(&v.rules);
  if (status >= 0 || status == COUPON_E_ACCESS || (what & JUDGE_REFUSED_TWICE) != 0) write_and_read(status, seen, what);
  return kind;
}
