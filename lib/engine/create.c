/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

/* With the create lock. */
static coupon_status create(coupon_engine *engine, const struct cpn_campaign_spec *spec, uint64_t prepare,
                            uint64_t *lsn) {
  coupon_status status = cpn_engine_gate(engine);
  if (status != COUPON_OK) return status;
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, spec->id);
  if (campaign != NULL) {
    *lsn = campaign->created_lsn;
    return cpn_campaign_spec_equal(&campaign->spec, spec) ? COUPON_OK : COUPON_E_EXISTS;
  }

  /* Everything that can fail before the place in the log; then nothing may. */
  if (!cpn_directory_reserve(&engine->campaigns)) return COUPON_E_NOMEM;
  uint32_t index = (uint32_t)cpn_directory_count(&engine->campaigns);
  campaign = cpn_campaign_create(&engine->memory, spec, index, prepare);
  if (campaign == NULL) return COUPON_E_NOMEM;
  if (!engine->has_log) {
    *lsn = campaign->created_lsn = 0;
    cpn_directory_add(&engine->campaigns, campaign);
    return COUPON_OK;
  }
  struct cpn_record record = {.type = CPN_RECORD_CAMPAIGN,
                              .campaign = index,
                              .id = spec->id,
                              .stock = spec->stock,
                              .user_limit = spec->user_limit,
                              .opens_at_ns = spec->opens_at_ns,
                              .closes_at_ns = spec->closes_at_ns,
                              .user_kind = spec->user_kind,
                              .name = spec->name,
                              .name_length = spec->name_length};
  const uint32_t length = cpn_campaign_words(spec->name_length);
  uint64_t at = cpn_buffer_reserve(&engine->buffer, length, &record.time_ns);
  if (at == CPN_LSN_NONE) {
    cpn_campaign_destroy(&engine->memory, campaign);
    return cpn_engine_no_room(engine);
  }
  uint64_t words[CPN_WORDS_CAMPAIGN_MAX];
  uint64_t head = cpn_record_encode(&record, words);
  campaign->created_lsn = at + (uint64_t)length * 8;
  *lsn = campaign->created_lsn;
  /* It exists from here on (LP: issue/directory.c). Before that its place is reserved, so every record of the campaign
   * follows its own. */
  cpn_directory_add(&engine->campaigns, campaign);
  cpn_buffer_put(&engine->buffer, at, head, words);
  return COUPON_OK;
}

coupon_status cpn_engine_create(coupon_engine *engine, const struct cpn_campaign_spec *spec, uint64_t prepare,
                                uint64_t *lsn) {
  (void)pthread_mutex_lock(&engine->create_lock);
  coupon_status status = create(engine, spec, prepare, lsn);
  (void)pthread_mutex_unlock(&engine->create_lock);
  if (status == COUPON_OK && engine->has_log) cpn_wait_published(engine);
  return status;
}
