/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands on campaigns and tickets. Each gets its own arguments (argv[0] is its name), and returns
 * the exit code of the process.
 */
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "output.h"
#include "user.h"

#include <coupon/coupon.h>

struct args;

int command_create(int argc, char **argv);
int command_issue(int argc, char **argv);
int command_lookup(int argc, char **argv);
int command_status(int argc, char **argv);
int command_tickets(int argc, char **argv);
int command_checkpoint(int argc, char **argv);
int command_backup(int argc, char **argv);

/* Prints the parts of a ticket that every command shows: a line of a table, or members of an open JSON object.
 * `kind` is that of the campaign's users. */
void print_ticket_head(int32_t kind);
void print_ticket(const struct user *user, const struct coupon_ticket *ticket);
void json_ticket(struct json *json, const struct user *user, const struct coupon_ticket *ticket);

/* Complains that `text` is no user of a campaign whose users are of that kind. Returns the exit code. */
int wrong_user(const struct args *args, uint64_t campaign, int32_t kind, const char *text);

#endif
