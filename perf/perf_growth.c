/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does it stay fast when it grows: a hundred million users, a hundred thousand campaigns?
 *
 * A campaign of 1 M users would fit into a cache that one of 100 M does not fit into, and the comparison would tell of
 * the cache alone. So the 1 M measure is of SMALL_CAMPAIGNS such campaigns in one engine, asked in turn call by call:
 * each is as small as it should be, and together they are beyond the caches, some 400 MB. Likewise 100,000 campaigns,
 * asked at random, stand beside one campaign with the same users in all.
 */
#include <sched.h>
#include <stdlib.h>

#include "sale.h"

#define SMALL_CAMPAIGNS 16
#define SMALL_STOCK 100 /* units of each of the many campaigns; half of them are asked for */
#define MANY_CAMPAIGNS UINT64_C(100000)

/* ---- rates ---- */

struct market {
  uint64_t campaigns;
  uint64_t stock; /* of each */
  uint64_t users; /* of all */
  bool random, prepared;
};

static uint64_t issued_in(coupon_engine *engine, uint64_t campaign) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  return coupon_info(engine, campaign, &info) == COUPON_OK ? info.issued : 0;
}

static bool issued_in_all(coupon_engine *engine, uint64_t campaigns, uint64_t users) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  uint64_t issued = 0;
  for (uint64_t i = 1; i <= campaigns; i++) {
    if (coupon_info(engine, i, &info) != COUPON_OK || info.issued + info.remaining != info.stock) return false;
    issued += info.issued;
  }
  return issued == users;
}

/* M/s on one thread. */
static double sell(struct bench *bench, const struct market *market, bool batches) {
  struct sale_job job = {.users = market->users, .campaigns = market->campaigns, .random = market->random};
  job.batches = batches;
  job.engine = sale_open(NULL, COUPON_NONE);
  for (uint64_t i = 1; i <= market->campaigns; i++)
    sale_create(job.engine, i, market->stock, market->prepared ? market->stock : 0);
  double rate = sale_rate(&job, 1);
  (void)bench_check(bench, job.issued == market->users, "every user is told ISSUED");
  (void)bench_check(bench, issued_in_all(job.engine, market->campaigns, market->users), "issued + remaining = stock");
  /* At random, campaign 1 has some half of its units. */
  uint64_t first = market->random ? issued_in(job.engine, 1) : market->users / market->campaigns;
  (void)bench_check(bench, sale_is_whole(job.engine, 1, first), "the tickets are 1 to N");
  sale_close(job.engine, NULL);
  return rate;
}

static void run_pair(struct bench *bench, const struct market *grown, const struct market *base, const char *name,
                     const char *beside, bool batches, enum bench_rule rule) {
  double of_grown[BENCH_ROUNDS_MAX], of_base[BENCH_ROUNDS_MAX];
  int rounds = bench_rounds(bench, grown->users);
  for (int i = 0; i < rounds; i++) {
    of_base[i] = sell(bench, base, batches);
    of_grown[i] = sell(bench, grown, batches);
  }
  char text[96];
  (void)snprintf(text, sizeof text, "%s, %s", name, batches ? "batches of 32" : "single calls");
  struct bench_row row = {.name = text, .users = grown->users, .threads = 1, .unit = "M/s", .beside = beside};
  row.value = bench_median(of_grown, rounds);
  row.limit = bench_median(of_base, rounds);
  row.rule = rule;
  row.target = 0.5;
  bench_row(bench, &row);
}

static void run_many_users(struct bench *bench) {
  uint64_t large = bench_size(bench, 10 * BENCH_STANDARD), small = bench_size(bench, BENCH_MILLION);
  struct market grown = {.campaigns = 1, .stock = large, .users = large, .prepared = true};
  struct market base = {.campaigns = SMALL_CAMPAIGNS, .stock = small, .users = SMALL_CAMPAIGNS * small};
  base.prepared = true;
  if (bench_skips(bench, large)) return;
  run_pair(bench, &grown, &base, "one campaign", "16 small campaigns, in turn", false, BENCH_RATIO_AT_LEAST);
  run_pair(bench, &grown, &base, "one campaign", "16 small campaigns, in turn", true, BENCH_RATIO_AT_LEAST);
}

static void run_many_campaigns(struct bench *bench) {
  uint64_t campaigns = bench_size(bench, MANY_CAMPAIGNS), users = campaigns * (SMALL_STOCK / 2);
  if (bench_skips(bench, users)) return;
  struct market grown = {.campaigns = campaigns, .stock = SMALL_STOCK, .users = users, .random = true};
  struct market base = {.campaigns = 1, .stock = users, .users = users};
  for (int prepared = 1; prepared >= 0; prepared--) {
    const char *name = prepared != 0 ? "many campaigns, prepared" : "many campaigns, growing";
    grown.prepared = base.prepared = prepared != 0;
    /* The target is of what a campaign costs to find, not of making its memory, which happens once. */
    enum bench_rule rule = prepared != 0 ? BENCH_RATIO_AT_LEAST : BENCH_NO_TARGET;
    run_pair(bench, &grown, &base, name, "one campaign, as many users", false, rule);
    run_pair(bench, &grown, &base, name, "one campaign, as many users", true, rule);
  }
}

/* ---- creation and recovery ---- */

#define SECONDS_TARGET 10

static void row_seconds(struct bench *bench, const char *name, uint64_t count, double seconds, enum bench_rule rule) {
  struct bench_row row = {.name = name, .users = count, .threads = 1, .value = seconds, .unit = "s", .rule = rule};
  row.target = SECONDS_TARGET;
  bench_row(bench, &row);
}

/* Creates them without waiting for each, then waits once for all. Seconds. */
static double create_all(struct bench *bench, coupon_engine *engine, uint64_t campaigns) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.stock = SMALL_STOCK;
  bool good = true;
  uint64_t begin = bench_now_ns();
  for (spec.id = 1; spec.id <= campaigns; spec.id++) {
    coupon_status status;
    while ((status = coupon_create(engine, &spec, COUPON_POLL)) == COUPON_E_BUSY) (void)sched_yield();
    good = good && (status == COUPON_OK || status == COUPON_NOT_FINAL);
  }
  good = good && sale_all_final(engine);
  double seconds = (double)(bench_now_ns() - begin) / 1e9;
  (void)bench_check(bench, good && issued_in_all(engine, campaigns, 0), "every campaign is created");
  return seconds;
}

static coupon_engine *reopen(struct bench *bench, coupon_engine *engine, const char *path, uint64_t campaigns,
                             uint64_t users, double *seconds) {
  sale_close(engine, NULL);
  uint64_t begin = bench_now_ns();
  engine = sale_open(path, COUPON_SYNC);
  *seconds = (double)(bench_now_ns() - begin) / 1e9;
  (void)bench_check(bench, issued_in_all(engine, campaigns, users), "recovery finds every campaign and ticket");
  return engine;
}

static void run_creation(struct bench *bench) {
  char path[BENCH_PATH_MAX];
  uint64_t campaigns = bench_size(bench, MANY_CAMPAIGNS);
  coupon_engine *engine = sale_open(NULL, COUPON_NONE);
  row_seconds(bench, "creating campaigns, in memory", campaigns, create_all(bench, engine, campaigns), BENCH_AT_MOST);
  sale_close(engine, NULL);

  engine = sale_open(sale_path(bench, "log", path), COUPON_SYNC);
  row_seconds(bench, "creating campaigns, sync", campaigns, create_all(bench, engine, campaigns), BENCH_AT_MOST);
  double seconds;
  engine = reopen(bench, engine, path, campaigns, 0, &seconds);
  row_seconds(bench, "recovering campaigns", campaigns, seconds, BENCH_AT_MOST);
  struct sale_job job = {.engine = engine, .users = campaigns * (SMALL_STOCK / 2), .campaigns = campaigns};
  job.random = job.batches = true;
  (void)sale_run(&job, 1);
  (void)bench_check(bench, job.issued == job.users && sale_all_final(engine), "every user is told ISSUED");
  engine = reopen(bench, engine, path, campaigns, job.users, &seconds);
  row_seconds(bench, "recovering them half sold", campaigns, seconds, BENCH_NO_TARGET);
  sale_close(engine, path);
}

int main(int count, char **arguments) {
  struct bench bench;
  bench_begin(&bench, count, arguments, "perf_growth", "does it stay fast when it grows?");
  bench_head("users");
  run_many_users(&bench);
  bench_head("campaigns");
  run_many_campaigns(&bench);
  bench_head("creation and recovery");
  run_creation(&bench);
  return bench_end(&bench);
}
