/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that users of 16 bytes are served like numbers: issued once, told again, refused, looked up, listed, kept in
 * the log and recovered, told apart by every byte; that a call of one kind in a campaign of the other says so and
 * changes nothing; and that logs from before there were kinds go on as they were.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "support/engine_help.h"
#include "support/failing.h"

static char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];

static void begin(void) {
  help_temp_make(temp);
  (void)help_join(data, temp, "data");
}

static void end(void) {
  help_temp_remove(temp);
  cr_assert_not(help_leaks());
}

/* So that a test that hangs is named; none takes a tenth of it. */
#define HANGS_AFTER_S 60

TestSuite(uuid, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(kind, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);

static coupon_engine *open_as(int32_t durability) {
  struct coupon_options options = help_options(durability);
  return help_open(durability == COUPON_NONE ? NULL : data, &options);
}

static coupon_engine *open_read_only(void) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.read_only = 1;
  return help_open(data, &options);
}

static void create_uuid(coupon_engine *engine, uint64_t id, uint64_t stock, uint64_t limit) {
  struct coupon_campaign_spec spec = help_spec_uuid(id, stock);
  spec.user_limit = limit;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
}

static struct coupon_ticket issue_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                       coupon_status expected) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = coupon_issue_uuid(engine, campaign, uuid, COUPON_FOREVER, &ticket);
  cr_assert_eq(status, expected, "%s", coupon_status_name(status));
  cr_expect_eq(ticket.answer, expected);
  cr_expect_eq(ticket.campaign, campaign);
  cr_expect_eq(ticket.user, 0);
  cr_expect_eq(memcmp(ticket.uuid, uuid, COUPON_UUID_SIZE), 0);
  cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL);
  return ticket;
}

static bool same(const struct coupon_ticket *a, const struct coupon_ticket *b) {
  return help_same_ticket(a, b) && memcmp(a->uuid, b->uuid, COUPON_UUID_SIZE) == 0;
}

static void expect_sound(coupon_engine *engine, uint64_t campaign, uint64_t issued) {
  uint64_t count;
  const char *wrong = help_audit(engine, campaign, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, issued);
}

/* --- users of 16 bytes --------------------------------------------------------------------------- */

#define SOLD 300

static void expect_served(int32_t durability) {
  static struct coupon_ticket issued[SOLD];
  coupon_engine *engine = open_as(durability);
  create_uuid(engine, 1, SOLD, 1);
  cr_expect_eq(help_info(engine, 1).user_kind, COUPON_USER_UUID);
  for (uint64_t i = 0; i < SOLD; i++) {
    issued[i] = issue_uuid(engine, 1, help_uuid(i).bytes, COUPON_ISSUED);
    cr_expect_eq(issued[i].number, i + 1);
    cr_expect_eq(issued[i].lsn > 0, durability != COUPON_NONE);
  }
  for (uint64_t i = 0; i < SOLD; i++) {
    struct coupon_ticket again = issue_uuid(engine, 1, help_uuid(i).bytes, COUPON_ALREADY_ISSUED);
    cr_expect(same(&again, &issued[i]));
    struct coupon_ticket found = COUPON_TICKET_INIT;
    uint64_t count = 77;
    cr_expect_eq(coupon_lookup_uuid(engine, 1, help_uuid(i).bytes, &found, &count), COUPON_OK);
    cr_expect(same(&found, &issued[i]));
    cr_expect_eq(count, 1);
    struct coupon_ticket waited = issued[i];
    cr_expect_eq(coupon_wait(engine, &waited, COUPON_FOREVER), COUPON_OK);
    waited.uuid[15] ^= 1; /* an answer that this engine has never given */
    cr_expect_eq(coupon_wait(engine, &waited, COUPON_FOREVER), COUPON_E_INVAL);
  }
  for (uint64_t i = SOLD; i < SOLD + 50; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    uint64_t count = 77;
    cr_expect_eq(issue_uuid(engine, 1, help_uuid(i).bytes, COUPON_SOLD_OUT).number, 0);
    cr_expect_eq(coupon_try_issue_uuid(engine, 1, help_uuid(i).bytes, &ticket), COUPON_SOLD_OUT);
    cr_expect_eq(coupon_lookup_uuid(engine, 1, help_uuid(i).bytes, &ticket, &count), COUPON_NOT_FOUND);
    cr_expect_eq(count, 0);
  }
  (void)issue_uuid(engine, 404, help_uuid(1).bytes, COUPON_NO_CAMPAIGN);
  static struct coupon_ticket listed[SOLD + 1];
  size_t count;
  cr_assert_eq(coupon_tickets(engine, 1, 1, listed, sizeof listed[0], SOLD + 1, &count), COUPON_OK);
  cr_assert_eq(count, SOLD);
  for (uint64_t i = 0; i < SOLD; i++) cr_expect(same(&listed[i], &issued[i]));
  expect_sound(engine, 1, SOLD);
  help_close(engine);
  if (durability == COUPON_NONE) return;
  for (int life = 0; life < 3; life++) { /* a snapshot, and two lives */
    engine = life == 0 ? open_read_only() : open_as(durability);
    for (uint64_t i = 0; i < SOLD; i++) {
      struct coupon_ticket found = COUPON_TICKET_INIT;
      cr_expect_eq(coupon_lookup_uuid(engine, 1, help_uuid(i).bytes, &found, NULL), COUPON_OK);
      cr_expect(same(&found, &issued[i]));
    }
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_expect_eq(coupon_try_issue_uuid(engine, 1, help_uuid(0).bytes, &ticket),
                 life == 0 ? COUPON_E_READ_ONLY : COUPON_ALREADY_ISSUED);
    cr_expect_eq(coupon_issue_uuid(engine, 1, help_uuid(SOLD).bytes, COUPON_FOREVER, &ticket),
                 life == 0 ? COUPON_E_READ_ONLY : COUPON_SOLD_OUT);
    expect_sound(engine, 1, SOLD);
    help_close(engine);
  }
}

Test(uuid, is_issued_told_again_refused_found_and_listed_in_memory) { expect_served(COUPON_NONE); }

Test(uuid, is_issued_told_again_refused_found_listed_and_recovered_with_a_log) { expect_served(COUPON_SYNC); }

Test(uuid, is_told_apart_by_every_bit_and_any_bytes_are_one) {
  coupon_engine *engine = open_as(COUPON_NONE);
  create_uuid(engine, 1, 1000, 1);
  unsigned char uuid[COUPON_UUID_SIZE] = {0};
  uint64_t number = 0;
  cr_expect_eq(issue_uuid(engine, 1, uuid, COUPON_ISSUED).number, ++number); /* all zeros */
  for (int bit = 0; bit < 128; bit++) {
    uuid[bit / 8] = (unsigned char)(1U << bit % 8);
    cr_expect_eq(issue_uuid(engine, 1, uuid, COUPON_ISSUED).number, ++number);
    uuid[bit / 8] = 0;
  }
  memset(uuid, 0xff, sizeof uuid);
  cr_expect_eq(issue_uuid(engine, 1, uuid, COUPON_ISSUED).number, ++number);
  memset(uuid, 0, sizeof uuid);
  cr_expect_eq(issue_uuid(engine, 1, uuid, COUPON_ALREADY_ISSUED).number, 1);
  expect_sound(engine, 1, number);
  help_close(engine);
}

static void expect_counted(int32_t durability) {
  coupon_engine *engine = open_as(durability);
  create_uuid(engine, 1, 100, 0);
  for (uint64_t i = 0; i < 100; i++) (void)issue_uuid(engine, 1, help_uuid(i % 7).bytes, COUPON_ISSUED);
  for (int life = 0; life < (durability == COUPON_NONE ? 1 : 2); life++) {
    for (uint64_t i = 0; i < 7; i++) {
      struct coupon_ticket first = COUPON_TICKET_INIT;
      uint64_t count = 0;
      cr_expect_eq(coupon_lookup_uuid(engine, 1, help_uuid(i).bytes, &first, &count), COUPON_OK);
      cr_expect_eq(first.number, i + 1);
      cr_expect_eq(count, 100 / 7 + (i < 100 % 7));
    }
    (void)issue_uuid(engine, 1, help_uuid(0).bytes, COUPON_SOLD_OUT);
    if (durability == COUPON_NONE) continue;
    help_close(engine);
    engine = open_as(durability);
  }
  help_close(engine);
}

Test(uuid, without_a_limit_gets_ticket_after_ticket_in_memory) { expect_counted(COUPON_NONE); }

Test(uuid, without_a_limit_gets_ticket_after_ticket_with_a_log) { expect_counted(COUPON_SYNC); }

/* Before the commit stage has come by, who holds a ticket stands in the log's buffer, two words of it. */
Test(uuid, is_known_before_its_ticket_has_a_number) {
  struct help_disk disk;
  help_disk_init(&disk);
  struct cpn_env env = help_disk_env(&disk, false);
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open_env(&env, data, &options);
  struct coupon_campaign_spec spec = help_spec_uuid(1, 100);
  cr_assert_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  struct coupon_ticket issued[40];
  for (uint64_t i = 0; i < 40; i++) {
    issued[i] = (struct coupon_ticket)COUPON_TICKET_INIT;
    cr_assert_eq(coupon_try_issue_uuid(engine, 1, help_uuid(i).bytes, &issued[i]), COUPON_ISSUED);
    cr_expect_eq(issued[i].number, 0);
    cr_expect_eq(issued[i].flags, 0);
  }
  for (int turn = 0; turn < 2; turn++) {
    for (uint64_t i = 0; i < 40; i++) {
      struct coupon_ticket again = COUPON_TICKET_INIT;
      cr_expect_eq(coupon_try_issue_uuid(engine, 1, help_uuid(i).bytes, &again), COUPON_ALREADY_ISSUED);
      cr_expect_eq(again.lsn, issued[i].lsn);
      cr_expect_eq(again.time_ns, issued[i].time_ns);
      cr_expect_eq(again.number, turn == 0 ? 0 : i + 1);
    }
    while (cpn_wait_step(engine) > 0) {
    }
  }
  help_close(engine);
}

/* --- kinds --------------------------------------------------------------------------------------- */

static void expect_kinds_kept_apart(coupon_engine *engine, bool may_issue) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  const struct help_uuid five = help_uuid(5);
  const unsigned char *uuid = five.bytes;
  struct coupon_stats before = help_stats(engine);
  coupon_status expected = may_issue ? COUPON_E_USER_KIND : COUPON_E_READ_ONLY;
  cr_expect_eq(coupon_try_issue(engine, 2, 5, &ticket), expected);
  cr_expect_eq(coupon_issue(engine, 2, 5, COUPON_FOREVER, &ticket), expected);
  cr_expect_eq(coupon_try_issue_uuid(engine, 1, uuid, &ticket), expected);
  cr_expect_eq(coupon_issue_uuid(engine, 1, uuid, COUPON_FOREVER, &ticket), expected);
  cr_expect_eq(coupon_lookup(engine, 2, 5, &ticket, NULL), COUPON_E_USER_KIND);
  cr_expect_eq(coupon_lookup_uuid(engine, 1, uuid, &ticket, NULL), COUPON_E_USER_KIND);
  struct coupon_stats after = help_stats(engine);
  cr_expect_eq(after.tickets, before.tickets);
  cr_expect_eq(after.reserved_lsn, before.reserved_lsn);
  cr_expect_eq(after.memory_bytes, before.memory_bytes);
  cr_expect_eq(after.voids, before.voids);
}

Test(kind, of_a_call_that_is_not_the_campaigns_is_a_fault_and_changes_nothing) {
  const int32_t durabilities[] = {COUPON_NONE, COUPON_SYNC};
  for (int i = 0; i < 2; i++) {
    coupon_engine *engine = open_as(durabilities[i]);
    help_create(engine, 1, 10);
    create_uuid(engine, 2, 10, 1);
    expect_kinds_kept_apart(engine, true);
    cr_expect_eq(help_ask(engine, 1, 5), COUPON_ISSUED);
    (void)issue_uuid(engine, 2, help_uuid(5).bytes, COUPON_ISSUED);
    expect_kinds_kept_apart(engine, true); /* in whatever state */
    help_close(engine);
  }
  coupon_engine *engine = open_read_only();
  expect_kinds_kept_apart(engine, false);
  help_close(engine);
  engine = open_as(COUPON_SYNC);
  expect_kinds_kept_apart(engine, true);
  help_close(engine);
}

Test(kind, that_differs_is_another_description) {
  for (int32_t made = COUPON_USER_U64; made <= COUPON_USER_UUID; made++) {
    coupon_engine *engine = open_as(COUPON_SYNC);
    const uint64_t id = 10 + (uint64_t)made;
    struct coupon_campaign_spec spec = help_spec(id, 10);
    spec.user_kind = made;
    cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
    for (int life = 0; life < 2; life++) {
      spec.user_kind = made;
      cr_expect_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
      spec.user_kind = COUPON_USER_UUID - made;
      cr_expect_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_E_EXISTS);
      cr_expect_eq(help_info(engine, id).user_kind, made);
      help_close(engine);
      engine = open_as(COUPON_SYNC);
    }
    help_close(engine);
  }
}

Test(kind, of_a_campaign_in_a_log_from_before_there_were_kinds_is_numbers) {
  char golden[HELP_PATH_MAX];
  const char *folder = getenv("COUPON_TEST_GOLDEN");
  cr_assert_not_null(folder, "COUPON_TEST_GOLDEN names the folder of the golden directories");
  help_copy_directory(help_join(golden, folder, "v1"), data);
  for (int life = 0; life < 2; life++) {
    coupon_engine *engine = open_as(COUPON_SYNC);
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_expect_eq(help_info(engine, 1).user_kind, COUPON_USER_U64);
    cr_expect_eq(help_ask(engine, 1, 0), COUPON_ALREADY_ISSUED);
    cr_expect_eq(coupon_lookup_uuid(engine, 1, help_uuid(0).bytes, &ticket, NULL), COUPON_E_USER_KIND);
    create_uuid(engine, 2, 10, 1); /* beside those of before */
    (void)issue_uuid(engine, 2, help_uuid(0).bytes, life == 0 ? COUPON_ISSUED : COUPON_ALREADY_ISSUED);
    help_close(engine);
  }
}
