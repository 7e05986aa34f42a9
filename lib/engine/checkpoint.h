/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints: what the log up to one LSN amounts to, in a file, so that opening need not read all of it and what lies
 * before need not be kept.
 *
 *   checkpoint.c        when: the thread, who asks, who waits
 *   checkpoint_make.c   how: the story of one, in the order of docs/FORMAT.md
 *   checkpoint_write.c  state into chunks
 *   checkpoint_load.c   chunks into state, at the opening of a directory
 *   checkpoint_pages.c  most tickets of them, as they lie there
 *   manifest.c          what the directory says of itself, and what it does not say goes
 *   archive.c           segments that go somewhere else
 *   released.c          campaigns whose tickets are in a file instead of memory
 *
 * It is simple because tickets are appended in the log's order: the state at an LSN is a prefix of every campaign's
 * tickets, and issuing goes on behind it. Only one thread at a time makes checkpoints.
 */
#ifndef CPN_ENGINE_CHECKPOINT_H
#define CPN_ENGINE_CHECKPOINT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/event.h"
#include "base/fault.h"
#include "log/checkpoint_format.h"
#include "log/reader.h"

struct cpn_campaign;

/* Where the log has got to, the end of a commit. */
struct cpn_position {
  uint64_t lsn, segment, offset;
};

struct cpn_checkpoints {
  /* The position: written by whoever steps, after each commit; read by whoever makes checkpoints, who looks at `turn`
   * before and after. On lines of their own: whoever steps writes them all the time. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t turn; /* odd while it is being written */
  _Atomic uint64_t lsn, segment, offset;
  _Atomic uint64_t log_bytes; /* of the disk, that the log takes behind the last checkpoint at opening */
  _Atomic uint64_t due_at;    /* the log_bytes from which on a checkpoint is due; written by whoever makes them */
  _Atomic uint32_t told;      /* that one is due; whoever makes them takes it back */

  /* Counts of checkpoints: asked for up to this one; begun; ended; and the last one that was switched in. Asked is
   * raised by callers, the others are written by whoever makes them. */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t asked;
  _Atomic uint64_t begun, ended, succeeded;
  _Atomic int32_t status;                                       /* of the last that ended */
  _Atomic uint64_t made, failed, last_lsn, last_ns, last_bytes; /* for statistics */
  struct cpn_event ask;                                         /* for the thread: asked for, due, or stop */
  struct cpn_event done;                                        /* one has ended; or the engine fails or closes */
  pthread_t thread;
  bool has_thread;

  /* Of whoever makes them. */
  struct cpn_manifest manifest; /* as it is durable */
  /* The newest that is known to be good, because it was written or loaded in this life. number 0: none. */
  struct {
    uint64_t number, segment;
  } good;
  uint64_t next_number;
  uint64_t lowest_segment; /* that still exists */
  int archive;             /* directory handle, or -1 */
  int archive_lock;        /* file handle, or -1 */
  bool drops;              /* there may be tickets files that wait for the older checkpoint to say "dropped" */
  int64_t slice_ns;        /* CLOCK_MONOTONIC: since when it works without a rest */
  uint64_t slice_lsn;      /* where the log was then */
  uint64_t hurry_at;       /* the log_bytes from which on this checkpoint takes no rest */

  /* Campaigns that shall be released or dropped by the next checkpoints: raised by callers, lowered by whoever makes
   * them. */
  _Atomic uint64_t moves;

  /* While a directory is opened. */
  struct cpn_fault unreadable; /* why a newer one was passed over that is perhaps sound; status COUPON_OK: none was */
};

/* --- checkpoint.c -------------------------------------------------------------------------------- */

void cpn_checkpoints_init(coupon_engine *engine);

/* At the end of opening for writing: the reader has said where the log goes on. */
void cpn_checkpoints_begin(coupon_engine *engine, const struct cpn_reader *reader);

/* After each commit, by whoever steps. */
void cpn_checkpoint_note(coupon_engine *engine);
struct cpn_position cpn_checkpoint_position(const coupon_engine *engine);

/* Fifteen letters are all that a thread can have. */
#define CPN_CHECKPOINT_THREAD "coupon-checkpt"

/* Starts and, if there is one, ends the thread. 0 or -errno. */
CPN_MUST_CHECK int cpn_checkpoints_start(coupon_engine *engine);
void cpn_checkpoints_stop(coupon_engine *engine);

/* Makes one if one is asked for or due. For engines without a thread. True: it did. */
bool cpn_checkpoint_step(coupon_engine *engine);

/* coupon_checkpoint(), as a visitor. */
coupon_status cpn_checkpoint_ask(coupon_engine *engine, int64_t deadline);

/* --- released.c ---------------------------------------------------------------------------------- */

/* coupon_release() and coupon_drop(), as a visitor. `place` is enum cpn_campaign_place. */
coupon_status cpn_released_move(coupon_engine *engine, uint64_t campaign, uint32_t place, int64_t deadline);

/* What coupon_read_tickets() and coupon_read_lookup() do where the tickets are in a file, as visitors.
 * COUPON_E_RELEASED: they are dropped. */
coupon_status cpn_released_tickets(coupon_engine *engine, uint64_t campaign, uint64_t from, char *tickets,
                                   size_t element_size, size_t capacity, size_t *count);
coupon_status cpn_released_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user, const unsigned char *uuid,
                                  struct coupon_ticket *ticket, uint64_t *count);

/* The number of the ticket with this LSN in such a file. COUPON_OK, with 0 where the tickets are dropped;
 * COUPON_NOT_FOUND: there is no such ticket; or why the file cannot be read. */
coupon_status cpn_released_number(coupon_engine *engine, const struct cpn_campaign *campaign, uint64_t lsn,
                                  uint64_t *number);

/* Whether the tickets file that a checkpoint speaks of is there, by its first block. */
CPN_MUST_CHECK coupon_status cpn_released_check(coupon_engine *engine, const unsigned char *identity,
                                                const struct cpn_campaign *campaign, struct cpn_fault *fault);

/* --- checkpoint_make.c --------------------------------------------------------------------------- */

/* One checkpoint, from its LSN to the tidying. The engine may have been stopped by it: see docs/DESIGN.md. */
CPN_MUST_CHECK coupon_status cpn_checkpoint_make(coupon_engine *engine, struct cpn_fault *fault);

/* Whether making is to be given up: the engine closes or has failed. */
bool cpn_checkpoint_gives_up(const coupon_engine *engine);

/* Between two chunks, by whoever makes one: sleeps for a while now and then as long as others issue, because on
 * processors that are all busy its work, and what the disk says of it, takes them from calls. */
void cpn_checkpoint_rest(coupon_engine *engine);

/* --- checkpoint_write.c -------------------------------------------------------------------------- */

struct cpn_chunk_writer;

/* Everything as of header->lsn, into chunks; fills campaigns and tickets in. 0, -errno, or -ECANCELED: given up. */
CPN_MUST_CHECK int cpn_checkpoint_write(coupon_engine *engine, struct cpn_chunk_writer *writer,
                                        struct cpn_checkpoint_header *header);

/* Tickets 1 … `count` of a campaign. */
CPN_MUST_CHECK int cpn_checkpoint_write_tickets(coupon_engine *engine, struct cpn_chunk_writer *writer,
                                                const struct cpn_campaign *campaign, uint64_t count);

/* How many of its tickets lie before `lsn`. Inside a read-side critical section, of a live campaign. */
uint64_t cpn_checkpoint_tickets_at(const struct cpn_campaign *campaign, uint64_t lsn);

/* --- checkpoint_load.c --------------------------------------------------------------------------- */

/* Loads the newest checkpoint that is good and can be read, of those whose number is less than `below`, or none if the
 * log is there from its beginning, and tells the reader where to go on. Notes in the report what it passed over. */
CPN_MUST_CHECK coupon_status cpn_checkpoint_open(coupon_engine *engine, struct cpn_reader *reader, uint64_t below,
                                                 struct coupon_report *report, struct cpn_fault *fault);

/* Notes that the checkpoint is passed over, in which `fault` was found, which names no file yet. */
void cpn_checkpoint_distrust(coupon_engine *engine, uint64_t number, struct coupon_report *report,
                             struct cpn_fault *fault);

/* Forgets everything that was read, to read again. */
CPN_MUST_CHECK coupon_status cpn_recovery_begin_again(coupon_engine *engine, struct cpn_fault *fault);

/* --- manifest.c ---------------------------------------------------------------------------------- */

/* Under a temporary name, synced, renamed, the directory synced. 0 or -errno; `*in_doubt`: it may or may not have got
 * its name for good. */
CPN_MUST_CHECK int cpn_manifest_write(coupon_engine *engine, const struct cpn_manifest *manifest, bool *in_doubt);

/* A directory of a first segment and a manifest. */
CPN_MUST_CHECK coupon_status cpn_manifest_create(coupon_engine *engine, struct cpn_manifest *manifest,
                                                 struct cpn_fault *fault);

/* At opening for writing, of a last segment without a frame: frames go into a segment when its entry is durable, so one
 * without any may be one whose directory sync failed, and another sync would say that all is well. Its entry is changed
 * once more, for the sync that follows (recovery.c, repair()); of a first segment, that of the manifest too. */
CPN_MUST_CHECK coupon_status cpn_manifest_name_again(coupon_engine *engine, struct cpn_reader *reader,
                                                     struct cpn_fault *fault);

/* Files that a crash may have left half made. */
CPN_MUST_CHECK coupon_status cpn_manifest_remove_unfinished(coupon_engine *engine, struct cpn_fault *fault);

/* At opening for writing, when the state is known: files that the manifest does not name any more. Segments that it
 * does name, and that are `*missing` where opening did not have to look, are told to the operator. */
CPN_MUST_CHECK coupon_status cpn_manifest_remove_unnamed(coupon_engine *engine, uint64_t *missing,
                                                         struct cpn_fault *fault);

/* Segments before `first`, from the lowest on: away, or into the archive. Notes how far it got. 0 or -errno; a fault of
 * the archive is told to the operator here. */
int cpn_manifest_remove_segments(coupon_engine *engine, uint64_t first);

/* --- archive.c ----------------------------------------------------------------------------------- */

#define CPN_ARCHIVE_TEMPORARY_NAME "archive.tmp"

/* Opens and locks the archive, making it if need be; without one does nothing. */
CPN_MUST_CHECK coupon_status cpn_archive_open(coupon_engine *engine, struct cpn_fault *fault);
void cpn_archive_close(coupon_engine *engine);

/* Sees to it that the segment is in the archive, durably. 0 or -errno; -EEXIST: something else has its name there. */
CPN_MUST_CHECK int cpn_archive_put(coupon_engine *engine, uint64_t segment);

#endif
