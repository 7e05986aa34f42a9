/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What verify's reader knows of files: a window that moves over one file, the owner's lock and hint,
 * and checksums. Nothing here writes, and no length from a file is believed.
 */
#ifndef TOOLS_VERIFY_FILE_H
#define TOOLS_VERIFY_FILE_H

#include "verify_read.h"

#include <stddef.h>

enum { FILE_BLOCK = 512, FILE_IDENTITY = 16 };

/* A file of the directory; all zero but for the name before the first file_open(). */
struct file {
  char name[READ_FILE_MAX];
  uint64_t number; /* of the segment */
  bool open, held; /* `held`: by file_hold(), which keeps the descriptor */
  int descriptor;
  uint64_t size;      /* when it was opened; of a segment, the part that its header speaks of */
  uint64_t first_lsn; /* as the segment's header says, once that was found valid */
  /* The window: bytes start … start + filled of the file. */
  unsigned char *bytes;
  size_t capacity;
  uint64_t start;
  size_t filled;
};

/* Opens `file->name` for reading, closing what was open. False: errno tells why. */
bool file_open(struct file *file, int directory);
void file_close(struct file *file);

/* Keeps a file of `directory` open, whoever removes it, for file_open() to find there until file_let_go(). Nothing
 * happens if it cannot be opened, or FILE_HELD_MAX are: it is then looked for when it is wanted. For one thread. */
enum { FILE_HELD_MAX = 512 };
void file_hold(int directory, const char *name);
void file_let_go(void);

/* `length` > 0 bytes from `offset` on, which the caller knows to lie within the file's size; they stay until the
 * next view. NULL: errno tells why, with 0 if the file has become shorter. */
const unsigned char *file_view(struct file *file, uint64_t offset, uint64_t length);

/* True if the name is one of a segment: 16 digits, lower case, not all zero, ".log". */
bool file_segment_number(const char *name, uint64_t *number);

bool file_all_zero(const unsigned char *bytes, uint64_t length);

/* XXH3, 64 bits, of the bytes; or of the identity and then at most 64 bytes. */
uint64_t file_checksum(const unsigned char *bytes, uint64_t length);
uint64_t file_checksum_with(const unsigned char *identity, const unsigned char *bytes, size_t length);

/* Who holds the lock, and the hint as it stands, unchecked. False: errno tells why. No `lock` file is no fault. */
bool file_owner_lock(int directory, struct read_owner *owner);

/* Reads the hint until its checksum is right, or for a second: it may be torn, or not be written yet. */
void file_owner_hint(int directory, const unsigned char *identity, struct read_owner *owner);

#endif
