/* SPDX-License-Identifier: Apache-2.0 */
/* A fault with its particulars, on its way from where it was found to whoever can report it. */
#ifndef CPN_BASE_FAULT_H
#define CPN_BASE_FAULT_H

#include "coupon/coupon.h"

struct cpn_fault {
  coupon_status status;
  int32_t os_error; /* errno, or 0 */
  uint64_t offset;
  char file[64];     /* within the directory, or "" */
  char message[192]; /* what, and what to do */
};

/* Fills `fault` and returns `status`. */
coupon_status cpn_fault_set(struct cpn_fault *fault, coupon_status status, const char *file, uint64_t offset,
                            const char *message);

/* The same for a failed call: `error` is -errno, `what` says what was tried. */
coupon_status cpn_fault_from_io(struct cpn_fault *fault, int64_t error, const char *file, const char *what);

#endif
