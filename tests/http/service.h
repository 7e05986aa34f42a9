/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service under test, as a child process: a directory of its own, a secret that the test knows, a free port, and
 * an end that is looked at. No Criterion in here: what must work for a test to mean anything ends the process with a
 * message if it does not.
 *
 * The paths of the binaries come in COUPON_HTTP_BINARY (the service) and COUPON_TOOL (`coupon`). The service is killed
 * by the kernel when the test's process ends, however that ends.
 */
#ifndef TESTS_HTTP_SERVICE_H
#define TESTS_HTTP_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVICE_PATH_MAX 512
#define SERVICE_VARIABLES 4
/* After so long a test is stuck. Nothing here takes a hundredth of it. */
#define SERVICE_PATIENCE_MS 30000

struct service {
  pid_t pid;  /* 0: does not run */
  int output; /* its standard output */
  uint16_t port;
  char root[SERVICE_PATH_MAX];      /* a directory made for the two below */
  char directory[SERVICE_PATH_MAX]; /* DIR */
  char errors[SERVICE_PATH_MAX];    /* the file of its standard error output, and of that of its subcommands */
  char secret[65];
  const char *variables[SERVICE_VARIABLES]; /* NAME=VALUE, for its environment */
};

_Noreturn void service_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define SERVICE_CHECK(condition)                                                               \
  do {                                                                                         \
    if (!(condition)) service_die("%s:%d: does not hold: %s", __FILE__, __LINE__, #condition); \
  } while (0)

/* Makes the directory, with a secret in it. */
void service_init(struct service *service);
/* Starts with `options`, divided at spaces, and waits until it listens. */
void service_start(struct service *service, const char *options);
/* Starts it, expecting that it ends by itself before it listens: its exit status. */
int service_refuse(struct service *service, const char *options);
/* Sends SIGTERM. */
void service_signal(const struct service *service);
/* Waits for the end: its exit status, or 256 + the number of the signal that ended it. */
int service_wait(struct service *service);
/* Both. */
int service_stop(struct service *service);
/* As a crash would: SIGKILL. */
void service_kill(struct service *service);
/* Stops it if it runs, and removes the directory. NULL, or what was wrong: its status, or a sanitizer's report. */
const char *service_fini(struct service *service);

/* What it and its subcommands have written to standard error output so far; cut off at 8 KiB. */
const char *service_errors(const struct service *service);
/* Whether a sanitizer has reported something there. */
bool service_has_findings(const struct service *service);
/* Whether the process is still there. */
bool service_lives(const struct service *service);
/* Its resident memory. */
size_t service_memory_kib(const struct service *service);
/* Whether everything is slower and larger than in earnest. */
bool service_sanitized(void);

/* Runs `coupon-http ARGUMENTS` (divided at spaces; @ stands for DIR) with `input`. Its exit status; `output` gets what
 * it printed. */
int service_command(const struct service *service, const char *arguments, const char *input, char *output,
                    size_t capacity);
/* The same for the tool `coupon`; @ stands for DIR/log. */
int service_tool(const struct service *service, const char *arguments, char *output, size_t capacity);

/* DIR/name, in a buffer that lives until the next call. */
const char *service_path(const struct service *service, const char *name);
/* Reads DIR/name, up to capacity - 1 bytes, and adds a zero; how many. */
size_t service_read(const struct service *service, const char *name, char *buffer, size_t capacity);
void service_write(const struct service *service, const char *name, const char *bytes, size_t length, mode_t mode);

void service_sleep_ms(long milliseconds);

#endif
