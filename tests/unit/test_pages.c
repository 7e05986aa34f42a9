/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of tickets that come out of a checkpoint as they lie there mean the same as the same tickets row by row. A
 * checkpoint of some thousand tickets is made, what pages say is changed at random under checksums that are right, and
 * the directory is opened in both ways: what they answer, what they say is damaged and where, and every ticket have to
 * be the same. A page that could not have come of a log is passed over, with its checkpoint, in both.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "engine/restore.h"
#include "log/checkpoint_format.h"
#include "support/world_suite.h"

#define CHECKPOINT "0000000000000001.checkpoint"
#define NUMBERS 3328 /* tickets of campaign 1: full pages, so that all may be taken as such */
#define UUIDS 1792   /* of campaign 2 */
#define CHUNKS_MAX 8

static uint64_t seed;

TestSuite(pages, .init = begin, .fini = end, .timeout = 300);

static uint64_t below(uint64_t range) { return help_random(&seed) % range; }

/* --- a checkpoint ---------------------------------------------------------------------------------------- */

static void issue(uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  const struct help_uuid uuid = help_uuid(user);
  const coupon_status status = campaign == 1 ? coupon_try_issue(world.engine, 1, user, &ticket)
                                             : coupon_try_issue_uuid(world.engine, 2, uuid.bytes, &ticket);
  cr_assert_eq(status, COUPON_ISSUED);
}

/* Runs of one campaign, so that LSNs rise steadily, and turns, so that they do not; times that stand, and times that
 * run. */
static void make_checkpoint(void) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  struct coupon_campaign_spec numbers = help_spec(1, NUMBERS), uuids = help_spec_uuid(2, UUIDS + 10);
  uuids.closes_at_ns = world.clock_ns + UINT64_C(1000000000000);
  cr_assert_geq(coupon_create(world.engine, &numbers, COUPON_POLL), 0);
  cr_assert_geq(coupon_create(world.engine, &uuids, COUPON_POLL), 0);
  uint64_t left[2] = {NUMBERS, UUIDS};
  while (left[0] + left[1] > 0) {
    const bool turns = below(3) == 0, ticks = below(2) == 0;
    uint64_t campaign = below(2);
    for (uint64_t run = 1 + below(600); run > 0; run--) {
      if (turns) campaign = below(2);
      if (left[campaign] == 0) campaign = 1 - campaign;
      if (left[campaign] == 0) break;
      issue(campaign + 1, left[campaign]--);
      if (ticks) world.clock_ns += below(4) == 0 ? below(90) : 1000 * below(5);
      if (run % 8 == 0) cr_assert(world_settle(&world));
    }
    cr_assert(world_settle(&world));
  }
  cr_assert_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_OK);
  world_close(&world);
}

/* --- what it says, otherwise ----------------------------------------------------------------------------- */

struct chunks {
  struct cpn_checkpoint_header header;
  struct cpn_chunk all[CHUNKS_MAX];
  size_t count;
};

/* The identity stands in the first block. */
static unsigned char *identity_of(unsigned char *bytes) { return bytes + 16; }

static void find_chunks(unsigned char *bytes, struct chunks *chunks) {
  cr_assert_eq(cpn_checkpoint_header_decode(&chunks->header, identity_of(bytes), 1, bytes), CPN_DECODED_OK);
  chunks->count = 0;
  for (uint64_t at = CPN_BLOCK_SIZE; at < chunks->header.size;) {
    struct cpn_chunk *chunk = &chunks->all[chunks->count++];
    *chunk = (struct cpn_chunk){.home = CPN_CHUNK_OF_CHECKPOINT, .file = 1, .place = at};
    cr_assert_eq(cpn_chunk_decode(chunk, identity_of(bytes), bytes + at), CPN_DECODED_OK);
    at += cpn_chunk_size(chunk->payload_bytes);
  }
}

/* Makes all checksums right. */
static void seal(unsigned char *bytes, struct chunks *chunks) {
  chunks->header.digest = 0;
  for (size_t i = 0; i < chunks->count; i++) {
    cpn_chunk_seal(&chunks->all[i], identity_of(bytes), bytes + chunks->all[i].place);
    chunks->header.digest = cpn_chunk_digest(chunks->header.digest, &chunks->all[i]);
  }
  unsigned char identity[CPN_IDENTITY_SIZE];
  memcpy(identity, identity_of(bytes), sizeof identity);
  cpn_checkpoint_header_encode(&chunks->header, identity, bytes);
}

/* Where page `number` of the chunk begins, behind the users. */
static unsigned char *page_at(unsigned char *payload, const struct cpn_chunk *chunk, uint32_t number) {
  size_t at = (size_t)chunk->count * (chunk->campaign == 0 ? 8 : 16), length = 0;
  for (uint32_t i = 0;; i++, at += length) {
    struct cpn_tickets_page page;
    const uint32_t count = (uint32_t)cpn_min_u64(CPN_TICKETS_PAGE, chunk->count - i * CPN_TICKETS_PAGE);
    cr_assert(cpn_tickets_page_decode(&page, count, payload + at, chunk->payload_bytes - at, &length));
    if (i == number) return payload + at;
  }
}

/* One or two fields of a page, by little or by anything; or a few of its deltas' bits. */
static void change(unsigned char *page) {
  static const unsigned fields[] = {0, 8, 16, 20, 24, 25, 26};
  for (uint64_t times = 1 + below(2); times > 0; times--) {
    const unsigned field = fields[below(7)];
    const uint64_t by = below(3) == 0 ? help_random(&seed) : below(2) == 0 ? 8 * below(8) : below(3000);
    const bool minus = below(2) == 0;
    switch (below(2) == 0 ? 99 : field) {
      case 0:
      case 8:
        cpn_put_u64(page + field, cpn_get_u64(page + field) + (minus ? -by : by));
        break;
      case 16:
      case 20:
        cpn_put_u32(page + field, cpn_get_u32(page + field) + (uint32_t)(minus ? -by : by));
        break;
      case 24:
      case 25:
        page[field] = (unsigned char)below(66);
        break;
      case 26:
        page[26 + below(6)] ^= (unsigned char)below(2);
        break;
      default:
        page[32 + below(64)] ^= (unsigned char)(1 << below(8));
    }
  }
}

static void spoil(unsigned char *bytes, struct chunks *chunks) {
  struct cpn_chunk *chunk = &chunks->all[1 + below(chunks->count - 1)];
  cr_assert_eq(chunk->kind, CPN_CHUNK_TICKETS);
  unsigned char *payload = bytes + chunk->place + CPN_CHUNK_HEADER_SIZE;
  change(page_at(payload, chunk, (uint32_t)below((chunk->count + CPN_TICKETS_PAGE - 1) / CPN_TICKETS_PAGE)));
}

/* --- both ways ------------------------------------------------------------------------------------------- */

struct outcome {
  coupon_status status;
  struct coupon_report report;
  uint64_t digest;
  char said[400];
};

static char said[400]; /* the last line for the operator */

static void note(void *context, int32_t level, const char *message) {
  (void)context, (void)level;
  (void)snprintf(said, sizeof said, "%s", message);
}

static void open_copy(uint64_t defer_from, struct outcome *outcome) {
  static struct world other;
  struct simdisk *copy = simdisk_copy(disk);
  memset(outcome, 0, sizeof *outcome);
  world_init(&other, copy);
  other.clock_ns = world.clock_ns;
  other.options.callbacks.log = note;
  said[0] = 0;
  cpn_restore_defer_from = defer_from;
  outcome->status = world_open(&other);
  outcome->report = other.report;
  if (outcome->status == COUPON_OK) outcome->digest = world_digest(&other);
  memcpy(outcome->said, said, sizeof said);
  world_abandon(&other);
  simdisk_destroy(copy);
}

/* Whether the checkpoint was taken. */
static bool is_taken_alike(void) {
  struct outcome pages, rows;
  open_copy(0, &pages);
  open_copy(UINT64_MAX, &rows);
  cr_assert_eq(pages.status, rows.status, "%s; %s", pages.report.message, rows.report.message);
  cr_assert_str_eq(pages.said, rows.said);
  cr_assert_eq(pages.digest, rows.digest);
  cr_assert_eq(pages.report.checkpoint, rows.report.checkpoint, "%s; %s", pages.said, rows.said);
  cr_assert_eq(pages.report.checkpoint_status, rows.report.checkpoint_status);
  cr_assert_eq(pages.report.checkpoint_tickets, rows.report.checkpoint_tickets);
  cr_assert_eq(pages.report.tickets, rows.report.tickets);
  cr_assert_eq(pages.report.records, rows.report.records);
  return pages.report.checkpoint != 0;
}

#if defined(__SANITIZE_ADDRESS__)
#define CHANGES 40
#else
#define CHANGES 200
#endif

Test(pages, mean_the_same_as_their_rows_whatever_they_say) {
  seed = help_seed();
  int taken = 0, passed_over = 0;
  for (int round = 0; round < 3; round++) {
    end();
    begin();
    make_checkpoint();
    cr_assert(is_taken_alike());
    uint64_t size;
    unsigned char *bytes = simdisk_bytes(disk, CHECKPOINT, &size);
    cr_assert_not_null(bytes);
    unsigned char *sound = malloc(size);
    cr_assert_not_null(sound);
    memcpy(sound, bytes, size);
    for (int i = 0; i < CHANGES; i++) {
      struct chunks chunks;
      find_chunks(bytes, &chunks);
      spoil(bytes, &chunks);
      seal(bytes, &chunks);
      *(is_taken_alike() ? &taken : &passed_over) += 1;
      memcpy(bytes, sound, size);
    }
    free(sound);
  }
  cpn_restore_defer_from = 65536;
  printf("%d changes were possible, %d were not\n", taken, passed_over);
  cr_expect_gt(taken, CHANGES / 20);
  cr_expect_gt(passed_over, CHANGES);
}
