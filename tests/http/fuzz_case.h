/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fuzzer sends: case number `index` of a seed is always the same bytes. Each case is one request, or a few in
 * one pipeline, valid or spoilt in some way; and each says what may be answered, above all whether 200 may.
 */
#ifndef TESTS_HTTP_FUZZ_CASE_H
#define TESTS_HTTP_FUZZ_CASE_H

#include "http/service.h"

/* The sale. Pool users ask in earnest; victims are only ever in requests that must not succeed. */
enum { OPEN = 1, UNLIMITED, SOLD_OUT, NOT_OPEN, ENDED, UNKNOWN };
#define POOL_FIRST 1000 /* and POOL_USERS from there on */
#define POOL_USERS 3000
#define VICTIM_FIRST 1000000
#define VICTIM_USERS 1000

/* The limits it runs with. */
#define FUZZ_HEADER_BYTES 4096
#define FUZZ_BODY_BYTES 4096
#define FUZZ_OPTIONS                                                                                           \
  "--threads 2 --max-header-bytes 4096 --max-body-bytes 4096 --header-timeout-ms 2000 --body-timeout-ms 2000 " \
  "--signin-per-account 0 --signin-per-address 0"

#define FUZZ_PIPELINE 4
#define FUZZ_BYTES 40000
#define FUZZ_CUTS 4
#define FUZZ_STATUSES 5

struct fuzz_request {
  const char *kind;
  bool may_succeed;
  /* Of POST ISSUE that may succeed; user 0: it is something else. */
  uint64_t coupon, user;
  int statuses[FUZZ_STATUSES]; /* what is right for it; none: any but 200 and 5xx */
  const char *reason;          /* NULL: any */
};

/* What the client does when all is sent. */
enum fuzz_end {
  FUZZ_ANSWERS,  /* takes one answer for each request; the connection may be kept */
  FUZZ_SHUTDOWN, /* sends no more, and reads to the end: how many answers there are is not known */
  FUZZ_CLOSE,    /* leaves */
  FUZZ_RESET
};

struct fuzz_case {
  size_t length;
  int count;
  enum fuzz_end end;
  int cut_count;
  size_t cuts[FUZZ_CUTS]; /* where it is sent in parts */
  struct fuzz_request requests[FUZZ_PIPELINE];
  char bytes[FUZZ_BYTES];
};

void fuzz_case_make(struct fuzz_case *made, const struct service *service, uint64_t seed, uint64_t index);

#endif
