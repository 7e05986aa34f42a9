/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a checkpoint, or a tickets file, that is sound by every checksum and says what cannot be is not believed:
 * each rule of FORMAT.md for their contents, one at a time. How: one number of a good file is changed, what seals it is
 * made right again, and it is opened, on a simulated disk; the fault has to be the one that the rule is for. The older
 * checkpoint is then taken, and everything is there.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "log/checkpoint_format.h"
#include "support/engine_help.h"
#include "support/world.h"

#define TICKETS_FILE "0000000000000000.tickets"
#define RELEASED_TICKETS 5u
#define TICKETS 30u

/* Offsets of docs/FORMAT.md: of a first block's, a chunk's and a campaign's fields. */
enum { IDENTITY = 16, CHECKSUM = 504, CHUNK_PAYLOAD = 40, CHUNK_BODY = 48, CHUNK_CHECKSUM = 56 };
enum { CAMPAIGNS_CHUNK = 512, TICKETS_CHUNK = 1024, RELEASED = CAMPAIGNS_CHUNK + 64, LIVE = RELEASED + 104 };

static struct simdisk *disk;
static struct world world;
static char newest[CPN_CHECKPOINT_NAME_SIZE], told[512];

static void hear(void *context, int32_t level, const char *message) {
  (void)context, (void)level;
  (void)snprintf(told, sizeof told, "%s", message);
}

static void create(uint64_t id, uint64_t stock, uint64_t closes_at_ns) {
  struct coupon_campaign_spec spec = help_spec(id, stock);
  spec.closes_at_ns = closes_at_ns;
  spec.name = "";
  cr_assert_geq(coupon_create(world.engine, &spec, COUPON_POLL), 0);
  cr_assert(world_settle(&world));
}

/* A campaign that was released, one that goes on, and two checkpoints that know of both. */
static void begin(void) {
  disk = simdisk_create();
  world_init(&world, disk);
  world.options.callbacks.log = hear;
  cr_assert_eq(world_open(&world), COUPON_OK);
  create(1, 50, world.clock_ns + 1000000);
  for (uint64_t user = 0; user < RELEASED_TICKETS; user++) (void)world_issue(&world, 1, user);
  cr_assert(world_settle(&world));
  world.clock_ns += 2000000;
  cr_assert_eq(coupon_release(world.engine, 1, COUPON_POLL), COUPON_NOT_FINAL);
  cr_assert(world_settle(&world));
  cr_assert_eq(coupon_release(world.engine, 1, COUPON_POLL), COUPON_OK);
  create(2, 100, 0);
  for (uint64_t user = 0; user < TICKETS; user++) (void)world_issue(&world, 2, user);
  cr_assert(world_settle(&world));
  for (int i = 0; i < 2; i++) cr_assert_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_OK);
  cpn_checkpoint_name(world.engine->checkpoints.manifest.newest_checkpoint, newest);
  world_close(&world);
}

static void end(void) { simdisk_destroy(disk); }

TestSuite(forged, .init = begin, .fini = end);

/* --- sealing ---------------------------------------------------------------------------------------- */

/* Every chunk, from the first on, as long as it was made; then the first block, with the digest at `digest_at`. */
static void seal(unsigned char *bytes, uint64_t size, size_t digest_at) {
  const unsigned char *identity = bytes + IDENTITY;
  uint64_t digest = 0;
  for (uint64_t at = CPN_BLOCK_SIZE; at < size;) {
    unsigned char *chunk = bytes + at;
    const uint64_t length = cpn_chunk_size(cpn_get_u32(chunk + CHUNK_PAYLOAD));
    if (length <= size - at)
      cpn_put_u64(chunk + CHUNK_BODY, cpn_checksum(chunk + CPN_CHUNK_HEADER_SIZE, length - CPN_CHUNK_HEADER_SIZE));
    cpn_put_u64(chunk + CHUNK_CHECKSUM, cpn_checksum_two(identity, CPN_IDENTITY_SIZE, chunk, CHUNK_CHECKSUM));
    const struct cpn_chunk sealed = {.checksum = cpn_get_u64(chunk + CHUNK_CHECKSUM)};
    digest = cpn_chunk_digest(digest, &sealed);
    at += length;
  }
  cpn_put_u64(bytes + digest_at, digest);
  cpn_put_u64(bytes + CHECKSUM, cpn_checksum(bytes, CHECKSUM));
}

struct forgery {
  size_t at;
  unsigned bytes; /* how wide the field is */
  uint64_t value; /* to add to it */
  const char *message;
};

static void put(unsigned char *bytes, const struct forgery *forgery) {
  if (forgery->bytes == 4) cpn_put_u32(bytes, cpn_get_u32(bytes) + (uint32_t)forgery->value);
  if (forgery->bytes == 8) cpn_put_u64(bytes, cpn_get_u64(bytes) + forgery->value);
}

/* --- checkpoints ------------------------------------------------------------------------------------ */

#define LESS(amount) (0 - UINT64_C(amount))

static const struct forgery checkpoints[] = {
    {40, 8, LESS(512), "tickets' LSNs or times cannot be"},
    {48, 8, LESS(1), "the first block is damaged, or the file is another's"}, /* lives: none, */
    {48, 8, LESS(2), "the first block is damaged, or the file is another's"}, /* and one that no other can follow */
    {56, 8, LESS(100000000), "tickets' LSNs or times cannot be"},
    {80, 8, 1, "tickets of a campaign that is not there"},
    {88, 8, 1, "the checkpoint is not complete"},
    {96, 8, 512, "the file is too short"},
    {96, 8, LESS(512), "the chunks are not those that the file began with"},
    {TICKETS_CHUNK + 40, 4, 512, "a chunk does not end with the file"},
    {104, 8, 1, "the chunks are not those that the file began with"},
    {CAMPAIGNS_CHUNK + 24, 4, 1, "campaigns are not in order"},
    {CAMPAIGNS_CHUNK + 28, 4, LESS(1), "campaigns do not fill their chunk"},
    {CAMPAIGNS_CHUNK + 28, 4, 1, "a campaign makes no sense"},
    {RELEASED + 8, 8, LESS(48), "a campaign makes no sense"}, /* more tickets than stock */
    {RELEASED + 72, 8, 1, "the first block is damaged, or the file is another's"},
    {RELEASED + 88, 8, 100, "a campaign was released by a later checkpoint"},
    {RELEASED + 96, 8, 1, "the tickets file is not the one that the checkpoint means"},
    {LIVE + 48, 8, UINT64_C(1) << 40, "a campaign's LSNs cannot be"},
    {LIVE + 72, 8, 1, "a campaign's tickets are not complete"},
    {LIVE + 72, 8, LESS(1), "tickets' numbers are not in order"},
    {TICKETS_CHUNK + 24, 4, LESS(1), "tickets of a released campaign"},
    {TICKETS_CHUNK + 24, 4, 1, "tickets of a campaign that is not there"},
    {TICKETS_CHUNK + 28, 4, LESS(1), "tickets do not fill their chunk"},
    {TICKETS_CHUNK + 32, 8, 1, "tickets' numbers are not in order"},
};

static void expect_all_there(struct world *opened) {
  uint64_t count = 0;
  cr_assert_null(help_audit(opened->engine, 2, &count));
  cr_assert_eq(count, TICKETS);
  cr_assert_eq(help_info(opened->engine, 1).issued, RELEASED_TICKETS);
}

static void expect_passed_over(const struct forgery *forgery) {
  struct simdisk *copy = simdisk_copy(disk);
  struct world other;
  uint64_t size;
  unsigned char *bytes = simdisk_bytes(copy, newest, &size);
  cr_assert_eq(size, TICKETS_CHUNK + 512, "the directory is not what this was written for");
  put(bytes + forgery->at, forgery);
  seal(bytes, size, 112);
  world_init(&other, copy);
  other.clock_ns = world.clock_ns;
  other.options.callbacks.log = hear;
  told[0] = 0;
  cr_assert_eq(world_open(&other), COUPON_OK, "%s", other.report.message);
  cr_expect_eq(other.report.checkpoint_status, COUPON_E_CORRUPT, "%s", forgery->message);
  cr_expect_not_null(strstr(told, forgery->message), "expected \"%s\", told \"%s\"", forgery->message, told);
  expect_all_there(&other);
  world_abandon(&other);
  simdisk_destroy(copy);
}

Test(forged, checkpoints_are_passed_over) {
  for (size_t i = 0; i < sizeof checkpoints / sizeof checkpoints[0]; i++) expect_passed_over(&checkpoints[i]);
}

/* Sealed as it was it is the same file. */
Test(forged, not_at_all_it_is_taken) {
  uint64_t size;
  unsigned char *bytes = simdisk_bytes(disk, newest, &size);
  seal(bytes, size, 112);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_eq(world.report.checkpoint_status, COUPON_OK);
  cr_assert_str_eq(newest + 15, world.report.checkpoint == 3 ? "3.checkpoint" : "");
  expect_all_there(&world);
  world_close(&world);
}

/* --- tickets files ---------------------------------------------------------------------------------- */

static const struct forgery files[] = {
    {8, 4, 1, NULL}, /* a newer version */
    {40, 8, 1, ""},  /* another campaign's */
    {48, 8, 1, ""},       {56, 4, 1, ""},       {64, 8, LESS(512), ""}, {512 + 24, 4, 1, ""},
    {512 + 28, 4, 1, ""}, {512 + 32, 8, 1, ""}, {48, 8, LESS(1), ""},   {72, 8, 1, ""},
};

/* Of a file that is changed while an engine has the directory open: nobody looks at it before somebody reads. */
Test(forged, tickets_files_are_refused_when_they_are_read) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    struct coupon_ticket tickets[RELEASED_TICKETS + 1];
    unsigned char good[4096];
    size_t count;
    uint64_t size;
    unsigned char *bytes = simdisk_bytes(disk, TICKETS_FILE, &size);
    cr_assert_eq(size, 1024);
    memcpy(good, bytes, size);
    put(bytes + files[i].at, &files[i]);
    seal(bytes, size, 80);
    coupon_status status =
        coupon_read_tickets(world.engine, 1, 0, tickets, sizeof tickets[0], RELEASED_TICKETS + 1, &count);
    cr_expect_eq(status, files[i].message == NULL ? COUPON_E_VERSION : COUPON_E_CORRUPT, "byte %zu: %s", files[i].at,
                 coupon_status_name(status));
    memcpy(bytes, good, size);
    cr_expect_eq(coupon_read_tickets(world.engine, 1, 0, tickets, sizeof tickets[0], RELEASED_TICKETS + 1, &count), 0);
    cr_expect_eq(count, RELEASED_TICKETS);
  }
  world_close(&world);
}

/* --- the log ---------------------------------------------------------------------------------------- */

/* A checkpoint at this LSN, and behind it a log that is nothing but the beginning of this life. */
static void begin_life(uint64_t lsn, uint64_t number) {
  uint64_t size;
  unsigned char *block = simdisk_bytes(disk, newest, &size);
  cpn_put_u64(block + 40, lsn);
  cpn_put_u64(block + 48, number - 1);
  cpn_put_u64(block + CHECKSUM, cpn_checksum(block, CHECKSUM));
  struct cpn_frame frame = {.first_lsn = lsn,
                            .life = number,
                            .segment = cpn_get_u64(block + 64) + 1, /* the one before is full */
                            .offset = CPN_BLOCK_SIZE,
                            .payload_bytes = CPN_WORDS_LIFE * 8};
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(frame.segment + 1, name);
  simdisk_remove(disk, name);
  cpn_segment_name(frame.segment, name);
  unsigned char *header = simdisk_bytes(disk, name, &size), *bytes = header + CPN_BLOCK_SIZE;
  cpn_put_u64(header + 40, lsn);
  cpn_put_u64(header + CHECKSUM, cpn_checksum(header, CHECKSUM));
  memset(bytes, 0, size - CPN_BLOCK_SIZE);
  const struct cpn_record life = {.type = CPN_RECORD_LIFE, .life = number, .began_lsn = lsn};
  uint64_t words[CPN_WORDS_LIFE];
  words[0] = cpn_record_encode(&life, words);
  for (size_t i = 0; i < CPN_WORDS_LIFE; i++) cpn_put_u64(bytes + CPN_FRAME_HEADER_SIZE + i * 8, words[i]);
  cpn_frame_seal(&frame, block + IDENTITY, bytes);
}

static void expect_refused(bool read_only, const char *message) {
  world.options.read_only = read_only;
  cr_expect_eq(world_open(&world), COUPON_E_CORRUPT, "%s", coupon_status_name(world.report.status));
  cr_expect_not_null(strstr(world.report.message, message), "%s", world.report.message);
  world_abandon(&world);
}

/* It ends beyond the last LSN that there is. */
Test(forged, frames_beyond_the_last_lsn_are_damage) {
  begin_life(COUPON_LSN_MAX - 16, 5);
  expect_refused(true, "beyond the last");
}

Test(forged, frames_of_a_life_that_no_other_can_follow_are_damage) {
  begin_life(UINT64_C(1) << 40, UINT64_MAX);
  expect_refused(true, "makes no sense");
  expect_refused(false, "makes no sense");
}

/* Its own life would have that number. */
Test(forged, the_last_life_is_not_followed_by_another) {
  begin_life(UINT64_C(1) << 40, UINT64_MAX - 1);
  for (int i = 0; i < 2; i++) {
    expect_refused(false, "as often as can be");
    world.options.read_only = 1;
    cr_expect_eq(world_open(&world), COUPON_OK, "what it holds can be read: %s", world.report.message);
    expect_all_there(&world);
    world_close(&world);
  }
}
