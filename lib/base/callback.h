/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Knows whether this thread is inside a callback of ours, so that a call that would wait there (for the
 * very thread it runs on, often) can answer with a fault instead.
 */
#ifndef CPN_BASE_CALLBACK_H
#define CPN_BASE_CALLBACK_H

#include <stdbool.h>

void cpn_callback_enter(void);
void cpn_callback_leave(void);
bool cpn_callback_inside(void);

#endif
