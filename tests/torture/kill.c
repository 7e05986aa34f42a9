/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that whatever a process had called final is there after it was killed, at any moment: while it was opening,
 * recovering, selling, turning to a new segment, closing. How: real processes with four threads that ask one by one,
 * in batches, and look later whether it is final; what they were told stands outside of them (sale_board.h); SIGKILL;
 * then the directory is opened again, now and then by a reader first, and held to it. Many kills in one directory, in
 * lives that are durable in different ways and have segments of different sizes. Two directories of three have an
 * archive, one by links, one by copies, as on another file system; the two together have to be the whole log.
 *
 * Planted: a sale that tells before an answer is final; a segment that never got to the archive. (Who is killed loses
 * no page cache; so a sync that is left out is for the simulated disk to find.)
 */
#include <dirent.h>
#include <signal.h>
#include <string.h>

#include "torture/sale_board.h"

#define LIVES 40        /* in one directory, at most */
#define WAIT_US 2000000 /* for a process that does not get as far as it should before it is killed */
#define LOOK_EVERY_US 100

#define LIVES_THAT_ARCHIVE 64 /* among so many some do */

static struct { uint64_t opening, selling, closing, ended, directories, told, archived, lives; } tally;

static void plan_life(struct sale_board *board, struct torture_random *random) {
  board->seed = torture_seed();
  board->durability = torture_below(random, 2) != 0 ? COUPON_SYNC : COUPON_WRITTEN;
  board->segment_size = UINT64_C(4096) << (torture_below(random, 2) == 0 ? 0 : torture_below(random, 4));
  board->log_buffer = UINT64_C(4096) << torture_below(random, 5);
  board->commit_delay_ns = torture_below(random, 3) == 0 ? torture_below(random, 200000) : 0;
  board->checkpoint_log = torture_below(random, 4) != 0 ? UINT64_C(1024) << torture_below(random, 6) : UINT64_MAX;
  board->close_after = torture_below(random, 6) == 0 ? 1 + torture_below(random, 200) : 0;
  board->tells_too_early = torture_is_planted("ack-before-written");
  if (torture_below(random, 3) == 0) { /* the clock steps back */
    uint64_t now_ns = atomic_load(&board->now_ns), back_ns = torture_below(random, 1000000);
    atomic_store(&board->now_ns, now_ns > back_ns ? now_ns - back_ns : 1);
  }
  atomic_store(&board->phase, SALE_STARTED);
  atomic_store(&board->failure, 0);
  atomic_store(&board->told, 0);
}

/* When: a time after its start, from none on; or when it has told of so many answers. */
static void await_the_moment(const struct sale_board *board, struct torture_random *random) {
  if (torture_below(random, 3) == 0) {
    torture_sleep_us(torture_below(random, UINT64_C(1) << torture_below(random, 15)));
    return;
  }
  uint64_t goal = board->close_after != 0 ? board->close_after : 1 + torture_below(random, 600);
  for (uint64_t waited = 0; atomic_load(&board->told) < goal && waited < WAIT_US; waited += LOOK_EVERY_US)
    torture_sleep_us(LOOK_EVERY_US);
  torture_sleep_us(torture_below(random, 1000));
}

static void tally_life(const struct sale_board *board, int status) {
  enum sale_phase phase = atomic_load(&board->phase);
  if (status == 0)
    tally.ended++;
  else if (phase == SALE_STARTED)
    tally.opening++;
  else if (phase == SALE_OPENED)
    tally.selling++;
  else
    tally.closing++;
  tally.told += atomic_load(&board->told);
}

static void live_and_die(struct sale_board *board, struct torture_random *random) {
  pid_t child = torture_fork(sale_serve, board);
  await_the_moment(board, random);
  (void)kill(child, SIGKILL);
  int status = torture_hear(child);
  TORTURE_CHECK(status == 0 || status == 1000 + SIGKILL, "the sale ended with %d", status);
  tally_life(board, status);
  if (status != 0) torture_count(1);
}

/* A new directory, with nothing in it, and perhaps an archive: in turn, so that a short run has each. */
static void begin_directory(struct sale_board *board, const char *temporary) {
  uint64_t way = tally.directories++ % 3;
  torture_join(board->directory, temporary, "sale");
  board->archive[0] = 0;
  if (way < 2) torture_join(board->archive, temporary, "archive");
  board->archive_is_far = way == 1;
  sale_archive_begin(board);
  sale_board_reset(board);
}

/* How many segments there are in the archive of a directory that is done with. */
static uint64_t segments_archived(const struct sale_board *board) {
  uint64_t count = 0;
  DIR *stream = board->archive[0] != 0 ? opendir(board->archive) : NULL;
  if (stream == NULL) return 0;
  for (struct dirent *entry; (entry = readdir(stream)) != NULL;) count += strstr(entry->d_name, ".log") != NULL;
  (void)closedir(stream);
  return count;
}

static void end_directory(const struct sale_board *board, const char *temporary) {
  tally.archived += segments_archived(board);
  torture_directory_remove(temporary);
}

int main(int argc, char **argv) {
  static const char *const planted[] = {"ack-before-written", "archive-loses", NULL};
  static const struct torture_plan plan = {.name = "kill", .counted = "kills", .rounds = 64, .planted = planted};
  torture_begin(&plan, argc, argv);
  struct sale_board *board = torture_shared(sizeof *board);
  char temporary[TORTURE_PATH_MAX] = "";
  for (uint64_t lives = 0; torture_next_round(); lives++) {
    struct torture_random random = torture_stream(torture_seed(), 1);
    if (temporary[0] == 0 || lives >= LIVES || !sale_board_has_room(board) || torture_below(&random, 32) == 0) {
      if (temporary[0] != 0) end_directory(board, temporary);
      torture_directory_make(temporary);
      begin_directory(board, temporary);
      lives = 0;
    }
    plan_life(board, &random);
    live_and_die(board, &random);
    if (torture_below(&random, 4) == 0) torture_must(torture_fork(sale_check_reading, board));
    torture_must(torture_fork(sale_check_writing, board));
    if (board->archive[0] != 0) torture_must(torture_fork(sale_check_whole, board));
    tally.lives++;
  }
  end_directory(board, temporary);
  TORTURE_CHECK(tally.lives < LIVES_THAT_ARCHIVE || tally.archived > 0, "no segment ever went into an archive");
  TORTURE_CHECK(tally.selling > 0 && tally.told > 0, "no process was killed while it sold: this showed nothing");
  char details[500];
  (void)snprintf(details, sizeof details,
                 "%" PRIu64 " while opening, %" PRIu64 " while selling, %" PRIu64 " while closing, %" PRIu64
                 " had closed before; %" PRIu64 " directories, %" PRIu64 " final answers, %" PRIu64
                 " checks from a checkpoint, %" PRIu64 " campaigns found released, %" PRIu64
                 " segments archived, %" PRIu64 " whole logs read",
                 tally.opening, tally.selling, tally.closing, tally.ended, tally.directories, tally.told,
                 atomic_load(&board->loaded), atomic_load(&board->released), tally.archived,
                 atomic_load(&board->whole));
  return torture_end(details);
}
