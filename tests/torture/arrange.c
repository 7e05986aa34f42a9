/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that a directory is believed only as a whole: every arrangement of four segments, each name missing, empty,
 * full of zeros, its own file, a copy of any other's, or the file of that name from another directory with the same
 * history; beside the directory's manifest, the other directory's, or none; after a clean close, and as a killed
 * process leaves it. Each is opened by a reader and for writing, and has to get the verdict that FORMAT.md gives,
 * which verdict_of() tells without looking at a byte. What is refused stays as it was; what is opened has the tickets
 * of its segments, and goes on.
 *
 * Planted: a reader that believes a segment by its name.
 */
#include <stdlib.h>
#include <string.h>

#include "base/checksum.h"
#include "support/world.h"
#include "torture/torture.h"

#define SEGMENTS 4
#define TICKETS 23 /* some in each segment of 4 KiB, a frame each */

enum cell { MISSING, EMPTY, ZEROS, OWN, COPY, FOREIGN = COPY + SEGMENTS - 1, CELLS };
enum manifest { MANIFEST_OWN, MANIFEST_FOREIGN, MANIFEST_MISSING, MANIFESTS };

struct arrangement {
  enum manifest manifest;
  enum cell cells[SEGMENTS];
};

struct verdict {
  coupon_status status;
  char file[CPN_SEGMENT_NAME_SIZE]; /* of the damage */
  uint64_t tickets;
};

/* How many tickets are in each segment; the two directories agree. */
static uint64_t tickets_in[SEGMENTS];

static void segment_name(size_t index, char name[CPN_SEGMENT_NAME_SIZE]) { cpn_segment_name(index + 1, name); }

/* --- what must be said ------------------------------------------------------------------------------ */

static struct verdict refusal(size_t index) {
  struct verdict verdict = {.status = COUPON_E_CORRUPT};
  segment_name(index, verdict.file);
  return verdict;
}

/* Without a manifest a directory is nobody's, and a writer makes a new one; unless there is a segment beside it that
 * was ever written to. A first one without a frame is an unfinished creation. */
static struct verdict verdict_without_manifest(const struct arrangement *a, size_t length, bool reading) {
  if (length > 1 || a->cells[0] >= OWN) return (struct verdict){.status = COUPON_E_CORRUPT, .file = CPN_MANIFEST_NAME};
  return (struct verdict){.status = reading ? COUPON_E_ACCESS : COUPON_OK};
}

/* The log is segments 1, 2, 3 … up to the highest name that there is, each the manifest's own. The loss of the last
 * ones cannot be told from a log that never had them. */
static struct verdict verdict_of(const struct arrangement *a, bool reading) {
  size_t length = SEGMENTS;
  while (length > 0 && a->cells[length - 1] == MISSING) length--;
  if (a->manifest == MANIFEST_MISSING) return verdict_without_manifest(a, length, reading);
  struct verdict verdict = {.status = COUPON_OK};
  if (length == 0) return refusal(0);
  for (size_t i = 0; i < length; i++) {
    if (a->cells[i] != (a->manifest == MANIFEST_OWN ? OWN : FOREIGN)) return refusal(i);
    verdict.tickets += tickets_in[i];
  }
  return verdict;
}

/* --- directories ------------------------------------------------------------------------------------ */

static struct simdisk *make_directory(bool closed) {
  static struct world world;
  struct simdisk *disk = simdisk_create();
  world_init(&world, disk);
  TORTURE_CHECK(world_open(&world) == COUPON_OK, "making a directory: %s", world.report.message);
  (void)world_create(&world, 1, 100, 1);
  memset(tickets_in, 0, sizeof tickets_in);
  for (uint64_t user = 0; user < TICKETS; user++) {
    coupon_status status = world_issue(&world, 1, user);
    TORTURE_CHECK(status == COUPON_ISSUED && world_settle(&world), "making a directory: user %" PRIu64, user);
    uint64_t number = world.engine->log.number;
    TORTURE_CHECK(number <= SEGMENTS, "more segments than four");
    tickets_in[number - 1]++;
  }
  for (size_t i = 0; i < SEGMENTS; i++) TORTURE_CHECK(tickets_in[i] > 0, "segment %zu has no tickets", i + 1);
  if (closed)
    world_close(&world);
  else
    world_abandon(&world);
  return disk;
}

static void put(struct simdisk *disk, const char *name, const unsigned char *bytes, size_t size) {
  const struct cpn_io *io = &disk->io;
  int file = io->open(io->context, io->open_directory(io->context, "", false), name, CPN_IO_CREATE);
  TORTURE_CHECK(file >= 0, "making %s", name);
  int error = size == 0 ? 0 : cpn_io_write_all(io, file, 0, bytes, size);
  TORTURE_CHECK(error == 0, "writing %s", name);
  (void)io->close(io->context, file);
}

/* Under other names, which recovery leaves alone: every file that a name may stand for. "2.own", "2.foreign". */
static void lay_out(struct simdisk *disk, struct simdisk *from, const char *kind) {
  char name[CPN_IO_NAME_MAX], segment[CPN_SEGMENT_NAME_SIZE];
  uint64_t size;
  for (size_t i = 0; i < SEGMENTS; i++) {
    segment_name(i, segment);
    const unsigned char *bytes = simdisk_bytes(from, segment, &size);
    TORTURE_CHECK(bytes != NULL, "there is no %s", segment);
    (void)snprintf(name, sizeof name, "%zu.%s", i, kind);
    put(disk, name, bytes, size);
  }
  (void)snprintf(name, sizeof name, "manifest.%s", kind);
  put(disk, name, simdisk_bytes(from, CPN_MANIFEST_NAME, &size), CPN_BLOCK_SIZE);
}

/* A disk with nothing under the names that count. */
static struct simdisk *lay_out_both(bool closed) {
  static const unsigned char zeros[4096];
  struct simdisk *own = make_directory(closed), *foreign = make_directory(closed), *disk = simdisk_create();
  lay_out(disk, own, "own");
  lay_out(disk, foreign, "foreign");
  put(disk, "zeros", zeros, sizeof zeros);
  put(disk, "empty", zeros, 0);
  put(disk, CPN_LOCK_NAME, zeros, 0);
  uint64_t size;
  const unsigned char *owner = simdisk_bytes(own, CPN_OWNER_NAME, &size);
  put(disk, CPN_OWNER_NAME, owner, size);
  simdisk_destroy(own);
  simdisk_destroy(foreign);
  return disk;
}

static void place(struct simdisk *disk, size_t index, enum cell cell) {
  char from[CPN_IO_NAME_MAX], name[CPN_SEGMENT_NAME_SIZE];
  segment_name(index, name);
  /* A copy is of the first other segment, the second, or the third. */
  size_t other = cell >= COPY && cell < FOREIGN ? (size_t)(cell - COPY) : index;
  if (cell >= COPY && cell < FOREIGN && other >= index) other++;
  if (torture_is_planted("believes-names") && cell > OWN) cell = OWN, other = index;
  if (cell == MISSING) return;
  if (cell == EMPTY || cell == ZEROS)
    (void)snprintf(from, sizeof from, "%s", cell == EMPTY ? "empty" : "zeros");
  else
    (void)snprintf(from, sizeof from, "%zu.%s", other, cell == FOREIGN ? "foreign" : "own");
  simdisk_duplicate(disk, from, name);
}

static struct simdisk *arrange(const struct simdisk *both, const struct arrangement *a) {
  struct simdisk *disk = simdisk_copy(both);
  if (a->manifest != MANIFEST_MISSING)
    simdisk_duplicate(disk, a->manifest == MANIFEST_OWN ? "manifest.own" : "manifest.foreign", CPN_MANIFEST_NAME);
  for (size_t i = 0; i < SEGMENTS; i++) place(disk, i, a->cells[i]);
  return disk;
}

/* --- what is said ----------------------------------------------------------------------------------- */

/* Of all names and bytes that are there. */
/* Of all files; of all but the hint, which an opening for writing clears before it reads. */
static uint64_t fingerprint(struct simdisk *disk, bool reading) {
  uint64_t sum = 0;
  for (size_t i = 0; i < SIM_FILES; i++) {
    const struct sim_entry *entry = &disk->now[i];
    if (entry->name[0] == 0 || (!reading && strcmp(entry->name, CPN_OWNER_NAME) == 0)) continue;
    const struct sim_file *file = &disk->files[entry->file];
    sum += cpn_checksum(entry->name, strlen(entry->name)) * (cpn_checksum(file->now, (size_t)file->size) | 1);
  }
  return sum;
}

static const char *describe(const struct arrangement *a, bool reading) {
  static const char *const manifests[] = {"own", "foreign", "missing"};
  static const char *const cells[] = {"missing", "empty", "zeros", "own", "other 1", "other 2", "other 3", "foreign"};
  static char text[256];
  (void)snprintf(text, sizeof text, "manifest %s, segments: %s, %s, %s, %s, %s", manifests[a->manifest],
                 cells[a->cells[0]], cells[a->cells[1]], cells[a->cells[2]], cells[a->cells[3]],
                 reading ? "reading" : "writing");
  return text;
}

/* One more ticket, which the next opening finds too. */
static void go_on(struct world *world, struct simdisk *disk, uint64_t tickets, const char *what) {
  uint64_t id = tickets == 0 ? 2 : 1;
  if (tickets == 0) (void)world_create(world, id, 100, 1);
  coupon_status status = world_issue(world, id, 1000);
  TORTURE_CHECK(status == COUPON_ISSUED && world_settle(world), "%s: the next issue: %s", what,
                coupon_status_name(status));
  struct simdisk *after = simdisk_copy(disk);
  world_abandon(world);
  world_init(world, after);
  status = world_open(world);
  TORTURE_CHECK(status == COUPON_OK && world_tickets(world) == tickets + 1, "%s: and again: %s, %s", what,
                coupon_status_name(status), world->report.message);
  world_abandon(world);
  simdisk_destroy(after);
}

static void judge(const struct simdisk *both, const struct arrangement *a, bool reading) {
  static struct world world, nothing;
  const struct verdict expected = verdict_of(a, reading);
  const char *what = describe(a, reading);
  struct simdisk *disk = arrange(both, a);
  uint64_t before = fingerprint(disk, reading);
  world_init(&world, disk);
  world.options.read_only = reading;
  coupon_status status = world_open(&world);
  TORTURE_CHECK(status == expected.status, "%s: %s (%s), expected %s", what, coupon_status_name(status),
                world.report.message, coupon_status_name(expected.status));
  if (status == COUPON_OK) {
    const char *wrong = world_check(&world, &nothing);
    TORTURE_CHECK(wrong == NULL, "%s: %s", what, wrong);
    TORTURE_CHECK(world_tickets(&world) == expected.tickets, "%s: %" PRIu64 " tickets, expected %" PRIu64, what,
                  world_tickets(&world), expected.tickets);
  } else {
    TORTURE_CHECK(strcmp(world.report.file, expected.file) == 0, "%s: \"%s\" is blamed, expected \"%s\"", what,
                  world.report.file, expected.file);
  }
  if (status != COUPON_OK || reading) {
    TORTURE_CHECK(fingerprint(disk, reading) == before, "%s: something was written", what);
    world_abandon(&world);
  } else {
    go_on(&world, disk, expected.tickets, what);
  }
  simdisk_destroy(disk);
  torture_count(1);
}

/* --- every one -------------------------------------------------------------------------------------- */

/* A sanitizer makes each opening some twenty times dearer; a step that meets every cell at every name. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STEP 37
#else
#define STEP 1
#endif
#define ARRANGEMENTS ((unsigned)(MANIFESTS * CELLS * CELLS * CELLS * CELLS))

static struct arrangement arrangement_of(unsigned index) {
  struct arrangement a;
  for (size_t i = 0; i < SEGMENTS; i++) {
    a.cells[i] = (enum cell)(index % CELLS);
    index /= CELLS;
  }
  a.manifest = (enum manifest)(index % MANIFESTS);
  return a;
}

int main(int argc, char **argv) {
  static const char *const planted[] = {"believes-names", NULL};
  static const struct torture_plan plan = {.name = "arrange", .counted = "openings", .rounds = 1, .planted = planted};
  torture_begin(&plan, argc, argv);
  (void)torture_next_round();
  for (int closed = 0; closed < 2; closed++) {
    struct simdisk *both = lay_out_both(closed);
    for (unsigned index = 0; index < ARRANGEMENTS; index += STEP) {
      struct arrangement a = arrangement_of(index);
      judge(both, &a, true);
      judge(both, &a, false);
    }
    simdisk_destroy(both);
  }
  char details[128];
  (void)snprintf(details, sizeof details, "every %s of %u arrangements, twice", STEP == 1 ? "one" : "37th",
                 ARRANGEMENTS);
  return torture_end(details);
}
