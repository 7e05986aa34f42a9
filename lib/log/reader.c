/* SPDX-License-Identifier: Apache-2.0 */
#include "log/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/points.h"
#include "log/ahead.h"
#include "log/join.h"

/* How much of a segment is in memory at once, at most: the largest frame. */
#define WINDOW_SIZE ((size_t)2 * 1024 * 1024)
/* Read at a time, where a frame is no longer: what is read is then still in the cache when it is looked at. */
#define READ_SIZE ((size_t)256 * 1024)
_Static_assert(WINDOW_SIZE >= CPN_FRAME_PAYLOAD_MAX + 2 * CPN_BLOCK_SIZE, "a frame fits");

static bool block_is_zero(const unsigned char *block, size_t size) {
  static const unsigned char zeros[CPN_BLOCK_SIZE];
  return memcmp(block, zeros, size) == 0;
}

/* --- a segment through a window ------------------------------------------------------------------ */

struct segment {
  const struct cpn_io *io;
  char name[CPN_SEGMENT_NAME_SIZE];
  int file;
  uint64_t number;
  uint64_t size;
  struct cpn_segment_header header;
  struct cpn_ahead *ahead; /* where windows come from, or NULL: there is one */
  unsigned char *window;
  uint64_t window_from;
  size_t window_length;
  int64_t error; /* of the last read: -errno, or 0 */
};

/* `size` bytes at `offset`, valid until the next call; NULL: the file ends before (error 0), or cannot be read. */
static const unsigned char *segment_at(struct segment *segment, uint64_t offset, size_t size) {
  if (offset > segment->size || size > segment->size - offset) return NULL;
  bool inside = offset >= segment->window_from && offset + size <= segment->window_from + segment->window_length;
  if (!inside) {
    size_t want = (size_t)cpn_min_u64(cpn_max_u64(READ_SIZE, size), segment->size - offset);
    if (segment->ahead != NULL) segment->window = cpn_ahead_window(segment->ahead);
    segment->window_length = 0;
    if (segment->window == NULL) return NULL; /* nobody wants to know any more */
    int64_t got = cpn_io_read_all(segment->io, segment->file, offset, segment->window, want);
    segment->window_from = offset;
    segment->window_length = got < 0 ? 0 : (size_t)got;
    if (got < 0) segment->error = got;
    if (segment->window_length < size) return NULL;
  }
  return segment->window + (offset - segment->window_from);
}

static void segment_close(struct segment *segment) {
  if (segment->file >= 0) (void)segment->io->close(segment->io->context, segment->file);
  segment->file = -1;
}

/* Opens segment `number` and checks its header; the window's memory is the caller's. */
static coupon_status segment_open(struct segment *segment, const struct cpn_reader *reader, uint64_t number,
                                  unsigned char *window, struct cpn_fault *fault) {
  const struct cpn_io *io = reader->io;
  *segment = (struct segment){.io = io, .number = number, .ahead = reader->ahead, .window = window};
  cpn_segment_name(number, segment->name);
  segment->file = io->open(io->context, reader->directory, segment->name, CPN_IO_READ);
  if (segment->file == -ENOENT)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, segment->name, 0,
                         "a log segment is missing; restore the directory from a copy");
  if (segment->file < 0) return cpn_fault_from_io(fault, segment->file, segment->name, "cannot open a log segment");
  int error = io->size(io->context, segment->file, &segment->size);
  if (error < 0) return cpn_fault_from_io(fault, error, segment->name, "cannot read a log segment");

  const unsigned char *block = segment_at(segment, 0, CPN_BLOCK_SIZE);
  if (block == NULL && segment->error < 0)
    return cpn_fault_from_io(fault, segment->error, segment->name, "cannot read a log segment");
  enum cpn_decoded decoded =
      block == NULL ? CPN_DECODED_NOT
                    : cpn_segment_header_decode(&segment->header, reader->manifest.identity, number, block);
  if (decoded == CPN_DECODED_NEWER)
    return cpn_fault_set(fault, COUPON_E_VERSION, segment->name, 0,
                         "the log segment has a newer version; use a newer libcoupon");
  if (decoded != CPN_DECODED_OK)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, segment->name, 0,
                         "the segment's header is damaged, or the file is another's; restore it from a copy");
  /* The whole file was synced before it got its name: no crash shortens it. */
  if (segment->size < segment->header.segment_size)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, segment->name, segment->size,
                         "the segment is shorter than it was made; restore it from a copy");
  segment->size = segment->header.segment_size;
  return COUPON_OK;
}

/* --- the manifest -------------------------------------------------------------------------------- */

struct numbers {
  uint64_t last, count;
};

static void collect_number(void *context, const char *name) {
  struct numbers *numbers = context;
  uint64_t number = cpn_segment_number(name);
  if (number == 0) return;
  if (number > numbers->last) numbers->last = number;
  numbers->count++;
}

/* Whether segment 1 is there and holds anything but its header. 1, 0 or -errno. */
static int64_t first_segment_is_used(const struct cpn_io *io, int directory) {
  char name[CPN_SEGMENT_NAME_SIZE];
  cpn_segment_name(1, name);
  int file = io->open(io->context, directory, name, CPN_IO_READ);
  if (file < 0) return file;
  int64_t answer = 0;
  for (uint64_t at = CPN_BLOCK_SIZE; answer == 0; at += CPN_BLOCK_SIZE) {
    unsigned char block[CPN_BLOCK_SIZE] = {0};
    int64_t got = cpn_io_read_all(io, file, at, block, sizeof block);
    if (got == 0) break;
    answer = got < 0 ? got : !block_is_zero(block, (size_t)got);
  }
  (void)io->close(io->context, file);
  return answer;
}

/* No manifest: nothing of ours, or an unfinished creation, or damage. */
static coupon_status without_manifest(const struct cpn_io *io, int directory, struct cpn_fault *fault) {
  struct numbers numbers = {0};
  int error = io->list(io->context, directory, collect_number, &numbers);
  if (error < 0) return cpn_fault_from_io(fault, error, "", "cannot list the directory");
  /* An empty first segment is what a crash during creation leaves. */
  int64_t used = numbers.count == 0 ? 0 : numbers.last > 1 ? 1 : first_segment_is_used(io, directory);
  if (used < 0) return cpn_fault_from_io(fault, used, "", "cannot read a log segment");
  if (used > 0)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, CPN_MANIFEST_NAME, 0,
                         "the manifest is missing beside log segments; restore it from a copy");
  return cpn_fault_set(fault, COUPON_E_ACCESS, "", 0, "not a libcoupon directory");
}

coupon_status cpn_reader_manifest(const struct cpn_io *io, int directory, struct cpn_manifest *manifest,
                                  struct cpn_fault *fault) {
  int file = io->open(io->context, directory, CPN_MANIFEST_NAME, CPN_IO_READ);
  if (file == -ENOENT) return without_manifest(io, directory, fault);
  if (file < 0) return cpn_fault_from_io(fault, file, CPN_MANIFEST_NAME, "cannot open the manifest");
  unsigned char block[CPN_BLOCK_SIZE];
  int64_t got = cpn_io_read_all(io, file, 0, block, sizeof block);
  (void)io->close(io->context, file);
  if (got < 0) return cpn_fault_from_io(fault, got, CPN_MANIFEST_NAME, "cannot read the manifest");
  enum cpn_decoded decoded = got == (int64_t)sizeof block ? cpn_manifest_decode(manifest, block) : CPN_DECODED_NOT;
  if (decoded == CPN_DECODED_NEWER)
    return cpn_fault_set(fault, COUPON_E_VERSION, CPN_MANIFEST_NAME, 0,
                         "the directory has a newer version; use a newer libcoupon");
  if (decoded != CPN_DECODED_OK)
    return cpn_fault_set(fault, COUPON_E_CORRUPT, CPN_MANIFEST_NAME, 0,
                         "the manifest is damaged; restore it from a copy");
  return COUPON_OK;
}

/* --- frames -------------------------------------------------------------------------------------- */

enum next { NEXT_FRAME, NEXT_NOTHING, NEXT_FAULT };

static coupon_status damaged(struct cpn_fault *fault, const struct segment *segment, uint64_t offset,
                             const char *message) {
  return cpn_fault_set(fault, COUPON_E_CORRUPT, segment->name, offset, message);
}

/* The frame at the reader's position, if a valid one follows there. */
static enum next next_frame(struct cpn_reader *reader, struct segment *segment, struct cpn_frame *frame,
                            const unsigned char **bytes, struct cpn_fault *fault) {
  const uint64_t offset = reader->offset;
  const unsigned char *header = segment_at(segment, offset, CPN_FRAME_HEADER_SIZE);
  if (header == NULL) return NEXT_NOTHING;
  switch (cpn_frame_decode(frame, reader->manifest.identity, segment->number, offset, header)) {
    case CPN_DECODED_OK:
      break;
    case CPN_DECODED_DAMAGED:
    case CPN_DECODED_NEWER:
      (void)damaged(fault, segment, offset, "a frame header makes no sense; restore the segment from a copy");
      return NEXT_FAULT;
    case CPN_DECODED_NOT:
      return NEXT_NOTHING;
  }
  if (frame->first_lsn != reader->lsn) return NEXT_NOTHING;
  bool next_life = frame->life == reader->life + 1;
  if (!next_life && (frame->life != reader->life || frame->life == 0)) return NEXT_NOTHING;
  /* The length is vouched for, but this version holds no more in memory. */
  if (cpn_frame_length(frame) > CPN_FRAME_PAYLOAD_MAX) {
    (void)damaged(fault, segment, offset, "a frame is longer than any can be; restore the segment from a copy");
    return NEXT_FAULT;
  }
  *bytes = segment_at(segment, offset, (size_t)cpn_frame_size(frame->payload_bytes));
  if (*bytes == NULL || !cpn_frame_body_valid(frame, *bytes)) return NEXT_NOTHING;
  if (!cpn_frame_is_known(frame, *bytes)) {
    (void)cpn_fault_set(fault, COUPON_E_VERSION, segment->name, offset,
                        "a frame has a newer version; use a newer libcoupon");
    return NEXT_FAULT;
  }
  return next_life && !cpn_frame_begins_life(frame, *bytes) ? NEXT_NOTHING : NEXT_FRAME;
}

/* LIFE stands first in the first frame of a life, and nowhere else; nothing of a life stands behind its END. */
static bool life_rule_holds(const struct cpn_reader *reader, const struct cpn_frame *frame,
                            const struct cpn_record *record, bool first) {
  bool begins = first && frame->life == reader->life + 1;
  if (record->type != CPN_RECORD_LIFE) return !begins && !reader->ended;
  return begins && record->life == frame->life && record->began_lsn == frame->first_lsn;
}

/* What of the frame is a rule broken in? The reader knows the place, not who checks the rules. */
static coupon_status placed(coupon_status status, const struct segment *segment, const struct cpn_frame *frame,
                            struct cpn_fault *fault) {
  if (status < 0 && fault->file[0] == 0) {
    memcpy(fault->file, segment->name, sizeof segment->name);
    fault->offset = frame->offset;
  }
  return status;
}

static coupon_status breaks_format(const struct segment *segment, const struct cpn_frame *frame,
                                   struct cpn_fault *fault) {
  return damaged(fault, segment, frame->offset, "a record breaks the format; restore the segment from a copy");
}

/* Where in a frame's payload the next record lies. */
struct place {
  size_t at;
  uint64_t lsn;    /* where it begins */
  uint32_t joined; /* tickets that are joined, by the header, from here on */
};

/* One record that is as it is. */
static coupon_status visit_record(struct cpn_reader *reader, const struct segment *segment,
                                  const struct cpn_frame *frame, const unsigned char *payload, struct place *place,
                                  struct cpn_fault *fault) {
  struct cpn_record record;
  size_t length;
  enum cpn_decoded decoded = cpn_record_decode(&record, payload + place->at, frame->payload_bytes - place->at, &length);
  if (decoded == CPN_DECODED_NEWER)
    return cpn_fault_set(fault, COUPON_E_VERSION, segment->name, frame->offset,
                         "a record is of a newer version; use a newer libcoupon");
  if (decoded != CPN_DECODED_OK || !life_rule_holds(reader, frame, &record, place->at == 0))
    return breaks_format(segment, frame, fault);
  reader->ended = record.type == CPN_RECORD_END;
  place->at += length;
  record.lsn = place->lsn += length;
  coupon_status status = reader->each(reader->context, &record, fault);
  if (status >= 0) reader->records++;
  return placed(status, segment, frame, fault);
}

/* Some joined tickets that go on with the run, if they lie at the place, which then moves behind them. */
static bool take_joined(const struct cpn_frame *frame, const unsigned char *payload, struct place *place,
                        struct cpn_run *run) {
  const size_t left = frame->payload_bytes - place->at;
  if (left < 8 || place->joined == 0) return false;
  const uint64_t head = cpn_get_u64(payload + place->at);
  const uint32_t user_words = run->words - CPN_WORDS_ISSUE + 1, users = cpn_joined_users(head, user_words);
  const size_t size = cpn_record_words(head) * (size_t)8;
  if (cpn_joined_user_words(head) != user_words || head >> 32 != run->campaign) return false;
  if (users == 0 || users - 1 > place->joined || size > left) return false;
  place->joined -= users - 1;
  place->at += size;
  run->count += users;
  return true;
}

/* The run of tickets at the place, if one is there; the place is then behind it. */
static bool find_run(const struct cpn_frame *frame, const unsigned char *payload, struct place *place,
                     struct cpn_run *run) {
  const size_t end = frame->payload_bytes;
  const uint32_t user_words = cpn_joined_user_words(cpn_get_u64(payload + place->at));
  if (user_words == 0) return false;
  *run = (struct cpn_run){.type = (enum cpn_record_type)payload[place->at],
                          .campaign = (uint32_t)(cpn_get_u64(payload + place->at) >> 32),
                          .words = cpn_issue_words(user_words),
                          .bytes = payload + place->at,
                          .lsn = place->lsn};
  const uint64_t alone = cpn_issue_head(user_words, run->campaign);
  const size_t size = run->words * (size_t)8;
  do {
    size_t at = place->at;
    while (at + size <= end && cpn_get_u64(payload + at) == alone) at += size;
    run->count += (at - place->at) / size;
    place->at = at;
  } while (take_joined(frame, payload, place, run));
  place->lsn += run->count * size;
  return run->count > 0;
}

static coupon_status visit_run(struct cpn_reader *reader, const struct segment *segment, const struct cpn_frame *frame,
                               const struct cpn_run *run, struct cpn_fault *fault) {
  uint64_t done = 0;
  coupon_status status = reader->each_run(reader->context, run, &done, fault);
  reader->records += done;
  return placed(status, segment, frame, fault);
}

static coupon_status visit_records(struct cpn_reader *reader, const struct segment *segment,
                                   const struct cpn_frame *frame, const unsigned char *payload,
                                   struct cpn_fault *fault) {
  struct place place = {.lsn = frame->first_lsn, .joined = frame->joined};
  while (place.at < frame->payload_bytes) {
    struct cpn_run run;
    coupon_status status;
    /* A frame that begins a life has LIFE first, and nothing follows END, or a rule is broken that visit_record() knows; as it
     * does whatever is not what it should be where a run ends. */
    if ((place.at > 0 || frame->life == reader->life) && !reader->ended && find_run(frame, payload, &place, &run))
      status = visit_run(reader, segment, frame, &run, fault);
    else
      status = visit_record(reader, segment, frame, payload, &place, fault);
    if (status < 0) return status;
  }
  if (place.joined == 0 || CPN_MISTAKE(JOINED_UNCOUNTED)) return COUPON_OK;
  return breaks_format(segment, frame, fault);
}

static void go_behind(struct cpn_reader *reader, const struct cpn_frame *frame) {
  reader->lsn = cpn_frame_end_lsn(frame);
  reader->life = frame->life;
}

/* What the second thread sends. */
struct item {
  enum { ITEM_FRAME, ITEM_PROGRESS, ITEM_END } kind;
  struct segment segment; /* to look at */
  struct cpn_frame frame;
  const unsigned char *payload;
  uint64_t done, total;
};

/* Visits the frame's records, or has it done. */
static coupon_status take_frame(struct cpn_reader *reader, const struct segment *segment, const struct cpn_frame *frame,
                                const unsigned char *payload, struct cpn_fault *fault) {
  if (reader->ahead == NULL) return visit_records(reader, segment, frame, payload, fault);
  const struct item item = {.kind = ITEM_FRAME, .segment = *segment, .frame = *frame, .payload = payload};
  cpn_ahead_push(reader->ahead, &item);
  return COUPON_OK;
}

/* All frames of one segment that follow the reader's position. */
static coupon_status read_frames(struct cpn_reader *reader, struct segment *segment, struct cpn_fault *fault) {
  const bool in_middle = segment->number == reader->start.segment; /* what lies before is proved */
  reader->offset = in_middle ? reader->start.offset : CPN_BLOCK_SIZE;
  reader->proof_offset = in_middle ? reader->start.offset : 0;
  reader->proof_lsn = cpn_max_u64(reader->proof_lsn, segment->header.first_lsn);
  for (;;) {
    struct cpn_frame frame;
    const unsigned char *bytes;
    enum next next = next_frame(reader, segment, &frame, &bytes, fault);
    if (next == NEXT_FAULT) return fault->status;
    if (next == NEXT_NOTHING) break;
    if (cpn_frame_end_lsn(&frame) > reader->limit_lsn) break;
    coupon_status status = take_frame(reader, segment, &frame, bytes + CPN_FRAME_HEADER_SIZE, fault);
    if (status < 0) return status;
    /* With a sync for each commit a frame proves all before it. Where it proves less, we keep to the earlier point. */
    if (frame.synced_lsn == frame.first_lsn) reader->proof_offset = frame.offset;
    reader->proof_lsn = cpn_max_u64(reader->proof_lsn, frame.synced_lsn);
    go_behind(reader, &frame);
    reader->offset += cpn_frame_size(frame.payload_bytes);
  }
  if (segment->error < 0) return cpn_fault_from_io(fault, segment->error, segment->name, "cannot read a log segment");
  return COUPON_OK;
}

/* What lies behind a segment's last frame: evidence that more had been synced, and the end of what is not zero. Frames
 * of any life count: their claims were true when they were written, and what was synced then was kept ever since. */
static coupon_status search_tail(struct cpn_reader *reader, struct segment *segment, struct cpn_fault *fault) {
  reader->tail_end = reader->offset;
  for (uint64_t at = reader->offset; at < segment->size; at += CPN_BLOCK_SIZE) {
    const unsigned char *block = segment_at(segment, at, CPN_BLOCK_SIZE);
    if (block == NULL) break;
    if (block_is_zero(block, CPN_BLOCK_SIZE)) continue;
    reader->tail_end = at + CPN_BLOCK_SIZE;
    struct cpn_frame frame;
    if (cpn_frame_decode(&frame, reader->manifest.identity, segment->number, at, block) == CPN_DECODED_OK)
      reader->proof_lsn = cpn_max_u64(reader->proof_lsn, frame.synced_lsn);
  }
  if (segment->error < 0) return cpn_fault_from_io(fault, segment->error, segment->name, "cannot read a log segment");
  return COUPON_OK;
}

/* A segment whose first LSN is not where the log has got to. */
static coupon_status wrong_beginning(const struct cpn_reader *reader, const struct segment *before,
                                     const struct segment *segment, struct cpn_fault *fault) {
  if (segment->header.first_lsn > reader->lsn && before->name[0] != 0)
    return damaged(fault, before, reader->offset,
                   "the log is damaged here: a later segment shows that more was durable; restore it from a copy");
  return damaged(fault, segment, 0, "the segment does not continue the one before; restore the directory from a copy");
}

/* Whether the segment begins where the log has got to; the one in which reading starts, before that. */
static bool continues(const struct cpn_reader *reader, const struct segment *segment) {
  if (segment->number != reader->start.segment) return segment->header.first_lsn == reader->lsn;
  return segment->header.first_lsn < reader->lsn && reader->start.offset <= segment->size;
}

static coupon_status read_segments(struct cpn_reader *reader, unsigned char *window, struct cpn_fault *fault) {
  struct segment before = {.file = -1}, segment = {.file = -1};
  coupon_status status = COUPON_OK;
  uint64_t done = 0;
  for (uint64_t number = reader->first_number; status == COUPON_OK && number <= reader->last_number; number++) {
    status = segment_open(&segment, reader, number, window, fault);
    if (status == COUPON_OK && !continues(reader, &segment)) status = wrong_beginning(reader, &before, &segment, fault);
    if (status == COUPON_OK) status = read_frames(reader, &segment, fault);
    if (status == COUPON_OK && reader->limit_lsn == UINT64_MAX) status = search_tail(reader, &segment, fault);
    reader->file_size = segment.size;
    segment_close(&segment);
    before = segment;
    /* Segments are of one size, unless an option was changed: the total is an estimate until the end. */
    done += segment.size - (number == reader->start.segment ? cpn_min_u64(reader->start.offset, segment.size) : 0);
    /* Segments beyond the limit have come since the limit was read. */
    bool enough = reader->lsn >= reader->limit_lsn;
    uint64_t left = enough ? 0 : reader->last_number - number;
    if (reader->progress != NULL && status == COUPON_OK)
      reader->progress(reader->context, done, done + left * segment.size);
    if (enough) break;
  }
  if (status != COUPON_OK) return status;
  if (reader->limit_lsn != UINT64_MAX && reader->lsn < reader->limit_lsn)
    return damaged(fault, &before, reader->offset,
                   "the log ends before what its owner has made durable; restore it from a copy");
  if (reader->proof_lsn > reader->lsn)
    return damaged(fault, &before, reader->offset,
                   "the log is damaged here: later frames show that more was durable; restore it from a copy");
  return COUPON_OK;
}

/* --- two threads --------------------------------------------------------------------------------- */

/* The second thread's: it reads and checks, and sends what it finds. */
struct scout {
  struct cpn_ahead ahead;
  struct cpn_reader reader;
  coupon_status status;
  struct cpn_fault fault;
};

static void send_progress(void *context, uint64_t done, uint64_t total) {
  struct scout *scout = context;
  const struct item item = {.kind = ITEM_PROGRESS, .done = done, .total = total};
  cpn_ahead_push(&scout->ahead, &item);
}

static void *scout_thread(void *argument) {
  struct scout *scout = argument;
  scout->status = read_segments(&scout->reader, NULL, &scout->fault);
  const struct item end = {.kind = ITEM_END};
  cpn_ahead_push(&scout->ahead, &end);
  return NULL;
}

/* Takes what the scout sends, to the end or to the first broken rule. */
static coupon_status follow(struct cpn_reader *reader, struct scout *scout, struct cpn_fault *fault) {
  coupon_status status = COUPON_OK;
  for (bool end = false; !end && status >= 0;) {
    const struct item *item = cpn_ahead_next(&scout->ahead);
    end = item->kind == ITEM_END;
    if (item->kind == ITEM_FRAME) {
      status = visit_records(reader, &item->segment, &item->frame, item->payload, fault);
      if (status >= 0) go_behind(reader, &item->frame);
    } else if (item->kind == ITEM_PROGRESS && reader->progress != NULL) {
      reader->progress(reader->context, item->done, item->total);
    }
    cpn_ahead_done(&scout->ahead);
  }
  return status;
}

/* Everything that was read ahead has its effect before the scout's own fault, if it has one, counts. */
static coupon_status join(struct cpn_reader *reader, struct scout *scout, pthread_t thread, coupon_status status,
                          struct cpn_fault *fault) {
  if (status < 0) cpn_ahead_stop(&scout->ahead);
  (void)pthread_join(thread, NULL);
  if (status < 0) return status;
  const struct cpn_reader own = *reader;
  *reader = scout->reader;
  reader->each = own.each;
  reader->each_run = own.each_run;
  reader->progress = own.progress;
  reader->context = own.context;
  reader->records = own.records;
  reader->ahead = NULL;
  *fault = scout->fault;
  return scout->status;
}

/* False: there is no second thread to be had, and nothing was read. */
static bool read_with_scout(struct cpn_reader *reader, coupon_status *status, struct cpn_fault *fault) {
  const struct cpn_env *env = reader->env;
  if (env == NULL || env->start_thread == NULL || reader->last_number == reader->first_number ||
      cpn_env_processors() == 1)
    return false;
  struct scout *scout = aligned_alloc(CPN_CACHE_LINE, cpn_round_up(sizeof *scout, CPN_CACHE_LINE));
  if (scout == NULL) return false;
  pthread_t thread;
  bool started = cpn_ahead_init(&scout->ahead, WINDOW_SIZE, sizeof(struct item));
  if (started) {
    scout->reader = *reader;
    scout->reader.ahead = &scout->ahead;
    scout->reader.context = scout;
    scout->reader.progress = send_progress;
    memset(&scout->fault, 0, sizeof scout->fault);
    started = env->start_thread(env->context, &thread, "coupon-scout", scout_thread, scout) == 0;
    if (started) *status = join(reader, scout, thread, follow(reader, scout, fault), fault);
    cpn_ahead_fini(&scout->ahead);
  }
  free(scout);
  return started;
}

uint64_t cpn_reader_last_segment(const struct cpn_io *io, int directory) {
  struct numbers numbers = {0};
  return io->list(io->context, directory, collect_number, &numbers) < 0 ? 0 : numbers.last;
}

coupon_status cpn_reader_run(struct cpn_reader *reader, struct cpn_fault *fault) {
  struct numbers numbers = {0};
  int error = reader->io->list(reader->io->context, reader->directory, collect_number, &numbers);
  if (error < 0) return cpn_fault_from_io(fault, error, "", "cannot list the directory");
  /* A gap shows when its segment is opened. */
  reader->first_number = reader->manifest.first_segment;
  if (reader->start.segment != 0) {
    reader->first_number = reader->start.segment;
    reader->lsn = reader->start.lsn;
    reader->life = reader->start.life;
    reader->proof_lsn = cpn_max_u64(reader->proof_lsn, reader->start.lsn);
  }
  reader->last_number = cpn_max_u64(numbers.last, reader->first_number);
  memset(fault, 0, sizeof *fault);
  coupon_status status;
  if (read_with_scout(reader, &status, fault)) return status;
  unsigned char *window = malloc(WINDOW_SIZE);
  if (window == NULL) return cpn_fault_set(fault, COUPON_E_NOMEM, "", 0, "no memory to read the log");
  status = read_segments(reader, window, fault);
  free(window);
  return status;
}
