/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine has said, remembered outside of it: the oracle. It knows the rules of the answers (the public header)
 * and the LSNs they bear, nothing of how the engine keeps or recovers them.
 *
 * While an engine lives, one thread asks it, so each answer is determined by those before it and by the time that it
 * bears: the model says which. After a crash what is there has to be exactly what was decided up to some LSN, and that
 * LSN must not lie before the last one that was called final.
 *
 * The first thing that is wrong is kept in `wrong`; from then on nothing is judged.
 */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include "coupon/coupon.h"
#include "support/simdisk.h"

#define MODEL_CAMPAIGNS 6
#define MODEL_TICKETS 512 /* of one campaign: stocks are smaller */

struct model_ticket {
  uint64_t user; /* or the number that the user's 16 bytes are made from */
  uint64_t lsn, time_ns;
};

struct model_campaign {
  struct coupon_campaign_spec spec;
  bool exists;
  uint64_t created_lsn;
  struct model_ticket tickets[MODEL_TICKETS];
  size_t count;
  bool told_sold_out, told_ended;
  uint64_t sold_out_lsn, ended_lsn; /* on which that rested */
  /* COUPON_PLACE_…: where its tickets are at least, as was told, and at most, as was asked for. */
  int32_t place, wanted;
  int32_t unread_place; /* as a checkpoint says that could not be read: it may come back at the next opening */
};

struct model {
  struct model_campaign campaigns[MODEL_CAMPAIGNS];
  uint64_t life;           /* the last one that was opened */
  uint64_t began_lsn;      /* its beginning */
  uint64_t durable_lsn;    /* the end of what was called final in this life, or found at its beginning */
  uint64_t synced_lsn;     /* the end of what has to survive a power loss too */
  uint64_t floor_lsn;      /* what the next opening has to show */
  uint64_t last_lsn;       /* of the last decision */
  uint64_t told_ns;        /* the last decision time that was told */
  uint64_t checkpoint_lsn; /* of the newest that was said to be made */
  uint64_t capacity;       /* of the log buffer */
  bool scarce;             /* memory may be refused */
  bool lying;              /* what lies in files may be damaged */
  const char *wrong;
  uint64_t numbers[3]; /* about it */
};

void model_init(struct model *model);

/* Its tickets are in memory. */
void model_forget_places(struct model_campaign *campaign);
/* Only what is in use, which is little. */
void model_copy(struct model *to, const struct model *from);
void model_wrong(struct model *model, const char *what, uint64_t a, uint64_t b, uint64_t c);

/* The 16 bytes of a user of a campaign of that kind. */
void model_uuid(uint64_t user, unsigned char uuid[COUPON_UUID_SIZE]);

/* The ticket of a user (the first one), or NULL. */
const struct model_ticket *model_holder(const struct model_campaign *campaign, uint64_t user);

/* An answer to this user's request, with what the engine's statistics said right after it. */
void model_answer(struct model *model, uint32_t campaign, uint64_t user, coupon_status status,
                  const struct coupon_ticket *ticket, const struct coupon_stats *stats);
/* Of several requests at once: tickets[i] answers campaigns[i] and users[i]. */
void model_answers(struct model *model, const uint32_t *campaigns, const uint64_t *users, size_t count,
                   const struct coupon_ticket *tickets, const struct coupon_stats *stats);
/* A fault of a call that asks for `need` bytes of the log. True: it is one that may be. */
bool model_fault(struct model *model, coupon_status status, uint64_t need, const struct coupon_stats *stats);

/* The end of what is final, as the engine says. */
void model_durable(struct model *model, uint64_t lsn, bool synced);

/* The engine of that life is gone. `lost`: the power, too. */
void model_crash(struct model *model, bool lost);
/* What the log kept of the lives up to the last one; forgets the rest. */
void model_keep(struct model *model, uint64_t kept_lsn);

/* Holds an engine against all that is remembered. */
void model_compare(struct model *model, coupon_engine *engine);
/* Asks for every unit that is left, and one more, of each campaign that can be open; changes the engine, and the model
 * with it. */
void model_sell_out(struct model *model, coupon_engine *engine);

#endif
