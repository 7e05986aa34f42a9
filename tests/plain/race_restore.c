/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery with a second thread: it leaves claims of what the other restores, and both settle them. A directory of many
 * segments, with a campaign that is large enough to be shared, is opened again, and everybody is found. What this shows
 * is for ThreadSanitizer to see; what is found is compared in tests/unit/test_restore.c.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/engine_help.h"

#define USERS UINT64_C(350000) /* of which two threads share the claims */
#define BATCH 32

static void issue_all(coupon_engine *engine) {
  struct coupon_request requests[BATCH];
  struct coupon_ticket tickets[BATCH];
  for (uint64_t user = 0; user < USERS; user += BATCH) {
    size_t count = USERS - user < BATCH ? (size_t)(USERS - user) : BATCH;
    for (size_t i = 0; i < count; i++) requests[i] = (struct coupon_request){.campaign = 1, .user = user + i};
    HELP_CHECK(coupon_try_issue_batch(engine, requests, count, tickets, sizeof tickets[0]) == COUPON_OK);
    for (size_t i = 0; i < count; i++) {
      while (tickets[i].answer == COUPON_E_BUSY) {
        (void)sched_yield();
        tickets[i].answer = coupon_try_issue(engine, 1, user + i, &tickets[i]);
      }
      HELP_CHECK(tickets[i].answer == COUPON_ISSUED);
    }
  }
}

static void check_all(coupon_engine *engine) {
  struct coupon_campaign_info info = help_info(engine, 1);
  HELP_CHECK(info.issued == USERS);
  for (uint64_t user = 0; user < USERS + 100; user += 7) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    uint64_t count;
    coupon_status expected = user < USERS ? COUPON_OK : COUPON_NOT_FOUND;
    HELP_CHECK(coupon_lookup(engine, 1, user, &ticket, &count) == expected);
  }
}

int main(void) {
  char temp[HELP_PATH_MAX], data[HELP_PATH_MAX];
  help_temp_make(temp);
  (void)help_join(data, temp, "data");
  struct coupon_options options = help_options(COUPON_WRITTEN);
  options.segment_size_bytes = UINT64_C(1) << 20;
  options.log_buffer_bytes = UINT64_C(1) << 20;
  coupon_engine *engine = help_open(data, &options);
  help_create(engine, 1, USERS);
  issue_all(engine);
  help_close(engine);
  for (int read_only = 0; read_only < 2; read_only++) {
    options.read_only = read_only;
    engine = help_open(data, &options);
    check_all(engine);
    help_close(engine);
  }
  help_temp_remove(temp);
  printf("%llu users are back, twice\n", (unsigned long long)USERS);
  return 0;
}
