/* SPDX-License-Identifier: Apache-2.0 */
/* From the directory to a service that answers, and back: what is opened, in which order, and how it ends. */
#include "serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service.h"

enum {
  BACKLOG = 4096,
  RECEIVE_BUFFER = 65536,  /* so that a flood fills the kernel's memory no more than ours */
  DESCRIPTORS_BESIDE = 512 /* of the engine, the files, and clients that were refused */
};

char *path_in(const char *directory, const char *name) {
  size_t size = strlen(directory) + strlen(name) + 2;
  char *path = h2o_mem_alloc(size);
  (void)snprintf(path, size, "%s/%s", directory, name);
  return path;
}

static bool complain(const char *what, const char *why) {
  fprintf(stderr, "coupon-http: %s: %s\n", what, why);
  return false;
}

/* --- listening ----------------------------------------------------------------------------------- */

struct address {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  };
  socklen_t length;
};

static bool read_address(struct address *address, const char *text, uint16_t port) {
  *address = (struct address){.length = sizeof address->v4};
  if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = htons(port);
    return true;
  }
  address->length = sizeof address->v6;
  address->v6.sin6_family = AF_INET6;
  address->v6.sin6_port = htons(port);
  return inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1 || complain(text, "is no numeric address");
}

/* A listening socket; -1 after a message. */
static int listen_on(const struct options *options) {
  struct address address;
  if (!read_address(&address, options->listen, (uint16_t)options->port)) return -1;
  int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int on = 1, buffer = RECEIVE_BUFFER;
  /* The buffer's size is inherited by the connections. */
  if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) == 0 &&
      bind(fd, &address.any, address.length) == 0 && listen(fd, BACKLOG) == 0)
    return fd;
  (void)complain(options->listen, strerror(errno));
  if (fd >= 0) (void)close(fd);
  return -1;
}

static void say_ready(int fd, const struct options *options) {
  struct address address = {.length = sizeof address.v6};
  (void)getsockname(fd, &address.any, &address.length);
  bool v6 = address.any.sa_family == AF_INET6;
  unsigned port = ntohs(v6 ? address.v6.sin6_port : address.v4.sin_port);
  printf(v6 ? "coupon-http: listening on [%s]:%u\n" : "coupon-http: listening on %s:%u\n", options->listen, port);
  (void)fflush(stdout);
}

/* Room for every connection that is let in: a failing accept() would be called again and again. */
static bool raise_descriptor_limit(const struct options *options) {
  struct rlimit limit;
  uint64_t wanted = options->max_connections + DESCRIPTORS_BESIDE;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return complain("RLIMIT_NOFILE", strerror(errno));
  if (limit.rlim_cur >= wanted) return true;
  if (limit.rlim_max < wanted) return complain("--max-connections", "more than this process may have open files");
  limit.rlim_cur = wanted;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0 || complain("RLIMIT_NOFILE", strerror(errno));
}

/* --- opening and closing ------------------------------------------------------------------------- */

static void log_line(void *context, int32_t level, const char *message) {
  (void)context, (void)level;
  fprintf(stderr, "coupon-http: engine: %s\n", message);
}

static bool open_engine(struct service *service) {
  const struct options *options = &service->options;
  struct coupon_options engine_options = COUPON_OPTIONS_INIT;
  engine_options.durability = options->durability;
  engine_options.commit_delay_ns = options->commit_delay_us * 1000;
  engine_options.callbacks.log = log_line;
  engine_options.callbacks.durable = waiting_durable;
  engine_options.callbacks.context = service;
  struct coupon_report report = COUPON_REPORT_INIT;
  char *directory = path_in(options->directory, "log");
  coupon_status status = coupon_open(directory, &engine_options, &service->engine, &report);
  if (status != COUPON_OK) {
    fprintf(stderr, "coupon-http: %s: %s", directory, coupon_strerror(status));
    if (report.message[0] != '\0') fprintf(stderr, ": %s", report.message);
    if (report.file[0] != '\0') fprintf(stderr, " (%s at %llu)", report.file, (unsigned long long)report.offset);
    fprintf(stderr, "\n");
  }
  free(directory);
  return status == COUPON_OK;
}

static bool open_files(struct service *service) {
  const struct options *options = &service->options;
  char *secret = path_in(options->directory, "secret");
  char *accounts = path_in(options->directory, "accounts");
  char *catalogue = path_in(options->directory, "catalogue");
  bool opened = secret_read(&service->secret, options->secret_file != NULL ? options->secret_file : secret) &&
                accounts_open(&service->accounts, accounts, JOURNAL_READ) && open_engine(service) &&
                catalogue_open(&service->catalogue, catalogue, service->engine, options->max_coupons);
  free(secret);
  free(accounts);
  free(catalogue);
  return opened;
}

static void configure_http(struct service *service) {
  const struct options *options = &service->options;
  h2o_globalconf_t *http = &service->http;
  h2o_config_init(http);
  http->server_name = h2o_iovec_init(H2O_STRLIT("coupon-http"));
  http->http1.upgrade_to_http2 = 0; /* this version of libh2o is older than the attacks on it */
  http->max_request_entity_size = options->max_body_bytes;
  /* Only a net under connections_sweep(), which knows idle, header and body time apart. */
  http->http1.req_timeout =
      2 * (options->idle_timeout_ms + options->header_timeout_ms + options->body_timeout_ms) + 10000;
  h2o_hostconf_t *host = h2o_config_register_host(http, h2o_iovec_init(H2O_STRLIT("default")), 65535);
  h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
  h2o_handler_t *handler = h2o_create_handler(path, sizeof *handler);
  handler->on_req = request_begin;
  answer_rewrite_errors(path);
  answer_rewrite_errors(&host->fallback_path); /* where requests go that never reach a handler */
}

/* Waits for the first signal; the second ends the process where it is. */
static void wait_for_signal(const sigset_t *signals) {
  int signal_number = 0;
  while (sigwait(signals, &signal_number) != 0) {
  }
  fprintf(stderr, "coupon-http: %s, draining\n", strsignal(signal_number));
  (void)signal(SIGTERM, SIG_DFL);
  (void)signal(SIGINT, SIG_DFL);
  (void)pthread_sigmask(SIG_UNBLOCK, signals, NULL);
}

static int run(struct service *service, const sigset_t *signals) {
  service->listener = listen_on(&service->options);
  if (service->listener < 0) return EXIT_TROUBLE;
  configure_http(service);
  answers_prepare();
  if (!workers_start(&service->workers, service->options.signin_workers, service->options.signin_queue))
    return EXIT_TROUBLE;
  bool started = loops_start(service);
  if (started) say_ready(service->listener, &service->options);
  (void)close(service->listener); /* the loops have descriptors of their own, and close them when they drain */
  if (started) wait_for_signal(signals);
  loops_stop(service);
  workers_stop(&service->workers);
  return started ? EXIT_SUCCESS : EXIT_TROUBLE;
}

int serve(const struct options *options) {
  static struct service service; /* outlives whatever still points into it at the end */
  service.options = *options;
  service.loop_count = options->threads;
  service.loops = h2o_mem_alloc(options->threads * sizeof *service.loops);
  memset(service.loops, 0, options->threads * sizeof *service.loops);
  (void)sem_init(&service.loops_changed, 0, 0);
  limiter_init(&service.per_account, options->signin_per_account);
  limiter_init(&service.per_address, options->signin_per_address);

  /* Before any thread is made: signals are for main alone. */
  sigset_t signals;
  (void)sigemptyset(&signals);
  (void)sigaddset(&signals, SIGTERM);
  (void)sigaddset(&signals, SIGINT);
  (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
  (void)signal(SIGPIPE, SIG_IGN); /* libh2o writes to clients that may have gone */

  if (!raise_descriptor_limit(options) || !make_directory(options->directory) || !open_files(&service)) {
    (void)coupon_destroy(service.engine); /* closes the log, if it was opened before something else failed */
    return EXIT_TROUBLE;
  }
  int status = run(&service, &signals);
  coupon_status closed = coupon_close(service.engine);
  if (closed != COUPON_OK) {
    fprintf(stderr, "coupon-http: closing the log: %s\n", coupon_strerror(closed));
    status = EXIT_TROUBLE;
  }
  (void)coupon_destroy(service.engine);
  catalogue_close(&service.catalogue);
  accounts_close(&service.accounts);
  limiter_fini(&service.per_account);
  limiter_fini(&service.per_address);
  return status;
}
