/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `coupon sale`: options, the course of a sale (hold_sale), and its result.
 *
 * A user's number is an id from 1 to --users; in one-account mode everybody is user 1. That makes the
 * lists of a check simple arrays, and lets any process repeat the same crowd.
 */
#include "sale.h"

#include "args.h"
#include "output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS_MAX = 65536 };

/* --- the directory ---------------------------------------------------------------------------- */

/* A directory of our own under $TMPDIR; false, after a message: there is none to be had. */
static bool make_temporary(char *path, size_t size) {
  const char *parent = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): no other thread is running yet */
  snprintf(path, size, "%s/coupon-sale-XXXXXX", parent == NULL || parent[0] == 0 ? "/tmp" : parent);
  if (mkdtemp(path) != NULL) return true;
  output_error("cannot make %s: %s; give --dir, or set TMPDIR", path, strerrordesc_np(errno));
  return false;
}

/* Removes the directory and the files in it: it is ours, and has no directories within. */
static void remove_temporary(const char *path) {
  DIR *listing = opendir(path);
  struct dirent *entry;
  while (listing != NULL && (entry = readdir(listing)) != NULL) /* NOLINT(concurrency-mt-unsafe): our own stream */
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) unlinkat(dirfd(listing), entry->d_name, 0);
  if (listing != NULL) closedir(listing);
  if (rmdir(path) != 0) output_error("cannot remove %s: %s; remove it by hand", path, strerrordesc_np(errno));
}

/* --- the result ------------------------------------------------------------------------------- */

static const char *mode_of(const struct sale_options *options) {
  if (options->check) return "check";
  return options->user_limit == 0 ? "one_account" : "distinct_accounts";
}

static const char *durability_of(const struct sale_options *options) {
  static const char *const words[] = {[COUPON_SYNC] = "sync", [COUPON_WRITTEN] = "written", [COUPON_NONE] = "none"};
  return words[options->durability];
}

static double micros(const struct sale *sale, double share) {
  return (double)histogram_quantile(&sale->latency_ns, share) / 1e3;
}

static double per_second(const struct sale *sale) {
  return sale->seconds > 0 ? (double)(sale->offered - sale->errors) / sale->seconds : 0;
}

static void print_json(const struct sale *sale, bool ok) {
  const struct sale_options *options = sale->options;
  struct json json = {stdout, false};
  json_open(&json, NULL, '{');
  json_text(&json, "mode", mode_of(options));
  json_u64(&json, "campaign", options->campaign);
  json_u64(&json, "stock", options->stock);
  json_u64(&json, "users", options->users);
  json_u64(&json, "offered", sale->offered);
  json_u64(&json, "issued", sale->issued);
  json_u64(&json, "already_issued", sale->already_issued);
  json_u64(&json, "sold_out", sale->sold_out);
  json_u64(&json, "errors", sale->errors);
  json_u64(&json, "recovered", sale->before.count);
  json_u64(&json, "acknowledged", sale->acknowledged);
  json_u64(&json, "unanswered", sale->unanswered);
  json_u64(&json, "tickets", sale->tickets);
  json_u64(&json, "remaining", sale->remaining);
  json_u64(&json, "violations", sale->violations);
  json_bool(&json, "ok", ok);
  json_decimal(&json, "seconds", sale->seconds);
  json_decimal(&json, "per_second", per_second(sale));
  json_decimal(&json, "p50_us", micros(sale, 0.5));
  json_decimal(&json, "p90_us", micros(sale, 0.9));
  json_decimal(&json, "p99_us", micros(sale, 0.99));
  json_decimal(&json, "p999_us", micros(sale, 0.999));
  json_decimal(&json, "max_us", (double)sale->latency_ns.max / 1e3);
  json_u64(&json, "seed", options->seed);
  json_u64(&json, "threads", options->threads);
  json_text(&json, "durability", durability_of(options));
  json_close(&json, '}');
  json_end(&json);
}

static void row(const char *name, uint64_t value) { printf("%-15s %14" PRIu64 "\n", name, value); }

static void print_text(const struct sale *sale, bool ok) {
  const struct sale_options *options = sale->options;
  printf("%s, %" PRIu64 " threads, durability %s, stock %" PRIu64 ", seed %" PRIu64 "\n\n", mode_of(options),
         options->threads, durability_of(options), options->stock, options->seed);
  row("offered", sale->offered);
  row("issued", sale->issued);
  row("already issued", sale->already_issued);
  row("sold out", sale->sold_out);
  row("errors", sale->errors);
  if (options->check || options->resume) row("recovered", sale->before.count);
  row("acknowledged", sale->acknowledged);
  row("unanswered", sale->unanswered);
  row("tickets", sale->tickets);
  row("remaining", sale->remaining);
  printf("%-15s %14.0f\n%-15s %14.3f\n", "answers/s", per_second(sale), "seconds", sale->seconds);
  printf("%-15s %14.1f\n%-15s %14.1f\n%-15s %14.1f\n%-15s %14.1f\n%-15s %14.1f\n", "p50 us", micros(sale, 0.5),
         "p90 us", micros(sale, 0.9), "p99 us", micros(sale, 0.99), "p99.9 us", micros(sale, 0.999), "max us",
         (double)sale->latency_ns.max / 1e3);
  row("violations", sale->violations);
  printf("%-15s %14s\n", "ok", ok ? "yes" : "no");
}

/* --- the course of a sale --------------------------------------------------------------------- */

/* Creates the campaign, or finds the one of the earlier process, with its tickets. CODE_DONE, or a fault's code. */
static int set_up(struct sale *sale) {
  const struct sale_options *options = sale->options;
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  bool exists = coupon_info(sale->session.engine, options->campaign, &info) == COUPON_OK;
  if (exists && !options->resume && !options->check) {
    output_error("campaign %" PRIu64 " exists already in %s; give --resume to go on with it, or another --campaign",
                 options->campaign, sale->directory);
    return CODE_USAGE;
  }
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = options->campaign;
  spec.stock = options->stock;
  spec.user_limit = options->user_limit;
  spec.name = "sale";
  coupon_status status = coupon_create(sale->session.engine, &spec, COUPON_FOREVER);
  if (status == COUPON_OK && exists) status = sale_read_tickets(sale, &sale->before);
  if (status == COUPON_OK) return CODE_DONE;
  int code = session_fault(&sale->session, "setting the campaign up", status);
  return status == COUPON_E_EXISTS ? CODE_USAGE : code; /* give the --stock and --limit it was created with */
}

/* Says what kept the crowd from its answers, if anything did. */
static int judge_run(struct sale *sale) {
  char doing[48];
  struct coupon_stats stats = COUPON_STATS_INIT;
  sale->stopped = coupon_read_stats(sale->session.engine, &stats) == COUPON_OK && stats.failure != COUPON_OK;
  if (sale->fault != COUPON_OK) {
    snprintf(doing, sizeof doing, "issuing (%" PRIu64 " of the calls)", sale->errors);
    session_fault(&sale->session, doing, sale->fault);
  }
  if (sale->ack_errno != 0)
    output_error("an acknowledgement could not be written: %s; check --ack-file or --ack-fd",
                 strerrordesc_np(sale->ack_errno));
  if (sale->interrupted) output_error("interrupted: what was asked so far is checked; run it again for all of it");
  return sale->fault != COUPON_OK || sale->ack_errno != 0 || sale->interrupted ? CODE_FAULT : CODE_DONE;
}

static int check(struct sale *sale, int code) {
  coupon_status status = sale_check_answers(sale);
  return status == COUPON_OK ? code : session_fault(&sale->session, "checking the sale", status);
}

/* Everything between opening and closing. */
static int run_open(struct sale *sale) {
  int code = set_up(sale);
  if (code != CODE_DONE) return code;
  if (sale->options->check) sale_check_acks(sale);
  sale->ran = true;
  if (!sale_run(sale)) return CODE_FAULT;
  code = judge_run(sale);
  return sale->stopped ? code : check(sale, code);
}

/* An engine that stopped answers no more. What it made final must be in its log nevertheless. */
static int check_reopened(struct sale *sale, int code) {
  int opened = session_open_to_read(&sale->session, sale->directory);
  return opened == CODE_DONE ? session_close(&sale->session, check(sale, code)) : opened;
}

static int hold_sale(struct sale *sale) {
  const struct sale_options *options = sale->options;
  struct coupon_options engine = COUPON_OPTIONS_INIT;
  engine.durability = options->durability;
  engine.segment_size_bytes = options->segment_size_bytes;
  engine.checkpoint_log_bytes = options->checkpoint_log_bytes;
  engine.archive_dir = options->archive;
  const bool goes_on = options->resume || options->check;
  int code = goes_on ? session_open_existing(&sale->session, sale->directory, &engine)
                     : session_open(&sale->session, sale->directory, &engine);
  if (code != CODE_DONE) return code;
  code = session_close(&sale->session, run_open(sale));
  if (!sale->ran) return code;
  if (sale->stopped && sale->directory != NULL) code = check_reopened(sale, code);
  if (sale->directory != NULL) {
    int verified = sale_check_directory(sale);
    if (code == CODE_DONE) code = verified;
  }
  if (sale->violations > 0) code = CODE_DAMAGED; /* worse than any fault */
  if (options->json)
    print_json(sale, code == CODE_DONE);
  else
    print_text(sale, code == CODE_DONE);
  return code;
}

/* --- the command line ------------------------------------------------------------------------- */

static bool options_fit(const struct args *args, const struct sale_options *o, bool calls_given, bool users_given) {
  bool one_account = o->user_limit == 0;
  if (o->stock > COUPON_STOCK_MAX) return args_wrong(args, "--stock must be at most %" PRIu64, COUPON_STOCK_MAX);
  if (o->threads < 1 || o->threads > THREADS_MAX)
    return args_wrong(args, "--threads must be from 1 to %d", THREADS_MAX);
  if (o->repeat_percent > 100) return args_wrong(args, "--repeat must be from 0 to 100");
  if (o->users > UINT32_MAX / 2 || o->calls > UINT32_MAX)
    return args_wrong(args, "--users must be at most 2147483647, --calls at most 4294967295");
  if (one_account && (!calls_given && !o->check)) return args_wrong(args, "--limit none needs --calls");
  if (one_account && users_given) return args_wrong(args, "--limit none is one account, which has no --users");
  if (!one_account && calls_given) return args_wrong(args, "--calls needs --limit none");
  if (!one_account && !users_given) return args_wrong(args, "--users is missing");
  if (o->durability == COUPON_NONE && o->directory != NULL)
    return args_wrong(args, "--durability none keeps no log, so it has no --dir");
  if ((o->resume || o->check) && o->directory == NULL) return args_wrong(args, "--resume and --check need --dir");
  if (o->resume && o->check) return args_wrong(args, "--resume and --check exclude each other");
  if (o->check && o->ack_path == NULL) return args_wrong(args, "--check needs --ack-file");
  if (o->ack_path != NULL && o->ack_descriptor >= 0)
    return args_wrong(args, "--ack-file and --ack-fd exclude each other");
  if (o->ack_descriptor >= 0 && fcntl(o->ack_descriptor, F_GETFD) < 0)
    return args_wrong(args, "--ack-fd %d is not open", o->ack_descriptor);
  return true;
}

static bool parse(int argc, char **argv, struct sale_options *o) {
  bool stock = false;
  bool users = false;
  bool calls = false;
  const struct args_option options[] = {{"stock", ARGS_U64, &o->stock, &stock},
                                        {"users", ARGS_U64, &o->users, &users},
                                        {"threads", ARGS_U64, &o->threads, NULL},
                                        {"repeat", ARGS_U64, &o->repeat_percent, NULL},
                                        {"durability", ARGS_DURABILITY, &o->durability, NULL},
                                        {"dir", ARGS_TEXT, &o->directory, NULL},
                                        {"seed", ARGS_U64, &o->seed, NULL},
                                        {"limit", ARGS_LIMIT, &o->user_limit, NULL},
                                        {"calls", ARGS_U64, &o->calls, &calls},
                                        {"campaign", ARGS_U64, &o->campaign, NULL},
                                        {"segment-size", ARGS_U64, &o->segment_size_bytes, NULL},
                                        {"checkpoint-log-bytes", ARGS_U64, &o->checkpoint_log_bytes, NULL},
                                        {"archive", ARGS_TEXT, &o->archive, NULL},
                                        {"ack-fd", ARGS_DESCRIPTOR, &o->ack_descriptor, NULL},
                                        {"ack-file", ARGS_TEXT, &o->ack_path, NULL},
                                        {"resume", ARGS_FLAG, &o->resume, NULL},
                                        {"check", ARGS_FLAG, &o->check, NULL},
                                        {"kills", ARGS_U64, &o->kills, NULL},
                                        {"json", ARGS_FLAG, &o->json, NULL},
                                        {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon sale", argc, argv, options, 0, 0)) return false;
  if (!stock) return args_wrong(&args, "--stock is missing");
  if (!options_fit(&args, o, calls, users)) return false;
  if (o->user_limit == 0) o->users = 1;
  return true;
}

/* The file of acknowledgements: to be read by a check, else to be added to. */
static int open_acks(struct sale *sale, struct sale_options *options) {
  if (options->ack_path == NULL) return CODE_DONE;
  if (options->check) return acks_read(&sale->acks, options->ack_path) ? CODE_DONE : CODE_FAULT;
  options->ack_descriptor = open(options->ack_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (options->ack_descriptor >= 0) return CODE_DONE;
  output_error("cannot open %s: %s; check the path", options->ack_path, strerrordesc_np(errno));
  return CODE_FAULT;
}

int command_sale(int argc, char **argv) {
  struct sale_options options = {.campaign = 1,
                                 .threads = 1,
                                 .user_limit = 1,
                                 .seed = output_now_ns(),
                                 .kills = 1,
                                 .durability = COUPON_SYNC,
                                 .ack_descriptor = -1};
  if (!parse(argc, argv, &options)) return CODE_USAGE;
  static struct sale sale; /* the histogram makes it large */
  char temporary[4096];
  sale = (struct sale){.options = &options, .directory = options.directory};
  int code = open_acks(&sale, &options);
  if (code == CODE_DONE && !sale_prepare(&sale)) {
    output_error("there is no memory for the requests; give fewer --users or --calls");
    code = CODE_FAULT;
  }
  bool own = options.directory == NULL && options.durability != COUPON_NONE;
  if (code == CODE_DONE && own) {
    sale.directory = temporary;
    code = make_temporary(temporary, sizeof temporary) ? CODE_DONE : CODE_FAULT;
  }
  if (code == CODE_DONE) {
    code = hold_sale(&sale);
    if (own) remove_temporary(temporary);
  }
  if (options.ack_path != NULL && options.ack_descriptor >= 0) close(options.ack_descriptor);
  acks_fini(&sale.acks);
  free(sale.before.list);
  free(sale.answers);
  return output_finish(code);
}
