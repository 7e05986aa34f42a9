/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every room may use: compiler attributes, sizes of the machine, and the two kinds of assertion.
 */
#ifndef CPN_BASE_DEFS_H
#define CPN_BASE_DEFS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that two cores exchange as one. 64 on x86-64 and on the aarch64 cores we know. */
#define CPN_CACHE_LINE 64

#if defined(__SANITIZE_THREAD__)
#define CPN_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CPN_TSAN 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CPN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CPN_ASAN 1
#endif
#endif

/* Wide instructions read and write several words of atomics at once, each of them whole. Race detectors and explorers
 * see only what is told word by word. */
#if defined(__x86_64__) && !defined(CPN_TSAN) && !defined(CPN_NARROW_LOADS)
#define CPN_WIDE_LOADS 1
#else
#define CPN_WIDE_LOADS 0
#endif

#define CPN_LIKELY(x) __builtin_expect(!!(x), 1)
#define CPN_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* A function that every request passes, without arrays of its own: nothing on its stack can overflow, so it does
 * without the guard that hardened builds put there for every local whose address is taken. */
#define CPN_HOT __attribute__((hot, no_stack_protector))
/* Told apart in the source, one function to the processor: the steps every request takes. */
#define CPN_INLINE __attribute__((always_inline)) static inline

#define CPN_MUST_CHECK __attribute__((warn_unused_result))

/*
 * An invariant of docs/DESIGN.md, by its number there. Stays on in release builds and aborts: going on
 * would oversell or spoil the log. Never about what a caller or a disk may do; those are faults.
 * CPN_DEBUG_ASSERT is for what is too dear to check on every call.
 */
#define CPN_INVARIANT(number, condition)                                                            \
  do {                                                                                              \
    if (CPN_UNLIKELY(!(condition))) cpn_invariant_broken((number), #condition, __FILE__, __LINE__); \
  } while (0)
#define CPN_DEBUG_ASSERT(condition) assert(condition)

/* Says on standard error which invariant broke and where, and aborts. */
_Noreturn void cpn_invariant_broken(int number, const char *condition, const char *file, int line);

static inline uint64_t cpn_min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t cpn_max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* The high half of a product of 128 bits: a fraction a / 2^64 of b. */
__extension__ typedef unsigned __int128 cpn_u128;
static inline uint64_t cpn_mul_high(uint64_t a, uint64_t b) { return (uint64_t)((cpn_u128)a * b >> 64); }

/* `value` up to the next multiple of `unit`, a power of two. */
static inline uint64_t cpn_round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) & ~(unit - 1); }

static inline bool cpn_is_power_of_two(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

/* The smallest power of two >= value; value must be 1 … 2^63. */
static inline uint64_t cpn_ceil_power_of_two(uint64_t value) {
  return value <= 1 ? 1 : UINT64_C(1) << (64 - __builtin_clzll(value - 1));
}

#endif
