/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that tickets come back as they were put, by number and by LSN, before their page is packed and after, whatever
 * the distances of their LSNs and times; that what was not put, or has an LSN of nobody's, is not found; and that
 * packing saves memory, and running out of it changes nothing. How: random histories, kept beside the tickets and
 * compared. One thread; readers beside the packer are in tests/plain.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "issue/tickets.h"
#include "support/engine_help.h"

static struct cpn_memory memory;
static struct cpn_row_pool pool;
static struct cpn_tickets tickets;

static void begin(uint64_t limit, uint64_t stock, uint32_t user_words) {
  static const struct coupon_allocator ours;
  cpn_memory_init(&memory, &ours, limit);
  pool.count = 0;
  cr_assert(cpn_tickets_init(&tickets, &memory, stock, user_words, false));
}

static void end(void) {
  cpn_row_pool_free(&pool, &memory);
  cpn_tickets_fini(&tickets, &memory);
  cr_expect_eq(cpn_memory_used(&memory), 0);
}

/* --- histories ----------------------------------------------------------------------------------- */

#define HISTORY (CPN_TICKET_PAGE * 6 + 77)

struct past {
  uint64_t user[2], lsn, time_ns;
};
static struct past history[HISTORY + 1]; /* by number */

/* Distances of neighbours' LSNs, and of their times. */
enum steps {
  STEADY,        /* one campaign has the log for itself */
  NEARLY_STEADY, /* now and then a place is given up */
  SMALL,
  BURSTS,  /* many at once, then others for a long time */
  HUGE_,   /* each far behind the last */
  GIANT,   /* each more than 2^32 behind the last */
  ANYTHING /* any number of bits */
};
#define STEPS_COUNT 7

static uint64_t lsn_step(enum steps steps, uint64_t record, uint64_t i, uint64_t *state) {
  const uint64_t random = help_random(state);
  switch (steps) {
    case STEADY:
      return record;
    case NEARLY_STEADY:
      return record * (random % 50 == 0 ? 2 : 1);
    case SMALL:
      return record + random % 10 * 8;
    case BURSTS:
      return i % 300 == 0 ? record + (random & 0xfffffff8) : record;
    case HUGE_:
      return (UINT64_C(1) << 30) + (random >> 40) * 8;
    case GIANT:
      return (UINT64_C(1) << 32) + 8 + random % 1000 * 8;
    case ANYTHING:
      break;
  }
  return record + (random >> (24 + random % 40)) / 8 * 8;
}

static uint64_t time_step(enum steps steps, uint64_t i, uint64_t *state) {
  const uint64_t random = help_random(state);
  switch (steps) {
    case STEADY: /* within a tick of the clock */
      return 0;
    case NEARLY_STEADY:
      return random % 50 == 0 ? 1000 : 0;
    case SMALL:
      return random % 2; /* a clock of the caller's own, in steps of 1 ns */
    case BURSTS:
      return i % 256 == 255 ? 1 : random % 4 * 1000; /* one ticket of a page spoils its unit */
    case HUGE_:
      return (random >> 24) / 1000 * 1000;
    case GIANT:
      return i == 100 ? UINT64_C(1) << 62 : 0;
    case ANYTHING:
      break;
  }
  return random >> (12 + random % 50);
}

static void draw_history(enum steps lsns, enum steps times, uint32_t user_words, uint64_t *state) {
  const uint64_t record = 16 + user_words * UINT64_C(8);
  uint64_t lsn = help_random(state) % 1000 * 8, time_ns = UINT64_C(1790000000000000000);
  for (uint64_t i = 1; i <= HISTORY; i++) {
    lsn += lsn_step(lsns, record, i, state);
    time_ns += time_step(times, i, state);
    history[i] = (struct past){{help_random(state), user_words == 2 ? help_random(state) : 0}, lsn, time_ns};
  }
}

static struct cpn_ticket_cursor cursor;

static uint64_t append_one(const uint64_t *user, uint64_t lsn, uint64_t time_ns) {
  if (cpn_tickets_numbered(&tickets) == 0) cursor = cpn_tickets_cursor(&tickets);
  uint64_t number = cpn_tickets_append(&tickets, &cursor, user, lsn, time_ns);
  cpn_tickets_count_in(&tickets, number);
  return number;
}

static void append(uint64_t number) {
  const struct past *past = &history[number];
  cr_assert(cpn_tickets_make_room(&tickets, &memory, &pool, number));
  cr_assert_eq(append_one(past->user, past->lsn, past->time_ns), number);
}

static void expect_as_it_was(uint64_t number, uint32_t user_words) {
  const struct past *past = &history[number];
  uint64_t time_ns = 0;
  cr_assert_eq(cpn_tickets_read(&tickets, number, &time_ns), past->lsn, "LSN of %llu", (unsigned long long)number);
  cr_assert_eq(time_ns, past->time_ns, "time of %llu", (unsigned long long)number);
  uint64_t user[2];
  cpn_tickets_user(&tickets, number, user);
  cr_assert_eq(user[0], past->user[0]);
  cr_assert_eq(user[1], user_words == 2 ? past->user[1] : 0);
  struct cpn_user same = {.words = {past->user[0], past->user[1]}}, low = same, high = same;
  low.words[0] ^= 1;
  high.words[1] ^= UINT64_C(1) << 63;
  cr_assert(cpn_tickets_is_users(&tickets, number, &same));
  cr_assert_not(cpn_tickets_is_users(&tickets, number, &low));
  cr_assert_eq(cpn_tickets_is_users(&tickets, number, &high), user_words == 1,
               "only those of 16 bytes have a high half");
}

/* Finds all up to `count` by their LSNs, and nobody by the LSNs between them. */
static void expect_found(uint64_t count) {
  for (uint64_t i = 1; i <= count; i++) {
    cr_assert_eq(cpn_tickets_find(&tickets, history[i].lsn), i, "ticket %llu", (unsigned long long)i);
    uint64_t next = i < count ? history[i + 1].lsn : UINT64_MAX - 7;
    cr_assert_eq(cpn_tickets_find(&tickets, history[i].lsn + 4), 0);
    if (next > history[i].lsn + 8) {
      cr_assert_eq(cpn_tickets_find(&tickets, history[i].lsn + 8), 0);
      cr_assert_eq(cpn_tickets_find(&tickets, next - 8), 0);
    }
  }
  cr_assert_eq(cpn_tickets_find(&tickets, 0), history[1].lsn == 0);
  cr_assert_eq(cpn_tickets_find(&tickets, history[1].lsn - 8), 0);
  cr_assert_eq(cpn_tickets_find(&tickets, UINT64_MAX), 0);
}

static void expect_all(uint64_t count, uint32_t user_words) {
  cr_assert_eq(cpn_tickets_numbered(&tickets), count);
  for (uint64_t i = 1; i <= count; i++) expect_as_it_was(i, user_words);
  expect_found(count);
}

Test(tickets, of_every_history_come_back_wide_and_packed) {
  uint64_t state = help_seed();
  for (int lsns = 0; lsns < STEPS_COUNT; lsns++) {
    for (int times = 0; times < STEPS_COUNT; times++) {
      for (uint32_t user_words = 1; user_words <= 2; user_words++) {
        draw_history((enum steps)lsns, (enum steps)times, user_words, &state);
        begin(0, HISTORY, user_words);
        for (uint64_t i = 1; i <= HISTORY; i++) append(i);
        expect_all(HISTORY, user_words);
        cpn_tickets_pack(&tickets, &memory, &pool);
        expect_all(HISTORY, user_words);
        cpn_tickets_pack(&tickets, &memory, &pool); /* again changes nothing */
        expect_all(HISTORY, user_words);
        end();
      }
    }
  }
}

Test(tickets, are_found_while_they_come_and_are_packed_in_between) {
  uint64_t state = help_seed();
  for (int turn = 0; turn < 6; turn++) {
    draw_history(turn % 2 == 0 ? BURSTS : ANYTHING, ANYTHING, 1, &state);
    begin(0, HISTORY, 1);
    cr_assert_eq(cpn_tickets_find(&tickets, history[1].lsn), 0, "there is none yet");
    for (uint64_t i = 1; i <= HISTORY; i++) {
      append(i);
      cr_assert_eq(cpn_tickets_find(&tickets, history[i].lsn), i);
      if (i < HISTORY) cr_assert_eq(cpn_tickets_find(&tickets, history[i + 1].lsn), 0, "it has not come yet");
      if (help_random(&state) % 100 == 0) {
        cpn_tickets_pack(&tickets, &memory, &pool);
        expect_all(i, 1);
      }
    }
    end();
  }
}

Test(tickets, of_any_stock_come_back) {
  uint64_t state = help_seed();
  draw_history(SMALL, SMALL, 2, &state);
  const uint64_t stocks[] = {1, 2, 15, 16, 17, 255, 256, 257, 511, 512, 513, 1000};
  for (size_t i = 0; i < sizeof stocks / sizeof stocks[0]; i++) {
    begin(0, stocks[i], 2);
    for (uint64_t number = 1; number <= stocks[i]; number++) append(number);
    cr_expect_eq(cpn_tickets_room(&tickets), stocks[i], "no more room than stock");
    cpn_tickets_pack(&tickets, &memory, &pool);
    expect_all(stocks[i], 2);
    end();
  }
}

/* --- without a log ------------------------------------------------------------------------------- */

Test(tickets, that_are_put_in_any_order_come_back_and_their_page_is_packed_when_it_is_complete) {
  uint64_t state = help_seed();
  static uint64_t order[HISTORY + 1];
  draw_history(STEADY, NEARLY_STEADY, 1, &state);
  for (uint64_t i = 1; i <= HISTORY; i++) {
    uint64_t j = 1 + help_random(&state) % i;
    order[i] = order[j];
    order[j] = i;
  }
  begin(0, HISTORY, 1);
  cr_assert(cpn_tickets_make_room(&tickets, &memory, &pool, HISTORY));
  uint64_t put = 0;
  for (uint64_t i = 1; i <= HISTORY; i++) {
    uint64_t number = order[i], time_ns;
    cr_assert_eq(cpn_tickets_read(&tickets, number, &time_ns), 0, "nobody has put it yet");
    cpn_tickets_put_at(cpn_tickets_spot(&tickets, number), tickets.user_words, history[number].user, 1,
                       history[number].time_ns);
    cpn_tickets_pack(&tickets, &memory, &pool);
    cr_assert_eq(cpn_tickets_read(&tickets, number, &time_ns), 1);
    put++;
  }
  cr_expect_eq(put, HISTORY);
  cr_expect_eq(pool.count, HISTORY / CPN_TICKET_PAGE, "every full page is packed");
  for (uint64_t number = 1; number <= HISTORY; number++) {
    uint64_t time_ns;
    cr_assert_eq(cpn_tickets_read(&tickets, number, &time_ns), 1);
    cr_assert_eq(time_ns, history[number].time_ns);
    uint64_t user[2];
    cpn_tickets_user(&tickets, number, user);
    cr_assert_eq(user[0], history[number].user[0]);
  }
  end();
}

/* --- a pack by itself ---------------------------------------------------------------------------- */

static struct cpn_ticket_row rows[CPN_TICKET_PAGE];

/* No two stamps are nearer than `least_step`. Returns the size of the pack. */
static size_t expect_pack_to_hold(uint32_t count, uint32_t least_step) {
  struct cpn_ticket_pack head;
  size_t size = cpn_ticket_pack_measure(&head, rows, count, least_step);
  cr_assert_geq(size, sizeof head);
  cr_assert_eq(size, cpn_ticket_pack_size(&head));
  struct cpn_ticket_pack *pack = calloc(1, size); /* just so much, that a sanitizer sees what lies beyond */
  cr_assert_not_null(pack);
  *pack = head;
  cpn_ticket_pack_fill(pack, rows);
  for (uint32_t i = 0; i < count; i++) {
    cr_assert_eq(cpn_ticket_pack_stamp(pack, i), rows[i].stamp, "row %u of %u", i, count);
    cr_assert_eq(cpn_ticket_pack_time(pack, i), rows[i].time_ns, "row %u of %u", i, count);
  }
  free(pack);
  return size;
}

Test(pack, of_any_number_of_rows_holds_them) {
  uint64_t state = help_seed();
  for (int lsns = 0; lsns < STEPS_COUNT; lsns++) {
    for (int times = 0; times < STEPS_COUNT; times++) {
      for (uint32_t count = 1; count <= CPN_TICKET_PAGE; count += count < 5 ? 1 : 17) {
        uint64_t lsn = help_random(&state) % 100 * 8, time_ns = help_random(&state) >> 2;
        for (uint32_t i = 0; i < count; i++) {
          rows[i].stamp = lsn += lsn_step((enum steps)lsns, 24, i, &state);
          rows[i].time_ns = time_ns += time_step((enum steps)times, i, &state) % (UINT64_C(1) << 54);
        }
        (void)expect_pack_to_hold(count, 24);
      }
    }
  }
}

Test(pack, holds_the_extremes) {
  for (uint32_t i = 0; i < CPN_TICKET_PAGE; i++) {
    rows[i].stamp = 8 + i * UINT64_C(8);
    rows[i].time_ns = i < CPN_TICKET_PAGE - 1 ? 0 : UINT64_MAX; /* deltas of 64 bits */
  }
  (void)expect_pack_to_hold(CPN_TICKET_PAGE, 8);
  rows[CPN_TICKET_PAGE - 1].stamp = COUPON_LSN_MAX - 8;
  (void)expect_pack_to_hold(CPN_TICKET_PAGE, 8);
  for (uint32_t i = 0; i < CPN_TICKET_PAGE; i++) { /* all at the greatest steps that there may be */
    rows[i].stamp = COUPON_LSN_MAX / CPN_TICKET_PAGE * (i + 1) - 8;
    rows[i].time_ns = UINT64_MAX;
  }
  (void)expect_pack_to_hold(CPN_TICKET_PAGE, 24);
}

Test(pack, of_a_steady_pace_within_one_tick_is_nothing_but_its_head) {
  for (uint32_t step = 0; step <= 48; step += 24) {
    for (uint32_t i = 0; i < CPN_TICKET_PAGE; i++) {
      rows[i].stamp = 1000 + i * (uint64_t)step;
      rows[i].time_ns = 5000;
    }
    cr_expect_eq(expect_pack_to_hold(CPN_TICKET_PAGE, 24), sizeof(struct cpn_ticket_pack), "steps of %u", step);
  }
}

/* Most rows are not looked at; the one whose time no unit but 1 has must be. */
Test(pack, of_a_few_rows_of_an_odd_time_among_others_has_them_in_their_places) {
  for (uint32_t odd = 1; odd < CPN_TICKET_PAGE; odd++) {
    for (uint32_t end = odd + 1; end < CPN_TICKET_PAGE && end < odd + 20; end++) {
      for (uint32_t i = 0; i < CPN_TICKET_PAGE; i++) {
        rows[i].stamp = 1000 + i * UINT64_C(24);
        rows[i].time_ns = i < odd ? 5000 : i < end ? 5001 : 6000;
      }
      (void)expect_pack_to_hold(CPN_TICKET_PAGE, 24);
    }
  }
}

/* --- memory -------------------------------------------------------------------------------------- */

Test(memory, packing_saves_it_and_rows_are_used_again) {
  enum { MANY = CPN_TICKET_PAGE * 100 };
  begin(0, 2 * MANY, 1);
  for (uint64_t i = 1; i <= MANY; i++) {
    cr_assert(cpn_tickets_make_room(&tickets, &memory, &pool, i));
    (void)append_one(&i, i * 24, 5000 + i / 50 * 1000);
  }
  uint64_t wide = cpn_tickets_bytes(&tickets), used = cpn_memory_used(&memory);
  cpn_tickets_pack(&tickets, &memory, &pool);
  uint64_t packed = cpn_tickets_bytes(&tickets);
  cr_expect_eq(pool.count, 100);
  cr_expect_lt(packed + MANY * UINT64_C(14), wide, "of 16 bytes a row, at most 2 are left");
  uint64_t calls_worth = cpn_memory_used(&memory);
  cr_expect_geq(calls_worth, used, "rows are in the pool yet");
  for (uint64_t i = MANY + 1; i <= 2 * MANY; i++) {
    cr_assert(cpn_tickets_make_room(&tickets, &memory, &pool, i));
    (void)append_one(&i, i * 24, 5000 + i / 50 * 1000);
  }
  cr_expect_eq(pool.count, 0);
  cpn_tickets_pack(&tickets, &memory, &pool);
  cpn_row_pool_free(&pool, &memory);
  cr_expect_eq(cpn_memory_used(&memory), cpn_tickets_bytes(&tickets));
  for (uint64_t i = 1; i <= 2 * MANY; i++) {
    uint64_t time_ns;
    cr_assert_eq(cpn_tickets_read(&tickets, i, &time_ns), i * 24);
    cr_assert_eq(time_ns, 5000 + i / 50 * 1000);
    cr_assert_eq(cpn_tickets_find(&tickets, i * 24), i);
  }
  end();
}

Test(memory, a_full_pool_ends_the_packing_until_it_has_room) {
  enum { PAGES = CPN_ROW_POOL_SIZE + 10 };
  begin(0, PAGES * CPN_TICKET_PAGE, 1);
  for (uint64_t i = 1; i <= PAGES * CPN_TICKET_PAGE; i++) {
    cr_assert(cpn_tickets_make_room(&tickets, &memory, NULL, i));
    (void)append_one(&i, i * 24, i);
  }
  cpn_tickets_pack(&tickets, &memory, &pool);
  cr_expect_eq(pool.count, CPN_ROW_POOL_SIZE);
  cpn_row_pool_free(&pool, &memory);
  cpn_tickets_pack(&tickets, &memory, &pool);
  cr_expect_eq(pool.count, 10);
  for (uint64_t i = 1; i <= PAGES * CPN_TICKET_PAGE; i++) cr_assert_eq(cpn_tickets_find(&tickets, i * 24), i);
  end();
}

Test(memory, what_was_prepared_needs_none_any_more) {
  begin(0, 10000, 2);
  cr_assert(cpn_tickets_prepare(&tickets, &memory, 5000));
  uint64_t prepared = cpn_memory_used(&memory);
  for (uint64_t i = 1; i <= 5000; i++) {
    cr_assert(cpn_tickets_make_room(&tickets, &memory, &pool, i));
    (void)append_one((uint64_t[]){i, i}, i * 32, i);
    cpn_tickets_touch(&tickets, i, 10000 > i + 600 ? i + 600 : i); /* touching spoils nothing */
  }
  cr_expect_eq(cpn_memory_used(&memory), prepared);
  for (uint64_t i = 1; i <= 5000; i++) {
    uint64_t user[2];
    cpn_tickets_user(&tickets, i, user);
    cr_expect_eq(user[1], i);
  }
  end();
}

Test(memory, without_it_there_is_no_room_and_what_is_there_stays) {
  for (uint64_t limit = 100; limit < 100000; limit += limit / 3) {
    begin(limit, COUPON_STOCK_MAX, 1);
    uint64_t count = 0;
    while (cpn_tickets_make_room(&tickets, &memory, &pool, count + 1)) {
      count++;
      (void)append_one(&count, count * 24, count);
    }
    cr_expect(limit < 10000 || count >= 256);
    cr_expect_leq(cpn_memory_used(&memory), limit);
    cr_expect_not(cpn_tickets_make_room(&tickets, &memory, &pool, count + 1));
    cpn_tickets_pack(&tickets, &memory, &pool); /* for which there may be no memory either */
    for (uint64_t i = 1; i <= count; i++) {
      uint64_t time_ns;
      cr_assert_eq(cpn_tickets_read(&tickets, i, &time_ns), i * 24);
      cr_assert_eq(time_ns, i);
    }
    end();
  }
}
