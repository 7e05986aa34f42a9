/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every fuzzer does with a directory once it lies on the disk in memory: both readers open it, and are held to
 * each other and to what must be true of a directory that they accept.
 *
 *   - the library and the verifier both accept, or both refuse; they refuse for a reason, and say it
 *   - what they accept they read alike: records, LSN, life, what is cut; campaigns, and every ticket
 *   - never more tickets than stock, numbers 1 … k, one ticket to a user who may have one
 *   - looking changes nothing; opening for writing keeps what looking saw; what is closed opens again as it was, with
 *     nothing to cut, and with the tickets issued meanwhile
 *   - beside an owner, the library and the verifier stop at the hint's LSN, wherever a frame ends
 */
#ifndef TESTS_FUZZ_JUDGE_H
#define TESTS_FUZZ_JUDGE_H

#include "memory_disk.h"

/* The disk that a target fills before it calls judge_directory(). */
extern struct memory_disk judge_disk;

/* Once, before the first input. */
void judge_begin(void);

/* What to look at besides: that the engine goes on, and with checkpoints, that a reader beside an owner stops, that
 * opening for writing refuses what looking did. These take longer than all the rest, so each in a part of the inputs;
 * judge_choose() makes that out of the input's checksum, so that a finding can be repeated from it. */
enum { JUDGE_GOES_ON = 1, JUDGE_BESIDE_OWNER = 2, JUDGE_REFUSED_TWICE = 4, JUDGE_CHECKPOINTS = 8 };
unsigned judge_choose(uint64_t sum);

/* Judges what lies on the disk. Returns a summary of what happened, the same number for what looks alike: a driver
 * without coverage to go by keeps inputs whose number is new. A finding ends the process. */
uint64_t judge_directory(unsigned what);

/* Says what is wrong, after "FINDING: ", and ends the process. */
_Noreturn void judge_finding(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- parts of it, for targets with a judgement of their own ---------------------------------------- */

#include "coupon/coupon.h"

/* Whether looking may start threads, which help to restore; from the next opening on. */
void judge_let_threads(bool may);
/* Opens the disk; any answer but OK, CORRUPT, VERSION and ACCESS is a finding. */
coupon_status judge_open(bool read_only, coupon_engine **engine, struct coupon_report *report);
/* Closes and frees. */
void judge_end(coupon_engine *engine);
struct coupon_campaign_info judge_info_at(coupon_engine *engine, uint64_t index);
struct coupon_ticket judge_ticket_at(coupon_engine *engine, uint64_t campaign, uint64_t number);
/* A checksum of campaigns and tickets, with all that must be true of them looked at. */
uint64_t judge_digest(coupon_engine *engine);
/* One more campaign, and one more ticket in each. */
void judge_go_on(coupon_engine *engine);

#endif
