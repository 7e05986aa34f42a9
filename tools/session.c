/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include "output.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct {
  coupon_status fault;
  const char *advice;
} advices[] = {
    {COUPON_E_INVAL, "check the arguments"},
    {COUPON_E_NOMEM, "free memory, then try again"},
    {COUPON_E_BUSY, "try again"},
    {COUPON_E_CLOSED, "open the directory again"},
    {COUPON_E_FORKED, "open the directory in this process"},
    {COUPON_E_FAILED, "see to the cause, then run the command again: what was final is safe"},
    {COUPON_E_IO, "look into the kernel's log for the disk's error, then run the command again"},
    {COUPON_E_NO_SPACE, "make room on the disk, or in the quota, then run the command again: what was final is safe"},
    {COUPON_E_CORRUPT, "keep the directory as it is, run 'coupon verify' on it, and restore it from a backup"},
    {COUPON_E_VERSION, "use a newer version of coupon"},
    {COUPON_E_LOCKED,
     "end the process that has it open; lookup, status, tickets, verify, dump and backup work beside it"},
    {COUPON_E_EXISTS, "choose another id, or give the description it was created with (see 'coupon status')"},
    {COUPON_E_STOCK_RANGE, "give a stock of at most 1099511627776"},
    {COUPON_E_READ_ONLY, "open the directory for writing"},
    {COUPON_E_ACCESS, "check that the directory exists and that you may use it; 'coupon create' makes one"},
    {COUPON_E_THREAD, "raise the limits on processes and open files (ulimit -u, ulimit -n)"},
    {COUPON_E_USER_KIND, "name users as the campaign was created with, see 'coupon status'"},
    {COUPON_E_RELEASED, "the campaign's tickets were dropped; they are in its archive or backup, if anywhere"},
    {COUPON_E_LOG_FULL, "begin a new directory for new campaigns"},
};

static const char *advice(coupon_status fault) {
  for (size_t i = 0; i < sizeof advices / sizeof advices[0]; i++)
    if (advices[i].fault == fault) return advices[i].advice;
  return "run the command again";
}

static int code_of(coupon_status fault) {
  if (fault == COUPON_E_CORRUPT) return CODE_DAMAGED;
  if (fault == COUPON_E_EXISTS) return CODE_NO;
  if (fault == COUPON_E_INVAL || fault == COUPON_E_STOCK_RANGE || fault == COUPON_E_USER_KIND) return CODE_USAGE;
  return CODE_FAULT;
}

/* --- how far an opening is ------------------------------------------------------------------------ */

/* For somebody at a terminal, if it takes long enough to wonder. */
struct opening {
  const char *directory;
  double began, shown; /* seconds; 0: it was not */
};

static double seconds_now(void) {
  struct timespec now;
  (void)clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void show_progress(void *context, uint64_t done, uint64_t total, double seconds_left) {
  struct opening *opening = context;
  const double now = seconds_now();
  if (now - opening->began < 1 || now - opening->shown < 0.2) return;
  opening->shown = now;
  fprintf(stderr, "\rcoupon: opening %s: %.0f %%, %.0f s left\033[K", opening->directory,
          total == 0 ? 0 : 100.0 * (double)done / (double)total, seconds_left);
}

static coupon_status open_and_show(struct session *session, const char *directory,
                                   const struct coupon_options *options) {
  struct coupon_options shown = *options;
  struct opening opening = {.directory = directory, .began = seconds_now()};
  if (!isatty(STDERR_FILENO) || options->callbacks.context != NULL)
    return coupon_open(directory, options, &session->engine, &session->report);
  shown.callbacks.progress = show_progress;
  shown.callbacks.context = &opening; /* nobody looks at it later */
  coupon_status status = coupon_open(directory, &shown, &session->engine, &session->report);
  if (opening.shown > 0) fprintf(stderr, "\r\033[K");
  return status;
}

int session_open(struct session *session, const char *directory, const struct coupon_options *options) {
  *session = (struct session){NULL, COUPON_REPORT_INIT};
  coupon_status status = open_and_show(session, directory, options);
  if (status == COUPON_OK) return CODE_DONE;
  const struct coupon_report *report = &session->report;
  const char *message = report->message[0] != 0 ? report->message : coupon_strerror(status);
  int length = (int)strcspn(message, ";"); /* what follows is advice for a programmer */
  if (report->file[0] != 0 && status == COUPON_E_CORRUPT)
    output_error("cannot open %s: %s at %llu: %.*s; %s", directory, report->file, (unsigned long long)report->offset,
                 length, message, advice(status));
  else
    output_error("cannot open %s: %.*s; %s", directory, length, message, advice(status));
  return code_of(status);
}

/* Whether this is a directory without a manifest: somebody else's, or an empty one. */
static bool is_not_ours(int directory) {
  return faccessat(directory, "manifest", F_OK, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT;
}

int session_open_existing(struct session *session, const char *directory, const struct coupon_options *options) {
  int opened = open(directory, O_PATH | O_CLOEXEC);
  if (opened < 0) {
    output_error("cannot open %s: %s; check the path, 'coupon create' makes a directory", directory,
                 strerrordesc_np(errno));
    return CODE_FAULT;
  }
  bool strange = is_not_ours(opened);
  (void)close(opened);
  if (strange) { /* a look changes nothing, and says what it is */
    int code = session_open_to_read(session, directory);
    if (code == CODE_DONE) code = session_close(session, code);
    if (code != CODE_DONE) return code;
  }
  return session_open(session, directory, options);
}

int session_open_to_read(struct session *session, const char *directory) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.read_only = 1;
  return session_open(session, directory, &options);
}

int session_fault(struct session *session, const char *doing, coupon_status fault) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  bool stopped =
      fault == COUPON_E_FAILED && coupon_read_stats(session->engine, &stats) == COUPON_OK && stats.failure != COUPON_OK;
  coupon_status cause = stopped ? stats.failure : fault;
  const char *os_cause = stats.failure_os_error != 0 ? strerrordesc_np(stats.failure_os_error) : NULL;
  output_error("%s failed: %s%s%s%s; %s", doing, coupon_strerror(cause), os_cause == NULL ? "" : " (",
               os_cause == NULL ? "" : os_cause, os_cause == NULL ? "" : ")", advice(cause));
  return stopped ? CODE_FAULT : code_of(fault);
}

int session_close(struct session *session, int code) {
  coupon_status closed = coupon_close(session->engine);
  /* What stopped the engine has been told already, if `code` says so. */
  if (closed < 0 && !(closed == COUPON_E_FAILED && code == CODE_FAULT)) {
    int fault = session_fault(session, "closing", closed);
    if (code == CODE_DONE || code == CODE_NO) code = fault;
  }
  closed = coupon_destroy(session->engine);
  session->engine = NULL;
  return closed == COUPON_OK ? code : CODE_FAULT;
}

const char *session_word(coupon_status status, char word[SESSION_WORD_MAX]) {
  static const char prefix[] = "COUPON_";
  const char *name = coupon_status_name(status);
  if (strncmp(name, prefix, sizeof prefix - 1) == 0) name += sizeof prefix - 1;
  size_t length = 0;
  for (; name[length] != 0 && length < SESSION_WORD_MAX - 1; length++)
    word[length] = (char)tolower((unsigned char)name[length]);
  word[length] = 0;
  return word;
}

const char *session_state_word(int32_t state) {
  switch (state) {
    case COUPON_STATE_SCHEDULED:
      return "scheduled";
    case COUPON_STATE_OPEN:
      return "open";
    case COUPON_STATE_SOLD_OUT:
      return "sold_out";
    case COUPON_STATE_CLOSED:
      return "closed";
    default:
      return "unknown";
  }
}

const char *session_place_word(int32_t place) {
  switch (place) {
    case COUPON_PLACE_MEMORY:
      return "memory";
    case COUPON_PLACE_RELEASED:
      return "released";
    case COUPON_PLACE_DROPPED:
      return "dropped";
    default:
      return "unknown";
  }
}
