/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs of the matrix share: rounds that are counted, each with a seed of its own, until there were
 * enough or the time is up; findings; directories; processes that are forked, killed and waited for.
 *
 * Every program takes [--rounds N] [--seconds N] [--seed N] [--planted NAME]. Round i runs with the seed N + i, so
 * that another run may begin where this one ended: the last line says where, and how much was done, for
 * scripts/torture.sh to add up. It is there only if nothing was found; a finding ends the program with status 1 and
 * leaves the directory behind. With a planted bug a run that finds nothing says so and ends with status 0, as any run
 * that found nothing.
 *
 * Nothing of the library in here: a program may fork() before it has touched it, and have children that find it as new.
 */
#ifndef TESTS_TORTURE_H
#define TESTS_TORTURE_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* --- the run ---------------------------------------------------------------------------------------- */

struct torture_plan {
  const char *name;
  const char *counted;        /* what a unit of the count is, in the plural: "kills" */
  uint64_t rounds;            /* if neither --rounds nor --seconds is given; a quarter under a sanitizer */
  const char *const *planted; /* names that --planted takes, NULL at the end */
};

/* Reads the arguments and prints what will be done. First of all. */
void torture_begin(const struct torture_plan *plan, int argc, char **argv);

/* Whether the planted bug `name` is asked for. */
bool torture_is_planted(const char *name);

/* Begins the next round: false when there were enough, or the time is up. */
bool torture_next_round(void);
/* Of the round. */
uint64_t torture_seed(void);
/* Adds to what the last line counts. */
void torture_count(uint64_t done);
/* Seconds since the program began. */
double torture_seconds(void);
/* --seconds, or 0. */
uint64_t torture_seconds_given(void);

/* Prints the last line; `details`, which may be "", stands before it. Returns the exit status. */
int torture_end(const char *details);

/* --- findings --------------------------------------------------------------------------------------- */

#define TORTURE_CHECK(condition, ...)                                             \
  do {                                                                            \
    if (!(condition)) torture_found(__FILE__, __LINE__, #condition, __VA_ARGS__); \
  } while (0)
/* Prints the seed and what was found, and ends the process with status 1: a child's findings are its parent's. */
_Noreturn void torture_found(const char *file, int line, const char *condition, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The machine does not let us (out of processes, disk, …): nothing is known about the library. Status 2. */
_Noreturn void torture_cannot(const char *what);

/* --- chance ----------------------------------------------------------------------------------------- */

struct torture_random {
  uint64_t state;
};
/* The same for the same seed and stream. */
struct torture_random torture_stream(uint64_t seed, uint64_t stream);
uint64_t torture_draw(struct torture_random *random);
uint64_t torture_below(struct torture_random *random, uint64_t limit);

/* --- files and processes ---------------------------------------------------------------------------- */

#define TORTURE_PATH_MAX 1024

/* A new directory below TMPDIR, and its name; and away with it and the files in it, and those in its directories. */
void torture_directory_make(char path[TORTURE_PATH_MAX]);
void torture_directory_remove(const char *path);
void torture_join(char path[TORTURE_PATH_MAX], const char *directory, const char *name);

/* Zeroed memory that children of fork() share. */
void *torture_shared(size_t size);

/* Runs `run` in a child, which ends with what it returns, and at the latest when this process does. */
pid_t torture_fork(int (*run)(void *context), void *context);
/* Ends a child at once, whatever it has open. */
_Noreturn void torture_leave(int status);
/* Waits for it: its exit status, or 1000 + signal. */
int torture_wait(pid_t child);
/* Waits, and hands on what the child found: it ends this process, too. Else as torture_wait(). */
int torture_hear(pid_t child);
/* The same for a child that has to return 0. */
void torture_must(pid_t child);

void torture_sleep_us(uint64_t microseconds);

#endif
