/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may sign in. Passwords are there only as salted, slow hashes (yescrypt, in the notation of crypt(5), which names
 * salt and cost). Accounts are added by the command `accounts`, also while a service runs, which then finds them.
 */
#ifndef EXAMPLE_ACCOUNTS_H
#define EXAMPLE_ACCOUNTS_H

#include <pthread.h>

#include "files.h"
#include "token.h"

enum { EMAIL_MAX = 254, PASSWORD_MAX = 512, COST_DEFAULT = 5 };

struct account;

struct accounts {
  struct journal journal;
  pthread_mutex_t lock;
  struct account *by_email; /* a hash table */
  uint64_t count;
  char *decoy; /* a hash that an unknown address is compared with, for the time it takes */
};

/* False after a message on standard error. */
bool accounts_open(struct accounts *accounts, const char *file, enum journal_access access);
void accounts_close(struct accounts *accounts);

/* Adds one, durably; its id is one more than the last. `cost` is yescrypt's, 1 to 11, and each step takes twice as
 * long. False after a message: the address is taken, or something is too long, empty or no word. */
bool accounts_add(struct accounts *accounts, const char *email, const char *password, enum role role, unsigned cost,
                  uint64_t *id);

/* Compares; takes as long as the hash takes (tens of milliseconds), whether or not the account exists. Any thread. */
bool accounts_check(struct accounts *accounts, const char *email, const char *password, struct claims *claims);

#endif
