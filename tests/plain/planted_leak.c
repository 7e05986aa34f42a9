/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A planted bug: memory that nobody frees and nobody can reach. LeakSanitizer must report it; if it does
 * not, its silence about the library means nothing. Run by the test rig.planted_leak.
 */
#include <stdio.h>
#include <stdlib.h>

/* Volatile, so that the compiler cannot see that the memory is unused and leave the call out. */
static void *volatile held;

int main(void) {
  held = malloc(64);
  if (held == NULL) return 2;
  held = NULL;
  puts("leaked 64 bytes");
  return 0;
}
