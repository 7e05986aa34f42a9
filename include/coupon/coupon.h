/* SPDX-License-Identifier: Apache-2.0 */
/**
 * libcoupon: issues limited coupons first come, first served, in memory, with a write-ahead log.
 *
 * Caveats first
 * -------------
 * - A directory belongs to one engine at a time, in one process. Others may read it (`read_only`).
 * - After fork() an engine belongs to the parent alone: in the child every call answers
 *   COUPON_E_FORKED, and there is nothing to clean up.
 * - coupon_destroy() frees the handle. No other call may be running, or be made later. Until then
 *   every call is safe from any thread, at the same time as any other; no thread is ever registered by the
 *   caller. Nobody else may touch what a call fills until it returns. None may be made in a signal handler.
 * - An answer is *decided* at once and *final* when the log record it rests on is durable. Whoever
 *   tells a customer about an answer that is not final may have to take it back after a crash.
 * - A failed write or sync is never retried: the engine stops for good and says so.
 *
 * Conventions
 * -----------
 * - A `coupon_status` is negative for a fault and zero or positive for an answer of the business.
 *   Numbers are never reused. coupon_status_name() and coupon_strerror() put them into words.
 * - Times are UTC nanoseconds since 1970. Deadlines are nanoseconds of CLOCK_MONOTONIC, see
 *   coupon_deadline_after(); COUPON_POLL never waits and COUPON_FOREVER has no end.
 * - An LSN (log sequence number) is a position in the log, in bytes: that of the byte past a
 *   record. An answer that rests on LSN l is final when l <= coupon_durable_lsn().
 * - Structs that cross this interface begin with `size`, set by the caller to sizeof the struct it
 *   was compiled with (the ..._INIT macros do). Input structs of a later version are refused
 *   (COUPON_E_INVAL) if a field unknown here is not zero. Arrays are passed with the size of an element. A size
 *   above 1 MiB, or below that of the struct here, is refused as one that was never set. struct coupon_request alone
 *   has no size, and stays as it is.
 * - Strings and structs that are passed in are read, or copied, before the call returns.
 * - Calls preserve errno, do not act on pthread_cancel(), install no handler, and print nothing. While one syncs,
 *   signals to its thread wait: a sync that is interrupted is one that has failed. Cancellation of the asynchronous
 *   type, which POSIX allows in next to no function, is held off by calls that may wait, not by the others.
 * - "Decides" below means: does not wait for the disk, nor for another caller, except for a
 *   concurrent request of the same user in the same campaign.
 * - A user is a number or 16 bytes (a UUID): a campaign says which at its creation. Calls whose name ends
 *   in `_uuid` are those without for users of 16 bytes; either form in a campaign of the other kind
 *   answers COUPON_E_USER_KIND and changes nothing.
 * - The time of issue is the wall clock as a thread of the library reads it, every millisecond while
 *   there are calls: it lags by that much, by more where that thread waits for a processor, and never
 *   goes back. With a `clock` of the caller's own it is what that says.
 *
 * Which faults any call on an engine may return, in this order of precedence: COUPON_E_INVAL and COUPON_E_STOCK_RANGE
 * (a bad argument), COUPON_E_FORKED, COUPON_E_CLOSED, COUPON_E_FAILED. They are not repeated below. Of a failed engine
 * only coupon_read_stats() tells more; what is left to do is coupon_close() and coupon_destroy().
 */
#ifndef COUPON_COUPON_H
#define COUPON_COUPON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define COUPON_API __attribute__((visibility("default")))
#define COUPON_MUST_CHECK __attribute__((warn_unused_result))
#else
#define COUPON_API
#define COUPON_MUST_CHECK
#endif

#define COUPON_VERSION_MAJOR 0
#define COUPON_VERSION_MINOR 1
#define COUPON_VERSION_PATCH 0
#define COUPON_VERSION_STRING "0.1.0"

/* ------------------------------------------------------------------------------------------------
 * Statuses
 * --------------------------------------------------------------------------------------------- */

/** An answer (zero or positive) or a fault (negative). */
typedef int32_t coupon_status;

enum {
  /* Answers. */
  COUPON_OK = 0,             /**< done; for lookups: found */
  COUPON_ISSUED = 1,         /**< the user has this ticket now; with a limit, none before */
  COUPON_ALREADY_ISSUED = 2, /**< the user holds the limit; the ticket is the original one */
  COUPON_SOLD_OUT = 3,       /**< no unit is left */
  COUPON_NOT_OPEN = 4,       /**< the campaign opens later */
  COUPON_ENDED = 5,          /**< the campaign is closed */
  COUPON_NO_CAMPAIGN = 6,    /**< no campaign has this id */
  COUPON_NOT_FOUND = 7,      /**< the user has no ticket in this campaign */
  COUPON_NOT_FINAL = 8,      /**< the deadline passed before the answer became final */

  /* Faults. */
  COUPON_E_INVAL = -1,        /**< an argument is NULL, out of range, or a struct of unknown size */
  COUPON_E_NOMEM = -2,        /**< memory, or `max_memory_bytes`, is used up; nothing was changed */
  COUPON_E_BUSY = -3,         /**< the log buffer is full; nothing was changed; ask again */
  COUPON_E_CLOSED = -4,       /**< coupon_close() was called */
  COUPON_E_FORKED = -5,       /**< the engine belongs to the parent process */
  COUPON_E_FAILED = -6,       /**< the engine stopped at an earlier fault; coupon_read_stats() tells */
  COUPON_E_IO = -7,           /**< the operating system reported an I/O error */
  COUPON_E_NO_SPACE = -8,     /**< the disk, or the quota, is full */
  COUPON_E_CORRUPT = -9,      /**< stored data that was durable is damaged or missing */
  COUPON_E_VERSION = -10,     /**< written by a newer version than this one can read */
  COUPON_E_LOCKED = -11,      /**< another engine has the directory open, or the archive */
  COUPON_E_EXISTS = -12,      /**< the id is taken by a campaign with another description */
  COUPON_E_STOCK_RANGE = -13, /**< stock above COUPON_STOCK_MAX */
  COUPON_E_IN_CALLBACK = -14, /**< a call that waits, made inside one of the library's callbacks */
  COUPON_E_READ_ONLY = -15,   /**< the engine was opened with `read_only` */
  COUPON_E_ACCESS = -16,      /**< no permission; no such directory; or something else has a file's name */
  COUPON_E_THREAD = -17,      /**< the library's thread, or a kernel object it needs, was refused */
  COUPON_E_LOG_FULL = -18,    /**< the log has reached its last LSN, COUPON_LSN_MAX */
  COUPON_E_USER_KIND = -19,   /**< the campaign's users are of the other kind: numbers, or 16 bytes */
  COUPON_E_RELEASED = -20,    /**< the campaign's tickets are not in memory any more: coupon_read_tickets() has them */
  COUPON_E_NOT_CLOSED = -21   /**< only what has closed for good can be released, and only what is released dropped */
};

/** The constant's name, e.g. "COUPON_SOLD_OUT"; "COUPON_?" for a number that is none. Never NULL. */
COUPON_API const char *coupon_status_name(coupon_status status);

/** A short sentence in English for a human, without a full stop. Never NULL; nobody's to free. */
COUPON_API const char *coupon_strerror(coupon_status status);

/** The version of the library that is linked, e.g. "0.1.0", which may differ from the header's. */
COUPON_API const char *coupon_version(void);

/* ------------------------------------------------------------------------------------------------
 * Limits and time
 * --------------------------------------------------------------------------------------------- */

#define COUPON_STOCK_MAX (UINT64_C(1) << 40) /**< units of one campaign */
#define COUPON_LSN_MAX (UINT64_C(1) << 48)   /**< bytes of one log */
#define COUPON_NAME_MAX 255                  /**< bytes of a campaign's name, without the final zero */
#define COUPON_CAMPAIGNS_MAX \
  (UINT32_C(1) << 24) /**< campaigns of one directory, dropped ones too; beyond: COUPON_E_NOMEM */

#define COUPON_POLL INT64_C(0)   /**< a deadline that has passed: answer at once */
#define COUPON_FOREVER INT64_MAX /**< a deadline that never passes */

/** The deadline `timeout_ns` from now; negative timeouts count as 0, and what lies beyond the clock's end is
 *  COUPON_FOREVER. Never fails. */
COUPON_API int64_t coupon_deadline_after(int64_t timeout_ns);

/* ------------------------------------------------------------------------------------------------
 * Engine
 * --------------------------------------------------------------------------------------------- */

/** Opaque. Made by coupon_open(), ended by coupon_close(), freed by coupon_destroy(). */
typedef struct coupon_engine coupon_engine;

/** When an answer counts as final. */
enum {
  COUPON_SYNC = 0,    /**< its record survives a power loss (fdatasync returned) */
  COUPON_WRITTEN = 1, /**< its record survives the process (write returned), not a power loss */
  COUPON_NONE = 2     /**< in memory only: no directory, no log; same decisions, numbers and times. Every answer is
                           final at once, has its number, and rests on LSN 0 */
};

/** Levels for the log callback. */
enum { COUPON_LOG_ERROR = 0, COUPON_LOG_WARNING = 1, COUPON_LOG_INFO = 2 };

/**
 * Memory for everything that grows with campaigns and tickets. `alloc` returns `size` zeroed bytes aligned to
 * `alignment` (a power of two, at most 64), or NULL. `free` gets the same `size`. Both are called from any calling
 * thread and from threads of the library, several at once, and must not call into the engine.
 */
struct coupon_allocator {
  size_t size; /**< sizeof(struct coupon_allocator) */
  void *(*alloc)(void *context, size_t size, size_t alignment);
  void (*free)(void *context, void *pointer, size_t size);
  void *context;
};

#define COUPON_ALLOCATOR_INIT \
  { sizeof(struct coupon_allocator), NULL, NULL, NULL }

/** Callbacks must not wait on the engine; those that would get COUPON_E_IN_CALLBACK. Several threads may be in one at a
 *  time. Strings that they are given are the library's, and end with the call. */
struct coupon_callbacks {
  size_t size; /**< sizeof(struct coupon_callbacks) */
  /** A line for the operator's log, without a line feed. `level` is COUPON_LOG_…. Any thread. */
  void (*log)(void *context, int32_t level, const char *message);
  /** The wall clock, UTC nanoseconds since 1970. Any thread, often; NULL: CLOCK_REALTIME. */
  uint64_t (*clock)(void *context);
  /** Recovery: `done` of `total` bytes of checkpoint and log read, and of what has to be done with them then, counted
   *  as so many bytes more; the total is an estimate until the last call. `seconds_left`: of that, at the pace so far;
   *  0 in the last call. The opening thread, before coupon_open() returns, once per piece of a checkpoint (at most 1
   *  MiB), per segment, and for some 100,000 tickets. May begin again where a checkpoint is damaged. */
  void (*progress)(void *context, uint64_t done, uint64_t total, double seconds_left);
  /** Everything up to `durable_lsn` is final; or the engine stopped with `fault` (else COUPON_OK). The commit thread
   *  (with this callback no caller steps in its place), and for the first and last record of a life the thread that
   *  opens or closes, once per group commit; or the thread that makes checkpoints, once, if it is what stops the
   *  engine. Keep it short: the next commit waits for it. With COUPON_NONE, where nothing is ever not final, it is not
   *  called. */
  void (*durable)(void *context, uint64_t durable_lsn, coupon_status fault);
  void *context;
};

#define COUPON_CALLBACKS_INIT \
  { sizeof(struct coupon_callbacks), NULL, NULL, NULL, NULL, NULL }

struct coupon_options {
  size_t size;                       /**< sizeof(struct coupon_options) */
  int32_t durability;                /**< COUPON_SYNC (default), COUPON_WRITTEN or COUPON_NONE */
  int32_t read_only;                 /**< 1: a snapshot of what is final now, also beside an owner; takes no
                                          lock, writes nothing; issuing: COUPON_E_READ_ONLY */
  uint64_t segment_size_bytes;       /**< of each new log file; 4 KiB … 4 GiB, a multiple of 4 KiB; 0: 64 MiB */
  uint64_t log_buffer_bytes;         /**< between decision and write; 4 KiB … 1 GiB, a power of two; 0: 4 MiB */
  uint64_t commit_delay_ns;          /**< let a group gather this long before it is written, or until coupon_flush();
                                          at most 1 s; 0: none */
  uint64_t max_memory_bytes;         /**< for campaigns, claims and tickets; beyond: COUPON_E_NOMEM; 0: no limit */
  struct coupon_allocator allocator; /**< both functions or neither */
  struct coupon_callbacks callbacks; /**< each may be NULL */
  /* A struct that ends here is accepted, too: it is that of programs compiled before there were checkpoints. */
  uint64_t checkpoint_log_bytes; /**< make a checkpoint when the log has taken so much of the disk since the last one
                                      began; UINT64_MAX: only when coupon_checkpoint() asks; 0: 1 GiB */
  const char *archive_dir;       /**< where log segments go that checkpoints have made superfluous; one directory for
                                      each engine, made if it does not exist, and locked (COUPON_E_LOCKED: another
                                      engine has it); NULL: they are removed. Something else under a segment's name, as
                                      when a directory was brought back from a copy and goes on, is not touched: that
                                      segment and those behind it stay, and the log callback is told */
};

#define COUPON_OPTIONS_INIT \
  { sizeof(struct coupon_options), COUPON_SYNC, 0, 0, 0, 0, 0, COUPON_ALLOCATOR_INIT, COUPON_CALLBACKS_INIT, 0, NULL }

/** What coupon_open() found: filled on success and on failure. */
struct coupon_report {
  size_t size;            /**< sizeof(struct coupon_report) */
  coupon_status status;   /**< what coupon_open() returned */
  int32_t os_error;       /**< the errno behind it, or 0 */
  uint64_t records;       /**< log records replayed */
  uint64_t tickets;       /**< in all campaigns, from the log or a checkpoint */
  uint64_t recovered_lsn; /**< the end of what was kept */
  uint64_t cut_bytes;     /**< bytes behind it that a crash left unfinished; they were never final */
  uint64_t offset;        /**< where in `file` the damage, or the cut, begins */
  char file[64];          /**< a file's name within the directory, or "" */
  char message[192];      /**< one sentence: what, and what to do */
  /* A struct that ends here is accepted, too: it is that of programs compiled before there were checkpoints. */
  uint64_t checkpoint;             /**< number of the checkpoint that was loaded; 0: none, the whole log was read */
  uint64_t checkpoint_lsn;         /**< what lies before is from the checkpoint, what lies behind from the log */
  uint64_t checkpoint_tickets;     /**< of `tickets`, those from the checkpoint */
  coupon_status checkpoint_status; /**< a newer checkpoint was passed over, with nothing lost: COUPON_E_CORRUPT, it is
                                        damaged or missing; COUPON_E_IO, the disk did not give it back. Copy the
                                        directory before it is repeated */
  int32_t reserved;                /**< 0 */
  char checkpoint_file[64];        /**< the file that was passed over, or "" */
};

#define COUPON_REPORT_INIT                                                            \
  {                                                                                   \
    sizeof(struct coupon_report), 0, 0, 0, 0, 0, 0, 0, {0}, {0}, 0, 0, 0, 0, 0, { 0 } \
  }

/**
 * Opens an engine on `directory`, creating it (mode 0700; not its parents) if it does not exist, or recovering what
 * is there. With COUPON_NONE `directory` must be NULL; with `read_only` it has to exist.
 *
 * Blocks while it reads the newest checkpoint that is good and the log behind it, and syncs: when it returns,
 * everything it recovered is durable. `options` may be NULL for the defaults. `report` may be NULL. On success
 * `*engine` is the caller's, to be ended by coupon_close() and coupon_destroy(); on failure it is NULL.
 *
 * @return COUPON_OK; COUPON_E_INVAL, COUPON_E_ACCESS, COUPON_E_LOCKED, COUPON_E_LOG_FULL, COUPON_E_CORRUPT (with
 * file and offset in the report), COUPON_E_VERSION, COUPON_E_IO, COUPON_E_NO_SPACE, COUPON_E_NOMEM, COUPON_E_THREAD.
 * @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_open(const char *directory, const struct coupon_options *options,
                                                       coupon_engine **engine, struct coupon_report *report);

/**
 * Ends the calls in progress (those that wait for finality get it, those that wait for room get
 * COUPON_E_CLOSED), writes and syncs what is left, and gives up the directory. Blocks until all of
 * that is done. Later calls answer COUPON_E_CLOSED, this one too.
 *
 * Also waits for a grace period, so for every call in progress: milliseconds where one lost its processor.
 *
 * @return COUPON_OK, or COUPON_E_FAILED: the engine has stopped at a fault, now or earlier, and only the next
 * opening tells what became of answers that were not final; the engine is closed in either case.
 * COUPON_E_IN_CALLBACK: nothing was done.
 * @since 0.1.0
 */
COUPON_API coupon_status coupon_close(coupon_engine *engine);

/**
 * Frees the engine, closing it first if need be. No call on the engine may be in progress or follow.
 * NULL is allowed and does nothing. @return COUPON_OK; COUPON_E_FORKED in a child of fork(), and
 * COUPON_E_IN_CALLBACK in a callback, where nothing is freed. @since 0.1.0
 */
COUPON_API coupon_status coupon_destroy(coupon_engine *engine);

#define COUPON_SYNC_BUCKETS 24 /**< of coupon_stats' histogram: up to 4 seconds, and beyond */

struct coupon_stats {
  size_t size;              /**< sizeof(struct coupon_stats) */
  coupon_status failure;    /**< what stopped the engine, or COUPON_OK */
  int32_t failure_os_error; /**< the errno behind it, or 0 */
  int32_t durability;       /**< as in the options */
  int32_t read_only;        /**< as in the options */
  uint64_t campaigns;       /**< in all their states */
  uint64_t tickets;         /**< numbered so far, over all campaigns */
  uint64_t reserved_lsn;    /**< end of what callers have reserved */
  uint64_t durable_lsn;     /**< end of what is final */
  uint64_t commits;         /**< groups made final since opening */
  uint64_t syncs;           /**< fdatasync calls since opening */
  uint64_t bytes_written;   /**< to log files since opening */
  uint64_t voids;           /**< reserved and given up slots since opening */
  uint64_t segments;        /**< log files */
  uint64_t life;            /**< how often the directory was opened for writing, this time included */
  uint64_t memory_bytes;    /**< held now of what max_memory_bytes limits */
  uint64_t time_ns;         /**< the last decision time */
  uint64_t sync_time_ns;    /**< spent in syncs of log files since opening */
  /** How long they took: element i counts those of less than 2^i microseconds that no element before it
   *  counts; the last one counts all that took longer. */
  uint64_t sync_counts[COUPON_SYNC_BUCKETS];
  /* A struct that ends here is accepted, too: it is that of programs compiled before there were checkpoints. */
  uint64_t checkpoints;            /**< made since opening */
  uint64_t checkpoints_failed;     /**< since opening; each left the ones before in place */
  uint64_t checkpoint_lsn;         /**< of the newest: opening reads the log from here on; 0: there is none */
  uint64_t checkpoint_time_ns;     /**< when the newest was begun, a decision time */
  uint64_t checkpoint_bytes;       /**< size of the newest's file */
  coupon_status checkpoint_status; /**< of the last attempt since opening */
  int32_t reserved;                /**< 0 */
};

#define COUPON_STATS_INIT \
  { sizeof(struct coupon_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}, 0, 0, 0, 0, 0, 0, 0 }

/** Numbers for an operator. Answers on a failed engine too. Never blocks; the fields are read one by
 *  one, so they may be some calls apart. With COUPON_NONE its cost grows with the campaigns, else not.
 *  @return COUPON_OK. @since 0.1.0 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_read_stats(coupon_engine *engine, struct coupon_stats *stats);

/**
 * Makes a checkpoint: a file of all campaigns and tickets, so that the next opening reads it instead of the log before
 * it, and that log can go. A thread of the library does it beside the issuing, which it does not hold up; without this
 * call it does it by itself (`checkpoint_log_bytes`). The two newest checkpoints are kept, and the log from the older
 * one on: if the newest is found damaged, opening takes the older and loses nothing.
 *
 * Waits until one that began after the call, and so has everything that was final then, is durable and takes its
 * place, or the deadline passes; it then goes on, as it does with COUPON_POLL, which answers COUPON_NOT_FINAL. Takes
 * about as long as the disk needs for the file: some 10 bytes a ticket, 18 with users of 16 bytes; and several times
 * that while others issue, because it rests so that their calls are not held up, unless the log grows fast.
 *
 * A checkpoint that fails, for want of space, say, leaves those before as they are, and the engine goes on; it is
 * tried again when asked for, or when the log has grown as much once more. Only where a sync of the directory (or,
 * with COUPON_WRITTEN, of a log segment) fails does the engine stop, as it does for the log's own.
 *
 * @return COUPON_OK; COUPON_NOT_FINAL: the deadline has passed; COUPON_E_NO_SPACE, COUPON_E_IO, COUPON_E_NOMEM,
 * COUPON_E_ACCESS, COUPON_E_THREAD: it failed; COUPON_E_READ_ONLY; COUPON_E_INVAL: with COUPON_NONE there is no
 * directory; COUPON_E_IN_CALLBACK unless the deadline is COUPON_POLL. @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_checkpoint(coupon_engine *engine, int64_t deadline);

/* ------------------------------------------------------------------------------------------------
 * Campaigns
 * --------------------------------------------------------------------------------------------- */

/** What identifies a campaign's users. */
enum {
  COUPON_USER_U64 = 0, /**< any number */
  COUPON_USER_UUID = 1 /**< any 16 bytes */
};

#define COUPON_UUID_SIZE 16

struct coupon_campaign_spec {
  size_t size;           /**< sizeof(struct coupon_campaign_spec) */
  uint64_t id;           /**< any value */
  uint64_t stock;        /**< units to give away, 0 … COUPON_STOCK_MAX */
  uint64_t user_limit;   /**< tickets per user: 1, or 0 for no limit; more is COUPON_E_INVAL yet */
  uint64_t opens_at_ns;  /**< first moment at which tickets are issued; 0: at once */
  uint64_t closes_at_ns; /**< first moment at which none are issued any more, > opens_at_ns; 0: never */
  const char *name;      /**< at most COUPON_NAME_MAX bytes, any but zero; NULL: "" */
  /** Tickets to make memory ready for before the call returns: allocated and touched, so that no request ever waits
   *  for it; some 20 to 30 bytes each, which take their time to touch. More than the stock counts as the stock. 0:
   *  none; memory grows with the tickets, ahead of them where a thread of the library finds the time. Not part of
   *  the description: it is not recorded, and may differ when a campaign is created again. */
  uint64_t prepare;
  int32_t user_kind; /**< COUPON_USER_U64 or COUPON_USER_UUID */
  int32_t reserved;  /**< 0 */
};

#define COUPON_CAMPAIGN_SPEC_INIT \
  { sizeof(struct coupon_campaign_spec), 0, 0, 1, 0, 0, NULL, 0, COUPON_USER_U64, 0 }

/** A campaign's state. */
enum { COUPON_STATE_SCHEDULED = 0, COUPON_STATE_OPEN = 1, COUPON_STATE_SOLD_OUT = 2, COUPON_STATE_CLOSED = 3 };

/** Where a campaign's tickets are. */
enum {
  COUPON_PLACE_MEMORY = 0,   /**< and in the log and checkpoints */
  COUPON_PLACE_RELEASED = 1, /**< in a file of their own: coupon_release() */
  COUPON_PLACE_DROPPED = 2   /**< nowhere any more: coupon_drop() */
};

struct coupon_campaign_info {
  size_t size; /**< sizeof(struct coupon_campaign_info) */
  uint64_t id; /**< this, and what has no comment, as in the spec */
  uint64_t stock;
  uint64_t issued; /**< decided so far, final or not; issued + remaining = stock */
  uint64_t remaining;
  uint64_t user_limit;
  uint64_t opens_at_ns;
  uint64_t closes_at_ns;
  uint64_t created_lsn;           /**< the LSN on which its creation rests */
  int32_t state;                  /**< COUPON_STATE_…, at the decision time of this call */
  uint32_t index;                 /**< 0, 1, 2 … in order of creation */
  char name[COUPON_NAME_MAX + 1]; /**< ends with a zero */
  int32_t user_kind;              /**< COUPON_USER_U64 or COUPON_USER_UUID */
  int32_t place;                  /**< COUPON_PLACE_…: where its tickets are */
  uint64_t claim_bytes;           /**< memory that its claims hold, room for more included */
  uint64_t ticket_bytes;          /**< memory that its tickets hold, room for more included */
};

#define COUPON_CAMPAIGN_INFO_INIT \
  { sizeof(struct coupon_campaign_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0}, 0, 0, 0, 0 }

/**
 * Creates a campaign, or finds that one with the same id and the same description (everything in `spec` but `prepare`)
 * exists, and waits until that is final or the deadline passes. Any stock creates at once, unless `prepare` asks for
 * more: memory grows with tickets; the first may take 1 MiB at once. May wait for other creators, whatever the
 * deadline.
 *
 * @return COUPON_OK: it exists, and that is final; COUPON_NOT_FINAL: it exists, but the deadline has
 * passed before that was final; COUPON_E_EXISTS: the id has another description; COUPON_E_STOCK_RANGE;
 * COUPON_E_INVAL (limit, window, name, kind); COUPON_E_NOMEM; COUPON_E_BUSY: no room in the log buffer by the
 * deadline; COUPON_E_LOG_FULL; COUPON_E_READ_ONLY; COUPON_E_IN_CALLBACK, whatever the deadline.
 * @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_create(coupon_engine *engine, const struct coupon_campaign_spec *spec,
                                                         int64_t deadline);

/** A campaign's numbers now, wherever its tickets are. Waits for nobody. With a log units count in the order in which
 *  they are taken, tickets are numbered in the order of their records, and where two requests cross the orders differ
 *  until both are decided. @return COUPON_OK, COUPON_NO_CAMPAIGN. @since 0.1.0 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_info(coupon_engine *engine, uint64_t campaign,
                                                       struct coupon_campaign_info *info);

/**
 * The campaigns in order of creation, a page at a time: fills `infos` (an array of `capacity`
 * elements of `element_size` bytes, which stands in for their `size`; at least one) from index `from`, and sets
 * `*count`. A page of fewer than `capacity` is the last. Each element is as coupon_info() would fill it at its moment.
 * Waits for nobody. @return COUPON_OK. @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_list(coupon_engine *engine, uint64_t from,
                                                       struct coupon_campaign_info *infos, size_t element_size,
                                                       size_t capacity, size_t *count);

/* ------------------------------------------------------------------------------------------------
 * Issuing
 * --------------------------------------------------------------------------------------------- */

enum {
  COUPON_TICKET_FINAL = 1 /**< in `flags`: the answer is durable as the engine's durability has it */
};

/** An answer in full. With a refusal, only campaign, user or uuid, lsn, time_ns, flags and answer mean something;
 *  beside a fault none but size, and in a batch answer, which is the fault. */
struct coupon_ticket {
  size_t size;       /**< sizeof(struct coupon_ticket) */
  uint64_t campaign; /**< id */
  uint64_t user;     /**< of a campaign whose users are numbers; 0 in one whose users are 16 bytes */
  uint64_t number;   /**< 1, 2, 3 … in the campaign; 0: the ticket is not final, and has none yet (see coupon_wait) */
  uint64_t lsn;      /**< the answer is final when this is durable; 0: it rests on no record, and is final */
  uint64_t time_ns;  /**< of issue, or of the refusal; times of issue never fall along the numbers */
  uint32_t flags;    /**< COUPON_TICKET_FINAL */
  int32_t answer;    /**< what was decided: COUPON_ISSUED, COUPON_SOLD_OUT …; of a ticket that was read: COUPON_OK */
  unsigned char uuid[COUPON_UUID_SIZE]; /**< of a campaign whose users are 16 bytes; else left as it was */
};

#define COUPON_TICKET_INIT                                   \
  {                                                          \
    sizeof(struct coupon_ticket), 0, 0, 0, 0, 0, 0, 0, { 0 } \
  }

/**
 * "One of these, for me": decides, never waits for the disk.
 *
 * The answer is linearizable. It is final when `ticket->lsn` is durable: coupon_wait(), the `durable`
 * callback, coupon_eventfd() or coupon_durable_lsn() tell. In every state of the campaign, a user who
 * holds the limit is told COUPON_ALREADY_ISSUED, with the original ticket; only then come
 * COUPON_NOT_OPEN, COUPON_ENDED and COUPON_SOLD_OUT. A refused user may ask again.
 *
 * Costs a few shared atomic operations; a refusal after selling out only reads. No unit is ever
 * held back by a request that fails.
 *
 * @return COUPON_ISSUED, COUPON_ALREADY_ISSUED, COUPON_SOLD_OUT, COUPON_NOT_OPEN, COUPON_ENDED, COUPON_NO_CAMPAIGN;
 * COUPON_E_NOMEM, COUPON_E_BUSY (nothing was changed, ask again), COUPON_E_LOG_FULL (asking again does not help);
 * COUPON_E_READ_ONLY, COUPON_E_USER_KIND, COUPON_E_RELEASED.
 * @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_try_issue(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                                            struct coupon_ticket *ticket);

/** As coupon_try_issue(), for a user of COUPON_UUID_SIZE bytes. @since 0.1.0 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_try_issue_uuid(coupon_engine *engine, uint64_t campaign,
                                                                 const unsigned char *uuid,
                                                                 struct coupon_ticket *ticket);

/** One request of a batch. Which of `user` and `uuid` counts is the campaign's to say; the other is not looked at. */
struct coupon_request {
  uint64_t campaign;
  uint64_t user;
  unsigned char uuid[COUPON_UUID_SIZE];
};

/**
 * Decides `count` requests, of any campaigns, as coupon_try_issue() would one by one, in a fraction of the time: what
 * they need of memory is fetched for all before the first is decided, and their records are reserved at
 * once. tickets[i] (an array of `count` elements of `element_size` bytes, which stands in for their `size`)
 * is the answer to requests[i], and its `answer` the status: an answer, or a fault of this request alone
 * (COUPON_E_NOMEM, COUPON_E_BUSY, COUPON_E_LOG_FULL, COUPON_E_RELEASED, with nothing changed for it).
 *
 * The requests count as concurrent: each is linearizable for itself, the batch as a whole is not one step. Of
 * those that are issued at once the numbers rise along the array; a user's second request in a batch comes
 * after the first. A user may stand in any number of batches that run at the same time, in any order: nobody
 * waits while holding another's claim. Costs least from about 32 requests on; there is no upper limit.
 *
 * @return COUPON_OK: each request has its answer; COUPON_E_INVAL: an argument is NULL where count is not 0, or
 * `element_size` is out of range, or no multiple of a ticket's alignment; COUPON_E_READ_ONLY. On a fault that is
 * returned no ticket is written. @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_try_issue_batch(coupon_engine *engine,
                                                                  const struct coupon_request *requests, size_t count,
                                                                  struct coupon_ticket *tickets, size_t element_size);

/**
 * As coupon_try_issue(), and waits until the answer is final or the deadline passes: the flag
 * COUPON_TICKET_FINAL tells which. Also waits, up to the deadline, for room in a full log buffer. With
 * COUPON_FOREVER the write and the sync may happen in the calling thread, if the commit thread sleeps; with a
 * deadline they never do.
 *
 * @return the answers and faults of coupon_try_issue(), an answer also where the deadline has passed; COUPON_E_BUSY:
 * no room in the log buffer by the deadline; COUPON_E_FAILED: the engine stopped while the answer was not final, so
 * its fate is known only after reopening; COUPON_E_IN_CALLBACK unless the deadline is COUPON_POLL.
 * @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_issue(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                                        int64_t deadline, struct coupon_ticket *ticket);

/** As coupon_issue(), for a user of COUPON_UUID_SIZE bytes. @since 0.1.0 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_issue_uuid(coupon_engine *engine, uint64_t campaign,
                                                             const unsigned char *uuid, int64_t deadline,
                                                             struct coupon_ticket *ticket);

/**
 * Waits until the answer in `ticket` (as an earlier call on this engine filled it) is final or the deadline
 * passes, and completes it: the number, and the flag. With COUPON_POLL it only looks. An answer of an earlier
 * life of the directory that was not final then is void: ask coupon_lookup(), or issue again. Of a campaign that was
 * released since, the number is read from its file, whatever the deadline; it stays 0 where the tickets are dropped.
 *
 * @return COUPON_OK: final; COUPON_NOT_FINAL; COUPON_E_IN_CALLBACK unless the deadline is COUPON_POLL;
 * COUPON_E_INVAL: this log has no such answer; faults of coupon_read_tickets(): the answer is final, as its flag says,
 * but its number could not be read, and stays 0. @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_wait(coupon_engine *engine, struct coupon_ticket *ticket,
                                                       int64_t deadline);

/**
 * Asks for everything decided so far to be written without waiting for `commit_delay_ns`, and does not wait for it.
 * For event loops, at the end of each round: the round's answers then share one sync. Without a delay it does nothing.
 * Never blocks; costs an atomic operation, and a system call if the commit thread sleeps. @return COUPON_OK.
 * @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_flush(coupon_engine *engine);

/** The end of what is final; 0 with COUPON_NONE. Never falls, never blocks. Of a failed engine coupon_read_stats()
 *  tells.
 *  @return COUPON_OK. @since 0.1.0 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_durable_lsn(coupon_engine *engine, uint64_t *lsn);

/**
 * An eventfd (non-blocking, close-on-exec) that becomes readable each time the durable LSN rises, and when the engine
 * fails or closes. There is one, for all callers, made at the first call: who reads it takes the news from the others.
 * It belongs to the engine, until coupon_destroy(): read it, do not close it.
 * @return COUPON_OK, COUPON_E_THREAD: no descriptor to be had. @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_eventfd(coupon_engine *engine, int *fd);

/* ------------------------------------------------------------------------------------------------
 * Reading
 * --------------------------------------------------------------------------------------------- */

/**
 * The user's ticket (the first one, where there is no limit), and in `*count`, which may be NULL, how
 * many the user holds. With a limit the answer is linearizable and waits for a concurrent request of
 * this user only; without one it tells of the tickets that have their number, which all final ones have. The ticket may
 * not be final yet: its flag tells. Costs what a duplicate's request does, and writes nothing shared.
 * @return COUPON_OK; COUPON_NOT_FOUND, COUPON_NO_CAMPAIGN (`*count` is 0, the ticket as it was); COUPON_E_USER_KIND,
 * COUPON_E_RELEASED. @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                                         struct coupon_ticket *ticket, uint64_t *count);

/** As coupon_lookup(), for a user of COUPON_UUID_SIZE bytes. @since 0.1.0 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_lookup_uuid(coupon_engine *engine, uint64_t campaign,
                                                              const unsigned char *uuid, struct coupon_ticket *ticket,
                                                              uint64_t *count);

/**
 * A campaign's tickets in order of their numbers, a page at a time: fills `tickets` (an array of `capacity` elements,
 * at least one, of `element_size` bytes, which stands in for their `size`) from number `from` on (0 counts as 1), and
 * sets `*count`. A page of fewer than `capacity` ends at the newest that has its number; the flag of each tells
 * whether it is final. Waits for nobody; only without a log, where a ticket has its number before it is written down,
 * it waits for the requests that are about to do that.
 * @return COUPON_OK, COUPON_NO_CAMPAIGN, COUPON_E_RELEASED (`*count` is 0). @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_tickets(coupon_engine *engine, uint64_t campaign, uint64_t from,
                                                          struct coupon_ticket *tickets, size_t element_size,
                                                          size_t capacity, size_t *count);

/* ------------------------------------------------------------------------------------------------
 * Campaigns that are over
 * --------------------------------------------------------------------------------------------- */

/**
 * Gives the memory of a campaign back that has closed for good (its closing time has passed): its tickets are written
 * to a file of their own, a checkpoint says so, and when every call that looks at them has ended claims and tickets
 * are freed. Calls that need them then answer COUPON_E_RELEASED; coupon_info() and coupon_list() go on, and
 * coupon_read_tickets() and coupon_read_lookup() read from the file. A campaign without a closing time never closes.
 *
 * Waits for the checkpoint (see coupon_checkpoint()) or the deadline; it then goes on by itself, with the next one.
 *
 * @return COUPON_OK: released, now or earlier, and that is durable; COUPON_NOT_FINAL: the deadline has passed;
 * COUPON_E_NOT_CLOSED;
 * COUPON_NO_CAMPAIGN; faults of coupon_checkpoint(); COUPON_E_BUSY, COUPON_E_LOG_FULL: it could not be closed.
 * @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_release(coupon_engine *engine, uint64_t campaign, int64_t deadline);

/**
 * Gives the tickets of a released campaign up for good: the file goes with the second checkpoint from now, so that no
 * checkpoint that may be needed misses it. The campaign itself stays, with its numbers, so that its id is not used
 * again. Waits for the first of these two checkpoints, or the deadline.
 *
 * @return as coupon_release(); COUPON_E_NOT_CLOSED: it is not released. @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_drop(coupon_engine *engine, uint64_t campaign, int64_t deadline);

/**
 * As coupon_tickets(), also of a released campaign, and of one that is released meanwhile. Blocks on its file, of
 * which it reads the head of every chunk (16384 tickets) before `from` and the chunks that the page lies in: pages of
 * thousands cost least.
 *
 * @return COUPON_OK, COUPON_NO_CAMPAIGN; COUPON_E_RELEASED: the tickets are dropped; COUPON_E_CORRUPT,
 * COUPON_E_VERSION, COUPON_E_IO, COUPON_E_NOMEM, COUPON_E_THREAD, with the file's name in the operator's log;
 * COUPON_E_IN_CALLBACK. @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_read_tickets(coupon_engine *engine, uint64_t campaign, uint64_t from,
                                                               struct coupon_ticket *tickets, size_t element_size,
                                                               size_t capacity, size_t *count);

/**
 * As coupon_lookup(), also of a released campaign; there it reads the file from the beginning, up to the user's ticket
 * (without a limit all of it): some milliseconds for a million tickets. @return as coupon_lookup() and
 * coupon_read_tickets().
 * @since 0.1.0
 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_read_lookup(coupon_engine *engine, uint64_t campaign, uint64_t user,
                                                              struct coupon_ticket *ticket, uint64_t *count);

/** As coupon_read_lookup(), for a user of COUPON_UUID_SIZE bytes. @since 0.1.0 */
COUPON_API COUPON_MUST_CHECK coupon_status coupon_read_lookup_uuid(coupon_engine *engine, uint64_t campaign,
                                                                   const unsigned char *uuid,
                                                                   struct coupon_ticket *ticket, uint64_t *count);

#ifdef __cplusplus
}
#endif

#endif /* COUPON_COUPON_H */
