/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows of cpn_batch_issue(), and all it calls, what explore_issue.c shows of one request: of batches that meet, also
 * with the same users in opposite order, with a user twice, and at the last unit. Besides, a user's second request in a
 * batch never comes before the first, and nobody waits for ever.
 *
 * How: each thread asks for a list of users at once. Bugs are planted in what batch.c calls, by the linker, so that the
 * library's files stay as they are.
 */
#include "scene.h"

static enum mistake {
  NONE,
  WAITS,         /* for a user whom somebody else has claimed, while it holds claims itself */
  TAKES_FOR_ALL, /* takes a unit for each who was asked for, instead of each who is claimed */
} mistake;

enum cpn_claim_kind __real_cpn_holder_resolve(const coupon_engine *engine, const struct cpn_campaign *campaign,
                                              const struct cpn_user *user, struct cpn_claim_place *place,
                                              struct coupon_ticket *ticket);
enum cpn_claim_kind __wrap_cpn_holder_resolve(const coupon_engine *engine, const struct cpn_campaign *campaign,
                                              const struct cpn_user *user, struct cpn_claim_place *place,
                                              struct coupon_ticket *ticket);
enum cpn_claim_kind __wrap_cpn_holder_resolve(const coupon_engine *engine, const struct cpn_campaign *campaign,
                                              const struct cpn_user *user, struct cpn_claim_place *place,
                                              struct coupon_ticket *ticket) {
  if (mistake == WAITS) return cpn_holder_find_settled(engine, campaign, user, place, ticket);
  return __real_cpn_holder_resolve(engine, campaign, user, place, ticket);
}

uint64_t __real_cpn_stock_take_many(struct cpn_stock *stock, uint64_t seen, uint64_t floor, uint64_t wanted);
uint64_t __wrap_cpn_stock_take_many(struct cpn_stock *stock, uint64_t seen, uint64_t floor, uint64_t wanted);
uint64_t __wrap_cpn_stock_take_many(struct cpn_stock *stock, uint64_t seen, uint64_t floor, uint64_t wanted) {
  if (mistake == TAKES_FOR_ALL) wanted = 2;
  return __real_cpn_stock_take_many(stock, seen, floor, wanted);
}

/* --- scenarios ----------------------------------------------------------------------------------- */

static void ask(int thread) {
  struct coupon_request requests[SCENE_REQUESTS_MAX];
  const int first = scene.first[thread], count = scene.first[thread + 1] - first;
  for (int i = 0; i < count; i++)
    requests[i] = (struct coupon_request){.campaign = SCENE_CAMPAIGN, .user = scene.users[first + i]};
  coupon_status status =
      cpn_batch_issue(&scene_engine, requests, (size_t)count, (char *)&scene_tickets[first], sizeof scene_tickets[0]);
  EXPLORE_CHECK(status == COUPON_OK, "a batch is answered %d", (int)status);
}

static void passes(const char *name, enum scene_world world, uint64_t units, const char *first, const char *second,
                   int preemptions) {
  struct explore_scenario it = scene_of(name, world, units, ask, first, second, NULL);
  mistake = NONE;
  it.preemptions = preemptions;
  explore_passes(&it);
}

/* The same where others have taken so many words of each line of claims before. */
static void passes_crowded(const char *name, uint32_t crowded, const char *first, const char *second) {
  struct explore_scenario it = scene_of(name, SCENE_UNLOGGED, 2, ask, first, second, NULL);
  scene.crowded = crowded;
  mistake = NONE;
  explore_passes(&it);
}

static void finds(enum mistake which, enum scene_weak weak, const char *what, enum scene_world world, uint64_t units,
                  const char *first, const char *second) {
  struct explore_scenario it =
      scene_of(world == SCENE_UNLOGGED ? "batch without a log" : "batch", world, units, ask, first, second, NULL);
  mistake = which;
  scene.weak = weak;
  explore_finds(&it, what);
}

int main(void) {
  /* The claims of 5, 6 and 9 lie in one line, so that they are in each other's way. */
  passes("batch without a log: two users in opposite order, two units", SCENE_UNLOGGED, 2, "56", "65", 0);
  passes("batch without a log: two users in opposite order, one unit", SCENE_UNLOGGED, 1, "56", "65", 3);
  passes("batch without a log: a user twice, two units", SCENE_UNLOGGED, 2, "55", "5", 0);
  passes("batch: a user twice, beside that user, two units", SCENE_LOGGED, 2, "55", "5", 0);
  passes("batch without a log: a user twice, beside two others", SCENE_UNLOGGED, 3, "55", "69", 4);
  passes("batch: a user beside two, one unit", SCENE_LOGGED, 1, "56", "6", 3);
  passes("batch: two users in opposite order, two units", SCENE_LOGGED, 2, "56", "65", 4);
  passes("batch: two users in opposite order, one unit", SCENE_LOGGED, 1, "56", "65", 2);
  passes("batch and commit: two users", SCENE_COMMITTING, 2, "56", NULL, 0);
  passes_crowded("batch without a log, the line has one word left: a user twice, beside another", 7, "55", "6");
  finds(WAITS, SCENE_AS_IT_IS, "waits while it holds a claim", SCENE_LOGGED, 2, "56", "65");
  finds(TAKES_FOR_ALL, SCENE_AS_IT_IS, "a unit for each request", SCENE_LOGGED, 2, "56", "65");
  finds(NONE, SCENE_CLAIMS, "claims relaxed", SCENE_LOGGED, 2, "56", "65");
  finds(NONE, SCENE_WORD_AND_TAIL, "word and tail relaxed", SCENE_LOGGED, 1, "56", "65");
  finds(WAITS, SCENE_AS_IT_IS, "waits while it holds a claim", SCENE_UNLOGGED, 2, "56", "65");
  finds(NONE, SCENE_IDLE, "idle looked at with acquire only", SCENE_COMMITTING, 2, "56", NULL);
  return 0;
}
