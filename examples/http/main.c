/* SPDX-License-Identifier: Apache-2.0 */
/* coupon-http: the command line. docs/HTTP.md describes every command and option. */
#include <errno.h>
#include <h2o.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "accounts.h"
#include "serve.h"

/* Formatting would push every line to the far side of the name. */
/* clang-format off */
static const char usage[] =
    "Usage: coupon-http secret   DIR\n"
    "       coupon-http accounts DIR [--cost N]\n"
    "       coupon-http tokens   DIR [--first N] [--count N] [--role USER|ADMIN]\n"
    "                                [--seconds N]\n"
    "       coupon-http serve    DIR [OPTION VALUE]...\n"
    "\n"
    "Gives away coupons over HTTP, first come, first served, from DIR.\n"
    "\n"
    "  secret    makes DIR/secret, which signs tokens\n"
    "  accounts  adds accounts; standard input has EMAIL, tab, PASSWORD and, if it\n"
    "            is not USER, tab, ROLE on each line\n"
    "  tokens    prints tokens for users FIRST, FIRST + 1 ...: USER, tab, TOKEN\n"
    "  serve     serves until SIGTERM or SIGINT\n"
    "\n"
    "Options of serve, with their defaults:\n"
    "  --listen 127.0.0.1        --port 8080               --threads 1\n"
    "  --secret-file DIR/secret  --token-seconds 1800      --durability sync\n"
    "  --commit-delay-us 1000    --max-connections 4096    --max-header-bytes 8192\n"
    "  --max-body-bytes 16384    --max-waiting 16384       --max-coupons 10000\n"
    "  --header-timeout-ms 5000  --body-timeout-ms 10000   --idle-timeout-ms 60000\n"
    "  --write-timeout-ms 30000  --final-timeout-ms 10000  --drain-timeout-ms 10000\n"
    "  --signin-workers 2        --signin-queue 256        --flush-rounds 1\n"
    "  --signin-per-account 10   --signin-per-address 60   (a minute; 0: no limit)\n"
    "  --constant PATH           answers PATH with a constant, for measuring\n"
    "\n"
    "COUPON_HTTP_SECRET, if set, takes the place of the secret's file.\n"
    "\n"
    "Exit codes: 0 done; 1 an account was refused; 2 the command line is wrong; 4\n"
    "it could not be done.\n";
/* clang-format on */

static int fail_usage(const char *what) {
  fprintf(stderr, "coupon-http: %s\n\n%s", what, usage);
  return EXIT_USAGE;
}

/* The value of option `name` among the arguments behind the directory, or NULL. */
static const char *option(int argc, char **argv, const char *name) {
  for (int i = 0; i + 1 < argc; i += 2)
    if (strcmp(argv[i], name) == 0) return argv[i + 1];
  return NULL;
}

/* Options come in pairs, each with one of these names. */
static bool options_are(int argc, char **argv, const char *const *names) {
  for (int i = 0; i < argc; i += 2) {
    const char *const *name = names;
    while (*name != NULL && strcmp(*name, argv[i]) != 0) name++;
    if (*name == NULL || i + 1 == argc) return false;
  }
  return true;
}

static bool number_option(int argc, char **argv, const char *name, uint64_t preset, uint64_t *number) {
  const char *value = option(argc, argv, name);
  *number = preset;
  return value == NULL || number_parse(value, strlen(value), number);
}

static bool parse_role(const char *word, enum role *role) {
  *role = strcmp(word, role_names[ROLE_ADMIN]) == 0 ? ROLE_ADMIN : ROLE_USER;
  return strcmp(word, role_names[*role]) == 0;
}

/* --- secret -------------------------------------------------------------------------------------- */

static int make_secret(const char *directory) {
  if (!make_directory(directory)) return EXIT_TROUBLE;
  char *file = path_in(directory, "secret");
  bool made = secret_make(file);
  free(file);
  return made ? EXIT_SUCCESS : EXIT_TROUBLE;
}

/* --- accounts ------------------------------------------------------------------------------------ */

/* Lines end as on any system, so no password ends in a carriage return. */
static void cut_end(char *line) {
  size_t length = strlen(line);
  if (length > 0 && line[length - 1] == '\n') line[--length] = '\0';
  if (length > 0 && line[length - 1] == '\r') line[--length] = '\0';
}

static bool add_line(struct accounts *accounts, char *line, uint64_t number, unsigned cost) {
  cut_end(line);
  char *email = strsep(&line, "\t");
  char *password = strsep(&line, "\t");
  char *word = strsep(&line, "\t");
  enum role role = ROLE_USER;
  if (password == NULL || line != NULL || (word != NULL && !parse_role(word, &role))) {
    /* Not the line: it has a password. */
    fprintf(stderr, "coupon-http: accounts: line %llu is not EMAIL, tab, PASSWORD, tab, USER or ADMIN\n",
            (unsigned long long)number);
    return false;
  }
  uint64_t id;
  if (!accounts_add(accounts, email, password, role, cost, &id)) return false;
  printf("%llu\t%s\n", (unsigned long long)id, email);
  return true;
}

static int add_accounts(const char *directory, uint64_t cost) {
  if (!make_directory(directory)) return EXIT_TROUBLE;
  struct accounts accounts;
  char *file = path_in(directory, "accounts");
  bool opened = accounts_open(&accounts, file, JOURNAL_WRITE);
  free(file);
  if (!opened) return EXIT_TROUBLE;
  bool all = true;
  char *line = NULL;
  size_t size = 0;
  for (uint64_t number = 1; getline(&line, &size, stdin) > 0; number++)
    if (!add_line(&accounts, line, number, (unsigned)cost)) all = false;
  free(line);
  bool failed = accounts.journal.failed;
  accounts_close(&accounts);
  if (failed) return EXIT_TROUBLE;
  return all ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- tokens -------------------------------------------------------------------------------------- */

static int print_tokens(const char *directory, uint64_t first, uint64_t count, uint64_t seconds, enum role role) {
  struct secret secret;
  char *file = path_in(directory, "secret");
  bool read = secret_read(&secret, file);
  free(file);
  if (!read) return EXIT_TROUBLE;
  struct signer *signer = signer_create(&secret);
  struct text line = TEXT_INIT;
  uint64_t now = (uint64_t)time(NULL);
  for (uint64_t i = 0; i < count; i++) {
    line.length = 0;
    text_u64(&line, first + i);
    text_string(&line, "\t");
    token_make(signer, &(struct claims){.user = first + i, .role = role}, now, seconds, &line);
    text_string(&line, "\n");
    if (fwrite(line.bytes, 1, line.length, stdout) != line.length) break;
  }
  text_free(&line);
  signer_destroy(signer);
  return fflush(stdout) == 0 && ferror(stdout) == 0 ? EXIT_SUCCESS : EXIT_TROUBLE;
}

/* --- commands ------------------------------------------------------------------------------------ */

static int run_accounts(const char *directory, int argc, char **argv) {
  static const char *const names[] = {"--cost", NULL};
  uint64_t cost;
  if (!options_are(argc, argv, names) || !number_option(argc, argv, "--cost", COST_DEFAULT, &cost) || cost < 1 ||
      cost > 11)
    return fail_usage("accounts: --cost is 1 to 11");
  return add_accounts(directory, cost);
}

static int run_tokens(const char *directory, int argc, char **argv) {
  static const char *const names[] = {"--first", "--count", "--seconds", "--role", NULL};
  uint64_t first, count, seconds;
  enum role role;
  const char *word = option(argc, argv, "--role");
  if (!options_are(argc, argv, names) || !number_option(argc, argv, "--first", 1, &first) ||
      !number_option(argc, argv, "--count", 1, &count) || !number_option(argc, argv, "--seconds", 1800, &seconds) ||
      !parse_role(word != NULL ? word : "USER", &role) || seconds > UINT64_C(31536000000))
    return fail_usage("tokens: an option is not valid");
  return print_tokens(directory, first, count, seconds, role);
}

static bool asks_for_help(int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "--help") == 0) return true;
  return false;
}

int main(int argc, char **argv) {
  if (asks_for_help(argc, argv)) {
    fputs(usage, stdout);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_TROUBLE;
  }
  if (argc < 3) return fail_usage("a command and a directory are wanted");
  const char *command = argv[1];
  if (strcmp(command, "serve") == 0) {
    struct options options;
    return options_read(&options, argc - 2, argv + 2) ? serve(&options) : EXIT_USAGE;
  }
  const char *directory = argv[2];
  if (strncmp(directory, "--", 2) == 0) return fail_usage("the directory comes before the options");
  if (strcmp(command, "secret") == 0 && argc == 3) return make_secret(directory);
  if (strcmp(command, "accounts") == 0) return run_accounts(directory, argc - 3, argv + 3);
  if (strcmp(command, "tokens") == 0) return run_tokens(directory, argc - 3, argv + 3);
  return fail_usage("no such command");
}
