/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fault.h"

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

coupon_status cpn_fault_from_io(struct cpn_fault *fault, int64_t error, const char *file, const char *what) {
  int number = (int)-error;
  coupon_status status = cpn_status_from_errno(number);
  char reason[96], message[192];
  /* The GNU form returns the text, which need not be in the buffer. */
  (void)snprintf(message, sizeof message, "%s: %s", what, strerror_r(number, reason, sizeof reason));
  (void)cpn_fault_set(fault, status, file, 0, message);
  fault->os_error = number;
  return status;
}
