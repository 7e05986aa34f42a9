/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON Web Tokens (RFC 7519), signed with HMAC-SHA256. The algorithm is fixed: what a token says of its own only
 * decides which refusal it gets. The signature is looked at first, in constant time, and nothing of the claims is read
 * before it has been found right.
 */
#ifndef EXAMPLE_TOKEN_H
#define EXAMPLE_TOKEN_H

#include <h2o.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"
#include "text.h"

enum { SECRET_MIN = 32, SECRET_MAX = 1024 };

struct secret {
  unsigned char bytes[SECRET_MAX];
  size_t length;
};

enum role { ROLE_USER = 0, ROLE_ADMIN = 1 };
extern const char *const role_names[2];

struct claims {
  uint64_t user;
  enum role role;
};

/* One for each thread; signs and checks. */
struct signer;

struct signer *signer_create(const struct secret *secret);
void signer_destroy(struct signer *signer);

/* Appends a token that is good from `now` to `now + seconds`, both in seconds since 1970. */
void token_make(struct signer *signer, const struct claims *claims, uint64_t now, uint64_t seconds, struct text *to);

/* The value of an Authorization header. REASON_OK, or why not. What it decodes goes to `pool`. */
enum reason token_check(struct signer *signer, const char *header, size_t length, uint64_t now, h2o_mem_pool_t *pool,
                        struct claims *claims);

/* From the variable COUPON_HTTP_SECRET, or else the file. False after a message on standard error. */
bool secret_read(struct secret *secret, const char *file);
/* Makes the file, which must not exist, with a new secret, durably. Likewise. */
bool secret_make(const char *file);

#endif
