/* SPDX-License-Identifier: Apache-2.0 */
#include "support/linear_steps.h"

#include <string.h>

/* What is being made, and from what. */
struct making {
  struct linear_steps *steps;
  const struct history *history;
  uint64_t campaign;
  unsigned view;
  bool crashes;
  uint64_t crash; /* its stamp */
  const char *what;
};

static void wrong(struct making *making, const char *what) {
  if (making->what == NULL) making->what = what;
}

/* --- who and which ------------------------------------------------------------------------------- */

static uint32_t user_index(struct making *making, uint64_t user) {
  struct linear_steps *steps = making->steps;
  for (uint32_t i = 0; i < steps->users_count; i++) {
    if (steps->users[i] == user) return i;
  }
  if (steps->users_count == LINEAR_USERS_MAX) {
    wrong(making, "too many users to judge");
    return 0;
  }
  steps->users[steps->users_count] = user;
  return steps->users_count++;
}

/* Ticket `number` is this user's, says an answer that counts. */
static void told(struct making *making, uint64_t number, uint32_t user) {
  struct linear_steps *steps = making->steps;
  if (number == 0 || (making->view & LINEAR_NUMBERS) == 0) return;
  if (number > steps->stock) {
    wrong(making, "a number above the stock");
    return;
  }
  if (steps->owner[number] == LINEAR_NONE) steps->owner[number] = user;
  if (steps->owner[number] != user) wrong(making, "a number that was told of two users");
  if (!steps->limited) return;
  if (steps->number_of[user] == 0) steps->number_of[user] = (uint32_t)number;
  if (steps->number_of[user] != number) wrong(making, "a user who was told of two tickets");
}

/* --- steps --------------------------------------------------------------------------------------- */

static struct linear_step *add(struct making *making, const struct history_op *op, enum linear_kind kind) {
  struct linear_steps *steps = making->steps;
  if (steps->count == LINEAR_STEPS_MAX) {
    wrong(making, "too many operations to judge");
    steps->count--;
  }
  struct linear_step *step = &steps->steps[steps->count++];
  *step = (struct linear_step){.begin = op->begin,
                               .end = op->end,
                               .op = op,
                               .kind = kind,
                               .after = LINEAR_NONE,
                               .issued_low = 0, /* the campaign is there */
                               .issued_high = INT32_MAX,
                               .listed_high = INT32_MAX};
  steps->required++;
  return step;
}

/* That there is no campaign yet, which is true for ever of one that no line declares. */
static void add_absent(struct making *making, const struct history_op *op) {
  struct linear_step *step = add(making, op, LINEAR_LOOK);
  step->issued_low = step->issued_high = -1;
}

static void add_listed(struct making *making, const struct history_op *op, uint64_t low, uint64_t high) {
  if ((making->view & LINEAR_NUMBERS) == 0) return;
  struct linear_step *step = add(making, op, LINEAR_LOOK);
  step->listed_low = (int32_t)low;
  step->listed_high = high > INT32_MAX ? INT32_MAX : (int32_t)high;
  making->steps->lists = true;
}

/* An answer that names a ticket: with a number and final, so it is listed. */
static void add_ticket(struct making *making, const struct history_op *op, uint32_t user) {
  told(making, op->number, user);
  if (op->final && op->number != 0) add_listed(making, op, op->number, INT32_MAX);
}

/* --- operations ---------------------------------------------------------------------------------- */

static void add_issue(struct making *making, const struct history_op *op) {
  struct linear_steps *steps = making->steps;
  const uint32_t user = user_index(making, op->user);
  struct linear_step *step;
  switch (op->status) {
    case COUPON_ISSUED:
      step = add(making, op, LINEAR_TAKE);
      step->user = user;
      if ((making->view & LINEAR_NUMBERS) != 0) step->number = op->number > steps->stock ? 0 : (uint32_t)op->number;
      add_ticket(making, op, user);
      break;
    case COUPON_ALREADY_ISSUED:
      if (!steps->limited) wrong(making, "already issued, and there is no limit");
      step = add(making, op, LINEAR_LOOK);
      step->user = user;
      step->holds = LINEAR_HOLDS;
      add_ticket(making, op, user);
      break;
    case COUPON_SOLD_OUT:
      step = add(making, op, LINEAR_LOOK);
      step->user = user;
      step->issued_low = step->issued_high = (int32_t)steps->stock;
      step->holds = steps->limited ? LINEAR_HOLDS_NOT : LINEAR_EITHER;
      break;
    case COUPON_NO_CAMPAIGN:
      add_absent(making, op);
      break;
    default:
      wrong(making, "an answer that an issue cannot have");
  }
}

static void add_lookup(struct making *making, const struct history_op *op) {
  const uint32_t user = user_index(making, op->user);
  const bool found = op->status == COUPON_OK, limited = making->steps->limited;
  if (op->status == COUPON_NO_CAMPAIGN) {
    add_absent(making, op);
    return;
  }
  if (!found && op->status != COUPON_NOT_FOUND) wrong(making, "an answer that a lookup cannot have");
  if (found && op->count == 0) wrong(making, "found, and the user has no tickets");
  if (found && limited && op->count > 1) wrong(making, "more tickets than the limit");
  struct linear_step *step = add(making, op, LINEAR_LOOK);
  step->user = user;
  if (limited) {
    step->holds = found ? LINEAR_HOLDS : LINEAR_HOLDS_NOT;
  } else if ((making->view & LINEAR_SUMS) == 0) {
    step->issued_low = (making->view & LINEAR_NUMBERS) != 0 && found ? (int32_t)op->number : 0;
  } else {
    step->counts_listed = making->steps->lists = true;
    step->listed_count = found ? (uint32_t)op->count : 0;
    step->number = found ? (uint32_t)op->number : 0;
  }
  if (found) add_ticket(making, op, user);
}

static void add_info(struct making *making, const struct history_op *op) {
  if (op->status == COUPON_NO_CAMPAIGN) {
    add_absent(making, op);
    return;
  }
  if (op->status != COUPON_OK) wrong(making, "an answer that info cannot have");
  if (op->count + op->remaining != making->steps->stock) wrong(making, "issued and remaining are not the stock");
  if ((making->view & LINEAR_COUNTS) == 0) return;
  struct linear_step *step = add(making, op, LINEAR_LOOK);
  step->issued_low = step->issued_high = (int32_t)op->count;
}

static void add_page(struct making *making, const struct history_op *op) {
  const uint64_t before = op->from == 0 ? 0 : op->from - 1; /* tickets that come before the page */
  if (op->status == COUPON_NO_CAMPAIGN) {
    add_absent(making, op);
    return;
  }
  if (op->status != COUPON_OK) wrong(making, "an answer that a page cannot have");
  if (op->count > op->capacity) wrong(making, "a page with more than there is room for");
  for (uint64_t i = 0; i < op->count; i++)
    told(making, before + i + 1, user_index(making, history_listed(making->history, op, i)));
  const uint64_t last = op->count == 0 ? 0 : before + op->count;
  if ((making->view & LINEAR_PAGES) != 0) {
    add_listed(making, op, last, op->count < op->capacity ? before + op->count : INT32_MAX);
  } else if ((making->view & LINEAR_NUMBERS) != 0) {
    add(making, op, LINEAR_LOOK)->issued_low = (int32_t)last;
  }
}

/* What never returned, or was lost with a crash: an issue may have happened; the rest changed nothing. */
static void add_doubtful(struct making *making, const struct history_op *op) {
  if (op->kind != HISTORY_ISSUE) return;
  if (op->status != HISTORY_UNANSWERED && op->status != COUPON_ISSUED) return;
  struct linear_step *step = add(making, op, LINEAR_TAKE);
  step->user = user_index(making, op->user);
  step->optional = true;
  making->steps->required--;
}

static bool is_doubtful(const struct making *making, const struct history_op *op) {
  if (op->status == HISTORY_UNANSWERED) return true;
  return making->crashes && op->begin < making->crash && (!op->final || op->end > making->crash);
}

static void add_op(struct making *making, const struct history_op *op) {
  if (op->kind == HISTORY_CRASH) {
    (void)add(making, op, LINEAR_CRASH);
  } else if (op->campaign != making->campaign) {
    return;
  } else if (op->kind == HISTORY_CREATE) {
    /* Never in doubt: histories that crash begin with their campaigns. */
    (void)add(making, op, LINEAR_CREATE);
    if (op->status != COUPON_OK && op->status != COUPON_NOT_FINAL) wrong(making, "an answer that create cannot have");
  } else if (is_doubtful(making, op)) {
    add_doubtful(making, op);
  } else if (op->kind == HISTORY_ISSUE) {
    add_issue(making, op);
  } else if (op->kind == HISTORY_LOOKUP) {
    add_lookup(making, op);
  } else {
    (op->kind == HISTORY_INFO ? add_info : add_page)(making, op);
  }
}

/* A user's later request in a batch comes after the earlier one. A step that may be left out binds nobody. */
static void bind_batches(struct linear_steps *steps) {
  for (uint32_t i = 0; i < steps->count; i++) {
    const struct history_op *op = steps->steps[i].op;
    for (uint32_t j = i; op->batch != 0 && j-- > 0 && steps->steps[i].after == LINEAR_NONE;) {
      const struct linear_step *earlier = &steps->steps[j];
      const bool together = earlier->op->batch == op->batch && earlier->op->thread == op->thread;
      /* Not the step that an issue's number is listed: it may well lie behind the next request. */
      const bool request = earlier->kind == LINEAR_TAKE || earlier->listed_low == 0;
      if (earlier->op == op || earlier->optional) continue;
      if (together && request && earlier->op->user == op->user) steps->steps[i].after = j;
    }
  }
}

const char *linear_steps_make(struct linear_steps *steps, const struct history *history,
                              const struct history_campaign *campaign, const struct history_op *const *ops,
                              uint32_t count, unsigned view, const struct history_op **stuck) {
  struct making making = {.steps = steps, .history = history, .campaign = campaign->id, .view = view};
  *stuck = NULL;
  if (campaign->stock > LINEAR_STOCK_MAX) return "too large a stock to judge";
  steps->stock = (uint32_t)campaign->stock;
  steps->limited = campaign->limit != 0;
  steps->created = campaign->created;
  steps->lists = false;
  steps->count = steps->required = steps->users_count = 0;
  memset(steps->number_of, 0, sizeof steps->number_of);
  for (uint32_t i = 0; i <= LINEAR_STOCK_MAX; i++) steps->owner[i] = LINEAR_NONE;
  for (uint32_t i = 0; i < count; i++) {
    if (ops[i]->kind != HISTORY_CRASH) continue;
    making.crashes = true;
    making.crash = ops[i]->begin;
  }
  for (uint32_t i = 0; i < count && making.what == NULL; i++) {
    add_op(&making, ops[i]);
    if (making.what != NULL) *stuck = ops[i];
  }
  bind_batches(steps);
  return making.what;
}
