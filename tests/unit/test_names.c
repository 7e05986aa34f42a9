/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that nothing rests on a name that may not be durable: that of the directory, those of segments and of the
 * manifest after a directory sync that failed, those in an archive; and that what has a segment's name in an archive is
 * taken for that segment only if it is. How: the real engine on a simulated disk, of which a directory sync that fails
 * forgets the entries that it was to write, as a failed sync of a file forgets its pages; and the file system's own
 * calls, listened to.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/world_suite.h"

TestSuite(names, .init = begin, .fini = end);

static void sell(uint64_t from, uint64_t count) {
  for (uint64_t user = from; user < from + count; user++) {
    (void)world_issue(&world, 1, user);
    if (!world_settle(&world)) return;
  }
}

/* --- a directory sync that fails --------------------------------------------------------------------- */

struct failing {
  uint64_t at, met; /* the directory sync that fails, from 1; so many there were */
};

static int64_t fail_one(void *context, const struct sim_call *call) {
  struct failing *failing = context;
  if (call->op != SIM_SYNC_DIRECTORY) return 0;
  return ++failing->met == failing->at ? -EIO : 0;
}

static bool keep_none(void *context, uint64_t sector) {
  (void)context, (void)sector;
  return false;
}

static void live(uint64_t first_user, const struct failing *failing) {
  if (world_open(&world) != COUPON_OK) return;
  (void)world_create(&world, 1, 1000, 1);
  (void)world_settle(&world);
  for (uint64_t i = 0; i < 2 && failing->met < failing->at; i++) {
    sell(first_user + i * 30, 30);
    (void)!coupon_checkpoint(world.engine, COUPON_POLL);
  }
  sell(first_user + 60, 5);
  world_abandon(&world);
}

/* The life after the one that failed is a short one: what it makes anew by the way, later ones would not find
 * missing. */
static void some_lives(const struct failing *failing) {
  for (uint64_t life = 0, after = 0; life < 4 && after < 2; life++) {
    after += failing->met >= failing->at;
    live(life * 100, failing);
    simdisk_restart(disk);
  }
}

Test(names, are_made_again_when_the_sync_that_was_to_keep_them_has_failed) {
  struct failing failing = {0};
  do {
    static struct world past;
    end();
    begin();
    failing = (struct failing){.at = failing.at + 1};
    disk->meddle = fail_one;
    disk->chooser = &failing;
    some_lives(&failing);
    disk->meddle = NULL;
    past = world;
    simdisk_lose_power(disk, &(struct sim_loss){.keep = keep_none});
    cr_assert_eq(world_open(&world), COUPON_OK, "directory sync %llu: %s: %s", (unsigned long long)failing.at,
                 world.report.file, world.report.message);
    const char *wrong = world_check(&world, &past);
    cr_assert_null(wrong, "directory sync %llu: %s", (unsigned long long)failing.at, wrong);
  } while (failing.met >= failing.at);
  cr_assert_gt(failing.at, 20, "hardly any was met");
}

/* --- archives ---------------------------------------------------------------------------------------- */

#define FILES_MAX 64

/* Everything in the directory, under names that nobody looks for; or back, instead of what is there. */
static void set_aside(bool back) {
  char names[FILES_MAX][CPN_IO_NAME_MAX], other[CPN_IO_NAME_MAX];
  size_t count = 0;
  const char *name;
  for (int at = 0; (name = simdisk_next_name(disk, &at)) != NULL;) {
    if (strncmp(name, "archive/", 8) == 0) continue;
    cr_assert_lt(count, FILES_MAX);
    (void)snprintf(names[count++], sizeof names[0], "%s", name);
  }
  for (size_t i = 0; i < count && back; i++)
    if (strncmp(names[i], "aside-", 6) != 0) simdisk_remove(disk, names[i]);
  for (size_t i = 0; i < count; i++) {
    if ((strncmp(names[i], "aside-", 6) == 0) != back) continue;
    (void)snprintf(other, sizeof other, "%s%.50s", back ? "" : "aside-", back ? names[i] + 6 : names[i]);
    simdisk_duplicate(disk, names[i], other);
  }
}

static void sell_segments(uint64_t from) {
  for (int i = 0; i < 3; i++) {
    sell(from + (uint64_t)i * 40, 40);
    cr_assert_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_OK);
  }
}

/* The log from its beginning: what the archive has, and what is in the directory. */
static void expect_whole_log(uint64_t digest) {
  struct simdisk *whole = simdisk_copy(disk);
  struct cpn_manifest manifest;
  uint64_t size;
  unsigned char *block = simdisk_bytes(whole, CPN_MANIFEST_NAME, &size);
  cr_assert_eq(cpn_manifest_decode(&manifest, block), CPN_DECODED_OK);
  for (uint64_t number = 1; number < manifest.first_segment; number++) {
    char name[CPN_SEGMENT_NAME_SIZE], archived[CPN_IO_NAME_MAX];
    cpn_segment_name(number, name);
    (void)snprintf(archived, sizeof archived, "archive/%s", name);
    if (simdisk_bytes(whole, name, &size) == NULL) simdisk_duplicate(whole, archived, name);
  }
  manifest.newest_checkpoint = manifest.older_checkpoint = 0;
  manifest.first_segment = 1;
  cpn_manifest_encode(&manifest, block);
  struct world other;
  world_init(&other, whole);
  other.clock_ns = world.clock_ns;
  cr_assert_eq(world_open(&other), COUPON_OK, "%s: %s", other.report.file, other.report.message);
  cr_expect_eq(world_digest(&other), digest);
  world_abandon(&other);
  simdisk_destroy(whole);
}

/* The directory is brought back from a copy, and goes on otherwise than before. What it then has under names that the
 * archive has too is not what the archive has. */
Test(names, in_an_archive_are_not_taken_for_the_segments_of_a_directory_brought_back) {
  world.options.archive_dir = "archive";
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 10000, 1);
  sell(0, 15);
  world_close(&world);
  set_aside(false);
  cr_assert_eq(world_open(&world), COUPON_OK);
  sell_segments(100);
  world_close(&world);
  set_aside(true);
  cr_assert_eq(world_open(&world), COUPON_OK, "%s", world.report.message);
  sell_segments(5000);
  const uint64_t digest = world_digest(&world);
  world_close(&world);
  expect_whole_log(digest);
}

/* --- the directory itself ---------------------------------------------------------------------------- */

static ino_t listened_for;
static bool heard;

/* Instead of the C library's. */
int fsync(int descriptor) {
  struct stat status;
  if (fstat(descriptor, &status) == 0 && status.st_ino == listened_for) heard = true;
  return (int)syscall(SYS_fsync, descriptor);
}

/* As a process leaves it that was killed when it had made the directory, or somebody who made it by hand. */
Test(names, of_a_directory_that_was_there_is_made_durable_too) {
  char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
  struct stat status;
  help_temp_make(temp);
  (void)help_join(data, temp, "data");
  cr_assert_eq(mkdir(data, 0700), 0);
  cr_assert_eq(stat(temp, &status), 0);
  listened_for = status.st_ino;
  heard = false;
  struct coupon_options options = help_options(COUPON_SYNC);
  help_close(help_open(data, &options));
  cr_expect(heard, "a power loss would take the directory");
  help_temp_remove(temp);
}
