/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `coupon backup`: a copy of a directory that somebody may be issuing in. The copy is made under a temporary name
 * beside its own, synced, verified, and renamed: what has the name is whole.
 */
#include "args.h"
#include "backup_copy.h"
#include "backup_look.h"
#include "commands.h"
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* How often to look at a directory that is just being opened, or makes checkpoints meanwhile, and after which pause. */
enum { TRIES = 50, PAUSE_MS = 40 };
/* So often an owner is taken for one that is just opening the directory, where no more than its number speaks for
 * it. */
enum { PATIENT = TRIES / 2 };

struct backup {
  const char *to;
  char temporary[PATH_MAX]; /* "" while there is nothing under that name */
  struct backup_source source;
  struct copy_target target;
  struct verification verification;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int number) {
  (void)number;
  interrupted = 1;
}

/* --- the target --------------------------------------------------------------------------------- */

/* The directory that holds `to`, in `parent`. */
static void parent_of(const char *to, char parent[PATH_MAX]) {
  snprintf(parent, PATH_MAX, "%s", to);
  char *slash = strrchr(parent, '/');
  if (slash == NULL)
    snprintf(parent, PATH_MAX, ".");
  else
    slash[slash == parent ? 1 : 0] = 0;
}

static int make_target(struct backup *backup) {
  struct stat status;
  char path[PATH_MAX];
  if (lstat(backup->to, &status) == 0) {
    output_error("%s exists; a backup needs a name of its own", backup->to);
    return CODE_FAULT;
  }
  int length = snprintf(path, sizeof path, "%s.partial-XXXXXX", backup->to);
  if (length >= (int)sizeof path) errno = ENAMETOOLONG;
  if (length >= (int)sizeof path || mkdtemp(path) == NULL) {
    output_error("cannot make a directory beside %s: %s", backup->to, strerrordesc_np(errno));
    return CODE_FAULT;
  }
  memcpy(backup->temporary, path, sizeof path);
  backup->target.directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (backup->target.directory >= 0 && fchmod(backup->target.directory, 0700) == 0) return CODE_DONE;
  output_error("cannot open %s: %s", path, strerrordesc_np(errno));
  return CODE_FAULT;
}

/* Removes what there is of the copy; files that were not made are not there. */
static void empty_target(struct backup *backup) {
  const struct backup_source *source = &backup->source;
  for (size_t i = 0; i < source->count; i++) (void)unlinkat(backup->target.directory, source->files[i].name, 0);
  (void)unlinkat(backup->target.directory, "manifest", 0);
  backup->target.files = backup->target.bytes = 0;
}

static void remove_target(struct backup *backup) {
  if (backup->temporary[0] == 0) return;
  if (backup->target.directory >= 0) empty_target(backup);
  if (rmdir(backup->temporary) != 0)
    output_error("%s cannot be removed: %s", backup->temporary, strerrordesc_np(errno));
  backup->temporary[0] = 0;
}

static bool sync_path(const char *path) {
  int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return false;
  bool synced = fsync(directory) == 0;
  int fault = errno;
  close(directory);
  errno = fault;
  return synced;
}

/* Gives the copy its name, durably. An empty directory of that name is not replaced, where the file system can help
 * it. */
static int name_target(struct backup *backup) {
  char parent[PATH_MAX];
  struct stat status;
  parent_of(backup->to, parent);
  int renamed = renameat2(AT_FDCWD, backup->temporary, AT_FDCWD, backup->to, RENAME_NOREPLACE);
  if (renamed != 0 && errno == EINVAL && lstat(backup->to, &status) != 0)
    renamed = rename(backup->temporary, backup->to);
  if (renamed != 0) {
    output_error("the copy cannot be named %s: %s", backup->to, strerrordesc_np(errno));
    return CODE_FAULT;
  }
  backup->temporary[0] = 0;
  if (sync_path(parent)) return CODE_DONE;
  output_error("%s cannot be synced: %s; %s is complete, but a power loss may take it", parent, strerrordesc_np(errno),
               backup->to);
  return CODE_FAULT;
}

/* --- the copy ----------------------------------------------------------------------------------- */

static bool copy_file(struct backup *backup, struct file *file, uint64_t *lsn) {
  bool good = file->number != 0 ? copy_segment(&backup->target, file, backup->source.limit_lsn, lsn)
                                : copy_whole(&backup->target, file);
  /* What it has read is not needed again; the name is, to remove the copy. */
  char name[READ_FILE_MAX];
  memcpy(name, file->name, sizeof name);
  file_close(file);
  memcpy(file->name, name, sizeof name);
  return good;
}

/* Copies what was looked at, the manifest last: a directory without one is none. */
static int copy_files(struct backup *backup) {
  struct backup_source *source = &backup->source;
  struct copy_target *target = &backup->target;
  uint64_t lsn = 0;
  bool good = true;
  for (size_t i = 0; i < source->count && good; i++) good = copy_file(backup, &source->files[i], &lsn);
  if (good && source->limit_lsn != READ_NO_LIMIT && lsn < source->limit_lsn) {
    target->damaged = true;
    output_error("%s: its log ends at LSN %" PRIu64 ", though LSN %" PRIu64 " was durable; run 'coupon verify' on it",
                 source->path, lsn, source->limit_lsn);
    return CODE_DAMAGED;
  }
  if (good) good = copy_bytes(target, "manifest", source->manifest, sizeof source->manifest);
  if (!good) {
    output_error("%s: %s", source->path, target->why);
    return target->damaged ? CODE_DAMAGED : CODE_FAULT;
  }
  if (fsync(target->directory) == 0) return CODE_DONE;
  output_error("%s cannot be synced: %s", backup->temporary, strerrordesc_np(errno));
  return CODE_FAULT;
}

/* Looks, and looks again, until there is something to copy. */
static int look_at_source(struct backup *backup, int *tries) {
  const struct timespec pause = {0, PAUSE_MS * 1000000L};
  struct backup_source *source = &backup->source;
  enum look look;
  while ((look = backup_look(source, *tries < PATIENT)) == LOOK_AGAIN && ++*tries < TRIES && interrupted == 0) {
    backup_look_fini(source);
    nanosleep(&pause, NULL);
  }
  if (look == LOOK_DONE) return CODE_DONE;
  output_error("%s: %s%s", source->path, source->why, look == LOOK_AGAIN ? "; try again" : "");
  return look == LOOK_DAMAGED ? CODE_DAMAGED : CODE_FAULT;
}

static int copy(struct backup *backup) {
  for (int tries = 0;;) {
    int code = look_at_source(backup, &tries);
    if (code != CODE_DONE) return code;
    backup->target.identity = backup_identity(&backup->source);
    code = copy_files(backup);
    /* Beside an owner only what is durable was read. Where there was none all was, which an owner may have changed. */
    bool moved = backup->source.limit_lsn == READ_NO_LIMIT && code != CODE_FAULT &&
                 read_owner_changed(backup->source.path, &backup->source.owner);
    if (!moved) return code;
    if (++tries >= TRIES) {
      output_error("%s: it is opened again and again; try again", backup->source.path);
      return CODE_FAULT;
    }
    empty_target(backup);
    backup_look_fini(&backup->source);
  }
}

static int verify_copy(struct backup *backup) {
  struct verification *v = &backup->verification;
  char verdict[VERIFY_VERDICT_MAX];
  int code = verify_directory(backup->temporary, NULL, v);
  if (code == CODE_DONE) return code;
  verify_verdict(v, verdict);
  output_error("the copy is no good, and is removed: %s", verdict);
  return code;
}

static int make_backup(struct backup *backup) {
  int code = make_target(backup);
  if (code == CODE_DONE) code = copy(backup);
  if (code == CODE_DONE) code = verify_copy(backup);
  if (code == CODE_DONE) code = name_target(backup);
  remove_target(backup);
  if (backup->target.directory >= 0) close(backup->target.directory);
  return code;
}

/* --- coupon backup ------------------------------------------------------------------------------ */

static void print_backup(const struct backup *backup, bool as_json) {
  const struct read_finding *finding = &backup->verification.finding;
  char verdict[VERIFY_VERDICT_MAX];
  verify_verdict(&backup->verification, verdict);
  if (!as_json) {
    printf("files    %" PRIu64 "\nbytes    %" PRIu64 "\ntickets  %" PRIu64 "\nLSN      %" PRIu64 "\n%s\n",
           backup->target.files, backup->target.bytes, backup->verification.rules.tickets, finding->lsn, verdict);
    return;
  }
  struct json json = {stdout, false};
  json_open(&json, NULL, '{');
  json_text(&json, "to", backup->to);
  json_u64(&json, "files", backup->target.files);
  json_u64(&json, "bytes", backup->target.bytes);
  json_u64(&json, "tickets", backup->verification.rules.tickets);
  json_u64(&json, "lsn", finding->lsn);
  json_text(&json, "message", verdict);
  json_close(&json, '}');
  json_end(&json);
}

/* A limit on a file's size is an answer of write(), not a signal; others end the copy, not the process, so that
 * nothing is left behind. As many files as may be held open are. */
static void prepare_process(void) {
  static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction action = {.sa_handler = interrupt};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) sigaction(signals[i], &action, NULL);
  action.sa_handler = SIG_IGN;
  sigaction(SIGXFSZ, &action, NULL);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);
}

int command_backup(int argc, char **argv) {
  bool as_json = false;
  const struct args_option options[] = {{"json", ARGS_FLAG, &as_json, NULL}, {NULL, ARGS_FLAG, NULL, NULL}};
  struct args args;
  if (!args_parse(&args, "coupon backup", argc, argv, options, 2, 2)) return CODE_USAGE;
  char *to = args.values[1];
  for (size_t length = strlen(to); length > 1 && to[length - 1] == '/'; length--) to[length - 1] = 0;
  static struct backup backup; /* paths are long */
  backup = (struct backup){.to = to, .source = {.path = args.values[0]}};
  backup.target.directory = -1;
  backup.target.interrupted = &interrupted;
  backup.source.directory = open(args.values[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (backup.source.directory < 0) {
    output_error("%s cannot be opened: %s", args.values[0], strerrordesc_np(errno));
    return CODE_FAULT;
  }
  prepare_process();
  int code = make_backup(&backup);
  if (code == CODE_DONE) print_backup(&backup, as_json);
  backup_look_fini(&backup.source);
  verify_fini(&backup.verification);
  close(backup.source.directory);
  return output_finish(code);
}
