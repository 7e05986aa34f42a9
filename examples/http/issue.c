/* SPDX-License-Identifier: Apache-2.0 */
/* POST /api/v1/user-coupon: one coupon for whoever asks, told only when it is final. */
#include "service.h"

static void ticket_data(const struct coupon_ticket *ticket, struct text *data) {
  text_string(data, "{\"couponId\":");
  text_u64(data, ticket->campaign);
  text_string(data, ",\"userId\":");
  text_u64(data, ticket->user);
  text_string(data, ",\"ticketNumber\":");
  text_u64(data, ticket->number);
  text_string(data, ",\"issuedAt\":");
  text_time(data, ticket->time_ns);
  text_string(data, "}");
}

static void answer_with_ticket(struct request *request, enum reason reason) {
  struct text data = TEXT_INIT;
  ticket_data(&request->ticket, &data);
  answer(request, reason, NULL, &data);
}

static void answer_not_open(struct request *request) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  unsigned seconds = 1;
  uint64_t now_ns = request->ticket.time_ns;
  if (coupon_info(request->loop->service->engine, request->ticket.campaign, &info) == COUPON_OK &&
      info.opens_at_ns > now_ns) {
    uint64_t until = (info.opens_at_ns - now_ns + 999999999) / 1000000000;
    seconds = until < UINT32_MAX ? (unsigned)until : UINT32_MAX;
  }
  answer_retry(request, REASON_NOT_OPEN, seconds);
}

/* The decision is final: says what it was. */
static void tell(struct request *request) {
  switch (request->ticket.answer) {
    case COUPON_ISSUED:
      answer_with_ticket(request, REASON_ISSUED);
      break;
    case COUPON_ALREADY_ISSUED:
      answer_with_ticket(request, REASON_ALREADY_ISSUED);
      break;
    case COUPON_SOLD_OUT:
      answer(request, REASON_SOLD_OUT, NULL, NULL);
      break;
    case COUPON_NOT_OPEN:
      answer_not_open(request);
      break;
    case COUPON_ENDED:
      answer(request, REASON_ENDED, NULL, NULL);
      break;
    case COUPON_NO_CAMPAIGN:
      answer(request, REASON_COUPON_UNKNOWN, NULL, NULL);
      break;
    default:
      answer(request, reason_of_status(request->ticket.answer), NULL, NULL);
      break;
  }
}

/* The body as nearly everybody writes it, {"couponId":1}, needs no parser. Any other form is left to one. */
static bool read_plain_coupon_id(h2o_iovec_t body, uint64_t *id) {
  static const char begin[] = "{\"couponId\":";
  const size_t begin_length = sizeof begin - 1;
  return body.len > begin_length + 1 && memcmp(body.base, begin, begin_length) == 0 && body.base[body.len - 1] == '}' &&
         number_parse(body.base + begin_length, body.len - begin_length - 1, id);
}

/* False after an answer. */
static bool read_coupon_id(struct request *request, uint64_t *id) {
  if (read_plain_coupon_id(request->req->entity, id)) return true;
  struct json_member member = {.name = "couponId"};
  if (!request_body(request, &member, 1)) return false;
  if (json_u64(&member, id)) return true;
  enum reason reason = REASON_COUPON_ID_INVALID;
  if (member.kind == JSON_ABSENT) reason = REASON_COUPON_ID_MISSING;
  answer(request, reason, NULL, NULL);
  return false;
}

void handle_issue(struct request *request) {
  struct loop *loop = request->loop;
  uint64_t id;
  if (!read_coupon_id(request, &id)) return;
  /* Before the decision: a coupon that nobody can be told of would be worse than a refusal. */
  if (!waiting_has_room(loop)) {
    answer(request, REASON_TOO_MANY_WAITING, NULL, NULL);
    return;
  }
  coupon_status status = coupon_try_issue(loop->service->engine, id, request->claims.user, &request->ticket);
  if (status < 0 || (request->ticket.flags & COUPON_TICKET_FINAL) != 0) {
    if (status < 0) request->ticket.answer = status;
    tell(request);
    return;
  }
  request->final = tell;
  waiting_add(request);
  connection_read_ahead(request->connection);
}

void handle_constant(struct request *request) {
  /* As long as the answer to one who gets a coupon, and made of the same pieces. */
  request->ticket = (struct coupon_ticket){.campaign = 1, .user = 1000000, .number = 100000, .time_ns = 1};
  answer_with_ticket(request, REASON_ISSUED);
}
