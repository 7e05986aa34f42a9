/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a closed campaign's memory can be given back and its tickets be read from their file, for ever or until
 * they are dropped; that nothing of it is lost on the way; and who is told what. How: the real engine, stepped by hand
 * on a simulated disk. Crashes in the middle are test_checkpoint_crash.c's, readers that run meanwhile
 * race_checkpoint.c's.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log/checkpoint_format.h"
#include "support/engine_help.h"
#include "support/world.h"

#define FILE_NAME "0000000000000000.tickets"

static struct simdisk *disk;
static struct world world;

static void begin(void) {
  disk = simdisk_create();
  world_init(&world, disk);
  cr_assert_eq(world_open(&world), COUPON_OK);
}

static void end(void) {
  world_close(&world);
  simdisk_destroy(disk);
}

TestSuite(release, .init = begin, .fini = end);

static bool exists(const char *name) {
  uint64_t size;
  return simdisk_bytes(disk, name, &size) != NULL;
}

static void reopen(void) {
  world_close(&world);
  cr_assert_eq(world_open(&world), COUPON_OK, "%s", world.report.message);
}

/* Campaign 1 with so many tickets, every tenth user's being of user 7 where there is no limit; the time for it is over,
 * and nobody has come by to say so. */
static void sell_out(int32_t kind, uint64_t limit, uint64_t tickets) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = 1;
  spec.stock = tickets + 5;
  spec.user_limit = limit;
  spec.user_kind = kind;
  spec.closes_at_ns = world.clock_ns + 1000000000;
  cr_assert_geq(coupon_create(world.engine, &spec, COUPON_POLL), 0);
  cr_assert(world_settle(&world));
  for (uint64_t i = 0; i < tickets; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    uint64_t user = limit == 0 && i % 10 == 0 ? 7 : 1000 + i;
    struct help_uuid uuid = help_uuid(user);
    world.clock_ns += i % 3;
    coupon_status status = kind == COUPON_USER_UUID ? coupon_try_issue_uuid(world.engine, 1, uuid.bytes, &ticket)
                                                    : coupon_try_issue(world.engine, 1, user, &ticket);
    cr_assert_eq(status, COUPON_ISSUED);
    if (i % 50 == 0) cr_assert(world_settle(&world));
  }
  cr_assert(world_settle(&world));
  world.clock_ns += 2000000000;
}

/* Without threads somebody has to step between the closing and the rest. */
static void release(void) {
  cr_assert_eq(coupon_release(world.engine, 1, COUPON_POLL), COUPON_NOT_FINAL, "it was closed, which is not final");
  cr_assert(world_settle(&world));
  cr_assert_eq(coupon_release(world.engine, 1, COUPON_POLL), COUPON_OK);
}

#define MOST 40000

/* All tickets, from memory or the file, in pages of `page`. */
static uint64_t read_all(uint64_t page, struct coupon_ticket *tickets) {
  uint64_t total = 0;
  size_t count = 0;
  do {
    coupon_status status =
        coupon_read_tickets(world.engine, 1, total + 1, tickets + total, sizeof tickets[0], page, &count);
    cr_assert_eq(status, COUPON_OK, "%s", coupon_status_name(status));
    total += count;
  } while (count == page);
  return total;
}

static void same_before_and_after(int32_t kind, uint64_t limit, uint64_t tickets, uint64_t page) {
  static struct coupon_ticket before[MOST], after[MOST];
  memset(before, 0, sizeof before);
  memset(after, 0, sizeof after);
  sell_out(kind, limit, tickets);
  cr_assert_eq(read_all(page, before), tickets);
  const uint64_t memory = help_stats(world.engine).memory_bytes;
  release();
  if (tickets > 0) cr_assert_lt(help_stats(world.engine).memory_bytes, memory);
  cr_assert_eq(read_all(page, after), tickets);
  cr_assert_eq(memcmp(before, after, tickets * sizeof before[0]), 0);
  struct coupon_campaign_info info = help_info(world.engine, 1);
  cr_assert_eq(info.place, COUPON_PLACE_RELEASED);
  cr_assert_eq(info.issued, tickets);
  cr_assert_eq(info.state, COUPON_STATE_CLOSED);
  cr_assert_eq(info.claim_bytes + info.ticket_bytes, 0);
  const uint64_t all = help_stats(world.engine).tickets;
  reopen();
  cr_assert_eq(help_stats(world.engine).tickets, all);
  memset(after, 0, sizeof after);
  cr_assert_eq(read_all(page + 1, after), tickets);
  cr_assert_eq(memcmp(before, after, tickets * sizeof before[0]), 0);
}

Test(release, keeps_tickets_of_numbers) { same_before_and_after(COUPON_USER_U64, 1, 500, 7); }
Test(release, keeps_tickets_of_uuids) { same_before_and_after(COUPON_USER_UUID, 1, 500, 1000); }
Test(release, keeps_tickets_without_a_limit) { same_before_and_after(COUPON_USER_U64, 0, 500, 499); }
Test(release, keeps_tickets_of_several_chunks, .timeout = 100) {
  world_close(&world);
  world.options.segment_size_bytes = 1 << 20;
  world.options.log_buffer_bytes = 1 << 20;
  cr_assert_eq(world_open(&world), COUPON_OK);
  same_before_and_after(COUPON_USER_U64, 1, 2 * CPN_CHUNK_TICKETS_MAX + 300, 9999);
}
Test(release, keeps_none_of_a_campaign_that_nobody_came_to) { same_before_and_after(COUPON_USER_U64, 1, 0, 10); }

Test(release, tells_callers_that_tickets_are_elsewhere) {
  sell_out(COUPON_USER_U64, 1, 10);
  release();
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count;
  cr_assert_eq(coupon_try_issue(world.engine, 1, 1001, &ticket), COUPON_E_RELEASED);
  cr_assert_eq(coupon_lookup(world.engine, 1, 1001, &ticket, NULL), COUPON_E_RELEASED);
  cr_assert_eq(coupon_tickets(world.engine, 1, 1, &ticket, sizeof ticket, 1, &count), COUPON_E_RELEASED);
  const struct coupon_request requests[2] = {{.campaign = 1, .user = 1001}, {.campaign = 2, .user = 5}};
  struct coupon_ticket answers[2] = {COUPON_TICKET_INIT, COUPON_TICKET_INIT};
  (void)world_create(&world, 2, 10, 1);
  cr_assert_eq(coupon_try_issue_batch(world.engine, requests, 2, answers, sizeof answers[0]), COUPON_OK);
  cr_assert_eq(answers[0].answer, COUPON_E_RELEASED);
  cr_assert_eq(answers[1].answer, COUPON_ISSUED);
  cr_assert_eq(coupon_release(world.engine, 1, COUPON_POLL), COUPON_OK, "once more changes nothing");
}

Test(release, finds_a_users_ticket_in_the_file) {
  sell_out(COUPON_USER_U64, 0, 100);
  release();
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t count;
  cr_assert_eq(coupon_read_lookup(world.engine, 1, 7, &ticket, &count), COUPON_OK);
  cr_assert_eq(ticket.number, 1);
  cr_assert_eq(count, 10);
  cr_assert_eq(ticket.flags, COUPON_TICKET_FINAL);
  cr_assert_eq(coupon_read_lookup(world.engine, 1, 1055, &ticket, &count), COUPON_OK);
  cr_assert_eq(ticket.number, 56);
  cr_assert_eq(count, 1);
  cr_assert_eq(coupon_read_lookup(world.engine, 1, 5, &ticket, &count), COUPON_NOT_FOUND);
  cr_assert_eq(coupon_read_lookup_uuid(world.engine, 1, help_uuid(5).bytes, &ticket, &count), COUPON_E_USER_KIND);
  cr_assert_eq(coupon_read_lookup(world.engine, 404, 5, &ticket, &count), COUPON_NO_CAMPAIGN);
}

Test(release, finds_uuids_in_the_file) {
  sell_out(COUPON_USER_UUID, 1, 50);
  release();
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_read_lookup_uuid(world.engine, 1, help_uuid(1007).bytes, &ticket, NULL), COUPON_OK);
  cr_assert_eq(ticket.number, 8);
  cr_assert_eq(memcmp(ticket.uuid, help_uuid(1007).bytes, sizeof ticket.uuid), 0);
  cr_assert_eq(coupon_read_lookup_uuid(world.engine, 1, help_uuid(5).bytes, &ticket, NULL), COUPON_NOT_FOUND);
  cr_assert_eq(coupon_read_lookup(world.engine, 1, 1007, &ticket, NULL), COUPON_E_USER_KIND);
}

Test(release, needs_a_log) {
  coupon_engine *engine = help_open_in_memory();
  help_create(engine, 1, 10);
  cr_assert_eq(coupon_release(engine, 1, COUPON_POLL), COUPON_E_INVAL);
  cr_assert_eq(coupon_drop(engine, 1, COUPON_POLL), COUPON_E_INVAL);
  help_close(engine);
}

Test(release, completes_an_answer_that_was_given_before) {
  sell_out(COUPON_USER_U64, 1, 10);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_lookup(world.engine, 1, 1003, &ticket, NULL), COUPON_OK);
  ticket.number = 0;
  ticket.flags = 0;
  release();
  struct coupon_ticket again = ticket;
  cr_assert_eq(coupon_wait(world.engine, &ticket, COUPON_POLL), COUPON_OK);
  cr_assert_eq(ticket.number, 4);
  cr_assert_eq(coupon_drop(world.engine, 1, COUPON_POLL), COUPON_OK);
  cr_assert_eq(coupon_wait(world.engine, &again, COUPON_POLL), COUPON_OK);
  cr_expect_eq(again.flags, COUPON_TICKET_FINAL);
  cr_expect_eq(again.number, 0, "what is dropped is gone");
}

Test(release, is_only_for_what_has_closed) {
  (void)world_create(&world, 1, 10, 1);
  cr_assert(world_settle(&world));
  cr_assert_eq(coupon_release(world.engine, 1, COUPON_POLL), COUPON_E_NOT_CLOSED);
  cr_assert_eq(coupon_drop(world.engine, 1, COUPON_POLL), COUPON_E_NOT_CLOSED);
  cr_assert_eq(coupon_release(world.engine, 2, COUPON_POLL), COUPON_NO_CAMPAIGN);
  cr_assert_eq(world_issue(&world, 1, 1), COUPON_ISSUED);
}

Test(release, can_be_read_beside_and_by_other_processes) {
  sell_out(COUPON_USER_U64, 1, 30);
  release();
  world_close(&world);
  world.options.read_only = 1;
  cr_assert_eq(world_open(&world), COUPON_OK);
  struct coupon_ticket tickets[40];
  cr_assert_eq(read_all(40, tickets), 30);
  cr_assert_eq(coupon_release(world.engine, 1, COUPON_POLL), COUPON_E_READ_ONLY);
}

Test(release, that_fails_leaves_the_campaign_in_memory) {
  sell_out(COUPON_USER_U64, 1, 30);
  cr_assert_eq(coupon_release(world.engine, 1, COUPON_POLL), COUPON_NOT_FINAL);
  cr_assert(world_settle(&world));
  for (uint64_t call = 1;; call++) {
    disk->fail_errno = ENOSPC;
    disk->fail_at = disk->calls + call;
    coupon_status status = coupon_release(world.engine, 1, COUPON_POLL);
    bool met = disk->calls >= disk->fail_at;
    if (!met || status == COUPON_OK) break;
    if (help_stats(world.engine).failure != COUPON_OK) { /* a sync of the directory: that stops the engine */
      reopen();
      continue;
    }
    cr_assert_eq(status, COUPON_E_NO_SPACE, "call %llu: %s", (unsigned long long)call, coupon_status_name(status));
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_lookup(world.engine, 1, 1003, &ticket, NULL), COUPON_OK);
  }
  disk->fail_at = 0;
  cr_assert_eq(help_info(world.engine, 1).place, COUPON_PLACE_RELEASED);
}

/* --- damage ---------------------------------------------------------------------------------------------- */

Test(release, whose_file_is_damaged_says_so_when_it_is_read) {
  sell_out(COUPON_USER_U64, 1, 30);
  release();
  uint64_t size;
  unsigned char *bytes = simdisk_bytes(disk, FILE_NAME, &size);
  for (uint64_t at = 0; at < size; at++) {
    struct coupon_ticket tickets[40];
    size_t count;
    bytes[at] ^= 16;
    coupon_status status = coupon_read_tickets(world.engine, 1, 1, tickets, sizeof tickets[0], 40, &count);
    cr_assert_eq(status, COUPON_E_CORRUPT, "byte %llu: %s", (unsigned long long)at, coupon_status_name(status));
    bytes[at] ^= 16;
  }
}

/* An answer that was given before, as its caller has it. */
static struct coupon_ticket given_before(void) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_lookup(world.engine, 1, 1003, &ticket, NULL), COUPON_OK);
  ticket.number = 0;
  ticket.flags = 0;
  return ticket;
}

Test(release, whose_file_cannot_be_read_says_so_to_those_who_wait_for_a_number) {
  static const char *const what[] = {"damaged", "missing", "unreadable"};
  sell_out(COUPON_USER_U64, 1, 30);
  const struct coupon_ticket before = given_before();
  release();
  uint64_t size;
  unsigned char *bytes = simdisk_bytes(disk, FILE_NAME, &size);
  for (int i = 0; i < 3; i++) {
    struct coupon_ticket ticket = before;
    if (i == 0) bytes[size - 1] ^= 16;
    if (i == 1) simdisk_remove(disk, FILE_NAME);
    disk->fail_at = i == 2 ? disk->calls + 1 : 0;
    disk->fail_errno = EIO;
    cr_expect_eq(coupon_wait(world.engine, &ticket, COUPON_POLL), i == 2 ? COUPON_E_IO : COUPON_E_CORRUPT, "%s",
                 what[i]);
    cr_expect_eq(ticket.flags, COUPON_TICKET_FINAL, "%s", what[i]);
    cr_expect_eq(ticket.number, 0, "%s", what[i]);
  }
}

Test(release, has_no_number_for_an_answer_that_was_never_given) {
  sell_out(COUPON_USER_U64, 1, 30);
  struct coupon_ticket ticket = given_before();
  release();
  ticket.lsn -= 8;
  cr_expect_eq(coupon_wait(world.engine, &ticket, COUPON_POLL), COUPON_E_INVAL);
  cr_expect_eq(ticket.flags, 0);
}

Test(release, whose_file_is_missing_is_a_damaged_checkpoint) {
  sell_out(COUPON_USER_U64, 1, 30);
  release();
  world_close(&world);
  struct simdisk *copy = simdisk_copy(disk);
  simdisk_remove(copy, FILE_NAME);
  struct world other;
  world_init(&other, copy);
  /* The log is still there from its beginning. */
  cr_assert_eq(world_open(&other), COUPON_OK);
  cr_assert_eq(other.report.checkpoint_status, COUPON_E_CORRUPT);
  cr_assert_str_eq(other.report.checkpoint_file, FILE_NAME);
  cr_assert_eq(help_info(other.engine, 1).place, COUPON_PLACE_MEMORY);
  world_abandon(&other);
  simdisk_destroy(copy);
  cr_assert_eq(world_open(&world), COUPON_OK);
}

/* --- a checkpoint that the disk does not give back ------------------------------------------------------- */

static int64_t fail_to_read_checkpoint_1(void *context, const struct sim_call *call) {
  (void)context;
  return call->op == SIM_READ && strcmp(call->name, "0000000000000001.checkpoint") == 0 ? -EIO : 0;
}

/* That checkpoint may come back, and the file had better be the one that it means. */
Test(release, that_is_done_again_makes_the_same_file) {
  sell_out(COUPON_USER_UUID, 0, 600);
  release();
  uint64_t size, again;
  const unsigned char *bytes = simdisk_bytes(disk, FILE_NAME, &size);
  unsigned char *first = malloc(size);
  memcpy(first, bytes, size);
  disk->meddle = fail_to_read_checkpoint_1;
  reopen();
  cr_assert_eq(world.report.checkpoint_status, COUPON_E_IO);
  cr_assert_eq(help_info(world.engine, 1).place, COUPON_PLACE_MEMORY);
  disk->meddle = NULL;
  world.clock_ns += 5000000000;
  cr_assert_eq(coupon_release(world.engine, 1, COUPON_POLL), COUPON_OK);
  bytes = simdisk_bytes(disk, FILE_NAME, &again);
  cr_assert_eq(again, size);
  cr_assert_eq(memcmp(bytes, first, size), 0);
  free(first);
  reopen();
  cr_assert_eq(world.report.checkpoint_status, COUPON_OK);
  cr_assert_eq(help_info(world.engine, 1).place, COUPON_PLACE_RELEASED);
}

/* --- dropping -------------------------------------------------------------------------------------------- */

Test(release, and_drop_lets_the_file_go_when_both_checkpoints_say_so) {
  sell_out(COUPON_USER_U64, 1, 30);
  release();
  cr_assert_eq(coupon_drop(world.engine, 1, COUPON_POLL), COUPON_OK);
  cr_assert_eq(help_info(world.engine, 1).place, COUPON_PLACE_DROPPED);
  cr_assert(exists(FILE_NAME), "the older checkpoint may need it");
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count;
  cr_assert_eq(coupon_read_tickets(world.engine, 1, 1, &ticket, sizeof ticket, 1, &count), COUPON_E_RELEASED);
  cr_assert_eq(coupon_read_lookup(world.engine, 1, 1003, &ticket, NULL), COUPON_E_RELEASED);
  reopen();
  cr_assert(exists(FILE_NAME));
  cr_assert_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_OK);
  cr_assert(!exists(FILE_NAME));
  reopen();
  struct coupon_campaign_info info = help_info(world.engine, 1);
  cr_assert_eq(info.place, COUPON_PLACE_DROPPED);
  cr_assert_eq(info.issued, 30);
  cr_assert_eq(coupon_try_issue(world.engine, 1, 1003, &ticket), COUPON_E_RELEASED);
  cr_assert_eq(coupon_drop(world.engine, 1, COUPON_POLL), COUPON_OK);
}

Test(release, and_drop_level_the_disk_off) {
  /* One campaign after the other; what is there does not grow with their number. */
  for (uint64_t id = 1; id <= 12; id++) {
    struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
    spec.id = id;
    spec.stock = 100;
    spec.closes_at_ns = world.clock_ns + 100000;
    cr_assert_geq(coupon_create(world.engine, &spec, COUPON_POLL), 0);
    for (uint64_t user = 0; user < 60; user++) cr_assert_eq(world_issue(&world, id, user), COUPON_ISSUED);
    world.clock_ns += 200000;
    cr_assert_eq(coupon_release(world.engine, id, COUPON_POLL), COUPON_NOT_FINAL);
    cr_assert(world_settle(&world));
    cr_assert_eq(coupon_release(world.engine, id, COUPON_POLL), COUPON_OK);
    cr_assert_eq(coupon_drop(world.engine, id, COUPON_POLL), COUPON_OK);
  }
  cr_assert_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_OK);
  cr_assert_leq(help_stats(world.engine).segments, 3);
  cr_assert_leq(help_stats(world.engine).checkpoint_bytes, 4096);
  for (uint64_t i = 0; i < 12; i++) {
    char name[CPN_CHECKPOINT_NAME_SIZE];
    cpn_tickets_file_name(i, name);
    cr_assert(!exists(name));
  }
}
