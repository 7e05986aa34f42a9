/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows of lib/issue/stock.c, in every interleaving and with every reordering that C11 allows: units are never taken
 * that are not there; a take is never behind the record that closed the campaign; a refusal rests on a position in
 * the log that has all takes before it; who is refused is refused because of what the log up to there says.
 *
 * How: each thread does, with one word for the log's tail, what lib/engine does around the stock: read the word,
 * reserve, take by the rule; or mark and refuse between two equal reads; or close in two steps. The judge looks at the
 * positions.
 */
#include "explore.h"

#include "issue/stock.h"

enum { TAKE, CLOSE, OPEN };

static struct cpn_stock stock;
static _Atomic uint64_t tail;
static uint64_t units;
static enum cpn_stock_state first_state;
static int tasks[EXPLORE_THREADS_MAX];
static int threads;

/* What each thread got. Read by the judge when all is over. */
static struct outcome {
  uint64_t taken, refused, changed; /* positions; 0: none */
  enum cpn_stock_state state;       /* in which it was refused */
} outcomes[EXPLORE_THREADS_MAX];

/* --- mistakes ------------------------------------------------------------------------------------ */

static enum mistake {
  NONE,
  PLACE_AFTER_TAKE, /* the unit is taken before its place in the log is reserved */
  NOT_READ_AGAIN,   /* a refusal does not look whether the word is still the same */
  ONE_STEP_CLOSE,   /* CLOSE's place is reserved while the campaign is open */
  RELAXED,          /* the operations on the word and the tail are relaxed */
} mistake;

/* --- threads ------------------------------------------------------------------------------------- */

/* A place's end, as an LSN. */
static uint64_t reserve(void) { return atomic_fetch_add_explicit(&tail, 8, memory_order_seq_cst) + 8; }

static bool refuse(struct outcome *outcome, uint64_t word) {
  if (!cpn_word_marked(word)) {
    cpn_stock_mark(&stock, word, &tail);
    return false;
  }
  uint64_t basis = cpn_stock_basis_lsn(&stock);
  if (mistake != NOT_READ_AGAIN && cpn_stock_read(&stock) != word) return false;
  outcome->refused = basis;
  outcome->state = cpn_word_state(word);
  return true;
}

static void change(struct outcome *outcome, uint64_t word, enum cpn_stock_state state) {
  uint64_t at = reserve();
  if (cpn_stock_change(&stock, word, state)) outcome->changed = at;
}

static void close_it(struct outcome *outcome) {
  for (;;) {
    uint64_t word = cpn_stock_read(&stock);
    if (cpn_word_state(word) == CPN_STOCK_CLOSED || cpn_word_state(word) == CPN_STOCK_SCHEDULED) return;
    if (cpn_word_state(word) == CPN_STOCK_CLOSING || mistake == ONE_STEP_CLOSE)
      change(outcome, word, CPN_STOCK_CLOSED);
    else
      (void)cpn_stock_change(&stock, word, CPN_STOCK_CLOSING);
  }
}

static void take(struct outcome *outcome) {
  for (;;) {
    uint64_t word = cpn_stock_read(&stock);
    if (cpn_word_state(word) == CPN_STOCK_CLOSING) {
      close_it(outcome); /* who meets it helps */
      continue;
    }
    if (cpn_word_marked(word) || cpn_word_refuses(word)) {
      if (refuse(outcome, word)) return;
      continue;
    }
    uint64_t at = mistake == PLACE_AFTER_TAKE ? 0 : reserve();
    if (cpn_stock_take(&stock, word, 0)) {
      outcome->taken = at != 0 ? at : reserve();
      return;
    }
  }
}

static void run(int thread) {
  struct outcome *outcome = &outcomes[thread];
  if (tasks[thread] == TAKE) take(outcome);
  if (tasks[thread] == CLOSE) close_it(outcome);
  if (tasks[thread] == OPEN) {
    uint64_t word = cpn_stock_read(&stock);
    if (cpn_word_state(word) == CPN_STOCK_SCHEDULED) change(outcome, word, CPN_STOCK_OPEN);
  }
}

/* --- before and after ---------------------------------------------------------------------------- */

static void setup(void) {
  cpn_stock_init(&stock, units, first_state);
  atomic_init(&tail, 8);
  for (int t = 0; t < EXPLORE_THREADS_MAX; t++) outcomes[t] = (struct outcome){0};
  explore_name(&stock.word, sizeof stock.word, "word");
  explore_name(&stock.basis, sizeof stock.basis, "basis");
  explore_name(&tail, sizeof tail, "tail");
  if (mistake == RELAXED) {
    explore_weaken(&tail, sizeof tail, EXPLORE_LOAD | EXPLORE_RMW, memory_order_relaxed);
    explore_weaken(&stock.word, sizeof stock.word, EXPLORE_LOAD | EXPLORE_RMW, memory_order_relaxed);
  }
}

static uint64_t takes_before(uint64_t lsn) {
  uint64_t count = 0;
  for (int t = 0; t < threads; t++) count += outcomes[t].taken != 0 && outcomes[t].taken <= lsn;
  return count;
}

static void judge(void) {
  const uint64_t all = takes_before(UINT64_MAX), word = cpn_stock_read(&stock);
  uint64_t opened = first_state == CPN_STOCK_OPEN ? 1 : 0, closed = 0;
  EXPLORE_CHECK(all <= units, "more taken than there was");
  EXPLORE_CHECK(all + cpn_word_remaining(word) == units, "taken and remaining do not add up");
  for (int t = 0; t < threads; t++) {
    if (outcomes[t].changed == 0) continue;
    if (tasks[t] == OPEN)
      opened = outcomes[t].changed;
    else
      closed = outcomes[t].changed;
  }
  for (int t = 0; t < threads; t++) {
    const struct outcome *outcome = &outcomes[t];
    if (outcome->taken != 0) {
      EXPLORE_CHECK(opened != 0 && outcome->taken > opened, "a take before the campaign opened");
      EXPLORE_CHECK(closed == 0 || outcome->taken < closed, "a take behind CLOSE");
    }
    if (outcome->refused == 0) continue;
    EXPLORE_CHECK(outcome->refused <= atomic_load_explicit(&tail, memory_order_relaxed), "a basis behind the tail");
    if (outcome->state == CPN_STOCK_OPEN)
      EXPLORE_CHECK(takes_before(outcome->refused) == units, "sold out, but not up to the basis");
    if (outcome->state == CPN_STOCK_CLOSED)
      EXPLORE_CHECK(closed != 0 && closed <= outcome->refused, "ended, but not up to the basis");
    if (outcome->state == CPN_STOCK_SCHEDULED)
      EXPLORE_CHECK(opened == 0 || outcome->refused < opened, "not open, but open at the basis");
  }
}

/* --- scenarios ----------------------------------------------------------------------------------- */

static struct explore_scenario scene(const char *name, uint64_t stock_units, int first, int second, int third) {
  const int all[] = {first, second, third};
  threads = third < 0 ? 2 : 3;
  units = stock_units;
  first_state = CPN_STOCK_OPEN;
  for (int t = 0; t < threads; t++) {
    tasks[t] = all[t];
    if (all[t] == OPEN) first_state = CPN_STOCK_SCHEDULED;
  }
  return (struct explore_scenario){.name = name, .threads = threads, .setup = setup, .run = run, .judge = judge};
}

static void passes(struct explore_scenario scenario) {
  mistake = NONE;
  explore_passes(&scenario);
}

static void finds(enum mistake planted, const char *what, struct explore_scenario scenario) {
  mistake = planted;
  explore_finds(&scenario, what);
}

int main(void) {
  struct explore_scenario weak =
      scene("stock: two takers, one unit, an exchange that fails for nothing", 1, TAKE, TAKE, -1);
  weak.spurious = 1;
  passes(weak);
  passes(scene("stock: two takers, two units", 2, TAKE, TAKE, -1));
  passes(scene("stock: a taker, a closer", 1, TAKE, CLOSE, -1));
  passes(scene("stock: a taker, an opener", 1, TAKE, OPEN, -1));
  passes(scene("stock: three takers, one unit", 1, TAKE, TAKE, TAKE));
  passes(scene("stock: three takers, two units", 2, TAKE, TAKE, TAKE));
  struct explore_scenario crowded = scene("stock: two takers, one unit, a closer", 1, TAKE, TAKE, CLOSE);
  crowded.preemptions = 5; /* without bound it takes a minute */
  passes(crowded);
  passes(scene("stock: a taker, an opener, a closer", 1, TAKE, OPEN, CLOSE));
  finds(PLACE_AFTER_TAKE, "take, then reserve", scene("stock", 1, TAKE, TAKE, -1));
  finds(NOT_READ_AGAIN, "word not read again", scene("stock", 0, TAKE, TAKE, OPEN));
  finds(ONE_STEP_CLOSE, "closing in one step", scene("stock", 1, TAKE, CLOSE, -1));
  finds(RELAXED, "word and tail relaxed", scene("stock", 1, TAKE, TAKE, -1));
  return 0;
}
