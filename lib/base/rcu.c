/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rcu.h"

#ifdef CPN_TSAN
char cpn_rcu_edge;
#else
/* ISO C asks for at least one declaration in a file. */
typedef int cpn_rcu_edges_are_seen;
#endif
