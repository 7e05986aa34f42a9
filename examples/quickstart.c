/* SPDX-License-Identifier: Apache-2.0 */
/* One campaign of 100 coupons, one customer: quickstart DIRECTORY */
#include <coupon/coupon.h>
#include <stdio.h>

int main(int argc, char **argv) {
  coupon_engine *engine = NULL;
  coupon_status status = coupon_open(argc > 1 ? argv[1] : "sale", NULL, &engine, NULL);

  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = 1;
  spec.stock = 100;
  if (status == COUPON_OK) status = coupon_create(engine, &spec, COUPON_FOREVER);

  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  if (status == COUPON_OK) status = coupon_issue(engine, spec.id, 4711, COUPON_FOREVER, &ticket);

  /* The customer may be told: with COUPON_FOREVER the answer is durable. Asked again, also after a
   * crash, the library answers COUPON_ALREADY_ISSUED with the same ticket. */
  int got_one = status == COUPON_ISSUED || status == COUPON_ALREADY_ISSUED;
  if (got_one)
    printf("coupon number %llu\n", (unsigned long long)ticket.number);
  else
    fprintf(stderr, "%s\n", coupon_strerror(status));

  coupon_destroy(engine);
  return got_one ? 0 : 1;
}
