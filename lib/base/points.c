/* SPDX-License-Identifier: Apache-2.0 */
#include "base/points.h"

#include <stddef.h>

#if CPN_TEST_POINTS
unsigned cpn_mistakes = 0;
void (*cpn_point_hook)(enum cpn_point point) = NULL;
#else
/* ISO C asks for at least one declaration in a file. */
typedef int cpn_points_are_off;
#endif
