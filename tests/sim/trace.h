/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last events of a run, to print when it goes wrong. Noting one formats nothing.
 */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include "base/defs.h"

#define TRACE_EVENTS 48

struct trace {
  struct {
    uint64_t call; /* of the disk, when it happened */
    const char *event, *outcome;
    uint64_t numbers[3];
  } ring[TRACE_EVENTS];
  uint64_t count;
  bool loud; /* print each at once */
};

/* Both strings have to last: literals, names of statuses. */
void trace_note(struct trace *trace, uint64_t call, const char *event, const char *outcome, uint64_t a, uint64_t b,
                uint64_t c);
void trace_print(const struct trace *trace);

#endif
