/* SPDX-License-Identifier: Apache-2.0 */
#include "support/crash_rig.h"

#include <stdio.h>
#include <string.h>

#include "log/checkpoint_format.h"
#include "support/engine_help.h"

struct choice {
  enum { NOTHING, EVERYTHING, TOSSED } kept;
  uint64_t *random;
};

static bool keep_chosen(void *context, uint64_t sector) {
  struct choice *choice = context;
  (void)sector;
  return choice->kept == EVERYTHING || (choice->kept == TOSSED && (help_random(choice->random) & 1) != 0);
}

static void prepare(const struct crash_rig *rig, struct world *world, struct simdisk *disk, uint64_t clock_ns) {
  world_init(world, disk);
  if (clock_ns != 0) world->clock_ns = clock_ns;
  if (rig->options != NULL) rig->options(world);
}

static void go_on(struct world *world) {
  for (uint64_t user = 900; user < 903; user++) {
    (void)world_issue(world, 1, user);
    (void)world_settle(world);
  }
  (void)!coupon_checkpoint(world->engine, COUPON_POLL);
  (void)world_issue(world, 1, 903);
  (void)world_settle(world);
}

static void damage_newest(struct simdisk *disk) {
  struct cpn_manifest manifest;
  uint64_t size;
  const unsigned char *block = simdisk_bytes(disk, CPN_MANIFEST_NAME, &size);
  if (block == NULL || cpn_manifest_decode(&manifest, block) != CPN_DECODED_OK || manifest.newest_checkpoint == 0)
    return;
  char name[CPN_CHECKPOINT_NAME_SIZE];
  cpn_checkpoint_name(manifest.newest_checkpoint, name);
  unsigned char *bytes = simdisk_bytes(disk, name, &size);
  HELP_CHECK(bytes != NULL);
  bytes[size - CPN_BLOCK_SIZE + 100] ^= 1; /* checksums vouch for every byte, padding too */
}

/* Opens, and checks against what was final. */
static const char *open_and_check(const struct crash_rig *rig, struct world *world, struct simdisk *disk,
                                  const struct world *past) {
  prepare(rig, world, disk, past->clock_ns);
  if (rig->damage_newest) damage_newest(disk);
  if (world_open(world) != COUPON_OK) {
    fprintf(stderr, "%s at %llu: %s\n", world->report.file, (unsigned long long)world->report.offset,
            world->report.message);
    return "recovery refused what an honest disk left";
  }
  if (world->report.checkpoint_status != COUPON_OK && !rig->damage_newest) {
    fprintf(stderr, "%s was passed over\n", world->report.checkpoint_file);
    return "a checkpoint that an honest disk left was passed over";
  }
  return world_check(world, past);
}

/* Recovers, checks, loses power again at once, checks that nothing has changed, goes on, loses power once more. */
static const char *recover_and_check(const struct crash_rig *rig, struct simdisk *disk, const struct world *past,
                                     uint64_t *random) {
  static struct world first, again, last;
  struct choice toss = {TOSSED, random}, none = {NOTHING, NULL};
  const char *wrong = open_and_check(rig, &first, disk, past);
  uint64_t digest = wrong == NULL ? world_digest(&first) : 0;
  world_abandon(&first);
  if (wrong != NULL) return wrong;

  struct simdisk *second = simdisk_power_loss(disk, keep_chosen, &none, 0);
  wrong = open_and_check(rig, &again, second, past);
  if (wrong == NULL && world_digest(&again) != digest) wrong = "the second recovery shows another state than the first";
  if (wrong == NULL) go_on(&again);
  if (wrong == NULL) wrong = world_check(&again, past);
  uint64_t settled = wrong == NULL ? world_digest(&again) : 0;
  world_abandon(&again);

  struct simdisk *third = simdisk_power_loss(second, keep_chosen, &toss, second->change_count);
  if (wrong == NULL) wrong = open_and_check(rig, &last, third, &again);
  if (wrong == NULL && world_digest(&last) != settled) wrong = "what was cut came back, or what was final is gone";
  world_abandon(&last);
  simdisk_destroy(second);
  simdisk_destroy(third);
  return wrong;
}

static const char *lose_power(struct crash_rig *rig, const struct simdisk *disk, const struct world *past,
                              struct choice choice, int changes, uint64_t *random) {
  struct simdisk *after = simdisk_power_loss(disk, keep_chosen, &choice, changes);
  const char *wrong = recover_and_check(rig, after, past, random);
  simdisk_destroy(after);
  rig->recoveries++;
  return wrong;
}

static const char *try_losses(struct crash_rig *rig, const struct simdisk *disk, const struct world *past,
                              uint64_t *random) {
  const char *wrong = NULL;
  for (int changes = 0; changes <= disk->change_count && wrong == NULL; changes++) {
    wrong = lose_power(rig, disk, past, (struct choice){NOTHING, NULL}, changes, random);
    if (wrong == NULL) wrong = lose_power(rig, disk, past, (struct choice){EVERYTHING, NULL}, changes, random);
    for (unsigned i = 0; i < rig->tosses && wrong == NULL; i++)
      wrong = lose_power(rig, disk, past, (struct choice){TOSSED, random}, changes, random);
  }
  if (wrong != NULL) return wrong;
  /* And the process alone dies: everything written is there. */
  struct simdisk *after = simdisk_copy(disk);
  wrong = recover_and_check(rig, after, past, random);
  simdisk_destroy(after);
  rig->recoveries++;
  return wrong;
}

const char *crash_rig_run(struct crash_rig *rig, uint64_t seed) {
  static struct world world;
  rig->points = rig->recoveries = 0;
  const unsigned every = rig->every != 0 ? rig->every : 1;
  for (rig->call = 1;; rig->call += every) {
    struct simdisk *disk = simdisk_create();
    if (rig->disk != NULL) rig->disk(disk);
    if (rig->fail_errno == 0) disk->die_at = rig->call;
    if (rig->fail_errno != 0) disk->fail_at = rig->call;
    disk->fail_errno = rig->fail_errno;
    disk->fail_for_good = rig->fail_for_good;
    prepare(rig, &world, disk, 0);
    rig->script(&world);
    bool ended = disk->calls < rig->call;
    const char *wrong = try_losses(rig, disk, &world, &seed);
    simdisk_destroy(disk);
    rig->points++;
    if (wrong != NULL) {
      fprintf(stderr, "call %llu: %s\n", (unsigned long long)rig->call, wrong);
      return wrong;
    }
    if (ended) return NULL;
  }
}
