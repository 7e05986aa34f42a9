/* SPDX-License-Identifier: Apache-2.0 */
#include "support/every_call.h"

#include <string.h>

#include "support/engine_help.h"

/* --- with good arguments ------------------------------------------------------------------------- */

static coupon_status call_stats(coupon_engine *engine) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  return coupon_read_stats(engine, &stats);
}

/* The campaign of the calls for users of 16 bytes. */
#define UUID_CAMPAIGN UINT64_C(0x75756964)

static coupon_status call_checkpoint(coupon_engine *engine) { return coupon_checkpoint(engine, COUPON_FOREVER); }

static coupon_status call_create(coupon_engine *engine) {
  struct coupon_campaign_spec spec = help_spec(1, 1000000), second = help_spec_uuid(UUID_CAMPAIGN, 1000000);
  coupon_status status = coupon_create(engine, &spec, COUPON_FOREVER);
  return status == COUPON_OK ? coupon_create(engine, &second, COUPON_FOREVER) : status;
}

static coupon_status call_info(coupon_engine *engine) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  return coupon_info(engine, 1, &info);
}

static coupon_status call_list(coupon_engine *engine) {
  struct coupon_campaign_info infos[2];
  size_t count;
  return coupon_list(engine, 0, infos, sizeof infos[0], 2, &count);
}

static coupon_status call_try_issue(coupon_engine *engine) { return help_try(engine, 1, 1); }

static coupon_status call_try_issue_uuid(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_try_issue_uuid(engine, UUID_CAMPAIGN, help_uuid(1).bytes, &ticket);
}

static coupon_status call_try_issue_batch(coupon_engine *engine) {
  struct coupon_request requests[3] = {{.campaign = 1, .user = 1}, {.campaign = UUID_CAMPAIGN}, {.campaign = 404}};
  struct coupon_ticket tickets[3];
  memcpy(requests[1].uuid, help_uuid(1).bytes, COUPON_UUID_SIZE);
  return coupon_try_issue_batch(engine, requests, 3, tickets, sizeof tickets[0]);
}

static coupon_status call_issue(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_issue(engine, 1, 1, COUPON_FOREVER, &ticket);
}

static coupon_status call_issue_uuid(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_issue_uuid(engine, UUID_CAMPAIGN, help_uuid(1).bytes, COUPON_FOREVER, &ticket);
}

static coupon_status call_wait(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  ticket.answer = COUPON_SOLD_OUT; /* a refusal that rests on nothing */
  return coupon_wait(engine, &ticket, COUPON_FOREVER);
}

static coupon_status call_flush(coupon_engine *engine) { return coupon_flush(engine); }

static coupon_status call_durable_lsn(coupon_engine *engine) {
  uint64_t lsn;
  return coupon_durable_lsn(engine, &lsn);
}

static coupon_status call_eventfd(coupon_engine *engine) {
  int fd;
  return coupon_eventfd(engine, &fd);
}

static coupon_status call_lookup(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t count;
  return coupon_lookup(engine, 1, 1, &ticket, &count);
}

static coupon_status call_lookup_uuid(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  uint64_t count;
  return coupon_lookup_uuid(engine, UUID_CAMPAIGN, help_uuid(1).bytes, &ticket, &count);
}

static coupon_status call_tickets(coupon_engine *engine) {
  struct coupon_ticket tickets[2];
  size_t count;
  return coupon_tickets(engine, 1, 1, tickets, sizeof tickets[0], 2, &count);
}

static coupon_status call_read_tickets(coupon_engine *engine) {
  struct coupon_ticket tickets[2];
  size_t count;
  return coupon_read_tickets(engine, 1, 1, tickets, sizeof tickets[0], 2, &count);
}

static coupon_status call_read_lookup(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_read_lookup(engine, 1, 1, &ticket, NULL);
}

static coupon_status call_read_lookup_uuid(coupon_engine *engine) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  return coupon_read_lookup_uuid(engine, UUID_CAMPAIGN, help_uuid(1).bytes, &ticket, NULL);
}

const struct help_call help_calls[] = {
    {"coupon_read_stats", call_stats},
    {"coupon_checkpoint", call_checkpoint},
    {"coupon_create", call_create},
    {"coupon_info", call_info},
    {"coupon_list", call_list},
    {"coupon_try_issue", call_try_issue},
    {"coupon_try_issue_uuid", call_try_issue_uuid},
    {"coupon_try_issue_batch", call_try_issue_batch},
    {"coupon_issue", call_issue},
    {"coupon_issue_uuid", call_issue_uuid},
    {"coupon_wait", call_wait},
    {"coupon_durable_lsn", call_durable_lsn},
    {"coupon_flush", call_flush},
    {"coupon_eventfd", call_eventfd},
    {"coupon_lookup", call_lookup},
    {"coupon_lookup_uuid", call_lookup_uuid},
    {"coupon_tickets", call_tickets},
    {"coupon_read_tickets", call_read_tickets},
    {"coupon_read_lookup", call_read_lookup},
    {"coupon_read_lookup_uuid", call_read_lookup_uuid},
    {"coupon_close", coupon_close},
    {"coupon_destroy", coupon_destroy},
};
_Static_assert(sizeof help_calls / sizeof help_calls[0] == HELP_CALLS, "as the header says");

const struct help_call help_waiting_calls[] = {
    {"coupon_checkpoint", call_checkpoint}, {"coupon_create", call_create}, {"coupon_issue", call_issue},
    {"coupon_issue_uuid", call_issue_uuid}, {"coupon_wait", call_wait},     {"coupon_close", coupon_close},
    {"coupon_destroy", coupon_destroy},
};
_Static_assert(sizeof help_waiting_calls / sizeof help_waiting_calls[0] == HELP_WAITING_CALLS, "as the header says");

/* --- with bad ones ------------------------------------------------------------------------------- */

/* The call, and whether it was refused as it should be; remembers the first that was not. */
#define BAD(call)                                                     \
  do {                                                                \
    if ((call) != COUPON_E_INVAL && lenient == NULL) lenient = #call; \
  } while (0)

static const char *find_lenient_null(coupon_engine *engine) {
  const char *lenient = NULL;
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  size_t count;
  BAD(coupon_read_stats(engine, NULL));
  BAD(coupon_create(engine, NULL, COUPON_FOREVER));
  BAD(coupon_info(engine, 1, NULL));
  BAD(coupon_list(engine, 0, NULL, sizeof info, 1, &count));
  BAD(coupon_list(engine, 0, &info, sizeof info, 1, NULL));
  const struct coupon_request request = {.campaign = 1, .user = 1};
  const struct help_uuid uuid = help_uuid(1);
  BAD(coupon_try_issue(engine, 1, 1, NULL));
  BAD(coupon_try_issue_uuid(engine, 1, uuid.bytes, NULL));
  BAD(coupon_try_issue_uuid(engine, 1, NULL, &ticket));
  BAD(coupon_try_issue_batch(engine, NULL, 1, &ticket, sizeof ticket));
  BAD(coupon_try_issue_batch(engine, &request, 1, NULL, sizeof ticket));
  BAD(coupon_issue_uuid(engine, 1, uuid.bytes, COUPON_FOREVER, NULL));
  BAD(coupon_issue_uuid(engine, 1, NULL, COUPON_FOREVER, &ticket));
  BAD(coupon_issue(engine, 1, 1, COUPON_FOREVER, NULL));
  BAD(coupon_wait(engine, NULL, COUPON_FOREVER));
  BAD(coupon_durable_lsn(engine, NULL));
  BAD(coupon_flush(NULL));
  BAD(coupon_eventfd(engine, NULL));
  BAD(coupon_lookup(engine, 1, 1, NULL, NULL));
  BAD(coupon_lookup_uuid(engine, 1, uuid.bytes, NULL, NULL));
  BAD(coupon_lookup_uuid(engine, 1, NULL, &ticket, NULL));
  BAD(coupon_tickets(engine, 1, 1, NULL, sizeof ticket, 1, &count));
  BAD(coupon_read_tickets(engine, 1, 1, NULL, sizeof ticket, 1, &count));
  BAD(coupon_read_lookup(engine, 1, 1, NULL, NULL));
  BAD(coupon_read_lookup_uuid(engine, 1, uuid.bytes, NULL, NULL));
  BAD(coupon_read_lookup_uuid(engine, 1, NULL, &ticket, NULL));
  BAD(coupon_release(NULL, 1, COUPON_FOREVER));
  BAD(coupon_drop(NULL, 1, COUPON_FOREVER));
  BAD(coupon_tickets(engine, 1, 1, &ticket, sizeof ticket, 1, NULL));
  return lenient;
}

/* `less` is taken from each struct's size, or `size` is put in its place if `less` is 0. */
static const char *find_lenient_size(coupon_engine *engine, size_t less, size_t size) {
  const char *lenient = NULL;
  struct coupon_stats stats = COUPON_STATS_INIT;
  struct coupon_campaign_spec spec = help_spec(1, 1000000);
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  const struct coupon_request request = {.campaign = 1, .user = 1};
  size_t count;
  stats.size = less != 0 ? sizeof stats - less : size;
  spec.size = less != 0 ? sizeof spec - less : size;
  info.size = less != 0 ? sizeof info - less : size;
  ticket.size = less != 0 ? sizeof ticket - less : size;
  BAD(coupon_read_stats(engine, &stats));
  BAD(coupon_create(engine, &spec, COUPON_FOREVER));
  BAD(coupon_info(engine, 1, &info));
  BAD(coupon_list(engine, 0, &info, info.size, 1, &count));
  BAD(coupon_try_issue(engine, 1, 1, &ticket));
  BAD(coupon_try_issue_uuid(engine, 1, help_uuid(1).bytes, &ticket));
  BAD(coupon_try_issue_batch(engine, &request, 1, &ticket, ticket.size));
  BAD(coupon_try_issue_batch(engine, NULL, 0, NULL, ticket.size));
  BAD(coupon_issue(engine, 1, 1, COUPON_FOREVER, &ticket));
  BAD(coupon_issue_uuid(engine, 1, help_uuid(1).bytes, COUPON_FOREVER, &ticket));
  BAD(coupon_wait(engine, &ticket, COUPON_FOREVER));
  BAD(coupon_lookup(engine, 1, 1, &ticket, NULL));
  BAD(coupon_lookup_uuid(engine, 1, help_uuid(1).bytes, &ticket, NULL));
  BAD(coupon_tickets(engine, 1, 1, &ticket, ticket.size, 1, &count));
  return lenient;
}

const char *help_find_lenient_call(coupon_engine *engine) {
  const size_t huge[] = {0, (size_t)1 << 32, SIZE_MAX};
  const char *lenient = find_lenient_null(engine);
  if (lenient == NULL) lenient = find_lenient_size(engine, 1, 0);
  if (lenient == NULL) lenient = find_lenient_size(engine, sizeof(size_t), 0);
  for (size_t i = 0; i < sizeof huge / sizeof huge[0] && lenient == NULL; i++)
    lenient = find_lenient_size(engine, 0, huge[i]);
  return lenient;
}
