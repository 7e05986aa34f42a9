/* SPDX-License-Identifier: Apache-2.0 */
#include "catalogue.h"

#include <h2o.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "text.h"

/* How long a creation may wait for the log. */
static const int64_t create_timeout_ns = INT64_C(10000000000);

void coupon_fini(struct coupon *coupon) {
  free(coupon->name);
  free(coupon->description);
}

static void free_coupon(struct coupon *coupon) {
  coupon_fini(coupon);
  free(coupon);
}

static bool same(const struct coupon *a, const struct coupon *b) {
  return a->id == b->id && strcmp(a->name, b->name) == 0 && strcmp(a->description, b->description) == 0 &&
         a->discount_amount == b->discount_amount && a->quantity == b->quantity && a->starts_ns == b->starts_ns &&
         a->ends_ns == b->ends_ns && a->per_user_limit == b->per_user_limit && a->foreign_users == b->foreign_users;
}

static struct coupon_campaign_spec spec_of(const struct coupon *coupon) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = coupon->id;
  spec.stock = coupon->quantity;
  spec.user_limit = coupon->per_user_limit;
  spec.opens_at_ns = coupon->starts_ns;
  spec.closes_at_ns = coupon->ends_ns;
  spec.name = coupon->name;
  return spec;
}

/* What the engine alone knows of a coupon. */
static struct coupon *from_engine(const struct coupon_campaign_info *info) {
  struct coupon *coupon = h2o_mem_alloc(sizeof *coupon);
  *coupon = (struct coupon){.id = info->id,
                            .name = h2o_strdup(NULL, info->name, SIZE_MAX).base,
                            .description = h2o_strdup(NULL, "", 0).base,
                            .quantity = info->stock,
                            .starts_ns = info->opens_at_ns,
                            .ends_ns = info->closes_at_ns,
                            .per_user_limit = info->user_limit,
                            .foreign_users = info->user_kind != COUPON_USER_U64};
  return coupon;
}

static void append(struct coupon ***list, size_t *count, struct coupon *coupon) {
  *list = h2o_mem_realloc(*list, (*count + 1) * sizeof **list);
  (*list)[(*count)++] = coupon;
}

/* --- lines --------------------------------------------------------------------------------------- */

struct lines {
  struct coupon **coupons;
  size_t count;
};

static bool take_line(void *context, const char *json, size_t length, uint64_t number) {
  struct lines *lines = context;
  enum { ID, NAME, DESCRIPTION, AMOUNT, QUANTITY, STARTS, ENDS, LIMIT, COUNT };
  struct json_member member[COUNT] = {{.name = "id"},      {.name = "name"},          {.name = "description"},
                                      {.name = "amount"},  {.name = "quantity"},      {.name = "starts_ns"},
                                      {.name = "ends_ns"}, {.name = "per_user_limit"}};
  char *arena = h2o_mem_alloc(length);
  struct coupon *coupon = h2o_mem_alloc(sizeof *coupon);
  *coupon = (struct coupon){0};
  bool good = json_read(json, length, arena, member, COUNT) && json_u64(&member[ID], &coupon->id) &&
              json_string(&member[NAME], COUPON_NAME_MAX) && json_string(&member[DESCRIPTION], DESCRIPTION_MAX) &&
              json_i64(&member[AMOUNT], &coupon->discount_amount) && json_u64(&member[QUANTITY], &coupon->quantity) &&
              json_u64(&member[STARTS], &coupon->starts_ns) && json_u64(&member[ENDS], &coupon->ends_ns) &&
              json_u64(&member[LIMIT], &coupon->per_user_limit);
  if (good) {
    coupon->name = h2o_strdup(NULL, member[NAME].bytes, member[NAME].length).base;
    coupon->description = h2o_strdup(NULL, member[DESCRIPTION].bytes, member[DESCRIPTION].length).base;
    append(&lines->coupons, &lines->count, coupon);
  } else {
    fprintf(stderr, "coupon-http: catalogue: line %llu is no coupon\n", (unsigned long long)number);
    free_coupon(coupon);
  }
  free(arena);
  return good;
}

static bool write_line(struct catalogue *catalogue, const struct coupon *coupon) {
  struct text line = TEXT_INIT;
  text_string(&line, "{\"id\":");
  text_u64(&line, coupon->id);
  text_string(&line, ",\"name\":");
  text_json(&line, coupon->name, strlen(coupon->name));
  text_string(&line, ",\"description\":");
  text_json(&line, coupon->description, strlen(coupon->description));
  text_string(&line, ",\"amount\":");
  text_i64(&line, coupon->discount_amount);
  text_string(&line, ",\"quantity\":");
  text_u64(&line, coupon->quantity);
  text_string(&line, ",\"starts_ns\":");
  text_u64(&line, coupon->starts_ns);
  text_string(&line, ",\"ends_ns\":");
  text_u64(&line, coupon->ends_ns);
  text_string(&line, ",\"per_user_limit\":");
  text_u64(&line, coupon->per_user_limit);
  text_string(&line, "}");
  bool written = journal_append(&catalogue->journal, line.bytes, line.length);
  text_free(&line);
  return written;
}

/* --- opening ------------------------------------------------------------------------------------- */

/* The last line of that id; lines before it are of attempts that failed. */
static struct coupon *take_last(struct lines *lines, uint64_t id) {
  for (size_t i = lines->count; i-- > 0;) {
    struct coupon *coupon = lines->coupons[i];
    if (coupon == NULL || coupon->id != id) continue;
    lines->coupons[i] = NULL;
    return coupon;
  }
  return NULL;
}

/* True if the campaign is the one the coupon describes; else another process of this engine's owner made it. */
static bool describes(const struct coupon *coupon, const struct coupon_campaign_info *info) {
  return strcmp(coupon->name, info->name) == 0 && coupon->quantity == info->stock &&
         coupon->starts_ns == info->opens_at_ns && coupon->ends_ns == info->closes_at_ns &&
         coupon->per_user_limit == info->user_limit && info->user_kind == COUPON_USER_U64;
}

static bool join_campaigns(struct catalogue *catalogue, struct lines *lines) {
  struct coupon_campaign_info infos[64];
  const size_t capacity = sizeof infos / sizeof infos[0];
  size_t count = capacity;
  while (count == capacity) {
    if (coupon_list(catalogue->engine, catalogue->count, infos, sizeof infos[0], capacity, &count) != COUPON_OK)
      return false;
    for (size_t i = 0; i < count; i++) {
      struct coupon *coupon = take_last(lines, infos[i].id);
      if (coupon != NULL && !describes(coupon, &infos[i])) {
        free_coupon(coupon);
        coupon = NULL;
      }
      if (coupon == NULL) coupon = from_engine(&infos[i]);
      append(&catalogue->coupons, &catalogue->count, coupon);
    }
  }
  return true;
}

bool catalogue_open(struct catalogue *catalogue, const char *file, coupon_engine *engine, size_t limit) {
  *catalogue = (struct catalogue){.engine = engine, .limit = limit};
  (void)pthread_mutex_init(&catalogue->creating, NULL);
  (void)pthread_rwlock_init(&catalogue->lock, NULL);
  struct lines lines = {NULL, 0};
  bool good =
      journal_open(&catalogue->journal, file, JOURNAL_WRITE, take_line, &lines) && join_campaigns(catalogue, &lines);
  for (size_t i = 0; i < lines.count; i++)
    if (lines.coupons[i] != NULL) free_coupon(lines.coupons[i]);
  free(lines.coupons);
  return good;
}

void catalogue_close(struct catalogue *catalogue) {
  for (size_t i = 0; i < catalogue->count; i++) free_coupon(catalogue->coupons[i]);
  free(catalogue->coupons);
  journal_close(&catalogue->journal);
  (void)pthread_mutex_destroy(&catalogue->creating);
  (void)pthread_rwlock_destroy(&catalogue->lock);
}

/* --- creating ------------------------------------------------------------------------------------ */

/* Only creators call the next two: no lock is needed to read what only creators change. */
static const struct coupon *find(const struct catalogue *catalogue, uint64_t id) {
  for (size_t i = 0; i < catalogue->count; i++)
    if (catalogue->coupons[i]->id == id) return catalogue->coupons[i];
  return NULL;
}

static bool next_id(const struct catalogue *catalogue, uint64_t *id) {
  uint64_t highest = 0;
  for (size_t i = 0; i < catalogue->count; i++)
    if (catalogue->coupons[i]->id > highest) highest = catalogue->coupons[i]->id;
  *id = highest + 1;
  return highest < UINT64_MAX;
}

static void publish(struct catalogue *catalogue, const struct coupon *coupon) {
  struct coupon *kept = h2o_mem_alloc(sizeof *kept);
  *kept = *coupon;
  (void)pthread_rwlock_wrlock(&catalogue->lock);
  append(&catalogue->coupons, &catalogue->count, kept);
  (void)pthread_rwlock_unlock(&catalogue->lock);
}

/* The catalogue's line first: a campaign without one could give away coupons that nobody can describe. */
static enum reason create(struct catalogue *catalogue, struct coupon *coupon, bool choose_id, bool *kept) {
  if (choose_id && !next_id(catalogue, &coupon->id)) return REASON_COUPON_EXISTS;
  const struct coupon *before = find(catalogue, coupon->id);
  if (before != NULL && !same(before, coupon)) return REASON_COUPON_EXISTS;
  if (before == NULL && catalogue->count >= catalogue->limit) return REASON_TOO_MANY_COUPONS;
  /* A stopped engine would take no campaign: say so before anything is written. */
  uint64_t lsn;
  if (coupon_durable_lsn(catalogue->engine, &lsn) != COUPON_OK) return REASON_ENGINE_FAILED;
  if (before == NULL && !write_line(catalogue, coupon)) return REASON_STORE_FAILED;
  /* Of one that exists it waits until that is final. */
  struct coupon_campaign_spec spec = spec_of(coupon);
  coupon_status status = coupon_create(catalogue->engine, &spec, coupon_deadline_after(create_timeout_ns));
  /* It exists also where it is not final yet: then it is given away, and has to be listed. */
  *kept = before == NULL && (status == COUPON_OK || status == COUPON_NOT_FINAL);
  if (*kept) publish(catalogue, coupon);
  return status == COUPON_OK ? REASON_OK : reason_of_status(status);
}

enum reason catalogue_create(struct catalogue *catalogue, struct coupon *coupon, bool choose_id) {
  bool kept = false;
  (void)pthread_mutex_lock(&catalogue->creating);
  enum reason reason = create(catalogue, coupon, choose_id, &kept);
  (void)pthread_mutex_unlock(&catalogue->creating);
  if (!kept) coupon_fini(coupon);
  return reason;
}

size_t catalogue_list(struct catalogue *catalogue, size_t from, const struct coupon **coupons, size_t capacity) {
  (void)pthread_rwlock_rdlock(&catalogue->lock);
  size_t count = from < catalogue->count ? catalogue->count - from : 0;
  if (count > capacity) count = capacity;
  for (size_t i = 0; i < count; i++) coupons[i] = catalogue->coupons[from + i];
  (void)pthread_rwlock_unlock(&catalogue->lock);
  return count;
}
