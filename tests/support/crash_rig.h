/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crashes a script at every call that it makes to a simulated disk, loses power in many ways, opens what is left, and
 * holds it against every answer that was final. The script runs lives of an engine in a world (support/world.h).
 */
#ifndef TESTS_SUPPORT_CRASH_RIG_H
#define TESTS_SUPPORT_CRASH_RIG_H

#include "support/world.h"

struct crash_rig {
  /* Runs until the end or until the process dies; closes or abandons the world's engine. */
  void (*script)(struct world *world);
  /* Changes the options of every world that is opened; or NULL. */
  void (*options)(struct world *world);
  /* The disk before each run; or NULL. */
  void (*disk)(struct simdisk *disk);
  /* In what way power is lost, besides not at all: so many tosses of which unsynced sectors are kept, beside all and
   * none. */
  unsigned tosses;
  /* Before each opening the newest checkpoint that the manifest names is damaged: nothing may depend on it. */
  bool damage_newest;
  /* The call fails with this errno instead of the process dying; 0: it dies. */
  int fail_errno;
  bool fail_for_good;

  /* Every so manieth call; 0: every one. */
  unsigned every;

  /* What was done. */
  uint64_t points, recoveries;
  uint64_t call; /* the one at which something was wrong */
};

/* NULL, or the first thing that was wrong. */
const char *crash_rig_run(struct crash_rig *rig, uint64_t seed);

#endif
