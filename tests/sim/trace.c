/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/trace.h"

#include <stdio.h>

static void print_one(const struct trace *trace, uint64_t number) {
  const uint64_t at = number % TRACE_EVENTS;
  printf("  %4llu  call %5llu  %-26s %-22s %llu %llu %llu\n", (unsigned long long)number,
         (unsigned long long)trace->ring[at].call, trace->ring[at].event, trace->ring[at].outcome,
         (unsigned long long)trace->ring[at].numbers[0], (unsigned long long)trace->ring[at].numbers[1],
         (unsigned long long)trace->ring[at].numbers[2]);
}

void trace_note(struct trace *trace, uint64_t call, const char *event, const char *outcome, uint64_t a, uint64_t b,
                uint64_t c) {
  const uint64_t at = trace->count % TRACE_EVENTS;
  trace->ring[at].call = call;
  trace->ring[at].event = event;
  trace->ring[at].outcome = outcome;
  trace->ring[at].numbers[0] = a;
  trace->ring[at].numbers[1] = b;
  trace->ring[at].numbers[2] = c;
  trace->count++;
  if (trace->loud) print_one(trace, trace->count - 1);
}

void trace_print(const struct trace *trace) {
  if (trace->loud) return;
  uint64_t from = trace->count > TRACE_EVENTS ? trace->count - TRACE_EVENTS : 0;
  for (uint64_t i = from; i < trace->count; i++) print_one(trace, i);
}
