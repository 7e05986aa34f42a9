/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all rivals are asked, and how: load.c measures and checks, a rival's own file only speaks to it.
 *
 * A rival holds one campaign: a stock, and the users who have a coupon of it. Each request is answered LOAD_ISSUED
 * once for a user and LOAD_ALREADY from then on, and LOAD_SOLD_OUT if there is none left for who has none.
 */
#ifndef RIVALS_LOAD_H
#define RIVALS_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest number of users in one call, pipeline or transaction. */
#define LOAD_BATCH_MAX 4096

/* Answers are characters, so that those of a batch are a string in any language a server speaks. */
enum { LOAD_SOLD_OUT = '0', LOAD_ISSUED = '1', LOAD_ALREADY = '2' };

struct load_client;

struct load_rival {
  const char *name;
  /* NULL if nobody answers there, or not yet. One connection is used by one thread at a time. */
  void *(*connect)(const char *target);
  void (*disconnect)(void *connection);
  /* Makes the tables or procedures, once, before anything else is asked. */
  bool (*prepare)(void *connection);
  /* Nobody holds anything, and `stock` are to be had. Alone. */
  bool (*reset)(void *connection, uint64_t stock);
  /* One request or call for `count` different users, whose answers it writes in their order; durable when it returns,
   * as far as the rival was told to be. */
  bool (*issue)(void *connection, const uint64_t *users, size_t count, char *answers);
  /* How many hold a coupon, and how many coupons are left. Alone. */
  bool (*audit)(void *connection, uint64_t *held, uint64_t *left);
  /* What it occupies, in bytes, in the place where it keeps the users. Alone. */
  bool (*size)(void *connection, uint64_t *bytes);
  /* NULL, or asks for all these clients from one thread, until load_take() is 0 for each. */
  bool (*drive)(struct load_client *clients, size_t count);
};

/* One of the clients that drive() was given. */
struct load_client *load_client_at(struct load_client *clients, size_t index);

/* The client's connection. */
void *load_connection(const struct load_client *client);

/* The next users to ask for, at most a batch, into `users`; 0 if there are no more. Starts the batch's time. */
size_t load_take(struct load_client *client, uint64_t *users);

/* They have been answered. */
void load_told(struct load_client *client, const uint64_t *users, const char *answers, size_t count);

/* The whole program of a rival: reads the arguments, runs, prints a line of JSON. Returns main()'s status: 0, 1 if
 * the rival broke a promise, 2 if it could not be asked. */
int load_main(int count, char **arguments, const struct load_rival *rival);

#endif
