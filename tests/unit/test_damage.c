/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that damage is refused with file and offset, or cut where the log does not prove that it was synced, and
 * never leads to a wrong state. How: directories of a few kilobytes on a simulated disk, with every bit flipped,
 * cut and zeroed at every byte; each opened by the real recovery, for writing and for reading. What is whole and does
 * not belong is in test_misplaced.c.
 */
#include <stdio.h>
#include <string.h>

#include "support/damage_help.h"

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

/* A sanitizer makes each opening some twenty times dearer: there every 13th bit, which visits every place within a
 * byte. */
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
