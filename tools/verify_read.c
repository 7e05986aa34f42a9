/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a log is judged, see docs/FORMAT.md. The story is told by read_log() at the end; above it, a
 * segment (walk), a frame (next_frame), its records. Every length is checked against the file's size
 * before it is used, and each file is read through a window of bounded size, not mapped: a file that
 * shrinks under us is an error to report, not a signal.
 */
#include "verify_read.h"

#include "verify_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LSN_MAX (UINT64_C(1) << 48)
#define PAYLOAD_MAX (UINT64_C(1) << 20)

enum {
  FRAME_HEADER = 64,
  FRAME_JOINED = 6,
  FRAME_FIRST_LSN = 8,
  FRAME_SYNCED_LSN = 16,
  FRAME_LIFE = 24,
  FRAME_PAYLOAD = 32,
  RECORD_MAX = 32 /* bytes of a ticket's record */
};

/* A frame header of which only the checksum, the place and the arithmetic have been looked at. */
struct frame {
  uint64_t offset;
  uint64_t first_lsn;
  uint64_t life;
  uint64_t payload;
  uint64_t joined; /* tickets without a head and a time of their own */
  uint64_t total;  /* header, payload and padding */
  bool known;      /* of version 1, and zeros behind the records */
  const unsigned char *bytes;
};

enum step reader_judge(struct reader *r, enum read_verdict verdict, const char *file, uint64_t offset, const char *why,
                       ...) {
  struct read_finding *finding = r->finding;
  finding->verdict = verdict;
  finding->offset = offset;
  snprintf(finding->file, sizeof finding->file, "%s", file);
  va_list arguments;
  va_start(arguments, why);
  vsnprintf(finding->why, sizeof finding->why, why, arguments);
  va_end(arguments);
  return STEP_OVER;
}

enum step reader_cannot_read(struct reader *r, const struct file *file) {
  return reader_judge(r, READ_UNREADABLE, file->name, 0, "it cannot be read: %s",
                      errno == 0 ? "it became shorter meanwhile" : strerrordesc_np(errno));
}

void reader_take_proof(struct reader *r, uint64_t lsn, const char *file, uint64_t offset) {
  if (lsn <= r->proof) return;
  r->proof = lsn;
  r->proof_offset = offset;
  snprintf(r->proof_file, sizeof r->proof_file, "%s", file);
}

/* --- records ---------------------------------------------------------------------------------- */

/* LIFE begins a life and nothing else does; END ends it, and nothing of the same life follows. */
static const char *wrong_place(struct reader *r, const struct frame *frame, unsigned type, const unsigned char *record,
                               uint64_t position) {
  bool begins = position == 0 && frame->life != r->life;
  if ((type == RECORD_LIFE) != begins)
    return begins ? "a life does not begin with a LIFE record" : "a LIFE record stands within a life";
  if (begins && read_u64(record + RECORD_HEAD + LIFE_LSN) != frame->first_lsn)
    return "a LIFE record names another LSN than its own beginning";
  return !begins && r->finding->ended ? "a record follows the END of its life" : NULL;
}

/* A record as it is, or one in which several tickets lie. `*words` becomes its length; `*joined` of the frame's joined
 * tickets have been met. */
static enum step take_record(struct reader *r, const struct file *file, const struct frame *frame, uint64_t position,
                             uint64_t *joined, uint64_t *words) {
  const unsigned char *record = frame->bytes + FRAME_HEADER + position;
  struct read_record visited = {.segment = file->number,
                                .offset = frame->offset + FRAME_HEADER + position,
                                .end = frame->offset + frame->total,
                                .life = frame->life,
                                .type = record[0],
                                .campaign = read_u32(record + 4)};
  const char *why;
  enum record_form form = record_check(record, frame->payload - position, frame->joined - *joined, words, &why);
  if (form == RECORD_NEWER) return reader_judge(r, READ_NEWER, file->name, visited.offset, "%s", why);
  if (form == RECORD_RIGHT) why = wrong_place(r, frame, visited.type, record, position);
  if (why != NULL) return reader_judge(r, READ_DAMAGED, file->name, visited.offset, "%s", why);

  uint64_t count = record_count(record);
  *joined += count - 1;
  unsigned char alone[RECORD_MAX];
  for (uint64_t i = 0; i < count && r->finding->lsn < r->limit_lsn; i++) {
    const bool is_joined = count > 1;
    r->finding->lsn += is_joined ? record_alone(record, i, alone) : *words * 8;
    visited.lsn = r->finding->lsn;
    visited.body = (is_joined ? alone : record) + RECORD_HEAD;
    r->finding->records++;
    if (r->request->visit != NULL) r->request->visit(r->request->context, &visited);
  }
  r->finding->ended = visited.type == RECORD_END;
  return STEP_ON;
}

static enum step take_records(struct reader *r, const struct file *file, const struct frame *frame) {
  uint64_t words = 0, joined = 0, position = 0;
  for (; position < frame->payload && r->finding->lsn < r->limit_lsn; position += words * 8) {
    enum step step = take_record(r, file, frame, position, &joined, &words);
    if (step != STEP_ON) return step;
    r->life = frame->life;
  }
  if (position == frame->payload && joined != frame->joined)
    return reader_judge(r, READ_DAMAGED, file->name, frame->offset, "fewer tickets are joined than the frame says");
  return STEP_ON;
}

/* --- frames ----------------------------------------------------------------------------------- */

/* Where its LSNs end: each joined ticket lies here with 16 bytes less than its record has. */
static uint64_t frame_end_lsn(const struct frame *frame) {
  return frame->first_lsn + frame->payload + 16 * frame->joined;
}

/* A header with the right magic and checksum, at the place it names. Says nothing about its numbers, nor about what
 * follows it. */
static bool header_sealed(const struct reader *r, const struct file *file, uint64_t offset, const unsigned char *h) {
  return memcmp(h, "CPNF", 4) == 0 && read_u64(h + 40) == file->number &&
         (uint64_t)read_u32(h + 36) * FILE_BLOCK == offset &&
         file_checksum_with(r->identity, h, 56) == read_u64(h + 56);
}

/* Why the numbers of such a header cannot be; NULL: they can, the header is *valid*. */
static const char *impossible(const unsigned char *h) {
  uint64_t payload = read_u32(h + FRAME_PAYLOAD), first_lsn = read_u64(h + FRAME_FIRST_LSN);
  if (payload < 8 || payload % 8 != 0) return "a frame has a length that no frame has";
  if (first_lsn % 8 != 0 || first_lsn > LSN_MAX) return "a frame begins at an LSN where no frame can";
  if (read_u64(h + FRAME_LIFE) == UINT64_MAX) return "a frame is of a life that no other could follow";
  return read_u64(h + FRAME_SYNCED_LSN) > first_lsn ? "a frame calls itself synced before it was written" : NULL;
}

/* Whether a frame that can be read is the next one, and whole. NULL if so, else why not. */
static const char *not_next(const struct reader *r, const struct frame *frame) {
  if (file_checksum(frame->bytes + FRAME_HEADER, frame->total - FRAME_HEADER) != read_u64(frame->bytes + 48))
    return "the checksum of a frame's contents is wrong";
  if (frame->life == r->life || !frame->known) return NULL;
  const unsigned char *record = frame->bytes + FRAME_HEADER;
  bool begins =
      frame->payload >= 32 && record[0] == RECORD_LIFE && read_u64(record + RECORD_HEAD + LIFE_NUMBER) == frame->life;
  return begins ? NULL : "a frame of another life stands where the next one should";
}

/* Reads the frame at `offset`, if it is the next one: its records are visited and `*offset` moves behind it. */
static enum step next_frame(struct reader *r, struct file *file, uint64_t *offset, uint64_t end_lsn, const char **why) {
  const unsigned char *h = file_view(file, *offset, FILE_BLOCK);
  if (h == NULL) return reader_cannot_read(r, file);
  *why = "no valid frame is here";
  if (!header_sealed(r, file, *offset, h)) return STEP_NO_FRAME;
  if (impossible(h) != NULL) return reader_judge(r, READ_DAMAGED, file->name, *offset, "%s", impossible(h));
  *why = "a frame of another LSN stands where the next one should";
  if (read_u64(h + FRAME_FIRST_LSN) != r->finding->lsn) return STEP_NO_FRAME;
  *why = "a frame of another life stands where the next one should";
  uint64_t life = read_u64(h + FRAME_LIFE);
  if ((life != r->life || life == 0) && life != r->life + 1) return STEP_NO_FRAME;
  uint64_t payload = read_u32(h + FRAME_PAYLOAD), joined = h[FRAME_JOINED] | (uint64_t)h[FRAME_JOINED + 1] << 8;
  if (payload + 16 * joined > PAYLOAD_MAX)
    return reader_judge(r, READ_DAMAGED, file->name, *offset, "a frame is longer than any can be");
  uint64_t total = (FRAME_HEADER + payload + FILE_BLOCK - 1) / FILE_BLOCK * FILE_BLOCK;
  *why = "a frame reaches beyond the end of its file";
  if (total > file->size - *offset) return STEP_NO_FRAME;
  h = file_view(file, *offset, total);
  if (h == NULL) return reader_cannot_read(r, file);
  struct frame frame = {.offset = *offset,
                        .first_lsn = read_u64(h + FRAME_FIRST_LSN),
                        .life = life,
                        .payload = payload,
                        .joined = joined,
                        .total = total,
                        .known = h[4] == 1 && h[5] == 0 &&
                                 file_all_zero(h + FRAME_HEADER + payload, total - FRAME_HEADER - payload),
                        .bytes = h};
  *why = not_next(r, &frame);
  if (*why != NULL) return STEP_NO_FRAME;
  if (!frame.known)
    return reader_judge(r, READ_NEWER, file->name, *offset, "a frame has a version or padding unknown to version 1");
  if (frame_end_lsn(&frame) > LSN_MAX)
    return reader_judge(r, READ_DAMAGED, file->name, *offset, "a frame reaches beyond the last possible LSN");
  if (frame_end_lsn(&frame) > end_lsn)
    return reader_judge(r, READ_DAMAGED, file->name, *offset,
                        "a frame reaches beyond the first LSN of the next segment");
  *offset += total;
  r->finding->frames++;
  r->finding->lives = frame.life;
  return take_records(r, file, &frame);
}

enum step reader_scan_rest(struct reader *r, struct file *file, uint64_t from, uint64_t *filled) {
  *filled = from;
  for (uint64_t offset = from; offset < file->size; offset += FILE_BLOCK) {
    uint64_t length = file->size - offset < FILE_BLOCK ? file->size - offset : FILE_BLOCK;
    const unsigned char *block = file_view(file, offset, length);
    if (block == NULL) return reader_cannot_read(r, file);
    if (file_all_zero(block, length)) continue;
    *filled = offset + length;
    if (length == FILE_BLOCK && header_sealed(r, file, offset, block) && impossible(block) == NULL)
      reader_take_proof(r, read_u64(block + FRAME_SYNCED_LSN), file->name, offset);
  }
  return STEP_ON;
}

/* --- segments --------------------------------------------------------------------------------- */

/* Opens segment `number`, in the directory or where it went from there, and judges its header. A file that is not
 * there is no fault yet: `file->open` is false. */
static enum step open_segment(struct reader *r, uint64_t number, struct file *file) {
  read_segment_name(number, file->name);
  file->number = number;
  bool there = file_open(file, r->directory);
  if (!there && errno == ENOENT && r->archive >= 0) there = file_open(file, r->archive);
  if (!there) return errno == ENOENT ? STEP_ON : reader_cannot_read(r, file);
  r->finding->segments++;
  const unsigned char *h = file->size < FILE_BLOCK ? NULL : file_view(file, 0, FILE_BLOCK);
  if (h == NULL && file->size >= FILE_BLOCK) return reader_cannot_read(r, file);
  if (h == NULL || memcmp(h, "CPNSEGMT", 8) != 0 || file_checksum(h, 504) != read_u64(h + 504))
    return reader_judge(r, READ_DAMAGED, file->name, 0, "the segment's header is damaged");
  if (memcmp(h + 16, r->identity, FILE_IDENTITY) != 0 || read_u64(h + 32) != number)
    return reader_judge(r, READ_DAMAGED, file->name, 0, "it is a segment of another directory, or of another number");
  if (read_u32(h + 8) != 1 || read_u32(h + 12) != FILE_BLOCK || !file_all_zero(h + 72, 432))
    return reader_judge(r, READ_NEWER, file->name, 0,
                        "the header is of version %" PRIu32 ", or uses bytes that version 1 leaves zero",
                        read_u32(h + 8));
  if (read_u64(h + 56) > file->size)
    return reader_judge(r, READ_DAMAGED, file->name, file->size,
                        "the file ends here, but its header says %" PRIu64 " bytes", read_u64(h + 56));
  file->size = read_u64(h + 56);
  file->first_lsn = read_u64(h + 40);
  if (file->size < FILE_BLOCK || file->size % FILE_BLOCK != 0 || file->first_lsn > LSN_MAX)
    return reader_judge(r, READ_DAMAGED, file->name, 0, "the segment's header says what cannot be");
  return STEP_ON;
}

/* The log ends within `file`: tells a torn tail from damage. `next` is the file behind it, if there is one;
 * `bad_next` is the verdict on it, if that is why it is not open. */
static enum step judge_end(struct reader *r, struct file *file, const struct file *next,
                           const struct read_finding *bad_next, uint64_t offset, const char *why) {
  struct read_finding *finding = r->finding;
  if (bad_next != NULL)
    return reader_judge(r, bad_next->verdict, bad_next->file, bad_next->offset, "%s", bad_next->why);
  const struct read_owner *owner = &finding->owner;
  if (r->limit_lsn != READ_NO_LIMIT && owner->held && owner->locker > 0 && owner->pid != (uint64_t)owner->locker)
    return reader_judge(r, READ_UNREADABLE, file->name, offset,
                        "process %ld is opening the directory; the hint is still that of %" PRIu64, (long)owner->locker,
                        owner->pid);
  if (!next->open && r->highest > file->number)
    return reader_judge(r, READ_DAMAGED, next->name, 0, "the segment is missing");
  if (r->limit_lsn != READ_NO_LIMIT)
    return reader_judge(r, READ_DAMAGED, file->name, offset, "%s, though LSN %" PRIu64 " was durable", why,
                        r->limit_lsn);
  uint64_t filled = 0;
  if (next->open) reader_take_proof(r, next->first_lsn, next->name, 0);
  if (reader_scan_rest(r, file, offset, &filled) != STEP_ON) return STEP_OVER;
  if (r->proof > finding->lsn)
    return reader_judge(r, READ_DAMAGED, file->name, offset,
                        "%s, though LSN %" PRIu64 " was durable: %s at %" PRIu64 " proves it", why, r->proof,
                        r->proof_file, r->proof_offset);
  finding->cut_bytes = filled - offset;
  if (filled > offset) {
    finding->cut_offset = offset;
    snprintf(finding->cut_file, sizeof finding->cut_file, "%s", file->name);
  }
  return STEP_OVER;
}

/* Reads the frames of `file` up to where `next` begins. STEP_ON: the log goes on there. */
static enum step walk(struct reader *r, struct file *file, const struct file *next,
                      const struct read_finding *bad_next) {
  uint64_t end_lsn = next->open ? next->first_lsn : UINT64_MAX;
  uint64_t offset = file->number == r->start_segment ? r->start_offset : FILE_BLOCK;
  const char *why = "the file is full";
  enum step step = STEP_ON;
  if (end_lsn < r->finding->lsn)
    return reader_judge(r, READ_DAMAGED, next->name, 0, "the segment begins before the end of the one before it");
  /* On to where no frame follows: one behind the place where the next file says that this one ended is damage. */
  while (step == STEP_ON && r->finding->lsn < r->limit_lsn && file->size - offset >= FILE_BLOCK)
    step = next_frame(r, file, &offset, end_lsn, &why);
  if (step == STEP_OVER || r->finding->lsn >= r->limit_lsn) return STEP_OVER;
  if (r->finding->lsn != end_lsn)
    return judge_end(r, file, next, bad_next, offset, step == STEP_ON ? "the file is full" : why);
  uint64_t filled;
  return r->limit_lsn == READ_NO_LIMIT ? reader_scan_rest(r, file, offset, &filled) : STEP_ON;
}

static void read_segments(struct reader *r) {
  struct file files[2] = {{.open = false}, {.open = false}};
  struct file *file = &files[0];
  struct file *next = &files[1];
  enum step step = open_segment(r, r->start_segment, file);
  uint64_t lsn = r->finding->lsn;
  if (step == STEP_ON && !file->open)
    step = reader_judge(r, READ_DAMAGED, file->name, 0, "the first segment is missing");
  else if (step == STEP_ON && lsn == 0 && file->first_lsn != 0)
    step = reader_judge(r, READ_DAMAGED, file->name, 0, "the first segment does not begin at LSN 0");
  else if (step == STEP_ON && lsn != 0 && (file->first_lsn >= lsn || r->start_offset > file->size))
    step = reader_judge(r, READ_DAMAGED, file->name, 0, "the segment does not hold what the checkpoint says it does");
  while (step == STEP_ON) {
    /* What is wrong with the next file is told when all of this one has been read, and only if that matters. */
    struct read_finding bad_next;
    bool bad = open_segment(r, file->number + 1, next) != STEP_ON;
    if (bad) {
      bad_next = *r->finding;
      r->finding->verdict = READ_OK;
      r->finding->file[0] = r->finding->why[0] = 0;
      r->finding->offset = 0;
      file_close(next);
    }
    step = walk(r, file, next, bad ? &bad_next : NULL);
    if (step == STEP_ON) {
      struct file *read = file;
      file = next;
      next = read;
      file_close(next);
    }
  }
  file_close(file);
  file_close(next);
}

/* The lock is looked at before the manifest, so that a directory in the making is known as such; the hint before
 * the log. */
static void read_all(struct reader *r) {
  struct read_finding *finding = r->finding;
  bool looked = file_owner_lock(r->directory, &finding->owner);
  if (!looked || !reader_list_segments(r)) {
    reader_judge(r, READ_UNREADABLE, looked ? "" : "lock", 0, "it cannot be read: %s", strerrordesc_np(errno));
    return;
  }
  if (!reader_read_manifest(r)) return;
  if (finding->owner.held) file_owner_hint(r->directory, r->identity, &finding->owner);
  if (finding->owner.held && !finding->owner.hint) {
    reader_judge(r, READ_UNREADABLE, "owner", 0,
                 "process %ld is opening the directory and has not said yet what is durable",
                 (long)finding->owner.locker);
    return;
  }
  if (finding->owner.held && finding->owner.durable_lsn < r->limit_lsn) r->limit_lsn = finding->owner.durable_lsn;
  if (finding->owner.held) reader_hold_files(r);
  if (finding->verdict != READ_OK) return;
  reader_find_start(r);
  /* What a checkpoint knows was durable, whatever an old hint says. */
  if (finding->owner.held && finding->lsn > r->limit_lsn) r->limit_lsn = finding->lsn;
  if (finding->verdict == READ_OK) read_segments(r);
}

void read_directory(const struct read_request *request, struct read_finding *finding) {
  memset(finding, 0, sizeof *finding);
  struct reader r = {.limit_lsn = request->limit_lsn, .archive = -1, .request = request, .finding = finding};
  r.directory = open(request->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (request->archive != NULL) r.archive = open(request->archive, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (r.directory < 0)
    reader_judge(&r, READ_UNREADABLE, "", 0, "it cannot be opened: %s", strerrordesc_np(errno));
  else if (request->archive != NULL && r.archive < 0)
    reader_judge(&r, READ_UNREADABLE, "", 0, "its archive cannot be opened: %s", strerrordesc_np(errno));
  else
    read_all(&r);
  file_let_go();
  if (r.archive >= 0) close(r.archive);
  if (r.directory >= 0) close(r.directory);
}

void read_log(const char *directory, uint64_t limit_lsn, read_visit *visit, void *context,
              struct read_finding *finding) {
  const struct read_request request = {
      .directory = directory, .limit_lsn = limit_lsn, .visit = visit, .context = context};
  read_directory(&request, finding);
}
