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
#include "engine/batch.h"

#include "base/points.h"

/* --- claiming ------------------------------------------------------------------------------------ */

/* Whether an earlier request of this user was put off: then this one is, too, or it would overtake it. */
static bool follows_one_put_off(const struct cpn_group *group, uint32_t i) {
  for (uint32_t j = 0; j < i; j++) {
    if (group->state[j] == CPN_GROUP_PUT_OFF && group->of[j] == group->of[i] && group->hash[j] == group->hash[i])
      return true;
  }
  return false;
}

static void put_off(struct cpn_group *group, uint32_t i) {
  group->state[i] = CPN_GROUP_PUT_OFF;
  group->put_off++;
}

/* Where the place is not just empty, or somebody has stumbled: whoever holds a ticket has the answer, and whoever can
 * still be claimed is. */
static void claim_with_care(coupon_engine *engine, struct cpn_group *group, uint32_t i) {
  struct cpn_party *party = group->of[i];
  struct cpn_claim_place *place = &group->place[i];
  const struct cpn_user user = cpn_group_user(group, i, cpn_group_user_words(group, i));
  enum cpn_claim_kind kind = CPN_CLAIM_EMPTY;
  if (place->seen != 0) kind = cpn_holder_resolve(engine, party->campaign, &user, place, cpn_group_ticket(group, i));
  CPN_POINT(CLAIM_READ);
  if ((kind == CPN_CLAIM_HELD || kind == CPN_CLAIM_NUMBERED) && party->campaign->spec.user_limit != 0) {
    cpn_group_answer(group, i, COUPON_ALREADY_ISSUED); /* LP(duplicate): the read of the claim */
  } else if (!party->together) {
    put_off(group, i);
  } else if (place->word == NULL && cpn_claim_add_level(&party->campaign->claims, &engine->memory, place)) {
    *place = cpn_claim_look(&party->campaign->claims, user.hash);
    claim_with_care(engine, group, i); /* at most once for each level there can be */
  } else if (kind == CPN_CLAIM_PENDING || place->word == NULL ||
             (group->stumbled != 0 && follows_one_put_off(group, i)) ||
             !cpn_claim_swap(place->word, place->seen, cpn_claim_pending(user.hash))) {
    group->stumbled++;
    put_off(group, i);
  } else {
    CPN_POINT(CLAIMED);
    group->state[i] = CPN_GROUP_CLAIMED;
    party->claimed++;
  }
}

/* Mostly the user is new, and nobody else is after the place. */
CPN_INLINE bool claim_at_once(struct cpn_group *group, uint32_t i, _Atomic uint64_t *word) {
  if (CPN_UNLIKELY(word == NULL || cpn_claim_read(word) != 0 ||
                   !cpn_claim_swap(word, 0, cpn_claim_pending(group->hash[i]))))
    return false;
  CPN_POINT(CLAIMED);
  group->place[i].word = word;
  group->place[i].seen = 0;
  group->state[i] = CPN_GROUP_CLAIMED;
  return true;
}

/* Those whose first line was full of others, from the next line on. */
static void claim_behind(coupon_engine *engine, struct cpn_group *group, const uint8_t *behind, uint32_t count) {
  for (uint32_t k = 0; k < count; k++) {
    const uint32_t i = behind[k];
    const uint64_t hash = group->hash[i];
    struct cpn_party *party = group->of[i];
    if (CPN_LIKELY(party->together && group->stumbled == 0 &&
                   claim_at_once(group, i, cpn_claim_first_in(group->place[i].word, hash)))) {
      party->claimed++;
      continue;
    }
    cpn_claim_walk(&party->campaign->claims, hash, CPN_CLAIM_LINE_WORDS, &group->place[i]);
    claim_with_care(engine, group, i);
  }
}

/* Claims whom it can. Whose first line is full of others has to wait for the next one, and so comes behind all others:
 * by then memory has brought it. He overtakes nobody, and is not overtaken: what fills a line stays, so later requests
 * of the same user come behind, too, and behind him. */
static void claim_all(coupon_engine *engine, struct cpn_group *group) {
  uint8_t behind[CPN_GROUP_MAX];
  uint32_t behind_count = 0;
  for (uint32_t i = 0, end; i < group->count; i = end) {
    end = group->end[i];
    if (CPN_UNLIKELY(group->state[i] == CPN_GROUP_ANSWERED)) continue; /* all of the run are */
    struct cpn_party *party = group->of[i];
    const struct cpn_claim_set *claims = &party->campaign->claims;
    bool at_once = party->together && group->stumbled == 0;
    uint32_t claimed = 0;
    for (uint32_t j = i; j < end; j++) {
      const uint64_t hash = group->hash[j];
      _Atomic uint64_t *line = group->place[j].word, *word = cpn_claim_first_in(line, hash);
      if (CPN_LIKELY(at_once && claim_at_once(group, j, word))) {
        claimed++;
      } else if (word == NULL && line != NULL) {
        group->place[j].word = cpn_claim_next_line(claims, hash);
        __builtin_prefetch((const void *)group->place[j].word, 1);
        behind[behind_count++] = (uint8_t)j;
      } else {
        group->place[j] = cpn_claim_look_from(claims, hash, line, word);
        claim_with_care(engine, group, j);
        at_once = party->together && group->stumbled == 0;
      }
    }
    party->claimed += claimed;
  }
  claim_behind(engine, group, behind, behind_count);
}

static void unclaim(struct cpn_group *group, uint32_t i) {
  const uint64_t before = group->place[i].seen;
  cpn_claim_write(group->place[i].word, before != 0 ? before : cpn_claim_free(group->hash[i]));
  put_off(group, i);
}

/* Words of the records of all who are claimed; whether there are any. */
static uint64_t words_of(const struct cpn_group *group) {
  uint64_t words = 0;
  for (uint32_t i = 0; i < group->parties; i++)
    words += group->party[i].claimed * (uint64_t)cpn_issue_words(group->party[i].campaign->tickets.user_words);
  return words;
}

/* --- taking -------------------------------------------------------------------------------------- */

/* Room for the tickets while that can still fail; up to which number, or 0. */
static uint64_t room_for(coupon_engine *engine, const struct cpn_party *party) {
  const uint64_t stock = party->campaign->spec.stock, issued = stock - cpn_word_remaining(party->word);
  const uint64_t last = cpn_min_u64(issued + party->claimed, stock);
  /* The keeper is asked in passing, as by single requests. */
  if (last / CPN_KEEPER_EVERY != issued / CPN_KEEPER_EVERY) cpn_keeper_want(engine, party->campaign);
  if (last > cpn_tickets_room(&party->campaign->tickets) && !cpn_engine_room(engine, party->campaign, last)) return 0;
  return cpn_tickets_room(&party->campaign->tickets);
}

static void take_logged(struct cpn_group *group, uint64_t time_ns) {
  for (uint32_t i = 0; i < group->parties; i++) {
    struct cpn_party *party = &group->party[i];
    if (party->claimed == 0 || !cpn_window_contains(party->campaign, time_ns)) continue;
    const uint64_t stock = party->campaign->spec.stock, room = cpn_tickets_room(&party->campaign->tickets);
    /* LP(issue), of all of them */
    party->taken = (uint32_t)cpn_stock_take_many(&party->campaign->stock, party->word, stock - room, party->claimed);
  }
}

static void take_unlogged(coupon_engine *engine, struct cpn_party *party) {
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

/* --- with a log ---------------------------------------------------------------------------------- */

/* Writes the record of one who has a unit, all but its head, which is returned; or VOID for one for whom none was
 * left. */
static uint64_t fill(coupon_engine *engine, struct cpn_group *group, uint32_t i, uint64_t at, uint64_t time_ns) {
  struct cpn_party *party = group->of[i];
  const uint32_t user_words = party->campaign->tickets.user_words, words = cpn_issue_words(user_words);
  if (CPN_UNLIKELY(party->taken == 0)) {
    unclaim(group, i);
    atomic_fetch_add_explicit(&engine->voids, 1, memory_order_relaxed); /* relaxed: a figure for people */
    for (uint32_t word = 1; word < words; word++) cpn_buffer_fill(&engine->buffer, at, word, 0);
    return cpn_record_head(CPN_RECORD_VOID, words, 0);
  }
  party->taken--;
  const struct cpn_user user = cpn_group_user(group, i, user_words);
  struct coupon_ticket *ticket = cpn_group_ticket(group, i);
  ticket->lsn = at + words * UINT64_C(8);
  ticket->time_ns = time_ns;
  cpn_buffer_fill(&engine->buffer, at, 1, user.words[0]);
  if (user_words == 2) cpn_buffer_fill(&engine->buffer, at, 2, user.words[1]);
  cpn_buffer_fill(&engine->buffer, at, words - 1, time_ns);
  cpn_claim_write(group->place[i].word, cpn_claim_held(user.hash, ticket->lsn));
  cpn_group_answer(group, i, COUPON_ISSUED);
  return cpn_issue_head(user_words, party->campaign->index);
}

static void unclaim_all(struct cpn_group *group) {
  for (uint32_t i = 0; i < group->count; i++) {
    if (group->state[i] == CPN_GROUP_CLAIMED) unclaim(group, i);
  }
}

static void issue_logged(coupon_engine *engine, struct cpn_group *group, uint64_t words_of_all) {
  bool room = true;
  for (uint32_t i = 0; i < group->parties && room; i++)
    room = group->party[i].claimed == 0 || room_for(engine, &group->party[i]) != 0;
  uint64_t time_ns, first = CPN_LSN_NONE;
  if (room) first = cpn_buffer_reserve(&engine->buffer, (uint32_t)words_of_all, &time_ns);
  if (first == CPN_LSN_NONE) { /* each finds out for itself, alone */
    unclaim_all(group);
    return;
  }
  CPN_POINT(RESERVED);
  take_logged(group, time_ns);
  CPN_POINT(TAKEN);
  /* The first head last: the commit stage goes on when it is published, and by then all of them are. */
  uint64_t at = first, first_head = 0;
  for (uint32_t i = 0; i < group->count; i++) {
    if (group->state[i] != CPN_GROUP_CLAIMED) continue;
    const uint32_t words = cpn_issue_words(group->of[i]->campaign->tickets.user_words);
    uint64_t head = fill(engine, group, i, at, time_ns);
    if (at == first)
      first_head = head;
    else
      cpn_buffer_publish_behind(&engine->buffer, at, head);
    at += words * UINT64_C(8);
  }
  CPN_POINT(HELD);
  cpn_buffer_publish(&engine->buffer, first, first_head);
  CPN_POINT(PUBLISHED);
}

/* --- without a log ------------------------------------------------------------------------------- */

/* One after the other to those of the run `i` … `end` - 1, which is one campaign's, who are claimed. In two forms:
 * `user_words` is a constant. */
CPN_INLINE void give_out(struct cpn_group *group, uint32_t i, uint32_t end, uint32_t user_words) {
  struct cpn_party *party = group->of[i];
  const uint64_t time_ns = party->time_ns;
  uint64_t number = party->number;
  uint32_t taken = party->taken;
  struct cpn_ticket_spot spot = {.left = 0};
  for (; i < end; i++) {
    if (CPN_UNLIKELY(group->state[i] != CPN_GROUP_CLAIMED)) continue;
    if (CPN_UNLIKELY(spot.left == 0)) {
      if (taken == 0) {
        unclaim(group, i);
        continue;
      }
      spot = cpn_tickets_spot(&party->campaign->tickets, number);
      spot.left = cpn_min_u64(spot.left, taken);
      taken -= (uint32_t)spot.left;
    }
    const struct cpn_user user = cpn_group_user(group, i, user_words);
    cpn_tickets_put_at(spot, user_words, user.words, 1, time_ns);
    cpn_claim_write(group->place[i].word, cpn_claim_numbered(user.hash, number));
    struct coupon_ticket *ticket = cpn_group_ticket(group, i);
    ticket->number = number++;
    ticket->time_ns = time_ns;
    ticket->answer = COUPON_ISSUED; /* the state need not say so: nobody looks who was claimed any more */
    spot.user += user_words;
    spot.row++;
    spot.left--;
  }
  party->number = number;
  party->taken = taken + (uint32_t)spot.left;
}

static void issue_unlogged(coupon_engine *engine, struct cpn_group *group) {
  for (uint32_t i = 0; i < group->parties; i++) {
    if (group->party[i].claimed != 0) take_unlogged(engine, &group->party[i]);
  }
  CPN_POINT(TAKEN);
  for (uint32_t i = 0, end; i < group->count; i = end) {
    end = group->end[i];
    if (group->of[i] == NULL) continue;
    if (group->of[i]->campaign->tickets.user_words == 1)
      give_out(group, i, end, 1);
    else
      give_out(group, i, end, 2);
  }
}

/* --- the group ----------------------------------------------------------------------------------- */

/* Those who were put off, one after the other. */
static void issue_alone(coupon_engine *engine, struct cpn_group *group) {
  for (uint32_t i = 0; i < group->count; i++) {
    if (group->state[i] != CPN_GROUP_PUT_OFF) continue;
    const struct cpn_user user = cpn_group_user(group, i, cpn_group_user_words(group, i));
    cpn_group_address(group, i, cpn_group_user_words(group, i));
    cpn_group_answer(group, i, cpn_engine_decide(engine, group->of[i]->campaign, &user, cpn_group_ticket(group, i)));
  }
}

/* With a log: which of the answers are final already. */
static void finish(coupon_engine *engine, struct cpn_group *group) {
  const uint64_t durable = cpn_commit_durable(&engine->commit);
  for (uint32_t i = 0; i < group->count; i++) {
    struct coupon_ticket *ticket = cpn_group_ticket(group, i);
    const struct cpn_party *party = group->of[i];
    ticket->flags = ticket->lsn <= durable ? COUPON_TICKET_FINAL : 0;
    if (CPN_UNLIKELY(ticket->flags != 0 && ticket->number == 0 && party != NULL) &&
        (ticket->answer == COUPON_ISSUED || ticket->answer == COUPON_ALREADY_ISSUED))
      cpn_engine_complete(engine, party->campaign, ticket);
  }
}

static void issue_group(coupon_engine *engine, struct cpn_group *group) {
  const uint64_t now = cpn_clock_now(&engine->clock);
  group->put_off = group->stumbled = 0;
  cpn_batch_ask(engine, group, now);
  claim_all(engine, group);
  const uint64_t words = words_of(group);
  if (words != 0 && engine->has_log) issue_logged(engine, group, words);
  if (words != 0 && !engine->has_log) issue_unlogged(engine, group);
  if (group->put_off != 0) issue_alone(engine, group);
  if (!engine->has_log) return;
  cpn_wait_published(engine);
  finish(engine, group);
}

coupon_status cpn_batch_issue(coupon_engine *engine, const struct coupon_request *requests, size_t count, char *tickets,
                              size_t element_size) {
  coupon_status status = cpn_engine_enter(engine, true);
  if (CPN_UNLIKELY(status != COUPON_OK)) return status;
  struct cpn_group group; /* filled as it goes: clearing it would cost as much as some requests */
  group.element_size = element_size;
  for (size_t done = 0; done < count; done += group.count) {
    group.requests = requests + done;
    group.tickets = tickets + done * element_size;
    group.count = (uint32_t)cpn_min_u64(CPN_GROUP_MAX, count - done);
    issue_group(engine, &group);
  }
  return cpn_engine_leave(COUPON_OK);
}
