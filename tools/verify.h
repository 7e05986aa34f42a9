/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verifies a directory: reader, rules and a verdict. Works beside the process that owns the directory.
 */
#ifndef TOOLS_VERIFY_H
#define TOOLS_VERIFY_H

#include "verify_read.h"
#include "verify_rules.h"
#include "verify_story.h"

#include <stddef.h>

struct verification {
  struct read_finding finding;
  struct rules rules;
  struct stories stories;
};

/* Reads everything and judges it; `archive` has the segments that are not in the directory any more, or is NULL.
 * Returns the exit code; `*verification` is to be ended by verify_fini(). */
int verify_directory(const char *directory, const char *archive, struct verification *verification);
void verify_fini(struct verification *verification);

/* The verdict in one line: "ok: …", "damaged: FILE at OFFSET: why; what to do", "broken rule: …" … */
enum { VERIFY_VERDICT_MAX = 640 };
void verify_verdict(const struct verification *verification, char verdict[VERIFY_VERDICT_MAX]);

int command_verify(int argc, char **argv);
int command_dump(int argc, char **argv);

#endif
