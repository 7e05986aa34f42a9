/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a sale has told its users, kept outside of the log, so that a process killed in mid-sale can be
 * held to it. One line each: `user number lsn`, or `user refused STATUS`.
 */
#ifndef TOOLS_ACKS_H
#define TOOLS_ACKS_H

#include <coupon/coupon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ack {
  uint64_t user;
  uint64_t number; /* 0: refused */
  uint64_t lsn;
  bool sold_out; /* the refusal was that */
};

struct acks {
  struct ack *list;
  size_t count;
};

/* Writes one line by a single write(2), once the answer is final: the kernel has all of it or nothing when
 * the process is killed. False: errno tells why. */
bool acks_write(int descriptor, const struct coupon_ticket *ticket);

/* Reads a file of such lines. A last line without an end was cut short and counts as never written. False, after a
 * message: it cannot be read, or is something else. To be ended by acks_fini() in either case. */
bool acks_read(struct acks *acks, const char *path);
void acks_fini(struct acks *acks);

#endif
