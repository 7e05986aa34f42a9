/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Under a sanitizer, where a fresh block of megabytes costs more than everything else that an execution does: the
 * reader's windows are always the same few. Linked with --wrap=malloc and --wrap=free.
 */
#include <stdbool.h>
#include <stddef.h>

#define LARGE_FROM ((size_t)256 * 1024)
#define LARGE_BYTES ((size_t)4 * 1024 * 1024)
enum { BLOCKS = 4 };

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *pointer);
void __wrap_free(void *pointer);

static unsigned char blocks[BLOCKS][LARGE_BYTES];
static bool taken[BLOCKS];

void *__wrap_malloc(size_t size) {
  if (size < LARGE_FROM || size > LARGE_BYTES) return __real_malloc(size);
  for (int i = 0; i < BLOCKS; i++) {
    if (taken[i]) continue;
    taken[i] = true;
    return blocks[i];
  }
  return __real_malloc(size);
}

void __wrap_free(void *pointer) {
  for (int i = 0; i < BLOCKS; i++) {
    if (pointer != blocks[i]) continue;
    taken[i] = false;
    return;
  }
  __real_free(pointer);
}
