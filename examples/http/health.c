/* SPDX-License-Identifier: Apache-2.0 */
/* What operators look at: GET /health, and GET /metrics in the text format of Prometheus. */
#include "service.h"

void handle_health(struct request *request) {
  struct service *service = request->loop->service;
  if (atomic_load_explicit(&service->failed, memory_order_seq_cst) != 0) {
    answer(request, REASON_ENGINE_FAILED, NULL, NULL);
  } else if (atomic_load_explicit(&service->draining, memory_order_relaxed) != 0) {
    answer(request, REASON_DRAINING, NULL, NULL);
  } else {
    struct text data = TEXT_INIT;
    text_string(&data, "{\"state\":\"ready\"}");
    answer(request, REASON_OK, NULL, &data);
  }
}

static void type_of(struct text *to, const char *name, const char *type) {
  text_string(to, "# TYPE ");
  text_string(to, name);
  text_string(to, " ");
  text_string(to, type);
  text_string(to, "\n");
}

static void figure(struct text *to, const char *name, const char *type, uint64_t value) {
  type_of(to, name, type);
  text_string(to, name);
  text_string(to, " ");
  text_u64(to, value);
  text_string(to, "\n");
}

/* All loops together. relaxed: figures, each with one writer. */
static uint64_t answers_of(struct service *service, enum reason reason) {
  uint64_t sum = 0;
  for (size_t i = 0; i < service->loop_count; i++)
    sum += atomic_load_explicit(&service->loops[i].answers[reason], memory_order_relaxed);
  return sum;
}

static void write_answers(struct text *to, struct service *service) {
  type_of(to, "coupon_http_answers_total", "counter");
  for (enum reason reason = 0; reason < REASON_COUNT; reason++) {
    text_string(to, "coupon_http_answers_total{kind=\"");
    text_string(to, reason_words(reason)->word);
    text_string(to, "\"} ");
    text_u64(to, answers_of(service, reason));
    text_string(to, "\n");
  }
}

/* Nanoseconds as seconds. */
static void write_seconds(struct text *to, uint64_t time_ns) {
  char decimals[16];
  text_u64(to, time_ns / 1000000000);
  (void)snprintf(decimals, sizeof decimals, ".%09u", (unsigned)(time_ns % 1000000000));
  text_string(to, decimals);
}

static void write_syncs(struct text *to, const struct coupon_stats *stats) {
  uint64_t below = 0;
  type_of(to, "coupon_engine_sync_seconds", "histogram");
  for (unsigned i = 0; i < COUPON_SYNC_BUCKETS; i++) {
    below += stats->sync_counts[i];
    text_string(to, "coupon_engine_sync_seconds_bucket{le=\"");
    if (i + 1 < COUPON_SYNC_BUCKETS)
      write_seconds(to, UINT64_C(1000) << i);
    else
      text_string(to, "+Inf");
    text_string(to, "\"} ");
    text_u64(to, below);
    text_string(to, "\n");
  }
  text_string(to, "coupon_engine_sync_seconds_sum ");
  write_seconds(to, stats->sync_time_ns);
  /* The sum of the buckets, not the engine's own count, which may be some calls apart. */
  text_string(to, "\ncoupon_engine_sync_seconds_count ");
  text_u64(to, below);
  text_string(to, "\n");
}

void handle_metrics(struct request *request) {
  struct service *service = request->loop->service;
  struct coupon_stats stats = COUPON_STATS_INIT;
  coupon_status status = coupon_read_stats(service->engine, &stats);
  if (status != COUPON_OK) {
    answer(request, reason_of_status(status), NULL, NULL);
    return;
  }
  struct text body = TEXT_INIT;
  /* relaxed: figures. */
  write_answers(&body, service);
  figure(&body, "coupon_http_connections", "gauge", atomic_load_explicit(&service->connections, memory_order_relaxed));
  figure(&body, "coupon_http_waiting_answers", "gauge", atomic_load_explicit(&service->waiting, memory_order_relaxed));
  figure(&body, "coupon_engine_reserved_lsn", "gauge", stats.reserved_lsn);
  figure(&body, "coupon_engine_durable_lsn", "gauge", stats.durable_lsn);
  figure(&body, "coupon_engine_tickets_total", "counter", stats.tickets);
  figure(&body, "coupon_engine_failed", "gauge", stats.failure != COUPON_OK);
  figure(&body, "coupon_engine_syncs_total", "counter", stats.syncs);
  write_syncs(&body, &stats);
  answer_bytes(request, REASON_OK, "text/plain; version=0.0.4; charset=utf-8", &body);
}
