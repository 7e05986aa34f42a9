/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses in words, and the operating system's errors as statuses. Pure functions. */
#ifndef CPN_BASE_STATUS_H
#define CPN_BASE_STATUS_H

#include "coupon/coupon.h"

const char *cpn_status_name(coupon_status status);
const char *cpn_status_sentence(coupon_status status);

/* `error` is an errno, positive; 0 is COUPON_OK. */
coupon_status cpn_status_from_errno(int error);

#endif
