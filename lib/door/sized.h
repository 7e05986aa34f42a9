/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structs that begin with their size, as the caller's header has it: of this version, of a later one, or of the first
 * where the struct has grown since. `known` is the size in this version.
 */
#ifndef CPN_DOOR_SIZED_H
#define CPN_DOOR_SIZED_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* A struct of a megabyte is a size that was never set. */
#define CPN_SIZED_MAX ((size_t)1 << 20)

static inline size_t cpn_sized_of(const void *structure) {
  size_t size;
  memcpy(&size, structure, sizeof size);
  return size;
}

/* An element of an array, whose size is passed beside it. */
static inline bool cpn_sized_is_element(size_t size, size_t known) { return size >= known && size <= CPN_SIZED_MAX; }

/* Output structs may be longer: what we do not know is left alone. Here, because coupon_try_issue() asks. */
static inline bool cpn_sized_is_output(const void *output, size_t known) {
  return output != NULL && cpn_sized_is_element(cpn_sized_of(output), known);
}

/* Of a struct that has grown: `first` is its size in the first version. */
bool cpn_sized_is_output_since(const void *output, size_t first, size_t known);

/* Input structs may be longer, if the fields that we do not know are all zero. */
bool cpn_sized_is_input(const void *input, size_t known);
bool cpn_sized_is_input_since(const void *input, size_t first, size_t known);

/* As much of an answer as the caller's struct has room for, its size left as it is. */
void cpn_sized_hand_out(void *to, const void *from, size_t known);

#endif
