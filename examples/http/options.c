/* SPDX-License-Identifier: Apache-2.0 */
#include "options.h"

#include <arpa/inet.h>
#include <coupon/coupon.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

struct number_option {
  const char *name;
  size_t offset; /* in struct options */
  uint64_t value, low, high;
};

#define NUMBER(name, field, value, low, high) \
  { name, offsetof(struct options, field), value, low, high }

static const uint64_t day_ms = 86400000;

static const struct number_option numbers[] = {
    NUMBER("--port", port, 8080, 0, 65535),
    NUMBER("--threads", threads, 1, 1, 256),
    NUMBER("--token-seconds", token_seconds, 1800, 1, 31536000),
    NUMBER("--commit-delay-us", commit_delay_us, 1000, 0, 1000000),
    NUMBER("--flush-rounds", flush_rounds, 1, 0, 1),
    NUMBER("--max-connections", max_connections, 4096, 1, 1000000),
    NUMBER("--max-header-bytes", max_header_bytes, 8192, 64, 262144),
    NUMBER("--max-body-bytes", max_body_bytes, 16384, 1, 1048576),
    NUMBER("--max-waiting", max_waiting, 16384, 1, 1048576),
    NUMBER("--max-coupons", max_coupons, 10000, 1, 1000000),
    NUMBER("--header-timeout-ms", header_timeout_ms, 5000, 1, day_ms),
    NUMBER("--body-timeout-ms", body_timeout_ms, 10000, 1, day_ms),
    NUMBER("--idle-timeout-ms", idle_timeout_ms, 60000, 1, day_ms),
    NUMBER("--write-timeout-ms", write_timeout_ms, 30000, 1, day_ms),
    NUMBER("--final-timeout-ms", final_timeout_ms, 10000, 1, day_ms),
    NUMBER("--drain-timeout-ms", drain_timeout_ms, 10000, 0, day_ms),
    NUMBER("--signin-workers", signin_workers, 2, 1, 256),
    NUMBER("--signin-queue", signin_queue, 256, 1, 1048576),
    NUMBER("--signin-per-account", signin_per_account, 10, 0, 1000000),
    NUMBER("--signin-per-address", signin_per_address, 60, 0, 1000000),
};
enum { NUMBERS = sizeof numbers / sizeof numbers[0] };

static uint64_t *field_of(struct options *options, const struct number_option *number) {
  return (uint64_t *)(void *)((char *)options + number->offset);
}

static bool complain(const char *name, const char *what) {
  fprintf(stderr, "coupon-http: %s: %s\n", name, what);
  return false;
}

static bool read_number(struct options *options, const struct number_option *number, const char *value) {
  uint64_t parsed;
  if (number_parse(value, strlen(value), &parsed) && parsed >= number->low && parsed <= number->high) {
    *field_of(options, number) = parsed;
    return true;
  }
  fprintf(stderr, "coupon-http: %s: has to be a number from %llu to %llu\n", number->name,
          (unsigned long long)number->low, (unsigned long long)number->high);
  return false;
}

static bool read_durability(struct options *options, const char *value) {
  if (strcmp(value, "sync") == 0)
    options->durability = COUPON_SYNC;
  else if (strcmp(value, "written") == 0)
    options->durability = COUPON_WRITTEN;
  else
    return complain("--durability", "has to be sync or written");
  return true;
}

static bool read_listen(struct options *options, const char *value) {
  unsigned char address[sizeof(struct in6_addr)];
  options->listen = value;
  return inet_pton(AF_INET, value, address) == 1 || inet_pton(AF_INET6, value, address) == 1 ||
         complain("--listen", "has to be a numeric address");
}

static bool read_option(struct options *options, const char *name, const char *value) {
  for (size_t i = 0; i < NUMBERS; i++)
    if (strcmp(name, numbers[i].name) == 0) return read_number(options, &numbers[i], value);
  if (strcmp(name, "--durability") == 0) return read_durability(options, value);
  if (strcmp(name, "--listen") == 0) return read_listen(options, value);
  if (strcmp(name, "--secret-file") == 0)
    options->secret_file = value;
  else if (strcmp(name, "--constant") == 0)
    options->constant = value;
  else
    return complain(name, "no such option");
  return true;
}

bool options_read(struct options *options, int argc, char **argv) {
  *options = (struct options){.listen = "127.0.0.1", .durability = COUPON_SYNC};
  for (size_t i = 0; i < NUMBERS; i++) *field_of(options, &numbers[i]) = numbers[i].value;
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "--", 2) != 0) {
      if (options->directory != NULL) return complain(argv[i], "one directory only");
      options->directory = argv[i];
    } else if (i + 1 == argc) {
      return complain(argv[i], "its value is missing");
    } else {
      if (!read_option(options, argv[i], argv[i + 1])) return false;
      i++;
    }
  }
  return options->directory != NULL || complain("serve", "the directory is missing");
}
