/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "http/service.h"

#include <coupon/coupon.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARGUMENTS_MAX 48

void service_die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  abort(); /* Criterion counts a crash, but not an exit status */
}

void service_sleep_ms(long milliseconds) {
  struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

bool service_sanitized(void) {
#ifdef COUPON_TEST_SANITIZED
  return true;
#else
  return false;
#endif
}

/* --- files --------------------------------------------------------------------------------------- */

const char *service_path(const struct service *service, const char *name) {
  static char path[SERVICE_PATH_MAX + 64];
  (void)snprintf(path, sizeof path, "%s/%s", service->directory, name);
  return path;
}

static size_t read_file(const char *path, char *buffer, size_t capacity) {
  size_t length = 0;
  FILE *file = fopen(path, "re");
  if (file != NULL) {
    length = fread(buffer, 1, capacity - 1, file);
    (void)fclose(file);
  }
  buffer[length] = 0;
  return length;
}

size_t service_read(const struct service *service, const char *name, char *buffer, size_t capacity) {
  return read_file(service_path(service, name), buffer, capacity);
}

void service_write(const struct service *service, const char *name, const char *bytes, size_t length, mode_t mode) {
  const char *path = service_path(service, name);
  int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  SERVICE_CHECK(file >= 0);
  SERVICE_CHECK(write(file, bytes, length) == (ssize_t)length);
  SERVICE_CHECK(fchmod(file, mode) == 0); /* whatever the umask */
  SERVICE_CHECK(close(file) == 0);
}

const char *service_errors(const struct service *service) {
  static char text[8192];
  (void)read_file(service->errors, text, sizeof text);
  return text;
}

bool service_has_findings(const struct service *service) {
  const char *text = service_errors(service);
  return strstr(text, "Sanitizer") != NULL || strstr(text, "runtime error:") != NULL;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place) {
  (void)status;
  (void)type;
  (void)place;
  return remove(path);
}

/* --- processes ----------------------------------------------------------------------------------- */

struct command {
  char text[4096];
  char *words[ARGUMENTS_MAX];
};

/* `binary` and the words of `text`, with `at` for each @. */
static void divide(struct command *command, const char *binary, const char *text, const char *at) {
  size_t used = 0, count = 1;
  command->words[0] = getenv(binary);
  if (command->words[0] == NULL) service_die("%s is not set; run this through CTest", binary);
  for (; *text != 0; text++) {
    const char *piece = *text == '@' ? at : text;
    size_t length = *text == '@' ? strlen(at) : 1;
    SERVICE_CHECK(used + length < sizeof command->text);
    memcpy(command->text + used, piece, length);
    used += length;
  }
  command->text[used] = 0;
  char *rest;
  for (char *word = strtok_r(command->text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
    SERVICE_CHECK(count < ARGUMENTS_MAX - 1);
    command->words[count++] = word;
  }
  command->words[count] = NULL;
}

static pid_t start(const struct service *service, const struct command *command, int input, int output) {
  pid_t parent = getpid(), pid = fork();
  SERVICE_CHECK(pid >= 0);
  if (pid != 0) return pid;
  int errors = open(service->errors, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent || errors < 0 || dup2(input, 0) < 0 ||
      dup2(output, 1) < 0 || dup2(errors, 2) < 0)
    _exit(125);
  for (int i = 0; i < SERVICE_VARIABLES && service->variables[i] != NULL; i++)
    (void)putenv((char *)service->variables[i]);
  execv(command->words[0], command->words);
  _exit(126);
}

static int end_of(pid_t pid) {
  int status;
  while (waitpid(pid, &status, 0) < 0) SERVICE_CHECK(errno == EINTR);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static int run(const struct service *service, const struct command *command, const char *input, char *output,
               size_t capacity) {
  int in[2], out[2];
  SERVICE_CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
  pid_t pid = start(service, command, in[0], out[1]);
  (void)close(in[0]);
  (void)close(out[1]);
  size_t length = input == NULL ? 0 : strlen(input), used = 0;
  (void)signal(SIGPIPE, SIG_IGN);                     /* who does not read its input is no reason to die */
  if (length > 0) (void)!write(in[1], input, length); /* fits a pipe: no test has more */
  (void)close(in[1]);
  for (ssize_t got = 1; got > 0 && used + 1 < capacity; used += got > 0 ? (size_t)got : 0)
    got = read(out[0], output + used, capacity - 1 - used);
  output[used] = 0;
  (void)close(out[0]);
  return end_of(pid);
}

int service_command(const struct service *service, const char *arguments, const char *input, char *output,
                    size_t capacity) {
  struct command command;
  divide(&command, "COUPON_HTTP_BINARY", arguments, service->directory);
  return run(service, &command, input, output, capacity);
}

int service_tool(const struct service *service, const char *arguments, char *output, size_t capacity) {
  struct command command;
  divide(&command, "COUPON_TOOL", arguments, service_path(service, "log"));
  return run(service, &command, NULL, output, capacity);
}

/* --- life ---------------------------------------------------------------------------------------- */

/* A log of small segments, which the service goes on with. One of its own would begin with 64 MiB of zeros, and most of
 * what the tests take would be that. (That it can make one, test_http_secret.c shows.) */
static void make_small_log(const char *path) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  coupon_engine *engine = NULL;
  options.segment_size_bytes = 1 << 20;
  SERVICE_CHECK(coupon_open(path, &options, &engine, NULL) == COUPON_OK);
  SERVICE_CHECK(coupon_destroy(engine) == COUPON_OK);
}

void service_init(struct service *service) {
  const char *temporary = getenv("TMPDIR");
  *service = (struct service){.output = -1};
  (void)snprintf(service->root, sizeof service->root, "%s/http.XXXXXX", temporary == NULL ? "/tmp" : temporary);
  SERVICE_CHECK(mkdtemp(service->root) != NULL);
  SERVICE_CHECK((size_t)snprintf(service->directory, sizeof service->directory, "%.400s/data", service->root) < 410);
  SERVICE_CHECK((size_t)snprintf(service->errors, sizeof service->errors, "%.400s/errors", service->root) < 410);
  SERVICE_CHECK(mkdir(service->directory, 0700) == 0);
  /* One that is known here; those that the service makes itself are tried in test_http_secret.c. */
  for (size_t i = 0; i < 64; i++) service->secret[i] = "0123456789abcdef"[i * 7 % 16];
  service_write(service, "secret", service->secret, 64, 0600);
  make_small_log(service_path(service, "log"));
}

static void launch(struct service *service, const char *options) {
  char arguments[2048];
  struct command command;
  int out[2], nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  SERVICE_CHECK(service->pid == 0 && nothing >= 0);
  SERVICE_CHECK((size_t)snprintf(arguments, sizeof arguments, "serve @ --port 0 %s", options) < sizeof arguments);
  divide(&command, "COUPON_HTTP_BINARY", arguments, service->directory);
  SERVICE_CHECK(pipe2(out, O_CLOEXEC) == 0);
  service->pid = start(service, &command, nothing, out[1]);
  service->output = out[0];
  (void)close(out[1]);
  (void)close(nothing);
}

/* The port in the line that it prints when it is ready; 0: it ended without one. */
static uint16_t listening_port(struct service *service) {
  char line[256];
  size_t used = 0;
  while (used < sizeof line - 1) {
    struct pollfd ready = {service->output, POLLIN, 0};
    if (poll(&ready, 1, SERVICE_PATIENCE_MS) != 1) service_die("the service does not say that it listens");
    if (read(service->output, line + used, 1) != 1) return 0;
    if (line[used++] != '\n') continue;
    line[used] = 0;
    const char *colon = strrchr(line, ':');
    if (strncmp(line, "coupon-http: listening on ", 26) == 0 && colon != NULL)
      return (uint16_t)strtoul(colon + 1, NULL, 10);
    used = 0;
  }
  return 0;
}

void service_start(struct service *service, const char *options) {
  launch(service, options);
  service->port = listening_port(service);
  if (service->port == 0)
    service_die("the service did not start, status %d: %s", service_wait(service), service_errors(service));
}

int service_refuse(struct service *service, const char *options) {
  launch(service, options);
  uint16_t port = listening_port(service);
  if (port == 0) return service_wait(service);
  service_kill(service);
  return 0;
}

void service_signal(const struct service *service) {
  SERVICE_CHECK(service->pid > 0 && kill(service->pid, SIGTERM) == 0);
}

bool service_lives(const struct service *service) {
  siginfo_t info = {.si_pid = 0};
  return service->pid > 0 && waitid(P_PID, (id_t)service->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0;
}

int service_wait(struct service *service) {
  SERVICE_CHECK(service->pid > 0);
  for (long waited = 0; service_lives(service); waited += 5) {
    if (waited > SERVICE_PATIENCE_MS) {
      (void)kill(service->pid, SIGABRT);
      service_die("the service does not end");
    }
    service_sleep_ms(waited < 50 ? 1 : 5);
  }
  int status = end_of(service->pid);
  (void)close(service->output);
  service->output = -1;
  service->pid = 0;
  return status;
}

int service_stop(struct service *service) {
  service_signal(service);
  return service_wait(service);
}

void service_kill(struct service *service) {
  SERVICE_CHECK(service->pid > 0 && kill(service->pid, SIGKILL) == 0);
  (void)service_wait(service);
}

const char *service_fini(struct service *service) {
  static char wrong[9000];
  int status = service->pid > 0 ? service_stop(service) : 0;
  wrong[0] = 0;
  if (status != 0 || service_has_findings(service))
    (void)snprintf(wrong, sizeof wrong, "the service ended with status %d: %s", status, service_errors(service));
  SERVICE_CHECK(nftw(service->root, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
  return wrong[0] == 0 ? NULL : wrong;
}

size_t service_memory_kib(const struct service *service) {
  char path[64], text[4096];
  (void)snprintf(path, sizeof path, "/proc/%d/status", service->pid);
  (void)read_file(path, text, sizeof text);
  const char *line = strstr(text, "VmRSS:");
  SERVICE_CHECK(line != NULL);
  return strtoul(line + 6, NULL, 10);
}
