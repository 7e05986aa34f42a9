/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXAMPLE_SERVE_H
#define EXAMPLE_SERVE_H

#include "options.h"

enum { EXIT_USAGE = 2, EXIT_TROUBLE = 4 };

/* A path within the directory, to be freed. */
char *path_in(const char *directory, const char *name);

/* Serves until a signal. The exit status of the program. */
int serve(const struct options *options);

#endif
