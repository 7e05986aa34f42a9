/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what can be looked up: pages of campaigns and of tickets, one user's ticket, and the figures. How: an engine in
 * memory, and pages of every size from every beginning.
 */
#include <stdio.h>
#include <string.h>

#include "support/in_memory.h"

IN_MEMORY_SUITE(list);
IN_MEMORY_SUITE(tickets);
IN_MEMORY_SUITE(lookup);
IN_MEMORY_SUITE(stats);

/* --- listing ------------------------------------------------------------------------------------- */

#define LISTED 40

static void create_for_the_list(void) {
  for (uint64_t i = 0; i < LISTED; i++) {
    char name[16];
    (void)snprintf(name, sizeof name, "number %llu", (unsigned long long)i);
    struct coupon_campaign_spec spec = help_spec(1000 - i, i);
    spec.name = name;
    cr_assert_eq(create_now(&spec), COUPON_OK);
  }
}

static void expect_listed(const struct coupon_campaign_info *info, uint64_t index) {
  char name[16];
  (void)snprintf(name, sizeof name, "number %llu", (unsigned long long)index);
  cr_expect_eq(info->index, index);
  cr_expect_eq(info->id, 1000 - index);
  cr_expect_eq(info->stock, index);
  cr_expect_eq(info->remaining, index);
  cr_expect_str_eq(info->name, name);
}

Test(list, nothing_is_one_short_page) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  size_t count = 77;
  cr_expect_eq(coupon_list(engine, 0, &info, sizeof info, 1, &count), COUPON_OK);
  cr_expect_eq(count, 0);
}

Test(list, pages_of_every_size_show_every_campaign_once_in_order_of_creation) {
  create_for_the_list();
  for (size_t capacity = 1; capacity <= LISTED + 1; capacity++) {
    struct coupon_campaign_info page[LISTED + 1];
    uint64_t seen = 0;
    size_t count;
    do {
      cr_assert_eq(coupon_list(engine, seen, page, sizeof page[0], capacity, &count), COUPON_OK);
      cr_assert_leq(count, capacity);
      for (size_t i = 0; i < count; i++) expect_listed(&page[i], seen + i);
      seen += count;
    } while (count == capacity);
    cr_expect_eq(seen, LISTED, "pages of %zu", capacity);
  }
}

Test(list, past_the_end_there_is_nothing) {
  create_for_the_list();
  const uint64_t from[] = {LISTED, LISTED + 1, UINT64_C(1) << 32, UINT64_MAX};
  for (int i = 0; i < 4; i++) {
    struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
    size_t count = 77;
    cr_expect_eq(coupon_list(engine, from[i], &info, sizeof info, 1, &count), COUPON_OK);
    cr_expect_eq(count, 0);
  }
}

Test(list, elements_lie_as_far_apart_as_the_caller_says) {
  create_for_the_list();
  struct {
    struct coupon_campaign_info known;
    unsigned char later[LATER];
  } page[3];
  memset(page, MARK, sizeof page);
  size_t count;
  cr_assert_eq(coupon_list(engine, 5, &page[0].known, sizeof page[0], 2, &count), COUPON_OK);
  cr_assert_eq(count, 2);
  for (size_t i = 0; i < 2; i++) {
    cr_expect_eq(page[i].known.size, sizeof page[0]);
    expect_listed(&page[i].known, 5 + i);
    for (size_t j = 0; j < LATER; j++) cr_expect_eq(page[i].later[j], MARK);
  }
  cr_expect_eq(*(unsigned char *)&page[2], MARK, "behind the page nothing is touched");
}

/* --- tickets ------------------------------------------------------------------------------------- */

#define SOLD 70

static void sell_for_the_pages(void) {
  help_create(engine, 1, 100);
  for (uint64_t user = 0; user < SOLD; user++) (void)issue_to(1, user * 3, COUPON_ISSUED);
}

Test(tickets, none_are_one_short_page) {
  help_create(engine, 1, 100);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count = 77;
  cr_expect_eq(coupon_tickets(engine, 1, 1, &ticket, sizeof ticket, 1, &count), COUPON_OK);
  cr_expect_eq(count, 0);
}

Test(tickets, pages_of_every_size_show_every_ticket_once_in_order_of_numbers) {
  sell_for_the_pages();
  for (size_t capacity = 1; capacity <= SOLD + 1; capacity++) {
    struct coupon_ticket page[SOLD + 1];
    uint64_t seen = 0;
    size_t count;
    do {
      cr_assert_eq(coupon_tickets(engine, 1, seen + 1, page, sizeof page[0], capacity, &count), COUPON_OK);
      for (size_t i = 0; i < count; i++) {
        cr_expect_eq(page[i].size, sizeof page[0]);
        cr_expect_eq(page[i].campaign, 1);
        cr_expect_eq(page[i].number, seen + i + 1);
        cr_expect_eq(page[i].user, (seen + i) * 3);
        cr_expect_eq(page[i].flags, COUPON_TICKET_FINAL);
      }
      seen += count;
    } while (count == capacity);
    cr_expect_eq(seen, SOLD, "pages of %zu", capacity);
  }
}

Test(tickets, from_zero_is_from_one) {
  sell_for_the_pages();
  struct coupon_ticket zero[2], one[2];
  size_t count;
  cr_assert_eq(coupon_tickets(engine, 1, 0, zero, sizeof zero[0], 2, &count), COUPON_OK);
  cr_assert_eq(coupon_tickets(engine, 1, 1, one, sizeof one[0], 2, &count), COUPON_OK);
  cr_expect_eq(memcmp(zero, one, sizeof zero), 0);
}

Test(tickets, past_the_end_there_are_none) {
  sell_for_the_pages();
  const uint64_t from[] = {SOLD + 1, 100, 101, UINT64_C(1) << 41, UINT64_MAX};
  for (int i = 0; i < 5; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    size_t count = 77;
    cr_expect_eq(coupon_tickets(engine, 1, from[i], &ticket, sizeof ticket, 1, &count), COUPON_OK);
    cr_expect_eq(count, 0);
  }
}

Test(tickets, elements_lie_as_far_apart_as_the_caller_says) {
  sell_for_the_pages();
  struct {
    struct coupon_ticket known;
    unsigned char later[LATER];
  } page[3];
  memset(page, MARK, sizeof page);
  size_t count;
  cr_assert_eq(coupon_tickets(engine, 1, 9, &page[0].known, sizeof page[0], 2, &count), COUPON_OK);
  cr_assert_eq(count, 2);
  for (size_t i = 0; i < 2; i++) {
    cr_expect_eq(page[i].known.size, sizeof page[0]);
    cr_expect_eq(page[i].known.number, 9 + i);
    for (size_t j = 0; j < LATER; j++) cr_expect_eq(page[i].later[j], MARK);
  }
  cr_expect_eq(*(unsigned char *)&page[2], MARK, "behind the page nothing is touched");
}

/* --- looking up ---------------------------------------------------------------------------------- */

Test(lookup, finds_the_ticket_that_was_issued) {
  help_create(engine, 1, 10);
  for (uint64_t user = 0; user < 5; user++) {
    struct coupon_ticket issued = COUPON_TICKET_INIT, found = COUPON_TICKET_INIT;
    uint64_t count = 0;
    cr_assert_eq(coupon_issue(engine, 1, user, COUPON_FOREVER, &issued), COUPON_ISSUED);
    cr_assert_eq(coupon_lookup(engine, 1, user, &found, &count), COUPON_OK);
    cr_expect(help_same_ticket(&issued, &found));
    cr_expect_eq(found.flags, COUPON_TICKET_FINAL);
    cr_expect_eq(count, 1);
  }
}

Test(lookup, a_user_without_a_ticket_is_not_found_and_holds_none) {
  help_create(engine, 1, 10);
  (void)issue_to(1, 5, COUPON_ISSUED);
  const uint64_t strangers[] = {0, 1, 6, UINT64_MAX};
  for (int i = 0; i < 4; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    uint64_t count = 77;
    cr_expect_eq(coupon_lookup(engine, 1, strangers[i], &ticket, &count), COUPON_NOT_FOUND);
    cr_expect_eq(count, 0, "how many a user holds that holds none");
  }
}

/* --- figures ------------------------------------------------------------------------------------- */

Test(stats, count_what_was_done) {
  struct coupon_stats stats = help_stats(engine);
  cr_expect_eq(stats.campaigns + stats.tickets + stats.reserved_lsn + stats.commits, 0);
  help_create(engine, 1, 5);
  help_create(engine, 2, 5);
  for (uint64_t user = 0; user < 7; user++) (void)help_try(engine, 1, user);
  (void)issue_to(2, 1, COUPON_ISSUED);
  stats = help_stats(engine);
  cr_expect_eq(stats.failure, COUPON_OK);
  cr_expect_eq(stats.failure_os_error, 0);
  cr_expect_eq(stats.durability, COUPON_NONE);
  cr_expect_eq(stats.read_only, 0);
  cr_expect_eq(stats.campaigns, 2);
  cr_expect_eq(stats.tickets, 6);
  cr_expect_eq(stats.durable_lsn + stats.reserved_lsn, 0, "in memory there are no positions");
  cr_expect_eq(stats.commits + stats.syncs + stats.bytes_written + stats.segments, 0, "nor a log to commit to");
  cr_expect_gt(stats.memory_bytes, 0);
  cr_expect_gt(stats.time_ns, 0);
}
