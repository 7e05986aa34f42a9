/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the readers of checkpoints: an input is the newest checkpoint of a directory whose log is empty, so that all
 * there is to know stands in it; or it is that in short (checkpoint_short.h), and has some pages of tickets, which the
 * library takes as they lie there. The library takes it exactly if the verifier finds it valid; it then says the same
 * of every campaign and ticket, and goes on behind it. What is passed over is refused where its first block proves that
 * there was something; else the directory is as empty as its log.
 */
#include <string.h>

#include "../../tools/verify_checkpoint.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "checkpoint_short.h"
#include "engine/restore.h"
#include "judge.h"
#include "log/format.h"
#include "log_build.h"
#include "log_input.h"
#include "target.h"

uint64_t target_summary;

static const unsigned char identity[LOG_IDENTITY_SIZE] = "fuzz.checkpoint!";
static unsigned char manifest[LOG_BLOCK];
static struct log_build segment;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  judge_begin();
  log_input_manifest(identity, manifest);
  cpn_put_u64(manifest + 48, 1);
  cpn_put_u64(manifest + 504, cpn_checksum(manifest, 504));
  segment = log_build_begin();
  log_build_seal(&segment, identity);
  return 0;
}

/* --- what the verifier says --------------------------------------------------------------------------- */

/* More than an input of this length can hold. */
enum { CAMPAIGNS = 64, TICKETS = 2048, SLOTS = 4096 };

static struct {
  struct checkpoint_finding finding;
  struct checkpoint_campaign campaigns[CAMPAIGNS];
  struct {
    uint64_t index, user[2];
    struct checkpoint_ticket says;
  } tickets[TICKETS];
  uint16_t holders[SLOTS]; /* of tickets, 1 and up, where their users' hashes lead; 0: nobody's yet */
  size_t campaign_count, ticket_count;
  bool released, twins; /* somebody has two tickets who may have one */
} told;

static void take_campaign(void *context, uint64_t index, const struct checkpoint_campaign *campaign) {
  (void)context;
  if (index >= CAMPAIGNS) judge_finding("more campaigns than an input can hold");
  told.campaigns[index] = *campaign;
  told.campaign_count = index + 1;
  told.released |= campaign->released && !campaign->dropped;
}

/* Whether this ticket, the last one told of, is the first of its user in its campaign. */
static bool is_first(size_t last) {
  const uint64_t key[3] = {told.tickets[last].index, told.tickets[last].user[0], told.tickets[last].user[1]};
  for (size_t slot = cpn_checksum(key, sizeof key) % SLOTS;; slot = (slot + 1) % SLOTS) {
    const size_t holder = told.holders[slot];
    if (holder == 0) {
      told.holders[slot] = (uint16_t)(last + 1);
      return true;
    }
    const uint64_t *user = told.tickets[holder - 1].user;
    if (told.tickets[holder - 1].index == key[0] && user[0] == key[1] && user[1] == key[2]) return false;
  }
}

static void take_ticket(void *context, uint64_t index, const struct checkpoint_campaign *campaign,
                        const struct checkpoint_ticket *ticket) {
  (void)context;
  if (told.ticket_count >= TICKETS) judge_finding("more tickets than an input can hold");
  bool uuid = campaign->user_kind == KIND_UUID;
  const size_t last = told.ticket_count++;
  told.tickets[last].index = index;
  told.tickets[last].says = *ticket;
  told.tickets[last].user[0] = cpn_get_u64(ticket->user);
  told.tickets[last].user[1] = uuid ? cpn_get_u64(ticket->user + 8) : 0;
  told.twins |= campaign->user_limit != 0 && !is_first(last);
}

static void ask_verifier(void) {
  const struct checkpoint_visitor visitor = {NULL, take_campaign, take_ticket};
  struct file file = {.open = false};
  checkpoint_file_name(1, file.name);
  memset(&told.finding, 0, sizeof told.finding);
  memset(told.holders, 0, sizeof told.holders);
  told.campaign_count = told.ticket_count = 0;
  told.released = told.twins = false;
  if (!file_open(&file, 0)) judge_finding("the verifier cannot open the checkpoint");
  checkpoint_read(&file, -1, identity, 1, &visitor, &told.finding);
  file_close(&file);
}

/* --- the library held to it ---------------------------------------------------------------------------- */

static void compare(coupon_engine *engine) {
  for (size_t i = 0; i < told.campaign_count; i++) {
    const struct checkpoint_campaign *c = &told.campaigns[i];
    struct coupon_campaign_info info = judge_info_at(engine, i);
    if (info.id != c->id || info.stock != c->stock || info.issued != c->tickets || info.user_limit != c->user_limit ||
        (uint32_t)info.user_kind != c->user_kind || info.opens_at_ns != c->opens_at_ns ||
        info.closes_at_ns != c->closes_at_ns || info.created_lsn != c->created_lsn ||
        strlen(info.name) != c->name_length)
      judge_finding("the library and the verifier differ about campaign %llu", (unsigned long long)c->id);
  }
  for (size_t i = 0; i < told.ticket_count; i++) {
    const struct checkpoint_campaign *c = &told.campaigns[told.tickets[i].index];
    struct coupon_ticket ticket = judge_ticket_at(engine, c->id, told.tickets[i].says.number);
    uint64_t user = c->user_kind == KIND_UUID ? cpn_get_u64(ticket.uuid) : ticket.user;
    uint64_t rest = c->user_kind == KIND_UUID ? cpn_get_u64(ticket.uuid + 8) : 0;
    if (user != told.tickets[i].user[0] || rest != told.tickets[i].user[1] || ticket.lsn != told.tickets[i].says.lsn ||
        ticket.time_ns != told.tickets[i].says.time_ns)
      judge_finding("the library and the verifier differ about ticket %llu of campaign %llu",
                    (unsigned long long)ticket.number, (unsigned long long)c->id);
  }
}

/* Whether the log can go on where the checkpoint says. */
static bool leads_somewhere(void) {
  return told.finding.segment == 1 && told.finding.segment_offset <= LOG_SEGMENT_BYTES;
}

static coupon_engine *look(struct coupon_report *report) {
  coupon_engine *engine;
  const struct checkpoint_finding *f = &told.finding;
  coupon_status status = judge_open(true, &engine, report);
  bool valid = f->verdict == READ_OK && !told.twins, taken = status == COUPON_OK && report->checkpoint == 1;
  /* Of tickets files there are none here. */
  if (told.released) return engine;
  if (taken && !valid)
    judge_finding("the library takes a checkpoint that the verifier refuses, at %llu: %s",
                  (unsigned long long)f->offset, told.twins ? "a user has two tickets" : f->why);
  if (valid && leads_somewhere() && !taken)
    judge_finding("the library does not take a checkpoint that is valid: %s, %s, %s", coupon_status_name(status),
                  report->checkpoint_file, report->message);
  if (!valid && f->known && status == COUPON_OK)
    judge_finding("the library overlooks that LSN %llu was durable", (unsigned long long)f->lsn);
  if (!valid && !f->known && f->verdict == READ_DAMAGED && status != COUPON_OK)
    judge_finding("the library refuses for a checkpoint of which nothing is known: %s", report->message);
  if (taken) compare(engine);
  return engine;
}

static void write_and_read(coupon_status expected, uint64_t seen, bool goes_on) {
  coupon_engine *engine;
  struct coupon_report report;
  coupon_status status = judge_open(false, &engine, &report);
  if (status != expected)
    judge_finding("opening for writing answered %s: %s", coupon_status_name(status), report.message);
  if (status != COUPON_OK) return;
  if (judge_digest(engine) != seen) judge_finding("opening for writing keeps something else than was seen");
  if (goes_on) judge_go_on(engine);
  uint64_t left = judge_digest(engine);
  judge_end(engine);
  if (judge_open(true, &engine, &report) != COUPON_OK) judge_finding("what was closed is refused: %s", report.message);
  if (judge_digest(engine) != left) judge_finding("what was closed opens as something else");
  judge_end(engine);
}

/* From which ticket on a campaign's claims come later, as in a large one, and its pages may be taken as they lie there:
 * the first, or the last of a page, or as in the library that is shipped, by the input's checksum. Rarely for an input
 * that has no pages: it takes as long as all the rest. */
static uint64_t choose_defer_from(uint64_t sum, bool pages) {
  static const uint64_t from[] = {0, 65536, 255, 0, 0, 0, 0, 0};
  const uint64_t choice = sum >> 32 & 7;
  return pages || choice == 0 ? from[choice] : 65536;
}

/* Of inputs whose claims come later half have theirs left by a second thread meanwhile, which begins at once. */
static void choose_follower(uint64_t sum) {
  static uint64_t usual;
  if (usual == 0) usual = cpn_restore_follow_from;
  const bool follow = cpn_restore_defer_from == 0 && (sum >> 35 & 1) != 0;
  judge_let_threads(follow);
  cpn_restore_follow_from = follow ? 4 : usual;
}

static int look_at(const uint8_t *data, size_t size, bool pages) {
  char name[READ_FILE_MAX];
  checkpoint_file_name(1, name);
  cpn_restore_defer_from = choose_defer_from(cpn_checksum(data, size), pages);
  choose_follower(cpn_checksum(data, size));
  memory_disk_clear(&judge_disk);
  memory_disk_put(&judge_disk, CPN_MANIFEST_NAME, manifest, sizeof manifest, 0);
  log_input_put(&judge_disk, segment.bytes, segment.size);
  memory_disk_put(&judge_disk, name, data, size, 0);
  ask_verifier();
  struct coupon_report report;
  coupon_engine *engine = look(&report);
  const uint64_t words[] = {(uint64_t)report.status,
                            cpn_checksum(report.message, strcspn(report.message, "0123456789")),
                            told.finding.why == NULL ? 0 : cpn_checksum(told.finding.why, strlen(told.finding.why)),
                            told.campaign_count,
                            told.ticket_count,
                            told.finding.chunks % 8};
  target_summary = cpn_checksum(words, sizeof words);
  uint64_t seen = 0;
  const unsigned what = judge_choose(cpn_checksum(data, size));
  const bool again = (what & (JUDGE_GOES_ON | JUDGE_REFUSED_TWICE)) != 0;
  if (engine != NULL) {
    if (again || !pages) seen = judge_digest(engine); /* hundreds of tickets, which have been compared */
    judge_end(engine);
  }
  /* Where the last life there is has been, no other can follow. */
  const bool is_last = report.checkpoint == 1 && told.finding.life == UINT64_MAX - 1;
  const coupon_status expected = engine == NULL ? report.status : is_last ? COUPON_E_CORRUPT : COUPON_OK;
  if (again) write_and_read(expected, seen, (what & JUDGE_GOES_ON) != 0);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static unsigned char whole[CHECKPOINT_LONG_MAX];
  const size_t length = size > CHECKPOINT_BUILD_MAX ? 0 : checkpoint_short_expand(data, size, identity, whole);
  return length == 0 ? look_at(data, size, false) : look_at(whole, length, true);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed) {
  uint64_t random = seed;
  return checkpoint_input_mutate(data, size, max_size, identity, &random);
}
