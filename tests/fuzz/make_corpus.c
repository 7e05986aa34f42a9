/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the inputs that the fuzzers begin with: make_corpus DIRECTORY, which gets a directory for each target. A small
 * example of everything that a log can hold, with right checksums, and a few that are torn. What mutation makes of them
 * by itself is kept beside them: see README.md.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "log_input.h"
#include "target.h"

struct made {
  unsigned char bytes[TARGET_BYTES_MAX];
  size_t size, frame, record; /* where the last frame and its next record begin */
};

static const char *directory;

static void save(const char *target, const char *name, const unsigned char *bytes, size_t size) {
  char path[4096];
  (void)snprintf(path, sizeof path, "%s/%s", directory, target);
  if (mkdir(path, 0777) != 0 && errno != EEXIST) exit(1);
  (void)snprintf(path, sizeof path, "%s/%s/%s", directory, target, name);
  FILE *file = fopen(path, "wb");
  if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
    (void)fprintf(stderr, "cannot write %s\n", path);
    exit(1);
  }
}

/* --- pieces of a log ------------------------------------------------------------------------------------ */

static unsigned char *add_block(struct made *made, const char *magic) {
  unsigned char *block = made->bytes + made->size;
  memset(block, 0, LOG_BLOCK);
  memcpy(block, magic, strlen(magic));
  made->size += LOG_BLOCK;
  return block;
}

static void add_segment(struct made *made) { (void)add_block(made, "CPNSEGMT"); }

static void add_frame(struct made *made) {
  made->frame = made->size;
  made->record = 64;
  unsigned char *block = add_block(made, "CPNF");
  cpn_put_u16(block + 4, 1);
  cpn_put_u64(block + 16, UINT64_MAX); /* mending makes it what is possible: all before it was synced */
}

static unsigned char *add_record(struct made *made, unsigned type, unsigned words, unsigned campaign) {
  unsigned char *frame = made->bytes + made->frame, *record = frame + made->record;
  record[0] = (unsigned char)type;
  cpn_put_u16(record + 2, (uint16_t)words);
  cpn_put_u32(record + 4, campaign);
  made->record += 8 * (size_t)words;
  cpn_put_u32(frame + 32, (uint32_t)(made->record - 64));
  return record;
}

static void add_life(struct made *made) {
  add_frame(made);
  cpn_put_u64(add_record(made, 2, 4, 0) + 16, 100);
}

static void add_campaign(struct made *made, unsigned index, uint64_t limit, unsigned kind, uint64_t opens,
                         uint64_t closes, const char *name) {
  uint32_t length = (uint32_t)strlen(name);
  unsigned char *record = add_record(made, 4, 8 + (length + 7) / 8, index);
  cpn_put_u64(record + 8, 10 + index);
  cpn_put_u64(record + 16, 3);
  cpn_put_u64(record + 24, limit);
  cpn_put_u64(record + 32, opens);
  cpn_put_u64(record + 40, closes);
  cpn_put_u64(record + 48, 100);
  cpn_put_u32(record + 56, length);
  cpn_put_u32(record + 60, kind);
  memcpy(record + 64, name, length);
}

static void add_issue(struct made *made, unsigned campaign, uint64_t user, bool uuid, uint64_t time_ns) {
  unsigned char *record = add_record(made, uuid ? 8 : 7, uuid ? 4 : 3, campaign);
  cpn_put_u64(record + 8, user);
  cpn_put_u64(record + (uuid ? 24 : 16), time_ns);
}

/* A record that is nothing but a time. */
static void add_time(struct made *made, unsigned type, unsigned campaign, uint64_t time_ns) {
  cpn_put_u64(add_record(made, type, 2, campaign) + 8, time_ns);
}

static void add_end(struct made *made) {
  add_frame(made);
  add_time(made, 3, 0, 500);
}

/* --- logs ------------------------------------------------------------------------------------------------- */

static const unsigned char identity[LOG_IDENTITY_SIZE] = "fuzz.segment 016";

/* As a segment's input, and behind a manifest. */
static void save_log(struct made *made, const char *name) {
  log_input_mend(made->bytes, made->size, identity, false);
  log_input_seal(made->bytes, made->size, identity);
  save("segment", name, made->bytes, made->size);
  static unsigned char whole[LOG_BLOCK + TARGET_BYTES_MAX];
  log_input_manifest(identity, whole);
  memcpy(whole + LOG_BLOCK, made->bytes, made->size);
  if (made->size <= 3 * LOG_BLOCK) save("manifest", name, whole, LOG_BLOCK + made->size);
}

static struct made begin(void) {
  struct made made = {.size = 0};
  add_segment(&made);
  return made;
}

static void make_logs(void) {
  struct made made = begin();
  save_log(&made, "empty");

  add_life(&made);
  save_log(&made, "life");

  add_campaign(&made, 0, 1, 0, 0, 0, "numbers");
  add_issue(&made, 0, 1, false, 100);
  save_log(&made, "ticket");

  add_issue(&made, 0, 2, false, 101);
  (void)add_record(&made, 1, 3, 0);
  add_frame(&made);
  add_issue(&made, 0, 3, false, 101);
  add_end(&made);
  save_log(&made, "sold-out");

  made.bytes[made.frame + 72]++; /* the END is torn */
  save("segment", "torn", made.bytes, made.size);

  add_life(&made);
  add_campaign(&made, 1, 0, 1, 0, 0, "");
  add_issue(&made, 1, 7, true, 600);
  add_issue(&made, 1, 7, true, 601);
  add_end(&made);
  save_log(&made, "two-lives-uuids");

  made = begin();
  add_life(&made);
  add_campaign(&made, 0, 1, 0, 200, 300, "window");
  add_time(&made, 5, 0, 200);
  add_issue(&made, 0, 1, false, 250);
  add_time(&made, 6, 0, 300);
  add_end(&made);
  save_log(&made, "window");

  made = begin();
  add_life(&made);
  add_campaign(&made, 0, 1, 0, 0, 0, "");
  add_segment(&made);
  add_frame(&made);
  add_issue(&made, 0, 1, false, 100);
  add_segment(&made);
  save_log(&made, "three-segments");

  made = begin();
  add_life(&made);
  for (unsigned i = 0; i < 3; i++) add_campaign(&made, i, i % 2, i / 2, 0, i * 500, "many");
  for (unsigned i = 0; i < 3; i++) {
    add_frame(&made);
    for (unsigned j = 0; j < 3; j++) add_issue(&made, j, j < 1 || j > 1 ? 5 : i, j == 2, 200 + 10 * i);
  }
  save_log(&made, "many");
}

int main(int argc, char **argv) {
  if (argc != 2) {
    (void)fputs("usage: make_corpus DIRECTORY\n", stderr);
    return 2;
  }
  directory = argv[1];
  make_logs();
  return 0;
}
