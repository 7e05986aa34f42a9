/* SPDX-License-Identifier: Apache-2.0 */
/* GET /api/v1/user-coupon: what the user holds. Told only when all of it is final, so nothing told can vanish. */
#include <string.h>

#include "service.h"

struct found {
  const struct coupon *coupon;
  struct coupon_ticket ticket;
  uint64_t count;
};

static void time_or_null(struct text *to, uint64_t time_ns) {
  if (time_ns == 0)
    text_string(to, "null");
  else
    text_time(to, time_ns);
}

static void write_found(struct text *to, const struct found *found) {
  const struct coupon *coupon = found->coupon;
  text_string(to, "{\"id\":");
  text_u64(to, coupon->id);
  text_string(to, ",\"name\":");
  text_json(to, coupon->name, strlen(coupon->name));
  text_string(to, ",\"description\":");
  text_json(to, coupon->description, strlen(coupon->description));
  text_string(to, ",\"status\":\"ISSUED\",\"discountAmount\":");
  text_i64(to, coupon->discount_amount);
  text_string(to, ",\"startDate\":");
  time_or_null(to, coupon->starts_ns);
  text_string(to, ",\"endDate\":");
  time_or_null(to, coupon->ends_ns);
  text_string(to, ",\"createdAt\":");
  text_time(to, found->ticket.time_ns);
  text_string(to, ",\"ticketNumber\":");
  text_u64(to, found->ticket.number);
  text_string(to, ",\"count\":");
  text_u64(to, found->count);
  text_string(to, "}");
}

/* Writes what is final; `*awaited` becomes the ticket with the highest LSN of those that are not. A fault, or OK. */
static coupon_status collect(struct request *request, struct text *data, struct coupon_ticket *awaited) {
  struct service *service = request->loop->service;
  const struct coupon *coupons[256];
  const size_t capacity = sizeof coupons / sizeof coupons[0];
  size_t from = 0, count = capacity;
  text_string(data, "[");
  for (; count == capacity; from += count) {
    count = catalogue_list(&service->catalogue, from, coupons, capacity);
    for (size_t i = 0; i < count; i++) {
      if (coupons[i]->foreign_users) continue; /* nobody with a token can hold one */
      struct found found = {.coupon = coupons[i], .ticket = COUPON_TICKET_INIT};
      coupon_status status =
          coupon_lookup(service->engine, coupons[i]->id, request->claims.user, &found.ticket, &found.count);
      if (status == COUPON_E_RELEASED) continue; /* its tickets are in a file, for which no loop waits */
      if (status < 0) return status;
      if (status != COUPON_OK) continue;
      if ((found.ticket.flags & COUPON_TICKET_FINAL) == 0) {
        if (awaited->lsn < found.ticket.lsn) *awaited = found.ticket;
        continue;
      }
      if (data->length > 1) text_string(data, ",");
      write_found(data, &found);
    }
  }
  text_string(data, "]");
  return COUPON_OK;
}

/* Whatever was seen is final by now; what came in the meantime is left out unless it is, too. */
static void tell(struct request *request) {
  struct text data = TEXT_INIT;
  struct coupon_ticket ignored = COUPON_TICKET_INIT;
  coupon_status status = collect(request, &data, &ignored);
  if (status == COUPON_OK) {
    answer(request, REASON_OK, NULL, &data);
    return;
  }
  text_free(&data);
  answer(request, reason_of_status(status), NULL, NULL);
}

void handle_mine(struct request *request) {
  struct text data = TEXT_INIT;
  struct coupon_ticket awaited = COUPON_TICKET_INIT;
  coupon_status status = collect(request, &data, &awaited);
  if (status == COUPON_OK && awaited.lsn == 0) {
    answer(request, REASON_OK, NULL, &data);
    return;
  }
  text_free(&data);
  if (status != COUPON_OK) {
    answer(request, reason_of_status(status), NULL, NULL);
  } else if (!waiting_has_room(request->loop)) {
    answer(request, REASON_TOO_MANY_WAITING, NULL, NULL);
  } else {
    request->ticket = awaited;
    request->final = tell;
    waiting_add(request);
  }
}
