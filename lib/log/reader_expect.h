/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the log ends, guessed before it is read, for whoever wants to make room for what it holds.
 */
#ifndef CPN_LOG_READER_EXPECT_H
#define CPN_LOG_READER_EXPECT_H

#include "log/reader.h"

/* About the last segment's end, as LSNs count: from where it begins, and how much of its file is not zero, at the pace
 * of the segments before it. 0: cannot tell. */
uint64_t cpn_reader_expect_end(const struct cpn_reader *reader);

#endif
