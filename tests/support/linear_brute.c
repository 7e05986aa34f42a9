/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plain decision against which the search is held: a model of a campaign that answers as linear.h says, and all
 * orders. Slow, and so short that it can be believed.
 */
#include <string.h>

#include "support/linear.h"

/* A campaign, one operation after the other. */
struct model {
  uint64_t stock, limit;
  bool exists, crashed;
  uint64_t holders[LINEAR_STOCK_MAX]; /* by number */
  uint64_t issued, listed;
};

struct trial {
  const struct history *history;
  const struct history_op *ops[LINEAR_BRUTE_MAX];
  bool doubtful[LINEAR_BRUTE_MAX];
  bool numbers, counts, pages, sums; /* what is looked at */
  uint32_t count;
};

static uint64_t tickets_of(const struct model *model, uint64_t user, uint64_t upto, uint64_t *first) {
  uint64_t count = 0;
  for (uint64_t i = upto; i-- > 0;) {
    if (model->holders[i] != user) continue;
    *first = i + 1;
    count++;
  }
  return count;
}

static bool issue(const struct trial *trial, struct model *model, const struct history_op *op, bool doubtful) {
  uint64_t number = 0;
  const uint64_t held = tickets_of(model, op->user, model->issued, &number);
  coupon_status status = COUPON_SOLD_OUT;
  if (held > 0 && model->limit != 0) {
    status = COUPON_ALREADY_ISSUED;
  } else if (model->issued < model->stock) {
    model->holders[model->issued++] = op->user;
    number = model->issued;
    status = COUPON_ISSUED;
  }
  if (doubtful) return status == COUPON_ISSUED && !model->crashed;
  return status == op->status &&
         (!trial->numbers || status == COUPON_SOLD_OUT || op->number == 0 || op->number == number);
}

static bool lookup(const struct trial *trial, const struct model *model, const struct history_op *op) {
  const bool limited = model->limit != 0;
  uint64_t number = 0, count = tickets_of(model, op->user, limited ? model->issued : model->listed, &number);
  if (!limited && !trial->numbers) return true;
  if (!limited && !trial->sums)
    return op->status == COUPON_NOT_FOUND || op->number == 0 ||
           (op->number <= model->issued && model->holders[op->number - 1] == op->user);
  if (count == 0) return op->status == COUPON_NOT_FOUND;
  return op->status == COUPON_OK && op->count == count && (!trial->numbers || op->number == 0 || op->number == number);
}

static bool page(const struct trial *trial, const struct model *model, const struct history_op *op) {
  const uint64_t before = op->from == 0 ? 0 : op->from - 1;
  uint64_t count = model->listed < before ? 0 : model->listed - before;
  if (!trial->numbers) return true;
  if (!trial->pages) count = op->count == 0 || before + op->count > model->issued ? 0 : op->count;
  if (count > op->capacity) count = op->capacity;
  for (uint64_t i = 0; i < count && i < op->count; i++) {
    if (history_listed(trial->history, op, i) != model->holders[before + i]) return false;
  }
  return op->status == COUPON_OK && count == op->count;
}

/* Whether the model, changed accordingly, gives the answer that was told. */
static bool answers(const struct trial *trial, struct model *model, uint32_t i) {
  const struct history_op *op = trial->ops[i];
  if (op->kind == HISTORY_CRASH) {
    model->crashed = true;
    return true;
  }
  if (op->kind == HISTORY_CREATE) {
    model->exists = true;
    return op->status == COUPON_OK || op->status == COUPON_NOT_FINAL;
  }
  if (!model->exists) return op->status == COUPON_NO_CAMPAIGN && !trial->doubtful[i];
  if (op->kind == HISTORY_ISSUE) return issue(trial, model, op, trial->doubtful[i]);
  if (op->kind == HISTORY_LOOKUP) return lookup(trial, model, op);
  if (op->kind == HISTORY_TICKETS) return page(trial, model, op);
  return op->status == COUPON_OK && op->count + op->remaining == model->stock &&
         (!trial->counts || op->count == model->issued);
}

/* Whether `i` may be the next, of those that are not done. */
static bool may_be_next(const struct trial *trial, uint32_t done, uint32_t i) {
  for (uint32_t j = 0; j < trial->count; j++) {
    const struct history_op *other = trial->ops[j], *op = trial->ops[i];
    if ((done >> j & 1) != 0 || trial->doubtful[j] || j == i) continue;
    if (other->end < op->begin) return false;
    bool together = op->batch != 0 && op->batch == other->batch && op->thread == other->thread;
    if (together && op->user == other->user && other < op) return false;
  }
  return true;
}

/* A ticket that was told of as final is listed when the call returns: so before anything that begins later is done,
 * and at the end. */
static bool lists_are_late(const struct trial *trial, const struct model *model, uint64_t now) {
  for (uint32_t i = 0; i < trial->count; i++) {
    const struct history_op *op = trial->ops[i];
    bool tells = op->kind == HISTORY_LOOKUP && op->status == COUPON_OK;
    if (op->kind == HISTORY_ISSUE) tells = op->status == COUPON_ISSUED || op->status == COUPON_ALREADY_ISSUED;
    if (!trial->numbers || trial->doubtful[i] || !tells || !op->final) continue;
    if (op->end < now && op->number > model->listed) return true;
  }
  return false;
}

static bool any_order(const struct trial *trial, const struct model *model, uint32_t done) {
  uint32_t left = 0;
  for (uint32_t i = 0; i < trial->count; i++) left += (done >> i & 1) == 0 && !trial->doubtful[i];
  if (left == 0) {
    struct model last = *model;
    last.listed = last.issued;
    return !lists_are_late(trial, &last, UINT64_MAX);
  }
  for (uint32_t i = 0; i < trial->count; i++) {
    struct model changed = *model;
    if ((done >> i & 1) != 0 || !may_be_next(trial, done, i)) continue;
    if (lists_are_late(trial, model, trial->ops[i]->begin)) continue;
    if (answers(trial, &changed, i) && any_order(trial, &changed, done | UINT32_C(1) << i)) return true;
  }
  if (model->listed == model->issued) return false;
  struct model changed = *model;
  changed.listed++;
  return any_order(trial, &changed, done);
}

/* `looks` says what is looked at. */
static bool linearizable(const struct history *history, const struct history_campaign *campaign, struct trial looks) {
  struct trial trial = looks;
  struct model model = {.stock = campaign->stock, .limit = campaign->limit, .exists = !campaign->created};
  const struct history_op *ops[HISTORY_THREADS * HISTORY_OPS], *crash = NULL;
  const uint32_t count = history_sort(history, ops);
  for (uint32_t i = 0; i < count; i++) {
    if (ops[i]->kind == HISTORY_CRASH) crash = ops[i];
  }
  for (uint32_t i = 0; i < count; i++) {
    const struct history_op *op = ops[i];
    if (op != crash && op->campaign != campaign->id) continue;
    bool lost = crash != NULL && op->begin < crash->begin && (!op->final || op->end > crash->begin);
    bool doubtful = op != crash && (op->status == HISTORY_UNANSWERED || lost);
    bool issued = op->kind == HISTORY_ISSUE && (op->status == COUPON_ISSUED || op->status == HISTORY_UNANSWERED);
    if (doubtful && op->kind != HISTORY_CREATE && !issued) continue;
    if (trial.count == LINEAR_BRUTE_MAX) return false;
    trial.doubtful[trial.count] = doubtful && op->kind != HISTORY_CREATE;
    trial.ops[trial.count++] = op;
  }
  return any_order(&trial, &model, 0);
}

bool linear_brute(const struct history *history) {
  for (uint32_t i = 0; i < history->campaigns_count; i++) {
    const struct history_campaign *campaign = &history->campaigns[i];
    const bool counts = !campaign->counts_apart, both = !campaign->lists_apart || campaign->limit != 0;
    struct trial pages = {.history = history, .numbers = true, .counts = counts, .pages = true, .sums = both};
    struct trial sums = {.history = history, .numbers = true, .counts = counts, .pages = both, .sums = true};
    struct trial stock = {.history = history, .counts = true};
    if (!linearizable(history, campaign, pages) || !linearizable(history, campaign, sums)) return false;
    if (!counts && !linearizable(history, campaign, stock)) return false;
  }
  return true;
}
