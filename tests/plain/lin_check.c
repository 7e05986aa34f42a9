/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges histories in the text form of support/history.h: lin_check FILE…, with - for standard input. Says of each
 * whether it is linearizable; if not, how far an order comes, and the operations by the time they began. Ends with
 * 0 if all are, 1 if one is not, 2 if a file cannot be read.
 *
 * Without files it shows that it can tell: it judges the examples below, each with its verdict, which are small enough
 * to be judged by eye.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "support/linear.h"

static const struct {
  const char *name;
  bool linearizable;
  const char *text;
} examples[] = {
    {"two who overlap may come in either order", true,
     "campaign 1 stock=2\n"
     "t0 1..4 issue 1 user=5 -> ISSUED number=2\n"
     "t1 2..3 issue 1 user=6 -> ISSUED number=1\n"},
    {"numbers against real time", false,
     "campaign 1 stock=2\n"
     "t0 1..2 issue 1 user=5 -> ISSUED number=2\n"
     "t1 3..4 issue 1 user=6 -> ISSUED number=1\n"},
    {"refused while the last unit is being taken", true,
     "campaign 1 stock=1\n"
     "t0 1..6 issue 1 user=5 -> ISSUED number=1\n"
     "t1 2..3 issue 1 user=6 -> SOLD_OUT\n"
     "t1 4..5 lookup 1 user=5 -> OK number=1 count=1\n"},
    {"refused, and yet it was nobody's", false,
     "campaign 1 stock=1\n"
     "t0 1..6 issue 1 user=5 -> ISSUED number=1\n"
     "t1 2..3 issue 1 user=6 -> SOLD_OUT\n"
     "t1 4..5 lookup 1 user=5 -> NOT_FOUND\n"},
    {"the holder is refused", false,
     "campaign 1 stock=1\n"
     "t0 1..4 issue 1 user=5 -> ISSUED number=1\n"
     "t1 2..3 issue 1 user=5 -> SOLD_OUT\n"},
    {"already issued, and then it was not", false,
     "campaign 1 stock=1\n"
     "t0 1..4 issue 1 user=5 -> SOLD_OUT\n"
     "t1 2..3 issue 1 user=5 -> ALREADY_ISSUED\n"},
    {"a user's second request of a batch answered as if it were the first", false,
     "campaign 1 stock=1\n"
     "t0 1..4 issue 1 user=5 batch=1 -> ALREADY_ISSUED\n"
     "t0 1..4 issue 1 user=5 batch=1 -> ISSUED number=1\n"},
    {"the stock sees the later ticket first, and counts are apart", true,
     "campaign 1 stock=2 counts=apart\n"
     "t0 1..6 issue 1 user=5 -> ISSUED number=1\n"
     "t1 2..3 issue 1 user=6 -> ISSUED number=2\n"
     "t1 4..5 info 1 -> OK count=1 remaining=1\n"},
    {"the same where counts go by numbers", false,
     "campaign 1 stock=2\n"
     "t0 1..6 issue 1 user=5 -> ISSUED number=1\n"
     "t1 2..3 issue 1 user=6 -> ISSUED number=2\n"
     "t1 4..5 info 1 -> OK count=1 remaining=1\n"},
    {"a page that ends before a final ticket", false,
     "campaign 1 stock=2\n"
     "t0 1..2 issue 1 user=5 -> ISSUED number=1 final\n"
     "t0 3..4 tickets 1 from=1 capacity=4 -> OK\n"},
    {"a ticket that a page lists and its user's lookup does not tell of, without a limit", false,
     "campaign 1 stock=2 limit=0\n"
     "t0 1..6 issue 1 user=5 -> ISSUED number=1\n"
     "t1 2..3 tickets 1 from=1 capacity=4 -> OK users=5\n"
     "t1 4..5 lookup 1 user=5 -> NOT_FOUND\n"},
    {"the same where lists are apart", true,
     "campaign 1 stock=2 limit=0 lists=apart\n"
     "t0 1..6 issue 1 user=5 -> ISSUED number=1\n"
     "t1 2..3 tickets 1 from=1 capacity=4 -> OK users=5\n"
     "t1 4..5 lookup 1 user=5 -> NOT_FOUND\n"},
    {"a crash takes what was not final", true,
     "campaign 1 stock=1\n"
     "t0 1..2 issue 1 user=5 -> ISSUED\n"
     "t1 3..4 issue 1 user=6 -> SOLD_OUT\n"
     "t0 5..5 crash\n"
     "t0 6..7 issue 1 user=6 -> ISSUED number=1 final\n"},
    {"a crash takes what a final refusal rested on", false,
     "campaign 1 stock=1\n"
     "t0 1..2 issue 1 user=5 -> ISSUED\n"
     "t1 3..4 issue 1 user=6 -> SOLD_OUT final\n"
     "t0 5..5 crash\n"
     "t0 6..7 issue 1 user=6 -> ISSUED number=1 final\n"},
};

static struct history history;
static struct linear_search *search;

static int check_examples(void) {
  int result = 0;
  for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
    uint32_t line = 0;
    FILE *file = fmemopen((void *)(uintptr_t)examples[i].text, strlen(examples[i].text), "r");
    const char *what = file == NULL ? "no stream to be had" : history_read(&history, file, &line);
    if (file != NULL) (void)fclose(file);
    struct linear_verdict verdict = {.linearizable = !examples[i].linearizable, .what = what};
    if (what == NULL) verdict = linear_check(search, &history);
    bool right = verdict.linearizable == examples[i].linearizable && linear_brute(&history) == verdict.linearizable;
    printf("%s: %s%s\n", examples[i].name, verdict.linearizable ? "linearizable" : "not linearizable",
           right ? "" : " -- WRONG");
    if (!right) result = 1;
  }
  return result;
}

static int check_file(const char *path) {
  uint32_t line;
  FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
  if (file == NULL) {
    (void)fprintf(stderr, "%s: cannot be opened\n", path);
    return 2;
  }
  const char *what = history_read(&history, file, &line);
  if (file != stdin) (void)fclose(file);
  if (what != NULL) {
    (void)fprintf(stderr, "%s:%" PRIu32 ": %s\n", path, line, what);
    return 2;
  }
  struct linear_verdict verdict = linear_check(search, &history);
  printf("# %s, %" PRIu64 " configurations\n", path, verdict.configurations);
  linear_print(&verdict, &history, stdout);
  return verdict.linearizable ? 0 : 1;
}

int main(int argc, char **argv) {
  int result = 0;
  history_init(&history);
  search = linear_create();
  if (argc < 2) result = check_examples();
  for (int i = 1; i < argc; i++) {
    const int found = check_file(argv[i]);
    if (found > result) result = found;
  }
  linear_destroy(search);
  history_fini(&history);
  return result;
}
