/* SPDX-License-Identifier: Apache-2.0 */
#include "limiter.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t minute_ns = UINT64_C(60000000000);

void limiter_init(struct limiter *limiter, uint64_t per_minute) {
  *limiter = (struct limiter){0};
  if (per_minute == 0) return;
  limiter->interval_ns = minute_ns / per_minute;
  /* All of a minute's attempts at once, and then one by one. */
  limiter->burst_ns = limiter->interval_ns * (per_minute - 1);
  limiter->cells = calloc(LIMITER_CELLS, sizeof *limiter->cells);
  if (limiter->cells == NULL || RAND_bytes(limiter->seed, sizeof limiter->seed) != 1) abort();
}

void limiter_fini(struct limiter *limiter) { free(limiter->cells); }

static size_t cell_of(const struct limiter *limiter, const char *key, size_t length) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  uint32_t cell;
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1 ||
      EVP_DigestUpdate(context, limiter->seed, sizeof limiter->seed) != 1 ||
      EVP_DigestUpdate(context, key, length) != 1 || EVP_DigestFinal_ex(context, digest, NULL) != 1)
    abort();
  EVP_MD_CTX_free(context);
  memcpy(&cell, digest, sizeof cell);
  return cell % LIMITER_CELLS;
}

unsigned limiter_try(struct limiter *limiter, const char *key, size_t length, uint64_t now_ns) {
  if (limiter->interval_ns == 0) return 0;
  _Atomic uint64_t *cell = &limiter->cells[cell_of(limiter, key, length)];
  /* relaxed throughout: the cell is all there is, nothing is published through it. */
  uint64_t arrival = atomic_load_explicit(cell, memory_order_relaxed);
  for (;;) {
    uint64_t from = arrival > now_ns ? arrival : now_ns;
    if (from - now_ns > limiter->burst_ns) return (unsigned)((from - now_ns - limiter->burst_ns) / 1000000000 + 1);
    if (atomic_compare_exchange_weak_explicit(cell, &arrival, from + limiter->interval_ns, memory_order_relaxed,
                                              memory_order_relaxed))
      return 0;
  }
}
