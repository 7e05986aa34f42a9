/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows, on a little model of stock that is leased to threads, that a mark which misses a unit on the move is found
 * in histories; and that the right rule for the mark passes.
 *
 * The model: units lie in a centre and in a cell for each thread, and move only from the centre to a cell. The
 * centre's exchange takes them out and names the move, which anybody may complete: the cell's exchange puts them in
 * unless the cell already bears the move's number, the centre's takes the name away. A thread whose cell is empty
 * refills it, or takes from another's cell, or finds nothing anywhere and marks the centre, after which refusals
 * only read. The rule: read the centre, with nothing left and no move named; see every cell empty; mark by an exchange
 * from that very word. In between no unit can have moved, or the word would differ; cells only fall but by moves; so
 * at the moment of the exchange there is no unit.
 */
#include "support/linear_rig.h"

enum mistake {
  NONE,
  MOVE_OVERLOOKED, /* the centre is empty, and that it names a move is not looked at: the units are in neither place */
  CENTRE_READ_LAST /* the cells first, then the centre, and the mark from this word: the units moved behind the back */
};

/* Set while no other thread runs. */
static enum mistake planted;

/* --- words --------------------------------------------------------------------------------------- */

/* The centre: units 0-7, a named move's cell + 1 in 8-15 (0: none) and units in 16-23, moves so far 24-55, the mark.
 * A cell: units 0-7, the last move's number 24-55. */
#define MARK (UINT64_C(1) << 63)
#define ONE_MOVE (UINT64_C(1) << 24)
static uint64_t units_of(uint64_t word) { return word & 255; }
static uint64_t target_of(uint64_t word) { return word >> 8 & 255; }
static uint64_t moving_of(uint64_t word) { return word >> 16 & 255; }
static uint64_t moves_of(uint64_t word) { return word & UINT64_C(0x00ffffffff000000); }

enum { FREE, PENDING, HELD }; /* of a claim; HELD + n: of ticket n */

static struct {
  _Atomic uint64_t centre, cells[RIG_THREADS];
  _Atomic uint64_t claims[RIG_USERS];
  _Atomic uint64_t numbered;
  _Atomic uint64_t log[RIG_STOCK_MOST]; /* user + 1 */
} stock;

static void reset(uint64_t units) {
  atomic_store(&stock.centre, units);
  atomic_store(&stock.numbered, 0);
  for (int i = 0; i < RIG_THREADS; i++) atomic_store(&stock.cells[i], 0);
  for (int i = 0; i < RIG_USERS; i++) atomic_store(&stock.claims[i], FREE);
  for (int i = 0; i < RIG_STOCK_MOST; i++) atomic_store(&stock.log[i], 0);
}

static bool swap(_Atomic uint64_t *word, uint64_t from, uint64_t to) {
  return atomic_compare_exchange_strong(word, &from, to);
}

/* --- moving -------------------------------------------------------------------------------------- */

/* Carries out the move that `centre` names, unless somebody has. */
static void complete(uint64_t centre) {
  _Atomic uint64_t *cell = &stock.cells[target_of(centre) - 1];
  uint64_t word = atomic_load(cell);
  rig_stumble();
  while (moves_of(word) < moves_of(centre)) {
    if (swap(cell, word, moves_of(centre) | (units_of(word) + moving_of(centre)))) break;
    word = atomic_load(cell);
  }
  rig_stumble();
  (void)swap(&stock.centre, centre, moves_of(centre) | units_of(centre) | (centre & MARK));
}

/* Some threads take one unit, some several, so that a cell keeps what nobody is asking for. */
static void refill(uint32_t thread, uint64_t centre) {
  const uint64_t moving = cpn_min_u64(units_of(centre), thread + 1), left = units_of(centre) - moving;
  const uint64_t named = (moves_of(centre) + ONE_MOVE) | moving << 16 | (uint64_t)(thread + 1) << 8 | left;
  rig_stumble();
  if (!swap(&stock.centre, centre, named)) return;
  rig_stumble();
  complete(named);
}

static bool take_from(_Atomic uint64_t *cell) {
  uint64_t word = atomic_load(cell);
  while (units_of(word) > 0) {
    if (atomic_compare_exchange_weak(cell, &word, word - 1)) return true;
  }
  return false;
}

/* --- the mark ------------------------------------------------------------------------------------ */

static bool cells_are_empty(void) {
  for (int i = 0; i < RIG_THREADS; i++) {
    if (units_of(atomic_load(&stock.cells[i])) != 0) return false;
    rig_stumble();
  }
  return true;
}

/* `centre` was read before, had no units, and names no move (or was not asked). */
static void mark(uint64_t centre) {
  if (planted != CENTRE_READ_LAST && !cells_are_empty()) return;
  (void)swap(&stock.centre, centre, centre | MARK);
}

/* False: there is none, and the centre says so. */
static bool take(uint32_t thread) {
  for (;;) {
    for (uint32_t i = 0; i < RIG_THREADS; i++) {
      if (take_from(&stock.cells[(thread + i) % RIG_THREADS])) return true;
      rig_stumble();
    }
    /* CENTRE_READ_LAST: the cells, empty a moment ago, are not looked at again. */
    const uint64_t centre = atomic_load(&stock.centre);
    if ((centre & MARK) != 0) return false;
    if (target_of(centre) != 0 && !(planted == MOVE_OVERLOOKED && units_of(centre) == 0))
      complete(centre);
    else if (units_of(centre) != 0)
      refill(thread, centre);
    else
      mark(centre);
  }
}

/* --- deciding ------------------------------------------------------------------------------------ */

static void issue(uint32_t thread, struct history_op *op) {
  _Atomic uint64_t *claim = &stock.claims[op->user];
  for (;;) {
    const bool marked = (atomic_load(&stock.centre) & MARK) != 0;
    rig_stumble();
    const uint64_t state = atomic_load(claim);
    op->number = state >= HELD ? state - HELD : 0;
    op->status = state >= HELD ? COUPON_ALREADY_ISSUED : COUPON_SOLD_OUT;
    if (state >= HELD || (state == FREE && marked)) return;
    if (state == PENDING || !swap(claim, FREE, PENDING)) continue;
    if (take(thread)) break;
    atomic_store(claim, FREE);
  }
  rig_stumble();
  /* The number follows the unit, as a place in a log may: a refusal rests on all units, not on their order. */
  op->number = atomic_fetch_add(&stock.numbered, 1) + 1;
  atomic_store(&stock.log[op->number - 1], op->user + 1);
  atomic_store(claim, HELD + op->number);
  op->status = COUPON_ISSUED;
}

static void lookup(struct history_op *op) {
  uint64_t state;
  while ((state = atomic_load(&stock.claims[op->user])) == PENDING) rig_stumble();
  op->status = state == FREE ? COUPON_NOT_FOUND : COUPON_OK;
  op->number = state == FREE ? 0 : state - HELD;
}

static uint64_t tickets(uint64_t users[RIG_STOCK_MOST]) {
  const uint64_t count = atomic_load(&stock.numbered);
  for (uint64_t i = 0; i < count; i++) users[i] = atomic_load(&stock.log[i]) - 1;
  return count;
}

/* --- the run ------------------------------------------------------------------------------------- */

static const struct rig_model leased = {.reset = reset, .issue = issue, .lookup = lookup, .tickets = tickets};

/* Histories within which a mistake has to be found; the same under every sanitizer. */
#define ROUNDS 20000

static void find(enum mistake mistake, const char *name) {
  planted = mistake;
  rig_catch(name, &leased, ROUNDS);
}

int main(int argc, char **argv) {
  race_begin("rig_lease", argc, argv);
  rig_pass("the mark by the rule", &leased, race_rounds(20000, 1000));
  find(MOVE_OVERLOOKED, "a mark that overlooks the move");
  find(CENTRE_READ_LAST, "a mark that reads the centre after the cells");
  return 0;
}
