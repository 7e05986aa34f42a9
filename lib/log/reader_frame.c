/* SPDX-License-Identifier: Apache-2.0 */
#include "log/reader_frame.h"

#include "base/bytes.h"
#include "base/points.h"
#include "log/join.h"

enum cpn_reader_next cpn_reader_frame_next(const struct cpn_reader *reader, struct cpn_reader_segment *segment,
                                           struct cpn_frame *frame, const unsigned char **payload,
                                           struct cpn_fault *fault) {
  const uint64_t offset = reader->offset;
  const unsigned char *header = cpn_reader_segment_at(segment, offset, CPN_FRAME_HEADER_SIZE);
  if (header == NULL) return CPN_READER_NOTHING;
  switch (cpn_frame_decode(frame, reader->manifest.identity, segment->number, offset, header)) {
    case CPN_DECODED_OK:
      break;
    case CPN_DECODED_DAMAGED:
    case CPN_DECODED_NEWER:
      (void)cpn_reader_damaged(fault, segment->number, offset,
                               "a frame header makes no sense; restore the segment from a copy");
      return CPN_READER_FAULT;
    case CPN_DECODED_NOT:
      return CPN_READER_NOTHING;
  }
  if (frame->first_lsn != reader->lsn) return CPN_READER_NOTHING;
  bool next_life = frame->life == reader->life + 1;
  if (!next_life && (frame->life != reader->life || frame->life == 0)) return CPN_READER_NOTHING;
  /* The length is vouched for, but this version holds no more in memory. */
  if (cpn_frame_length(frame) > CPN_FRAME_PAYLOAD_MAX) {
    (void)cpn_reader_damaged(fault, segment->number, offset,
                             "a frame is longer than any can be; restore the segment from a copy");
    return CPN_READER_FAULT;
  }
  const unsigned char *bytes = cpn_reader_segment_at(segment, offset, (size_t)cpn_frame_size(frame->payload_bytes));
  if (bytes == NULL || !cpn_frame_body_valid(frame, bytes)) return CPN_READER_NOTHING;
  if (!cpn_frame_is_known(frame, bytes)) {
    (void)cpn_fault_set(fault, COUPON_E_VERSION, segment->name, offset,
                        "a frame has a newer version; use a newer libcoupon");
    return CPN_READER_FAULT;
  }
  if (next_life && !cpn_frame_begins_life(frame, bytes)) return CPN_READER_NOTHING;
  if (cpn_frame_end_lsn(frame) > COUPON_LSN_MAX) {
    (void)cpn_reader_damaged(fault, segment->number, offset,
                             "a frame reaches beyond the last LSN; restore the segment from a copy");
    return CPN_READER_FAULT;
  }
  *payload = bytes + CPN_FRAME_HEADER_SIZE;
  return CPN_READER_FRAME;
}

/* LIFE stands first in the first frame of a life, and nowhere else; nothing of a life stands behind its END. */
static bool life_rule_holds(const struct cpn_reader *reader, const struct cpn_frame *frame,
                            const struct cpn_record *record, bool first) {
  bool begins = first && frame->life == reader->life + 1;
  if (record->type != CPN_RECORD_LIFE) return !begins && !reader->ended;
  return begins && record->life == frame->life && record->began_lsn == frame->first_lsn;
}

/* What of the frame is a rule broken in? The reader knows the place, not who checks the rules. */
static coupon_status placed(coupon_status status, const struct cpn_frame *frame, struct cpn_fault *fault) {
  if (status < 0 && fault->file[0] == 0) {
    cpn_segment_name(frame->segment, fault->file);
    fault->offset = frame->offset;
  }
  return status;
}

static coupon_status breaks_format(const struct cpn_frame *frame, struct cpn_fault *fault) {
  return cpn_reader_damaged(fault, frame->segment, frame->offset,
                            "a record breaks the format; restore the segment from a copy");
}

/* Where in a frame's payload the next record lies. */
struct place {
  size_t at;
  uint64_t lsn;    /* where it begins */
  uint32_t joined; /* tickets that are joined, by the header, from here on */
};

/* One record that is as it is. */
static coupon_status visit_record(struct cpn_reader *reader, const struct cpn_frame *frame,
                                  const unsigned char *payload, struct place *place, struct cpn_fault *fault) {
  struct cpn_record record;
  size_t length;
  enum cpn_decoded decoded = cpn_record_decode(&record, payload + place->at, frame->payload_bytes - place->at, &length);
  if (decoded == CPN_DECODED_NEWER)
    return placed(
        cpn_fault_set(fault, COUPON_E_VERSION, "", 0, "a record is of a newer version; use a newer libcoupon"), frame,
        fault);
  if (decoded != CPN_DECODED_OK || !life_rule_holds(reader, frame, &record, place->at == 0))
    return breaks_format(frame, fault);
  reader->ended = record.type == CPN_RECORD_END;
  place->at += length;
  record.lsn = place->lsn += length;
  coupon_status status = reader->each(reader->context, &record, fault);
  if (status >= 0) reader->records++;
  return placed(status, frame, fault);
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

static coupon_status visit_run(struct cpn_reader *reader, const struct cpn_frame *frame, const struct cpn_run *run,
                               struct cpn_fault *fault) {
  uint64_t done = 0;
  coupon_status status = reader->each_run(reader->context, run, &done, fault);
  reader->records += done;
  return placed(status, frame, fault);
}

coupon_status cpn_reader_frame_visit(struct cpn_reader *reader, const struct cpn_frame *frame,
                                     const unsigned char *payload, struct cpn_fault *fault) {
  struct place place = {.lsn = frame->first_lsn, .joined = frame->joined};
  while (place.at < frame->payload_bytes) {
    struct cpn_run run;
    coupon_status status;
    /* A frame that begins a life has LIFE first, and nothing follows END, or a rule is broken that visit_record()
     * knows; as it does whatever is not what it should be where a run ends. */
    if ((place.at > 0 || frame->life == reader->life) && !reader->ended && find_run(frame, payload, &place, &run))
      status = visit_run(reader, frame, &run, fault);
    else
      status = visit_record(reader, frame, payload, &place, fault);
    if (status < 0) return status;
  }
  if (place.joined == 0 || CPN_MISTAKE(JOINED_UNCOUNTED)) return COUPON_OK;
  return breaks_format(frame, fault);
}
