/* SPDX-License-Identifier: Apache-2.0 */
#include "log_build.h"

#include <string.h>

#include "base/bytes.h"
#include "log_input.h"

static unsigned char *add_block(struct log_build *made, const char *magic) {
  unsigned char *block = made->bytes + made->size;
  memset(block, 0, LOG_BLOCK);
  memcpy(block, magic, strlen(magic));
  made->size += LOG_BLOCK;
  return block;
}

void log_build_segment(struct log_build *made) { (void)add_block(made, "CPNSEGMT"); }

void log_build_frame(struct log_build *made) {
  made->frame = made->size;
  made->record = 64;
  unsigned char *block = add_block(made, "CPNF");
  cpn_put_u16(block + 4, 1);
  cpn_put_u64(block + 16, UINT64_MAX); /* mending makes it what is possible: all before it was synced */
}

unsigned char *log_build_record(struct log_build *made, unsigned type, unsigned words, unsigned campaign) {
  unsigned char *frame = made->bytes + made->frame, *record = frame + made->record;
  record[0] = (unsigned char)type;
  cpn_put_u16(record + 2, (uint16_t)words);
  cpn_put_u32(record + 4, campaign);
  made->record += 8 * (size_t)words;
  cpn_put_u32(frame + 32, (uint32_t)(made->record - 64));
  return record;
}

void log_build_life(struct log_build *made) {
  log_build_frame(made);
  cpn_put_u64(log_build_record(made, 2, 4, 0) + 16, 100);
}

void log_build_campaign(struct log_build *made, unsigned index, uint64_t limit, unsigned kind, uint64_t opens,
                        uint64_t closes, const char *name) {
  uint32_t length = (uint32_t)strlen(name);
  unsigned char *record = log_build_record(made, 4, 8 + (length + 7) / 8, index);
  cpn_put_u64(record + 8, 10 + index);
  cpn_put_u64(record + 16, 3);
  cpn_put_u64(record + 24, limit);
  cpn_put_u64(record + 32, opens);
  cpn_put_u64(record + 40, closes);
  cpn_put_u64(record + 48, 100);
  cpn_put_u32(record + 56, length);
  cpn_put_u32(record + 60, kind);
  memcpy(record + 64, name, length);
}

void log_build_issue(struct log_build *made, unsigned campaign, uint64_t user, bool uuid, uint64_t time_ns) {
  unsigned char *record = log_build_record(made, uuid ? 8 : 7, uuid ? 4 : 3, campaign);
  cpn_put_u64(record + 8, user);
  cpn_put_u64(record + (uuid ? 24 : 16), time_ns);
}

void log_build_joined(struct log_build *made, unsigned campaign, uint64_t user, unsigned count, bool uuid,
                      uint64_t time_ns) {
  const unsigned each = uuid ? 2 : 1;
  unsigned char *record = log_build_record(made, uuid ? 8 : 7, 2 + each * count, campaign);
  for (unsigned i = 0; i < count; i++) cpn_put_u64(record + 8 + (size_t)8 * each * i, user + i);
  cpn_put_u64(record + 8 + (size_t)8 * each * count, time_ns);
}

/* A record that is nothing but a time. */
void log_build_time(struct log_build *made, unsigned type, unsigned campaign, uint64_t time_ns) {
  cpn_put_u64(log_build_record(made, type, 2, campaign) + 8, time_ns);
}

void log_build_end(struct log_build *made) {
  log_build_frame(made);
  log_build_time(made, 3, 0, 500);
}

struct log_build log_build_begin(void) {
  struct log_build made = {.size = 0};
  log_build_segment(&made);
  return made;
}

void log_build_seal(struct log_build *made, const unsigned char *identity) {
  log_input_mend(made->bytes, made->size, identity, false);
  log_input_seal(made->bytes, made->size, identity);
}
