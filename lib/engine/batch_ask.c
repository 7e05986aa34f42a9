/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that the requests of a group need of memory is asked for before the first is looked at, and what needs
 * none of it is done meanwhile: their users are hashed, their answers addressed.
 */
#include "engine/batch.h"

/* Lines of a large set that are asked for one right behind the other; see ask_for_lines_of(). */
#define FAR_LINES 16u

/* Where requests are for different campaigns: first for where these are found, then for what each request reads of
 * them. */
static void ask_for_campaigns(const coupon_engine *engine, const struct cpn_group *group) {
  for (uint32_t i = 0; i < group->count; i++) cpn_directory_prefetch(&engine->campaigns, group->requests[i].campaign);
  for (uint32_t i = 0; i < group->count; i++) {
    struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, group->requests[i].campaign);
    if (campaign != NULL) cpn_campaign_prefetch_all(campaign);
  }
}

/* And for where their next tickets are written. */
static void ask_for_tickets(const struct cpn_group *group) {
  for (uint32_t i = 0; i < group->parties; i++) {
    const struct cpn_campaign *campaign = group->party[i].campaign;
    if (!cpn_campaign_is_live(campaign)) continue;
    uint64_t number = campaign->spec.stock - cpn_word_remaining(group->party[i].word) + 1;
    if (number > cpn_tickets_room(&campaign->tickets)) continue;
    struct cpn_ticket_spot spot = cpn_tickets_spot(&campaign->tickets, number);
    __builtin_prefetch((const void *)spot.user, 1);
    __builtin_prefetch(spot.row, 1);
  }
}

/* Whether requests of a campaign can go on side by side: it is open, has units and a limit, and for those for whose
 * tickets there is no memory not even an entry is made. */
static bool can_go_together(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t word, uint64_t now) {
  return !cpn_word_refuses(word) && !cpn_word_marked(word) && !cpn_window_is_due(campaign, word, now) &&
         campaign->spec.user_limit != 0 &&
         cpn_engine_room(engine, campaign, campaign->spec.stock - cpn_word_remaining(word) + 1);
}

static struct cpn_party *party_of(coupon_engine *engine, struct cpn_group *group, struct cpn_campaign *campaign,
                                  uint64_t now) {
  for (uint32_t i = 0; i < group->parties; i++) {
    if (group->party[i].campaign == campaign) return &group->party[i];
  }
  struct cpn_party *party = &group->party[group->parties++];
  uint64_t word = cpn_stock_read(&campaign->stock);
  *party =
      (struct cpn_party){.campaign = campaign, .word = word, .together = can_go_together(engine, campaign, word, now)};
  return party;
}

/* Hashes the users of a run from request `i` on, but not of `limit`, and finds the lines where looking for them begins;
 * returns where it has stopped. In several forms: `user_words` and `ask` are constants. All else that can be done
 * without the lines is done here, while memory brings them. */
CPN_INLINE uint32_t find_lines(const coupon_engine *engine, struct cpn_group *group, struct cpn_party *party,
                               uint32_t i, uint32_t limit, uint32_t user_words, bool ask) {
  const struct cpn_claim_set *claims = &party->campaign->claims;
  struct cpn_claim_level *level = cpn_claim_level_at(claims, 0);
  const struct cpn_hash_key key = engine->key; /* a copy stays in registers */
  const uint64_t campaign = group->requests[i].campaign;
  do {
    const struct coupon_request *request = &group->requests[i];
    const uint64_t hash = user_words == 1
                              ? cpn_hash_u64(&key, request->user)
                              : cpn_hash_u128(&key, cpn_get_u64(request->uuid), cpn_get_u64(request->uuid + 8));
    _Atomic uint64_t *line = cpn_claim_line_in(claims, level, hash);
    if (ask) __builtin_prefetch((const void *)line, 1); /* of NULL, nothing */
    group->of[i] = party;
    group->hash[i] = hash;
    group->place[i].word = line;
    cpn_group_address(group, i, user_words);
  } while (++i < limit && group->requests[i].campaign == campaign);
  return i;
}

/* A processor goes on behind a line for whose page it has to walk through tables in memory only as far as it looks
 * ahead, and to hash a user and find his line is a good part of that: only a few would be on their way. So the lines of
 * so large a set are asked for one right behind the other. Of a smaller one they come sooner, and hashing hides that.
 * Returns where the run ends. */
CPN_INLINE uint32_t ask_for_lines_of(const coupon_engine *engine, struct cpn_group *group, struct cpn_party *party,
                                     uint32_t i, uint32_t user_words) {
  if (CPN_LIKELY(!cpn_claim_set_is_far(&party->campaign->claims)))
    return find_lines(engine, group, party, i, group->count, user_words, true);
  const uint64_t campaign = group->requests[i].campaign;
  do {
    const uint32_t from = i, limit = (uint32_t)cpn_min_u64(i + FAR_LINES, group->count);
    i = find_lines(engine, group, party, i, limit, user_words, false);
    for (uint32_t j = from; j < i; j++) __builtin_prefetch((const void *)group->place[j].word, 1);
  } while (i < group->count && group->requests[i].campaign == campaign);
  return i;
}

/* Those of a run for a campaign that does not exist (`party` is NULL), or is released. Returns where the run ends. */
static uint32_t turn_away(struct cpn_group *group, struct cpn_party *party, uint32_t i, uint64_t now) {
  const uint64_t campaign = group->requests[i].campaign;
  do {
    group->of[i] = party;
    cpn_group_address(group, i, cpn_group_user_words(group, i));
    cpn_group_ticket(group, i)->time_ns = now;
    cpn_group_answer(group, i, party == NULL ? COUPON_NO_CAMPAIGN : COUPON_E_RELEASED);
  } while (++i < group->count && group->requests[i].campaign == campaign);
  return i;
}

/* For all lines before the first is looked at: memory brings them no faster while the first are worked on. */
static void find_parties(coupon_engine *engine, struct cpn_group *group, uint64_t now) {
  memset(group->state, CPN_GROUP_PUT_OFF, sizeof group->state);
  for (uint32_t i = 0, end; i < group->count; i = end) {
    struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, group->requests[i].campaign);
    struct cpn_party *party = campaign == NULL ? NULL : party_of(engine, group, campaign, now);
    if (CPN_UNLIKELY(party == NULL || !cpn_campaign_is_live(campaign)))
      end = turn_away(group, party, i, now);
    else if (campaign->tickets.user_words == 1)
      end = ask_for_lines_of(engine, group, party, i, 1);
    else
      end = ask_for_lines_of(engine, group, party, i, 2);
    group->end[i] = (uint8_t)end;
  }
}

void cpn_batch_ask(coupon_engine *engine, struct cpn_group *group, uint64_t now) {
  const bool mixed = group->requests[0].campaign != group->requests[group->count - 1].campaign;
  group->parties = 0;
  if (mixed) ask_for_campaigns(engine, group);
  find_parties(engine, group, now);
  if (mixed) ask_for_tickets(group);
}
