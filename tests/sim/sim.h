/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "sim/run.h"

/* The exhaustive forms: every call, every allocation, every jump of the clock. 0: all is well; negative: there is no
 * such mode. */
int every_run(const char *mode, struct counts *counts);

#endif
