/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must be true of a directory, whatever became of the process that sold from it: every campaign has numbers 1 …
 * k, in the order of LSNs and times, k at most the stock, no user twice; and every answer on the board that was final
 * holds: a ticket with the same number, LSN and time, "sold out" with every unit given away by then, "ended" for
 * good.
 */
#include <string.h>
#include <unistd.h>

#include "torture/sale_board.h"

struct shelf { /* one campaign, as it was found */
  uint64_t id;
  bool is_there;
  struct coupon_campaign_info info;
  size_t count;
  struct coupon_ticket tickets[SALE_STOCK_MAX + 1];
};

static uint64_t user_of(const struct shelf *shelf, const struct coupon_ticket *ticket) {
  uint64_t user = ticket->user;
  if (shelf->info.user_kind != COUPON_USER_UUID) return user;
  memcpy(&user, ticket->uuid + 8, sizeof user);
  unsigned char uuid[COUPON_UUID_SIZE];
  sale_uuid(user, uuid);
  TORTURE_CHECK(memcmp(uuid, ticket->uuid, sizeof uuid) == 0, "campaign %" PRIu64 ": a user that nobody was",
                shelf->id);
  return user;
}

static void check_spec(const struct sale_board *board, const struct shelf *shelf) {
  struct coupon_campaign_spec spec = sale_spec(board, shelf->id);
  const struct coupon_campaign_info *info = &shelf->info;
  TORTURE_CHECK(info->stock == spec.stock && info->user_limit == spec.user_limit && info->user_kind == spec.user_kind &&
                    info->opens_at_ns == spec.opens_at_ns && info->closes_at_ns == spec.closes_at_ns &&
                    strcmp(info->name, spec.name) == 0,
                "campaign %" PRIu64 " is not as it was created", shelf->id);
}

static void check_tickets(const struct shelf *shelf) {
  unsigned char seen[(SALE_STOCK_MAX + 1) * SALE_USERS_PER_UNIT] = {0};
  TORTURE_CHECK(shelf->count <= shelf->info.stock, "campaign %" PRIu64 ": %zu tickets of %" PRIu64, shelf->id,
                shelf->count, shelf->info.stock);
  TORTURE_CHECK(shelf->info.issued == shelf->count && shelf->info.issued + shelf->info.remaining == shelf->info.stock,
                "campaign %" PRIu64 ": %" PRIu64 " issued, %" PRIu64 " left, %zu tickets", shelf->id,
                shelf->info.issued, shelf->info.remaining, shelf->count);
  for (size_t i = 0; i < shelf->count; i++) {
    const struct coupon_ticket *ticket = &shelf->tickets[i];
    TORTURE_CHECK(ticket->number == i + 1, "campaign %" PRIu64 ": number %" PRIu64 " at place %zu", shelf->id,
                  ticket->number, i + 1);
    TORTURE_CHECK(i == 0 || (ticket->lsn > ticket[-1].lsn && ticket->time_ns >= ticket[-1].time_ns),
                  "campaign %" PRIu64 ": ticket %zu is before the one before it", shelf->id, i + 1);
    uint64_t user = user_of(shelf, ticket);
    TORTURE_CHECK(user < shelf->info.stock * SALE_USERS_PER_UNIT, "campaign %" PRIu64 ": a user that nobody was",
                  shelf->id);
    TORTURE_CHECK(!seen[user] || shelf->info.user_limit == 0, "campaign %" PRIu64 ": user %" PRIu64 " has two tickets",
                  shelf->id, user);
    seen[user] = 1;
  }
}

/* Also of campaigns that were released. */
#ifdef COUPON_TORTURE_RELEASES
#define READ_TICKETS coupon_read_tickets
#define IN_MEMORY(info) ((info)->place == 0)
#else
#define READ_TICKETS coupon_tickets
#define IN_MEMORY(info) true
#endif

static void read_shelf(coupon_engine *engine, const struct sale_board *board, struct shelf *shelf, uint64_t id) {
  shelf->id = id;
  shelf->count = 0;
  shelf->info = (struct coupon_campaign_info)COUPON_CAMPAIGN_INFO_INIT;
  coupon_status status = coupon_info(engine, id, &shelf->info);
  shelf->is_there = status == COUPON_OK;
  if (status == COUPON_NO_CAMPAIGN) return;
  TORTURE_CHECK(status == COUPON_OK, "campaign %" PRIu64 ": %s", id, coupon_status_name(status));
  TORTURE_CHECK(atomic_load(&board->specs[id].is_described) != 0, "campaign %" PRIu64 " that nobody created", id);
  status = READ_TICKETS(engine, id, 1, shelf->tickets, sizeof shelf->tickets[0], SALE_STOCK_MAX + 1, &shelf->count);
  TORTURE_CHECK(status == COUPON_OK, "the tickets of campaign %" PRIu64 ": %s", id, coupon_status_name(status));
  check_spec(board, shelf);
  check_tickets(shelf);
}

/* --- what was told ---------------------------------------------------------------------------------- */

static void check_held(const struct shelf *shelf, const struct sale_entry *told, bool too_early) {
  /* Told too early, a ticket has no number yet. */
  uint64_t number = told->number;
  for (size_t i = 0; too_early && number == 0 && i < shelf->count; i++) {
    if (shelf->tickets[i].lsn == told->lsn) number = i + 1;
  }
  TORTURE_CHECK(number >= 1 && number <= shelf->count,
                "campaign %" PRIu64 ": user %" PRIu64 " was told of ticket %" PRIu64 " (LSN %" PRIu64
                "), there are %zu",
                shelf->id, told->user, told->number, told->lsn, shelf->count);
  const struct coupon_ticket *ticket = &shelf->tickets[number - 1];
  TORTURE_CHECK(user_of(shelf, ticket) == told->user && ticket->lsn == told->lsn && ticket->time_ns == told->time_ns,
                "campaign %" PRIu64 ": ticket %" PRIu64 " was user %" PRIu64 "'s at LSN %" PRIu64 ", time %" PRIu64
                "; it is user %" PRIu64 "'s at LSN %" PRIu64 ", time %" PRIu64,
                shelf->id, number, told->user, told->lsn, told->time_ns, user_of(shelf, ticket), ticket->lsn,
                ticket->time_ns);
}

/* A refusal rests on everything that was issued. */
static void check_refused(const struct shelf *shelf, const struct sale_entry *told) {
  uint64_t last_lsn = shelf->count == 0 ? 0 : shelf->tickets[shelf->count - 1].lsn;
  if (told->answer == COUPON_SOLD_OUT)
    TORTURE_CHECK(shelf->info.remaining == 0,
                  "campaign %" PRIu64 ": user %" PRIu64 " was told SOLD_OUT, %" PRIu64 " are left", shelf->id,
                  told->user, shelf->info.remaining);
  if (told->answer == COUPON_ENDED)
    TORTURE_CHECK(shelf->info.state == COUPON_STATE_CLOSED,
                  "campaign %" PRIu64 ": user %" PRIu64 " was told ENDED, its state is %d", shelf->id, told->user,
                  shelf->info.state);
  TORTURE_CHECK(told->answer == COUPON_NOT_OPEN || last_lsn <= told->lsn,
                "campaign %" PRIu64 ": a ticket at LSN %" PRIu64 " behind the refusal at %" PRIu64, shelf->id, last_lsn,
                told->lsn);
}

static void check_entry(const struct shelf *shelf, const struct sale_entry *told, bool too_early) {
  TORTURE_CHECK(shelf->is_there, "campaign %" PRIu64 " is gone, user %" PRIu64 " was told %s", told->campaign,
                told->user, coupon_status_name(told->answer));
  if (told->answer == COUPON_ISSUED || told->answer == COUPON_ALREADY_ISSUED)
    check_held(shelf, told, too_early);
  else if (told->answer != COUPON_OK)
    check_refused(shelf, told);
}

/* A holder who asks again has the ticket that he was told of. */
static void ask_again(coupon_engine *engine, const struct shelf *shelf, const struct sale_entry *told) {
  if (shelf->info.user_limit != 1 || told->number == 0 || !IN_MEMORY(&shelf->info)) return;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  unsigned char uuid[COUPON_UUID_SIZE];
  sale_uuid(told->user, uuid);
  coupon_status status = shelf->info.user_kind == COUPON_USER_UUID
                             ? coupon_issue_uuid(engine, shelf->id, uuid, COUPON_FOREVER, &ticket)
                             : coupon_issue(engine, shelf->id, told->user, COUPON_FOREVER, &ticket);
  TORTURE_CHECK(status == COUPON_ALREADY_ISSUED && ticket.number == told->number && ticket.lsn == told->lsn &&
                    ticket.time_ns == told->time_ns,
                "campaign %" PRIu64 ": user %" PRIu64 ", who holds ticket %" PRIu64 ", asks again: %s, number %" PRIu64,
                shelf->id, told->user, told->number, coupon_status_name(status), ticket.number);
}

static void check_campaign(coupon_engine *engine, struct sale_board *board, uint64_t id, bool writing) {
  static struct shelf shelf;
  uint64_t asked = 0;
  read_shelf(engine, board, &shelf, id);
  if (shelf.is_there && !IN_MEMORY(&shelf.info)) atomic_fetch_add(&board->released, 1);
  for (size_t j = 0; j < SALE_THREADS; j++) {
    const struct sale_journal *journal = &board->journals[j];
    uint64_t count = atomic_load(&journal->count);
    for (uint64_t i = 0; i < count; i++) {
      const struct sale_entry *told = &journal->entries[i];
      if (told->campaign != id) continue;
      check_entry(&shelf, told, board->tells_too_early);
      if (writing && asked < 2 && (told->lsn ^ board->seed) % 16 == 0) {
        ask_again(engine, &shelf, told);
        asked++;
      }
    }
  }
}

static void check_all(coupon_engine *engine, struct sale_board *board, const struct coupon_report *report,
                      bool writing) {
#ifdef COUPON_TORTURE_CHECKPOINTS
  TORTURE_CHECK(report->checkpoint_status == COUPON_OK, "%s: a checkpoint is damaged", report->checkpoint_file);
  if (report->checkpoint != 0) atomic_fetch_add(&board->loaded, 1);
#else
  (void)report;
#endif
  uint64_t last = atomic_load(&board->campaigns);
  for (uint64_t id = 1; id <= last; id++) check_campaign(engine, board, id, writing);
}

int sale_check_reading(void *context) {
  struct sale_board *board = context;
  struct coupon_options options = sale_options(board);
  struct coupon_report report = COUPON_REPORT_INIT;
  options.read_only = 1;
  coupon_engine *engine = NULL;
  coupon_status status = coupon_open(board->directory, &options, &engine, &report);
  /* It may not have been made yet. */
  if (status == COUPON_E_ACCESS && sale_board_entries(board) == 0) return 0;
  TORTURE_CHECK(status == COUPON_OK, "reading: %s, %s at %" PRIu64 ": %s", coupon_status_name(status), report.file,
                report.offset, report.message);
  check_all(engine, board, &report, false);
  return coupon_destroy(engine) == COUPON_OK ? 0 : 3;
}

int sale_check_writing(void *context) {
  struct sale_board *board = context;
  struct coupon_options options = sale_options(board);
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_engine *engine = NULL;
  coupon_status status = coupon_open(board->directory, &options, &engine, &report);
  TORTURE_CHECK(status == COUPON_OK, "opening again: %s, %s at %" PRIu64 ": %s", coupon_status_name(status),
                report.file, report.offset, report.message);
  check_all(engine, board, &report, true);
  /* Every other one ends as a process does that is killed when it has nothing to do. */
  if (board->seed % 2 != 0) torture_leave(0);
  status = coupon_close(engine);
  TORTURE_CHECK(status == COUPON_OK, "closing: %s", coupon_status_name(status));
  return coupon_destroy(engine) == COUPON_OK ? 0 : 3;
}
