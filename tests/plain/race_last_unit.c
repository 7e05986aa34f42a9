/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what two requests are told that meet at a campaign's last unit:
 *
 *   the same user twice         one ISSUED, one ALREADY_ISSUED, the same ticket; never SOLD_OUT
 *   a holder and a newcomer     the holder ALREADY_ISSUED with the original ticket, the newcomer ISSUED
 *   two newcomers               one ISSUED, one SOLD_OUT that becomes final with the winner's ticket, not before
 *   a user, and a stranger      nobody hears ALREADY_ISSUED who has nothing: the second thread asks for a stranger and
 *                               then for the first thread's user
 *   the same, then a stranger   as the first, while the stranger's SOLD_OUT marks the campaign under the first thread
 *   two who look alike          as a user and a stranger, whose claims agree in place and tag
 *
 * How: two threads leave a barrier together, hundreds of thousands of times, each time for a fresh campaign. In
 * part of the rounds they dawdle at marked points, so that two cores see narrow interleavings as well. All of it in
 * memory and with a log, which take their units in two ways, and asked in three ways: alone, as a batch of one, and
 * among others in a batch. rig_planted.c shows that the same rounds and judges find wrong protocols.
 */
#include "support/race_help.h"

static const struct {
  const char *name;
  enum race_duel_kind kind;
  uint64_t rounds;
} duels[] = {
    {"the same user twice", RACE_SAME_USER, 120000},
    {"a holder and a newcomer", RACE_HOLDER, 120000},
    {"two newcomers", RACE_NEWCOMERS, 120000},
    {"a user and a stranger", RACE_STRANGER, 60000},
    {"the same user twice, then a stranger", RACE_MARKED, 60000},
    {"two who look alike", RACE_COLLIDING, 60000},
};

static const struct {
  const char *name;
  race_issue_fn *issue;
  uint64_t share; /* of the rounds: one in so many */
} ways[] = {
    {"alone", coupon_try_issue, 1},
    {"batch of one", race_issue_batch_of_one, 4},
    {"batch of many", race_issue_batch_of_many, 2},
};

static void duel(enum race_world world, size_t way, size_t which) {
  const uint64_t rounds = race_rounds(duels[which].rounds / ways[way].share, 2048);
  struct race_verdict verdict = race_duel(duels[which].kind, world, ways[way].issue, rounds, false);
  printf("%s, %s, %s: %" PRIu64 " rounds, %" PRIu64 " %% of the last units to the first thread, %" PRIu64 " findings\n",
         duels[which].name, race_world_name(world), ways[way].name, verdict.rounds,
         verdict.first_thread * 100 / verdict.rounds, verdict.findings);
  RACE_CHECK(verdict.findings == 0, "round %" PRIu64 ": %s", verdict.first_finding, verdict.what);
  RACE_CHECK(verdict.rounds == rounds, "too few rounds");
}

int main(int argc, char **argv) {
  race_begin("race_last_unit", argc, argv);
  for (size_t way = 0; way < sizeof ways / sizeof ways[0]; way++) {
    for (size_t which = 0; which < sizeof duels / sizeof duels[0]; which++) {
      duel(RACE_IN_MEMORY, way, which);
      duel(RACE_LOGGED, way, which);
    }
  }
  return 0;
}
