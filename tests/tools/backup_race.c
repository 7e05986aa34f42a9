/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `coupon backup` beside a process that issues: backup_race COUPON. The process has threads that ask for tickets and
 * note each final answer in memory that is shared, small segments, checkpoints after little log, and short campaigns
 * that are released and dropped as it goes, so that files come and go all the time. Meanwhile backups are made, one
 * after the other:
 *
 *   - - `coupon verify` and `coupon dump`, beside the process, find nothing wrong
 *   - - each backup opens, every second one for writing, and goes on
 *   - - each holds what was final before it began, with the same number and LSN
 *   - - none holds what the process did not give out: compared with the directory at the end
 *
 * Then the same after the process was killed, and of the directory that it left, opened and closed.
 */
#include <coupon/coupon.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, BACKUPS = 14, USERS = 1 << 15, SHORT_TICKETS = 30, FIRST_SHORT = 100 };

extern char **environ;

/* Of user u, element u: written once by the thread that was answered, the LSN last; read by the parent. */
struct answer {
  uint64_t number;
  _Atomic uint64_t lsn;
};

static struct shared { struct answer answers[USERS]; } * shared;

/* The tickets of campaign 1 in a copy, by number; the user of each. */
static struct copy { uint64_t *users, *lsns, count; } copies[BACKUPS + 2];

#define FINDING(...) (fprintf(stderr, "FINDING: " __VA_ARGS__), fputc('\n', stderr), finding())

static pid_t child;

static void finding(void) {
  if (child > 0) kill(child, SIGKILL);
  exit(1);
}

/* --- the process that issues -------------------------------------------------------------------- */

static coupon_engine *engine;

static void must(coupon_status status, coupon_status wanted, const char *what) {
  if (status != wanted) FINDING("%s answers %s", what, coupon_strerror(status));
}

/* With pauses: where the tools are slow, by a sanitizer, there must not be the more for them to read. */
static void *ask(void *argument) {
  const struct timespec pause = {0, 1000000};
  const uint64_t share = USERS / THREADS, first = (uintptr_t)argument * share;
  for (uint64_t user = first; user < first + share; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    must(coupon_issue(engine, 1, user, COUPON_FOREVER, &ticket), COUPON_ISSUED, "issuing");
    shared->answers[user].number = ticket.number;
    atomic_store_explicit(&shared->answers[user].lsn, ticket.lsn, memory_order_release); /* with the number */
    nanosleep(&pause, NULL);
  }
  return NULL;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void hold_short_campaign(uint64_t id) {
  const struct timespec pause = {0, 60000000};
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = id;
  spec.stock = SHORT_TICKETS;
  spec.closes_at_ns = now_ns() + 50000000;
  must(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK, "creating");
  for (uint64_t user = 0; user < SHORT_TICKETS; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    coupon_status status = coupon_try_issue(engine, id, user, &ticket);
    if (status != COUPON_ISSUED && status != COUPON_ENDED) must(status, COUPON_ISSUED, "issuing");
  }
  nanosleep(&pause, NULL);
  coupon_status released;
  while ((released = coupon_release(engine, id, COUPON_FOREVER)) == COUPON_E_NOT_CLOSED) /* its clock may be late */
    nanosleep(&pause, NULL);
  must(released, COUPON_OK, "releasing");
}

/* More of them than there is time for. */
static void *hold_short_campaigns(void *argument) {
  (void)argument;
  uint64_t id = FIRST_SHORT;
  while (coupon_info(engine, id, &(struct coupon_campaign_info)COUPON_CAMPAIGN_INFO_INIT) == COUPON_OK) id++;
  for (; id < FIRST_SHORT + 100000; id++) {
    hold_short_campaign(id);
    if (id >= FIRST_SHORT + 3) must(coupon_drop(engine, id - 3, COUPON_FOREVER), COUPON_OK, "dropping");
  }
  return NULL;
}

static void issue_all(const char *directory) {
  pthread_t threads[THREADS + 1];
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.segment_size_bytes = 16384;
  options.checkpoint_log_bytes = 32768;
  must(coupon_open(directory, &options, &engine, NULL), COUPON_OK, "opening");
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  spec.id = 1;
  spec.stock = USERS;
  must(coupon_create(engine, &spec, COUPON_FOREVER), COUPON_OK, "creating");
  for (uintptr_t i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, ask, (void *)i) != 0) abort();
  if (pthread_create(&threads[THREADS], NULL, hold_short_campaigns, NULL) != 0) abort();
  for (int i = 0; i <= THREADS; i++) pthread_join(threads[i], NULL); /* until it is killed */
}

static void start_child(const char *directory) {
  child = fork();
  if (child < 0) abort();
  if (child > 0) return;
  child = 0;
  issue_all(directory);
  _exit(0);
}

/* --- the backups -------------------------------------------------------------------------------- */

static uint64_t lsn_of(uint64_t user) {
  return atomic_load_explicit(&shared->answers[user].lsn, memory_order_acquire); /* and the number */
}

/* Runs a command, silently but for its complaints. */
static void run(const char *what, char **arguments) {
  pid_t tool;
  int status;
  posix_spawn_file_actions_t silence;
  if (posix_spawn_file_actions_init(&silence) != 0 ||
      posix_spawn_file_actions_addopen(&silence, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) != 0 ||
      posix_spawnp(&tool, arguments[0], &silence, NULL, arguments, environ) != 0)
    abort();
  posix_spawn_file_actions_destroy(&silence);
  if (waitpid(tool, &status, 0) != tool) abort();
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) FINDING("%s fails (%x)", what, (unsigned)status);
}

static coupon_engine *open_copy(const char *directory, bool read_only) {
  coupon_engine *opened = NULL;
  struct coupon_options options = COUPON_OPTIONS_INIT;
  struct coupon_report report = COUPON_REPORT_INIT;
  options.segment_size_bytes = 32768;
  options.read_only = read_only;
  coupon_status status = coupon_open(directory, &options, &opened, &report);
  if (status != COUPON_OK) FINDING("the copy does not open: %s: %s", report.file, report.message);
  if (report.checkpoint_status != COUPON_OK) FINDING("the copy lacks a checkpoint: %s", report.checkpoint_file);
  return opened;
}

/* Takes the tickets of campaign 1 down. */
static void list(coupon_engine *opened, struct copy *copy) {
  struct coupon_ticket tickets[256];
  size_t count = 256;
  copy->count = 0;
  if (coupon_info(opened, 1, &(struct coupon_campaign_info)COUPON_CAMPAIGN_INFO_INIT) != COUPON_OK)
    FINDING("the copy lacks the campaign");
  copy->users = malloc(USERS * sizeof *copy->users);
  copy->lsns = malloc(USERS * sizeof *copy->lsns);
  if (copy->users == NULL || copy->lsns == NULL) abort();
  while (count == 256) {
    must(coupon_tickets(opened, 1, copy->count + 1, tickets, sizeof tickets[0], 256, &count), COUPON_OK, "listing");
    for (size_t i = 0; i < count; i++, copy->count++) {
      copy->users[copy->count] = tickets[i].user;
      copy->lsns[copy->count] = tickets[i].lsn;
    }
  }
}

/* What was final before the backup began: `before`, the LSN for each user. */
static void hold_to_answers(const struct copy *copy, const uint64_t *before) {
  uint64_t held = 0;
  for (uint64_t user = 0; user < USERS; user++) {
    if (before[user] == 0) continue;
    uint64_t number = shared->answers[user].number;
    held++;
    if (number == 0 || number > copy->count || copy->users[number - 1] != user ||
        copy->lsns[number - 1] != before[user])
      FINDING("the copy of %" PRIu64 " tickets lacks number %" PRIu64 " of user %" PRIu64 ", which was final",
              copy->count, number, user);
  }
  printf("%" PRIu64 " tickets, of which %" PRIu64 " were final before\n", copy->count, held);
}

/* A released campaign's file can be read, wherever the copy has one. */
static void read_short_campaigns(coupon_engine *opened) {
  struct coupon_campaign_info info = COUPON_CAMPAIGN_INFO_INIT;
  for (uint64_t id = FIRST_SHORT; coupon_info(opened, id, &info) == COUPON_OK; id++) {
    struct coupon_ticket tickets[SHORT_TICKETS];
    size_t count = 0;
    coupon_status status = coupon_read_tickets(opened, id, 1, tickets, sizeof tickets[0], SHORT_TICKETS, &count);
    must(status, info.place == COUPON_PLACE_DROPPED ? COUPON_E_RELEASED : COUPON_OK, "reading a short campaign");
    if (status == COUPON_OK && count != info.issued) FINDING("a released campaign has lost tickets");
  }
}

static void go_on(coupon_engine *opened) {
  struct coupon_campaign_spec spec = COUPON_CAMPAIGN_SPEC_INIT;
  struct coupon_ticket ticket = COUPON_TICKET_INIT;
  spec.id = 2;
  spec.stock = 1;
  must(coupon_create(opened, &spec, COUPON_FOREVER), COUPON_OK, "creating in the copy");
  must(coupon_issue(opened, 2, 1, COUPON_FOREVER, &ticket), COUPON_ISSUED, "issuing in the copy");
  must(coupon_checkpoint(opened, COUPON_FOREVER), COUPON_OK, "a checkpoint in the copy");
}

static void back_up(char *tool, char *directory, struct copy *copy, bool writes) {
  static uint64_t before[USERS];
  char to[] = "copy", word[] = "backup", remove[] = "rm", recursively[] = "-rf", verify[] = "verify", dump[] = "dump";
  run("coupon verify, beside,", (char *[]){tool, verify, directory, NULL});
  if (writes) run("coupon dump, beside,", (char *[]){tool, dump, directory, NULL});
  for (uint64_t user = 0; user < USERS; user++) before[user] = lsn_of(user);
  run("coupon backup", (char *[]){tool, word, directory, to, NULL});
  coupon_engine *opened = open_copy(to, !writes);
  list(opened, copy);
  hold_to_answers(copy, before);
  read_short_campaigns(opened);
  if (writes) go_on(opened);
  must(coupon_close(opened), COUPON_OK, "closing the copy");
  must(coupon_destroy(opened), COUPON_OK, "destroying");
  if (writes) run("coupon verify", (char *[]){tool, verify, to, NULL});
  run("rm", (char *[]){remove, recursively, to, NULL});
}

/* --- the end ------------------------------------------------------------------------------------ */

static void hold_to_directory(const struct copy *copy, const struct copy *directory) {
  if (copy->count > directory->count) FINDING("a copy has more tickets than were given out");
  for (uint64_t i = 0; i < copy->count; i++)
    if (copy->users[i] != directory->users[i] || copy->lsns[i] != directory->lsns[i])
      FINDING("a copy has a ticket number %" PRIu64 " that nobody was given", i + 1);
}

static void kill_child(void) {
  int status;
  kill(child, SIGKILL);
  if (waitpid(child, &status, 0) != child) abort();
  child = 0;
  if (!WIFSIGNALED(status)) FINDING("the process that issues ended by itself, with %x", (unsigned)status);
}

int main(int argc, char **argv) {
  char directory[] = "shop";
  const struct timespec pause = {0, 30000000};
  if (argc < 2) return 2;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) abort();
  setvbuf(stdout, NULL, _IOLBF, 0);
  start_child(directory);
  while (lsn_of(0) == 0) nanosleep(&pause, NULL);
  size_t made = 0;
  for (; made < BACKUPS; made++) back_up(argv[1], directory, &copies[made], made % 2 == 1);
  kill_child();
  puts("killed");
  back_up(argv[1], directory, &copies[made++], true);
  coupon_engine *opened = open_copy(directory, false);
  struct copy last;
  list(opened, &last);
  must(coupon_close(opened), COUPON_OK, "closing");
  must(coupon_destroy(opened), COUPON_OK, "destroying");
  puts("closed");
  back_up(argv[1], directory, &copies[made++], false);
  for (size_t i = 0; i < made; i++) hold_to_directory(&copies[i], &last);
  if (copies[BACKUPS - 1].count <= copies[0].count) FINDING("nothing was issued meanwhile: this test shows nothing");
  for (size_t i = 0; i < made; i++) {
    free(copies[i].users);
    free(copies[i].lsns);
  }
  free(last.users);
  free(last.lsns);
  return 0;
}
