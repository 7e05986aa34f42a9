/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clock opens and closes a campaign, through whoever comes by: there is no timer. Both are changes by the rule of
 * issue/stock.h and leave a record, so that a clock that steps back, or a crash, does not undo them.
 *
 * Opening takes one step: a take reads the open word before it reserves, so its record follows OPEN's. Closing takes
 * two, because a take may have reserved, before CLOSE did, and not yet taken: "closing" is a new epoch, in which that
 * take fails; CLOSE's place is reserved only then, so behind it there is no take.
 */
#include "base/points.h"
#include "engine/engine.h"

/* Reserves, changes by the rule, and leaves the record; or VOID if somebody else changed the word first. */
static coupon_status change_with_record(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t word,
                                        enum cpn_stock_state state, enum cpn_record_type type) {
  struct cpn_record record = {.type = type, .campaign = campaign->index};
  if (!engine->has_log) {
    (void)cpn_stock_change(&campaign->stock, word, state); /* LP(open, close); or another has */
    return COUPON_OK;
  }
  uint64_t at = cpn_buffer_reserve(&engine->buffer, CPN_WORDS_CHANGE, &record.time_ns);
  if (at == CPN_LSN_NONE) return cpn_engine_no_room(engine);
  CPN_POINT(CHANGE_RESERVED);
  if (!cpn_stock_change(&campaign->stock, word, state)) { /* LP(open, close) */
    cpn_engine_void(engine, at, CPN_WORDS_CHANGE);
    return COUPON_OK;
  }
  uint64_t words[CPN_WORDS_CHANGE];
  uint64_t head = cpn_record_encode(&record, words);
  cpn_buffer_put(&engine->buffer, at, head, words);
  return COUPON_OK;
}

coupon_status cpn_window_change(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t word) {
  switch (cpn_word_state(word)) {
    case CPN_STOCK_SCHEDULED:
      return change_with_record(engine, campaign, word, CPN_STOCK_OPEN, CPN_RECORD_OPEN);
    case CPN_STOCK_OPEN:
      (void)cpn_stock_change(&campaign->stock, word, CPN_STOCK_CLOSING); /* or another has */
      return COUPON_OK;
    case CPN_STOCK_CLOSING:
      CPN_POINT(CLOSING);
      return change_with_record(engine, campaign, word, CPN_STOCK_CLOSED, CPN_RECORD_CLOSE);
    case CPN_STOCK_CLOSED:
      break;
  }
  return COUPON_OK;
}
