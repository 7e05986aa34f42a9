/* SPDX-License-Identifier: Apache-2.0 */
/* What `serve` is told on its command line. docs/HTTP.md explains each. */
#ifndef EXAMPLE_OPTIONS_H
#define EXAMPLE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options {
  const char *directory;
  const char *listen;
  const char *secret_file; /* NULL: `secret` in the directory */
  const char *constant;    /* a path, or NULL */
  int32_t durability;
  uint64_t port, threads;
  uint64_t token_seconds;
  uint64_t commit_delay_us, flush_rounds;
  uint64_t max_connections, max_header_bytes, max_body_bytes, max_waiting, max_coupons;
  uint64_t header_timeout_ms, body_timeout_ms, idle_timeout_ms, write_timeout_ms, final_timeout_ms, drain_timeout_ms;
  uint64_t signin_workers, signin_queue, signin_per_account, signin_per_address;
};

/* From the arguments behind `serve`. False after a message on standard error. */
bool options_read(struct options *options, int argc, char **argv);

#endif
