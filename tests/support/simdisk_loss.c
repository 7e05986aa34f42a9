/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "support/simdisk.h"

/* --- copying, losing ----------------------------------------------------------------------------------- */

static void copy_file(struct sim_file *to, const struct sim_file *from) {
  memset(to, 0, sizeof *to);
  if (!from->used) return;
  simdisk_reserve(to, from->capacity);
  to->used = true;
  to->size = from->size;
  to->durable_size = from->durable_size;
  to->suspect = from->suspect;
  memcpy(to->name, from->name, sizeof to->name);
  if (from->capacity == 0) return;
  memcpy(to->now, from->now, from->capacity);
  memcpy(to->durable, from->durable, from->capacity);
  memcpy(to->dirty, from->dirty, from->capacity / SIM_SECTOR);
}

struct simdisk *simdisk_copy(const struct simdisk *disk) {
  struct simdisk *copy = simdisk_create();
  for (int i = 0; i < disk->file_count; i++) copy_file(&copy->files[i], &disk->files[i]);
  copy->file_count = disk->file_count;
  copy->entry_count = disk->entry_count;
  memcpy(copy->now, disk->now, (size_t)disk->entry_count * sizeof *copy->now);
  memcpy(copy->durable, disk->durable, (size_t)disk->entry_count * sizeof *copy->durable);
  memcpy(copy->changes, disk->changes, (size_t)disk->change_count * sizeof *copy->changes);
  copy->change_count = disk->change_count;
  copy->entropy = disk->entropy;
  copy->no_links = disk->no_links;
  copy->past_cache = disk->past_cache;
  return copy;
}

uint64_t simdisk_pending_sectors(const struct simdisk *disk) {
  uint64_t count = 0;
  for (int i = 0; i < disk->file_count; i++) {
    for (uint64_t s = 0; s * SIM_SECTOR < disk->files[i].capacity; s++) count += disk->files[i].dirty[s];
  }
  return count;
}

/* What a lost sector is left as: what is durable, or with chance a version written in between. */
static const unsigned char *lost_as(struct simdisk *disk, int number, uint64_t sector) {
  const unsigned char *bytes = disk->files[number].durable + sector * SIM_SECTOR;
  if (disk->random == NULL) return bytes;
  for (int i = 0; i < SIM_VERSIONS && i < disk->version_count; i++) {
    const struct sim_version *version = &disk->versions[i];
    if (version->file == number && version->sector == sector && (simdisk_chance(disk->random) & 1) != 0)
      bytes = version->bytes;
  }
  return bytes;
}

static void lose_file(struct simdisk *disk, int number, const struct sim_loss *loss, uint64_t *pending) {
  struct sim_file *file = &disk->files[number];
  for (uint64_t s = 0; s * SIM_SECTOR < file->capacity; s++) {
    if (!file->dirty[s]) continue;
    bool kept = loss->keep(loss->context, (*pending)++);
    const unsigned char *bytes = kept ? file->now + s * SIM_SECTOR : lost_as(disk, number, s);
    *(kept ? &disk->kept_sectors : &disk->lost_sectors) += 1;
    bool is_there = bytes != file->durable + s * SIM_SECTOR;
    if (!is_there) continue;
    memcpy(file->durable + s * SIM_SECTOR, bytes, SIM_SECTOR);
    /* A sector that is there takes the file's size with it. */
    file->durable_size = cpn_max_u64(file->durable_size, cpn_min_u64(file->size, (s + 1) * SIM_SECTOR));
  }
  if (file->capacity == 0) return;
  memcpy(file->now, file->durable, file->capacity);
  memset(file->dirty, 0, file->capacity / SIM_SECTOR);
  file->size = file->durable_size;
  file->suspect = false;
}

void simdisk_lose_power(struct simdisk *disk, const struct sim_loss *loss) {
  uint64_t pending = 0;
  for (int i = 0; i < disk->file_count; i++) lose_file(disk, i, loss, &pending);
  memcpy(disk->now, disk->durable, (size_t)disk->entry_count * sizeof *disk->now);
  for (int i = 0; i < disk->change_count; i++) {
    bool kept = loss->keep_change != NULL ? loss->keep_change(loss->context, (uint64_t)i) : i < loss->changes_kept;
    if (kept) simdisk_keep_change(disk, disk->now, &disk->changes[i]);
  }
  memcpy(disk->durable, disk->now, (size_t)disk->entry_count * sizeof *disk->durable);
  disk->change_count = disk->version_count = 0;
  simdisk_restart(disk);
}

struct simdisk *simdisk_power_loss(const struct simdisk *disk, sim_keep_fn *keep, void *context, int changes_kept) {
  struct simdisk *after = simdisk_copy(disk);
  const struct sim_loss loss = {.keep = keep, .context = context, .changes_kept = changes_kept};
  simdisk_lose_power(after, &loss);
  return after;
}

void simdisk_drop_pages(struct simdisk *disk, struct sim_file *file) {
  if (disk->random == NULL || !file->suspect) return;
  for (uint64_t s = 0; s * SIM_SECTOR < file->capacity; s++) {
    unsigned char *now = file->now + s * SIM_SECTOR;
    const unsigned char *durable = file->durable + s * SIM_SECTOR;
    if (file->dirty[s] || memcmp(now, durable, SIM_SECTOR) == 0) continue;
    if ((simdisk_chance(disk->random) & 1) == 0) continue;
    memcpy(now, durable, SIM_SECTOR);
    disk->dropped_sectors++;
  }
}

void simdisk_stop_dropping(struct simdisk *disk) {
  for (int i = 0; i < disk->file_count; i++) disk->files[i].suspect = false;
}

void simdisk_restart(struct simdisk *disk) {
  for (int i = 0; i < SIM_HANDLES; i++) disk->handles[i] = -1;
  disk->locked = disk->archive_locked = disk->dead = disk->fail_for_good = false;
  disk->die_at = disk->fail_at = 0;
  for (int i = 0; i < disk->file_count; i++) simdisk_drop_pages(disk, &disk->files[i]);
  simdisk_collect(disk);
}

/* --- looking and damaging --------------------------------------------------------------------------- */

static struct sim_file *find(struct simdisk *disk, const char *name) {
  struct sim_entry *entry = simdisk_entry(disk, disk->now, name);
  return entry == NULL ? NULL : &disk->files[entry->file];
}

const char *simdisk_next_name(const struct simdisk *disk, int *at) {
  while (*at < disk->entry_count) {
    const struct sim_entry *entry = &disk->now[(*at)++];
    if (entry->name[0] != 0) return entry->name;
  }
  return NULL;
}

unsigned char *simdisk_bytes(struct simdisk *disk, const char *name, uint64_t *size) {
  struct sim_file *file = find(disk, name);
  if (file == NULL) return NULL;
  *size = file->size;
  return file->now;
}

void simdisk_truncate(struct simdisk *disk, const char *name, uint64_t size) {
  struct sim_file *file = find(disk, name);
  simdisk_must(file != NULL && size <= file->size, "truncate");
  memset(file->now + size, 0, file->capacity - size);
  file->size = size;
}

void simdisk_remove(struct simdisk *disk, const char *name) { simdisk_put(disk, disk->now, name, -1); }

void simdisk_duplicate(struct simdisk *disk, const char *from, const char *to) {
  struct sim_file *source = find(disk, from);
  simdisk_must(source != NULL, "duplicate");
  int fresh = simdisk_new_file(disk);
  copy_file(&disk->files[fresh], source);
  simdisk_put(disk, disk->now, to, fresh);
}

void simdisk_flip(struct simdisk *disk, const char *name, uint64_t offset, unsigned char bits) {
  struct sim_file *file = find(disk, name);
  simdisk_must(file != NULL && offset < file->size, "flip");
  file->now[offset] ^= bits;
  file->durable[offset] ^= bits;
}

/* --- the world -------------------------------------------------------------------------------------- */

/* Different bytes each time; secrecy is not what is tested here. */
static int sim_random(void *context, void *to, size_t size) {
  struct simdisk *disk = context;
  for (size_t i = 0; i < size; i++) ((unsigned char *)to)[i] = (unsigned char)(simdisk_chance(&disk->entropy) >> 7);
  return 0;
}

struct cpn_env simdisk_env(struct simdisk *disk) {
  return (struct cpn_env){.io = &disk->io, .context = disk, .random = sim_random, .start_thread = NULL};
}
