/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A `coupon backup` with a mistake, which COUPON_TEST_PLANTED names, to show that backup_race.c would find it: the
 * tool's own sources, linked with these two calls led here.
 *
 *   segment  one segment is not copied
 *   hint     the owner's hint is taken for one of the past: the copy is good, but old
 */
#include "backup_copy.h"

#include <stdlib.h>
#include <string.h>

bool __real_copy_segment(struct copy_target *target, struct file *from, uint64_t limit_lsn, uint64_t *lsn);
bool __wrap_copy_segment(struct copy_target *target, struct file *from, uint64_t limit_lsn, uint64_t *lsn);
void __real_file_owner_hint(int directory, const unsigned char *identity, struct read_owner *owner);
void __wrap_file_owner_hint(int directory, const unsigned char *identity, struct read_owner *owner);

static bool planted(const char *name) {
  const char *mistake = getenv("COUPON_TEST_PLANTED"); /* NOLINT(concurrency-mt-unsafe): there is one thread */
  return mistake != NULL && strcmp(mistake, name) == 0;
}

bool __wrap_copy_segment(struct copy_target *target, struct file *from, uint64_t limit_lsn, uint64_t *lsn) {
  if (planted("segment") && from->number % 3 == 2) {
    *lsn = limit_lsn;
    return true;
  }
  return __real_copy_segment(target, from, limit_lsn, lsn);
}

void __wrap_file_owner_hint(int directory, const unsigned char *identity, struct read_owner *owner) {
  __real_file_owner_hint(directory, identity, owner);
  if (planted("hint")) owner->durable_lsn = 0; /* what checkpoints know is still copied */
}
