/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a whole sale under load is what it would have been one request after the other: as many tickets as
 * stock, nobody twice, numbers 1 … k in the order of the log and of real time, times that never fall, nobody
 * refused while stock was left, and a refusal that is final only together with every ticket.
 *
 * How: four threads ask for users drawn at random, most of them several times, with stamps of one global counter
 * before and after each call, alone or in batches of one and of several. Everything is written down and judged when the
 * sale is over; on disk also after reopening.
 */
#include "support/race_help.h"

#include <stdlib.h>
#include <string.h>

#define THREADS 4
#define CAMPAIGN 7

/* The requests of one thread. */
struct record {
  struct race_answer *answers;
  size_t count;
};

struct sale {
  const char *name;
  char path[RACE_PATH_MAX];
  enum race_world world;
  int32_t durability;                  /* on disk */
  uint64_t stock, users, limit, calls; /* calls of each thread */
  uint64_t log_buffer_bytes;
  uint64_t waits; /* one call in so many waits for finality; 0: none */
  coupon_engine *engine;
  struct record records[THREADS];
  struct coupon_ticket *seen[THREADS]; /* [number]: as it was listed during the sale */
  struct race_barrier barrier;
  _Atomic uint64_t final_refusals;
};

static void *allocate(size_t count, size_t size) {
  void *pointer = calloc(count == 0 ? 1 : count, size);
  RACE_CHECK(pointer != NULL, "not enough memory");
  return pointer;
}

/* Users are told apart by an index; their ids are far apart, the first one's is 0. */
static uint64_t user_of(uint64_t index) { return index * UINT64_C(0x9e3779b97f4a7c15); }

/* --- the sale ------------------------------------------------------------------------------------ */

/* With a buffer that may be full: asks again, and then waits for room. */
static coupon_status issue_patiently(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                     struct coupon_ticket *ticket) {
  for (uint32_t turns = 0;; race_turn(&turns)) {
    coupon_status status = coupon_try_issue(engine, campaign, user, ticket);
    if (status != COUPON_E_BUSY) return status;
    if (engine->has_thread) return coupon_issue(engine, campaign, user, COUPON_FOREVER, ticket);
    race_step(engine);
  }
}

static coupon_status issue_in_batch(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                    struct coupon_ticket *ticket) {
  coupon_status status = race_issue_batch_of_one(engine, campaign, user, ticket);
  return status == COUPON_E_BUSY ? issue_patiently(engine, campaign, user, ticket) : status;
}

/* With a limit: it asks for the user twice. */
static coupon_status issue_in_company(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                      struct coupon_ticket *ticket) {
  coupon_status status = race_issue_batch_of_many(engine, campaign, user, ticket);
  return status == COUPON_E_BUSY ? issue_patiently(engine, campaign, user, ticket) : status;
}

static coupon_status issue_finally(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                   struct coupon_ticket *ticket) {
  coupon_status status;
  if (engine->has_thread) {
    status = coupon_issue(engine, campaign, user, COUPON_FOREVER, ticket);
  } else {
    status = issue_patiently(engine, campaign, user, ticket);
    for (uint32_t turns = 0; coupon_wait(engine, ticket, COUPON_POLL) == COUPON_NOT_FINAL; race_turn(&turns))
      race_step(engine);
  }
  RACE_CHECK(status < 0 || (ticket->flags & COUPON_TICKET_FINAL) != 0, "waited forever, and it is not final");
  RACE_CHECK((status != COUPON_ISSUED && status != COUPON_ALREADY_ISSUED) || ticket->number != 0, "final, no number");
  return status;
}

static race_issue_fn *choose_way(const struct sale *sale, struct race_random *random) {
  if (sale->waits != 0 && race_below(random, sale->waits) == 0) return issue_finally;
  switch (race_below(random, 8)) {
    case 0:
      return issue_in_batch;
    case 1:
      return sale->limit != 0 ? issue_in_company : issue_in_batch;
    default:
      return issue_patiently;
  }
}

/* Once a refusal is final, so is every ticket: they have their numbers, the last one the stock's. */
static void check_final_refusal(struct sale *sale, const struct race_answer *answer) {
  struct coupon_ticket last;
  size_t count = 0;
  /* Where threads step, one may be at it, whom we must not wait for. */
  for (uint32_t turns = 0; !race_is_final(sale->engine, answer) && !sale->engine->has_thread; race_turn(&turns))
    race_step(sale->engine);
  (void)race_wait_final(sale->engine, answer);
  coupon_status status = coupon_tickets(sale->engine, CAMPAIGN, sale->stock, &last, sizeof last, 1, &count);
  if (sale->world == RACE_IN_MEMORY && count == 0) return; /* taken, but its taker has not written it yet */
  RACE_CHECK(status == COUPON_OK && count == 1, "a refusal is final, and the last ticket has no number");
  RACE_CHECK((last.flags & COUPON_TICKET_FINAL) != 0, "a refusal is final before the last ticket");
  atomic_fetch_add(&sale->final_refusals, 1);
}

/* The newest tickets, while more are being numbered: whole, in order, and noted to be compared in the end. */
static void list_newest(struct sale *sale, uint32_t index, struct race_random *random) {
  struct coupon_ticket page[8];
  size_t count = 0;
  uint64_t issued = race_info_of(sale->engine, CAMPAIGN).issued,
           back = 1 + race_below(random, UINT64_C(1) << race_below(random, 12));
  uint64_t from = issued > back ? issued - back : 1;
  coupon_status status = coupon_tickets(sale->engine, CAMPAIGN, from, page, sizeof page[0], 8, &count);
  RACE_CHECK(status == COUPON_OK, "%s", coupon_status_name(status));
  for (size_t i = 0; i < count; i++) {
    RACE_CHECK(page[i].number == from + i && page[i].number <= sale->stock, "number %" PRIu64, page[i].number);
    RACE_CHECK(i == 0 || sale->world == RACE_IN_MEMORY || page[i].lsn > page[i - 1].lsn, "a list out of order");
    sale->seen[index][page[i].number] = page[i];
  }
}

static void sell(void *context, uint32_t index) {
  struct sale *sale = context;
  struct record *record = &sale->records[index];
  struct race_random random = race_stream(index);
  uint64_t meetings = 0, refusals = 0;
  race_meet(&sale->barrier, &meetings);
  race_dawdle(race_stream(100 + index), 4);
  for (uint64_t i = 0; i < sale->calls; i++) {
    uint64_t user = user_of(race_below(&random, sale->users));
    struct race_answer *answer = &record->answers[record->count++];
    *answer = race_ask_stamped(choose_way(sale, &random), sale->engine, CAMPAIGN, user);
    RACE_CHECK(answer->status >= COUPON_ISSUED && answer->status <= COUPON_SOLD_OUT, "%s",
               coupon_status_name(answer->status));
    if (answer->status == COUPON_SOLD_OUT && refusals++ % 4096 == 0) check_final_refusal(sale, answer);
    if (answer->status == COUPON_ISSUED && race_below(&random, 4) == 0) list_newest(sale, index, &random);
  }
  race_dawdle(random, 0);
}

/* --- what was written down ----------------------------------------------------------------------- */

/* All requests of a sale, and the tickets in order of their numbers with the request that each was issued to. */
struct book {
  struct race_answer *answers;
  size_t count;
  struct coupon_ticket *tickets;
  const struct race_answer **issued; /* [number - 1] */
  size_t issued_count;
};

static int by_user(const void *a, const void *b) {
  const struct race_answer *left = a, *right = b;
  if (left->user != right->user) return left->user < right->user ? -1 : 1;
  return left->begin < right->begin ? -1 : 1;
}

static uint64_t place_of(const struct race_answer *answer) { return answer->logged ? answer->lsn : answer->number; }

static int by_place(const void *a, const void *b) {
  uint64_t left = place_of(*(const struct race_answer *const *)a),
           right = place_of(*(const struct race_answer *const *)b);
  return left < right ? -1 : left > right;
}

static void open_book(struct book *book, const struct sale *sale) {
  size_t total = 0;
  for (int t = 0; t < THREADS; t++) total += sale->records[t].count;
  *book = (struct book){.answers = allocate(total, sizeof book->answers[0])};
  book->issued = allocate(total, sizeof(const struct race_answer *));
  for (int t = 0; t < THREADS; t++) {
    memcpy(book->answers + book->count, sale->records[t].answers, sale->records[t].count * sizeof book->answers[0]);
    book->count += sale->records[t].count;
  }
  qsort(book->answers, book->count, sizeof book->answers[0], by_user);
  for (size_t i = 0; i < book->count; i++) {
    if (book->answers[i].status == COUPON_ISSUED) book->issued[book->issued_count++] = &book->answers[i];
  }
  qsort(book->issued, book->issued_count, sizeof(const struct race_answer *), by_place);
}

static void close_book(struct book *book) {
  free(book->answers);
  free(book->issued);
  free(book->tickets);
}

static struct coupon_ticket *read_tickets(coupon_engine *engine, uint64_t stock) {
  struct coupon_ticket *tickets = allocate(stock + 1, sizeof tickets[0]);
  size_t done = 0, count;
  do {
    coupon_status status =
        coupon_tickets(engine, CAMPAIGN, done + 1, tickets + done, sizeof tickets[0], stock + 1 - done, &count);
    RACE_CHECK(status == COUPON_OK, "%s", coupon_status_name(status));
    done += count;
  } while (count > 0 && done <= stock);
  RACE_CHECK(done == stock, "%zu tickets, and the stock is %" PRIu64, done, stock);
  return tickets;
}

/* --- judging ------------------------------------------------------------------------------------- */

/* As many as the stock, every one with its own place, in the same order as the tickets' numbers. */
static void judge_tickets(const struct book *book, const struct sale *sale) {
  RACE_CHECK(book->issued_count == sale->stock, "%zu were issued, and the stock is %" PRIu64, book->issued_count,
             sale->stock);
  for (size_t i = 0; i < book->issued_count; i++) {
    const struct race_answer *answer = book->issued[i];
    const struct coupon_ticket *ticket = &book->tickets[i];
    const uint64_t length = answer->logged ? CPN_WORDS_ISSUE * 8 : 1;
    RACE_CHECK(i == 0 || place_of(answer) >= place_of(book->issued[i - 1]) + length, "two tickets share a place");
    RACE_CHECK(answer->logged == (answer->lsn != 0), "a place in a log, or none, where it should not be");
    RACE_CHECK(i == 0 || answer->time_ns >= book->issued[i - 1]->time_ns, "times fall at number %zu", i + 1);
    RACE_CHECK(ticket->number == i + 1, "number %" PRIu64 " where %zu should be", ticket->number, i + 1);
    bool same = ticket->user == answer->user && ticket->lsn == answer->lsn && ticket->time_ns == answer->time_ns;
    RACE_CHECK(same, "ticket %zu is not what its user was told", i + 1);
    RACE_CHECK((answer->logged && answer->number == 0) || answer->number == i + 1, "a user was told another number");
    RACE_CHECK((ticket->flags & COUPON_TICKET_FINAL) != 0, "ticket %zu did not become final", i + 1);
  }
}

static bool is_same(const struct coupon_ticket *a, const struct coupon_ticket *b) {
  return a->user == b->user && a->lsn == b->lsn && a->time_ns == b->time_ns && a->number == b->number;
}

/* What was listed during the sale stayed as it was. */
static uint64_t judge_lists(const struct book *book, const struct sale *sale) {
  uint64_t listed = 0;
  for (int t = 0; t < THREADS; t++) {
    for (uint64_t number = 1; number <= sale->stock; number++) {
      const struct coupon_ticket *seen = &sale->seen[t][number];
      if (seen->number == 0) continue;
      RACE_CHECK(is_same(seen, &book->tickets[number - 1]), "ticket %" PRIu64 " was listed as another", number);
      listed++;
    }
  }
  return listed;
}

/* A call that had returned before another began has the lower number. */
static void judge_real_time(const struct book *book) {
  uint64_t first_end = UINT64_MAX; /* of the calls with higher numbers */
  for (size_t i = book->issued_count; i-- > 0;) {
    RACE_CHECK(book->issued[i]->begin < first_end, "number %zu began after a higher number had returned", i + 1);
    first_end = cpn_min_u64(first_end, book->issued[i]->end);
  }
}

/* Refusals: only once the last of all the units was being taken, and resting on every ticket. */
static void judge_refusals(const struct book *book) {
  uint64_t last_begin = 0, highest_lsn = 0;
  for (size_t i = 0; i < book->issued_count; i++) {
    last_begin = cpn_max_u64(last_begin, book->issued[i]->begin);
    highest_lsn = cpn_max_u64(highest_lsn, book->issued[i]->lsn);
  }
  for (size_t i = 0; i < book->count; i++) {
    const struct race_answer *answer = &book->answers[i];
    if (answer->status != COUPON_SOLD_OUT) continue;
    RACE_CHECK(answer->end > last_begin, "refused before the last ticket was asked for");
    RACE_CHECK(answer->lsn >= highest_lsn, "a refusal rests on less than every ticket");
    RACE_CHECK(answer->logged || answer->flags == COUPON_TICKET_FINAL, "a refusal is not final without a log");
  }
}

/* With a limit: each user's requests, in the order in which they began. */
static void judge_users(const struct book *book, uint64_t *duplicates) {
  for (size_t from = 0, to; from < book->count; from = to) {
    const struct race_answer *issued = NULL;
    for (to = from; to < book->count && book->answers[to].user == book->answers[from].user; to++) {
      if (book->answers[to].status != COUPON_ISSUED) continue;
      RACE_CHECK(issued == NULL, "user %" PRIu64 " was issued twice", book->answers[to].user);
      issued = &book->answers[to];
    }
    for (size_t i = from; i < to; i++) {
      const struct race_answer *answer = &book->answers[i];
      if (answer->status == COUPON_SOLD_OUT) RACE_CHECK(issued == NULL, "a user with a ticket hears SOLD_OUT");
      if (answer->status != COUPON_ALREADY_ISSUED) continue;
      RACE_CHECK(issued != NULL, "a user without a ticket hears ALREADY_ISSUED");
      RACE_CHECK(race_same_ticket(answer, issued), "a duplicate was told of another ticket");
      RACE_CHECK(answer->end > issued->begin, "a duplicate before the request that was issued");
      ++*duplicates;
    }
  }
}

static void judge(const struct sale *sale, const struct book *book) {
  struct coupon_campaign_info info = race_info_of(sale->engine, CAMPAIGN);
  uint64_t duplicates = 0;
  RACE_CHECK(info.issued == sale->stock && info.remaining == 0, "%" PRIu64 " issued", info.issued);
  RACE_CHECK(info.state == COUPON_STATE_SOLD_OUT, "state %d", (int)info.state);
  judge_tickets(book, sale);
  uint64_t listed = judge_lists(book, sale);
  judge_real_time(book);
  judge_refusals(book);
  if (sale->limit != 0) judge_users(book, &duplicates);
  RACE_CHECK(sale->limit == 0 || duplicates > 0, "no duplicate asked: this run shows little");
  RACE_CHECK(atomic_load(&sale->final_refusals) > 0, "nobody was refused: this run shows little");
  printf("%s: %zu requests, %" PRIu64 " tickets, %" PRIu64 " duplicates, %" PRIu64 " listed meanwhile, judged\n",
         sale->name, book->count, sale->stock, duplicates, listed);
}

/* --- a run --------------------------------------------------------------------------------------- */

static void wait_for_all(const struct sale *sale) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  race_step(sale->engine);
  coupon_status status = coupon_issue(sale->engine, CAMPAIGN, user_of(sale->users), COUPON_FOREVER, &ticket);
  RACE_CHECK(status == COUPON_SOLD_OUT && (ticket.flags & COUPON_TICKET_FINAL) != 0, "%s", coupon_status_name(status));
}

static void reopen(struct sale *sale, const struct book *book) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  sale->engine = race_open(sale->path, sale->durability, 0, NULL);
  struct coupon_ticket *tickets = read_tickets(sale->engine, sale->stock);
  for (uint64_t i = 0; i < sale->stock; i++) {
    RACE_CHECK(is_same(&tickets[i], &book->tickets[i]), "ticket %" PRIu64 " is another after reopening", i + 1);
  }
  coupon_status again = coupon_try_issue(sale->engine, CAMPAIGN, tickets[0].user, &ticket);
  RACE_CHECK(again == (sale->limit != 0 ? COUPON_ALREADY_ISSUED : COUPON_SOLD_OUT), "%s", coupon_status_name(again));
  free(tickets);
  race_close(sale->engine);
}

static void run(struct sale sale) {
  struct book book;
  const bool on_disk = sale.world == RACE_ON_DISK;
  sale.users = sale.stock * 2;
  sale.calls = sale.users;
  sale.engine = race_open_in(sale.world, sale.path, sale.durability, sale.log_buffer_bytes, NULL);
  race_campaign(sale.engine, CAMPAIGN, sale.stock, sale.limit, 0, 0);
  race_barrier_init(&sale.barrier, THREADS);
  for (int t = 0; t < THREADS; t++) {
    sale.records[t] = (struct record){.answers = allocate(sale.calls, sizeof sale.records[t].answers[0])};
    sale.seen[t] = allocate(sale.stock + 1, sizeof sale.seen[t][0]);
  }
  race_run(THREADS, sell, &sale);
  wait_for_all(&sale);
  open_book(&book, &sale);
  book.tickets = read_tickets(sale.engine, sale.stock);
  judge(&sale, &book);
  race_close(sale.engine);
  if (on_disk) {
    reopen(&sale, &book);
    race_directory_remove(sale.path);
  }
  for (int t = 0; t < THREADS; t++) {
    free(sale.records[t].answers);
    free(sale.seen[t]);
  }
  close_book(&book);
}

int main(int argc, char **argv) {
  race_begin("race_sale", argc, argv);
  const uint64_t stock = race_rounds(60000, 5000), small = race_rounds(10000, 2000);
  run((struct sale){.name = "in memory, one each", .world = RACE_IN_MEMORY, .stock = stock, .limit = 1, .waits = 100});
  run((struct sale){.name = "in memory, no limit", .world = RACE_IN_MEMORY, .stock = stock, .limit = 0});
  run((struct sale){.name = "logged, one each", .world = RACE_LOGGED, .stock = stock, .limit = 1});
  run((struct sale){.name = "logged, one each, small buffer",
                    .world = RACE_LOGGED,
                    .stock = stock,
                    .limit = 1,
                    .log_buffer_bytes = 4096,
                    .waits = 100});
  run((struct sale){.name = "logged, no limit", .world = RACE_LOGGED, .stock = stock, .limit = 0});
  run((struct sale){.name = "sync, one each", .world = RACE_ON_DISK, .stock = small, .limit = 1, .waits = 400});
  run((struct sale){.name = "sync, no limit", .world = RACE_ON_DISK, .stock = small, .limit = 0, .waits = 400});
  run((struct sale){.name = "sync, one each, small buffer",
                    .world = RACE_ON_DISK,
                    .stock = small,
                    .limit = 1,
                    .log_buffer_bytes = 8192,
                    .waits = 400});
  return 0;
}
