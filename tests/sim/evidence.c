/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/evidence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"

#define BLOCK 512u
#define IDENTITY 16u
#define FRAME_HEADER 64u

struct walk {
  struct evidence *evidence;
  struct simdisk *disk;
  const unsigned char *identity;
  uint64_t last; /* number of the last segment */
  /* Where reading begins, if behind a checkpoint; 0: at the first segment's first frame. */
  uint64_t start_segment, start_offset;
};

static uint64_t number_at(const unsigned char *bytes, unsigned size) {
  uint64_t number = 0;
  for (unsigned i = size; i > 0; i--) number = number << 8 | bytes[i - 1];
  return number;
}

static void damaged(struct evidence *evidence, const char *why) {
  evidence->verdict = EVIDENCE_DAMAGED;
  evidence->why = why;
}

static bool is_zero(const unsigned char *bytes, uint64_t size) {
  return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* --- frames ---------------------------------------------------------------------------------------------- */

struct frame {
  uint64_t first_lsn, synced_lsn, life, payload, joined;
  const unsigned char *bytes;
};

/* The LSN at which it ends. */
static uint64_t frame_end(const struct frame *frame) { return frame->first_lsn + frame->payload + frame->joined * 16; }

/* A frame header that is valid where it stands. */
static bool header_at(const struct walk *walk, uint64_t segment, const unsigned char *file, uint64_t size, uint64_t at,
                      struct frame *frame) {
  unsigned char vouched[IDENTITY + 56];
  if (at + FRAME_HEADER > size) return false;
  const unsigned char *bytes = file + at;
  if (memcmp(bytes, "CPNF", 4) != 0) return false;
  memcpy(vouched, walk->identity, IDENTITY);
  memcpy(vouched + IDENTITY, bytes, 56);
  if (number_at(bytes + 56, 8) != cpn_checksum(vouched, sizeof vouched)) return false;
  if (number_at(bytes + 36, 4) != at / BLOCK || number_at(bytes + 40, 8) != segment) return false;
  *frame = (struct frame){.first_lsn = number_at(bytes + 8, 8),
                          .synced_lsn = number_at(bytes + 16, 8),
                          .life = number_at(bytes + 24, 8),
                          .payload = number_at(bytes + 32, 4),
                          .joined = number_at(bytes + 6, 2),
                          .bytes = bytes};
  return true;
}

static uint64_t frame_size(const struct frame *frame) {
  return (FRAME_HEADER + frame->payload + BLOCK - 1) / BLOCK * BLOCK;
}

/* Rules 1 to 3. */
static bool is_next(const struct walk *walk, const struct frame *frame, uint64_t room) {
  const struct evidence *evidence = walk->evidence;
  if (frame->first_lsn != evidence->stop_lsn || frame_size(frame) > room) return false;
  const unsigned char *payload = frame->bytes + FRAME_HEADER;
  if (number_at(frame->bytes + 48, 8) != cpn_checksum(payload, frame_size(frame) - FRAME_HEADER)) return false;
  if (frame->life == evidence->life) return frame->life != 0;
  return frame->life == evidence->life + 1 && payload[0] == 2 && number_at(payload + 8, 8) == frame->life;
}

static void walk_frames(struct walk *walk, uint64_t segment, const unsigned char *file, uint64_t size) {
  struct evidence *evidence = walk->evidence;
  uint64_t at = segment == walk->start_segment ? walk->start_offset : BLOCK;
  struct frame frame;
  while (header_at(walk, segment, file, size, at, &frame) && is_next(walk, &frame, size - at)) {
    if (frame.life != evidence->life && frame.life < EVIDENCE_LIVES) evidence->began_lsn[frame.life] = frame.first_lsn;
    evidence->life = frame.life;
    evidence->stop_lsn = frame_end(&frame);
    at += frame_size(&frame);
  }
  if (segment != walk->last) return;
  for (uint64_t behind = at; behind < size; behind += BLOCK) {
    uint64_t length = size - behind < BLOCK ? size - behind : BLOCK;
    if (!is_zero(file + behind, length)) evidence->cut_bytes = behind + length - at;
  }
}

/* Claims of everything that bears a valid header, wherever it stands. */
static void collect_proof(struct walk *walk, uint64_t segment, const unsigned char *file, uint64_t size) {
  struct frame frame;
  for (uint64_t at = BLOCK; at < size; at += BLOCK) {
    if (header_at(walk, segment, file, size, at, &frame))
      walk->evidence->proof_lsn = cpn_max_u64(walk->evidence->proof_lsn, frame.synced_lsn);
  }
}

/* --- files ----------------------------------------------------------------------------------------------- */

static bool block_holds(const unsigned char *bytes, const char *magic) {
  return memcmp(bytes, magic, 8) == 0 && number_at(bytes + 8, 4) == 1 && number_at(bytes + 12, 4) == BLOCK &&
         number_at(bytes + 504, 8) == cpn_checksum(bytes, 504);
}

static void segment_name(uint64_t number, char name[32]) {
  (void)snprintf(name, 32, "%016llx.log", (unsigned long long)number);
}

static uint64_t last_segment(const struct simdisk *disk) {
  uint64_t last = 0;
  const char *name;
  for (int at = 0; (name = simdisk_next_name(disk, &at)) != NULL;) {
    char expected[32];
    uint64_t number = strtoull(name, NULL, 16);
    segment_name(number, expected);
    if (strcmp(name, expected) == 0) last = cpn_max_u64(last, number);
  }
  return last;
}

/* One segment. False: it is damaged, or where it begins shows that something before it is. */
static bool walk_segment(struct walk *walk, uint64_t number) {
  struct evidence *evidence = walk->evidence;
  char name[32];
  uint64_t size = 0;
  segment_name(number, name);
  const unsigned char *file = simdisk_bytes(walk->disk, name, &size);
  if (file == NULL || size < BLOCK || !block_holds(file, "CPNSEGMT") || number_at(file + 32, 8) != number ||
      memcmp(file + 16, walk->identity, IDENTITY) != 0) {
    damaged(evidence, "a segment is missing, or its header is damaged");
    return false;
  }
  if (size < number_at(file + 56, 8)) {
    damaged(evidence, "a segment is short");
    return false;
  }
  size = number_at(file + 56, 8);
  const uint64_t first_lsn = number_at(file + 40, 8);
  bool begins_here = number == walk->start_segment; /* or rather within */
  if (begins_here ? first_lsn >= evidence->stop_lsn || walk->start_offset > size : first_lsn != evidence->stop_lsn) {
    damaged(evidence, "a segment does not begin where the one before it ends");
    return false;
  }
  evidence->proof_lsn = cpn_max_u64(evidence->proof_lsn, first_lsn);
  collect_proof(walk, number, file, size);
  walk_frames(walk, number, file, size);
  return true;
}

/* --- checkpoints ----------------------------------------------------------------------------------------- */

/* Whether the tickets files of these campaigns are there, by their first blocks. */
static bool released_hold(const struct walk *walk, const unsigned char *chunk) {
  const unsigned char *at = chunk + FRAME_HEADER;
  const uint64_t first = number_at(chunk + 24, 4), count = number_at(chunk + 28, 4);
  for (uint64_t i = 0; i < count; i++) {
    if (number_at(at + 80, 4) == 1) { /* released, and not dropped */
      char name[32];
      uint64_t size = 0;
      (void)snprintf(name, sizeof name, "%016llx.tickets", (unsigned long long)(first + i));
      const unsigned char *file = simdisk_bytes(walk->disk, name, &size);
      if (file == NULL || size < BLOCK || !block_holds(file, "CPNTICKT")) return false;
      if (number_at(file + 504, 8) != number_at(at + 96, 8) || size < number_at(file + 64, 8)) return false;
    }
    at += 104 + (number_at(at + 40, 4) + 7) / 8 * 8;
  }
  return true;
}

/* Whether the chunks behind the first block are those that it means. Of what they say nothing is looked at: the model
 * does that. */
static bool chunks_hold(const struct walk *walk, const unsigned char *file, uint64_t size, uint64_t number) {
  uint64_t at = BLOCK, chunks = 0, digest = 0;
  for (; at < size; chunks++) {
    unsigned char vouched[IDENTITY + 56];
    const unsigned char *bytes = file + at;
    memcpy(vouched, walk->identity, IDENTITY);
    memcpy(vouched + IDENTITY, bytes, 56);
    if (memcmp(bytes, "CPNC", 4) != 0 || number_at(bytes + 56, 8) != cpn_checksum(vouched, sizeof vouched))
      return false;
    if (number_at(bytes + 8, 8) != number || number_at(bytes + 16, 8) != at) return false;
    const uint64_t length = (FRAME_HEADER + number_at(bytes + 40, 4) + BLOCK - 1) / BLOCK * BLOCK;
    if (length > size - at) return false;
    if (number_at(bytes + 48, 8) != cpn_checksum(bytes + FRAME_HEADER, length - FRAME_HEADER)) return false;
    if (number_at(bytes + 6, 2) == 1 && !released_hold(walk, bytes)) return false;
    const uint64_t both[2] = {digest, number_at(bytes + 56, 8)};
    digest = cpn_checksum(both, sizeof both);
    at += length;
  }
  return at == size && chunks == number_at(file + 104, 8) && digest == number_at(file + 112, 8);
}

/* True: it is valid, and reading begins behind it. */
static bool walk_checkpoint(struct walk *walk, uint64_t number, uint64_t first_segment) {
  struct evidence *evidence = walk->evidence;
  char name[32];
  uint64_t size = 0;
  (void)snprintf(name, sizeof name, "%016llx.checkpoint", (unsigned long long)number);
  const unsigned char *file = simdisk_bytes(walk->disk, name, &size);
  if (file == NULL || size < BLOCK || !block_holds(file, "CPNCHKPT") || number_at(file + 32, 8) != number) return false;
  if (memcmp(file + 16, walk->identity, IDENTITY) != 0 || number_at(file + 64, 8) < first_segment) return false;
  /* What the first block says was durable, whatever has become of the rest. */
  evidence->proof_lsn = cpn_max_u64(evidence->proof_lsn, number_at(file + 40, 8));
  const uint64_t length = number_at(file + 96, 8);
  if (length > size || !chunks_hold(walk, file, length, number)) return false;
  evidence->checkpoint = number;
  evidence->stop_lsn = number_at(file + 40, 8);
  evidence->life = number_at(file + 48, 8);
  walk->start_segment = number_at(file + 64, 8);
  walk->start_offset = number_at(file + 72, 8);
  return true;
}

/* The segment to begin with; 0: there is none that could be. The `unreadable` newest checkpoints are not looked at. */
static uint64_t choose_beginning(struct walk *walk, const unsigned char *manifest, unsigned unreadable) {
  const uint64_t first = number_at(manifest + 40, 8), newest = number_at(manifest + 48, 8);
  const uint64_t older = number_at(manifest + 56, 8);
  if (newest != 0 && unreadable < 1 && walk_checkpoint(walk, newest, first)) return walk->start_segment;
  walk->evidence->passed_over = newest != 0;
  if (older != 0 && unreadable < 2 && walk_checkpoint(walk, older, first)) return walk->start_segment;
  if (first == 1) return first;
  damaged(walk->evidence, "no checkpoint is valid");
  return 0;
}

static void without_manifest(struct walk *walk) {
  char name[32];
  uint64_t size = 0;
  if (walk->last == 0) return;
  segment_name(1, name);
  const unsigned char *first = simdisk_bytes(walk->disk, name, &size);
  if (walk->last > 1 || first == NULL || (size > BLOCK && !is_zero(first + BLOCK, size - BLOCK)))
    damaged(walk->evidence, "the manifest is missing");
}

static void read_all(struct evidence *evidence, struct simdisk *disk, unsigned unreadable) {
  *evidence = (struct evidence){.verdict = EVIDENCE_NOTHING};
  struct walk walk = {.evidence = evidence, .disk = disk, .last = last_segment(disk)};
  uint64_t size = 0;
  const unsigned char *manifest = simdisk_bytes(disk, "manifest", &size);
  if (manifest == NULL) {
    without_manifest(&walk);
    return;
  }
  if (size < BLOCK || !block_holds(manifest, "CPNMANIF")) {
    damaged(evidence, "the manifest is damaged");
    return;
  }
  walk.identity = manifest + 16;
  evidence->verdict = EVIDENCE_SOUND;
  const uint64_t first = choose_beginning(&walk, manifest, unreadable);
  for (uint64_t number = first; first != 0 && number <= cpn_max_u64(walk.last, first); number++) {
    if (!walk_segment(&walk, number)) return;
  }
  if (first != 0 && evidence->proof_lsn > evidence->stop_lsn) damaged(evidence, "more was durable than is there");
}

void evidence_read(struct evidence *evidence, struct simdisk *disk) { read_all(evidence, disk, 0); }

void evidence_read_without(struct evidence *evidence, struct simdisk *disk, bool neither) {
  read_all(evidence, disk, neither ? 2 : 1);
}

uint64_t evidence_kept(const struct evidence *evidence, uint64_t life) {
  if (evidence->verdict != EVIDENCE_SOUND) return 0;
  return life < evidence->life && life + 1 < EVIDENCE_LIVES ? evidence->began_lsn[life + 1] : evidence->stop_lsn;
}
