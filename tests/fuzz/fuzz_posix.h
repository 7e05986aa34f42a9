/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Put in front of tools/verify_*.c when they are compiled for the fuzzers: the few calls of the system that they make
 * go to memory_disk_shown instead. Their own text stays as it is, so what is compared here is what `coupon verify`
 * runs.
 */
#ifndef TESTS_FUZZ_POSIX_H
#define TESTS_FUZZ_POSIX_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

int fuzz_open(const char *path, int flags, ...);
int fuzz_openat(int directory, const char *path, int flags, ...);
int fuzz_fstat(int descriptor, struct stat *status);
int fuzz_fcntl(int descriptor, int command, struct flock *lock);
ssize_t fuzz_pread(int descriptor, void *to, size_t size, off_t offset);
int fuzz_close(int descriptor);
DIR *fuzz_fdopendir(int descriptor);
struct dirent *fuzz_readdir(DIR *listing);
int fuzz_closedir(DIR *listing);
int fuzz_nanosleep(const struct timespec *wanted, struct timespec *left);

#ifndef FUZZ_POSIX_ITSELF
/* With arguments, so that members of structures may be called the same. */
#define open(...) fuzz_open(__VA_ARGS__)
#define openat(...) fuzz_openat(__VA_ARGS__)
#define fstat(...) fuzz_fstat(__VA_ARGS__)
#define fcntl(...) fuzz_fcntl(__VA_ARGS__)
#define pread(...) fuzz_pread(__VA_ARGS__)
#define close(...) fuzz_close(__VA_ARGS__)
#define fdopendir(...) fuzz_fdopendir(__VA_ARGS__)
#define readdir(...) fuzz_readdir(__VA_ARGS__)
#define closedir(...) fuzz_closedir(__VA_ARGS__)
#define nanosleep(...) fuzz_nanosleep(__VA_ARGS__)
#endif

#endif
