/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Campaigns: created, looked at, and given up when they are over. coupon.h, "Campaigns" and "Campaigns that are over".
 */
#include <string.h>

#include "base/callback.h"
#include "coupon/coupon.h"
#include "door/guest.h"
#include "door/sized.h"
#include "engine/engine.h"

static coupon_status fill_spec(const struct coupon_campaign_spec *given, struct cpn_campaign_spec *spec) {
  if (!cpn_sized_is_input(given, sizeof *given)) return COUPON_E_INVAL;
  size_t length = given->name == NULL ? 0 : strnlen(given->name, COUPON_NAME_MAX + 1);
  if (length > COUPON_NAME_MAX || given->user_limit > 1 || given->reserved != 0) return COUPON_E_INVAL;
  if (given->user_kind != COUPON_USER_U64 && given->user_kind != COUPON_USER_UUID) return COUPON_E_INVAL;
  if (given->closes_at_ns != 0 && given->closes_at_ns <= given->opens_at_ns) return COUPON_E_INVAL;
  if (given->stock > COUPON_STOCK_MAX) return COUPON_E_STOCK_RANGE;
  *spec = (struct cpn_campaign_spec){.id = given->id,
                                     .stock = given->stock,
                                     .user_limit = (uint32_t)given->user_limit,
                                     .user_kind = given->user_kind,
                                     .opens_at_ns = given->opens_at_ns,
                                     .closes_at_ns = given->closes_at_ns,
                                     .name = given->name == NULL ? "" : given->name,
                                     .name_length = (uint32_t)length};
  return COUPON_OK;
}

coupon_status coupon_create(coupon_engine *engine, const struct coupon_campaign_spec *given, int64_t deadline) {
  if (engine == NULL) return COUPON_E_INVAL;
  struct cpn_campaign_spec spec;
  coupon_status status = fill_spec(given, &spec);
  if (status != COUPON_OK) return status;
  struct cpn_guest guest;
  status = cpn_guest_visit(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  if (engine->options.read_only != 0) return cpn_guest_end_visit(engine, &guest, COUPON_E_READ_ONLY);
  /* Whatever the deadline: creating may wait for other creators, and for a grace period. */
  if (cpn_callback_inside()) return cpn_guest_end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  uint64_t lsn;
  while ((status = cpn_engine_create(engine, &spec, given->prepare, &lsn)) == COUPON_E_BUSY) {
    status = cpn_wait_room(engine, cpn_campaign_words(spec.name_length), deadline);
    if (status != COUPON_OK) break;
  }
  if (status == COUPON_OK) status = cpn_wait_final(engine, lsn, deadline);
  return cpn_guest_end_visit(engine, &guest, status);
}

coupon_status coupon_info(coupon_engine *engine, uint64_t campaign, struct coupon_campaign_info *info) {
  if (engine == NULL || !cpn_sized_is_output(info, sizeof *info)) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_enter(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  return cpn_guest_leave(&guest, cpn_query_info(engine, campaign, info));
}

coupon_status coupon_list(coupon_engine *engine, uint64_t from, struct coupon_campaign_info *infos, size_t element_size,
                          size_t capacity, size_t *count) {
  if (engine == NULL || infos == NULL || count == NULL) return COUPON_E_INVAL;
  if (!cpn_sized_is_element(element_size, sizeof *infos) || capacity == 0) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_enter(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  uint64_t total = cpn_directory_count(&engine->campaigns);
  size_t filled = 0;
  for (; filled < capacity && from < total; filled++, from++) {
    struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
    cpn_query_info_of(engine, cpn_directory_at(&engine->campaigns, from), &info);
    info.size = element_size;
    memcpy((char *)infos + filled * element_size, &info, sizeof info);
  }
  *count = filled;
  return cpn_guest_leave(&guest, COUPON_OK);
}

/* --- that are over ------------------------------------------------------------------------------- */

static coupon_status move(coupon_engine *engine, uint64_t campaign, uint32_t place, int64_t deadline) {
  if (engine == NULL) return COUPON_E_INVAL;
  struct cpn_guest guest;
  coupon_status status = cpn_guest_visit(engine, &guest);
  if (status != COUPON_OK) return cpn_guest_depart(&guest, status);
  if (cpn_guest_would_wait_in_callback(deadline)) return cpn_guest_end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  return cpn_guest_end_visit(engine, &guest, cpn_released_move(engine, campaign, place, deadline));
}

coupon_status coupon_release(coupon_engine *engine, uint64_t campaign, int64_t deadline) {
  return move(engine, campaign, CPN_CAMPAIGN_RELEASED, deadline);
}

coupon_status coupon_drop(coupon_engine *engine, uint64_t campaign, int64_t deadline) {
  return move(engine, campaign, CPN_CAMPAIGN_DROPPED, deadline);
}
