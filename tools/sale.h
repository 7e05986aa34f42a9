/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `coupon sale`: a whole sale in one process, which then proves to itself that nothing went wrong.
 * Three rooms share this header: sale.c (the command), sale_run.c (the crowd), sale_check.c (the proof).
 */
#ifndef TOOLS_SALE_H
#define TOOLS_SALE_H

#include "acks.h"
#include "histogram.h"
#include "session.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sale_options {
  uint64_t campaign;
  uint64_t stock;
  uint64_t users;
  uint64_t calls; /* in one-account mode */
  uint64_t threads;
  uint64_t repeat_percent;
  uint64_t user_limit; /* 0: one-account mode */
  uint64_t seed;
  uint64_t kills; /* how often a process was killed while it wrote the file of acknowledgements */
  uint64_t segment_size_bytes;
  uint64_t checkpoint_log_bytes; /* 0: the library's default */
  const char *archive;           /* or NULL */
  int durability;
  bool resume;
  bool check;
  bool json;
  const char *directory; /* NULL: a temporary one */
  const char *ack_path;
  int ack_descriptor; /* -1: none */
};

/* One request, and what came of it. */
struct sale_answer {
  uint64_t number;
  uint64_t lsn;
  uint32_t user;
  coupon_status status; /* SALE_NOT_ASKED; COUPON_NOT_FINAL for any answer that was not final when it should be */
};

enum { SALE_NOT_ASKED = INT32_MIN };

/* A ticket as coupon_tickets() tells of it. */
struct sale_ticket {
  uint64_t user;
  uint64_t lsn;
  uint64_t time_ns;
};

struct sale_tickets {
  struct sale_ticket *list; /* number n is at n − 1 */
  uint64_t count;
};

struct sale {
  const struct sale_options *options;
  struct session session;
  const char *directory; /* NULL without a log */

  struct sale_answer *answers; /* in the order in which they are asked for */
  uint64_t total;
  struct sale_tickets before; /* the log's tickets when the sale began; at resuming and checking */
  struct acks acks;           /* to be checked */

  /* The crowd's result. */
  bool ran;     /* else there is none */
  bool stopped; /* the engine did, at a fault */
  uint64_t offered;
  uint64_t issued;
  uint64_t already_issued;
  uint64_t sold_out;
  uint64_t errors;
  coupon_status fault; /* the first one, or COUPON_OK */
  int ack_errno;       /* why an acknowledgement could not be written, or 0 */
  bool interrupted;
  double seconds;
  struct histogram latency_ns;

  /* The proof's. */
  uint64_t acknowledged;
  uint64_t unanswered;
  uint64_t tickets;
  uint64_t remaining;
  uint64_t violations;
};

/* Lays out who asks in which order. False: no memory. */
bool sale_prepare(struct sale *sale);

/* Lets the threads loose and waits for them. False, after a message: they could not be started. */
bool sale_run(struct sale *sale);

/* Reads all tickets of the campaign into `*tickets`, whose list is to be freed. COUPON_OK, or a fault. */
coupon_status sale_read_tickets(struct sale *sale, struct sale_tickets *tickets);

/* Holds the acknowledgements of an earlier process to the tickets found at the opening (`before`). */
void sale_check_acks(struct sale *sale);

/* Holds all answers to the tickets there are now. COUPON_OK, or the fault that kept it from that. */
coupon_status sale_check_answers(struct sale *sale);

/* Verifies the closed directory. CODE_DONE, or CODE_FAULT if it cannot be read. */
int sale_check_directory(struct sale *sale);

int command_sale(int argc, char **argv);

#endif
