/* SPDX-License-Identifier: Apache-2.0 */
#include "torture/small_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE_BYTES (UINT64_C(2) << 20)
#define NAMES "256" /* files at most, on a tmpfs */

const char *const small_disk_names[SMALL_KINDS] = {"tmpfs", "ext4", "quota"};

/* --- the quota -------------------------------------------------------------------------------------- */

/* Children of the process share it, so that it outlives who was killed. */
struct quota {
  _Atomic bool is_on, no_names;
  _Atomic int64_t left;
};
static struct quota *quota;

/* Whether these bytes would take room: behind the end, or where a hole was punched. */
static bool takes_room(int file, off_t offset, size_t size) {
  off_t hole = lseek(file, offset, SEEK_HOLE);
  return hole < 0 || hole < offset + (off_t)size;
}

/* In front of the C library's: what the library under test calls. */
__attribute__((visibility("default"))) ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset) {
  if (quota != NULL && atomic_load(&quota->is_on) && takes_room(file, offset, size)) {
    int64_t left = atomic_fetch_sub(&quota->left, (int64_t)size);
    if (left <= 0) {
      errno = ENOSPC;
      return -1;
    }
    if (left < (int64_t)size) size = (size_t)left; /* the disk takes the first part */
  }
  return syscall(SYS_pwrite64, file, bytes, size, offset);
}

__attribute__((visibility("default"))) int openat(int directory, const char *name, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  bool refuse = quota != NULL && atomic_load(&quota->is_on) && atomic_load(&quota->no_names) && (flags & O_CREAT) != 0;
  if (refuse && faccessat(directory, name, F_OK, 0) != 0) {
    errno = ENOSPC;
    return -1;
  }
  return (int)syscall(SYS_openat, directory, name, flags, mode);
}

/* --- mounting --------------------------------------------------------------------------------------- */

static bool put(const char *file, const char *text) {
  int to = open(file, O_WRONLY | O_CLOEXEC);
  if (to < 0) return false;
  bool done = write(to, text, strlen(text)) == (ssize_t)strlen(text);
  (void)close(to);
  return done;
}

/* As root; or as root of a namespace of our own. */
static bool enter_namespace(void) {
  char map[64];
  if (unshare(CLONE_NEWNS) == 0) return true;
  const unsigned user = (unsigned)getuid(), group = (unsigned)getgid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  (void)put("/proc/self/setgroups", "deny");
  (void)snprintf(map, sizeof map, "0 %u 1", group);
  bool done = put("/proc/self/gid_map", map);
  (void)snprintf(map, sizeof map, "0 %u 1", user);
  return done && put("/proc/self/uid_map", map);
}

static bool run_tool(const char *const *words) {
  pid_t child = fork();
  if (child == 0) {
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)dup2(nothing, 1);
    (void)dup2(nothing, 2);
    (void)execvp(words[0], (char *const *)(uintptr_t)words);
    _exit(127);
  }
  return child > 0 && torture_wait(child) == 0;
}

static bool mount_ext4(struct small_disk *disk) {
  char image[TORTURE_PATH_MAX];
  if (snprintf(image, sizeof image, "%s.image", disk->path) >= (int)sizeof image) return false;
  int file = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  bool made = file >= 0 && ftruncate(file, (off_t)SIZE_BYTES * 2) == 0;
  if (file >= 0) (void)close(file);
  const char *const format[] = {"mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image, NULL};
  const char *const mount_it[] = {"mount", "-o", "loop", image, disk->path, NULL};
  made = made && run_tool(format) && run_tool(mount_it);
  (void)snprintf(disk->why, sizeof disk->why, "%s", made ? "" : "no ext4 in a file here");
  (void)unlink(image); /* the mount keeps it */
  if (made) disk->kind = SMALL_EXT4;
  return made;
}

static bool mount_tmpfs(struct small_disk *disk) {
  char options[64];
  (void)snprintf(options, sizeof options, "size=%" PRIu64 ",nr_inodes=" NAMES ",mode=700", SIZE_BYTES);
  disk->kind = SMALL_TMPFS;
  return mount("tmpfs", disk->path, "tmpfs", 0, options) == 0;
}

static void explain(struct small_disk *disk, const char *what) {
  (void)snprintf(disk->why, sizeof disk->why, "%s: %s", what, strerror(errno));
}

void small_disk_make(struct small_disk *disk, const char *path, bool ext4) {
  memset(disk, 0, sizeof *disk);
  (void)snprintf(disk->path, sizeof disk->path, "%s", path);
  if (getenv("COUPON_TORTURE_NO_MOUNT") != NULL)
    (void)snprintf(disk->why, sizeof disk->why, "COUPON_TORTURE_NO_MOUNT is set");
  else if (!enter_namespace())
    explain(disk, "no namespace to mount in");
  else if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
    explain(disk, "cannot mount unseen by others");
  else if ((ext4 && mount_ext4(disk)) || mount_tmpfs(disk))
    return;
  else
    explain(disk, "cannot mount a tmpfs");
  disk->kind = SMALL_QUOTA;
  quota = torture_shared(sizeof *quota);
}

void small_disk_unmount(const struct small_disk *disk) {
  if (disk->kind != SMALL_QUOTA) (void)umount2(disk->path, MNT_DETACH);
}

/* --- filling ---------------------------------------------------------------------------------------- */

static void ballast_name(const struct small_disk *disk, unsigned number, char name[TORTURE_PATH_MAX]) {
  char last[32];
  (void)snprintf(last, sizeof last, "ballast%u", number);
  torture_join(name, disk->path, last);
}

static void set_quota(uint64_t left, bool no_names) {
  atomic_store(&quota->left, (int64_t)left);
  atomic_store(&quota->no_names, no_names);
  atomic_store(&quota->is_on, true);
}

/* In small pieces at the end, so that not one is left; synced, so that a file system that promises room has to keep
 * it. */
static void fill_file(int file) {
  static const unsigned char bytes[65536] = {1};
  for (size_t piece = sizeof bytes; piece >= 512; piece /= 2) {
    while (write(file, bytes, piece) == (ssize_t)piece) {
    }
  }
  (void)fsync(file);
}

void small_disk_fill(const struct small_disk *disk, uint64_t free_bytes) {
  if (disk->kind == SMALL_QUOTA) {
    set_quota(free_bytes, false);
    return;
  }
  char name[TORTURE_PATH_MAX];
  struct stat status;
  ballast_name(disk, 0, name);
  int file = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) torture_cannot("a file to fill the disk with");
  fill_file(file);
  if (fstat(file, &status) == 0 && (uint64_t)status.st_size > free_bytes && free_bytes > 0 &&
      ftruncate(file, status.st_size - (off_t)free_bytes) != 0)
    torture_cannot("freeing a part of the disk");
  (void)close(file);
}

void small_disk_fill_names(const struct small_disk *disk) {
  if (disk->kind != SMALL_TMPFS) {
    if (disk->kind == SMALL_QUOTA)
      set_quota(UINT32_MAX, true);
    else
      small_disk_fill(disk, 0);
    return;
  }
  for (unsigned number = 1;; number++) {
    char name[TORTURE_PATH_MAX];
    ballast_name(disk, number, name);
    int file = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return;
    (void)close(file);
  }
}

void small_disk_free(const struct small_disk *disk) {
  if (disk->kind == SMALL_QUOTA) atomic_store(&quota->is_on, false);
  for (unsigned number = 0;; number++) {
    char name[TORTURE_PATH_MAX];
    ballast_name(disk, number, name);
    if (unlink(name) != 0 && number > 0) return;
  }
}

void small_disk_punch(const struct small_disk *disk, const char *file, uint64_t from) {
  (void)disk;
  struct stat status;
  int target = open(file, O_WRONLY | O_CLOEXEC);
  if (target < 0 || fstat(target, &status) != 0) torture_cannot("a segment to take room from");
  off_t length = status.st_size - (off_t)from;
  if (length > 0 && fallocate(target, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, length) != 0)
    torture_cannot("giving back room in a segment");
  (void)fsync(target);
  (void)close(target);
}
