/* SPDX-License-Identifier: Apache-2.0 */
#include "log/spare.h"

#include <errno.h>

#include "log/format.h"

/* What is written between two looks at whether to stop: closing waits for that. */
#define PIECE_SIZE (UINT64_C(4) << 20)

void cpn_spare_init(struct cpn_spare *spare, const struct cpn_io *io, int directory) {
  spare->io = io;
  spare->directory = directory;
  spare->has_maker = false;
  spare->file = -1;
  atomic_init(&spare->state, CPN_SPARE_NONE);
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

/* Between log and maker: one of them gets what is WANTED. */
static bool change(struct cpn_spare *spare, enum cpn_spare_state from, enum cpn_spare_state to) {
  uint32_t seen = from;
  return atomic_compare_exchange_strong_explicit(&spare->state, &seen, to, memory_order_seq_cst, memory_order_seq_cst);
}

static bool stopping(const struct cpn_spare *spare) {
  return atomic_load_explicit(&spare->stop, memory_order_seq_cst) != 0;
}

/* --- the log's side ------------------------------------------------------------------------------ */

void cpn_spare_want(struct cpn_spare *spare, uint64_t size) {
  if (!spare->has_maker || size < CPN_SPARE_SIZE_MIN || look(spare) != CPN_SPARE_NONE) return;
  spare->size = size;
  become(spare, CPN_SPARE_WANTED);
  cpn_event_tell(&spare->asked);
}

/* The state, once nobody is at work on it; what was not begun is taken back. */
static enum cpn_spare_state settle(struct cpn_spare *spare) {
  for (;;) {
    uint32_t seen = cpn_event_look(&spare->made);
    if (change(spare, CPN_SPARE_WANTED, CPN_SPARE_NONE)) return CPN_SPARE_NONE;
    enum cpn_spare_state state = look(spare);
    if (state != CPN_SPARE_MAKING) return state;
    (void)cpn_event_wait(&spare->made, seen, INT64_MAX);
  }
}

static int give_up(struct cpn_spare *spare, int file) {
  (void)spare->io->close(spare->io->context, file);
  return spare->io->remove(spare->io->context, spare->directory, CPN_SEGMENT_TEMPORARY_NAME);
}

int cpn_spare_take(struct cpn_spare *spare, uint64_t size) {
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

static int fill(struct cpn_spare *spare, int file) {
  int error = 0;
  for (uint64_t at = 0; at < spare->size && error == 0; at += PIECE_SIZE) {
    if (stopping(spare)) return -ECANCELED;
    error = cpn_io_write_zeros(spare->io, file, at, cpn_min_u64(spare->size, at + PIECE_SIZE));
  }
  return error < 0 ? error : spare->io->sync(spare->io->context, file);
}

static enum cpn_spare_state make(struct cpn_spare *spare) {
  const struct cpn_io *io = spare->io;
  int file = io->open(io->context, spare->directory, CPN_SEGMENT_TEMPORARY_NAME, CPN_IO_CREATE);
  if (file < 0) return CPN_SPARE_FAILED;
  if (fill(spare, file) < 0) {
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
    if (change(spare, CPN_SPARE_WANTED, CPN_SPARE_MAKING)) {
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
