/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks a rival for coupons: first all clients for the same users at once, to see whether it keeps its promises, then
 * for users who differ, to see how fast it is. Prints a line of JSON. The numbers of users are dense, as accounts'
 * are, and come in an order that no cache likes; so a table of what each was told fits into memory.
 *
 *   --target TEXT    where it is: a path, or what the rival's library takes
 *   --clients N      connections that wait for an answer at the same time (1)
 *   --batch N        users in one call, pipeline or transaction (1)
 *   --users N        distinct users at most; as many coupons are to be had (100000)
 *   --seconds N      at most so long; 0: until all users are served, and the stock is gone (0)
 *   --race N         about so many requests in the check (2000)
 *   --racers N       at least so many clients in the check (8)
 *   --plant          makes one "already" an "issued", which the check has to find: status 1
 *   --abandon        end without closing anything, as after a crash
 *   --ping           only say by the status whether it can be connected to
 *   --probe          only wait until it answers that the first user has a coupon, and audit it
 *   --since NS       with --probe: when it was started, on the realtime clock
 */
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX 256

/* So many latencies are kept of each client; those after them would tell the same. */
#define SAMPLES_MAX 16384

/* Users who are asked for once more in the end, and strangers, who are asked for when nothing is left. */
#define AGAIN_MAX 1000
#define STRANGERS 16

/* A server that does not answer for so long has not started. */
#define PROBE_SECONDS 120

struct options {
  const char *target;
  uint64_t clients, batch, users, seconds, race, racers, since;
  bool ping, probe, abandon, plant;
};

/* What each user was told, and how often. Counted with relaxed order: read only after the threads were joined. */
struct told {
  _Atomic uint16_t issued, already, sold_out;
};

struct run {
  const struct load_rival *rival;
  uint64_t batch, users, deadline_ns;
  bool race;             /* each client asks for everybody; otherwise they share the users */
  _Atomic uint64_t next; /* of the shared users. relaxed: it only hands out numbers, it publishes nothing */
  _Atomic bool broken;   /* a call failed: all stop */
  _Atomic bool planted;  /* the lie of --plant is still to be told */
  uint64_t mask;         /* users' numbers are 1 … mask + 1 */
  struct told *told;
};

struct load_client {
  struct run *run;
  void *connection;
  uint64_t at, offset; /* in a race: how many it has asked for, and where among the users it began */
  uint64_t began_ns;
  uint32_t *samples_us;
  size_t sample_count;
};

/* The clients that one thread drives. */
struct crew {
  pthread_t thread;
  struct load_client *clients;
  size_t count;
};

static uint64_t now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A multiplication by an odd constant permutes the numbers of any whole number of bits. */
static uint64_t user_at(const struct run *run, uint64_t i) {
  return 1 + ((i * UINT64_C(0x9e3779b97f4a7c15)) & run->mask);
}

/* --- For the rivals --------------------------------------------------------------------------- */

struct load_client *load_client_at(struct load_client *clients, size_t index) {
  return clients + index;
}

void *load_connection(const struct load_client *client) { return client->connection; }

size_t load_take(struct load_client *client, uint64_t *users) {
  struct run *run = client->run;
  if (atomic_load_explicit(&run->broken, memory_order_relaxed)) return 0;
  client->began_ns = now_ns(CLOCK_MONOTONIC);
  if (client->began_ns >= run->deadline_ns) return 0;
  uint64_t first = client->at;
  if (!run->race) first = atomic_fetch_add_explicit(&run->next, run->batch, memory_order_relaxed);
  if (first >= run->users) return 0;
  uint64_t count = run->users - first < run->batch ? run->users - first : run->batch;
  for (uint64_t i = 0; i < count; i++) users[i] = user_at(run, (first + i + client->offset) % run->users);
  client->at = first + count;
  return count;
}

void load_told(struct load_client *client, const uint64_t *users, const char *answers, size_t count) {
  struct run *run = client->run;
  for (size_t i = 0; i < count; i++) {
    struct told *told = &run->told[users[i]];
    bool already = answers[i] == LOAD_ALREADY, issued = answers[i] == LOAD_ISSUED;
    if (already && atomic_load_explicit(&run->planted, memory_order_relaxed))
      issued = atomic_exchange_explicit(&run->planted, false, memory_order_relaxed);
    _Atomic uint16_t *counter = issued ? &told->issued : already ? &told->already : &told->sold_out;
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
  }
  if (client->sample_count < SAMPLES_MAX)
    client->samples_us[client->sample_count++] = (uint32_t)((now_ns(CLOCK_MONOTONIC) - client->began_ns) / 1000);
}

/* --- Running ---------------------------------------------------------------------------------- */

/* One thread for each client, which waits for every answer. */
static bool drive_blocking(struct load_client *client) {
  uint64_t users[LOAD_BATCH_MAX];
  char answers[LOAD_BATCH_MAX];
  for (;;) {
    size_t count = load_take(client, users);
    if (count == 0) return true;
    if (!client->run->rival->issue(client->connection, users, count, answers)) return false;
    load_told(client, users, answers, count);
  }
}

static void *work(void *argument) {
  struct crew *crew = argument;
  struct run *run = crew->clients[0].run;
  bool good = run->rival->drive != NULL ? run->rival->drive(crew->clients, crew->count) : drive_blocking(crew->clients);
  if (!good) atomic_store_explicit(&run->broken, true, memory_order_relaxed);
  return NULL;
}

/* A rival whose clients share a thread leaves a processor to the server. */
static size_t crews_for(const struct load_rival *rival, size_t clients) {
  if (rival->drive == NULL) return clients;
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  size_t most = processors > 4 ? 4 : processors > 2 ? (size_t)processors - 1 : 1;
  return clients < most ? clients : most;
}

/* Returns the seconds it took, or a negative number. */
static double run_clients(struct load_client *clients, size_t count) {
  static struct crew crews[CLIENTS_MAX];
  struct run *run = clients[0].run;
  size_t crew_count = crews_for(run->rival, count), next = 0;
  for (size_t i = 0; i < count; i++) {
    clients[i].at = clients[i].sample_count = 0;
    /* In a race two clients go side by side, for the same user each time; the pairs, for the same stock. */
    clients[i].offset = run->race ? i / 2 * run->users / ((count + 1) / 2) : 0;
  }
  atomic_store_explicit(&run->next, 0, memory_order_relaxed);
  uint64_t begin = now_ns(CLOCK_MONOTONIC);
  for (size_t i = 0; i < crew_count; i++) {
    size_t share = count / crew_count + (i < count % crew_count);
    crews[i] = (struct crew){.clients = clients + next, .count = share};
    next += share;
    if (pthread_create(&crews[i].thread, NULL, work, &crews[i]) != 0) abort();
  }
  for (size_t i = 0; i < crew_count; i++) pthread_join(crews[i].thread, NULL);
  double seconds = (double)(now_ns(CLOCK_MONOTONIC) - begin) / 1e9;
  return atomic_load_explicit(&run->broken, memory_order_relaxed) ? -1 : seconds;
}

/* --- Checking --------------------------------------------------------------------------------- */

static bool wrong(const struct run *run, const char *what, uint64_t seen, uint64_t expected) {
  fprintf(stderr, "rivals: %s: %s: %" PRIu64 ", not %" PRIu64 "\n", run->rival->name, what, seen, expected);
  return false;
}

/* Whether the rival's own books say the same. */
static bool books_agree(const struct run *run, void *connection, uint64_t held, uint64_t left, bool *asked) {
  uint64_t its_held, its_left;
  *asked = run->rival->audit(connection, &its_held, &its_left);
  if (!*asked) return true;
  if (its_held != held) return wrong(run, "users in its books", its_held, held);
  return its_left == left || wrong(run, "coupons left in its books", its_left, left);
}

/* Everybody has been asked for by all clients at once. Who got a coupon got it once, and every other answer said so; to
 * who got none, every answer was that they are gone: a coupon that is there for him later was there before. */
static bool race_was_fair(const struct run *run, uint64_t stock) {
  uint64_t issued = 0;
  for (uint64_t i = 0; i < run->users; i++) {
    const struct told *told = &run->told[user_at(run, i)];
    if (told->issued > 1) return wrong(run, "coupons for one user", told->issued, 1);
    if (told->issued == 1 && told->sold_out > 0) return wrong(run, "a holder was refused, times", told->sold_out, 0);
    if (told->issued == 0 && told->already > 0) return wrong(run, "holders without a coupon", told->already, 0);
    issued += told->issued;
  }
  return issued == stock || wrong(run, "coupons issued in a race", issued, stock);
}

/* Asks for users first … first + count - 1 and compares the answers. */
static bool all_are_told(struct run *run, void *connection, uint64_t first, uint64_t count, char expected,
                         bool *asked) {
  uint64_t users[LOAD_BATCH_MAX];
  char answers[LOAD_BATCH_MAX];
  for (uint64_t at = 0; at < count;) {
    size_t batch = count - at < run->batch ? count - at : run->batch;
    for (size_t i = 0; i < batch; i++) users[i] = user_at(run, first + at + i);
    *asked = run->rival->issue(connection, users, batch, answers);
    if (!*asked) return true;
    for (size_t i = 0; i < batch; i++) {
      if (answers[i] != expected) return wrong(run, "an answer afterwards", (uint64_t)answers[i], (uint64_t)expected);
    }
    at += batch;
  }
  return true;
}

/* Sets *asked to false if the rival could not be asked; otherwise returns whether it kept its promises. */
static bool check_by_race(struct run *run, struct load_client *clients, const struct options *options, bool *asked) {
  uint64_t racers = options->clients > options->racers ? options->clients : options->racers;
  uint64_t users = options->race / racers, least = 2 * run->batch > 8 ? 2 * run->batch : 8;
  run->users = users > least ? users : least;
  /* Not whole batches: the stock is to end within one. */
  uint64_t stock = run->users / 2 + 1;
  run->race = true;
  run->deadline_ns = UINT64_MAX;
  *asked = run->rival->reset(clients[0].connection, stock) && run_clients(clients, racers) >= 0;
  bool good = *asked ? race_was_fair(run, stock) : true;
  if (*asked && good) good = books_agree(run, clients[0].connection, stock, 0, asked);
  memset(run->told, 0, (run->mask + 2) * sizeof *run->told);
  return good;
}

/* After a run in which nobody was asked for twice, so that everybody has to have got one. */
static bool check_run(struct run *run, void *connection, uint64_t asked_for, bool *asked) {
  uint64_t issued = 0;
  for (uint64_t user = 1; user <= run->mask + 1; user++) issued += run->told[user].issued;
  if (issued != asked_for) return wrong(run, "coupons issued", issued, asked_for);
  bool good = books_agree(run, connection, asked_for, run->users - asked_for, asked);
  uint64_t again = asked_for < AGAIN_MAX ? asked_for : AGAIN_MAX;
  if (good && *asked) good = all_are_told(run, connection, 0, again, LOAD_ALREADY, asked);
  if (good && *asked && asked_for == run->users)
    good = all_are_told(run, connection, run->users, STRANGERS, LOAD_SOLD_OUT, asked);
  if (good && *asked) good = books_agree(run, connection, asked_for, run->users - asked_for, asked);
  return good;
}

/* --- The two things the program does ---------------------------------------------------------- */

static int compare(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static void print_run(const struct options *options, const struct load_client *clients, double seconds, uint64_t served,
                      double bytes, bool good) {
  uint32_t *all = malloc((size_t)options->clients * SAMPLES_MAX * sizeof *all);
  if (all == NULL) abort();
  size_t count = 0;
  for (size_t i = 0; i < options->clients; i++) {
    memcpy(all + count, clients[i].samples_us, clients[i].sample_count * sizeof *all);
    count += clients[i].sample_count;
  }
  qsort(all, count, sizeof *all, compare);
  printf("{\"value\":%.0f,\"unit\":\"issues/s\",\"clients\":%" PRIu64 ",\"batch\":%" PRIu64 ",\"issued\":%" PRIu64
         ",\"p50_us\":%" PRIu32 ",\"p99_us\":%" PRIu32 ",\"bytes_per_user\":%.0f,\"held\":%s}\n",
         (double)served / seconds, options->clients, options->batch, served, count > 0 ? all[count / 2] : 0,
         count > 0 ? all[count * 99 / 100] : 0, bytes, good ? "true" : "false");
  free(all);
}

static int measure(struct run *run, struct load_client *clients, const struct options *options) {
  void *first = clients[0].connection;
  bool asked = true;
  bool good = check_by_race(run, clients, options, &asked);
  if (!asked) return 2;
  run->users = options->users;
  run->race = false;
  uint64_t before = 0, after = 0;
  if (!run->rival->reset(first, run->users) || !run->rival->size(first, &before)) return 2;
  if (options->seconds > 0) run->deadline_ns = now_ns(CLOCK_MONOTONIC) + options->seconds * 1000000000u;
  double seconds = run_clients(clients, options->clients);
  if (seconds < 0 || !run->rival->size(first, &after)) return 2;
  uint64_t next = atomic_load_explicit(&run->next, memory_order_relaxed);
  uint64_t served = next < run->users ? next : run->users;
  good &= check_run(run, first, served, &asked);
  if (!asked) return 2;
  double bytes = served > 0 && after > before ? (double)(after - before) / (double)served : 0;
  print_run(options, clients, seconds, served, bytes, good);
  return good ? 0 : 1;
}

/* Ready is who answers a user's request as it has to be answered; that it listens is not enough. */
static int probe(struct run *run, const struct options *options) {
  uint64_t user = user_at(run, 0), held = 0, left = 0;
  char answer = LOAD_SOLD_OUT;
  void *connection = NULL;
  bool ready = false;
  uint64_t end = now_ns(CLOCK_MONOTONIC) + PROBE_SECONDS * UINT64_C(1000000000);
  while (!ready && now_ns(CLOCK_MONOTONIC) < end) {
    connection = run->rival->connect(options->target);
    ready = connection != NULL && run->rival->issue(connection, &user, 1, &answer);
    if (ready) break;
    if (connection != NULL) run->rival->disconnect(connection);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
  double seconds = (double)(now_ns(CLOCK_REALTIME) - options->since) / 1e9;
  if (!ready || !run->rival->audit(connection, &held, &left)) return 2;
  run->rival->disconnect(connection);
  bool good = answer == LOAD_ALREADY || wrong(run, "the answer after a restart", (uint64_t)answer, LOAD_ALREADY);
  if (good && held != options->users) good = wrong(run, "users after a restart", held, options->users);
  if (good && left != 0) good = wrong(run, "coupons left after a restart", left, 0);
  printf("{\"reload_s\":%.3f,\"held\":%s}\n", seconds, good ? "true" : "false");
  return good ? 0 : 1;
}

/* --- The program ------------------------------------------------------------------------------ */

static bool read_options(int count, char **arguments, struct options *options) {
  *options = (struct options){.clients = 1, .batch = 1, .users = 100000, .race = 2000, .racers = 8};
  const struct {
    const char *name;
    uint64_t *value;
  } numbers[] = {{"--clients", &options->clients}, {"--batch", &options->batch}, {"--users", &options->users},
                 {"--seconds", &options->seconds}, {"--race", &options->race},   {"--racers", &options->racers},
                 {"--since", &options->since}};
  for (int i = 1; i < count; i++) {
    options->plant |= strcmp(arguments[i], "--plant") == 0;
    options->ping |= strcmp(arguments[i], "--ping") == 0;
    options->probe |= strcmp(arguments[i], "--probe") == 0;
    options->abandon |= strcmp(arguments[i], "--abandon") == 0;
    if (i + 1 < count && strcmp(arguments[i], "--target") == 0) options->target = arguments[i + 1];
    for (size_t j = 0; i + 1 < count && j < sizeof numbers / sizeof numbers[0]; j++) {
      if (strcmp(arguments[i], numbers[j].name) == 0) *numbers[j].value = strtoull(arguments[i + 1], NULL, 10);
    }
  }
  return options->target != NULL && options->clients >= 1 && options->clients <= CLIENTS_MAX && options->batch >= 1 &&
         options->batch <= LOAD_BATCH_MAX && options->users >= 1 && options->users <= 1u << 24 &&
         options->racers <= CLIENTS_MAX;
}

static int measure_connected(struct run *run, const struct options *options) {
  static struct load_client clients[CLIENTS_MAX];
  uint64_t count = options->clients > options->racers ? options->clients : options->racers;
  uint64_t connected = 0;
  int status = 2;
  for (; connected < count; connected++) {
    struct load_client *client = &clients[connected];
    *client = (struct load_client){.run = run, .samples_us = calloc(SAMPLES_MAX, sizeof *client->samples_us)};
    if (client->samples_us != NULL) client->connection = run->rival->connect(options->target);
    if (client->connection == NULL) break;
    if (connected == 0 && !run->rival->prepare(client->connection)) break;
  }
  if (connected == count) status = measure(run, clients, options);
  if (options->abandon) {
    (void)fflush(NULL);
    _exit(status);
  }
  for (uint64_t i = 0; i < count; i++) {
    if (clients[i].connection != NULL) run->rival->disconnect(clients[i].connection);
    free(clients[i].samples_us);
  }
  return status;
}

int load_main(int count, char **arguments, const struct load_rival *rival) {
  struct options options;
  if (!read_options(count, arguments, &options)) {
    fprintf(stderr, "usage: see the head of perf/rivals/load.c\n");
    return 2;
  }
  if (options.ping) {
    void *connection = rival->connect(options.target);
    if (connection != NULL) rival->disconnect(connection);
    return connection != NULL ? 0 : 1;
  }
  struct run run = {.rival = rival, .batch = options.batch, .mask = 1, .planted = options.plant};
  /* Room for the race, which may have more users than the run, and for the strangers. */
  while (run.mask < options.users + options.race + UINT64_C(2) * LOAD_BATCH_MAX + STRANGERS)
    run.mask = run.mask * 2 + 1;
  run.told = calloc(run.mask + 2, sizeof *run.told);
  if (run.told == NULL) return 2;
  int status = options.probe ? probe(&run, &options) : measure_connected(&run, &options);
  free(run.told);
  if (status == 2) fprintf(stderr, "rivals: %s could not be asked\n", rival->name);
  return status;
}
