/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

coupon_status cpn_fault_set(struct cpn_fault *fault, coupon_status status, const char *file, uint64_t offset,
                            const char *message) {
  memset(fault, 0, sizeof *fault);
  fault->status = status;
  fault->offset = offset;
  (void)snprintf(fault->file, sizeof fault->file, "%s", file);
  (void)snprintf(fault->message, sizeof fault->message, "%s", message);
  return status;
}

/* What the system says of a name that is not a file's sends people elsewhere: "No such device", "Too many levels of
 * symbolic links". */
static const char *reason_of(int number, const char *file, char *buffer, size_t size) {
  bool is_no_file = file[0] != 0 && (number == ENXIO || number == EISDIR || number == ELOOP);
  /* The GNU form returns the text, which need not be in the buffer. */
  return is_no_file ? "something that is no regular file has this name" : strerror_r(number, buffer, size);
}

coupon_status cpn_fault_from_io(struct cpn_fault *fault, int64_t error, const char *file, const char *what) {
  int number = (int)-error;
  coupon_status status = cpn_status_from_errno(number);
  char reason[96], message[192];
  (void)snprintf(message, sizeof message, "%s: %s", what, reason_of(number, file, reason, sizeof reason));
  (void)cpn_fault_set(fault, status, file, 0, message);
  fault->os_error = number;
  return status;
}
