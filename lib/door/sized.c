/* SPDX-License-Identifier: Apache-2.0 */
#include "door/sized.h"

static bool unknown_tail_is_zero(const void *input, size_t known, size_t size) {
  const unsigned char *bytes = input;
  for (size_t i = known; i < size; i++) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

bool cpn_sized_is_output_since(const void *output, size_t first, size_t known) {
  return output != NULL && (cpn_sized_of(output) == first || cpn_sized_is_output(output, known));
}

bool cpn_sized_is_input_since(const void *input, size_t first, size_t known) {
  return cpn_sized_is_output_since(input, first, known) && unknown_tail_is_zero(input, known, cpn_sized_of(input));
}

bool cpn_sized_is_input(const void *input, size_t known) { return cpn_sized_is_input_since(input, known, known); }

void cpn_sized_hand_out(void *to, const void *from, size_t known) {
  const size_t size = cpn_sized_of(to);
  memcpy((char *)to + sizeof size, (const char *)from + sizeof size, (size < known ? size : known) - sizeof size);
}
