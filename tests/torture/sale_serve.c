/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "torture/sale_board.h"

#define PENDING 16
#define BATCH 48

struct server {
  struct sale_board *board;
  coupon_engine *engine;
};

struct seller {
  pthread_t thread;
  struct server *server;
  struct sale_journal *journal;
  struct torture_random random;
  struct coupon_ticket pending[PENDING]; /* decided, not waited for yet */
  size_t pending_count;
  bool is_over; /* the engine is closed or has failed */
};

/* --- the board -------------------------------------------------------------------------------------- */

void sale_board_reset(struct sale_board *board) {
  atomic_store(&board->now_ns, UINT64_C(1000000000));
  atomic_store(&board->campaigns, 0);
  memset(board->specs, 0, sizeof board->specs);
  for (size_t i = 0; i < SALE_THREADS; i++) atomic_store(&board->journals[i].count, 0);
}

bool sale_board_has_room(const struct sale_board *board) {
  bool room = atomic_load(&board->campaigns) < SALE_CAMPAIGNS / 2;
  for (size_t i = 0; i < SALE_THREADS; i++) room = room && atomic_load(&board->journals[i].count) < SALE_JOURNAL / 2;
  return room;
}

uint64_t sale_board_entries(const struct sale_board *board) {
  uint64_t count = 0;
  for (size_t i = 0; i < SALE_THREADS; i++) count += atomic_load(&board->journals[i].count);
  return count;
}

/* A microsecond for each look, so that windows open and close as the sale goes on. */
static uint64_t read_clock(void *context) {
  struct sale_board *board = context;
  return atomic_fetch_add_explicit(&board->now_ns, 1000, memory_order_relaxed); /* relaxed: it only counts */
}

struct coupon_options sale_options(struct sale_board *board) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.durability = board->durability;
  options.segment_size_bytes = board->segment_size;
  options.log_buffer_bytes = board->log_buffer;
  options.commit_delay_ns = board->commit_delay_ns;
#ifdef COUPON_TORTURE_CHECKPOINTS
  options.checkpoint_log_bytes = board->checkpoint_log;
  if (board->archive[0] != 0) options.archive_dir = board->archive;
#endif
  options.callbacks.clock = read_clock;
  options.callbacks.context = board;
  return options;
}

struct coupon_campaign_spec sale_spec(const struct sale_board *board, uint64_t id) {
  const struct sale_campaign *campaign = &board->specs[id];
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = id;
  spec.stock = campaign->stock;
  spec.user_limit = campaign->user_limit;
  spec.user_kind = campaign->user_kind;
  spec.opens_at_ns = campaign->opens_at_ns;
  spec.closes_at_ns = campaign->closes_at_ns;
  spec.name = "torture";
  return spec;
}

void sale_uuid(uint64_t user, unsigned char uuid[COUPON_UUID_SIZE]) {
  memset(uuid, 0xa5, COUPON_UUID_SIZE);
  memcpy(uuid + 8, &user, sizeof user);
}

/* --- telling ---------------------------------------------------------------------------------------- */

static void tell(struct seller *seller, struct sale_entry entry) {
  struct sale_journal *journal = seller->journal;
  uint64_t count = atomic_load(&journal->count);
  if (count == SALE_JOURNAL) return;
  journal->entries[count] = entry;
  atomic_store(&journal->count, count + 1);
  atomic_fetch_add(&seller->server->board->told, 1);
}

static uint64_t user_of(const struct coupon_ticket *ticket, int32_t kind) {
  uint64_t user = ticket->user;
  if (kind == COUPON_USER_UUID) memcpy(&user, ticket->uuid + 8, sizeof user);
  return user;
}

static void tell_ticket(struct seller *seller, const struct coupon_ticket *ticket) {
  const struct sale_board *board = seller->server->board;
  if (ticket->answer == COUPON_NO_CAMPAIGN || ticket->answer < 0) return;
  if ((ticket->flags & COUPON_TICKET_FINAL) == 0 && !board->tells_too_early) return;
  tell(seller, (struct sale_entry){.campaign = ticket->campaign,
                                   .user = user_of(ticket, board->specs[ticket->campaign].user_kind),
                                   .number = ticket->number,
                                   .lsn = ticket->lsn,
                                   .time_ns = ticket->time_ns,
                                   .answer = ticket->answer});
}

/* Whether the engine still answers. Faults that leave everything as it was do not end a sale. */
static bool goes_on(struct seller *seller, coupon_status status) {
  if (status >= 0 || status == COUPON_E_BUSY) return true;
#ifdef COUPON_TORTURE_RELEASES
  if (status == COUPON_E_RELEASED) return true;
#endif
  seller->is_over = true;
  if (status == COUPON_E_CLOSED) return false;
  TORTURE_CHECK(status == COUPON_E_FAILED, "a call answers %s", coupon_status_name(status));
  struct coupon_stats stats = COUPON_STATS_INIT;
  coupon_status read = coupon_read_stats(seller->server->engine, &stats);
  if (read == COUPON_E_CLOSED) return false; /* another thread has asked why, and it is being closed */
  TORTURE_CHECK(read == COUPON_OK && stats.failure < 0, "a failed engine does not say why");
  atomic_store(&seller->server->board->failure, stats.failure);
  return false;
}

static void settle(struct seller *seller, struct coupon_ticket *ticket, int64_t deadline) {
  if (ticket->answer == COUPON_NO_CAMPAIGN || ticket->answer < 0) return;
  if (goes_on(seller, coupon_wait(seller->server->engine, ticket, deadline))) tell_ticket(seller, ticket);
}

/* --- requests --------------------------------------------------------------------------------------- */

/* 0: there is none yet. Mostly one of the last few, so that they sell out. */
static uint64_t some_campaign(struct seller *seller) {
  struct sale_board *board = seller->server->board;
  uint64_t last = atomic_load(&board->campaigns);
  if (last == 0) return 0;
  uint64_t back =
      torture_below(&seller->random, 8) == 0 ? torture_below(&seller->random, last) : torture_below(&seller->random, 3);
  uint64_t id = last > back ? last - back : last;
  return atomic_load(&board->specs[id].is_described) != 0 ? id : 0;
}

static struct coupon_request some_request(struct seller *seller, uint64_t campaign) {
  const struct sale_campaign *spec = &seller->server->board->specs[campaign];
  struct coupon_request request = {.campaign = campaign};
  uint64_t user = torture_below(&seller->random, spec->stock * SALE_USERS_PER_UNIT);
  if (spec->user_kind == COUPON_USER_UUID)
    sale_uuid(user, request.uuid);
  else
    request.user = user;
  return request;
}

static bool is_uuid(const struct seller *seller, uint64_t campaign) {
  return seller->server->board->specs[campaign].user_kind == COUPON_USER_UUID;
}

static void ask_and_wait(struct seller *seller, uint64_t campaign) {
  struct coupon_request request = some_request(seller, campaign);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status =
      is_uuid(seller, campaign)
          ? coupon_issue_uuid(seller->server->engine, campaign, request.uuid, COUPON_FOREVER, &ticket)
          : coupon_issue(seller->server->engine, campaign, request.user, COUPON_FOREVER, &ticket);
  if (goes_on(seller, status) && status >= 0) tell_ticket(seller, &ticket);
}

static struct coupon_ticket ask(struct seller *seller, uint64_t campaign) {
  struct coupon_request request = some_request(seller, campaign);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = is_uuid(seller, campaign)
                             ? coupon_try_issue_uuid(seller->server->engine, campaign, request.uuid, &ticket)
                             : coupon_try_issue(seller->server->engine, campaign, request.user, &ticket);
  (void)goes_on(seller, status);
  ticket.answer = status;
  return ticket;
}

/* As an event loop does: asks for many, and looks later. */
static void ask_and_look_later(struct seller *seller, uint64_t campaign) {
  struct coupon_ticket ticket = ask(seller, campaign);
  if (ticket.answer < 0) return;
  if (seller->server->board->tells_too_early) tell_ticket(seller, &ticket);
  seller->pending[seller->pending_count++] = ticket;
  if (seller->pending_count < PENDING) return;
  /* The newest first: once it is final the others are. */
  for (size_t i = PENDING; i-- > 0;) settle(seller, &seller->pending[i], i % 2 == 0 ? COUPON_FOREVER : COUPON_POLL);
  seller->pending_count = 0;
}

static void ask_in_a_batch(struct seller *seller) {
  struct coupon_request requests[BATCH];
  struct coupon_ticket tickets[BATCH];
  size_t count = 1 + torture_below(&seller->random, BATCH);
  memset(tickets, 0, sizeof tickets);
  for (size_t i = 0; i < count; i++) {
    uint64_t campaign = some_campaign(seller);
    if (campaign == 0) return;
    requests[i] = some_request(seller, campaign);
  }
  coupon_status status = coupon_try_issue_batch(seller->server->engine, requests, count, tickets, sizeof tickets[0]);
  if (!goes_on(seller, status) || status != COUPON_OK) return;
  for (size_t i = 0; i < count && !seller->is_over; i++) settle(seller, &tickets[i], COUPON_FOREVER);
}

static void look_up(struct seller *seller, uint64_t campaign) {
  struct coupon_request request = some_request(seller, campaign);
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = is_uuid(seller, campaign)
                             ? coupon_lookup_uuid(seller->server->engine, campaign, request.uuid, &ticket, NULL)
                             : coupon_lookup(seller->server->engine, campaign, request.user, &ticket, NULL);
  if (!goes_on(seller, status) || status != COUPON_OK) return;
  ticket.answer = COUPON_ALREADY_ISSUED;
  tell_ticket(seller, &ticket);
}

/* --- campaigns -------------------------------------------------------------------------------------- */

static void describe(struct seller *seller, struct sale_campaign *spec) {
  struct torture_random *random = &seller->random;
  spec->stock = 1 + torture_below(random, UINT64_C(1) << torture_below(random, 9)) % SALE_STOCK_MAX;
  spec->user_limit = torture_below(random, 4) != 0;
  spec->user_kind = torture_below(random, 3) == 0 ? COUPON_USER_UUID : COUPON_USER_U64;
  uint64_t now_ns = atomic_load(&seller->server->board->now_ns);
  if (torture_below(random, 3) == 0) spec->opens_at_ns = now_ns + torture_below(random, 500000);
  if (torture_below(random, 3) == 0) spec->closes_at_ns = now_ns + 500000 + torture_below(random, 2000000);
  atomic_store(&spec->is_described, 1);
}

/* A process that is killed between the first lines leaves an id that nobody uses. */
static void begin_campaign(struct seller *seller) {
  struct sale_board *board = seller->server->board;
  if (atomic_load(&board->campaigns) >= SALE_CAMPAIGNS - SALE_THREADS) return;
  uint64_t id = atomic_fetch_add(&board->campaigns, 1) + 1;
  describe(seller, &board->specs[id]);
  struct coupon_campaign_spec spec = sale_spec(board, id);
  coupon_status status = coupon_create(seller->server->engine, &spec, COUPON_FOREVER);
  if (goes_on(seller, status) && status == COUPON_OK)
    tell(seller, (struct sale_entry){.campaign = id, .answer = COUPON_OK});
}

/* Whether the newest one has nothing left, or now and then anyway. */
static bool wants_another(struct seller *seller) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  uint64_t last = atomic_load(&seller->server->board->campaigns);
  if (last == 0 || torture_below(&seller->random, 1024) == 0) return true;
  if (torture_below(&seller->random, 64) != 0) return false;
  coupon_status status = coupon_info(seller->server->engine, last, &info);
  return status == COUPON_NO_CAMPAIGN ||
         (status == COUPON_OK && (info.state == COUPON_STATE_SOLD_OUT || info.state == COUPON_STATE_CLOSED));
}

/* --- the process ------------------------------------------------------------------------------------ */

static void sell_once(struct seller *seller) {
  if (wants_another(seller)) {
    begin_campaign(seller);
    return;
  }
  uint64_t campaign = some_campaign(seller);
  if (campaign == 0) return;
  uint64_t way = torture_below(&seller->random, 16);
  if (way < 6)
    ask_and_wait(seller, campaign);
  else if (way < 10)
    ask_and_look_later(seller, campaign);
  else if (way < 14)
    ask_in_a_batch(seller);
  else
    look_up(seller, campaign);
}

static void *sell(void *argument) {
  struct seller *seller = argument;
  while (!seller->is_over) sell_once(seller);
  return NULL;
}

/* Beside those that the library makes by itself. */
static void ask_for_a_checkpoint(struct server *server, struct torture_random *random) {
#ifdef COUPON_TORTURE_CHECKPOINTS
  if (server->board->checkpoint_log == UINT64_MAX || torture_below(random, 4) != 0) return;
  coupon_status status = coupon_checkpoint(server->engine, COUPON_POLL);
  TORTURE_CHECK(status == COUPON_NOT_FINAL || status == COUPON_OK || status == COUPON_E_FAILED ||
                    (server->board->may_be_full && status == COUPON_E_NO_SPACE),
                "a checkpoint: %s", coupon_status_name(status));
#else
  (void)server, (void)random;
#endif
}

/* Campaigns that are over give up their memory, while others ask for their tickets still. */
static void release_one(struct server *server, struct torture_random *random) {
#ifdef COUPON_TORTURE_RELEASES
  uint64_t last = atomic_load(&server->board->campaigns);
  if (server->board->checkpoint_log == UINT64_MAX || last == 0 || torture_below(random, 4) != 0) return;
  uint64_t id = 1 + torture_below(random, last);
  coupon_status status = coupon_release(server->engine, id, COUPON_POLL);
  TORTURE_CHECK(status == COUPON_OK || status == COUPON_NOT_FINAL || status == COUPON_NO_CAMPAIGN ||
                    status == COUPON_E_NOT_CLOSED || status == COUPON_E_BUSY || status == COUPON_E_FAILED ||
                    (server->board->may_be_full && status == COUPON_E_NO_SPACE),
                "releasing campaign %" PRIu64 ": %s", id, coupon_status_name(status));
#else
  (void)server, (void)random;
#endif
}

int sale_serve(void *context) {
  struct sale_board *board = context;
  struct server server = {.board = board};
  struct coupon_options options = sale_options(board);
  struct coupon_report report = COUPON_REPORT_INIT;
  coupon_status status = coupon_open(board->directory, &options, &server.engine, &report);
  if (status == COUPON_E_NO_SPACE) {
    atomic_store(&board->failure, status);
    return 3;
  }
  TORTURE_CHECK(status == COUPON_OK, "opening: %s, %s at %" PRIu64 ": %s", coupon_status_name(status), report.file,
                report.offset, report.message);
  atomic_store(&board->phase, SALE_OPENED);
  struct seller sellers[SALE_THREADS];
  for (size_t i = 0; i < SALE_THREADS; i++) {
    sellers[i] = (struct seller){
        .server = &server, .journal = &board->journals[i], .random = torture_stream(board->seed, 10 + i)};
    if (pthread_create(&sellers[i].thread, NULL, sell, &sellers[i]) != 0) torture_cannot("a thread");
  }
  struct torture_random random = torture_stream(board->seed, 2);
  while (atomic_load(&board->failure) == 0 &&
         (board->close_after == 0 || atomic_load(&board->told) < board->close_after)) {
    release_one(&server, &random);
    ask_for_a_checkpoint(&server, &random);
    torture_sleep_us(100);
  }
  atomic_store(&board->phase, SALE_CLOSING);
  (void)coupon_close(server.engine);
  for (size_t i = 0; i < SALE_THREADS; i++) (void)pthread_join(sellers[i].thread, NULL);
  (void)coupon_destroy(server.engine);
  return atomic_load(&board->failure) == 0 ? 0 : 3;
}
