/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that the rooms of the disk wing keep their word one by one: format (what is encoded is decoded, what is not
 * whole is not believed), join (tickets that are the same but for the user, and nothing else), buffer (holes stop the
 * drain, full is answered, nothing is lost over the wrap), clock (never back).
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "coupon/coupon.h"
#include "log/buffer.h"
#include "log/format.h"
#include "log/join.h"

/* --- format --------------------------------------------------------------------------------------- */

static size_t encode(const struct cpn_record *record, unsigned char *bytes) {
  uint64_t words[CPN_WORDS_CAMPAIGN_MAX];
  words[0] = cpn_record_encode(record, words);
  uint32_t count = cpn_record_words(words[0]);
  for (uint32_t i = 0; i < count; i++) cpn_put_u64(bytes + 8 * i, words[i]);
  return (size_t)count * 8;
}

Test(format, records_come_back_as_they_were) {
  char name[256];
  memset(name, 'n', sizeof name);
  for (uint32_t length = 0; length <= 255; length++) {
    unsigned char bytes[CPN_WORDS_CAMPAIGN_MAX * 8];
    struct cpn_record record = {.type = CPN_RECORD_CAMPAIGN,
                                .campaign = 9,
                                .id = UINT64_MAX,
                                .stock = 5,
                                .user_limit = 1,
                                .opens_at_ns = 2,
                                .closes_at_ns = 3,
                                .time_ns = 4,
                                .name = name,
                                .name_length = length};
    size_t size = encode(&record, bytes), read;
    struct cpn_record back;
    cr_assert_eq(cpn_record_decode(&back, bytes, size, &read), CPN_DECODED_OK);
    cr_assert_eq(read, size);
    cr_assert(back.id == UINT64_MAX && back.stock == 5 && back.campaign == 9 && back.name_length == length);
    cr_assert(back.opens_at_ns == 2 && back.closes_at_ns == 3 && back.time_ns == 4);
    cr_assert_eq(memcmp(back.name, name, length), 0);
  }
}

Test(format, tickets_of_both_kinds_of_users_come_back_as_they_were) {
  for (uint32_t words = 1; words <= 2; words++) {
    unsigned char bytes[CPN_WORDS_CAMPAIGN_MAX * 8];
    struct cpn_record record = {.type = words == 2 ? CPN_RECORD_ISSUE_UUID : CPN_RECORD_ISSUE,
                                .campaign = 0xfedcba98,
                                .user = {UINT64_MAX, words == 2 ? UINT64_C(0x0123456789abcdef) : 0},
                                .time_ns = 77};
    size_t size = encode(&record, bytes), read;
    cr_assert_eq(size, cpn_issue_words(words) * 8);
    cr_assert_eq(cpn_get_u64(bytes), cpn_issue_head(words, 0xfedcba98));
    struct cpn_record back;
    cr_assert_eq(cpn_record_decode(&back, bytes, size, &read), CPN_DECODED_OK);
    cr_assert(back.type == record.type && back.campaign == record.campaign && back.time_ns == 77);
    cr_assert(back.user[0] == record.user[0] && back.user[1] == record.user[1]);
    /* A length that is the other kind's is damage. */
    cpn_put_u64(bytes, cpn_record_head(record.type, cpn_issue_words(3 - words), 1));
    cr_assert_eq(cpn_record_decode(&back, bytes, sizeof bytes, &read), CPN_DECODED_DAMAGED);
  }
}

/* The kind lies in what was the upper half of the name's length, and always zero, so logs from before read as
 * numbers. */
Test(format, a_campaign_of_numbers_is_written_as_it_was_before_there_were_kinds) {
  struct cpn_record record = {.type = CPN_RECORD_CAMPAIGN, .stock = 5, .name = "kind", .name_length = 4};
  unsigned char bytes[CPN_WORDS_CAMPAIGN_MAX * 8];
  size_t size = encode(&record, bytes), read;
  struct cpn_record back;
  cr_assert_eq(cpn_get_u64(bytes + 56), 4);
  cr_assert_eq(cpn_record_decode(&back, bytes, size, &read), CPN_DECODED_OK);
  cr_assert_eq(back.user_kind, COUPON_USER_U64);
  record.user_kind = COUPON_USER_UUID;
  cr_assert_eq(encode(&record, bytes), size);
  cr_assert_eq(cpn_get_u64(bytes + 56), UINT64_C(0x100000004));
  cr_assert_eq(cpn_record_decode(&back, bytes, size, &read), CPN_DECODED_OK);
  cr_assert_eq(back.user_kind, COUPON_USER_UUID);
}

Test(format, a_campaign_of_an_unknown_kind_of_users_is_newer) {
  struct cpn_record record = {.type = CPN_RECORD_CAMPAIGN, .stock = 5, .name = "kind", .name_length = 4};
  unsigned char bytes[CPN_WORDS_CAMPAIGN_MAX * 8];
  size_t size = encode(&record, bytes), read;
  for (int bit = 0; bit < 32; bit++) {
    struct cpn_record back;
    cpn_put_u32(bytes + 60, UINT32_C(1) << bit);
    cr_assert_eq(cpn_record_decode(&back, bytes, size, &read), bit == 0 ? CPN_DECODED_OK : CPN_DECODED_NEWER);
  }
}

Test(format, records_cut_anywhere_are_damaged_and_never_read_beyond) {
  struct cpn_record record = {.type = CPN_RECORD_CAMPAIGN, .stock = 5, .name = "cut", .name_length = 3};
  unsigned char bytes[CPN_WORDS_CAMPAIGN_MAX * 8];
  size_t size = encode(&record, bytes);
  for (size_t cut = 0; cut < size; cut++) {
    unsigned char *exact = malloc(cut + 1); /* so that a sanitizer sees a read beyond it */
    memcpy(exact, bytes, cut);
    struct cpn_record back;
    size_t read;
    cr_assert_neq(cpn_record_decode(&back, exact, cut, &read), CPN_DECODED_OK);
    free(exact);
  }
}

Test(format, unknown_types_and_flags_are_newer) {
  struct cpn_record back;
  size_t read;
  unsigned char bytes[16] = {9, 0, 2, 0};
  cr_assert_eq(cpn_record_decode(&back, bytes, sizeof bytes, &read), CPN_DECODED_NEWER);
  memcpy(bytes, (unsigned char[]){CPN_RECORD_END, 1, 2, 0}, 4);
  cr_assert_eq(cpn_record_decode(&back, bytes, sizeof bytes, &read), CPN_DECODED_NEWER);
  memcpy(bytes, (unsigned char[]){0, 0, 2, 0}, 4);
  cr_assert_eq(cpn_record_decode(&back, bytes, sizeof bytes, &read), CPN_DECODED_DAMAGED);
}

Test(format, segment_names_come_back_and_others_are_none) {
  char name[CPN_SEGMENT_NAME_SIZE];
  uint64_t numbers[] = {1, 10, 255, UINT64_C(0xfedcba9876543210), UINT64_MAX};
  for (size_t i = 0; i < 5; i++) {
    cpn_segment_name(numbers[i], name);
    cr_assert_eq(cpn_segment_number(name), numbers[i]);
  }
  const char *others[] = {"", "owner", "000000000000000a", "000000000000000A.log", "000000000000000a.log2", "0a.log"};
  for (size_t i = 0; i < 6; i++) cr_assert_eq(cpn_segment_number(others[i]), 0, "%s", others[i]);
}

/* --- joined tickets --------------------------------------------------------------------------------- */

/* A frame's payload in words, and what they become. */
struct joining {
  unsigned char bytes[4096];
  size_t size;
};

static void add_ticket(struct joining *joining, uint32_t user_words, uint32_t campaign, uint64_t user,
                       uint64_t time_ns) {
  struct cpn_record record = {.type = user_words == 2 ? CPN_RECORD_ISSUE_UUID : CPN_RECORD_ISSUE,
                              .campaign = campaign,
                              .user = {user, user + 1000},
                              .time_ns = time_ns};
  joining->size += encode(&record, joining->bytes + joining->size);
}

static void add_void(struct joining *joining) {
  memset(joining->bytes + joining->size, 0, 24);
  cpn_put_u64(joining->bytes + joining->size, cpn_record_head(CPN_RECORD_VOID, 3, 0));
  joining->size += 24;
}

static void expect_words(const struct joining *joining, const uint64_t *words, size_t count) {
  cr_assert_eq(joining->size, count * 8);
  for (size_t i = 0; i < count; i++) cr_expect_eq(cpn_get_u64(joining->bytes + 8 * i), words[i], "word %zu", i);
}

/* docs/FORMAT.md: head, users, time; words is 2 + n, or 2 + 2 n. */
Test(join, leaves_one_head_and_one_time) {
  struct joining joining = {.size = 0};
  for (uint64_t user = 1; user <= 3; user++) add_ticket(&joining, 1, 9, user, 77);
  for (uint64_t user = 4; user <= 5; user++) add_ticket(&joining, 2, 6, user, 77);
  cr_assert_eq(cpn_join(joining.bytes, &joining.size), 3);
  const uint64_t words[] = {UINT64_C(0x900050007), 1, 2, 3, 77, UINT64_C(0x600060008), 4, 1004, 5, 1005, 77};
  expect_words(&joining, words, sizeof words / sizeof words[0]);
}

Test(join, leaves_alone_what_is_not_the_same_but_for_the_user) {
  struct joining joining = {.size = 0}, before;
  add_ticket(&joining, 1, 0, 1, 70);
  add_ticket(&joining, 1, 1, 2, 70); /* another campaign */
  add_ticket(&joining, 1, 1, 3, 71); /* another time */
  add_ticket(&joining, 2, 1, 4, 71); /* another kind of user */
  add_void(&joining);
  add_ticket(&joining, 2, 1, 5, 71);
  before = joining;
  cr_assert_eq(cpn_join(joining.bytes, &joining.size), 0);
  cr_assert_eq(joining.size, before.size);
  cr_assert_arr_eq(joining.bytes, before.bytes, before.size);
}

/* What follows joined tickets moves up to them. */
Test(join, moves_everything_else_as_it_is) {
  struct joining joining = {.size = 0};
  for (uint64_t user = 1; user <= 2; user++) add_ticket(&joining, 1, 0, user, 5);
  add_void(&joining);
  add_ticket(&joining, 1, 0, 3, 6);
  struct cpn_record name = {.type = CPN_RECORD_CAMPAIGN, .name = "name", .name_length = 4, .id = 44};
  joining.size += encode(&name, joining.bytes + joining.size);
  cr_assert_eq(cpn_join(joining.bytes, &joining.size), 1);
  const uint64_t words[] = {0x40007, 1, 2, 5, 0x30001, 0, 0, 0x30007, 3, 6, 0x90004, 44, 0, 0, 0, 0, 0, 4, 0x656d616e};
  expect_words(&joining, words, sizeof words / sizeof words[0]);
}

/* A record's length has 16 bits, and a frame may have more users of 16 bytes than that is enough for. */
Test(join, makes_no_record_longer_than_can_be_said) {
  const size_t count = CPN_FRAME_PAYLOAD_MAX / 32;
  unsigned char *bytes = malloc(CPN_FRAME_PAYLOAD_MAX);
  struct joining one = {.size = 0};
  add_ticket(&one, 2, 3, 8, 9);
  for (size_t i = 0; i < count; i++) memcpy(bytes + i * 32, one.bytes, 32);
  size_t size = CPN_FRAME_PAYLOAD_MAX, at = 0, users = 0;
  const uint32_t joined = cpn_join(bytes, &size);
  for (uint64_t head; at < size; at += cpn_record_words(head) * (size_t)8) {
    head = cpn_get_u64(bytes + at);
    cr_assert_eq(cpn_joined_user_words(head), 2);
    cr_assert_gt(cpn_joined_users(head, 2), 0);
    users += cpn_joined_users(head, 2);
  }
  cr_assert_eq(at, size);
  cr_assert_eq(users, count);
  cr_assert_eq(size + joined * (size_t)CPN_JOINED_BYTES, CPN_FRAME_PAYLOAD_MAX);
  free(bytes);
}

/* --- buffer --------------------------------------------------------------------------------------- */

static uint64_t fixed_wall(void *context) { return *(uint64_t *)context; }

struct rig {
  struct cpn_clock clock;
  struct cpn_buffer buffer;
  uint64_t wall;
  uint64_t drained_records, last_lsn;
};

static void rig_begin(struct rig *rig, uint64_t lsn) {
  memset(rig, 0, sizeof *rig);
  rig->wall = 1000;
  rig->last_lsn = lsn;
  cpn_clock_init(&rig->clock, fixed_wall, &rig->wall);
  cr_assert(cpn_buffer_init(&rig->buffer, 4096, lsn, &rig->clock));
}

/* Runs follow each other without a gap, and whole records fill them. */
static void count_records(void *context, uint64_t lsn, const unsigned char *bytes, size_t size) {
  struct rig *rig = context;
  cr_assert_gt(size, 0);
  cr_assert_eq(lsn, rig->last_lsn);
  size_t at = 0;
  for (; at < size; rig->drained_records++) at += cpn_record_words(cpn_get_u64(bytes + at)) * (size_t)8;
  cr_assert_eq(at, size);
  rig->last_lsn = lsn + size;
}

static uint64_t reserve(struct rig *rig, uint32_t words) {
  uint64_t time_ns;
  return cpn_buffer_reserve(&rig->buffer, words, &time_ns);
}

static void publish(struct rig *rig, uint64_t at) {
  cpn_buffer_fill(&rig->buffer, at, 1, 1);
  cpn_buffer_fill(&rig->buffer, at, 2, 2);
  cpn_buffer_publish(&rig->buffer, at, cpn_record_head(CPN_RECORD_ISSUE, 3, 0));
}

Test(buffer, a_hole_stops_the_drain_until_it_is_published) {
  struct rig rig;
  unsigned char out[4096];
  rig_begin(&rig, 240);
  uint64_t first = reserve(&rig, 3), second = reserve(&rig, 3);
  cr_assert_eq(first, 240);
  cr_assert_eq(second, 264);
  publish(&rig, second);
  cr_assert_not(cpn_buffer_ready(&rig.buffer));
  cr_assert_eq(cpn_buffer_drain(&rig.buffer, out, sizeof out, count_records, &rig), 0);
  cpn_buffer_void(&rig.buffer, first, 3);
  cr_assert(cpn_buffer_ready(&rig.buffer));
  cr_assert_eq(cpn_buffer_drain(&rig.buffer, out, sizeof out, count_records, &rig), 48);
  cr_assert_eq(rig.drained_records, 2);
  cr_assert_eq(out[0], CPN_RECORD_VOID);
  cr_assert_eq(out[24], CPN_RECORD_ISSUE);
  cpn_buffer_fini(&rig.buffer);
}

Test(buffer, full_is_answered_and_ends_with_the_drain) {
  struct rig rig;
  unsigned char out[4096];
  rig_begin(&rig, 0);
  uint64_t places = 0;
  for (uint64_t at; (at = reserve(&rig, 3)) != CPN_LSN_NONE; places++) publish(&rig, at);
  cr_assert_eq(places, 4096 / 24);
  cr_assert(cpn_buffer_is_full(&rig.buffer, 3));
  cr_assert_not(cpn_buffer_is_full(&rig.buffer, 2), "16 bytes are left");
  cr_assert_eq(cpn_buffer_drain(&rig.buffer, out, 240, count_records, &rig), 240, "as much as there is room for");
  cr_assert_neq(reserve(&rig, 3), CPN_LSN_NONE);
  cpn_buffer_fini(&rig.buffer);
}

Test(buffer, goes_round_many_times_without_loss) {
  struct rig rig;
  unsigned char out[4096];
  rig_begin(&rig, 0);
  uint64_t published = 0;
  for (int round = 0; round < 2000; round++) {
    for (int i = 0; i < round % 97; i++, published++) publish(&rig, reserve(&rig, 3));
    (void)cpn_buffer_drain(&rig.buffer, out, sizeof out, count_records, &rig);
  }
  cr_assert_eq(rig.drained_records, published);
  cr_assert_eq(cpn_buffer_drained(&rig.buffer), cpn_buffer_tail(&rig.buffer));
  cpn_buffer_fini(&rig.buffer);
}

Test(buffer, ends_at_the_last_lsn) {
  struct rig rig;
  rig_begin(&rig, COUPON_LSN_MAX - 40);
  cr_assert_neq(reserve(&rig, 3), CPN_LSN_NONE);
  cr_assert_eq(reserve(&rig, 3), CPN_LSN_NONE);
  cpn_buffer_fini(&rig.buffer);
}

/* --- clock ---------------------------------------------------------------------------------------- */

Test(clock, never_goes_back) {
  struct rig rig;
  rig_begin(&rig, 0);
  cr_assert_eq(cpn_clock_now(&rig.clock), 1000);
  rig.wall = 500;
  cr_assert_eq(cpn_clock_now(&rig.clock), 1000);
  cpn_clock_raise(&rig.clock, 7000);
  cr_assert_eq(cpn_clock_now(&rig.clock), 7000);
  rig.wall = 8000;
  cr_assert_eq(cpn_clock_now(&rig.clock), 8000);
  cpn_buffer_fini(&rig.buffer);
}
