/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that damage is refused with file and offset, or cut where the log does not prove that it was synced, and
 * never leads to a wrong state. How: directories of a few kilobytes on a simulated disk, with every bit flipped,
 * cut and zeroed at every byte, and blocks and segments put where they do not belong; each opened by the real
 * recovery, for writing and for reading.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"
#include "support/world.h"

#define FIRST "0000000000000001.log"
#define SECOND "0000000000000002.log"
#define THIRD "0000000000000003.log"
#define FOURTH "0000000000000004.log"

/* --- right checksums for wrong bytes --------------------------------------------------------------------- */

static void reseal_block(unsigned char *block) { cpn_put_u64(block + 504, cpn_checksum(block, 504)); }

static void reseal_frame(unsigned char *bytes, const unsigned char *identity) {
  cpn_put_u64(bytes + 48, cpn_checksum(bytes + 64, CPN_BLOCK_SIZE - 64));
  cpn_put_u64(bytes + 56, cpn_checksum_two(identity, CPN_IDENTITY_SIZE, bytes, 56));
}

/* --- directories to damage ---------------------------------------------------------------------------- */

/* Users 3 and 4 at one time, in one frame. */
static void issue_joined(struct world *world) {
  cr_assert_eq(world_issue(world, 1, 3), COUPON_ISSUED);
  world->clock_ns -= 10;
  cr_assert_eq(world_issue(world, 1, 4), COUPON_ISSUED);
  cr_assert(world_settle(world));
}

/* One segment, a few commits; closed, or left as a killed process leaves it. `*last_frame`: where the last frame
 * begins. */
static struct simdisk *make_directory(struct world *world, bool closed, bool joined, uint64_t *last_frame) {
  struct simdisk *disk = simdisk_create();
  world_init(world, disk);
  cr_assert_eq(world_open(world), COUPON_OK);
  (void)world_create(world, 1, 5, 1);
  for (uint64_t user = 0; user < 3; user++) {
    cr_assert_eq(world_issue(world, 1, user), COUPON_ISSUED);
    cr_assert(world_settle(world));
  }
  if (joined) issue_joined(world);
  *last_frame = world->engine->log.offset - (closed ? 0 : CPN_BLOCK_SIZE); /* closing writes one more */
  if (closed)
    world_close(world);
  else
    world_abandon(world);
  return disk;
}

static struct simdisk *small_directory(struct world *world, bool closed, uint64_t *last_frame) {
  return make_directory(world, closed, false, last_frame);
}

/* Four segments. */
static struct simdisk *large_directory(struct world *world) {
  struct simdisk *disk = simdisk_create();
  world_init(world, disk);
  cr_assert_eq(world_open(world), COUPON_OK);
  (void)world_create(world, 1, 100, 1);
  for (uint64_t user = 0; user < 22; user++) {
    cr_assert_eq(world_issue(world, 1, user), COUPON_ISSUED);
    cr_assert(world_settle(world));
  }
  world_close(world);
  uint64_t size;
  cr_assert_not_null(simdisk_bytes(disk, FOURTH, &size));
  return disk;
}

struct opened {
  coupon_status status;
  struct coupon_report report;
  uint64_t digest, tickets;
};

/* Opens a copy, looks, and leaves it. */
static struct opened open_copy(const struct simdisk *disk, bool read_only, const struct world *past) {
  static struct world world;
  struct simdisk *copy = simdisk_copy(disk);
  world_init(&world, copy);
  world.options.read_only = read_only;
  struct opened opened = {.status = world_open(&world)};
  opened.report = world.report;
  if (opened.status == COUPON_OK) {
    static const struct world nothing;
    const char *wrong = world_check(&world, past != NULL ? past : &nothing);
    cr_assert_null(wrong, "%s", wrong);
    opened.digest = world_digest(&world);
    opened.tickets = world_tickets(&world);
  }
  world_abandon(&world);
  simdisk_destroy(copy);
  return opened;
}

static void assert_refused(const struct simdisk *disk, coupon_status status, const char *file) {
  for (int read_only = 0; read_only < 2; read_only++) {
    struct opened opened = open_copy(disk, read_only, NULL);
    cr_assert_eq(opened.status, status, "%s: %s", coupon_status_name(opened.status), opened.report.message);
    cr_assert_str_eq(opened.report.file, file);
    cr_assert_gt(strlen(opened.report.message), 10);
  }
}

/* --- every bit ---------------------------------------------------------------------------------------- */

/* What FORMAT.md has to say to something wrong in one byte. */
enum verdict {
  REFUSED,      /* a checksum covers it that something later, or the file itself, proves */
  CUT,          /* the last frame, which nothing proves: everything before it is kept, and the cut is reported */
  TAIL,         /* behind the log: the same, but the log is whole */
  MEANS_NOTHING /* a hint that nobody reads now */
};

/* In a directory that nobody owns, whose log is whole, with one segment, the last frame of which is one block. */
static enum verdict verdict_of(const char *file, uint64_t at, uint64_t last_frame) {
  if (strcmp(file, "manifest") == 0) return REFUSED; /* all 512 bytes */
  if (strcmp(file, "owner") == 0) return MEANS_NOTHING;
  if (at < last_frame) return REFUSED;
  return at < last_frame + CPN_BLOCK_SIZE ? CUT : TAIL;
}

/* Opens with something wrong at `at` in `file`: the verdict, to the letter. */
static void check_damaged(const struct simdisk *disk, const struct world *past, uint64_t whole, const char *file,
                          uint64_t at, uint64_t last_frame, bool closed) {
  const enum verdict verdict = verdict_of(file, at, last_frame);
  const unsigned long long byte = at;
  for (int read_only = 0; read_only < 2; read_only++) {
    /* What was final must hold unless the last commit, which nothing proves, is what was damaged. */
    struct opened opened = open_copy(disk, read_only, verdict == CUT && !closed ? NULL : past);
    if (verdict == REFUSED) {
      cr_assert_eq(opened.status, COUPON_E_CORRUPT, "%s byte %llu: %s", file, byte, coupon_status_name(opened.status));
      cr_assert_str_eq(opened.report.file, file);
      cr_assert_leq(opened.report.offset, at);
      cr_assert_gt(opened.report.offset + 2 * CPN_BLOCK_SIZE, at, "the offset is far from the damage");
      continue;
    }
    cr_assert_eq(opened.status, COUPON_OK, "%s byte %llu: %s", file, byte, opened.report.message);
    /* After a clean close the last frame is END, which holds nothing. */
    cr_assert_eq(opened.digest == whole, verdict != CUT || closed, "%s byte %llu", file, byte);
    cr_assert_eq(opened.report.cut_bytes > 0, verdict != MEANS_NOTHING, "%s byte %llu", file, byte);
    if (verdict == MEANS_NOTHING) continue;
    cr_assert_eq(opened.report.offset, verdict == CUT ? last_frame : last_frame + CPN_BLOCK_SIZE);
    cr_assert_str_eq(opened.report.file, file);
  }
}

/* A sanitizer makes each opening some twenty times dearer: there every 13th bit, which visits every place within a byte. */
#if defined(__SANITIZE_ADDRESS__)
#define BIT_STEP 13
#else
#define BIT_STEP 1
#endif

static void flip_every_bit(bool closed) {
  static struct world world;
  uint64_t last_frame;
  struct simdisk *disk = make_directory(&world, closed, true, &last_frame);
  uint64_t whole = open_copy(disk, true, &world).digest;
  static const char *const files[] = {"manifest", "owner", FIRST};
  unsigned long long flips = 0, checked = 0;
  for (size_t f = 0; f < 3; f++) {
    uint64_t size;
    unsigned char *bytes = simdisk_bytes(disk, files[f], &size);
    cr_assert_leq(size, 4096);
    for (uint64_t bit = 0; bit < size * 8; bit += BIT_STEP) {
      bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
      check_damaged(disk, &world, whole, files[f], bit / 8, last_frame, closed);
      bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
      flips++;
    }
    checked += size;
  }
  fprintf(stderr, "%llu bits of %llu bytes flipped\n", flips, checked);
  simdisk_destroy(disk);
}

Test(damage, of_any_bit_after_a_clean_close_gets_the_formats_verdict, .timeout = 110) { flip_every_bit(true); }
Test(damage, of_any_bit_after_a_kill_gets_the_formats_verdict, .timeout = 110) { flip_every_bit(false); }

Test(damage, a_log_cut_at_any_byte_is_refused) {
  static struct world world;
  uint64_t last_frame;
  for (int closed = 0; closed < 2; closed++) {
    struct simdisk *disk = small_directory(&world, closed, &last_frame);
    for (uint64_t size = 0; size < 4096; size++) {
      struct simdisk *copy = simdisk_copy(disk);
      simdisk_truncate(copy, FIRST, size);
      struct opened opened = open_copy(copy, size & 1, NULL);
      cr_assert_eq(opened.status, COUPON_E_CORRUPT, "cut at %llu", (unsigned long long)size);
      cr_assert_str_eq(opened.report.file, FIRST);
      cr_assert(opened.report.offset == size || size < CPN_BLOCK_SIZE);
      simdisk_destroy(copy);
    }
    simdisk_destroy(disk);
  }
}

/* A final write that got as far as any byte. */
Test(damage, a_log_that_ends_in_zeros_from_any_byte_is_refused_or_cut) {
  static struct world world;
  for (int closed = 0; closed < 2; closed++) {
    uint64_t last_frame;
    struct simdisk *disk = small_directory(&world, closed, &last_frame);
    uint64_t whole = open_copy(disk, true, &world).digest;
    for (uint64_t from = 1; from < 4096; from++) {
      struct simdisk *copy = simdisk_copy(disk);
      uint64_t size;
      unsigned char *bytes = simdisk_bytes(copy, FIRST, &size);
      memset(bytes + from, 0, size - from);
      /* With the rest of the log the proof is gone too: a prefix is all that can be asked for; but never from
       * inside a header. */
      struct opened opened = open_copy(copy, from & 1, NULL);
      bool header_is_whole = from >= CPN_BLOCK_SIZE;
      cr_assert_eq(opened.status, header_is_whole ? COUPON_OK : COUPON_E_CORRUPT, "from %llu",
                   (unsigned long long)from);
      if (from >= last_frame + CPN_BLOCK_SIZE) cr_assert_eq(opened.digest, whole);
      simdisk_destroy(copy);
    }
    simdisk_destroy(disk);
  }
}

/* The last commit's write, of several blocks, got as far as any byte; what it did not reach is as the segment was
 * made. All that was final before is there, the commit is whole or not at all, and what is there of it is cut and
 * reported. */
Test(damage, a_final_write_torn_at_any_byte_is_cut_and_costs_nothing_that_was_final) {
  static struct world world, past;
  uint64_t last_frame, size;
  struct simdisk *before = small_directory(&world, false, &last_frame), *disk = simdisk_copy(before);
  past = world;
  world_init(&world, disk);
  cr_assert_eq(world_open(&world), COUPON_OK);
  for (uint64_t id = 2; id < 22; id++) (void)world_create(&world, id, 5, 1); /* 64 bytes of record each */
  cr_assert(world_settle(&world));
  cr_assert_eq(world.engine->log.number, 2, "the frame found no room in the first segment");
  const uint64_t torn = CPN_BLOCK_SIZE, end = world.engine->log.offset;
  world_abandon(&world);
  cr_assert_geq(end, torn + 3 * CPN_BLOCK_SIZE, "one frame of several blocks");
  const uint64_t whole = open_copy(disk, true, &past).digest, without = open_copy(before, true, &past).digest;
  cr_assert_neq(whole, without);
  const unsigned char *bytes = simdisk_bytes(disk, SECOND, &size);
  uint64_t last = end; /* behind the last byte that is not zero, so would be missed */
  while (bytes[last - 1] == 0) last--;
  for (uint64_t reached = torn; reached <= end; reached++) {
    struct simdisk *copy = simdisk_copy(disk);
    memset(simdisk_bytes(copy, SECOND, &size) + reached, 0, end - reached);
    for (int read_only = 0; read_only < 2; read_only++) {
      struct opened opened = open_copy(copy, read_only, &past);
      cr_assert_eq(opened.status, COUPON_OK, "%s", opened.report.message);
      cr_assert_eq(opened.digest, reached < last ? without : whole, "byte %llu", (unsigned long long)(reached - torn));
      cr_assert_eq(opened.report.cut_bytes > 0, reached > torn && reached < last);
      if (opened.report.cut_bytes > 0) cr_assert_eq(opened.report.offset, torn);
    }
    simdisk_destroy(copy);
  }
  fprintf(stderr, "%llu torn writes\n", (unsigned long long)(end - torn + 1));
  simdisk_destroy(disk);
  simdisk_destroy(before);
}

/* Where the last frame of a segment begins: the last block that holds anything. */
static uint64_t last_block_of(struct simdisk *disk, const char *file) {
  uint64_t size, last = 0;
  const unsigned char *bytes = simdisk_bytes(disk, file, &size);
  for (uint64_t at = 0; at < size; at++) {
    if (bytes[at] != 0) last = at;
  }
  return last - last % CPN_BLOCK_SIZE;
}

/* Every byte of a log of several segments: a later segment proves all that is before it. */
Test(damage, of_any_byte_of_any_segment_gets_the_formats_verdict, .timeout = 110) {
  static struct world world;
  struct simdisk *disk = large_directory(&world);
  static const char *const files[] = {FIRST, SECOND, THIRD, FOURTH};
  for (size_t f = 0; f < 4; f++) {
    uint64_t size;
    unsigned char *bytes = simdisk_bytes(disk, files[f], &size);
    const uint64_t last_frame = f == 3 ? last_block_of(disk, FOURTH) : UINT64_MAX;
    for (uint64_t at = 0; at < size; at += BIT_STEP) {
      struct opened opened;
      const unsigned char was = bytes[at];
      bytes[at] ^= (unsigned char)(1 + at * 7 % 255);
      opened = open_copy(disk, (at & 1) != 0, f == 3 && at >= last_frame ? &world : NULL);
      bytes[at] = was;
      if (at < last_frame && !(f < 3 && at >= last_block_of(disk, files[f]) + CPN_BLOCK_SIZE)) {
        cr_assert_eq(opened.status, COUPON_E_CORRUPT, "%s byte %llu", files[f], (unsigned long long)at);
        cr_assert_str_eq(opened.report.file, files[f]);
      } else { /* the END frame and behind; or behind the end of a segment that another follows */
        cr_assert_eq(opened.status, COUPON_OK, "%s byte %llu", files[f], (unsigned long long)at);
        cr_assert_eq(opened.tickets, 22);
        cr_assert_eq(opened.report.cut_bytes > 0, f == 3);
      }
    }
  }
  simdisk_destroy(disk);
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
