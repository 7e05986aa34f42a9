/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Can users be chosen that make the sale slow?
 *
 * Ids are rarely random: they are counted, strided, or made by somebody who has read the code and wants many of them in
 * the same place. Each set stands beside random ids in the same run. The last sets would ruin a table whose hash has no
 * secret: they collide under SipHash-1-3 with key 0, under no hash at all, and under a multiplication by the constant
 * that everybody uses.
 */
#include <stdlib.h>

#include "sale.h"

/* Of the colliding sets, in bits: all their hashes lie in one 256th of a table. Finding them takes 256 trials each. */
#define FIXED_BITS 8
#define MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)

static uint64_t sequential(uint64_t i) { return i + 1; }
static uint64_t stride_64(uint64_t i) { return (i + 1) * 64; }
static uint64_t stride_page(uint64_t i) { return (i + 1) * 4096; }
static uint64_t stride_1000(uint64_t i) { return (i + 1) * 1000; }
static uint64_t stride_20(uint64_t i) { return (i + 1) << 20; }
static uint64_t stride_32(uint64_t i) { return (i + 1) << 32; }
static uint64_t stride_43(uint64_t i) { return (i + 1) << 43; } /* 2^21 users of it are distinct */

static uint64_t bit_reversed(uint64_t i) {
  uint64_t reversed = 0;
  for (int bit = 0; bit < 64; bit++) reversed |= (i + 1) >> bit << 63 >> bit;
  return reversed;
}

/* ---- by somebody who has the code ---- */

static uint64_t *made; /* as many as users; filled for one set at a time */
static uint64_t made_user(uint64_t i) { return made[i]; }

/* Rotates left; `bits` in 1 … 63. */
static uint64_t rotate(uint64_t x, unsigned bits) { return x << bits | x >> (64 - bits); }

static void sip_round(uint64_t v[4]) {
  v[0] += v[1], v[2] += v[3];
  v[1] = rotate(v[1], 13) ^ v[0], v[3] = rotate(v[3], 16) ^ v[2];
  v[0] = rotate(v[0], 32);
  v[2] += v[1], v[0] += v[3];
  v[1] = rotate(v[1], 17) ^ v[2], v[3] = rotate(v[3], 21) ^ v[0];
  v[2] = rotate(v[2], 32);
}

/* SipHash-1-3 of 8 bytes with key 0: written again here, as an attacker would. */
static uint64_t sip_key_0(uint64_t word) {
  uint64_t v[4] = {UINT64_C(0x736f6d6570736575), UINT64_C(0x646f72616e646f6d), UINT64_C(0x6c7967656e657261),
                   UINT64_C(0x7465646279746573)};
  const uint64_t blocks[2] = {word, UINT64_C(8) << 56};
  for (int i = 0; i < 2; i++) {
    v[3] ^= blocks[i];
    sip_round(v);
    v[0] ^= blocks[i];
  }
  v[2] ^= 0xff;
  for (int i = 0; i < 3; i++) sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void find_sip(uint64_t users, uint64_t mask) {
  uint64_t found = 0;
  for (uint64_t id = 1; found < users; id++) {
    if ((sip_key_0(id) & mask) == 0) made[found++] = id;
  }
}

static void make_sip_low(uint64_t users) { find_sip(users, (UINT64_C(1) << FIXED_BITS) - 1); }
static void make_sip_high(uint64_t users) { find_sip(users, ~(UINT64_MAX >> FIXED_BITS)); }

/* The constant's inverse modulo 2^64, by Newton: each step doubles the bits that are right, from 3. */
static uint64_t inverse(uint64_t odd) {
  uint64_t x = odd;
  for (int i = 0; i < 5; i++) x *= 2 - odd * x;
  return x;
}

/* Times the constant, these are 1, 2, 3 …: all high bits are 0. */
static void make_multiplied_high(uint64_t users) {
  for (uint64_t i = 0; i < users; i++) made[i] = inverse(MULTIPLIER) * (i + 1);
}

static void make_multiplied_low(uint64_t users) {
  for (uint64_t i = 0; i < users; i++) made[i] = inverse(MULTIPLIER) * ((i + 1) << 40);
}

static void make_identity_low(uint64_t users) {
  for (uint64_t i = 0; i < users; i++) made[i] = (i + 1) << 40;
}

/* ---- measuring ---- */

struct set {
  const char *name;
  uint64_t (*user_of)(uint64_t i); /* NULL: made by `make` */
  void (*make)(uint64_t users);
};

static const struct set sets[] = {
    {"sequential", sequential, NULL},
    {"stride 64", stride_64, NULL},
    {"stride 1000", stride_1000, NULL},
    {"stride 4096", stride_page, NULL},
    {"stride 2^20", stride_20, NULL},
    {"stride 2^32", stride_32, NULL},
    {"stride 2^43", stride_43, NULL},
    {"bit-reversed", bit_reversed, NULL},
    {"colliding, no hash", NULL, make_identity_low},
    {"colliding, SipHash key 0, low bits", NULL, make_sip_low},
    {"colliding, SipHash key 0, high bits", NULL, make_sip_high},
    {"colliding, product, high bits", NULL, make_multiplied_high},
    {"colliding, product, low bits", NULL, make_multiplied_low},
};

/* Of one sale, in ns: the 99th percentile, and the 50th. */
struct tail {
  double p50, p99;
};

static struct tail sell(struct bench *bench, const struct timer *timer, uint64_t users,
                        uint64_t (*user_of)(uint64_t i)) {
  struct sale_job job = {.engine = sale_open(NULL, COUPON_NONE), .users = users, .timer = timer, .user_of = user_of};
  job.histograms = timer_histograms(1);
  sale_create(job.engine, 1, users, users);
  (void)sale_run(&job, 1);
  (void)bench_check(bench, job.issued == users, "every user is told ISSUED");
  (void)bench_check(bench, sale_is_whole(job.engine, 1, users), "the tickets are 1 to N");
  sale_close(job.engine, NULL);
  struct tail tail = {timer_quantile(timer, job.histograms, 50), timer_quantile(timer, job.histograms, 99)};
  free(job.histograms);
  return tail;
}

static void row_of(struct bench *bench, const char *name, const char *what, uint64_t users, double value, double limit,
                   bool judged) {
  char text[96];
  (void)snprintf(text, sizeof text, "%s, %s", name, what);
  struct bench_row row = {.name = text, .users = users, .threads = 1, .value = value, .unit = "ns", .limit = limit};
  row.beside = "random ids";
  row.rule = judged ? BENCH_RATIO_AT_MOST : BENCH_NO_TARGET;
  row.target = 2;
  bench_row(bench, &row);
}

static void run_set(struct bench *bench, const struct timer *timer, uint64_t users, const struct set *set) {
  double p50[BENCH_ROUNDS_MAX], p99[BENCH_ROUNDS_MAX], random_p50[BENCH_ROUNDS_MAX], random_p99[BENCH_ROUNDS_MAX];
  if (set->make != NULL) set->make(users);
  for (int i = 0; i < bench->rounds; i++) {
    struct tail random = sell(bench, timer, users, NULL);
    struct tail chosen = sell(bench, timer, users, set->user_of != NULL ? set->user_of : made_user);
    random_p50[i] = random.p50;
    random_p99[i] = random.p99;
    p50[i] = chosen.p50;
    p99[i] = chosen.p99;
  }
  double limit = bench_median(random_p99, bench->rounds);
  row_of(bench, set->name, "p99", users, bench_median(p99, bench->rounds), limit, true);
  limit = bench_median(random_p50, bench->rounds);
  row_of(bench, set->name, "p50", users, bench_median(p50, bench->rounds), limit, false);
}

int main(int count, char **arguments) {
  struct bench bench;
  struct timer timer;
  bench_begin(&bench, count, arguments, "perf_users", "can users be chosen that make the sale slow?");
  timer_init(&timer);
  bench_head("users");
  timer_row(&timer, &bench);
  uint64_t users = bench_size(&bench, BENCH_MILLION);
  made = malloc(users * sizeof *made);
  if (made == NULL) abort();
  if (!bench_skips(&bench, users)) {
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) run_set(&bench, &timer, users, &sets[i]);
  }
  free(made);
  return bench_end(&bench);
}
