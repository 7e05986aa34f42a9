/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a reader of tickets who loses its processor while it looks at a page's wide rows tells nothing that it
 * finds there once they are another page's: it looks again, and answers what the ticket is.
 *
 * How: a page is full and has not been packed. A reader, one of each call that reads tickets, is stopped at a marked
 * point: at the first it comes by, then, in another campaign, at the second, and so on until it comes by no more. While
 * it stands there the main thread does what the keeper would, to a campaign too small for the keeper: it packs the page
 * and gives its rows to the next page. These are left as they are, or get that page's tickets. LSNs are at odd
 * distances, so that the search by LSN takes many steps, and no two tickets have one time.
 */
#include "support/engine_help.h"
#include "support/race_help.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#define STOCK (2 * CPN_TICKET_PAGE)

static _Atomic uint64_t wall = 1000;

static uint64_t read_wall(void *context) {
  (void)context;
  return atomic_load(&wall);
}

/* --- the place where a reader is held ------------------------------------------------------------ */

static _Thread_local bool is_main;

static struct {
  sem_t reached, released; /* reached: also at the end of the reader's call */
  _Atomic uint64_t left;   /* so many points yet, the last of them the place; 0: nobody is to be held */
  _Atomic bool held;
} place;

static void wait_for(sem_t *semaphore) {
  while (sem_wait(semaphore) != 0) RACE_CHECK(errno == EINTR, "sem_wait");
}

/* Whoever reads for the reader counts, the thread that makes checkpoints too: there is no other but the main thread. */
static void at_point(enum cpn_point point) {
  if (is_main || (point != CPN_POINT_ROWS_SEEN && point != CPN_POINT_ROW_HALF_READ)) return;
  if (atomic_load(&place.left) == 0 || atomic_fetch_sub(&place.left, 1) != 1) return;
  atomic_store(&place.held, true);
  RACE_CHECK(sem_post(&place.reached) == 0, "sem_post");
  wait_for(&place.released);
}

/* --- tickets ------------------------------------------------------------------------------------- */

enum call { LIST, LOOK_UP, ASK_AGAIN, ASK_FOR_NUMBER, MAKE_CHECKPOINT };
#define CALLS 5
static const char *const call_names[CALLS] = {"listing", "looking up", "asking again", "waiting", "a checkpoint"};

/* Points between two places at which a reader is held: all of them, but of those that read many rows alike. */
static const uint64_t strides[CALLS] = {5, 1, 1, 1, 171};

struct scene {
  enum race_world world;
  bool uuids, refilled; /* the rows get the next page's tickets */
  char path[RACE_PATH_MAX];
  coupon_engine *engine;
  uint64_t campaign;
  struct race_random random;
  struct coupon_ticket told[STOCK + 1]; /* by number */
  uint64_t issued;
  /* The reader's: */
  enum call call;
  uint64_t number;
  struct coupon_ticket found[8];
  size_t count;
};

static coupon_status ask(const struct scene *scene, uint64_t user, struct coupon_ticket *ticket) {
  const struct help_uuid uuid = help_uuid(user);
  return scene->uuids ? coupon_try_issue_uuid(scene->engine, scene->campaign, uuid.bytes, ticket)
                      : coupon_try_issue(scene->engine, scene->campaign, user, ticket);
}

/* Tickets of a neighbour, so that ours are at odd distances in the log. */
static void dilute(struct scene *scene) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  for (uint64_t some = race_below(&scene->random, 8); some > 5; some--) {
    while (coupon_try_issue(scene->engine, scene->campaign + 1, 1, &ticket) == COUPON_E_BUSY) {
      race_step(scene->engine);
      (void)sched_yield();
    }
  }
}

static void issue_page(struct scene *scene) {
  for (uint64_t i = 0; i < CPN_TICKET_PAGE; i++) {
    struct coupon_ticket *ticket = &scene->told[++scene->issued];
    *ticket = (struct coupon_ticket)COUPON_TICKET_INIT;
    dilute(scene);
    atomic_fetch_add(&wall, 1000 * (1 + race_below(&scene->random, 3)));
    coupon_status status;
    while ((status = ask(scene, 1000 + scene->issued, ticket)) == COUPON_E_BUSY) {
      race_step(scene->engine);
      (void)sched_yield();
    }
    RACE_CHECK(status == COUPON_ISSUED, "%s", coupon_status_name(status));
    ticket->number = scene->issued;
  }
  race_settle(scene->engine);
}

static void create_both(struct scene *scene) {
  struct coupon_campaign_spec ours =
      scene->uuids ? help_spec_uuid(scene->campaign, STOCK) : help_spec(scene->campaign, STOCK);
  struct coupon_campaign_spec neighbour = help_spec(scene->campaign + 1, 8191);
  neighbour.user_limit = 0;
  RACE_CHECK(coupon_create(scene->engine, &ours, COUPON_POLL) >= 0, "creating");
  RACE_CHECK(coupon_create(scene->engine, &neighbour, COUPON_POLL) >= 0, "creating");
  race_step(scene->engine);
}

static void check(const struct scene *scene, const struct coupon_ticket *found) {
  RACE_CHECK(found->number >= 1 && found->number <= scene->issued, "number %" PRIu64, found->number);
  const struct coupon_ticket *told = &scene->told[found->number];
  RACE_CHECK(found->user == told->user && memcmp(found->uuid, told->uuid, sizeof found->uuid) == 0,
             "ticket %" PRIu64 " is another's", found->number);
  RACE_CHECK(found->lsn == told->lsn && found->time_ns == told->time_ns,
             "%s, %s: ticket %" PRIu64 " bears LSN %" PRIu64 " and time %" PRIu64 ", and was told with %" PRIu64
             " and %" PRIu64,
             race_world_name(scene->world), call_names[scene->call], found->number, found->lsn, found->time_ns,
             told->lsn, told->time_ns);
}

static void check_all(const struct scene *scene) {
  for (uint64_t number = 1; number <= scene->issued; number++) {
    struct coupon_ticket ticket;
    size_t count = 0;
    coupon_status status = coupon_tickets(scene->engine, scene->campaign, number, &ticket, sizeof ticket, 1, &count);
    RACE_CHECK(status == COUPON_OK && count == 1 && ticket.number == number, "ticket %" PRIu64, number);
    check(scene, &ticket);
  }
}

/* --- the reader ---------------------------------------------------------------------------------- */

static coupon_status look_up(struct scene *scene, const struct coupon_ticket *told) {
  return scene->uuids ? coupon_lookup_uuid(scene->engine, scene->campaign, told->uuid, scene->found, NULL)
                      : coupon_lookup(scene->engine, scene->campaign, told->user, scene->found, NULL);
}

/* As whoever was told of the ticket before it had its number. */
static coupon_status ask_for_number(struct scene *scene, const struct coupon_ticket *told) {
  scene->found[0] = *told;
  if (scene->engine->has_log) scene->found[0].number = 0;
  return coupon_wait(scene->engine, scene->found, COUPON_POLL);
}

static coupon_status read_tickets(struct scene *scene) {
  const struct coupon_ticket *told = &scene->told[scene->number];
  scene->count = 1;
  scene->found[0] = (struct coupon_ticket)COUPON_TICKET_INIT;
  switch (scene->call) {
    case LIST:
      return coupon_tickets(scene->engine, scene->campaign, scene->number, scene->found, sizeof scene->found[0], 8,
                            &scene->count);
    case LOOK_UP:
      return look_up(scene, told);
    case ASK_AGAIN:
      return ask(scene, 1000 + scene->number, scene->found);
    case ASK_FOR_NUMBER:
      return ask_for_number(scene, told);
    case MAKE_CHECKPOINT:
      break;
  }
  scene->count = 0;
  return coupon_checkpoint(scene->engine, COUPON_FOREVER);
}

static void read_held(void *context, uint32_t index) {
  struct scene *scene = context;
  (void)index;
  const coupon_status status = read_tickets(scene);
  RACE_CHECK(status == (scene->call == ASK_AGAIN ? COUPON_ALREADY_ISSUED : COUPON_OK), "%s: %s",
             call_names[scene->call], coupon_status_name(status));
  atomic_store(&place.left, 0);
  RACE_CHECK(sem_post(&place.reached) == 0, "sem_post");
}

/* --- the scene ----------------------------------------------------------------------------------- */

static uintptr_t rows_of(const struct cpn_tickets *tickets, uint64_t page) {
  return atomic_load(&cpn_tickets_page(tickets, page)->rows);
}

/* What the keeper does: the first page is packed, and its rows are the second's. */
static void recycle(struct scene *scene) {
  static struct cpn_row_pool pool;
  struct cpn_tickets *tickets = &cpn_directory_find(&scene->engine->campaigns, scene->campaign)->tickets;
  const uintptr_t rows = rows_of(tickets, 0);
  RACE_CHECK((rows & CPN_TICKETS_PACKED) == 0 && cpn_tickets_room(tickets) == CPN_TICKET_PAGE,
             "the page is packed, or the next one has rows: this scene shows nothing");
  cpn_tickets_pack(tickets, &scene->engine->memory, &pool);
  RACE_CHECK(cpn_tickets_make_room(tickets, &scene->engine->memory, &pool, CPN_TICKET_PAGE + 1), "no memory");
  RACE_CHECK((rows_of(tickets, 0) & CPN_TICKETS_PACKED) != 0 && rows_of(tickets, 1) == rows,
             "the rows are not the next page's: this scene shows nothing");
  if (scene->refilled) issue_page(scene);
}

/* A campaign with a full page; a reader is held at its `point`-th point. False: it came by fewer. */
static bool hold_reader(struct scene *scene, enum call call, uint64_t number, uint64_t point) {
  struct race_thread reader;
  scene->campaign += 2;
  scene->issued = 0;
  scene->call = call;
  scene->number = number;
  create_both(scene);
  issue_page(scene);
  atomic_store(&place.held, false);
  atomic_store(&place.left, point);
  race_start(&reader, read_held, scene, 0);
  wait_for(&place.reached);
  const bool held = atomic_load(&place.held);
  if (held) {
    recycle(scene);
    RACE_CHECK(sem_post(&place.released) == 0, "sem_post");
    wait_for(&place.reached);
  }
  race_join(&reader);
  RACE_CHECK(call == MAKE_CHECKPOINT || scene->count >= 1, "nothing was found");
  for (size_t i = 0; i < scene->count; i++) check(scene, &scene->found[i]);
  check_all(scene);
  return held;
}

static void engine_open(struct scene *scene) {
  scene->engine = race_open_in(scene->world, scene->path, COUPON_WRITTEN, 0, read_wall);
  scene->campaign = 0;
}

static void engine_close(struct scene *scene) {
  race_close(scene->engine);
  if (scene->world == RACE_ON_DISK) race_directory_remove(scene->path);
}

/* What the checkpoint says has been read by a thread that was held. Then an engine of its own for the next, so that it
 * reads no more than this one. */
static void reopen(struct scene *scene) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  options.durability = COUPON_WRITTEN;
  options.segment_size_bytes = RACE_SEGMENT_SIZE;
  options.callbacks.clock = read_wall;
  race_close(scene->engine);
  scene->engine = race_open_with(scene->path, &options, &report);
  RACE_CHECK(report.checkpoint != 0 && report.checkpoint_file[0] == 0, "the checkpoint was not taken: %s",
             report.message);
  check_all(scene);
  engine_close(scene);
  engine_open(scene);
}

static uint64_t hold_everywhere(struct scene *scene, enum call call) {
  static const uint64_t numbers[] = {1, 2, 100, CPN_TICKET_PAGE - 3, CPN_TICKET_PAGE};
  const size_t count = call == MAKE_CHECKPOINT ? 1 : sizeof numbers / sizeof numbers[0];
  uint64_t places = 0;
  for (size_t i = 0; i < count; i++) {
    for (uint64_t point = 1; hold_reader(scene, call, numbers[i], point); point += strides[call]) {
      places++;
      if (call == MAKE_CHECKPOINT) reopen(scene);
    }
  }
  RACE_CHECK(places > 0, "%s: nobody was held", call_names[call]);
  return places;
}

static void run(enum race_world world, bool uuids, bool refilled) {
  static struct scene scene;
  scene = (struct scene){.world = world, .uuids = uuids, .refilled = refilled, .random = race_stream(world)};
  engine_open(&scene);
  printf("%s, users of %u bytes, rows %s:", race_world_name(world), uuids ? 16U : 8U,
         refilled ? "with another page's tickets" : "not yet written by another page");
  for (int call = LIST; call <= MAKE_CHECKPOINT; call++) {
    /* Only from a disk can it be read back; and there all others are what they are with any log. */
    if ((call == MAKE_CHECKPOINT) != (world == RACE_ON_DISK)) continue;
    printf(" %s %" PRIu64, call_names[call], hold_everywhere(&scene, (enum call)call));
  }
  printf(" places\n");
  engine_close(&scene);
}

int main(int argc, char **argv) {
  race_begin("race_held_reader", argc, argv);
  is_main = true;
  RACE_CHECK(sem_init(&place.reached, 0, 0) == 0 && sem_init(&place.released, 0, 0) == 0, "sem_init");
  cpn_point_hook = at_point;
  for (int i = 0; i < RACE_WORLDS * 4; i++) run((enum race_world)(i / 4), i % 2 == 1, i / 2 % 2 == 1);
  return 0;
}
