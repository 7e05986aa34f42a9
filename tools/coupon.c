/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command `coupon`. It uses the public interface of the library only; `verify` and `dump` not even that.
 */
#include "commands.h"
#include "help.h"
#include "output.h"
#include "sale.h"
#include "verify.h"

#include <stdbool.h>
#include <string.h>

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *help;
} commands[] = {
    {"create", command_create, help_create},    {"issue", command_issue, help_issue},
    {"lookup", command_lookup, help_lookup},    {"status", command_status, help_status},
    {"tickets", command_tickets, help_tickets}, {"verify", command_verify, help_verify},
    {"dump", command_dump, help_dump},          {"checkpoint", command_checkpoint, help_checkpoint},
    {"backup", command_backup, help_backup},    {"sale", command_sale, help_sale},
};

static int print(const char *text) {
  fputs(text, stdout);
  return output_finish(CODE_DONE);
}

static bool asks_for_help(int argc, char **argv) {
  for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
    if (strcmp(argv[i], "--help") == 0) return true;
  return false;
}

int main(int argc, char **argv) {
  const char *name = argc < 2 ? "" : argv[1];
  if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) return print(help_all);
  if (strcmp(name, "--version") == 0) {
    printf("coupon %s (library %s)\n", COUPON_VERSION_STRING, coupon_version());
    return output_finish(CODE_DONE);
  }
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
    if (strcmp(name, commands[i].name) == 0)
      return asks_for_help(argc - 1, argv + 1) ? print(commands[i].help) : commands[i].run(argc - 1, argv + 1);
  if (argc < 2)
    output_error("no command given; see coupon --help");
  else
    output_error("there is no command '%s'; see coupon --help", name);
  return CODE_USAGE;
}
