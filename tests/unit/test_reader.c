/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what the reader of a log accepts, cuts and refuses where all checksums are right: what no crash leaves, but a
 * bug, or a forger, might. How: logs written by hand (tests/fuzz/log_build.h) on a disk in memory, opened for reading
 * and for writing by the real recovery. What the fuzzers have found is told here once more, where somebody can read it.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "coupon/coupon.h"
#include "engine/engine.h"
#include "fuzz/log_build.h"
#include "fuzz/log_input.h"
#include "fuzz/memory_disk.h"

#define FIRST "0000000000000001.log"

static const unsigned char identity[LOG_IDENTITY_SIZE] = "of test_reader 1";

static struct memory_disk disk;

/* --- opening ------------------------------------------------------------------------------------------------- */

static uint64_t read_clock(void *context) {
  (void)context;
  return 1000;
}

static coupon_status open_it(bool read_only, struct coupon_report *report) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.read_only = read_only;
  options.segment_size_bytes = options.log_buffer_bytes = 4096;
  options.callbacks.clock = read_clock;
  *report = (struct coupon_report)COUPON_REPORT_INIT;
  struct cpn_env env = memory_disk_env(&disk);
  coupon_engine *engine = NULL;
  coupon_status status = cpn_engine_open(&env, "", &options, &engine, report);
  if (status == COUPON_OK) {
    cr_assert_eq(coupon_close(engine), COUPON_OK);
    cr_assert_eq(coupon_destroy(engine), COUPON_OK);
  }
  return status;
}

static void put(const unsigned char *bytes, size_t size) {
  unsigned char manifest[LOG_BLOCK];
  memory_disk_init(&disk);
  log_input_manifest(identity, manifest);
  memory_disk_put(&disk, "manifest", manifest, sizeof manifest, 0);
  log_input_put(&disk, bytes, size);
}

/* Opened for reading and for writing it is answered alike; returns what was cut. */
static uint64_t expect_bytes(const unsigned char *bytes, size_t size, coupon_status expected) {
  struct coupon_report report;
  for (int read_only = 1; read_only >= 0; read_only--) {
    put(bytes, size);
    coupon_status status = open_it(read_only, &report);
    cr_expect_eq(status, expected, "%s: %s", coupon_status_name(status), report.message);
    if (expected < 0) cr_expect_gt(strlen(report.message), 10);
  }
  return report.cut_bytes;
}

static uint64_t expect(struct log_build *made, coupon_status expected) {
  log_input_seal(made->bytes, made->size, identity);
  return expect_bytes(made->bytes, made->size, expected);
}

/* One life, a campaign with three units and two tickets, each commit a frame; the last frame is that of the second. */
static struct log_build small_log(void) {
  struct log_build made = log_build_begin();
  log_build_life(&made);
  log_build_campaign(&made, 0, 1, 0, 0, 0, "small");
  log_build_frame(&made);
  log_build_issue(&made, 0, 1, false, 100);
  log_build_frame(&made);
  log_build_issue(&made, 0, 2, false, 200);
  log_build_seal(&made, identity);
  return made;
}

Test(reader, accepts_what_is_written_by_hand) {
  struct log_build made = small_log();
  cr_expect_eq(expect(&made, COUPON_OK), 0);
}

/* --- segments ------------------------------------------------------------------------------------------------- */

/* One that ends in its own header, or within a block, is what nobody writes. */
Test(segment, of_an_impossible_size_is_refused) {
  static const uint64_t sizes[] = {0, 100, 511, 513, 2500};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    struct log_build made = small_log();
    cpn_put_u64(made.bytes + 56, sizes[i]);
    (void)expect(&made, COUPON_E_CORRUPT);
  }
}

/* FORMAT.md: proof is the highest of all synced LSNs in valid frame headers anywhere in the segments. */
Test(segment, proves_by_its_rest_that_more_was_durable_though_another_follows) {
  struct log_build made = small_log();
  /* Behind the end of the first segment a frame of a log that has gone further. */
  log_build_frame(&made);
  log_build_issue(&made, 0, 3, false, 300);
  log_build_seal(&made, identity);
  unsigned char later[LOG_BLOCK];
  memcpy(later, made.bytes + made.frame, sizeof later);
  made.size -= LOG_BLOCK;
  uint64_t end = cpn_get_u64(later + 8);
  log_build_segment(&made);
  log_build_seal(&made, identity);
  unsigned char *second = made.bytes + made.size - LOG_BLOCK;
  cr_assert_eq(cpn_get_u64(second + 40), end);
  /* The frame goes between the two. */
  memmove(second + LOG_BLOCK, second, LOG_BLOCK);
  memcpy(second, later, sizeof later);
  made.size += LOG_BLOCK;
  cpn_put_u64(second + 8, end + 80);
  cpn_put_u64(second + 16, end);
  (void)expect(&made, COUPON_OK); /* it proves no more than there is */
  cpn_put_u64(second + 16, end + 80);
  (void)expect(&made, COUPON_E_CORRUPT);
}

/* --- joined tickets ------------------------------------------------------------------------------------------- */

/* A campaign of numbers and one of UUIDs, each with three units; a frame to put tickets into follows. */
static struct log_build log_to_join(void) {
  struct log_build made = log_build_begin();
  log_build_life(&made);
  log_build_campaign(&made, 0, 1, 0, 0, 0, "numbers");
  log_build_campaign(&made, 1, 1, 1, 0, 0, "uuids");
  log_build_frame(&made);
  return made;
}

static uint64_t tickets_of(struct log_build *made) {
  struct coupon_report report;
  log_build_seal(made, identity);
  put(made->bytes, made->size);
  cr_expect_eq(open_it(true, &report), COUPON_OK, "%s", report.message);
  return report.tickets;
}

Test(joined, tickets_are_as_many_as_if_they_were_alone) {
  struct log_build made = log_to_join();
  log_build_joined(&made, 0, 1, 2, false, 100);
  log_build_joined(&made, 1, 1, 3, true, 100);
  (void)log_build_record(&made, 1, 2, 0);
  log_build_joined(&made, 0, 3, 1, false, 110); /* of one: as it is */
  log_build_frame(&made);
  log_build_time(&made, 3, 0, 500);
  cr_expect_eq(tickets_of(&made), 6);
  cr_expect_eq(cpn_get_u16(made.bytes + made.frame - LOG_BLOCK + 6), 3);
}

/* The rules are each ticket's. */
Test(joined, tickets_keep_the_rules_one_by_one) {
  static const struct {
    unsigned user, count;
    uint64_t time_ns;
  } wrong[] = {{2, 2, 100}, {3, 3, 100}, {3, 1, 99}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) { /* a user twice, beyond the stock, in the past */
    struct log_build made = log_to_join();
    log_build_joined(&made, 0, 1, 2, false, 100);
    log_build_joined(&made, 0, wrong[i].user, wrong[i].count, false, wrong[i].time_ns);
    log_build_seal(&made, identity);
    (void)expect(&made, COUPON_E_CORRUPT);
  }
  struct log_build made = log_to_join();
  log_build_joined(&made, 1, 1, 4, false, 100); /* numbers, where there are UUIDs */
  log_build_seal(&made, identity);
  (void)expect(&made, COUPON_E_CORRUPT);
}

/* The header says where the frame's LSNs end, and the records have to come to just that. */
Test(joined, tickets_are_those_that_the_header_counts) {
  for (unsigned says = 0; says < 70000; says = says * 2 + 1) {
    struct log_build made = log_to_join();
    log_build_joined(&made, 0, 1, 3, false, 100);
    log_build_seal(&made, identity);
    cpn_put_u16(made.bytes + made.frame + 6, (uint16_t)says);
    (void)expect(&made, COUPON_E_CORRUPT);
    cpn_put_u16(made.bytes + made.frame + 6, 2);
    (void)expect(&made, COUPON_OK);
  }
}

/* Nothing but tickets is joined; no ticket has half a user, or none. */
Test(joined, records_of_any_other_length_are_refused) {
  static const unsigned wrong[][2] = {{7, 1}, {7, 2}, {8, 2}, {8, 3}, {8, 5}, {3, 3}, {5, 3}, {6, 3}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct log_build made = log_to_join();
    log_build_joined(&made, 0, 1, 2, false, 100);
    (void)log_build_record(&made, wrong[i][0], wrong[i][1], wrong[i][0] == 8);
    log_build_seal(&made, identity);
    cpn_put_u16(made.bytes + made.frame + 6, 1);
    (void)expect(&made, COUPON_E_CORRUPT);
    cpn_put_u16(made.bytes + made.frame + 6, 2);
    (void)expect(&made, COUPON_E_CORRUPT);
  }
}

/* --- records -------------------------------------------------------------------------------------------------- */

/* FORMAT.md: END is the last record of a life, if it is there. */
Test(records, behind_the_end_of_their_life_are_refused) {
  struct log_build made = small_log();
  log_build_end(&made);
  log_build_frame(&made);
  log_build_issue(&made, 0, 3, false, 300);
  log_build_seal(&made, identity);
  (void)expect(&made, COUPON_E_CORRUPT);

  made = small_log();
  log_build_time(&made, 3, 0, 300); /* and in the same frame */
  log_build_issue(&made, 0, 3, false, 300);
  log_build_seal(&made, identity);
  (void)expect(&made, COUPON_E_CORRUPT);

  made = small_log();
  log_build_end(&made);
  log_build_life(&made);
  log_build_issue(&made, 0, 3, false, 300);
  log_build_seal(&made, identity);
  (void)expect(&made, COUPON_OK);
}

/* A frame of the next life begins with a whole LIFE record of that life, or is none. */
Test(records, that_do_not_begin_the_life_they_bear_are_cut) {
  struct log_build made = small_log();
  log_build_life(&made);
  log_build_seal(&made, identity);
  cr_expect_eq(expect(&made, COUPON_OK), 0);
  unsigned char *frame = made.bytes + made.frame;
  struct log_build other = made;
  cpn_put_u32(other.bytes + made.frame + 32, 16); /* too short for one */
  memset(other.bytes + made.frame + 80, 0, 16);
  cr_expect_eq(expect(&other, COUPON_OK), LOG_BLOCK);
  cpn_put_u64(frame + 72, 3); /* another life's */
  cr_expect_eq(expect(&made, COUPON_OK), LOG_BLOCK);
  frame[64] = 1;
  cr_expect_eq(expect(&made, COUPON_OK), LOG_BLOCK);
}
