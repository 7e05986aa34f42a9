/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the embedded rivals share: they live in a directory, and occupy what its files do.
 */
#ifndef RIVALS_EMBEDDED_H
#define RIVALS_EMBEDDED_H

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* The lengths of the directory's files: what is reserved behind their ends does not count. */
static inline bool embedded_size(const char *directory, uint64_t *bytes) {
  DIR *open = opendir(directory);
  if (open == NULL) return false;
  *bytes = 0;
  for (struct dirent *entry = readdir(open); entry != NULL; entry = readdir(open)) {
    struct stat status;
    /* A file may go while we look. */
    if (fstatat(dirfd(open), entry->d_name, &status, 0) == 0 && S_ISREG(status.st_mode))
      *bytes += (uint64_t)status.st_size;
  }
  return closedir(open) == 0;
}

#endif
