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
 *
 * How: two threads leave a barrier together, hundreds of thousands of times, each time for a fresh campaign. In
 * part of the rounds they dawdle at marked points, so that two cores see narrow interleavings as well.
 * rig_planted.c shows that the same rounds and judges find wrong protocols.
 */
#include "support/race_help.h"

static void duel(const char *name, enum race_duel_kind kind, uint64_t rounds) {
  struct race_verdict verdict = race_duel(kind, coupon_try_issue, rounds, false);
  printf("%s: %" PRIu64 " rounds, %" PRIu64 " %% of the last units to the first thread, %" PRIu64 " findings\n", name,
         verdict.rounds, verdict.first_thread * 100 / verdict.rounds, verdict.findings);
  RACE_CHECK(verdict.findings == 0, "%s, round %" PRIu64 ": %s", name, verdict.first_finding, verdict.what);
  RACE_CHECK(verdict.rounds == rounds, "%s: too few rounds", name);
}

int main(int argc, char **argv) {
  race_begin("race_last_unit", argc, argv);
  duel("the same user twice", RACE_SAME_USER, race_rounds(300000, 2048));
  duel("a holder and a newcomer", RACE_HOLDER, race_rounds(300000, 2048));
  duel("two newcomers", RACE_NEWCOMERS, race_rounds(300000, 2048));
  duel("a user and a stranger", RACE_STRANGER, race_rounds(100000, 2048));
  duel("the same user twice, then a stranger", RACE_MARKED, race_rounds(100000, 2048));
  return 0;
}
