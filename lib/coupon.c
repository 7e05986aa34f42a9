/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public functions: check the arguments, be a good guest (errno, cancellation, fork), call the engine. What
 * they promise stands in include/coupon/coupon.h.
 */
#include "coupon/coupon.h"

#include <errno.h>
#include <string.h>

#include "base/callback.h"
#include "base/rcu.h"
#include "base/status.h"
#include "engine/engine.h"

#define SEGMENT_SIZE_MIN UINT64_C(4096)
#define SEGMENT_SIZE_MAX (UINT64_C(4) << 30)
#define SEGMENT_SIZE_DEFAULT (UINT64_C(64) << 20)
#define LOG_BUFFER_MIN UINT64_C(4096)
#define LOG_BUFFER_MAX (UINT64_C(1) << 30)
#define LOG_BUFFER_DEFAULT (UINT64_C(4) << 20)
#define COMMIT_DELAY_MAX_NS UINT64_C(1000000000)

const char *coupon_status_name(coupon_status status) { return cpn_status_name(status); }
const char *coupon_strerror(coupon_status status) { return cpn_status_sentence(status); }
const char *coupon_version(void) { return COUPON_VERSION_STRING; }
int64_t coupon_deadline_after(int64_t timeout_ns) {
  int saved = errno;
  int64_t deadline = cpn_deadline_after(timeout_ns);
  errno = saved;
  return deadline;
}

/* --- being a guest ------------------------------------------------------------------------------- */

/* What a call has changed of its thread, to be put back. */
struct guest {
  int saved_errno;
  int cancel_state, cancel_type;
};

static void guest_arrive(struct guest *guest) {
  guest->saved_errno = errno;
  /* The type too, and first: a cancellation of the asynchronous type that is on its way when the state is changed takes
   * effect in spite of it (glibc 2.36 looks only at the type when the signal arrives). */
  (void)pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &guest->cancel_type);
  (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &guest->cancel_state);
}

static coupon_status guest_leave(const struct guest *guest, coupon_status status) {
  int ignored;
  (void)pthread_setcancelstate(guest->cancel_state, &ignored);
  (void)pthread_setcanceltype(guest->cancel_type, &ignored);
  errno = guest->saved_errno;
  return status;
}

/* A call that does not wait, but may do what the fast ones (cpn_engine_enter()) do not. */
static coupon_status enter(coupon_engine *engine, struct guest *guest) {
  guest_arrive(guest);
  return cpn_engine_enter(engine, false);
}

static coupon_status leave(const struct guest *guest, coupon_status status) {
  return guest_leave(guest, cpn_engine_leave(status));
}

/* A call that may wait must not, inside such a section; it counts itself in, and close waits for the count. seq_cst
 * both here and there: either we see the gate closed, or close sees us. */
static coupon_status visit(coupon_engine *engine, struct guest *guest) {
  guest_arrive(guest);
  if (cpn_engine_gate_bits(engine) == 0) return COUPON_E_FORKED; /* the count is of the parent's */
  atomic_fetch_add_explicit(&engine->visitors, 1, memory_order_seq_cst);
  coupon_status status = cpn_engine_gate(engine);
  if (status != COUPON_OK) atomic_fetch_sub_explicit(&engine->visitors, 1, memory_order_seq_cst);
  return status;
}

static coupon_status end_visit(coupon_engine *engine, const struct guest *guest, coupon_status status) {
  atomic_fetch_sub_explicit(&engine->visitors, 1, memory_order_seq_cst);
  return guest_leave(guest, status);
}

static bool would_wait_in_callback(int64_t deadline) { return deadline != COUPON_POLL && cpn_callback_inside(); }

/* --- structs that begin with their size ---------------------------------------------------------- */

/* Whether the bytes of a longer, later struct that we do not know are all zero. */
static bool unknown_tail_is_zero(const void *input, size_t known, size_t size) {
  const unsigned char *bytes = input;
  for (size_t i = known; i < size; i++) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

/* A struct of a megabyte is a size that was never set. */
#define STRUCT_SIZE_MAX ((size_t)1 << 20)

static size_t size_of(const void *structure) {
  size_t size;
  memcpy(&size, structure, sizeof size);
  return size;
}

/* `known`: the size it has in this version; `first`: in the first one, where it has grown since. */
static bool size_is_possible(size_t size, size_t first, size_t known) {
  return size == first || (size >= known && size <= STRUCT_SIZE_MAX);
}

static bool input_has_grown_and_is_valid(const void *input, size_t first, size_t known) {
  if (input == NULL || !size_is_possible(size_of(input), first, known)) return false;
  return unknown_tail_is_zero(input, known, size_of(input));
}

static bool input_is_valid(const void *input, size_t known) {
  return input_has_grown_and_is_valid(input, known, known);
}

/* Output structs may be longer: what we do not know is left alone. */
static bool output_has_grown_and_is_valid(const void *output, size_t first, size_t known) {
  return output != NULL && size_is_possible(size_of(output), first, known);
}

static bool output_is_valid(const void *output, size_t known) {
  return output_has_grown_and_is_valid(output, known, known);
}

/* As much of an answer as the caller's struct has room for, its size left as it is. */
static void hand_out(void *to, const void *from, size_t known) {
  const size_t size = size_of(to);
  memcpy((char *)to + sizeof size, (const char *)from + sizeof size, (size < known ? size : known) - sizeof size);
}

/* Sizes of the first version, 0.1. */
#define OPTIONS_FIRST offsetof(struct coupon_options, checkpoint_log_bytes)
#define REPORT_FIRST offsetof(struct coupon_report, checkpoint)
#define STATS_FIRST offsetof(struct coupon_stats, checkpoints)

/* --- engine -------------------------------------------------------------------------------------- */

static bool fill_options(const struct coupon_options *given, struct coupon_options *options) {
  *options = (struct coupon_options)COUPON_OPTIONS_INIT;
  if (given != NULL) {
    if (!input_has_grown_and_is_valid(given, OPTIONS_FIRST, sizeof *given)) return false;
    memcpy(options, given, given->size < sizeof *options ? given->size : sizeof *options);
    options->size = sizeof *options;
  }
  if (options->segment_size_bytes == 0) options->segment_size_bytes = SEGMENT_SIZE_DEFAULT;
  if (options->log_buffer_bytes == 0) options->log_buffer_bytes = LOG_BUFFER_DEFAULT;
  return options->durability >= COUPON_SYNC && options->durability <= COUPON_NONE &&
         (options->read_only == 0 || (options->read_only == 1 && options->durability != COUPON_NONE)) &&
         options->segment_size_bytes >= SEGMENT_SIZE_MIN && options->segment_size_bytes <= SEGMENT_SIZE_MAX &&
         options->segment_size_bytes % SEGMENT_SIZE_MIN == 0 && options->log_buffer_bytes >= LOG_BUFFER_MIN &&
         options->log_buffer_bytes <= LOG_BUFFER_MAX && cpn_is_power_of_two(options->log_buffer_bytes) &&
         options->commit_delay_ns <= COMMIT_DELAY_MAX_NS && options->allocator.size == sizeof options->allocator &&
         options->callbacks.size == sizeof options->callbacks &&
         (options->allocator.alloc == NULL) == (options->allocator.free == NULL);
}

coupon_status coupon_open(const char *directory, const struct coupon_options *given, coupon_engine **engine,
                          struct coupon_report *report) {
  struct coupon_report filled = COUPON_REPORT_INIT;
  struct coupon_options options;
  if (engine == NULL) return COUPON_E_INVAL;
  *engine = NULL;
  if (report != NULL && !output_has_grown_and_is_valid(report, REPORT_FIRST, sizeof *report)) return COUPON_E_INVAL;
  bool valid = fill_options(given, &options) && (directory == NULL) == (options.durability == COUPON_NONE) &&
               (directory == NULL || directory[0] != 0);
  if (!valid) {
    struct cpn_fault fault;
    filled.status = cpn_fault_set(&fault, COUPON_E_INVAL, "", 0, "an option, or the directory, is out of range");
    memcpy(filled.message, fault.message, sizeof filled.message);
    if (report != NULL) hand_out(report, &filled, sizeof filled);
    return COUPON_E_INVAL;
  }
  struct guest guest;
  guest_arrive(&guest);
  coupon_status status = cpn_engine_open(&cpn_env_system, directory, &options, engine, &filled);
  if (report != NULL) hand_out(report, &filled, sizeof filled);
  return guest_leave(&guest, status);
}

coupon_status coupon_close(coupon_engine *engine) {
  if (engine == NULL) return COUPON_E_INVAL;
  if (cpn_engine_gate_bits(engine) == 0) return COUPON_E_FORKED;
  if (cpn_callback_inside()) return COUPON_E_IN_CALLBACK;
  struct guest guest;
  guest_arrive(&guest);
  return guest_leave(&guest, cpn_engine_close(engine));
}

coupon_status coupon_destroy(coupon_engine *engine) {
  if (engine == NULL) return COUPON_OK;
  if (cpn_engine_gate_bits(engine) == 0) return COUPON_E_FORKED;
  if (cpn_callback_inside()) return COUPON_E_IN_CALLBACK;
  struct guest guest;
  guest_arrive(&guest);
  (void)cpn_engine_close(engine); /* its answer was there to be asked for with coupon_close() */
  cpn_engine_free(engine);
  return guest_leave(&guest, COUPON_OK);
}

coupon_status coupon_read_stats(coupon_engine *engine, struct coupon_stats *stats) {
  if (engine == NULL || !output_has_grown_and_is_valid(stats, STATS_FIRST, sizeof *stats)) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = enter(engine, &guest);
  if (status == COUPON_E_FAILED) {
    cpn_rcu_read_lock(); /* somebody has to say what happened */
    status = COUPON_OK;
  }
  if (status != COUPON_OK) return guest_leave(&guest, status);
  struct coupon_stats filled = COUPON_STATS_INIT;
  cpn_query_stats(engine, &filled);
  hand_out(stats, &filled, sizeof filled);
  return leave(&guest, COUPON_OK);
}

coupon_status coupon_checkpoint(coupon_engine *engine, int64_t deadline) {
  if (engine == NULL) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = visit(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  if (would_wait_in_callback(deadline)) return end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  return end_visit(engine, &guest, cpn_checkpoint_ask(engine, deadline));
}

/* --- campaigns ----------------------------------------------------------------------------------- */

static coupon_status fill_spec(const struct coupon_campaign_spec *given, struct cpn_campaign_spec *spec) {
  if (!input_is_valid(given, sizeof *given)) return COUPON_E_INVAL;
  size_t length = given->name == NULL ? 0 : strnlen(given->name, COUPON_NAME_MAX + 1);
  if (length > COUPON_NAME_MAX || given->user_limit > 1 || given->reserved != 0) return COUPON_E_INVAL;
  if (given->user_kind != COUPON_USER_U64 && given->user_kind != COUPON_USER_UUID) return COUPON_E_INVAL;
  if (given->closes_at_ns != 0 && given->closes_at_ns <= given->opens_at_ns) return COUPON_E_INVAL;
  if (given->stock > COUPON_STOCK_MAX) return COUPON_E_STOCK_RANGE;
  *spec = (struct cpn_campaign_spec){.id = given->id,
                                     .stock = given->stock,
                                     .user_limit = (uint32_t)given->user_limit,
                                     .user_kind = given->user_kind,
                                     .opens_at_ns = given->opens_at_ns,
                                     .closes_at_ns = given->closes_at_ns,
                                     .name = given->name == NULL ? "" : given->name,
                                     .name_length = (uint32_t)length};
  return COUPON_OK;
}

coupon_status coupon_create(coupon_engine *engine, const struct coupon_campaign_spec *given, int64_t deadline) {
  if (engine == NULL) return COUPON_E_INVAL;
  struct cpn_campaign_spec spec;
  coupon_status status = fill_spec(given, &spec);
  if (status != COUPON_OK) return status;
  struct guest guest;
  status = visit(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  if (engine->options.read_only != 0) return end_visit(engine, &guest, COUPON_E_READ_ONLY);
  /* Whatever the deadline: creating may wait for other creators, and for a grace period. */
  if (cpn_callback_inside()) return end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  uint64_t lsn;
  while ((status = cpn_engine_create(engine, &spec, given->prepare, &lsn)) == COUPON_E_BUSY) {
    status = cpn_wait_room(engine, cpn_campaign_words(spec.name_length), deadline);
    if (status != COUPON_OK) break;
  }
  if (status == COUPON_OK) status = cpn_wait_final(engine, lsn, deadline);
  return end_visit(engine, &guest, status);
}

coupon_status coupon_info(coupon_engine *engine, uint64_t campaign, struct coupon_campaign_info *info) {
  if (engine == NULL || !output_is_valid(info, sizeof *info)) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = enter(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  return leave(&guest, cpn_query_info(engine, campaign, info));
}

coupon_status coupon_list(coupon_engine *engine, uint64_t from, struct coupon_campaign_info *infos, size_t element_size,
                          size_t capacity, size_t *count) {
  if (engine == NULL || infos == NULL || count == NULL) return COUPON_E_INVAL;
  if (element_size < sizeof *infos || element_size > STRUCT_SIZE_MAX || capacity == 0) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = enter(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  uint64_t total = cpn_directory_count(&engine->campaigns);
  size_t filled = 0;
  for (; filled < capacity && from < total; filled++, from++) {
    struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
    cpn_query_info_of(engine, cpn_directory_at(&engine->campaigns, from), &info);
    info.size = element_size;
    memcpy((char *)infos + filled * element_size, &info, sizeof info);
  }
  *count = filled;
  return leave(&guest, COUPON_OK);
}

/* --- issuing ------------------------------------------------------------------------------------- */

coupon_status coupon_try_issue(coupon_engine *engine, uint64_t campaign, uint64_t user, struct coupon_ticket *ticket) {
  if (CPN_UNLIKELY(engine == NULL || !output_is_valid(ticket, sizeof *ticket))) return COUPON_E_INVAL;
  return cpn_engine_try_issue(engine, campaign, user, ticket);
}

coupon_status coupon_try_issue_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                    struct coupon_ticket *ticket) {
  if (CPN_UNLIKELY(engine == NULL || uuid == NULL || !output_is_valid(ticket, sizeof *ticket))) return COUPON_E_INVAL;
  return cpn_engine_try_issue_uuid(engine, campaign, uuid, ticket);
}

coupon_status coupon_try_issue_batch(coupon_engine *engine, const struct coupon_request *requests, size_t count,
                                     struct coupon_ticket *tickets, size_t element_size) {
  if (engine == NULL || element_size < sizeof *tickets || element_size > STRUCT_SIZE_MAX) return COUPON_E_INVAL;
  if (count != 0 && (requests == NULL || tickets == NULL)) return COUPON_E_INVAL;
  if (element_size % _Alignof(struct coupon_ticket) != 0) return COUPON_E_INVAL;
  return cpn_batch_issue(engine, requests, count, (char *)tickets, element_size);
}

/* The flag, and the number of an answer that is a ticket, which the commit stage has given it by the time it is
 * final. False: the log has no such ticket at this position, so the answer is one of another engine, or of an
 * earlier life whose end was cut. */
static bool complete(coupon_engine *engine, struct coupon_ticket *ticket) {
  bool is_ticket =
      ticket->answer == COUPON_ISSUED || ticket->answer == COUPON_ALREADY_ISSUED || ticket->answer == COUPON_OK;
  cpn_rcu_read_lock();
  cpn_engine_set_final(engine, ticket);
  bool final = (ticket->flags & COUPON_TICKET_FINAL) != 0;
  uint64_t number = is_ticket ? cpn_query_number(engine, ticket) : 0;
  const struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, ticket->campaign);
  bool live = campaign == NULL || cpn_campaign_is_live(campaign);
  cpn_rcu_read_unlock();
  /* Released while we waited: the number is in the file. */
  if (is_ticket && !live && ticket->number == 0) number = cpn_released_number(engine, campaign, ticket->lsn);
  if (number != 0) ticket->number = number;
  if (!is_ticket || !final || !live || number != 0) return true;
  ticket->flags = 0;
  return false;
}

static coupon_status issue(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                           int64_t deadline, struct coupon_ticket *ticket) {
  if (engine == NULL || !output_is_valid(ticket, sizeof *ticket)) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = visit(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  if (engine->options.read_only != 0) return end_visit(engine, &guest, COUPON_E_READ_ONLY);
  if (would_wait_in_callback(deadline)) return end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  for (;;) {
    status = cpn_engine_issue(engine, campaign, user, uuid, ticket);
    if (status != COUPON_E_BUSY) break;
    status = cpn_wait_room(engine, cpn_issue_words(uuid == NULL ? 1 : 2), deadline);
    if (status != COUPON_OK) break;
  }
  if (status < 0) cpn_wait_published(engine); /* places may have been given up */
  if (status >= 0) {
    coupon_status final = cpn_wait_final(engine, ticket->lsn, deadline);
    bool known = complete(engine, ticket);
    CPN_INVARIANT(3, known);
    if (final == COUPON_E_FAILED) status = COUPON_E_FAILED;
  }
  return end_visit(engine, &guest, status);
}

coupon_status coupon_issue(coupon_engine *engine, uint64_t campaign, uint64_t user, int64_t deadline,
                           struct coupon_ticket *ticket) {
  return issue(engine, campaign, user, NULL, deadline, ticket);
}

coupon_status coupon_issue_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid, int64_t deadline,
                                struct coupon_ticket *ticket) {
  return uuid == NULL ? COUPON_E_INVAL : issue(engine, campaign, 0, uuid, deadline, ticket);
}

coupon_status coupon_wait(coupon_engine *engine, struct coupon_ticket *ticket, int64_t deadline) {
  if (engine == NULL || !output_is_valid(ticket, sizeof *ticket)) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = visit(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  if (would_wait_in_callback(deadline)) return end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  if (ticket->lsn > cpn_buffer_tail(&engine->buffer)) return end_visit(engine, &guest, COUPON_E_INVAL);
  status = cpn_wait_final(engine, ticket->lsn, deadline);
  if (!complete(engine, ticket)) status = COUPON_E_INVAL;
  /* It may have become final between the two looks: status and flag say the same. */
  if (status == COUPON_NOT_FINAL && (ticket->flags & COUPON_TICKET_FINAL) != 0) status = COUPON_OK;
  return end_visit(engine, &guest, status);
}

coupon_status coupon_flush(coupon_engine *engine) {
  if (engine == NULL) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = enter(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  cpn_wait_flush(engine);
  return leave(&guest, COUPON_OK);
}

coupon_status coupon_durable_lsn(coupon_engine *engine, uint64_t *lsn) {
  if (engine == NULL || lsn == NULL) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = enter(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  *lsn = cpn_commit_durable(&engine->commit);
  return leave(&guest, COUPON_OK);
}

coupon_status coupon_eventfd(coupon_engine *engine, int *fd) {
  if (engine == NULL || fd == NULL) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = enter(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  return leave(&guest, cpn_wait_eventfd(engine, fd));
}

/* --- reading ------------------------------------------------------------------------------------- */

static coupon_status lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                            struct coupon_ticket *ticket, uint64_t *count) {
  if (CPN_UNLIKELY(engine == NULL || !output_is_valid(ticket, sizeof *ticket))) return COUPON_E_INVAL;
  coupon_status status = cpn_engine_enter(engine, false);
  if (CPN_UNLIKELY(status != COUPON_OK)) return status;
  uint64_t unwanted;
  return cpn_engine_leave(cpn_query_lookup(engine, campaign, user, uuid, ticket, count != NULL ? count : &unwanted));
}

coupon_status coupon_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, struct coupon_ticket *ticket,
                            uint64_t *count) {
  return lookup(engine, campaign, user, NULL, ticket, count);
}

coupon_status coupon_lookup_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                 struct coupon_ticket *ticket, uint64_t *count) {
  return uuid == NULL ? COUPON_E_INVAL : lookup(engine, campaign, 0, uuid, ticket, count);
}

coupon_status coupon_tickets(coupon_engine *engine, uint64_t campaign_id, uint64_t from, struct coupon_ticket *tickets,
                             size_t element_size, size_t capacity, size_t *count) {
  if (engine == NULL || tickets == NULL || count == NULL) return COUPON_E_INVAL;
  if (element_size < sizeof *tickets || element_size > STRUCT_SIZE_MAX || capacity == 0) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = enter(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  *count = 0;
  struct cpn_campaign *campaign = cpn_directory_find(&engine->campaigns, campaign_id);
  if (campaign == NULL) return leave(&guest, COUPON_NO_CAMPAIGN);
  if (!cpn_campaign_is_live(campaign)) return leave(&guest, COUPON_E_RELEASED);
  uint64_t numbered = cpn_query_numbered(engine, campaign);
  if (from == 0) from = 1;
  for (; *count < capacity && from <= numbered; from++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cpn_query_ticket(engine, campaign, from, &ticket);
    ticket.size = element_size;
    memcpy((char *)tickets + *count * element_size, &ticket, sizeof ticket);
    ++*count;
  }
  return leave(&guest, COUPON_OK);
}

/* --- campaigns that are over --------------------------------------------------------------------- */

static coupon_status move(coupon_engine *engine, uint64_t campaign, uint32_t place, int64_t deadline) {
  if (engine == NULL) return COUPON_E_INVAL;
  struct guest guest;
  coupon_status status = visit(engine, &guest);
  if (status != COUPON_OK) return guest_leave(&guest, status);
  if (would_wait_in_callback(deadline)) return end_visit(engine, &guest, COUPON_E_IN_CALLBACK);
  return end_visit(engine, &guest, cpn_released_move(engine, campaign, place, deadline));
}

coupon_status coupon_release(coupon_engine *engine, uint64_t campaign, int64_t deadline) {
  return move(engine, campaign, CPN_CAMPAIGN_RELEASED, deadline);
}

coupon_status coupon_drop(coupon_engine *engine, uint64_t campaign, int64_t deadline) {
  return move(engine, campaign, CPN_CAMPAIGN_DROPPED, deadline);
}

/* A visit that reads files. */
static coupon_status visit_to_read(coupon_engine *engine, struct guest *guest) {
  coupon_status status = visit(engine, guest);
  if (status != COUPON_OK) return guest_leave(guest, status);
  return cpn_callback_inside() ? end_visit(engine, guest, COUPON_E_IN_CALLBACK) : COUPON_OK;
}

coupon_status coupon_read_tickets(coupon_engine *engine, uint64_t campaign_id, uint64_t from,
                                  struct coupon_ticket *tickets, size_t element_size, size_t capacity, size_t *count) {
  coupon_status status = coupon_tickets(engine, campaign_id, from, tickets, element_size, capacity, count);
  if (status != COUPON_E_RELEASED) return status;
  struct guest guest;
  status = visit_to_read(engine, &guest);
  if (status != COUPON_OK) return status;
  status = cpn_released_tickets(engine, campaign_id, from, (char *)tickets, element_size, capacity, count);
  return end_visit(engine, &guest, status);
}

static coupon_status read_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                                 struct coupon_ticket *ticket, uint64_t *count) {
  coupon_status status = lookup(engine, campaign, user, uuid, ticket, count);
  if (status != COUPON_E_RELEASED) return status;
  struct guest guest;
  status = visit_to_read(engine, &guest);
  if (status != COUPON_OK) return status;
  uint64_t unwanted;
  status = cpn_released_lookup(engine, campaign, user, uuid, ticket, count != NULL ? count : &unwanted);
  return end_visit(engine, &guest, status);
}

coupon_status coupon_read_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, struct coupon_ticket *ticket,
                                 uint64_t *count) {
  return read_lookup(engine, campaign, user, NULL, ticket, count);
}

coupon_status coupon_read_lookup_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                      struct coupon_ticket *ticket, uint64_t *count) {
  return uuid == NULL ? COUPON_E_INVAL : read_lookup(engine, campaign, 0, uuid, ticket, count);
}
