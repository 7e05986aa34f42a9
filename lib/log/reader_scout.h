/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading in two threads: the scout walks through the log and checks frames ahead (log/ahead.h), the caller's thread visits
 * their records in the log's order.
 */
#ifndef CPN_LOG_READER_SCOUT_H
#define CPN_LOG_READER_SCOUT_H

#include "log/reader.h"

/* What cpn_reader_walk() does. False: there is no second thread to be had, or nothing for it to do, and nothing was read. */
CPN_MUST_CHECK bool cpn_reader_scout(struct cpn_reader *reader, coupon_status *status, struct cpn_fault *fault);

#endif
