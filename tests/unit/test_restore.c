/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery in runs answers as record by record: random logs are written by this file's own hand, sound or with one rule
 * broken somewhere, and a model that knows nothing but lists goes through the records one after the other. The engine
 * has to find the same tickets, or the same fault at the same place with as much before it; with one thread and with
 * two, with claims made at once and with claims that come at the end.
 *
 * And claims that are left and settled, with hashes chosen so that lines are full, which random users seldom see.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "base/checksum.h"
#include "engine/restore.h"
#include "issue/claim_fill.h"
#include "log/format.h"
#include "log/join.h"
#include "support/failing.h"
#include "support/on_disk.h"

ON_DISK_SUITE(restore);

#define CAMPAIGNS 4
#define ISSUES_MAX 420000
#define SEGMENT_MAX (4 << 20)

struct one {
  struct cpn_record record;
  uint64_t offset; /* of its frame */
  char file[CPN_SEGMENT_NAME_SIZE];
};

struct log {
  struct one *ones;
  size_t count, room;
};

static uint64_t seed;

static uint64_t below(uint64_t range) { return help_random(&seed) % range; }
static bool chance(uint64_t in) { return below(in) == 0; }

/* --- a log -------------------------------------------------------------------------------------------- */

static struct cpn_record *add(struct log *log, struct cpn_record record) {
  if (log->count == log->room) {
    log->room = log->room * 2 + 64;
    log->ones = realloc(log->ones, log->room * sizeof *log->ones);
    cr_assert_not_null(log->ones);
  }
  log->ones[log->count] = (struct one){.record = record};
  return &log->ones[log->count++].record;
}

/* The campaigns, then their tickets in runs of every length, voids and changes of state between them. */
static void make_log(struct log *log, size_t tickets, size_t campaigns, bool may_repeat) {
  struct cpn_record specs[CAMPAIGNS];
  bool closed[CAMPAIGNS] = {false};
  uint64_t time_ns = 1000, user = 0;
  (void)add(log, (struct cpn_record){.type = CPN_RECORD_LIFE, .life = 1, .time_ns = time_ns});
  for (uint32_t i = 0; i < campaigns; i++) {
    specs[i] = (struct cpn_record){.type = CPN_RECORD_CAMPAIGN, .campaign = i, .id = i + 1, .time_ns = time_ns};
    specs[i].stock = chance(4) ? tickets / campaigns / 2 + 1 : tickets + 1;
    specs[i].user_limit = may_repeat && chance(4) ? 0 : 1;
    specs[i].user_kind = chance(3) ? COUPON_USER_UUID : COUPON_USER_U64;
    specs[i].opens_at_ns = chance(3) ? time_ns : 0;
    specs[i].closes_at_ns = chance(3) ? time_ns * 1000000 : 0;
    (void)add(log, specs[i]);
    if (specs[i].opens_at_ns != 0)
      (void)add(log, (struct cpn_record){.type = CPN_RECORD_OPEN, .campaign = i, .time_ns = time_ns});
  }
  uint64_t left[CAMPAIGNS];
  for (size_t i = 0; i < campaigns; i++) left[i] = specs[i].stock;
  for (size_t made = 0, turns = 0; made < tickets && turns < tickets; turns++) {
    const uint32_t i = (uint32_t)below(campaigns);
    if (closed[i]) continue;
    const bool uuid = specs[i].user_kind == COUPON_USER_UUID;
    for (uint64_t run = 1 + below(chance(3) ? 700 : 40); run > 0 && made < tickets && left[i] > 0; run--) {
      time_ns += chance(30) ? 1000 : chance(50) ? 7 : 0;
      user++;
      const bool again = specs[i].user_limit == 0 && chance(3);
      (void)add(log, (struct cpn_record){.type = uuid ? CPN_RECORD_ISSUE_UUID : CPN_RECORD_ISSUE,
                                         .campaign = i,
                                         .user = {again ? 1 + below(user) : user, uuid ? user / 5 : 0},
                                         .time_ns = time_ns});
      made++;
      left[i]--;
    }
    if (chance(8)) (void)add(log, (struct cpn_record){.type = CPN_RECORD_VOID});
    if (specs[i].closes_at_ns != 0 && chance(100)) {
      time_ns = cpn_max_u64(time_ns, specs[i].closes_at_ns);
      (void)add(log, (struct cpn_record){.type = CPN_RECORD_CLOSE, .campaign = i, .time_ns = time_ns});
      closed[i] = true;
    }
    bool over = true;
    for (size_t k = 0; k < campaigns; k++) over = over && (closed[k] || left[k] == 0);
    if (over) break;
  }
}

static bool is_issue(const struct cpn_record *record) {
  return record->type == CPN_RECORD_ISSUE || record->type == CPN_RECORD_ISSUE_UUID;
}

/* Breaks one rule, most likely; the model says which. */
static void spoil(struct log *log) {
  size_t at = 1 + below(log->count - 1);
  while (!is_issue(&log->ones[at].record) && at > 1) at--;
  struct cpn_record *record = &log->ones[at].record;
  if (!is_issue(record)) return;
  size_t before = chance(2) && at > 40 ? at - 1 - below(32) : 1 + below(at);
  switch (below(7)) {
    case 0:
    case 1: /* a user twice: most often near, or anywhere */
      while (before > 1 &&
             (!is_issue(&log->ones[before].record) || log->ones[before].record.campaign != record->campaign))
        before--;
      memcpy(record->user, log->ones[before].record.user, sizeof record->user);
      break;
    case 2:
      record->time_ns -= 1 + below(3);
      break;
    case 3:
      record->time_ns = chance(2) ? 1 : UINT64_MAX / 2;
      break;
    case 4:
      record->campaign = chance(2) ? 77 : (record->campaign + 1) % CAMPAIGNS;
      break;
    case 5:
      record->type = CPN_RECORD_CLOSE;
      break;
    default: /* less stock */
      for (size_t i = 1; i < log->count; i++) {
        struct cpn_record *other = &log->ones[i].record;
        if (other->type == CPN_RECORD_CAMPAIGN && other->stock > 1) other->stock = 1 + below(other->stock);
      }
  }
}

/* --- written down ------------------------------------------------------------------------------------- */

static unsigned char identity[CPN_IDENTITY_SIZE] = "restore";
static unsigned char segment[SEGMENT_MAX];

static void write_file(const char *name, const unsigned char *bytes, size_t size) {
  char path[HELP_PATH_MAX];
  FILE *file = fopen(help_join(path, data, name), "we");
  cr_assert(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
}

static size_t encode(const struct cpn_record *record, unsigned char *bytes) {
  uint64_t words[CPN_WORDS_CAMPAIGN_MAX] = {0};
  uint64_t head =
      record->type == CPN_RECORD_VOID ? cpn_record_head(CPN_RECORD_VOID, 3, 0) : cpn_record_encode(record, words);
  words[0] = head;
  for (uint32_t i = 0; i < cpn_record_words(head); i++) cpn_put_u64(bytes + (size_t)i * 8, words[i]);
  return cpn_record_words(head) * (size_t)8;
}

static void begin_segment(uint64_t number, uint64_t lsn, size_t size) {
  struct cpn_segment_header header = {.number = number, .first_lsn = lsn, .life = 1, .segment_size = size};
  memset(segment, 0, size);
  cpn_segment_header_encode(&header, identity, segment);
}

/* Frames of some records, in segments of this size; each record learns its LSN and where its frame is. */
static void write_log(struct log *log, size_t segment_size, size_t records_in_frame) {
  uint64_t number = 1, lsn = 0, offset = CPN_BLOCK_SIZE;
  unsigned char block[CPN_BLOCK_SIZE];
  struct cpn_manifest manifest = {.first_segment = 1};
  memcpy(manifest.identity, identity, sizeof identity);
  cpn_manifest_encode(&manifest, block);
  write_file(CPN_MANIFEST_NAME, block, sizeof block);
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(number, name);
  begin_segment(number, lsn, segment_size);
  for (size_t i = 0; i < log->count;) {
    size_t some = 1 + below(records_in_frame);
    if (offset + cpn_frame_size((some + 1) * 64) > segment_size) { /* none of ours is longer */
      write_file(name, segment, segment_size);
      begin_segment(++number, lsn, segment_size);
      cpn_segment_name(number, name);
      offset = CPN_BLOCK_SIZE;
    }
    struct cpn_frame frame = {.first_lsn = lsn, .synced_lsn = lsn, .life = 1, .segment = number, .offset = offset};
    for (; some > 0 && i < log->count; some--, i++) {
      unsigned char *at = segment + offset + CPN_FRAME_HEADER_SIZE + frame.payload_bytes;
      frame.payload_bytes += (uint32_t)encode(&log->ones[i].record, at);
      log->ones[i].record.lsn = lsn + frame.payload_bytes;
      log->ones[i].offset = offset;
      memcpy(log->ones[i].file, name, sizeof name);
    }
    lsn += frame.payload_bytes;
    if (!chance(4)) {
      size_t size = frame.payload_bytes;
      frame.joined = (uint16_t)cpn_join(segment + offset + CPN_FRAME_HEADER_SIZE, &size);
      frame.payload_bytes = (uint32_t)size;
    }
    cpn_frame_seal(&frame, identity, segment + offset);
    offset += cpn_frame_size(frame.payload_bytes);
  }
  write_file(name, segment, segment_size);
}

/* --- the model ---------------------------------------------------------------------------------------- */

struct model {
  const struct cpn_record *spec[CAMPAIGNS];
  int state[CAMPAIGNS]; /* 0: scheduled, 1: open, 2: closed */
  size_t issued[CAMPAIGNS];
  uint64_t last_ns[CAMPAIGNS];
  size_t campaigns, tickets, records;
  size_t *seen; /* hash table: user and campaign -> record, + 1 */
  size_t seen_size;
};

/* Whether this user has a ticket there; notes it. Linear probing over (campaign, user). */
static bool note_user(struct model *model, const struct log *log, size_t at) {
  const struct cpn_record *record = &log->ones[at].record;
  uint64_t slot = (record->user[0] * 31 + record->user[1] * 17 + record->campaign) * UINT64_C(0x9e3779b97f4a7c15);
  for (slot = slot >> 20 & (model->seen_size - 1);; slot = (slot + 1) & (model->seen_size - 1)) {
    if (model->seen[slot] == 0) break;
    const struct cpn_record *other = &log->ones[model->seen[slot] - 1].record;
    if (other->campaign == record->campaign && other->user[0] == record->user[0] && other->user[1] == record->user[1])
      return true;
  }
  model->seen[slot] = at + 1;
  return false;
}

static const char *model_issue(struct model *model, const struct log *log, size_t at) {
  const struct cpn_record *record = &log->ones[at].record;
  const uint32_t i = record->campaign;
  if (i >= model->campaigns) return "a record of a campaign that was not created";
  const struct cpn_record *spec = model->spec[i];
  if ((spec->user_kind == COUPON_USER_UUID) != (record->type == CPN_RECORD_ISSUE_UUID))
    return "a ticket for a user of another kind";
  if (model->state[i] != 1) return "a ticket of a campaign that is not open";
  if (model->issued[i] == spec->stock) return "more tickets than stock";
  if (record->time_ns < spec->opens_at_ns || (spec->closes_at_ns != 0 && record->time_ns >= spec->closes_at_ns))
    return "a ticket outside its campaign's time";
  if (record->time_ns < model->last_ns[i]) return "times of tickets fall";
  if (note_user(model, log, at) && spec->user_limit != 0) return "a user has more tickets than the limit";
  model->last_ns[i] = record->time_ns;
  model->issued[i]++;
  model->tickets++;
  return NULL;
}

static const char *model_change(struct model *model, const struct cpn_record *record) {
  const uint32_t i = record->campaign;
  if (i >= model->campaigns) return "a record of a campaign that was not created";
  if (record->type == CPN_RECORD_OPEN) {
    if (model->state[i] != 0) return "a campaign opens twice";
    model->state[i] = 1;
    return NULL;
  }
  if (model->state[i] != 1) return "a campaign closes that is not open";
  if (model->spec[i]->closes_at_ns == 0 || record->time_ns < model->spec[i]->closes_at_ns)
    return "a campaign closes before its time";
  model->state[i] = 2;
  return NULL;
}

/* The first broken rule, at record `*at`; or NULL. */
static const char *run_model(struct model *model, const struct log *log, size_t *at) {
  *model = (struct model){.seen_size = cpn_ceil_power_of_two(log->count * 2 + 2)};
  model->seen = calloc(model->seen_size, sizeof *model->seen);
  cr_assert_not_null(model->seen);
  for (*at = 0; *at < log->count; (*at)++, model->records++) {
    const struct cpn_record *record = &log->ones[*at].record;
    const char *broken = NULL;
    if (record->type == CPN_RECORD_CAMPAIGN) {
      model->state[model->campaigns] = record->opens_at_ns == 0;
      model->spec[model->campaigns++] = record;
    } else if (is_issue(record)) {
      broken = model_issue(model, log, *at);
    } else if (record->type == CPN_RECORD_OPEN || record->type == CPN_RECORD_CLOSE) {
      broken = model_change(model, record);
    }
    if (broken != NULL) return broken;
  }
  return NULL;
}

/* --- compared ----------------------------------------------------------------------------------------- */

static void compare_ticket(coupon_engine *engine, const struct cpn_record *record, uint64_t number, bool first) {
  unsigned char uuid[COUPON_UUID_SIZE];
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t got;
  cr_assert_eq(coupon_tickets(engine, record->campaign + 1, number, &ticket, sizeof ticket, 1, &got), COUPON_OK);
  cr_assert(got == 1 && ticket.number == number && ticket.lsn == record->lsn && ticket.time_ns == record->time_ns);
  if (!first) return;
  uint64_t count;
  coupon_status status;
  cpn_put_u64(uuid, record->user[0]);
  cpn_put_u64(uuid + 8, record->user[1]);
  if (record->type == CPN_RECORD_ISSUE_UUID)
    status = coupon_lookup_uuid(engine, record->campaign + 1, uuid, &ticket, &count);
  else
    status = coupon_lookup(engine, record->campaign + 1, record->user[0], &ticket, &count);
  cr_assert_eq(status, COUPON_OK);
  cr_assert(ticket.number == number && ticket.lsn == record->lsn && ticket.time_ns == record->time_ns);
}

static void compare_tickets(coupon_engine *engine, const struct log *log, const struct model *model) {
  uint64_t numbers[CAMPAIGNS] = {0};
  for (size_t i = 0; i < log->count; i++) {
    const struct cpn_record *record = &log->ones[i].record;
    /* Of users without a limit the first ticket is the one that is found: not asked for here. */
    if (is_issue(record))
      compare_ticket(engine, record, ++numbers[record->campaign], model->spec[record->campaign]->user_limit != 0);
  }
  for (size_t i = 0; i < model->campaigns; i++) {
    struct coupon_campaign_info info = help_info(engine, i + 1);
    cr_assert(info.issued == numbers[i] && info.issued + info.remaining == info.stock);
  }
}

static void compare_with_model(const struct log *log, bool threads) {
  struct model model;
  size_t at;
  const char *broken = run_model(&model, log, &at);
  struct coupon_options options = help_options(COUPON_SYNC);
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine = NULL;
  env = help_disk_env(&disk, threads);
  options.read_only = 1;
  coupon_status status = cpn_engine_open(&env, data, &options, &engine, &report);
  if (broken == NULL) {
    cr_assert_eq(status, COUPON_OK, "%s", report.message);
    compare_tickets(engine, log, &model);
    help_close(engine);
  } else {
    cr_assert_eq(status, COUPON_E_CORRUPT, "not found: %s", broken);
    cr_assert_str_eq(report.message, broken);
    cr_assert_str_eq(report.file, log->ones[at].file);
    cr_assert_eq(report.offset, log->ones[at].offset);
  }
  cr_assert_eq(report.tickets, model.tickets);
  cr_assert_eq(report.records, model.records);
  free(model.seen);
}

static void begin_directory(void) {
  if (access(data, F_OK) == 0) help_temp_remove(data);
  cr_assert_eq(mkdir(data, 0700), 0);
}

/* Claims at once, at the end, or by a follower in good time; one thread or two. */
static void compare_all_ways(const struct log *log, uint64_t defer_from) {
  const uint64_t usual = cpn_restore_defer_from, usually_follow = cpn_restore_follow_from;
  for (int way = 0; way < 6; way++) {
    cpn_restore_defer_from = way / 2 == 0 ? UINT64_MAX : way / 2 == 1 ? defer_from : defer_from / 16;
    cpn_restore_follow_from = way / 2 < 2 ? usually_follow : cpn_max_u64(defer_from / 16, 4);
    compare_with_model(log, way % 2 == 1);
  }
  cpn_restore_defer_from = usual;
  cpn_restore_follow_from = usually_follow;
}

#if defined(__SANITIZE_ADDRESS__)
#define ROUNDS 60
#else
#define ROUNDS 250
#endif

Test(restore, random_logs_are_recovered_as_record_by_record) {
  seed = help_seed();
  for (int round = 0; round < ROUNDS; round++) {
    struct log log = {0};
    make_log(&log, 1 + below(chance(10) ? 5000 : 900), 1 + below(CAMPAIGNS), true);
    if (chance(4) == 0) spoil(&log);
    begin_directory();
    write_log(&log, chance(2) ? 65536 : 1 << 18, 1 + below(chance(2) ? 900 : 60));
    compare_all_ways(&log, below(600));
    free(log.ones);
  }
}

/* Enough for two threads to share the claims, and for lines that are full. */
Test(restore, a_large_campaign_is_recovered_as_record_by_record) {
  seed = help_seed();
  for (int round = 0; round < 3; round++) {
    struct log log = {0};
    make_log(&log, ISSUES_MAX - 1, 1, false);
    if (round > 0) { /* a user's second ticket, far behind the first */
      struct cpn_record *last = &log.ones[log.count - 1 - below(1000)].record;
      const struct cpn_record *first = &log.ones[10 + below(log.count / 2)].record;
      if (is_issue(last) && is_issue(first)) memcpy(last->user, first->user, sizeof last->user);
    }
    begin_directory();
    write_log(&log, SEGMENT_MAX, 15000);
    compare_with_model(&log, round != 1);
    free(log.ones);
  }
}

/* Whoever writes such a log knows no hash, and needs none: most of the tickets are one user's, whose part of the claims
 * cannot hold so many. */
Test(restore, a_user_with_most_of_a_large_campaign_is_found) {
  seed = help_seed();
  for (int round = 0; round < 3; round++) {
    struct log log = {0};
    make_log(&log, 250000, 1, false);
    const struct cpn_record *first = NULL;
    const size_t from = round == 0 ? 70000 : round == 1 ? log.count / 2 : log.count - 40000;
    for (size_t i = from; i < log.count; i++) {
      struct cpn_record *record = &log.ones[i].record;
      if (!is_issue(record)) continue;
      if (first == NULL) first = record;
      memcpy(record->user, first->user, sizeof record->user);
    }
    begin_directory();
    write_log(&log, SEGMENT_MAX, 15000);
    compare_with_model(&log, round != 1);
    free(log.ones);
  }
}

/* --- lines that are full ------------------------------------------------------------------------------ */

#define CROWD 2000

struct crowd {
  uint64_t user[CROWD + 1], hash[CROWD + 1]; /* by number */
  bool stranger[CROWD + 1];
};

static bool same_in_crowd(const void *context, uint64_t a, uint64_t b) {
  const struct crowd *crowd = context;
  return crowd->user[a] == crowd->user[b];
}

/* Few lines and few tags, so that lines are full and strangers share both; and some users twice. */
static void make_crowd(struct crowd *crowd) {
  memset(crowd, 0, sizeof *crowd);
  const uint64_t homes = 100 + below(300), tags = 2 + below(300);
  for (uint64_t number = 1; number <= CROWD; number++) {
    const uint64_t like = chance(500) && number > 1 ? 1 + below(number - 1) : 0;
    crowd->user[number] = like != 0 ? crowd->user[like] : number;
    crowd->hash[number] = like != 0 ? crowd->hash[like] : below(homes) << 50 | (1 + below(tags));
  }
}

/* Whoever looks finds the number, or is told of a level that is not there. */
static bool is_found(const struct cpn_claim_set *set, const struct crowd *crowd, uint64_t number) {
  struct cpn_claim_place place;
  place = cpn_claim_look(set, crowd->hash[number]);
  while (place.seen != 0 && cpn_claim_number(place.seen) != number) cpn_claim_look_on(set, crowd->hash[number], &place);
  return place.seen != 0;
}

static uint64_t first_twice(const struct crowd *crowd) {
  static bool seen[CROWD + 1];
  memset(seen, 0, sizeof seen);
  for (uint64_t number = 1; number <= CROWD; number++) {
    if (crowd->stranger[number]) continue;
    if (seen[crowd->user[number]]) return number;
    seen[crowd->user[number]] = true;
  }
  return UINT64_MAX;
}

Test(restore, settled_claims_are_where_whoever_looks_finds_them) {
  seed = help_seed();
  const struct coupon_allocator none = {0};
  static struct crowd crowd;
  for (int round = 0; round < 300; round++) {
    struct cpn_memory memory;
    struct cpn_claim_set set;
    cpn_memory_init(&memory, &none, 0);
    cpn_claim_set_init(&set, &memory, CROWD, 0);
    make_crowd(&crowd);
    struct cpn_claim_fill *fill = cpn_claim_fill_begin(&set, &memory, 100000);
    cr_assert_not_null(fill);
    struct cpn_claim_settler settler = {.same_user = same_in_crowd, .context = &crowd};
    cr_assert(cpn_claim_settler_init(&settler, fill));
    for (uint32_t share = CPN_FILL_SHARES; share-- > 0;) { /* whichever comes first */
      const uint64_t end = cpn_claim_fill_from(CROWD, share + 1);
      for (uint64_t number = cpn_claim_fill_from(CROWD, share), count; number < end; number += count) {
        count = cpn_min_u64(1 + below(CPN_FILL_TOGETHER), end - number);
        cpn_claim_fill_leave(fill, share, &crowd.hash[number], number, count);
      }
      cr_assert(cpn_claim_fill_left(fill, share));
    }
    for (uint32_t part = 0; part < fill->parts; part++) cpn_claim_fill_settle(fill, part, &settler);
    for (size_t i = 0; i < settler.stranger_count; i++) crowd.stranger[settler.strangers[i]] = true;
    for (uint64_t number = 1; number <= CROWD; number++)
      cr_assert_eq(is_found(&set, &crowd, number), !crowd.stranger[number], "number %llu", (unsigned long long)number);
    cr_assert_eq(settler.twice, first_twice(&crowd));
    cpn_claim_settler_fini(&settler);
    cpn_claim_fill_free(fill, &memory);
    cpn_claim_set_fini(&set, &memory);
    cr_assert_eq(cpn_memory_used(&memory), 0);
  }
}
