/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a damaged checkpoint is never believed: another makes up for it, or the opening is refused and names the
 * file. How: two checkpoints and a little log, every byte of the newest and of the manifest flipped, files missing,
 * short, of another number or directory, and a state that cannot be written down under right checksums.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/restore.h"
#include "support/checkpoint_help.h"

TestSuite(checkpoint, .init = begin, .fini = end);

/* Two checkpoints and a log that begins behind its first segment; small. */
static uint64_t small_directory(void) {
  cr_assert_eq(world_open(&world), COUPON_OK);
  (void)world_create(&world, 1, 50, 1);
  create(2, COUPON_USER_UUID, 0, 20, 500, "a window");
  sell(1, 0, 9);
  issue_uuid(2, 1);
  checkpoint();
  sell(1, 20, 9);
  checkpoint();
  sell(1, 40, 2);
  cr_assert_gt(manifest().first_segment, 1);
  uint64_t digest = digest_of_all(world.engine);
  world_close(&world);
  return digest;
}

/* Opens a copy: what it says, and its state if there is one. */
static coupon_status open_copy(bool read_only, uint64_t *digest, struct coupon_report *report) {
  static struct world other;
  struct simdisk *copy = simdisk_copy(disk);
  copy->meddle = disk->meddle;
  world_init(&other, copy);
  other.clock_ns = world.clock_ns;
  other.options.read_only = read_only;
  coupon_status status = world_open(&other);
  *report = other.report;
  if (status == COUPON_OK) *digest = digest_of_all(other.engine);
  world_abandon(&other);
  simdisk_destroy(copy);
  return status;
}

static void flip_all(const char *name, bool another_makes_up) {
  const uint64_t whole = small_directory();
  uint64_t size, digest;
  unsigned char *bytes = simdisk_bytes(disk, name, &size);
  cr_assert_not_null(bytes);
  for (uint64_t at = 0; at < size; at++) {
    bytes[at] ^= (unsigned char)(1 << at % 8);
    for (int read_only = 0; read_only < 2; read_only++) {
      struct coupon_report report;
      coupon_status status = open_copy(read_only, &digest, &report);
      if (another_makes_up) {
        cr_assert_eq(status, COUPON_OK, "byte %llu: %s", (unsigned long long)at, report.message);
        cr_assert_eq(digest, whole);
        cr_assert_eq(report.checkpoint_status, COUPON_E_CORRUPT);
        cr_assert_str_eq(report.checkpoint_file, name);
        cr_assert_eq(report.checkpoint, 1);
      } else {
        cr_assert_eq(status, COUPON_E_CORRUPT, "byte %llu", (unsigned long long)at);
        cr_assert_str_eq(report.file, name);
      }
    }
    bytes[at] ^= (unsigned char)(1 << at % 8);
  }
}

Test(checkpoint, with_any_byte_of_the_newest_damaged_is_passed_over, .timeout = 200) {
  flip_all("0000000000000002.checkpoint", true);
}
Test(checkpoint, with_any_byte_of_the_manifest_damaged_is_refused) { flip_all(CPN_MANIFEST_NAME, false); }

Test(checkpoint, that_is_the_older_is_not_asked_for_while_the_newest_is_sound) {
  const uint64_t whole = small_directory();
  uint64_t size, digest;
  unsigned char *bytes = simdisk_bytes(disk, "0000000000000001.checkpoint", &size);
  memset(bytes, 0, size);
  struct coupon_report report;
  cr_assert_eq(open_copy(false, &digest, &report), COUPON_OK);
  cr_assert_eq(digest, whole);
  cr_assert_eq(report.checkpoint_status, COUPON_OK);
}

Test(checkpoint, of_which_both_are_damaged_is_refused) {
  (void)small_directory();
  uint64_t size, digest;
  simdisk_bytes(disk, "0000000000000001.checkpoint", &size)[600] ^= 1;
  simdisk_bytes(disk, "0000000000000002.checkpoint", &size)[600] ^= 1;
  struct coupon_report report;
  for (int read_only = 0; read_only < 2; read_only++) {
    cr_assert_eq(open_copy(read_only, &digest, &report), COUPON_E_CORRUPT);
    cr_assert_str_eq(report.file, "0000000000000002.checkpoint");
    cr_assert_eq(report.offset, 512);
  }
}

Test(checkpoint, that_is_missing_or_short_is_passed_over) {
  const uint64_t whole = small_directory();
  uint64_t size, digest;
  struct coupon_report report;
  (void)simdisk_bytes(disk, "0000000000000002.checkpoint", &size);
  simdisk_truncate(disk, "0000000000000002.checkpoint", size - 1);
  cr_assert_eq(open_copy(false, &digest, &report), COUPON_OK);
  cr_assert_eq(digest, whole);
  simdisk_truncate(disk, "0000000000000002.checkpoint", 0);
  cr_assert_eq(open_copy(true, &digest, &report), COUPON_OK);
  simdisk_remove(disk, "0000000000000002.checkpoint");
  cr_assert_eq(open_copy(false, &digest, &report), COUPON_OK);
  cr_assert_eq(digest, whole);
  cr_assert_eq(report.checkpoint_status, COUPON_E_CORRUPT);
}

/* --- what the disk does not give back --------------------------------------------------------------------- */

/* Reads, and looks at the size, of the files so named fail, from the call `from` (1, 2, …) on. */
static struct unreadable {
  const char *name;
  int error;
  uint64_t from, reached;
} unreadable;

static int64_t fail_to_read(void *context, const struct sim_call *call) {
  (void)context;
  if (call->op != SIM_OPEN && call->op != SIM_READ && call->op != SIM_SIZE) return 0;
  if (strstr(call->name, unreadable.name) == NULL || ++unreadable.reached < unreadable.from) return 0;
  return -unreadable.error;
}

static void make_unreadable(const char *name, int error, uint64_t from) {
  unreadable = (struct unreadable){.name = name, .error = error, .from = from};
  disk->meddle = fail_to_read;
}

Test(checkpoint, that_the_disk_does_not_give_back_is_passed_over) {
  const uint64_t whole = small_directory();
  uint64_t digest, from = 1;
  struct coupon_report report;
  for (;; from++) {
    for (int read_only = 0; read_only < 2; read_only++) {
      make_unreadable("0000000000000002.checkpoint", EIO, from);
      cr_assert_eq(open_copy(read_only, &digest, &report), COUPON_OK, "call %llu: %s", (unsigned long long)from,
                   report.message);
      cr_assert_eq(digest, whole);
      if (unreadable.reached < from) break;
      cr_assert_eq(report.checkpoint_status, COUPON_E_IO);
      cr_assert_str_eq(report.checkpoint_file, "0000000000000002.checkpoint");
      cr_assert_eq(report.checkpoint, 1);
    }
    if (unreadable.reached < from) break;
  }
  cr_assert_gt(from, 3, "opened, its first block and the rest: read at least");
  cr_assert_eq(report.checkpoint_status, COUPON_OK);
  cr_assert_eq(report.checkpoint, 2);
}

Test(checkpoint, of_which_neither_can_be_read_is_refused_as_unreadable_though_one_is_damaged) {
  (void)small_directory();
  uint64_t size, digest;
  struct coupon_report report;
  make_unreadable(".checkpoint", EIO, 1);
  cr_assert_eq(open_copy(false, &digest, &report), COUPON_E_IO);
  cr_assert_str_eq(report.file, "0000000000000002.checkpoint");
  cr_assert_eq(report.os_error, EIO);
  /* The older one may be sound. */
  simdisk_bytes(disk, "0000000000000002.checkpoint", &size)[600] ^= 1;
  make_unreadable("0000000000000001.checkpoint", EIO, 1);
  cr_assert_eq(open_copy(true, &digest, &report), COUPON_E_IO);
  cr_assert_str_eq(report.file, "0000000000000001.checkpoint");
  cr_assert_str_eq(report.checkpoint_file, "0000000000000002.checkpoint");
}

Test(checkpoint, that_somebody_can_make_readable_is_not_passed_over) {
  static const struct {
    int error;
    coupon_status status;
  } mendable[] = {{EACCES, COUPON_E_ACCESS}, {ENOMEM, COUPON_E_NOMEM}, {EMFILE, COUPON_E_THREAD}};
  (void)small_directory();
  uint64_t digest;
  struct coupon_report report;
  for (size_t i = 0; i < sizeof mendable / sizeof mendable[0]; i++) {
    make_unreadable("0000000000000002.checkpoint", mendable[i].error, 1);
    cr_assert_eq(open_copy(false, &digest, &report), mendable[i].status);
    cr_assert_str_eq(report.file, "0000000000000002.checkpoint");
  }
}

/* The directory goes on: the next checkpoint makes up for the one that was not read. */
Test(checkpoint, is_made_anew_after_one_that_could_not_be_read) {
  (void)small_directory();
  make_unreadable("0000000000000002.checkpoint", EIO, 1);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_eq(world.report.checkpoint, 1);
  sell(1, 42, 2);
  checkpoint();
  disk->meddle = NULL;
  cr_expect_eq(manifest().older_checkpoint, 1);
  cr_expect_eq(manifest().newest_checkpoint, 3);
  const uint64_t whole = digest_of_all(world.engine);
  world_close(&world);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert_eq(world.report.checkpoint, 3);
  cr_assert_eq(digest_of_all(world.engine), whole);
  world_close(&world);
}

/* --- whose it is ------------------------------------------------------------------------------------------ */

Test(checkpoint, of_another_number_or_directory_is_passed_over) {
  const uint64_t whole = small_directory();
  uint64_t size, digest;
  struct coupon_report report;
  simdisk_remove(disk, "0000000000000002.checkpoint");
  simdisk_duplicate(disk, "0000000000000001.checkpoint", "0000000000000002.checkpoint");
  cr_assert_eq(open_copy(false, &digest, &report), COUPON_OK);
  cr_assert_eq(digest, whole);
  cr_assert_eq(report.checkpoint, 1);
  /* With its first block made to fit, the chunks still know where they belong. */
  unsigned char *bytes = simdisk_bytes(disk, "0000000000000002.checkpoint", &size);
  struct cpn_checkpoint_header header;
  struct cpn_manifest there = manifest();
  cr_assert_eq(cpn_checkpoint_header_decode(&header, there.identity, 1, bytes), CPN_DECODED_OK);
  header.number = 2;
  cpn_checkpoint_header_encode(&header, there.identity, bytes);
  cr_assert_eq(open_copy(false, &digest, &report), COUPON_OK);
  cr_assert_eq(report.checkpoint, 1);
}

Test(checkpoint, without_the_log_that_follows_it_is_refused) {
  (void)small_directory();
  uint64_t digest, size;
  struct coupon_report report;
  struct cpn_checkpoint_header header;
  struct cpn_manifest there = manifest();
  const unsigned char *bytes = simdisk_bytes(disk, "0000000000000002.checkpoint", &size);
  cr_assert_eq(cpn_checkpoint_header_decode(&header, there.identity, 2, bytes), CPN_DECODED_OK);
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(header.segment, name);
  simdisk_remove(disk, name);
  cr_assert_eq(open_copy(false, &digest, &report), COUPON_E_CORRUPT);
  cr_assert_str_eq(report.file, name);
}

static char warning[512];

static void hear(void *context, int32_t level, const char *message) {
  (void)context;
  if (level == COUPON_LOG_WARNING) (void)snprintf(warning, sizeof warning, "%s", message);
}

/* What the older one needs and opening does not look at: told while the newest can still make up for it. */
Test(checkpoint, whose_elder_has_lost_its_log_is_told_of_until_there_is_another) {
  (void)small_directory();
  world.options.callbacks.log = hear;
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(manifest().first_segment, name);
  cr_assert_eq(world_open(&world), COUPON_OK);
  const uint64_t segments = help_stats(world.engine).segments;
  cr_expect_str_empty(warning);
  world_close(&world);
  simdisk_remove(disk, name);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_expect_eq(strncmp(warning, "1 log segments before ", 22), 0, "%s", warning);
  cr_expect_eq(help_stats(world.engine).segments, segments - 1);
  checkpoint();
  warning[0] = 0;
  world_close(&world);
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_expect_str_empty(warning);
  world_close(&world);
  uint64_t size, digest;
  struct coupon_report report;
  simdisk_bytes(disk, "0000000000000003.checkpoint", &size)[600] ^= 1;
  cr_expect_eq(open_copy(false, &digest, &report), COUPON_OK, "the one before it and its log are there");
}

Test(checkpoint, whose_log_was_cut_before_it_is_refused_when_the_older_is_taken) {
  (void)small_directory();
  uint64_t size, digest;
  struct coupon_report report;
  char name[CPN_SEGMENT_NAME_SIZE];
  /* The newest is damaged behind its first block, which still proves what was durable. */
  simdisk_bytes(disk, "0000000000000002.checkpoint", &size)[600] ^= 1;
  for (uint64_t number = manifest().first_segment + 1; number < 20; number++) {
    cpn_segment_name(number, name);
    if (exists(name)) simdisk_remove(disk, name);
  }
  cr_assert_eq(open_copy(false, &digest, &report), COUPON_E_CORRUPT);
}

/* The wrong one of two equal users is then a line in memory, which the next checkpoint copies. */
static void plant_a_second_ticket(uint64_t campaign, uint64_t number, uint64_t user) {
  struct cpn_campaign *there = cpn_directory_find(&world.engine->campaigns, campaign);
  cr_assert_not_null(there);
  _Atomic uint64_t *word = cpn_chunks_at(&there->tickets.users, number - 1);
  atomic_store_explicit(word, user, memory_order_relaxed);
}

Test(checkpoint, with_two_tickets_of_one_user_is_passed_over_also_where_that_shows_last) {
  for (int deferred = 0; deferred < 2; deferred++) {
    cpn_restore_defer_from = deferred ? 4 : 65536;
    cr_assert_eq(world_open(&world), COUPON_OK);
    const uint64_t id = 1 + (uint64_t)deferred, first = id * 1000;
    create(id, COUPON_USER_U64, 1, 0, 0, NULL);
    sell(id, first, 20);
    checkpoint();
    sell(id, first + 20, 10);
    plant_a_second_ticket(id, 15, first + 2);
    checkpoint();
    world_close(&world);
    cr_assert_eq(world_open(&world), COUPON_OK, "%s", world.report.message);
    cr_expect_eq(world.report.checkpoint_status, COUPON_E_CORRUPT);
    cr_expect_eq(world.report.checkpoint, manifest().older_checkpoint);
    cr_expect_str_not_empty(world.report.checkpoint_file);
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_expect_eq(coupon_try_issue(world.engine, id, first + 14, &ticket), COUPON_ALREADY_ISSUED);
    cr_expect_eq(ticket.number, 15);
    world_close(&world);
  }
}

Test(checkpoint, that_was_passed_over_is_replaced) {
  (void)small_directory();
  uint64_t size;
  simdisk_bytes(disk, "0000000000000002.checkpoint", &size)[600] ^= 1;
  cr_assert_eq(world_open(&world), COUPON_OK);
  cr_assert(checkpoint_exists(2), "it may be wanted for a look");
  cr_assert(cpn_checkpoint_step(world.engine), "one is due at once");
  cr_assert_eq(manifest().newest_checkpoint, 3);
  cr_assert_eq(manifest().older_checkpoint, 1);
  cr_assert(!checkpoint_exists(2));
}
