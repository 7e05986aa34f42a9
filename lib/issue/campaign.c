/* SPDX-License-Identifier: Apache-2.0 */
#include "issue/campaign.h"

#include <string.h>

static size_t size_bytes(const struct cpn_campaign_spec *spec) {
  return sizeof(struct cpn_campaign) + spec->name_length + 1;
}

/* Everything that the first `tickets` will need, touched. */
static bool make_ready(struct cpn_campaign *campaign, struct cpn_memory *memory, uint64_t tickets) {
  if (tickets == 0) return true;
  if (!cpn_claim_set_grow_for(&campaign->claims, memory, tickets)) return false;
  campaign->touched = tickets;
  return cpn_tickets_prepare(&campaign->tickets, memory, tickets);
}

struct cpn_campaign *cpn_campaign_create(struct cpn_memory *memory, const struct cpn_campaign_spec *spec,
                                         uint32_t index, uint64_t prepare) {
  struct cpn_campaign *campaign = cpn_memory_alloc(memory, size_bytes(spec));
  if (campaign == NULL) return NULL;
  char *name = (char *)(campaign + 1);
  if (spec->name_length > 0) memcpy(name, spec->name, spec->name_length);
  campaign->spec = *spec;
  campaign->spec.name = name;
  campaign->index = index;
  prepare = cpn_min_u64(prepare, spec->stock);
  cpn_stock_init(&campaign->stock, spec->stock, spec->opens_at_ns != 0 ? CPN_STOCK_SCHEDULED : CPN_STOCK_OPEN);
  cpn_claim_set_init(&campaign->claims, memory, spec->stock, prepare);
  atomic_init(&campaign->place, CPN_CAMPAIGN_LIVE);
  atomic_init(&campaign->opened_lsn, 0);
  atomic_init(&campaign->closed_lsn, 0);
  atomic_init(&campaign->wanted, 0);
  atomic_init(&campaign->wanted_place, CPN_CAMPAIGN_LIVE);
  if (cpn_tickets_init(&campaign->tickets, memory, spec->stock, cpn_campaign_user_words(spec), spec->user_limit == 0) &&
      make_ready(campaign, memory, prepare))
    return campaign;
  cpn_campaign_destroy(memory, campaign);
  return NULL;
}

void cpn_campaign_destroy(struct cpn_memory *memory, struct cpn_campaign *campaign) {
  cpn_claim_set_fini(&campaign->claims, memory);
  cpn_tickets_fini(&campaign->tickets, memory);
  cpn_memory_free(memory, campaign, size_bytes(&campaign->spec));
}

void cpn_campaign_release(struct cpn_memory *memory, struct cpn_campaign *campaign) {
  cpn_claim_set_fini(&campaign->claims, memory);
  cpn_claim_set_init(&campaign->claims, memory, campaign->spec.stock, 0);
  cpn_tickets_empty(&campaign->tickets, memory);
}

bool cpn_campaign_spec_equal(const struct cpn_campaign_spec *a, const struct cpn_campaign_spec *b) {
  return a->id == b->id && a->stock == b->stock && a->user_limit == b->user_limit && a->user_kind == b->user_kind &&
         a->opens_at_ns == b->opens_at_ns && a->closes_at_ns == b->closes_at_ns && a->name_length == b->name_length &&
         (a->name_length == 0 || memcmp(a->name, b->name, a->name_length) == 0);
}
