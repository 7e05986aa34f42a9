/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows what a campaign may be, that its description makes it the same or another, and that of many who create it at
 * once it becomes one. How: an engine in memory. What its window does is in test_windows.c, its finality in
 * test_finality.c.
 */
#include <pthread.h>
#include <string.h>

#include "support/in_memory.h"

IN_MEMORY_SUITE(create);

static struct coupon_campaign_spec full_spec(void) {
  struct coupon_campaign_spec spec = help_spec(1, 100);
  spec.opens_at_ns = 1000;
  spec.closes_at_ns = UINT64_MAX;
  spec.name = "spring";
  return spec;
}

Test(create, the_same_twice_is_the_same_campaign) {
  struct coupon_campaign_spec spec = full_spec();
  char other_place[] = "spring";
  cr_assert_eq(create_now(&spec), COUPON_OK);
  struct coupon_campaign_info before = help_info(engine, 1);
  uint64_t end_before = help_stats(engine).reserved_lsn;
  spec.name = other_place;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  struct coupon_campaign_info after = help_info(engine, 1);
  cr_expect_eq(memcmp(&before, &after, sizeof before), 0);
  cr_expect_eq(help_stats(engine).campaigns, 1);
  cr_expect_eq(help_stats(engine).reserved_lsn, end_before, "nothing is logged for the second");
}

#define EXPECT_EXISTS(field, value)                                               \
  do {                                                                            \
    struct coupon_campaign_spec other = full_spec();                              \
    other.field = value;                                                          \
    cr_expect_eq(create_now(&other), COUPON_E_EXISTS, "%s = %s", #field, #value); \
  } while (0)

Test(create, the_same_id_with_any_other_description_is_taken) {
  struct coupon_campaign_spec spec = full_spec();
  cr_assert_eq(create_now(&spec), COUPON_OK);
  struct coupon_campaign_info before = help_info(engine, 1);
  EXPECT_EXISTS(stock, 99);
  EXPECT_EXISTS(stock, 101);
  EXPECT_EXISTS(stock, 0);
  EXPECT_EXISTS(user_limit, 0);
  EXPECT_EXISTS(opens_at_ns, 0);
  EXPECT_EXISTS(opens_at_ns, 1001);
  EXPECT_EXISTS(closes_at_ns, 0);
  EXPECT_EXISTS(closes_at_ns, UINT64_MAX - 1);
  EXPECT_EXISTS(name, NULL);
  EXPECT_EXISTS(name, "");
  EXPECT_EXISTS(name, "sprinG");
  EXPECT_EXISTS(name, "spring ");
  EXPECT_EXISTS(name, "sprin");
  EXPECT_EXISTS(user_kind, COUPON_USER_UUID);
  struct coupon_campaign_info after = help_info(engine, 1);
  cr_expect_eq(memcmp(&before, &after, sizeof before), 0);
  cr_expect_eq(create_now(&spec), COUPON_OK);
}

Test(create, no_name_is_the_empty_name) {
  struct coupon_campaign_spec spec = help_spec(1, 1);
  cr_assert_eq(create_now(&spec), COUPON_OK);
  spec.name = "";
  cr_expect_eq(create_now(&spec), COUPON_OK);
  cr_expect_str_eq(help_info(engine, 1).name, "");
}

Test(create, a_name_has_at_most_255_bytes) {
  char name[COUPON_NAME_MAX + 2];
  memset(name, 'n', sizeof name);
  name[COUPON_NAME_MAX] = 0;
  struct coupon_campaign_spec spec = help_spec(1, 1);
  spec.name = name;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  cr_expect_str_eq(help_info(engine, 1).name, name);
  name[COUPON_NAME_MAX] = 'n';
  name[COUPON_NAME_MAX + 1] = 0;
  spec.id = 2;
  cr_expect_eq(create_now(&spec), COUPON_E_INVAL);
  cr_expect_eq(help_stats(engine).campaigns, 1);
}

Test(create, a_name_has_any_bytes_but_zero) {
  char name[COUPON_NAME_MAX + 1] = {0};
  for (int i = 0; i < COUPON_NAME_MAX; i++) name[i] = (char)(i + 1);
  struct coupon_campaign_spec spec = help_spec(1, 1);
  spec.name = name;
  cr_assert_eq(create_now(&spec), COUPON_OK);
  memset(name, 'x', COUPON_NAME_MAX); /* the library has its own copy */
  struct coupon_campaign_info info = help_info(engine, 1);
  for (int i = 0; i < COUPON_NAME_MAX; i++) cr_expect_eq((unsigned char)info.name[i], i + 1);
}

Test(create, an_id_is_any_value) {
  const uint64_t ids[] = {0, 1, UINT64_C(1) << 63, UINT64_MAX};
  for (uint64_t i = 0; i < 4; i++) help_create(engine, ids[i], i + 1);
  for (uint64_t i = 0; i < 4; i++) {
    cr_expect_eq(help_info(engine, ids[i]).stock, i + 1);
    cr_expect_eq(issue_to(ids[i], 3, COUPON_ISSUED).campaign, ids[i]);
  }
}

Test(create, without_stock_everybody_finds_it_sold_out) {
  help_create(engine, 1, 0);
  for (uint64_t user = 0; user < 10; user++) (void)issue_to(1, user, COUPON_SOLD_OUT);
  struct coupon_campaign_info info = help_info(engine, 1);
  cr_expect_eq(info.issued, 0);
  cr_expect_eq(info.remaining, 0);
  cr_expect_eq(info.state, COUPON_STATE_SOLD_OUT);
}

Test(create, the_largest_stock_costs_nothing_before_it_is_issued) {
  uint64_t before = help_stats(engine).memory_bytes;
  help_create(engine, 1, COUPON_STOCK_MAX);
  cr_expect_lt(help_stats(engine).memory_bytes - before, 65536);
  cr_expect_eq(help_info(engine, 1).remaining, COUPON_STOCK_MAX);
  (void)issue_to(1, 8, COUPON_ISSUED);
  struct coupon_campaign_info info = help_info(engine, 1);
  cr_expect_eq(info.issued, 1);
  cr_expect_eq(info.remaining, COUPON_STOCK_MAX - 1);
}

Test(create, a_larger_stock_is_out_of_range) {
  const uint64_t stocks[] = {COUPON_STOCK_MAX + 1, UINT64_C(1) << 41, UINT64_MAX};
  for (int i = 0; i < 3; i++) {
    struct coupon_campaign_spec spec = help_spec(1, stocks[i]);
    cr_expect_eq(create_now(&spec), COUPON_E_STOCK_RANGE);
  }
  cr_expect_eq(help_stats(engine).campaigns, 0);
}

Test(create, a_limit_is_one_or_none_yet) {
  struct coupon_campaign_spec spec = help_spec(1, 1);
  spec.user_limit = 2;
  cr_expect_eq(create_now(&spec), COUPON_E_INVAL);
  spec.user_limit = UINT64_MAX;
  cr_expect_eq(create_now(&spec), COUPON_E_INVAL);
  spec.user_limit = 0;
  cr_expect_eq(create_now(&spec), COUPON_OK);
}

Test(create, a_window_ends_after_it_begins) {
  struct coupon_campaign_spec spec = help_spec(1, 1);
  spec.opens_at_ns = 100;
  for (spec.closes_at_ns = 1; spec.closes_at_ns <= 100; spec.closes_at_ns++)
    cr_expect_eq(create_now(&spec), COUPON_E_INVAL, "%llu", (unsigned long long)spec.closes_at_ns);
  spec.closes_at_ns = 101;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  spec = help_spec(2, 1);
  spec.opens_at_ns = UINT64_MAX;
  cr_expect_eq(create_now(&spec), COUPON_OK); /* closes never */
  spec = help_spec(3, 1);
  spec.closes_at_ns = 1;
  cr_expect_eq(create_now(&spec), COUPON_OK); /* opens at once, and has ended in 1970 */
}

/* With a log it rests on a position of its own: see test_finality.c. */
Test(create, in_memory_a_creation_rests_on_nothing) {
  for (uint64_t id = 10; id < 20; id++) {
    help_create(engine, id, 1);
    uint64_t durable = 77;
    cr_expect_eq(help_info(engine, id).created_lsn, 0);
    cr_expect_eq(coupon_durable_lsn(engine, &durable), COUPON_OK);
    cr_expect_eq(durable, 0);
  }
}

Test(create, a_kind_of_users_is_one_of_two_and_what_is_reserved_is_zero) {
  struct coupon_campaign_spec spec = help_spec(1, 1);
  const int32_t others[] = {2, -1, INT32_MIN, INT32_MAX};
  for (int i = 0; i < 4; i++) {
    spec.user_kind = others[i];
    cr_expect_eq(create_now(&spec), COUPON_E_INVAL, "%d", others[i]);
  }
  spec.user_kind = COUPON_USER_UUID;
  spec.reserved = 1;
  cr_expect_eq(create_now(&spec), COUPON_E_INVAL);
  spec.reserved = 0;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  cr_expect_eq(help_info(engine, 1).user_kind, COUPON_USER_UUID);
  cr_expect_eq(help_info(engine, 1).place, COUPON_PLACE_MEMORY);
}

Test(create, what_was_prepared_is_no_part_of_the_description) {
  struct coupon_campaign_spec spec = help_spec(1, 1000);
  for (uint64_t prepare = 0; prepare <= 2000; prepare += 500) { /* more than the stock counts as the stock */
    spec.prepare = prepare;
    cr_expect_eq(create_now(&spec), COUPON_OK);
  }
  spec.prepare = UINT64_MAX;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  spec.id = 2;
  cr_expect_eq(create_now(&spec), COUPON_OK);
  for (uint64_t user = 0; user < 1000; user++) (void)issue_to(2, user, COUPON_ISSUED);
  (void)issue_to(2, 1000, COUPON_SOLD_OUT);
}

#define CREATORS 4
#define CREATED 400

/* Creates the same campaigns as the other threads do, in an order of its own; the number of those that were refused. */
static void *create_all(void *argument) {
  uint64_t first = *(uint64_t *)argument, refused = 0;
  for (uint64_t i = 0; i < CREATED; i++) {
    struct coupon_campaign_spec spec = help_spec((first + i) % CREATED, i % 7);
    spec.stock = spec.id % 7;
    refused += coupon_create(engine, &spec, COUPON_FOREVER) != COUPON_OK;
  }
  *(uint64_t *)argument = refused;
  return NULL;
}

Test(create, concurrent_creators_make_each_campaign_once) {
  pthread_t threads[CREATORS];
  uint64_t arguments[CREATORS];
  for (uint64_t i = 0; i < CREATORS; i++) {
    arguments[i] = i * CREATED / CREATORS;
    cr_assert_eq(pthread_create(&threads[i], NULL, create_all, &arguments[i]), 0);
  }
  for (int i = 0; i < CREATORS; i++) {
    cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_expect_eq(arguments[i], 0, "refused %llu", (unsigned long long)arguments[i]);
  }
  cr_assert_eq(help_stats(engine).campaigns, CREATED);
  static struct coupon_campaign_info infos[CREATED + 1];
  static bool seen[CREATED];
  size_t count;
  cr_assert_eq(coupon_list(engine, 0, infos, sizeof infos[0], CREATED + 1, &count), COUPON_OK);
  cr_assert_eq(count, CREATED);
  for (size_t i = 0; i < count; i++) {
    cr_expect_eq(infos[i].index, i);
    cr_assert_lt(infos[i].id, CREATED);
    cr_expect_not(seen[infos[i].id]);
    seen[infos[i].id] = true;
    cr_expect_eq(help_info(engine, infos[i].id).index, i);
  }
}
