/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that what is whole, and does not belong, is not believed: segments and frames in another's place, of another
 * directory or life; versions still to come; records that break a rule. How: directories of a few kilobytes on a
 * simulated disk, in which things are moved, or changed and sealed with the right checksums; each opened by the real
 * recovery, for writing and for reading. Damage that checksums see is in test_damage.c, the rules for checkpoints in
 * test_forged.c.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "support/damage_help.h"

static void assert_refused(const struct simdisk *disk, coupon_status status, const char *file) {
  for (int read_only = 0; read_only < 2; read_only++) {
    struct opened opened = open_copy(disk, read_only, NULL);
    cr_assert_eq(opened.status, status, "%s: %s", coupon_status_name(opened.status), opened.report.message);
    cr_assert_str_eq(opened.report.file, file);
    cr_assert_gt(strlen(opened.report.message), 10);
  }
}

/* --- right checksums for wrong bytes --------------------------------------------------------------------- */

static void reseal_block(unsigned char *block) { cpn_put_u64(block + 504, cpn_checksum(block, 504)); }

static void reseal_frame(unsigned char *bytes, const unsigned char *identity) {
  cpn_put_u64(bytes + 48, cpn_checksum(bytes + 64, CPN_BLOCK_SIZE - 64));
  cpn_put_u64(bytes + 56, cpn_checksum_two(identity, CPN_IDENTITY_SIZE, bytes, 56));
}

/* --- things that are not in their place ------------------------------------------------------------------- */

Test(misplaced, segments_missing_swapped_or_doubled_are_refused) {
  static struct world world;
  struct simdisk *disk = large_directory(&world);

  struct simdisk *copy = simdisk_copy(disk);
  simdisk_remove(copy, FIRST);
  assert_refused(copy, COUPON_E_CORRUPT, FIRST);
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  simdisk_remove(copy, SECOND);
  assert_refused(copy, COUPON_E_CORRUPT, SECOND);
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  simdisk_remove(copy, THIRD);
  simdisk_duplicate(copy, SECOND, THIRD);
  assert_refused(copy, COUPON_E_CORRUPT, THIRD);
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  simdisk_remove(copy, SECOND);
  simdisk_duplicate(copy, FIRST, SECOND);
  assert_refused(copy, COUPON_E_CORRUPT, SECOND);
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  for (int i = 1; i <= 3; i++) {
    char name[CPN_SEGMENT_NAME_SIZE];
    cpn_segment_name((uint64_t)i, name);
    simdisk_remove(copy, name);
  }
  assert_refused(copy, COUPON_E_CORRUPT, FIRST);
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  simdisk_remove(copy, "manifest");
  assert_refused(copy, COUPON_E_CORRUPT, "manifest");
  simdisk_destroy(copy);
  simdisk_destroy(disk);
}

Test(misplaced, a_segment_of_another_directory_is_refused) {
  static struct world world, other_world;
  struct simdisk *disk = large_directory(&world), *other = large_directory(&other_world);
  uint64_t size;
  unsigned char *ours = simdisk_bytes(disk, THIRD, &size), *theirs = simdisk_bytes(other, THIRD, &size);
  memcpy(ours, theirs, size);
  assert_refused(disk, COUPON_E_CORRUPT, THIRD);
  simdisk_destroy(disk);
  simdisk_destroy(other);
}

/* A block of another directory, place, or life, behind the log, where the next frame would stand. */
static void assert_not_valid_behind_the_log(struct simdisk *disk, struct world *world, uint64_t at,
                                            const unsigned char *block) {
  uint64_t whole = open_copy(disk, true, world).digest, size;
  memcpy(simdisk_bytes(disk, FIRST, &size) + at, block, CPN_BLOCK_SIZE);
  for (int read_only = 0; read_only < 2; read_only++) {
    struct opened opened = open_copy(disk, read_only, world);
    cr_assert_eq(opened.status, COUPON_OK, "%s", opened.report.message);
    cr_assert_eq(opened.digest, whole);
    cr_assert_eq(opened.report.cut_bytes, CPN_BLOCK_SIZE);
  }
}

Test(misplaced, a_frame_of_another_place_is_not_valid) {
  static struct world world;
  uint64_t last_frame, size;
  struct simdisk *disk = small_directory(&world, false, &last_frame);
  unsigned char block[CPN_BLOCK_SIZE];
  memcpy(block, simdisk_bytes(disk, FIRST, &size) + last_frame, sizeof block);
  assert_not_valid_behind_the_log(disk, &world, last_frame + CPN_BLOCK_SIZE, block);
  simdisk_destroy(disk);
}

Test(misplaced, a_frame_of_another_directory_is_not_valid) {
  static struct world world, longer_world;
  uint64_t last_frame, longer_last, size;
  struct simdisk *disk = small_directory(&world, false, &last_frame);
  /* The same history, and one commit more: everything but the identity fits. */
  struct simdisk *longer = small_directory(&longer_world, true, &longer_last);
  cr_assert_eq(longer_last, last_frame + CPN_BLOCK_SIZE);
  unsigned char block[CPN_BLOCK_SIZE];
  memcpy(block, simdisk_bytes(longer, FIRST, &size) + longer_last, sizeof block);
  assert_not_valid_behind_the_log(disk, &world, last_frame + CPN_BLOCK_SIZE, block);
  simdisk_destroy(disk);
  simdisk_destroy(longer);
}

/*
 * Life 2 wrote LIFE and a ticket; the ticket's frame was cut, and life 3 began in its place. Put behind life 3's
 * LIFE frame, at the very LSN it bears, the old frame would be the next one, were it not for its life.
 */
Test(misplaced, a_frame_of_an_earlier_life_is_not_valid) {
  static struct world world;
  uint64_t last_frame, size;
  struct simdisk *first = small_directory(&world, false, &last_frame), *disk = simdisk_copy(first);
  uint64_t life_2 = last_frame + CPN_BLOCK_SIZE, ticket_2 = life_2 + CPN_BLOCK_SIZE;
  world_init(&world, disk);
  cr_assert_eq(world_open(&world), COUPON_OK);
  for (uint64_t user = 10; user < 12; user++) { /* 24 bytes of record each; LIFE has 32 */
    cr_assert_eq(world_issue(&world, 1, user), COUPON_ISSUED);
    cr_assert(world_settle(&world));
  }
  world_abandon(&world);
  unsigned char stale[CPN_BLOCK_SIZE];
  unsigned char identity[CPN_IDENTITY_SIZE];
  memcpy(identity, simdisk_bytes(disk, "manifest", &size) + 16, sizeof identity);
  unsigned char *bytes = simdisk_bytes(disk, FIRST, &size);
  memcpy(stale, bytes + ticket_2 + CPN_BLOCK_SIZE, sizeof stale);
  memset(bytes + ticket_2, 0, 2 * CPN_BLOCK_SIZE);

  struct simdisk *cut = simdisk_copy(disk);
  world_init(&world, cut);
  cr_assert_eq(world_open(&world), COUPON_OK);
  uint64_t end = cpn_buffer_tail(&world.engine->buffer);
  world_abandon(&world);
  cpn_put_u64(stale + 8, end); /* its LSN, to the bit what the next frame must have */
  cpn_put_u64(stale + 16, end - CPN_WORDS_LIFE * 8);
  reseal_frame(stale, identity);
  assert_not_valid_behind_the_log(cut, &world, ticket_2 + CPN_BLOCK_SIZE, stale);

  /* And with life 3 in its header it is taken: nothing else was wrong with it. */
  cpn_put_u64(stale + 24, 3);
  reseal_frame(stale, identity);
  memcpy(simdisk_bytes(cut, FIRST, &size) + ticket_2 + CPN_BLOCK_SIZE, stale, sizeof stale);
  struct opened opened = open_copy(cut, false, NULL);
  cr_assert_eq(opened.status, COUPON_OK);
  cr_assert_eq(opened.tickets, 4);
  simdisk_destroy(cut);
  simdisk_destroy(disk);
  simdisk_destroy(first);
}

/* What a hole in the tail leaves behind it is erased, and stays away although the log grows over the hole. */
Test(misplaced, what_was_cut_stays_away) {
  static struct world world, next;
  uint64_t last_frame, size;
  struct simdisk *before = small_directory(&world, false, &last_frame), *disk = simdisk_copy(before);
  world_init(&world, disk);
  world.options.durability = COUPON_WRITTEN; /* two commits without a sync between them */
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_eq(world_issue(&world, 1, 30), COUPON_ISSUED);
  cr_assert(world_settle(&world));
  cr_assert_eq(world_issue(&world, 1, 31), COUPON_ISSUED);
  cr_assert(world_settle(&world));
  world_abandon(&world);
  unsigned char *bytes = simdisk_bytes(disk, FIRST, &size);
  memset(bytes + last_frame + 2 * CPN_BLOCK_SIZE, 0, CPN_BLOCK_SIZE); /* user 30's frame never reached the disk */

  struct simdisk *after = simdisk_copy(disk);
  world_init(&next, after);
  cr_assert_eq(world_open(&next), COUPON_OK);
  cr_assert_eq(next.report.cut_bytes, 2 * CPN_BLOCK_SIZE, "%llu", (unsigned long long)next.report.cut_bytes);
  cr_assert_eq(world_tickets(&next), 3);
  cr_assert_eq(world_issue(&next, 1, 40), COUPON_ISSUED);
  cr_assert(world_settle(&next));
  world_abandon(&next);
  struct opened opened = open_copy(after, false, &next);
  cr_assert_eq(opened.status, COUPON_OK);
  cr_assert_eq(opened.tickets, 4);
  cr_assert_eq(opened.report.cut_bytes, 0, "a cut is reported once");
  simdisk_destroy(after);
  simdisk_destroy(disk);
  simdisk_destroy(before);
}

/* What a crash left half made is in nobody's way, however many files of others lie beside it. */
Test(leftovers, are_removed_among_any_number_of_foreign_files) {
  static struct world world;
  uint64_t last_frame, size;
  struct simdisk *before = small_directory(&world, true, &last_frame), *disk = simdisk_copy(before);
  for (char i = 'a'; i < 'a' + 12; i++) simdisk_duplicate(disk, "owner", (char[]){i, '.', 't', 'm', 'p', 0});
  simdisk_duplicate(disk, FIRST, CPN_SEGMENT_TEMPORARY_NAME);
  simdisk_duplicate(disk, "manifest", CPN_MANIFEST_TEMPORARY_NAME);
  world_init(&world, disk);
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 2, 100, 1);
  for (uint64_t user = 0; user < 12; user++) { /* into a second segment, which is made under the temporary name */
    cr_assert_eq(world_issue(&world, 2, user), COUPON_ISSUED);
    cr_assert(world_settle(&world));
  }
  world_close(&world);
  cr_assert_not_null(simdisk_bytes(disk, SECOND, &size));
  cr_assert_null(simdisk_bytes(disk, CPN_SEGMENT_TEMPORARY_NAME, &size));
  cr_assert_null(simdisk_bytes(disk, CPN_MANIFEST_TEMPORARY_NAME, &size));
  cr_assert_not_null(simdisk_bytes(disk, "l.tmp", &size), "a foreign file was removed");
  simdisk_destroy(disk);
  simdisk_destroy(before);
}

/* --- versions ----------------------------------------------------------------------------------------------- */

Test(version, newer_ones_are_refused_by_name) {
  static struct world world;
  uint64_t last_frame, size;
  struct simdisk *disk = small_directory(&world, true, &last_frame);
  unsigned char identity[CPN_IDENTITY_SIZE];
  memcpy(identity, simdisk_bytes(disk, "manifest", &size) + 16, sizeof identity);

  struct simdisk *copy = simdisk_copy(disk);
  unsigned char *manifest = simdisk_bytes(copy, "manifest", &size);
  cpn_put_u32(manifest + 8, 2);
  reseal_block(manifest);
  assert_refused(copy, COUPON_E_VERSION, "manifest");
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  manifest = simdisk_bytes(copy, "manifest", &size);
  manifest[100] = 1; /* a field that version 1 does not have */
  reseal_block(manifest);
  assert_refused(copy, COUPON_E_VERSION, "manifest");
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  unsigned char *segment = simdisk_bytes(copy, FIRST, &size);
  cpn_put_u32(segment + 8, 2);
  reseal_block(segment);
  assert_refused(copy, COUPON_E_VERSION, FIRST);
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  unsigned char *frame = simdisk_bytes(copy, FIRST, &size) + CPN_BLOCK_SIZE;
  cpn_put_u16(frame + 4, 2);
  reseal_frame(frame, identity);
  assert_refused(copy, COUPON_E_VERSION, FIRST);
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  frame = simdisk_bytes(copy, FIRST, &size) + 3 * CPN_BLOCK_SIZE;
  frame[64] = 9; /* a record type */
  reseal_frame(frame, identity);
  assert_refused(copy, COUPON_E_VERSION, FIRST);
  simdisk_destroy(copy);

  copy = simdisk_copy(disk);
  frame = simdisk_bytes(copy, FIRST, &size) + 2 * CPN_BLOCK_SIZE;
  frame[64 + 60] = 2; /* a kind of users, in the record of the campaign */
  reseal_frame(frame, identity);
  assert_refused(copy, COUPON_E_VERSION, FIRST);
  simdisk_destroy(copy);
  simdisk_destroy(disk);
}

/* Frames whose checksums are right and whose records break a rule: a bug, or a forger without much luck. */
Test(rules, broken_under_a_right_checksum_are_refused) {
  static struct world world;
  uint64_t last_frame, size;
  struct simdisk *disk = make_directory(&world, true, true, &last_frame);
  unsigned char identity[CPN_IDENTITY_SIZE];
  memcpy(identity, simdisk_bytes(disk, "manifest", &size) + 16, sizeof identity);
  struct {
    uint64_t block, offset, value;
  } const changes[] = {
      {5, 6, 0},                /* joined tickets in a frame that says it has none */
      {5, 6, 2},                /* … that says it has more */
      {5, 64 + 16, 0},          /* a joined ticket's user is the first one's */
      {5, 64 + 24, 5},          /* the time of joined ones is before that of those before them */
      {3, 64 + 8, 0},           /* the second ticket's user is the first one's */
      {3, 64 + 16, 5},          /* its time is before the first one's */
      {3, 64 + 4, UINT64_C(1)}, /* (low word: the campaign's index) another campaign, overwriting the user's low half */
      {1, 64 + 8, 7},           /* LIFE names another life than its frame */
  };
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    struct simdisk *copy = simdisk_copy(disk);
    unsigned char *frame = simdisk_bytes(copy, FIRST, &size) + changes[i].block * CPN_BLOCK_SIZE;
    if (changes[i].offset < 64)
      cpn_put_u16(frame + changes[i].offset, (uint16_t)changes[i].value);
    else
      cpn_put_u64(frame + changes[i].offset, changes[i].value);
    reseal_frame(frame, identity);
    assert_refused(copy, COUPON_E_CORRUPT, FIRST);
    simdisk_destroy(copy);
  }
  /* The campaign's users become such of 16 bytes, its tickets stay. */
  struct simdisk *copy = simdisk_copy(disk);
  unsigned char *frame = simdisk_bytes(copy, FIRST, &size) + 2 * CPN_BLOCK_SIZE;
  frame[64 + 60] = COUPON_USER_UUID;
  reseal_frame(frame, identity);
  assert_refused(copy, COUPON_E_CORRUPT, FIRST);
  simdisk_destroy(copy);
  simdisk_destroy(disk);
}
