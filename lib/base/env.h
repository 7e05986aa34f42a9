/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seams: everything an engine asks of the world outside its memory, in one place, so that a test can
 * run it on another world. Sleeping and waking are behind base/event.h, the wall clock behind base/clock.h.
 */
#ifndef CPN_BASE_ENV_H
#define CPN_BASE_ENV_H

#include <pthread.h>

#include "base/io.h"

struct cpn_env {
  const struct cpn_io *io;
  void *context;
  /* Fills `size` bytes that nobody can guess. 0 or -errno. */
  int (*random)(void *context, void *to, size_t size);
  /* Starts a thread that has every signal blocked and bears `name`. 0 or -errno.
   * NULL: there are no threads, and the test calls the commit stage's step itself. */
  int (*start_thread)(void *context, pthread_t *thread, const char *name, void *(*run)(void *), void *argument);
};

extern const struct cpn_env cpn_env_system;

/* On how many processors this thread, and those that it starts, may run. */
int cpn_env_processors(void);

#endif
