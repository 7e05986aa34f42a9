/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what a thread that loses its processor at the edge of something leaves to the others: as the clock opens
 * or closes the campaign, as it is marked sold out, as the room for tickets' rows ends. Others do what it was
 * about to do; it finds that out, gives its place up, and is never late: no ticket after ENDED, no opening
 * undone, no mark of an earlier time.
 *
 * How: a thread is stopped at a marked point, the clock is ours, and the main thread makes calls that must not
 * wait. In memory, with a log that goes nowhere, and on disk, where the log is replayed afterwards, which refuses one
 * that breaks a rule.
 */
#include "support/race_help.h"

#define CAMPAIGN 1
#define TAKER 100
#define EARLY 1
#define STRANGER 900

static struct race_answer ask(coupon_engine *engine, uint64_t user) {
  return race_ask(coupon_try_issue, engine, CAMPAIGN, user);
}

#define BEFORE 100
#define EDGE 200

static _Atomic uint64_t wall;

static uint64_t read_wall(void *context) {
  (void)context;
  return atomic_load(&wall);
}

struct edge {
  char path[RACE_PATH_MAX];
  enum race_world world;
  coupon_engine *engine;
  struct race_hold hold;
  struct race_actor actor;
};

static void edge_begin(struct edge *edge, enum race_world world, enum cpn_point point, uint64_t stock,
                       uint64_t opens_at, uint64_t closes_at) {
  edge->world = world;
  atomic_store(&wall, BEFORE);
  edge->engine = race_open_in(world, edge->path, COUPON_SYNC, 0, read_wall);
  race_campaign(edge->engine, CAMPAIGN, stock, 1, opens_at, closes_at);
  race_hold_init(&edge->hold, point);
}

static void edge_hold(struct edge *edge, uint64_t user) {
  race_actor_start(&edge->actor, edge->engine, CAMPAIGN, user, &edge->hold);
  race_hold_reached(&edge->hold);
}

static void edge_release(struct edge *edge) {
  RACE_CHECK(!atomic_load(&edge->actor.returned), "nobody was held");
  race_hold_release(&edge->hold);
  race_join(&edge->actor.thread);
}

/* Everything becomes final, and the log can be replayed. */
static void edge_end(struct edge *edge, size_t expected) {
  struct coupon_ticket tickets[8];
  race_settle(edge->engine);
  RACE_CHECK(race_tickets_of(edge->engine, CAMPAIGN, tickets, 8) == expected, "tickets are missing, or too many");
  RACE_CHECK(race_info_of(edge->engine, CAMPAIGN).issued == expected, "issued and tickets differ");
  race_close(edge->engine);
  race_hold_fini(&edge->hold);
  if (edge->world != RACE_ON_DISK) return;
  edge->engine = race_open(edge->path, COUPON_SYNC, 0, read_wall);
  RACE_CHECK(race_tickets_of(edge->engine, CAMPAIGN, tickets, 8) == expected,
             "tickets are missing after reopening, or too many");
  race_close(edge->engine);
  race_directory_remove(edge->path);
}

/* A taker whose place bears a time in the window. Without its unit it comes too late; with it, ENDED rests on it. */
static void hold_over_close(enum race_world world, enum cpn_point point, const char *name) {
  const bool unit_taken = point != CPN_POINT_RESERVED;
  struct edge edge;
  edge_begin(&edge, world, point, 8, 0, EDGE);
  struct race_answer early = ask(edge.engine, EARLY);
  (void)race_wait_final(edge.engine, &early);
  edge_hold(&edge, TAKER);
  atomic_store(&wall, EDGE);
  struct race_answer late = ask(edge.engine, STRANGER), again = ask(edge.engine, EARLY);
  RACE_CHECK(late.status == COUPON_ENDED, "after the end: %s", coupon_status_name(late.status));
  RACE_CHECK(race_is_final(edge.engine, &late) == (world == RACE_IN_MEMORY),
             "ENDED is final while a place before it is "
             "open");
  RACE_CHECK(again.status == COUPON_ALREADY_ISSUED && race_same_ticket(&again, &early), "the early user");
  struct coupon_campaign_info info = race_info_of(edge.engine, CAMPAIGN);
  RACE_CHECK(info.state == COUPON_STATE_CLOSED && info.issued == UINT64_C(1) + unit_taken, "%" PRIu64 " issued",
             info.issued);
  edge_release(&edge);
  const struct race_answer *taker = &edge.actor.answer;
  RACE_CHECK(taker->status == (unit_taken ? COUPON_ISSUED : COUPON_ENDED), "%s", coupon_status_name(taker->status));
  RACE_CHECK(!unit_taken || taker->time_ns == BEFORE, "a ticket after the end");
  RACE_CHECK(!unit_taken || !taker->logged || taker->lsn < late.lsn, "ENDED before the last ticket");
  RACE_CHECK(race_info_of(edge.engine, CAMPAIGN).issued == info.issued, "a ticket after ENDED");
  edge_end(&edge, unit_taken ? 2 : 1);
  printf("held at \"%s\" over the end of the campaign, %s: nobody waited, nobody was late\n", name,
         race_world_name(world));
}

/* Whoever opens the campaign is held between its place in the log and the change: another opens it. */
static void hold_opener(enum race_world world) {
  struct edge edge;
  edge_begin(&edge, world, CPN_POINT_CHANGE_RESERVED, 8, EDGE, 0);
  struct race_answer early = ask(edge.engine, EARLY);
  RACE_CHECK(early.status == COUPON_NOT_OPEN, "%s", coupon_status_name(early.status));
  (void)race_wait_final(edge.engine, &early);
  atomic_store(&wall, EDGE);
  edge_hold(&edge, TAKER);
  struct race_answer first = ask(edge.engine, EARLY), again = ask(edge.engine, EARLY);
  RACE_CHECK(first.status == COUPON_ISSUED && first.lsn > early.lsn, "%s", coupon_status_name(first.status));
  RACE_CHECK(again.status == COUPON_ALREADY_ISSUED && race_same_ticket(&first, &again), "a duplicate");
  RACE_CHECK(!race_is_final(edge.engine, &first), "final behind a hole");
  edge_release(&edge);
  RACE_CHECK(edge.actor.answer.status == COUPON_ISSUED && edge.actor.answer.lsn > first.lsn, "the one who was held");
  RACE_CHECK(race_stats_of(edge.engine).voids == 1, "the place of the one who was held");
  edge_end(&edge, 2);
  printf("an opener held, %s: another opened the campaign\n", race_world_name(world));
}

/* The same with the two steps of closing. */
static void hold_closer(enum race_world world, enum cpn_point point) {
  const bool has_place = point == CPN_POINT_CHANGE_RESERVED;
  struct edge edge;
  edge_begin(&edge, world, point, 8, 0, EDGE);
  struct race_answer early = ask(edge.engine, EARLY);
  (void)race_wait_final(edge.engine, &early);
  atomic_store(&wall, EDGE);
  edge_hold(&edge, TAKER);
  struct race_answer late = ask(edge.engine, STRANGER), again = ask(edge.engine, EARLY);
  RACE_CHECK(late.status == COUPON_ENDED, "%s", coupon_status_name(late.status));
  RACE_CHECK(again.status == COUPON_ALREADY_ISSUED, "a holder after the end: %s", coupon_status_name(again.status));
  if (has_place)
    RACE_CHECK(!race_is_final(edge.engine, &late), "final behind a hole");
  else
    (void)race_wait_final(edge.engine, &late);
  edge_release(&edge);
  RACE_CHECK(edge.actor.answer.status == COUPON_ENDED, "%s", coupon_status_name(edge.actor.answer.status));
  RACE_CHECK(race_stats_of(edge.engine).voids == (world != RACE_IN_MEMORY), "the place of the one who was held");
  edge_end(&edge, 1);
  printf("a closer held, %s, %s: another closed the campaign\n", has_place ? "with its place" : "before its place",
         race_world_name(world));
}

/* Whoever marks the campaign sold out is held between the basis and the mark: others set the mark. */
static void hold_marker(enum race_world world) {
  struct edge edge;
  edge_begin(&edge, world, CPN_POINT_BASIS_SET, 1, 0, 0);
  struct race_answer early = ask(edge.engine, EARLY);
  edge_hold(&edge, TAKER);
  struct race_answer late = ask(edge.engine, STRANGER);
  RACE_CHECK(early.status == COUPON_ISSUED && late.status == COUPON_SOLD_OUT, "%s", coupon_status_name(late.status));
  (void)race_wait_final(edge.engine, &late);
  edge_release(&edge);
  const struct race_answer *marker = &edge.actor.answer;
  RACE_CHECK(marker->status == COUPON_SOLD_OUT && marker->lsn == late.lsn, "two refusals rest on different places");
  edge_end(&edge, 1);
  printf("a marker held, %s: another set the mark\n", race_world_name(world));
}

/* Whoever finds the campaign unopened and is held before marking it that: the mark, and what refusals rest on, are
 * by then those of a later epoch, and stay so. */
static void hold_late_marker(enum race_world world) {
  struct edge edge;
  edge_begin(&edge, world, CPN_POINT_CLAIM_READ, 1, EDGE, 0);
  edge_hold(&edge, TAKER);
  RACE_CHECK(ask(edge.engine, EARLY).status == COUPON_NOT_OPEN, "before the beginning");
  atomic_store(&wall, EDGE);
  struct race_answer first = ask(edge.engine, EARLY), refused = ask(edge.engine, STRANGER);
  RACE_CHECK(first.status == COUPON_ISSUED && refused.status == COUPON_SOLD_OUT, "one unit");
  race_campaign(edge.engine, CAMPAIGN + 1, 1, 1, 0, 0); /* the log goes on */
  edge_release(&edge);
  struct race_answer again = ask(edge.engine, STRANGER);
  RACE_CHECK(edge.actor.answer.status == COUPON_SOLD_OUT, "%s", coupon_status_name(edge.actor.answer.status));
  RACE_CHECK(edge.actor.answer.lsn == refused.lsn && again.lsn == refused.lsn, "refusals rest on different places");
  edge_end(&edge, 1);
  printf("a late marker held, %s: it marked nothing\n", race_world_name(world));
}

/* A taker who has made room for the row that another then uses: it has to give its place up and make room anew. */
static void hold_at_rows_end(enum race_world world) {
  const uint64_t rows = CPN_TICKET_PAGE;
  struct edge edge;
  static struct coupon_ticket tickets[CPN_TICKET_PAGE + 16];
  edge_begin(&edge, world, CPN_POINT_RESERVED, 3 * rows, 0, 0);
  for (uint64_t user = 1; user < rows; user++)
    RACE_CHECK(ask(edge.engine, 1000 + user).status == COUPON_ISSUED, "issuing");
  edge_hold(&edge, TAKER);
  RACE_CHECK(ask(edge.engine, STRANGER).status == COUPON_ISSUED, "the last row");
  edge_release(&edge);
  RACE_CHECK(edge.actor.answer.status == COUPON_ISSUED, "%s", coupon_status_name(edge.actor.answer.status));
  /* In memory the number is the unit's: whoever made room for another begins again, and leaves no place behind. */
  RACE_CHECK(race_stats_of(edge.engine).voids == (world != RACE_IN_MEMORY),
             "rows end elsewhere: this scene shows nothing");
  race_settle(edge.engine);
  RACE_CHECK(race_tickets_of(edge.engine, CAMPAIGN, tickets, sizeof tickets / sizeof tickets[0]) == rows + 1 &&
                 tickets[rows].user == TAKER,
             "the rows");
  race_close(edge.engine);
  race_hold_fini(&edge.hold);
  if (world == RACE_ON_DISK) race_directory_remove(edge.path);
  printf("held where the rows end, %s: made room anew\n", race_world_name(world));
}

int main(int argc, char **argv) {
  race_begin("race_held_edge", argc, argv);
  for (int i = 0; i < RACE_WORLDS; i++) {
    const enum race_world world = (enum race_world)i;
    hold_over_close(world, CPN_POINT_RESERVED, "reserved");
    hold_over_close(world, CPN_POINT_TAKEN, "taken");
    hold_over_close(world, CPN_POINT_HELD, "held");
    hold_closer(world, CPN_POINT_CLOSING);
    /* Without a log opening and closing leave no record: there is no place, and so no such moment. */
    if (world != RACE_IN_MEMORY) {
      hold_opener(world);
      hold_closer(world, CPN_POINT_CHANGE_RESERVED);
    }
    hold_marker(world);
    hold_late_marker(world);
    hold_at_rows_end(world);
  }
  return 0;
}
