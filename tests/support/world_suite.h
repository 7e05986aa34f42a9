/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The suite of a Criterion program whose tests each have a world of their own: an engine, not open yet, that is stepped
 * by hand on a simulated disk. One program includes it once.
 */
#ifndef TESTS_SUPPORT_WORLD_SUITE_H
#define TESTS_SUPPORT_WORLD_SUITE_H

#include <criterion/criterion.h>

#include "support/engine_help.h"
#include "support/world.h"

static struct simdisk *disk;
static struct world world;

static void begin(void) {
  disk = simdisk_create();
  world_init(&world, disk);
}

static void end(void) {
  world_close(&world);
  simdisk_destroy(disk);
}

#endif
