/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames read and checked ahead by a second thread, for the one that recovers: a bounded queue of items, and the windows
 * onto the files that they point into. One thread pushes, one takes.
 *
 * Who waits for whom: the pusher for the taker where the queue is full or every window is still looked through; the
 * taker for the pusher where the queue is empty. A taker that has seen enough says so, and the pusher then gets no
 * more windows.
 */
#ifndef CPN_LOG_AHEAD_H
#define CPN_LOG_AHEAD_H

#include <stdatomic.h>

#include "base/event.h"
#include "log/format.h"

#define CPN_AHEAD_WINDOWS 8u

struct cpn_ahead_item {
  enum { CPN_AHEAD_FRAME, CPN_AHEAD_PROGRESS, CPN_AHEAD_END } kind;
  struct cpn_frame frame;       /* FRAME */
  const unsigned char *payload; /* FRAME; in a window */
  uint64_t done, total;         /* PROGRESS */
};

struct cpn_ahead {
  unsigned char *windows; /* CPN_AHEAD_WINDOWS side by side */
  size_t window_size;
  struct cpn_ahead_item *items;                     /* a ring */
  uint64_t window_count;                            /* got so far; the pusher's */
  uint64_t last_item[CPN_AHEAD_WINDOWS];            /* items that may point into this window end here; the pusher's */
  uint64_t seen_taken;                              /* the pusher's */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t pushed; /* items; written by the pusher */
  _Atomic uint64_t wanted;                          /* how many taken items it waits for; written by the pusher */
  _Alignas(CPN_CACHE_LINE) _Atomic uint64_t taken;  /* items done with; written by the taker */
  _Atomic uint32_t stopped;                         /* written by the taker, once */
  uint64_t at, seen_pushed;                         /* the item it is at, and those it knows of; the taker's */
  _Alignas(CPN_CACHE_LINE) struct cpn_event more;   /* for the taker */
  struct cpn_event less;                            /* for the pusher */
};

/* False: no memory. */
CPN_MUST_CHECK bool cpn_ahead_init(struct cpn_ahead *ahead, size_t window_size);
void cpn_ahead_fini(struct cpn_ahead *ahead);

/* The pusher's. A window that nothing points into any more; what was got before may be pointed into by items pushed so
 * far. NULL: stop. */
unsigned char *cpn_ahead_window(struct cpn_ahead *ahead);
/* Copies the item into the queue. */
void cpn_ahead_push(struct cpn_ahead *ahead, const struct cpn_ahead_item *item);

/* The taker's. The next item, valid until it is done with. */
const struct cpn_ahead_item *cpn_ahead_next(struct cpn_ahead *ahead);
void cpn_ahead_done(struct cpn_ahead *ahead);
void cpn_ahead_stop(struct cpn_ahead *ahead);

#endif
