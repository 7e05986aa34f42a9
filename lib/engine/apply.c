/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A record takes effect, in its order in the log. Live, most of the effect has been there since the decision; what
 * the order adds is the ticket's number. At recovery the record is all there is, and the rules of docs/FORMAT.md
 * are checked on the way.
 */
#include "base/bytes.h"
#include "engine/engine.h"
#include "engine/restore.h"
#include "log/join.h"
#include "log/reader.h"

/* Records decoded at a time: a page of tickets. */
#define RUN_ROWS CPN_TICKET_PAGE

/* Notes the ticket `number` of a user without a limit: the first one in the claim, how many there are beside it. The
 * claim is there, since requests make it before they publish; only where two users share all the bits of their hashes'
 * prints one may find its place taken, and gets another. False: no memory for that. */
static bool note_unlimited(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                           uint64_t number) {
  for (;;) {
    struct cpn_claim_place place;
    struct coupon_ticket first;
    enum cpn_claim_kind kind = cpn_holder_find(engine, campaign, user, &place, &first);
    if (kind == CPN_CLAIM_NUMBERED) number = first.number;
    /* relaxed: the count stands for itself, and only whoever steps writes it. */
    _Atomic uint64_t *count = cpn_tickets_count(&campaign->tickets, number);
    if (kind == CPN_CLAIM_NUMBERED) {
      atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
      return true;
    }
    if (place.word == NULL) {
      if (!cpn_claim_add_level(&campaign->claims, &engine->memory, &place)) return false;
      continue;
    }
    atomic_store_explicit(count, 1, memory_order_relaxed);
    /* Retry: another user's request has made its entry here. */
    if (cpn_claim_swap(place.word, place.seen, cpn_claim_numbered(user->hash, number))) return true;
  }
}

static void count_tickets(coupon_engine *engine, uint64_t count) {
  /* relaxed, and no read-modify-write: a figure for people that only whoever steps changes. */
  uint64_t before = atomic_load_explicit(&engine->tickets, memory_order_relaxed);
  atomic_store_explicit(&engine->tickets, before + count, memory_order_relaxed);
}

static struct cpn_user user_of(const coupon_engine *engine, const uint64_t *words, uint32_t count) {
  struct cpn_user user = {.words = {words[0], count == 2 ? words[1] : 0}};
  user.hash = count == 2 ? cpn_hash_u128(&engine->key, words[0], words[1]) : cpn_hash_u64(&engine->key, words[0]);
  return user;
}

/* The cursor for this campaign's next ticket. */
static inline struct cpn_ticket_cursor *cursor_of(coupon_engine *engine, struct cpn_campaign *campaign) {
  if (CPN_UNLIKELY(engine->appended_to != campaign)) {
    engine->appended_to = campaign;
    engine->cursor = cpn_tickets_cursor(&campaign->tickets);
  }
  return &engine->cursor;
}

/* For checkpoints: up to which LSN a campaign was not open yet, or not closed. */
static void note_change(struct cpn_campaign *campaign, enum cpn_record_type type, uint64_t lsn) {
  /* release: whoever reads it has everything before; that the record is durable it learns elsewhere. */
  atomic_store_explicit(type == CPN_RECORD_OPEN ? &campaign->opened_lsn : &campaign->closed_lsn, lsn,
                        memory_order_release);
}

/* Puts one ticket, its record's words being at `bytes`; returns its number. */
static uint64_t append(struct cpn_tickets *tickets, struct cpn_ticket_cursor *cursor, uint64_t lsn,
                       const unsigned char *bytes) {
  const uint32_t user_words = tickets->user_words;
  const uint64_t user[2] = {cpn_get_u64(bytes + 8), user_words == 2 ? cpn_get_u64(bytes + 16) : 0};
  return cpn_tickets_append(tickets, cursor, user, lsn, cpn_get_u64(bytes + (size_t)(1 + user_words) * 8));
}

/* How many records with the same head as the first one, of `step` bytes each, follow each other. */
CPN_INLINE size_t count_alike(const unsigned char *bytes, size_t size, size_t step) {
  const uint64_t head = cpn_get_u64(bytes);
  size_t end = step;
  while (end + step <= size && cpn_get_u64(bytes + end) == head) end += step;
  return end / step;
}

/* Puts `count` tickets that follow each other at a spot, which is theirs. `lsn` is where their records begin. */
CPN_INLINE void put_beside(struct cpn_ticket_spot spot, uint64_t lsn, const unsigned char *bytes, size_t count,
                           uint32_t user_words) {
  const size_t step = (size_t)cpn_issue_words(user_words) * 8;
  for (const unsigned char *const end = bytes + count * step; bytes != end; bytes += step) {
    const uint64_t user[2] = {cpn_get_u64(bytes + 8), user_words == 2 ? cpn_get_u64(bytes + 16) : 0};
    lsn += step;
    cpn_tickets_put_at(spot, user_words, user, lsn, cpn_get_u64(bytes + step - 8));
    spot.user += user_words;
    spot.row++;
  }
}

/* Tickets of one campaign that follow each other, as most do: all that differs is looked at before. Returns the bytes
 * of their records. Others see them when the last is counted in; the caller has not given their places back by then. */
CPN_INLINE size_t append_run(coupon_engine *engine, struct cpn_tickets *tickets, struct cpn_ticket_cursor *cursor,
                             uint64_t lsn, const unsigned char *bytes, size_t size, uint32_t user_words) {
  const size_t step = (size_t)cpn_issue_words(user_words) * 8, count = count_alike(bytes, size, step);
  for (size_t done = 0, some; done < count; done += some) {
    some = (size_t)cpn_min_u64(count - done, cpn_tickets_ready(tickets, cursor, lsn + (done + 1) * step));
    put_beside(cursor->spot, lsn + done * step, bytes + done * step, some, user_words);
    cpn_tickets_went_on(tickets, cursor, some);
  }
  cpn_tickets_count_in(tickets, cursor->number - 1);
  count_tickets(engine, count);
  return count * step;
}

/* One ticket of a user without a limit. */
static size_t append_unlimited(coupon_engine *engine, struct cpn_campaign *campaign, struct cpn_ticket_cursor *cursor,
                               uint64_t lsn, const unsigned char *bytes) {
  const uint32_t user_words = campaign->tickets.user_words, words = cpn_issue_words(user_words);
  const uint64_t user[2] = {cpn_get_u64(bytes + 8), user_words == 2 ? cpn_get_u64(bytes + 16) : 0};
  const struct cpn_user whole = user_of(engine, user, user_words);
  uint64_t number = append(&campaign->tickets, cursor, lsn + words * UINT64_C(8), bytes);
  count_tickets(engine, 1);
  bool noted = note_unlimited(engine, campaign, &whole, number);
  CPN_INVARIANT(2, noted);
  cpn_tickets_count_in(&campaign->tickets, number);
  return (size_t)words * 8;
}

/* A run that begins with a ticket. Returns how many bytes it took. */
static size_t apply_issues(coupon_engine *engine, uint64_t head, uint64_t lsn, const unsigned char *bytes,
                           size_t size) {
  struct cpn_campaign *campaign = engine->appended_to;
  if (campaign == NULL || campaign->index != head >> 32) campaign = cpn_directory_at(&engine->campaigns, head >> 32);
  struct cpn_tickets *tickets = &campaign->tickets;
  struct cpn_ticket_cursor *cursor = cursor_of(engine, campaign);
  CPN_INVARIANT(3, head == cpn_issue_head(tickets->user_words, campaign->index));
  /* With a limit the claim leads to the ticket by the LSN, and need not be touched. */
  if (CPN_UNLIKELY(campaign->spec.user_limit == 0)) return append_unlimited(engine, campaign, cursor, lsn, bytes);
  if (tickets->user_words == 1) return append_run(engine, tickets, cursor, lsn, bytes, size, 1);
  return append_run(engine, tickets, cursor, lsn, bytes, size, 2);
}

void cpn_apply_live(void *context, uint64_t lsn, const unsigned char *bytes, size_t size) {
  coupon_engine *engine = context;
  for (size_t done = 0; done < size;) {
    const uint64_t head = cpn_get_u64(bytes + done);
    const unsigned type = (unsigned)(head & 0xff);
    if (type == CPN_RECORD_ISSUE || type == CPN_RECORD_ISSUE_UUID) {
      done += apply_issues(engine, head, lsn + done, bytes + done, size - done);
      continue;
    }
    done += (size_t)cpn_record_words(head) * 8;
    if (type == CPN_RECORD_OPEN || type == CPN_RECORD_CLOSE)
      note_change(cpn_directory_at(&engine->campaigns, head >> 32), (enum cpn_record_type)type, lsn + done);
  }
}

/* --- recovery ------------------------------------------------------------------------------------ */

static coupon_status broken(struct cpn_fault *fault, const char *rule) {
  /* The reader adds file and offset. */
  return cpn_fault_set(fault, COUPON_E_CORRUPT, "", 0, rule);
}

static coupon_status no_memory(struct cpn_fault *fault) {
  return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "not enough memory for the campaigns in the log; allow more");
}

static coupon_status replay_campaign(coupon_engine *engine, const struct cpn_record *record, struct cpn_fault *fault) {
  if (record->campaign != cpn_directory_count(&engine->campaigns))
    return broken(fault, "a campaign's index is not the next one");
  if (cpn_directory_find(&engine->campaigns, record->id) != NULL) return broken(fault, "a campaign is created twice");
  if (!cpn_directory_reserve(&engine->campaigns)) return no_memory(fault);
  struct cpn_campaign_spec spec = {.id = record->id,
                                   .stock = record->stock,
                                   .user_limit = (uint32_t)record->user_limit,
                                   .opens_at_ns = record->opens_at_ns,
                                   .closes_at_ns = record->closes_at_ns,
                                   .user_kind = record->user_kind,
                                   .name = record->name,
                                   .name_length = record->name_length};
  struct cpn_campaign *campaign = cpn_campaign_create(&engine->memory, &spec, record->campaign, 0);
  if (campaign == NULL) return no_memory(fault);
  campaign->created_lsn = record->lsn;
  cpn_directory_add(&engine->campaigns, campaign);
  return COUPON_OK;
}

static coupon_status replay_change(struct cpn_campaign *campaign, const struct cpn_record *record,
                                   struct cpn_fault *fault) {
  uint64_t word = cpn_stock_read(&campaign->stock);
  note_change(campaign, record->type, record->lsn);
  if (record->type == CPN_RECORD_OPEN) {
    if (cpn_word_state(word) != CPN_STOCK_SCHEDULED) return broken(fault, "a campaign opens twice");
    if (record->time_ns < campaign->spec.opens_at_ns) return broken(fault, "a campaign opens before its time");
    return cpn_stock_change(&campaign->stock, word, CPN_STOCK_OPEN) ? COUPON_OK : broken(fault, "cannot open");
  }
  if (cpn_word_state(word) != CPN_STOCK_OPEN) return broken(fault, "a campaign closes that is not open");
  if (campaign->spec.closes_at_ns == 0 || record->time_ns < campaign->spec.closes_at_ns)
    return broken(fault, "a campaign closes before its time");
  return cpn_stock_change(&campaign->stock, word, CPN_STOCK_CLOSED) ? COUPON_OK : broken(fault, "cannot close");
}

/* The campaign of a ticket's record, or NULL and the fault. */
static struct cpn_campaign *campaign_of(const coupon_engine *engine, uint32_t index, enum cpn_record_type type,
                                        struct cpn_fault *fault) {
  if (index >= cpn_directory_count(&engine->campaigns)) {
    (void)broken(fault, "a record of a campaign that was not created");
    return NULL;
  }
  struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, index);
  if ((type == CPN_RECORD_ISSUE_UUID) == (campaign->tickets.user_words == 2)) return campaign;
  (void)broken(fault, "a ticket for a user of another kind");
  return NULL;
}

static coupon_status replay_issue(coupon_engine *engine, const struct cpn_record *record, struct cpn_fault *fault) {
  struct cpn_campaign *campaign = campaign_of(engine, record->campaign, record->type, fault);
  if (campaign == NULL) return fault->status;
  const struct cpn_restored row = {
      .user = {record->user[0], record->user[1]}, .lsn = record->lsn, .time_ns = record->time_ns};
  return cpn_restore_tickets(engine, campaign, &row, 1, fault);
}

/* Where one is in a run: at which record in the file, and which of its users. */
struct run_place {
  const unsigned char *record;
  uint32_t user;
  uint64_t lsn;
};

/* `count` users side by side, and their time. */
CPN_INLINE void rows_of_users(const unsigned char *users, const uint32_t user_words, uint64_t time_ns, uint64_t *lsn,
                              struct cpn_restored *rows, size_t count) {
  for (size_t i = 0; i < count; i++, users += user_words * (size_t)8) {
    rows[i].user[0] = cpn_get_u64(users);
    rows[i].user[1] = user_words == 2 ? cpn_get_u64(users + 8) : 0;
    rows[i].time_ns = time_ns;
    rows[i].lsn = *lsn += cpn_issue_words(user_words) * (uint64_t)8;
  }
}

/* Decodes the next `count` tickets of a run, joined or not. */
CPN_INLINE void rows_of(struct run_place *place, uint32_t campaign, const uint32_t user_words,
                        struct cpn_restored *rows, size_t count) {
  const size_t user_size = user_words * (size_t)8, size = cpn_issue_words(user_words) * (size_t)8;
  const uint64_t alone = cpn_issue_head(user_words, campaign);
  struct run_place now = *place;
  for (size_t i = 0; i < count;) {
    for (; i < count && cpn_get_u64(now.record) == alone; i++, now.record += size)
      rows_of_users(now.record + 8, user_words, cpn_get_u64(now.record + size - 8), &now.lsn, &rows[i], 1);
    if (i == count) break;
    const uint32_t users = cpn_joined_users(cpn_get_u64(now.record), user_words);
    const unsigned char *behind = now.record + 8 + users * user_size;
    const uint32_t some = (uint32_t)cpn_min_u64(users - now.user, count - i);
    rows_of_users(now.record + 8 + now.user * user_size, user_words, cpn_get_u64(behind), &now.lsn, &rows[i], some);
    i += some;
    now.user += some;
    if (now.user < users) break;
    now = (struct run_place){.record = behind + 8, .lsn = now.lsn};
  }
  *place = now;
}

coupon_status cpn_apply_replay_run(void *context, const struct cpn_run *run, uint64_t *done, struct cpn_fault *fault) {
  coupon_engine *engine = context;
  *done = 0;
  struct cpn_campaign *campaign = campaign_of(engine, run->campaign, run->type, fault);
  if (campaign == NULL) return fault->status;
  struct run_place place = {.record = run->bytes, .lsn = run->lsn};
  struct cpn_restored rows[RUN_ROWS];
  while (*done < run->count) {
    const size_t count = (size_t)cpn_min_u64(run->count - *done, RUN_ROWS);
    if (run->type == CPN_RECORD_ISSUE)
      rows_of(&place, run->campaign, 1, rows, count);
    else
      rows_of(&place, run->campaign, 2, rows, count);
    const uint64_t before = cpn_tickets_numbered(&campaign->tickets);
    coupon_status status = cpn_restore_tickets(engine, campaign, rows, count, fault);
    *done += cpn_tickets_numbered(&campaign->tickets) - before;
    if (status != COUPON_OK) return status;
  }
  return COUPON_OK;
}

coupon_status cpn_apply_replay(void *context, const struct cpn_record *record, struct cpn_fault *fault) {
  coupon_engine *engine = context;
  if (record->type == CPN_RECORD_VOID) return COUPON_OK;
  cpn_clock_raise(&engine->clock, record->time_ns);
  if (record->type == CPN_RECORD_LIFE || record->type == CPN_RECORD_END) return COUPON_OK;
  if (record->type == CPN_RECORD_CAMPAIGN) return replay_campaign(engine, record, fault);
  if (record->type == CPN_RECORD_ISSUE || record->type == CPN_RECORD_ISSUE_UUID)
    return replay_issue(engine, record, fault);
  if (record->campaign >= cpn_directory_count(&engine->campaigns))
    return broken(fault, "a record of a campaign that was not created");
  return replay_change(cpn_directory_at(&engine->campaigns, record->campaign), record, fault);
}
