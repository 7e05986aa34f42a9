/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a history is linearizable: whether each operation can be given one moment between its begin and its end
 * such that, done one after the other in the order of these moments, all give the answers that were told.
 *
 * What one campaign does, one operation after the other:
 *
 *   issue     ISSUED and the next number, if a unit is left and (with a limit) the user has no ticket;
 *             ALREADY_ISSUED and the number of the user's ticket, if there is one; else SOLD_OUT
 *   batch     its issues, in any order that lets a user's second request come after the first, at any moments between
 *             the batch's begin and end
 *   lookup    the user's ticket, or NOT_FOUND
 *   info      how many are issued and remain
 *   tickets   the tickets that are listed by then, from some number on; a page that is not full ends at the last one
 *   create    the campaign is there; before that every answer is NO_CAMPAIGN
 *   crash     nothing; but see below
 *
 * A number that was told, whenever and by whatever operation, binds the order: ticket k is the k-th issue. So the
 * reader that looks when all is over fixes most of what a search would otherwise have to try.
 *
 * Where the header promises less, less is asked:
 *   - Tickets are listed in the order of their numbers at some moment after the issue, unseen: pages, and lookups
 *     without a limit, tell of the listed ones. But a ticket that was told of as final, with its number, is listed.
 *   - `counts_apart`: the numbers are the order of the log, the counts tell of the stock, and of two issues that
 *     overlap the stock may see the later one first. The campaign is then judged twice: everything but counts, in the
 *     order of the numbers; and everything but numbers and lists, in any order.
 *   - `lists_apart`: without a limit, what a lookup tells of may trail what pages list, or the other way round. Each is
 *     then judged without the other.
 *   - A call that never returned may have happened or not. So may a call before a crash whose answer was not final:
 *     if it was issued, it may be lost, and what else it was told counts for nothing. What is left of the history has
 *     to be linearizable, including what is found after the crash. ("Durably linearizable", with answers that are
 *     not final taken for calls that did not return.)
 *
 * How: linearizability is a property of each object alone, so campaigns are judged one by one. The search is that of
 * Wing and Gong with Lowe's memory of configurations seen. Operations that change nothing are placed as soon as they
 * fit, which never hurts; so it branches only at issues, and where the numbers are known not even there.
 */
#ifndef TESTS_SUPPORT_LINEAR_H
#define TESTS_SUPPORT_LINEAR_H

#include "support/history.h"

#define LINEAR_STOCK_MAX 63 /* tickets of one campaign */
#define LINEAR_USERS_MAX 64 /* users of one campaign */

struct linear_verdict {
  bool linearizable;
  const char *what;               /* what is wrong, or NULL */
  uint64_t campaign;              /* in which */
  const struct history_op *stuck; /* of those that could not be placed the one that had to be first; may be NULL */
  uint64_t configurations;        /* looked at, of all campaigns */
};

/* Room to work in, for one thread. Ends the program where there is no memory. */
struct linear_search;
struct linear_search *linear_create(void);
void linear_destroy(struct linear_search *search);

struct linear_verdict linear_check(struct linear_search *search, const struct history *history);

/* Prints what is wrong, where, and the history. */
void linear_print(const struct linear_verdict *verdict, const struct history *history, FILE *file);

/* The same decision in the plainest way: every order of at most LINEAR_BRUTE_MAX operations of each campaign is
 * tried on a model that answers. Shares no line with the above. */
#define LINEAR_BRUTE_MAX 10
bool linear_brute(const struct history *history);

#endif
