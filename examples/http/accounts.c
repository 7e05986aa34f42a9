/* SPDX-License-Identifier: Apache-2.0 */
#include "accounts.h"

#include <crypt.h>
#include <h2o.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
/* Running out of memory ends the program, as everywhere here. */
#include <uthash.h>

struct account {
  uint64_t id;
  enum role role;
  char *email;
  char *hash;
  UT_hash_handle hh;
};

static bool complain(const char *email, const char *what) {
  fprintf(stderr, "coupon-http: account %s: %s\n", email, what);
  return false;
}

static struct account *find(struct accounts *accounts, const char *email) {
  struct account *account;
  HASH_FIND_STR(accounts->by_email, email, account);
  return account;
}

static void insert(struct accounts *accounts, uint64_t id, enum role role, char *email, char *hash) {
  struct account *account = calloc(1, sizeof *account);
  if (account == NULL || email == NULL || hash == NULL) abort();
  account->id = id;
  account->role = role;
  account->email = email;
  account->hash = hash;
  HASH_ADD_KEYPTR(hh, accounts->by_email, account->email, strlen(account->email), account);
  accounts->count++;
}

static bool take_line(void *context, const char *json, size_t length, uint64_t number) {
  struct accounts *accounts = context;
  enum { ID, EMAIL, ROLE, HASH, COUNT };
  struct json_member member[COUNT] = {{.name = "id"}, {.name = "email"}, {.name = "role"}, {.name = "password"}};
  char *arena = malloc(length);
  if (arena == NULL) abort();
  uint64_t id = 0;
  bool good = json_read(json, length, arena, member, COUNT) && json_u64(&member[ID], &id) &&
              json_string(&member[EMAIL], EMAIL_MAX) && json_string(&member[HASH], CRYPT_OUTPUT_SIZE) &&
              (json_is(&member[ROLE], "USER") || json_is(&member[ROLE], "ADMIN"));
  if (good) {
    enum role role = json_is(&member[ROLE], "ADMIN") ? ROLE_ADMIN : ROLE_USER;
    insert(accounts, id, role, strndup(member[EMAIL].bytes, member[EMAIL].length),
           strndup(member[HASH].bytes, member[HASH].length));
  } else {
    fprintf(stderr, "coupon-http: %s: line %llu is no account\n", accounts->journal.file, (unsigned long long)number);
  }
  free(arena);
  return good;
}

/* A new hash, to be freed; NULL: the cost is out of range. */
static char *hash_password(const char *password, unsigned cost) {
  struct crypt_data *data = calloc(1, sizeof *data);
  char setting[CRYPT_GENSALT_OUTPUT_SIZE];
  if (data == NULL) abort();
  char *hash = NULL;
  if (crypt_gensalt_rn("$y$", cost, NULL, 0, setting, sizeof setting) != NULL) {
    const char *made = crypt_r(password, setting, data);
    if (made != NULL && made[0] != '*') hash = strdup(made);
  }
  free(data);
  return hash;
}

bool accounts_open(struct accounts *accounts, const char *file, enum journal_access access) {
  *accounts = (struct accounts){0};
  (void)pthread_mutex_init(&accounts->lock, NULL);
  accounts->decoy = hash_password("", COST_DEFAULT);
  if (accounts->decoy == NULL) abort();
  return journal_open(&accounts->journal, file, access, take_line, accounts);
}

void accounts_close(struct accounts *accounts) {
  struct account *account, *next;
  HASH_ITER(hh, accounts->by_email, account, next) {
    HASH_DEL(accounts->by_email, account);
    free(account->email);
    free(account->hash);
    free(account);
  }
  journal_close(&accounts->journal);
  free(accounts->decoy);
  (void)pthread_mutex_destroy(&accounts->lock);
}

bool accounts_add(struct accounts *accounts, const char *email, const char *password, enum role role, unsigned cost,
                  uint64_t *id) {
  if (email[0] == '\0' || strlen(email) > EMAIL_MAX) return complain(email, "an address has 1 to 254 bytes");
  if (password[0] == '\0' || strlen(password) >= PASSWORD_MAX) return complain(email, "a password has 1 to 511 bytes");
  if (find(accounts, email) != NULL) return complain(email, "there is one already");
  char *hash = hash_password(password, cost);
  if (hash == NULL) return complain(email, "it could not be hashed; a cost is 1 to 11");

  *id = accounts->count + 1;
  struct text line = TEXT_INIT;
  text_string(&line, "{\"id\":");
  text_u64(&line, *id);
  text_string(&line, ",\"email\":");
  text_json(&line, email, strlen(email));
  text_string(&line, ",\"role\":\"");
  text_string(&line, role_names[role]);
  text_string(&line, "\",\"password\":");
  text_json(&line, hash, strlen(hash));
  text_string(&line, "}");
  /* Whatever is written has to be readable again. */
  char *arena = h2o_mem_alloc(line.length);
  bool readable = json_read(line.bytes, line.length, arena, NULL, 0);
  free(arena);
  bool added = readable ? journal_append(&accounts->journal, line.bytes, line.length)
                        : complain(email, "an address is written in UTF-8");
  text_free(&line);
  if (added)
    insert(accounts, *id, role, strdup(email), hash);
  else
    free(hash);
  return added;
}

/* The account's hash, or the decoy; `*found` tells which. A copy, to be freed. */
static char *hash_of(struct accounts *accounts, const char *email, struct claims *claims, bool *found) {
  (void)pthread_mutex_lock(&accounts->lock);
  /* Damage that appears while we run hides new accounts, and nothing else. */
  (void)journal_refresh(&accounts->journal, take_line, accounts);
  struct account *account = find(accounts, email);
  *found = account != NULL;
  if (account != NULL) *claims = (struct claims){.user = account->id, .role = account->role};
  char *hash = strdup(account != NULL ? account->hash : accounts->decoy);
  (void)pthread_mutex_unlock(&accounts->lock);
  if (hash == NULL) abort();
  return hash;
}

bool accounts_check(struct accounts *accounts, const char *email, const char *password, struct claims *claims) {
  bool found;
  char *hash = hash_of(accounts, email, claims, &found);
  struct crypt_data *data = calloc(1, sizeof *data);
  if (data == NULL) abort();
  const char *made = crypt_r(password, hash, data);
  bool same = made != NULL && strlen(made) == strlen(hash) && CRYPTO_memcmp(made, hash, strlen(hash)) == 0;
  OPENSSL_cleanse(data, sizeof *data);
  free(data);
  free(hash);
  return same && found;
}
