/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order matters, and is this. The hint is read before the manifest, and the manifest before the files: all that
 * the hint calls durable lies in files that are there then, or in a checkpoint. A checkpoint may know of more than
 * the hint, so the log is wanted up to there. Files are opened before the manifest is read again: if it still says
 * the same, all that it names was there, for files go only after another one has taken its place, and what is open
 * stays readable.
 */
#include "backup_look.h"

#include "verify_checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((format(printf, 3, 4))) static enum look answer(struct backup_source *source, enum look look,
                                                              const char *why, ...) {
  va_list arguments;
  va_start(arguments, why);
  vsnprintf(source->why, sizeof source->why, why, arguments);
  va_end(arguments);
  return look;
}

uint64_t backup_segment_of(const struct file *file) {
  uint64_t number;
  return file_segment_number(file->name, &number) ? number : 0;
}

static bool is_tickets_file(const char *name) {
  return strlen(name) == 24 && strspn(name, "0123456789abcdef") == 16 && strcmp(name + 16, ".tickets") == 0;
}

/* --- manifest and owner ------------------------------------------------------------------------- */

static enum look read_manifest(struct backup_source *source, unsigned char manifest[FILE_BLOCK]) {
  struct file file = {.name = "manifest"};
  const unsigned char *bytes = NULL;
  bool open = file_open(&file, source->directory);
  int fault = errno;
  if (open && file.size >= FILE_BLOCK) bytes = file_view(&file, 0, FILE_BLOCK);
  if (bytes != NULL) memcpy(manifest, bytes, FILE_BLOCK);
  file_close(&file);
  if (!open && fault == ENOENT && source->owner.held)
    return answer(source, LOOK_AGAIN, "process %ld is just making it", (long)source->owner.locker);
  if (!open && fault == ENOENT)
    return answer(source, LOOK_FAULT, "there is no manifest: it is no coupon directory, or damaged");
  if (!open) return answer(source, LOOK_FAULT, "the manifest cannot be read: %s", strerrordesc_np(fault));
  bool good =
      bytes != NULL && memcmp(manifest, "CPNMANIF", 8) == 0 && file_checksum(manifest, 504) == read_u64(manifest + 504);
  return good ? LOOK_DONE : answer(source, LOOK_DAMAGED, "the manifest is damaged");
}

/* How far the log is durable. */
static enum look ask_owner(struct backup_source *source, bool patient) {
  struct read_owner *owner = &source->owner;
  source->limit_lsn = READ_NO_LIMIT;
  if (!owner->held) return LOOK_DONE;
  file_owner_hint(source->directory, backup_identity(source), owner);
  if (!owner->hint)
    return answer(source, LOOK_AGAIN, "process %ld is opening it, and has not said yet what is durable",
                  (long)owner->locker);
  /* After a power loss the hint may be older than the log, until its owner has opened it. Not for ever: seen from
   * outside of a container, a process has another number than it knows of itself. */
  if (patient && owner->locker > 0 && owner->pid != (uint64_t)owner->locker)
    return answer(source, LOOK_AGAIN, "process %ld is opening it", (long)owner->locker);
  source->limit_lsn = owner->durable_lsn;
  return LOOK_DONE;
}

/* --- files -------------------------------------------------------------------------------------- */

/* Opens one more file; one that is not there is no fault yet. */
static enum look hold(struct backup_source *source, const char *name) {
  if (source->count == source->capacity) {
    size_t wanted = source->capacity == 0 ? 64 : source->capacity * 2;
    struct file *grown = realloc(source->files, wanted * sizeof *grown);
    if (grown == NULL) return answer(source, LOOK_FAULT, "memory is used up");
    source->files = grown;
    source->capacity = wanted;
  }
  struct file *file = &source->files[source->count];
  *file = (struct file){.open = false};
  snprintf(file->name, sizeof file->name, "%s", name);
  file->number = backup_segment_of(file);
  if (file_open(file, source->directory)) {
    source->count++;
    return LOOK_DONE;
  }
  if (errno == ENOENT) return LOOK_DONE;
  int fault = errno;
  file_close(file);
  return answer(source, LOOK_FAULT, "%s cannot be opened: %s%s", name, strerrordesc_np(fault),
                fault == EMFILE ? "; raise the limit on open files (ulimit -n)" : "");
}

static enum look hold_checkpoint(struct backup_source *source, uint64_t number) {
  char name[READ_FILE_MAX];
  size_t before = source->count;
  checkpoint_file_name(number, name);
  enum look look = number == 0 ? LOOK_DONE : hold(source, name);
  if (look != LOOK_DONE || source->count == before || source->limit_lsn == READ_NO_LIMIT) return look;
  struct file *file = &source->files[before];
  const unsigned char *block = file->size < FILE_BLOCK ? NULL : file_view(file, 0, FILE_BLOCK);
  bool known = block != NULL && memcmp(block, "CPNCHKPT", 8) == 0 && file_checksum(block, 504) == read_u64(block + 504);
  if (known && read_u64(block + 40) > source->limit_lsn) source->limit_lsn = read_u64(block + 40);
  return LOOK_DONE;
}

static enum look hold_listed(struct backup_source *source, DIR *listing) {
  const uint64_t first = read_u64(source->manifest + 40);
  struct dirent *entry;
  enum look look = LOOK_DONE;
  errno = 0;
  while (look == LOOK_DONE && (entry = readdir(listing)) != NULL) { /* NOLINT(concurrency-mt-unsafe): ours alone */
    uint64_t number;
    bool segment = file_segment_number(entry->d_name, &number) && number >= first;
    if (segment || is_tickets_file(entry->d_name)) look = hold(source, entry->d_name);
    errno = 0;
  }
  return look == LOOK_DONE && errno != 0 ? answer(source, LOOK_FAULT, "it cannot be listed: %s", strerrordesc_np(errno))
                                         : look;
}

static enum look hold_files(struct backup_source *source) {
  enum look look = hold_checkpoint(source, read_u64(source->manifest + 48));
  if (look == LOOK_DONE) look = hold_checkpoint(source, read_u64(source->manifest + 56));
  if (look != LOOK_DONE) return look;
  int copy = openat(source->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *listing = copy < 0 ? NULL : fdopendir(copy);
  if (listing == NULL) {
    int fault = errno;
    if (copy >= 0) close(copy);
    return answer(source, LOOK_FAULT, "it cannot be listed: %s", strerrordesc_np(fault));
  }
  look = hold_listed(source, listing);
  closedir(listing);
  return look;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

enum look backup_look(struct backup_source *source, bool patient) {
  unsigned char again[FILE_BLOCK];
  if (!file_owner_lock(source->directory, &source->owner))
    return answer(source, LOOK_FAULT, "its lock cannot be looked at: %s", strerrordesc_np(errno));
  /* Once for the identity, which the hint's checksum needs and which never changes. */
  enum look look = read_manifest(source, source->manifest);
  if (look == LOOK_DONE) look = ask_owner(source, patient);
  if (look == LOOK_DONE) look = read_manifest(source, source->manifest);
  if (look == LOOK_DONE) look = hold_files(source);
  if (look == LOOK_DONE) look = read_manifest(source, again);
  if (look != LOOK_DONE) return look;
  if (memcmp(source->manifest, again, sizeof again) != 0)
    return answer(source, LOOK_AGAIN, "checkpoints are made faster than its files can be opened");
  if (source->count > 0) qsort(source->files, source->count, sizeof *source->files, by_name);
  return LOOK_DONE;
}

void backup_look_fini(struct backup_source *source) {
  for (size_t i = 0; i < source->count; i++) file_close(&source->files[i]);
  free(source->files);
  source->files = NULL;
  source->count = source->capacity = 0;
}
