/* SPDX-License-Identifier: Apache-2.0 */
/* POST /api/v1/coupons: an administrator makes a coupon. */
#include <string.h>

#include "service.h"

struct creation {
  struct job job;          /* first */
  struct request *request; /* NULL once the client has gone */
  struct catalogue *catalogue;
  struct coupon coupon;
  bool choose_id;
  enum reason reason;
};

static void work(struct job *job) {
  struct creation *creation = (struct creation *)job;
  creation->reason = catalogue_create(creation->catalogue, &creation->coupon, creation->choose_id);
}

static void done(struct job *job) {
  struct creation *creation = (struct creation *)job;
  struct request *request = creation->request;
  if (request != NULL) {
    request->job_reference = NULL;
    if (creation->reason == REASON_OK) {
      struct text data = TEXT_INIT;
      text_string(&data, "{\"couponId\":");
      text_u64(&data, creation->coupon.id);
      text_string(&data, "}");
      answer(request, REASON_OK, NULL, &data);
    } else {
      answer(request, creation->reason, NULL, NULL);
    }
  }
  free(creation);
}

/* --- the body ------------------------------------------------------------------------------------ */

enum { NAME, DESCRIPTION, AMOUNT, QUANTITY, STARTS, ENDS, LIMIT, ID, MEMBERS };

/* Of a member that may be left out: null does the same. */
static bool absent(const struct json_member *member) {
  return member->kind == JSON_ABSENT || member->kind == JSON_NULL;
}

static bool json_time(const struct json_member *member, uint64_t *time_ns) {
  *time_ns = 0;
  return absent(member) || (member->kind == JSON_STRING && time_parse(member->bytes, member->length, time_ns));
}

/* The member that is wrong, or NULL. Everything but the strings is taken over into `coupon`. */
static const struct json_member *find_invalid(const struct json_member *member, struct coupon *coupon) {
  if (!json_string(&member[NAME], COUPON_NAME_MAX) || member[NAME].length == 0) return &member[NAME];
  if (!json_string(&member[DESCRIPTION], DESCRIPTION_MAX)) return &member[DESCRIPTION];
  if (!json_i64(&member[AMOUNT], &coupon->discount_amount)) return &member[AMOUNT];
  if (!json_u64(&member[QUANTITY], &coupon->quantity) || coupon->quantity > COUPON_STOCK_MAX) return &member[QUANTITY];
  if (!json_time(&member[STARTS], &coupon->starts_ns)) return &member[STARTS];
  if (!json_time(&member[ENDS], &coupon->ends_ns)) return &member[ENDS];
  /* A coupon whose end is not behind its start could never be given away; an end in 1970 would mean "never". */
  if (!absent(&member[ENDS]) && coupon->ends_ns <= coupon->starts_ns) return &member[ENDS];
  coupon->per_user_limit = 1;
  if (!absent(&member[LIMIT]) && (!json_u64(&member[LIMIT], &coupon->per_user_limit) || coupon->per_user_limit > 1))
    return &member[LIMIT];
  if (!absent(&member[ID]) && !json_u64(&member[ID], &coupon->id)) return &member[ID];
  return NULL;
}

/* False after an answer. */
static bool read_coupon(struct request *request, struct coupon *coupon, bool *choose_id) {
  struct json_member member[MEMBERS] = {{.name = "name"},         {.name = "description"}, {.name = "discountAmount"},
                                        {.name = "quantity"},     {.name = "startDate"},   {.name = "endDate"},
                                        {.name = "perUserLimit"}, {.name = "id"}};
  if (!request_body(request, member, MEMBERS)) return false;
  for (size_t i = NAME; i <= QUANTITY; i++) {
    if (member[i].kind != JSON_ABSENT) continue;
    answer_member(request, REASON_FIELD_MISSING, &member[i]);
    return false;
  }
  const struct json_member *invalid = find_invalid(member, coupon);
  if (invalid != NULL) {
    answer_member(request, REASON_FIELD_INVALID, invalid);
    return false;
  }
  coupon->name = h2o_strdup(NULL, member[NAME].bytes, member[NAME].length).base;
  coupon->description = h2o_strdup(NULL, member[DESCRIPTION].bytes, member[DESCRIPTION].length).base;
  *choose_id = absent(&member[ID]);
  return true;
}

void handle_create_coupon(struct request *request) {
  struct creation *creation = h2o_mem_alloc(sizeof *creation);
  *creation = (struct creation){.job = {.work = work, .done = done}, .catalogue = &request->loop->service->catalogue};
  if (!read_coupon(request, &creation->coupon, &creation->choose_id)) {
    free(creation);
  } else if (!request_submit(request, &creation->job, &creation->request, REASON_BUSY)) {
    coupon_fini(&creation->coupon);
    free(creation);
  }
}
