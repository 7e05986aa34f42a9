/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that this build reads what every released version of the format has written, and can go on from there. How:
 * a copy of each golden directory is opened for reading, then for writing, and compared with what
 * tests/golden/make.c put into it.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "coupon/coupon.h"

static const char *const files[] = {
    "manifest", "lock", "owner", "0000000000000001.log", "0000000000000002.log", "0000000000000003.log"};

static void copy_file(const char *from, const char *to) {
  char bytes[16384];
  int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  cr_assert_geq(in, 0, "%s", from);
  cr_assert_geq(out, 0, "%s", to);
  ssize_t size = read(in, bytes, sizeof bytes);
  cr_assert(size >= 0 && size < (ssize_t)sizeof bytes);
  cr_assert_eq(write(out, bytes, (size_t)size), size);
  close(in);
  close(out);
}

static void copy_golden(const char *version, char *directory) {
  const char *golden = getenv("COUPON_TEST_GOLDEN");
  cr_assert_not_null(golden, "COUPON_TEST_GOLDEN names the folder of the golden directories");
  cr_assert_not_null(mkdtemp(directory));
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    char from[512], to[512];
    snprintf(from, sizeof from, "%s/%s/%s", golden, version, files[i]);
    snprintf(to, sizeof to, "%s/%s", directory, files[i]);
    if (access(from, R_OK) == 0) copy_file(from, to);
  }
}

static void remove_copy(const char *directory) {
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, files[i]);
    unlink(path);
  }
  cr_assert_eq(rmdir(directory), 0);
}

static void check_contents(coupon_engine *engine) {
  struct coupon_campaign_info infos[3];
  size_t count;
  cr_assert_eq(coupon_list(engine, 0, infos, sizeof infos[0], 3, &count), COUPON_OK);
  cr_assert_eq(count, 2);
  cr_assert_eq(infos[0].id, 1);
  cr_assert_eq(infos[0].issued, 6);
  cr_assert_eq(infos[0].remaining, 0);
  cr_assert_eq(infos[0].user_limit, 1);
  cr_assert_str_eq(infos[0].name, "one each");
  cr_assert_eq(infos[1].id, UINT64_MAX);
  cr_assert_eq(infos[1].stock, UINT64_C(1) << 40);
  cr_assert_eq(infos[1].issued, 4);
  cr_assert_eq(infos[1].closes_at_ns, UINT64_C(4000000000000000000));
  for (uint64_t user = 0; user < 6; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_lookup(engine, 1, user, &ticket, NULL), COUPON_OK);
    cr_assert_eq(ticket.number, user + 1);
    cr_assert_eq(ticket.time_ns / UINT64_C(1000000000), UINT64_C(1790000000));
  }
  struct coupon_ticket first = COUPON_TICKET_INIT;
  uint64_t held;
  cr_assert_eq(coupon_lookup(engine, UINT64_MAX, UINT64_MAX, &first, &held), COUPON_OK);
  cr_assert_eq(first.number, 1);
  cr_assert_eq(held, 4);
}

#define TOGETHER 60 /* see make.c */
#define DECIDED 32  /* of those at a time, and at one time */

static void check_joined(coupon_engine *engine) {
  for (uint64_t i = 0; i < 2 * TOGETHER; i++) {
    const uint64_t user = i < TOGETHER ? 1 + i : 101 + i - TOGETHER;
    unsigned char uuid[COUPON_UUID_SIZE];
    struct coupon_ticket ticket = COUPON_TICKET_INIT, same = COUPON_TICKET_INIT;
    memset(uuid, (int)user, sizeof uuid);
    cr_assert_eq(coupon_lookup(engine, 1, user, &ticket, NULL), COUPON_OK);
    cr_assert_eq(ticket.number, i + 1 + i / TOGETHER); /* between the lives one more */
    cr_assert_eq(ticket.time_ns / UINT64_C(1000000000), UINT64_C(1790000000));
    cr_assert_eq(coupon_lookup_uuid(engine, 2, uuid, &ticket, NULL), COUPON_OK);
    cr_assert_eq(ticket.number, i + 1);
    /* LSNs are those of whole records. */
    if (i % TOGETHER == 0) continue;
    memset(uuid, (int)user - 1, sizeof uuid);
    cr_assert_eq(coupon_lookup_uuid(engine, 2, uuid, &same, NULL), COUPON_OK);
    cr_assert_eq(same.lsn + 32, ticket.lsn);
    cr_assert((same.time_ns == ticket.time_ns) == (i % TOGETHER != DECIDED));
  }
}

Test(golden, joined_tickets_of_version_1_open_for_reading_and_writing) {
  char directory[] = "golden-XXXXXX";
  copy_golden("v1-joined", directory);
  struct coupon_options options = COUPON_OPTIONS_INIT;
  coupon_engine *engine;
  for (options.read_only = 1; options.read_only >= 0; options.read_only--) {
    struct coupon_report report = COUPON_REPORT_INIT;
    cr_assert_eq(coupon_open(directory, &options, &engine, &report), COUPON_OK, "%s", report.message);
    cr_assert_eq(report.tickets, 4 * TOGETHER + 2);
    cr_assert_eq(report.cut_bytes, 0);
    check_joined(engine);
    cr_assert_eq(coupon_destroy(engine), COUPON_OK);
  }
  remove_copy(directory);
}

Test(golden, version_1_opens_for_reading_and_writing) {
  char directory[] = "golden-XXXXXX";
  copy_golden("v1", directory);
  struct coupon_options options = COUPON_OPTIONS_INIT;
  coupon_engine *engine;

  options.read_only = 1;
  cr_assert_eq(coupon_open(directory, &options, &engine, NULL), COUPON_OK);
  check_contents(engine);
  cr_assert_eq(coupon_destroy(engine), COUPON_OK);

  options.read_only = 0;
  options.segment_size_bytes = 4096;
  struct coupon_report report = COUPON_REPORT_INIT;
  cr_assert_eq(coupon_open(directory, &options, &engine, &report), COUPON_OK, "%s", report.message);
  cr_assert_eq(report.cut_bytes, 0);
  cr_assert_eq(report.tickets, 10);
  check_contents(engine);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  cr_assert_eq(coupon_issue(engine, 1, 0, COUPON_FOREVER, &ticket), COUPON_ALREADY_ISSUED);
  cr_assert_eq(coupon_issue(engine, 1, 99, COUPON_FOREVER, &ticket), COUPON_SOLD_OUT);
  cr_assert_eq(coupon_issue(engine, UINT64_MAX, 99, COUPON_FOREVER, &ticket), COUPON_ISSUED);
  cr_assert_eq(ticket.number, 5);
  struct coupon_stats stats = COUPON_STATS_INIT;
  cr_assert_eq(coupon_read_stats(engine, &stats), COUPON_OK);
  cr_assert_eq(stats.life, 3);
  cr_assert_eq(coupon_destroy(engine), COUPON_OK);
  remove_copy(directory);
}
