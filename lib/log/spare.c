/* SPDX-License-Identifier: Apache-2.0 */
#include "log/spare.h"

#include <errno.h>

#include "base/clock.h"
#include "log/format.h"

/* What is written at once: a commit may have to wait for it. */
#define PIECE_SIZE (UINT64_C(256) << 10)

/* Pauses are so many times as long as what was written before them took: that share of the disk is left to the
 * commits. */
#define PAUSE_FACTOR 4

void cpn_spare_init(struct cpn_spare *spare, const struct cpn_io *io, int directory) {
  spare->io = io;
  spare->directory = directory;
  spare->has_maker = false;
  spare->file = -1;
  atomic_init(&spare->state, CPN_SPARE_NONE);
  atomic_init(&spare->hurry, 0);
  atomic_init(&spare->stop, 0);
  cpn_event_init(&spare->asked);
  cpn_event_init(&spare->made);
}

/* seq_cst, all of them: who changes the state then tells, and who waits looks at the state after it looked at the event
 * (base/event.h). Also acquire and release: size, file and what is in the file go with the state. */
static enum cpn_spare_state look(const struct cpn_spare *spare) {
  return (enum cpn_spare_state)atomic_load_explicit(&spare->state, memory_order_seq_cst);
}

static void become(struct cpn_spare *spare, enum cpn_spare_state state) {
  atomic_store_explicit(&spare->state, state, memory_order_seq_cst);
}

static bool stopping(const struct cpn_spare *spare) {
  return atomic_load_explicit(&spare->stop, memory_order_seq_cst) != 0;
}

static bool hurrying(const struct cpn_spare *spare) {
  return atomic_load_explicit(&spare->hurry, memory_order_seq_cst) != 0;
}

/* --- the log's side ------------------------------------------------------------------------------ */

void cpn_spare_want(struct cpn_spare *spare, uint64_t size) {
  if (!spare->has_maker || size < CPN_SPARE_SIZE_MIN || look(spare) != CPN_SPARE_NONE) return;
  spare->size = size;
  become(spare, CPN_SPARE_WANTED);
  cpn_event_tell(&spare->asked);
}

/* The state, once the maker is not at work. (The maker ends only when nobody commits any more.) */
static enum cpn_spare_state settle(struct cpn_spare *spare) {
  atomic_store_explicit(&spare->hurry, 1, memory_order_seq_cst);
  cpn_event_tell(&spare->asked);
  enum cpn_spare_state state;
  for (;;) {
    uint32_t seen = cpn_event_look(&spare->made);
    state = look(spare);
    if (state != CPN_SPARE_WANTED) break;
    (void)cpn_event_wait(&spare->made, seen, INT64_MAX);
  }
  atomic_store_explicit(&spare->hurry, 0, memory_order_seq_cst);
  return state;
}

static int give_up(struct cpn_spare *spare, int file) {
  (void)spare->io->close(spare->io->context, file);
  return spare->io->remove(spare->io->context, spare->directory, CPN_SEGMENT_TEMPORARY_NAME);
}

int cpn_spare_take(struct cpn_spare *spare, uint64_t size) {
  if (look(spare) == CPN_SPARE_NONE) return -1;
  enum cpn_spare_state state = settle(spare);
  become(spare, CPN_SPARE_NONE);
  if (state != CPN_SPARE_READY) return -1;
  int file = spare->file;
  spare->file = -1;
  if (spare->size == size) return file;
  (void)give_up(spare, file); /* if it cannot be removed, making the segment will say so */
  return -1;
}

/* --- the maker ----------------------------------------------------------------------------------- */

/* Unless somebody hurries. */
static void pause_after(struct cpn_spare *spare, int64_t begin) {
  uint32_t seen = cpn_event_look(&spare->asked);
  if (hurrying(spare) || stopping(spare)) return;
  (void)cpn_event_wait(&spare->asked, seen, cpn_deadline_after((cpn_monotonic_ns() - begin) * PAUSE_FACTOR));
}

/* Room on the disk, durable. 1: there is; 0: this file system has none to give; or -errno. */
static int allocate(const struct cpn_spare *spare, int file) {
  const struct cpn_io *io = spare->io;
  int error = io->allocate == NULL ? -EOPNOTSUPP : io->allocate(io->context, file, spare->size);
  if (error == -EOPNOTSUPP) return 0;
  if (error == 0) error = cpn_io_sync(io, file);
  return error < 0 ? error : 1;
}

/* At leisure, what has its room; past the page cache if that can be, which has no use for zeros. */
static int fill_slowly(struct cpn_spare *spare, int file) {
  const struct cpn_io *io = spare->io;
  int durable =
      io->open_durable == NULL ? -1 : io->open_durable(io->context, spare->directory, CPN_SEGMENT_TEMPORARY_NAME);
  int error = 0;
  for (uint64_t at = 0; at < spare->size && error == 0 && !hurrying(spare) && !stopping(spare); at += PIECE_SIZE) {
    int64_t begin = cpn_monotonic_ns();
    error = cpn_io_write_zeros(io, durable >= 0 ? durable : file, at, cpn_min_u64(spare->size, at + PIECE_SIZE));
    if (error == 0 && durable < 0) error = cpn_io_sync(io, file);
    pause_after(spare, begin);
  }
  if (durable >= 0) (void)io->close(io->context, durable);
  return error;
}

static int fill_at_once(struct cpn_spare *spare, int file) {
  int error = 0;
  for (uint64_t at = 0; at < spare->size && error == 0; at += PIECE_SIZE) {
    if (stopping(spare)) return -ECANCELED;
    error = cpn_io_write_zeros(spare->io, file, at, cpn_min_u64(spare->size, at + PIECE_SIZE));
  }
  return error < 0 ? error : cpn_io_sync(spare->io, file);
}

static enum cpn_spare_state make(struct cpn_spare *spare) {
  const struct cpn_io *io = spare->io;
  int file = cpn_io_open(io, spare->directory, CPN_SEGMENT_TEMPORARY_NAME, CPN_IO_CREATE);
  if (file < 0) return CPN_SPARE_FAILED;
  int error = allocate(spare, file);
  if (error >= 0) error = error > 0 ? fill_slowly(spare, file) : fill_at_once(spare, file);
  if (error < 0) {
    (void)give_up(spare, file);
    return CPN_SPARE_FAILED;
  }
  spare->file = file;
  return CPN_SPARE_READY;
}

void *cpn_spare_thread(void *argument) {
  struct cpn_spare *spare = argument;
  for (;;) {
    uint32_t seen = cpn_event_look(&spare->asked);
    if (stopping(spare)) return NULL;
    if (look(spare) == CPN_SPARE_WANTED) {
      become(spare, make(spare));
      cpn_event_tell(&spare->made);
    } else {
      (void)cpn_event_wait(&spare->asked, seen, INT64_MAX);
    }
  }
}

void cpn_spare_stop(struct cpn_spare *spare) {
  atomic_store_explicit(&spare->stop, 1, memory_order_seq_cst);
  cpn_event_tell(&spare->asked);
}

void cpn_spare_fini(struct cpn_spare *spare, bool leave) {
  if (spare->file < 0) return;
  if (leave)
    (void)spare->io->close(spare->io->context, spare->file);
  else
    (void)give_up(spare, spare->file);
  spare->file = -1;
}
