/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marked points: places between two steps of the protocol where a test may hold a thread, yield, or
 * look. In the library that is shipped they are nothing; in the build for tests each calls a hook.
 */
#ifndef CPN_BASE_POINTS_H
#define CPN_BASE_POINTS_H

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
  CPN_POINT_COUNT
};

#if CPN_TEST_POINTS
/* Set by tests, before threads start. */
extern void (*cpn_point_hook)(enum cpn_point point);
#define CPN_POINT(point)                                           \
  do {                                                             \
    if (cpn_point_hook != NULL) cpn_point_hook(CPN_POINT_##point); \
  } while (0)
#else
#define CPN_POINT(point) \
  do {                   \
  } while (0)
#endif

#endif
