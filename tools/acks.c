/* SPDX-License-Identifier: Apache-2.0 */
#include "acks.h"

#include "args.h"
#include "output.h"
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool acks_write(int descriptor, const struct coupon_ticket *ticket) {
  char line[96];
  char word[SESSION_WORD_MAX];
  int length;
  if (ticket->answer == COUPON_ISSUED || ticket->answer == COUPON_ALREADY_ISSUED)
    length =
        snprintf(line, sizeof line, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", ticket->user, ticket->number, ticket->lsn);
  else
    length = snprintf(line, sizeof line, "%" PRIu64 " refused %s\n", ticket->user, session_word(ticket->answer, word));
  ssize_t written;
  do written = write(descriptor, line, (size_t)length);
  while (written < 0 && errno == EINTR);
  if (written >= 0 && written != length) errno = ENOSPC; /* the rest would be a second write */
  return written == length;
}

/* "user number lsn" or "user refused STATUS", in a line of which nothing else is left. */
static bool parse(char *line, struct ack *ack) {
  char *rest;
  const char *user = strtok_r(line, " ", &rest);
  const char *second = strtok_r(NULL, " ", &rest);
  const char *third = strtok_r(NULL, " ", &rest);
  *ack = (struct ack){.user = 0};
  if (third == NULL || *rest != 0 || !args_u64(user, &ack->user)) return false;
  if (strcmp(second, "refused") == 0) {
    ack->sold_out = strcmp(third, "sold_out") == 0;
    return true;
  }
  return args_u64(second, &ack->number) && args_u64(third, &ack->lsn) && ack->number > 0;
}

static bool keep(struct acks *acks, size_t *capacity, const struct ack *ack) {
  if (acks->count == *capacity) {
    size_t wanted = *capacity == 0 ? 1024 : *capacity * 2;
    struct ack *grown = realloc(acks->list, wanted * sizeof *grown);
    if (grown == NULL) return false;
    acks->list = grown;
    *capacity = wanted;
  }
  acks->list[acks->count++] = *ack;
  return true;
}

bool acks_read(struct acks *acks, const char *path) {
  *acks = (struct acks){NULL, 0};
  FILE *file = fopen(path, "re");
  if (file == NULL) {
    output_error("cannot read %s: %s; give the file that a sale wrote with --ack-file", path, strerrordesc_np(errno));
    return false;
  }
  size_t capacity = 0;
  char line[128];
  struct ack ack;
  bool right = true;
  while (right && fgets(line, sizeof line, file) != NULL) {
    size_t length = strlen(line);
    bool ended = length > 0 && line[length - 1] == '\n';
    if (!ended && feof(file)) break;
    if (ended) line[length - 1] = 0;
    right = ended && parse(line, &ack) && keep(acks, &capacity, &ack);
  }
  if (!right || ferror(file)) {
    output_error("line %zu of %s is none that a sale writes; give the file it wrote with --ack-file", acks->count + 1,
                 path);
    right = false;
  }
  fclose(file);
  return right;
}

void acks_fini(struct acks *acks) {
  free(acks->list);
  *acks = (struct acks){NULL, 0};
}
