/* SPDX-License-Identifier: Apache-2.0 */
#include "base/env.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/random.h>

static int system_random(void *context, void *to, size_t size) {
  (void)context;
  size_t done = 0;
  while (done < size) {
    ssize_t got = getrandom((char *)to + done, size - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    done += (size_t)got;
  }
  return 0;
}

static int system_start_thread(void *context, pthread_t *thread, const char *name, void *(*run)(void *),
                               void *argument) {
  (void)context;
  /* A new thread inherits the mask of its maker: block everything before, so that no signal of the host
   * program is ever delivered to us, not even at the start. */
  sigset_t all, before;
  (void)sigfillset(&all);
  (void)pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(thread, NULL, run, argument);
  (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error != 0) return -error;
  (void)pthread_setname_np(*thread, name); /* for ps and debuggers; nothing depends on it */
  return 0;
}

int cpn_env_processors(void) {
  cpu_set_t set; /* too small for the machine: it has many */
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 2;
}

const struct cpn_env cpn_env_system = {
    .io = &cpn_io_posix,
    .context = NULL,
    .random = system_random,
    .start_thread = system_start_thread,
};
