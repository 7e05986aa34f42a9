/* SPDX-License-Identifier: Apache-2.0 */
#include "base/defs.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void cpn_invariant_broken(int number, const char *condition, const char *file, int line) {
  char text[512];
  int length =
      snprintf(text, sizeof text, "libcoupon: invariant %d broken: %s (%s:%d)\n", number, condition, file, line);
  if (length > 0) {
    size_t size = (size_t)length < sizeof text ? (size_t)length : sizeof text - 1;
    /* A failure to print changes nothing: we abort in any case. */
    ssize_t ignored = write(STDERR_FILENO, text, size);
    (void)ignored;
  }
  abort();
}
