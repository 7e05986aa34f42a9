/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proof after a sale. What the log holds (every ticket, read back) is held against what the answers
 * said, and, after a crash, against what an earlier process had acknowledged. Each broken rule is one
 * violation, told on stderr.
 */
#include "sale.h"

#include "output.h"
#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A broken sale breaks often; the first ones tell enough. */
enum { VIOLATIONS_SHOWN = 20 };

enum { TICKETS_AT_ONCE = 512 };

/* What the check keeps for each ticket: whether an answer told its number, and whether one issued it. */
enum { TOLD = 1, ISSUED_HERE = 2 };

__attribute__((format(printf, 2, 3))) static void violation(struct sale *sale, const char *what, ...) {
  if (sale->violations++ >= VIOLATIONS_SHOWN) return;
  va_list arguments;
  va_start(arguments, what);
  fputs("violation: ", stderr);
  vfprintf(stderr, what, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

static bool one_account(const struct sale *sale) { return sale->options->user_limit == 0; }

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* --- reading back ----------------------------------------------------------------------------- */

static bool append(struct sale_tickets *tickets, uint64_t *capacity, const struct coupon_ticket *ticket) {
  if (tickets->count == *capacity) {
    uint64_t wanted = *capacity == 0 ? TICKETS_AT_ONCE : *capacity * 2;
    struct sale_ticket *grown = realloc(tickets->list, wanted * sizeof *grown);
    if (grown == NULL) return false;
    tickets->list = grown;
    *capacity = wanted;
  }
  tickets->list[tickets->count++] = (struct sale_ticket){ticket->user, ticket->lsn, ticket->time_ns};
  return true;
}

coupon_status sale_read_tickets(struct sale *sale, struct sale_tickets *tickets) {
  struct coupon_ticket page[TICKETS_AT_ONCE];
  uint64_t capacity = 0;
  size_t got = TICKETS_AT_ONCE;
  *tickets = (struct sale_tickets){NULL, 0};
  while (got == TICKETS_AT_ONCE) {
    coupon_status status = coupon_tickets(sale->session.engine, sale->options->campaign, tickets->count + 1, page,
                                          sizeof page[0], TICKETS_AT_ONCE, &got);
    if (status == COUPON_NO_CAMPAIGN) return COUPON_OK;
    if (status != COUPON_OK) return status;
    for (size_t i = 0; i < got; i++) {
      if (page[i].number != tickets->count + 1)
        violation(sale, "ticket %" PRIu64 " is listed where ticket %" PRIu64 " belongs", page[i].number,
                  tickets->count + 1);
      if (!append(tickets, &capacity, &page[i])) return COUPON_E_NOMEM;
    }
  }
  return COUPON_OK;
}

/* --- after a crash ---------------------------------------------------------------------------- */

/* Whether `number` is a ticket of `user` at `lsn`. */
static bool matches(const struct sale_tickets *tickets, uint64_t number, uint64_t user, uint64_t lsn) {
  return number >= 1 && number <= tickets->count && tickets->list[number - 1].user == user &&
         tickets->list[number - 1].lsn == lsn;
}

void sale_check_acks(struct sale *sale) {
  const struct sale_tickets *found = &sale->before;
  unsigned char *told = calloc(found->count + 1, 1);
  if (told == NULL) {
    sale->fault = COUPON_E_NOMEM;
    return;
  }
  for (size_t i = 0; i < sale->acks.count; i++) {
    const struct ack *ack = &sale->acks.list[i];
    if (ack->number == 0 && ack->sold_out && found->count != sale->options->stock)
      violation(sale, "user %" PRIu64 " was told \"sold out\", but %" PRIu64 " of %" PRIu64 " are in the log",
                ack->user, found->count, sale->options->stock);
    if (ack->number == 0) continue;
    if (!matches(found, ack->number, ack->user, ack->lsn))
      violation(sale, "user %" PRIu64 " was given ticket %" PRIu64 " at LSN %" PRIu64 ", which is not in the log",
                ack->user, ack->number, ack->lsn);
    else if (told[ack->number - 1]++ == 0)
      sale->acknowledged++;
    else
      told[ack->number - 1] = 1; /* told again: no matter */
  }
  free(told);
  sale->unanswered = found->count - sale->acknowledged;
  uint64_t in_flight = sale->options->threads * sale->options->kills;
  if (sale->unanswered > in_flight)
    violation(sale,
              "%" PRIu64 " tickets are in the log which nobody was told of; at most %" PRIu64
              " requests were in flight",
              sale->unanswered, in_flight);
}

/* Nobody who was refused by a final answer may hold a ticket: nothing is ever given back. */
static void check_refusals(struct sale *sale, const unsigned char *holds) {
  for (size_t i = 0; i < sale->acks.count && !one_account(sale); i++) {
    const struct ack *ack = &sale->acks.list[i];
    if (ack->number == 0 && ack->user <= sale->options->users && holds[ack->user])
      violation(sale, "user %" PRIu64 " had been refused, and now holds a ticket", ack->user);
  }
}

/* --- after every sale ------------------------------------------------------------------------- */

/* The tickets alone: each user once, LSNs rise, times never fall, and those of the beginning stay. */
static void check_tickets(struct sale *sale, const struct sale_tickets *tickets, unsigned char *holds) {
  for (uint64_t i = 0; i < tickets->count; i++) {
    const struct sale_ticket *ticket = &tickets->list[i];
    if (i > 0 && ticket->lsn <= tickets->list[i - 1].lsn)
      violation(sale, "ticket %" PRIu64 " does not lie behind the one before it in the log", i + 1);
    if (i > 0 && ticket->time_ns < tickets->list[i - 1].time_ns)
      violation(sale, "ticket %" PRIu64 " is older than the one before it", i + 1);
    if (i < sale->before.count && !matches(&sale->before, i + 1, ticket->user, ticket->lsn))
      violation(sale, "ticket %" PRIu64 " has changed since the opening", i + 1);
    if (ticket->user == 0 || ticket->user > sale->options->users)
      violation(sale, "ticket %" PRIu64 " belongs to user %" PRIu64 ", who never asked", i + 1, ticket->user);
    else if (holds[ticket->user]++ != 0 && !one_account(sale)) {
      violation(sale, "user %" PRIu64 " holds a second ticket, %" PRIu64, ticket->user, i + 1);
      holds[ticket->user] = 1;
    }
  }
}

static void check_ticket_told(struct sale *sale, const struct sale_answer *answer, const struct sale_tickets *tickets,
                              unsigned char *told) {
  bool issued = answer->status == COUPON_ISSUED;
  if (!matches(tickets, answer->number, answer->user, answer->lsn)) {
    violation(sale, "user %" PRIu32 " was given ticket %" PRIu64 " at LSN %" PRIu64 ", which is not there",
              answer->user, answer->number, answer->lsn);
    return;
  }
  unsigned char *of = &told[answer->number - 1];
  if (issued && (*of & ISSUED_HERE) != 0)
    violation(sale, "ticket %" PRIu64 " was issued by two answers", answer->number);
  if (issued && answer->number <= sale->before.count)
    violation(sale, "ticket %" PRIu64 " of user %" PRIu32 " was issued as new, but had been there", answer->number,
              answer->user);
  if (!issued && one_account(sale))
    violation(sale, "\"already issued\", though there is no limit (ticket %" PRIu64 ")", answer->number);
  sale->acknowledged += *of == 0;
  *of = (unsigned char)(*of | TOLD | (issued ? ISSUED_HERE : 0));
}

static void check_answer(struct sale *sale, const struct sale_answer *answer, const struct sale_tickets *tickets,
                         unsigned char *told, const unsigned char *holds) {
  char word[SESSION_WORD_MAX];
  switch (answer->status) {
    case COUPON_ISSUED:
    case COUPON_ALREADY_ISSUED:
      check_ticket_told(sale, answer, tickets, told);
      return;
    case COUPON_SOLD_OUT:
      if (tickets->count != sale->options->stock)
        violation(sale, "user %" PRIu32 " was told \"sold out\", with %" PRIu64 " left", answer->user,
                  sale->options->stock - tickets->count);
      if (!one_account(sale) && holds[answer->user] != 0)
        violation(sale, "user %" PRIu32 " was told \"sold out\", and holds a ticket", answer->user);
      return;
    case SALE_NOT_ASKED:
      return;
    case COUPON_NOT_FINAL:
      violation(sale, "an answer to user %" PRIu32 " was not final", answer->user);
      return;
    default:
      if (answer->status >= 0)
        violation(sale, "user %" PRIu32 " was answered \"%s\"", answer->user, session_word(answer->status, word));
  }
}

/* Numbers that must agree; and, if everybody got an answer, what they must come to. */
static void check_totals(struct sale *sale, const struct coupon_campaign_info *info, const struct sale_tickets *tickets,
                         const unsigned char *told) {
  uint64_t stock = sale->options->stock;
  if (info->issued + info->remaining != stock)
    violation(sale, "issued %" PRIu64 " and remaining %" PRIu64 " are not the stock of %" PRIu64, info->issued,
              info->remaining, stock);
  if (info->issued != tickets->count)
    violation(sale, "%" PRIu64 " are issued, but %" PRIu64 " tickets are listed", info->issued, tickets->count);
  uint64_t untold = 0;
  for (uint64_t i = sale->before.count; i < tickets->count; i++) untold += (told[i] & ISSUED_HERE) == 0;
  if (untold > sale->errors)
    violation(sale, "nobody was told of %" PRIu64 " new tickets, though only %" PRIu64 " requests failed", untold,
              sale->errors);
  if (sale->errors > 0 || sale->interrupted || sale->ack_errno != 0) return;
  uint64_t wanted = one_account(sale) ? sale->before.count + sale->total : sale->options->users;
  if (tickets->count != least(stock, wanted))
    violation(sale, "%" PRIu64 " tickets, where stock and requests come to %" PRIu64, tickets->count,
              least(stock, wanted));
  if (sale->issued != tickets->count - sale->before.count)
    violation(sale, "%" PRIu64 " answers said \"issued\", but %" PRIu64 " tickets were added", sale->issued,
              tickets->count - sale->before.count);
}

coupon_status sale_check_answers(struct sale *sale) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct sale_tickets tickets = {NULL, 0};
  coupon_status status = coupon_info(sale->session.engine, sale->options->campaign, &info);
  if (status == COUPON_OK) status = sale_read_tickets(sale, &tickets);
  unsigned char *holds = calloc(sale->options->users + 1, 1);
  unsigned char *told = calloc(tickets.count + 1, 1);
  if (status == COUPON_OK && (holds == NULL || told == NULL)) status = COUPON_E_NOMEM;
  if (status == COUPON_OK && tickets.count < sale->before.count)
    violation(sale, "%" PRIu64 " tickets were there at the opening, now there are %" PRIu64, sale->before.count,
              tickets.count);
  else if (status == COUPON_OK) {
    uint64_t before_the_crash = sale->acknowledged;
    check_tickets(sale, &tickets, holds);
    for (uint64_t i = 0; i < sale->total; i++) check_answer(sale, &sale->answers[i], &tickets, told, holds);
    check_refusals(sale, holds);
    check_totals(sale, &info, &tickets, told);
    if (sale->options->check) sale->acknowledged = before_the_crash;
  }
  if (!sale->options->check) sale->unanswered = sale->errors;
  sale->tickets = tickets.count;
  sale->remaining = info.remaining;
  free(tickets.list);
  free(holds);
  free(told);
  return status;
}

int sale_check_directory(struct sale *sale) {
  struct verification v;
  char verdict[VERIFY_VERDICT_MAX];
  int code = verify_directory(sale->directory, NULL, &v);
  verify_verdict(&v, verdict);
  if (code == CODE_DAMAGED)
    violation(sale, "the closed directory does not verify: %s", verdict);
  else if (code != CODE_DONE)
    output_error("%s: %s", sale->directory, verdict);
  uint64_t counted = 0;
  for (size_t i = 0; i < v.rules.count; i++)
    if (v.rules.campaigns[i].id == sale->options->campaign) counted = v.rules.campaigns[i].issued;
  if (code == CODE_DONE && counted != sale->tickets)
    violation(sale, "verify counts %" PRIu64 " tickets, the engine %" PRIu64, counted, sale->tickets);
  if (code == CODE_DONE && !v.finding.ended && !sale->stopped)
    violation(sale, "the log of the closed directory does not end with END");
  verify_fini(&v);
  return code == CODE_DAMAGED ? CODE_DONE : code;
}
