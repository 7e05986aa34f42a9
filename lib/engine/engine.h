/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: where the memory wing (issue/) and the disk wing (log/) meet.
 *
 *   engine.c    the story of one issue
 *   batch.c     the same for many at once; batch_ask.c asks for the memory they need
 *   holder.c    whose claim is this, and the ticket behind it
 *   keeper.c    keeps the clock, and memory ready ahead of the requests
 *   window.c    a campaign opens and closes
 *   create.c    a campaign comes into being
 *   apply.c     a record takes effect: in its order in the log, live or at recovery
 *   progress.c  how far an opening is
 *   restore.c   tickets come back at recovery, by the hundred
 *   wait.c      an answer becomes final: the commit thread, waiting, telling
 *   query.c     looking without changing
 *   recovery.c  a directory becomes an engine
 *   checkpoint.h  what the log amounts to, so that it need not grow for ever; rooms of its own
 *   lifecycle.c opening, closing, freeing
 *
 * docs/DESIGN.md tells it in prose ("Life of an issue") and numbers the invariants.
 */
#ifndef CPN_ENGINE_ENGINE_H
#define CPN_ENGINE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/env.h"
#include "base/event.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/rcu.h"
#include "coupon/coupon.h"
#include "engine/checkpoint.h"
#include "engine/progress.h"
#include "issue/directory.h"
#include "log/buffer.h"
#include "log/commit.h"
#include "log/segment.h"

/* Bits of the gate: why calls are turned away. 0: in a child of fork(). */
enum { CPN_GATE_OPEN = 1, CPN_GATE_CLOSED = 2, CPN_GATE_FAILED = 4, CPN_GATE_READ_ONLY = 8 };

struct coupon_engine {
  /* Constant while the engine is open. */
  struct cpn_env env;
  struct coupon_options options;        /* with the defaults filled in */
  bool has_log;                         /* not COUPON_NONE, not read_only */
  bool has_thread;                      /* a commit thread runs; otherwise a test steps */
  bool has_keeper;                      /* a keeper runs; otherwise every request looks after itself */
  _Atomic uint32_t *gate;               /* bits CPN_GATE_…, in a page that is empty in a child of fork() */
  int directory, lock_file, owner_file; /* handles, or -1 */
  pthread_t thread, keeper_thread, segments_thread;
  struct cpn_hash_key key;      /* of the claim sets: secret, per engine */
  uint64_t directory_secret[2]; /* of the directory */

  struct cpn_memory memory;
  struct cpn_clock clock;
  struct cpn_directory campaigns;
  struct cpn_buffer buffer;
  struct cpn_commit commit;
  struct cpn_segment_log log;

  pthread_mutex_t create_lock; /* one creator at a time */

  /* Rarely written: a line that stays shared. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint32_t
      idle; /* the commit thread sleeps, or is about to; publishers look, the commit thread writes */
  /* What lies before it shall not gather any longer. Callers raise it, the commit thread reads it. */
  _Atomic uint64_t flushed;
  _Atomic uint32_t stop; /* the commit thread shall end once nothing is left; written by close */
  /* Somebody steps: the commit thread, or a caller in its place. Whoever gets it by an exchange. */
  _Atomic uint32_t stepping;
  _Atomic int eventfd; /* or -1; made once */

  /* Rarely written. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint32_t visitors; /* calls in progress that may wait; close waits for them */
  _Atomic uint64_t voids;
  _Atomic uint64_t tickets; /* written by whoever steps */
  _Atomic uint32_t failing; /* somebody has begun to say why the engine stops */
  struct cpn_fault failure; /* set before CPN_GATE_FAILED */

  /* Durable rose, or the gate changed: for those who wait for finality, one for every other batch. */
  struct cpn_event changed[2];
  struct cpn_event room; /* the buffer was drained, or the gate changed: for those who wait for room */
  struct cpn_event work; /* for the commit thread: something is published, or stop */

  /* Campaigns whose memory wants looking after, linked by next_wanted: requests push, the keeper takes them all. */
  _Alignas(CPN_CACHE_LINE) _Atomic(struct cpn_campaign *) wanted;
  _Atomic uint32_t keeper_sleeps; /* until it is told; the keeper writes, whoever wants it looks */
  struct cpn_event keep;          /* for the keeper: a campaign is wanted, the clock is asked for, or stop */
  struct cpn_row_pool pool;       /* the keeper's; at recovery its own */

  /* Where whoever applies records goes on, if the next one is a ticket of the same campaign, as most are. */
  struct cpn_campaign *appended_to;
  struct cpn_ticket_cursor cursor;

  struct cpn_checkpoints checkpoints;

  struct cpn_progress progress; /* while a directory is opened, as the next */
  struct cpn_following {        /* engine/restore_follow.h */
    struct cpn_follower *follower;
    bool refused;     /* there is none to be had, or none is wanted */
    uint64_t end_lsn; /* the log's, or so; 0: unknown */
  } following;
};

/* --- engine.c ------------------------------------------------------------------------------------ */

/* seq_cst: close and visitors look for each other, see lifecycle.c. Also acquire: the failure before the bit. */
static inline uint32_t cpn_engine_gate_bits(const coupon_engine *engine) {
  return atomic_load_explicit(engine->gate, memory_order_seq_cst);
}

/* What these bits say to a call that only reads: COUPON_OK, or why the engine takes no calls. */
static inline coupon_status cpn_engine_gate_says(uint32_t bits) {
  if (bits == 0) return COUPON_E_FORKED;
  if ((bits & CPN_GATE_CLOSED) != 0) return COUPON_E_CLOSED;
  return (bits & CPN_GATE_FAILED) != 0 ? COUPON_E_FAILED : COUPON_OK;
}

static inline coupon_status cpn_engine_gate(const coupon_engine *engine) {
  return cpn_engine_gate_says(cpn_engine_gate_bits(engine));
}

/* A call that does not wait runs inside a read-side critical section, so that close can wait for it. COUPON_OK: it has
 * begun. Nothing in such a call is a point of cancellation or changes errno; where that may be otherwise (a callback,
 * an allocation, a wake-up) it is seen to there. */
static inline coupon_status cpn_engine_enter(const coupon_engine *engine, bool issues) {
  /* Before the lock: in a child of fork() a thread that has to be registered for it could wait for one of the
   * parent's. */
  if (CPN_UNLIKELY(cpn_rcu_may_register()) && cpn_engine_gate_bits(engine) == 0) return COUPON_E_FORKED;
  cpn_rcu_read_lock();
  uint32_t bits = cpn_engine_gate_bits(engine);
  if (CPN_LIKELY(bits == CPN_GATE_OPEN)) return COUPON_OK;
  coupon_status status = cpn_engine_gate_says(bits);
  if (status == COUPON_OK && issues) status = COUPON_E_READ_ONLY;
  if (status != COUPON_OK) cpn_rcu_read_unlock();
  return status;
}
static inline coupon_status cpn_engine_leave(coupon_status status) {
  cpn_rcu_read_unlock();
  return status;
}

/* A user as a request names it. `uuid` NULL: `user`. */
static inline struct cpn_user cpn_engine_user(const coupon_engine *engine, uint64_t user, const unsigned char *uuid) {
  struct cpn_user made = {.words = {user, 0}};
  if (uuid == NULL) {
    made.hash = cpn_hash_u64(&engine->key, user);
  } else {
    made.words[0] = cpn_get_u64(uuid);
    made.words[1] = cpn_get_u64(uuid + 8);
    made.hash = cpn_hash_u128(&engine->key, made.words[0], made.words[1]);
  }
  return made;
}

/* coupon_try_issue() and its like for 16 bytes, arguments checked. */
coupon_status cpn_engine_try_issue(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                   struct coupon_ticket *ticket);
coupon_status cpn_engine_try_issue_uuid(coupon_engine *engine, uint64_t campaign, const unsigned char *uuid,
                                        struct coupon_ticket *ticket);

/* The same for a caller who goes on to wait, `uuid` NULL: `user`. Does not tell the commit thread: the caller's next
 * call is one of cpn_wait_final(), cpn_wait_room() and cpn_wait_published(). */
coupon_status cpn_engine_issue(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                               struct coupon_ticket *ticket);

/* What a ticket says of who asked for what. */
static inline void cpn_engine_address(struct coupon_ticket *ticket, uint64_t campaign, uint64_t user,
                                      const unsigned char *uuid) {
  ticket->campaign = campaign;
  ticket->user = user;
  ticket->number = 0;
  ticket->lsn = 0; /* "no such campaign" rests on nothing */
  if (uuid != NULL) memcpy(ticket->uuid, uuid, sizeof ticket->uuid);
}

/* The story of one issue, of a campaign whose users are of this kind. Fills all but the flags. */
coupon_status cpn_engine_decide(coupon_engine *engine, struct cpn_campaign *campaign, const struct cpn_user *user,
                                struct coupon_ticket *ticket);

/* Makes room for ticket `number` of the campaign, where there is none. False: no memory. */
CPN_MUST_CHECK bool cpn_engine_room(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t number);

/* A request of the same user is being decided: a few hundred nanoseconds, unless its thread lost the processor. */
struct cpn_patience {
  unsigned rounds;
};
void cpn_engine_wait_a_little(struct cpn_patience *patience);

/* Sets flags from the ticket's LSN. */
static inline void cpn_engine_set_final(const coupon_engine *engine, struct coupon_ticket *ticket) {
  ticket->flags = ticket->lsn <= cpn_commit_durable(&engine->commit) ? COUPON_TICKET_FINAL : 0;
}

/* The same, and if it is final the number, where there was none yet. The ticket is one of this campaign. */
void cpn_engine_complete(const coupon_engine *engine, const struct cpn_campaign *campaign,
                         struct coupon_ticket *ticket);

/* COUPON_E_BUSY or COUPON_E_LOG_FULL, after a reservation was refused. */
coupon_status cpn_engine_no_room(const coupon_engine *engine);

/* Gives a reserved place up. */
void cpn_engine_void(coupon_engine *engine, uint64_t at, uint32_t words);

/* --- holder.c ------------------------------------------------------------------------------------ */

/* The user's claim: its place and kind. HELD or NUMBERED: number (0: not yet), LSN and time of the ticket are filled
 * in. EMPTY: the place is where the claim would be made. */
enum cpn_claim_kind cpn_holder_resolve(const coupon_engine *engine, const struct cpn_campaign *campaign,
                                       const struct cpn_user *user, struct cpn_claim_place *place,
                                       struct coupon_ticket *ticket);

CPN_INLINE enum cpn_claim_kind cpn_holder_find(const coupon_engine *engine, const struct cpn_campaign *campaign,
                                               const struct cpn_user *user, struct cpn_claim_place *place,
                                               struct coupon_ticket *ticket) {
  *place = cpn_claim_look(&campaign->claims, user->hash);
  if (place->seen == 0) return CPN_CLAIM_EMPTY;
  return cpn_holder_resolve(engine, campaign, user, place, ticket);
}

/* The same, once it is not PENDING: waits for a concurrent request of this user. */
enum cpn_claim_kind cpn_holder_find_settled(const coupon_engine *engine, const struct cpn_campaign *campaign,
                                            const struct cpn_user *user, struct cpn_claim_place *place,
                                            struct coupon_ticket *ticket);

/* --- batch.c ------------------------------------------------------------------------------------- */

/* coupon_try_issue_batch(), arguments checked. */
coupon_status cpn_batch_issue(coupon_engine *engine, const struct coupon_request *requests, size_t count, char *tickets,
                              size_t element_size);

/* --- keeper.c ------------------------------------------------------------------------------------ */

/* Asks for memory for the campaign's next tickets. Rarely: every CPN_KEEPER_EVERY tickets. */
void cpn_keeper_want(coupon_engine *engine, struct cpn_campaign *campaign);
#define CPN_KEEPER_EVERY 4096u

/* The clock's wish to be kept; `context` is the engine. */
void cpn_keeper_clock_asked(void *context);

/* The keeper thread; `argument` is the engine. */
void *cpn_keeper_thread(void *argument);

/* Gives back what only the keeper held, after its end. */
void cpn_keeper_fini(coupon_engine *engine);

/* --- window.c ------------------------------------------------------------------------------------ */

/* Whether the clock asks for a change of state, the word being `word`. */
static inline bool cpn_window_is_due(const struct cpn_campaign *campaign, uint64_t word, uint64_t now) {
  if (CPN_LIKELY(cpn_word_state(word) == CPN_STOCK_OPEN && campaign->spec.closes_at_ns == 0)) return false;
  switch (cpn_word_state(word)) {
    case CPN_STOCK_SCHEDULED:
      return now >= campaign->spec.opens_at_ns;
    case CPN_STOCK_OPEN:
      return campaign->spec.closes_at_ns != 0 && now >= campaign->spec.closes_at_ns;
    case CPN_STOCK_CLOSING:
      return true;
    case CPN_STOCK_CLOSED:
      break;
  }
  return false;
}

/* Makes, or helps with, one such change. COUPON_OK: look again; or a fault of cpn_engine_no_room(). */
coupon_status cpn_window_change(coupon_engine *engine, struct cpn_campaign *campaign, uint64_t word);

/* Whether a ticket may bear this time. */
static inline bool cpn_window_contains(const struct cpn_campaign *campaign, uint64_t time_ns) {
  return time_ns >= campaign->spec.opens_at_ns &&
         (campaign->spec.closes_at_ns == 0 || time_ns < campaign->spec.closes_at_ns);
}

/* --- create.c ------------------------------------------------------------------------------------ */

/* Outside read-side critical sections, as a visitor. COUPON_OK with the LSN on which it rests, COUPON_E_EXISTS,
 * COUPON_E_NOMEM, faults of the gate and of cpn_engine_no_room(). Waits for other creators. */
coupon_status cpn_engine_create(coupon_engine *engine, const struct cpn_campaign_spec *spec, uint64_t prepare,
                                uint64_t *lsn);

/* --- apply.c ------------------------------------------------------------------------------------- */

/* Live: called by the commit stage with the records [lsn, lsn + size), in order; `context` is the engine. */
void cpn_apply_live(void *context, uint64_t lsn, const unsigned char *bytes, size_t size);

/* At recovery: called with each record, in order; checks the rules of docs/FORMAT.md. */
coupon_status cpn_apply_replay(void *context, const struct cpn_record *record, struct cpn_fault *fault);

struct cpn_run; /* log/reader.h */

/* The same for a run of tickets; `*done` are before the one that breaks a rule. */
coupon_status cpn_apply_replay_run(void *context, const struct cpn_run *run, uint64_t *done, struct cpn_fault *fault);

/* --- wait.c -------------------------------------------------------------------------------------- */

/* Tells whoever commits that something was published: wakes the commit thread if it sleeps. */
void cpn_wait_published(coupon_engine *engine);

/* Ends the gathering of what is decided by now. */
void cpn_wait_flush(coupon_engine *engine);

/* Waits until `lsn` is durable, or without a deadline commits it. COUPON_OK, COUPON_NOT_FINAL, COUPON_E_FAILED. As a
 * visitor. */
coupon_status cpn_wait_final(coupon_engine *engine, uint64_t lsn, int64_t deadline);

/* Waits until a slot of `words` may fit. COUPON_OK: try again; COUPON_E_BUSY: the deadline passed; or a fault of
 * the gate. As a visitor. */
coupon_status cpn_wait_room(coupon_engine *engine, uint32_t words, int64_t deadline);

/* The commit stage's step with everything around it, when nobody else steps any more. 1, 0, or negative: the engine has
 * failed (again). */
int cpn_wait_step(coupon_engine *engine);

/* Stops the engine: the first fault counts. From the thread that commits or the one that makes checkpoints. */
void cpn_wait_fail(coupon_engine *engine, const struct cpn_fault *fault);

/* The commit thread; `argument` is the engine. */
void *cpn_wait_commit_thread(void *argument);

/* For a thread of ours, called by itself: asks the scheduler for short slices. */
void cpn_wait_ask_for_short_slices(void);
/* For one whose work nobody waits for: asks for the lowest share of a processor that others want. */
void cpn_wait_let_others_go_first(void);

/* Tells everybody who waits for finality, polls or listens that something has changed. */
void cpn_wait_tell(coupon_engine *engine);

coupon_status cpn_wait_eventfd(coupon_engine *engine, int *fd);

/* --- query.c ------------------------------------------------------------------------------------- */
/* All inside a read-side critical section, the gate being open. */

coupon_status cpn_query_info(coupon_engine *engine, uint64_t campaign, struct coupon_campaign_info *info);
void cpn_query_info_of(coupon_engine *engine, const struct cpn_campaign *campaign, struct coupon_campaign_info *info);
coupon_status cpn_query_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                               struct coupon_ticket *ticket, uint64_t *count);
/* How many tickets have their number. */
uint64_t cpn_query_numbered(const coupon_engine *engine, const struct cpn_campaign *campaign);
/* Fills in one of them. */
void cpn_query_ticket(coupon_engine *engine, const struct cpn_campaign *campaign, uint64_t number,
                      struct coupon_ticket *ticket);
/* The number of the ticket that an answer is about, as far as it is known; 0: not yet, or the log has no such
 * ticket. */
uint64_t cpn_query_number(coupon_engine *engine, const struct coupon_ticket *answer);
void cpn_query_stats(coupon_engine *engine, struct coupon_stats *stats);

/* --- recovery.c ---------------------------------------------------------------------------------- */

/* Opens the directory, for writing or only reading, and rebuilds the campaigns. On success of the writing form the
 * log goes on behind what was kept, in a life that is durable. Fills the report. */
coupon_status cpn_recovery_write(coupon_engine *engine, const char *path, struct coupon_report *report,
                                 struct cpn_fault *fault);
coupon_status cpn_recovery_read(coupon_engine *engine, const char *path, struct coupon_report *report,
                                struct cpn_fault *fault);

/* --- lifecycle.c --------------------------------------------------------------------------------- */

/* coupon_open() on another world. `options` checked and with defaults filled in. */
coupon_status cpn_engine_open(const struct cpn_env *env, const char *path, const struct coupon_options *options,
                              coupon_engine **engine, struct coupon_report *report);

/* COUPON_OK or the engine's failure; COUPON_E_CLOSED if it was closed before. */
coupon_status cpn_engine_close(coupon_engine *engine);

/* Of a closed engine. */
void cpn_engine_free(coupon_engine *engine);

/* A line for the operator, if anybody listens. */
void cpn_engine_log(const coupon_engine *engine, int32_t level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
