/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group of requests that are issued side by side: what batch_ask.c finds out about each before the first is looked
 * at, and batch.c goes on with. On its caller's stack, and nobody else's.
 */
#ifndef CPN_ENGINE_BATCH_H
#define CPN_ENGINE_BATCH_H

#include "engine/engine.h"

/* Requests side by side. More hide no more of the memory's latency, and would make a hole in the log longer. */
#define CPN_GROUP_MAX 32u

/* The requests of a group for one campaign. */
struct cpn_party {
  struct cpn_campaign *campaign;
  uint64_t word;    /* of its stock, read before the reservation */
  uint32_t claimed; /* requests that have their claim PENDING */
  uint32_t taken;   /* units for the first of them */
  uint64_t number;  /* without a log: the first of these tickets */
  uint64_t time_ns;
  bool together; /* whether they can go on side by side at all */
};

enum cpn_group_state { CPN_GROUP_PUT_OFF, CPN_GROUP_CLAIMED, CPN_GROUP_ANSWERED };

struct cpn_group {
  const struct coupon_request *requests;
  char *tickets;
  size_t element_size;
  uint32_t count, parties;
  uint32_t put_off;  /* requests */
  uint32_t stumbled; /* of which while others of their campaign were claimed */
  struct cpn_party party[CPN_GROUP_MAX];
  /* Of each request. */
  uint8_t state[CPN_GROUP_MAX];
  uint8_t end
      [CPN_GROUP_MAX]; /* of the first of a run, requests for one campaign that follow each other: where the run ends */
  struct cpn_party *of[CPN_GROUP_MAX];
  uint64_t hash[CPN_GROUP_MAX];
  struct cpn_claim_place
      place[CPN_GROUP_MAX]; /* until it is claimed: `word` is the line where looking goes on, or NULL */
};

static inline struct coupon_ticket *cpn_group_ticket(const struct cpn_group *group, uint32_t i) {
  return (struct coupon_ticket *)(void *)(group->tickets + i * group->element_size);
}

/* Of the request's user; 1 also where there is no such campaign. */
static inline uint32_t cpn_group_user_words(const struct cpn_group *group, uint32_t i) {
  return group->of[i] == NULL ? 1 : group->of[i]->campaign->tickets.user_words;
}

CPN_INLINE struct cpn_user cpn_group_user(const struct cpn_group *group, uint32_t i, uint32_t user_words) {
  const struct coupon_request *request = &group->requests[i];
  struct cpn_user user = {.words = {request->user, 0}, .hash = group->hash[i]};
  if (user_words == 2) {
    user.words[0] = cpn_get_u64(request->uuid);
    user.words[1] = cpn_get_u64(request->uuid + 8);
  }
  return user;
}

/* Says whose answer it is, before it is given; without a log all are final, see finish(). */
CPN_INLINE void cpn_group_address(struct cpn_group *group, uint32_t i, uint32_t user_words) {
  const struct coupon_request *request = &group->requests[i];
  struct coupon_ticket *ticket = cpn_group_ticket(group, i);
  ticket->size = group->element_size;
  ticket->flags = COUPON_TICKET_FINAL;
  cpn_engine_address(ticket, request->campaign, user_words == 1 ? request->user : 0,
                     user_words == 1 ? NULL : request->uuid);
}

static inline void cpn_group_answer(struct cpn_group *group, uint32_t i, coupon_status status) {
  cpn_group_ticket(group, i)->answer = status;
  group->state[i] = CPN_GROUP_ANSWERED;
}

/* --- batch_ask.c --------------------------------------------------------------------------------- */

/* Finds the parties, and asks for all memory that the requests need: where looking for their users begins, and, of
 * several campaigns, where these are found and where their next tickets are written. Answers those that need none. */
void cpn_batch_ask(coupon_engine *engine, struct cpn_group *group, uint64_t now);

#endif
