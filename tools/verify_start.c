/* SPDX-License-Identifier: Apache-2.0 */
/* The manifest, the list of segments, the checkpoints: what has to be known before the log is read. */
#include "verify_reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- directory -------------------------------------------------------------------------------- */

/* Calls `each` with every name in the directory. False: errno tells why. */
static bool list(struct reader *r, void (*each)(struct reader *r, const char *name)) {
  int copy = openat(r->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *listing = copy < 0 ? NULL : fdopendir(copy);
  if (listing == NULL) {
    if (copy >= 0) close(copy);
    return false;
  }
  errno = 0;
  struct dirent *entry;
  while ((entry = readdir(listing)) != NULL) { /* NOLINT(concurrency-mt-unsafe): the stream is ours alone */
    each(r, entry->d_name);
    errno = 0;
  }
  int fault = errno;
  closedir(listing);
  errno = fault;
  return fault == 0;
}

static void take_name(struct reader *r, const char *name) {
  uint64_t number;
  if (file_segment_number(name, &number) && number > r->highest) r->highest = number;
}

bool reader_list_segments(struct reader *r) { return list(r, take_name); }

/* No manifest: a crash, or an owner at work, may have left the creation unfinished, with a first segment that holds
 * nothing. Otherwise it is damage, or no directory of ours. */
static void judge_no_manifest(struct reader *r) {
  struct file first = {.name = "0000000000000001.log"};
  uint64_t filled = FILE_BLOCK;
  if (r->highest == 1 && file_open(&first, r->directory)) reader_scan_rest(r, &first, FILE_BLOCK, &filled);
  file_close(&first);
  if (r->finding->verdict != READ_OK) return;
  if (r->highest > 1 || filled > FILE_BLOCK)
    reader_judge(r, READ_DAMAGED, "manifest", 0, "the manifest is missing, though there are segments");
  else
    reader_judge(r, READ_UNREADABLE, "", 0, "there is no manifest: %s",
                 r->highest == 0 ? "it is no coupon directory" : "its creation was not finished, and it holds nothing");
}

static void take_manifest(struct reader *r, const unsigned char *m) {
  memcpy(r->identity, m + 16, FILE_IDENTITY);
  r->first_segment = read_u64(m + 40);
  r->checkpoints[0] = read_u64(m + 48);
  r->checkpoints[1] = read_u64(m + 56);
  if (r->first_segment == 0 || (r->first_segment != 1 && r->checkpoints[1] == 0) ||
      (r->checkpoints[1] != 0 && r->checkpoints[1] >= r->checkpoints[0]))
    reader_judge(r, READ_DAMAGED, "manifest", 0, "it names checkpoints, or a first segment, that cannot be");
}

/* The manifest's bytes are judged and the identity is taken. False: the finding has the verdict. */
bool reader_read_manifest(struct reader *r) {
  struct file manifest = {.name = "manifest"};
  if (!file_open(&manifest, r->directory)) {
    if (errno == ENOENT)
      judge_no_manifest(r);
    else
      reader_cannot_read(r, &manifest);
    return false;
  }
  const unsigned char *m = manifest.size >= FILE_BLOCK ? file_view(&manifest, 0, FILE_BLOCK) : NULL;
  if (m == NULL && manifest.size < FILE_BLOCK)
    reader_judge(r, READ_DAMAGED, "manifest", manifest.size, "the manifest ends here, after less than 512 bytes");
  else if (m == NULL)
    reader_cannot_read(r, &manifest);
  else if (memcmp(m, "CPNMANIF", 8) != 0 || file_checksum(m, 504) != read_u64(m + 504))
    reader_judge(r, READ_DAMAGED, "manifest", 0, "the manifest's magic or checksum is wrong");
  else if (read_u32(m + 8) != 1 || read_u32(m + 12) != FILE_BLOCK || !file_all_zero(m + 64, 440))
    reader_judge(r, READ_NEWER, "manifest", 0,
                 "it is of version %" PRIu32 ", or uses bytes that version 1 leaves as they are", read_u32(m + 8));
  else
    take_manifest(r, m);
  file_close(&manifest);
  return r->finding->verdict == READ_OK;
}

/* --- files that may go ------------------------------------------------------------------------ */

static void hold_tickets_file(struct reader *r, const char *name) {
  const char *end = strstr(name, ".tickets");
  if (end != NULL && end[8] == 0) file_hold(r->directory, name);
}

/* Checkpoints, then segments, as far as there is room: those that go first come first. */
static void hold_named(struct reader *r) {
  char name[READ_FILE_MAX];
  for (int i = 0; i < 2; i++) {
    checkpoint_file_name(r->checkpoints[i], name);
    if (r->checkpoints[i] != 0) file_hold(r->directory, name);
  }
  for (uint64_t i = 0; i < FILE_HELD_MAX / 2 && r->first_segment + i <= r->highest; i++) {
    read_segment_name(r->first_segment + i, name);
    file_hold(r->directory, name);
  }
  (void)list(r, hold_tickets_file); /* what cannot be listed is looked for by its name */
}

void reader_hold_files(struct reader *r) {
  enum { TRIES = 100 };
  for (int try = 0; try < TRIES; try++) {
    const uint64_t first = r->first_segment, newest = r->checkpoints[0], older = r->checkpoints[1];
    hold_named(r);
    /* What the manifest names is there until it names something else. */
    if (!reader_read_manifest(r)) return;
    if (first == r->first_segment && newest == r->checkpoints[0] && older == r->checkpoints[1]) return;
    file_let_go();
  }
}

/* --- checkpoints ------------------------------------------------------------------------------ */

/* Judges one, and tells of it if that is asked for. C of a first block that is valid is proof. A checkpoint that is
 * not there is one that is damaged. */
static void judge_checkpoint(struct reader *r, uint64_t number, struct file *file, struct checkpoint_finding *found) {
  const struct checkpoint_visitor nobody = {NULL, NULL, NULL};
  const struct read_request *request = r->request;
  *found = (struct checkpoint_finding){.verdict = READ_DAMAGED, .why = "it is missing"};
  checkpoint_file_name(number, file->name);
  if (!file_open(file, r->directory)) {
    if (errno != ENOENT) *found = (struct checkpoint_finding){.verdict = READ_UNREADABLE, .why = "it cannot be read"};
  } else if (request->visit_checkpoint != NULL)
    checkpoint_tell(file, r->directory, r->identity, number, request->visit_checkpoint, request->context, found);
  else
    checkpoint_read(file, r->directory, r->identity, number, &nobody, found);
  if (found->known) reader_take_proof(r, found->lsn, file->name, 0);
  if (found->verdict == READ_OK && found->segment < r->first_segment) {
    found->verdict = READ_DAMAGED;
    found->why = "it leads to a segment that need not exist";
  }
  if (found->tickets_fault.verdict != READ_OK && found->tickets_fault.meant)
    r->finding->tickets_fault = found->tickets_fault;
  if (request->end_checkpoint != NULL) request->end_checkpoint(request->context, number, found);
}

static void begin_behind(struct reader *r, uint64_t number, struct file *file, struct checkpoint_finding *found) {
  const struct read_request *request = r->request;
  r->start_segment = found->segment;
  r->start_offset = found->segment_offset;
  r->life = r->finding->lives = found->life;
  r->finding->lsn = found->lsn;
  r->finding->checkpoint = number;
  r->finding->checkpoint_lsn = found->lsn;
  if (request->visit != NULL)
    checkpoint_tell(file, r->directory, r->identity, number, request->visit, request->context, found);
}

/* Where reading begins: the log is read whole as long as it is there, or in the archive; else behind the older
 * checkpoint, which leaves most to be looked at, or behind the newest. One that is damaged is told, and is damage
 * of the directory if there is no other way to open it; what is of a newer version is never passed over. */
void reader_find_start(struct reader *r) {
  const bool whole = r->first_segment == 1 || r->archive >= 0;
  bool opens = r->first_segment == 1;
  r->start_segment = 1;
  r->start_offset = FILE_BLOCK;
  for (int i = 1; i >= 0; i--) {
    struct file file = {.open = false};
    struct checkpoint_finding found;
    if (r->checkpoints[i] == 0) continue;
    judge_checkpoint(r, r->checkpoints[i], &file, &found);
    bool good = found.verdict == READ_OK, last_way = !opens && i == 0;
    if (good && !whole && r->finding->checkpoint == 0)
      begin_behind(r, r->checkpoints[i], &file, &found);
    else if (found.verdict == READ_NEWER || found.verdict == READ_UNREADABLE || (!good && last_way))
      reader_judge(r, found.verdict, file.name, found.offset, "%s", found.why);
    else if (found.verdict == READ_DAMAGED)
      r->finding->damaged_checkpoint = r->checkpoints[i];
    opens = opens || good;
    file_close(&file);
    if (r->finding->verdict != READ_OK) return;
  }
}
