/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A block of tickets at a time, as many as lie at one spot, 256 at most. First the rules that a ticket and the one
 * before it tell of; then the claims; then the rows. Or a page, where it lies packed already.
 *
 * Where claims come only when all tickets are there (restore_claims.h), that a user came twice shows only then, and the
 * log is read again up to that record, to say where it is. Nothing is as slow as damage, and nothing need be.
 */
#include "engine/restore.h"

#include "engine/restore_claims.h"
#include "engine/restore_follow.h"
#include "log/reader.h"
#include "log/reader_expect.h"

static coupon_status broken(struct cpn_fault *fault, const char *rule) {
  /* The caller knows the place. */
  return cpn_fault_set(fault, COUPON_E_CORRUPT, "", 0, rule);
}

static bool make_room(coupon_engine *engine, struct cpn_tickets *tickets, uint64_t number) {
  return number <= cpn_tickets_room(tickets) || cpn_tickets_make_room(tickets, &engine->memory, &engine->pool, number);
}

static bool make_room_somehow(coupon_engine *engine, struct cpn_tickets *tickets, uint64_t number) {
  return make_room(engine, tickets, number) ||
         (cpn_restore_make_the_most_of_memory(engine) && make_room(engine, tickets, number)) ||
         (cpn_restore_let_claims_go(engine) && make_room(engine, tickets, number));
}

/* --- a block ------------------------------------------------------------------------------------- */

/* The rules that a ticket and the one before it tell of: the first one broken, or NULL. */
static const char *broken_rule(const struct cpn_campaign *campaign, uint64_t remaining, uint64_t time_before,
                               uint64_t time_ns) {
  if (cpn_word_state(cpn_stock_read(&campaign->stock)) != CPN_STOCK_OPEN)
    return "a ticket of a campaign that is not open";
  if (remaining == 0) return "more tickets than stock";
  if (!cpn_window_contains(campaign, time_ns)) return "a ticket outside its campaign's time";
  return time_ns < time_before ? "times of tickets fall" : NULL;
}

/* How many of the rows keep those rules, up to the first that does not. */
static size_t sound_ones(const struct cpn_campaign *campaign, const struct cpn_restored *rows, size_t count,
                         uint64_t time_before) {
  const uint64_t word = cpn_stock_read(&campaign->stock);
  if (cpn_word_state(word) != CPN_STOCK_OPEN) return 0;
  count = (size_t)cpn_min_u64(count, cpn_word_remaining(word));
  const uint64_t end = campaign->spec.closes_at_ns == 0 ? UINT64_MAX : campaign->spec.closes_at_ns - 1;
  uint64_t before = cpn_max_u64(time_before, campaign->spec.opens_at_ns);
  for (size_t i = 0; i < count; i++) {
    if (CPN_UNLIKELY(rows[i].time_ns < before || rows[i].time_ns > end)) return i;
    before = rows[i].time_ns;
  }
  return count;
}

/* The units of so many tickets, the last of which has this time. */
static void take(coupon_engine *engine, struct cpn_campaign *campaign, size_t count, uint64_t last_ns) {
  const uint64_t taken = cpn_stock_take_many(&campaign->stock, cpn_stock_read(&campaign->stock), 0, count);
  CPN_INVARIANT(1, taken == count);
  /* relaxed, and no read-modify-write: nobody else is there. */
  const uint64_t before = atomic_load_explicit(&engine->tickets, memory_order_relaxed);
  atomic_store_explicit(&engine->tickets, before + count, memory_order_relaxed);
  cpn_clock_raise(&engine->clock, last_ns);
}

/* What has got its claims takes its numbers and its units. */
static void append(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_ticket_spot *spot,
                   const struct cpn_restored *rows, size_t count) {
  struct cpn_tickets *tickets = &campaign->tickets;
  if (count == 0) return;
  cpn_tickets_restore_rows(tickets, spot, rows, count);
  if (cpn_tickets_numbered(tickets) % CPN_TICKET_PAGE == 0) cpn_tickets_pack(tickets, &engine->memory, &engine->pool);
  take(engine, campaign, count, rows[count - 1].time_ns);
}

static coupon_status claim_or_defer(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number,
                                    const struct cpn_restored *rows, size_t count, size_t *done,
                                    struct cpn_fault *fault) {
  if (!cpn_restore_is_deferred(campaign, number)) {
    coupon_status status = cpn_restore_claims(engine, campaign, number, rows, count, done, fault);
    if (status != COUPON_E_NOMEM || !cpn_restore_let_claims_go(engine)) return status;
    *done = 0;
    if (number == 1) return cpn_restore_claims(engine, campaign, number, rows, count, done, fault); /* others' went */
  }
  *done = count;
  engine->progress.deferred += count;
  return COUPON_OK;
}

/* As many as lie at one spot, `*time_before` being the time of the ticket before; `*done` have taken effect. */
static coupon_status restore_block(coupon_engine *engine, struct cpn_campaign *campaign,
                                   const struct cpn_restored *rows, size_t count, uint64_t *time_before, size_t *done,
                                   struct cpn_fault *fault) {
  struct cpn_tickets *tickets = &campaign->tickets;
  const uint64_t number = cpn_tickets_numbered(tickets) + 1;
  count = (size_t)cpn_min_u64(count, CPN_TICKET_PAGE);
  size_t sound = sound_ones(campaign, rows, count, *time_before);
  if (sound == 0) {
    const uint64_t remaining = cpn_word_remaining(cpn_stock_read(&campaign->stock));
    const char *rule = broken_rule(campaign, remaining, *time_before, rows[0].time_ns);
    CPN_INVARIANT(0, rule != NULL);
    return broken(fault, rule);
  }
  if (!make_room_somehow(engine, tickets, number)) return cpn_restore_no_memory(fault);
  const struct cpn_ticket_spot spot = cpn_tickets_spot(tickets, number);
  count = (size_t)cpn_min_u64(sound, spot.left);
  cpn_tickets_restore_users(tickets, &spot, rows, count);
  coupon_status status = claim_or_defer(engine, campaign, number, rows, count, done, fault);
  append(engine, campaign, &spot, rows, *done);
  if (*done > 0) *time_before = rows[*done - 1].time_ns;
  if (cpn_restore_is_deferred(campaign, number)) cpn_restore_follow(engine, campaign, number - 1);
  return status;
}

coupon_status cpn_restore_tickets(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_restored *rows,
                                  size_t count, struct cpn_fault *fault) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets);
  uint64_t time_before = 0;
  if (numbered > 0 && count > 0) (void)cpn_tickets_read(&campaign->tickets, numbered, &time_before);
  for (size_t at = 0; at < count;) {
    size_t done = 0;
    coupon_status status = restore_block(engine, campaign, rows + at, count - at, &time_before, &done, fault);
    if (status != COUPON_OK) return status;
    at += done;
  }
  return COUPON_OK;
}

/* --- a page -------------------------------------------------------------------------------------- */

bool cpn_restore_page(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_packed_page *page) {
  const uint64_t numbered = cpn_tickets_numbered(&campaign->tickets), word = cpn_stock_read(&campaign->stock);
  uint64_t time_before = 0;
  if (numbered > 0) (void)cpn_tickets_read(&campaign->tickets, numbered, &time_before);
  const bool sound = cpn_word_state(word) == CPN_STOCK_OPEN && cpn_word_remaining(word) >= CPN_TICKET_PAGE &&
                     page->first_time_ns >= time_before && cpn_window_contains(campaign, page->first_time_ns) &&
                     cpn_window_contains(campaign, page->last_time_ns);
  if (!sound || campaign->spec.user_limit == 0 || !cpn_restore_is_deferred(campaign, numbered + 1) ||
      !cpn_tickets_restore_page(&campaign->tickets, &engine->memory, page))
    return false;
  engine->progress.deferred += CPN_TICKET_PAGE;
  take(engine, campaign, CPN_TICKET_PAGE, page->last_time_ns);
  cpn_restore_follow(engine, campaign, numbered);
  return true;
}

/* --- the end ------------------------------------------------------------------------------------- */

coupon_status cpn_restore_settle(coupon_engine *engine, uint64_t *twice_lsn, struct cpn_fault *fault) {
  coupon_status status = COUPON_OK;
  *twice_lsn = 0;
  cpn_restore_follow_stop(engine);
  uint64_t lines_to_come = cpn_restore_lines_to_come(engine);
  for (uint64_t i = 0; i < cpn_directory_count(&engine->campaigns) && status == COUPON_OK; i++) {
    struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    const uint64_t tickets = cpn_tickets_numbered(&campaign->tickets);
    const bool deferred = cpn_restore_is_deferred(campaign, tickets);
    uint64_t twice, unused;
    status = cpn_restore_deferred_claims(engine, campaign, &lines_to_come, &twice, fault);
    if (deferred) cpn_progress_claim(engine, tickets, CPN_PROGRESS_WHOLE);
    if (twice == UINT64_MAX) continue;
    const uint64_t lsn = cpn_tickets_read(&campaign->tickets, twice, &unused);
    if (*twice_lsn == 0 || lsn < *twice_lsn) *twice_lsn = lsn;
  }
  if (status == COUPON_OK) cpn_progress_end(engine);
  return status;
}

/* The record that ends at this LSN breaks the rule; what is before it counts. */
struct search {
  uint64_t lsn, tickets;
};

static coupon_status search_run(void *context, const struct cpn_run *run, uint64_t *done, struct cpn_fault *fault) {
  struct search *search = context;
  const uint64_t size = run->words * UINT64_C(8);
  const bool here = search->lsn > run->lsn && search->lsn <= run->lsn + run->count * size;
  *done = here ? (search->lsn - run->lsn) / size - 1 : run->count;
  search->tickets += *done;
  return here ? broken(fault, "a user has more tickets than the limit") : COUPON_OK;
}

static coupon_status search_record(void *context, const struct cpn_record *record, struct cpn_fault *fault) {
  (void)context, (void)record, (void)fault;
  return COUPON_OK;
}

/* Reads again, up to the record that ends at this LSN, to say where it is. */
static coupon_status say_where(coupon_engine *engine, struct cpn_reader *reader, const struct cpn_reader *begin,
                               uint64_t lsn, struct cpn_fault *fault) {
  struct search search = {.lsn = lsn};
  *reader = *begin;
  reader->each = search_record;
  reader->each_run = search_run;
  reader->progress = NULL;
  reader->context = &search;
  coupon_status status = cpn_reader_run(reader, fault);
  atomic_store_explicit(&engine->tickets, search.tickets, memory_order_relaxed); /* relaxed: nobody else is there */
  /* Not in the log: in whatever else was restored. */
  return status != COUPON_OK ? status : broken(fault, "a user has more tickets than the limit");
}

coupon_status cpn_restore_run(coupon_engine *engine, struct cpn_reader *reader, struct cpn_fault *fault) {
  const struct cpn_reader begin = *reader;
  struct cpn_fault settling = {0};
  uint64_t twice_lsn;
  if (engine->env.start_thread != NULL && cpn_env_processors() > 1)
    engine->following.end_lsn = cpn_reader_expect_end(reader);
  coupon_status status = cpn_reader_run(reader, fault);
  coupon_status settled = cpn_restore_settle(engine, &twice_lsn, &settling);
  /* Of two broken rules the one that comes first counts: this one lies before wherever the reader has got to. */
  if (twice_lsn != 0) return say_where(engine, reader, &begin, twice_lsn, fault);
  if (status != COUPON_OK || settled == COUPON_OK) return status;
  *fault = settling;
  return settled;
}
