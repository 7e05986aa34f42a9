/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the Criterion tests of checkpoints share: the real engine, stepped by hand on a simulated disk; how things get
 * into it, and what can be asked of it and of the disk. One program includes it once.
 */
#ifndef TESTS_SUPPORT_CHECKPOINT_HELP_H
#define TESTS_SUPPORT_CHECKPOINT_HELP_H

#include "base/checksum.h"
#include "log/checkpoint_format.h"
#include "support/world_suite.h"

__attribute__((unused)) static void checkpoint(void) {
  cr_assert_eq(coupon_checkpoint(world.engine, COUPON_POLL), COUPON_OK);
}

__attribute__((unused)) static void sell(uint64_t campaign, uint64_t from, uint64_t count) {
  for (uint64_t user = from; user < from + count; user++) {
    cr_assert_eq(world_issue(&world, campaign, user), COUPON_ISSUED);
    cr_assert(world_settle(&world));
  }
}

__attribute__((unused)) static bool exists(const char *name) {
  uint64_t size;
  return simdisk_bytes(disk, name, &size) != NULL;
}

__attribute__((unused)) static bool segment_exists(uint64_t number) {
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(number, name);
  return exists(name);
}

__attribute__((unused)) static bool checkpoint_exists(uint64_t number) {
  char name[CPN_CHECKPOINT_NAME_SIZE];
  cpn_checkpoint_name(number, name);
  return exists(name);
}

__attribute__((unused)) static struct cpn_manifest manifest(void) {
  struct cpn_manifest there;
  uint64_t size;
  const unsigned char *block = simdisk_bytes(disk, CPN_MANIFEST_NAME, &size);
  cr_assert_not_null(block);
  cr_assert_eq(cpn_manifest_decode(&there, block), CPN_DECODED_OK);
  return there;
}

__attribute__((unused)) static void create(uint64_t id, int32_t kind, uint64_t limit, uint64_t opens_in,
                                           uint64_t closes_in, const char *name) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = id;
  spec.stock = 400;
  spec.user_limit = limit;
  spec.user_kind = kind;
  spec.opens_at_ns = opens_in == 0 ? 0 : world.clock_ns + opens_in;
  spec.closes_at_ns = closes_in == 0 ? 0 : world.clock_ns + closes_in;
  spec.name = name;
  cr_assert_geq(coupon_create(world.engine, &spec, COUPON_POLL), 0);
  cr_assert(world_settle(&world));
}

__attribute__((unused)) static void issue_uuid(uint64_t campaign, uint64_t user) {
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  struct help_uuid uuid = help_uuid(user);
  world.clock_ns += 10;
  cr_assert_eq(coupon_try_issue_uuid(world.engine, campaign, uuid.bytes, &ticket), COUPON_ISSUED);
  cr_assert(world_settle(&world));
}

__attribute__((unused)) static uint64_t mix(uint64_t digest, const void *bytes, size_t size) {
  uint64_t both[2] = {digest, cpn_checksum(bytes, size)};
  return cpn_checksum(both, sizeof both);
}

/* Everything that can be asked of an engine, as one number. */
__attribute__((unused)) static uint64_t digest_of_all(coupon_engine *engine) {
  uint64_t digest = 0, count;
  for (uint64_t i = 0;; i++) {
    struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
    size_t found;
    cr_assert_eq(coupon_list(engine, i, &info, sizeof info, 1, &found), COUPON_OK);
    if (found == 0) return digest;
    info.claim_bytes = info.ticket_bytes = 0; /* room ahead of the tickets may differ */
    digest = mix(digest, &info, sizeof info);
    for (uint64_t number = 1; number <= info.issued; number++) {
      struct coupon_ticket ticket = COUPON_TICKET_INIT, looked = COUPON_TICKET_INIT;
      cr_assert_eq(coupon_tickets(engine, info.id, number, &ticket, sizeof ticket, 1, &found), COUPON_OK);
      cr_assert_eq(found, 1);
      digest = mix(digest, &ticket, sizeof ticket);
      coupon_status status = info.user_kind == COUPON_USER_UUID
                                 ? coupon_lookup_uuid(engine, info.id, ticket.uuid, &looked, &count)
                                 : coupon_lookup(engine, info.id, ticket.user, &looked, &count);
      cr_assert_eq(status, COUPON_OK);
      digest = mix(digest, &count, sizeof count);
      digest = mix(digest, &looked, sizeof looked);
    }
  }
}

#endif
