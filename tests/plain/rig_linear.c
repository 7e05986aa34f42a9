/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the search of linear.h finds wrong protocols in histories of a handful of operations, where the judges of
 * rig_planted.c look for signs that somebody has thought of. Its silence in race_linear.c means something.
 *
 * How: a little decider with a word of stock, a claim for each user, and a log with a durable end. The right one
 * passes, with crashes and without; with one step of it misplaced, or one answer called final too early, a history
 * is found within a stated number. rig_lease.c does the same for stock that is leased to threads.
 */
#include "support/linear_rig.h"

enum mistake {
  NONE,
  INSERT_THEN_TAKE,  /* the claim says "held" before the unit is taken: a duplicate is told of a ticket that never is */
  TAKE_THEN_INSERT,  /* the unit is taken before the claim says so: the same user hears SOLD_OUT */
  CLAIM_BEFORE_WORD, /* refused by a claim that was read before the stock: the holder of the last unit hears SOLD_OUT */
  REFUSAL_FINAL,     /* SOLD_OUT is called final at once: the last taker's record may yet be lost */
  DUPLICATE_FINAL    /* ALREADY_ISSUED is called final at once: the user's ticket may yet be lost */
};

/* Set while no other thread runs. */
static enum mistake planted;

/* --- the decider --------------------------------------------------------------------------------- */

/* Of a claim; HELD + n: of ticket n, and n = 0 while that is not known. */
enum { FREE, PENDING, HELD };

static struct {
  uint64_t stock;
  _Atomic uint64_t taken;                 /* the n-th unit has the n-th place in the log */
  _Atomic uint64_t claims[RIG_USERS + 1]; /* one for the user who comes after a crash */
  _Atomic uint64_t log[RIG_STOCK_MOST];   /* user + 1; 0: the place is taken, its record not published */
  _Atomic uint64_t durable;               /* so many places, all published */
} decider;

static void reset(uint64_t stock) {
  decider.stock = stock;
  atomic_store(&decider.taken, 0);
  atomic_store(&decider.durable, 0);
  for (int i = 0; i <= RIG_USERS; i++) atomic_store(&decider.claims[i], FREE);
  for (int i = 0; i < RIG_STOCK_MOST; i++) atomic_store(&decider.log[i], 0);
}

/* The number of the unit; 0: there is none. */
static uint64_t take(void) {
  uint64_t taken = atomic_load(&decider.taken);
  while (taken < decider.stock) {
    if (atomic_compare_exchange_weak(&decider.taken, &taken, taken + 1)) return taken + 1;
  }
  return 0;
}

static void answer(struct history_op *op, coupon_status status, uint64_t number) {
  /* A refusal rests on every ticket. */
  const uint64_t rests_on = status == COUPON_SOLD_OUT ? decider.stock : number;
  op->status = status;
  op->number = number;
  op->final = rests_on != 0 && atomic_load(&decider.durable) >= rests_on;
  if (planted == REFUSAL_FINAL && status == COUPON_SOLD_OUT) op->final = true;
  if (planted == DUPLICATE_FINAL && status == COUPON_ALREADY_ISSUED) op->final = true;
}

static void publish(_Atomic uint64_t *claim, uint64_t number, struct history_op *op) {
  rig_stumble();
  atomic_store(claim, HELD + number);
  rig_stumble();
  atomic_store(&decider.log[number - 1], op->user + 1);
  answer(op, COUPON_ISSUED, number);
}

/* The right order: claim, unit, "held", record. Without a unit the claim is given back, to be refused as others are. */
static bool claim_and_take(_Atomic uint64_t *claim, struct history_op *op) {
  uint64_t expected = FREE;
  const uint64_t first = planted == INSERT_THEN_TAKE ? HELD : PENDING;
  if (!atomic_compare_exchange_strong(claim, &expected, first)) return false;
  rig_stumble();
  const uint64_t number = take();
  if (number == 0) {
    atomic_store(claim, FREE);
    return false;
  }
  publish(claim, number, op);
  return true;
}

static bool take_and_claim(_Atomic uint64_t *claim, struct history_op *op) {
  uint64_t expected = FREE;
  const uint64_t number = take();
  if (number == 0) return false;
  rig_stumble();
  if (!atomic_compare_exchange_strong(claim, &expected, HELD + number)) {
    (void)atomic_fetch_sub(&decider.taken, 1);
    return false;
  }
  publish(claim, number, op);
  return true;
}

static void issue(uint32_t thread, struct history_op *op) {
  _Atomic uint64_t *claim = &decider.claims[op->user];
  (void)thread;
  for (;;) {
    const uint64_t before = atomic_load(claim);
    rig_stumble();
    const uint64_t taken = atomic_load(&decider.taken);
    rig_stumble();
    uint64_t state = atomic_load(claim);
    if (planted == CLAIM_BEFORE_WORD && taken == decider.stock) state = before;
    if (state >= HELD) {
      answer(op, COUPON_ALREADY_ISSUED, state - HELD);
      return;
    }
    if (state == FREE && taken == decider.stock) {
      answer(op, COUPON_SOLD_OUT, 0);
      return;
    }
    if (state == FREE && (planted == TAKE_THEN_INSERT ? take_and_claim : claim_and_take)(claim, op)) return;
  }
}

static void lookup(struct history_op *op) {
  uint64_t state;
  while ((state = atomic_load(&decider.claims[op->user])) == PENDING) rig_stumble();
  if (state == FREE)
    answer(op, COUPON_NOT_FOUND, 0);
  else
    answer(op, COUPON_OK, state - HELD);
}

static uint64_t tickets(uint64_t users[RIG_STOCK_MOST]) {
  uint64_t count = 0;
  for (; count < decider.stock && atomic_load(&decider.log[count]) != 0; count++)
    users[count] = atomic_load(&decider.log[count]) - 1;
  return count;
}

/* --- the log ------------------------------------------------------------------------------------- */

/* One more place, unless the next is a hole. */
static void commit(void) {
  const uint64_t durable = atomic_load(&decider.durable);
  if (durable < decider.stock && atomic_load(&decider.log[durable]) != 0) atomic_store(&decider.durable, durable + 1);
}

/* The durable places are all that is left; claims and stock follow from them. */
static void recover(void) {
  const uint64_t durable = atomic_load(&decider.durable);
  for (int i = 0; i <= RIG_USERS; i++) atomic_store(&decider.claims[i], FREE);
  for (uint64_t i = 0; i < durable; i++) atomic_store(&decider.claims[atomic_load(&decider.log[i]) - 1], HELD + i + 1);
  for (uint64_t i = durable; i < RIG_STOCK_MOST; i++) atomic_store(&decider.log[i], 0);
  atomic_store(&decider.taken, durable);
}

/* --- the run ------------------------------------------------------------------------------------- */

static const struct rig_model memory = {.reset = reset, .issue = issue, .lookup = lookup, .tickets = tickets};
static const struct rig_model crashing = {
    .reset = reset, .issue = issue, .lookup = lookup, .tickets = tickets, .commit = commit, .recover = recover};

static void pass(const char *name, const struct rig_model *model) {
  planted = NONE;
  rig_pass(name, model, race_rounds(20000, 1000));
}

/* Histories within which a mistake has to be found; the same under every sanitizer. */
#define ROUNDS 20000

static void find(enum mistake mistake, const char *name, const struct rig_model *model) {
  planted = mistake;
  rig_catch(name, model, ROUNDS);
}

int main(int argc, char **argv) {
  race_begin("rig_linear", argc, argv);
  pass("no mistake", &memory);
  pass("no mistake, and a crash", &crashing);
  find(INSERT_THEN_TAKE, "insert, then take", &memory);
  find(TAKE_THEN_INSERT, "take, then insert", &memory);
  find(CLAIM_BEFORE_WORD, "claim read before the stock", &memory);
  find(REFUSAL_FINAL, "a refusal final at once, and a crash", &crashing);
  find(DUPLICATE_FINAL, "a duplicate final at once, and a crash", &crashing);
  return 0;
}
