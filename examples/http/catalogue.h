/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the shop knows of its coupons. The engine's log says how many there are, when and to whom; name, description
 * and amount are written here, before the campaign is created in the engine: so whoever holds a ticket can be told
 * what it is worth. A line whose campaign is not in the engine was never answered for, and does not count.
 */
#ifndef EXAMPLE_CATALOGUE_H
#define EXAMPLE_CATALOGUE_H

#include <coupon/coupon.h>
#include <pthread.h>

#include "files.h"
#include "reason.h"

enum { DESCRIPTION_MAX = 1024 };

struct coupon {
  uint64_t id;
  char *name, *description; /* ended by a zero */
  int64_t discount_amount;
  uint64_t quantity;
  uint64_t starts_ns, ends_ns; /* 0: at once, never */
  uint64_t per_user_limit;
  /* Of a campaign that another program made, whose users are not the numbers of our accounts: its id is taken, and
   * nobody is offered it. */
  bool foreign_users;
};

struct catalogue {
  coupon_engine *engine;
  struct journal journal;
  size_t limit;
  pthread_mutex_t creating; /* one creation after the other */
  pthread_rwlock_t lock;    /* guards the two below; the coupons themselves never change */
  struct coupon **coupons;  /* in order of creation */
  size_t count;
};

/* Reads the file and holds it to the engine's campaigns. False after a message on standard error. */
bool catalogue_open(struct catalogue *catalogue, const char *file, coupon_engine *engine, size_t limit);
void catalogue_close(struct catalogue *catalogue);

/* Creates a coupon, durably in both places; waits for the disk. Takes over the strings of `coupon`. With
 * `choose_id` its id is one more than the highest, and is set. REASON_OK, or why not. Any thread. */
enum reason catalogue_create(struct catalogue *catalogue, struct coupon *coupon, bool choose_id);

/* The coupons from `from` on, at most `capacity`, without waiting for the disk. They stay valid. Any thread. */
size_t catalogue_list(struct catalogue *catalogue, size_t from, const struct coupon **coupons, size_t capacity);

void coupon_fini(struct coupon *coupon);

#endif
