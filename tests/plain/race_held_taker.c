/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what a thread that loses its processor in the middle of an issue holds up: finality of what lies behind
 * its place in the log, the room in the log buffer in the end, and requests of its own user. Never another user's
 * decision.
 *
 * How: a thread is stopped at a marked point. While it stands there the main thread makes every call that must
 * not wait, and if one did, the program would hang and the test run into its time limit. That a call does wait is
 * shown by how often it has looked, and by the order in which it and the release happened.
 */
#include "support/race_help.h"

#include <sched.h>

#include "base/rcu.h"

#define CAMPAIGN 1
#define TAKER 100
#define EARLY 1
#define STRANGER 900

static const char *point_name(enum cpn_point point) {
  switch (point) {
    case CPN_POINT_CLAIMED:
      return "claimed";
    case CPN_POINT_RESERVED:
      return "reserved";
    case CPN_POINT_TAKEN:
      return "taken";
    case CPN_POINT_HELD:
      return "held";
    default:
      return "another point";
  }
}

/* --- actors -------------------------------------------------------------------------------------- */

/* Looks its user up, which waits as a request does. */
static void act_lookup(void *context, uint32_t index) {
  struct race_actor *actor = context;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  (void)index;
  actor->answer.logged = actor->engine->has_log;
  actor->answer.status = coupon_lookup(actor->engine, CAMPAIGN, actor->user, &ticket, NULL);
  actor->answer.lsn = ticket.lsn;
  actor->answer.time_ns = ticket.time_ns;
  actor->answer.end = race_stamp();
}

/* Waits for room in the log buffer, and for finality. */
static void act_patient(void *context, uint32_t index) {
  struct race_actor *actor = context;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  (void)index;
  actor->answer.status = coupon_issue(actor->engine, CAMPAIGN, actor->user, COUPON_FOREVER, &ticket);
  actor->answer.flags = ticket.flags;
  actor->answer.end = race_stamp();
  atomic_store(&actor->returned, true);
}

static struct race_answer ask(coupon_engine *engine, uint64_t user) {
  return race_ask(coupon_try_issue, engine, CAMPAIGN, user);
}

/* --- one thread is held -------------------------------------------------------------------------- */

struct scene {
  char path[RACE_PATH_MAX];
  enum race_world world;
  bool unit_taken, has_place, answerable; /* answerable: its own user need not wait */
  uint64_t stock, others;
  enum cpn_point point;
  coupon_engine *engine;
  struct race_hold hold;
  struct race_answer early, stranger, issued[8];
  struct race_actor taker, rival, looker;
};

/* The others take what there is for them, each decided at once; then, if nothing is spare, a stranger is refused. */
static void others_go_on(struct scene *scene, bool spare) {
  coupon_engine *engine = scene->engine;
  for (uint64_t i = 0; i < scene->others; i++) {
    scene->issued[i] = ask(engine, 200 + i);
    RACE_CHECK(scene->issued[i].status == COUPON_ISSUED, "%s", coupon_status_name(scene->issued[i].status));
  }
  if (!spare) {
    scene->stranger = ask(engine, STRANGER);
    RACE_CHECK(scene->stranger.status == COUPON_SOLD_OUT, "%s", coupon_status_name(scene->stranger.status));
    for (uint64_t i = 0; i < scene->others; i++)
      RACE_CHECK(scene->stranger.lsn >= scene->issued[i].lsn, "a refusal before a ticket that is its reason");
    uint64_t count = 7;
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    RACE_CHECK(coupon_lookup(engine, CAMPAIGN, STRANGER, &ticket, &count) == COUPON_NOT_FOUND, "a stranger's ticket");
  }
  struct race_answer again = ask(engine, EARLY);
  RACE_CHECK(again.status == COUPON_ALREADY_ISSUED && race_same_ticket(&again, &scene->early), "the early user");
  RACE_CHECK((again.flags & COUPON_TICKET_FINAL) != 0, "the early user's ticket was final before");
  again = ask(engine, 200);
  RACE_CHECK(again.status == COUPON_ALREADY_ISSUED && race_same_ticket(&again, &scene->issued[0]), "a duplicate");
  struct coupon_campaign_info info = race_info_of(engine, CAMPAIGN);
  RACE_CHECK(info.issued == 1 + scene->others + scene->unit_taken, "issued %" PRIu64, info.issued);
}

/* Without a log all is final at once. The ticket of the taker, if it has one, has its number, and a list waits until it
 * is written. */
static void finality_is_given(struct scene *scene) {
  struct coupon_ticket tickets[8];
  const uint64_t first = UINT64_C(2) + scene->unit_taken; /* the taker's would be 2 */
  for (uint64_t i = 0; i < scene->others; i++)
    RACE_CHECK(race_wait_final(scene->engine, &scene->issued[i]) == first + i, "a number out of order");
  if (scene->unit_taken && !scene->answerable) return; /* the list would wait for the taker */
  size_t listed = race_tickets_of(scene->engine, CAMPAIGN, tickets, 8);
  RACE_CHECK(listed == 1 + scene->unit_taken + scene->others, "%zu on the list", listed);
}

/* Behind the hole nothing is final, however long one waits; without a hole all of it becomes final. */
static void finality_stands(struct scene *scene, bool spare) {
  coupon_engine *engine = scene->engine;
  if (scene->world == RACE_IN_MEMORY) {
    finality_is_given(scene);
    return;
  }
  struct coupon_ticket ticket = COUPON_TICKET_INIT, tickets[8];
  if (!scene->has_place) {
    for (uint64_t i = 0; i < scene->others; i++)
      RACE_CHECK(race_wait_final(engine, &scene->issued[i]) == 2 + i, "a number out of order");
    if (!spare) (void)race_wait_final(engine, &scene->stranger);
    return;
  }
  for (uint64_t i = 0; i < scene->others; i++)
    RACE_CHECK(!race_is_final(engine, &scene->issued[i]), "final behind a hole");
  if (!spare) RACE_CHECK(!race_is_final(engine, &scene->stranger), "a refusal is final behind a hole");
  RACE_CHECK(coupon_issue(engine, CAMPAIGN, 200, COUPON_POLL, &ticket) == COUPON_ALREADY_ISSUED, "a duplicate");
  RACE_CHECK(ticket.flags == 0 && ticket.number == 0, "final, or numbered, behind a hole");
  RACE_CHECK(coupon_wait(engine, &ticket, coupon_deadline_after(1000000)) == COUPON_NOT_FINAL, "final behind a hole");
  RACE_CHECK(race_tickets_of(engine, CAMPAIGN, tickets, 8) == 1, "a number was given behind a hole");
  struct coupon_stats stats = race_stats_of(engine);
  RACE_CHECK(stats.durable_lsn == scene->early.lsn, "durable passed the hole");
  RACE_CHECK(stats.reserved_lsn > stats.durable_lsn, "nothing is reserved");
}

/* Creating and listing campaigns does not wait either, nor does issuing in another one. */
static void rest_goes_on(struct scene *scene) {
  struct coupon_campaign_info infos[4];
  size_t count = 0;
  race_campaign(scene->engine, CAMPAIGN + 1, 10, 1, 0, 0);
  struct race_answer other = race_ask(coupon_try_issue, scene->engine, CAMPAIGN + 1, TAKER);
  RACE_CHECK(other.status == COUPON_ISSUED, "the same user in another campaign: %s", coupon_status_name(other.status));
  RACE_CHECK(coupon_list(scene->engine, 0, infos, sizeof infos[0], 4, &count) == COUPON_OK && count == 2, "the list");
  RACE_CHECK(race_ask(coupon_try_issue, scene->engine, 77, 1).status == COUPON_NO_CAMPAIGN, "no campaign");
}

/* The taker's own user: waits as long as the claim is pending, and not once it is held. */
static void same_user_waits(struct scene *scene) {
  race_actor_start(&scene->rival, scene->engine, CAMPAIGN, TAKER, NULL);
  scene->looker.engine = scene->engine;
  scene->looker.user = TAKER;
  race_start(&scene->looker.thread, act_lookup, &scene->looker, 0);
  if (scene->answerable) {
    race_join(&scene->rival.thread);
    race_join(&scene->looker.thread);
    return;
  }
  while (atomic_load(&scene->rival.looks) < 200) {
    RACE_CHECK(!atomic_load(&scene->rival.returned), "a request of the same user did not wait");
    (void)sched_yield();
  }
}

static void release_all(struct scene *scene, bool spare) {
  RACE_CHECK(!atomic_load(&scene->taker.returned), "the taker was not held");
  uint64_t released = race_stamp();
  race_hold_release(&scene->hold);
  race_join(&scene->taker.thread);
  const struct race_answer *taker = &scene->taker.answer, *rival = &scene->rival.answer;
  bool taker_has = scene->unit_taken || spare;
  if (!scene->answerable) {
    race_join(&scene->rival.thread);
    race_join(&scene->looker.thread);
    RACE_CHECK(rival->end > released, "a request of the same user did not wait");
    RACE_CHECK(scene->looker.answer.end > released, "a lookup of the same user did not wait");
  } else {
    RACE_CHECK(rival->end < released && scene->looker.answer.end < released, "the same user waited for no reason");
  }
  if (!taker_has) {
    RACE_CHECK(taker->status == COUPON_SOLD_OUT && rival->status == COUPON_SOLD_OUT, "nothing was left for the taker");
    RACE_CHECK(scene->looker.answer.status == COUPON_NOT_FOUND, "the taker holds nothing");
    return;
  }
  /* Two requests of one user: whichever it was, one has taken. The taker's own, if its unit was taken when it was
   * held. */
  const char *wrong = race_judge_same_user(taker, rival);
  RACE_CHECK(wrong == NULL, "%s", wrong);
  RACE_CHECK(!scene->unit_taken || taker->status == COUPON_ISSUED, "a taken unit was not the taker's");
  if (scene->unit_taken) RACE_CHECK(scene->looker.answer.status == COUPON_OK, "the lookup missed the taker's ticket");
  if (scene->looker.answer.status == COUPON_OK)
    RACE_CHECK(scene->looker.answer.lsn == taker->lsn && scene->looker.answer.time_ns == taker->time_ns,
               "another ticket");
}

static void all_is_final(struct scene *scene, bool spare) {
  struct coupon_ticket before[8], after[8];
  for (uint64_t i = 0; i < scene->others; i++) (void)race_wait_final(scene->engine, &scene->issued[i]);
  if (!spare) (void)race_wait_final(scene->engine, &scene->stranger);
  (void)race_wait_final(scene->engine, &scene->taker.answer);
  (void)race_wait_final(scene->engine, &scene->rival.answer);
  size_t count = race_tickets_of(scene->engine, CAMPAIGN, before, 8);
  RACE_CHECK(count == scene->stock, "%zu tickets", count);
  for (size_t i = 0; i < count; i++) RACE_CHECK((before[i].flags & COUPON_TICKET_FINAL) != 0, "not final");
  struct coupon_campaign_info info = race_info_of(scene->engine, CAMPAIGN);
  RACE_CHECK(info.issued == scene->stock && info.remaining == 0, "issued %" PRIu64, info.issued);
  RACE_CHECK(race_stats_of(scene->engine).voids <= 1, "more places were given up than the taker's");
  race_close(scene->engine);
  if (scene->world != RACE_ON_DISK) return;
  scene->engine = race_open(scene->path, COUPON_SYNC, 0, NULL);
  RACE_CHECK(race_tickets_of(scene->engine, CAMPAIGN, after, 8) == count, "tickets are missing after reopening");
  for (size_t i = 0; i < count; i++) {
    bool same =
        before[i].user == after[i].user && before[i].lsn == after[i].lsn && before[i].time_ns == after[i].time_ns;
    RACE_CHECK(same, "ticket %zu is another after reopening", i + 1);
  }
  race_close(scene->engine);
}

/* `spare`: the others leave one unit, so that a taker who has none yet gets it in the end. */
static void hold_taker(enum race_world world, enum cpn_point point, bool spare) {
  struct scene scene = {.world = world, .point = point, .stock = 6};
  scene.unit_taken = point == CPN_POINT_TAKEN || point == CPN_POINT_HELD;
  scene.has_place = point != CPN_POINT_CLAIMED;
  scene.answerable = point == CPN_POINT_HELD;
  scene.others = scene.stock - 1 - scene.unit_taken - (spare && !scene.unit_taken);
  scene.engine = race_open_in(world, scene.path, COUPON_SYNC, 0, NULL);
  race_campaign(scene.engine, CAMPAIGN, scene.stock, 1, 0, 0);
  scene.early = ask(scene.engine, EARLY);
  RACE_CHECK(race_wait_final(scene.engine, &scene.early) == 1, "the first number");

  race_hold_init(&scene.hold, point);
  race_actor_start(&scene.taker, scene.engine, CAMPAIGN, TAKER, &scene.hold);
  race_hold_reached(&scene.hold);
  bool left = spare && !scene.unit_taken;
  others_go_on(&scene, left);
  finality_stands(&scene, left);
  same_user_waits(&scene);
  finality_stands(&scene, left);
  rest_goes_on(&scene);
  release_all(&scene, left);
  all_is_final(&scene, left);
  race_hold_fini(&scene.hold);
  if (world == RACE_ON_DISK) race_directory_remove(scene.path);
  printf("held at \"%s\", %s%s: %" PRIu64 " others were decided, nobody else waited\n", point_name(point),
         race_world_name(world), left ? ", one spare" : "", scene.others);
}

/* --- a full log buffer --------------------------------------------------------------------------- */

#define SMALL_BUFFER 4096
#define FILLERS 2

struct filler {
  coupon_engine *engine;
  uint64_t issued[FILLERS];
};

/* Issues to new users until there is no room; then asks on, which changes nothing. */
static void fill_up(void *context, uint32_t index) {
  struct filler *filler = context;
  race_dawdle(race_stream(index + 1), 100);
  for (uint64_t user = 1000 * (index + 1), busy = 0; busy < 100;) {
    struct race_answer answer = ask(filler->engine, user);
    if (answer.status == COUPON_ISSUED) {
      filler->issued[index]++;
      user++;
      continue;
    }
    RACE_CHECK(answer.status == COUPON_E_BUSY, "%s", coupon_status_name(answer.status));
    busy++;
  }
}

/* Who was told BUSY has no claim; who was issued has one that is held. */
static void claims_are_clean(coupon_engine *engine, const struct filler *filler) {
  cpn_rcu_read_lock();
  const struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, CAMPAIGN);
  for (uint64_t index = 0; index < FILLERS; index++) {
    for (uint64_t i = 0; i <= filler->issued[index]; i++) {
      const struct cpn_user user = cpn_engine_user(engine, 1000 * (index + 1) + i, NULL);
      struct cpn_claim_place place;
      struct coupon_ticket ticket = COUPON_TICKET_INIT;
      enum cpn_claim_kind kind = cpn_holder_find(engine, campaign, &user, &place, &ticket);
      bool right =
          i == filler->issued[index] ? kind == CPN_CLAIM_FREE || kind == CPN_CLAIM_EMPTY : kind == CPN_CLAIM_HELD;
      RACE_CHECK(right, "claim %" PRIu64 " of filler %" PRIu64 " is of kind %d", i, index, (int)kind);
    }
  }
  cpn_rcu_read_unlock();
}

/* When there is room again, which is for us to make where we step. */
static coupon_status issue_with_room(coupon_engine *engine, uint64_t user, struct coupon_ticket *ticket) {
  race_step(engine);
  return coupon_issue(engine, CAMPAIGN, user, engine->has_thread ? COUPON_FOREVER : COUPON_POLL, ticket);
}

static void full_buffer(enum race_world world, enum cpn_point point) {
  char path[RACE_PATH_MAX];
  const uint64_t stock = 3000;
  struct race_hold hold;
  struct race_actor taker, patient = {.user = 5000, .returned = false};
  coupon_engine *engine = race_open_in(world, path, COUPON_SYNC, SMALL_BUFFER, NULL);
  race_campaign(engine, CAMPAIGN, stock, 1, 0, 0);
  struct race_answer early = ask(engine, EARLY);
  (void)race_wait_final(engine, &early);
  race_hold_init(&hold, point);
  race_actor_start(&taker, engine, CAMPAIGN, TAKER, &hold);
  race_hold_reached(&hold);

  struct filler filler = {.engine = engine};
  race_run(FILLERS, fill_up, &filler);
  const uint64_t taken = point == CPN_POINT_RESERVED ? 0 : 1;
  uint64_t expected = 1 + taken + filler.issued[0] + filler.issued[1];
  RACE_CHECK(race_info_of(engine, CAMPAIGN).issued == expected, "BUSY took a unit");
  RACE_CHECK((filler.issued[0] + filler.issued[1] + 1) * CPN_WORDS_ISSUE * 8 <= SMALL_BUFFER,
             "more records than the buffer has room");
  claims_are_clean(engine, &filler);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  RACE_CHECK(coupon_issue(engine, CAMPAIGN, 6000, COUPON_POLL, &ticket) == COUPON_E_BUSY, "room in a full buffer");
  RACE_CHECK(coupon_issue(engine, CAMPAIGN, 6000, coupon_deadline_after(1000000), &ticket) == COUPON_E_BUSY, "room");
  RACE_CHECK(coupon_lookup(engine, CAMPAIGN, 6000, &ticket, NULL) == COUPON_NOT_FOUND, "BUSY left a ticket");
  struct race_answer again = ask(engine, EARLY);
  RACE_CHECK(again.status == COUPON_ALREADY_ISSUED && race_same_ticket(&again, &early), "a duplicate, buffer full");
  uint64_t durable = 0;
  RACE_CHECK(coupon_durable_lsn(engine, &durable) == COUPON_OK && durable == early.lsn, "durable passed the hole");

  patient.engine = engine;
  race_start(&patient.thread, act_patient, &patient, 0);
  uint64_t released = race_stamp();
  race_hold_release(&hold);
  race_join(&taker.thread);
  for (uint32_t turns = 0; !atomic_load(&patient.returned); race_turn(&turns)) race_step(engine);
  race_join(&patient.thread);
  /* Held before its unit was taken it may have to give its place up (others have used the rows it had made room for),
   * and then there may be no other place yet. */
  bool gave_up = point == CPN_POINT_RESERVED && taker.answer.status == COUPON_E_BUSY;
  RACE_CHECK(gave_up || taker.answer.status == COUPON_ISSUED, "the taker: %s", coupon_status_name(taker.answer.status));
  RACE_CHECK(patient.answer.status == COUPON_ISSUED, "%s", coupon_status_name(patient.answer.status));
  RACE_CHECK((patient.answer.flags & COUPON_TICKET_FINAL) != 0, "who waited for room was not waited final");
  RACE_CHECK(patient.answer.end > released, "room before the release");
  expected += (gave_up ? 0 : 1 - taken) + 1;
  if (gave_up)
    RACE_CHECK(coupon_lookup(engine, CAMPAIGN, TAKER, &ticket, NULL) == COUPON_NOT_FOUND, "BUSY left a ticket");

  /* And all goes on: several times the buffer's size. */
  for (uint64_t user = 10000; user < 10400; user++, expected++) {
    bool waits = user % 16 == 0 && world == RACE_ON_DISK; /* elsewhere nobody would step meanwhile */
    coupon_status status = coupon_issue(engine, CAMPAIGN, user, waits ? COUPON_FOREVER : COUPON_POLL, &ticket);
    if (status == COUPON_E_BUSY) status = issue_with_room(engine, user, &ticket);
    RACE_CHECK(status == COUPON_ISSUED, "%s", coupon_status_name(status));
  }
  static struct coupon_ticket tickets[3000];
  race_step(engine);
  RACE_CHECK(coupon_wait(engine, &ticket, COUPON_FOREVER) == COUPON_OK, "the last one is not final");
  RACE_CHECK(race_tickets_of(engine, CAMPAIGN, tickets, stock) == expected, "tickets are missing");
  RACE_CHECK(race_info_of(engine, CAMPAIGN).issued == expected, "issued and tickets differ");
  race_close(engine);
  race_hold_fini(&hold);
  if (world == RACE_ON_DISK) race_directory_remove(path);
  printf("held at \"%s\", %s, %d bytes of log buffer: BUSY after %" PRIu64 " others, and nothing of it is left\n",
         point_name(point), race_world_name(world), SMALL_BUFFER, filler.issued[0] + filler.issued[1]);
}

/* --- the commit stage is held -------------------------------------------------------------------- */

/* Between numbering and writing: numbers are known, nothing is final, and decisions go on. */
static void hold_commit(enum race_world world) {
  char path[RACE_PATH_MAX];
  struct race_hold hold;
  struct race_actor first;
  struct coupon_ticket tickets[8];
  coupon_engine *engine = race_open_in(world, path, COUPON_SYNC, 0, NULL);
  race_campaign(engine, CAMPAIGN, 3, 1, 0, 0);
  struct race_answer early = ask(engine, EARLY);
  (void)race_wait_final(engine, &early);
  race_hold_init(&hold, CPN_POINT_DRAINED);
  race_hold_anyone(&hold);
  race_actor_start(&first, engine, CAMPAIGN, TAKER,
                   NULL); /* without a commit thread it is this thread that stops, as it steps */
  race_hold_reached(&hold);
  struct race_answer second = ask(engine, 200), third = ask(engine, STRANGER), again = ask(engine, TAKER);
  RACE_CHECK(second.status == COUPON_ISSUED && third.status == COUPON_SOLD_OUT, "a decision waited for the disk");
  RACE_CHECK(again.status == COUPON_ALREADY_ISSUED && again.number == 2, "a numbered ticket");
  RACE_CHECK(!race_is_final(engine, &again) && !race_is_final(engine, &second) && !race_is_final(engine, &third),
             "final too early");
  RACE_CHECK(race_tickets_of(engine, CAMPAIGN, tickets, 8) == 2 && tickets[1].flags == 0,
             "numbers of a batch that is drained");
  RACE_CHECK(race_stats_of(engine).durable_lsn == early.lsn, "durable before it was written");
  race_hold_release(&hold);
  race_join(&first.thread);
  RACE_CHECK(race_same_ticket(&first.answer, &again), "the duplicate was told of another ticket");
  RACE_CHECK(race_wait_final(engine, &second) == 3, "the last number");
  (void)race_wait_final(engine, &third);
  RACE_CHECK(race_tickets_of(engine, CAMPAIGN, tickets, 8) == 3, "tickets are missing");
  race_close(engine);
  race_hold_fini(&hold);
  if (world == RACE_ON_DISK) race_directory_remove(path);
  printf("the commit stage held, %s: decisions and numbers go on, finality stands\n", race_world_name(world));
}

int main(int argc, char **argv) {
  static const enum cpn_point points[] = {CPN_POINT_CLAIMED, CPN_POINT_RESERVED, CPN_POINT_TAKEN, CPN_POINT_HELD};
  race_begin("race_held_taker", argc, argv);
  for (int w = 0; w < RACE_WORLDS; w++) {
    const enum race_world world = (enum race_world)w;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
      hold_taker(world, points[i], false);
      if (i < 2) hold_taker(world, points[i], true);
      if (i > 0 && world != RACE_IN_MEMORY) full_buffer(world, points[i]);
    }
    if (world != RACE_IN_MEMORY) hold_commit(world);
  }
  return 0;
}
