/* SPDX-License-Identifier: Apache-2.0 */
/* `coupon checkpoint`: makes one, so that the next opening reads it and not the log before it. */
#include "args.h"
#include "commands.h"
#include "session.h"

#include <inttypes.h>

static int make_checkpoint(struct session *session, bool as_json) {
  struct coupon_stats stats = COUPON_STATS_INIT;
  coupon_status status = coupon_checkpoint(session->engine, COUPON_FOREVER);
  if (status == COUPON_OK) status = coupon_read_stats(session->engine, &stats);
  if (status != COUPON_OK) return session_fault(session, "making a checkpoint", status);
  if (!as_json) {
    char time[OUTPUT_TIME_MAX];
    printf("LSN       %" PRIu64 "\ntime      %s\nbytes     %" PRIu64 "\ntickets   %" PRIu64 "\nsegments  %" PRIu64 "\n",
           stats.checkpoint_lsn, output_time(stats.checkpoint_time_ns, time), stats.checkpoint_bytes, stats.tickets,
           stats.segments);
    return CODE_DONE;
  }
  struct json json = {stdout, false};
  json_open(&json, NULL, '{');
  json_u64(&json, "checkpoint_lsn", stats.checkpoint_lsn);
  json_u64(&json, "checkpoint_time_ns", stats.checkpoint_time_ns);
  json_u64(&json, "checkpoint_bytes", stats.checkpoint_bytes);
  json_u64(&json, "tickets", stats.tickets);
  json_u64(&json, "segments", stats.segments);
  json_close(&json, '}');
  json_end(&json);
  return CODE_DONE;
}

int command_checkpoint(int argc, char **argv) {
  bool as_json = false;
  struct coupon_options engine = COUPON_OPTIONS_INIT;
  const struct args_option options[] = {{"json", ARGS_FLAG, &as_json, NULL},
                                        {"archive", ARGS_TEXT, &engine.archive_dir, NULL},
                                        {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon checkpoint", argc, argv, options, 1, 1)) return CODE_USAGE;
  struct session session;
  int code = session_open_existing(&session, args.values[0], &engine);
  if (code != CODE_DONE) return code;
  code = session_close(&session, make_checkpoint(&session, as_json));
  return output_finish(code);
}
