/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory: of every location all its writes in modification order, and of every thread the view that says which of
 * them it may still read. A load reads any write that is not older than the view; a store lands anywhere behind the
 * view, not only at the end; a read-modify-write lands directly behind what it read.
 *
 * A releasing write carries its thread's view, and who acquires it adds that to its own. That seq_cst operations have
 * one order is the business of order.c.
 */
#include <string.h>

#include "inside.h"

#define SLOTS 512

struct view explore_views[EXPLORE_THREADS_MAX];
static struct view acquirable[EXPLORE_THREADS_MAX]; /* what relaxed loads have met, for an acquire fence */
static struct view released[EXPLORE_THREADS_MAX];   /* as of the last release fence */
static bool has_released[EXPLORE_THREADS_MAX];
static uint32_t operations[EXPLORE_THREADS_MAX];

static struct location locations[LOCATIONS_MAX];
static int location_count;
static struct {
  uint32_t run;
  uint8_t location;
} slots[SLOTS];
static uint32_t run;

static struct {
  struct location *location;
  uint8_t write;
} last_read[EXPLORE_THREADS_MAX];

void explore_memory_reset(int threads) {
  run++;
  location_count = 0;
  memset(explore_views, 0, sizeof explore_views);
  memset(acquirable, 0, sizeof acquirable);
  memset(has_released, 0, sizeof has_released);
  memset(operations, 0, sizeof operations);
  memset(last_read, 0, sizeof last_read);
  for (int t = 0; t < threads; t++) explore_views[t].clock[t] = 1;
}

/* --- locations ----------------------------------------------------------------------------------- */

static uint64_t load_plainly(uintptr_t address, unsigned size) {
  uint64_t value = 0;
  memcpy(&value, (const void *)address, size); /* little-endian, as the machines we run this on are */
  return value;
}

static void rehash(struct location *location) {
  uint64_t hash = location->address;
  for (int p = 0; p < location->count; p++) hash = explore_mix(hash, location->writes[location->order[p]].name);
  location->hash = hash;
}

/* Its one write is what stands in memory. */
static void begin_anew(struct location *location) {
  location->count = 1;
  location->order[0] = 0;
  struct write *first = &location->writes[0];
  first->value = load_plainly(location->address, location->size);
  first->name = explore_mix(location->address, first->value);
  first->position = 0;
  first->taken = first->has_message = false;
  rehash(location);
}

static struct location *look_up(uintptr_t address, bool add, unsigned size) {
  for (uint64_t slot = explore_mix(address, 1);; slot++) {
    slot &= SLOTS - 1;
    if (slots[slot].run == run) {
      if (locations[slots[slot].location].address == address) return &locations[slots[slot].location];
      continue;
    }
    if (!add) return NULL;
    if (location_count == LOCATIONS_MAX) explore_fail("the scenario has too many atomic variables for the explorer");
    struct location *location = &locations[location_count];
    slots[slot].run = run;
    slots[slot].location = (uint8_t)location_count;
    location->address = address;
    location->size = (uint8_t)size;
    location->id = (uint8_t)location_count++;
    location->known = explore_know(address);
    begin_anew(location);
    return location;
  }
}

struct location *explore_locate(uintptr_t address, unsigned size) {
  struct location *location = look_up(address, true, size);
  EXPLORE_CHECK(location->size == size, "an atomic variable is used in two sizes");
  return location;
}

void explore_plainly_written(uintptr_t address, size_t size) {
  for (uintptr_t at = address & ~(uintptr_t)3; at < address + size; at += 4)
    if (look_up(at, false, 0) != NULL)
      explore_fail("a plain write to what is used atomically: the explorer cannot do that");
}

uint64_t explore_memory_hash(void) {
  uint64_t hash = 0;
  for (int l = 0; l < location_count; l++) hash += locations[l].hash;
  return hash;
}

/* --- views --------------------------------------------------------------------------------------- */

static void join_seen(struct view *to, const struct view *from) {
  for (int l = 0; l < location_count; l++) {
    const struct write *writes = locations[l].writes;
    if (writes[from->seen[l]].position > writes[to->seen[l]].position) to->seen[l] = from->seen[l];
  }
}

static void join(struct view *to, const struct view *from) {
  join_seen(to, from);
  for (int t = 0; t < EXPLORE_THREADS_MAX; t++)
    if (from->clock[t] > to->clock[t]) to->clock[t] = from->clock[t];
}

static bool acquires(memory_order order) { return order != memory_order_relaxed && order != memory_order_release; }
static bool releases(memory_order order) {
  return order == memory_order_release || order == memory_order_acq_rel || order == memory_order_seq_cst;
}

static int first_position(const struct location *location) {
  return location->writes[explore_views[explore_current].seen[location->id]].position;
}

/* Whether the seq_cst order has a place for an operation that reads the write at `position`, or writes there. */
static bool fits(const struct location *location, int position, bool writes, memory_order order,
                 const struct write *read) {
  if (order != memory_order_seq_cst) return true;
  const uint16_t *learnt = read != NULL && read->has_message ? read->message.clock : NULL;
  return explore_order_allows(location, position, writes, learnt);
}

/* --- operations ---------------------------------------------------------------------------------- */

/* `changes`: a write comes with it. */
static uint64_t read_write(struct location *location, uint8_t id, memory_order order, bool changes) {
  const int t = explore_current;
  struct write *write = &location->writes[id];
  if (order == memory_order_seq_cst && !changes)
    explore_order_add(location, write->position, false, write->has_message ? write->message.clock : NULL, id);
  explore_views[t].seen[location->id] = id; /* never older than what was there */
  if (write->has_message) join(acquires(order) ? &explore_views[t] : &acquirable[t], &write->message);
  explore_history_add(write->name);
  last_read[t].location = location;
  last_read[t].write = id;
  return write->value;
}

static void insert(struct location *location, int position, uint64_t value, memory_order order,
                   const struct write *base) {
  const int t = explore_current;
  EXPLORE_CHECK(location->count < WRITES_MAX, "too many writes to one variable for the explorer");
  const uint8_t id = location->count;
  /* Before the others move on. What was learnt by reading is in the view by now. */
  if (order == memory_order_seq_cst) explore_order_add(location, position, true, NULL, id);
  location->count++;
  struct write *write = &location->writes[id];
  for (int p = location->count - 1; p > position; p--) {
    location->order[p] = location->order[p - 1];
    location->writes[location->order[p]].position = (uint8_t)p;
  }
  location->order[position] = id;
  write->value = value;
  write->name = explore_mix((uint64_t)t + 1, operations[t]);
  write->position = (uint8_t)position;
  write->taken = false;
  struct view *view = &explore_views[t];
  view->seen[location->id] = id;
  write->has_message = releases(order) || has_released[t] || (base != NULL && base->has_message);
  if (write->has_message) {
    if (releases(order)) {
      write->message = *view;
    } else if (has_released[t]) {
      write->message = released[t];
    } else {
      write->message = base->message;
    }
    /* A read-modify-write goes on with the release sequence that it found. */
    if (base != NULL && base->has_message) join(&write->message, &base->message);
    write->message.seen[location->id] = id;
  }
  if (position == location->count - 1) memcpy((void *)location->address, &value, location->size);
  rehash(location);
  explore_history_add(write->name);
}

static void store(struct operation *operation, struct location *location) {
  int candidates[WRITES_MAX], count = 0;
  for (int p = location->count; p > first_position(location); p--) {
    bool free = p == location->count || !location->writes[location->order[p - 1]].taken;
    if (free && fits(location, p, true, operation->order, NULL)) candidates[count++] = p;
  }
  insert(location, candidates[explore_choose(count)], operation->operand, operation->order, NULL);
}

static uint64_t changed(const struct operation *operation, uint64_t from) {
  switch (operation->change) {
    case OP_ADD:
      return from + operation->operand;
    case OP_SUB:
      return from - operation->operand;
    case OP_AND:
      return from & operation->operand;
    case OP_OR:
      return from | operation->operand;
    case OP_XOR:
      return from ^ operation->operand;
    case OP_SET:
    case OP_COMPARE:
      break;
  }
  return operation->operand;
}

/* Every write it may read, with what comes of it: for a compare-exchange that may be failure. */
static uint64_t exchange(struct operation *operation, struct location *location) {
  struct {
    uint8_t id;
    bool fails, spurious;
  } candidates[2 * WRITES_MAX];
  int count = 0;
  const bool compares = operation->change == OP_COMPARE;
  for (int p = location->count - 1; p >= first_position(location); p--) {
    const uint8_t id = location->order[p];
    const struct write *write = &location->writes[id];
    const bool equal = !compares || write->value == operation->expected;
    if (equal && !write->taken && fits(location, p + 1, true, operation->order, write)) {
      candidates[count].fails = candidates[count].spurious = false;
      candidates[count++].id = id;
    }
    const bool spurious = compares && equal && operation->weak && explore_spurious_left > 0;
    if (compares && (!equal || spurious) && fits(location, p, false, operation->failure, write)) {
      candidates[count].fails = true;
      candidates[count].spurious = spurious;
      candidates[count++].id = id;
    }
  }
  const int choice = explore_choose(count);
  operation->succeeded = !candidates[choice].fails;
  if (candidates[choice].spurious) {
    explore_spurious_left--;
    explore_history_add(1);
  }
  if (candidates[choice].fails) return read_write(location, candidates[choice].id, operation->failure, false);
  uint64_t read = read_write(location, candidates[choice].id, operation->order, true);
  struct write *base = &location->writes[candidates[choice].id];
  base->taken = true;
  insert(location, base->position + 1, changed(operation, read), operation->order, base);
  return read;
}

static uint64_t load(struct operation *operation, struct location *location) {
  uint8_t candidates[WRITES_MAX];
  int count = 0;
  for (int p = location->count - 1; p >= first_position(location); p--) {
    const uint8_t id = location->order[p];
    if (fits(location, p, false, operation->order, &location->writes[id])) candidates[count++] = id;
  }
  return read_write(location, candidates[explore_choose(count)], operation->order, false);
}

uint64_t explore_perform(struct operation *operation, struct location *location) {
  operations[explore_current]++;
  uint64_t read = operation->operand;
  unsigned stale = 0;
  if (operation->kind == EXPLORE_STORE) {
    store(operation, location);
    stale = (unsigned)(location->count - 1 - location->writes[location->count - 1].position);
  } else {
    const int before = location->count;
    read = operation->kind == EXPLORE_LOAD ? load(operation, location) : exchange(operation, location);
    const struct write *write = &location->writes[last_read[explore_current].write];
    stale = (unsigned)(before - 1 - write->position);
  }
  /* So that what the thread does from here on is not covered by what it has released. */
  explore_views[explore_current].clock[explore_current]++;
  explore_story_add(operation, read, stale);
  return read;
}

void explore_fence(memory_order order) {
  const int t = explore_current;
  EXPLORE_CHECK(order != memory_order_seq_cst, "the explorer does not know seq_cst fences: the library has none");
  operations[t]++;
  explore_history_add(2);
  if (acquires(order)) join(&explore_views[t], &acquirable[t]);
  if (releases(order)) {
    released[t] = explore_views[t];
    has_released[t] = true;
  }
  explore_views[t].clock[t]++;
}

/* --- waiting ------------------------------------------------------------------------------------- */

struct location *explore_last_read(uint8_t *write) {
  *write = last_read[explore_current].write;
  return last_read[explore_current].location;
}

bool explore_is_newest(const struct location *location, uint8_t write) {
  return location->writes[write].position == location->count - 1;
}

uint64_t explore_newest(const struct location *location) {
  return location->writes[location->order[location->count - 1]].value;
}

bool explore_must_fail(int thread, uintptr_t address, uint64_t expected) {
  const struct location *location = look_up(address, false, 0);
  if (location == NULL) return false;
  int first = location->writes[explore_views[thread].seen[location->id]].position;
  for (int p = location->count - 1; p >= first; p--) {
    const struct write *write = &location->writes[location->order[p]];
    if (write->value == expected && !write->taken) return false;
  }
  return true;
}

/* The current thread will not read that write again: what is written is seen in the end. */
void explore_look_on(struct location *location, uint8_t write) {
  uint8_t *seen = &explore_views[explore_current].seen[location->id];
  int next = location->writes[write].position + 1;
  if (next < location->count && location->writes[*seen].position < next) *seen = location->order[next];
  explore_history_add(location->writes[*seen].name);
}
