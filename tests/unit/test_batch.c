/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a batch decides as its requests would one by one: every kind of answer, in any mixture of campaigns and of
 * both kinds of users, across its groups of 32, with faults of single requests, in memory and with a log, and after
 * recovery. And that what others do between two steps of a batch neither oversells nor turns a user's requests round.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/points.h"
#include "engine/engine.h"
#include "support/engine_help.h"
#include "support/failing.h"

static char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
static struct help_clock clock_of_test;

static void begin(void) {
  help_temp_make(temp);
  (void)help_join(data, temp, "data");
  clock_of_test.now_ns = 1000;
}

static void end(void) {
  help_temp_remove(temp);
  cr_assert_not(help_leaks());
}

/* So that a test that hangs is named; none takes a tenth of it. */
#define HANGS_AFTER_S 60

TestSuite(batch, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(batch_faults, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);
TestSuite(batch_races, .init = begin, .fini = end, .timeout = HANGS_AFTER_S);

static coupon_engine *open_with(int32_t durability) {
  struct coupon_options options = help_options_with_clock(durability, &clock_of_test);
  options.log_buffer_bytes = UINT64_C(1) << 20;
  return help_open(durability == COUPON_NONE ? NULL : data, &options);
}

#define MOST 2000
static struct coupon_request requests[MOST];
static struct coupon_ticket tickets[MOST];

static struct coupon_request request_of(uint64_t campaign, uint64_t user) {
  struct coupon_request request = {.campaign = campaign, .user = user};
  memcpy(request.uuid, help_uuid(user).bytes, COUPON_UUID_SIZE); /* the campaign says which of them counts */
  return request;
}

/* Asks, and expects that no answer is missing. */
static void ask(coupon_engine *engine, size_t count) {
  memset(tickets, 0xa5, sizeof tickets);
  cr_assert_eq(coupon_try_issue_batch(engine, requests, count, tickets, sizeof tickets[0]), COUPON_OK);
  for (size_t i = 0; i < count; i++) {
    cr_assert_eq(tickets[i].size, sizeof tickets[0]);
    cr_assert_eq(tickets[i].campaign, requests[i].campaign);
    cr_assert_str_neq(coupon_status_name(tickets[i].answer), "COUPON_?");
  }
  if (count < MOST) cr_assert_eq(*(unsigned char *)&tickets[count], 0xa5, "behind the array nothing is touched");
}

static void create(coupon_engine *engine, uint64_t id, uint64_t stock, int32_t kind, uint64_t limit) {
  struct coupon_campaign_spec spec = help_spec(id, stock);
  spec.user_kind = kind;
  spec.user_limit = limit;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
}

static void settle(coupon_engine *engine) {
  struct coupon_ticket everything = COUPON_TICKET_INIT;
  everything.answer = COUPON_SOLD_OUT; /* a refusal that rests on everything */
  everything.lsn = help_stats(engine).reserved_lsn;
  cr_assert_eq(coupon_wait(engine, &everything, COUPON_FOREVER), COUPON_OK);
}

static void expect_sound(coupon_engine *engine, uint64_t campaign, uint64_t issued) {
  uint64_t count;
  settle(engine);
  const char *wrong = help_audit(engine, campaign, &count);
  cr_expect_null(wrong, "%s", wrong);
  cr_expect_eq(count, issued, "%llu tickets, %llu were issued", (unsigned long long)count, (unsigned long long)issued);
  cr_expect_eq(help_info(engine, campaign).issued, issued);
}

/* --- answers ------------------------------------------------------------------------------------- */

enum { OPEN = 1, SOLD_OUT, SCHEDULED, ENDED, OF_UUIDS, UNLIMITED, NONE_SUCH };

static void create_all_kinds(coupon_engine *engine) {
  struct coupon_campaign_spec spec = help_spec(SCHEDULED, 10);
  create(engine, OPEN, 1000, COUPON_USER_U64, 1);
  create(engine, SOLD_OUT, 1, COUPON_USER_U64, 1);
  spec.opens_at_ns = 5000;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
  spec = help_spec(ENDED, 10);
  spec.closes_at_ns = 500;
  cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
  create(engine, OF_UUIDS, 1000, COUPON_USER_UUID, 1);
  create(engine, UNLIMITED, 1000, COUPON_USER_U64, 0);
  cr_assert_eq(help_try(engine, SOLD_OUT, 7), COUPON_ISSUED);
}

static void expect_every_answer(int32_t durability) {
  static const struct {
    uint64_t campaign, user;
    coupon_status answer;
    uint64_t number;
  } expected[] = {{OPEN, 1, COUPON_ISSUED, 1},         {NONE_SUCH, 1, COUPON_NO_CAMPAIGN, 0},
                  {SOLD_OUT, 1, COUPON_SOLD_OUT, 0},   {OF_UUIDS, 1, COUPON_ISSUED, 1},
                  {SCHEDULED, 1, COUPON_NOT_OPEN, 0},  {UNLIMITED, 1, COUPON_ISSUED, 1},
                  {ENDED, 1, COUPON_ENDED, 0},         {OPEN, 1, COUPON_ALREADY_ISSUED, 1},
                  {OPEN, 2, COUPON_ISSUED, 2},         {SOLD_OUT, 7, COUPON_ALREADY_ISSUED, 1},
                  {OF_UUIDS, 2, COUPON_ISSUED, 2},     {OF_UUIDS, 1, COUPON_ALREADY_ISSUED, 1},
                  {UNLIMITED, 1, COUPON_ISSUED, 2},    {UNLIMITED, 2, COUPON_ISSUED, 3},
                  {OPEN, 0, COUPON_ISSUED, 3},         {NONE_SUCH, 0, COUPON_NO_CAMPAIGN, 0},
                  {OPEN, UINT64_MAX, COUPON_ISSUED, 4}};
  enum { COUNT = sizeof expected / sizeof expected[0] };
  coupon_engine *engine = open_with(durability);
  create_all_kinds(engine);
  for (int i = 0; i < COUNT; i++) requests[i] = request_of(expected[i].campaign, expected[i].user);
  ask(engine, COUNT);
  for (int i = 0; i < COUNT; i++) {
    struct coupon_ticket *ticket = &tickets[i];
    cr_expect_eq(ticket->answer, expected[i].answer, "%d: %s", i, coupon_status_name(ticket->answer));
    cr_expect_eq(ticket->time_ns, 1000);
    cr_expect_eq(ticket->user, ticket->campaign == OF_UUIDS ? 0 : expected[i].user);
    if (ticket->campaign == OF_UUIDS)
      cr_expect_eq(memcmp(ticket->uuid, help_uuid(expected[i].user).bytes, COUPON_UUID_SIZE), 0);
    cr_expect_eq(coupon_wait(engine, ticket, COUPON_FOREVER), COUPON_OK);
    cr_expect_eq(ticket->flags, COUPON_TICKET_FINAL);
    cr_expect_eq(ticket->number, expected[i].number, "%d: %llu", i, (unsigned long long)ticket->number);
  }
  help_close(engine);
}

Test(batch, has_every_kind_of_answer_beside_the_others_in_memory) { expect_every_answer(COUPON_NONE); }

Test(batch, has_every_kind_of_answer_beside_the_others_with_a_log) { expect_every_answer(COUPON_SYNC); }

static void expect_original_tickets(int32_t durability) {
  coupon_engine *engine = open_with(durability);
  create(engine, 1, 1000, COUPON_USER_U64, 1);
  create(engine, 2, 1000, COUPON_USER_UUID, 1);
  /* Each user asks again at once, in the same group, and in later ones. */
  for (size_t i = 0; i < 400; i++) requests[i] = request_of(1 + i / 2 % 2, i % 100 / 4);
  ask(engine, 400);
  for (size_t i = 0; i < 400; i++) {
    size_t first = 0;
    while (requests[first].campaign != requests[i].campaign || requests[first].user != requests[i].user) first++;
    cr_expect_eq(tickets[i].answer, first == i ? COUPON_ISSUED : COUPON_ALREADY_ISSUED);
    cr_expect_eq(tickets[i].lsn, tickets[first].lsn);
    cr_expect_eq(tickets[i].time_ns, tickets[first].time_ns);
    cr_expect_eq(coupon_wait(engine, &tickets[i], COUPON_FOREVER), COUPON_OK);
    cr_expect_eq(tickets[i].number, tickets[first].number);
  }
  expect_sound(engine, 1, 25);
  expect_sound(engine, 2, 25);
  help_close(engine);
}

Test(batch, users_who_ask_again_in_it_get_their_original_tickets_in_memory) { expect_original_tickets(COUPON_NONE); }

Test(batch, users_who_ask_again_in_it_get_their_original_tickets_with_a_log) { expect_original_tickets(COUPON_SYNC); }

/* The requests count as concurrent: whoever finds no place for a claim at once goes behind those of the same group of
 * 32. But no group comes before another, and hardly anybody has to go behind. */
static void sell_out_in_the_middle(int32_t durability) {
  coupon_engine *engine = open_with(durability);
  for (uint64_t stock = 0; stock <= 100; stock += 10) {
    create(engine, stock, stock, COUPON_USER_U64, 1);
    for (size_t i = 0; i < 100; i++) requests[i] = request_of(stock, i);
    ask(engine, 100);
    uint64_t issued = 0, late = 0;
    for (size_t i = 0; i < 100; i++) {
      const size_t group = i / 32 * 32, next = group + 32;
      cr_expect(tickets[i].answer == COUPON_ISSUED || tickets[i].answer == COUPON_SOLD_OUT);
      if (next <= stock) cr_expect_eq(tickets[i].answer, COUPON_ISSUED);
      if (group >= stock) cr_expect_eq(tickets[i].answer, COUPON_SOLD_OUT);
      cr_expect_eq(coupon_wait(engine, &tickets[i], COUPON_FOREVER), COUPON_OK);
      if (tickets[i].answer != COUPON_ISSUED) continue;
      issued++;
      late += i >= stock;
      cr_expect(tickets[i].number > group && tickets[i].number <= next, "request %zu has number %d", i,
                (int)tickets[i].number);
    }
    cr_expect_eq(issued, stock);
    cr_expect_leq(late, 8);
    expect_sound(engine, stock, stock);
  }
  help_close(engine);
}

Test(batch, that_meets_the_last_unit_serves_just_so_many_of_its_requests_in_memory) {
  sell_out_in_the_middle(COUPON_NONE);
}

Test(batch, that_meets_the_last_unit_serves_just_so_many_of_its_requests_with_a_log) {
  sell_out_in_the_middle(COUPON_SYNC);
}

Test(batch, of_nothing_is_allowed_and_of_one_is_like_a_call) {
  coupon_engine *engine = open_with(COUPON_NONE);
  create(engine, 1, 10, COUPON_USER_U64, 1);
  cr_expect_eq(coupon_try_issue_batch(engine, NULL, 0, NULL, sizeof tickets[0]), COUPON_OK);
  ask(engine, 0);
  requests[0] = request_of(1, 5);
  ask(engine, 1);
  cr_expect_eq(tickets[0].answer, COUPON_ISSUED);
  cr_expect_eq(tickets[0].number, 1);
  help_close(engine);
}

Test(batch, elements_lie_as_far_apart_as_the_caller_says) {
  enum { COUNT = 70, LATER = 24, MARK = 0xa5 };
  static struct {
    struct coupon_ticket known;
    unsigned char later[LATER];
  } later[COUNT];
  coupon_engine *engine = open_with(COUPON_NONE);
  create(engine, 1, 1000, COUPON_USER_U64, 1);
  create(engine, 2, 0, COUPON_USER_U64, 1);
  memset(later, MARK, sizeof later);
  for (size_t i = 0; i < COUNT; i++) requests[i] = request_of(i < 60 ? 1 : 2, i);
  cr_assert_eq(coupon_try_issue_batch(engine, requests, COUNT, &later[0].known, sizeof later[0]), COUPON_OK);
  for (size_t i = 0; i < COUNT; i++) {
    cr_expect_eq(later[i].known.size, sizeof later[0]);
    cr_expect_eq(later[i].known.user, i);
    cr_expect_eq(later[i].known.answer, i < 60 ? COUPON_ISSUED : COUPON_SOLD_OUT);
    for (size_t j = 0; j < LATER; j++) cr_expect_eq(later[i].later[j], MARK);
  }
  const size_t impossible[] = {0, 1, sizeof tickets[0] - 8, sizeof tickets[0] + 1, SIZE_MAX, (size_t)1 << 40};
  for (size_t i = 0; i < sizeof impossible / sizeof impossible[0]; i++)
    cr_expect_eq(coupon_try_issue_batch(engine, requests, 1, tickets, impossible[i]), COUPON_E_INVAL);
  help_close(engine);
}

/* So many users that many of the last ones find their first line full of others, and come behind the rest of their
 * group. `together`: that many of them, each twice, are a group. */
static void expect_first_requests_first(int32_t durability, int32_t kind, uint64_t together) {
  enum { USERS = 400, CAMPAIGNS = 4 };
  coupon_engine *engine = open_with(durability);
  for (uint64_t id = 1; id <= CAMPAIGNS; id++) {
    create(engine, id, USERS, kind, 1);
    for (uint64_t user = 0; user < USERS; user += together) {
      for (uint64_t i = 0; i < together; i++) requests[i] = requests[together + i] = request_of(id, user + i);
      ask(engine, 2 * together);
      for (uint64_t i = 0; i < 2 * together; i++) {
        cr_assert_eq(tickets[i].answer, i < together ? COUPON_ISSUED : COUPON_ALREADY_ISSUED, "%s",
                     coupon_status_name(tickets[i].answer));
        cr_assert_eq(coupon_wait(engine, &tickets[i], COUPON_FOREVER), COUPON_OK);
        cr_assert_eq(tickets[i].number, user + i % together + 1, "numbers rise along the array");
      }
    }
    expect_sound(engine, id, USERS);
  }
  help_close(engine);
}

Test(batch, whose_first_line_is_full_overtakes_nobody_and_is_not_overtaken_in_memory) {
  expect_first_requests_first(COUPON_NONE, COUPON_USER_U64, 1);
  expect_first_requests_first(COUPON_NONE, COUPON_USER_U64, 10);
}

Test(batch, whose_first_line_is_full_overtakes_nobody_and_is_not_overtaken_with_a_log) {
  expect_first_requests_first(COUPON_WRITTEN, COUPON_USER_UUID, 10);
}

/* --- like single calls --------------------------------------------------------------------------- */

#define SCRIPT_CAMPAIGNS 8

static void create_script(coupon_engine *engine) {
  const uint64_t stocks[SCRIPT_CAMPAIGNS] = {3000, 3, 0, 2500, 40, 1000, 3000, 2};
  for (uint64_t id = 0; id < SCRIPT_CAMPAIGNS; id++) {
    struct coupon_campaign_spec spec = help_spec(id, stocks[id]);
    spec.user_kind = id % 2 == 0 ? COUPON_USER_U64 : COUPON_USER_UUID;
    spec.user_limit = id != 5 && id != 4;
    if (id == 3) spec.opens_at_ns = 3000;
    if (id == 6) spec.closes_at_ns = 4000;
    cr_assert_eq(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK);
  }
}

static coupon_status ask_alone(coupon_engine *engine, const struct coupon_request *request,
                               struct coupon_ticket *ticket) {
  *ticket = (struct coupon_ticket)COUPON_TICKET_INIT;
  return request->campaign % 2 == 0 ? coupon_try_issue(engine, request->campaign, request->user, ticket)
                                    : coupon_try_issue_uuid(engine, request->campaign, request->uuid, ticket);
}

static void compare_with_single_calls(int32_t durability) {
  uint64_t state = help_seed();
  char other_data[HELP_PATH_MAX];
  coupon_engine *together = open_with(durability), *alone;
  struct coupon_options options = help_options_with_clock(durability, &clock_of_test);
  alone = help_open(durability == COUPON_NONE ? NULL : help_join(other_data, temp, "other"), &options);
  create_script(together);
  create_script(alone);
  for (int turn = 0; turn < 60; turn++) {
    size_t count = help_random(&state) % 100;
    clock_of_test.now_ns += help_random(&state) % 200;
    for (size_t i = 0; i < count; i++)
      requests[i] = request_of(help_random(&state) % (SCRIPT_CAMPAIGNS + 1) / (turn % 2 == 0 ? 1U : 2U),
                               help_random(&state) % 400);
    ask(together, count);
    for (size_t i = 0; i < count; i++) {
      struct coupon_ticket single;
      coupon_status status =
          requests[i].campaign == SCRIPT_CAMPAIGNS ? COUPON_NO_CAMPAIGN : ask_alone(alone, &requests[i], &single);
      cr_assert_eq(tickets[i].answer, status, "turn %d, request %zu: %s, alone %s", turn, i,
                   coupon_status_name(tickets[i].answer), coupon_status_name(status));
      if (status == COUPON_NO_CAMPAIGN) continue;
      cr_assert_eq(single.time_ns, tickets[i].time_ns);
      cr_assert_eq(coupon_wait(alone, &single, COUPON_FOREVER), COUPON_OK);
      cr_assert_eq(coupon_wait(together, &tickets[i], COUPON_FOREVER), COUPON_OK);
      cr_assert_eq(single.number, tickets[i].number);
    }
  }
  for (uint64_t id = 0; id < SCRIPT_CAMPAIGNS; id++) expect_sound(together, id, help_info(alone, id).issued);
  help_close(together);
  help_close(alone);
}

Test(batch, of_any_requests_answers_as_single_calls_do_in_memory) { compare_with_single_calls(COUPON_NONE); }

Test(batch, of_any_requests_answers_as_single_calls_do_with_a_log) { compare_with_single_calls(COUPON_WRITTEN); }

/* --- recovery ------------------------------------------------------------------------------------ */

Test(batch, what_it_issued_is_there_after_recovery_with_the_same_numbers) {
  coupon_engine *engine = open_with(COUPON_SYNC);
  create_script(engine);
  uint64_t state = help_seed();
  clock_of_test.now_ns = 3500; /* all are open */
  for (size_t i = 0; i < MOST; i++)
    requests[i] = request_of(help_random(&state) % SCRIPT_CAMPAIGNS, help_random(&state) % 500);
  ask(engine, MOST);
  for (size_t i = 0; i < MOST; i++) cr_assert_eq(coupon_wait(engine, &tickets[i], COUPON_FOREVER), COUPON_OK);
  help_close(engine);
  for (int read_only = 1; read_only >= 0; read_only--) {
    struct coupon_options options = help_options_with_clock(COUPON_SYNC, &clock_of_test);
    options.read_only = read_only;
    engine = help_open(data, &options);
    for (size_t i = 0; i < MOST; i++) {
      struct coupon_ticket *ticket = &tickets[i], found = COUPON_TICKET_INIT;
      coupon_status status = ticket->campaign % 2 == 0
                                 ? coupon_lookup(engine, ticket->campaign, ticket->user, &found, NULL)
                                 : coupon_lookup_uuid(engine, ticket->campaign, ticket->uuid, &found, NULL);
      if (ticket->answer != COUPON_ISSUED && ticket->answer != COUPON_ALREADY_ISSUED) continue;
      cr_assert_eq(status, COUPON_OK);
      if (help_info(engine, ticket->campaign).user_limit == 0) {
        cr_assert_leq(found.number, ticket->number, "the first of the user's");
        cr_assert_eq(coupon_tickets(engine, ticket->campaign, ticket->number, &found, sizeof found, 1, &(size_t){0}),
                     COUPON_OK);
      }
      cr_assert(help_same_ticket(&found, ticket), "request %zu", i);
    }
    help_close(engine);
  }
}

/* --- faults of single requests ------------------------------------------------------------------- */

Test(batch_faults, without_room_in_the_log_a_request_is_told_so_and_the_others_are_answered) {
  struct help_disk disk;
  help_disk_init(&disk);
  struct cpn_env env = help_disk_env(&disk, false);
  struct coupon_options options = help_options_with_clock(COUPON_SYNC, &clock_of_test);
  options.log_buffer_bytes = 4096;
  coupon_engine *engine = help_open_env(&env, data, &options);
  struct coupon_campaign_spec spec = help_spec(1, 1000), none = help_spec(2, 0);
  cr_assert_eq(coupon_create(engine, &spec, COUPON_POLL), COUPON_NOT_FINAL);
  cr_assert_eq(coupon_create(engine, &none, COUPON_POLL), COUPON_NOT_FINAL);
  while (cpn_wait_step(engine) > 0) {
  }
  for (size_t i = 0; i < 300; i++) requests[i] = request_of(1, i);
  for (size_t i = 300; i < 310; i++) requests[i] = request_of(1, i - 300);
  requests[310] = request_of(2, 5);
  requests[311] = request_of(404, 5);
  ask(engine, 312);
  const size_t issued = (size_t)help_info(engine, 1).issued;
  cr_expect_gt(issued, 4096 / 24 - 32, "%zu", issued);
  cr_expect_leq(issued, 4096 / 24);
  for (size_t i = 0; i < 300; i++) {
    struct coupon_ticket found = COUPON_TICKET_INIT;
    cr_expect_eq(tickets[i].answer, i < issued ? COUPON_ISSUED : COUPON_E_BUSY);
    cr_expect_eq(coupon_lookup(engine, 1, i, &found, NULL), i < issued ? COUPON_OK : COUPON_NOT_FOUND);
  }
  for (size_t i = 300; i < 310; i++) cr_expect_eq(tickets[i].answer, COUPON_ALREADY_ISSUED);
  cr_expect_eq(tickets[310].answer, COUPON_SOLD_OUT);
  cr_expect_eq(tickets[311].answer, COUPON_NO_CAMPAIGN);
  for (int turn = 0; turn < 3; turn++) { /* asking again, with room again */
    while (cpn_wait_step(engine) > 0) {
    }
    ask(engine, 300);
  }
  for (size_t i = 0; i < 300; i++) cr_expect_eq(tickets[i].answer, COUPON_ALREADY_ISSUED);
  while (cpn_wait_step(engine) > 0) {
  }
  expect_sound(engine, 1, 300);
  help_close(engine);
}

Test(batch_faults, without_memory_a_request_is_told_so_and_nothing_has_changed) {
  struct coupon_options options = help_options_with_clock(COUPON_NONE, &clock_of_test);
  options.max_memory_bytes = 60000;
  coupon_engine *engine = help_open(NULL, &options);
  create(engine, 1, 5000, COUPON_USER_U64, 1); /* so few that no keeper makes room in between */
  create(engine, 2, 0, COUPON_USER_U64, 1);
  uint64_t user = 0, issued = 0, refused = 0;
  while (refused == 0) {
    for (size_t i = 0; i < 100; i++) requests[i] = request_of(1, user++);
    requests[100] = request_of(2, 5);
    requests[101] = request_of(1, 0);
    ask(engine, 102);
    for (size_t i = 0; i < 100; i++) {
      cr_assert(tickets[i].answer == COUPON_ISSUED || tickets[i].answer == COUPON_E_NOMEM);
      issued += tickets[i].answer == COUPON_ISSUED;
      refused += tickets[i].answer == COUPON_E_NOMEM;
    }
    cr_expect_eq(tickets[100].answer, COUPON_SOLD_OUT);
    cr_expect(tickets[101].answer == COUPON_ALREADY_ISSUED);
  }
  cr_expect_gt(issued, 100);
  expect_sound(engine, 1, issued);
  uint64_t memory = help_stats(engine).memory_bytes;
  for (int turn = 0; turn < 200; turn++) {
    for (size_t i = 0; i < 100; i++) requests[i] = request_of(1, user++);
    ask(engine, 100);
    for (size_t i = 0; i < 100; i++) cr_expect_eq(tickets[i].answer, COUPON_E_NOMEM);
  }
  cr_expect_eq(help_stats(engine).memory_bytes, memory, "those who ask in vain leave something");
  expect_sound(engine, 1, issued);
  help_close(engine);
}

Test(batch_faults, of_the_whole_batch_leave_every_ticket_unwritten) {
  struct coupon_options options = help_options(COUPON_SYNC);
  coupon_engine *engine = help_open(data, &options);
  create(engine, 1, 10, COUPON_USER_U64, 1);
  help_close(engine);
  options.read_only = 1;
  engine = help_open(data, &options);
  for (size_t i = 0; i < 40; i++) requests[i] = request_of(1, i);
  memset(tickets, 0xa5, sizeof tickets);
  cr_expect_eq(coupon_try_issue_batch(engine, requests, 40, tickets, sizeof tickets[0]), COUPON_E_READ_ONLY);
  cr_expect_eq(coupon_close(engine), COUPON_OK);
  cr_expect_eq(coupon_try_issue_batch(engine, requests, 40, tickets, sizeof tickets[0]), COUPON_E_CLOSED);
  cr_expect_eq(coupon_try_issue_batch(engine, NULL, 40, tickets, sizeof tickets[0]), COUPON_E_INVAL);
  cr_expect_eq(coupon_destroy(engine), COUPON_OK);
  for (size_t i = 0; i < sizeof tickets; i++) cr_assert_eq(((unsigned char *)tickets)[i], 0xa5);
}

/* --- what others do in between ------------------------------------------------------------------- */

static coupon_engine *raced;
static int looks_left; /* at the clock, or points to pass, before the others come */
static uint64_t others, others_issued;

/* The others: users from 1000 on. */
static void others_come(void) {
  for (uint64_t i = 0; i < others; i++) others_issued += help_try(raced, 1, 1000 + i) == COUPON_ISSUED;
}

static uint64_t clock_with_others(void *context) {
  if (looks_left > 0 && --looks_left == 0) others_come();
  return help_clock_read(context);
}

/* Without a log a batch looks at the clock between reading the stock and taking: whoever comes just then spoils the
 * taking, and may have had all there was. */
Test(batch_races, others_who_take_the_last_units_just_before_it_does_have_them_alone) {
  for (int when = 1; when <= 6; when++) {
    for (others = 1; others <= 12; others++) {
      struct coupon_options options = help_options_with_clock(COUPON_NONE, &clock_of_test);
      options.callbacks.clock = clock_with_others;
      looks_left = 0;
      raced = help_open(NULL, &options);
      create(raced, 1, 10, COUPON_USER_U64, 1);
      cr_assert_eq(help_try(raced, 1, 999), COUPON_ISSUED); /* so that claims have their first level */
      for (size_t i = 0; i < 5; i++) requests[i] = request_of(1, i);
      others_issued = 0;
      looks_left = when;
      ask(raced, 5);
      looks_left = 0;
      uint64_t issued = 0;
      for (size_t i = 0; i < 5; i++) {
        issued += tickets[i].answer == COUPON_ISSUED;
        cr_expect(tickets[i].answer == COUPON_ISSUED || tickets[i].answer == COUPON_SOLD_OUT);
      }
      cr_expect_leq(1 + issued + others_issued, 10);
      expect_sound(raced, 1, 1 + issued + others_issued);
      help_close(raced);
    }
  }
}

static void come_at_the_first_look(enum cpn_point point) {
  if (point != CPN_POINT_CLAIM_READ || looks_left == 0 || --looks_left != 0) return;
  others_come();
}

/* Somebody else claims the very place that the first request has found empty, so it has to go alone, later. */
static void expect_order_kept(int32_t durability) {
  for (others = 1; others <= 16; others++) {
    struct coupon_options options = help_options_with_clock(durability, &clock_of_test);
    char path[HELP_PATH_MAX], name[32];
    (void)snprintf(name, sizeof name, "others %d", (int)others);
    raced = help_open(durability == COUPON_NONE ? NULL : help_join(path, temp, name), &options);
    create(raced, 1, 60, COUPON_USER_U64, 1); /* so few that the others meet the place */
    cr_assert_eq(help_try(raced, 1, 999), COUPON_ISSUED);
    for (size_t i = 0; i < 4; i++) requests[i] = request_of(1, 5);
    cpn_point_hook = come_at_the_first_look;
    looks_left = 1;
    ask(raced, 4);
    cpn_point_hook = NULL;
    cr_expect_eq(tickets[0].answer, COUPON_ISSUED, "%d others: %s", (int)others, coupon_status_name(tickets[0].answer));
    for (size_t i = 1; i < 4; i++) cr_expect_eq(tickets[i].answer, COUPON_ALREADY_ISSUED);
    expect_sound(raced, 1, 2 + others);
    help_close(raced);
  }
}

Test(batch_races, a_users_second_request_comes_after_the_first_in_memory) { expect_order_kept(COUPON_NONE); }

Test(batch_races, a_users_second_request_comes_after_the_first_with_a_log) { expect_order_kept(COUPON_WRITTEN); }
