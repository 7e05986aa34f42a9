/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The story of a run, for whoever has to understand a failure: its operations in the order in which they were explored.
 */
#include <stdio.h>
#include <string.h>

#include "inside.h"

#define LINES_MAX 512
#define NAMES_MAX 32
#define WEAK_MAX 8

static struct line {
  int thread, kind;
  memory_order order;
  uintptr_t address;
  uint64_t read, operand;
  bool failed;
  unsigned stale;
  const char *text;
} lines[LINES_MAX];
static int line_count;

static struct {
  uintptr_t begin;
  size_t size;
  const char *name;
} names[NAMES_MAX];
static int name_count;

static struct {
  uintptr_t begin;
  size_t size;
  int kinds;
  memory_order to;
} weak[WEAK_MAX];
static int weak_count;

void explore_story_forget_names(void) { name_count = weak_count = 0; }

/* Both are said anew in each setup. */
void explore_story_reset(void) {
  line_count = 0;
  explore_story_forget_names();
}

void explore_name(const volatile void *from, size_t size, const char *name) {
  EXPLORE_CHECK(name_count < NAMES_MAX, "too many names");
  names[name_count].begin = (uintptr_t)from;
  names[name_count].size = size;
  names[name_count++].name = name;
}

void explore_weaken(const volatile void *from, size_t size, int kinds, memory_order to) {
  EXPLORE_CHECK(weak_count < WEAK_MAX, "too many weak orders");
  weak[weak_count].begin = (uintptr_t)from;
  weak[weak_count].size = size;
  weak[weak_count].kinds = kinds;
  weak[weak_count++].to = to;
}

memory_order explore_order_of(const struct operation *operation) {
  for (int w = 0; w < weak_count; w++) {
    bool there = operation->address - weak[w].begin < weak[w].size && (operation->kind & weak[w].kinds) != 0;
    /* Only ever weaker: what is relaxed stays relaxed. */
    if (there && operation->order != memory_order_relaxed) return weak[w].to;
  }
  return operation->order;
}

static struct line *next_line(void) {
  static struct line spare;
  struct line *line = line_count < LINES_MAX ? &lines[line_count++] : &spare;
  memset(line, 0, sizeof *line);
  line->thread = explore_current;
  return line;
}

void explore_story_add(const struct operation *operation, uint64_t read, unsigned stale) {
  struct line *line = next_line();
  line->kind = operation->kind;
  line->order = operation->order;
  line->address = operation->address;
  line->read = read;
  line->operand = operation->operand;
  line->failed = operation->kind == EXPLORE_RMW && operation->change == OP_COMPARE && !operation->succeeded;
  line->stale = stale;
}

void explore_story_say(const char *what) { next_line()->text = what; }

static void print_place(uintptr_t address) {
  for (int n = 0; n < name_count; n++) {
    if (address - names[n].begin >= names[n].size) continue;
    printf("%s", names[n].name);
    if (address != names[n].begin) printf("+%zu", (size_t)(address - names[n].begin));
    return;
  }
  printf("%#zx", (size_t)address);
}

void explore_story_print(void) {
  static const char *const orders[] = {"relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst"};
  for (int i = 0; i < line_count; i++) {
    const struct line *line = &lines[i];
    printf("  %*s%d: ", line->thread * 4, "", line->thread);
    if (line->text != NULL) {
      printf("%s\n", line->text);
      continue;
    }
    print_place(line->address);
    if (line->kind == EXPLORE_LOAD)
      printf(" is %#llx", (unsigned long long)line->read);
    else if (line->kind == EXPLORE_STORE)
      printf(" := %#llx", (unsigned long long)line->operand);
    else
      printf(" is %#llx, %s %#llx", (unsigned long long)line->read, line->failed ? "not exchanged for" : "operand",
             (unsigned long long)line->operand);
    printf(" (%s)", orders[line->order]);
    if (line->stale != 0) printf(", %u behind the newest", line->stale);
    printf("\n");
  }
}
