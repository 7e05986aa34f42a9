/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One record as bytes, by the tables of "Records" in docs/FORMAT.md: its length, and what version 1
 * leaves zero. What it may say is verify_rules.h.
 */
#ifndef TOOLS_VERIFY_RECORD_H
#define TOOLS_VERIFY_RECORD_H

#include <stdint.h>

enum {
  RECORD_VOID = 1,
  RECORD_LIFE,
  RECORD_END,
  RECORD_CAMPAIGN,
  RECORD_OPEN,
  RECORD_CLOSE,
  RECORD_ISSUE,
  RECORD_ISSUE_UUID,
  /* In no log: what a checkpoint says of a campaign whose tickets are nowhere any more; its body is how many. */
  RECORD_DROPPED = 256
};

/* The kinds of user identity that a CAMPAIGN record can name. */
enum { KIND_NUMBER = 0, KIND_UUID = 1 };

/* The first 8 bytes, with type, flags, words and campaign; the rest is the body. */
enum { RECORD_HEAD = 8 };

/* Where the fields of bodies begin; those of END, OPEN and CLOSE are a time alone. */
enum {
  LIFE_NUMBER = 0,
  LIFE_TIME = 8,
  LIFE_LSN = 16,
  ISSUE_USER = 0,
  ISSUE_TIME = 8,
  ISSUE_UUID_TIME = 16,
  CAMPAIGN_ID = 0,
  CAMPAIGN_STOCK = 8,
  CAMPAIGN_LIMIT = 16,
  CAMPAIGN_OPENS = 24,
  CAMPAIGN_CLOSES = 32,
  CAMPAIGN_TIME = 40,
  CAMPAIGN_NAME_LENGTH = 48,
  CAMPAIGN_USER_KIND = 52,
  CAMPAIGN_NAME = 56
};

enum record_form {
  RECORD_RIGHT,
  RECORD_WRONG, /* breaks the format */
  RECORD_NEWER  /* uses what version 1 does not know */
};

/* Judges the record at `bytes`, of which at least 8 and at most `room` belong to it, and which may stand for `joined`
 * tickets more than one. `*words` is its length in units of 8 bytes if it is right; `*why` says what is not. */
enum record_form record_check(const unsigned char *bytes, uint64_t room, uint64_t joined, uint64_t *words,
                              const char **why);

/* How many records a right one stands for: the tickets of an ISSUE, 1 of everything else. */
uint64_t record_count(const unsigned char *bytes);
/* Writes down number `i`, from 0, of the tickets of an ISSUE, as it would be if it were alone. Returns its length: 24
 * or 32 bytes. */
uint64_t record_alone(const unsigned char *bytes, uint64_t i, unsigned char *alone);

/* The name of a type, as in FORMAT.md. */
const char *record_type_name(unsigned type);

/* Little-endian integers at `bytes`. */
uint32_t read_u32(const unsigned char *bytes);
uint64_t read_u64(const unsigned char *bytes);

#endif
