/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A checkpoint becomes the state that it says, with everything checked that docs/FORMAT.md asks of a valid one. What is
 * loaded before the fault is found is forgotten again: the older checkpoint is then taken, or the log.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/checkpoint.h"
#include "engine/checkpoint_pages.h"
#include "engine/restore.h"
#include "log/chunk_file.h"

/* How much of the file is in memory at once. */
#define WINDOW_SIZE ((size_t)4 * 1024 * 1024)
_Static_assert(WINDOW_SIZE >= CPN_CHUNK_SIZE_MAX, "a chunk fits");

/* Rows are decoded as words. */
_Static_assert(sizeof(struct cpn_restored) == CPN_TICKET_WORDS * sizeof(uint64_t), "four words");

struct loading {
  coupon_engine *engine;
  struct cpn_chunk_reader reader;
  struct cpn_checkpoint_header header;
  struct cpn_restored *rows;   /* of a chunk */
  uint64_t campaigns, tickets; /* loaded */
  uint64_t created_lsn;        /* of the campaign before */
  uint64_t log_bytes;          /* that follow: an estimate, for progress */
  /* The campaign whose tickets are being loaded. */
  struct cpn_campaign *campaign;
  uint64_t number; /* the last of its tickets */
  struct cpn_checkpoint_bounds bounds;
};

static coupon_status damaged(struct loading *loading, struct cpn_fault *fault, const char *message) {
  return cpn_chunk_reader_damaged(&loading->reader, fault, message);
}

/* --- campaigns ----------------------------------------------------------------------------------- */

/* Its tickets are elsewhere: what remains is how many there are. */
static coupon_status load_released(struct loading *loading, struct cpn_campaign *campaign,
                                   const struct cpn_kept_campaign *kept, struct cpn_fault *fault) {
  bool dropped = (kept->flags & CPN_KEPT_DROPPED) != 0;
  campaign->kept.since = kept->since;
  campaign->kept.file_check = kept->file_check;
  if (kept->since > loading->header.number)
    return damaged(loading, fault, "a campaign was released by a later checkpoint");
  uint64_t taken = cpn_stock_take_many(&campaign->stock, cpn_stock_read(&campaign->stock), 0, kept->tickets);
  if (taken != kept->tickets) return damaged(loading, fault, "a released campaign has more tickets than stock");
  /* relaxed, both: nobody else is here yet. */
  atomic_store_explicit(&campaign->place, dropped ? CPN_CAMPAIGN_DROPPED : CPN_CAMPAIGN_RELEASED, memory_order_relaxed);
  atomic_store_explicit(&campaign->wanted_place, dropped ? CPN_CAMPAIGN_DROPPED : CPN_CAMPAIGN_RELEASED,
                        memory_order_relaxed);
  campaign->kept.next = dropped ? CPN_CAMPAIGN_DROPPED : CPN_CAMPAIGN_RELEASED;
  if (dropped) { /* the file may still be there for the older checkpoint's sake */
    campaign->kept.file_check = 1;
    loading->engine->checkpoints.drops = true;
  } else {
    coupon_status status = cpn_released_check(loading->engine, loading->reader.identity, campaign, fault);
    if (status != COUPON_OK) return status;
  }
  atomic_fetch_add_explicit(&loading->engine->tickets, kept->tickets, memory_order_relaxed);
  return COUPON_OK;
}

static coupon_status load_campaign(struct loading *loading, const struct cpn_kept_campaign *kept,
                                   struct cpn_fault *fault) {
  coupon_engine *engine = loading->engine;
  const uint64_t last = cpn_max_u64(kept->created_lsn, cpn_max_u64(kept->opened_lsn, kept->closed_lsn));
  if (last > loading->header.lsn || kept->created_lsn <= loading->created_lsn)
    return damaged(loading, fault, "a campaign's LSNs cannot be");
  loading->created_lsn = kept->created_lsn;
  const struct cpn_record record = {.type = CPN_RECORD_CAMPAIGN,
                                    .campaign = (uint32_t)loading->campaigns,
                                    .lsn = kept->created_lsn,
                                    .id = kept->id,
                                    .stock = kept->stock,
                                    .user_limit = kept->user_limit,
                                    .opens_at_ns = kept->opens_at_ns,
                                    .closes_at_ns = kept->closes_at_ns,
                                    .user_kind = kept->user_kind,
                                    .name = kept->name,
                                    .name_length = kept->name_length};
  coupon_status status = cpn_apply_replay(engine, &record, fault);
  if (status != COUPON_OK) return status;
  struct cpn_campaign *campaign = cpn_directory_at(&engine->campaigns, loading->campaigns++);
  campaign->kept.tickets = kept->tickets;
  if (kept->opened_lsn != 0) (void)cpn_stock_change(&campaign->stock, cpn_stock_read(&campaign->stock), CPN_STOCK_OPEN);
  /* relaxed, both: nobody else is here yet. */
  atomic_store_explicit(&campaign->opened_lsn, kept->opened_lsn, memory_order_relaxed);
  atomic_store_explicit(&campaign->closed_lsn, kept->closed_lsn, memory_order_relaxed);
  return (kept->flags & CPN_KEPT_RELEASED) != 0 ? load_released(loading, campaign, kept, fault) : COUPON_OK;
}

static coupon_status load_campaigns(struct loading *loading, const struct cpn_chunk *chunk,
                                    const unsigned char *payload, struct cpn_fault *fault) {
  if (chunk->campaign != loading->campaigns || loading->campaign != NULL)
    return damaged(loading, fault, "campaigns are not in order");
  size_t at = 0;
  for (uint32_t i = 0; i < chunk->count; i++) {
    struct cpn_kept_campaign kept;
    size_t length = 0;
    enum cpn_decoded decoded = cpn_kept_campaign_decode(&kept, payload + at, chunk->payload_bytes - at, &length);
    if (decoded == CPN_DECODED_NEWER)
      return cpn_fault_set(fault, COUPON_E_VERSION, loading->reader.name, loading->reader.offset,
                           "a campaign is of a newer version; use a newer libcoupon");
    if (decoded != CPN_DECODED_OK) return damaged(loading, fault, "a campaign makes no sense");
    coupon_status status = load_campaign(loading, &kept, fault);
    if (status != COUPON_OK) return status;
    at += length;
  }
  return at == chunk->payload_bytes ? COUPON_OK : damaged(loading, fault, "campaigns do not fill their chunk");
}

/* --- tickets ------------------------------------------------------------------------------------- */

static bool is_complete(const struct cpn_campaign *campaign) {
  return !cpn_campaign_is_live(campaign) || cpn_tickets_numbered(&campaign->tickets) == campaign->kept.tickets;
}

/* relaxed: nobody else is here yet. */
static uint64_t lsn_at(const _Atomic uint64_t *change) { return atomic_load_explicit(change, memory_order_relaxed); }

static coupon_status begin_tickets(struct loading *loading, const struct cpn_chunk *chunk, struct cpn_fault *fault) {
  if (loading->campaigns != loading->header.campaigns || chunk->campaign >= loading->campaigns)
    return damaged(loading, fault, "tickets of a campaign that is not there");
  struct cpn_campaign *campaign = cpn_directory_at(&loading->engine->campaigns, chunk->campaign);
  if (loading->campaign != NULL && campaign->index < loading->campaign->index)
    return damaged(loading, fault, "tickets are not in order");
  loading->campaign = campaign;
  loading->number = 0;
  const uint64_t closed = lsn_at(&campaign->closed_lsn);
  loading->bounds = (struct cpn_checkpoint_bounds){
      .lsn_before = cpn_max_u64(campaign->created_lsn, lsn_at(&campaign->opened_lsn)),
      .lsn_max = closed == 0 ? loading->header.lsn : cpn_min_u64(loading->header.lsn, closed - 1),
      .last_ns = loading->header.time_ns};
  return cpn_campaign_is_live(campaign) ? COUPON_OK : damaged(loading, fault, "tickets of a released campaign");
}

/* LSNs rise, by a record's length at least (tickets are found by them), within what the campaign and the checkpoint
 * allow; all else is cpn_restore_tickets()'s to check. */
static bool lsns_are_possible(struct loading *loading, const struct cpn_restored *rows, uint32_t count) {
  const uint64_t record_bytes = (uint64_t)cpn_issue_words(loading->campaign->tickets.user_words) * 8;
  struct cpn_checkpoint_bounds *bounds = &loading->bounds;
  bool possible = true;
  for (uint32_t i = 0; i < count; i++) {
    possible &= rows[i].lsn > bounds->lsn_before && rows[i].lsn - bounds->lsn_before >= record_bytes &&
                rows[i].time_ns <= bounds->last_ns;
    bounds->lsn_before = rows[i].lsn;
  }
  return possible && bounds->lsn_before <= bounds->lsn_max;
}

/* Those behind the first `done`, which had their effect as pages; what is wrong with one of these shows here. */
static coupon_status load_rows(struct loading *loading, const struct cpn_chunk *chunk, const unsigned char *payload,
                               uint32_t done, struct cpn_fault *fault) {
  /* As words, which is all that a row has. */
  uint64_t *words = (uint64_t *)(void *)loading->rows;
  const struct cpn_restored *rows = loading->rows + done;
  struct cpn_campaign *campaign = loading->campaign;
  if (cpn_tickets_decode(words, chunk->count, campaign->tickets.user_words, payload, chunk->payload_bytes) !=
      CPN_DECODED_OK)
    return damaged(loading, fault, "tickets do not fill their chunk");
  if (!lsns_are_possible(loading, rows, chunk->count - done))
    return damaged(loading, fault, "tickets' LSNs or times cannot be");
  return cpn_restore_tickets(loading->engine, campaign, rows, chunk->count - done, fault);
}

static coupon_status load_tickets(struct loading *loading, const struct cpn_chunk *chunk, const unsigned char *payload,
                                  struct cpn_fault *fault) {
  if (loading->campaign == NULL || loading->campaign->index != chunk->campaign) {
    coupon_status status = begin_tickets(loading, chunk, fault);
    if (status != COUPON_OK) return status;
  }
  struct cpn_campaign *campaign = loading->campaign;
  if (chunk->first_number != loading->number + 1 || chunk->count > campaign->kept.tickets - loading->number)
    return damaged(loading, fault, "tickets' numbers are not in order");
  uint32_t done = 0;
  const bool whole = cpn_checkpoint_load_pages(loading->engine, campaign, &loading->bounds, chunk->count, payload,
                                               chunk->payload_bytes, &done);
  coupon_status status = whole ? COUPON_OK : load_rows(loading, chunk, payload, done, fault);
  loading->number += chunk->count;
  loading->tickets += chunk->count;
  return status;
}

/* --- the file ------------------------------------------------------------------------------------ */

static coupon_status load_chunk(struct loading *loading, struct cpn_fault *fault) {
  struct cpn_chunk chunk;
  const unsigned char *payload = NULL;
  coupon_status status = cpn_chunk_reader_next(&loading->reader, &chunk, fault);
  if (status == COUPON_OK) status = cpn_chunk_reader_read(&loading->reader, &chunk, &payload, fault);
  if (status != COUPON_OK) return status;
  status = chunk.kind == CPN_CHUNK_CAMPAIGNS ? load_campaigns(loading, &chunk, payload, fault)
                                             : load_tickets(loading, &chunk, payload, fault);
  if (status == COUPON_E_CORRUPT && fault->file[0] == 0) { /* a rule that the log has too */
    memcpy(fault->file, loading->reader.name, sizeof loading->reader.name);
    fault->offset = chunk.place;
  }
  return status;
}

static coupon_status check_totals(struct loading *loading, struct cpn_fault *fault) {
  const struct cpn_checkpoint_header *header = &loading->header;
  if (loading->reader.digest != header->digest || loading->reader.chunks != header->chunks)
    return damaged(loading, fault, "the chunks are not those that the file began with");
  if (loading->campaigns != header->campaigns || loading->tickets != header->tickets)
    return damaged(loading, fault, "the checkpoint is not complete");
  for (uint64_t i = 0; i < loading->campaigns; i++) {
    struct cpn_campaign *campaign = cpn_directory_at(&loading->engine->campaigns, i);
    if (!is_complete(campaign)) return damaged(loading, fault, "a campaign's tickets are not complete");
    if (lsn_at(&campaign->closed_lsn) == 0) continue;
    if (!cpn_stock_change(&campaign->stock, cpn_stock_read(&campaign->stock), CPN_STOCK_CLOSED))
      return damaged(loading, fault, "a campaign has closed that cannot");
  }
  return COUPON_OK;
}

static coupon_status load_all(struct loading *loading, struct cpn_fault *fault) {
  coupon_status status = cpn_chunk_reader_begin(&loading->reader, loading->header.size, fault);
  while (status == COUPON_OK && !cpn_chunk_reader_at_end(&loading->reader)) {
    status = load_chunk(loading, fault);
    cpn_progress_read(loading->engine, loading->reader.offset, loading->log_bytes + loading->header.size);
  }
  if (status == COUPON_OK) status = check_totals(loading, fault);
  if (status == COUPON_OK) cpn_clock_raise(&loading->engine->clock, loading->header.time_ns);
  return status;
}

static uint64_t estimate_log(const coupon_engine *engine, const struct cpn_checkpoint_header *header) {
  const struct cpn_io *io = engine->env.io;
  if (engine->options.callbacks.progress == NULL) return 0;
  const uint64_t last = cpn_reader_last_segment(io, engine->directory);
  const uint64_t bytes = cpn_reader_log_bytes(io, engine->directory, header->segment, last);
  return bytes - cpn_min_u64(bytes, header->offset);
}

/* `header->number` is 0 unless the first block could be believed. */
static coupon_status load(coupon_engine *engine, const struct cpn_manifest *manifest, uint64_t number,
                          struct cpn_checkpoint_header *header, struct cpn_fault *fault) {
  const unsigned char *identity = manifest->identity;
  struct loading loading = {.engine = engine};
  unsigned char block[CPN_BLOCK_SIZE];
  coupon_status status = cpn_chunk_reader_open(&loading.reader, engine->env.io, engine->directory, identity,
                                               CPN_CHUNK_OF_CHECKPOINT, number, WINDOW_SIZE, block, fault);
  loading.rows = malloc(CPN_CHUNK_TICKETS_MAX * sizeof loading.rows[0]);
  if (status == COUPON_OK && loading.rows == NULL)
    status = cpn_fault_set(fault, COUPON_E_NOMEM, loading.reader.name, 0, "not enough memory to load a checkpoint");
  if (status == COUPON_OK) {
    enum cpn_decoded decoded = cpn_checkpoint_header_decode(&loading.header, identity, number, block);
    if (decoded == CPN_DECODED_NEWER)
      status = cpn_fault_set(fault, COUPON_E_VERSION, loading.reader.name, 0,
                             "the checkpoint has a newer version; use a newer libcoupon");
    else if (decoded != CPN_DECODED_OK)
      status = damaged(&loading, fault, "the first block is damaged, or the file is another's");
    else if (loading.header.segment < manifest->first_segment)
      status = damaged(&loading, fault, "the checkpoint leads to a segment that need not exist");
  }
  if (status == COUPON_OK) {
    *header = loading.header;
    loading.log_bytes = estimate_log(engine, header);
    status = load_all(&loading, fault);
  }
  cpn_chunk_reader_close(&loading.reader);
  free(loading.rows);
  return status;
}

/* --- which one ----------------------------------------------------------------------------------- */

static void pass_over(coupon_engine *engine, struct coupon_report *report, const struct cpn_fault *fault) {
  cpn_engine_log(engine, COUPON_LOG_WARNING, "%s at %llu is %s and passed over: %s", fault->file,
                 (unsigned long long)fault->offset, fault->status == COUPON_E_IO ? "unreadable" : "damaged",
                 fault->message);
  if (report->checkpoint_status != COUPON_OK) return; /* the first tells most */
  report->checkpoint_status = fault->status;
  memcpy(report->checkpoint_file, fault->file, sizeof report->checkpoint_file);
}

static void go_on_behind(coupon_engine *engine, struct cpn_reader *reader, const struct cpn_checkpoint_header *header,
                         struct coupon_report *report) {
  reader->start.segment = header->segment;
  reader->start.offset = header->offset;
  reader->start.lsn = header->lsn;
  reader->start.life = header->life;
  engine->checkpoints.good.number = header->number;
  engine->checkpoints.good.segment = header->segment;
  engine->progress.checkpoint_bytes = header->size;
  /* relaxed, all three: figures for people. */
  atomic_store_explicit(&engine->checkpoints.last_lsn, header->lsn, memory_order_relaxed);
  atomic_store_explicit(&engine->checkpoints.last_ns, header->written_ns, memory_order_relaxed);
  atomic_store_explicit(&engine->checkpoints.last_bytes, header->size, memory_order_relaxed);
  report->checkpoint = header->number;
  report->checkpoint_lsn = header->lsn;
  report->checkpoint_tickets = atomic_load_explicit(&engine->tickets, memory_order_relaxed); /* nobody else is here */
}

void cpn_checkpoint_distrust(coupon_engine *engine, uint64_t number, struct coupon_report *report,
                             struct cpn_fault *fault) {
  cpn_checkpoint_name(number, fault->file);
  pass_over(engine, report, fault);
}

/* What the disk does not give back can be done without, like what it gives back wrong. Whatever somebody can mend (a
 * permission, memory, a newer version) is told instead. */
static bool can_do_without(coupon_status status) { return status == COUPON_E_CORRUPT || status == COUPON_E_IO; }

coupon_status cpn_checkpoint_open(coupon_engine *engine, struct cpn_reader *reader, uint64_t below,
                                  struct coupon_report *report, struct cpn_fault *fault) {
  const struct cpn_manifest *manifest = &reader->manifest;
  const uint64_t numbers[2] = {manifest->newest_checkpoint, manifest->older_checkpoint};
  struct cpn_fault first = {0}, *unreadable = &engine->checkpoints.unreadable;
  if (below == UINT64_MAX) {
    report->checkpoint_status = COUPON_OK;
    unreadable->status = COUPON_OK;
  }
  report->checkpoint = 0;
  engine->checkpoints.good.number = 0;
  for (unsigned i = 0; i < 2; i++) {
    if (numbers[i] == 0 || numbers[i] >= below) continue;
    struct cpn_checkpoint_header header = {0};
    coupon_status status = load(engine, manifest, numbers[i], &header, fault);
    reader->proof_lsn = cpn_max_u64(reader->proof_lsn, header.lsn); /* 0: nothing could be believed */
    if (status == COUPON_OK) go_on_behind(engine, reader, &header, report);
    if (!can_do_without(status)) return status;
    pass_over(engine, report, fault);
    if (first.status == COUPON_OK) first = *fault;
    if (status == COUPON_E_IO && unreadable->status == COUPON_OK) *unreadable = *fault;
    status = cpn_recovery_begin_again(engine, fault);
    if (status != COUPON_OK) return status;
  }
  if (manifest->first_segment == 1) return COUPON_OK; /* the log is there from its beginning */
  if (first.status != COUPON_OK) *fault = first;
  return COUPON_E_CORRUPT;
}
