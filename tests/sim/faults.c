/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/faults.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- the disk -------------------------------------------------------------------------------------------- */

static int64_t fail(struct faults *faults, const struct sim_call *call, int error) {
  if (faults->error == 0) {
    faults->error = error;
    faults->failed_op = call->op;
  }
  if (error == ENOSPC)
    faults->had_no_space = true;
  else
    faults->had_io = true;
  if (call->op == SIM_SYNC) faults->sync_failed = true;
  trace_note(faults->trace, call->number, sim_op_names[call->op], strerrorname_np(error), call->offset, call->size, 0);
  return -error;
}

/* The one call that was asked for. */
static int64_t meddle_at(struct faults *faults, const struct sim_call *call) {
  bool transfers = call->op == SIM_READ || call->op == SIM_WRITE, goes_on = transfers || call->op == SIM_OPEN;
  if (faults->syncs_only && call->op != SIM_SYNC && call->op != SIM_SYNC_DIRECTORY) return 0;
  faults->reached++;
  if (faults->reached != faults->at && !(faults->for_good && faults->reached > faults->at)) return 0;
  if (faults->with == 0) return transfers ? 1 : 0;
  /* What is interrupted is gone on with, so nothing may be interrupted for ever. */
  if (faults->with == EINTR && goes_on) return faults->reached == faults->at ? -EINTR : 0;
  return fail(faults, call, faults->with);
}

static int64_t meddle(void *context, const struct sim_call *call) {
  struct faults *faults = context;
  struct chance *chance = faults->chance;
  if (faults->paused) return 0;
  if (faults->at != 0) return meddle_at(faults, call);
  if (call->op == SIM_SYNC && chance_once_in(chance, faults->fail_sync)) return fail(faults, call, EIO);
  if (chance_once_in(chance, faults->fail)) {
    bool takes_space = call->op == SIM_WRITE || call->op == SIM_OPEN || call->op == SIM_RENAME;
    return fail(faults, call, takes_space && chance_once_in(chance, 2) ? ENOSPC : EIO);
  }
  if (call->op != SIM_READ && call->op != SIM_WRITE) return 0;
  if (faults->interrupted++ < 8 && chance_once_in(chance, faults->interrupt)) return -EINTR;
  faults->interrupted = 0;
  if (call->size < 2 || !chance_once_in(chance, faults->fall_short)) return 0;
  uint64_t sectors = call->size / SIM_SECTOR;
  if (sectors > 1 && chance_once_in(chance, 2)) return (int64_t)((1 + chance_below(chance, sectors - 1)) * SIM_SECTOR);
  return (int64_t)(1 + chance_below(chance, call->size - 1));
}

static enum sim_lie lie(void *context, const char *name, uint64_t sector, uint64_t sectors, uint64_t *to) {
  struct faults *faults = context;
  enum sim_lie told = SIM_HONEST;
  if (faults->paused) return told;
  if (chance_once_in(faults->chance, faults->lose)) told = SIM_LOSES;
  if (chance_once_in(faults->chance, faults->misdirect)) told = SIM_MISDIRECTS;
  if (told == SIM_MISDIRECTS) *to = chance_below(faults->chance, sectors);
  if (told == SIM_HONEST) return told;
  faults->lies++;
  trace_note(faults->trace, faults->disk->calls, told == SIM_LOSES ? "a write is lost" : "a write is misdirected",
             strstr(name, ".log") != NULL ? "log" : "other", sector, *to, 0);
  return told;
}

void faults_rot(struct faults *faults) {
  struct chance *chance = faults->chance;
  if (!chance_once_in(chance, faults->rot)) return;
  const char *names[SIM_FILES], *name;
  uint64_t count = 0, size = 0;
  for (int at = 0; (name = simdisk_next_name(faults->disk, &at)) != NULL;) {
    if (simdisk_bytes(faults->disk, name, &size) != NULL && size > 0) names[count++] = name;
  }
  if (count == 0) return;
  name = names[chance_below(chance, count)];
  (void)simdisk_bytes(faults->disk, name, &size);
  uint64_t offset = chance_below(chance, size);
  simdisk_flip(faults->disk, name, offset, (unsigned char)(1u << chance_below(chance, 8)));
  faults->lies++;
  trace_note(faults->trace, faults->disk->calls, "a bit rots", strstr(name, ".log") != NULL ? "log" : "other",
             offset / SIM_SECTOR, offset % SIM_SECTOR, 0);
}

void faults_init(struct faults *faults, struct chance *chance, struct simdisk *disk, struct trace *trace) {
  *faults = (struct faults){.chance = chance, .disk = disk, .trace = trace};
  disk->chooser = faults;
  disk->meddle = meddle;
}

void faults_mix(struct faults *faults, bool lying) {
  struct chance *chance = faults->chance;
  static const uint64_t often[] = {0, 0, 0, 4, 20}, seldom[] = {0, 0, 0, 60, 300}, syncs[] = {0, 0, 8, 30};
  faults->interrupt = CHANCE_PICK(chance, often);
  faults->fall_short = CHANCE_PICK(chance, often);
  faults->fail = CHANCE_PICK(chance, seldom);
  faults->fail_sync = CHANCE_PICK(chance, syncs);
  faults->disk->past_cache = chance_once_in(chance, 2);
  if (!lying) return;
  static const uint64_t lies[] = {0, 50, 400}, rots[] = {0, 1, 3};
  faults->lose = CHANCE_PICK(chance, lies);
  faults->misdirect = CHANCE_PICK(chance, lies);
  faults->rot = CHANCE_PICK(chance, rots);
  faults->disk->lie = lie;
}

void faults_forget(struct faults *faults) {
  faults->error = 0;
  faults->sync_failed = faults->refused = faults->had_no_space = faults->had_io = false;
}

coupon_status faults_status(const struct faults *faults) {
  if (faults->error == 0) return COUPON_OK;
  return faults->error == ENOSPC ? COUPON_E_NO_SPACE : COUPON_E_IO;
}

bool faults_explain(const struct faults *faults, coupon_status status) {
  return (status == COUPON_E_NO_SPACE && faults->had_no_space) || (status == COUPON_E_IO && faults->had_io);
}

/* --- memory ------------------------------------------------------------------------------------------------ */

struct faults *faults_of_malloc;

/* Whether this allocation fails. */
static bool refuses(struct faults *faults) {
  faults->allocations++;
  bool now = faults->refuse_at != 0 && (faults->allocations == faults->refuse_at ||
                                        (faults->refuse_all && faults->allocations > faults->refuse_at));
  faults->refused |= now;
  return now;
}

static void *allocate(void *context, size_t size, size_t alignment) {
  struct faults *faults = context;
  if (refuses(faults)) return NULL;
  struct faults *counted = faults_of_malloc;
  faults_of_malloc = NULL; /* counted already */
  void *pointer = aligned_alloc(alignment, cpn_round_up(size, alignment));
  faults_of_malloc = counted;
  if (pointer == NULL) return NULL;
  memset(pointer, 0, size);
  faults->live_bytes += (int64_t)size;
  return pointer;
}

static void release(void *context, void *pointer, size_t size) {
  struct faults *faults = context;
  faults->live_bytes -= (int64_t)size;
  free(pointer);
}

struct coupon_allocator faults_allocator(struct faults *faults) {
  struct coupon_allocator allocator = COUPON_ALLOCATOR_INIT;
  allocator.alloc = allocate;
  allocator.free = release;
  allocator.context = faults;
  return allocator;
}

/* The linker sends this program's calls here (CMakeLists.txt). */
void *__real_malloc(size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size) {
  if (faults_of_malloc != NULL && refuses(faults_of_malloc)) return NULL;
  return __real_malloc(size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
  if (faults_of_malloc != NULL && refuses(faults_of_malloc)) return NULL;
  return __real_aligned_alloc(alignment, size);
}
