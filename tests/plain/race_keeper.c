/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that whoever looks after memory and clock beside the requests, the keeper, changes nothing that they can see: a
 * campaign that grows from nothing to hundreds of thousands of tickets, made room for, touched and packed meanwhile,
 * has each ticket as it was told, by number and by user, during and afterwards; times never fall; and an engine that is
 * closed while its keeper is busy ends cleanly and gives all memory back.
 *
 * How: real engines with their threads, in memory and with a log. Threads issue to disjoint users, alone and in
 * batches, ask again for users of any thread, and read the lists; memory comes from an allocator that counts.
 */
#include "support/race_help.h"

#include <stdlib.h>

#define THREADS 3
#define CAMPAIGN 1
#define BATCH 48

/* --- memory -------------------------------------------------------------------------------------- */

static _Atomic uint64_t allocated;

static void *count_alloc(void *context, size_t size, size_t alignment) {
  (void)context;
  void *pointer = aligned_alloc(alignment, cpn_round_up(size, alignment));
  if (pointer == NULL) return NULL;
  for (size_t i = 0; i < size; i++) ((unsigned char *)pointer)[i] = 0;
  atomic_fetch_add(&allocated, size);
  return pointer;
}

static void count_free(void *context, void *pointer, size_t size) {
  (void)context;
  for (size_t i = 0; i < size; i += 64)
    ((volatile unsigned char *)pointer)[i] = 0xdd; /* who still reads it sees that */
  atomic_fetch_sub(&allocated, size);
  free(pointer);
}

/* On a disk the directory is there, new or old. */
static coupon_engine *open_counted(enum race_world world, const char *path) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  options.durability = world == RACE_ON_DISK ? COUPON_WRITTEN : COUPON_NONE;
  options.segment_size_bytes = RACE_SEGMENT_SIZE * 32;
  options.allocator.alloc = count_alloc;
  options.allocator.free = count_free;
  return race_open_with(world == RACE_ON_DISK ? path : NULL, &options, &report);
}

/* --- growing ------------------------------------------------------------------------------------- */

struct growth {
  coupon_engine *engine;
  enum race_world world;
  uint64_t users; /* of each thread */
  uint64_t stream;
  _Atomic uint64_t *time_ns; /* [user]: of the ticket as it was told, once it was; then nothing about it changes */
  _Atomic uint64_t *number;  /* the same; 0: not told yet, or without its number */
  _Atomic uint64_t repeats, listed;
  _Atomic bool closed;
  struct race_barrier barrier;
};

/* Users are told apart by an index; ids are far apart, the first one's is 0. */
static uint64_t id_of(uint64_t index) { return index * UINT64_C(0x9e3779b97f4a7c15); }
static uint64_t index_of(uint64_t id) { return id * UINT64_C(0xf1de83e19937733d); }

static void note(struct growth *growth, uint64_t index, const struct coupon_ticket *ticket) {
  if (growth->engine->has_log == false) RACE_CHECK(ticket->number != 0 && ticket->lsn == 0, "not final in memory");
  atomic_store(&growth->number[index], ticket->number);
  atomic_store(&growth->time_ns[index], ticket->time_ns);
}

static void issue_one(struct growth *growth, uint64_t index) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = coupon_try_issue(growth->engine, CAMPAIGN, id_of(index), &ticket);
  if (status == COUPON_E_BUSY) status = coupon_issue(growth->engine, CAMPAIGN, id_of(index), COUPON_FOREVER, &ticket);
  if (status == COUPON_E_CLOSED) atomic_store(&growth->closed, true);
  if (status == COUPON_E_CLOSED) return;
  RACE_CHECK(status == COUPON_ISSUED, "%s", coupon_status_name(status));
  note(growth, index, &ticket);
}

static void issue_batch(struct growth *growth, uint64_t first, uint64_t count) {
  struct coupon_request requests[BATCH];
  struct coupon_ticket tickets[BATCH];
  for (uint64_t i = 0; i < count; i++)
    requests[i] = (struct coupon_request){.campaign = CAMPAIGN, .user = id_of(first + i)};
  coupon_status status = coupon_try_issue_batch(growth->engine, requests, count, tickets, sizeof tickets[0]);
  if (status == COUPON_E_CLOSED) atomic_store(&growth->closed, true);
  if (status == COUPON_E_CLOSED) return;
  RACE_CHECK(status == COUPON_OK, "%s", coupon_status_name(status));
  for (uint64_t i = 0; i < count; i++) {
    if (tickets[i].answer == COUPON_E_BUSY) {
      issue_one(growth, first + i);
      continue;
    }
    RACE_CHECK(tickets[i].answer == COUPON_ISSUED, "%s", coupon_status_name(tickets[i].answer));
    note(growth, first + i, &tickets[i]);
  }
}

/* Somebody who may have a ticket by now; who was told of one has it, and no other. */
static void ask_again(struct growth *growth, uint64_t index, bool lookup) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  const uint64_t time_ns = atomic_load(&growth->time_ns[index]), number = atomic_load(&growth->number[index]);
  if (time_ns == 0) return; /* asking would issue */
  coupon_status status = lookup ? coupon_lookup(growth->engine, CAMPAIGN, id_of(index), &ticket, NULL)
                                : coupon_try_issue(growth->engine, CAMPAIGN, id_of(index), &ticket);
  if (status == COUPON_E_CLOSED) return;
  RACE_CHECK(status == (lookup ? COUPON_OK : COUPON_ALREADY_ISSUED), "%s", coupon_status_name(status));
  RACE_CHECK(ticket.time_ns == time_ns, "time %" PRIu64 ", and %" PRIu64 " before", ticket.time_ns, time_ns);
  RACE_CHECK(number == 0 || ticket.number == number, "number %" PRIu64 ", and %" PRIu64 " before", ticket.number,
             number);
  if (number == 0 && ticket.number != 0) atomic_store(&growth->number[index], ticket.number);
  atomic_fetch_add_explicit(&growth->repeats, 1, memory_order_relaxed);
}

/* A page of the list, anywhere: whole, in order, and as everybody was told. */
static uint64_t check_page(struct growth *growth, uint64_t from) {
  struct coupon_ticket page[64];
  size_t count = 0;
  coupon_status status = coupon_tickets(growth->engine, CAMPAIGN, from, page, sizeof page[0], 64, &count);
  if (status == COUPON_E_CLOSED) return 0;
  RACE_CHECK(status == COUPON_OK, "%s", coupon_status_name(status));
  for (size_t i = 0; i < count; i++) {
    const uint64_t index = index_of(page[i].user);
    RACE_CHECK(page[i].number == from + i && index < growth->users * THREADS, "ticket %" PRIu64, from + i);
    const uint64_t time_ns = atomic_load(&growth->time_ns[index]), number = atomic_load(&growth->number[index]);
    RACE_CHECK(time_ns == 0 || page[i].time_ns == time_ns, "ticket %" PRIu64 " bears another time", from + i);
    RACE_CHECK(number == 0 || page[i].number == number, "ticket %" PRIu64 " was told of as %" PRIu64, from + i, number);
    RACE_CHECK(i == 0 || page[i].time_ns >= page[i - 1].time_ns, "times fall");
    RACE_CHECK(i == 0 || !growth->engine->has_log || page[i].lsn > page[i - 1].lsn, "places fall");
  }
  return count;
}

static void grow(void *context, uint32_t thread) {
  struct growth *growth = context;
  struct race_random random = race_stream(growth->stream + thread);
  const uint64_t first = thread * growth->users;
  uint64_t meetings = 0, listed = 0;
  race_meet(&growth->barrier, &meetings);
  for (uint64_t done = 0; done < growth->users && !atomic_load(&growth->closed);) {
    uint64_t count = 1;
    if (race_below(&random, 32) == 0) count = cpn_min_u64(1 + race_below(&random, BATCH), growth->users - done);
    if (count == 1)
      issue_one(growth, first + done);
    else
      issue_batch(growth, first + done, count);
    done += count;
    if (race_below(&random, 4) == 0)
      ask_again(growth, race_below(&random, THREADS) * growth->users + race_below(&random, done), done % 2 == 0);
    if (race_below(&random, 256) == 0) listed += check_page(growth, 1 + race_below(&random, done * THREADS));
  }
  atomic_fetch_add(&growth->listed, listed);
}

static void begin(struct growth *growth, uint64_t stock) {
  const size_t users = (size_t)(growth->users * THREADS);
  growth->time_ns = calloc(users, sizeof growth->time_ns[0]);
  growth->number = calloc(users, sizeof growth->number[0]);
  RACE_CHECK(growth->time_ns != NULL && growth->number != NULL, "not enough memory");
  race_campaign(growth->engine, CAMPAIGN, stock, 1, 0, 0);
  race_barrier_init(&growth->barrier, THREADS);
}

static void end(struct growth *growth) {
  RACE_CHECK(coupon_destroy(growth->engine) == COUPON_OK, "destroying");
  RACE_CHECK(atomic_load(&allocated) == 0, "%" PRIu64 " bytes were not given back", atomic_load(&allocated));
  free((void *)growth->time_ns);
  free((void *)growth->number);
}

static void check_all(struct growth *growth) {
  const uint64_t all = growth->users * THREADS;
  uint64_t number = 1, last_time = 0;
  for (uint64_t count; (count = check_page(growth, number)) > 0; number += count) {
  }
  RACE_CHECK(number == all + 1, "%" PRIu64 " tickets on the list", number - 1);
  for (uint64_t index = 0; index < all; index++) ask_again(growth, index, index % 2 == 0);
  /* By now everybody's number is known; so each stands once on the list, and times rise over all of it. */
  for (uint64_t n = 1; n <= all; n++) {
    struct coupon_ticket ticket;
    size_t count = 0;
    RACE_CHECK(coupon_tickets(growth->engine, CAMPAIGN, n, &ticket, sizeof ticket, 1, &count) == COUPON_OK &&
                   count == 1,
               "ticket %" PRIu64, n);
    RACE_CHECK(atomic_load(&growth->number[index_of(ticket.user)]) == n, "number %" PRIu64 " is another's", n);
    RACE_CHECK(ticket.time_ns >= last_time, "times fall at number %" PRIu64, n);
    last_time = ticket.time_ns;
  }
}

static void run(enum race_world world, uint64_t users) {
  char path[RACE_PATH_MAX] = "";
  struct growth growth = {.world = world, .users = users, .stream = world * THREADS};
  if (world == RACE_ON_DISK) race_directory_create(path);
  growth.engine = open_counted(world, path);
  begin(&growth, users * THREADS + 1000);
  race_run(THREADS, grow, &growth);
  race_settle(growth.engine);
  check_all(&growth);
  const struct coupon_campaign_info info = race_info_of(growth.engine, CAMPAIGN);
  RACE_CHECK(info.issued == users * THREADS, "%" PRIu64 " issued", info.issued);
  if (world == RACE_ON_DISK) { /* the same is read back, where packing goes along with reading */
    race_close(growth.engine);
    RACE_CHECK(atomic_load(&allocated) == 0, "%" PRIu64 " bytes were not given back", atomic_load(&allocated));
    growth.engine = open_counted(world, path);
    check_all(&growth);
  }
  end(&growth);
  if (world == RACE_ON_DISK) race_directory_remove(path);
  printf("%s: %" PRIu64 " tickets by %d threads in %" PRIu64 " bytes each, %" PRIu64 " asked again, %" PRIu64
         " listed meanwhile\n",
         race_world_name(world), info.issued, THREADS, info.ticket_bytes / info.issued, atomic_load(&growth.repeats),
         atomic_load(&growth.listed));
}

/* --- closing while it is busy -------------------------------------------------------------------- */

static void close_soon(void *context, uint32_t thread) {
  struct growth *growth = context;
  if (thread < THREADS) {
    grow(growth, thread);
    return;
  }
  struct race_random random = race_stream(growth->stream + thread);
  const uint64_t enough = race_below(&random, growth->users);
  uint32_t turns = 0;
  while (race_info_of(growth->engine, CAMPAIGN).issued < enough) race_turn(&turns);
  RACE_CHECK(coupon_close(growth->engine) == COUPON_OK, "closing");
}

static void close_busy(enum race_world world, uint64_t round, uint64_t users) {
  char path[RACE_PATH_MAX] = "";
  struct growth growth = {.world = world, .users = users, .stream = 1000 + round * 8};
  if (world == RACE_ON_DISK) race_directory_create(path);
  growth.engine = open_counted(world, path);
  begin(&growth, UINT64_C(1) << (13 + round % 12));
  race_run(THREADS + 1, close_soon, &growth);
  end(&growth);
  if (world == RACE_ON_DISK) race_directory_remove(path);
}

int main(int argc, char **argv) {
  race_begin("race_keeper", argc, argv);
  const uint64_t users = race_rounds(100000, 8000), rounds = race_rounds(60, 8);
  run(RACE_IN_MEMORY, users);
  run(RACE_ON_DISK, users);
  for (uint64_t i = 0; i < rounds; i++) close_busy(i % 4 == 3 ? RACE_ON_DISK : RACE_IN_MEMORY, i, 2700);
  printf("%" PRIu64 " engines closed while they grew, all memory given back\n", rounds);
  return 0;
}
