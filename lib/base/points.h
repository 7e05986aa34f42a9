/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marked points: places between two steps of the protocol where a test may hold a thread, yield, or
 * look. In the library that is shipped they are nothing; in the build for tests each calls a hook.
 */
#ifndef CPN_BASE_POINTS_H
#define CPN_BASE_POINTS_H

#include <stdbool.h>

enum cpn_point {
  CPN_POINT_CLAIM_READ,      /* word, basis and claim are read, nothing is decided */
  CPN_POINT_CLAIMED,         /* the claim is PENDING, no unit is taken */
  CPN_POINT_RESERVED,        /* a slot is reserved, no unit is taken */
  CPN_POINT_TAKEN,           /* the unit is taken, the claim not yet HELD, the record not published */
  CPN_POINT_HELD,            /* the claim is HELD, the record not published */
  CPN_POINT_PUBLISHED,       /* the record is published, nobody is told yet */
  CPN_POINT_BASIS_SET,       /* the basis is set, the mark not yet */
  CPN_POINT_CLOSING,         /* the campaign is closing, no slot for CLOSE is reserved */
  CPN_POINT_CHANGE_RESERVED, /* a slot for OPEN or CLOSE is reserved, the change not made */
  CPN_POINT_DRAINED,         /* the commit stage has numbered a batch, not written it */
  CPN_POINT_ROWS_SEEN,       /* a reader of tickets knows where the rows of a page are, and has read none of them */
  CPN_POINT_ROW_HALF_READ,   /* … has read the stamp of a wide row, not its time */
  /* A checkpoint: */
  CPN_POINT_CHECKPOINT_BEGUN,    /* its LSN is fixed, nothing is written */
  CPN_POINT_CHECKPOINT_PIECE,    /* some of its campaigns or tickets are written */
  CPN_POINT_CHECKPOINT_SYNCED,   /* it is written and synced, under its temporary name */
  CPN_POINT_CHECKPOINT_NAMED,    /* it has its name, durably, and nobody says so */
  CPN_POINT_CHECKPOINT_SWITCHED, /* the manifest says so, durably; nothing has been removed */
  CPN_POINT_CHECKPOINT_TIDIED,   /* what it replaces is gone */
  CPN_POINT_COUNT
};

/* Mistakes that a test can have the library make, to show that it would find them. In the library that is shipped none
 * of them can be made. */
enum cpn_mistake {
  CPN_MISTAKE_CHECKPOINT_UNSYNCED = 1,    /* a checkpoint gets its name without having been synced */
  CPN_MISTAKE_TIDY_BEFORE_SWITCH = 2,     /* what the next manifest will not name goes before that is durable */
  CPN_MISTAKE_SEGMENTS_TOO_EARLY = 4,     /* segments go as soon as the newer of the two checkpoints covers them */
  CPN_MISTAKE_CHECKPOINT_TOO_MUCH = 8,    /* a checkpoint has tickets from behind its LSN */
  CPN_MISTAKE_CHECKPOINT_TOO_LITTLE = 16, /* … lacks the last one before it */
  CPN_MISTAKE_JOINS_TIMES = 32,           /* tickets are joined whose times differ */
  CPN_MISTAKE_JOINED_UNCOUNTED = 64       /* how many tickets are joined in a frame is believed, whatever lies there */
};

#if CPN_TEST_POINTS
/* Of enum cpn_mistake, or'ed. Set by tests, before threads start. */
extern unsigned cpn_mistakes;
#define CPN_MISTAKE(mistake) ((cpn_mistakes & CPN_MISTAKE_##mistake) != 0)

/* Set by tests, before threads start. */
extern void (*cpn_point_hook)(enum cpn_point point);
#define CPN_POINT(point)                                           \
  do {                                                             \
    if (cpn_point_hook != NULL) cpn_point_hook(CPN_POINT_##point); \
  } while (0)
#else
#define CPN_MISTAKE(mistake) false
#define CPN_POINT(point) \
  do {                   \
  } while (0)
#endif

#endif
