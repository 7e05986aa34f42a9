/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens as anybody could make them, good and bad: JSON Web Tokens by RFC 7515 and 7519, signed with OpenSSL. Shares no
 * code with the service.
 */
#ifndef TESTS_HTTP_TOKEN_H
#define TESTS_HTTP_TOKEN_H

#include "http/service.h"

#define TOKEN_MAX 4096
/* A token lives until TOKENS more are made. */
#define TOKENS 16

/* A good one, for an hour. */
const char *token_for(const struct service *service, uint64_t user, const char *role);
/* "Bearer HEADER.CLAIMS.SIGNATURE", of any two texts; signed by `key` with HMAC of SHA-256, or of SHA-512 when `bits`
 * is 512; 0: with an empty signature. */
const char *token_forge(const char *head, const char *claims, const char *key, int bits);
/* With the header that everybody makes, and signed with the service's secret. In `claims` the word LATER stands for a
 * time in an hour, in seconds since 1970. */
const char *token_claiming(const struct service *service, const char *claims);

/* The base64url of RFC 4648, without padding. */
void token_base64(const unsigned char *bytes, size_t length, char *text);

#endif
