/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the inputs that the fuzzers begin with: make_corpus DIRECTORY, which gets a directory for each target. A small
 * example of everything that a log can hold, with right checksums, and a few that are torn.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "checkpoint_short.h"
#include "log_build.h"
#include "log_input.h"
#include "target.h"

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

/* --- logs ------------------------------------------------------------------------------------------------- */

static const unsigned char identity[LOG_IDENTITY_SIZE] = "fuzz.segment 016";

/* As a segment's input, and behind a manifest. */
static void save_log(struct log_build *made, const char *name) {
  log_build_seal(made, identity);
  save("segment", name, made->bytes, made->size);
  static unsigned char whole[LOG_BLOCK + LOG_BUILD_MAX];
  log_input_manifest(identity, whole);
  memcpy(whole + LOG_BLOCK, made->bytes, made->size);
  if (made->size > 3 * LOG_BLOCK) return;
  save("manifest", name, whole, LOG_BLOCK + made->size);
  memset(whole, 0, LOG_BLOCK);
  char without[64];
  (void)snprintf(without, sizeof without, "%s-without", name);
  save("manifest", without, whole, LOG_BLOCK + made->size);
}

static void make_logs(void) {
  struct log_build made = log_build_begin();
  save_log(&made, "empty");

  log_build_life(&made);
  save_log(&made, "life");

  log_build_campaign(&made, 0, 1, 0, 0, 0, "numbers");
  log_build_issue(&made, 0, 1, false, 100);
  save_log(&made, "ticket");

  log_build_issue(&made, 0, 2, false, 101);
  (void)log_build_record(&made, 1, 3, 0);
  log_build_frame(&made);
  log_build_issue(&made, 0, 3, false, 101);
  log_build_end(&made);
  save_log(&made, "sold-out");

  made.bytes[made.frame + 72]++; /* the END is torn */
  save("segment", "torn", made.bytes, made.size);

  log_build_life(&made);
  log_build_campaign(&made, 1, 0, 1, 0, 0, "");
  log_build_issue(&made, 1, 7, true, 600);
  log_build_issue(&made, 1, 7, true, 601);
  log_build_end(&made);
  save_log(&made, "two-lives-uuids");

  made = log_build_begin();
  log_build_life(&made);
  log_build_campaign(&made, 0, 1, 0, 200, 300, "window");
  log_build_time(&made, 5, 0, 200);
  log_build_issue(&made, 0, 1, false, 250);
  log_build_time(&made, 6, 0, 300);
  log_build_end(&made);
  save_log(&made, "window");

  made = log_build_begin();
  log_build_life(&made);
  log_build_campaign(&made, 0, 1, 0, 0, 0, "");
  log_build_segment(&made);
  log_build_frame(&made);
  log_build_issue(&made, 0, 1, false, 100);
  log_build_segment(&made);
  save_log(&made, "three-segments");

  made = log_build_begin();
  log_build_life(&made);
  for (unsigned i = 0; i < 3; i++) log_build_campaign(&made, i, i % 2, i / 2, 0, i * 500, "many");
  for (unsigned i = 0; i < 3; i++) {
    log_build_frame(&made);
    for (unsigned j = 0; j < 3; j++) log_build_issue(&made, j, j < 1 || j > 1 ? 5 : i, j == 2, 200 + 10 * i);
  }
  save_log(&made, "many");
}

/* --- joined tickets ------------------------------------------------------------------------------------------ */

static void make_joined_logs(void) {
  struct log_build made = log_build_begin();
  log_build_life(&made);
  log_build_campaign(&made, 0, 1, 0, 0, 0, "joined");
  log_build_campaign(&made, 1, 1, 1, 0, 0, "uuids");
  log_build_joined(&made, 0, 1, 2, false, 100);
  log_build_frame(&made);
  log_build_joined(&made, 1, 1, 3, true, 110);
  (void)log_build_record(&made, 1, 3, 0);
  log_build_issue(&made, 0, 3, false, 110);
  log_build_end(&made);
  save_log(&made, "joined");

  made = log_build_begin();
  log_build_life(&made);
  log_build_campaign(&made, 0, 1, 0, 0, 0, "");
  log_build_frame(&made);
  log_build_joined(&made, 0, 1, 2, false, 100);
  log_build_segment(&made);
  log_build_frame(&made);
  log_build_joined(&made, 0, 3, 2, false, 100); /* one more than there are */
  save_log(&made, "joined-too-many");
}

/* --- checkpoints ------------------------------------------------------------------------------------------ */

/* The mutator has a mutation of libFuzzer's in it, which is not asked for here. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size) {
  (void)data, (void)max_size;
  return size;
}

static void save_checkpoint(struct checkpoint_build *made, const char *name) {
  static const unsigned char of_checkpoints[LOG_IDENTITY_SIZE] = "fuzz.checkpoint!";
  checkpoint_input_seal(made->bytes, made->size, of_checkpoints, true);
  save("checkpoint", name, made->bytes, made->size);
}

static void make_checkpoints(void) {
  struct checkpoint_build made = checkpoint_build_begin(4096, 900);
  save_checkpoint(&made, "empty");

  checkpoint_build_chunk(&made, 1, 0, 0);
  (void)checkpoint_build_campaign(&made, 10, 80, 3, "three tickets");
  unsigned char *campaign = checkpoint_build_campaign(&made, 11, 160, 4, "uuids");
  cpn_put_u32(campaign + 44, 1);
  campaign = checkpoint_build_campaign(&made, 12, 240, 2, "");
  cpn_put_u64(campaign + 16, 0); /* no limit */
  checkpoint_build_chunk(&made, 2, 0, 1);
  checkpoint_build_tickets(&made, 2, false, 5, 320, 24, 100);
  checkpoint_build_chunk(&made, 2, 0, 3);
  checkpoint_build_tickets(&made, 1, false, 9, 400, 0, 200);
  checkpoint_build_chunk(&made, 2, 1, 1);
  checkpoint_build_tickets(&made, 4, true, 1, 480, 32, 300);
  checkpoint_build_chunk(&made, 2, 2, 1);
  checkpoint_build_tickets(&made, 2, false, 7, 640, 24, 400);
  save_checkpoint(&made, "three-campaigns");
  made.bytes[made.chunk + 64]++; /* another user, and the checksum is wrong */
  save("checkpoint", "torn", made.bytes, made.size);

  made = checkpoint_build_begin(4096, 900);
  checkpoint_build_chunk(&made, 1, 0, 0);
  campaign = checkpoint_build_campaign(&made, 10, 80, 2, "window");
  cpn_put_u64(campaign + 24, 100);
  cpn_put_u64(campaign + 32, 500);
  cpn_put_u64(campaign + 56, 160);
  cpn_put_u64(campaign + 64, 800);
  campaign = checkpoint_build_campaign(&made, 11, 880, 3, "dropped");
  cpn_put_u64(campaign + 32, 500);
  cpn_put_u64(campaign + 64, 960);
  cpn_put_u32(campaign + 80, 3);
  cpn_put_u64(campaign + 88, 1);
  checkpoint_build_chunk(&made, 2, 0, 1);
  checkpoint_build_tickets(&made, 2, false, 1, 240, 24, 300);
  save_checkpoint(&made, "windows-dropped");

  made = checkpoint_build_begin(4096, 900);
  checkpoint_build_chunk(&made, 1, 0, 0);
  (void)checkpoint_build_campaign(&made, 10, 80, 2, "");
  checkpoint_build_chunk(&made, 2, 0, 1);
  checkpoint_build_tickets(&made, 2, false, 1, 240, 16, 300); /* closer than two records can be */
  save_checkpoint(&made, "too-close");
}

/* Campaigns of some pages of tickets, which lie in the file in short; their LSNs and times rise steadily or by
 * deltas. */
static void make_checkpoints_of_pages(void) {
  struct checkpoint_build made = checkpoint_build_begin(65536, 900);
  checkpoint_build_chunk(&made, 1, 0, 0);
  (void)checkpoint_build_campaign(&made, 10, 80, 512, "two pages");
  checkpoint_build_chunk(&made, 2 | SHORT_NUMBERS, 0, 1);
  checkpoint_short_users(&made, 1000, 0);
  checkpoint_short_page(&made, &(struct checkpoint_short_page){.lsn = 320, .time_ns = 100, .step = 24, .unit = 1});
  checkpoint_short_page(
      &made, &(struct checkpoint_short_page){
                 .lsn = 8000, .time_ns = 200, .step = 24, .unit = 1, .p = 5, .q = 4, .lsn_rise = 2, .time_rise = 1});
  save_checkpoint(&made, "two-pages");

  made = checkpoint_build_begin(65536, 900);
  checkpoint_build_chunk(&made, 1, 0, 0);
  unsigned char *campaign = checkpoint_build_campaign(&made, 10, 80, 256, "uuids");
  cpn_put_u32(campaign + 44, 1);
  campaign = checkpoint_build_campaign(&made, 11, 160, 259, "no limit");
  cpn_put_u64(campaign + 16, 0);
  checkpoint_build_chunk(&made, 2 | SHORT_UUIDS, 0, 1);
  checkpoint_short_users(&made, 1, 0);
  checkpoint_short_page(&made, &(struct checkpoint_short_page){
                                   .lsn = 480, .time_ns = 100, .step = 32, .unit = 10, .p = 2, .q = 4, .time_rise = 1});
  checkpoint_build_chunk(&made, 2 | SHORT_NUMBERS, 1, 1);
  checkpoint_short_users(&made, 7, 100);
  checkpoint_short_page(&made, &(struct checkpoint_short_page){.lsn = 9000, .time_ns = 300, .step = 24, .unit = 1});
  checkpoint_build_chunk(&made, 2, 1, 257);
  checkpoint_build_tickets(&made, 3, false, 5, 20000, 24, 400);
  save_checkpoint(&made, "pages-uuids");

  made = checkpoint_build_begin(65536, 900);
  checkpoint_build_chunk(&made, 1, 0, 0);
  (void)checkpoint_build_campaign(&made, 10, 80, 256, "one page");
  checkpoint_build_chunk(&made, 2, 0, 1);
  checkpoint_build_tickets(&made, 256, false, 1, 320, 24, 100);
  save_checkpoint(&made, "one-page");
}

int main(int argc, char **argv) {
  if (argc != 2) {
    (void)fputs("usage: make_corpus DIRECTORY\n", stderr);
    return 2;
  }
  directory = argv[1];
  make_logs();
  make_joined_logs();
  make_checkpoints();
  make_checkpoints_of_pages();
  return 0;
}
