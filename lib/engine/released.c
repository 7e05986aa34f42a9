/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Campaigns that have closed for good, and whose memory is wanted for others: their tickets go into a file, which stays
 * until they are dropped. Who asks says what is wanted and waits for a checkpoint, which does it (checkpoint_make.c);
 * here is also how the file is read.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/checkpoint.h"
#include "engine/engine.h"
#include "log/chunk_file.h"

static uint32_t place_of(const struct cpn_campaign *campaign) {
  /* acquire: what is kept of a released campaign is there. */
  return atomic_load_explicit(&campaign->place, memory_order_acquire);
}

static struct cpn_campaign *find_campaign(coupon_engine *engine, uint64_t campaign) {
  cpn_rcu_read_lock();
  struct cpn_campaign *found = cpn_directory_find(&engine->campaigns, campaign); /* stays until the engine's end */
  cpn_rcu_read_unlock();
  return found;
}

/* --- moving -------------------------------------------------------------------------------------- */

/* Closes the campaign, if it is due, as any request would. COUPON_OK: it is closed; COUPON_E_BUSY: there is no room for
 * the record. */
static coupon_status close_once(coupon_engine *engine, struct cpn_campaign *campaign) {
  coupon_status status = cpn_engine_enter(engine, true);
  if (status != COUPON_OK) return status;
  while (status == COUPON_OK) {
    uint64_t word = cpn_stock_read(&campaign->stock);
    if (cpn_word_state(word) == CPN_STOCK_CLOSED) break;
    bool due = cpn_window_is_due(campaign, word, cpn_clock_now(&engine->clock));
    status = due ? cpn_window_change(engine, campaign, word) : COUPON_E_NOT_CLOSED;
  }
  cpn_wait_published(engine);
  return cpn_engine_leave(status);
}

static coupon_status see_it_closed(coupon_engine *engine, struct cpn_campaign *campaign, int64_t deadline) {
  coupon_status status;
  while ((status = close_once(engine, campaign)) == COUPON_E_BUSY) {
    status = cpn_wait_room(engine, CPN_WORDS_CHANGE, deadline);
    if (status != COUPON_OK) break;
  }
  return status;
}

/* Says what is wanted; the next checkpoint that can looks. */
static void want(coupon_engine *engine, struct cpn_campaign *campaign, uint32_t place) {
  /* One step after the other: it cannot be dropped before it is released. acq_rel, and before the count: the campaign
   * is looked at only where something is counted. Failure: somebody else has asked. */
  uint32_t before = place - 1;
  if (atomic_compare_exchange_strong_explicit(&campaign->wanted_place, &before, place, memory_order_acq_rel,
                                              memory_order_acquire))
    atomic_fetch_add_explicit(&engine->checkpoints.moves, 1, memory_order_release);
}

coupon_status cpn_released_move(coupon_engine *engine, uint64_t campaign_id, uint32_t place, int64_t deadline) {
  if (engine->options.read_only != 0) return COUPON_E_READ_ONLY;
  if (!engine->has_log) return COUPON_E_INVAL;
  struct cpn_campaign *campaign = find_campaign(engine, campaign_id);
  if (campaign == NULL) return COUPON_NO_CAMPAIGN;
  if (place_of(campaign) >= place) return COUPON_OK;
  if (place_of(campaign) != place - 1) return COUPON_E_NOT_CLOSED;
  coupon_status status = see_it_closed(engine, campaign, deadline);
  if (status != COUPON_OK) return status;
  want(engine, campaign, place);
  /* CLOSE has its place before the word says so. */
  status = cpn_wait_final(engine, cpn_buffer_tail(&engine->buffer), deadline);
  while (status == COUPON_OK && place_of(campaign) < place) status = cpn_checkpoint_ask(engine, deadline);
  return status;
}

/* --- reading ------------------------------------------------------------------------------------- */

static coupon_status open_file(coupon_engine *engine, const unsigned char *identity,
                               const struct cpn_campaign *campaign, size_t window_size, struct cpn_chunk_reader *reader,
                               struct cpn_tickets_header *header, unsigned char block[CPN_BLOCK_SIZE],
                               struct cpn_fault *fault) {
  coupon_status status = cpn_chunk_reader_open(reader, engine->env.io, engine->directory, identity,
                                               CPN_CHUNK_OF_TICKETS_FILE, campaign->index, window_size, block, fault);
  reader->sparse = true;
  if (status != COUPON_OK) return status;
  enum cpn_decoded decoded = cpn_tickets_header_decode(header, identity, campaign->index, block);
  if (decoded == CPN_DECODED_NEWER)
    return cpn_fault_set(fault, COUPON_E_VERSION, reader->name, 0,
                         "a tickets file has a newer version; use a newer libcoupon");
  bool fits = decoded == CPN_DECODED_OK && header->id == campaign->spec.id &&
              header->tickets == campaign->kept.tickets && header->user_kind == campaign->spec.user_kind;
  if (!fits) return cpn_chunk_reader_damaged(reader, fault, "the first block is damaged, or the file is another's");
  return cpn_chunk_reader_begin(reader, header->size, fault);
}

coupon_status cpn_released_check(coupon_engine *engine, const unsigned char *identity,
                                 const struct cpn_campaign *campaign, struct cpn_fault *fault) {
  struct cpn_chunk_reader reader;
  struct cpn_tickets_header header;
  unsigned char block[CPN_BLOCK_SIZE];
  coupon_status status = open_file(engine, identity, campaign, 0, &reader, &header, block, fault);
  if (status == COUPON_OK && cpn_block_checksum(block) != campaign->kept.file_check)
    status = cpn_chunk_reader_damaged(&reader, fault, "the tickets file is not the one that the checkpoint means");
  cpn_chunk_reader_close(&reader);
  return status;
}

/* Whether to go on. */
typedef bool released_fn(void *context, uint64_t number, const uint64_t words[CPN_TICKET_WORDS]);

struct reading {
  const struct cpn_campaign *campaign;
  uint64_t from, number; /* the first that is wanted; the last that was passed */
  released_fn *each;
  void *context;
  bool enough;
  uint64_t *rows;
};

static coupon_status read_chunk(struct reading *reading, struct cpn_chunk_reader *reader, struct cpn_fault *fault) {
  struct cpn_chunk chunk;
  const unsigned char *payload = NULL;
  coupon_status status = cpn_chunk_reader_next(reader, &chunk, fault);
  if (status != COUPON_OK) return status;
  if (chunk.campaign != reading->campaign->index || chunk.first_number != reading->number + 1)
    return cpn_chunk_reader_damaged(reader, fault, "tickets' numbers are not in order");
  reading->number += chunk.count;
  if (reading->number < reading->from) {
    cpn_chunk_reader_skip(reader, &chunk);
    return COUPON_OK;
  }
  status = cpn_chunk_reader_read(reader, &chunk, &payload, fault);
  if (status != COUPON_OK) return status;
  if (cpn_tickets_decode(reading->rows, chunk.count, cpn_campaign_user_words(&reading->campaign->spec), payload,
                         chunk.payload_bytes) != CPN_DECODED_OK)
    return cpn_chunk_reader_damaged(reader, fault, "tickets do not fill their chunk");
  for (uint32_t i = 0; i < chunk.count && !reading->enough; i++) {
    if (chunk.first_number + i < reading->from) continue;
    reading->enough =
        !reading->each(reading->context, chunk.first_number + i, reading->rows + (size_t)i * CPN_TICKET_WORDS);
  }
  return COUPON_OK;
}

static coupon_status read_file(coupon_engine *engine, struct reading *reading, struct cpn_fault *fault) {
  struct cpn_chunk_reader reader;
  struct cpn_tickets_header header;
  unsigned char block[CPN_BLOCK_SIZE];
  coupon_status status =
      open_file(engine, engine->log.identity, reading->campaign, CPN_CHUNK_SIZE_MAX, &reader, &header, block, fault);
  while (status == COUPON_OK && !reading->enough && !cpn_chunk_reader_at_end(&reader))
    status = read_chunk(reading, &reader, fault);
  /* Who has come to the end knows whether these are the chunks that the file began with. */
  if (status == COUPON_OK && !reading->enough &&
      (reading->number != header.tickets || reader.chunks != header.chunks || reader.digest != header.digest))
    status = cpn_chunk_reader_damaged(&reader, fault, "the tickets are not those that the file began with");
  cpn_chunk_reader_close(&reader);
  return status;
}

/* Tickets from number `from` on, in order, until `each` has enough. */
static coupon_status read_released(coupon_engine *engine, const struct cpn_campaign *campaign, uint64_t from,
                                   released_fn *each, void *context) {
  if (place_of(campaign) == CPN_CAMPAIGN_DROPPED) return COUPON_E_RELEASED;
  struct reading reading = {.campaign = campaign, .from = from, .each = each, .context = context};
  struct cpn_fault fault = {0};
  reading.rows = malloc((size_t)CPN_CHUNK_TICKETS_MAX * CPN_TICKET_WORDS * sizeof(uint64_t));
  if (reading.rows == NULL) return COUPON_E_NOMEM;
  coupon_status status = read_file(engine, &reading, &fault);
  free(reading.rows);
  if (status == COUPON_OK) return status;
  if (place_of(campaign) == CPN_CAMPAIGN_DROPPED) return COUPON_E_RELEASED; /* meanwhile */
  cpn_engine_log(engine, COUPON_LOG_ERROR, "%s at %llu: %s", fault.file, (unsigned long long)fault.offset,
                 fault.message);
  return status;
}

struct wanted_lsn {
  uint64_t lsn, number;
};

static bool has_lsn(void *context, uint64_t number, const uint64_t words[CPN_TICKET_WORDS]) {
  struct wanted_lsn *wanted = context;
  if (words[2] == wanted->lsn) wanted->number = number;
  return words[2] < wanted->lsn;
}

coupon_status cpn_released_number(coupon_engine *engine, const struct cpn_campaign *campaign, uint64_t lsn,
                                  uint64_t *number) {
  struct wanted_lsn wanted = {.lsn = lsn};
  coupon_status status = read_released(engine, campaign, 1, has_lsn, &wanted);
  *number = status == COUPON_OK ? wanted.number : 0;
  if (status == COUPON_E_RELEASED) return COUPON_OK;
  return status == COUPON_OK && wanted.number == 0 ? COUPON_NOT_FOUND : status;
}

/* --- what is asked ------------------------------------------------------------------------------- */

static void fill_ticket(struct coupon_ticket *ticket, const struct cpn_campaign *campaign, uint64_t number,
                        const uint64_t words[CPN_TICKET_WORDS]) {
  ticket->campaign = campaign->spec.id;
  ticket->user = 0;
  if (cpn_campaign_user_words(&campaign->spec) == 1) {
    ticket->user = words[0];
  } else {
    cpn_put_u64(ticket->uuid, words[0]);
    cpn_put_u64(ticket->uuid + 8, words[1]);
  }
  ticket->number = number;
  ticket->lsn = words[2];
  ticket->time_ns = words[3];
  ticket->flags = COUPON_TICKET_FINAL;
  ticket->answer = COUPON_OK;
}

/* A page being filled. */
struct page {
  const struct cpn_campaign *campaign;
  char *tickets;
  size_t element_size, capacity, count;
};

static bool add_to_page(void *context, uint64_t number, const uint64_t words[CPN_TICKET_WORDS]) {
  struct page *page = context;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  fill_ticket(&ticket, page->campaign, number, words);
  ticket.size = page->element_size;
  memcpy(page->tickets + page->count++ * page->element_size, &ticket, sizeof ticket);
  return page->count < page->capacity;
}

coupon_status cpn_released_tickets(coupon_engine *engine, uint64_t campaign, uint64_t from, char *tickets,
                                   size_t element_size, size_t capacity, size_t *count) {
  struct page page = {.campaign = find_campaign(engine, campaign),
                      .tickets = tickets,
                      .element_size = element_size,
                      .capacity = capacity};
  if (page.campaign == NULL) return COUPON_NO_CAMPAIGN;
  coupon_status status = read_released(engine, page.campaign, from == 0 ? 1 : from, add_to_page, &page);
  *count = status == COUPON_OK ? page.count : 0;
  return status;
}

/* A user being looked for. */
struct search {
  const struct cpn_campaign *campaign;
  uint64_t user[2];
  struct coupon_ticket *ticket;
  uint64_t count;
};

static bool look_at(void *context, uint64_t number, const uint64_t words[CPN_TICKET_WORDS]) {
  struct search *search = context;
  if (words[0] != search->user[0] || words[1] != search->user[1]) return true;
  if (search->count++ == 0) fill_ticket(search->ticket, search->campaign, number, words);
  return search->campaign->spec.user_limit == 0;
}

coupon_status cpn_released_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                                  struct coupon_ticket *ticket, uint64_t *count) {
  struct search search = {.campaign = find_campaign(engine, campaign), .user = {user, 0}, .ticket = ticket};
  if (search.campaign == NULL) return COUPON_NO_CAMPAIGN;
  if (uuid != NULL) {
    search.user[0] = cpn_get_u64(uuid);
    search.user[1] = cpn_get_u64(uuid + 8);
  }
  coupon_status status = read_released(engine, search.campaign, 1, look_at, &search);
  if (status == COUPON_OK && search.count == 0) status = COUPON_NOT_FOUND;
  *count = search.count;
  return status;
}
