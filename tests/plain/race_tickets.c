/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a ticket reads the same for ever, by its number and by its LSN, while others are written behind it, its
 * page is packed, and the page's wide rows become another page's: never torn, never another's, never missing once it is
 * there.
 *
 * How: what every ticket will be is drawn beforehand, with LSNs at steady and at odd distances, some of more than 4
 * GiB, and times in and out of step. With a log one thread appends; without one two put tickets in any order. A third
 * packs, and gives the rows it gains to the pages ahead at once, and two look.
 */
#include "support/race_help.h"

#include <stdlib.h>

#include "base/rcu.h"

#define READERS 2

struct plan {
  uint64_t lsn, time_ns;
};

struct book {
  struct cpn_memory memory;
  struct cpn_tickets tickets;
  struct cpn_ticket_cursor cursor; /* the writer's */
  struct cpn_row_pool pool;
  bool logged;
  uint32_t user_words;
  uint64_t stock;
  struct plan *plan;               /* [number - 1] */
  _Atomic uint64_t taken, written; /* without a log: numbers given out, and tickets put */
  _Atomic uint64_t reads, misses;
};

static void user_of(uint64_t number, uint64_t words[2]) {
  words[0] = number % 1000 == 0 ? 0 : number * UINT64_C(0x9e3779b97f4a7c15);
  words[1] = ~number;
}

/* --- writing ------------------------------------------------------------------------------------- */

static void draw(struct book *book, struct race_random *random) {
  const uint64_t length = cpn_issue_words(book->user_words) * UINT64_C(8);
  uint64_t lsn = 0, time_ns = 1000;
  for (uint64_t i = 0, kind = 0; i < book->stock; i++) {
    if (i % 512 == 0) kind = race_below(random, 4);
    lsn += length;
    if (kind == 1) lsn += race_below(random, 3) * 8;
    if (kind == 2 && race_below(random, 64) == 0) lsn += race_below(random, 1 << 20) * 8;
    if (kind == 3 && i < 4096) lsn += (UINT64_C(5) << 30) + race_below(random, 1 << 20) * 8;
    if (race_below(random, 16) == 0) time_ns += race_below(random, 8) * (kind == 2 ? 1 : 1000);
    book->plan[i] = (struct plan){book->logged ? lsn : 0, time_ns};
  }
  RACE_CHECK(lsn < COUPON_LSN_MAX, "the test has drawn too long a log");
}

static void make_room(struct book *book, uint64_t number) {
  if (number <= cpn_tickets_room(&book->tickets)) return;
  RACE_CHECK(cpn_tickets_make_room(&book->tickets, &book->memory, NULL, number), "no memory");
}

static void append_all(struct book *book) {
  for (uint64_t number = 1; number <= book->stock; number++) {
    uint64_t user[2];
    user_of(number, user);
    make_room(book, number);
    const struct plan *plan = &book->plan[number - 1];
    if (number == 1) book->cursor = cpn_tickets_cursor(&book->tickets);
    RACE_CHECK(cpn_tickets_append(&book->tickets, &book->cursor, user, plan->lsn, plan->time_ns) == number,
               "another number");
    cpn_tickets_count_in(&book->tickets, number);
    if (number % 16 == 0) race_dally(number / 16 % 2048); /* so that the others come along */
  }
}

static void put_some(struct book *book, struct race_random *random) {
  for (;;) {
    uint64_t number = atomic_fetch_add(&book->taken, 1) + 1, user[2];
    if (number > book->stock) return;
    user_of(number, user);
    make_room(book, number);
    if (race_below(random, 32) == 0) race_dally(race_below(random, 2000));
    cpn_tickets_put_at(cpn_tickets_spot(&book->tickets, number), book->tickets.user_words, user, 1,
                       book->plan[number - 1].time_ns);
    atomic_fetch_add(&book->written, 1);
  }
}

static uint64_t written(const struct book *book) {
  return book->logged ? cpn_tickets_numbered(&book->tickets) : atomic_load(&book->written);
}

/* As the keeper does. */
static void pack(struct book *book, struct race_random *random) {
  uint64_t done;
  do {
    done = written(book);
    cpn_tickets_pack(&book->tickets, &book->memory, &book->pool);
    while (book->pool.count > 0 && cpn_tickets_room(&book->tickets) < cpn_min_u64(done + 8192, book->stock)) {
      uint64_t next = cpn_tickets_room(&book->tickets) + 1;
      RACE_CHECK(next > book->stock || cpn_tickets_make_room(&book->tickets, &book->memory, &book->pool, next),
                 "no memory");
    }
    const uint64_t room = cpn_tickets_room(&book->tickets);
    if (room > done) cpn_tickets_touch(&book->tickets, done + 1, room);
    if (race_below(random, 32) == 0) {
      cpn_rcu_synchronize();
      cpn_row_pool_free(&book->pool, &book->memory);
    }
  } while (done < book->stock);
}

/* --- looking ------------------------------------------------------------------------------------- */

static bool check_ticket(struct book *book, uint64_t number) {
  const struct plan *plan = &book->plan[number - 1];
  uint64_t time_ns = 0, words[2];
  uint64_t stamp = cpn_tickets_read(&book->tickets, number, &time_ns);
  if (!book->logged && stamp == 0) return false;
  RACE_CHECK(stamp == (book->logged ? plan->lsn : 1), "ticket %" PRIu64 " has stamp %" PRIu64, number, stamp);
  RACE_CHECK(time_ns == plan->time_ns, "ticket %" PRIu64 " has time %" PRIu64 ", not %" PRIu64, number, time_ns,
             plan->time_ns);
  user_of(number, words);
  struct cpn_user user = {.words = {words[0], words[1]}}, other = {.words = {words[0] + 1, words[1]}};
  RACE_CHECK(cpn_tickets_is_users(&book->tickets, number, &user), "ticket %" PRIu64 " is another's", number);
  RACE_CHECK(!cpn_tickets_is_users(&book->tickets, number, &other), "ticket %" PRIu64 " is anybody's", number);
  return true;
}

/* The LSN leads to the number; a place between two records to none; one that is not numbered yet to none, or to its
 * own. */
static void check_find(struct book *book, uint64_t number) {
  const struct plan *plan = &book->plan[number - 1];
  uint64_t found = cpn_tickets_find(&book->tickets, plan->lsn);
  RACE_CHECK(found == number, "LSN %" PRIu64 " leads to %" PRIu64 ", not %" PRIu64, plan->lsn, found, number);
  RACE_CHECK(cpn_tickets_find(&book->tickets, plan->lsn - 8) == 0, "found a ticket where there is none");
  uint64_t later = cpn_min_u64(number + 300, book->stock);
  found = cpn_tickets_find(&book->tickets, book->plan[later - 1].lsn);
  RACE_CHECK(found == 0 || found == later, "a later LSN leads to %" PRIu64, found);
}

static void look(struct book *book, struct race_random *random) {
  uint64_t reads = 0, misses = 0, known;
  do {
    known = written(book);
    if (known == 0) continue;
    cpn_rcu_read_lock();
    for (int i = 0; i < 16; i++) {
      uint64_t back = race_below(random, UINT64_C(1) << race_below(random, 18));
      uint64_t number = known - cpn_min_u64(back, known - 1);
      if (!check_ticket(book, number)) {
        misses++; /* another, with a higher number, was written before it */
        continue;
      }
      if (book->logged) check_find(book, number);
      reads++;
    }
    cpn_rcu_read_unlock();
  } while (known < book->stock);
  atomic_fetch_add(&book->reads, reads);
  atomic_fetch_add(&book->misses, misses);
}

/* --- a run --------------------------------------------------------------------------------------- */

static void play(void *context, uint32_t thread) {
  struct book *book = context;
  struct race_random random = race_stream(book->stock * 8 + thread);
  if (thread == 0 && book->logged)
    append_all(book);
  else if (thread == 1)
    pack(book, &random);
  else if (thread < 2 + READERS && thread > 1)
    look(book, &random);
  else
    put_some(book, &random);
}

static void run(bool logged, uint32_t user_words, uint64_t stock) {
  static struct book book;
  struct coupon_allocator ours = COUPON_ALLOCATOR_INIT;
  struct race_random random = race_stream(stock + user_words);
  book = (struct book){.logged = logged, .user_words = user_words, .stock = stock};
  book.plan = malloc(stock * sizeof book.plan[0]);
  RACE_CHECK(book.plan != NULL, "not enough memory");
  draw(&book, &random);
  cpn_memory_init(&book.memory, &ours, 0);
  RACE_CHECK(cpn_tickets_init(&book.tickets, &book.memory, stock, user_words, false), "no memory");
  race_run(2 + READERS + !logged, play, &book);
  for (uint64_t before = UINT64_MAX; before != book.tickets.packed;) { /* as much at a time as the pool takes */
    before = book.tickets.packed;
    cpn_row_pool_free(&book.pool, &book.memory); /* nobody reads any more */
    cpn_tickets_pack(&book.tickets, &book.memory, &book.pool);
  }
  for (uint64_t number = 1; number <= stock; number++) {
    RACE_CHECK(check_ticket(&book, number), "ticket %" PRIu64 " is missing", number);
    if (logged) check_find(&book, number);
  }
  const uint64_t packed = book.tickets.packed, bytes = cpn_tickets_bytes(&book.tickets);
  RACE_CHECK(packed == stock / CPN_TICKET_PAGE, "%" PRIu64 " pages packed", packed);
  cpn_row_pool_free(&book.pool, &book.memory);
  RACE_CHECK(cpn_memory_used(&book.memory) == bytes, "bytes are counted wrongly");
  cpn_tickets_fini(&book.tickets, &book.memory);
  RACE_CHECK(cpn_memory_used(&book.memory) == 0, "memory is left");
  free(book.plan);
  printf("%s, users of %u bytes: %" PRIu64 " tickets, %" PRIu64 " pages packed meanwhile, %" PRIu64 " reads, %" PRIu64
         " before they were written\n",
         logged ? "appended" : "put", user_words * 8, stock, packed, atomic_load(&book.reads),
         atomic_load(&book.misses));
}

int main(int argc, char **argv) {
  race_begin("race_tickets", argc, argv);
  const uint64_t many = race_rounds(600000, 30000);
  for (uint32_t words = 1; words <= 2; words++) {
    run(true, words, many);
    run(false, words, many);
    for (uint64_t i = 0; i < race_rounds(20, 4); i++) run(i % 2 == 0, words, 700 + i * 100);
  }
  return 0;
}
