/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many issues at once: the story of engine.c, told for a group side by side. What each request needs of memory is asked
 * for before the first is looked at; then all are claimed, one reservation is made for all of them, and each campaign's
 * units are taken by one exchange.
 *
 * Nobody waits while holding a claim, or two groups with the same users in opposite order would wait for each other for
 * ever. So a group only tries: whoever cannot be claimed at once, or for whom no unit is left, or whose campaign asks
 * for anything else, is put off, and goes alone, in the order of the array, when the group holds no claim any more.
 */
#include <string.h>

#include "base/points.h"
#include "engine/engine.h"

/* Requests side by side. More hide no more of the memory's latency, and would make a hole in the log longer. */
#define GROUP 32u

/* The requests of a group for one campaign. */
struct party {
  struct cpn_campaign *campaign;
  uint64_t word;    /* of its stock, read before the reservation */
  uint32_t claimed; /* requests that have their claim PENDING */
  uint32_t taken;   /* units for the first of them */
  uint64_t number;  /* without a log: the first of these tickets */
  uint64_t time_ns;
};

enum state { PUT_OFF, CLAIMED, ANSWERED };

struct item {
  struct cpn_user user;
  const unsigned char *uuid; /* NULL: a number */
  struct cpn_campaign *campaign;
  struct coupon_ticket *ticket;
  struct cpn_claim_place place;
  struct party *party;
  enum state state;
  uint64_t at, head; /* of its record, once it is reserved; head 0: it has none */
};

struct group {
  struct item item[GROUP];
  struct party party[GROUP];
  uint32_t count, parties;
  uint32_t stumbled; /* requests that were put off while others of their campaign were claimed */
};

static void answer(struct item *item, coupon_status status) {
  item->ticket->answer = status;
  item->state = ANSWERED;
}

/* --- asking for memory --------------------------------------------------------------------------- */

static struct party *party_of(struct group *group, struct cpn_campaign *campaign) {
  /* From the last one: mostly it is the same campaign again. */
  for (uint32_t i = group->parties; i > 0; i--) {
    if (group->party[i - 1].campaign == campaign) return &group->party[i - 1];
  }
  struct party *party = &group->party[group->parties++];
  *party = (struct party){.campaign = campaign};
  __builtin_prefetch(&campaign->stock, 1);
  __builtin_prefetch(&campaign->tickets.room);
  return party;
}

static void find_campaigns(coupon_engine *engine, const struct coupon_request *requests, struct group *group) {
  const struct coupon_request *last = NULL;
  for (uint32_t i = 0; i < group->count; i++) {
    struct item *item = &group->item[i];
    bool same = last != NULL && last->campaign == requests[i].campaign;
    item->campaign =
        same ? group->item[i - 1].campaign : cpn_directory_find(&engine->campaigns, requests[i].campaign);
    if (item->campaign != NULL && !same) __builtin_prefetch(&item->campaign->claims);
    last = &requests[i];
  }
}

static void find_claims(coupon_engine *engine, const struct coupon_request *requests, struct group *group) {
  for (uint32_t i = 0; i < group->count; i++) {
    struct item *item = &group->item[i];
    struct cpn_campaign *campaign = item->campaign;
    item->uuid = campaign != NULL && campaign->spec.user_kind == COUPON_USER_UUID ? requests[i].uuid : NULL;
    cpn_engine_address(item->ticket, requests[i].campaign, item->uuid == NULL ? requests[i].user : 0, item->uuid);
    if (campaign == NULL) {
      item->ticket->time_ns = cpn_clock_now(&engine->clock);
      answer(item, COUPON_NO_CAMPAIGN);
      continue;
    }
    item->user = cpn_engine_user(engine, requests[i].user, item->uuid);
    cpn_claim_prefetch(&campaign->claims, item->user.hash);
    item->party = party_of(group, campaign);
    item->state = PUT_OFF;
  }
}

/* --- claiming ------------------------------------------------------------------------------------ */

static bool can_go_together(const struct party *party, uint64_t now) {
  return !cpn_word_refuses(party->word) && !cpn_word_marked(party->word) &&
         !cpn_window_is_due(party->campaign, party->word, now) && party->campaign->spec.user_limit != 0;
}

/* Whether an earlier request of this user was put off: then this one is, too, or it would overtake it. */
static bool follows_one_put_off(const struct group *group, const struct item *item) {
  for (const struct item *other = group->item; other < item; other++) {
    if (other->state == PUT_OFF && other->campaign == item->campaign && other->user.hash == item->user.hash) return true;
  }
  return false;
}

static void claim(coupon_engine *engine, struct group *group, struct item *item, bool together) {
  enum cpn_claim_kind kind = cpn_holder_find(engine, item->campaign, &item->user, &item->place, item->ticket);
  CPN_POINT(CLAIM_READ);
  if (item->campaign->spec.user_limit != 0 && (kind == CPN_CLAIM_HELD || kind == CPN_CLAIM_NUMBERED)) {
    answer(item, COUPON_ALREADY_ISSUED); /* LP(duplicate): the read of the claim */
    return;
  }
  if (!together) return;
  if (kind == CPN_CLAIM_PENDING || item->place.word == NULL ||
      (group->stumbled != 0 && follows_one_put_off(group, item)) ||
      !cpn_claim_swap(item->place.word, item->place.seen, cpn_claim_pending(item->user.hash))) {
    group->stumbled++;
    return;
  }
  CPN_POINT(CLAIMED);
  item->state = CLAIMED;
  item->party->claimed++;
}

static void unclaim(struct item *item) {
  const uint64_t before = item->place.seen;
  cpn_claim_write(item->place.word, before != 0 ? before : cpn_claim_free(item->user.hash));
  item->state = PUT_OFF;
}

/* Claims whom it can; returns how many words their records take. */
static uint64_t claim_all(coupon_engine *engine, struct group *group) {
  const uint64_t now = cpn_clock_now(&engine->clock);
  for (uint32_t i = 0; i < group->parties; i++) group->party[i].word = cpn_stock_read(&group->party[i].campaign->stock);
  uint64_t words = 0;
  for (uint32_t i = 0; i < group->count; i++) {
    struct item *item = &group->item[i];
    if (item->state == ANSWERED) continue;
    claim(engine, group, item, can_go_together(item->party, now));
    if (item->state == CLAIMED) words += cpn_issue_words(item->campaign->tickets.user_words);
  }
  return words;
}

/* --- taking -------------------------------------------------------------------------------------- */

/* Room for the tickets while that can still fail. */
static uint64_t room_for(coupon_engine *engine, const struct party *party) {
  const uint64_t stock = party->campaign->spec.stock, issued = stock - cpn_word_remaining(party->word);
  const uint64_t last = cpn_min_u64(issued + party->claimed, stock);
  /* The keeper is asked in passing, as by single requests. */
  if (last / CPN_KEEPER_EVERY != issued / CPN_KEEPER_EVERY) cpn_keeper_want(engine, party->campaign);
  return last > cpn_tickets_room(&party->campaign->tickets) && !cpn_engine_room(engine, party->campaign, last)
             ? 0
             : cpn_tickets_room(&party->campaign->tickets);
}

static void take_logged(struct group *group, uint64_t time_ns) {
  for (uint32_t i = 0; i < group->parties; i++) {
    struct party *party = &group->party[i];
    if (party->claimed == 0 || !cpn_window_contains(party->campaign, time_ns)) continue;
    const uint64_t stock = party->campaign->spec.stock, room = cpn_tickets_room(&party->campaign->tickets);
    /* LP(issue), of all of them */
    party->taken =
        (uint32_t)cpn_stock_take_many(&party->campaign->stock, party->word, stock - room, party->claimed);
  }
}

static void take_unlogged(coupon_engine *engine, struct party *party) {
  struct cpn_stock *stock = &party->campaign->stock;
  uint32_t units;
  do {
    party->word = cpn_stock_read(stock);
    if (cpn_word_refuses(party->word) || cpn_word_marked(party->word)) return;
    if (room_for(engine, party) == 0) return;
    party->number = party->campaign->spec.stock - cpn_word_remaining(party->word) + 1;
    party->time_ns = cpn_clock_now(&engine->clock); /* between two equal reads of the word, as in engine.c */
    if (!cpn_window_contains(party->campaign, party->time_ns)) return;
    units = (uint32_t)cpn_min_u64(party->claimed, cpn_word_remaining(party->word));
  } while (!cpn_stock_take_as_seen(stock, party->word, units)); /* LP(issue), of all of them */
  party->taken = units;
}

/* --- the records --------------------------------------------------------------------------------- */

/* Writes the record of one who has a unit, all but its head, or VOID for one for whom none was left. */
static void fill(coupon_engine *engine, struct item *item, uint64_t at, uint64_t time_ns) {
  const uint32_t user_words = item->campaign->tickets.user_words, words = cpn_issue_words(user_words);
  item->at = at;
  if (item->party->taken == 0) {
    unclaim(item);
    item->head = cpn_record_head(CPN_RECORD_VOID, words, 0);
    atomic_fetch_add_explicit(&engine->voids, 1, memory_order_relaxed); /* relaxed: a figure for people */
    for (uint32_t i = 1; i < words; i++) cpn_buffer_fill(&engine->buffer, at, i, 0);
    return;
  }
  item->party->taken--;
  item->head = cpn_issue_head(user_words, item->campaign->index);
  item->ticket->number = 0;
  item->ticket->lsn = at + words * UINT64_C(8);
  item->ticket->time_ns = time_ns;
  cpn_buffer_fill(&engine->buffer, at, 1, item->user.words[0]);
  if (user_words == 2) cpn_buffer_fill(&engine->buffer, at, 2, item->user.words[1]);
  cpn_buffer_fill(&engine->buffer, at, words - 1, time_ns);
  cpn_claim_write(item->place.word, cpn_claim_held(item->user.hash, item->ticket->lsn));
  answer(item, COUPON_ISSUED);
}

/* From the back: the commit stage goes on when the first is published, and by then all of them are. */
static void publish_all(coupon_engine *engine, struct group *group, uint64_t first) {
  for (uint32_t i = group->count; i > 0; i--) {
    struct item *item = &group->item[i - 1];
    if (item->head == 0) continue;
    if (item->at == first)
      cpn_buffer_publish(&engine->buffer, item->at, item->head);
    else
      cpn_buffer_publish_behind(&engine->buffer, item->at, item->head);
  }
}

static void unclaim_all(struct group *group) {
  for (uint32_t i = 0; i < group->count; i++) {
    if (group->item[i].state == CLAIMED) unclaim(&group->item[i]);
  }
}

static void issue_logged(coupon_engine *engine, struct group *group, uint64_t words) {
  bool room = true;
  for (uint32_t i = 0; i < group->parties && room; i++)
    room = group->party[i].claimed == 0 || room_for(engine, &group->party[i]) != 0;
  uint64_t time_ns, first = CPN_LSN_NONE;
  if (room) first = cpn_buffer_reserve(&engine->buffer, (uint32_t)words, &time_ns);
  if (first == CPN_LSN_NONE) { /* each finds out for itself, alone */
    unclaim_all(group);
    return;
  }
  CPN_POINT(RESERVED);
  take_logged(group, time_ns);
  CPN_POINT(TAKEN);
  uint64_t at = first;
  for (uint32_t i = 0; i < group->count; i++) {
    struct item *item = &group->item[i];
    item->head = 0;
    if (item->state != CLAIMED) continue;
    fill(engine, item, at, time_ns);
    at += cpn_issue_words(item->campaign->tickets.user_words) * UINT64_C(8);
  }
  CPN_POINT(HELD);
  publish_all(engine, group, first);
  CPN_POINT(PUBLISHED);
}

static void issue_unlogged(coupon_engine *engine, struct group *group) {
  for (uint32_t i = 0; i < group->parties; i++) {
    if (group->party[i].claimed != 0) take_unlogged(engine, &group->party[i]);
  }
  CPN_POINT(TAKEN);
  for (uint32_t i = 0; i < group->count; i++) {
    struct item *item = &group->item[i];
    struct party *party = item->party;
    if (item->state != CLAIMED) continue;
    if (party->taken == 0) {
      unclaim(item);
      continue;
    }
    party->taken--;
    item->ticket->number = party->number++;
    item->ticket->time_ns = party->time_ns;
    cpn_tickets_put(&item->campaign->tickets, item->ticket->number, item->user.words, 1, party->time_ns);
    cpn_claim_write(item->place.word, cpn_claim_numbered(item->user.hash, item->ticket->number));
    answer(item, COUPON_ISSUED);
  }
}

/* --- the group ----------------------------------------------------------------------------------- */

static void finish(coupon_engine *engine, struct item *item) {
  coupon_status status = item->ticket->answer;
  if (status == COUPON_ISSUED || status == COUPON_ALREADY_ISSUED)
    cpn_engine_complete(engine, item->campaign, item->ticket);
  else
    cpn_engine_set_final(engine, item->ticket);
}

static void issue_group(coupon_engine *engine, const struct coupon_request *requests, struct group *group) {
  group->parties = group->stumbled = 0;
  find_campaigns(engine, requests, group);
  find_claims(engine, requests, group);
  uint64_t words = claim_all(engine, group);
  if (words != 0 && engine->has_log) issue_logged(engine, group, words);
  if (words != 0 && !engine->has_log) issue_unlogged(engine, group);
  for (uint32_t i = 0; i < group->count; i++) {
    struct item *item = &group->item[i];
    if (item->state == PUT_OFF) answer(item, cpn_engine_decide(engine, item->campaign, &item->user, item->ticket));
  }
  if (engine->has_log) cpn_wait_published(engine);
  for (uint32_t i = 0; i < group->count; i++) finish(engine, &group->item[i]);
}

coupon_status cpn_batch_issue(coupon_engine *engine, const struct coupon_request *requests, size_t count, char *tickets,
                              size_t element_size) {
  coupon_status status = cpn_engine_enter(engine, true);
  if (CPN_UNLIKELY(status != COUPON_OK)) return status;
  struct group group;
  for (size_t done = 0; done < count; done += group.count) {
    group.count = (uint32_t)cpn_min_u64(GROUP, count - done);
    for (uint32_t i = 0; i < group.count; i++) {
      group.item[i].ticket = (struct coupon_ticket *)(void *)(tickets + (done + i) * element_size);
      group.item[i].ticket->size = element_size;
    }
    issue_group(engine, requests + done, &group);
  }
  return cpn_engine_leave(COUPON_OK);
}
