/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the claim set and the ticket list keep what they are given, in any order of users, through every
 * growth, and that running out of memory leaves both as they were. One thread; many threads are in
 * tests/plain/race_claim_set.c.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "issue/claim_set.h"
#include "issue/tickets.h"

static struct cpn_memory memory;
static const struct cpn_siphash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};

static void begin(uint64_t limit) {
  static const struct coupon_allocator ours;
  cpn_memory_init(&memory, &ours, limit);
}

static uint64_t reverse_bits(uint64_t x) {
  uint64_t y = 0;
  for (int i = 0; i < 64; i++) y |= (x >> i & 1) << (63 - i);
  return y;
}

static uint64_t user_of(int order, uint64_t i) {
  switch (order) {
    case 0:
      return i; /* zero among them */
    case 1:
      return UINT64_MAX - i;
    case 2:
      return i << 32;
    case 3:
      return reverse_bits(i);
    default:
      return i * UINT64_C(0x9e3779b97f4a7c15);
  }
}

/* The example of the paper's reference code for the 1-3 variant would need its tables; what counts here is that the
 * key matters, and that words that differ little hash far apart. */
Test(siphash, depends_on_every_bit_of_key_and_word) {
  uint64_t base = cpn_siphash_u64(&key, 0);
  unsigned least = 64;
  for (int bit = 0; bit < 64; bit++) {
    struct cpn_siphash_key other = key;
    other.k0 ^= UINT64_C(1) << bit;
    uint64_t a = base ^ cpn_siphash_u64(&key, UINT64_C(1) << bit), b = base ^ cpn_siphash_u64(&other, 0);
    unsigned bits_a = (unsigned)__builtin_popcountll(a), bits_b = (unsigned)__builtin_popcountll(b);
    if (bits_a < least) least = bits_a;
    if (bits_b < least) least = bits_b;
  }
  cr_assert_geq(least, 14, "%u bits changed", least);
}

Test(claim_set, keeps_every_user_in_any_order_through_growth) {
  begin(0);
  for (int order = 0; order < 5; order++) {
    struct cpn_claim_set set;
    cpn_claim_set_init(&set, &memory, &key, 16); /* far fewer than come: levels are added */
    for (uint64_t i = 0; i < 50000; i++) {
      uint64_t user = user_of(order, i);
      struct cpn_claim *absent = cpn_claim_set_find(&set, user);
      cr_assert(absent == NULL || user == 0);
      struct cpn_claim *claim = cpn_claim_set_insert(&set, user);
      cr_assert_not_null(claim);
      cr_assert_eq(cpn_claim_read(claim), 0, "an entry begins FREE");
      cpn_claim_write(claim, cpn_claim_numbered(i + 1));
    }
    for (uint64_t i = 0; i < 50000; i++) {
      struct cpn_claim *claim = cpn_claim_set_find(&set, user_of(order, i));
      cr_assert_not_null(claim);
      cr_assert_eq(cpn_claim_number(cpn_claim_read(claim)), i + 1);
      cr_assert_eq(cpn_claim_set_insert(&set, user_of(order, i)), claim, "inserting again finds the same entry");
    }
    cpn_claim_set_fini(&set);
  }
  cr_assert_eq(cpn_memory_used(&memory), 0);
}

Test(claim_set, finding_leaves_nothing) {
  begin(0);
  struct cpn_claim_set set;
  cpn_claim_set_init(&set, &memory, &key, 1000);
  cr_assert_not_null(cpn_claim_set_insert(&set, 1));
  uint64_t used = cpn_memory_used(&memory);
  for (uint64_t user = 2; user < 100000; user++) cr_assert_null(cpn_claim_set_find(&set, user));
  cr_assert_eq(cpn_memory_used(&memory), used);
  cpn_claim_set_fini(&set);
}

Test(claim_set, presized_for_its_users_costs_at_most_34_bytes_each) {
  begin(0);
  struct cpn_claim_set set;
  cpn_claim_set_init(&set, &memory, &key, 600000);
  for (uint64_t i = 1; i <= 600000; i++) cr_assert_not_null(cpn_claim_set_insert(&set, i));
  cr_assert_leq(cpn_memory_used(&memory) / 600000, 34, "%llu bytes each",
                (unsigned long long)(cpn_memory_used(&memory) / 600000));
  cpn_claim_set_fini(&set);
}

Test(claim_set, out_of_memory_leaves_it_as_it_was) {
  begin(2048);
  struct cpn_claim_set set;
  cpn_claim_set_init(&set, &memory, &key, 16);
  uint64_t inserted = 0;
  while (cpn_claim_set_insert(&set, inserted + 1) != NULL) inserted++;
  cr_assert_gt(inserted, 15);
  for (uint64_t user = 1; user <= inserted; user++) cr_assert_not_null(cpn_claim_set_find(&set, user));
  cr_assert_null(cpn_claim_set_find(&set, inserted + 1));
  cr_assert_leq(cpn_memory_used(&memory), 2048);
  cpn_claim_set_fini(&set);
  cr_assert_eq(cpn_memory_used(&memory), 0);
}

Test(tickets, are_found_by_number_and_by_lsn) {
  begin(0);
  struct cpn_tickets tickets;
  cpn_tickets_init(&tickets, 1000);
  for (uint64_t i = 1; i <= 1000; i++) {
    uint64_t room = cpn_tickets_ensure(&tickets, &memory, i);
    cr_assert_geq(room, i);
    cr_assert_leq(room, 1000);
    cr_assert_eq(cpn_tickets_append(&tickets, i * 3, i * 24, i), i);
  }
  cr_assert_eq(cpn_tickets_numbered(&tickets), 1000);
  for (uint64_t i = 1; i <= 1000; i++) {
    cr_assert_eq(cpn_tickets_row(&tickets, i)->user, i * 3);
    cr_assert_eq(cpn_tickets_find(&tickets, i * 24), i);
    cr_assert_eq(cpn_tickets_find(&tickets, i * 24 + 8), 0);
  }
  cpn_tickets_fini(&tickets, &memory);
  cr_assert_eq(cpn_memory_used(&memory), 0);
}

Test(tickets, without_memory_there_is_no_room) {
  begin(600);
  struct cpn_tickets tickets;
  cpn_tickets_init(&tickets, UINT64_C(1) << 40);
  cr_assert_eq(cpn_tickets_ensure(&tickets, &memory, 1), 16, "half a kilobyte");
  cr_assert_eq(cpn_tickets_ensure(&tickets, &memory, 17), 0);
  cr_assert_eq(cpn_tickets_ensure(&tickets, &memory, 16), 16);
  cpn_tickets_fini(&tickets, &memory);
}
