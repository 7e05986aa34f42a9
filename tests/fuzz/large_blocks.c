/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Under a sanitizer, where a fresh block of megabytes costs more than everything else that an execution does: the reader's
 * window is one and the same, with the sanitizer's fences around it. Linked with --wrap=malloc and --wrap=free.
 */
#include <stdbool.h>
#include <stddef.h>

#define LARGE_FROM ((size_t)1024 * 1024)
#define LARGE_BYTES ((size_t)4 * 1024 * 1024)

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *pointer);
void __wrap_free(void *pointer);

static unsigned char block[LARGE_BYTES];
static bool taken;

void *__wrap_malloc(size_t size) {
  if (size < LARGE_FROM || size > LARGE_BYTES || taken) return __real_malloc(size);
  taken = true;
  return block;
}

void __wrap_free(void *pointer) {
  if (pointer == block)
    taken = false;
  else
    __real_free(pointer);
}
