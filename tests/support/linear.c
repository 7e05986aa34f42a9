/* SPDX-License-Identifier: Apache-2.0 */
#include "support/linear.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "support/linear_steps.h"

#define WORDS (LINEAR_STEPS_MAX / 64)

/* A configuration of which nothing more is to be hoped: the steps placed, and what they do not tell of the state. */
struct seen {
  uint64_t placed[WORDS];
  uint8_t listed;
  uint8_t order[LINEAR_STOCK_MAX]; /* without a limit; with one, who holds a ticket is in `placed` */
};

/* Begins and ends of the steps not yet placed, by time, in a list from which a step can be lifted and put back. */
#define BEGIN_OF(step) (1 + (step))
#define END_OF(step) (1 + LINEAR_STEPS_MAX + (step))
#define NODES (1 + 2 * LINEAR_STEPS_MAX)

struct event {
  uint64_t stamp;
  uint32_t node;
};

struct linear_search {
  struct linear_steps campaign;

  uint32_t next[NODES], previous[NODES];
  uint32_t trail[LINEAR_STEPS_MAX], trail_count;
  uint64_t placed[WORDS];
  uint32_t left; /* required steps that are not placed */

  int32_t issued; /* -1: there is no campaign */
  uint32_t listed;
  bool crashed;
  uint64_t holders;                /* with a limit: a bit for each user */
  uint8_t order[LINEAR_STOCK_MAX]; /* users by number */

  struct seen *seen; /* an open table; `used` tells which places are taken, by the round in which they were */
  uint64_t *used;
  uint64_t round;
  uint32_t seen_capacity, seen_count;

  uint64_t configurations;
  uint32_t least_left;
  const struct history_op *stuck; /* the first end in the way where the fewest were left */
};

/* --- configurations seen ------------------------------------------------------------------------- */

static void *allocate(size_t count, size_t size) {
  void *pointer = calloc(count, size);
  if (pointer != NULL) return pointer;
  (void)fprintf(stderr, "linear: not enough memory\n");
  abort();
}

static void size_table(struct linear_search *search, uint32_t capacity) {
  search->seen = allocate(capacity, sizeof search->seen[0]);
  search->used = allocate(capacity, sizeof search->used[0]);
  search->seen_capacity = capacity;
  search->seen_count = 0;
}

_Static_assert(sizeof(struct seen) % 8 == 0, "hash_of() takes whole words");

/* FNV-1a by words. */
static uint64_t hash_of(const struct seen *key) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325), words[sizeof *key / 8];
  memcpy(words, key, sizeof words);
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    hash = (hash ^ words[i] ^ words[i] >> 32) * UINT64_C(0x100000001b3);
  return hash ^ hash >> 29;
}

/* Whether it was there; now it is. */
static bool insert(struct linear_search *search, const struct seen *key) {
  uint32_t mask = search->seen_capacity - 1, at = (uint32_t)hash_of(key) & mask;
  for (; search->used[at] == search->round; at = (at + 1) & mask) {
    if (memcmp(&search->seen[at], key, sizeof *key) == 0) return true;
  }
  search->seen[at] = *key;
  search->used[at] = search->round;
  search->seen_count++;
  return false;
}

static void grow(struct linear_search *search) {
  struct seen *seen = search->seen;
  uint64_t *used = search->used;
  const uint32_t capacity = search->seen_capacity;
  size_table(search, capacity * 2);
  for (uint32_t i = 0; i < capacity; i++) {
    if (used[i] == search->round) (void)insert(search, &seen[i]);
  }
  free(seen);
  free(used);
}

static bool was_seen(struct linear_search *search) {
  struct seen key;
  memset(&key, 0, sizeof key);
  memcpy(key.placed, search->placed, sizeof key.placed);
  key.listed = (uint8_t)search->listed;
  if (!search->campaign.limited && search->issued > 0) memcpy(key.order, search->order, (size_t)search->issued);
  if (search->seen_count >= search->seen_capacity / 2) grow(search);
  return insert(search, &key);
}

/* --- placing ------------------------------------------------------------------------------------- */

static bool is_placed(const struct linear_search *search, uint32_t step) {
  return (search->placed[step / 64] >> step % 64 & 1) != 0;
}

static void lift_node(struct linear_search *search, uint32_t node) {
  search->next[search->previous[node]] = search->next[node];
  search->previous[search->next[node]] = search->previous[node];
}

static void return_node(struct linear_search *search, uint32_t node) {
  search->next[search->previous[node]] = node;
  search->previous[search->next[node]] = node;
}

static void place(struct linear_search *search, uint32_t step) {
  const struct linear_step *placed = &search->campaign.steps[step];
  /* The end first, so that the begin, once lifted, knows what follows them both. */
  if (!placed->optional) {
    lift_node(search, END_OF(step));
    search->left--;
  }
  lift_node(search, BEGIN_OF(step));
  search->placed[step / 64] |= UINT64_C(1) << step % 64;
  search->trail[search->trail_count++] = step;
}

static void take_back(struct linear_search *search, uint32_t trail_count) {
  while (search->trail_count > trail_count) {
    const uint32_t step = search->trail[--search->trail_count];
    return_node(search, BEGIN_OF(step));
    if (!search->campaign.steps[step].optional) {
      return_node(search, END_OF(step));
      search->left++;
    }
    search->placed[step / 64] &= ~(UINT64_C(1) << step % 64);
  }
}

/* --- what fits ----------------------------------------------------------------------------------- */

static bool fits_listed(const struct linear_search *search, const struct linear_step *step) {
  uint32_t count = 0, first = 0;
  for (uint32_t i = 0; i < search->listed; i++) {
    if (search->order[i] != step->user) continue;
    if (count++ == 0) first = i + 1;
  }
  return count == step->listed_count && (step->number == 0 || first == step->number);
}

static bool fits(const struct linear_search *search, const struct linear_step *step) {
  if (search->issued < step->issued_low || search->issued > step->issued_high) return false;
  if ((int32_t)search->listed < step->listed_low || (int32_t)search->listed > step->listed_high) return false;
  const bool holds = (search->holders >> step->user & 1) != 0;
  if (step->holds != LINEAR_EITHER && holds != (step->holds == LINEAR_HOLDS)) return false;
  return !step->counts_listed || fits_listed(search, step);
}

static bool may_take(const struct linear_search *search, const struct linear_step *step) {
  const struct linear_steps *campaign = &search->campaign;
  const uint32_t number = (uint32_t)(search->issued + 1);
  if (search->issued < 0 || number > campaign->stock || (step->optional && search->crashed)) return false;
  if (campaign->limited && (search->holders >> step->user & 1) != 0) return false;
  if (step->number != 0 && step->number != number) return false;
  if (campaign->owner[number] != LINEAR_NONE) return campaign->owner[number] == step->user;
  return !campaign->limited || campaign->number_of[step->user] == 0;
}

static bool changes(const struct linear_search *search, const struct linear_step *step) {
  return step->kind == LINEAR_TAKE || step->kind == LINEAR_CRASH || (step->kind == LINEAR_CREATE && search->issued < 0);
}

/* --- searching ----------------------------------------------------------------------------------- */

/* Places everything that changes nothing and fits. Once through is enough: what is placed opens the way only for what
 * comes later in the list, since the state stays the same. */
static void place_lookers(struct linear_search *search) {
  uint32_t node = search->next[0];
  while (node != 0 && node <= LINEAR_STEPS_MAX) {
    const uint32_t step = node - 1;
    const struct linear_step *looker = &search->campaign.steps[step];
    const bool free = looker->after == LINEAR_NONE || is_placed(search, looker->after);
    /* The place in the list is kept: a step that is lifted still knows what followed it. */
    if (free && !changes(search, looker) && fits(search, looker)) place(search, step);
    node = search->next[node];
  }
  if (node == 0 || search->left >= search->least_left) return;
  search->least_left = search->left;
  search->stuck = search->campaign.steps[node - 1 - LINEAR_STEPS_MAX].op;
}

static bool explore(struct linear_search *search);

/* Makes the step's change, goes on from there, and takes it back if that leads nowhere. */
static bool explore_change(struct linear_search *search, uint32_t step) {
  const struct linear_step *change = &search->campaign.steps[step];
  const uint64_t holders = search->holders;
  const uint32_t trail_count = search->trail_count;
  const int32_t issued = search->issued;
  const bool crashed = search->crashed;
  if (change->kind == LINEAR_TAKE) {
    if (!may_take(search, change)) return false;
    search->order[search->issued++] = (uint8_t)change->user;
    if (search->campaign.limited) search->holders |= UINT64_C(1) << change->user;
  } else if (change->kind == LINEAR_CREATE) {
    search->issued = 0;
  } else {
    search->crashed = true;
  }
  place(search, step);
  if (explore(search)) return true;
  take_back(search, trail_count);
  search->holders = holders;
  search->issued = issued;
  search->crashed = crashed;
  return false;
}

/* Whether the steps left can be placed. If not, everything is as it was before. */
static bool explore(struct linear_search *search) {
  const uint32_t trail_count = search->trail_count;
  search->configurations++;
  place_lookers(search);
  if (search->left == 0) return true;
  bool found = false;
  if (!was_seen(search)) {
    /* Everything up to the first end may come next: nothing of it came after anything else. */
    for (uint32_t node = search->next[0]; node != 0 && node <= LINEAR_STEPS_MAX && !found; node = search->next[node]) {
      const struct linear_step *step = &search->campaign.steps[node - 1];
      const bool free = step->after == LINEAR_NONE || is_placed(search, step->after);
      if (free && changes(search, step)) found = explore_change(search, node - 1);
    }
    if (!found && search->campaign.lists && (int32_t)search->listed < search->issued) {
      search->listed++;
      found = explore(search);
      if (!found) search->listed--;
    }
  }
  if (!found) take_back(search, trail_count);
  return found;
}

/* --- a campaign ---------------------------------------------------------------------------------- */

/* Begins before ends of the same stamp, so that what only touches counts as overlapping. */
static int by_stamp(const void *a, const void *b) {
  const struct event *left = a, *right = b;
  if (left->stamp != right->stamp) return left->stamp < right->stamp ? -1 : 1;
  return left->node < right->node ? -1 : left->node > right->node;
}

static void list_events(struct linear_search *search) {
  struct event events[NODES];
  uint32_t count = 0;
  for (uint32_t i = 0; i < search->campaign.count; i++) {
    const struct linear_step *step = &search->campaign.steps[i];
    events[count++] = (struct event){step->begin, BEGIN_OF(i)};
    /* Nothing has to wait for what may be left out. */
    if (!step->optional) events[count++] = (struct event){step->end, END_OF(i)};
  }
  qsort(events, count, sizeof events[0], by_stamp);
  uint32_t last = 0;
  for (uint32_t i = 0; i < count; i++) {
    search->next[last] = events[i].node;
    search->previous[events[i].node] = last;
    last = events[i].node;
  }
  search->next[last] = 0;
  search->previous[0] = last;
}

static const char *search_campaign(struct linear_search *search) {
  list_events(search);
  memset(search->placed, 0, sizeof search->placed);
  search->trail_count = 0;
  search->left = search->campaign.required;
  search->issued = search->campaign.created ? -1 : 0;
  search->listed = 0;
  search->crashed = false;
  search->holders = 0;
  search->round++;
  search->seen_count = 0;
  search->least_left = UINT32_MAX;
  search->stuck = NULL;
  return explore(search) ? NULL : "no order of the operations gives these answers";
}

static void check_view(struct linear_search *search, const struct history *history,
                       const struct history_campaign *campaign, const struct history_op *const *ops, uint32_t count,
                       unsigned view, struct linear_verdict *verdict) {
  const struct history_op *stuck;
  if (!verdict->linearizable) return;
  const char *what = linear_steps_make(&search->campaign, history, campaign, ops, count, view, &stuck);
  if (what == NULL) {
    what = search_campaign(search);
    stuck = search->stuck;
  }
  if (what == NULL) return;
  verdict->linearizable = false;
  verdict->what = what;
  verdict->campaign = campaign->id;
  verdict->stuck = stuck;
}

/* --- outside ------------------------------------------------------------------------------------- */

struct linear_search *linear_create(void) {
  struct linear_search *search = allocate(1, sizeof *search);
  size_table(search, 256);
  return search;
}

void linear_destroy(struct linear_search *search) {
  free(search->seen);
  free(search->used);
  free(search);
}

/* What was asked of campaigns that there are not. */
static void check_absent(const struct history *history, const struct history_op *const *ops, uint32_t count,
                         struct linear_verdict *verdict) {
  for (uint32_t i = 0; i < count && verdict->linearizable; i++) {
    if (ops[i]->kind == HISTORY_CRASH || history_campaign_of(history, ops[i]->campaign) != NULL) continue;
    if (ops[i]->status == COUPON_NO_CAMPAIGN || ops[i]->status == HISTORY_UNANSWERED) continue;
    *verdict =
        (struct linear_verdict){.what = "there is no such campaign", .campaign = ops[i]->campaign, .stuck = ops[i]};
  }
}

struct linear_verdict linear_check(struct linear_search *search, const struct history *history) {
  const struct history_op *ops[HISTORY_THREADS * HISTORY_OPS];
  const uint32_t count = history_sort(history, ops);
  struct linear_verdict verdict = {.linearizable = true};
  search->configurations = 0;
  check_absent(history, ops, count, &verdict);
  for (uint32_t i = 0; i < history->campaigns_count; i++) {
    const struct history_campaign *campaign = &history->campaigns[i];
    /* Each view leaves out what has an order of its own; together they leave nothing out. */
    const unsigned numbers = LINEAR_NUMBERS | LINEAR_PAGES | LINEAR_SUMS;
    const unsigned view = campaign->counts_apart ? numbers : numbers | LINEAR_COUNTS;
    const bool lists_apart = campaign->lists_apart && campaign->limit == 0;
    check_view(search, history, campaign, ops, count, lists_apart ? view - LINEAR_SUMS : view, &verdict);
    if (lists_apart) check_view(search, history, campaign, ops, count, view - LINEAR_PAGES, &verdict);
    if (campaign->counts_apart) check_view(search, history, campaign, ops, count, LINEAR_COUNTS, &verdict);
  }
  verdict.configurations = search->configurations;
  return verdict;
}

void linear_print(const struct linear_verdict *verdict, const struct history *history, FILE *file) {
  if (verdict->linearizable) {
    (void)fprintf(file, "# linearizable\n");
  } else {
    (void)fprintf(file, "# not linearizable: campaign %" PRIu64 ": %s\n", verdict->campaign, verdict->what);
    if (verdict->stuck != NULL) (void)fprintf(file, "# the furthest that any order comes is before ");
    if (verdict->stuck != NULL) history_print_op(history, verdict->stuck, file);
  }
  history_print(history, file);
}
