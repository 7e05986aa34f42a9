/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint told as records, for whoever knows records only: the rules, and `coupon dump`. */
#include "verify_checkpoint.h"

#include <string.h>

struct telling {
  read_visit *visit;
  void *context;
};

static void put_u64(unsigned char *to, uint64_t value) {
  for (unsigned i = 0; i < 8; i++) to[i] = (unsigned char)(value >> 8 * i);
}

static void tell(const struct telling *t, unsigned type, uint64_t index, uint64_t lsn, const unsigned char *body) {
  const struct read_record record = {.lsn = lsn, .type = type, .campaign = (uint32_t)index, .body = body};
  t->visit(t->context, &record);
}

/* OPEN or CLOSE, if there was one; or how many tickets are elsewhere. */
static void tell_number(const struct telling *t, unsigned type, uint64_t index, uint64_t lsn, uint64_t number) {
  unsigned char body[8];
  put_u64(body, number);
  if (lsn != 0) tell(t, type, index, lsn, body);
}

static void tell_campaign(void *context, uint64_t index, const struct checkpoint_campaign *c) {
  unsigned char body[CAMPAIGN_NAME + 256] = {0};
  put_u64(body + CAMPAIGN_ID, c->id);
  put_u64(body + CAMPAIGN_STOCK, c->stock);
  put_u64(body + CAMPAIGN_LIMIT, c->user_limit);
  put_u64(body + CAMPAIGN_OPENS, c->opens_at_ns);
  put_u64(body + CAMPAIGN_CLOSES, c->closes_at_ns);
  put_u64(body + CAMPAIGN_NAME_LENGTH, c->name_length | (uint64_t)c->user_kind << 32);
  memcpy(body + CAMPAIGN_NAME, c->name, c->name_length);
  tell(context, RECORD_CAMPAIGN, index, c->created_lsn, body);
  tell_number(context, RECORD_OPEN, index, c->opened_lsn, c->opens_at_ns);
  if (c->dropped) tell_number(context, RECORD_DROPPED, index, c->closed_lsn, c->tickets);
  if (c->dropped || c->tickets == 0) tell_number(context, RECORD_CLOSE, index, c->closed_lsn, c->closes_at_ns);
}

static void tell_ticket(void *context, uint64_t index, const struct checkpoint_campaign *c,
                        const struct checkpoint_ticket *ticket) {
  unsigned char body[24];
  bool uuid = c->user_kind == KIND_UUID;
  memcpy(body + ISSUE_USER, ticket->user, uuid ? 16 : 8);
  put_u64(body + (uuid ? ISSUE_UUID_TIME : ISSUE_TIME), ticket->time_ns);
  tell(context, uuid ? RECORD_ISSUE_UUID : RECORD_ISSUE, index, ticket->lsn, body);
  if (ticket->number == c->tickets) tell_number(context, RECORD_CLOSE, index, c->closed_lsn, c->closes_at_ns);
}

void checkpoint_tell(struct file *file, int directory, const unsigned char *identity, uint64_t number,
                     read_visit *visit, void *context, struct checkpoint_finding *finding) {
  struct telling telling = {visit, context};
  const struct checkpoint_visitor visitor = {&telling, tell_campaign, tell_ticket};
  checkpoint_read(file, directory, identity, number, &visitor, finding);
}
