/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows that opening a directory fails well: whichever call to the disk fails or stops short, whichever block of memory
 * is not to be had, and however owners come and go. How: a directory in memory, opened again and again with one thing
 * going wrong, the next one each time, until nothing does any more. Nothing may crash, leak, or be opened as something
 * else.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "coupon/coupon.h"
#include "engine/engine.h"
#include "fuzz/memory_disk.h"
#include "log/reader.h"
#include "support/engine_help.h"

#define FIRST "0000000000000001.log"

/* --- the world ------------------------------------------------------------------------------------------------ */

static struct memory_disk disk, template;
static struct cpn_io whole; /* the calls as they are */

/* The call, of those that are counted, from which on one fails (0: none), and how. */
static uint64_t calls, fail_at;
static int fail_with; /* -errno; 0: a read that finds the file's end */

static bool fails(void) { return ++calls == fail_at; }

/* A disk that gives a block at a time: the reader's window then has one, and each next one is a read that can fail. */
static bool by_blocks, at_end;

static int64_t failing_read(void *context, int file, uint64_t offset, void *to, size_t size) {
  if (by_blocks && size > 512) {
    at_end = !at_end;
    if (!at_end) return 0;
    size = 512;
  }
  return fails() ? fail_with : whole.read(context, file, offset, to, size);
}
static int64_t failing_write(void *context, int file, uint64_t offset, const void *from, size_t size) {
  return fails() ? (fail_with == 0 ? -ENOSPC : fail_with) : whole.write(context, file, offset, from, size);
}
static int failing_open(void *context, int directory, const char *name, enum cpn_io_mode mode) {
  return fails() && fail_with != 0 ? fail_with : whole.open(context, directory, name, mode);
}
static int failing_size(void *context, int file, uint64_t *size) {
  return fails() && fail_with != 0 ? fail_with : whole.size(context, file, size);
}
static int failing_sync(void *context, int file) {
  return fails() && fail_with != 0 ? fail_with : whole.sync(context, file);
}
static int failing_list(void *context, int directory, cpn_io_list_fn *each, void *each_context) {
  return fails() && fail_with != 0 ? fail_with : whole.list(context, directory, each, each_context);
}
static int failing_is_locked(void *context, int directory, const char *name) {
  return fails() && fail_with != 0 ? fail_with : whole.is_locked(context, directory, name);
}
static int failing_lock(void *context, int directory, const char *name) {
  return fails() && fail_with != 0 ? fail_with : whole.lock(context, directory, name);
}
static int failing_open_directory(void *context, const char *path, bool create) {
  return fails() && fail_with != 0 ? fail_with : whole.open_directory(context, path, create);
}
static int failing_rename(void *context, int directory, const char *from, const char *to) {
  return fails() && fail_with != 0 ? fail_with : whole.rename(context, directory, from, to);
}
static int failing_remove(void *context, int directory, const char *name) {
  return fails() && fail_with != 0 ? fail_with : whole.remove(context, directory, name);
}
static int failing_sync_directory(void *context, int directory) {
  return fails() && fail_with != 0 ? fail_with : whole.sync_directory(context, directory);
}

static void begin(void) {
  memory_disk_init(&disk);
  whole = disk.io;
  disk.io.read = failing_read;
  disk.io.write = failing_write;
  disk.io.open = failing_open;
  disk.io.size = failing_size;
  disk.io.sync = failing_sync;
  disk.io.list = failing_list;
  disk.io.is_locked = failing_is_locked;
  disk.io.lock = failing_lock;
  disk.io.open_directory = failing_open_directory;
  disk.io.rename = failing_rename;
  disk.io.remove = failing_remove;
  disk.io.sync_directory = failing_sync_directory;
  calls = fail_at = 0;
  by_blocks = false;
}

static void end(void) { cr_assert_not(help_leaks()); }

TestSuite(recovery, .init = begin, .fini = end, .timeout = 60);

/* Files as they are now, to be brought back. */
static void remember(void) { template = disk; }
static void bring_back(void) {
  struct cpn_io io = disk.io;
  disk = template;
  disk.io = io;
}

static struct coupon_options options_of(bool read_only) {
  struct coupon_options options = COUPON_OPTIONS_INIT;
  options.read_only = read_only;
  options.segment_size_bytes = MEMORY_FILE_BYTES;
  options.log_buffer_bytes = 65536;
  return options;
}

static coupon_status open_with(const struct coupon_options *options, const struct cpn_env *env, coupon_engine **engine,
                               struct coupon_report *report) {
  *report = (struct coupon_report)COUPON_REPORT_INIT;
  *engine = NULL;
  return cpn_engine_open(env, "", options, engine, report);
}

static coupon_status open_it(bool read_only, coupon_engine **engine, struct coupon_report *report) {
  struct coupon_options options = options_of(read_only);
  struct cpn_env env = memory_disk_env(&disk);
  return open_with(&options, &env, engine, report);
}

static void end_it(coupon_engine *engine) {
  if (engine != NULL) (void)coupon_destroy(engine);
}

static void issue(coupon_engine *engine, uint64_t from, uint64_t count) {
  for (uint64_t user = from; user < from + count; user++) {
    struct coupon_ticket ticket = COUPON_TICKET_INIT;
    cr_assert_eq(coupon_try_issue(engine, 1, user, &ticket), COUPON_ISSUED);
    if (user % 64 == 0) cr_assert_geq(cpn_wait_step(engine), 0);
  }
  while (cpn_wait_step(engine) > 0) {
  }
}

/* A directory with campaign 1 and its tickets; `limit` as in the campaign; closed, or left with a torn tail. */
static void make(uint64_t tickets, uint32_t limit, bool torn) {
  coupon_engine *engine;
  struct coupon_report report;
  cr_assert_eq(open_it(false, &engine, &report), COUPON_OK, "%s", report.message);
  struct coupon_campaign_spec spec = help_spec(1, tickets);
  spec.user_limit = limit;
  cr_assert_geq(coupon_create(engine, &spec, COUPON_POLL), 0);
  issue(engine, 0, tickets);
  if (torn) {
    remember(); /* as a killed process leaves it */
    struct memory_file *file = memory_disk_find(&template, FIRST);
    memset(file->bytes + engine->log.offset + 512, 0x55, 512);
  }
  end_it(engine);
  if (torn) {
    template.locked = false;
    bring_back();
  }
  remember();
}

/* --- calls that fail --------------------------------------------------------------------------------------------- */

/* Opens with call 1 failing, then call 2 … until none is left that could. */
static void fail_each_call(bool read_only, int how, uint64_t tickets) {
  fail_with = how;
  for (fail_at = 1;; fail_at++) {
    bring_back();
    coupon_engine *engine;
    struct coupon_report report;
    calls = 0;
    at_end = false;
    coupon_status status = open_it(read_only, &engine, &report);
    bool failed = calls >= fail_at;
    if (status != COUPON_OK) cr_expect_gt(strlen(report.message), 10);
    /* What nobody may open is neither a directory with less in it nor none; a file that ends early may look like
     * that. */
    if (status == COUPON_OK && how != 0) cr_expect_eq(report.tickets, tickets, "call %d", (int)fail_at);
    fail_at += failed ? 0 : 1000000;
    calls = UINT64_MAX / 2; /* closing fails no more */
    end_it(engine);
    if (!failed) break;
    cr_assert_lt(fail_at, 10000);
  }
  fail_at = 0;
}

Test(recovery, survives_every_call_that_fails) {
  static const int errors[] = {-EIO, -EACCES, 0};
  make(10, 1, true);
  for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
    fail_each_call(true, errors[i], 10);
    fail_each_call(false, errors[i], 10);
  }
}

Test(recovery, survives_every_read_of_a_block_that_fails) {
  make(10, 1, true);
  by_blocks = true;
  fail_each_call(true, -EIO, 10);
}

Test(recovery, survives_every_call_that_fails_beside_an_owner) {
  make(10, 1, false);
  template.owner = 42;
  memory_disk_put(&template, "lock", NULL, 0, 0);
  fail_each_call(true, -EIO, 10);
  fail_each_call(true, 0, 10);
}

Test(recovery, survives_every_call_that_fails_without_a_manifest) {
  make(10, 1, false);
  memory_disk_find(&template, "manifest")->name[0] = 0;
  fail_each_call(true, -EIO, 0);
  fail_each_call(false, -EIO, 0);
  /* And where creating was interrupted. */
  struct memory_file *first = memory_disk_find(&template, FIRST);
  memset(first->bytes + 512, 0, first->size - 512);
  fail_each_call(false, -EIO, 0);
  memory_disk_clear(&template);
  fail_each_call(false, -EIO, 0);
}

/* --- what the world outside does not give ------------------------------------------------------------------------ */

static uint64_t randoms, random_fails_at;

static int failing_random(void *context, void *to, size_t size) {
  (void)context;
  memset(to, 7, size);
  return ++randoms == random_fails_at ? -ENOSYS : 0;
}

Test(recovery, needs_numbers_that_nobody_can_guess) {
  struct coupon_options options = options_of(false);
  struct cpn_env env = memory_disk_env(&disk);
  env.random = failing_random;
  for (random_fails_at = 1; random_fails_at <= 3; random_fails_at++) {
    coupon_engine *engine;
    struct coupon_report report;
    memory_disk_clear(&disk);
    randoms = 0;
    cr_expect_lt(open_with(&options, &env, &engine, &report), 0);
    cr_expect_eq(randoms, random_fails_at);
  }
}

/* The system's memory: calls of malloc() and mmap() in the library, by --wrap. */
static uint64_t blocks, block_fails_at;
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size) { return ++blocks == block_fails_at ? NULL : __real_malloc(size); }
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
  return ++blocks == block_fails_at ? NULL : __real_aligned_alloc(alignment, size);
}
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {
  if (++blocks != block_fails_at) return __real_mmap(at, size, protection, flags, file, offset);
  errno = ENOMEM;
  return MAP_FAILED;
}

Test(recovery, survives_every_block_of_memory_that_is_not_there) {
  make(10, 1, true);
  for (int read_only = 0; read_only < 2; read_only++) {
    for (uint64_t at = 1;; at++) {
      bring_back();
      coupon_engine *engine;
      struct coupon_report report;
      blocks = 0;
      block_fails_at = at;
      coupon_status status = open_it(read_only, &engine, &report);
      bool failed = blocks >= at;
      block_fails_at = 0;
      end_it(engine);
      if (!failed) break;
      cr_expect(status == COUPON_E_NOMEM || status == COUPON_E_THREAD, "block %d: %s", (int)at,
                coupon_status_name(status));
      cr_assert_lt(at, 1000);
    }
  }
}

/* With a limit on its memory: refused for lack of it, until there is enough; and then it is as it was. */
static void open_within_limits(uint64_t tickets, uint32_t limit) {
  make(tickets, limit, false);
  struct cpn_env env = memory_disk_env(&disk);
  uint64_t enough = 0;
  for (uint64_t bytes = 4096; enough == 0; bytes += 1024) {
    struct coupon_options options = options_of(true);
    options.max_memory_bytes = bytes;
    coupon_engine *engine;
    struct coupon_report report;
    coupon_status status = open_with(&options, &env, &engine, &report);
    cr_assert(status == COUPON_OK || status == COUPON_E_NOMEM);
    if (status != COUPON_OK) continue;
    uint64_t count;
    const char *wrong = help_audit(engine, 1, &count);
    cr_expect_null(wrong, "%s", wrong);
    cr_expect_eq(count, tickets);
    enough = bytes;
    end_it(engine);
  }
  cr_log_info("%d tickets fit into %d bytes", (int)tickets, (int)enough);
}

Test(recovery, makes_the_most_of_little_memory) { open_within_limits(9000, 1); }
Test(recovery, makes_the_most_of_less_memory) { open_within_limits(1500, 1); }
Test(recovery, makes_the_most_of_little_memory_without_a_limit_for_users) { open_within_limits(9000, 0); }

/* --- owners ------------------------------------------------------------------------------------------------------ */

/* The owner that the next look finds: there, gone, there … */
static uint64_t looks, comes_at;
static int coming_and_going(void *context, int directory, const char *name) {
  (void)context, (void)directory, (void)name;
  return ++looks >= comes_at && looks % 2 == 0;
}

Test(recovery, gives_up_beside_owners_that_come_and_go) {
  make(10, 1, false);
  bring_back();
  coupon_engine *engine;
  struct coupon_report report;
  disk.io.is_locked = coming_and_going;
  looks = comes_at = 0;
  cr_expect_eq(open_it(true, &engine, &report), COUPON_E_LOCKED);
  cr_expect_gt(strlen(report.message), 10);
}

static uint64_t allowed;
static void *few_allocations(void *context, size_t size, size_t alignment) {
  (void)context;
  if (allowed == 0) return NULL;
  allowed--;
  void *made = __real_aligned_alloc(alignment, cpn_round_up(size, alignment));
  if (made != NULL) memset(made, 0, size);
  return made;
}
static void free_it(void *context, void *pointer, size_t size) {
  (void)context, (void)size;
  free(pointer);
}

/* Reading begins again when an owner came meanwhile; if there is no memory then, that is said. */
Test(recovery, survives_a_lack_of_memory_in_a_second_attempt) {
  make(10, 1, false);
  struct coupon_options options = options_of(true);
  options.allocator = (struct coupon_allocator){.context = NULL, .alloc = few_allocations, .free = free_it};
  options.allocator.size = sizeof options.allocator;
  struct cpn_env env = memory_disk_env(&disk);
  uint64_t refused = 0;
  for (uint64_t allocations = 0; allocations < 60; allocations++) {
    bring_back();
    disk.io.is_locked = coming_and_going;
    coupon_engine *engine;
    struct coupon_report report;
    looks = comes_at = 0;
    allowed = allocations;
    coupon_status status = open_with(&options, &env, &engine, &report);
    cr_expect(status == COUPON_E_NOMEM || status == COUPON_E_LOCKED);
    refused += status == COUPON_E_NOMEM;
  }
  cr_expect_gt(refused, 5);
}

/* A hint that is not there, short, or torn says nothing: what recovery would keep is read. */
Test(recovery, reads_all_beside_an_owner_without_a_hint) {
  static const size_t sizes[] = {0, 100, 512};
  make(10, 1, false);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    bring_back();
    disk.owner = 42;
    struct memory_file *hint = memory_disk_find(&disk, "owner");
    if (sizes[i] == 0) hint->name[0] = 0;
    hint->size = sizes[i];
    hint->bytes[33] ^= 1; /* in its checksum */
    coupon_engine *engine;
    struct coupon_report report;
    cr_expect_eq(open_it(true, &engine, &report), COUPON_OK);
    cr_expect_eq(report.tickets, 10);
    end_it(engine);
  }
}

/* --- the reader alone
 * ---------------------------------------------------------------------------------------------- */

static uint64_t records;
static coupon_status count_record(void *context, const struct cpn_record *record, struct cpn_fault *fault) {
  (void)context, (void)fault;
  records += record->type != CPN_RECORD_VOID;
  return COUPON_OK;
}

static coupon_status count_run(void *context, const struct cpn_run *run, uint64_t *done, struct cpn_fault *fault) {
  (void)context, (void)fault;
  records += run->count;
  *done = run->count;
  return COUPON_OK;
}

Test(recovery, has_a_reader_that_needs_nobody_to_tell_of_its_progress) {
  make(10, 1, false);
  bring_back();
  struct cpn_fault fault = {0};
  struct cpn_reader reader = {
      .io = &disk.io, .directory = 100, .limit_lsn = UINT64_MAX, .each = count_record, .each_run = count_run};
  cr_assert_eq(cpn_reader_manifest(&disk.io, 100, &reader.manifest, &fault), COUPON_OK);
  records = 0;
  cr_assert_eq(cpn_reader_run(&reader, &fault), COUPON_OK, "%s", fault.message);
  cr_expect_eq(records, 13); /* LIFE, CAMPAIGN, ten tickets, END */
}
