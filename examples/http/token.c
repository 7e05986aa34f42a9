/* SPDX-License-Identifier: Apache-2.0 */
#include "token.h"

#include <ctype.h>
#include <h2o.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "json.h"

enum { MAC_SIZE = 32, MAC_CHARACTERS = 43, TOKEN_MAX = 4096 };

const char *const role_names[2] = {"USER", "ADMIN"};

/* {"alg":"HS256","typ":"JWT"}: the header of our own tokens, which needs no parser. */
static const char our_header[] = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

struct signer {
  EVP_MAC *mac;
  EVP_MAC_CTX *context; /* holds the key */
};

static void die(const char *what) {
  fprintf(stderr, "coupon-http: %s\n", what);
  abort();
}

struct signer *signer_create(const struct secret *secret) {
  struct signer *signer = h2o_mem_alloc(sizeof *signer);
  char digest[] = "SHA256";
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                   OSSL_PARAM_construct_end()};
  signer->mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
  signer->context = signer->mac != NULL ? EVP_MAC_CTX_new(signer->mac) : NULL;
  if (signer->context == NULL || EVP_MAC_init(signer->context, secret->bytes, secret->length, parameters) != 1)
    die("OpenSSL has no HMAC-SHA256");
  return signer;
}

void signer_destroy(struct signer *signer) {
  EVP_MAC_CTX_free(signer->context);
  EVP_MAC_free(signer->mac);
  free(signer);
}

/* The signature of `bytes`, as it is written. */
static void sign(struct signer *signer, const char *bytes, size_t length, char signature[MAC_CHARACTERS + 1]) {
  unsigned char mac[MAC_SIZE];
  size_t size = 0;
  /* Without a key: starts anew with the one there is. */
  if (EVP_MAC_init(signer->context, NULL, 0, NULL) != 1 ||
      EVP_MAC_update(signer->context, (const unsigned char *)bytes, length) != 1 ||
      EVP_MAC_final(signer->context, mac, &size, sizeof mac) != 1 || size != MAC_SIZE)
    die("OpenSSL could not compute a signature");
  if (h2o_base64_encode(signature, mac, MAC_SIZE, 1) != MAC_CHARACTERS) die("a signature has another length");
}

void token_make(struct signer *signer, const struct claims *claims, uint64_t now, uint64_t seconds, struct text *to) {
  struct text payload = TEXT_INIT;
  text_string(&payload, "{\"sub\":\"");
  text_u64(&payload, claims->user);
  text_string(&payload, "\",\"role\":\"");
  text_string(&payload, role_names[claims->role]);
  text_string(&payload, "\",\"iat\":");
  text_u64(&payload, now);
  text_string(&payload, ",\"exp\":");
  text_u64(&payload, now + seconds);
  text_string(&payload, "}");

  size_t begin = to->length;
  char encoded[512];
  text_string(to, our_header);
  text_string(to, ".");
  text_bytes(to, encoded, h2o_base64_encode(encoded, payload.bytes, payload.length, 1));
  char signature[MAC_CHARACTERS + 1];
  sign(signer, to->bytes + begin, to->length - begin, signature);
  text_string(to, ".");
  text_bytes(to, signature, MAC_CHARACTERS);
  text_free(&payload);
}

/* --- checking ------------------------------------------------------------------------------------ */

/* What a part of the token says, as an object of which `members` are read. */
static bool read_part(h2o_iovec_t json, h2o_mem_pool_t *pool, struct json_member *members, size_t count) {
  return json.base != NULL && json_read(json.base, json.len, h2o_mem_alloc_pool(pool, json.len), members, count);
}

static enum reason check_header(const char *part, size_t length, h2o_mem_pool_t *pool) {
  if (length == sizeof our_header - 1 && memcmp(part, our_header, length) == 0) return REASON_OK;
  struct json_member header[] = {{.name = "alg"}, {.name = "crit"}};
  if (!read_part(h2o_decode_base64url(pool, part, length), pool, header, 2)) return REASON_TOKEN_MALFORMED;
  /* "crit" names extensions that have to be understood; none is. */
  return json_is(&header[0], "HS256") && header[1].kind == JSON_ABSENT ? REASON_OK : REASON_TOKEN_ALGORITHM;
}

struct times {
  uint64_t begins, expires;
};

static bool read_claims(h2o_iovec_t json, h2o_mem_pool_t *pool, struct claims *claims, struct times *times,
                        enum reason *reason) {
  enum { SUB, ROLE, EXP, NBF, COUNT };
  struct json_member member[COUNT] = {{.name = "sub"}, {.name = "role"}, {.name = "exp"}, {.name = "nbf"}};
  *reason = REASON_TOKEN_MALFORMED;
  if (!read_part(json, pool, member, COUNT)) return false;
  *reason = REASON_TOKEN_CLAIMS;
  if (!json_u64(&member[EXP], &times->expires)) return false;
  if (member[NBF].kind != JSON_ABSENT && !json_u64(&member[NBF], &times->begins)) return false;
  if (member[SUB].kind != JSON_STRING || !number_parse(member[SUB].bytes, member[SUB].length, &claims->user))
    return false;
  claims->role = json_is(&member[ROLE], role_names[ROLE_ADMIN]) ? ROLE_ADMIN : ROLE_USER;
  return json_is(&member[ROLE], role_names[claims->role]);
}

static bool skip(h2o_iovec_t *rest, const char *expected) {
  size_t length = strlen(expected);
  if (rest->len < length || memcmp(rest->base, expected, length) != 0) return false;
  *rest = h2o_iovec_init(rest->base + length, rest->len - length);
  return true;
}

static bool skip_number(h2o_iovec_t *rest, uint64_t *number) {
  size_t length = 0;
  while (length < rest->len && rest->base[length] >= '0' && rest->base[length] <= '9') length++;
  if (!number_parse(rest->base, length, number)) return false;
  *rest = h2o_iovec_init(rest->base + length, rest->len - length);
  return true;
}

/* The claims as token_make() writes them, byte for byte: nearly all tokens are ours, and need no parser. Any other
 * form, or anything in it that is not as it should be, is left to read_claims(). */
static bool read_our_claims(h2o_iovec_t json, struct claims *claims, struct times *times) {
  uint64_t issued;
  if (json.base == NULL || !skip(&json, "{\"sub\":\"") || !skip_number(&json, &claims->user)) return false;
  claims->role = skip(&json, "\",\"role\":\"ADMIN") ? ROLE_ADMIN : ROLE_USER;
  if (claims->role == ROLE_USER && !skip(&json, "\",\"role\":\"USER")) return false;
  return skip(&json, "\",\"iat\":") && skip_number(&json, &issued) && skip(&json, ",\"exp\":") &&
         skip_number(&json, &times->expires) && skip(&json, "}") && json.len == 0;
}

static enum reason check_claims(const char *part, size_t length, uint64_t now, h2o_mem_pool_t *pool,
                                struct claims *claims) {
  h2o_iovec_t json = h2o_decode_base64url(pool, part, length);
  struct times times = {0, 0};
  enum reason reason;
  if (!read_our_claims(json, claims, &times)) {
    times = (struct times){0, 0};
    if (!read_claims(json, pool, claims, &times, &reason)) return reason;
  }
  if (now >= times.expires) return REASON_TOKEN_EXPIRED;
  return now >= times.begins ? REASON_OK : REASON_TOKEN_CLAIMS;
}

static bool is_base64url(const char *bytes, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (!isalnum((unsigned char)bytes[i]) && bytes[i] != '-' && bytes[i] != '_' && bytes[i] != '.') return false;
  return true;
}

enum reason token_check(struct signer *signer, const char *header, size_t length, uint64_t now, h2o_mem_pool_t *pool,
                        struct claims *claims) {
  static const char scheme[] = "Bearer ";
  const size_t scheme_length = sizeof scheme - 1;
  if (length == 0) return REASON_TOKEN_MISSING;
  if (length < scheme_length || strncasecmp(header, scheme, scheme_length) != 0) return REASON_TOKEN_MALFORMED;
  const char *token = header + scheme_length;
  length -= scheme_length;
  if (length > TOKEN_MAX) return REASON_TOKEN_MALFORMED;

  const char *first = memchr(token, '.', length);
  if (first == NULL) return REASON_TOKEN_MALFORMED;
  const char *second = memchr(first + 1, '.', (size_t)(token + length - first - 1));
  if (second == NULL) return REASON_TOKEN_MALFORMED;
  const char *signature = second + 1;
  size_t signature_length = (size_t)(token + length - signature);
  if (memchr(signature, '.', signature_length) != NULL) return REASON_TOKEN_MALFORMED;

  enum reason reason = check_header(token, (size_t)(first - token), pool);
  if (reason != REASON_OK) return reason;
  /* As text: so the bits that base64 leaves unused cannot differ. */
  char expected[MAC_CHARACTERS + 1];
  sign(signer, token, (size_t)(second - token), expected);
  if (signature_length != MAC_CHARACTERS || CRYPTO_memcmp(signature, expected, MAC_CHARACTERS) != 0)
    return is_base64url(token, length) ? REASON_TOKEN_SIGNATURE : REASON_TOKEN_MALFORMED;
  return check_claims(first + 1, (size_t)(second - first - 1), now, pool, claims);
}
