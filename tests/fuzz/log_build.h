/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logs written by hand, record by record, for inputs to begin with and for tests of what a reader has to refuse. The
 * bytes are those of docs/FORMAT.md, and none of the library's code is asked how to write them.
 */
#ifndef TESTS_FUZZ_LOG_BUILD_H
#define TESTS_FUZZ_LOG_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_BUILD_MAX 8192

/* Segments one behind the other, as log_input_put() takes them. */
struct log_build {
  unsigned char bytes[LOG_BUILD_MAX];
  size_t size, frame, record; /* where the last frame, and in it the next record, begins */
};

/* An empty first segment. */
struct log_build log_build_begin(void);

void log_build_segment(struct log_build *made);
void log_build_frame(struct log_build *made);
/* Returns the record, whose fields are zero. A frame holds what fits into one block. */
unsigned char *log_build_record(struct log_build *made, unsigned type, unsigned words, unsigned campaign);
/* A frame that begins with LIFE; and one with END alone. */
void log_build_life(struct log_build *made);
void log_build_end(struct log_build *made);
/* Its id is 10 + index, its stock 3. */
void log_build_campaign(struct log_build *made, unsigned index, uint64_t limit, unsigned kind, uint64_t opens,
                        uint64_t closes, const char *name);
void log_build_issue(struct log_build *made, unsigned campaign, uint64_t user, bool uuid, uint64_t time_ns);
/* The same for `count` users from this one on, joined. */
void log_build_joined(struct log_build *made, unsigned campaign, uint64_t user, unsigned count, bool uuid,
                      uint64_t time_ns);
/* A record that is nothing but a time: END, OPEN, CLOSE. */
void log_build_time(struct log_build *made, unsigned type, unsigned campaign, uint64_t time_ns);

/* Numbers, places, LSNs, lives, and all checksums. */
void log_build_seal(struct log_build *made, const unsigned char *identity);

#endif
