/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Criterion tests of damage share: directories of a few kilobytes on a simulated disk, and a look at a copy of
 * one by the real recovery. One program includes it once.
 */
#ifndef TESTS_SUPPORT_DAMAGE_HELP_H
#define TESTS_SUPPORT_DAMAGE_HELP_H

#include <criterion/criterion.h>

#include "support/world.h"

#define FIRST "0000000000000001.log"
#define SECOND "0000000000000002.log"
#define THIRD "0000000000000003.log"
#define FOURTH "0000000000000004.log"

/* Users 3 and 4 at one time, in one frame. */
__attribute__((unused)) static void issue_joined(struct world *world) {
  cr_assert_eq(world_issue(world, 1, 3), COUPON_ISSUED);
  world->clock_ns -= 10;
  cr_assert_eq(world_issue(world, 1, 4), COUPON_ISSUED);
  cr_assert(world_settle(world));
}

/* One segment, a few commits; closed, or left as a killed process leaves it. `*last_frame`: where the last frame
 * begins. */
__attribute__((unused)) static struct simdisk *make_directory(struct world *world, bool closed, bool joined,
                                                              uint64_t *last_frame) {
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

__attribute__((unused)) static struct simdisk *small_directory(struct world *world, bool closed, uint64_t *last_frame) {
  return make_directory(world, closed, false, last_frame);
}

/* Four segments. */
__attribute__((unused)) static struct simdisk *large_directory(struct world *world) {
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
__attribute__((unused)) static struct opened open_copy(const struct simdisk *disk, bool read_only,
                                                       const struct world *past) {
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

#endif
