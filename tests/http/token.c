/* SPDX-License-Identifier: Apache-2.0 */
#include "http/token.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void token_base64(const unsigned char *bytes, size_t length, char *text) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  unsigned held = 0, bits = 0;
  for (size_t i = 0; i < length; i++) {
    held = held << 8 | bytes[i];
    for (bits += 8; bits >= 6; bits -= 6) *text++ = letters[held >> (bits - 6) & 63];
  }
  if (bits > 0) *text++ = letters[held << (6 - bits) & 63];
  *text = 0;
}

const char *token_forge(const char *head, const char *claims, const char *key, int bits) {
  static char tokens[TOKENS][TOKEN_MAX];
  static unsigned next;
  char *token = tokens[next++ % TOKENS], *text = token + strlen("Bearer ");
  unsigned char signature[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  SERVICE_CHECK((strlen(head) + strlen(claims)) * 4 / 3 + 128 < TOKEN_MAX);
  memcpy(token, "Bearer ", strlen("Bearer "));
  token_base64((const unsigned char *)head, strlen(head), text);
  strcat(text, ".");
  token_base64((const unsigned char *)claims, strlen(claims), text + strlen(text));
  if (bits != 0)
    SERVICE_CHECK(HMAC(bits == 512 ? EVP_sha512() : EVP_sha256(), key, (int)strlen(key), (const unsigned char *)text,
                       strlen(text), signature, &length) != NULL);
  strcat(text, ".");
  token_base64(signature, length, text + strlen(text));
  return token;
}

const char *token_claiming(const struct service *service, const char *claims) {
  char text[TOKEN_MAX / 2];
  long long in_an_hour = (long long)time(NULL) + 3600;
  const char *place = strstr(claims, "LATER");
  if (place == NULL) return token_forge("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", claims, service->secret, 256);
  (void)snprintf(text, sizeof text, "%.*s%lld%s", (int)(place - claims), claims, in_an_hour, place + strlen("LATER"));
  return token_forge("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", text, service->secret, 256);
}

const char *token_for(const struct service *service, uint64_t user, const char *role) {
  char claims[256];
  (void)snprintf(claims, sizeof claims, "{\"sub\":\"%" PRIu64 "\",\"role\":\"%s\",\"iat\":1700000000,\"exp\":LATER}",
                 user, role);
  return token_claiming(service, claims);
}
