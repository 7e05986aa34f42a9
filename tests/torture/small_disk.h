/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small disk that can be filled and freed: a tmpfs, or ext4 in a file, mounted where nobody else sees it. Where a
 * process may not mount, a quota stands in for it: in front of the system's own calls, it refuses with ENOSPC what
 * would have taken room. The kind says which it was, and the reason why it was not a better one.
 */
#ifndef TESTS_SMALL_DISK_H
#define TESTS_SMALL_DISK_H

#include "torture/torture.h"

enum small_disk_kind { SMALL_TMPFS, SMALL_EXT4, SMALL_QUOTA, SMALL_KINDS };

struct small_disk {
  enum small_disk_kind kind;
  char why[160]; /* not a better kind, or "" */
  char path[TORTURE_PATH_MAX];
};

extern const char *const small_disk_names[SMALL_KINDS];

/* Mounts on `path`, an empty directory, for this process and its children, as long as they live: so call it in a
 * child. With `ext4` it is one of those if that can be done. The image of an ext4 is `path`.image. */
void small_disk_make(struct small_disk *disk, const char *path, bool ext4);

/* For a process that goes on without it. */
void small_disk_unmount(const struct small_disk *disk);

/* From now on there is room for `free_bytes` more, about, but for what is there already. */
void small_disk_fill(const struct small_disk *disk, uint64_t free_bytes);
/* From now on no file can be made, though there may be room (ext4: as small_disk_fill() with nothing free). */
void small_disk_fill_names(const struct small_disk *disk);
void small_disk_free(const struct small_disk *disk);

/* Gives back the room behind `from` in a file that holds zeros there, as a disk does that does not keep them. */
void small_disk_punch(const struct small_disk *disk, const char *file, uint64_t from);

#endif
