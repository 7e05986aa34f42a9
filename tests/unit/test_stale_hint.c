/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a reader beside an opening does not take an honest log for a damaged one because of the hint of the life
 * before. How: a power loss that takes the log and leaves the hint, as it may where answers are final before they are
 * synced; then a reader at every call of the opening that follows.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "support/engine_help.h"
#include "support/world.h"

static bool keep_none(void *context, uint64_t sector) {
  (void)context, (void)sector;
  return false;
}

static void read_beside(struct simdisk *disk) {
  static struct world reader;
  struct simdisk *copy = simdisk_copy(disk);
  copy->locked = disk->locked;
  world_init(&reader, copy);
  reader.options.read_only = 1;
  cr_expect_neq(world_open(&reader), COUPON_E_CORRUPT, "%s: %s", reader.report.file, reader.report.message);
  world_abandon(&reader);
  simdisk_destroy(copy);
}

/* From the first call on at which the log is read: until then the owner may not have got to the hint. */
static int64_t look(void *context, const struct sim_call *call) {
  bool *reading = context;
  (void)call;
  *reading = *reading || (call->op == SIM_READ && strstr(call->name, ".log") != NULL);
  return 0;
}

Test(stale_hint, does_not_make_an_honest_log_look_damaged_while_it_is_recovered) {
  struct simdisk *disk = simdisk_create();
  static struct world world;
  uint64_t size;
  unsigned char hint[CPN_BLOCK_SIZE];
  bool reading = false;
  world_init(&world, disk);
  world.options.durability = COUPON_WRITTEN;
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 1000, 1);
  for (uint64_t user = 0; user < 5; user++) (void)world_issue(&world, 1, user);
  cr_assert(world_settle(&world));
  memcpy(hint, simdisk_bytes(disk, CPN_OWNER_NAME, &size), sizeof hint);
  world_abandon(&world);
  simdisk_lose_power(disk, &(struct sim_loss){.keep = keep_none, .changes_kept = SIM_CHANGES});
  int owner = simdisk_entry(disk, disk->now, CPN_OWNER_NAME)->file;
  simdisk_reserve(&disk->files[owner], sizeof hint);
  disk->files[owner].size = disk->files[owner].durable_size = sizeof hint;
  memcpy(disk->files[owner].now, hint, sizeof hint);
  memcpy(disk->files[owner].durable, hint, sizeof hint);

  disk->meddle = look;
  disk->chooser = &reading;
  for (uint64_t at = 1; at < 200; at++) { /* the opening stops at each call in turn, its process still there */
    struct simdisk *copy = simdisk_copy(disk);
    static struct world opening;
    world_init(&opening, copy);
    reading = false;
    copy->meddle = look;
    copy->chooser = &reading;
    copy->die_at = at;
    coupon_status status = world_open(&opening);
    copy->locked = true;
    copy->dead = false;
    copy->die_at = 0;
    copy->meddle = NULL;
    if (reading) read_beside(copy);
    world_abandon(&opening);
    simdisk_destroy(copy);
    if (status == COUPON_OK) break;
    cr_assert_lt(at, 199);
  }
  simdisk_destroy(disk);
}
