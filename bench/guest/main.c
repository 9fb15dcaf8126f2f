/*
 * The benchmark kernels in one program: `kernels NAME SIZE`. Around the work it
 * prints `bench begin NAME` and `bench end NAME NANOSECONDS RESULT`, which the
 * harness (bench/guest-run.ts) reads from the guest's console.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

/* Left to the guest when its memory is filled. */
#define SPARE_BYTES (24ul << 20)

static const struct kernel *const groups[] = {integer_kernels, program_kernels, float_kernels,
                                              x87_kernels,     memory_kernels,  system_kernels};

void fail(const char *what) {
  fprintf(stderr, "kernels: %s: %s\n", what, strerror(errno));
  exit(1);
}

void *allocate(size_t bytes) {
  void *block = malloc(bytes);
  if (block == NULL) fail("malloc");
  return block;
}

uint64_t next_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * 0x2545f4914f6cdd1dull;
}

uint64_t hash_bytes(const void *bytes, size_t count) {
  const unsigned char *at = bytes;
  uint64_t hash = 0xcbf29ce484222325ull;
  for (size_t i = 0; i < count; i++) hash = (hash ^ at[i]) * 0x100000001b3ull;
  return hash;
}

static uint64_t now_nanos(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) fail("clock_gettime");
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int run(const struct kernel *kernel, long size) {
  void *prepared = kernel->prepare == NULL ? NULL : kernel->prepare(size);
  printf("bench begin %s\n", kernel->name);
  uint64_t start = now_nanos();
  uint64_t result = kernel->run(prepared, size);
  uint64_t nanos = now_nanos() - start;
  printf("bench end %s %llu %016llx\n", kernel->name, (unsigned long long)nanos, (unsigned long long)result);
  return 0;
}

/* Touches all memory that is free, says so, and holds it for a second. */
static int fill_memory(void) {
  struct sysinfo info;
  if (sysinfo(&info) != 0) fail("sysinfo");
  size_t free_bytes = info.freeram * info.mem_unit;
  size_t bytes = free_bytes > SPARE_BYTES ? free_bytes - SPARE_BYTES : 0;
  char *block = allocate(bytes);
  for (size_t at = 0; at < bytes; at += 4096) ((volatile char *)block)[at] = 1;
  puts("bench filled");
  sleep(1);
  return 0;
}

int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc == 2 && strcmp(argv[1], "exit") == 0) return 0;
  if (argc == 2 && strcmp(argv[1], "fill") == 0) return fill_memory();
  if (argc == 3) {
    for (size_t group = 0; group < sizeof groups / sizeof *groups; group++)
      for (const struct kernel *kernel = groups[group]; kernel->name != NULL; kernel++)
        if (strcmp(kernel->name, argv[1]) == 0) return run(kernel, strtol(argv[2], NULL, 10));
  }
  fprintf(stderr, "usage: kernels NAME SIZE | fill | exit\n");
  return 2;
}
