/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a full disk is a named fault and costs nothing that was final: a sale (sale_board.h) on a small disk
 * that is filled up, so that it has no room for the next segment, or for the name of one; no room in the middle of a
 * segment (which a disk that does not keep zeros may run out of, as one that is shared by many); or no room at
 * recovery, for the first record of the next life. Then everybody who was told something final is held to the
 * directory, by a reader while the disk is full still; the disk is freed, the directory opened again, checked again,
 * sold from again, and checked once more. Half of the time there is an archive on the same disk, so that checkpoints
 * find no room, and make none; in the end it and the directory have to be the whole log.
 *
 * Planted: a sale that tells before an answer is final.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "torture/sale_board.h"
#include "torture/small_disk.h"

#define BLOCK 512
#define PAGE 4096 /* what a hole is made of */
#define PATIENCE_US 30000000

struct round {
  struct sale_board *board;
  struct torture_random random;
  struct small_disk disk;
  char path[TORTURE_PATH_MAX];
  bool archives;
};

/* What the rounds came to; theirs and ours. */
static struct tally {
  uint64_t disks[SMALL_KINDS], at_creation, at_append, at_recovery, told, archives;
  char why[160];
} * tally;

/* --- lives ------------------------------------------------------------------------------------------ */

static void plan_life(struct round *round, uint64_t segment_size, uint64_t close_after) {
  struct sale_board *board = round->board;
  board->seed = torture_draw(&round->random) | 1; /* odd: a check leaves as a killed process does */
  board->durability = torture_below(&round->random, 2) != 0 ? COUPON_SYNC : COUPON_WRITTEN;
  board->segment_size = segment_size;
  board->log_buffer = UINT64_C(4096) << torture_below(&round->random, 4);
  board->commit_delay_ns = 0;
  board->checkpoint_log = UINT64_MAX; /* where the disk has to fill up: one would make room */
  board->close_after = close_after;
  board->tells_too_early = torture_is_planted("ack-before-written");
  atomic_store(&board->phase, SALE_STARTED);
  atomic_store(&board->failure, 0);
  atomic_store(&board->told, 0);
}

/* Until it ends by itself. Its status: 0 or 3. */
static int live(struct round *round) {
  pid_t child = torture_fork(sale_serve, round->board);
  int status = torture_hear(child);
  TORTURE_CHECK(status == 0 || status == 3, "the sale ended with %d", status);
  tally->told += atomic_load(&round->board->told);
  return status;
}

static void live_until_killed(struct round *round) {
  uint64_t goal = 20 + torture_below(&round->random, 300);
  pid_t child = torture_fork(sale_serve, round->board);
  for (uint64_t waited = 0; atomic_load(&round->board->told) < goal && waited < PATIENCE_US; waited += 100)
    torture_sleep_us(100);
  (void)kill(child, SIGKILL);
  TORTURE_CHECK(torture_wait(child) == 1000 + SIGKILL, "the sale ended before it was killed");
  tally->told += atomic_load(&round->board->told);
}

/* A sale on the full disk: it has to end, and to say why. */
static void live_until_full(struct round *round) {
  int status = live(round);
  int32_t failure = atomic_load(&round->board->failure);
  TORTURE_CHECK(status == 3 && failure == COUPON_E_NO_SPACE, "on a full disk the engine says %s",
                coupon_status_name(failure));
}

static void check(struct round *round, int (*how)(void *board)) { torture_must(torture_fork(how, round->board)); }

/* --- the end of the log ----------------------------------------------------------------------------- */

static void newest_segment(const char *directory, char path[TORTURE_PATH_MAX]) {
  char newest[64] = "";
  DIR *stream = opendir(directory);
  if (stream == NULL) torture_cannot("listing the directory");
  for (struct dirent *entry; (entry = readdir(stream)) != NULL;) {
    size_t length = strlen(entry->d_name);
    if (length != 20 || strcmp(entry->d_name + 16, ".log") != 0 || strcmp(entry->d_name, newest) <= 0) continue;
    (void)snprintf(newest, sizeof newest, "%.20s", entry->d_name);
  }
  (void)closedir(stream);
  TORTURE_CHECK(newest[0] != 0, "there is no segment");
  torture_join(path, directory, newest);
}

/* Behind the last block that is not zero: recovery has erased what it cut. */
static uint64_t end_of_log(const char *segment) {
  static const unsigned char zeros[BLOCK];
  unsigned char block[BLOCK];
  uint64_t end = 0;
  int file = open(segment, O_RDONLY | O_CLOEXEC);
  if (file < 0) torture_cannot("reading a segment");
  for (uint64_t at = 0; pread(file, block, sizeof block, (off_t)at) == BLOCK; at += BLOCK) {
    if (memcmp(block, zeros, sizeof block) != 0) end = at + BLOCK;
  }
  (void)close(file);
  return end;
}

/* --- the three kinds -------------------------------------------------------------------------------- */

/* There is room for a few segments, and then for none, or for no name. */
static void fill_at_creation(struct round *round) {
  uint64_t segment = UINT64_C(4096) << torture_below(&round->random, 3);
  plan_life(round, segment, 1 + torture_below(&round->random, 100));
  (void)live(round);
  if (torture_below(&round->random, 3) == 0)
    small_disk_fill_names(&round->disk);
  else
    small_disk_fill(&round->disk, torture_below(&round->random, 5) * segment + torture_below(&round->random, segment));
  plan_life(round, segment, 0);
  /* With an archive on the disk they make no room. */
  if (round->archives) round->board->checkpoint_log = segment << torture_below(&round->random, 3);
  live_until_full(round);
  tally->at_creation++;
}

/* The newest segment keeps a page or two behind the end of the log, and the disk has none to give. */
static void fill_while_appending(struct round *round) {
  char segment[TORTURE_PATH_MAX];
  plan_life(round, UINT64_C(65536), 1 + torture_below(&round->random, 200));
  (void)live(round);
  newest_segment(round->board->directory, segment);
  uint64_t page = end_of_log(segment) / PAGE + 1 + torture_below(&round->random, 3);
  small_disk_punch(&round->disk, segment, page * PAGE);
  small_disk_fill(&round->disk, 0);
  plan_life(round, UINT64_C(65536), 0);
  live_until_full(round);
  tally->at_append++;
}

/* Killed in the middle of a sale; the next life has no room for its first record. An opening that ends as a killed
 * process does leaves one block, so as many as it takes to come to the end of a page. */
static void fill_at_recovery(struct round *round) {
  char segment[TORTURE_PATH_MAX];
  uint64_t end;
  plan_life(round, UINT64_C(65536), 0);
  round->board->checkpoint_log = UINT64_C(8192) << torture_below(&round->random, 4);
  live_until_killed(round);
  do {
    check(round, sale_check_writing);
    newest_segment(round->board->directory, segment);
    end = end_of_log(segment);
  } while (end % PAGE != 0);
  small_disk_punch(&round->disk, segment, end);
  small_disk_fill(&round->disk, 0);
  plan_life(round, UINT64_C(65536), 0);
  live_until_full(round);
  TORTURE_CHECK(atomic_load(&round->board->phase) == SALE_STARTED, "it opened without room for its first record");
  tally->at_recovery++;
}

static int run_round(void *context) {
  struct round *round = context;
  small_disk_make(&round->disk, round->path, torture_seed() % 4 == 0);
  torture_join(round->board->directory, round->path, "sale");
  if (round->archives) torture_join(round->board->archive, round->path, "archive");
  round->board->archive_is_far = torture_below(&round->random, 2) == 0;
  sale_archive_begin(round->board);
  static void (*const kinds[])(struct round * round) = {fill_at_creation, fill_while_appending, fill_at_recovery};
  kinds[torture_seed() % 3](round);
  check(round, sale_check_reading);
  if (torture_below(&round->random, 2) == 0) { /* and once more in vain, or not */
    plan_life(round, UINT64_C(65536), 1);
    (void)live(round);
    check(round, sale_check_reading);
  }
  small_disk_free(&round->disk);
  check(round, sale_check_writing);
  plan_life(round, UINT64_C(16384), 50);
  round->board->checkpoint_log = 4096;
  TORTURE_CHECK(live(round) == 0, "with room again it still cannot sell: %s",
                coupon_status_name(atomic_load(&round->board->failure)));
  check(round, sale_check_writing);
  if (round->archives) {
    check(round, sale_check_whole);
    tally->archives++;
  }
  tally->disks[round->disk.kind]++;
  (void)snprintf(tally->why, sizeof tally->why, "%s", round->disk.why);
  return 0;
}

int main(int argc, char **argv) {
  static const char *const planted[] = {"ack-before-written", NULL};
  static const struct torture_plan plan = {.name = "full", .counted = "full disks", .rounds = 15, .planted = planted};
  torture_begin(&plan, argc, argv);
  struct round round = {.board = torture_shared(sizeof *round.board)};
  tally = torture_shared(sizeof *tally);
  while (torture_next_round()) {
    torture_directory_make(round.path);
    round.random = torture_stream(torture_seed(), 1);
    round.archives = torture_below(&round.random, 2) == 0;
    round.board->archive[0] = 0;
    round.board->may_be_full = true;
    sale_board_reset(round.board);
    torture_must(torture_fork(run_round, &round));
    torture_directory_remove(round.path);
    torture_count(1);
  }
  char details[512];
  (void)snprintf(
      details, sizeof details,
      "%" PRIu64 " at a segment's creation, %" PRIu64 " while appending, %" PRIu64 " at recovery; on %" PRIu64
      " tmpfs, %" PRIu64 " ext4, %" PRIu64 " with a quota in front of the system's calls%s%s; %" PRIu64
      " final answers; %" PRIu64 " with an archive",
      tally->at_creation, tally->at_append, tally->at_recovery, tally->disks[SMALL_TMPFS], tally->disks[SMALL_EXT4],
      tally->disks[SMALL_QUOTA], tally->why[0] != 0 ? ": " : "", tally->why, tally->told, tally->archives);
  return torture_end(details);
}
