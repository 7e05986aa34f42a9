/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state at an LSN, into chunks, while requests and the commit stage go on. Everything that is read here was
 * complete when its record became durable: campaigns are in the directory before their record, and tickets, OPEN and
 * CLOSE take effect when their records are drained, all of it before a commit that raises the durable LSN.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/points.h"
#include "engine/checkpoint.h"
#include "engine/engine.h"
#include "log/chunk_file.h"

/* Campaigns to a chunk: small against a piece. */
#define CAMPAIGNS_SIZE ((size_t)128 * 1024)

static uint64_t lsn_of(const struct cpn_tickets *tickets, uint64_t number) {
  uint64_t unused;
  return cpn_tickets_read(tickets, number, &unused);
}

uint64_t cpn_checkpoint_tickets_at(const struct cpn_campaign *campaign, uint64_t lsn) {
  const struct cpn_tickets *tickets = &campaign->tickets;
  uint64_t low = 0,
           high = cpn_tickets_numbered(tickets); /* tickets up to `low` lie before, those behind `high` do not */
  if (CPN_MISTAKE(CHECKPOINT_TOO_MUCH)) return high;
  if (high == 0 || lsn_of(tickets, high) <= lsn) low = high;
  while (low < high) {
    uint64_t middle = low + (high - low + 1) / 2;
    if (lsn_of(tickets, middle) <= lsn)
      low = middle;
    else
      high = middle - 1;
  }
  return CPN_MISTAKE(CHECKPOINT_TOO_LITTLE) && low > 0 ? low - 1 : low;
}

/* An LSN, if it lies before that of the checkpoint. */
static uint64_t before(const _Atomic uint64_t *change, uint64_t lsn) {
  uint64_t at = atomic_load_explicit(change, memory_order_acquire); /* pairs with whoever applied the record */
  return at <= lsn ? at : 0;
}

/* --- campaigns ----------------------------------------------------------------------------------- */

static struct cpn_kept_campaign keep(const struct cpn_campaign *campaign, const struct cpn_checkpoint_header *header) {
  const struct cpn_campaign_spec *spec = &campaign->spec;
  struct cpn_kept_campaign kept = {.id = spec->id,
                                   .stock = spec->stock,
                                   .user_limit = spec->user_limit,
                                   .opens_at_ns = spec->opens_at_ns,
                                   .closes_at_ns = spec->closes_at_ns,
                                   .user_kind = spec->user_kind,
                                   .name_length = spec->name_length,
                                   .name = spec->name,
                                   .created_lsn = campaign->created_lsn,
                                   .opened_lsn = before(&campaign->opened_lsn, header->lsn),
                                   .closed_lsn = before(&campaign->closed_lsn, header->lsn)};
  if (campaign->kept.next == CPN_CAMPAIGN_LIVE) {
    kept.tickets = cpn_checkpoint_tickets_at(campaign, header->lsn);
    return kept;
  }
  bool dropped = campaign->kept.next == CPN_CAMPAIGN_DROPPED;
  /* relaxed: only we write it. */
  bool as_before = campaign->kept.next == atomic_load_explicit(&campaign->place, memory_order_relaxed);
  kept.tickets = campaign->kept.tickets;
  kept.flags = CPN_KEPT_RELEASED | (dropped ? CPN_KEPT_DROPPED : 0);
  kept.since = as_before ? campaign->kept.since : header->number;
  kept.file_check = dropped ? 0 : campaign->kept.file_check;
  return kept;
}

/* One chunk of campaigns from index `*from` on. */
static int write_campaigns(coupon_engine *engine, struct cpn_chunk_writer *writer,
                           const struct cpn_checkpoint_header *header, uint64_t *from) {
  int error;
  unsigned char *payload = cpn_chunk_writer_room(writer, CAMPAIGNS_SIZE, &error);
  if (payload == NULL) return error;
  struct cpn_chunk chunk = {.kind = CPN_CHUNK_CAMPAIGNS, .campaign = (uint32_t)*from};
  cpn_rcu_read_lock();
  while (*from < header->campaigns && chunk.payload_bytes + CPN_KEPT_CAMPAIGN_MAX <= CAMPAIGNS_SIZE) {
    struct cpn_kept_campaign kept = keep(cpn_directory_at(&engine->campaigns, *from), header);
    chunk.payload_bytes += (uint32_t)cpn_kept_campaign_encode(&kept, payload + chunk.payload_bytes);
    chunk.count++;
    ++*from;
  }
  cpn_rcu_read_unlock();
  cpn_chunk_writer_add(writer, &chunk);
  return 0;
}

/* --- tickets ------------------------------------------------------------------------------------- */

/* Inside a read-side critical section: pages may be packed meanwhile. */
static void read_tickets(const struct cpn_campaign *campaign, uint64_t from, uint32_t count, uint64_t *rows) {
  for (uint32_t i = 0; i < count; i++, rows += CPN_TICKET_WORDS) {
    cpn_tickets_user(&campaign->tickets, from + i, rows);
    rows[2] = cpn_tickets_read(&campaign->tickets, from + i, &rows[3]);
  }
}

static int write_tickets(coupon_engine *engine, struct cpn_chunk_writer *writer, const struct cpn_campaign *campaign,
                         uint64_t count, uint64_t *rows) {
  uint32_t most = CPN_CHUNK_TICKETS_MAX;
  for (uint64_t from = 1; from <= count; from += most) {
    struct cpn_chunk chunk = {.kind = CPN_CHUNK_TICKETS,
                              .campaign = campaign->index,
                              .count = (uint32_t)cpn_min_u64(most, count - from + 1),
                              .first_number = from};
    int error;
    unsigned char *payload = cpn_chunk_writer_room(writer, cpn_tickets_payload_max(chunk.count), &error);
    if (payload == NULL) return error;
    cpn_rcu_read_lock();
    read_tickets(campaign, from, chunk.count, rows);
    cpn_rcu_read_unlock();
    chunk.payload_bytes = (uint32_t)cpn_tickets_encode(rows, chunk.count, campaign->tickets.user_words, payload);
    cpn_chunk_writer_add(writer, &chunk);
    CPN_POINT(CHECKPOINT_PIECE);
    cpn_checkpoint_rest(engine);
    if (cpn_checkpoint_gives_up(engine)) return -ECANCELED;
  }
  return 0;
}

static uint64_t *rows_create(void) {
  return malloc((size_t)CPN_CHUNK_TICKETS_MAX * CPN_TICKET_WORDS * sizeof(uint64_t));
}

int cpn_checkpoint_write_tickets(coupon_engine *engine, struct cpn_chunk_writer *writer,
                                 const struct cpn_campaign *campaign, uint64_t count) {
  uint64_t *rows = rows_create();
  if (rows == NULL) return -ENOMEM;
  int error = write_tickets(engine, writer, campaign, count, rows);
  free(rows);
  return error;
}

/* --- all of it ----------------------------------------------------------------------------------- */

static int write_all_tickets(coupon_engine *engine, struct cpn_chunk_writer *writer,
                             struct cpn_checkpoint_header *header, uint64_t *rows) {
  for (uint64_t i = 0; i < header->campaigns; i++) {
    const struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, i);
    if (campaign->kept.next != CPN_CAMPAIGN_LIVE) continue;
    cpn_rcu_read_lock();
    uint64_t count = cpn_checkpoint_tickets_at(campaign, header->lsn);
    cpn_rcu_read_unlock();
    int error = write_tickets(engine, writer, campaign, count, rows);
    if (error < 0) return error;
    header->tickets += count;
  }
  return 0;
}

int cpn_checkpoint_write(coupon_engine *engine, struct cpn_chunk_writer *writer, struct cpn_checkpoint_header *header) {
  uint64_t *rows = rows_create();
  if (rows == NULL) return -ENOMEM;
  int error = 0;
  header->tickets = 0;
  for (uint64_t from = 0; from < header->campaigns && error == 0;) {
    error = write_campaigns(engine, writer, header, &from);
    if (error == 0 && cpn_checkpoint_gives_up(engine)) error = -ECANCELED;
  }
  if (error == 0) error = write_all_tickets(engine, writer, header, rows);
  free(rows);
  return error;
}
