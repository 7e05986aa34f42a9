/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the compiler's calls arrive at. gcc and clang put them in with -fsanitize=thread; the names and arguments are
 * those of the interface to that tool's run-time library, which is not linked. A call that is missing here is an error
 * of the linker, not something overlooked.
 */
#include <string.h>

#include "inside.h"

static uint64_t load_plainly(uintptr_t address, unsigned size) {
  uint64_t value = 0;
  memcpy(&value, (const void *)address, size);
  return value;
}

/* Outside of runs, in setup and judge, memory is just memory. */
static uint64_t perform_plainly(struct operation *operation) {
  uint64_t was = load_plainly(operation->address, operation->size), becomes = operation->operand;
  if (operation->kind == EXPLORE_LOAD) return was;
  switch (operation->change) {
    case OP_ADD:
      becomes = was + operation->operand;
      break;
    case OP_SUB:
      becomes = was - operation->operand;
      break;
    case OP_AND:
      becomes = was & operation->operand;
      break;
    case OP_OR:
      becomes = was | operation->operand;
      break;
    case OP_XOR:
      becomes = was ^ operation->operand;
      break;
    case OP_SET:
      break;
    case OP_COMPARE:
      operation->succeeded = was == operation->expected;
      if (!operation->succeeded) return was;
      break;
  }
  memcpy((void *)operation->address, &becomes, operation->size);
  return was;
}

static uint64_t perform(struct operation *operation) {
  if (explore_current < 0) return perform_plainly(operation);
  operation->order = explore_order_of(operation);
  if (operation->order == memory_order_relaxed) operation->failure = memory_order_relaxed;
  const bool writes = operation->kind != EXPLORE_LOAD;
  struct known *known = explore_know(operation->address);
  explore_touch(known, writes);
  if (explore_is_shared(known)) explore_schedule(operation);
  explore_access(operation->address, operation->size, writes ? ATOMIC_WRITE : ATOMIC_READ);
  return explore_perform(operation, explore_locate(operation->address, operation->size));
}

static void plain(const volatile void *address, size_t size, bool writes) {
  if (explore_current < 0) return;
  explore_access((uintptr_t)address, size, writes ? PLAIN_WRITE : PLAIN_READ);
  if (writes && !explore_on_a_stack((uintptr_t)address)) explore_plainly_written((uintptr_t)address, size);
}

/* --- atomic operations --------------------------------------------------------------------------- */

#define ATOMICS(bits)                                                                                              \
  uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order);                         \
  uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order) {                        \
    struct operation operation = {                                                                                 \
        .address = (uintptr_t)at, .size = bits / 8, .kind = EXPLORE_LOAD, .order = (memory_order)order};           \
    return (uint##bits##_t)perform(&operation);                                                                    \
  }                                                                                                                \
  void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value, int order);                  \
  void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value, int order) {                 \
    struct operation operation = {.address = (uintptr_t)at,                                                        \
                                  .size = bits / 8,                                                                \
                                  .kind = EXPLORE_STORE,                                                           \
                                  .order = (memory_order)order,                                                    \
                                  .operand = value};                                                               \
    (void)perform(&operation);                                                                                     \
  }                                                                                                                \
  static uint##bits##_t compare##bits(volatile uint##bits##_t *at, uint##bits##_t *expected, uint##bits##_t value, \
                                      int order, int failure, bool weak, bool *succeeded) {                        \
    struct operation operation = {.address = (uintptr_t)at,                                                        \
                                  .size = bits / 8,                                                                \
                                  .kind = EXPLORE_RMW,                                                             \
                                  .order = (memory_order)order,                                                    \
                                  .failure = (memory_order)failure,                                                \
                                  .change = OP_COMPARE,                                                            \
                                  .weak = weak,                                                                    \
                                  .operand = value,                                                                \
                                  .expected = *expected};                                                          \
    uint##bits##_t was = (uint##bits##_t)perform(&operation);                                                      \
    *succeeded = operation.succeeded;                                                                              \
    if (!operation.succeeded) *expected = was;                                                                     \
    return was;                                                                                                    \
  }                                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile uint##bits##_t *at, uint##bits##_t *expected,         \
                                                    uint##bits##_t value, int order, int failure);                 \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile uint##bits##_t *at, uint##bits##_t *expected,         \
                                                    uint##bits##_t value, int order, int failure) {                \
    bool succeeded;                                                                                                \
    (void)compare##bits(at, expected, value, order, failure, false, &succeeded);                                   \
    return succeeded;                                                                                              \
  }                                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile uint##bits##_t *at, uint##bits##_t *expected,           \
                                                  uint##bits##_t value, int order, int failure);                   \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile uint##bits##_t *at, uint##bits##_t *expected,           \
                                                  uint##bits##_t value, int order, int failure) {                  \
    bool succeeded;                                                                                                \
    (void)compare##bits(at, expected, value, order, failure, true, &succeeded);                                    \
    return succeeded;                                                                                              \
  }                                                                                                                \
  /* clang's: it does not say whether the exchange was weak, and takes the value for the answer. */                \
  uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(volatile uint##bits##_t *at, uint##bits##_t expected,  \
                                                            uint##bits##_t value, int order, int failure);         \
  uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(volatile uint##bits##_t *at, uint##bits##_t expected,  \
                                                            uint##bits##_t value, int order, int failure) {        \
    bool succeeded;                                                                                                \
    return compare##bits(at, &expected, value, order, failure, false, &succeeded);                                 \
  }

#define CHANGE(bits, name, how)                                                                                 \
  uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *at, uint##bits##_t operand, int order);  \
  uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *at, uint##bits##_t operand, int order) { \
    struct operation operation = {.address = (uintptr_t)at,                                                     \
                                  .size = bits / 8,                                                             \
                                  .kind = EXPLORE_RMW,                                                          \
                                  .order = (memory_order)order,                                                 \
                                  .change = how,                                                                \
                                  .operand = operand};                                                          \
    return (uint##bits##_t)perform(&operation);                                                                 \
  }

#define CHANGES(bits)             \
  CHANGE(bits, exchange, OP_SET)  \
  CHANGE(bits, fetch_add, OP_ADD) \
  CHANGE(bits, fetch_sub, OP_SUB) \
  CHANGE(bits, fetch_and, OP_AND) \
  CHANGE(bits, fetch_or, OP_OR)   \
  CHANGE(bits, fetch_xor, OP_XOR)

ATOMICS(8)
ATOMICS(16)
ATOMICS(32)
ATOMICS(64)
CHANGES(8)
CHANGES(16)
CHANGES(32)
CHANGES(64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order) {
  if (explore_current < 0) return;
  struct operation fence = {.kind = 0};
  explore_schedule(&fence);
  explore_fence((memory_order)order);
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order) { (void)order; }

/* --- plain accesses ------------------------------------------------------------------------------ */

#define PLAIN(name, size)                                                \
  void __tsan_read##name(void *at);                                      \
  void __tsan_read##name(void *at) { plain(at, size, false); }           \
  void __tsan_write##name(void *at);                                     \
  void __tsan_write##name(void *at) { plain(at, size, true); }           \
  void __tsan_unaligned_read##name(void *at);                            \
  void __tsan_unaligned_read##name(void *at) { plain(at, size, false); } \
  void __tsan_unaligned_write##name(void *at);                           \
  void __tsan_unaligned_write##name(void *at) { plain(at, size, true); }

PLAIN(1, 1)
PLAIN(2, 2)
PLAIN(4, 4)
PLAIN(8, 8)
PLAIN(16, 16)

void __tsan_read_range(void *at, unsigned long size);
void __tsan_read_range(void *at, unsigned long size) { plain(at, size, false); }
void __tsan_write_range(void *at, unsigned long size);
void __tsan_write_range(void *at, unsigned long size) { plain(at, size, true); }

/* Newer clang has these in place of the library's. */
void *__tsan_memcpy(void *to, const void *from, unsigned long size);
void *__tsan_memcpy(void *to, const void *from, unsigned long size) {
  plain(from, size, false);
  plain(to, size, true);
  return memcpy(to, from, size);
}
void *__tsan_memmove(void *to, const void *from, unsigned long size);
void *__tsan_memmove(void *to, const void *from, unsigned long size) {
  plain(from, size, false);
  plain(to, size, true);
  return memmove(to, from, size);
}
void *__tsan_memset(void *to, int value, unsigned long size);
void *__tsan_memset(void *to, int value, unsigned long size) {
  plain(to, size, true);
  return memset(to, value, size);
}

/* Nothing to do at these. The first two are what base/rcu.h says beside its calls of liburcu; grace periods are not
 * explored. */
void __tsan_acquire(void *address);
void __tsan_acquire(void *address) { (void)address; }
void __tsan_release(void *address);
void __tsan_release(void *address) { (void)address; }
void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void);
void __tsan_func_exit(void) {}
