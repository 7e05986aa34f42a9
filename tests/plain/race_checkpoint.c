/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that checkpoints disturb nobody and are right whatever runs beside them: threads issue, alone and in batches,
 * look up and list, while others ask for one checkpoint after the other and a second engine opens the directory for
 * reading; afterwards the directory has what everybody was told. And that a campaign can be released and dropped under
 * the hands of those who read it: each answer is the right one, or says that the tickets are elsewhere.
 *
 * How: real engines with their threads on a real directory; memory from an allocator that spoils what it gets back.
 */
#include <stdlib.h>

#include "support/engine_help.h"
#include "support/race_help.h"

#define ISSUERS 2
#define BATCH 24

static struct help_clock wall = {.now_ns = 1000000000};

static void *take(void *context, size_t size, size_t alignment) {
  (void)context;
  void *pointer = aligned_alloc(alignment, cpn_round_up(size, alignment));
  for (size_t i = 0; pointer != NULL && i < size; i++) ((unsigned char *)pointer)[i] = 0;
  return pointer;
}

static void spoil(void *context, void *pointer, size_t size) {
  (void)context;
  for (size_t i = 0; i < size; i += 64)
    ((volatile unsigned char *)pointer)[i] = 0xdd; /* who still reads it sees that */
  free(pointer);
}

static struct coupon_options options_for(bool by_itself) {
  struct coupon_options options = help_options_with_clock(COUPON_WRITTEN, &wall);
  options.segment_size_bytes = 65536;
  options.checkpoint_log_bytes = by_itself ? 131072 : UINT64_MAX;
  options.allocator.alloc = take;
  options.allocator.free = spoil;
  return options;
}

/* --- issuing meanwhile --------------------------------------------------------------------------- */

struct sale {
  coupon_engine *engine;
  const char *path;
  uint64_t users; /* of each issuer */
  _Atomic uint32_t issuing;
  _Atomic uint64_t *number; /* of each user, once it is final */
};

static void note(struct sale *sale, const struct coupon_ticket *ticket) {
  if ((ticket->flags & COUPON_TICKET_FINAL) != 0) atomic_store(&sale->number[ticket->user], ticket->number);
}

static void issue_some(struct sale *sale, uint64_t first, uint64_t count) {
  struct coupon_request requests[BATCH] = {{0}};
  struct coupon_ticket tickets[BATCH];
  for (uint64_t i = 0; i < count; i++)
    requests[i] = (struct coupon_request){.campaign = 1 + (first + i) % 2, .user = first + i};
  RACE_CHECK(coupon_try_issue_batch(sale->engine, requests, count, tickets, sizeof tickets[0]) == COUPON_OK, "batch");
  for (uint64_t i = 0; i < count; i++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status status = coupon_issue(sale->engine, requests[i].campaign, requests[i].user, COUPON_FOREVER, &ticket);
    RACE_CHECK(status == COUPON_ALREADY_ISSUED || status == COUPON_ISSUED, "%s", coupon_status_name(status));
    note(sale, &ticket);
  }
}

static void ask_for_checkpoints(struct sale *sale) {
  for (uint64_t count = 0; atomic_load(&sale->issuing) != 0 || count < 2; count++) {
    struct coupon_stats before = help_stats(sale->engine);
    RACE_CHECK(coupon_checkpoint(sale->engine, COUPON_FOREVER) == COUPON_OK, "a checkpoint");
    RACE_CHECK(help_stats(sale->engine).checkpoint_lsn >= before.durable_lsn, "it began before it was asked for");
  }
}

static void read_beside(struct sale *sale) {
  while (atomic_load(&sale->issuing) != 0) {
    struct coupon_options options = help_options(COUPON_SYNC);
    struct coupon_report report = COUPON_REPORT_INIT;
    coupon_engine *reader = NULL;
    options.read_only = 1;
    coupon_status status = coupon_open(sale->path, &options, &reader, &report);
    RACE_CHECK(status == COUPON_OK || status == COUPON_E_LOCKED, "%s: %s %s", coupon_status_name(status), report.file,
               report.message);
    if (status != COUPON_OK) continue;
    RACE_CHECK(report.checkpoint_status == COUPON_OK, "%s was passed over", report.checkpoint_file);
    for (uint64_t campaign = 1; campaign <= 2; campaign++) {
      uint64_t count = 0;
      const char *wrong = help_info(reader, campaign).issued < 2000 ? help_audit(reader, campaign, &count) : NULL;
      RACE_CHECK(wrong == NULL, "%s", wrong);
    }
    help_close(reader);
  }
}

static void run_sale_thread(void *context, uint32_t index) {
  struct sale *sale = context;
  if (index == ISSUERS) {
    ask_for_checkpoints(sale);
  } else if (index == ISSUERS + 1) {
    read_beside(sale);
  } else {
    for (uint64_t i = 0; i < sale->users; i += BATCH) {
      issue_some(sale, index * sale->users + i, cpn_min_u64(BATCH, sale->users - i));
      atomic_fetch_add(&wall.now_ns, 1000);
    }
    atomic_fetch_sub(&sale->issuing, 1);
  }
}

static void check_told(struct sale *sale, coupon_engine *engine) {
  for (uint64_t user = 0; user < ISSUERS * sale->users; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status status = coupon_lookup(engine, 1 + user % 2, user, &ticket, NULL);
    RACE_CHECK(status == COUPON_OK, "user %" PRIu64 ": %s", user, coupon_status_name(status));
    uint64_t told = atomic_load(&sale->number[user]);
    RACE_CHECK(told == ticket.number, "user %" PRIu64 " was told %" PRIu64 " and has %" PRIu64, user, told,
               ticket.number);
  }
}

static void sell_beside_checkpoints(bool by_itself) {
  char temp[HELP_PATH_MAX], path[HELP_PATH_MAX];
  help_temp_make(temp);
  struct coupon_options options = options_for(by_itself);
  struct sale sale = {.path = help_join(path, temp, "data"), .users = race_rounds(12000, 600)};
  sale.engine = help_open(path, &options);
  sale.number = calloc(ISSUERS * sale.users, sizeof sale.number[0]);
  RACE_CHECK(sale.number != NULL, "memory");
  atomic_init(&sale.issuing, ISSUERS);
  help_create(sale.engine, 1, ISSUERS * sale.users);
  help_create(sale.engine, 2, ISSUERS * sale.users);
  race_run(ISSUERS + 2, run_sale_thread, &sale);
  check_told(&sale, sale.engine);
  struct coupon_stats stats = help_stats(sale.engine);
  printf("%" PRIu64 " tickets, %" PRIu64 " checkpoints, %" PRIu64 " segments\n", stats.tickets, stats.checkpoints,
         stats.segments);
  help_close(sale.engine);
  sale.engine = help_open(path, &options);
  check_told(&sale, sale.engine);
  help_close(sale.engine);
  free(sale.number);
  help_temp_remove(temp);
}

/* --- releasing under the hands of readers -------------------------------------------------------- */

#define TICKETS UINT64_C(3000)

struct ending {
  coupon_engine *engine;
  uint64_t campaign;
  _Atomic uint32_t over;
  _Atomic uint64_t looked, elsewhere;
};

static bool is_elsewhere(struct ending *ending, coupon_status status) {
  if (status != COUPON_E_RELEASED) return false;
  atomic_fetch_add_explicit(&ending->elsewhere, 1, memory_order_relaxed);
  return true;
}

static void look_once(struct ending *ending, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT, tickets[16];
  const struct coupon_request request = {.campaign = ending->campaign, .user = user};
  size_t count;
  atomic_fetch_add_explicit(&ending->looked, 1, memory_order_relaxed);
  coupon_status status = coupon_lookup(ending->engine, ending->campaign, user, &ticket, NULL);
  RACE_CHECK(is_elsewhere(ending, status) || (status == COUPON_OK && ticket.number == user + 1), "lookup");
  status = coupon_try_issue(ending->engine, ending->campaign, user, &ticket);
  RACE_CHECK(is_elsewhere(ending, status) || (status == COUPON_ALREADY_ISSUED && ticket.number == user + 1), "issue");
  status = coupon_try_issue(ending->engine, ending->campaign, user + TICKETS, &ticket);
  RACE_CHECK(is_elsewhere(ending, status) || status == COUPON_ENDED, "a stranger");
  status = coupon_try_issue_batch(ending->engine, &request, 1, tickets, sizeof tickets[0]);
  RACE_CHECK(status == COUPON_OK, "batch");
  RACE_CHECK(is_elsewhere(ending, tickets[0].answer) || tickets[0].number == user + 1, "in a batch");
  status = coupon_tickets(ending->engine, ending->campaign, user + 1, tickets, sizeof tickets[0], 16, &count);
  RACE_CHECK(is_elsewhere(ending, status) || (status == COUPON_OK && tickets[0].user == user), "list");
  RACE_CHECK(help_info(ending->engine, ending->campaign).issued == TICKETS, "info");
}

static void read_once(struct ending *ending, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = coupon_read_lookup(ending->engine, ending->campaign, user, &ticket, NULL);
  RACE_CHECK((status == COUPON_OK && ticket.number == user + 1) || status == COUPON_E_RELEASED, "%s",
             coupon_status_name(status));
}

static void end_it(struct ending *ending) {
  RACE_CHECK(coupon_release(ending->engine, ending->campaign, COUPON_FOREVER) == COUPON_OK, "release");
  RACE_CHECK(help_info(ending->engine, ending->campaign).place == COUPON_PLACE_RELEASED, "released");
  for (uint64_t user = 0; user < TICKETS; user += TICKETS / 10) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status status = coupon_read_lookup(ending->engine, ending->campaign, user, &ticket, NULL);
    RACE_CHECK(status == COUPON_OK && ticket.number == user + 1, "from the file");
  }
  RACE_CHECK(coupon_drop(ending->engine, ending->campaign, COUPON_FOREVER) == COUPON_OK, "drop");
  RACE_CHECK(coupon_checkpoint(ending->engine, COUPON_FOREVER) == COUPON_OK, "the file goes");
  atomic_store(&ending->over, 1);
}

static void run_ending_thread(void *context, uint32_t index) {
  struct ending *ending = context;
  struct race_random random = race_stream(ending->campaign * 8 + index);
  if (index == 0) {
    end_it(ending);
    return;
  }
  while (atomic_load(&ending->over) == 0) {
    uint64_t user = race_below(&random, TICKETS);
    if (index == 1)
      read_once(ending, user);
    else
      look_once(ending, user);
  }
}

static void end_campaign(coupon_engine *engine, uint64_t id, uint64_t *looked) {
  struct coupon_campaign_spec spec = help_spec(id, TICKETS + 10);
  spec.closes_at_ns = atomic_load(&wall.now_ns) + 1000000;
  RACE_CHECK(coupon_create(engine, &spec, COUPON_FOREVER) == COUPON_OK, "create");
  for (uint64_t user = 0; user < TICKETS; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status status;
    while ((status = coupon_try_issue(engine, id, user, &ticket)) == COUPON_E_BUSY) {
    }
    RACE_CHECK(status == COUPON_ISSUED, "%s", coupon_status_name(status));
    /* From here on each has its number. */
    if (user == TICKETS - 1) RACE_CHECK(coupon_wait(engine, &ticket, COUPON_FOREVER) == COUPON_OK, "final");
  }
  atomic_fetch_add(&wall.now_ns, 2000000);
  struct ending ending = {.engine = engine, .campaign = id};
  race_run(4, run_ending_thread, &ending);
  *looked += atomic_load(&ending.looked);
}

static void release_under_readers(void) {
  char temp[HELP_PATH_MAX], path[HELP_PATH_MAX];
  help_temp_make(temp);
  struct coupon_options options = options_for(true);
  coupon_engine *engine = help_open(help_join(path, temp, "data"), &options);
  const uint64_t rounds = race_rounds(30, 3);
  uint64_t looked = 0;
  for (uint64_t id = 1; id <= rounds; id++) {
    end_campaign(engine, id, &looked);
    uint64_t memory = help_stats(engine).memory_bytes;
    /* What a campaign keeps is small against what its tickets took. */
    RACE_CHECK(memory < 8192 + id * 4096, "%" PRIu64 " bytes after %" PRIu64, memory, id);
  }
  printf("%" PRIu64 " campaigns ended, %" PRIu64 " looks meanwhile\n", rounds, looked);
  help_close(engine);
  engine = help_open(path, &options);
  RACE_CHECK(help_info(engine, rounds).place == COUPON_PLACE_DROPPED, "dropped");
  help_close(engine);
  help_temp_remove(temp);
}

/* --- closing meanwhile --------------------------------------------------------------------------- */

static void ask_until_closed(void *context, uint32_t index) {
  coupon_engine *engine = context;
  coupon_status status = COUPON_OK;
  if (index == 0) {
    race_dally(20000);
    RACE_CHECK(coupon_close(engine) == COUPON_OK, "close");
    return;
  }
  while (status != COUPON_E_CLOSED) {
    status = coupon_checkpoint(engine, COUPON_FOREVER);
    RACE_CHECK(status == COUPON_OK || status == COUPON_E_CLOSED, "%s", coupon_status_name(status));
  }
}

static void close_under_a_checkpoint(void) {
  char temp[HELP_PATH_MAX], path[HELP_PATH_MAX];
  help_temp_make(temp);
  (void)help_join(path, temp, "data");
  struct coupon_options options = options_for(false);
  for (uint64_t round = race_rounds(40, 5); round > 0; round--) {
    coupon_engine *engine = help_open(path, &options);
    help_create(engine, 1, 100000);
    for (uint64_t user = 0; user < 200; user++) (void)help_try(engine, 1, round * 1000 + user);
    race_run(3, ask_until_closed, engine);
    RACE_CHECK(coupon_destroy(engine) == COUPON_OK, "destroy");
  }
  help_temp_remove(temp);
}

/* --- closing while it rests ---------------------------------------------------------------------- */

#define LONG_TICKETS UINT64_C(150000) /* some milliseconds of work, so that it rests while others issue */

static void issue_batches(coupon_engine *engine, uint64_t first, uint64_t end) {
  struct coupon_request requests[BATCH] = {{0}};
  struct coupon_ticket tickets[BATCH];
  for (uint64_t user = first; user < end; user += BATCH) {
    for (uint64_t i = 0; i < BATCH; i++) requests[i] = (struct coupon_request){.campaign = 1, .user = user + i};
    for (bool busy = true; busy;) { /* Retry: the log buffer was full. */
      RACE_CHECK(coupon_try_issue_batch(engine, requests, BATCH, tickets, sizeof tickets[0]) == COUPON_OK, "batch");
      busy = false;
      for (uint64_t i = 0; i < BATCH; i++) busy = busy || tickets[i].answer == COUPON_E_BUSY;
    }
  }
}

/* The first closes, the second issues, the third wants checkpoints. */
static void close_issue_or_ask(void *context, uint32_t index) {
  coupon_engine *engine = context;
  if (index == 0) { /* when the checkpoint has been at it for a while */
    const uint64_t before = help_info(engine, 1).issued;
    while (help_info(engine, 1).issued < before + LONG_TICKETS / 8) race_dally(1000);
  }
  if (index != 1) {
    ask_until_closed(engine, index);
    return;
  }
  uint64_t user = UINT64_C(1) << 40;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  coupon_status status = COUPON_OK;
  while (status != COUPON_E_CLOSED) {
    status = coupon_try_issue(engine, 1, user++, &ticket);
    bool expected = status == COUPON_ISSUED || status == COUPON_ALREADY_ISSUED || status == COUPON_E_BUSY;
    RACE_CHECK(expected || status == COUPON_E_CLOSED, "%s", coupon_status_name(status));
  }
}

static void close_under_a_rest(void) {
  char temp[HELP_PATH_MAX], path[HELP_PATH_MAX];
  help_temp_make(temp);
  (void)help_join(path, temp, "data");
  struct coupon_options options = options_for(false);
  options.segment_size_bytes = UINT64_C(4) << 20;
  coupon_engine *engine = help_open(path, &options);
  help_create(engine, 1, COUPON_STOCK_MAX);
  issue_batches(engine, 0, LONG_TICKETS);
  uint64_t issued = help_info(engine, 1).issued;
  RACE_CHECK(issued >= LONG_TICKETS, "issued");
  help_close(engine);
  for (uint64_t round = race_rounds(4, 2); round > 0; round--) {
    engine = help_open(path, &options);
    RACE_CHECK(help_info(engine, 1).issued >= issued, "what was issued is there");
    issued = help_info(engine, 1).issued;
    race_run(3, close_issue_or_ask, engine);
    RACE_CHECK(coupon_destroy(engine) == COUPON_OK, "destroy");
  }
  help_temp_remove(temp);
}

int main(int argc, char **argv) {
  race_begin("race_checkpoint", argc, argv);
  sell_beside_checkpoints(false);
  sell_beside_checkpoints(true);
  release_under_readers();
  close_under_a_checkpoint();
  close_under_a_rest();
  return 0;
}
