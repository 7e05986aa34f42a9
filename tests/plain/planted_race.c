/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A planted bug: two threads add to a counter without synchronising. ThreadSanitizer must report it;
 * if it does not, its silence about the library means nothing. Run by the test rig.planted_race.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

static uint64_t counter;

static void *add(void *unused) {
  (void)unused;
  for (int i = 0; i < 1000; i++) counter++;
  return NULL;
}

int main(void) {
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) {
    if (pthread_create(&threads[i], NULL, add, NULL) != 0) return 2;
  }
  for (int i = 0; i < 2; i++) {
    if (pthread_join(threads[i], NULL) != 0) return 2;
  }
  printf("counted %llu without being caught\n", (unsigned long long)counter);
  return 0;
}
