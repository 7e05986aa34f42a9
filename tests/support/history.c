/* SPDX-License-Identifier: Apache-2.0 */
#include "support/history.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void give_up(const char *why) {
  (void)fprintf(stderr, "history: %s\n", why);
  abort();
}

/* --- recording ----------------------------------------------------------------------------------- */

void history_init(struct history *history) {
  *history = (struct history){0};
  for (uint32_t i = 0; i < HISTORY_THREADS; i++) {
    struct history_thread *thread = &history->threads[i];
    thread->ops = calloc(HISTORY_OPS, sizeof thread->ops[0]);
    thread->listed = calloc(HISTORY_LISTED, sizeof thread->listed[0]);
    if (thread->ops == NULL || thread->listed == NULL) give_up("not enough memory");
  }
}

void history_fini(struct history *history) {
  for (uint32_t i = 0; i < HISTORY_THREADS; i++) {
    free(history->threads[i].ops);
    free(history->threads[i].listed);
  }
}

void history_clear(struct history *history) {
  history->campaigns_count = 0;
  for (uint32_t i = 0; i < HISTORY_THREADS; i++) {
    history->threads[i].ops_count = 0;
    history->threads[i].listed_count = 0;
  }
}

struct history_campaign *history_add_campaign(struct history *history, uint64_t id, uint64_t stock, uint64_t limit) {
  if (history->campaigns_count == HISTORY_CAMPAIGNS) give_up("more campaigns than there is room for");
  struct history_campaign *campaign = &history->campaigns[history->campaigns_count++];
  *campaign = (struct history_campaign){.id = id, .stock = stock, .limit = limit};
  return campaign;
}

const struct history_campaign *history_campaign_of(const struct history *history, uint64_t id) {
  for (uint32_t i = 0; i < history->campaigns_count; i++) {
    if (history->campaigns[i].id == id) return &history->campaigns[i];
  }
  return NULL;
}

struct history_op *history_add(struct history *history, uint32_t thread, enum history_kind kind) {
  struct history_thread *own = &history->threads[thread];
  if (own->ops_count == HISTORY_OPS) give_up("more operations than there is room for");
  struct history_op *op = &own->ops[own->ops_count++];
  *op = (struct history_op){.thread = thread, .kind = kind, .listed = own->listed_count};
  return op;
}

void history_add_listed(struct history *history, struct history_op *page, uint64_t user) {
  struct history_thread *own = &history->threads[page->thread];
  if (own->listed_count == HISTORY_LISTED) give_up("longer lists than there is room for");
  own->listed[own->listed_count++] = user;
  page->count++;
}

uint64_t history_listed(const struct history *history, const struct history_op *page, uint64_t i) {
  return history->threads[page->thread].listed[page->listed + i];
}

static int by_begin(const void *a, const void *b) {
  const struct history_op *left = *(const struct history_op *const *)a, *right = *(const struct history_op *const *)b;
  if (left->begin != right->begin) return left->begin < right->begin ? -1 : 1;
  if (left->thread != right->thread) return left->thread < right->thread ? -1 : 1;
  return left < right ? -1 : left > right; /* one array: the order of the requests of a batch */
}

uint32_t history_sort(const struct history *history, const struct history_op **ops) {
  uint32_t count = 0;
  for (uint32_t t = 0; t < HISTORY_THREADS; t++) {
    for (uint32_t i = 0; i < history->threads[t].ops_count; i++) ops[count++] = &history->threads[t].ops[i];
  }
  qsort(ops, count, sizeof(const struct history_op *), by_begin);
  return count;
}

/* --- the words of the text form ------------------------------------------------------------------ */

static const char *const kind_names[HISTORY_KINDS] = {"create", "issue", "lookup", "info", "tickets", "crash"};

enum { ASKED = 1, TOLD = 2 };

/* The fields that are written as name=number, before the arrow or behind it, where they are not zero. */
static const struct {
  const char *name;
  size_t offset;
  unsigned where;
} fields[] = {
    {"user", offsetof(struct history_op, user), ASKED},          {"from", offsetof(struct history_op, from), ASKED},
    {"capacity", offsetof(struct history_op, capacity), ASKED},  {"batch", offsetof(struct history_op, batch), ASKED},
    {"number", offsetof(struct history_op, number), TOLD},       {"count", offsetof(struct history_op, count), TOLD},
    {"remaining", offsetof(struct history_op, remaining), TOLD}, {"lsn", offsetof(struct history_op, lsn), TOLD},
};
#define FIELDS (sizeof fields / sizeof fields[0])

static uint64_t *field_of(struct history_op *op, size_t i) {
  return (uint64_t *)(void *)((char *)op + fields[i].offset);
}

/* Without the prefix that all constants have. */
static const char *word_of(coupon_status status) {
  return status == HISTORY_UNANSWERED ? "?" : coupon_status_name(status) + sizeof "COUPON_" - 1;
}

/* Leaves the status alone if the word is none. */
static bool read_status(const char *word, coupon_status *status) {
  const bool unanswered = strcmp(word, "?") == 0;
  coupon_status candidate = -64; /* farther than any number in use, on either side */
  while (!unanswered && candidate < 64 && strcmp(word, word_of(candidate)) != 0) candidate++;
  if (candidate == 64) return false;
  *status = unanswered ? HISTORY_UNANSWERED : candidate;
  return true;
}

/* --- printing ------------------------------------------------------------------------------------ */

/* Which fields an operation has at all, whatever their values: those of the lines in history.h. */
static bool is_shown(const struct history_op *op, size_t offset, uint64_t value) {
  const bool names_user = op->kind == HISTORY_ISSUE || op->kind == HISTORY_LOOKUP;
  const bool counted = offset == offsetof(struct history_op, count) || offset == offsetof(struct history_op, remaining);
  if (offset == offsetof(struct history_op, user)) return names_user;
  if (counted && op->kind == HISTORY_TICKETS) return false; /* the list tells */
  return value != 0 || (counted && op->kind == HISTORY_INFO);
}

static void print_fields(const struct history_op *op, unsigned where, FILE *file) {
  struct history_op copy = *op;
  for (size_t i = 0; i < FIELDS; i++) {
    const uint64_t value = *field_of(&copy, i);
    if (fields[i].where == where && is_shown(op, fields[i].offset, value))
      (void)fprintf(file, " %s=%" PRIu64, fields[i].name, value);
  }
}

void history_print_op(const struct history *history, const struct history_op *op, FILE *file) {
  (void)fprintf(file, "t%" PRIu32 " %" PRIu64 "..", op->thread, op->begin);
  if (op->end == HISTORY_NEVER)
    (void)fprintf(file, "- %s", kind_names[op->kind]);
  else
    (void)fprintf(file, "%" PRIu64 " %s", op->end, kind_names[op->kind]);
  if (op->kind != HISTORY_CRASH) {
    (void)fprintf(file, " %" PRIu64, op->campaign);
    print_fields(op, ASKED, file);
    (void)fprintf(file, " -> %s", word_of(op->status));
    print_fields(op, TOLD, file);
  }
  for (uint64_t i = 0; op->kind == HISTORY_TICKETS && i < op->count; i++)
    (void)fprintf(file, "%s%" PRIu64, i == 0 ? " users=" : ",", history_listed(history, op, i));
  (void)fprintf(file, op->final ? " final\n" : "\n");
}

void history_print(const struct history *history, FILE *file) {
  const struct history_op *ops[HISTORY_THREADS * HISTORY_OPS];
  const uint32_t count = history_sort(history, ops);
  for (uint32_t i = 0; i < history->campaigns_count; i++) {
    const struct history_campaign *campaign = &history->campaigns[i];
    (void)fprintf(file, "campaign %" PRIu64 " stock=%" PRIu64 " limit=%" PRIu64 "%s%s%s\n", campaign->id,
                  campaign->stock, campaign->limit, campaign->created ? " created" : "",
                  campaign->counts_apart ? " counts=apart" : "", campaign->lists_apart ? " lists=apart" : "");
  }
  for (uint32_t i = 0; i < count; i++) history_print_op(history, ops[i], file);
}

/* --- reading ------------------------------------------------------------------------------------- */

static bool read_number(const char *text, uint64_t *value, const char **rest) {
  char *end;
  *value = strtoull(text, &end, 10);
  *rest = end;
  return text[0] >= '0' && text[0] <= '9';
}

/* "name=12": the part behind the sign, if the word has this name. */
static const char *value_of(const char *word, const char *name) {
  const size_t length = strlen(name);
  return strncmp(word, name, length) == 0 && word[length] == '=' ? word + length + 1 : NULL;
}

static const char *read_campaign(struct history *history, char **words) {
  struct history_campaign campaign = {.limit = 1};
  const char *rest, *value, *word = strtok_r(NULL, " \n", words);
  if (word == NULL || !read_number(word, &campaign.id, &rest)) return "a campaign without an id";
  while ((word = strtok_r(NULL, " \n", words)) != NULL) {
    if (strcmp(word, "created") == 0)
      campaign.created = true;
    else if (strcmp(word, "counts=apart") == 0)
      campaign.counts_apart = true;
    else if (strcmp(word, "lists=apart") == 0)
      campaign.lists_apart = true;
    else if ((value = value_of(word, "stock")) == NULL || !read_number(value, &campaign.stock, &rest))
      if ((value = value_of(word, "limit")) == NULL || !read_number(value, &campaign.limit, &rest))
        return "an unknown word about a campaign";
  }
  if (history->campaigns_count == HISTORY_CAMPAIGNS) return "too many campaigns";
  history->campaigns[history->campaigns_count++] = campaign;
  return NULL;
}

static const char *read_users(struct history *history, struct history_op *op, const char *list) {
  const char *rest = list;
  do {
    uint64_t user;
    if (!read_number(list, &user, &rest)) return "a list that is no list of users";
    if (history->threads[op->thread].listed_count == HISTORY_LISTED) return "a list that is too long";
    history_add_listed(history, op, user);
    list = rest + 1;
  } while (*rest == ',');
  return NULL;
}

/* What follows the campaign's id. */
static const char *read_rest(struct history *history, struct history_op *op, char **words) {
  const char *rest, *value, *word;
  while ((word = strtok_r(NULL, " \n", words)) != NULL) {
    bool known = strcmp(word, "->") == 0 || read_status(word, &op->status);
    if (strcmp(word, "final") == 0) known = op->final = true;
    if ((value = value_of(word, "users")) != NULL) {
      const char *what = read_users(history, op, value);
      if (what != NULL) return what;
      continue;
    }
    for (size_t i = 0; i < FIELDS && !known; i++) {
      value = value_of(word, fields[i].name);
      known = value != NULL && read_number(value, field_of(op, i), &rest);
    }
    if (!known) return "an unknown word about an operation";
  }
  return NULL;
}

static const char *read_op(struct history *history, const char *word, char **words) {
  uint64_t thread, begin, end = HISTORY_NEVER, campaign = 0;
  const char *rest;
  if (word[0] != 't' || !read_number(word + 1, &thread, &rest) || thread >= HISTORY_THREADS) return "no such thread";
  word = strtok_r(NULL, " \n", words);
  if (word == NULL || !read_number(word, &begin, &rest) || strncmp(rest, "..", 2) != 0) return "no stretch of time";
  if (rest[2] != '-' && (!read_number(rest + 2, &end, &rest) || end < begin)) return "a stretch of time without an end";
  word = strtok_r(NULL, " \n", words);
  int kind = 0;
  while (kind < HISTORY_KINDS && (word == NULL || strcmp(word, kind_names[kind]) != 0)) kind++;
  if (kind == HISTORY_KINDS) return "an operation that is none";
  if (kind != HISTORY_CRASH) {
    word = strtok_r(NULL, " \n", words);
    if (word == NULL || !read_number(word, &campaign, &rest)) return "an operation without a campaign";
  }
  if (history->threads[thread].ops_count == HISTORY_OPS) return "too many operations of a thread";
  struct history_op *op = history_add(history, (uint32_t)thread, (enum history_kind)kind);
  op->begin = begin;
  op->end = end;
  op->campaign = campaign;
  op->status = kind == HISTORY_CRASH ? COUPON_OK : HISTORY_UNANSWERED;
  return read_rest(history, op, words);
}

const char *history_read(struct history *history, FILE *file, uint32_t *line) {
  char text[HISTORY_LISTED * 8];
  history_clear(history);
  for (*line = 1; fgets(text, sizeof text, file) != NULL; ++*line) {
    char *words;
    const char *word = strtok_r(text, " \n", &words);
    if (word == NULL || word[0] == '#' || word[strlen(word) - 1] == ':') continue;
    const char *what = strcmp(word, "campaign") == 0 ? read_campaign(history, &words) : read_op(history, word, &words);
    if (what != NULL) return what;
  }
  return NULL;
}
