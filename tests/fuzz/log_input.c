/* SPDX-License-Identifier: Apache-2.0 */
#include "log_input.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checksum.h"

enum { SEGMENTS_MAX = 7, CAMPAIGNS_MAX = 8 };

static bool is_segment(const unsigned char *block) { return memcmp(block, "CPNSEGMT", 8) == 0; }
static bool is_frame(const unsigned char *block) { return memcmp(block, "CPNF", 4) == 0; }

void log_input_manifest(const unsigned char *identity, unsigned char *block) {
  memset(block, 0, LOG_BLOCK);
  memcpy(block, "CPNMANIF", 8);
  cpn_put_u32(block + 8, 1);
  cpn_put_u32(block + 12, 512);
  memcpy(block + 16, identity, LOG_IDENTITY_SIZE);
  cpn_put_u64(block + 32, 1);
  cpn_put_u64(block + 40, 1);
  cpn_put_u64(block + 504, cpn_checksum(block, 504));
}

/* Where the segment that begins at `from` ends. */
static size_t segment_end(const unsigned char *data, size_t size, size_t from) {
  for (size_t at = from + LOG_BLOCK; at + 8 <= size; at += LOG_BLOCK) {
    if (is_segment(data + at)) return at;
  }
  return size;
}

void log_input_put(struct memory_disk *disk, const unsigned char *data, size_t size) {
  size_t from = 0;
  for (unsigned number = 1; number <= SEGMENTS_MAX && from < size; number++) {
    char name[32];
    size_t end = segment_end(data, size, from);
    (void)snprintf(name, sizeof name, "%016x.log", number);
    memory_disk_put(disk, name, data + from, end - from, cpn_round_up(end - from, LOG_SEGMENT_BYTES));
    from = end;
  }
}

uint64_t log_input_random(uint64_t *state) {
  *state += UINT64_C(0x9e3779b97f4a7c15);
  uint64_t z = *state;
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* --- sealing ---------------------------------------------------------------------------------------- */

/* The bytes of the frame at `at`, header and padding included, as far as they are there. */
static size_t frame_bytes(const unsigned char *data, size_t size, size_t at) {
  uint64_t whole = cpn_round_up(64 + (uint64_t)cpn_get_u32(data + at + 32), LOG_BLOCK);
  return (size_t)cpn_min_u64(whole, size - at);
}

static void seal_frame(unsigned char *data, size_t size, size_t at, const unsigned char *identity) {
  if (size - at < 64) return;
  size_t length = frame_bytes(data, size, at);
  cpn_put_u64(data + at + 48, cpn_checksum(data + at + 64, length - 64));
  cpn_put_u64(data + at + 56, cpn_checksum_two(identity, LOG_IDENTITY_SIZE, data + at, 56));
}

void log_input_seal(unsigned char *data, size_t size, const unsigned char *identity) {
  for (size_t at = 0; at + 8 <= size; at += LOG_BLOCK) {
    if (is_segment(data + at) && size - at >= LOG_BLOCK) cpn_put_u64(data + at + 504, cpn_checksum(data + at, 504));
    if (is_frame(data + at)) seal_frame(data, size, at, identity);
  }
}

/* --- mending ---------------------------------------------------------------------------------------- */

struct mending {
  uint64_t number, segment_from, lsn, life, time_ns;
  uint32_t campaigns;
  uint32_t kinds[CAMPAIGNS_MAX];
  bool polite;
};

/* Bytes of the record at `record`, of which `room` are left; 0: none that could be one. */
static size_t record_bytes(const unsigned char *record, size_t room) {
  size_t length = room < 8 ? 0 : (size_t)cpn_get_u16(record + 2) * 8;
  return length <= room ? length : 0;
}

/* Tickets that lie in the record without a head and a time of their own. */
static uint64_t joined_in(const unsigned char *record, size_t length) {
  const size_t user = record[0] == 7 ? 8 : record[0] == 8 ? 16 : 0;
  return user == 0 || length < 16 + user || (length - 16) % user != 0 ? 0 : (length - 16) / user - 1;
}

static void mend_time(struct mending *m, unsigned char *time) {
  if (cpn_get_u64(time) < m->time_ns) cpn_put_u64(time, m->time_ns);
  if (cpn_get_u64(time) < 1000) m->time_ns = cpn_get_u64(time);
}

static void mend_record(struct mending *m, unsigned char *record, size_t length) {
  uint32_t campaign = m->campaigns == 0 ? 0 : cpn_get_u32(record + 4) % m->campaigns;
  if (record[0] == 4 && length >= 64) {
    cpn_put_u32(record + 4, m->campaigns);
    if (m->campaigns < CAMPAIGNS_MAX) m->kinds[m->campaigns++] = cpn_get_u32(record + 60);
  } else if (record[0] >= 5 && record[0] <= 8) {
    cpn_put_u32(record + 4, campaign);
    bool uuid = m->campaigns > 0 && m->kinds[campaign] == 1;
    if (length % 16 == 8 && record[0] == 8 && !uuid) record[0] = 7;
    if (length % 16 == 0 && record[0] == 7 && uuid) record[0] = 8;
    mend_time(m, record + length - 8);
  }
}

static void mend_frame(struct mending *m, unsigned char *frame, size_t room, size_t at) {
  size_t payload = cpn_get_u32(frame + 32) & ~UINT32_C(7);
  if (payload < 8) payload = 8;
  if (payload > room - 64) payload = (room - 64) & ~(size_t)7;
  unsigned char *records = frame + 64;
  if (records[0] == 2 && payload >= 32) {
    cpn_put_u64(records + 8, ++m->life);
    cpn_put_u64(records + 24, m->lsn);
  }
  cpn_put_u64(frame + 8, m->lsn);
  if (cpn_get_u64(frame + 16) > m->lsn) cpn_put_u64(frame + 16, m->lsn);
  cpn_put_u64(frame + 24, m->life);
  cpn_put_u32(frame + 32, (uint32_t)payload);
  cpn_put_u32(frame + 36, (uint32_t)((at - m->segment_from) / LOG_BLOCK));
  cpn_put_u64(frame + 40, m->number);
  uint64_t joined = 0;
  for (size_t i = 0, length; (length = record_bytes(records + i, payload - i)) > 0; i += length) {
    if (m->polite) mend_record(m, records + i, length);
    joined += joined_in(records + i, length);
  }
  cpn_put_u16(frame + 6, (uint16_t)joined);
  m->lsn += payload + 16 * joined;
}

static void mend_segment(struct mending *m, unsigned char *block, size_t bytes, const unsigned char *identity) {
  m->number++;
  cpn_put_u32(block + 8, 1);
  cpn_put_u32(block + 12, 512);
  memcpy(block + 16, identity, LOG_IDENTITY_SIZE);
  cpn_put_u64(block + 32, m->number);
  cpn_put_u64(block + 40, m->lsn);
  cpn_put_u64(block + 56, cpn_round_up(bytes, LOG_SEGMENT_BYTES));
}

void log_input_mend(unsigned char *data, size_t size, const unsigned char *identity, bool polite) {
  struct mending m = {.polite = polite};
  size_t end = 0;
  for (size_t at = 0; at + LOG_BLOCK <= size;) {
    size_t step = LOG_BLOCK;
    if (at == 0 || is_segment(data + at)) {
      end = segment_end(data, size, at);
      m.segment_from = at;
      if (is_segment(data + at)) mend_segment(&m, data + at, end - at, identity);
    } else if (is_frame(data + at)) {
      mend_frame(&m, data + at, end - at, at);
      step = (size_t)cpn_round_up(frame_bytes(data, end, at), LOG_BLOCK);
    }
    at += step;
  }
}
