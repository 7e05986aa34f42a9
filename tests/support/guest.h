/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of a good guest share: engines in the test's directory, opened as anybody would, and a look at the
 * process. One program includes it once.
 */
#ifndef TESTS_SUPPORT_GUEST_H
#define TESTS_SUPPORT_GUEST_H

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "support/on_disk.h"

__attribute__((unused)) static coupon_engine *open_sync(const char *path) {
  struct coupon_options options = help_options(COUPON_SYNC);
  return help_open(path, &options);
}

__attribute__((unused)) static coupon_engine *open_read_only(void) {
  struct coupon_options options = help_options(COUPON_SYNC);
  options.read_only = 1;
  return help_open(data, &options);
}

/* Through the disk that fails. */
__attribute__((unused)) static coupon_engine *open_on_disk(const char *path) {
  struct coupon_options options = help_options(COUPON_SYNC);
  return help_open_env(&env, path, &options);
}

__attribute__((unused)) static coupon_status try_to_open(const char *path, coupon_engine **engine) {
  struct coupon_options options = help_options(COUPON_SYNC);
  return coupon_open(path, &options, engine, NULL);
}

/* The engine fails for good, at the sync of a ticket for user 5 of campaign 1. */
__attribute__((unused)) static void fail_at_a_sync(coupon_engine *engine) {
  help_disk_fail_next(&disk, HELP_SYNC, EIO);
  (void)ask(engine, 1, 5, COUPON_FOREVER, COUPON_E_FAILED);
}

/* A line of /proc/self/task/ID/status behind its name, or of .../comm. */
__attribute__((unused)) static void read_task(pid_t task, const char *file, const char *name, char *value,
                                              size_t size) {
  char path[64], line[256];
  (void)snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)task, file);
  FILE *stream = fopen(path, "re");
  cr_assert_not_null(stream);
  value[0] = 0;
  while (fgets(line, sizeof line, stream) != NULL) {
    if (strncmp(line, name, strlen(name)) == 0) (void)snprintf(value, size, "%.*s", (int)size - 1, line + strlen(name));
  }
  (void)fclose(stream);
}

#endif
