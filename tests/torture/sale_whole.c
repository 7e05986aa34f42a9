/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether an archive and its directory are the whole log: read from the first record on by the second reader (tools/,
 * which shares nothing with the library), by the rules of the format, with every ticket that somebody was told of
 * where it was; whatever was killed while a segment went from the one to the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "torture/sale_board.h"
#include "verify_rules.h"

/* --- the way into the archive ------------------------------------------------------------------------ */

static bool without_links, without_effect;

void sale_archive_begin(const struct sale_board *board) {
  without_links = board->archive_is_far;
  without_effect = torture_is_planted("archive-loses");
}

/* In front of the C library's: what the library under test calls. An archive on another file system takes no links; the
 * planted bug is one that is said to be there. */
__attribute__((visibility("default"))) int linkat(int from_directory, const char *from, int to_directory,
                                                  const char *to, int flags) {
  if (without_links) {
    errno = EXDEV;
    return -1;
  }
  return without_effect ? 0 : (int)syscall(SYS_linkat, from_directory, from, to_directory, to, flags);
}

/* --- the whole log ------------------------------------------------------------------------------------ */

struct found {
  uint64_t user, lsn, time_ns;
};

struct whole {
  struct rules rules;
  size_t counts[SALE_CAMPAIGNS + 1];
  struct found tickets[SALE_CAMPAIGNS + 1][SALE_STOCK_MAX + 1];
};

static void take_ticket(struct whole *whole, const struct read_record *record) {
  TORTURE_CHECK(record->campaign < whole->rules.count, "a ticket of a campaign that is not there");
  uint64_t id = whole->rules.campaigns[record->campaign].id;
  bool uuid = record->type == RECORD_ISSUE_UUID;
  TORTURE_CHECK(id <= SALE_CAMPAIGNS && whole->counts[id] <= SALE_STOCK_MAX, "campaign %" PRIu64, id);
  whole->tickets[id][whole->counts[id]++] =
      (struct found){.user = read_u64(record->body + (uuid ? 8 : ISSUE_USER)),
                     .lsn = record->lsn,
                     .time_ns = read_u64(record->body + (uuid ? ISSUE_UUID_TIME : ISSUE_TIME))};
}

static void take_record(void *context, const struct read_record *record) {
  struct whole *whole = context;
  rules_take(&whole->rules, record);
  if (record->type == RECORD_ISSUE || record->type == RECORD_ISSUE_UUID) take_ticket(whole, record);
}

/* By its LSN: told too early, a ticket has no number yet. */
static const struct found *find_ticket(const struct whole *whole, const struct sale_entry *told) {
  for (size_t i = 0; i < whole->counts[told->campaign]; i++) {
    const struct found *ticket = &whole->tickets[told->campaign][i];
    if (ticket->lsn == told->lsn) return told->number == 0 || told->number == i + 1 ? ticket : NULL;
  }
  return NULL;
}

static void check_told(const struct whole *whole, const struct sale_entry *told) {
  if (told->answer != COUPON_ISSUED && told->answer != COUPON_ALREADY_ISSUED) return;
  const struct found *ticket = find_ticket(whole, told);
  TORTURE_CHECK(ticket != NULL && ticket->user == told->user && ticket->time_ns == told->time_ns,
                "campaign %" PRIu64 ": ticket %" PRIu64 ", user %" PRIu64 "'s at LSN %" PRIu64
                ", is not in the archive and the directory",
                told->campaign, told->number, told->user, told->lsn);
}

int sale_check_whole(void *context) {
  struct sale_board *board = context;
  struct whole *whole = calloc(1, sizeof *whole);
  struct read_finding finding;
  if (whole == NULL) torture_cannot("memory");
  const struct read_request request = {.directory = board->directory,
                                       .archive = board->archive,
                                       .limit_lsn = READ_NO_LIMIT,
                                       .visit = take_record,
                                       .context = whole};
  read_directory(&request, &finding);
  TORTURE_CHECK(finding.verdict == READ_OK, "the archive and the directory: %s at %" PRIu64 ": %s", finding.file,
                finding.offset, finding.why);
  TORTURE_CHECK(finding.checkpoint == 0, "the archive and the directory are the log from checkpoint %" PRIu64 " on",
                finding.checkpoint);
  rules_finish(&whole->rules);
  TORTURE_CHECK(whole->rules.broken == 0, "the archive and the directory: %s", whole->rules.message);
  for (size_t j = 0; j < SALE_THREADS; j++) {
    const struct sale_journal *journal = &board->journals[j];
    uint64_t count = atomic_load(&journal->count);
    for (uint64_t i = 0; i < count; i++) check_told(whole, &journal->entries[i]);
  }
  rules_fini(&whole->rules);
  free(whole);
  atomic_fetch_add(&board->whole, 1);
  return 0;
}
