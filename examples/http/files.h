/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service keeps beside the log, so that it survives a crash of the machine: whole writes, synced directories,
 * and the journal, a file of lines to which lines are added.
 *
 * A line is sixteen hexadecimal digits of the SHA-256 of what follows, a space, and one JSON object. It is there when
 * the append has returned. A last line that a crash left unfinished (no newline, or zeros in it) is cut off when a
 * writer opens the file; any other line that does not carry its checksum is damage, which nobody repairs in silence.
 */
#ifndef EXAMPLE_FILES_H
#define EXAMPLE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All of it, or false with errno. */
bool write_all(int fd, const char *bytes, size_t length);
/* Makes a new name in the file's directory durable. False with errno. */
bool sync_parent(const char *file);
/* Makes the directory, mode 0700, durably, if it is not there. False after a message on standard error. */
bool make_directory(const char *directory);

struct journal {
  char *file; /* its path */
  int fd;
  uint64_t read_offset; /* end of the lines that were read or written here */
  uint64_t lines;
  bool failed; /* an append failed: what is on disk is unknown until the file is opened again */
};

enum journal_access { JOURNAL_READ, JOURNAL_WRITE };

/* A line's object, its number counting from 1. False: it cannot be used, and a message was printed. */
typedef bool journal_line(void *context, const char *json, size_t length, uint64_t number);

/* Opens the file, making it if need be, and hands every line to `line`. With JOURNAL_WRITE other writers are kept out.
 * False after a message on standard error. */
bool journal_open(struct journal *journal, const char *file, enum journal_access access, journal_line *line,
                  void *context);
/* Hands over the lines that were added since. Likewise. */
bool journal_refresh(struct journal *journal, journal_line *line, void *context);
/* Adds a line; when it returns true the line is durable. After a false it never tries again, because what a failed sync
 * left is not known; the file has to be opened anew. */
bool journal_append(struct journal *journal, const char *json, size_t length);
void journal_close(struct journal *journal);

#endif
