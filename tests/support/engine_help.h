/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of the public behaviour share: temporary directories, a clock to set, engines, and child processes
 * that cannot hang a test. Disks and memory that fail: failing.h; every public function in one table: every_call.h.
 *
 * No Criterion in here. What must work for a test to mean anything (help_open(), help_create() …) ends the process
 * with a message if it does not. Nothing sleeps to wait for somebody: help_until() asks again and again.
 */
#ifndef TESTS_SUPPORT_ENGINE_HELP_H
#define TESTS_SUPPORT_ENGINE_HELP_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "base/env.h"
#include "coupon/coupon.h"

/* --- the process --------------------------------------------------------------------------------- */

/* Ends the process with a message: the test cannot go on. */
_Noreturn void help_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define HELP_CHECK(condition)                                                               \
  do {                                                                                      \
    if (!(condition)) help_die("%s:%d: does not hold: %s", __FILE__, __LINE__, #condition); \
  } while (0)

/* Under AddressSanitizer: whether memory has been lost by now. Elsewhere false. */
bool help_leaks(void);
bool help_sanitized(void);
/* For pthread_cleanup_push() in a thread that will be cancelled: AddressSanitizer does not see frames that are unwound,
 * and takes what runs on their place afterwards for a mistake. */
void help_forget_frames(void *unused);

/* Asks until it is so. False: it was not within half a minute, which no machine needs. */
bool help_until(bool (*is_so)(void *context), void *context);
/* The same for a twentieth of a second: for what must not happen, and so cannot be waited for. */
bool help_soon(bool (*is_so)(void *context), void *context);

/* Prints the seed: COUPON_TEST_SEED, or a constant. */
uint64_t help_seed(void);
uint64_t help_random(uint64_t *state);

/* --- directories --------------------------------------------------------------------------------- */

#define HELP_PATH_MAX 1024

/* A new directory below TMPDIR; and away with it and everything in it. */
void help_temp_make(char path[HELP_PATH_MAX]);
void help_temp_remove(const char *path);
/* `directory`/`name` in `path`; returns `path`. */
const char *help_join(char path[HELP_PATH_MAX], const char *directory, const char *name);
/* Copies the files of a directory as they are now: what a process that is killed now would leave. */
void help_copy_directory(const char *from, const char *to);
/* A checksum of names, sizes, contents, modes and times of change of a directory's files. */
uint64_t help_fingerprint(const char *directory);
/* As an opening for writing does, which may then go no further. */
void help_clear_hint(const char *directory);

/* --- engines ------------------------------------------------------------------------------------- */

/* A clock that shows what it is told to. */
struct help_clock {
  _Atomic uint64_t now_ns;
};
uint64_t help_clock_read(void *context);

/* Small segments, so that little is enough to fill some; all else as by default. */
struct coupon_options help_options(int32_t durability);
/* The same with this clock. */
struct coupon_options help_options_with_clock(int32_t durability, struct help_clock *clock);

/* Opens; `path` NULL for COUPON_NONE. */
coupon_engine *help_open(const char *path, const struct coupon_options *options);
coupon_engine *help_open_in_memory(void);
/* The same, but through the seams. Threads, or (as base/env.h has it) cpn_wait_step() by hand. */
coupon_engine *help_open_env(const struct cpn_env *env, const char *path, const struct coupon_options *options);
/* Closes and frees; both have to work. */
void help_close(coupon_engine *engine);

struct coupon_campaign_spec help_spec(uint64_t id, uint64_t stock);
/* The same for users of 16 bytes; and the bytes of such a user, all different for different numbers, and few of them
 * zero. */
struct coupon_campaign_spec help_spec_uuid(uint64_t id, uint64_t stock);
struct help_uuid {
  unsigned char bytes[COUPON_UUID_SIZE];
};
struct help_uuid help_uuid(uint64_t number);
/* Creates, and waits until that is final. */
void help_create(coupon_engine *engine, uint64_t id, uint64_t stock);
/* One request; the first form does not wait, and so may be told COUPON_E_BUSY where several threads ask. */
coupon_status help_try(coupon_engine *engine, uint64_t campaign, uint64_t user);
coupon_status help_ask(coupon_engine *engine, uint64_t campaign, uint64_t user);
struct coupon_campaign_info help_info(coupon_engine *engine, uint64_t campaign);
struct coupon_stats help_stats(coupon_engine *engine);
/* How many tickets the campaign has; checks that their numbers are 1, 2, 3 …, that LSNs rise (or, with COUPON_NONE, are
 * all 0), that times do not fall, that issued + remaining = stock, and that no user has two unless there is no limit.
 * NULL, or what is wrong. */
const char *help_audit(coupon_engine *engine, uint64_t campaign, uint64_t *count);
bool help_same_ticket(const struct coupon_ticket *a, const struct coupon_ticket *b);

/* --- other processes ----------------------------------------------------------------------------- */

struct help_child {
  pid_t pid;
  int socket;
};

/* Runs `run` in a child of fork(), which ends with what it returns. Under AddressSanitizer a child that allocates may
 * hang if a thread is just being started or allocates at that moment: the sanitizer's locks are inherited as they
 * are. */
void help_child_start(struct help_child *child, int (*run)(struct help_child *self, void *context), void *context);
/* A number to the other side, and from it. Hearing from a side that has ended, or says nothing for half a minute:
 * -1000. */
void help_child_say(struct help_child *child, int32_t word);
int32_t help_child_hear(struct help_child *child);
/* The exit status; 1000 + signal if it was killed; -1 if it did not end in `seconds` and was killed here. */
int help_child_wait(struct help_child *child, int seconds);
void help_child_kill(struct help_child *child);

#endif
