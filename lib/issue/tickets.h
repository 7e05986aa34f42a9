/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tickets of one campaign in the order of their numbers. One writer at a time (the commit stage, or recovery)
 * appends; any thread reads, wait-free. Room is made beforehand by the requests, where running out of memory can
 * still be answered.
 */
#ifndef CPN_ISSUE_TICKETS_H
#define CPN_ISSUE_TICKETS_H

#include "base/chunks.h"

struct cpn_ticket_row {
  uint64_t user; /* the first three: written before `numbered` covers the row, never again */
  uint64_t lsn;
  uint64_t time_ns;
  _Atomic uint64_t count; /* in the row of a user's first ticket: how many the user has; written by the commit stage */
};

struct cpn_tickets {
  /* Tickets that have their number. Written by the commit stage; read by whoever looks at rows. A line of its own,
   * apart from the stock that every request writes. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t numbered;
  struct cpn_chunks rows;
};

void cpn_tickets_init(struct cpn_tickets *tickets, uint64_t stock);
void cpn_tickets_fini(struct cpn_tickets *tickets, struct cpn_memory *memory);

/* Makes room for ticket `number`, 1 … stock. Returns the highest number for which there is room now, >= `number`;
 * 0: no memory. Lock-free. Room up to there holds no gap if every lower number was asked for before. */
CPN_MUST_CHECK uint64_t cpn_tickets_ensure(struct cpn_tickets *tickets, struct cpn_memory *memory, uint64_t number);

/* Appends the next ticket, for which there is room; returns its number. */
uint64_t cpn_tickets_append(struct cpn_tickets *tickets, uint64_t user, uint64_t lsn, uint64_t time_ns);

uint64_t cpn_tickets_numbered(const struct cpn_tickets *tickets);

/* The row of a number in 1 … numbered. */
struct cpn_ticket_row *cpn_tickets_row(const struct cpn_tickets *tickets, uint64_t number);

/* The number of the ticket whose record has this LSN, or 0 if none has (yet). LSNs rise with numbers: a binary
 * search. */
uint64_t cpn_tickets_find(const struct cpn_tickets *tickets, uint64_t lsn);

#endif
