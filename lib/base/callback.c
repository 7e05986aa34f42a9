/* SPDX-License-Identifier: Apache-2.0 */
#include "base/callback.h"

/* A depth, not a flag: a callback may make a call that makes a callback. */
static _Thread_local int depth;

void cpn_callback_enter(void) { depth++; }
void cpn_callback_leave(void) { depth--; }
bool cpn_callback_inside(void) { return depth > 0; }
