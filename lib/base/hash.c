/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <string.h>

void cpn_hash_key_init(struct cpn_hash_key *key, const unsigned char secret[CPN_HASH_SECRET_SIZE]) {
  memcpy(key->rounds, secret, sizeof key->rounds);
  memcpy(&key->sip, secret + sizeof key->rounds, sizeof key->sip);
#if defined(__x86_64__)
  key->has_aes = __builtin_cpu_supports("aes");
#else
  key->has_aes = false;
#endif
}
_Static_assert(CPN_HASH_SECRET_SIZE == sizeof((struct cpn_hash_key *)0)->rounds + sizeof(struct cpn_siphash_key),
               "each part of the key has a secret of its own");
